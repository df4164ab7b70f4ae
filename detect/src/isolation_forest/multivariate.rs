//! `isolation_forest_multivariate`: one score for several series on a common time grid.

use std::sync::Arc;

use super::args::IsolationForestArgs;
use super::fitted::{Fitted, feature};
use super::seasons::Seasons;
use super::tree::Rows;
use super::{MULTIVARIATE_FORMAT, Shared};
use crate::calendar::Zone;
use crate::model::StateError;
use crate::offline::FitError;
use crate::readiness::Readiness;
use crate::state::{Reader, Writer, require};

/// Stretches of several series on one time grid.
#[derive(Debug, Clone, Copy)]
pub struct Channels<'a> {
    /// Ascending, ms.
    pub times: &'a [i64],
    /// Number of series.
    pub count: usize,
    /// `count` rows of `times.len()` values, series by series; those that are not finite are no samples.
    pub values: &'a [f64],
}

impl<'a> Channels<'a> {
    /// The values of each series.
    fn series(self) -> impl Iterator<Item = &'a [f64]> {
        (0..self.count).map(move |series| &self.values[series * self.times.len()..][..self.times.len()])
    }

    /// Whether every series has a sample at the time with this index.
    fn is_complete(self, time: usize) -> bool {
        self.series().all(|series| series[time].is_finite())
    }

    /// Writes the features at the times with these indexes, time by time.
    fn fill(self, seasons: &Seasons, times: impl Iterator<Item = usize> + Clone, features: &mut [f32]) {
        let width = self.count + seasons.len();
        for (at, series) in self.series().enumerate() {
            for (row, time) in features.chunks_exact_mut(width).zip(times.clone()) {
                row[at] = feature(series[time]);
            }
        }
        for (row, time) in features.chunks_exact_mut(width).zip(times) {
            seasons.fill(self.times[time], &mut row[self.count..]);
        }
    }

    /// The values at the time with this index, in the order of the series.
    pub(crate) fn at(self, time: usize) -> impl Iterator<Item = f64> {
        self.series().filter_map(move |series| series.get(time).copied())
    }

    fn check(self) {
        assert_eq!(self.values.len(), self.count * self.times.len(), "values must be series x times");
    }
}

/// `isolation_forest_multivariate` of one group of series. Their order is part of the model: a forest splits by a series, and
/// knows it by its place.
#[derive(Debug, Clone)]
pub struct IsolationForestMultivariate {
    shared: Arc<Shared>,
    fitted: Option<Fitted>,
}

impl IsolationForestMultivariate {
    /// A model without a fit. `seed` is that of its fits, unless `random_state` is given.
    #[must_use]
    pub fn new(args: IsolationForestArgs, zone: Zone, seed: u64) -> Self {
        Self { shared: Arc::new(Shared::new(args, zone, seed)), fitted: None }
    }

    /// Fits to the times at which every series has a sample, from nothing: what was fitted before does not matter.
    ///
    /// # Errors
    /// When there are fewer than two such times, no series or too many; the model is unchanged then.
    ///
    /// # Panics
    /// If there are not `count` times as many values as times: the caller's bug.
    pub fn fit(&mut self, channels: Channels<'_>) -> Result<(), FitError> {
        channels.check();
        if channels.count == 0 {
            return Err(FitError::Failed { what: "there are no series" });
        }
        let mut times: Vec<usize> = (0..channels.times.len()).filter(|time| channels.is_complete(*time)).collect();
        times.sort_by_key(|time| channels.times[*time]);
        let Shared { args, seasons, seed } = &*self.shared;
        let features = channels.count + seasons.len();
        let mut values = vec![0.0; times.len() * features];
        channels.fill(seasons, times.iter().copied(), &mut values);
        let rows = Rows { features, values: &values };
        self.fitted = Some(Fitted::new(rows, args, *seed)?);
        Ok(())
    }

    /// The number of series of the fit, if there was one.
    #[must_use]
    pub fn channels(&self) -> Option<usize> {
        self.fitted.as_ref().map(|fitted| fitted.features() - self.shared.seasons.len())
    }

    /// How much of what it was asked to learn the window of its fit had.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.fitted.as_ref().map_or(Readiness::NONE, |fitted| fitted.readiness(&self.shared.args))
    }

    /// scikit-learn's `offset_`, if there was a fit: scores below it are outliers.
    #[must_use]
    pub fn offset(&self) -> Option<f64> {
        self.fitted.as_ref().map(Fitted::offset)
    }

    /// Appends scikit-learn's `score_samples` for each time: from -1 to 0, the lower the more unusual. NaN where a series has
    /// no sample, and for all times without a fit or if the number of series is not that of the fit.
    ///
    /// # Panics
    /// If there are not `count` times as many values as times: the caller's bug.
    pub fn score_samples(&self, channels: Channels<'_>, scores: &mut Vec<f64>) {
        channels.check();
        let fitted = self.fitted.as_ref().filter(|_| self.channels() == Some(channels.count));
        let Some(fitted) = fitted else {
            return scores.resize(scores.len() + channels.times.len(), f64::NAN);
        };
        let fill = |times, features: &mut [f32]| channels.fill(&self.shared.seasons, times, features);
        fitted.score_samples(channels.times.len(), fill, |time, score| {
            scores.push(if channels.is_complete(time) { score } else { f64::NAN });
        });
    }

    /// Appends the base of the anomaly score for each time, for [`crate::score::ScorePolicy::score_of_base`]: above 1 if and
    /// only if the forest calls it an outlier. NaN where [`score_samples`](Self::score_samples) is.
    ///
    /// # Panics
    /// If there are not `count` times as many values as times: the caller's bug.
    pub fn predict(&self, channels: Channels<'_>, base_scores: &mut Vec<f64>) {
        let start = base_scores.len();
        self.score_samples(channels, base_scores);
        if let Some(fitted) = &self.fitted {
            for score in &mut base_scores[start..] {
                *score = fitted.base_score(*score);
            }
        }
    }

    /// Appends the state in its versioned binary form.
    pub fn save(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(MULTIVARIATE_FORMAT, out);
        if let Some(fitted) = &self.fitted {
            fitted.save(&mut writer);
        }
    }

    /// Replaces the state by a saved one.
    ///
    /// # Errors
    /// When the bytes are no state of this model; the model is unchanged then.
    pub fn load(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let reader = Reader::new(MULTIVARIATE_FORMAT, bytes)?;
        let fitted = if reader.remaining() == 0 { None } else { Some(Fitted::load(reader, &self.shared.args)?) };
        if let Some(fitted) = &fitted {
            require(fitted.features() > self.shared.seasons.len(), "it was fitted with other seasonal features")?;
        }
        self.fitted = fitted;
        Ok(())
    }

    /// Bytes on the heap that the model holds.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.fitted.as_ref().map_or(0, Fitted::heap_bytes)
    }
}
