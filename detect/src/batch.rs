//! The states of many series of one model, whether it learns with every sample or only when it is fitted.

use crate::auto::TunedBatch;
use crate::calibrated::Yardstick;
use crate::model::{OnlineBatch, Samples, Scores, StateError};
use crate::offline::OfflineBatch;
use crate::readiness::Readiness;
use crate::score::ScorePolicy;

/// The states of many series of one model. A slot is a series; a new slot has learnt nothing.
///
/// Methods panic when a slot is not below [`slots`](Self::slots) or [`Samples::values`] is not rows x columns: that is the
/// caller's bug, never an effect of data.
pub enum Batch {
    /// Learns every sample that it scores.
    Online(Box<dyn OnlineBatch>),
    /// Stays as it was fitted.
    Offline(Box<dyn OfflineBatch>),
    /// Fitted as an offline one, with arguments of its own for each series; learns what it scores if its class does.
    Tuned(Box<TunedBatch>),
}

impl Batch {
    /// Number of slots.
    #[must_use]
    pub fn slots(&self) -> usize {
        match self {
            Self::Online(batch) => batch.slots(),
            Self::Offline(batch) => batch.slots(),
            Self::Tuned(batch) => batch.slots(),
        }
    }

    /// Adds empty slots until there are at least `slots`.
    pub fn grow(&mut self, slots: usize) {
        match self {
            Self::Online(batch) => batch.grow(slots),
            Self::Offline(batch) => batch.grow(slots),
            Self::Tuned(batch) => batch.grow(slots),
        }
    }

    /// Forgets everything that a slot has learnt.
    pub fn reset(&mut self, slot: u32) {
        match self {
            Self::Online(batch) => batch.reset(slot),
            Self::Offline(batch) => batch.reset(slot),
            Self::Tuned(batch) => batch.reset(slot),
        }
    }

    /// Whether a slot has learnt anything.
    #[must_use]
    pub fn has_state(&self, slot: u32) -> bool {
        match self {
            Self::Online(batch) => batch.samples_seen(slot) > 0,
            Self::Offline(batch) => batch.is_fitted(slot),
            Self::Tuned(batch) => batch.has_state(slot),
        }
    }

    /// How far the model of a slot is that scores by this policy.
    #[must_use]
    pub fn readiness(&self, slot: u32, policy: &ScorePolicy) -> Readiness {
        match self {
            Self::Online(batch) => {
                batch.readiness(slot).after_warm_up(batch.samples_seen(slot), policy.min_n_samples_seen)
            }
            Self::Offline(batch) => batch.readiness(slot),
            Self::Tuned(batch) => batch.readiness(slot, policy),
        }
    }

    /// See [`OnlineBatch::yardstick`].
    #[must_use]
    pub fn yardstick(&self, slot: u32) -> Option<Yardstick> {
        match self {
            Self::Online(batch) => batch.yardstick(slot),
            Self::Offline(_) | Self::Tuned(_) => None,
        }
    }

    /// See [`OnlineBatch::set_false_alarms_per_day`].
    pub fn set_false_alarms_per_day(&mut self, rate: f64) {
        if let Self::Online(batch) = self {
            batch.set_false_alarms_per_day(rate);
        }
    }

    /// Predicts and scores every sample; see [`OnlineBatch::infer`], [`OfflineBatch::infer`] and [`TunedBatch::infer`].
    pub fn infer(&mut self, samples: Samples<'_>, policy: &ScorePolicy, scores: &mut Scores) {
        match self {
            Self::Online(batch) => batch.infer(samples, policy, scores),
            Self::Offline(batch) => batch.infer(samples, policy, scores),
            Self::Tuned(batch) => batch.infer(samples, policy, scores),
        }
    }

    /// Learns without scoring. A model that is only fitted learns nothing from it.
    pub fn learn(&mut self, samples: Samples<'_>) {
        match self {
            Self::Online(batch) => batch.learn(samples),
            Self::Offline(_) => {}
            Self::Tuned(batch) => batch.learn(samples),
        }
    }

    /// Ends a fit of one slot that was made by [`learn`](Self::learn).
    pub fn finish_fit(&mut self, slot: u32) {
        if let Self::Online(batch) = self {
            batch.finish_fit(slot);
        }
    }

    /// Appends one slot's state in its versioned binary form.
    pub fn save(&self, slot: u32, out: &mut Vec<u8>) {
        match self {
            Self::Online(batch) => batch.save(slot, out),
            Self::Offline(batch) => batch.save(slot, out),
            Self::Tuned(batch) => batch.save(slot, out),
        }
    }

    /// Replaces one slot's state.
    ///
    /// # Errors
    /// When the bytes are no state of this model; the slot is unchanged then.
    pub fn load(&mut self, slot: u32, bytes: &[u8]) -> Result<(), StateError> {
        match self {
            Self::Online(batch) => batch.load(slot, bytes),
            Self::Offline(batch) => batch.load(slot, bytes),
            Self::Tuned(batch) => batch.load(slot, bytes),
        }
    }

    /// Bytes on the heap that all slots hold.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Online(batch) => batch.heap_bytes(),
            Self::Offline(batch) => batch.heap_bytes(),
            Self::Tuned(batch) => batch.heap_bytes(),
        }
    }
}
