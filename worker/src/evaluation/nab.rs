//! The scoring of the Numenta Anomaly Benchmark: A. Lavin, S. Ahmad, "Evaluating Real-time Anomaly Detection Algorithms: the
//! Numenta Anomaly Benchmark" (2015), with the exhaustive threshold of its version 1.1.
//!
//! Every row after the probation, the first `min(0.15 rows, 750)`, is a detection or not. In a window of `w` rows that ends with
//! row `r`, the best detection, the earliest, earns `A_TP σ(-(r - i + 1) / w) / σ(-1)`, a window without any costs `A_FN`. Every
//! detection outside of windows costs `A_FP σ((i - r) / (w - 1))` with the window before, with no window before `A_FP`:
//!
//! ```text
//! σ(y) = 2 / (1 + e^(5 y)) - 1, and -1 for y > 3
//! ```
//!
//! The sum over all files is given as `100 (S - S_null) / (S_perfect - S_null)` with `S_null = -A_FN windows` and
//! `S_perfect = A_TP windows`. The windows are those of the files that are there: only with all 58 files of the benchmark is it
//! the benchmark's own figure.

use super::events::first_and_last;

/// What finding and missing costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Profile {
    /// Its name.
    pub name: &'static str,
    /// `A_TP`: what a found window earns at its left edge.
    pub true_positive: f64,
    /// `A_FN`: what a missed window costs.
    pub false_negative: f64,
    /// `A_FP`: what a detection far from windows costs.
    pub false_positive: f64,
}

/// The three profiles of the benchmark.
pub const PROFILES: [Profile; 3] = [
    Profile { name: "standard", true_positive: 1.0, false_negative: 1.0, false_positive: 0.11 },
    Profile { name: "reward_low_FP", true_positive: 1.0, false_negative: 1.0, false_positive: 0.22 },
    Profile { name: "reward_low_FN", true_positive: 1.0, false_negative: 2.0, false_positive: 0.11 },
];

/// A file's rows, all of them.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// Whether each row lies in a window.
    pub labels: &'a [bool],
    /// The score of each row; never NaN.
    pub scores: &'a [f64],
}

/// The figures of one profile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Benchmark {
    /// With the threshold that is best over all files.
    pub optimised: f64,
    /// That threshold; rows of this score or more are detections. Infinite: nothing is.
    pub threshold: f64,
    /// With scores above 1 as detections.
    pub fixed: f64,
}

/// What a row is worth once it is a detection.
#[derive(Debug, Clone, Copy)]
enum Worth {
    /// It lies in window number `window` of all files.
    Found { window: usize, earned: f64 },
    /// It lies outside.
    Cost(f64),
}

fn sigmoid(y: f64) -> f64 {
    if y > 3.0 { -1.0 } else { 2.0 / (1.0 + libm::exp(5.0 * y)) - 1.0 }
}

/// Scores all files under one profile; `None` if no window is left after the probations.
#[must_use]
pub fn benchmark(files: &[File<'_>], profile: Profile) -> Option<Benchmark> {
    let mut rows: Vec<(f64, Worth)> = Vec::new();
    let mut windows = 0;
    for file in files {
        windows = weigh(*file, profile, windows, &mut rows);
    }
    if windows == 0 {
        return None;
    }
    rows.sort_by(|left, right| right.0.total_cmp(&left.0));
    let null = -profile.false_negative * windows as f64;
    let perfect = profile.true_positive * windows as f64;
    let normalised = |sum: f64| 100.0 * (sum - null) / (perfect - null);
    let mut best = Benchmark { optimised: normalised(null), threshold: f64::INFINITY, fixed: normalised(null) };
    let mut earned: Vec<Option<f64>> = vec![None; windows];
    let mut sum = null;
    for (index, (score, worth)) in rows.iter().enumerate() {
        match *worth {
            Worth::Cost(cost) => sum -= cost,
            Worth::Found { window, earned: more } => {
                let before = earned[window].unwrap_or(-profile.false_negative);
                let after = earned[window].map_or(more, |earned| earned.max(more));
                sum += after - before;
                earned[window] = Some(after);
            }
        }
        // Rows of equal scores are detections together.
        if rows.get(index + 1).is_some_and(|(next, _)| next == score) {
            continue;
        }
        if *score > 1.0 {
            best.fixed = normalised(sum);
        }
        if normalised(sum) > best.optimised {
            (best.optimised, best.threshold) = (normalised(sum), *score);
        }
    }
    Some(best)
}

/// Appends what each row of a file is worth; returns the number of windows so far.
fn weigh(file: File<'_>, profile: Profile, mut windows: usize, rows: &mut Vec<(f64, Worth)>) -> usize {
    let count = file.labels.len();
    let probation = (count * 15 / 100).min(750);
    let mut before: Option<(usize, usize)> = None;
    let mut next_row = probation;
    // The end of the file closes the last stretch without a window.
    let kept = first_and_last(count, |row| file.labels[row]).into_iter().filter(|(first, _)| *first >= probation);
    for (first, last) in kept.map(Some).chain([None]).map(|window| window.unwrap_or((count, count))) {
        for row in next_row..first {
            let cost = before.map_or(1.0, |(first, last)| -sigmoid((row - last) as f64 / (last - first) as f64));
            rows.push((file.scores[row], Worth::Cost(profile.false_positive * cost)));
        }
        let width = (last - first + 1) as f64;
        for row in first..count.min(last + 1) {
            let earned = sigmoid(-((last - row + 1) as f64) / width) / sigmoid(-1.0);
            rows.push((file.scores[row], Worth::Found { window: windows, earned: profile.true_positive * earned }));
        }
        windows += usize::from(first < count);
        (before, next_row) = (Some((first, last)), last + 1);
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDARD: Profile = PROFILES[0];

    /// Rows of no window and of one of five rows, after a probation of 3 of 20.
    fn one_window() -> Vec<bool> {
        (0..20).map(|row| (8..13).contains(&row)).collect()
    }

    fn fixed(alarms: &[usize], profile: Profile) -> f64 {
        let labels = one_window();
        let scores: Vec<f64> = (0..20).map(|row| if alarms.contains(&row) { 2.0 } else { 0.0 }).collect();
        benchmark(&[File { labels: &labels, scores: &scores }], profile).unwrap().fixed
    }

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found} instead of {expected}");
    }

    #[test]
    fn no_alarm_is_0_and_an_alarm_at_the_left_edge_of_every_window_100() {
        for profile in PROFILES {
            near(fixed(&[], profile), 0.0);
            near(fixed(&[8], profile), 100.0);
        }
    }

    #[test]
    fn only_the_earliest_alarm_of_a_window_counts() {
        near(fixed(&[8, 9, 12], STANDARD), 100.0);
        // The middle row of five: sigma(-3/5) / sigma(-1), of a range from -1 to 1.
        let earned = (2.0 / (1.0 + (-3.0_f64).exp()) - 1.0) / (2.0 / (1.0 + (-5.0_f64).exp()) - 1.0);
        near(fixed(&[10, 11], STANDARD), 100.0 * (earned + 1.0) / 2.0);
    }

    #[test]
    fn a_false_alarm_costs_all_before_a_window_and_less_behind_it() {
        near(fixed(&[8, 5], STANDARD), 100.0 - 100.0 * 0.11 / 2.0);
        near(fixed(&[8, 5], PROFILES[1]), 100.0 - 100.0 * 0.22 / 2.0);
        // Two rows behind a window of five: sigma(2/4).
        let cost = 1.0 - 2.0 / (1.0 + 2.5_f64.exp());
        near(fixed(&[8, 14], STANDARD), 100.0 - 100.0 * 0.11 * cost / 2.0);
    }

    #[test]
    fn rows_of_the_probation_cost_nothing_and_a_missed_window_twice_as_much_in_its_profile() {
        near(fixed(&[0, 1, 2], STANDARD), 0.0);
        // S_null is -2, so a false alarm weighs less of the range from -2 to 1.
        near(fixed(&[5], PROFILES[2]), -100.0 * 0.11 / 3.0);
    }

    #[test]
    fn the_best_threshold_is_found_over_all_files_and_ties_are_detected_together() {
        let labels = one_window();
        // The window's alarm ties with one false alarm; a lower score only costs.
        let mut scores = vec![0.0; 20];
        (scores[5], scores[8], scores[16]) = (3.0, 3.0, 2.0);
        let file = File { labels: &labels, scores: &scores };
        let found = benchmark(&[file, file], STANDARD).unwrap();
        assert_eq!(found.threshold, 3.0);
        near(found.optimised, 100.0 - 100.0 * 0.11 / 2.0);
        assert!(found.fixed < found.optimised);
    }

    #[test]
    fn where_alarms_are_never_worth_it_nothing_is_detected() {
        let labels: Vec<bool> = (0..200).map(|row| (100..105).contains(&row)).collect();
        let scores: Vec<f64> = labels.iter().map(|labelled| if *labelled { 0.0 } else { 2.0 }).collect();
        let found = benchmark(&[File { labels: &labels, scores: &scores }], STANDARD).unwrap();
        assert_eq!((found.optimised, found.threshold), (0.0, f64::INFINITY));
    }

    #[test]
    fn without_a_window_there_is_no_figure() {
        assert_eq!(benchmark(&[File { labels: &[false; 20], scores: &[0.0; 20] }], STANDARD), None);
    }
}
