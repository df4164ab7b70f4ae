//! How far the channels of a group go together, and how far that usually is.

use super::codec::{MAX_HOLD, Stored, size};
use super::driver::{Season, Yardstick};
use super::hold;
use super::maxima::{BlockMaxima, FEW_BLOCKS, MAX_Z, Rule};
use super::pace::{Moment, Pace};
use super::prediction::FIRST_SCORED;
use super::rate::Rate;
use super::state::bounded;
use super::views::VIEWS;
use crate::model::StateError;
use crate::readiness::Readiness;
use crate::score::{at_least, at_most};
use crate::state::{Reader, Writer, require};

/// How many channels count, those that are farthest from what was expected.
pub(super) const COUNTED: usize = 3;

/// Is added to each distance before their mean is taken, so that one channel as expected does not make it 0.
const OFFSET: f64 = 1e-3;

/// How the joint threshold follows from the greatest joint distances of blocks.
const RULE: Rule = Rule {
    rings: 1,
    quantile: 0.5,
    factor: 1.4,
    prior: 1.0,
    caution: 0.0,
    rate: Rate::USUAL,
    ring_factors: [1.0; VIEWS],
};

/// The greatest distances of the channels of a tick.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Farthest {
    /// The greatest first.
    distances: [f64; COUNTED],
    count: usize,
}

impl Farthest {
    /// Takes in the distance of a channel, at least 0.
    #[inline]
    pub(super) fn note(&mut self, distance: f64) {
        let mut smaller = distance;
        for known in &mut self.distances[..self.count] {
            if smaller > *known {
                std::mem::swap(&mut smaller, known);
            }
        }
        if self.count < COUNTED {
            self.distances[self.count] = smaller;
            self.count += 1;
        }
    }

    /// Their geometric mean; 0 where all are 0, and `None` if there are none.
    pub(super) fn mean(&self) -> Option<f64> {
        let distances = &self.distances[..self.count];
        if *distances.first()? == 0.0 {
            return Some(0.0);
        }
        let mut logarithm = 0.0;
        for distance in distances {
            logarithm += libm::log(distance + OFFSET) / self.count as f64;
        }
        Some(bounded(libm::exp(logarithm)))
    }
}

/// What is usual of a group at a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct JointOutlook {
    /// `T`.
    threshold: f64,
    /// What is left of the latest alarm, and its height.
    hold: f64,
    height: f64,
    highest_held: f64,
}

impl JointOutlook {
    /// The score of a joint distance.
    pub(super) fn score(&self, distance: f64) -> f64 {
        hold::beyond(distance / self.threshold, self.height, self.highest_held)
    }
}

/// What a group has learnt beside its channels. Everything is 0 while nothing was learnt.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Joint<S> {
    /// Ticks with a finite sample.
    pub(super) ticks_seen: u64,
    /// Number of the block that the latest tick was in.
    block: i64,
    /// Time of the latest tick, ms.
    latest_time: i64,
    /// The logarithm of the height that only a new alarm exceeds, at the latest tick.
    hold: f64,
    maxima: BlockMaxima<S, 1>,
}

impl<S: Stored> Joint<S> {
    /// That has learnt nothing.
    pub(super) fn new() -> Self {
        Self { ticks_seen: 0, block: 0, latest_time: 0, hold: 0.0, maxima: BlockMaxima::new(&RULE) }
    }

    /// Whether a tick at this moment ends a block that counts.
    fn ends_block(&self, moment: &Moment) -> bool {
        moment.block != self.block && self.ticks_seen >= FIRST_SCORED
    }

    pub(super) fn outlook(&self, pace: &Pace, moment: &Moment) -> JointOutlook {
        let [threshold] =
            if self.ends_block(moment) { self.maxima.thresholds_after_block(&RULE) } else { self.maxima.thresholds() };
        let hold = hold::at(self.hold, moment.time.saturating_sub(self.latest_time), pace.hold);
        let highest_held = pace.recipe.hold.map_or(1.0, |hold| hold.highest_held);
        JointOutlook { threshold, hold, height: hold::height(hold), highest_held }
    }

    /// Learns a tick of which the outlook was this one; `distance` is `None` where no channel has one.
    pub(super) fn learn(&mut self, moment: &Moment, distance: Option<f64>, outlook: &JointOutlook) {
        if self.ends_block(moment) {
            self.maxima.end_block(&RULE);
        }
        if moment.block != self.block || self.ticks_seen == 0 {
            self.block = moment.block;
            self.maxima.current = [0.0];
        }
        self.latest_time = moment.time;
        self.hold = outlook.hold;
        if let Some(distance) = distance {
            let [current] = &mut self.maxima.current;
            *current = at_least(*current, at_most(distance, MAX_Z));
            self.hold = hold::after(self.hold, distance / outlook.threshold);
        }
        self.ticks_seen += 1;
    }

    /// Until the threshold is the group's own.
    pub(super) fn readiness(&self) -> Readiness {
        Readiness::learning(self.maxima.blocks as f64, FEW_BLOCKS as f64)
    }

    /// What a score of 1 stands for.
    pub(super) fn yardstick(&self, pace: &Pace) -> Yardstick {
        let own = self.maxima.blocks >= FEW_BLOCKS as u64;
        Yardstick { season: Season::None, block: pace.block, own, factor: 1.0 }
    }

    pub(super) fn save(&self, writer: &mut Writer<'_>) {
        writer.u64(self.ticks_seen);
        // Two's complement.
        writer.u64(self.block.cast_unsigned());
        writer.u64(self.latest_time.cast_unsigned());
        writer.u64(self.maxima.blocks);
        let [current] = self.maxima.current;
        writer.f64(current);
        writer.f64(self.hold);
        self.maxima.save(1, writer);
    }

    pub(super) fn load(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let mut joint = Self::new();
        joint.ticks_seen = reader.u64()?;
        joint.block = reader.u64()?.cast_signed();
        joint.latest_time = reader.u64()?.cast_signed();
        let blocks = reader.u64()?;
        let current = size(reader)?;
        require(current <= MAX_Z, "a block's maximum is out of range")?;
        joint.maxima.current = [current];
        joint.hold = size(reader)?;
        require(joint.hold <= MAX_HOLD, "the height of an alarm is out of range")?;
        joint.maxima.load(blocks, 1, reader)?;
        joint.maxima.update_thresholds(&RULE);
        require(blocks <= joint.ticks_seen, "there are more blocks than ticks")?;
        require(joint.ticks_seen > 0 || joint == Self::new(), "numbers without ticks")?;
        Ok(joint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mean(distances: &[f64]) -> Option<f64> {
        let mut farthest = Farthest::default();
        distances.iter().for_each(|distance| farthest.note(*distance));
        farthest.mean()
    }

    #[test]
    fn the_three_farthest_channels_count_or_as_many_as_there_are() {
        let near = |found: Option<f64>, expected: f64| (found.unwrap() - expected).abs() < 5e-3;
        assert!(near(mean(&[1.0, 4.0, 2.0, 0.5, 1.0]), 2.0));
        assert!(near(mean(&[0.5, 8.0]), 2.0));
        assert!(near(mean(&[1.5]), 1.5));
        assert!(mean(&[f64::MAX; 3]).is_some_and(f64::is_finite));
        assert_eq!((mean(&[]), mean(&[0.0; 4])), (None, Some(0.0)));
    }

    proptest! {
        #[test]
        fn neither_the_order_of_channels_nor_those_that_are_nearer_than_three_others_change_the_mean(
            distances in prop::collection::vec(0.0..1e6_f64, 3..8),
            turn in 0..8_usize,
        ) {
            let mut turned = distances.clone();
            turned.rotate_left(turn % distances.len());
            prop_assert_eq!(mean(&turned), mean(&distances));
            turned.sort_by(|one, other| other.total_cmp(one));
            prop_assert_eq!(mean(&turned[..3]), mean(&distances));
        }
    }
}
