//! `calibrated_multivariate` against its reference, in `f64` exactly, and as it is stored nearly so.

#![expect(clippy::unwrap_used, reason = "a reference of another form fails the test")]

use detect::calendar::Zone;
use detect::calibrated::Stored;
use detect::calibrated::multivariate::{CalibratedMultivariate, CalibratedMultivariateArgs};
use detect::score::ScorePolicy;
use serde_json::Value;

use crate::calibrated::{uniform, values};
use crate::{Finding, numbers};

/// Relative deviation of what is exact, and of what is kept as `f32`.
const EXACT: f64 = 1e-9;
const STORED: f64 = 1e-4;

pub fn check(_: &crate::Golden, reference: &Value) -> Vec<Finding> {
    let number = |key: &str| reference[key].as_i64().unwrap();
    let zone = Zone::named(reference["zone"].as_str().unwrap()).unwrap();
    let step = 1000 * number("step");
    let times: Vec<i64> = (0..number("count")).map(|index| 1000 * number("start") + index * step).collect();
    let channels = reference["channels"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
    let channels: Vec<Vec<f64>> =
        channels.zip(1..).map(|(name, channel)| of_channel(name, &zone, &times, channel)).collect();
    let rows: Vec<usize> = numbers(&reference["idx"]).into_iter().map(|index| index as usize).collect();
    let all = channels.iter().flat_map(|channel| rows.iter().map(|row| channel[*row]));
    let sum: f64 = all.filter(|value| !value.is_nan()).sum();
    let mut findings =
        vec![Finding::of_number("sum of values", sum, reference["values_sum"].as_f64().unwrap(), 1e-9 * sum.abs())];
    let args = CalibratedMultivariateArgs::new(step);
    let exact = infer::<f64>(args, &zone, &times, &channels);
    let stored = infer::<f32>(args, &zone, &times, &channels);
    let mut compare = |what: &str, own: &dyn Fn(usize) -> f64, reference: &[f64], tolerance: f64| {
        let mut finding = Finding::new(what, 0.0, tolerance);
        for (row, reference) in rows.iter().zip(reference) {
            let deviation = match (own(*row), *reference) {
                // What counts for nothing is 0 here, and nothing there.
                (own, reference) if reference.is_nan() => {
                    if own.is_nan() {
                        0.0
                    } else {
                        own
                    }
                }
                (own, reference) => (own - reference).abs() / reference.max(1.0),
            };
            finding.deviation = if deviation.is_nan() { deviation } else { finding.deviation.max(deviation) };
        }
        findings.push(finding);
    };
    let scores = numbers(&reference["anomaly_score"]);
    compare("score", &|row| exact[row].0, &scores, EXACT);
    compare("stored score", &|row| stored[row].0, &scores, STORED);
    for (channel, distances) in reference["distances"].as_array().unwrap().iter().enumerate() {
        compare(&format!("distance of channel {channel}"), &|row| exact[row].1[channel], &numbers(distances), EXACT);
    }
    findings
}

/// The values of a channel of a group: as `groups` of the reference makes them.
fn of_channel(name: &str, zone: &Zone, times: &[i64], channel: u64) -> Vec<f64> {
    let mut values = values(name, zone, times, channel << 40);
    let first = match name {
        "flat" => times.len(),
        "flat_then_moving" => 2000,
        _ => 0,
    };
    for (index, value) in (0..).zip(&mut values).skip(first) {
        *value += if uniform(index + (1 << 34)) < 0.002 { 5.0 } else { 0.0 };
    }
    values
}

/// For each tick the joint score, and the distance of each channel.
fn infer<S: Stored>(
    args: CalibratedMultivariateArgs,
    zone: &Zone,
    times: &[i64],
    channels: &[Vec<f64>],
) -> Vec<(f64, Vec<f64>)> {
    let names: Vec<String> = (0..channels.len()).map(|channel| channel.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut model = CalibratedMultivariate::<S>::new(args, zone.clone(), &names).unwrap();
    let policies = vec![ScorePolicy { min_n_samples_seen: 0, ..ScorePolicy::default() }; channels.len()];
    let tick = |(tick, time): (usize, &i64)| {
        let values: Vec<f64> = channels.iter().map(|channel| channel[tick]).collect();
        let score = model.infer(*time, &values, &policies);
        (score, model.channel_scores().iter().map(|channel| channel.score).collect())
    };
    times.iter().enumerate().map(tick).collect()
}
