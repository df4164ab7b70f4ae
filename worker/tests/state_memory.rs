//! How much memory a learnt state takes, as `docs/performance.md` says. Counted, not measured.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use config::load::{Source, load};
use detect::model::Samples;
use worker::detector::spec;

const SERIES: u32 = 1_024;

/// Bytes per series of a model with default arguments, after each series has learnt `points` different values.
fn bytes_per_series(class: &str, points: u64) -> f64 {
    let yaml = format!(
        "schedulers: {{s: {{class: periodic, fit_window: 1h, infer_every: 1m}}}}\n\
         models: {{m: {{class: {class}, queries: all, schedulers: all}}}}\n\
         reader: {{datasource_url: 'http://tsdb', sampling_period: 1m, queries: {{q: {{expr: up}}}}}}\n\
         writer: {{datasource_url: 'http://tsdb'}}\n"
    );
    let loaded =
        load(&[Source::new("config.yaml", yaml.into_bytes())], &|_: &str| None, 1).expect("a valid configuration");
    let spec = spec(&loaded.config.reader.queries["q"], &loaded.config.models["m"]);
    let mut batch = spec.expect("a model of single series").new_batch(&[]);
    batch.grow(SERIES as usize);
    for slot in 0..SERIES {
        let noise = |point: u64| (u64::from(slot) << 32 | point).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11;
        let values: Vec<f64> = (0..points).map(|point| noise(point) as f64).collect();
        let times: Vec<i64> = (0..).take(values.len()).collect();
        batch.learn(Samples { times: &times, slots: &[slot], values: &values });
    }
    batch.heap_bytes() as f64 / f64::from(SERIES)
}

#[test]
fn a_z_score_takes_48_bytes_a_series_however_much_it_has_learnt() {
    assert_eq!([0, 100, 10_000].map(|points| bytes_per_series("zscore_online", points)), [48.0; 3]);
}

#[test]
fn a_mad_takes_at_most_1140_bytes_a_series_however_much_it_has_learnt() {
    for points in [10, 100, 1_000, 10_000] {
        let bytes = bytes_per_series("mad_online", points);
        assert!(bytes <= 1_140.0, "{points} points: {bytes}");
    }
}
