//! Labelled events, alarm episodes, and which of them belong together.
//!
//! The protocol, of a series of samples at times `t` with labels and scores `s`, of which those from `eval_from` on are judged:
//!
//! - an **event** is a run of labelled samples, an **episode** one of samples with a score above the threshold; runs of either
//!   kind that are at most `max(3 step, 15 min)` apart are one,
//! - an event reaches `max(2 step, 5 min)` further on both sides. It is found if an alarm lies in that; an episode that touches
//!   none is a false alarm,
//! - time outside all events is quiet: `step` for every sample.
//!
//! A missing sample, or one without a score, is no alarm.

use std::ops::Range;

/// The judged part of a series.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    /// Times in seconds, ascending.
    pub times: &'a [i64],
    /// Whether each sample is labelled as an anomaly.
    pub labels: &'a [bool],
    /// The score of each sample; never NaN.
    pub scores: &'a [f64],
    /// The usual distance of two times, in seconds.
    pub step: f64,
}

/// What is counted of one series, or of several together, at one threshold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counts {
    /// Labelled events.
    pub events: usize,
    /// Events with an alarm.
    pub found: usize,
    /// Events with an alarm within `max(3 step, 10 min)` of their beginning.
    pub timely: usize,
    /// For each found event the seconds from its beginning to its first alarm, at least 0.
    pub latencies: Vec<f64>,
    /// Alarm episodes.
    pub episodes: usize,
    /// Episodes that touch an event.
    pub true_episodes: usize,
    /// Days of quiet time.
    pub quiet_days: f64,
    /// Samples of quiet time.
    pub quiet_samples: usize,
    /// Those of them with an alarm.
    pub alarming_quiet_samples: usize,
}

impl Counts {
    /// The counts of several series together.
    #[must_use]
    pub fn pooled<'a>(counts: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut pooled = Self::default();
        for one in counts {
            pooled.events += one.events;
            pooled.found += one.found;
            pooled.timely += one.timely;
            pooled.latencies.extend(&one.latencies);
            pooled.episodes += one.episodes;
            pooled.true_episodes += one.true_episodes;
            pooled.quiet_days += one.quiet_days;
            pooled.quiet_samples += one.quiet_samples;
            pooled.alarming_quiet_samples += one.alarming_quiet_samples;
        }
        pooled
    }

    /// Episodes that touch no event.
    #[must_use]
    pub fn false_alarms(&self) -> usize {
        self.episodes - self.true_episodes
    }

    /// The share of the events that a part of them is; `None` without events.
    #[must_use]
    pub fn share_of_events(&self, part: usize) -> Option<f64> {
        (self.events > 0).then(|| part as f64 / self.events as f64)
    }

    /// Share of the events with an alarm; `None` without events.
    #[must_use]
    pub fn recall(&self) -> Option<f64> {
        self.share_of_events(self.found)
    }

    /// False alarms for each day of quiet time.
    #[must_use]
    pub fn false_alarms_per_day(&self) -> f64 {
        self.false_alarms() as f64 / self.quiet_days.max(1e-9)
    }

    /// Share of the episodes that touch an event.
    #[must_use]
    pub fn precision(&self) -> f64 {
        self.true_episodes as f64 / self.episodes.max(1) as f64
    }
}

/// First and last index of every run of samples that `wanted` accepts.
pub(super) fn first_and_last(count: usize, wanted: impl Fn(usize) -> bool) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for index in (0..count).filter(|index| wanted(*index)) {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == index => *last = index,
            _ => runs.push((index, index)),
        }
    }
    runs
}

impl Judged<'_> {
    /// Runs that are closer than the gap are one.
    fn merged_runs(&self, wanted: impl Fn(usize) -> bool) -> Vec<(usize, usize)> {
        let gap = (3.0 * self.step).max(900.0);
        let mut merged: Vec<(usize, usize)> = Vec::new();
        for (first, last) in first_and_last(self.times.len(), wanted) {
            match merged.last_mut() {
                Some((_, end)) if (self.times[first] - self.times[*end]) as f64 <= gap => *end = last,
                _ => merged.push((first, last)),
            }
        }
        merged
    }

    /// The labelled events, first and last index.
    #[must_use]
    pub fn events(&self) -> Vec<(usize, usize)> {
        self.merged_runs(|index| self.labels[index])
    }

    /// The labelled events without an alarm, a score above `threshold`, within their reach.
    #[must_use]
    pub fn missed(&self, threshold: f64) -> Vec<(usize, usize)> {
        let mut events = self.events();
        events.retain(|event| self.first_alarm(*event, threshold).is_none());
        events
    }

    /// The alarm episodes that touch no event.
    #[must_use]
    pub fn false_alarms(&self, threshold: f64) -> Vec<(usize, usize)> {
        let quiet = self.quiet(&self.events());
        let mut episodes = self.episodes(threshold);
        episodes.retain(|episode| is_quiet(&quiet, *episode));
        episodes
    }

    /// Compares the events with the alarms, the scores above `threshold`.
    #[must_use]
    pub fn count(&self, threshold: f64) -> Counts {
        let in_time = (3.0 * self.step).max(600.0);
        let mut counts = Counts::default();
        let events = self.events();
        for event in &events {
            counts.events += 1;
            if let Some(alarm) = self.first_alarm(*event, threshold) {
                let latency = (self.times[alarm] - self.times[event.0]).max(0) as f64;
                counts.found += 1;
                counts.timely += usize::from(latency <= in_time);
                counts.latencies.push(latency);
            }
        }
        let quiet = self.quiet(&events);
        for episode in self.episodes(threshold) {
            counts.episodes += 1;
            counts.true_episodes += usize::from(!is_quiet(&quiet, episode));
        }
        counts.quiet_samples = quiet.iter().filter(|quiet| **quiet).count();
        counts.alarming_quiet_samples =
            (0..quiet.len()).filter(|index| quiet[*index] && self.scores[*index] > threshold).count();
        counts.quiet_days = counts.quiet_samples as f64 * self.step / 86_400.0;
        counts
    }

    fn episodes(&self, threshold: f64) -> Vec<(usize, usize)> {
        self.merged_runs(|index| self.scores[index] > threshold)
    }

    /// The samples in which an alarm finds an event.
    fn reach(&self, (first, last): (usize, usize)) -> Range<usize> {
        let slack = (2.0 * self.step).max(300.0);
        let begins = self.times.partition_point(|time| (*time as f64) < self.times[first] as f64 - slack);
        begins..self.times.partition_point(|time| *time as f64 <= self.times[last] as f64 + slack)
    }

    fn first_alarm(&self, event: (usize, usize), threshold: f64) -> Option<usize> {
        self.reach(event).find(|index| self.scores[*index] > threshold)
    }

    /// Of each sample whether it is within the reach of no event.
    fn quiet(&self, events: &[(usize, usize)]) -> Vec<bool> {
        let mut quiet = vec![true; self.times.len()];
        for event in events {
            quiet[self.reach(*event)].fill(false);
        }
        quiet
    }
}

fn is_quiet(quiet: &[bool], (first, last): (usize, usize)) -> bool {
    quiet[first..=last].iter().all(|quiet| *quiet)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sample a minute; `#` is labelled, and an alarm is `!` or, where labelled, `X`.
    fn count(picture: &str) -> Counts {
        let times: Vec<i64> = (0..picture.len() as i64).map(|minute| minute * 60).collect();
        let labels: Vec<bool> = picture.chars().map(|sample| "#X".contains(sample)).collect();
        let scores: Vec<f64> = picture.chars().map(|sample| if "!X".contains(sample) { 2.0 } else { 0.5 }).collect();
        Judged { times: &times, labels: &labels, scores: &scores, step: 60.0 }.count(1.0)
    }

    #[test]
    fn an_alarm_five_minutes_before_an_event_finds_it_and_one_six_minutes_before_is_false() {
        let near = count("....!....##....");
        assert_eq!((near.events, near.found, near.true_episodes, near.false_alarms()), (1, 1, 1, 0));
        assert_eq!(near.latencies, [0.0]);
        let far = count("...!.....##....");
        assert_eq!((far.events, far.found, far.true_episodes, far.false_alarms()), (1, 0, 0, 1));
        assert_eq!(far.alarming_quiet_samples, 1);
    }

    #[test]
    fn runs_up_to_a_quarter_of_an_hour_apart_are_one_event_and_one_episode() {
        let gap = |samples: usize| format!("#{}#", ".".repeat(samples));
        assert_eq!(count(&gap(14)).events, 1);
        assert_eq!(count(&gap(15)).events, 2);
        let alarms = |samples: usize| format!("!{}!", ".".repeat(samples));
        assert_eq!(count(&alarms(14)).episodes, 1);
        assert_eq!(count(&alarms(15)).episodes, 2);
    }

    #[test]
    fn what_is_missed_and_what_is_false_is_named() {
        let scores = [0.5, 2.0, 0.5, 0.5, 0.9, 0.5, 2.0, 0.5, 2.0];
        let labels = [false, false, false, false, true, false, false, false, true];
        let times: Vec<i64> = (0..9).map(|hour| hour * 3600).collect();
        let judged = Judged { times: &times, labels: &labels, scores: &scores, step: 900.0 };
        assert_eq!((judged.missed(1.0), judged.false_alarms(1.0)), (vec![(4, 4)], vec![(1, 1), (6, 6)]));
        assert_eq!((judged.missed(0.8), judged.false_alarms(2.0)), (vec![], vec![]));
    }

    #[test]
    fn an_alarm_is_timely_up_to_ten_minutes_after_the_beginning() {
        let late = |minutes: usize| count(&format!("{}X", "#".repeat(minutes)));
        assert_eq!((late(10).timely, late(10).latencies), (1, vec![600.0]));
        assert_eq!((late(11).timely, late(11).latencies), (0, vec![660.0]));
    }

    #[test]
    fn quiet_time_is_what_lies_outside_of_events_and_their_margins() {
        let counts = count("..........##..........");
        assert_eq!(counts.quiet_samples, 10);
        assert!((counts.quiet_days - 600.0 / 86_400.0).abs() < 1e-15);
    }
}
