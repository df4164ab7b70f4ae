//! What is expected of a sample, and how far it is from that.

use super::codec::Stored;
use super::hold;
use super::maxima::MAX_Z;
use super::pace::{FAST, Moment, Pace, SLOW, SPEEDS};
use super::state::{EXPERTS, State, bounded};
use super::views::{DRIFT_VIEW, FAST_VIEW, SLOW_VIEW, Trail, VIEWS};
use crate::score::{Direction, Interval, ScorePolicy, at_least, at_most};

/// Samples before the first one that is scored.
pub const FIRST_SCORED: u64 = 30;

/// What the state says of a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outlook {
    /// `S` by expert.
    seasonal: [f64; EXPERTS],
    /// `w` by expert; their sum is 1.
    pub(super) weights: [f64; EXPERTS],
    /// `sigma` by view; `None` while no deviation was anything but 0.
    sigmas: [Option<f64>; VIEWS],
    /// Half a band by view, before the height widens it.
    margins: [f64; VIEWS],
    /// `hold` at this moment, and the height that follows from it: 1 without an alarm before.
    pub(super) hold: f64,
    pub(super) height: f64,
    /// Highest score of what is no alarm.
    highest_held: f64,
    trail: Trail,
    /// Of the drift.
    drift_gain: f64,
    /// What all views have in common; no interval while nothing was learnt.
    pub(super) interval: Interval,
    samples_seen: u64,
}

/// How far a sample is from what was expected.
#[derive(Debug, Clone, Copy)]
pub(super) struct Residuals {
    /// By expert and speed.
    pub(super) of_expert: [[f64; SPEEDS]; EXPERTS],
    /// `r` by speed.
    pub(super) all: [f64; SPEEDS],
    /// `u` by view.
    pub(super) of_view: [f64; VIEWS],
}

impl<S: Stored> State<S> {
    pub(super) fn outlook(&self, pace: &Pace, moment: &Moment) -> Outlook {
        let by_day = self.daily.value(moment.daily).unwrap_or_default();
        let seasonal = [0.0, by_day, self.weekly.value(moment.weekly).unwrap_or(by_day)];
        let weights = self.weights();
        let mut predictions = [0.0; SPEEDS];
        for ((levels, seasonal), weight) in self.levels.iter().zip(seasonal).zip(weights) {
            for (prediction, level) in predictions.iter_mut().zip(levels) {
                *prediction = bounded(*prediction + weight * bounded(seasonal + level));
            }
        }
        let hour = self.hour_factor(moment.hour);
        let mut sigmas = [None; VIEWS];
        for (view, sigma) in sigmas.iter_mut().enumerate().take(pace.recipe.views) {
            *sigma = self.sigma(pace, view, hour);
        }
        let margins = self.margins(pace, moment, sigmas);
        let hold = hold::at(self.hold, moment.time.saturating_sub(self.latest_time), pace.hold);
        let height = if pace.once_per_incident { hold::height(hold) } else { 1.0 };
        let drift_gain = at_least(pace.drift_gain, 1.0 / (self.samples_seen as f64 + 1.0));
        let mut bands = [None; VIEWS];
        for (view, (band, margin)) in bands.iter_mut().zip(margins).enumerate() {
            // A series that has never moved is expected to stay where it is.
            let has_band = sigmas[view].is_some() || view == FAST_VIEW || view == SLOW_VIEW;
            *band = has_band.then(|| bounded(margin * height));
        }
        let (fast, slow) = (predictions[FAST], predictions[SLOW]);
        let interval = match self.samples_seen {
            0 => Interval::NONE,
            _ => self.trail.common(fast, slow, bands, drift_gain),
        };
        let highest_held = pace.recipe.hold.map_or(1.0, |hold| hold.highest_held);
        let (trail, samples_seen) = (self.trail, self.samples_seen);
        Outlook {
            seasonal,
            weights,
            sigmas,
            margins,
            hold,
            height,
            highest_held,
            trail,
            drift_gain,
            interval,
            samples_seen,
        }
    }

    /// Half a band of each view. A factor of the threshold must not act on the least margins: it says how rare an alarm is to be, and
    /// they what a value is made of.
    fn margins(&self, pace: &Pace, moment: &Moment, sigmas: [Option<f64>; VIEWS]) -> [f64; VIEWS] {
        let recipe = pace.recipe;
        let thresholds = if self.ends_block(moment) {
            self.maxima.thresholds_after_block(&pace.rule())
        } else {
            self.maxima.thresholds()
        };
        let mut margins = [0.0; VIEWS];
        for (view, margin) in margins.iter_mut().enumerate() {
            let Some(sigma) = sigmas[view] else { continue };
            // The quantum of a mean over n samples is as much smaller as its noise is.
            let of_mean = if view == DRIFT_VIEW { pace.drift_gain.sqrt() } else { 1.0 };
            let least = bounded(recipe.quanta[view] * of_mean * self.quantum);
            *margin = at_least(bounded(sigma * thresholds[view] * recipe.view_factors[view]), least);
        }
        margins
    }

    /// Whether a sample at this moment ends a block that counts.
    pub(super) fn ends_block(&self, moment: &Moment) -> bool {
        moment.block != self.block && self.samples_seen >= FIRST_SCORED
    }

    pub(super) fn weights(&self) -> [f64; EXPERTS] {
        /// Keeps the quotient of losses of 0 a number.
        const TINY: f64 = 1e-300;
        let least = self.losses.iter().fold(f64::MAX, |least, loss| at_most(least, *loss));
        let weights = self.losses.map(|loss| {
            let ratio = if loss > 0.0 { (least + TINY) / (loss + TINY) } else { 1.0 };
            let square = ratio * ratio;
            square * square
        });
        let total: f64 = weights.iter().sum();
        weights.map(|weight| weight / total)
    }

    /// `h`.
    pub(super) fn hour_factor(&self, hour: usize) -> f64 {
        /// Samples that count as if they had been usual ones.
        const USUAL: f64 = 100.0;
        let (hour, usual) = (self.hours[hour], self.mid_size);
        if usual == 0.0 {
            return 1.0;
        }
        let visits = f64::from(hour.visits);
        at_least(bounded((visits * bounded(hour.mean / usual) + USUAL) / (visits + USUAL)), 1.0)
    }

    /// `sigma` of a view with the factor of an hour.
    fn sigma(&self, pace: &Pace, view: usize, hour: f64) -> Option<f64> {
        self.sigma_parts(pace, view).map(|(usual, unrest)| bounded(bounded(usual * hour) * unrest))
    }

    /// `sigma` of a view without its factors, and `v`.
    pub(super) fn sigma_parts(&self, pace: &Pace, view: usize) -> Option<(f64, f64)> {
        let (recipe, sizes) = (pace.recipe, self.sizes[view]);
        if sizes.mean == 0.0 {
            return None;
        }
        let root = sizes.mean_square.sqrt();
        // L1^0.6 (L2 / 1.25)^0.4
        let between = sizes.mean * bounded(libm::pow(bounded(root / 1.25 / sizes.mean), 0.4));
        let unrest = bounded(sizes.recent / sizes.mean);
        let volatility = if unrest > 1.0 { libm::pow(unrest, recipe.unrest) } else { 1.0 };
        Some((bounded(bounded(between) + recipe.floor * root), volatility))
    }

    /// How far a sample is from what an outlook says.
    #[inline]
    pub(super) fn residuals(&self, outlook: &Outlook, value: f64) -> Residuals {
        let mut of_expert = [[0.0; SPEEDS]; EXPERTS];
        let mut all = [0.0; SPEEDS];
        for (expert, levels) in self.levels.iter().enumerate() {
            let (seasonal, weight) = (outlook.seasonal[expert], outlook.weights[expert]);
            for (speed, level) in levels.iter().enumerate() {
                let residual = bounded(bounded(value - seasonal) - level);
                of_expert[expert][speed] = residual;
                all[speed] = bounded(all[speed] + weight * residual);
            }
        }
        let of_view = outlook.trail.deviations(all[FAST], all[SLOW], outlook.drift_gain);
        Residuals { of_expert, all, of_view }
    }
}

impl Outlook {
    /// `z` of the residuals by view, as far as there is a `sigma`; at most [`MAX_Z`].
    #[inline]
    pub(super) fn sizes(&self, residuals: &Residuals) -> [Option<f64>; VIEWS] {
        let mut sizes = [None; VIEWS];
        for ((size, sigma), deviation) in sizes.iter_mut().zip(self.sigmas).zip(residuals.of_view) {
            *size = sigma.map(|sigma| at_most(quotient(deviation.abs(), sigma), MAX_Z));
        }
        sizes
    }

    /// The view from whose prediction the residuals are farthest, in its margins.
    pub(super) fn greatest_view(&self, residuals: &Residuals) -> usize {
        let (mut found, mut greatest) = (FAST_VIEW, 0.0);
        for (view, deviation) in residuals.of_view.into_iter().enumerate() {
            let distance = quotient(deviation.abs(), self.margins[view]);
            if self.sigmas[view].is_some() && distance > greatest {
                (found, greatest) = (view, distance);
            }
        }
        found
    }

    /// Half a band of a view in its `sigma`; `None` while no deviation was anything but 0.
    pub(super) fn threshold(&self, view: usize) -> Option<f64> {
        self.sigmas[view].map(|sigma| quotient(self.margins[view], sigma))
    }

    /// The score of a value by a policy whose interval is prepared; see the module's "Score".
    #[inline]
    pub(super) fn score(&self, policy: &ScorePolicy, prepared: Interval, value: f64, residuals: &Residuals) -> f64 {
        policy.score_of_views(prepared, value, self.samples_seen, || {
            self.has_score().then(|| {
                let distance = self.distance(policy, value, residuals);
                hold::beyond(distance, self.height, self.highest_held)
            })
        })
    }

    /// Whether it is known how far the series goes, and enough of it was seen.
    pub(super) fn has_score(&self) -> bool {
        self.samples_seen >= FIRST_SCORED && self.sigmas.iter().any(Option::is_some)
    }

    /// The greatest distance of a value from a view's prediction in margins of that view, whatever alarm there was before.
    pub(super) fn distance(&self, policy: &ScorePolicy, value: f64, residuals: &Residuals) -> f64 {
        let from_expected = bounded(value - self.interval.yhat);
        let scale = if from_expected > 0.0 { policy.scale.above } else { policy.scale.below };
        // From the value to the one that is nearer by the scale.
        let shift = bounded(from_expected * bounded(1.0 / scale - 1.0));
        let [fast, slow] = [FAST, SLOW].map(|speed| bounded(residuals.all[speed] + shift));
        self.greatest(self.trail.deviations(fast, slow, self.drift_gain), policy.direction)
    }

    /// The greatest of the views' deviations to a side, in margins; 0 of a sample that is not scored.
    pub(super) fn greatest(&self, of_view: [f64; VIEWS], direction: Direction) -> f64 {
        let mut greatest = 0.0;
        if self.samples_seen < FIRST_SCORED {
            return greatest;
        }
        for (view, deviation) in of_view.into_iter().enumerate() {
            let deviation = match direction {
                Direction::Both => deviation.abs(),
                Direction::AboveExpected => at_least(deviation, 0.0),
                Direction::BelowExpected => at_least(-deviation, 0.0),
            };
            if self.sigmas[view].is_some() {
                greatest = at_least(greatest, quotient(deviation, self.margins[view]));
            }
        }
        greatest
    }
}

/// 0 of 0, whatever it is divided by.
#[inline]
fn quotient(deviation: f64, size: f64) -> f64 {
    if deviation == 0.0 { 0.0 } else { bounded(deviation / size) }
}
