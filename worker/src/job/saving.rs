//! Snapshots of a job's blocks, written in turn and within a byte rate; and what the input log must keep.

use std::time::Duration;

use super::{Job, LONGEST_SLEEP, Wait};
use config::status::ErrorKind;

use crate::{
    context::{Environment, backoff},
    engine::{BLOCK_SERIES, JobState, TickInput},
    environment::Clock,
    snapshot::Block,
};

/// An unchanged block is written again after so many intervals, so that its old watermark does not hold the log.
const UNCHANGED_INTERVALS: u32 = 12;
/// Pause after a snapshot that could not be written.
const AFTER_ERROR: Duration = Duration::from_secs(10);

/// What of a job is saved.
#[derive(Default)]
pub(super) struct Saving {
    blocks: Vec<BlockSaving>,
    next: usize,
    not_before: Duration,
}

#[derive(Debug, Clone, Default)]
struct BlockSaving {
    changed: bool,
    saved_at: Option<Duration>,
    /// The first tick of a block that no snapshot has.
    first_unsaved: Option<i64>,
}

impl Saving {
    fn cover(&mut self, blocks: u32) {
        if self.blocks.len() < blocks as usize {
            self.blocks.resize(blocks as usize, BlockSaving::default());
        }
    }

    /// A tick was learnt.
    pub(super) fn touched(&mut self, input: &TickInput, state: &JobState) {
        self.cover(state.block_count());
        for slot in &input.slots {
            if let Some(block) = self.blocks.get_mut((slot / BLOCK_SERIES) as usize) {
                block.changed = true;
                if block.saved_at.is_none() {
                    block.first_unsaved.get_or_insert(input.tick);
                }
            }
        }
    }

    /// Slots were dropped.
    pub(super) fn changed(&mut self, slots: &[u32]) {
        for slot in slots {
            if let Some(block) = self.blocks.get_mut((slot / BLOCK_SERIES) as usize) {
                block.changed = true;
            }
        }
    }

    /// Every block differs from its snapshot.
    pub(super) fn all_changed(&mut self, state: &JobState) {
        self.cover(state.block_count());
        for block in &mut self.blocks {
            block.changed = true;
        }
    }

    /// The blocks that were restored have a snapshot already.
    pub(super) fn restored(&mut self, blocks: impl Iterator<Item = u32>, state: &JobState, now: Duration) {
        self.cover(state.block_count());
        for index in blocks {
            if let Some(block) = self.blocks.get_mut(index as usize) {
                block.saved_at = Some(now);
                block.changed = true;
            }
        }
    }

    /// The next block in turn that is to be written.
    fn due(&mut self, now: Duration, interval: Duration) -> Option<u32> {
        let count = self.blocks.len();
        let due = |block: &BlockSaving| {
            block.saved_at.is_none_or(|saved| {
                let age = now.saturating_sub(saved);
                (block.changed && age >= interval) || age >= interval * UNCHANGED_INTERVALS
            })
        };
        let index = (0..count).map(|offset| (self.next + offset) % count).find(|index| due(&self.blocks[*index]))?;
        self.next = (index + 1) % count;
        u32::try_from(index).ok()
    }

    fn saved(&mut self, index: u32, now: Duration) {
        if let Some(block) = self.blocks.get_mut(index as usize) {
            *block = BlockSaving { changed: false, saved_at: Some(now), first_unsaved: None };
        }
    }
}

impl<E: Environment> Job<E> {
    /// Writes the next block whose turn it is, if any. Returns how long to pause before another one, so that
    /// snapshots stay within their byte rate; `None` if nothing was to be written.
    pub(super) async fn save_due_block(&mut self) -> Option<Duration> {
        let position = self.position?;
        let context = self.context.clone();
        let storage = context.storage.as_ref()?;
        let now = context.clock.monotonic();
        if let Some(wait) = self.saving.not_before.checked_sub(now).filter(|wait| !wait.is_zero()) {
            return Some(wait);
        }
        let (interval, rate) = {
            let settings = context.settings.borrow();
            (Duration::from_millis(settings.snapshot_interval.unsigned_abs()), settings.snapshot_bytes_per_second)
        };
        let index = self.saving.due(now, interval)?;
        let pause = match storage.snapshots.write(&self.state.image(index, position, self.lineage)).await {
            Ok(bytes) => {
                self.saving.saved(index, now);
                self.report_block(bytes);
                self.let_go_of_log().await;
                Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64)
            }
            Err(error) => {
                self.report_snapshot_error(&error);
                AFTER_ERROR
            }
        };
        self.saving.not_before = now + pause;
        Some(pause)
    }

    /// Writes all blocks at once: a fit takes over with all series or not at all.
    pub(super) async fn save_everything(&mut self) {
        self.commit(Vec::new(), None).await;
    }

    /// Writes all blocks at once, and with them those of other jobs, and forgets the job `gone`.
    pub(super) async fn commit(&mut self, others: Vec<Block>, gone: Option<&str>) {
        let context = self.context.clone();
        let (Some(storage), Some(position)) = (&context.storage, self.position) else { return };
        let mut blocks = self.state.images(position, self.lineage);
        blocks.extend(others);
        let mut pauses = backoff();
        while let Err(error) = storage.snapshots.replace(&blocks, gone).await {
            self.report_snapshot_error(&error);
            self.stand_still(ErrorKind::Storage, &format!("what was learnt cannot be made durable: {error}"));
            if self.view.stopping()
                || self.sleep_for_disk(pauses.next().unwrap_or(LONGEST_SLEEP)).await == Wait::Interrupted
            {
                return;
            }
        }
        let now = context.clock.monotonic();
        self.saving.cover(self.state.block_count());
        for index in 0..self.state.block_count() {
            self.saving.saved(index, now);
            self.report_block(0);
        }
        self.let_go_of_log().await;
    }

    async fn sleep_for_disk(&self, duration: Duration) -> Wait {
        self.context.clock.sleep(duration).await;
        if self.view.stopping() { Wait::Interrupted } else { Wait::Over }
    }

    fn report_block(&self, bytes: u64) {
        for model in &self.state.models {
            self.context.metrics.snapshot_block_written(&self.labels.model(&model.plan.alias), bytes);
        }
    }

    fn report_snapshot_error(&self, error: &crate::snapshot::SnapshotError) {
        let metrics = &self.context.metrics;
        metrics.snapshot_errors.with_label_values(&[metrics.preset()]).inc();
        tracing::error!(job = %self.view.key, %error, "a snapshot cannot be written");
    }

    /// Tells the log which ticks this job would need after a restart, and lets it drop older segments.
    async fn let_go_of_log(&mut self) {
        let context = self.context.clone();
        let Some(storage) = &context.storage else { return };
        let after = [
            storage.snapshots.oldest_watermark(&self.view.key),
            self.fitting.needs_after(),
            self.saving.blocks.iter().filter_map(|block| block.first_unsaved).min().map(|tick| tick - 1),
        ];
        self.view.needed_from.set(after.into_iter().flatten().min().map(|tick| tick + 1));
        let views = self.context.views.borrow().clone();
        // A job that has not said what it needs may need everything.
        let needed = |job: &str| views.get(job).map(|view| view.needed_from.get().unwrap_or(i64::MIN));
        if let Err(error) = storage.log.retire(&needed).await {
            tracing::warn!(%error, "old segments of the input log cannot be removed");
        }
        self.state.series.reclaim(|slot| storage.log.refers_to(&self.view.key, slot));
    }
}
