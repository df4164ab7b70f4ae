//! What the workers say about themselves.

pub mod poll;
pub mod report;
pub mod state;
