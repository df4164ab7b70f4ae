//! Anomaly detection models for monitoring time series: series in, predictions and scores out.
//!
//! No I/O, no clock, no global randomness. Time is `i64` milliseconds since 1970-01-01 UTC, values are `f64`.
//! The same input gives the same bits on every machine: transcendental functions come from the `libm` crate, and
//! `clippy.toml` forbids the standard ones.
//!
//! A [`spec::ModelSpec`] names a model class with its arguments and makes a batch of series from it; a batch learns and scores
//! [`model::Samples`], tick by tick, under a [`score::ScorePolicy`]:
//!
//! ```
//! use detect::model::{Samples, Scores};
//! use detect::score::ScorePolicy;
//! use detect::spec::ModelSpec;
//!
//! let spec = ModelSpec::MadOnline(Default::default());
//! spec.validate()?;
//! let mut batch = spec.new_batch(&[]);
//! batch.grow(1);
//! let history = [3.0, 5.0, 4.0, 6.0, 5.0].repeat(10);
//! let times: Vec<i64> = (0..50).map(|minute| minute * 60_000).collect();
//! batch.learn(Samples { times: &times, slots: &[0], values: &history });
//! batch.finish_fit(0);
//!
//! let mut scores = Scores::default();
//! let tick = Samples { times: &[3_000_000], slots: &[0], values: &[10.0] };
//! batch.infer(tick, &ScorePolicy::default(), &mut scores);
//! assert_eq!((scores.yhat[0], scores.yhat_upper[0]), (5.0, 7.5));
//! assert_eq!(scores.anomaly_score[0], 2.0);
//! # Ok::<(), detect::argument::ArgumentError>(())
//! ```

pub mod argument;
pub mod auto;
pub mod batch;
pub mod calendar;
pub mod calibrated;
mod channel_order;
pub mod decomposition;
pub mod holidays;
pub mod holt_winters;
pub mod incidents;
pub mod isolation_forest;
pub mod mad;
pub mod model;
pub mod multivariate;
pub mod offline;
pub mod per_series;
pub mod prophet;
pub mod quantile_online;
mod random;
pub mod readiness;
pub mod rolling_quantile;
pub mod safeguards;
pub mod score;
pub mod spec;
pub mod state;
pub mod tdigest;
pub mod temporal_envelope;
pub mod zscore;
