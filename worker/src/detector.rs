//! The detector of a configured model: from the configuration's words to the model library's.

use std::time::Duration;

use config::worker::{
    Amount, Auto, DetectionDirection, Envelope, ExponentialSmoothing, JointCalibrated, Model, ModelClass, Policies,
    Query, Trees, Validation,
};
use detect::{
    auto::{AutoArgs, TuningArgs, ValidationScheme, joint::JointAutoArgs},
    calendar::{DAY_MS, Date, WallClock, Zone},
    calibrated::{CalibratedArgs, multivariate::CalibratedMultivariateArgs},
    decomposition::StdArgs,
    holt_winters::{Bounds, BoxCox, Composition, HoltWintersArgs, Initialization, States},
    isolation_forest::{Contamination, GrowthArgs, IsolationForestArgs, MaxFeatures, MaxSamples, SeasonalFeature},
    mad::MadOnlineArgs,
    multivariate::MultivariateSpec,
    prophet::{
        Aggregation, BuiltIn, Compression, Cycle, Growth, Mode, ProphetArgs, Scaling, Seasonality, TzSeasonality,
    },
    quantile_online::QuantileOnlineArgs,
    rolling_quantile::RollingQuantileArgs,
    safeguards::Safeguards,
    score::{Direction, ScorePolicy, Sides},
    spec::ModelSpec,
    temporal_envelope::{
        Holiday, TemporalEnvelopeArgs,
        multivariate::{self, TemporalEnvelopeMultivariateArgs},
    },
    zscore::ZscoreOnlineArgs,
};

use crate::output::FurtherOutputs;

/// The clocks of a query.
#[must_use]
pub fn zone(query: &Query) -> Zone {
    // The configuration refuses zones that do not exist.
    Zone::named(&query.tz).unwrap_or_default()
}

/// The detector of a model on a query; `None` of a model that sees series together.
#[must_use]
pub fn spec(query: &Query, model: &Model) -> Option<ModelSpec> {
    let Model { decay, history_strength, .. } = *model;
    let zone = || zone(query);
    let spec = match model.class {
        ModelClass::Calibrated { false_alarms_per_day, once_per_incident } => {
            let args = CalibratedArgs::new(query.step).with_false_alarms(false_alarms_per_day);
            let args = if once_per_incident { args } else { args.with_lasting_alarms() };
            ModelSpec::Calibrated(args, zone())
        }
        ModelClass::ZscoreOnline { z_threshold } => {
            ModelSpec::ZscoreOnline(ZscoreOnlineArgs { z_threshold, decay, history_strength })
        }
        ModelClass::MadOnline { threshold, compression } => {
            ModelSpec::MadOnline(MadOnlineArgs { threshold, compression, decay, history_strength })
        }
        ModelClass::QuantileOnline {
            quantiles,
            iqr_threshold,
            seasonal_interval,
            min_subseason,
            season_starts_from,
            use_transform,
            global_smoothing,
            compression,
        } => ModelSpec::QuantileOnline(
            QuantileOnlineArgs {
                quantiles,
                iqr_threshold,
                seasonal_interval,
                min_subseason,
                season_starts_from: date(season_starts_from),
                use_transform,
                global_smoothing,
                compression,
                decay,
                history_strength,
            },
            zone(),
        ),
        ModelClass::RollingQuantile { quantile, window_steps, iqr_threshold } => {
            ModelSpec::RollingQuantile(RollingQuantileArgs { quantile, window_steps, iqr_threshold })
        }
        ModelClass::Std { period, z_threshold } => ModelSpec::Std(StdArgs { period, z_threshold }),
        ModelClass::TemporalEnvelope(ref envelope) => ModelSpec::TemporalEnvelope(temporal_envelope(envelope), zone()),
        ModelClass::Prophet(ref prophet) => ModelSpec::Prophet(Box::new(prophet_args(prophet, zone()))),
        ModelClass::HoltWinters { frequency, seasonality, z_threshold, ref smoothing } => {
            ModelSpec::HoltWinters(holt_winters(frequency, seasonality, z_threshold, smoothing))
        }
        ModelClass::IsolationForest { contamination, ref seasonal_features, ref trees } => {
            ModelSpec::IsolationForest(isolation_forest(contamination, seasonal_features, trees), zone())
        }
        ModelClass::Auto(ref auto) => ModelSpec::Auto(Box::new(auto_args(query, model, auto)?)),
        ModelClass::IsolationForestMultivariate(_)
        | ModelClass::TemporalEnvelopeMultivariate(_)
        | ModelClass::CalibratedMultivariate(_) => return None,
    };
    Some(spec)
}

/// The detector of a model that sees series together, on queries whose calendar is that of `query`; `None` of another.
#[must_use]
pub fn multivariate_spec(query: &Query, model: &Model) -> Option<MultivariateSpec> {
    let zone = zone(query);
    match &model.class {
        ModelClass::IsolationForestMultivariate(forest) => {
            let args = isolation_forest(forest.contamination, &forest.seasonal_features, &forest.trees);
            Some(MultivariateSpec::IsolationForest(args, zone))
        }
        ModelClass::CalibratedMultivariate(JointCalibrated { max_channels, recommended_max_channels, .. }) => {
            let (max_channels, recommended_max_channels) = (*max_channels, *recommended_max_channels);
            let args = CalibratedMultivariateArgs::new(query.step);
            let args = CalibratedMultivariateArgs { max_channels, recommended_max_channels, ..args };
            Some(MultivariateSpec::Calibrated(args, zone))
        }
        ModelClass::TemporalEnvelopeMultivariate(joint) => {
            let writes_forecasts = model.provide_series.iter().any(|name| name.starts_with("yhat"));
            let mut envelope = temporal_envelope(&joint.envelope);
            envelope.forecast_at.retain(|_| writes_forecasts);
            let args = TemporalEnvelopeMultivariateArgs {
                envelope,
                dependency_rank: joint.dependency_rank,
                score_aggregation: match joint.score_aggregation {
                    config::worker::Aggregation::Max => multivariate::Aggregation::Max,
                    config::worker::Aggregation::Mean => multivariate::Aggregation::Mean,
                    config::worker::Aggregation::L2 => multivariate::Aggregation::L2,
                },
                max_channels: joint.max_channels,
                recommended_max_channels: joint.recommended_max_channels,
                random_state: u64::from(joint.random_state),
                safeguards: Safeguards { band_floor: model.band_floor, influence_limit: model.influence_limit },
            };
            Some(MultivariateSpec::TemporalEnvelope(args, zone))
        }
        ModelClass::Auto(auto) => {
            let start = multivariate_spec(query, &Model { class: auto.start.clone(), ..model.clone() })?;
            Some(MultivariateSpec::Auto(Box::new(JointAutoArgs {
                start,
                frozen: auto.frozen.clone(),
                tuning: tuning(auto),
                timeout: timeout(auto),
                exclude_incidents: model.exclude_incidents,
            })))
        }
        _ => None,
    }
}

/// Searches start from the tuned class as if it were the model's own, and score as it does. A Prophet that is not told otherwise
/// follows the query's zone.
fn auto_args(query: &Query, model: &Model, auto: &Auto) -> Option<AutoArgs> {
    let mut class = auto.start.clone();
    if let ModelClass::Prophet(prophet) = &mut class {
        prophet.tz_aware |= query.tz != "UTC" && !auto.frozen.iter().any(|name| name == "tz_aware");
    }
    let start = spec(query, &Model { class, ..model.clone() })?;
    Some(AutoArgs {
        safeguards: safeguards_of_class(&start, model),
        start,
        frozen: auto.frozen.clone(),
        tuning: tuning(auto),
        timeout: timeout(auto),
        policy: score_policy(query, model),
        exclude_incidents: model.exclude_incidents,
    })
}

fn tuning(auto: &Auto) -> TuningArgs {
    TuningArgs {
        anomaly_percentage: auto.anomaly_percentage,
        n_trials: auto.n_trials,
        n_splits: auto.n_splits,
        validation_scheme: match auto.validation {
            Validation::Regular => ValidationScheme::Regular,
            Validation::Leaky => ValidationScheme::Leaky,
        },
        train_val_ratio: auto.train_val_ratio,
        seed: auto.seed,
        exact: auto.exact,
        optimize_complexity: auto.optimize_complexity,
    }
}

/// Longer than a Duration is no limit, shorter than its unit is the least there is.
fn timeout(auto: &Auto) -> Option<Duration> {
    let timeout = Duration::try_from_secs_f64(auto.timeout?).ok()?;
    Some(timeout.max(Duration::from_nanos(1)))
}

/// Canonical text of exactly what a model's state depends on besides the input.
#[must_use]
pub fn learning_signature(query: &Query, model: &Model) -> String {
    let incidents = if model.exclude_incidents { " without incidents" } else { "" };
    let univariate = spec(query, model).map(|spec| {
        let safeguards = safeguards(&spec, model).learning_signature();
        format!("{}{safeguards}", spec.learning_signature())
    });
    let signature = univariate.or_else(|| Some(multivariate_spec(query, model)?.learning_signature()));
    signature.unwrap_or_default() + incidents
}

fn isolation_forest(
    contamination: Option<f64>,
    features: &[config::worker::SeasonalFeature],
    trees: &Trees,
) -> IsolationForestArgs {
    IsolationForestArgs {
        contamination: contamination.map_or(Contamination::Auto, Contamination::Share),
        seasonal_features: features.iter().copied().map(seasonal_feature).collect(),
        growth: growth(trees),
    }
}

/// The safeguards of a model, as far as its class has a band to keep open and learns between fits.
#[must_use]
pub fn safeguards(spec: &ModelSpec, model: &Model) -> Safeguards {
    let safeguards = safeguards_of_class(spec, model);
    match spec {
        // The mean square of moves is at most four times the variance: the band is wider than the floor by itself, unless the
        // variance is of limited samples.
        ModelSpec::ZscoreOnline(args)
            if args.decay == 1.0 && model.influence_limit == 0.0 && args.z_threshold >= 1.5 * model.band_floor =>
        {
            Safeguards { band_floor: 0.0, ..safeguards }
        }
        _ => safeguards,
    }
}

fn safeguards_of_class(spec: &ModelSpec, model: &Model) -> Safeguards {
    match spec {
        ModelSpec::IsolationForest(..) | ModelSpec::Calibrated(..) => Safeguards::default(),
        ModelSpec::Auto(auto) => auto.safeguards,
        ModelSpec::Prophet(..) | ModelSpec::HoltWinters(..) => {
            Safeguards { band_floor: model.band_floor, influence_limit: 0.0 }
        }
        _ => Safeguards { band_floor: model.band_floor, influence_limit: model.influence_limit },
    }
}

/// So many days after 1970-01-01.
fn date(days: i64) -> Date {
    WallClock::new(days.saturating_mul(DAY_MS)).date()
}

fn temporal_envelope(envelope: &Envelope) -> TemporalEnvelopeArgs {
    // The configuration refuses words and dates that are none.
    let holiday = |text: &String| Some(Holiday { date: text.parse().ok()?, name: text.clone() });
    TemporalEnvelopeArgs {
        quantiles: envelope.quantiles,
        iqr_threshold: envelope.iqr_threshold,
        alpha: envelope.alpha,
        loss_reactivity: envelope.loss_reactivity,
        changepoint_window: envelope.changepoint_window,
        seasonalities: envelope.seasonalities.iter().filter_map(|name| name.parse().ok()).collect(),
        holidays: envelope.special_events.iter().filter_map(holiday).collect(),
        countries: envelope.countries.clone(),
        group_holidays: envelope.group_holidays,
        forecast_at: envelope.forecast_at.iter().map(|horizon| horizon.after).collect(),
    }
}

fn prophet_args(prophet: &config::worker::Prophet, zone: Zone) -> ProphetArgs {
    let mode = |mode| match mode {
        config::worker::Mode::Additive => Mode::Additive,
        config::worker::Mode::Multiplicative => Mode::Multiplicative,
    };
    let built_in = |built_in| match built_in {
        config::worker::BuiltIn::Auto => BuiltIn::Auto,
        config::worker::BuiltIn::On => BuiltIn::On,
        config::worker::BuiltIn::Off => BuiltIn::Off,
        config::worker::BuiltIn::Order(order) => BuiltIn::Order(order),
    };
    let seasonality = |season: &config::worker::Seasonality| Seasonality {
        name: season.name.clone(),
        period: season.period,
        fourier_order: season.fourier_order,
        prior_scale: season.prior_scale,
        mode: season.mode.map(mode),
    };
    // The configuration refuses words that are no cycle's.
    let local = |season: &config::worker::LocalSeasonality| {
        let config::worker::LocalSeasonality { ref cycle, fourier_order, prior_scale, mode: own } = *season;
        Some(TzSeasonality { cycle: Cycle::named(cycle)?, fourier_order, prior_scale, mode: own.map(mode) })
    };
    let holidays = |holiday: &config::worker::Holiday| {
        let config::worker::Holiday { ref name, ref days, lower_window, upper_window, prior_scale } = *holiday;
        let dated = |day: &i64| detect::prophet::Holiday {
            name: name.clone(),
            date: date(*day),
            lower_window,
            upper_window,
            prior_scale,
        };
        days.iter().map(dated).collect::<Vec<_>>()
    };
    ProphetArgs {
        seasonalities: prophet.seasonalities.iter().map(seasonality).collect(),
        tz_aware: prophet.tz_aware,
        zone: if prophet.tz_aware { zone } else { Zone::default() },
        tz_seasonalities: prophet.local_seasonalities.iter().filter_map(local).collect(),
        tz_use_cyclical_encoding: prophet.cyclical_encoding,
        forecast_at: prophet.forecast_at.iter().map(|horizon| horizon.after).collect(),
        compression: prophet.compression.map(|compression| Compression {
            window: compression.window,
            agg_method: if compression.median { Aggregation::Median } else { Aggregation::Mean },
            adjust_boundaries: compression.adjust_boundaries,
        }),
        growth: match prophet.growth {
            config::worker::Growth::Linear => Growth::Linear,
            config::worker::Growth::Flat => Growth::Flat,
            config::worker::Growth::Logistic { cap, floor } => Growth::Logistic { cap, floor },
        },
        changepoints: prophet.changepoints.clone(),
        n_changepoints: prophet.n_changepoints as usize,
        changepoint_range: prophet.changepoint_range,
        changepoint_prior_scale: prophet.changepoint_prior_scale,
        yearly_seasonality: built_in(prophet.yearly),
        weekly_seasonality: built_in(prophet.weekly),
        daily_seasonality: built_in(prophet.daily),
        holidays: prophet.holidays.iter().flat_map(holidays).collect(),
        country_holidays: prophet.country.clone(),
        seasonality_mode: mode(prophet.seasonality_mode),
        holidays_mode: prophet.holidays_mode.map(mode),
        holidays_prior_scale: prophet.holidays_prior_scale,
        seasonality_prior_scale: prophet.seasonality_prior_scale,
        interval_width: prophet.interval_width,
        scaling: if prophet.min_max_scaling { Scaling::MinMax } else { Scaling::AbsMax },
        ..ProphetArgs::default()
    }
}

fn holt_winters(
    frequency: Option<i64>,
    seasonality: Option<i64>,
    z_threshold: f64,
    smoothing: &ExponentialSmoothing,
) -> HoltWintersArgs {
    let composition = |composition| match composition {
        config::worker::Composition::Additive => Composition::Additive,
        config::worker::Composition::Multiplicative => Composition::Multiplicative,
    };
    HoltWintersArgs {
        frequency,
        seasonality,
        z_threshold,
        trend: smoothing.trend.map(composition),
        damped_trend: smoothing.damped_trend,
        seasonal: smoothing.seasonal.map(composition),
        seasonal_periods: smoothing.seasonal_periods,
        initialization: match &smoothing.initialization {
            config::worker::Initialization::Estimated => Initialization::Estimated,
            config::worker::Initialization::Heuristic => Initialization::Heuristic,
            config::worker::Initialization::LegacyHeuristic => Initialization::LegacyHeuristic,
            config::worker::Initialization::Known { level, trend, seasons } => {
                Initialization::Known(States { level: *level, trend: *trend, seasons: seasons.clone() })
            }
        },
        smoothing_level: smoothing.smoothing_level,
        smoothing_trend: smoothing.smoothing_trend,
        smoothing_seasonal: smoothing.smoothing_seasonal,
        damping_trend: smoothing.damping_trend,
        bounds: Bounds {
            smoothing_level: smoothing.bounds.smoothing_level.into(),
            smoothing_trend: smoothing.bounds.smoothing_trend.into(),
            smoothing_seasonal: smoothing.bounds.smoothing_seasonal.into(),
            damping_trend: smoothing.bounds.damping_trend.into(),
        },
        box_cox: smoothing.box_cox.map(|box_cox| match box_cox {
            config::worker::BoxCox::Estimated => BoxCox::Estimated,
            config::worker::BoxCox::Lambda(lambda) => BoxCox::Lambda(lambda),
        }),
    }
}

fn seasonal_feature(feature: config::worker::SeasonalFeature) -> SeasonalFeature {
    match feature {
        config::worker::SeasonalFeature::Minute => SeasonalFeature::Minute,
        config::worker::SeasonalFeature::HourOfDay => SeasonalFeature::HourOfDay,
        config::worker::SeasonalFeature::DayOfWeek => SeasonalFeature::DayOfWeek,
        config::worker::SeasonalFeature::Month => SeasonalFeature::Month,
    }
}

fn growth(trees: &Trees) -> GrowthArgs {
    GrowthArgs {
        n_estimators: trees.n_estimators,
        max_samples: match trees.max_samples {
            Amount::Auto => MaxSamples::Auto,
            Amount::Number(number) => MaxSamples::Number(number),
            Amount::Share(share) => MaxSamples::Share(share),
        },
        max_features: match trees.max_features {
            Amount::Auto => MaxFeatures::Share(1.0),
            Amount::Number(number) => MaxFeatures::Number(number),
            Amount::Share(share) => MaxFeatures::Share(share),
        },
        bootstrap: trees.bootstrap,
        random_state: Some(trees.random_state),
    }
}

/// What a model gives besides the series that every one has.
#[must_use]
pub fn further_outputs(spec: &ModelSpec, model: &Model) -> FurtherOutputs {
    let names = spec.component_names();
    let components = model.provide_series.iter().filter(|name| names.contains(name)).cloned().collect();
    let horizons = model.class.forecast_at().iter().map(|horizon| horizon.name.clone()).collect();
    FurtherOutputs { components, horizons }
}

/// The score policy of a model on a query: the query's own policies win field by field.
#[must_use]
pub fn score_policy(query: &Query, model: &Model) -> ScorePolicy {
    let resolved = Policies::resolve(query, model);
    let sides = |pair: [f64; 2]| Sides { below: pair[0], above: pair[1] };
    ScorePolicy {
        scale: sides(model.scale),
        clip_predictions: model.clip_predictions,
        data_range: (resolved.data_range[0], resolved.data_range[1]),
        score_outside_data_range: model.anomaly_score_outside_data_range,
        direction: match resolved.detection_direction {
            DetectionDirection::Both => Direction::Both,
            DetectionDirection::AboveExpected => Direction::AboveExpected,
            DetectionDirection::BelowExpected => Direction::BelowExpected,
        },
        min_dev_from_expected: sides(resolved.min_dev_from_expected),
        min_rel_dev_from_expected: sides(resolved.min_rel_dev_from_expected),
        min_n_samples_seen: model.min_n_samples_seen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the Prophet that a search starts from follows the query's zone.
    fn follows_zone(tz: &str, frozen: &str) -> bool {
        let text = format!(
            "
schedulers: {{s: {{class: periodic, infer_every: 1m, fit_every: 1d, fit_window: 1d}}}}
models:
  m:
    class: auto
    tuned_class_name: prophet
    optimization_params: {{anomaly_percentage: 0.1, frozen_params: {{{frozen}}}}}
reader: {{datasource_url: 'http://tsdb:8428', sampling_period: 1m, queries: {{q: {{expr: up, tz: {tz}}}}}}}
writer: {{datasource_url: 'http://tsdb:8428'}}
"
        );
        let source = config::load::Source::new("worker.yaml", text);
        let config = config::load::load(&[source], &|_| None, 1).unwrap().config;
        let Some(ModelSpec::Auto(auto)) = spec(&config.reader.queries["q"], &config.models["m"]) else { return false };
        auto.validate().unwrap();
        matches!(auto.start, ModelSpec::Prophet(prophet) if prophet.tz_aware && prophet.zone == Zone::named(tz).unwrap())
    }

    #[test]
    fn a_tuned_prophet_follows_the_zone_of_its_query_unless_it_is_told_otherwise() {
        assert!(follows_zone("Europe/Berlin", ""));
        assert!(!follows_zone("UTC", ""));
        assert!(!follows_zone("Europe/Berlin", "tz_aware: false"));
        assert!(follows_zone("Europe/Berlin", "tz_aware: true"));
    }
}
