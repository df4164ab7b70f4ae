//! Several writers of one object, by server-side apply.

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::{deployment, object, objects, plane};

fn condition(kind: &str, status: &str) -> Value {
    let transition = "2026-01-01T00:00:00Z";
    json!({"type": kind, "status": status, "reason": "AsConfigured", "message": "", "lastTransitionTime": transition})
}

async fn apply_status(objects: &Api<DynamicObject>, kind: &str, manager: &str, status: Value) -> Value {
    let body = json!({
        "apiVersion": "vmanomaly.dev/v1alpha1", "kind": kind, "metadata": {"name": "shared"}, "status": status,
    });
    let patch = objects.patch_status("shared", &PatchParams::apply(manager), &Patch::Apply(body)).await;
    patch.unwrap_or_else(|error| panic!("{kind} by {manager}: {error}")).data["status"].clone()
}

/// The values of `key` in a list, in order.
fn values<'a>(list: &'a Value, key: &str) -> Vec<&'a str> {
    let mut values: Vec<_> = list.as_array().into_iter().flatten().filter_map(|item| item[key].as_str()).collect();
    values.sort_unstable();
    values
}

#[tokio::test]
async fn two_managers_own_conditions_of_different_types() {
    let plane = plane().await;
    let (client, namespace) = (plane.client().await.unwrap(), plane.namespace().await.unwrap());
    let specs = [
        ("VMAnomaly", deployment(json!({}))),
        ("AnomalyModel", json!({"madOnline": {}})),
        ("AnomalyQuery", json!({"expr": "up"})),
    ];
    for (kind, spec) in specs {
        let objects = objects(&client, &namespace, kind);
        let user = PatchParams::apply("user");
        objects.patch("shared", &user, &Patch::Apply(object(kind, "shared", &spec))).await.unwrap();
        let conditions = |list: &[(&str, &str)]| json!({"conditions": list.iter().map(|(kind, status)| condition(kind, status)).collect::<Vec<_>>()});
        apply_status(&objects, kind, "one", conditions(&[("Ready", "True"), ("Degraded", "False")])).await;
        let both = apply_status(&objects, kind, "other", conditions(&[("Audited", "True")])).await;
        assert_eq!(values(&both["conditions"], "type"), ["Audited", "Degraded", "Ready"], "{kind}");
        let less = apply_status(&objects, kind, "one", conditions(&[("Ready", "False")])).await;
        assert_eq!(values(&less["conditions"], "type"), ["Audited", "Ready"], "{kind}");
        assert_eq!(values(&less["conditions"], "status"), ["False", "True"], "{kind}");
    }
}

#[tokio::test]
async fn two_managers_own_bindings_of_different_vmanomalies() {
    let plane = plane().await;
    let (client, namespace) = (plane.client().await.unwrap(), plane.namespace().await.unwrap());
    let queries = objects(&client, &namespace, "AnomalyQuery");
    let query = object("AnomalyQuery", "shared", &json!({"expr": "up"}));
    queries.patch("shared", &PatchParams::apply("user"), &Patch::Apply(query)).await.unwrap();
    let binding = |namespace: &str, name: &str| {
        let conditions = [condition("Accepted", "True")];
        json!({"bindings": [{"namespace": namespace, "name": name, "alias": "shared", "conditions": conditions}]})
    };
    apply_status(&queries, "AnomalyQuery", "one", binding("a", "production")).await;
    let both = apply_status(&queries, "AnomalyQuery", "other", binding("b", "production")).await;
    assert_eq!(values(&both["bindings"], "namespace"), ["a", "b"]);
}

#[tokio::test]
async fn two_managers_own_schedulers_of_different_names_and_may_not_change_the_others() {
    let plane = plane().await;
    let (client, namespace) = (plane.client().await.unwrap(), plane.namespace().await.unwrap());
    let anomalies = objects(&client, &namespace, "VMAnomaly");
    let schedulers =
        |name: &str, every: &str| json!([{"name": name, "fitWindow": "14d", "fitEvery": "365d", "inferEvery": every}]);
    let base = object("VMAnomaly", "shared", &deployment(json!({"schedulers": schedulers("quick", "10s")})));
    anomalies.patch("shared", &PatchParams::apply("one"), &Patch::Apply(base)).await.unwrap();
    let put = async |name: &str, every: &str| {
        let more = object("VMAnomaly", "shared", &json!({"schedulers": schedulers(name, every)}));
        anomalies.patch("shared", &PatchParams::apply("other"), &Patch::Apply(more)).await
    };
    let both = put("slow", "5m").await.unwrap();
    assert_eq!(values(&both.data["spec"]["schedulers"], "name"), ["quick", "slow"]);
    let kube::Error::Api(status) = put("quick", "20s").await.unwrap_err() else { panic!("no answer") };
    assert!(status.is_conflict() && status.message.contains("inferEvery"), "{}", status.message);
}
