//! `quantile_online` and `rolling_quantile` against exact quantiles, and what their seasons and windows promise.

mod random;

use detect::calendar::{Date, Zone};
use detect::model::OnlineModel;
use detect::quantile_online::{QuantileOnline, QuantileOnlineArgs, bucket_compression, max_state_bytes};
use detect::rolling_quantile::{MAX_WINDOW_STEPS, RollingQuantile, RollingQuantileArgs, state_bytes};
use detect::score::{Interval, ScorePolicy};
use proptest::prelude::*;
use random::Random;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

fn args() -> QuantileOnlineArgs {
    QuantileOnlineArgs::default()
}

/// Buckets of an hour in a season of so many.
fn hours(count: i64) -> QuantileOnlineArgs {
    QuantileOnlineArgs { seasonal_interval: Some(count * HOUR), min_subseason: Some(HOUR), ..args() }
}

fn learnt<M: OnlineModel>(mut model: M, samples: impl IntoIterator<Item = (i64, f64)>) -> M {
    for (time, value) in samples {
        model.learn(time, value);
    }
    model
}

fn online(args: QuantileOnlineArgs, samples: impl IntoIterator<Item = (i64, f64)>) -> QuantileOnline {
    learnt(QuantileOnline::new(args, Zone::default()), samples)
}

fn saved(model: &impl OnlineModel) -> Vec<u8> {
    let mut bytes = Vec::new();
    model.save(&mut bytes);
    bytes
}

/// How far the rank of `x` is from `probability`, in the share of the weight.
fn rank_error(pairs: &[(f64, f64)], x: f64, probability: f64) -> f64 {
    let total: f64 = pairs.iter().map(|(_, weight)| weight).sum();
    let share = |includes: &dyn Fn(f64) -> bool| {
        let included = pairs.iter().filter(|(value, _)| includes(*value));
        included.map(|(_, weight)| weight).sum::<f64>() / total
    };
    (share(&|value| value < x) - probability).max(probability - share(&|value| value <= x)).max(0.0)
}

fn weighted(values: &[f64], decay: f64) -> Vec<(f64, f64)> {
    let mut weight = 1.0 / decay;
    let decayed = values.iter().rev().map(|value| {
        weight *= decay;
        (*value, weight)
    });
    decayed.collect()
}

type Shape = fn(usize, &mut Random) -> f64;

/// Around 1e9, heavy tails, skewed, bimodal, few values, rare values, rising, falling.
const SHAPES: [Shape; 8] = [
    |_, random| 1e9 + random.normal(),
    |_, random| random.normal() / random.uniform(),
    |_, random| -libm::log(1.0 - random.uniform()),
    |_, random| if random.uniform() < 0.55 { random.normal() } else { 100.0 + random.normal() },
    |_, random| (random.uniform() * 40.0).floor(),
    |_, random| if random.uniform() < 0.97 { 0.0 } else { 50.0 + random.normal() },
    |index, _| index as f64,
    |index, _| -(index as f64),
];

/// The greatest rank error over the shapes, of probabilities that are in the middle and of 0.01 and 0.99.
fn worst_rank_errors(compression: u32) -> (f64, f64) {
    let (mut middle, mut tails) = (0.0_f64, 0.0_f64);
    for shape in SHAPES {
        for decay in [1.0, 0.9999, 0.999, 0.99] {
            let mut random = Random(1);
            let values: Vec<f64> = (0..10_000).map(|index| shape(index, &mut random)).collect();
            let models = [[0.01, 0.05, 0.25], [0.5, 0.95, 0.99]].map(|quantiles| QuantileOnlineArgs {
                quantiles,
                compression,
                decay,
                ..args()
            });
            let mut models = models.map(|args| QuantileOnline::new(args, Zone::default()));
            for (index, value) in values.iter().enumerate() {
                models.iter_mut().for_each(|model| model.learn(0, *value));
                if index % 1499 != 0 && index + 1 != values.len() {
                    continue;
                }
                let pairs = weighted(&values[..=index], decay);
                let [low, high] = models.each_ref().map(|model| model.predict(0));
                let error = |value, probability| rank_error(&pairs, value, probability);
                let in_tails = error(low.lower, 0.01).max(error(high.upper, 0.99));
                let others = [(low.yhat, 0.05), (low.upper, 0.25), (high.lower, 0.5), (high.yhat, 0.95)];
                let in_middle = others.into_iter().map(|(value, probability)| error(value, probability));
                let in_middle = in_middle.fold(0.0, f64::max);
                (middle, tails) = (middle.max(in_middle), tails.max(in_tails));
            }
        }
    }
    (middle, tails)
}

#[test]
fn rank_errors_of_long_series_are_within_the_documented_ones() {
    let (middle, tails) = worst_rank_errors(100);
    assert!(middle <= 0.02 && tails <= 0.005, "{middle} {tails}");
    let (middle, tails) = worst_rank_errors(25);
    assert!(middle <= 0.06 && tails <= 0.012, "{middle} {tails}");
}

#[test]
fn a_bucket_expects_what_was_seen_in_it_and_an_empty_one_what_was_seen_at_all() {
    let samples = (0..300).map(|index| (index % 3 * HOUR, (index % 3) as f64));
    let model = online(hours(24), samples);
    let yhat = |time| model.predict(time).yhat;
    assert_eq!([yhat(0), yhat(HOUR), yhat(2 * HOUR + DAY * 50), yhat(HOUR - DAY)], [0.0, 1.0, 2.0, 1.0]);
    assert_eq!(yhat(3 * HOUR), 1.0, "the median of all");
}

#[test]
fn buckets_follow_the_clocks_of_the_zone_across_daylight_saving_time() {
    // 2024-03-30 and 2024-03-31 at 09:30 in Berlin: 08:30 and 07:30 UTC.
    let (winter, summer) = (1_711_787_400_000, 1_711_787_400_000 + DAY - HOUR);
    let predict = |zone: &str| {
        let model = QuantileOnline::new(hours(24), Zone::named(zone).unwrap());
        learnt(model, [(winter, 7.0), (summer, 8.0), (summer, 8.0)]).predict(winter + 90 * DAY - HOUR).yhat
    };
    assert_eq!(predict("Europe/Berlin"), 8.0, "all three are of the same hour");
    assert_eq!(predict("UTC"), 8.0, "of the hour of the latter two");
    let model = QuantileOnline::new(hours(24), Zone::named("Europe/Berlin").unwrap());
    assert_eq!(learnt(model, [(winter, 7.0), (winter - HOUR, 1.0)]).predict(summer).yhat, 7.0);
}

#[test]
fn the_season_starts_at_midnight_of_its_day() {
    let weekly = |start: &str| QuantileOnlineArgs {
        seasonal_interval: Some(7 * DAY),
        min_subseason: Some(7 * DAY / 2),
        season_starts_from: start.parse().unwrap(),
        ..args()
    };
    // A Monday and a Friday. From a Monday on, the halves of a week meet on Thursday at noon; from a Tuesday on, on Friday at noon.
    let samples = [(4 * DAY, 1.0), (8 * DAY, 2.0)];
    let on_wednesday = |start| online(weekly(start), samples).predict(6 * DAY).yhat;
    assert_eq!(["1970-01-05", "2024-02-26", "2024-02-27"].map(on_wednesday), [1.0, 1.0, 2.0]);
}

#[test]
fn decay_counts_the_samples_of_all_buckets() {
    let decaying = QuantileOnlineArgs { decay: 0.99, ..hours(24) };
    let old = (0..100).map(|_| (0, 5.0));
    let other = (0..1000).map(|_| (HOUR, 0.0));
    let mut model = online(decaying, old.chain(other));
    assert_eq!(model.predict(0).yhat, 5.0, "nothing newer was seen in the bucket");
    model.learn(0, 9.0);
    assert_eq!(model.predict(0).yhat, 9.0, "0.99^1000 of the old samples' weight is left");
    let mut kept = online(hours(24), (0..100).map(|_| (0, 5.0)));
    kept.learn(0, 9.0);
    assert_eq!(kept.predict(0).yhat, 5.0);
}

#[test]
fn bounds_are_asymmetric_and_widened_by_the_interquartile_range() {
    let samples = || (0..=80).map(|index| (0, f64::from(if index <= 40 { index } else { 10 * index })));
    let quartiles = QuantileOnlineArgs { quantiles: [0.1, 0.5, 0.75], ..args() };
    let plain = online(quartiles, samples()).predict(0);
    assert_eq!(plain, Interval { yhat: 40.0, lower: 8.0, upper: 600.0 });
    let wide = online(QuantileOnlineArgs { iqr_threshold: 2.0, ..quartiles }, samples()).predict(0);
    assert_eq!(wide, Interval { yhat: 40.0, lower: 8.0 - 2.0 * 580.0, upper: 600.0 + 2.0 * 580.0 });
}

#[test]
fn smoothing_blends_a_bucket_with_all_samples() {
    let samples = || (0..400).map(|index| if index % 4 == 0 { (0, 10.0) } else { (HOUR, 20.0) });
    let yhat = |share| online(QuantileOnlineArgs { global_smoothing: share, ..hours(24) }, samples()).predict(0).yhat;
    assert_eq!([0.0, 0.25, 1.0].map(yhat), [10.0, 12.5, 20.0]);
}

#[test]
fn transformed_values_come_back_and_are_widened_in_magnitudes() {
    let transformed = QuantileOnlineArgs { use_transform: true, quantiles: [0.25, 0.5, 0.75], ..args() };
    for value in [1e6 + 0.1, -3.3, 1e300, 0.0, f64::MIN_POSITIVE] {
        let model = online(QuantileOnlineArgs { iqr_threshold: 2.0, ..transformed }, (0..20).map(|_| (0, value)));
        assert_eq!(model.predict(0), Interval::symmetric(value, 0.0), "a constant series keeps its value");
    }
    // Powers of 10 less 1: their logarithms are evenly spaced.
    let samples = (0..=8).map(|power| (0, libm::exp10(f64::from(power)) - 1.0));
    let interval = online(QuantileOnlineArgs { iqr_threshold: 0.5, ..transformed }, samples).predict(0);
    assert_eq!(interval.yhat, 9999.0);
    assert!((interval.lower - 0.0).abs() < 1e-12, "{interval:?}: 99 less half of four decades");
    assert!((interval.upper / (1e8 - 1.0) - 1.0).abs() < 1e-12);
    let samples = (0..100).map(|index| (0, if index % 2 == 0 { 1e300 } else { -1e300 }));
    let interval = online(QuantileOnlineArgs { iqr_threshold: 3.0, ..transformed }, samples).predict(0);
    assert_eq!((interval.lower, interval.upper), (-f64::MAX, f64::MAX));
}

#[test]
fn memory_and_state_are_bounded_as_documented() {
    let mut random = Random(1);
    for (buckets, heap, state) in [(0, 1024, 1048), (24, 27_000, 26_500), (168, 60_000, 55_000)] {
        let season = if buckets == 0 { args() } else { hours(buckets) };
        let model = online(season, (0..60_000).map(|hour| (hour * HOUR, random.normal())));
        assert!(model.heap_bytes() <= heap, "{buckets} buckets: {} bytes", model.heap_bytes());
        let bytes = saved(&model).len();
        assert!(bytes <= max_state_bytes(100, buckets as usize), "{buckets} buckets: {bytes} bytes");
        assert!(max_state_bytes(100, buckets as usize) <= state, "{}", max_state_bytes(100, buckets as usize));
    }
    assert_eq!(
        [0, 24, 42, 84, 168, 10_000].map(|buckets| bucket_compression(100, buckets)),
        [100, 100, 100, 50, 25, 25]
    );
    assert_eq!(bucket_compression(1, 10_000), 1);
}

#[test]
fn states_of_another_season_or_window_are_refused() {
    let mut weekly = online(hours(168), [(0, 1.0)]);
    let message = weekly.load(&saved(&online(hours(24), [(0, 1.0)]))).unwrap_err().to_string();
    assert_eq!(message, "state is damaged: it was learnt with another season");
    let window = |steps| learnt(RollingQuantile::new(RollingQuantileArgs::new(0.9, steps)), [(0, 1.0)]);
    assert!(window(5).load(&saved(&window(6))).is_err());
}

#[test]
fn an_argument_outside_its_range_is_named() {
    let message = |args: QuantileOnlineArgs| args.validate().unwrap_err().to_string();
    assert_eq!(args().validate(), Ok(()));
    assert_eq!(hours(48).validate(), Ok(()));
    let quantiles = |quantiles| message(QuantileOnlineArgs { quantiles, ..args() });
    assert_eq!(
        quantiles([0.5, 0.1, 0.9]),
        "quantiles of quantile_online is [0.5, 0.1, 0.9], it must be three ascending numbers from 0 to 1"
    );
    assert!(quantiles([-0.1, 0.5, 0.9]).starts_with("quantiles"));
    assert!(quantiles([0.1, f64::NAN, 0.9]).starts_with("quantiles"));
    assert!(message(QuantileOnlineArgs { iqr_threshold: -1.0, ..args() }).starts_with("iqr_threshold"));
    assert!(message(QuantileOnlineArgs { global_smoothing: 1.1, ..args() }).starts_with("global_smoothing"));
    assert!(message(QuantileOnlineArgs { compression: 0, ..args() }).starts_with("compression"));
    assert!(message(QuantileOnlineArgs { decay: 0.0, ..args() }).starts_with("decay"));
    assert!(message(QuantileOnlineArgs { min_subseason: None, ..hours(2) }).starts_with("min_subseason"));
    assert!(message(QuantileOnlineArgs { min_subseason: Some(0), ..hours(2) }).starts_with("min_subseason"));
    assert!(message(QuantileOnlineArgs { seasonal_interval: None, ..hours(2) }).starts_with("seasonal_interval"));
    let no_multiple = QuantileOnlineArgs { min_subseason: Some(37 * 60_000), ..hours(2) };
    assert!(message(no_multiple).starts_with("seasonal_interval of quantile_online is 7200000 ms"));
    assert!(message(hours(10_081)).starts_with("seasonal_interval"));
    let no_day = Date { year: 2023, month: 2, day: 29 };
    assert_eq!(
        message(QuantileOnlineArgs { season_starts_from: no_day, ..args() }),
        "season_starts_from of quantile_online is 2023-02-29, it must be a day of the calendar"
    );
    let rolling =
        |quantile, steps| RollingQuantileArgs::new(quantile, steps).validate().map_err(|error| error.argument);
    assert_eq!(rolling(0.5, 1), Ok(()));
    assert_eq!(rolling(1.0, MAX_WINDOW_STEPS), Ok(()));
    assert_eq!([rolling(0.49, 1), rolling(f64::NAN, 1)], [Err("quantile"), Err("quantile")]);
    assert_eq!([rolling(0.9, 0), rolling(0.9, MAX_WINDOW_STEPS + 1)], [Err("window_steps"), Err("window_steps")]);
    assert!(RollingQuantileArgs { iqr_threshold: f64::NAN, ..RollingQuantileArgs::new(0.9, 1) }.validate().is_err());
}

#[test]
fn a_rolling_window_forgets_what_left_it_and_is_as_large_as_documented() {
    let args = RollingQuantileArgs { iqr_threshold: 2.0, ..RollingQuantileArgs::new(1.0, 96) };
    let mut model = RollingQuantile::new(args);
    assert!(!model.predict(0).is_some());
    for index in 0..1000 {
        model.learn(0, if index < 904 { 1e6 } else { f64::from(index % 5) });
    }
    // The window is 4, 0, 1 .. 4, 0 .. 4: 0 nineteen times, 4 twenty times.
    assert_eq!(model.predict(0), Interval { yhat: 2.0, lower: -2.0, upper: 6.0 });
    assert_eq!((saved(&model).len(), state_bytes(96), model.heap_bytes()), (788, 788, 96 * 16));
}

#[test]
fn a_constant_series_scores_above_one_on_any_deviation_beyond_rounding() {
    let policy = ScorePolicy::default();
    let constant = || (0..100).map(|_| (0, 0.1));
    let rolling = learnt(RollingQuantile::new(RollingQuantileArgs::new(0.9, 50)), constant()).predict(0);
    for interval in [online(args(), constant()).predict(0), rolling] {
        let prepared = policy.prepare(interval);
        assert_eq!(policy.score(prepared, 0.1, 100), 0.0);
        assert!(policy.score(prepared, 0.1 + 1e-12, 100) > 1.0);
    }
}

/// `q(p)` of sorted values by the definition.
fn linear(sorted: &[f64], probability: f64) -> f64 {
    let position = (sorted.len() - 1) as f64 * probability;
    let (low, high) = (sorted[position.floor() as usize], sorted[position.ceil() as usize]);
    low + (high - low) * (position - position.floor())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_rolling_window_has_the_quantiles_of_its_samples(
        values in prop::collection::vec(prop_oneof![-1e3..1e3_f64, (-3..3).prop_map(f64::from)], 1..200),
        window in 1..40_u32,
        quantile in prop_oneof![0.5..=1.0_f64, Just(0.5), Just(1.0)],
    ) {
        let mut model = RollingQuantile::new(RollingQuantileArgs::new(quantile, window));
        for (index, value) in values.iter().enumerate() {
            model.learn(0, *value);
            let mut latest = values[(index + 1).saturating_sub(window as usize)..=index].to_vec();
            latest.sort_by(f64::total_cmp);
            let interval = model.predict(0);
            for (found, probability) in
                [(interval.lower, 1.0 - quantile), (interval.yhat, 0.5), (interval.upper, quantile)]
            {
                let expected = linear(&latest, probability);
                prop_assert!((found - expected).abs() <= 1e-12 * expected.abs().max(1e3), "{} {}", found, expected);
            }
        }
    }

    #[test]
    fn quantiles_are_exact_while_there_are_few_values(
        values in prop::collection::vec((-20..20_i32).prop_map(f64::from), 1..500),
        decay in prop_oneof![Just(1.0), 0.9..1.0_f64],
        probability in prop_oneof![0.0..=1.0_f64, (0..=100).prop_map(|percent| f64::from(percent) / 100.0)],
    ) {
        let args = QuantileOnlineArgs { quantiles: [probability; 3], decay, ..args() };
        let found = online(args, values.iter().map(|value| (0, *value))).predict(0).yhat;
        prop_assert!(rank_error(&weighted(&values, decay), found, probability) <= 1e-4);
    }
}
