//! The one-sided moving average of a season's length, one sample at a time.

use crate::model::StateError;
use crate::score::{at_least, at_most};
use crate::state::{Reader, Writer, require};

/// Samples are summed in units of a quarter of the greatest number, so that no sum overflows.
const LIMIT: f64 = 0.26 * f64::MAX;

/// The number, or the nearest finite one.
#[inline]
pub(super) fn saturated(value: f64) -> f64 {
    at_most(at_least(value, -f64::MAX), f64::MAX)
}

fn limited(sum: f64) -> f64 {
    at_most(at_least(sum, -LIMIT), LIMIT)
}

/// A season, and what is needed of its length again and again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Season {
    /// Samples in it, at least 1.
    pub(super) period: usize,
    /// How many samples the average is made of: `period`, and one more if that is even, whose ends then count half.
    pub(super) length: usize,
    /// The phase of the first sample that has an average.
    pub(super) first_phase: usize,
    /// `1 / period`.
    pub(super) share: f64,
    /// A sample's share in a sum of `period` samples.
    pub(super) unit: f64,
}

impl Season {
    pub(super) fn new(period: usize) -> Self {
        let length = if period.is_multiple_of(2) { period + 1 } else { period };
        let share = 1.0 / period as f64;
        Self { period, length, first_phase: (length - 1) % period, share, unit: 0.25 * share }
    }

    /// The average of an even period is that of the sums of the last `period` samples now and one sample ago; of an odd period it
    /// is that of the sum now.
    #[inline]
    pub(super) fn average(self, window: f64, previous: f64) -> f64 {
        let other = if self.length > self.period { previous } else { window };
        saturated(2.0 * (window + other))
    }
}

/// Sums of the last `period` samples.
///
/// Samples come in blocks of `period`. A window is the end of one block and the start of the next; the sums of the ends are made
/// when a block is full, the sum of the start grows. Nothing is ever subtracted, so nothing is left of a sample that has gone,
/// however large it was, and errors do not grow with time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct MovingAverage {
    /// Before `at`: the samples of this block. From there on: the sums of the block before from that sample to its end.
    sums: Vec<f64>,
    at: usize,
    /// Sum of this block's samples.
    start: f64,
    /// Sum of the last `period` samples.
    window: f64,
    /// Sum of the `period` samples before the last one.
    previous: f64,
}

impl MovingAverage {
    /// Takes the next sample of a series of this season.
    #[inline]
    pub(super) fn push(&mut self, sample: f64, season: Season) {
        if self.sums.is_empty() {
            self.sums = vec![0.0; season.period];
        }
        let sample = sample * season.unit;
        self.start = limited(self.start + sample);
        let rest = self.sums.get(self.at + 1).copied().unwrap_or(0.0);
        self.previous = self.window;
        self.window = limited(self.start + rest);
        if let Some(slot) = self.sums.get_mut(self.at) {
            *slot = sample;
        }
        self.at += 1;
        if self.at == self.sums.len() {
            let mut sum = 0.0;
            for slot in self.sums.iter_mut().rev() {
                sum += *slot;
                *slot = sum;
            }
            self.at = 0;
            self.start = 0.0;
        }
    }

    /// The average up to the last sample, of a series of which [`Season::length`] samples were taken.
    #[inline]
    pub(super) fn average(&self, season: Season) -> f64 {
        season.average(self.window, self.previous)
    }

    /// How many samples of its block the next one has before it.
    #[inline]
    pub(super) fn phase(&self) -> usize {
        self.at
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.sums.capacity() * size_of::<f64>()
    }

    /// Appends `period + 3` numbers.
    pub(super) fn save(&self, writer: &mut Writer<'_>, season: Season) {
        writer.f64(self.start);
        writer.f64(self.window);
        writer.f64(self.previous);
        for index in 0..season.period {
            writer.f64(self.sums.get(index).copied().unwrap_or(0.0));
        }
    }

    /// Takes what [`save`](Self::save) gave after `samples` samples.
    pub(super) fn load(reader: &mut Reader<'_>, season: Season, samples: u64) -> Result<Self, StateError> {
        let period = season.period;
        let (start, window, previous) = (reader.finite()?, reader.finite()?, reader.finite()?);
        let sums = (0..period).map(|_| reader.finite()).collect::<Result<Vec<f64>, _>>()?;
        let at = (samples % period as u64) as usize;
        let (block, ends) = sums.split_at(at);
        let greatest = |numbers: &[f64]| numbers.iter().fold(0.0, |greatest: f64, number| greatest.max(number.abs()));
        require(greatest(block) <= f64::MAX * season.unit, "a sample is out of range")?;
        require(greatest(ends) <= LIMIT, "a sum is out of range")?;
        require(greatest(&[start, window, previous]) <= LIMIT, "a sum is out of range")?;
        let is_zero = |number: f64| number.to_bits() == 0;
        require(at > 0 || is_zero(start), "a sum of no samples")?;
        require(samples > 1 || is_zero(previous), "a sum before the first sample")?;
        if samples < period as u64 {
            require(ends.iter().all(|end| is_zero(*end)), "sums of samples that were not seen")?;
        }
        if samples == 0 {
            require(is_zero(window), "a sum of no samples")?;
            return Ok(Self::default());
        }
        Ok(Self { sums, at, start, window, previous })
    }
}
