//! What runs, started in order with a line for each step, and taken down again.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::tests::http::Endpoint;
use ::tests::incident::observation::Observer;
use ::tests::incident::progress::Progress;
use ::tests::incident::replay::{Replay, now};
use crds::VMAnomaly;
use crds::status::ConditionType;
use e2e::catalogue::{self, Product, TOOLS};
use e2e::cluster::{Cluster, ClusterError};
use e2e::forward::Forward;
use e2e::image::Image;
use e2e::installation::{self, Installation};
use e2e::members::Member;
use e2e::{quickstart, rollout};
use serde_json::json;

use crate::chaos::MOST_SHARDS;
use crate::show::Show;
use crate::{Arguments, Failure};

/// How long the workers may take until they have learnt the history.
const LEARN: Duration = Duration::from_secs(180);

/// Outputs older than this are not shown: `inferEvery`, `settle`, and what writing takes.
const LOOKBACK: Duration = Duration::from_secs(40);

/// Workers of every shard.
const REPLICAS: u32 = 2;

/// The cluster, and what has to be removed from it when it is not ours.
pub struct Stage {
    pub cluster: Cluster,
    tag: String,
    /// Whether the CRDs are ours to install and to remove.
    definitions: bool,
}

impl Stage {
    /// Makes the images and starts the node, or looks at the cluster that the user names.
    pub async fn open(arguments: &Arguments, progress: &Progress) -> Result<Self, Failure> {
        let cluster =
            if arguments.cluster.is_empty() { own(progress).await? } else { named(arguments, progress).await? };
        let mut definitions = true;
        if cluster.node().is_none() {
            for namespace in [quickstart::NAMESPACE, installation::NAMESPACE] {
                let found =
                    cluster.kubectl(&["get", "namespace", namespace, "--ignore-not-found", "-o", "name"]).await?;
                if !found.trim().is_empty() {
                    let (context, namespace) = (arguments.cluster.clone(), namespace.to_owned());
                    return Err(Failure::Occupied { context, namespace });
                }
            }
            definitions = !installation::has_definitions(&cluster).await?;
        }
        Ok(Self { cluster, tag: arguments.tag.clone(), definitions })
    }

    /// Brings in everything, with the history of the recordings, and waits until the workers have learnt it.
    pub async fn set(&self, replay: &Replay, progress: &Progress) -> Result<Show, Failure> {
        let cluster = &self.cluster;
        let demonstration = async {
            quickstart::apply_demonstration(cluster).await?;
            quickstart::demonstration_ready(cluster).await
        };
        let pods = |&(): &()| "VictoriaMetrics, vmagent, node exporter, vmalert".to_owned();
        progress.step("demonstration", demonstration, pods).await?;
        let tsdb = cluster.forward(quickstart::NAMESPACE, "victoria-metrics", 8428).await?;
        let vmalert = cluster.forward(quickstart::NAMESPACE, "vmalert", 8880).await?;
        let endpoint = Endpoint::new(tsdb.address());
        let history = replay.history(now().div_euclid(replay.pace.tick) * replay.pace.tick);
        let import = async {
            endpoint.import(&history).await?;
            endpoint.everything_visible().await
        };
        let samples: usize = history.iter().map(|series| series.samples.len()).sum();
        progress.step("history", import, |()| format!("{samples} samples of {} recordings", history.len())).await?;

        // On a cluster with other objects of ours the operator keeps to the demonstration.
        let values = if cluster.node().is_some() {
            Vec::new()
        } else {
            vec![format!("watchNamespaces={{{}}}", quickstart::NAMESPACE)]
        };
        let installation = Installation { tag: self.tag.clone(), definitions: self.definitions, values };
        let told = |&(): &()| "the chart charts/vmanomaly-operator, by helm".to_owned();
        progress.step("operator", installation.install(cluster), told).await?;
        let objects = async {
            quickstart::apply(cluster).await?;
            replicate(cluster).await?;
            quickstart::apply_incident(cluster).await
        };
        let told =
            |&(): &()| "deploy/quickstart with two replicas: VMAnomaly, AnomalyQueries, the default model".to_owned();
        progress.step("objects", objects, told).await?;
        let learning = progress.watched(
            "workers",
            async |line| {
                let wanted = |anomaly: &VMAnomaly| rollout::is_ready(anomaly, quickstart::QUERIES + 1);
                let seen = |anomaly: &VMAnomaly| line.tell(&standing(anomaly));
                rollout::anomaly(cluster, quickstart::NAMESPACE, quickstart::ANOMALY, LEARN, wanted, seen).await
            },
            |anomaly| {
                let shards = shards(anomaly).map_or(0, NonZeroU32::get);
                format!("{shards} shards with {REPLICAS} replicas have learnt the history")
            },
        );
        let anomaly = learning.await?;
        let shards = shards(&anomaly);
        let observer =
            Observer { tsdb: endpoint, vmalert: Endpoint::new(vmalert.address()), lookback: LOOKBACK, shards };
        let workers = self.workers().await?;
        let places = self.places(&tsdb, &vmalert, shards, &workers);
        Ok(Show { observer, places, workers, chaos: None, _forwards: [tsdb, vmalert] })
    }

    /// All workers that there may be at some time.
    async fn workers(&self) -> Result<Vec<Member>, Failure> {
        let mut workers = Vec::new();
        for rank in 0..REPLICAS {
            for shard in 0..MOST_SHARDS {
                let place = (rank, shard);
                workers.push(Member::of(&self.cluster, quickstart::NAMESPACE, quickstart::ANOMALY, place).await?);
            }
        }
        Ok(workers)
    }

    /// Where to look, a line each.
    fn places(
        &self,
        tsdb: &Forward,
        vmalert: &Forward,
        shards: Option<NonZeroU32>,
        workers: &[Member],
    ) -> Vec<(String, String)> {
        let kubectl = format!("kubectl {}", self.cluster.kubectl_arguments());
        let namespace = quickstart::NAMESPACE;
        let mut places = vec![
            ("objects".to_owned(), format!("{kubectl} -n {namespace} get anomaly")),
            ("pods".to_owned(), format!("{kubectl} get pods --all-namespaces")),
            ("scores".to_owned(), format!("{}/api/v1/query?query=anomaly_score", tsdb.url())),
            ("alerts".to_owned(), format!("{}/vmalert/alerts", vmalert.url())),
        ];
        for worker in workers.iter().filter(|worker| shards.is_some_and(|shards| worker.shard < shards.get())) {
            let name = format!("worker r{}-{}", worker.rank, worker.shard);
            places.push((name, format!("{}/status", worker.endpoint.url())));
        }
        if let Some(node) = self.cluster.node() {
            let log = node.log("kubelet");
            let folder = log.parent().unwrap_or(Path::new("")).display().to_string();
            places.push(("logs of the node".to_owned(), folder));
        }
        places
    }

    /// Takes down what was started: the node, or what is ours in the user's cluster.
    pub async fn close(self, progress: &Progress) -> Result<(), Failure> {
        if self.cluster.node().is_some() {
            let end = async {
                drop(self.cluster);
                Ok::<_, Failure>(())
            };
            return progress.step("end", end, |()| "the node is gone".to_owned()).await;
        }
        let cluster = &self.cluster;
        let removal = async {
            // The objects first, while the operator runs.
            cluster.kubectl(&["delete", "namespace", quickstart::NAMESPACE, "--ignore-not-found"]).await?;
            installation::uninstall(cluster).await?;
            if self.definitions {
                installation::remove_definitions(cluster).await?;
            }
            Ok::<_, ClusterError>(())
        };
        Ok(progress.step("end", removal, |()| "everything is removed from the cluster".to_owned()).await?)
    }
}

/// Asks for two replicas, of which one writes.
async fn replicate(cluster: &Cluster) -> Result<(), ClusterError> {
    let object = format!("vmanomalies.vmanomaly.dev/{}", quickstart::ANOMALY);
    let change = json!({"spec": {"replicas": REPLICAS, "writer": {"mode": "Failover"}}}).to_string();
    let patch = ["--namespace", quickstart::NAMESPACE, "patch", &object, "--type=merge", "--patch", &change];
    cluster.kubectl(&patch).await.map(drop)
}

/// A node of our own with all images.
async fn own(progress: &Progress) -> Result<Cluster, Failure> {
    e2e::node::check().map_err(ClusterError::from)?;
    let images = async { images(&binaries()?) };
    let made = |images: &Vec<Image>| format!("{} images from local programs", images.len());
    let images = progress.step("images", images, made).await?;
    let node = progress.watched(
        "node",
        async |line| Cluster::own(&images, |step| line.tell(&format!("{}: {}", step.name, step.detail))).await,
        |cluster| format!("Kubernetes, one node; kubectl {}", cluster.kubectl_arguments()),
    );
    Ok(node.await?)
}

/// The cluster of the user, with our images if it is one of kind.
async fn named(arguments: &Arguments, progress: &Progress) -> Result<Cluster, Failure> {
    let context = &arguments.cluster;
    let registry = Some(arguments.registry.clone()).filter(|registry| !registry.is_empty());
    let open = async {
        let images = match registry {
            Some(_) => Vec::new(),
            None => products(&binaries()?, &arguments.tag)?,
        };
        Cluster::named(None, context, registry, &images).await
    };
    Ok(progress.step("cluster", open, |_| context.clone()).await?)
}

fn products(binaries: &Path, tag: &str) -> Result<Vec<Image>, ClusterError> {
    let images = Product::ALL.into_iter().map(|product| product.image(binaries, catalogue::LOCAL_REGISTRY, tag));
    Ok(images.collect::<Result<_, _>>()?)
}

fn images(binaries: &Path) -> Result<Vec<Image>, ClusterError> {
    let mut images = products(binaries, catalogue::TAG)?;
    for tool in TOOLS {
        images.push(catalogue::tool(tool)?);
    }
    Ok(images)
}

/// The folder of this program, where cargo puts the others as well.
fn binaries() -> Result<PathBuf, ClusterError> {
    let own = std::env::current_exe().map_err(|error| ClusterError::Command {
        command: "this program's own path".to_owned(),
        message: error.to_string(),
    })?;
    Ok(own.parent().unwrap_or(Path::new(".")).to_path_buf())
}

fn shards(anomaly: &VMAnomaly) -> Option<NonZeroU32> {
    NonZeroU32::new(u32::try_from(anomaly.spec.shards).ok()?)
}

/// What a VMAnomaly waits for, in words.
fn standing(anomaly: &VMAnomaly) -> String {
    let ready = anomaly.status.as_ref().and_then(|status| status.shards_ready.clone()).unwrap_or_default();
    let reason = rollout::condition(anomaly, ConditionType::Ready)
        .map_or_else(|| "not looked at yet".to_owned(), |ready| format!("{}: {}", ready.reason, ready.message));
    format!("{ready} {reason}").trim().to_owned()
}
