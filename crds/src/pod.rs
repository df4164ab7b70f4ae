//! What a user may say about the workers' pods.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, EnvVar, LocalObjectReference, PodSecurityContext, ResourceRequirements, Toleration,
    TopologySpreadConstraint,
};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::embedded::{OBJECT_NAME, null_or_list};

/// The image of the worker.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Registry and name, as in `registry.example.com/vmanomaly`. Absent: what the operator was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = "^[a-zA-Z0-9][-._:/a-zA-Z0-9]*$"))]
    pub repository: Option<String>,
    /// Tag. Absent: what the operator was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[a-zA-Z0-9_][-._a-zA-Z0-9]*$"))]
    pub tag: Option<String>,
    /// Digest; wins over the tag. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71), regex(pattern = "^sha256:[a-f0-9]{64}$"))]
    pub digest: Option<String>,
    /// When the node pulls the image: `Always`, `IfNotPresent` or `Never`. Absent: `IfNotPresent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_policy: Option<PullPolicy>,
    /// Secrets with credentials of the registry. Absent: none.
    #[serde(default, deserialize_with = "null_or_list", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("nullable" = true, "x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub pull_secrets: Vec<LocalObjectReference>,
}

/// When the node pulls the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    #[allow(missing_docs)]
    Always,
    #[allow(missing_docs)]
    IfNotPresent,
    #[allow(missing_docs)]
    Never,
}

/// Where and how the workers' pods run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// Further labels. The operator's own win.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64), schema_with = "crate::embedded::label_map")]
    pub labels: BTreeMap<String, String>,
    /// Further annotations. The operator's own win.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64), schema_with = "crate::embedded::annotation_map")]
    pub annotations: BTreeMap<String, String>,
    /// CPU and memory of a worker. Absent: 50m and 128Mi are requested, 1Gi of memory is the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Environment variables, for `%{NAME}` in a raw configuration. Absent: none.
    #[serde(default, deserialize_with = "null_or_list", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("nullable" = true, "x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub env: Vec<EnvVar>,
    /// Labels that a node must have. Absent: any node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32), schema_with = "crate::embedded::label_map")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the pods tolerate. Absent: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tolerations: Vec<Toleration>,
    /// Affinity. Absent, or without `podAntiAffinity`: the replicas of a shard prefer nodes of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// How the pods are spread. Absent: over the nodes where possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub topology_spread_constraints: Option<Vec<TopologySpreadConstraint>>,
    /// Priority class. Absent: the cluster's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub priority_class_name: Option<String>,
    /// ServiceAccount of the pods; they need none. Absent: one of their own, without a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub service_account_name: Option<String>,
    /// Security context of the pods. Absent: user, group and volume group 65532, not root, seccomp RuntimeDefault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_context: Option<PodSecurityContext>,
    /// How long a worker may take to stop, seconds. Absent: 30.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    pub termination_grace_period_seconds: Option<i64>,
}
