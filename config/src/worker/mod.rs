//! The worker's configuration after parsing, merging, defaults and validation: every value is in its range and
//! every reference resolves. Durations are milliseconds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod auto;
mod model_class;
mod multivariate;

pub use auto::{Auto, Learning, Validation};
pub use model_class::{
    Amount, BoxCox, BuiltIn, Composition, Compression, Envelope, ExponentialSmoothing, Growth, Holiday, Horizon,
    Initialization, LocalSeasonality, Mode, ModelClass, Prophet, SeasonalFeature, Seasonality, SmoothingBounds, Trees,
};
pub use multivariate::{Aggregation, JointCalibrated, JointEnvelope, JointForest};

/// A whole worker configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerConfig {
    /// By alias; only schedulers that a model uses.
    pub schedulers: BTreeMap<String, Scheduler>,
    /// By alias; only models that have a scheduler and a query.
    pub models: BTreeMap<String, Model>,
    /// Where samples come from.
    pub reader: Reader,
    /// Where scores go.
    pub writer: Writer,
    /// Self-monitoring.
    pub monitoring: Monitoring,
    /// The HTTP server.
    pub server: Server,
    /// Everything global.
    pub settings: Settings,
    /// The `preset` label of every output, `default` unless set.
    pub preset: String,
    /// Whatever the author of the files wants to recognise them by; shown in the status.
    pub revision: Option<String>,
}

/// When to fit and when to infer: the periodic scheduler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scheduler {
    /// Length of the training data, ms.
    pub fit_window: i64,
    /// Distance of fits, ms.
    pub fit_every: i64,
    /// Distance of ticks, ms.
    pub infer_every: i64,
    /// Moment of the first fit.
    pub start_from: Option<StartFrom>,
    /// IANA zone of `start_from`.
    pub tz: String,
    /// Spreads the reads of the scheduler's queries over the interval.
    pub scatter_infer_jobs: bool,
    /// A fit that ends at F takes over at F + `fit_lag`, ms; absent: as soon as it is ready.
    pub fit_lag: Option<i64>,
}

/// The moment of the first fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartFrom {
    /// An instant, unix ms.
    At(i64),
    /// A time of day in the scheduler's zone: (hour, minute).
    TimeOfDay(u8, u8),
}

/// One model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// The class with its own arguments.
    pub class: ModelClass,
    /// Query aliases, sorted.
    pub queries: Vec<String>,
    /// Scheduler aliases, sorted.
    pub schedulers: Vec<String>,
    /// Output series to write, in this order; never empty.
    pub provide_series: Vec<String>,
    /// Factors of the lower and the upper margin.
    pub scale: [f64; 2],
    /// Clamp predictions to the data range.
    pub clip_predictions: bool,
    /// Least margin in units of the series' own noise; 0: none.
    #[serde(default)]
    pub band_floor: f64,
    /// How many margins away a sample is learnt at most; 0: no limit (online models).
    #[serde(default)]
    pub influence_limit: f64,
    /// Leave incidents in the window of a fit out of what is learnt.
    #[serde(default)]
    pub exclude_incidents: bool,
    /// Score of a value outside the data range (own, else `settings`, else 1.01).
    pub anomaly_score_outside_data_range: f64,
    /// Policies that a query without its own falls back to (deprecated placement); the reader-level `data_range` is
    /// already filled in where the model has none.
    pub policies: Policies,
    /// Samples before the first non-zero score (online models).
    pub min_n_samples_seen: u64,
    /// Weight that an older sample keeps per newer one, (0, 1] (online models).
    pub decay: f64,
    /// Multiplies the weight of what a fit has seen (online models).
    pub history_strength: f64,
}

/// What counts as anomalous for the business; each absent field falls back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Policies {
    /// Valid domain of values, inclusive; may be infinite.
    #[serde(with = "crate::range::optional")]
    pub data_range: Option<[f64; 2]>,
    /// Side that counts.
    pub detection_direction: Option<DetectionDirection>,
    /// Absolute deviation, [below, above].
    pub min_dev_from_expected: Option<[f64; 2]>,
    /// Relative deviation in percent, [below, above].
    pub min_rel_dev_from_expected: Option<[f64; 2]>,
}

impl Policies {
    /// What applies to one query under one model, field by field: the query's value, else the model's, else the
    /// reader's (only `data_range`; it is already in the model's policies), else the one that changes nothing.
    #[must_use]
    pub fn resolve(query: &Query, model: &Model) -> ResolvedPolicies {
        let (own, fallback) = (&query.policies, &model.policies);
        ResolvedPolicies {
            data_range: own.data_range.or(fallback.data_range).unwrap_or([f64::NEG_INFINITY, f64::INFINITY]),
            detection_direction: own
                .detection_direction
                .or(fallback.detection_direction)
                .unwrap_or(DetectionDirection::Both),
            min_dev_from_expected: own.min_dev_from_expected.or(fallback.min_dev_from_expected).unwrap_or([0.0; 2]),
            min_rel_dev_from_expected: own
                .min_rel_dev_from_expected
                .or(fallback.min_rel_dev_from_expected)
                .unwrap_or([0.0; 2]),
        }
    }
}

/// [`Policies`] after all fallbacks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResolvedPolicies {
    /// Valid domain of values, inclusive; may be infinite.
    pub data_range: [f64; 2],
    /// Side that counts.
    pub detection_direction: DetectionDirection,
    /// Absolute deviation, [below, above].
    pub min_dev_from_expected: [f64; 2],
    /// Relative deviation in percent, [below, above].
    pub min_rel_dev_from_expected: [f64; 2],
}

/// Side of the expectation that counts as anomalous.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DetectionDirection {
    /// Both sides.
    Both,
    /// Only above.
    AboveExpected,
    /// Only below.
    BelowExpected,
}

/// Where samples come from: the `vm` reader (VictoriaMetrics or Prometheus).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reader {
    /// Connection.
    pub client: HttpClient,
    /// Path of range queries, `/api/v1/query_range` unless set.
    pub query_range_path: String,
    /// By alias; only queries that a model uses.
    pub queries: BTreeMap<String, Query>,
    /// Concurrent requests, at least 1.
    pub workers: usize,
    /// `extra_filters[]` of every request.
    pub extra_filters: Vec<String>,
    /// `latency_offset` of every request, ms; absent: not sent (not a VictoriaMetrics).
    pub latency_offset: Option<i64>,
    /// One request's time limit, ms (`fetch_timeout`, else `timeout`).
    pub fetch_timeout: i64,
}

/// One query with all fallbacks applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Query {
    /// MetricsQL or PromQL.
    pub expr: String,
    /// Resolution, ms.
    pub step: i64,
    /// Own policies; see [`Policies::resolve`] for the fallbacks.
    pub policies: Policies,
    /// Points of one request.
    pub max_points_per_query: u32,
    /// IANA zone of calendar features.
    pub tz: String,
    /// Tenant, `account:project`.
    pub tenant_id: Option<String>,
    /// Shift of the queried interval, ms.
    pub offset: i64,
    /// `max_lookback` of every request, ms; absent: not sent.
    pub max_lookback: Option<i64>,
    /// Most series of this query over all shards.
    pub series_limit: u32,
    /// Alarms by chance that all its series together are to have a day, for models of class `calibrated`; 0.001 to
    /// 1,000,000. Absent: each series has what its model says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub false_alarms_per_day: Option<f64>,
}

/// How to reach an HTTP server.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct HttpClient {
    /// Base URL without a trailing slash.
    pub url: String,
    /// Tenant, `account[:project]` or `multitenant`.
    pub tenant_id: Option<String>,
    /// Basic auth.
    pub user: Option<String>,
    /// Basic auth.
    pub password: Option<String>,
    /// File with the password, read again for every request that follows a change.
    pub password_file: Option<String>,
    /// Bearer token.
    pub bearer_token: Option<String>,
    /// File with the bearer token.
    pub bearer_token_file: Option<String>,
    /// How to verify the server.
    pub verify_tls: VerifyTls,
    /// Client certificate, PEM file.
    pub tls_cert_file: Option<String>,
    /// Client key, PEM file.
    pub tls_key_file: Option<String>,
    /// Time limit of one request, ms.
    pub timeout: i64,
}

/// Verification of a server's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum VerifyTls {
    /// Not verified.
    Off,
    /// Against the system's authorities.
    System,
    /// Against the authorities of a PEM file.
    CaFile(String),
}

/// Where scores go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Writer {
    /// Connection.
    pub client: HttpClient,
    /// Template of the metric name, contains `$VAR`.
    pub metric_name: String,
    /// Further labels, `$QUERY_KEY` and `$VAR` substituted; always has `for`.
    pub labels: BTreeMap<String, String>,
    /// Extra attempts after a connection-level failure within one write.
    pub connection_retry_attempts: u32,
    /// Largest request body, bytes.
    pub max_request_bytes: usize,
    /// Which replicas write.
    pub mode: WriterMode,
    /// How long a replica waits for the one before it, ms; absent: the longer of 10 s and twice `infer_every`.
    pub failover_after: Option<i64>,
}

/// Which replicas of a shard write scores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriterMode {
    /// Every one: the TSDB keeps one of equal samples.
    #[default]
    All,
    /// The lowest that gets on.
    Failover,
}

/// Self-monitoring.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Monitoring {
    /// A listener of its own for `/metrics`: (address, port).
    pub pull: Option<(String, u16)>,
}

/// The HTTP server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// Listen address.
    pub addr: String,
    /// Listen port; 0 takes a free one.
    pub port: u16,
    /// Prefix of every route, with a leading slash and none at the end; empty: none.
    pub path_prefix: String,
}

/// Everything global.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Threads that learn and score; 0: as many as the CPUs available.
    pub n_workers: usize,
    /// Keep state over restarts; absent: true whenever a state folder is set.
    pub restore_state: Option<bool>,
    /// Series not seen for so long (in tick time, ms) are dropped.
    pub retention_ttl: Option<i64>,
    /// How often the former is checked, ms.
    pub retention_check_interval: Option<i64>,
    /// Log level per component.
    pub logger_levels: BTreeMap<String, String>,
    /// A tick is read so long after its time, ms.
    pub settle: i64,
    /// Older due ticks are given up, ms.
    pub max_catch_up: i64,
    /// Longest wait for late samples after an outage, ms.
    pub catch_up_delay: i64,
    /// A changed block is written at most so often, ms.
    pub snapshot_interval: i64,
    /// Byte rate of snapshots, bytes per second.
    pub snapshot_bytes_per_second: u64,
    /// Longest wait of a starting worker for the other replicas of its shard, ms.
    pub peer_timeout: i64,
    /// Longest wait for a former owner of series, ms.
    pub handover_timeout: i64,
}

impl WorkerConfig {
    /// The configuration with every password and token replaced by `***`: for logs, status answers and files.
    #[must_use]
    pub fn without_secrets(&self) -> Self {
        let mut config = self.clone();
        for client in [&mut config.reader.client, &mut config.writer.client] {
            for secret in [&mut client.password, &mut client.bearer_token].into_iter().flatten() {
                *secret = "***".to_owned();
            }
        }
        config
    }
}

impl std::fmt::Debug for HttpClient {
    /// Without secrets.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("HttpClient")
            .field("url", &self.url)
            .field("tenant_id", &self.tenant_id)
            .field("user", &self.user)
            .field("verify_tls", &self.verify_tls)
            .finish_non_exhaustive()
    }
}
