//! What predictions lose; the formula is that of the [module](super).

use crate::score::{Interval, at_most};

const WIDTH_WEIGHT: f64 = 0.1;

const EXCESS_WEIGHT: f64 = 100.0;

/// What the predictions and scores of a fold come to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    /// Scores above 1, and all.
    above: u32,
    scored: u32,
    /// Errors and weighted widths, and the samples that they are of.
    distance: f64,
    compared: u32,
}

impl Tally {
    /// Counts a sample and what was expected of it, in units of `scale`.
    pub(super) fn compare(&mut self, expected: Interval, value: f64, scale: f64) {
        self.compared += 1;
        if expected.is_some() {
            let units = |distance: f64| at_most(distance, f64::MAX) / scale;
            self.distance += units((value - expected.yhat).abs());
            self.distance += WIDTH_WEIGHT * units(expected.upper - expected.lower);
        }
    }

    /// Counts a score.
    pub(super) fn score(&mut self, score: f64) {
        self.scored += 1;
        self.above += u32::from(score > 1.0);
    }

    /// The loss.
    pub(super) fn loss(&self, anomaly_percentage: f64, is_score_only: bool) -> f64 {
        let excess = f64::from(self.above) / f64::from(self.scored.max(1)) - anomaly_percentage;
        let excess = if is_score_only { excess.abs() } else { excess.max(0.0) };
        at_most(self.distance / f64::from(self.compared.max(1)) + EXCESS_WEIGHT * excess, f64::MAX)
    }
}

/// The median absolute deviation, or the mean one where that is 0, or 1.
pub(super) fn deviation(values: &[f64]) -> f64 {
    let median = middle(values.to_vec());
    let distances: Vec<f64> = values.iter().map(|value| at_most((value - median).abs(), f64::MAX)).collect();
    let mean = distances.iter().map(|distance| distance / distances.len() as f64).sum::<f64>();
    let candidates = [middle(distances), mean];
    candidates.into_iter().find(|deviation| *deviation > 0.0 && deviation.is_finite()).unwrap_or(1.0)
}

/// The upper median; 0 of nothing.
fn middle(mut values: Vec<f64>) -> f64 {
    let middle = values.len() / 2;
    values.sort_unstable_by(f64::total_cmp);
    values.get(middle).copied().unwrap_or(0.0)
}
