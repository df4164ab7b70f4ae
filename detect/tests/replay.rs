//! What holds of online models whose state depends on the time too: how samples are cut into calls, when states are saved, what
//! damages them and what the samples are does not matter.

use detect::calendar::Zone;
use detect::calibrated::{CalibratedArgs, CalibratedBatch, MIN_FALSE_ALARMS_PER_DAY};
use detect::model::{MISSING, OnlineBatch, OnlineModel, Samples, Scores};
use detect::per_series::PerSeries;
use detect::quantile_online::{QuantileOnline, QuantileOnlineArgs};
use detect::rolling_quantile::{RollingQuantile, RollingQuantileArgs};
use detect::score::ScorePolicy;
use detect::temporal_envelope::{Holiday, HolidayDate, Seasonality, TemporalEnvelope, TemporalEnvelopeArgs};
use proptest::prelude::*;
use xxhash_rust::xxh3::Xxh3Default;

const HOUR: i64 = 3_600_000;

fn zone() -> Zone {
    Zone::named("America/New_York").unwrap_or_default()
}

fn quantile_online(decay: f64, history_strength: f64) -> [QuantileOnlineArgs; 2] {
    let plain = QuantileOnlineArgs { compression: 20, decay, history_strength, ..QuantileOnlineArgs::default() };
    let seasonal = QuantileOnlineArgs {
        quantiles: [0.25, 0.5, 0.75],
        iqr_threshold: 1.5,
        seasonal_interval: Some(24 * HOUR),
        min_subseason: Some(6 * HOUR),
        use_transform: true,
        global_smoothing: 0.3,
        ..plain
    };
    [plain, seasonal]
}

/// The decay as a gain of about the same memory.
fn temporal_envelope(decay: f64) -> [TemporalEnvelopeArgs; 2] {
    let plain = TemporalEnvelopeArgs { alpha: (1.0 - decay).max(0.001), changepoint_window: 4, ..Default::default() };
    let date = HolidayDate::Yearly { month: 11, day: 15 };
    let full = TemporalEnvelopeArgs {
        changepoint_window: 1,
        seasonalities: Seasonality::ALL.to_vec(),
        holidays: vec![Holiday { date, name: "day of the first samples".into() }],
        ..plain.clone()
    };
    [plain, full]
}

/// A batch of one slot for each model.
fn batches(decay: f64, history_strength: f64) -> Vec<Box<dyn OnlineBatch>> {
    let mut batches: Vec<Box<dyn OnlineBatch>> = Vec::new();
    for args in quantile_online(decay, history_strength) {
        batches.push(batch(QuantileOnline::new(args, zone())));
    }
    for window in [1, 5, 300] {
        let args = RollingQuantileArgs { iqr_threshold: 1.0, ..RollingQuantileArgs::new(0.9, window) };
        batches.push(batch(RollingQuantile::new(args)));
    }
    for args in temporal_envelope(decay) {
        batches.push(batch(TemporalEnvelope::new(args, zone())));
    }
    for step in [HOUR / 6, 24 * HOUR] {
        batches.push(calibrated(step));
    }
    batches
}

/// With those whose scores are not part of the frozen digest.
fn all_batches(decay: f64, history_strength: f64) -> Vec<Box<dyn OnlineBatch>> {
    let mut batches = batches(decay, history_strength);
    for rate in [MIN_FALSE_ALARMS_PER_DAY, 2.0] {
        batches.push(calibrated_at(CalibratedArgs::new(HOUR / 6).with_false_alarms(rate)));
    }
    batches
}

fn batch<M: OnlineModel + Clone + Send + Sync + 'static>(model: M) -> Box<dyn OnlineBatch> {
    let mut batch = PerSeries::new(model);
    OnlineBatch::grow(&mut batch, 1);
    Box::new(batch)
}

fn calibrated(step: i64) -> Box<dyn OnlineBatch> {
    calibrated_at(CalibratedArgs::new(step))
}

fn calibrated_at(args: CalibratedArgs) -> Box<dyn OnlineBatch> {
    let mut batch = CalibratedBatch::<f32>::new(args, zone());
    batch.grow(1);
    Box::new(batch)
}

fn saved(batch: &dyn OnlineBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    batch.save(0, &mut bytes);
    bytes
}

fn infer(batch: &mut dyn OnlineBatch, points: &[(i64, f64)]) -> Vec<[f64; 4]> {
    let (times, values): (Vec<i64>, Vec<f64>) = points.iter().copied().unzip();
    let mut scores = Scores::default();
    let policy = ScorePolicy { min_n_samples_seen: 3, ..ScorePolicy::default() };
    batch.infer(Samples { times: &times, slots: &[0], values: &values }, &policy, &mut scores);
    let columns = [&scores.anomaly_score, &scores.yhat, &scores.yhat_lower, &scores.yhat_upper];
    (0..points.len()).map(|index| columns.map(|column| column[index])).collect()
}

fn learn(batch: &mut dyn OnlineBatch, points: &[(i64, f64)]) {
    let (times, values): (Vec<i64>, Vec<f64>) = points.iter().copied().unzip();
    batch.learn(Samples { times: &times, slots: &[0], values: &values });
}

fn bits(scores: &[[f64; 4]]) -> Vec<[u64; 4]> {
    scores.iter().map(|point| point.map(f64::to_bits)).collect()
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => -1e3..1e3_f64,
        3 => (-3..3).prop_map(f64::from),
        1 => Just(MISSING),
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-0.0), Just(1e300), prop::num::f64::ANY],
    ]
}

/// Steps of about ten minutes with gaps, repetitions and times that go back.
fn step() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => Just(HOUR / 6),
        2 => 1..3 * HOUR,
        1 => prop_oneof![Just(0), Just(-HOUR), Just(24 * HOUR), Just(366 * 24 * HOUR), Just(i64::MAX / 512)],
    ]
}

fn series() -> impl Strategy<Value = Vec<(i64, f64)>> {
    prop::collection::vec((step(), value()), 1..250).prop_map(|points| {
        let mut time = 1_700_000_000_000_i64;
        let samples = points.into_iter().map(|(step, value)| {
            time = time.saturating_add(step);
            (time, value)
        });
        samples.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn scores_and_states_do_not_depend_on_calls_or_restarts(
        points in series(),
        decay in prop_oneof![Just(1.0), 0.5..1.0_f64, 0.99..1.0_f64],
        history_strength in 0.1..10.0_f64,
        cuts in prop::collection::vec(1..40_usize, 1..20),
        fitted in any::<prop::sample::Index>(),
    ) {
        let (history, live) = points.split_at(fitted.index(points.len()));
        let fresh = || all_batches(decay, history_strength);
        for (index, mut whole) in fresh().into_iter().enumerate() {
            learn(&mut *whole, history);
            whole.finish_fit(0);
            let expected = infer(&mut *whole, live);

            let mut parts = fresh().swap_remove(index);
            history.iter().for_each(|point| learn(&mut *parts, &[*point]));
            parts.finish_fit(0);
            let mut actual = Vec::new();
            let mut rest = live;
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (head, tail) = rest.split_at((*cut).min(rest.len()));
                rest = tail;
                actual.extend(infer(&mut *parts, head));
                let mut next = fresh().swap_remove(index);
                prop_assert_eq!(next.load(0, &saved(&*parts)), Ok(()));
                parts = next;
            }
            prop_assert_eq!(bits(&actual), bits(&expected));
            prop_assert_eq!(saved(&*parts), saved(&*whole));
            prop_assert_eq!(parts.samples_seen(0), points.iter().filter(|(_, value)| value.is_finite()).count() as u64);
        }
    }

    #[test]
    fn whatever_the_samples_are_predictions_are_finite_and_in_order(points in series(), decay in 0.5..=1.0_f64) {
        for mut batch in all_batches(decay, 1.0) {
            let mut seen = 0;
            for (point, [score, yhat, lower, upper]) in points.iter().zip(infer(&mut *batch, &points)) {
                if point.1.to_bits() == MISSING.to_bits() || seen == 0 {
                    prop_assert!(yhat.is_nan());
                } else {
                    prop_assert!(yhat.is_finite() && lower.is_finite() && upper.is_finite());
                    prop_assert!(lower <= yhat && yhat <= upper, "{} {} {}", lower, yhat, upper);
                    prop_assert_eq!(score.is_finite(), point.1.is_finite());
                }
                seen += u32::from(point.1.is_finite());
            }
        }
    }

    #[test]
    fn damaged_bytes_are_an_error_that_leaves_the_slot_alone_or_another_whole_state(
        points in series(),
        at in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
        length in any::<prop::sample::Index>(),
    ) {
        for (index, mut target) in all_batches(0.99, 2.0).into_iter().enumerate() {
            infer(&mut *target, &points);
            let good = saved(&*target);
            let mut flipped = good.clone();
            flipped[at.index(good.len())] ^= flip;
            for bytes in [&good[..length.index(good.len())], &[&good[..], &[0]].concat()] {
                prop_assert!(target.load(0, bytes).is_err());
                prop_assert_eq!(&saved(&*target), &good);
            }
            if target.load(0, &flipped).is_ok() {
                // Another number in place of a number: a state that saves as itself and goes on finite.
                prop_assert_eq!(&saved(&*target), &flipped);
                let later: Vec<_> = [1.0, -5.0, 1e300, 2.0].into_iter().zip(1..).collect();
                for (value, hour) in later {
                    let [score, ..] = infer(&mut *target, &[(hour * HOUR, value)])[0];
                    prop_assert!(score.is_finite());
                }
                let mut again = all_batches(0.99, 2.0).swap_remove(index);
                prop_assert_eq!(again.load(0, &saved(&*target)), Ok(()));
            } else {
                prop_assert_eq!(&saved(&*target), &good);
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), keeps_header in any::<bool>()) {
        for mut batch in all_batches(0.9, 1.0) {
            let header = &saved(&*batch)[..4];
            let bytes = if keeps_header { [header, &bytes].concat() } else { bytes.clone() };
            if batch.load(0, &bytes).is_ok() {
                prop_assert_eq!(saved(&*batch), bytes);
            }
        }
    }
}

/// Digest of scores and states of long runs. A change of it is a change of what users' scores are: it needs a reason, and a new
/// state version where states change.
const FROZEN: u64 = 0x3afe_74f4_731d_c573;

#[test]
fn long_runs_have_the_frozen_digest() {
    let mut digest = Xxh3Default::new();
    let mut random = 1_u64;
    let mut uniform = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 11) as f64 / (1_u64 << 53) as f64
    };
    let points: Vec<(i64, f64)> = (0..6000)
        .map(|index| {
            let time = 1_700_000_000_000 + index * HOUR / 6;
            let daily = libm::sin(time as f64 / (24 * HOUR) as f64 * std::f64::consts::TAU);
            let spike = if uniform() < 0.01 { 50.0 / uniform() } else { 0.0 };
            let level = if index % 2500 < 1700 { 10.0 } else { 40.0 };
            (time, level + 5.0 * daily + uniform() + spike)
        })
        .collect();
    for (decay, history_strength) in [(1.0, 1.0), (0.995, 2.0), (0.97, 0.3)] {
        for mut batch in batches(decay, history_strength) {
            let (history, live) = points.split_at(1000);
            learn(&mut *batch, history);
            batch.finish_fit(0);
            for number in infer(&mut *batch, live).as_flattened() {
                digest.update(&number.to_bits().to_le_bytes());
            }
            digest.update(&saved(&*batch));
        }
    }
    assert_eq!(digest.digest(), FROZEN, "{:#018x}", digest.digest());
}
