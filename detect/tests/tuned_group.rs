//! What users rely on of models of several series together whose arguments a fit searches for each group.

#![allow(clippy::unwrap_used, reason = "functions that tests share are tests, too")]

mod random;

use detect::auto::TuningArgs;
use detect::auto::joint::{FORMAT, JointAutoArgs};
use detect::calendar::Zone;
use detect::isolation_forest::{GrowthArgs, IsolationForestArgs};
use detect::model::{MISSING, StateError};
use detect::multivariate::{Channels, MultivariateModel, MultivariateSpec};
use detect::offline::FitError;
use detect::readiness::Stage;
use detect::score::ScorePolicy;
use detect::temporal_envelope::multivariate::TemporalEnvelopeMultivariateArgs;
use random::uniform;

const STEP_MS: i64 = 300_000;
const NAMES: [&str; 2] = ["cpu", "memory"];
const POINTS: usize = 900;

/// The times and values of two channels that move together, with noise and some spikes of one of them.
fn window(seed: u64) -> (Vec<i64>, Vec<f64>) {
    let times = (0..POINTS as i64).map(|index| index * STEP_MS).collect();
    let value = |index: usize| {
        let (channel, time) = ((index / POINTS) as u64, (index % POINTS) as u64);
        let common = libm::sin(time as f64 / 288.0 * std::f64::consts::TAU);
        let spike = if channel == 0 && uniform(seed ^ (7 * time)) < 0.01 { 30.0 } else { 0.0 };
        100.0 + 20.0 * common + 4.0 * uniform(seed + 10_000 * (channel + 1) + time) + spike
    };
    (times, (0..2 * POINTS).map(value).collect())
}

fn envelope() -> MultivariateSpec {
    let args = TemporalEnvelopeMultivariateArgs { max_channels: 2, recommended_max_channels: 2, ..Default::default() };
    MultivariateSpec::TemporalEnvelope(args, Zone::default())
}

fn forest() -> MultivariateSpec {
    let growth = GrowthArgs { n_estimators: 20, ..GrowthArgs::default() };
    MultivariateSpec::IsolationForest(IsolationForestArgs { growth, ..Default::default() }, Zone::default())
}

fn args(start: MultivariateSpec) -> JointAutoArgs {
    let auto = JointAutoArgs::new(start, 0.02);
    JointAutoArgs { tuning: TuningArgs { n_trials: 12, ..auto.tuning }, ..auto }
}

fn spec(args: &JointAutoArgs) -> MultivariateSpec {
    MultivariateSpec::Auto(Box::new(args.clone()))
}

fn fit(args: &JointAutoArgs, times: &[i64], values: &[f64]) -> MultivariateModel {
    spec(args).fit(&NAMES, Channels { times, count: 2, values }).unwrap_or_else(|error| panic!("{error}"))
}

fn saved(model: &MultivariateModel) -> Vec<u8> {
    let mut state = Vec::new();
    model.save(&mut state);
    state
}

/// The arguments that were found.
fn found(model: &MultivariateModel) -> MultivariateSpec {
    let MultivariateModel::Tuned(tuned) = model else { panic!("a tuned model") };
    tuned.spec().clone()
}

#[test]
fn the_same_window_and_seed_give_the_same_state_and_another_group_has_arguments_of_its_own() {
    let (times, values) = window(1);
    let other = window(2).1;
    for start in [envelope(), forest()] {
        let args = args(start);
        let model = fit(&args, &times, &values);
        assert_eq!(saved(&model), saved(&fit(&args, &times, &values)));
        let mut seeded = args.clone();
        seeded.tuning.seed = 7;
        assert_ne!(found(&model), found(&fit(&seeded, &times, &values)));
        assert_ne!(found(&model), args.start);
        assert_ne!(saved(&model), saved(&fit(&args, &times, &other)));
    }
}

#[test]
fn a_forest_finds_the_share_of_anomalies_that_it_is_told() {
    let (times, values) = window(1);
    let args = args(forest());
    let share = |model: &mut MultivariateModel| {
        let channels = Channels { times: &times, count: 2, values: &values };
        let scores = model.infer(channels, &[ScorePolicy::default(); 2]).anomaly_score;
        scores.iter().filter(|score| **score > 1.0).count() as f64 / times.len() as f64
    };
    let channels = Channels { times: &times, count: 2, values: &values };
    let untuned = share(&mut forest().fit(&NAMES, channels).unwrap());
    let tuned = share(&mut fit(&args, &times, &values));
    assert!((tuned - 0.02).abs() < 0.02 && untuned > 0.1, "{tuned} instead of {untuned}");
}

#[test]
fn what_is_frozen_stays_and_so_does_what_is_not_searched() {
    let (times, values) = window(1);
    let frozen = ["iqr_threshold", "alpha", "groupby", "max_channels"].map(str::to_owned).to_vec();
    let model = fit(&JointAutoArgs { frozen, ..args(envelope()) }, &times, &values);
    let (MultivariateSpec::TemporalEnvelope(found, _), MultivariateSpec::TemporalEnvelope(start, _)) =
        (found(&model), envelope())
    else {
        panic!("envelopes")
    };
    assert_eq!((found.envelope.iqr_threshold, found.envelope.alpha), (start.envelope.iqr_threshold, 0.005));
    assert!(found.envelope.loss_reactivity != start.envelope.loss_reactivity);
    assert_eq!(TemporalEnvelopeMultivariateArgs { envelope: start.envelope.clone(), ..found }, start);
    let frozen = ["contamination", "args.max_samples"].map(str::to_owned).to_vec();
    assert_eq!(self::found(&fit(&JointAutoArgs { frozen, ..args(forest()) }, &times, &values)), forest());
}

#[test]
fn a_fit_that_ends_after_some_trials_is_one_with_so_many_trials() {
    let (times, values) = window(1);
    let channels = Channels { times: &times, count: 2, values: &values };
    let args = args(envelope());
    let policies = [ScorePolicy::default(); 2];
    let mut cut = spec(&args).begin_fit(&NAMES, channels, &policies).unwrap();
    assert!((0..5).all(|_| cut.step()));
    let cut = saved(&cut.finish(channels).unwrap());
    let mut short = args.clone();
    short.tuning.n_trials = 5;
    assert!(cut == saved(&fit(&short, &times, &values)));
    assert!(spec(&args).begin_fit(&NAMES, channels, &policies).unwrap().finish(channels).is_ok());
    assert!(envelope().begin_fit(&NAMES, channels, &policies).is_none());
}

#[test]
fn what_the_policies_of_channels_leave_out_is_no_alarm_of_a_trial() {
    let (times, values) = window(1);
    let channels = Channels { times: &times, count: 2, values: &values };
    let fitted = |policy: ScorePolicy| {
        let mut fit = spec(&args(envelope())).begin_fit(&NAMES, channels, &[policy; 2]).unwrap();
        while fit.step() {}
        let MultivariateSpec::TemporalEnvelope(found, _) = found(&fit.finish(channels).unwrap()) else { panic!() };
        found.envelope.iqr_threshold
    };
    let unlike = detect::score::Sides { below: 1e6, above: 1e6 };
    let (silent, loud) = (ScorePolicy { min_dev_from_expected: unlike, ..Default::default() }, ScorePolicy::default());
    // Nothing bounds how narrow the band of a silent model is.
    assert!(fitted(silent) < fitted(loud), "{} {}", fitted(silent), fitted(loud));
    let warming_up = ScorePolicy { min_n_samples_seen: 1_000_000, ..loud };
    assert_eq!(fitted(warming_up), fitted(loud));
}

#[test]
fn a_state_has_the_arguments_in_it_and_goes_on_alike() {
    let (times, values) = window(1);
    let (next, next_values) = ([POINTS as i64 * STEP_MS, (POINTS as i64 + 1) * STEP_MS], [90.0, 95.0, 130.0, 95.0]);
    for start in [envelope(), forest()] {
        let args = args(start);
        let mut model = fit(&args, &times, &values);
        let state = saved(&model);
        assert_eq!(state[..2], FORMAT.tag);
        let mut loaded = spec(&args).new_model(&NAMES).unwrap();
        loaded.load(&state).unwrap();
        assert_eq!(found(&loaded), found(&model));
        let channels = Channels { times: &next, count: 2, values: &next_values };
        let policies = [ScorePolicy::default(); 2];
        assert_eq!(loaded.infer(channels, &policies), model.infer(channels, &policies));
        assert!(saved(&loaded) == saved(&model));
        for end in 0..state.len().min(60) {
            assert!(loaded.load(&state[..end]).is_err(), "{end}");
        }
        assert!(saved(&loaded) == saved(&model), "a refused state changes nothing");
        let frozen = vec!["contamination".to_owned(), "alpha".to_owned()];
        let mut other = spec(&JointAutoArgs { frozen, ..args.clone() }).new_model(&NAMES).unwrap();
        assert_eq!(other.load(&state), Err(StateError::Damaged { what: "the number of found values" }));
    }
}

#[test]
fn a_group_without_a_search_is_never_ready_and_goes_by_the_class_itself() {
    let (times, values) = window(1);
    let policies = [ScorePolicy::default(); 2];
    // Too short for the folds.
    let short: Vec<f64> = [&values[..4], &values[POINTS..POINTS + 4]].concat();
    let args = args(envelope());
    let mut model = fit(&args, &times[..4], &short);
    assert_eq!(found(&model), args.start);
    let rest = Channels { times: &times, count: 2, values: &values };
    let mut own = envelope().fit(&NAMES, Channels { times: &times[..4], count: 2, values: &short }).unwrap();
    let (mine, plain) = (model.infer(rest, &policies), own.infer(rest, &policies));
    assert_eq!((mine.anomaly_score, mine.intervals), (plain.anomaly_score, plain.intervals));
    assert_eq!(model.readiness(&policies).stage, Stage::Learning);
    assert!(mine.stage.iter().all(|stage| *stage < 2.0));
    let mut begun = spec(&args).new_model(&NAMES).unwrap();
    begun.infer(rest, &policies);
    assert_eq!(begun.samples_seen(), Some(POINTS as u64));
    let searched = fit(&args, &times, &values).readiness(&policies);
    assert!(searched.stage == own.readiness(&policies).stage);
}

#[test]
fn a_window_that_gives_no_fit_says_why() {
    let (times, values) = window(1);
    let channels = Channels { times: &times, count: 2, values: &values };
    let missing = vec![MISSING; values.len()];
    let refused = spec(&args(envelope())).fit(&NAMES, Channels { values: &missing, ..channels }).unwrap_err();
    assert_eq!(refused, FitError::TooFewSamples { needed: 1, found: 0 });
    let three = [values.as_slice(), &values[..POINTS]].concat();
    let crowd = Channels { count: 3, values: &three, ..channels };
    let refused = spec(&args(envelope())).fit(&["a", "b", "c"], crowd).unwrap_err();
    assert_eq!(refused, FitError::TooManyChannels { found: 3, most: 2 });
    assert!(spec(&args(spec(&args(forest())))).validate().unwrap_err().to_string().contains("tuned_class_name"));
}

#[test]
fn incidents_are_left_out_of_what_is_learnt_where_that_is_asked() {
    let (times, values) = window(1);
    let incident = |height: f64| {
        let of = |(index, value): (usize, &f64)| if (600..612).contains(&index) { height } else { *value };
        values.iter().enumerate().map(of).collect::<Vec<f64>>()
    };
    let mut args = args(forest());
    // So the incident does not act on what is found, but on what is fitted with it.
    args.tuning.n_trials = 1;
    let leaving_out = JointAutoArgs { exclude_incidents: true, ..args.clone() };
    for (args, is_left_out) in [(args, false), (leaving_out, true)] {
        let [learnt, missing] = [1e4, MISSING].map(|height| saved(&fit(&args, &times, &incident(height))));
        assert_eq!(learnt == missing, is_left_out);
    }
}

#[test]
fn the_signature_has_all_that_a_search_depends_on() {
    let plain = args(envelope());
    let signature = |args: &JointAutoArgs| spec(args).learning_signature();
    let mut others = vec![
        JointAutoArgs { exclude_incidents: true, ..plain.clone() },
        JointAutoArgs { frozen: vec!["alpha".to_owned()], ..plain.clone() },
        JointAutoArgs { timeout: Some(std::time::Duration::from_secs(1)), ..plain.clone() },
        args(forest()),
    ];
    let mut seeded = plain.clone();
    seeded.tuning.seed = 1;
    others.push(seeded);
    if let MultivariateSpec::TemporalEnvelope(own, zone) = envelope() {
        let score_aggregation = detect::temporal_envelope::multivariate::Aggregation::Max;
        let start = TemporalEnvelopeMultivariateArgs { score_aggregation, ..own };
        others.push(args(MultivariateSpec::TemporalEnvelope(start, zone)));
    }
    for other in &others {
        assert_ne!(signature(other), signature(&plain), "{other:?}");
    }
    let not_searched = JointAutoArgs { frozen: vec!["groupby".to_owned()], ..plain.clone() };
    assert_eq!(signature(&not_searched), signature(&plain));
}
