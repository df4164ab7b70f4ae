//! `calibrated` on series that are hard to begin with: every score is finite, and nobody is flooded with alarms.
//!
//! The bounds are alarm episodes, runs of scores above 1 that are joined up to three steps or a quarter of an hour apart. They stand above
//! the most of a thousand series of the reference program each; what is usual is far less.

mod random;

use detect::calendar::Zone;
use detect::calibrated::{CalibratedArgs, CalibratedBatch};
use detect::model::{OnlineBatch, Samples, Scores};
use detect::score::ScorePolicy;
use proptest::prelude::*;
use proptest::sample::select;
use random::Random;

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// 2024-01-01, a Monday.
const START: i64 = 1_704_067_200_000;

/// How often a series alarms from its start on: a count for each of the spans, which follow one another, and for what comes after.
fn alarms(step: i64, values: &[f64], spans: &[i64]) -> Result<Vec<usize>, TestCaseError> {
    let times: Vec<i64> = (0..values.len() as i64).map(|at| START + at * step).collect();
    let mut batch = CalibratedBatch::<f32>::new(CalibratedArgs::new(step), Zone::default());
    batch.grow(1);
    let mut scores = Scores::default();
    batch.infer(Samples { times: &times, slots: &[0], values }, &ScorePolicy::default(), &mut scores);
    for (at, score) in scores.anomaly_score.iter().enumerate() {
        prop_assert!(score.is_finite() && *score >= 0.0, "sample {}: {}", at, score);
        // Of the first sample nothing is expected.
        let is_band = scores.yhat_lower[at] <= scores.yhat[at] && scores.yhat[at] <= scores.yhat_upper[at];
        prop_assert!(at == 0 || is_band, "sample {}", at);
    }
    let mut counts = vec![0; spans.len() + 1];
    let mut latest = None;
    let alarming = times.iter().zip(&scores.anomaly_score).filter(|(_, score)| **score > 1.0);
    for (time, _) in alarming {
        if latest.is_none_or(|latest| time - latest > (3 * step).max(15 * MINUTE)) {
            let mut end = START;
            let span = spans.iter().position(|span| {
                end += span;
                *time < end
            });
            counts[span.unwrap_or(spans.len())] += 1;
        }
        latest = Some(*time);
    }
    Ok(counts)
}

fn samples(span: i64, step: i64) -> usize {
    (span / step) as usize
}

/// From a thousandth to a thousand, each size as likely.
fn unit() -> impl Strategy<Value = f64> {
    (-3.0..3.0_f64).prop_map(libm::exp10)
}

/// A minute or five.
fn step() -> impl Strategy<Value = i64> {
    select(vec![MINUTE, 5 * MINUTE])
}

#[test]
fn of_a_hundred_flat_series_that_begin_to_move_at_most_one_is_no_alarm_within_the_hour() {
    let (flat, step) = (DAY, MINUTE);
    let told = (0..100).filter(|seed| {
        let mut random = Random(*seed);
        let moves = (0..samples(HOUR, step)).map(|_| 5.0 + random.normal());
        let values: Vec<f64> = std::iter::repeat_n(5.0, samples(flat, step)).chain(moves).collect();
        alarms(step, &values, &[flat, HOUR]).unwrap()[1] > 0
    });
    assert!(told.count() >= 99);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_flat_series_that_begins_to_move_is_an_alarm_a_few_times_on_that_day_and_calm_then(
        seed in any::<u64>(),
        step in step(),
        flat in HOUR..3 * DAY,
        level in select(vec![0.0, 5.0, 1e6]),
        unit in unit(),
    ) {
        let mut random = Random(seed);
        let flat = flat / step * step;
        let values: Vec<f64> = (0..samples(flat + 10 * DAY, step))
            .map(|at| level + if at < samples(flat, step) { 0.0 } else { unit * random.normal() })
            .collect();
        let counts = alarms(step, &values, &[flat + step, DAY])?;
        prop_assert!(counts[0] == 0 && counts[1] <= 10 && counts[2] <= 6, "{:?}", counts);
    }

    #[test]
    fn a_new_series_that_does_nothing_unusual_is_hardly_ever_an_alarm(
        seed in any::<u64>(),
        step in step(),
        unit in unit(),
        daily in prop_oneof![Just(0.0), 1.0..10.0_f64],
    ) {
        let mut random = Random(seed);
        let of_day = samples(DAY, step) as f64;
        let values: Vec<f64> = (0..samples(4 * DAY, step))
            .map(|at| unit * (random.normal() + daily * libm::sin(at as f64 / of_day * std::f64::consts::TAU)))
            .collect();
        let counts = alarms(step, &values, &[DAY])?;
        prop_assert!(counts[0] <= 1 && counts[1] <= 3, "{:?}", counts);
    }

    #[test]
    fn a_counter_that_nobody_took_the_rate_of_alarms_at_resets_and_once_a_day_besides(
        seed in any::<u64>(),
        step in step(),
        rate in unit(),
        resets in 0..4_usize,
    ) {
        let mut random = Random(seed);
        let mut counter = 0.0;
        let of_day = samples(DAY, step);
        let values: Vec<f64> = (0..14 * of_day)
            .map(|at| {
                let busy = 1.0 + 0.5 * libm::sin(at as f64 / of_day as f64 * std::f64::consts::TAU);
                counter += libm::floor(20.0 * rate * busy * random.uniform());
                if at >= 2 * of_day && random.uniform() < resets as f64 / (12 * of_day) as f64 {
                    counter = 0.0;
                }
                counter
            })
            .collect();
        let counts = alarms(step, &values, &[2 * DAY])?;
        prop_assert!(counts[0] <= 12 && counts[1] <= 24, "{:?}", counts);
    }

    #[test]
    fn what_goes_on_and_off_at_any_time_alarms_at_most_once_in_two_hours_at_first_and_twice_a_day_later(
        seed in any::<u64>(),
        step in step(),
        stays in 5.0..288.0_f64,
        unit in unit(),
    ) {
        let mut random = Random(seed);
        let (mut is_on, mut left) = (false, 0);
        let values: Vec<f64> = (0..samples(14 * DAY, step))
            .map(|_| {
                if left == 0 {
                    is_on = !is_on;
                    left = 1 + (-stays * libm::log(1.0 - random.uniform())) as usize;
                }
                left -= 1;
                unit * f64::from(is_on)
            })
            .collect();
        let counts = alarms(step, &values, &[2 * DAY])?;
        prop_assert!(counts[0] <= 24 && counts[1] <= 24, "{:?}", counts);
    }

    #[test]
    fn two_integers_are_an_alarm_at_most_once_an_hour_at_first_and_twice_a_day_later(
        seed in any::<u64>(),
        step in select(vec![MINUTE, 5 * MINUTE, HOUR]),
        share in 0.001..0.5_f64,
    ) {
        let mut random = Random(seed);
        let values: Vec<f64> =
            (0..samples(14 * DAY, step)).map(|_| 3.0 + f64::from(random.uniform() < share)).collect();
        let counts = alarms(step, &values, &[2 * DAY])?;
        prop_assert!(counts[0] <= 48 && counts[1] <= 24, "{:?}", counts);
    }

    #[test]
    fn a_sample_a_day_alarms_ten_times_a_year_at_most(seed in any::<u64>(), weekend in 0.0..10.0_f64) {
        let mut random = Random(seed);
        let values: Vec<f64> = (0..400)
            .map(|day| 100.0 + random.normal() + if day % 7 >= 5 { weekend } else { 0.0 })
            .collect();
        let counts = alarms(DAY, &values, &[])?;
        prop_assert!(counts[0] <= 10, "{:?}", counts);
    }

    #[test]
    fn another_level_in_the_first_hour_is_an_alarm_or_two_and_forgotten_after_two_days(
        seed in any::<u64>(),
        step in step(),
        shift_after in 1..60_i64,
        unit in unit(),
        height in prop_oneof![3.0..1e4_f64, -1e4..-3.0_f64],
    ) {
        let mut random = Random(seed);
        let shift_at = samples(shift_after * MINUTE, step).max(1);
        let values: Vec<f64> = (0..samples(7 * DAY, step))
            .map(|at| unit * (random.normal() + if at < shift_at { 0.0 } else { height }))
            .collect();
        let counts = alarms(step, &values, &[2 * DAY])?;
        prop_assert!(counts[0] <= 3 && counts[1] <= 3, "{:?}", counts);
    }

    #[test]
    fn an_incident_inside_the_first_day_is_told_a_few_times_and_forgotten_after_two_days(
        seed in any::<u64>(),
        step in step(),
        begins in 5 * MINUTE..20 * HOUR,
        lasts in 5 * MINUTE..4 * HOUR,
        height in prop_oneof![3.0..1e4_f64, -1e4..-3.0_f64],
    ) {
        let mut random = Random(seed);
        let incident = samples(begins, step)..samples(begins + lasts, step);
        let values: Vec<f64> = (0..samples(7 * DAY, step))
            .map(|at| random.normal() + if incident.contains(&at) { height } else { 0.0 })
            .collect();
        let counts = alarms(step, &values, &[DAY, DAY])?;
        prop_assert!(counts[0] <= 12 && counts[1] <= 8 && counts[2] <= 10, "{:?}", counts);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn a_sample_a_second_alarms_at_most_once_an_hour_on_the_first_day_and_hardly_ever_later(
        seed in any::<u64>(),
        daily in 0.0..20.0_f64,
    ) {
        let mut random = Random(seed);
        let values: Vec<f64> = (0..samples(2 * DAY, SECOND))
            .map(|at| 100.0 + random.normal() + daily * libm::sin(at as f64 / 86_400.0 * std::f64::consts::TAU))
            .collect();
        let counts = alarms(SECOND, &values, &[DAY])?;
        prop_assert!(counts[0] <= 24 && counts[1] <= 3, "{:?}", counts);
    }
}
