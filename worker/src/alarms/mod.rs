//! Alarms: which series are above a score of 1, since when, and why. They are counted, and the worker's API shows them.
//!
//! An alarm lasts from the first score above 1 until none was for [`gap`]: a value that trembles around the edge of its
//! band is one alarm. They are kept in memory only: after a restart, one that goes on is found, and counted, anew.

mod board;
mod sentence;

use std::collections::BTreeMap;

use detect::{calendar::Zone, calibrated::Yardstick, score::Interval};
use serde::Serialize;

pub use board::{AlarmBoard, Alarms, MOST_OF_A_JOB};
pub use sentence::sentence;

use crate::{
    joint::{Joint, QUERY_LABEL},
    labels::Labels,
    series::ByLabels,
};

/// Scores above this one are anomalous, of every model.
pub const EDGE: f64 = 1.0;

/// Two scores above 1 that are not farther apart belong to one alarm, ms, given the step of their series, ms.
#[must_use]
pub fn gap(step: i64) -> i64 {
    step.saturating_mul(3).max(15 * 60_000)
}

/// A sample with a score above 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Excursion {
    /// Its time, ms.
    pub time: i64,
    /// Its score.
    pub score: f64,
    /// Its value; `None` of a group, which has many.
    pub value: Option<f64>,
    /// What was expected instead; `None` of a model that has no such notion.
    pub expected: Option<Interval>,
    /// What a score of 1 stands for; `None` where it is no more than the edge of the band.
    pub yardstick: Option<Yardstick>,
    /// Of a group, the channels that made the score, the farthest from what was expected first; empty of a series, and of a model
    /// that does not tell channels apart.
    pub channels: Vec<ChannelExcursion>,
}

/// What one channel of a group was when the group had a score above 1.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelExcursion {
    /// Its labels, that of its query among them.
    pub channel: Labels,
    /// How far it was from what was expected, in margins of its own.
    pub score: f64,
    /// Its value.
    pub value: f64,
    /// What was expected instead.
    pub expected: Option<Interval>,
}

/// What a tick has of a series, or of a group of series, that has a score above 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Anomaly {
    /// The model, as its position in the job.
    pub model: usize,
    /// Labels of the series, or those that the group's channels share.
    pub labels: Labels,
    /// In order of time, at least one.
    pub excursions: Vec<Excursion>,
}

/// An alarm that is not over.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Alarm {
    /// Alias of the scheduler.
    pub scheduler: String,
    /// Alias of the query; several are joined by commas.
    pub query: String,
    /// Alias of the model.
    pub model: String,
    /// Labels of the series, or those that the group's channels share.
    pub labels: BTreeMap<String, String>,
    /// Time of the first sample above 1, ms.
    pub since_ms: i64,
    /// Time of the last one, ms.
    pub last_ms: i64,
    /// Its score.
    pub score: f64,
    /// The highest score of this alarm.
    pub peak_score: f64,
    /// The last value; absent of a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// The value that was expected; absent of a model that expects none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<f64>,
    /// The least value with a score of at most 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_lower: Option<f64>,
    /// The highest value with a score of at most 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_upper: Option<f64>,
    /// Of a group, the channels that made the score, the farthest from what was expected first; absent of a series, and of a model
    /// that does not tell channels apart.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<AlarmChannel>,
    /// All of that for a person.
    pub sentence: String,
}

/// A channel of a group that made an alarm's last score.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AlarmChannel {
    /// Alias of its query.
    pub query: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// How far it was from what was expected, in margins of its own.
    pub score: f64,
    /// Its value.
    pub value: f64,
    /// The value that was expected; absent where none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<f64>,
    /// The least value that is within the channel's own band.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_lower: Option<f64>,
    /// The highest one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_upper: Option<f64>,
}

/// The alarms of one job that are not over.
#[derive(Debug, Default)]
pub struct OpenAlarms {
    by_model: BTreeMap<String, ByLabels<Open>>,
}

#[derive(Debug, Clone)]
struct Open {
    since: i64,
    last: Excursion,
    peak: f64,
}

impl OpenAlarms {
    /// Takes in what a tick has of a series; returns how many alarms begin with it.
    pub fn note(&mut self, model: &str, labels: &Labels, excursions: &[Excursion], gap: i64) -> u64 {
        let mut begun = 0;
        let of_model = self.by_model.entry(model.to_owned()).or_default();
        for excursion in excursions {
            match of_model.get_mut(labels) {
                Some(open) if excursion.time - open.last.time <= gap => {
                    open.peak = open.peak.max(excursion.score);
                    open.last = excursion.clone();
                }
                _ => {
                    let open = Open { since: excursion.time, last: excursion.clone(), peak: excursion.score };
                    of_model.insert(labels.clone(), open);
                    begun += 1;
                }
            }
        }
        begun
    }

    /// Ends the alarms whose last sample above 1 is farther than `gap` from `now`, both ms, and those of models that
    /// `has_model` does not know. Returns whether there were any.
    pub fn end(&mut self, now: i64, gap: i64, has_model: impl Fn(&str) -> bool) -> bool {
        let before = self.count();
        self.by_model.retain(|model, of_model| {
            of_model.retain(|_, open| now - open.last.time <= gap);
            has_model(model) && !of_model.is_empty()
        });
        self.count() != before
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.by_model.values().map(ByLabels::len).sum()
    }

    /// What is shown of a job whose query has this zone: the `most` with the highest scores, highest first.
    #[must_use]
    pub fn list(&self, (scheduler, query): (&str, &str), zone: Zone, most: usize) -> Listed {
        let all = self.by_model.iter();
        let mut all: Vec<(&str, &Labels, &Open)> = all
            .flat_map(|(model, alarms)| alarms.iter().map(|(labels, open)| (model.as_str(), labels, open)))
            .collect();
        // By labels, too, so that the order does not change from one tick to the next without a reason.
        all.sort_by(|(model, labels, open), (other_model, other_labels, other)| {
            let by_score = other.last.score.total_cmp(&open.last.score);
            by_score.then_with(|| model.cmp(other_model)).then_with(|| labels.hash().cmp(&other_labels.hash()))
        });
        let total = all.len();
        all.truncate(most);
        let alarms =
            all.into_iter().map(|(model, labels, open)| (model.to_owned(), labels.clone(), open.clone())).collect();
        Listed { scheduler: scheduler.to_owned(), query: query.to_owned(), zone, alarms, total }
    }
}

/// What is shown of one job. It becomes text only for who asks: ticks do not wait for that.
#[derive(Debug, Clone, Default)]
pub struct Listed {
    scheduler: String,
    query: String,
    /// Of the query.
    zone: Zone,
    /// Model, series and alarm, highest score first.
    alarms: Vec<(String, Labels, Open)>,
    total: usize,
}

impl Listed {
    /// How many alarms there are, shown or not.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }

    /// Those that are shown, highest score first.
    pub fn alarms(&self) -> impl Iterator<Item = Alarm> {
        self.alarms
            .iter()
            .map(|(model, labels, open)| alarm((&self.scheduler, &self.query, model), &self.zone, labels, open))
    }
}

fn alarm((scheduler, query, model): (&str, &str, &str), zone: &Zone, labels: &Labels, open: &Open) -> Alarm {
    let Excursion { time, score, value, expected, .. } = open.last;
    let texts = |labels: &Labels| labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let channel = |one: &ChannelExcursion| AlarmChannel {
        query: one.channel.get(QUERY_LABEL).unwrap_or_default().to_owned(),
        labels: texts(&Joint::without_query(&one.channel)),
        score: one.score,
        value: one.value,
        expected: one.expected.map(|expected| expected.yhat),
        expected_lower: one.expected.map(|expected| expected.lower),
        expected_upper: one.expected.map(|expected| expected.upper),
    };
    Alarm {
        scheduler: scheduler.to_owned(),
        query: query.to_owned(),
        model: model.to_owned(),
        labels: texts(labels),
        since_ms: open.since,
        last_ms: time,
        score,
        peak_score: open.peak,
        value,
        expected: expected.map(|expected| expected.yhat),
        expected_lower: expected.map(|expected| expected.lower),
        expected_upper: expected.map(|expected| expected.upper),
        channels: open.last.channels.iter().map(channel).collect(),
        sentence: sentence(&open.last, labels, zone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    fn excursion(minute: i64, score: f64) -> Excursion {
        Excursion {
            time: minute * MINUTE,
            score,
            value: Some(1.0),
            expected: None,
            yardstick: None,
            channels: Vec::new(),
        }
    }

    #[test]
    fn scores_that_tremble_around_the_edge_are_one_alarm_and_later_ones_another() {
        let series = Labels::new([("instance", "a")]);
        let mut alarms = OpenAlarms::default();
        let gap = gap(MINUTE);
        assert_eq!(gap, 15 * MINUTE);
        assert_eq!(alarms.note("m", &series, &[excursion(0, 2.0), excursion(2, 5.0), excursion(17, 1.5)], gap), 1);
        assert_eq!(alarms.note("other", &series, &[excursion(17, 3.0)], gap), 1);
        let listed: Vec<Alarm> = alarms.list(("s", "q"), Zone::default(), 10).alarms().collect();
        assert_eq!(listed.iter().map(|alarm| alarm.model.as_str()).collect::<Vec<_>>(), ["other", "m"]);
        assert_eq!((listed[1].since_ms, listed[1].last_ms), (0, 17 * MINUTE));
        assert_eq!((listed[1].score, listed[1].peak_score), (1.5, 5.0));
        assert_eq!(alarms.note("m", &series, &[excursion(33, 2.0)], gap), 1);
    }

    #[test]
    fn an_alarm_ends_after_the_gap_or_with_its_model() {
        let mut alarms = OpenAlarms::default();
        for (model, minute) in [("early", 0), ("late", 10), ("gone", 10)] {
            alarms.note(model, &Labels::new([("a", "b")]), &[excursion(minute, 2.0)], 15 * MINUTE);
        }
        assert!(!alarms.end(15 * MINUTE, 15 * MINUTE, |_| true));
        assert!(alarms.end(16 * MINUTE, 15 * MINUTE, |model| model != "gone"));
        assert_eq!(
            alarms.list(("s", "q"), Zone::default(), 10).alarms().map(|alarm| alarm.model).collect::<Vec<_>>(),
            ["late"]
        );
        assert!(alarms.list(("s", "q"), Zone::default(), 0).alarms().next().is_none());
    }
}
