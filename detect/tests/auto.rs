//! What users rely on of the search for arguments.

#![expect(clippy::unwrap_used, reason = "functions that tests share are tests, too")]

mod random;

use detect::auto::{
    Parameter, Running, Scale, TrialArgs, Tunable, Tuned, TuningArgs, ValidationScheme, predict_offline, tune,
};
use detect::calendar::Zone;
use detect::isolation_forest::{Contamination, GrowthArgs, IsolationForest, IsolationForestArgs};
use detect::mad::MadOnlineArgs;
use detect::offline::{FitError, Prediction, Window};
use detect::safeguards::Safeguards;
use detect::zscore::ZscoreOnlineArgs;
use proptest::prelude::*;
use random::uniform;

const MINUTE_MS: i64 = 60_000;

/// A bell-shaped value: the sum of four uniform ones.
fn bell(index: u64) -> f64 {
    (0..4).map(|part| uniform(4 * index + part) - 0.5).sum()
}

fn times(count: usize) -> Vec<i64> {
    (0..count as i64).map(|minute| minute * MINUTE_MS).collect()
}

fn search<A: Tunable>(start: &A, frozen: &[&str], values: &[f64], tuning: &TuningArgs) -> Result<Tuned<A>, FitError> {
    let times = times(values.len());
    tune(start, frozen, Window { times: &times, values }, &Running::default(), tuning, |_| true)
}

fn noisy() -> Vec<f64> {
    (0..3000).map(bell).collect()
}

#[test]
fn the_interval_is_as_narrow_as_the_share_of_anomalies_allows() {
    let threshold = |share| {
        let tuned = search(&ZscoreOnlineArgs::default(), &["decay"], &noisy(), &TuningArgs::new(share)).unwrap();
        tuned.args.z_threshold
    };
    // Of a bell-shaped distribution, 10 % is beyond 1.65 deviations, and 1 % beyond 2.5.
    let (loose, strict) = (threshold(0.1), threshold(0.01));
    assert!((1.5..1.9).contains(&loose), "{loose}");
    assert!((2.1..2.9).contains(&strict), "{strict}");
}

/// The loss of the arguments that a search starts from, and what it finds.
fn running(values: &[f64], running: Running) -> (f64, ZscoreOnlineArgs) {
    let (times, tuning) = (times(values.len()), TuningArgs { n_trials: 32, ..TuningArgs::new(0.01) });
    let window = Window { times: &times, values };
    let tuned = tune(&ZscoreOnlineArgs::default(), &["decay"], window, &running, &tuning, |_| true).unwrap();
    (tuned.start_loss.unwrap(), tuned.args)
}

#[test]
fn trials_have_the_safeguards_of_the_model_and_leave_out_the_incidents_that_it_leaves_out() {
    // Each move of a counter that mostly stands still is an alarm without a floor.
    let idle: Vec<f64> = (0..1200).map(|index| if index % 20 == 0 { 1.0 } else { 0.0 }).collect();
    let floored =
        |band_floor| Running { safeguards: Safeguards { band_floor, ..Default::default() }, ..Default::default() };
    let (plain, wide) = (running(&idle, floored(0.0)).0, running(&idle, floored(5.0)).0);
    assert!(wide < plain - 1.0, "{plain} {wide}");

    // One incident of eight samples in what is trained, and one in what is validated.
    let mut values: Vec<f64> = noisy()[..1200].to_vec();
    for start in [500, 1100] {
        values[start..start + 8].iter_mut().for_each(|value| *value += 30.0);
    }
    let excluding = Running { exclude_incidents: true, ..Running::default() };
    let ((plain, with), (excluded, without)) = (running(&values, Running::default()), running(&values, excluding));
    assert!(excluded < plain, "the band is narrower: {excluded} {plain}");
    assert!(without.z_threshold > with.z_threshold, "{without:?} {with:?}");
    let limited =
        Running { safeguards: Safeguards { influence_limit: 3.0, ..Default::default() }, ..Default::default() };
    assert!(running(&values, limited).0 < plain);
}

#[test]
fn a_level_that_wanders_is_followed() {
    let mut level = 0.0;
    let wandering: Vec<f64> = (0..3000)
        .map(|index| {
            level += bell(index);
            level
        })
        .collect();
    let tuning = TuningArgs { exact: true, ..TuningArgs::new(0.05) };
    let tuned = search(&ZscoreOnlineArgs::default(), &[], &wandering, &tuning).unwrap();
    assert!(tuned.args.decay < 0.99, "{:?}", tuned.args);
    assert!(tuned.loss < 0.5 * tuned.start_loss.unwrap(), "{tuned:?}");
}

#[test]
fn a_few_trials_are_enough_to_keep_to_the_share() {
    let tuning = TuningArgs { n_trials: 9, ..TuningArgs::new(0.0) };
    let tuned = search(&MadOnlineArgs::default(), &[], &noisy(), &tuning).unwrap();
    assert!(tuned.loss < 0.5 * tuned.start_loss.unwrap(), "{tuned:?}");
}

#[test]
fn frozen_arguments_stay_as_they_are() {
    let start = MadOnlineArgs { threshold: 7.0, decay: 0.999, compression: 77, history_strength: 3.0 };
    let tuned = search(&start, &["threshold", "compression"], &noisy(), &TuningArgs::new(0.1)).unwrap();
    assert_eq!((tuned.args.threshold, tuned.args.compression, tuned.args.history_strength), (7.0, 77, 3.0));
    let tuned = search(&start, &["threshold", "compression", "decay"], &noisy(), &TuningArgs::new(0.1)).unwrap();
    assert_eq!((tuned.args, tuned.trials), (start, 1));
}

#[test]
fn the_smaller_state_wins_among_equals() {
    // Two values need two centroids, whatever the compression; a thousand values need as many as there are.
    let tuning = TuningArgs { optimize_complexity: true, ..TuningArgs::new(0.1) };
    let simple = search(&MadOnlineArgs::default(), &["decay", "threshold"], &noisy(), &tuning).unwrap();
    let tuning = TuningArgs { optimize_complexity: false, ..tuning };
    let best = search(&MadOnlineArgs::default(), &["decay", "threshold"], &noisy(), &tuning).unwrap();
    assert!(simple.args.compression < 60 && best.loss <= simple.loss, "{simple:?} {best:?}");
}

#[test]
fn the_callback_ends_the_search() {
    let values = noisy();
    let (times, mut asked) = (times(values.len()), Vec::new());
    let window = Window { times: &times, values: &values };
    let goes_on = |trials| {
        asked.push(trials);
        trials < 5
    };
    let start = ZscoreOnlineArgs::default();
    let tuned = tune(&start, &[], window, &Running::default(), &TuningArgs::new(0.1), goes_on).unwrap();
    assert_eq!((tuned.trials, asked), (5, vec![1, 2, 3, 4, 5]));
    // It is the beginning of the longer search.
    let short = TuningArgs { n_trials: 5, ..TuningArgs::new(0.1) };
    assert_eq!(search(&start, &[], &values, &short), Ok(tuned));
}

/// A forest whose share of anomalies is searched.
#[derive(Debug, Clone, PartialEq)]
struct Forest(IsolationForestArgs);

impl Tunable for Forest {
    const PARAMETERS: &'static [Parameter<Self>] = &[Parameter {
        name: "contamination",
        scale: Scale::Ratio(0.001, 0.5),
        get: |forest| match forest.0.contamination {
            Contamination::Auto => f64::NAN,
            Contamination::Share(share) => share,
        },
        set: |forest, value| forest.0.contamination = Contamination::Share(value),
    }];

    fn predict(
        &self,
        history: Window<'_>,
        points: Window<'_>,
        _trial: TrialArgs,
        predictions: &mut Vec<Prediction>,
    ) -> Result<usize, FitError> {
        let forest = IsolationForest::new(self.0.clone(), Zone::default(), 42);
        predict_offline(forest, history, points, Safeguards::default(), predictions)
    }
}

#[test]
fn a_class_without_expectation_is_tuned_to_the_share() {
    let growth = GrowthArgs { n_estimators: 20, ..Default::default() };
    let start = Forest(IsolationForestArgs { growth, ..Default::default() });
    let tuned = search(&start, &[], &noisy(), &TuningArgs { n_trials: 20, ..TuningArgs::new(0.1) }).unwrap();
    // The share differs by at most 2 percent from what is wanted.
    assert!(tuned.loss < 2.0 && tuned.start_loss.unwrap() > 5.0, "{tuned:?}");
}

#[test]
fn a_history_without_samples_gives_no_arguments() {
    let error = search(&ZscoreOnlineArgs::default(), &[], &[f64::NAN; 100], &TuningArgs::new(0.1));
    assert_eq!(error, Err(FitError::TooFewSamples { needed: 6, found: 0 }));
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => -1e3..1e3_f64,
        2 => (-3..3).prop_map(f64::from),
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(1e300), Just(f64::MAX), Just(-f64::MAX), Just(5e-324)],
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_history_gives_arguments_that_are_valid_and_never_worse_or_a_reason(
        values in prop::collection::vec(value(), 0..150),
        anomaly_percentage in 0.0..0.5_f64,
        n_trials in 1..12_u32,
        n_splits in prop_oneof![1..5_u32, Just(100)],
        train_val_ratio in prop_oneof![0.01..20.0_f64, Just(f64::MIN_POSITIVE), Just(f64::MAX)],
        leaky in any::<bool>(),
        exact in any::<bool>(),
        optimize_complexity in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let validation_scheme = if leaky { ValidationScheme::Leaky } else { ValidationScheme::Regular };
        let tuning = TuningArgs {
            n_trials, n_splits, train_val_ratio, validation_scheme, exact, optimize_complexity, seed,
            ..TuningArgs::new(anomaly_percentage)
        };
        prop_assert_eq!(tuning.validate(), Ok(()));
        let found = values.iter().filter(|value| value.is_finite()).count();
        match search(&MadOnlineArgs::default(), &[], &values, &tuning) {
            Ok(tuned) => {
                prop_assert!(tuned.loss <= tuned.start_loss.unwrap());
                prop_assert_eq!(tuned.args.validate(), Ok(()));
                prop_assert_eq!(tuned.trials, n_trials);
                prop_assert_eq!(search(&MadOnlineArgs::default(), &[], &values, &tuning), Ok(tuned));
            }
            Err(FitError::TooFewSamples { needed, found: reported }) => {
                prop_assert!(needed > reported && reported == found);
            }
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}
