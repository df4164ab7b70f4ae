//! A batch of separate models, one a series, so that a model need not bring a batch of its own.

use crate::model::{OnlineBatch, OnlineModel, Provides, Samples, Scores, StateError, is_missing};
use crate::readiness::Readiness;
use crate::score::{Interval, ScorePolicy};

/// A batch made of one model a series. Slots start as copies of `empty`.
#[derive(Debug, Clone)]
pub struct PerSeries<M> {
    pub(crate) empty: M,
    pub(crate) models: Vec<M>,
}

impl<M> PerSeries<M> {
    /// A batch without slots, whose slots will start as copies of `empty`, a model that has learnt nothing.
    #[must_use]
    pub fn new(empty: M) -> Self {
        Self { empty, models: Vec::new() }
    }
}

impl<M: OnlineModel + Clone + Send + Sync> OnlineBatch for PerSeries<M> {
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

    fn infer(&mut self, samples: Samples<'_>, policy: &ScorePolicy, scores: &mut Scores) {
        samples.check(self.slots());
        scores.resize(samples.values.len());
        for (row, slot) in samples.slots.iter().enumerate() {
            infer_row(&mut self.models[*slot as usize], samples, row, policy, scores);
        }
    }

    fn learn(&mut self, samples: Samples<'_>) {
        samples.check(self.slots());
        for (row, slot) in samples.slots.iter().enumerate() {
            let model = &mut self.models[*slot as usize];
            for (time, value) in samples.times.iter().zip(samples.row(row)) {
                if value.is_finite() {
                    model.learn(*time, *value);
                }
            }
        }
    }

    fn finish_fit(&mut self, slot: u32) {
        self.models[slot as usize].finish_fit();
    }

    fn samples_seen(&self, slot: u32) -> u64 {
        self.models[slot as usize].samples_seen()
    }

    fn readiness(&self, slot: u32) -> Readiness {
        self.models[slot as usize].readiness()
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

/// Predicts, scores and learns one row point by point. `scores` has room for all of `samples`.
#[inline]
pub(crate) fn infer_row<M: OnlineModel>(
    model: &mut M,
    samples: Samples<'_>,
    row: usize,
    policy: &ScorePolicy,
    scores: &mut Scores,
) {
    let columns = samples.times.len();
    let provides = model.provides();
    for (column, (time, value)) in samples.times.iter().zip(samples.row(row)).enumerate() {
        let at = row * columns + column;
        if is_missing(*value) {
            scores.put(at, Interval::NONE, f64::NAN);
            scores.provide_nothing(provides);
            continue;
        }
        let prepared = policy.prepare(model.predict(*time));
        scores.put(at, prepared, policy.score(prepared, *value, model.samples_seen()));
        scores.put_stage(at, || model.readiness().after_warm_up(model.samples_seen(), policy.min_n_samples_seen));
        if provides != Provides::default() {
            model.components(*time, *value, &mut scores.components);
            scores.forecast(policy, |forecasts| model.forecasts(*time, forecasts));
        }
        if value.is_finite() {
            model.learn(*time, *value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MISSING;

    /// Expects the last value it learnt, within 1.
    #[derive(Debug, Clone, Default)]
    struct Last(Vec<f64>);

    /// One component, the step since the last value, and the same interval again as the forecast.
    impl OnlineModel for Last {
        fn provides(&self) -> Provides {
            Provides { components: 1, forecasts: 1 }
        }
        fn components(&self, _time: i64, value: f64, out: &mut Vec<f64>) {
            out.push(value - self.0.last().unwrap_or(&f64::NAN));
        }
        fn forecasts(&self, time: i64, out: &mut Vec<Interval>) {
            out.push(self.predict(time));
        }
        fn predict(&self, _time: i64) -> Interval {
            self.0.last().map_or(Interval::NONE, |last| Interval::symmetric(*last, 1.0))
        }
        fn learn(&mut self, _time: i64, value: f64) {
            self.0.push(value);
        }
        fn finish_fit(&mut self) {}
        fn samples_seen(&self) -> u64 {
            self.0.len() as u64
        }
        fn save(&self, out: &mut Vec<u8>) {
            out.extend(self.0.iter().flat_map(|value| value.to_le_bytes()));
        }
        fn load(&mut self, bytes: &[u8]) -> Result<(), StateError> {
            self.0 = bytes.chunks_exact(8).filter_map(|chunk| chunk.try_into().ok()).map(f64::from_le_bytes).collect();
            Ok(())
        }
        fn heap_bytes(&self) -> usize {
            self.0.capacity() * 8
        }
    }

    fn batch() -> PerSeries<Last> {
        let mut batch = PerSeries::new(Last::default());
        batch.grow(3);
        batch
    }

    /// Scores a tick of the slots 2 and 0.
    fn infer(batch: &mut PerSeries<Last>) -> Scores {
        let samples = Samples {
            times: &[0, 60_000, 120_000],
            slots: &[2, 0],
            values: &[5.0, f64::INFINITY, 8.0, MISSING, 1.0, f64::NAN],
        };
        let policy = ScorePolicy { min_n_samples_seen: 0, ..ScorePolicy::default() };
        let mut scores = Scores::default();
        scores.yhat.push(7.0);
        batch.infer(samples, &policy, &mut scores);
        scores
    }

    /// NaN as `None`, so that rows can be compared.
    fn present(values: &[f64]) -> Vec<Option<f64>> {
        values.iter().map(|value| Some(*value).filter(|value| !value.is_nan())).collect()
    }

    #[test]
    fn every_row_is_scored_against_what_its_slot_has_learnt_so_far() {
        let scores = infer(&mut batch());
        let bounds = [None, Some(5.0), Some(5.0), None, None, Some(1.0)];
        assert_eq!(present(&scores.yhat), bounds);
        assert_eq!(present(&scores.yhat_upper), bounds.map(|bound| bound.map(|bound| bound + 1.0)));
        assert_eq!(present(&scores.anomaly_score), [Some(0.0), None, Some(3.0), None, Some(0.0), None]);
    }

    #[test]
    fn components_and_forecasts_are_those_of_their_samples() {
        let scores = infer(&mut batch());
        assert_eq!(present(&scores.components), [None, Some(f64::INFINITY), Some(3.0), None, None, None]);
        let forecasts: Vec<f64> = scores.forecasts.iter().map(|forecast| forecast.yhat).collect();
        assert_eq!(present(&forecasts), present(&scores.yhat));
    }

    #[test]
    fn only_finite_samples_are_learnt() {
        let mut batch = batch();
        infer(&mut batch);
        assert_eq!([0, 1, 2].map(|slot| batch.samples_seen(slot)), [1, 0, 2]);
    }

    #[test]
    fn reset_forgets_one_slot_and_load_brings_it_back() {
        let mut batch = batch();
        infer(&mut batch);
        let mut bytes = Vec::new();
        batch.save(2, &mut bytes);
        batch.reset(2);
        assert_eq!([batch.samples_seen(0), batch.samples_seen(2)], [1, 0]);
        batch.load(2, &bytes).unwrap();
        assert_eq!(batch.samples_seen(2), 2);
    }

    #[test]
    fn grow_never_shrinks_and_heap_bytes_count_the_models() {
        let mut batch = batch();
        batch.grow(1);
        assert_eq!(batch.slots(), 3);
        let empty = batch.heap_bytes();
        infer(&mut batch);
        assert!(batch.heap_bytes() >= empty + 3 * 8);
    }

    #[test]
    fn a_tick_without_columns_gives_empty_scores() {
        let mut scores = Scores::default();
        let samples = Samples { times: &[], slots: &[0, 1], values: &[] };
        batch().infer(samples, &ScorePolicy::default(), &mut scores);
        assert_eq!(scores, Scores::default());
    }

    #[test]
    #[should_panic(expected = "a slot is beyond the batch's 3")]
    fn a_slot_beyond_the_batch_is_the_callers_bug() {
        let samples = Samples { times: &[0], slots: &[3], values: &[1.0] };
        batch().learn(samples);
    }
}
