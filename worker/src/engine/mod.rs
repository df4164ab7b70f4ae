//! A job's state in memory: its series, and for every model the learnt states, in blocks of series. A block is the
//! unit of parallel work and of a snapshot.

mod groups;
mod search;
mod window;

use std::collections::HashSet;

use detect::{
    batch::Batch,
    model::{Samples, Scores},
    readiness::{NeededHistory, Readiness, Stage},
    safeguards::Safeguards,
    score::ScorePolicy,
    spec::ModelSpec,
};
use rayon::prelude::*;

pub use groups::Unscored;
use groups::{GroupScores, Groups};
pub use search::{Searched, Searching};
pub use window::{FitWindow, Refused};

use crate::{
    detector,
    environment::Grid,
    labels::Labels,
    output::{FurtherOutputs, OutputColumns, OutputFormat, STAGE},
    peers::Lineage,
    plan::{JobPlan, ModelPlan},
    series::{Series, SeriesTable},
    snapshot::{Block, BlockSeries, ModelStates},
};

/// Series of one block.
pub const BLOCK_SERIES: u32 = 1024;

/// The accepted input of one tick.
#[derive(Debug, Clone, PartialEq)]
pub struct TickInput {
    /// The tick.
    pub tick: i64,
    /// The times of the columns.
    pub grid: Grid,
    /// The slots of the rows, ascending.
    pub slots: Vec<u32>,
    /// One row of `grid.points` values for each slot.
    pub values: Vec<f64>,
}

impl TickInput {
    /// Whether it has a row for the series in this slot.
    #[must_use]
    pub fn has(&self, slot: u32) -> bool {
        self.slots.binary_search(&slot).is_ok()
    }

    /// The rows that have a slot here, `(slot, row of values)`, in ascending order of slots.
    #[must_use]
    pub fn of_rows(tick: i64, grid: Grid, rows: &[(u32, usize)], values: &[f64]) -> Self {
        let points = grid.points;
        let mut input =
            Self { tick, grid, slots: Vec::with_capacity(rows.len()), values: Vec::with_capacity(rows.len() * points) };
        for (slot, row) in rows {
            input.slots.push(*slot);
            input.values.extend_from_slice(&values[row * points..(row + 1) * points]);
        }
        input
    }

    /// The rows whose slot `wanted` accepts.
    #[must_use]
    pub fn filtered(&self, wanted: impl Fn(u32) -> bool) -> Self {
        let mut filtered = Self { tick: self.tick, grid: self.grid, slots: Vec::new(), values: Vec::new() };
        let points = self.grid.points;
        for (row, slot) in self.slots.iter().enumerate() {
            if wanted(*slot) {
                filtered.slots.push(*slot);
                filtered.values.extend_from_slice(&self.values[row * points..(row + 1) * points]);
            }
        }
        filtered
    }

    /// Finite values.
    #[must_use]
    pub fn valid_samples(&self) -> u64 {
        self.values.iter().filter(|value| value.is_finite()).count() as u64
    }
}

/// One model of a job.
pub struct JobModel {
    /// Its plan.
    pub plan: ModelPlan,
    /// What its states were learnt from.
    pub signature: String,
    /// How its intervals become scores.
    pub policy: ScorePolicy,
    /// `None` of a model of groups.
    spec: Option<ModelSpec>,
    safeguards: Safeguards,
    /// What it gives besides its interval.
    further: FurtherOutputs,
    /// Whether it writes how far it is.
    gives_stage: bool,
    /// How its outputs are written.
    pub format: OutputFormat,
    /// The tick at which its last fit ended; `None` before the first one, and then it does not score.
    pub fitted_to: Option<i64>,
}

struct StateBlock {
    /// One batch for each model of the job, in the same order; none where the model is one of groups.
    batches: Vec<Batch>,
}

/// A job's series and learnt states.
pub struct JobState {
    /// The plan that is in force.
    pub plan: JobPlan,
    /// The models, in the order of the plan.
    pub models: Vec<JobModel>,
    /// The series.
    pub series: SeriesTable,
    blocks: Vec<StateBlock>,
    /// The states of a multivariate model.
    groups: Option<Groups>,
}

/// The scores of one tick, block by block, or group by group.
pub struct TickScores {
    blocks: Vec<BlockScores>,
    groups: Vec<GroupScores>,
    /// Groups without a score.
    pub unscored: Vec<Unscored>,
}

struct BlockScores {
    rows: std::ops::Range<usize>,
    /// `None` where a model had nothing fitted yet.
    models: Vec<Option<Scores>>,
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
    /// A job that has learnt nothing.
    #[must_use]
    pub fn new(plan: JobPlan) -> Self {
        let models = plan.models.iter().map(|model| job_model(&plan, model)).collect();
        let groups = Groups::new(&plan);
        Self { plan, models, series: SeriesTable::default(), blocks: Vec::new(), groups }
    }

    /// Puts another plan in force. States whose signature stays the same go on; the others start anew and need a fit.
    pub fn apply(&mut self, plan: JobPlan) {
        let mut previous: Vec<Option<usize>> = Vec::new();
        let mut models = Vec::new();
        for model_plan in &plan.models {
            let mut model = job_model(&plan, model_plan);
            let kept = self
                .models
                .iter()
                .position(|old| old.plan.alias == model_plan.alias && old.signature == model.signature);
            if let Some(index) = kept {
                model.fitted_to = self.models[index].fitted_to;
            }
            previous.push(kept);
            models.push(model);
        }
        let former = std::mem::replace(&mut self.groups, Groups::new(&plan));
        if let (Some(groups), Some(former), Some(Some(_))) = (&mut self.groups, &former, previous.first()) {
            groups.carry_over(former);
        }
        for block in self.blocks.iter_mut().filter(|block| !block.batches.is_empty()) {
            let mut old: Vec<Option<Batch>> = block.batches.drain(..).map(Some).collect();
            let kept = previous.iter().map(|kept| {
                let index = (*kept)?;
                Some((old[index].take()?, &self.models[index]))
            });
            let batches = kept.zip(&models).filter_map(|(kept, model)| match kept {
                Some((batch, former)) if former.plan.model == model.plan.model => Some(batch),
                Some((batch, _)) => carry_over(&batch, model),
                None => new_batch(model),
            });
            block.batches = batches.collect();
        }
        self.models = models;
        self.plan = plan;
        let foreign = self.series.drop_foreign(&self.plan);
        self.reset(&foreign);
        self.settle_series();
    }

    /// Makes room for every slot of the table.
    pub fn grow(&mut self) {
        let blocks = self.series.capacity().div_ceil(BLOCK_SERIES as usize);
        while self.blocks.len() < blocks {
            self.blocks.push(StateBlock { batches: self.models.iter().filter_map(new_batch).collect() });
        }
    }

    /// Forgets what the slots have learnt.
    pub fn reset(&mut self, slots: &[u32]) {
        if let Some(groups) = &mut self.groups {
            groups.reset(slots);
        }
        for slot in slots {
            if let Some(block) = self.blocks.get_mut((slot / BLOCK_SERIES) as usize) {
                for batch in &mut block.batches {
                    batch.reset(slot % BLOCK_SERIES);
                }
            }
        }
    }

    /// Whether any model can score.
    #[must_use]
    pub fn fitted(&self) -> bool {
        self.models.iter().any(|model| model.fitted_to.is_some())
    }

    /// Number of blocks.
    #[must_use]
    pub fn block_count(&self) -> u32 {
        u32::try_from(self.blocks.len()).unwrap_or(u32::MAX)
    }

    /// Predicts, scores and learns one tick.
    pub fn infer(&mut self, input: &TickInput) -> TickScores {
        self.grow();
        if let Some(groups) = &mut self.groups {
            let (groups, unscored) = groups.infer(input, &self.series);
            return TickScores { blocks: Vec::new(), groups, unscored };
        }
        let times: Vec<i64> = input.grid.times().collect();
        let models = &self.models;
        let ranges = block_ranges(&input.slots, self.blocks.len());
        let blocks = self
            .blocks
            .par_iter_mut()
            .zip(ranges)
            .map(|(block, rows)| {
                let slots = local_slots(&input.slots[rows.clone()]);
                let samples = Samples { times: &times, slots: &slots, values: row_values(input, &rows) };
                let models = models
                    .iter()
                    .zip(&mut block.batches)
                    .map(|(model, batch)| {
                        model.fitted_to?;
                        let mut scores = if model.gives_stage { Scores::with_stage() } else { Scores::default() };
                        batch.infer(samples, &model.policy, &mut scores);
                        Some(scores)
                    })
                    .collect();
                BlockScores { rows, models }
            })
            .collect();
        TickScores { blocks, groups: Vec::new(), unscored: Vec::new() }
    }

    /// Learns one tick without scoring it, in the blocks and models that `wanted` accepts.
    pub fn learn(&mut self, input: &TickInput, wanted: impl Fn(u32, usize) -> bool + Sync) {
        self.grow();
        if let Some(groups) = &mut self.groups {
            return groups.learn(input, &self.series, |slot| wanted(slot / BLOCK_SERIES, 0));
        }
        let times: Vec<i64> = input.grid.times().collect();
        let models = &self.models;
        let ranges = block_ranges(&input.slots, self.blocks.len());
        (&mut self.blocks, ranges).into_par_iter().enumerate().for_each(|(index, (block, rows))| {
            let slots = local_slots(&input.slots[rows.clone()]);
            let samples = Samples { times: &times, slots: &slots, values: row_values(input, &rows) };
            for (position, (model, batch)) in models.iter().zip(&mut block.batches).enumerate() {
                if model.fitted_to.is_some() && wanted(index as u32, position) {
                    batch.learn(samples);
                }
            }
        });
    }

    /// Learns a chunk of a fit in the models that need no more than one chunk at a time.
    pub fn learn_chunk(&mut self, chunk: &TickInput) {
        self.grow();
        let at_once: Vec<bool> = (0..self.models.len()).map(|model| self.is_fitted_to_window(model)).collect();
        self.learn(chunk, |_, model| !at_once[model]);
    }

    /// The same in the series of these slots, and in the groups whose first channels have them.
    pub fn learn_in(&mut self, input: &TickInput, slots: &HashSet<u32>, wanted: impl Fn(u32, usize) -> bool + Sync) {
        if let Some(groups) = &mut self.groups {
            let wanted = |slot: u32| slots.contains(&slot) && wanted(slot / BLOCK_SERIES, 0);
            return groups.learn(input, &self.series, wanted);
        }
        self.learn(&input.filtered(|slot| slots.contains(&slot)), wanted);
    }

    /// Number of states of a model that can score: series, or groups of them.
    #[must_use]
    pub fn instances(&self) -> usize {
        self.groups.as_ref().map_or_else(|| self.series.active(), Groups::len)
    }

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

    /// Groups of more series than the model recommends, with their number.
    #[must_use]
    pub fn crowded_groups(&self) -> Vec<(Labels, usize)> {
        self.groups.as_ref().map(Groups::crowded).unwrap_or_default()
    }

    /// Ends a fit of every series.
    pub fn finish_fit(&mut self) {
        let slots: Vec<u32> = self.series.series().map(|(slot, _)| slot).collect();
        for slot in slots {
            if let Some(block) = self.blocks.get_mut((slot / BLOCK_SERIES) as usize) {
                for batch in &mut block.batches {
                    batch.finish_fit(slot % BLOCK_SERIES);
                }
            }
        }
    }

    /// One series' state of one model; `None` while it has learnt nothing. The state of a group is that of its first
    /// channel.
    #[must_use]
    pub fn save(&self, slot: u32, model: usize) -> Option<Vec<u8>> {
        if let Some(groups) = &self.groups {
            return groups.save(slot, &self.series.get(slot)?.labels);
        }
        let batch = self.blocks.get((slot / BLOCK_SERIES) as usize)?.batches.get(model)?;
        let slot = slot % BLOCK_SERIES;
        batch.has_state(slot).then(|| {
            let mut state = Vec::new();
            batch.save(slot, &mut state);
            state
        })
    }

    /// Loads one series' state of one model.
    ///
    /// # Errors
    /// When the bytes are no state of the model; the slot has learnt nothing then.
    pub fn load(&mut self, slot: u32, model: usize, state: &[u8]) -> Result<(), detect::model::StateError> {
        self.grow();
        if let Some(groups) = &mut self.groups {
            return self.series.get(slot).map_or(Ok(()), |series| groups.load(slot, &series.labels, state));
        }
        let Some(batch) =
            self.blocks.get_mut((slot / BLOCK_SERIES) as usize).and_then(|block| block.batches.get_mut(model))
        else {
            return Ok(());
        };
        batch.reset(slot % BLOCK_SERIES);
        batch.load(slot % BLOCK_SERIES, state)
    }

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

    /// Notes for every model the newest fit that blocks have states of; none: it is not fitted.
    pub fn note_fits(&mut self, blocks: &[Block]) {
        for model in &mut self.models {
            model.fitted_to = blocks
                .iter()
                .flat_map(|block| &block.models)
                .filter(|states| states.alias == model.plan.alias && states.signature == model.signature)
                .map(|states| states.fitted_to)
                .max();
        }
    }

    /// Loads the states of a block that another worker has made, into the slots that its series have here.
    ///
    /// # Errors
    /// When the bytes of a state are none of its model.
    pub fn load_block(&mut self, block: &Block) -> Result<(), detect::model::StateError> {
        for position in 0..self.models.len() {
            let model = &self.models[position];
            let same = |states: &&ModelStates| states.alias == model.plan.alias && states.signature == model.signature;
            let Some(states) = block.models.iter().find(same) else { continue };
            for (series, state) in block.series.iter().zip(&states.states) {
                let Some(slot) = self.series.slot_of(&series.labels) else { continue };
                match state {
                    Some(state) => self.load(slot, position, state)?,
                    None => self.reset(&[slot]),
                }
            }
        }
        Ok(())
    }

    /// A state of its own of the series that `wanted` accepts; they stay here, too. `plan` has the same models.
    ///
    /// # Errors
    /// When a state cannot be read back.
    pub fn copy_of(&self, plan: JobPlan, wanted: impl Fn(&Labels) -> bool) -> Result<Self, detect::model::StateError> {
        let mut copy = Self::new(plan);
        copy.take_over(self, wanted)?;
        Ok(copy)
    }

    /// Adds series of another state of the same models. One that is here already gets the other's state. Call
    /// [`JobState::settle_series`] afterwards.
    ///
    /// # Errors
    /// When a state cannot be read back.
    pub fn take_over(
        &mut self,
        other: &Self,
        wanted: impl Fn(&Labels) -> bool,
    ) -> Result<(), detect::model::StateError> {
        let mut moved: Vec<(u32, &Series)> = other.series.series().filter(|(_, one)| wanted(&one.labels)).collect();
        // So the slots do not depend on those that the series had.
        moved.sort_by_key(|(_, series)| series.labels.hash());
        let slots: Vec<u32> = moved.iter().map(|(_, one)| self.series.place(&one.labels, one.last_seen)).collect();
        self.grow();
        self.reset(&slots);
        for (position, model) in other.models.iter().enumerate() {
            let same = |own: &JobModel| own.plan.alias == model.plan.alias && own.signature == model.signature;
            let Some(own) = self.models.iter().position(same) else { continue };
            // A job without series may not have fitted lately.
            self.models[own].fitted_to = self.models[own].fitted_to.max(model.fitted_to);
            for ((from, _), slot) in moved.iter().zip(&slots) {
                if let Some(state) = other.save(*from, position) {
                    self.load(*slot, own, &state)?;
                }
            }
        }
        Ok(())
    }

    /// Brings what is known of label sets in line with the series that have a place and with the plan; see
    /// [`SeriesTable::settle`].
    pub fn settle_series(&mut self) {
        if let Some(model) = self.models.first() {
            self.series.settle(&self.plan, &model.format);
        }
    }

    /// What a snapshot of every block holds, at least one: without a series, too, there is a fit to tell of.
    #[must_use]
    pub fn images(&self, watermark: i64, lineage: Lineage) -> Vec<Block> {
        (0..self.block_count().max(1)).map(|index| self.image(index, watermark, lineage)).collect()
    }

    /// What a snapshot of block `index` holds, as of tick `watermark`, after which the state has this lineage.
    #[must_use]
    pub fn image(&self, index: u32, watermark: i64, lineage: Lineage) -> Block {
        let first = index * BLOCK_SERIES;
        let series: Vec<BlockSeries> = (first..first + BLOCK_SERIES)
            .filter_map(|slot| {
                let series = self.series.get(slot)?;
                Some(BlockSeries { slot, labels: series.labels.clone(), last_seen: series.last_seen })
            })
            .collect();
        let models = self
            .models
            .iter()
            .enumerate()
            .filter_map(|(position, model)| {
                let fitted_to = model.fitted_to?;
                let states = series.iter().map(|series| self.save(series.slot, position)).collect();
                Some(ModelStates {
                    alias: model.plan.alias.clone(),
                    signature: model.signature.clone(),
                    fitted_to,
                    states,
                })
            })
            .collect();
        Block { job: self.plan.key(), index, watermark, lineage, share: self.plan.share.clone(), series, models }
    }
}

fn job_model(job: &JobPlan, model: &ModelPlan) -> JobModel {
    let spec = detector::spec(&job.query, &model.model);
    let further = spec.as_ref().map(|spec| detector::further_outputs(spec, &model.model)).unwrap_or_default();
    let of_group = groups::group_series(&model.model);
    let format = OutputFormat::new(
        &job.output.metric_name,
        &job.output.labels,
        &job.query_alias,
        &model.alias,
        &job.scheduler_alias,
        &job.output.preset,
        if spec.is_some() { &model.model.provide_series } else { &of_group },
        &further,
    );
    // Channels that differ only in their metrics' names are two, unless each is to have outputs of its own.
    let tells_names_apart = spec.is_none() && of_group.len() == model.model.provide_series.len();
    JobModel {
        signature: job.signature(model),
        policy: detector::score_policy(&job.query, &model.model),
        format: if tells_names_apart { format.telling_names_apart() } else { format },
        fitted_to: None,
        plan: model.clone(),
        safeguards: spec.as_ref().map(|spec| detector::safeguards(spec, &model.model)).unwrap_or_default(),
        spec,
        further,
        gives_stage: model.model.provide_series.iter().any(|name| name == STAGE),
    }
}

/// The states of a batch in a new one, whose model predicts by other arguments but learns by the same.
fn carry_over(from: &Batch, model: &JobModel) -> Option<Batch> {
    let mut batch = new_batch(model)?;
    batch.grow(from.slots());
    let mut state = Vec::new();
    for slot in (0..).take(from.slots()).filter(|slot| from.has_state(*slot)) {
        state.clear();
        from.save(slot, &mut state);
        if let Err(error) = batch.load(slot, &state) {
            // Not with equal signatures, which have the version of states in them.
            tracing::error!(model = model.plan.alias, %error, "a state cannot be used under the changed arguments");
        }
    }
    Some(batch)
}

/// An empty batch with all slots of a block; `None` of a model of groups.
fn new_batch(model: &JobModel) -> Option<Batch> {
    let mut batch = model.spec.as_ref()?.new_batch_with(model.safeguards, &model.further.components);
    batch.grow(BLOCK_SERIES as usize);
    Some(batch)
}

/// For each block the rows whose slots lie in it; `slots` ascending.
fn block_ranges(slots: &[u32], blocks: usize) -> Vec<std::ops::Range<usize>> {
    let mut start = 0;
    (0..blocks)
        .map(|block| {
            let end_slot = (block as u64 + 1) * u64::from(BLOCK_SERIES);
            let end = start + slots[start..].partition_point(|slot| u64::from(*slot) < end_slot);
            let range = start..end;
            start = end;
            range
        })
        .collect()
}

fn local_slots(slots: &[u32]) -> Vec<u32> {
    slots.iter().map(|slot| slot % BLOCK_SERIES).collect()
}

fn row_values<'a>(input: &'a TickInput, rows: &std::ops::Range<usize>) -> &'a [f64] {
    let points = input.grid.points;
    &input.values[rows.start * points..rows.end * points]
}
