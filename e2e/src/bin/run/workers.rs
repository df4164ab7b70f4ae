//! What each worker does, as it says itself, and the ticks that the database lacks.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use ::tests::http::{Endpoint, HttpError};
use ::tests::series::Series;
use config::status::{JobPhase, Status};
use e2e::members::Member;
use jiff::Timestamp;

/// A worker that does not answer within this is shown as silent.
const PATIENCE: Duration = Duration::from_millis(800);

/// `samplingPeriod` of the quickstart, ms: the distance of scores.
const STEP: i64 = 5_000;

/// What all workers say of themselves.
#[derive(Debug)]
pub struct Report<'a> {
    workers: Vec<(&'a Member, Option<Status>)>,
}

impl<'a> Report<'a> {
    /// Asks all of them.
    pub async fn read(places: &'a [Member]) -> Self {
        let asked = places
            .iter()
            .map(async |place| (place, tokio::time::timeout(PATIENCE, place.status()).await.ok().flatten()));
        Self { workers: futures_util::future::join_all(asked).await }
    }

    fn newest(&self) -> Option<&Status> {
        self.workers.iter().filter_map(|(_, status)| status.as_ref()).max_by_key(|status| status.epoch)
    }

    /// The number of shards in the newest topology.
    pub fn shards(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.newest()?.shards)
    }

    /// The pods that the newest topology has.
    pub fn pods(&self) -> Vec<&'a str> {
        let shards = self.shards().map_or(0, NonZeroU32::get);
        self.workers.iter().filter(|(place, _)| place.shard < shards).map(|(place, _)| place.pod.as_str()).collect()
    }

    /// A head, and a line for each worker that there should be or that still answers.
    pub fn table(&self) -> Vec<String> {
        let shards = self.shards().map_or(0, NonZeroU32::get);
        let mut lines =
            vec![format!("{:>5} {:>4}  {:<26} {:<26} {:>6}  last tick", "shard", "rank", "pod", "does", "series")];
        let mut shown: Vec<_> =
            self.workers.iter().filter(|(place, status)| place.shard < shards || status.is_some()).collect();
        shown.sort_by_key(|(place, _)| (place.shard, place.rank));
        for (place, status) in shown {
            let (series, tick) = status.as_ref().map_or_else(Default::default, done);
            let does = doing(status.as_ref());
            let Member { pod, rank, shard, .. } = place;
            lines.push(format!("{shard:>5} {rank:>4}  {pod:<26} {does:<26} {series:>6}  {tick}").trim_end().to_owned());
        }
        lines
    }
}

/// What a worker is at, in words.
fn doing(status: Option<&Status>) -> String {
    let Some(status) = status else { return "does not answer".to_owned() };
    if let Some(why) = status.not_ready.first() {
        return why.message.chars().take(26).collect();
    }
    let open: u64 = status.jobs.iter().map(|job| job.open_handovers).sum();
    if open > 0 {
        return format!("hands over, {open} to go");
    }
    let phases = [
        (JobPhase::StandingStill, "waits for the database"),
        (JobPhase::Fitting, "learns the history"),
        (JobPhase::CatchingUp, "catches up"),
    ];
    let found = phases.iter().find(|(phase, _)| status.jobs.iter().any(|job| job.phase == *phase));
    found.map_or("scores", |(_, words)| words).to_owned()
}

/// The number of series, and the tick up to which all jobs have written.
fn done(status: &Status) -> (String, String) {
    let series: u64 = status.jobs.iter().map(|job| job.active_series).sum();
    let tick = status.jobs.iter().map(|job| job.last_written_tick_ms).min().flatten();
    let tick = tick.and_then(|tick| Timestamp::from_millisecond(tick).ok());
    (series.to_string(), tick.map_or_else(String::new, |tick| tick.strftime("%H:%M:%S").to_string()))
}

/// How many scores the database lacks between the first one from `since` on, unix ms, and the last one of each series,
/// and in how many series.
///
/// # Errors
/// When it does not answer.
pub async fn missing_ticks(tsdb: &Endpoint, since: i64) -> Result<(usize, usize), HttpError> {
    tsdb.force_flush().await?;
    Ok(missing(&tsdb.export("anomaly_score{for!=''}").await?, since))
}

fn missing(scores: &[Series], since: i64) -> (usize, usize) {
    let mut times: BTreeMap<_, BTreeSet<i64>> = BTreeMap::new();
    for series in scores {
        let samples = series.samples.iter().map(|sample| sample.time).filter(|time| *time >= since);
        times.entry(&series.labels).or_default().extend(samples);
    }
    let lacking = times.values().map(|times| {
        let length = times.last().zip(times.first()).map_or(0, |(last, first)| (last - first) / STEP + 1);
        usize::try_from(length).unwrap_or(0).saturating_sub(times.len())
    });
    (lacking.sum(), times.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_between_others_that_is_not_there_is_missing_and_one_that_was_written_twice_is_not_two() {
        let series = |ticks: &[i64]| Series::new("anomaly_score", &[], ticks.iter().map(|tick| (tick * STEP, 0.0)));
        assert_eq!(missing(&[series(&[1, 2, 3])], 0), (0, 1));
        assert_eq!(missing(&[series(&[1, 2, 2, 4, 6])], 0), (2, 1));
        assert_eq!(missing(&[series(&[1, 3, 4])], 2 * STEP), (0, 1));
        assert_eq!(missing(&[], 0), (0, 0));
    }
}
