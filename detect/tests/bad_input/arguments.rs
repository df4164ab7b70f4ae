//! Arguments of every class: mostly within their ranges, at the edges, sometimes beyond.

use detect::calendar::{Date, Zone};
use detect::calibrated::CalibratedArgs;
use detect::decomposition::{MAX_PERIOD, StdArgs};
use detect::holt_winters::{Bounds, Composition, HoltWintersArgs, Initialization, MAX_PERIODS, States};
use detect::isolation_forest::{
    Contamination, GrowthArgs, IsolationForestArgs, MAX_ESTIMATORS, MAX_SAMPLES, MaxFeatures, MaxSamples,
    SeasonalFeature,
};
use detect::mad::{MAX_COMPRESSION, MadOnlineArgs};
use detect::prophet::{
    self, Aggregation, BuiltIn, Compression, Cycle, Growth, MAX_HORIZON, Mode, ProphetArgs, Scaling,
};
use detect::prophet::{Seasonality, TzSeasonality};
use detect::quantile_online::QuantileOnlineArgs;
use detect::rolling_quantile::{MAX_WINDOW_STEPS, RollingQuantileArgs};
use detect::spec::ModelSpec;
use detect::temporal_envelope::{Holiday, HolidayDate, TemporalEnvelopeArgs};
use detect::zscore::ZscoreOnlineArgs;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::series::{DAY, MINUTE, START, TINY};

/// Mostly one of the first, which the argument may be, at its edges among them; else one of the others, which it may not be.
pub fn edges<T: Clone + std::fmt::Debug + 'static>(allowed: &[T], refused: &[T]) -> BoxedStrategy<T> {
    if refused.is_empty() {
        return select(allowed.to_vec()).boxed();
    }
    prop_oneof![20 => select(allowed.to_vec()), 1 => select(refused.to_vec())].boxed()
}

pub fn positive() -> BoxedStrategy<f64> {
    edges(&[TINY, 1e-9, 0.5, 1.0, 2.5, 1e9, f64::MAX], &[0.0, -1.0, f64::NAN, f64::INFINITY])
}

pub fn not_negative() -> BoxedStrategy<f64> {
    edges(&[0.0, TINY, 0.5, 3.0, f64::MAX], &[-TINY, f64::NAN, f64::INFINITY])
}

pub fn decay() -> BoxedStrategy<f64> {
    edges(&[TINY, 0.5, 0.99, 1.0_f64.next_down(), 1.0], &[0.0, -0.5, 1.0_f64.next_up(), f64::NAN])
}

/// From 0 to 1, ascending, each at most as great as the next.
pub fn probabilities<const N: usize>() -> BoxedStrategy<[f64; N]> {
    let edge = || edges(&[0.0, TINY, 0.25, 0.5, 0.75, 1.0_f64.next_down(), 1.0], &[-TINY, 1.5, f64::NAN]);
    let sorted = prop::array::uniform::<_, N>(edge()).prop_map(|mut probabilities| {
        probabilities.sort_by(f64::total_cmp);
        probabilities
    });
    sorted.boxed()
}

pub fn compression() -> BoxedStrategy<u32> {
    edges(&[1, 2, 20, 100, MAX_COMPRESSION], &[0, MAX_COMPRESSION + 1])
}

pub fn zone() -> BoxedStrategy<Zone> {
    let names = ["UTC", "America/New_York", "Asia/Kathmandu", "Pacific/Apia"];
    select(names.to_vec()).prop_map(|name| Zone::named(name).unwrap_or_default()).boxed()
}

pub fn date() -> BoxedStrategy<Date> {
    let date = |year, month, day| Date { year, month, day };
    let allowed = [Date::EPOCH, date(2024, 2, 29), date(-9999, 1, 1), date(9999, 12, 31), date(2023, 11, 15)];
    edges(&allowed, &[date(2023, 2, 29), date(0, 0, 0), date(i16::MAX, i8::MAX, i8::MIN)])
}

pub fn quantile_online() -> impl Strategy<Value = ModelSpec> {
    let seasons = [
        (None, None),
        (Some(DAY), Some(60 * MINUTE)),
        (Some(1), Some(1)),
        (Some(10_080 * MINUTE), Some(MINUTE)),
        (Some(i64::MAX), Some(i64::MAX)),
    ];
    let refused = [(Some(DAY), None), (None, Some(1)), (Some(0), Some(1)), (Some(DAY), Some(0)), (Some(7), Some(2))];
    let read = (probabilities(), not_negative(), any::<bool>(), edges(&[0.0, 0.5, 1.0], &[-0.1, 1.1, f64::NAN]));
    let learnt = (edges(&seasons, &refused), date(), compression(), decay(), positive());
    (read, learnt, zone()).prop_map(|(read, learnt, zone)| {
        let (quantiles, iqr_threshold, use_transform, global_smoothing) = read;
        let ((seasonal_interval, min_subseason), season_starts_from, compression, decay, history_strength) = learnt;
        let args = QuantileOnlineArgs {
            quantiles,
            iqr_threshold,
            seasonal_interval,
            min_subseason,
            season_starts_from,
            use_transform,
            global_smoothing,
            compression,
            decay,
            history_strength,
        };
        ModelSpec::QuantileOnline(args, zone)
    })
}

pub fn envelope_args() -> impl Strategy<Value = TemporalEnvelopeArgs> {
    use detect::temporal_envelope::Seasonality as Profile;
    let profiles = subsequence(Profile::ALL.to_vec(), 0..=Profile::ALL.len());
    let profiles = prop_oneof![20 => profiles, 1 => Just(vec![Profile::HodSmooth, Profile::HodSmooth])];
    let holidays = |date: Date| {
        let yearly = HolidayDate::Yearly { month: date.month, day: date.day };
        [HolidayDate::Once(date), yearly].map(|date| Holiday { date, name: date.to_string() }).to_vec()
    };
    let holidays = prop_oneof![Just(Vec::new()), date().prop_map(holidays)];
    let band = (probabilities(), not_negative(), decay(), positive());
    let rest = (edges(&[1, 2, 16, 10_000], &[0, 10_001]), profiles, holidays, any::<bool>());
    let forecast_at = vec(edges(&[1, DAY, i64::MAX], &[0, -1, i64::MIN]), 0..3);
    (band, rest, forecast_at).prop_map(|(band, rest, forecast_at)| {
        let (quantiles, iqr_threshold, alpha, loss_reactivity) = band;
        let (changepoint_window, seasonalities, holidays, group_holidays) = rest;
        TemporalEnvelopeArgs {
            quantiles,
            iqr_threshold,
            alpha,
            loss_reactivity,
            changepoint_window,
            seasonalities,
            holidays,
            countries: Vec::new(),
            group_holidays,
            forecast_at,
        }
    })
}

/// Classes that learn with every sample.
pub fn online() -> impl Strategy<Value = ModelSpec> {
    let zscore = (positive(), decay(), positive()).prop_map(|(z_threshold, decay, history_strength)| {
        ModelSpec::ZscoreOnline(ZscoreOnlineArgs { z_threshold, decay, history_strength })
    });
    let mad = (positive(), compression(), decay(), positive()).prop_map(
        |(threshold, compression, decay, history_strength)| {
            ModelSpec::MadOnline(MadOnlineArgs { threshold, compression, decay, history_strength })
        },
    );
    let window = edges(&[1, 2, 3, 96, MAX_WINDOW_STEPS], &[0, MAX_WINDOW_STEPS + 1]);
    let quantile = edges(&[0.5, 0.9, 1.0], &[0.5_f64.next_down(), 1.1, f64::NAN]);
    let rolling = (quantile, window, not_negative()).prop_map(|(quantile, window_steps, iqr_threshold)| {
        ModelSpec::RollingQuantile(RollingQuantileArgs { quantile, window_steps, iqr_threshold })
    });
    let std = (edges(&[2, 3, 4, 7, 24, MAX_PERIOD], &[0, 1, MAX_PERIOD + 1]), positive())
        .prop_map(|(period, z_threshold)| ModelSpec::Std(StdArgs { period, z_threshold }));
    let envelope = (envelope_args(), zone()).prop_map(|(args, zone)| ModelSpec::TemporalEnvelope(args, zone));
    let step = edges(&[1, 1000, MINUTE, 60 * MINUTE, DAY, 30 * DAY, i64::MAX], &[0, -1, i64::MIN]);
    let rate = edges(&[0.001, 0.1, 2.0, 10.0], &[0.0, -1.0, 10.1, f64::NAN]);
    let calibrated = (step, rate, zone())
        .prop_map(|(step, rate, zone)| ModelSpec::Calibrated(CalibratedArgs::new(step).with_false_alarms(rate), zone));
    prop_oneof![zscore, mad, quantile_online(), rolling, std, envelope, calibrated]
}

pub fn growth_args() -> impl Strategy<Value = GrowthArgs> {
    let samples = [
        MaxSamples::Auto,
        MaxSamples::Number(1),
        MaxSamples::Number(2),
        MaxSamples::Number(MAX_SAMPLES),
        MaxSamples::Share(TINY),
        MaxSamples::Share(1.0),
    ];
    let samples = edges(&samples, &[MaxSamples::Number(0), MaxSamples::Share(0.0), MaxSamples::Share(f64::NAN)]);
    let features = [MaxFeatures::Number(1), MaxFeatures::Number(u32::MAX), MaxFeatures::Share(TINY)];
    let features = edges(&features, &[MaxFeatures::Number(0), MaxFeatures::Share(1.1), MaxFeatures::Share(f64::NAN)]);
    let trees = edges(&[1, 2, 10], &[0, MAX_ESTIMATORS + 1]);
    (trees, samples, features, any::<bool>(), any::<Option<u32>>()).prop_map(
        |(n_estimators, max_samples, max_features, bootstrap, random_state)| GrowthArgs {
            n_estimators,
            max_samples,
            max_features,
            bootstrap,
            random_state,
        },
    )
}

pub fn forest_args() -> impl Strategy<Value = IsolationForestArgs> {
    let share = Contamination::Share;
    let lines = [Contamination::Auto, share(TINY), share(0.01), share(0.5)];
    let lines = edges(&lines, &[share(0.0), share(0.5_f64.next_up()), share(f64::NAN)]);
    let seasons = subsequence(SeasonalFeature::ALL.to_vec(), 0..=4);
    let seasons = prop_oneof![20 => seasons, 1 => Just(vec![SeasonalFeature::Month; 2])];
    (lines, seasons, growth_args()).prop_map(|(contamination, seasonal_features, growth)| IsolationForestArgs {
        contamination,
        seasonal_features,
        growth,
    })
}

pub fn holt_winters_args() -> impl Strategy<Value = HoltWintersArgs> {
    let form = || select(vec![None, Some(Composition::Additive), Some(Composition::Multiplicative)]);
    let duration = || edges(&[None, Some(1), Some(MINUTE), Some(i64::MAX)], &[Some(0), Some(i64::MIN)]);
    let periods = edges(&[None, Some(2), Some(3), Some(7), Some(24), Some(MAX_PERIODS)], &[Some(1), Some(u32::MAX)]);
    let parameter = || {
        let fixed = edges(&[0.0, TINY, 0.5, 1.0], &[-TINY, 1.5, f64::NAN]);
        prop_oneof![4 => Just(None), 1 => fixed.prop_map(Some)]
    };
    let state = || select(vec![TINY, 1.0, 1e300]);
    let known = (state(), state(), vec(state(), 7))
        .prop_map(|(level, trend, seasons)| Initialization::Known(States { level, trend, seasons }));
    let start = prop_oneof![
        2 => Just(Initialization::Estimated),
        1 => Just(Initialization::Heuristic),
        1 => Just(Initialization::LegacyHeuristic),
        1 => known,
    ];
    let range = || edges(&[(0.0, 1.0), (0.0, TINY), (1.0_f64.next_down(), 1.0)], &[(0.5, 0.5), (0.0, f64::NAN)]);
    let bounds = (range(), range(), range()).prop_map(|(smoothing_level, smoothing_trend, smoothing_seasonal)| {
        Bounds { smoothing_level, smoothing_trend, smoothing_seasonal, ..Bounds::default() }
    });
    let bounds = prop_oneof![3 => Just(Bounds::default()), 1 => bounds];
    let shape = (duration(), duration(), form(), any::<bool>(), form(), periods);
    let smoothing = (positive(), [parameter(), parameter(), parameter(), parameter()], start, bounds);
    (shape, smoothing).prop_map(|(shape, smoothing)| {
        let (frequency, seasonality, trend, damped, seasonal, seasonal_periods) = shape;
        let (z_threshold, [level, of_trend, season, damping], initialization, bounds) = smoothing;
        let damped_trend = damped && trend.is_some();
        HoltWintersArgs {
            frequency,
            seasonality: seasonality.or(seasonal_periods.is_none().then_some(DAY)),
            z_threshold,
            trend,
            damped_trend,
            seasonal,
            seasonal_periods,
            initialization,
            smoothing_level: level,
            smoothing_trend: of_trend.filter(|_| trend.is_some()),
            smoothing_seasonal: season.filter(|_| seasonal.is_some()),
            damping_trend: damping.filter(|_| damped_trend),
            bounds,
            box_cox: None,
        }
    })
}

pub fn prophet_args() -> impl Strategy<Value = ProphetArgs> {
    let logistic = |cap, floor| Growth::Logistic { cap, floor };
    let growths = [Growth::Linear, Growth::Flat, logistic(10.0, 0.0), logistic(1e300, -1e300), logistic(TINY, 0.0)];
    let growths = edges(&growths, &[logistic(0.0, 0.0), logistic(f64::MAX, -f64::MAX), logistic(f64::NAN, 0.0)]);
    let mode = || select(vec![Mode::Additive, Mode::Multiplicative]);
    let built_in = || edges(&[BuiltIn::Auto, BuiltIn::On, BuiltIn::Off, BuiltIn::Order(2)], &[BuiltIn::Order(1001)]);
    let changepoints = prop_oneof![
        2 => Just(None),
        1 => vec(edges(&[i64::MIN, -1, START + DAY, i64::MAX], &[]), 0..4).prop_map(Some),
    ];
    let trend = (growths, changepoints, edges(&[0, 1, 25, 2000], &[2001]), edges(&[0.0, 0.8, 1.0], &[-0.1, 1.1]));
    let season = (positive(), edges(&[1, 3], &[0, 1001])).prop_map(|(period, fourier_order)| Seasonality {
        name: "own".into(),
        period,
        fourier_order,
        prior_scale: None,
        mode: None,
    });
    let local = select(Cycle::ALL.to_vec()).prop_map(|cycle| TzSeasonality {
        cycle,
        fourier_order: None,
        prior_scale: None,
        mode: None,
    });
    let holiday = (date(), edges(&[0, -1], &[1, -367]), edges(&[0, 2], &[-1, 367])).prop_map(
        |(date, lower_window, upper_window)| prophet::Holiday {
            name: "day".into(),
            date,
            lower_window,
            upper_window,
            prior_scale: None,
        },
    );
    let country = edges(&[None, None, Some("US".to_owned())], &[Some("Atlantis".to_owned())]);
    let seasons = (vec(season, 0..2), vec(local, 0..2), any::<bool>(), [built_in(), built_in(), built_in()]);
    let days = (vec(holiday, 0..2), country);
    let window = edges(&[1, MINUTE, MAX_HORIZON], &[0, -1, i64::MAX]);
    let fewer = (window, select(vec![Aggregation::Mean, Aggregation::Median]))
        .prop_map(|(window, agg_method)| Some(Compression { window, agg_method, adjust_boundaries: true }));
    let fewer = prop_oneof![3 => Just(None), 1 => fewer];
    let priors = (positive(), positive(), positive());
    let forecast_at = vec(edges(&[1, MAX_HORIZON], &[0, i64::MAX]), 0..2);
    let rest = (edges(&[TINY, 0.8, 1.0_f64.next_down()], &[0.0, 1.0]), mode(), any::<bool>(), forecast_at, zone());
    (trend, seasons, days, fewer, priors, rest).prop_map(|(trend, seasons, days, compression, priors, rest)| {
        let (growth, changepoints, n_changepoints, changepoint_range) = trend;
        let (seasonalities, tz_seasonalities, is_encoded, [yearly, weekly, daily]) = seasons;
        let (interval_width, seasonality_mode, is_minmax, forecast_at, zone) = rest;
        ProphetArgs {
            seasonalities,
            tz_aware: !tz_seasonalities.is_empty(),
            zone,
            tz_use_cyclical_encoding: is_encoded && !tz_seasonalities.is_empty(),
            tz_seasonalities,
            forecast_at,
            compression,
            growth,
            changepoints,
            n_changepoints,
            changepoint_range,
            yearly_seasonality: yearly,
            weekly_seasonality: weekly,
            daily_seasonality: daily,
            holidays: days.0,
            country_holidays: days.1,
            seasonality_mode,
            seasonality_prior_scale: priors.0,
            holidays_prior_scale: priors.1,
            changepoint_prior_scale: priors.2,
            interval_width,
            scaling: if is_minmax { Scaling::MinMax } else { Scaling::AbsMax },
            ..ProphetArgs::default()
        }
    })
}

/// Classes that are fitted.
pub fn offline() -> impl Strategy<Value = ModelSpec> {
    let forest = (forest_args(), zone()).prop_map(|(args, zone)| ModelSpec::IsolationForest(args, zone));
    prop_oneof![
        3 => prophet_args().prop_map(|args| ModelSpec::Prophet(Box::new(args))),
        3 => holt_winters_args().prop_map(ModelSpec::HoltWinters),
        1 => forest,
    ]
}
