//! Anomaly detection models for monitoring time series: series in, predictions and scores out.
//!
//! No I/O, no clock, no global randomness. Time is `i64` milliseconds since 1970-01-01 UTC, values are `f64`.
//! The same input gives the same bits on every machine: transcendental functions come from the `libm` crate, and
//! `clippy.toml` forbids the standard ones.

pub mod mad;
pub mod model;
pub mod offline;
pub mod per_series;
pub mod score;
pub mod spec;
pub mod state;
pub mod tdigest;
pub mod zscore;
