//! `models`: what learns and scores.

use std::collections::BTreeSet;

use crate::class;
use crate::fields::{Fields, not_allowed, wrong_type};
use crate::problem::{Fault, Problems};
use crate::schema::{Domain, Key, Kind, Presence, Section};
use crate::section::policy;
use crate::suggestion::{did_you_mean, nearest};
use crate::tree::{Node, Value};
use crate::worker::{Model, ModelClass};

pub(crate) const SECTION: Section = Section {
    title: "`models.<alias>`",
    about: "What learns and scores. One instance is kept for every series of every query of the model.",
    keys: &[
        Key::new(
            "class",
            Kind::Special("class", "`zscore_online` or `mad_online`"),
            Presence::Required,
            "`zscore_online` (`model.online.OnlineZscoreModel`) or `mad_online` (`model.online.OnlineMADModel`); `zscore` and `mad` are deprecated names of the same.",
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
            Kind::Special("list of words", SERIES_ALLOWED),
            Presence::Default(SERIES_DEFAULT),
            "Output series to write, in this order. `timestamp` is accepted and means nothing.",
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
            "anomaly_score_outside_data_range",
            Kind::Number(Domain::NotNegative),
            Presence::Absent("the value of `settings`"),
            "Score of a value outside the `data_range`.",
        ),
        Key::new(
            "min_n_samples_seen",
            Kind::Integer(1, i64::MAX),
            Presence::Default("16"),
            "The score is 0 until a series has had so many samples since its fit started.",
        ),
        Key::new(
            "decay",
            Kind::Number(Domain::UnitInterval),
            Presence::Default("1"),
            "Weight that what is learnt keeps with every new sample: the last N samples have 1 - decay^N of the weight. 1 forgets nothing.",
        ),
        Key::new(
            "history_strength",
            Kind::Number(Domain::Positive),
            Presence::Default("1"),
            "Multiplies the weight of what a fit has seen against the samples after it.",
        ),
        Key::ignored("args", "the model classes of this version take no arguments of an inner library"),
        Key::refused("ttl", "a lifetime per model; use `settings.retention.ttl`"),
    ],
};

pub(crate) const ZSCORE_ONLINE: Section = Section {
    title: "`models.<alias>` of class `zscore_online`",
    about: "Running mean and standard deviation.",
    keys: &[Key::new(
        "z_threshold",
        Kind::Number(Domain::Positive),
        Presence::Default("2.5"),
        "Half-width of the expected interval in standard deviations.",
    )],
};

pub(crate) const MAD_ONLINE: Section = Section {
    title: "`models.<alias>` of class `mad_online`",
    about: "Running median and median absolute deviation, from a t-digest.",
    keys: &[
        Key::new(
            "threshold",
            Kind::Number(Domain::Positive),
            Presence::Default("2.5"),
            "Half-width of the expected interval in median absolute deviations.",
        ),
        Key::new(
            "compression",
            Kind::Integer(1, 10_000),
            Presence::Default("100"),
            "Size of the t-digest: more is more exact and takes more memory.",
        ),
    ],
};

const ATTACHMENT: Kind = Kind::Special("list of aliases or word", "a list of aliases, `all`, `null` or `[]`");

/// What both classes can produce, in the default order.
const SERIES: [&str; 5] = ["anomaly_score", "y", "yhat", "yhat_lower", "yhat_upper"];
const SERIES_DEFAULT: &str = "[anomaly_score, y, yhat, yhat_lower, yhat_upper]";
const SERIES_ALLOWED: &str = "a list, not empty, of `anomaly_score`, `y`, `yhat`, `yhat_lower`, `yhat_upper`";

/// Arguments of classes that are not there yet, so that a misplaced one is named as such.
const OTHER_ARGUMENTS: &[(&str, &[&str])] = &[
    ("quantiles", &["quantile_online", "temporal_envelope", "temporal_envelope_multivariate"]),
    ("iqr_threshold", &["quantile_online", "rolling_quantile", "temporal_envelope"]),
    ("seasonal_interval", &["quantile_online"]),
    ("min_subseason", &["quantile_online"]),
    ("season_starts_from", &["quantile_online"]),
    ("use_transform", &["quantile_online"]),
    ("global_smoothing", &["quantile_online"]),
    ("compression", &["quantile_online"]),
    ("quantile", &["rolling_quantile"]),
    ("window_steps", &["rolling_quantile"]),
    ("period", &["std"]),
    ("z_threshold", &["std", "holtwinters"]),
    ("alpha", &["temporal_envelope", "temporal_envelope_multivariate"]),
    ("loss_reactivity", &["temporal_envelope", "temporal_envelope_multivariate"]),
    ("changepoint_window", &["temporal_envelope", "temporal_envelope_multivariate"]),
    ("holidays", &["temporal_envelope", "temporal_envelope_multivariate"]),
    ("seasonalities", &["temporal_envelope", "temporal_envelope_multivariate", "prophet"]),
    ("dependency_rank", &["temporal_envelope_multivariate"]),
    ("score_aggregation", &["temporal_envelope_multivariate"]),
    ("max_channels", &["temporal_envelope_multivariate"]),
    ("recommended_max_channels", &["temporal_envelope_multivariate"]),
    ("random_state", &["temporal_envelope_multivariate"]),
    ("forecast_at", &["prophet", "temporal_envelope"]),
    ("tz_aware", &["prophet"]),
    ("tz_seasonalities", &["prophet"]),
    ("tz_use_cyclical_encoding", &["prophet"]),
    ("frequency", &["holtwinters"]),
    ("seasonality", &["holtwinters"]),
    ("contamination", &["isolation_forest", "isolation_forest_multivariate"]),
    ("seasonal_features", &["isolation_forest", "isolation_forest_multivariate"]),
    ("groupby", &["isolation_forest_multivariate", "temporal_envelope_multivariate"]),
    ("tuned_class_name", &["auto"]),
    ("optimization_params", &["auto"]),
];

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

fn provide_series(fields: &Fields<'_>, problems: &mut Problems) -> Vec<String> {
    let default = || SERIES.map(str::to_owned).to_vec();
    if fields.raw("provide_series").is_none() {
        return default();
    }
    let Some(items) = fields.list("provide_series", problems) else {
        return default();
    };
    let mut provided: Vec<String> = Vec::new();
    let errors = problems.errors.len();
    for (item, path) in items {
        match &item.value {
            Value::Scalar(scalar) if scalar.text == "timestamp" => {}
            Value::Scalar(scalar) if SERIES.contains(&scalar.text.as_str()) => {
                if provided.contains(&scalar.text) {
                    problems.warn(&item.place, path, "named twice; written once");
                } else {
                    provided.push(scalar.text.clone());
                }
            }
            Value::Scalar(scalar) => {
                let hint = did_you_mean(nearest(&scalar.text, SERIES));
                let reason = format!("the class does not produce this series; it produces {}{hint}", SERIES.join(", "));
                let fault = not_allowed(scalar, reason, || SERIES_ALLOWED.into());
                problems.error(&item.place, path, fault);
            }
            Value::Faulty => {}
            _ => problems.error(&item.place, path, wrong_type("the name of a series", item)),
        }
    }
    if provided.is_empty() && problems.errors.len() == errors {
        fields.conflict("provide_series", format!("must be {SERIES_ALLOWED}"), problems);
    }
    provided
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
    let Some(name) = class::resolve("model", class::MODELS, node, path, None, problems) else {
        if node.get("class").is_none() {
            // Its key may be misspelt.
            let all = [&SECTION, &ZSCORE_ONLINE, &MAD_ONLINE, &policy::SECTION];
            Fields::open(&all, node, path, problems);
        }
        return None;
    };
    let own = if name == "mad_online" { &MAD_ONLINE } else { &ZSCORE_ONLINE };
    let elsewhere = |key: &str| {
        let mut classes: Vec<String> = Vec::new();
        for (class, section) in [("zscore_online", &ZSCORE_ONLINE), ("mad_online", &MAD_ONLINE)] {
            if class != name && section.keys.iter().any(|argument| argument.name == key) {
                classes.push(class.into());
            }
        }
        let others = OTHER_ARGUMENTS.iter().filter(|(argument, _)| *argument == key);
        classes.extend(others.flat_map(|(_, classes)| classes.iter().map(|class| (*class).to_owned())));
        (!classes.is_empty()).then(|| (name.to_owned(), classes))
    };
    let sections = [&SECTION, own, &policy::SECTION];
    let fields = Fields::open_with(&sections, node, path, &elsewhere, problems)?;
    for policy in policy::SECTION.keys {
        if fields.raw(policy.name).is_some() {
            let message =
                "on a model is deprecated and only holds for queries without the key; write it at `reader.queries`";
            fields.warn(policy.name, message, problems);
        }
    }
    let class = if name == "mad_online" {
        ModelClass::MadOnline {
            threshold: fields.number("threshold", problems).unwrap_or_default(),
            compression: fields.whole("compression", problems).unwrap_or_default(),
        }
    } else {
        ModelClass::ZscoreOnline { z_threshold: fields.number("z_threshold", problems).unwrap_or_default() }
    };
    Some(Model {
        class,
        queries: attachment(&fields, "queries", "query", queries, problems),
        schedulers: attachment(&fields, "schedulers", "scheduler", schedulers, problems),
        provide_series: provide_series(&fields, problems),
        scale: fields.sides("scale", problems).unwrap_or_default(),
        clip_predictions: fields.boolean("clip_predictions", problems).unwrap_or_default(),
        anomaly_score_outside_data_range: fields
            .number("anomaly_score_outside_data_range", problems)
            .unwrap_or(outside_data_range),
        policies: policy::build(&fields, problems),
        min_n_samples_seen: fields.whole("min_n_samples_seen", problems).unwrap_or_default(),
        decay: fields.number("decay", problems).unwrap_or_default(),
        history_strength: fields.number("history_strength", problems).unwrap_or_default(),
    })
}
