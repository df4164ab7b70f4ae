//! What the stories start from.

use crds::VMAnomaly;
use crds::anomaly::VMAnomalyStatus;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::{Value, json};
use tests::kubernetes::audit::AuditEvent;
use tests::kubernetes::control_plane::ControlPlane;
use tests::kubernetes::installation::Installation;

/// A namespace of the control plane that all stories share.
pub async fn installation() -> Installation<'static> {
    Installation::new(ControlPlane::shared().await.unwrap()).await.unwrap()
}

pub fn anomaly(shards: u32) -> Value {
    json!({
        "shards": shards,
        "reader": {"datasourceURL": "http://victoria-metrics:8428"},
        "writer": {"datasourceURL": "http://victoria-metrics:8428"},
    })
}

pub fn model() -> Value {
    json!({"zscoreOnline": {}})
}

pub fn query() -> Value {
    json!({"expr": "up"})
}

/// A VMAnomaly `main` with a model `zscore` and a query `up`.
pub async fn declare_all(installation: &Installation<'_>, shards: u32) {
    installation.declare("AnomalyModel", "zscore", model()).await.unwrap();
    installation.declare("AnomalyQuery", "up", query()).await.unwrap();
    installation.declare("VMAnomaly", "main", anomaly(shards)).await.unwrap();
}

/// Waits until the operator has made the children of `main` and reported them.
pub async fn wait_until_rolled_out(installation: &Installation<'_>) -> StatefulSet {
    let set = installation.wait::<StatefulSet>("anomaly-main-r0", |_| true).await.unwrap();
    installation.wait::<VMAnomaly>("main", |main| ready(main).is_some()).await.unwrap();
    set
}

pub fn status(anomaly: &VMAnomaly) -> VMAnomalyStatus {
    anomaly.status.clone().unwrap_or_default()
}

pub fn condition<'a>(conditions: &'a [Condition], name: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == name)
}

/// The operator's writes among `events`, but for making sure that the Secret with the token is there, which every
/// operator does once.
pub fn writes(installation: &Installation<'_>, mut events: Vec<AuditEvent>) -> Vec<AuditEvent> {
    let secret = |event: &AuditEvent| event.object.as_ref().is_some_and(|object| object.resource == "secrets");
    events.retain(|event| {
        let makes_sure = secret(event) && event.verb == "create" && event.response_status.code == 409;
        event.user.username == installation.user() && event.is_write() && !makes_sure
    });
    events
}

/// Status and reason of the condition Ready.
pub fn ready(anomaly: &VMAnomaly) -> Option<(String, String)> {
    let conditions = status(anomaly).conditions;
    condition(&conditions, "Ready").map(|ready| (ready.status.clone(), ready.reason.clone()))
}

pub fn is(pair: Option<(String, String)>, status: &str, reason: &str) -> bool {
    pair.is_some_and(|pair| pair == (status.to_owned(), reason.to_owned()))
}
