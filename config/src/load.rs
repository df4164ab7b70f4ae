//! From configuration files to a [`WorkerConfig`]: parse, merge, environment, defaults, validation. Pure; whoever
//! calls it reads the files and knows the environment.

use std::collections::{BTreeMap, BTreeSet};

use crate::duration;
use crate::fields::Fields;
use crate::problem::{ConfigErrors, Fault, Place, Problems, Warning};
use crate::schema::{Key, Kind, Presence, Section};
use crate::section::{model, reader, scheduler, service, writer};
use crate::tree::{Entry, Node, Scalar, Value};
use crate::worker::{Model, ModelClass, Reader, Scheduler, WorkerConfig, Writer};
use crate::yaml;

pub use crate::yaml::Source;

pub(crate) const ROOT: Section = Section {
    title: "Top level",
    about: "The top of a configuration.",
    keys: &[
        Key::new(
            "schedulers",
            Kind::Entries(&scheduler::SECTION),
            Presence::Required,
            "When to fit and infer, by alias. `scheduler: {...}` is an old form of `schedulers: {default_scheduler: {...}}`.",
        ),
        Key::new(
            "models",
            Kind::Entries(&model::SECTION),
            Presence::Absent("one of class `calibrated` under the alias `calibrated`, for all queries and schedulers"),
            "What learns and scores, by alias. `{}`: nothing. `model: {...}` is an old form of `models: {default_model: {...}}`.",
        ),
        Key::new("reader", Kind::Section(&reader::SECTION), Presence::Required, "Where samples come from."),
        Key::new("writer", Kind::Section(&writer::SECTION), Presence::Required, "Where scores go."),
        Key::new(
            "monitoring",
            Kind::Section(&service::MONITORING),
            Presence::Absent("its defaults"),
            "Self-monitoring.",
        ),
        Key::new("server", Kind::Section(&service::SERVER), Presence::Absent("its defaults"), "The HTTP server."),
        Key::new("settings", Kind::Section(&service::SETTINGS), Presence::Absent("its defaults"), "Everything global."),
        Key::new(
            "preset",
            Kind::Text,
            Presence::Default("default"),
            "Value of the label `preset` of every output. The predefined contents of vmanomaly's presets `ui` and `node-exporter` are not there yet; these names are refused.",
        ),
        Key::new(
            "revision",
            Kind::Text,
            Presence::Absent("none"),
            "Any text; `/status` shows it while this configuration is in effect, so that whoever writes the file sees when it has arrived. It changes nothing else.",
        )
        .own(),
        Key::ignored("license", "there is no licence to check"),
    ],
};

/// Class of the model of a configuration without models, and the alias of that model.
pub const DEFAULT_MODEL: &str = "calibrated";

/// Old names of sections: the name, what replaces it, and the alias that its content gets.
const LEGACY: [(&str, &str, &str); 2] =
    [("scheduler", "schedulers", "default_scheduler"), ("model", "models", "default_model")];

/// A configuration and what to know about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: WorkerConfig,
    /// What works, but perhaps not as meant, in the order of the files.
    pub warnings: Vec<Warning>,
}

/// Loads a configuration from files that are merged in order: maps key by key, for everything else the later file
/// counts. `%{NAME}` in a value is replaced by what `env` says about `NAME`. `cpus` bounds the reader's concurrency
/// where `reader.workers` is 0.
///
/// # Errors
/// Everything that is wrong in any of the files. An unset variable is an error too (vmanomaly leaves the
/// placeholder as it is).
pub fn load(sources: &[Source], env: &dyn Fn(&str) -> Option<String>, cpus: usize) -> Result<Loaded, ConfigErrors> {
    let mut problems = Problems::default();
    let mut root: Option<Node> = None;
    let mut all_parsed = true;
    for source in sources {
        let Some(tree) = yaml::parse(source, &mut problems) else {
            all_parsed = false;
            continue;
        };
        match &mut root {
            None => root = Some(tree),
            Some(root) => root.merge(tree),
        }
    }
    let config = root.and_then(|mut root| {
        root.substitute(env, "", &mut problems);
        rename_legacy(&mut root, &mut problems);
        build(&root, cpus, &mut problems)
    });
    if !all_parsed {
        // What seems to be missing may be in the file that could not be parsed.
        problems.errors.retain(|error| !matches!(error.fault, Fault::Missing { .. } | Fault::UnknownAlias { .. }));
    }
    let (config, warnings) = problems.finish(config, sources)?;
    Ok(Loaded { config, warnings })
}

fn rename_legacy(root: &mut Node, problems: &mut Problems) {
    for (old, new, alias) in LEGACY {
        let has_new = root.get(new).is_some();
        let Value::Map(entries) = &mut root.value else {
            return;
        };
        let Some(index) = entries.iter().position(|entry| entry.key == old) else {
            continue;
        };
        let entry = entries.remove(index);
        if has_new {
            problems.warn(&entry.place, old, format!("ignored: `{new}` is there too"));
            continue;
        }
        problems.warn(&entry.place, old, format!("is an old form of `{new}: {{{alias}: ...}}`"));
        let place = entry.node.place.clone();
        let inner = Entry { key: alias.to_owned(), place: entry.place.clone(), node: entry.node };
        let node = Node { place, value: Value::Map(vec![inner]) };
        entries.insert(index, Entry { key: new.to_owned(), place: entry.place, node });
    }
}

/// Builds and checks every section, even if another one has errors.
fn build(root: &Node, cpus: usize, problems: &mut Problems) -> Option<WorkerConfig> {
    let fields = Fields::open(&[&ROOT], root, "", problems)?;
    let absent = Node { place: root.place.clone(), value: Value::Null };
    let section = |name: &str| fields.raw(name).unwrap_or(&absent);

    let settings = service::settings(section("settings"), problems);
    let outside = settings.as_ref().map_or(0.0, |(_, outside)| *outside);
    let monitoring = service::monitoring(section("monitoring"), problems);
    let server = service::server(section("server"), problems);
    let preset = fields.parsed("preset", problems, preset);
    let revision = fields.text("revision", problems);

    let entries = fields.aliases("schedulers", problems).unwrap_or_default();
    let scheduler_aliases: BTreeSet<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
    let mut schedulers = BTreeMap::new();
    for entry in entries {
        let path = format!("schedulers.{}", entry.key);
        if let Some(scheduler) = scheduler::build(&entry.node, &path, problems) {
            schedulers.insert(entry.key.clone(), scheduler);
        }
    }

    let reader_node = fields.node("reader", problems);
    let query_aliases: BTreeSet<&str> = reader_node
        .and_then(|node| node.get("queries"))
        .map(|queries| queries.entries().iter().map(|entry| entry.key.as_str()).collect())
        .unwrap_or_default();
    let reader = reader_node.and_then(|node| reader::build(node, problems));

    let mut models = BTreeMap::new();
    let default_models = default_models(&root.place);
    let entries = match fields.raw("models") {
        Some(_) => fields.aliases("models", problems).unwrap_or_default(),
        None => &default_models,
    };
    for entry in entries {
        let path = format!("models.{}", entry.key);
        let (queries, schedulers) = (&query_aliases, &scheduler_aliases);
        let built = model::build(&entry.node, &path, queries, schedulers, outside, problems);
        let Some(model) = built else {
            continue;
        };
        if model.queries.is_empty() || model.schedulers.is_empty() {
            let missing = if model.queries.is_empty() { "query" } else { "scheduler" };
            problems.warn(&entry.place, path, format!("left out: it is attached to no {missing}"));
        } else {
            models.insert(entry.key.clone(), model);
        }
    }
    let used: BTreeSet<&str> = models.values().flat_map(|model| &model.queries).map(String::as_str).collect();
    let writer = fields.node("writer", problems).and_then(|node| writer::build(node, used.len(), problems));

    let reader::Built { mut reader, data_range } = reader?;
    let mut writer = writer?;
    for model in models.values_mut() {
        model.policies.data_range = model.policies.data_range.or(data_range);
    }
    check_jobs(root, &models, &schedulers, &reader, problems);
    model::multivariate::check(root, &models, &reader.queries, &writer, problems);
    check_tenants(root, &reader, &mut writer, problems);
    drop_orphans(root, &models, &mut schedulers, &mut reader, problems);
    check_budgets(root, &models, &reader, problems);
    if reader.workers == 0 {
        reader.workers = reader.queries.len().min(cpus.saturating_mul(2)).max(1);
    }
    let (mut monitoring, server) = (monitoring?, server?);
    if monitoring.pull.as_ref().is_some_and(|(_, port)| *port == server.port && *port != 0) {
        monitoring.pull = None;
    }
    Some(WorkerConfig {
        schedulers,
        models,
        reader,
        writer,
        monitoring,
        server,
        settings: settings?.0,
        preset: preset?,
        revision,
    })
}

/// The models of a configuration that says nothing of models.
fn default_models(place: &Place) -> Vec<Entry> {
    let scalar = |text: &str| Value::Scalar(Scalar { text: text.to_owned(), template: None });
    let entry = |key: &str, value| Entry {
        key: key.to_owned(),
        place: place.clone(),
        node: Node { place: place.clone(), value },
    };
    let keys = [("class", DEFAULT_MODEL), ("queries", "all"), ("schedulers", "all")];
    let model = keys.map(|(key, text)| entry(key, scalar(text)));
    vec![entry(DEFAULT_MODEL, Value::Map(model.into()))]
}

fn preset(text: &str) -> Result<String, String> {
    let name = text.split(':').next().unwrap_or_default();
    match name {
        "ui" | "node-exporter" => Err(format!(
            "the predefined contents of the preset `{name}` are not supported yet in this version; \
             write its sections out under another name"
        )),
        "" => Err("must not be empty".into()),
        _ => Ok(text.to_owned()),
    }
}

/// The place of a node below the root; the root's if it is not there.
pub(crate) fn place_of<'a>(root: &'a Node, path: &[&str]) -> &'a Place {
    let mut node = root;
    for key in path {
        match node.get(key) {
            Some(inner) => node = inner,
            None => break,
        }
    }
    &node.place
}

/// What a scheduler and a query must agree on.
fn check_jobs(
    root: &Node,
    models: &BTreeMap<String, Model>,
    schedulers: &BTreeMap<String, Scheduler>,
    reader: &Reader,
    problems: &mut Problems,
) {
    let jobs: BTreeSet<(&str, &str)> = models
        .values()
        .flat_map(|model| {
            let pairs = |scheduler| model.queries.iter().map(move |query| (scheduler, query.as_str()));
            model.schedulers.iter().flat_map(move |scheduler| pairs(scheduler.as_str()))
        })
        .collect();
    for (alias, query_alias) in jobs {
        let (Some(scheduler), Some(query)) = (schedulers.get(alias), reader.queries.get(query_alias)) else {
            continue;
        };
        let step = duration::format(query.step);
        if scheduler.fit_window < query.step {
            let reason = format!(
                "{} is shorter than the step of the query `{query_alias}`, {step}: there would be nothing to learn",
                duration::format(scheduler.fit_window)
            );
            let place = place_of(root, &["schedulers", alias, "fit_window"]);
            let path = format!("schedulers.{alias}.fit_window");
            problems.error(place, path, Fault::Conflict { reason });
        }
        let infer_every = duration::format(scheduler.infer_every);
        let place = place_of(root, &["schedulers", alias, "infer_every"]);
        let path = format!("schedulers.{alias}.infer_every");
        if query.step > scheduler.infer_every {
            let message = format!(
                "{infer_every} is shorter than the step of the query `{query_alias}`, {step}: some ticks will have no samples"
            );
            problems.warn(place, &path, message);
        }
        if reader.fetch_timeout > scheduler.infer_every {
            let timeout = duration::format(reader.fetch_timeout);
            let message = format!(
                "{infer_every} is shorter than the reader's `fetch_timeout` (or `timeout`), {timeout}: one slow read delays several ticks"
            );
            problems.warn(place, &path, message);
        }
    }
}

/// A budget of false alarms is for models that promise how many they have.
fn check_budgets(root: &Node, models: &BTreeMap<String, Model>, reader: &Reader, problems: &mut Problems) {
    let promises = |query: &str| {
        let mut of_query = models.values().filter(|model| model.queries.iter().any(|alias| alias == query));
        of_query.any(|model| matches!(model.class, ModelClass::Calibrated { .. }))
    };
    let of_budget = reader.queries.iter().filter(|(_, query)| query.false_alarms_per_day.is_some());
    for (alias, _) in of_budget.filter(|(alias, _)| !promises(alias)) {
        let place = place_of(root, &["reader", "queries", alias, "false_alarms_per_day"]);
        let message = "changes nothing: no model of class `calibrated` has the query";
        problems.warn(place, format!("reader.queries.{alias}.false_alarms_per_day"), message);
    }
}

/// Tenants of reader and writer must fit, or scores land where nobody looks for them.
fn check_tenants(root: &Node, reader: &Reader, writer: &mut Writer, problems: &mut Problems) {
    let place = place_of(root, &["writer", "tenant_id"]);
    let path = "writer.tenant_id";
    let target = writer.client.tenant_id.as_deref();
    let read: BTreeSet<&str> = reader
        .queries
        .values()
        .map(|query| query.tenant_id.as_deref())
        .chain([reader.client.tenant_id.as_deref()])
        .flatten()
        .collect();
    if read.is_empty() {
        if target == Some("multitenant") {
            let message = "is `multitenant`, but the reader has no tenants: series without the labels \
                           `vm_account_id` and `vm_project_id` are written to tenant 0:0";
            problems.warn(place, path, message);
        }
        return;
    }
    let same = read.len() == 1 && target.is_some_and(|target| read.contains(target));
    if target != Some("multitenant") && !same {
        let read: Vec<&str> = read.into_iter().collect();
        let target = target.unwrap_or("absent");
        let message = format!(
            "is {target}, but the reader reads {}: all scores go to one place whatever tenant they are of; \
             `multitenant` writes each to its own",
            read.join(", ")
        );
        problems.warn(place, path, message);
    }
}

/// Removes what no model uses.
fn drop_orphans(
    root: &Node,
    models: &BTreeMap<String, Model>,
    schedulers: &mut BTreeMap<String, Scheduler>,
    reader: &mut Reader,
    problems: &mut Problems,
) {
    let used = |aliases: fn(&Model) -> &[String]| -> BTreeSet<&str> {
        models.values().flat_map(aliases).map(String::as_str).collect()
    };
    let (used_schedulers, used_queries) = (used(|model| &model.schedulers), used(|model| &model.queries));
    let orphan = "left out: no model uses it";
    schedulers.retain(|alias, _| {
        let used = used_schedulers.contains(alias.as_str());
        if !used {
            let place = place_of(root, &["schedulers", alias]);
            problems.warn(place, format!("schedulers.{alias}"), orphan);
        }
        used
    });
    reader.queries.retain(|alias, _| {
        let used = used_queries.contains(alias.as_str());
        if !used {
            let place = place_of(root, &["reader", "queries", alias]);
            problems.warn(place, format!("reader.queries.{alias}"), orphan);
        }
        used
    });
    if models.is_empty() {
        let message = "nothing to do: no model has a query and a scheduler";
        problems.warn(place_of(root, &["models"]), "models", message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Support;
    use crate::section::{client, policy};

    const VALID: &str = "\
schedulers: {s: {fit_window: 1d, infer_every: 1m}}
models:
  calibrated: {class: calibrated, queries: all, schedulers: all}
  zscore_online: {class: zscore_online, queries: all, schedulers: all}
  mad_online: {class: mad_online, queries: all, schedulers: all}
  quantile_online: {class: quantile_online, queries: all, schedulers: all}
  rolling_quantile: {class: rolling_quantile, quantile: 0.9, window_steps: 96, queries: all, schedulers: all}
  std: {class: std, period: 288, queries: all, schedulers: all}
  temporal_envelope: {class: temporal_envelope, holidays: {}, queries: all, schedulers: all}
  prophet: {class: prophet, compression: {window: 1h}, queries: all, schedulers: all}
  holtwinters: {class: holtwinters, seasonality: 1d, queries: all, schedulers: all}
  isolation_forest: {class: isolation_forest, queries: all, schedulers: all}
  calibrated_multivariate: {class: calibrated_multivariate, queries: all, schedulers: all}
  temporal_envelope_multivariate: {class: temporal_envelope_multivariate, queries: all, schedulers: all}
  isolation_forest_multivariate: {class: isolation_forest_multivariate, queries: all, schedulers: all}
  auto: {class: auto, tuned_class_name: std, queries: all, schedulers: all, optimization_params: {anomaly_percentage: 0, frozen_params: {period: 9}}}
reader: {datasource_url: http://h, sampling_period: 1m, queries: {q: {expr: up}}}
writer: {datasource_url: http://h}
monitoring: {pull: {}}
settings: {retention: {ttl: 1d}}
";

    fn sections() -> Vec<(&'static str, &'static Section)> {
        let mut sections = vec![
            ("", &ROOT),
            ("schedulers.s", &scheduler::SECTION),
            ("models.std", &model::SECTION),
            ("models.std", &policy::SECTION),
            ("reader", &reader::SECTION),
            ("reader", &client::SECTION),
            ("reader.queries.q", &reader::QUERY),
            ("reader.queries.q", &policy::SECTION),
            ("writer", &writer::SECTION),
            ("writer", &client::SECTION),
            ("monitoring", &service::MONITORING),
            ("monitoring.pull", &service::PULL),
            ("server", &service::SERVER),
            ("settings", &service::SETTINGS),
            ("settings.retention", &service::RETENTION),
        ];
        for class in model::CLASSES {
            let path = &*format!("models.{}", class.name).leak();
            sections.extend(class.sections().map(|section| (path, section)));
        }
        sections.push(("models.holtwinters.args", model::INNER[0]));
        sections.push(("models.isolation_forest.args", model::INNER[1]));
        sections.push(("models.temporal_envelope.holidays", model::INNER[2]));
        sections.push(("models.prophet.compression", model::INNER[4]));
        sections.push(("models.prophet.args", model::INNER[5]));
        sections.push(("models.holtwinters.args.bounds", model::INNER[7]));
        sections.push(("models.auto.optimization_params", model::INNER[8]));
        sections
    }

    #[test]
    fn every_declared_key_is_read_and_has_its_own_error() {
        for (path, section) in sections() {
            for key in section.keys.iter().filter(|key| matches!(key.support, Support::Full)) {
                let full = crate::tree::join(path, key.name);
                let mut overlay = "[[]]".to_owned();
                for part in full.rsplit('.') {
                    overlay = format!("{{{part}: {overlay}}}");
                }
                let sources = [Source::new("valid", VALID), Source::new("overlay", overlay)];
                let errors = load(&sources, &|_| None, 1).unwrap_err();
                let named = errors.0.iter().any(|error| error.key.starts_with(&full));
                assert!(named, "{full}\n{errors}");
            }
        }
    }

    #[test]
    fn every_declared_default_is_a_valid_value() {
        for (path, section) in sections() {
            for key in section.keys {
                let Presence::Default(text) = key.presence else {
                    continue;
                };
                let full = crate::tree::join(path, key.name);
                let mut overlay = text.to_owned();
                for part in full.rsplit('.') {
                    overlay = format!("{{{part}: {overlay}}}");
                }
                let valid = Source::new("valid", VALID);
                let plain = load(std::slice::from_ref(&valid), &|_| None, 1).unwrap().config;
                let written = load(&[valid, Source::new("overlay", overlay)], &|_| None, 1);
                assert_eq!(written.unwrap().config, plain, "{full}");
            }
        }
    }
}
