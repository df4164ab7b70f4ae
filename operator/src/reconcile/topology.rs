//! The next topology, and how many pods there should be. Pure.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use config::ownership::Spread;
use config::topology::{CONTRACT_VERSION, Peers, Topology};

/// Shard counts that are remembered while nothing settles.
const REMEMBERED: usize = 8;

/// What a topology is asked to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Number of shards.
    pub shards: NonZeroU32,
    /// Replicas of every shard.
    pub ranks: NonZeroU32,
    /// By query alias, the placement of queries that are not spread by series.
    pub placements: BTreeMap<String, Spread>,
    /// How workers reach each other.
    pub peers: Option<Peers>,
}

/// The topology that should be in effect.
///
/// `recorded` is the one in the ConfigMap, `floor` the highest epoch that anybody has reported, `settled` whether all
/// workers have the recorded one and no series is on its way any more. An epoch is never used twice: when the ConfigMap is lost, the next one is above
/// everything that was seen. It says who owns which series, and more or fewer replicas change nothing about that.
#[must_use]
pub fn next(recorded: Option<&Topology>, floor: u64, wanted: Layout, settled: bool) -> Topology {
    let Layout { shards, ranks, placements, peers } = wanted;
    let settled_epoch = recorded.map_or(0, |recorded| if settled { recorded.epoch } else { recorded.settled_epoch });
    let new = |epoch, previous_shards, placements| Topology {
        contract_version: CONTRACT_VERSION,
        epoch,
        shards,
        previous_shards,
        settled_epoch,
        ranks,
        placements,
        peers,
    };
    let Some(recorded) = recorded else { return new(floor + 1, Vec::new(), placements) };
    if recorded.shards == shards && recorded.placements == placements {
        let previous = if settled { Vec::new() } else { recorded.previous_shards.clone() };
        return new(recorded.epoch, previous, placements);
    }
    let mut previous = if settled { Vec::new() } else { recorded.previous_shards.clone() };
    // A changed placement moves series, too.
    previous.retain(|count| *count != recorded.shards);
    previous.insert(0, recorded.shards);
    previous.truncate(REMEMBERED);
    new(recorded.epoch.max(floor) + 1, previous, placements)
}

/// How many pods there should be: at once more, but fewer only when all workers that stay have taken the topology
/// over (`taken_over`), because until then the ones that go own series.
#[must_use]
pub fn pods(shards: NonZeroU32, live: Option<u32>, taken_over: bool) -> u32 {
    match live {
        Some(live) if live > shards.get() && !taken_over => live,
        _ => shards.get(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn count(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    fn next(recorded: Option<&Topology>, floor: u64, shards: u32, ranks: u32, settled: bool) -> Topology {
        let placements = BTreeMap::new();
        let wanted = Layout { shards: count(shards), ranks: count(ranks), placements, peers: None };
        super::next(recorded, floor, wanted, settled)
    }

    #[test]
    fn a_lost_topology_gets_an_epoch_that_nobody_has_seen() {
        assert_eq!(next(None, 0, 3, 1, false).epoch, 1);
        assert_eq!(next(None, 7, 3, 1, false).epoch, 8);
    }

    #[test]
    fn shard_counts_are_remembered_newest_first_until_the_workers_have_followed() {
        let first = next(None, 0, 3, 1, false);
        let second = next(Some(&first), 1, 5, 1, true);
        let third = next(Some(&second), 1, 4, 1, false);
        assert_eq!((third.epoch, third.previous_shards.clone()), (3, vec![count(5), count(3)]));
        let settled = next(Some(&third), 3, 4, 1, true);
        assert_eq!((settled.epoch, settled.previous_shards), (3, vec![]));
    }

    #[test]
    fn replicas_come_and_go_without_a_new_epoch() {
        let one = next(None, 0, 3, 1, false);
        let two = next(Some(&one), 1, 3, 2, true);
        assert_eq!((two.epoch, two.ranks, two.previous_shards.clone()), (1, count(2), vec![]));
        assert_eq!(next(Some(&two), 1, 3, 1, true), Topology { settled_epoch: 1, ..one });
    }

    #[test]
    fn pods_go_only_when_the_others_have_taken_over() {
        assert_eq!(pods(count(2), Some(3), false), 3);
        assert_eq!(pods(count(2), Some(3), true), 2);
        assert_eq!(pods(count(4), Some(3), false), 4);
        assert_eq!(pods(count(4), None, false), 4);
    }

    proptest! {
        #[test]
        fn epochs_only_grow_and_grow_with_every_change(steps in prop::collection::vec((1_u32..6, any::<bool>(), 0_u64..20), 1..30)) {
            let mut topology = next(None, 0, 1, 1, false);
            for (shards, settled, floor) in steps {
                let following = next(Some(&topology), floor, shards, 1, settled);
                prop_assert!(following.epoch >= topology.epoch);
                prop_assert_eq!(following.epoch > topology.epoch, following.shards != topology.shards);
                prop_assert!(!following.previous_shards.contains(&following.shards) || topology.previous_shards.contains(&following.shards));
                topology = following;
            }
        }
    }
}
