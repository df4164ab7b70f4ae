//! The states that the recursions start from, before any estimation.

use super::args::{HoltWintersArgs, Initialization};
use super::recursion::{Composition, Form, States};
use crate::offline::FitError;

/// Values that the line through the first seasonally adjusted ones is laid through.
const LINE: usize = 10;

/// What [`heuristic`] needs.
const fn least_for_heuristic(periods: usize) -> usize {
    LINE + 2 * (periods / 2)
}

fn require_steps(needed: usize, found: usize) -> Result<(), FitError> {
    if found < needed { Err(FitError::TooFewSteps { needed, found }) } else { Ok(()) }
}

/// How many steps it takes to fit a season of so many.
pub(super) fn least_steps(args: &HoltWintersArgs, periods: usize) -> u64 {
    let least = match args.initialization {
        Initialization::Estimated | Initialization::LegacyHeuristic => 2 * periods,
        Initialization::Heuristic => least_for_heuristic(periods).max(2 * periods),
        Initialization::Known(_) => 0,
    };
    least.max(2) as u64
}

/// What `initialization_method="estimated"` starts from: the heuristic, or the simple values where there are too few for it.
pub(super) fn start(form: Form, values: &[f64]) -> Result<States, FitError> {
    require_steps((2 * form.periods).max(2), values.len())?;
    if values.len() < least_for_heuristic(form.periods) { Ok(simple(form, values)) } else { heuristic(form, values) }
}

/// Section 2.6 of Hyndman et al., "Forecasting with Exponential Smoothing" (2008), as statsmodels has it: the seasons are the mean
/// distances (ratios) from a centred moving average over at most five seasons; level and trend are the line through the first ten
/// values of this average at the places 1 to 10.
pub(super) fn heuristic(form: Form, values: &[f64]) -> Result<States, FitError> {
    let periods = form.periods;
    require_steps(least_for_heuristic(periods).max(2 * periods), values.len())?;
    let Some(season) = form.season else {
        let (level, slope) = line(values);
        return Ok(States { level, trend: initial_trend(form.trend, level, slope), seasons: Vec::new() });
    };
    let cycles = (values.len() / periods).min(5).max(least_for_heuristic(periods).div_ceil(periods));
    let values = &values[..values.len().min(cycles * periods)];
    let averages = centred_averages(values, periods);
    let first = periods / 2;
    let mut seasons = vec![0.0; periods];
    let mut counts = vec![0.0; periods];
    for (index, (value, average)) in values[first..].iter().zip(&averages).enumerate() {
        let phase = (first + index) % periods;
        counts[phase] += 1.0;
        seasons[phase] += match season {
            Composition::Additive => value - average,
            Composition::Multiplicative => value / average,
        };
    }
    seasons.iter_mut().zip(&counts).for_each(|(season, count)| *season /= count);
    let mean = seasons.iter().sum::<f64>() / periods as f64;
    for seasonal in &mut seasons {
        match season {
            Composition::Additive => *seasonal -= mean,
            Composition::Multiplicative => *seasonal /= mean,
        }
    }
    let (level, slope) = line(&averages);
    Ok(States { level, trend: initial_trend(form.trend, level, slope), seasons })
}

fn initial_trend(trend: Option<Composition>, level: f64, slope: f64) -> f64 {
    match trend {
        None => 0.0,
        Some(Composition::Additive) => slope,
        Some(Composition::Multiplicative) => 1.0 + slope / level,
    }
}

/// The averages over a season around each value that has half a season on both sides; of an even number of steps, the first and
/// the last of one more count half.
fn centred_averages(values: &[f64], periods: usize) -> Vec<f64> {
    let means: Vec<f64> = values.windows(periods).map(|window| window.iter().sum::<f64>() / periods as f64).collect();
    if periods.is_multiple_of(2) { means.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0).collect() } else { means }
}

/// Intercept and slope of the least-squares line through the first ten values at the places 1 to 10.
fn line(values: &[f64]) -> (f64, f64) {
    let centre = (LINE + 1) as f64 / 2.0;
    let (mut mean, mut slope) = (0.0, 0.0);
    for (index, value) in values.iter().take(LINE).enumerate() {
        mean += value / LINE as f64;
        slope += ((index + 1) as f64 - centre) * value;
    }
    slope /= (LINE * (LINE * LINE - 1)) as f64 / 12.0;
    (mean - slope * centre, slope)
}

/// Section 7.6 of Hyndman and Athanasopoulos, "Forecasting: principles and practice", as statsmodels has it: the first season, its mean,
/// and the mean change to the second.
fn simple(form: Form, values: &[f64]) -> States {
    let periods = form.periods;
    let Some(season) = form.season else {
        let trend = match form.trend {
            None => 0.0,
            Some(Composition::Additive) => values[1] - values[0],
            Some(Composition::Multiplicative) => values[1] / values[0],
        };
        return States { level: values[0], trend, seasons: Vec::new() };
    };
    let (first, second) = (&values[..periods], &values[periods..2 * periods]);
    let level = mean(first);
    let trend = initial_trend(form.trend, level, mean_change(first, second));
    States { level, trend, seasons: seasons_around(season, level, first) }
}

/// The initial values of statsmodels up to 0.11: the level is the mean of every season's first value, the trend the mean change (or
/// growth) from the first season to the second, the seasons are those of the first season.
pub(super) fn legacy(form: Form, values: &[f64]) -> Result<States, FitError> {
    require_steps((2 * form.periods).max(2), values.len())?;
    let periods = form.periods;
    let Some(season) = form.season else { return Ok(simple(form, values)) };
    let (first, second) = (&values[..periods], &values[periods..2 * periods]);
    let starts: Vec<f64> = values.iter().copied().step_by(periods).collect();
    let level = mean(&starts);
    let trend = match form.trend {
        None => 0.0,
        Some(Composition::Additive) => mean_change(first, second),
        Some(Composition::Multiplicative) => {
            libm::exp((libm::log(mean(second)) - libm::log(mean(first))) / periods as f64)
        }
    };
    Ok(States { level, trend, seasons: seasons_around(season, level, first) })
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The mean change a step from one season to the next.
fn mean_change(first: &[f64], second: &[f64]) -> f64 {
    let periods = first.len() as f64;
    first.iter().zip(second).map(|(first, second)| (second - first) / periods).sum::<f64>() / periods
}

fn seasons_around(season: Composition, level: f64, values: &[f64]) -> Vec<f64> {
    let relative = |value: &f64| match season {
        Composition::Additive => value - level,
        Composition::Multiplicative => value / level,
    };
    values.iter().map(relative).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEASONS: [f64; 8] = [10.0, 12.0, 8.0, 6.0, 14.0, 16.0, 12.0, 10.0];

    fn form(trend: Option<Composition>, season: Option<Composition>) -> Form {
        Form { trend, season, periods: if season.is_some() { 4 } else { 0 } }
    }

    #[test]
    fn windows_too_short_for_the_heuristic_start_from_their_first_two_seasons() {
        let additive = start(form(Some(Composition::Additive), Some(Composition::Additive)), &SEASONS).unwrap();
        assert_eq!(additive, States { level: 9.0, trend: 1.0, seasons: vec![1.0, 3.0, -1.0, -3.0] });
        let line = start(form(Some(Composition::Multiplicative), None), &[4.0, 6.0, 1.0]).unwrap();
        assert_eq!(line, States { level: 4.0, trend: 1.5, seasons: vec![] });
    }

    #[test]
    fn the_legacy_level_is_the_mean_of_the_first_values_of_the_seasons() {
        let states =
            legacy(form(Some(Composition::Multiplicative), Some(Composition::Multiplicative)), &SEASONS).unwrap();
        assert_eq!((states.level, &states.seasons[..2]), (12.0, &[10.0 / 12.0, 1.0][..]));
        assert!((states.trend - libm::pow(13.0 / 9.0, 0.25)).abs() < 1e-15);
    }

    #[test]
    fn a_line_with_a_season_is_found_as_it_is() {
        let pattern = [5.0, -5.0, 2.0, -2.0];
        let values: Vec<f64> = (0..24).map(|step| 100.0 + 3.0 * step as f64 + pattern[step % 4]).collect();
        let states = heuristic(form(Some(Composition::Additive), Some(Composition::Additive)), &values).unwrap();
        // The first average is that around the third value.
        assert!((states.level - 103.0).abs() < 1e-9 && (states.trend - 3.0).abs() < 1e-9);
        assert!(states.seasons.iter().zip(pattern).all(|(found, true_season)| (found - true_season).abs() < 1e-9));
    }

    #[test]
    fn less_than_two_seasons_are_refused() {
        let error = start(form(None, Some(Composition::Additive)), &SEASONS[..7]).unwrap_err();
        assert_eq!(error.to_string(), "the fit needs 8 steps, the window has 7");
        assert!(heuristic(form(None, Some(Composition::Additive)), &SEASONS).is_err());
        assert!(legacy(form(None, Some(Composition::Additive)), &SEASONS[..7]).is_err());
    }
}
