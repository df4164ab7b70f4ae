//! Several ranks of one shard as processes, each on a loopback address of its own.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use config::topology::{MemberTemplate, Peers, Topology};
use tempfile::TempDir;
use tests::fault_proxy::FaultProxy;
use tests::process::free_port;
use tests::scores::Scores;
use tests::series::Series;
use tests::signal::{gauge, now, this_second};
use tests::victoria_metrics::VictoriaMetrics;
use tests::worker::{Worker, WorkerSetup};

pub const SECOND: i64 = 1_000;
pub const SOON: Duration = Duration::from_secs(40);
pub const SERIES: u64 = 5;
/// Time between fits.
pub const FIT_EVERY: i64 = 8 * SECOND;
const QUERY_RANGE: &str = "/api/v1/query_range";

pub struct Setting {
    pub tsdb: VictoriaMetrics,
    /// All ranks read here.
    reads: FaultProxy,
    folder: TempDir,
    /// Of the listeners for other ranks.
    port: u16,
    /// The moment of the first fit.
    pub first_fit: i64,
    /// The workers' only model, but for where it runs.
    pub model: &'static str,
}

/// A rank with the proxy that it writes through.
pub struct Rank {
    pub worker: Worker,
    writes: FaultProxy,
}

impl Rank {
    /// What it wrote.
    pub fn imported(&self) -> Vec<Series> {
        self.writes.imported()
    }

    /// What it wrote, bit for bit.
    pub fn sent(&self) -> Scores {
        Scores::of(&self.imported(), "default")
    }

    pub async fn wait_for_tick(&mut self, tick: i64) {
        self.worker.wait_for_tick(tick, 1, SOON).await.unwrap();
    }

    /// Waits for a warning with these words.
    pub async fn wait_for_warning(&mut self, words: &[&str]) {
        let warns = |line: &serde_json::Value| {
            let message = line["message"].as_str().unwrap_or_default();
            line["level"] == "WARNING" && words.iter().all(|word| message.contains(word))
        };
        self.worker.wait_for_line(&format!("a warning with {words:?}"), SOON, warns).await.unwrap();
    }

    /// How often it asked other ranks with this result.
    pub async fn asked(&self, result: &str) -> f64 {
        let metrics = self.worker.metrics().await.unwrap();
        metrics.sum("vmanomaly_peer_requests_total", &[&format!("result=\"{result}\"")]).unwrap()
    }
}

impl Setting {
    pub async fn start() -> Self {
        // Without deduplication, so that a value that was written over with another one stays visible.
        let tsdb = VictoriaMetrics::start_with(&["-dedup.minScrapeInterval=0s"]).await.unwrap();
        let (from, until) = (this_second() - 60 * SECOND, this_second() + 200 * SECOND);
        let input: Vec<_> = (0..SERIES).map(|instance| gauge("load", instance, from, until, SECOND)).collect();
        tsdb.import(&input).await.unwrap();
        tsdb.everything_visible().await.unwrap();
        let reads = FaultProxy::start(tsdb.address()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "shared-by-all\n").unwrap();
        let (port, first_fit) = (free_port().unwrap(), this_second() + 4 * SECOND);
        Self { tsdb, reads, folder, port, first_fit, model: "class: zscore_online, z_threshold: 3" }
    }

    /// Where rank `rank` listens for the others.
    pub fn address(&self, rank: u32) -> String {
        format!("127.77.0.{rank}:{}", self.port)
    }

    pub fn token(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    /// Says how many ranks there are, and to rank `rank` where the token is.
    pub fn write_topology(&self, ranks: u32) {
        self.write_topology_of("topology.yaml", ranks, &self.token());
    }

    pub fn write_topology_of(&self, name: &str, ranks: u32, token: &std::path::Path) {
        self.write_topology_text(name, &self.topology_of(ranks, token).text());
    }

    /// So many ranks of one shard.
    pub fn topology_of(&self, ranks: u32, token: &std::path::Path) -> Topology {
        let own = format!("127.77.{{shard}}.{{rank}}:{}", self.port);
        let peers = Peers {
            url: MemberTemplate::new(&format!("http://{own}")).unwrap(),
            listen: MemberTemplate::new(&own).unwrap(),
            token_file: token.to_owned(),
        };
        let ranks = ranks.try_into().unwrap();
        Topology { epoch: 1, settled_epoch: 1, ranks, peers: Some(peers), ..Topology::default() }
    }

    pub fn write_topology_text(&self, name: &str, text: &str) {
        let (new, file) = (self.folder.path().join("new"), self.folder.path().join(name));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, file).unwrap();
    }

    pub async fn rank(&self, rank: u32) -> Rank {
        self.rank_with(rank, "topology.yaml").await
    }

    /// A rank whose topology stands in the file `topology`.
    pub async fn rank_with(&self, rank: u32, topology: &str) -> Rank {
        let arguments = [
            format!("--topology={}", self.folder.path().join(topology).display()),
            format!("--stateFolder={}", self.state(rank).display()),
            format!("--rank={rank}"),
            "--watch".to_owned(),
            "--configCheckInterval=300ms".to_owned(),
        ];
        self.worker(arguments.to_vec()).await
    }

    /// Where rank `rank` keeps its state.
    pub fn state(&self, rank: u32) -> PathBuf {
        self.folder.path().join(format!("state-{rank}"))
    }

    /// A worker with these arguments.
    pub async fn worker(&self, arguments: Vec<String>) -> Rank {
        let writes = FaultProxy::start(self.tsdb.address()).await.unwrap();
        let start = jiff::Timestamp::from_millisecond(self.first_fit).unwrap().strftime("%Y-%m-%dT%H:%M:%S");
        let config = format!(
            "
schedulers:
  s: {{class: periodic, fit_window: 30s, fit_every: {}s, infer_every: 1s, start_from: '{start}'}}
models:
  zscore: {{{}, queries: all, schedulers: all}}
reader: {{datasource_url: '{}', sampling_period: 1s, queries: {{load: {{expr: load}}}}}}
writer: {{datasource_url: '{}'}}
settings: {{settle: 5ms, n_workers: 1, snapshot_interval: 2s, catch_up_delay: 1s}}
",
            FIT_EVERY / SECOND,
            self.model,
            self.reads.url(),
            writes.url(),
        );
        let setup = WorkerSetup { config, arguments, ..WorkerSetup::default() };
        Rank { worker: Worker::start(setup).await.unwrap(), writes }
    }

    /// Starts the ranks `0..ranks` before the first fit.
    pub async fn ranks<const RANKS: usize>(&self) -> [Rank; RANKS] {
        self.write_topology(RANKS as u32);
        let mut ranks = Vec::new();
        for rank in 0..RANKS as u32 {
            ranks.push(self.rank(rank).await);
        }
        assert!(now() < self.first_fit, "the workers took too long to start");
        ranks.try_into().unwrap_or_else(|_| unreachable!("as many as were started"))
    }

    /// How many ranges were read so far.
    pub fn ranges_read(&self) -> u64 {
        self.reads.requests(QUERY_RANGE)
    }
}

/// Waits until all have stood at one position from `after` on with one chain; `false` if that does not come. One look at a
/// common position is not enough: a fit that takes over changes the chain, and not the position.
pub async fn have_equal_chains(ranks: &[&Rank], after: i64) -> bool {
    let mut seen: Vec<BTreeSet<(i64, String)>> = vec![BTreeSet::new(); ranks.len()];
    let begin = std::time::Instant::now();
    while begin.elapsed() < SOON {
        for (rank, seen) in ranks.iter().zip(&mut seen) {
            let job = rank.worker.status().await.unwrap()["jobs"][0].clone();
            if let (Some(position), Some(chain)) = (job["position_ms"].as_i64(), job["chain"].as_str()) {
                seen.insert((position, chain.to_owned()));
            }
        }
        let is_common = |stand: &&(i64, String)| stand.0 >= after && seen.iter().all(|seen| seen.contains(*stand));
        if seen[0].iter().any(|stand| is_common(&stand)) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    eprintln!("the ranks do not agree: {seen:?}");
    false
}

/// The first tick that a rank has written, once it has written one and stands at `from` or later. One that begins later than
/// another takes over what that has begun, and does not write it again.
pub async fn first_written(rank: &mut Rank, from: i64) -> i64 {
    let mut tick = from;
    loop {
        rank.wait_for_tick(tick).await;
        if let Some(first) = rank.sent().times("for", "load").into_iter().next() {
            return first;
        }
        tick += SECOND;
    }
}

/// Every tick of `from..=to`.
pub fn assert_no_gap(scores: &Scores, from: i64, to: i64) {
    let times: Vec<i64> = scores.within(from, to).times("for", "load").into_iter().collect();
    let wanted: Vec<i64> = (0..).map(|index| from + index * SECOND).take_while(|tick| *tick <= to).collect();
    assert_eq!(times, wanted);
}
