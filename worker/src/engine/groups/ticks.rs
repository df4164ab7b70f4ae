//! A tick of the groups: what they score, learn and write.

use detect::{
    calibrated::Yardstick,
    model::is_missing,
    multivariate::{Channels, JointScores},
    offline::FitError,
    score::Interval,
};
use rayon::prelude::*;

use super::{Group, Groups, sorted};
use crate::{
    alarms::ChannelExcursion,
    engine::TickInput,
    joint::Joint,
    labels::Labels,
    output::{OutputColumns, OutputFormat},
    series::{ByLabels, SeriesTable},
};

/// Most channels that are named where a group is above a score of 1.
const NAMED_CHANNELS: usize = 3;

/// The scores of one group.
pub(in crate::engine) struct GroupScores {
    /// The first channel of the group.
    first: Labels,
    /// The rows of the channels in the input.
    rows: Vec<usize>,
    scores: JointScores,
}

impl GroupScores {
    /// The joint score at each time.
    pub(in crate::engine) fn anomaly_score(&self) -> &[f64] {
        &self.scores.anomaly_score
    }

    /// What made the joint score at one of its times: the channels, of these, that are farthest from what was expected of them, the
    /// farthest first. None of a model that does not tell channels apart.
    pub(in crate::engine) fn farthest(
        &self,
        channels: &[Labels],
        input: &TickInput,
        point: usize,
    ) -> Vec<ChannelExcursion> {
        let points = self.scores.anomaly_score.len();
        let cell = |index: usize| index * points + point;
        let score = |index: usize| Some((index, self.scores.channel_scores.get(cell(index)).copied()?));
        let mut farthest: Vec<(usize, f64)> =
            (0..channels.len().min(self.rows.len())).filter_map(score).filter(|(_, score)| *score > 0.0).collect();
        // Channels are sorted, so the first of equal ones stays the first.
        farthest.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        let excursion = |(index, score): (usize, f64)| ChannelExcursion {
            channel: channels[index].clone(),
            score,
            value: input.values[self.rows[index] * points + point],
            expected: self.scores.intervals.get(cell(index)).copied().filter(Interval::is_some),
        };
        farthest.into_iter().take(NAMED_CHANNELS).map(excursion).collect()
    }
}

/// A group that a tick has no scores of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unscored {
    /// Its labels.
    pub group: Labels,
    /// Its channels; none: it has no state.
    pub fitted: usize,
    /// Channels of the tick.
    pub found: usize,
    /// A channel that the tick lacks, if any.
    pub missing: Option<Labels>,
    /// A channel of the tick that it does not have, if any.
    pub unknown: Option<Labels>,
    /// Why it could not begin.
    pub refused: Option<FitError>,
}

impl std::fmt::Display for Unscored {
    /// Why, by example.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { group, fitted, found, missing, unknown, refused } = self;
        if let Some(refused) = refused {
            return write!(formatter, "the group {group} cannot begin: {refused}; no score until it can");
        }
        if *fitted == 0 {
            return write!(
                formatter,
                "the group {group}, of {found} channels, was not fitted: no score before the next fit"
            );
        }
        write!(
            formatter,
            "the channels of the group {group} are not those that it has learnt, {found} instead of {fitted}"
        )?;
        if let Some(missing) = missing {
            write!(formatter, "; {missing} is missing")?;
        }
        if let Some(unknown) = unknown {
            write!(formatter, "; {unknown} is new")?;
        }
        formatter.write_str(": no score until they are, or until the next fit")
    }
}

impl Groups {
    /// Predicts, scores and learns one tick.
    pub(in crate::engine) fn infer(
        &mut self,
        input: &TickInput,
        series: &SeriesTable,
        fitted: bool,
    ) -> (Vec<GroupScores>, Vec<Unscored>) {
        let times: Vec<i64> = input.grid.times().collect();
        let (present, mut unscored) = self.present(input, series, |_| fitted);
        let mut scores: Vec<GroupScores> = present
            .into_par_iter()
            .map(|(first, group, rows)| {
                let values = values_of(input, &rows);
                let channels = Channels { times: &times, count: rows.len(), values: &values };
                let scores = group.model.infer(channels, &group.policies);
                GroupScores { first: first.clone(), rows, scores }
            })
            .collect();
        scores.sort_by_key(|scores| scores.first.hash());
        unscored.sort_by_key(|unscored| unscored.group.hash());
        (scores, unscored)
    }

    /// Learns one tick without scoring it, in the groups whose first channel's slot `wanted` accepts.
    pub(in crate::engine) fn learn(&mut self, input: &TickInput, series: &SeriesTable, wanted: impl Fn(u32) -> bool) {
        let times: Vec<i64> = input.grid.times().collect();
        let (present, _) = self.present(input, series, wanted);
        present.into_par_iter().for_each(|(_, group, rows)| {
            let values = values_of(input, &rows);
            group.model.learn(Channels { times: &times, count: rows.len(), values: &values });
        });
    }

    /// The groups that have all their channels in a tick, with the channels' rows; and those that have not.
    #[expect(clippy::type_complexity, reason = "two lists, each of what its elements are made of")]
    fn present(
        &mut self,
        input: &TickInput,
        series: &SeriesTable,
        wanted: impl Fn(u32) -> bool,
    ) -> (Vec<(&Labels, &mut Group, Vec<usize>)>, Vec<Unscored>) {
        let points = input.grid.points;
        let mut rows: ByLabels<usize> = ByLabels::default();
        let mut found: ByLabels<Vec<&Labels>> = ByLabels::default();
        for (row, slot) in input.slots.iter().enumerate() {
            let has_sample = input.values[row * points..(row + 1) * points].iter().any(|value| !is_missing(*value));
            if let Some(one) = series.get(*slot).filter(|_| has_sample) {
                rows.insert(one.labels.clone(), row);
                found.entry(self.joint.group_of(&one.labels)).or_default().push(&one.labels);
            }
        }
        let refused = if self.spec.learns_online() { self.begin(&found, series, &wanted) } else { ByLabels::default() };
        let (mut present, mut unscored) = (Vec::new(), Vec::new());
        let mut known: ByLabels<()> = ByLabels::default();
        for (first, group) in &mut self.groups {
            known.insert(group.key.clone(), ());
            if !wanted(group.slot) {
                continue;
            }
            let of_tick = found.get(&group.key).map(Vec::as_slice).unwrap_or_default();
            let of_channels: Vec<usize> =
                group.channels.iter().filter_map(|channel| rows.get(channel).copied()).collect();
            if of_channels.len() == group.channels.len() && of_tick.len() == group.channels.len() {
                present.push((first, group, of_channels));
                continue;
            }
            unscored.push(Unscored {
                group: group.key.clone(),
                fitted: group.channels.len(),
                found: of_tick.len(),
                missing: group.channels.iter().find(|channel| !rows.contains_key(*channel)).cloned(),
                unknown: of_tick.iter().find(|channel| !group.channels.contains(channel)).copied().cloned(),
                refused: None,
            });
        }
        let others = found.into_iter().filter(|(group, _)| !known.contains_key(group));
        unscored.extend(others.map(|(group, channels)| Unscored {
            refused: refused.get(&group).cloned(),
            group,
            fitted: 0,
            found: channels.len(),
            missing: None,
            unknown: channels.first().map(|channel| (*channel).clone()),
        }));
        (present, unscored)
    }

    /// The channels that scores are of, and what a score of 1 stands for.
    pub(in crate::engine) fn scored(&self, scores: &GroupScores) -> Option<(&[Labels], Option<Yardstick>)> {
        let group = self.groups.get(&scores.first)?;
        Some((&group.channels, group.model.yardstick()))
    }

    /// Begins the groups of a tick that have no state, as far as `wanted` accepts the slots of their first channels, and begins
    /// those anew that have got further channels before their scores count. Returns those that cannot be.
    fn begin(
        &mut self,
        found: &ByLabels<Vec<&Labels>>,
        series: &SeriesTable,
        wanted: impl Fn(u32) -> bool,
    ) -> ByLabels<FitError> {
        let mut refused = ByLabels::default();
        let warm_up = self.policies.values().map(|policy| policy.min_n_samples_seen).max().unwrap_or(0);
        self.groups.retain(|_, group| {
            let is_new = group.model.samples_seen().is_some_and(|seen| seen < warm_up);
            let gets_more = || {
                let of_tick = found.get(&group.key).map(Vec::as_slice).unwrap_or_default();
                let has = |channel: &Labels| of_tick.contains(&channel);
                of_tick.len() > group.channels.len() && group.channels.iter().all(has)
            };
            !(is_new && wanted(group.slot) && gets_more())
        });
        let known: ByLabels<()> = self.groups.values().map(|group| (group.key.clone(), ())).collect();
        for (key, channels) in found.iter().filter(|(key, _)| !known.contains_key(*key)) {
            if let Err(error) = self.spec.holds(channels.len()) {
                refused.insert(key.clone(), error);
                continue;
            }
            let slots = channels.iter().filter_map(|channel| Some((*channel, series.slot_of(channel)?)));
            let channels = sorted(slots.map(|(channel, slot)| (channel.to_string(), channel.clone(), slot)).collect());
            let Some((_, slot)) = channels.first().filter(|(_, slot)| wanted(*slot)) else { continue };
            let names: Vec<String> = channels.iter().map(|(channel, _)| channel.to_string()).collect();
            match self.spec.new_model(&names) {
                Ok(model) => {
                    tracing::debug!(group = %key, channels = channels.len(), "a group begins between fits");
                    self.insert(*slot, channels.into_iter().map(|(channel, _)| channel).collect(), model);
                }
                Err(error) => {
                    refused.insert(key.clone(), error);
                }
            }
        }
        refused
    }

    /// Appends the lines of some groups' scores, ready to be sent.
    pub(in crate::engine) fn render(
        &self,
        out: &mut Vec<u8>,
        input: &TickInput,
        scores: &[GroupScores],
        format: &OutputFormat,
        times: &[i64],
    ) {
        let points = times.len();
        for GroupScores { first, rows, scores } in scores {
            let Some(group) = self.groups.get(first) else { continue };
            let JointScores { anomaly_score, stage, .. } = scores;
            let columns = OutputColumns { anomaly_score, stage, ..OutputColumns::default() };
            format.render(out, &Joint::common(&group.channels), times, &columns);
            if self.channel_formats.is_empty() {
                continue;
            }
            let channels = group.channels.iter().zip(rows).zip(scores.intervals.chunks(points.max(1)));
            let forecasts_of = |index: usize| {
                let of_channel = points * self.horizons;
                scores.forecasts.get(index * of_channel..(index + 1) * of_channel).unwrap_or_default()
            };
            for (index, ((channel, row), intervals)) in channels.enumerate() {
                let query = channel.get(crate::joint::QUERY_LABEL).unwrap_or_default();
                let Some(format) = self.channel_formats.get(query) else { continue };
                let of = |part: fn(&Interval) -> f64| intervals.iter().map(part).collect::<Vec<f64>>();
                let columns = OutputColumns {
                    y: &input.values[row * points..(row + 1) * points],
                    yhat: &of(|interval| interval.yhat),
                    yhat_lower: &of(|interval| interval.lower),
                    yhat_upper: &of(|interval| interval.upper),
                    components: scores.channel_scores.get(index * points..(index + 1) * points).unwrap_or_default(),
                    component_count: 1,
                    forecasts: forecasts_of(index),
                    forecast_count: self.horizons,
                    ..OutputColumns::default()
                };
                format.render(out, &Joint::without_query(channel), times, &columns);
            }
        }
    }
}

/// The values of these rows, row by row.
fn values_of(input: &TickInput, rows: &[usize]) -> Vec<f64> {
    let points = input.grid.points;
    rows.iter().flat_map(|row| input.values[row * points..(row + 1) * points].iter().copied()).collect()
}
