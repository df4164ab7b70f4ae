//! What users rely on of models whose arguments a fit searches for each series.

mod random;

use std::time::Duration;

use detect::auto::{AutoArgs, FORMAT, Running, Tunable, TunedBatch, TuningArgs, state_bytes, tune};
use detect::batch::Batch;
use detect::calendar::Zone;
use detect::decomposition::StdArgs;
use detect::holt_winters::HoltWintersArgs;
use detect::isolation_forest::{GrowthArgs, IsolationForestArgs};
use detect::mad::MadOnlineArgs;
use detect::model::{MISSING, Samples, Scores};
use detect::offline::{FitError, Window};
use detect::prophet::{BuiltIn, ProphetArgs};
use detect::quantile_online::QuantileOnlineArgs;
use detect::rolling_quantile::RollingQuantileArgs;
use detect::safeguards::Safeguards;
use detect::score::ScorePolicy;
use detect::spec::ModelSpec;
use detect::temporal_envelope::TemporalEnvelopeArgs;
use detect::zscore::{self, ZscoreOnlineArgs};
use proptest::prelude::*;
use random::uniform;

const STEP_MS: i64 = 300_000;
const DAY: usize = 288;

/// A daily curve with noise and some outliers.
fn daily(count: usize) -> (Vec<i64>, Vec<f64>) {
    let value = |index: usize| {
        let phase = (index % DAY) as f64 / DAY as f64;
        let outlier = if uniform(7 * index as u64) < 0.01 { 30.0 } else { 0.0 };
        100.0 + 20.0 * libm::sin(phase * std::f64::consts::TAU) + 4.0 * uniform(index as u64) + outlier
    };
    ((0..count as i64).map(|index| index * STEP_MS).collect(), (0..count).map(value).collect())
}

/// All classes, with what they require, and small fits.
fn classes() -> Vec<ModelSpec> {
    let zone = Zone::default();
    let prophet = ProphetArgs { n_changepoints: 3, daily_seasonality: BuiltIn::Order(2), ..ProphetArgs::default() };
    let growth = GrowthArgs { n_estimators: 20, ..GrowthArgs::default() };
    vec![
        ModelSpec::ZscoreOnline(ZscoreOnlineArgs::default()),
        ModelSpec::MadOnline(MadOnlineArgs::default()),
        ModelSpec::QuantileOnline(QuantileOnlineArgs::default(), zone.clone()),
        ModelSpec::RollingQuantile(RollingQuantileArgs::new(0.9, 96)),
        ModelSpec::Std(StdArgs::new(24)),
        ModelSpec::TemporalEnvelope(TemporalEnvelopeArgs::default(), zone.clone()),
        ModelSpec::Prophet(Box::new(prophet)),
        ModelSpec::HoltWinters(HoltWintersArgs { seasonal_periods: Some(24), ..HoltWintersArgs::default() }),
        ModelSpec::IsolationForest(IsolationForestArgs { growth, ..IsolationForestArgs::default() }, zone),
    ]
}

fn args(start: ModelSpec, n_trials: u32) -> AutoArgs {
    let auto = AutoArgs::new(start, 0.02);
    AutoArgs { tuning: TuningArgs { n_trials, ..auto.tuning }, ..auto }
}

fn batch(args: &AutoArgs) -> TunedBatch {
    let Batch::Tuned(mut batch) = ModelSpec::Auto(Box::new(args.clone())).new_batch(&[]) else { panic!("tuned") };
    batch.grow(3);
    *batch
}

fn fit(args: &AutoArgs, window: Window<'_>) -> Result<Vec<u8>, FitError> {
    let mut state = Vec::new();
    batch(args).fit(window, || true, &mut state).map(|()| state)
}

fn saved(batch: &TunedBatch, slot: u32) -> Vec<u8> {
    let mut state = Vec::new();
    batch.save(slot, &mut state);
    state
}

fn bits(scores: &Scores) -> Vec<u64> {
    let columns = [&scores.anomaly_score, &scores.yhat, &scores.yhat_lower, &scores.yhat_upper];
    columns.into_iter().flatten().map(|value| if value.is_nan() { u64::MAX } else { value.to_bits() }).collect()
}

#[test]
fn a_fitted_series_scores_as_its_class_with_the_found_arguments_does() {
    let (times, values) = daily(3 * DAY);
    let (history, live) = (Window { times: &times[..700], values: &values[..700] }, 700..3 * DAY);
    for start in classes() {
        let class = start.class();
        let args = args(start, 5);
        let mut tuned = batch(&args);
        let state = fit(&args, history).unwrap_or_else(|error| panic!("{class}: {error}"));
        tuned.load(1, &state).unwrap();
        let found = tuned.found(1).unwrap().clone();
        assert_eq!(found.validate(), Ok(()), "{class}");

        let mut plain = found.new_batch(&[]);
        plain.grow(1);
        if let Batch::Offline(batch) = &mut plain {
            let mut state = Vec::new();
            batch.fit(history, &mut state).unwrap();
            batch.load(0, &state).unwrap();
        } else {
            plain.learn(Samples { times: history.times, slots: &[0], values: history.values });
            plain.finish_fit(0);
        }
        let policy = ScorePolicy::default();
        let (mut expected, mut actual) = (Scores::default(), Scores::default());
        let points =
            |slots: &'static [u32]| Samples { times: &times[live.clone()], slots, values: &values[live.clone()] };
        plain.infer(points(&[0]), &policy, &mut expected);
        tuned.infer(points(&[1]), &policy, &mut actual);
        assert_eq!(bits(&actual), bits(&expected), "{class}");
        // It goes on by itself as its class does, and its state is its class's.
        let mut of_class = Vec::new();
        plain.save(0, &mut of_class);
        let state = saved(&tuned, 1);
        assert!(state.ends_with(&of_class), "{class}");
        assert_eq!((state.len() - of_class.len() - state_bytes(0, 0)) % 8, 0, "{class}");
    }
}

#[test]
fn a_saved_state_comes_back_bit_for_bit_with_its_arguments() {
    let (times, values) = daily(2 * DAY);
    for start in classes() {
        let class = start.class();
        let args = args(start, 4);
        let state = fit(&args, Window { times: &times, values: &values }).unwrap();
        let (mut one, mut other) = (batch(&args), batch(&args));
        one.load(0, &state).unwrap();
        assert_eq!(saved(&one, 0), state, "{class}");
        other.load(2, &saved(&one, 0)).unwrap();
        assert_eq!(other.found(2), one.found(0), "{class}");
        assert!(other.has_state(2) && !other.has_state(0), "{class}");
        other.load(2, &saved(&one, 1)).unwrap();
        assert!(!other.has_state(2), "the state of an empty slot is one that has learnt nothing");
    }
}

#[test]
fn the_size_of_a_state_is_as_it_is_documented() {
    let (times, values) = daily(DAY);
    let args = args(ModelSpec::ZscoreOnline(ZscoreOnlineArgs { z_threshold: 1e3, ..Default::default() }), 20);
    let state = fit(&args, Window { times: &times, values: &values }).unwrap();
    assert_eq!(state.len(), state_bytes(2, zscore::STATE_BYTES));
    assert_eq!(saved(&batch(&args), 0).len(), state_bytes(0, 0));
}

#[test]
fn damaged_bytes_are_errors_and_change_nothing() {
    let (times, values) = daily(DAY);
    let args = args(ModelSpec::ZscoreOnline(ZscoreOnlineArgs { z_threshold: 1e3, ..Default::default() }), 20);
    let state = fit(&args, Window { times: &times, values: &values }).unwrap();
    let mut tuned = batch(&args);
    tuned.load(0, &state).unwrap();
    let mut refused = |bytes: &[u8]| {
        let error = tuned.load(0, bytes).unwrap_err().to_string();
        assert_eq!(saved(&tuned, 0), state, "{error}");
        error
    };
    for length in (0..state.len()).filter(|length| *length != state_bytes(0, 0)) {
        refused(&state[..length]);
    }
    refused(&[&state[..], &[0]].concat());
    let with = |at: usize, bytes: &[u8]| {
        let mut damaged = state.clone();
        damaged[at..at + bytes.len()].copy_from_slice(bytes);
        damaged
    };
    assert_eq!(refused(&with(6, &1e3_f64.to_le_bytes())), "state is damaged: a found value is none that is searched");
    assert_eq!(refused(&with(6, &f64::NAN.to_le_bytes())), "state is damaged: a number is not finite");
    let newer = (FORMAT.version + 1).to_le_bytes();
    assert_eq!(refused(&with(2, &newer)), "state version 3 is not readable, this build reads up to 2");
    // The values of another number of frozen arguments.
    let mut frozen = batch(&AutoArgs { frozen: vec!["decay".to_owned()], ..args.clone() });
    let error = frozen.load(0, &state).unwrap_err().to_string();
    assert_eq!(error, "state is damaged: the number of found values");
}

#[test]
fn a_window_too_short_to_search_fits_the_arguments_that_the_class_has_by_itself() {
    let start = ModelSpec::MadOnline(MadOnlineArgs { threshold: 7.0, ..MadOnlineArgs::default() });
    let args = args(start.clone(), 10);
    let mut tuned = batch(&args);
    tuned.load(0, &fit(&args, Window { times: &[0, 1], values: &[3.0, 4.0] }).unwrap()).unwrap();
    assert_eq!(tuned.found(0), Some(&start));
    let error = fit(&args, Window { times: &[0, 1], values: &[MISSING, f64::NAN] });
    assert_eq!(error, Err(FitError::TooFewSamples { needed: 1, found: 0 }));
}

#[test]
fn a_series_that_no_fit_has_seen_starts_if_its_class_learns_online_and_waits_if_not() {
    let tick = |tuned: &mut TunedBatch, values: &[f64]| {
        let times: Vec<i64> = (0..values.len() as i64).collect();
        let mut scores = Scores::default();
        tuned.infer(Samples { times: &times, slots: &[0], values }, &ScorePolicy::default(), &mut scores);
        scores
    };
    let mut online = batch(&args(ModelSpec::ZscoreOnline(ZscoreOnlineArgs::default()), 10));
    assert!(tick(&mut online, &[MISSING, f64::NAN]).yhat.iter().all(|yhat| yhat.is_nan()));
    assert!(!online.has_state(0), "nothing was learnt");
    assert_eq!(tick(&mut online, &[5.0, 5.0]).yhat[1], 5.0);
    online.learn(Samples { times: &[9], slots: &[1], values: &[3.0] });
    assert!(online.has_state(0) && online.has_state(1));
    online.reset(0);
    assert!(!online.has_state(0));

    let forest = ModelSpec::IsolationForest(IsolationForestArgs::default(), Zone::default());
    let mut offline = batch(&args(forest, 10));
    let scores = tick(&mut offline, &[5.0, 5.0]);
    assert!(scores.anomaly_score.iter().all(|score| score.is_nan()));
    assert!(!offline.has_state(0));
}

#[test]
fn what_a_class_gives_beside_its_interval_is_given_with_and_without_a_fit() {
    let start = ProphetArgs { forecast_at: vec![STEP_MS], ..ProphetArgs::default() };
    let args = args(ModelSpec::Prophet(Box::new(start)), 2);
    let spec = ModelSpec::Auto(Box::new(args.clone()));
    assert!(spec.component_names().contains(&"trend".to_owned()));
    let Batch::Tuned(mut tuned) = spec.new_batch(&["trend".to_owned()]) else { panic!("tuned") };
    tuned.grow(2);
    let (times, values) = daily(DAY);
    tuned.load(1, &fit(&args, Window { times: &times, values: &values }).unwrap()).unwrap();
    let mut scores = Scores::default();
    let samples = Samples { times: &[600 * STEP_MS], slots: &[0, 1], values: &[100.0, 100.0] };
    tuned.infer(samples, &ScorePolicy::default(), &mut scores);
    assert_eq!(scores.components.iter().map(|trend| trend.is_finite()).collect::<Vec<_>>(), [false, true]);
    assert_eq!(scores.forecasts.iter().map(|next| next.yhat.is_finite()).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn no_class_is_worse_than_its_start_on_the_objective_and_most_are_better() {
    let (times, values) = daily(2 * DAY);
    let window = Window { times: &times, values: &values };
    fn losses<A: Tunable>(start: &A, window: Window<'_>) -> (f64, f64) {
        let tuning = TuningArgs { n_trials: 12, ..TuningArgs::new(0.02) };
        let tuned = tune(start, &[], window, &Running::default(), &tuning, |_| true).unwrap();
        // What was found is as good as the search says: tried again by itself, it has the same loss.
        let only = TuningArgs { n_trials: 1, ..tuning };
        let again = tune(&tuned.args, &[], window, &Running::default(), &only, |_| true).unwrap();
        assert_eq!(again.loss, tuned.loss);
        (tuned.loss, tuned.start_loss.unwrap())
    }
    let mut better = 0;
    for start in classes() {
        let class = start.class();
        let (loss, start_loss) = match start {
            ModelSpec::ZscoreOnline(args) => losses(&args, window),
            ModelSpec::MadOnline(args) => losses(&args, window),
            ModelSpec::QuantileOnline(args, zone) => losses(&(args, zone), window),
            ModelSpec::RollingQuantile(args) => losses(&args, window),
            ModelSpec::Std(args) => losses(&args, window),
            ModelSpec::TemporalEnvelope(args, zone) => losses(&(args, zone), window),
            ModelSpec::Prophet(args) => losses(args.as_ref(), window),
            ModelSpec::HoltWinters(args) => losses(&args, window),
            ModelSpec::IsolationForest(args, zone) => losses(&(args, zone), window),
            ModelSpec::Auto(_) | ModelSpec::Calibrated(..) => unreachable!("nothing to search"),
        };
        assert!(loss <= start_loss, "{class}: {loss} {start_loss}");
        better += u32::from(loss < start_loss);
    }
    assert!(better >= 7, "{better}");
}

#[test]
fn an_early_end_keeps_the_best_so_far_and_never_less_than_the_start() {
    let (times, values) = daily(DAY);
    let window = Window { times: &times, values: &values };
    let args = args(ModelSpec::MadOnline(MadOnlineArgs::default()), 50);
    let mut asked = 0;
    let mut cut = Vec::new();
    let stops = || {
        asked += 1;
        asked < 8
    };
    batch(&args).fit(window, stops, &mut cut).unwrap();
    let short = AutoArgs { tuning: TuningArgs { n_trials: 8, ..args.tuning }, ..args.clone() };
    assert_eq!(cut, fit(&short, window).unwrap(), "a cut search is the beginning of a longer one");
    let unsearched = batch(&args).begin_fit(window);
    let mut state = Vec::new();
    unsearched.finish(window, &mut state).unwrap();
    let mut tuned = batch(&args);
    tuned.load(0, &state).unwrap();
    assert_eq!(tuned.found(0), Some(&args.start));
}

#[test]
fn everything_that_a_search_depends_on_is_in_the_signature() {
    let signature = |args: &AutoArgs| ModelSpec::Auto(Box::new(args.clone())).learning_signature();
    let zscore = |z_threshold| ModelSpec::ZscoreOnline(ZscoreOnlineArgs { z_threshold, ..Default::default() });
    let plain = AutoArgs::new(zscore(2.5), 0.01);
    let frozen =
        |names: &[&str]| AutoArgs { frozen: names.iter().map(|name| (*name).to_owned()).collect(), ..plain.clone() };
    assert!(signature(&plain).starts_with("auto v2 start=[zscore_online v1 decay=1.0"), "{}", signature(&plain));
    assert_eq!(signature(&frozen(&["decay", "z_threshold"])), signature(&frozen(&["z_threshold", "decay", "decay"])));
    assert_eq!(signature(&frozen(&["history_strength"])), signature(&plain), "it is never searched");
    for other in [
        AutoArgs { start: zscore(3.0), ..plain.clone() },
        AutoArgs { start: ModelSpec::MadOnline(MadOnlineArgs::default()), ..plain.clone() },
        frozen(&["decay"]),
        AutoArgs { tuning: TuningArgs { seed: 1, ..plain.tuning }, ..plain.clone() },
        AutoArgs { timeout: Some(Duration::from_secs(1)), ..plain.clone() },
        AutoArgs { policy: ScorePolicy { clip_predictions: true, ..plain.policy }, ..plain.clone() },
        AutoArgs { safeguards: Safeguards { band_floor: 1.0, influence_limit: 0.0 }, ..plain.clone() },
        AutoArgs { exclude_incidents: true, ..plain.clone() },
    ] {
        assert_ne!(signature(&other), signature(&plain), "{other:?}");
    }
    let with_floor =
        |band_floor| AutoArgs { safeguards: Safeguards { band_floor, influence_limit: 0.0 }, ..plain.clone() };
    assert_ne!(signature(&with_floor(1.0)), signature(&with_floor(2.0)), "trials have the floor");
}

#[test]
fn arguments_outside_their_range_are_named() {
    let plain = AutoArgs::new(ModelSpec::ZscoreOnline(ZscoreOnlineArgs::default()), 0.01);
    assert_eq!(plain.validate(), Ok(()));
    let nested = AutoArgs { start: ModelSpec::Auto(Box::new(plain.clone())), ..plain.clone() };
    let message = nested.validate().unwrap_err().to_string();
    assert_eq!(message, "tuned_class_name of auto is auto, it must be a class that has arguments to search");
    let hasty = AutoArgs { timeout: Some(Duration::ZERO), ..plain.clone() };
    assert_eq!(hasty.validate().unwrap_err().to_string(), "timeout of auto is 0, it must be above 0");
    let wrong = AutoArgs { start: ModelSpec::Std(StdArgs::new(1)), ..plain };
    assert_eq!(wrong.validate().unwrap_err().argument, "period");
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => -1e3..1e3_f64,
        2 => (-3..3).prop_map(f64::from),
        1 => prop_oneof![Just(MISSING), Just(f64::NAN), Just(f64::INFINITY), Just(f64::MAX), Just(-f64::MAX), Just(5e-324)],
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_window_gives_every_class_a_state_that_can_be_loaded_or_a_reason(
        values in prop::collection::vec(value(), 0..120),
        n_trials in 1..6_u32,
        seed in any::<u64>(),
        anomaly_percentage in 0.0..0.5_f64,
        exact in any::<bool>(),
    ) {
        let times: Vec<i64> = (0..values.len() as i64).map(|index| index * STEP_MS).collect();
        let window = Window { times: &times, values: &values };
        for start in classes() {
            let class = start.class();
            let auto = AutoArgs::new(start.clone(), anomaly_percentage);
            let args = AutoArgs { tuning: TuningArgs { n_trials, seed, exact, ..auto.tuning }, ..auto };
            let once = fit(&args, window);
            prop_assert_eq!(&once, &fit(&args, window), "the same seed gives the same");
            let Ok(state) = once else { continue };
            let mut tuned = batch(&args);
            prop_assert_eq!(tuned.load(0, &state), Ok(()), "{}", class);
            prop_assert_eq!(saved(&tuned, 0), state, "{}", class);
        }
    }
}
