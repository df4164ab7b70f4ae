//! From samples at any times to one value a step.

use crate::offline::{FitError, Window};

/// Greatest number of steps of a window: two years of minutes.
pub const MAX_STEPS: i64 = 1 << 20;

/// A window, one value a step.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Steps {
    /// Time of the last step, ms.
    pub(super) last: i64,
    /// ms between steps.
    pub(super) frequency: i64,
    pub(super) values: Vec<f64>,
    /// Whether a step has samples, or its value is between those of its neighbours.
    pub(super) sampled: Vec<bool>,
}

/// Brings a window to steps of `frequency` ms, or of its median step, from its first sample on. The value of a step is the mean of
/// all samples that are nearer to it than to others (those half-way belong to the later), so that the samples of a source that jitters
/// are each alone in theirs. Steps without a sample are on a line between their neighbours. Samples of the same time all count.
pub(super) fn resample(window: Window<'_>, frequency: Option<i64>) -> Result<Steps, FitError> {
    let mut samples: Vec<(i64, f64)> = window.samples().collect();
    samples.sort_by_key(|(time, _)| *time);
    let too_few = FitError::TooFewSamples { needed: 2, found: samples.len() };
    let (Some((first, _)), Some((last, _))) = (samples.first().copied(), samples.last().copied()) else {
        return Err(too_few);
    };
    let frequency = match frequency {
        Some(frequency) => frequency.max(1),
        None => median_step(&samples).ok_or(too_few)?,
    };
    let place = |time: i64| {
        let distance = time.checked_sub(first)?;
        let beyond = distance % frequency;
        Some(distance / frequency + i64::from(beyond >= frequency - beyond)).filter(|place| *place < MAX_STEPS)
    };
    let too_long = FitError::Failed { what: "the window has more than 1048576 steps of the frequency" };
    let steps = place(last).ok_or(too_long)? + 1;
    let mut values = vec![0.0; steps as usize];
    let mut counts = vec![0.0; steps as usize];
    for (time, value) in samples {
        let Some(place) = place(time).map(|place| place as usize) else { continue };
        counts[place] += 1.0;
        let share = 1.0 / counts[place];
        values[place] = values[place] * (1.0 - share) + value * share;
    }
    let sampled: Vec<bool> = counts.iter().map(|count| *count > 0.0).collect();
    fill_gaps(&mut values, &sampled);
    let last = first.saturating_add((steps - 1).saturating_mul(frequency));
    Ok(Steps { last, frequency, values, sampled })
}

/// The median of the steps between samples of different times, of an even number of them the lower of both.
fn median_step(samples: &[(i64, f64)]) -> Option<i64> {
    let steps = samples.windows(2).map(|pair| pair[1].0.saturating_sub(pair[0].0));
    let mut steps: Vec<i64> = steps.filter(|step| *step > 0).collect();
    if steps.is_empty() {
        return None;
    }
    let middle = (steps.len() - 1) / 2;
    Some(*steps.select_nth_unstable(middle).1)
}

/// The first and the last value are sampled.
fn fill_gaps(values: &mut [f64], sampled: &[bool]) {
    let mut before = 0;
    for after in 1..values.len() {
        if !sampled[after] {
            continue;
        }
        let (low, high) = (values[before], values[after]);
        let gap = (after - before) as f64;
        for (index, value) in values[before + 1..after].iter_mut().enumerate() {
            let share = (index + 1) as f64 / gap;
            *value = low * (1.0 - share) + high * share;
        }
        before = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resampled(times: &[i64], values: &[f64], frequency: Option<i64>) -> Result<Steps, FitError> {
        resample(Window { times, values }, frequency)
    }

    #[test]
    fn samples_are_averaged_in_the_nearest_step_and_gaps_lie_on_a_line() {
        // 15 s apart, and a gap from 60 to 240 s.
        let steps = resampled(&[0, 15, 30, 45, 60, 240], &[1.0, 3.0, 4.0, 6.0, 8.0, 12.0], Some(60)).unwrap();
        assert_eq!(steps.values, [2.0, 6.0, 8.0, 10.0, 12.0]);
        assert_eq!(steps.sampled, [true, true, false, false, true]);
        assert_eq!((steps.last, steps.frequency), (240, 60));
    }

    #[test]
    fn the_step_is_the_median_of_those_between_different_times_in_any_order() {
        let steps = resampled(&[7, 67, 7, 127, 1_207], &[1.0, 3.0, 2.0, 5.0, 23.0], None).unwrap();
        assert_eq!((steps.last, steps.frequency, steps.values.len()), (1_207, 60, 21));
        assert_eq!(steps.values[..3], [1.5, 3.0, 5.0]);
        let jitter = resampled(&[121, 2, 59, 181], &[3.0, 1.0, 2.0, 4.0], None).unwrap();
        assert_eq!(jitter.values, [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn windows_without_a_step_or_with_too_many_are_refused() {
        let message = |times: &[i64], frequency| resampled(times, &[1.0; 2], frequency).unwrap_err().to_string();
        assert_eq!(message(&[], None), "the fit needs 2 samples, the window has 0");
        assert_eq!(message(&[5, 5], None), "the fit needs 2 samples, the window has 2");
        let too_long = "the fit failed: the window has more than 1048576 steps of the frequency";
        assert_eq!(message(&[0, 1 << 20], Some(1)), too_long);
        assert_eq!(message(&[i64::MIN, i64::MAX], Some(i64::MAX)), too_long);
        assert!(resampled(&[0, (1 << 20) - 1], &[1.0; 2], Some(1)).is_ok());
    }
}
