//! What `calibrated_multivariate` promises: what is usual for the group counts, each channel is seen as `calibrated` sees it.

mod random;

use detect::calendar::{DAY_MS, Zone};
use detect::calibrated::multivariate::{CalibratedMultivariate, CalibratedMultivariateArgs, max_state_bytes};
use detect::calibrated::{CalibratedArgs, CalibratedBatch};
use detect::model::{MISSING, OnlineBatch, Samples, Scores};
use detect::multivariate::{Channels, MultivariateSpec};
use detect::score::{Direction, ScorePolicy, Sides};
use proptest::prelude::*;
use random::Random;

const MINUTE: i64 = 60_000;
const STEP: i64 = 10 * MINUTE;
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Ticks of two weeks.
const LEARNT: i64 = 14 * DAY_MS / STEP;

/// What is done to the policies of the channels.
type Change = fn(&mut [ScorePolicy; 4]);

fn args() -> CalibratedMultivariateArgs {
    CalibratedMultivariateArgs::new(STEP)
}

fn zone() -> Zone {
    Zone::named("America/New_York").unwrap_or_default()
}

fn model(names: &[&str]) -> CalibratedMultivariate {
    CalibratedMultivariate::new(args(), zone(), names).unwrap_or_else(|error| panic!("{error}"))
}

fn policies() -> [ScorePolicy; 4] {
    [ScorePolicy::default(); 4]
}

fn state(model: &CalibratedMultivariate) -> Vec<u8> {
    let mut state = Vec::new();
    model.save(&mut state);
    state
}

/// Learnt from two weeks of four channels with noise of the standard deviation 1 each, and their next samples.
fn learnt() -> (CalibratedMultivariate, [f64; 4]) {
    let mut model = model(&NAMES);
    let mut random = Random(1);
    for tick in 0..LEARNT {
        model.learn(tick * STEP, &[10.0, 100.0, -5.0, 0.0].map(|level| level + random.normal()));
    }
    (model, [10.0, 100.0, -5.0, 0.0])
}

/// The score of a tick in which so many channels are so far from what they usually are.
fn score_of(channels: usize, deviation: f64) -> f64 {
    let (mut model, mut values) = learnt();
    values.iter_mut().take(channels).for_each(|value| *value += deviation);
    model.infer(LEARNT * STEP, &values, &policies())
}

#[test]
fn what_no_channel_shows_alone_shows_where_three_do_it_together() {
    let (mut model, mut values) = learnt();
    values.iter_mut().take(3).for_each(|value| *value += 7.0);
    let score = model.infer(LEARNT * STEP, &values, &policies());
    let of_channels: Vec<f64> = model.channel_scores().iter().map(|channel| channel.score).collect();
    assert!(score > 1.3, "{score} {of_channels:?}");
    assert!(of_channels[..3].iter().all(|own| *own > 1.0) && of_channels[3] < 0.5, "{of_channels:?}");
    let scores = [score_of(0, 7.0), score_of(1, 7.0), score_of(2, 7.0), score];
    assert!(scores.is_sorted_by(|fewer, more| fewer < more) && scores[1] < 1.0, "{scores:?}");
    assert!(score_of(4, 7.0) >= score && score_of(1, 7000.0) > 1.0);
}

#[test]
fn a_group_is_hardly_ever_anomalous_while_its_channels_do_what_they_always_do() {
    let (mut model, levels) = learnt();
    let mut random = Random(2);
    let mut alarms = 0;
    for tick in LEARNT..2 * LEARNT {
        // They are unusual together at times, as they were before.
        alarms +=
            usize::from(model.infer(tick * STEP, &levels.map(|level| level + random.normal()), &policies()) > 1.0);
    }
    assert!(alarms <= 2, "{alarms} in two weeks");
}

#[test]
fn what_a_group_does_every_day_raises_its_threshold_and_so_does_an_alarm_for_a_while() {
    let mut model = model(&NAMES);
    let mut random = Random(3);
    let mut of_days = Vec::new();
    for tick in 0..4 * LEARNT {
        // At a time of the day that is another one each day.
        let is_burst = (tick * STEP) % (23 * DAY_MS / 24) == 0;
        let burst = if is_burst { 7.0 } else { 0.0 };
        let score = model.infer(
            tick * STEP,
            &[10.0, 100.0, -5.0, 0.0].map(|level| level + burst + random.normal()),
            &policies(),
        );
        if is_burst {
            of_days.push(score);
        }
    }
    let late = &of_days[of_days.len() - 10..];
    assert!(of_days[2] > 1.0 && late.iter().all(|score| *score < 1.0), "{of_days:?}");

    let (mut model, levels) = learnt();
    let high = levels.map(|level| level + 20.0);
    let scores: Vec<f64> = (0..6).map(|later| model.infer((LEARNT + later) * STEP, &high, &policies())).collect();
    // Two in a row are more than one, and what goes on after that is no news.
    assert!(scores[0] > 2.0 && scores[2..].iter().all(|score| (0.5..=0.999).contains(score)), "{scores:?}");
}

#[test]
fn a_channel_counts_once_it_has_moved_and_has_had_thirty_samples() {
    let mut model = model(&["flat", "late", "usual"]);
    let mut random = Random(4);
    for tick in 0..LEARNT {
        let late = if tick < LEARNT - 10 { MISSING } else { random.normal() };
        model.learn(tick * STEP, &[3.0, late, random.normal()]);
    }
    // Alone, the usual one is measured by what the group did so far: what it did itself.
    let score = model.infer(LEARNT * STEP, &[3.0, 1e6, 100.0], &policies()[..3]);
    assert!(score > 1.0, "{score}");
    let of_channels: Vec<f64> = model.channel_scores().iter().map(|channel| channel.score).collect();
    assert!(of_channels[..2] == [0.0, 0.0] && of_channels[2] > 1.0, "{of_channels:?}");
    assert_eq!(model.infer((LEARNT + 1) * STEP, &[3.0, MISSING, f64::INFINITY], &policies()[..3]), 0.0);
}

#[test]
fn missing_samples_count_for_nothing_and_a_tick_of_them_has_no_score() {
    let (mut model, levels) = learnt();
    let before = state(&model);
    assert!(model.infer(LEARNT * STEP, &[MISSING, f64::NAN, f64::INFINITY, MISSING], &policies()).is_nan());
    assert_eq!(state(&model), before);
    let score = model.infer(LEARNT * STEP, &[levels[0] + 9.0, MISSING, f64::NAN, MISSING], &policies());
    assert!(score > 1.0, "{score}");
    let is_there: Vec<bool> = model.channel_scores().iter().map(|channel| channel.interval.is_some()).collect();
    let has_score: Vec<bool> = model.channel_scores().iter().map(|channel| channel.score.is_finite()).collect();
    // A number that is none has an interval, as with every class.
    assert_eq!((is_there, has_score), (vec![true, false, true, false], vec![true, false, false, false]));
    assert_eq!(model.samples_seen(), LEARNT as u64 + 1);
}

#[test]
fn policies_act_on_their_channel_before_the_distances_become_one_and_not_on_what_is_learnt() {
    let score = |change: Change| {
        let (mut model, levels) = learnt();
        let mut policies = policies();
        change(&mut policies);
        let score = model.infer(LEARNT * STEP, &levels.map(|level| level + 7.0), &policies);
        (score, state(&model))
    };
    let (plain, learnt) = score(|_| {});
    let changes: [(Change, std::ops::Range<f64>); 6] = [
        (|policies| policies[0].direction = Direction::BelowExpected, 1.0..plain),
        (|policies| policies[..2].iter_mut().for_each(|one| one.min_dev_from_expected = Sides::both(50.0)), 0.0..1.0),
        (|policies| policies.iter_mut().for_each(|one| one.scale = Sides::both(10.0)), 0.0..0.5),
        (|policies| policies.iter_mut().for_each(|one| one.min_n_samples_seen = u64::MAX), 0.0..1e-9),
        (|policies| policies[3].data_range = (-1.0, 1.0), 1.01..1.0101),
        (
            |policies| {
                policies[2..].iter_mut().for_each(|one| one.data_range = (-1.0, 1.0));
                policies[2].score_outside_data_range = 50.0;
            },
            50.0..50.1,
        ),
    ];
    assert!(plain > 1.3, "{plain}");
    for (index, (change, expected)) in changes.into_iter().enumerate() {
        let (score, state) = score(change);
        assert!(expected.contains(&score), "{index}: {score}");
        assert!(state == learnt, "{index}");
    }
}

#[test]
fn too_many_channels_names_that_repeat_and_arguments_out_of_range_are_refused() {
    let few = CalibratedMultivariateArgs { max_channels: 2, recommended_max_channels: 1, ..args() };
    let message =
        |args, names: &[&str]| CalibratedMultivariate::<f32>::new(args, zone(), names).unwrap_err().to_string();
    assert_eq!(
        message(few, &["a", "b", "c"]),
        "max_channels of calibrated_multivariate is 2 for 3 channels, it must be at least the number of channels"
    );
    assert!(message(args(), &["a", "b", "a"]).starts_with("channels of calibrated_multivariate is a"));
    assert_eq!(few.validate(), Ok(()));
    let refused = [
        CalibratedMultivariateArgs { recommended_max_channels: 3, ..few },
        CalibratedMultivariateArgs { max_channels: 0, ..few },
        CalibratedMultivariateArgs::new(0),
    ];
    for args in refused {
        assert_eq!(args.validate().unwrap_err().class, "calibrated_multivariate", "{args:?}");
    }
}

#[test]
fn the_state_is_bounded_as_documented_and_of_these_channels_only() {
    let (mut model, levels) = learnt();
    // As many blocks as are remembered.
    (LEARNT..80 * DAY_MS / STEP)
        .for_each(|tick| model.learn(tick * STEP, &levels.map(|level| level + (tick % 7) as f64)));
    let (bytes, bound) = (state(&model), max_state_bytes(&args(), 4));
    assert!(bytes.len() <= bound && bound <= 4 * 6400 + 600, "{} {bound}", bytes.len());
    assert!(bytes.len() > bound * 9 / 10, "{} {bound}", bytes.len());
    for names in [&["a", "b", "c"][..], &["a", "b", "c", "e"]] {
        let mut other = self::model(names);
        assert_eq!(other.load(&bytes).unwrap_err().to_string(), "state is damaged: it is of other channels");
        assert_eq!(state(&other), state(&self::model(names)));
    }
}

fn ticks() -> impl Strategy<Value = Vec<(i64, [f64; 4])>> {
    let value = prop_oneof![
        12 => -10.0..10.0_f64,
        2 => (0..3).prop_map(f64::from),
        1 => Just(MISSING),
        1 => prop_oneof![Just(f64::NAN), Just(f64::NEG_INFINITY), Just(1e300), Just(-f64::MAX), Just(1e-310)],
    ];
    // Days end, and blocks.
    let step = prop_oneof![20 => Just(STEP), 2 => Just(7 * 3_600_000_i64), 1 => Just(0), 1 => Just(400 * DAY_MS)];
    prop::collection::vec((step, prop::array::uniform4(value)), 40..250).prop_map(|ticks| {
        let mut time = 1_700_000_000_000;
        let later = |(step, values)| {
            time += step;
            (time, values)
        };
        ticks.into_iter().map(later).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn each_channel_is_seen_as_calibrated_sees_it_alone(ticks in ticks(), scale in 0.2..5.0_f64) {
        let policy = ScorePolicy { scale: Sides { below: scale, above: 1.0 }, ..ScorePolicy::default() };
        let mut group = model(&NAMES);
        let mut alone = CalibratedBatch::<f32>::new(CalibratedArgs::of_channel(STEP), zone());
        alone.grow(4);
        let mut scores = Scores::default();
        for (time, values) in &ticks {
            let joint = group.infer(*time, values, &[policy; 4]);
            let is_seen = values.iter().any(|value| value.is_finite());
            prop_assert_eq!(joint.is_nan(), !is_seen);
            if is_seen {
                alone.infer(Samples { times: &[*time], slots: &[0, 1, 2, 3], values }, &policy, &mut scores);
                for (channel, own) in group.channel_scores().iter().enumerate() {
                    let Scores { yhat, yhat_lower, yhat_upper, .. } = &scores;
                    let bits = |numbers: [f64; 3]| numbers.map(|number| if number.is_nan() { 0 } else { number.to_bits() });
                    let expected = [yhat[channel], yhat_lower[channel], yhat_upper[channel]];
                    prop_assert_eq!(bits([own.interval.yhat, own.interval.lower, own.interval.upper]), bits(expected));
                }
            }
        }
    }

    #[test]
    fn neither_the_order_of_channels_nor_restarts_nor_how_ticks_are_cut_into_calls_change_a_bit(
        ticks in ticks(),
        at in any::<prop::sample::Index>(),
        cuts in prop::collection::vec(1..9_usize, 1..5),
        flip in 1..=255_u8,
    ) {
        let order = [2, 0, 3, 1];
        let mut plain = model(&NAMES);
        let mut other = model(&order.map(|index| NAMES[index]));
        let mut learning = model(&NAMES);
        let mut joints = Vec::new();
        let stop = at.index(ticks.len());
        for (index, (time, values)) in ticks.iter().enumerate() {
            let joint = plain.infer(*time, values, &policies());
            let permuted = other.infer(*time, &order.map(|index| values[index]), &policies());
            prop_assert_eq!(joint.to_bits(), permuted.to_bits());
            prop_assert!(joint >= 0.0 || values.iter().all(|value| !value.is_finite()));
            learning.learn(*time, values);
            joints.push(joint.to_bits());
            if index == stop {
                let mut bytes = state(&plain);
                other = model(&order.map(|index| NAMES[index]));
                prop_assert_eq!(other.load(&bytes), Ok(()));
                prop_assert_eq!(&state(&other), &bytes);
                prop_assert!(model(&NAMES).load(&bytes[1..]).is_err());
                prop_assert!(model(&NAMES).load(&bytes[..bytes.len() - 1]).is_err());
                bytes[at.index(state(&plain).len())] ^= flip;
                let mut damaged = model(&NAMES);
                if damaged.load(&bytes).is_ok() {
                    prop_assert!(damaged.infer(*time + STEP, &[1.0, 2.0, -1e300, 0.0], &policies()).is_finite());
                }
            }
        }
        prop_assert_eq!(state(&learning), state(&plain));
        prop_assert_eq!(state(&other), state(&plain));

        let mut cut = MultivariateSpec::Calibrated(args(), zone()).new_model(&NAMES).unwrap();
        let (mut rest, mut of_cut, mut cuts) = (&ticks[..], Vec::new(), cuts.into_iter().cycle());
        while !rest.is_empty() {
            let (call, later) = rest.split_at(cuts.next().unwrap().min(rest.len()));
            let times: Vec<i64> = call.iter().map(|(time, _)| *time).collect();
            let values: Vec<f64> = (0..4).flat_map(|channel| call.iter().map(move |(_, values)| values[channel])).collect();
            let scores = cut.infer(Channels { times: &times, count: 4, values: &values }, &policies());
            prop_assert_eq!((scores.intervals.len(), scores.channel_scores.len()), (values.len(), values.len()));
            of_cut.extend(scores.anomaly_score.iter().map(|score| score.to_bits()));
            rest = later;
        }
        prop_assert_eq!(of_cut, joints);
    }
}
