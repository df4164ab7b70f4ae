//! What holds of every online model: how samples are cut into calls, when states are saved and what damages them do not matter.

use detect::batch::Batch;
use detect::calendar::Zone;
use detect::decomposition::{StdArgs, StdModel};
use detect::mad::{MadOnline, MadOnlineArgs};
use detect::model::{MISSING, OnlineModel, Samples, Scores, StateError};
use detect::quantile_online::{QuantileOnline, QuantileOnlineArgs};
use detect::rolling_quantile::{RollingQuantile, RollingQuantileArgs};
use detect::score::ScorePolicy;
use detect::spec::ModelSpec;
use detect::state::HEADER_BYTES;
use detect::zscore::{ZscoreOnline, ZscoreOnlineArgs};
use proptest::prelude::*;

fn specs(decay: f64, history_strength: f64) -> Vec<ModelSpec> {
    let quantiles = QuantileOnlineArgs { compression: 20, decay, history_strength, ..QuantileOnlineArgs::default() };
    vec![
        ModelSpec::ZscoreOnline(ZscoreOnlineArgs { z_threshold: 2.5, decay, history_strength }),
        ModelSpec::MadOnline(MadOnlineArgs { threshold: 2.5, compression: 20, decay, history_strength }),
        ModelSpec::QuantileOnline(quantiles, Zone::default()),
        ModelSpec::RollingQuantile(RollingQuantileArgs::new(0.9, 10)),
        ModelSpec::Std(StdArgs::new(3)),
    ]
}

fn model(spec: &ModelSpec) -> Box<dyn OnlineModel> {
    match spec.clone() {
        ModelSpec::ZscoreOnline(args) => Box::new(ZscoreOnline::new(args)),
        ModelSpec::MadOnline(args) => Box::new(MadOnline::new(args)),
        ModelSpec::QuantileOnline(args, zone) => Box::new(QuantileOnline::new(args, zone)),
        ModelSpec::RollingQuantile(args) => Box::new(RollingQuantile::new(args)),
        ModelSpec::Std(args) => Box::new(StdModel::new(args, &[""; 0])),
        ModelSpec::TemporalEnvelope(..) | ModelSpec::Calibrated(..) => {
            unreachable!("times matter to it: see replay.rs")
        }
        ModelSpec::Prophet(_) | ModelSpec::HoltWinters(_) | ModelSpec::IsolationForest(..) | ModelSpec::Auto(_) => {
            unreachable!("no online model")
        }
    }
}

fn batch(spec: &ModelSpec, slots: usize) -> Batch {
    let mut batch = spec.new_batch(&[]);
    batch.grow(slots);
    batch
}

fn saved(batch: &Batch, slot: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    batch.save(slot, &mut bytes);
    bytes
}

fn infer(batch: &mut Batch, slots: &[u32], values: &[f64]) -> Scores {
    let times: Vec<i64> = (0..(values.len() / slots.len()) as i64).collect();
    let samples = Samples { times: &times, slots, values };
    let mut scores = Scores::default();
    batch.infer(samples, &policy(), &mut scores);
    scores
}

fn policy() -> ScorePolicy {
    ScorePolicy { min_n_samples_seen: 3, ..ScorePolicy::default() }
}

fn bits(scores: &Scores) -> Vec<[u64; 4]> {
    let columns = [&scores.anomaly_score, &scores.yhat, &scores.yhat_lower, &scores.yhat_upper];
    let point = |index: usize| columns.map(|column| column[index].to_bits());
    (0..scores.yhat.len()).map(point).collect()
}

/// Samples as a source sends them, with gaps and numbers that are none.
fn series() -> impl Strategy<Value = Vec<f64>> {
    let sample = prop_oneof![
        6 => -1e3..1e3_f64,
        2 => (-3..3).prop_map(f64::from),
        1 => Just(MISSING),
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-0.0), prop::num::f64::NORMAL],
    ];
    prop::collection::vec(sample, 1..200)
}

fn decay() -> impl Strategy<Value = f64> {
    prop_oneof![Just(1.0), 0.5..1.0_f64, 0.99..1.0_f64]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn scores_and_states_do_not_depend_on_calls_neighbours_or_restarts(
        values in series(),
        decay in decay(),
        history_strength in 0.1..10.0_f64,
        cuts in prop::collection::vec(1..40_usize, 1..20),
        fitted in any::<prop::sample::Index>(),
    ) {
        let (history, live) = values.split_at(fitted.index(values.len()));
        for spec in &specs(decay, history_strength) {
            // One call, one series.
            let mut whole = batch(spec, 1);
            let times: Vec<i64> = (0..history.len() as i64).collect();
            whole.learn(Samples { times: &times, slots: &[0], values: history });
            whole.finish_fit(0);
            let expected = bits(&infer(&mut whole, &[0], live));

            // Many calls on a slot among others, saved and loaded into another batch between them.
            let mut parts = batch(spec, 3);
            for value in history {
                parts.learn(Samples { times: &[0], slots: &[2], values: &[*value] });
            }
            parts.finish_fit(2);
            let mut actual = Vec::new();
            let mut rest = live;
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (head, tail) = rest.split_at((*cut).min(rest.len()));
                rest = tail;
                let rows = [vec![1.0; head.len()], head.to_vec()].concat();
                let scores = bits(&infer(&mut parts, &[0, 2], &rows));
                actual.extend_from_slice(&scores[head.len()..]);
                let mut next = batch(spec, 3);
                next.load(2, &saved(&parts, 2)).unwrap();
                parts = next;
            }
            prop_assert_eq!(&actual, &expected);
            prop_assert_eq!(saved(&parts, 2), saved(&whole, 0));
            let Batch::Online(parts) = parts else { panic!("an online model") };
            prop_assert_eq!(parts.samples_seen(2), values.iter().filter(|value| value.is_finite()).count() as u64);
        }
    }

    #[test]
    fn a_model_of_one_series_gives_the_bits_of_the_batch(values in series(), decay in decay()) {
        for spec in &specs(decay, 2.0) {
            let mut one = model(spec);
            let mut many = batch(spec, 1);
            for value in &values {
                let prepared = policy().prepare(one.predict(0));
                let score = policy().score(prepared, *value, one.samples_seen());
                let scores = infer(&mut many, &[0], &[*value]);
                if value.to_bits() == MISSING.to_bits() {
                    prop_assert!(scores.yhat[0].is_nan() && scores.anomaly_score[0].is_nan());
                } else {
                    let expected = [score, prepared.yhat, prepared.lower, prepared.upper].map(f64::to_bits);
                    prop_assert_eq!(bits(&scores)[0], expected);
                }
                one.learn(0, *value);
            }
            let mut bytes = Vec::new();
            one.save(&mut bytes);
            prop_assert_eq!(bytes, saved(&many, 0));
        }
    }

    #[test]
    fn damaged_bytes_are_an_error_that_leaves_the_slot_alone_or_another_whole_state(
        values in series(),
        decay in decay(),
        at in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
        length in any::<prop::sample::Index>(),
    ) {
        for spec in &specs(decay, 1.0) {
            let mut source = batch(spec, 1);
            infer(&mut source, &[0], &values);
            let good = saved(&source, 0);
            let mut flipped = good.clone();
            flipped[at.index(good.len())] ^= flip;
            let cut = good[..length.index(good.len())].to_vec();
            let extended = [&good[..], &[0]].concat();
            let mut target = batch(spec, 1);
            target.load(0, &good).unwrap();
            for bytes in [&cut, &extended] {
                prop_assert!(target.load(0, bytes).is_err());
                prop_assert_eq!(&saved(&target, 0), &good);
            }
            if target.load(0, &flipped).is_ok() {
                // Another number in place of a number: a state that saves as itself and goes on finite.
                prop_assert_eq!(&saved(&target, 0), &flipped);
                let scores = infer(&mut target, &[0], &[1.0, -5.0, 1e300, 2.0]);
                prop_assert!(scores.anomaly_score.iter().all(|score| score.is_finite()));
                let mut again = batch(spec, 1);
                prop_assert_eq!(again.load(0, &saved(&target, 0)), Ok(()));
            } else {
                prop_assert_eq!(&saved(&target, 0), &good);
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), tag in any::<bool>()) {
        for spec in &specs(0.9, 1.0) {
            let mut target = batch(spec, 1);
            let header = saved(&target, 0)[..HEADER_BYTES].to_vec();
            let bytes = if tag { [header, bytes.clone()].concat() } else { bytes.clone() };
            if target.load(0, &bytes).is_ok() {
                prop_assert_eq!(saved(&target, 0), bytes);
            }
        }
    }
}

#[test]
fn states_of_another_class_or_a_newer_version_are_refused() {
    let specs = specs(1.0, 1.0);
    let states: Vec<Vec<u8>> = specs.iter().map(|spec| saved(&batch(spec, 1), 0)).collect();
    for (number, spec) in specs.iter().enumerate() {
        let mut target = batch(spec, 1);
        for (_, foreign) in states.iter().enumerate().filter(|(other, _)| *other != number) {
            assert!(matches!(target.load(0, foreign), Err(StateError::Damaged { .. })));
        }
        let mut newer = states[number].clone();
        newer[2] = 9;
        assert_eq!(target.load(0, &newer), Err(StateError::Version { found: 9, supported: 1 }));
    }
}

#[test]
fn a_state_of_another_compression_is_refused() {
    let with = |compression| ModelSpec::MadOnline(MadOnlineArgs { compression, ..MadOnlineArgs::default() });
    let mut source = batch(&with(100), 1);
    infer(&mut source, &[0], &[1.0, 2.0]);
    assert!(batch(&with(50), 1).load(0, &saved(&source, 0)).is_err());
}
