//! From what was planned, written and seen to the objects' status. Pure.

pub mod anomaly;
pub mod binding;
pub mod condition;
pub mod resharding;
