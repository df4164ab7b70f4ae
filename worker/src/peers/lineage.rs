//! Digests of what a state was learnt from, and which of two differing states counts.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::{engine::TickInput, input_log::SkipReason};

/// Where the state of a job comes from. Ranks with equal chains after the same tick have equal states.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lineage {
    /// Digest over everything that was learnt, in order.
    pub chain: u64,
    /// The chain with which the state was last taken over from another rank; 0: never.
    pub adopted: u64,
    /// How often states were learnt anew from the TSDB because they were lost.
    pub rebuilds: u64,
    /// How often the job began anew because its grid of ticks changed.
    pub era: u64,
}

const BEGUN: u64 = 1;
const TICK: u64 = 2;
const SKIPPED: u64 = 3;
const REBUILT: u64 = 4;
const TAKEN_OVER: u64 = 5;
const APART: u64 = 6;
const RELEASED: u64 = 7;
const ARRIVED: u64 = 8;
const JOINED: u64 = 9;

impl Lineage {
    /// A job begins at `position`, with nothing learnt.
    pub fn begin(&mut self, position: i64, plan: u64) {
        self.chain = fold(&[BEGUN, self.era, position.cast_unsigned(), plan]);
    }

    /// A tick was learnt under the configuration `plan`. `label_hash` gives the hash of the labels in a slot.
    pub fn learn(&mut self, plan: u64, input: &TickInput, label_hash: impl Fn(u32) -> u64) {
        let points = input.grid.points;
        let mut bytes = Vec::with_capacity(points * 8);
        let rows = input.slots.iter().enumerate().map(|(row, slot)| {
            bytes.clear();
            bytes.extend(
                input.values[row * points..(row + 1) * points].iter().flat_map(|value| value.to_bits().to_le_bytes()),
            );
            xxh3_64_with_seed(&bytes, label_hash(*slot))
        });
        // A sum does not depend on the order of the slots, which ranks give out in an order of their own.
        let rows = rows.fold(0_u64, u64::wrapping_add);
        self.chain = fold(&[
            TICK,
            self.chain,
            plan,
            input.tick.cast_unsigned(),
            input.grid.start.cast_unsigned(),
            input.grid.step.cast_unsigned(),
            points as u64,
            input.slots.len() as u64,
            input.query_series,
            rows,
        ]);
    }

    /// The ticks `from..=to` were given up.
    pub fn skip(&mut self, plan: u64, from: i64, to: i64, reason: &SkipReason) {
        let reason = xxh3_64(reason.as_str().as_bytes());
        let (from, to) = (from.cast_unsigned(), to.cast_unsigned());
        self.chain = fold(&[SKIPPED, self.chain, plan, from, to, reason]);
    }

    /// A fit took over: its end, and the digest of its states.
    pub fn take_over(&mut self, fitted_to: i64, digest: u64) {
        self.chain = fold(&[TAKEN_OVER, self.chain, fitted_to.cast_unsigned(), digest]);
    }

    /// The series of shard `to` were released to it. Returns the lineage of their states.
    pub fn release(&mut self, to: u32, position: i64) -> Self {
        let before = self.chain;
        let fold = |what| fold(&[what, before, u64::from(to), position.cast_unsigned()]);
        self.chain = fold(RELEASED);
        Self { chain: fold(ARRIVED), adopted: 0, ..*self }
    }

    /// States with this lineage, which shard `from` has released, have joined the others.
    pub fn join(&mut self, from: u32, arrived: Self) {
        self.chain = fold(&[JOINED, self.chain, u64::from(from), arrived.chain]);
        self.rebuilds = self.rebuilds.max(arrived.rebuilds);
    }

    /// The state has learnt what is not in the chain: no other state has the same. `who` tells runs of processes apart.
    pub fn stand_apart(&mut self, who: u64, position: i64) {
        self.chain = fold(&[APART, self.chain, who, position.cast_unsigned()]);
    }

    /// Lost states were learnt anew from the TSDB: no other rank has the same ones. `who` tells ranks apart that lose theirs
    /// at the same tick.
    pub fn rebuild(&mut self, who: u64, position: i64) {
        self.rebuilds += 1;
        self.chain = fold(&[REBUILT, self.chain, who, position.cast_unsigned(), self.rebuilds]);
    }
}

fn fold(parts: &[u64]) -> u64 {
    let bytes: Vec<u8> = parts.iter().flat_map(|part| part.to_le_bytes()).collect();
    xxh3_64(&bytes)
}

/// What a rank is doing with a job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Phase {
    /// Taking in what a former process left.
    #[default]
    Restoring,
    /// Asking the others where they stand.
    Joining,
    /// Nobody has a state; this rank waits for the moment of the first fit.
    Beginning,
    /// It has a position and goes on from there.
    Running,
    /// Taking over another rank's state.
    Adopting,
    /// Its topology has no other ranks yet: it goes on, but keeps nothing for others.
    Alone,
}

/// Where a rank stands with a job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Rank.
    pub rank: u32,
    /// What it is doing; the rest means something only while it is running.
    pub phase: Phase,
    /// The newest tick that is logged, given up or fitted to, ms.
    pub position: i64,
    /// After that tick.
    pub lineage: Lineage,
    /// The newest tick whose scores the TSDB has accepted from this rank, or from one that writes in its place, ms.
    pub written: i64,
    /// Whether this rank has sent the scores of its newest tick itself.
    pub writes: bool,
    /// The tick that this rank is reading, ms.
    pub working_on: Option<i64>,
    /// Whether it has read that tick and is about to log it: no other rank may, then.
    pub recording: bool,
    /// The end of the newest fit whose states it holds ready for others, ms.
    pub fit: Option<i64>,
    /// Digest of the release that it runs: another one may score otherwise.
    pub release: u64,
    /// How far it has followed the topology: its epoch, and how many shards have released or taken series in it.
    pub progress: (u64, usize),
}

impl Standing {
    /// Whether there is a state that can be compared with another rank's.
    #[must_use]
    pub fn is_comparable(&self) -> bool {
        matches!(self.phase, Phase::Joining | Phase::Running) && self.position != i64::MIN
    }

    /// Whether this state counts when both differ: the one of the newer grid of ticks, that has followed the topology
    /// further, of the fewest rebuilds, then of the furthest written tick, then of the lower rank. (What a state has
    /// released, another shard has: a state that still has it must not count.)
    #[must_use]
    pub fn precedes(&self, other: &Self) -> bool {
        let key = |standing: &Self| {
            let Lineage { era, rebuilds, .. } = standing.lineage;
            let newest = std::cmp::Reverse((era, standing.progress));
            (newest, rebuilds, std::cmp::Reverse(standing.written), standing.rank)
        };
        key(self) < key(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Grid;

    fn input(slots: Vec<u32>, values: Vec<f64>) -> TickInput {
        TickInput { tick: 60, grid: Grid { start: 60, step: 60, points: 1 }, slots, values, query_series: 2 }
    }

    #[test]
    fn the_chain_depends_on_series_and_values_but_not_on_the_slots_that_a_rank_gave_them() {
        let after = |input: &TickInput, hash: fn(u32) -> u64| {
            let mut lineage = Lineage::default();
            lineage.learn(1, input, hash);
            lineage.chain
        };
        let here = after(&input(vec![0, 1], vec![2.5, -0.0]), |slot| [100, 200][slot as usize]);
        let there = after(&input(vec![0, 1], vec![-0.0, 2.5]), |slot| [200, 100][slot as usize]);
        assert_eq!(here, there);
        let others = [
            after(&input(vec![0, 1], vec![2.5, 0.0]), |slot| [100, 200][slot as usize]),
            after(&input(vec![0, 1], vec![-0.0, 2.5]), |slot| [100, 200][slot as usize]),
            after(&input(vec![0], vec![2.5]), |_| 100),
            after(&input(vec![0, 1], vec![2.5, -0.0]).of_query(3), |slot| [100, 200][slot as usize]),
        ];
        assert!(others.iter().all(|other| *other != here));
    }

    #[test]
    fn of_two_states_the_one_of_fewest_rebuilds_counts_then_the_furthest_written_then_the_lower_rank() {
        let standing = |era, rebuilds, written, rank| Standing {
            rank,
            written,
            lineage: Lineage { era, rebuilds, ..Lineage::default() },
            ..Standing::default()
        };
        let ranking = [
            standing(1, 3, 0, 2),
            standing(0, 0, 7, 1),
            standing(0, 0, 5, 0),
            standing(0, 0, 5, 1),
            standing(0, 1, 9, 0),
        ];
        for (index, better) in ranking.iter().enumerate() {
            assert!(!better.precedes(better));
            for worse in &ranking[index + 1..] {
                assert!(better.precedes(worse) && !worse.precedes(better), "{better:?} {worse:?}");
            }
        }
    }
}
