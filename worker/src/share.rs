//! Which series a worker takes in, and which it keeps, while series move between shards. Pure.
//!
//! A topology with former shard counts asks for hand-overs: of all series that a shard has and another one owns now.
//! Until a shard has released them it goes on with them, and until the new owner has taken them it leaves them alone.

use std::{collections::BTreeSet, num::NonZeroU32};

use config::{ownership::Spread, topology::Topology};
use serde::{Deserialize, Serialize};

/// All series of a job that one shard gives to another in one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Handover {
    /// Epoch of the topology that asks for it.
    pub epoch: u64,
    /// The shard that has them.
    pub from: u32,
    /// The shard that owns them now.
    pub to: u32,
}

impl std::fmt::Display for Handover {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { epoch, from, to } = self;
        write!(formatter, "{epoch}.{from}-{to}")
    }
}

/// How far a job has followed the topology.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Epoch of the topology.
    pub epoch: u64,
    /// Shards that were given theirs in this epoch.
    pub released: BTreeSet<u32>,
    /// Shards that have given ours in this epoch.
    pub taken: BTreeSet<u32>,
    /// Epoch and giving shard of what was taken in earlier epochs that had not settled.
    pub before: BTreeSet<(u64, u32)>,
}

impl Progress {
    /// Whether a hand-over was taken.
    #[must_use]
    pub fn has_taken(&self, epoch: u64, from: u32) -> bool {
        (epoch == self.epoch && self.taken.contains(&from)) || self.before.contains(&(epoch, from))
    }

    /// Of two states of one job, the one of the greater key has gone further.
    #[must_use]
    pub fn key(&self) -> (u64, usize) {
        (self.epoch, self.released.len() + self.taken.len())
    }
}

/// Which part of the series a job has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Own shard; with `shards` or above, it owns nothing any more.
    pub shard: u32,
    /// Number of shards, at least 1.
    pub shards: NonZeroU32,
    /// How the query's series are spread.
    pub spread: Spread,
    /// Shard counts since the last settled epoch, newest first; empty: nothing moves.
    pub previous: Vec<NonZeroU32>,
    /// The last settled epoch: nobody asks for anything of it any more.
    pub settled_epoch: u64,
    /// How the series were spread before, where that was otherwise.
    pub former_spread: Option<Spread>,
    /// What has moved already.
    pub progress: Progress,
    /// Set where the job is one of series that have arrived, until they join those that were here before.
    pub arrival: Option<Handover>,
}

impl Default for Share {
    /// Everything.
    fn default() -> Self {
        Self::new(&Topology::default(), 0, "")
    }
}

impl Share {
    /// The share that a topology gives to a shard, with nothing moved yet.
    #[must_use]
    pub fn new(topology: &Topology, shard: u32, query_alias: &str) -> Self {
        // Workers that cannot reach each other cannot hand anything over.
        let previous = topology.peers.as_ref().map(|_| topology.previous_shards.clone()).unwrap_or_default();
        Self {
            shard,
            shards: topology.shards,
            spread: topology.spread(query_alias).clone(),
            previous,
            settled_epoch: topology.settled_epoch,
            former_spread: None,
            progress: Progress { epoch: topology.epoch, ..Progress::default() },
            arrival: None,
        }
    }

    /// This share after `current`: what has moved stays moved, and an older topology changes nothing.
    #[must_use]
    pub fn following(mut self, current: &Self) -> Self {
        if self.arrival != current.arrival {
            return self;
        }
        match self.progress.epoch.cmp(&current.progress.epoch) {
            std::cmp::Ordering::Less => current.clone(),
            std::cmp::Ordering::Equal => {
                if !self.previous.is_empty() {
                    self.progress = current.progress.clone();
                    self.former_spread.clone_from(&current.former_spread);
                }
                self
            }
            std::cmp::Ordering::Greater => {
                self.former_spread = (self.spread != current.spread).then(|| current.spread.clone());
                let Progress { epoch, taken, before, .. } = &current.progress;
                let all = taken.iter().map(|from| (*epoch, *from)).chain(before.iter().copied());
                self.progress.before = all.filter(|(epoch, _)| *epoch > self.settled_epoch).collect();
                self
            }
        }
    }

    /// The share of the series that a hand-over brings.
    #[must_use]
    pub fn of_arrival(&self, handover: Handover) -> Self {
        Self { shard: handover.to, arrival: Some(handover), progress: Progress::default(), ..self.clone() }
    }

    /// Whether a new series is this job's. `owner` gives the owner of the series under a shard count and a spread.
    pub fn admits(&self, owner: impl Fn(NonZeroU32, &Spread) -> u32) -> bool {
        let owns = owner(self.shards, &self.spread);
        let former_spread = self.former_spread.as_ref().unwrap_or(&self.spread);
        let former = self.previous.first().map(|count| owner(*count, former_spread));
        match (self.arrival, former) {
            (Some(handover), former) => owns == handover.to && former == Some(handover.from),
            (None, None) => owns == self.shard,
            (None, Some(former)) if owns == self.shard => former == self.shard || self.progress.taken.contains(&former),
            (None, Some(former)) => former == self.shard && !self.progress.released.contains(&owns),
        }
    }

    /// Whether a series that the job has stays with it.
    pub fn keeps(&self, owner: impl Fn(NonZeroU32, &Spread) -> u32) -> bool {
        if self.arrival.is_some() {
            return true;
        }
        let owns = owner(self.shards, &self.spread);
        owns == self.shard || (!self.previous.is_empty() && !self.progress.released.contains(&owns))
    }

    /// Hand-overs that this shard still waits for.
    #[must_use]
    pub fn arrivals(&self) -> Vec<Handover> {
        if self.arrival.is_some() || self.shard >= self.shards.get() {
            return Vec::new();
        }
        let shards = self.previous.iter().map(|count| count.get()).max().unwrap_or(0);
        let open = (0..shards).filter(|from| !self.progress.taken.contains(from) && self.moves(*from, self.shard));
        open.map(|from| Handover { epoch: self.progress.epoch, from, to: self.shard }).collect()
    }

    /// Hand-overs that this shard has yet to make.
    #[must_use]
    pub fn departures(&self) -> Vec<Handover> {
        if self.arrival.is_some() {
            return Vec::new();
        }
        let open =
            (0..self.shards.get()).filter(|to| !self.progress.released.contains(to) && self.moves(self.shard, *to));
        open.map(|to| Handover { epoch: self.progress.epoch, from: self.shard, to }).collect()
    }

    /// Whether series may be at shard `from` that shard `to` owns now.
    ///
    /// Jump hashing moves series only to new shards, or away from shards that go. Where a former count is the present
    /// one the placement has changed, which moves series between any two.
    #[must_use]
    pub fn moves(&self, from: u32, to: u32) -> bool {
        let shards = self.shards.get();
        let between = |former: u32| match shards.cmp(&former) {
            std::cmp::Ordering::Equal => true,
            std::cmp::Ordering::Greater => to >= former,
            std::cmp::Ordering::Less => from >= shards,
        };
        let former = self.previous.iter().map(|count| count.get());
        let any_spread = self.former_spread.is_some();
        from != to && to < shards && former.into_iter().any(|former| from < former && (any_spread || between(former)))
    }

    /// Whether this shard was none of the former ones: whatever it has is from before them.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.arrival.is_none()
            && !self.previous.is_empty()
            && self.previous.iter().all(|former| former.get() <= self.shard)
    }
}

#[cfg(test)]
mod tests {
    use config::ownership::jump_hash;
    use proptest::prelude::*;

    use super::*;

    fn count(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    fn share(shard: u32, shards: u32, previous: &[u32]) -> Share {
        Share {
            shard,
            shards: count(shards),
            spread: Spread::Series,
            previous: previous.iter().map(|former| count(*former)).collect(),
            settled_epoch: 0,
            former_spread: None,
            progress: Progress { epoch: 1, ..Progress::default() },
            arrival: None,
        }
    }

    proptest! {
        #[test]
        fn at_any_moment_of_a_change_exactly_one_shard_admits_a_series_or_it_is_on_its_way(
            hash: u64, before in 1_u32..6, after in 1_u32..6, moved in prop::collection::btree_set((0_u32..6, 0_u32..6), 0..20),
            released_only in prop::collection::btree_set((0_u32..6, 0_u32..6), 0..4),
        ) {
            let owner = |shards: NonZeroU32, _: &Spread| jump_hash(hash, shards);
            let mut admitting = 0;
            for shard in 0..before.max(after) {
                let mut share = share(shard, after, &[before]);
                let pairs = moved.iter().chain(&released_only);
                share.progress.released.extend(pairs.filter(|(from, _)| *from == shard).map(|(_, to)| *to));
                share.progress.taken.extend(moved.iter().filter(|(_, to)| *to == shard).map(|(from, _)| *from));
                admitting += u32::from(share.admits(owner));
            }
            let pair = (jump_hash(hash, count(before)), jump_hash(hash, count(after)));
            let is_on_its_way = pair.0 != pair.1 && released_only.contains(&pair) && !moved.contains(&pair);
            prop_assert_eq!(admitting, u32::from(!is_on_its_way));
        }

        #[test]
        fn every_series_that_changes_its_owner_has_a_hand_over(
            hash: u64, counts in prop::collection::vec(1_u32..9, 2..5)
        ) {
            let share = share(0, counts[0], &counts[1..]);
            let to = jump_hash(hash, share.shards);
            for former in &share.previous {
                let from = jump_hash(hash, *former);
                prop_assert!(from == to || share.moves(from, to));
            }
        }
    }

    #[test]
    fn a_growing_deployment_moves_series_to_the_new_shards_only_and_a_shrinking_one_from_those_that_go() {
        let froms = |share: Share| share.arrivals().iter().map(|handover| handover.from).collect::<Vec<_>>();
        assert_eq!(froms(share(3, 5, &[3])), [0, 1, 2]);
        assert_eq!(froms(share(1, 5, &[3])), [0_u32; 0]);
        assert_eq!(froms(share(1, 2, &[4])), [2, 3]);
        assert_eq!(share(3, 2, &[4]).departures().len(), 2);
        assert!(share(3, 5, &[3]).is_new() && !share(2, 5, &[3]).is_new() && !share(2, 5, &[]).is_new());
    }

    #[test]
    fn what_has_moved_stays_moved_until_the_next_epoch_and_an_older_topology_changes_nothing() {
        let mut current = share(0, 3, &[1]);
        current.progress.released.insert(2);
        assert_eq!(share(0, 3, &[1]).following(&current), current);
        assert_eq!(share(0, 3, &[]).following(&current).progress.released, BTreeSet::new());
        let mut next = share(0, 2, &[3]);
        next.progress.epoch = 2;
        assert_eq!(next.clone().following(&current), next);
        assert_eq!(current.clone().following(&next), next);
    }
}
