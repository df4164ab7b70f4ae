//! The user stories, on a real Kubernetes: the node that this crate starts by itself, or the cluster that `CLUSTER`
//! names. One file a story. All of them share the cluster and the operator in it; each has a namespace and a database
//! of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "functions that tests share are tests, too")]

mod changed_model;
mod deletion;
mod killed_worker;
mod network_policy;
mod operator_away;
mod quickstart;
mod recording;
mod rejected_query;
mod replicas;
mod resharding;
mod rotated_secret;
mod scene;
mod shards;
mod tsdb_away;
