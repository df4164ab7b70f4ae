//! The whole system on a real Kubernetes node: one that this crate starts by itself, or the user's cluster.

pub mod catalogue;
pub mod cluster;
pub mod comparison;
pub mod faults;
pub mod forward;
pub mod image;
pub mod installation;
pub mod members;
pub mod node;
pub mod quickstart;
pub mod rollout;
