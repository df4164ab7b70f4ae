//! Input whose every sample is in the database before anything reads it, the future included: what is read at a tick
//! never depends on how busy the machine is.

use tests::series::Series;
use tests::signal::{Chance, this_second};

/// Distance of samples, ms.
pub const STEP: i64 = 1_000;

/// Samples before the start, and after it: how long a story may take.
const BEFORE: i64 = 600;
const AFTER: i64 = 1_500;

/// The metric's name.
pub const METRIC: &str = "recorded";

/// So many series, a sample a second: a wave of its own each, with noise.
pub fn series(count: usize) -> Vec<Series> {
    let start = this_second();
    let numbered = (0..count).map(|number| {
        let mut chance = Chance::new(number as u64 + 1);
        let samples = (-BEFORE..AFTER).map(|second| {
            let time = start + second * STEP;
            let wave = (time as f64 / 60_000.0 + number as f64).sin();
            // Numbers with few digits: the database does not round them.
            let value = 100.0 + 10.0 * wave + chance.below(4_000) as f64 / 1_000.0;
            (time, (value * 1000.0).round() / 1000.0)
        });
        Series::new(METRIC, &[("series", &format!("s{number:02}"))], samples)
    });
    numbered.collect()
}
