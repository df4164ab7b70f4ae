//! The detection loop: query series, keep one model per series, write scores back.

pub mod environment;
pub mod labels;
pub mod output;
pub mod tsdb;
