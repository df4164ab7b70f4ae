//! Workers that are killed while series move between them.

use tests::signal::this_second;

use super::setting::{Deployment, SECOND};

#[tokio::test]
async fn a_hand_over_goes_on_after_either_side_was_killed_and_not_a_sample_changes() {
    let mut deployment = Deployment::start("mode: all").await;
    deployment.write_topology("epoch: 1\nshards: 1");
    deployment.add([(0, 0)]).await;
    let mut calm = deployment.calm().await;
    deployment.wait_for_tick(deployment.first_fit + 2 * SECOND, 1).await;

    // The former owner, as soon as it has released them.
    deployment.write_topology("epoch: 2\nshards: 2\nprevious_shards: [1]\nsettled_epoch: 1");
    deployment.add([(1, 0)]).await;
    deployment.get(0, 0).wait_for_words("series released").await;
    deployment.get(0, 0).worker.kill();
    deployment.get(0, 0).worker.restart().await.unwrap();
    deployment.wait_for_epoch(2).await;
    deployment.apply("epoch: 2\nshards: 2\nsettled_epoch: 2").await;
    deployment.wait_for_tick(this_second() + SECOND, 2).await;

    // The new owner, as soon as they are released to it, and before they have come to where the others stand.
    deployment.write_topology("epoch: 3\nshards: 3\nprevious_shards: [2]\nsettled_epoch: 2");
    deployment.add([(2, 0)]).await;
    deployment.get(1, 0).wait_for_words("series released").await;
    deployment.get(2, 0).worker.kill();
    deployment.get(0, 0).worker.kill();
    deployment.get(2, 0).worker.restart().await.unwrap();
    deployment.get(0, 0).worker.restart().await.unwrap();
    deployment.wait_for_epoch(3).await;
    deployment.apply("epoch: 3\nshards: 3\nsettled_epoch: 3").await;
    let settled = this_second() + 2 * SECOND;
    let end = settled + 2 * SECOND;
    deployment.wait_for_tick(end, 3).await;

    deployment.assert_one_shard_a_series(settled, end);
    deployment.assert_as_undisturbed(&mut calm, end).await;
}
