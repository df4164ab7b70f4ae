//! Random numbers that are the same everywhere (splitmix64), for tests and benches.

#![allow(dead_code, reason = "no test needs all of it")]

/// What a generator goes on by.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A generator of the seed that it holds.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to below 1.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About normal, of a standard deviation of 1.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// The number of this index, from 0 to below 1.
pub fn uniform(index: u64) -> f64 {
    Random(index.wrapping_mul(STEP)).uniform()
}
