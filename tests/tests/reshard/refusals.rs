//! Topologies that are not followed.

use serde_json::Value;

use super::setting::{Deployment, SECOND};
use tests::signal::this_second;

#[tokio::test]
async fn a_topology_that_goes_back_in_time_or_contradicts_is_refused_by_name_also_after_a_restart() {
    let mut deployment = Deployment::start("mode: all").await;
    deployment.write_topology("epoch: 3\nshards: 1\nsettled_epoch: 3");
    deployment.add([(0, 0)]).await;
    deployment.wait_for_tick(deployment.first_fit + SECOND, 1).await;

    let refusals = [
        ("epoch: 2\nshards: 2", "epoch: `2`: this worker has followed epoch 3"),
        (
            "epoch: 3\nshards: 2\nsettled_epoch: 3",
            "shards: `2` contradicts `1`, which this worker has followed as epoch 3",
        ),
        (
            "epoch: 3\nplacements: {load: {type: query}}\nsettled_epoch: 3",
            "placements: `{load: query}` contradicts `{}`",
        ),
        ("epoch: 3\nsettled_epoch: 1", "settled_epoch: `1`"),
    ];
    for (count, (topology, words)) in (1..).zip(refusals) {
        deployment.write_topology(topology);
        let refused = |status: &Value| {
            let error = status["config"]["last_error"].as_str().unwrap_or_default();
            status["config"]["reload"] == "invalid" && error.contains(words) && error.contains("topology.yaml")
        };
        let node = deployment.get(0, 0);
        node.wait_for_reload(refused).await;
        let failures =
            node.worker.metrics().await.unwrap().sum("vmanomaly_config_reloads_total", &["status=\"failure\""]);
        assert_eq!(failures, Some(f64::from(count)));
        node.wait_for_tick(this_second() + SECOND).await;
    }

    // The file is older than what the worker has stored.
    deployment.write_topology("epoch: 2\nshards: 2");
    let node = deployment.get(0, 0);
    node.worker.restart().await.unwrap();
    node.wait_for_words(
        "this worker has followed epoch 3 already; must be 3 or above: this worker goes on with epoch 3",
    )
    .await;
    let status = node.worker.status().await.unwrap();
    assert_eq!((&status["epoch"], &status["shards"]), (&3.into(), &1.into()), "{status}");
    assert!(
        status["config"]["reload"] == "invalid" && status["config"]["last_error"].as_str().unwrap().contains("`2`")
    );
    node.wait_for_tick(this_second() + SECOND).await;

    deployment.apply("epoch: 4\nshards: 1\nsettled_epoch: 4").await;
    let status = deployment.get(0, 0).worker.status().await.unwrap();
    assert_eq!((&status["epoch"], &status["config"]["reload"]), (&4.into(), &"applied".into()), "{status}");
}
