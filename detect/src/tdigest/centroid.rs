//! Samples of about the same value in 12 bytes.

use crate::score::{at_least, at_most};

/// Marks a spread centroid in [`Centroid::weight_and_spread`].
const SPREAD: u32 = 1 << 31;

/// Samples of about the same value. 12 bytes, aligned to 4, so that a kilobyte holds 85 of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Centroid {
    mean_low: u32,
    mean_high: u32,
    weight_and_spread: u32,
}

impl Centroid {
    /// A centroid with a weight of at most 2^30.
    #[must_use]
    pub fn new(mean: f64, weight: u32, is_spread: bool) -> Self {
        // Without the sign of a negative zero, equal means have equal bits.
        let bits = (mean + 0.0).to_bits();
        Self {
            mean_low: bits as u32,
            mean_high: (bits >> 32) as u32,
            weight_and_spread: weight | if is_spread { SPREAD } else { 0 },
        }
    }

    /// Mean of the samples.
    #[inline]
    #[must_use]
    pub fn mean(&self) -> f64 {
        f64::from_bits(u64::from(self.mean_high) << 32 | u64::from(self.mean_low))
    }

    /// Weight of the samples.
    #[inline]
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.weight_and_spread & !SPREAD
    }

    /// Whether the samples differ.
    #[inline]
    #[must_use]
    pub fn is_spread(&self) -> bool {
        self.weight_and_spread & SPREAD != 0
    }

    /// Twice the weight that lies at the mean.
    #[inline]
    pub(crate) fn at_mean(&self) -> u32 {
        if self.is_spread() { 0 } else { 2 * self.weight() }
    }

    /// Twice the weight that lies on either side of the mean.
    #[inline]
    pub(crate) fn beside_mean(&self) -> u32 {
        if self.is_spread() { self.weight() } else { 0 }
    }

    /// Twice the weight.
    #[inline]
    pub(crate) fn doubled(&self) -> u32 {
        2 * self.weight()
    }

    /// Its weight, and in the highest bit whether it is spread.
    pub(super) fn packed_weight(&self) -> u32 {
        self.weight_and_spread
    }

    /// The reverse of [`packed_weight`](Self::packed_weight).
    pub(super) fn of_packed(mean: f64, weight_and_spread: u32) -> Self {
        Self::new(mean, weight_and_spread & !SPREAD, weight_and_spread & SPREAD != 0)
    }

    /// All its weight at its mean.
    pub(super) fn become_atom(&mut self) {
        self.weight_and_spread &= !SPREAD;
    }

    pub(super) fn set_weight(&mut self, weight: u32) {
        self.weight_and_spread = weight | self.weight_and_spread & SPREAD;
    }

    /// Both in one.
    pub(super) fn with(&self, other: &Self) -> Self {
        let weight = self.weight() + other.weight();
        let same_value = self.mean() == other.mean() && !self.is_spread() && !other.is_spread();
        let share = f64::from(other.weight()) / f64::from(weight);
        Self::new(between(self.mean(), other.mean(), share), weight, !same_value)
    }
}

/// `low + (high - low) * share`, within `low..=high` and without overflow, for a share in 0..=1.
#[inline]
pub(crate) fn between(low: f64, high: f64, share: f64) -> f64 {
    let distance = high - low;
    let value = if distance == f64::INFINITY { low * (1.0 - share) + high * share } else { low + distance * share };
    at_most(at_least(value, low), high)
}
