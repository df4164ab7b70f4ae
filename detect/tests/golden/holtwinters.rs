//! `holtwinters`: `ExponentialSmoothing` of statsmodels.

#![expect(clippy::unwrap_used, reason = "a file of another form fails the test")]

use detect::holt_winters::{Composition, Estimate, HoltWintersArgs, Initialization, estimate};
use serde_json::Value;

use crate::compare::{at, moments};
use crate::{Finding, Golden, numbers};

/// With the same parameters; of one standard deviation of the series, and of the sum of squared errors.
const GIVEN: f64 = 1e-9;
/// How much greater an estimate's sum of squared errors may be, of that of the reference.
const SQUARED_ERRORS: f64 = 0.002;
/// How far an estimate's forecasts may be, of one standard deviation of the residuals, if the reference has converged...
const FORECAST: f64 = 0.1;
/// ... which is to say that two of its own optimisers agree as well as this.
const AGREEMENT: f64 = 0.01;

pub fn check(golden: &Golden, file: &Value) -> Vec<Finding> {
    let values = match &file["y"] {
        Value::Null => golden.series(file["series"].as_str().unwrap()).fit_values,
        values => numbers(values),
    };
    let periods = file["seasonal_periods"].as_u64().unwrap() as usize;
    let composition = |part: &str| match file[part].as_str() {
        None => None,
        Some("add") => Some(Composition::Additive),
        Some("mul") => Some(Composition::Multiplicative),
        Some(other) => panic!("{other} is no composition"),
    };
    let args = HoltWintersArgs {
        trend: composition("trend"),
        seasonal: composition("seasonal"),
        damped_trend: file["damped"].as_bool().unwrap(),
        ..HoltWintersArgs::default()
    };
    let mut findings = check_given(file, &args, periods, &values);
    findings.extend(check_estimated(file, &args, periods, &values));
    findings
}

/// Forecasts of the steps after the values, as statsmodels has them: the phase of the last value is forecast with the season before
/// that value.
fn forecasts(args: &HoltWintersArgs, values: &[f64], estimate: &Estimate, steps: usize) -> Vec<f64> {
    let (_, but_last) = values.split_last().unwrap();
    let before = self::estimate(&with(args, estimate), estimate.form.periods, but_last).unwrap();
    let mut states = estimate.last.clone();
    *states.seasons.last_mut().unwrap() = before.last.seasons[0];
    (1..=steps as i64).map(|step| states.forecast(estimate.form, estimate.smoothing.damping, step)).collect()
}

/// Arguments that give what an estimate has found.
fn with(args: &HoltWintersArgs, estimate: &Estimate) -> HoltWintersArgs {
    let smoothing = estimate.smoothing;
    HoltWintersArgs {
        initialization: Initialization::Known(estimate.initial.clone()),
        smoothing_level: Some(smoothing.level),
        smoothing_trend: args.trend.map(|_| smoothing.trend),
        smoothing_seasonal: args.seasonal.map(|_| smoothing.season),
        damping_trend: args.damped_trend.then_some(smoothing.damping),
        ..args.clone()
    }
}

fn check_given(file: &Value, args: &HoltWintersArgs, periods: usize, values: &[f64]) -> Vec<Finding> {
    let (fixed, initial) = (&file["fixed"], &file["init_heuristic"]);
    let parameter = |name: &str| fixed["params"][name].as_f64();
    let args = HoltWintersArgs {
        initialization: Initialization::Heuristic,
        smoothing_level: parameter("smoothing_level"),
        smoothing_trend: parameter("smoothing_trend"),
        smoothing_seasonal: parameter("smoothing_seasonal"),
        damping_trend: parameter("damping_trend"),
        ..args.clone()
    };
    let ours = estimate(&args, periods, values).unwrap();
    let tolerance = GIVEN * moments(values).1;
    let relative = if args.seasonal == Some(Composition::Multiplicative) { GIVEN } else { tolerance };
    let sum = fixed["sse"].as_f64().unwrap();
    let (fitted, forecast) = (numbers(&fixed["fitted"]), numbers(&fixed["forecast"]));
    vec![
        Finding::of_number("initial level", ours.initial.level, initial["level"].as_f64().unwrap(), tolerance),
        Finding::of_number("initial trend", ours.initial.trend, initial["trend"].as_f64().unwrap_or(0.0), tolerance),
        Finding::of_numbers("initial seasons", &ours.initial.seasons, &numbers(&initial["seasonal"]), relative),
        Finding::of_number("given: squared errors", ours.squared_errors, sum, GIVEN * sum),
        Finding::of_numbers("given: fitted", &at(&ours.fitted, &numbers(&fixed["idx"])), &fitted, tolerance),
        Finding::of_numbers("given: forecasts", &forecasts(&args, values, &ours, forecast.len()), &forecast, tolerance),
    ]
}

fn check_estimated(file: &Value, args: &HoltWintersArgs, periods: usize, values: &[f64]) -> Vec<Finding> {
    let reference = &file["estimated"];
    let ours = estimate(args, periods, values).unwrap();
    let ratio = ours.squared_errors / reference["sse"].as_f64().unwrap();
    let mut findings = vec![Finding {
        what: format!("estimated: squared errors, {ratio:.6} times as great"),
        deviation: if ratio < 1.0 { 0.0 } else { ratio - 1.0 },
        tolerance: SQUARED_ERRORS,
    }];
    let agreement = file["self_disagreement"]["slsqp_forecast_max_rel_to_std"].as_f64().unwrap_or(f64::INFINITY);
    if reference["success"].as_bool().unwrap() && agreement < AGREEMENT {
        let forecast = numbers(&reference["forecast"]);
        let tolerance = FORECAST * reference["resid_std"].as_f64().unwrap();
        let ours = forecasts(args, values, &ours, forecast.len());
        findings.push(Finding::of_numbers("estimated: forecasts", &ours, &forecast, tolerance));
    }
    findings
}
