//! The operator at a real API server, with the rights that the chart gives it. There are no kubelets: pods are what
//! a story makes of them.

mod children;
mod convergence;
mod fixtures;
mod rights;
mod statuses;
mod workers;
