//! `std`: the value is a trend, a season and a rest; the bounds are a number of the rest's standard deviations away.
//!
//! # Formulas
//!
//! Those of `seasonal_decompose(model="additive", two_sided=False)` of statsmodels 0.15, with `p` the period and samples
//! `y_0 .. y_(n - 1)`:
//!
//! - trend: the moving average of the last `p` samples, `T_t = (y_(t - p + 1) + .. + y_t) / p` for an odd `p`,
//!   `T_t = (y_(t - p) / 2 + y_(t - p + 1) + .. + y_(t - 1) + y_t / 2) / p` for an even one. There is none before that many samples,
//! - detrended `d_t = y_t - T_t`; the phase of a sample is `t mod p`,
//! - season `S_j`: the mean `m_j` of the detrended samples of the phase `j`, less the mean `g` of `m_0 .. m_(p - 1)`,
//! - residual `r_t = d_t - S_j`; its standard deviation `sigma` is the population's (`ddof = 0`).
//!
//! The trend looks back only, so it lags: on a line of slope `b` it is low by about `b p / 2`. The season does not contain this
//! (its mean is 0), nor does `sigma` (it is taken around the mean of the residuals, which is `g`); so does the reference.
//!
//! [`seasonal_decompose`] computes this of a window. [`StdModel`] computes the same of all that it has learnt, sample by sample:
//! `T`, `m_j` (as a running mean) and `g` as they are defined, and `sigma^2 = Q / N`, where `N` is the number of detrended samples
//! and `Q` the sum over all phases of their squared distances from `m_j`, which B. P. Welford's method keeps up to date. That is
//! the same number: `r_t - g = d_t - m_j`. After learning a window, its trend, season and standard deviation are those that
//! [`seasonal_decompose`] gives for the window's last sample, up to rounding. What was learnt is never forgotten, but for the trend.
//!
//! # Prediction
//!
//! Causal: what is known before a sample. `yhat = T + S_j` with the last trend, that of the sample before it, and the season of its
//! phase; bounds `yhat -+ z_threshold * sigma`, saturating at `±f64::MAX`. There is no expectation until every phase has two
//! detrended samples, after some three periods, because with one of each `sigma` is 0, whatever the data.
//!
//! Phases count the finite samples that were learnt, not time, as the reference counts rows: the season of a series that stops and
//! comes back goes on where it stopped, and a series that lost samples is out of step with the clock until the next fit.
//!
//! Components, of which [`component_names`] has the names: `trend` and `seasonal` as in `yhat`, and `resid = y - yhat`. What
//! [`seasonal_decompose`] calls so is not the same: there, the value itself is in its trend and in its season.
//!
//! All is computed of differences from the first sample: a constant series has `sigma = 0` exactly, and [`crate::score`] keeps its
//! interval open.
//!
//! # State
//!
//! [`state_bytes`] of the period, 16 for each of its phases and [`state_bytes`]`(0)` = 64 more: the [header](crate::state) `sd`, the
//! period (`u32`), `samples_seen` (`u64`), the first sample, `g`, `Q` (`f64`), the moving average (`p + 3` `f64`), `m_j` (`p` `f64`).

mod batch;
mod moving_average;

pub use self::batch::{Decomposition, seasonal_decompose};

use self::batch::mean;
use self::moving_average::{MovingAverage, Season, saturated};
use crate::argument::{ArgumentError, Arguments};
use crate::model::{OnlineModel, Provides, StateError};
use crate::readiness::Readiness;
use crate::score::{Interval, at_least, at_most};
use crate::state::{Format, HEADER_BYTES, Reader, Writer, require};

/// Tag and version of the state.
pub const FORMAT: Format = Format { tag: *b"sd", version: 1 };

/// Size of a saved state, always; a model holds as much on the heap from its first sample on.
#[must_use]
pub const fn state_bytes(period: u32) -> usize {
    HEADER_BYTES + 4 + 8 + 6 * 8 + 2 * 8 * period as usize
}

/// Greatest period: a day of seconds has 86,400. A state has 1.6 MB then.
pub const MAX_PERIOD: u32 = 100_000;

/// Names of the components that a model can provide besides its interval.
#[must_use]
pub const fn component_names() -> &'static [&'static str] {
    &["resid", "trend", "seasonal"]
}

/// Arguments of `std`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StdArgs {
    /// Length of the season in samples; required; from 2 to [`MAX_PERIOD`].
    pub period: u32,
    /// Half-width of the interval in standard deviations; finite, above 0; 2.5 by default.
    pub z_threshold: f64,
}

impl StdArgs {
    /// The defaults for a season of so many samples.
    #[must_use]
    pub const fn new(period: u32) -> Self {
        Self { period, z_threshold: 2.5 }
    }

    /// Checks every argument against its range.
    ///
    /// # Errors
    /// Names the first argument that is outside its range.
    pub fn validate(&self) -> Result<(), ArgumentError> {
        let arguments = Arguments("std");
        let in_range = (2..=MAX_PERIOD).contains(&self.period);
        arguments.require("period", self.period, "from 2 to 100000", in_range)?;
        arguments.require_positive("z_threshold", self.z_threshold)
    }

    /// How many samples there are before one is expected.
    pub(crate) fn needed_samples(&self) -> u64 {
        needed_samples(Season::new(self.period.max(1) as usize))
    }

    /// The arguments that act on learning; see [`crate::spec::ModelSpec::learning_signature`].
    pub(crate) fn learning_signature(&self) -> String {
        format!("period={}", self.period)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Component {
    Resid,
    Trend,
    Seasonal,
    Unknown,
}

/// `std` of one series.
#[derive(Debug, Clone)]
pub struct StdModel {
    args: StdArgs,
    season: Season,
    components: Vec<Component>,
    learnt: Learnt,
}

/// What one series has learnt, as differences from its first sample; everything is 0 while that is nothing.
#[derive(Debug, Clone, Default, PartialEq)]
struct Learnt {
    samples_seen: u64,
    /// The first sample.
    origin: f64,
    moving_average: MovingAverage,
    /// `m_j`; empty before the first detrended sample.
    phase_means: Vec<f64>,
    /// `g`.
    mean: f64,
    /// `Q`.
    squares: f64,
    /// `1 / k` for the `k`-th detrended sample of each phase, which the season that goes on gives.
    weight: f64,
}

/// How many samples have been detrended once so many were seen.
#[inline]
fn detrended(samples_seen: u64, season: Season) -> u64 {
    samples_seen.saturating_add(1).saturating_sub(season.length as u64)
}

/// How many samples it takes until every phase has two detrended ones.
fn needed_samples(season: Season) -> u64 {
    season.length as u64 - 1 + 2 * season.period as u64
}

/// See [`Learnt::weight`]; `detrended` is at least 1.
fn weight(detrended: u64, season: Season) -> f64 {
    1.0 / detrended.div_ceil(season.period as u64) as f64
}

impl Learnt {
    #[inline]
    fn learn(&mut self, value: f64, season: Season) {
        if self.samples_seen == 0 {
            self.origin = value;
        }
        let sample = saturated(value - self.origin);
        let phase = self.moving_average.phase();
        self.moving_average.push(sample, season);
        self.samples_seen = self.samples_seen.saturating_add(1);
        if self.samples_seen < season.length as u64 {
            return;
        }
        if phase == season.first_phase {
            self.phase_means.resize(season.period, 0.0);
            self.weight = weight(detrended(self.samples_seen, season), season);
        }
        if let Some(phase_mean) = self.phase_means.get_mut(phase) {
            let detrended = saturated(sample - self.moving_average.average(season));
            let deviation = saturated(detrended - *phase_mean);
            let step = deviation * self.weight;
            *phase_mean = saturated(*phase_mean + step);
            let square = at_least(deviation * saturated(detrended - *phase_mean), 0.0);
            self.squares = at_most(self.squares + square, f64::MAX);
            self.mean = saturated(self.mean + step * season.share);
        }
        if phase + 1 == season.period {
            self.mean = mean(&self.phase_means, season);
        }
    }

    /// Trend, season and standard deviation that are expected of the next sample, once every phase has two detrended samples. The
    /// trend is a difference from the first sample.
    #[inline]
    fn expected(&self, season: Season) -> Option<(f64, f64, f64)> {
        let detrended = detrended(self.samples_seen, season);
        if detrended < 2 * season.period as u64 {
            return None;
        }
        let phase_mean = self.phase_means.get(self.moving_average.phase())?;
        let deviation = (self.squares / detrended as f64).sqrt();
        Some((self.moving_average.average(season), saturated(phase_mean - self.mean), deviation))
    }

    fn save(&self, out: &mut Vec<u8>, season: Season) {
        let mut writer = Writer::new(FORMAT, out);
        writer.u32(season.period as u32);
        writer.u64(self.samples_seen);
        writer.f64(self.origin);
        writer.f64(self.mean);
        writer.f64(self.squares);
        self.moving_average.save(&mut writer, season);
        for phase in 0..season.period {
            writer.f64(self.phase_means.get(phase).copied().unwrap_or(0.0));
        }
    }

    fn load(bytes: &[u8], season: Season) -> Result<Self, StateError> {
        let period = season.period;
        let mut reader = Reader::new(FORMAT, bytes)?;
        require(reader.u32()? as usize == period, "it is of another period")?;
        require(bytes.len() == state_bytes(period as u32), "its length is not that of its period")?;
        let samples_seen = reader.u64()?;
        let (origin, mean, squares) = (reader.finite()?, reader.finite()?, reader.finite()?);
        let moving_average = MovingAverage::load(&mut reader, season, samples_seen)?;
        let phase_means = (0..period).map(|_| reader.finite()).collect::<Result<Vec<f64>, _>>()?;
        reader.finish()?;
        let detrended = detrended(samples_seen, season);
        let is_zero = |number: f64| number.to_bits() == 0;
        require(samples_seen > 0 || is_zero(origin), "a first sample, but no samples")?;
        require(squares.is_sign_positive(), "a sum of squares is negative")?;
        require(detrended > period as u64 || is_zero(squares), "one sample of a phase has a deviation")?;
        require(detrended > 0 || is_zero(mean), "a mean of no samples")?;
        if detrended < period as u64 {
            // The phases that had their turn, around the end of the season.
            let mut waiting = (detrended as usize..period).map(|turn| (season.first_phase + turn) % period);
            let empty = waiting.all(|phase| phase_means.get(phase).is_some_and(|mean| is_zero(*mean)));
            require(empty, "a mean of no samples")?;
        }
        if detrended == 0 {
            return Ok(Self { samples_seen, origin, moving_average, ..Self::default() });
        }
        let weight = weight(detrended, season);
        Ok(Self { samples_seen, origin, moving_average, phase_means, mean, squares, weight })
    }
}

impl StdModel {
    /// A model that has learnt nothing, and provides these of the [`component_names`]. A name that is none of them gives NaN.
    #[must_use]
    pub fn new(args: StdArgs, components: &[impl AsRef<str>]) -> Self {
        let component = |name: &str| match name {
            "resid" => Component::Resid,
            "trend" => Component::Trend,
            "seasonal" => Component::Seasonal,
            _ => Component::Unknown,
        };
        let components = components.iter().map(|name| component(name.as_ref())).collect();
        // Arguments that were not validated give no panic.
        let season = Season::new(args.period.max(1) as usize);
        Self { args, season, components, learnt: Learnt::default() }
    }

    #[inline]
    fn yhat(&self, trend: f64, seasonal: f64) -> f64 {
        saturated(self.learnt.origin + saturated(trend + seasonal))
    }
}

impl OnlineModel for StdModel {
    #[inline]
    fn predict(&self, _time: i64) -> Interval {
        let Some((trend, seasonal, deviation)) = self.learnt.expected(self.season) else { return Interval::NONE };
        Interval::symmetric(self.yhat(trend, seasonal), self.args.z_threshold * deviation)
    }

    fn provides(&self) -> Provides {
        Provides { components: self.components.len(), forecasts: 0 }
    }

    fn components(&self, _time: i64, value: f64, out: &mut Vec<f64>) {
        let expected = self.learnt.expected(self.season);
        out.extend(self.components.iter().map(|component| match (component, expected) {
            (Component::Unknown, _) | (_, None) => f64::NAN,
            (Component::Resid, Some((trend, seasonal, _))) => saturated(value - self.yhat(trend, seasonal)),
            (Component::Trend, Some((trend, ..))) => saturated(self.learnt.origin + trend),
            (Component::Seasonal, Some((_, seasonal, _))) => seasonal,
        }));
    }

    #[inline]
    fn learn(&mut self, _time: i64, value: f64) {
        if value.is_finite() {
            self.learnt.learn(value, self.season);
        }
    }

    /// There is no expectation before there is one for every phase.
    fn readiness(&self) -> Readiness {
        Readiness::starting(self.learnt.samples_seen as f64, needed_samples(self.season) as f64)
    }

    /// Nothing: the model has no `history_strength`.
    fn finish_fit(&mut self) {}

    fn samples_seen(&self) -> u64 {
        self.learnt.samples_seen
    }

    fn save(&self, out: &mut Vec<u8>) {
        self.learnt.save(out, self.season);
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        self.learnt = Learnt::load(bytes, self.season)?;
        Ok(())
    }

    fn heap_bytes(&self) -> usize {
        let phase_means = self.learnt.phase_means.capacity() * size_of::<f64>();
        let components = self.components.capacity() * size_of::<Component>();
        self.learnt.moving_average.heap_bytes() + phase_means + components
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_arguments_that_act_on_learning_change_the_signature() {
        let args = StdArgs::new(24);
        assert_eq!(args.learning_signature(), "period=24");
        assert_eq!(StdArgs { z_threshold: 3.0, ..args }.learning_signature(), args.learning_signature());
    }
}
