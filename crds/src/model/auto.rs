//! Block of AnomalyModel for a class whose arguments are searched.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    HoltWinters, IsolationForest, IsolationForestMultivariate, MadOnline, Prophet, QuantileOnline, Std,
    TemporalEnvelope, TemporalEnvelopeMultivariate, ZscoreOnline,
};
use crate::duration::{Duration, at_least};
use crate::number::not_below;

/// Another class, whose arguments every fit searches for each series, or for each group of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.anomalyPercentage < 0.5").message("anomalyPercentage must be below 0.5").field_path(".anomalyPercentage"))]
#[x_kube(validation = Rule::new("!has(self.trainValRatio) || self.trainValRatio > 0.0").message("trainValRatio must be above 0").field_path(".trainValRatio"))]
#[x_kube(validation = Rule::new(at_least("timeout", 1)).message("timeout must be longer than 0").field_path(".timeout"))]
pub struct Auto {
    /// The class to tune, by its block. What is set in the block is not searched.
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub tuned: Tuned,
    /// The greatest share of samples that are anomalous, from 0, below 0.5: 0.01 is one in a hundred.
    #[schemars(range(min = 0.0, max = 0.5))]
    pub anomaly_percentage: f64,
    /// The most trials, from 1 to 1000000; the first one is that of the class's defaults. Absent: 128.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub n_trials: Option<i32>,
    /// The longest time of the search for one series or group, longer than 0. It ends with the trial that is under way. Absent: no
    /// limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Number of parts of the window that are scored in each trial, from 1 to 100. Absent: 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub n_splits: Option<i32>,
    /// `regular`: a part is fitted, then the part after it scored. `leaky`: all samples are both, for windows without
    /// anomalies. Absent: regular.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_scheme: Option<ValidationScheme>,
    /// Samples fitted for each that is scored, above 0; of the `regular` scheme. Absent: 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000.0))]
    pub train_val_ratio: Option<f64>,
    /// The same seed gives the same search. Absent: 42.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub seed: Option<i32>,
    /// Whether classes that learn every sample do so while a trial scores. Absent: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<bool>,
    /// Whether the smallest state wins among trials that are nearly as good as the best. Absent: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optimize_complexity: Option<bool>,
}

/// The class to tune.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.zscoreOnline), has(self.madOnline), has(self.quantileOnline), has(self.rollingQuantile), has(self.std), has(self.temporalEnvelope), has(self.prophet), has(self.holtwinters), has(self.isolationForest), has(self.temporalEnvelopeMultivariate), has(self.isolationForestMultivariate)].filter(set, set).size() == 1")
    .message("exactly one of zscoreOnline, madOnline, quantileOnline, rollingQuantile, std, temporalEnvelope, prophet, holtwinters, isolationForest, temporalEnvelopeMultivariate and isolationForestMultivariate must be set"))]
pub struct Tuned {
    /// Running mean and standard deviation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub zscore_online: Option<ZscoreOnline>,
    /// Running median and median absolute deviation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub mad_online: Option<MadOnline>,
    /// Running quantiles.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub quantile_online: Option<QuantileOnline>,
    /// Quantiles of the newest samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub rolling_quantile: Option<TunedRollingQuantile>,
    /// Trend and season of a fixed period, which is not searched.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub std: Option<Std>,
    /// Level, trend, profiles of the calendar and of holidays.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub temporal_envelope: Option<TemporalEnvelope>,
    /// A trend that bends, and seasons as sums of sines, which are not searched. Unless `timeZoneAware` is set, they follow the clock
    /// of the query's `timeZone` where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub prophet: Option<Prophet>,
    /// Exponential smoothing, whose season is not searched.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub holtwinters: Option<HoltWinters>,
    /// How soon random cuts isolate a value.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub isolation_forest: Option<IsolationForest>,
    /// Temporal envelopes of several series, and what they have in common: arguments of their own for each group.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub temporal_envelope_multivariate: Option<TemporalEnvelopeMultivariate>,
    /// How soon random cuts isolate what several series have at one time: arguments of their own for each group.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub isolation_forest_multivariate: Option<IsolationForestMultivariate>,
}

/// Quantiles of the newest samples, of which nothing is required: what is absent is searched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(not_below("quantile", 0.5)).message("quantile must be at least 0.5").field_path(".quantile"))]
pub struct TunedRollingQuantile {
    /// Of the upper bound, from 0.5 to 1; that of the lower one is 1 less this. Absent: searched.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.5, max = 1.0))]
    pub quantile: Option<f64>,
    /// How many samples are remembered, from 1 to 100000. Absent: searched.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub window_steps: Option<i32>,
    /// Moves both bounds outwards by so many halves of the distance between the quartiles, 0 or above. Absent: searched.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub iqr_threshold: Option<f64>,
    /// The score is 0 until a series has had so many samples. Absent: 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub min_n_samples_seen: Option<i64>,
}

/// How a window is cut into parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ValidationScheme {
    #[allow(missing_docs)]
    Regular,
    #[allow(missing_docs)]
    Leaky,
}
