//! When to fit and when to infer.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::duration::{Duration, at_least, not_longer, whole_multiple};

/// When models learn from history and when they score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(not_longer("inferEvery", "fitEvery")).message("inferEvery must not be longer than fitEvery").field_path(".inferEvery"))]
#[x_kube(validation = Rule::new(not_longer("inferEvery", "fitWindow")).message("fitWindow must not be shorter than inferEvery").field_path(".fitWindow"))]
#[x_kube(validation = Rule::new(at_least("inferEvery", 1000)).message("inferEvery must be at least 1s").field_path(".inferEvery"))]
#[x_kube(validation = Rule::new(not_longer("fitLag", "fitEvery")).message("fitLag must not be longer than fitEvery").field_path(".fitLag"))]
#[x_kube(validation = Rule::new(at_least("fitLag", 1)).message("fitLag must be longer than 0").field_path(".fitLag"))]
#[x_kube(validation = Rule::new(whole_multiple("fitLag", "inferEvery")).message("fitLag must be a whole multiple of inferEvery").field_path(".fitLag"))]
pub struct Scheduler {
    /// Name by which models refer to it; also the value of the label `scheduler_alias` of every output.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-zA-Z0-9]([-_.a-zA-Z0-9]*[a-zA-Z0-9])?$"))]
    pub name: String,
    /// Length of the history that a fit learns from, which ends at the fit, as in `14d`.
    pub fit_window: Duration,
    /// Distance of fits, as in `7d`. A fit learns `fitWindow` anew; online models, which learn from every new sample,
    /// need it rarely.
    pub fit_every: Duration,
    /// Distance of ticks, as in `1m`: how often new samples are read and scored. At least 1s.
    pub infer_every: Duration,
    /// Moment of the first fit: a time of day (`HH:MM`) or ISO 8601 with or without an offset. Absent: at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 5, max = 40),
        regex(
            pattern = "^([0-9]{2}:[0-9]{2}|[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?(Z|[-+][0-9]{2}:?[0-9]{2})?)?)$"
        )
    )]
    pub start_from: Option<String>,
    /// IANA time zone of `startFrom`, as in `Europe/Berlin`. Absent: UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[A-Za-z0-9_+/-]+$"))]
    pub time_zone: Option<String>,
    /// Spreads the reads of the queries over the interval. Absent: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scatter_infer_jobs: Option<bool>,
    /// A fit of data up to F takes over at exactly F + `fitLag`, which makes runs repeatable. Absent: as soon as it is
    /// ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fit_lag: Option<Duration>,
}

impl Scheduler {
    /// The scheduler of a VMAnomaly that names none: two weeks of history, a fit a year, a tick a minute.
    #[must_use]
    pub fn documented_default() -> Self {
        Self {
            name: "default".into(),
            fit_window: Duration::new("14d"),
            fit_every: Duration::new("365d"),
            infer_every: Duration::new("1m"),
            start_from: None,
            time_zone: None,
            scatter_infer_jobs: None,
            fit_lag: None,
        }
    }
}
