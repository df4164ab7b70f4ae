//! What happens around a running worker: a TSDB that is away or answers badly for a while, and a configuration that
//! changes under it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "functions that tests share are tests, too")]

#[path = "outages/reload.rs"]
mod reload;
#[path = "outages/tsdb_faults.rs"]
mod tsdb_faults;
