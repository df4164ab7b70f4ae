//! Band floor and influence limit, around every class.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use detect::batch::Batch;
use detect::calendar::Zone;
use detect::model::{Samples, Scores};
use detect::offline::Window;
use detect::safeguards::{STATE_BYTES, Safeguards};
use detect::score::ScorePolicy;
use detect::spec::ModelSpec;
use detect::{holt_winters::HoltWintersArgs, mad, zscore};
use proptest::prelude::*;

const MINUTE: i64 = 60_000;

/// Every class that expects a value.
fn specs() -> Vec<ModelSpec> {
    vec![
        ModelSpec::ZscoreOnline(Default::default()),
        ModelSpec::MadOnline(Default::default()),
        ModelSpec::QuantileOnline(Default::default(), Zone::default()),
        ModelSpec::RollingQuantile(detect::rolling_quantile::RollingQuantileArgs {
            quantile: 0.9,
            window_steps: 32,
            iqr_threshold: 2.0,
        }),
        ModelSpec::Std(detect::decomposition::StdArgs { period: 10, z_threshold: 2.5 }),
        ModelSpec::TemporalEnvelope(Default::default(), Zone::default()),
        ModelSpec::Prophet(Box::default()),
        ModelSpec::HoltWinters(HoltWintersArgs {
            frequency: Some(MINUTE),
            seasonality: Some(10 * MINUTE),
            ..HoltWintersArgs::default()
        }),
    ]
}

fn times(count: usize) -> Vec<i64> {
    (0..count as i64).map(|row| row * MINUTE).collect()
}

/// A batch of one series that has learnt these samples, one a minute.
fn learnt(spec: &ModelSpec, safeguards: Safeguards, values: &[f64]) -> Batch {
    let mut batch = spec.new_batch_with(safeguards, &[]);
    batch.grow(1);
    let times = times(values.len());
    if let Batch::Offline(offline) = &mut batch {
        let mut state = Vec::new();
        offline.fit(Window { times: &times, values }, &mut state).unwrap();
        offline.load(0, &state).unwrap();
    } else {
        batch.learn(Samples { times: &times, slots: &[0], values });
        batch.finish_fit(0);
    }
    batch
}

/// Scores of the samples that follow the first `after` ones.
fn infer(batch: &mut Batch, after: usize, values: &[f64]) -> Scores {
    let mut scores = Scores::default();
    let times: Vec<i64> = times(after + values.len()).split_off(after);
    batch.infer(Samples { times: &times, slots: &[0], values }, &ScorePolicy::default(), &mut scores);
    scores
}

/// Nearly always 7, with a 8 every fifty samples.
fn nearly_flat(count: usize) -> Vec<f64> {
    (0..count).map(|row| if row % 50 == 25 { 8.0 } else { 7.0 }).collect()
}

#[test]
fn the_floor_keeps_the_band_of_a_series_open_that_hardly_moves() {
    // Two moves of 1 in fifty: the mean square is 2/50, half of that 1/50, its root 0.1414.
    for spec in specs() {
        let margin = |band_floor| {
            let mut batch = learnt(&spec, Safeguards { band_floor, influence_limit: 0.0 }, &nearly_flat(1000));
            let scores = infer(&mut batch, 1000, &[7.0]);
            (scores.yhat_upper[0] - scores.yhat[0]).min(scores.yhat[0] - scores.yhat_lower[0])
        };
        assert!(margin(1.0) > 0.14, "{}: {}", spec.class(), margin(1.0));
        assert!(margin(10.0) > 1.4 && margin(10.0) < 1.5, "{}: {}", spec.class(), margin(10.0));
    }
}

#[test]
fn a_slow_curve_is_no_noise_and_does_not_widen_the_floor() {
    let spec = ModelSpec::MadOnline(mad::MadOnlineArgs { threshold: 1e-6, ..Default::default() });
    let curve: Vec<f64> =
        (0..2880).map(|row| 100.0 * libm::sin(f64::from(row) * std::f64::consts::TAU / 1440.0)).collect();
    let mut batch = learnt(&spec, Safeguards { band_floor: 1.0, influence_limit: 0.0 }, &curve);
    let scores = infer(&mut batch, 2880, &[0.0]);
    assert!(scores.yhat_upper[0] - scores.yhat[0] < 0.5, "{}", scores.yhat_upper[0] - scores.yhat[0]);
}

#[test]
fn with_a_limit_a_spike_leaves_the_band_nearly_as_it_was() {
    let noise = |row: usize| (row * 7919 % 101) as f64 / 101.0;
    let history: Vec<f64> = (0..500).map(noise).collect();
    let width_after_spike = |influence_limit| {
        let spec = ModelSpec::ZscoreOnline(zscore::ZscoreOnlineArgs::default());
        let mut batch = learnt(&spec, Safeguards { band_floor: 0.0, influence_limit }, &history);
        let scores = infer(&mut batch, 500, &[0.5, 1000.0, 0.5]);
        assert!(scores.anomaly_score[1] > 1.0);
        (scores.yhat_upper[2] - scores.yhat_lower[2]) / (scores.yhat_upper[0] - scores.yhat_lower[0])
    };
    assert!(width_after_spike(0.0) > 50.0);
    assert!(width_after_spike(3.0) < 1.1, "{}", width_after_spike(3.0));
}

#[test]
fn a_new_level_is_still_learnt_with_a_limit() {
    let spec = ModelSpec::RollingQuantile(detect::rolling_quantile::RollingQuantileArgs {
        quantile: 0.5,
        window_steps: 32,
        iqr_threshold: 2.0,
    });
    let safeguards = Safeguards { band_floor: 1.0, influence_limit: 2.0 };
    let level = |base: f64| (0..400).map(move |row| base + f64::from(row % 7)).collect::<Vec<f64>>();
    let mut batch = learnt(&spec, safeguards, &level(0.0));
    let scores = infer(&mut batch, 400, &level(1000.0));
    assert!(scores.anomaly_score[0] > 1.0 && scores.anomaly_score[399] <= 1.0);
}

#[test]
fn without_safeguards_states_and_scores_are_the_models_own() {
    for spec in specs() {
        let states = [spec.new_batch(&[]), spec.new_batch_with(Safeguards::default(), &[])].map(|_| {
            let mut batch = learnt(&spec, Safeguards::default(), &nearly_flat(300));
            let scores = infer(&mut batch, 300, &[7.5]);
            let mut state = Vec::new();
            batch.save(0, &mut state);
            (state, scores.anomaly_score)
        });
        assert_eq!(states[0], states[1]);
        let mut guarded = Vec::new();
        learnt(&spec, Safeguards { band_floor: 1.0, influence_limit: 0.0 }, &nearly_flat(300)).save(0, &mut guarded);
        let mut own = Vec::new();
        learnt(&spec, Safeguards::default(), &nearly_flat(300)).save(0, &mut own);
        assert_eq!(guarded[STATE_BYTES..], own, "{}", spec.class());
    }
}

#[test]
fn a_safeguard_outside_its_range_is_named() {
    let message = |band_floor, influence_limit| {
        Safeguards { band_floor, influence_limit }.validate("zscore_online").unwrap_err().to_string()
    };
    assert_eq!(Safeguards { band_floor: 1.0, influence_limit: 1.0 }.validate("zscore_online"), Ok(()));
    assert_eq!(message(-1.0, 0.0), "band_floor of zscore_online is -1, it must be finite and at least 0");
    assert!(message(f64::NAN, 0.0).starts_with("band_floor"));
    assert!(
        message(0.0, 0.5).starts_with("influence_limit") && message(0.0, f64::INFINITY).starts_with("influence_limit")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn scores_do_not_depend_on_how_samples_are_cut_or_where_the_state_was_saved(
        values in prop::collection::vec(prop_oneof![5 => -10.0..10.0, 1 => Just(0.0), 1 => Just(1e300), 1 => Just(f64::NAN)], 40..80),
        cut in 1_usize..40,
        influence_limit in prop_oneof![Just(0.0), Just(3.0)],
    ) {
        let safeguards = Safeguards { band_floor: 1.0, influence_limit };
        for spec in specs() {
            let mut whole = spec.new_batch_with(safeguards, &[]);
            let Batch::Online(_) = &whole else { continue };
            whole.grow(1);
            let expected = infer(&mut whole, 0, &values);
            let mut first = spec.new_batch_with(safeguards, &[]);
            first.grow(1);
            let mut scores = infer(&mut first, 0, &values[..cut]).anomaly_score;
            let mut state = Vec::new();
            first.save(0, &mut state);
            let mut second = spec.new_batch_with(safeguards, &[]);
            second.grow(1);
            second.load(0, &state).unwrap();
            scores.extend(infer(&mut second, cut, &values[cut..]).anomaly_score);
            let bits = |scores: &[f64]| scores.iter().map(|score| score.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&scores), bits(&expected.anomaly_score), "{}", spec.class());
            prop_assert!(expected.anomaly_score.iter().zip(&values).all(|(score, value)| score.is_nan() == value.is_nan()));
        }
    }
}
