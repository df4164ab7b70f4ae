//! The worker's contract: its configuration, its topology, who owns a series, and its status answer.

mod class;
pub mod contract;
pub mod country;
pub mod duration;
mod fields;
pub mod load;
pub mod ownership;
pub mod placement;
pub mod problem;
pub mod range;
pub mod reference;
mod schema;
mod section;
pub mod size;
pub mod status;
mod suggestion;
pub mod topology;
mod tree;
pub mod worker;
mod yaml;
pub mod zone;
