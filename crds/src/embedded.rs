//! Schemas of types that are not ours.

use schemars::{Schema, SchemaGenerator, json_schema};

/// Labels: short texts by name.
pub(crate) fn label_map(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "maxProperties": 64, "additionalProperties": { "type": "string", "maxLength": 256 } })
}

/// Annotations: texts by name.
pub(crate) fn annotation_map(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "maxProperties": 64, "additionalProperties": { "type": "string", "maxLength": 65536 } })
}
