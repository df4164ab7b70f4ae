//! How a worker reaches the time series database: `reader` and `writer`.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::{Duration, SignedDuration, at_least};
use crate::query::DataRange;
use crate::secret::{CertificateSource, SecretKey};

/// Where samples come from: range queries of VictoriaMetrics or Prometheus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.basicAuth) && has(self.bearerTokenSecret))").message("basicAuth and bearerTokenSecret exclude each other"))]
#[x_kube(validation = Rule::new(at_least("samplingPeriod", 1)).message("samplingPeriod must be longer than 0").field_path(".samplingPeriod"))]
#[x_kube(validation = Rule::new(at_least("timeout", 1)).message("timeout must be longer than 0").field_path(".timeout"))]
#[x_kube(validation = Rule::new(at_least("fetchTimeout", 1)).message("fetchTimeout must be longer than 0").field_path(".fetchTimeout"))]
#[x_kube(validation = Rule::new(at_least("maxLookback", 1)).message("maxLookback must be longer than 0").field_path(".maxLookback"))]
pub struct Reader {
    /// Base URL, as in `http://victoria-metrics:8428`. Credentials go to `basicAuth` or `bearerTokenSecret`.
    #[serde(rename = "datasourceURL")]
    #[schemars(length(min = 1, max = 2048), regex(pattern = "^https?://[^@ ]+$"))]
    pub datasource_url: String,
    /// Tenant of a VictoriaMetrics cluster: `account`, `account:project` or `multitenant`. Absent: a single-node database.
    #[serde(rename = "tenantID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 21), regex(pattern = "^([0-9]{1,10}(:[0-9]{1,10})?|multitenant)$"))]
    pub tenant_id: Option<String>,
    /// Basic authentication. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuth>,
    /// Secret with the token of the `Authorization: Bearer` header. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer_token_secret: Option<SecretKey>,
    /// TLS. Absent: `https` is verified against the system's authorities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Time limit of one request. Absent: 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Time limit of one range query. Absent: `timeout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fetch_timeout: Option<Duration>,
    /// Resolution of queries that have no `step`. Absent: 1m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling_period: Option<Duration>,
    /// Path of range queries below the base URL. Absent: `/api/v1/query_range`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub query_range_path: Option<String>,
    /// Series selectors that apply to every query (`extra_filters[]` of VictoriaMetrics). Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 4096)))]
    pub extra_filters: Option<Vec<String>>,
    /// Concurrent requests of one worker. Absent: as many as there are queries, at most two per CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub workers: Option<i32>,
    /// Sent as `latency_offset`, so that VictoriaMetrics does not hide the newest samples. Absent: 1ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_offset: Option<Duration>,
    /// For a database that does not know `latency_offset`, as Prometheus: sends none. Absent: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_latency_offset: Option<bool>,
    /// Points of one request; a longer window is read in several. Absent: 10000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 1_000_000))]
    pub max_points_per_query: Option<i32>,
    /// Valid domain of queries for which neither the query nor the model says one. Absent: everything is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_range: Option<DataRange>,
    /// IANA time zone of hours of the day and days of the week, for queries that have none. Absent: UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[A-Za-z0-9_+/-]+$"))]
    pub time_zone: Option<String>,
    /// Shift of the queried interval, for queries that have none: `-60s` looks 60 seconds earlier. Absent: 0s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<SignedDuration>,
    /// Sent as `max_lookback`, for queries that have none. Absent: not sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_lookback: Option<Duration>,
    /// Most series of one query over all shards, for queries that have none. Absent: 100000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub series_limit: Option<i32>,
}

/// Where scores go: `/api/v1/import` of VictoriaMetrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.basicAuth) && has(self.bearerTokenSecret))").message("basicAuth and bearerTokenSecret exclude each other"))]
#[x_kube(validation = Rule::new(at_least("timeout", 1)).message("timeout must be longer than 0").field_path(".timeout"))]
#[x_kube(validation = Rule::new(at_least("failoverAfter", 1)).message("failoverAfter must be longer than 0").field_path(".failoverAfter"))]
pub struct Writer {
    /// Base URL, as in `http://victoria-metrics:8428`. Credentials go to `basicAuth` or `bearerTokenSecret`.
    #[serde(rename = "datasourceURL")]
    #[schemars(length(min = 1, max = 2048), regex(pattern = "^https?://[^@ ]+$"))]
    pub datasource_url: String,
    /// Tenant of a VictoriaMetrics cluster: `account`, `account:project` or `multitenant`. Absent: a single-node database.
    #[serde(rename = "tenantID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 21), regex(pattern = "^([0-9]{1,10}(:[0-9]{1,10})?|multitenant)$"))]
    pub tenant_id: Option<String>,
    /// Basic authentication. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuth>,
    /// Secret with the token of the `Authorization: Bearer` header. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer_token_secret: Option<SecretKey>,
    /// TLS. Absent: `https` is verified against the system's authorities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Time limit of one request. Absent: 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Name and labels of what is written. Absent: the output's own name and `for: $QUERY_KEY`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric_format: Option<MetricFormat>,
    /// Extra attempts after a connection-level failure within one write; after them the worker stands still and writes
    /// later, nothing is dropped. Absent: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub connection_retry_attempts: Option<i32>,
    /// Largest body of one write, bytes. Absent: 8388608.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 65_536, max = 1_073_741_824))]
    pub max_request_bytes: Option<i64>,
    /// Which replicas write. `All`: every one, for a database that deduplicates. `Failover`: normally one, and the next
    /// one takes its place. Required with more than one replica. Absent: `All`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<WriterMode>,
    /// With `Failover`, how long a replica waits for the one before it. Absent: the longer of 10s and twice the
    /// scheduler's `inferEvery`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failover_after: Option<Duration>,
}

/// Which replicas write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WriterMode {
    #[allow(missing_docs)]
    All,
    #[allow(missing_docs)]
    Failover,
}

/// Name and labels of what is written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.name) || self.name.contains('$VAR')").message("name must contain $VAR, or all outputs would have one name").field_path(".name"))]
#[x_kube(validation = Rule::new("!has(self.forLabel) || self.forLabel.contains('$QUERY_KEY')").message("forLabel must contain $QUERY_KEY, or the outputs of the queries would collide").field_path(".forLabel"))]
#[x_kube(validation = Rule::new("!has(self.extraLabels) || self.extraLabels.all(name, !(name in ['__name__', 'for', 'model_alias', 'scheduler_alias', 'preset']))").message("extraLabels must not have __name__, for, model_alias, scheduler_alias or preset").field_path(".extraLabels"))]
pub struct MetricFormat {
    /// Template of the metric's name; contains `$VAR`, the name of the output series. Absent: `$VAR`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub name: Option<String>,
    /// Template of the label `for`; contains `$QUERY_KEY`, the alias of the query. Absent: `$QUERY_KEY`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub for_label: Option<String>,
    /// Further labels; `$VAR` and `$QUERY_KEY` are replaced. Absent: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32), schema_with = "crate::embedded::series_label_map")]
    pub extra_labels: BTreeMap<String, String>,
}

/// Basic authentication.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BasicAuth {
    /// User name.
    #[schemars(length(min = 1, max = 256))]
    pub username: String,
    /// Secret with the password. A rotated one is used without a restart.
    pub password_secret: SecretKey,
}

/// How TLS is spoken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.insecureSkipVerify) && self.insecureSkipVerify && has(self.ca))").message("ca has no meaning with insecureSkipVerify"))]
#[x_kube(validation = Rule::new("has(self.cert) == has(self.keySecret)").message("cert and keySecret must be set together"))]
pub struct Tls {
    /// Authorities that the server's certificate is verified against, PEM. Absent: the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub ca: Option<CertificateSource>,
    /// Certificate of the worker for mutual TLS, PEM. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub cert: Option<CertificateSource>,
    /// Secret with the key of that certificate, PEM. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_secret: Option<SecretKey>,
    /// Does not verify the server's certificate. Absent: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure_skip_verify: Option<bool>,
}
