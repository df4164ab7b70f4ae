//! Answers of a TSDB that is broken: the worker says so, counts, stands still, and goes on without a gap as soon as
//! the answers are right again.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::Value;
use tests::process::free_port;
use tests::scripted_tsdb::{Answer, RangeRequest, ScriptedTsdb};
use tests::signal::{now, this_second};
use tests::worker::{Worker, WorkerSetup};

const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600 * SECOND;
const SOON: Duration = Duration::from_secs(30);
const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const LABELS: &str = r#"{"__name__":"load","instance":"a"}"#;

fn config(url: &str, infer_every: &str) -> String {
    format!(
        "
schedulers:
  s: {{class: periodic, fit_window: 30s, fit_every: 1d, infer_every: {infer_every}}}
models:
  zscore: {{class: zscore_online, queries: all, schedulers: all}}
reader: {{datasource_url: '{url}', sampling_period: 1s, queries: {{load: {{expr: load}}}}}}
writer: {{datasource_url: '{url}'}}
settings: {{settle: 5ms, catch_up_delay: 1s, n_workers: 1}}
"
    )
}

async fn start_worker(url: &str, infer_every: &str) -> Worker {
    let setup = WorkerSetup { config: config(url, infer_every), ..WorkerSetup::default() };
    Worker::start(setup).await.unwrap()
}

fn value(time: i64) -> f64 {
    10.0 + (time / SECOND % 7) as f64
}

fn good(request: &RangeRequest) -> Answer {
    let samples = request.times().map(|time| (time, value(time).to_string()));
    Answer::matrix(&[(LABELS, samples.collect())])
}

/// The times at which this output was written, in order.
fn written(tsdb: &ScriptedTsdb, output: &str) -> Vec<(i64, f64)> {
    let lines = tsdb.written().into_iter();
    let lines = lines.filter(|series| series.label("__name__") == output);
    let samples = lines.flat_map(|series| series.samples);
    let mut samples: Vec<_> = samples.map(|sample| (sample.time, sample.value)).collect();
    samples.sort_by_key(|(time, _)| *time);
    samples
}

/// Every tick from the first to the last one was written, once or several times.
fn assert_no_gap(tsdb: &ScriptedTsdb) {
    let mut times: Vec<i64> = written(tsdb, "anomaly_score").iter().map(|(time, _)| *time).collect();
    times.dedup();
    assert!(times.len() > 2, "{times:?}");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == SECOND), "{times:?}");
}

fn job(status: &Value) -> &Value {
    &status["jobs"][0]
}

/// Breaks the answers of a running TSDB for a while.
async fn stands_still_and_goes_on(broken: impl Fn(&RangeRequest) -> Answer + Send + 'static, words: &str, code: &str) {
    let tsdb = ScriptedTsdb::start(ANYWHERE, good).await.unwrap();
    let mut worker = start_worker(&tsdb.url(), "1s").await;
    worker.wait_for_tick(now() - SECOND, 1, SOON).await.unwrap();

    tsdb.answer_by(broken);
    let stands_still = |status: &Value| {
        let job = job(status);
        let says = job["last_error"].as_str().is_some_and(|error| error.contains(words));
        (says && job["phase"] == "standing_still").then_some(())
    };
    worker.wait_for_status(words, SOON, stands_still).await.unwrap();
    let code = format!("code=\"{code}\"");
    worker.wait_for_metric("vmanomaly_reader_responses_total", &[&code], SOON, |count| count > 0.0).await.unwrap();
    worker.wait_for_metric("vmanomaly_job_standing_still", &[], SOON, |value| value == 1.0).await.unwrap();
    let told =
        |line: &Value| line["job"] == "s/load" && line["reason"].as_str().is_some_and(|reason| reason.contains(words));
    let line = worker.wait_for_line(words, SOON, told).await.unwrap();
    assert_eq!(line["message"], "the job stands still");

    tsdb.answer_by(good);
    worker.wait_for_tick(now(), 1, SOON).await.unwrap();
    worker.wait_for_metric("vmanomaly_job_standing_still", &[], SOON, |value| value == 0.0).await.unwrap();
    assert_no_gap(&tsdb);
    assert!(!worker.process().output().contains("panicked"));
}

#[tokio::test]
async fn a_tsdb_that_asks_for_a_password_is_waited_for() {
    stands_still_and_goes_on(|_| Answer::error(401, "who are you"), "who are you", "401").await;
}

#[tokio::test]
async fn a_path_that_the_tsdb_does_not_have_is_waited_for() {
    stands_still_and_goes_on(|_| Answer::error(404, "no such path"), "no such path", "404").await;
}

#[tokio::test]
async fn a_query_that_the_tsdb_refuses_altogether_stands_still_in_its_words() {
    stands_still_and_goes_on(|_| Answer::error(422, "cannot parse the query"), "cannot parse the query", "422").await;
}

#[tokio::test]
async fn an_internal_error_of_the_tsdb_is_waited_for() {
    stands_still_and_goes_on(|_| Answer::error(500, "the storage is gone"), "the storage is gone", "500").await;
}

#[tokio::test]
async fn an_answer_that_ends_in_its_middle_is_not_taken() {
    let half = |request: &RangeRequest| {
        let mut body = good(request).body;
        body.truncate(body.len() / 2);
        Answer::ok(body)
    };
    stands_still_and_goes_on(half, "before its end", "bad_answer").await;
}

#[tokio::test]
async fn an_answer_that_is_no_json_is_not_taken() {
    stands_still_and_goes_on(|_| Answer::ok("<html>log in</html>"), "no range query result", "bad_answer").await;
}

#[tokio::test]
async fn an_answer_with_one_series_twice_is_not_taken() {
    let twice = |request: &RangeRequest| {
        let sample = |value: &str| vec![(request.end, value.to_owned())];
        Answer::matrix(&[(LABELS, sample("1")), (LABELS, sample("2"))])
    };
    stands_still_and_goes_on(twice, "two series", "bad_answer").await;
}

#[tokio::test]
async fn a_tsdb_that_is_not_there_yet_is_waited_for() {
    let address = SocketAddr::new(ANYWHERE.ip(), free_port().unwrap());
    let mut worker = start_worker(&format!("http://{address}"), "1s").await;
    let stands_still =
        |status: &Value| (job(status)["phase"] == "standing_still").then(|| job(status)["last_error"].clone());
    let error = worker.wait_for_status("a job that stands still", SOON, stands_still).await.unwrap();
    assert!(error.as_str().unwrap().contains("refused"), "{error}");
    assert!(worker.endpoint().answers("/health").await);

    let tsdb = ScriptedTsdb::start(address, good).await.unwrap();
    worker.wait_for_tick(now(), 1, SOON).await.unwrap();
    assert!(!written(&tsdb, "anomaly_score").is_empty());
}

#[tokio::test]
async fn a_tick_that_the_tsdb_keeps_refusing_is_skipped_and_counted_when_a_later_one_is_answered() {
    let refused = this_second() + 4 * SECOND;
    let script = move |request: &RangeRequest| match request.end {
        end if end == refused => Answer::error(422, "this block is damaged"),
        _ => good(request),
    };
    let tsdb = ScriptedTsdb::start(ANYWHERE, script).await.unwrap();
    let mut worker = start_worker(&tsdb.url(), "1s").await;
    worker.wait_for_tick(refused + 2 * SECOND, 1, SOON).await.unwrap();
    let metrics = worker.metrics().await.unwrap();
    assert_eq!(metrics.sum("vmanomaly_ticks_skipped_total", &[]), Some(1.0));
    assert_eq!(job(&worker.status().await.unwrap())["skipped_ticks"], 1);
    let told = |line: &Value| line["message"] == "ticks skipped" && line["from"] == refused && line["job"] == "s/load";
    worker.wait_for_line("the skipped tick", SOON, told).await.unwrap();
    let times: Vec<i64> = written(&tsdb, "anomaly_score").iter().map(|(time, _)| *time).collect();
    assert!(!times.contains(&refused), "{times:?}");
    assert!([-SECOND, SECOND].iter().all(|distance| times.contains(&(refused + distance))), "{times:?}");
}

#[tokio::test]
async fn nan_and_infinities_are_neither_learnt_nor_scored() {
    let is_number = |time: i64| (time / SECOND) % 3 != 0;
    let script = move |request: &RangeRequest| {
        let text = |time: i64| match (is_number(time), time / SECOND % 2) {
            (true, _) => value(time).to_string(),
            (false, 0) => "NaN".to_owned(),
            (false, _) => "+Inf".to_owned(),
        };
        let samples = request.times().map(|time| (time, text(time)));
        Answer::matrix(&[(LABELS, samples.collect())])
    };
    let tsdb = ScriptedTsdb::start(ANYWHERE, script).await.unwrap();
    let mut worker = start_worker(&tsdb.url(), "1s").await;
    worker.wait_for_tick(now() + 6 * SECOND, 1, SOON).await.unwrap();
    for output in ["y", "yhat", "yhat_lower", "yhat_upper", "anomaly_score"] {
        let samples = written(&tsdb, output);
        assert!(samples.iter().all(|(_, value)| value.is_finite()), "{output}: {samples:?}");
        // Values of 10 to 16 keep the mean there; an infinity would have taken it away for ever.
        assert!(output != "yhat" || samples.iter().all(|(_, mean)| (10.0..=16.0).contains(mean)), "{samples:?}");
    }
    let samples = written(&tsdb, "anomaly_score");
    assert!(samples.len() >= 3 && samples.iter().all(|(time, _)| is_number(*time)), "{samples:?}");
    let skipped = worker.metrics().await.unwrap().sum("vmanomaly_model_runs_skipped_total", &["stage=\"infer\""]);
    assert!(skipped.unwrap() >= 1.0);
}

#[tokio::test]
async fn of_samples_that_come_twice_or_out_of_order_or_unasked_the_first_in_order_counts() {
    let script = |request: &RangeRequest| {
        let mut samples = Vec::new();
        for time in request.times() {
            samples.push((time, value(time).to_string()));
            samples.push((time, "999".to_owned()));
            samples.push((time - SECOND, "999".to_owned()));
        }
        samples.push((request.end + SECOND, "999".to_owned()));
        Answer::matrix(&[(LABELS, samples)])
    };
    let tsdb = ScriptedTsdb::start(ANYWHERE, script).await.unwrap();
    let mut worker = start_worker(&tsdb.url(), "2s").await;
    worker.wait_for_tick(now() + 3 * SECOND, 1, SOON).await.unwrap();
    worker
        .wait_for_metric("vmanomaly_invalid_samples_total", &["query_key=\"load\""], SOON, |count| count >= 10.0)
        .await
        .unwrap();
    let samples = written(&tsdb, "y");
    assert!(samples.len() >= 2);
    assert!(samples.iter().all(|(time, y)| *y == value(*time)), "{samples:?}");
}

/// A TSDB whose clock is `offset` ms ahead: no tick may be asked for before both clocks have passed it.
async fn no_tick_is_read_early(offset: i64) {
    let tsdb = ScriptedTsdb::start(ANYWHERE, good).await.unwrap();
    tsdb.set_clock_ahead(offset);
    let mut worker = start_worker(&tsdb.url(), "1s").await;
    worker.wait_for_tick(this_second() + offset.min(0) + 4 * SECOND, 1, SOON).await.unwrap();
    let early = |read: &RangeRequest| read.end > read.received_at + offset.min(0);
    let reads = tsdb.reads();
    assert!(reads.len() > 2 && !reads.iter().any(early), "{reads:?}");
    let skew = -(offset / SECOND) as f64;
    // A `Date` says no more than the second.
    let near = |value: f64| (value - skew).abs() <= 1.5;
    worker.wait_for_metric("vmanomaly_clock_skew_seconds", &[], SOON, near).await.unwrap();
    assert_no_gap(&tsdb);
}

#[tokio::test]
async fn a_tsdb_whose_clock_is_an_hour_behind_is_not_asked_for_its_future() {
    no_tick_is_read_early(-HOUR).await;
}

#[tokio::test]
async fn a_tsdb_whose_clock_is_an_hour_ahead_is_not_asked_for_ours() {
    no_tick_is_read_early(HOUR).await;
}
