//! The groups of a multivariate model, each with one state. It is stored as the state of the group's first channel, so
//! that everything that keeps, sends and restores the states of series does so with those of groups.
//!
//! A group is scored, and learns, only at a tick that has all channels of its fit and no other one.

use std::{collections::BTreeMap, ops::Range};

use config::worker::Model;
use detect::{
    model::{StateError, is_missing},
    multivariate::{Channels, JointScores, MultivariateModel, MultivariateSpec},
    offline::FitError,
    readiness::Stage,
    score::ScorePolicy,
};
use rayon::prelude::*;

use super::{FitWindow, TickInput};
use crate::{
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

/// The groups of one model.
pub(super) struct Groups {
    spec: MultivariateSpec,
    joint: Joint,
    /// By query.
    policies: BTreeMap<String, ScorePolicy>,
    /// How a channel's own outputs are written, by query; empty: they are not.
    channel_formats: BTreeMap<String, OutputFormat>,
    groups: ByLabels<Group>,
    /// The channels of the groups to fit, each group sorted, with their slots.
    to_fit: Vec<Vec<(Labels, u32)>>,
}

struct Group {
    /// The slot of the first channel.
    slot: u32,
    /// Sorted by name.
    channels: Vec<Labels>,
    policies: Vec<ScorePolicy>,
    model: MultivariateModel,
}

/// The scores of one group.
pub(super) struct GroupScores {
    group: Labels,
    /// The rows of the channels in the input.
    rows: Vec<usize>,
    scores: JointScores,
}

impl GroupScores {
    /// The joint score at each time.
    pub(super) fn anomaly_score(&self) -> &[f64] {
        &self.scores.anomaly_score
    }
}

/// A group that a tick has no scores of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unscored {
    /// Its labels.
    pub group: Labels,
    /// Channels of its fit.
    pub fitted: usize,
    /// Channels of the tick.
    pub found: usize,
    /// A channel of the fit that the tick lacks, if any.
    pub missing: Option<Labels>,
    /// A channel of the tick that the fit did not have, if any.
    pub unknown: Option<Labels>,
}

impl std::fmt::Display for Unscored {
    /// Why, by example.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { group, fitted, found, missing, unknown } = self;
        if *fitted == 0 {
            return write!(
                formatter,
                "the group {group}, of {found} channels, was not fitted: no score before the next fit"
            );
        }
        write!(formatter, "the channels of the group {group} are not those of its fit, {found} instead of {fitted}")?;
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
                &FurtherOutputs::default(),
            );
            (query.clone(), format)
        };
        let policies = joint.queries.iter().map(|(alias, query)| (alias.clone(), detector::score_policy(query, model)));
        Some(Self {
            spec: detector::multivariate_spec(&plan.query, model)?,
            policies: policies.collect(),
            channel_formats: joint.queries.keys().filter(|_| !of_channels.is_empty()).map(format).collect(),
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
                && let Err(error) = self.load(group.slot, first, &state)
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
        let groups = self.groups.iter().map(|(group, state)| (group.clone(), state.channels.len()));
        let mut crowded: Vec<_> = groups.filter(|(_, channels)| self.spec.exceeds_recommendation(*channels)).collect();
        crowded.sort_by_key(|(group, _)| group.hash());
        crowded
    }

    fn policy_of(&self, channel: &Labels) -> ScorePolicy {
        let query = channel.get(crate::joint::QUERY_LABEL).unwrap_or_default();
        self.policies.get(query).copied().unwrap_or_default()
    }

    /// What a group is made of whose channels are sorted.
    fn group(&self, slot: u32, channels: Vec<Labels>, model: MultivariateModel) -> Group {
        let policies = channels.iter().map(|channel| self.policy_of(channel)).collect();
        Group { slot, channels, policies, model }
    }

    /// Predicts, scores and learns one tick.
    pub(super) fn infer(&mut self, input: &TickInput, series: &SeriesTable) -> (Vec<GroupScores>, Vec<Unscored>) {
        let times: Vec<i64> = input.grid.times().collect();
        let (present, mut unscored) = self.present(input, series, |_| true);
        let mut scores: Vec<GroupScores> = present
            .into_par_iter()
            .map(|(key, group, rows)| {
                let values = values_of(input, &rows);
                let channels = Channels { times: &times, count: rows.len(), values: &values };
                let scores = group.model.infer(channels, &group.policies);
                GroupScores { group: key.clone(), rows, scores }
            })
            .collect();
        scores.sort_by_key(|scores| scores.group.hash());
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
        let (mut present, mut unscored) = (Vec::new(), Vec::new());
        for (key, group) in &mut self.groups {
            let of_tick = found.remove(key).unwrap_or_default();
            let of_channels: Vec<usize> =
                group.channels.iter().filter_map(|channel| rows.get(channel).copied()).collect();
            if !wanted(group.slot) {
                continue;
            }
            if of_channels.len() == group.channels.len() && of_tick.len() == group.channels.len() {
                present.push((key, group, of_channels));
                continue;
            }
            unscored.push(Unscored {
                group: key.clone(),
                fitted: group.channels.len(),
                found: of_tick.len(),
                missing: group.channels.iter().find(|channel| !rows.contains_key(*channel)).cloned(),
                unknown: of_tick.into_iter().find(|channel| !group.channels.contains(channel)).cloned(),
            });
        }
        unscored.extend(found.into_iter().map(|(group, channels)| Unscored {
            group,
            fitted: 0,
            found: channels.len(),
            missing: None,
            unknown: channels.first().map(|channel| (*channel).clone()),
        }));
        (present, unscored)
    }

    /// The channels that scores are of.
    pub(super) fn channels(&self, scores: &GroupScores) -> Option<&[Labels]> {
        self.groups.get(&scores.group).map(|group| group.channels.as_slice())
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
        for GroupScores { group, rows, scores } in scores {
            let Some(group) = self.groups.get(group) else { continue };
            let JointScores { anomaly_score, stage, .. } = scores;
            let columns = OutputColumns { anomaly_score, stage, ..OutputColumns::default() };
            format.render(out, &Joint::common(&group.channels), times, &columns);
            if self.channel_formats.is_empty() {
                continue;
            }
            let channels = group.channels.iter().zip(rows).zip(scores.intervals.chunks(points.max(1)));
            for ((channel, row), intervals) in channels {
                let query = channel.get(crate::joint::QUERY_LABEL).unwrap_or_default();
                let Some(format) = self.channel_formats.get(query) else { continue };
                let of = |part: fn(&detect::score::Interval) -> f64| intervals.iter().map(part).collect::<Vec<f64>>();
                let columns = OutputColumns {
                    y: &input.values[row * points..(row + 1) * points],
                    yhat: &of(|interval| interval.yhat),
                    yhat_lower: &of(|interval| interval.lower),
                    yhat_upper: &of(|interval| interval.upper),
                    ..OutputColumns::default()
                };
                format.render(out, &Joint::without_query(channel), times, &columns);
            }
        }
    }

    /// The state of the group whose first channel this is.
    pub(super) fn save(&self, slot: u32, channel: &Labels) -> Option<Vec<u8>> {
        let group = self.groups.get(&self.joint.group_of(channel))?;
        (group.slot == slot && group.channels.first() == Some(channel)).then(|| {
            let mut state = Vec::new();
            group.save(&mut state);
            state
        })
    }

    /// Loads the state of the group whose first channel this is; a state that the group had is gone.
    pub(super) fn load(&mut self, slot: u32, channel: &Labels, state: &[u8]) -> Result<(), StateError> {
        let key = self.joint.group_of(channel);
        self.groups.remove(&key);
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
        if let MultivariateModel::IsolationForest(forest) = &model
            && forest.channels() != Some(channels.len())
        {
            return Err(StateError::Damaged { what: "it was fitted to another number of channels" });
        }
        let group = self.group(slot, channels, model);
        self.groups.insert(key, group);
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

    /// Fits the groups of a [slice](Self::slices), and returns the slots of the first channels of those that cannot be.
    pub(super) fn fit(&mut self, window: &FitWindow, slice: &Range<u32>) -> Vec<(u32, FitError)> {
        let Some(to_fit) = self.to_fit.get(slice.start as usize..slice.end as usize) else { return Vec::new() };
        let spec = &self.spec;
        let fits: Vec<(u32, Result<MultivariateModel, FitError>)> = to_fit
            .par_iter()
            .map(|channels| {
                let names: Vec<String> = channels.iter().map(|(labels, _)| labels.to_string()).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let mut values = Vec::with_capacity(channels.len() * window.len());
                let mut of_one = Vec::new();
                for (_, slot) in channels {
                    window.series(*slot, &mut of_one);
                    values.extend_from_slice(&of_one);
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
            let key = self.joint.group_of(first);
            match fit {
                Ok(model) => {
                    let group = self.group(slot, channels, model);
                    self.groups.insert(key, group);
                }
                Err(error) => refused.push((slot, error)),
            }
        }
        refused
    }
}

impl Group {
    fn save(&self, out: &mut Vec<u8>) {
        out.push(STATE_VERSION);
        put_unsigned(out, self.channels.len() as u64);
        for channel in &self.channels {
            put_labels(out, channel);
        }
        self.model.save(out);
    }
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
    use super::*;
    use crate::{engine::JobState, environment::Grid, joint::Joint, plan};

    const MINUTE: i64 = 60_000;

    fn job(class: &str) -> JobState {
        let text = format!(
            "
schedulers: {{s: {{class: periodic, infer_every: 1m, fit_every: 1d, fit_window: 1d}}}}
models: {{m: {{class: {class}, groupby: [host], queries: all, schedulers: all}}}}
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
            assert_eq!(state.fit_slice(&window, &slice), []);
        }
        assert_eq!(state.instances(), 1);
        state
    }

    #[test]
    fn a_tick_without_all_channels_of_a_group_or_with_others_has_no_score_and_teaches_nothing() {
        let (cpu, memory, disk) = (channel("cpu", "a"), channel("memory", "a"), channel("disk", "a"));
        for class in ["temporal_envelope_multivariate", "isolation_forest_multivariate"] {
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
            let elsewhere = tick(&mut state, 202, &[(&channel("cpu", "b"), 1.0)]);
            let unscored = state.infer(&elsewhere).unscored;
            let new = unscored.iter().find(|unscored| unscored.fitted == 0).unwrap().to_string();
            assert!(new.starts_with(r#"the group {host="b"}, of 1 channels, was not fitted"#), "{new}");
            assert_eq!(state.save(first, 0), Some(before));
            let whole = tick(&mut state, 203, &[(&memory, 10.0), (&cpu, 1.0)]);
            assert_eq!((state.infer(&whole).blocks(), state.infer(&whole).unscored.len()), (1, 0));
        }
    }

    #[test]
    fn the_state_of_a_group_goes_with_its_first_channel_and_to_no_other_one() {
        let (cpu, memory) = (channel("cpu", "a"), channel("memory", "a"));
        for class in ["temporal_envelope_multivariate", "isolation_forest_multivariate"] {
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
}
