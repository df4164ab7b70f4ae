//! The detection loop: query series, keep one model per series, write scores back.

pub mod context;
pub mod engine;
pub mod command_line;
pub mod config_files;
pub mod environment;
pub mod fit;
pub mod job;
pub mod disk;
pub mod environment;
pub mod input_log;
pub mod http;
pub mod labels;
pub mod plan;
pub mod schedule;
pub mod series;
pub mod server_time;
pub mod worker;
pub mod logging;
pub mod metrics;
pub mod system_clock;
pub mod output;
pub mod tsdb;
pub mod snapshot;
