//! What is expected of a sample, and how far it is from that.

use super::codec::Stored;
use super::maxima::{MAX_Z, VIEWS};
use super::pace::{FAST, MID, Moment, Pace, SLOW, SPEEDS};
use super::state::{EXPERTS, State, bounded};
use crate::score::{Direction, Interval, ScorePolicy, at_least, at_most};

/// Samples before the first one that is scored.
pub const FIRST_SCORED: u64 = 30;

/// The speeds of the views.
pub(super) const SPEED_OF_VIEW: [usize; VIEWS] = [FAST, SLOW];

/// What the state says of a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outlook {
    /// `S` by expert.
    seasonal: [f64; EXPERTS],
    /// `w` by expert; their sum is 1.
    pub(super) weights: [f64; EXPERTS],
    /// `sigma` by view; `None` while no residual was anything but 0.
    sigmas: [Option<f64>; VIEWS],
    /// `T` by view.
    pub(super) thresholds: [f64; VIEWS],
    /// `sigma T` by view.
    margins: [f64; VIEWS],
    /// What both views have in common; no interval while nothing was learnt.
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
        let sigmas = SPEED_OF_VIEW.map(|speed| self.sigma(speed, hour));
        let thresholds = if self.ends_block(moment) {
            self.maxima.thresholds_after_block(pace.prior_threshold)
        } else {
            self.maxima.thresholds()
        };
        let mut margins = [0.0; VIEWS];
        for ((margin, sigma), threshold) in margins.iter_mut().zip(sigmas).zip(thresholds) {
            *margin = bounded(sigma.unwrap_or_default() * threshold);
        }
        let centres = SPEED_OF_VIEW.map(|speed| predictions[speed]);
        let interval = if self.samples_seen == 0 { Interval::NONE } else { common(centres, margins) };
        Outlook { seasonal, weights, sigmas, thresholds, margins, interval, samples_seen: self.samples_seen }
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
        let (hour, usual) = (self.hours[hour], self.sizes[MID].mean);
        if usual == 0.0 {
            return 1.0;
        }
        let visits = f64::from(hour.visits);
        at_least(bounded((visits * bounded(hour.mean / usual) + USUAL) / (visits + USUAL)), 1.0)
    }

    /// `sigma` of a speed with the factor of an hour.
    fn sigma(&self, speed: usize, hour: f64) -> Option<f64> {
        self.sigma_parts(speed).map(|(usual, unrest)| bounded(bounded(usual * hour) * unrest))
    }

    /// `sigma` of a speed without its factors, and `v`.
    pub(super) fn sigma_parts(&self, speed: usize) -> Option<(f64, f64)> {
        let sizes = self.sizes[speed];
        if sizes.mean == 0.0 {
            return None;
        }
        let root = sizes.mean_square.sqrt();
        // L1^0.6 (L2 / 1.25)^0.4
        let between = sizes.mean * bounded(libm::pow(bounded(root / 1.25 / sizes.mean), 0.4));
        let unrest = bounded(sizes.recent / sizes.mean);
        let volatility = if unrest > 1.0 { libm::pow(unrest, 0.6) } else { 1.0 };
        Some((bounded(bounded(between) + 0.1 * root), volatility))
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
        Residuals { of_expert, all }
    }
}

/// What bands of these centres and margins have in common, around the first centre; the middle between them if that is nothing.
fn common(centres: [f64; VIEWS], margins: [f64; VIEWS]) -> Interval {
    let (mut lower, mut upper) = (-f64::MAX, f64::MAX);
    for (centre, margin) in centres.into_iter().zip(margins) {
        lower = at_least(lower, bounded(centre - margin));
        upper = at_most(upper, bounded(centre + margin));
    }
    if lower > upper {
        let middle = 0.5 * lower + 0.5 * upper;
        return Interval { yhat: middle, lower: middle, upper: middle };
    }
    Interval { yhat: at_most(at_least(centres[0], lower), upper), lower, upper }
}

impl Outlook {
    /// `z` of the residuals by view, as far as there is a `sigma`; at most [`MAX_Z`].
    #[inline]
    pub(super) fn sizes(&self, residuals: &Residuals) -> [Option<f64>; VIEWS] {
        let mut sizes = [None; VIEWS];
        for ((size, sigma), speed) in sizes.iter_mut().zip(self.sigmas).zip(SPEED_OF_VIEW) {
            *size = sigma.map(|sigma| at_most(quotient(residuals.all[speed].abs(), sigma), MAX_Z));
        }
        sizes
    }

    /// The view from whose prediction the residuals are farthest, in its margins.
    pub(super) fn greatest_view(&self, residuals: &Residuals) -> usize {
        let [fast, slow] = SPEED_OF_VIEW.map(|speed| residuals.all[speed].abs());
        let [of_fast, of_slow] = self.margins;
        usize::from(quotient(slow, of_slow) > quotient(fast, of_fast))
    }

    /// The score of a value by a policy whose interval is prepared; see the module's "Score".
    #[inline]
    pub(super) fn score(&self, policy: &ScorePolicy, prepared: Interval, value: f64, residuals: &Residuals) -> f64 {
        policy.score_of_views(prepared, value, self.samples_seen, || {
            let has_moved = self.sigmas.iter().any(Option::is_some);
            (has_moved && self.samples_seen >= FIRST_SCORED).then(|| self.base_score(policy, value, residuals))
        })
    }

    /// The greatest distance from a view's prediction in margins of that view.
    fn base_score(&self, policy: &ScorePolicy, value: f64, residuals: &Residuals) -> f64 {
        let from_expected = bounded(value - self.interval.yhat);
        let scale = if from_expected > 0.0 { policy.scale.above } else { policy.scale.below };
        // From the value to the one that is nearer by the scale.
        let shift = bounded(from_expected * bounded(1.0 / scale - 1.0));
        let mut greatest = 0.0;
        for (view, speed) in SPEED_OF_VIEW.into_iter().enumerate() {
            let residual = bounded(residuals.all[speed] + shift);
            let deviation = match policy.direction {
                Direction::Both => residual.abs(),
                Direction::AboveExpected => at_least(residual, 0.0),
                Direction::BelowExpected => at_least(-residual, 0.0),
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
