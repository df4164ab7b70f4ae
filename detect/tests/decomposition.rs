//! What a user of `std` relies on.

use detect::decomposition::{MAX_PERIOD, StdArgs, StdModel, component_names, seasonal_decompose, state_bytes};
use detect::model::{MISSING, OnlineBatch, OnlineModel, Samples, Scores};
use detect::per_series::PerSeries;
use detect::score::ScorePolicy;
use proptest::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

fn model(period: u32) -> StdModel {
    StdModel::new(StdArgs { z_threshold: 2.0, ..StdArgs::new(period) }, component_names())
}

fn learnt(period: u32, values: &[f64]) -> StdModel {
    let mut model = model(period);
    values.iter().for_each(|value| model.learn(0, *value));
    model
}

/// `resid`, `trend` and `seasonal` of a next value of 0.
fn components(model: &StdModel) -> [f64; 3] {
    let mut out = Vec::new();
    model.components(0, 0.0, &mut out);
    [out[0], out[1], out[2]]
}

fn saved(model: &StdModel) -> Vec<u8> {
    let mut bytes = Vec::new();
    model.save(&mut bytes);
    bytes
}

fn mean(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let count = values.clone().count();
    values.sum::<f64>() / count as f64
}

/// Trend, one season and standard deviation by the definitions.
fn by_definition(values: &[f64], period: usize) -> (Vec<f64>, Vec<f64>, f64) {
    let half = if period.is_multiple_of(2) { 0.5 } else { 1.0 };
    let length = if period.is_multiple_of(2) { period + 1 } else { period };
    let weight = |index: usize| if index == 0 || index == length - 1 { half } else { 1.0 };
    let average = |window: &[f64]| {
        window.iter().enumerate().map(|(index, value)| value * weight(index)).sum::<f64>() / period as f64
    };
    let trend: Vec<f64> = values.windows(length).map(average).collect();
    let detrended: Vec<f64> = trend.iter().zip(&values[length - 1..]).map(|(trend, value)| value - trend).collect();
    let phase = |index: usize| (index + length - 1) % period;
    let of_phase = |wanted| {
        detrended.iter().enumerate().filter(move |(index, _)| phase(*index) == wanted).map(|(_, value)| *value)
    };
    let means: Vec<f64> = (0..period).map(|wanted| mean(of_phase(wanted))).collect();
    let level = mean(means.iter().copied());
    let seasonal: Vec<f64> = means.iter().map(|mean| mean - level).collect();
    let resid: Vec<f64> = detrended.iter().enumerate().map(|(index, value)| value - seasonal[phase(index)]).collect();
    let centre = mean(resid.iter().copied());
    let deviation = mean(resid.iter().map(|resid| (resid - centre) * (resid - centre))).sqrt();
    (trend, seasonal, deviation)
}

#[test]
fn the_next_value_is_expected_at_the_last_trend_and_the_season_of_its_phase() {
    // A season of -1, 0, 1 around 10, and once, a value that is too high by 3.
    let values = [9.0, 10.0, 11.0].repeat(4);
    let steady = learnt(3, &values);
    assert_eq!(components(&steady), [-9.0, 10.0, -1.0]);
    let interval = steady.predict(0);
    assert_eq!([interval.lower, interval.yhat, interval.upper], [9.0; 3]);
    let mut disturbed = steady;
    disturbed.learn(0, 12.0);
    assert_eq!(components(&disturbed)[1], 11.0, "it is in the trend, and in no prediction of its own");
    assert!(disturbed.predict(0).upper > disturbed.predict(0).yhat);
}

#[test]
fn nothing_is_expected_before_every_phase_has_two_detrended_samples() {
    for (period, needed) in [(2, 6), (3, 8), (4, 12), (7, 20)] {
        let values: Vec<f64> = (0..30).map(|index| f64::from(index * index % 7)).collect();
        assert!(!learnt(period, &values[..needed - 1]).predict(0).is_some());
        assert!(components(&learnt(period, &values[..needed - 1])).iter().all(|component| component.is_nan()));
        assert!(learnt(period, &values[..needed]).predict(0).is_some());
    }
}

#[test]
fn phases_count_samples_and_not_time() {
    let mut gap = learnt(3, &[9.0, 10.0, 11.0].repeat(4));
    gap.learn(86_400_000, f64::NAN);
    assert_eq!(gap.predict(2 * 86_400_000).yhat, 9.0);
}

#[test]
fn a_constant_series_scores_above_one_on_any_deviation_beyond_rounding() {
    let policy = ScorePolicy::default();
    for period in [7, 24] {
        let prepared = policy.prepare(learnt(period, &[0.1; 1000]).predict(0));
        assert_eq!(policy.score(prepared, 0.1, 1000), 0.0);
        assert!(policy.score(prepared, 0.1 + 1e-12, 1000) > 1.0);
    }
}

#[test]
fn a_huge_value_is_forgotten_by_the_trend_when_it_leaves_the_window() {
    let mut values = vec![1.0; 100];
    values[50] = 1e300;
    for period in [7, 24] {
        assert!((components(&learnt(period, &values))[1] - 1.0).abs() < 1e-12);
    }
}

#[test]
fn arguments_outside_their_range_are_named() {
    let message = |args: StdArgs| args.validate().unwrap_err().to_string();
    for outside in [0, 1, MAX_PERIOD + 1] {
        let expected = format!("period of std is {outside}, it must be from 2 to 100000");
        assert_eq!(message(StdArgs::new(outside)), expected);
    }
    assert!(message(StdArgs { z_threshold: f64::NAN, ..StdArgs::new(24) }).starts_with("z_threshold"));
    assert_eq!(StdArgs::new(2).validate(), Ok(()));
    assert_eq!(StdArgs::new(MAX_PERIOD).validate(), Ok(()));
}

#[test]
fn the_state_is_as_long_as_documented_and_knows_its_period() {
    let bytes = saved(&learnt(24, &[1.0, 2.0]));
    assert_eq!(bytes.len(), state_bytes(24));
    assert_eq!(saved(&model(24)).len(), state_bytes(24));
    let refused = model(25).load(&bytes).unwrap_err().to_string();
    assert_eq!(refused, "state is damaged: it is of another period");
}

#[test]
fn a_window_that_cannot_be_decomposed_says_why() {
    let message = |values: &[f64], period| seasonal_decompose(values, period).unwrap_err().to_string();
    assert_eq!(message(&[], 2), "the fit needs 4 samples, the window has 0");
    assert_eq!(message(&[1.0; 9], 5), "the fit needs 10 samples, the window has 9");
    assert_eq!(message(&[1.0; 9], usize::MAX), format!("the fit needs {} samples, the window has 9", usize::MAX));
    assert_eq!(message(&[1.0; 9], 1), "the fit failed: the period is below 2");
    assert_eq!(message(&[1.0, f64::NAN, 1.0, 1.0], 2), "the fit failed: a value is not finite");
}

#[test]
fn a_long_run_has_the_frozen_digest() {
    let values: Vec<f64> =
        (0..3000).map(|index| f64::from(index * index % 1009) * 0.1 + f64::from(index % 24)).collect();
    let mut digest = Vec::new();
    for period in [24, 25] {
        let mut model = model(period);
        for value in &values {
            let interval = model.predict(0);
            model.learn(0, *value);
            if interval.is_some() {
                digest.extend([interval.yhat, interval.upper].map(f64::to_le_bytes).concat());
            }
        }
        model.save(&mut digest);
    }
    let digest = xxh3_64(&digest);
    assert_eq!(digest, 0xdf48_302e_ac21_c575, "{digest:#018x}");
}

fn series() -> impl Strategy<Value = Vec<f64>> {
    let sample = prop_oneof![
        6 => -1e3..1e3_f64,
        2 => (-3..3).prop_map(f64::from),
        1 => Just(MISSING),
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-0.0)],
    ];
    prop::collection::vec(sample, 1..200)
}

fn of_every_magnitude() -> impl Strategy<Value = Vec<f64>> {
    let finite = prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO;
    let sample = prop_oneof![finite, Just(f64::MAX), Just(-f64::MAX), Just(1e300), Just(0.0)];
    prop::collection::vec(sample, 1..100)
}

fn bits(scores: &Scores) -> Vec<[u64; 4]> {
    let columns = [&scores.anomaly_score, &scores.yhat, &scores.yhat_lower, &scores.yhat_upper];
    (0..scores.yhat.len()).map(|index| columns.map(|column| column[index].to_bits())).collect()
}

fn infer(batch: &mut PerSeries<StdModel>, values: &[f64]) -> Vec<[u64; 4]> {
    let times: Vec<i64> = (0..values.len() as i64).collect();
    let mut scores = Scores::default();
    batch.infer(Samples { times: &times, slots: &[0], values }, &ScorePolicy::default(), &mut scores);
    bits(&scores)
}

fn batch(period: u32) -> PerSeries<StdModel> {
    let mut batch = PerSeries::new(model(period));
    batch.grow(1);
    batch
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_window_is_decomposed_as_defined_and_as_learnt_sample_by_sample(
        noise in prop::collection::vec(-1e3..1e3_f64, 40..300),
        period in 2..12_usize,
        offset in prop_oneof![Just(0.0), -1e6..1e6_f64],
    ) {
        let values: Vec<f64> = noise.iter().map(|value| value + offset).collect();
        let whole = seasonal_decompose(&values, period).unwrap();
        let (trend, seasonal, deviation) = by_definition(&values, period);
        let online = learnt(period as u32, &values);
        let known = &whole.trend[values.len() - trend.len()..];
        let close = |one: f64, other: f64| (one - other).abs() < 1e-9 + 1e-14 * offset.abs();
        prop_assert!(whole.trend.iter().filter(|trend| trend.is_nan()).count() == values.len() - trend.len());
        prop_assert!(known.iter().zip(&trend).all(|(one, other)| close(*one, *other)));
        prop_assert!(whole.seasonal.iter().zip(&seasonal).all(|(one, other)| close(*one, *other)));
        for ((value, trend), (index, resid)) in values.iter().zip(&whole.trend).zip(whole.resid.iter().enumerate()) {
            prop_assert!(trend.is_nan() || close(*resid, value - trend - whole.seasonal[index % period]));
        }
        let [_, last_trend, next_seasonal] = components(&online);
        prop_assert!(close(last_trend, trend[trend.len() - 1]));
        prop_assert!(close(next_seasonal, seasonal[values.len() % period]));
        let interval = online.predict(0);
        prop_assert!(close((interval.upper - interval.yhat) / 2.0, deviation));
    }

    #[test]
    fn scores_and_states_do_not_depend_on_calls_or_restarts(
        values in series(),
        period in 2..12_u32,
        cuts in prop::collection::vec(1..40_usize, 1..20),
    ) {
        let mut whole = batch(period);
        let expected = infer(&mut whole, &values);
        let mut parts = batch(period);
        let mut actual = Vec::new();
        let mut rest = values.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (head, tail) = rest.split_at((*cut).min(rest.len()));
            rest = tail;
            actual.extend(infer(&mut parts, head));
            let mut bytes = Vec::new();
            parts.save(0, &mut bytes);
            parts = batch(period);
            parts.load(0, &bytes).unwrap();
        }
        prop_assert_eq!(actual, expected);
        let (mut one, mut other) = (Vec::new(), Vec::new());
        whole.save(0, &mut one);
        parts.save(0, &mut other);
        prop_assert_eq!(one, other);
    }

    #[test]
    fn predictions_of_finite_samples_are_finite(values in of_every_magnitude(), period in 2..12_u32) {
        let mut model = model(period);
        for value in &values {
            let interval = model.predict(0);
            prop_assert_eq!(interval.yhat.is_finite(), interval.is_some());
            prop_assert!(!interval.is_some() || (interval.lower.is_finite() && interval.upper.is_finite()));
            let finite = components(&model).iter().all(|component| component.is_finite());
            prop_assert_eq!(finite, interval.is_some());
            model.learn(0, *value);
        }
        let mut loaded = self::model(period);
        prop_assert_eq!(loaded.load(&saved(&model)), Ok(()));
        prop_assert_eq!(saved(&loaded), saved(&model));
        if let Ok(whole) = seasonal_decompose(&values, period as usize) {
            prop_assert!(whole.seasonal.iter().all(|seasonal| seasonal.is_finite()));
            prop_assert!(!whole.trend.iter().chain(&whole.resid).any(|number| number.is_infinite()));
        }
    }

    #[test]
    fn damaged_bytes_are_an_error_that_leaves_the_model_alone_or_another_whole_state(
        values in series(),
        at in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
        length in any::<prop::sample::Index>(),
    ) {
        let good = saved(&learnt(5, &values));
        let mut flipped = good.clone();
        flipped[at.index(good.len())] ^= flip;
        let mut target = model(5);
        target.load(&good).unwrap();
        for bytes in [&good[..length.index(good.len())], &[&good[..], &[0]].concat()] {
            prop_assert!(target.load(bytes).is_err());
            prop_assert_eq!(&saved(&target), &good);
        }
        if target.load(&flipped).is_ok() {
            prop_assert_eq!(&saved(&target), &flipped);
            for value in [1.0, -5.0, 1e300, 2.0].repeat(10) {
                let interval = target.predict(0);
                prop_assert!(!interval.is_some() || (interval.lower.is_finite() && interval.upper.is_finite()));
                prop_assert_eq!(interval.yhat.is_nan(), !interval.is_some());
                target.learn(0, value);
            }
            prop_assert_eq!(model(5).load(&saved(&target)), Ok(()));
        } else {
            prop_assert_eq!(&saved(&target), &good);
        }
    }
}
