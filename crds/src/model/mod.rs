//! AnomalyModel: one model with its arguments.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod auto;
mod envelope;
mod multivariate;
mod offline;
mod online;
mod prophet;

pub use auto::{Auto, Tuned, TunedRollingQuantile, ValidationScheme};
pub use envelope::{HolidayCalendar, Profile, TemporalEnvelope};
pub use multivariate::{
    CalibratedMultivariate, IsolationForestMultivariate, ScoreAggregation, TemporalEnvelopeMultivariate,
};
pub use offline::{
    BoxCox, HoltWinters, Initialization, IsolationForest, Seasonal, SeasonalFeature, SmoothingBounds, SmoothingRange,
    Trend,
};
pub use online::{Calibrated, MadOnline, QuantileOnline, RollingQuantile, Std, ZscoreOnline};
pub use prophet::{
    Aggregation, Compression, Cycle, Growth, LocalSeasonality, Mode, Prophet, ProphetHoliday, ProphetSeasonality,
    Scaling,
};

use crate::selector::LabelRequirement;
use crate::status::BindingStatus;
use std::collections::BTreeMap;

/// What learns and scores. One instance is kept for every series of every query, or for every group of series.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "vmanomaly.dev",
    version = "v1alpha1",
    kind = "AnomalyModel",
    plural = "anomalymodels",
    namespaced,
    status = "BindingStatus",
    derive = "PartialEq",
    shortname = "anomalym",
    category = "anomaly",
    doc = "A model that learns what is normal and scores every new sample: 0 to 1 is normal, above 1 is anomalous. A VMAnomaly selects it and runs it on its queries.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status", description = "Whether every VMAnomaly that selects it runs it"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason", description = "Why"),
    printcolumn(name = "VMAnomalies", type_ = "integer", json_path = ".status.selectedBy", description = "How many VMAnomalies select it"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "When it was created"),
    validation = Rule::new("size(self.metadata.name) <= 63").message("metadata.name must have at most 63 characters")
)]
#[x_kube(validation = Rule::new("[has(self.calibrated), has(self.zscoreOnline), has(self.madOnline), has(self.quantileOnline), has(self.rollingQuantile), has(self.std), has(self.temporalEnvelope), has(self.prophet), has(self.holtwinters), has(self.isolationForest), has(self.calibratedMultivariate), has(self.temporalEnvelopeMultivariate), has(self.isolationForestMultivariate), has(self.auto)].filter(set, set).size() == 1")
    .message("exactly one of calibrated, zscoreOnline, madOnline, quantileOnline, rollingQuantile, std, temporalEnvelope, prophet, holtwinters, isolationForest, calibratedMultivariate, temporalEnvelopeMultivariate, isolationForestMultivariate and auto must be set"))]
#[x_kube(validation = Rule::new("!has(self.provideSeries) || has(self.std) || has(self.auto) && has(self.auto.tuned.std) || !self.provideSeries.exists(series, series == 'trend' && !has(self.prophet) && !(has(self.auto) && has(self.auto.tuned.prophet)) || series in ['resid', 'seasonal'])")
    .message("provideSeries: resid and seasonal are of std only, trend of std and prophet"))]
#[x_kube(validation = Rule::new("!has(self.provideSeries) || has(self.prophet) || has(self.auto) && has(self.auto.tuned.prophet) || self.provideSeries.all(series, series in ['anomaly_score', 'y', 'yhat', 'yhat_lower', 'yhat_upper', 'stage', 'resid', 'trend', 'seasonal', 'season', 'view', 'usual_deviation', 'hour_factor', 'unrest_factor', 'threshold', 'hold', 'channel_score'])")
    .message("provideSeries: series must be of anomaly_score, y, yhat, yhat_lower, yhat_upper, stage, resid, trend, seasonal, season, view, usual_deviation, hour_factor, unrest_factor, threshold, hold and channel_score; only prophet has others"))]
#[x_kube(validation = Rule::new("!has(self.provideSeries) || has(self.calibrated) || has(self.prophet) || has(self.auto) && has(self.auto.tuned.prophet) || !self.provideSeries.exists(series, series in ['season', 'view', 'usual_deviation', 'hour_factor', 'unrest_factor', 'threshold', 'hold'])")
    .message("provideSeries: season, view, usual_deviation, hour_factor, unrest_factor, threshold and hold are of calibrated only"))]
#[x_kube(validation = Rule::new("!has(self.provideSeries) || has(self.calibratedMultivariate) || has(self.prophet) || has(self.auto) && has(self.auto.tuned.prophet) || !self.provideSeries.exists(series, series == 'channel_score')")
    .message("provideSeries: channel_score is of calibratedMultivariate only"))]
#[x_kube(validation = Rule::new("!has(self.provideSeries) || !has(self.isolationForest) && !(has(self.auto) && has(self.auto.tuned.isolationForest)) || !self.provideSeries.exists(series, series in ['yhat', 'yhat_lower', 'yhat_upper'])")
    .message("provideSeries: isolationForest expects no value, so it has no yhat, yhat_lower and yhat_upper"))]
#[x_kube(validation = Rule::new("!has(self.influenceLimit) || self.influenceLimit == 0.0 || self.influenceLimit >= 1.0")
    .message("influenceLimit must be 0, for none, or at least 1").field_path(".influenceLimit"))]
#[x_kube(validation = Rule::new("!has(self.provideSeries) || !has(self.isolationForestMultivariate) && !(has(self.auto) && has(self.auto.tuned.isolationForestMultivariate)) || self.provideSeries.all(series, series in ['anomaly_score', 'stage'])")
    .message("provideSeries: isolationForestMultivariate gives anomaly_score and stage only"))]
pub struct AnomalyModelSpec {
    /// What is usual at this time of the day and week, in a band that the series itself leaves rarely. Nothing has to be set: `{}`.
    /// Queries that no model asks for have this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub calibrated: Option<Calibrated>,
    /// Running mean and standard deviation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub zscore_online: Option<ZscoreOnline>,
    /// Running median and median absolute deviation: robust against outliers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub mad_online: Option<MadOnline>,
    /// Running quantiles, of each part of a season where there is one: what is usual at this hour of the day or week.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub quantile_online: Option<QuantileOnline>,
    /// Quantiles of the newest samples: a band that follows quickly and forgets at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub rolling_quantile: Option<RollingQuantile>,
    /// Trend and season of a fixed period, and the standard deviation of what they leave.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub std: Option<Std>,
    /// Level, trend, profiles of the calendar and of holidays: for most series that people's days and weeks are seen in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub temporal_envelope: Option<TemporalEnvelope>,
    /// A trend that bends, and seasons as sums of sines, fitted to a window: for several seasons at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub prophet: Option<Prophet>,
    /// Exponential smoothing of level, trend and season, fitted to a window and forecast from its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub holtwinters: Option<HoltWinters>,
    /// How soon random cuts isolate a value: for unusual combinations of value and time. It gives `anomaly_score`, `y` and `stage` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub isolation_forest: Option<IsolationForest>,
    /// What is usual of several series that belong together, as all of a host, and how far those that are farthest from it usually go
    /// together. Nothing has to be set: `{}`. It gives `anomaly_score` and `stage`, one for all series of a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub calibrated_multivariate: Option<CalibratedMultivariate>,
    /// Temporal envelopes of several series, and what they have in common: for series that belong together, as all of a host.
    /// It gives `anomaly_score` and `stage`, one for all series of a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub temporal_envelope_multivariate: Option<TemporalEnvelopeMultivariate>,
    /// How soon random cuts isolate what several series have at one time: for unusual combinations of values. It gives
    /// `anomaly_score` and `stage` only, one for all series of a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub isolation_forest_multivariate: Option<IsolationForestMultivariate>,
    /// Another class, whose arguments every fit searches for each series, or for each group of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub auto: Option<Auto>,
    /// Queries to run on. Absent: all queries of the VMAnomaly.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub queries: Option<QueryReferences>,
    /// Names of the VMAnomaly's schedulers to run under. Absent: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 63)))]
    pub schedulers: Option<Vec<String>>,
    /// Output series to write. Absent: `anomaly_score`, `"y"` (in quotes, or YAML takes it for `true`), `yhat`, `yhat_lower` and
    /// `yhat_upper`, of `prophet` also `trend`. `std` can also give `resid`, `trend` and `seasonal`; `prophet` `additive_terms`,
    /// `multiplicative_terms`, `holidays`, and each season and holiday under its name; `calibrated` what a score comes from: `season`,
    /// `view`, `usual_deviation`, `hour_factor`, `unrest_factor`, `threshold` and `hold`; `calibratedMultivariate` `channel_score`, how
    /// far each series of a group is by itself. Every class can give `stage`, how far a
    /// series' model is: below 1 it has no score yet, below 2 it has not seen all that it is to learn, 2 is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 127)), extend("x-kubernetes-list-type" = "set"))]
    pub provide_series: Option<Vec<String>>,
    /// Factors of the distance between the expected value and its lower and upper bound. Absent: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<Scale>,
    /// Clamps expected value and bounds to the query's `dataRange`. Absent: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_predictions: Option<bool>,
    /// Least distance of the bounds from the expected value, in units of the series' own noise: the standard deviation of its
    /// moves from sample to sample. It keeps the band of a series that hardly moves open. 0: no floor, as vmanomaly has none.
    /// No effect on `calibrated` and `calibratedMultivariate`, whose bands have a floor of their own, and `isolationForest`, which has
    /// no band. Absent: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub band_floor: Option<f64>,
    /// A sample that is further from the expected value than so many half-widths of the band is learnt as if it were that far
    /// away, so that a spike does not widen the band for long: 1 or more; 0: no limit, as vmanomaly has none. Models that
    /// learn between fits only; no effect on `calibrated` and `calibratedMultivariate`, which have a limit of their own. Absent: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub influence_limit: Option<f64>,
    /// Whether a fit leaves out what it takes for an incident: five samples or more in a row, far from what is usual at that
    /// hour, of at most a quarter of the window. The window is held in memory then, 8 bytes a sample. Absent: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude_incidents: Option<bool>,
    /// Score of a value outside the query's `dataRange`. Absent: the VMAnomaly's, else 1.01.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0))]
    pub anomaly_score_outside_data_range: Option<f64>,
    /// Value of the label `model_alias` of every output. Absent: the object's name, or `namespace/name` when a VMAnomaly
    /// of another namespace selects it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 127), regex(pattern = "^[a-zA-Z0-9_]([-_./a-zA-Z0-9]*[a-zA-Z0-9_])?$"))]
    pub alias: Option<String>,
}

/// Queries of the model's own namespace: those that are named, and those with the labels.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.names) || has(self.selector)").message("at least one of names and selector must be set"))]
pub struct QueryReferences {
    /// Names of AnomalyQuery objects. One that is not there, or not selected by the VMAnomaly, is reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 63)))]
    pub names: Option<Vec<String>>,
    /// Labels of AnomalyQuery objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<QueryLabels>,
}

/// Labels of queries; all conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueryLabels {
    /// Labels that a query must have, with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32), schema_with = "crate::embedded::label_map")]
    pub match_labels: BTreeMap<String, String>,
    /// Further conditions on labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub match_expressions: Vec<LabelRequirement>,
}

/// Two factors, one for each side of the expectation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.below) || self.below > 0.0").message("below must be above 0").field_path(".below"))]
#[x_kube(validation = Rule::new("!has(self.above) || self.above > 0.0").message("above must be above 0").field_path(".above"))]
pub struct Scale {
    /// Factor of the distance to the lower bound, above 0. Absent: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000.0))]
    pub below: Option<f64>,
    /// Factor of the distance to the upper bound, above 0. Absent: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000.0))]
    pub above: Option<f64>,
}
