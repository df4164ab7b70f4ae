//! Models that are fitted to a window of history and then stay as they are until the next fit.
//!
//! A fit does not touch the state that scores meanwhile: it gives the bytes of a new one, which can be stored, sent to another
//! replica, and taken over by [`OfflineBatch::load`] when its time has come. Series without a fit have no output.
//!
//! A model of one series is an [`OfflineModel`], and [`PerSeries`] makes a batch of it. A model whose series share work, such as
//! the calendar features of one time grid, implements [`OfflineBatch`] itself.

use crate::model::{Provides, Samples, Scores, StateError, is_missing};
use crate::per_series::PerSeries;
use crate::readiness::Readiness;
use crate::score::{Interval, ScorePolicy};

/// A stretch of one series.
#[derive(Debug, Clone, Copy)]
pub struct Window<'a> {
    /// Ascending, ms.
    pub times: &'a [i64],
    /// As many as there are times; those that are not finite are no samples.
    pub values: &'a [f64],
}

impl Window<'_> {
    /// The finite samples in time order.
    pub fn samples(&self) -> impl Iterator<Item = (i64, f64)> {
        let points = self.times.iter().copied().zip(self.values.iter().copied());
        points.filter(|(_, value)| value.is_finite())
    }
}

/// Why a window gives no fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// The window has too few finite samples.
    #[error("the fit needs {needed} samples, the window has {found}")]
    TooFewSamples {
        /// The least number that would do.
        needed: usize,
        /// The number there is.
        found: usize,
    },
    /// The window is too short for the step of the model.
    #[error("the fit needs {needed} steps, the window has {found}")]
    TooFewSteps {
        /// The least number that would do.
        needed: usize,
        /// The number there is, those without a sample included.
        found: usize,
    },
    /// A multivariate model may not have so many channels.
    #[error("there are {found} channels, max_channels is {most}")]
    TooManyChannels {
        /// The number there is.
        found: usize,
        /// The greatest number that is allowed.
        most: usize,
    },
    /// The samples contradict the model.
    #[error("the fit failed: {what}")]
    Failed {
        /// What does not work out.
        what: &'static str,
    },
}

/// What a fitted model says about one point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Prediction {
    /// Where the value is expected.
    Interval(Interval),
    /// How unusual the value is, on the scale of the anomaly score, from a model that expects no value.
    BaseScore(f64),
}

/// One series' offline model.
pub trait OfflineModel {
    /// Fits to the window from nothing: what was learnt before does not matter.
    ///
    /// # Errors
    /// When the window gives no fit; the model is unchanged then.
    fn fit(&mut self, window: Window<'_>) -> Result<(), FitError>;
    /// Whether there was a fit.
    fn is_fitted(&self) -> bool;
    /// How much of what it was asked to learn the window of its fit had. By default, any fit is enough.
    fn readiness(&self) -> Readiness {
        if self.is_fitted() { Readiness::READY } else { Readiness::NONE }
    }
    /// Appends a prediction for every point of the window, finite or not, in their order. Called on fitted models only. A
    /// prediction depends on its own point alone, so that it does not matter how points are cut into calls.
    fn predict(&self, points: Window<'_>, predictions: &mut Vec<Prediction>);
    /// How much [`components`](Self::components) and [`forecasts`](Self::forecasts) append.
    fn provides(&self) -> Provides {
        Provides::default()
    }
    /// Appends what the point at `time` of this value is made of: a number for each component that the model was made to
    /// provide, in that order; NaN where there is none.
    fn components(&self, _time: i64, _value: f64, _out: &mut Vec<f64>) {}
    /// Appends the intervals that are expected at the horizons of `forecast_at` after `time`, in that order.
    fn forecasts(&self, _time: i64, _out: &mut Vec<Interval>) {}
    /// Appends the state in its versioned binary form.
    fn save(&self, out: &mut Vec<u8>);
    /// Replaces the state by a saved one.
    ///
    /// # Errors
    /// When the bytes are no state of this model; the model is unchanged then.
    fn load(&mut self, bytes: &[u8]) -> Result<(), StateError>;
    /// Bytes on the heap that the model holds.
    fn heap_bytes(&self) -> usize {
        0
    }
}

/// The states of many series of one offline model. A slot is a series; a new slot is not fitted.
///
/// Methods panic when a slot is not below [`slots`](Self::slots) or [`Samples::values`] is not rows x columns: that is the
/// caller's bug, never an effect of data.
pub trait OfflineBatch: Send + Sync {
    /// Number of slots.
    fn slots(&self) -> usize;
    /// Adds slots until there are at least `slots`.
    fn grow(&mut self, slots: usize);
    /// Forgets the fit of a slot.
    fn reset(&mut self, slot: u32);
    /// Whether a slot has a fit.
    fn is_fitted(&self, slot: u32) -> bool;
    /// See [`OfflineModel::readiness`].
    fn readiness(&self, slot: u32) -> Readiness {
        if self.is_fitted(slot) { Readiness::READY } else { Readiness::NONE }
    }
    /// Fits a series and appends the state to `state`, for [`load`](Self::load). No slot changes, so fits can run beside
    /// scoring and beside each other.
    ///
    /// # Errors
    /// When the window gives no fit; `state` is unchanged then.
    fn fit(&self, window: Window<'_>, state: &mut Vec<u8>) -> Result<(), FitError>;
    /// Predicts and scores every sample. All outputs but the stage of a slot without a fit, and all of [`MISSING`](crate::model::MISSING) samples
    /// are NaN; other samples that are not finite get bounds and a NaN score. `scores` is overwritten. There is no warm-up:
    /// `min_n_samples_seen` is for online models.
    fn infer(&self, samples: Samples<'_>, policy: &ScorePolicy, scores: &mut Scores);
    /// Appends one slot's state in its versioned binary form.
    fn save(&self, slot: u32, out: &mut Vec<u8>);
    /// Replaces one slot's state.
    ///
    /// # Errors
    /// When the bytes are no state of this model; the slot is unchanged then.
    fn load(&mut self, slot: u32, bytes: &[u8]) -> Result<(), StateError>;
    /// Bytes on the heap that all slots hold.
    fn heap_bytes(&self) -> usize;
}

impl<M: OfflineModel + Clone + Send + Sync> OfflineBatch for PerSeries<M> {
    fn slots(&self) -> usize {
        self.models.len()
    }

    fn grow(&mut self, slots: usize) {
        if slots > self.models.len() {
            self.models.resize(slots, self.empty.clone());
        }
    }

    fn reset(&mut self, slot: u32) {
        self.models[slot as usize] = self.empty.clone();
    }

    fn is_fitted(&self, slot: u32) -> bool {
        self.models[slot as usize].is_fitted()
    }

    fn readiness(&self, slot: u32) -> Readiness {
        self.models[slot as usize].readiness()
    }

    fn fit(&self, window: Window<'_>, state: &mut Vec<u8>) -> Result<(), FitError> {
        let mut model = self.empty.clone();
        model.fit(window)?;
        model.save(state);
        Ok(())
    }

    fn infer(&self, samples: Samples<'_>, policy: &ScorePolicy, scores: &mut Scores) {
        samples.check(self.models.len());
        scores.resize(samples.values.len());
        let mut predictions = std::mem::take(&mut scores.predictions);
        for (row, slot) in samples.slots.iter().enumerate() {
            let model = &self.models[*slot as usize];
            let points = Window { times: samples.times, values: samples.row(row) };
            let provides = model.provides();
            predictions.clear();
            if model.is_fitted() {
                model.predict(points, &mut predictions);
            }
            for (column, value) in points.values.iter().enumerate() {
                let (prepared, score) = match predictions.get(column) {
                    Some(_) if is_missing(*value) => (Interval::NONE, f64::NAN),
                    Some(Prediction::Interval(interval)) => {
                        let prepared = policy.prepare(*interval);
                        (prepared, policy.score(prepared, *value, u64::MAX))
                    }
                    Some(Prediction::BaseScore(score)) => (Interval::NONE, policy.score_of_base(*score, *value)),
                    None => (Interval::NONE, f64::NAN),
                };
                let at = row * samples.times.len() + column;
                scores.put(at, prepared, score);
                if !is_missing(*value) {
                    scores.put_stage(at, || model.readiness());
                }
                if provides == Provides::default() {
                    continue;
                }
                if predictions.is_empty() || is_missing(*value) {
                    scores.provide_nothing(provides);
                    continue;
                }
                let time = points.times[column];
                model.components(time, *value, &mut scores.components);
                scores.forecast(policy, |forecasts| model.forecasts(time, forecasts));
            }
        }
        predictions.clear();
        scores.predictions = predictions;
    }

    fn save(&self, slot: u32, out: &mut Vec<u8>) {
        self.models[slot as usize].save(out);
    }

    fn load(&mut self, slot: u32, bytes: &[u8]) -> Result<(), StateError> {
        self.models[slot as usize].load(bytes)
    }

    fn heap_bytes(&self) -> usize {
        self.models.capacity() * size_of::<M>() + self.models.iter().map(M::heap_bytes).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MISSING;

    /// Expects the mean of its window, within 1; or, as a forest would, scores the distance from it.
    #[derive(Debug, Clone, Default)]
    struct Level {
        mean: Option<f64>,
        is_forest: bool,
    }

    impl OfflineModel for Level {
        fn fit(&mut self, window: Window<'_>) -> Result<(), FitError> {
            let found = window.samples().count();
            if found < 2 {
                return Err(FitError::TooFewSamples { needed: 2, found });
            }
            self.mean = Some(window.samples().map(|(_, value)| value).sum::<f64>() / found as f64);
            Ok(())
        }
        fn is_fitted(&self) -> bool {
            self.mean.is_some()
        }
        fn predict(&self, points: Window<'_>, predictions: &mut Vec<Prediction>) {
            let mean = self.mean.unwrap();
            predictions.extend(points.values.iter().map(|value| {
                if self.is_forest {
                    Prediction::BaseScore((value - mean).abs())
                } else {
                    Prediction::Interval(Interval::symmetric(mean, 1.0))
                }
            }));
        }
        fn save(&self, out: &mut Vec<u8>) {
            out.extend(self.mean.unwrap_or(f64::NAN).to_le_bytes());
        }
        fn load(&mut self, bytes: &[u8]) -> Result<(), StateError> {
            let bytes = bytes.try_into().map_err(|_| StateError::Damaged { what: "length" })?;
            self.mean = Some(f64::from_le_bytes(bytes)).filter(|mean| !mean.is_nan());
            Ok(())
        }
    }

    fn batch(is_forest: bool) -> PerSeries<Level> {
        let mut batch = PerSeries::new(Level { mean: None, is_forest });
        OfflineBatch::grow(&mut batch, 2);
        batch
    }

    const HISTORY: Window<'_> = Window { times: &[0, 1, 2, 3], values: &[4.0, MISSING, 6.0, f64::INFINITY] };

    /// Slot 1 after a fit to [`HISTORY`], then slots 0 and 1 scored.
    fn infer(batch: &mut PerSeries<Level>, policy: &ScorePolicy) -> Scores {
        let mut state = Vec::new();
        batch.fit(HISTORY, &mut state).unwrap();
        assert!(!batch.is_fitted(1), "a fit changes no slot");
        batch.load(1, &state).unwrap();
        let mut scores = Scores::default();
        let samples =
            Samples { times: &[10, 20, 30], slots: &[0, 1], values: &[5.0, 5.0, 5.0, 8.0, MISSING, f64::NAN] };
        batch.infer(samples, policy, &mut scores);
        scores
    }

    fn present(values: &[f64]) -> Vec<Option<f64>> {
        values.iter().map(|value| Some(*value).filter(|value| !value.is_nan())).collect()
    }

    #[test]
    fn a_fitted_slot_scores_at_once_and_a_slot_without_a_fit_has_no_output() {
        let scores = infer(&mut batch(false), &ScorePolicy::default());
        let none = [None; 3];
        assert_eq!(present(&scores.anomaly_score), [none, [Some(3.0), None, None]].concat());
        assert_eq!(present(&scores.yhat), [none, [Some(5.0), None, Some(5.0)]].concat());
    }

    #[test]
    fn a_model_without_expectation_gives_scores_that_only_the_data_range_overrides() {
        let policy = ScorePolicy { min_dev_from_expected: crate::score::Sides::both(100.0), ..ScorePolicy::default() };
        let scores = infer(&mut batch(true), &policy);
        assert_eq!(present(&scores.anomaly_score)[3..], [Some(3.0), None, None]);
        assert!(scores.yhat.iter().all(|yhat| yhat.is_nan()));
        let policy = ScorePolicy { data_range: (0.0, 7.0), ..policy };
        assert_eq!(infer(&mut batch(true), &policy).anomaly_score[3], 1.01);
    }

    #[test]
    fn a_window_that_gives_no_fit_is_an_error_with_its_reason() {
        let window = Window { times: &[0, 1], values: &[f64::NAN, 1.0] };
        let mut state = Vec::new();
        let error = batch(false).fit(window, &mut state).unwrap_err();
        assert_eq!(error.to_string(), "the fit needs 2 samples, the window has 1");
        assert!(state.is_empty());
    }

    #[test]
    fn reset_forgets_the_fit() {
        let mut batch = batch(false);
        infer(&mut batch, &ScorePolicy::default());
        assert!(batch.is_fitted(1));
        OfflineBatch::reset(&mut batch, 1);
        assert!(!batch.is_fitted(1));
    }
}
