//! Series that leave: their states are split off at the end of a tick, durably, and kept until the new owner has them.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use futures_util::future::join_all;

use super::{Job, JobHistory, JobView};
use crate::{
    context::Environment,
    environment::Clock,
    metrics::HandoverStatus,
    peers::{
        Answer, Lineage, Member, Phase, Request, Rule,
        journal::{self, Content, StateImage},
    },
    plan::JobPlan,
    share::Handover,
    snapshot::Block,
};

/// How often the new owner of an epoch that is over is asked whether it has taken the series.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// States that were released.
#[derive(Default)]
pub(super) struct Departures {
    kept: BTreeMap<Handover, Departure>,
    /// When the owners of series that have not left yet were asked last whether they have them.
    owners_asked_at: Option<Duration>,
}

impl Departures {
    /// How many of earlier epochs may still come back.
    pub(super) fn of_earlier(&self, epoch: u64) -> usize {
        self.kept.keys().filter(|handover| handover.epoch < epoch).count()
    }
}

struct Departure {
    /// Answers for them.
    view: Rc<JobView>,
    /// What this worker has of them, to go on with if nobody has taken them.
    history: JobHistory,
    /// Since when the new owner does not answer, and when it was asked last.
    silent_since: Option<Duration>,
    asked_at: Option<Duration>,
}

impl<E: Environment> Job<E> {
    /// Releases what others have asked for, if this rank decides.
    pub(super) async fn release_wanted(&mut self) {
        let wanted = match self.keeps(Rule::GoOnUntilAsked) {
            true => self.view.journal().wanted_releases(),
            false => self.state.plan.share.departures().iter().map(|handover| handover.to).collect(),
        };
        let open: Vec<u32> = self.state.plan.share.departures().iter().map(|handover| handover.to).collect();
        let wanted: Vec<u32> = wanted.into_iter().filter(|to| open.contains(to)).collect();
        if wanted.is_empty() || self.position.is_none() || !self.rests() || !self.knows_earlier_arrivals() {
            return;
        }
        if !self.keeps(Rule::OneReleases) || self.leads().await {
            self.release(&wanted).await;
        }
    }

    /// Whether nothing is under way that would have to be split: no fit, and nothing of an earlier epoch.
    fn rests(&self) -> bool {
        let epoch = self.state.plan.share.progress.epoch;
        self.fitting.rests() && self.departures.of_earlier(epoch) == 0 && !self.arrivals.has_earlier(epoch)
    }

    /// A rank that is gone may have released series without this one knowing. Their owners, who have them, do not ask
    /// again: they are asked.
    pub(super) async fn ask_owners(&mut self) {
        let now = self.context.clock.monotonic();
        let asked_at = self.departures.owners_asked_at;
        let open = self.state.plan.share.departures();
        if open.is_empty() || asked_at.is_some_and(|at| now.saturating_sub(at) < ASK_AGAIN_AFTER) {
            return;
        }
        self.departures.owners_asked_at = Some(now);
        let this: &Self = self;
        let answers = open.into_iter().map(|Handover { epoch, from, to }| async move {
            let request = Request::Taken { epoch, from };
            let answers = this.ask_shard(to, &this.view.key, &request).await;
            answers.iter().any(|(_, answer)| matches!(answer, Answer::Taken(true))).then_some(to)
        });
        for to in join_all(answers).await.into_iter().flatten() {
            self.view.journal().want_release(to);
        }
    }

    /// Splits off the states of the series that these shards own now.
    pub(super) async fn release(&mut self, shards: &[u32]) {
        let Some(position) = self.position else { return };
        let mut blocks = Vec::new();
        for to in shards {
            let share = &self.state.plan.share;
            let handover = Handover { epoch: share.progress.epoch, from: share.shard, to: *to };
            let plan = self.state.plan.of_arrival(handover);
            let moved = match self.state.copy_of(plan, |labels| self.state.plan.present_owner(labels) == *to) {
                Ok(moved) => moved,
                Err(error) => {
                    tracing::error!(job = %self.view.key, %handover, %error, "states cannot be handed over");
                    continue;
                }
            };
            let (before, digest) = self.before_record();
            let lineage = self.lineage.release(*to, position);
            let images = moved.images(position, lineage);
            if self.keeps(Rule::LetGo) {
                self.state.plan.share.release(*to);
            } else {
                self.state.plan.share.progress.released.insert(*to);
            }
            self.offer(Content::Released { to: *to }, position, digest, before);
            tracing::info!(job = %self.view.key, %handover, position, series = moved.series.active(), "series released");
            blocks.extend(images.iter().cloned());
            self.keep(handover, moved.plan, JobHistory { blocks: images, ..JobHistory::default() });
        }
        let plan = &self.state.plan;
        let gone = self.state.series.retain(|labels| plan.has(labels));
        self.state.reset(&gone);
        self.state.settle_series();
        self.saving.all_changed(&self.state);
        self.commit(blocks, None).await;
        self.context.metrics.handed_over(&self.labels, HandoverStatus::Released, shards.len() as u64);
        self.report_series();
        self.publish_progress();
    }

    /// Answers for released states from now on. Where they stand, and what they are responsible for, say their blocks:
    /// this job's own share has changed since.
    pub(super) fn keep(&mut self, handover: Handover, plan: JobPlan, history: JobHistory) {
        let Some(newest) = history.blocks.iter().max_by_key(|block| block.watermark) else { return };
        let plan = JobPlan { share: newest.share.clone(), ..plan };
        let view = self.view_of_states(&plan, newest.watermark, newest.lineage, &history.blocks);
        self.departures.kept.insert(handover, Departure { view, history, silent_since: None, asked_at: None });
    }

    /// Answers for states that stay as they are.
    pub(super) fn view_of_states(
        &self,
        plan: &JobPlan,
        position: i64,
        lineage: Lineage,
        blocks: &[Block],
    ) -> Rc<JobView> {
        let view = self.context.view(plan);
        let mut journal = view.journal();
        journal.restart(position, lineage);
        journal.standing.phase = Phase::Running;
        journal.standing.written = position;
        let image = StateImage {
            id: lineage.chain,
            standing: journal.standing,
            plan: plan.canonical().into(),
            fit_due: None,
            since_fit: Vec::new(),
            definitions: Vec::new(),
            arrived: Vec::new(),
            blocks: journal::encoded(&view.key, blocks).unwrap_or_default(),
        };
        journal.offer_image(Some(image));
        drop(journal);
        view.restored();
        self.context.views.borrow_mut().insert(view.key.clone(), view.clone());
        view
    }

    /// Lets go of released states that nobody will ask for any more; those of an epoch that is over and that nobody has
    /// taken come back.
    pub(super) async fn settle_departures(&mut self) {
        let share = &self.state.plan.share;
        let epoch = share.progress.epoch;
        let all: Vec<Handover> = self.departures.kept.keys().copied().collect();
        for handover in all {
            if self.state.plan.share.has_joined(&handover) || !self.keeps(Rule::KeepReleased) {
                self.forget_departure(handover).await;
            } else if handover.epoch < epoch {
                self.settle_earlier(handover).await;
            }
        }
    }

    async fn settle_earlier(&mut self, handover: Handover) {
        let now = self.context.clock.monotonic();
        let Some(departure) = self.departures.kept.get_mut(&handover) else { return };
        if departure.asked_at.is_some_and(|at| now.saturating_sub(at) < ASK_AGAIN_AFTER) {
            return;
        }
        departure.asked_at = Some(now);
        let request = Request::Taken { epoch: handover.epoch, from: handover.from };
        let answers = self.ask_shard(handover.to, &self.view.key, &request).await;
        // Ranks that do not agree will.
        let all = |taken: bool| answers.iter().all(|(_, answer)| matches!(answer, Answer::Taken(is) if *is == taken));
        let asks = self.keeps(Rule::AskBeforeTheyComeBack);
        let (taken, untaken) = (!answers.is_empty() && all(true), !asks || !answers.is_empty() && all(false));
        let timeout = self.handover_timeout();
        let now = self.context.clock.monotonic();
        let Some(departure) = self.departures.kept.get_mut(&handover) else { return };
        let silent_since = *departure.silent_since.get_or_insert(now);
        if !answers.is_empty() {
            departure.silent_since = None;
        }
        let is_silent = answers.is_empty() && now.saturating_sub(silent_since) >= timeout;
        if taken && asks {
            self.forget_departure(handover).await;
        } else if self.keeps(Rule::ComeBack) && (untaken || is_silent && self.leads().await) {
            tracing::warn!(job = %self.view.key, %handover, "series that nobody has taken come back");
            self.context.metrics.handed_over(&self.labels, HandoverStatus::Returned, 1);
            self.return_departure(handover);
        }
    }

    /// Lets released series go on here. Returns whether there were any.
    pub(super) fn return_departure(&mut self, handover: Handover) -> bool {
        let Some(departure) = self.departures.kept.remove(&handover) else { return false };
        self.context.views.borrow_mut().remove(&departure.view.key);
        self.start_arrival(handover, Some(departure.history));
        true
    }

    /// The state was taken over from another rank: what that has released, it has for others, and so has this one then.
    pub(super) async fn copy_departures(&mut self, member: Member) {
        let share = &self.state.plan.share;
        if self.is_arrival() || share.shard != member.shard {
            return;
        }
        let (epoch, from) = (share.progress.epoch, share.shard);
        let all = share.progress.released.iter().map(|to| Handover { epoch, from, to: *to });
        let lacking: Vec<Handover> = all.filter(|handover| !self.departures.kept.contains_key(handover)).collect();
        for handover in lacking {
            let key = self.state.plan.key_of_arrival(handover);
            let Some((image, blocks)) = self.fetch_image(member, &key).await else { continue };
            let Ok(plan) = serde_json::from_slice(&image.plan) else { continue };
            self.keep(handover, plan, JobHistory { blocks: blocks.clone(), ..JobHistory::default() });
            self.commit(blocks, None).await;
        }
    }

    /// The state was taken over from another rank, which knows what became of earlier epochs.
    pub(super) async fn forget_earlier_departures(&mut self) {
        let epoch = self.state.plan.share.progress.epoch;
        let earlier: Vec<Handover> =
            self.departures.kept.keys().filter(|handover| handover.epoch < epoch).copied().collect();
        for handover in earlier {
            self.forget_departure(handover).await;
        }
    }

    async fn forget_departure(&mut self, handover: Handover) {
        let Some(departure) = self.departures.kept.remove(&handover) else { return };
        self.context.views.borrow_mut().remove(&departure.view.key);
        self.forget_part(&departure.view.key).await;
    }
}
