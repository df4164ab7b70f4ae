//! The figures of a source: what is counted of its series, added up first and divided then.

use rayon::prelude::*;
use serde::Serialize;

use super::{
    events::{Counts, Judged},
    labelled::LabelledSeries,
    nab, volume,
};

/// The figures of one model on the series of one source, at a score above 1 unless said otherwise. `None`: there is nothing to
/// divide by, or the figure has no meaning for the source.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Series.
    pub series: usize,
    /// Labelled events.
    pub events: usize,
    /// Share of the events with an alarm.
    pub event_recall: Option<f64>,
    /// Where 95 % of the recalls lie of series drawn anew from those of the source.
    pub event_recall_95: Option<(f64, f64)>,
    /// Alarm episodes that touch no event, for each day of quiet time.
    pub false_alarms_per_series_day: f64,
    /// As for the recall.
    pub false_alarms_per_series_day_95: (f64, f64),
    /// Time from the beginning of an event to its alarm.
    pub latency: Latency,
    /// Share of all events with an alarm in time.
    pub timely_recall: Option<f64>,
    /// Share of the episodes that touch an event.
    pub alarm_precision: f64,
    /// Harmonic mean of precision and recall.
    #[serde(rename = "event_F1")]
    pub event_f1: Option<f64>,
    /// Share of the quiet samples with a score above 1.
    pub alarm_load: f64,
    /// At the lowest threshold from which upwards there are at most 0.1 false alarms a day.
    #[serde(rename = "recall@0.1FA")]
    pub recall_at_tenth: AtBudget,
    /// At most one a day.
    #[serde(rename = "recall@1FA")]
    pub recall_at_one: AtBudget,
    /// Mean over the series with events of VUS-PR with windows of up to an hour, of 4 to 100 samples.
    #[serde(rename = "VUS-PR(1h)")]
    pub volume_hour: Option<f64>,
    /// The same with windows of up to 100 samples.
    #[serde(rename = "VUS-PR(L=100)")]
    pub volume_hundred: Option<f64>,
    /// Over the files present, for the source `nab`.
    #[serde(rename = "NAB")]
    pub nab: Option<Nab>,
}

/// Minutes from the beginning of an event to its alarm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// Median.
    pub p50_minutes: Option<f64>,
    /// 0.9 quantile.
    pub p90_minutes: Option<f64>,
}

/// The recall that a budget of false alarms leaves.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AtBudget {
    /// The recall; 0 if no threshold keeps to the budget.
    pub recall: f64,
    /// The threshold; `None` if there is none.
    pub threshold: Option<f64>,
    /// Binary logarithm of the threshold: 0 is perfectly calibrated, 1 says that it should have been 2.
    pub calibration_gap: Option<f64>,
}

/// The Numenta Anomaly Benchmark over the files present: not the official figure unless these are all 58.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Nab {
    /// Files.
    pub files: usize,
    /// Finding and missing cost the same.
    pub standard: NabProfile,
    /// False alarms cost twice as much.
    #[serde(rename = "reward_low_FP")]
    pub reward_low_fp: NabProfile,
    /// Missed windows cost twice as much.
    #[serde(rename = "reward_low_FN")]
    pub reward_low_fn: NabProfile,
}

/// One profile.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct NabProfile {
    /// With the best threshold over all files.
    pub optimised: f64,
    /// With scores above 1 as detections.
    pub fixed: f64,
}

/// A series with its scores, one for each of its times.
#[derive(Debug, Clone, Copy)]
pub struct Scored<'a> {
    /// The series.
    pub series: &'a LabelledSeries,
    /// The scores; NaN is no alarm, infinity is 1e9.
    pub scores: &'a [f64],
}

/// The lowest and the highest common threshold that is tried, and how many there are, at equal ratios.
const LOWEST_THRESHOLD: f64 = 0.5;
const HIGHEST_THRESHOLD: f64 = 500.0;
const THRESHOLDS: usize = 25;

const BOOTSTRAP_DRAWS: usize = 1_000;
const BOOTSTRAP_SEED: u64 = 7;

/// The figures of one source.
#[must_use]
pub fn figures(source: &str, scored: &[Scored<'_>]) -> Figures {
    let usable: Vec<Vec<f64>> =
        scored.iter().map(|one| one.scores.iter().map(|score| usable(*score)).collect()).collect();
    let judged: Vec<Judged<'_>> = scored
        .iter()
        .zip(&usable)
        .map(|(one, scores)| {
            let from = one.series.first_judged();
            let LabelledSeries { times, labels, step, .. } = one.series;
            Judged { times: &times[from..], labels: &labels[from..], scores: &scores[from..], step: *step }
        })
        .collect();
    let counts: Vec<Counts> = judged.par_iter().map(|series| series.count(1.0)).collect();
    let pooled = Counts::pooled(&counts);
    let (recall, false_alarms) = bootstrap(&counts);
    let curve: Vec<(f64, Counts)> = (0..THRESHOLDS)
        .into_par_iter()
        .map(|number| {
            let threshold = threshold(number);
            let counts: Vec<Counts> = judged.iter().map(|series| series.count(threshold)).collect();
            (threshold, Counts::pooled(&counts))
        })
        .collect();
    let volume = |longest: &(dyn Fn(f64) -> usize + Sync)| {
        let volumes = judged
            .par_iter()
            .map(|series| volume::under_precision_and_recall(series.labels, series.scores, longest(series.step)));
        mean(&volumes.flatten().collect::<Vec<f64>>())
    };
    // Labels of this source are windows around the anomaly: their beginning says nothing.
    let (is_nab, latencies) = (source == "nab", sorted(&pooled.latencies));
    let minutes = |share| (!is_nab).then(|| quantile(&latencies, share)).flatten().map(|seconds| seconds / 60.0);
    let precision = pooled.precision();
    Figures {
        series: scored.len(),
        events: pooled.events,
        event_recall: pooled.recall(),
        event_recall_95: recall,
        false_alarms_per_series_day: pooled.false_alarms_per_day(),
        false_alarms_per_series_day_95: false_alarms,
        latency: Latency { p50_minutes: minutes(0.5), p90_minutes: minutes(0.9) },
        timely_recall: pooled.share_of_events(pooled.timely).filter(|_| !is_nab),
        alarm_precision: precision,
        event_f1: pooled.recall().map(|recall| 2.0 * precision * recall / (precision + recall).max(1e-9)),
        alarm_load: pooled.alarming_quiet_samples as f64 / pooled.quiet_samples.max(1) as f64,
        recall_at_tenth: at_budget(&curve, 0.1),
        recall_at_one: at_budget(&curve, 1.0),
        volume_hour: volume(&|step| (libm::round(3600.0 / step) as usize).clamp(4, 100)),
        volume_hundred: volume(&|_| 100),
        nab: is_nab.then(|| benchmark(scored, &usable)).flatten(),
    }
}

/// What the protocol makes of a score.
pub(super) fn usable(score: f64) -> f64 {
    match score {
        score if score.is_nan() || score == f64::NEG_INFINITY => 0.0,
        score if score == f64::INFINITY => 1e9,
        score => score,
    }
}

fn threshold(number: usize) -> f64 {
    let (lowest, highest) = (libm::log10(LOWEST_THRESHOLD), libm::log10(HIGHEST_THRESHOLD));
    match number {
        0 => LOWEST_THRESHOLD,
        _ if number + 1 == THRESHOLDS => HIGHEST_THRESHOLD,
        _ => libm::exp10(lowest + (highest - lowest) / (THRESHOLDS - 1) as f64 * number as f64),
    }
}

fn at_budget(curve: &[(f64, Counts)], budget: f64) -> AtBudget {
    let kept = curve.iter().rev().take_while(|(_, pooled)| pooled.false_alarms_per_day() <= budget).last();
    AtBudget {
        recall: kept.and_then(|(_, pooled)| pooled.recall()).unwrap_or(0.0),
        threshold: kept.map(|(threshold, _)| *threshold),
        calibration_gap: kept.map(|(threshold, _)| libm::log2(*threshold)),
    }
}

/// Where 95 % of recall and false alarms lie over draws of as many series as there are.
fn bootstrap(counts: &[Counts]) -> (Option<(f64, f64)>, (f64, f64)) {
    let mut random = fastrand::Rng::with_seed(BOOTSTRAP_SEED);
    let (mut recalls, mut rates) = (Vec::new(), Vec::new());
    for _ in 0..BOOTSTRAP_DRAWS {
        let drawn: Vec<&Counts> = counts.iter().map(|_| &counts[random.usize(..counts.len())]).collect();
        let pooled = Counts::pooled(drawn);
        recalls.extend(pooled.recall());
        rates.push(pooled.false_alarms_per_day());
    }
    let bounds = |values: &[f64]| {
        let sorted = sorted(values);
        quantile(&sorted, 0.025).zip(quantile(&sorted, 0.975))
    };
    (bounds(&recalls), bounds(&rates).unwrap_or_default())
}

fn benchmark(scored: &[Scored<'_>], usable: &[Vec<f64>]) -> Option<Nab> {
    let files: Vec<nab::File<'_>> =
        scored.iter().zip(usable).map(|(one, scores)| nab::File { labels: &one.series.labels, scores }).collect();
    let [standard, reward_low_fp, reward_low_fn] = nab::PROFILES.map(|profile| {
        let figure = nab::benchmark(&files, profile)?;
        Some(NabProfile { optimised: figure.optimised, fixed: figure.fixed })
    });
    Some(Nab { files: files.len(), standard: standard?, reward_low_fp: reward_low_fp?, reward_low_fn: reward_low_fn? })
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// Linear between the order statistics.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let at = share * (sorted.len().checked_sub(1)?) as f64;
    let (below, above) = (sorted[libm::floor(at) as usize], sorted[libm::ceil(at) as usize]);
    Some(below + (above - below) * (at - libm::floor(at)))
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
