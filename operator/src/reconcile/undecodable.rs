//! Objects that this operator cannot read: they say so in their own status, and stop nothing else.

use crds::status::ConditionType;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use kube::Resource;
use kube::api::{Patch, PatchParams};
use kube::core::error_boundary::InvalidObject;
use kube::core::{ApiResource, DynamicObject};
use serde_json::json;

use crate::names::MANAGER;
use crate::operator::Operator;
use crate::reconcile::error::ReconcileError;
use crate::status::binding::undecodable;
use crate::status::condition::find;

/// Reports an object of kind `K` that cannot be read.
///
/// # Errors
/// When the status cannot be written.
pub async fn report<K>(operator: &Operator, invalid: &InvalidObject) -> Result<(), ReconcileError>
where
    K: Resource<DynamicType = ()>,
{
    let resource = ApiResource::erase::<K>(&());
    let metadata = &invalid.metadata;
    let (namespace, name) =
        (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default());
    let action = || format!("status of {} {namespace}/{name}", resource.kind);
    let api: Api<DynamicObject> = Api::namespaced_with(operator.client.clone(), namespace, &resource);
    let Some(live) = api.get_opt(name).await.map_err(ReconcileError::api(action()))? else { return Ok(()) };
    let before: Vec<Condition> = serde_json::from_value(live.data["status"]["conditions"].clone()).unwrap_or_default();
    let ready = undecodable(&before, live.metadata.generation, &invalid.error, Timestamp::now());
    if find(&before, ConditionType::Ready) == Some(&ready) {
        return Ok(());
    }
    let patch = json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": name, "uid": live.metadata.uid, "resourceVersion": live.metadata.resource_version},
        "status": {"observedGeneration": live.metadata.generation, "conditions": [ready]},
    });
    operator.metrics.write(&resource.kind, "status");
    let parameters = PatchParams::apply(MANAGER).force();
    api.patch_status(name, &parameters, &Patch::Apply(patch)).await.map_err(ReconcileError::api(action()))?;
    tracing::warn!(kind = resource.kind, namespace, name, error = invalid.error, "the object cannot be read");
    Ok(())
}
