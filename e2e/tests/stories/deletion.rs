use serde_json::Value;
use tests::signal::this_second;

use crate::recording;
use crate::scene::{Scene, WITHIN, anomaly, eventually, import, manifests, model, outputs, query, scored_until};

const SERIES: usize = 4;

/// Kinds of children, but for volume claims.
const CHILDREN: &str =
    "configmaps,secrets,services,serviceaccounts,statefulsets,poddisruptionbudgets,networkpolicies,pods";

#[tokio::test]
async fn deleting_a_vmanomaly_removes_its_children_and_leaves_the_scores() {
    let scene = Scene::open("deletion").await;
    let tsdb = scene.tsdb().await;
    import(&tsdb, &recording::series(SERIES)).await;
    let mut keeping = anomaly("keeping", 1);
    keeping["spec"]["storage"]["volumeClaim"]["retention"]["whenDeleted"] = "Retain".into();
    let objects = [model("mad", 6.0), query("load", recording::METRIC), anomaly("leaving", 2), keeping];
    scene.apply(&manifests(&objects)).await;
    for name in ["leaving", "keeping"] {
        scene.ready(name, 1).await;
        scored_until(&tsdb, name, SERIES, this_second()).await;
        assert!(children(&scene, name, CHILDREN).await.len() >= 9, "there is something to remove");
    }
    assert_eq!(children(&scene, "leaving", "persistentvolumeclaims").await.len(), 2);

    scene.kubectl(&["delete", "vmanomaly", "leaving", "keeping"]).await;
    for name in ["leaving", "keeping"] {
        let gone = async || children(&scene, name, CHILDREN).await.is_empty().then_some(());
        eventually("no children", WITHIN, gone).await;
    }
    let claims = async || children(&scene, "leaving", "persistentvolumeclaims").await.is_empty().then_some(());
    eventually("no volume claims", WITHIN, claims).await;
    assert_eq!(children(&scene, "keeping", "persistentvolumeclaims").await, ["state-anomaly-keeping-r0-0"]);
    for name in ["leaving", "keeping"] {
        let scores = outputs(&tsdb, name).await;
        assert_eq!(scores.iter().filter(|series| series.label("__name__") == "anomaly_score").count(), SERIES);
    }
    // The others were nobody's children.
    assert_eq!(scene.object("anomalymodel/mad").await["status"]["selectedBy"], 0);
    scene.close().await;
}

/// Names of the children of a VMAnomaly.
async fn children(scene: &Scene, anomaly: &str, kinds: &str) -> Vec<String> {
    let selector = format!("--selector=app.kubernetes.io/instance={anomaly}");
    let listed = scene.kubectl(&["get", kinds, &selector, "--output", "json"]).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let names = listed["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap());
    names.map(str::to_owned).collect()
}
