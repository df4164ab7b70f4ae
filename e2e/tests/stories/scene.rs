//! What a story plays in: a namespace with a database, in a cluster with the operator.

use std::time::{Duration, Instant};

use config::status::Status;
use crds::VMAnomaly;
use e2e::catalogue::{self, Product, TOOLS};
use e2e::cluster::Cluster;
use e2e::forward::{self, Forward};
use e2e::installation::Installation;
use e2e::{installation, quickstart, rollout};
use serde_json::{Value, json};
use tests::http::{Endpoint, HttpError};
use tests::scores::Scores;
use tests::series::Series;
use tokio::sync::{Mutex, OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::recording;

/// How long anything may take on a busy machine.
pub const WITHIN: Duration = Duration::from_secs(180);

/// How often something is looked at that cannot be awaited.
const POLL: Duration = Duration::from_millis(200);

/// A worker's port.
const PORT: u16 = 8490;

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

/// Taken to write by the story that takes the operator away, to read by all others.
static OPERATOR: RwLock<()> = RwLock::const_new(());

/// The cluster with all images and the operator, started once for all stories. Our own node goes with this process; in
/// a cluster of the user's the operator stays.
async fn cluster() -> &'static Cluster {
    let start = async || {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let binaries = std::path::Path::new(env!("CARGO_BIN_EXE_node")).parent().unwrap().to_path_buf();
        let products = Product::ALL.map(|product| product.image(&binaries, catalogue::LOCAL_REGISTRY, catalogue::TAG));
        let images = products.into_iter().chain(TOOLS.map(catalogue::tool)).collect::<Result<Vec<_>, _>>().unwrap();
        let cluster = Cluster::start(&images, |_| {}).await.unwrap();
        let installation = Installation { tag: catalogue::TAG.to_owned(), definitions: true, values: Vec::new() };
        installation.install(&cluster).await.unwrap();
        cluster
    };
    CLUSTER.get_or_init(start).await
}

#[expect(dead_code, reason = "held, never read")]
enum Hold {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

/// A namespace with a database.
pub struct Scene {
    pub cluster: &'static Cluster,
    pub namespace: String,
    forwards: Mutex<Vec<Forward>>,
    _hold: Hold,
}

impl Scene {
    /// A namespace of this name, with VictoriaMetrics in it.
    pub async fn open(name: &str) -> Self {
        let scene = Self::empty(name).await;
        scene.apply(&demonstration("victoria-metrics.yaml")).await;
        scene.rolled_out(&["statefulset/victoria-metrics"]).await;
        scene
    }

    /// A namespace of this name with nothing in it.
    pub async fn empty(name: &str) -> Self {
        let cluster = cluster().await;
        Self::with(cluster, name, Hold::Shared(OPERATOR.read().await)).await
    }

    /// The same as [`Scene::open`] while no other story needs the operator, or has left anything for it to do.
    pub async fn alone(name: &str) -> Self {
        let cluster = cluster().await;
        let hold = Hold::Alone(OPERATOR.write().await);
        let none_left = async || {
            let namespaces = cluster.kubectl(&["get", "namespaces", "--no-headers"]).await.unwrap();
            (!namespaces.contains("Terminating")).then_some(())
        };
        eventually("no namespace that is going", WITHIN, none_left).await;
        let scene = Self::with(cluster, name, hold).await;
        scene.apply(&demonstration("victoria-metrics.yaml")).await;
        scene.rolled_out(&["statefulset/victoria-metrics"]).await;
        scene
    }

    async fn with(cluster: &'static Cluster, name: &str, hold: Hold) -> Self {
        let namespace = format!("story-{name}");
        let scene = Self { cluster, namespace, forwards: Mutex::default(), _hold: hold };
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": scene.namespace, "labels": labels}});
        scene.apply(&namespace.to_string()).await;
        scene
    }

    /// Applies manifests, whose namespace is this scene's.
    pub async fn apply(&self, manifests: &str) {
        let manifests = manifests.replace(quickstart::NAMESPACE, &self.namespace);
        self.cluster.apply(&self.namespace, &quickstart::images_for(self.cluster, &manifests)).await.unwrap();
    }

    /// Runs kubectl in the namespace; brings what it prints.
    pub async fn kubectl(&self, arguments: &[&str]) -> String {
        let arguments = [&["--namespace", &self.namespace], arguments].concat();
        self.cluster.kubectl(&arguments).await.unwrap()
    }

    /// An object as JSON.
    pub async fn object(&self, object: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", object, "--output", "json"]).await).unwrap()
    }

    /// Waits until workloads have all their pods ready.
    pub async fn rolled_out(&self, workloads: &[&str]) {
        rollout::finished(self.cluster, &self.namespace, workloads, quickstart::WITHIN).await.unwrap();
    }

    /// Waits until a VMAnomaly does all that it was asked to do, with so many queries.
    pub async fn ready(&self, name: &str, queries: usize) -> VMAnomaly {
        let wanted = |anomaly: &VMAnomaly| rollout::is_ready(anomaly, queries);
        rollout::anomaly(self.cluster, &self.namespace, name, WITHIN, wanted, |_| {}).await.unwrap()
    }

    /// A port of a service.
    pub async fn service(&self, service: &str, port: u16) -> Endpoint {
        let forward = self.cluster.forward(&self.namespace, service, port).await.unwrap();
        let endpoint = Endpoint::new(forward.address());
        self.forwards.lock().await.push(forward);
        endpoint
    }

    /// The database.
    pub async fn tsdb(&self) -> Endpoint {
        self.service("victoria-metrics", 8428).await
    }

    /// The worker of the lowest rank of a shard.
    pub async fn worker(&self, anomaly: &str, shard: u32) -> Endpoint {
        self.member(anomaly, 0, shard).await
    }

    /// A worker of a VMAnomaly.
    pub async fn member(&self, anomaly: &str, rank: u32, shard: u32) -> Endpoint {
        let pod = format!("anomaly-{anomaly}-r{rank}-{shard}");
        let forward = self.cluster.forward_pod(&self.namespace, &pod, PORT).await.unwrap();
        let endpoint = Endpoint::new(forward.address());
        self.forwards.lock().await.push(forward);
        endpoint
    }

    /// What each pod of a VMAnomaly is: its uid, and how often its container was started again.
    pub async fn processes(&self, anomaly: &str) -> Vec<(String, i64)> {
        let selector = format!("--selector=app.kubernetes.io/instance={anomaly}");
        let pods = self.kubectl(&["get", "pods", &selector, "--output", "json"]).await;
        let pods: Value = serde_json::from_str(&pods).unwrap();
        let pods = pods["items"].as_array().unwrap().iter().map(|pod| {
            let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_i64().unwrap_or(-1);
            (pod["metadata"]["uid"].as_str().unwrap().to_owned(), restarts)
        });
        pods.collect()
    }

    /// Removes the namespace; it goes while the next story runs.
    pub async fn close(self) {
        self.cluster.kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]).await.unwrap();
    }
}

impl Drop for Scene {
    /// A failed story shows what it looked like.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let (cluster, namespace) = (self.cluster, self.namespace.clone());
        let told = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let told = async |arguments: &[&str]| {
                    let output = cluster.kubectl(arguments).await.unwrap_or_else(|error| error.to_string());
                    eprintln!("--- kubectl {}\n{output}", arguments.join(" "));
                };
                eprintln!("{}", rollout::state(cluster, &namespace).await);
                told(&["--namespace", &namespace, "get", "anomaly", "--output", "yaml"]).await;
                let selector = "--selector=app.kubernetes.io/name=vmanomaly";
                told(&["--namespace", &namespace, "logs", selector, "--tail=40", "--prefix"]).await;
                let operator = format!("deployment/{}", installation::RELEASE);
                told(&["--namespace", installation::NAMESPACE, "logs", &operator, "--tail=40"]).await;
            });
        });
        let _ = told.join();
    }
}

/// A manifest of the demonstration.
pub fn demonstration(file: &str) -> String {
    std::fs::read_to_string(tests::components::repository().join("deploy/quickstart/demo").join(file)).unwrap()
}

/// The pod of a shard.
pub fn pod(anomaly: &str, shard: u32) -> String {
    format!("anomaly-{anomaly}-r0-{shard}")
}

/// Imports series.
pub async fn import(tsdb: &Endpoint, series: &[Series]) {
    answered(async || tsdb.import(series).await).await;
    answered(async || tsdb.everything_visible().await).await;
}

/// A VMAnomaly that scores every second what the recording has; its outputs have the label `run` with its name.
pub fn anomaly(name: &str, shards: u32) -> Value {
    let url = "http://victoria-metrics:8428";
    json!({
        "apiVersion": "vmanomaly.dev/v1alpha1",
        "kind": "VMAnomaly",
        "metadata": {"name": name},
        "spec": {
            "shards": shards,
            "reader": {"datasourceURL": url, "samplingPeriod": "1s"},
            "writer": {"datasourceURL": url, "metricFormat": {"extraLabels": {"run": name}}},
            "schedulers": [{"name": "default", "fitWindow": "1h", "fitEvery": "365d", "inferEvery": "1s"}],
            "settings": {"settle": "1s", "catchUpDelay": "5s"},
            "storage": {"volumeClaim": {"size": "1Gi", "retention": {"whenDeleted": "Delete"}}},
        },
    })
}

/// An AnomalyModel: running median.
pub fn model(name: &str, threshold: f64) -> Value {
    json!({
        "apiVersion": "vmanomaly.dev/v1alpha1",
        "kind": "AnomalyModel",
        "metadata": {"name": name},
        "spec": {"madOnline": {"threshold": threshold, "decay": 0.999}},
    })
}

/// An AnomalyQuery.
pub fn query(name: &str, expr: &str) -> Value {
    json!({
        "apiVersion": "vmanomaly.dev/v1alpha1",
        "kind": "AnomalyQuery",
        "metadata": {"name": name},
        "spec": {"expr": expr, "maxLookback": "1s"},
    })
}

/// Objects as one stream.
pub fn manifests(objects: &[Value]) -> String {
    objects.iter().map(|object| format!("---\n{object}\n")).collect()
}

/// The outputs of a VMAnomaly, every sample that was ever written.
pub async fn outputs(tsdb: &Endpoint, run: &str) -> Vec<Series> {
    let selector = format!("{{run='{run}',__name__=~'anomaly_score|y|yhat|yhat_lower|yhat_upper'}}");
    answered(async || tsdb.everything_visible().await).await;
    answered(async || tsdb.export(&selector).await).await
}

/// The same, to be compared with those of another.
pub async fn scores(tsdb: &Endpoint, run: &str) -> Scores {
    Scores::labelled(&outputs(tsdb, run).await, "run", run)
}

/// The newest tick up to which all of so many series have a score.
pub async fn complete_until(tsdb: &Endpoint, run: &str, count: usize) -> Option<i64> {
    let series = exported(tsdb, &format!("anomaly_score{{run='{run}'}}")).await;
    if series.len() < count {
        return None;
    }
    series.iter().map(|series| series.samples.last().map(|sample| sample.time)).min().flatten()
}

/// Waits until all of so many series have a score at `tick`.
pub async fn scored_until(tsdb: &Endpoint, run: &str, count: usize, tick: i64) {
    let what = format!("scores of {run} at {tick}");
    eventually(&what, WITHIN, async || complete_until(tsdb, run, count).await.filter(|newest| *newest >= tick)).await;
}

/// Ticks of the recording that lie in a time without a sample of each of so many series; empty: no gap.
pub fn gaps(outputs: &[Series], count: usize, from: i64, until: i64) -> Vec<i64> {
    let scores: Vec<_> = outputs.iter().filter(|series| series.label("__name__") == "anomaly_score").collect();
    let ticks = (0..).map(|index| from + index * recording::STEP).take_while(|tick| *tick <= until);
    let scored = |tick: &i64| {
        let with = scores.iter().filter(|series| series.samples.iter().any(|sample| sample.time == *tick));
        with.count()
    };
    ticks.filter(|tick| scored(tick) != count).collect()
}

/// What a worker says of itself.
pub async fn status(worker: &Endpoint) -> Status {
    answered(async || worker.get_json("/status", &[]).await).await
}

/// All samples of a selector, the newest included.
pub async fn exported(tsdb: &Endpoint, selector: &str) -> Vec<Series> {
    answered(async || tsdb.force_flush().await).await;
    answered(async || tsdb.export(selector).await).await
}

/// The answer to a request, which is sent again when a forwarded connection has gone meanwhile.
async fn answered<T>(request: impl AsyncFnMut() -> Result<T, HttpError>) -> T {
    forward::answered(request).await.unwrap()
}

/// The first answer that is there.
pub async fn eventually<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begin.elapsed() < within, "{what}: not within {within:?}");
        tokio::time::sleep(POLL).await;
    }
}
