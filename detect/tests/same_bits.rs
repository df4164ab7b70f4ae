//! The same input gives the same bits on every machine: a digest over the scores and states of long runs is frozen here, and
//! computed again by processes whose C library is told that the CPU has fewer instructions.
//!
//! A change of the digest is a change of what users' scores are: it needs a reason, and a new state version where states change.

mod random;

use std::process::Command;

use detect::calendar::Zone;
use detect::calibrated::CalibratedArgs;
use detect::calibrated::multivariate::CalibratedMultivariateArgs;
use detect::decomposition::StdArgs;
use detect::mad::MadOnlineArgs;
use detect::model::{MISSING, Samples, Scores};
use detect::multivariate::{Channels, MultivariateSpec};
use detect::quantile_online::QuantileOnlineArgs;
use detect::rolling_quantile::RollingQuantileArgs;
use detect::score::{Direction, ScorePolicy, Sides};
use detect::spec::ModelSpec;
use detect::temporal_envelope::TemporalEnvelopeArgs;
use detect::temporal_envelope::multivariate::TemporalEnvelopeMultivariateArgs;
use detect::zscore::ZscoreOnlineArgs;
use random::Random;
use xxhash_rust::xxh3::Xxh3Default;

/// Digests of the runs below, of single series and of groups.
const FROZEN: [u64; 2] = [0x0b44_5256_ef0a_856e, 0x0467_c143_fdda_02ad];

/// What glibc is told the CPU lacks; other C libraries ignore it.
const TUNABLES: [&str; 4] = [
    "",
    "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX512DQ",
    "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-FMA,-FMA4",
    "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX2,-AVX,-FMA,-FMA4,-SSE4_2,-SSE4_1,-SSSE3,-ERMS",
];

/// In the environment of a child: print the digest.
const CHILD: &str = "DETECT_PRINT_DIGEST";

impl Random {
    /// One sample of a series of its own kind: a level, counts, heavy tails, a daily curve; some are missing or no numbers.
    fn sample(&mut self, series: u32, time: i64) -> f64 {
        let (kind, noise) = (self.bits() % 100, self.uniform());
        match (kind, series % 5) {
            (0, _) => MISSING,
            (1, _) => f64::NAN,
            (2, _) => f64::INFINITY,
            (_, 0) => 1e9 + noise,
            (_, 1) => (noise * 7.0).floor(),
            (_, 2) => noise / self.uniform(),
            (_, 3) => libm::exp(20.0 * noise) - 1e4,
            _ => libm::sin(time as f64 * std::f64::consts::TAU / 1440.0) + 0.1 * noise,
        }
    }
}

fn specs() -> Vec<ModelSpec> {
    let mut specs = Vec::new();
    for (decay, history_strength) in [(1.0, 1.0), (0.999, 2.0), (0.97, 0.3)] {
        specs.push(ModelSpec::ZscoreOnline(ZscoreOnlineArgs { z_threshold: 2.5, decay, history_strength }));
        for compression in [100, 30] {
            specs.push(ModelSpec::MadOnline(MadOnlineArgs { threshold: 2.5, compression, decay, history_strength }));
        }
    }
    let season = QuantileOnlineArgs {
        iqr_threshold: 0.5,
        seasonal_interval: Some(60),
        min_subseason: Some(15),
        use_transform: true,
        global_smoothing: 0.1,
        decay: 0.999,
        ..QuantileOnlineArgs::default()
    };
    specs.push(ModelSpec::QuantileOnline(season, Zone::default()));
    specs.push(ModelSpec::RollingQuantile(RollingQuantileArgs {
        iqr_threshold: 1.0,
        ..RollingQuantileArgs::new(0.9, 96)
    }));
    specs.push(ModelSpec::Std(StdArgs::new(60)));
    specs.push(ModelSpec::TemporalEnvelope(TemporalEnvelopeArgs::default(), Zone::default()));
    // Ticks are 1 ms apart; blocks and days are seen in `tests/replay.rs`.
    specs.push(ModelSpec::Calibrated(CalibratedArgs::new(1), Zone::default()));
    specs
}

fn policies() -> [ScorePolicy; 2] {
    let strict = ScorePolicy {
        scale: Sides { below: 1.3, above: 0.7 },
        clip_predictions: true,
        data_range: (-10.0, 1e6),
        score_outside_data_range: 5.0,
        direction: Direction::AboveExpected,
        min_dev_from_expected: Sides { below: 0.1, above: 0.2 },
        min_rel_dev_from_expected: Sides { below: 1.0, above: 2.0 },
        min_n_samples_seen: 100,
    };
    [ScorePolicy::default(), strict]
}

fn digest() -> u64 {
    const SERIES: u32 = 13;
    const TICKS: i64 = 3000;
    let mut digest = Xxh3Default::new();
    let slots: Vec<u32> = (0..SERIES).collect();
    for spec in specs() {
        for policy in policies() {
            let mut random = Random(1);
            let mut batch = spec.new_batch(&[]);
            batch.grow(slots.len());
            let mut scores = Scores::default();
            for tick in 0..TICKS {
                let values: Vec<f64> = slots.iter().map(|series| random.sample(*series, tick)).collect();
                let samples = Samples { times: &[tick], slots: &slots, values: &values };
                if tick < TICKS / 3 {
                    batch.learn(samples);
                    continue;
                }
                if tick == TICKS / 3 {
                    slots.iter().for_each(|slot| batch.finish_fit(*slot));
                }
                batch.infer(samples, &policy, &mut scores);
                for output in [&scores.anomaly_score, &scores.yhat, &scores.yhat_lower, &scores.yhat_upper] {
                    for value in output {
                        // The bits of a NaN are nobody's promise.
                        let bits = if value.is_nan() { u64::MAX } else { value.to_bits() };
                        digest.update(&bits.to_le_bytes());
                    }
                }
            }
            let mut state = Vec::new();
            slots.iter().for_each(|slot| batch.save(*slot, &mut state));
            digest.update(&state);
        }
    }
    digest.digest()
}

/// Of joint scores, what is said of channels, and states.
fn digest_of_groups() -> u64 {
    const TICKS: i64 = 3000;
    const STEP: i64 = 10 * 60_000;
    let mut digest = Xxh3Default::new();
    let calibrated = MultivariateSpec::Calibrated(CalibratedMultivariateArgs::new(STEP), Zone::default());
    let envelope = MultivariateSpec::TemporalEnvelope(TemporalEnvelopeMultivariateArgs::default(), Zone::default());
    for spec in [calibrated, envelope] {
        for policy in policies() {
            let mut random = Random(2);
            let names = ["a", "b", "c", "d", "e"];
            let mut model = spec.new_model(&names).unwrap_or_else(|error| panic!("{error}"));
            for tick in 0..TICKS {
                let values = [0, 1, 2, 3, 4].map(|series| random.sample(series, tick));
                let channels = Channels { times: &[tick * STEP], count: 5, values: &values };
                let scores = model.infer(channels, &[policy; 5]);
                let of_channels = scores.intervals.iter().flat_map(|one| [one.yhat, one.lower, one.upper]);
                for value in scores.anomaly_score.iter().chain(&scores.channel_scores).copied().chain(of_channels) {
                    let bits = if value.is_nan() { u64::MAX } else { value.to_bits() };
                    digest.update(&bits.to_le_bytes());
                }
            }
            let mut state = Vec::new();
            model.save(&mut state);
            digest.update(&state);
        }
    }
    digest.digest()
}

#[test]
fn a_long_run_has_the_frozen_digest() {
    let digests = [digest(), digest_of_groups()];
    if std::env::var_os(CHILD).is_some() {
        println!("digest={digests:x?};");
    }
    assert_eq!(digests, FROZEN, "{digests:#018x?}");
}

#[test]
fn the_digest_is_the_same_whatever_the_c_library_uses() {
    for tunables in TUNABLES {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_long_run_has_the_frozen_digest", "--nocapture"])
            .env(CHILD, "1")
            .env("GLIBC_TUNABLES", tunables)
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&child.stdout);
        let digest = output.split_once("digest=").and_then(|(_, rest)| rest.split_once(';')).map(|(digest, _)| digest);
        assert_eq!(digest, Some(format!("{FROZEN:x?}").as_str()), "{tunables}: {output}");
    }
}
