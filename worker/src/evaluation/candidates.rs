//! The models that are evaluated, and their jobs.

use std::{collections::BTreeMap, path::Path};

use config::{
    load::{Source, load},
    problem::ConfigErrors,
    topology::Topology,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    detector,
    plan::{self, JobPlan},
};

/// Alias of the only query of a job.
const QUERY: &str = "labelled";

/// How often and on how much a model is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Distance of fits, ms.
    pub fit_every: i64,
    /// Length of the window of a fit, ms.
    pub fit_window: i64,
}

impl Schedule {
    /// Every day, on two weeks.
    pub const DEFAULT: Self = Self { fit_every: 86_400_000, fit_window: 14 * 86_400_000 };
}

/// A model to evaluate.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Its name in tables.
    pub name: String,
    configured: Configured,
}

#[derive(Debug, Clone, PartialEq)]
enum Configured {
    /// A class with its argument defaults but for one; one that needs a period gets a day's steps.
    Class(&'static str, Option<Variant>),
    /// An entry of `models` in a file.
    Entry { source: Source, alias: String },
}

/// An argument that is set beside the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// Its key.
    pub key: String,
    /// Its value, as YAML.
    pub value: String,
}

impl std::str::FromStr for Variant {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
        if key.is_empty() || value.is_empty() {
            return Err("must be KEY=VALUE");
        }
        Ok(Self { key: key.to_owned(), value: value.to_owned() })
    }
}

/// Why a file has no model to evaluate.
#[derive(Debug, thiserror::Error)]
pub enum CandidateError {
    /// The file cannot be read.
    #[error("{path}: {error}")]
    File {
        /// Which one.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// What it says is no valid model.
    #[error("{0}")]
    Invalid(#[from] ConfigErrors),
    /// It has no model at all.
    #[error("{path} has no model: it must be a configuration with `models`, or one entry of it, with its `class`")]
    NoModel {
        /// Which file.
        path: String,
    },
}

/// Every class that needs no program of the user's.
pub const CLASSES: [&str; 14] = [
    "calibrated",
    "zscore_online",
    "mad_online",
    "quantile_online",
    "rolling_quantile",
    "std",
    "temporal_envelope",
    "prophet",
    "holtwinters",
    "isolation_forest",
    "calibrated_multivariate",
    "temporal_envelope_multivariate",
    "isolation_forest_multivariate",
    "auto",
];

const DAY_SECONDS: f64 = 86_400.0;

/// What a class gets where it has no default, on series of this step in seconds.
fn arguments(class: &str, step: f64) -> Value {
    let day = (DAY_SECONDS / step).round().max(2.0) as u64;
    match class {
        "std" => json!({ "class": class, "period": day }),
        "auto" => json!({
            "class": class, "tuned_class_name": "zscore_online", "optimization_params": { "anomaly_percentage": 0.05 },
        }),
        "holtwinters" => json!({ "class": class, "seasonality": "1d" }),
        "rolling_quantile" => json!({ "class": class, "quantile": 0.9, "window_steps": 96 }),
        _ => json!({ "class": class }),
    }
}

impl Candidate {
    /// One of [`CLASSES`] with its argument defaults; `None` for another one.
    #[must_use]
    pub fn of_class(class: &str) -> Option<Self> {
        let class = CLASSES.into_iter().find(|known| *known == class)?;
        Some(Self { name: class.to_owned(), configured: Configured::Class(class, None) })
    }

    /// Every class with its argument defaults, and after it with one of the variants each, those left out that the class has no
    /// such argument for or that change nothing.
    #[must_use]
    pub fn all(variants: &[Variant]) -> Vec<Self> {
        let mut all = Vec::new();
        for class in CLASSES {
            let usual = Self { name: class.to_owned(), configured: Configured::Class(class, None) };
            let effect = |candidate: &Self| {
                let job = candidate.job(3600.0, Schedule::DEFAULT).ok()?;
                let model = &job.models.first()?.model;
                let spec = detector::spec(&job.query, model);
                let safeguards = spec.as_ref().map(|spec| detector::safeguards(spec, model));
                let joint = detector::multivariate_spec(&job.query, model);
                Some((spec, safeguards, model.exclude_incidents, joint, detector::score_policy(&job.query, model)))
            };
            let differs = |variant: &Self| effect(variant).is_some_and(|own| effect(&usual) != Some(own));
            let further = variants.iter().map(|variant| Self {
                name: format!("{class} {}={}", variant.key, variant.value),
                configured: Configured::Class(class, Some(variant.clone())),
            });
            let further: Vec<Self> = further.filter(differs).collect();
            all.push(usual);
            all.extend(further);
        }
        all
    }

    /// The models in a file: a configuration, of which only the models count, or a single model.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn read(path: &Path) -> Result<Vec<Self>, CandidateError> {
        let file = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|error| CandidateError::File { path: file.clone(), error })?;
        let source = match single_model(&bytes) {
            Some(model) => {
                let alias = path.file_stem().map_or("model".into(), |stem| stem.to_string_lossy().into_owned());
                Source::new(file.clone(), json!({ "models": { alias: model } }).to_string())
            }
            None => Source::new(file.clone(), bytes),
        };
        // The step does not matter for what the models are called.
        let config =
            load(&[surroundings(60.0, Schedule::DEFAULT), source.clone()], &|name| std::env::var(name).ok(), 1)?.config;
        let entry = |alias: &String| Self {
            name: alias.clone(),
            configured: Configured::Entry { source: source.clone(), alias: alias.clone() },
        };
        let found: Vec<Self> = config.models.keys().map(entry).collect();
        if found.is_empty() { Err(CandidateError::NoModel { path: file }) } else { Ok(found) }
    }

    /// What it is configured with, for people.
    #[must_use]
    pub fn described(&self) -> String {
        match &self.configured {
            Configured::Class("std", None) => "{class: std, period: <steps of a day>}".to_owned(),
            Configured::Class(_, Some(Variant { key, value })) => format!("the same with {key}: {value}"),
            Configured::Class(class, None) => flow(&arguments(class, DAY_SECONDS)),
            Configured::Entry { source, alias } => format!("`{alias}` of {}", source.name),
        }
    }

    /// False alarms a day and series that it is asked for; `None` of a model that promises nothing, or cannot be run.
    #[must_use]
    pub fn false_alarms_per_day(&self) -> Option<f64> {
        // The step does not matter for what is asked for.
        let job = self.job(60.0, Schedule::DEFAULT).ok()?;
        detector::spec(&job.query, &job.models.first()?.model)?.false_alarms_per_day()
    }

    /// The job that evaluates it on series of this step in seconds.
    ///
    /// # Errors
    /// What is wrong with its configuration.
    pub fn job(&self, step: f64, schedule: Schedule) -> Result<JobPlan, CandidateError> {
        let (source, alias) = match &self.configured {
            Configured::Class(class, variant) => {
                let mut arguments = arguments(class, step);
                if let (Some(map), Some(Variant { key, value })) = (arguments.as_object_mut(), variant) {
                    let value = serde_saphyr::from_str(value).unwrap_or_else(|_| json!(value));
                    map.insert(key.clone(), value);
                }
                let entry = BTreeMap::from([(class, arguments)]);
                (Source::new(self.name.clone(), json!({ "models": entry }).to_string()), (*class).to_owned())
            }
            Configured::Entry { source, alias } => (source.clone(), alias.clone()),
        };
        let no_model = || CandidateError::NoModel { path: source.name.clone() };
        let around = surroundings(step, schedule);
        let mut config = load(&[around, source.clone()], &|name| std::env::var(name).ok(), 1)?.config;
        // Of a whole configuration only the models count, wherever they are attached.
        config.reader.queries.retain(|query, _| query == QUERY);
        config.schedulers.retain(|scheduler, _| scheduler == QUERY);
        config.models.retain(|model, _| *model == alias);
        for model in config.models.values_mut() {
            model.queries = vec![QUERY.to_owned()];
            model.schedulers = vec![QUERY.to_owned()];
        }
        let jobs = plan::plan(&config, &Topology::default(), 0).map_err(|_| no_model())?;
        jobs.into_iter().next().ok_or_else(no_model)
    }
}

/// The entry of `models` that a file consists of.
fn single_model(bytes: &[u8]) -> Option<Value> {
    let value: Value = serde_saphyr::from_slice(bytes).ok()?;
    value.get("class").is_some().then_some(value)
}

/// All of a configuration but its models.
fn surroundings(step: f64, schedule: Schedule) -> Source {
    let step = format!("{}ms", (step * 1000.0).round());
    let Schedule { fit_every, fit_window } = schedule;
    let configuration = json!({
        "schedulers": { QUERY: {
            "class": "periodic", "infer_every": step,
            "fit_every": format!("{fit_every}ms"), "fit_window": format!("{fit_window}ms"),
        } },
        "reader": {
            "class": "vm", "datasource_url": "http://localhost:8428", "sampling_period": step,
            "queries": { QUERY: { "expr": QUERY, "step": step } },
        },
        "writer": { "class": "vm", "datasource_url": "http://localhost:8428" },
    });
    Source::new("evaluation", configuration.to_string())
}

/// A map as YAML in one line.
fn flow(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    text.replace('"', "").replace(':', ": ").replace(',', ", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::worker::ModelClass;

    fn read(text: &str) -> Result<Vec<Candidate>, CandidateError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tight.yaml");
        std::fs::write(&path, text).unwrap();
        Candidate::read(&path)
    }

    #[test]
    fn every_class_has_a_job_on_series_of_any_step() {
        for candidate in Candidate::all(&[]) {
            for step in [60.0, 300.0, 3600.0] {
                let job = candidate.job(step, Schedule::DEFAULT).unwrap();
                assert_eq!((job.models.len(), job.query.step), (1, (step * 1000.0) as i64), "{}", candidate.name);
                assert_eq!(job.scheduler.fit_window, Schedule::DEFAULT.fit_window);
            }
        }
    }

    #[test]
    fn a_variant_is_of_the_classes_that_it_means_something_to() {
        let names = |variant: &str| {
            let all = Candidate::all(&[variant.parse().unwrap()]);
            all.into_iter().map(|candidate| candidate.name).filter(|name| name.contains('=')).collect::<Vec<_>>()
        };
        assert_eq!(
            names("z_threshold=3"),
            ["zscore_online", "std", "holtwinters"].map(|class| format!("{class} z_threshold=3"))
        );
        assert_eq!(names("false_alarms_per_day=2"), ["calibrated false_alarms_per_day=2"]);
        assert_eq!(names("compression=50"), ["mad_online compression=50", "quantile_online compression=50"]);
        assert!(names("influence_limit=3").iter().all(|name| !name.starts_with("prophet")));
        assert_eq!(names("band_floor=0").len(), 9);
        assert_eq!("band_floor".parse::<Variant>(), Err("must be KEY=VALUE"));
    }

    #[test]
    fn a_file_is_a_model_or_a_configuration_of_which_only_the_models_count() {
        let single = read("class: zscore_online\nz_threshold: 4\n").unwrap();
        assert_eq!(single[0].name, "tight");
        let job = single[0].job(60.0, Schedule::DEFAULT).unwrap();
        assert_eq!(job.models[0].model.class, ModelClass::ZscoreOnline { z_threshold: 4.0 });
        let whole = "
schedulers: {often: {class: periodic, infer_every: 10s, fit_every: 1h, fit_window: 1h}}
models: {a: {class: mad_online, queries: [cpu]}, b: {class: zscore_online, schedulers: [often]}}
reader: {datasource_url: 'http://tsdb:8428', sampling_period: 10s, queries: {cpu: {expr: up}}}
writer: {datasource_url: 'http://tsdb:8428'}
";
        let whole = read(whole).unwrap();
        let names: Vec<&str> = whole.iter().map(|candidate| candidate.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        let job = whole[1].job(60.0, Schedule::DEFAULT).unwrap();
        assert_eq!((job.query_alias.as_str(), job.query.step), (QUERY, 60_000));
        assert_eq!(job.scheduler.fit_every, Schedule::DEFAULT.fit_every);
    }

    #[test]
    fn a_file_without_a_valid_model_says_why() {
        let message = |text: &str| read(text).unwrap_err().to_string();
        assert!(message("class: zscore_onlin\n").contains("zscore_online"), "{}", message("class: zscore_onlin\n"));
        assert!(message("models: {a: {class: zscore_online, z_treshold: 1}}").contains("z_threshold"));
    }
}
