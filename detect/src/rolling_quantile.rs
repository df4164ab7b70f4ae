//! `rolling_quantile`: quantiles of the latest samples.
//!
//! # Formulas
//!
//! With the latest `n = min(window_steps, samples seen)` samples in ascending order `x_0 .. x_(n-1)`, the quantile of `p` is
//! linear between the samples beside `h = (n - 1) p`: `q(p) = x_floor(h) + (h - floor(h)) (x_ceil(h) - x_floor(h))`, as
//! `pandas.Series.rolling(n).quantile(p)` has it. The window of a prediction ends before the point that is predicted. Then
//!
//! - `yhat = q(1/2)`,
//! - lower bound `q(1 - quantile) - iqr_threshold / 2 * IQR`, upper bound `q(quantile) + iqr_threshold / 2 * IQR`, with
//!   `IQR = q(3/4) - q(1/4)`, saturating at `±f64::MAX`.
//!
//! The window is exact and forgets by itself: there is no decay, and `history_strength` has no meaning. A sample costs a binary
//! search and one move of the sorted samples between the one that leaves and the one that comes.
//!
//! # State
//!
//! The [header](crate::state) `rq`, then `samples_seen` (`u64`), `window_steps` and the number of samples (`u32`), and the samples
//! from the oldest to the latest (`f64`): [`state_bytes`], which is 788 with a full window of 96. In memory, a sample of the window
//! takes 16 bytes.

use crate::argument::{ArgumentError, Arguments};
use crate::model::{OnlineModel, StateError};
use crate::readiness::Readiness;
use crate::score::{Interval, at_least, at_most};
use crate::state::{Format, HEADER_BYTES, Reader, Writer, require};
use crate::tdigest::between;

/// Tag and version of the state.
pub const FORMAT: Format = Format { tag: *b"rq", version: 1 };

/// Longest window.
pub const MAX_WINDOW_STEPS: u32 = 100_000;

/// Size of a saved state of so many samples in the window.
#[must_use]
pub const fn state_bytes(samples: usize) -> usize {
    HEADER_BYTES + 8 + 4 + 4 + 8 * samples
}

/// Arguments of `rolling_quantile`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RollingQuantileArgs {
    /// Probability of the upper bound, that of the lower one is `1 - quantile`; from 0.5 to 1.
    pub quantile: f64,
    /// Samples in the window; at least 1, at most [`MAX_WINDOW_STEPS`].
    pub window_steps: u32,
    /// Interquartile ranges by half of which each bound is moved outwards; finite, at least 0.
    pub iqr_threshold: f64,
}

impl RollingQuantileArgs {
    /// The arguments that have no default, with `iqr_threshold` 0.
    #[must_use]
    pub fn new(quantile: f64, window_steps: u32) -> Self {
        Self { quantile, window_steps, iqr_threshold: 0.0 }
    }

    /// Checks every argument against its range.
    ///
    /// # Errors
    /// Names the first argument that is outside its range.
    pub fn validate(&self) -> Result<(), ArgumentError> {
        let arguments = Arguments("rolling_quantile");
        let Self { quantile, window_steps, iqr_threshold } = *self;
        arguments.require("quantile", quantile, "from 0.5 to 1", (0.5..=1.0).contains(&quantile))?;
        let holds = (1..=MAX_WINDOW_STEPS).contains(&window_steps);
        arguments.require("window_steps", window_steps, "from 1 to 100000", holds)?;
        let holds = iqr_threshold.is_finite() && iqr_threshold >= 0.0;
        arguments.require("iqr_threshold", iqr_threshold, "finite and at least 0", holds)
    }

    /// The arguments that act on learning; see [`crate::spec::ModelSpec::learning_signature`].
    pub(crate) fn learning_signature(&self) -> String {
        format!("window_steps={}", self.window_steps)
    }
}

/// `rolling_quantile` of one series.
#[derive(Debug, Clone)]
pub struct RollingQuantile {
    args: RollingQuantileArgs,
    samples_seen: u64,
    /// In the order of arrival; once it is full, `oldest` is replaced next.
    ring: Vec<f64>,
    oldest: usize,
    /// The same samples in ascending order.
    sorted: Vec<f64>,
}

impl RollingQuantile {
    /// A model that has learnt nothing. A window outside its range is moved into it.
    #[must_use]
    pub fn new(args: RollingQuantileArgs) -> Self {
        let args = RollingQuantileArgs { window_steps: args.window_steps.clamp(1, MAX_WINDOW_STEPS), ..args };
        Self { args, samples_seen: 0, ring: Vec::new(), oldest: 0, sorted: Vec::new() }
    }

    fn window(&self) -> usize {
        self.args.window_steps as usize
    }

    /// `q(p)`; NaN while nothing was learnt.
    fn quantile(&self, probability: f64) -> f64 {
        let Some(last) = self.sorted.len().checked_sub(1) else { return f64::NAN };
        let position = last as f64 * probability;
        let below = position as usize;
        match (self.sorted.get(below), self.sorted.get(below + 1)) {
            (Some(low), Some(high)) => between(*low, *high, position - below as f64),
            _ => self.sorted[last],
        }
    }

    /// Puts `value` into the sorted samples, in place of `leaving`, which is one of them.
    fn replace(&mut self, leaving: f64, value: f64) {
        let from = self.sorted.partition_point(|sample| *sample < leaving);
        let to = self.sorted.partition_point(|sample| *sample < value);
        if from < to {
            self.sorted.copy_within(from + 1..to, from);
            self.sorted[to - 1] = value;
        } else {
            self.sorted.copy_within(to..from, to + 1);
            self.sorted[to] = value;
        }
    }

    fn reserve(&mut self) {
        self.ring.reserve_exact(self.window());
        self.sorted.reserve_exact(self.window());
    }
}

impl OnlineModel for RollingQuantile {
    fn predict(&self, _time: i64) -> Interval {
        let RollingQuantileArgs { quantile, iqr_threshold, .. } = self.args;
        let width = if iqr_threshold == 0.0 {
            0.0
        } else {
            at_most(iqr_threshold * 0.5 * (self.quantile(0.75) - self.quantile(0.25)), f64::MAX)
        };
        Interval {
            yhat: self.quantile(0.5),
            lower: at_least(self.quantile(1.0 - quantile) - width, -f64::MAX),
            upper: at_most(self.quantile(quantile) + width, f64::MAX),
        }
    }

    fn learn(&mut self, _time: i64, value: f64) {
        if !value.is_finite() {
            return;
        }
        // Without the sign of a negative zero, equal samples have equal bits.
        let value = value + 0.0;
        if self.samples_seen == 0 {
            self.reserve();
        }
        self.samples_seen += 1;
        if self.ring.len() < self.window() {
            self.ring.push(value);
            let at = self.sorted.partition_point(|sample| *sample < value);
            self.sorted.insert(at, value);
            return;
        }
        let leaving = std::mem::replace(&mut self.ring[self.oldest], value);
        self.oldest = if self.oldest + 1 == self.ring.len() { 0 } else { self.oldest + 1 };
        self.replace(leaving, value);
    }

    /// Ready once the window is full.
    fn readiness(&self) -> Readiness {
        if self.ring.is_empty() {
            Readiness::NONE
        } else {
            Readiness::learning(self.ring.len() as f64, self.window() as f64)
        }
    }

    /// Nothing: the window has no evidence but its samples.
    fn finish_fit(&mut self) {}

    fn samples_seen(&self) -> u64 {
        self.samples_seen
    }

    fn save(&self, out: &mut Vec<u8>) {
        out.reserve(state_bytes(self.ring.len()));
        let mut writer = Writer::new(FORMAT, out);
        writer.u64(self.samples_seen);
        writer.u32(self.args.window_steps);
        // At most `MAX_WINDOW_STEPS`.
        writer.u32(self.ring.len() as u32);
        let (latest, oldest) = self.ring.split_at(self.oldest);
        for sample in oldest.iter().chain(latest) {
            writer.f64(*sample);
        }
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let mut reader = Reader::new(FORMAT, bytes)?;
        let samples_seen = reader.u64()?;
        require(reader.u32()? == self.args.window_steps, "it was learnt with another window")?;
        let count = reader.u32()?;
        require(u64::from(count) == samples_seen.min(self.args.window_steps.into()), "the window is not full")?;
        require(reader.remaining() == 8 * count as usize, "the number of samples is not that of the bytes")?;
        let mut loaded = Self::new(self.args);
        if count > 0 {
            loaded.reserve();
        }
        for _ in 0..count {
            let sample = reader.finite()?;
            require(sample.to_bits() != (-0.0_f64).to_bits(), "a sample is a negative zero")?;
            loaded.ring.push(sample);
        }
        reader.finish()?;
        loaded.sorted.extend_from_slice(&loaded.ring);
        loaded.sorted.sort_unstable_by(f64::total_cmp);
        *self = Self { samples_seen, ..loaded };
        Ok(())
    }

    fn heap_bytes(&self) -> usize {
        (self.ring.capacity() + self.sorted.capacity()) * size_of::<f64>()
    }
}
