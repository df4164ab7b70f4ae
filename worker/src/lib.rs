//! The detection loop: query series, keep one model per series, write scores back.

pub mod capacity;
pub mod command_line;
pub mod config_files;
pub mod context;
pub mod disk;
mod encoding;
pub mod engine;
pub mod environment;
pub mod fit;
pub mod http;
pub mod input_log;
pub mod job;
pub mod labels;
pub mod logging;
pub mod metrics;
pub mod output;
pub mod peers;
pub mod plan;
pub mod schedule;
mod secret_file;
pub mod series;
pub mod server_time;
pub mod service;
pub mod snapshot;
pub mod system_clock;
pub mod tsdb;
pub mod worker;
