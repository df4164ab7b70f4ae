//! Taking the whole state of a job over from another rank, and offering it.

use std::{collections::HashMap, time::Duration};

use super::{Job, following::ANSWER_WITHIN};
use crate::{
    context::Environment,
    engine::{JobState, TickInput},
    environment::Clock,
    input_log::Record,
    labels::Labels,
    peers::{
        Answer, Member, Phase, Request,
        journal::{self, StateImage},
    },
    plan::JobPlan,
    schedule::Schedule,
    series::ByLabels,
    snapshot::{self, Block},
};

/// An image that is not ready after this time is not waited for any longer.
const IMAGE_WITHIN: Duration = Duration::from_secs(30);
/// Pause between two questions for an image.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);

impl<E: Environment> Job<E> {
    /// Makes the image of the state that another rank has asked for. Called between ticks only.
    pub(super) fn offer_image(&mut self) {
        if !self.view.journal().wants_image() {
            return;
        }
        let image = self.position.and_then(|position| {
            let blocks = journal::encoded(&self.view.key, &self.state.images(position, self.lineage))?;
            let since_fit: Vec<TickInput> = self.since_fit.iter().cloned().collect();
            let mut slots: Vec<u32> = since_fit.iter().flat_map(|input| input.slots.iter().copied()).collect();
            slots.sort_unstable();
            slots.dedup();
            Some(StateImage {
                id: self.context.clock.monotonic().as_nanos() as u64,
                standing: self.view.journal().standing,
                plan: self.state.plan.canonical().into(),
                fit_due: self.fitting.needs_after(),
                since_fit,
                arrived: self.arrivals.of_earlier(self.state.plan.share.progress.epoch),
                definitions: slots.into_iter().map(|slot| (slot, self.state.series.labels(slot))).collect(),
                blocks,
            })
        });
        self.view.journal().offer_image(image);
    }

    /// Takes the whole state over from another rank. Returns whether it has; else the own one stays, and the question
    /// arises again.
    pub(super) async fn adopt_from(&mut self, rank: u32) -> bool {
        self.set_role(Phase::Adopting);
        self.following.leads_on = false;
        // Jobs of arrived series go by it, and this takes its time.
        self.view.leads_since.set(None);
        let member = Member { rank, ..self.context.place.get().member };
        let key = self.view.key.clone();
        let fetched = self.fetch_image(member, &key).await;
        match fetched {
            Some((image, blocks)) => {
                if self.take_image(member, &image, &blocks).await {
                    return true;
                }
                self.context.clock.sleep(ASK_AGAIN_AFTER).await;
            }
            // Both may want the other's: the lower rank asks again sooner, and finds the other one waiting.
            None => {
                self.set_role(if self.position.is_some() { Phase::Running } else { Phase::Beginning });
                self.context.clock.sleep(ASK_AGAIN_AFTER * (1 + 2 * self.context.place.get().member.rank)).await;
            }
        }
        false
    }

    pub(super) async fn fetch_image(
        &mut self,
        member: Member,
        job: &str,
    ) -> Option<(std::rc::Rc<StateImage>, Vec<Block>)> {
        let started = self.context.clock.monotonic();
        let mut blocks = Vec::new();
        let mut id = None;
        loop {
            let number = u32::try_from(blocks.len()).unwrap_or(u32::MAX);
            let request = Request::Image { image: id, block: number };
            let answer = self.ask_member(member, job, &request, ANSWER_WITHIN).await;
            match answer.unwrap_or(Answer::Nothing) {
                Answer::Image { image, block: Some(block) } => {
                    id = Some(image.id);
                    let block = snapshot::decode_block(&block);
                    if block.is_none() {
                        tracing::error!(job = %self.view.key, %member, "another worker's state cannot be read");
                    }
                    blocks.push(block?);
                }
                Answer::Image { image, block: None } => return Some((image, blocks)),
                Answer::Later if self.context.clock.monotonic().saturating_sub(started) < IMAGE_WITHIN => {
                    self.context.clock.sleep(ASK_AGAIN_AFTER).await;
                }
                _ => return None,
            }
            if self.view.stopping() {
                return None;
            }
        }
    }

    /// Puts another rank's state in the place of the own one, durably. The series keep their slots here.
    pub(super) async fn take_image(&mut self, member: Member, image: &StateImage, blocks: &[Block]) -> bool {
        let plan: JobPlan = match serde_json::from_slice(&image.plan) {
            Ok(plan) => plan,
            Err(error) => {
                tracing::error!(job = %self.view.key, %member, %error, "another worker's configuration cannot be read");
                return false;
            }
        };
        let position = image.standing.position;
        // A shard that had gone has nothing that could differ.
        let had_state = self.position.is_some() && self.state.series.active() > 0;
        let is_of_same_series = self.state.plan.share.key() == image.standing.progress;
        self.fitting.forget();
        self.since_fit.clear();
        let mut state = JobState::new(plan);
        std::mem::swap(&mut state.series, &mut self.state.series);
        let listed: ByLabels<()> =
            blocks.iter().flat_map(|block| &block.series).map(|series| (series.labels.clone(), ())).collect();
        state.series.retain(|labels| listed.contains_key(labels));
        for series in blocks.iter().flat_map(|block| &block.series) {
            let slot = state.series.place(&series.labels, series.last_seen);
            state.series.put(slot, &series.labels, series.last_seen);
        }
        state.settle_series();
        state.grow();
        state.note_fits(blocks);
        for block in blocks {
            if let Err(error) = state.load_block(block) {
                tracing::error!(job = %self.view.key, %member, %error, "another worker's state cannot be used");
            }
        }
        self.state = state;
        self.want_again();
        let plan = &self.state.plan;
        self.schedule =
            Schedule::new(&plan.scheduler, &plan.scheduler_alias, &plan.query_alias, self.context.clock.now());
        self.lineage = image.standing.lineage;
        self.lineage.adopted = self.lineage.chain;
        let written = self.view.journal().standing.written;
        self.stand_at(Some(position));
        self.view.journal().restart(position, self.lineage);
        let theirs = image.standing.written.min(position);
        if !is_of_same_series {
            // What was written from the state before was so for other series.
            self.view.journal().standing.written = theirs;
            self.following.written_elsewhere = None;
            self.following.failover.forget_confirmed();
        } else if self.is_arrival() {
            // Written as far as the giving rank has: that one may stand still there, where its series have joined, and
            // would seem to get on for ever, and to count more.
            self.view.journal().standing.written = written.max(theirs);
        }
        self.take_ticks_since_fit(image);
        if had_state && !self.following.lacks_arrival {
            if is_of_same_series {
                self.following.written_elsewhere = self.following.written_elsewhere.max(Some(written));
            }
            self.context.metrics.replica_divergences.with_label_values(&self.labels.values()).inc();
        }
        let record = Record::Adopted { job: self.view.key.clone(), position, lineage: self.lineage.adopted };
        self.log(&record).await;
        self.saving.all_changed(&self.state);
        self.save_everything().await;
        tracing::info!(
            job = %self.view.key, %member, position, series = self.state.series.active(), "state taken over"
        );
        self.following.absence.end(self.state.plan.share.progress.epoch);
        if !self.is_arrival() {
            self.publish_progress();
        }
        self.announce();
        self.report_series();
        self.take_over_arrivals(&image.arrived).await;
        self.forget_earlier_departures().await;
        self.copy_departures(member).await;
        self.set_role(Phase::Running);
        true
    }

    /// The ticks that a fit which was due or under way has not seen, in own slots.
    fn take_ticks_since_fit(&mut self, image: &StateImage) {
        let Some(due) = image.fit_due else { return };
        self.fitting.due(due, &mut self.since_fit);
        let theirs: HashMap<u32, &Labels> = image.definitions.iter().map(|(slot, labels)| (*slot, labels)).collect();
        for input in &image.since_fit {
            let slot_of = |slot: &u32| theirs.get(slot).and_then(|labels| self.state.series.slot_of(labels));
            let mut rows: Vec<(u32, usize)> =
                input.slots.iter().enumerate().filter_map(|(row, slot)| Some((slot_of(slot)?, row))).collect();
            rows.sort_unstable();
            self.since_fit.push_back(input.in_slots(&rows));
        }
    }
}
