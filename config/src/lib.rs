//! The worker's contract: its configuration, its topology, who owns a series, and its status answer.

pub mod duration;
pub mod ownership;
pub mod range;
pub mod size;
pub mod status;
mod suggestion;
pub mod worker;
pub mod zone;
