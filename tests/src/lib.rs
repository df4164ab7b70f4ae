//! Tests across crates against real components.
