//! Input series and chance, both functions of a seed, so that a failed run can be repeated.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::series::Series;

/// Numbers from a seed (SplitMix64, <https://doi.org/10.1145/2714064.2660195>).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// The same seed gives the same numbers.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 on, below `bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.any() % bound.max(1)
    }
}

/// A day's wave with noise, three decimals, a sample every `step` ms in `from..=until`. Now and then it jumps, or a
/// sample is missing.
#[must_use]
pub fn gauge(name: &str, instance: u64, from: i64, until: i64, step: i64) -> Series {
    let mut chance = Chance::new(instance ^ 0x5eed);
    let points = (0..).map(|index| from + index * step).take_while(|time| *time <= until);
    let samples = points.filter_map(|time| {
        let noise = chance.below(2_000) as f64 / 1e3;
        let odd = chance.below(100);
        let wave = 10.0 + 5.0 * (time as f64 / 20_000.0 + instance as f64).sin();
        let value = wave + noise + if odd == 1 { 40.0 } else { 0.0 };
        (odd != 0).then_some((time, (value * 1e3).round() / 1e3))
    });
    Series::new(name, &instance_label(instance), samples)
}

/// A counter that grows by whole numbers and is reset now and then, a sample every `step` ms in `from..=until`.
#[must_use]
pub fn counter(name: &str, instance: u64, from: i64, until: i64, step: i64) -> Series {
    let mut chance = Chance::new(instance ^ 0xc0c0);
    let mut value = 0;
    let points = (0..).map(|index| from + index * step).take_while(|time| *time <= until);
    let samples = points.map(|time| {
        value = match chance.below(400) {
            0 => 0,
            1 => value + 5_000,
            _ => value + 80 + chance.below(40),
        };
        (time, value as f64)
    });
    Series::new(name, &instance_label(instance), samples)
}

fn instance_label(instance: u64) -> [(&'static str, &'static str); 1] {
    const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
    [("instance", NAMES[instance as usize % NAMES.len()])]
}

/// The time now, unix ms.
#[must_use]
pub fn now() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    since_epoch.map_or(0, |time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

/// The last whole second, unix ms.
#[must_use]
pub fn this_second() -> i64 {
    now() / 1_000 * 1_000
}
