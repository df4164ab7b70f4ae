//! VMAnomaly: what runs.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::connection::{Reader, Writer};
use crate::duration::{Duration, at_least};
use crate::pod::{Image, Pod};
use crate::scheduler::Scheduler;
use crate::secret::SecretKey;
use crate::selector::ObjectSelector;
use crate::storage::Storage;

/// A deployment of workers: where samples come from, where scores go, which models and queries it takes, and over how
/// many shards the series are spread.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "vmanomaly.dev",
    version = "v1alpha1",
    kind = "VMAnomaly",
    plural = "vmanomalies",
    namespaced,
    status = "VMAnomalyStatus",
    derive = "PartialEq",
    shortname = "vmad",
    category = "anomaly",
    doc = "A deployment of anomaly detection: workers that query a time series database, learn every series and write anomaly scores back. AnomalyQuery objects say what is watched, AnomalyModel objects how.",
    scale(spec_replicas_path = ".spec.shards", status_replicas_path = ".status.shards", label_selector_path = ".status.selector"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status", description = "Whether it does all that it was asked to do"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason", description = "Why"),
    printcolumn(name = "Shards", type_ = "string", json_path = ".status.shardsReady", description = "Shards with a worker that does all it was asked to, of those wanted"),
    printcolumn(name = "Replicas", type_ = "string", json_path = ".status.replicasReady", description = "Workers that do all they were asked to, of the shard that has the fewest of them, of those wanted"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "When it was created"),
    printcolumn(name = "Queries", type_ = "integer", json_path = ".status.queries", priority = 1, description = "Selected queries"),
    printcolumn(name = "Models", type_ = "integer", json_path = ".status.models", priority = 1, description = "Selected models"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.workerVersion", priority = 1, description = "Release of the workers"),
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 40").message("metadata.name must be at most 40 lower-case letters, digits and '-': names and labels of workers are made of it")
)]
#[x_kube(validation = Rule::new("!has(self.replicas) || self.replicas == 1 || has(self.configRawYaml) || has(self.configSecret) || (has(self.writer) && has(self.writer.mode))").message("writer.mode is required with more than one replica: All if the database deduplicates (-dedup.minScrapeInterval of VictoriaMetrics), or else Failover, because it would keep every score once for each replica").field_path(".writer.mode"))]
#[x_kube(validation = Rule::new("!(has(self.configRawYaml) && has(self.configSecret))").message("configRawYaml and configSecret exclude each other"))]
#[x_kube(validation = Rule::new("has(self.configRawYaml) || has(self.configSecret) || (has(self.reader) && has(self.writer))").message("reader and writer are required, unless configRawYaml or configSecret is set"))]
#[x_kube(validation = Rule::new("!(has(self.configRawYaml) || has(self.configSecret)) || !(has(self.reader) || has(self.writer) || has(self.schedulers) || has(self.settings) || has(self.querySelector) || has(self.modelSelector))").message("configRawYaml and configSecret are whole configurations: reader, writer, schedulers, settings, querySelector and modelSelector must not be set with them"))]
#[x_kube(validation = Rule::new("has(self.storage) == has(oldSelf.storage) && (!has(self.storage) || (has(self.storage.emptyDir) == has(oldSelf.storage.emptyDir) && (!has(self.storage.volumeClaim) || !has(oldSelf.storage.volumeClaim) || (has(self.storage.volumeClaim.size) == has(oldSelf.storage.volumeClaim.size) && (!has(self.storage.volumeClaim.size) || quantity(string(self.storage.volumeClaim.size)).compareTo(quantity(string(oldSelf.storage.volumeClaim.size))) == 0) && has(self.storage.volumeClaim.storageClassName) == has(oldSelf.storage.volumeClaim.storageClassName) && (!has(self.storage.volumeClaim.storageClassName) || self.storage.volumeClaim.storageClassName == oldSelf.storage.volumeClaim.storageClassName)))))").message("storage is immutable, but for retention and the emptyDir's sizeLimit: Kubernetes cannot change the claims of a StatefulSet").field_path(".storage"))]
pub struct VMAnomalySpec {
    /// Over how many workers the series are spread. Absent: 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub shards: i32,
    /// Copies of every shard, each with a worker of its own; they follow each other, so that the failure of one goes
    /// unnoticed. Two or more need `writer.mode`. Absent: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub replicas: Option<i32>,
    /// Leaves everything as it is: nothing is created, changed or deleted. Absent: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// The worker's image. Absent: what the operator was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// The workers' pods. Absent: their defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Pod>,
    /// Where learnt state lives. Absent: a volume claim of 1Gi for each worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// Where samples come from. Required, unless the configuration is raw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reader: Option<Reader>,
    /// Where scores go. Required, unless the configuration is raw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writer: Option<Writer>,
    /// When to fit and when to infer. Absent: one named `default` with `fitWindow: 14d`, `fitEvery: 365d`,
    /// `inferEvery: 1m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub schedulers: Option<Vec<Scheduler>>,
    /// Everything else that workers can be told. Absent: the defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<Settings>,
    /// The workers' HTTP server. Absent: its defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<Server>,
    /// How the workers are monitored. Absent: its defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<Monitoring>,
    /// Which AnomalyModel objects it takes. Absent: all of its own namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_selector: Option<ObjectSelector>,
    /// Which AnomalyQuery objects it takes. Absent: all of its own namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_selector: Option<ObjectSelector>,
    /// A whole configuration in vmanomaly's YAML, for migration. Replaces reader, writer, schedulers, settings and
    /// the selected objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 524_288))]
    pub config_raw_yaml: Option<String>,
    /// Secret with a whole configuration in vmanomaly's YAML; it is mounted into the workers, and checked there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_secret: Option<SecretKey>,
}

fn one() -> i32 {
    1
}

/// Everything else that workers can be told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(at_least("maxCatchUp", 1)).message("maxCatchUp must be longer than 0").field_path(".maxCatchUp"))]
#[x_kube(validation = Rule::new(at_least("snapshotInterval", 1)).message("snapshotInterval must be longer than 0").field_path(".snapshotInterval"))]
#[x_kube(validation = Rule::new(at_least("peerTimeout", 1)).message("peerTimeout must be longer than 0").field_path(".peerTimeout"))]
#[x_kube(validation = Rule::new(at_least("handoverTimeout", 1)).message("handoverTimeout must be longer than 0").field_path(".handoverTimeout"))]
pub struct Settings {
    /// Threads that learn and score. It never changes a score. Absent: as many as the worker has CPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub workers: Option<i32>,
    /// Score of a value outside the `dataRange`, for models that have none of their own. Absent: 1.01.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0))]
    pub anomaly_score_outside_data_range: Option<f64>,
    /// Keeps what was learnt over restarts. Absent: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_state: Option<bool>,
    /// When series that have gone are forgotten. Absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<SeriesRetention>,
    /// Least severe lines to log: `Debug`, `Info`, `Warning`, `Error` or `Critical`. Absent: `Info`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_level: Option<LogLevel>,
    /// Log level by component, as in `reader: Debug`; the longest matching prefix wins. Absent: `logLevel`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "x-kubernetes-map-type" = "atomic"))]
    pub logger_levels: BTreeMap<String, LogLevel>,
    /// A tick is read so long after its time; samples that arrive later are not learnt. Absent: 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settle: Option<Duration>,
    /// Due ticks older than this are given up, counted and reported. Absent: 1d.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_catch_up: Option<Duration>,
    /// After an outage, the longest wait for samples that collectors deliver late. Absent: 2m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catch_up_delay: Option<Duration>,
    /// A changed block of state is written at most so often. Absent: 5m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_interval: Option<Duration>,
    /// Byte rate of snapshots, bytes per second. Absent: 4194304.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 65_536, max = 1_073_741_824))]
    pub snapshot_bytes_per_second: Option<i64>,
    /// A starting worker waits so long for each other replica of its shard before it goes on from its own volume.
    /// Absent: 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_timeout: Option<Duration>,
    /// A worker waits so long for the former owner of series before it looks for their state elsewhere. Absent: 5m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handover_timeout: Option<Duration>,
}

/// When series that have gone are forgotten.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(at_least("ttl", 1)).message("ttl must be longer than 0").field_path(".ttl"))]
#[x_kube(validation = Rule::new(at_least("checkInterval", 1)).message("checkInterval must be longer than 0").field_path(".checkInterval"))]
pub struct SeriesRetention {
    /// A series that had no sample for so long is dropped.
    pub ttl: Duration,
    /// How often that is checked. Absent: at every snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_interval: Option<Duration>,
}

/// Severity of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LogLevel {
    #[allow(missing_docs)]
    Debug,
    #[allow(missing_docs)]
    Info,
    #[allow(missing_docs)]
    Warning,
    #[allow(missing_docs)]
    Error,
    #[allow(missing_docs)]
    Critical,
}

/// The workers' HTTP server.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.port) || self.port != 8491").message("port must not be 8491, on which workers listen for each other").field_path(".port"))]
pub struct Server {
    /// Port; not 8491. A change restarts the workers. Absent: 8490.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024, max = 65_535))]
    pub port: Option<i32>,
    /// Prefix of every route, as in `/anomaly`. A change restarts the workers. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = "^(/[-._~a-zA-Z0-9]+)*/?$"))]
    pub path_prefix: Option<String>,
    /// Creates a NetworkPolicy: everybody reaches `port`, only workers of this VMAnomaly reach port 8491, and nobody
    /// any other. Absent: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_policy: Option<bool>,
}

/// How the workers are monitored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(at_least("interval", 1)).message("interval must be longer than 0").field_path(".interval"))]
pub struct Monitoring {
    /// Creates a VMPodScrape, or else a PodMonitor, if the cluster has the kind. Absent: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scrape: Option<bool>,
    /// Distance of scrapes. Absent: the scraper's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// Further labels of the scrape object, by which a scraper selects it. Absent: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32), schema_with = "crate::embedded::label_map")]
    pub labels: BTreeMap<String, String>,
}

/// What the operator and the workers report.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VMAnomalyStatus {
    /// Generation of the object that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What holds, by type: Ready sums up the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Shards of the topology in effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shards: Option<i32>,
    /// Shards with a worker that does all it was asked to, of those wanted, as in `2/3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub shards_ready: Option<String>,
    /// Replicas of every shard in the topology in effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Workers that do all they were asked to, of the shard that has the fewest of them, of those wanted, as in `1/2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub replicas_ready: Option<String>,
    /// Selector of one pod for each shard, those of the first replica, for the scale subresource.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub selector: Option<String>,
    /// Number of selected queries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queries: Option<i32>,
    /// Number of selected models.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models: Option<i32>,
    /// Release of the workers; several, separated by commas, while they differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub worker_version: Option<String>,
    /// Epoch of the topology in effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
    /// Revision of the configuration that workers should have.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub config_revision: Option<String>,
    /// Workers that do not have that revision or epoch yet, by pod name, at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(max = 253)))]
    pub outdated: Vec<String>,
}
