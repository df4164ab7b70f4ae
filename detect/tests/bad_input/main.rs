//! Whatever a series is and whatever its model is told: no panic, no score that is infinite, no NaN but where there is nothing to
//! score, and a fit that is refused says why.

mod arguments;
mod series;

use arguments::{edges, envelope_args, forest_args, offline, online, positive};
use detect::auto::{Running, Tunable, TuningArgs, ValidationScheme, tune};
use detect::batch::Batch;
use detect::calendar::Zone;
use detect::calibrated::multivariate::{CalibratedMultivariate, CalibratedMultivariateArgs};
use detect::decomposition::seasonal_decompose;
use detect::holt_winters::HoltWintersArgs;
use detect::isolation_forest::{Channels, IsolationForestArgs, IsolationForestMultivariate};
use detect::mad::MadOnlineArgs;
use detect::model::{MISSING, Samples, Scores, is_missing};
use detect::offline::{FitError, Window};
use detect::score::{Interval, MAX_SCORE, ScorePolicy, Sides};
use detect::spec::ModelSpec;
use detect::temporal_envelope::multivariate::{
    MAX_DEPENDENCY_RANK, TemporalEnvelopeMultivariate, TemporalEnvelopeMultivariateArgs,
};
use detect::zscore::ZscoreOnlineArgs;
use proptest::prelude::*;
use proptest::sample::select;
use series::{MINUTE, START, TINY, series, times, values};

fn policy() -> impl Strategy<Value = ScorePolicy> {
    let default = ScorePolicy { min_n_samples_seen: 0, ..ScorePolicy::default() };
    let wide = ScorePolicy { scale: Sides { below: TINY, above: f64::MAX }, ..default };
    let clipped = ScorePolicy { clip_predictions: true, data_range: (-1.0, 3.0), ..default };
    select(vec![default, wide, clipped])
}

/// A batch of one slot that gives all that the class has to give, or `None` if the arguments are refused, by name.
fn batch(spec: &ModelSpec) -> Result<Option<Batch>, TestCaseError> {
    let signature = spec.learning_signature();
    prop_assert!(signature.starts_with(spec.class()), "{}", signature);
    let components = spec.component_names();
    if let Err(error) = spec.validate() {
        prop_assert_eq!(error.class, spec.class());
        prop_assert!(![error.argument, &error.value, error.range].contains(&""), "{}", error);
        return Ok(None);
    }
    let mut batch = spec.new_batch(&components);
    batch.grow(1);
    Ok(Some(batch))
}

fn infer(batch: &mut Batch, times: &[i64], values: &[f64], policy: &ScorePolicy) -> Scores {
    let mut scores = Scores::default();
    batch.infer(Samples { times, slots: &[0], values }, policy, &mut scores);
    scores
}

/// NaN or finite and in order; NaN together.
fn is_sound(interval: Interval) -> bool {
    let Interval { yhat, lower, upper } = interval;
    let is_none = yhat.is_nan() && lower.is_nan() && upper.is_nan();
    is_none || yhat.is_finite() && lower.is_finite() && upper.is_finite() && lower <= yhat && yhat <= upper
}

/// What holds of the scores of a series by a model that has learnt something.
fn check(spec: &ModelSpec, values: &[f64], scores: &Scores) -> Result<(), TestCaseError> {
    for (at, value) in values.iter().enumerate() {
        let (yhat, lower) = (scores.yhat[at], scores.yhat_lower[at]);
        let interval = Interval { yhat, lower, upper: scores.yhat_upper[at] };
        let score = scores.anomaly_score[at];
        prop_assert!(is_sound(interval), "{:?}: {:?}", spec, interval);
        prop_assert!(!is_missing(*value) || yhat.is_nan(), "a missing sample has bounds");
        let is_score = (0.0..=MAX_SCORE).contains(&score);
        prop_assert!(if value.is_finite() { is_score } else { score.is_nan() }, "{:?}: {} {}", spec, value, score);
    }
    prop_assert!(scores.components.iter().all(|number| !number.is_infinite()), "{:?}", scores.components);
    prop_assert!(scores.forecasts.iter().all(|interval| is_sound(*interval)), "{:?}", scores.forecasts);
    Ok(())
}

/// What is learnt can be saved, taken over and saved again.
fn check_state(spec: &ModelSpec, batch: &Batch) -> Result<(), TestCaseError> {
    let save = |batch: &Batch| {
        let mut state = Vec::new();
        batch.save(0, &mut state);
        state
    };
    let mut other = spec.new_batch(&[]);
    other.grow(1);
    let state = save(batch);
    prop_assert_eq!(other.load(0, &state), Ok(()), "{:?}", spec);
    prop_assert_eq!(save(&other), state);
    Ok(())
}

/// That a refused fit names its reason, and that the numbers in it are those of the window.
fn check_refusal(error: &FitError, window: Window<'_>) -> Result<(), TestCaseError> {
    match error {
        FitError::TooFewSamples { needed, found } => {
            prop_assert!(found < needed || window.times.iter().all(|time| *time == window.times[0]), "{}", error);
            prop_assert!(*found <= window.samples().count(), "{}", error);
        }
        FitError::TooFewSteps { needed, found } => prop_assert!(found < needed, "{}", error),
        FitError::TooManyChannels { .. } => prop_assert!(false, "{}", error),
        FitError::Failed { what } => prop_assert!(!what.is_empty()),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_model_that_learns_with_every_sample_scores_whatever_comes(
        spec in online(),
        (times, values) in series(120),
        policy in policy(),
        fitted in any::<prop::sample::Index>(),
    ) {
        let Some(mut batch) = batch(&spec)? else { return Ok(()) };
        let (history, live) = values.split_at(fitted.index(values.len() + 1));
        let (history_times, live_times) = times.split_at(history.len());
        batch.learn(Samples { times: history_times, slots: &[0], values: history });
        batch.finish_fit(0);
        prop_assert_eq!(batch.has_state(0), history.iter().any(|value| value.is_finite()));
        check_state(&spec, &batch)?;
        let scores = infer(&mut batch, live_times, live, &policy);
        check(&spec, live, &scores)?;
        check_state(&spec, &batch)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_model_that_is_fitted_is_refused_with_a_reason_or_scores_whatever_comes(
        spec in offline(),
        (times, values) in series(160),
        (live_times, live) in series(20),
        policy in policy(),
    ) {
        let Some(mut batch) = batch(&spec)? else { return Ok(()) };
        let window = Window { times: &times, values: &values };
        let mut state = vec![7];
        let Batch::Offline(offline) = &batch else { panic!("{} is not fitted", spec.class()) };
        match offline.fit(window, &mut state) {
            Err(error) => {
                check_refusal(&error, window)?;
                prop_assert_eq!(state, [7], "a refused fit leaves no state");
                let scores = infer(&mut batch, &live_times, &live, &policy);
                prop_assert!(scores.anomaly_score.iter().chain(&scores.yhat).all(|number| number.is_nan()));
            }
            Ok(()) => {
                prop_assert!(window.samples().nth(1).is_some(), "a fit to fewer than two samples");
                prop_assert_eq!(batch.load(0, &state[1..]), Ok(()), "{:?}", spec);
                check_state(&spec, &batch)?;
                let at_history = infer(&mut batch, &times, &values, &policy);
                check(&spec, &values, &at_history)?;
                let scores = infer(&mut batch, &live_times, &live, &policy);
                check(&spec, &live, &scores)?;
            }
        }
    }

    #[test]
    fn an_envelope_of_several_channels_scores_whatever_comes(
        envelope in envelope_args(),
        rank in edges(&[0, 1, 8, MAX_DEPENDENCY_RANK], &[MAX_DEPENDENCY_RANK + 1]),
        channels in 0..4_usize,
        times in times(60),
        values in prop::array::uniform4(values(60)),
        policy in policy(),
    ) {
        let args = TemporalEnvelopeMultivariateArgs { envelope, dependency_rank: rank, ..Default::default() };
        if let Err(error) = args.validate() {
            prop_assert_eq!(error.class, "temporal_envelope_multivariate");
            return Ok(());
        }
        let names = &["a", "b", "c"][..channels];
        let mut model = TemporalEnvelopeMultivariate::new(args.clone(), Zone::default(), names).unwrap();
        let policies = vec![policy; channels];
        for (tick, time) in times.iter().enumerate() {
            let samples: Vec<f64> = values[..channels].iter().map(|series| series[tick]).collect();
            if tick < 30 {
                model.learn(*time, &samples);
                continue;
            }
            let joint = model.infer(*time, &samples, &policies);
            prop_assert!(joint.is_nan() || (0.0..=MAX_SCORE).contains(&joint), "{}", joint);
            prop_assert_eq!(joint.is_nan(), samples.iter().all(|sample| !sample.is_finite()));
            prop_assert!(model.channel_scores().iter().all(|channel| is_sound(channel.interval)));
        }
        let mut state = Vec::new();
        model.save(&mut state);
        let mut other = TemporalEnvelopeMultivariate::new(args, Zone::default(), names).unwrap();
        prop_assert_eq!(other.load(&state), Ok(()));
    }

    #[test]
    fn a_calibrated_group_of_several_channels_scores_whatever_comes(
        step in edges(&[1, MINUTE, 3_600_000, i64::MAX], &[0, -1]),
        channels in 0..5_usize,
        times in times(120),
        values in prop::array::uniform4(values(120)),
        policy in policy(),
    ) {
        let args = CalibratedMultivariateArgs::new(step);
        if let Err(error) = args.validate() {
            prop_assert_eq!(error.class, "calibrated_multivariate");
            return Ok(());
        }
        let channels = channels.min(4);
        let names = &["a", "b", "c", "d"][..channels];
        let mut model = CalibratedMultivariate::<f32>::new(args, Zone::default(), names).unwrap();
        let policies = vec![policy; channels];
        for (tick, time) in times.iter().enumerate() {
            let samples: Vec<f64> = values[..channels].iter().map(|series| series[tick]).collect();
            if tick < 30 {
                model.learn(*time, &samples);
                continue;
            }
            let joint = model.infer(*time, &samples, &policies);
            prop_assert!(joint.is_nan() || (0.0..=MAX_SCORE).contains(&joint), "{}", joint);
            prop_assert_eq!(joint.is_nan(), samples.iter().all(|sample| !sample.is_finite()));
            for (sample, channel) in samples.iter().zip(model.channel_scores()) {
                prop_assert!(is_sound(channel.interval));
                prop_assert_eq!(channel.score.is_nan(), !sample.is_finite());
                prop_assert!(channel.score.is_nan() || (0.0..=MAX_SCORE).contains(&channel.score), "{:?}", channel);
            }
        }
        let mut state = Vec::new();
        model.save(&mut state);
        let mut other = CalibratedMultivariate::<f32>::new(args, Zone::default(), names).unwrap();
        prop_assert_eq!(other.load(&state), Ok(()));
    }

    #[test]
    fn a_forest_of_several_series_is_refused_with_a_reason_or_scores_whatever_comes(
        args in forest_args(),
        count in 0..4_usize,
        times in times(40),
        values in prop::array::uniform4(values(40)),
    ) {
        if let Err(error) = args.validate("isolation_forest_multivariate") {
            prop_assert_eq!(error.class, "isolation_forest_multivariate");
            return Ok(());
        }
        let values = values[..count].concat();
        let channels = Channels { times: &times, count, values: &values };
        let mut model = IsolationForestMultivariate::new(args.clone(), Zone::default(), 1);
        if let Err(error) = model.fit(channels) {
            let is_short = matches!(error, FitError::TooFewSamples { needed, found } if found < needed);
            let has_reason = matches!(error, FitError::Failed { what } if !what.is_empty());
            prop_assert!(is_short || has_reason);
            return Ok(());
        }
        let mut state = Vec::new();
        model.save(&mut state);
        let mut other = IsolationForestMultivariate::new(args, Zone::default(), 1);
        prop_assert_eq!(other.load(&state), Ok(()));
        let mut scores = Vec::new();
        other.predict(channels, &mut scores);
        for (time, score) in scores.iter().enumerate() {
            let is_complete = (0..count).all(|series| values[series * times.len() + time].is_finite());
            prop_assert!(if is_complete { score.is_finite() } else { score.is_nan() }, "{}", score);
        }
    }

    #[test]
    fn a_decomposition_is_refused_with_a_reason_or_finite(
        values in (0..80_usize).prop_flat_map(values),
        period in select(vec![0, 1, 2, 3, 24, 40, usize::MAX]),
    ) {
        match seasonal_decompose(&values, period) {
            Ok(parts) => {
                prop_assert!(values.len() >= 2 * period);
                prop_assert!(parts.seasonal.iter().all(|number| number.is_finite()));
                prop_assert!(parts.trend.iter().chain(&parts.resid).all(|number| !number.is_infinite()));
            }
            Err(FitError::TooFewSamples { needed, found }) => prop_assert!(found < needed && found == values.len()),
            Err(FitError::Failed { what }) => prop_assert!(!what.is_empty()),
            Err(error) => prop_assert!(false, "{}", error),
        }
    }

    #[test]
    fn a_search_is_refused_with_a_reason_or_finds_arguments_in_their_ranges(
        (times, values) in series(80),
        anomaly_percentage in edges(&[0.0, 0.01, 0.5_f64.next_down()], &[0.5, -0.1, f64::NAN]),
        n_trials in edges(&[1, 2, 9], &[0]),
        n_splits in edges(&[1, 3, 100], &[0, 101]),
        train_val_ratio in positive(),
        is_leaky in any::<bool>(),
        policy in policy(),
    ) {
        let validation_scheme = if is_leaky { ValidationScheme::Leaky } else { ValidationScheme::Regular };
        let base = TuningArgs::new(anomaly_percentage);
        let tuning = TuningArgs { n_trials, n_splits, train_val_ratio, validation_scheme, ..base };
        if let Err(error) = tuning.validate() {
            prop_assert_eq!(error.class, "auto");
            return Ok(());
        }
        let window = Window { times: &times, values: &values };
        let zscore = found(&ZscoreOnlineArgs::default(), window, &policy, &tuning)?;
        prop_assert!(zscore.is_none_or(|args| args.validate().is_ok()));
        let mad = found(&MadOnlineArgs::default(), window, &policy, &tuning)?;
        prop_assert!(mad.is_none_or(|args| args.validate().is_ok()));
    }
}

/// What a search finds, `None` if it is refused.
fn found<A: Tunable + std::fmt::Debug>(
    start: &A,
    window: Window<'_>,
    policy: &ScorePolicy,
    tuning: &TuningArgs,
) -> Result<Option<A>, TestCaseError> {
    let running = Running { policy: *policy, ..Running::default() };
    match tune(start, &[], window, &running, tuning, |_| true) {
        Ok(tuned) => {
            prop_assert!(tuned.loss.is_finite(), "{:?}", tuned);
            Ok(Some(tuned.args))
        }
        Err(error) => check_refusal(&error, window).map(|()| None),
    }
}

/// A window, why `prophet` refuses it, why `holtwinters` with a season of seven steps and why `isolation_forest` do.
type Refusals<'a> = (&'a [i64], &'a [f64], [Option<&'a str>; 3]);

#[test]
fn fits_that_cannot_be_are_refused_with_what_is_missing() {
    const NONE: Option<&str> = Some("the fit needs 2 samples, the window has 0");
    const ONE: Option<&str> = Some("the fit needs 2 samples, the window has 1");
    let refusals: [Refusals<'_>; 4] = [
        (&[], &[], [NONE; 3]),
        (&[START], &[1.0], [ONE; 3]),
        (&[START, START + MINUTE, START + 2 * MINUTE], &[f64::NAN, MISSING, f64::INFINITY], [NONE; 3]),
        (&[START, START + MINUTE, START + 2 * MINUTE], &[1.0, 2.0, 3.0], [None; 3]),
    ];
    let weekly = HoltWintersArgs { seasonal_periods: Some(7), ..HoltWintersArgs::default() };
    let specs = [
        ModelSpec::Prophet(Box::default()),
        ModelSpec::HoltWinters(weekly),
        ModelSpec::IsolationForest(IsolationForestArgs::default(), Zone::default()),
    ];
    for (times, values, reasons) in refusals {
        for (spec, reason) in specs.iter().zip(reasons) {
            let Batch::Offline(batch) = spec.new_batch(&[]) else { panic!("{} is not fitted", spec.class()) };
            let refused = batch.fit(Window { times, values }, &mut Vec::new()).err().map(|error| error.to_string());
            assert_eq!(refused.as_deref(), reason, "{}", spec.class());
        }
    }
}
