//! A labelled series through the engine that scores in production: the same fits, states and ticks, on samples in the order of
//! time, so that no score knows of a later sample.

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};

use super::labelled::LabelledSeries;
use crate::{
    engine::{FitWindow, JobState, TickInput},
    environment::{Grid, Stopwatch},
    joint::Joint,
    labels::Labels,
    plan::JobPlan,
};

/// What a model has said of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct Replayed {
    /// The score at each time; NaN before the first judged one, and where the model gave none.
    pub scores: Vec<f64>,
    /// The lower bound of what was expected at each time; NaN where there is none, and for several channels.
    pub lower: Vec<f64>,
    /// The upper bound.
    pub upper: Vec<f64>,
    /// Number of fits.
    pub fits: usize,
    /// Fits that a model refused, by reason.
    pub refused: BTreeMap<String, usize>,
}

/// Fits the only model of a job before the first judged time and, unless once is enough, every `fit_every` from then on, each time on
/// the samples of the `fit_window` before, and scores the samples between.
#[must_use]
pub fn replay(job: &JobPlan, series: &LabelledSeries) -> Replayed {
    let times: Vec<i64> = series.times.iter().map(|seconds| seconds.saturating_mul(1000)).collect();
    let [scores, lower, upper] = [(); 3].map(|()| vec![f64::NAN; times.len()]);
    let mut replayed = Replayed { scores, lower, upper, fits: 0, refused: BTreeMap::new() };
    let mut next = series.first_judged();
    let rows_before = |time: i64| times.partition_point(|row| *row < time);
    // The grid of the fits, of which those without a sample to score after them are left out.
    let Some(first_fit) = times.get(next).copied() else { return replayed };
    let mut state: Option<JobState> = None;
    while let Some(time) = times.get(next) {
        let fit = first_fit + (time - first_fit) / job.scheduler.fit_every * job.scheduler.fit_every;
        let window = rows_before(fit - job.scheduler.fit_window)..rows_before(fit);
        let until = rows_before(fit + job.scheduler.fit_every);
        let kept = state.take().filter(|state| !state.models.iter().any(|model| model.is_due_for(fit)));
        let state = state.insert(kept.unwrap_or_else(|| fitted(job, series, &times, window, fit, &mut replayed)));
        for run in equidistant(&times, next..until) {
            let input = input(series, &times, run.clone());
            let scores = state.infer(&input);
            if let Some(scores) = scores.of_only_series() {
                replayed.scores[run.clone()].copy_from_slice(scores);
            }
            if let Some((lower, upper)) = scores.bounds_of_only_series() {
                replayed.lower[run.clone()].copy_from_slice(lower);
                replayed.upper[run].copy_from_slice(upper);
            }
        }
        next = until;
    }
    replayed
}

/// A state after a fit to the rows of a window.
fn fitted(
    job: &JobPlan,
    series: &LabelledSeries,
    times: &[i64],
    window: Range<usize>,
    fit: i64,
    replayed: &mut Replayed,
) -> JobState {
    let mut state = JobState::new(job.clone());
    for model in &mut state.models {
        model.fitted_to = Some(fit);
    }
    for (name, _) in &series.channels {
        let labels = Labels::new([("source", &series.source), ("series", &series.name), ("channel", name)]);
        let labels = if job.joint.is_some() { Joint::channel(&job.query_alias, &labels) } else { labels };
        state.series.place(&labels, fit);
    }
    state.grow();
    let mut history = FitWindow::default();
    // So searches make all their trials, whatever the machine.
    let unlimited: Stopwatch = Arc::new(|| Duration::ZERO);
    for run in equidistant(times, window) {
        let chunk = input(series, times, run);
        state.learn_chunk(&chunk);
        if state.needs_window() {
            history.push(chunk);
        }
    }
    state.finish_fit();
    if state.needs_window() {
        state.gather(&history);
        for slice in state.slices() {
            let mut refused = state.fit_slice(&history, &slice);
            let mut searches = state.begin_searches(&history, &slice);
            while !searches.is_empty() {
                refused.extend(state.search(&mut searches, &history, &unlimited).refused);
            }
            for refused in refused {
                *replayed.refused.entry(refused.error.to_string()).or_default() += 1;
            }
        }
    }
    replayed.fits += 1;
    state
}

/// The rows of a range in runs of equal distances, as ticks have them; a gap begins a new run.
fn equidistant(times: &[i64], rows: Range<usize>) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for row in rows {
        match runs.last_mut() {
            Some(run) if run.len() == 1 || times[row] - times[row - 1] == times[run.start + 1] - times[run.start] => {
                run.end = row + 1;
            }
            _ => runs.push(row..row + 1),
        }
    }
    runs
}

fn input(series: &LabelledSeries, times: &[i64], rows: Range<usize>) -> TickInput {
    let step = if rows.len() > 1 { times[rows.start + 1] - times[rows.start] } else { 1 };
    let grid = Grid { start: times[rows.start], step, points: rows.len() };
    let values = series.channels.iter().flat_map(|(_, values)| values[rows.clone()].iter().copied()).collect();
    let slots = (0..).take(series.channels.len()).collect();
    TickInput { tick: grid.end(), grid, slots, values, query_series: 0 }
}
