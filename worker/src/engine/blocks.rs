//! States as blocks, which are kept and go to other workers, and states of their own for some of the series.

use super::{BLOCK_SERIES, JobModel, JobState};
use crate::{
    labels::Labels,
    peers::Lineage,
    plan::JobPlan,
    series::Series,
    snapshot::{Block, BlockSeries, ModelStates},
};

impl JobState {
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
