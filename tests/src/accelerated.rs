//! The worker's own loop over data of the past, in this process and faster than time: with the production client of
//! the time series database and the production state folder, but a clock that begins in the past and runs fast.

use std::cell::{OnceCell, RefCell};
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use config::load::Source;
use config::problem::ConfigErrors;
use config::status::JobStatus;
use config::topology::Topology;
use tokio::sync::mpsc;
use worker::context::{Context, Environment, Storage, StorageError};
use worker::disk::file_system::{FileSystem, OpenError};
use worker::environment::{Alone, Clock, RangeAnswer, RangeRead, ReadError, Stopwatch, Tsdb, WriteError};
use worker::labels::Labels;
use worker::metrics::{Metrics, MetricsError};
use worker::peers::Place;
use worker::plan::{PlanError, plan};
use worker::tsdb::{ClientError, HttpTsdb};
use worker::worker::{Command, Worker, history};

use crate::process::START;
use crate::series::{Series, parse_export};

/// A clock that stands at `start` until somebody first sleeps, so that all jobs of a worker begin at `start`; from then
/// on it runs `factor` times as fast as real time, and it stops at `end`, so that nothing after `end` becomes due.
#[derive(Debug, Clone)]
pub struct AcceleratedClock {
    start: i64,
    end: i64,
    factor: f64,
    origin: OnceCell<Instant>,
}

impl AcceleratedClock {
    /// From `start` to `end`, both unix ms. `factor` is above 0.
    #[must_use]
    pub fn new(start: i64, end: i64, factor: f64) -> Self {
        Self { start, end, factor, origin: OnceCell::new() }
    }
}

impl Clock for AcceleratedClock {
    fn now(&self) -> i64 {
        let passed = i64::try_from(self.monotonic().as_millis()).unwrap_or(i64::MAX);
        self.start.saturating_add(passed).min(self.end)
    }

    /// Runs on after `end`.
    fn monotonic(&self) -> Duration {
        let real = self.origin.get().map_or(Duration::ZERO, Instant::elapsed);
        real.mul_f64(self.factor)
    }

    async fn sleep(&self, duration: Duration) {
        self.origin.get_or_init(Instant::now);
        tokio::time::sleep(duration.div_f64(self.factor)).await;
    }

    /// Computations are not accelerated.
    fn stopwatch(&self) -> Stopwatch {
        let origin = Instant::now();
        Arc::new(move || origin.elapsed())
    }
}

/// A database that keeps what it accepted, byte for byte: VictoriaMetrics itself rounds what it stores.
struct Recorded {
    inner: HttpTsdb,
    accepted: Rc<RefCell<Vec<Bytes>>>,
}

impl Tsdb for Recorded {
    async fn read(
        &self,
        read: &RangeRead<'_>,
        keep: &mut dyn FnMut(&Labels) -> bool,
    ) -> Result<RangeAnswer, ReadError> {
        self.inner.read(read, keep).await
    }

    async fn server_time(&self) -> Result<Option<i64>, ReadError> {
        self.inner.server_time().await
    }

    async fn write(&self, body: Bytes) -> Result<(), WriteError> {
        self.inner.write(body.clone()).await?;
        self.accepted.borrow_mut().push(body);
        Ok(())
    }
}

struct Accelerated;

impl Environment for Accelerated {
    type Clock = AcceleratedClock;
    type Disk = FileSystem;
    type Tsdb = Recorded;
    type Peers = Alone;
}

/// Which worker runs, and over which time.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// Its YAML.
    pub config: &'a str,
    /// Its shard, below `shards`.
    pub shard: u32,
    /// Number of shards.
    pub shards: NonZeroU32,
    /// Where its clock begins, unix ms.
    pub start: i64,
    /// Where its clock stops, unix ms.
    pub end: i64,
    /// How much faster than real time its clock runs. A worker that cannot follow runs as fast as it can; its
    /// configuration should then have a `max_catch_up` of the whole time.
    pub factor: f64,
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// Everything that the database accepted, as JSON lines of `/api/v1/import`; see [`written`].
    pub accepted: Vec<u8>,
    /// The last status of every job.
    pub jobs: Vec<JobStatus>,
    /// The worker's metrics, as text.
    metrics: String,
}

impl Outcome {
    /// The sum over all series of a metric of the worker; 0 if there is none.
    #[must_use]
    pub fn metric(&self, name: &str) -> f64 {
        self.metric_of(name, &[])
    }

    /// The same over the series with these labels.
    #[must_use]
    pub fn metric_of(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let lines = self.metrics.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let is_wanted = rest.starts_with([' ', '{']) && wanted.iter().all(|label| rest.contains(label));
            is_wanted.then_some(rest.rsplit_once(' ')?.1)
        });
        lines.filter_map(|value| value.parse::<f64>().ok()).sum()
    }
}

/// Accepted lines as series, bit for bit, sorted by labels and time. A sample that was sent twice is there twice.
///
/// # Errors
/// When they are no lines of `/api/v1/import`.
pub fn written(accepted: &[u8]) -> Result<Vec<Series>, RunError> {
    parse_export(accepted).map_err(RunError::Written)
}

/// Why a run has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The YAML is wrong.
    #[error("{0}")]
    Config(ConfigErrors),
    /// There is no such shard.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The client cannot be set up.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The state folder cannot be used.
    #[error(transparent)]
    Folder(#[from] OpenError),
    /// What is in the state folder cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// There is no temporary folder.
    #[error("no temporary folder: {0}")]
    Io(#[from] std::io::Error),
    /// The metrics cannot be registered.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// What was written is no import body.
    #[error("an accepted body is no JSON lines: {0}")]
    Written(String),
    /// A job does not reach its end.
    #[error("no tick for {after:?} of real time, and not at its end: {job:?}")]
    Late {
        /// How long no job wrote a tick.
        after: Duration,
        /// The job's status.
        job: Box<JobStatus>,
    },
}

/// Runs a worker with a state folder of its own until every job has written its last tick, then stops it as a signal does.
/// Needs a current-thread runtime.
///
/// # Errors
/// When it cannot start, or no job writes a tick for [`START`] of real time.
pub async fn run(run: Run<'_>) -> Result<Outcome, RunError> {
    // Fails when another test of this process has done it already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let source = Source::new("worker.yaml", run.config);
    let config = config::load::load(&[source], &|_| None, 2).map_err(RunError::Config)?.config;
    let topology = Topology { shards: run.shards, ..Topology::default() };
    let jobs = plan(&config, &topology, run.shard)?;
    let last_tick = |infer_every: i64| (run.end - config.settings.settle).div_euclid(infer_every) * infer_every;
    let wanted: Vec<(String, i64)> = jobs.iter().map(|job| (job.key(), last_tick(job.scheduler.infer_every))).collect();

    let folder = tempfile::Builder::new().prefix("accelerated-").tempdir()?;
    let (storage, recovered, restored) = Storage::open(Rc::new(FileSystem::open(folder.path())?)).await?;
    let metrics = Arc::new(Metrics::new(&config.preset, "test", run.start)?);
    let accepted = Rc::new(RefCell::default());
    let tsdb = Recorded { inner: HttpTsdb::new(&config.reader, &config.writer)?, accepted: Rc::clone(&accepted) };
    let clock = AcceleratedClock::new(run.start, run.end, run.factor);
    let (context, spawned) = Context::<Accelerated>::new(
        clock,
        tsdb,
        (Alone, Place::default()),
        Some(storage),
        Arc::clone(&metrics),
        &config,
    );
    let (commands, receiver) = mpsc::unbounded_channel();
    let worker = Worker::new((Rc::clone(&context), spawned), receiver).run(jobs, history(recovered, restored));
    let supervisor = async {
        let outcome = until_written(&context, &wanted).await;
        // Nobody receives only when the worker has ended already.
        let _ = commands.send(Command::Stop);
        outcome
    };
    let ((), reached) = tokio::join!(worker, supervisor);
    let jobs = context.views.borrow().values().map(|view| view.status().clone()).collect();
    reached?;
    let bodies: Vec<Bytes> = accepted.take();
    Ok(Outcome { accepted: bodies.concat(), jobs, metrics: metrics.encode()? })
}

/// Waits until every job has written the tick that is wanted of it.
async fn until_written(context: &Context<Accelerated>, wanted: &[(String, i64)]) -> Result<(), RunError> {
    let mut progress = (Vec::new(), Instant::now());
    loop {
        let jobs: Vec<JobStatus> = {
            let views = context.views.borrow();
            // Before the worker was polled for the first time it has no jobs.
            let views = wanted.iter().filter_map(|(job, _)| views.get(job));
            views.map(|view| view.status().clone()).collect()
        };
        let positions: Vec<Option<i64>> = jobs.iter().map(|job| job.last_written_tick_ms).collect();
        let is_late =
            |(written, (_, wanted)): (&Option<i64>, &(String, i64))| written.is_none_or(|written| written < *wanted);
        let late = positions.iter().zip(wanted).position(is_late);
        if late.is_none() && jobs.len() == wanted.len() {
            return Ok(());
        }
        if progress.0 != positions {
            progress = (positions, Instant::now());
        }
        if let Some(job) = late
            && progress.1.elapsed() > START
        {
            let job = Box::new(jobs[job].clone());
            return Err(RunError::Late { after: START, job });
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The worst relative difference of what the database returns to what it accepted, sample by sample.
///
/// VictoriaMetrics keeps decimal numbers of some 12 digits with one exponent for a block of a series, so the difference is
/// relative to the largest value of the series.
///
/// # Errors
/// When the series or their times are not the same; names the first difference.
pub fn worst_rounding(written: &[Series], stored: &[Series]) -> Result<f64, String> {
    if written.len() != stored.len() {
        return Err(format!("{} series were written, {} are stored", written.len(), stored.len()));
    }
    let mut worst: f64 = 0.0;
    for (written, stored) in written.iter().zip(stored) {
        let times = |series: &Series| series.samples.iter().map(|sample| sample.time).collect();
        let (wanted, found): (Vec<i64>, Vec<i64>) = (times(written), times(stored));
        if written.labels != stored.labels || wanted != found {
            return Err(format!(
                "{} samples of {:?} were written, {} of {:?} are stored",
                wanted.len(),
                written.labels,
                found.len(),
                stored.labels
            ));
        }
        let values = || written.samples.iter().map(|sample| sample.value);
        let largest = values().fold(f64::MIN_POSITIVE, |largest, value| largest.max(value.abs()));
        for (value, stored) in values().zip(&stored.samples) {
            worst = worst.max((value - stored.value).abs() / largest);
        }
    }
    Ok(worst)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_clock_stands_until_somebody_sleeps_then_runs_fast_and_stops_at_its_end() {
        let clock = AcceleratedClock::new(1_000, 101_000, 1e4);
        assert_eq!((clock.now(), clock.monotonic()), (1_000, Duration::ZERO));
        clock.sleep(Duration::from_secs(30)).await;
        assert!(clock.now() >= 31_000);
        clock.sleep(Duration::from_secs(100)).await;
        assert_eq!(clock.now(), 101_000);
        assert!(clock.monotonic() >= Duration::from_secs(130));
    }

    #[test]
    fn what_is_not_stored_is_named_and_rounding_is_measured() {
        let written = [Series::new("y", &[], [(1, 3.0), (2, 1.0)])];
        let stored = |samples: &[(i64, f64)]| [Series::new("y", &[], samples.iter().copied())];
        assert_eq!(worst_rounding(&written, &stored(&[(1, 3.0), (2, 1.75)])), Ok(0.25));
        assert!(worst_rounding(&written, &[]).is_err());
        let message = worst_rounding(&written, &stored(&[(1, 3.0)])).unwrap_err();
        assert!(message.starts_with("2 samples of {\"__name__\": \"y\"}"));
    }
}
