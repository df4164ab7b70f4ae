//! Where a worker keeps snapshots and input log.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::embedded::OBJECT_NAME;

/// Where learnt state lives. Exactly one of a volume claim and an emptyDir.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.volumeClaim) != has(self.emptyDir)").message("exactly one of volumeClaim and emptyDir must be set"))]
pub struct Storage {
    /// A volume claim for each worker: state survives pods and nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub volume_claim: Option<VolumeClaim>,
    /// A folder of the node: state survives the container, not the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub empty_dir: Option<EmptyDirectory>,
}

/// A volume claim for each worker.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(some("size")).message("size must be above 0").field_path(".size"))]
pub struct VolumeClaim {
    /// Size of each volume. Absent: 1Gi, which holds the state of some 500,000 series of `madOnline`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Quantity>,
    /// Storage class. Absent: the cluster's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub storage_class_name: Option<String>,
    /// What becomes of the claims. Absent: they stay when the VMAnomaly goes, and go when shards are taken away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
}

/// What becomes of volume claims.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// When the VMAnomaly is deleted: `Retain` or `Delete`. Absent: `Retain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when_deleted: Option<RetentionPolicy>,
    /// When its shard or its replica is taken away: `Retain` or `Delete`. Absent: `Delete`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when_scaled: Option<RetentionPolicy>,
}

/// Keep or delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RetentionPolicy {
    #[allow(missing_docs)]
    Retain,
    #[allow(missing_docs)]
    Delete,
}

/// A folder of the node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(some("sizeLimit")).message("sizeLimit must be above 0").field_path(".sizeLimit"))]
pub struct EmptyDirectory {
    /// Most that it may hold. Absent: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_limit: Option<Quantity>,
}

/// CEL: a quantity is above 0; holds when it is absent or none, which the schema's pattern refuses.
fn some(field: &str) -> String {
    format!(
        "!has(self.{field}) || !isQuantity(string(self.{field})) || \
         quantity(string(self.{field})).isGreaterThan(quantity('0'))"
    )
}
