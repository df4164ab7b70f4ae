//! Names and labels of children.

use std::collections::BTreeMap;

use crds::VMAnomaly;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};

/// Field manager of every write, and value of the label `app.kubernetes.io/managed-by`.
pub const MANAGER: &str = "vmanomaly-operator";

/// Selects every child of every VMAnomaly.
pub const CHILDREN: &str = "app.kubernetes.io/managed-by=vmanomaly-operator,app.kubernetes.io/name=vmanomaly";

/// Annotation of pods: which configuration and topology they should have. Changing it makes the kubelet look at the
/// pod's ConfigMaps at once instead of within a minute or two.
pub const EXPECTED: &str = "vmanomaly.dev/expected-config";

/// Annotation of children: the hash of what was applied.
pub const APPLIED: &str = "vmanomaly.dev/applied";

/// Annotation of the topology: since when workers are asked to follow it.
pub const ASKED_AT: &str = "vmanomaly.dev/asked-at";

/// Annotation of StatefulSets: the hash of the pod template that was applied.
pub const TEMPLATE: &str = "vmanomaly.dev/template";

/// Label of StatefulSets and pods: the rank among the replicas of a shard.
pub const RANK: &str = "vmanomaly.dev/rank";

/// Most replicas of a VMAnomaly, see its schema.
pub const MOST_RANKS: u32 = 10;

/// Names of the children of one VMAnomaly. They start with `anomaly-`, so that a VMAnomaly called like something else
/// of the namespace does not get in its way; with a name of at most 40 characters every name and label fits into 63.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildNames {
    /// ServiceAccount, Service, PodDisruptionBudget, NetworkPolicy, scrape object.
    pub base: String,
    /// ConfigMap of the configuration.
    pub config: String,
    /// ConfigMap of the topology.
    pub topology: String,
}

impl ChildNames {
    /// For a VMAnomaly's name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let base = format!("anomaly-{name}");
        Self { config: format!("{base}-config"), topology: format!("{base}-topology"), base }
    }

    /// Name of the StatefulSet of a rank.
    #[must_use]
    pub fn workers(&self, rank: u32) -> String {
        format!("{}-r{rank}", self.base)
    }

    /// Name of the pod of a shard and rank.
    #[must_use]
    pub fn pod(&self, rank: u32, shard: u32) -> String {
        format!("{}-{shard}", self.workers(rank))
    }

    /// Name of the Secret with the token of the workers of a VMAnomaly with this uid. `render` works on objects without
    /// a uid.
    #[must_use]
    pub fn peer_secret(&self, uid: Option<&str>) -> String {
        let start: String = uid.unwrap_or("00000000").chars().take(8).collect();
        format!("{}-peer-{start}", self.base)
    }
}

/// Labels that select the pods of a VMAnomaly.
#[must_use]
pub fn selector_labels(name: &str) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", "vmanomaly"),
        ("app.kubernetes.io/instance", name),
        ("app.kubernetes.io/component", "worker"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// The same as a selector of an object.
#[must_use]
pub fn selector(name: &str) -> LabelSelector {
    LabelSelector { match_labels: Some(selector_labels(name)), match_expressions: None }
}

/// Labels that select the workers of one rank.
#[must_use]
pub fn rank_labels(name: &str, rank: u32) -> BTreeMap<String, String> {
    let mut labels = selector_labels(name);
    labels.insert(RANK.to_owned(), rank.to_string());
    labels
}

/// Selector of the scale subresource, as a query parameter. Who scales on it takes the average over the pods that it
/// selects for that over `status.shards` pods, so it selects one pod for each shard: those of the lowest rank.
#[must_use]
pub fn scale_selector(name: &str) -> String {
    let labels: Vec<String> = rank_labels(name, 0).into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    labels.join(",")
}

/// Labels of every child.
#[must_use]
pub fn labels(name: &str) -> BTreeMap<String, String> {
    let mut labels = selector_labels(name);
    labels.insert("app.kubernetes.io/managed-by".into(), MANAGER.into());
    labels
}

/// Metadata of a child.
#[must_use]
pub fn metadata(anomaly: &VMAnomaly, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: anomaly.namespace(),
        labels: Some(labels(&anomaly.name_any())),
        owner_references: Some(vec![owner_reference(anomaly)]),
        ..ObjectMeta::default()
    }
}

/// The reference that makes a VMAnomaly the controller of its children. `render` works on objects without a uid.
#[must_use]
pub fn owner_reference(anomaly: &VMAnomaly) -> OwnerReference {
    OwnerReference {
        api_version: VMAnomaly::api_version(&()).into_owned(),
        kind: VMAnomaly::kind(&()).into_owned(),
        name: anomaly.name_any(),
        uid: anomaly.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
