//! What of a tick's scores is above 1.

use detect::score::Interval;

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
            let scores = group.anomaly_score();
            let excursion = |point: usize| Excursion {
                time: times[point],
                score: scores[point],
                value: None,
                expected: None,
                yardstick,
                channels: group.farthest(channels, input, point),
            };
            let excursions: Vec<Excursion> = above(scores).map(excursion).collect();
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
                    let slot = input.slots[row];
                    let excursion = |point: usize| {
                        let cell = local * points + point;
                        let yhat = scores.yhat[cell];
                        let interval =
                            Interval { yhat, lower: scores.yhat_lower[cell], upper: scores.yhat_upper[cell] };
                        Excursion {
                            time: times[point],
                            score: scores.anomaly_score[cell],
                            value: Some(input.values[row * points + point]),
                            expected: Some(interval).filter(|_| !yhat.is_nan()),
                            yardstick: self.yardstick(slot, model),
                            channels: Vec::new(),
                        }
                    };
                    let excursions: Vec<Excursion> = above(&scores.anomaly_score[cells]).map(excursion).collect();
                    if let (false, Some(series)) = (excursions.is_empty(), self.series.get(slot)) {
                        anomalies.push(Anomaly { model, labels: series.labels.clone(), excursions });
                    }
                }
            }
        }
        anomalies
    }
}

/// Where scores are above 1.
fn above(scores: &[f64]) -> impl Iterator<Item = usize> {
    scores.iter().enumerate().filter(|(_, score)| **score > EDGE).map(|(point, _)| point)
}
