//! Fits of models that need the whole window of a series at once.

use std::ops::Range;

use detect::{
    batch::Batch,
    model::MISSING,
    offline::{FitError, Window},
};
use rayon::prelude::*;

use super::{BLOCK_SERIES, JobState, TickInput};

/// What has been read of a window, chunk by chunk in the order of time.
#[derive(Default)]
pub struct FitWindow {
    chunks: Vec<TickInput>,
    times: Vec<i64>,
}

/// A series that a model could not be fitted to.
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

    /// Puts the values of a series in the place of `values`, one for each time.
    fn series(&self, slot: u32, values: &mut Vec<f64>) {
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
        self.blocks.iter().any(|block| block.batches.iter().any(|batch| matches!(batch, Batch::Offline(_))))
    }

    /// Slices of slots of a length that a thread each is busy with for a moment only.
    #[must_use]
    pub fn slices(&self) -> Vec<Range<u32>> {
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
        let Self { models, series, blocks, .. } = self;
        let Some(block) = blocks.get_mut((slice.start / BLOCK_SERIES) as usize) else { return Vec::new() };
        let slots: Vec<u32> = slice.clone().filter(|slot| series.get(*slot).is_some()).collect();
        let mut refused = Vec::new();
        for (model, batch) in block.batches.iter_mut().enumerate().take(models.len()) {
            let Batch::Offline(batch) = batch else { continue };
            let fits: Vec<Result<Vec<u8>, FitError>> = slots
                .par_iter()
                .map_init(Vec::new, |values, slot| {
                    window.series(*slot, values);
                    let mut state = Vec::new();
                    batch.fit(Window { times: &window.times, values }, &mut state).map(|()| state)
                })
                .collect();
            for (slot, fit) in slots.iter().zip(fits) {
                batch.reset(slot % BLOCK_SERIES);
                let loaded = fit.and_then(|state| {
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
