//! Distances from a reference.

use crate::Finding;

impl Finding {
    /// The distance of a number from its reference; where one is NaN, the other must be.
    pub fn of_number(what: impl Into<String>, ours: f64, reference: f64, tolerance: f64) -> Self {
        Self { what: what.into(), deviation: distance(ours, reference), tolerance }
    }

    /// The greatest distance of numbers from their references, of which there must be as many.
    pub fn of_numbers(what: impl Into<String>, ours: &[f64], reference: &[f64], tolerance: f64) -> Self {
        let distances = ours.iter().zip(reference).map(|(ours, reference)| distance(*ours, *reference));
        let worst = distances.max_by(f64::total_cmp).unwrap_or(0.0);
        let deviation = if ours.len() == reference.len() { worst } else { f64::NAN };
        Self { what: what.into(), deviation, tolerance }
    }
}

fn distance(ours: f64, reference: f64) -> f64 {
    if ours.is_nan() && reference.is_nan() { 0.0 } else { (ours - reference).abs() }
}

/// Mean and standard deviation (`ddof = 0`) of those that are no NaN.
pub fn moments(values: &[f64]) -> (f64, f64) {
    let known: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    let mean = known.iter().sum::<f64>() / known.len() as f64;
    let squares: f64 = known.iter().map(|value| (value - mean) * (value - mean)).sum();
    (mean, (squares / known.len() as f64).sqrt())
}

/// Those of the values that are at `indices`; NaN beyond the end.
pub fn at(values: &[f64], indices: &[f64]) -> Vec<f64> {
    indices.iter().map(|index| values.get(*index as usize).copied().unwrap_or(f64::NAN)).collect()
}
