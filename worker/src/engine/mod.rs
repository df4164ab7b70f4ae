//! A job's state in memory: its series, and for every model the learnt states, in blocks of series. A block is the
//! unit of parallel work and of a snapshot.

mod alarming;
mod blocks;
mod budget;
mod counters;
mod groups;
mod scores;
mod search;
mod stages;
mod tick_input;
mod window;

use std::collections::HashSet;

use detect::{
    batch::Batch,
    calendar::DAY_MS,
    calibrated::Yardstick,
    model::{Samples, Scores},
    safeguards::Safeguards,
    score::ScorePolicy,
    spec::ModelSpec,
};
use rayon::prelude::*;

pub use counters::{Courses, asks_for_change};
use groups::Groups;
pub use groups::Unscored;
use scores::BlockScores;
pub use scores::TickScores;
pub use search::{Searched, Searching};
pub use tick_input::TickInput;
pub use window::{FitWindow, Refused};

use crate::{
    detector,
    labels::Labels,
    output::{FurtherOutputs, OutputFormat, STAGE},
    plan::{JobPlan, ModelPlan},
    series::SeriesTable,
};

/// Series of one block.
pub const BLOCK_SERIES: u32 = 1024;

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
    /// The false alarms a day and series that it is to have if its query has no budget; `None` of a class that promises
    /// nothing.
    own_rate: Option<f64>,
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
    /// How the first of them have gone since the start of this process, or of the window of a fit.
    pub courses: Courses,
    blocks: Vec<StateBlock>,
    /// The states of a multivariate model.
    groups: Option<Groups>,
}

impl JobModel {
    /// How many alarms it promises to have by chance for so many samples; `None` of a class that promises nothing.
    #[must_use]
    pub fn expected_alarms(&self, samples: u64, step: i64) -> Option<f64> {
        Some(self.expected_rate()? * samples as f64 * step as f64 / DAY_MS as f64)
    }

    /// The same a day and series.
    fn expected_rate(&self) -> Option<f64> {
        self.spec.as_ref()?.false_alarms_per_day()
    }

    /// Whether a scheduled fit that ends at a tick is one for this model.
    #[must_use]
    pub fn is_due_for(&self, fitted_to: i64) -> bool {
        match self.fitted_to {
            None => true,
            Some(last) => last < fitted_to && !self.spec.as_ref().is_some_and(ModelSpec::is_fitted_once),
        }
    }
}

impl JobState {
    /// A job that has learnt nothing.
    #[must_use]
    pub fn new(plan: JobPlan) -> Self {
        let models = plan.models.iter().map(|model| job_model(&plan, model)).collect();
        let groups = Groups::new(&plan);
        let (series, courses) = Default::default();
        Self { plan, models, series, courses, blocks: Vec::new(), groups }
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
            if let Some(former) = kept.map(|index| &self.models[index]) {
                model.fitted_to = former.fitted_to;
                if former.plan.model == model.plan.model {
                    // Its batches are kept, with the part of a budget that they have.
                    model.spec.clone_from(&former.spec);
                }
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
        if self.plan.query.expr != plan.query.expr {
            self.courses = Courses::default();
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
        self.courses.forget(slots);
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
        self.share_budget(input);
        let fitted = self.fitted();
        if let Some(groups) = &mut self.groups {
            let (groups, unscored) = groups.infer(input, &self.series, fitted);
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
        self.share_budget(input);
        let fitted = self.fitted();
        if let Some(groups) = &mut self.groups {
            return groups.learn(input, &self.series, |slot| fitted && wanted(slot / BLOCK_SERIES, 0));
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
        let fitted = self.fitted();
        if let Some(groups) = &mut self.groups {
            let wanted = |slot: u32| fitted && slots.contains(&slot) && wanted(slot / BLOCK_SERIES, 0);
            return groups.learn(input, &self.series, wanted);
        }
        self.learn(&input.filtered(|slot| slots.contains(&slot)), wanted);
    }

    /// Number of states of a model that can score: series, or groups of them.
    #[must_use]
    pub fn instances(&self) -> usize {
        self.groups.as_ref().map_or_else(|| self.series.active(), Groups::len)
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

    /// What a score of 1 stands for in one series; `None` of a model that has no such notion.
    fn yardstick(&self, slot: u32, model: usize) -> Option<Yardstick> {
        let batch = self.blocks.get((slot / BLOCK_SERIES) as usize)?.batches.get(model)?;
        batch.yardstick(slot % BLOCK_SERIES)
    }

    /// Loads one series' state of one model from a snapshot that may be older or newer than those of other blocks: a
    /// [`JobState::load`] that leaves what other first channels of a group have brought.
    ///
    /// # Errors
    /// When the bytes are no state of the model; the slot has learnt nothing then.
    pub fn restore(&mut self, slot: u32, model: usize, state: &[u8]) -> Result<(), detect::model::StateError> {
        match (&mut self.groups, self.series.get(slot)) {
            (Some(groups), Some(series)) => groups.restore(slot, &series.labels, state),
            _ => self.load(slot, model, state),
        }
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

    /// Brings what is known of label sets in line with the series that have a place and with the plan; see
    /// [`SeriesTable::settle`].
    pub fn settle_series(&mut self) {
        if let Some(model) = self.models.first() {
            self.series.settle(&self.plan, &model.format);
        }
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
        own_rate: spec.as_ref().and_then(ModelSpec::false_alarms_per_day),
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
