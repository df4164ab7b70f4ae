//! The next topology, and how many pods there should be. Pure.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use config::ownership::Spread;
use config::topology::{Peers, Topology};

use crate::reconcile::following::Following;

/// What a topology is asked to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Version of the contract in which it is written.
    pub contract_version: u32,
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
/// `recorded` is the one in the ConfigMap, `following` how far workers have followed it, `floor` the highest epoch that
/// anybody has reported. An epoch is never used twice: when the ConfigMap is lost, the next one is above everything
/// that was seen. It says who owns which series, and more or fewer replicas change nothing about that.
///
/// While series are on their way nothing changes, so that of several wishes only the last one counts; what is overdue
/// does not hold up the next epoch any more. An epoch and a number of replicas never change at once.
#[must_use]
pub fn next(recorded: Option<&Topology>, floor: u64, wanted: Layout, following: &Following) -> Topology {
    let Layout { contract_version, shards, ranks, placements, peers } = wanted;
    let Some(recorded) = recorded else {
        let (epoch, previous_shards, settled_epoch) = (floor + 1, Vec::new(), 0);
        return Topology { contract_version, epoch, shards, previous_shards, settled_epoch, ranks, placements, peers };
    };
    let settled = following.settled || recorded.settled_epoch == recorded.epoch;
    let is_moving = !settled && !recorded.previous_shards.is_empty();
    let mut next = Topology { contract_version, peers, ..recorded.clone() };
    if settled {
        next.previous_shards.clear();
        next.settled_epoch = recorded.epoch;
    }
    let is_same = recorded.shards == shards && recorded.placements == placements;
    // Volumes may outlive a VMAnomaly: their workers refuse what is older than what they remember.
    let is_outdated = floor > recorded.epoch;
    if is_same && is_outdated {
        next.epoch = floor + 1;
    } else if !is_same && (!is_moving || following.overdue || is_outdated) {
        next.epoch = recorded.epoch.max(floor) + 1;
        // A changed placement moves series, too.
        next.previous_shards.retain(|count| *count != recorded.shards);
        next.previous_shards.insert(0, recorded.shards);
        (next.shards, next.placements) = (shards, placements);
    } else if !is_moving || (if ranks > recorded.ranks { following.overdue } else { following.may_go() }) {
        next.ranks = ranks;
    }
    next
}

/// How many pods there should be: at once more, but fewer only when those that are too many may go, because until then
/// they own series.
#[must_use]
pub fn pods(shards: NonZeroU32, live: Option<u32>, may_go: bool) -> u32 {
    match live {
        Some(live) if live > shards.get() && !may_go => live,
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

    const OPEN: Following = following(false, false);
    const SETTLED: Following = following(true, false);
    const OVERDUE: Following = following(false, true);

    const fn following(settled: bool, overdue: bool) -> Following {
        Following { settled, silent: Vec::new(), behind: Vec::new(), open: Vec::new(), overdue }
    }

    fn next(recorded: Option<&Topology>, floor: u64, shards: u32, ranks: u32, following: &Following) -> Topology {
        let placements = BTreeMap::new();
        let (shards, ranks) = (count(shards), count(ranks));
        let wanted = Layout { contract_version: 1, shards, ranks, placements, peers: None };
        super::next(recorded, floor, wanted, following)
    }

    /// Epoch, shards, former shards, settled epoch.
    fn told(topology: &Topology) -> (u64, u32, Vec<u32>, u64) {
        let previous = topology.previous_shards.iter().map(|count| count.get()).collect();
        (topology.epoch, topology.shards.get(), previous, topology.settled_epoch)
    }

    #[test]
    fn a_lost_topology_gets_an_epoch_that_nobody_has_seen() {
        assert_eq!(next(None, 0, 3, 1, &OPEN).epoch, 1);
        assert_eq!(next(None, 7, 3, 1, &OPEN).epoch, 8);
    }

    #[test]
    fn a_newer_wish_waits_while_series_move_and_only_the_newest_counts() {
        let first = next(Some(&next(None, 0, 1, 1, &OPEN)), 1, 1, 1, &SETTLED);
        let second = next(Some(&first), 1, 3, 1, &SETTLED);
        assert_eq!(told(&second), (2, 3, vec![1], 1));
        assert_eq!(next(Some(&second), 2, 5, 1, &OPEN), second);
        assert_eq!(next(Some(&second), 2, 2, 1, &OPEN), second);
        assert_eq!(told(&next(Some(&second), 2, 2, 1, &SETTLED)), (3, 2, vec![3], 2));
        let settled = next(Some(&second), 2, 3, 1, &SETTLED);
        assert_eq!(told(&settled), (2, 3, vec![], 2));
        assert_eq!(next(Some(&settled), 2, 3, 1, &OPEN), settled, "what has settled stays settled");
    }

    #[test]
    fn after_the_timeout_a_newer_wish_starts_and_every_count_since_the_last_settled_epoch_is_kept() {
        let first = next(Some(&next(None, 0, 1, 1, &OPEN)), 1, 1, 1, &SETTLED);
        let second = next(Some(&first), 1, 3, 1, &OPEN);
        let third = next(Some(&second), 2, 2, 1, &OVERDUE);
        assert_eq!(told(&third), (3, 2, vec![3, 1], 1));
        assert_eq!(told(&next(Some(&third), 3, 3, 1, &OVERDUE)), (4, 3, vec![2, 3, 1], 1));
        assert_eq!(next(Some(&third), 3, 2, 1, &OVERDUE), third, "without a newer wish it goes on");
    }

    #[test]
    fn workers_that_remember_a_later_epoch_get_one_that_is_later_still() {
        let new = next(None, 0, 3, 1, &OPEN);
        assert_eq!(next(Some(&new), 5, 3, 1, &OPEN), Topology { epoch: 6, ..new.clone() });
        assert_eq!(next(Some(&new), 5, 2, 1, &OPEN).epoch, 6);
    }

    #[test]
    fn replicas_come_and_go_without_a_new_epoch_and_not_while_series_move() {
        let one = next(None, 0, 3, 1, &OPEN);
        let two = next(Some(&one), 1, 3, 2, &SETTLED);
        assert_eq!((told(&two), two.ranks), ((1, 3, vec![], 1), count(2)));
        assert_eq!(next(Some(&two), 1, 3, 1, &SETTLED), Topology { settled_epoch: 1, ..one });
        let moving = next(Some(&two), 1, 5, 1, &SETTLED);
        assert_eq!((moving.epoch, moving.ranks), (2, count(2)));
        assert_eq!(next(Some(&moving), 2, 5, 1, &OPEN).ranks, count(2));
        let busy = Following { open: vec!["r0-0".to_owned()], ..OVERDUE };
        assert_eq!(next(Some(&moving), 2, 5, 1, &busy).ranks, count(2));
        assert_eq!(next(Some(&moving), 2, 5, 1, &OVERDUE).ranks, count(1));
        assert_eq!(next(Some(&moving), 2, 5, 1, &SETTLED).ranks, count(1));
    }

    #[test]
    fn pods_go_only_when_they_may() {
        assert_eq!(pods(count(2), Some(3), false), 3);
        assert_eq!(pods(count(2), Some(3), true), 2);
        assert_eq!(pods(count(4), Some(3), false), 4);
        assert_eq!(pods(count(4), None, false), 4);
    }

    proptest! {
        #[test]
        fn an_epoch_is_never_reused_and_no_count_is_lost_before_an_epoch_has_settled(
            steps in prop::collection::vec((1_u32..6, 1_u32..4, any::<(bool, bool)>(), 0_u64..20), 1..40),
        ) {
            let mut topology = next(None, 0, 1, 1, &OPEN);
            let mut since_settled = vec![topology.shards];
            for (shards, ranks, (settled, overdue), floor) in steps {
                let following = next(Some(&topology), floor, shards, ranks, &following(settled, overdue));
                let is_new = following.epoch != topology.epoch;
                prop_assert!(following.epoch >= topology.epoch && (!is_new || following.epoch > floor));
                prop_assert_eq!(is_new, following.shards != topology.shards || floor > topology.epoch);
                prop_assert!(!is_new || following.ranks == topology.ranks);
                prop_assert!(following.settled_epoch >= topology.settled_epoch);
                if following.settled_epoch != topology.settled_epoch {
                    prop_assert!(settled && following.settled_epoch == topology.epoch);
                    since_settled = vec![topology.shards];
                }
                if is_new {
                    since_settled.push(following.shards);
                }
                let known: Vec<_> = following.previous_shards.iter().chain([&following.shards]).collect();
                let has_settled = following.settled_epoch == following.epoch;
                prop_assert!(has_settled || !is_new || since_settled.iter().all(|count| known.contains(&count)));
                topology = following;
            }
        }
    }
}
