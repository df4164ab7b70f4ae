use crate::recording;
use crate::scene::{
    Scene, WITHIN, anomaly, eventually, gaps, import, manifests, model, outputs, query, scored_until, scores,
};
use serde_json::json;
use tests::signal::this_second;

const SERIES: usize = 8;
const AFTER: i64 = 10_000;

#[tokio::test]
async fn two_replicas_write_what_one_does_without_a_gap_while_both_are_updated_and_one_goes() {
    let scene = Scene::open("replicas").await;
    let tsdb = scene.tsdb().await;
    import(&tsdb, &recording::series(SERIES)).await;
    let mut two = anomaly("two", 1);
    two["spec"]["replicas"] = 2.into();
    two["spec"]["writer"]["mode"] = "All".into();
    let objects = [model("mad", 6.0), query("load", recording::METRIC), anomaly("one", 1), two.clone()];
    scene.apply(&manifests(&objects)).await;
    for name in ["one", "two"] {
        scene.ready(name, 1).await;
    }
    let from = this_second();
    scored_until(&tsdb, "two", SERIES, from + AFTER).await;

    let before = scene.processes("two").await;
    assert_eq!(before.len(), 2);
    two["spec"]["pod"] = json!({"annotations": {"changed": "yes"}});
    scene.apply(&manifests(&[two.clone()])).await;
    let mut fewest = before.len();
    eventually("two other pods", WITHIN, async || {
        let now = scene.processes("two").await;
        fewest = fewest.min(now.len());
        (now.len() == 2 && now.iter().all(|(uid, _)| before.iter().all(|(old, _)| old != uid))).then_some(())
    })
    .await;
    assert!(fewest >= 1, "one replica after the other");
    scene.ready("two", 1).await;

    two["spec"]["replicas"] = 1.into();
    scene.apply(&manifests(&[two])).await;
    eventually("one pod", WITHIN, async || (scene.processes("two").await.len() == 1).then_some(())).await;
    scene.ready("two", 1).await;
    let until = this_second() + AFTER;
    for name in ["one", "two"] {
        scored_until(&tsdb, name, SERIES, until).await;
    }
    assert_eq!(gaps(&outputs(&tsdb, "two").await, SERIES, from, until), Vec::<i64>::new());
    let (one, two) = (scores(&tsdb, "one").await, scores(&tsdb, "two").await);
    assert_eq!(two.rewritten(), None);
    assert_eq!(one.within(from, until).difference(&two.within(from, until), 0.0), None);
    scene.close().await;
}
