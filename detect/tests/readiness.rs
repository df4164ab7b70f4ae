//! After how much history a model of each class starts to score, and is ready.

#![expect(clippy::unwrap_used, reason = "functions that tests share are tests, too")]

use detect::auto::AutoArgs;
use detect::batch::Batch;
use detect::calendar::{DAY_MS, Zone};
use detect::calibrated::CalibratedArgs;
use detect::calibrated::multivariate::CalibratedMultivariateArgs;
use detect::decomposition::StdArgs;
use detect::holt_winters::{HoltWintersArgs, Initialization};
use detect::isolation_forest::{IsolationForestArgs, MaxSamples};
use detect::model::{MISSING, Samples, Scores};
use detect::multivariate::{Channels, MultivariateSpec};
use detect::offline::Window;
use detect::prophet::{BuiltIn, ProphetArgs};
use detect::quantile_online::QuantileOnlineArgs;
use detect::readiness::Readiness;
use detect::rolling_quantile::RollingQuantileArgs;
use detect::safeguards::Safeguards;
use detect::score::ScorePolicy;
use detect::spec::ModelSpec;
use detect::temporal_envelope::TemporalEnvelopeArgs;

const HOUR: i64 = DAY_MS / 24;

/// A level with noise that repeats after 13 values.
fn value(index: usize) -> f64 {
    let noise = [0.1, -0.2, 0.05, 0.15, -0.1, 0.0, 0.2, -0.15, -0.05, 0.1, -0.1, 0.05, -0.05];
    10.0 + noise[index % 13]
}

fn times(step: i64, count: usize) -> Vec<i64> {
    (0..count as i64).map(|index| index * step).collect()
}

fn values(count: usize) -> Vec<f64> {
    (0..count).map(value).collect()
}

fn envelope(seasonalities: &[&str]) -> ModelSpec {
    let seasonalities = seasonalities.iter().map(|name| name.parse().unwrap()).collect();
    ModelSpec::TemporalEnvelope(TemporalEnvelopeArgs { seasonalities, ..Default::default() }, Zone::default())
}

fn calibrated(step: i64) -> ModelSpec {
    ModelSpec::Calibrated(CalibratedArgs::new(step), Zone::default())
}

fn quantiles(season: Option<i64>) -> ModelSpec {
    let min_subseason = season.map(|_| HOUR);
    let args = QuantileOnlineArgs { seasonal_interval: season, min_subseason, ..Default::default() };
    ModelSpec::QuantileOnline(args, Zone::default())
}

fn holt_winters() -> HoltWintersArgs {
    HoltWintersArgs { seasonality: Some(DAY_MS), ..Default::default() }
}

/// The stages that a series goes through from its first sample on, each that of the model that has seen so many samples.
fn stages(batch: &mut Batch, step: i64, count: usize) -> Vec<f64> {
    batch.grow(1);
    let mut scores = Scores::with_stage();
    let samples = Samples { times: &times(step, count), slots: &[0], values: &values(count) };
    batch.infer(samples, &ScorePolicy::default(), &mut scores);
    scores.stage
}

#[test]
fn a_series_that_an_online_model_begins_with_starts_learns_and_is_ready_after_the_documented_samples() {
    for (spec, step, scores_from, ready_from) in [
        (calibrated(HOUR), HOUR, 30, 168),
        (calibrated(HOUR / 6), HOUR / 6, 30, 7 * 144 - 2),
        (calibrated(DAY_MS), DAY_MS, 30, 61),
        (ModelSpec::ZscoreOnline(Default::default()), HOUR, 16, 16),
        (ModelSpec::MadOnline(Default::default()), HOUR, 16, 16),
        (quantiles(None), HOUR, 16, 16),
        (quantiles(Some(DAY_MS)), HOUR / 6, 16, 23 * 6 + 1),
        (quantiles(Some(7 * DAY_MS)), HOUR, 16, 168),
        (ModelSpec::RollingQuantile(RollingQuantileArgs::new(0.9, 8)), HOUR, 16, 16),
        (ModelSpec::RollingQuantile(RollingQuantileArgs::new(0.9, 50)), HOUR, 16, 50),
        (ModelSpec::Std(StdArgs::new(24)), HOUR, 72, 72),
        (ModelSpec::Std(StdArgs::new(5)), HOUR, 16, 16),
        (envelope(&[]), HOUR, 16, 16),
        (envelope(&["hod_smooth"]), HOUR, 16, 25),
        (envelope(&["hod_plateau", "dow_spiky"]), HOUR, 16, 169),
        (envelope(&["weekpart_plateau"]), HOUR, 16, 169),
        (envelope(&["month_smooth"]), DAY_MS, 16, 367),
    ] {
        for guards in [Safeguards::default(), Safeguards { band_floor: 1.0, influence_limit: 0.0 }] {
            let mut batch = spec.new_batch_with(guards, &[]);
            let stages = stages(&mut batch, step, ready_from + 10);
            let class = spec.class();
            assert!(stages.is_sorted(), "{class}: {stages:?}");
            assert_eq!(stages.iter().position(|stage| *stage >= 1.0), Some(scores_from), "{class}: {stages:?}");
            assert_eq!(stages.iter().position(|stage| *stage == 2.0), Some(ready_from), "{class}: {stages:?}");
            assert_eq!((stages[0], batch.readiness(0, &ScorePolicy::default())), (0.0, Readiness::READY), "{class}");
            // With a sample a step, what is said to be needed is enough, and a tenth less is not.
            let needed = spec.needed_history(16);
            let most = needed.samples.max(1 + (needed.span as u64).div_ceil(step as u64)) as usize;
            assert!(ready_from <= most && most * 9 / 10 <= ready_from, "{class}: {most} and {ready_from}");
        }
    }
}

#[test]
fn a_saved_model_is_as_ready_as_it_was() {
    for spec in [
        quantiles(Some(DAY_MS)),
        ModelSpec::RollingQuantile(RollingQuantileArgs::new(0.9, 100)),
        ModelSpec::Std(StdArgs::new(48)),
        envelope(&["dow_smooth"]),
        ModelSpec::Prophet(Box::default()),
        ModelSpec::HoltWinters(holt_winters()),
        ModelSpec::IsolationForest(IsolationForestArgs::default(), Zone::default()),
    ] {
        let policy = ScorePolicy::default();
        let mut batch = spec.new_batch(&[]);
        batch.grow(2);
        let (times, values) = (times(HOUR, 20), values(20));
        batch.learn(Samples { times: &times, slots: &[0], values: &values });
        let mut state = Vec::new();
        match &batch {
            Batch::Offline(batch) => batch.fit(Window { times: &times, values: &values }, &mut state).unwrap(),
            _ => batch.save(0, &mut state),
        }
        batch.load(0, &state).unwrap();
        batch.load(1, &state).unwrap();
        let [before, after] = [0, 1].map(|slot| batch.readiness(slot, &policy));
        assert_eq!(after, before, "{}", spec.class());
        assert!(after.value() > 0.0 && after.value() < 2.0, "{}: {after:?}", spec.class());
    }
}

/// The stage after a fit to so many samples; `None` if they are too few.
fn fitted(spec: &ModelSpec, step: i64, count: usize) -> Option<f64> {
    let mut batch = spec.new_batch(&[]);
    batch.grow(1);
    let mut state = Vec::new();
    let Batch::Offline(offline) = &mut batch else { panic!("{} is fitted", spec.class()) };
    offline.fit(Window { times: &times(step, count), values: &values(count) }, &mut state).ok()?;
    offline.load(0, &state).unwrap();
    let mut scores = Scores::with_stage();
    let time = [times(step, count + 1)[count]];
    batch.infer(Samples { times: &time, slots: &[0], values: &[10.0] }, &ScorePolicy::default(), &mut scores);
    assert!(scores.anomaly_score[0].is_finite());
    assert_eq!(scores.stage[0], batch.readiness(0, &ScorePolicy::default()).value());
    Some(scores.stage[0])
}

#[test]
fn a_fit_to_less_than_the_documented_history_is_learning_and_one_to_as_much_is_ready() {
    let prophet = |args: ProphetArgs| ModelSpec::Prophet(Box::new(args));
    let season = |period| detect::prophet::Seasonality {
        name: "own".into(),
        period,
        fourier_order: 2,
        prior_scale: None,
        mode: None,
    };
    let none = ProphetArgs {
        weekly_seasonality: BuiltIn::Off,
        daily_seasonality: BuiltIn::Off,
        yearly_seasonality: BuiltIn::Off,
        ..Default::default()
    };
    let forest = |max_samples| {
        let mut args = IsolationForestArgs::default();
        args.growth.max_samples = max_samples;
        ModelSpec::IsolationForest(args, Zone::default())
    };
    let heuristic = HoltWintersArgs { initialization: Initialization::Heuristic, ..holt_winters() };
    let of_six = HoltWintersArgs { seasonal_periods: Some(6), ..heuristic.clone() };
    for (spec, needed) in [
        (prophet(ProphetArgs::default()), 14 * 24 + 1),
        (prophet(ProphetArgs { weekly_seasonality: BuiltIn::Off, ..Default::default() }), 2 * 24 + 1),
        (prophet(ProphetArgs { weekly_seasonality: BuiltIn::On, ..none.clone() }), 14 * 24),
        (prophet(ProphetArgs { seasonalities: vec![season(3.0)], ..none.clone() }), 6 * 24),
        (prophet(none), 2),
        (ModelSpec::HoltWinters(holt_winters()), 48),
        (ModelSpec::HoltWinters(heuristic), 48),
        (ModelSpec::HoltWinters(of_six), 16),
        (ModelSpec::HoltWinters(HoltWintersArgs { seasonal: None, ..Default::default() }), 2),
        (forest(MaxSamples::Auto), 256),
        (forest(MaxSamples::Number(100)), 100),
        (forest(MaxSamples::Share(0.5)), 2),
    ] {
        let class = spec.class();
        assert_eq!(fitted(&spec, HOUR, needed), Some(2.0), "{class} with {needed}");
        assert_eq!(fitted(&spec, HOUR, 1), None, "{class}");
        if needed > 2 {
            let [few, half, most] = [2, needed / 2, needed - 1].map(|count| fitted(&spec, HOUR, count).unwrap());
            assert!(1.0 <= few && few < half && half < most && most < 2.0, "{class}: {few} {half} {most}");
        }
    }
}

#[test]
fn a_series_without_a_fit_has_a_stage_and_a_missing_sample_has_none() {
    for spec in
        [ModelSpec::Prophet(Box::default()), ModelSpec::Auto(Box::new(tuned(ModelSpec::Prophet(Box::default()))))]
    {
        let mut batch = spec.new_batch(&[]);
        batch.grow(1);
        let mut scores = Scores::with_stage();
        let samples = Samples { times: &[0, HOUR], slots: &[0], values: &[1.0, MISSING] };
        batch.infer(samples, &ScorePolicy::default(), &mut scores);
        assert!(scores.stage[0] == 0.0 && scores.stage[1].is_nan() && scores.anomaly_score[0].is_nan());
        let mut without = Scores::default();
        batch.infer(samples, &ScorePolicy::default(), &mut without);
        assert!(without.stage.is_empty(), "nobody asked for it");
    }
}

#[test]
fn several_series_side_by_side_have_the_stage_of_each() {
    let mut batch = ModelSpec::ZscoreOnline(Default::default()).new_batch(&[]);
    batch.grow(40);
    let slots: Vec<u32> = (0..40).collect();
    batch.learn(Samples { times: &times(HOUR, 20), slots: &[7], values: &values(20) });
    let mut scores = Scores::with_stage();
    batch.infer(Samples { times: &[0], slots: &slots, values: &[1.0; 40] }, &ScorePolicy::default(), &mut scores);
    let ready: Vec<usize> = (0..40).filter(|slot| scores.stage[*slot] == 2.0).collect();
    assert_eq!(ready, [7]);
}

fn tuned(start: ModelSpec) -> AutoArgs {
    let mut args = AutoArgs::new(start, 0.01);
    args.tuning.n_trials = 4;
    args
}

#[test]
fn a_tuned_series_is_ready_and_one_that_no_search_has_seen_is_learning() {
    let spec = ModelSpec::Auto(Box::new(tuned(ModelSpec::MadOnline(Default::default()))));
    let mut batch = spec.new_batch(&[]);
    let stages = stages(&mut batch, HOUR, 40);
    assert_eq!([stages[0], stages[8], stages[16], stages[39]], [0.0, 0.5, 1.999, 1.999]);
    for (count, expected) in [(400, 2.0), (3, 0.187)] {
        let Batch::Tuned(batch) = &mut batch else { panic!("it is tuned") };
        let mut state = Vec::new();
        let (times, values) = (times(HOUR, count), values(count));
        batch.fit(Window { times: &times, values: &values }, || true, &mut state).unwrap();
        batch.load(0, &state).unwrap();
        assert_eq!(batch.readiness(0, &ScorePolicy::default()).value(), expected, "a window of {count}");
    }
}

#[test]
fn a_group_is_as_ready_as_the_channel_that_has_seen_least() {
    let policies = [ScorePolicy::default(); 2];
    let both = |count: usize| [values(count), values(count)].concat();
    let (times, both_of) = (times(HOUR, 200), both(200));
    let channels = Channels { times: &times, count: 2, values: &both_of };
    let forest = MultivariateSpec::IsolationForest(IsolationForestArgs::default(), Zone::default());
    let mut model = forest.fit(&["a", "b"], channels).unwrap();
    let stage = model.readiness(&policies).value();
    assert_eq!((stage, &model.infer(channels, &policies).stage[..2]), (1.781, &[1.781, 1.781][..]));
    let envelope = MultivariateSpec::TemporalEnvelope(Default::default(), Zone::default());
    let mut model = envelope.new_model(&["a", "b"]).unwrap();
    let stages = model.infer(channels, &policies).stage;
    assert!(stages.is_sorted() && stages[0] == 0.0, "{stages:?}");
    assert_eq!([1.0, 2.0].map(|least| stages.partition_point(|stage| *stage < least)), [16, 169]);
    let calibrated = MultivariateSpec::Calibrated(CalibratedMultivariateArgs::new(HOUR), Zone::default());
    let mut model = calibrated.new_model(&["a", "b"]).unwrap();
    let of_calibrated = model.infer(channels, &policies).stage;
    assert!(of_calibrated.is_sorted() && of_calibrated[0] == 0.0, "{of_calibrated:?}");
    assert_eq!([1.0, 2.0].map(|least| of_calibrated.partition_point(|stage| *stage < least)), [30, 168]);
    let needed = calibrated.needed_history(16);
    assert_eq!((needed.samples, needed.span), (168, 7 * DAY_MS));
    let needed = [forest, envelope.clone()].map(|spec| (spec.needed_history(16).samples, spec.needed_history(16).span));
    assert_eq!(needed, [(256, 0), (16, 7 * DAY_MS)]);
    let mut late = both_of.clone();
    late[200..350].fill(MISSING);
    let mut model = envelope.new_model(&["a", "b"]).unwrap();
    let stages = model.infer(Channels { values: &late, ..channels }, &policies).stage;
    assert!(stages[199] < 1.3, "{stages:?}");
}
