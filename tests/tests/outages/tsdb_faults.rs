//! A worker behind a proxy whose faults the test controls writes in the end what an undisturbed worker writes that
//! ran at the same time on the same input.

use std::time::Duration;

use serde_json::Value;
use tests::fault_proxy::{Fault, FaultProxy};
use tests::scores::Scores;
use tests::signal::{counter, gauge, now, this_second};
use tests::victoria_metrics::VictoriaMetrics;
use tests::worker::{Worker, WorkerSetup};

const SECOND: i64 = 1_000;
const SOON: Duration = Duration::from_secs(40);
const READS: &str = "/api/v1/query_range";
const WRITES: &str = "/api/v1/import";
const QUERIES: [&str; 2] = ["load", "requests"];

/// Refits fall into the outage.
fn config(url: &str, preset: &str, start: i64) -> String {
    let start = jiff::Timestamp::from_millisecond(start).unwrap();
    format!(
        "
preset: {preset}
schedulers:
  s: {{class: periodic, fit_window: 30s, fit_every: 7s, infer_every: 1s, fit_lag: 3s, start_from: '{}'}}
models:
  zscore: {{class: zscore_online, queries: all, schedulers: all}}
  mad: {{class: mad_online, queries: all, schedulers: all}}
reader:
  datasource_url: {url}
  sampling_period: 1s
  fetch_timeout: 1s
  queries: {{load: {{expr: load}}, requests: {{expr: 'rate(requests[5s])'}}}}
writer: {{datasource_url: {url}, timeout: 1s}}
settings: {{settle: 5ms, catch_up_delay: 1s, n_workers: 1}}
",
        start.strftime("%Y-%m-%dT%H:%M:%S"),
    )
}

async fn start(proxy: &FaultProxy, preset: &str, first_fit: i64) -> Worker {
    let setup = WorkerSetup { config: config(&proxy.url(), preset, first_fit), ..WorkerSetup::default() };
    Worker::start(setup).await.unwrap()
}

/// Two workers on one TSDB, each behind a proxy of its own.
struct Pair {
    tsdb: VictoriaMetrics,
    calm: Worker,
    calm_proxy: FaultProxy,
    disturbed: Worker,
    proxy: FaultProxy,
    first_fit: i64,
}

impl Pair {
    async fn start() -> Self {
        let tsdb = VictoriaMetrics::start().await.unwrap();
        let (from, until) = (this_second() - 60 * SECOND, this_second() + 200 * SECOND);
        let input: Vec<_> = (0..3)
            .flat_map(|instance| {
                let load = gauge("load", instance, from, until, SECOND);
                [load, counter("requests", instance, from, until, SECOND)]
            })
            .collect();
        tsdb.import(&input).await.unwrap();
        tsdb.everything_visible().await.unwrap();
        let calm_proxy = FaultProxy::start(tsdb.address()).await.unwrap();
        let proxy = FaultProxy::start(tsdb.address()).await.unwrap();
        let first_fit = this_second() + 4 * SECOND;
        let calm = start(&calm_proxy, "calm", first_fit).await;
        let disturbed = start(&proxy, "disturbed", first_fit).await;
        assert!(now() < first_fit, "the workers took too long to start");
        let mut pair = Self { tsdb, calm, calm_proxy, disturbed, proxy, first_fit };
        pair.both_write(first_fit + SECOND).await;
        pair
    }

    async fn both_write(&mut self, tick: i64) {
        self.disturbed.wait_for_tick(tick, QUERIES.len(), SOON).await.unwrap();
        self.calm.wait_for_tick(tick, QUERIES.len(), SOON).await.unwrap();
    }

    /// The fault acts on the paths that begin with `path` until the calm worker is four ticks further, and until
    /// the disturbed one says that it stands still because of `words`, if there are any.
    async fn disturb(&mut self, path: &str, fault: Fault, words: Option<&str>) {
        let begin = this_second();
        self.proxy.set_path(path, fault);
        if let Some(words) = words {
            let stands_still = |status: &Value| {
                let mut jobs = status["jobs"].as_array()?.iter();
                let matches = |job: &Value| {
                    let error = job["last_error"].as_str().unwrap_or_default();
                    job["phase"] == "standing_still" && error.contains(words)
                };
                jobs.any(matches).then_some(())
            };
            self.disturbed.wait_for_status(words, SOON, stands_still).await.unwrap();
            let told = |line: &Value| line["reason"].as_str().is_some_and(|reason| reason.contains(words));
            self.disturbed.wait_for_line(words, SOON, told).await.unwrap();
        }
        self.calm.wait_for_tick(begin + 4 * SECOND, QUERIES.len(), SOON).await.unwrap();
        self.proxy.set(Fault::None);
    }

    /// Every tick of both is there, with the same bits; nothing was skipped or dropped.
    async fn wrote_the_same(mut self) {
        let end = this_second() + 2 * SECOND;
        self.both_write(end).await;
        let sent = |proxy: &FaultProxy, preset: &str| Scores::of(&proxy.imported(), preset).within(0, end);
        let (found, wanted) = (sent(&self.proxy, "disturbed"), sent(&self.calm_proxy, "calm"));
        assert_eq!(found.rewritten(), None);
        assert_eq!(found.difference(&wanted, 0.0), None);
        let ticks = (1..).map(|index| self.first_fit + index * SECOND).take_while(|tick| *tick <= end);
        let ticks: Vec<i64> = ticks.collect();
        for query in QUERIES {
            assert!(found.times("for", query).into_iter().eq(ticks.iter().copied()), "{query}");
        }
        self.tsdb.everything_visible().await.unwrap();
        let stored = self.tsdb.export("{model_alias!=\"\"}").await.unwrap();
        let stored = |preset: &str| Scores::of(&stored, preset).within(0, end);
        assert_eq!(stored("disturbed").difference(&stored("calm"), 1e-9), None);
        let metrics = self.disturbed.metrics().await.unwrap();
        for name in ["vmanomaly_gap_ticks_total", "vmanomaly_ticks_skipped_total", "vmanomaly_writer_dropped_total"] {
            assert_eq!(metrics.sum(name, &[]).unwrap_or(0.0), 0.0, "{name}");
        }
        assert!(!self.disturbed.process().output().contains("panicked"));
    }
}

async fn equal_in_the_end(path: &str, fault: Fault, words: Option<&str>) {
    let mut pair = Pair::start().await;
    pair.disturb(path, fault, words).await;
    pair.wrote_the_same().await;
}

#[tokio::test]
async fn a_slow_tsdb_delays_scores_and_changes_none() {
    equal_in_the_end("/", Fault::Delay(Duration::from_millis(300)), None).await;
}

#[tokio::test]
async fn a_tsdb_slower_than_the_time_limit_is_waited_for() {
    equal_in_the_end("/", Fault::Delay(Duration::from_millis(1_500)), Some("timeout")).await;
}

#[tokio::test]
async fn connections_that_are_reset_are_opened_again() {
    equal_in_the_end("/", Fault::Reset, Some("connection_error")).await;
}

#[tokio::test]
async fn answers_that_are_cut_off_are_read_again() {
    equal_in_the_end(READS, Fault::Truncate(40), Some("unavailable")).await;
}

#[tokio::test]
async fn a_tsdb_that_asks_for_fewer_requests_is_waited_for() {
    equal_in_the_end("/", Fault::Answer(429, "slow down".into()), Some("slow down")).await;
}

#[tokio::test]
async fn a_tsdb_that_is_overloaded_is_waited_for() {
    equal_in_the_end("/", Fault::Answer(503, "too many".into()), Some("too many")).await;
}

#[tokio::test]
async fn half_open_connections_end_at_the_time_limit() {
    equal_in_the_end("/", Fault::HalfOpen, Some("timeout")).await;
}

#[tokio::test]
async fn writes_that_are_refused_for_now_are_sent_again() {
    equal_in_the_end(WRITES, Fault::Answer(503, "read only".into()), Some("read only")).await;
}

#[tokio::test]
async fn writes_whose_answer_is_lost_are_sent_again_with_equal_values() {
    equal_in_the_end(WRITES, Fault::LoseAnswer, Some("connection_error")).await;
}

#[tokio::test]
async fn bodies_that_are_too_large_are_split_and_nothing_is_lost() {
    equal_in_the_end(WRITES, Fault::RefuseLarger(600), None).await;
}

#[tokio::test]
async fn one_outage_after_another_changes_no_score() {
    let mut pair = Pair::start().await;
    pair.disturb(READS, Fault::Answer(500, "first".into()), Some("first")).await;
    pair.disturb(WRITES, Fault::Answer(500, "second".into()), Some("second")).await;
    pair.disturb("/", Fault::Reset, Some("connection_error")).await;
    pair.wrote_the_same().await;
}

#[tokio::test]
async fn writes_that_are_refused_for_good_are_dropped_and_counted_and_later_ones_go_on() {
    let mut pair = Pair::start().await;
    pair.disturb(WRITES, Fault::RefuseLarger(1), None).await;
    let counted = |dropped: f64| dropped > 0.0;
    let (worker, labels) = (&mut pair.disturbed, ["code=\"413\"", "query_key=\"load\""]);
    worker.wait_for_metric("vmanomaly_writer_dropped_total", &labels, SOON, counted).await.unwrap();
    let told = |line: &Value| {
        line["level"] == "ERROR" && line["message"].as_str().is_some_and(|text| text.contains("dropped"))
    };
    let line = worker.wait_for_line("the dropped scores", SOON, told).await.unwrap();
    assert!(line["error"].as_str().unwrap().contains("too large"), "{line}");

    let (begin, end) = (this_second() + SECOND, this_second() + 3 * SECOND);
    pair.both_write(end).await;
    let sent = |proxy: &FaultProxy, preset: &str| Scores::of(&proxy.imported(), preset);
    let found = sent(&pair.proxy, "disturbed");
    let wanted = sent(&pair.calm_proxy, "calm");
    assert!(found.len() < wanted.len());
    assert_eq!(found.within(begin, end).difference(&wanted.within(begin, end), 0.0), None);
}
