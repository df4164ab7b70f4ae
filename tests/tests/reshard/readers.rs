//! Shards that pull their series from the one that reads for all.

use config::ownership::home_shard;
use tests::signal::this_second;

use super::setting::{Deployment, SECOND};

/// Reads of all workers together.
async fn reads(deployment: &Deployment) -> f64 {
    let mut reads = 0.0;
    for node in deployment.nodes.values() {
        let metrics = node.worker.metrics().await.unwrap();
        reads += metrics.sum("vmanomaly_reader_responses_total", &[]).unwrap_or(0.0);
    }
    reads
}

#[tokio::test]
async fn three_shards_of_two_ranks_read_a_tick_once_and_without_the_home_the_next_shard_reads_for_all() {
    let mut deployment = Deployment::start("mode: all").await;
    deployment.write_topology("epoch: 1\nshards: 3\nranks: 2");
    deployment.add((0..3).flat_map(|shard| [(shard, 0), (shard, 1)])).await;
    let mut calm = deployment.calm().await;
    let begin = deployment.first_fit + 2 * SECOND;
    deployment.wait_for_tick(begin, 3).await;

    let before = reads(&deployment).await;
    let ticks = 10;
    deployment.wait_for_tick(this_second() + ticks * SECOND, 3).await;
    let read = reads(&deployment).await - before;
    // Of the fits between, one or two; and perhaps a tick more at either end.
    assert!((9.0..=15.0).contains(&read), "{read} reads for {ticks} ticks");

    let home = home_shard("load", 3.try_into().unwrap());
    let others: Vec<u32> = (0..3).filter(|shard| *shard != home).collect();
    for rank in 0..2 {
        deployment.get(home, rank).worker.kill();
    }
    let later = this_second() + 3 * SECOND;
    for shard in others {
        deployment.get(shard, 0).wait_for_tick(later).await;
    }
    for rank in 0..2 {
        deployment.get(home, rank).worker.restart().await.unwrap();
    }
    let end = this_second() + 3 * SECOND;
    deployment.wait_for_tick(end, 3).await;
    deployment.assert_as_undisturbed(&mut calm, end).await;
}
