//! VUS-PR, the volume under the surface of precision and recall over thresholds and tolerances: J. Paparrizos et al., "Volume
//! Under the Surface: A New Accuracy Evaluation Measure for Time-Series Anomaly Detection" (VLDB 2022), as the benchmark TSB-AD
//! (NeurIPS 2024) computes it.
//!
//! For a window `w` the labels have ramps: `d <= w/2` samples away from a labelled one, inside the file, a sample counts
//! `sqrt(1 - d/w)`; what several ramps and the label add up to is at most 1. The labelled runs with `w/2` samples on both sides,
//! joined where they touch, are the segments. With `TP` the sum over the alarms of what they count, `ramp` its part outside the
//! labelled samples, and `P` labelled samples:
//!
//! ```text
//! recall    = min(TP / (P + ramp / 2), 1) * segments with an alarm / segments
//! precision = TP / alarms
//! ```
//!
//! The area is the sum over thresholds of the gain in recall times the precision, from the highest threshold down; there are 250,
//! the scores at as many equal steps of rank. The volume is the mean of the areas for `w` from 0 to the largest one.

use super::events::first_and_last;

const THRESHOLDS: usize = 250;

/// VUS-PR of scores against labels with windows of up to `longest` samples; `None` if nothing is labelled.
#[must_use]
pub fn under_precision_and_recall(labels: &[bool], scores: &[f64], longest: usize) -> Option<f64> {
    let events = first_and_last(labels.len(), |row| labels[row]);
    if events.is_empty() {
        return None;
    }
    let thresholds = Thresholds::of(scores);
    let area = |window| area(&events, labels.len(), window, &thresholds);
    Some((0..=longest).map(area).sum::<f64>() / (longest + 1) as f64)
}

struct Thresholds {
    /// For each sample the first threshold, from the highest down, at which it is an alarm.
    alarms_from: Vec<usize>,
    /// Alarms at each threshold.
    alarms: Vec<f64>,
}

impl Thresholds {
    fn of(scores: &[f64]) -> Self {
        let mut descending = scores.to_vec();
        descending.sort_by(|left, right| right.total_cmp(left));
        let last = (scores.len() - 1) as f64;
        let thresholds: Vec<f64> = (0..THRESHOLDS)
            .map(|number| descending[(number as f64 * (last / (THRESHOLDS - 1) as f64)) as usize])
            .collect();
        let alarms_from: Vec<usize> =
            scores.iter().map(|score| thresholds.partition_point(|threshold| threshold > score)).collect();
        let alarms = cumulative(alarms_from.iter().map(|from| (*from, 1.0)));
        Self { alarms_from, alarms }
    }
}

/// For each threshold the sum over what counts from it, or from a higher one, on.
fn cumulative(counting: impl Iterator<Item = (usize, f64)>) -> Vec<f64> {
    let mut sums = vec![0.0; THRESHOLDS];
    for (from, amount) in counting {
        if let Some(sum) = sums.get_mut(from) {
            *sum += amount;
        }
    }
    for number in 1..THRESHOLDS {
        sums[number] += sums[number - 1];
    }
    sums
}

/// The area for one window.
fn area(events: &[(usize, usize)], samples: usize, window: usize, thresholds: &Thresholds) -> f64 {
    let reach = window / 2;
    let from = |row: usize| thresholds.alarms_from[row];
    let segments = segments(events, reach, samples);
    let found = cumulative(segments.iter().filter_map(|(first, last)| Some(((*first..=*last).map(from).min()?, 1.0))));
    let labelled = cumulative(events.iter().flat_map(|(first, last)| (*first..=*last).map(|row| (from(row), 1.0))));
    let positives: usize = events.iter().map(|(first, last)| last - first + 1).sum();
    let ramps = segments.iter().flat_map(|segment| ramp(events, *segment, window));
    let ramp = cumulative(ramps.map(|(row, weight)| (from(row), weight)));

    let (mut area, mut recall_before) = (0.0, 0.0);
    for number in 0..THRESHOLDS {
        let true_positives = labelled[number] + ramp[number];
        let recall = (true_positives / (positives as f64 + ramp[number] / 2.0)).min(1.0);
        let recall = recall * found[number] / segments.len() as f64;
        area += (recall - recall_before) * true_positives / thresholds.alarms[number];
        recall_before = recall;
    }
    area
}

/// The events with their surroundings, first and last index, joined where they touch.
fn segments(events: &[(usize, usize)], reach: usize, samples: usize) -> Vec<(usize, usize)> {
    let mut segments: Vec<(usize, usize)> = Vec::new();
    for (first, last) in events {
        let (begins, ends) = (first.saturating_sub(reach), (last + reach).min(samples - 1));
        match segments.last_mut() {
            Some((_, end)) if *end >= begins => *end = ends,
            _ => segments.push((begins, ends)),
        }
    }
    segments
}

/// What the samples of a segment count that are not labelled.
fn ramp(events: &[(usize, usize)], segment: (usize, usize), window: usize) -> Vec<(usize, f64)> {
    let reach = window / 2;
    let mut weights = vec![0.0; segment.1 - segment.0 + 1];
    let inside = events.iter().filter(|(first, last)| segment.0 <= *first && *last <= segment.1);
    for (first, last) in inside.clone() {
        for distance in 1..=reach {
            let weight = (1.0 - distance as f64 / window as f64).sqrt();
            let after = Some(last + distance).filter(|row| *row <= segment.1);
            let before = first.checked_sub(distance);
            for row in [before, after].into_iter().flatten() {
                weights[row - segment.0] += weight;
            }
        }
    }
    for (first, last) in inside {
        weights[first - segment.0..=last - segment.0].fill(0.0);
    }
    let rows = weights.into_iter().enumerate().filter(|(_, weight)| *weight > 0.0);
    rows.map(|(row, weight)| (segment.0 + row, weight.min(1.0))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two labelled samples of eight; the thresholds are all scores.
    const LABELS: [bool; 8] = [false, false, true, true, false, false, false, false];

    fn near(found: Option<f64>, expected: f64) {
        let found = found.unwrap();
        assert!((found - expected).abs() < 1e-12, "{found} instead of {expected}");
    }

    #[test]
    fn scores_that_rank_the_labelled_samples_first_have_volume_one_without_tolerance() {
        near(under_precision_and_recall(&LABELS, &[0.1, 0.2, 0.9, 0.8, 0.3, 0.2, 0.1, 0.0], 0), 1.0);
    }

    #[test]
    fn without_tolerance_the_area_is_that_of_the_ranks() {
        // The labelled samples have ranks 1 and 3: 1/2 x 1 + 1/2 x 2/3.
        near(under_precision_and_recall(&LABELS, &[0.1, 0.8, 0.9, 0.7, 0.3, 0.2, 0.1, 0.0], 0), 0.5 + 1.0 / 3.0);
    }

    #[test]
    fn an_alarm_beside_an_event_counts_on_the_ramp() {
        // With a window of 2, the neighbour counts r = sqrt(1/2). The first alarm is the one before the event: TP = r,
        // recall r / (2 + r/2); then the two labelled ones: TP = 1 + r, then 2 + r with a recall of 1, precision (2 + r) / 3.
        let r = 0.5_f64.sqrt();
        let recalls = [r / (2.0 + r / 2.0), (1.0 + r) / (2.0 + r / 2.0), 1.0];
        let precisions = [r, (1.0 + r) / 2.0, (2.0 + r) / 3.0];
        let with_two =
            recalls[0] * precisions[0] + (recalls[1] - recalls[0]) * precisions[1] + (1.0 - recalls[1]) * precisions[2];
        // A window of 1 reaches half a sample: none. There the labelled ones have ranks 2 and 3.
        let without = 0.5 * (1.0 / 2.0) + 0.5 * (2.0 / 3.0);
        let scores = [0.1, 0.9, 0.8, 0.7, 0.3, 0.2, 0.1, 0.0];
        near(under_precision_and_recall(&LABELS, &scores, 2), (without + without + with_two) / 3.0);
    }

    #[test]
    fn an_event_that_is_never_found_lowers_the_recall_of_all() {
        // At the two highest thresholds one of two segments has an alarm: recall 1/3 and 2/3 of the samples, halved. The third
        // event sample comes last.
        let labels = [true, true, false, false, false, false, false, true];
        let scores = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2];
        near(under_precision_and_recall(&labels, &scores, 0), 1.0 / 3.0 + (1.0 - 1.0 / 3.0) * 3.0 / 8.0);
    }

    #[test]
    fn without_labels_there_is_no_volume() {
        assert_eq!(under_precision_and_recall(&[false; 8], &[0.0; 8], 4), None);
    }
}
