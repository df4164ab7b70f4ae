//! The states of many series.

use super::CalibratedArgs;
use super::codec::Stored;
use super::driver::{Driver, Yardstick};
use super::pace::{Moment, Pace};
use super::state::State;
use crate::calendar::Zone;
use crate::model::{OnlineBatch, Provides, Samples, Scores, StateError, is_missing};
use crate::readiness::Readiness;
use crate::score::{Interval, ScorePolicy};

/// `calibrated` of many series on the clocks of a zone.
#[derive(Debug, Clone)]
pub struct CalibratedBatch<S = f32> {
    pace: Pace,
    zone: Zone,
    /// What is written beside the interval; `None` is a name that is unknown.
    drivers: Vec<Option<Driver>>,
    states: Vec<State<S>>,
    /// The columns of a tick, which all series share; empty between ticks.
    moments: Vec<Moment>,
}

impl<S: Stored> CalibratedBatch<S> {
    /// A batch without slots. Arguments are [validated](CalibratedArgs::validate).
    #[must_use]
    pub fn new(args: CalibratedArgs, zone: Zone) -> Self {
        let pace = args.pace();
        Self { pace, zone, drivers: Vec::new(), states: Vec::new(), moments: Vec::new() }
    }

    /// The same, that writes these of the [`component_names`](super::component_names) beside the interval. A name that is
    /// none of them gives NaN.
    #[must_use]
    pub fn providing(self, components: &[impl AsRef<str>]) -> Self {
        Self { drivers: components.iter().map(|name| Driver::named(name.as_ref())).collect(), ..self }
    }

    /// Looks at every sample that there is, with the moment of its time, row by row, and tells the column and the row.
    #[inline]
    fn each(&mut self, samples: Samples<'_>, mut visit: impl FnMut(&mut State<S>, &Pace, &Moment, usize, f64)) {
        samples.check(self.states.len());
        self.moments.extend(samples.times.iter().map(|time| self.pace.moment(&self.zone, *time)));
        for (row, slot) in samples.slots.iter().enumerate() {
            let state = &mut self.states[*slot as usize];
            let first = row * samples.times.len();
            for (column, (moment, value)) in self.moments.iter().zip(samples.row(row)).enumerate() {
                visit(state, &self.pace, moment, first + column, *value);
            }
        }
        self.moments.clear();
    }
}

impl<S: Stored> OnlineBatch for CalibratedBatch<S> {
    fn slots(&self) -> usize {
        self.states.len()
    }

    fn grow(&mut self, slots: usize) {
        if slots > self.states.len() {
            self.states.resize(slots, State::new(&self.pace));
        }
    }

    fn reset(&mut self, slot: u32) {
        self.states[slot as usize] = State::new(&self.pace);
    }

    fn infer(&mut self, samples: Samples<'_>, policy: &ScorePolicy, scores: &mut Scores) {
        scores.resize(samples.values.len());
        let drivers = std::mem::take(&mut self.drivers);
        let provides = Provides { components: drivers.len(), forecasts: 0 };
        self.each(samples, |state, pace, moment, at, value| {
            if is_missing(value) {
                scores.put(at, Interval::NONE, f64::NAN);
                scores.provide_nothing(provides);
                return;
            }
            let outlook = state.outlook(pace, moment);
            let prepared = policy.prepare(outlook.interval);
            let residuals = state.residuals(&outlook, value);
            let score = outlook.score(policy, prepared, value, &residuals);
            scores.put(at, prepared, score);
            if !drivers.is_empty() {
                state.drivers(&drivers, (&outlook, pace, moment), &residuals, &mut scores.components);
            }
            scores.put_stage(at, || state.readiness(pace).after_warm_up(state.samples_seen, policy.min_n_samples_seen));
            if value.is_finite() {
                state.learn(pace, moment, value, &outlook);
            }
        });
        self.drivers = drivers;
    }

    fn learn(&mut self, samples: Samples<'_>) {
        self.each(samples, |state, pace, moment, _, value| {
            if value.is_finite() {
                let outlook = state.outlook(pace, moment);
                state.learn(pace, moment, value, &outlook);
            }
        });
    }

    /// Nothing: how long what is remembered counts follows from the step alone.
    fn finish_fit(&mut self, _slot: u32) {}

    fn samples_seen(&self, slot: u32) -> u64 {
        self.states[slot as usize].samples_seen
    }

    fn set_false_alarms_per_day(&mut self, rate: f64) {
        self.pace.set_false_alarms(rate);
        let rule = self.pace.rule();
        for state in &mut self.states {
            state.maxima.update_thresholds(&rule);
        }
    }

    fn yardstick(&self, slot: u32) -> Option<Yardstick> {
        Some(self.states[slot as usize].yardstick(&self.pace))
    }

    fn readiness(&self, slot: u32) -> Readiness {
        self.states[slot as usize].readiness(&self.pace)
    }

    fn save(&self, slot: u32, out: &mut Vec<u8>) {
        self.states[slot as usize].save(&self.pace, out);
    }

    fn load(&mut self, slot: u32, bytes: &[u8]) -> Result<(), StateError> {
        self.states[slot as usize] = State::load(&self.pace, bytes)?;
        Ok(())
    }

    fn heap_bytes(&self) -> usize {
        let own = self.states.capacity() * size_of::<State<S>>() + self.moments.capacity() * size_of::<Moment>();
        own + self.states.iter().map(State::heap_bytes).sum::<usize>()
    }
}
