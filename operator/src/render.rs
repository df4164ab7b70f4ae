//! `render`: what the operator would make of objects, without a cluster.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crds::{AnomalyModel, AnomalyQuery, VMAnomaly};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::build::WorkerDefaults;
use crate::build::scrape::ScrapeKind;
use crate::reconcile::plan::{Surroundings, plan};
use crate::selection::{ObjectKey, Rejection};

/// Why objects cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    File {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is no YAML.
    #[error("{path}: {message}")]
    Yaml {
        /// Its path.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// An object is not as its kind asks for.
    #[error("{path}: {kind} {name}: {message}")]
    Object {
        /// Its file.
        path: PathBuf,
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// A child cannot be written as text.
    #[error("a child cannot be written: {0}")]
    Output(String),
    /// A VMAnomaly has no valid configuration, or uses an object that it cannot use.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
}

/// Objects from files.
#[derive(Debug, Default)]
pub struct Input {
    anomalies: Vec<VMAnomaly>,
    models: Vec<Arc<AnomalyModel>>,
    queries: Vec<Arc<AnomalyQuery>>,
}

impl Input {
    /// Reads all files; a folder stands for the YAML files in it. Objects without a namespace are in `namespace`.
    /// Other kinds are passed over.
    ///
    /// # Errors
    /// The first file or object that cannot be read.
    pub fn read(paths: &[PathBuf], namespace: &str) -> Result<Self, RenderError> {
        let mut input = Self::default();
        for path in paths {
            for file in files(path).map_err(|source| RenderError::File { path: path.clone(), source })? {
                let text = std::fs::read_to_string(&file)
                    .map_err(|source| RenderError::File { path: file.clone(), source })?;
                let documents: Vec<Value> = serde_saphyr::from_multiple(&text)
                    .map_err(|error| RenderError::Yaml { path: file.clone(), message: error.to_string() })?;
                for document in documents {
                    input.add(&file, document, namespace)?;
                }
            }
        }
        Ok(input)
    }

    fn add(&mut self, path: &Path, mut document: Value, namespace: &str) -> Result<(), RenderError> {
        if document["kind"] == "List" {
            let items = document["items"].take();
            for item in items.as_array().into_iter().flatten() {
                self.add(path, item.clone(), namespace)?;
            }
            return Ok(());
        }
        let own = document["apiVersion"].as_str() == Some(VMAnomaly::api_version(&()).as_ref());
        match document["kind"].as_str() {
            Some("VMAnomaly") if own => self.anomalies.push(object(path, document, namespace)?),
            Some("AnomalyModel") if own => self.models.push(Arc::new(object(path, document, namespace)?)),
            Some("AnomalyQuery") if own => self.queries.push(Arc::new(object(path, document, namespace)?)),
            _ => {}
        }
        Ok(())
    }
}

fn files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml"));
    files.sort();
    Ok(files)
}

fn object<K>(path: &Path, document: Value, namespace: &str) -> Result<K, RenderError>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Serialize,
{
    let name = document["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let kind = K::kind(&()).into_owned();
    let wrong = |message: String| RenderError::Object { path: path.to_owned(), kind, name, message };
    let mut object: K = match serde_json::from_value(document.clone()) {
        Ok(object) => object,
        Err(error) => return Err(wrong(error.to_string())),
    };
    let understood = serde_json::to_value(&object).unwrap_or_default();
    if let Some(field) = unknown_field(&document["spec"], &understood["spec"]) {
        return Err(wrong(format!("unknown field spec.{field}")));
    }
    object.meta_mut().namespace.get_or_insert_with(|| namespace.to_owned());
    Ok(object)
}

/// The first field that was written and not understood; a strict API server would refuse it, another one drop it.
fn unknown_field(written: &Value, understood: &Value) -> Option<String> {
    match (written, understood) {
        (Value::Object(written), understood) => written.iter().find_map(|(key, value)| {
            let empty = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
            match understood.get(key) {
                Some(understood) => unknown_field(value, understood).map(|field| format!("{key}.{field}")),
                None if empty || value.as_array().is_some_and(Vec::is_empty) => None,
                None => Some(key.clone()),
            }
        }),
        (Value::Array(written), Value::Array(understood)) => {
            let mut pairs = written.iter().zip(understood).enumerate();
            pairs.find_map(|(place, (written, understood))| {
                unknown_field(written, understood).map(|field| format!("{place}.{field}"))
            })
        }
        _ => None,
    }
}

/// All children of all VMAnomalies, as YAML documents.
///
/// # Errors
/// When a VMAnomaly has no valid configuration, or an object that it selects cannot be used: the point of rendering is
/// to find that before a cluster does.
pub fn render(input: &Input, defaults: &WorkerDefaults, scrape: Option<ScrapeKind>) -> Result<String, RenderError> {
    let mut problems = Vec::new();
    let mut text = String::new();
    for anomaly in &input.anomalies {
        let around = Surroundings {
            models: input.models.clone(),
            queries: input.queries.clone(),
            scrape,
            ..Surroundings::default()
        };
        let plan = plan(anomaly, &around, defaults).map_err(|error| RenderError::Output(error.to_string()))?;
        let key = ObjectKey::of(anomaly);
        if let Err(fault) = &plan.configuration {
            problems.push(format!("VMAnomaly {key}: {}", fault.message));
        }
        problems.extend(
            plan.selection
                .models
                .iter()
                .flat_map(|model| complaints("AnomalyModel", &*model.object, &[&model.rejection, &model.missing])),
        );
        problems.extend(
            plan.selection
                .queries
                .iter()
                .flat_map(|query| complaints("AnomalyQuery", &*query.object, &[&query.rejection])),
        );
        for child in &plan.children {
            let document =
                serde_saphyr::to_string(&child.object).map_err(|error| RenderError::Output(error.to_string()))?;
            text.push_str("---\n");
            text.push_str(&document);
        }
    }
    if problems.is_empty() { Ok(text) } else { Err(RenderError::Invalid(problems)) }
}

fn complaints(kind: &str, object: &impl ResourceExt, rejections: &[&Option<Rejection>]) -> Vec<String> {
    let given = rejections.iter().filter_map(|rejection| rejection.as_ref());
    given.map(|rejection| format!("{kind} {}: {}", ObjectKey::of(object), rejection.message)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(spec: &str) -> Result<Input, RenderError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("object.yaml");
        let text =
            format!("apiVersion: vmanomaly.dev/v1alpha1\nkind: AnomalyQuery\nmetadata: {{name: q}}\nspec: {spec}\n");
        std::fs::write(&path, text).unwrap();
        Input::read(&[path], "default")
    }

    #[test]
    fn a_misspelt_field_is_named_and_an_absent_one_may_be_null() {
        assert!(read("{expr: up, step: null, dataRange: {}}").is_ok());
        let error = read("{expr: up, dataRange: {mni: 0}}").unwrap_err().to_string();
        assert!(error.contains("AnomalyQuery q: unknown field spec.dataRange.mni"), "{error}");
    }
}
