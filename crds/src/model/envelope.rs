//! Blocks of AnomalyModel for classes that follow the calendar, holidays included.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::country::Country;
use crate::duration::Duration;

/// Level, trend, profiles of the calendar and of holidays, learnt with every sample.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.quantiles) || self.quantiles[0] < self.quantiles[1]").message("the first of quantiles must be below the second").field_path(".quantiles"))]
#[x_kube(validation = Rule::new("!has(self.alpha) || self.alpha > 0.0").message("alpha must be above 0").field_path(".alpha"))]
#[x_kube(validation = Rule::new("!has(self.lossReactivity) || self.lossReactivity > 0.0").message("lossReactivity must be above 0").field_path(".lossReactivity"))]
#[x_kube(validation = Rule::new("!has(self.forecastAt) || self.forecastAt.all(horizon, horizon.matches('[1-9]'))").message("forecastAt must be longer than 0").field_path(".forecastAt"))]
pub struct TemporalEnvelope {
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
    /// Profiles of the clock in the query's `timeZone`: of the hour of the day, the day of the week, the part of the week,
    /// the month; as a gradual curve, as narrow peaks, or as levels. Absent: [hod_smooth, dow_smooth].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 9), extend("x-kubernetes-list-type" = "set"))]
    pub seasonalities: Option<Vec<Profile>>,
    /// Days whose response is learnt. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holidays: Option<HolidayCalendar>,
    /// Also writes what is expected so long after each sample, as in `1h`. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100), extend("x-kubernetes-list-type" = "set"))]
    pub forecast_at: Option<Vec<Duration>>,
    /// The score is 0 until a series has had so many samples. Absent: 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub min_n_samples_seen: Option<i64>,
}

/// Days whose response is learnt.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HolidayCalendar {
    /// Days in the query's `timeZone`: `12-24`, every year, or `2024-12-24`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1_000), inner(length(min = 5, max = 10), regex(pattern = "^([0-9]{4}-)?((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|[12][0-9]))$")), extend("x-kubernetes-list-type" = "set"))]
    pub special_events: Option<Vec<String>>,
    /// Countries whose public holidays count too, by their ISO 3166 codes. Days of a name have one response; those that are in one
    /// year only share one. `specialEvents` come before them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub countries: Option<Vec<Country>>,
    /// Whether all of them have one response together. Absent: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<bool>,
}

/// A profile of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    #[allow(missing_docs)]
    HodSmooth,
    #[allow(missing_docs)]
    HodSpiky,
    #[allow(missing_docs)]
    HodPlateau,
    #[allow(missing_docs)]
    DowSmooth,
    #[allow(missing_docs)]
    DowSpiky,
    #[allow(missing_docs)]
    DowPlateau,
    #[allow(missing_docs)]
    WeekpartPlateau,
    #[allow(missing_docs)]
    MonthSmooth,
    #[allow(missing_docs)]
    MonthPlateau,
}
