//! Classes of several series together: a fit, a tick of a group, saving and loading, and the bytes of a state.

#[path = "../tests/random/mod.rs"]
mod random;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use detect::calendar::Zone;
use detect::calibrated::multivariate::{self as calibrated, CalibratedMultivariateArgs};
use detect::isolation_forest::{IsolationForestArgs, SeasonalFeature};
use detect::multivariate::{Channels, MultivariateModel, MultivariateSpec};
use detect::safeguards::Safeguards;
use detect::score::ScorePolicy;
use detect::temporal_envelope::multivariate::{TemporalEnvelopeMultivariateArgs, max_state_bytes};
use random::uniform;

/// Two weeks of a point every five minutes.
const POINTS: usize = 4_032;

const STEP: i64 = 5 * 60_000;

/// Channel after channel, each a daily curve with a load that all share and noise of its own.
fn values(channels: usize, points: usize) -> Vec<f64> {
    let value = |at: usize| {
        let (channel, point) = (at / points, at % points);
        let angle = std::f64::consts::TAU * point as f64 / 288.0;
        10.0 + channel as f64 + 3.0 * libm::sin(angle) + 2.0 * uniform(point as u64) + uniform((at + points) as u64)
    };
    (0..channels * points).map(value).collect()
}

fn times(points: usize) -> Vec<i64> {
    (0..points as i64).map(|step| STEP * step).collect()
}

/// The classes with their defaults, and as a configuration has them; the name that tells those of a class apart.
fn specs() -> Vec<(&'static str, MultivariateSpec)> {
    let zone = || Zone::named("Europe/Berlin").unwrap_or_default();
    let envelope = |safeguards: Safeguards| {
        let args = TemporalEnvelopeMultivariateArgs { safeguards, ..TemporalEnvelopeMultivariateArgs::default() };
        MultivariateSpec::TemporalEnvelope(args, zone())
    };
    let seasonal =
        IsolationForestArgs { seasonal_features: SeasonalFeature::ALL.to_vec(), ..IsolationForestArgs::default() };
    vec![
        ("", MultivariateSpec::Calibrated(CalibratedMultivariateArgs::new(STEP), zone())),
        ("", envelope(Safeguards { band_floor: 1.0, influence_limit: 0.0 })),
        ("_limited", envelope(Safeguards { band_floor: 1.0, influence_limit: 3.0 })),
        ("", MultivariateSpec::IsolationForest(IsolationForestArgs::default(), Zone::default())),
        ("_seasonal", MultivariateSpec::IsolationForest(seasonal, zone())),
    ]
}

fn state(model: &MultivariateModel) -> Vec<u8> {
    let mut state = Vec::new();
    model.save(&mut state);
    state
}

/// Groups of so many channels.
fn classes(criterion: &mut Criterion, channels: usize) {
    let (all_times, all_values) = (times(POINTS), values(channels, POINTS));
    let window = Channels { times: &all_times, count: channels, values: &all_values };
    let names: Vec<String> = (0..channels).map(|channel| format!("channel{channel}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let policies = vec![ScorePolicy::default(); channels];
    let next = [STEP * POINTS as i64];
    let newest: Vec<f64> = (0..channels).map(|channel| all_values[channel * POINTS + POINTS - 288]).collect();
    let tick = Channels { times: &next, count: channels, values: &newest };
    for (variant, spec) in specs() {
        let name = |stage: &str| format!("{}{variant}_{stage}_d{channels}", spec.class());
        let Ok(fitted) = spec.fit(&names, window) else { panic!("{} cannot be fitted", spec.class()) };
        criterion.bench_function(&name("fit_n4032"), |bencher| {
            bencher.iter(|| spec.fit(black_box(&names), black_box(window)));
        });
        let mut model = fitted.clone();
        let mut group = criterion.benchmark_group("a channel");
        group.throughput(Throughput::Elements(channels as u64));
        group.bench_function(name("tick"), |bencher| {
            bencher.iter(|| model.infer(black_box(tick), black_box(&policies)));
        });
        group.finish();
        let saved = state(&fitted);
        criterion.bench_function(&name("save"), |bencher| bencher.iter(|| state(black_box(&fitted))));
        criterion.bench_function(&name("load"), |bencher| {
            let empty = || spec.new_model(&names).unwrap_or_else(|error| panic!("{error}"));
            bencher.iter_batched(empty, |mut model| model.load(black_box(&saved)), BatchSize::SmallInput);
        });
        let most = match &spec {
            MultivariateSpec::Calibrated(args, _) => {
                format!(", at most {}", calibrated::max_state_bytes(args, channels))
            }
            MultivariateSpec::TemporalEnvelope(args, _) => format!(", at most {}", max_state_bytes(args, channels)),
            MultivariateSpec::IsolationForest(..) | MultivariateSpec::Auto(_) => String::new(),
        };
        println!("{}: {} bytes on disk, {} a channel{most}", name("state"), saved.len(), saved.len() / channels);
    }
}

fn groups(criterion: &mut Criterion) {
    for channels in [3, 15, 100] {
        classes(criterion, channels);
    }
}

criterion_group!(benches, groups);
criterion_main!(benches);
