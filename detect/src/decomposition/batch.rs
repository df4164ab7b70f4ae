//! The decomposition of a whole window at once.

use super::moving_average::{Season, saturated};
use crate::offline::FitError;

/// What a window is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Decomposition {
    /// The one-sided moving average up to each sample; NaN for the first `period - 1` samples, `period` if that is even.
    pub trend: Vec<f64>,
    /// One season, from the window's first sample on: the mean of what the trend leaves, for each phase; their mean is 0.
    pub seasonal: Vec<f64>,
    /// What trend and season leave; NaN where the trend is.
    pub resid: Vec<f64>,
}

/// `seasonal_decompose(values, model="additive", period=period, two_sided=False)` of statsmodels 0.15; see the module's
/// "Formulas". Numbers that overflow saturate at `±f64::MAX`.
///
/// # Errors
/// If the period is below 2, there are fewer than two seasons of values, or one of them is not finite.
pub fn seasonal_decompose(values: &[f64], period: usize) -> Result<Decomposition, FitError> {
    if period < 2 {
        return Err(FitError::Failed { what: "the period is below 2" });
    }
    let needed = period.saturating_mul(2);
    let origin = match values {
        [first, ..] if values.len() >= needed => *first,
        _ => return Err(FitError::TooFewSamples { needed, found: values.len() }),
    };
    if values.iter().any(|value| !value.is_finite()) {
        return Err(FitError::Failed { what: "a value is not finite" });
    }
    let mut resid: Vec<f64> = values.iter().map(|value| saturated(value - origin)).collect();
    let season = Season::new(period);
    let windows = window_sums(&resid, season);
    let unknown = season.length - 1;
    let mut trend = vec![f64::NAN; values.len()];
    let sums = windows[unknown..].iter().zip(&windows[unknown - 1..]);
    for ((trend, resid), (window, previous)) in trend[unknown..].iter_mut().zip(&mut resid[unknown..]).zip(sums) {
        *trend = season.average(*window, *previous);
        *resid = saturated(*resid - *trend);
        *trend = saturated(*trend + origin);
    }
    resid[..unknown].fill(f64::NAN);
    let seasonal = phase_means(&resid, season);
    for resid in resid.chunks_mut(period) {
        for (resid, seasonal) in resid.iter_mut().zip(&seasonal) {
            *resid = saturated(*resid - seasonal);
        }
    }
    Ok(Decomposition { trend, seasonal, resid })
}

/// Sums of the last `period` samples, in their [`Season::unit`]; they are whole from the sample `period - 1` on. As the
/// [moving average](super::moving_average::MovingAverage) of single samples, but the start of a block and its ends, two chains of
/// additions that do not wait for each other, are summed side by side.
fn window_sums(samples: &[f64], season: Season) -> Vec<f64> {
    let Season { period, unit, .. } = season;
    let mut windows = vec![0.0; samples.len()];
    let mut ends = vec![0.0; period + 1];
    let mut next_ends = ends.clone();
    for (block, windows) in samples.chunks(period).zip(windows.chunks_mut(period)) {
        let (mut start, mut end) = (0.0, 0.0);
        let next = &mut next_ends[..block.len()];
        let forward = block.iter().zip(windows).zip(&ends[1..]);
        for (((sample, window), end_before), (last, next_end)) in forward.zip(block.iter().zip(next).rev()) {
            start += sample * unit;
            *window = start + end_before;
            end += last * unit;
            *next_end = end;
        }
        std::mem::swap(&mut ends, &mut next_ends);
    }
    windows
}

/// The mean of each phase of what is known, less the mean of these means.
fn phase_means(detrended: &[f64], season: Season) -> Vec<f64> {
    let Season { period, length, first_phase: first, .. } = season;
    let unknown = length - 1;
    let mut means = vec![0.0; period];
    let share = 1.0 / detrended.len() as f64;
    for (mean, value) in means[first..].iter_mut().zip(&detrended[unknown..]) {
        *mean = value * share;
    }
    for season in detrended[unknown + period - first..].chunks(period) {
        for (mean, value) in means.iter_mut().zip(season) {
            *mean += value * share;
        }
    }
    let known = detrended.len() - unknown;
    for (phase, mean) in means.iter_mut().enumerate() {
        let behind = (phase + period - first) % period;
        let count = (known - behind).div_ceil(period);
        *mean = saturated(*mean * (detrended.len() as f64 / count as f64));
    }
    let level = mean(&means, season);
    for mean in &mut means {
        *mean = saturated(*mean - level);
    }
    means
}

/// The mean of a number for each phase, by sums that do not overflow.
pub(super) fn mean(numbers: &[f64], season: Season) -> f64 {
    saturated(numbers.iter().fold(0.0, |sum, number| sum + number * season.share))
}
