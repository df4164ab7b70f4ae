//! What every class costs at every stage: a fit, a tick of one series, many points at once, saving and loading.

#[path = "../tests/random/mod.rs"]
mod random;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use detect::batch::Batch;
use detect::calendar::Zone;
use detect::calibrated::CalibratedArgs;
use detect::decomposition::StdArgs;
use detect::holt_winters::HoltWintersArgs;
use detect::isolation_forest::{IsolationForestArgs, SeasonalFeature};
use detect::mad::MadOnlineArgs;
use detect::model::{Samples, Scores};
use detect::offline::Window;
use detect::quantile_online::QuantileOnlineArgs;
use detect::rolling_quantile::RollingQuantileArgs;
use detect::score::ScorePolicy;
use detect::spec::ModelSpec;
use detect::temporal_envelope::TemporalEnvelopeArgs;
use detect::zscore::ZscoreOnlineArgs;
use random::uniform;

const MINUTE: i64 = 60_000;

/// Two weeks of a point every five minutes.
const POINTS: i64 = 4_032;

const STEP: i64 = 5 * MINUTE;

/// The name that a configuration is told from others of its class by, empty for the usual one.
fn specs() -> Vec<(&'static str, ModelSpec)> {
    let zone = || Zone::named("Europe/Berlin").unwrap_or_default();
    let hourly = QuantileOnlineArgs {
        seasonal_interval: Some(168 * 60 * MINUTE),
        min_subseason: Some(60 * MINUTE),
        ..QuantileOnlineArgs::default()
    };
    let seasonal =
        IsolationForestArgs { seasonal_features: SeasonalFeature::ALL.to_vec(), ..IsolationForestArgs::default() };
    vec![
        ("", ModelSpec::Calibrated(CalibratedArgs::new(STEP), zone())),
        ("", ModelSpec::ZscoreOnline(ZscoreOnlineArgs::default())),
        ("", ModelSpec::MadOnline(MadOnlineArgs::default())),
        ("", ModelSpec::QuantileOnline(QuantileOnlineArgs::default(), Zone::default())),
        ("_168_buckets", ModelSpec::QuantileOnline(hourly, zone())),
        ("_w96", ModelSpec::RollingQuantile(RollingQuantileArgs::new(0.9, 96))),
        ("_p288", ModelSpec::Std(StdArgs::new(288))),
        ("", ModelSpec::TemporalEnvelope(TemporalEnvelopeArgs::default(), zone())),
        ("", ModelSpec::Prophet(Box::default())),
        ("_m288", ModelSpec::HoltWinters(HoltWintersArgs { seasonal_periods: Some(288), ..Default::default() })),
        ("", ModelSpec::IsolationForest(IsolationForestArgs::default(), Zone::default())),
        ("_seasonal", ModelSpec::IsolationForest(seasonal, zone())),
    ]
}

/// Times and values of `count` points from the `first` on.
fn points(first: i64, count: i64) -> (Vec<i64>, Vec<f64>) {
    let times: Vec<i64> = (first..first + count).map(|index| index * STEP).collect();
    let value =
        |index: i64| 10.0 + 3.0 * libm::sin(std::f64::consts::TAU * index as f64 / 288.0) + uniform(index as u64);
    (times, (first..first + count).map(value).collect())
}

/// An empty batch of one series.
fn empty(spec: &ModelSpec) -> Batch {
    let mut batch = spec.new_batch(&[]);
    batch.grow(1);
    batch
}

/// Learns the history, or fits to it and takes the fit over.
fn fit(batch: &mut Batch, times: &[i64], values: &[f64]) {
    if let Batch::Offline(offline) = batch {
        let mut state = Vec::new();
        assert!(offline.fit(Window { times, values }, &mut state).is_ok());
        assert!(batch.load(0, &state).is_ok());
    } else {
        batch.learn(Samples { times, slots: &[0], values });
        batch.finish_fit(0);
    }
}

fn stages(criterion: &mut Criterion) {
    let (times, values) = points(0, POINTS);
    for (configuration, spec) in specs() {
        let mut group = criterion.benchmark_group(format!("{}{configuration}", spec.class()));
        group.sample_size(20);
        group.bench_function(format!("fit_n{POINTS}"), |bencher| {
            let learn = |batch: &mut Batch| fit(batch, black_box(&times), black_box(&values));
            bencher.iter_batched_ref(|| empty(&spec), learn, BatchSize::SmallInput);
        });
        let mut batch = empty(&spec);
        fit(&mut batch, &times, &values);
        let (mut scores, policy) = (Scores::default(), ScorePolicy::default());
        let (later, live) = points(POINTS, POINTS);
        let mut at = 0;
        group.bench_function("infer_tick", |bencher| {
            bencher.iter(|| {
                at = (at + 1) % live.len();
                let samples = Samples { times: &later[at..=at], slots: &[0], values: &live[at..=at] };
                batch.infer(black_box(samples), &policy, &mut scores);
            });
        });
        group.throughput(Throughput::Elements(POINTS as u64));
        group.bench_function(format!("infer_n{POINTS}"), |bencher| {
            let samples = Samples { times: &later, slots: &[0], values: &live };
            bencher.iter(|| batch.infer(black_box(samples), &policy, &mut scores));
        });
        let mut state = Vec::new();
        batch.save(0, &mut state);
        println!("{}{configuration}: {} B of state on disk after {POINTS} points", spec.class(), state.len());
        group.throughput(Throughput::Bytes(state.len() as u64));
        group.bench_function("save", |bencher| {
            let mut out = Vec::new();
            bencher.iter(|| {
                out.clear();
                batch.save(0, black_box(&mut out));
            });
        });
        group.bench_function("load", |bencher| bencher.iter(|| batch.load(0, black_box(&state))));
        if spec.false_alarms_per_day().is_some() {
            let (mut rate, mut other) = (0.02, 0.025);
            group.throughput(Throughput::Elements(1));
            group.bench_function("another_rate", |bencher| {
                bencher.iter(|| {
                    std::mem::swap(&mut rate, &mut other);
                    batch.set_false_alarms_per_day(black_box(rate));
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, stages);
criterion_main!(benches);
