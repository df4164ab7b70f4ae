//! Whether the run showed what it should: the alert fired for the incident, said what was expected and what came
//! instead, and fired for no other recording.

use std::collections::BTreeMap;

use super::observation::{ALERT, Observer};
use super::replay::{CONTROLS, INCIDENT, Replay, Timeline, now};
use crate::http::HttpError;

/// What the TSDB has about the recordings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// Ticks of scores, by recording, ms.
    pub scores: BTreeMap<String, Vec<i64>>,
    /// Times at which vmalert saw the alert fire, by recording, ms.
    pub firing: BTreeMap<String, Vec<i64>>,
    /// What the incident's alert says.
    pub sentence: Option<String>,
    /// The incident's samples with a score above 1.
    pub excursions: Vec<Told>,
}

/// What is told of a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Told {
    /// The least value that was expected.
    pub lower: f64,
    /// The greatest one.
    pub upper: f64,
    /// The one that came.
    pub value: f64,
}

impl Told {
    /// What the sentence of an alert tells; nothing where there is no expected range and value in it.
    #[must_use]
    pub fn by(sentence: &str) -> Option<Self> {
        let (range, value) = sentence.rsplit_once("expected ")?.1.split_once(", was ")?;
        let (lower, upper) = range.split_once(" to ")?;
        let number = |text: &str| text.trim_end_matches('.').parse::<f64>().ok();
        Some(Self { lower: number(lower)?, upper: number(upper)?, value: number(value)? })
    }

    /// Whether both are of one sample, to the four digits that a sentence has.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        let same = |one: f64, other: f64| (one - other).abs() <= 0.001 * other.abs();
        same(self.lower, other.lower) && same(self.upper, other.upper) && same(self.value, other.value)
    }
}

impl Outcome {
    /// Reads it from VictoriaMetrics and vmalert.
    ///
    /// # Errors
    /// When one of them does not answer.
    pub async fn read(observer: &Observer) -> Result<Self, HttpError> {
        let tsdb = &observer.tsdb;
        tsdb.force_flush().await?;
        let by_recording = async |selector: &str| -> Result<BTreeMap<String, Vec<i64>>, HttpError> {
            let series = tsdb.export(selector).await?;
            let times = series.iter().map(|series| {
                let times = series.samples.iter().filter(|sample| sample.value.is_finite()).map(|sample| sample.time);
                (series.label("recording").to_owned(), times.collect())
            });
            Ok(times.collect())
        };
        let firing = format!("ALERTS{{alertname='{ALERT}',alertstate='firing',for='recording'}}");
        let rows = observer.observe(now()).await?;
        Ok(Self {
            scores: by_recording("anomaly_score{for='recording'}").await?,
            firing: by_recording(&firing).await?,
            sentence: rows.into_iter().find(|row| row.name == INCIDENT).and_then(|row| row.alert),
            excursions: excursions(observer).await?,
        })
    }

    /// Whether every replayed sample has its score.
    #[must_use]
    pub fn is_complete(&self, replay: &Replay, timeline: Timeline) -> bool {
        std::iter::once(INCIDENT).chain(CONTROLS).all(|name| self.scored(name, replay, timeline) == replay.length)
    }

    fn scored(&self, name: &str, replay: &Replay, timeline: Timeline) -> usize {
        let times = self.scores.get(name).map_or(&[][..], Vec::as_slice);
        (0..replay.length).filter(|index| times.contains(&timeline.tick(*index))).count()
    }

    /// Everything that is not as it should be; empty when all is well.
    #[must_use]
    pub fn reasons(&self, replay: &Replay, timeline: Timeline) -> Vec<String> {
        let mut reasons = Vec::new();
        for name in std::iter::once(INCIDENT).chain(CONTROLS) {
            let scored = self.scored(name, replay, timeline);
            if scored != replay.length {
                reasons.push(format!("{name} has {scored} scores for {} replayed samples", replay.length));
            }
        }
        let first = |name: &str| self.firing.get(name).and_then(|times| times.iter().min()).copied();
        let seconds = |time: i64| (time - timeline.start) as f64 / 1000.0;
        let incident = timeline.tick(replay.incident);
        match first(INCIDENT) {
            None => reasons.push(format!("no alert fired for the incident in {INCIDENT}")),
            Some(time) if time < incident => reasons.push(format!(
                "the alert for {INCIDENT} fired {:.0} s into the replay, before the incident at {:.0} s",
                seconds(time),
                seconds(incident)
            )),
            Some(time) if time > incident + replay.pace.soon => reasons.push(format!(
                "the alert for {INCIDENT} fired only {:.0} s after the incident",
                seconds(time) - seconds(incident)
            )),
            Some(_) => reasons.extend(self.untold()),
        }
        for name in CONTROLS {
            if let Some(time) = first(name) {
                reasons.push(format!(
                    "an alert fired for the control recording {name}, {:.0} s into the replay",
                    seconds(time)
                ));
            }
        }
        reasons
    }

    /// What the sentence of the incident's alert lacks.
    fn untold(&self) -> Option<String> {
        let Some(sentence) = &self.sentence else { return Some(format!("the alert for {INCIDENT} says nothing")) };
        let Some(told) = Told::by(sentence) else {
            return Some(format!("the alert for {INCIDENT} does not say what was expected and what came: {sentence}"));
        };
        let is_so = self.excursions.iter().any(|excursion| told.is(excursion));
        (!is_so).then(|| format!("the alert for {INCIDENT} tells of no sample with a score above 1: {sentence}"))
    }

    /// Whether the alert has fired for the incident.
    #[must_use]
    pub fn has_fired(&self) -> bool {
        self.firing.contains_key(INCIDENT)
    }

    /// Seconds from the incident to the alert.
    #[must_use]
    pub fn delay(&self, replay: &Replay, timeline: Timeline) -> Option<f64> {
        let first = self.firing.get(INCIDENT)?.iter().min()?;
        Some((first - timeline.tick(replay.incident)) as f64 / 1000.0)
    }
}

async fn excursions(observer: &Observer) -> Result<Vec<Told>, HttpError> {
    let names = "anomaly_score|y|yhat_lower|yhat_upper";
    let selector = format!("{{__name__=~'{names}',for='recording',recording='{INCIDENT}'}}");
    let mut by_time: BTreeMap<i64, BTreeMap<String, f64>> = BTreeMap::new();
    for series in observer.tsdb.export(&selector).await? {
        for sample in &series.samples {
            by_time.entry(sample.time).or_default().insert(series.label("__name__").to_owned(), sample.value);
        }
    }
    let excursions = by_time.values().filter(|outputs| outputs.get("anomaly_score").is_some_and(|score| *score > 1.0));
    let told = |outputs: &BTreeMap<String, f64>| {
        let output = |name| outputs.get(name).copied();
        Some(Told { lower: output("yhat_lower")?, upper: output("yhat_upper")?, value: output("y")? })
    };
    Ok(excursions.filter_map(told).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::replay::Pace;

    impl Outcome {
        fn fires(&mut self, name: &str, time: i64) {
            self.firing.insert(name.to_owned(), vec![time]);
        }

        fn loses_score(&mut self, name: &str, tick: i64) {
            self.scores.entry(name.to_owned()).or_default().retain(|time| *time != tick);
        }
    }

    fn good() -> (Replay, Timeline, Outcome) {
        let replay = Replay::load(Pace::EVERY_SECOND).unwrap();
        let timeline = Timeline { start: 1_800_000_000_000, tick: 1000 };
        let ticks: Vec<_> = (0..replay.length).map(|index| timeline.tick(index)).collect();
        let scores = std::iter::once(INCIDENT).chain(CONTROLS).map(|name| (name.to_owned(), ticks.clone())).collect();
        let firing = BTreeMap::from([(INCIDENT.to_owned(), vec![timeline.tick(replay.incident) + 3000])]);
        let sentence = Some("far from the expected range: expected 27.18 to 43.56, was 1.334.".to_owned());
        let excursions = vec![Told { lower: 27.1834, upper: 43.559, value: 1.334 }];
        (replay, timeline, Outcome { scores, firing, sentence, excursions })
    }

    #[test]
    fn an_alert_for_the_incident_alone_is_a_success() {
        let (replay, timeline, outcome) = good();
        assert_eq!(outcome.reasons(&replay, timeline), Vec::<String>::new());
    }

    #[test]
    fn every_other_outcome_is_a_failure_that_names_its_reason() {
        type Spoil = fn(&mut Outcome, i64);
        let spoilt: [(Spoil, &str); 8] = [
            (|outcome, _| outcome.firing.clear(), "no alert"),
            (|outcome, incident| outcome.fires(INCIDENT, incident - 1), "before the incident"),
            (|outcome, incident| outcome.fires(INCIDENT, incident + 16_000), "only 16 s"),
            (|outcome, incident| outcome.fires(CONTROLS[2], incident), CONTROLS[2]),
            (|outcome, incident| outcome.loses_score(CONTROLS[1], incident), "40 scores for 41"),
            (|outcome, _| outcome.sentence = None, "says nothing"),
            (|outcome, _| outcome.sentence = Some("far from the expected range.".to_owned()), "does not say"),
            (|outcome, _| outcome.excursions[0].value = 1.4, "tells of no sample"),
        ];
        for (spoil, reason) in spoilt {
            let (replay, timeline, mut outcome) = good();
            spoil(&mut outcome, timeline.tick(replay.incident));
            let reasons = outcome.reasons(&replay, timeline);
            assert!(reasons.len() == 1 && reasons[0].contains(reason), "{reason}: {reasons:?}");
        }
    }
}
