//! A deployment as processes, each on a loopback address of its own; the test plays the operator.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tests::fault_proxy::FaultProxy;
use tests::process::free_port;
use tests::scores::Scores;
use tests::signal::{gauge, this_second};
use tests::victoria_metrics::VictoriaMetrics;
use tests::worker::{Worker, WorkerSetup};

pub const SECOND: i64 = 1_000;
pub const SOON: Duration = Duration::from_secs(60);
const SERIES: u64 = 240;
/// Outputs of each series and tick, of two models.
const OUTPUTS: usize = 8;
pub const IMPORT: &str = "/api/v1/import";

/// Shard and rank.
type Identity = (u32, u32);

/// A worker with the proxy that it writes through.
pub struct Node {
    pub worker: Worker,
    pub writes: FaultProxy,
}

impl Node {
    /// What it wrote, bit for bit.
    pub fn sent(&self) -> Scores {
        Scores::of(&self.writes.imported(), "default")
    }

    pub async fn wait_for_tick(&mut self, tick: i64) {
        self.worker.wait_for_tick(tick, 1, SOON).await.unwrap();
    }

    /// Waits until its log has these words.
    pub async fn wait_for_words(&mut self, words: &str) {
        let has = |output: &str| output.contains(words).then_some(());
        self.worker.process_mut().wait_for_output(words, SOON, has).await.unwrap();
    }

    pub async fn wait_for_reload(&mut self, look: impl Fn(&Value) -> bool) {
        let look = |status: &Value| look(status).then_some(());
        self.worker.wait_for_status("the reload", SOON, look).await.unwrap();
    }
}

pub struct Deployment {
    pub tsdb: VictoriaMetrics,
    /// All workers read here, each with a bearer token of its own: `<shard>-<rank>`.
    pub reads: FaultProxy,
    folder: TempDir,
    /// Of the listeners for other workers.
    port: u16,
    /// Of the keys of the writer besides the URL.
    writer: &'static str,
    /// The moment of the first fit.
    pub first_fit: i64,
    pub nodes: BTreeMap<Identity, Node>,
}

impl Deployment {
    pub async fn start(writer: &'static str) -> Self {
        let tsdb = VictoriaMetrics::start_with(&["-dedup.minScrapeInterval=0s"]).await.unwrap();
        let (from, until) = (this_second() - 60 * SECOND, this_second() + 240 * SECOND);
        let input: Vec<_> = (0..SERIES)
            .map(|number| {
                let mut series = gauge("load", number, from, until, SECOND);
                series.labels.insert("instance".to_owned(), format!("host-{number}"));
                series
            })
            .collect();
        tsdb.import(&input).await.unwrap();
        tsdb.everything_visible().await.unwrap();
        let reads = FaultProxy::start(tsdb.address()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "shared-by-all\n").unwrap();
        let first_fit = this_second() + 5 * SECOND;
        Self { tsdb, reads, folder, port: free_port().unwrap(), writer, first_fit, nodes: BTreeMap::new() }
    }

    /// Writes the file that all workers watch: `layout`, and how they reach each other.
    pub fn write_topology(&self, layout: &str) {
        let (port, token) = (self.port, self.folder.path().join("token"));
        let place = format!("127.78.{{shard}}.{{rank}}:{port}");
        let peers = format!("peers: {{url: 'http://{place}', listen: '{place}', token_file: {}}}", token.display());
        let (new, file) = (self.folder.path().join("new"), self.folder.path().join("topology.yaml"));
        std::fs::write(&new, format!("{layout}\n{peers}\n")).unwrap();
        std::fs::rename(new, file).unwrap();
    }

    fn config(&self, preset: &str, token: &str, writes: &FaultProxy) -> String {
        let start = jiff::Timestamp::from_millisecond(self.first_fit).unwrap().strftime("%Y-%m-%dT%H:%M:%S");
        format!(
            "
preset: {preset}
schedulers:
  s: {{class: periodic, fit_window: 30s, fit_every: 15s, fit_lag: 3s, infer_every: 1s, start_from: '{start}'}}
models:
  zscore: {{class: zscore_online, z_threshold: 3, decay: 0.9, queries: all, schedulers: all}}
  calibrated: {{class: calibrated, queries: all, schedulers: all}}
reader: {{datasource_url: '{}', bearer_token: '{token}', sampling_period: 1s, queries: {{load: {{expr: load, false_alarms_per_day: 5}}}}}}
writer: {{datasource_url: '{}', {}}}
settings: {{settle: 5ms, n_workers: 1, snapshot_interval: 2s, catch_up_delay: 1s, peer_timeout: 3s}}
",
            self.reads.url(),
            writes.url(),
            self.writer,
        )
    }

    async fn node(&self, preset: &str, token: &str, arguments: Vec<String>) -> Node {
        let writes = FaultProxy::start(self.tsdb.address()).await.unwrap();
        let config = self.config(preset, token, &writes);
        let worker = Worker::start(WorkerSetup { config, arguments, ..WorkerSetup::default() }).await.unwrap();
        Node { worker, writes }
    }

    /// Starts these workers on the topology that was written last.
    pub async fn add(&mut self, identities: impl IntoIterator<Item = Identity>) {
        for (shard, rank) in identities {
            let state = self.folder.path().join(format!("state-{shard}-{rank}"));
            let arguments = vec![
                format!("--topology={}", self.folder.path().join("topology.yaml").display()),
                format!("--stateFolder={}", state.display()),
                format!("--shard={shard}"),
                format!("--rank={rank}"),
                "--watch".to_owned(),
                "--configCheckInterval=200ms".to_owned(),
            ];
            let node = self.node("default", &format!("{shard}-{rank}"), arguments).await;
            self.nodes.insert((shard, rank), node);
        }
    }

    /// A worker alone that nothing happens to.
    pub async fn calm(&self) -> Node {
        self.node("calm", "calm", Vec::new()).await
    }

    pub fn get(&mut self, shard: u32, rank: u32) -> &mut Node {
        self.nodes.get_mut(&(shard, rank)).unwrap()
    }

    /// Waits, as the operator does, until every worker has followed the topology of this epoch, and no series is on its
    /// way any more.
    pub async fn wait_for_epoch(&mut self, epoch: u64) {
        let followed = |status: &Value| {
            let jobs = status["jobs"].as_array()?;
            // Absent: none.
            let done = |job: &Value| job["epoch"] == epoch && job["open_handovers"].as_u64().is_none();
            (status["epoch"] == epoch && status["ready"] == true && jobs.iter().all(done)).then_some(())
        };
        for node in self.nodes.values_mut() {
            let end = node.worker.wait_for_status("the end of its hand-overs", SOON, followed).await;
            assert!(end.is_ok(), "{end:?}\n{}", node.worker.status().await.unwrap());
        }
    }

    /// Writes a topology and waits until all workers have it.
    pub async fn apply(&mut self, layout: &str) {
        let mut before = Vec::new();
        for node in self.nodes.values() {
            before.push(node.worker.status().await.unwrap()["config"]["generation"].clone());
        }
        self.write_topology(layout);
        for (node, before) in self.nodes.values_mut().zip(before) {
            node.wait_for_reload(|status| status["config"]["generation"] != before).await;
        }
    }

    /// Waits until the first rank of each of the first `shards` shards has written this tick.
    pub async fn wait_for_tick(&mut self, tick: i64, shards: u32) {
        for shard in 0..shards {
            self.get(shard, 0).wait_for_tick(tick).await;
        }
    }

    /// What all workers wrote together.
    pub fn sent(&self) -> Scores {
        let all: Vec<_> = self.nodes.values().flat_map(|node| node.writes.imported()).collect();
        Scores::of(&all, "default")
    }

    /// Checks that the workers wrote together, from the first tick to `end`, what `calm` wrote, and that nothing was
    /// learnt anew.
    pub async fn assert_as_undisturbed(&self, calm: &mut Node, end: i64) {
        calm.wait_for_tick(end).await;
        let begin = self.first_fit + SECOND;
        let wanted = Scores::of(&calm.writes.imported(), "calm").within(begin, end);
        let ticks = usize::try_from((end - begin) / SECOND + 1).unwrap();
        // Some samples are missing in the input.
        assert!(wanted.len() * 10 > ticks * SERIES as usize * OUTPUTS * 9, "{} samples", wanted.len());
        let difference = self.sent().within(begin, end).difference(&wanted, 0.0);
        let logs: Vec<String> = self.nodes.values().map(|node| node.worker.process().output()).collect();
        assert!(difference.is_none(), "{difference:?}\n{}", logs.join("\n"));
        for ((shard, rank), node) in &self.nodes {
            let metrics = match node.worker.metrics().await {
                Ok(metrics) => metrics,
                // The connection was idle for so long that the worker closed it meanwhile.
                Err(_) => node.worker.metrics().await.unwrap(),
            };
            let refits = metrics.sum("vmanomaly_refits_unscheduled_total", &[]).unwrap_or(0.0);
            assert_eq!(refits, 0.0, "shard {shard} rank {rank}");
            let output = node.worker.process().output();
            assert!(!output.contains("panicked"), "{output}");
        }
    }

    /// Checks that every series was written by one shard only in each of these ticks.
    pub fn assert_one_shard_a_series(&self, from: i64, until: i64) {
        let of_shards = self.nodes.iter().filter(|((_, rank), _)| *rank == 0);
        let apart: usize = of_shards.map(|(_, node)| node.sent().within(from, until).len()).sum();
        assert_eq!(apart, self.sent().within(from, until).len());
    }
}
