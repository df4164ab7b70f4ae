//! AnomalyQuery: one expression whose series are watched.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::{Duration, SignedDuration, at_least};
use crate::number::not_below;
use crate::status::BindingStatus;

/// What to watch: every series that the expression returns is learnt and scored on its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "vmanomaly.dev",
    version = "v1alpha1",
    kind = "AnomalyQuery",
    plural = "anomalyqueries",
    namespaced,
    status = "BindingStatus",
    derive = "PartialEq",
    shortname = "anomalyq",
    category = "anomaly",
    doc = "An expression whose series are watched for anomalies. A VMAnomaly selects it; its models learn every series that the expression returns.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status", description = "Whether every VMAnomaly that selects it watches it"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason", description = "Why"),
    printcolumn(name = "VMAnomalies", type_ = "integer", json_path = ".status.selectedBy", description = "How many VMAnomalies select it"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "When it was created"),
    printcolumn(name = "Expression", type_ = "string", json_path = ".spec.expr", priority = 1, description = "What is watched"),
    validation = Rule::new("size(self.metadata.name) <= 63").message("metadata.name must have at most 63 characters")
)]
#[x_kube(validation = Rule::new(at_least("step", 1)).message("step must be longer than 0").field_path(".step"))]
#[x_kube(validation = Rule::new(at_least("maxLookback", 1)).message("maxLookback must be longer than 0").field_path(".maxLookback"))]
#[x_kube(validation = Rule::new(not_below("falseAlarmsPerDay", 0.001)).message("falseAlarmsPerDay must be at least 0.001").field_path(".falseAlarmsPerDay"))]
pub struct AnomalyQuerySpec {
    /// The expression, MetricsQL or PromQL. Counters need a `rate` or `increase` around them.
    #[schemars(length(min = 1, max = 16384))]
    pub expr: String,
    /// Resolution of the samples, as in `30s`. Absent: `reader.samplingPeriod` of the VMAnomaly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<Duration>,
    /// Valid domain of the values. A value outside is anomalous by definition. Absent: everything is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_range: Option<DataRange>,
    /// Which side of the expectation counts: `Both`, `AboveExpected` or `BelowExpected`. Absent: `Both`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detection_direction: Option<DetectionDirection>,
    /// Deviations from the expected value up to this, in units of the series, are no anomaly. Absent: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_dev_from_expected: Option<BelowAbove>,
    /// Deviations from the expected value up to this, in percent of it, are no anomaly. Absent: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_rel_dev_from_expected: Option<BelowAbove>,
    /// IANA time zone of hours of the day and days of the week, as in `Europe/Berlin`. Absent: the reader's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[A-Za-z0-9_+/-]+$"))]
    pub time_zone: Option<String>,
    /// Tenant of a VictoriaMetrics cluster, `account` or `account:project`; the reader must have one, too. Absent: the
    /// reader's.
    #[serde(rename = "tenantID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 21), regex(pattern = "^([0-9]{1,10}(:[0-9]{1,10})?|multitenant)$"))]
    pub tenant_id: Option<String>,
    /// Shift of the queried interval: `-60s` looks 60 seconds earlier. Absent: the reader's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<SignedDuration>,
    /// Sent to VictoriaMetrics as `max_lookback`: how far it looks back for the last sample before a point. Absent: the
    /// reader's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_lookback: Option<Duration>,
    /// Points of one request; a longer window is read in several. Absent: the reader's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 1_000_000))]
    pub max_points_per_query: Option<i32>,
    /// Most series over all shards; what is beyond is refused, counted and reported. Absent: the reader's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub series_limit: Option<i32>,
    /// How many alarms by chance all series together are to have a day, of each model of class `calibrated`: each has its
    /// part of it, at least 0.001, whatever the model says. Absent: each series has what its model says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.001, max = 1_000_000.0))]
    pub false_alarms_per_day: Option<f64>,
    /// How the series are spread over the shards, for all models. Absent: as other queries that a multivariate model joins
    /// with this one, else each by its labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
    /// Value of the label `for` of every output. Absent: the object's name, or `namespace/name` when a VMAnomaly of
    /// another namespace selects it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 127), regex(pattern = "^[a-zA-Z0-9_]([-_./a-zA-Z0-9]*[a-zA-Z0-9_])?$"))]
    pub alias: Option<String>,
}

/// Domain of values, both ends inclusive; an absent end is infinite.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.min) || !has(self.max) || self.min <= self.max").message("min must not be above max"))]
pub struct DataRange {
    /// Smallest valid value. Absent: minus infinity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Largest valid value. Absent: infinity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

/// Two amounts, one for each side of the expectation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BelowAbove {
    /// For values below the expectation. Absent: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0))]
    pub below: Option<f64>,
    /// For values above the expectation. Absent: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0))]
    pub above: Option<f64>,
}

/// Side of the expectation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DetectionDirection {
    #[allow(missing_docs)]
    Both,
    #[allow(missing_docs)]
    AboveExpected,
    #[allow(missing_docs)]
    BelowExpected,
}

/// How series are spread over the shards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.type == 'Label') == has(self.label)").message("label must be given for type Label, and only for it"))]
pub struct Spread {
    /// `Series`: each series by its labels. `Query`: all of them on one shard. `Label`: those with the same value of
    /// `label` together.
    #[serde(rename = "type")]
    pub kind: SpreadKind,
    /// Name of the label, for `Label`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[a-zA-Z_][a-zA-Z0-9_]*$"))]
    pub label: Option<String>,
}

/// Form of spreading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SpreadKind {
    #[allow(missing_docs)]
    Series,
    #[allow(missing_docs)]
    Query,
    #[allow(missing_docs)]
    Label,
}
