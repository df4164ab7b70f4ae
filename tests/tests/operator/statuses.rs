//! What objects say about themselves.

use std::time::Duration;

use crds::status::BindingStatus;
use crds::{AnomalyModel, AnomalyQuery, VMAnomaly};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tests::kubernetes::control_plane::ControlPlane;
use tests::kubernetes::installation::{Installation, definitions, quick_settings};

use crate::fixtures::{
    anomaly, condition, declare_all, installation, is, model, query, ready, status, wait_until_rolled_out,
};

fn reason(status: Option<&BindingStatus>) -> Option<(String, String)> {
    let ready = condition(&status?.conditions, "Ready")?;
    Some((ready.status.clone(), ready.reason.clone()))
}

fn is_query(status: &'static str, why: &'static str) -> impl Fn(&AnomalyQuery) -> bool {
    move |query| is(reason(query.status.as_ref()), status, why)
}

fn is_model(status: &'static str, why: &'static str) -> impl Fn(&AnomalyModel) -> bool {
    move |model| is(reason(model.status.as_ref()), status, why)
}

#[tokio::test]
async fn status_appears_on_the_first_visit_of_every_object_selected_or_not() {
    let installation = installation().await;
    let _operator = installation.operator(quick_settings()).await.unwrap();
    installation.declare("AnomalyModel", "alone", model()).await.unwrap();
    installation.declare("AnomalyQuery", "alone", query()).await.unwrap();
    let alone = installation.wait::<AnomalyQuery>("alone", is_query("True", "NotSelected")).await.unwrap();
    assert_eq!(alone.status.unwrap().observed_generation, alone.metadata.generation);
    installation.wait::<AnomalyModel>("alone", is_model("True", "NotSelected")).await.unwrap();

    installation.declare("VMAnomaly", "main", anomaly(1)).await.unwrap();
    let used = installation.wait::<AnomalyQuery>("alone", is_query("True", "Used")).await.unwrap();
    let binding = &used.status.unwrap().bindings[0];
    assert_eq!((binding.name.as_str(), binding.alias.as_str()), ("main", "alone"));
    let main = installation.wait::<VMAnomaly>("main", |main| ready(main).is_some()).await.unwrap();
    let reported = status(&main);
    assert_eq!((reported.queries, reported.models, reported.shards_ready.as_deref()), (Some(1), Some(1), Some("0/1")));
    assert!(reported.conditions.iter().all(|one| one.observed_generation == main.metadata.generation));
    let waits = condition(&reported.conditions, "Available").unwrap();
    assert!(waits.reason == "WorkersStarting" && waits.message.contains("anomaly-main-r0-0"), "{waits:?}");

    // What is selected no more, or by nobody, says so.
    let mut spec = anomaly(1);
    spec["querySelector"] = json!({"matchLabels": {"team": "blue"}});
    installation.declare("VMAnomaly", "main", spec).await.unwrap();
    let dropped = installation.wait::<AnomalyQuery>("alone", is_query("True", "NotSelected")).await.unwrap();
    assert!(dropped.status.unwrap().bindings.is_empty());
    installation.api::<VMAnomaly>().delete("main", &DeleteParams::default()).await.unwrap();
    installation.wait::<AnomalyModel>("alone", is_model("True", "NotSelected")).await.unwrap();
}

#[tokio::test]
async fn what_a_model_refers_to_may_come_later_and_only_the_right_vmanomaly_changes() {
    let installation = installation().await;
    let _operator = installation.operator(quick_settings()).await.unwrap();
    let other = |name: &str| json!({"matchLabels": {"for": name}});
    for name in ["main", "other"] {
        let mut spec = anomaly(1);
        spec["querySelector"] = other(name);
        spec["modelSelector"] = other(name);
        installation.declare("VMAnomaly", name, spec).await.unwrap();
    }
    let labelled = |kind: &str, name: &str, spec: Value| {
        json!({
            "apiVersion": "vmanomaly.dev/v1alpha1", "kind": kind,
            "metadata": {"name": name, "labels": {"for": "main"}}, "spec": spec,
        })
    };
    let mut spec = model();
    spec["queries"] = json!({"names": ["later"]});
    installation.apply(labelled("AnomalyModel", "early", spec)).await.unwrap();
    let waiting = installation.wait::<AnomalyModel>("early", is_model("False", "QueryNotFound")).await.unwrap();
    let ready = waiting.status.unwrap().conditions[0].clone();
    assert!(ready.message.contains("/later") && ready.message.contains("main"), "{ready:?}");
    installation.wait_until_silent(Duration::from_secs(1)).await.unwrap();
    let untouched = installation.api::<ConfigMap>().get("anomaly-other-config").await.unwrap();

    installation.apply(labelled("AnomalyQuery", "later", query())).await.unwrap();
    installation.wait::<AnomalyModel>("early", is_model("True", "Used")).await.unwrap();
    let has_it = |map: &ConfigMap| map.data.as_ref().unwrap()["config.yaml"].contains("later");
    installation.wait::<ConfigMap>("anomaly-main-config", has_it).await.unwrap();
    let now = installation.api::<ConfigMap>().get("anomaly-other-config").await.unwrap();
    assert_eq!(now.resource_version(), untouched.resource_version());
}

#[tokio::test]
async fn a_lost_status_is_rebuilt_and_transitions_are_told_once() {
    let installation = installation().await;
    let first = installation.operator(quick_settings()).await.unwrap();
    declare_all(&installation, 1).await;
    wait_until_rolled_out(&installation).await;
    installation.wait_until_silent(Duration::from_secs(1)).await.unwrap();
    let before = status(&installation.api::<VMAnomaly>().get("main").await.unwrap());
    drop(first);

    let mains = installation.api::<VMAnomaly>();
    let nothing = json!({"status": null});
    mains.patch_status("main", &PatchParams::default(), &Patch::Merge(nothing)).await.unwrap();
    let _second = installation.operator(quick_settings()).await.unwrap();
    let main = installation.wait::<VMAnomaly>("main", |main| ready(main).is_some()).await.unwrap();
    let facts = |status: &crds::anomaly::VMAnomalyStatus| {
        let conditions: Vec<_> =
            status.conditions.iter().map(|one| (one.type_.clone(), one.status.clone(), one.reason.clone())).collect();
        (conditions, status.epoch, status.config_revision.clone(), status.selector.clone())
    };
    assert_eq!(facts(&status(&main)), facts(&before));

    installation.wait_until_silent(Duration::from_secs(1)).await.unwrap();
    let events = installation.api::<Event>().list(&ListParams::default()).await.unwrap();
    let mut about_main: Vec<_> = events
        .iter()
        .filter(|event| event.regarding.as_ref().is_some_and(|about| about.name.as_deref() == Some("main")))
        .map(|event| (event.reason.clone().unwrap(), event.type_.clone().unwrap()))
        .collect();
    about_main.sort();
    // One of each operator, as the second one found no status; the token is created once.
    let expected = ["PeerTokenCreated", "WorkersStarting", "WorkersStarting"];
    assert_eq!(about_main, expected.map(|reason| (reason.to_owned(), "Normal".to_owned())));
}

#[tokio::test]
async fn an_invalid_configuration_is_named_and_the_one_before_stays() {
    let installation = installation().await;
    let _operator = installation.operator(quick_settings()).await.unwrap();
    let raw = |text: &str| json!({"shards": 1, "configRawYaml": text});
    let valid = "schedulers: {s: {class: periodic, infer_every: 1m, fit_every: 1d, fit_window: 1d}}\n\
                 models: {m: {class: zscore_online}}\n\
                 reader: {datasource_url: 'http://tsdb:8428', queries: {q: {expr: up}}, sampling_period: 1m}\n\
                 writer: {datasource_url: 'http://tsdb:8428'}\n";
    installation.declare("VMAnomaly", "main", raw(valid)).await.unwrap();
    wait_until_rolled_out(&installation).await;
    let map = installation.api::<ConfigMap>().get("anomaly-main-config").await.unwrap();
    installation.declare("VMAnomaly", "main", raw(&valid.replace("fit_every", "fit_evry"))).await.unwrap();
    let invalid = |main: &VMAnomaly| is(ready(main), "False", "InvalidConfig");
    let main = installation.wait::<VMAnomaly>("main", invalid).await.unwrap();
    let conditions = status(&main).conditions;
    let stalled = condition(&conditions, "Stalled").unwrap();
    assert!(stalled.message.contains("fit_evry") && stalled.message.contains("fit_every"), "{stalled:?}");
    let kept = installation.api::<ConfigMap>().get("anomaly-main-config").await.unwrap();
    assert_eq!(kept.resource_version(), map.resource_version());
}

#[tokio::test]
async fn one_undecodable_object_does_not_stop_the_others() {
    // Definitions that take everything stand for those of another release.
    let plane = ControlPlane::start().await.unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&definitions()).unwrap();
    let open = documents.into_iter().map(|mut definition| {
        let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = anything;
        definition.to_string()
    });
    plane.install_crds(&open.collect::<Vec<_>>().join("\n---\n")).await.unwrap();
    let installation = Installation::without_definitions(&plane).await.unwrap();
    let _operator = installation.operator(quick_settings()).await.unwrap();
    declare_all(&installation, 1).await;
    installation.declare("AnomalyQuery", "broken", json!({"expr": ["not", "a", "text"]})).await.unwrap();
    installation.declare("VMAnomaly", "broken", json!({"shards": 1, "reader": "somewhere"})).await.unwrap();
    wait_until_rolled_out(&installation).await;
    installation.wait::<AnomalyQuery>("up", is_query("True", "Used")).await.unwrap();
    for kind in ["AnomalyQuery", "VMAnomaly"] {
        let api = installation.dynamic(&json!({"apiVersion": "vmanomaly.dev/v1alpha1", "kind": kind}));
        let said = |object: Option<&kube::api::DynamicObject>| {
            object.is_some_and(|object| object.data["status"]["conditions"][0]["reason"] == "Undecodable")
        };
        let waiting = kube::runtime::wait::await_condition(api.clone(), "broken", said);
        tokio::time::timeout(tests::process::START, waiting).await.unwrap().unwrap();
        let broken = api.get("broken").await.unwrap();
        let message = broken.data["status"]["conditions"][0]["message"].as_str().unwrap();
        assert!(message.to_lowercase().contains("expected"), "{message}");
    }
    installation.wait_until_silent(Duration::from_secs(1)).await.unwrap();
}
