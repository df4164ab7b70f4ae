//! Starts and drives the real components that tests across crates run against: each one on a free loopback port
//! with a folder of its own, ended with the value that stands for it.
//!
//! `make tools` gets the programs. A program that cannot be found is an error that says so, never a skipped test.

pub mod accelerated;
pub mod components;
pub mod fault_proxy;
pub mod http;
pub mod incident;
pub mod kubernetes;
pub mod load;
pub mod measure;
pub mod node_exporter;
pub mod process;
pub mod prometheus;
pub mod recording;
pub mod scores;
pub mod scripted_tsdb;
pub mod series;
pub mod signal;
pub mod swept_folder;
pub mod victoria_metrics;
pub mod vmagent;
pub mod vmalert;
pub mod worker;
