//! What a worker writes is a function of its configuration and the accepted input: not of the number of shards, not of the
//! number of threads, not of the instructions that the processor has. A real VictoriaMetrics answers and stores, and the
//! worker's own loop reads, fits, learns, scores and writes.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod input;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::{Command, Stdio};

use tests::accelerated::{Outcome, Run, run, worst_rounding, written};
use tests::series::Series;
use tests::victoria_metrics::VictoriaMetrics;

use input::{END, HANDLERS, START, WORKERS};

/// Two jobs with different ticks and steps; each has a first fit and several that take over during the run.
fn config(url: &str, preset: &str) -> String {
    format!(
        "
preset: {preset}
settings: {{settle: 5s, max_catch_up: 30d, snapshot_interval: 10m, retention: {{ttl: 12m, check_interval: 3m}}}}
schedulers:
  minutely: {{class: periodic, start_from: '2026-01-05T06:00:00Z', infer_every: 1m, fit_window: 25m, fit_every: 11m, fit_lag: 2m}}
  slow: {{class: periodic, start_from: '2026-01-05T06:00:00Z', infer_every: 5m, fit_window: 35m, fit_every: 15m, fit_lag: 5m}}
models:
  requests_zscore: {{class: zscore_online, decay: 0.98, min_n_samples_seen: 4, schedulers: [minutely], queries: [requests]}}
  requests_mad: {{class: mad_online, threshold: 3, compression: 20, decay: 0.99, schedulers: [minutely], queries: [requests],
    clip_predictions: true, anomaly_score_outside_data_range: 3}}
  load_zscore: {{class: zscore_online, schedulers: [slow], queries: [load]}}
  load_mad: {{class: mad_online, decay: 0.97, history_strength: 2, scale: [1, 1.3], schedulers: [slow], queries: [load],
    provide_series: [anomaly_score, yhat_upper]}}
reader:
  class: vm
  datasource_url: {url}
  sampling_period: 1m
  queries:
    requests: {{expr: 'rate(requests_total[3m])', step: 30s, data_range: [0, 4]}}
    load: {{expr: 'busy_seconds / queue_length'}}
writer: {{class: vm, datasource_url: '{url}'}}
"
    )
}

async fn worker(url: &str, preset: &str, shard: u32, shards: u32) -> Outcome {
    let config = config(url, preset);
    let outcome = run(Run {
        config: &config,
        shard,
        shards: NonZeroU32::new(shards).expect("shards"),
        start: START,
        end: END + 5_000,
        factor: 1e6,
    });
    let outcome = outcome.await.expect("a run");
    for job in &outcome.jobs {
        assert_eq!((job.skipped_ticks, job.refused_series), (0, 0), "{job:?}");
    }
    outcome
}

async fn database() -> VictoriaMetrics {
    let database = VictoriaMetrics::start().await.expect("VictoriaMetrics");
    database.import(&input::input()).await.expect("import");
    database.everything_visible().await.expect("everything visible");
    database
}

/// Without the label that tells runs apart, sorted by labels.
fn without_preset(series: &[Series]) -> BTreeMap<BTreeMap<String, String>, &Series> {
    let labels = |series: &Series| {
        let mut labels = series.labels.clone();
        labels.remove("preset").expect("the label of the run");
        labels
    };
    series.iter().map(|series| (labels(series), series)).collect()
}

/// Panics at the first difference.
fn assert_same(left: &[Series], right: &[Series]) {
    let (left, right) = (without_preset(left), without_preset(right));
    let missing = left.keys().find(|labels| !right.contains_key(*labels));
    let additional = right.keys().find(|labels| !left.contains_key(*labels));
    assert_eq!((missing, additional), (None, None));
    for (labels, series) in left {
        let other = right[&labels];
        let difference = series.samples.iter().zip(&other.samples).find(|(one, other)| one != other);
        assert_eq!(difference, None, "{labels:?}");
        assert_eq!(series.samples.len(), other.samples.len(), "{labels:?}");
    }
}

fn samples(series: &[Series]) -> usize {
    series.iter().map(|series| series.samples.len()).sum()
}

/// The run is one in which what could depend on the order of work happens.
fn assert_eventful(outcomes: &[Outcome], series: &[Series]) {
    let sum = |name: &str| outcomes.iter().map(|outcome| outcome.metric(name)).sum::<f64>();
    // Of each job's two models: `requests` at 0, 11, 22 and 33 minutes, `load` at 0, 15 and 30; those that end at the end of
    // the run perhaps.
    let fits = sum("vmanomaly_fits_total") / outcomes.len() as f64;
    assert!(fits >= 2.0 * (4.0 + 3.0), "{fits} fits a shard");
    assert_eq!(sum("vmanomaly_refits_unscheduled_total"), 0.0);
    assert_eq!(sum("vmanomaly_series_over_limit"), 0.0);
    assert!(sum("vmanomaly_series_expired_total") >= 100.0, "too few series expired");
    let scores = |query: &str| {
        let is_score = |series: &&Series| series.label("__name__") == "anomaly_score" && series.label("for") == query;
        let found: Vec<&Series> = series.iter().filter(is_score).collect();
        let values = found.iter().flat_map(|series| &series.samples).map(|sample| sample.value);
        let anomalous = values.filter(|value| *value > 1.0).count();
        assert!(anomalous >= 100, "too few scores of {query} are anomalous: {anomalous}");
        found.len() as u64
    };
    assert_eq!((scores("requests"), scores("load")), (2 * HANDLERS, 2 * WORKERS));
}

#[tokio::test(flavor = "current_thread")]
async fn one_shard_and_three_shards_write_the_same_samples_bit_for_bit() {
    let database = database().await;
    let one = [worker(database.url(), "one", 0, 1).await];
    let (first, second, third) = tokio::join!(
        worker(database.url(), "three", 0, 3),
        worker(database.url(), "three", 1, 3),
        worker(database.url(), "three", 2, 3),
    );
    let three = [first, second, third];

    let bodies = |outcomes: &[Outcome]| {
        let bodies: Vec<&[u8]> = outcomes.iter().map(|outcome| &outcome.accepted[..]).collect();
        written(&bodies.concat()).expect("JSON lines")
    };
    let [by_one, by_three] = [bodies(&one), bodies(&three)];
    for shard in &three {
        let share = shard.accepted.len() as f64 / one[0].accepted.len() as f64;
        assert!((0.2..0.5).contains(&share), "a shard wrote {share} of all");
    }
    assert_eventful(&one, &by_one);
    assert_eventful(&three, &by_three);
    println!("{} series, {} samples", by_one.len(), samples(&by_one));
    assert_same(&by_one, &by_three);

    database.everything_visible().await.expect("everything visible");
    for (preset, written) in [("one", &by_one), ("three", &by_three)] {
        let selector = format!("{{preset={preset:?}}}");
        let stored = database.export(&selector).await.expect("export");
        let rounding = worst_rounding(written, &stored).expect("everything is stored");
        assert!(rounding <= 1e-11, "the database rounded by {rounding:e}");
    }
}

/// Set for a child of this test executable: the URL of the database, and where to put what was accepted.
const URL: &str = "EQUALITY_CHILD_DATABASE";
const OUTPUT: &str = "EQUALITY_CHILD_OUTPUT";
const THREADS: &str = "RAYON_NUM_THREADS";

/// glibc chooses its kernels at run time by what the processor has: this takes everything away that it may choose by.
const PLAIN_KERNELS: &str =
    "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX2,-AVX,-FMA,-FMA4,-BMI2,-SSE4_2,-SSE4_1,-SSSE3,-ERMS";

#[tokio::test(flavor = "current_thread")]
async fn threads_and_instructions_of_the_processor_do_not_change_a_bit() {
    if let (Ok(url), Some(output)) = (std::env::var(URL), std::env::var_os(OUTPUT)) {
        let outcome = worker(&url, "child", 0, 1).await;
        let wanted: usize = std::env::var(THREADS).expect("a number of threads").parse().expect("a number");
        let threads = std::fs::read_dir("/proc/self/task").expect("the threads").count();
        assert!(threads > wanted, "only {threads} threads run");
        std::fs::write(output, outcome.accepted).expect("a file for the output");
        return;
    }
    let database = database().await;
    let folder = tempfile::tempdir().expect("a folder");
    let child = |name: &str, threads: &str, tunables: &str| {
        let output = folder.path().join(name);
        let child = Command::new(std::env::current_exe().expect("this executable"))
            .args(["--exact", "threads_and_instructions_of_the_processor_do_not_change_a_bit", "--nocapture"])
            .env(URL, database.url())
            .env(OUTPUT, &output)
            .env(THREADS, threads)
            .env("GLIBC_TUNABLES", tunables)
            .stdout(Stdio::null())
            .spawn()
            .expect("a child");
        (child, output)
    };
    let ended = |(mut child, output): (std::process::Child, std::path::PathBuf)| {
        assert!(child.wait().expect("the child's end").success(), "the child failed");
        read(&output)
    };
    let children = [child("one", "1", PLAIN_KERNELS), child("eight", "8", "")];
    let [one_thread, eight_threads] = children.map(ended);
    assert!(samples(&one_thread) > 100_000);
    assert_same(&one_thread, &eight_threads);
}

fn read(path: &Path) -> Vec<Series> {
    written(&std::fs::read(path).expect("the child's output")).expect("JSON lines")
}
