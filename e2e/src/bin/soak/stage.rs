//! What the soak plays on: a node, the database with the recorded input, the operator, and the two VMAnomalies.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::tests::components::repository;
use ::tests::http::Endpoint;
use ::tests::signal::now;
use config::status::Status;
use crds::VMAnomaly;
use crds::status::ConditionType;
use e2e::catalogue::{self, Product};
use e2e::cluster::{Cluster, ClusterError};
use e2e::comparison::{Comparison, RUN};
use e2e::forward::{Forward, answered};
use e2e::installation::{self, Installation};
use e2e::members::Member;
use e2e::node::Node;
use e2e::{quickstart, rollout};
use serde_json::{Value, json};

use crate::recorded::{Input, METRIC};
use crate::report::{Report, Row, tell};
use crate::watch::{self, Watch};
use crate::{Arguments, Failure, Mode, Reads};

pub const NAMESPACE: &str = "vmanomaly-soak";

/// The VMAnomaly that everything happens to, and the one that is left alone; also their values of the label `run`.
pub const SOAK: &str = "soak";
const CALM: &str = "calm";

/// The query, which both have.
pub const QUERY: &str = "load";

/// Most shards and replicas.
pub const MOST_SHARDS: u32 = 5;
pub const MOST_REPLICAS: u32 = 3;

/// Samples are read so long after their time, ms.
const SETTLE: i64 = 1_000;

/// For the scripted parts, seconds: about what they take, and half as much again.
const SCRIPT: i64 = 3_000;

/// How long anything may take on a busy machine.
const WITHIN: Duration = Duration::from_secs(420);

/// How often something is looked at that cannot be awaited.
const POLL: Duration = Duration::from_millis(500);

/// Ticks in which nothing happens, at the end of each part.
const QUIET: i64 = 2;

/// How often it is waited anew until nothing happens.
const WINDOWS: usize = 8;

/// Everything that runs.
pub struct Stage {
    pub cluster: Cluster,
    pub members: Arc<Vec<Member>>,
    calm: Member,
    watch: Watch,
    tsdb: Endpoint,
    _forward: Forward,
    parts: Vec<String>,
    step: i64,
    reads: Reads,
    /// The newest tick that was compared.
    compared: i64,
    /// As it was asked for last.
    pub shards: u32,
    pub replicas: u32,
    upgrades: u32,
    /// Times in which replicas were cut off from each other since the last comparison.
    pub partitions: Vec<(i64, i64)>,
    /// What was done since the last comparison, and how often.
    pub deeds: BTreeMap<&'static str, u32>,
    begun: Instant,
    begun_reads: (f64, f64, i64),
    begun_sums: [f64; 5],
}

impl Stage {
    /// From nothing to two VMAnomalies that score.
    pub async fn open(arguments: &Arguments) -> Result<Self, Failure> {
        let images = images(arguments.binaries.as_deref())?;
        let cluster = Cluster::own(&images, |_| {}).await?;
        tell(&format!("a node; kubectl {}", cluster.kubectl_arguments()));
        cluster.kubectl(&["create", "namespace", NAMESPACE]).await?;
        let database = std::fs::read_to_string(repository().join("deploy/quickstart/demo/victoria-metrics.yaml"))?;
        let database = database.replace(quickstart::NAMESPACE, NAMESPACE).replace("{memory: 1Gi}", "{memory: 6Gi}");
        cluster.apply(NAMESPACE, &quickstart::images_for(&cluster, &database)).await?;
        rollout::finished(&cluster, NAMESPACE, &["statefulset/victoria-metrics"], quickstart::WITHIN).await?;
        let forward = cluster.forward(NAMESPACE, "victoria-metrics", 8428).await?;
        let tsdb = Endpoint::new(forward.address());
        let seconds = SCRIPT + i64::try_from(arguments.minutes).unwrap_or(0) * 60 + 900;
        let input = Input::load(arguments.series, arguments.every, seconds)?;
        for group in input.groups() {
            tsdb.import(&group).await?;
        }
        tsdb.everything_visible().await?;
        tell(&format!("{} series of recorded input", arguments.series));

        let installation = Installation { tag: catalogue::TAG.to_owned(), definitions: true, values: Vec::new() };
        installation.install(&cluster).await?;
        let mut members = Vec::new();
        for rank in 0..MOST_REPLICAS {
            for shard in 0..MOST_SHARDS {
                members.push(Member::of(&cluster, NAMESPACE, SOAK, (rank, shard)).await?);
            }
        }
        let members = Arc::new(members);
        let calm = Member::of(&cluster, NAMESPACE, CALM, (0, 0)).await?;
        let watch = Watch::begin(Arc::clone(&members));
        let mut stage = Self {
            members,
            calm,
            watch,
            tsdb,
            _forward: forward,
            parts: input.parts(),
            step: arguments.every * 1_000,
            reads: arguments.reads,
            compared: 0,
            shards: 1,
            replicas: 1,
            upgrades: 0,
            partitions: Vec::new(),
            deeds: BTreeMap::new(),
            begun: Instant::now(),
            begun_reads: (0.0, 0.0, 0),
            begun_sums: [0.0; 5],
            cluster,
        };
        stage.set(arguments).await?;
        Ok(stage)
    }

    async fn set(&mut self, arguments: &Arguments) -> Result<(), Failure> {
        let model = json!({
            "apiVersion": "vmanomaly.dev/v1alpha1", "kind": "AnomalyModel", "metadata": {"name": "mad"},
            "spec": {"madOnline": {"threshold": 6.0, "decay": 0.999}, "provideSeries": ["anomaly_score", "yhat", "yhat_upper"]},
        });
        let query = json!({
            "apiVersion": "vmanomaly.dev/v1alpha1", "kind": "AnomalyQuery", "metadata": {"name": QUERY},
            "spec": {"expr": METRIC, "maxLookback": "1s"},
        });
        let mut soak = anomaly(SOAK, arguments);
        soak["spec"]["writer"]["mode"] = match arguments.mode {
            Mode::All => "All".into(),
            Mode::Failover => "Failover".into(),
        };
        let objects = [model, query, anomaly(CALM, arguments), soak];
        let objects: String = objects.iter().map(|object| format!("---\n{object}\n")).collect();
        self.cluster.apply(NAMESPACE, &objects).await?;
        let ready = |anomaly: &VMAnomaly| rollout::is_ready(anomaly, 1);
        for name in [CALM, SOAK] {
            rollout::anomaly(&self.cluster, NAMESPACE, name, WITHIN, ready, |_| {}).await?;
        }
        // Both begin when they like to.
        let tick = self.latest();
        self.compared = self.written_until(tick + self.step).await?;
        tell("both VMAnomalies score");
        self.begin().await
    }

    /// Our own node.
    pub fn node(&self) -> Result<&Node, Failure> {
        self.cluster.node().ok_or_else(|| Failure::Late("a node of our own".to_owned()))
    }

    /// The newest tick that is due.
    fn latest(&self) -> i64 {
        (now() - SETTLE).div_euclid(self.step) * self.step
    }

    /// A part begins.
    async fn begin(&mut self) -> Result<(), Failure> {
        self.begun = Instant::now();
        self.begun_reads = self.reads().await?;
        self.begun_sums = self.sums().await;
        self.partitions.clear();
        Ok(())
    }

    async fn sums(&self) -> [f64; 5] {
        let counters = [watch::DIVERGENCES, watch::REFITS, watch::GAPS, watch::JOINED, watch::UNREACHABLE];
        self.watch.sums(counters).await
    }

    /// Reads of the database so far, those of the worker that is left alone, and the newest tick.
    async fn reads(&self) -> Result<(f64, f64, i64), Failure> {
        let calm = answered(async || watch::reads_of(&self.calm.endpoint).await).await?;
        let all = answered(async || watch::ranges_read(&self.tsdb).await).await?;
        Ok((all, calm, self.latest()))
    }

    /// Reads of each tick between two moments, without those of the worker that is left alone.
    fn reads_between(&self, from: (f64, f64, i64), until: (f64, f64, i64)) -> f64 {
        let ticks = (until.2 - from.2) as f64 / self.step as f64;
        ((until.0 - from.0) - (until.1 - from.1)) / ticks.max(1.0)
    }

    /// A part ends: waits until all is well, and compares what was written since the last one.
    pub async fn end(&mut self, name: &str, report: &mut Report) -> Result<(), Failure> {
        self.settled().await?;
        let wanted_reads = match self.reads {
            Reads::Shard => f64::from(self.shards),
            Reads::One => 1.0,
        };
        let (mut quiet_reads, mut most_reads) = (0.0, 0.0_f64);
        let mut until = 0;
        // A changed topology or configuration reaches the pods of a shard up to a minute apart, and for each one that
        // is in use they read.
        for _ in 0..WINDOWS {
            (quiet_reads, until) = self.quiet(self.caught_up().await?).await?;
            most_reads = most_reads.max(quiet_reads);
            if (quiet_reads - wanted_reads).abs() < 1e-9 {
                break;
            }
        }
        let all = self.reads().await?;
        let comparison = self.compare(until).await?;
        let before = self.begun_sums;
        let [divergences, refits, gaps, handovers, unreachable] = self.sums().await;
        report.add(Row {
            name: name.to_owned(),
            took: self.begun.elapsed(),
            ticks: (until - self.compared) / self.step,
            comparison,
            divergences: divergences - before[0],
            refits: refits - before[1],
            gaps: gaps - before[2],
            handovers: handovers - before[3],
            unreachable: unreachable - before[4],
            deeds: std::mem::take(&mut self.deeds),
            reads: self.reads_between(self.begun_reads, all),
            quiet_reads,
            most_reads,
            wanted_reads,
            partitions: std::mem::take(&mut self.partitions),
        });
        self.compared = until;
        self.begin().await
    }

    /// Waits until a tick is written before the next one is due; brings it.
    async fn caught_up(&self) -> Result<i64, Failure> {
        loop {
            let tick = self.written_until(self.latest() + self.step).await?;
            if self.latest() == tick {
                return Ok(tick);
            }
        }
    }

    /// Some ticks in which nothing happens: reads of each, and the last one.
    async fn quiet(&self, from: i64) -> Result<(f64, i64), Failure> {
        // In the middle between two ticks nobody reads, and what the database says of itself is up to a second old.
        let middle = |tick: i64| tick + SETTLE + self.step * 6 / 10;
        let until = from + QUIET * self.step;
        sleep_until(middle(from)).await;
        let before = self.reads().await?;
        let until = until.max(before.2 + QUIET * self.step);
        sleep_until(middle(until)).await;
        let after = self.reads().await?;
        self.written_until(until).await?;
        Ok((self.reads_between(before, after), until))
    }

    async fn compare(&self, until: i64) -> Result<Comparison, Failure> {
        let times = (self.compared + self.step, until);
        Ok(Comparison::read(&self.tsdb, CALM, SOAK, &self.parts, times).await?)
    }

    /// Waits until both VMAnomalies have written a tick, every series of it; brings it.
    pub async fn written_until(&self, tick: i64) -> Result<i64, Failure> {
        let written = |status: &Status| {
            !status.jobs.is_empty() && status.jobs.iter().all(|job| job.last_written_tick_ms >= Some(tick))
        };
        let begin = Instant::now();
        loop {
            if self.calm.status().await.as_ref().is_some_and(written) {
                let (calm, soak) = (self.count(CALM, tick).await?, self.count(SOAK, tick).await?);
                if calm > 0.0 && calm == soak {
                    return Ok(tick);
                }
            }
            if begin.elapsed() > WITHIN {
                let (calm, soak) = (self.count(CALM, tick).await?, self.count(SOAK, tick).await?);
                return Err(Failure::Late(format!("tick {tick}: {calm} series of {CALM}, {soak} of {SOAK}")));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// How many series of a run have a score at a tick.
    async fn count(&self, run: &str, tick: i64) -> Result<f64, Failure> {
        let window = self.step / 2;
        let expr = format!("count(count_over_time(anomaly_score{{{RUN}='{run}'}}[{window}ms]))");
        let counted = answered(async || self.tsdb.query(&expr, tick).await).await?;
        Ok(counted.first().and_then(|series| series.samples.first()).map_or(0.0, |sample| sample.value))
    }

    /// Notes what is done.
    pub fn did(&mut self, deed: &'static str) {
        *self.deeds.entry(deed).or_default() += 1;
    }

    /// Asks for something.
    pub async fn patch(&self, spec: &Value) -> Result<(), Failure> {
        let (object, change) = (format!("vmanomalies.vmanomaly.dev/{SOAK}"), json!({"spec": spec}).to_string());
        let patch = ["--namespace", NAMESPACE, "patch", &object, "--type=merge", "--patch", &change];
        Ok(self.cluster.kubectl(&patch).await.map(drop)?)
    }

    /// Asks for a number of shards.
    pub async fn scale(&mut self, shards: u32) -> Result<(), Failure> {
        tell(&format!("{} shards become {shards}", self.shards));
        self.did("change of shards");
        self.shards = shards;
        self.patch(&json!({"shards": shards})).await
    }

    /// Asks for a number of replicas.
    pub async fn replicate(&mut self, replicas: u32) -> Result<(), Failure> {
        tell(&format!("{} replicas become {replicas}", self.replicas));
        self.did("change of replicas");
        self.replicas = replicas;
        self.patch(&json!({"replicas": replicas})).await
    }

    /// Asks for other pods.
    pub async fn upgrade(&mut self) -> Result<(), Failure> {
        self.did("rolling upgrade");
        self.upgrades += 1;
        tell("all workers are replaced, one replica after the other");
        self.patch(&json!({"pod": {"annotations": {"upgrade": self.upgrades.to_string()}}})).await
    }

    /// Kills the operator; its Deployment brings another one.
    pub async fn kill_operator(&mut self) -> Result<(), Failure> {
        self.did("kill of the operator");
        tell("the operator is killed");
        let selector = "--selector=app.kubernetes.io/name=vmanomaly-operator";
        let kill = ["--namespace", installation::NAMESPACE, "delete", "pod", selector, "--grace-period=0", "--force"];
        Ok(self.cluster.kubectl(&kill).await.map(drop)?)
    }

    /// Waits until the VMAnomaly is as it was asked for, with all its pods and no others, all of the newest revision.
    pub async fn settled(&self) -> Result<(), Failure> {
        let shards = i32::try_from(self.shards).ok();
        let settled = |anomaly: &VMAnomaly| {
            let status = anomaly.status.as_ref();
            let moves = rollout::condition(anomaly, ConditionType::Resharding);
            status.is_some_and(|status| status.shards == shards)
                && rollout::is_ready(anomaly, 1)
                && moves.is_none_or(|condition| condition.status != "True")
        };
        let upgrade = self.upgrades.to_string();
        let wanted = (self.shards * self.replicas) as usize;
        let begin = Instant::now();
        loop {
            rollout::anomaly(&self.cluster, NAMESPACE, SOAK, WITHIN, settled, |_| {}).await?;
            let pods = self.pods().await?;
            let is_new = |pod: &Value| {
                let annotation = pod["metadata"]["annotations"]["upgrade"].as_str();
                self.upgrades == 0 || annotation == Some(&upgrade)
            };
            if pods.len() == wanted && pods.iter().all(is_new) {
                return Ok(());
            }
            if begin.elapsed() > WITHIN {
                return Err(Failure::Late(format!("{wanted} pods, not {}", pods.len())));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until a change that was asked for is under way.
    pub async fn under_way(&self) -> Result<(), Failure> {
        let begun = |anomaly: &VMAnomaly| {
            let is = |type_, wanted: &str| rollout::condition(anomaly, type_).is_some_and(|one| one.status == wanted);
            is(ConditionType::Resharding, "True") || is(ConditionType::Ready, "False")
        };
        rollout::anomaly(&self.cluster, NAMESPACE, SOAK, WITHIN, begun, |_| {}).await?;
        Ok(())
    }

    async fn pods(&self) -> Result<Vec<Value>, Failure> {
        let selector = format!("--selector=app.kubernetes.io/instance={SOAK}");
        let pods = ["--namespace", NAMESPACE, "get", "pods", &selector, "--output", "json"];
        let pods: Value = serde_json::from_str(&self.cluster.kubectl(&pods).await?).unwrap_or_default();
        Ok(pods["items"].as_array().cloned().unwrap_or_default())
    }

    /// How everything stands, for people.
    pub async fn state(&self) -> String {
        let mut told = rollout::state(&self.cluster, NAMESPACE).await;
        let object = format!("vmanomalies.vmanomaly.dev/{SOAK}");
        let selector = format!("--selector=app.kubernetes.io/instance={SOAK}");
        let looks: [&[&str]; 2] = [
            &["get", &object, "--output=yaml"],
            &["logs", &selector, "--tail=25", "--prefix", "--max-log-requests=20"],
        ];
        for look in looks {
            let arguments = [&["--namespace", NAMESPACE], look].concat();
            told += &self.cluster.kubectl(&arguments).await.unwrap_or_else(|error| error.to_string());
        }
        for member in self.members.iter() {
            if let Some(status) = member.status().await {
                told += &format!("\n{}: {}", member.pod, serde_json::to_string(&status).unwrap_or_default());
            }
        }
        told
    }
}

/// Waits for a moment, unix ms.
async fn sleep_until(time: i64) {
    tokio::time::sleep(Duration::from_millis(u64::try_from(time - now()).unwrap_or(0))).await;
}

fn anomaly(name: &str, arguments: &Arguments) -> Value {
    let url = "http://victoria-metrics:8428";
    let every = format!("{}s", arguments.every);
    json!({
        "apiVersion": "vmanomaly.dev/v1alpha1",
        "kind": "VMAnomaly",
        "metadata": {"name": name},
        "spec": {
            "shards": 1,
            "reader": {"datasourceURL": url, "samplingPeriod": every, "seriesLimit": 2 * arguments.series},
            "writer": {"datasourceURL": url, "metricFormat": {"extraLabels": {RUN: name}}},
            "schedulers": [{"name": "default", "fitWindow": "1h", "fitEvery": "365d", "inferEvery": every}],
            "settings": {"settle": "1s", "catchUpDelay": "5s"},
            "storage": {"volumeClaim": {"size": "1Gi", "retention": {"whenDeleted": "Delete"}}},
        },
    })
}

/// Our own images, from the programs in a folder, and the database's.
fn images(binaries: Option<&Path>) -> Result<Vec<e2e::image::Image>, Failure> {
    let own = std::env::current_exe()?;
    let folder = binaries.map_or_else(|| own.parent().map(Path::to_path_buf).unwrap_or_default(), PathBuf::from);
    let products = Product::ALL.map(|product| product.image(&folder, catalogue::LOCAL_REGISTRY, catalogue::TAG));
    let images = products.into_iter().chain([catalogue::tool("victoria-metrics")]);
    Ok(images.collect::<Result<_, _>>().map_err(ClusterError::from)?)
}
