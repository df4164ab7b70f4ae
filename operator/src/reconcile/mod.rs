//! One visit of an object: look, plan, write what differs, report.

pub mod anomaly;
pub mod binding;
pub mod contract;
pub mod error;
pub mod following;
pub mod freshness;
pub mod peer_token;
pub mod plan;
pub mod report;
pub mod rollout;
pub mod topology;
pub mod undecodable;
pub mod verdicts;

use std::fmt::Debug;

use kube::api::{Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::names::MANAGER;
use crate::operator::Operator;
use crate::reconcile::error::ReconcileError;

/// Writes a status over exactly the one that was seen.
async fn write_status<K>(operator: &Operator, object: &K, status: &impl Serialize) -> Result<K, ReconcileError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let (name, namespace) = (object.name_any(), object.namespace().unwrap_or_default());
    let metadata = object.meta();
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": name, "uid": metadata.uid, "resourceVersion": metadata.resource_version},
        "status": status,
    });
    operator.metrics.write(&K::kind(&()), "status");
    let api: Api<K> = Api::namespaced(operator.client.clone(), &namespace);
    let written = api.patch_status(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(patch)).await;
    written.map_err(ReconcileError::api(format!("status of {} {namespace}/{name}", K::kind(&()))))
}
