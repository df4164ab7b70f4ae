//! What `temporal_envelope` promises: it follows the calendar, trends and other levels, not spikes, and says so rarely.

mod random;

use detect::calendar::Zone;
use detect::model::OnlineModel;
use detect::score::ScorePolicy;
use detect::temporal_envelope::{
    Holiday, MAX_CHANGEPOINT_WINDOW, Seasonality, TemporalEnvelope, TemporalEnvelopeArgs, max_state_bytes,
};
use proptest::prelude::*;
use random::Random;

const MINUTE: i64 = 60_000;
const STEP: i64 = 5 * MINUTE;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// 2024-01-01, a Monday, 00:00 UTC.
const START: i64 = 1_704_067_200_000;

fn args() -> TemporalEnvelopeArgs {
    TemporalEnvelopeArgs::default()
}

fn with(seasonalities: &[Seasonality]) -> TemporalEnvelopeArgs {
    TemporalEnvelopeArgs { seasonalities: seasonalities.to_vec(), ..args() }
}

fn model(args: TemporalEnvelopeArgs) -> TemporalEnvelope {
    TemporalEnvelope::new(args, Zone::default())
}

/// A working day: 100 at night, 200 in the afternoon.
fn daily(time: i64) -> f64 {
    150.0 - 50.0 * libm::cos(time as f64 / DAY as f64 * std::f64::consts::TAU)
}

/// What it was like to follow a stretch of a series.
#[derive(Debug, Default)]
struct Record {
    points: f64,
    alarms: f64,
    /// Sum of the distances from the expected values.
    distance: f64,
}

impl Record {
    fn alarm_share(&self) -> f64 {
        self.alarms / self.points
    }
    fn mean_distance(&self) -> f64 {
        self.distance / self.points
    }
}

/// Predicts, scores and learns a series from a day to another one after `START`, with noise of standard deviation 1.
fn follow(model: &mut TemporalEnvelope, days: std::ops::Range<i64>, series: impl Fn(i64) -> f64) -> Record {
    let policy = ScorePolicy::default();
    let mut random = Random(days.start as u64 + 1);
    let mut record = Record::default();
    for time in (START + days.start * DAY..START + days.end * DAY).step_by(STEP as usize) {
        let value = series(time) + random.normal();
        let prepared = policy.prepare(model.predict(time));
        let score = policy.score(prepared, value, model.samples_seen());
        record.points += 1.0;
        record.alarms += f64::from(u8::from(score > 1.0));
        if prepared.yhat.is_finite() {
            record.distance += (series(time) - prepared.yhat).abs();
        }
        model.learn(time, value);
    }
    record
}

#[test]
fn noise_without_a_pattern_is_hardly_ever_anomalous() {
    let mut model = model(args());
    let record = follow(&mut model, 0..60, |_| 10.0);
    assert!(record.alarm_share() < 0.002, "{record:?}");
    assert!(record.mean_distance() < 0.4, "{record:?}");
}

#[test]
fn a_daily_profile_is_known_after_a_few_days() {
    let mut model = model(args());
    follow(&mut model, 0..5, daily);
    let record = follow(&mut model, 5..14, daily);
    assert!(record.mean_distance() < 1.0 && record.alarm_share() < 0.005, "{record:?}");
}

#[test]
fn a_week_is_known_after_two_of_them() {
    let is_weekend = |time: i64| (time - START).rem_euclid(7 * DAY) >= 5 * DAY;
    let weekly = |time: i64| if is_weekend(time) { 100.0 } else { daily(time) };
    let record = |seasonalities: &[Seasonality]| {
        let mut model = model(with(seasonalities));
        follow(&mut model, 0..28, weekly);
        follow(&mut model, 28..42, weekly)
    };
    let (both, hours) = (record(&[Seasonality::HodSmooth, Seasonality::DowSmooth]), record(&[Seasonality::HodSmooth]));
    assert!(both.mean_distance() < 0.7 * hours.mean_distance(), "{both:?} {hours:?}");
    assert!(both.alarm_share() < 0.05, "{both:?}");
    let parts = |time: i64| if is_weekend(time) { 100.0 } else { 200.0 };
    let mut model = model(with(&[Seasonality::WeekpartPlateau]));
    follow(&mut model, 0..70, parts);
    let record = follow(&mut model, 70..84, parts);
    assert!(record.mean_distance() < 0.5 && record.alarm_share() < 0.005, "{record:?}");
}

#[test]
fn narrow_peaks_and_flat_hours_are_learnt_by_the_presets_that_are_made_for_them() {
    let peak = |time: i64| if (time - START).rem_euclid(DAY) / STEP == 40 { 300.0 } else { 100.0 };
    let after_a_month = |seasonality, series: fn(i64) -> f64| {
        let mut model = model(with(&[seasonality]));
        follow(&mut model, 0..60, series);
        follow(&mut model, 60..70, series)
    };
    let (spiky, smooth) = (after_a_month(Seasonality::HodSpiky, peak), after_a_month(Seasonality::HodSmooth, peak));
    assert!(spiky.alarm_share() < 0.002 && smooth.alarm_share() > 0.003, "{spiky:?} {smooth:?}");
    let flat = |time: i64| if (9..17).contains(&((time - START).rem_euclid(DAY) / HOUR)) { 300.0 } else { 100.0 };
    let (plateau, smooth) = (after_a_month(Seasonality::HodPlateau, flat), after_a_month(Seasonality::HodSmooth, flat));
    assert!(plateau.alarm_share() < 0.003, "{plateau:?}");
    assert!(plateau.mean_distance() < smooth.mean_distance(), "{plateau:?} {smooth:?}");
}

#[test]
fn a_burst_shorter_than_the_window_leaves_the_expectation_where_it_was() {
    let mut model = model(args());
    follow(&mut model, 0..7, daily);
    let time = START + 7 * DAY;
    let before = model.predict(time + HOUR);
    for index in 0..15 {
        model.learn(time + index * 1000, 1e6);
    }
    model.learn(time + 15_000, daily(time));
    let after = model.predict(time + HOUR);
    assert!((after.yhat - before.yhat).abs() < 0.25 * (before.upper - before.yhat), "{before:?} {after:?}");
    assert!(after.upper - after.yhat < 4.0 * (before.upper - before.yhat), "{before:?} {after:?}");
}

#[test]
fn another_level_is_followed_as_soon_as_the_window_confirms_it() {
    let mut model = model(args());
    follow(&mut model, 0..7, daily);
    let time = |index: i64| START + 7 * DAY + index * STEP;
    let value = |index: i64| daily(time(index)) + 500.0 + (index % 3) as f64;
    for index in 0..15 {
        model.learn(time(index), value(index));
    }
    assert!(model.predict(time(15)).yhat < 150.0);
    model.learn(time(15), value(15));
    let interval = model.predict(time(16));
    assert!((interval.yhat - value(16)).abs() < 4.0, "{interval:?}");
    assert!(interval.lower <= value(16) && value(16) <= interval.upper, "{interval:?}");
}

#[test]
fn a_level_that_begins_late_in_the_history_gives_no_false_seasons() {
    let change = START + 14 * DAY - 6 * HOUR;
    let series = |time: i64| daily(time) + if time < change { 0.0 } else { 1000.0 };
    let mut model = model(args());
    follow(&mut model, 0..14, series);
    model.finish_fit();
    for day in 14..28 {
        let record = follow(&mut model, day..day + 1, series);
        assert!(record.mean_distance() < 3.0, "day {day}: {record:?}");
        assert!(record.alarm_share() < 0.02, "day {day}: {record:?}");
    }
}

#[test]
fn a_level_of_another_magnitude_soon_has_a_band_of_its_own() {
    let change = START + 10 * DAY;
    let mut random = Random(1);
    let mut model = model(with(&[Seasonality::HodSmooth]));
    for time in (START..START + 11 * DAY).step_by(STEP as usize) {
        model.learn(time, if time < change { 1e6 + 1e4 * random.normal() } else { 100.0 + random.normal() });
    }
    let interval = model.predict(START + 11 * DAY);
    assert!((interval.yhat - 100.0).abs() < 2000.0 && interval.upper - interval.lower < 2e4, "{interval:?}");
}

#[test]
fn a_trend_is_followed_and_carried_on_in_forecasts() {
    let series = |time: i64| daily(time) + 10.0 * (time - START) as f64 / DAY as f64;
    let mut model = model(TemporalEnvelopeArgs { forecast_at: vec![HOUR, 2 * DAY], ..args() });
    follow(&mut model, 0..20, series);
    let record = follow(&mut model, 20..30, series);
    assert!(record.mean_distance() < 1.5 && record.alarm_share() < 0.01, "{record:?}");
    let now = START + 30 * DAY - STEP;
    let mut forecasts = Vec::new();
    model.forecasts(now, &mut forecasts);
    let [hour, days] = forecasts[..] else { panic!("{forecasts:?}") };
    assert!((hour.yhat - series(now + HOUR)).abs() < 5.0, "{hour:?}");
    assert!((days.yhat - series(now + 2 * DAY)).abs() < 15.0, "{days:?} {}", series(now + 2 * DAY));
    let next = model.predict(now + STEP);
    assert!(days.upper - days.yhat > hour.upper - hour.yhat && hour.upper - hour.yhat > next.upper - next.yhat);
}

#[test]
fn a_holiday_that_was_seen_before_is_expected() {
    let dates = ["2024-01-17", "2024-02-06", "2024-02-21"];
    let series = |time: i64| match (time - START) / DAY {
        16 | 36 | 51 => 40.0,
        _ => daily(time),
    };
    let on_the_third = |named: &dyn Fn(usize) -> Option<&'static str>, group_holidays| {
        let days = dates.iter().enumerate();
        let holidays =
            days.filter_map(|(index, date)| Some(Holiday { date: date.parse().ok()?, name: named(index)?.into() }));
        let mut model = model(TemporalEnvelopeArgs { holidays: holidays.collect(), group_holidays, ..args() });
        follow(&mut model, 0..51, series);
        follow(&mut model, 51..52, series).mean_distance()
    };
    let unknown = on_the_third(&|_| None, false);
    let known = on_the_third(&|_| Some("sale"), false);
    let of_another_name = on_the_third(&|index| Some(["a", "b", "c"][index]), false);
    let grouped = on_the_third(&|index| Some(["a", "b", "c"][index]), true);
    assert!(known < 0.7 * unknown, "{known} {unknown}");
    assert!(grouped < 0.7 * unknown && (grouped - known).abs() < 1e-9, "{grouped} {unknown}");
    assert!(of_another_name > known, "{of_another_name} {known}");
}

#[test]
fn profiles_follow_the_clocks_of_the_zone() {
    // Daylight saving time starts in Berlin on 2024-03-31, day 90: the day's curve comes an hour earlier in UTC.
    let series = |time: i64| daily(time + if time < START + 90 * DAY + HOUR { HOUR } else { 2 * HOUR });
    let after = |zone: &str| {
        let mut model = TemporalEnvelope::new(args(), Zone::named(zone).unwrap());
        follow(&mut model, 60..91, series);
        follow(&mut model, 91..92, series).mean_distance()
    };
    let (berlin, utc) = (after("Europe/Berlin"), after("UTC"));
    assert!(berlin < 0.5 * utc, "{berlin} {utc}");
}

#[test]
fn a_constant_series_scores_above_one_on_any_deviation_beyond_rounding() {
    let policy = ScorePolicy::default();
    let mut model = model(args());
    for index in 0..1000 {
        model.learn(START + index * STEP, 0.1);
    }
    let prepared = policy.prepare(model.predict(START + 1000 * STEP));
    assert_eq!(policy.score(prepared, 0.1, 1000), 0.0);
    assert!(policy.score(prepared, 0.1 + 1e-12, 1000) > 1.0);
}

#[test]
fn a_year_without_samples_carries_no_trend_on_through_it() {
    let mut model = model(args());
    follow(&mut model, 0..10, |time| (time - START) as f64 / DAY as f64 * 100.0);
    let yhat = model.predict(START + 375 * DAY).yhat;
    assert!((900.0..2000.0).contains(&yhat), "{yhat}");
}

#[test]
fn state_and_memory_are_bounded_as_documented() {
    let all = with(&Seasonality::ALL);
    for (args, state, heap) in [(args(), 4700, 6500), (all, 36_100, 45_500)] {
        let bound = max_state_bytes(&args);
        let mut model = model(args);
        let mut random = Random(1);
        let mut largest = 0;
        for index in 0..60_000 {
            model.learn(
                START + index * 10 * MINUTE,
                random.normal() / random.uniform() + (index / 3000 % 2) as f64 * 1e3,
            );
            if index % 100 == 0 {
                let mut bytes = Vec::new();
                model.save(&mut bytes);
                largest = largest.max(bytes.len());
            }
        }
        assert!(largest <= bound && bound <= state, "{largest} {bound}");
        assert!(model.heap_bytes() + size_of::<TemporalEnvelope>() <= heap, "{}", model.heap_bytes());
    }
}

#[test]
fn an_argument_outside_its_range_is_named() {
    let message = |args: TemporalEnvelopeArgs| args.validate().unwrap_err().to_string();
    assert_eq!(args().validate(), Ok(()));
    assert_eq!(with(&[]).validate(), Ok(()));
    assert_eq!(
        message(TemporalEnvelopeArgs { quantiles: [0.5, 0.5], ..args() }),
        "quantiles of temporal_envelope is [0.5, 0.5], it must be two numbers from 0 to 1, the first below the second"
    );
    assert!(message(TemporalEnvelopeArgs { iqr_threshold: -0.1, ..args() }).starts_with("iqr_threshold"));
    for alpha in [0.0, 1.1, f64::NAN] {
        assert!(message(TemporalEnvelopeArgs { alpha, ..args() }).starts_with("alpha"));
    }
    assert!(message(TemporalEnvelopeArgs { loss_reactivity: 0.0, ..args() }).starts_with("loss_reactivity"));
    for changepoint_window in [0, MAX_CHANGEPOINT_WINDOW + 1] {
        assert!(message(TemporalEnvelopeArgs { changepoint_window, ..args() }).starts_with("changepoint_window"));
    }
    let twice = with(&[Seasonality::HodSmooth, Seasonality::DowSmooth, Seasonality::HodSmooth]);
    assert_eq!(message(twice), "seasonalities of temporal_envelope is hod_smooth, it must be in the list once");
    assert!(message(TemporalEnvelopeArgs { forecast_at: vec![0], ..args() }).starts_with("forecast_at"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn scores_do_not_depend_on_the_unit_or_the_origin(
        values in prop::collection::vec(prop_oneof![8 => -1.0..1.0_f64, 1 => -50.0..50.0_f64], 100..600),
        scale in prop_oneof![Just(1e-3), 0.1..10.0_f64, Just(1e6)],
        offset in -10.0..10.0_f64,
    ) {
        let (mut one, mut other) = (model(args()), model(args()));
        let policy = ScorePolicy::default();
        for (index, value) in (0..).zip(values) {
            let time = START + index * 20 * MINUTE;
            let scaled = scale * (value + offset);
            let score = |model: &TemporalEnvelope, value| {
                policy.score(policy.prepare(model.predict(time)), value, model.samples_seen())
            };
            let scores = (score(&one, value), score(&other, scaled));
            prop_assert!((scores.0 - scores.1).abs() <= 1e-6 * scores.0.max(1.0), "{} {:?}", index, scores);
            one.learn(time, value);
            other.learn(time, scaled);
        }
    }
}
