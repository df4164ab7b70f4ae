//! What keeps a model's band from closing and its memory from single samples, around any model of one series.
//!
//! # Band floor
//!
//! A band that is learnt from a series that hardly moves, such as an idle counter or small whole numbers, has no width, and then
//! every move is an alarm. With a `band_floor` of `f`, no margin is less than `f` times the series' own noise:
//!
//! ```text
//! lower = min(lower, yhat - f s)      upper = max(upper, yhat + f s)      s = sqrt(mean (x_i - x_(i-1))^2 / 2)
//! ```
//!
//! `s` is the standard deviation of white noise; slow moves, such as a trend or the time of the day, hardly count (J. von Neumann
//! et al., "The Mean Square Successive Difference", 1941). The mean is over all samples since the series was last forgotten, of
//! the newest [`MEMORY`] with weights that fall off exponentially. Like the rest of a model's memory it is learnt again by every
//! fit. 0 is no floor, as vmanomaly has none.
//!
//! # Influence limit
//!
//! With an `influence_limit` of `k`, a sample that is further from `yhat` than `k` margins of its side is learnt as if it were that
//! far away, so that one spike does not widen the band for a day. A level that stays is learnt more slowly, too. The first
//! [`FREE_SAMPLES`] samples are learnt as they are. 0 is no limit, as vmanomaly has none. Only online models have one.
//!
//! # State
//!
//! The [header](crate::state) `sg`, then the number of samples (`u64`), the newest one and the mean square (`f64`), then the model's
//! own state: [`STATE_BYTES`] more than that. Where there is neither floor nor limit, the model's own state alone.

use crate::argument::{ArgumentError, Arguments};
use crate::model::{OnlineModel, Provides, StateError};
use crate::offline::{FitError, OfflineModel, Prediction, Window};
use crate::readiness::Readiness;
use crate::score::{Interval, at_least, at_most};
use crate::state::{Format, HEADER_BYTES, Reader, Writer, require};

/// What the safeguards add to a saved state.
pub const STATE_BYTES: usize = HEADER_BYTES + NOISE_BYTES;

/// What the noise of a series takes of a state.
pub(crate) const NOISE_BYTES: usize = 3 * 8;

/// Tag and version of the state.
pub const FORMAT: Format = Format { tag: *b"sg", version: 1 };

/// How many samples the noise of a series is learnt from.
pub const MEMORY: u64 = 1 << 16;

/// How many samples are learnt as they are before there is a limit.
pub const FREE_SAMPLES: u64 = 16;

/// The safeguards of a model; the default has none.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Safeguards {
    /// Least margin, in units of the series' noise; finite, at least 0; 0: none.
    pub band_floor: f64,
    /// How far away a sample counts at most, in margins; finite, 0 or at least 1; 0: no limit.
    pub influence_limit: f64,
}

impl Safeguards {
    /// Checks both against their ranges.
    ///
    /// # Errors
    /// Names the first one that is outside its range.
    pub fn validate(&self, class: &'static str) -> Result<(), ArgumentError> {
        let arguments = Arguments(class);
        let Self { band_floor, influence_limit } = *self;
        let is_floor = band_floor >= 0.0 && band_floor.is_finite();
        arguments.require("band_floor", band_floor, "finite and at least 0", is_floor)?;
        let is_limit = influence_limit == 0.0 || (influence_limit >= 1.0 && influence_limit.is_finite());
        arguments.require("influence_limit", influence_limit, "0, for none, or finite and at least 1", is_limit)
    }

    /// Whether there is any.
    #[must_use]
    pub fn is_some(&self) -> bool {
        self.band_floor > 0.0 || self.influence_limit > 0.0
    }

    /// The interval with margins of at least the floor, by the noise of its series.
    #[inline]
    pub(crate) fn widened(self, interval: Interval, noise: &Noise) -> Interval {
        let floor = at_most(self.band_floor * noise.deviation(), f64::MAX);
        if !interval.is_some() || floor == 0.0 {
            return interval;
        }
        let Interval { yhat, lower, upper } = Interval::symmetric(interval.yhat, floor);
        Interval { yhat, lower: at_most(interval.lower, lower), upper: at_least(interval.upper, upper) }
    }

    /// A finite value as it is learnt by a model that has seen so many samples, and expects this, widened: no further away
    /// than the limit.
    #[inline]
    pub(crate) fn limited(self, value: f64, samples_seen: u64, expected: impl FnOnce() -> Interval) -> f64 {
        let limit = self.influence_limit;
        if limit == 0.0 || samples_seen < FREE_SAMPLES {
            return value;
        }
        let Interval { yhat, lower, upper } = expected();
        if lower < upper {
            let reach = |bound: f64| at_most(at_least(yhat + limit * (bound - yhat), -f64::MAX), f64::MAX);
            return at_most(at_least(value, reach(lower)), reach(upper));
        }
        value
    }

    /// What of them acts on learning, to be appended to a model's signature; empty if there is none.
    #[must_use]
    pub fn learning_signature(&self) -> String {
        match (self.is_some(), self.influence_limit > 0.0) {
            (false, _) => String::new(),
            (true, false) => format!(" safeguards v{}", FORMAT.version),
            // The limit is in margins, which the floor is a part of.
            (true, true) => {
                let Self { band_floor, influence_limit } = self;
                format!(" safeguards v{} influence_limit={influence_limit:?} band_floor={band_floor:?}", FORMAT.version)
            }
        }
    }
}

/// The noise of a series: the mean square of successive differences.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Noise {
    samples: u64,
    newest: f64,
    /// Of the halved squares, at most `f64::MAX`.
    mean_square: f64,
}

impl Noise {
    /// Learns a finite value.
    #[inline]
    pub(crate) fn learn(&mut self, value: f64) {
        if self.samples > 0 {
            // Halves first, so that the difference cannot overflow.
            let difference = at_most((value * 0.5 - self.newest * 0.5).abs(), 1e150);
            let square = 2.0 * difference * difference;
            self.mean_square += (square - self.mean_square) / self.samples.min(MEMORY) as f64;
        }
        self.samples += 1;
        self.newest = value;
    }

    #[inline]
    fn deviation(&self) -> f64 {
        self.mean_square.sqrt()
    }

    /// Appends its numbers, [`NOISE_BYTES`].
    pub(crate) fn write(&self, writer: &mut Writer<'_>) {
        writer.u64(self.samples);
        writer.f64(self.newest);
        writer.f64(self.mean_square);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let noise = Self { samples: reader.u64()?, newest: reader.finite()?, mean_square: reader.finite()? };
        require(noise.mean_square.is_sign_positive(), "the noise is negative")?;
        require(noise.samples > 1 || noise.mean_square == 0.0, "one sample has noise")?;
        require(noise.samples > 0 || noise.newest.to_bits() == 0, "numbers without samples")?;
        Ok(noise)
    }

    fn save(&self, out: &mut Vec<u8>) {
        self.write(&mut Writer::new(FORMAT, out));
    }

    /// The noise of a state, and the model's own state behind it.
    fn load(bytes: &[u8]) -> Result<(Self, &[u8]), StateError> {
        let mut reader = Reader::new(FORMAT, bytes)?;
        let noise = Self::read(&mut reader)?;
        Ok((noise, reader.bytes(reader.remaining())?))
    }
}

/// A model with [`Safeguards`].
#[derive(Debug, Clone)]
pub struct Safeguarded<M> {
    model: M,
    safeguards: Safeguards,
    noise: Noise,
}

impl<M> Safeguarded<M> {
    /// Around a model that has learnt nothing.
    #[must_use]
    pub fn new(model: M, safeguards: Safeguards) -> Self {
        Self { model, safeguards, noise: Noise::default() }
    }

    /// The interval with margins of at least the floor.
    #[inline]
    fn widened(&self, interval: Interval) -> Interval {
        self.safeguards.widened(interval, &self.noise)
    }

    fn widen(&self, intervals: &mut [Interval]) {
        intervals.iter_mut().for_each(|interval| *interval = self.widened(*interval));
    }
}

impl<M: OnlineModel> OnlineModel for Safeguarded<M> {
    fn predict(&self, time: i64) -> Interval {
        self.widened(self.model.predict(time))
    }

    fn provides(&self) -> Provides {
        self.model.provides()
    }

    fn components(&self, time: i64, value: f64, out: &mut Vec<f64>) {
        self.model.components(time, value, out);
    }

    fn forecasts(&self, time: i64, out: &mut Vec<Interval>) {
        let before = out.len();
        self.model.forecasts(time, out);
        self.widen(&mut out[before..]);
    }

    fn learn(&mut self, time: i64, value: f64) {
        if !value.is_finite() {
            return;
        }
        let learnt = self.safeguards.limited(value, self.model.samples_seen(), || self.predict(time));
        self.model.learn(time, learnt);
        self.noise.learn(value);
    }

    fn finish_fit(&mut self) {
        self.model.finish_fit();
    }

    fn samples_seen(&self) -> u64 {
        self.model.samples_seen()
    }

    fn readiness(&self) -> Readiness {
        self.model.readiness()
    }

    fn save(&self, out: &mut Vec<u8>) {
        self.noise.save(out);
        self.model.save(out);
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let (noise, own) = Noise::load(bytes)?;
        self.model.load(own)?;
        self.noise = noise;
        Ok(())
    }

    fn heap_bytes(&self) -> usize {
        self.model.heap_bytes()
    }
}

impl<M: OfflineModel> OfflineModel for Safeguarded<M> {
    fn fit(&mut self, window: Window<'_>) -> Result<(), FitError> {
        self.model.fit(window)?;
        self.noise = Noise::default();
        for (_, value) in window.samples() {
            self.noise.learn(value);
        }
        Ok(())
    }

    fn is_fitted(&self) -> bool {
        self.model.is_fitted()
    }

    fn readiness(&self) -> Readiness {
        self.model.readiness()
    }

    fn predict(&self, points: Window<'_>, predictions: &mut Vec<Prediction>) {
        let before = predictions.len();
        self.model.predict(points, predictions);
        for prediction in &mut predictions[before..] {
            if let Prediction::Interval(interval) = prediction {
                *interval = self.widened(*interval);
            }
        }
    }

    fn provides(&self) -> Provides {
        self.model.provides()
    }

    fn components(&self, time: i64, value: f64, out: &mut Vec<f64>) {
        self.model.components(time, value, out);
    }

    fn forecasts(&self, time: i64, out: &mut Vec<Interval>) {
        let before = out.len();
        self.model.forecasts(time, out);
        self.widen(&mut out[before..]);
    }

    fn save(&self, out: &mut Vec<u8>) {
        self.noise.save(out);
        self.model.save(out);
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let (noise, own) = Noise::load(bytes)?;
        self.model.load(own)?;
        self.noise = noise;
        Ok(())
    }

    fn heap_bytes(&self) -> usize {
        self.model.heap_bytes()
    }
}
