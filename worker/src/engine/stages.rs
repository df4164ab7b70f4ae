//! How far the models are.

use detect::readiness::{NeededHistory, Readiness, Stage};

use super::{BLOCK_SERIES, JobModel, JobState};

impl JobState {
    /// How many states a model has at each stage, in the order of [`Stage::ALL`]: of series, or of groups. A model that was not
    /// fitted has none.
    #[must_use]
    pub fn stages(&self, model: usize) -> [u64; Stage::ALL.len()] {
        let mut counts = [0; Stage::ALL.len()];
        let Some(JobModel { policy, .. }) = self.models.get(model).filter(|model| model.fitted_to.is_some()) else {
            return counts;
        };
        if let Some(groups) = &self.groups {
            groups.stages().for_each(|stage| counts[stage as usize] += 1);
            return counts;
        }
        for (slot, _) in self.series.series() {
            let batch = self.blocks.get((slot / BLOCK_SERIES) as usize).and_then(|block| block.batches.get(model));
            let readiness = batch.map_or(Readiness::NONE, |batch| batch.readiness(slot % BLOCK_SERIES, policy));
            counts[readiness.stage as usize] += 1;
        }
        counts
    }

    /// The models that only fits teach whose window is too short for them to be [ready](Stage::Ready), with the length that would
    /// do, ms.
    pub fn models_that_cannot_be_ready(&self) -> impl Iterator<Item = (&str, i64)> {
        self.models.iter().filter_map(|model| {
            let spec = model.spec.as_ref().filter(|spec| !spec.learns_online())?;
            let NeededHistory { samples, span } = spec.needed_history(model.policy.min_n_samples_seen);
            let of_samples = i64::try_from(samples).unwrap_or(i64::MAX).saturating_mul(self.plan.query.step);
            let needed = span.max(of_samples);
            (needed > self.plan.scheduler.fit_window).then_some((model.plan.alias.as_str(), needed))
        })
    }
}
