//! A tick of several series at once: divisions and square roots of [`LANES`] of them side by side.

use super::{BELOW_ONE, Moments, ZscoreOnlineArgs};
use crate::score::{ABOVE_ONE, Interval, LINEAR_SCORES, MARGIN_FLOOR, ScorePolicy, at_least, at_most};

/// Series side by side, for the divisions and roots of several of them at once.
pub(super) const LANES: usize = 8;

/// Scores, expected values, lower and upper bounds.
pub(super) type Outputs = [[f64; LANES]; 4];

/// A tick of one sample of each series, by a plain policy, with the operations of [`ScorePolicy`] and [`Moments`] in their order,
/// so that the bits are the same. `None` if a series has learnt nothing, a sample is not finite, a difference overflows,
/// or a score is beyond [`LINEAR_SCORES`].
#[inline(always)]
pub(super) fn side_by_side(
    before: &[Moments; LANES],
    values: &[f64; LANES],
    args: ZscoreOnlineArgs,
    policy: &ScorePolicy,
) -> Option<([Moments; LANES], Outputs)> {
    let is_usual = before.iter().zip(values).all(|(moments, value)| moments.samples_seen > 0 && value.is_finite());
    if !is_usual || policy.clip_predictions {
        return None;
    }
    let means = before.map(|moments| moments.mean);
    let mut deviations = before.map(|moments| moments.variance);
    if args.decay < 1.0 {
        for (variance, moments) in deviations.iter_mut().zip(before) {
            let quotient = at_most(*variance / moments.reliability, f64::MAX);
            *variance = if moments.reliability > 0.0 { quotient } else { 0.0 };
        }
    }
    deviations.iter_mut().for_each(|variance| *variance = variance.sqrt());

    let (mut lower, mut upper) = ([0.0; LANES], [0.0; LANES]);
    for lane in 0..LANES {
        let yhat = means[lane];
        let expected = Interval::symmetric(yhat, args.z_threshold * deviations[lane]);
        let floor = MARGIN_FLOOR * at_least(yhat.abs(), 1.0);
        let above = at_least((expected.upper - yhat).abs() * policy.scale.above, floor);
        let below = at_least((yhat - expected.lower).abs() * policy.scale.below, floor);
        lower[lane] = at_least(yhat - below, -f64::MAX);
        upper[lane] = at_most(yhat + above, f64::MAX);
    }
    let (mut ratios, mut greatest, mut greatest_ratio) = ([0.0; LANES], [0.0; LANES], 0.0);
    for lane in 0..LANES {
        let (yhat, value) = (means[lane], values[lane]);
        let bound = if value > yhat { upper[lane] } else { lower[lane] };
        let (deviation, margin) = ((value - yhat).abs(), (bound - yhat).abs());
        let ratio = deviation / margin;
        let least = if value > upper[lane] { ABOVE_ONE } else { 0.0 };
        let least = if value < lower[lane] { ABOVE_ONE } else { least };
        let base = at_least(ratio, least);
        ratios[lane] = if value == yhat { 0.0 } else { base };
        greatest[lane] = at_least(deviation, margin);
        greatest_ratio = at_least(greatest_ratio, ratio);
    }
    // The logarithm of a ratio beyond is left to the single series.
    if greatest_ratio > LINEAR_SCORES || greatest.contains(&f64::INFINITY) {
        return None;
    }
    for (score, moments) in ratios.iter_mut().zip(before) {
        *score = if moments.samples_seen < policy.min_n_samples_seen { 0.0 } else { *score };
    }
    Some((learn(before, values, args.decay), [ratios, means, lower, upper]))
}

/// [`Moments::learn`] of several, operation by operation.
#[inline(always)]
fn learn(before: &[Moments; LANES], values: &[f64; LANES], decay: f64) -> [Moments; LANES] {
    let (mut weights, mut means) = (before.map(|moments| moments.weight), before.map(|moments| moments.mean));
    let mut rests = before.map(|moments| moments.mean_rest);
    let (mut variances, mut keeps) = (before.map(|moments| moments.variance), [0.0; LANES]);
    let mut gains = [0.0; LANES];
    for lane in 0..LANES {
        let kept = decay * weights[lane];
        weights[lane] = kept + 1.0;
        gains[lane] = 1.0 / weights[lane];
        keeps[lane] = kept * gains[lane];
    }
    for lane in 0..LANES {
        let (mean, gain) = (means[lane], gains[lane]);
        let delta = (values[lane] - mean) - rests[lane];
        let delta = at_most(at_least(delta, -f64::MAX), f64::MAX);
        let step = gain * delta + rests[lane];
        let sum = mean + step;
        let step_taken = sum - mean;
        let rest = (mean - (sum - step_taken)) + (step - step_taken);
        means[lane] = sum;
        rests[lane] = if rest.abs() < f64::INFINITY { rest } else { 0.0 };
        variances[lane] = keeps[lane] * at_most(variances[lane] + gain * delta * delta, f64::MAX);
    }
    let mut reliabilities = [1.0; LANES];
    if decay < 1.0 {
        for lane in 0..LANES {
            let (keep, gain) = (keeps[lane], gains[lane]);
            let reliability = keep * keep * before[lane].reliability + 2.0 * keep * gain;
            reliabilities[lane] = at_most(reliability, BELOW_ONE);
        }
    }
    std::array::from_fn(|lane| Moments {
        samples_seen: before[lane].samples_seen + 1,
        weight: weights[lane],
        mean: means[lane],
        mean_rest: rests[lane],
        variance: variances[lane],
        reliability: reliabilities[lane],
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{MISSING, OnlineBatch, Samples, Scores};
    use crate::score::Sides;
    use crate::zscore::ZscoreOnlineBatch;

    fn value() -> impl Strategy<Value = f64> {
        let special = prop::sample::select(vec![MISSING, f64::NAN, f64::INFINITY, f64::MAX, f64::MIN, 0.0, 1e300]);
        prop_oneof![20 => -9.0..9.0_f64, 10 => (-2..2).prop_map(f64::from), 1 => special]
    }

    proptest! {
        #[test]
        fn series_side_by_side_have_the_bits_of_series_one_by_one(
            ticks in prop::collection::vec(prop::array::uniform20(value()), 1..30),
            decay in prop_oneof![Just(1.0), 0.5..1.0_f64],
            scale in prop_oneof![Just(1.0), Just(f64::MAX), 0.1..3.0_f64],
            min_n_samples_seen in 0..4_u64,
        ) {
            let args = ZscoreOnlineArgs { decay, ..ZscoreOnlineArgs::default() };
            let scale = Sides { below: scale, above: 1.0 };
            let policy = ScorePolicy { scale, min_n_samples_seen, ..ScorePolicy::default() };
            let (mut together, mut apart) = (ZscoreOnlineBatch::new(args), ZscoreOnlineBatch::new(args));
            together.grow(20);
            apart.grow(20);
            let slots: Vec<u32> = (0..20).rev().collect();
            for values in &ticks {
                let (mut scores, mut single) = (Scores::default(), Scores::default());
                together.infer(Samples { times: &[0], slots: &slots, values }, &policy, &mut scores);
                for (row, slot) in slots.iter().enumerate() {
                    let sample = Samples { times: &[0], slots: &[*slot], values: &values[row..=row] };
                    apart.infer(sample, &policy, &mut single);
                    let bits = |scores: &Scores, row: usize| {
                        [&scores.anomaly_score, &scores.yhat, &scores.yhat_lower, &scores.yhat_upper].map(|all| all[row].to_bits())
                    };
                    prop_assert_eq!(bits(&scores, row), bits(&single, 0));
                }
            }
            let state = |batch: &ZscoreOnlineBatch| {
                let mut bytes = Vec::new();
                slots.iter().for_each(|slot| batch.save(*slot, &mut bytes));
                bytes
            };
            prop_assert_eq!(state(&together), state(&apart));
        }
    }
}
