//! Classes that see several series together, and what their queries must have in common.

use std::collections::BTreeMap;

use crate::duration;
use crate::fields::Fields;
use crate::load::place_of;
use crate::problem::{Fault, Problems};
use crate::schema::{Key, Kind, Presence, Section};
use crate::section::model::Class;
use crate::section::model::envelope::{CALENDAR, FORECAST_AT, envelope, forecast_at};
use crate::section::model::offline::{
    CONTAMINATION, FOREST_ARGS, SEASONAL_FEATURES, contamination, seasonal_features, trees,
};
use crate::section::model::online::{REMEMBERING, WARM_UP};
use crate::tree::Node;
use crate::worker::{
    Aggregation, Envelope, JointCalibrated, JointEnvelope, JointForest, Model, ModelClass, Query, Writer,
};

/// What classes take that see several series together.
pub(crate) const GROUPS: Section = Section {
    title: "`models.<alias>` of classes whose name ends in `_multivariate`",
    about: "One model of all series of all its queries, or of each group of them. The queries must have the same `step`, `offset`, `tz` and `tenant_id`.",
    keys: &[Key::new(
        "groupby",
        Kind::Texts,
        Presence::Absent("all series are one group"),
        "Names of labels: one model for each combination of their values. A series without the label counts as one with an empty value.",
    )],
};

/// What classes take that keep a model of each series of a group.
pub(crate) const CHANNELS: Section = Section {
    title: "`models.<alias>` of classes that keep a model of each series of a group",
    about: "Of `calibrated_multivariate` and `temporal_envelope_multivariate`.",
    keys: &[
        Key::new(
            "max_channels",
            Kind::Integer(1, 100_000),
            Presence::Default("1000"),
            "Most series of a group; a group with more is not fitted, and has no score.",
        ),
        Key::new(
            "recommended_max_channels",
            Kind::Integer(1, 100_000),
            Presence::Default("100"),
            "A group with more series is named in a warning; at most `max_channels`.",
        ),
    ],
};

pub(super) const CALIBRATED_MULTIVARIATE: Class = Class {
    name: "calibrated_multivariate",
    section: Section {
        title: "`models.<alias>` of class `calibrated_multivariate`",
        about: "What is usual for each series of a group at this time of the day and week, and how far the three that are farthest from it usually go together. One score for the group; `provide_series` may also ask for `channel_score`, how far a series is by itself, and for `y`, `yhat`, `yhat_lower` and `yhat_upper` of each series. All else that it needs follows from the queries' `step` and the series.",
        keys: &[],
    },
    shared: &[&GROUPS, &CHANNELS, &WARM_UP, &REMEMBERING],
    series: &["anomaly_score"],
    further_series: |_| ["channel_score", "y", "yhat", "yhat_lower", "yhat_upper"].map(str::to_owned).into(),
    build: |fields, problems| {
        let groupby = groupby(fields, problems);
        let (max_channels, recommended_max_channels) = channel_limits(fields, problems);
        ModelClass::CalibratedMultivariate(JointCalibrated { groupby, max_channels, recommended_max_channels })
    },
};

pub(super) const ISOLATION_FOREST_MULTIVARIATE: Class = Class {
    name: "isolation_forest_multivariate",
    section: Section {
        title: "`models.<alias>` of class `isolation_forest_multivariate`",
        about: "How soon random cuts isolate what all series of a group have at one time. One score for the group.",
        keys: &[CONTAMINATION, SEASONAL_FEATURES, FOREST_ARGS],
    },
    shared: &[&GROUPS],
    series: &["anomaly_score"],
    further_series: |_| Vec::new(),
    build: |fields, problems| {
        ModelClass::IsolationForestMultivariate(JointForest {
            groupby: groupby(fields, problems),
            contamination: contamination(fields, problems),
            seasonal_features: seasonal_features(fields, problems),
            trees: trees(fields, problems),
        })
    },
};

pub(super) const TEMPORAL_ENVELOPE_MULTIVARIATE: Class = Class {
    name: "temporal_envelope_multivariate",
    section: Section {
        title: "`models.<alias>` of class `temporal_envelope_multivariate`",
        about: "A temporal envelope for each series of a group, and what they have in common. One score for the group; `provide_series` may also ask for `y`, `yhat`, `yhat_lower` and `yhat_upper` of each series.",
        keys: &[
            FORECAST_AT,
            Key::new(
                "dependency_rank",
                Kind::Integer(0, 64),
                Presence::Default("8"),
                "Most directions in which the series move together that are learnt; 0 leaves each series to itself.",
            ),
            Key::new(
                "score_aggregation",
                Kind::OneOf(&["max", "mean", "l2"]),
                Presence::Default("l2"),
                "How the scores of the series become one: the greatest, the mean, or the root of the mean square.",
            ),
            Key::new(
                "random_state",
                Kind::Integer(0, u32::MAX as i64),
                Presence::Default("42"),
                "Seed of the first directions.",
            ),
        ],
    },
    shared: &[&GROUPS, &CHANNELS, &CALENDAR, &WARM_UP, &REMEMBERING],
    series: &["anomaly_score"],
    further_series: |_| ["y", "yhat", "yhat_lower", "yhat_upper"].map(str::to_owned).into(),
    build: joint_envelope,
};

fn joint_envelope(fields: &Fields<'_>, problems: &mut Problems) -> ModelClass {
    let forecast_at = forecast_at(fields, problems);
    let (max_channels, recommended_max_channels) = channel_limits(fields, problems);
    ModelClass::TemporalEnvelopeMultivariate(JointEnvelope {
        groupby: groupby(fields, problems),
        envelope: Envelope { forecast_at, ..envelope(fields, problems) },
        dependency_rank: fields.whole("dependency_rank", problems).unwrap_or_default(),
        score_aggregation: match fields.one_of("score_aggregation", problems) {
            Some("max") => Aggregation::Max,
            Some("mean") => Aggregation::Mean,
            _ => Aggregation::L2,
        },
        max_channels,
        recommended_max_channels,
        random_state: fields.whole("random_state", problems).unwrap_or_default(),
    })
}

/// Most series of a group, and how many are recommended.
fn channel_limits(fields: &Fields<'_>, problems: &mut Problems) -> (u32, u32) {
    let most = fields.whole("max_channels", problems).unwrap_or(1);
    let recommended: u32 = fields.whole("recommended_max_channels", problems).unwrap_or(1);
    // A lower limit than the recommendation is one for it, too.
    if recommended > most && fields.raw("recommended_max_channels").is_some() {
        let reason = format!("is {recommended}, more than `max_channels`, {most}");
        fields.conflict("recommended_max_channels", reason, problems);
    }
    (most, recommended.min(most))
}

/// The names of labels, sorted: their order means nothing.
fn groupby(fields: &Fields<'_>, problems: &mut Problems) -> Vec<String> {
    if fields.raw("groupby").is_none() {
        return Vec::new();
    }
    let mut labels = fields.texts("groupby", problems).unwrap_or_default();
    labels.sort();
    if let Some(twice) = labels.windows(2).find(|pair| pair[0] == pair[1]) {
        fields.conflict("groupby", format!("has `{}` twice", twice[0]), problems);
    }
    if labels.iter().any(|label| label == "__name__") {
        let reason = "has `__name__`, which no score keeps: two groups would write one series";
        fields.conflict("groupby", reason, problems);
    }
    labels
}

/// What the queries of a multivariate model must have in common, and its groups with what the writer writes.
pub(crate) fn check(
    root: &Node,
    models: &BTreeMap<String, Model>,
    queries: &BTreeMap<String, Query>,
    writer: &Writer,
    problems: &mut Problems,
) {
    for (alias, model) in models {
        let Some(groupby) = model.class.groupby() else { continue };
        let own = ["model_alias", "scheduler_alias", "preset"];
        let generated = |label: &&String| own.contains(&label.as_str()) || writer.labels.contains_key(*label);
        if let Some(label) = groupby.iter().find(generated) {
            let reason = format!("has `{label}`, which the writer replaces: two groups would write one series");
            let keys: &[&str] = match model.class {
                ModelClass::Auto(_) => &["models", alias, "optimization_params", "frozen_params", "groupby"],
                _ => &["models", alias, "groupby"],
            };
            problems.error(place_of(root, keys), keys.join("."), Fault::Conflict { reason });
        }
        let attached: Vec<(&String, &Query)> =
            model.queries.iter().filter_map(|query| queries.get_key_value(query)).collect();
        let Some(((first_alias, first), others)) = attached.split_first() else { continue };
        for (other_alias, other) in others {
            let tenant = |query: &Query| query.tenant_id.clone().unwrap_or_else(|| "none".to_owned());
            let differing = [
                ("step", duration::format(first.step), duration::format(other.step)),
                ("offset", duration::format(first.offset), duration::format(other.offset)),
                ("tz", first.tz.clone(), other.tz.clone()),
                ("tenant_id", tenant(first), tenant(other)),
            ];
            for (key, of_first, of_other) in differing.into_iter().filter(|(_, one, other)| one != other) {
                let reason = format!(
                    "the queries of a multivariate model must have the same `{key}`: it is {of_first} for \
                     `{first_alias}` and {of_other} for `{other_alias}`"
                );
                let place = place_of(root, &["models", alias, "queries"]);
                problems.error(place, format!("models.{alias}.queries"), Fault::Conflict { reason });
            }
        }
    }
}
