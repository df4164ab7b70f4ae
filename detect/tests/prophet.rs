//! What users of `prophet` rely on.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod random;

use detect::calendar::{DAY_MS, Date, Zone};
use detect::model::{Samples, Scores, StateError};
use detect::offline::{FitError, OfflineBatch, OfflineModel, Prediction, Window};
use detect::per_series::PerSeries;
use detect::prophet::{
    Aggregation, BuiltIn, Compression, Cycle, Design, Fit, Growth, Holiday, Mode, Prophet, ProphetArgs, Scaling,
    Seasonality, TzSeasonality, component_names, state_bytes,
};
use detect::score::{Interval, ScorePolicy};
use proptest::prelude::*;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// 2024-01-01, a Monday.
const START: i64 = 1_704_067_200_000;

/// Uniform pseudo-random numbers from -1 to 1, the same in every run.
fn noise(index: i64) -> f64 {
    2.0 * random::uniform(index.cast_unsigned()) - 1.0
}

fn grid(start: i64, step: i64, count: i64) -> Vec<i64> {
    (0..count).map(|index| start + index * step).collect()
}

/// A level that rises by 1 a day, a season of a day, and noise.
fn daily(time: i64) -> f64 {
    let days = (time - START) as f64 / DAY_MS as f64;
    100.0 + days + 10.0 * libm::sin(days * std::f64::consts::TAU) + noise(time / MINUTE_MS)
}

fn fitted(args: &ProphetArgs, times: &[i64], values: &[f64]) -> Prophet {
    args.validate().unwrap();
    let mut model = Prophet::new(args.clone(), &component_names(args));
    model.fit(Window { times, values }).unwrap();
    model
}

fn fitted_to(args: &ProphetArgs, times: &[i64], value: impl Fn(i64) -> f64) -> Prophet {
    let values: Vec<f64> = times.iter().map(|time| value(*time)).collect();
    fitted(args, times, &values)
}

fn predict(model: &Prophet, time: i64) -> Interval {
    let mut out = Vec::new();
    model.predict(Window { times: &[time], values: &[0.0] }, &mut out);
    match out[..] {
        [Prediction::Interval(interval)] => interval,
        _ => panic!("no interval"),
    }
}

fn state(model: &Prophet) -> Vec<u8> {
    let mut bytes = Vec::new();
    model.save(&mut bytes);
    bytes
}

fn component(model: &Prophet, args: &ProphetArgs, name: &str, time: i64) -> f64 {
    let index = component_names(args).iter().position(|known| known == name).unwrap();
    let mut out = Vec::new();
    model.components(time, 0.0, &mut out);
    out[index]
}

fn columns(args: &ProphetArgs, times: &[i64]) -> Vec<String> {
    fitted_to(args, times, daily).fitted().unwrap().columns().to_vec()
}

#[test]
fn the_interval_follows_trend_and_season_and_holds_its_share_of_the_values() {
    let args = ProphetArgs::default();
    let model = fitted_to(&args, &grid(START, 10 * MINUTE_MS, 1_440), daily);
    let future = grid(START + 10 * DAY_MS, 10 * MINUTE_MS, 144);
    let held = future.iter().filter(|time| {
        let interval = predict(&model, **time);
        (interval.lower..=interval.upper).contains(&daily(**time))
    });
    let share = held.count() as f64 / future.len() as f64;
    assert!((0.65..0.95).contains(&share), "{share}");
    let wide = ProphetArgs { interval_width: 0.99, ..args };
    let mut wider = Prophet::new(wide, &[]);
    wider.load(&state(&model)).unwrap();
    assert!(predict(&wider, future[0]).upper > predict(&model, future[0]).upper);
}

#[test]
fn seasonalities_need_two_of_their_periods_from_the_first_to_the_last_sample() {
    let args = ProphetArgs::default();
    let width = |count| columns(&args, &grid(START, HOUR_MS, count)).len();
    // A day has 8 columns, a week 6.
    assert_eq!([width(48), width(49), width(14 * 24), width(14 * 24 + 1)], [0, 8, 8, 14]);
    let forced = ProphetArgs { weekly_seasonality: BuiltIn::On, daily_seasonality: BuiltIn::Order(2), ..args };
    assert_eq!(columns(&forced, &grid(START, HOUR_MS, 48)).len(), 6 + 4);
}

#[test]
fn columns_are_in_prophets_order_and_a_seasonality_of_a_known_name_takes_its_place() {
    let daily = Seasonality { name: "daily".into(), period: 1.0, fourier_order: 1, prior_scale: None, mode: None };
    let hourly = Seasonality { name: "hourly".into(), period: 1.0 / 24.0, ..daily.clone() };
    let holiday = |name: &str, day| Holiday {
        name: name.into(),
        date: Date { year: 2024, month: 1, day },
        lower_window: -1,
        upper_window: 0,
        prior_scale: None,
    };
    let args = ProphetArgs {
        seasonalities: vec![hourly, daily],
        holidays: vec![holiday("b", 4), holiday("a", 5), holiday("b", 7)],
        ..ProphetArgs::default()
    };
    let expected = ["hourly_delim_1", "hourly_delim_2", "daily_delim_1", "daily_delim_2", "a_delim_+0", "a_delim_-1"];
    let columns = columns(&args, &grid(START, HOUR_MS, 240));
    assert_eq!(columns[..6], expected);
    assert_eq!(columns[6..], ["b_delim_+0", "b_delim_-1"]);
}

#[test]
fn any_deviation_from_a_constant_series_scores_above_one() {
    for scaling in [Scaling::AbsMax, Scaling::MinMax] {
        let args = ProphetArgs { scaling, ..ProphetArgs::default() };
        let mut batch = PerSeries::new(Prophet::new(args, &[]));
        OfflineBatch::grow(&mut batch, 1);
        let times = grid(START, HOUR_MS, 100);
        let mut bytes = Vec::new();
        batch.fit(Window { times: &times, values: &[7.25; 100] }, &mut bytes).unwrap();
        OfflineBatch::load(&mut batch, 0, &bytes).unwrap();
        let mut scores = Scores::default();
        let at = START + 200 * HOUR_MS;
        let samples = Samples { times: &[at, at + 1], slots: &[0], values: &[7.25, 7.3] };
        batch.infer(samples, &ScorePolicy::default(), &mut scores);
        assert_eq!((scores.yhat[0], scores.anomaly_score[0]), (7.25, 0.0));
        assert!(scores.anomaly_score[1] > 1.0);
    }
}

#[test]
fn components_add_up_to_what_is_expected() {
    for mode in [Mode::Additive, Mode::Multiplicative] {
        let args =
            ProphetArgs { seasonality_mode: mode, country_holidays: Some("US".into()), ..ProphetArgs::default() };
        let model = fitted_to(&args, &grid(START, HOUR_MS, 400), daily);
        // New Year's Day, and a day that is none.
        for time in [START + 5 * HOUR_MS, START + 29 * HOUR_MS] {
            let part = |name| component(&model, &args, name, time);
            let yhat = part("trend") * (1.0 + part("multiplicative_terms")) + part("additive_terms");
            assert!((yhat - predict(&model, time).yhat).abs() < 1e-9);
            let seasonal = part("daily") + part("weekly") + part("holidays");
            let terms = if mode == Mode::Additive { part("additive_terms") } else { part("multiplicative_terms") };
            assert!((seasonal - terms).abs() < 1e-9);
            assert_eq!(part("holidays"), part("New Year's Day"));
            assert_eq!(part("trend_upper"), part("trend"));
            // A fit to two weeks knows no year.
            assert!(part("yearly").is_nan());
        }
        assert_ne!(component(&model, &args, "holidays", START), 0.0);
        assert_eq!(component(&model, &args, "holidays", START + DAY_MS), 0.0);
    }
}

#[test]
fn a_holiday_and_the_days_around_it_have_effects_of_their_own() {
    let peak = |day: i64| match day {
        9 => 30.0,
        10 => 50.0,
        _ => 0.0,
    };
    let value = |time: i64| 100.0 + peak((time - START) / DAY_MS) + noise(time);
    let holiday = |day| Holiday {
        name: "release".into(),
        date: Date { year: 2024, month: 1, day },
        lower_window: -1,
        upper_window: 0,
        prior_scale: None,
    };
    let args = ProphetArgs { holidays: vec![holiday(11), holiday(31)], ..ProphetArgs::default() };
    let model = fitted_to(&args, &grid(START, HOUR_MS, 20 * 24), value);
    for (day, expected) in [(29, 30.0), (30, 50.0), (31, 0.0)] {
        let effect = component(&model, &args, "release", START + day * DAY_MS + HOUR_MS);
        assert!((effect - expected).abs() < 3.0, "{day}: {effect}");
    }
}

#[test]
fn with_a_zone_the_season_of_a_day_follows_daylight_saving_time() {
    // Daylight saving time starts on 2024-03-31.
    let start = START + 80 * DAY_MS;
    let berlin = Zone::named("Europe/Berlin").unwrap();
    let hour = |time: i64| berlin.wall_clock(time).ms_of_day() as f64 / DAY_MS as f64;
    let value = |time: i64| 50.0 + 20.0 * libm::sin(hour(time) * std::f64::consts::TAU) + 0.1 * noise(time);
    let error = |args: &ProphetArgs| {
        let model = fitted_to(args, &grid(start, HOUR_MS, 9 * 24), value);
        let after = grid(start + 12 * DAY_MS, HOUR_MS, 24);
        after.iter().map(|time| (predict(&model, *time).yhat - value(*time)).abs()).fold(0.0, f64::max)
    };
    let args = ProphetArgs { tz_aware: true, zone: berlin.clone(), ..ProphetArgs::default() };
    assert!(error(&args) < 2.0);
    assert!(error(&ProphetArgs::default()) > 4.0);
    for tz_use_cyclical_encoding in [false, true] {
        let hod = TzSeasonality { cycle: Cycle::HourOfDay, fourier_order: None, prior_scale: None, mode: None };
        let args = ProphetArgs {
            tz_seasonalities: vec![hod],
            tz_use_cyclical_encoding,
            daily_seasonality: BuiltIn::Off,
            ..args.clone()
        };
        assert!(error(&args) < 2.0);
    }
}

#[test]
fn every_day_of_the_week_has_its_own_place_in_the_cycle() {
    let value = |time: i64| if (time - START) / DAY_MS % 7 == 6 { 60.0 } else { 100.0 } + noise(time);
    let dow = TzSeasonality { cycle: Cycle::DayOfWeek, fourier_order: None, prior_scale: None, mode: None };
    let args = ProphetArgs { tz_aware: true, tz_seasonalities: vec![dow], ..ProphetArgs::default() };
    let model = fitted_to(&args, &grid(START, HOUR_MS, 28 * 24), value);
    let sunday = predict(&model, START + 34 * DAY_MS + 12 * HOUR_MS).yhat;
    assert!((sunday - 60.0).abs() < 10.0, "{sunday}");
}

#[test]
fn cycles_have_the_names_of_the_configuration() {
    assert_eq!(Cycle::ALL.map(Cycle::name), ["minute", "hod", "dow", "month"]);
    assert_eq!([Cycle::named("dow"), Cycle::named("week")], [Some(Cycle::DayOfWeek), None]);
}

#[test]
fn forecasts_are_predictions_ahead_that_widen_with_the_horizon() {
    let args = ProphetArgs { forecast_at: vec![HOUR_MS, DAY_MS, 7 * DAY_MS], ..ProphetArgs::default() };
    // A trend that bends, so that it may bend again.
    let value = |time: i64| daily(time) + 5.0 * ((time - START - 4 * DAY_MS).max(0) as f64 / DAY_MS as f64);
    let model = fitted_to(&args, &grid(START, 10 * MINUTE_MS, 1_440), value);
    let now = START + 10 * DAY_MS;
    let mut forecasts = Vec::new();
    model.forecasts(now, &mut forecasts);
    let width = |interval: &Interval| interval.upper - interval.lower;
    for (forecast, horizon) in forecasts.iter().zip(&args.forecast_at) {
        assert_eq!(forecast.yhat, predict(&model, now + horizon).yhat);
    }
    assert!(width(&forecasts[0]) < width(&forecasts[1]) && 2.0 * width(&forecasts[1]) < width(&forecasts[2]));
    assert!(width(&forecasts[0]) < 1.01 * width(&predict(&model, now)));
    let mut loaded = Prophet::new(args, &[]);
    loaded.load(&state(&model)).unwrap();
    let mut again = Vec::new();
    loaded.forecasts(now, &mut again);
    assert_eq!(again, forecasts);
}

#[test]
fn a_compressed_fit_expects_the_same_and_can_have_the_bounds_of_the_samples() {
    let times = grid(START, MINUTE_MS, 4 * 1_440);
    let whole = predict(&fitted_to(&ProphetArgs::default(), &times, daily), START + 100 * HOUR_MS);
    for agg_method in [Aggregation::Mean, Aggregation::Median] {
        let compressed = |adjust_boundaries| {
            let compression = Some(Compression { window: 10 * MINUTE_MS, agg_method, adjust_boundaries });
            let args = ProphetArgs { compression, ..ProphetArgs::default() };
            let model = fitted_to(&args, &times, daily);
            assert_eq!(model.fitted().unwrap().samples, 576);
            predict(&model, START + 100 * HOUR_MS)
        };
        let (narrow, wide) = (compressed(false), compressed(true));
        assert!((narrow.yhat - whole.yhat).abs() < 0.5);
        let width = |interval: Interval| interval.upper - interval.lower;
        assert!(width(narrow) < 0.7 * width(whole));
        assert!((width(wide) / width(whole) - 1.0).abs() < 0.1);
    }
}

#[test]
fn a_logistic_trend_stays_between_floor_and_cap() {
    let growth = Growth::Logistic { cap: 130.0, floor: 20.0 };
    let args = ProphetArgs { growth, ..ProphetArgs::default() };
    let model = fitted_to(&args, &grid(START, HOUR_MS, 500), |time| daily(time) - 20.0);
    for days in [-1_000, 0, 10, 1_000, 100_000] {
        let trend = component(&model, &args, "trend", START + days * DAY_MS);
        assert!((20.0..=130.0).contains(&trend), "{trend}");
    }
}

#[test]
fn series_of_one_time_grid_give_the_bits_that_each_gives_alone() {
    for seasonality_mode in [Mode::Additive, Mode::Multiplicative] {
        let args = ProphetArgs { seasonality_mode, ..ProphetArgs::default() };
        let times = grid(START, 10 * MINUTE_MS, 600);
        let shared = Prophet::new(args.clone(), &[]);
        for factor in [1.0, 3.0, 0.1] {
            let values: Vec<f64> = times.iter().map(|time| factor * daily(*time)).collect();
            let mut model = shared.clone();
            model.fit(Window { times: &times, values: &values }).unwrap();
            assert_eq!(state(&model), state(&fitted(&args, &times, &values)));
            let alone = Design::new(&args, &times).unwrap().fit(&values).unwrap();
            assert_eq!(model.fitted(), Some(&alone));
        }
    }
}

#[test]
fn samples_are_sorted_by_time_before_the_fit() {
    let times = grid(START, HOUR_MS, 200);
    let mut shuffled = times.clone();
    shuffled.sort_by_key(|time| (time / HOUR_MS * 77) % 199);
    let args = ProphetArgs::default();
    assert_eq!(state(&fitted_to(&args, &times, daily)), state(&fitted_to(&args, &shuffled, daily)));
}

#[test]
fn changepoints_that_the_window_has_left_behind_do_not_matter() {
    let times = grid(START, HOUR_MS, 200);
    let fitted = |changepoints: &[i64]| {
        let changepoints = Some(changepoints.iter().map(|hours| START + hours * HOUR_MS).collect());
        state(&fitted_to(&ProphetArgs { changepoints, ..ProphetArgs::default() }, &times, daily))
    };
    assert_eq!(fitted(&[-300, 90, 50, 50, 300]), fitted(&[50, 90]));
    assert_eq!(fitted(&[-300]), fitted(&[]));
    assert_ne!(fitted(&[50]), fitted(&[]));
}

#[test]
fn a_window_without_a_fit_says_why() {
    let fit = |args: ProphetArgs, times: &[i64], values: &[f64]| {
        Prophet::new(args, &[]).fit(Window { times, values }).unwrap_err().to_string()
    };
    let args = ProphetArgs::default;
    assert_eq!(fit(args(), &[0, 1], &[1.0, f64::NAN]), "the fit needs 2 samples, the window has 1");
    assert_eq!(fit(args(), &[5, 5], &[1.0, 2.0]), "the fit failed: all samples have the same time");
    let minmax = ProphetArgs { scaling: Scaling::MinMax, ..args() };
    let message = fit(minmax, &[0, 1], &[-1.7e308, 1.7e308]);
    assert_eq!(message, "the fit failed: the values span more than a number can say");
}

#[test]
fn a_fit_that_fails_leaves_the_model_as_it_was() {
    let mut model = fitted_to(&ProphetArgs::default(), &grid(START, HOUR_MS, 100), daily);
    let before = state(&model);
    let error = model.fit(Window { times: &[0], values: &[1.0] }).unwrap_err();
    assert_eq!(error, FitError::TooFewSamples { needed: 2, found: 1 });
    assert_eq!(state(&model), before);
}

#[test]
fn every_argument_outside_its_range_is_named() {
    let fault = |change: &dyn Fn(&mut ProphetArgs)| {
        let mut args = ProphetArgs::default();
        change(&mut args);
        args.validate().unwrap_err().argument
    };
    let seasonality = |name: &str, period, fourier_order| {
        let name = name.to_owned();
        vec![Seasonality { name, period, fourier_order, prior_scale: None, mode: None }]
    };
    let hod = TzSeasonality { cycle: Cycle::HourOfDay, fourier_order: Some(0), prior_scale: None, mode: None };
    let date = Date { year: 2023, month: 2, day: 29 };
    let holiday = Holiday { name: "x".into(), date, lower_window: 0, upper_window: 0, prior_scale: None };
    assert_eq!(fault(&|a| a.interval_width = 1.0), "interval_width");
    assert_eq!(fault(&|a| a.changepoint_range = 1.1), "changepoint_range");
    assert_eq!(fault(&|a| a.changepoint_prior_scale = 0.0), "changepoint_prior_scale");
    assert_eq!(fault(&|a| a.seasonality_prior_scale = f64::NAN), "seasonality_prior_scale");
    assert_eq!(fault(&|a| a.holidays_prior_scale = -1.0), "holidays_prior_scale");
    assert_eq!(fault(&|a| a.n_changepoints = 2_001), "n_changepoints");
    assert_eq!(fault(&|a| a.mcmc_samples = 300), "mcmc_samples");
    assert_eq!(fault(&|a| a.uncertainty_samples = 0), "uncertainty_samples");
    assert_eq!(fault(&|a| a.growth = Growth::Logistic { cap: 1.0, floor: 1.0 }), "cap");
    assert_eq!(fault(&|a| a.seasonalities = seasonality("trend", 1.0, 1)), "seasonalities.name");
    assert_eq!(fault(&|a| a.seasonalities = seasonality("x", 0.0, 1)), "seasonalities.period");
    assert_eq!(fault(&|a| a.seasonalities = seasonality("x", 1.0, 0)), "seasonalities.fourier_order");
    assert_eq!(fault(&|a| a.tz_seasonalities = vec![hod]), "tz_seasonalities");
    assert_eq!(fault(&|a| (a.tz_aware, a.tz_seasonalities) = (true, vec![hod])), "tz_seasonalities.fourier_order");
    assert_eq!(fault(&|a| a.tz_use_cyclical_encoding = true), "tz_use_cyclical_encoding");
    assert_eq!(fault(&|a| a.country_holidays = Some("Atlantis".into())), "country_holidays");
    assert_eq!(fault(&|a| a.holidays = vec![holiday.clone()]), "holidays.ds");
    let date = Date { day: 28, ..date };
    let year =
        |name: &str| Holiday { name: name.into(), date, lower_window: -366, upper_window: 366, prior_scale: None };
    assert_eq!(fault(&|a| a.holidays = vec![year("a"), year("b"), year("c")]), "holidays");
    assert_eq!(fault(&|a| a.forecast_at = vec![0]), "forecast_at");
    let compression = Compression { window: 0, agg_method: Aggregation::Mean, adjust_boundaries: true };
    assert_eq!(fault(&|a| a.compression = Some(compression)), "compression.window");
    assert_eq!(ProphetArgs::default().validate(), Ok(()));
}

#[test]
fn only_arguments_that_act_on_the_fit_change_the_signature() {
    let signature = |change: &dyn Fn(&mut ProphetArgs)| {
        let mut args = ProphetArgs::default();
        change(&mut args);
        args.learning_signature()
    };
    let usual = signature(&|_| ());
    assert_eq!(signature(&|a| (a.interval_width, a.forecast_at) = (0.98, vec![1])), usual);
    assert_ne!(signature(&|a| a.changepoint_prior_scale = 0.5), usual);
    assert_ne!(signature(&|a| a.weekly_seasonality = BuiltIn::Off), usual);
    assert_ne!(signature(&|a| a.holidays_mode = Some(Mode::Multiplicative)), usual);
    let zone = || Zone::named("Europe/Berlin").unwrap();
    assert_eq!(signature(&|a| a.zone = zone()), usual);
    assert_ne!(signature(&|a| (a.tz_aware, a.zone) = (true, zone())), usual);
    let abroad = signature(&|a| a.country_holidays = Some("DE".into()));
    assert!(abroad.contains("country_holidays=Some(\"DE\") of holidays 0.108 holidays_mode"), "{abroad}");
}

#[test]
fn the_state_is_as_long_as_documented_and_knows_its_arguments() {
    let args = ProphetArgs::default();
    let model = fitted_to(&args, &grid(START, HOUR_MS, 400), daily);
    let bytes = state(&model);
    assert_eq!(bytes.len(), state_bytes(25, 14, 0));
    let off = ProphetArgs { weekly_seasonality: BuiltIn::Off, ..args };
    assert!(matches!(Prophet::new(off, &[]).load(&bytes), Err(StateError::Damaged { .. })));
    let empty = Prophet::new(ProphetArgs::default(), &[]);
    let mut again = model.clone();
    again.load(&state(&empty)).unwrap();
    assert!(!again.is_fitted());
}

/// The logarithm of the posterior, but for its constants, by its definition.
fn log_posterior(fit: &Fit, args: &ProphetArgs, times: &[i64], values: &[f64]) -> f64 {
    let residual = |(time, value): (&i64, &f64)| (value - fit.terms(args, *time).yhat()) / fit.y_scale;
    let error: f64 = times.iter().zip(values).map(residual).map(|residual| residual * residual).sum();
    let bends: f64 = fit.delta.iter().map(|bend| bend.abs()).sum();
    let effects = fit.beta.iter().zip(fit.prior_scales()).map(|(beta, scale)| (beta / scale) * (beta / scale));
    let variance = fit.sigma * fit.sigma;
    -(values.len() as f64 * libm::log(fit.sigma)
        + error / (2.0 * variance)
        + 2.0 * variance
        + (fit.k * fit.k + fit.m * fit.m) / 50.0
        + bends / args.changepoint_prior_scale
        + effects.sum::<f64>() / 2.0)
}

#[test]
fn no_change_of_a_parameter_makes_the_values_clearly_more_likely() {
    let own = |mode| Seasonality {
        name: "own".into(),
        period: 0.5,
        fourier_order: 2,
        prior_scale: Some(1.0),
        mode: Some(mode),
    };
    let logistic = Growth::Logistic { cap: 200.0, floor: 0.0 };
    for growth in [Growth::Linear, Growth::Flat, logistic] {
        for (seasonality_mode, other) in [
            (Mode::Additive, Mode::Additive),
            (Mode::Additive, Mode::Multiplicative),
            (Mode::Multiplicative, Mode::Multiplicative),
        ] {
            let args =
                ProphetArgs { growth, seasonality_mode, seasonalities: vec![own(other)], ..ProphetArgs::default() };
            let times = grid(START, HOUR_MS, 300);
            let values: Vec<f64> = times.iter().map(|time| daily(*time)).collect();
            let model = fitted(&args, &times, &values);
            let best = model.fitted().unwrap();
            let reached = log_posterior(best, &args, &times, &values);
            let parameters = 3 + best.delta.len() + best.beta.len();
            for index in 0..parameters {
                for change in [-1e-2, -1e-3, 1e-3, 1e-2] {
                    let mut fit = best.clone();
                    let Fit { k, m, sigma, delta, beta, .. } = &mut fit;
                    [k, m, sigma].into_iter().chain(delta).chain(beta).skip(index).take(1).for_each(|p| *p += change);
                    if fit.sigma > 0.0 {
                        let gain = log_posterior(&fit, &args, &times, &values) - reached;
                        assert!(gain < 0.05, "{args:?}: {gain} by {change} of parameter {index}");
                    }
                }
            }
        }
    }
}

/// The bits that fits must have on every machine. A change needs a reason, and a new version of the state if it changes what its
/// bytes mean.
const FROZEN: u64 = 0xc826_96b7_dc29_b3ae;

#[test]
fn fits_of_every_kind_have_the_frozen_digest() {
    let times = grid(START, HOUR_MS, 400);
    let logistic = Growth::Logistic { cap: 200.0, floor: 0.0 };
    let mut bytes = Vec::new();
    for (growth, seasonality_mode) in [
        (Growth::Linear, Mode::Additive),
        (Growth::Flat, Mode::Additive),
        (Growth::Linear, Mode::Multiplicative),
        (logistic, Mode::Additive),
        (logistic, Mode::Multiplicative),
    ] {
        let args = ProphetArgs { growth, seasonality_mode, ..ProphetArgs::default() };
        let value = |time: i64| 100.0 + 20.0 * noise(time / HOUR_MS) + ((time - START) / DAY_MS) as f64;
        fitted_to(&args, &times, value).save(&mut bytes);
    }
    let digest = xxhash_rust::xxh3::xxh3_64(&bytes);
    assert_eq!(digest, FROZEN, "{digest:#018x}");
}

/// Arguments of every kind.
fn arguments() -> impl Strategy<Value = ProphetArgs> {
    let growth = prop_oneof![
        3 => Just(Growth::Linear),
        1 => Just(Growth::Flat),
        1 => Just(Growth::Logistic { cap: 150.0, floor: 10.0 }),
        1 => Just(Growth::Logistic { cap: 1e300, floor: -1e300 }),
    ];
    let mode = || prop_oneof![Just(Mode::Additive), Just(Mode::Multiplicative)];
    let scale = || prop_oneof![3 => Just(0.05), 1 => Just(10.0), 1 => Just(1e-300), 1 => Just(1e300)];
    let changepoints = (prop_oneof![Just(25_usize), 0..5_usize, Just(200)], prop_oneof![Just(0.8), 0.0..=1.0_f64]);
    let season = prop_oneof![
        Just(None),
        (1e-6..1e4_f64, 1..6_u16).prop_map(Some),
        prop_oneof![Just(Some((1e-300, 3))), Just(Some((1e300, 3)))],
    ];
    let scaling = prop_oneof![Just(Scaling::AbsMax), Just(Scaling::MinMax)];
    (growth, mode(), scaling, scale(), scale(), changepoints, season, any::<bool>(), any::<bool>()).prop_map(
        |(growth, mode, scaling, scale, trend_scale, (count, range), season, local, compressed)| {
            let holiday = Holiday {
                name: "release".into(),
                date: Date { year: 2024, month: 1, day: 2 },
                lower_window: -1,
                upper_window: 1,
                prior_scale: None,
            };
            let seasonality = |(period, fourier_order)| Seasonality {
                name: "own".into(),
                period,
                fourier_order,
                prior_scale: None,
                mode: Some(Mode::Additive),
            };
            let cycle = |cycle| TzSeasonality { cycle, fourier_order: None, prior_scale: None, mode: None };
            let compression = Compression { window: HOUR_MS, agg_method: Aggregation::Median, adjust_boundaries: true };
            ProphetArgs {
                growth,
                seasonality_mode: mode,
                scaling,
                seasonality_prior_scale: scale,
                changepoint_prior_scale: trend_scale,
                n_changepoints: count,
                changepoint_range: range,
                seasonalities: season.map(seasonality).into_iter().collect(),
                holidays: vec![holiday],
                tz_aware: local,
                tz_seasonalities: if local { Cycle::ALL.map(cycle).to_vec() } else { Vec::new() },
                tz_use_cyclical_encoding: local,
                compression: compressed.then_some(compression),
                forecast_at: vec![HOUR_MS, 30 * DAY_MS],
                ..ProphetArgs::default()
            }
        },
    )
}

/// Series as a source may send them.
fn series() -> impl Strategy<Value = Vec<(i64, f64)>> {
    let step = prop_oneof![6 => Just(HOUR_MS), 1 => Just(0), 1 => -HOUR_MS..DAY_MS, 1 => Just(366 * DAY_MS)];
    let value = prop_oneof![
        8 => -100.0..100.0_f64,
        2 => (0..3).prop_map(f64::from),
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(1e300), Just(-1.7e308), Just(5e-324), Just(1e-300)],
    ];
    let unlike = prop::collection::vec((step.clone(), value), 0..160);
    let constant = (prop_oneof![Just(0.0), Just(1e300), Just(-5e-324), -1.0..1.0_f64], 0..160_usize)
        .prop_map(|(value, count)| vec![(HOUR_MS, value); count]);
    prop_oneof![3 => unlike, 1 => constant].prop_map(|steps| {
        let mut time = START;
        steps
            .into_iter()
            .map(|(step, value)| {
                time += step;
                (time, value)
            })
            .collect()
    })
}

fn is_finite(interval: Interval) -> bool {
    [interval.yhat, interval.lower, interval.upper].iter().all(|number| number.is_finite())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_the_data_a_fit_predicts_finite_numbers_or_says_why_there_is_none(
        args in arguments(),
        series in series(),
    ) {
        prop_assert_eq!(args.validate(), Ok(()));
        let (times, values): (Vec<i64>, Vec<f64>) = series.into_iter().unzip();
        let mut model = Prophet::new(args.clone(), &component_names(&args));
        let found = values.iter().filter(|value| value.is_finite()).count();
        match model.fit(Window { times: &times, values: &values }) {
            Ok(()) => {
                let last = times.iter().copied().max().unwrap_or(0);
                for time in [START, last, last + HOUR_MS, last + 3_000 * DAY_MS, i64::MIN, i64::MAX] {
                    let interval = predict(&model, time);
                    prop_assert!(is_finite(interval), "{:?}", interval);
                    let mut forecasts = Vec::new();
                    model.forecasts(time, &mut forecasts);
                    prop_assert!(forecasts.len() == 2 && forecasts.into_iter().all(is_finite));
                }
                let mut loaded = Prophet::new(args, &[]);
                prop_assert_eq!(loaded.load(&state(&model)), Ok(()));
                prop_assert_eq!(state(&loaded), state(&model));
                prop_assert_eq!(loaded.fitted(), model.fitted());
            }
            Err(FitError::TooFewSamples { needed, found: counted }) => prop_assert!(needed == 2 && counted <= found),
            Err(error @ (FitError::TooFewSteps { .. } | FitError::TooManyChannels { .. })) => {
                prop_assert!(false, "prophet has neither steps nor channels: {}", error);
            }
            Err(FitError::Failed { what }) => prop_assert!(!what.is_empty()),
        }
    }

    #[test]
    fn damaged_bytes_are_an_error_that_leaves_the_model_alone_or_another_whole_state(
        at in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
        length in any::<prop::sample::Index>(),
        local in any::<bool>(),
    ) {
        let hod = TzSeasonality { cycle: Cycle::HourOfDay, fourier_order: None, prior_scale: None, mode: None };
        let args = ProphetArgs {
            tz_aware: local,
            tz_seasonalities: if local { vec![hod] } else { Vec::new() },
            tz_use_cyclical_encoding: local,
            ..ProphetArgs::default()
        };
        let mut model = fitted_to(&args, &grid(START, HOUR_MS, 60), daily);
        let good = state(&model);
        for bytes in [&good[..length.index(good.len())], &[&good[..], &[0]].concat()] {
            prop_assert!(model.load(bytes).is_err());
            prop_assert_eq!(&state(&model), &good);
        }
        let mut flipped = good.clone();
        flipped[at.index(good.len())] ^= flip;
        if model.load(&flipped).is_ok() {
            prop_assert_eq!(&state(&model), &flipped);
            prop_assert!(is_finite(predict(&model, START)) && is_finite(predict(&model, i64::MAX)));
        } else {
            prop_assert_eq!(&state(&model), &good);
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut model = Prophet::new(ProphetArgs::default(), &[]);
        let bytes = [&b"pr\x01\0"[..], &bytes].concat();
        if model.load(&bytes).is_ok() {
            prop_assert_eq!(state(&model), bytes);
        }
    }
}
