//! The operator at a real API server, with the rights that the chart gives it. There are no kubelets: pods are what
//! a story makes of them.

#![allow(clippy::unwrap_used, reason = "functions that tests share are tests, too")]

mod children;
mod contracts;
mod convergence;
mod fixtures;
mod program;
mod replicas;
mod resharding;
mod rights;
mod statuses;
mod workers;
