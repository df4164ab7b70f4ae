//! The worker's arguments of `prophet`.

use crds::duration::Duration;
use crds::model::Prophet;
use serde_json::{Value, json};

use super::config::Section;

const DAY_MS: f64 = 86_400_000.0;

/// `common` with the class and its arguments.
pub(super) fn prophet(common: Section, own: &Prophet) -> Section {
    let seasonalities = own.seasonalities.as_ref().map(|seasons| {
        let seasons = seasons.iter().map(|season| {
            Section::default()
                .set("name", &season.name)
                .set("period", days(&season.period))
                .set("fourier_order", season.fourier_order)
                .set("prior_scale", season.prior_scale)
                .set("mode", season.mode.map(|mode| json!(mode)))
                .value()
        });
        seasons.collect::<Vec<Value>>()
    });
    let local = own.time_zone_seasonalities.as_ref().map(|seasons| {
        let seasons = seasons.iter().map(|season| {
            Section::default()
                .set("name", json!(season.name))
                .set("fourier_order", season.fourier_order)
                .set("prior_scale", season.prior_scale)
                .set("mode", season.mode.map(|mode| json!(mode)))
                .value()
        });
        seasons.collect::<Vec<Value>>()
    });
    let compression = own.compression.as_ref().map(|compression| {
        Section::default()
            .set("window", &compression.window)
            .set("agg_method", compression.agg_method.map(|method| json!(method)))
            .set("adjust_boundaries", compression.adjust_boundaries)
            .value()
    });
    common
        .set("class", "prophet")
        .set("seasonalities", seasonalities)
        .set("tz_aware", own.time_zone_aware)
        .set("tz_seasonalities", local)
        .set("tz_use_cyclical_encoding", own.time_zone_use_cyclical_encoding)
        .set("forecast_at", own.forecast_at.as_ref().map(|horizons| json!(horizons)))
        .set("compression", compression)
        .set("args", args(own))
}

fn args(own: &Prophet) -> Value {
    let holidays = own.holidays.as_ref().map(|holidays| {
        let holidays = holidays.iter().map(|holiday| {
            Section::default()
                .set("holiday", &holiday.name)
                .set("ds", &holiday.dates)
                .set("lower_window", holiday.lower_window)
                .set("upper_window", holiday.upper_window)
                .set("prior_scale", holiday.prior_scale)
                .value()
        });
        holidays.collect::<Vec<Value>>()
    });
    Section::default()
        .set("growth", own.growth.map(|growth| json!(growth)))
        .set("cap", own.cap)
        .set("floor", own.floor)
        .set("changepoints", &own.changepoints)
        .set("n_changepoints", own.n_changepoints)
        .set("changepoint_range", own.changepoint_range)
        .set("changepoint_prior_scale", own.changepoint_prior_scale)
        .set("yearly_seasonality", own.yearly_seasonality)
        .set("weekly_seasonality", own.weekly_seasonality)
        .set("daily_seasonality", own.daily_seasonality)
        .set("seasonality_mode", own.seasonality_mode.map(|mode| json!(mode)))
        .set("seasonality_prior_scale", own.seasonality_prior_scale)
        .set("holidays", holidays)
        .set("country_holidays", &own.country)
        .set("holidays_mode", own.holidays_mode.map(|mode| json!(mode)))
        .set("holidays_prior_scale", own.holidays_prior_scale)
        .set("interval_width", own.interval_width)
        .set("scaling", own.scaling.map(|scaling| json!(scaling)))
        .value()
}

/// The API server has checked that it is a duration.
fn days(period: &Duration) -> Option<f64> {
    config::duration::parse(&period.0).ok().map(|ms| ms as f64 / DAY_MS)
}
