//! The API server: what is watched, and how children are written without ever undoing what somebody else did.

pub mod apply;
pub mod child;
pub mod coverage;
pub mod index;
pub mod recent;
pub mod scope;
