//! What a tick gives, and its lines.

use detect::model::Scores;
use rayon::prelude::*;

use super::{JobState, TickInput, Unscored, groups::GroupScores};
use crate::output::OutputColumns;

/// The scores of one tick, block by block, or group by group.
pub struct TickScores {
    pub(super) blocks: Vec<BlockScores>,
    pub(super) groups: Vec<GroupScores>,
    /// Groups without a score.
    pub unscored: Vec<Unscored>,
}

pub(super) struct BlockScores {
    pub(super) rows: std::ops::Range<usize>,
    /// `None` where a model had nothing fitted yet.
    pub(super) models: Vec<Option<Scores>>,
}

impl TickScores {
    /// Number of blocks, or of groups: the unit of [`JobState::render`].
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.blocks.len() + self.groups.len()
    }

    /// The scores of the first model of a job with one series or one group; `None` if there are none.
    #[must_use]
    pub fn of_only_series(&self) -> Option<&[f64]> {
        if let Some(group) = self.groups.first() {
            return Some(group.anomaly_score());
        }
        Some(&self.blocks.first()?.models.first()?.as_ref()?.anomaly_score)
    }

    /// The lower and the upper bounds of the first model of a job with one series; `None` if there are none.
    #[must_use]
    pub fn bounds_of_only_series(&self) -> Option<(&[f64], &[f64])> {
        let scores = self.blocks.first()?.models.first()?.as_ref()?;
        Some((&scores.yhat_lower, &scores.yhat_upper))
    }

    /// Rows of a range of blocks, or number of groups.
    #[must_use]
    pub fn rows(&self, blocks: std::ops::Range<usize>) -> usize {
        if !self.groups.is_empty() {
            return blocks.len();
        }
        self.blocks[blocks].iter().map(|block| block.rows.len()).sum()
    }
}

impl JobState {
    /// The lines of the blocks `range` of a tick, ready to be sent: a body for every `blocks_per_body` blocks, the
    /// bodies in parallel. `expected_bytes` is the length that a body may have.
    #[must_use]
    pub fn render(
        &self,
        input: &TickInput,
        scores: &TickScores,
        range: std::ops::Range<usize>,
        blocks_per_body: usize,
        expected_bytes: usize,
    ) -> Vec<Vec<u8>> {
        let times: Vec<i64> = input.grid.times().collect();
        if let (Some(groups), Some(model)) = (&self.groups, self.models.first()) {
            return scores.groups[range]
                .par_chunks(blocks_per_body.max(1))
                .map(|scores| {
                    let mut body = Vec::with_capacity(expected_bytes);
                    groups.render(&mut body, input, scores, &model.format, &times);
                    body
                })
                .collect();
        }
        scores.blocks[range]
            .par_chunks(blocks_per_body.max(1))
            .map(|blocks| {
                let mut body = Vec::with_capacity(expected_bytes);
                for block in blocks {
                    self.render_block(&mut body, input, block, &times);
                }
                body
            })
            .collect()
    }

    fn render_block(&self, out: &mut Vec<u8>, input: &TickInput, block: &BlockScores, times: &[i64]) {
        let points = input.grid.points;
        for (model, scores) in self.models.iter().zip(&block.models) {
            let Some(scores) = scores else { continue };
            let (count, horizons) = (model.further.components.len(), model.further.horizons.len());
            for (local, row) in block.rows.clone().enumerate() {
                let Some(series) = self.series.get(input.slots[row]) else { continue };
                let cells = local * points..(local + 1) * points;
                let stage = if model.gives_stage { &scores.stage[cells.clone()] } else { &[] };
                let columns = OutputColumns {
                    anomaly_score: &scores.anomaly_score[cells.clone()],
                    stage,
                    y: &input.values[row * points..(row + 1) * points],
                    yhat: &scores.yhat[cells.clone()],
                    yhat_lower: &scores.yhat_lower[cells.clone()],
                    yhat_upper: &scores.yhat_upper[cells.clone()],
                    components: &scores.components[cells.start * count..cells.end * count],
                    component_count: count,
                    forecasts: &scores.forecasts[cells.start * horizons..cells.end * horizons],
                    forecast_count: horizons,
                };
                model.format.render(out, &series.labels, times, &columns);
            }
        }
    }
}
