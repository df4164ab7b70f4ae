//! Bounds of numbers that a schema alone does not keep.

/// CEL: a field is at least a fraction; holds when it is absent. Beside `minimum`: the API server compares a whole number with
/// the whole part of a schema's bound, and so finds 0 not below 0.001.
#[must_use]
pub fn not_below(field: &str, least: f64) -> String {
    format!("!has(self.{field}) || self.{field} >= {least}")
}
