//! From an expected interval and a value to the anomaly score.
//!
//! Every model predicts an [`Interval`]; everything after that is here, the same for all models, in this order. The
//! order is vmanomaly's; where its documentation is silent, the decision is stated.
//!
//! **Bounds** ([`ScorePolicy::prepare`]):
//!
//! 1. *No expectation.* If `yhat` is not finite or a bound is NaN, the model expects nothing: all three become NaN.
//! 2. *Scale.* `upper = yhat + max(|upper - yhat| * scale.above, floor)`, `lower = yhat - max(|yhat - lower| * scale.below, floor)`
//!    with `floor = MARGIN_FLOOR * max(|yhat|, 1)`. The floor keeps the interval of a constant series open by four units in
//!    the last place: any deviation beyond rounding noise scores above 1, rounding noise does not. It acts after `scale`, so
//!    no scale can close the interval. Bounds saturate at `±f64::MAX`.
//! 3. *Clip.* With `clip_predictions`, `yhat`, `lower` and `upper` are clamped to `data_range`, in warm-up too.
//!
//! **Score** ([`ScorePolicy::score`]), the first rule that applies decides:
//!
//! 1. `y` is not finite: NaN, whatever else is true (an infinite `y` is no "value outside the range").
//! 2. `y < data_range.0` or `y > data_range.1`: `score_outside_data_range` is *assigned* (no maximum with the base score, no
//!    cap), because it is a statement about the value's domain, not about the model. So it also wins in warm-up, before
//!    anything was learnt, on the side that `direction` ignores, and within the minimal deviations.
//! 3. No expectation: 0 (the model is warming up).
//! 4. `yhat` (after clipping, so only without it) is outside `data_range`: 0, the prediction is not to be trusted.
//! 5. Fewer than `min_n_samples_seen` samples were seen: 0.
//! 6. `y` lies on the side that `direction` ignores: 0.
//! 7. A minimal deviation of this side is configured (above 0) and `y` does not exceed it: 0. `|y - yhat| <= min_dev`, and
//!    `100 * |y - yhat| <= min_rel_dev * |yhat|`; both must be exceeded where both are configured, equality suppresses.
//!    `yhat == 0` makes every relative deviation infinite: the relative filter then suppresses nothing.
//! 8. The base score: [`base_score`], or that of a class which has several views of a value ([`crate::calibrated`]).

/// Smallest margin, as a fraction of `max(|yhat|, 1)`: 2^-50, four units in the last place of a number just above 1.
pub const MARGIN_FLOOR: f64 = 1.0 / (1u64 << 50) as f64;

/// Up to here the base score is the deviation in margins. Beyond, it grows with the logarithm of that, by a thousandth of this for
/// every factor of ten: the number says no more, but a larger deviation still ranks above a smaller one.
pub const LINEAR_SCORES: f64 = 1e6;

/// Largest base score, that of a margin of zero.
pub const MAX_SCORE: f64 = 1.5 * LINEAR_SCORES;

/// The smallest number above 1: the base score of a value outside the interval by less than rounding can express.
pub(crate) const ABOVE_ONE: f64 = 1.0 + f64::EPSILON;

/// An expected value with its bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Expected value.
    pub yhat: f64,
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
}

impl Interval {
    /// No expectation: the model has learnt nothing.
    pub const NONE: Self = Self { yhat: f64::NAN, lower: f64::NAN, upper: f64::NAN };

    /// `yhat` with the same margin on both sides; bounds saturate at `±f64::MAX`.
    #[must_use]
    pub fn symmetric(yhat: f64, margin: f64) -> Self {
        Self { yhat, lower: at_least(yhat - margin, -f64::MAX), upper: at_most(yhat + margin, f64::MAX) }
    }

    /// Whether there is an expectation: `yhat` is finite and no bound is NaN.
    #[must_use]
    pub fn is_some(&self) -> bool {
        self.yhat.is_finite() && !self.lower.is_nan() && !self.upper.is_nan()
    }
}

/// Which side of the expectation counts as anomalous.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// Both sides.
    #[default]
    Both,
    /// Only `y > yhat`.
    AboveExpected,
    /// Only `y < yhat`.
    BelowExpected,
}

/// A pair of thresholds, one for each side of the expectation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sides {
    /// Applies where `y < yhat`.
    pub below: f64,
    /// Applies where `y > yhat`.
    pub above: f64,
}

impl Sides {
    /// The same threshold on both sides.
    #[must_use]
    pub const fn both(threshold: f64) -> Self {
        Self { below: threshold, above: threshold }
    }

    fn all(self, predicate: impl Fn(f64) -> bool) -> bool {
        predicate(self.below) && predicate(self.above)
    }
}

/// Everything that turns an interval into a score, after the model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScorePolicy {
    /// Multiplies the margins, not `yhat`.
    pub scale: Sides,
    /// Clamps the interval to `data_range`.
    pub clip_predictions: bool,
    /// The valid domain of values, `(low, high)`, inclusive.
    pub data_range: (f64, f64),
    /// The score of a value outside `data_range`.
    pub score_outside_data_range: f64,
    /// Which side counts.
    pub direction: Direction,
    /// Deviations up to this are no anomaly, in units of the series.
    pub min_dev_from_expected: Sides,
    /// Deviations up to this are no anomaly, in percent of `|yhat|`.
    pub min_rel_dev_from_expected: Sides,
    /// The score is 0 until the model has seen this many samples.
    pub min_n_samples_seen: u64,
}

impl Default for ScorePolicy {
    /// The documented defaults of vmanomaly.
    fn default() -> Self {
        Self {
            scale: Sides::both(1.0),
            clip_predictions: false,
            data_range: (f64::NEG_INFINITY, f64::INFINITY),
            score_outside_data_range: 1.01,
            direction: Direction::Both,
            min_dev_from_expected: Sides::both(0.0),
            min_rel_dev_from_expected: Sides::both(0.0),
            min_n_samples_seen: 16,
        }
    }
}

/// Why a [`ScorePolicy`] is not usable.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum PolicyError {
    /// A factor is zero, negative or not finite.
    #[error("scale is [{below}, {above}], both must be finite and above 0", below = .0.below, above = .0.above)]
    Scale(Sides),
    /// The range is empty or has a NaN end.
    #[error("data_range is [{low}, {high}], the low end must not exceed the high end", low = .0.0, high = .0.1)]
    DataRange((f64, f64)),
    /// The score is negative or not finite.
    #[error("anomaly_score_outside_data_range is {0}, it must be finite and at least 0")]
    OutsideDataRange(f64),
    /// A deviation is negative or not finite.
    #[error("min_dev_from_expected is [{below}, {above}], both must be finite and at least 0", below = .0.below, above = .0.above)]
    MinDev(Sides),
    /// A deviation is negative or not finite.
    #[error("min_rel_dev_from_expected is [{below}, {above}], both must be finite and at least 0", below = .0.below, above = .0.above)]
    MinRelDev(Sides),
}

impl ScorePolicy {
    /// Checks every field against its range.
    ///
    /// # Errors
    /// Names the first field that is outside its range. A policy that was not checked never panics and never scores
    /// anything but NaN or a number, but it need not mean anything.
    pub fn validate(&self) -> Result<(), PolicyError> {
        let threshold = |value: f64| value.is_finite() && value >= 0.0;
        let (low, high) = self.data_range;
        if !self.scale.all(|factor| factor.is_finite() && factor > 0.0) {
            return Err(PolicyError::Scale(self.scale));
        }
        if low.is_nan() || high.is_nan() || low > high {
            return Err(PolicyError::DataRange(self.data_range));
        }
        if !threshold(self.score_outside_data_range) {
            return Err(PolicyError::OutsideDataRange(self.score_outside_data_range));
        }
        if !self.min_dev_from_expected.all(threshold) {
            return Err(PolicyError::MinDev(self.min_dev_from_expected));
        }
        if !self.min_rel_dev_from_expected.all(threshold) {
            return Err(PolicyError::MinRelDev(self.min_rel_dev_from_expected));
        }
        Ok(())
    }

    /// The interval as it is scored and written: margins scaled, then clipped (see the module's "Bounds").
    #[inline]
    #[must_use]
    pub fn prepare(&self, interval: Interval) -> Interval {
        if !interval.is_some() {
            return Interval::NONE;
        }
        let yhat = interval.yhat;
        let floor = MARGIN_FLOOR * at_least(yhat.abs(), 1.0);
        let above = at_least((interval.upper - yhat).abs() * self.scale.above, floor);
        let below = at_least((yhat - interval.lower).abs() * self.scale.below, floor);
        let scaled =
            Interval { yhat, lower: at_least(yhat - below, -f64::MAX), upper: at_most(yhat + above, f64::MAX) };
        if !self.clip_predictions {
            return scaled;
        }
        let (low, high) = self.data_range;
        let clip = |bound: f64| at_most(at_least(bound, low), high);
        Interval { yhat: clip(scaled.yhat), lower: clip(scaled.lower), upper: clip(scaled.upper) }
    }

    /// The anomaly score of `y` against a [prepared](Self::prepare) interval, by a model that had seen `samples_seen`
    /// samples when it predicted (see the module's "Score").
    #[inline]
    #[must_use]
    pub fn score(&self, prepared: Interval, y: f64, samples_seen: u64) -> f64 {
        self.score_unless_decided(prepared, y, samples_seen, || base_score(prepared, y))
    }

    /// The same by a model that has several views of `y`, and so a base score of its own that need not be 0 at `yhat`; `None`, for
    /// 0, while it has none. Where that is on the other side of 1 than `y` is of the interval's bounds, the interval decides.
    #[inline]
    pub(crate) fn score_of_views(
        &self,
        prepared: Interval,
        y: f64,
        samples_seen: u64,
        base: impl FnOnce() -> Option<f64>,
    ) -> f64 {
        self.score_unless_decided(prepared, y, samples_seen, || {
            let Some(base) = base().map(bounded) else { return 0.0 };
            let is_outside = y > prepared.upper || y < prepared.lower;
            if (base > 1.0) == is_outside { base } else { base_score(prepared, y) }
        })
    }

    /// Rules 1 to 7 of the score, and the eighth if none of them applies.
    #[inline]
    pub(crate) fn score_unless_decided(
        &self,
        prepared: Interval,
        y: f64,
        samples_seen: u64,
        base: impl FnOnce() -> f64,
    ) -> f64 {
        if !y.is_finite() {
            return f64::NAN;
        }
        if self.is_outside_data_range(y) {
            return self.score_outside_data_range;
        }
        if !prepared.is_some()
            || samples_seen < self.min_n_samples_seen
            || self.is_outside_data_range(prepared.yhat)
            || self.is_suppressed(prepared.yhat, y)
        {
            return 0.0;
        }
        base()
    }

    /// The anomaly score of `y` by a model that gives a base score of its own and expects no value, such as an isolation
    /// forest: only rules 1 and 2 of the module's "Score" act on it, and it is kept within 0 and [`MAX_SCORE`].
    #[must_use]
    pub fn score_of_base(&self, base: f64, y: f64) -> f64 {
        if !y.is_finite() {
            f64::NAN
        } else if self.is_outside_data_range(y) {
            self.score_outside_data_range
        } else {
            at_most(at_least(base, 0.0), MAX_SCORE)
        }
    }

    /// Whether nothing but the warm-up acts on a score: margins may be scaled, but no value is outside the range, ignored or near
    /// enough.
    pub(crate) fn is_plain(&self) -> bool {
        self.data_range == (f64::NEG_INFINITY, f64::INFINITY)
            && self.direction == Direction::Both
            && [self.min_dev_from_expected, self.min_rel_dev_from_expected]
                .iter()
                .all(|sides| sides.all(|dev| dev == 0.0))
    }

    pub(crate) fn is_outside_data_range(&self, value: f64) -> bool {
        value < self.data_range.0 || value > self.data_range.1
    }

    /// Rules 6 and 7 of the score.
    fn is_suppressed(&self, yhat: f64, y: f64) -> bool {
        let above = y > yhat;
        let ignored = match self.direction {
            Direction::Both => false,
            Direction::AboveExpected => !above,
            Direction::BelowExpected => y >= yhat,
        };
        let side = |sides: Sides| if above { sides.above } else { sides.below };
        let deviation = (y - yhat).abs();
        let min_dev = side(self.min_dev_from_expected);
        let min_rel_dev = side(self.min_rel_dev_from_expected);
        ignored
            || (min_dev > 0.0 && deviation <= min_dev)
            || (min_rel_dev > 0.0 && yhat != 0.0 && is_within_percent(deviation, min_rel_dev, yhat.abs()))
    }
}

/// Whether `100 * deviation <= percent * expected`, all of them at least 0. The products keep round numbers exact (7 is
/// 7 % of 100); where one of them overflows, both sides are divided by 100 first.
fn is_within_percent(deviation: f64, percent: f64, expected: f64) -> bool {
    let (left, right) = (100.0 * deviation, percent * expected);
    if left.is_finite() && right.is_finite() { left <= right } else { deviation <= percent * (expected / 100.0) }
}

/// The distance of `y` from `yhat` in margins of its side: `(y - yhat) / (upper - yhat)` above, `(yhat - y) / (yhat - lower)`
/// below, 0 at `yhat`.
///
/// It is exactly 1 at a bound, above 1 if and only if `y` lies strictly outside (at least `1 + 2^-52`, also where rounding
/// swallows the difference), never decreases with the distance on a side, and is at most [`MAX_SCORE`], which it is where the
/// margin is zero. NaN in gives NaN out. Differences that overflow are taken between the halves of the numbers.
#[inline]
#[must_use]
pub fn base_score(interval: Interval, y: f64) -> f64 {
    let Interval { yhat, lower, upper } = interval;
    if y == yhat {
        return 0.0;
    }
    let bound = if y > yhat { upper } else { lower };
    let mut deviation = (y - yhat).abs();
    let mut margin = (bound - yhat).abs();
    if deviation.max(margin) == f64::INFINITY {
        deviation = (y * 0.5 - yhat * 0.5).abs();
        margin = (bound * 0.5 - yhat * 0.5).abs();
    }
    let ratio = bounded(deviation / margin);
    let outside = y > upper || y < lower;
    if outside { at_least(ratio, ABOVE_ONE) } else { ratio }
}

/// Beyond [`LINEAR_SCORES`] the logarithm, so that scores stay finite and distinct.
#[inline]
pub(crate) fn bounded(ratio: f64) -> f64 {
    if ratio > LINEAR_SCORES {
        at_most(LINEAR_SCORES * (1.0 + 1e-3 * libm::log10(ratio / LINEAR_SCORES)), MAX_SCORE)
    } else {
        ratio
    }
}

/// The greater of the two, `value` if it is NaN.
#[inline]
pub(crate) fn at_least(value: f64, low: f64) -> f64 {
    if value < low { low } else { value }
}

/// The smaller of the two, `value` if it is NaN.
#[inline]
pub(crate) fn at_most(value: f64, high: f64) -> f64 {
    if value > high { high } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NORMAL: Interval = Interval { yhat: 10.0, lower: 8.0, upper: 14.0 };

    fn warm() -> ScorePolicy {
        ScorePolicy { min_n_samples_seen: 0, ..ScorePolicy::default() }
    }

    /// Prepares and scores in one go, with a model that is warm.
    fn score(policy: ScorePolicy, interval: Interval, y: f64) -> f64 {
        policy.score(policy.prepare(interval), y, 100)
    }

    #[test]
    fn the_score_is_the_deviation_in_margins_of_its_side() {
        let scores = [10.0, 9.0, 8.0, 6.0, 12.0, 14.0, 18.0].map(|y| score(warm(), NORMAL, y));
        assert_eq!(scores, [0.0, 0.5, 1.0, 2.0, 0.5, 1.0, 2.0]);
    }

    #[test]
    fn scale_multiplies_the_margins_and_leaves_yhat_alone() {
        let policy = ScorePolicy { scale: Sides { below: 1.5, above: 0.5 }, ..warm() };
        let expected = Interval { yhat: 10.0, lower: 7.0, upper: 12.0 };
        assert_eq!(policy.prepare(NORMAL), expected);
    }

    #[test]
    fn scale_takes_the_width_of_a_margin_that_the_model_put_on_the_wrong_side() {
        let inverted = Interval { yhat: 10.0, lower: 12.0, upper: 6.0 };
        assert_eq!(warm().prepare(inverted), NORMAL);
    }

    #[test]
    fn clipping_clamps_all_three_and_does_nothing_without_a_range() {
        let policy = ScorePolicy { clip_predictions: true, ..warm() };
        assert_eq!(policy.prepare(NORMAL), NORMAL);
        let policy = ScorePolicy { data_range: (11.0, 13.0), ..policy };
        let clipped = Interval { yhat: 11.0, lower: 11.0, upper: 13.0 };
        assert_eq!(policy.prepare(NORMAL), clipped);
    }

    #[test]
    fn clipping_does_not_cancel_the_override() {
        let policy =
            ScorePolicy { clip_predictions: true, data_range: (0.0, 9.0), score_outside_data_range: 5.0, ..warm() };
        assert_eq!(score(policy, NORMAL, 9.5), 5.0);
    }

    #[test]
    fn a_value_inside_the_range_but_beyond_an_interval_clipped_to_nothing_scores_the_maximum() {
        let policy = ScorePolicy { clip_predictions: true, data_range: (0.0, 5.0), ..warm() };
        assert_eq!(score(policy, NORMAL, 4.0), MAX_SCORE);
    }

    #[test]
    fn a_prediction_outside_the_range_scores_zero_unless_it_is_clipped() {
        let policy = ScorePolicy { data_range: (0.0, 9.0), ..warm() };
        assert_eq!(score(policy, NORMAL, 5.0), 0.0);
        let clipping = ScorePolicy { clip_predictions: true, ..policy };
        assert!(score(clipping, NORMAL, 5.0) > 1.0);
    }

    #[test]
    fn the_ends_of_the_range_belong_to_it() {
        let policy = ScorePolicy { data_range: (9.0, 12.0), score_outside_data_range: 5.0, ..warm() };
        let scores = [8.9, 9.0, 12.0, 12.1].map(|y| score(policy, NORMAL, y));
        assert_eq!(scores, [5.0, 0.5, 0.5, 5.0]);
    }

    #[test]
    fn the_override_is_assigned_even_where_the_base_score_is_greater() {
        let policy = ScorePolicy { data_range: (0.0, 100.0), score_outside_data_range: 0.0, ..warm() };
        assert_eq!(score(policy, NORMAL, 1000.0), 0.0);
    }

    #[test]
    fn the_override_wins_over_direction_deviation_filters_warm_up_and_an_untrusted_prediction() {
        let policy = ScorePolicy {
            data_range: (12.0, 100.0),
            score_outside_data_range: 5.0,
            direction: Direction::AboveExpected,
            min_dev_from_expected: Sides::both(1000.0),
            min_n_samples_seen: 1000,
            ..warm()
        };
        assert_eq!(score(policy, NORMAL, 9.0), 5.0);
    }

    #[test]
    fn a_model_without_expectation_scores_zero_and_the_override_still_applies() {
        let policy = ScorePolicy { data_range: (0.0, 1.0), score_outside_data_range: 5.0, ..warm() };
        let prepared = policy.prepare(Interval::NONE);
        assert!(prepared.yhat.is_nan() && prepared.lower.is_nan() && prepared.upper.is_nan());
        assert_eq!(policy.score(prepared, 0.5, 0), 0.0);
        assert_eq!(policy.score(prepared, 1.5, 0), 5.0);
    }

    #[test]
    fn the_ignored_side_scores_zero() {
        let sides = |direction| {
            let policy = ScorePolicy { direction, ..warm() };
            [4.0, 10.0, 22.0].map(|y| score(policy, NORMAL, y))
        };
        assert_eq!(sides(Direction::Both), [3.0, 0.0, 3.0]);
        assert_eq!(sides(Direction::AboveExpected), [0.0, 0.0, 3.0]);
        assert_eq!(sides(Direction::BelowExpected), [3.0, 0.0, 0.0]);
    }

    #[test]
    fn deviations_up_to_the_minimum_of_their_side_score_zero() {
        let policy = ScorePolicy { min_dev_from_expected: Sides { below: 5.0, above: 10.0 }, ..warm() };
        let scores = [5.0, 4.0, 20.0, 22.0].map(|y| score(policy, NORMAL, y));
        assert_eq!(scores, [0.0, 3.0, 0.0, 3.0]);
    }

    #[test]
    fn relative_deviations_up_to_the_minimum_in_percent_score_zero() {
        let policy = ScorePolicy { min_rel_dev_from_expected: Sides { below: 20.0, above: 40.0 }, ..warm() };
        let scores = [8.0, 7.0, 14.0, 16.0].map(|y| score(policy, NORMAL, y));
        assert_eq!(scores, [0.0, 1.5, 0.0, 1.5]);
    }

    #[test]
    fn the_inclusive_relative_boundary_survives_rounding() {
        let policy = ScorePolicy { min_rel_dev_from_expected: Sides::both(7.0), ..warm() };
        assert_eq!(score(policy, Interval::symmetric(100.0, 1.0), 107.0), 0.0);
    }

    #[test]
    fn both_minimal_deviations_must_be_exceeded() {
        let policy = |absolute, relative| ScorePolicy {
            min_dev_from_expected: Sides::both(absolute),
            min_rel_dev_from_expected: Sides::both(relative),
            ..warm()
        };
        let at = |absolute, relative| score(policy(absolute, relative), NORMAL, 18.0);
        assert_eq!(at(7.0, 79.0), 2.0);
        assert_eq!(at(8.0, 79.0), 0.0);
        assert_eq!(at(7.0, 80.0), 0.0);
    }

    #[test]
    fn an_expectation_of_zero_makes_every_relative_deviation_large_enough() {
        let policy = ScorePolicy { min_rel_dev_from_expected: Sides::both(1000.0), ..warm() };
        assert_eq!(score(policy, Interval::symmetric(0.0, 1.0), 2.0), 2.0);
    }

    #[test]
    fn warm_up_scores_zero_until_the_minimum_was_seen() {
        let policy = ScorePolicy::default();
        let prepared = policy.prepare(NORMAL);
        assert_eq!(policy.score(prepared, 22.0, 15), 0.0);
        assert_eq!(policy.score(prepared, 22.0, 16), 3.0);
    }

    #[test]
    fn a_value_that_is_not_finite_scores_nan_before_everything_else() {
        let policy = ScorePolicy { data_range: (0.0, 1.0), ..ScorePolicy::default() };
        for y in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(policy.score(Interval::NONE, y, 0).is_nan());
        }
    }

    #[test]
    fn a_zero_margin_is_opened_by_rounding_noise_only() {
        let constant = Interval::symmetric(100.0, 0.0);
        assert!(score(warm(), constant, 100.0 + 1e-12) > 1.0);
        assert!(score(warm(), constant, 100.0_f64.next_up()) <= 1.0);
        assert!(score(warm(), constant, 101.0) > LINEAR_SCORES);
    }

    #[test]
    fn however_far_a_value_is_a_farther_one_scores_more() {
        let constant = Interval::symmetric(0.0, 0.0);
        let scores = [1.0, 1.001, 2.0, 1e9, 1e200, f64::MAX].map(|y| score(warm(), constant, y));
        assert!(scores.is_sorted_by(|near, far| near < far) && scores[5] <= MAX_SCORE, "{scores:?}");
        let narrow = Interval { yhat: 0.0, lower: -1.0, upper: 1.0 };
        assert_eq!(score(warm(), narrow, 1e6), 1e6);
        assert_eq!(score(warm(), narrow, 1e8), 1e6 * 1.002);
    }

    #[test]
    fn every_invalid_field_is_named() {
        let fault = |change: fn(&mut ScorePolicy)| {
            let mut policy = ScorePolicy::default();
            change(&mut policy);
            policy.validate().unwrap_err().to_string()
        };
        assert!(fault(|p| p.scale.above = 0.0).starts_with("scale"));
        assert!(fault(|p| p.data_range = (1.0, 0.0)).starts_with("data_range"));
        assert!(fault(|p| p.data_range.0 = f64::NAN).starts_with("data_range"));
        assert!(fault(|p| p.score_outside_data_range = -1.0).starts_with("anomaly_score_outside"));
        assert!(fault(|p| p.min_dev_from_expected.below = -1.0).starts_with("min_dev"));
        assert!(fault(|p| p.min_rel_dev_from_expected.above = f64::INFINITY).starts_with("min_rel_dev"));
        assert_eq!(ScorePolicy::default().validate(), Ok(()));
    }

    /// Finite numbers of every magnitude, subnormals included.
    fn finite() -> impl Strategy<Value = f64> {
        prop_oneof![-1e3..1e3, prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO,]
    }

    fn interval() -> impl Strategy<Value = Interval> {
        (finite(), finite(), finite(), 0.0..1e3_f64).prop_map(|(yhat, lower, upper, margin)| {
            if margin < 500.0 { Interval::symmetric(yhat, margin) } else { Interval { yhat, lower, upper } }
        })
    }

    fn policy() -> impl Strategy<Value = ScorePolicy> {
        let sides =
            |range: std::ops::Range<f64>| (range.clone(), range).prop_map(|(below, above)| Sides { below, above });
        let range = prop_oneof![
            Just((f64::NEG_INFINITY, f64::INFINITY)),
            (finite(), finite()).prop_map(|(a, b)| (a.min(b), a.max(b))),
        ];
        let direction =
            prop_oneof![Just(Direction::Both), Just(Direction::AboveExpected), Just(Direction::BelowExpected)];
        (sides(1e-3..1e3), any::<bool>(), range, direction, sides(-1.0..5.0), sides(-1.0..500.0)).prop_map(
            |(scale, clip_predictions, data_range, direction, min_dev, min_rel_dev)| ScorePolicy {
                scale,
                clip_predictions,
                data_range,
                direction,
                min_dev_from_expected: min_dev,
                min_rel_dev_from_expected: min_rel_dev,
                ..warm()
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn finite_input_never_gives_nan_or_infinity(policy in policy(), interval in interval(), y in finite()) {
            let prepared = policy.prepare(interval);
            prop_assert!(prepared.lower <= prepared.yhat && prepared.yhat <= prepared.upper);
            prop_assert!(prepared.lower.is_finite() && prepared.upper.is_finite());
            let score = policy.score(prepared, y, 100);
            prop_assert!(score.is_finite() && score >= 0.0);
        }

        #[test]
        fn the_base_score_is_zero_at_yhat_one_at_the_bounds_and_above_one_exactly_outside(interval in interval(), y in finite()) {
            let prepared = warm().prepare(interval);
            prop_assert_eq!(base_score(prepared, prepared.yhat), 0.0);
            prop_assert_eq!(base_score(prepared, prepared.lower), 1.0);
            prop_assert_eq!(base_score(prepared, prepared.upper), 1.0);
            let outside = y < prepared.lower || y > prepared.upper;
            prop_assert_eq!(base_score(prepared, y) > 1.0, outside);
            for (bound, beyond) in [
                (prepared.lower, prepared.lower.next_down()),
                (prepared.upper, prepared.upper.next_up()),
            ] {
                prop_assert!(base_score(prepared, bound) <= 1.0);
                prop_assert!(!beyond.is_finite() || base_score(prepared, beyond) > 1.0);
            }
        }

        #[test]
        fn the_score_never_decreases_with_the_distance_on_a_side(
            policy in policy(), interval in interval(), a in finite(), b in finite(), c in finite()
        ) {
            let policy = ScorePolicy { data_range: (f64::NEG_INFINITY, f64::INFINITY), ..policy };
            let prepared = policy.prepare(interval);
            // Of three values, two lie on the same side.
            for (one, other) in [(a, b), (b, c), (a, c)] {
                if (one > prepared.yhat) == (other > prepared.yhat) {
                    let swapped = (one < other) != (one > prepared.yhat);
                    let (near, far) = if swapped { (other, one) } else { (one, other) };
                    prop_assert!(policy.score(prepared, near, 100) <= policy.score(prepared, far, 100));
                }
            }
        }
    }
}
