//! `calibrated` on series that users have: rare alarms, at the right samples, whatever the unit.

mod random;

use detect::calendar::Zone;
use detect::calibrated::{
    CalibratedArgs, CalibratedBatch, FIRST_SCORED, MAX_FALSE_ALARMS_PER_DAY, MIN_FALSE_ALARMS_PER_DAY, Season, Stored,
    Yardstick, component_names, max_state_bytes,
};
use detect::model::{OnlineBatch, Samples, Scores};
use detect::score::{Direction, ScorePolicy, Sides};
use detect::spec::ModelSpec;
use proptest::prelude::*;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// 2024-01-01, a Monday.
const START: i64 = 1_704_067_200_000;

/// Below 1.
fn uniform(index: usize) -> f64 {
    random::uniform(index as u64)
}

/// About normal, of a standard deviation of 1.
fn noise(index: usize) -> f64 {
    (0..12).map(|part| uniform(12 * index + part)).sum::<f64>() - 6.0
}

fn batch<S: Stored>(step: i64) -> CalibratedBatch<S> {
    let mut batch = CalibratedBatch::new(CalibratedArgs::new(step), Zone::default());
    batch.grow(1);
    batch
}

/// From [`START`] on.
fn times(step: i64, count: usize) -> Vec<i64> {
    (0..count as i64).map(|index| START + index * step).collect()
}

/// Scores of samples of this step from [`START`] on.
fn infer_by<S: Stored>(policy: &ScorePolicy, step: i64, values: &[f64]) -> Scores {
    let mut scores = Scores::default();
    let times = times(step, values.len());
    batch::<S>(step).infer(Samples { times: &times, slots: &[0], values }, policy, &mut scores);
    scores
}

fn infer_with<S: Stored>(batch: &mut CalibratedBatch<S>, times: &[i64], values: &[f64]) -> Scores {
    let mut scores = Scores::default();
    batch.infer(Samples { times, slots: &[0], values }, &ScorePolicy::default(), &mut scores);
    scores
}

fn infer(step: i64, values: &[f64]) -> Scores {
    infer_by::<f32>(&ScorePolicy::default(), step, values)
}

/// Numbers of the samples that score above 1.
fn alarms(scores: &Scores) -> Vec<usize> {
    (0..scores.anomaly_score.len()).filter(|at| scores.anomaly_score[*at] > 1.0).collect()
}

/// So many samples of something, without an alarm after the first ones, and with one where the value leaves by so much.
fn is_calm_until(step: i64, count: usize, first: usize, value: impl Fn(usize) -> f64, leap: f64) {
    let mut values: Vec<f64> = (0..=count).map(value).collect();
    values[count] += leap;
    let alarms = alarms(&infer(step, &values));
    let late: Vec<usize> = alarms.iter().copied().filter(|at| *at >= first).collect();
    assert_eq!(late, [count], "step {step}: {alarms:?}");
}

#[test]
fn a_noisy_level_is_calm_at_any_step() {
    for (step, count) in [(1_000, 90_000), (10_000, 30_000), (MINUTE, 20_000), (HOUR, 2_000), (DAY, 300)] {
        is_calm_until(step, count, count / 2, |at| 100.0 + noise(at), 15.0);
    }
}

#[test]
fn days_and_weeks_are_usual() {
    let value = |at: usize| {
        let (of_day, day) = (at % 288, at / 288 % 7);
        let curve = if (100..220).contains(&of_day) && day < 5 { 50.0 } else { 10.0 };
        curve + noise(at)
    };
    // At night: what is usual in the afternoon is not.
    is_calm_until(5 * MINUTE, 288 * 35 + 20, 288 * 21, value, 30.0);
}

#[test]
fn what_is_written_beside_the_interval_makes_the_score() {
    let days = |at: usize| if at / 12 % 24 < 9 { 10.0 } else { 50.0 };
    let weeks = |at: usize| if at / 288 % 7 < 5 { days(at) } else { 10.0 };
    let curves: [(&dyn Fn(usize) -> f64, f64); 3] = [(&|_| 0.0, 0.0), (&days, 1.0), (&weeks, 2.0)];
    for (curve, season) in curves {
        let count = 288 * 28;
        let values: Vec<f64> = (0..count).map(|at| curve(at) + noise(at)).collect();
        let times: Vec<i64> = (0..count as i64).map(|index| START + index * 5 * MINUTE).collect();
        let names: Vec<&str> = component_names().chain(["unknown"]).collect();
        let mut batch = CalibratedBatch::<f64>::new(CalibratedArgs::new(5 * MINUTE), Zone::default()).providing(&names);
        batch.grow(1);
        let mut scores = Scores::default();
        let samples = Samples { times: &times, slots: &[0], values: &values };
        batch.infer(samples, &ScorePolicy::default(), &mut scores);
        let mut of_fast_view = 0;
        for (at, drivers) in scores.components.chunks(names.len()).enumerate().skip(288 * 21) {
            let [found, view, usual, hour, unrest, threshold, hold, unknown] = drivers else { panic!("{drivers:?}") };
            assert!(unknown.is_nan() && *hour >= 1.0 && *unrest >= 1.0 && *hold >= 1.0, "{drivers:?}");
            assert!(*threshold > 2.0 && *view <= 3.0, "{drivers:?}");
            assert_eq!(*found, season, "sample {at}");
            let yhat = scores.yhat[at];
            if *view == 0.0 && scores.yhat_lower[at] < yhat && yhat < scores.yhat_upper[at] {
                let margins = (values[at] - yhat).abs() / (usual * hour * unrest * threshold);
                let score = if margins > *hold { margins / hold } else { margins.min(0.999) };
                assert!((score - scores.anomaly_score[at]).abs() < 1e-9, "sample {at}");
                of_fast_view += 1;
            }
        }
        assert!(of_fast_view > 288);
        let Yardstick { season: found, block, own, factor } = batch.yardstick(0).unwrap();
        assert_eq!(found, [Season::None, Season::Daily, Season::Weekly][season as usize]);
        assert_eq!((block, own), (12 * HOUR, true));
        // What is left of a new series' caution.
        assert!((1.0..1.000_001).contains(&factor), "{factor}");
    }
}

#[test]
fn the_first_move_of_a_series_scores_nothing_and_later_ones_are_judged() {
    let mut values = vec![3.0; 3000];
    values[2000] = 4.0;
    values[2500..2510].fill(9.0);
    let scores = infer(MINUTE, &values);
    assert!(scores.anomaly_score[..=2000].iter().all(|score| *score == 0.0));
    assert!(scores.yhat_upper[1999] - 3.0 < 1e-12 && scores.yhat[1999] == 3.0);
    assert!(scores.anomaly_score[2500] > 1.0);
    assert!(scores.anomaly_score.iter().all(|score| score.is_finite()));
}

#[test]
fn a_flat_series_that_starts_to_move_is_calm_again_after_a_day() {
    let value = |at: usize| if at < 2000 { 5.0 } else { 5.0 + noise(at) };
    is_calm_until(MINUTE, 8000, 2000 + 1440, value, 15.0);
}

#[test]
fn something_that_goes_on_and_off_alarms_at_most_when_it_switches() {
    let mut values: Vec<f64> = (0..20_000).map(|at| f64::from(at / 240 % 3 == 0)).collect();
    values[19_500] += 5.0;
    let late: Vec<usize> = alarms(&infer(MINUTE, &values)).into_iter().filter(|at| *at >= 6000).collect();
    assert!(late.contains(&19_500));
    // What is learnt of the time of the day is smooth, so the sample before a switch may be the one that is not expected.
    let switches = |at: usize| values[at - 1] != values[at] || values[at] != values[at + 1];
    assert!(late.iter().all(|at| switches(*at)) && late.len() < 20, "{late:?}");
}

#[test]
fn two_integers_are_calm() {
    let mut values: Vec<f64> = (0..6000).map(|at| if uniform(at) < 0.9 { 3.0 } else { 4.0 }).collect();
    values.push(14.0);
    let late: Vec<usize> = alarms(&infer(5 * MINUTE, &values)).into_iter().filter(|at| *at >= 3000).collect();
    // In ten days, some that come in a row.
    assert!(late.contains(&6000) && late.len() <= 4, "{late:?}");
}

#[test]
fn single_steps_of_a_counter_of_rare_events_are_no_alarm() {
    let mut values: Vec<f64> = (0..20_000).map(|at| f64::from(uniform(at) < 0.001)).collect();
    values[19_000] = 6.0;
    assert_eq!(alarms(&infer(MINUTE, &values)), [19_000]);
    let mut original = CalibratedBatch::<f32>::new(CalibratedArgs::original(MINUTE), Zone::default());
    original.grow(1);
    let scores = infer_with(&mut original, &times(MINUTE, values.len()), &values);
    assert!(alarms(&scores).len() > 5);
}

#[test]
fn after_an_alarm_only_what_goes_beyond_it_is_another_one_until_it_has_faded() {
    let mut values: Vec<f64> = (0..30_000).map(|at| 100.0 + noise(at)).collect();
    let (first, beyond, late) = (25_000, 25_008, 28_000);
    for (at, leap) in [(first, 20.0), (first + 3, 14.0), (first + 6, -12.0), (beyond, 60.0), (late, 20.0)] {
        values[at] += leap;
    }
    let scores = infer(MINUTE, &values);
    let found: Vec<usize> = alarms(&scores).into_iter().filter(|at| *at >= first).collect();
    assert_eq!(found, [first, beyond, late]);
    assert_eq!(scores.anomaly_score[first + 3], 0.999);
    let width = |at: usize| scores.yhat_upper[at] - scores.yhat_lower[at];
    assert!(width(first + 1) > 1.5 * width(first) && width(late) < 1.2 * width(first));
}

#[test]
fn where_alarms_last_an_incident_scores_above_1_until_it_ends_and_nothing_else_is_learnt() {
    let incident = 3000..3010;
    let values: Vec<f64> = (0..3100).map(|at| noise(at) + if incident.contains(&at) { 60.0 } else { 0.0 }).collect();
    let mut batches = [CalibratedArgs::new(5 * MINUTE), CalibratedArgs::new(5 * MINUTE).with_lasting_alarms()]
        .map(|args| CalibratedBatch::<f32>::new(args, Zone::default()));
    let [once, lasting] = batches.each_mut().map(|batch| {
        batch.grow(1);
        alarms(&infer_with(batch, &times(5 * MINUTE, values.len()), &values))
    });
    assert!(once.contains(&3000) && !once.contains(&3002), "{once:?}");
    assert!((3000..3004).all(|at| lasting.contains(&at)), "{lasting:?}");
    assert_eq!(learnt(&batches[0]), learnt(&batches[1]));
}

#[test]
fn an_alarm_fades_where_samples_are_missing_too() {
    let mut values: Vec<f64> = (0..25_002).map(|at| 100.0 + noise(at)).collect();
    (values[25_000], values[25_001]) = (120.0, 112.0);
    let mut times = times(MINUTE, values.len());
    assert_eq!(alarms(&infer_with(&mut batch::<f32>(MINUTE), &times, &values)).last(), Some(&25_000));
    times[25_001] += 6 * HOUR;
    assert_eq!(alarms(&infer_with(&mut batch::<f32>(MINUTE), &times, &values)).last(), Some(&25_001));
}

#[test]
fn two_in_a_row_and_many_in_a_row_are_seen_where_one_is_not() {
    let view_of_alarm = |leap: f64, samples: usize| {
        let count = 25_000;
        let mut values: Vec<f64> = (0..count + samples).map(|at| 100.0 + noise(at)).collect();
        values[count..].iter_mut().for_each(|value| *value += leap);
        let mut batch = batch::<f32>(MINUTE).providing(&["view"]);
        let scores = infer_with(&mut batch, &times(MINUTE, values.len()), &values);
        let alarms = alarms(&scores);
        alarms.into_iter().find(|at| *at >= count).map(|at| scores.components[at])
    };
    assert_eq!((view_of_alarm(4.6, 1), view_of_alarm(4.6, 2)), (None, Some(2.0)));
    assert_eq!((view_of_alarm(2.5, 20), view_of_alarm(2.5, 1000)), (None, Some(3.0)));
}

#[test]
fn another_level_in_the_first_hour_is_forgotten() {
    let value = |at: usize| if at < 40 { 5.0 } else { 500.0 } + noise(at);
    is_calm_until(MINUTE, 20_000, 6000, value, 60.0);
}

#[test]
fn an_incident_in_the_first_day_is_forgotten() {
    let value = |at: usize| if (50..150).contains(&at) { 500.0 } else { 50.0 } + noise(at);
    is_calm_until(5 * MINUTE, 6000, 1000, value, 400.0);
}

#[test]
fn the_first_samples_score_nothing_and_have_a_band() {
    let values: Vec<f64> = (0..100).map(|at| if at == 20 || at == 99 { 1e3 } else { noise(at) }).collect();
    let scores = infer(MINUTE, &values);
    assert!(scores.anomaly_score[..FIRST_SCORED as usize].iter().all(|score| *score == 0.0));
    assert!(scores.yhat_lower[10] < scores.yhat[10] && scores.yhat[10] < scores.yhat_upper[10]);
    let patient = ScorePolicy { min_n_samples_seen: 100, ..ScorePolicy::default() };
    assert_eq!(alarms(&infer_by::<f32>(&patient, MINUTE, &values)), []);
}

/// A daily curve with noise, spikes both ways and a change of level.
fn eventful(count: usize) -> Vec<f64> {
    let value = |at: usize| {
        let spike = if uniform(at + 7_000_000) < 0.01 { 30.0 * noise(at + 8_000_000) } else { 0.0 };
        let level = if at > count / 2 { 40.0 } else { 0.0 };
        level + (at as f64 % 288.0 / 28.8 - 5.0).abs() + noise(at) + spike
    };
    (0..count).map(value).collect()
}

#[test]
fn above_one_is_exactly_outside_the_band_whatever_the_policy() {
    let values = eventful(4000);
    let usual = ScorePolicy::default();
    let scaled = ScorePolicy { scale: Sides { below: 2.0, above: 0.5 }, ..usual };
    let clipped = ScorePolicy { clip_predictions: true, data_range: (2.0, 50.0), ..usual };
    for policy in [usual, scaled, clipped] {
        let scores = infer_by::<f32>(&policy, 5 * MINUTE, &values);
        let mut found = 0;
        for (at, value) in values.iter().enumerate().skip(FIRST_SCORED as usize) {
            let (lower, upper) = (scores.yhat_lower[at], scores.yhat_upper[at]);
            let is_valid = (policy.data_range.0..=policy.data_range.1).contains(value);
            let is_outside = !is_valid || *value < lower || *value > upper;
            assert_eq!(scores.anomaly_score[at] > 1.0, is_outside, "{policy:?} {at}");
            found += usize::from(is_outside);
        }
        assert!(found > 5, "{found}");
    }
}

#[test]
fn scale_multiplies_the_margins_and_what_is_learnt_does_not_know_of_policies() {
    let values = eventful(3000);
    let usual = infer(5 * MINUTE, &values);
    let policy = ScorePolicy { scale: Sides { below: 3.0, above: 0.5 }, ..ScorePolicy::default() };
    let scaled = infer_by::<f32>(&policy, 5 * MINUTE, &values);
    assert_eq!(scaled.yhat[1..], usual.yhat[1..]);
    for at in 100..values.len() {
        let margin =
            |scores: &Scores| [scores.yhat[at] - scores.yhat_lower[at], scores.yhat_upper[at] - scores.yhat[at]];
        let ([below, above], [scaled_below, scaled_above]) = (margin(&usual), margin(&scaled));
        assert!((scaled_below - 3.0 * below).abs() < 1e-9 && (scaled_above - 0.5 * above).abs() < 1e-9);
    }
}

#[test]
fn a_direction_leaves_the_alarms_of_its_side() {
    let values = eventful(4000);
    let both = infer(5 * MINUTE, &values);
    for (direction, side) in [(Direction::AboveExpected, 1.0), (Direction::BelowExpected, -1.0)] {
        let policy = ScorePolicy { direction, ..ScorePolicy::default() };
        let scores = infer_by::<f32>(&policy, 5 * MINUTE, &values);
        let of_side = |at: &usize| side * (values[*at] - both.yhat[*at]) > 0.0;
        let expected: Vec<usize> = alarms(&both).into_iter().filter(of_side).collect();
        assert!(!expected.is_empty());
        assert_eq!(alarms(&scores), expected);
        let ignored = (1..values.len()).filter(|at| !of_side(at));
        assert!(ignored.into_iter().all(|at| scores.anomaly_score[at] == 0.0));
    }
}

#[test]
fn small_deviations_are_none() {
    let values = eventful(4000);
    let policy = ScorePolicy { min_dev_from_expected: Sides::both(50.0), ..ScorePolicy::default() };
    let scores = infer_by::<f32>(&policy, 5 * MINUTE, &values);
    let found = alarms(&scores);
    assert!(!found.is_empty() && found.len() < alarms(&infer(5 * MINUTE, &values)).len());
    assert!(found.iter().all(|at| (values[*at] - scores.yhat[*at]).abs() > 50.0));
}

/// What a batch of a series that is asked for so many false alarms a day says.
fn infer_at(rate: f64, step: i64, values: &[f64]) -> (CalibratedBatch<f32>, Scores) {
    let mut batch = CalibratedBatch::new(CalibratedArgs::new(step).with_false_alarms(rate), Zone::default());
    batch.grow(1);
    let scores = infer_with(&mut batch, &times(step, values.len()), values);
    (batch, scores)
}

/// What a batch has learnt of its series.
fn learnt(batch: &CalibratedBatch<f32>) -> Vec<u8> {
    let mut state = Vec::new();
    batch.save(0, &mut state);
    state
}

#[test]
fn alarms_come_about_as_often_as_is_asked_for() {
    let days = 60;
    // Tails as metrics have them. Those of a normal distribution end so soon that it has hardly any alarm at 0.5 a day.
    let value = |at: usize| 100.0 + noise(at) * noise(at + 10_000_000).abs();
    let values: Vec<f64> = (0..days * 1440).map(value).collect();
    let found = [0.02, 0.1, 0.5, 2.0].map(|rate| {
        let (_, scores) = infer_at(rate, MINUTE, &values);
        let alarms = alarms(&scores).into_iter().filter(|at| *at >= 10 * 1440).count();
        alarms as f64 / (days - 10) as f64
    });
    assert!(found.is_sorted(), "{found:?}");
    assert!(found[1] <= 0.2 && (0.25..1.0).contains(&found[2]) && (1.0..4.0).contains(&found[3]), "{found:?}");
}

#[test]
fn a_rate_widens_or_narrows_the_band_but_never_below_the_quantum() {
    let values = eventful(4000);
    let width = |rate: f64| {
        let (_, scores) = infer_at(rate, 5 * MINUTE, &values);
        scores.yhat_upper[3999] - scores.yhat_lower[3999]
    };
    assert!(width(0.01) > 1.2 * width(0.1) && width(0.1) > 1.2 * width(2.0));
    let counts: Vec<f64> = (0..20_000).map(|at| f64::from(uniform(at) < 0.001)).collect();
    let (_, scores) = infer_at(MAX_FALSE_ALARMS_PER_DAY, MINUTE, &counts);
    assert_eq!(alarms(&scores), []);
}

#[test]
fn a_change_of_the_rate_keeps_what_was_learnt() {
    let quiet = 25 * 1440;
    let values: Vec<f64> = (0..quiet + 1440).map(|at| noise(at) * if at < quiet { 1.0 } else { 0.1 }).collect();
    let (usual, _) = infer_at(0.1, MINUTE, &values);
    let (often, scores) = infer_at(2.0, MINUTE, &values);
    assert!(alarms(&scores).len() > 10);
    assert_eq!(learnt(&usual), learnt(&often), "apart from alarms that have not faded");
    let (mut changed, _) = infer_at(2.0, MINUTE, &[]);
    changed.load(0, &learnt(&usual)).unwrap();
    let next = |mut batch: CalibratedBatch<f32>| infer_with(&mut batch, &[START + 26 * DAY], &[3.0]);
    assert_eq!(next(changed).anomaly_score, next(often).anomaly_score);
    let signature = |rate: f64| {
        let args = CalibratedArgs::new(HOUR).with_false_alarms(rate);
        ModelSpec::Calibrated(args, Zone::default()).learning_signature()
    };
    assert_eq!(signature(2.0), signature(0.1));
}

#[test]
fn another_rate_from_now_on_is_as_if_the_state_was_loaded_under_it() {
    let values = eventful(4000);
    let (mut running, _) = infer_at(0.5, 5 * MINUTE, &values);
    let times: Vec<i64> = (4000..4300).map(|index| START + index * 5 * MINUTE).collect();
    for (part, rate) in times.chunks(60).zip([2.0, MIN_FALSE_ALARMS_PER_DAY, 0.1, 0.02, 0.1]) {
        let (mut loaded, _) = infer_at(rate, 5 * MINUTE, &[]);
        loaded.load(0, &learnt(&running)).unwrap();
        running.set_false_alarms_per_day(rate);
        let values: Vec<f64> = (0..part.len()).map(|at| 100.0 + 4.0 * noise(at)).collect();
        let expected = infer_with(&mut loaded, part, &values);
        let found = infer_with(&mut running, part, &values);
        assert_eq!((found.anomaly_score, found.yhat_upper), (expected.anomaly_score, expected.yhat_upper), "{rate}");
        assert_eq!(learnt(&running), learnt(&loaded));
        assert_eq!(running.yardstick(0), loaded.yardstick(0));
    }
}

#[test]
fn a_rate_out_of_range_is_refused_and_one_in_it_is_promised() {
    let spec = |rate: f64| ModelSpec::Calibrated(CalibratedArgs::new(MINUTE).with_false_alarms(rate), Zone::default());
    for rate in [MIN_FALSE_ALARMS_PER_DAY, 0.1, MAX_FALSE_ALARMS_PER_DAY] {
        assert_eq!((spec(rate).validate(), spec(rate).false_alarms_per_day()), (Ok(()), Some(rate)));
    }
    for rate in [0.0, -1.0, 0.0009, 10.1, f64::INFINITY] {
        let message = spec(rate).validate().unwrap_err().to_string();
        assert_eq!(message, format!("false_alarms_per_day of calibrated is {rate}, it must be from 0.001 to 10"));
    }
    assert!(spec(f64::NAN).validate().is_err());
}

#[test]
fn a_series_takes_at_most_8_kib_on_disk_and_in_memory() {
    for step in [1, 1_000, MINUTE, 5 * MINUTE, HOUR, DAY, i64::MAX] {
        let mut batch = batch::<f32>(step);
        let values = eventful(2000);
        let times: Vec<i64> = (0..2000).map(|index| START + index * step.min(DAY)).collect();
        batch.learn(Samples { times: &times, slots: &[0], values: &values });
        let mut state = Vec::new();
        batch.save(0, &mut state);
        let limit = max_state_bytes(&CalibratedArgs::new(step));
        assert!(state.len() <= limit && limit <= 8 * 1024, "{step}: {} of {limit}", state.len());
        let held = |slots| {
            batch.clone().grow(slots);
            let mut grown = batch.clone();
            grown.grow(slots);
            grown.heap_bytes()
        };
        assert!((held(1001) - held(1)) / 1000 <= 8 * 1024, "{}", held(1001));
    }
}

#[test]
fn a_state_of_an_earlier_version_is_refused_by_that() {
    let mut batch = batch::<f32>(HOUR);
    let mut state = Vec::new();
    batch.save(0, &mut state);
    for version in [1, 2] {
        state[2] = version;
        assert!(batch.load(0, &state).unwrap_err().to_string().contains("earlier version"));
    }
    let signature = |args| ModelSpec::Calibrated(args, Zone::default()).learning_signature();
    assert_ne!(signature(CalibratedArgs::new(HOUR)), signature(CalibratedArgs::original(HOUR)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn another_unit_and_another_origin_move_the_band_alone(
        factor in prop_oneof![1e-6..1e6_f64, -1e6..-1e-6_f64],
        offset in -1e3..1e3_f64,
        step in prop_oneof![Just(MINUTE), Just(5 * MINUTE), Just(HOUR)],
        start in 0..10_000_usize,
    ) {
        let values: Vec<f64> = eventful(start + 600).split_off(start);
        let moved: Vec<f64> = values.iter().map(|value| factor * (value + offset)).collect();
        let policy = ScorePolicy::default();
        let (scores, others) = (infer_by::<f64>(&policy, step, &values), infer_by::<f64>(&policy, step, &moved));
        for at in 1..values.len() {
            let (score, other) = (scores.anomaly_score[at], others.anomaly_score[at]);
            prop_assert!((score - other).abs() <= 1e-7 * score.max(1.0), "{}: {} {}", at, score, other);
            let expected = factor * (scores.yhat[at] + offset);
            prop_assert!((others.yhat[at] - expected).abs() <= 1e-9 * factor.abs() * 1e3);
        }
    }
}
