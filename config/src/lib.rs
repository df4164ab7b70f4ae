//! The worker's contract: its configuration, its topology, who owns a series, and its status answer.

pub mod worker;
