use std::collections::BTreeSet;

use serde_json::Value;

use crate::recording;
use crate::scene::{Scene, anomaly, import, manifests, model, query};

const SERIES: usize = 8;

#[tokio::test]
async fn the_network_policy_lets_the_workers_of_one_vmanomaly_and_nobody_else_to_the_port_of_workers() {
    let scene = Scene::open("network-policy").await;
    let tsdb = scene.tsdb().await;
    import(&tsdb, &recording::series(SERIES)).await;
    let mut guarded = anomaly("guarded", 2);
    guarded["spec"]["replicas"] = 2.into();
    guarded["spec"]["writer"]["mode"] = "All".into();
    let objects = [model("mad", 6.0), query("load", recording::METRIC), anomaly("neighbour", 1), guarded];
    scene.apply(&manifests(&objects)).await;
    for name in ["guarded", "neighbour"] {
        scene.ready(name, 1).await;
    }

    let policy = scene.object("networkpolicy/anomaly-guarded").await;
    let workers: BTreeSet<_> =
        [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(rank, shard)| format!("anomaly-guarded-r{rank}-{shard}")).into();
    assert_eq!(policy["spec"]["policyTypes"], serde_json::json!(["Ingress"]));
    assert_eq!(selected(&scene, &policy["spec"]["podSelector"]).await, workers, "whom it protects");

    let rules = policy["spec"]["ingress"].as_array().unwrap();
    let port = async |name: &str| {
        let pod = scene.object("pod/anomaly-guarded-r1-1").await;
        let ports = pod["spec"]["containers"][0]["ports"].as_array().unwrap();
        ports.iter().find(|port| port["name"] == name).unwrap()["containerPort"].clone()
    };
    let of = |port: &Value| {
        let rules: Vec<_> = rules
            .iter()
            .filter(|rule| rule["ports"].as_array().unwrap().iter().any(|one| one["port"] == *port))
            .collect();
        assert_eq!(rules.len(), 1, "{rules:?}");
        rules[0].clone()
    };
    let peers = of(&port("peers").await);
    let from = peers["from"].as_array().unwrap();
    assert_eq!(from.len(), 1, "{from:?}");
    assert!(from[0]["namespaceSelector"].is_null(), "only of this namespace");
    assert_eq!(selected(&scene, &from[0]["podSelector"]).await, workers, "who reaches the port of workers");
    assert!(of(&port("http").await)["from"].is_null(), "the operator and whoever scrapes reach the server");
    scene.close().await;
}

/// The pods of the whole cluster, the operator's included, that a selector matches.
async fn selected(scene: &Scene, selector: &Value) -> BTreeSet<String> {
    assert!(selector["matchExpressions"].is_null());
    let labels = selector["matchLabels"].as_object().unwrap().iter();
    let labels: Vec<_> = labels.map(|(name, value)| format!("{name}={}", value.as_str().unwrap())).collect();
    assert!(!labels.is_empty(), "an empty selector matches all pods");
    let list = [
        "get",
        "pods",
        "--all-namespaces",
        "--selector",
        &labels.join(","),
        "--output",
        "jsonpath={.items[*].metadata.name}",
    ];
    let names = scene.cluster.kubectl(&list).await.unwrap();
    names.split_whitespace().map(str::to_owned).collect()
}
