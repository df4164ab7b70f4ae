//! How far a series goes in a block of time, and the threshold that follows from it.

use super::codec::Stored;
use super::rate::{Rate, quantile};
use super::views::VIEWS;
use crate::score::{at_least, at_most};

/// Blocks that are remembered.
pub const BLOCKS: usize = 120;

/// Greatest `z`; a deviation of no usual size.
pub(super) const MAX_Z: f64 = 1e30;

/// Blocks before which the threshold is the prior one.
pub(super) const FEW_BLOCKS: usize = 3;

/// Blocks in which caution falls to its e-th part.
const CAUTIOUS_BLOCKS: f64 = 3.0;

/// How a threshold follows from the maxima of blocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rule {
    /// How many of the rings are used, the first ones.
    pub(super) rings: usize,
    /// Which quantile of the maxima counts, and what it is multiplied by.
    pub(super) quantile: f64,
    pub(super) factor: f64,
    /// The threshold before there are enough blocks; above 0.
    pub(super) prior: f64,
    /// By what part of itself it is greater before the first block; less and less after it.
    pub(super) caution: f64,
    /// How rare alarms are to be, and what a ring's threshold is multiplied by before it counts as one.
    pub(super) rate: Rate,
    pub(super) ring_factors: [f64; VIEWS],
}

impl Rule {
    /// What a threshold is multiplied by after so many blocks.
    fn caution(&self, blocks: u64) -> f64 {
        1.0 + self.caution * libm::exp(-(blocks as f64) / CAUTIOUS_BLOCKS)
    }
}

/// The greatest sizes of the latest blocks: by default `z` by view.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BlockMaxima<S, const RINGS: usize = VIEWS> {
    /// Blocks that have ended.
    pub(super) blocks: u64,
    /// Of the block that has not ended yet.
    pub(super) current: [f64; RINGS],
    /// That of block `i` is at `i % BLOCKS`.
    pub(super) ring: [[S; BLOCKS]; RINGS],
    /// A pure function of the ring, as what follows.
    thresholds: [f64; RINGS],
    /// Those of the rate and of caution, which are in the thresholds.
    factor: f64,
}

impl<S: Stored, const RINGS: usize> BlockMaxima<S, RINGS> {
    pub(super) fn new(rule: &Rule) -> Self {
        let ring = [[S::default(); BLOCKS]; RINGS];
        let factor = rule.rate.prior_factor() * rule.caution(0);
        Self { blocks: 0, current: [0.0; RINGS], ring, thresholds: [rule.prior * factor; RINGS], factor }
    }

    /// Blocks in the ring.
    pub(super) fn remembered(&self) -> usize {
        self.blocks.min(BLOCKS as u64) as usize
    }

    /// `T` of each ring, with the factors of the rate and of caution.
    #[inline]
    pub(super) fn thresholds(&self) -> [f64; RINGS] {
        self.thresholds
    }

    /// The factors of the rate and of caution: `theta` times `w`.
    pub(super) fn factor(&self) -> f64 {
        self.factor
    }

    /// What they would be if the current block ended now.
    pub(super) fn thresholds_after_block(&self, rule: &Rule) -> [f64; RINGS] {
        let mut after = self.clone();
        after.end_block(rule);
        after.thresholds
    }

    /// Puts the current block into the ring, in place of the oldest one.
    pub(super) fn end_block(&mut self, rule: &Rule) {
        let place = (self.blocks % BLOCKS as u64) as usize;
        for (ring, current) in self.ring.iter_mut().zip(self.current) {
            ring[place] = S::of(current);
        }
        self.blocks += 1;
        self.update_thresholds(rule);
    }

    /// Makes the thresholds those of the ring.
    pub(super) fn update_thresholds(&mut self, rule: &Rule) {
        let count = self.remembered();
        for (own, ring) in self.thresholds.iter_mut().zip(&self.ring).take(rule.rings) {
            *own = threshold(&ring[..count], rule);
        }
        let of_rate = if rule.rate.is_usual() { 1.0 } else { self.factor_of_rate(rule) };
        self.factor = of_rate * rule.caution(self.blocks);
        self.thresholds = self.thresholds.map(|threshold| threshold * self.factor);
    }

    /// `theta`, where the thresholds are those of the usual rate.
    fn factor_of_rate(&self, rule: &Rule) -> f64 {
        let count = self.remembered();
        if count < FEW_BLOCKS {
            return rule.rate.prior_factor();
        }
        let mut greatest = [0.0; BLOCKS];
        let greatest = &mut greatest[..count];
        let of_rings = self.ring.iter().zip(self.thresholds).zip(rule.ring_factors).take(rule.rings);
        for ((ring, threshold), factor) in of_rings {
            for (greatest, maximum) in greatest.iter_mut().zip(ring) {
                *greatest = at_least(*greatest, (*maximum).into() / (threshold * factor));
            }
        }
        rule.rate.own_factor(greatest)
    }
}

/// `T` of the maxima of blocks in any order.
fn threshold<S: Stored>(maxima: &[S], rule: &Rule) -> f64 {
    let Rule { quantile: share, factor, prior, .. } = *rule;
    let count = maxima.len();
    if count < FEW_BLOCKS {
        return prior;
    }
    let mut sorted = [0.0; BLOCKS];
    let sorted = &mut sorted[..count];
    for (sorted, maximum) in sorted.iter_mut().zip(maxima) {
        *sorted = (*maximum).into();
    }
    let quantile = quantile(sorted, share);
    let count = count as f64;
    let own = factor * quantile * count / (count + 5.0);
    let (greater, lesser) = (at_least(own, prior), at_most(own, prior));
    let ratio = lesser / greater;
    let square = ratio * ratio;
    greater * (1.0 + square * square).sqrt().sqrt()
}

#[cfg(test)]
mod tests {
    use super::super::rate::FALSE_ALARMS_PER_DAY;
    use super::*;
    use crate::calibrated::pace::Pace;
    use crate::calibrated::recipe::Recipe;

    #[test]
    fn the_threshold_is_the_prior_one_until_three_blocks_have_ended() {
        for (recipe, own) in [(&Recipe::ORIGINAL, 55.3125), (&Recipe::CHANNEL, 59.5125)] {
            let rule = Pace::new(60_000, recipe, FALSE_ALARMS_PER_DAY).rule();
            let mut maxima = BlockMaxima::<f64>::new(&rule);
            for _ in 0..2 {
                maxima.current = [100.0; VIEWS];
                maxima.end_block(&rule);
            }
            assert_eq!(maxima.thresholds(), [4.13; VIEWS]);
            let after = maxima.thresholds_after_block(&rule);
            maxima.end_block(&rule);
            assert_eq!(maxima.thresholds(), after);
            // 3/8 of the weight, and hardly anything of the prior one: 1.475 * 100 * 3 / 8, and 1.587 of it.
            assert!((after[0] - own).abs() < 1e-3, "{after:?}");
        }
    }

    #[test]
    fn a_threshold_is_half_greater_at_first_and_hardly_at_all_after_five_days() {
        let rule = Pace::new(60_000, &Recipe::CURRENT, FALSE_ALARMS_PER_DAY).rule();
        let mut maxima = BlockMaxima::<f64>::new(&rule);
        let factors: Vec<f64> = (0..=10)
            .map(|_| {
                let factor = maxima.factor();
                maxima.end_block(&rule);
                factor
            })
            .collect();
        assert_eq!(factors[0], 1.5);
        assert!(factors.windows(2).all(|pair| pair[0] > pair[1]) && factors[10] < 1.02, "{factors:?}");
    }

    #[test]
    fn the_oldest_block_is_forgotten() {
        let rule = Pace::new(60_000, &Recipe::CURRENT, FALSE_ALARMS_PER_DAY).rule();
        let mut maxima = BlockMaxima::<f32>::new(&rule);
        for block in 0..3 * BLOCKS {
            maxima.current = [if block < BLOCKS { 1e6 } else { 2.0 }; VIEWS];
            maxima.end_block(&rule);
        }
        assert_eq!((maxima.blocks, maxima.remembered()), (3 * BLOCKS as u64, BLOCKS));
        assert!(maxima.thresholds()[0] < 5.0, "{:?}", maxima.thresholds());
    }
}
