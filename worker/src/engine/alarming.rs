//! What of a tick's scores is above 1.

use detect::{calibrated::Yardstick, score::Interval};

use super::{JobState, TickInput, TickScores};
use crate::{
    alarms::{Anomaly, EDGE, Excursion},
    joint::Joint,
};

impl JobState {
    /// The series, or groups, with a score above 1 in a tick.
    #[must_use]
    pub fn anomalies(&self, input: &TickInput, scores: &TickScores) -> Vec<Anomaly> {
        let times: Vec<i64> = input.grid.times().collect();
        let mut anomalies = Vec::new();
        for group in &scores.groups {
            let Some((channels, yardstick)) = self.groups.as_ref().and_then(|groups| groups.scored(group)) else {
                continue;
            };
            let mut excursions = excursions(&times, group.anomaly_score(), |_| (None, None), || yardstick);
            for excursion in &mut excursions {
                if let Some(point) = times.iter().position(|time| *time == excursion.time) {
                    excursion.channels = group.farthest(channels, input, point);
                }
            }
            if !excursions.is_empty() {
                anomalies.push(Anomaly { model: 0, labels: Joint::common(channels), excursions });
            }
        }
        let points = input.grid.points;
        for block in &scores.blocks {
            for (model, scores) in block.models.iter().enumerate() {
                let Some(scores) = scores else { continue };
                for (local, row) in block.rows.clone().enumerate() {
                    let cells = local * points..(local + 1) * points;
                    let sample = |point: usize| {
                        let cell = local * points + point;
                        let yhat = scores.yhat[cell];
                        let interval =
                            Interval { yhat, lower: scores.yhat_lower[cell], upper: scores.yhat_upper[cell] };
                        (Some(input.values[row * points + point]), Some(interval).filter(|_| !yhat.is_nan()))
                    };
                    let slot = input.slots[row];
                    let yardstick = || self.yardstick(slot, model);
                    let excursions = excursions(&times, &scores.anomaly_score[cells], sample, yardstick);
                    if let (false, Some(series)) = (excursions.is_empty(), self.series.get(slot)) {
                        anomalies.push(Anomaly { model, labels: series.labels.clone(), excursions });
                    }
                }
            }
        }
        anomalies
    }
}

/// The samples above 1; `sample` gives the value and what was expected at a point, `yardstick` what a score of 1 stands for.
fn excursions(
    times: &[i64],
    scores: &[f64],
    sample: impl Fn(usize) -> (Option<f64>, Option<Interval>),
    yardstick: impl Fn() -> Option<Yardstick>,
) -> Vec<Excursion> {
    let above = times.iter().zip(scores).enumerate().filter(|(_, (_, score))| **score > EDGE);
    let excursion = |(point, (time, score)): (usize, (&i64, &f64))| {
        let (value, expected) = sample(point);
        Excursion { time: *time, score: *score, value, expected, yardstick: yardstick(), channels: Vec::new() }
    };
    above.map(excursion).collect()
}
