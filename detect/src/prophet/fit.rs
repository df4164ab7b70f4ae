//! The parameters of a fit and what they say about a time.

use std::sync::Arc;

use crate::calendar::WallClock;
use crate::score::{Interval, at_least, at_most};

use super::args::{Growth, Mode, ProphetArgs};
use super::layout::{Block, Layout, Standard, wall_clock};
use super::uncertainty::{Bends, normal_margin};

/// A fit: the most likely parameters, by Prophet's symbols.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    pub(crate) growth: Growth,
    pub(crate) layout: Arc<Layout>,
    /// Of the columns that are standardised.
    pub(crate) standards: Vec<Standard>,
    /// The time of the first sample, ms.
    pub start: i64,
    /// From the first to the last sample, ms: the unit of scaled time, above 0.
    pub span: i64,
    /// Samples fitted to.
    pub samples: u64,
    /// The unit of scaled values; above 0.
    pub y_scale: f64,
    /// The value that is 0 when scaled.
    pub floor: f64,
    /// Slope of the scaled trend at the start, in spans.
    pub k: f64,
    /// The scaled trend at the start.
    pub m: f64,
    /// Changes of the slope at the changepoints.
    pub delta: Vec<f64>,
    /// Where the trend bends, ascending, in spans from the start on; one at 0, without a bend, if there are none.
    pub changepoints: Vec<f64>,
    /// Coefficients of the columns of features.
    pub beta: Vec<f64>,
    /// Standard deviation of the noise, scaled.
    pub sigma: f64,
    /// Standard deviation, scaled, of samples around the points that they became by compression; 0 without.
    pub spread: f64,
}

/// What a fit expects at a time is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Terms {
    /// In units of the series.
    pub trend: f64,
    /// The sum of what is added to the trend, in units of the series.
    pub additive: f64,
    /// The sum of what multiplies the trend, as a fraction of it.
    pub multiplicative: f64,
    /// How much `yhat` changes with the line under the trend, scaled: 1 for a linear trend without multiplicative terms.
    gain: f64,
}

impl Terms {
    /// `trend * (1 + multiplicative) + additive`.
    #[must_use]
    pub fn yhat(&self) -> f64 {
        finite(self.trend * (1.0 + self.multiplicative) + self.additive)
    }
}

/// Numbers beyond the greatest are that.
fn finite(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { at_most(at_least(value, -f64::MAX), f64::MAX) }
}

/// The interval after a horizon, by what does not depend on the time it starts from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Horizon {
    /// ms.
    pub(crate) after: i64,
    /// Half the width in standard deviations.
    margin: f64,
    /// Of the trend, scaled.
    variance: f64,
}

impl Fit {
    /// Names of the columns of features, in Prophet's order and spelling.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.layout.names
    }

    /// Standard deviations of the priors of the columns' coefficients.
    #[must_use]
    pub fn prior_scales(&self) -> &[f64] {
        &self.layout.prior_scales
    }

    /// Mean and standard deviation of the columns that are standardised, in the order of the columns.
    #[must_use]
    pub fn standards(&self) -> &[(f64, f64)] {
        &self.standards
    }

    /// What is expected at `time` (ms). `args` are those of the fit.
    #[must_use]
    pub fn terms(&self, args: &ProphetArgs, time: i64) -> Terms {
        let clock = wall_clock(args, time);
        let (mut additive, mut multiplicative) = (0.0, 0.0);
        for block in &self.layout.blocks {
            let effect = self.scaled_effect(block, clock);
            match block.mode {
                Mode::Additive => additive += effect,
                Mode::Multiplicative => multiplicative += effect,
            }
        }
        let (trend, slope) = self.scaled_trend(time);
        Terms {
            trend: finite(trend * self.y_scale + self.floor),
            additive: finite(additive * self.y_scale),
            multiplicative: finite(multiplicative),
            gain: slope * (1.0 + multiplicative),
        }
    }

    /// The scaled trend, and how much it changes with the line under it.
    fn scaled_trend(&self, time: i64) -> (f64, f64) {
        let t = (time as f64 - self.start as f64) / self.span as f64;
        let base = if matches!(self.growth, Growth::Logistic { .. }) { -self.k * self.m } else { self.m };
        let (mut slope, mut offset) = (self.k, base);
        for (at, bend) in self.changepoints.iter().zip(&self.delta).take_while(|(at, _)| **at <= t) {
            slope += bend;
            offset -= at * bend;
        }
        let line = slope * t + offset;
        match self.growth {
            Growth::Linear => (line, 1.0),
            Growth::Flat => (self.m, 0.0),
            Growth::Logistic { cap, floor } => {
                let cap = (cap - floor) / self.y_scale;
                let share = 1.0 / (1.0 + libm::exp(-line));
                (cap * share, cap * share * (1.0 - share))
            }
        }
    }

    fn scaled_effect(&self, block: &Block, clock: WallClock) -> f64 {
        let coefficients = self.beta.get(block.start..block.end).unwrap_or_default();
        self.layout.effect(block, clock, coefficients, &self.standards)
    }

    /// What the components of a name add up to at `time`: in units of the series if they are added, as a fraction of the trend
    /// if they multiply it. `None` if the fit has no such component.
    #[must_use]
    pub fn component(&self, args: &ProphetArgs, name: &str, time: i64) -> Option<f64> {
        let is_wanted = |block: &&Block| block.name == name || (name == "holidays" && block.is_holiday());
        let mut blocks = self.layout.blocks.iter().filter(is_wanted).peekable();
        let mode = blocks.peek()?.mode;
        let clock = wall_clock(args, time);
        let effect: f64 = blocks.map(|block| self.scaled_effect(block, clock)).sum();
        Some(finite(if mode == Mode::Additive { effect * self.y_scale } else { effect }))
    }

    /// The interval that is expected at `time` (ms) to hold the share `width` of the values, if the trend is known until then.
    #[must_use]
    pub fn interval(&self, args: &ProphetArgs, time: i64, width: f64) -> Interval {
        let deviation = (self.sigma * self.sigma + self.spread * self.spread).sqrt();
        Interval::symmetric(self.terms(args, time).yhat(), finite(normal_margin(width) * deviation * self.y_scale))
    }

    /// As [`Self::interval`], if the trend is known until `ahead` ms before `time` and bends as it did in the history since.
    #[must_use]
    pub fn forecast(&self, args: &ProphetArgs, time: i64, ahead: i64, width: f64) -> Interval {
        self.interval_after(args, time, self.horizon(ahead, width))
    }

    pub(crate) fn horizon(&self, after: i64, width: f64) -> Horizon {
        let ahead = (after.max(0)) as f64 / self.span as f64;
        let sum: f64 = self.delta.iter().map(|bend| bend.abs()).sum();
        let is_flat = self.growth == Growth::Flat;
        let count = self.changepoints.len() as f64;
        let bends = Bends { rate: if is_flat { 0.0 } else { count }, scale: sum / count.max(1.0) + 1e-8 };
        let noise = (self.sigma * self.sigma + self.spread * self.spread).sqrt();
        Horizon { after, margin: bends.margin(ahead, noise, width), variance: bends.variance(ahead) }
    }

    pub(crate) fn interval_after(&self, args: &ProphetArgs, time: i64, horizon: Horizon) -> Interval {
        let terms = self.terms(args, time);
        let trend = terms.gain * terms.gain * horizon.variance;
        let deviation = (trend + self.sigma * self.sigma + self.spread * self.spread).sqrt();
        Interval::symmetric(terms.yhat(), finite(horizon.margin * deviation * self.y_scale))
    }
}
