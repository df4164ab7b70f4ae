//! The block of AnomalyModel for `prophet`.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::country::Country;
use crate::duration::{Duration, at_least};

/// Days of the calendar but for those that only leap years have.
const DATE: &str =
    "^[0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|[12][0-9]))$";

/// Names of output series.
const NAME: &str = "^[a-zA-Z_]([-_. ()'a-zA-Z0-9]*[_)a-zA-Z0-9])?$";

/// CEL: `name` is that of no part that every fit has.
const FREE_NAME: &str = "!self.name.matches('^(trend|additive_terms|multiplicative_terms|daily|weekly|yearly|holidays|zeros|extra_regressors_additive|extra_regressors_multiplicative|yhat|y|anomaly_score|stage|ds|cap|floor|y_scaled|cap_scaled|timestamp)(_lower|_upper)?$') && !self.name.contains('_delim_')";

/// CEL: as [`FREE_NAME`], or the name of a season that the model finds by itself.
fn free_season_name() -> String {
    format!("self.name in ['daily', 'weekly', 'yearly'] || {FREE_NAME}")
}

/// CEL: a field is above 0; holds when it is absent.
fn positive(field: &str) -> String {
    format!("!has(self.{field}) || self.{field} > 0.0")
}

/// A trend that bends, and seasons as sums of sines, fitted to a window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.growth) && self.growth == 'logistic') == has(self.cap)").message("cap must be set with growth logistic, and only with it").field_path(".cap"))]
#[x_kube(validation = Rule::new("!has(self.floor) || has(self.growth) && self.growth == 'logistic'").message("floor needs growth logistic").field_path(".floor"))]
#[x_kube(validation = Rule::new("!has(self.cap) || self.cap > (has(self.floor) ? self.floor : 0.0)").message("cap must be above floor, which is 0 if absent").field_path(".cap"))]
#[x_kube(validation = Rule::new("!has(self.changepoints) || !has(self.nChangepoints) && !has(self.changepointRange)").message("changepoints excludes nChangepoints and changepointRange").field_path(".changepoints"))]
#[x_kube(validation = Rule::new(positive("changepointPriorScale")).message("changepointPriorScale must be above 0").field_path(".changepointPriorScale"))]
#[x_kube(validation = Rule::new(positive("seasonalityPriorScale")).message("seasonalityPriorScale must be above 0").field_path(".seasonalityPriorScale"))]
#[x_kube(validation = Rule::new(positive("holidaysPriorScale")).message("holidaysPriorScale must be above 0").field_path(".holidaysPriorScale"))]
#[x_kube(validation = Rule::new("!has(self.intervalWidth) || self.intervalWidth > 0.0 && self.intervalWidth < 1.0").message("intervalWidth must be above 0 and below 1").field_path(".intervalWidth"))]
#[x_kube(validation = Rule::new("!has(self.timeZoneSeasonalities) || has(self.timeZoneAware) && self.timeZoneAware").message("timeZoneSeasonalities needs timeZoneAware").field_path(".timeZoneSeasonalities"))]
#[x_kube(validation = Rule::new("!has(self.timeZoneUseCyclicalEncoding) || !self.timeZoneUseCyclicalEncoding || has(self.timeZoneSeasonalities)").message("timeZoneUseCyclicalEncoding needs timeZoneSeasonalities").field_path(".timeZoneUseCyclicalEncoding"))]
#[x_kube(validation = Rule::new("!has(self.seasonalities) || self.seasonalities.map(season, season.fourierOrder).sum() <= 2000").message("the fourierOrder of all seasonalities must be at most 2000 together").field_path(".seasonalities"))]
#[x_kube(validation = Rule::new("!has(self.seasonalities) || !has(self.timeZoneSeasonalities) || !self.seasonalities.exists(season, self.timeZoneSeasonalities.exists(local, local.name == season.name))").message("a season must not have the name of one of timeZoneSeasonalities").field_path(".seasonalities"))]
#[x_kube(validation = Rule::new("!has(self.holidays) || !self.holidays.exists(holiday, has(self.seasonalities) && self.seasonalities.exists(season, season.name == holiday.name) || has(self.timeZoneSeasonalities) && self.timeZoneSeasonalities.exists(local, local.name == holiday.name))").message("a holiday must not have the name of a season").field_path(".holidays"))]
#[x_kube(validation = Rule::new("!has(self.holidays) || self.holidays.map(holiday, 1 + (has(holiday.upperWindow) ? holiday.upperWindow : 0) - (has(holiday.lowerWindow) ? holiday.lowerWindow : 0)).sum() <= 2000").message("the holidays must have at most 2000 effects, one for each name and day of its window").field_path(".holidays"))]
#[x_kube(validation = Rule::new("!has(self.forecastAt) || self.forecastAt.all(horizon, horizon.matches('[1-9]'))").message("forecastAt must be longer than 0").field_path(".forecastAt"))]
pub struct Prophet {
    /// The trend: a line that bends, a level, or a curve that saturates at `cap` and `floor`. Absent: `linear`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub growth: Option<Growth>,
    /// Where a logistic trend saturates above, in units of the series; above `floor`. Absent: there is no logistic trend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap: Option<f64>,
    /// Where a logistic trend saturates below, in units of the series. Absent: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<f64>,
    /// Times at which the trend may bend, as in `2024-05-01T00:00:00Z`. Those outside the window do not matter. Absent: at
    /// `nChangepoints` points of the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1_000), extend("items" = { "type": "string", "format": "date-time" }, "x-kubernetes-list-type" = "set"))]
    pub changepoints: Option<Vec<String>>,
    /// Points of the window at which the trend may bend, from 0 to 2000. Absent: 25.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_000))]
    pub n_changepoints: Option<i32>,
    /// Share of the window, from its start on, in which they are; from 0 to 1. Absent: 0.8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub changepoint_range: Option<f64>,
    /// How far the trend may bend, above 0. Absent: 0.05.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000.0))]
    pub changepoint_prior_scale: Option<f64>,
    /// Number of sines of a season of a year, from 0 to 1000; 0: no such season. Absent: 10 where the window has two years, else
    /// none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000))]
    pub yearly_seasonality: Option<i32>,
    /// Number of sines of a season of a week, from 0 to 1000; 0: no such season. Absent: 3 where the window has two weeks from the
    /// first to the last sample, else none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000))]
    pub weekly_seasonality: Option<i32>,
    /// Number of sines of a season of a day, from 0 to 1000; 0: no such season. Absent: 4 where the window has two days, else none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000))]
    pub daily_seasonality: Option<i32>,
    /// Further seasons. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub seasonalities: Option<Vec<ProphetSeasonality>>,
    /// Whether seasons are added to the trend, or fractions of it. Absent: `additive`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seasonality_mode: Option<Mode>,
    /// How large the effects of seasons may be, above 0. Absent: 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000.0))]
    pub seasonality_prior_scale: Option<f64>,
    /// Whether days, seasons and holidays follow the clock of the query's `timeZone` instead of UTC. Absent: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone_aware: Option<bool>,
    /// Seasons of the local clock; they need `timeZoneAware`. With `hod`, set `dailySeasonality: 0`: it is the same season.
    /// Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub time_zone_seasonalities: Option<Vec<LocalSeasonality>>,
    /// Whether `timeZoneSeasonalities` are one sine and one cosine each. Absent: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone_use_cyclical_encoding: Option<bool>,
    /// Days that have effects of their own. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub holidays: Option<Vec<ProphetHoliday>>,
    /// Country whose public holidays have effects of their own, by its ISO 3166 code. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<Country>,
    /// Whether holidays are added to the trend, or fractions of it. Absent: as `seasonalityMode`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holidays_mode: Option<Mode>,
    /// How large the effects of holidays may be, above 0. Absent: 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000.0))]
    pub holidays_prior_scale: Option<f64>,
    /// Share of the values that the band is to hold, above 0 and below 1. Absent: 0.8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_width: Option<f64>,
    /// Whether values are divided by the greatest absolute value before a fit, or scaled from the least to the greatest. Absent:
    /// `absmax`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
    /// A fit to fewer points than there are. Absent: to all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// Also writes what is expected so long after each sample, as in `1h`. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100), extend("x-kubernetes-list-type" = "set"))]
    pub forecast_at: Option<Vec<Duration>>,
}

/// A season of any length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(free_season_name()).message("name is that of another part of the model").field_path(".name"))]
#[x_kube(validation = Rule::new(at_least("period", 1)).message("period must be longer than 0").field_path(".period"))]
#[x_kube(validation = Rule::new(positive("priorScale")).message("priorScale must be above 0").field_path(".priorScale"))]
pub struct ProphetSeasonality {
    /// Its name, and that of its output series. `yearly`, `weekly` and `daily` replace the model's own.
    #[schemars(length(min = 1, max = 63), regex(pattern = NAME))]
    pub name: String,
    /// Its length, as in `12h`.
    pub period: Duration,
    /// Number of sines, from 1 to 1000: more follow quicker changes.
    #[schemars(range(min = 1, max = 1_000))]
    pub fourier_order: i32,
    /// How large its effects may be, above 0. Absent: `seasonalityPriorScale`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000.0))]
    pub prior_scale: Option<f64>,
    /// Whether it is added to the trend, or a fraction of it. Absent: `seasonalityMode`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// A season of the local clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(positive("priorScale")).message("priorScale must be above 0").field_path(".priorScale"))]
pub struct LocalSeasonality {
    /// Its cycle, and the name of its output series: minute of the hour, hour of the day, day of the week, month of the year.
    pub name: Cycle,
    /// Number of sines, from 1 to 1000. Absent: 4 for `minute` and `hod`, 3 for `dow`, 10 for `month`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000))]
    pub fourier_order: Option<i32>,
    /// How large its effects may be, above 0. Absent: `seasonalityPriorScale`, with a cyclical encoding `holidaysPriorScale`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000.0))]
    pub prior_scale: Option<f64>,
    /// Whether it is added to the trend, or a fraction of it. Absent: `seasonalityMode`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// Days that have effects of their own, all of them the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(FREE_NAME).message("name is that of another part of the model").field_path(".name"))]
#[x_kube(validation = Rule::new("self.dates.all(date, !date.endsWith('-02-29') || int(date.find('^[0-9]+')) % 4 == 0 && (int(date.find('^[0-9]+')) % 100 != 0 || int(date.find('^[0-9]+')) % 400 == 0))").message("February has 29 days in leap years only").field_path(".dates"))]
#[x_kube(validation = Rule::new(positive("priorScale")).message("priorScale must be above 0").field_path(".priorScale"))]
pub struct ProphetHoliday {
    /// Their name, and that of their output series.
    #[schemars(length(min = 1, max = 63), regex(pattern = NAME))]
    pub name: String,
    /// The days, as in `2024-12-24`; in UTC, with `timeZoneAware` in the query's `timeZone`.
    #[schemars(length(min = 1, max = 100), inner(length(min = 10, max = 10), regex(pattern = DATE)), extend("x-kubernetes-list-type" = "set"))]
    pub dates: Vec<String>,
    /// Days before each of them that have effects too, each one its own; from -366 to 0: -1 for the day before. Absent: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -366, max = 0))]
    pub lower_window: Option<i32>,
    /// Days after each of them that have effects too, each one its own; from 0 to 366. Absent: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 366))]
    pub upper_window: Option<i32>,
    /// How large their effects may be, above 0. Absent: `holidaysPriorScale`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000.0))]
    pub prior_scale: Option<f64>,
}

/// The samples of a stretch of time become one before a fit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(at_least("window", 1)).message("window must be longer than 0").field_path(".window"))]
pub struct Compression {
    /// Length of the stretches, as in `5m`.
    pub window: Duration,
    /// What their samples become. Absent: `mean`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agg_method: Option<Aggregation>,
    /// Whether the band is widened by what was lost. Absent: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adjust_boundaries: Option<bool>,
}

/// A trend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Growth {
    #[allow(missing_docs)]
    Linear,
    #[allow(missing_docs)]
    Flat,
    #[allow(missing_docs)]
    Logistic,
}

/// What a season or a holiday is to the trend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    #[allow(missing_docs)]
    Additive,
    #[allow(missing_docs)]
    Multiplicative,
}

/// A cycle of the local clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Cycle {
    #[allow(missing_docs)]
    Minute,
    #[allow(missing_docs)]
    Hod,
    #[allow(missing_docs)]
    Dow,
    #[allow(missing_docs)]
    Month,
}

/// What values are divided by before a fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Scaling {
    #[allow(missing_docs)]
    Absmax,
    #[allow(missing_docs)]
    Minmax,
}

/// How samples become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Aggregation {
    #[allow(missing_docs)]
    Mean,
    #[allow(missing_docs)]
    Median,
}
