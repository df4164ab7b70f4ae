use std::collections::BTreeMap;

use e2e::cluster::Cluster;
use e2e::installation::{NAMESPACE, RELEASE};
use serde_json::Value;
use tests::http::Endpoint;
use tests::signal::this_second;

use crate::recording;
use crate::scene::{Scene, WITHIN, anomaly, eventually, gaps, import, manifests, model, outputs, query, scored_until};

const SERIES: usize = 6;

/// How long detection goes on without the operator, ms.
const AWAY: i64 = 15_000;

#[tokio::test]
async fn while_the_operator_is_away_detection_goes_on_and_its_return_writes_nothing() {
    let scene = Scene::alone("operator-away").await;
    let tsdb = scene.tsdb().await;
    import(&tsdb, &recording::series(SERIES)).await;
    scene.apply(&manifests(&[model("mad", 6.0), query("load", recording::METRIC), anomaly("workers", 2)])).await;
    scene.ready("workers", 1).await;
    // Whatever the status still had to say is said when the first scores are there.
    scored_until(&tsdb, "workers", SERIES, this_second()).await;
    let before = versions(&scene).await;
    assert!(before.len() >= 9, "{before:?}");

    scale(scene.cluster, 0).await;
    let from = this_second();
    let until = from + AWAY;
    scored_until(&tsdb, "workers", SERIES, until).await;
    scale(scene.cluster, 1).await;
    // Two rounds over all workers: what it has to say about them is said.
    let metrics = scene.cluster.forward(NAMESPACE, RELEASE, 8080).await.unwrap();
    let metrics = Endpoint::new(metrics.address());
    let back = async || {
        let text = metrics.get("/metrics", &[]).await.ok()?;
        let text = String::from_utf8_lossy(&text).into_owned();
        (sum(&text, "vmanomaly_operator_poll_seconds_count") >= 2.0
            && sum(&text, "vmanomaly_operator_reconciles_total") >= 3.0)
            .then_some(())
    };
    eventually("the operator has looked at everything", WITHIN, back).await;

    assert_eq!(versions(&scene).await, before, "the return of the operator changes no object");
    let until = this_second();
    scored_until(&tsdb, "workers", SERIES, until).await;
    assert_eq!(gaps(&outputs(&tsdb, "workers").await, SERIES, from, until), Vec::<i64>::new());
    scene.close().await;
}

/// The version of every object that the operator writes, by kind and name.
async fn versions(scene: &Scene) -> BTreeMap<String, String> {
    let kinds = "vmanomalies,anomalymodels,anomalyqueries,configmaps,services,serviceaccounts,statefulsets,\
                 poddisruptionbudgets,pods";
    let listed: Value = serde_json::from_str(&scene.kubectl(&["get", kinds, "--output", "json"]).await).unwrap();
    let items = listed["items"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    items
        .map(|item| {
            let metadata = &item["metadata"];
            (format!("{}/{}", text(&item["kind"]), text(&metadata["name"])), text(&metadata["resourceVersion"]))
        })
        .collect()
}

async fn scale(cluster: &Cluster, replicas: u32) {
    let deployment = format!("deployment/{RELEASE}");
    let replicas_argument = format!("--replicas={replicas}");
    cluster.kubectl(&["--namespace", NAMESPACE, "scale", &deployment, &replicas_argument]).await.unwrap();
    let selector = "--selector=app.kubernetes.io/name=vmanomaly-operator";
    let as_many = async || {
        let pods = cluster.kubectl(&["--namespace", NAMESPACE, "get", "pods", selector, "--output", "name"]).await;
        (pods.unwrap().lines().count() == replicas as usize).then_some(())
    };
    eventually("as many operators", WITHIN, as_many).await;
    if replicas > 0 {
        cluster.kubectl(&["--namespace", NAMESPACE, "rollout", "status", &deployment, "--timeout=120s"]).await.unwrap();
    }
}

fn sum(text: &str, name: &str) -> f64 {
    let lines = text.lines().filter(|line| line.starts_with(name));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}
