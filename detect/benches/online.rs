//! Predict, score and learn: cost of one point of an online model.

#[path = "../tests/random/mod.rs"]
mod random;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use detect::batch::Batch;
use detect::calendar::Zone;
use detect::calibrated::CalibratedArgs;
use detect::mad::MadOnlineArgs;
use detect::model::{Samples, Scores};
use detect::readiness::Stage;
use detect::score::ScorePolicy;
use detect::spec::ModelSpec;
use detect::zscore::ZscoreOnlineArgs;
use random::uniform;

fn specs() -> Vec<(&'static str, ModelSpec)> {
    let zscore = |decay| ModelSpec::ZscoreOnline(ZscoreOnlineArgs { decay, ..ZscoreOnlineArgs::default() });
    let mad = |decay| ModelSpec::MadOnline(MadOnlineArgs { decay, ..MadOnlineArgs::default() });
    vec![
        // Points are 1 ms apart here.
        ("calibrated", ModelSpec::Calibrated(CalibratedArgs::new(1), Zone::default())),
        ("zscore_online", zscore(1.0)),
        ("zscore_online decay", zscore(0.999)),
        ("mad_online", mad(1.0)),
        ("mad_online decay", mad(0.999)),
    ]
}

/// A batch of `series` that have each learnt `points` points.
fn warm(spec: &ModelSpec, series: u32, points: u64) -> Batch {
    let mut batch = spec.new_batch(&[]);
    batch.grow(series as usize);
    for slot in 0..series {
        let values: Vec<f64> = (0..points).map(|index| uniform(u64::from(slot) << 32 | index)).collect();
        let times: Vec<i64> = (0..points as i64).collect();
        batch.learn(Samples { times: &times, slots: &[slot], values: &values });
    }
    batch
}

/// The production shape: one new point of each of many series.
fn one_point_of_many_series(criterion: &mut Criterion) {
    const SERIES: u32 = 100_000;
    let mut group = criterion.benchmark_group("100k series x 1 point");
    group.throughput(Throughput::Elements(SERIES.into()));
    let slots: Vec<u32> = (0..SERIES).collect();
    let tick_of = |tick: u64| (0..u64::from(SERIES)).map(|series| uniform(series << 8 | tick)).collect();
    let ticks: Vec<Vec<f64>> = (0..16).map(tick_of).collect();
    group.sample_size(20);
    let cases = specs().into_iter().flat_map(|(name, spec)| {
        let with_stage = (format!("{name}, with its stage"), spec.clone(), true);
        [(name.to_owned(), spec, false), with_stage]
    });
    for (name, spec, gives_stage) in cases {
        // Made when it is run, and only once: that takes far longer than the measurement, of which there are several.
        let mut batch = None;
        group.bench_function(name, |bencher| {
            let batch = batch.get_or_insert_with(|| warm(&spec, SERIES, 200));
            let mut scores = if gives_stage { Scores::with_stage() } else { Scores::default() };
            let mut tick = 0;
            bencher.iter(|| {
                tick += 1;
                let samples = Samples { times: &[tick], slots: &slots, values: &ticks[tick as usize % ticks.len()] };
                batch.infer(samples, &ScorePolicy::default(), black_box(&mut scores));
            });
        });
    }
    let batch = warm(&ModelSpec::MadOnline(MadOnlineArgs::default()), SERIES, 20);
    let ready = |slot: &u32| batch.readiness(*slot, &ScorePolicy::default()).stage == Stage::Ready;
    group.bench_function("count the ready ones", |bencher| {
        bencher.iter(|| black_box(slots.iter().filter(|slot| ready(slot)).count()));
    });
    group.finish();
}

/// A backtest or a long catch-up: many points of one series.
fn many_points_of_one_series(criterion: &mut Criterion) {
    const POINTS: u64 = 10_000;
    let mut group = criterion.benchmark_group("1 series x 10k points");
    group.throughput(Throughput::Elements(POINTS));
    let values: Vec<f64> = (0..POINTS).map(uniform).collect();
    let times: Vec<i64> = (0..POINTS as i64).collect();
    let samples = Samples { times: &times, slots: &[0], values: &values };
    for (name, spec) in specs() {
        group.bench_function(name, |bencher| {
            let mut batch = warm(&spec, 1, 200);
            let mut scores = Scores::default();
            bencher.iter(|| batch.infer(samples, &ScorePolicy::default(), black_box(&mut scores)));
        });
        group.bench_function(format!("{name}, fit"), |bencher| {
            bencher.iter_batched_ref(|| warm(&spec, 1, 0), |batch| batch.learn(samples), BatchSize::SmallInput);
        });
    }
    group.finish();
}

criterion_group!(benches, one_point_of_many_series, many_points_of_one_series);
criterion_main!(benches);
