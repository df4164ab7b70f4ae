//! Hand-overs of series between shards, and of writing between ranks, by real processes on a real VictoriaMetrics.

#![allow(clippy::unwrap_used, reason = "functions that tests share are tests, too")]

mod kills;
mod readers;
mod refusals;
mod setting;
mod writers;

use setting::{Deployment, SECOND, SOON};
use tests::signal::this_second;

/// From one shard to three and back to two, all the time compared with a worker that nothing happens to.
async fn grow_and_shrink(ranks: u32) {
    let mut deployment = Deployment::start("mode: all").await;
    let topology = |rest: &str| format!("{rest}\nranks: {ranks}");
    let all_ranks = |shard: u32| (0..ranks).map(move |rank| (shard, rank));
    deployment.write_topology(&topology("epoch: 1\nshards: 1"));
    deployment.add(all_ranks(0)).await;
    let mut calm = deployment.calm().await;
    deployment.wait_for_tick(deployment.first_fit + 2 * SECOND, 1).await;

    deployment.write_topology(&topology("epoch: 2\nshards: 3\nprevious_shards: [1]\nsettled_epoch: 1"));
    deployment.add(all_ranks(1).chain(all_ranks(2))).await;
    deployment.wait_for_epoch(2).await;
    deployment.apply(&topology("epoch: 2\nshards: 3\nsettled_epoch: 2")).await;
    let settled = this_second() + 2 * SECOND;
    deployment.wait_for_tick(settled + 2 * SECOND, 3).await;
    deployment.assert_one_shard_a_series(settled, settled + 2 * SECOND);

    deployment.apply(&topology("epoch: 3\nshards: 2\nprevious_shards: [3]\nsettled_epoch: 2")).await;
    deployment.wait_for_epoch(3).await;
    deployment.apply(&topology("epoch: 3\nshards: 2\nsettled_epoch: 3")).await;
    let settled = this_second() + 2 * SECOND;
    let end = settled + 3 * SECOND;
    deployment.wait_for_tick(end, 2).await;
    deployment.assert_one_shard_a_series(settled, end);
    deployment.assert_as_undisturbed(&mut calm, end).await;

    // Whoever owns nothing any more waits, also after a restart, and keeps its volume.
    let gone = &mut deployment.get(2, 0).worker;
    gone.restart().await.unwrap();
    let waits = |status: &serde_json::Value| (status["not_ready"][0]["reason"] == "not_in_topology").then_some(());
    gone.wait_for_status("its waiting", SOON, waits).await.unwrap();
    let removed = |line: &serde_json::Value| line["message"].as_str().is_some_and(|text| text.contains("is removed"));
    assert!(!gone.log().iter().any(removed));
}

#[tokio::test]
async fn one_shard_becomes_three_and_then_two_and_not_a_sample_changes() {
    grow_and_shrink(1).await;
}

#[tokio::test]
async fn two_ranks_of_one_shard_become_two_of_three_and_then_of_two_and_not_a_sample_changes() {
    grow_and_shrink(2).await;
}
