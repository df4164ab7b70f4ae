//! Series that a job is responsible for, told by who owns them under the shard counts since the last settled epoch.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
};

use config::{ownership::Spread, topology::MOST_SHARDS};
use serde::{Deserialize, Serialize};

/// That a shard owns a series under a shard count and a spread, or that it does not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Condition {
    /// Number of shards.
    pub shards: NonZeroU32,
    /// How the series are spread.
    pub spread: Spread,
    /// The shard.
    pub shard: u32,
    /// Whether it owns them.
    pub owns: bool,
}

impl Condition {
    /// Whether it holds for series of this owner.
    fn holds(&self, owner: u32) -> bool {
        (owner == self.shard) == self.owns
    }
}

/// Series for which all conditions of one of the lists hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Custody(Vec<Vec<Condition>>);

impl Custody {
    /// What a shard owns under a shard count and a spread.
    #[must_use]
    pub fn of_owner(shards: NonZeroU32, spread: &Spread, shard: u32) -> Self {
        let owned = Condition { shards, spread: spread.clone(), shard, owns: true };
        if shard < shards.get() { Self(vec![vec![owned]]) } else { Self::default() }
    }

    /// Whether a series belongs to it. `owner` gives the owner of the series under a shard count and a spread.
    pub fn contains(&self, owner: impl Fn(NonZeroU32, &Spread) -> u32) -> bool {
        let holds = |condition: &Condition| condition.holds(owner(condition.shards, &condition.spread));
        self.0.iter().any(|conditions| conditions.iter().all(holds))
    }

    /// Those of its series for which a condition holds.
    #[must_use]
    pub fn with(&self, condition: &Condition) -> Self {
        let with = |conditions: &Vec<Condition>| [conditions.as_slice(), std::slice::from_ref(condition)].concat();
        Self::in_short(self.0.iter().map(with).collect())
    }

    /// Takes the series of another one in.
    pub fn add(&mut self, other: &Self) {
        let all = self.0.drain(..).chain(other.0.iter().cloned());
        *self = Self::in_short(all.collect());
    }

    /// The same series in few words: with every epoch that does not settle, each shard adds what each other one has
    /// said, and most of that is impossible or said twice.
    fn in_short(lists: Vec<Vec<Condition>>) -> Self {
        let placements: BTreeSet<Placement> = lists.iter().flatten().map(placement).collect();
        // What another worker has sent may say anything.
        if placements.iter().any(|(_, shards)| shards.get() > MOST_SHARDS) {
            return Self(lists);
        }
        let mut regions: Vec<Region> =
            lists.iter().filter_map(|conditions| Region::new(&placements, conditions)).collect();
        while let Some((one, other, both)) = united(&regions) {
            regions.swap_remove(other);
            regions[one] = both;
        }
        let mut lists: Vec<Vec<Condition>> = regions.iter().map(Region::conditions).collect();
        lists.sort_unstable();
        Self(lists)
    }

    /// How many lists of conditions there are.
    #[cfg(test)]
    pub(crate) fn lists(&self) -> usize {
        self.0.len()
    }
}

/// A spread, and a number of shards.
type Placement = (Spread, NonZeroU32);

fn placement(condition: &Condition) -> Placement {
    (condition.spread.clone(), condition.shards)
}

/// All series whose owner under each placement is one of these shards.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Region(BTreeMap<Placement, BTreeSet<u32>>);

impl Region {
    /// The series for which all conditions hold, said for all of these placements; `None` if there can be none.
    fn new(placements: &BTreeSet<Placement>, conditions: &[Condition]) -> Option<Self> {
        let all = placements.iter().map(|(spread, shards)| ((spread.clone(), *shards), (0..shards.get()).collect()));
        let mut owners: BTreeMap<Placement, BTreeSet<u32>> = all.collect();
        for condition in conditions {
            if let Some(owners) = owners.get_mut(&placement(condition)) {
                owners.retain(|owner| condition.holds(*owner));
            }
        }
        let region = Self(owners).narrowed();
        region.0.values().all(|owners| !owners.is_empty()).then_some(region)
    }

    /// Without owners that no series can have: under a greater number of shards a series has the same owner or one of
    /// those that the smaller number does not have ([`jump_hash`](config::ownership::jump_hash)).
    fn narrowed(mut self) -> Self {
        let placements: Vec<Placement> = self.0.keys().cloned().collect();
        let neighbours = || placements.windows(2).filter(|pair| pair[0].0 == pair[1].0);
        for pair in neighbours() {
            let fewer = self.0[&pair[0]].clone();
            let more = self.0.entry(pair[1].clone()).or_default();
            more.retain(|owner| *owner >= pair[0].1.get() || fewer.contains(owner));
        }
        for pair in neighbours().rev() {
            let more = self.0[&pair[1]].clone();
            if more.range(pair[0].1.get()..).next().is_none() {
                self.0.entry(pair[0].clone()).or_default().retain(|owner| more.contains(owner));
            }
        }
        self
    }

    /// Both together, if that is one region again.
    fn united_with(&self, other: &Self) -> Option<Self> {
        let mut differing = self.0.iter().zip(other.0.values()).filter(|((_, own), theirs)| own != theirs);
        let one = differing.next();
        if let (Some(((placement, own), theirs)), None) = (one, differing.next()) {
            let mut both = self.clone();
            both.0.insert(placement.clone(), own | theirs);
            return Some(both);
        }
        let holds =
            |one: &Self, other: &Self| one.0.values().zip(other.0.values()).all(|(own, theirs)| theirs.is_subset(own));
        if holds(self, other) { Some(self.clone()) } else { holds(other, self).then(|| other.clone()) }
    }

    /// The conditions that say it, without those that follow from others.
    fn conditions(&self) -> Vec<Condition> {
        let mut said = self.clone();
        let mut conditions = Vec::new();
        for (placement, owners) in &self.0 {
            let (spread, shards) = placement;
            said.0.insert(placement.clone(), (0..shards.get()).collect());
            if said.clone().narrowed() == *self {
                continue;
            }
            said.0.insert(placement.clone(), owners.clone());
            let condition = |shard, owns| Condition { shards: *shards, spread: spread.clone(), shard, owns };
            match owners.len() {
                1 => conditions.extend(owners.iter().map(|shard| condition(*shard, true))),
                _ => conditions.extend(
                    (0..shards.get()).filter(|shard| !owners.contains(shard)).map(|shard| condition(shard, false)),
                ),
            }
        }
        conditions
    }
}

/// Two regions that are one together.
fn united(regions: &[Region]) -> Option<(usize, usize, Region)> {
    let mut pairs = (0..regions.len()).flat_map(|one| (one + 1..regions.len()).map(move |other| (one, other)));
    pairs.find_map(|(one, other)| Some((one, other, regions[one].united_with(&regions[other])?)))
}

#[cfg(test)]
mod tests {
    use config::ownership::jump_hash;
    use proptest::prelude::*;

    use super::*;

    fn condition() -> impl Strategy<Value = Condition> {
        let spread = prop_oneof![Just(Spread::Series), Just(Spread::Label("tenant".to_owned()))];
        (1_u32..6, spread, any::<prop::sample::Index>(), any::<bool>()).prop_map(|(shards, spread, shard, owns)| {
            let shard = shard.index(shards as usize) as u32;
            Condition { shards: NonZeroU32::new(shards).unwrap(), spread, shard, owns }
        })
    }

    proptest! {
        #[test]
        fn in_short_it_has_the_same_series(
            lists in prop::collection::vec(prop::collection::vec(condition(), 0..6), 0..6),
            keys: [(u64, u64); 32],
        ) {
            let short = Custody::in_short(lists.clone());
            prop_assert!(short.lists() <= lists.len());
            for (of_series, of_label) in keys {
                let owner = |shards: NonZeroU32, spread: &Spread| {
                    jump_hash(if *spread == Spread::Series { of_series } else { of_label }, shards)
                };
                prop_assert_eq!(short.contains(owner), Custody(lists.clone()).contains(owner));
            }
        }
    }

    #[test]
    fn what_comes_back_needs_no_words() {
        let shards = |number| NonZeroU32::new(number).unwrap();
        let all = Custody::of_owner(shards(1), &Spread::Series, 0);
        let of = |shard, owns| Condition { shards: shards(3), spread: Spread::Series, shard, owns };
        let mut kept = all.with(&of(1, false)).with(&of(2, false));
        assert_eq!(kept, Custody::of_owner(shards(3), &Spread::Series, 0));
        kept.add(&all.with(&of(1, true)));
        kept.add(&all.with(&of(2, true)));
        assert_eq!(kept, Custody(vec![Vec::new()]));
    }
}
