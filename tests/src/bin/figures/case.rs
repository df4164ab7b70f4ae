//! One configuration of the worker: its ticks, its memory, its state folder, its restarts.

use std::path::Path;
use std::time::{Duration, Instant};

use ::tests::load::{HISTORY_SECONDS, Load, METRIC};
use ::tests::measure::{Failure, median, until};
use ::tests::process::POLL;
use ::tests::signal::now;
use ::tests::victoria_metrics::VictoriaMetrics;
use ::tests::worker::{Worker, WorkerSetup};

use crate::Arguments;
use crate::measure::{Reads, reads};

/// All five outputs, the default.
pub const ALL_OUTPUTS: &str = "anomaly_score, y, yhat, yhat_lower, yhat_upper";
/// The score alone.
pub const SCORE_ONLY: &str = "anomaly_score";

/// Ticks before the ones that are measured: in the first one the TSDB registers the output series.
const WARM_UP: usize = 2;

/// How often the worker renews its status. Asking more often would cost it what is to be measured.
const STATUS: Duration = Duration::from_millis(500);

/// What is configured.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Class of the model.
    pub model: &'static str,
    /// `provide_series`.
    pub outputs: &'static str,
    /// Whether restarts are measured.
    pub restarted: bool,
}

/// What is measured.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What the reads cost the TSDB.
    pub read: Reads,
    /// Processor time of the worker for each tick.
    pub worker_cpu: Vec<Duration>,
    /// Processor time of the TSDB for each tick, read and write.
    pub tsdb_cpu: Vec<Duration>,
    /// Resident memory of the worker after the last tick.
    pub resident_bytes: u64,
    /// The same at its highest, which is during the fit.
    pub highest_resident_bytes: u64,
    /// Resident memory of the worker that has no series yet.
    pub empty_resident_bytes: u64,
    /// Bytes written to the TSDB a tick.
    pub sent_bytes: f64,
    /// Bytes of the input log a tick.
    pub log_bytes: f64,
    /// Bytes of all snapshots.
    pub snapshot_bytes: u64,
    /// From the start of a process to the first accepted write.
    pub first_write: Vec<Duration>,
    /// From the start of a process to the end of the first tick.
    pub first_tick: Vec<Duration>,
    /// Processor time until the end of the first tick.
    pub restart_cpu: Vec<Duration>,
}

/// A worker with what is known of it.
struct Run<'a> {
    worker: Worker,
    tsdb: &'a VictoriaMetrics,
}

impl Case {
    /// For people.
    pub fn name(&self) -> String {
        let outputs = self.outputs.split(',').count();
        format!("{}, {outputs} output{}", self.model, if outputs == 1 { "" } else { "s" })
    }

    fn config(&self, arguments: &Arguments, url: &str) -> String {
        let Arguments { series, infer_every, .. } = arguments;
        let Self { model, outputs, .. } = self;
        format!(
            "schedulers:\n  s: {{class: periodic, fit_window: {HISTORY_SECONDS}s, fit_every: 1000d, infer_every: {infer_every}s}}\n\
             models:\n  m: {{class: {model}, queries: all, schedulers: all, provide_series: [{outputs}]}}\n\
             reader:\n  datasource_url: {url}\n  sampling_period: {infer_every}s\n  series_limit: {series}\n  \
             queries:\n    q: {{expr: {METRIC}}}\n\
             writer:\n  datasource_url: {url}\n\
             settings:\n  settle: 0s\n"
        )
    }

    /// Runs the worker and measures it.
    pub async fn run(&self, arguments: &Arguments, tsdb: &VictoriaMetrics, data: &Load) -> Result<Outcome, Failure> {
        let state = tempfile::Builder::new().prefix("figures-").tempdir()?;
        let path = state.path().display().to_string();
        let setup = WorkerSetup {
            config: self.config(arguments, tsdb.url()),
            environment: vec![("VMANOMALY_MODEL_DUMPS_DIR".to_owned(), path)],
            ..WorkerSetup::default()
        };
        // Right before the ticks, so that whatever else the machine does weighs on both.
        let mut outcome = Outcome { read: reads(tsdb, data).await?, ..Outcome::default() };
        let worker = Worker::start(setup).await?;
        outcome.empty_resident_bytes = worker.process().resident_bytes()?.0;
        let mut run = Run { worker, tsdb };
        run.ticks(arguments, &mut outcome).await?;
        outcome.snapshot_bytes = folder_bytes(&state.path().join("snapshot"))?;
        if self.restarted {
            for _ in 0..arguments.restarts {
                run.restart(arguments, &mut outcome).await?;
            }
        }
        Ok(outcome)
    }
}

impl Run<'_> {
    async fn ticks(&mut self, arguments: &Arguments, outcome: &mut Outcome) -> Result<(), Failure> {
        let mut last = self.tick_after(0).await?;
        for _ in 1..WARM_UP {
            last = self.tick_after(last).await?;
        }
        let sent = self.metric("vmanomaly_writer_sent_bytes_total").await?;
        let logged = self.metric("vmanomaly_log_bytes").await?;
        let mut worker = self.worker.process().cpu_time()?;
        let mut tsdb = self.tsdb.process().cpu_time()?;
        for _ in 0..arguments.ticks {
            last = self.tick_after(last).await?;
            let now = (self.worker.process().cpu_time()?, self.tsdb.process().cpu_time()?);
            outcome.worker_cpu.push(now.0 - worker);
            outcome.tsdb_cpu.push(now.1 - tsdb);
            (worker, tsdb) = now;
        }
        eprintln!("  a tick costs the worker {:?}", outcome.worker_cpu);
        let ticks = arguments.ticks as f64;
        let metric = self.metric("vmanomaly_writer_sent_bytes_total").await?;
        outcome.sent_bytes = (metric - sent) / ticks;
        outcome.log_bytes = (self.metric("vmanomaly_log_bytes").await? - logged) / ticks;
        let (now, highest) = self.worker.process().resident_bytes()?;
        (outcome.resident_bytes, outcome.highest_resident_bytes) = (now, highest);
        Ok(())
    }

    /// Kills the worker, waits until a tick is due that it has not written, and starts it again.
    async fn restart(&mut self, arguments: &Arguments, outcome: &mut Outcome) -> Result<(), Failure> {
        let last = self.tick_after(0).await?;
        self.worker.kill();
        let due = last + arguments.infer_every * 1_000;
        let wait = u64::try_from(due - now()).unwrap_or(0) + 1_000;
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let begin = Instant::now();
        self.worker.restart().await?;
        let sent = async |run: &Self| {
            let sent = run.metric("vmanomaly_writer_datapoints_sent_total").await;
            sent.ok().filter(|sent| *sent > 0.0)
        };
        until(async || sent(self).await, "the first write", POLL).await?;
        outcome.first_write.push(begin.elapsed());
        self.tick_after(last).await?;
        outcome.first_tick.push(begin.elapsed());
        outcome.restart_cpu.push(self.worker.process().cpu_time()?);
        eprintln!("  restart: first write {:?}, first tick {:?}", outcome.first_write, outcome.first_tick);
        Ok(())
    }

    /// Waits for a tick after `last` to be written, and returns it.
    async fn tick_after(&self, last: i64) -> Result<i64, Failure> {
        let tick = async || {
            let status = self.worker.status().await.ok()?;
            let tick = status["jobs"][0]["last_written_tick_ms"].as_i64()?;
            (tick > last).then_some(tick)
        };
        until(tick, "a tick", STATUS).await.map_err(|failure| {
            let log = self.worker.process().last_lines();
            Failure::Unexpected(format!("{failure}; the worker's last lines:\n{log}"))
        })
    }

    async fn metric(&self, name: &str) -> Result<f64, Failure> {
        let metrics = self.worker.metrics().await?;
        metrics.sum(name, &[]).ok_or_else(|| Failure::Unexpected(format!("the worker has no metric {name}")))
    }
}

/// Length of all files below a folder.
fn folder_bytes(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { folder_bytes(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

/// The middle of several times; zero if there are none.
pub fn middle(times: &[Duration]) -> Duration {
    median(times).unwrap_or_default()
}
