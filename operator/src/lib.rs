//! The Kubernetes operator: VMAnomaly, AnomalyModel and AnomalyQuery in, sharded workers out.

pub mod build;
pub mod names;
pub mod selection;
