//! A world for the loop: everything outside it is decided by seeds.

#![expect(clippy::expect_used, reason = "the world of a test fails by panicking")]

pub mod chance;
mod clock;
mod database;
pub mod deployment;
mod drive;
mod network;
pub mod shortening;

use std::{
    cell::Cell,
    collections::BTreeMap,
    future::Future,
    num::NonZeroU32,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context as TaskContext, Poll, Wake, Waker},
};

use chance::Chance;
use clock::VirtualClock;
use config::topology::Topology;
use database::Database;
use tokio::sync::mpsc;
use worker::{
    context::{Context, Environment, Storage},
    disk::memory::Memory,
    environment::Alone,
    metrics::Metrics,
    peers::Place,
    plan,
    worker::{Command, Worker, history},
};

/// The loop's four traits in this world.
pub struct Simulated;

impl Environment for Simulated {
    type Clock = VirtualClock;
    type Disk = Memory;
    type Tsdb = Database;
    type Peers = Alone;
}

/// What goes wrong in a run.
pub struct Disturbance {
    seed: Option<u64>,
}

impl Disturbance {
    pub fn none() -> Self {
        Self { seed: None }
    }

    pub fn from_seed(seed: u64) -> Self {
        Self { seed: Some(seed) }
    }
}

/// What was written: the value's bits by series and time.
pub type Written = BTreeMap<(String, i64), u64>;

/// The result of a run.
pub struct Outcome {
    pub crashes: u64,
    pub outages: u64,
    pub steps: u64,
    pub rewritten_with_other_values: u64,
    pub unscheduled_refits: u64,
    /// How often the most frequent read of a tick was made.
    pub most_reads: u64,
    written: Written,
}

impl Outcome {
    pub fn scores(&self) -> usize {
        self.written.keys().filter(|(series, _)| series.starts_with("anomaly_score{")).count()
    }

    /// Everything that was written, as bits.
    pub fn written(&self) -> &Written {
        &self.written
    }

    pub fn join(&mut self, other: Self) {
        self.written.extend(other.written);
    }

    /// The first series and time, up to the earlier end, that only one of this run and `written` has.
    pub fn difference_of_times(&self, written: &Written) -> Option<String> {
        self.first_difference(written, |_| 0)
    }

    /// The first sample, up to the earlier end, that differs between this run and `written`.
    pub fn difference(&self, written: &Written) -> Option<String> {
        self.first_difference(written, |value| value)
    }

    fn first_difference(&self, written: &Written, value: impl Fn(u64) -> u64) -> Option<String> {
        // Outages may delay the end of a run, but not its scores.
        let last = |written: &Written| written.keys().map(|(_, time)| *time).max().unwrap_or(0);
        let end = last(written).min(last(&self.written));
        if last(&self.written) - end >= 20 * MINUTE {
            return Some(format!("it ended {} ms early", last(&self.written) - end));
        }
        let until = |written: &Written| -> Written {
            let until_end = written.iter().filter(|((_, time), _)| *time <= end);
            until_end.map(|(key, bits)| (key.clone(), value(*bits))).collect()
        };
        let (found, wanted) = (until(written), until(&self.written));
        let only_in = |these: &Written, others: &Written| -> Vec<(String, i64)> {
            these.keys().filter(|key| !others.contains_key(*key)).cloned().collect()
        };
        let differs = |(key, bits): &(&(String, i64), &u64)| found.get(*key).is_some_and(|other| other != *bits);
        let kinds = [
            ("are missing", only_in(&wanted, &found)),
            ("should not be there", only_in(&found, &wanted)),
            ("have other values", wanted.iter().filter(differs).map(|(key, _)| key.clone()).collect()),
        ];
        let described = kinds.iter().filter_map(|(what, keys)| {
            let times = keys.iter().map(|(_, time)| time - START);
            let (first, last) = (times.clone().min()?, times.max()?);
            let example = keys.iter().find(|(_, time)| time - START == first)?;
            if deployment::trace::is_on() {
                let mut by_series: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
                keys.iter().for_each(|(series, time)| by_series.entry(series).or_default().push(time - START));
                by_series.iter().for_each(|(series, times)| eprintln!("samples {what}: {series} at {times:?}"));
            }
            Some(format!("{} samples {what}, from +{first} ms to +{last} ms, such as {}", keys.len(), example.0))
        });
        let described: Vec<String> = described.collect();
        (!described.is_empty()).then(|| described.join("; "))
    }

    /// By time, whether everything that the scheduler wrote is the same as in `other`.
    pub fn equal_times(&self, other: &Self, scheduler: &str) -> BTreeMap<i64, bool> {
        let mut equal = BTreeMap::new();
        for (key, value) in self.written.iter().filter(|((series, _), _)| series.contains(scheduler)) {
            *equal.entry(key.1).or_insert(true) &= other.written.get(key) == Some(value);
        }
        equal
    }

    pub fn assert_same_scores(&self, expected: &Self, seed: u64) {
        assert_eq!(expected.difference(&self.written), None, "seed {seed}");
    }
}

/// One deployment of one worker.
pub struct World {
    clock: VirtualClock,
    database: Database,
    disk: Memory,
    shard: u32,
    shards: u32,
    config: String,
}

pub const MINUTE: i64 = 60_000;
pub const START: i64 = 1_700_000_040_000;

const CONFIG: &str = r#"
schedulers:
  minutely: {class: periodic, fit_every: 17m, fit_window: 2h, infer_every: 1m, fit_lag: 2m}
  slow: {class: periodic, fit_every: 40m, fit_window: 1h, infer_every: 3m, fit_lag: 3m}
models:
  zscore: {class: zscore_online, z_threshold: 2.5, schedulers: [minutely], queries: [cpu]}
  mad: {class: mad_online, threshold: 3, decay: 0.99, schedulers: all, queries: all}
  calibrated: {class: calibrated, schedulers: [minutely], queries: [cpu]}
reader:
  class: vm
  datasource_url: http://tsdb:8428
  sampling_period: 30s
  queries:
    cpu: {expr: 'rate(cpu[2m])', tz: Europe/Berlin, false_alarms_per_day: 40}
    memory: {expr: memory, step: 1m, offset: -30s}
writer: {class: vm, datasource_url: 'http://tsdb:8428'}
settings: {retention: {ttl: 10m, check_interval: 3m}, snapshot_interval: 4m, settle: 10s, handover_timeout: 2h}
"#;

/// Models of groups, each of two series of two queries; beside them one of single series.
pub const MULTIVARIATE: &str = r#"
schedulers:
  minutely: {class: periodic, fit_every: 17m, fit_window: 2h, infer_every: 1m, fit_lag: 2m}
models:
  envelope: {class: temporal_envelope_multivariate, groupby: [instance], min_n_samples_seen: 4, seasonalities: [hod_smooth],
    schedulers: all, queries: all, provide_series: [anomaly_score, yhat]}
  forest: {class: isolation_forest_multivariate, groupby: [instance], contamination: 0.1, args: {n_estimators: 10},
    schedulers: all, queries: all}
  mad: {class: mad_online, schedulers: all, queries: [memory]}
reader:
  class: vm
  datasource_url: http://tsdb:8428
  sampling_period: 30s
  queries: {cpu: {expr: 'rate(cpu[2m])'}, memory: {expr: memory}}
writer: {class: vm, datasource_url: 'http://tsdb:8428'}
settings: {retention: {ttl: 10m, check_interval: 3m}, snapshot_interval: 4m, settle: 10s, handover_timeout: 2h}
"#;

impl World {
    pub fn new(seed: u64) -> Self {
        let clock = VirtualClock::new(START);
        Self {
            database: Database::new(seed, clock.clone()),
            clock,
            disk: Memory::new(),
            shard: 0,
            shards: 1,
            config: CONFIG.to_owned(),
        }
    }

    /// With [`MULTIVARIATE`] models.
    pub fn multivariate(mut self) -> Self {
        self.config = MULTIVARIATE.to_owned();
        self
    }

    /// The TSDB answers the same read otherwise each time.
    pub fn shifting(mut self) -> Self {
        self.database = self.database.shifting();
        self
    }

    /// A fit of the job `minutely` takes over so many minutes after its end.
    pub fn fit_lag(mut self, minutes: u32) -> Self {
        self.config = self.config.replace("fit_lag: 2m", &format!("fit_lag: {minutes}m"));
        self
    }

    pub fn shard(mut self, shard: u32, shards: u32) -> Self {
        (self.shard, self.shards) = (shard, shards);
        self
    }

    /// Runs the worker for `duration` ms of virtual time.
    pub fn run(self, disturbance: &Disturbance, duration: i64) -> Outcome {
        let mut chance = Chance::new(disturbance.seed.unwrap_or(0));
        let end = START + duration;
        let mut outcome = Outcome {
            crashes: 0,
            outages: 0,
            steps: 0,
            rewritten_with_other_values: 0,
            unscheduled_refits: 0,
            most_reads: 0,
            written: BTreeMap::new(),
        };
        // The first fit is the same in every run: it comes before anything goes wrong.
        let mut next_outage = START + 6 * MINUTE;
        while self.clock.unix() < end {
            let life = match disturbance.seed {
                // The last life is undisturbed, so that it can catch up.
                Some(_) if self.clock.unix() < end - 30 * MINUTE => {
                    if chance.below(3) == 0 && self.clock.unix() > START {
                        self.disk.crash_at(self.disk.operations() + 1 + chance.below(60));
                    }
                    let at_least = if self.clock.unix() == START { 6 * MINUTE } else { 1_000 };
                    at_least + chance.below(15 * 60_000) as i64
                }
                _ => end - self.clock.unix(),
            };
            let until = (self.clock.unix() + life).min(end);
            let metrics = Arc::new(Metrics::new("default", "test", START).expect("metrics"));
            let (commands, receiver) = mpsc::unbounded_channel();
            let mut running: Pin<Box<dyn Future<Output = ()>>> = Box::pin(self.worker(metrics.clone(), receiver));
            let woken = Arc::new(Woken(AtomicBool::new(true)));
            let waker = Waker::from(woken.clone());
            let dead = Cell::new(false);
            while self.clock.unix() < until && !dead.get() {
                let disturbed = disturbance.seed.is_some() && self.clock.unix() < end - 30 * MINUTE;
                if !disturbed {
                    self.clock.set_ahead(0);
                } else if self.clock.unix() > next_outage {
                    let kind = chance.below(4);
                    let length = 500 + chance.below(4 * 60_000) as i64;
                    self.database.disturb(kind, self.clock.unix() + length);
                    next_outage = self.clock.unix() + length + 60_000 + chance.below(10 * 60_000) as i64;
                    outcome.outages += 1;
                    // Somebody sets the worker's own clock, and sets it right again later.
                    self.clock.set_ahead([0, 0, 26 * 60 * MINUTE, 40_000, -7 * MINUTE][chance.below(5) as usize]);
                }
                if woken.0.swap(false, Ordering::Relaxed) {
                    outcome.steps += 1;
                    if running.as_mut().poll(&mut TaskContext::from_waker(&waker)) == Poll::Ready(()) {
                        dead.set(true);
                    }
                } else if !self.clock.advance() {
                    panic!("the worker waits for nothing");
                }
                dead.set(dead.get() || self.disk.is_crashed());
            }
            drop(running);
            drop(commands);
            outcome.unscheduled_refits += metrics
                .encode()
                .expect("metrics")
                .lines()
                .filter(|line| line.starts_with("vmanomaly_refits_unscheduled_total{") && !line.ends_with(" 0"))
                .count() as u64;
            if self.clock.unix() < end {
                outcome.crashes += 1;
                self.disk.crash(chance.next());
                self.clock.wait_for(chance.below(3 * 60_000) as i64);
            }
        }
        (outcome.written, outcome.rewritten_with_other_values) = self.database.written();
        outcome.most_reads = self.database.most_reads(START..end);
        outcome
    }

    fn worker(
        &self,
        metrics: Arc<Metrics>,
        commands: mpsc::UnboundedReceiver<Command<Simulated>>,
    ) -> impl Future<Output = ()> + use<> {
        let (clock, database, disk) = (self.clock.clone(), self.database.clone(), self.disk.clone());
        let (shard, shards, config) = (self.shard, self.shards, self.config.clone());
        async move {
            let source = config::load::Source::new("worker.yaml", config);
            let config = config::load::load(&[source], &|_| None, 2).expect("configuration").config;
            let topology = Topology { shards: NonZeroU32::new(shards).expect("shards"), ..Topology::default() };
            let jobs = plan::plan(&config, &topology, shard).expect("plan");
            // An unusable disk ends the life of the worker, as it would end the process.
            let Ok((storage, recovered, restored)) = Storage::open(Rc::new(disk)).await else { return };
            let context = Context::new(clock, database, (Alone, Place::default()), Some(storage), metrics, &config);
            Worker::new(context, commands).run(jobs, history(recovered, restored)).await;
        }
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
