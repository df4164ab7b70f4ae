//! Series that a query should not return: the worker names them, counts them and goes on with the others.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use tests::series::Series;
use tests::signal::{gauge, now, this_second};
use tests::victoria_metrics::VictoriaMetrics;
use tests::worker::{Worker, WorkerSetup, log_lines};

const SECOND: i64 = 1_000;
const SOON: Duration = Duration::from_secs(30);

/// `instances` of a gauge, from before the fit's window until after the test.
fn gauges(name: &str, instances: u64) -> Vec<Series> {
    let from = this_second() - 60 * SECOND;
    let series = (0..instances).map(|instance| gauge(name, instance, from, from + 200 * SECOND, SECOND));
    series.collect()
}

async fn start(input: &[Series], queries: &str) -> (VictoriaMetrics, Worker) {
    start_with("30s", input, queries).await
}

async fn start_with(fit_window: &str, input: &[Series], queries: &str) -> (VictoriaMetrics, Worker) {
    let tsdb = VictoriaMetrics::start().await.unwrap();
    tsdb.import(input).await.unwrap();
    tsdb.everything_visible().await.unwrap();
    let url = tsdb.url();
    let config = format!(
        "
schedulers:
  s: {{class: periodic, fit_window: {fit_window}, fit_every: 1d, infer_every: 1s}}
models:
  zscore: {{class: zscore_online, queries: all, schedulers: all}}
reader:
  datasource_url: '{url}'
  sampling_period: 1s
  queries: {queries}
writer: {{datasource_url: '{url}'}}
settings: {{settle: 5ms, n_workers: 1}}
"
    );
    let setup = WorkerSetup { config, ..WorkerSetup::default() };
    let worker = Worker::start(setup).await.unwrap();
    (tsdb, worker)
}

/// The input series that have scores, as name of the query and instance.
async fn scored(tsdb: &VictoriaMetrics) -> BTreeSet<(String, String)> {
    tsdb.everything_visible().await.unwrap();
    let series = tsdb.export("anomaly_score{preset=\"default\"}").await.unwrap();
    let name = |series: &Series| (series.label("for").to_owned(), series.label("instance").to_owned());
    series.iter().map(name).collect()
}

#[tokio::test]
async fn a_query_with_more_series_than_its_limit_keeps_the_limit_and_the_same_series() {
    let (tsdb, mut worker) = start(&gauges("load", 5), "{load: {expr: load, series_limit: 3}}").await;
    worker.wait_for_tick(now() + SECOND, 1, SOON).await.unwrap();
    worker
        .wait_for_metric("vmanomaly_series_over_limit", &["query_key=\"load\""], SOON, |over| over == 2.0)
        .await
        .unwrap();
    let status = worker.status().await.unwrap();
    assert_eq!((&status["jobs"][0]["refused_series"], &status["jobs"][0]["active_series"]), (&2.into(), &3.into()));
    let told = |line: &Value| line["job"] == "s/load" && line["limit"] == 3 && line["over"] == 2;
    let line = worker.wait_for_line("the limit", SOON, told).await.unwrap();
    assert!(line["message"].as_str().unwrap().contains("series_limit"), "{line}");

    let before = scored(&tsdb).await;
    worker.wait_for_tick(now() + 2 * SECOND, 1, SOON).await.unwrap();
    assert_eq!((before.len(), scored(&tsdb).await), (3, before));
}

#[tokio::test]
async fn several_metrics_with_equal_labels_are_refused_by_name_and_others_go_on() {
    let mut input = gauges("cpu_user", 1);
    input.extend(gauges("cpu_system", 2));
    let (tsdb, mut worker) = start(&input, "{cpu: {expr: '{__name__=~\"cpu_.*\"}'}}").await;
    worker.wait_for_tick(now() + SECOND, 1, SOON).await.unwrap();
    worker
        .wait_for_metric("vmanomaly_output_collisions_total", &["query_key=\"cpu\""], SOON, |count| count >= 2.0)
        .await
        .unwrap();
    let told = |line: &Value| {
        let message = line["message"].as_str().unwrap_or_default();
        line["job"] == "s/cpu" && ["cpu_user", "cpu_system", "refused"].iter().all(|word| message.contains(word))
    };
    worker.wait_for_line("both names", SOON, told).await.unwrap();
    assert_eq!(worker.status().await.unwrap()["jobs"][0]["collided_series"], 2);
    assert_eq!(scored(&tsdb).await, BTreeSet::from([("cpu".to_owned(), "b".to_owned())]));
}

#[tokio::test]
async fn counters_whose_rate_is_not_asked_for_are_told_of_once_and_scored_all_the_same() {
    let from = this_second() - 150 * SECOND;
    // Grows by 1 and 2 by turns.
    let values = (0..290).map(|second| (from + second * SECOND, (second + second / 2) as f64));
    let counter = Series::new("requests_total", &[("instance", "a")], values);
    let queries = "{level: {expr: requests_total}, rate: {expr: 'rate(requests_total[5s])'}}";
    let (tsdb, mut worker) = start_with("2m", &[counter], queries).await;
    let advises = |line: &Value| line["message"].as_str().is_some_and(|message| message.contains("rate(metric[5m])"));
    let line = worker.wait_for_line("the advice", SOON, advises).await.unwrap();
    assert_eq!((line["job"].as_str(), line["expr"].as_str()), (Some("s/level"), Some("requests_total")));
    worker.wait_for_tick(now() + 2 * SECOND, 2, SOON).await.unwrap();
    let jobs = worker.status().await.unwrap()["jobs"].clone();
    let told = |query: &str| {
        let job = jobs.as_array().unwrap().iter().find(|job| job["query"] == query).unwrap();
        job["counters_without_rate"].as_bool()
    };
    assert_eq!((told("level"), told("rate")), (Some(true), None));
    assert_eq!(log_lines(&worker.process().output()).iter().filter(|line| advises(line)).count(), 1);
    assert_eq!(scored(&tsdb).await.len(), 2);
}

#[tokio::test]
async fn scores_of_a_worker_are_not_scored_again() {
    let mut input = gauges("load", 1);
    let mut score = gauges("anomaly_score", 2).remove(1);
    for (label, value) in [("model_alias", "m"), ("scheduler_alias", "s"), ("preset", "other")] {
        score.labels.insert(label.to_owned(), value.to_owned());
    }
    input.push(score);
    let query = "{load: {expr: '{__name__=~\"load|anomaly_score\",preset=~\"other|\"}'}}";
    let (tsdb, mut worker) = start(&input, query).await;
    worker.wait_for_tick(now() + SECOND, 1, SOON).await.unwrap();
    worker
        .wait_for_metric("vmanomaly_own_scores_refused_total", &["query_key=\"load\""], SOON, |count| count >= 1.0)
        .await
        .unwrap();
    let told = |line: &Value| {
        let message = line["message"].as_str().unwrap_or_default();
        line["job"] == "s/load" && message.contains("model_alias") && message.contains("refused")
    };
    worker.wait_for_line("the refused scores", SOON, told).await.unwrap();
    assert_eq!(scored(&tsdb).await, BTreeSet::from([("load".to_owned(), "a".to_owned())]));
}

#[tokio::test]
async fn queries_that_the_tsdb_refuses_do_not_hold_up_the_fits_of_others() {
    let queries = "{a: {expr: 'load{'}, b: {expr: 'load['}, c: {expr: 'load('}, load: {expr: load}}";
    let (tsdb, mut worker) = start(&gauges("load", 1), queries).await;
    let last_of = |status: &Value, query: &str| {
        let jobs = status["jobs"].as_array()?;
        jobs.iter().find(|job| job["query"] == query).cloned()
    };
    let written = |status: &Value| last_of(status, "load")?["last_written_tick_ms"].as_i64();
    worker.wait_for_status("scores of the good query", SOON, written).await.unwrap();
    let told = |status: &Value| {
        let errors = ["a", "b", "c"].map(|query| Some(last_of(status, query)?["last_error"].as_str()?.contains("422")));
        (errors == [Some(true); 3]).then_some(())
    };
    worker.wait_for_status("the TSDB's words", SOON, told).await.unwrap();
    assert_eq!(scored(&tsdb).await, BTreeSet::from([("load".to_owned(), "a".to_owned())]));
}
