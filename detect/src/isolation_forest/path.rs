//! Path lengths: how many splits it takes to isolate a row.
//!
//! They are whole numbers of 2^-16 splits, so that sums of them are exact in any order. A path is within 2^-17 of its formula, and
//! a score within 3e-7.

use super::MAX_SAMPLES;

/// Bits behind the point.
const FRACTION_BITS: u32 = 16;

/// Every path is below this: 64 splits.
pub(super) const PATH_END: u32 = 64 << FRACTION_BITS;

/// Euler's constant, as numpy has it.
const EULER_GAMMA: f64 = 0.577_215_664_901_532_9;

/// The path lengths in trees that are grown from up to so many samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PathLengths {
    /// `c(n)`, by `n`.
    rest: Vec<u32>,
}

impl PathLengths {
    /// For trees of at most `max_samples`, which is from 1 to [`MAX_SAMPLES`].
    pub(super) fn new(max_samples: usize) -> Self {
        debug_assert!((1..=MAX_SAMPLES as usize).contains(&max_samples));
        Self { rest: (0..=max_samples).map(rounded_average).collect() }
    }

    pub(super) fn max_samples(&self) -> usize {
        self.rest.len() - 1
    }

    /// The depth at which a tree is not split further: `ceil(log2(max(samples, 2)))`.
    pub(super) fn max_depth(&self) -> u8 {
        self.max_samples().max(2).next_power_of_two().ilog2() as u8
    }

    /// `c(samples)` of the greatest number of samples: the path length of the average row.
    pub(super) fn average(&self) -> u32 {
        self.rest.last().copied().unwrap_or(0)
    }

    /// The path length of a leaf at this depth with so many samples, of which there are at most the greatest number.
    pub(super) fn path(&self, depth: u8, samples: usize) -> u32 {
        (u32::from(depth) << FRACTION_BITS) + self.rest[samples]
    }

    /// The number of samples of a leaf at this depth with this path length; at least 1.
    pub(super) fn samples(&self, depth: u8, path: u32) -> usize {
        let rest = path.saturating_sub(u32::from(depth) << FRACTION_BITS);
        1 + self.rest[1..].partition_point(|smaller| *smaller < rest)
    }
}

/// The number of samples, at most [`MAX_SAMPLES`], whose average path length, [`PathLengths::average`], this is.
pub(super) fn samples_of_average(path: u32) -> usize {
    let (mut least, mut most) = (1, MAX_SAMPLES as usize);
    while least < most {
        let middle = least.midpoint(most);
        if rounded_average(middle) < path { least = middle + 1 } else { most = middle }
    }
    least
}

fn rounded_average(samples: usize) -> u32 {
    libm::round(average_path_length(samples) * f64::from(1 << FRACTION_BITS)) as u32
}

/// `c(n)`, the average depth of the rows of a random tree of `n` distinct ones.
fn average_path_length(samples: usize) -> f64 {
    match samples {
        0 | 1 => 0.0,
        2 => 1.0,
        _ => {
            let samples = samples as f64;
            2.0 * (libm::log(samples - 1.0) + EULER_GAMMA) - 2.0 * (samples - 1.0) / samples
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_path_length_is_that_of_scikit_learn() {
        assert_eq!([0, 1, 2].map(average_path_length), [0.0, 0.0, 1.0]);
        assert!((average_path_length(5) - 2.327_020_052_042_847).abs() < 1e-12);
        assert!((average_path_length(999) - 12.967_939_884_427_995).abs() < 1e-12);
    }

    #[test]
    fn depths_are_limited_by_the_logarithm_of_the_samples() {
        assert_eq!(
            [1, 2, 3, 4, 5, 256, 257].map(|samples| PathLengths::new(samples).max_depth()),
            [1, 1, 2, 2, 3, 8, 9]
        );
    }

    #[test]
    fn every_path_fits_and_tells_the_number_of_samples() {
        let paths = PathLengths::new(MAX_SAMPLES as usize);
        assert_eq!(paths.max_depth(), 15);
        assert!(paths.path(15, MAX_SAMPLES as usize) < PATH_END);
        for samples in 1..=MAX_SAMPLES as usize {
            assert_eq!(paths.samples(9, paths.path(9, samples)), samples);
        }
    }
}
