//! `auto`: another class, whose arguments every fit searches for each series, or for each group of them.

use crate::class;
use crate::fields::{Fields, wrong_type};
use crate::problem::{Fault, Problems};
use crate::range;
use crate::schema::{Domain, Key, Kind, Presence, Section};
use crate::section::model::multivariate::CALIBRATED_MULTIVARIATE;
use crate::section::model::online::{CALIBRATED, number};
use crate::section::model::{self, CLASSES, Class};
use crate::section::policy;
use crate::tree::{Entry, Node, Scalar, Value};
use crate::worker::{Auto, Learning, ModelClass, Validation};

pub(super) const AUTO: Class = Class {
    name: "auto",
    section: Section {
        title: "`models.<alias>` of class `auto`",
        about: "Another class, whose arguments every fit searches for each series, or for each group of a class whose name ends in `_multivariate`. It writes what the tuned class does.",
        keys: &[
            Key::new(
                "tuned_class_name",
                Kind::Special("class", "the name of a class, short or as a dotted path; not `auto`"),
                Presence::Required,
                "The class to tune.",
            ),
            Key::new(
                "tuned_model_class",
                Kind::Special("class", "the name of a class, short or as a dotted path; not `auto`"),
                Presence::Absent("`tuned_class_name`"),
                "Another name of `tuned_class_name`.",
            ),
            Key::new(
                "optimization_params",
                Kind::Section(&OPTIMIZATION),
                Presence::Required,
                "How the arguments are searched.",
            ),
        ],
    },
    shared: &[],
    // Those of the tuned class are looked up there.
    series: &[],
    further_series: |_| Vec::new(),
    build: |fields, problems| ModelClass::Auto(Box::new(auto(fields, problems))),
};

pub(crate) const OPTIMIZATION: Section = Section {
    title: "`models.<alias>.optimization_params` of class `auto`",
    about: "How arguments are searched: a trial fits to parts of the window and scores what comes after them. The best is the narrowest interval around the values whose share of scores above 1 keeps to `anomaly_percentage`.",
    keys: &[
        Key::new(
            "anomaly_percentage",
            Kind::Special("number", "a number from 0, below 0.5"),
            Presence::Required,
            "The greatest share of samples that are anomalous: 0.01 is one in a hundred.",
        ),
        Key::new(
            "n_trials",
            Kind::Integer(1, 1_000_000),
            Presence::Default("128"),
            "The most trials, the first of which is that of the class's defaults.",
        ),
        Key::new(
            "timeout",
            Kind::Number(Domain::Positive),
            Presence::Absent("no limit"),
            "The longest time of the search for one series or group, in seconds; it ends with the trial that is under way. What is found then depends on the machine.",
        ),
        Key::new(
            "n_splits",
            Kind::Integer(1, 100),
            Presence::Default("3"),
            "Number of parts of the window that are scored in each trial.",
        ),
        Key::new(
            "validation_scheme",
            Kind::OneOf(&["regular", "leaky"]),
            Presence::Default("regular"),
            "`regular`: a part is fitted, then the part after it scored. `leaky`: all samples are both, for windows without anomalies.",
        ),
        Key::new(
            "train_val_ratio",
            Kind::Number(Domain::Positive),
            Presence::Default("3"),
            "Samples fitted for each that is scored; of `validation_scheme: regular`.",
        ),
        Key::new(
            "n_jobs",
            Kind::Special("whole number", "-1, or a whole number, at least 1"),
            Presence::Default("1"),
            "Accepted, and means nothing: series are fitted beside each other, on the threads of `settings.n_workers`.",
        ),
        Key::new("seed", Kind::Integer(0, i64::MAX), Presence::Default("42"), "The same seed gives the same search."),
        Key::new(
            "exact",
            Kind::Boolean,
            Presence::Default("false"),
            "Whether classes that learn online learn each sample that a trial has scored.",
        ),
        Key::new(
            "optimize_complexity",
            Kind::Boolean,
            Presence::Default("true"),
            "Whether the smallest state wins among trials that are nearly as good as the best.",
        ),
        Key::new(
            "frozen_params",
            Kind::Special("section", "a map of arguments of the tuned class"),
            Presence::Absent("all are the class's defaults, or searched"),
            "Arguments of the tuned class that are not searched, as its own section has them, `groupby` among them. Those that it requires are required here.",
        ),
        Key::ignored(
            "optimized_business_params",
            "deprecated; what counts as anomalous is said at `reader.queries`, and never searched",
        ),
        Key::ignored("beta", "the objective has weights of its own"),
        Key::ignored("show_progress_bar", "a search prints nothing"),
        Key::ignored("gc_after_trial", "a trial leaves no garbage"),
    ],
};

/// Where a search starts that a class itself requires to be told.
const STARTS: &[(&str, &[(&str, &str)])] = &[("rolling_quantile", &[("quantile", "0.9"), ("window_steps", "100")])];

fn auto(fields: &Fields<'_>, problems: &mut Problems) -> Auto {
    let tuned = tuned_class(fields, problems);
    let optimization = fields.inner("optimization_params", &OPTIMIZATION, problems);
    let tuned_class = tuned.map_or("", |class| class.name).to_owned();
    let Frozen { start, learning, names } = match (tuned, &optimization) {
        (Some(class), Some(optimization)) => frozen_params(class, optimization, problems),
        _ => Frozen::default(),
    };
    let mut auto = Auto { tuned_class, start, learning, frozen: names, ..Auto::default() };
    let Some(fields) = optimization else { return auto };
    let share = fields.parsed("anomaly_percentage", problems, |text| match range::parse_number(text) {
        Ok(share) if (0.0..0.5).contains(&share) => Ok(share),
        _ => Err("must be a number from 0, below 0.5".to_owned()),
    });
    fields.parsed("n_jobs", problems, |text| match text.trim().parse::<i64>() {
        Ok(jobs) if jobs == -1 || jobs >= 1 => Ok(jobs),
        _ => Err("must be -1, or a whole number, at least 1".to_owned()),
    });
    auto.anomaly_percentage = share.unwrap_or_default();
    auto.n_trials = fields.whole("n_trials", problems).unwrap_or(1);
    auto.timeout = fields.number("timeout", problems);
    auto.n_splits = fields.whole("n_splits", problems).unwrap_or(1);
    auto.validation = match fields.one_of("validation_scheme", problems) {
        Some("leaky") => Validation::Leaky,
        _ => Validation::Regular,
    };
    auto.train_val_ratio = number(&fields, "train_val_ratio", problems);
    auto.seed = fields.whole("seed", problems).unwrap_or_default();
    auto.exact = fields.boolean("exact", problems).unwrap_or_default();
    auto.optimize_complexity = fields.boolean("optimize_complexity", problems).unwrap_or_default();
    auto
}

fn tuned_class(fields: &Fields<'_>, problems: &mut Problems) -> Option<&'static Class> {
    let key = match (fields.is_written("tuned_class_name"), fields.is_written("tuned_model_class")) {
        (true, true) => {
            fields.conflict("tuned_model_class", "is the same as `tuned_class_name`: write one of them", problems);
            return None;
        }
        (false, true) => "tuned_model_class",
        _ => "tuned_class_name",
    };
    let node = fields.node(key, problems)?;
    let name = class::resolve_name("model", class::MODELS, node, fields.path_of(key), problems)?;
    if [CALIBRATED.name, CALIBRATED_MULTIVARIATE.name].contains(&name) {
        let message = format!("`{name}` has no arguments that could be searched: write it as `class`");
        fields.conflict(key, message, problems);
        return None;
    }
    if name == AUTO.name {
        fields.conflict(key, "`auto` does not tune itself: write the class whose arguments are searched", problems);
        return None;
    }
    CLASSES.iter().find(|class| class.name == name)
}

/// What is known of the tuned class before a search.
struct Frozen {
    start: ModelClass,
    learning: Learning,
    names: Vec<String>,
}

impl Default for Frozen {
    fn default() -> Self {
        let Auto { start, learning, frozen, .. } = Auto::default();
        Self { start, learning, names: frozen }
    }
}

/// Reads `frozen_params` by the declarations of the tuned class.
fn frozen_params(class: &'static Class, optimization: &Fields<'_>, problems: &mut Problems) -> Frozen {
    let key = "frozen_params";
    let path = optimization.path_of(key);
    let place = optimization.place_of(key).clone();
    let written = match optimization.raw(key) {
        Some(Node { value: Value::Map(entries), .. }) => entries.clone(),
        None => Vec::new(),
        Some(node) => {
            if node.value != Value::Faulty {
                optimization.error(key, wrong_type("a map of arguments of the tuned class", node), problems);
            }
            return Frozen::default();
        }
    };
    let mut entries = Vec::new();
    for entry in written {
        let reason = match entry.key.as_str() {
            "class" | "class_name" => "the class is `tuned_class_name`",
            own if [&model::SECTION, &policy::SECTION].iter().any(|all| all.keys.iter().any(|key| key.name == own)) => {
                "every class has it: write it on the model itself, where it is not searched either"
            }
            _ => {
                entries.push(entry);
                continue;
            }
        };
        let fault = Fault::Conflict { reason: reason.to_owned() };
        problems.error(&entry.place, crate::tree::join(&path, &entry.key), fault);
    }
    let names = entries.iter().flat_map(names).collect();
    let starts = STARTS.iter().filter(|(name, _)| *name == class.name).flat_map(|(_, starts)| *starts);
    for (key, text) in starts.filter(|(key, _)| entries.iter().all(|entry| entry.key != *key)).collect::<Vec<_>>() {
        let value = Value::Scalar(Scalar { text: (*text).to_owned(), template: None });
        let node = Node { place: place.clone(), value };
        entries.push(Entry { key: (*key).to_owned(), place: place.clone(), node });
    }
    let node = Node { place, value: Value::Map(entries) };
    let sections: Vec<&'static Section> = class.sections().collect();
    let elsewhere = |key: &str| model::argument_of_others(class, key);
    let Some(fields) = Fields::open_with(&sections, &node, path, &elsewhere, problems) else {
        return Frozen::default();
    };
    let start = (class.build)(&fields, problems);
    Frozen { start, learning: model::learning(&fields, problems), names }
}

/// The names of an argument, or of what is in it.
fn names(entry: &Entry) -> Vec<String> {
    match &entry.node.value {
        Value::Map(inner) => inner.iter().map(|inner| crate::tree::join(&entry.key, &inner.key)).collect(),
        _ => vec![entry.key.clone()],
    }
}
