//! `models`: what learns and scores.

use std::collections::BTreeSet;

use crate::class;
use crate::fields::{Fields, not_allowed, wrong_type};
use crate::problem::{Fault, Problems};
use crate::schema::{Domain, Key, Kind, Presence, Section};
use crate::section::policy;
use crate::suggestion::{did_you_mean, nearest};
use crate::tree::{Node, Value};
use crate::worker::{Horizon, Learning, Model, ModelClass};

mod auto;
mod envelope;
mod holidays;
pub(crate) mod multivariate;
mod offline;
mod online;
mod prophet;
mod smoothing_bounds;

use auto::AUTO;
use envelope::TEMPORAL_ENVELOPE;
use multivariate::{CALIBRATED_MULTIVARIATE, ISOLATION_FOREST_MULTIVARIATE, TEMPORAL_ENVELOPE_MULTIVARIATE};
use offline::{HOLT_WINTERS, ISOLATION_FOREST};
use online::{CALIBRATED, DECOMPOSITION, MAD, QUANTILE, ROLLING_QUANTILE, ZSCORE};
use prophet::PROPHET;

pub(crate) const CLASSES: &[Class] = &[
    CALIBRATED,
    ZSCORE,
    MAD,
    QUANTILE,
    ROLLING_QUANTILE,
    DECOMPOSITION,
    TEMPORAL_ENVELOPE,
    PROPHET,
    HOLT_WINTERS,
    ISOLATION_FOREST,
    CALIBRATED_MULTIVARIATE,
    TEMPORAL_ENVELOPE_MULTIVARIATE,
    ISOLATION_FOREST_MULTIVARIATE,
    AUTO,
];

/// Arguments that classes hand on.
pub(crate) const INNER: &[&Section] = &[
    &offline::SMOOTHING,
    &offline::TREES,
    &envelope::HOLIDAYS,
    &prophet::SEASONALITY,
    &prophet::COMPRESSION,
    &prophet::ARGS,
    &holidays::HOLIDAY,
    &smoothing_bounds::BOUNDS,
    &auto::OPTIMIZATION,
];

/// What several classes take.
pub(crate) const SHARED: &[&Section] = &[
    &multivariate::GROUPS,
    &multivariate::CHANNELS,
    &envelope::CALENDAR,
    &online::WARM_UP,
    &online::FORGETTING,
    &online::REMEMBERING,
];

pub(crate) const SECTION: Section = Section {
    title: "`models.<alias>`",
    about: "What learns and scores. One instance is kept for every series of every query of the model; of classes whose name ends in `_multivariate`, one for each group of series.",
    keys: &[
        Key::new(
            "class",
            Kind::Special("class", "the name of a class, short or as a dotted path"),
            Presence::Required,
            "The class, by its short name or its dotted path: `zscore_online` or `model.online.OnlineZscoreModel`. See below for what each takes.",
        ),
        Key::new(
            "queries",
            ATTACHMENT,
            Presence::Absent("all queries, with a warning"),
            "Aliases of the queries to learn. `all`: all of them. `null` or `[]`: none, the model is left out.",
        ),
        Key::new(
            "schedulers",
            ATTACHMENT,
            Presence::Absent("all schedulers, with a warning"),
            "Aliases of the schedulers to run under; as `queries`.",
        ),
        Key::new(
            "provide_series",
            Kind::Special("list of words", "a list, not empty, of series that the class produces"),
            Presence::Absent("all that the class produces by default"),
            "Output series to write, in this order. Every class can also write `stage`, which says [how far a series' model is](models.md#stages): below 1 it has no score yet, below 2 it has not seen all that it is to learn, 2 is ready. `timestamp` is accepted and means nothing.",
        ),
        Key::new(
            "scale",
            Kind::Sides(Domain::Positive),
            Presence::Default("1"),
            "Factors of the distance between the expected value and the lower and the upper bound.",
        ),
        Key::new(
            "clip_predictions",
            Kind::Boolean,
            Presence::Default("false"),
            "Clamps expected value and bounds to the `data_range`.",
        ),
        Key::new(
            "band_floor",
            Kind::Number(Domain::NotNegative),
            Presence::Default("1"),
            "Least distance of the bounds from the expected value, in units of the series' own noise, the standard deviation of its moves from sample to sample. It keeps the band of a series that hardly moves open. `0`: no floor, as vmanomaly has none. No effect on `calibrated`, and on classes without `yhat`.",
        )
        .own(),
        Key::new(
            "influence_limit",
            Kind::Number(Domain::NotNegative),
            Presence::Default("0"),
            "A sample that is further from the expected value than so many half-widths of the band is learnt as if it were that far away, so that a spike does not widen the band for long. At least 1; `0`: no limit, as vmanomaly has none. Only online classes learn between fits; no effect on `calibrated`.",
        )
        .own(),
        Key::new(
            "exclude_incidents",
            Kind::Boolean,
            Presence::Default("false"),
            "A fit leaves out what it takes for an incident: five samples or more in a row, far from what is usual at that hour, of at most a quarter of the window. The window is held in memory then, 8 bytes a sample.",
        )
        .own(),
        Key::new(
            "anomaly_score_outside_data_range",
            Kind::Number(Domain::NotNegative),
            Presence::Absent("the value of `settings`"),
            "Score of a value outside the `data_range`.",
        ),
        Key::refused("ttl", "a lifetime per model; use `settings.retention.ttl`"),
    ],
};

/// A class of models.
pub(crate) struct Class {
    pub(crate) name: &'static str,
    /// What only it takes.
    pub(crate) section: Section,
    /// What it takes like others.
    pub(crate) shared: &'static [&'static Section],
    /// What it writes unless `provide_series` says otherwise, in this order.
    pub(crate) series: &'static [&'static str],
    /// What else it can write.
    pub(crate) further_series: fn(&ModelClass) -> Vec<String>,
    /// Its arguments. Values that are wrong are reported, and stand as if they were not there.
    pub(crate) build: fn(&Fields<'_>, &mut Problems) -> ModelClass,
}

impl Class {
    pub(crate) fn sections(&'static self) -> impl Iterator<Item = &'static Section> {
        std::iter::once(&self.section).chain(self.shared.iter().copied())
    }
}

const ATTACHMENT: Kind = Kind::Special("list of aliases or word", "a list of aliases, `all`, `null` or `[]`");

/// The queries or schedulers that a model hangs on, and whether nobody said so.
fn attachment(
    fields: &Fields<'_>,
    name: &'static str,
    kind: &'static str,
    aliases: &BTreeSet<&str>,
    problems: &mut Problems,
) -> Vec<String> {
    let all = || aliases.iter().map(|alias| (*alias).to_owned()).collect();
    if !fields.is_written(name) {
        let message = format!("absent: the model is attached to all {name}; write `{name}: all` to say so");
        fields.warn(name, message, problems);
        return all();
    }
    let Some(node) = fields.raw(name) else {
        return Vec::new();
    };
    let items = match &node.value {
        Value::Scalar(scalar) if scalar.text == "all" => return all(),
        Value::List(items) => items,
        Value::Faulty => return Vec::new(),
        Value::Null | Value::Scalar(_) | Value::Map(_) => {
            fields.error(name, wrong_type(&ATTACHMENT.allowed(), node), problems);
            return Vec::new();
        }
    };
    let mut attached = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let path = format!("{}[{index}]", fields.path_of(name));
        match &item.value {
            Value::Scalar(scalar) if aliases.contains(scalar.text.as_str()) => {
                attached.push(scalar.text.clone());
            }
            Value::Scalar(scalar) => {
                let nearest = nearest(&scalar.text, aliases.iter().copied()).map(str::to_owned);
                let alias = scalar.template.as_ref().unwrap_or(&scalar.text).clone();
                problems.error(&item.place, path, Fault::UnknownAlias { kind, alias, nearest });
            }
            Value::Faulty => {}
            _ => problems.error(&item.place, path, wrong_type("an alias", item)),
        }
    }
    attached.sort();
    attached.dedup();
    attached
}

fn provide_series(fields: &Fields<'_>, class: &Class, built: &ModelClass, problems: &mut Problems) -> Vec<String> {
    if let ModelClass::Auto(auto) = built {
        let tuned = CLASSES.iter().find(|class| class.name == auto.tuned_class);
        return tuned.map_or_else(Vec::new, |tuned| provide_series(fields, tuned, &auto.start, problems));
    }
    let mut further = (class.further_series)(built);
    further.push("stage".to_owned());
    let produced = || class.series.iter().copied().chain(further.iter().map(String::as_str));
    let default = || class.series.iter().map(|name| (*name).to_owned()).collect();
    if fields.raw("provide_series").is_none() {
        return default();
    }
    let Some(items) = fields.list("provide_series", problems) else {
        return default();
    };
    let all = produced().collect::<Vec<_>>().join(", ");
    let mut provided: Vec<String> = Vec::new();
    let errors = problems.errors.len();
    for (item, path) in items {
        match &item.value {
            Value::Scalar(scalar) if scalar.text == "timestamp" => {}
            Value::Scalar(scalar) if produced().any(|name| name == scalar.text) => {
                if provided.contains(&scalar.text) {
                    problems.warn(&item.place, path, "named twice; written once");
                } else {
                    provided.push(scalar.text.clone());
                }
            }
            Value::Scalar(scalar) => {
                let hint = did_you_mean(nearest(&scalar.text, produced()));
                let reason = format!("the class does not produce this series; it produces {all}{hint}");
                let fault = not_allowed(scalar, reason, || format!("a list, not empty, of {all}"));
                problems.error(&item.place, path, fault);
            }
            Value::Faulty => {}
            _ => problems.error(&item.place, path, wrong_type("the name of a series", item)),
        }
    }
    if provided.is_empty() && problems.errors.len() == errors {
        fields.conflict("provide_series", format!("must be a list, not empty, of {all}"), problems);
    }
    provided
}

/// The series to write, and of those that are parts of an interval what they are at each horizon.
fn with_forecasts(mut provided: Vec<String>, horizons: &[Horizon]) -> Vec<String> {
    let parts: Vec<String> =
        provided.iter().filter(|name| ["yhat", "yhat_lower", "yhat_upper"].contains(&name.as_str())).cloned().collect();
    for Horizon { name, .. } in horizons {
        provided.extend(parts.iter().map(|part| format!("{part}_{name}")));
    }
    provided
}

/// How many half-widths away a sample counts at most.
fn influence_limit(fields: &Fields<'_>, problems: &mut Problems) -> f64 {
    let limit = fields.number("influence_limit", problems).unwrap_or_default();
    if limit > 0.0 && limit < 1.0 {
        // Samples inside the band would be learnt as others.
        fields.conflict("influence_limit", format!("is {limit}; it must be 0, for none, or at least 1"), problems);
    }
    limit
}

/// What a key is known for elsewhere that this class does not take.
fn argument_of_others(class: &Class, key: &str) -> Option<(String, Vec<String>)> {
    let has = |class: &&'static Class| class.sections().flat_map(|section| section.keys).any(|own| own.name == key);
    let classes: Vec<String> = CLASSES.iter().filter(has).map(|other| other.name.to_owned()).collect();
    (!classes.is_empty()).then(|| (class.name.to_owned(), classes))
}

/// What classes have that learn online; of others, what changes nothing.
fn learning(fields: &Fields<'_>, problems: &mut Problems) -> Learning {
    Learning {
        min_n_samples_seen: fields.whole("min_n_samples_seen", problems).unwrap_or_default(),
        decay: fields.number("decay", problems).unwrap_or(1.0),
        history_strength: fields.number("history_strength", problems).unwrap_or(1.0),
    }
}

/// A model; `None` if it has errors that leave nothing of it. Its lists of queries and schedulers may be empty.
pub(crate) fn build(
    node: &Node,
    path: &str,
    queries: &BTreeSet<&str>,
    schedulers: &BTreeSet<&str>,
    outside_data_range: f64,
    problems: &mut Problems,
) -> Option<Model> {
    if !matches!(node.value, Value::Map(_)) {
        if node.value != Value::Faulty {
            problems.error(&node.place, path, wrong_type("a map", node));
        }
        return None;
    }
    let name = class::resolve("model", class::MODELS, node, path, None, problems);
    let Some(class) = name.and_then(|name| CLASSES.iter().find(|class| class.name == name)) else {
        if node.get("class").is_none() {
            // Its key may be misspelt.
            let mut all = vec![&SECTION, &policy::SECTION];
            all.extend(CLASSES.iter().flat_map(|class| class.sections()));
            Fields::open(&all, node, path, problems);
        }
        return None;
    };
    let elsewhere = |key: &str| argument_of_others(class, key);
    let mut sections = vec![&SECTION, &policy::SECTION];
    sections.extend(class.sections());
    let fields = Fields::open_with(&sections, node, path, &elsewhere, problems)?;
    for policy in policy::SECTION.keys {
        if fields.raw(policy.name).is_some() {
            let message =
                "on a model is deprecated and only holds for queries without the key; write it at `reader.queries`";
            fields.warn(policy.name, message, problems);
        }
    }
    let built = (class.build)(&fields, problems);
    let expects_value =
        class.series.contains(&"yhat") || (class.further_series)(&built).iter().any(|name| name == "yhat");
    for name in ["scale", "clip_predictions", "band_floor", "influence_limit"] {
        if !expects_value && fields.raw(name).is_some() {
            fields.warn(name, "has no effect here: the class expects no value", problems);
        }
    }
    for name in ["band_floor", "influence_limit"] {
        let is_calibrated = matches!(built, ModelClass::Calibrated { .. } | ModelClass::CalibratedMultivariate(_));
        if is_calibrated && fields.raw(name).is_some() {
            fields.warn(
                name,
                "has no effect here: the class keeps its band open, and spikes out of it, by itself",
                problems,
            );
        }
    }
    let Learning { min_n_samples_seen, decay, history_strength } = match &built {
        ModelClass::Auto(auto) => auto.learning,
        _ => learning(&fields, problems),
    };
    let provided = provide_series(&fields, class, &built, problems);
    let provided_and_forecast = with_forecasts(provided.clone(), built.forecast_at());
    if !built.forecast_at().is_empty() && provided_and_forecast == provided && fields.raw("forecast_at").is_some() {
        let message = "has no effect: `provide_series` has none of `yhat`, `yhat_lower`, `yhat_upper`";
        fields.warn("forecast_at", message, problems);
    }
    Some(Model {
        queries: attachment(&fields, "queries", "query", queries, problems),
        schedulers: attachment(&fields, "schedulers", "scheduler", schedulers, problems),
        provide_series: provided_and_forecast,
        scale: fields.sides("scale", problems).unwrap_or_default(),
        clip_predictions: fields.boolean("clip_predictions", problems).unwrap_or_default(),
        band_floor: fields.number("band_floor", problems).unwrap_or(1.0),
        influence_limit: influence_limit(&fields, problems),
        exclude_incidents: fields.boolean("exclude_incidents", problems).unwrap_or_default(),
        anomaly_score_outside_data_range: fields
            .number("anomaly_score_outside_data_range", problems)
            .unwrap_or(outside_data_range),
        policies: policy::build(&fields, problems),
        min_n_samples_seen,
        decay,
        history_strength,
        class: built,
    })
}
