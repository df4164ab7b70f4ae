//! `writer.mode: failover`: which rank writes.

use std::time::{Duration, Instant};

use tests::fault_proxy::Fault;
use tests::signal::this_second;

use super::setting::{Deployment, IMPORT, SECOND, SOON};

/// As configured.
const FAILOVER_AFTER: Duration = Duration::from_secs(2);
const INFER_EVERY: Duration = Duration::from_secs(1);
/// For the time of a tick within its interval, and a busy machine.
const LEEWAY: Duration = Duration::from_secs(2);

/// Waits until this rank has written a tick after now; returns how long that took.
async fn writes_again(deployment: &mut Deployment, rank: u32) -> Duration {
    let started = Instant::now();
    assert!(deployment.get(0, rank).writes.further_requests(IMPORT, 1, SOON).await, "rank {rank} does not write");
    started.elapsed()
}

/// Checks that only this rank writes for some ticks.
async fn assert_writes_alone(deployment: &mut Deployment, rank: u32) {
    let other = 1 - rank;
    let before = deployment.get(0, other).writes.requests(IMPORT);
    assert!(deployment.get(0, rank).writes.further_requests(IMPORT, 3, SOON).await, "rank {rank} does not write");
    assert_eq!(deployment.get(0, other).writes.requests(IMPORT), before, "rank {other} writes, too");
}

#[tokio::test]
async fn one_rank_writes_and_the_next_takes_its_place_while_it_is_gone_or_stuck() {
    let mut deployment = Deployment::start("mode: failover, failover_after: 2s").await;
    deployment.write_topology("epoch: 1\nshards: 1\nranks: 2");
    deployment.add([(0, 0), (0, 1)]).await;
    let mut calm = deployment.calm().await;
    deployment.wait_for_tick(deployment.first_fit + 2 * SECOND, 1).await;
    assert_writes_alone(&mut deployment, 0).await;
    assert_eq!(deployment.get(0, 1).writes.requests(IMPORT), 0);

    deployment.get(0, 0).worker.kill();
    let took = writes_again(&mut deployment, 1).await;
    assert!(took <= FAILOVER_AFTER + INFER_EVERY + LEEWAY, "{took:?}");
    deployment.get(0, 1).wait_for_tick(this_second()).await;

    deployment.get(0, 0).worker.restart().await.unwrap();
    writes_again(&mut deployment, 0).await;
    deployment.get(0, 1).wait_for_tick(this_second() + SECOND).await;
    assert_writes_alone(&mut deployment, 0).await;

    // It answers rank 1, and reads, but cannot write.
    deployment.get(0, 0).writes.set(Fault::Reset);
    let took = writes_again(&mut deployment, 1).await;
    assert!(took >= FAILOVER_AFTER - INFER_EVERY && took <= FAILOVER_AFTER + INFER_EVERY + LEEWAY, "{took:?}");
    deployment.get(0, 0).writes.set(Fault::None);
    deployment.get(0, 1).wait_for_tick(this_second() + SECOND).await;
    assert_writes_alone(&mut deployment, 0).await;

    // It answers rank 1, and says that it works on the tick, but cannot read.
    deployment.get(0, 0).writes.set(Fault::Reset);
    deployment.reads.set_bearer("0-0", Fault::Reset);
    let took = writes_again(&mut deployment, 1).await;
    let stuck_after = 3 * FAILOVER_AFTER;
    assert!(took >= stuck_after - LEEWAY && took <= stuck_after + FAILOVER_AFTER + LEEWAY, "{took:?}");
    deployment.reads.set_bearer("0-0", Fault::None);
    deployment.get(0, 0).writes.set(Fault::None);
    // One that was passed is not waited for during ten times `failover_after`, unless it reads a tick first.
    writes_again(&mut deployment, 0).await;
    let end = this_second() + 4 * SECOND;
    for rank in 0..2 {
        deployment.get(0, rank).wait_for_tick(end).await;
    }
    assert_writes_alone(&mut deployment, 0).await;
    assert_eq!(deployment.sent().rewritten(), None);
    deployment.assert_as_undisturbed(&mut calm, end).await;
}
