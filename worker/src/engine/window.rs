//! Fits of models that need the whole window of a series at once.

use std::ops::Range;

use detect::{
    batch::Batch,
    incidents,
    model::MISSING,
    offline::{FitError, Window},
    spec::ModelSpec,
};
use rayon::prelude::*;

use super::{BLOCK_SERIES, JobModel, JobState, TickInput};
use crate::labels::Labels;

/// What has been read of a window, chunk by chunk in the order of time.
#[derive(Default)]
pub struct FitWindow {
    chunks: Vec<TickInput>,
    pub(super) times: Vec<i64>,
}

/// A series, or a group by its first one, that a model could not be fitted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The series.
    pub slot: u32,
    /// Which model of the job.
    pub model: usize,
    /// Why.
    pub error: FitError,
}

impl FitWindow {
    /// Appends the next chunk.
    pub fn push(&mut self, chunk: TickInput) {
        self.times.extend(chunk.grid.times());
        self.chunks.push(chunk);
    }

    /// Number of times.
    pub(super) fn len(&self) -> usize {
        self.times.len()
    }

    /// The times, ascending.
    pub(super) fn times(&self) -> &[i64] {
        &self.times
    }

    /// Whether a series has a sample at one of the newest so many times.
    pub(super) fn has_sample_within(&self, slot: u32, newest: usize) -> bool {
        let mut left = newest;
        for chunk in self.chunks.iter().rev() {
            let points = chunk.grid.points;
            let looked_at = points.min(left);
            if let Ok(row) = chunk.slots.binary_search(&slot)
                && chunk.values[(row + 1) * points - looked_at..(row + 1) * points]
                    .iter()
                    .any(|value| value.is_finite())
            {
                return true;
            }
            left -= looked_at;
        }
        false
    }

    /// Puts the values of a series that a model is to learn in the place of `values`, one for each time.
    pub(super) fn series_for(&self, model: &JobModel, slot: u32, values: &mut Vec<f64>) {
        self.series(slot, values);
        if model.plan.model.exclude_incidents {
            incidents::leave_out(&self.times, values);
        }
    }

    /// The values of several series, one after the other.
    pub(super) fn channels(&self, channels: &[(Labels, u32)]) -> Vec<f64> {
        let mut values = Vec::with_capacity(channels.len() * self.len());
        let mut of_one = Vec::new();
        for (_, slot) in channels {
            self.series(*slot, &mut of_one);
            values.extend_from_slice(&of_one);
        }
        values
    }

    /// Puts the values of a series in the place of `values`, one for each time.
    pub(super) fn series(&self, slot: u32, values: &mut Vec<f64>) {
        values.clear();
        for chunk in &self.chunks {
            let points = chunk.grid.points;
            match chunk.slots.binary_search(&slot) {
                Ok(row) => values.extend_from_slice(&chunk.values[row * points..(row + 1) * points]),
                Err(_) => values.resize(values.len() + points, MISSING),
            }
        }
    }
}

impl JobState {
    /// Whether some model needs its window as a whole.
    #[must_use]
    pub fn needs_window(&self) -> bool {
        self.groups.is_some() || (0..self.models.len()).any(|model| self.is_fitted_to_window(model))
    }

    /// Whether a model is fitted to its window as a whole, and not sample by sample as it is read.
    #[must_use]
    pub fn is_fitted_to_window(&self, model: usize) -> bool {
        self.models.get(model).is_some_and(|model| {
            model.plan.model.exclude_incidents || model.spec.as_ref().is_some_and(ModelSpec::needs_window)
        })
    }

    /// Looks at what there is to be fitted, once the window is complete.
    pub fn gather(&mut self, window: &FitWindow) {
        if let Some(groups) = &mut self.groups {
            groups.gather(window, &self.series);
        }
    }

    /// Slices of slots, or of what was [gathered](Self::gather), of a length that a thread each is busy with for a moment
    /// only.
    #[must_use]
    pub fn slices(&self) -> Vec<Range<u32>> {
        if let Some(groups) = &self.groups {
            return groups.slices();
        }
        let length = u32::try_from(4 * rayon::current_num_threads()).unwrap_or(u32::MAX).min(BLOCK_SERIES);
        let blocks = (0..self.block_count()).map(|block| block * BLOCK_SERIES..(block + 1) * BLOCK_SERIES);
        blocks
            .flat_map(|block| {
                let starts = block.clone().step_by(length as usize);
                starts.map(move |start| start..start.saturating_add(length).min(block.end))
            })
            .collect()
    }

    /// Fits the models that need it to the windows of the series in a [slice](Self::slices). Series that a model cannot be
    /// fitted to have no state of it.
    pub fn fit_slice(&mut self, window: &FitWindow, slice: &Range<u32>) -> Vec<Refused> {
        let Self { models, series, blocks, groups, .. } = self;
        if let Some(groups) = groups {
            let refused = groups.fit(window, slice).into_iter();
            return refused.map(|(slot, error)| Refused { slot, model: 0, error }).collect();
        }
        let Some(block) = blocks.get_mut((slice.start / BLOCK_SERIES) as usize) else { return Vec::new() };
        let slots: Vec<u32> = slice.clone().filter(|slot| series.get(*slot).is_some()).collect();
        let mut refused = Vec::new();
        for (model, batch) in block.batches.iter_mut().enumerate().take(models.len()) {
            match batch {
                Batch::Offline(_) => {}
                Batch::Online(_) if models[model].plan.model.exclude_incidents => {}
                Batch::Online(_) | Batch::Tuned(_) => continue,
            }
            let fits: Vec<Result<Vec<u8>, FitError>> = slots
                .par_iter()
                .map_init(Vec::new, |values, slot| {
                    window.series_for(&models[model], *slot, values);
                    let mut state = Vec::new();
                    match &*batch {
                        Batch::Offline(batch) => {
                            batch.fit(Window { times: &window.times, values }, &mut state).map(|()| state)
                        }
                        Batch::Online(_) | Batch::Tuned(_) => {
                            match fit_online(&models[model], window, values, &mut state) {
                                // Without samples, it learns from the first one on.
                                Err(FitError::TooFewSamples { .. }) => Ok(state),
                                fit => fit.map(|()| state),
                            }
                        }
                    }
                })
                .collect();
            for (slot, fit) in slots.iter().zip(fits) {
                batch.reset(slot % BLOCK_SERIES);
                let loaded = fit.and_then(|state| {
                    if state.is_empty() {
                        return Ok(());
                    }
                    let loaded = batch.load(slot % BLOCK_SERIES, &state);
                    loaded.map_err(|_| FitError::Failed { what: "the fitted state cannot be read back" })
                });
                if let Err(error) = loaded {
                    refused.push(Refused { slot: *slot, model, error });
                }
            }
        }
        refused
    }
}

fn fit_online(model: &JobModel, window: &FitWindow, values: &[f64], state: &mut Vec<u8>) -> Result<(), FitError> {
    let Some(spec) = &model.spec else { return Ok(()) };
    spec.fit(model.safeguards, Window { times: &window.times, values }, state)
}
