//! The detection loop: query series, keep one model per series, write scores back.

pub mod capacity;
pub mod command_line;
pub mod config_files;
pub mod environment;
pub mod http;
pub mod labels;
pub mod logging;
pub mod metrics;
pub mod system_clock;
