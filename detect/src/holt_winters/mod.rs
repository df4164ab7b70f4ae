//! `holtwinters`: exponential smoothing of a level, a trend and a season; the bounds are a number of standard deviations of the residuals
//! away.
//!
//! # Formulas
//!
//! Those of `ExponentialSmoothing` of statsmodels 0.15, as its code has them. With level `l`, trend `b` and season `s`, before the value
//! `y` of a step is known it is expected at `p + s` (additive season), `p s` (multiplicative) or `p` (none), where `p` is `l + phi b`
//! (additive trend), `l b^phi` (multiplicative) or `l` (none). Then
//!
//! ```text
//! x  = y - s, y / s or y
//! l' = alpha x + (1 - alpha) p
//! b' = beta (l' - l) + (1 - beta) phi b        or  beta l' / l + (1 - beta) b^phi
//! s' = gamma (y - p) + (1 - gamma) s           or  gamma y / p + (1 - gamma) s
//! ```
//!
//! and `s'` is the season of the same step one season later. The season is updated with the level and trend before the value. In the
//! additive form this is error correction: with `e = y - p - s`, `l' = p + alpha e`, `b' = phi b + alpha beta e`, `s' = s + gamma e`.
//!
//! A fit is to the least sum of squared errors `e`, over the smoothing parameters that are not given (`beta <= alpha`,
//! `gamma <= 1 - alpha`, `phi` from 0.8 to 0.995) and over the initial `l`, `b` and `s` if they are to be estimated. It goes from the best
//! of a grid of smoothing parameters, with heuristic initial states, downhill by L-BFGS in all parameters at once, with exact
//! derivatives; from more than one point where there are a steady and a lively trend, or trends of long and short duration, to choose
//! from. The sum can have several least values, and no search is sure to find the least of all. statsmodels, whose derivatives are
//! finite differences, stops early where a season has many steps: its estimates need not be these.
//!
//! Unlike there, a forecast uses the season that the last value has updated; statsmodels forecasts the phase of the last value with
//! the season before that value.
//!
//! With `box_cox`, all of this is done with the Box-Cox transforms of the values, and what is expected is transformed back: see
//! [`BoxCox`]. The residuals are those of the values.
//!
//! # Window and prediction
//!
//! A window is brought to steps of `frequency` from its first sample on: a step's value is the mean of the samples nearest to it, and
//! steps without samples are on a line between their neighbours. A prediction is on the line between the forecasts of the two steps
//! around its time: for any time, at the same price. At and before the window's last step the trend is left out. The bounds are
//! `yhat -+ z_threshold * sigma`, saturating at `±f64::MAX`, where `sigma` is the standard deviation (`ddof = 0`) of the
//! residuals of the steps that have samples.
//!
//! Where a window has too few steps for its season, which are those of two seasons and more for some initial states, the model is
//! [learning](crate::readiness::Stage::Learning): its fit is of a level alone, without trend and season, and `sigma` is the root of
//! the mean square of the values' distances from the last level, so that the band holds what the level does not know of.
//!
//! # State
//!
//! [`state_bytes`] of a season: the [header](crate::state) `hw`, the steps of a season (`u32`, 0 without one), the steps of the window
//! (`u32`), the time of the last step
//! and the frequency (`u64`, as two's complement), `sigma`, `alpha`, `beta`, `gamma`, `phi`, `l`, `b` (`f64`), and `s` of each step, that
//! of the next one first (`f64`). With a Box-Cox transform, `lambda` (`f64`) follows.

mod additive;
mod args;
mod box_cox;
mod estimate;
mod gradient;
mod initial;
mod lbfgs;
mod recursion;
mod resampling;
mod search;
mod starts;
mod variables;

use std::sync::Arc;

pub use self::args::{Bounds, HoltWintersArgs, Initialization, MAX_PERIODS};
pub use self::box_cox::{BoxCox, MAX_LAMBDA};
pub use self::estimate::{Estimate, estimate};
pub use self::recursion::{Composition, Form, Smoothing, States};
pub use self::resampling::MAX_STEPS;

use self::initial::least_steps;
use self::resampling::{Steps, resample};
use crate::model::{Provides, StateError};
use crate::offline::{FitError, OfflineModel, Prediction, Window};
use crate::readiness::Readiness;
use crate::score::{Interval, at_least, at_most};
use crate::state::{Format, HEADER_BYTES, Reader, Writer, require};

/// Tag and version of the state.
pub const FORMAT: Format = Format { tag: *b"hw", version: 2 };

/// Size of a saved state of a model with so many steps in a season, 0 without one; 8 more with a Box-Cox transform.
#[must_use]
pub const fn state_bytes(periods: usize) -> usize {
    HEADER_BYTES + 2 * 4 + 9 * 8 + 8 * periods
}

/// `holtwinters` of one series.
#[derive(Debug, Clone)]
pub struct HoltWinters {
    /// The same of all copies.
    args: Arc<HoltWintersArgs>,
    /// ms; the same of all copies.
    horizons: Arc<[i64]>,
    fitted: Option<Fitted>,
}

/// What a fit leaves.
#[derive(Debug, Clone, PartialEq)]
struct Fitted {
    form: Form,
    /// Of the window.
    steps: u32,
    /// Time of the last step of the window, ms.
    last: i64,
    /// ms between steps.
    frequency: i64,
    /// `sigma`.
    deviation: f64,
    smoothing: Smoothing,
    /// After the last step.
    states: States,
    /// Of the Box-Cox transform, if there is one.
    lambda: Option<f64>,
}

impl HoltWinters {
    /// A model without a fit, that gives [forecasts](OfflineModel::forecasts) at these distances (ms, above 0).
    #[must_use]
    pub fn new(args: HoltWintersArgs, horizons: &[i64]) -> Self {
        Self { args: Arc::new(args), horizons: horizons.into(), fitted: None }
    }

    /// Steps of a season, 0 without one.
    fn periods(&self, frequency: i64) -> Result<usize, FitError> {
        if self.args.seasonal.is_none() {
            return Ok(0);
        }
        let periods = match (self.args.seasonal_periods, self.args.seasonality) {
            (Some(periods), _) => i64::from(periods),
            (None, seasonality) => {
                let seasonality = seasonality.unwrap_or(0);
                let (whole, rest) = (seasonality / frequency, seasonality % frequency);
                whole + i64::from(rest >= frequency - rest)
            }
        };
        if periods < 2 {
            return Err(FitError::Failed { what: "the season is shorter than two steps of the frequency" });
        }
        if periods > i64::from(MAX_PERIODS) {
            return Err(FitError::Failed { what: "the season has more than 100000 steps of the frequency" });
        }
        Ok(periods as usize)
    }
}

impl Fitted {
    fn new(args: &HoltWintersArgs, periods: usize, steps: &Steps) -> Result<Self, FitError> {
        let Estimate { form, smoothing, last, fitted, lambda, .. } = estimate(args, periods, &steps.values)?;
        let residuals = fitted.iter().zip(&steps.values).zip(&steps.sampled).filter(|(_, sampled)| **sampled);
        let deviation = spread(residuals.map(|((fitted, value), _)| 0.5 * value - 0.5 * fitted), Around::Mean);
        let Steps { last: time, frequency, ref values, .. } = *steps;
        // At most `MAX_STEPS`.
        let steps = values.len() as u32;
        Ok(Self { form, steps, last: time, frequency, deviation, smoothing, states: last, lambda })
    }

    /// Of the level alone.
    fn of_level(args: &HoltWintersArgs, steps: &Steps) -> Result<Self, FitError> {
        let fitted = Self::new(&args.of_level(), 0, steps)?;
        let level = fitted.forecast(1);
        let sampled = steps.values.iter().zip(&steps.sampled).filter(|(_, sampled)| **sampled);
        let deviation = spread(sampled.map(|(value, _)| 0.5 * value - 0.5 * level), Around::Zero);
        Ok(Self { deviation, ..fitted })
    }

    /// So many steps after the last one.
    #[inline]
    fn forecast(&self, steps: i64) -> f64 {
        let forecast = self.states.forecast(self.form, self.smoothing.damping, steps);
        self.lambda.map_or(forecast, |lambda| box_cox::inverse(forecast, lambda))
    }

    #[inline]
    fn yhat(&self, time: i64) -> f64 {
        let ahead = time.saturating_sub(self.last);
        let (steps, beyond) = (ahead.div_euclid(self.frequency), ahead.rem_euclid(self.frequency));
        let before = self.forecast(steps);
        if beyond == 0 {
            return before;
        }
        let after = self.forecast(steps.saturating_add(1));
        let share = beyond as f64 / self.frequency as f64;
        at_most(at_least(before * (1.0 - share) + after * share, -f64::MAX), f64::MAX)
    }

    fn interval(&self, time: i64, z_threshold: f64) -> Interval {
        Interval::symmetric(self.yhat(time), at_most(z_threshold * self.deviation, f64::MAX))
    }
}

/// What a spread is measured from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Around {
    Zero,
    Mean,
}

/// The root of the mean square of numbers, or of their distances from their mean, given half of each, because the numbers themselves
/// may overflow.
fn spread(halves: impl Iterator<Item = f64> + Clone, around: Around) -> f64 {
    let greatest = halves.clone().fold(0.0, |greatest: f64, half| greatest.max(half.abs()));
    if greatest == 0.0 {
        return 0.0;
    }
    let scaled = halves.map(|half| half / greatest);
    let count = scaled.clone().count() as f64;
    let mean = if around == Around::Mean { scaled.clone().sum::<f64>() / count } else { 0.0 };
    let variance = scaled.map(|scaled| (scaled - mean) * (scaled - mean)).sum::<f64>() / count;
    at_most(greatest * variance.sqrt() * 2.0, f64::MAX)
}

impl OfflineModel for HoltWinters {
    fn fit(&mut self, window: Window<'_>) -> Result<(), FitError> {
        let steps = resample(window, self.args.frequency)?;
        let periods = self.periods(steps.frequency)?;
        self.fitted = Some(match Fitted::new(&self.args, periods, &steps) {
            Err(FitError::TooFewSteps { .. }) if periods > 0 && steps.values.len() >= 2 => {
                Fitted::of_level(&self.args, &steps)?
            }
            fit => fit?,
        });
        Ok(())
    }

    fn is_fitted(&self) -> bool {
        self.fitted.is_some()
    }

    fn readiness(&self) -> Readiness {
        let Some(Fitted { form, steps, frequency, .. }) = &self.fitted else { return Readiness::NONE };
        match self.periods(*frequency) {
            // Some initial states need more than two seasons.
            Ok(periods) if periods > form.periods => {
                Readiness::learning(f64::from(*steps), least_steps(&self.args, periods) as f64)
            }
            _ => Readiness::READY,
        }
    }

    fn predict(&self, points: Window<'_>, predictions: &mut Vec<Prediction>) {
        let interval = |time: &i64| match &self.fitted {
            Some(fitted) => fitted.interval(*time, self.args.z_threshold),
            None => Interval::NONE,
        };
        predictions.extend(points.times.iter().map(|time| Prediction::Interval(interval(time))));
    }

    fn provides(&self) -> Provides {
        Provides { components: 0, forecasts: self.horizons.len() }
    }

    fn forecasts(&self, time: i64, out: &mut Vec<Interval>) {
        out.extend(self.horizons.iter().map(|horizon| match &self.fitted {
            Some(fitted) => fitted.interval(time.saturating_add(*horizon), self.args.z_threshold),
            None => Interval::NONE,
        }));
    }

    /// Of a model without a fit, the header alone.
    fn save(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(FORMAT, out);
        let Some(fitted) = &self.fitted else { return };
        let Fitted { form, steps, last, frequency, deviation, smoothing, states, lambda } = fitted;
        writer.u32(form.periods as u32);
        writer.u32(*steps);
        writer.u64(last.cast_unsigned());
        writer.u64(frequency.cast_unsigned());
        let Smoothing { level, trend, season, damping } = *smoothing;
        for number in [*deviation, level, trend, season, damping, states.level, states.trend] {
            writer.f64(number);
        }
        states.seasons.iter().chain(lambda).for_each(|number| writer.f64(*number));
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let mut reader = Reader::new(FORMAT, bytes)?;
        if reader.remaining() == 0 {
            self.fitted = None;
            return Ok(());
        }
        let (periods, steps) = (reader.u32()?, reader.u32()?);
        let transform_bytes = if self.args.box_cox.is_some() { 8 } else { 0 };
        require(
            bytes.len() == state_bytes(periods as usize) + transform_bytes,
            "its length is not that of its season",
        )?;
        let (last, frequency) = (reader.u64()?.cast_signed(), reader.u64()?.cast_signed());
        let deviation = reader.finite()?;
        let smoothing = Smoothing {
            level: reader.finite()?,
            trend: reader.finite()?,
            season: reader.finite()?,
            damping: reader.finite()?,
        };
        let (level, trend) = (reader.finite()?, reader.finite()?);
        let seasons = (0..periods).map(|_| reader.finite()).collect::<Result<Vec<f64>, _>>()?;
        let lambda = self.args.box_cox.map(|_| reader.finite()).transpose()?;
        reader.finish()?;
        let form = if periods == 0 && self.args.seasonal.is_some() {
            Form { trend: None, season: None, periods: 0 }
        } else {
            Form { trend: self.args.trend, season: self.args.seasonal, periods: periods as usize }
        };
        let states = States { level, trend, seasons };
        let fitted = Fitted { form, steps, last, frequency, deviation, smoothing, states, lambda };
        self.check(&fitted)?;
        self.fitted = Some(fitted);
        Ok(())
    }

    fn heap_bytes(&self) -> usize {
        self.fitted.as_ref().map_or(0, |fitted| fitted.states.seasons.capacity() * size_of::<f64>())
    }
}

impl HoltWinters {
    /// What holds of every state that a fit with these arguments gives.
    fn check(&self, fitted: &Fitted) -> Result<(), StateError> {
        let Fitted { form, steps, frequency, deviation, smoothing, states, lambda, .. } = fitted;
        let is_possible = match (self.args.box_cox, *lambda) {
            (Some(BoxCox::Lambda(given)), Some(lambda)) => given.to_bits() == lambda.to_bits(),
            (Some(BoxCox::Estimated), Some(lambda)) => lambda.abs() <= MAX_LAMBDA,
            (of, lambda) => of.is_none() && lambda.is_none(),
        };
        require(is_possible, "the transform is another one")?;
        let frequency_fits = self.args.frequency.is_none_or(|wanted| wanted == *frequency);
        require(*frequency >= 1 && frequency_fits, "the frequency is out of range")?;
        let periods = self.periods(*frequency).unwrap_or(usize::MAX);
        let is_level = periods > 0 && form.periods == 0;
        let is_long_enough = *steps >= 2 && i64::from(*steps) <= MAX_STEPS;
        require(is_long_enough, "the window had too few steps or too many")?;
        let lacks_season = is_level && periods != usize::MAX && u64::from(*steps) < least_steps(&self.args, periods);
        require(lacks_season || periods == states.seasons.len(), "the season has another length")?;
        require(deviation.is_sign_positive(), "the deviation is negative")?;
        let Smoothing { level, trend, season, damping } = *smoothing;
        let in_range = [level, trend, season].iter().all(|parameter| (0.0..=1.0).contains(parameter));
        require(in_range && damping > 0.0 && damping <= 1.0, "a smoothing parameter is out of range")?;
        require((self.args.damped_trend && form.trend.is_some()) || damping == 1.0, "the trend is damped")?;
        require(form.trend.is_some() || states.trend.to_bits() == 0, "there is a trend")?;
        let is_factor = form.trend == Some(Composition::Multiplicative);
        require(!is_factor || states.trend >= 0.0, "a growth factor is negative")
    }
}
