//! Blocks of AnomalyModel for classes that learn every sample that they score.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;
use crate::number::not_below;

/// What is usual at this time of the day and week, in a band that the series itself leaves rarely.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(not_below("falseAlarmsPerDay", 0.001)).message("falseAlarmsPerDay must be at least 0.001").field_path(".falseAlarmsPerDay"))]
pub struct Calibrated {
    /// How many alarms by chance each series is to have a day, from 0.001 to 10. Fewer: a wider band, which misses more. What was
    /// learnt is kept when it changes. Absent: 0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.001, max = 10.0))]
    pub false_alarms_per_day: Option<f64>,
    /// Whether an incident scores above 1 once, when it begins, and again only if it gets worse. With false it does as long as it
    /// lasts, which alert rules with `for` need. What was learnt is kept when it changes. Absent: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub once_per_incident: Option<bool>,
    /// The score is 0 until a series has had so many samples, and in any case until it has had 30. Absent: 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub min_n_samples_seen: Option<i64>,
}

/// Running mean and standard deviation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.zThreshold) || self.zThreshold > 0.0").message("zThreshold must be above 0").field_path(".zThreshold"))]
#[x_kube(validation = Rule::new("!has(self.decay) || self.decay > 0.0").message("decay must be above 0").field_path(".decay"))]
#[x_kube(validation = Rule::new("!has(self.historyStrength) || self.historyStrength > 0.0").message("historyStrength must be above 0").field_path(".historyStrength"))]
pub struct ZscoreOnline {
    /// Half-width of the expected interval in standard deviations, above 0. Absent: 2.5.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000.0))]
    pub z_threshold: Option<f64>,
    /// Weight that what is learnt keeps with every new sample, above 0 and at most 1. Absent: 1, nothing is forgotten.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1.0))]
    pub decay: Option<f64>,
    /// The score is 0 until a series has had so many samples. Absent: 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub min_n_samples_seen: Option<i64>,
    /// Multiplies the weight of what a fit has seen against the samples after it, above 0. Absent: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000.0))]
    pub history_strength: Option<f64>,
}

/// Running median and median absolute deviation, from a t-digest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.threshold) || self.threshold > 0.0").message("threshold must be above 0").field_path(".threshold"))]
#[x_kube(validation = Rule::new("!has(self.decay) || self.decay > 0.0").message("decay must be above 0").field_path(".decay"))]
#[x_kube(validation = Rule::new("!has(self.historyStrength) || self.historyStrength > 0.0").message("historyStrength must be above 0").field_path(".historyStrength"))]
pub struct MadOnline {
    /// Half-width of the expected interval in median absolute deviations, above 0. Absent: 2.5.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000.0))]
    pub threshold: Option<f64>,
    /// Size of the t-digest: more is more exact and takes more memory. Absent: 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub compression: Option<i32>,
    /// Weight that what is learnt keeps with every new sample, above 0 and at most 1. Absent: 1, nothing is forgotten.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1.0))]
    pub decay: Option<f64>,
    /// The score is 0 until a series has had so many samples. Absent: 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub min_n_samples_seen: Option<i64>,
    /// Multiplies the weight of what a fit has seen against the samples after it, above 0. Absent: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000.0))]
    pub history_strength: Option<f64>,
}

/// Running quantiles, of each part of a season where there is one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.decay) || self.decay > 0.0").message("decay must be above 0").field_path(".decay"))]
#[x_kube(validation = Rule::new("!has(self.historyStrength) || self.historyStrength > 0.0").message("historyStrength must be above 0").field_path(".historyStrength"))]
#[x_kube(validation = Rule::new("!has(self.quantiles) || self.quantiles[0] <= self.quantiles[1] && self.quantiles[1] <= self.quantiles[2]").message("quantiles must be ascending").field_path(".quantiles"))]
#[x_kube(validation = Rule::new("has(self.seasonalInterval) == has(self.minSubseason)").message("seasonalInterval and minSubseason belong together"))]
pub struct QuantileOnline {
    /// Of the lower bound, of the expected value and of the upper bound; from 0 to 1, ascending. Absent: [0.01, 0.5, 0.99].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 3), inner(range(min = 0.0, max = 1.0)))]
    pub quantiles: Option<Vec<f64>>,
    /// Moves both bounds outwards by so many distances between the quartiles, 0 or above. Absent: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub iqr_threshold: Option<f64>,
    /// Length of a season, as in `1d` or `1w`: a multiple of `minSubseason`, of at most 10080 parts. Absent: no season.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seasonal_interval: Option<Duration>,
    /// Length of a part of a season, as in `1h`. The parts follow the clock of the query's `timeZone`. Absent: no season.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_subseason: Option<Duration>,
    /// A day on which a season starts, at midnight in the query's `timeZone`, as in `2024-01-01`. Absent: 1970-01-01.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10), regex(pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"))]
    pub season_starts_from: Option<String>,
    /// Learns logarithms of the values, for series of many magnitudes. Absent: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_transform: Option<bool>,
    /// Share of the quantiles of all samples in those of a part of the season, from 0 to 1. Absent: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub global_smoothing: Option<f64>,
    /// Size of a t-digest: more is more exact and takes more memory. Absent: 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub compression: Option<i32>,
    /// Weight that what is learnt keeps with every new sample, above 0 and at most 1. Absent: 1, nothing is forgotten.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1.0))]
    pub decay: Option<f64>,
    /// The score is 0 until a series has had so many samples. Absent: 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub min_n_samples_seen: Option<i64>,
    /// Multiplies the weight of what a fit has seen against the samples after it, above 0. Absent: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000.0))]
    pub history_strength: Option<f64>,
}

/// Quantiles of the newest samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(not_below("quantile", 0.5)).message("quantile must be at least 0.5").field_path(".quantile"))]
pub struct RollingQuantile {
    /// Of the upper bound, from 0.5 to 1; that of the lower one is 1 less this. The expected value is the median.
    #[schemars(range(min = 0.5, max = 1.0))]
    pub quantile: f64,
    /// How many samples are remembered, from 1 to 100000; best 10 to 100.
    #[schemars(range(min = 1, max = 100_000))]
    pub window_steps: i32,
    /// Moves both bounds outwards by so many halves of the distance between the quartiles, 0 or above. Absent: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub iqr_threshold: Option<f64>,
    /// The score is 0 until a series has had so many samples. Absent: 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub min_n_samples_seen: Option<i64>,
}

/// Trend and season of a fixed period.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.zThreshold) || self.zThreshold > 0.0").message("zThreshold must be above 0").field_path(".zThreshold"))]
pub struct Std {
    /// Length of a season in samples, from 2 to 100000, as in 288 for a day of 5 minutes each.
    #[schemars(range(min = 2, max = 100_000))]
    pub period: i32,
    /// Half-width of the expected interval in standard deviations of the residuals, above 0. Absent: 2.5.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000.0))]
    pub z_threshold: Option<f64>,
    /// The score is 0 until a series has had so many samples. Absent: 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub min_n_samples_seen: Option<i64>,
}
