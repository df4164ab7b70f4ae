//! What the configuration accepts is what the model library can do.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use config::load::{Source, load};
use config::worker::WorkerConfig;
use detect::calendar::Zone;
use detect::calibrated::{CalibratedArgs, multivariate::CalibratedMultivariateArgs};
use detect::multivariate::MultivariateSpec;
use detect::safeguards::Safeguards;
use detect::spec::ModelSpec;
use worker::detector;

/// This model `m` on a query `q` in a zone.
fn loaded(model: &str) -> Result<WorkerConfig, String> {
    let text = format!(
        "schedulers: {{s: {{fit_window: 14d, fit_every: 1d, infer_every: 1m}}}}\n\
         models: {{m: {{queries: all, schedulers: all, {model}}}}}\n\
         reader: {{datasource_url: 'http://h', sampling_period: 1m, tz: Europe/Berlin, queries: {{q: {{expr: q}}}}}}\n\
         writer: {{datasource_url: 'http://h'}}\n"
    );
    load(&[Source::new("m.yaml", text)], &|_| None, 1).map(|loaded| loaded.config).map_err(|errors| errors.to_string())
}

/// Its specification, of series and of groups.
fn specs(model: &str) -> Result<(Option<ModelSpec>, Option<MultivariateSpec>), String> {
    let config = loaded(model)?;
    let (query, model) = (&config.reader.queries["q"], &config.models["m"]);
    Ok((detector::spec(query, model), detector::multivariate_spec(query, model)))
}

fn spec(model: &str) -> Result<ModelSpec, String> {
    specs(model)?.0.ok_or_else(|| "a model of groups".into())
}

#[test]
fn what_the_configuration_accepts_is_valid_for_the_library() {
    for model in [
        "class: calibrated",
        "class: calibrated, false_alarms_per_day: 0.001",
        "class: calibrated, false_alarms_per_day: 10",
        "class: zscore_online",
        "class: mad_online, compression: 10000",
        "class: quantile_online, seasonal_interval: 1w, min_subseason: 1m, season_starts_from: 1969-12-31",
        "class: rolling_quantile, quantile: 0.5, window_steps: 100000",
        "class: std, period: 2",
        "class: temporal_envelope, seasonalities: [], holidays: {countries: [US, Germany], special_events: [02-29]}",
        "class: prophet",
        "class: prophet, tz_aware: true, tz_use_cyclical_encoding: true, tz_seasonalities: [minute, hod, dow, month], \
         forecast_at: [1h, 100w], compression: {window: 5m}, \
         seasonalities: [{name: daily, period: 1, fourier_order: 1000, prior_scale: 1e-3, mode: multiplicative}], \
         args: {growth: logistic, cap: 10, floor: -10, changepoints: [2024-05-01], yearly_seasonality: 1000, \
         holidays: [{holiday: x, ds: [2024-01-01, 2024-02-29], lower_window: -366, upper_window: 366}], \
         country_holidays: US, holidays_mode: multiplicative, interval_width: 0.99}",
        "class: holtwinters, seasonality: 1d",
        "class: holtwinters, seasonality: 1d, args: {trend: add, damped_trend: true, use_boxcox: -10, \
         bounds: {smoothing_level: [0, 0.1], smoothing_trend: [0.1, 1], damping_trend: [1e-9, 1]}}",
        "class: holtwinters, args: {trend: mul, seasonal: mul, seasonal_periods: 2, use_boxcox: true, \
         initialization_method: known, initial_level: 1, initial_trend: 1e-9, initial_seasonal: [1, 2]}",
        "class: isolation_forest, contamination: '0.5', seasonal_features: [minute], args: {max_samples: 32768}",
    ] {
        assert_eq!(spec(model).unwrap().validate(), Ok(()), "{model}");
    }
}

#[test]
fn the_default_class_takes_its_memories_from_the_step_and_its_days_from_the_zone_of_the_query() {
    let zone = Zone::named("Europe/Berlin").unwrap();
    let args = CalibratedArgs::new(60_000);
    assert_eq!(spec("class: calibrated").unwrap(), ModelSpec::Calibrated(args, zone.clone()));
    let often = spec("class: calibrated, false_alarms_per_day: 2, once_per_incident: false").unwrap();
    assert_eq!(often, ModelSpec::Calibrated(args.with_false_alarms(2.0).with_lasting_alarms(), zone));
}

#[test]
fn a_floor_is_left_out_only_where_the_band_cannot_be_narrower() {
    let safeguards = |model: &str| {
        let config = loaded(model).unwrap();
        let model = &config.models["m"];
        detector::safeguards(&detector::spec(&config.reader.queries["q"], model).unwrap(), model)
    };
    assert_eq!(safeguards("class: zscore_online"), Safeguards::default());
    let floor = |model| safeguards(model).band_floor;
    assert_eq!(floor("class: zscore_online, decay: 0.999"), 1.0);
    assert_eq!(floor("class: zscore_online, z_threshold: 1"), 1.0);
    // Its variance is that of the samples as they are learnt, no more that of the series.
    assert_eq!(floor("class: zscore_online, influence_limit: 4"), 1.0);
}

#[test]
fn a_calibrated_group_has_its_limits_and_the_same_memories() {
    let zone = Zone::named("Europe/Berlin").unwrap();
    let args = CalibratedMultivariateArgs { max_channels: 7, ..CalibratedMultivariateArgs::new(60_000) };
    let args = CalibratedMultivariateArgs { recommended_max_channels: 7, ..args };
    let found = specs("class: calibrated_multivariate, max_channels: 7").unwrap();
    assert_eq!(found, (None, Some(MultivariateSpec::Calibrated(args, zone))));
}

#[test]
fn a_component_can_be_written_if_and_only_if_the_model_gives_it() {
    let model = "class: prophet, tz_aware: true, tz_seasonalities: [hod], \
                 seasonalities: [{name: shift, period: 0.3, fourier_order: 1}], \
                 args: {daily_seasonality: false, country_holidays: DE, holidays: [{holiday: x, ds: 2024-01-01}]}";
    let names = spec(model).unwrap().component_names();
    let interval = ["anomaly_score", "y", "yhat", "yhat_lower", "yhat_upper", "stage"].map(str::to_owned);
    let all: Vec<&String> = names.iter().chain(&interval).collect();
    assert!(spec(&format!("{model}, provide_series: {all:?}")).is_ok());
    let errors = spec(&format!("{model}, provide_series: [daily]")).unwrap_err();
    let produced = errors.split("it produces ").nth(1).unwrap();
    let accepted = produced.split(", ").count();
    assert_eq!(accepted, all.len(), "{errors}");
}

#[test]
fn every_country_of_the_configuration_has_a_calendar() {
    for country in detect::holidays::countries() {
        let model = format!("class: temporal_envelope, holidays: {{countries: [{country}]}}");
        assert_eq!(spec(&model).unwrap().validate(), Ok(()), "{country}");
    }
}

#[test]
fn a_name_that_the_library_keeps_for_itself_is_refused_by_the_configuration() {
    for name in [
        "trend",
        "trend_lower",
        "additive_terms",
        "multiplicative_terms",
        "holidays",
        "zeros",
        "yhat",
        "y",
        "anomaly_score",
        "ds",
        "cap",
        "floor",
        "y_scaled",
        "cap_scaled",
        "extra_regressors_additive",
        "extra_regressors_multiplicative",
        "a_delim_b",
    ] {
        assert!(
            spec(&format!("class: prophet, seasonalities: [{{name: {name}, period: 1, fourier_order: 1}}]")).is_err()
        );
        assert!(spec(&format!("class: prophet, args: {{holidays: [{{holiday: {name}, ds: 2024-01-01}}]}}")).is_err());
    }
}
