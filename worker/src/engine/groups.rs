//! The groups of a multivariate model, each with one state. It is stored as the state of the group's first channel, so
//! that everything that keeps, sends and restores the states of series does so with those of groups.
//!
//! A group is scored, and learns, only at a tick that has all its channels and no other one. Its channels are those of its
//! fit. A group that appears between fits begins at once, where its model learns every sample: its channels are those of its
//! first tick, and it begins anew with what comes in addition until its scores count.

use std::{collections::BTreeMap, ops::Range};

use config::worker::Model;
use detect::{
    calibrated::Yardstick,
    incidents,
    model::{StateError, is_missing},
    multivariate::{Channels, JointScores, MultivariateModel, MultivariateSpec},
    offline::FitError,
    readiness::Stage,
    score::{Interval, ScorePolicy},
};
use rayon::prelude::*;

use super::{FitWindow, TickInput};
use crate::{
    alarms::ChannelExcursion,
    detector,
    encoding::{Cursor, put_labels, put_unsigned},
    joint::Joint,
    labels::Labels,
    output::{FurtherOutputs, OutputColumns, OutputFormat, STAGE},
    plan::{JobPlan, ModelPlan},
    series::{ByLabels, SeriesTable},
};

/// Version of a group's state: the channels, then the model's own state.
const STATE_VERSION: u8 = 1;

/// A series that has had no sample in this part of a fit's window, its newest one, is gone: no later tick has it.
const NEWEST_PART: usize = 10;

/// What is said of a group, and not of its channels.
const JOINT_SERIES: [&str; 2] = ["anomaly_score", STAGE];

/// What a model of groups gives of each channel beside its interval.
const CHANNEL_SCORE: &str = "channel_score";

/// Most channels that are named where a group is above a score of 1.
const NAMED_CHANNELS: usize = 3;

/// The groups of one model.
pub(super) struct Groups {
    pub(super) spec: MultivariateSpec,
    joint: Joint,
    /// By query.
    policies: BTreeMap<String, ScorePolicy>,
    /// How a channel's own outputs are written, by query; empty: they are not.
    channel_formats: BTreeMap<String, OutputFormat>,
    /// Number of horizons of a channel's forecasts.
    horizons: usize,
    /// Whether a fit leaves out incidents.
    excludes_incidents: bool,
    /// By first channel. There is one for each group, but for a replay after a restart: then a block may be from before a
    /// group began anew with another first channel, and that one's from after it.
    groups: ByLabels<Group>,
    /// The channels of the groups to fit, each group sorted, with their slots.
    pub(super) to_fit: Vec<Vec<(Labels, u32)>>,
}

struct Group {
    /// The labels that tell it from others.
    key: Labels,
    /// The slot of the first channel.
    slot: u32,
    /// Sorted by name.
    channels: Vec<Labels>,
    policies: Vec<ScorePolicy>,
    model: MultivariateModel,
}

/// The scores of one group.
pub(super) struct GroupScores {
    /// The first channel of the group.
    first: Labels,
    /// The rows of the channels in the input.
    rows: Vec<usize>,
    scores: JointScores,
}

impl GroupScores {
    /// The joint score at each time.
    pub(super) fn anomaly_score(&self) -> &[f64] {
        &self.scores.anomaly_score
    }

    /// What made the joint score at one of its times: the channels, of these, that are farthest from what was expected of them, the
    /// farthest first. None of a model that does not tell channels apart.
    pub(super) fn farthest(&self, channels: &[Labels], input: &TickInput, point: usize) -> Vec<ChannelExcursion> {
        let points = self.scores.anomaly_score.len();
        let excursion = |(index, (channel, row)): (usize, (&Labels, &usize))| {
            let cell = index * points + point;
            let score = self.scores.channel_scores.get(cell).copied().filter(|score| *score > 0.0)?;
            let expected = self.scores.intervals.get(cell).copied().filter(Interval::is_some);
            Some(ChannelExcursion {
                channel: channel.clone(),
                score,
                value: input.values[row * points + point],
                expected,
            })
        };
        let mut farthest: Vec<ChannelExcursion> =
            channels.iter().zip(&self.rows).enumerate().filter_map(excursion).collect();
        // Channels are sorted, so the first of equal ones stays the first.
        farthest.sort_by(|one, other| other.score.total_cmp(&one.score));
        farthest.truncate(NAMED_CHANNELS);
        farthest
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
    /// No groups yet of the model of a job; `None` where its models see single series.
    pub(super) fn new(plan: &JobPlan) -> Option<Self> {
        let (joint, ModelPlan { alias, model }) = (plan.joint.as_ref()?, plan.models.first()?);
        let of_channels = channel_series(model);
        let horizons: Vec<String> = model.class.forecast_at().iter().map(|horizon| horizon.name.clone()).collect();
        let further = FurtherOutputs { horizons, components: vec![CHANNEL_SCORE.to_owned()] };
        let spec = detector::multivariate_spec(&plan.query, model)?;
        let format = |query: &String| {
            let output = &plan.output;
            let format = OutputFormat::new(
                &output.metric_name,
                &output.labels,
                query,
                alias,
                &plan.scheduler_alias,
                &output.preset,
                &of_channels,
                &further,
            );
            (query.clone(), format)
        };
        let policies = joint.queries.iter().map(|(alias, query)| (alias.clone(), detector::score_policy(query, model)));
        Some(Self {
            policies: policies.collect(),
            channel_formats: joint.queries.keys().filter(|_| !of_channels.is_empty()).map(format).collect(),
            horizons: spec.horizons(),
            excludes_incidents: model.exclude_incidents,
            spec,
            joint: joint.clone(),
            groups: ByLabels::default(),
            to_fit: Vec::new(),
        })
    }

    /// The groups of another state of the same signature.
    pub(super) fn carry_over(&mut self, former: &Self) {
        let mut state = Vec::new();
        for group in former.groups.values() {
            state.clear();
            group.save(&mut state);
            if let Some(first) = group.channels.first()
                && let Err(error) = self.restore(group.slot, first, &state)
            {
                // Not with equal signatures, which have the version of states in them.
                tracing::error!(channel = %first, %error, "a group's state cannot be used under the changed arguments");
            }
        }
    }

    /// Number of groups with a state.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// How far each of them is.
    pub(super) fn stages(&self) -> impl Iterator<Item = Stage> {
        self.groups.values().map(|group| group.model.readiness(&group.policies).stage)
    }

    /// Groups of more channels than are recommended, with their number.
    pub(super) fn crowded(&self) -> Vec<(Labels, usize)> {
        let groups = self.groups.values().map(|group| (group.key.clone(), group.channels.len()));
        let mut crowded: Vec<_> = groups.filter(|(_, channels)| self.spec.exceeds_recommendation(*channels)).collect();
        crowded.sort_by_key(|(group, _)| group.hash());
        crowded
    }

    pub(super) fn policy_of(&self, channel: &Labels) -> ScorePolicy {
        let query = channel.get(crate::joint::QUERY_LABEL).unwrap_or_default();
        self.policies.get(query).copied().unwrap_or_default()
    }

    /// Puts a group in its place whose channels are sorted.
    fn insert(&mut self, slot: u32, channels: Vec<Labels>, model: MultivariateModel) {
        let Some(first) = channels.first().cloned() else { return };
        let policies = channels.iter().map(|channel| self.policy_of(channel)).collect();
        let key = self.joint.group_of(&first);
        self.groups.insert(first, Group { key, slot, channels, policies, model });
    }

    /// Forgets the group that a channel belongs to.
    fn displace(&mut self, channel: &Labels) {
        let key = self.joint.group_of(channel);
        self.groups.retain(|_, group| group.key != key);
    }

    /// Predicts, scores and learns one tick.
    pub(super) fn infer(
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
    pub(super) fn learn(&mut self, input: &TickInput, series: &SeriesTable, wanted: impl Fn(u32) -> bool) {
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
    pub(super) fn scored(&self, scores: &GroupScores) -> Option<(&[Labels], Option<Yardstick>)> {
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
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
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
    pub(super) fn render(
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

    /// The state of the group whose first channel this is.
    pub(super) fn save(&self, slot: u32, channel: &Labels) -> Option<Vec<u8>> {
        let group = self.groups.get(channel)?;
        (group.slot == slot).then(|| {
            let mut state = Vec::new();
            group.save(&mut state);
            state
        })
    }

    /// Loads the state of the group whose first channel this is; a state that the group had is gone.
    pub(super) fn load(&mut self, slot: u32, channel: &Labels, state: &[u8]) -> Result<(), StateError> {
        self.displace(channel);
        self.restore(slot, channel, state)
    }

    /// The same beside a state that the group has from another first channel: a replay goes on with each from its own time.
    pub(super) fn restore(&mut self, slot: u32, channel: &Labels, state: &[u8]) -> Result<(), StateError> {
        self.groups.remove(channel);
        let (channels, state) = read_channels(state)?;
        let names: Vec<String> = channels.iter().map(ToString::to_string).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let is_sorted = names.windows(2).all(|pair| pair[0] < pair[1]);
        if channels.first() != Some(channel) || !is_sorted {
            return Err(StateError::Damaged { what: "it is of other channels" });
        }
        let refused = |_| StateError::Damaged { what: "it has more channels than the model may have" };
        let mut model = self.spec.new_model(&names).map_err(refused)?;
        model.load(state)?;
        if !model.is_of(channels.len()) {
            return Err(StateError::Damaged { what: "it was fitted to another number of channels" });
        }
        self.insert(slot, channels, model);
        Ok(())
    }

    /// Forgets the groups whose first channels have these slots.
    pub(super) fn reset(&mut self, slots: &[u32]) {
        self.groups.retain(|_, group| !slots.contains(&group.slot));
    }

    /// Finds the channels of every group in a fit's window.
    pub(super) fn gather(&mut self, window: &FitWindow, series: &SeriesTable) {
        let newest = window.len().div_ceil(NEWEST_PART);
        let mut groups: BTreeMap<String, Vec<(String, Labels, u32)>> = BTreeMap::new();
        for (slot, one) in series.series().filter(|(slot, _)| window.has_sample_within(*slot, newest)) {
            let group = self.joint.group_of(&one.labels).to_string();
            groups.entry(group).or_default().push((one.labels.to_string(), one.labels.clone(), slot));
        }
        self.to_fit = groups.into_values().map(sorted).collect();
    }

    /// Slices of the groups to fit, of a length that threads are busy with for a moment only.
    pub(super) fn slices(&self) -> Vec<Range<u32>> {
        let length = rayon::current_num_threads().max(1);
        let end = self.to_fit.len();
        let slice = |start: usize| start as u32..start.saturating_add(length).min(end) as u32;
        (0..end).step_by(length).map(slice).collect()
    }

    /// Fits the groups of a [slice](Self::slices), and returns the slots of the first channels of those that cannot be. Those of a
    /// model that searches are fitted by [searches](Self::begin_searches).
    pub(super) fn fit(&mut self, window: &FitWindow, slice: &Range<u32>) -> Vec<(u32, FitError)> {
        if self.are_searched() {
            return Vec::new();
        }
        let Some(to_fit) = self.to_fit.get(slice.start as usize..slice.end as usize) else { return Vec::new() };
        let (spec, excludes_incidents) = (&self.spec, self.excludes_incidents);
        let fits: Vec<(u32, Result<MultivariateModel, FitError>)> = to_fit
            .par_iter()
            .map(|channels| {
                let names: Vec<String> = channels.iter().map(|(labels, _)| labels.to_string()).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let mut values = window.channels(channels);
                if excludes_incidents {
                    for of_one in values.chunks_mut(window.len().max(1)) {
                        incidents::leave_out(window.times(), of_one);
                    }
                }
                let channels_of = Channels { times: window.times(), count: channels.len(), values: &values };
                let slot = channels.first().map_or(0, |(_, slot)| *slot);
                (slot, spec.fit(&names, channels_of))
            })
            .collect();
        let channels: Vec<Vec<Labels>> =
            to_fit.iter().map(|channels| channels.iter().map(|(labels, _)| labels.clone()).collect()).collect();
        let mut refused = Vec::new();
        for ((slot, fit), channels) in fits.into_iter().zip(channels) {
            let Some(first) = channels.first() else { continue };
            match fit {
                Ok(model) => {
                    self.displace(first);
                    self.insert(slot, channels, model);
                }
                Err(error) => refused.push((slot, error)),
            }
        }
        refused
    }
}

impl Group {
    fn save(&self, out: &mut Vec<u8>) {
        write(self.channels.iter(), &self.model, out);
    }
}

/// Appends the state of a group of these channels, which are sorted.
pub(super) fn write<'a>(
    channels: impl ExactSizeIterator<Item = &'a Labels>,
    model: &MultivariateModel,
    out: &mut Vec<u8>,
) {
    out.push(STATE_VERSION);
    put_unsigned(out, channels.len() as u64);
    channels.for_each(|channel| put_labels(out, channel));
    model.save(out);
}

/// What a model writes for each channel.
fn channel_series(model: &Model) -> Vec<String> {
    model.provide_series.iter().filter(|name| !JOINT_SERIES.contains(&name.as_str())).cloned().collect()
}

/// What a model writes for each group.
pub(super) fn group_series(model: &Model) -> Vec<String> {
    model.provide_series.iter().filter(|name| JOINT_SERIES.contains(&name.as_str())).cloned().collect()
}

fn sorted(mut channels: Vec<(String, Labels, u32)>) -> Vec<(Labels, u32)> {
    channels.sort_by(|left, right| left.0.cmp(&right.0));
    channels.into_iter().map(|(_, labels, slot)| (labels, slot)).collect()
}

/// The values of these rows, row by row.
fn values_of(input: &TickInput, rows: &[usize]) -> Vec<f64> {
    let points = input.grid.points;
    rows.iter().flat_map(|row| input.values[row * points..(row + 1) * points].iter().copied()).collect()
}

/// The channels of a group's state, and the state of its model.
fn read_channels(state: &[u8]) -> Result<(Vec<Labels>, &[u8]), StateError> {
    let mut cursor = Cursor::new(state);
    let damaged = || StateError::Damaged { what: "its channels cannot be read" };
    match cursor.byte().ok_or_else(damaged)? {
        STATE_VERSION => {}
        found => return Err(StateError::Version { found: found.into(), supported: STATE_VERSION.into() }),
    }
    let count = cursor.count(1).ok_or_else(damaged)?;
    let channels: Option<Vec<Labels>> = (0..count).map(|_| cursor.labels()).collect();
    Ok((channels.ok_or_else(damaged)?, cursor.rest()))
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::{
        engine::JobState,
        environment::{Grid, Stopwatch},
        joint::Joint,
        plan,
    };

    const MINUTE: i64 = 60_000;

    const CLASSES: [&str; 5] = [
        "calibrated_multivariate",
        "temporal_envelope_multivariate",
        "isolation_forest_multivariate",
        "tuned temporal_envelope_multivariate",
        "tuned isolation_forest_multivariate",
    ];

    /// The groups of hosts of a class with its arguments, tuned where it begins with `tuned `.
    fn job(class: &str) -> JobState {
        let class = match class.strip_prefix("tuned ") {
            Some(tuned) => format!(
                "auto, tuned_class_name: {tuned}, optimization_params: \
                 {{anomaly_percentage: 0.1, n_trials: 8, frozen_params: {{groupby: [host]}}}}"
            ),
            None if class.starts_with("auto,") => class.to_owned(),
            None => format!("{class}, groupby: [host]"),
        };
        let text = format!(
            "
schedulers: {{s: {{class: periodic, infer_every: 1m, fit_every: 1d, fit_window: 1d}}}}
models: {{m: {{class: {class}, queries: all, schedulers: all}}}}
reader: {{datasource_url: 'http://tsdb:8428', sampling_period: 1m, queries: {{cpu: {{expr: cpu}}, memory: {{expr: mem}}}}}}
writer: {{datasource_url: 'http://tsdb:8428'}}
"
        );
        let source = config::load::Source::new("worker.yaml", text);
        let config = config::load::load(&[source], &|_| None, 2).unwrap().config;
        JobState::new(plan::plan(&config, &config::topology::Topology::default(), 0).unwrap().remove(0))
    }

    fn channel(query: &str, host: &str) -> Labels {
        Joint::channel(query, &Labels::new([("host", host)]))
    }

    /// The tick at a minute: the value of each of these channels.
    fn tick(state: &mut JobState, minute: i64, values: &[(&Labels, f64)]) -> TickInput {
        let grid = Grid { start: minute * MINUTE, step: MINUTE, points: 1 };
        let mut rows: Vec<(u32, usize)> = values
            .iter()
            .enumerate()
            .map(|(row, (labels, _))| (state.series.place(labels, minute * MINUTE), row))
            .collect();
        rows.sort_unstable();
        let values: Vec<f64> = values.iter().map(|(_, value)| *value).collect();
        TickInput::of_rows(minute * MINUTE, grid, &rows, &values)
    }

    /// Fitted to two hundred minutes of two channels of the host `a`.
    fn fitted(class: &str) -> JobState {
        let mut state = job(class);
        let (cpu, memory) = (channel("cpu", "a"), channel("memory", "a"));
        let mut window = FitWindow::default();
        for minute in 0..200 {
            let value = (minute * 7 % 13) as f64;
            let input = tick(&mut state, minute, &[(&memory, 10.0 * value), (&cpu, value)]);
            window.push(input);
        }
        state.models[0].fitted_to = Some(199 * MINUTE);
        state.gather(&window);
        for slice in state.slices() {
            fit(&mut state, &window, &slice);
        }
        assert_eq!(state.instances(), 1);
        state
    }

    /// Fits a slice, with all trials of its searches.
    fn fit(state: &mut JobState, window: &FitWindow, slice: &Range<u32>) {
        let unlimited: Stopwatch = Arc::new(|| Duration::ZERO);
        assert_eq!(state.fit_slice(window, slice), []);
        let mut searches = state.begin_searches(window, slice);
        while !searches.is_empty() {
            assert_eq!(state.search(&mut searches, window, &unlimited).refused, []);
        }
    }

    #[test]
    fn a_tick_without_all_channels_of_a_group_or_with_others_has_no_score_and_teaches_nothing() {
        let (cpu, memory, disk) = (channel("cpu", "a"), channel("memory", "a"), channel("disk", "a"));
        for class in CLASSES {
            let mut state = fitted(class);
            let first = state.series.slot_of(&cpu).unwrap();
            let before = state.save(first, 0).unwrap();
            let lacking = tick(&mut state, 200, &[(&cpu, 1.0)]);
            let scores = state.infer(&lacking);
            assert_eq!((scores.blocks(), scores.unscored.len()), (0, 1));
            assert_eq!((&scores.unscored[0].missing, &scores.unscored[0].unknown), (&Some(memory.clone()), &None));
            let additional = tick(&mut state, 201, &[(&cpu, 1.0), (&disk, 1.0), (&memory, 10.0)]);
            let scores = state.infer(&additional);
            assert_eq!((scores.blocks(), &scores.unscored[0].unknown), (0, &Some(disk.clone())));
            assert_eq!(state.save(first, 0), Some(before));
            let whole = tick(&mut state, 203, &[(&memory, 10.0), (&cpu, 1.0)]);
            assert_eq!((state.infer(&whole).blocks(), state.infer(&whole).unscored.len()), (1, 0));
        }
    }

    /// What is said of the scores of the group `b` at a minute, and what of it is without one.
    fn of_new_group(state: &mut JobState, minute: i64, channels: &[&Labels]) -> (Vec<f64>, Vec<String>) {
        let values: Vec<(&Labels, f64)> = channels.iter().map(|channel| (*channel, 1.0)).collect();
        let input = tick(state, minute, &values);
        let scores = state.infer(&input);
        let unscored = scores.unscored.iter().filter(|unscored| unscored.group.get("host") == Some("b"));
        let unscored = unscored.map(ToString::to_string).collect();
        (scores.groups.iter().flat_map(|group| group.anomaly_score().to_vec()).collect(), unscored)
    }

    #[test]
    fn a_group_that_appears_between_fits_begins_at_once_or_waits_for_the_next_fit_as_its_class_has_it() {
        let (cpu, memory, disk) = (channel("cpu", "b"), channel("memory", "b"), channel("disk", "b"));
        let mut state = fitted("isolation_forest_multivariate");
        let (scores, unscored) = of_new_group(&mut state, 200, &[&cpu]);
        assert!(scores.is_empty() && unscored[0].starts_with(r#"the group {host="b"}, of 1 channels, was not fitted"#));

        let mut state = fitted("temporal_envelope_multivariate");
        let begins = |state: &mut JobState, minute: i64, channels: &[&Labels]| {
            assert_eq!(of_new_group(state, minute, channels), (vec![0.0], Vec::new()), "{minute}");
        };
        begins(&mut state, 200, &[&memory]);
        assert_eq!(state.instances(), 2);
        // Its other channels may come some ticks later: then it begins anew, with another first channel.
        begins(&mut state, 201, &[&memory, &cpu]);
        assert_eq!(state.instances(), 2);
        let [first, second] = [&cpu, &memory].map(|channel| state.series.slot_of(channel).unwrap());
        assert!(state.save(first, 0).is_some() && state.save(second, 0).is_none());
        let (scores, unscored) = of_new_group(&mut state, 202, &[&cpu]);
        assert!(scores.is_empty() && unscored[0].contains("1 instead of 2"), "{unscored:?}");
        // From its first score on, its channels are what it has learnt.
        (203..225).for_each(|minute| begins(&mut state, minute, &[&cpu, &memory]));
        let (scores, unscored) = of_new_group(&mut state, 225, &[&cpu, &memory, &disk]);
        assert!(scores.is_empty() && unscored[0].contains("3 instead of 2"), "{unscored:?}");
    }

    #[test]
    fn an_alarm_of_a_group_names_its_channels_the_farthest_first_where_its_class_tells_them_apart() {
        let (cpu, memory) = (channel("cpu", "a"), channel("memory", "a"));
        for class in &CLASSES[..3] {
            let mut state = fitted(class);
            let input = tick(&mut state, 200, &[(&cpu, 1e4), (&memory, 1e9)]);
            let scores = state.infer(&input);
            let anomalies = state.anomalies(&input, &scores);
            assert_eq!(anomalies.len(), 1, "{class}");
            let excursion = &anomalies[0].excursions[0];
            assert_eq!((anomalies[0].labels.to_string().as_str(), excursion.value), (r#"{host="a"}"#, None));
            assert_eq!(excursion.yardstick.is_some(), *class == "calibrated_multivariate");
            let channels = excursion.channels.iter().map(|one| (&one.channel, one.value)).collect::<Vec<_>>();
            if class.starts_with("isolation") {
                assert_eq!(channels, []);
                continue;
            }
            assert_eq!(channels, [(&memory, 1e9), (&cpu, 1e4)], "{class}");
            assert!(excursion.channels.iter().all(|one| one.score > 1.0 && one.expected.is_some()), "{class}");
        }
    }

    #[test]
    fn a_group_of_too_many_channels_cannot_begin_and_says_so() {
        let mut state = fitted("temporal_envelope_multivariate, max_channels: 2");
        let channels = ["cpu", "memory", "disk"].map(|query| channel(query, "b"));
        let (scores, unscored) = of_new_group(&mut state, 200, &channels.each_ref());
        assert_eq!((scores.len(), state.instances()), (0, 1));
        let said =
            r#"the group {host="b"} cannot begin: there are 3 channels, max_channels is 2; no score until it can"#;
        assert_eq!(unscored, [said]);
    }

    #[test]
    fn a_replay_over_blocks_from_before_and_after_a_group_began_anew_comes_to_its_newest_state() {
        let (cpu, memory) = (channel("cpu", "b"), channel("memory", "b"));
        let mut state = fitted("temporal_envelope_multivariate");
        let both = [(&cpu, 1.0), (&memory, 2.0)];
        let [alone, first, next] = [200, 201, 202].map(|minute| {
            let input = tick(&mut state, minute, if minute == 200 { &both[1..] } else { &both });
            state.infer(&input);
            let [cpu, memory] = [&cpu, &memory].map(|channel| state.series.slot_of(channel));
            (input, cpu.and_then(|slot| state.save(slot, 0)), memory.and_then(|slot| state.save(slot, 0)))
        });
        let [of_cpu, of_memory] = [&cpu, &memory].map(|channel| state.series.slot_of(channel).unwrap());
        // The block of the one is from after minute 202 or 201, that of the other from after minute 200 or before it.
        for (newest, learnt) in [(&next, 202), (&first, 201)] {
            for old in [alone.2.as_ref(), None] {
                for old_first in [true, false] {
                    let mut restored = fitted("temporal_envelope_multivariate");
                    for channel in [&memory, &cpu] {
                        restored.series.place(channel, 0);
                    }
                    let mut load = |slot: u32, saved: Option<&Vec<u8>>| {
                        saved.into_iter().for_each(|saved| restored.restore(slot, 0, saved).unwrap());
                    };
                    if old_first {
                        load(of_memory, old);
                    }
                    load(of_cpu, newest.1.as_ref());
                    if !old_first {
                        load(of_memory, old);
                    }
                    for (minute, (input, ..)) in (200..).zip([&alone, &first, &next]) {
                        let of_first = minute > learnt;
                        let of_second = old.is_none() || minute > 200;
                        let wanted = |slot: u32| if slot == of_cpu { of_first } else { of_second };
                        let (groups, series) = (restored.groups.as_mut().unwrap(), &restored.series);
                        groups.learn(input, series, wanted);
                    }
                    assert_eq!(restored.save(of_cpu, 0), next.1, "{learnt} {old_first}");
                    assert_eq!((restored.save(of_memory, 0), restored.instances()), (None, 2));
                }
            }
        }
    }

    #[test]
    fn a_fit_leaves_out_incidents_of_single_channels_where_it_is_told_to() {
        for class in &CLASSES[..3] {
            // The state after a fit to a window in which a channel has these values for ten minutes.
            let state_of = |arguments: &str, incident: f64| {
                let mut state = job(&format!("{class}{arguments}"));
                let (cpu, memory) = (channel("cpu", "a"), channel("memory", "a"));
                let mut window = FitWindow::default();
                for minute in 0..200 {
                    let value = (minute * 7 % 13) as f64;
                    let of_memory = if (100..110).contains(&minute) { incident } else { 10.0 * value };
                    window.push(tick(&mut state, minute, &[(&memory, of_memory), (&cpu, value)]));
                }
                state.models[0].fitted_to = Some(199 * MINUTE);
                state.gather(&window);
                let slices = state.slices();
                slices.iter().for_each(|slice| fit(&mut state, &window, slice));
                state.save(state.series.slot_of(&cpu).unwrap(), 0).unwrap()
            };
            let missing = state_of("", detect::model::MISSING);
            assert!(state_of(", exclude_incidents: true", 1e4) == missing, "{class}");
            assert!(state_of("", 1e4) != missing, "{class}");
        }
    }

    #[test]
    fn the_state_of_a_group_goes_with_its_first_channel_and_to_no_other_one() {
        let (cpu, memory) = (channel("cpu", "a"), channel("memory", "a"));
        for class in CLASSES {
            let mut state = fitted(class);
            let [first, second] = [&cpu, &memory].map(|channel| state.series.slot_of(channel).unwrap());
            assert_eq!(state.save(second, 0), None);
            let saved = state.save(first, 0).unwrap();
            let mut other = job(class);
            other.models[0].fitted_to = Some(0);
            // In other slots, and in another order of rows.
            let input = tick(&mut other, 200, &[(&cpu, 30.0), (&memory, 10.0)]);
            let slot = other.series.slot_of(&cpu).unwrap();
            other.load(slot, 0, &saved).unwrap();
            assert_eq!(other.save(slot, 0).as_ref(), Some(&saved));
            let wrong = other.series.slot_of(&memory).unwrap();
            assert!(other.load(wrong, 0, &saved).is_err());
            other.load(slot, 0, &saved).unwrap();
            assert!(other.load(slot, 0, &saved[..saved.len() - 1]).is_err() && other.instances() == 0);
            other.load(slot, 0, &saved).unwrap();
            let mine = tick(&mut state, 200, &[(&memory, 10.0), (&cpu, 30.0)]);
            let lines = |state: &mut JobState, input: &TickInput| {
                let scores = state.infer(input);
                state.render(input, &scores, 0..1, 1, 0).concat()
            };
            let (mine, theirs) = (lines(&mut state, &mine), lines(&mut other, &input));
            assert_eq!(mine, theirs);
            assert!(String::from_utf8(mine).unwrap().contains(r#""for":"cpu,memory""#));
            other.reset(&[slot]);
            assert_eq!(other.instances(), 0);
        }
    }

    #[test]
    fn a_group_has_arguments_of_its_own_after_a_search_whatever_other_groups_there_are() {
        // The states of two groups of other noise after fits of the groups of these hosts.
        let states_of = |hosts: &[&str], arguments: &str| {
            let mut state = job("tuned temporal_envelope_multivariate");
            if !arguments.is_empty() {
                state = job(&format!(
                    "auto, tuned_class_name: temporal_envelope_multivariate, optimization_params: \
                     {{anomaly_percentage: 0.1, n_trials: 8, frozen_params: {{groupby: [host]}}}}, {arguments}"
                ));
            }
            let mut window = FitWindow::default();
            for minute in 0..300 {
                let values: Vec<(Labels, f64)> = hosts
                    .iter()
                    .flat_map(|host| {
                        let wild = if *host == "b" && minute % 23 == 0 { 500.0 } else { 0.0 };
                        let value = (minute * 7 % 13) as f64 + wild;
                        [(channel("cpu", host), value), (channel("memory", host), 10.0 * value)]
                    })
                    .collect();
                let values: Vec<(&Labels, f64)> = values.iter().map(|(labels, value)| (labels, *value)).collect();
                window.push(tick(&mut state, minute, &values));
            }
            state.models[0].fitted_to = Some(299 * MINUTE);
            state.gather(&window);
            state.slices().iter().for_each(|slice| fit(&mut state, &window, slice));
            let saved = |host: &&str| state.save(state.series.slot_of(&channel("cpu", host)).unwrap(), 0).unwrap();
            let found = |group: &Group| match &group.model {
                MultivariateModel::Tuned(tuned) => tuned.spec().clone(),
                other => panic!("not tuned: {other:?}"),
            };
            let specs = hosts.iter().map(|host| found(&state.groups.as_ref().unwrap().groups[&channel("cpu", host)]));
            (hosts.iter().map(saved).collect::<Vec<_>>(), specs.collect::<Vec<_>>())
        };
        let (together, specs) = states_of(&["a", "b"], "");
        assert_ne!(specs[0], specs[1]);
        assert!(together[0] == states_of(&["a"], "").0[0] && together[1] == states_of(&["b"], "").0[0]);
        let fixed = states_of(&["b"], "scale: 3");
        assert!(fixed.0[0] != together[1], "a search depends on how scores are made");
    }

    #[test]
    fn a_change_of_a_policy_begins_a_tuned_group_anew_and_no_other_one() {
        let signature = |class: &str| {
            let state = job(class);
            state.models[0].signature.clone()
        };
        let auto = |arguments: &str| {
            signature(&format!(
                "auto, tuned_class_name: isolation_forest_multivariate, \
                 optimization_params: {{anomaly_percentage: 0.1}}{arguments}"
            ))
        };
        let own = |arguments: &str| signature(&format!("isolation_forest_multivariate{arguments}"));
        let changed = ", anomaly_score_outside_data_range: 7";
        assert_ne!(auto(""), auto(changed));
        assert_eq!(own(""), own(changed));
    }
}
