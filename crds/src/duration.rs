//! Lengths of time in objects: a text such as `30s`, `5m`, `1h30m` or `14d`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Weeks, days, hours, minutes, seconds, milliseconds: each at most once, in this order.
const PATTERN: &str = "^([0-9]{1,5}w)?([0-9]{1,6}d)?([0-9]{1,7}h)?([0-9]{1,9}m)?([0-9]{1,10}s)?([0-9]{1,13}ms)?$";

/// A length of time, at least 0: `30s`, `1h30m`, `14d`. One grammar for all fields, checked at admission.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Duration(pub String);

impl Duration {
    /// From its text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl std::fmt::Display for Duration {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 2, "maxLength": 32, "pattern": PATTERN })
    }
}

/// A length of time with an optional sign: `-60s`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SignedDuration(pub String);

impl JsonSchema for SignedDuration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "SignedDuration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = PATTERN.replacen('^', "^[-+]?", 1);
        json_schema!({ "type": "string", "minLength": 2, "maxLength": 33, "pattern": pattern })
    }
}

/// CEL that gives the milliseconds of a field.
fn milliseconds(field: &str) -> String {
    format!(
        "{field}.findAll('[0-9]+(ms|[smhdw])').map(part, int(part.find('^[0-9]+')) * (part.endsWith('ms') ? 1 : \
         part.endsWith('s') ? 1000 : part.endsWith('m') ? 60000 : part.endsWith('h') ? 3600000 : \
         part.endsWith('d') ? 86400000 : 604800000)).sum()"
    )
}

/// CEL: the first of two fields is not longer than the second; holds when one of them is absent.
#[must_use]
pub fn not_longer(shorter: &str, longer: &str) -> String {
    format!(
        "!has(self.{shorter}) || !has(self.{longer}) || {} <= {}",
        milliseconds(&format!("self.{shorter}")),
        milliseconds(&format!("self.{longer}"))
    )
}

/// CEL: a field is at least so many milliseconds long; holds when it is absent.
#[must_use]
pub fn at_least(field: &str, least: i64) -> String {
    format!("!has(self.{field}) || {} >= {least}", milliseconds(&format!("self.{field}")))
}

/// CEL: a field is a whole multiple of another; holds when one of them is absent.
#[must_use]
pub fn whole_multiple(field: &str, of: &str) -> String {
    format!(
        "!has(self.{field}) || !has(self.{of}) || {} % {} == 0",
        milliseconds(&format!("self.{field}")),
        milliseconds(&format!("self.{of}"))
    )
}
