//! The parts of a series that are drawn.

use std::{fmt, ops::Range, str::FromStr};

use jiff::Timestamp;

use super::{EvaluationError, events::Judged, figures::usable, labelled::LabelledSeries};

/// How far a part goes to both sides of what it is around, in steps of the series, unless a length is said.
const MARGIN_STEPS: f64 = 60.0;

/// What a part of a series is drawn around.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Around {
    /// Every labelled event without an alarm.
    Missed,
    /// Every alarm that touches no event.
    False,
    /// A time.
    Time(Timestamp),
}

/// Text that is none of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAround;

impl fmt::Display for NotAround {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("must be missed, false, or a time such as 2014-07-10T20:35:00Z")
    }
}

impl std::error::Error for NotAround {}

impl FromStr for Around {
    type Err = NotAround;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "missed" => Ok(Self::Missed),
            "false" => Ok(Self::False),
            time => time.parse().map(Self::Time).map_err(|_| NotAround),
        }
    }
}

/// A part of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct Extract {
    /// Its rows.
    pub rows: Range<usize>,
    /// What follows the name of the series in the name of its file; empty of all that is judged.
    pub ending: String,
    /// The same for people: `, missed: highest score 0.83`.
    pub what: String,
}

/// The parts of a series to draw; all that is judged if nothing is wanted. Of times those that are near a sample.
#[must_use]
pub fn extracts(around: &[Around], margin: Option<i64>, series: &LabelledSeries, scores: &[f64]) -> Vec<Extract> {
    let first = series.first_judged();
    if around.is_empty() {
        let rows = first..series.times.len();
        return vec![Extract { rows, ending: String::new(), what: String::new() }];
    }
    let scores: Vec<f64> = scores.iter().map(|score| usable(*score)).collect();
    let judged = Judged {
        times: &series.times[first..],
        labels: &series.labels[first..],
        scores: &scores[first..],
        step: series.step,
    };
    let runs = |runs: Vec<(usize, usize)>, name: &'static str| {
        let extract = |(from, to): (usize, usize)| {
            let (from, to) = (first + from, first + to);
            let (begin, end) = (series.times[from], series.times[to]);
            let highest = scores[from..=to].iter().copied().fold(0.0, f64::max);
            Extract {
                rows: rows(series, margin, begin, end),
                ending: format!("-{name}-{}", compact(begin)),
                what: format!(", {name}: highest score {highest:.2}"),
            }
        };
        runs.into_iter().map(extract).collect::<Vec<_>>()
    };
    let parts = around.iter().flat_map(|around| match around {
        Around::Missed => runs(judged.missed(1.0), "missed"),
        Around::False => runs(judged.false_alarms(1.0), "false"),
        Around::Time(time) => {
            let seconds = time.as_second();
            let (ending, what) = (format!("-{}", compact(seconds)), String::new());
            vec![Extract { rows: rows(series, margin, seconds, seconds), ending, what }]
        }
    });
    parts.filter(|part| !part.rows.is_empty()).collect()
}

/// Whether there is something to draw around each time.
///
/// # Errors
/// Names the first time that no series has a sample near of.
pub fn check(around: &[Around], margin: Option<i64>, all: &[LabelledSeries]) -> Result<(), EvaluationError> {
    for around in around {
        let Around::Time(time) = around else { continue };
        let seconds = time.as_second();
        if all.iter().all(|series| rows(series, margin, seconds, seconds).is_empty()) {
            return Err(EvaluationError::NothingAround { time: time.to_string() });
        }
    }
    Ok(())
}

/// The rows from one time to another, in seconds, and a margin in ms before and after them.
fn rows(series: &LabelledSeries, margin: Option<i64>, begin: i64, end: i64) -> Range<usize> {
    let margin = margin.map_or(MARGIN_STEPS * series.step, |margin| margin as f64 / 1000.0);
    let from = series.times.partition_point(|time| (*time as f64) < begin as f64 - margin);
    from..series.times.partition_point(|time| *time as f64 <= end as f64 + margin)
}

/// A time in seconds for the name of a file: `20140710T203500Z`.
fn compact(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or(String::new(), |time| time.strftime("%Y%m%dT%H%M%SZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sample a minute for ten hours; an event in the third hour that is missed, and a false alarm in the sixth.
    fn series() -> (LabelledSeries, Vec<f64>) {
        let series = LabelledSeries {
            source: "own".to_owned(),
            name: "s".to_owned(),
            split: String::new(),
            step: 60.0,
            eval_from: 3600,
            times: (0..600).map(|row| row * 60).collect(),
            channels: vec![("value".to_owned(), vec![0.0; 600])],
            labels: (0..600).map(|row| (150..160).contains(&row)).collect(),
        };
        let mut scores = vec![0.25; 600];
        (scores[155], scores[330]) = (0.75, 1.5);
        scores[..60].fill(f64::NAN);
        (series, scores)
    }

    #[test]
    fn a_part_is_what_is_wanted_and_its_margin() {
        let (series, scores) = series();
        let parts = |wanted: &[Around], margin| extracts(wanted, margin, &series, &scores);
        assert_eq!(parts(&[], None)[0].rows, 60..600);
        let time = Around::Time(Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_mins(500));
        let both = parts(&[Around::Missed, Around::False, time], None);
        assert_eq!(both.iter().map(|part| part.rows.clone()).collect::<Vec<_>>(), [90..220, 270..391, 440..561]);
        let endings = ["-missed-19700101T023000Z", "-false-19700101T053000Z", "-19700101T082000Z"];
        assert_eq!(both.iter().map(|part| part.ending.as_str()).collect::<Vec<_>>(), endings);
        assert_eq!(both[0].what, ", missed: highest score 0.75");
        assert_eq!(parts(&[Around::False], Some(120_000))[0].rows, 328..333);
    }

    #[test]
    fn a_time_that_no_series_has_is_an_error_and_other_words_are_refused() {
        let (series, _) = series();
        let later = "1971-01-01T00:00:00Z".parse().unwrap();
        let error = check(&[Around::Missed, later], None, &[series]).unwrap_err().to_string();
        assert_eq!(error, "no series has a sample near 1971-01-01T00:00:00Z, which a picture was to be around");
        assert_eq!("mised".parse::<Around>(), Err(NotAround));
    }
}
