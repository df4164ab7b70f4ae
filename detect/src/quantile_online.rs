//! `quantile_online`: running quantiles of a series, or of each part of a season of it.
//!
//! # Formulas
//!
//! A season of `seasonal_interval` has `seasonal_interval / min_subseason` buckets. With `c` the time that a clock on the wall of
//! the zone shows, the bucket is `floor(((c - season_starts_from) mod seasonal_interval) / min_subseason)`. Each bucket has a
//! [t-digest](crate::tdigest) of its samples, and one more digest has all samples. Then, with `q(p)` the quantile of `p` in the
//! bucket of the time, or in all samples where there is no season or the bucket is still empty,
//!
//! - `yhat = q(quantiles[1])`,
//! - lower bound `q(quantiles[0]) - iqr_threshold * IQR`, upper bound `q(quantiles[2]) + iqr_threshold * IQR`, with
//!   `IQR = q(3/4) - q(1/4)`, saturating at `±f64::MAX`,
//! - with `global_smoothing` `g`, every `q` and the `IQR` is `(1 - g)` of the bucket's and `g` of that of all samples,
//! - with `use_transform`, all sums and differences are of `T(x) = sign(x) log1p(|x|)`, and the result is transformed back.
//!   Digests keep the values themselves, whose quantiles a monotone transform does not change: a value that no sum was added to
//!   comes back bit for bit, and the argument does not act on learning.
//!
//! Quantiles are exact while a digest has few distinct values (84 with the default compression). With more, the rank errors of a
//! digest of that compression are at most 0.02 between the probabilities 0.05 and 0.95, and 0.005 at 0.01 and 0.99, for series
//! as they occur.
//!
//! # Decay
//!
//! `decay` counts the model's samples, whatever their bucket: a sample weighs `decay^k` of one that comes `k` samples later. A
//! bucket that is seen once a week forgets as much in that week as all others. Its old samples then weigh nothing against its
//! next one; but they are its distribution until then.
//!
//! The end of a fit divides the weight of all later samples by `history_strength`; the quantiles stay as they are, bit for bit.
//!
//! # State
//!
//! The [header](crate::state) `qo`, then `samples_seen` (`u64`), the compression and the number of buckets (`u32`), the digest of
//! all samples ([`Digest::saved_bytes`]), then for each bucket the number of its latest sample (`u64`, from 1, 0 for none) and its
//! digest: at most [`max_state_bytes`], which is 1.0 kB without a season and 54 kB with 168 buckets.
//!
//! So that the state is bounded by some 60 kB as the number of buckets grows, more than 42 buckets have digests of a smaller
//! compression, `42 / buckets` of the model's, but not below a quarter of it: see [`bucket_compression`]. In memory, 168 buckets
//! take at most 60 kB with the default compression; the rank errors of their digests are at most 0.06 and, at 0.01 and 0.99, 0.012,
//! where a bucket has more than 24 distinct values.

use std::sync::Arc;

use crate::argument::{ArgumentError, Arguments};
use crate::calendar::{Date, Zone};
use crate::mad::MAX_COMPRESSION;
use crate::model::{OnlineModel, StateError};
use crate::readiness::Readiness;
use crate::score::{Interval, at_least, at_most};
use crate::state::{Format, HEADER_BYTES, Reader, Writer, require};
use crate::tdigest::{Centroid, Change, Digest, RunWeights, Scale, between};

/// Tag and version of the state.
pub const FORMAT: Format = Format { tag: *b"qo", version: 1 };

/// Most buckets of a season: the minutes of a week.
pub const MAX_BUCKETS: i64 = 10_080;

/// So many buckets have digests of the model's own compression.
const FULL_BUCKETS: u32 = 42;

/// The compression of the digests of a season's buckets.
#[must_use]
pub fn bucket_compression(compression: u32, buckets: usize) -> u32 {
    let share = u64::from(compression) * u64::from(FULL_BUCKETS) / (buckets.max(1) as u64);
    // Not above the compression, so it fits.
    (share as u32).max(compression / 4).clamp(1, compression.max(1))
}

/// Greatest size of a saved state of so many buckets, 0 without a season.
#[must_use]
pub fn max_state_bytes(compression: u32, buckets: usize) -> usize {
    let digest = |compression| Digest::saved_bytes(Scale::for_tails(compression).capacity() - 1);
    let bucket = 8 + digest(bucket_compression(compression, buckets));
    HEADER_BYTES + 8 + 4 + 4 + digest(compression) + buckets * bucket
}

/// Arguments of `quantile_online`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantileOnlineArgs {
    /// Probabilities of the lower bound, the expected value and the upper bound; from 0 to 1, none below the one before it.
    pub quantiles: [f64; 3],
    /// Interquartile ranges by which both bounds are moved outwards; finite, at least 0.
    pub iqr_threshold: f64,
    /// Length of the season, ms; a multiple of `min_subseason`, at most [`MAX_BUCKETS`] of it. Without one there are no buckets.
    pub seasonal_interval: Option<i64>,
    /// Length of a bucket, ms; above 0. There is one if and only if there is a `seasonal_interval`.
    pub min_subseason: Option<i64>,
    /// A day at whose midnight a season starts.
    pub season_starts_from: Date,
    /// Whether sums are of logarithms, for series that span several magnitudes.
    pub use_transform: bool,
    /// Share of all samples in a bucket's quantiles; from 0 to 1.
    pub global_smoothing: f64,
    /// Compression of the digests; at least 1, at most [`MAX_COMPRESSION`].
    pub compression: u32,
    /// Weight that a sample keeps per newer one of any bucket; in (0, 1].
    pub decay: f64,
    /// Factor of the evidence weight at the end of a fit; finite, above 0.
    pub history_strength: f64,
}

impl Default for QuantileOnlineArgs {
    fn default() -> Self {
        Self {
            quantiles: [0.01, 0.5, 0.99],
            iqr_threshold: 0.0,
            seasonal_interval: None,
            min_subseason: None,
            season_starts_from: Date::EPOCH,
            use_transform: false,
            global_smoothing: 0.0,
            compression: 100,
            decay: 1.0,
            history_strength: 1.0,
        }
    }
}

impl QuantileOnlineArgs {
    /// Checks every argument against its range.
    ///
    /// # Errors
    /// Names the first argument that is outside its range.
    pub fn validate(&self) -> Result<(), ArgumentError> {
        let arguments = Arguments("quantile_online");
        let [lower, middle, upper] = self.quantiles;
        let ordered = 0.0 <= lower && lower <= middle && middle <= upper && upper <= 1.0;
        let range = "three ascending numbers from 0 to 1";
        arguments.require("quantiles", format!("{:?}", self.quantiles), range, ordered)?;
        let threshold = self.iqr_threshold;
        let holds = threshold.is_finite() && threshold >= 0.0;
        arguments.require("iqr_threshold", threshold, "finite and at least 0", holds)?;
        let written = |duration: Option<i64>| duration.map_or("unset".into(), |ms| format!("{ms} ms"));
        let positive = self.min_subseason.is_none_or(|ms| ms > 0);
        arguments.require("min_subseason", written(self.min_subseason), "above 0", positive)?;
        match (self.seasonal_interval, self.min_subseason) {
            (None, None) => {}
            (Some(interval), Some(bucket)) => {
                let holds = interval > 0 && interval % bucket == 0 && interval / bucket <= MAX_BUCKETS;
                let range = "above 0, a multiple of min_subseason and at most 10080 of it";
                arguments.require("seasonal_interval", written(Some(interval)), range, holds)?;
            }
            (Some(_), None) => arguments.require("min_subseason", "unset", "set with seasonal_interval", false)?,
            (None, Some(_)) => arguments.require("seasonal_interval", "unset", "set with min_subseason", false)?,
        }
        let exists = self.season_starts_from.midnight().is_some();
        arguments.require("season_starts_from", self.season_starts_from, "a day of the calendar", exists)?;
        let share = (0.0..=1.0).contains(&self.global_smoothing);
        arguments.require("global_smoothing", self.global_smoothing, "from 0 to 1", share)?;
        let holds = (1..=MAX_COMPRESSION).contains(&self.compression);
        arguments.require("compression", self.compression, "from 1 to 10000", holds)?;
        arguments.require_online(self.decay, self.history_strength)
    }

    /// The arguments that act on learning; see [`crate::spec::ModelSpec::learning_signature`]. The zone does so too where there
    /// is a season.
    pub(crate) fn learning_signature(&self) -> String {
        let Self { decay, history_strength, compression, season_starts_from, .. } = self;
        let season = match (self.seasonal_interval, self.min_subseason) {
            (Some(interval), Some(bucket)) => {
                format!(" seasonal_interval={interval} min_subseason={bucket} season_starts_from={season_starts_from}")
            }
            _ => String::new(),
        };
        format!("decay={decay:?} history_strength={history_strength:?} compression={compression}{season}")
    }
}

/// The season of a model, in ms on the wall.
#[derive(Debug, Clone, Copy)]
struct Season {
    start: i64,
    interval: i64,
    bucket: i64,
}

impl Season {
    fn buckets(self) -> usize {
        (self.interval / self.bucket) as usize
    }
}

/// What all series of a batch have in common.
#[derive(Debug)]
struct Shared {
    args: QuantileOnlineArgs,
    zone: Zone,
    season: Option<Season>,
    scale: Scale,
    bucket_scale: Scale,
}

/// The samples of a part of the season.
#[derive(Debug, Clone, Default)]
struct Bucket {
    digest: Digest,
    /// The number of its latest sample among all of the model, from 1; 0 while there is none.
    latest: u64,
}

/// Quantiles of a digest, for the arguments of a model.
#[derive(Debug, Clone, Copy)]
struct Quantiles {
    lower: f64,
    middle: f64,
    upper: f64,
    /// The interquartile range of the transformed values; 0 if it is not wanted.
    range: f64,
}

/// `quantile_online` of one series.
#[derive(Debug, Clone)]
pub struct QuantileOnline {
    shared: Arc<Shared>,
    samples_seen: u64,
    all: Digest,
    /// Of `all`.
    run_weights: RunWeights,
    buckets: Box<[Bucket]>,
    /// How many buckets have samples.
    filled: usize,
}

impl QuantileOnline {
    /// A model that has learnt nothing, whose season follows the clocks of a zone. Arguments are
    /// [validated](QuantileOnlineArgs::validate); a compression outside its range is moved into it, and a season that is none
    /// is left out.
    #[must_use]
    pub fn new(args: QuantileOnlineArgs, zone: Zone) -> Self {
        let season = match (args.seasonal_interval, args.min_subseason, args.season_starts_from.midnight()) {
            (Some(interval), Some(bucket), Some(start))
                if bucket > 0 && (1..=MAX_BUCKETS).contains(&(interval / bucket)) =>
            {
                Some(Season { start: start.ms(), interval: interval / bucket * bucket, bucket })
            }
            _ => None,
        };
        let buckets = season.map_or(0, Season::buckets);
        let compression = args.compression.clamp(1, MAX_COMPRESSION);
        let scale = Scale::for_tails(compression);
        let bucket_scale = Scale::for_tails(bucket_compression(compression, buckets));
        Self {
            shared: Arc::new(Shared { args, zone, season, scale, bucket_scale }),
            samples_seen: 0,
            all: Digest::default(),
            run_weights: RunWeights::new(scale),
            buckets: vec![Bucket::default(); buckets].into(),
            filled: 0,
        }
    }

    fn bucket_index(&self, time: i64) -> Option<usize> {
        let Season { start, interval, bucket } = self.shared.season?;
        let clock = self.shared.zone.wall_clock(time);
        Some(((clock.ms() - start).rem_euclid(interval) / bucket) as usize)
    }
}

impl Shared {
    fn quantiles(&self, digest: &Digest) -> Quantiles {
        let [low, middle, high] = self.args.quantiles;
        if self.args.iqr_threshold == 0.0 {
            let [lower, middle, upper] = digest.quantiles([low, middle, high]);
            return Quantiles { lower, middle, upper, range: 0.0 };
        }
        let [lower, first, middle, third, upper] = digest.quantiles([low, 0.25, middle, 0.75, high]);
        Quantiles { lower, middle, upper, range: at_most(self.transform(third) - self.transform(first), f64::MAX) }
    }

    /// The quantiles with the wanted share of those of all samples.
    fn smooth(&self, bucket: Quantiles, all: Quantiles) -> Quantiles {
        let share = self.args.global_smoothing;
        let blend = |of_bucket: f64, of_all: f64| {
            if of_bucket == of_all {
                return of_bucket;
            }
            self.back(between_any(self.transform(of_bucket), self.transform(of_all), share))
        };
        Quantiles {
            lower: blend(bucket.lower, all.lower),
            middle: blend(bucket.middle, all.middle),
            upper: blend(bucket.upper, all.upper),
            range: between_any(bucket.range, all.range, share),
        }
    }

    fn interval(&self, quantiles: Quantiles) -> Interval {
        let Quantiles { lower, middle, upper, range } = quantiles;
        let width = at_most(self.args.iqr_threshold * range, f64::MAX);
        let moved = |bound: f64, by: f64| {
            if by == 0.0 {
                return bound;
            }
            at_most(at_least(self.back(self.transform(bound) + by), -f64::MAX), f64::MAX)
        };
        let (lower, upper) = (moved(lower, -width), moved(upper, width));
        // Rounding of a transform must not turn them round.
        Interval { yhat: middle, lower: at_most(lower, middle), upper: at_least(upper, middle) }
    }

    fn transform(&self, value: f64) -> f64 {
        if self.args.use_transform { libm::log1p(value.abs()).copysign(value) } else { value }
    }

    /// The value of a transformed one, saturating at `±f64::MAX`.
    fn back(&self, transformed: f64) -> f64 {
        if self.args.use_transform {
            at_most(libm::expm1(transformed.abs()), f64::MAX).copysign(transformed)
        } else {
            transformed
        }
    }
}

/// [`between`] of numbers in any order.
fn between_any(start: f64, end: f64, share: f64) -> f64 {
    if start <= end { between(start, end, share) } else { between(end, start, 1.0 - share) }
}

/// `base^exponent` by squaring: the same bits everywhere.
fn power(base: f64, exponent: u64) -> f64 {
    let (mut result, mut square, mut rest) = (1.0, base, exponent);
    while rest > 0 {
        if rest & 1 == 1 {
            result *= square;
        }
        square *= square;
        rest >>= 1;
    }
    result
}

impl OnlineModel for QuantileOnline {
    fn predict(&self, time: i64) -> Interval {
        if self.samples_seen == 0 {
            return Interval::NONE;
        }
        let shared = &*self.shared;
        let bucket = self.bucket_index(time).and_then(|index| self.buckets.get(index));
        let quantiles = match bucket.filter(|bucket| bucket.latest > 0) {
            None => shared.quantiles(&self.all),
            Some(bucket) if shared.args.global_smoothing == 0.0 => shared.quantiles(&bucket.digest),
            Some(bucket) => shared.smooth(shared.quantiles(&bucket.digest), shared.quantiles(&self.all)),
        };
        shared.interval(quantiles)
    }

    fn learn(&mut self, time: i64, value: f64) {
        if !value.is_finite() {
            return;
        }
        self.samples_seen += 1;
        let index = self.bucket_index(time);
        let Shared { args, scale, bucket_scale, .. } = &*self.shared;
        let before = |centroids: &[Centroid], at| self.run_weights.before(centroids, at);
        let change = self.all.learn_between(*scale, args.decay, value, before);
        self.run_weights.follow(change);
        if let Some(bucket) = index.and_then(|index| self.buckets.get_mut(index)) {
            self.filled += usize::from(bucket.latest == 0);
            bucket.digest.learn(*bucket_scale, power(args.decay, self.samples_seen - bucket.latest), value);
            bucket.latest = self.samples_seen;
        }
    }

    fn finish_fit(&mut self) {
        let strength = self.shared.args.history_strength;
        self.all.strengthen(strength);
        self.run_weights.follow(Change::Rebuilt);
        self.buckets.iter_mut().for_each(|bucket| bucket.digest.strengthen(strength));
    }

    fn samples_seen(&self) -> u64 {
        self.samples_seen
    }

    /// Ready once every part of the season has a sample; the others are predicted from all samples.
    fn readiness(&self) -> Readiness {
        if self.samples_seen == 0 {
            return Readiness::NONE;
        }
        Readiness::learning(self.filled as f64, self.buckets.len() as f64)
    }

    fn save(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(FORMAT, out);
        writer.u64(self.samples_seen);
        writer.u32(self.shared.scale.compression());
        // At most `MAX_BUCKETS`.
        writer.u32(self.buckets.len() as u32);
        self.all.save(&mut writer);
        for bucket in &self.buckets {
            writer.u64(bucket.latest);
            bucket.digest.save(&mut writer);
        }
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let mut reader = Reader::new(FORMAT, bytes)?;
        let samples_seen = reader.u64()?;
        require(reader.u32()? == self.shared.scale.compression(), "it was learnt with another compression")?;
        require(reader.u32()? as usize == self.buckets.len(), "it was learnt with another season")?;
        let all = Digest::load(self.shared.scale, &mut reader)?;
        let count = all.centroids().len();
        require((count == 0) == (samples_seen == 0), "samples without centroids")?;
        require(count as u64 <= samples_seen, "more centroids than samples")?;
        let mut buckets = Vec::with_capacity(self.buckets.len());
        for _ in 0..self.buckets.len() {
            let latest = reader.u64()?;
            let digest = Digest::load(self.shared.bucket_scale, &mut reader)?;
            let count = digest.centroids().len();
            require(latest <= samples_seen, "a bucket's latest sample is none of the model's")?;
            require((count == 0) == (latest == 0), "a bucket's samples without centroids")?;
            require(count as u64 <= latest, "more centroids than a bucket's samples")?;
            buckets.push(Bucket { digest, latest });
        }
        reader.finish()?;
        self.filled = buckets.iter().filter(|bucket| bucket.latest > 0).count();
        (self.samples_seen, self.all, self.buckets) = (samples_seen, all, buckets.into());
        self.run_weights.follow(Change::Rebuilt);
        Ok(())
    }

    fn heap_bytes(&self) -> usize {
        let of_buckets = self.buckets.iter().map(|bucket| size_of::<Bucket>() + bucket.digest.heap_bytes());
        self.all.heap_bytes() + of_buckets.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_arguments_that_act_on_learning_change_the_signature() {
        let plain = QuantileOnlineArgs::default();
        assert_eq!(plain.learning_signature(), "decay=1.0 history_strength=1.0 compression=100");
        let read_otherwise = QuantileOnlineArgs {
            quantiles: [0.25, 0.5, 0.75],
            iqr_threshold: 2.0,
            use_transform: true,
            global_smoothing: 0.5,
            ..plain
        };
        assert_eq!(read_otherwise.learning_signature(), plain.learning_signature());
        let seasonal = QuantileOnlineArgs { seasonal_interval: Some(2000), min_subseason: Some(500), ..plain };
        let season = " seasonal_interval=2000 min_subseason=500 season_starts_from=1970-01-01";
        assert_eq!(seasonal.learning_signature(), plain.learning_signature() + season);
    }

    #[test]
    fn powers_are_products() {
        assert_eq!([0, 1, 5, 10].map(|exponent| power(0.5, exponent)), [1.0, 0.5, 1.0 / 32.0, 1.0 / 1024.0]);
        assert_eq!((power(1.0, u64::MAX), power(0.999, u64::MAX)), (1.0, 0.0));
    }
}
