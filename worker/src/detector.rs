//! The detector of a configured model: from the configuration's words to the model library's.

use config::worker::{
    Amount, DetectionDirection, Envelope, ExponentialSmoothing, Model, ModelClass, Policies, Query, Trees,
};
use detect::{
    calendar::{DAY_MS, WallClock, Zone},
    decomposition::StdArgs,
    holt_winters::{Bounds, Composition, HoltWintersArgs, Initialization, States},
    isolation_forest::{Contamination, GrowthArgs, IsolationForestArgs, MaxFeatures, MaxSamples, SeasonalFeature},
    mad::MadOnlineArgs,
    prophet::{
        Aggregation, BuiltIn, Compression, Cycle, Growth, Mode, ProphetArgs, Scaling, Seasonality, TzSeasonality,
    },
    quantile_online::QuantileOnlineArgs,
    rolling_quantile::RollingQuantileArgs,
    score::{Direction, ScorePolicy, Sides},
    spec::ModelSpec,
    temporal_envelope::{Holiday, TemporalEnvelopeArgs},
    zscore::ZscoreOnlineArgs,
};

use crate::output::FurtherOutputs;

/// The detector of a model on a query.
#[must_use]
pub fn spec(query: &Query, model: &Model) -> ModelSpec {
    let Model { decay, history_strength, .. } = *model;
    // The configuration refuses zones that do not exist.
    let zone = || Zone::named(&query.tz).unwrap_or_default();
    match model.class {
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
                season_starts_from: WallClock::new(season_starts_from.saturating_mul(DAY_MS)).date(),
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
            let args = IsolationForestArgs {
                contamination: contamination.map_or(Contamination::Auto, Contamination::Share),
                seasonal_features: seasonal_features.iter().copied().map(seasonal_feature).collect(),
                growth: growth(trees),
            };
            ModelSpec::IsolationForest(args, zone())
        }
    }
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
        n_changepoints: prophet.n_changepoints as usize,
        changepoint_range: prophet.changepoint_range,
        changepoint_prior_scale: prophet.changepoint_prior_scale,
        yearly_seasonality: built_in(prophet.yearly),
        weekly_seasonality: built_in(prophet.weekly),
        daily_seasonality: built_in(prophet.daily),
        seasonality_mode: mode(prophet.seasonality_mode),
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
        bounds: Bounds::default(),
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
