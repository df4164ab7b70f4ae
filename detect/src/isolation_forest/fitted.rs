//! A fitted forest: from rows to scores.

use std::cell::RefCell;
use std::ops::Range;

use super::MAX_ESTIMATORS;
use super::args::{Contamination, GrowthArgs, IsolationForestArgs};
use super::forest::{BLOCK, Forest};
use super::path::samples_of_average;
use super::staircase::Staircase;
use super::tree::{MAX_FEATURES, Rows, key};
use crate::model::StateError;
use crate::offline::FitError;
use crate::readiness::Readiness;
use crate::state::{Reader, Writer, require};

/// A value as a feature. Numbers beyond the range of `f32` are its ends; NaN, which no tree could place, is 0.
#[inline]
pub(super) fn feature(value: f64) -> f32 {
    if value.is_nan() { 0.0 } else { (value as f32).clamp(f32::MIN, f32::MAX) }
}

thread_local! {
    /// The features of a block of rows and their keys: kept, so that only a thread's first tick allocates.
    static ROWS: RefCell<(Vec<f32>, Vec<u32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// How the sum of a row's paths is found.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Paths {
    /// Rows of one feature.
    Merged(Staircase),
    /// Rows of more.
    Trees(Forest),
}

/// A forest with its line between normal and anomalous.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fitted {
    features: usize,
    /// Scores below it are outliers; at least -1, below 0.
    offset: f64,
    average_sum: u32,
    /// Rows that each tree was grown from: a pure function of the former.
    samples: usize,
    paths: Paths,
}

impl Fitted {
    /// Fits to rows of at least one feature.
    pub(super) fn new(rows: Rows<'_>, args: &IsolationForestArgs, seed: u64) -> Result<Self, FitError> {
        if rows.len() < 2 {
            return Err(FitError::TooFewSamples { needed: 2, found: rows.len() });
        }
        if rows.features > MAX_FEATURES {
            return Err(FitError::Failed { what: "there are more than 32768 features" });
        }
        let seed = args.growth.random_state.map_or(seed, u64::from);
        let forest = Forest::grow(rows, &args.growth, seed);
        let average_sum = forest.average_sum();
        let paths = if rows.features == 1 { Paths::Merged(Staircase::new(&forest)) } else { Paths::Trees(forest) };
        let samples = samples(average_sum, &args.growth);
        let fitted = Self { features: rows.features, offset: -0.5, average_sum, samples, paths };
        let offset = match args.contamination {
            Contamination::Auto => -0.5,
            Contamination::Share(share) => quantile(fitted.scores_of_rows(rows), share),
        };
        Ok(Self { offset, ..fitted })
    }

    pub(super) fn features(&self) -> usize {
        self.features
    }

    /// Ready if each tree has as many rows as it may have.
    pub(super) fn readiness(&self, args: &IsolationForestArgs) -> Readiness {
        Readiness::learning(self.samples as f64, args.growth.samples_of_tree() as f64)
    }

    pub(super) fn offset(&self) -> f64 {
        self.offset
    }

    /// Gives the scores of so many rows to `put`, with the row: below 0, at least -1, the lower the more unusual. `fill` writes the
    /// features of a range of rows, one row after another.
    pub(super) fn score_samples(
        &self,
        rows: usize,
        fill: impl Fn(Range<usize>, &mut [f32]),
        mut put: impl FnMut(usize, f64),
    ) {
        let (mut features, mut keys) = ROWS.take();
        let size = BLOCK * self.features;
        features.resize(size.max(features.len()), 0.0);
        keys.resize(size.max(keys.len()), 0);
        for start in (0..rows).step_by(BLOCK) {
            let count = BLOCK.min(rows - start);
            let features = &mut features[..count * self.features];
            fill(start..start + count, features);
            for (key_of, feature) in keys.iter_mut().zip(features.iter()) {
                *key_of = key(*feature);
            }
            let sums = match &self.paths {
                Paths::Merged(staircase) => staircase.path_sums(&keys, count),
                Paths::Trees(forest) => forest.path_sums(&keys, count),
            };
            for (row, sum) in sums[..count].iter().enumerate() {
                put(start + row, self.score(*sum));
            }
        }
        ROWS.set((features, keys));
    }

    fn scores_of_rows(&self, rows: Rows<'_>) -> Vec<f64> {
        let mut scores = Vec::with_capacity(rows.len());
        let fill = |range: Range<usize>, features: &mut [f32]| {
            features.copy_from_slice(&rows.values[range.start * rows.features..range.end * rows.features]);
        };
        self.score_samples(rows.len(), fill, |_, score| scores.push(score));
        scores
    }

    /// `-2^(-mean path / c(samples))`.
    #[inline]
    fn score(&self, path_sum: u32) -> f64 {
        if self.average_sum == 0 {
            return -0.5;
        }
        -libm::exp2(-(f64::from(path_sum) / f64::from(self.average_sum)))
    }

    /// The base of the anomaly score: above 1 if and only if the score is below the offset. The quotient of two numbers is above
    /// 1 if and only if the first is the greater, also after rounding. NaN in gives NaN out.
    #[inline]
    pub(super) fn base_score(&self, score: f64) -> f64 {
        if score.is_nan() || self.tells_rows_apart() { score / self.offset } else { 0.0 }
    }

    fn tells_rows_apart(&self) -> bool {
        match &self.paths {
            Paths::Merged(staircase) => staircase.has_steps(),
            Paths::Trees(forest) => forest.has_splits(),
        }
    }

    /// Appends the forest to a state.
    pub(super) fn save(&self, writer: &mut Writer<'_>) {
        writer.f64(self.offset);
        writer.u32(self.features as u32);
        match &self.paths {
            Paths::Merged(staircase) => staircase.save(writer),
            Paths::Trees(forest) => forest.save(writer),
        }
    }

    /// Takes a forest from a state, to its end.
    pub(super) fn load(mut reader: Reader<'_>, args: &IsolationForestArgs) -> Result<Self, StateError> {
        let offset = reader.finite()?;
        require((-1.0..0.0).contains(&offset), "the offset is out of range")?;
        let features = reader.u32()? as usize;
        require((1..=MAX_FEATURES).contains(&features), "the number of features is out of range")?;
        let (average_sum, paths) = if features == 1 {
            let staircase = Staircase::load(&mut reader)?;
            (staircase.average_sum(), Paths::Merged(staircase))
        } else {
            let forest = Forest::load(&mut reader, features)?;
            (forest.average_sum(), Paths::Trees(forest))
        };
        reader.finish()?;
        Ok(Self { features, offset, average_sum, samples: samples(average_sum, &args.growth), paths })
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match &self.paths {
            Paths::Merged(staircase) => staircase.heap_bytes(),
            Paths::Trees(forest) => forest.heap_bytes(),
        }
    }
}

/// Rows that each of the trees was grown from whose average paths have this sum.
fn samples(average_sum: u32, growth: &GrowthArgs) -> usize {
    samples_of_average(average_sum / growth.n_estimators.clamp(1, MAX_ESTIMATORS))
}

/// The quantile by linear interpolation between the two nearest of at least one value, in the steps of numpy's `percentile`.
fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    let last = values.len() - 1;
    let position = last as f64 * share;
    let below = (position as usize).min(last);
    let weight = position - below as f64;
    let (_, low, above) = values.select_nth_unstable_by(below, f64::total_cmp);
    let low = *low;
    let high = above.iter().copied().min_by(f64::total_cmp).unwrap_or(low);
    if weight < 0.5 { low + (high - low) * weight } else { high - (high - low) * (1.0 - weight) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_quantile_is_that_of_numpy() {
        let values = || vec![4.0, 1.0, 3.0, 2.0];
        assert_eq!([0.0, 0.1, 0.25, 0.5, 1.0].map(|share| quantile(values(), share)), [1.0, 1.3, 1.75, 2.5, 4.0]);
        assert_eq!(quantile(vec![7.0], 0.3), 7.0);
    }

    fn fit(rows: Rows<'_>, args: &IsolationForestArgs) -> Fitted {
        Fitted::new(rows, args, 42).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_merged_forest_gives_the_bits_of_its_trees(
            values in prop::collection::vec(prop_oneof![-9.0..9.0_f32, (-3..3).prop_map(|value| value as f32)], 2..600),
            points in prop::collection::vec(-10.0..10.0_f32, 1..100),
        ) {
            let rows = Rows { features: 1, values: &values };
            let args = IsolationForestArgs::default();
            let merged = fit(rows, &args);
            let paths = Paths::Trees(Forest::grow(rows, &args.growth, 42));
            let trees = Fitted { paths, ..merged.clone() };
            for points in [&points, &values] {
                let rows = Rows { features: 1, values: points };
                prop_assert_eq!(merged.scores_of_rows(rows), trees.scores_of_rows(rows));
            }
        }
    }
}
