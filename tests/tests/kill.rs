//! A worker that is killed again and again writes what an undisturbed one writes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "functions that tests share are tests, too")]

use std::time::Duration;

use tempfile::TempDir;
use tests::fault_proxy::FaultProxy;
use tests::scores::Scores;
use tests::signal::{Chance, counter, gauge, now, this_second};
use tests::victoria_metrics::VictoriaMetrics;
use tests::worker::{Worker, WorkerSetup};

const SECOND: i64 = 1_000;
const SOON: Duration = Duration::from_secs(60);
const KILLS: usize = 100;
const QUERIES: [&str; 3] = ["load", "memory", "requests"];

/// Three jobs, both models, a refit every 15 ticks that takes over at a fixed moment.
fn config(url: &str, preset: &str, start: i64) -> String {
    let start = jiff::Timestamp::from_millisecond(start).unwrap();
    format!(
        "
preset: {preset}
schedulers:
  s: {{class: periodic, fit_window: 60s, fit_every: 15s, infer_every: 1s, fit_lag: 5s, start_from: '{}'}}
models:
  zscore: {{class: zscore_online, z_threshold: 3, queries: [load, requests], schedulers: all}}
  mad: {{class: mad_online, threshold: 3, decay: 0.99, queries: [load, memory], schedulers: all}}
reader:
  datasource_url: {url}
  sampling_period: 1s
  queries:
    load: {{expr: load, data_range: [0, 40]}}
    memory: {{expr: sum(memory) by (instance), step: 1s}}
    requests: {{expr: 'rate(requests[5s])'}}
writer: {{datasource_url: {url}}}
settings: {{settle: 5ms, catch_up_delay: 1s, snapshot_interval: 2s, n_workers: 1}}
",
        start.strftime("%Y-%m-%dT%H:%M:%S"),
    )
}

/// The worker, and the folder of its state, which is removed after it.
async fn start(proxy: &FaultProxy, preset: &str, start: i64) -> (Worker, TempDir) {
    let state = tempfile::tempdir().unwrap();
    let setup = WorkerSetup {
        config: config(&proxy.url(), preset, start),
        arguments: vec![format!("--stateFolder={}", state.path().display())],
        ..WorkerSetup::default()
    };
    (Worker::start(setup).await.unwrap(), state)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_at_a_hundred_random_moments_writes_what_an_undisturbed_one_writes() {
    // Without deduplication, so that a value that was written over with another one stays visible.
    let tsdb = VictoriaMetrics::start_with(&["-dedup.minScrapeInterval=0s"]).await.unwrap();
    let begin = this_second();
    let (from, until) = (begin - 100 * SECOND, begin + 400 * SECOND);
    let input: Vec<_> = (0..4)
        .flat_map(|instance| {
            let load = gauge("load", instance, from, until, SECOND);
            let memory = gauge("memory", instance + 4, from, until, SECOND);
            [load, memory, counter("requests", instance, from, until, SECOND)]
        })
        .collect();
    tsdb.import(&input).await.unwrap();
    tsdb.everything_visible().await.unwrap();

    // Values are compared as they were sent: the TSDB rounds what it stores.
    let calm_proxy = FaultProxy::start(tsdb.address()).await.unwrap();
    let killed_proxy = FaultProxy::start(tsdb.address()).await.unwrap();
    let first_fit = begin + 5 * SECOND;
    let (mut calm, _calm_state) = start(&calm_proxy, "calm", first_fit).await;
    let (mut killed, _killed_state) = start(&killed_proxy, "killed", first_fit).await;
    assert!(now() < first_fit, "the workers took too long to start");
    killed.wait_for_tick(first_fit + SECOND, QUERIES.len(), SOON).await.unwrap();

    let seed = now().unsigned_abs();
    println!("seed {seed}");
    let mut chance = Chance::new(seed);
    let mut unscheduled_refits = 0.0;
    let mut next = tokio::time::Instant::now();
    for _ in 0..KILLS {
        next += Duration::from_millis(200 + chance.below(1_300));
        tokio::time::sleep_until(next).await;
        if let Ok(metrics) = killed.metrics().await {
            unscheduled_refits += metrics.sum("vmanomaly_refits_unscheduled_total", &[]).unwrap_or(0.0);
        }
        killed.restart().await.unwrap();
        next = next.max(tokio::time::Instant::now());
    }
    let end = this_second() + 2 * SECOND;
    assert!(end < until, "the input is over");
    killed.wait_for_tick(end, QUERIES.len(), SOON).await.unwrap();
    calm.wait_for_tick(end, QUERIES.len(), SOON).await.unwrap();

    let metrics = killed.metrics().await.unwrap();
    unscheduled_refits += metrics.sum("vmanomaly_refits_unscheduled_total", &[]).unwrap();
    assert_eq!(unscheduled_refits, 0.0);
    let output = killed.process().output();
    for words in ["panicked", "learnt again", "ticks skipped", "is damaged", "damaged state"] {
        assert!(!output.contains(words), "{words}: {}", killed.process().last_lines());
    }
    let fits = calm.metrics().await.unwrap().sum("vmanomaly_fits_total", &["query_key=\"load\""]).unwrap();
    assert!(fits >= 2.0 * (end - first_fit) as f64 / 20_000.0, "only {fits} fits of the two models");

    let sent = |proxy: &FaultProxy, preset: &str| Scores::of(&proxy.imported(), preset).within(begin, end);
    let (wanted, found) = (sent(&calm_proxy, "calm"), sent(&killed_proxy, "killed"));
    assert_eq!(found.rewritten(), None, "seed {seed}");
    assert_eq!(found.difference(&wanted, 0.0), None, "seed {seed}");
    let ticks: Vec<i64> = (1..).map(|index| first_fit + index * SECOND).take_while(|tick| *tick <= end).collect();
    for query in QUERIES {
        assert!(found.times("for", query).into_iter().eq(ticks.iter().copied()), "seed {seed}: {query}");
    }

    tsdb.everything_visible().await.unwrap();
    let stored = tsdb.export("{model_alias!=\"\"}").await.unwrap();
    let stored = |preset: &str| Scores::of(&stored, preset).within(begin, end);
    let (wanted, found) = (stored("calm"), stored("killed"));
    assert_eq!(found.difference(&wanted, 1e-9), None, "seed {seed}");
    println!("{} samples over {} ticks", found.len(), ticks.len());
}
