//! Blocks of AnomalyModel for classes that see several series together.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::envelope::{HolidayCalendar, Profile};
use super::offline::SeasonalFeature;
use crate::duration::Duration;

/// What is usual for each series of a group at this time of the day and week, and how far the three that are farthest from it usually
/// go together. One score for the group; all else that it needs follows from the queries' `step` and the series.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.recommendedMaxChannels) || self.recommendedMaxChannels <= (has(self.maxChannels) ? self.maxChannels : 1000)").message("recommendedMaxChannels must be at most maxChannels").field_path(".recommendedMaxChannels"))]
pub struct CalibratedMultivariate {
    /// Names of labels: one model for each combination of their values, a missing label being an empty value. Absent: all
    /// series of all queries are one group.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 128)), extend("x-kubernetes-list-type" = "set"))]
    pub groupby: Option<Vec<String>>,
    /// Most series of a group; a group with more has no score. From 1 to 100000. Absent: 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_channels: Option<i32>,
    /// A group with more series is named in a warning; from 1 to `maxChannels`. Absent: 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub recommended_max_channels: Option<i32>,
    /// The score is 0 until a group has had so many samples, and in any case until a series of it has had 30. Absent: 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub min_n_samples_seen: Option<i64>,
}

/// A temporal envelope for each series of a group, and what they have in common. One score for the group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.quantiles) || self.quantiles[0] < self.quantiles[1]").message("the first of quantiles must be below the second").field_path(".quantiles"))]
#[x_kube(validation = Rule::new("!has(self.alpha) || self.alpha > 0.0").message("alpha must be above 0").field_path(".alpha"))]
#[x_kube(validation = Rule::new("!has(self.lossReactivity) || self.lossReactivity > 0.0").message("lossReactivity must be above 0").field_path(".lossReactivity"))]
#[x_kube(validation = Rule::new("!has(self.recommendedMaxChannels) || self.recommendedMaxChannels <= (has(self.maxChannels) ? self.maxChannels : 1000)").message("recommendedMaxChannels must be at most maxChannels").field_path(".recommendedMaxChannels"))]
#[x_kube(validation = Rule::new("!has(self.forecastAt) || self.forecastAt.all(horizon, horizon.matches('[1-9]'))").message("forecastAt must be longer than 0").field_path(".forecastAt"))]
pub struct TemporalEnvelopeMultivariate {
    /// Names of labels: one model for each combination of their values, a missing label being an empty value. Absent: all
    /// series of all queries are one group.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 128)), extend("x-kubernetes-list-type" = "set"))]
    pub groupby: Option<Vec<String>>,
    /// Most directions in which the series move together that are learnt, from 0 to 64; 0 leaves each series to itself.
    /// Absent: 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 64))]
    pub dependency_rank: Option<i32>,
    /// How the scores of the series become one: the greatest, the mean, or the root of the mean square. Absent: `l2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score_aggregation: Option<ScoreAggregation>,
    /// Most series of a group; a group with more has no score. From 1 to 100000. Absent: 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_channels: Option<i32>,
    /// A group with more series is named in a warning; from 1 to `maxChannels`. Absent: 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub recommended_max_channels: Option<i32>,
    /// Seed of the first directions. Absent: 42.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub random_state: Option<i32>,
    /// Of the residuals in the core of the band; from 0 to 1, ascending. Absent: [0.25, 0.75].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 2), inner(range(min = 0.0, max = 1.0)))]
    pub quantiles: Option<Vec<f64>>,
    /// Widens the band on both sides by so many widths of its core, 0 or above; more is fewer alarms, usually 1 to 4. Absent:
    /// 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub iqr_threshold: Option<f64>,
    /// How quickly the trend follows, above 0 and at most 1, usually 0.0025 to 0.02. Absent: 0.005.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1.0))]
    pub alpha: Option<f64>,
    /// How far a deviation counts, in mean sizes of residuals, above 0; less is less influence of spikes. Absent: 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000.0))]
    pub loss_reactivity: Option<f64>,
    /// Samples in a row on one side of the band that confirm another level, from 1 to 10000. Absent: 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub changepoint_window: Option<i32>,
    /// Profiles of the clock in the queries' `timeZone`: of the hour of the day, the day of the week, the part of the week,
    /// the month; as a gradual curve, as narrow peaks, or as levels. Absent: [hod_smooth, dow_smooth].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 9), extend("x-kubernetes-list-type" = "set"))]
    pub seasonalities: Option<Vec<Profile>>,
    /// Days whose response is learnt. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holidays: Option<HolidayCalendar>,
    /// Also writes what is expected of each series so long after each sample, as in `1h`, as far as `provideSeries` has `yhat`,
    /// `yhat_lower`, `yhat_upper`. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100), extend("x-kubernetes-list-type" = "set"))]
    pub forecast_at: Option<Vec<Duration>>,
    /// The score is 0 until a group has had so many samples. Absent: 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub min_n_samples_seen: Option<i64>,
}

/// How several scores become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScoreAggregation {
    #[allow(missing_docs)]
    Max,
    #[allow(missing_docs)]
    Mean,
    #[allow(missing_docs)]
    L2,
}

/// How soon random cuts isolate what all series of a group have at one time. It gives `anomaly_score` only.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.contamination) || self.contamination > 0.0").message("contamination must be above 0").field_path(".contamination"))]
#[x_kube(validation = Rule::new("!has(self.maxSamples) || !has(self.maxSamplesShare)").message("maxSamples and maxSamplesShare exclude each other"))]
#[x_kube(validation = Rule::new("!has(self.maxSamplesShare) || self.maxSamplesShare > 0.0").message("maxSamplesShare must be above 0").field_path(".maxSamplesShare"))]
#[x_kube(validation = Rule::new("!has(self.maxFeaturesShare) || self.maxFeaturesShare > 0.0").message("maxFeaturesShare must be above 0").field_path(".maxFeaturesShare"))]
pub struct IsolationForestMultivariate {
    /// Names of labels: one model for each combination of their values, a missing label being an empty value. Absent: all
    /// series of all queries are one group.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 128)), extend("x-kubernetes-list-type" = "set"))]
    pub groupby: Option<Vec<String>>,
    /// Share of a fit's times that are anomalous, above 0 and at most 0.5. Absent: the line of the original paper, which
    /// flags much that is usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 0.5))]
    pub contamination: Option<f64>,
    /// Cycles of the clock in the queries' `timeZone` that the values are seen together with: minute of the hour, hour of the
    /// day, day of the week, month. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4), extend("x-kubernetes-list-type" = "set"))]
    pub seasonal_features: Option<Vec<SeasonalFeature>>,
    /// Number of trees, from 1 to 1000. Absent: 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub n_estimators: Option<i32>,
    /// Times that each tree is grown from, from 1 to 32768. Absent: 256, or all where there are fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 32_768))]
    pub max_samples: Option<i32>,
    /// Share of a fit's times that each tree is grown from, above 0 and at most 1. Absent: `maxSamples` counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1.0))]
    pub max_samples_share: Option<f64>,
    /// Share of the series and features that each tree may split by, above 0 and at most 1. Absent: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1.0))]
    pub max_features_share: Option<f64>,
    /// Whether a tree's times are drawn with replacement. Absent: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<bool>,
    /// Seed of the fits. Absent: 42.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub random_state: Option<i32>,
}
