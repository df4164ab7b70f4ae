//! Series that arrive: each hand-over is a job of its own until it stands where the others stand; then they join.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    rc::Rc,
    time::Duration,
};

use futures_util::future::{AbortHandle, Abortable};

use super::{
    Given, Job, JobHistory, JobView,
    following::{ANSWER_WITHIN, Turn},
};
use crate::{
    context::Environment,
    environment::Clock,
    metrics::HandoverStatus,
    peers::{Answer, Member, Phase, Request, Rule, journal::Content, message::Held},
    plan::JobPlan,
    share::{Handover, Share},
};

/// Pause between two questions to the former owner.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// A rank that is to let series join waits so long for them to arrive there, too.
const ARRIVES_WITHIN: Duration = Duration::from_secs(5);
/// Pause between two looks at whether a job has given its state; it does so at the end of its tick.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// The jobs of series that are arriving.
#[derive(Default)]
pub(super) struct Arrivals {
    running: BTreeMap<Handover, Arrival>,
    /// States as they were when they joined, for other ranks, which let them join at the same tick.
    joined: BTreeMap<Handover, Rc<JobView>>,
    /// The epoch for which it is not known yet what other ranks hold of those before, and since when.
    unknown: Option<(u64, Duration)>,
}

struct Arrival {
    view: Rc<JobView>,
    /// Whether there are states of it here, which it may still be taking in.
    has_state: bool,
    /// Since when it is not known whether another rank has what has not arrived here, after its epoch was over.
    unknown_since: Option<Duration>,
    abort: AbortHandle,
}

impl Arrival {
    fn has_state(&self) -> bool {
        self.has_state || self.view.position.get().is_some()
    }
}

impl Drop for Arrival {
    /// As a crash, which a job survives anywhere.
    fn drop(&mut self) {
        self.abort.abort();
    }
}

impl Arrivals {
    /// Whether something of an earlier epoch has still to join.
    pub(super) fn has_earlier(&self, epoch: u64) -> bool {
        self.running.keys().any(|handover| handover.epoch < epoch)
    }

    /// What has arrived in epochs before, and has still to join.
    pub(super) fn of_earlier(&self, epoch: u64) -> Vec<Handover> {
        let earlier = self.running.iter().filter(|(handover, arrival)| handover.epoch < epoch && arrival.has_state());
        earlier.map(|(handover, _)| *handover).collect()
    }

    /// Lets go of what has joined, but for what is to be kept. Where another view has taken its place, that one stays.
    fn retain_joined(&mut self, views: &RefCell<BTreeMap<String, Rc<JobView>>>, is_kept: impl Fn(&Handover) -> bool) {
        let mut views = views.borrow_mut();
        self.joined.retain(|handover, view| {
            let is_kept = is_kept(handover);
            if !is_kept && views.get(&view.key).is_some_and(|known| Rc::ptr_eq(known, view)) {
                views.remove(&view.key);
            }
            is_kept
        });
    }

    /// Hand-overs that other ranks can have of this one.
    fn held(&self) -> impl Iterator<Item = Handover> {
        let running = self.running.iter().filter(|(_, arrival)| arrival.has_state());
        running.map(|(handover, _)| *handover).chain(self.joined.keys().copied())
    }

    /// Hand-overs under way, and whether their states are here.
    fn under_way(&self) -> impl Iterator<Item = (Handover, bool)> {
        self.running.iter().map(|(handover, arrival)| (*handover, arrival.view.position.get().is_some()))
    }
}

impl<E: Environment> Job<E> {
    /// Whether this is a job of series that have arrived.
    pub(super) fn is_arrival(&self) -> bool {
        self.view.arrival.is_some()
    }

    /// Whether there is nothing to go on with before series have arrived.
    pub(super) fn waits_for_arrivals(&self) -> bool {
        let share = &self.state.plan.share;
        !self.is_arrival() && self.position.is_none() && share.is_new() && !share.arrivals().is_empty()
    }

    /// Whether series come or go.
    pub(super) fn is_moving(&self) -> bool {
        let share = &self.state.plan.share;
        let is_open = !share.arrivals().is_empty() || !share.departures().is_empty();
        is_open || self.arrivals.has_earlier(u64::MAX) || self.departures.of_earlier(share.progress.epoch) > 0
    }

    /// Follows what the leading rank has done about series that move, without waiting for the next tick.
    pub(super) async fn follow_between_ticks(&mut self) {
        if !self.alone()
            && self.is_moving()
            && let Turn::Take(rank, record) = self.round().await.into_turn()
            && matches!(record.entry.content, Content::Released { .. } | Content::Joined { .. })
        {
            self.take(rank, *record).await;
        }
    }

    /// Waits until series have arrived here, or at another rank, whose state is taken over then.
    pub(super) async fn wait_for_arrivals(&mut self) {
        self.set_role(Phase::Beginning);
        if self.alone() || self.begin_with_others().await {
            self.pause_between_questions().await;
        }
    }

    /// Takes part in the hand-overs that the topology asks for.
    pub(super) async fn follow_topology(&mut self) {
        self.view.mailbox().handover = false;
        self.keep_arrivals_running().await;
        self.join_arrivals().await;
        self.ask_owners().await;
        self.release_wanted().await;
        self.settle_departures().await;
        self.forget_joined();
        self.publish_progress();
    }

    /// Makes known how far this job has followed the topology.
    pub(super) fn publish_progress(&self) {
        let share = &self.state.plan.share;
        let has_state = self.position.is_some() || !share.is_new();
        let earlier = self.departures.of_earlier(share.progress.epoch);
        let handovers = self.arrivals.held().collect();
        let held = Held { epoch: share.progress.epoch, handovers, may_return: earlier > 0 };
        self.view.journal().set_progress(&share.progress, has_state, self.arrivals.under_way(), held);
        let open = share.arrivals().len() + self.arrivals.running.len() + share.departures().len() + earlier;
        self.view.set_topology(share.progress.epoch, open as u64);
    }

    async fn keep_arrivals_running(&mut self) {
        let share = &self.state.plan.share;
        let open = share.arrivals();
        let epoch = share.progress.epoch;
        let is_earlier = |handover: &Handover| handover.epoch < epoch;
        let elsewhere = self.following.held.values().flat_map(|held| &held.handovers);
        let asks = self.keeps(Rule::HearOfArrivals);
        let elsewhere = elsewhere.filter(|handover| asks && is_earlier(handover) && !share.has_joined(handover));
        let elsewhere: BTreeSet<Handover> = elsewhere.copied().collect();
        let now = self.context.clock.monotonic();
        let longest = self.handover_timeout();
        let mut over = Vec::new();
        for (handover, arrival) in &mut self.arrivals.running {
            // What another rank has let join came with its state.
            if share.has_joined(handover) {
                over.push(*handover);
                continue;
            }
            // What was not taken in an earlier epoch is not taken any more: others may be asked for it.
            let is_untaken = is_earlier(handover) && !arrival.has_state() && !elsewhere.contains(handover);
            arrival.unknown_since = is_untaken.then(|| arrival.unknown_since.unwrap_or(now));
            let is_known = || !asks || self.following.all_hold(|held| held.epoch > handover.epoch);
            if arrival.unknown_since.is_some_and(|since| now.saturating_sub(since) >= longest || is_known()) {
                over.push(*handover);
            }
        }
        self.give_up_arrivals(over).await;
        for handover in elsewhere.into_iter().chain(open) {
            self.expect_arrival(handover);
        }
    }

    /// Sees to it that a hand-over arrives here: from what was released here, if that is what comes back.
    fn expect_arrival(&mut self, handover: Handover) {
        if !self.arrivals.running.contains_key(&handover) && !self.return_departure(handover) {
            self.start_arrival(handover, None);
        }
    }

    /// Whether what other ranks hold of epochs before that have not settled is known here, too: what they hold has to join
    /// before series are released.
    pub(super) fn knows_earlier_arrivals(&mut self) -> bool {
        let Share { progress, settled_epoch, .. } = &self.state.plan.share;
        let epoch = progress.epoch;
        if settled_epoch + 1 >= epoch
            || !self.keeps(Rule::HearOfArrivals)
            || self.following.all_hold(|held| held.epoch >= epoch && !held.may_return)
        {
            self.arrivals.unknown = None;
            return true;
        }
        let now = self.context.clock.monotonic();
        self.arrivals.unknown.take_if(|(unknown, _)| *unknown != epoch);
        let (_, since) = *self.arrivals.unknown.get_or_insert((epoch, now));
        now.saturating_sub(since) >= self.handover_timeout()
    }

    /// How long is waited for the workers that may have states which are lacking here.
    pub(super) fn handover_timeout(&self) -> Duration {
        Duration::from_millis(self.context.settings.borrow().handover_timeout.unsigned_abs())
    }

    /// Starts the job of series that arrive, with what is here of it.
    pub(super) fn start_arrival(&mut self, handover: Handover, history: Option<JobHistory>) {
        let has_state = history.is_some();
        let mut plan = self.state.plan.of_arrival(handover);
        // Stored by a process that had followed the topology further than what it has stored of the others: these do so
        // in a moment. By the topology before, the series would belong elsewhere.
        let stored = history.iter().flat_map(|history| &history.blocks).max_by_key(|block| block.watermark);
        if let Some(stored) = stored.filter(|_| self.state.plan.share.progress.epoch < handover.epoch) {
            plan.share.clone_from(&stored.share);
        }
        let view = self.context.view(&plan);
        if history.is_none() {
            // There is nothing to restore, and the worker is as ready as before.
            view.restored();
        }
        self.context.views.borrow_mut().insert(view.key.clone(), view.clone());
        let mut job = Self::new(self.context.clone(), view.clone(), plan);
        job.joins = Some(self.view.clone());
        let (abort, registration) = AbortHandle::new_pair();
        self.arrivals.running.insert(handover, Arrival { view, has_state, unknown_since: None, abort });
        self.context.spawn(Box::pin(async move {
            // Aborted or over: the same to the job that it joins.
            let _ = Abortable::new(job.run(history), registration).await;
        }));
    }

    /// The state was taken over from another rank, which has what arrived in earlier epochs or knows what became of it:
    /// what has still to join there, `arrived`, has still to join here.
    pub(super) async fn take_over_arrivals(&mut self, arrived: &[Handover]) {
        if self.is_arrival() {
            return;
        }
        let share = self.state.plan.share.clone();
        let earlier = self.arrivals.running.iter().filter(|(handover, _)| handover.epoch < share.progress.epoch);
        let is_over = |handover: &Handover, arrival: &Arrival| {
            share.has_joined(handover) || !(arrival.has_state() || arrived.contains(handover))
        };
        let over = earlier.filter(|(handover, arrival)| is_over(handover, arrival)).map(|(handover, _)| *handover);
        self.give_up_arrivals(over.collect()).await;
        // What has joined the state before, and not this one, may be nowhere else.
        let lacking = self.arrivals.joined.iter().filter(|(handover, _)| !share.has_joined(handover));
        let lacking: Vec<(Handover, Rc<JobView>)> = lacking.map(|(handover, view)| (*handover, view.clone())).collect();
        self.arrivals.retain_joined(&self.context.views, |handover| share.has_joined(handover));
        for (handover, view) in lacking {
            let blocks = view.journal().offered_blocks();
            if !blocks.is_empty() && !self.arrivals.running.contains_key(&handover) {
                self.commit(blocks.clone(), None).await;
                self.start_arrival(handover, Some(JobHistory { blocks, ..JobHistory::default() }));
            }
        }
        for handover in arrived {
            if !self.arrivals.running.contains_key(handover) {
                self.start_arrival(*handover, None);
            }
        }
    }

    async fn give_up_arrivals(&mut self, handovers: Vec<Handover>) {
        for handover in handovers {
            self.end_arrival(handover);
            self.forget_part(&self.state.plan.key_of_arrival(handover)).await;
        }
    }

    fn end_arrival(&mut self, handover: Handover) {
        if let Some(arrival) = self.arrivals.running.remove(&handover) {
            self.context.views.borrow_mut().remove(&arrival.view.key);
        }
    }

    /// Tells the jobs of arrived series of a changed configuration. One of an earlier epoch, which another rank's record
    /// may bring, is not for what came later: by it, the series would belong elsewhere, and others here.
    pub(super) fn forward_to_arrivals(&self, plan: &JobPlan) {
        let epoch = plan.share.progress.epoch;
        for (handover, arrival) in self.arrivals.running.iter().filter(|(handover, _)| handover.epoch <= epoch) {
            arrival.view.mailbox().plan = Some(plan.of_arrival(*handover));
            arrival.view.wake();
        }
    }

    /// Takes up what a former process had of hand-overs.
    pub(super) async fn take_up_parts(&mut self, parts: HashMap<Handover, JobHistory>) {
        let mut parts: Vec<_> = parts.into_iter().collect();
        parts.sort_unstable_by_key(|(handover, _)| *handover);
        for (handover, history) in parts {
            let share = &self.state.plan.share;
            let has_state = !history.blocks.is_empty();
            let is_open = has_state && !share.has_joined(&handover);
            if is_open && handover.to == share.shard {
                self.start_arrival(handover, Some(history));
            } else if is_open && handover.from == share.shard {
                self.keep(handover, self.state.plan.clone(), history);
            } else {
                let key = self.state.plan.key_of_arrival(handover);
                self.forget_part(&key).await;
            }
        }
        self.publish_progress();
    }

    /// Lets go of what nobody will ask for any more.
    pub(super) fn forget_joined(&mut self) {
        let settled_epoch = self.state.plan.share.settled_epoch;
        self.arrivals.retain_joined(&self.context.views, |handover| handover.epoch > settled_epoch);
    }

    /// Removes the stored state of a hand-over.
    pub(super) async fn forget_part(&self, key: &str) {
        let Some(storage) = &self.context.storage else { return };
        if let Err(error) = storage.snapshots.remove_job(key).await {
            tracing::warn!(job = key, %error, "the state of a hand-over that is over cannot be removed");
        }
    }

    async fn join_arrivals(&mut self) {
        let failed = std::mem::take(&mut self.view.mailbox().failed);
        for handover in failed {
            if handover.epoch < self.state.plan.share.progress.epoch {
                // Its epoch is over: it is not this shard's to go on without it.
                self.give_up_arrivals(vec![handover]).await;
            } else if self.leads().await {
                self.go_without(handover).await;
            } else {
                self.end_arrival(handover);
            }
        }
        // Ticks that are not to be written again for the series that are here are to be for those that arrive.
        let written_elsewhere = self.following.written_elsewhere;
        if !self.fitting.rests() || self.position.is_some_and(|position| written_elsewhere > Some(position)) {
            return;
        }
        let here = |job: &Self, arrival: &Arrival| {
            let there = arrival.view.position.get();
            let is_here = |there: &i64| job.position == Some(*there) || !job.keeps(Rule::JoinAtOneTick);
            there.filter(|there| job.waits_for_arrivals() || is_here(there))
        };
        // After a restart, those of the newest epoch may be here before the epoch is in force.
        let epoch = self.state.plan.share.progress.epoch;
        let arrived = self.arrivals.running.keys().filter(|handover| handover.epoch <= epoch);
        for handover in arrived.copied().collect::<Vec<Handover>>() {
            let Some(arrival) = self.arrivals.running.get(&handover) else { continue };
            let Some(there) = here(self, arrival) else { continue };
            if self.keeps(Rule::OneJoins) && !self.leads().await {
                return;
            }
            if let Some(given) = self.take_state(handover, there).await {
                self.unite(handover, *given).await;
            }
        }
    }

    /// Asks the job of arrived series for its state, which it gives at the end of its tick.
    async fn take_state(&mut self, handover: Handover, there: i64) -> Option<Box<Given>> {
        let view = self.arrivals.running.get(&handover)?.view.clone();
        view.mailbox().give = Some(there);
        view.wake();
        let started = self.context.clock.monotonic();
        loop {
            let answer = self.view.mailbox().given.take();
            let waits_long = self.context.clock.monotonic().saturating_sub(started) >= ARRIVES_WITHIN;
            match answer {
                Some((from, given)) if from == handover => return given,
                _ if self.view.stopping() => return None,
                // Its tick may take as long as the TSDB does not take its scores.
                _ if waits_long && view.mailbox().give.take().is_some() => return None,
                _ => self.context.clock.sleep(LOOK_AGAIN_AFTER).await,
            }
        }
    }

    async fn unite(&mut self, handover: Handover, given: Given) {
        let Given { state, position, lineage } = given;
        let (before, digest) = self.before_record();
        let series = state.series.active();
        let is_first = self.position.is_none();
        if is_first {
            self.lineage.era = self.lineage.era.max(lineage.era);
            self.stand_at(Some(position));
        }
        if let Err(error) = self.state.take_over(&state, |_| true) {
            tracing::error!(job = %self.view.key, %handover, %error, "states that were handed over cannot be used");
        }
        self.lineage.join(handover.from, lineage);
        self.state.plan.share.join(&state.plan.share);
        self.settle_after_join();
        if is_first {
            self.stand_in_topology();
            self.view.journal().restart(position, self.lineage);
            self.set_role(Phase::Running);
        } else {
            self.offer(Content::Joined { handover, chain: lineage.chain }, position, digest, before);
        }
        let key = self.state.plan.key_of_arrival(handover);
        self.commit(Vec::new(), Some(&key)).await;
        self.end_arrival(handover);
        if !self.alone() {
            let view = self.view_of_states(&state.plan, position, lineage, &state.images(position, lineage));
            self.arrivals.joined.insert(handover, view);
        }
        tracing::info!(job = %self.view.key, %handover, position, series, "series that were handed over have joined");
        self.context.metrics.handed_over(&self.labels, HandoverStatus::Joined, 1);
        self.announce();
        self.report_series();
        self.publish_progress();
    }

    fn settle_after_join(&mut self) {
        // What was written from another state was not so for the series that have joined.
        let position = self.position;
        self.following.written_elsewhere.take_if(|written| Some(*written) > position);
        self.state.settle_series();
        self.saving.all_changed(&self.state);
    }

    /// The former owner is gone, or has nothing: the series are learnt from the TSDB.
    async fn go_without(&mut self, handover: Handover) {
        self.end_arrival(handover);
        if self.state.plan.share.progress.has_taken(handover.epoch, handover.from) {
            return;
        }
        tracing::warn!(job = %self.view.key, %handover, "nobody has the states of series: they are learnt from the TSDB");
        self.context.metrics.handed_over(&self.labels, HandoverStatus::Failed, 1);
        let (before, digest) = self.before_record();
        self.state.plan.share.go_without(handover);
        self.settle_after_join();
        if let Some(position) = self.position {
            self.lineage.join(handover.from, crate::peers::Lineage::default());
            self.offer(Content::Joined { handover, chain: 0 }, position, digest, before);
            if self.state.fitted() {
                self.fitting.newcomers(&self.state.series);
            }
            let key = self.state.plan.key_of_arrival(handover);
            self.commit(Vec::new(), Some(&key)).await;
        }
        self.publish_progress();
    }

    /// Lets arrived series join as another rank has done, or else takes its whole state over.
    pub(super) async fn follow_join(&mut self, rank: u32, handover: Handover, chain: u64, after: u64) {
        self.expect_arrival(handover);
        let started = self.context.clock.monotonic();
        while self.fitting.rests() && self.context.clock.monotonic().saturating_sub(started) < ARRIVES_WITHIN {
            let Some(arrival) = self.arrivals.running.get(&handover) else { break };
            let standing = arrival.view.journal().standing;
            if (arrival.view.position.get(), standing.lineage.chain) != (self.position, chain) {
                self.sleep_through_mail(ASK_AGAIN_AFTER).await;
                continue;
            }
            if let Some(position) = self.position
                && let Some(given) = self.take_state(handover, position).await
            {
                self.unite(handover, *given).await;
                if self.lineage.chain == after {
                    return;
                }
            }
            break;
        }
        // The state is as good as that one: it only lacks what has arrived.
        self.following.lacks_arrival = true;
        self.adopt_from(rank).await;
        self.following.lacks_arrival = false;
    }

    /// Of a job of arrived series: gives its state to the job that they join, if that has asked for it and stands at the
    /// same tick. Returns whether it has, and is over.
    pub(super) fn give_state(&mut self) -> bool {
        let (Some(main), Some(handover)) = (self.joins.clone(), self.view.arrival) else { return false };
        let wanted = self.view.mailbox().give.take();
        let can_join = self.position.is_some() && self.fitting.rests() && !self.may_start_fit();
        if let Some(wanted) = wanted {
            let gives = can_join && self.position == Some(wanted);
            let given = gives.then(|| {
                let empty = crate::engine::JobState::new(self.state.plan.clone());
                let state = std::mem::replace(&mut self.state, empty);
                Box::new(Given { state, position: wanted, lineage: self.lineage })
            });
            main.mailbox().given = Some((handover, given));
            if gives {
                return true;
            }
        }
        if can_join && (main.position.get() == self.position || main.position.get().is_none()) {
            main.note_handover();
        }
        false
    }

    /// Of a job of arrived series that has no state yet: takes it from the former owner, or from another rank that has
    /// done so.
    pub(super) async fn arrive(&mut self) {
        if !self.alone() && !self.begin_with_others().await {
            return;
        }
        let (Some(main), Some(handover)) = (self.joins.clone(), self.view.arrival) else { return };
        if !self.may_lead() {
            self.sleep_through_mail(ASK_AGAIN_AFTER).await;
            return;
        }
        let request = Request::Release { epoch: handover.epoch, to: handover.to };
        let answers = self.ask_shard(handover.from, &main.key, &request).await;
        let released = answers.iter().filter(|(_, answer)| matches!(answer, Answer::Released));
        let released: Vec<Member> = released.map(|(member, _)| *member).collect();
        let key = self.view.key.clone();
        for member in &released {
            let wanted = self.state.plan.clone();
            if let Some((image, blocks)) = self.fetch_image(*member, &key).await
                && self.take_image(*member, &image, &blocks).await
            {
                if self.state.plan != wanted {
                    self.wanted = Some(wanted);
                }
                main.note_handover();
                return;
            }
        }
        let is_empty = !answers.is_empty() && answers.iter().all(|(_, answer)| matches!(answer, Answer::Empty));
        let timeout = self.handover_timeout();
        let now = self.context.clock.monotonic();
        let silent_since = *self.following.silent_since.get_or_insert(now);
        // A rank that has released them and lost them since is no help.
        if answers.iter().any(|(_, answer)| !matches!(answer, Answer::Nothing | Answer::Released)) {
            self.following.silent_since = None;
        }
        if is_empty || now.saturating_sub(silent_since) >= timeout {
            main.mailbox().failed.push(handover);
            main.note_handover();
            self.sleep_through_mail(ANSWER_WITHIN).await;
        }
        self.sleep_through_mail(ASK_AGAIN_AFTER).await;
    }
}
