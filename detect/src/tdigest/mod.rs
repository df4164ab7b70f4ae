//! A merging t-digest with exponential decay: the distribution of a series' values in about one kilobyte.
//!
//! T. Dunning, O. Ertl, "Computing extremely accurate quantiles using t-digests", 2019 (arXiv:1902.04023): the merging
//! variant. There are two scale functions. [`Scale::new`] has `k0(q) = compression * q / 1.6`: all centroids may weigh the same
//! share, `1.6 / compression`, because median and MAD need the middle of the distribution, not its tails, and `k1` with the same
//! number of centroids would allow twice as much there. [`Scale::for_tails`] has `k1`: a centroid at `q` may weigh
//! `3 / compression * 2 sqrt(q (1 - q))` of all, for quantiles anywhere. What else differs from the paper is stated.
//!
//! # Centroids
//!
//! Sorted by mean. A centroid is an **atom** (all its samples have the same value) or **spread** (they do not). A sample adds its
//! weight to the atom of its value. Where there is none, the nearer one of its two neighbours takes it in, the left one where
//! both are equally far, if that is spread, together they weigh no more than the scale allows, and the sample weighs no more than
//! a quarter of it. All others enter as atoms in their places. There is no separate buffer, so that samples not yet merged count
//! as fully as all others. When the centroids reach [`Scale::capacity`], they are merged from left to right: a centroid takes in
//! its right neighbour while together they weigh at most what the scale allows, with `k1` at both of their outer ends. Two
//! neighbours are not merged across a gap more than 8 times as wide as both gaps beside it: a centroid between two clusters would
//! put weight where no sample is, just where the median of such a series lies. The first and the last centroid are never merged:
//! they are the exact minimum and maximum. If more than [`Scale::kept`] centroids remain, the merge is repeated with 1.0625 times
//! the weight until they do not. So when centroids merge depends on the learnt values alone, never on how they were cut into
//! calls; and while a series has fewer than `capacity` distinct values, its distribution is exact.
//!
//! # Distribution function
//!
//! With `W` the total weight: an atom is a step of its weight at its value. A spread centroid puts half its weight, uniformly,
//! between the mean of its left neighbour and its own mean, and the other half between its own mean and that of its right
//! neighbour. So `F` is linear between means and jumps at atoms.
//!
//! The quantile of a probability `p` is the `x` with `F(x) = p W`, where `p W` is rounded to half a unit of weight and at least
//! that: a jump across `p W` gives the atom's value; where `F` is `p W` between two atoms, the middle between them. The median is
//! that of 1/2.
//!
//! # Weights
//!
//! Weights are integers, so that sums of weights are exact and do not depend on the order of summation. A new sample weighs
//! `round(unit)`, at least 1. `unit` starts at 2^16 and is divided by the decay before each sample, so that the older ones lose
//! weight relatively; it is divided by `history_strength` at the end of a fit. Where `unit` would exceed 2^17 or `W` 2^30, all
//! weights and `unit` are halved as often as needed; weights round down, and a centroid whose weight reaches 0 is dropped. An
//! outermost spread centroid that this uncovers becomes an atom at its mean. The ratio of two samples' weights is true to one
//! part in 2^15 while the samples that count (`1 / (1 - decay)`, or all) are fewer than 2^14; then to one part in
//! `2^29 / samples`.

mod centroid;
mod cut;
mod scale;

pub use self::centroid::Centroid;
pub(crate) use self::centroid::between;
pub(crate) use self::cut::{Cut, RunWeights};
pub use self::scale::Scale;
use crate::model::StateError;
use crate::score::{at_least, at_most};
use crate::state::{Reader, Writer, damaged, require};

/// Most weight of all samples together; twice as much fits a `u32`.
const MAX_TOTAL: u32 = 1 << 30;

/// Weight of the first sample.
const FIRST_UNIT: f64 = 65_536.0;

/// Weight of a new sample above which all weights are halved.
const MAX_UNIT: f64 = 131_072.0;

/// Once a new sample weighs so much, all that came before is nothing.
const DOMINANT_UNIT: f64 = MAX_UNIT * MAX_TOTAL as f64;

/// A sample that weighs a greater share of what a centroid may is not taken in by one: of such few samples, each has its place.
const TAKEN_SHARE: f64 = 0.25;

/// Centroids that are searched at once.
const GROUP: usize = 8;

/// Up to so many groups, it is quicker to look at all of them.
const MAX_GROUPS: usize = 32;

/// How many times as wide as both of its neighbours a gap is that separates clusters.
const CLUSTER_GAP: f64 = 8.0;

/// Size of a saved centroid.
const CENTROID_BYTES: usize = 12;

/// What learning a sample did to the centroids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// The centroid at the index grew by the weight.
    Grown {
        /// Its index.
        at: usize,
        /// What it grew by.
        weight: u32,
    },
    /// A centroid of the weight was inserted at the index.
    Inserted {
        /// Its index.
        at: usize,
        /// Its weight.
        weight: u32,
    },
    /// Any centroid may have changed.
    Rebuilt,
}

/// The distribution of the values of a series; see the module. The [`Scale`] and the decay are the caller's and the same in
/// every call.
#[derive(Debug, Clone, PartialEq)]
pub struct Digest {
    centroids: Vec<Centroid>,
    total: u32,
    unit: f64,
}

impl Default for Digest {
    fn default() -> Self {
        Self { centroids: Vec::new(), total: 0, unit: FIRST_UNIT }
    }
}

impl Digest {
    /// A digest of these centroids, or what is wrong with them. `unit` is the weight of the latest sample.
    ///
    /// # Errors
    /// Names the rule that the parts break.
    pub fn from_parts(scale: Scale, centroids: Vec<Centroid>, unit: f64) -> Result<Self, &'static str> {
        if !unit.is_finite() || unit <= 0.0 {
            return Err("the unit is not a weight");
        }
        if centroids.len() >= scale.capacity() {
            return Err("more centroids than the compression allows");
        }
        if centroids.iter().any(|centroid| !centroid.mean().is_finite()) {
            return Err("a mean is not finite");
        }
        // The sign of a negative zero would make equal means different.
        if centroids.iter().any(|centroid| centroid.mean().to_bits() == 1 << 63) {
            return Err("a mean is a negative zero");
        }
        if centroids.iter().any(|centroid| centroid.weight() == 0) {
            return Err("a weight is 0");
        }
        let total: u64 = centroids.iter().map(|centroid| u64::from(centroid.weight())).sum();
        let Some(total) = u32::try_from(total).ok().filter(|total| *total <= MAX_TOTAL) else {
            return Err("the weights are too great");
        };
        if centroids.is_sorted_by(|left, right| left.mean() <= right.mean()) {
            let same_mean = |left: &Centroid, right: &Centroid| left.mean() == right.mean();
            let mut runs = centroids.chunk_by(same_mean);
            if runs.any(|run| run.iter().filter(|centroid| !centroid.is_spread()).count() > 1) {
                return Err("two atoms have the same value");
            }
        } else {
            return Err("the means are not sorted");
        }
        if [centroids.first(), centroids.last()].into_iter().flatten().any(Centroid::is_spread) {
            return Err("an outermost centroid is spread");
        }
        if centroids.is_empty() && unit != FIRST_UNIT {
            return Err("a weight without samples");
        }
        Ok(Self { centroids, total, unit })
    }

    /// Sorted by mean.
    #[must_use]
    pub fn centroids(&self) -> &[Centroid] {
        &self.centroids
    }

    /// Weight of all samples.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.total
    }

    /// Weight of the latest sample, before rounding.
    #[must_use]
    pub fn unit(&self) -> f64 {
        self.unit
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.centroids.capacity() * size_of::<Centroid>()
    }

    /// The quantiles of these probabilities, all NaN while nothing was learnt. Ascending probabilities are the fastest.
    #[must_use]
    pub fn quantiles<const N: usize>(&self, probabilities: [f64; N]) -> [f64; N] {
        if self.centroids.is_empty() {
            return [f64::NAN; N];
        }
        let doubled = 2 * self.total;
        let mut cut = Cut::default();
        probabilities.map(|probability| {
            let target = at_least(probability * f64::from(doubled) + 0.5, 1.0).min(f64::from(doubled)) as u32;
            if doubled - target < target.saturating_sub(cut.before) {
                // It is nearer to the end.
                cut = Cut { index: self.centroids.len(), before: doubled };
            }
            cut.seek(self, target);
            cut.quantile(self, target)
        })
    }

    /// Size of a saved digest of so many centroids.
    #[must_use]
    pub const fn saved_bytes(centroids: usize) -> usize {
        8 + 4 + CENTROID_BYTES * centroids
    }

    /// Appends the unit (`f64`), the number of centroids (`u32`), and each centroid's mean (`f64`) and weight (`u32`, its highest
    /// bit set if it is spread).
    pub(crate) fn save(&self, writer: &mut Writer<'_>) {
        writer.f64(self.unit);
        // There are fewer than the capacity, which the greatest compression keeps below 2^16.
        writer.u32(self.centroids.len() as u32);
        for centroid in &self.centroids {
            writer.f64(centroid.mean());
            writer.u32(centroid.packed_weight());
        }
    }

    /// Takes a saved digest.
    pub(crate) fn load(scale: Scale, reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let unit = reader.finite()?;
        let count = reader.u32()? as usize;
        require(count < scale.capacity(), "more centroids than the compression allows")?;
        require(reader.remaining() >= count * CENTROID_BYTES, "the number of centroids is not that of the bytes")?;
        let mut centroids = Vec::with_capacity(count);
        for _ in 0..count {
            let mean = reader.finite()?;
            require(mean.to_bits() != (-0.0_f64).to_bits(), "a mean is a negative zero")?;
            let weight = reader.u32()?;
            centroids.push(Centroid::of_packed(mean, weight));
        }
        Self::from_parts(scale, centroids, unit).map_err(damaged)
    }

    /// Learns one finite value, after all earlier ones lost weight by `decay`.
    pub(crate) fn learn(&mut self, scale: Scale, decay: f64, value: f64) -> Change {
        self.learn_between(scale, decay, value, sum_before)
    }

    /// [`learn`](Self::learn) with a faster way to sum the weights of all centroids left of the one at an index, as they were
    /// before.
    #[inline]
    pub(crate) fn learn_between(
        &mut self,
        scale: Scale,
        decay: f64,
        value: f64,
        weight_before: impl FnOnce(&[Centroid], usize) -> u32,
    ) -> Change {
        if decay != 1.0 && !self.centroids.is_empty() {
            self.unit /= decay;
        }
        let scaled = (self.unit > MAX_UNIT || self.total + self.weight_of_next() > MAX_TOTAL) && self.make_room();
        let weight = self.weight_of_next();
        self.total += weight;
        let value = value + 0.0;
        let insertion = self.count_below(value);
        let taken = self.atom_of(insertion, value).or_else(|| {
            let is_light = f64::from(weight) <= TAKEN_SHARE * scale.share * f64::from(self.total);
            if !is_light {
                None
            } else if scaled {
                self.neighbour_for(scale, insertion, value, weight, sum_before)
            } else {
                self.neighbour_for(scale, insertion, value, weight, weight_before)
            }
        });
        if let Some(at) = taken {
            self.take_in(at, value, weight);
            return if scaled { Change::Rebuilt } else { Change::Grown { at, weight } };
        }
        self.reserve(scale);
        self.centroids.insert(insertion, Centroid::new(value, weight, false));
        let full = self.centroids.len() >= scale.capacity();
        if full {
            self.merge(scale);
        }
        if full || scaled { Change::Rebuilt } else { Change::Inserted { at: insertion, weight } }
    }

    /// The index of the atom of a value, of which the first centroid that is not below it is known.
    #[inline]
    fn atom_of(&self, insertion: usize, value: f64) -> Option<usize> {
        let mut same = self.centroids.get(insertion..)?.iter().take_while(|centroid| centroid.mean() == value);
        same.position(|centroid| !centroid.is_spread()).map(|index| insertion + index)
    }

    /// The index of the neighbour that takes in a sample, if one does.
    #[inline]
    fn neighbour_for(
        &self,
        scale: Scale,
        insertion: usize,
        value: f64,
        weight: u32,
        weight_before: impl FnOnce(&[Centroid], usize) -> u32,
    ) -> Option<usize> {
        let (left, right) = (self.centroids.get(insertion.checked_sub(1)?)?, self.centroids.get(insertion)?);
        let is_right = value - left.mean() > right.mean() - value;
        let at = insertion - usize::from(!is_right);
        let centroid = self.centroids.get(at).filter(|centroid| centroid.is_spread())?;
        let together = centroid.weight() + weight;
        let is_light = if scale.favours_tails {
            let before = weight_before(&self.centroids, at);
            let outside = before.min(self.total - together - before);
            // Below 2^60.
            let sides = (u64::from(outside) * u64::from(self.total - outside)) as i64 as f64;
            let limit = 2.0 * scale.share;
            f64::from(together) * f64::from(together) <= limit * limit * sides
        } else {
            f64::from(together) <= scale.share * f64::from(self.total)
        };
        is_light.then_some(at)
    }

    /// Adds a sample to a centroid. A spread one's mean moves towards the value by the share of the weight, of at most
    /// `1 - 2^-30`, so that rounding does not carry it beyond.
    #[inline]
    fn take_in(&mut self, at: usize, value: f64, weight: u32) {
        let Some(centroid) = self.centroids.get_mut(at) else {
            return;
        };
        let together = centroid.weight() + weight;
        if centroid.is_spread() {
            let mean = centroid.mean();
            let share = f64::from(weight) / f64::from(together);
            let distance = value - mean;
            let is_finite = distance.abs() < f64::INFINITY;
            let moved = if is_finite { mean + distance * share } else { mean * (1.0 - share) + value * share };
            *centroid = Centroid::new(moved, together, true);
        } else {
            centroid.set_weight(together);
        }
    }

    /// How many centroids have a mean below `value`. Comparisons that do not wait for each other, of the last centroid of each group
    /// and then of one group, take half as long as a binary search, whose every step waits for the one before.
    fn count_below(&self, value: f64) -> usize {
        let is_below = |centroid: &Centroid| centroid.mean() < value;
        if self.centroids.len() > MAX_GROUPS * GROUP {
            return self.centroids.partition_point(is_below);
        }
        let (groups, rest) = self.centroids.as_chunks::<GROUP>();
        let below: usize = groups.iter().map(|group| usize::from(is_below(&group[GROUP - 1]))).sum();
        // The last few are looked at together with some before them, so that there is always as much to do.
        let start = (GROUP * below).min(self.centroids.len().saturating_sub(GROUP));
        match self.centroids.get(start..).and_then(|after| after.first_chunk::<GROUP>()) {
            Some(group) => start + group.iter().map(|centroid| usize::from(is_below(centroid))).sum::<usize>(),
            None => rest.iter().filter(|centroid| is_below(centroid)).count(),
        }
    }

    /// Multiplies the weight of everything learnt so far.
    pub(crate) fn strengthen(&mut self, factor: f64) {
        if self.centroids.is_empty() {
            return;
        }
        self.unit = (self.unit / factor).clamp(f64::MIN_POSITIVE, DOMINANT_UNIT);
        // Whole numbers of units keep their ratio: room for it is made while there is any.
        while self.unit < FIRST_UNIT / 2.0 && self.total <= MAX_TOTAL / 4 {
            self.unit *= 2.0;
            self.total *= 2;
            for centroid in &mut self.centroids {
                centroid.set_weight(centroid.weight() * 2);
            }
        }
    }

    fn weight_of_next(&self) -> u32 {
        // `make_room` has brought the unit to 2^17 at most; the cast saturates in any case.
        at_least(self.unit + 0.5, 1.0) as u32
    }

    /// Halves all weights until the next sample and the total are in range. Whether it did.
    fn make_room(&mut self) -> bool {
        if self.unit >= DOMINANT_UNIT {
            *self = Self { centroids: std::mem::take(&mut self.centroids), ..Self::default() };
            self.centroids.clear();
            return true;
        }
        let mut halvings = 0;
        while self.unit > MAX_UNIT || (self.total >> halvings) + self.weight_of_next() > MAX_TOTAL {
            self.unit /= 2.0;
            halvings += 1;
        }
        if halvings == 0 {
            return false;
        }
        for centroid in &mut self.centroids {
            centroid.set_weight(centroid.weight() >> halvings);
        }
        self.centroids.retain(|centroid| centroid.weight() > 0);
        self.total = self.centroids.iter().map(Centroid::weight).sum();
        if let Some(first) = self.centroids.first_mut() {
            first.become_atom();
        }
        if let Some(last) = self.centroids.last_mut() {
            last.become_atom();
        }
        true
    }

    /// Room for one more centroid, growing in few steps up to the capacity.
    fn reserve(&mut self, scale: Scale) {
        let len = self.centroids.len();
        if len == self.centroids.capacity() {
            let wanted = (2 * len).max(8).min(scale.capacity().max(len + 1));
            self.centroids.reserve_exact(wanted - len);
        }
    }

    /// Merges centroids until at most `scale.kept()` are left.
    fn merge(&mut self, scale: Scale) {
        let mut limit = scale.share * f64::from(self.total);
        while self.centroids.len() > scale.kept() {
            self.merge_pass(scale, limit);
            limit *= 1.0625;
        }
    }

    /// Merges inner neighbours from left to right while together they weigh at most `limit`, or what that is at their place.
    fn merge_pass(&mut self, scale: Scale, limit: f64) {
        let last = self.centroids.len() - 1;
        let total = f64::from(self.total);
        // Of `k1`: the square of `2 limit sqrt(q (1 - q))` is this times the weights on both sides.
        let per_sides = (2.0 * limit / total) * (2.0 * limit / total);
        let sides = |before: u32| f64::from(before) * (total - f64::from(before));
        // The index of the centroid that takes in its right neighbours, and the weight to its left.
        let (mut open, mut before) = (0, 0);
        for next in 1..=last {
            let candidate = self.centroids[next];
            let current = self.centroids[open];
            let together = current.weight() + candidate.weight();
            let weight = f64::from(together);
            let is_light = if scale.favours_tails {
                weight * weight <= per_sides * at_most(sides(before), sides(before + together))
            } else {
                weight <= limit
            };
            let is_inner = open > 0 && next < last;
            if is_inner && is_light && !self.is_between_clusters(open, next) {
                self.centroids[open] = current.with(&candidate);
            } else {
                before += current.weight();
                open += 1;
                self.centroids[open] = candidate;
            }
        }
        self.centroids.truncate(open + 1);
    }

    /// Whether the gap between two inner neighbours is much wider than the ones on either side of it.
    fn is_between_clusters(&self, left: usize, right: usize) -> bool {
        let mean = |index: usize| self.centroids[index].mean();
        let beside = at_least(mean(left) - mean(left - 1), mean(right + 1) - mean(right));
        mean(right) - mean(left) > CLUSTER_GAP * beside
    }
}

/// The weight of all centroids left of the one at an index.
fn sum_before(centroids: &[Centroid], at: usize) -> u32 {
    centroids.iter().take(at).map(Centroid::weight).sum()
}
