//! The recordings, and how their time is mapped onto the clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::components::repository;
use crate::http::{Endpoint, HttpError};
use crate::recording::{Point, RecordingError, read};
use crate::series::Series;

/// Why the recordings cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// One cannot be read.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// One is not as it should be.
    #[error("recording {name}: {message}")]
    Unusable {
        /// Its name.
        name: &'static str,
        /// What is wrong.
        message: String,
    },
}

/// How a recording runs: which part is history, and how fast the rest comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Samples of each recording that are imported as history.
    pub history: usize,
    /// Most samples that are replayed after them.
    pub replayed: usize,
    /// Distance of samples on the clock, ms: stands for five minutes.
    pub tick: i64,
    /// How soon after the incident its alert has to fire, ms.
    pub soon: i64,
}

impl Pace {
    /// A sample a second, scored and judged every second: scoring, writing and evaluating take a second or two each.
    pub const EVERY_SECOND: Self = Self { history: 864, replayed: usize::MAX, tick: 1000, soon: 15_000 };

    /// A sample every five seconds, with the intervals of `deploy/quickstart`: the value drops at the labelled moment, is
    /// read at the next grid point of `inferEvery` (10 s) after `settle` (10 s) and judged at vmalert's next evaluation
    /// (10 s); the rest is slack. The incident comes with the fifth sample.
    pub const EVERY_FIVE_SECONDS: Self = Self { history: 882, replayed: usize::MAX, tick: 5000, soon: 60_000 };
}

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
    /// How it runs.
    pub pace: Pace,
}

impl Replay {
    /// Reads them from `examples/standalone/recordings`.
    ///
    /// # Errors
    /// When one cannot be read, or the part that `pace` replays does not have the incident or has others.
    pub fn load(pace: Pace) -> Result<Self, ReplayError> {
        let folder = repository().join("examples/standalone/recordings");
        let mut recordings = Vec::new();
        for name in std::iter::once(INCIDENT).chain(CONTROLS) {
            recordings.push((name, read(&folder.join(format!("{name}.csv")))?));
        }
        Self::new(recordings, pace)
    }

    fn new(recordings: Vec<(&'static str, Vec<Point>)>, pace: Pace) -> Result<Self, ReplayError> {
        let unusable = |name, message: &str| ReplayError::Unusable { name, message: message.to_owned() };
        let left = recordings.iter().map(|(_, points)| points.len().saturating_sub(pace.history)).min().unwrap_or(0);
        let length = left.min(pace.replayed);
        let incident = recordings.iter().find(|(name, _)| *name == INCIDENT).and_then(|(_, points)| {
            points.iter().skip(pace.history).take(length).position(|point| point.time == LABELLED)
        });
        let incident = incident.ok_or_else(|| unusable(INCIDENT, "the labelled moment is not in its replayed part"))?;
        for (name, points) in &recordings {
            if *name != INCIDENT && points.iter().any(|point| point.anomalous) {
                return Err(unusable(name, "a control recording has a label"));
            }
        }
        Ok(Self { recordings, incident, length, pace })
    }

    /// How many recordings there are.
    #[must_use]
    pub fn recordings(&self) -> usize {
        self.recordings.len()
    }

    /// The history of all recordings, so that its last sample lies at `end`, ms.
    #[must_use]
    pub fn history(&self, end: i64) -> Vec<Series> {
        let Pace { history, tick, .. } = self.pace;
        let time = |index: usize| end - tick * (history - 1 - index) as i64;
        self.series(|points| {
            points.iter().take(history).enumerate().map(|(index, point)| (time(index), point.value)).collect()
        })
    }

    /// One replayed sample of all recordings, at `time`, ms; nothing after the last one.
    #[must_use]
    pub fn samples(&self, index: usize, time: i64) -> Vec<Series> {
        let index = if index < self.length { Some(self.pace.history + index) } else { None };
        self.series(|points| {
            let point = index.and_then(|index| points.get(index));
            point.map(|point| (time, point.value)).into_iter().collect()
        })
    }

    /// Brings the samples into a TSDB that are due at `now`, ms, after so many that are there; returns how many are there.
    ///
    /// # Errors
    /// When the TSDB does not take them.
    pub async fn bring(
        &self,
        tsdb: &Endpoint,
        timeline: Timeline,
        mut replayed: usize,
        now: i64,
    ) -> Result<usize, HttpError> {
        while replayed < self.length && timeline.tick(replayed) <= now {
            tsdb.import(&self.samples(replayed, timeline.tick(replayed))).await?;
            replayed += 1;
        }
        Ok(replayed)
    }

    /// Where the replay is so long after its first sample, ms, in words.
    #[must_use]
    pub fn position(&self, since: i64) -> String {
        let seconds = |samples: usize| self.pace.tick * samples as i64 / 1000;
        let (second, length, incident) = (since / 1000 + 1, seconds(self.length), seconds(self.incident));
        if second > length {
            return format!("replay over for {:>3} s", second - length);
        }
        let incident = if second <= incident {
            format!("incident in {:>2} s", incident - second + 1)
        } else {
            format!("incident for {:>2} s", second - incident)
        };
        format!("replay {second:>3} of {length} s, {incident}")
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
    /// Distance of samples, ms.
    pub tick: i64,
}

impl Timeline {
    /// Begins with the tick after the next one.
    #[must_use]
    pub fn begin(pace: Pace) -> Self {
        Self { start: (now().div_euclid(pace.tick) + 2) * pace.tick, tick: pace.tick }
    }

    /// The tick of a replayed sample, ms.
    #[must_use]
    pub fn tick(self, index: usize) -> i64 {
        self.start + self.tick * index as i64
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
#[must_use]
pub fn now() -> i64 {
    // A clock before 1970 is of no use to a TSDB either.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_ends_before_the_replay_and_nothing_is_left_out() {
        for pace in [Pace::EVERY_SECOND, Pace::EVERY_FIVE_SECONDS] {
            let replay = Replay::load(pace).unwrap();
            let end = 1_800_000_000_000;
            let timeline = Timeline { start: end + 10 * pace.tick, tick: pace.tick };
            let history = replay.history(end);
            assert!(history.iter().all(|series| series.samples.len() == pace.history));
            assert!(history.iter().all(|series| series.samples.last().unwrap().time == end));
            let time = |back: usize| history[0].samples[pace.history - back].time;
            assert_eq!(time(1) - time(2), pace.tick);
            assert!(timeline.tick(0) > end);
            let last = replay.samples(replay.length - 1, timeline.tick(replay.length - 1));
            assert!(last.iter().all(|series| series.samples.len() == 1));
            let after = replay.samples(replay.length, timeline.tick(replay.length));
            assert!(after.iter().all(|series| series.samples.is_empty()));
        }
    }

    #[test]
    fn the_incident_comes_after_ordinary_samples_and_lasts() {
        let replay = Replay::load(Pace::EVERY_SECOND).unwrap();
        assert!(replay.incident >= 15 && replay.length - replay.incident >= 15);
        let replay = Replay::load(Pace::EVERY_FIVE_SECONDS).unwrap();
        assert!(replay.incident >= 4 && replay.length - replay.incident >= 15);
    }

    #[test]
    fn a_position_counts_seconds_whatever_the_distance_of_samples() {
        let replay = Replay::load(Pace { replayed: 12, ..Pace::EVERY_FIVE_SECONDS }).unwrap();
        let shown = [0, 19_000, 20_000, 59_000, 60_000].map(|since| replay.position(since));
        let expected = [
            "replay   1 of 60 s, incident in 20 s",
            "replay  20 of 60 s, incident in  1 s",
            "replay  21 of 60 s, incident for  1 s",
            "replay  60 of 60 s, incident for 40 s",
            "replay over for   1 s",
        ];
        assert_eq!(shown, expected);
    }
}
