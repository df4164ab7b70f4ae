//! Arguments of `holtwinters`.

use super::box_cox::{BoxCox, MAX_LAMBDA};
use super::recursion::{Composition, States};
use crate::argument::{ArgumentError, Arguments};
use crate::readiness::NeededHistory;

/// Greatest number of steps in a season: a state has 0.8 MB then.
pub const MAX_PERIODS: u32 = 100_000;

/// The smoothing parameters stay this far from 0 and 1 where they are estimated: the square root of `f64::EPSILON`, as in
/// statsmodels.
const MARGIN: f64 = 1.490_116_119_384_765_6e-8;

/// Where the recursions start from: `initialization_method` of statsmodels.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Initialization {
    /// `estimated`: the initial states are parameters as the smoothing ones, estimated with them.
    #[default]
    Estimated,
    /// `heuristic`: from averages over the first seasons, at most five.
    Heuristic,
    /// `legacy-heuristic`: from the first two seasons, as statsmodels had it up to 0.11.
    LegacyHeuristic,
    /// `known`: `initial_level`, `initial_trend` (0 in a form without one) and `initial_seasonal`, a value for each step of a season,
    /// the first of the window first; finite, and above 0 in multiplicative forms.
    Known(States),
}

/// Ranges that parameters are estimated in, `(lowest, highest)`; within 0 and 1. `smoothing_trend` is at most `smoothing_level`, and
/// `smoothing_seasonal` at most `1 - smoothing_level`, whatever the ranges say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// `(0, 1)` by default.
    pub smoothing_level: (f64, f64),
    /// `(0, 1)` by default.
    pub smoothing_trend: (f64, f64),
    /// `(0, 1)` by default.
    pub smoothing_seasonal: (f64, f64),
    /// `(0.8, 0.995)` by default; above 0.
    pub damping_trend: (f64, f64),
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            smoothing_level: (0.0, 1.0),
            smoothing_trend: (0.0, 1.0),
            smoothing_seasonal: (0.0, 1.0),
            damping_trend: (0.8, 0.995),
        }
    }
}

impl Bounds {
    /// Ranges in which `alpha`, `beta`, `gamma` and `phi` are estimated, those of `beta` and `gamma` under this `alpha`.
    pub(super) fn ranges(self, alpha: f64) -> [(f64, f64); 4] {
        let within = |(low, high): (f64, f64), least: f64, most: f64| (low.clamp(least, most), high.clamp(least, most));
        [
            within(self.smoothing_level, MARGIN, 1.0 - MARGIN),
            within(self.smoothing_trend, 0.0, alpha),
            within(self.smoothing_seasonal, 0.0, 1.0 - alpha),
            self.damping_trend,
        ]
    }
}

/// Arguments of `holtwinters`. Those after `z_threshold` are the arguments of statsmodels' `ExponentialSmoothing` and of its `fit`.
#[derive(Debug, Clone, PartialEq)]
pub struct HoltWintersArgs {
    /// Step that the window is brought to, ms; at least 1. By default the median step of the window.
    pub frequency: Option<i64>,
    /// Length of the season, ms; at least 1. Required for a seasonal model without `seasonal_periods`.
    pub seasonality: Option<i64>,
    /// Half-width of the interval in standard deviations of the residuals; finite, above 0; 2.5 by default.
    pub z_threshold: f64,
    /// The trend; none by default.
    pub trend: Option<Composition>,
    /// Whether the trend is damped; false by default.
    pub damped_trend: bool,
    /// The season; additive by default.
    pub seasonal: Option<Composition>,
    /// Steps of a season, from 2 to [`MAX_PERIODS`]. By default `seasonality / frequency`, rounded.
    pub seasonal_periods: Option<u32>,
    /// Where the recursions start from; estimated by default.
    pub initialization: Initialization,
    /// `alpha`, from 0 to 1; estimated by default.
    pub smoothing_level: Option<f64>,
    /// `beta`, from 0 to 1; estimated by default. Only with a trend.
    pub smoothing_trend: Option<f64>,
    /// `gamma`, from 0 to 1; estimated by default. Only with a season.
    pub smoothing_seasonal: Option<f64>,
    /// `phi`, above 0 and at most 1; estimated by default. Only with a damped trend.
    pub damping_trend: Option<f64>,
    /// Ranges of what is estimated.
    pub bounds: Bounds,
    /// The Box-Cox transform of the values, which must be above 0 then; none by default. A given `lambda` is at most [`MAX_LAMBDA`]
    /// away from 0. Known initial states are those of the transforms.
    pub box_cox: Option<BoxCox>,
}

impl Default for HoltWintersArgs {
    /// The documented defaults; `seasonality` or `seasonal_periods` is still to be given.
    fn default() -> Self {
        Self {
            frequency: None,
            seasonality: None,
            z_threshold: 2.5,
            trend: None,
            damped_trend: false,
            seasonal: Some(Composition::Additive),
            seasonal_periods: None,
            initialization: Initialization::Estimated,
            smoothing_level: None,
            smoothing_trend: None,
            smoothing_seasonal: None,
            damping_trend: None,
            bounds: Bounds::default(),
            box_cox: None,
        }
    }
}

const ARGUMENTS: Arguments = Arguments("holtwinters");

impl HoltWintersArgs {
    /// Checks every argument against its range.
    ///
    /// # Errors
    /// Names the first argument that is outside its range, or does not go with the form of the model.
    pub fn validate(&self) -> Result<(), ArgumentError> {
        for (argument, duration) in [("frequency", self.frequency), ("seasonality", self.seasonality)] {
            let shown = shown(duration.map(|ms| format!("{ms} ms")));
            ARGUMENTS.require(argument, shown, "at least 1 ms", duration.is_none_or(|ms| ms >= 1))?;
        }
        ARGUMENTS.require_positive("z_threshold", self.z_threshold)?;
        let damped = !self.damped_trend || self.trend.is_some();
        ARGUMENTS.require("damped_trend", self.damped_trend, "false without a trend", damped)?;
        self.validate_season()?;
        self.validate_smoothing()?;
        self.validate_initialization()?;
        if let Some(BoxCox::Lambda(lambda)) = self.box_cox {
            ARGUMENTS.require("lambda of use_boxcox", lambda, "from -10 to 10", lambda.abs() <= MAX_LAMBDA)?;
        }
        self.validate_bounds()
    }

    fn validate_season(&self) -> Result<(), ArgumentError> {
        let known = self.seasonal.is_none() || self.seasonality.is_some() || self.seasonal_periods.is_some();
        let needed = "a duration, or seasonal_periods given, in a model with a season";
        ARGUMENTS.require("seasonality", "not given", needed, known)?;
        let in_range = self.seasonal_periods.is_none_or(|periods| (2..=MAX_PERIODS).contains(&periods));
        ARGUMENTS.require("seasonal_periods", shown(self.seasonal_periods), "from 2 to 100000", in_range)
    }

    fn validate_smoothing(&self) -> Result<(), ArgumentError> {
        let (trend, season) = (self.trend.is_some(), self.seasonal.is_some());
        for (argument, value, allowed, absent) in [
            ("smoothing_level", self.smoothing_level, true, ""),
            ("smoothing_trend", self.smoothing_trend, trend, "absent without a trend"),
            ("smoothing_seasonal", self.smoothing_seasonal, season, "absent without a season"),
            ("damping_trend", self.damping_trend, self.damped_trend, "absent without damped_trend"),
        ] {
            ARGUMENTS.require(argument, shown(value), absent, allowed || value.is_none())?;
            let in_range = value.is_none_or(|value| (0.0..=1.0).contains(&value));
            ARGUMENTS.require(argument, shown(value), "from 0 to 1", in_range)?;
        }
        ARGUMENTS.require("damping_trend", "0", "above 0 and at most 1", self.damping_trend != Some(0.0))
    }

    fn validate_initialization(&self) -> Result<(), ArgumentError> {
        let Initialization::Known(states) = &self.initialization else { return Ok(()) };
        let multiplied = |composition| composition == Some(Composition::Multiplicative);
        let fits = |value: f64, positive: bool| value.is_finite() && (value > 0.0 || !positive);
        let positive_level = multiplied(self.trend) || multiplied(self.seasonal);
        let range = "finite, and above 0 in a multiplicative form";
        ARGUMENTS.require("initial_level", states.level, range, fits(states.level, positive_level))?;
        ARGUMENTS.require("initial_trend", states.trend, range, fits(states.trend, multiplied(self.trend)))?;
        let absent = self.trend.is_some() || states.trend == 0.0;
        ARGUMENTS.require("initial_trend", states.trend, "absent without a trend", absent)?;
        for season in &states.seasons {
            ARGUMENTS.require("initial_seasonal", season, range, fits(*season, multiplied(self.seasonal)))?;
        }
        let found = states.seasons.len();
        let whole = match (self.seasonal, self.seasonal_periods) {
            (None, _) => found == 0,
            (Some(_), None) => found >= 2,
            (Some(_), Some(periods)) => found == periods as usize,
        };
        let shown = format!("{found} values");
        ARGUMENTS.require("initial_seasonal", shown, "a value for each step of the season, none without one", whole)
    }

    fn validate_bounds(&self) -> Result<(), ArgumentError> {
        let Bounds { smoothing_level, smoothing_trend, smoothing_seasonal, damping_trend } = self.bounds;
        for (argument, (low, high)) in [
            ("bounds of smoothing_level", smoothing_level),
            ("bounds of smoothing_trend", smoothing_trend),
            ("bounds of smoothing_seasonal", smoothing_seasonal),
            ("bounds of damping_trend", damping_trend),
        ] {
            let within = low >= 0.0 && low < high && high <= 1.0;
            ARGUMENTS.require(
                argument,
                format!("({low}, {high})"),
                "from 0 to 1, the lower below the higher",
                within,
            )?;
        }
        let damping = damping_trend.0;
        ARGUMENTS.require("lowest damping_trend", damping, "above 0", damping > 0.0)?;
        let trend = smoothing_trend.0;
        let range = "at most the highest smoothing_level";
        ARGUMENTS.require("lowest smoothing_trend", trend, range, trend <= smoothing_level.1)?;
        let season = smoothing_seasonal.0;
        let range = "at most 1 less the lowest smoothing_level";
        ARGUMENTS.require("lowest smoothing_seasonal", season, range, season <= 1.0 - smoothing_level.0)
    }

    /// Two seasons, by steps or by time; two steps without one.
    pub(crate) fn needed_history(&self) -> NeededHistory {
        match (self.seasonal, self.seasonal_periods, self.seasonality) {
            (None, ..) => NeededHistory { samples: 2, span: 0 },
            (Some(_), Some(periods), _) => NeededHistory { samples: 2 * u64::from(periods), span: 0 },
            (Some(_), None, seasonality) => {
                NeededHistory { samples: 2, span: seasonality.unwrap_or(0).saturating_mul(2) }
            }
        }
    }

    /// The same for the level alone.
    pub(super) fn of_level(&self) -> Self {
        Self {
            trend: None,
            damped_trend: false,
            smoothing_trend: None,
            damping_trend: None,
            seasonal: None,
            smoothing_seasonal: None,
            seasonal_periods: None,
            initialization: Initialization::Estimated,
            ..self.clone()
        }
    }

    /// The arguments that act on fitting; see [`crate::spec::ModelSpec::learning_signature`].
    pub(crate) fn learning_signature(&self) -> String {
        // All are named, so that a new argument is not forgotten here.
        let Self {
            frequency,
            seasonality,
            z_threshold: _,
            trend,
            damped_trend,
            seasonal,
            seasonal_periods,
            initialization,
            smoothing_level,
            smoothing_trend,
            smoothing_seasonal,
            damping_trend,
            bounds,
            box_cox,
        } = self;
        let box_cox = box_cox.map(|box_cox| format!(" box_cox={box_cox:?}")).unwrap_or_default();
        format!(
            "frequency={frequency:?} seasonality={seasonality:?} trend={trend:?} damped_trend={damped_trend} \
             seasonal={seasonal:?} seasonal_periods={seasonal_periods:?} initialization={initialization:?} \
             smoothing_level={smoothing_level:?} smoothing_trend={smoothing_trend:?} \
             smoothing_seasonal={smoothing_seasonal:?} damping_trend={damping_trend:?} bounds={bounds:?}{box_cox}"
        )
    }
}

fn shown(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "not given".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_arguments_that_act_on_fitting_change_the_signature() {
        let args = HoltWintersArgs::default();
        let signature = args.learning_signature();
        assert_eq!(HoltWintersArgs { z_threshold: 3.0, ..args.clone() }.learning_signature(), signature);
        for other in [
            HoltWintersArgs { frequency: Some(1), ..args.clone() },
            HoltWintersArgs { initialization: Initialization::Heuristic, ..args.clone() },
            HoltWintersArgs { smoothing_level: Some(0.1), ..args.clone() },
            HoltWintersArgs { box_cox: Some(BoxCox::Estimated), ..args.clone() },
            HoltWintersArgs { bounds: Bounds { damping_trend: (0.5, 0.9), ..Bounds::default() }, ..args.clone() },
        ] {
            assert_ne!(other.learning_signature(), signature);
        }
    }
}
