//! Schemas of types that are not ours.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

/// Name of an object of Kubernetes (RFC 1123 subdomain).
pub(crate) const OBJECT_NAME: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// Name of a label or annotation, with or without a prefix.
pub(crate) const QUALIFIED_NAME: &str =
    "^([a-z0-9]([-.a-z0-9]*[a-z0-9])?/)?[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?$";

/// Value of a label.
pub(crate) const LABEL_VALUE: &str = "^([A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?)?$";

/// A number with an optional unit, not negative: `100m`, `1.5Gi`, `1e3`.
pub(crate) const QUANTITY: &str = "^[+]?([0-9]+([.][0-9]*)?|[.][0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]+)?$";

/// Labels of Kubernetes: values by name.
pub(crate) fn label_map(_: &mut SchemaGenerator) -> Schema {
    let value = json_schema!({ "type": "string", "maxLength": 63, "pattern": LABEL_VALUE });
    json_schema!({ "type": "object", "x-kubernetes-map-type": "atomic", "maxProperties": 64, "additionalProperties": value })
}

/// Labels of a time series: texts by name.
pub(crate) fn series_label_map(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-map-type": "atomic", "maxProperties": 64, "additionalProperties": { "type": "string", "maxLength": 256 } })
}

/// Annotations: texts by name.
pub(crate) fn annotation_map(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-map-type": "atomic", "maxProperties": 64, "additionalProperties": { "type": "string", "maxLength": 65536 } })
}

/// An explicit null is an empty list.
///
/// # Errors
/// When it is neither null nor such a list.
pub(crate) fn null_or_list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
