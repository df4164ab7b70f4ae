//! Models of quantiles and the digest that they are made of: cost of one point.

#[path = "../tests/random/mod.rs"]
mod random;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use detect::calendar::Zone;
use detect::model::OnlineModel;
use detect::quantile_online::{QuantileOnline, QuantileOnlineArgs};
use detect::rolling_quantile::{RollingQuantile, RollingQuantileArgs};
use detect::score::ScorePolicy;
use detect::temporal_envelope::{TemporalEnvelope, TemporalEnvelopeArgs};
use random::uniform;

const MINUTE: i64 = 60_000;

/// Predicts, scores and learns a point a minute, after two weeks of them.
fn point<M: OnlineModel>(criterion: &mut Criterion, name: &str, mut model: M) {
    let values: Vec<f64> = (0..4096).map(uniform).collect();
    let policy = ScorePolicy::default();
    let mut time = 0;
    let mut next = |model: &mut M| {
        time += MINUTE;
        let value = values[time as usize / MINUTE as usize % values.len()];
        let prepared = policy.prepare(model.predict(time));
        let score = policy.score(prepared, value, model.samples_seen());
        model.learn(time, value);
        (prepared, score)
    };
    for _ in 0..14 * 1440 {
        next(&mut model);
    }
    criterion.bench_function(name, |bencher| bencher.iter(|| black_box(next(&mut model))));
}

fn points(criterion: &mut Criterion) {
    let plain = QuantileOnlineArgs::default();
    point(criterion, "quantile_online_point", QuantileOnline::new(plain, Zone::default()));
    let hour = 60 * MINUTE;
    let weekly = QuantileOnlineArgs { seasonal_interval: Some(168 * hour), min_subseason: Some(hour), ..plain };
    let berlin = Zone::named("Europe/Berlin").unwrap_or_default();
    point(criterion, "quantile_online_seasonal_point", QuantileOnline::new(weekly, berlin));
    point(criterion, "rolling_quantile_point_w96", RollingQuantile::new(RollingQuantileArgs::new(0.9, 96)));
    let envelope = TemporalEnvelope::new(TemporalEnvelopeArgs::default(), Zone::default());
    point(criterion, "temporal_envelope_point", envelope);
}

/// Learning alone, a thousand samples after the first ten thousand.
fn tdigest_update(criterion: &mut Criterion) {
    let mut model = QuantileOnline::new(QuantileOnlineArgs::default(), Zone::default());
    (0..10_000).for_each(|index| model.learn(0, uniform(index)));
    let values: Vec<f64> = (10_000..11_000).map(uniform).collect();
    criterion.bench_function("tdigest_update, 1000 samples", |bencher| {
        let learn = |model: &mut QuantileOnline| values.iter().for_each(|value| model.learn(0, *value));
        bencher.iter_batched_ref(|| model.clone(), learn, BatchSize::SmallInput);
    });
}

criterion_group!(benches, points, tdigest_update);
criterion_main!(benches);
