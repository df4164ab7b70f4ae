//! What a user of `holtwinters` relies on.

use detect::holt_winters::{
    Bounds, BoxCox, Composition, HoltWinters, HoltWintersArgs, Initialization, States, estimate, state_bytes,
};
use detect::model::StateError;
use detect::offline::{OfflineModel, Prediction, Window};
use detect::score::Interval;
use proptest::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

const MINUTE: i64 = 60_000;
const ADDITIVE: Option<Composition> = Some(Composition::Additive);
const MULTIPLICATIVE: Option<Composition> = Some(Composition::Multiplicative);

/// A model of a season of six minutes.
fn args() -> HoltWintersArgs {
    HoltWintersArgs { seasonality: Some(6 * MINUTE), ..HoltWintersArgs::default() }
}

fn minutes(count: usize) -> Vec<i64> {
    (0..count as i64).map(|minute| minute * MINUTE).collect()
}

/// A line with a season, and a little noise that repeats after 13 values.
fn line_with_season(count: usize) -> Vec<f64> {
    let season = [5.0, 3.0, -4.0, -6.0, 0.0, 2.0];
    let noise = [0.1, -0.2, 0.05, 0.15, -0.1, 0.0, 0.2, -0.15, -0.05, 0.1, -0.1, 0.05, -0.05];
    (0..count).map(|step| 100.0 + 0.5 * step as f64 + season[step % 6] + noise[step % 13]).collect()
}

fn fitted(args: HoltWintersArgs, times: &[i64], values: &[f64]) -> HoltWinters {
    let mut model = HoltWinters::new(args, &[]);
    assert_eq!(model.fit(Window { times, values }), Ok(()));
    model
}

fn predicted(model: &HoltWinters, time: i64) -> Interval {
    let mut predictions = Vec::new();
    model.predict(Window { times: &[time], values: &[f64::NAN] }, &mut predictions);
    match predictions[..] {
        [Prediction::Interval(interval)] => interval,
        _ => panic!("{predictions:?}"),
    }
}

fn saved(model: &HoltWinters) -> Vec<u8> {
    let mut bytes = Vec::new();
    model.save(&mut bytes);
    bytes
}

fn failure(args: HoltWintersArgs, times: &[i64], values: &[f64]) -> String {
    let result = HoltWinters::new(args, &[]).fit(Window { times, values });
    result.map_or_else(|error| error.to_string(), |()| "it is fitted".to_owned())
}

/// What statsmodels 0.15.0 gives with `use_boxcox`, these smoothing parameters and `initialization_method="known"`.
#[test]
fn with_a_box_cox_transform_forecasts_are_those_of_statsmodels() {
    let values = [10.0, 14.0, 8.0, 12.0, 13.0, 18.0, 10.0, 15.0, 17.0, 24.0, 14.0, 20.0, 22.0, 31.0, 18.0, 26.0];
    let times = minutes(values.len());
    for (lambda, trend, forecasts, deviation) in [
        (0.0, 0.1, [28.513431325835267, 39.414113068534554, 23.410115975983356], 2.150876463273977),
        (0.5, 0.1, [28.100566914762574, 33.8308113765987, 24.548513584110307], 3.0706697069026285),
        (0.25, 0.0, [24.654831044856877, 29.65672710321769, 18.533308825052856], 2.2519253598722844),
    ] {
        let has_trend = trend > 0.0;
        let args = HoltWintersArgs {
            seasonality: Some(4 * MINUTE),
            seasonal_periods: Some(4),
            z_threshold: 1.0,
            trend: ADDITIVE.filter(|_| has_trend),
            initialization: Initialization::Known(States { level: 2.0, trend, seasons: vec![-0.1, 0.2, -0.3, 0.2] }),
            smoothing_level: Some(0.4),
            smoothing_trend: Some(0.1).filter(|_| has_trend),
            smoothing_seasonal: Some(0.2),
            box_cox: Some(BoxCox::Lambda(lambda)),
            ..HoltWintersArgs::default()
        };
        assert_eq!(args.validate(), Ok(()));
        let model = fitted(args, &times, &values);
        for (step, expected) in (values.len() as i64..).zip(forecasts) {
            let Interval { yhat, upper, .. } = predicted(&model, step * MINUTE);
            assert!((yhat - expected).abs() < 1e-10 * expected, "{lambda}: {yhat} {expected}");
            assert!((upper - yhat - deviation).abs() < 1e-10, "{lambda}: {}", upper - yhat);
        }
    }
}

#[test]
fn a_spread_that_grows_with_the_level_is_forecast_by_an_estimated_transform() {
    let times = minutes(120);
    let values: Vec<f64> = line_with_season(120).iter().map(|value| libm::exp(value / 20.0)).collect();
    let model =
        fitted(HoltWintersArgs { trend: ADDITIVE, box_cox: Some(BoxCox::Estimated), ..args() }, &times, &values);
    let expected: Vec<f64> = line_with_season(132)[120..].iter().map(|value| libm::exp(value / 20.0)).collect();
    for (step, expected) in (120..).zip(expected) {
        let Interval { yhat, .. } = predicted(&model, step * MINUTE);
        assert!((yhat / expected - 1.0).abs() < 0.1, "{step}: {yhat} {expected}");
    }
    let mut loaded =
        HoltWinters::new(HoltWintersArgs { trend: ADDITIVE, box_cox: Some(BoxCox::Estimated), ..args() }, &[]);
    assert_eq!(loaded.load(&saved(&model)), Ok(()));
    assert_eq!(predicted(&loaded, 7_777_777), predicted(&model, 7_777_777));
    assert_eq!(saved(&model).len(), state_bytes(6) + 8);
    let plain = fitted(HoltWintersArgs { trend: ADDITIVE, ..args() }, &times, &values);
    assert!(loaded.load(&saved(&plain)).is_err(), "a state without a transform");
    let refusal = failure(HoltWintersArgs { box_cox: Some(BoxCox::Estimated), ..args() }, &times, &vec![0.0; 120]);
    assert_eq!(refusal, "the fit failed: a Box-Cox transform needs values above 0");
}

#[test]
fn trend_and_season_go_on_after_the_window() {
    let values = line_with_season(160);
    let model = fitted(HoltWintersArgs { trend: ADDITIVE, ..args() }, &minutes(120), &values[..120]);
    for (minute, value) in values.iter().enumerate().skip(120) {
        let interval = predicted(&model, minute as i64 * MINUTE);
        assert!((interval.yhat - value).abs() < 0.5, "{minute}: {} {value}", interval.yhat);
        assert!(interval.upper - interval.yhat < 1.0);
    }
}

#[test]
fn between_steps_the_prediction_is_on_a_line_and_at_any_distance_it_is_finite() {
    let args = HoltWintersArgs { trend: ADDITIVE, damped_trend: true, ..args() };
    let model = fitted(args, &minutes(120), &line_with_season(120));
    let [before, between, after] =
        [130 * MINUTE, 130 * MINUTE + MINUTE / 4, 131 * MINUTE].map(|time| predicted(&model, time).yhat);
    assert!((between - (0.75 * before + 0.25 * after)).abs() < 1e-9);
    for time in [i64::MIN, -1, 0, 100 * MINUTE, 1 << 50, i64::MAX] {
        assert!(predicted(&model, time).yhat.is_finite());
    }
}

#[test]
fn forecasts_are_the_predictions_at_their_horizons() {
    let mut model = HoltWinters::new(args(), &[MINUTE, 90_000]);
    let mut none = Vec::new();
    model.forecasts(0, &mut none);
    assert!(none.len() == 2 && none.iter().all(|forecast| !forecast.is_some()));
    model.fit(Window { times: &minutes(60), values: &line_with_season(60) }).unwrap();
    let mut forecasts = Vec::new();
    model.forecasts(70 * MINUTE, &mut forecasts);
    assert_eq!(forecasts, [71 * MINUTE, 70 * MINUTE + 90_000].map(|time| predicted(&model, time)));
}

#[test]
fn samples_denser_than_the_frequency_give_the_model_of_their_means() {
    let sparse = line_with_season(60);
    let dense: Vec<f64> = sparse.iter().flat_map(|value| [value + 1.0, value - 1.0]).collect();
    let times: Vec<i64> = (0..60).flat_map(|minute| [minute * MINUTE, minute * MINUTE + 20_000]).collect();
    let args = HoltWintersArgs { frequency: Some(MINUTE), ..args() };
    assert_eq!(
        predicted(&fitted(args.clone(), &times, &dense), 60 * MINUTE),
        predicted(&fitted(args, &minutes(60), &sparse), 60 * MINUTE)
    );
}

#[test]
fn a_gap_does_not_narrow_the_interval() {
    let season = [5.0, 3.0, -4.0, -6.0, 0.0, 2.0];
    let noise = |step: usize| if step * step % 7 < 3 { 1.0 } else { -1.0 };
    let values: Vec<f64> = (0..1000).map(|step| 10.0 + season[step % 6] + noise(step)).collect();
    let with_gap: Vec<usize> = (0..1000).filter(|step| !(300..700).contains(step)).collect();
    let times: Vec<i64> = with_gap.iter().map(|step| *step as i64 * MINUTE).collect();
    let kept: Vec<f64> = with_gap.iter().map(|step| values[*step]).collect();
    // Of a season that does not change, so that the gap's line is not taken for one.
    let args = HoltWintersArgs { smoothing_level: Some(0.01), smoothing_seasonal: Some(0.0), ..args() };
    let width = |times: &[i64], values: &[f64]| {
        let interval = predicted(&fitted(args.clone(), times, values), 1000 * MINUTE);
        interval.upper - interval.lower
    };
    assert!(width(&times, &kept) > 0.9 * width(&minutes(1000), &values));
}

#[test]
fn a_gap_of_a_year_is_a_line() {
    let half = line_with_season(60);
    let times: Vec<i64> =
        minutes(60).into_iter().chain(minutes(60).iter().map(|time| time + 525_600 * MINUTE)).collect();
    let args = HoltWintersArgs { initialization: Initialization::Heuristic, smoothing_level: Some(0.1), ..args() };
    let model = fitted(args, &times, &[&half[..], &half[..]].concat());
    assert!((predicted(&model, times[119] + MINUTE).yhat - half[59]).abs() < 10.0);
}

#[test]
fn given_parameters_and_states_are_taken_as_they_are() {
    let states = States { level: 10.0, trend: 1.0, seasons: vec![1.0, -1.0] };
    let args = HoltWintersArgs {
        trend: ADDITIVE,
        seasonal_periods: Some(2),
        initialization: Initialization::Known(states.clone()),
        smoothing_level: Some(0.5),
        smoothing_trend: Some(0.25),
        smoothing_seasonal: Some(0.5),
        ..HoltWintersArgs::default()
    };
    assert_eq!(args.validate(), Ok(()));
    // 12 and 11 are expected; the second is too high by 2.
    let estimate = estimate(&args, 2, &[12.0, 13.0]).unwrap();
    assert_eq!(estimate.initial, states);
    assert!(estimate.fitted.iter().zip([12.0, 11.0]).all(|(ours, expected)| (ours - expected).abs() < 1e-12));
    let last = estimate.last;
    assert!((last.level - 13.0).abs() < 1e-12 && (last.trend - 1.25).abs() < 1e-12);
    assert!(last.seasons.iter().zip([1.0, 0.0]).all(|(ours, expected)| (ours - expected).abs() < 1e-12));
    assert!((estimate.squared_errors - 4.0).abs() < 1e-12);
}

#[test]
fn estimates_keep_to_their_bounds() {
    let bounds = Bounds { smoothing_level: (0.6, 0.7), damping_trend: (0.9, 0.91), ..Bounds::default() };
    let args = HoltWintersArgs { trend: ADDITIVE, damped_trend: true, bounds, ..args() };
    let smoothing = estimate(&args, 6, &line_with_season(120)).unwrap().smoothing;
    assert!((0.6..=0.7).contains(&smoothing.level) && (0.9..=0.91).contains(&smoothing.damping));
    assert!(smoothing.trend <= smoothing.level && smoothing.season <= 1.0 - smoothing.level);
}

#[test]
fn a_window_that_gives_no_fit_says_why() {
    let (times, values) = (minutes(60), line_with_season(60));
    assert_eq!(failure(args(), &[], &[]), "the fit needs 2 samples, the window has 0");
    assert_eq!(failure(args(), &times[..1], &values), "the fit needs 2 samples, the window has 1");
    let short = HoltWintersArgs { seasonality: Some(MINUTE), ..args() };
    assert_eq!(
        failure(short, &times, &values),
        "the fit failed: the season is shorter than two steps of the frequency"
    );
    let long = HoltWintersArgs { seasonality: Some(i64::MAX), ..args() };
    assert_eq!(
        failure(long, &times, &values),
        "the fit failed: the season has more than 100000 steps of the frequency"
    );
    let positive = "the fit failed: a multiplicative trend or season needs values above 0";
    for args in
        [HoltWintersArgs { seasonal: MULTIPLICATIVE, ..args() }, HoltWintersArgs { trend: MULTIPLICATIVE, ..args() }]
    {
        assert_eq!(failure(args, &times, &values.iter().map(|value| value - 110.0).collect::<Vec<_>>()), positive);
    }
    let known = States { level: 1.0, trend: 0.0, seasons: vec![0.0; 5] };
    let other = HoltWintersArgs { initialization: Initialization::Known(known), ..args() };
    assert_eq!(
        failure(other, &times, &values),
        "the fit failed: initial_seasonal has not a value for each step of the season"
    );
    let mut model = fitted(args(), &times, &values);
    let before = saved(&model);
    assert!(model.fit(Window { times: &[], values: &[] }).is_err());
    assert_eq!(saved(&model), before, "the fit before stays");
}

#[test]
fn arguments_outside_their_range_are_named() {
    assert_eq!(args().validate(), Ok(()));
    let message = |args: HoltWintersArgs| args.validate().unwrap_err().to_string();
    let without_season = "seasonality of holtwinters is not given, it must be a duration, or seasonal_periods given, \
                          in a model with a season";
    assert_eq!(message(HoltWintersArgs::default()), without_season);
    let trend = |smoothing_trend| HoltWintersArgs { trend: ADDITIVE, smoothing_trend: Some(smoothing_trend), ..args() };
    assert_eq!(trend(1.0).validate(), Ok(()));
    assert_eq!(message(trend(1.5)), "smoothing_trend of holtwinters is 1.5, it must be from 0 to 1");
    let known = |level, seasons: &[f64]| HoltWintersArgs {
        seasonal_periods: Some(2),
        seasonal: MULTIPLICATIVE,
        initialization: Initialization::Known(States { level, trend: 0.0, seasons: seasons.to_vec() }),
        ..args()
    };
    assert_eq!(known(1.0, &[1.0, 2.0]).validate(), Ok(()));
    for (fault, args) in [
        ("frequency", HoltWintersArgs { frequency: Some(0), ..args() }),
        ("seasonality", HoltWintersArgs { seasonality: Some(-1), ..args() }),
        ("z_threshold", HoltWintersArgs { z_threshold: 0.0, ..args() }),
        ("damped_trend", HoltWintersArgs { damped_trend: true, ..args() }),
        ("seasonal_periods", HoltWintersArgs { seasonal_periods: Some(1), ..args() }),
        ("smoothing_level", HoltWintersArgs { smoothing_level: Some(f64::NAN), ..args() }),
        ("smoothing_trend", HoltWintersArgs { smoothing_trend: Some(0.5), ..args() }),
        ("smoothing_seasonal", HoltWintersArgs { smoothing_seasonal: Some(0.5), seasonal: None, ..args() }),
        ("damping_trend", HoltWintersArgs { damping_trend: Some(0.9), ..args() }),
        ("lambda of use_boxcox", HoltWintersArgs { box_cox: Some(BoxCox::Lambda(f64::NAN)), ..args() }),
        ("lowest damping_trend", bounds(|bounds| bounds.damping_trend = (0.0, 1.0))),
        ("initial_level", known(0.0, &[1.0, 2.0])),
        ("initial_seasonal", known(1.0, &[1.0, -2.0])),
        ("initial_seasonal", known(1.0, &[1.0])),
        ("bounds of smoothing_level", bounds(|bounds| bounds.smoothing_level = (0.5, 0.5))),
        ("bounds of damping_trend", bounds(|bounds| bounds.damping_trend = (0.5, 1.1))),
        (
            "lowest smoothing_trend",
            bounds(|bounds| {
                bounds.smoothing_level = (0.1, 0.2);
                bounds.smoothing_trend = (0.3, 0.4);
            }),
        ),
        (
            "lowest smoothing_seasonal",
            bounds(|bounds| {
                bounds.smoothing_level = (0.8, 0.9);
                bounds.smoothing_seasonal = (0.3, 0.4);
            }),
        ),
    ] {
        assert!(message(args.clone()).starts_with(&format!("{fault} of holtwinters is ")), "{fault} {}", message(args));
    }
}

fn bounds(change: impl Fn(&mut Bounds)) -> HoltWintersArgs {
    let mut args = args();
    change(&mut args.bounds);
    args
}

#[test]
fn a_state_has_its_documented_size_and_is_of_its_own_arguments_only() {
    let model = fitted(args(), &minutes(60), &line_with_season(60));
    let bytes = saved(&model);
    assert_eq!(bytes.len(), state_bytes(6));
    let mut loaded = HoltWinters::new(args(), &[]);
    loaded.load(&bytes).unwrap();
    assert_eq!(saved(&loaded), bytes);
    assert_eq!(predicted(&loaded, 100 * MINUTE), predicted(&model, 100 * MINUTE));
    let refused = |args| HoltWinters::new(args, &[]).load(&bytes).unwrap_err().to_string();
    let other = HoltWintersArgs { seasonality: Some(7 * MINUTE), ..args() };
    assert_eq!(refused(other), "state is damaged: the season has another length");
    let other = HoltWintersArgs { frequency: Some(2 * MINUTE), ..args() };
    assert_eq!(refused(other), "state is damaged: the frequency is out of range");
    let mut empty = HoltWinters::new(args(), &[]);
    empty.load(&saved(&HoltWinters::new(args(), &[]))).unwrap();
    assert!(!empty.is_fitted());
}

#[test]
fn fits_have_the_frozen_digest() {
    let mut states = Vec::new();
    for trend in [None, ADDITIVE, MULTIPLICATIVE] {
        for seasonal in [None, ADDITIVE, MULTIPLICATIVE] {
            for damped_trend in if trend.is_some() { vec![false, true] } else { vec![false] } {
                let args = HoltWintersArgs { trend, seasonal, damped_trend, ..args() };
                fitted(args, &minutes(200), &line_with_season(200)).save(&mut states);
            }
        }
    }
    let digest = xxh3_64(&states);
    assert_eq!(digest, 0x33f7_c072_5ec4_aaaf, "{digest:#018x}");
}

#[test]
fn a_window_of_less_than_two_seasons_gives_a_level_whose_band_holds_the_season() {
    let season = |count: usize| -> Vec<f64> {
        line_with_season(count).iter().zip(0..).map(|(y, t)| y - 0.5 * f64::from(t)).collect()
    };
    for seasonal in [ADDITIVE, MULTIPLICATIVE] {
        let args =
            HoltWintersArgs { trend: ADDITIVE, damped_trend: true, smoothing_seasonal: Some(0.2), seasonal, ..args() };
        let model = fitted(args.clone(), &minutes(11), &season(11));
        assert!(model.readiness().value() < 2.0 && saved(&model).len() == state_bytes(0));
        for (minute, value) in season(100).into_iter().enumerate().skip(11) {
            let Interval { yhat, lower, upper } = predicted(&model, minute as i64 * MINUTE);
            assert!((lower..=upper).contains(&value), "{minute}: {value} in {lower}..{upper}");
            assert_eq!(yhat, predicted(&model, 11 * MINUTE).yhat, "it is a level");
        }
        let mut loaded = HoltWinters::new(args.clone(), &[]);
        loaded.load(&saved(&model)).unwrap();
        assert_eq!((saved(&loaded), loaded.readiness()), (saved(&model), model.readiness()));
        let whole = fitted(args.clone(), &minutes(12), &season(12));
        assert_eq!((whole.readiness().value(), saved(&whole).len()), (2.0, state_bytes(6)));
        let mut without = saved(&fitted(
            HoltWintersArgs { seasonal: None, smoothing_seasonal: None, ..args.clone() },
            &minutes(60),
            &season(60),
        ));
        assert!(loaded.load(&without).is_err(), "a window of 60 steps has a season");
        without.truncate(20);
        assert!(loaded.load(&without).is_err());
    }
}

/// Windows as nobody wants them: short, unsorted, with times that repeat and gaps, values that are no numbers or of any size.
fn window() -> impl Strategy<Value = (Vec<i64>, Vec<f64>)> {
    let step = prop_oneof![
        16 => Just(MINUTE),
        1 => Just(0),
        1 => -3 * MINUTE..10 * MINUTE,
        1 => prop_oneof![Just(3 * 24 * 60 * MINUTE), Just(1), any::<i64>()],
    ];
    let usual = 0.1..100.0_f64;
    let numbers = prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO;
    let any_size = prop_oneof![numbers, Just(f64::MAX), Just(-f64::MAX), Just(1e300), Just(5e-324)];
    let no_number = prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(0.0), -1.0..1.0_f64];
    let of = move |value: BoxedStrategy<f64>| prop::collection::vec((step.clone(), value), 0..60).boxed();
    let samples = prop_oneof![
        of(usual.clone().boxed()),
        of(prop_oneof![9 => usual.clone(), 1 => no_number].boxed()),
        of(any_size.boxed()),
        usual.prop_flat_map(move |constant| of(Just(constant).boxed())),
    ];
    samples.prop_map(|samples| {
        let mut time = 0_i64;
        let (steps, values): (Vec<i64>, Vec<f64>) = samples.into_iter().unzip();
        let times = steps.into_iter().map(|step| {
            time = time.wrapping_add(step);
            time
        });
        (times.collect(), values)
    })
}

fn any_form() -> impl Strategy<Value = HoltWintersArgs> {
    let composition = || prop::sample::select(vec![None, ADDITIVE, MULTIPLICATIVE]);
    let initialization = prop::sample::select(vec![
        Initialization::Estimated,
        Initialization::Heuristic,
        Initialization::LegacyHeuristic,
    ]);
    let end = || prop_oneof![3 => Just(None), 1 => Just(Some(0.0)), 1 => Just(Some(1.0))];
    let frequency = prop_oneof![4 => Just(None), 1 => Just(Some(7 * MINUTE)), 1 => Just(Some(MINUTE / 3))];
    let box_cox = prop_oneof![
        4 => Just(None),
        1 => Just(Some(BoxCox::Estimated)),
        1 => prop::sample::select(vec![-1.5, 0.0, 2.0]).prop_map(|lambda| Some(BoxCox::Lambda(lambda))),
    ];
    let resampling = (frequency, box_cox);
    (composition(), composition(), any::<bool>(), initialization, (end(), end(), end()), 2..9_u32, resampling).prop_map(
        |(trend, seasonal, damped, initialization, (level, slope, season), periods, (frequency, box_cox))| {
            HoltWintersArgs {
                box_cox,
                frequency,
                trend,
                seasonal,
                damped_trend: damped && trend.is_some(),
                seasonal_periods: Some(periods),
                initialization,
                smoothing_level: level,
                smoothing_trend: slope.filter(|_| trend.is_some()),
                smoothing_seasonal: season.filter(|_| seasonal.is_some()),
                ..HoltWintersArgs::default()
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_window_gives_a_named_refusal_or_finite_predictions((times, values) in window(), args in any_form()) {
        prop_assert_eq!(args.validate(), Ok(()));
        let mut model = HoltWinters::new(args.clone(), &[]);
        match model.fit(Window { times: &times, values: &values }) {
            Err(error) => prop_assert!(!model.is_fitted() && !error.to_string().is_empty()),
            Ok(()) => {
                let ends = [i64::MIN, 0, i64::MAX];
                for time in times.iter().chain(&ends).flat_map(|time| [*time, time.saturating_add(12_345)]) {
                    let Interval { yhat, lower, upper } = predicted(&model, time);
                    prop_assert!(yhat.is_finite() && lower.is_finite() && upper.is_finite());
                    prop_assert!(lower <= yhat && yhat <= upper);
                }
                let mut loaded = HoltWinters::new(args, &[]);
                prop_assert_eq!(loaded.load(&saved(&model)), Ok(()));
                prop_assert_eq!(saved(&loaded), saved(&model));
            }
        }
    }

    #[test]
    fn damaged_bytes_are_an_error_that_leaves_the_model_alone_or_another_whole_state(
        at in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
        length in 5..100_usize,
        trend in prop::sample::select(vec![None, ADDITIVE, MULTIPLICATIVE]),
    ) {
        let mut target = fitted(HoltWintersArgs { trend, ..args() }, &minutes(24), &line_with_season(24));
        let good = saved(&target);
        for bytes in [&good[..length.min(good.len() - 1)], &[&good[..], &[0]].concat()] {
            prop_assert!(target.load(bytes).is_err());
            prop_assert_eq!(&saved(&target), &good);
        }
        let mut flipped = good.clone();
        flipped[at.index(good.len())] ^= flip;
        match target.load(&flipped) {
            Ok(()) => {
                prop_assert_eq!(&saved(&target), &flipped);
                for time in [i64::MIN, 0, 1_234_567, i64::MAX] {
                    let interval = predicted(&target, time);
                    prop_assert!(interval.yhat.is_finite() && interval.upper.is_finite());
                }
            }
            Err(StateError::Damaged { .. } | StateError::Version { .. }) => prop_assert_eq!(&saved(&target), &good),
        }
    }
}
