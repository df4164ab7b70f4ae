//! Small numbers from a seed (SplitMix64).

/// A sequence of numbers.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The sequence of something that `parts` name: what else is drawn from the same seed does not shift it.
    pub fn of(seed: u64, parts: &[u64]) -> Self {
        Self(parts.iter().fold(seed, |state, part| Self(state ^ part.rotate_left(32)).next()))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Below `bound`, as a time.
    pub fn millis_below(&mut self, bound: i64) -> i64 {
        self.below(bound.unsigned_abs()).cast_signed()
    }
}
