//! `calibrated` against its reference, in `f64` exactly, and as it is stored nearly so.

#![expect(clippy::unwrap_used, reason = "a reference of another form fails the test")]

use std::path::{Path, PathBuf};

use detect::calendar::Zone;
use detect::calibrated::{CalibratedArgs, CalibratedBatch, FALSE_ALARMS_PER_DAY, Stored};
use detect::model::{OnlineBatch, Samples, Scores};
use detect::score::{LINEAR_SCORES, ScorePolicy};
use serde_json::Value;

use crate::{Finding, numbers};

/// Relative deviation of what is exact.
const EXACT: f64 = 1e-9;

/// Greatest deviation of what is kept as `f32`, of scores, and of bounds in half-widths of the band, or thousandths of the value where
/// that is more. A band that is one point has no width: its deviation is that of the value.
const STORED: f64 = 1e-4;

/// The class itself, and as it was at first: which of the recipes of the reference is compared with.
const CURRENT: Recipe = CalibratedArgs::new;
const ORIGINAL: Recipe = CalibratedArgs::original;

/// Of a step, ms.
type Recipe = fn(i64) -> CalibratedArgs;

/// A series and what the reference gives for some of its samples.
struct Case {
    args: CalibratedArgs,
    zone: Zone,
    times: Vec<i64>,
    values: Vec<f64>,
    /// Which samples.
    rows: Vec<usize>,
    /// Score, expected value, lower and upper bound of each of them; a bound is NaN where the reference has none.
    outputs: [Vec<f64>; 4],
}

pub fn check(_: &crate::Golden, reference: &Value) -> Vec<Finding> {
    check_recipe(CURRENT, reference)
}

pub fn check_original(_: &crate::Golden, reference: &Value) -> Vec<Finding> {
    check_recipe(ORIGINAL, reference)
}

fn check_recipe(recipe: Recipe, reference: &Value) -> Vec<Finding> {
    let number = |key: &str| reference[key].as_i64().unwrap();
    let zone = Zone::named(reference["zone"].as_str().unwrap()).unwrap();
    let step = 1000 * number("step");
    let times: Vec<i64> = (0..number("count")).map(|index| 1000 * number("start") + index * step).collect();
    let values = values(reference["series"].as_str().unwrap(), &zone, &times, 0);
    let rows: Vec<usize> = numbers(&reference["idx"]).into_iter().map(|index| index as usize).collect();
    let sum: f64 = rows.iter().map(|row| values[*row]).filter(|value| !value.is_nan()).sum();
    let sum = Finding::of_number("sum of values", sum, reference["values_sum"].as_f64().unwrap(), 1e-9 * sum.abs());
    let outputs = ["anomaly_score", "yhat", "yhat_lower", "yhat_upper"].map(|key| numbers(&reference[key]));
    let rate = reference["false_alarms_per_day"].as_f64().unwrap_or(FALSE_ALARMS_PER_DAY);
    let mut findings =
        compare(&Case { args: recipe(step).with_false_alarms(rate), zone, times, values, rows, outputs });
    findings.push(sum);
    findings
}

/// Of 53 bits, below 1 (splitmix64).
pub fn uniform(index: u64) -> f64 {
    let mut z = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// The series of a name, another one for each `shift`: as `series` of the reference makes it.
pub fn values(name: &str, zone: &Zone, times: &[i64], shift: u64) -> Vec<f64> {
    let value = |(time, index): (&i64, u64)| {
        let clock = zone.wall_clock(*time);
        let is_weekend = clock.weekday() >= 6;
        let noise = uniform(index + shift) - 0.5;
        let of_day = (clock.ms_of_day() / 1000) as f64;
        let curve = (of_day / 43200.0 - 1.0).abs() * if is_weekend { 1.0 } else { 4.0 };
        let spike = if uniform(index + shift + (1 << 32)) < 0.002 { 16.0 } else { 0.0 };
        let usual = 10.0 + curve + noise + spike;
        let is_rare = |share: f64| uniform(index + shift + (1 << 33)) < share;
        match name {
            "days" => 10.0 + if is_weekend { 4.0 } else { 0.0 } + noise,
            "gaps" if index % 1000 >= 900 && index % 2000 < 1000 || is_rare(0.05) => f64::NAN,
            "flat" => 3.0,
            "flat_then_moving" if index < 2000 => 3.0,
            "flat_then_moving" => 3.0 + noise,
            "on_and_off" => f64::from(index / 240 % 3 == 0 || is_rare(0.001)),
            "two_integers" => f64::from(3 + u8::from(uniform(index + shift) >= 0.9)),
            "shift_in_the_first_hour" if index >= 40 => usual + 100.0,
            "incident_in_the_first_day" if (50..150).contains(&index) => usual * 10.0,
            "far_from_zero" => usual + 1e9,
            _ => usual,
        }
    };
    times.iter().zip(0..).map(value).collect()
}

/// Scores, expected values, lower and upper bounds of a whole series.
fn infer<S: Stored>(case: &Case) -> [Vec<f64>; 4] {
    let mut batch = CalibratedBatch::<S>::new(case.args, case.zone.clone());
    batch.grow(1);
    let mut scores = Scores::default();
    let samples = Samples { times: &case.times, slots: &[0], values: &case.values };
    batch.infer(samples, &ScorePolicy::default(), &mut scores);
    [scores.anomaly_score, scores.yhat, scores.yhat_lower, scores.yhat_upper]
}

/// Where the reference has a band, scores and band are those of the reference, relative to their sizes or to that of the value;
/// where it has none, both have no score.
fn compare(case: &Case) -> Vec<Finding> {
    let exact = infer::<f64>(case);
    let stored = infer::<f32>(case);
    let mut worst =
        ["score", "yhat", "yhat_lower", "yhat_upper", "score without a band", "stored score", "stored bounds"]
            .map(|what| Finding::new(what, 0.0, EXACT));
    worst[5].tolerance = STORED;
    worst[6].tolerance = STORED;
    let mut note = |which: usize, deviation: f64| {
        let finding = &mut worst[which];
        finding.deviation = if deviation.is_nan() { deviation } else { finding.deviation.max(deviation) };
    };
    for (at, row) in case.rows.iter().enumerate() {
        let (reference, value) = ([0, 1, 2, 3].map(|output| case.outputs[output][at]), case.values[*row]);
        let [score, yhat, lower, upper] = reference;
        if !value.is_finite() {
            note(0, if exact[0][*row].is_nan() { 0.0 } else { f64::NAN });
            continue;
        }
        if lower.is_nan() || lower.is_infinite() {
            note(4, exact[0][*row].abs() + score.abs());
            continue;
        }
        if score <= LINEAR_SCORES {
            note(0, (exact[0][*row] - score).abs() / score.max(1.0));
            note(5, (stored[0][*row] - score).abs() / score.max(1.0));
        }
        for (output, reference) in [(1, yhat), (2, lower), (3, upper)] {
            note(output, (exact[output][*row] - reference).abs() / reference.abs().max(value.abs()));
            let least = if lower == upper { 1.0 } else { 1e-3 };
            let size = (0.5 * (upper - lower)).max(least * yhat.abs().max(value.abs())).max(f64::MIN_POSITIVE);
            note(6, (stored[output][*row] - reference).abs() / size);
        }
    }
    worst.into()
}

/// `<source>/<series>.csv` of the reference's outputs.
fn labelled(recipe: Recipe, path: &Path) -> Case {
    let text = std::fs::read_to_string(path).unwrap();
    let mut columns: [Vec<f64>; 7] = Default::default();
    for line in text.lines().skip(1) {
        for (column, cell) in columns.iter_mut().zip(line.split(',')) {
            // A missing value is an empty cell.
            column.push(cell.parse().unwrap_or(f64::NAN));
        }
    }
    let [seconds, values, steps, score, yhat, lower, upper] = columns;
    Case {
        args: recipe((1000.0 * steps[0]) as i64),
        zone: Zone::default(),
        times: seconds.iter().map(|second| (1000.0 * second) as i64).collect(),
        rows: (0..values.len()).collect(),
        values,
        outputs: [score, yhat, lower, upper],
    }
}

/// Compares with the folder that a variable names, if it does, and prints the worst of each source.
fn check_labelled(kind: &str, variable: &str, recipe: Recipe) {
    let Some(folder) = std::env::var_os(variable).map(PathBuf::from) else { return };
    let entries = |folder: &Path| -> Vec<PathBuf> {
        let mut entries: Vec<PathBuf> =
            std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).collect();
        entries.sort();
        entries
    };
    let (mut checked, mut failed) = (0, 0);
    for source in entries(&folder) {
        let series = entries(&source);
        let mut worst: Vec<Finding> = Vec::new();
        for path in &series {
            let findings = compare(&labelled(recipe, path));
            if findings.iter().any(Finding::fails) {
                crate::report(kind, &path.display().to_string(), &findings);
            }
            match worst.is_empty() {
                true => worst = findings,
                false => worst.iter_mut().zip(findings).for_each(|(worst, finding)| worst.take_worse(finding)),
            }
        }
        let name = source.file_name().unwrap_or_default().display();
        let all = worst.iter().map(Finding::to_string).collect::<Vec<_>>().join(", ");
        println!("{kind} {name}, {} series: {all}", series.len());
        checked += series.len();
        failed += usize::from(worst.iter().any(Finding::fails));
    }
    assert!(checked > 0 && failed == 0, "{failed} sources of {variable} failed");
}

#[test]
fn calibrated_gives_what_its_reference_gives_for_labelled_series() {
    check_labelled("calibrated", "CALIBRATED_DIR", CURRENT);
    check_labelled("calibrated_original", "CALIBRATED_ORIGINAL_DIR", ORIGINAL);
}
