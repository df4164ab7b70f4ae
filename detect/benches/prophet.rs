//! Fits of one series, of many series of one time grid, and predictions.

#[path = "../tests/random/mod.rs"]
mod random;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use detect::offline::{OfflineModel, Window};
use detect::prophet::{Design, Growth, Mode, Prophet, ProphetArgs, Seasonality};
use random::uniform;

const START: i64 = 1_700_000_100_000;

/// A series with a bent trend, a daily and an hourly season, and noise.
fn series(samples: usize, step: i64, seed: u64) -> (Vec<i64>, Vec<f64>) {
    let times: Vec<i64> = (0..samples as i64).map(|index| START + index * step).collect();
    let value = |(index, time): (usize, &i64)| {
        let t = index as f64 / samples as f64;
        let turn = |period: i64| (time % period) as f64 / period as f64 * std::f64::consts::TAU;
        let season = 20.0 * libm::sin(turn(86_400_000)) + 5.0 * libm::cos(turn(3_600_000));
        100.0 + 30.0 * t + 40.0 * (t - 0.5).max(0.0) + season + 10.0 * uniform(seed << 32 | index as u64)
    };
    let values = times.iter().enumerate().map(value).collect();
    (times, values)
}

fn hourly() -> ProphetArgs {
    let hourly = Seasonality {
        name: "hourly".into(),
        period: 1.0 / 24.0,
        fourier_order: 30,
        prior_scale: Some(20.0),
        mode: None,
    };
    ProphetArgs { seasonalities: vec![hourly], ..ProphetArgs::default() }
}

fn fits(criterion: &mut Criterion) {
    let minutes = |minutes: i64| minutes * 60_000;
    let logistic = Growth::Logistic { cap: 250.0, floor: 0.0 };
    let cases = [
        ("prophet_fit_n4032_default", 4_032, 5, ProphetArgs::default()),
        ("prophet_fit_n20160_default", 20_160, 1, ProphetArgs::default()),
        ("prophet_fit_n4032_hourly30", 4_032, 5, hourly()),
        ("prophet_fit_n20160_hourly30", 20_160, 1, hourly()),
        (
            "prophet_multiplicative_fit_n4032",
            4_032,
            5,
            ProphetArgs { seasonality_mode: Mode::Multiplicative, ..ProphetArgs::default() },
        ),
        ("prophet_logistic_fit_n4032", 4_032, 5, ProphetArgs { growth: logistic, ..ProphetArgs::default() }),
        ("prophet_fit_n99_default", 99, 60, ProphetArgs::default()),
    ];
    for (name, samples, step, args) in cases {
        let (times, values) = series(samples, minutes(step), 0);
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| Design::new(&args, &times).and_then(|design| design.fit(black_box(&values))));
        });
    }
}

/// A thousand series of one time grid, which share the design.
fn fleet(criterion: &mut Criterion) {
    let all: Vec<Vec<f64>> = (0..1_000).map(|seed| series(4_032, 300_000, seed).1).collect();
    let (times, _) = series(4_032, 300_000, 0);
    let mut group = criterion.benchmark_group("prophet_fleet");
    group.throughput(Throughput::Elements(1_000)).sample_size(10);
    group.bench_function("fit_1000_aligned_n4032_default", |bencher| {
        let empty = Prophet::new(ProphetArgs::default(), &[]);
        bencher.iter(|| {
            for values in &all {
                let mut model = empty.clone();
                assert!(model.fit(Window { times: &times, values }).is_ok());
                black_box(&model);
            }
        });
    });
    group.finish();
}

fn predictions(criterion: &mut Criterion) {
    let (times, values) = series(4_032, 300_000, 0);
    for (name, args) in [("prophet_predict_tick", ProphetArgs::default()), ("prophet_predict_tick_hourly30", hourly())]
    {
        let mut model = Prophet::new(args, &[]);
        assert!(model.fit(Window { times: &times, values: &values }).is_ok());
        let tick: Vec<i64> = (0..5).map(|index| times[4_031] + (index + 1) * 300_000).collect();
        let mut out = Vec::new();
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                model.predict(Window { times: black_box(&tick), values: &[0.0; 5] }, &mut out);
            });
        });
    }
}

criterion_group!(benches, fits, fleet, predictions);
criterion_main!(benches);
