//! State folders that are damaged or full: the damage is found, counted and made good, and the scores go on.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "functions that tests share are tests, too")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tests::fault_proxy::FaultProxy;
use tests::scores::Scores;
use tests::signal::{Chance, counter, gauge, now, this_second};
use tests::victoria_metrics::VictoriaMetrics;
use tests::worker::{Worker, WorkerSetup};
use worker::context::Storage;
use worker::disk::memory::Memory;

const SECOND: i64 = 1_000;
const SOON: Duration = Duration::from_secs(60);
const QUERIES: [&str; 3] = ["load", "memory", "requests"];

fn config(url: &str, preset: &str, start: i64, snapshot_interval: &str) -> String {
    let start = jiff::Timestamp::from_millisecond(start).unwrap();
    format!(
        "
preset: {preset}
schedulers:
  s: {{class: periodic, fit_window: 30s, fit_every: 1d, infer_every: 1s, fit_lag: 5s, start_from: '{}'}}
models:
  zscore: {{class: zscore_online, queries: [load, requests], schedulers: all}}
  mad: {{class: mad_online, queries: [load, memory], schedulers: all}}
reader:
  datasource_url: {url}
  sampling_period: 1s
  queries: {{load: {{expr: load}}, memory: {{expr: memory}}, requests: {{expr: 'rate(requests[5s])'}}}}
writer: {{datasource_url: {url}}}
settings: {{settle: 5ms, catch_up_delay: 1s, snapshot_interval: {snapshot_interval}, n_workers: 1}}
",
        start.strftime("%Y-%m-%dT%H:%M:%S"),
    )
}

/// A worker with a state folder, and what it writes.
struct Subject {
    worker: Worker,
    proxy: FaultProxy,
    preset: &'static str,
    state: TempDir,
}

impl Subject {
    async fn start(tsdb: &VictoriaMetrics, preset: &'static str, first_fit: i64) -> Self {
        Self::start_with(tsdb, preset, first_fit, "1s").await
    }

    async fn start_with(tsdb: &VictoriaMetrics, preset: &'static str, first_fit: i64, snapshot_interval: &str) -> Self {
        let proxy = FaultProxy::start(tsdb.address()).await.unwrap();
        let state = tempfile::tempdir().unwrap();
        let setup = WorkerSetup {
            config: config(&proxy.url(), preset, first_fit, snapshot_interval),
            arguments: vec![format!("--stateFolder={}", state.path().display())],
            ..WorkerSetup::default()
        };
        let worker = Worker::start(setup).await.unwrap();
        Self { worker, proxy, preset, state }
    }

    async fn wait_for_tick(&mut self, tick: i64) {
        self.worker.wait_for_tick(tick, QUERIES.len(), SOON).await.unwrap();
    }

    fn sent(&self, until: i64) -> Scores {
        Scores::of(&self.proxy.imported(), self.preset).within(0, until)
    }

    /// The sum of a metric over this life of the process.
    async fn metric(&self, name: &str) -> f64 {
        self.worker.metrics().await.unwrap().sum(name, &[]).unwrap_or(0.0)
    }

    /// What this life of the process found damaged.
    async fn damage_found(&self) -> f64 {
        self.metric("vmanomaly_log_damaged_records_total").await
            + self.metric("vmanomaly_snapshot_damaged_blocks_total").await
    }
}

async fn tsdb() -> VictoriaMetrics {
    let tsdb = VictoriaMetrics::start().await.unwrap();
    let (from, until) = (this_second() - 60 * SECOND, this_second() + 300 * SECOND);
    let input: Vec<_> = (0..4)
        .flat_map(|instance| {
            let load = gauge("load", instance, from, until, SECOND);
            let memory = gauge("memory", instance + 4, from, until, SECOND);
            [load, memory, counter("requests", instance, from, until, SECOND)]
        })
        .collect();
    tsdb.import(&input).await.unwrap();
    tsdb.everything_visible().await.unwrap();
    tsdb
}

/// All files of log and snapshots.
fn files(state: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![state.join("log"), state.join("snapshot")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// Flips one bit of a byte, each byte of all files as likely as any other. Returns the file's path.
fn flip(state: &Path, chance: &mut Chance) -> PathBuf {
    let files = files(state);
    let sizes: Vec<u64> = files.iter().map(|file| fs::metadata(file).unwrap().len()).collect();
    let mut position = chance.below(sizes.iter().sum());
    for (file, size) in files.iter().zip(sizes) {
        if position < size {
            let mut bytes = fs::read(file).unwrap();
            bytes[usize::try_from(position).unwrap()] ^= 1 << chance.below(8);
            fs::write(file, bytes).unwrap();
            return file.clone();
        }
        position -= size;
    }
    panic!("no byte to flip in {}", state.display());
}

fn assert_no_gap(scores: &Scores, first_fit: i64, end: i64) {
    let ticks: Vec<i64> = (1..).map(|index| first_fit + index * SECOND).take_while(|tick| *tick <= end).collect();
    for query in QUERIES {
        let found: Vec<i64> = scores.times("for", query).into_iter().collect();
        assert_eq!(found, ticks, "{query}");
    }
}

/// Those of the files, paths below the state folder, that a start reads: of blocks and manifests the newest commit, whose
/// number is behind the last dot, without the blocks of a commit that the kill came before the manifest of.
/// Configurations are read when a job needs them.
fn in_use(paths: &[String]) -> Vec<&String> {
    let commit = |path: &str| {
        let (name, number) = path.rsplit_once('.')?;
        Some((name.to_owned(), number.parse::<u64>().ok()?))
    };
    let commits: Vec<(String, u64)> = paths.iter().filter_map(|path| commit(path)).collect();
    let newest_up_to = |name: &str, last: u64| {
        let of_name = commits.iter().filter(|(other, number)| other == name && *number <= last);
        of_name.map(|(_, number)| *number).max()
    };
    let took_effect = newest_up_to("snapshot/manifest", u64::MAX).unwrap_or(0);
    let is_read =
        |path: &str| commit(path).is_none_or(|(name, number)| newest_up_to(&name, took_effect) == Some(number));
    paths.iter().filter(|path| !path.contains("configurations") && is_read(path)).collect()
}

/// What opening a state folder brings, in a form that can be compared.
struct Opened {
    records: Vec<String>,
    blocks: BTreeSet<String>,
    damage: u64,
}

async fn open(disk: Memory) -> Opened {
    let (_storage, log, snapshots) = Storage::open(Rc::new(disk)).await.unwrap();
    let problems = log.problems.len() + snapshots.problems.len();
    Opened {
        records: log.records.iter().map(|record| format!("{record:?}")).collect(),
        blocks: snapshots.blocks.iter().map(|block| format!("{block:?}")).collect(),
        damage: log.damaged_records + snapshots.damaged_blocks + snapshots.damaged_manifests + problems as u64,
    }
}

#[tokio::test]
async fn each_of_a_thousand_flipped_bits_is_found_and_costs_at_most_what_it_hit() {
    let tsdb = tsdb().await;
    let mut subject = Subject::start(&tsdb, "a", this_second() + 2 * SECOND).await;
    subject.wait_for_tick(this_second() + 8 * SECOND).await;
    subject.worker.kill();
    let state = subject.state.path();
    let pristine = Memory::new();
    pristine.put("format", &fs::read(state.join("format")).unwrap());
    let relative = |file: &PathBuf| file.strip_prefix(state).unwrap().display().to_string();
    let paths: Vec<String> = files(state).iter().map(relative).collect();
    let mut places: Vec<(&String, usize)> = Vec::new();
    let in_use = in_use(&paths);
    for path in &paths {
        let bytes = fs::read(state.join(path)).unwrap();
        pristine.put(path, &bytes);
        if in_use.contains(&path) {
            places.extend((0..bytes.len()).map(|offset| (path, offset)));
        }
    }
    let whole = open(pristine.copy()).await;
    assert_eq!(whole.damage, 0);
    assert!(whole.records.len() > 20 && whole.blocks.len() == QUERIES.len());
    let last = whole.records.last().unwrap();

    let seed = now().unsigned_abs();
    println!("seed {seed}");
    let mut chance = Chance::new(seed);
    let mut torn = 0;
    for _ in 0..1_000 {
        let (path, offset) = &places[usize::try_from(chance.below(places.len() as u64)).unwrap()];
        let disk = pristine.copy();
        assert!(disk.flip(path, *offset, 1 << chance.below(8)));
        let place = format!("seed {seed}: {path} at {offset}");
        let damaged = open(disk).await;
        let known: BTreeSet<&String> = whole.records.iter().collect();
        assert!(damaged.records.iter().all(|record| known.contains(record)), "{place}: a record nobody wrote");
        let left: BTreeSet<&String> = damaged.records.iter().collect();
        let lost: Vec<&String> = known.difference(&left).copied().collect();
        assert!(lost.len() <= 1, "{place}: {} records are lost", lost.len());
        let lost_blocks = whole.blocks.difference(&damaged.blocks).count();
        assert!(lost_blocks <= 1, "{place}: {lost_blocks} blocks are lost");
        if damaged.damage == 0 {
            torn += 1;
            // The end of the last append looks as if the process had been killed in it: that tick is read again.
            assert!(lost == [last] && lost_blocks == 0, "{place}: {lost:?} and {lost_blocks} blocks without a word");
        }
    }
    println!("{torn} flips hit the very last record, as a kill would");
}

#[tokio::test]
async fn a_flipped_bit_changes_no_score_and_refits_nothing() {
    let tsdb = tsdb().await;
    let first_fit = this_second() + 3 * SECOND;
    let mut calm = Subject::start(&tsdb, "calm", first_fit).await;
    let mut subject = Subject::start(&tsdb, "damaged", first_fit).await;
    assert!(now() < first_fit, "the workers took too long to start");
    subject.wait_for_tick(first_fit + 5 * SECOND).await;
    let seed = now().unsigned_abs();
    println!("seed {seed}");
    let mut chance = Chance::new(seed);
    for _ in 0..8 {
        subject.worker.kill();
        let file = flip(subject.state.path(), &mut chance);
        let place = format!("seed {seed}: {}", file.display());
        subject.worker.restart().await.unwrap();
        subject.wait_for_tick(now()).await;
        assert_eq!(subject.metric("vmanomaly_refits_unscheduled_total").await, 0.0, "{place}");
        assert!(subject.metric("vmanomaly_log_ticks_reread_total").await <= 1.0, "{place}");
    }
    let end = this_second() + SECOND;
    subject.wait_for_tick(end).await;
    calm.wait_for_tick(end).await;
    assert_no_gap(&subject.sent(end), first_fit, end);
    assert_eq!(subject.sent(end).difference(&calm.sent(end), 0.0), None, "seed {seed}");
    assert!(!subject.worker.process().output().contains("panicked"));
}

#[tokio::test]
async fn a_badly_damaged_folder_is_counted_and_the_scores_go_on_without_a_gap() {
    let tsdb = tsdb().await;
    let first_fit = this_second() + 3 * SECOND;
    // So long that the log has more ticks than flips can hit.
    let mut subject = Subject::start_with(&tsdb, "a", first_fit, "5s").await;
    assert!(now() < first_fit, "the worker took too long to start");
    subject.wait_for_tick(first_fit + 8 * SECOND).await;
    let seed = now().unsigned_abs();
    println!("seed {seed}");
    let mut chance = Chance::new(seed);
    for _ in 0..5 {
        subject.worker.kill();
        for _ in 0..15 {
            flip(subject.state.path(), &mut chance);
        }
        subject.worker.restart().await.unwrap();
        subject.wait_for_tick(now()).await;
        assert!(subject.damage_found().await > 0.0, "seed {seed}");
    }
    let told = |line: &Value| {
        line["level"] == "ERROR" && line["message"].as_str().is_some_and(|text| text.starts_with("damaged state: "))
    };
    subject.worker.wait_for_line("the damage", SOON, told).await.unwrap();
    let end = this_second() + SECOND;
    subject.wait_for_tick(end).await;
    assert_no_gap(&subject.sent(end), first_fit, end);
    assert!(!subject.worker.process().output().contains("panicked"));
}

#[tokio::test]
async fn jobs_that_have_lost_everything_say_so_and_begin_anew_at_once() {
    let tsdb = tsdb().await;
    // Its next start after this one is a day away.
    let first_fit = this_second() + 2 * SECOND;
    let mut subject = Subject::start(&tsdb, "a", first_fit).await;
    subject.wait_for_tick(first_fit + 2 * SECOND).await;
    subject.worker.kill();
    for file in files(subject.state.path()) {
        let length = fs::metadata(&file).unwrap().len();
        fs::write(&file, vec![0x55; usize::try_from(length).unwrap()]).unwrap();
    }
    subject.worker.restart().await.unwrap();
    subject.wait_for_tick(now() + SECOND).await;
    assert!(subject.damage_found().await > 0.0);
    assert!(!subject.worker.process().output().contains("panicked"));
}

#[tokio::test]
async fn the_first_score_comes_within_five_seconds_of_a_restart() {
    let tsdb = tsdb().await;
    let mut subject = Subject::start(&tsdb, "a", this_second() + 2 * SECOND).await;
    subject.wait_for_tick(this_second() + 4 * SECOND).await;
    let begin = Instant::now();
    let tick = this_second();
    subject.worker.restart().await.unwrap();
    subject.wait_for_tick(tick + SECOND).await;
    println!("restart to first score: {:?}", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_full_disk_stops_the_jobs_until_there_is_room_and_no_tick_is_lost() {
    let tsdb = VictoriaMetrics::start().await.unwrap();
    let (from, until) = (this_second() - 60 * SECOND, this_second() + 200 * SECOND);
    // Many series, so that the log soon needs another page.
    let input: Vec<_> = (0..300)
        .map(|number: u64| {
            let mut series = gauge("load", number, from, until, SECOND);
            series.labels.insert("number".to_owned(), number.to_string());
            series
        })
        .collect();
    tsdb.import(&input).await.unwrap();
    tsdb.everything_visible().await.unwrap();
    let proxy = FaultProxy::start(tsdb.address()).await.unwrap();
    let url = proxy.url();
    let config = format!(
        "
schedulers:
  s: {{class: periodic, fit_window: 30s, fit_every: 1d, infer_every: 1s}}
models:
  zscore: {{class: zscore_online, queries: all, schedulers: all}}
reader: {{datasource_url: '{url}', sampling_period: 1s, queries: {{load: {{expr: load}}}}}}
writer: {{datasource_url: '{url}'}}
settings: {{settle: 5ms, catch_up_delay: 1s, snapshot_interval: 1s, n_workers: 1}}
"
    );
    // A small disk of its own, in a mount namespace of its own; needs no privileges where users may have namespaces.
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().display().to_string();
    let mount = "mount -t tmpfs -o size=2m tmpfs \"$0\" && exec \"$@\"";
    let launcher = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, &folder];
    let setup = WorkerSetup {
        config,
        arguments: vec![format!("--stateFolder={folder}")],
        launcher: launcher.map(str::to_owned).to_vec(),
        ..WorkerSetup::default()
    };
    let mut worker = Worker::start(setup).await.unwrap();
    worker.wait_for_tick(now() + SECOND, 1, SOON).await.unwrap();

    // The process' root, seen from outside, has its mounts.
    let inside = PathBuf::from(format!("/proc/{}/root{folder}", worker.process().id()));
    let ballast = inside.join("ballast");
    let mut file = fs::File::create(&ballast).unwrap();
    while file.write_all(&[0; 1024]).is_ok() {}
    let stands_still = |status: &Value| {
        let job = &status["jobs"][0];
        let error = job["last_error"].as_str().unwrap_or_default();
        (job["phase"] == "standing_still" && error.contains("input log cannot be written")).then_some(())
    };
    worker.wait_for_status("a job that stands still", SOON, stands_still).await.unwrap();
    worker.wait_for_metric("vmanomaly_log_append_errors_total", &[], SOON, |count| count > 0.0).await.unwrap();
    let told = |line: &Value| {
        line["job"] == "s/load"
            && line["reason"].as_str().is_some_and(|reason| reason.contains("input log cannot be written"))
    };
    worker.wait_for_line("the full disk", SOON, told).await.unwrap();

    fs::remove_file(&ballast).unwrap();
    drop(file);
    let end = this_second() + SECOND;
    worker.wait_for_tick(end, 1, SOON).await.unwrap();
    let scores = Scores::of(&proxy.imported(), "default").within(0, end);
    let times: Vec<i64> = scores.times("for", "load").into_iter().collect();
    assert!(times.len() > 3 && times.windows(2).all(|pair| pair[1] - pair[0] == SECOND), "{times:?}");
    assert_eq!(scores.rewritten(), None);
    let fits = worker.metrics().await.unwrap().sum("vmanomaly_fits_total", &[]);
    assert_eq!(fits, Some(1.0));
    assert!(!worker.process().output().contains("panicked"));
}
