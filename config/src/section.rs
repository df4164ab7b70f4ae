//! The sections of a configuration: their keys, and how they become the parsed types.

pub(crate) mod client;
pub(crate) mod model;
pub(crate) mod policy;
pub(crate) mod reader;
pub(crate) mod scheduler;
pub(crate) mod service;
pub(crate) mod writer;
