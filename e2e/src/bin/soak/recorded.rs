//! The input: recordings of real systems, each in many series that begin at other places of it. Every sample is in the
//! database before anything reads it, the future included: what is read at a tick never depends on how busy the
//! machine is, nor on who reads it.

use ::tests::components::repository;
use ::tests::recording::{Point, read};
use ::tests::series::Series;
use ::tests::signal::now;

use crate::Failure;

/// The metric's name.
pub const METRIC: &str = "recorded";

const RECORDINGS: [&str; 5] =
    ["asg_cpu_percent", "ec2_cpu_percent_5f5533", "ec2_cpu_percent_825cc2", "ec2_request_latency", "amzn_mentions"];

/// Samples before now.
const HISTORY: i64 = 60;

/// Series of one import, and of one comparison.
const GROUP: usize = 500;

/// So many series, a sample every so many seconds, until so many from now.
pub struct Input {
    recordings: Vec<Vec<Point>>,
    series: usize,
    step: i64,
    first: i64,
    points: usize,
}

impl Input {
    /// Reads the recordings.
    pub fn load(series: usize, every: i64, seconds: i64) -> Result<Self, Failure> {
        let folder = repository().join("examples/standalone/recordings");
        let recordings = RECORDINGS.map(|name| read(&folder.join(format!("{name}.csv"))));
        let step = every * 1_000;
        let first = (now().div_euclid(step) - HISTORY) * step;
        let points = usize::try_from(HISTORY + seconds / every).unwrap_or(0);
        Ok(Self { recordings: recordings.into_iter().collect::<Result<_, _>>()?, series, step, first, points })
    }

    /// The series in groups, each small enough for one request.
    pub fn groups(&self) -> impl Iterator<Item = Vec<Series>> + '_ {
        let firsts = (0..self.series).step_by(GROUP);
        firsts.map(|first| (first..(first + GROUP).min(self.series)).map(|number| self.one(number)).collect())
    }

    /// Selectors of the groups.
    pub fn parts(&self) -> Vec<String> {
        (0..self.series).step_by(GROUP).map(|first| format!("group='{}'", group(first))).collect()
    }

    fn one(&self, number: usize) -> Series {
        let recording = self.recordings.get(number % self.recordings.len()).map_or(&[][..], Vec::as_slice);
        let begin = number * 37;
        let samples = (0..self.points).filter_map(|point| {
            let recorded = recording.get((begin + point) % recording.len().max(1))?;
            let time = self.first + i64::try_from(point).ok()? * self.step;
            (!recorded.value.is_nan()).then_some((time, recorded.value))
        });
        Series::new(METRIC, &[("group", &group(number)), ("series", &format!("s{number:05}"))], samples)
    }
}

fn group(number: usize) -> String {
    format!("g{:03}", number / GROUP)
}
