//! What the time of the day, or of the week, adds.

use super::codec::Stored;
use super::pace::Spot;
use crate::score::at_least;

/// A value for each slot of a cycle, and how often it was learnt.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Profile<S> {
    pub(super) values: Box<[S]>,
    /// Saturating: by then a gain is that of a full memory.
    pub(super) visits: Box<[u16]>,
}

impl<S: Stored> Profile<S> {
    pub(super) fn new(slots: usize) -> Self {
        Self { values: vec![S::default(); slots].into(), visits: vec![0; slots].into() }
    }

    /// What the profile adds at a place; `None` if a slot beside it was not yet seen.
    #[inline]
    pub(super) fn value(&self, spot: Spot) -> Option<f64> {
        let Spot { earlier, later, share, .. } = spot;
        let is_seen = self.visits[earlier] > 0 && self.visits[later] > 0;
        is_seen.then(|| (1.0 - share) * self.values[earlier].into() + share * self.values[later].into())
    }

    /// What the slot of a place was told so far; 0 if nothing.
    #[inline]
    pub(super) fn of_slot(&self, spot: Spot) -> f64 {
        self.values[spot.slot].into()
    }

    /// How often the slot of a place was told.
    #[inline]
    pub(super) fn visits(&self, spot: Spot) -> u16 {
        self.visits[spot.slot]
    }

    /// Moves the slot by a deviation, with a gain of at least `gain`, and at least that of the mean of its visits and of so many
    /// `earlier` ones.
    #[inline]
    pub(super) fn learn(&mut self, spot: Spot, deviation: f64, gain: f64, earlier: f64) {
        let visits = self.visits[spot.slot].saturating_add(1);
        self.visits[spot.slot] = visits;
        let gain = at_least(gain, 1.0 / (f64::from(visits) + earlier));
        self.values[spot.slot] = S::of(self.of_slot(spot) + gain * deviation);
    }

    /// Sets the slot of a place.
    #[inline]
    pub(super) fn set(&mut self, spot: Spot, value: f64) {
        self.values[spot.slot] = S::of(value);
    }

    /// Share of the slots that were seen, 0 to 1.
    pub(super) fn share_seen(&self) -> f64 {
        let seen = self.visits.iter().filter(|visits| **visits > 0).count();
        seen as f64 / self.visits.len() as f64
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.values.len() * (size_of::<S>() + size_of::<u16>())
    }
}
