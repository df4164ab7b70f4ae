//! Blocks of AnomalyModel for classes that are fitted to a window and stay as they are until the next fit.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;

/// Exponential smoothing of level, trend and season, forecast from the end of the fit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.seasonality) || has(self.seasonalPeriods) || has(self.seasonal) && self.seasonal == 'none'").message("seasonality or seasonalPeriods must be set unless seasonal is none"))]
#[x_kube(validation = Rule::new("!has(self.zThreshold) || self.zThreshold > 0.0").message("zThreshold must be above 0").field_path(".zThreshold"))]
#[x_kube(validation = Rule::new("!has(self.dampedTrend) || !self.dampedTrend || has(self.trend)").message("dampedTrend needs a trend").field_path(".dampedTrend"))]
#[x_kube(validation = Rule::new("!has(self.smoothingTrend) || has(self.trend)").message("smoothingTrend needs a trend").field_path(".smoothingTrend"))]
#[x_kube(validation = Rule::new("!has(self.smoothingSeasonal) || !has(self.seasonal) || self.seasonal != 'none'").message("smoothingSeasonal needs a season").field_path(".smoothingSeasonal"))]
#[x_kube(validation = Rule::new("!has(self.dampingTrend) || has(self.dampedTrend) && self.dampedTrend").message("dampingTrend needs dampedTrend").field_path(".dampingTrend"))]
#[x_kube(validation = Rule::new("!has(self.dampingTrend) || self.dampingTrend > 0.0").message("dampingTrend must be above 0").field_path(".dampingTrend"))]
#[x_kube(validation = Rule::new("(has(self.initializationMethod) && self.initializationMethod == 'known') == has(self.initialLevel)").message("initialLevel must be set with initializationMethod known, and only with it").field_path(".initialLevel"))]
#[x_kube(validation = Rule::new("(has(self.initialLevel) && has(self.trend)) == has(self.initialTrend)").message("initialTrend must be set with initialLevel and a trend, and only with them").field_path(".initialTrend"))]
#[x_kube(validation = Rule::new("(has(self.initialLevel) && !(has(self.seasonal) && self.seasonal == 'none')) == has(self.initialSeasonal)").message("initialSeasonal must be set with initialLevel and a season, and only with them").field_path(".initialSeasonal"))]
#[x_kube(validation = Rule::new("!has(self.initialSeasonal) || !has(self.seasonalPeriods) || self.initialSeasonal.size() == self.seasonalPeriods").message("initialSeasonal must have seasonalPeriods numbers").field_path(".initialSeasonal"))]
#[x_kube(validation = Rule::new("!has(self.initialLevel) || self.initialLevel > 0.0 || !(has(self.trend) && self.trend == 'mul' || has(self.seasonal) && self.seasonal == 'mul')").message("initialLevel must be above 0 in a multiplicative form").field_path(".initialLevel"))]
#[x_kube(validation = Rule::new("!has(self.initialTrend) || self.initialTrend > 0.0 || !has(self.trend) || self.trend != 'mul'").message("initialTrend must be above 0 with trend mul").field_path(".initialTrend"))]
#[x_kube(validation = Rule::new("!has(self.initialSeasonal) || !has(self.seasonal) || self.seasonal != 'mul' || self.initialSeasonal.all(factor, factor > 0.0)").message("initialSeasonal must be above 0 with seasonal mul").field_path(".initialSeasonal"))]
#[x_kube(validation = Rule::new("!has(self.bounds) || !has(self.bounds.smoothingTrend) || has(self.trend)").message("bounds.smoothingTrend needs a trend").field_path(".bounds"))]
#[x_kube(validation = Rule::new("!has(self.bounds) || !has(self.bounds.smoothingSeasonal) || !has(self.seasonal) || self.seasonal != 'none'").message("bounds.smoothingSeasonal needs a season").field_path(".bounds"))]
#[x_kube(validation = Rule::new("!has(self.bounds) || !has(self.bounds.dampingTrend) || has(self.dampedTrend) && self.dampedTrend").message("bounds.dampingTrend needs dampedTrend").field_path(".bounds"))]
#[x_kube(validation = Rule::new("!has(self.boxCox) || !has(self.boxCoxLambda)").message("boxCox and boxCoxLambda exclude each other"))]
pub struct HoltWinters {
    /// Length of a season, as in `1d`. Absent: none, then `seasonalPeriods` is set, or `seasonal` is `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seasonality: Option<Duration>,
    /// Step that samples are brought to, as a rule the query's `step`. Absent: the median step of the fit's samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency: Option<Duration>,
    /// Half-width of the expected interval in standard deviations of the residuals, above 0. Absent: 2.5.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000.0))]
    pub z_threshold: Option<f64>,
    /// How the season is composed with the level. Absent: `add`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seasonal: Option<Seasonal>,
    /// Steps of a season, from 2 to 100000. Absent: `seasonality` by `frequency`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 100_000))]
    pub seasonal_periods: Option<i32>,
    /// How the trend is composed with the level. Absent: no trend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trend: Option<Trend>,
    /// Whether the trend fades. Absent: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damped_trend: Option<bool>,
    /// Where the smoothing starts from. Absent: `estimated`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initialization_method: Option<Initialization>,
    /// Level that `initializationMethod: known` starts from, in units of the series. Absent: estimated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_level: Option<f64>,
    /// Trend that `initializationMethod: known` starts from: what a step adds, or its factor with `trend: mul`. Absent: estimated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_trend: Option<f64>,
    /// Season that `initializationMethod: known` starts from, a number for each step of it; factors with `seasonal: mul`. Absent:
    /// estimated.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 2_000))]
    pub initial_seasonal: Option<Vec<f64>>,
    /// Share of a new value in the level, from 0 to 1. Absent: estimated.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub smoothing_level: Option<f64>,
    /// Share of a new step in the trend, from 0 to 1. Absent: estimated.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub smoothing_trend: Option<f64>,
    /// Share of a new value in the season, from 0 to 1. Absent: estimated.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub smoothing_seasonal: Option<f64>,
    /// Factor by which a damped trend fades each step, above 0 and at most 1. Absent: estimated.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1.0))]
    pub damping_trend: Option<f64>,
    /// Smooths the Box-Cox transforms of the values, which must be above 0: with the likeliest parameter, or the logarithms. For a
    /// spread that grows with the level. Absent: `none`, unless there is a `boxCoxLambda`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub box_cox: Option<BoxCox>,
    /// Smooths the Box-Cox transforms of the values with this parameter, from -10 to 10; 0: their logarithms. Absent: `boxCox` counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -10.0, max = 10.0))]
    pub box_cox_lambda: Option<f64>,
    /// Ranges of what is estimated. Absent: all that is allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bounds: Option<SmoothingBounds>,
}

/// CEL: the `min` of a range is below its `max`, which are these if they are absent; holds when the range is absent.
fn ordered(range: &str, least: f64, most: f64) -> String {
    let end = |end: &str, absent: f64| format!("(has(self.{range}.{end}) ? self.{range}.{end} : {absent:?})");
    format!("!has(self.{range}) || {} < {}", end("min", least), end("max", most))
}

/// Ranges of what is estimated. Whatever they say, `smoothingTrend` is at most `smoothingLevel`, and `smoothingSeasonal` at most 1
/// less `smoothingLevel`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.dampingTrend) || !has(self.dampingTrend.min) || self.dampingTrend.min > 0.0").message("dampingTrend.min must be above 0").field_path(".dampingTrend"))]
#[x_kube(validation = Rule::new(ordered("dampingTrend", 0.8, 0.995)).message("min must be below max, which are 0.8 and 0.995 if absent").field_path(".dampingTrend"))]
#[x_kube(validation = Rule::new("!has(self.smoothingTrend) || !has(self.smoothingTrend.min) || !has(self.smoothingLevel) || !has(self.smoothingLevel.max) || self.smoothingTrend.min <= self.smoothingLevel.max").message("the min of smoothingTrend must be at most the max of smoothingLevel").field_path(".smoothingTrend"))]
#[x_kube(validation = Rule::new("!has(self.smoothingSeasonal) || !has(self.smoothingSeasonal.min) || !has(self.smoothingLevel) || !has(self.smoothingLevel.min) || self.smoothingSeasonal.min <= 1.0 - self.smoothingLevel.min").message("the min of smoothingSeasonal must be at most 1 less the min of smoothingLevel").field_path(".smoothingSeasonal"))]
#[x_kube(validation = Rule::new(ordered("smoothingLevel", 0.0, 1.0)).message("min must be below max, which are 0 and 1 if absent").field_path(".smoothingLevel"))]
#[x_kube(validation = Rule::new(ordered("smoothingTrend", 0.0, 1.0)).message("min must be below max, which are 0 and 1 if absent").field_path(".smoothingTrend"))]
#[x_kube(validation = Rule::new(ordered("smoothingSeasonal", 0.0, 1.0)).message("min must be below max, which are 0 and 1 if absent").field_path(".smoothingSeasonal"))]
pub struct SmoothingBounds {
    /// Of `smoothingLevel`. Absent: from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smoothing_level: Option<SmoothingRange>,
    /// Of `smoothingTrend`; it needs a trend. Absent: from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smoothing_trend: Option<SmoothingRange>,
    /// Of `smoothingSeasonal`; it needs a season. Absent: from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smoothing_seasonal: Option<SmoothingRange>,
    /// Of `dampingTrend`; it needs `dampedTrend`. Absent: from 0.8 to 0.995.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damping_trend: Option<SmoothingRange>,
}

/// A range within 0 and 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SmoothingRange {
    /// The lowest, from 0 to 1. Absent: that of the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min: Option<f64>,
    /// The highest, from 0 to 1. Absent: that of the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max: Option<f64>,
}

/// A transform of values before they are smoothed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum BoxCox {
    #[allow(missing_docs)]
    None,
    #[allow(missing_docs)]
    Log,
    #[allow(missing_docs)]
    Estimated,
}

/// How a season is composed with the level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Seasonal {
    #[allow(missing_docs)]
    Add,
    #[allow(missing_docs)]
    Mul,
    #[allow(missing_docs)]
    None,
}

/// How a trend is composed with the level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Trend {
    #[allow(missing_docs)]
    Add,
    #[allow(missing_docs)]
    Mul,
}

/// Where exponential smoothing starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Initialization {
    #[allow(missing_docs)]
    Estimated,
    #[allow(missing_docs)]
    Heuristic,
    #[allow(missing_docs)]
    LegacyHeuristic,
    #[allow(missing_docs)]
    Known,
}

/// How soon random cuts isolate a value. It expects no value, so there is no `yhat`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.contamination) || self.contamination > 0.0").message("contamination must be above 0").field_path(".contamination"))]
#[x_kube(validation = Rule::new("!has(self.maxSamples) || !has(self.maxSamplesShare)").message("maxSamples and maxSamplesShare exclude each other"))]
#[x_kube(validation = Rule::new("!has(self.maxSamplesShare) || self.maxSamplesShare > 0.0").message("maxSamplesShare must be above 0").field_path(".maxSamplesShare"))]
#[x_kube(validation = Rule::new("!has(self.maxFeaturesShare) || self.maxFeaturesShare > 0.0").message("maxFeaturesShare must be above 0").field_path(".maxFeaturesShare"))]
#[x_kube(validation = Rule::new("!has(self.maxFeatures) || !has(self.maxFeaturesShare)").message("maxFeatures and maxFeaturesShare exclude each other"))]
pub struct IsolationForest {
    /// Share of a fit's samples that are anomalous, above 0 and at most 0.5. Absent: the line of the original paper, which
    /// flags much that is usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 0.5))]
    pub contamination: Option<f64>,
    /// Cycles of the clock in the query's `timeZone` that a value is seen together with: minute of the hour, hour of the day,
    /// day of the week, month. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4), extend("x-kubernetes-list-type" = "set"))]
    pub seasonal_features: Option<Vec<SeasonalFeature>>,
    /// Number of trees, from 1 to 1000. Absent: 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub n_estimators: Option<i32>,
    /// Samples that each tree is grown from, from 1 to 32768. Absent: 256, or all where there are fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 32_768))]
    pub max_samples: Option<i32>,
    /// Share of a fit's samples that each tree is grown from, above 0 and at most 1. Absent: `maxSamples` counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1.0))]
    pub max_samples_share: Option<f64>,
    /// Features that each tree may split by, from 1 to 10. Absent: `maxFeaturesShare` counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub max_features: Option<i32>,
    /// Share of the features that each tree may split by, above 0 and at most 1. Absent: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1.0))]
    pub max_features_share: Option<f64>,
    /// Whether a tree's samples are drawn with replacement. Absent: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<bool>,
    /// Seed of the fits. Absent: 42.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub random_state: Option<i32>,
}

/// A cycle of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SeasonalFeature {
    #[allow(missing_docs)]
    Minute,
    #[allow(missing_docs)]
    Hod,
    #[allow(missing_docs)]
    Dow,
    #[allow(missing_docs)]
    Month,
}
