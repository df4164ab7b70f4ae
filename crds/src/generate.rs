//! The CustomResourceDefinitions as YAML, as a server takes them without a warning.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value};

use crate::embedded::QUANTITY;
use crate::{AnomalyModel, AnomalyQuery, VMAnomaly};

/// Fields whose schema is Kubernetes' own: their text is shortened and their bounds are added here.
pub(crate) const EMBEDDED: [&str; 10] = [
    "affinity",
    "conditions",
    "env",
    "pullSecrets",
    "resources",
    "securityContext",
    "size",
    "sizeLimit",
    "tolerations",
    "topologySpreadConstraints",
];

/// Most items of a list, entries of a map and characters of a text below an embedded field.
const EMBEDDED_ITEMS: u64 = 64;
const EMBEDDED_LENGTH: u64 = 4096;

/// Most characters of a quantity.
const QUANTITY_LENGTH: u64 = 64;

/// Integers up to this are exact in JSON (RFC 8259, section 6).
const EXACT_INTEGER: i64 = 9_007_199_254_740_991;

/// Longest text about an embedded field, bytes.
const EMBEDDED_DESCRIPTION: usize = 160;

/// A definition that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// It cannot be written as JSON.
    #[error("the definition of {kind} cannot be serialised: {source}")]
    Json {
        /// The kind.
        kind: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// It cannot be written as YAML.
    #[error("the definition of {kind} cannot be written as YAML: {reason}")]
    Yaml {
        /// The kind.
        kind: String,
        /// What is wrong.
        reason: String,
    },
}

/// The definitions of all kinds.
///
/// # Errors
/// When a definition cannot be serialised, which a test excludes.
pub fn definitions() -> Result<Vec<CustomResourceDefinition>, GenerateError> {
    [VMAnomaly::crd(), AnomalyModel::crd(), AnomalyQuery::crd()].into_iter().map(normalise).collect()
}

/// (file name, YAML) of every definition.
///
/// # Errors
/// When a definition cannot be serialised, which a test excludes.
pub fn files() -> Result<Vec<(String, String)>, GenerateError> {
    definitions()?
        .into_iter()
        .map(|definition| {
            let kind = definition.spec.names.kind.clone();
            let value = serde_json::to_value(&definition)
                .map_err(|source| GenerateError::Json { kind: kind.clone(), source })?;
            let text = serde_saphyr::to_string(&value)
                .map_err(|error| GenerateError::Yaml { kind, reason: error.to_string() })?;
            Ok((format!("{}.yaml", definition.spec.names.plural), text))
        })
        .collect()
}

fn normalise(definition: CustomResourceDefinition) -> Result<CustomResourceDefinition, GenerateError> {
    let kind = definition.spec.names.kind.clone();
    let failed = |source| GenerateError::Json { kind: kind.clone(), source };
    let mut value = serde_json::to_value(&definition).map_err(failed)?;
    if let Some(versions) = value.pointer_mut("/spec/versions").and_then(Value::as_array_mut) {
        for version in versions {
            if let Some(schema) = version.pointer_mut("/schema/openAPIV3Schema").and_then(Value::as_object_mut) {
                schema_object(schema, false);
            }
        }
    }
    serde_json::from_value(value).map_err(failed)
}

/// Puts bounds in the place of formats, about which servers warn, and shortens and bounds what is embedded.
///
/// Without `nullable` the server takes an explicit null for an absent field. It stays where server-side apply writes null
/// itself: into a map or a keyed list of which somebody takes away the last entry but not the field.
fn schema_object(schema: &mut Map<String, Value>, embedded: bool) {
    let may_be_emptied = match schema.get("type").and_then(Value::as_str) {
        Some("object") => !schema.contains_key("required") && !schema.contains_key("x-kubernetes-map-type"),
        Some("array") => {
            schema.get("x-kubernetes-list-type").is_some_and(|form| form == "map") && !schema.contains_key("minItems")
        }
        _ => false,
    };
    if !may_be_emptied {
        schema.remove("nullable");
    }
    if let Some(values) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        values.retain(|value| !value.is_null());
    }
    if schema.contains_key("x-kubernetes-int-or-string") {
        schema.insert("pattern".into(), QUANTITY.into());
        schema.insert("maxLength".into(), QUANTITY_LENGTH.into());
    }
    let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
    let integers = match format {
        "int32" => Some((i32::MIN.into(), i32::MAX.into())),
        "int64" => Some((-EXACT_INTEGER, EXACT_INTEGER)),
        _ => None,
    };
    if format != "date-time" {
        schema.remove("format");
    }
    if let Some((least, most)) = integers {
        schema.entry("minimum").or_insert(least.into());
        schema.entry("maximum").or_insert(most.into());
    }
    if embedded {
        bound(schema);
    }
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, property) in properties {
            if let Some(property) = property.as_object_mut() {
                let is_embedded = embedded || EMBEDDED.contains(&name.as_str());
                let own_bounds: Vec<(String, Value)> = property
                    .iter()
                    .filter(|(key, _)| key.starts_with("max"))
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect();
                schema_object(property, is_embedded);
                property.extend(own_bounds);
                if embedded {
                    shorten(name, property);
                }
            }
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(key).and_then(Value::as_object_mut) {
            schema_object(inner, embedded);
            if embedded {
                // The field itself says what it holds.
                inner.remove("description");
            }
        }
    }
}

fn bound(schema: &mut Map<String, Value>) {
    let (key, bound) = match schema.get("type").and_then(Value::as_str) {
        Some("array") => ("maxItems", EMBEDDED_ITEMS),
        Some("string") if schema.contains_key("enum") || schema.contains_key("format") => return,
        Some("string") => ("maxLength", EMBEDDED_LENGTH),
        Some("object") if schema.contains_key("additionalProperties") => ("maxProperties", EMBEDDED_ITEMS),
        _ => return,
    };
    schema.entry(key).or_insert(bound.into());
}

/// The first sentence says enough next to Kubernetes' own documentation, and every field has one.
fn shorten(name: &str, property: &mut Map<String, Value>) {
    let description = property.get("description").and_then(Value::as_str).unwrap_or_default();
    let mut text = String::new();
    for word in first_sentence(description).split_whitespace() {
        if text.len() + word.len() > EMBEDDED_DESCRIPTION {
            text.push_str(" ...");
            break;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(word);
    }
    if text.is_empty() {
        text = format!("As `{name}` of Kubernetes.");
    }
    property.insert("description".into(), text.into());
}

/// Up to the first full stop before a capital letter, which "e.g." is not.
fn first_sentence(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    let ends = |(at, _): &(usize, &str)| line.get(at + 2..).is_some_and(|rest| rest.starts_with(char::is_uppercase));
    let end = line.match_indices(". ").find(ends).map_or(line.len(), |(at, _)| at + 1);
    line.get(..end).unwrap_or(line)
}
