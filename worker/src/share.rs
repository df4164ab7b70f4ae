//! Which series a job is responsible for, while series move between shards. Pure.
//!
//! A topology with former shard counts asks for hand-overs: of all series that a shard has and another one owns now.
//! Responsibility moves with the states: until a shard has released series it goes on with them, old and new ones, and
//! until they have joined at their new owner that leaves them alone.

use std::{collections::BTreeSet, num::NonZeroU32};

use config::{ownership::Spread, topology::Topology};
use serde::{Deserialize, Serialize};

use crate::custody::{Condition, Custody};

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
    /// What was released in earlier epochs that had not settled, and has come back.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub returned: BTreeSet<Handover>,
}

impl Progress {
    /// Whether a hand-over was taken.
    #[must_use]
    pub fn has_taken(&self, epoch: u64, from: u32) -> bool {
        (epoch == self.epoch && self.taken.contains(&from)) || self.before.contains(&(epoch, from))
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
    /// Whether the series were spread otherwise before.
    pub respread: bool,
    /// What the job is responsible for.
    pub custody: Custody,
    /// What has moved already.
    pub progress: Progress,
    /// Set where the job is one of series that have arrived, until they join those that were here before.
    pub arrival: Option<Handover>,
}

impl Default for Share {
    /// Everything.
    fn default() -> Self {
        Self::new(&Topology::default(), 0, Spread::default())
    }
}

impl Share {
    /// The share that a topology gives to a shard of what is spread like this, with nothing moved yet.
    #[must_use]
    pub fn new(topology: &Topology, shard: u32, spread: Spread) -> Self {
        // Workers that cannot reach each other cannot hand anything over.
        let previous = topology.peers.as_ref().map(|_| topology.previous_shards.clone()).unwrap_or_default();
        let share = Self {
            shard,
            shards: topology.shards,
            spread,
            previous,
            settled_epoch: topology.settled_epoch,
            respread: false,
            custody: Custody::default(),
            progress: Progress { epoch: topology.epoch, ..Progress::default() },
            arrival: None,
        };
        // Before anything has moved, it has what it had.
        let count = share.previous.first().unwrap_or(&share.shards);
        let custody = if share.is_new() { Custody::default() } else { Custody::of_owner(*count, &share.spread, shard) };
        Self { custody, ..share }
    }

    /// This share after `current`: what has moved stays moved, and an older topology changes nothing.
    #[must_use]
    pub fn following(mut self, current: &Self) -> Self {
        if self.arrival != current.arrival {
            return self;
        }
        match self.progress.epoch.cmp(&current.progress.epoch) {
            std::cmp::Ordering::Less => current.clone(),
            // What has settled does not begin again.
            std::cmp::Ordering::Equal if self.settled_epoch < current.settled_epoch => current.clone(),
            std::cmp::Ordering::Equal => {
                if !self.previous.is_empty() {
                    self.progress = current.progress.clone();
                    self.custody.clone_from(&current.custody);
                    self.respread = current.respread;
                }
                self
            }
            std::cmp::Ordering::Greater => {
                self.respread = self.spread != current.spread;
                if self.is_new() {
                    self.custody = Custody::default();
                } else if !self.previous.is_empty() {
                    self.custody = match self.settled_epoch >= current.progress.epoch {
                        true => Custody::of_owner(current.shards, &current.spread, current.shard),
                        false => current.custody.clone(),
                    };
                }
                let Progress { epoch, taken, before, .. } = &current.progress;
                let all = taken.iter().map(|from| (*epoch, *from)).chain(before.iter().copied());
                self.progress.before = all.filter(|(epoch, _)| *epoch > self.settled_epoch).collect();
                let returned = current.progress.returned.iter().copied();
                self.progress.returned = returned.filter(|handover| handover.epoch > self.settled_epoch).collect();
                self
            }
        }
    }

    /// Of two states of one job, the one of the greater key has followed the topology further: its epoch, and how many
    /// hand-overs of it, and of epochs before that had not settled, have been made; all of them when it has settled.
    #[must_use]
    pub fn key(&self) -> (u64, usize) {
        let Progress { epoch, released, taken, before, returned } = &self.progress;
        let moved = released.len() + taken.len() + before.len() + returned.len();
        let moved = if self.settled_epoch >= *epoch { usize::MAX } else { moved };
        (*epoch, moved)
    }

    fn owned_by(&self, shard: u32, owns: bool) -> Condition {
        Condition { shards: self.shards, spread: self.spread.clone(), shard, owns }
    }

    /// The series of a shard have been released to it.
    pub fn release(&mut self, to: u32) {
        self.custody = self.custody.with(&self.owned_by(to, false));
        self.progress.released.insert(to);
    }

    /// Series have joined those of this job.
    pub fn join(&mut self, arrived: &Self) {
        self.custody.add(&arrived.custody);
        if let Some(handover) = arrived.arrival {
            self.note_taken(handover);
        }
    }

    /// Nobody has the series of a hand-over: they begin here.
    pub fn go_without(&mut self, handover: Handover) {
        if let Some(former) = self.previous.first() {
            let owned = Custody::of_owner(*former, &self.spread, handover.from);
            self.custody.add(&owned.with(&self.owned_by(self.shard, true)));
        }
        self.note_taken(handover);
    }

    fn note_taken(&mut self, handover: Handover) {
        if handover.to != self.shard {
            if handover.epoch > self.settled_epoch {
                self.progress.returned.insert(handover);
            }
        } else if handover.epoch == self.progress.epoch {
            self.progress.taken.insert(handover.from);
        } else if handover.epoch > self.settled_epoch {
            // Its former owner may still ask for it.
            self.progress.before.insert((handover.epoch, handover.from));
        }
    }

    /// Whether what a hand-over has brought is part of this share, or was until its epoch settled.
    #[must_use]
    pub fn has_joined(&self, handover: &Handover) -> bool {
        let has_taken = handover.to == self.shard && self.progress.has_taken(handover.epoch, handover.from);
        handover.epoch <= self.settled_epoch || has_taken || self.progress.returned.contains(handover)
    }

    /// The share of the series that a hand-over brings.
    #[must_use]
    pub fn of_arrival(&self, handover: Handover) -> Self {
        let custody = self.custody.with(&self.owned_by(handover.to, true));
        Self { shard: handover.to, arrival: Some(handover), custody, progress: Progress::default(), ..self.clone() }
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
        from != to
            && to < shards
            && former.into_iter().any(|former| from < former && (self.respread || between(former)))
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

    fn share(epoch: u64, shard: u32, shards: u32, previous: &[u32]) -> Share {
        Share {
            shard,
            shards: count(shards),
            spread: Spread::Series,
            previous: previous.iter().map(|former| count(*former)).collect(),
            settled_epoch: 0,
            respread: false,
            custody: Custody::of_owner(count(shards), &Spread::Series, shard),
            progress: Progress { epoch, ..Progress::default() },
            arrival: None,
        }
    }

    proptest! {
        #[test]
        fn at_any_moment_of_any_changes_exactly_one_shard_is_responsible_for_a_series_or_it_is_on_its_way(
            hashes: [u64; 16],
            counts in prop::collection::vec(1_u32..6, 1..10),
            moves in prop::collection::vec((0_usize..3, 0_u32..6, 0_u32..6), 0..120),
        ) {
            let mut previous: Vec<u32> = Vec::new();
            let mut shares: Vec<Share> = (0..6).map(|shard| share(1, shard, counts[0], &[])).collect();
            let mut on_their_way: Vec<Share> = Vec::new();
            let mut moves = moves.into_iter();
            for (epoch, shards) in (2..).zip(&counts[1..]) {
                previous.insert(0, shares[0].shards.get());
                for share_now in &mut shares {
                    *share_now = share(epoch, share_now.shard, *shards, &previous).following(share_now);
                }
                for (what, from, to) in moves.by_ref().take(15) {
                    let handover = Handover { epoch, from, to };
                    let (from, to) = (from as usize, to as usize);
                    match what {
                        0 if shares[from].moves(from as u32, to as u32) && !shares[from].progress.released.contains(&(to as u32)) => {
                            on_their_way.push(shares[from].of_arrival(handover));
                            shares[from].release(to as u32);
                        }
                        1 if !on_their_way.is_empty() => {
                            let arrived = on_their_way.remove(from % on_their_way.len());
                            let owner = arrived.shard as usize;
                            shares[owner].join(&arrived);
                        }
                        _ => {}
                    }
                    for hash in hashes {
                        let owner = |shards: NonZeroU32, _: &Spread| jump_hash(hash, shards);
                        let responsible = shares.iter().chain(&on_their_way).filter(|share| share.custody.contains(owner));
                        prop_assert_eq!(responsible.count(), 1);
                    }
                    for share in &shares {
                        prop_assert!(share.custody.lists() <= 16, "{:?}", share.custody);
                    }
                }
            }
        }

        #[test]
        fn every_series_that_changes_its_owner_has_a_hand_over(
            hash: u64, counts in prop::collection::vec(1_u32..9, 2..5)
        ) {
            let share = share(2, 0, counts[0], &counts[1..]);
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
        assert_eq!(froms(share(2, 3, 5, &[3])), [0, 1, 2]);
        assert_eq!(froms(share(2, 1, 5, &[3])), [0_u32; 0]);
        assert_eq!(froms(share(2, 1, 2, &[4])), [2, 3]);
        assert_eq!(share(2, 3, 2, &[4]).departures().len(), 2);
        assert!(share(2, 3, 5, &[3]).is_new() && !share(2, 2, 5, &[3]).is_new() && !share(2, 2, 5, &[]).is_new());
    }

    #[test]
    fn what_has_moved_stays_moved_until_it_has_settled_and_an_older_topology_changes_nothing() {
        let mut current = share(2, 0, 3, &[1]).following(&share(1, 0, 1, &[]));
        current.release(2);
        assert_eq!(share(2, 0, 3, &[1]).following(&current), current);
        assert_eq!(share(1, 0, 1, &[]).following(&current), current);
        let settled = share(2, 0, 3, &[]).following(&current);
        assert_eq!((settled.progress.released.len(), &settled.custody), (0, &share(2, 0, 3, &[]).custody));
        let settled = Share { settled_epoch: 2, ..settled };
        assert_eq!(share(2, 0, 3, &[1]).following(&settled), settled);
        let next = share(3, 0, 2, &[3, 1]).following(&current);
        assert_eq!((next.progress.epoch, next.custody), (3, current.custody));
    }
}
