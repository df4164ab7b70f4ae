//! The detection loop: query series, keep one model per series, write scores back.

pub mod disk;
pub mod environment;
pub mod input_log;
pub mod labels;
pub mod snapshot;
