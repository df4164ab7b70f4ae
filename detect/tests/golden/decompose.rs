//! `decompose`: `seasonal_decompose` (additive, one-sided) and `STL` of statsmodels.

#![expect(clippy::unwrap_used, reason = "a file of another form fails the test")]

use detect::decomposition::{StdArgs, StdModel, seasonal_decompose};
use detect::model::OnlineModel;
use serde_json::Value;

use crate::compare::{at, moments};
use crate::{Finding, Golden, numbers};

/// Of one standard deviation of the series, as all tolerances here.
const SEASONAL_DECOMPOSE: f64 = 1e-9;
const STL_PLAIN: f64 = 1e-6;
const STL_ROBUST: f64 = 1e-4;

pub fn check(golden: &Golden, file: &Value) -> Vec<Finding> {
    let mut values = golden.series(file["series"].as_str().unwrap()).fit_values;
    values.truncate(file["n"].as_u64().unwrap() as usize);
    let period = file["period"].as_u64().unwrap() as usize;
    let (_, spread) = moments(&values);
    match file["kind"].as_str() {
        Some("seasonal_decompose") => check_seasonal_decompose(file, &values, period, SEASONAL_DECOMPOSE * spread),
        Some("stl") => check_stl(file, &values, period, spread),
        kind => panic!("{kind:?} is no kind of decomposition"),
    }
}

fn check_seasonal_decompose(file: &Value, values: &[f64], period: usize, tolerance: f64) -> Vec<Finding> {
    let whole = seasonal_decompose(values, period).unwrap();
    let indices = numbers(&file["idx"]);
    let (seasonal, trend) = (numbers(&file["seasonal_cycle"]), numbers(&file["trend"]));
    let deviation = file["resid_nanstd_ddof0"].as_f64().unwrap();
    let (resid_mean, resid_deviation) = moments(&whole.resid);
    let mut findings = vec![
        Finding::of_numbers("trend", &at(&whole.trend, &indices), &trend, tolerance),
        Finding::of_numbers("seasonal", &whole.seasonal, &seasonal, tolerance),
        Finding::of_numbers("resid", &at(&whole.resid, &indices), &numbers(&file["resid"]), tolerance),
        Finding::of_number("mean of resid", resid_mean, file["resid_nanmean"].as_f64().unwrap(), tolerance),
        Finding::of_number("deviation of resid", resid_deviation, deviation, tolerance),
    ];
    let mut online = StdModel::new(StdArgs { period: period as u32, z_threshold: 1.0 }, &["trend", "seasonal"]);
    values.iter().for_each(|value| online.learn(0, *value));
    let interval = online.predict(0);
    findings.push(Finding::of_number("deviation online", interval.upper - interval.yhat, deviation, tolerance));
    let mut components = Vec::new();
    online.components(0, 0.0, &mut components);
    assert_eq!(indices.last(), Some(&(values.len() as f64 - 1.0)));
    let next = [trend[trend.len() - 1], seasonal[values.len() % period]];
    findings.push(Finding::of_numbers("trend and seasonal online", &components, &next, tolerance));
    findings
}

/// The crate that decompositions by LOESS are to be made with.
fn check_stl(file: &Value, values: &[f64], period: usize, spread: f64) -> Vec<Finding> {
    let robust = file["robust"].as_bool().unwrap();
    let tolerance = spread * if robust { STL_ROBUST } else { STL_PLAIN };
    let seasonal = file["defaults"]["seasonal"].as_u64().unwrap() as usize;
    let trend = (1.5 * period as f64 / (1.0 - 1.5 / seasonal as f64)).ceil() as usize;
    let result = stlrs::params()
        .seasonal_length(seasonal)
        .trend_length(trend | 1)
        .low_pass_length((period + 1) | 1)
        .seasonal_degree(1)
        .trend_degree(1)
        .low_pass_degree(1)
        .seasonal_jump(1)
        .trend_jump(1)
        .low_pass_jump(1)
        .inner_loops(if robust { 2 } else { 5 })
        .outer_loops(if robust { 15 } else { 0 })
        .robust(robust)
        .fit(values, period)
        .unwrap();
    let indices = numbers(&file["idx"]);
    let part =
        |what: &str, ours: &[f64]| Finding::of_numbers(what, &at(ours, &indices), &numbers(&file[what]), tolerance);
    vec![part("trend", result.trend()), part("seasonal", result.seasonal()), part("resid", result.remainder())]
}
