//! Decompositions and exponential smoothing: cost of a fit, and of a point.

#[path = "../tests/random/mod.rs"]
mod random;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use detect::decomposition::{StdArgs, StdModel, seasonal_decompose};
use detect::holt_winters::{Composition, HoltWinters, HoltWintersArgs};
use detect::model::{OnlineBatch, Samples, Scores};
use detect::offline::{OfflineModel, Window};
use detect::per_series::PerSeries;
use detect::score::ScorePolicy;
use random::uniform;

/// Uniform pseudo-random numbers from -1/2 to 1/2, the same in every run (splitmix64).
fn noise(index: usize) -> f64 {
    uniform(index as u64) - 0.5
}

/// A level that wanders, a day of so many steps and a week with hours in them, and noise.
fn series(steps: usize, day: usize) -> Vec<f64> {
    let mut level = 100.0;
    let value = |index: usize| {
        level += noise(2 * index);
        let angle = index as f64 * std::f64::consts::TAU / day as f64;
        let season = 20.0 * libm::sin(angle) + 3.0 * libm::sin(angle / 7.0) + 5.0 * libm::sin(24.0 * angle);
        level + season + 4.0 * noise(2 * index + 1)
    };
    (0..steps).map(value).collect()
}

fn decompositions(criterion: &mut Criterion) {
    const STEPS: usize = 4032;
    let values = series(STEPS, 288);
    let mut group = criterion.benchmark_group("smoothing");
    group.throughput(Throughput::Elements(STEPS as u64));
    group.bench_function("std_batch_p288_n4032", |bencher| {
        bencher.iter(|| seasonal_decompose(black_box(&values), 288));
    });
    group.bench_function("stl_fit_p288_n4032", |bencher| {
        // The defaults of statsmodels.
        let mut stl = stlrs::params();
        stl.seasonal_length(7).low_pass_length(289).seasonal_degree(1).seasonal_jump(1).trend_jump(1).low_pass_jump(1);
        stl.inner_loops(5);
        bencher.iter(|| stl.fit(black_box(&values), 288));
    });
    // Of one point: 4032 of them are scored and learnt.
    group.bench_function("std_online_point", |bencher| {
        let mut batch = PerSeries::new(StdModel::new(StdArgs::new(288), &[] as &[&str]));
        batch.grow(1);
        let times: Vec<i64> = (0..STEPS as i64).collect();
        let samples = Samples { times: &times, slots: &[0], values: &values };
        batch.learn(samples);
        let mut scores = Scores::default();
        bencher.iter(|| batch.infer(samples, &ScorePolicy::default(), black_box(&mut scores)));
    });
    group.finish();
}

fn holt_winters(criterion: &mut Criterion) {
    const POINTS: i64 = 5;
    let mut group = criterion.benchmark_group("smoothing");
    group.sample_size(20);
    let forms = [
        ("holtwinters_fit_m288_n4032_none_add", 288, None),
        ("holtwinters_fit_m288_n4032_add_add", 288, Some(Composition::Additive)),
        ("holtwinters_fit_m1440_n20160_none_add", 1440, None),
    ];
    for (name, season, trend) in forms {
        let values = series(14 * season, season);
        let times: Vec<i64> = (0..values.len() as i64).map(|step| step * 60_000).collect();
        let window = Window { times: &times, values: &values };
        let args = HoltWintersArgs { trend, seasonal_periods: Some(season as u32), ..HoltWintersArgs::default() };
        let mut model = HoltWinters::new(args, &[]);
        group.bench_function(name, |bencher| bencher.iter(|| model.fit(black_box(window))));
        if name != "holtwinters_fit_m288_n4032_none_add" {
            continue;
        }
        let last = times[times.len() - 1];
        let times: Vec<i64> = (1..=POINTS).map(|step| last + step * 60_000).collect();
        let mut predictions = Vec::new();
        group.throughput(Throughput::Elements(POINTS as u64));
        group.bench_function("holtwinters_predict_5points", |bencher| {
            bencher.iter(|| {
                predictions.clear();
                model.predict(Window { times: black_box(&times), values: &[] }, black_box(&mut predictions));
            });
        });
        group.throughput(Throughput::Elements(1));
    }
    group.finish();
}

criterion_group!(benches, decompositions, holt_winters);
criterion_main!(benches);
