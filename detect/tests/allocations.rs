//! A tick allocates nothing once the first ones have made room: whatever the class, with all components and forecasts that it has.

use allocation_counter::measure;
use detect::batch::Batch;
use detect::calendar::Zone;
use detect::calibrated::CalibratedArgs;
use detect::calibrated::multivariate::{CalibratedMultivariate, CalibratedMultivariateArgs};
use detect::decomposition::StdArgs;
use detect::holt_winters::HoltWintersArgs;
use detect::isolation_forest::{Channels, IsolationForestArgs, IsolationForestMultivariate, SeasonalFeature};
use detect::mad::MadOnlineArgs;
use detect::model::{Samples, Scores};
use detect::offline::Window;
use detect::prophet::{Mode, ProphetArgs};
use detect::quantile_online::QuantileOnlineArgs;
use detect::rolling_quantile::RollingQuantileArgs;
use detect::score::ScorePolicy;
use detect::spec::ModelSpec;
use detect::temporal_envelope::TemporalEnvelopeArgs;
use detect::temporal_envelope::multivariate::{TemporalEnvelopeMultivariate, TemporalEnvelopeMultivariateArgs};
use detect::zscore::ZscoreOnlineArgs;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// A sample every half hour.
const STEP: i64 = 30 * MINUTE;

/// Ten weeks of samples before the ticks that are looked at: digests are full and every part of a season was seen.
const WARM: i64 = 10 * 7 * 48;

const TICKS: i64 = 2 * 48;

fn specs() -> Vec<ModelSpec> {
    let zone = || Zone::named("Europe/Berlin").unwrap_or_default();
    let plain = QuantileOnlineArgs { iqr_threshold: 1.0, ..QuantileOnlineArgs::default() };
    let daily = QuantileOnlineArgs {
        seasonal_interval: Some(24 * HOUR),
        min_subseason: Some(12 * HOUR),
        global_smoothing: 0.1,
        use_transform: true,
        ..plain
    };
    let envelope = TemporalEnvelopeArgs { forecast_at: vec![HOUR, 24 * HOUR], ..Default::default() };
    let prophet = ProphetArgs { forecast_at: vec![HOUR, 24 * HOUR], ..ProphetArgs::default() };
    let holidays =
        ProphetArgs { country_holidays: Some("US".into()), seasonality_mode: Mode::Multiplicative, ..prophet.clone() };
    let seasonal =
        IsolationForestArgs { seasonal_features: SeasonalFeature::ALL.to_vec(), ..IsolationForestArgs::default() };
    vec![
        ModelSpec::Calibrated(CalibratedArgs::new(STEP), zone()),
        ModelSpec::ZscoreOnline(ZscoreOnlineArgs { decay: 0.999, ..Default::default() }),
        ModelSpec::MadOnline(MadOnlineArgs { decay: 0.999, ..Default::default() }),
        ModelSpec::QuantileOnline(plain, Zone::default()),
        ModelSpec::QuantileOnline(daily, zone()),
        ModelSpec::RollingQuantile(RollingQuantileArgs::new(0.9, 96)),
        ModelSpec::Std(StdArgs::new(48)),
        ModelSpec::TemporalEnvelope(envelope, zone()),
        ModelSpec::Prophet(Box::new(prophet)),
        ModelSpec::Prophet(Box::new(holidays)),
        ModelSpec::HoltWinters(HoltWintersArgs { seasonal_periods: Some(48), ..HoltWintersArgs::default() }),
        ModelSpec::IsolationForest(IsolationForestArgs::default(), Zone::default()),
        ModelSpec::IsolationForest(seasonal, zone()),
    ]
}

/// A daily curve with noise and, now and then, an outlier: the same in every run.
fn value(series: i64, tick: i64) -> f64 {
    let mixed = ((tick * 7 + series) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let noise = (mixed >> 11) as f64 / (1_u64 << 53) as f64;
    let spike = if mixed.is_multiple_of(50) { 20.0 } else { 0.0 };
    10.0 + 3.0 * libm::sin(std::f64::consts::TAU * tick as f64 / 48.0) + noise + spike
}

/// A batch of three series that are learnt or fitted to.
fn warm(spec: &ModelSpec) -> Batch {
    let mut batch = spec.new_batch(&spec.component_names());
    batch.grow(3);
    let times: Vec<i64> = (0..WARM).map(|tick| tick * STEP).collect();
    for slot in 0..3 {
        let values: Vec<f64> = (0..WARM).map(|tick| value(slot.into(), tick)).collect();
        let mut state = Vec::new();
        if let Batch::Offline(batch) = &batch {
            assert_eq!(batch.fit(Window { times: &times, values: &values }, &mut state), Ok(()));
        }
        if state.is_empty() {
            batch.learn(Samples { times: &times, slots: &[slot], values: &values });
            batch.finish_fit(slot);
        } else {
            assert_eq!(batch.load(slot, &state), Ok(()));
        }
    }
    batch
}

#[test]
fn a_tick_allocates_nothing() {
    for spec in specs() {
        let mut batch = warm(&spec);
        let mut scores = Scores::default();
        let mut tick = |tick: i64| {
            let values = [0, 1, 2].map(|series| value(series, tick));
            let samples = Samples { times: &[tick * STEP], slots: &[0, 1, 2], values: &values };
            batch.infer(samples, &ScorePolicy::default(), &mut scores);
        };
        (WARM..WARM + TICKS).for_each(&mut tick);
        let counted = measure(|| (WARM + TICKS..WARM + 2 * TICKS).for_each(&mut tick));
        assert_eq!(counted.count_total, 0, "{spec:?}");
        assert!(scores.anomaly_score.iter().all(|score| score.is_finite()), "{spec:?}");
    }
}

#[test]
fn a_tick_of_several_channels_allocates_nothing() {
    let names = ["a", "b", "c"];
    let args = TemporalEnvelopeMultivariateArgs::default();
    let mut envelope = TemporalEnvelopeMultivariate::new(args, Zone::default(), &names).unwrap();
    let policies = [ScorePolicy::default(); 3];
    let samples = |tick: i64| [0, 1, 2].map(|series| value(series, tick));
    (0..WARM).for_each(|tick| envelope.learn(tick * STEP, &samples(tick)));
    let counted = measure(|| {
        for tick in WARM..WARM + TICKS {
            envelope.infer(tick * STEP, &samples(tick), &policies);
        }
    });
    assert_eq!(counted.count_total, 0, "temporal_envelope_multivariate");

    let args = CalibratedMultivariateArgs::new(STEP);
    let mut calibrated = CalibratedMultivariate::<f32>::new(args, Zone::default(), &names).unwrap();
    (0..WARM).for_each(|tick| calibrated.learn(tick * STEP, &samples(tick)));
    let counted = measure(|| {
        for tick in WARM..WARM + TICKS {
            calibrated.infer(tick * STEP, &samples(tick), &policies);
        }
    });
    assert_eq!(counted.count_total, 0, "calibrated_multivariate");

    let times: Vec<i64> = (0..WARM).map(|tick| tick * STEP).collect();
    let history: Vec<f64> = (0..3).flat_map(|series| (0..WARM).map(move |tick| value(series, tick))).collect();
    let mut forest = IsolationForestMultivariate::new(IsolationForestArgs::default(), Zone::default(), 1);
    forest.fit(Channels { times: &times, count: 3, values: &history }).unwrap();
    let mut scores = Vec::new();
    let mut tick = |tick: i64| {
        scores.clear();
        forest.predict(Channels { times: &[tick * STEP], count: 3, values: &samples(tick) }, &mut scores);
    };
    tick(WARM);
    let counted = measure(|| (WARM..WARM + TICKS).for_each(&mut tick));
    assert_eq!(counted.count_total, 0, "isolation_forest_multivariate");
}
