//! What users rely on of the isolation forests.

use detect::calendar::{DAY_MS, Zone};
use detect::isolation_forest::{
    Channels, Contamination, GrowthArgs, IsolationForest, IsolationForestArgs, IsolationForestMultivariate,
    MaxFeatures, MaxSamples, SeasonalFeature, merged_state_bytes,
};
use detect::model::{Samples, Scores};
use detect::offline::{FitError, OfflineBatch, OfflineModel, Prediction, Window};
use detect::per_series::PerSeries;
use detect::score::ScorePolicy;
use proptest::prelude::*;
use xxhash_rust::xxh3::Xxh3Default;

const HOUR_MS: i64 = DAY_MS / 24;

fn model(args: IsolationForestArgs) -> IsolationForest {
    IsolationForest::new(args, Zone::default(), 42)
}

fn fitted(args: IsolationForestArgs, window: Window<'_>) -> IsolationForest {
    let mut model = model(args);
    assert_eq!(model.fit(window), Ok(()));
    model
}

fn saved(model: &impl OfflineModel) -> Vec<u8> {
    let mut bytes = Vec::new();
    model.save(&mut bytes);
    bytes
}

fn base_scores(model: &IsolationForest, points: Window<'_>) -> Vec<f64> {
    let mut predictions = Vec::new();
    model.predict(points, &mut predictions);
    let base = |prediction| match prediction {
        Prediction::BaseScore(score) => score,
        Prediction::Interval(_) => panic!("a forest expects no value"),
    };
    predictions.into_iter().map(base).collect()
}

fn score_samples(model: &IsolationForest, points: Window<'_>) -> Vec<f64> {
    let mut scores = Vec::new();
    model.score_samples(points, &mut scores);
    scores
}

/// The bits of numbers; all NaNs are one.
fn bits(numbers: &[f64]) -> Vec<u64> {
    numbers.iter().map(|number| if number.is_nan() { u64::MAX } else { number.to_bits() }).collect()
}

fn hours(count: usize) -> Vec<i64> {
    (0..count as i64).map(|hour| hour * HOUR_MS).collect()
}

/// Two weeks of hours: 10 at night, 20 in the daytime, and a little of everything around them.
fn daily() -> (Vec<i64>, Vec<f64>) {
    let value = |hour: usize| {
        let level = if (8..20).contains(&(hour % 24)) { 20.0 } else { 10.0 };
        level + (hour * 37 % 101) as f64 / 101.0
    };
    (hours(336), (0..336).map(value).collect())
}

#[test]
fn values_far_from_all_others_score_above_one() {
    let (times, mut values) = daily();
    values[100] = 50.0;
    let args = IsolationForestArgs { contamination: Contamination::Share(0.01), ..Default::default() };
    let model = fitted(args, Window { times: &times, values: &values });
    let scores = base_scores(&model, Window { times: &[0; 4], values: &[10.5, 20.5, 40.0, 1000.0] });
    assert!(scores[0] < 1.0 && scores[1] < 1.0 && scores[2] > 1.1 && scores[3] > 1.1, "{scores:?}");
}

#[test]
fn a_usual_value_at_an_unusual_hour_is_seen_with_seasonal_features() {
    let (times, values) = daily();
    let window = Window { times: &times, values: &values };
    let seasonal_features = vec![SeasonalFeature::HourOfDay];
    let features = fitted(IsolationForestArgs { seasonal_features, ..Default::default() }, window);
    let none = fitted(IsolationForestArgs::default(), window);
    // At noon and at midnight.
    let points = Window { times: &[12 * HOUR_MS, 0], values: &[20.5, 20.5] };
    let [noon, midnight] = score_samples(&features, points)[..] else { panic!("two points") };
    assert!(midnight < noon - 0.02, "{midnight} {noon}");
    let [noon, midnight] = score_samples(&none, points)[..] else { panic!("two points") };
    assert_eq!(midnight, noon);
}

#[test]
fn contamination_is_the_share_of_the_fit_that_scores_above_one() {
    let (times, values) = daily();
    let window = Window { times: &times, values: &values };
    for share in [0.01, 0.1, 0.5] {
        let contamination = Contamination::Share(share);
        let seasonal_features = vec![SeasonalFeature::DayOfWeek];
        let model = fitted(IsolationForestArgs { contamination, seasonal_features, ..Default::default() }, window);
        let above = base_scores(&model, window).iter().filter(|score| **score > 1.0).count() as f64;
        assert!((above / 336.0 - share).abs() < 0.01, "{above} of {share}");
    }
}

#[test]
fn a_constant_series_scores_zero_whatever_comes() {
    let window = Window { times: &hours(50), values: &[7.0; 50] };
    for contamination in [Contamination::Auto, Contamination::Share(0.1)] {
        let model = fitted(IsolationForestArgs { contamination, ..Default::default() }, window);
        assert_eq!(base_scores(&model, Window { times: &[0, 1], values: &[7.0, 8.0] }), [0.0, 0.0]);
        assert_eq!(score_samples(&model, Window { times: &[0], values: &[8.0] }), [-0.5]);
    }
}

#[test]
fn a_window_with_one_sample_gives_no_fit_and_leaves_the_model_as_it_was() {
    let (times, values) = daily();
    let mut model = fitted(IsolationForestArgs::default(), Window { times: &times, values: &values });
    let before = saved(&model);
    let error = model.fit(Window { times: &[0, 1], values: &[1.0, f64::NAN] });
    assert_eq!(error, Err(FitError::TooFewSamples { needed: 2, found: 1 }));
    assert_eq!(saved(&model), before);
}

#[test]
fn a_fit_depends_on_the_samples_and_the_seed_alone() {
    let (times, values) = daily();
    let window = Window { times: &times, values: &values };
    let state = |seed, random_state| {
        let growth = GrowthArgs { random_state, ..Default::default() };
        let args = IsolationForestArgs { growth, ..Default::default() };
        let mut model = IsolationForest::new(args, Zone::default(), seed);
        assert_eq!(model.fit(window), Ok(()));
        saved(&model)
    };
    assert_eq!(state(42, None), state(42, None));
    assert_ne!(state(42, None), state(43, None));
    assert_eq!(state(42, Some(7)), state(43, Some(7)));

    let reversed = |times: &[i64]| times.iter().rev().copied().collect::<Vec<_>>();
    let values: Vec<f64> = values.iter().rev().copied().collect();
    let reversed = fitted(Default::default(), Window { times: &reversed(&times), values: &values });
    assert_eq!(saved(&reversed), state(42, None));
}

#[test]
fn the_state_of_default_arguments_is_small() {
    let times: Vec<i64> = (0..4032).map(|step| step * 300_000).collect();
    let values: Vec<f64> = (0..4032).map(|step| f64::from(step * 7919 % 4032)).collect();
    let window = Window { times: &times, values: &values };
    let merged = fitted(IsolationForestArgs::default(), window);
    assert!(saved(&merged).len() <= merged_state_bytes(10_000), "{}", saved(&merged).len());
    assert!(merged.heap_bytes() <= 80_000, "{}", merged.heap_bytes());
    let trees =
        fitted(IsolationForestArgs { seasonal_features: SeasonalFeature::ALL.to_vec(), ..Default::default() }, window);
    assert!(saved(&trees).len() <= 110_000, "{}", saved(&trees).len());
    assert!(trees.heap_bytes() <= 220_000, "{}", trees.heap_bytes());
}

/// A change of the digest is a change of what users' scores are: it needs a reason, and a new state version where states change.
#[test]
fn states_and_scores_are_the_same_bits_on_every_machine() {
    let (times, values) = daily();
    let window = Window { times: &times, values: &values };
    let mut digest = Xxh3Default::new();
    for seasonal_features in [vec![], SeasonalFeature::ALL.to_vec()] {
        let contamination = Contamination::Share(0.05);
        let model = fitted(IsolationForestArgs { contamination, seasonal_features, ..Default::default() }, window);
        digest.update(&saved(&model));
        base_scores(&model, window).iter().for_each(|score| digest.update(&score.to_bits().to_le_bytes()));
    }
    assert_eq!(digest.digest(), 0x3a7b_4768_58fa_2e3d, "{:#018x}", digest.digest());
}

/// Two series of which the second is the first, mirrored.
fn mirrored() -> (Vec<i64>, Vec<f64>) {
    let first: Vec<f64> = (0..300).map(|step| f64::from(step * 7919 % 300)).collect();
    let second = first.iter().map(|value| 300.0 - value);
    (hours(300), first.iter().copied().chain(second).collect())
}

#[test]
fn a_combination_that_does_not_occur_is_anomalous_though_each_series_is_as_usual() {
    let (times, values) = mirrored();
    let mut model = IsolationForestMultivariate::new(IsolationForestArgs::default(), Zone::default(), 42);
    model.fit(Channels { times: &times, count: 2, values: &values }).unwrap();
    assert_eq!(model.channels(), Some(2));
    let mut scores = Vec::new();
    // As usual, and both high.
    model.predict(Channels { times: &[0, 1], count: 2, values: &[150.0, 280.0, 150.0, 280.0] }, &mut scores);
    assert!(scores[0] < 1.0 && scores[1] > 1.0, "{scores:?}");
}

#[test]
fn times_at_which_a_series_is_missing_are_left_out() {
    let (times, values) = mirrored();
    let fit = |times: &[i64], values: &[f64]| {
        let mut model = IsolationForestMultivariate::new(IsolationForestArgs::default(), Zone::default(), 42);
        model.fit(Channels { times, count: 2, values }).unwrap();
        let mut bytes = Vec::new();
        model.save(&mut bytes);
        (model, bytes)
    };
    let (model, state) = fit(&times, &values);
    let (first, second) = values.split_at(300);
    let with_gaps = [first, &[1.0, f64::NAN], second, &[f64::INFINITY, 1.0]].concat();
    assert!(fit(&hours(302), &with_gaps).1 == state);

    let mut scores = vec![7.0];
    model.predict(Channels { times: &[0, 1], count: 2, values: &[1.0, f64::NAN, 1.0, 1.0] }, &mut scores);
    assert!(scores[0] == 7.0 && scores[1].is_finite() && scores[2].is_nan() && scores.len() == 3);
    let mut scores = Vec::new();
    model.predict(Channels { times: &[0], count: 3, values: &[1.0; 3] }, &mut scores);
    assert!(scores[0].is_nan(), "the number of series is not that of the fit");
}

#[test]
fn series_that_have_no_time_in_common_give_no_fit() {
    let mut model = IsolationForestMultivariate::new(IsolationForestArgs::default(), Zone::default(), 42);
    let error = model.fit(Channels { times: &[0, 1], count: 2, values: &[1.0, f64::NAN, f64::NAN, 1.0] });
    assert_eq!(error, Err(FitError::TooFewSamples { needed: 2, found: 0 }));
    let error = model.fit(Channels { times: &[0, 1], count: 0, values: &[] }).unwrap_err().to_string();
    assert_eq!(error, "the fit failed: there are no series");
    assert_eq!(model.channels(), None);
}

#[test]
fn a_batch_scores_what_was_fitted_and_policies_on_values_apply() {
    let (times, values) = daily();
    let mut batch = PerSeries::new(model(IsolationForestArgs::default()));
    OfflineBatch::grow(&mut batch, 2);
    let mut state = Vec::new();
    batch.fit(Window { times: &times, values: &values }, &mut state).unwrap();
    OfflineBatch::load(&mut batch, 1, &state).unwrap();
    let policy = ScorePolicy { data_range: (0.0, 100.0), ..ScorePolicy::default() };
    let samples = Samples { times: &[0, 1, 2], slots: &[0, 1], values: &[10.5, 1.0, 1.0, 10.5, 101.0, f64::NAN] };
    let mut scores = Scores::default();
    OfflineBatch::infer(&batch, samples, &policy, &mut scores);
    let usual = base_scores(
        &fitted(IsolationForestArgs::default(), Window { times: &times, values: &values }),
        Window { times: &[0], values: &[10.5] },
    );
    assert_eq!(bits(&scores.anomaly_score), bits(&[f64::NAN, f64::NAN, f64::NAN, usual[0], 1.01, f64::NAN]));
    assert!(scores.yhat.iter().all(|yhat| yhat.is_nan()));
}

/// Values as a source sends them: a few levels, any number, and what is none.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => -1e3..1e3_f64,
        2 => (-3..3).prop_map(f64::from),
        1 => prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO,
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(1e300), Just(f64::MAX)],
    ]
}

/// Times in any order, some equal, some a year apart or at the end of all time.
fn time() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => 0..400 * HOUR_MS,
        2 => (0..3_i64).prop_map(|year| year * 365 * DAY_MS),
        1 => prop_oneof![Just(i64::MIN), Just(i64::MAX)],
    ]
}

fn arguments() -> impl Strategy<Value = IsolationForestArgs> {
    let contamination =
        prop_oneof![Just(Contamination::Auto), prop_oneof![1e-300..0.5_f64, Just(0.5)].prop_map(Contamination::Share),];
    let max_samples = prop_oneof![
        Just(MaxSamples::Auto),
        prop_oneof![1..20_u32, Just(32_768)].prop_map(MaxSamples::Number),
        prop_oneof![1e-300..1.0_f64, Just(1.0)].prop_map(MaxSamples::Share),
    ];
    let max_features = prop_oneof![
        prop_oneof![1..9_u32, Just(u32::MAX)].prop_map(MaxFeatures::Number),
        prop_oneof![1e-300..1.0_f64, Just(1.0)].prop_map(MaxFeatures::Share),
    ];
    let growth = (prop_oneof![1..20_u32, Just(1000)], max_samples, max_features, any::<bool>(), any::<Option<u32>>());
    let features = prop::sample::subsequence(SeasonalFeature::ALL.to_vec(), 0..=4);
    (contamination, features, growth).prop_map(|(contamination, seasonal_features, growth)| {
        let (n_estimators, max_samples, max_features, bootstrap, random_state) = growth;
        let growth = GrowthArgs { n_estimators, max_samples, max_features, bootstrap, random_state };
        IsolationForestArgs { contamination, seasonal_features, growth }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_data_and_arguments_give_finite_scores_or_a_reason(
        args in arguments(),
        history in prop::collection::vec((time(), value()), 0..120),
        live in prop::collection::vec((time(), value()), 1..150),
        cut in any::<prop::sample::Index>(),
    ) {
        prop_assert_eq!(args.validate("isolation_forest"), Ok(()));
        let (times, values): (Vec<_>, Vec<_>) = history.into_iter().unzip();
        let mut forest = model(args.clone());
        let found = values.iter().filter(|value| value.is_finite()).count();
        let fit = forest.fit(Window { times: &times, values: &values });
        if found < 2 {
            prop_assert_eq!(fit, Err(FitError::TooFewSamples { needed: 2, found }));
            return Ok(());
        }
        prop_assert_eq!(fit, Ok(()));

        let (times, values): (Vec<_>, Vec<_>) = live.into_iter().unzip();
        let scores = base_scores(&forest, Window { times: &times, values: &values });
        let samples = score_samples(&forest, Window { times: &times, values: &values });
        let offset = forest.offset().unwrap();
        for ((score, sample), value) in scores.iter().zip(&samples).zip(&values) {
            if value.is_finite() {
                prop_assert!(score.is_finite() && (-1.0..0.0).contains(sample));
                prop_assert!(*score == 0.0 || (*score > 1.0) == (*sample < offset), "{} {}", sample, offset);
            } else {
                prop_assert!(score.is_nan() && sample.is_nan());
            }
        }

        // Cut into calls, and loaded in between, the scores are the same bits.
        let cut = cut.index(values.len());
        let mut parts = base_scores(&forest, Window { times: &times[..cut], values: &values[..cut] });
        let mut loaded = model(args);
        prop_assert_eq!(loaded.load(&saved(&forest)), Ok(()));
        prop_assert_eq!(saved(&loaded), saved(&forest));
        parts.extend(base_scores(&loaded, Window { times: &times[cut..], values: &values[cut..] }));
        prop_assert_eq!(bits(&parts), bits(&scores));
    }

    #[test]
    fn any_series_on_a_common_grid_give_finite_scores_or_a_reason(
        args in arguments(),
        rows in prop::collection::vec((time(), prop::array::uniform3(value())), 1..120),
        cut in any::<prop::sample::Index>(),
    ) {
        let matrix = |rows: &[(i64, [f64; 3])]| {
            let times: Vec<i64> = rows.iter().map(|row| row.0).collect();
            let values: Vec<f64> = (0..3).flat_map(|series| rows.iter().map(move |row| row.1[series])).collect();
            (times, values)
        };
        let scores_of = |model: &IsolationForestMultivariate, rows: &[(i64, [f64; 3])]| {
            let (times, values) = matrix(rows);
            let mut scores = Vec::new();
            model.predict(Channels { times: &times, count: 3, values: &values }, &mut scores);
            scores
        };
        let is_complete = |row: &(i64, [f64; 3])| row.1.iter().all(|value| value.is_finite());
        let found = rows.iter().filter(|row| is_complete(row)).count();
        let (times, values) = matrix(&rows);
        let mut forest = IsolationForestMultivariate::new(args.clone(), Zone::default(), 42);
        let fit = forest.fit(Channels { times: &times, count: 3, values: &values });
        if found < 2 {
            prop_assert_eq!(fit, Err(FitError::TooFewSamples { needed: 2, found }));
            return Ok(());
        }
        prop_assert_eq!(fit, Ok(()));
        let scores = scores_of(&forest, &rows);
        for (score, row) in scores.iter().zip(&rows) {
            prop_assert_eq!(score.is_finite(), is_complete(row));
        }

        let mut bytes = Vec::new();
        forest.save(&mut bytes);
        let mut loaded = IsolationForestMultivariate::new(args, Zone::default(), 42);
        prop_assert_eq!(loaded.load(&bytes), Ok(()));
        prop_assert_eq!(loaded.channels(), Some(3));
        let (head, tail) = rows.split_at(cut.index(rows.len()));
        let parts = [scores_of(&forest, head), scores_of(&loaded, tail)].concat();
        prop_assert_eq!(bits(&parts), bits(&scores));
    }

    #[test]
    fn damaged_bytes_are_an_error_that_leaves_the_model_alone_or_another_whole_state(
        args in arguments(),
        values in prop::collection::vec(-1e3..1e3_f64, 2..40),
        at in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
        length in any::<prop::sample::Index>(),
    ) {
        let window = Window { times: &hours(values.len()), values: &values };
        let mut target = fitted(args.clone(), window);
        let good = saved(&target);
        let mut flipped = good.clone();
        flipped[at.index(good.len())] ^= flip;
        // A header alone is a model without a fit.
        let cut = good[..length.index(good.len())].to_vec();
        let extended = [&good[..], &[0]].concat();
        for bytes in [&cut, &extended] {
            prop_assert!(bytes.len() == 4 || target.load(bytes).is_err());
            prop_assert_eq!(&saved(&target), &good);
        }
        if target.load(&flipped).is_ok() {
            prop_assert_eq!(&saved(&target), &flipped);
            prop_assert!(base_scores(&target, window).iter().all(|score| score.is_finite()));
        } else {
            prop_assert_eq!(&saved(&target), &good);
        }
    }

    #[test]
    fn random_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300), offset in -1.0..0.0_f64, features in 0..4_u32
    ) {
        let header = [&b"if\x01\0"[..], &offset.to_le_bytes(), &features.to_le_bytes()].concat();
        for bytes in [&bytes[..], &[&header[..], &bytes].concat()] {
            for seasonal_features in [vec![], vec![SeasonalFeature::HourOfDay]] {
                let mut target = model(IsolationForestArgs { seasonal_features, ..Default::default() });
                if target.load(bytes).is_ok() {
                    prop_assert_eq!(saved(&target), bytes);
                }
            }
        }
    }
}
