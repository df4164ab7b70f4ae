//! Isolation forest: cost of a fit, and of the score of a point.

#[path = "../tests/random/mod.rs"]
mod random;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use detect::calendar::Zone;
use detect::isolation_forest::{Channels, IsolationForest, IsolationForestArgs, IsolationForestMultivariate};
use detect::offline::{OfflineModel, Window};
use random::uniform;

/// Two weeks of a point every five minutes.
const POINTS: usize = 4032;

fn times(points: usize) -> Vec<i64> {
    (0..points as i64).map(|step| 300_000 * step).collect()
}

/// Series after series, each a daily curve with noise.
fn values(series: usize, points: usize) -> Vec<f64> {
    let value = |at: usize| {
        let angle = std::f64::consts::TAU * (at % points) as f64 / 288.0 + (at / points) as f64;
        10.0 + 3.0 * libm::sin(angle) + uniform(at as u64) + uniform((at + series * points) as u64)
    };
    (0..series * points).map(value).collect()
}

/// A forest of one feature, whose trees are merged.
fn univariate(criterion: &mut Criterion) {
    let (times, values) = (times(POINTS), values(1, POINTS));
    let window = Window { times: &times, values: &values };
    let mut model = IsolationForest::new(IsolationForestArgs::default(), Zone::default(), 42);
    criterion.bench_function("isolation_forest_fit_n4032_d1", |bencher| {
        bencher.iter(|| model.fit(black_box(window)));
    });
    let mut group = criterion.benchmark_group("one feature");
    group.throughput(Throughput::Elements(POINTS as u64));
    let mut scores = Vec::new();
    group.bench_function("isolation_forest_score_n4032_d1", |bencher| {
        bencher.iter(|| {
            scores.clear();
            model.predict(black_box(window), &mut scores);
        });
    });
    group.finish();
}

/// A forest of fifteen series.
fn multivariate(criterion: &mut Criterion) {
    const SERIES: usize = 15;
    let (all_times, values_of_all) = (times(POINTS), values(SERIES, POINTS));
    let channels = Channels { times: &all_times, count: SERIES, values: &values_of_all };
    let mut model = IsolationForestMultivariate::new(IsolationForestArgs::default(), Zone::default(), 42);
    criterion.bench_function("isolation_forest_fit_n4032_d15", |bencher| {
        bencher.iter(|| model.fit(black_box(channels)));
    });
    let mut scores = Vec::new();
    let mut group = criterion.benchmark_group("fifteen features");
    group.throughput(Throughput::Elements(POINTS as u64));
    group.bench_function("isolation_forest_score_n4032_d15", |bencher| {
        bencher.iter(|| {
            scores.clear();
            model.predict(black_box(channels), &mut scores);
        });
    });
    let (times, values) = (times(5), values(SERIES, 5));
    let tick = Channels { times: &times, count: SERIES, values: &values };
    group.throughput(Throughput::Elements(5));
    group.bench_function("isolation_forest_score_5points_d15", |bencher| {
        bencher.iter(|| {
            scores.clear();
            model.predict(black_box(tick), &mut scores);
        });
    });
    group.finish();
}

criterion_group!(benches, univariate, multivariate);
criterion_main!(benches);
