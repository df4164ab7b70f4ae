//! Exact statistics of numpy and pandas: of all samples, of rolling windows, with decay, by hour of the day.

#![expect(clippy::unwrap_used, reason = "a reference of another form fails the test")]

use detect::calendar::Zone;
use detect::mad::{MadOnline, MadOnlineArgs};
use detect::model::OnlineModel;
use detect::quantile_online::{QuantileOnline, QuantileOnlineArgs};
use detect::rolling_quantile::{RollingQuantile, RollingQuantileArgs};
use detect::zscore::{ZscoreOnline, ZscoreOnlineArgs};
use serde_json::Value;

use crate::{Finding, Golden, Series, numbers};

/// Relative deviation of what is exact.
const EXACT: f64 = 1e-9;

/// What a standard deviation that is 0 may be instead, relative to the greatest value: references have that much rounding noise.
const ROUNDING: f64 = 1e-14;

const HOUR_MS: i64 = 3_600_000;

pub fn check(golden: &Golden, reference: &Value) -> Vec<Finding> {
    let series = golden.series(reference["series"].as_str().unwrap());
    let mut findings = Vec::new();
    moments(&series, reference, &mut findings);
    quantiles(&series, reference, &mut findings);
    rolling(&series, reference, &mut findings);
    decayed(&series, reference, &mut findings);
    by_hour(&series, reference, &mut findings);
    findings
}

impl Finding {
    fn exact(what: impl Into<String>, found: f64, expected: f64) -> Self {
        Self::close(what, found, expected, expected.abs())
    }

    /// Within [`EXACT`] of `size`.
    fn close(what: impl Into<String>, found: f64, expected: f64, size: f64) -> Self {
        Self { what: what.into(), deviation: (found - expected).abs(), tolerance: EXACT * size }
    }

    /// How far the rank of `found` among weighted values is from `probability`.
    fn rank(what: impl Into<String>, found: f64, pairs: &[(f64, f64)], probability: f64) -> Self {
        let total: f64 = pairs.iter().map(|(_, weight)| weight).sum();
        let share = |includes: &dyn Fn(f64) -> bool| {
            let included = pairs.iter().filter(|(value, _)| includes(*value));
            included.map(|(_, weight)| weight).sum::<f64>() / total
        };
        let (below, up_to) = (share(&|value| value < found), share(&|value| value <= found));
        let deviation = if found.is_nan() { found } else { (below - probability).max(probability - up_to).max(0.0) };
        let tolerance = if (0.05..=0.95).contains(&probability) { 0.02 } else { 0.005 };
        Self { what: format!("rank of {}", what.into()), deviation, tolerance }
    }
}

fn learnt<M: OnlineModel>(mut model: M, samples: impl IntoIterator<Item = (i64, f64)>) -> M {
    for (time, value) in samples {
        model.learn(time, value);
    }
    model
}

fn fit(series: &Series) -> impl Iterator<Item = (i64, f64)> {
    let samples = series.fit_times.iter().copied().zip(series.fit_values.iter().copied());
    samples.filter(|(_, value)| value.is_finite())
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

fn by_probability(value: &Value) -> impl Iterator<Item = (f64, f64)> {
    let entries = value.as_object().unwrap().iter();
    entries.map(|(probability, value)| (probability.parse().unwrap(), number(value)))
}

/// Equal weights.
fn weighted(values: impl Iterator<Item = f64>) -> Vec<(f64, f64)> {
    values.map(|value| (value, 1.0)).collect()
}

/// The mean and the standard deviation that bounds show.
fn mean_and_deviation(series: &Series, decay: f64) -> (f64, f64) {
    let args = ZscoreOnlineArgs { z_threshold: 1.0, decay, ..ZscoreOnlineArgs::default() };
    let interval = learnt(ZscoreOnline::new(args), fit(series)).predict(0);
    (interval.yhat, interval.upper - interval.yhat)
}

fn deviation(what: impl Into<String>, found: f64, expected: f64, series: &Series) -> Finding {
    let greatest = series.fit_values.iter().fold(0.0, |greatest: f64, value| greatest.max(value.abs()));
    Finding { tolerance: EXACT * expected.abs() + ROUNDING * greatest, ..Finding::exact(what, found, expected) }
}

fn moments(series: &Series, reference: &Value, findings: &mut Vec<Finding>) {
    let (mean, population) = mean_and_deviation(series, 1.0);
    // The least forgetting there is asks for the sample's standard deviation.
    let (_, sample) = mean_and_deviation(series, 1.0 - 1e-15);
    findings.push(Finding::exact("mean", mean, number(&reference["mean"])));
    findings.push(deviation("std, ddof 0", population, number(&reference["std_ddof0"]), series));
    findings.push(deviation("std, ddof 1", sample, number(&reference["std_ddof1"]), series));
    for (index, expected) in numbers(&reference["zscore_infer_first96"]).into_iter().enumerate() {
        let offset = series.infer_values[index] - mean;
        let score = if offset == 0.0 { 0.0 } else { offset / population };
        findings.push(Finding::close(format!("z score {index}"), score, expected, expected.abs().max(1.0)));
    }
}

/// The quantile of `probability` of all values, from a window of all of them.
fn exact_quantile(values: impl Iterator<Item = f64>, probability: f64) -> f64 {
    let values: Vec<(i64, f64)> = values.map(|value| (0, value)).collect();
    let args = RollingQuantileArgs::new(probability.max(1.0 - probability), values.len() as u32);
    let interval = learnt(RollingQuantile::new(args), values).predict(0);
    if probability < 0.5 { interval.lower } else { interval.upper }
}

fn online_quantile(series: &Series, probability: f64, args: QuantileOnlineArgs, time: i64) -> f64 {
    let args = QuantileOnlineArgs { quantiles: [probability; 3], ..args };
    learnt(QuantileOnline::new(args, Zone::default()), fit(series)).predict(time).yhat
}

fn quantiles(series: &Series, reference: &Value, findings: &mut Vec<Finding>) {
    let values = || fit(series).map(|(_, value)| value);
    let pairs = weighted(values());
    for (probability, expected) in by_probability(&reference["quantiles_linear"]) {
        let what = format!("quantile {probability}");
        findings.push(Finding::exact(&what, exact_quantile(values(), probability), expected));
        let online = online_quantile(series, probability, QuantileOnlineArgs::default(), 0);
        findings.push(Finding::rank(what, online, &pairs, probability));
    }
    let (median, spread) = (number(&reference["median"]), number(&reference["mad_raw"]));
    let distances = || values().map(|value| (value - median).abs());
    findings.push(Finding::exact("median", exact_quantile(values(), 0.5), median));
    findings.push(Finding::exact("MAD", exact_quantile(distances(), 0.5), spread));
    let mad = learnt(MadOnline::new(MadOnlineArgs::default()), fit(series));
    let median = mad.predict(0).yhat;
    let distances = weighted(values().map(|value| (value - median).abs()));
    findings.push(Finding::rank("mad_online's median", median, &pairs, 0.5));
    findings.push(Finding::rank("mad_online's MAD", mad.mad(), &distances, 0.5));
    for (probability, expected) in by_probability(&reference["log1p_sym_quantiles"]) {
        let transform = |value: f64| libm::log1p(value.abs()).copysign(value);
        let what = format!("transformed quantile {probability}");
        findings.push(Finding::exact(&what, exact_quantile(values().map(transform), probability), expected));
        let args = QuantileOnlineArgs { use_transform: true, ..QuantileOnlineArgs::default() };
        findings.push(Finding::rank(what, online_quantile(series, probability, args, 0), &pairs, probability));
    }
}

fn rolling(series: &Series, reference: &Value, findings: &mut Vec<Finding>) {
    let rolling = &reference["rolling"];
    let window = rolling["window"].as_u64().unwrap() as usize;
    let times = series.fit_times.iter().chain(&series.infer_times);
    let samples = times.zip(series.fit_values.iter().chain(&series.infer_values));
    let indices = numbers(&rolling["idx"]);
    let expected = by_quantile(&rolling["quantiles"]);
    let mut model = RollingQuantile::new(RollingQuantileArgs::new(0.9, window as u32));
    let mut next = 0;
    for (index, (time, value)) in samples.enumerate() {
        // The reference's windows include the point itself.
        model.learn(*time, *value);
        if indices.get(next) != Some(&(index as f64)) {
            continue;
        }
        let interval = model.predict(*time);
        for (found, (probability, expected)) in [interval.lower, interval.yhat, interval.upper].iter().zip(&expected) {
            if model.samples_seen() >= window as u64 {
                findings.push(Finding::exact(format!("rolling {probability} at {index}"), *found, expected[next]));
            }
        }
        next += 1;
    }
}

/// The lists of the quantiles 0.1, 0.5 and 0.9.
fn by_quantile(value: &Value) -> Vec<(f64, Vec<f64>)> {
    let lists = value.as_object().unwrap().iter();
    let mut lists: Vec<_> = lists.map(|(probability, list)| (probability.parse().unwrap(), numbers(list))).collect();
    lists.sort_by(|(one, _), (other, _): &(f64, Vec<f64>)| one.total_cmp(other));
    lists
}

fn decayed(series: &Series, reference: &Value, findings: &mut Vec<Finding>) {
    for (decay, expected) in reference["decayed"].as_object().unwrap() {
        let factor: f64 = decay.parse().unwrap();
        let mut weight = 1.0;
        let mut pairs: Vec<(f64, f64)> = fit(series).map(|(_, value)| (value, 0.0)).collect();
        for pair in pairs.iter_mut().rev() {
            pair.1 = weight;
            weight *= factor;
        }
        let (mean, unbiased) = mean_and_deviation(series, factor);
        let total: f64 = pairs.iter().map(|(_, weight)| weight).sum();
        let squares: f64 = pairs.iter().map(|(_, weight)| weight * weight).sum();
        // The reference's is the biased one.
        let biased = unbiased * (1.0 - squares / (total * total)).sqrt();
        findings.push(Finding::exact(format!("mean, decay {decay}"), mean, number(&expected["mean"])));
        findings.push(deviation(format!("std, decay {decay}"), biased, number(&expected["std"]), series));
        for (probability, expected) in by_probability(&expected["weighted_quantiles_cdf_inverse"]) {
            let what = format!("quantile {probability}, decay {decay}");
            findings.push(Finding::rank(format!("the reference's {what}"), expected, &pairs, probability));
            let args = QuantileOnlineArgs { decay: factor, ..QuantileOnlineArgs::default() };
            findings.push(Finding::rank(what, online_quantile(series, probability, args, 0), &pairs, probability));
        }
    }
}

fn by_hour(series: &Series, reference: &Value, findings: &mut Vec<Finding>) {
    let args = QuantileOnlineArgs {
        seasonal_interval: Some(24 * HOUR_MS),
        min_subseason: Some(HOUR_MS),
        ..QuantileOnlineArgs::default()
    };
    let probabilities = numbers(&reference["hour_of_day_utc_quantiles"]["p"]);
    for (hour, expected) in reference["hour_of_day_utc_quantiles"]["buckets"].as_object().unwrap() {
        let start = hour.parse::<i64>().unwrap() * HOUR_MS;
        let in_hour = |(time, _): &(i64, f64)| time.rem_euclid(24 * HOUR_MS) / HOUR_MS * HOUR_MS == start;
        let values = || fit(series).filter(in_hour).map(|(_, value)| value);
        let pairs = weighted(values());
        for (probability, expected) in probabilities.iter().zip(numbers(expected)) {
            let what = format!("quantile {probability} of hour {hour}");
            findings.push(Finding::exact(&what, exact_quantile(values(), *probability), expected));
            let online = online_quantile(series, *probability, args, start);
            findings.push(Finding::rank(what, online, &pairs, *probability));
        }
    }
}
