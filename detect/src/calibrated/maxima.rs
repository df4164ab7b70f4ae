//! How far a series goes in a block of time, and the threshold that follows from it.

use super::codec::Stored;
use crate::score::{at_least, at_most};

/// Blocks that are remembered.
pub const BLOCKS: usize = 120;

/// The views whose bands an interval is made of: the fast and the slow one.
pub(super) const VIEWS: usize = 2;

/// Greatest `z`; a deviation of no usual size.
pub(super) const MAX_Z: f64 = 1e30;

/// Blocks before which the threshold is the prior one.
pub(super) const FEW_BLOCKS: usize = 3;

/// The greatest `z` of the latest blocks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BlockMaxima<S> {
    /// Blocks that have ended.
    pub(super) blocks: u64,
    /// Of the block that has not ended yet.
    pub(super) current: [f64; VIEWS],
    /// That of block `i` is at `i % BLOCKS`.
    pub(super) ring: [[S; BLOCKS]; VIEWS],
    /// A pure function of the ring.
    thresholds: [f64; VIEWS],
}

impl<S: Stored> BlockMaxima<S> {
    pub(super) fn new(prior: f64) -> Self {
        Self { blocks: 0, current: [0.0; VIEWS], ring: [[S::default(); BLOCKS]; VIEWS], thresholds: [prior; VIEWS] }
    }

    /// Blocks in the ring.
    pub(super) fn remembered(&self) -> usize {
        self.blocks.min(BLOCKS as u64) as usize
    }

    /// `T` of each view.
    #[inline]
    pub(super) fn thresholds(&self) -> [f64; VIEWS] {
        self.thresholds
    }

    /// What they would be if the current block ended now.
    pub(super) fn thresholds_after_block(&self, prior: f64) -> [f64; VIEWS] {
        let mut after = self.clone();
        after.end_block(prior);
        after.thresholds
    }

    /// Puts the current block into the ring, in place of the oldest one.
    pub(super) fn end_block(&mut self, prior: f64) {
        let place = (self.blocks % BLOCKS as u64) as usize;
        for (ring, current) in self.ring.iter_mut().zip(self.current) {
            ring[place] = S::of(current);
        }
        self.blocks += 1;
        self.update_thresholds(prior);
    }

    /// Makes the thresholds those of the ring.
    pub(super) fn update_thresholds(&mut self, prior: f64) {
        let count = self.remembered();
        self.thresholds = self.ring.map(|ring| threshold(&ring[..count], prior));
    }
}

/// `T` of the maxima of blocks in any order.
fn threshold<S: Stored>(maxima: &[S], prior: f64) -> f64 {
    let count = maxima.len();
    if count < FEW_BLOCKS {
        return prior;
    }
    let mut sorted = [0.0; BLOCKS];
    let sorted = &mut sorted[..count];
    for (sorted, maximum) in sorted.iter_mut().zip(maxima) {
        *sorted = (*maximum).into();
    }
    sorted.sort_unstable_by(f64::total_cmp);
    let position = 0.75 * (count - 1) as f64;
    let below = position as usize;
    let (low, high) = (sorted[below], sorted[(below + 1).min(count - 1)]);
    let quartile = low + (position - below as f64) * (high - low);
    let count = count as f64;
    let own = 1.475 * quartile * count / (count + 5.0);
    let (greater, lesser) = (at_least(own, prior), at_most(own, prior));
    let ratio = lesser / greater;
    let square = ratio * ratio;
    greater * (1.0 + square * square).sqrt().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_is_the_prior_one_until_three_blocks_have_ended() {
        let mut maxima = BlockMaxima::<f64>::new(4.0);
        for _ in 0..2 {
            maxima.current = [100.0; VIEWS];
            maxima.end_block(4.0);
        }
        assert_eq!(maxima.thresholds(), [4.0; VIEWS]);
        let after = maxima.thresholds_after_block(4.0);
        maxima.end_block(4.0);
        assert_eq!(maxima.thresholds(), after);
        // 3/8 of the weight: 1.475 * 100 * 3 / 8, and hardly anything of the prior one.
        assert!((after[0] - 55.3125).abs() < 1e-3, "{after:?}");
    }

    #[test]
    fn the_oldest_block_is_forgotten() {
        let mut maxima = BlockMaxima::<f32>::new(1.0);
        for block in 0..3 * BLOCKS {
            maxima.current = [if block < BLOCKS { 1e6 } else { 2.0 }; VIEWS];
            maxima.end_block(1.0);
        }
        assert_eq!((maxima.blocks, maxima.remembered()), (3 * BLOCKS as u64, BLOCKS));
        assert!(maxima.thresholds()[0] < 3.0, "{:?}", maxima.thresholds());
    }
}
