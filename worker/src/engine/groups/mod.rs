//! The groups of a multivariate model, each with one state. It is stored as the state of the group's first channel, so
//! that everything that keeps, sends and restores the states of series does so with those of groups.
//!
//! A group is scored, and learns, only at a tick that has all its channels and no other one. Its channels are those of its
//! fit. A group that appears between fits begins at once, where its model learns every sample: its channels are those of its
//! first tick, and it begins anew with what comes in addition until its scores count.

mod fits;
mod search;
mod states;
mod ticks;

use std::collections::BTreeMap;

use config::worker::Model;
use detect::{
    multivariate::{MultivariateModel, MultivariateSpec},
    readiness::Stage,
    score::ScorePolicy,
};

pub(super) use self::search::GroupSearch;
pub(super) use self::ticks::GroupScores;
pub use self::ticks::Unscored;
use crate::{
    detector,
    joint::Joint,
    labels::Labels,
    output::{FurtherOutputs, OutputFormat, STAGE},
    plan::{JobPlan, ModelPlan},
    series::ByLabels,
};

/// What is said of a group, and not of its channels.
const JOINT_SERIES: [&str; 2] = ["anomaly_score", STAGE];

/// What a model of groups gives of each channel beside its interval.
const CHANNEL_SCORE: &str = "channel_score";

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

#[cfg(test)]
mod tests;
