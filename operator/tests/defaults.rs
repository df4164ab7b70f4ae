//! An absent field means what its documentation says.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use config::load::{Source, load};
use crds::{AnomalyModel, AnomalyQuery, VMAnomaly};
use operator::build::WorkerDefaults;
use operator::reconcile::plan::{Surroundings, plan};
use serde_json::{Map, Value, json};

/// All that follows from objects: the worker's configuration as the worker reads it, and every child but the one that
/// has its text.
fn outcome(objects: &[Value; 3]) -> (String, Vec<Value>) {
    let [anomaly, model, query] = objects;
    let anomaly: VMAnomaly = serde_json::from_value(anomaly.clone()).unwrap();
    let model: AnomalyModel = serde_json::from_value(model.clone()).unwrap();
    let query: AnomalyQuery = serde_json::from_value(query.clone()).unwrap();
    let around =
        Surroundings { models: vec![Arc::new(model)], queries: vec![Arc::new(query)], ..Surroundings::default() };
    let plan = plan(&anomaly, &around, &WorkerDefaults::default()).unwrap();
    let rejected = plan.selection.models.iter().any(|model| model.rejection.is_some())
        || plan.selection.queries.iter().any(|query| query.rejection.is_some());
    assert!(!rejected, "{:?}", plan.selection);
    let rendered = plan.configuration.unwrap();
    let loaded = load(&[Source::new("config.yaml", rendered.text)], &|_| None, 2).unwrap();
    let children = plan.children.into_iter().map(|mut child| {
        let metadata = child.object["metadata"].as_object_mut().unwrap();
        metadata.remove("annotations");
        if let Some(data) = child.object.get_mut("data").and_then(Value::as_object_mut) {
            data.retain(|file, _| !["config.yaml", "operator.yaml"].contains(&file.as_str()));
        }
        child.object
    });
    (format!("{:#?}", loaded.config), children.collect())
}

fn object(kind: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "vmanomaly.dev/v1alpha1", "kind": kind,
        "metadata": {"name": kind.to_lowercase(), "namespace": "n", "uid": kind}, "spec": spec,
    })
}

/// Each class of models with what it requires.
fn classes() -> Value {
    json!({
        "calibrated": {}, "zscoreOnline": {}, "madOnline": {}, "quantileOnline": {},
        "rollingQuantile": {"quantile": 0.9, "windowSteps": 96}, "std": {"period": 288},
        "temporalEnvelope": {}, "prophet": {"compression": {"window": "5m"}}, "holtwinters": {"seasonality": "1d"}, "isolationForest": {},
        "calibratedMultivariate": {}, "temporalEnvelopeMultivariate": {}, "isolationForestMultivariate": {},
        "auto": {"anomalyPercentage": 0.01, "tuned": {"madOnline": {}}},
    })
}

/// Objects with a model of this class.
fn objects(class: &str) -> [Value; 3] {
    let connection = json!({"datasourceURL": "http://tsdb:8428"});
    [
        object("VMAnomaly", json!({"shards": 1, "reader": connection, "writer": connection})),
        object("AnomalyModel", json!({ class: classes()[class] })),
        object("AnomalyQuery", json!({"expr": "up"})),
    ]
}

/// Every field with a value that its text gives after `Absent:`, as (path, value).
fn documented(schema: &Value, path: &mut Vec<String>, found: &mut Vec<(Vec<String>, Value)>) {
    for (name, field) in schema["properties"].as_object().unwrap_or(&Map::new()) {
        path.push(name.clone());
        let text = field["description"].as_str().unwrap_or_default();
        if let Some(value) = text.split("Absent: ").nth(1).and_then(|rest| value(field, rest)) {
            found.push((path.clone(), value));
        }
        documented(field, path, found);
        path.pop();
    }
}

/// The value that begins a text, if it is one of the field's type.
fn value(field: &Value, text: &str) -> Option<Value> {
    let end = text.find(". ").unwrap_or(text.trim_end_matches('.').len());
    let word = text[..end].trim_matches('`');
    match field["type"].as_str()? {
        "string" if field["enum"].is_array() => {
            let allowed = field["enum"].as_array()?.iter().any(|allowed| allowed == word);
            allowed.then(|| word.into())
        }
        "string" if config::duration::parse_non_negative(word).is_ok() || word.starts_with(['/', '$']) => {
            Some(word.into())
        }
        "integer" => word.parse::<i64>().ok().map(Value::from),
        "number" => word.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::from),
        "boolean" => word.parse::<bool>().ok().map(Value::from),
        _ => None,
    }
}

/// Blocks that say something by being there, and fields of which the worker's configuration keeps apart whether they
/// were given, because what they fall back to is the model's own.
const APART: [&str; 10] = [
    "emptyDir",
    "tls",
    "retention",
    "scale",
    "anomalyScoreOutsideDataRange",
    "restoreState",
    "detectionDirection",
    "minDevFromExpected",
    "minRelDevFromExpected",
    "tuned",
];

#[test]
fn an_object_without_a_field_is_one_with_its_documented_default() {
    let mut checked = Vec::new();
    let mut different = Vec::new();
    for (definition, position) in crds::generate::definitions().unwrap().iter().zip([0, 1, 2]) {
        let definition = serde_json::to_value(definition).unwrap();
        let kind = definition["spec"]["names"]["kind"].clone();
        let position = objects("madOnline").iter().position(|object| object["kind"] == kind).unwrap_or(position);
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let mut found = Vec::new();
        documented(schema, &mut Vec::new(), &mut found);
        for (path, value) in found {
            if path.iter().any(|part| APART.contains(&part.as_str())) {
                continue;
            }
            let class =
                path.first().filter(|part| !classes()[part.as_str()].is_null()).map_or("madOnline", String::as_str);
            let before = outcome(&objects(class));
            let mut explicit = objects(class);
            let mut place = &mut explicit[position]["spec"];
            for part in &path {
                place = &mut place[part];
            }
            *place = value.clone();
            let path = format!("{kind} {}", path.join("."));
            let after = outcome(&explicit);
            if after != before {
                let lines: Vec<_> = after.0.lines().filter(|line| !before.0.contains(line)).collect();
                different.push(format!("{path}: {value}: {lines:?}"));
            }
            checked.push(path);
        }
    }
    assert!(different.is_empty(), "{different:#?}");
    assert!(checked.len() > 25, "{checked:#?}");
}
