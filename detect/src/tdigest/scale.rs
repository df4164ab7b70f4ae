//! How much weight a centroid may have, and how many of them there are, by compression.

/// [`Scale::share`] times the compression: `k0`.
const SHARE: f64 = 1.6;

/// The same of `k1`: most merges need one pass only.
const SHARE_IN_THE_MIDDLE: f64 = 3.0;

/// Merging can always come down to so many centroids: the ends stay, and two more that a gap between clusters keeps apart.
const LEAST_KEPT: usize = 4;

/// The part of the digest's behaviour that a compression fixes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    compression: u32,
    capacity: usize,
    kept: usize,
    pub(super) favours_tails: bool,
    /// How much a centroid may weigh at first, of all the weight; with `k1`, in the middle.
    pub(super) share: f64,
}

impl Scale {
    /// `k0`, for the median, with a compression of at least 1.
    #[must_use]
    pub fn new(compression: u32) -> Self {
        let capacity = (compression as usize * 4).div_ceil(5) + 5;
        let kept = (capacity - (capacity / 12).max(4)).max(LEAST_KEPT);
        Self { compression, capacity, kept, favours_tails: false, share: SHARE / f64::from(compression) }
    }

    /// `k1`, for quantiles near 0 and 1 too, with a compression of at least 1.
    #[must_use]
    pub fn for_tails(compression: u32) -> Self {
        let scale = Self::new(compression);
        let kept = (scale.capacity - (scale.capacity / 6).max(4)).max(LEAST_KEPT);
        Self { favours_tails: true, kept, share: SHARE_IN_THE_MIDDLE / f64::from(compression), ..scale }
    }

    /// As given.
    #[must_use]
    pub fn compression(&self) -> u32 {
        self.compression
    }

    /// A digest holds fewer centroids than this: `ceil(0.8 * compression) + 5`.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// At most so many centroids remain after merging: `capacity - max(capacity / 12, 4)`, and
    /// `capacity - max(capacity / 6, 4)` for tails; or 4 if that is more.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.kept
    }
}
