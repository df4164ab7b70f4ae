//! A recorded incident: replayed into a TSDB in compressed time, shown as a live table, judged by its alert. What
//! `make run` and `make run-standalone` have in common.

pub mod observation;
pub mod progress;
pub mod replay;
pub mod screen;
pub mod verdict;
