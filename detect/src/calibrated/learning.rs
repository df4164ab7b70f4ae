//! What a sample teaches.

use super::codec::Stored;
use super::hold;
use super::pace::{MID, Moment, Pace, SLOW, SPEEDS};
use super::prediction::{FIRST_SCORED, Outlook, Residuals};
use super::state::{DAILY, EXPERTS, State, WEEKLY, bounded};
use super::views::{DRIFT_VIEW, Trail, VIEWS};
use crate::score::{Direction, at_least, at_most};

/// Samples before the first one that is clipped.
const FREE_SAMPLES: u64 = 10;

/// Mean sizes beyond which a deviation counts no more: in levels and profiles, in `L1`, `H` and losses, and in `E`.
const LEVEL_REACH: f64 = 3.5;
const SIZE_REACH: f64 = 6.0;
const RECENT_REACH: f64 = 50.0;

/// How much a sample counts in the mean size of deviations.
#[derive(Debug, Clone, Copy)]
struct SizeGain {
    /// In a mean over all samples that count.
    of_mean: f64,
    /// Whether those are so few that it counts however far it is.
    is_free: bool,
}

impl<S: Stored> State<S> {
    /// Learns a finite sample of which the outlook was this one.
    pub(super) fn learn(&mut self, pace: &Pace, moment: &Moment, value: f64, outlook: &Outlook) {
        if self.samples_seen == 0 {
            self.levels = [[value; SPEEDS]; EXPERTS];
        }
        let residuals = self.residuals(outlook, value);
        if self.ends_block(moment) {
            self.maxima.end_block(&pace.rule());
        }
        if moment.block != self.block || self.samples_seen == 0 {
            self.block = moment.block;
            self.maxima.current = [0.0; VIEWS];
        }
        if self.samples_seen >= FIRST_SCORED {
            for (current, size) in self.maxima.current.iter_mut().zip(outlook.sizes(&residuals)) {
                *current = at_least(*current, size.unwrap_or_default());
            }
        }
        self.learn_latest(pace, moment, value, outlook, &residuals);
        let counted = self.onset.counted(self.samples_seen);
        let of_sizes = SizeGain { of_mean: 1.0 / (counted as f64 + 1.0), is_free: counted < FREE_SAMPLES };
        self.learn_sizes(pace, &residuals, of_sizes);
        self.learn_hour(pace, moment.hour, residuals.all[MID].abs(), of_sizes);
        self.learn_levels(pace, &residuals.of_expert, of_sizes);
        self.learn_profiles(pace, moment, value);
        self.samples_seen += 1;
    }

    /// What the next sample is compared with: this one, and the height of the latest alarm.
    fn learn_latest(&mut self, pace: &Pace, moment: &Moment, value: f64, outlook: &Outlook, residuals: &Residuals) {
        let moved = bounded(value - self.latest_value).abs();
        let is_move = self.samples_seen > 0 && moved > 0.0;
        if pace.recipe.has_onset {
            self.onset.note(self.samples_seen, is_move, self.quantum > 0.0);
        }
        if is_move {
            self.quantum = if self.quantum > 0.0 { at_most(self.quantum, moved) } else { moved };
        }
        (self.latest_time, self.latest_value) = (moment.time, value);
        self.trail = Trail { latest: residuals.all[SLOW], drift: residuals.of_view[DRIFT_VIEW] };
        if pace.recipe.hold.is_some() {
            let height = outlook.greatest(residuals.of_view, Direction::Both);
            self.hold = hold::after(outlook.hold, height);
        }
    }

    /// `L1`, `L2` and `E` of the views.
    fn learn_sizes(&mut self, pace: &Pace, residuals: &Residuals, SizeGain { of_mean, is_free }: SizeGain) {
        let (gain, recent_gain) = (at_least(pace.size_gain, of_mean), at_least(pace.recent_gain, of_mean));
        for (sizes, deviation) in self.sizes.iter_mut().zip(residuals.of_view).take(pace.recipe.views) {
            let size = deviation.abs();
            let recent = if sizes.mean > 0.0 { at_most(size, RECENT_REACH * sizes.mean) } else { size };
            sizes.recent += recent_gain * (recent - sizes.recent);
            sizes.mean_square += gain * (at_most(deviation * deviation, f64::MAX) - sizes.mean_square);
            sizes.mean += gain * (usual(size, sizes.mean, is_free) - sizes.mean);
        }
    }

    /// `L1[mid]`, and `H` of an hour.
    fn learn_hour(&mut self, pace: &Pace, hour: usize, size: f64, SizeGain { of_mean, is_free }: SizeGain) {
        let size = usual(size, self.mid_size, is_free);
        self.mid_size += at_least(pace.size_gain, of_mean) * (size - self.mid_size);
        let hour = &mut self.hours[hour];
        hour.visits = hour.visits.saturating_add(1);
        hour.mean += at_least(pace.hour_gain, 1.0 / f64::from(hour.visits)) * (size - hour.mean);
    }

    /// Levels with their mean errors, and the losses of the experts, one expert after the other.
    fn learn_levels(&mut self, pace: &Pace, residuals: &[[f64; SPEEDS]; EXPERTS], of_sizes: SizeGain) {
        let SizeGain { of_mean, is_free } = of_sizes;
        let of_level = 1.0 / (self.samples_seen as f64 + 1.0);
        for (expert, residuals) in residuals.iter().enumerate() {
            let reach = SIZE_REACH * self.errors[0][MID];
            let size = residuals[MID].abs();
            let size = if reach > 0.0 { at_most(size, reach) } else { size };
            self.losses[expert] += at_least(pace.loss_gain, of_mean) * (size - self.losses[expert]);
            let of_expert = self.levels[expert].iter_mut().zip(&mut self.errors[expert]);
            for (((level, error), residual), gain) in of_expert.zip(residuals).zip(pace.level_gains) {
                let residual = if is_free { *residual } else { clip(*residual, *error) };
                *level = bounded(*level + at_least(gain, of_level) * residual);
                *error += at_least(pace.error_gain, of_mean) * (residual.abs() - *error);
            }
        }
    }

    fn learn_profiles(&mut self, pace: &Pace, moment: &Moment, value: f64) {
        let (daily, weekly) = (moment.daily, moment.weekly);
        let deviation = |level: f64, known: f64| bounded(bounded(value - level) - known);
        let by_day = deviation(self.levels[DAILY][SLOW], self.daily.of_slot(daily));
        let is_known = self.daily.visits(daily) > 0;
        let by_day = if is_known { clip(by_day, self.errors[DAILY][SLOW]) } else { by_day };
        self.daily.learn(daily, by_day, pace.daily_gain, 0.0);
        if self.weekly.visits(weekly) == 0 {
            self.weekly.set(weekly, self.daily.of_slot(daily));
        }
        let by_week = deviation(self.levels[WEEKLY][SLOW], self.weekly.of_slot(weekly));
        // What the day adds counts as a visit.
        self.weekly.learn(weekly, clip(by_week, self.errors[WEEKLY][SLOW]), pace.weekly_gain, 1.0);
    }
}

/// A size as a mean learns it.
#[inline]
fn usual(size: f64, mean: f64, is_free: bool) -> f64 {
    if mean > 0.0 && !is_free { at_most(size, SIZE_REACH * mean) } else { size }
}

/// Limited to the reach of a level's mean error; as it is where that is 0.
#[inline]
fn clip(residual: f64, error: f64) -> f64 {
    let reach = LEVEL_REACH * error;
    if reach > 0.0 { at_most(at_least(residual, -reach), reach) } else { residual }
}
