//! `mad_online`: running median and median absolute deviation, the bounds a number of deviations away.
//!
//! # Formulas
//!
//! `F` is the weighted distribution function of the samples since the last reset, as a [t-digest](crate::tdigest) knows it
//! (exact up to 84 distinct values, with the default compression), where sample `i` of `n` weighs `decay^(n - i)`. Then
//!
//! - `yhat` is the median: the `x` with `F(x) = 1/2`,
//! - `MAD` is the median of the distances from it: the least `m` with `G(m) = F(yhat + m) - F(yhat - m) >= 1/2`, where `G` counts
//!   what lies at both ends; no second digest of distances, whose median would lag behind,
//! - where `F` or `G` is exactly 1/2 over a whole segment, the middle of the segment is taken, as usual for an even number of
//!   samples,
//! - bounds `yhat -+ threshold * MAD`, saturating at `±f64::MAX`. There is no factor 1.4826.
//!
//! With the default compression, the rank of the median, and that of the MAD among the distances from it, are within 0.02 of 1/2
//! for series as they occur: heavy tails, several clusters, sorted input. The MAD has the errors of both of its ends: over 200
//! thousand random mixtures of uniform values, one repeated value and 18 decades, the greatest rank errors were 0.019 and 0.025;
//! two MADs of them exceeded 0.02.
//!
//! `F` is piecewise linear with jumps, so `G` is too, and both equations are solved exactly on the segment they fall in.
//! [`crate::score`] keeps the interval open where the MAD is 0, as for a series of which more than half is one value.
//!
//! The end of a fit divides the weight of all later samples by `history_strength`; median and MAD stay as they are, bit for
//! bit.
//!
//! # State
//!
//! The [header](crate::state) `md`, then `samples_seen` (`u64`), the compression (`u32`), the digest's unit (`f64`), the number
//! of centroids (`u32`), and each centroid's mean (`f64`) and weight (`u32`, its highest bit set if it is spread):
//! [`state_bytes`] in all, at most 1036 with the default compression.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::argument::{ArgumentError, Arguments};
use crate::model::{OnlineModel, StateError};
use crate::score::{Interval, at_least, at_most};
use crate::state::{Format, HEADER_BYTES, Reader, Writer, require};
use crate::tdigest::{Centroid, Change, Cut, Digest, Scale, between};

/// Tag and version of the state.
pub const FORMAT: Format = Format { tag: *b"md", version: 1 };

/// Size of a saved state of so many centroids, of which there are fewer than [`Scale::capacity`].
#[must_use]
pub const fn state_bytes(centroids: usize) -> usize {
    HEADER_BYTES + 8 + 4 + Digest::saved_bytes(centroids)
}

/// Arguments of `mad_online`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MadOnlineArgs {
    /// Half-width of the interval in MADs; finite, above 0.
    pub threshold: f64,
    /// Compression of the digest; at least 1, at most [`MAX_COMPRESSION`].
    pub compression: u32,
    /// Weight that a sample keeps per newer one; in (0, 1].
    pub decay: f64,
    /// Factor of the evidence weight at the end of a fit; finite, above 0.
    pub history_strength: f64,
}

/// Greatest compression: 96 kB a series.
pub const MAX_COMPRESSION: u32 = 10_000;

impl Default for MadOnlineArgs {
    fn default() -> Self {
        Self { threshold: 2.5, compression: 100, decay: 1.0, history_strength: 1.0 }
    }
}

impl MadOnlineArgs {
    /// Checks every argument against its range.
    ///
    /// # Errors
    /// Names the first argument that is outside its range.
    pub fn validate(&self) -> Result<(), ArgumentError> {
        let arguments = Arguments("mad_online");
        arguments.require_positive("threshold", self.threshold)?;
        let holds = (1..=MAX_COMPRESSION).contains(&self.compression);
        arguments.require("compression", self.compression, "from 1 to 10000", holds)?;
        arguments.require_online(self.decay, self.history_strength)
    }

    /// The arguments that act on learning; see [`crate::spec::ModelSpec::learning_signature`].
    pub(crate) fn learning_signature(&self) -> String {
        let Self { decay, history_strength, compression, .. } = self;
        format!("decay={decay:?} history_strength={history_strength:?} compression={compression}")
    }
}

/// What all series of a batch have in common.
#[derive(Debug)]
struct Shared {
    args: MadOnlineArgs,
    scale: Scale,
}

/// `mad_online` of one series.
#[derive(Debug, Clone)]
pub struct MadOnline {
    shared: Arc<Shared>,
    samples_seen: u64,
    digest: Digest,
    /// Median and MAD of the digest, and where they were found: a pure function of the digest.
    middle: Middle,
}

impl MadOnline {
    /// A model that has learnt nothing. A compression outside its range is moved into it.
    #[must_use]
    pub fn new(args: MadOnlineArgs) -> Self {
        let scale = Scale::new(args.compression.clamp(1, MAX_COMPRESSION));
        Self {
            shared: Arc::new(Shared { args, scale }),
            samples_seen: 0,
            digest: Digest::default(),
            middle: Middle::default(),
        }
    }

    /// The digest of what was learnt.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The median absolute deviation; 0 while nothing was learnt.
    #[must_use]
    pub fn mad(&self) -> f64 {
        self.middle.mad
    }
}

impl OnlineModel for MadOnline {
    #[inline]
    fn predict(&self, _time: i64) -> Interval {
        if self.samples_seen == 0 {
            return Interval::NONE;
        }
        Interval::symmetric(self.middle.median, self.shared.args.threshold * self.middle.mad)
    }

    fn learn(&mut self, _time: i64, value: f64) {
        if value.is_finite() {
            self.samples_seen += 1;
            let change = self.digest.learn(self.shared.scale, self.shared.args.decay, value);
            self.middle.follow(&self.digest, change);
        }
    }

    fn finish_fit(&mut self) {
        self.digest.strengthen(self.shared.args.history_strength);
        self.middle.follow(&self.digest, Change::Rebuilt);
    }

    fn samples_seen(&self) -> u64 {
        self.samples_seen
    }

    fn save(&self, out: &mut Vec<u8>) {
        let centroids = self.digest.centroids();
        out.reserve(state_bytes(centroids.len()));
        let mut writer = Writer::new(FORMAT, out);
        writer.u64(self.samples_seen);
        writer.u32(self.shared.scale.compression());
        self.digest.save(&mut writer);
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let scale = self.shared.scale;
        let mut reader = Reader::new(FORMAT, bytes)?;
        let samples_seen = reader.u64()?;
        require(reader.u32()? == scale.compression(), "it was learnt with another compression")?;
        let digest = Digest::load(scale, &mut reader)?;
        reader.finish()?;
        let count = digest.centroids().len();
        require(count as u64 <= samples_seen, "more centroids than samples")?;
        require((count == 0) == (samples_seen == 0), "samples without centroids")?;
        self.samples_seen = samples_seen;
        self.digest = digest;
        self.middle = Middle::default();
        self.middle.follow(&self.digest, Change::Rebuilt);
        Ok(())
    }

    fn heap_bytes(&self) -> usize {
        self.digest.heap_bytes()
    }
}

/// Median and MAD, with the places in the digest where they were found: the next ones are near, so that following a sample
/// takes a few steps. The steps only find the segment in which the answer lies, and there is one; so the answer does not depend
/// on where they start.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Middle {
    median: f64,
    mad: f64,
    at_median: Cut,
    window: Window,
}

impl Middle {
    /// Brings median and MAD up to date with the digest after a change.
    fn follow(&mut self, digest: &Digest, change: Change) {
        let centroids = digest.centroids();
        if centroids.is_empty() {
            *self = Self::default();
            return;
        }
        if change == Change::Rebuilt {
            let (low, high) = (self.median - self.mad, self.median + self.mad);
            let index = |end: f64| centroids.partition_point(|centroid| centroid.mean() < end);
            self.at_median = Cut::at(centroids, index(self.median));
            self.window.first = Cut::at(centroids, index(low));
            self.window.end = Cut::at(centroids, index(high));
        } else {
            self.at_median.shift(change);
            self.window.first.shift(change);
            self.window.end.shift(change);
        }
        self.at_median.seek_median(digest);
        self.median = self.at_median.median(digest);
        self.mad = self.window.mad(digest, self.median, self.at_median);
    }
}

/// The centroids `first.index..end.index`: those whose distance from the median is at most some `m`.
///
/// As `m` grows, centroids come in one by one: in order of their distance, the left one first where two are equally far. `G`
/// grows with every one; all comparisons are of values that are computed from the window and the centroid alone, by operations
/// that never decrease where their operands grow, so that the order of `G`'s values survives rounding.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Window {
    first: Cut,
    end: Cut,
}

/// A centroid that comes into the window, at the `m` of its distance.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    distance: f64,
    /// Twice `G` times the total weight, without what lies at the centroid's mean.
    before: f64,
    /// The same with it.
    after: f64,
    is_left: bool,
}

impl Window {
    /// Moves to the last window with `G < 1/2` and solves for the MAD.
    fn mad(&mut self, digest: &Digest, median: f64, at_median: Cut) -> f64 {
        let centroids = digest.centroids();
        let half = f64::from(digest.total());
        let smallest = Self::at_zero(centroids, median, at_median);
        if self.first.index > smallest.first.index || self.end.index < smallest.end.index {
            *self = smallest;
        }
        let mut current = self.latest(centroids, median, smallest);
        while !self.is_smallest(smallest) && (current.after >= half || !self.is_in_order(centroids, median, current)) {
            if current.is_left {
                self.first.forward(centroids);
            } else {
                self.end.back(centroids);
            }
            current = self.latest(centroids, median, smallest);
        }
        if current.after >= half {
            // Only the smallest window is left: the median's own weight.
            return self.middle_of_flat(centroids, median, half, 0.0, current.after);
        }
        // The window of all centroids has all the weight, so there is always a next one before.
        while let Some(next) = self.next(centroids, median) {
            if next.after >= half {
                if next.before >= half {
                    let share = (half - current.after) / (next.before - current.after);
                    return between(current.distance, next.distance, share);
                }
                let end = next.distance;
                if next.after > half {
                    return end;
                }
                self.take(centroids, next);
                return self.middle_of_flat(centroids, median, half, end, next.after);
            }
            self.take(centroids, next);
            current = next;
        }
        current.distance
    }

    /// The centroids at the median itself; none if it lies between two.
    fn at_zero(centroids: &[Centroid], median: f64, at_median: Cut) -> Self {
        let mut first = at_median;
        while first.index > 0 && centroids[first.index - 1].mean() >= median {
            first.back(centroids);
        }
        while first.index < centroids.len() && centroids[first.index].mean() < median {
            first.forward(centroids);
        }
        let mut end = first;
        while end.index < centroids.len() && centroids[end.index].mean() <= median {
            end.forward(centroids);
        }
        Self { first, end }
    }

    fn is_smallest(&self, smallest: Self) -> bool {
        self.first.index == smallest.first.index && self.end.index == smallest.end.index
    }

    fn take(&mut self, centroids: &[Centroid], arrival: Arrival) {
        if arrival.is_left {
            self.first.back(centroids);
        } else {
            self.end.forward(centroids);
        }
    }

    /// `m` where `G` is exactly 1/2 at `start`: the middle of the segment on which it stays so.
    fn middle_of_flat(&self, centroids: &[Centroid], median: f64, half: f64, start: f64, reached: f64) -> f64 {
        match self.next(centroids, median) {
            Some(next) if reached == half && next.before == half => start.midpoint(next.distance),
            _ => start,
        }
    }

    /// The centroid that comes next.
    fn next(&self, centroids: &[Centroid], median: f64) -> Option<Arrival> {
        let left = self.first.index.checked_sub(1).map(|index| median - centroids[index].mean());
        let right = centroids.get(self.end.index).map(|centroid| centroid.mean() - median);
        let is_left = match (left, right) {
            (None, None) => return None,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(left), Some(right)) => left <= right,
        };
        Some(if is_left {
            let distance = left?;
            let arriving = centroids[self.first.index - 1];
            let up_to = self.weight_up_to(centroids, median + distance);
            let before = up_to - f64::from(self.first.through_previous(centroids));
            Arrival { distance, before, after: before + f64::from(arriving.at_mean()), is_left }
        } else {
            let distance = right?;
            let below = self.weight_below(centroids, median - distance);
            let up_to = self.end.up_to_mean(centroids);
            Arrival {
                distance,
                before: f64::from(up_to) - below,
                after: f64::from(up_to + centroids[self.end.index].at_mean()) - below,
                is_left,
            }
        })
    }

    /// The centroid that came last, with the `after` that it had.
    fn latest(&self, centroids: &[Centroid], median: f64, smallest: Self) -> Arrival {
        let left = (self.first.index < smallest.first.index).then(|| median - centroids[self.first.index].mean());
        let right = (self.end.index > smallest.end.index).then(|| centroids[self.end.index - 1].mean() - median);
        let (distance, is_left) = match (left, right) {
            (None, None) => (0.0, true),
            (Some(left), None) => (left, true),
            (None, Some(right)) => (right, false),
            (Some(left), Some(right)) if left > right => (left, true),
            (Some(_), Some(right)) => (right, false),
        };
        let after = if left.is_none() && right.is_none() {
            if self.first.index == self.end.index {
                0.0
            } else {
                f64::from(self.end.through_previous(centroids) - self.first.up_to_mean(centroids))
            }
        } else if is_left {
            self.weight_up_to(centroids, median + distance) - f64::from(self.first.up_to_mean(centroids))
        } else {
            f64::from(self.end.through_previous(centroids)) - self.weight_below(centroids, median - distance)
        };
        Arrival { distance, before: after, after, is_left }
    }

    /// Whether no centroid outside the window should have come in before the one that came last.
    fn is_in_order(&self, centroids: &[Centroid], median: f64, latest: Arrival) -> bool {
        let left = self.first.index.checked_sub(1).map(|index| median - centroids[index].mean());
        let right = centroids.get(self.end.index).map(|centroid| centroid.mean() - median);
        let precedes = |distance: f64, is_left: bool| match distance.total_cmp(&latest.distance) {
            Ordering::Less => true,
            Ordering::Equal => is_left && !latest.is_left,
            Ordering::Greater => false,
        };
        !left.is_some_and(|distance| precedes(distance, true))
            && !right.is_some_and(|distance| precedes(distance, false))
    }

    /// Twice the weight up to `x`, which lies between the last centroid of the window and the next.
    fn weight_up_to(&self, centroids: &[Centroid], x: f64) -> f64 {
        let start = self.end.through_previous(centroids);
        let Some(next) = centroids.get(self.end.index) else {
            return f64::from(start);
        };
        let segment = self.end.up_to_mean(centroids) - start;
        f64::from(start) + f64::from(segment) * share(centroids[self.end.index - 1].mean(), next.mean(), x)
    }

    /// Twice the weight below `x`, which lies between the first centroid of the window and the one before.
    fn weight_below(&self, centroids: &[Centroid], x: f64) -> f64 {
        if self.first.index == 0 {
            return 0.0;
        }
        let start = self.first.through_previous(centroids);
        let segment = self.first.up_to_mean(centroids) - start;
        let (previous, first) = (centroids[self.first.index - 1], centroids[self.first.index]);
        f64::from(start) + f64::from(segment) * share(previous.mean(), first.mean(), x)
    }
}

/// Where `x` lies between `low` (0) and `high` (1); 1 where they are equal.
#[inline]
fn share(low: f64, high: f64, x: f64) -> f64 {
    let x = at_most(at_least(x, low), high);
    let width = high - low;
    if width == 0.0 {
        1.0
    } else if width == f64::INFINITY {
        (x * 0.5 - low * 0.5) / (high * 0.5 - low * 0.5)
    } else {
        (x - low) / width
    }
}
