//! Fits of models that search the arguments of each series, or of each group of them: trial by trial, so that ticks that are due wait
//! for a trial of some of them and never for a whole search.

use std::{ops::Range, time::Duration};

use detect::{
    auto::TunedFit,
    batch::Batch,
    offline::{FitError, Window},
};
use rayon::prelude::*;

use super::{BLOCK_SERIES, FitWindow, JobState, Refused, groups::GroupSearch};
use crate::environment::Stopwatch;

/// The search for one series, or for one group of them by its first one.
pub struct Searching {
    slot: u32,
    model: usize,
    fit: Fit,
    /// Time spent on it.
    spent: Duration,
    timeout: Option<Duration>,
}

#[expect(clippy::large_enum_variant, reason = "every search is on the heap by itself, and moved as a pointer")]
enum Fit {
    Series(TunedFit),
    Group(GroupSearch),
}

/// What came of searches that are over.
#[derive(Debug, Default)]
pub struct Searched {
    /// Series, or groups by their first ones, that the model could not be fitted to.
    pub refused: Vec<Refused>,
    /// For each search that its time limit has cut short, the model.
    pub cut: Vec<usize>,
}

/// A round of a search.
enum Round {
    GoesOn(Box<Searching>),
    Over { slot: u32, model: usize, is_cut: bool, state: Result<Vec<u8>, FitError> },
}

impl Searching {
    /// A trial; after the last one, the fit of what was found.
    fn advance(mut self: Box<Self>, window: &FitWindow, stopwatch: &Stopwatch) -> Round {
        let started = stopwatch();
        let goes_on = match &mut self.fit {
            Fit::Series(fit) => fit.step(),
            Fit::Group(fit) => fit.step(),
        };
        self.spent += stopwatch().saturating_sub(started);
        let is_cut = goes_on && self.timeout.is_some_and(|timeout| self.spent >= timeout);
        if goes_on && !is_cut {
            return Round::GoesOn(self);
        }
        let Self { slot, model, fit, .. } = *self;
        let state = match fit {
            Fit::Series(fit) => {
                let (mut values, mut state) = (Vec::new(), Vec::new());
                window.series(slot, &mut values);
                fit.finish(Window { times: &window.times, values: &values }, &mut state).map(|()| state)
            }
            Fit::Group(fit) => fit.finish(window),
        };
        Round::Over { slot, model, is_cut, state }
    }
}

impl JobState {
    /// The searches for the series or groups in a [slice](Self::slices), in the models that search.
    #[must_use]
    pub fn begin_searches(&self, window: &FitWindow, slice: &Range<u32>) -> Vec<Box<Searching>> {
        if let Some(groups) = &self.groups {
            let timeout = groups.timeout();
            let begun = groups.begin_searches(window, slice).into_iter().map(|search| {
                let (slot, fit) = (search.slot(), Fit::Group(search));
                Box::new(Searching { slot, model: 0, fit, spent: Duration::ZERO, timeout })
            });
            return begun.collect();
        }
        let Some(block) = self.blocks.get((slice.start / BLOCK_SERIES) as usize) else { return Vec::new() };
        let slots: Vec<u32> = slice.clone().filter(|slot| self.series.get(*slot).is_some()).collect();
        let mut searches = Vec::new();
        for (model, batch) in block.batches.iter().enumerate() {
            let Batch::Tuned(batch) = batch else { continue };
            searches.par_extend(slots.par_iter().map_init(Vec::new, |values, slot| {
                window.series(*slot, values);
                let fit = Fit::Series(batch.begin_fit(Window { times: &window.times, values }));
                let (spent, timeout) = (Duration::ZERO, batch.timeout());
                Box::new(Searching { slot: *slot, model, fit, spent, timeout })
            }));
        }
        searches
    }

    /// A trial of every search. Those that are over leave `searches`, and what they have found takes its place; series that
    /// the model cannot be fitted to have no state of it.
    pub fn search(
        &mut self,
        searches: &mut Vec<Box<Searching>>,
        window: &FitWindow,
        stopwatch: &Stopwatch,
    ) -> Searched {
        let rounds: Vec<Round> =
            std::mem::take(searches).into_par_iter().map(|search| search.advance(window, stopwatch)).collect();
        let mut searched = Searched::default();
        for round in rounds {
            let (slot, model, is_cut, state) = match round {
                Round::GoesOn(search) => {
                    searches.push(search);
                    continue;
                }
                Round::Over { slot, model, is_cut, state } => (slot, model, is_cut, state),
            };
            let loaded = state.and_then(|state| {
                let loaded = self.load(slot, model, &state);
                loaded.map_err(|_| FitError::Failed { what: "the fitted state cannot be read back" })
            });
            match loaded {
                Ok(()) if is_cut => searched.cut.push(model),
                Ok(()) => {}
                Err(error) => searched.refused.push(Refused { slot, model, error }),
            }
        }
        searched
    }
}

#[cfg(test)]
mod tests {
    use std::{
        num::NonZeroU32,
        sync::{
            Arc,
            atomic::{AtomicU64, Ordering},
        },
    };

    use super::*;
    use crate::{engine::TickInput, environment::Grid, labels::Labels};

    const POINTS: usize = 200;

    /// A job that tunes one series' model in this way, and the series' window.
    fn job(tuning: &str) -> (JobState, FitWindow) {
        let text = format!(
            "
schedulers: {{s: {{class: periodic, infer_every: 1m, fit_every: 1d, fit_window: 1d}}}}
models:
  m: {{class: auto, tuned_class_name: mad_online, optimization_params: {{anomaly_percentage: 0.1, {tuning}}}}}
reader: {{datasource_url: 'http://tsdb:8428', sampling_period: 1m, queries: {{q: {{expr: up}}}}}}
writer: {{datasource_url: 'http://tsdb:8428'}}
"
        );
        let source = config::load::Source::new("worker.yaml", text);
        let config = config::load::load(&[source], &|_| None, 1).unwrap().config;
        let topology = config::topology::Topology { shards: NonZeroU32::MIN, ..Default::default() };
        let mut state = JobState::new(crate::plan::plan(&config, &topology, 0).unwrap().remove(0));
        let slot = state.series.place(&Labels::new([("host", "a")]), 0);
        let grid = Grid { start: 60_000, step: 60_000, points: POINTS };
        let values = (0..POINTS).map(|index| (index * index % 37) as f64).collect();
        let chunk = TickInput { tick: grid.end(), grid, slots: vec![slot], values, query_series: 0 };
        state.grow();
        assert!(state.needs_window());
        state.learn_chunk(&chunk);
        assert_eq!(state.save(slot, 0), None, "a search is made of the whole window");
        let mut window = FitWindow::default();
        window.push(chunk);
        (state, window)
    }

    /// The number of rounds of a fit, what came of it, and the state of the series. Every trial takes a second.
    fn fit(tuning: &str) -> (u32, Searched, Option<Vec<u8>>) {
        let (mut state, window) = job(tuning);
        let seconds = AtomicU64::new(0);
        let stopwatch: Stopwatch = Arc::new(move || Duration::from_secs(seconds.fetch_add(1, Ordering::Relaxed)));
        let slice = state.slices().remove(0);
        let mut searches = state.begin_searches(&window, &slice);
        let (mut rounds, mut last) = (0, Searched::default());
        while !searches.is_empty() {
            rounds += 1;
            last = state.search(&mut searches, &window, &stopwatch);
        }
        let fitted = state.save(0, 0);
        (rounds, last, fitted)
    }

    #[test]
    fn a_search_whose_time_is_up_ends_with_the_trial_under_way_and_keeps_the_best_so_far() {
        let (rounds, searched, cut) = fit("timeout: 6.5");
        assert_eq!((rounds, searched.cut, searched.refused), (7, vec![0], vec![]));
        let (rounds, searched, whole) = fit("n_trials: 7");
        assert_eq!((rounds, searched.cut.len()), (7, 0));
        assert!(cut.is_some() && cut == whole);
    }

    #[test]
    fn a_search_that_ends_in_time_is_not_cut() {
        let (rounds, searched, fitted) = fit("n_trials: 3, timeout: 100");
        assert_eq!((rounds, searched.cut.len()), (3, 0));
        assert!(fitted.is_some());
    }
}
