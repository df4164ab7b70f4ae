//! Seeded pseudo-random numbers: the same seed gives the same numbers on every machine and in every build.

/// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014): 64 bits of state, a full period, and
/// any two seeds give unrelated streams.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// The stream number `index` of those that belong to this seed.
    pub(crate) fn stream(seed: u64, index: u64) -> Self {
        let start = Self(seed).bits() ^ index;
        Self(Self(start).bits())
    }

    /// 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1), a multiple of 2^-53.
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `0..end`; 0 if that is empty. The bias of the multiplication is below `end / 2^64`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.bits()) * end as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_published_algorithm() {
        let mut random = Random(1_234_567);
        let numbers = [0; 3].map(|_| random.bits());
        assert_eq!(numbers, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn every_number_below_the_end_is_drawn_equally_often() {
        let mut random = Random::stream(42, 0);
        let mut counts = [0_u32; 7];
        (0..70_000).for_each(|_| counts[random.below(7)] += 1);
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 400), "{counts:?}");
    }

    #[test]
    fn streams_of_a_seed_are_not_correlated() {
        let (mut one, mut other) = (Random::stream(42, 0), Random::stream(42, 1));
        let product: f64 = (0..10_000).map(|_| (one.uniform() - 0.5) * (other.uniform() - 0.5)).sum();
        assert!((product / 10_000.0).abs() < 4.0 / 12.0 / 100.0);
    }
}
