//! The recordings, and how their time is mapped onto the clock: one second stands for five minutes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::tests::components::repository;
use ::tests::recording::{Point, read};
use ::tests::series::Series;

use crate::Failure;

/// Samples of each recording that are imported as history; the rest is replayed.
pub const HISTORY: usize = 864;

/// Distance of samples on the clock, ms.
pub const TICK: i64 = 1000;

/// The recording with the incident.
pub const INCIDENT: &str = "asg_cpu_percent";

/// Recordings of ordinary hours: nothing in them is labelled.
pub const CONTROLS: [&str; 4] =
    ["ec2_cpu_percent_5f5533", "ec2_cpu_percent_825cc2", "ec2_request_latency", "amzn_mentions"];

/// The moment that the benchmark labels in [`INCIDENT`]: 2014-01-29 00:45 UTC, ms.
const LABELLED: i64 = 1_390_956_300_000;

/// The name of the metric that carries the recordings.
const METRIC: &str = "recorded_value";

/// All recordings.
pub struct Replay {
    recordings: Vec<(&'static str, Vec<Point>)>,
    /// Index of the incident's first sample in the replayed part.
    pub incident: usize,
    /// Samples to replay.
    pub length: usize,
}

impl Replay {
    /// Reads them from `examples/standalone/recordings`.
    pub fn load() -> Result<Self, Failure> {
        let folder = repository().join("examples/standalone/recordings");
        let mut recordings = Vec::new();
        for name in std::iter::once(INCIDENT).chain(CONTROLS) {
            recordings.push((name, read(&folder.join(format!("{name}.csv")))?));
        }
        Self::new(recordings)
    }

    fn new(recordings: Vec<(&'static str, Vec<Point>)>) -> Result<Self, Failure> {
        let unusable = |name, message: &str| Failure::Unusable { name, message: message.to_owned() };
        let length = recordings.iter().map(|(_, points)| points.len().saturating_sub(HISTORY)).min().unwrap_or(0);
        let incident = recordings
            .iter()
            .find(|(name, _)| *name == INCIDENT)
            .and_then(|(_, points)| points.iter().skip(HISTORY).take(length).position(|point| point.time == LABELLED));
        let incident = incident.ok_or_else(|| unusable(INCIDENT, "the labelled moment is not in its replayed part"))?;
        for (name, points) in &recordings {
            if *name != INCIDENT && points.iter().any(|point| point.anomalous) {
                return Err(unusable(name, "a control recording has a label"));
            }
        }
        Ok(Self { recordings, incident, length })
    }

    /// How many recordings there are.
    pub fn recordings(&self) -> usize {
        self.recordings.len()
    }

    /// The history of all recordings, so that its last sample lies at `end`, ms.
    pub fn history(&self, end: i64) -> Vec<Series> {
        let time = |index: usize| end - TICK * (HISTORY - 1 - index) as i64;
        self.series(|points| {
            points.iter().take(HISTORY).enumerate().map(|(index, point)| (time(index), point.value)).collect()
        })
    }

    /// One replayed sample of all recordings, at `time`, ms.
    pub fn samples(&self, index: usize, time: i64) -> Vec<Series> {
        self.series(|points| points.get(HISTORY + index).map(|point| (time, point.value)).into_iter().collect())
    }

    fn series(&self, samples: impl Fn(&[Point]) -> Vec<(i64, f64)>) -> Vec<Series> {
        let recordings = self.recordings.iter();
        recordings.map(|(name, points)| Series::new(METRIC, &[("recording", name)], samples(points))).collect()
    }
}

/// When which sample is replayed.
#[derive(Debug, Clone, Copy)]
pub struct Timeline {
    /// The tick of the first replayed sample, ms.
    pub start: i64,
}

impl Timeline {
    /// Begins with the whole second after the next one.
    pub fn begin() -> Self {
        Self { start: (now().div_euclid(TICK) + 2) * TICK }
    }

    /// The tick of a replayed sample, ms.
    pub fn tick(self, index: usize) -> i64 {
        self.start + TICK * index as i64
    }

    /// Waits for a tick.
    pub async fn reach(self, index: usize) -> i64 {
        let tick = self.tick(index);
        let wait = u64::try_from(tick - now()).unwrap_or(0);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        tick
    }
}

/// Unix time, ms.
pub fn now() -> i64 {
    // A clock before 1970 is of no use to a TSDB either.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_ends_before_the_replay_and_nothing_is_left_out() {
        let replay = Replay::load().unwrap();
        let end = 1_800_000_000_000;
        let timeline = Timeline { start: end + 10 * TICK };
        let history = replay.history(end);
        assert!(history.iter().all(|series| series.samples.len() == HISTORY));
        assert!(history.iter().all(|series| series.samples.last().unwrap().time == end));
        assert!(timeline.tick(0) > end);
        let last = replay.samples(replay.length - 1, timeline.tick(replay.length - 1));
        assert!(last.iter().all(|series| series.samples.len() == 1));
    }

    #[test]
    fn the_incident_comes_after_ordinary_samples_and_lasts() {
        let replay = Replay::load().unwrap();
        assert!(replay.incident >= 15 && replay.length - replay.incident >= 15);
    }
}
