//! Sums of weights that follow the changes of a digest, so that a lookup near the one before takes few additions.

use super::{Centroid, Change, Digest, GROUP, Scale, centroid::between};

/// A position between centroids with the weight to its left, so that nearby sums need few additions. The sums are of integers:
/// a cut that was moved and one that was summed afresh are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cut {
    /// The index of the centroid to the right.
    pub index: usize,
    /// Twice the weight of all centroids to the left.
    pub before: u32,
}

impl Cut {
    /// The cut left of the centroid at `index`.
    pub fn at(centroids: &[Centroid], index: usize) -> Self {
        Self { index, before: centroids.iter().take(index).map(Centroid::doubled).sum() }
    }

    /// The same cut after a change that did not rebuild the centroids. One that was inserted at the cut is to its right.
    pub fn shift(&mut self, change: Change) {
        match change {
            Change::Grown { at, weight } if at < self.index => self.before += 2 * weight,
            Change::Inserted { at, weight } if at < self.index => {
                self.before += 2 * weight;
                self.index += 1;
            }
            _ => {}
        }
    }

    /// Moves right over one centroid.
    pub fn forward(&mut self, centroids: &[Centroid]) {
        self.before += centroids[self.index].doubled();
        self.index += 1;
    }

    /// Moves left over one centroid.
    pub fn back(&mut self, centroids: &[Centroid]) {
        self.index -= 1;
        self.before -= centroids[self.index].doubled();
    }

    /// Moves in front of the first centroid up to whose mean, inclusive, half of the weight lies. The digest is not empty.
    pub fn seek_median(&mut self, digest: &Digest) {
        self.seek(digest, digest.total);
    }

    /// The same for `target`, twice a weight: at least 1, at most twice all of it.
    pub(super) fn seek(&mut self, digest: &Digest, target: u32) {
        let centroids = &digest.centroids;
        while self.index < centroids.len() && self.through_mean(centroids) < target {
            self.forward(centroids);
        }
        while self.index > 0 && self.through_previous(centroids) >= target {
            self.back(centroids);
        }
    }

    /// Twice the weight up to the mean of the centroid to the right, without what lies at its mean.
    pub fn up_to_mean(&self, centroids: &[Centroid]) -> u32 {
        self.before + centroids[self.index].beside_mean()
    }

    /// Twice the weight up to the mean of the centroid to the right, inclusive.
    fn through_mean(&self, centroids: &[Centroid]) -> u32 {
        let centroid = centroids[self.index];
        self.before + centroid.doubled() - centroid.beside_mean()
    }

    /// Twice the weight up to the mean of the centroid to the left, inclusive.
    pub fn through_previous(&self, centroids: &[Centroid]) -> u32 {
        self.before - centroids[self.index - 1].beside_mean()
    }

    /// The median, of a cut that stands where [`seek_median`](Self::seek_median) leads.
    pub fn median(&self, digest: &Digest) -> f64 {
        self.quantile(digest, digest.total)
    }

    /// The value that has half of `target` to its left, of a cut that stands where [`seek`](Self::seek) leads.
    pub(super) fn quantile(&self, digest: &Digest, target: u32) -> f64 {
        let centroids = &digest.centroids;
        let centroid = centroids[self.index];
        let up_to_mean = self.up_to_mean(centroids);
        if up_to_mean >= target {
            // The target is reached left of the mean; left of the first centroid is nothing, so there is another.
            let start = self.through_previous(centroids);
            let share = f64::from(target - start) / f64::from(up_to_mean - start);
            return between(centroids[self.index - 1].mean(), centroid.mean(), share);
        }
        match centroids.get(self.index + 1) {
            Some(next) if self.through_mean(centroids) == target && !centroid.is_spread() && !next.is_spread() => {
                centroid.mean().midpoint(next.mean())
            }
            _ => centroid.mean(),
        }
    }
}

/// Runs of neighbouring centroids.
const RUNS: usize = 16;

/// The weights left of each of the [`RUNS`] of a digest's centroids, so that the weight left of any of them takes few additions:
/// no part of what was learnt.
#[derive(Debug, Clone)]
pub(crate) struct RunWeights {
    /// Binary logarithm of the length of a run.
    shift: u32,
    before: [u32; RUNS],
    is_current: bool,
}

impl RunWeights {
    /// Those of an empty digest.
    pub fn new(scale: Scale) -> Self {
        let length = scale.capacity().div_ceil(RUNS).next_power_of_two().max(GROUP);
        Self { shift: length.trailing_zeros(), before: [0; RUNS], is_current: false }
    }

    /// The weight of all centroids left of the one at an index.
    #[inline]
    pub fn before(&mut self, centroids: &[Centroid], at: usize) -> u32 {
        if !self.is_current {
            let mut sum = 0;
            for (before, run) in self.before.iter_mut().zip(centroids.chunks(1 << self.shift)) {
                *before = sum;
                sum += run.iter().map(Centroid::weight).sum::<u32>();
            }
            self.is_current = true;
        }
        let run = (at >> self.shift) % RUNS;
        let first = run << self.shift;
        let start = first.min(centroids.len().saturating_sub(GROUP));
        let within: u32 = match centroids.get(start..).and_then(|after| after.first_chunk::<GROUP>()) {
            Some(group) if 1 << self.shift == GROUP => {
                // Always as much to do, side by side.
                let (low, high) = ((first - start) as i32, (at - start) as i32);
                let weights = group.each_ref().map(Centroid::weight);
                weights.iter().zip(0..).map(|(weight, index)| weight & mask(low <= index) & mask(index < high)).sum()
            }
            _ => centroids.iter().take(at).skip(first).map(Centroid::weight).sum(),
        };
        self.before[run] + within
    }

    /// The same after a change.
    #[inline]
    pub fn follow(&mut self, change: Change) {
        let Change::Grown { at, weight } = change else {
            self.is_current = false;
            return;
        };
        let run = (at >> self.shift) as i32;
        for (before, index) in self.before.iter_mut().zip(0..) {
            *before = before.wrapping_add(weight & mask(run < index));
        }
    }
}

/// All bits or none.
#[inline]
fn mask(is_set: bool) -> u32 {
    0_u32.wrapping_sub(u32::from(is_set))
}
