//! A Prometheus serves as the source as well as a VictoriaMetrics does.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::num::NonZeroU32;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tests::accelerated::{Outcome, Run, run, written};
use tests::process::POLL;
use tests::prometheus::Prometheus;
use tests::series::Series;
use tests::victoria_metrics::VictoriaMetrics;
use tests::vmagent::Vmagent;

const STEP: i64 = 15_000;
const SAMPLES: i64 = 400;

/// Two series whose values have few digits, so that both databases keep every bit.
fn input(end: i64) -> Vec<Series> {
    ["a", "b"]
        .iter()
        .zip(1..)
        .map(|(host, factor)| {
            let value = |index: i64| f64::from(factor) * ((index * 7919) % 97) as f64 / 8.0;
            let samples = (0..SAMPLES).map(|index| (end - (SAMPLES - 1 - index) * STEP, value(index)));
            Series::new("load", &[("host", host)], samples)
        })
        .collect()
}

async fn worker(source: &str, target: &str, end: i64) -> Outcome {
    // Fewer points a request than the fit has: the window is read in parts.
    let config = format!(
        "
schedulers: {{minutely: {{class: periodic, infer_every: 1m, fit_window: 1h, fit_every: 10m, fit_lag: 2m}}}}
models:
  zscore: {{class: zscore_online, queries: all, schedulers: all}}
  mad: {{class: mad_online, queries: all, schedulers: all}}
reader:
  datasource_url: {source}
  sampling_period: 15s
  max_points_per_query: 50
  queries: {{load: {{expr: load}}, total: {{expr: 'sum(load)'}}}}
writer: {{datasource_url: '{target}'}}
settings: {{settle: 10ms}}
"
    );
    let shards = NonZeroU32::MIN;
    let start = end - 30 * 60_000 + 10;
    run(Run { config: &config, shard: 0, shards, start, end: end + 10, factor: 1e4 }).await.expect("a run")
}

#[tokio::test]
async fn scores_from_a_prometheus_are_those_from_a_victoria_metrics() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64;
    // A minute in the past: what is newer than some seconds, the databases show at different moments.
    let end = now / 60_000 * 60_000 - 60_000;
    let input = input(end);
    let tsdb = VictoriaMetrics::start().await.expect("VictoriaMetrics");
    tsdb.import(&input).await.expect("import");
    tsdb.everything_visible().await.expect("flush");
    let prometheus = Prometheus::start().await.expect("Prometheus");
    let agent = Vmagent::start(&prometheus.remote_write_url(), &[], Duration::from_secs(1)).await.expect("vmagent");
    agent.import(&input).await.expect("import through vmagent");
    let arrived = async {
        while prometheus.endpoint().query_range("load", input[0].samples[0].time, end, STEP).await.expect("an answer")
            != input
        {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), arrived).await.expect("the samples in Prometheus");

    let from_prometheus = worker(prometheus.url(), tsdb.url(), end).await;
    let from_victoria_metrics = worker(tsdb.url(), tsdb.url(), end).await;
    let series = written(&from_prometheus.accepted).expect("series");
    assert_eq!(series.len(), 3 * 2 * 5, "three inputs, two models, five outputs");
    let incomplete = series.iter().find(|series| series.samples.len() != 30 * 4);
    assert!(incomplete.is_none(), "{incomplete:?}");
    assert!(series == written(&from_victoria_metrics.accepted).expect("series"));
    assert!(from_prometheus.metric("vmanomaly_fits_total") >= 4.0 * 3.0);
}
