//! The Kubernetes operator: VMAnomaly, AnomalyModel and AnomalyQuery in, sharded workers out.

pub mod arguments;
pub mod build;
pub mod http;
pub mod kubernetes;
pub mod metrics;
pub mod names;
pub mod operator;
pub mod reconcile;
pub mod render;
pub mod run;
pub mod selection;
pub mod status;
pub mod watch;
pub mod workers;

/// Release of the operator.
pub const VERSION: &str = config::contract::RELEASE;
