//! The workers of one deployment, each on a loopback address of its own; this program plays the operator.

use std::collections::BTreeMap;
use std::time::Duration;

use ::tests::load::{HISTORY_SECONDS, METRIC};
use ::tests::measure::{Failure, until};
use ::tests::process::free_port;
use ::tests::victoria_metrics::VictoriaMetrics;
use ::tests::worker::{Worker, WorkerSetup};
use serde_json::Value;
use tempfile::TempDir;

/// How often workers renew their status. Asking more often would cost them what is to be measured.
const STATUS: Duration = Duration::from_millis(500);

/// Shard and rank.
pub type Identity = (u32, u32);

/// What all workers have in common.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    pub model: &'a str,
    pub series: usize,
    pub infer_every: i64,
    /// Keys of the writer besides the URL.
    pub writer: &'a str,
}

/// Running workers.
pub struct Deployment {
    folder: TempDir,
    /// Of the listeners for other workers.
    port: u16,
    config: String,
    pub workers: BTreeMap<Identity, Worker>,
}

impl Deployment {
    /// Without workers yet.
    pub fn new(tsdb: &VictoriaMetrics, settings: Settings<'_>) -> Result<Self, Failure> {
        let Settings { model, series, infer_every, writer } = settings;
        let url = tsdb.url();
        // Shards have an equal part of it each, and not exactly equal numbers of series.
        let limit = 2 * series;
        let config = format!(
            "schedulers:\n  s: {{class: periodic, fit_window: {HISTORY_SECONDS}s, fit_every: 1000d, infer_every: {infer_every}s}}\n\
             models:\n  m: {{class: {model}, queries: all, schedulers: all}}\n\
             reader:\n  datasource_url: {url}\n  sampling_period: {infer_every}s\n  series_limit: {limit}\n  \
             queries:\n    q: {{expr: {METRIC}}}\n\
             writer: {{datasource_url: '{url}', {writer}}}\n\
             settings:\n  settle: 1s\n"
        );
        let folder = tempfile::Builder::new().prefix("replica-figures-").tempdir()?;
        std::fs::write(folder.path().join("token"), "shared-by-all\n")?;
        Ok(Self { folder, port: free_port()?, config, workers: BTreeMap::new() })
    }

    /// Writes the file that all workers watch: `layout`, and how they reach each other.
    pub fn write_topology(&self, layout: &str) -> Result<(), Failure> {
        let (port, token) = (self.port, self.folder.path().join("token"));
        let place = format!("127.78.{{shard}}.{{rank}}:{port}");
        let peers = format!("peers: {{url: 'http://{place}', listen: '{place}', token_file: {}}}", token.display());
        self.write_topology_file(&format!("{layout}\n{peers}\n"))
    }

    /// The same without a way to each other.
    pub fn write_topology_of_strangers(&self, layout: &str) -> Result<(), Failure> {
        self.write_topology_file(layout)
    }

    fn write_topology_file(&self, text: &str) -> Result<(), Failure> {
        let (new, file) = (self.folder.path().join("new"), self.folder.path().join("topology.yaml"));
        std::fs::write(&new, text)?;
        Ok(std::fs::rename(new, file)?)
    }

    /// Starts these workers on the topology that was written last.
    pub async fn add(&mut self, identities: impl IntoIterator<Item = Identity>) -> Result<(), Failure> {
        for (shard, rank) in identities {
            let state = self.folder.path().join(format!("state-{shard}-{rank}"));
            let arguments = vec![
                format!("--topology={}", self.folder.path().join("topology.yaml").display()),
                format!("--stateFolder={}", state.display()),
                format!("--shard={shard}"),
                format!("--rank={rank}"),
                "--watch".to_owned(),
                "--configCheckInterval=1s".to_owned(),
            ];
            let setup = WorkerSetup { config: self.config.clone(), arguments, ..WorkerSetup::default() };
            self.workers.insert((shard, rank), Worker::start(setup).await?);
        }
        Ok(())
    }

    /// A worker that was added.
    pub fn get(&mut self, identity: Identity) -> Result<&mut Worker, Failure> {
        let (shard, rank) = identity;
        let missing = || Failure::Unexpected(format!("there is no worker {shard} of rank {rank}"));
        self.workers.get_mut(&identity).ok_or_else(missing)
    }

    /// Processor time of each worker so far.
    pub fn cpu(&self) -> Result<BTreeMap<Identity, Duration>, Failure> {
        self.workers.iter().map(|(identity, worker)| Ok((*identity, worker.process().cpu_time()?))).collect()
    }

    /// The sum of a metric over all workers; 0 where it is not there.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> Result<f64, Failure> {
        let mut sum = 0.0;
        for worker in self.workers.values() {
            sum += worker.metrics().await?.sum(name, labels).unwrap_or(0.0);
        }
        Ok(sum)
    }

    /// Waits until each of these workers has written a tick after `last`; brings the newest that all of them have.
    pub async fn tick_after(&self, last: i64, identities: &[Identity]) -> Result<i64, Failure> {
        let tick = async || {
            let mut ticks = Vec::new();
            for identity in identities {
                let status = self.workers.get(identity)?.status().await.ok()?;
                ticks.push(status["jobs"][0]["last_written_tick_ms"].as_i64()?);
            }
            ticks.into_iter().min().filter(|tick| *tick > last)
        };
        until(tick, "a tick", STATUS).await.map_err(|failure| self.explained(&failure))
    }

    /// Waits, as the operator does, until every worker has followed the topology of this epoch and no series is on its
    /// way any more.
    pub async fn followed(&self, epoch: u64) -> Result<(), Failure> {
        let followed = |status: &Value| {
            let jobs = status["jobs"].as_array()?;
            let done = |job: &Value| job["epoch"] == epoch && job["open_handovers"].as_u64().is_none();
            (status["epoch"] == epoch && !jobs.is_empty() && jobs.iter().all(done)).then_some(())
        };
        let all = async || {
            for worker in self.workers.values() {
                followed(&worker.status().await.ok()?)?;
            }
            Some(())
        };
        let pause = Duration::from_millis(50);
        until(all, "the end of the hand-over", pause).await.map_err(|failure| self.explained(&failure))
    }

    fn explained(&self, failure: &Failure) -> Failure {
        let logs = self
            .workers
            .iter()
            .map(|((shard, rank), worker)| format!("\nshard {shard}, rank {rank}:\n{}", worker.process().last_lines()));
        Failure::Unexpected(format!("{failure}; the workers' last lines:{}", logs.collect::<String>()))
    }
}
