//! The operator asks for what the chart allows it, all of it, and nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use crds::{AnomalyQuery, VMAnomaly};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, DynamicObject, PostParams};
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};
use tests::kubernetes::audit::Permission;
use tests::kubernetes::control_plane::ControlPlane;
use tests::kubernetes::crds::foreign_definition;
use tests::kubernetes::installation::{Installation, chart, quick_settings};

use crate::fixtures::{anomaly, declare_all, is, ready, wait_until_rolled_out};

/// The permissions of the chart's Role.
async fn granted(namespace: &str) -> BTreeSet<Permission> {
    let watched = format!("watchNamespaces={{{namespace}}}");
    let objects = chart(namespace, &["--set", &watched]).await.unwrap();
    let role = objects.iter().find(|object| object["kind"] == "Role").unwrap();
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut granted = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        for api_group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    granted.insert(Permission { verb, api_group: api_group.clone(), resource: resource.clone() });
                }
            }
        }
    }
    granted
}

/// An object with the name of a child, of nobody.
async fn squat(installation: &Installation<'_>, object: Value) -> DynamicObject {
    let squatter: DynamicObject = serde_json::from_value(object.clone()).unwrap();
    installation.dynamic(&object).create(&PostParams::default(), &squatter).await.unwrap()
}

#[tokio::test]
async fn every_right_of_the_chart_is_used_and_none_is_missing() {
    let plane = ControlPlane::start().await.unwrap();
    let (group, version) = ("monitoring.coreos.com", "v1");
    plane.install_crds(&foreign_definition(group, version, "PodMonitor", "podmonitors")).await.unwrap();
    let installation = Installation::new(&plane).await.unwrap();

    // Every child's name is taken at first.
    let selector = json!({"matchLabels": {"a": "b"}});
    let template = json!({
        "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "none"}]},
    });
    let squatters = [
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "anomaly-main-config"}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "anomaly-main"}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "anomaly-main"}, "spec": {"ports": [{"port": 1}]}}),
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "anomaly-main"}}),
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "anomaly-main"},
            "spec": {"podSelector": {}},
        }),
        json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "anomaly-main-r0"},
            "spec": {"selector": selector, "template": template, "serviceName": "s"},
        }),
    ];
    for squatter in &squatters {
        squat(&installation, squatter.clone()).await;
    }
    let _operator = installation.operator(quick_settings()).await.unwrap();
    declare_all(&installation, 1).await;
    installation.wait::<VMAnomaly>("main", |main| is(ready(main), "False", "NameTaken")).await.unwrap();
    for squatter in &squatters {
        let name = squatter["metadata"]["name"].as_str().unwrap();
        installation.dynamic(squatter).delete(name, &DeleteParams::default()).await.unwrap();
    }
    wait_until_rolled_out(&installation).await;

    // Scrape objects: a better kind comes, the other one goes, then none is wanted; children that nobody asks for go.
    let (group, version) = ("operator.victoriametrics.com", "v1beta1");
    let monitor = json!({"apiVersion": "monitoring.coreos.com/v1", "kind": "PodMonitor"});
    let scrape = json!({"apiVersion": "operator.victoriametrics.com/v1beta1", "kind": "VMPodScrape"});
    wait_for(&installation, &monitor, true).await;
    plane.install_crds(&foreign_definition(group, version, "VMPodScrape", "vmpodscrapes")).await.unwrap();
    wait_for(&installation, &scrape, true).await;
    wait_for(&installation, &monitor, false).await;
    let mut spec = anomaly(1);
    spec["monitoring"] = json!({"scrape": false});
    spec["pod"] = json!({"serviceAccountName": "mine"});
    installation.declare("VMAnomaly", "main", spec).await.unwrap();
    wait_for(&installation, &scrape, false).await;
    installation.wait_until_gone::<ServiceAccount>("anomaly-main").await.unwrap();

    // What a former release made is removed, whatever its kind.
    let owner = installation.api::<VMAnomaly>().get("main").await.unwrap().metadata.uid;
    for (squatter, name) in squatters.iter().zip(["config", "account", "service", "budget", "policy", "set"]) {
        let mut former = squatter.clone();
        former["metadata"] = json!({
            "name": format!("former-{name}"),
            "labels": {"app.kubernetes.io/managed-by": "vmanomaly-operator", "app.kubernetes.io/name": "vmanomaly"},
            "ownerReferences": [{
                "apiVersion": "vmanomaly.dev/v1alpha1", "kind": "VMAnomaly", "name": "main", "uid": owner,
                "controller": true,
            }],
        });
        squat(&installation, former).await;
    }
    installation.wait_until_gone::<ConfigMap>("former-config").await.unwrap();
    installation.wait_until_gone::<Service>("former-service").await.unwrap();
    installation.wait_until_gone::<ServiceAccount>("former-account").await.unwrap();
    installation.wait_until_gone::<PodDisruptionBudget>("former-budget").await.unwrap();
    installation.wait_until_gone::<NetworkPolicy>("former-policy").await.unwrap();
    installation.wait_until_gone::<StatefulSet>("former-set").await.unwrap();

    // A changed query is read live, so is a changed model; a pod that is behind is touched; an event is repeated.
    installation.declare("AnomalyQuery", "up", json!({"expr": "up == 0"})).await.unwrap();
    installation.declare("AnomalyModel", "zscore", json!({"zscoreOnline": {"zThreshold": 3.0}})).await.unwrap();
    let newest = |query: &AnomalyQuery| query.status.as_ref().and_then(|status| status.observed_generation) == Some(2);
    installation.wait::<AnomalyQuery>("up", newest).await.unwrap();
    crate::workers::start_behind(&installation).await;
    let touched = |pod: &Pod| kube::ResourceExt::annotations(pod).contains_key("vmanomaly.dev/expected-config");
    installation.wait::<Pod>("anomaly-main-r0-0", touched).await.unwrap();
    for _ in 0..2 {
        for paused in [true, false] {
            let mut spec = anomaly(1);
            spec["paused"] = paused.into();
            installation.declare("VMAnomaly", "main", spec).await.unwrap();
            let reached = |main: &VMAnomaly| ready(main).is_some_and(|(_, reason)| (reason == "Paused") == paused);
            installation.wait::<VMAnomaly>("main", reached).await.unwrap();
        }
    }
    installation.wait_until_silent(Duration::from_secs(1)).await.unwrap();

    let requests = installation.requests().unwrap();
    let refused: Vec<_> = requests.iter().filter(|event| event.response_status.code == 403).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    let cluster_wide: Vec<_> =
        requests.iter().filter(|event| event.object.is_some() && event.namespace().is_empty()).collect();
    assert!(cluster_wide.is_empty(), "{cluster_wide:#?}");
    let used: BTreeSet<Permission> = requests.iter().flat_map(|event| event.permissions()).collect();
    let granted = granted(&installation.namespace).await;
    let list =
        |set: &BTreeSet<Permission>, other: &BTreeSet<Permission>| set.difference(other).cloned().collect::<Vec<_>>();
    assert_eq!(
        (list(&used, &granted), list(&granted, &used)),
        (vec![], vec![]),
        "used without right, right without use"
    );
}

async fn wait_for(installation: &Installation<'_>, kind: &Value, there: bool) {
    let api = installation.dynamic(kind);
    let condition = move |object: Option<&DynamicObject>| object.is_some() == there;
    let waiting = async {
        // The API server refuses to list a kind whose definition it has just got.
        while await_condition(api.clone(), "anomaly-main", condition).await.is_err() {
            tokio::time::sleep(tests::process::POLL).await;
        }
    };
    tokio::time::timeout(tests::process::START, waiting).await.unwrap();
}
