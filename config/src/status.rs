//! What a worker answers at `/status`. Others read it (the operator polls it), so it is typed, versioned and only
//! grows: an unknown field is ignored, an absent optional field is left out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// [`CONTRACT_VERSION`](crate::contract::CONTRACT_VERSION) of the worker: the newest contract that it understands.
    pub contract_version: u32,
    /// Release of the worker.
    pub worker_version: String,
    /// Own shard, from 0.
    pub shard: u32,
    /// Own rank among the replicas of the shard, from 0.
    pub rank: u32,
    /// Number of ranks in the topology in effect.
    #[serde(default = "one")]
    pub ranks: u32,
    /// Epoch of the topology in effect.
    pub epoch: u64,
    /// Number of shards in that epoch.
    pub shards: u32,
    /// Whether the worker does what it was asked to do.
    pub ready: bool,
    /// Why it is not ready; empty when it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_ready: Vec<NotReady>,
    /// The configuration in effect, and the last attempt to change it.
    pub config: ConfigStatus,
    /// Folder of snapshots and input log; absent: state is in memory only and does not survive the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_folder: Option<String>,
    /// All jobs of this shard, ordered by scheduler, then query.
    pub jobs: Vec<JobStatus>,
}

/// A reason why a worker is not ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotReady {
    /// For machines.
    pub reason: NotReadyReason,
    /// For people: what is missing, and of which job.
    pub message: String,
}

/// Reasons for not being ready. A job that learns from history or waits for the TSDB says so in its [`JobPhase`]: a
/// restart or a redirection of requests would not help it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotReadyReason {
    /// State is being restored from snapshots and input log.
    Restoring,
    /// The process is going down.
    Stopping,
    /// The topology in effect has no such shard or rank: the worker waits for one that has.
    NotInTopology,
    /// The topology file is of a newer contract than this release understands, and no topology is remembered.
    NewerContract,
    /// A reason that this reader's version does not know.
    #[serde(other)]
    Unknown,
}

/// The configuration in effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigStatus {
    /// Digest of the canonical configuration, hexadecimal.
    pub digest: String,
    /// The `revision` that the configuration in effect states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// How often the configuration changed since the start; 0: as it was at the start.
    pub generation: u64,
    /// How the last reload went.
    pub reload: ReloadState,
    /// Errors of the last reload, as `--dryRun` prints them; the configuration above stays in effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When the configuration in effect was applied, unix ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_at_ms: Option<i64>,
}

/// How the last reload went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReloadState {
    /// There was none since the start.
    None,
    /// The newest files are in effect.
    Applied,
    /// The newest files are in effect from a tick that has not come yet.
    Pending,
    /// The newest files have errors. Nothing of them is in effect: all that can fail is done before anything changes.
    Invalid,
    /// A state that this reader's version does not know.
    #[serde(other)]
    Unknown,
}

/// One job: what one scheduler does with one query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobStatus {
    /// Alias of the scheduler.
    pub scheduler: String,
    /// Alias of the query.
    pub query: String,
    /// What it is doing.
    pub phase: JobPhase,
    /// The last tick whose scores the TSDB accepted, unix ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_written_tick_ms: Option<i64>,
    /// The newest tick that the job's state has taken in, unix ms; absent while it has no other ranks to be compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position_ms: Option<i64>,
    /// Digest over everything that the state was learnt from, hexadecimal: ranks with equal ones at an equal
    /// `position_ms` have equal states. Absent with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    /// The tick that is due or being worked on next, unix ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_tick_ms: Option<i64>,
    /// How far the job is behind: now minus the time at which its next tick was due, ms; 0 when it is not behind.
    pub lag_ms: i64,
    /// Series with state on this shard.
    pub active_series: u64,
    /// Series of the last answer that found no place under the series limit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refused_series: u64,
    /// Series of the last answer that are refused, because they would write another series' output or are scores.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub collided_series: u64,
    /// Most of its series only grow, as counters do, and its expression does not ask how fast. It is judged by the window
    /// of the last fit and the samples since, or those since the start of the process.
    #[serde(default, skip_serializing_if = "is_false")]
    pub counters_without_rate: bool,
    /// The query had more series in the latest tick than its `false_alarms_per_day` is enough for.
    #[serde(default, skip_serializing_if = "is_false")]
    pub beyond_alarm_budget: bool,
    /// Ticks since the start that were given up: refused by the TSDB for good, or older than `max_catch_up`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped_ticks: u64,
    /// Epoch of the topology that it has followed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub epoch: u64,
    /// Hand-overs of that epoch which are not over: series that this shard waits for, or has yet to give away.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub open_handovers: u64,
    /// Why the job is not getting on, in the TSDB's words; absent when it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// What stands in the way, for machines; absent with `last_error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error_kind: Option<ErrorKind>,
    /// By alias, the models that hang on the job.
    pub models: BTreeMap<String, ModelStatus>,
}

/// What a job is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobPhase {
    /// Learning from history; no scores yet.
    Fitting,
    /// Every due tick is written.
    Running,
    /// Working off due ticks.
    CatchingUp,
    /// Waiting for the TSDB.
    StandingStill,
    /// A phase that this reader's version does not know.
    #[serde(other)]
    Unknown,
}

/// What stands in the way of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The TSDB will not answer the query however often it is asked.
    QueryRefused,
    /// The TSDB will not take the scores however often they are sent.
    ScoresRefused,
    /// The TSDB does not answer, or not now.
    TsdbUnavailable,
    /// The worker's own volume cannot be written.
    Storage,
    /// A kind that this reader's version does not know.
    #[serde(other)]
    Unknown,
}

/// One model of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelStatus {
    /// End of the training data of the fit that scores, unix ms; absent before the first fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fitted_to_ms: Option<i64>,
}

fn one() -> u32 {
    1
}

fn is_false(value: &bool) -> bool {
    !*value
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::CONTRACT_VERSION;

    fn status() -> Status {
        Status {
            contract_version: CONTRACT_VERSION,
            worker_version: "0.1.0".into(),
            shard: 1,
            rank: 0,
            ranks: 1,
            epoch: 4,
            shards: 3,
            ready: false,
            not_ready: vec![NotReady {
                reason: NotReadyReason::Restoring,
                message: "job every_minute/cpu: state is being restored".into(),
            }],
            config: ConfigStatus {
                digest: "00ff".into(),
                revision: None,
                generation: 0,
                reload: ReloadState::None,
                last_error: None,
                applied_at_ms: Some(1_700_000_000_000),
            },
            state_folder: None,
            jobs: vec![JobStatus {
                scheduler: "every_minute".into(),
                query: "cpu".into(),
                phase: JobPhase::StandingStill,
                last_written_tick_ms: Some(1_700_000_000_000),
                position_ms: Some(1_700_000_000_000),
                chain: Some("00ff".into()),
                next_tick_ms: Some(1_700_000_060_000),
                lag_ms: 12_000,
                active_series: 10,
                refused_series: 0,
                collided_series: 0,
                counters_without_rate: false,
                beyond_alarm_budget: false,
                skipped_ticks: 0,
                epoch: 4,
                open_handovers: 0,
                last_error: Some("connection refused".into()),
                last_error_kind: Some(ErrorKind::TsdbUnavailable),
                models: BTreeMap::from([("mad".into(), ModelStatus { fitted_to_ms: None })]),
            }],
        }
    }

    #[test]
    fn the_answer_survives_json() {
        let text = serde_json::to_string(&status()).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status());
    }

    #[test]
    fn absent_facts_are_left_out() {
        let value = serde_json::to_value(status()).unwrap();
        assert!(value.get("state_folder").is_none());
        assert!(value["jobs"][0].get("skipped_ticks").is_none());
        assert_eq!(value["jobs"][0]["phase"], "standing_still");
        assert_eq!(value["config"]["reload"], "none");
    }

    #[test]
    fn a_newer_worker_is_still_understood() {
        let mut value = serde_json::to_value(status()).unwrap();
        value["jobs"][0]["phase"] = "handing_over".into();
        value["something_new"] = true.into();
        assert_eq!(serde_json::from_value::<Status>(value).unwrap().jobs[0].phase, JobPhase::Unknown);
    }
}
