use e2e::faults::{self, Signal};
use tests::signal::this_second;

use crate::recording;
use crate::scene::{
    Scene, WITHIN, anomaly, eventually, gaps, import, manifests, model, outputs, pod, query, scored_until, scores,
};

const SERIES: usize = 8;
const AFTER: i64 = 15_000;

#[tokio::test]
async fn a_worker_killed_with_signal_9_leaves_no_gap_and_no_changed_value() {
    let scene = Scene::open("killed-worker").await;
    let tsdb = scene.tsdb().await;
    import(&tsdb, &recording::series(SERIES)).await;
    let objects =
        [model("mad", 6.0), query("load", recording::METRIC), anomaly("undisturbed", 1), anomaly("killed", 1)];
    scene.apply(&manifests(&objects)).await;
    for name in ["undisturbed", "killed"] {
        scene.ready(name, 1).await;
    }
    let from = this_second();
    scored_until(&tsdb, "killed", SERIES, from + 5 * recording::STEP).await;

    let before = scene.processes("killed").await;
    kill(&scene, &pod("killed", 0)).await;
    eventually("another process", WITHIN, async || {
        let now = scene.processes("killed").await;
        (now.len() == 1 && now != before).then_some(())
    })
    .await;
    let until = this_second() + AFTER;
    for name in ["undisturbed", "killed"] {
        scored_until(&tsdb, name, SERIES, until).await;
    }

    assert_eq!(gaps(&outputs(&tsdb, "killed").await, SERIES, from, until), Vec::<i64>::new());
    let (undisturbed, killed) = (scores(&tsdb, "undisturbed").await, scores(&tsdb, "killed").await);
    assert_eq!(killed.rewritten(), None);
    assert_eq!(undisturbed.within(from, until).difference(&killed.within(from, until), 0.0), None);
    scene.close().await;
}

/// On our own node the process itself; elsewhere the pod, at once, which does the same to its process.
async fn kill(scene: &Scene, pod: &str) {
    let Some(node) = scene.cluster.node() else {
        scene.kubectl(&["delete", "pod", pod, "--grace-period=0", "--force"]).await;
        return;
    };
    faults::signal(faults::process(node, pod).unwrap(), Signal::Kill).unwrap();
}
