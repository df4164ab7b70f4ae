//! Several ranks of a shard as real processes that talk over HTTP.

#![allow(clippy::unwrap_used, reason = "functions that tests share are tests, too")]

mod changes;
mod failures;
mod setting;
mod tuning;
#[cfg(feature = "next-contract")]
mod upgrades;

use setting::{SECOND, Setting, assert_no_gap, first_written, have_equal_chains};
use tests::scores::Scores;

#[tokio::test]
async fn two_ranks_write_the_same_values_and_read_each_range_once() {
    let setting = Setting::start().await;
    let [mut first, mut second] = setting.ranks().await;
    let end = setting.first_fit + 12 * SECOND;
    first.wait_for_tick(end).await;
    let begin = first_written(&mut second, end).await;
    let read = setting.ranges_read();

    assert!(have_equal_chains(&[&first, &second], end).await);
    assert_no_gap(&first.sent(), setting.first_fit + SECOND, end);
    let (found, wanted) = (second.sent().within(begin, end), first.sent().within(begin, end));
    assert_eq!(found.difference(&wanted, 0.0), None);
    // Twelve ticks, two fits, and what was read since the last of them.
    assert!((12 + 2..12 + 2 + 4).contains(&read), "{read} ranges read");
    setting.tsdb.everything_visible().await.unwrap();
    let stored = Scores::of(&setting.tsdb.export("{model_alias!=\"\"}").await.unwrap(), "default");
    assert_eq!(stored.within(begin, end).rewritten(), None);

    for rank in [&first, &second] {
        let status = rank.worker.status().await.unwrap();
        assert_eq!((&status["ranks"], &status["ready"]), (&2.into(), &true.into()), "{status}");
        assert_eq!(rank.asked("refused").await + rank.asked("garbage").await, 0.0);
        assert!(rank.asked("ok").await > 12.0);
        let metrics = rank.worker.metrics().await.unwrap();
        assert!(metrics.sum("vmanomaly_peer_questions_total", &["status=\"200\""]).unwrap() > 12.0);
        assert_eq!(metrics.sum("vmanomaly_replica_divergences_total", &[]).unwrap_or(0.0), 0.0);
    }
}
