//! One log line.

use std::fmt::{self, Write};

use serde_json::Value;
use tracing::field::{Field, Visit};

use super::{LogLevel, Redactor};

/// Names that every line has; a field of such a name gets `field_` in front.
const RESERVED: [&str; 3] = ["timestamp", "level", "component"];

/// Fields of an event or a span, in the order of recording, each name once.
#[derive(Debug, Default)]
pub(super) struct Fields {
    values: Vec<(&'static str, Value)>,
}

impl Fields {
    /// Adds `others`; a value replaces the one of the same name.
    pub(super) fn extend(&mut self, others: &Self) {
        for (name, value) in &others.values {
            self.set(name, value.clone());
        }
    }

    fn set(&mut self, name: &'static str, value: Value) {
        // What raw identifiers carry in front is no part of the name.
        let name = name.strip_prefix("r#").unwrap_or(name);
        match self.values.iter_mut().find(|(known, _)| *known == name) {
            Some((_, slot)) => *slot = value,
            None => self.values.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field.name(), Value::from(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field.name(), Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field.name(), Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field.name(), Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field.name(), Value::from(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no NaN and no infinity.
        let value = if value.is_finite() { Value::from(value) } else { Value::from(value.to_string()) };
        self.set(field.name(), value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            let words = error.to_string();
            // Some errors repeat the words of their cause.
            if !text.contains(&words) {
                text.push_str(": ");
                text.push_str(&words);
            }
            cause = error.source();
        }
        self.set(field.name(), Value::from(text));
    }
}

/// Everything that a line says.
#[derive(Debug)]
pub(super) struct Line {
    /// Unix ms.
    pub(super) timestamp: i64,
    pub(super) level: LogLevel,
    pub(super) component: String,
    pub(super) fields: Fields,
}

impl Line {
    /// A JSON object.
    pub(super) fn json(&self, redactor: &Redactor) -> String {
        let mut line = format!(
            r#"{{"timestamp":"{}","level":"{}","component":{},"message":{}"#,
            rfc3339(self.timestamp),
            self.level,
            quoted(&self.component),
            quoted(&redactor.redact(self.message())),
        );
        for (name, value) in self.named() {
            let prefix = if RESERVED.contains(&name) { "field_" } else { "" };
            // Writing to a string cannot fail.
            let _ = write!(line, ",{}:{}", quoted(&format!("{prefix}{name}")), redacted(value, redactor));
        }
        line.push('}');
        line
    }

    /// For people.
    pub(super) fn text(&self, redactor: &Redactor) -> String {
        let (timestamp, level, component) = (rfc3339(self.timestamp), self.level, &self.component);
        let message = redactor.redact(self.message());
        let mut line = format!("{timestamp} {level:<8} {component}: {}", on_one_line(&message));
        for (name, value) in self.named() {
            // Writing to a string cannot fail.
            let _ = write!(line, " {name}={}", redacted(value, redactor));
        }
        line
    }

    fn message(&self) -> &str {
        let message = self.fields.values.iter().find(|(name, _)| *name == "message");
        message.and_then(|(_, value)| value.as_str()).unwrap_or_default()
    }

    fn named(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        let named = self.fields.values.iter().filter(|(name, _)| !["message", "critical"].contains(name));
        named.map(|(name, value)| (*name, value))
    }
}

/// Before escaping, so that what comes out is JSON whatever the secret is.
fn redacted(value: &Value, redactor: &Redactor) -> String {
    match value {
        Value::String(text) => quoted(&redactor.redact(text)),
        other => other.to_string(),
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Nothing that a server answers can look like a line of its own, or command the terminal.
fn on_one_line(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut line, character| {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
        line
    })
}

/// UTC with ms; a time outside jiff's years -9999 to 9999 is its nearest end.
fn rfc3339(milliseconds: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(milliseconds).unwrap_or(if milliseconds < 0 {
        jiff::Timestamp::MIN
    } else {
        jiff::Timestamp::MAX
    });
    format!("{time:.3}")
}
