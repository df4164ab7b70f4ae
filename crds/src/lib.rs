//! The custom resources of the group `vmanomaly.dev`: what a user may ask for, which combinations are refused at
//! admission, and what the operator reports back. The checked-in YAML is made from these types by `crdgen`.

pub mod anomaly;
pub mod connection;
pub mod country;
pub mod duration;
mod embedded;
pub mod generate;
pub mod model;
pub mod number;
pub mod pod;
pub mod query;
pub mod reference;
pub mod scheduler;
pub mod secret;
pub mod selector;
pub mod status;
pub mod storage;

pub use anomaly::{VMAnomaly, VMAnomalySpec, VMAnomalyStatus};
pub use model::{AnomalyModel, AnomalyModelSpec};
pub use query::{AnomalyQuery, AnomalyQuerySpec};

/// API group of all kinds.
pub const GROUP: &str = "vmanomaly.dev";

/// API version of all kinds.
pub const VERSION: &str = "v1alpha1";
