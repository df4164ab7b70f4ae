//! Incidents in a window of history, so that a fit need not learn them as normal.
//!
//! A sample deviates if it is further from its baseline than [`SPREADS`] times the spread of the window. The baseline is the median
//! of the samples of the same hour of the day (UTC), where the window has three days or more, else the median of all; the
//! spread is 1.4826 times the median distance from the baseline, the mean distance where that is 0. Samples that deviate and are
//! not further apart than three usual steps form a run, and a run of [`LEAST_SAMPLES`] or more is an incident: all that lies in it
//! is left out, single outliers are not.
//!
//! Where more than [`LARGEST_SHARE`] of the samples would be left out, nothing is: then it is not an incident, but how the series
//! lives, or a level that has come to stay. A new level is therefore learnt once it fills a quarter of the window.

use crate::model::MISSING;

/// How many spreads away from its baseline a sample deviates.
pub const SPREADS: f64 = 6.0;

/// The least number of samples of an incident.
pub const LEAST_SAMPLES: usize = 5;

/// The largest share of a window that is left out.
pub const LARGEST_SHARE: f64 = 0.25;

/// Windows with fewer samples tell nothing.
const LEAST_WINDOW: usize = 48;

const HOUR_MS: i64 = 3_600_000;
const HOURS: usize = 24;

/// Puts [`MISSING`] in the place of every sample of an incident and returns how many there were. `times` in ms, ascending, one for
/// each value.
pub fn leave_out(times: &[i64], values: &mut [f64]) -> usize {
    let present: Vec<usize> = (0..values.len().min(times.len())).filter(|row| values[*row].is_finite()).collect();
    let (Some(first), Some(last)) = (present.first(), present.last()) else { return 0 };
    if present.len() < LEAST_WINDOW {
        return 0;
    }
    let by_hour = times[*last].saturating_sub(times[*first]) >= 3 * HOURS as i64 * HOUR_MS;
    let hour =
        |row: usize| if by_hour { (times[row].div_euclid(HOUR_MS)).rem_euclid(HOURS as i64) as usize } else { 0 };
    let mut hours: Vec<Vec<f64>> = vec![Vec::new(); HOURS];
    for row in &present {
        hours[hour(*row)].push(values[*row]);
    }
    let baselines: Vec<f64> = hours.iter_mut().map(|values| median(values)).collect();
    // Halves, so that the difference cannot overflow.
    let distance = |row: usize| (values[row] * 0.5 - baselines[hour(row)] * 0.5).abs();
    let mut distances: Vec<f64> = present.iter().map(|row| distance(*row)).collect();
    let mean = distances.iter().map(|distance| distance / present.len() as f64).sum::<f64>();
    let spread = match 1.4826 * median(&mut distances) {
        0.0 => mean,
        spread => spread,
    };
    let mut steps: Vec<f64> = present.windows(2).map(|pair| (times[pair[1]] - times[pair[0]]) as f64).collect();
    let gap = 3.0 * median(&mut steps);

    let mut incidents: Vec<(usize, usize)> = Vec::new();
    let mut run: Option<(usize, usize, usize)> = None;
    let mut close = |run: Option<(usize, usize, usize)>| {
        incidents.extend(run.filter(|(_, _, samples)| *samples >= LEAST_SAMPLES).map(|(first, last, _)| (first, last)));
    };
    for row in present.iter().copied().filter(|row| distance(*row) > SPREADS * spread) {
        run = match run {
            Some((first, last, samples)) if (times[row] - times[last]) as f64 <= gap => Some((first, row, samples + 1)),
            ended => {
                close(ended);
                Some((row, row, 1))
            }
        };
    }
    close(run);

    let inside: Vec<usize> =
        incidents.iter().flat_map(|(first, last)| (*first..=*last).filter(|row| values[*row].is_finite())).collect();
    if inside.len() as f64 > LARGEST_SHARE * present.len() as f64 {
        return 0;
    }
    for row in &inside {
        values[*row] = MISSING;
    }
    inside.len()
}

/// The lower median; 0 of nothing.
fn median(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = (values.len() - 1) / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::is_missing;
    use proptest::prelude::*;

    /// A day's curve with some noise, every five minutes for `days` days.
    fn calm(days: usize) -> (Vec<i64>, Vec<f64>) {
        let times: Vec<i64> = (0..days as i64 * 288).map(|row| row * 300_000).collect();
        let values = times.iter().map(|time| {
            let row = time / 300_000;
            10.0 + 5.0 * libm::sin(row as f64 * std::f64::consts::TAU / 288.0) + (row * 7919 % 13) as f64 / 13.0
        });
        (times.clone(), values.collect())
    }

    #[test]
    fn a_calm_series_is_left_as_it_is() {
        let (times, mut values) = calm(7);
        assert_eq!(leave_out(&times, &mut values), 0);
        assert_eq!(values, calm(7).1);
    }

    #[test]
    fn an_incident_of_an_hour_is_left_out_and_a_single_spike_is_not() {
        let (times, mut values) = calm(7);
        values[1000..1012].fill(60.0);
        values[500] = 60.0;
        assert_eq!(leave_out(&times, &mut values), 12);
        assert!(values[1000..1012].iter().all(|value| is_missing(*value)));
        assert_eq!(values[500], 60.0);
    }

    #[test]
    fn a_level_that_fills_a_third_of_the_window_stays() {
        let (times, mut values) = calm(6);
        values[4 * 288..].iter_mut().for_each(|value| *value += 100.0);
        assert_eq!(leave_out(&times, &mut values), 0);
    }

    proptest! {
        #[test]
        fn whatever_the_samples_are_only_finite_ones_are_left_out_and_at_most_a_quarter(
            mut values in prop::collection::vec(
                prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(1e300), Just(-1e300), -1.0..1.0, Just(0.0)], 0..300),
            step in 1_i64..100_000_000,
        ) {
            let times: Vec<i64> = (0..values.len() as i64).map(|row| row * step).collect();
            let before = values.clone();
            let count = leave_out(&times, &mut values);
            let changed = before.iter().zip(&values).filter(|(old, new)| old.to_bits() != new.to_bits());
            prop_assert!(changed.clone().all(|(old, new)| old.is_finite() && is_missing(*new)));
            prop_assert_eq!(changed.count(), count);
            prop_assert!(count * 4 <= before.iter().filter(|value| value.is_finite()).count());
        }
    }
}
