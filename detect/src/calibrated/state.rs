//! What one series has learnt.

use super::codec::Stored;
use super::maxima::{BlockMaxima, FEW_BLOCKS};
use super::onset::Onset;
use super::pace::{Pace, SPEEDS};
use super::prediction::FIRST_SCORED;
use super::profile::Profile;
use super::views::{Trail, VIEWS};
use crate::calendar::DAY_MS;
use crate::readiness::Readiness;
use crate::score::{at_least, at_most};

/// What says what the time adds: nothing, the daily profile, the weekly one.
pub(super) const EXPERTS: usize = 3;
pub(super) const DAILY: usize = 1;
pub(super) const WEEKLY: usize = 2;

/// Sizes of the deviations of one view.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Sizes {
    /// `L1`.
    pub(super) mean: f64,
    /// `L2^2`, at most `f64::MAX`.
    pub(super) mean_square: f64,
    /// `E`.
    pub(super) recent: f64,
}

/// Sizes of residuals at an hour of the day.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Hour {
    /// `H`.
    pub(super) mean: f64,
    /// Saturating.
    pub(super) visits: u32,
}

/// `calibrated` of one series. Everything is 0 while nothing was learnt.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct State<S> {
    pub(super) samples_seen: u64,
    /// Number of the block that the latest sample was in.
    pub(super) block: i64,
    /// Of the latest sample: its time, ms, and its value.
    pub(super) latest_time: i64,
    pub(super) latest_value: f64,
    /// The least difference of two samples in a row that differ; 0 while none did.
    pub(super) quantum: f64,
    pub(super) onset: Onset,
    pub(super) trail: Trail,
    /// `hold` at the latest sample: the logarithm of the height that only a new alarm exceeds.
    pub(super) hold: f64,
    /// `L` by expert and speed.
    pub(super) levels: [[f64; SPEEDS]; EXPERTS],
    /// Mean sizes of what the levels learn.
    pub(super) errors: [[f64; SPEEDS]; EXPERTS],
    /// By expert.
    pub(super) losses: [f64; EXPERTS],
    /// By view.
    pub(super) sizes: [Sizes; VIEWS],
    /// `L1[mid]`: the mean size of the residuals of mid speed.
    pub(super) mid_size: f64,
    pub(super) hours: [Hour; 24],
    pub(super) daily: Profile<S>,
    pub(super) weekly: Profile<S>,
    pub(super) maxima: BlockMaxima<S>,
}

impl<S: Stored> State<S> {
    /// That has learnt nothing.
    pub(super) fn new(pace: &Pace) -> Self {
        Self {
            samples_seen: 0,
            block: 0,
            latest_time: 0,
            latest_value: 0.0,
            quantum: 0.0,
            onset: Onset::default(),
            trail: Trail::default(),
            hold: 0.0,
            levels: Default::default(),
            errors: Default::default(),
            losses: Default::default(),
            sizes: Default::default(),
            mid_size: 0.0,
            hours: Default::default(),
            daily: Profile::new(pace.daily_slots),
            weekly: Profile::new(pace.weekly_slots),
            maxima: BlockMaxima::new(&pace.rule()),
        }
    }

    /// It learns until its threshold is the series' own. Ready is who has seen every part of the week, or, of a series
    /// that has no samples in some of them, as many blocks as two weeks have.
    pub(super) fn readiness(&self, pace: &Pace) -> Readiness {
        if self.samples_seen < FIRST_SCORED {
            return Readiness::starting(self.samples_seen as f64, FIRST_SCORED as f64);
        }
        let blocks = self.maxima.blocks as f64;
        let of_week = at_least(self.weekly.share_seen(), blocks / pace.blocks_in(14 * DAY_MS));
        Readiness::learning(of_week, 1.0).and(Readiness::learning(blocks, FEW_BLOCKS as f64))
    }

    /// Bytes beside the state itself.
    pub(super) fn heap_bytes(&self) -> usize {
        self.daily.heap_bytes() + self.weekly.heap_bytes()
    }
}

/// Within `±f64::MAX`: what a sum of finite numbers saturates at.
#[inline]
pub(super) fn bounded(value: f64) -> f64 {
    at_most(at_least(value, -f64::MAX), f64::MAX)
}
