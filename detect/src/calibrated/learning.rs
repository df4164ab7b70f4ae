//! What a sample teaches.

use super::codec::Stored;
use super::maxima::VIEWS;
use super::pace::{MID, Moment, Pace, SLOW, SPEEDS};
use super::prediction::{FIRST_SCORED, Outlook};
use super::state::{DAILY, EXPERTS, State, WEEKLY, bounded};
use crate::score::{at_least, at_most};

/// Samples before the first one that is clipped.
const FREE_SAMPLES: u64 = 10;

/// Mean sizes beyond which a deviation counts no more: in levels and profiles, in `L1`, `H` and losses, and in `E`.
const LEVEL_REACH: f64 = 3.5;
const SIZE_REACH: f64 = 6.0;
const RECENT_REACH: f64 = 50.0;

impl<S: Stored> State<S> {
    /// Learns a finite sample of which the outlook was this one.
    pub(super) fn learn(&mut self, pace: &Pace, moment: &Moment, value: f64, outlook: &Outlook) {
        if self.samples_seen == 0 {
            self.levels = [[value; SPEEDS]; EXPERTS];
        }
        let residuals = self.residuals(outlook, value);
        if self.ends_block(moment) {
            self.maxima.end_block(pace.prior_threshold);
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
        let of_mean = 1.0 / (self.samples_seen as f64 + 1.0);
        self.learn_sizes(pace, moment.hour, &residuals.all, of_mean);
        self.learn_levels(pace, &residuals.of_expert, of_mean);
        self.learn_profiles(pace, moment, value);
        self.samples_seen += 1;
    }

    /// `L1`, `L2`, `E` and `H`.
    fn learn_sizes(&mut self, pace: &Pace, hour: usize, residuals: &[f64; SPEEDS], of_mean: f64) {
        let is_free = self.samples_seen < FREE_SAMPLES;
        for (speed, (sizes, residual)) in self.sizes.iter_mut().zip(residuals).enumerate() {
            let size = residual.abs();
            let has_moved = sizes.mean > 0.0;
            let usual = if has_moved && !is_free { at_most(size, SIZE_REACH * sizes.mean) } else { size };
            let recent = if has_moved { at_most(size, RECENT_REACH * sizes.mean) } else { size };
            let gain = at_least(pace.size_gain, of_mean);
            sizes.mean += gain * (usual - sizes.mean);
            sizes.mean_square += gain * (at_most(residual * residual, f64::MAX) - sizes.mean_square);
            sizes.recent += at_least(pace.recent_gain, of_mean) * (recent - sizes.recent);
            if speed == MID {
                let hour = &mut self.hours[hour];
                hour.visits = hour.visits.saturating_add(1);
                hour.mean += at_least(pace.hour_gain, 1.0 / f64::from(hour.visits)) * (usual - hour.mean);
            }
        }
    }

    /// Levels with their mean errors, and the losses of the experts, one expert after the other.
    fn learn_levels(&mut self, pace: &Pace, residuals: &[[f64; SPEEDS]; EXPERTS], of_mean: f64) {
        let is_free = self.samples_seen < FREE_SAMPLES;
        for (expert, residuals) in residuals.iter().enumerate() {
            let reach = SIZE_REACH * self.errors[0][MID];
            let size = residuals[MID].abs();
            let size = if reach > 0.0 { at_most(size, reach) } else { size };
            self.losses[expert] += at_least(pace.loss_gain, of_mean) * (size - self.losses[expert]);
            let of_expert = self.levels[expert].iter_mut().zip(&mut self.errors[expert]);
            for (((level, error), residual), gain) in of_expert.zip(residuals).zip(pace.level_gains) {
                let residual = if is_free { *residual } else { clip(*residual, *error) };
                *level = bounded(*level + at_least(gain, of_mean) * residual);
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

/// Limited to the reach of a level's mean error; as it is where that is 0.
#[inline]
fn clip(residual: f64, error: f64) -> f64 {
    let reach = LEVEL_REACH * error;
    if reach > 0.0 { at_most(at_least(residual, -reach), reach) } else { residual }
}
