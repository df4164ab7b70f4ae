//! `zscore_online`: running mean and standard deviation, the bounds a number of standard deviations away.
//!
//! # Formulas
//!
//! With `d` the decay and samples `x_1 .. x_n` since the last reset, sample `i` has the weight `w_i = d^(n - i)`. Then
//!
//! - total weight `W = sum w_i`,
//! - mean `m = sum w_i x_i / W`,
//! - biased variance `V = sum w_i (x_i - m)^2 / W`,
//! - reliability `R = 1 - sum w_i^2 / W^2` (so `1 / (1 - R)` is Kish's effective sample size),
//! - standard deviation `sigma = sqrt(V)` for `d = 1`: the population's (`ddof = 0`), as the batch z-score of numpy has it;
//!   `sigma = sqrt(V / R)` for `d < 1`: unbiased for reliability weights, as `pandas.DataFrame.ewm(adjust=True).var(bias=False)`
//!   has it (its factor `W^2 / (W^2 - sum w_i^2)` is `1 / R`), and 0 while `R` is 0, after the first sample,
//! - `yhat = m`, bounds `m -+ z_threshold * sigma`, saturating at `±f64::MAX`.
//!
//! They are updated by one sample `x` (T. Finch, "Incremental calculation of weighted mean and variance", 2009, section 9; for
//! `d = 1` this is Welford's method):
//!
//! ```text
//! W' = d W + 1      g = 1 / W'      a = d W g      (a = 1 - g)
//! delta = x - m
//! m' = m + g delta
//! V' = a (V + g delta^2)
//! R' = a^2 R + 2 a g                               (d < 1)
//! ```
//!
//! `m` is kept as an unevaluated sum of two `f64` (Knuth's TwoSum), so that values around 1e15 with a spread of 1 do not leave
//! the mean stuck once `g delta` is below half a unit in its last place. `delta` and `V` saturate at `±f64::MAX`: deviations
//! beyond some 1e154, whose squares overflow, give a standard deviation of at most 1.35e154 and never an infinity or NaN.
//!
//! The end of a fit multiplies `W` by `history_strength`: mean, variance and reliability stay as they are, bit for bit, and a
//! later sample moves them as if there had been so many times more samples (of the same `R`).
//!
//! A constant series has `sigma = 0`; [`crate::score`] keeps its interval open.
//!
//! # State
//!
//! [`STATE_BYTES`] bytes: the [header](crate::state) `zs`, then `samples_seen` (`u64`), `W`, both parts of `m`, `V`, `R` (`f64`).

mod side_by_side;

use crate::argument::{ArgumentError, Arguments};
use crate::model::{OnlineBatch, OnlineModel, Samples, Scores, StateError};
use crate::per_series::infer_row;
use crate::prophet::vector::widest;
use crate::score::{Interval, ScorePolicy, at_least, at_most};
use crate::state::{Format, HEADER_BYTES, Reader, Writer, require};
use side_by_side::{LANES, side_by_side};

/// Size of a saved state, always.
pub const STATE_BYTES: usize = HEADER_BYTES + 6 * 8;

/// Tag and version of the state.
pub const FORMAT: Format = Format { tag: *b"zs", version: 1 };

/// Heaviest history: heavier ones move no more by a further sample anyway.
const MAX_WEIGHT: f64 = 1e300;

/// The greatest reliability of samples with different weights: rounding must not make it that of equal ones.
const BELOW_ONE: f64 = 1.0 - f64::EPSILON / 2.0;

/// Arguments of `zscore_online`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ZscoreOnlineArgs {
    /// Half-width of the interval in standard deviations; finite, above 0.
    pub z_threshold: f64,
    /// Weight that a sample keeps per newer one; in (0, 1].
    pub decay: f64,
    /// Factor of the evidence weight at the end of a fit; finite, above 0.
    pub history_strength: f64,
}

impl Default for ZscoreOnlineArgs {
    fn default() -> Self {
        Self { z_threshold: 2.5, decay: 1.0, history_strength: 1.0 }
    }
}

impl ZscoreOnlineArgs {
    /// Checks every argument against its range.
    ///
    /// # Errors
    /// Names the first argument that is outside its range.
    pub fn validate(&self) -> Result<(), ArgumentError> {
        let arguments = Arguments("zscore_online");
        arguments.require_positive("z_threshold", self.z_threshold)?;
        arguments.require_online(self.decay, self.history_strength)
    }

    /// The arguments that act on learning; see [`crate::spec::ModelSpec::learning_signature`].
    pub(crate) fn learning_signature(&self) -> String {
        format!("decay={:?} history_strength={:?}", self.decay, self.history_strength)
    }
}

/// What one series has learnt; everything is 0 while that is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Moments {
    samples_seen: u64,
    /// `W`.
    weight: f64,
    /// `m`, rounded.
    mean: f64,
    /// What rounding took from `mean`.
    mean_rest: f64,
    /// `V`.
    variance: f64,
    /// `R`; 1 for `d = 1`, where the population's variance is wanted.
    reliability: f64,
}

impl Moments {
    /// The state after one more finite sample.
    #[inline]
    fn learn(self, value: f64, decay: f64) -> Self {
        let kept = decay * self.weight;
        let weight = kept + 1.0;
        let gain = 1.0 / weight;
        let keep = kept * gain;
        let delta = (value - self.mean) - self.mean_rest;
        let delta = at_most(at_least(delta, -f64::MAX), f64::MAX);
        // Knuth's TwoSum: `sum + rest` is exactly `mean + step`.
        let step = gain * delta + self.mean_rest;
        let sum = self.mean + step;
        let step_taken = sum - self.mean;
        let rest = (self.mean - (sum - step_taken)) + (step - step_taken);
        let variance = keep * at_most(self.variance + gain * delta * delta, f64::MAX);
        Self {
            samples_seen: self.samples_seen + 1,
            weight,
            mean: sum,
            mean_rest: if rest.is_finite() { rest } else { 0.0 },
            variance,
            reliability: if decay < 1.0 {
                at_most(keep * keep * self.reliability + 2.0 * keep * gain, BELOW_ONE)
            } else {
                1.0
            },
        }
    }

    #[inline]
    fn interval(self, z_threshold: f64) -> Interval {
        if self.samples_seen == 0 {
            return Interval::NONE;
        }
        let variance = if self.reliability > 0.0 { at_most(self.variance / self.reliability, f64::MAX) } else { 0.0 };
        Interval::symmetric(self.mean, z_threshold * variance.sqrt())
    }

    fn finish_fit(&mut self, history_strength: f64) {
        if self.samples_seen > 0 {
            self.weight = (self.weight * history_strength).clamp(f64::MIN_POSITIVE, MAX_WEIGHT);
        }
    }

    fn save(self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(FORMAT, out);
        writer.u64(self.samples_seen);
        for field in self.numbers() {
            writer.f64(field);
        }
    }

    fn numbers(self) -> [f64; 5] {
        [self.weight, self.mean, self.mean_rest, self.variance, self.reliability]
    }

    fn load(bytes: &[u8], decay: f64) -> Result<Self, StateError> {
        let mut reader = Reader::new(FORMAT, bytes)?;
        let moments = Self {
            samples_seen: reader.u64()?,
            weight: reader.finite()?,
            mean: reader.finite()?,
            mean_rest: reader.finite()?,
            variance: reader.finite()?,
            reliability: reader.finite()?,
        };
        reader.finish()?;
        moments.check(decay)?;
        Ok(moments)
    }

    /// What holds of every state that learning with this decay gives.
    fn check(self, decay: f64) -> Result<(), StateError> {
        if self.samples_seen == 0 {
            let empty = self.numbers().iter().all(|field| field.to_bits() == 0);
            return require(empty, "numbers without samples");
        }
        require(self.weight > 0.0 && self.weight <= MAX_WEIGHT, "the weight is out of range")?;
        require(self.mean + self.mean_rest == self.mean, "the parts of the mean overlap")?;
        require(self.variance.is_sign_positive(), "the variance is negative")?;
        require(self.samples_seen > 1 || self.variance == 0.0, "one sample has a variance")?;
        if decay < 1.0 {
            require(
                self.reliability.is_sign_positive() && self.reliability < 1.0,
                "the reliability is not that of a decay below 1",
            )?;
            require(self.samples_seen > 1 || self.reliability == 0.0, "one sample is reliable")
        } else {
            require(self.reliability == 1.0, "it was learnt with a decay below 1")
        }
    }
}

/// `zscore_online` of one series.
#[derive(Debug, Clone)]
pub struct ZscoreOnline {
    args: ZscoreOnlineArgs,
    moments: Moments,
}

impl ZscoreOnline {
    /// A model that has learnt nothing.
    #[must_use]
    pub fn new(args: ZscoreOnlineArgs) -> Self {
        Self { args, moments: Moments::default() }
    }
}

impl OnlineModel for ZscoreOnline {
    fn predict(&self, _time: i64) -> Interval {
        self.moments.interval(self.args.z_threshold)
    }

    fn learn(&mut self, _time: i64, value: f64) {
        if value.is_finite() {
            self.moments = self.moments.learn(value, self.args.decay);
        }
    }

    fn finish_fit(&mut self) {
        self.moments.finish_fit(self.args.history_strength);
    }

    fn samples_seen(&self) -> u64 {
        self.moments.samples_seen
    }

    fn save(&self, out: &mut Vec<u8>) {
        self.moments.save(out);
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        self.moments = Moments::load(bytes, self.args.decay)?;
        Ok(())
    }
}

/// `zscore_online` of many series: one contiguous vector of states, 48 bytes each. Bit for bit the results of
/// [`ZscoreOnline`].
#[derive(Debug, Clone)]
pub struct ZscoreOnlineBatch {
    args: ZscoreOnlineArgs,
    moments: Vec<Moments>,
}

impl ZscoreOnlineBatch {
    /// A batch without slots.
    #[must_use]
    pub fn new(args: ZscoreOnlineArgs) -> Self {
        Self { args, moments: Vec::new() }
    }
}

impl ZscoreOnlineBatch {
    fn infer_series(&mut self, samples: Samples<'_>, row: usize, policy: &ScorePolicy, scores: &mut Scores) {
        let moments = &mut self.moments[samples.slots[row] as usize];
        let mut model = ZscoreOnline { args: self.args, moments: *moments };
        infer_row(&mut model, samples, row, policy, scores);
        *moments = model.moments;
    }

    /// A tick of [`LANES`] series from a row on, by a policy that [is plain](ScorePolicy::is_plain): side by side if nothing is
    /// special about any of them.
    #[inline(always)]
    fn infer_lanes(
        &mut self,
        slots: &[u32; LANES],
        samples: Samples<'_>,
        row: usize,
        policy: &ScorePolicy,
        scores: &mut Scores,
    ) {
        let (values, _) = samples.values[row..].as_chunks::<LANES>();
        let before = slots.map(|slot| self.moments[slot as usize]);
        if let Some(values) = values.first()
            && let Some((after, outputs)) = side_by_side(&before, values, self.args, policy)
        {
            for (slot, after) in slots.iter().zip(after) {
                self.moments[*slot as usize] = after;
            }
            let Scores { anomaly_score, yhat, yhat_lower, yhat_upper, .. } = scores;
            for (all, output) in [anomaly_score, yhat, yhat_lower, yhat_upper].into_iter().zip(outputs) {
                all[row..row + LANES].copy_from_slice(&output);
            }
            return;
        }
        (row..row + LANES).for_each(|row| self.infer_series(samples, row, policy, scores));
    }
}

impl OnlineBatch for ZscoreOnlineBatch {
    fn slots(&self) -> usize {
        self.moments.len()
    }

    fn grow(&mut self, slots: usize) {
        if slots > self.moments.len() {
            self.moments.resize(slots, Moments::default());
        }
    }

    fn reset(&mut self, slot: u32) {
        self.moments[slot as usize] = Moments::default();
    }

    fn infer(&mut self, samples: Samples<'_>, policy: &ScorePolicy, scores: &mut Scores) {
        samples.check(self.slots());
        scores.resize(samples.values.len());
        let mut row = 0;
        if samples.times.len() == 1 && policy.is_plain() && !scores.gives_stage {
            let (slots, _) = samples.slots.as_chunks::<LANES>();
            widest(
                #[inline(always)]
                || {
                    for slots in slots {
                        self.infer_lanes(slots, samples, row, policy, scores);
                        row += LANES;
                    }
                },
            );
        }
        (row..samples.slots.len()).for_each(|row| self.infer_series(samples, row, policy, scores));
    }

    fn learn(&mut self, samples: Samples<'_>) {
        samples.check(self.slots());
        for (row, slot) in samples.slots.iter().enumerate() {
            let moments = &mut self.moments[*slot as usize];
            for value in samples.row(row) {
                if value.is_finite() {
                    *moments = moments.learn(*value, self.args.decay);
                }
            }
        }
    }

    fn finish_fit(&mut self, slot: u32) {
        self.moments[slot as usize].finish_fit(self.args.history_strength);
    }

    fn samples_seen(&self, slot: u32) -> u64 {
        self.moments[slot as usize].samples_seen
    }

    fn save(&self, slot: u32, out: &mut Vec<u8>) {
        self.moments[slot as usize].save(out);
    }

    fn load(&mut self, slot: u32, bytes: &[u8]) -> Result<(), StateError> {
        self.moments[slot as usize] = Moments::load(bytes, self.args.decay)?;
        Ok(())
    }

    fn heap_bytes(&self) -> usize {
        self.moments.capacity() * size_of::<Moments>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn args(decay: f64) -> ZscoreOnlineArgs {
        ZscoreOnlineArgs { z_threshold: 2.0, decay, history_strength: 1.0 }
    }

    fn learnt(args: ZscoreOnlineArgs, values: &[f64]) -> ZscoreOnline {
        let mut model = ZscoreOnline::new(args);
        for value in values {
            model.learn(0, *value);
        }
        model
    }

    /// Mean and standard deviation by the definitions, two passes over offsets from the first value.
    fn by_definition(values: &[f64], decay: f64) -> (f64, f64) {
        let mut weights = vec![1.0];
        while weights.len() < values.len() {
            weights.push(weights[weights.len() - 1] * decay);
        }
        weights.reverse();
        let total: f64 = weights.iter().sum();
        let weighted = |f: &dyn Fn(f64) -> f64| {
            let pairs = weights.iter().zip(values);
            pairs.map(|(weight, value)| weight * f(value - values[0])).sum::<f64>() / total
        };
        let mean = weighted(&|offset| offset);
        let biased = weighted(&|offset| (offset - mean) * (offset - mean));
        let squares: f64 = weights.iter().map(|weight| weight * weight).sum();
        let correction = if decay < 1.0 { total * total / (total * total - squares) } else { 1.0 };
        (values[0] + mean, (biased * correction).sqrt())
    }

    #[test]
    fn without_decay_the_bounds_are_those_of_the_population() {
        let interval = learnt(args(1.0), &[1.0, 2.0, 3.0, 4.0]).predict(0);
        assert_eq!(interval.yhat, 2.5);
        assert!((interval.upper - (2.5 + 2.0 * 1.25_f64.sqrt())).abs() < 1e-14);
    }

    #[test]
    fn with_decay_the_variance_is_that_of_pandas_ewm() {
        // Weights 1/4, 1/2, 1 of the samples 1, 2, 4; their mean is 3.
        let interval = learnt(args(0.5), &[1.0, 2.0, 4.0]).predict(0);
        let biased: f64 = (0.25 * 4.0 + 0.5 * 1.0 + 1.0) / 1.75;
        let factor = 1.75 * 1.75 / (1.75 * 1.75 - (1.0 / 16.0 + 0.25 + 1.0));
        assert!((interval.yhat - 3.0).abs() < 1e-15);
        assert!((interval.upper - 3.0 - 2.0 * (biased * factor).sqrt()).abs() < 1e-14);
    }

    #[test]
    fn a_model_that_has_learnt_nothing_expects_nothing() {
        let mut model = ZscoreOnline::new(args(1.0));
        model.learn(0, f64::NAN);
        model.finish_fit();
        assert!(!model.predict(0).is_some());
        assert_eq!(model.samples_seen(), 0);
    }

    #[test]
    fn the_mean_of_values_around_1e15_follows_steps_far_below_its_last_place() {
        let mut model = ZscoreOnline::new(args(1.0));
        for index in 0..1_000_000 {
            // A step of 2 / 1000 and less a sample; the last place of 1e15 is 1/8.
            let level = if index < 1000 { 0.0 } else { 2.0 };
            model.learn(0, 1e15 + level + f64::from(index % 3));
        }
        let interval = model.predict(0);
        assert!((interval.yhat - 1e15 - 3.0).abs() <= 0.125);
        let (old, new) = (0.001, 0.999);
        let variance = 2.0 / 3.0 + 4.0 * old * new;
        assert!((model.moments.variance - variance).abs() < 1e-5);
    }

    #[test]
    fn a_constant_series_scores_above_one_on_any_deviation_beyond_rounding() {
        let policy = ScorePolicy::default();
        for decay in [1.0, 0.9] {
            let model = learnt(args(decay), &[0.1; 100]);
            let prepared = policy.prepare(model.predict(0));
            assert_eq!(policy.score(prepared, 0.1, 100), 0.0);
            assert!(policy.score(prepared, 0.1 + 1e-12, 100) > 1.0);
        }
    }

    #[test]
    fn history_strength_keeps_the_interval_and_weakens_later_samples() {
        let strong = ZscoreOnlineArgs { history_strength: 3.0, ..args(1.0) };
        let fitted = learnt(strong, &[1.0, 2.0, 6.0]);
        let mut strengthened = fitted.clone();
        strengthened.finish_fit();
        assert_eq!(strengthened.predict(0), fitted.predict(0));
        assert_eq!(strengthened.samples_seen(), 3);
        strengthened.learn(0, 13.0);
        assert_eq!(strengthened.predict(0).yhat, 4.0, "(9 * 3 + 13) / 10");
    }

    #[test]
    fn the_state_is_as_long_as_documented_and_knows_its_decay() {
        let mut bytes = Vec::new();
        learnt(args(1.0), &[1.0, 2.0]).save(&mut bytes);
        assert_eq!(bytes.len(), STATE_BYTES);
        assert!(ZscoreOnline::new(args(0.9)).load(&bytes).is_err());
        bytes.clear();
        learnt(args(0.9), &[1.0, 2.0]).save(&mut bytes);
        let refused = ZscoreOnline::new(args(1.0)).load(&bytes);
        assert_eq!(refused.unwrap_err().to_string(), "state is damaged: it was learnt with a decay below 1");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn mean_and_deviation_are_those_of_the_definitions(
            values in prop::collection::vec(-1e3..1e3_f64, 2..200),
            decay in prop_oneof![Just(1.0), 0.01..1.0_f64],
            offset in prop_oneof![Just(0.0), -1e9..1e9_f64],
        ) {
            let values: Vec<f64> = values.iter().map(|value| value + offset).collect();
            let interval = learnt(args(decay), &values).predict(0);
            let (mean, deviation) = by_definition(&values, decay);
            // A mean near 0 is one of values of a thousand all the same.
            let rounding = 1e-15 * offset.abs() + 1e-14 * 1e3;
            prop_assert!((interval.yhat - mean).abs() <= 1e-12 * mean.abs() + rounding);
            let measured = (interval.upper - interval.yhat) / 2.0;
            prop_assert!((measured - deviation).abs() <= 1e-9 * deviation + rounding, "{measured} {deviation}");
        }

        #[test]
        fn the_state_stays_finite_and_loadable_for_values_of_every_magnitude(
            values in prop::collection::vec(prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO, 1..50),
            decay in prop_oneof![Just(1.0), Just(f64::MIN_POSITIVE), 1e-9..1.0_f64],
            history_strength in prop_oneof![Just(1e300), Just(1e-300), 0.1..10.0_f64],
            fitted in 0..50_usize,
        ) {
            let args = ZscoreOnlineArgs { history_strength, ..args(decay) };
            let fitted = fitted.min(values.len());
            let mut model = learnt(args, &values[..fitted]);
            model.finish_fit();
            for value in &values[fitted..] {
                model.learn(0, *value);
            }
            let interval = model.predict(0);
            prop_assert!(interval.is_some() && interval.lower.is_finite() && interval.upper.is_finite());
            let mut bytes = Vec::new();
            model.save(&mut bytes);
            let mut loaded = ZscoreOnline::new(args);
            prop_assert_eq!(loaded.load(&bytes), Ok(()));
            prop_assert_eq!(loaded.moments, model.moments);
        }
    }
}
