//! Fits against Prophet's, and predictions from Prophet's own parameters.
#![expect(clippy::unwrap_used, reason = "a file of another form fails the test")]

use detect::offline::{OfflineModel, Window};
use detect::prophet::{BuiltIn, Cycle, Fit, Growth, Mode, Prophet, ProphetArgs, Scaling, Seasonality, TzSeasonality};
use serde_json::Value;

use crate::{Finding, Golden, Series, median, numbers};

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

fn args(reference: &Value) -> ProphetArgs {
    let given = &reference["args"];
    let mut args = ProphetArgs::default();
    for (name, value) in given["init"].as_object().unwrap() {
        let built_in = || match (value.as_bool(), value.as_u64()) {
            (Some(is_on), _) => {
                if is_on {
                    BuiltIn::On
                } else {
                    BuiltIn::Off
                }
            }
            (_, Some(order)) => BuiltIn::Order(order as u16),
            _ => BuiltIn::Auto,
        };
        match name.as_str() {
            "growth" if value == "flat" => args.growth = Growth::Flat,
            "growth" if value == "logistic" => {
                args.growth = Growth::Logistic { cap: number(&given["_cap"]), floor: number(&given["_floor"]) };
            }
            "scaling" if value == "minmax" => args.scaling = Scaling::MinMax,
            "seasonality_mode" if value == "multiplicative" => args.seasonality_mode = Mode::Multiplicative,
            "interval_width" => args.interval_width = number(value),
            "changepoint_prior_scale" => args.changepoint_prior_scale = number(value),
            "changepoint_range" => args.changepoint_range = number(value),
            "n_changepoints" => args.n_changepoints = value.as_u64().unwrap() as usize,
            "yearly_seasonality" => args.yearly_seasonality = built_in(),
            "weekly_seasonality" => args.weekly_seasonality = built_in(),
            "daily_seasonality" => args.daily_seasonality = built_in(),
            other => panic!("unknown argument {other}"),
        }
    }
    for seasonality in given["seasonalities"].as_array().into_iter().flatten() {
        args.seasonalities.push(Seasonality {
            name: seasonality["name"].as_str().unwrap().to_owned(),
            period: number(&seasonality["period"]),
            fourier_order: seasonality["fourier_order"].as_u64().unwrap() as u16,
            prior_scale: seasonality["prior_scale"].as_f64(),
            mode: None,
        });
    }
    if given["regressors"].is_array() {
        // The sine and cosine of the hour: what a cyclical encoding gives in a zone without an offset.
        args.tz_aware = true;
        args.tz_use_cyclical_encoding = true;
        let cycle = Cycle::HourOfDay;
        args.tz_seasonalities = vec![TzSeasonality { cycle, fourier_order: None, prior_scale: Some(10.0), mode: None }];
    }
    args.country_holidays = given["country"].as_str().map(str::to_owned);
    args.validate().unwrap();
    args
}

/// The greatest deviation from a list, in units of `scale`.
fn deviation(expected: &[f64], actual: impl Iterator<Item = f64>, scale: f64) -> f64 {
    let mut worst = 0.0;
    for (expected, actual) in expected.iter().zip(actual) {
        let distance = (expected - actual).abs() / scale;
        if distance.is_nan() || distance > worst {
            worst = distance;
        }
    }
    worst
}

/// As a fraction of the reference.
fn relative(expected: &Value, actual: f64) -> f64 {
    let expected = number(expected);
    (actual - expected).abs() / expected.abs().max(f64::MIN_POSITIVE)
}

fn same(what: &str, holds: bool) -> Finding {
    Finding::new(what, f64::from(u8::from(!holds)), 0.0)
}

/// The logarithm of the posterior without its constants, as Stan reports it.
fn log_posterior(fit: &Fit, args: &ProphetArgs, series: &Series) -> f64 {
    let samples = series.fit_times.iter().zip(&series.fit_values);
    let error: f64 = samples
        .map(|(time, value)| (value - fit.terms(args, *time).yhat()) / fit.y_scale)
        .map(|residual| residual * residual)
        .sum();
    let bends: f64 = fit.delta.iter().map(|bend| bend.abs()).sum();
    let effects: f64 =
        fit.beta.iter().zip(fit.prior_scales()).map(|(beta, scale)| (beta / scale) * (beta / scale)).sum();
    let variance = fit.sigma * fit.sigma;
    -(series.fit_times.len() as f64 * libm::log(fit.sigma)
        + error / (2.0 * variance)
        + 2.0 * variance
        + (fit.k * fit.k + fit.m * fit.m) / 50.0
        + bends / args.changepoint_prior_scale
        + effects / 2.0)
}

fn check_layout(fit: &Fit, reference: &Value) -> Vec<Finding> {
    let columns: Vec<&str> = reference["columns"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let has_none = columns == ["zeros"] && fit.columns().is_empty();
    let changepoints = numbers(&reference["changepoints_t"]);
    let prior_scales = numbers(&reference["prior_scales"]);
    vec![
        same("start", fit.start as f64 == number(&reference["start"]) * 1e3),
        Finding::new("t_scale", relative(&reference["t_scale_s"], fit.span as f64 / 1e3), 1e-12),
        Finding::new("y_scale", relative(&reference["y_scale"], fit.y_scale), 1e-12),
        same("columns", has_none || columns == fit.columns()),
        same("number of changepoints", changepoints.len() == fit.changepoints.len()),
        Finding::new("changepoints", deviation(&changepoints, fit.changepoints.iter().copied(), 1.0), 1e-12),
        same("prior_scales", has_none || prior_scales == fit.prior_scales()),
    ]
}

/// What the fit's layout gives with the parameters of the reference.
fn check_predictions(fit: &Fit, args: &ProphetArgs, reference: &Value, times: &[i64]) -> Vec<Finding> {
    let parameters = &reference["params"];
    let mut fit = fit.clone();
    (fit.k, fit.m) = (number(&parameters["k"]), number(&parameters["m"]));
    fit.delta = numbers(&parameters["delta"]);
    if !fit.beta.is_empty() {
        fit.beta = numbers(&parameters["beta"]);
    }
    let rows = &reference["rows"];
    let scale = fit.y_scale;
    let terms: Vec<_> = times.iter().map(|time| fit.terms(args, *time)).collect();
    let list = |name: &str| if rows[name].is_array() { numbers(&rows[name]) } else { vec![0.0; times.len()] };
    let mut findings = vec![
        Finding::new("yhat of its parameters", deviation(&list("yhat"), terms.iter().map(|t| t.yhat()), scale), 1e-8),
        Finding::new("trend of its parameters", deviation(&list("trend"), terms.iter().map(|t| t.trend), scale), 1e-8),
        Finding::new(
            "additive terms of its parameters",
            deviation(&list("additive_terms"), terms.iter().map(|t| t.additive), scale),
            1e-8,
        ),
        Finding::new(
            "multiplicative terms of its parameters",
            deviation(&list("multiplicative_terms"), terms.iter().map(|t| t.multiplicative), 1.0),
            1e-8,
        ),
    ];
    let future = &times[rows["is_fit_first_n"].as_u64().unwrap() as usize..];
    for (name, values) in rows["components"].as_object().unwrap() {
        let values = numbers(values);
        let unit = if args.seasonality_mode == Mode::Additive { scale } else { 1.0 };
        // The reference has eight digits of them.
        let rounding = |value: f64| 0.5e-7 * value.abs();
        let own = future.iter().zip(&values).map(|(time, value)| {
            let own = fit.component(args, name, *time).unwrap_or(f64::NAN);
            if (own - value).abs() <= rounding(*value) { *value } else { own }
        });
        findings.push(Finding::new(&format!("{name} of its parameters"), deviation(&values, own, unit), 1e-8));
    }
    findings
}

fn check_fit(fit: &Fit, args: &ProphetArgs, reference: &Value, series: &Series, times: &[i64]) -> Vec<Finding> {
    let rows = &reference["rows"];
    let expected = numbers(&rows["yhat"]);
    let first = rows["is_fit_first_n"].as_u64().unwrap() as usize;
    let distance = |range: std::ops::Range<usize>| {
        let own = times[range.clone()].iter().map(|time| fit.terms(args, *time).yhat());
        deviation(&expected[range], own, fit.y_scale)
    };
    let (inside, after) = (distance(0..first), distance(first..times.len()));
    let Some(golden) = reference["lp"].as_f64() else {
        return vec![Finding::new("constant yhat", inside.max(after), 0.0), same("constant sigma", fit.sigma == 1e-9)];
    };
    let own = log_posterior(fit, args, series);
    let sigma = relative(&reference["params"]["sigma_obs"], fit.sigma);
    let loss = (golden - own).max(0.0);
    if args.growth == Growth::Flat {
        return vec![
            Finding::new("yhat of the flat fit", inside.max(after), 1e-6),
            Finding::new("sigma of the flat fit", sigma, 1e-6),
            Finding::new("lp", loss, 1.0),
        ];
    }
    let is_loose = args.scaling == Scaling::MinMax || args.n_changepoints > 25;
    let tight = &reference["self_disagreement"]["tight_vs_default"];
    let tolerance = |usual: f64, exact: &Value| {
        usual * if is_loose { 2.0 } else { 1.0 } + if own >= golden { number(exact) } else { 0.0 }
    };
    let series = reference["series"].as_str().unwrap_or_default();
    vec![
        Finding::new("yhat in the history", inside, tolerance(5e-3, &tight["max_fit"])),
        Finding::new("yhat after the history", after, tolerance(1.5e-2, &tight["max_infer"])),
        Finding::new("lp", loss, if series == "machine_temp" { 8.0 } else { 1.0 }),
        Finding::new("sigma", sigma, 5e-3),
    ]
}

/// Half widths of groups of rows, because those of a row are known to a few percent only.
fn check_intervals(fit: &Fit, args: &ProphetArgs, reference: &Value, times: &[i64]) -> Vec<Finding> {
    let rows = &reference["rows"];
    let (lower, upper) = (numbers(&rows["yhat_lower_mean10"]), numbers(&rows["yhat_upper_mean10"]));
    let first = rows["is_fit_first_n"].as_u64().unwrap() as usize;
    let step = (times[times.len() - 1] - times[first]) / (times.len() - first - 1) as i64;
    let ratio = |range: std::ops::Range<usize>| {
        let count = range.len() as f64;
        let ratios = range.map(|row| {
            let ahead = if row < first { 0 } else { (row - first + 1) as i64 * step };
            let interval = fit.forecast(args, times[row], ahead, args.interval_width);
            (interval.upper - interval.lower) / (upper[row] - lower[row])
        });
        (ratios.sum::<f64>() / count - 1.0).abs()
    };
    let near = (first + 32).min(times.len());
    let mut findings = vec![
        Finding::new("half width in the history", ratio(0..first), 0.025),
        Finding::new("half width in the first rows after", ratio(first..near), 0.03),
    ];
    for start in (near..times.len()).step_by(32) {
        let end = (start + 32).min(times.len());
        findings.push(Finding::new(&format!("half width from row {start} on"), ratio(start..end), 0.07));
    }
    findings
}

pub fn check(golden: &Golden, reference: &Value) -> Vec<Finding> {
    let series = golden.series(reference["series"].as_str().unwrap());
    let args = args(reference);
    let mut model = Prophet::new(args.clone(), &[]);
    model.fit(Window { times: &series.fit_times, values: &series.fit_values }).unwrap();
    let fit = model.fitted().unwrap();
    let times: Vec<i64> = numbers(&reference["rows"]["t"]).iter().map(|second| (second * 1e3) as i64).collect();
    let mut findings = check_layout(fit, reference);
    findings.extend(check_predictions(fit, &args, reference, &times));
    findings.extend(check_fit(fit, &args, reference, &series, &times));
    if reference["lp"].is_number() {
        findings.extend(check_intervals(fit, &args, reference, &times));
    }
    findings
}

/// The medians of what each file is off, over all files; those of a few files say nothing.
pub fn check_all(files: &[Vec<Finding>]) -> Vec<Finding> {
    const ENOUGH: usize = 10;
    let of = |what: &str| {
        let same_kind = files.iter().flatten().filter(|finding| finding.what == what);
        same_kind.map(|finding| finding.deviation).collect::<Vec<_>>()
    };
    let medians = [("yhat in the history", 1e-3), ("yhat after the history", 1.5e-3)];
    let (few, enough): (Vec<_>, Vec<_>) = medians.into_iter().partition(|(what, _)| of(what).len() < ENOUGH);
    let compared = enough.into_iter().map(|(what, tolerance)| Finding::new(what, median(of(what)), tolerance));
    compared.chain(few.into_iter().map(|(what, _)| Finding::new(what, 0.0, 0.0))).collect()
}
