//! `isolation_forest` and `isolation_forest_multivariate`: points that random splits isolate soon are anomalous.
//!
//! # Formulas
//!
//! The algorithm is that of F. T. Liu, K. M. Ting, Z.-H. Zhou, "Isolation forest", 2008, as scikit-learn's `IsolationForest` has
//! it. A row is a value, or the values of several series at one time, and what its time tells ([`SeasonalFeature`]); all features
//! are `f32`, and numbers beyond its range its ends.
//!
//! - Each of `n_estimators` trees is grown from `psi = max_samples` rows, drawn without replacement.
//! - A node of at least two rows above the depth `ceil(log2(max(psi, 2)))` is split by a feature, drawn among those that vary by more
//!   than 1e-7 in the node, at a threshold that is uniform between the feature's ends. Rows up to the threshold go left.
//! - The path of a row is the depth of its leaf plus `c(n)` for the `n` rows of the fit in the leaf, where
//!   `c(n) = 2 (ln(n - 1) + 0.5772156649) - 2 (n - 1) / n`, `c(2) = 1` and `c(1) = 0`.
//! - `score_samples = -2^(-mean path / c(psi))`.
//! - `offset_` is -0.5 for `contamination: auto`; for a number it is that quantile of the scores of all rows of the fit, by linear
//!   interpolation. A score below it is an outlier's.
//! - The base of the anomaly score is `score_samples / offset_`, above 1 if and only if the row is an outlier. Where all rows of
//!   the fit are equal no tree has a split, every row would lie on the line, and the base is 0: such a forest knows nothing.
//!
//! Random numbers differ from scikit-learn's, so that scores agree as those of two seeds do. The fit depends on the window and the
//! seed only; of samples at the same time all count.
//!
//! A forest of one feature is merged to one sorted table of all thresholds: the same scores, by one search.
//!
//! There is no expected value, so direction and minimal deviations do not act on the score (see
//! [`crate::score::ScorePolicy::score_of_base`]).
//!
//! # State
//!
//! The [header](crate::state) `if` or `im`; without a fit that is all. Then `offset_` (`f64`) and the number of features (`u32`).
//!
//! - One feature: the sum of the average row's paths, the number of steps, the steps' thresholds, and the sums of the paths up to
//!   each threshold and beyond the last (`u32` each): [`merged_state_bytes`]. By default there are
//!   7 000 to 10 000 steps: 56 to 80 kB.
//! - More: the number of trees, `psi` (`u32` each), and each tree's nodes level by level: a leaf is its number of rows less one
//!   with the highest bit set (`u16`), an inner node its feature (`u16`) and its threshold (`u32`). That is 8 bytes a split:
//!   by default at most 204 kB, and 50 to 110 kB in practice.
//!
//! Thresholds are the bits of an `f32`, the first inverted, all if it is set; path lengths are multiples of 2^-16.

mod args;
mod fitted;
mod forest;
mod multivariate;
mod path;
mod seasons;
mod staircase;
mod tree;

pub use args::{
    Contamination, GrowthArgs, GrowthArgsError, IsolationForestArgs, MaxFeatures, MaxSamples, SeasonalFeature,
    UnknownText, Value,
};
pub use multivariate::{Channels, IsolationForestMultivariate};

use std::ops::Range;
use std::sync::Arc;

use crate::calendar::Zone;
use crate::model::StateError;
use crate::offline::{FitError, OfflineModel, Prediction, Window};
use crate::readiness::Readiness;
use crate::state::{Format, HEADER_BYTES, Reader, Writer, require};
use fitted::{Fitted, feature};
use seasons::Seasons;
use staircase::staircase_bytes;
use tree::Rows;

/// Tag and version of the state of `isolation_forest`.
pub const FORMAT: Format = Format { tag: *b"if", version: 1 };

/// Tag and version of the state of `isolation_forest_multivariate`.
pub const MULTIVARIATE_FORMAT: Format = Format { tag: *b"im", version: 1 };

/// Seed of models that are not given one.
pub const DEFAULT_SEED: u64 = 42;

/// The most trees.
pub const MAX_ESTIMATORS: u32 = 1000;

/// The most samples of a tree.
pub const MAX_SAMPLES: u32 = 1 << 15;

/// Size of a saved state of one feature with so many steps.
#[must_use]
pub const fn merged_state_bytes(steps: usize) -> usize {
    HEADER_BYTES + 8 + 4 + staircase_bytes(steps)
}

/// What all series of a batch have in common.
#[derive(Debug)]
struct Shared {
    args: IsolationForestArgs,
    seasons: Seasons,
    seed: u64,
}

impl Shared {
    fn new(args: IsolationForestArgs, zone: Zone, seed: u64) -> Self {
        let seasons = Seasons::new(&args.seasonal_features, zone);
        Self { args, seasons, seed }
    }

    /// Features of one series.
    fn features(&self) -> usize {
        1 + self.seasons.len()
    }

    /// Writes the features of samples of one series, sample by sample.
    fn fill(&self, samples: impl Iterator<Item = (i64, f64)>, features: &mut [f32]) {
        for (row, (time, value)) in features.chunks_exact_mut(self.features()).zip(samples) {
            row[0] = feature(value);
            self.seasons.fill(time, &mut row[1..]);
        }
    }
}

/// `isolation_forest` of one series.
#[derive(Debug, Clone)]
pub struct IsolationForest {
    shared: Arc<Shared>,
    fitted: Option<Fitted>,
}

impl IsolationForest {
    /// A model without a fit, whose seasonal features are those of civil time in `zone`. `seed` is that of its fits, unless
    /// `random_state` is given. Arguments outside their ranges are moved into them.
    #[must_use]
    pub fn new(args: IsolationForestArgs, zone: Zone, seed: u64) -> Self {
        Self { shared: Arc::new(Shared::new(args, zone, seed)), fitted: None }
    }

    /// scikit-learn's `offset_`, if there was a fit: scores below it are outliers.
    #[must_use]
    pub fn offset(&self) -> Option<f64> {
        self.fitted.as_ref().map(Fitted::offset)
    }

    /// Appends scikit-learn's `score_samples` for every point: from -1 to 0, the lower the more unusual. NaN where the value
    /// is not finite, and for all points without a fit.
    pub fn score_samples(&self, points: Window<'_>, scores: &mut Vec<f64>) {
        match &self.fitted {
            Some(fitted) => self.score_by(fitted, points, |score| scores.push(score)),
            None => scores.resize(scores.len() + points.values.len(), f64::NAN),
        }
    }

    /// Gives the score of every point to `put`, in their order.
    fn score_by(&self, fitted: &Fitted, points: Window<'_>, mut put: impl FnMut(f64)) {
        let samples = |range: Range<usize>| range.map(|at| (points.times[at], points.values[at]));
        let fill = |range, features: &mut [f32]| self.shared.fill(samples(range), features);
        fitted.score_samples(points.values.len(), fill, |at, score| {
            put(if points.values[at].is_finite() { score } else { f64::NAN });
        });
    }
}

impl OfflineModel for IsolationForest {
    fn fit(&mut self, window: Window<'_>) -> Result<(), FitError> {
        let Shared { args, seed, .. } = &*self.shared;
        let mut samples: Vec<(i64, f64)> = window.samples().collect();
        samples.sort_by_key(|(time, _)| *time);
        let features = self.shared.features();
        let mut values = vec![0.0; samples.len() * features];
        self.shared.fill(samples.into_iter(), &mut values);
        let rows = Rows { features, values: &values };
        self.fitted = Some(Fitted::new(rows, args, *seed)?);
        Ok(())
    }

    fn is_fitted(&self) -> bool {
        self.fitted.is_some()
    }

    fn readiness(&self) -> Readiness {
        self.fitted.as_ref().map_or(Readiness::NONE, |fitted| fitted.readiness(&self.shared.args))
    }

    fn predict(&self, points: Window<'_>, predictions: &mut Vec<Prediction>) {
        let Some(fitted) = &self.fitted else { return };
        self.score_by(fitted, points, |score| predictions.push(Prediction::BaseScore(fitted.base_score(score))));
    }

    fn save(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(FORMAT, out);
        if let Some(fitted) = &self.fitted {
            fitted.save(&mut writer);
        }
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let reader = Reader::new(FORMAT, bytes)?;
        let fitted = if reader.remaining() == 0 { None } else { Some(Fitted::load(reader, &self.shared.args)?) };
        if let Some(fitted) = &fitted {
            require(fitted.features() == self.shared.features(), "it was fitted with other seasonal features")?;
        }
        self.fitted = fitted;
        Ok(())
    }

    fn heap_bytes(&self) -> usize {
        self.fitted.as_ref().map_or(0, Fitted::heap_bytes)
    }
}
