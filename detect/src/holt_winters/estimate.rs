//! From a window's values to parameters and states.

use super::args::{HoltWintersArgs, Initialization, MAX_PERIODS};
use super::box_cox::{inverse, transformed};
use super::initial;
use super::recursion::{Composition, Form, Smoothing, States, run};
use super::search::search;
use crate::offline::FitError;
use crate::score::{at_least, at_most};

/// What the parameters are estimated to, and what the recursions give with them. With a Box-Cox transform, parameters and states are
/// those of the transforms.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// Which components there are.
    pub form: Form,
    /// The smoothing parameters.
    pub smoothing: Smoothing,
    /// The states before the first value.
    pub initial: States,
    /// The states after the last value.
    pub last: States,
    /// What was expected of each value before it was known.
    pub fitted: Vec<f64>,
    /// Sum of the squared differences of the values from it, infinite if it overflows. With a Box-Cox transform that of the
    /// transforms is the least one, and not this.
    pub squared_errors: f64,
    /// `lambda` of the Box-Cox transform, if there is one.
    pub lambda: Option<f64>,
}

/// Fits the model to values that are one step apart. The durations of `args` do not matter: a season has `periods` steps.
///
/// # Errors
/// If there are too few values, one of them is not finite, or not above 0 in a multiplicative form or for a transform, or the initial states that are given
/// are not those of such a season, or the recursions leave the range of numbers.
pub fn estimate(args: &HoltWintersArgs, periods: usize, values: &[f64]) -> Result<Estimate, FitError> {
    let Some(box_cox) = args.box_cox else { return estimate_as_they_are(args, periods, values) };
    let lambda = box_cox.lambda(values)?;
    let transforms: Vec<f64> = values.iter().map(|value| transformed(*value, lambda)).collect();
    let estimate = estimate_as_they_are(args, periods, &transforms)?;
    let fitted: Vec<f64> = estimate.fitted.iter().map(|fitted| inverse(*fitted, lambda)).collect();
    let squared_errors = fitted.iter().zip(values).map(|(fitted, value)| (fitted - value) * (fitted - value)).sum();
    Ok(Estimate { fitted, squared_errors, lambda: Some(lambda), ..estimate })
}

fn estimate_as_they_are(args: &HoltWintersArgs, periods: usize, values: &[f64]) -> Result<Estimate, FitError> {
    let periods = if args.seasonal.is_some() { periods } else { 0 };
    let form = Form { trend: args.trend, season: args.seasonal, periods };
    if args.seasonal.is_some() && !(2..=MAX_PERIODS as usize).contains(&periods) {
        return Err(FitError::Failed { what: "a season has not from 2 to 100000 steps" });
    }
    if values.iter().any(|value| !value.is_finite()) {
        return Err(FitError::Failed { what: "a value is not finite" });
    }
    if form.is_multiplicative() && values.iter().any(|value| *value <= 0.0) {
        return Err(FitError::Failed { what: "a multiplicative trend or season needs values above 0" });
    }
    if values.len() < 2 {
        return Err(FitError::TooFewSteps { needed: 2, found: values.len() });
    }
    let unit = Unit::of(form, values);
    let scaled: Vec<f64> = values.iter().map(|value| unit.scaled(*value)).collect();
    let start = match &args.initialization {
        Initialization::Estimated => initial::start(form, &scaled)?,
        Initialization::Heuristic => initial::heuristic(form, &scaled)?,
        Initialization::LegacyHeuristic => initial::legacy(form, &scaled)?,
        Initialization::Known(states) if states.seasons.len() == periods => unit.scaled_states(form, states),
        Initialization::Known(_) => {
            return Err(FitError::Failed { what: "initial_seasonal has not a value for each step of the season" });
        }
    };
    let out_of_range = FitError::Failed { what: "the recursions leave the range of numbers" };
    let (smoothing, initial) = search(args, form, start, &scaled).ok_or(out_of_range.clone())?;
    let (fitted, last) = run(form, smoothing, &initial, &scaled);
    let is_finite =
        |states: &States| [states.level, states.trend].iter().chain(&states.seasons).all(|state| state.is_finite());
    let shrinks_below_zero = form.trend == Some(Composition::Multiplicative) && last.trend < 0.0;
    if shrinks_below_zero
        || !is_finite(&last)
        || !is_finite(&initial)
        || fitted.iter().any(|fitted| !fitted.is_finite())
    {
        return Err(out_of_range);
    }
    let sum: f64 = fitted.iter().zip(&scaled).map(|(fitted, value)| (fitted - value) * (fitted - value)).sum();
    Ok(Estimate {
        form,
        smoothing,
        initial: unit.states(form, initial),
        last: unit.states(form, last),
        fitted: fitted.into_iter().map(|fitted| unit.value(fitted)).collect(),
        squared_errors: sum * unit.size * unit.size,
        lambda: None,
    })
}

/// Values are worked with as distances from `centre` in units of `size`, so that none of what is computed of them overflows.
/// Additive models do not change by this; of multiplicative ones `centre` is 0.
#[derive(Debug, Clone, Copy)]
struct Unit {
    centre: f64,
    size: f64,
}

impl Unit {
    fn of(form: Form, values: &[f64]) -> Self {
        let share = 1.0 / values.len() as f64;
        let centre = if form.is_multiplicative() { 0.0 } else { values.iter().map(|value| value * share).sum() };
        // Of halves, because a distance can be twice the greatest number.
        let half = values.iter().fold(0.0, |half: f64, value| half.max((0.5 * value - 0.5 * centre).abs()));
        let size = at_most(2.0 * half, f64::MAX);
        Self { centre, size: if size > 0.0 { size } else { 1.0 } }
    }

    fn scaled(self, value: f64) -> f64 {
        (0.5 * value - 0.5 * self.centre) / (0.5 * self.size)
    }

    fn value(self, scaled: f64) -> f64 {
        saturated(self.centre + saturated(scaled * self.size))
    }

    fn scaled_states(self, form: Form, states: &States) -> States {
        let by_size = |state: &f64| state / self.size;
        States {
            level: self.scaled(states.level),
            trend: if form.trend == Some(Composition::Additive) { by_size(&states.trend) } else { states.trend },
            seasons: match form.season {
                Some(Composition::Additive) => states.seasons.iter().map(by_size).collect(),
                _ => states.seasons.clone(),
            },
        }
    }

    fn states(self, form: Form, scaled: States) -> States {
        let size = |state: f64| saturated(state * self.size);
        let States { level, trend, mut seasons } = scaled;
        if form.season == Some(Composition::Additive) {
            seasons.iter_mut().for_each(|season| *season = size(*season));
        }
        let trend = if form.trend == Some(Composition::Additive) { size(trend) } else { trend };
        States { level: self.value(level), trend, seasons }
    }
}

fn saturated(value: f64) -> f64 {
    at_most(at_least(value, -f64::MAX), f64::MAX)
}
