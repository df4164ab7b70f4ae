//! What all jobs of a worker share.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use backon::BackoffBuilder;
use config::contract::RELEASE;
use futures_util::future::LocalBoxFuture;
use tokio::sync::{Semaphore, mpsc};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    alarms::AlarmBoard,
    environment::{Clock, Disk, Peers, Tsdb},
    input_log::{InputLog, LogError, LogOptions, Recovered},
    job::JobView,
    metrics::Metrics,
    peers::{Answer, Place, Request, Rules, journal::Journal},
    plan::JobPlan,
    readers::serving::Readers,
    server_time::ServerTime,
    snapshot::{Restored, SnapshotError, SnapshotStore},
};

/// The four traits together.
pub trait Environment: 'static {
    /// Time.
    type Clock: Clock;
    /// The state folder.
    type Disk: Disk + 'static;
    /// The time series database.
    type Tsdb: Tsdb;
    /// The other ranks.
    type Peers: Peers;
}

/// Everything that jobs share.
pub struct Context<E: Environment> {
    /// Time.
    pub clock: E::Clock,
    /// The time series database; a reload may put another one here.
    tsdb: RefCell<Rc<E::Tsdb>>,
    /// The other workers.
    pub peers: E::Peers,
    /// Which worker this one is.
    pub place: Cell<Place>,
    /// Digest of the release that this process runs.
    pub release: Cell<u64>,
    /// What ranks keep to among themselves.
    pub rules: Cell<Rules>,
    /// Tells runs of this process apart.
    incarnation: u64,
    /// The state folder, if there is one.
    pub storage: Option<Storage<E::Disk>>,
    /// Self-monitoring.
    pub metrics: Arc<Metrics>,
    /// What is above a score of 1.
    pub alarms: Arc<AlarmBoard>,
    /// The settings in force.
    pub settings: RefCell<config::worker::Settings>,
    /// One permit for each concurrent read.
    pub reads: Semaphore,
    /// One permit for each concurrent fit.
    pub fits: Semaphore,
    /// The TSDB's clock.
    pub server_time: RefCell<ServerTime>,
    /// Whether the TSDB has said that it sends no `Date`.
    pub without_server_time: Cell<bool>,
    /// The TSDB hides samples that are not older than this, ms.
    hidden: Cell<i64>,
    /// Largest body of a write.
    pub max_request_bytes: Cell<usize>,
    /// Which ranks write.
    pub writing: Cell<Writing>,
    /// Base URLs of reader and writer, for metrics.
    pub urls: RefCell<Urls>,
    /// What is read for other shards, and pulled from them.
    pub readers: RefCell<Readers>,
    /// The faces of all jobs, by name.
    pub views: RefCell<BTreeMap<String, Rc<JobView>>>,
    spawned: mpsc::UnboundedSender<LocalBoxFuture<'static, ()>>,
}

/// Which ranks of a shard write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Writing {
    /// All of them, or one.
    pub mode: config::worker::WriterMode,
    /// How long a rank waits for the one before it, ms; absent: as the schedule has it.
    pub failover_after: Option<i64>,
}

/// Base URLs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Urls {
    /// Reads.
    pub reader: String,
    /// Writes.
    pub writer: String,
}

/// The state folder's two parts.
pub struct Storage<D: Disk> {
    /// Accepted input.
    pub log: InputLog<D>,
    /// Learnt states.
    pub snapshots: SnapshotStore<D>,
}

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The input log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The snapshots.
    #[error(transparent)]
    Snapshots(#[from] SnapshotError),
}

impl<D: Disk> Storage<D> {
    /// Opens the state folder and reads back what a former process left.
    ///
    /// # Errors
    /// When the folder cannot be read or written, or is of a newer version.
    pub async fn open(disk: Rc<D>) -> Result<(Self, Recovered, Restored), StorageError> {
        let (snapshots, restored) = SnapshotStore::open(disk.clone()).await?;
        let (log, recovered) = InputLog::open(disk, LogOptions::default()).await?;
        Ok((Self { log, snapshots }, recovered, restored))
    }
}

/// Tasks that the worker's loop has yet to start.
pub type Spawned = mpsc::UnboundedReceiver<LocalBoxFuture<'static, ()>>;

/// Concurrent fits of one worker: reading is the larger part of a fit, so a second one fills the first one's pauses.
const CONCURRENT_FITS: usize = 2;

impl<E: Environment> Context<E> {
    /// The shared part of a worker, and the receiver of its tasks.
    pub fn new(
        clock: E::Clock,
        tsdb: E::Tsdb,
        (peers, place): (E::Peers, Place),
        storage: Option<Storage<E::Disk>>,
        metrics: Arc<Metrics>,
        config: &config::worker::WorkerConfig,
    ) -> (Rc<Self>, Spawned) {
        let (spawned, tasks) = mpsc::unbounded_channel();
        let context = Self {
            incarnation: clock.now().cast_unsigned(),
            place: Cell::new(place),
            release: Cell::new(xxh3_64(RELEASE.as_bytes())),
            rules: Cell::default(),
            clock,
            tsdb: RefCell::new(Rc::new(tsdb)),
            peers,
            storage,
            metrics,
            alarms: Arc::default(),
            settings: RefCell::new(config.settings.clone()),
            reads: Semaphore::new(config.reader.workers.max(1)),
            fits: Semaphore::new(CONCURRENT_FITS),
            server_time: RefCell::default(),
            without_server_time: Cell::new(false),
            hidden: Cell::new(hidden(config)),
            max_request_bytes: Cell::new(config.writer.max_request_bytes),
            writing: Cell::new(writing(config)),
            urls: RefCell::new(urls(config)),
            readers: RefCell::default(),
            views: RefCell::default(),
            spawned,
        };
        (Rc::new(context), tasks)
    }

    /// The TSDB client in force.
    #[must_use]
    pub fn tsdb(&self) -> Rc<E::Tsdb> {
        self.tsdb.borrow().clone()
    }

    /// Puts a new configuration's client and settings in force.
    pub fn reconfigure(&self, tsdb: E::Tsdb, config: &config::worker::WorkerConfig) {
        let urls = urls(config);
        if urls.reader != self.urls.borrow().reader {
            self.server_time.take();
            self.without_server_time.set(false);
        }
        *self.tsdb.borrow_mut() = Rc::new(tsdb);
        *self.settings.borrow_mut() = config.settings.clone();
        self.hidden.set(hidden(config));
        self.max_request_bytes.set(config.writer.max_request_bytes);
        self.writing.set(writing(config));
        *self.urls.borrow_mut() = urls;
    }

    /// The face of a job that begins.
    #[must_use]
    pub fn view(&self, plan: &JobPlan) -> Rc<JobView> {
        Rc::new(JobView::new(plan, Journal::new(self.place.get().member.rank, self.incarnation)))
    }

    /// Tells runs of this process apart.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Answers another worker's request about a job.
    #[must_use]
    pub fn answer(self: &Rc<Self>, job: &str, request: &Request) -> Answer {
        let Some(view) = self.views.borrow().get(job).cloned() else { return Answer::Nothing };
        if let Request::Slice(question) = request {
            return self.slice(&view, question);
        }
        let answer = view.journal().answer(request);
        if view.has_mail() {
            view.wake();
        }
        answer
    }

    /// Starts a task beside the jobs.
    pub fn spawn(&self, task: LocalBoxFuture<'static, ()>) {
        // Nobody receives only when the worker is already gone, and its tasks with it.
        let _ = self.spawned.send(task);
    }

    /// How long a worker waits for the one before it, in writing and in reading.
    #[must_use]
    pub fn failover_after(&self, infer_every: i64) -> Duration {
        let milliseconds = self.writing.get().failover_after.unwrap_or_else(|| (2 * infer_every).max(10_000));
        Duration::from_millis(milliseconds.unsigned_abs())
    }

    /// Notes the `Date` of an answer.
    pub fn observe_server_time(&self, server_time: Option<i64>) {
        match server_time {
            Some(time) => self.server_time.borrow_mut().observe(time, self.clock.monotonic()),
            None => self.without_server_time.set(true),
        }
    }

    /// How long after its time a tick may be read: the configured time, but later than what the TSDB hides of the
    /// newest samples anyway.
    #[must_use]
    pub fn settle(&self) -> i64 {
        self.settings.borrow().settle.max(self.hidden.get())
    }

    /// The later of what must have passed: both the own clock and the TSDB's say at least this.
    #[must_use]
    pub fn agreed_now(&self) -> i64 {
        let own = self.clock.now();
        self.server_time.borrow().at(self.clock.monotonic()).map_or(own, |server| own.min(server))
    }
}

fn urls(config: &config::worker::WorkerConfig) -> Urls {
    Urls { reader: config.reader.client.url.clone(), writer: config.writer.client.url.clone() }
}

fn writing(config: &config::worker::WorkerConfig) -> Writing {
    Writing { mode: config.writer.mode, failover_after: config.writer.failover_after }
}

/// `latency_offset` blanks the samples of exactly its age, too.
fn hidden(config: &config::worker::WorkerConfig) -> i64 {
    config.reader.latency_offset.map_or(0, |offset| offset + 1)
}

/// The pauses between attempts: from 100 ms doubling to 10 s, for ever.
pub fn backoff() -> impl Iterator<Item = Duration> {
    backon::ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(10))
        .with_factor(2.0)
        .without_max_times()
        .build()
}
