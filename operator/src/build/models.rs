//! The part of `config.yaml` that is a model.

use config::load::DEFAULT_MODEL;
use crds::model::{AnomalyModelSpec, BoxCox, HolidayCalendar, Seasonal, SmoothingBounds, SmoothingRange};
use serde_json::{Map, Value, json};

use super::config::Section;
use super::multivariate::multivariate;
use super::{prophet, tuning};
use crate::selection::SelectedModel;

/// A model as the worker's configuration has it.
pub(super) fn model(model: &SelectedModel) -> Value {
    let spec = &model.object.spec;
    let common = Section::default()
        .set("queries", &model.queries)
        .set("schedulers", &model.schedulers)
        .set("provide_series", &spec.provide_series)
        .set("scale", spec.scale.map(|scale| json!([scale.below.unwrap_or(1.0), scale.above.unwrap_or(1.0)])))
        .set("clip_predictions", spec.clip_predictions)
        .set("band_floor", spec.band_floor)
        .set("influence_limit", spec.influence_limit)
        .set("exclude_incidents", spec.exclude_incidents)
        .set("anomaly_score_outside_data_range", spec.anomaly_score_outside_data_range);
    match &spec.auto {
        Some(own) => tuning::auto(common, own).value(),
        None => multivariate(offline(online(common, spec), spec), spec).value(),
    }
}

/// The model of queries that no model asks for.
pub(super) fn default_model(queries: &[String]) -> Value {
    Section::default().set("class", DEFAULT_MODEL).set("queries", queries).set("schedulers", "all").value()
}

/// The holidays of an envelope.
pub(super) fn holidays(calendar: &HolidayCalendar) -> Value {
    Section::default()
        .set("special_events", &calendar.special_events)
        .set("countries", &calendar.countries)
        .set("group", calendar.group)
        .value()
}

/// The class of a model that learns every sample, and what only that takes.
pub(super) fn online(common: Section, spec: &AnomalyModelSpec) -> Section {
    if let Some(own) = &spec.calibrated {
        common
            .set("class", "calibrated")
            .set("false_alarms_per_day", own.false_alarms_per_day)
            .set("once_per_incident", own.once_per_incident)
            .set("min_n_samples_seen", own.min_n_samples_seen)
    } else if let Some(own) = &spec.zscore_online {
        common
            .set("class", "zscore_online")
            .set("z_threshold", own.z_threshold)
            .set("decay", own.decay)
            .set("min_n_samples_seen", own.min_n_samples_seen)
            .set("history_strength", own.history_strength)
    } else if let Some(own) = &spec.mad_online {
        common
            .set("class", "mad_online")
            .set("threshold", own.threshold)
            .set("compression", own.compression)
            .set("decay", own.decay)
            .set("min_n_samples_seen", own.min_n_samples_seen)
            .set("history_strength", own.history_strength)
    } else if let Some(own) = &spec.quantile_online {
        common
            .set("class", "quantile_online")
            .set("quantiles", own.quantiles.as_ref().map(|quantiles| json!(quantiles)))
            .set("iqr_threshold", own.iqr_threshold)
            .set("seasonal_interval", &own.seasonal_interval)
            .set("min_subseason", &own.min_subseason)
            .set("season_starts_from", &own.season_starts_from)
            .set("use_transform", own.use_transform)
            .set("global_smoothing", own.global_smoothing)
            .set("compression", own.compression)
            .set("decay", own.decay)
            .set("min_n_samples_seen", own.min_n_samples_seen)
            .set("history_strength", own.history_strength)
    } else if let Some(own) = &spec.rolling_quantile {
        common
            .set("class", "rolling_quantile")
            .set("quantile", own.quantile)
            .set("window_steps", own.window_steps)
            .set("iqr_threshold", own.iqr_threshold)
            .set("min_n_samples_seen", own.min_n_samples_seen)
    } else if let Some(own) = &spec.std {
        common
            .set("class", "std")
            .set("period", own.period)
            .set("z_threshold", own.z_threshold)
            .set("min_n_samples_seen", own.min_n_samples_seen)
    } else if let Some(own) = &spec.temporal_envelope {
        common
            .set("class", "temporal_envelope")
            .set("quantiles", own.quantiles.as_ref().map(|quantiles| json!(quantiles)))
            .set("iqr_threshold", own.iqr_threshold)
            .set("alpha", own.alpha)
            .set("loss_reactivity", own.loss_reactivity)
            .set("changepoint_window", own.changepoint_window)
            .set("seasonalities", own.seasonalities.as_ref().map(|profiles| json!(profiles)))
            .set("holidays", own.holidays.as_ref().map(holidays))
            .set("forecast_at", own.forecast_at.as_ref().map(|horizons| json!(horizons)))
            .set("min_n_samples_seen", own.min_n_samples_seen)
    } else {
        common
    }
}

/// The class of a model that is fitted to a window, and what only that takes.
pub(super) fn offline(common: Section, spec: &AnomalyModelSpec) -> Section {
    if let Some(own) = &spec.prophet {
        prophet::prophet(common, own)
    } else if let Some(own) = &spec.holtwinters {
        let seasonal = match own.seasonal {
            // A null says that there is none; an absent key, that there is one.
            Some(Seasonal::None) => Section(Map::from_iter([("seasonal".to_owned(), Value::Null)])),
            seasonal => Section::default().set("seasonal", seasonal.map(|seasonal| json!(seasonal))),
        };
        let box_cox = own.box_cox.map(|box_cox| match box_cox {
            BoxCox::None => json!(false),
            BoxCox::Log => json!("log"),
            BoxCox::Estimated => json!(true),
        });
        let args = seasonal
            .set("use_boxcox", box_cox.or(own.box_cox_lambda.map(|lambda| json!(lambda))))
            .set("seasonal_periods", own.seasonal_periods)
            .set("trend", own.trend.map(|trend| json!(trend)))
            .set("damped_trend", own.damped_trend)
            .set("initialization_method", own.initialization_method.map(|method| json!(method)))
            .set("initial_level", own.initial_level)
            .set("initial_trend", own.initial_trend)
            .set("initial_seasonal", &own.initial_seasonal)
            .set("smoothing_level", own.smoothing_level)
            .set("smoothing_trend", own.smoothing_trend)
            .set("smoothing_seasonal", own.smoothing_seasonal)
            .set("damping_trend", own.damping_trend)
            .set("bounds", own.bounds.as_ref().map(smoothing_bounds));
        common
            .set("class", "holtwinters")
            .set("seasonality", &own.seasonality)
            .set("frequency", &own.frequency)
            .set("z_threshold", own.z_threshold)
            .set("args", args.value())
    } else if let Some(own) = &spec.isolation_forest {
        // A share of 1 is told from one sample or feature by its decimal point.
        let share = |share: f64| json!(share);
        let max_samples = own.max_samples.map(|number| json!(number));
        let max_features = own.max_features.map(|number| json!(number));
        let args = Section::default()
            .set("n_estimators", own.n_estimators)
            .set("max_samples", max_samples.or(own.max_samples_share.map(share)))
            .set("max_features", max_features.or(own.max_features_share.map(share)))
            .set("bootstrap", own.bootstrap)
            .set("random_state", own.random_state);
        common
            .set("class", "isolation_forest")
            .set("contamination", own.contamination)
            .set("seasonal_features", own.seasonal_features.as_ref().map(|features| json!(features)))
            .set("args", args.value())
    } else {
        common
    }
}

/// What a range lacks is the default's.
fn smoothing_bounds(bounds: &SmoothingBounds) -> Value {
    let pair = |range: Option<SmoothingRange>, [low, high]: [f64; 2]| {
        range.map(|range| json!([range.min.unwrap_or(low), range.max.unwrap_or(high)]))
    };
    Section::default()
        .set("smoothing_level", pair(bounds.smoothing_level, [0.0, 1.0]))
        .set("smoothing_trend", pair(bounds.smoothing_trend, [0.0, 1.0]))
        .set("smoothing_seasonal", pair(bounds.smoothing_seasonal, [0.0, 1.0]))
        .set("damping_trend", pair(bounds.damping_trend, [0.8, 0.995]))
        .value()
}
