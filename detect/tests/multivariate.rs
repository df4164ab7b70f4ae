//! What `temporal_envelope_multivariate` promises: relations between channels count, their order does not.

mod random;

use detect::calendar::Zone;
use detect::model::{MISSING, OnlineModel};
use detect::safeguards::Safeguards;
use detect::score::{Direction, ScorePolicy};
use detect::temporal_envelope::multivariate::{
    Aggregation, TemporalEnvelopeMultivariate, TemporalEnvelopeMultivariateArgs, max_state_bytes,
};
use detect::temporal_envelope::{TemporalEnvelope, TemporalEnvelopeArgs};
use proptest::prelude::*;
use random::Random;

const MINUTE: i64 = 60_000;
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn args(dependency_rank: u32) -> TemporalEnvelopeMultivariateArgs {
    TemporalEnvelopeMultivariateArgs { dependency_rank, ..Default::default() }
}

fn model(args: TemporalEnvelopeMultivariateArgs) -> TemporalEnvelopeMultivariate {
    TemporalEnvelopeMultivariate::new(args, Zone::default(), &NAMES).unwrap_or_else(|error| panic!("{error}"))
}

/// Four channels that share a load, each in its own unit.
fn channels(load: f64, random: &mut Random) -> [f64; 4] {
    [1.0, 10.0, 0.1, -5.0].map(|unit| unit * (100.0 + load + random.normal()))
}

/// Learnt from three thousand minutes with a load of standard deviation 10.
fn learnt(args: TemporalEnvelopeMultivariateArgs) -> TemporalEnvelopeMultivariate {
    let mut model = model(args);
    let mut random = Random(1);
    for minute in 0..3000 {
        let load = 10.0 * random.normal();
        model.learn(minute * MINUTE, &channels(load, &mut random));
    }
    model
}

const POLICIES: [ScorePolicy; 4] = {
    let policy = ScorePolicy {
        scale: detect::score::Sides::both(1.0),
        clip_predictions: false,
        data_range: (f64::NEG_INFINITY, f64::INFINITY),
        score_outside_data_range: 1.01,
        direction: Direction::Both,
        min_dev_from_expected: detect::score::Sides::both(0.0),
        min_rel_dev_from_expected: detect::score::Sides::both(0.0),
        min_n_samples_seen: 16,
    };
    [policy; 4]
};

#[test]
fn a_channel_that_leaves_the_others_shows_though_it_is_within_its_own_band() {
    let broken = [120.0, 1200.0, 10.0, -600.0];
    let scores = |rank| {
        let mut model = learnt(args(rank));
        let joint = model.infer(3000 * MINUTE, &broken, &POLICIES);
        (joint, [0, 1, 2, 3].map(|index| model.channel_scores()[index].score))
    };
    let (joint, of_channels) = scores(8);
    assert!(joint > 1.0 && of_channels[2] > 2.0, "{joint} {of_channels:?}");
    assert!(of_channels[2] > of_channels[0].max(of_channels[1]).max(of_channels[3]), "{of_channels:?}");
    let (joint, of_channels) = scores(0);
    assert!(joint < 1.0, "{joint} {of_channels:?}");
}

#[test]
fn channels_that_move_together_are_hardly_ever_anomalous() {
    let mut model = learnt(args(8));
    let mut random = Random(2);
    let mut alarms = 0;
    for minute in 3000..6000 {
        let load = 10.0 * random.normal();
        alarms += usize::from(model.infer(minute * MINUTE, &channels(load, &mut random), &POLICIES) > 1.0);
    }
    assert!(alarms < 15, "{alarms} of 3000");
}

#[test]
fn policies_act_on_their_channel_before_the_scores_become_one() {
    let mut model = learnt(TemporalEnvelopeMultivariateArgs { score_aggregation: Aggregation::Max, ..args(0) });
    let mut policies = POLICIES;
    policies[1].direction = Direction::BelowExpected;
    let mut other = model.clone();
    let high = [100.0, 3000.0, 10.0, -500.0];
    assert!(model.infer(3000 * MINUTE, &high, &policies) < 1.0);
    assert!(other.infer(3000 * MINUTE, &high, &POLICIES) > 1.0);
    let interval = other.channel_scores()[1].interval;
    assert!(interval.lower < 1000.0 && 1000.0 < interval.upper, "{interval:?}");
}

#[test]
fn missing_samples_have_no_score_and_a_tick_of_them_has_none_at_all() {
    let mut model = learnt(args(8));
    let joint = model.infer(3000 * MINUTE, &[MISSING, 1000.0, MISSING, f64::NAN], &POLICIES);
    let scores: Vec<bool> = model.channel_scores().iter().map(|channel| channel.score.is_nan()).collect();
    assert_eq!((joint.is_finite(), scores), (true, vec![true, false, true, true]));
    assert!(model.infer(3001 * MINUTE, &[MISSING; 4], &POLICIES).is_nan());
    assert_eq!(model.samples_seen(), 3001);
}

#[test]
fn a_floor_keeps_the_bands_of_a_channel_open_that_hardly_moves() {
    let joint = |band_floor: f64| {
        let safeguards = Safeguards { band_floor, influence_limit: 0.0 };
        let mut model =
            model(TemporalEnvelopeMultivariateArgs { score_aggregation: Aggregation::Max, safeguards, ..args(8) });
        // A counter of errors that is 0 but for a 1 now and then.
        let idle = |minute: i64| if minute % 150 == 149 { 1.0 } else { 0.0 };
        let mut random = Random(3);
        let mut alarms = 0;
        for minute in 0..3000 {
            let [a, b, c, _] = channels(0.0, &mut random);
            let score = model.infer(minute * MINUTE, &[a, b, c, idle(minute)], &POLICIES);
            alarms += usize::from(minute > 1000 && idle(minute) == 1.0 && score > 1.0);
        }
        let interval = model.channel_scores()[3].interval;
        (alarms, interval.upper - interval.yhat)
    };
    let (alarms, width) = joint(0.0);
    assert!(alarms >= 10, "{alarms} {width}");
    let (alarms, width) = joint(20.0);
    // Twenty times the deviation of a series that moves by 1 twice in 150 samples.
    assert!(alarms == 0 && width > 1.0, "{alarms} {width}");
}

#[test]
fn a_sample_beyond_the_limit_is_learnt_as_if_it_were_there() {
    let safeguards = Safeguards { band_floor: 1.0, influence_limit: 3.0 };
    let limited = || learnt(TemporalEnvelopeMultivariateArgs { safeguards, ..args(8) });
    let usual = channels(0.0, &mut Random(5));
    let after = |mut model: TemporalEnvelopeMultivariate, spike: f64| {
        model.learn(3000 * MINUTE, &[usual[0], spike, usual[2], usual[3]]);
        let mut state = Vec::new();
        model.save(&mut state);
        // The noise is that of the series as it is.
        let joint = model.infer(3001 * MINUTE, &usual, &POLICIES);
        (joint, model.channel_scores().iter().map(|score| score.interval.yhat).collect::<Vec<f64>>())
    };
    assert_eq!(after(limited(), 1e6).1, after(limited(), 1e9).1);
    assert_ne!(after(limited(), 1e6).1, after(limited(), 1001.0).1);
    // Scored before it is limited, and learning it alone comes to the same.
    let (mut scoring, mut learning) = (limited(), limited());
    let spike = [usual[0], 1e6, usual[2], usual[3]];
    assert!(scoring.infer(3000 * MINUTE, &spike, &POLICIES) > 100.0);
    learning.learn(3000 * MINUTE, &spike);
    let state = |model: &TemporalEnvelopeMultivariate| {
        let mut state = Vec::new();
        model.save(&mut state);
        state
    };
    assert_eq!(state(&scoring), state(&learning));
}

#[test]
fn forecasts_are_those_of_the_channels_own_envelopes_prepared_by_their_policies() {
    let envelope = TemporalEnvelopeArgs { forecast_at: vec![10 * MINUTE, 60 * MINUTE], ..Default::default() };
    let mut model = model(TemporalEnvelopeMultivariateArgs { envelope: envelope.clone(), ..args(8) });
    let mut alone = TemporalEnvelope::new(envelope, Zone::default());
    let mut random = Random(7);
    for minute in 0..500 {
        let values = channels(minute as f64 / 10.0, &mut random);
        model.learn(minute * MINUTE, &values);
        alone.learn(minute * MINUTE, values[1]);
    }
    let mut policies = POLICIES;
    policies[1] = ScorePolicy { clip_predictions: true, data_range: (0.0, 1490.0), ..policies[1] };
    let mut expected = Vec::new();
    alone.forecasts(500 * MINUTE, &mut expected);
    let values = channels(50.0, &mut random);
    model.infer(500 * MINUTE, &[values[0], values[1], MISSING, values[3]], &policies);
    assert_eq!((model.horizons(), model.forecasts().len()), (2, 8));
    for (forecast, expected) in model.forecasts()[2..4].iter().zip(&expected) {
        assert!(expected.upper > 1490.0, "{expected:?}");
        assert_eq!(*forecast, policies[1].prepare(*expected));
    }
    assert!(model.forecasts()[4..6].iter().all(|forecast| forecast.yhat.is_nan()), "there is no sample");
}

#[test]
fn too_many_channels_and_names_that_repeat_are_refused() {
    let message =
        |args, names: &[&str]| TemporalEnvelopeMultivariate::new(args, Zone::default(), names).unwrap_err().to_string();
    let few = TemporalEnvelopeMultivariateArgs { max_channels: 2, recommended_max_channels: 1, ..args(8) };
    assert_eq!(
        message(few.clone(), &["a", "b", "c"]),
        "max_channels of temporal_envelope_multivariate is 2 for 3 channels, it must be at least the number of channels"
    );
    assert!(message(args(8), &["a", "b", "a"]).starts_with("channels of temporal_envelope_multivariate is a"));
    let two = TemporalEnvelopeMultivariate::new(few.clone(), Zone::default(), &["a", "b"]).unwrap();
    assert!(two.exceeds_recommendation());
    assert_eq!(few.validate(), Ok(()));
    assert!(args(65).validate().is_err());
    assert!(TemporalEnvelopeMultivariateArgs { recommended_max_channels: 3, ..few }.validate().is_err());
    let inner = TemporalEnvelopeMultivariateArgs {
        envelope: TemporalEnvelopeArgs { alpha: 0.0, ..Default::default() },
        ..args(8)
    };
    assert!(inner.validate().unwrap_err().to_string().starts_with("alpha of temporal_envelope_multivariate"));
}

#[test]
fn the_state_is_bounded_as_documented() {
    let mut bytes = Vec::new();
    learnt(args(8)).save(&mut bytes);
    let bound = max_state_bytes(&args(8), 4);
    assert!(bytes.len() <= bound && bound <= 4 * 5400, "{} {bound}", bytes.len());
}

fn ticks() -> impl Strategy<Value = Vec<[f64; 4]>> {
    let value = prop_oneof![
        8 => -10.0..10.0_f64,
        1 => Just(MISSING),
        1 => prop_oneof![Just(f64::NAN), Just(1e300), Just(-f64::MAX), Just(1e-310)],
    ];
    prop::collection::vec(prop::array::uniform4(value), 20..150)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn scores_do_not_depend_on_the_order_of_channels_or_on_restarts(
        ticks in ticks(),
        at in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
    ) {
        let mut plain = model(args(3));
        let order = [2, 0, 3, 1];
        let fresh = || TemporalEnvelopeMultivariate::new(args(3), Zone::default(), &order.map(|index| NAMES[index]));
        let mut other = fresh().unwrap();
        let stop = at.index(ticks.len());
        for (index, values) in ticks.iter().enumerate() {
            let time = index as i64 * MINUTE;
            let joint = plain.infer(time, values, &POLICIES);
            let permuted = other.infer(time, &order.map(|index| values[index]), &POLICIES);
            prop_assert_eq!(joint.to_bits(), permuted.to_bits());
            prop_assert!(joint >= 0.0 || values.iter().all(|value| !value.is_finite()));
            if index == stop {
                let mut bytes = Vec::new();
                plain.save(&mut bytes);
                other = fresh().unwrap();
                prop_assert_eq!(other.load(&bytes), Ok(()));
                let mut again = Vec::new();
                other.save(&mut again);
                prop_assert_eq!(&again, &bytes);
                bytes[at.index(again.len())] ^= flip;
                prop_assert!(other.load(&again[1..]).is_err() && other.load(&again[..again.len() - 1]).is_err());
                let mut damaged = fresh().unwrap();
                if damaged.load(&bytes).is_ok() {
                    let joint = damaged.infer(time + MINUTE, &[1.0, 2.0, -1e300, 0.0], &POLICIES);
                    prop_assert!(joint.is_finite());
                }
            }
        }
    }
}
