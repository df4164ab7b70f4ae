//! How far samples are from what was expected: the width of the band.

use super::{bounded, square};
use crate::model::StateError;
use crate::score::{at_least, at_most};
use crate::state::{Reader, Writer, require};
use crate::tdigest::{Digest, Scale};

/// Compression of the digest of the residuals: half a kilobyte.
const COMPRESSION: u32 = 50;

/// The weight of the latest residual in the volatility.
const VOLATILITY_GAIN: f64 = 1.0 / 64.0;

/// Mean deviations to which a residual counts for the mean deviation and, twice as many, for the mean square.
const DEVIATIONS: f64 = 6.0;

/// The share of the volatility below which no residual is an exception.
const VOLATILE_SHARE: f64 = 0.25;

/// Samples from which on a residual is compared with the others.
pub(super) const FIRST_SAMPLES: u64 = 16;

/// The distribution of the residuals.
#[derive(Debug, Clone, Default)]
pub(super) struct Residuals {
    digest: Digest,
    /// Residuals that count: all, or those of a level's start and of the time since.
    count: f64,
    /// Mean of their sizes, without exceptions.
    deviation: f64,
    /// Mean of their squares, with less of exceptions.
    square: f64,
    /// Mean of the latest sizes, with exceptions.
    volatility: f64,
}

/// What is within the usual, relative to the expected value.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Band {
    pub lower: f64,
    pub upper: f64,
}

impl Band {
    /// The greater of the distances.
    pub fn width(self) -> f64 {
        at_least(self.upper, -self.lower)
    }
}

impl Residuals {
    pub fn scale() -> Scale {
        Scale::for_tails(COMPRESSION)
    }

    /// A size that most residuals do not exceed by far; `f64::MAX` while there are few.
    pub fn typical(&self) -> f64 {
        if self.count < FIRST_SAMPLES as f64 {
            return f64::MAX;
        }
        at_least(self.deviation, VOLATILE_SHARE * self.volatility)
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0.0
    }

    /// Learns a residual: in the digest no farther from 0 than `limit`, in the means as far as some `typical` ones allow. All weigh
    /// linearly more than older ones at first, then it forgets by `forget`.
    pub fn learn(&mut self, residual: f64, typical: f64, limit: f64, forget: f64) {
        let size = residual.abs();
        self.count += 1.0;
        let gain = at_least(forget, 2.0 / (self.count + 1.0));
        let usual = at_most(size, DEVIATIONS * typical);
        let rare = at_most(size, 2.0 * DEVIATIONS * typical);
        self.deviation += gain * (usual - self.deviation);
        self.square += gain * (square(rare) - self.square);
        self.volatility += at_least(VOLATILITY_GAIN, 1.0 / self.count) * (size - self.volatility);
        self.digest.learn(
            Self::scale(),
            1.0 - at_least(forget, 1.0 / (self.count + 1.0)),
            residual.clamp(-limit, limit),
        );
    }

    /// Makes all that was learnt count as much as so many residuals, if it is more.
    pub fn weaken(&mut self, residuals: f64) {
        self.count = at_most(self.count, residuals);
        if self.digest.total() > 0 {
            let share = residuals * self.digest.unit() / f64::from(self.digest.total());
            self.digest.strengthen(at_most(share, 1.0));
        }
    }

    /// The quantiles, moved outwards by their distance times the threshold, and by no less than 3/2 standard deviations times it.
    /// It reaches 0 on both sides.
    pub fn band(&self, quantiles: [f64; 2], iqr_threshold: f64) -> Band {
        if self.digest.centroids().is_empty() {
            return Band::default();
        }
        let [low, high] = self.digest.quantiles(quantiles);
        let distance = bounded(high - low);
        let least = bounded(1.5 * iqr_threshold * self.square.sqrt());
        let width = bounded(iqr_threshold * distance);
        Band {
            lower: at_most(at_most(bounded(low - width), -least), 0.0),
            upper: at_least(at_least(bounded(high + width), least), 0.0),
        }
    }

    pub fn save(&self, writer: &mut Writer<'_>) {
        for number in [self.count, self.deviation, self.square, self.volatility] {
            writer.f64(number);
        }
        self.digest.save(writer);
    }

    pub fn load(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let (count, deviation) = (reader.finite()?, reader.finite()?);
        let (square, volatility) = (reader.finite()?, reader.finite()?);
        let numbers = [count, deviation, square, volatility];
        require(numbers.iter().all(|number| number.is_sign_positive()), "a size of residuals is negative")?;
        let digest = Digest::load(Self::scale(), reader)?;
        require((count == 0.0) == digest.centroids().is_empty(), "residuals without a distribution")?;
        Ok(Self { digest, count, deviation, square, volatility })
    }

    pub fn heap_bytes(&self) -> usize {
        self.digest.heap_bytes()
    }

    /// Greatest size when saved.
    pub fn max_saved_bytes() -> usize {
        4 * 8 + Digest::saved_bytes(Self::scale().capacity() - 1)
    }
}
