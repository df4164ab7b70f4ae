//! Fitting to fewer points than there are: the samples of each window of time become one.

use super::args::{Aggregation, Compression};

/// The points that samples became.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Compressed {
    /// The mean time of the samples of a window, so that points lie where their samples do.
    pub(crate) times: Vec<i64>,
    pub(crate) values: Vec<f64>,
    /// What samples are off the point that they became.
    deviations: Vec<f64>,
}

impl Compressed {
    /// The root of the mean square of the deviations, in units of `scale`.
    pub(crate) fn spread(&self, scale: f64) -> f64 {
        let squares: f64 = self.deviations.iter().map(|deviation| (deviation / scale) * (deviation / scale)).sum();
        let spread = (squares / self.deviations.len() as f64).sqrt();
        if spread.is_finite() { spread } else { 0.0 }
    }
}

/// Compresses samples in the order of their times. Windows start at multiples of their length since 1970-01-01 UTC.
pub(crate) fn compress(compression: Compression, times: &[i64], values: &[f64]) -> Compressed {
    let mut out = Compressed { times: Vec::new(), values: Vec::new(), deviations: Vec::with_capacity(times.len()) };
    let mut start = 0;
    let mut sorted = Vec::new();
    for chunk in times.chunk_by(|one, other| window(compression, *one) == window(compression, *other)) {
        let members = &values[start..start + chunk.len()];
        start += chunk.len();
        let count = chunk.len() as f64;
        let value = match compression.agg_method {
            // Halves, so that the sum of two great values is one.
            Aggregation::Mean => members.iter().map(|value| value / count).sum(),
            Aggregation::Median => {
                sorted.clear();
                sorted.extend_from_slice(members);
                sorted.sort_by(f64::total_cmp);
                0.5 * sorted[(sorted.len() - 1) / 2] + 0.5 * sorted[sorted.len() / 2]
            }
        };
        let first = chunk[0];
        let offset: i128 = chunk.iter().map(|time| i128::from(*time) - i128::from(first)).sum();
        // At most the greatest of the offsets.
        out.times.push(first + (offset / chunk.len() as i128) as i64);
        out.values.push(value);
        out.deviations.extend(members.iter().map(|member| member - value));
    }
    out
}

fn window(compression: Compression, time: i64) -> i64 {
    time.div_euclid(compression.window)
}
