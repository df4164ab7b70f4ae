//! One job: a query under a scheduler, read tick by tick, learnt, scored and written. One running slot, in order:
//! a tick is read, logged, learnt and scored, written, and only then the next one begins.

mod adopting;
mod advising;
mod arriving;
mod failover;
mod fitting;
mod following;
mod reading;
mod releasing;
mod restore;
mod saving;
mod taking;
mod view;
mod writing;

use std::{cell::Cell, collections::VecDeque, rc::Rc, time::Duration};

use config::status::{ErrorKind, JobPhase};
pub use restore::JobHistory;
pub use view::{Given, JobView, Mailbox};

use crate::{
    alarms::{self, Anomaly, Listed, OpenAlarms},
    context::{Context, Environment},
    detector,
    engine::{JobState, TickInput, Unscored},
    environment::{Clock, Tsdb},
    input_log::{Record, SkipReason},
    metrics::{JobLabels, ModelRun, Stage},
    peers::{Lineage, Phase, Rule, journal::Content},
    plan::JobPlan,
    schedule::Schedule,
    share::Share,
};
use arriving::Arrivals;
use failover::WriteTurn;
use fitting::Fitting;
use following::Following;
use reading::TickRead;
use releasing::Departures;
use saving::Saving;

/// Longest sleep without a look at the clocks: a step of the own clock is noticed within this time.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// The same while series move: what other workers do about them is noticed within this time.
const LOOK_AT_HANDOVERS_AFTER: Duration = Duration::from_secs(1);

/// How far the models are is counted at most so often: that takes a look at each.
const COUNT_STAGES_EVERY: Duration = Duration::from_secs(10);

/// A job and everything that it has learnt. Owned by the job's own task.
pub struct Job<E: Environment> {
    context: Rc<Context<E>>,
    view: Rc<JobView>,
    labels: JobLabels,
    state: JobState,
    schedule: Schedule,
    /// The newest tick that is written, skipped or fitted to; `None` before the first fit is due.
    position: Option<i64>,
    /// The digest of the last configuration that the log has.
    logged_plan: Option<u64>,
    fitting: Fitting,
    saving: Saving,
    /// The TSDB was away: collectors may still have to deliver what they have kept.
    after_outage: bool,
    /// Ticks that a due fit has not seen, oldest first.
    since_fit: VecDeque<TickInput>,
    /// Where the state comes from.
    lineage: Lineage,
    /// What is known of the other ranks.
    following: Following,
    /// The configuration to go on with once this rank decides what comes next.
    wanted: Option<JobPlan>,
    /// The configuration that this rank has put in force and that no record was made under yet: another rank's record,
    /// under the one before, may still come first.
    unrecorded: Option<JobPlan>,
    /// The last tick that a former process logged and perhaps did not write.
    in_flight: Option<TickInput>,
    /// What is above a score of 1.
    alarms: OpenAlarms,
    /// Series on their way here.
    arrivals: Arrivals,
    /// Series that have left, until their new owners hold them.
    departures: Departures,
    /// When it was last counted how far the models are, on the monotonic clock; `None`: not since they were changed.
    stages_counted: Cell<Option<Duration>>,
    /// Of a job of arrived series: the job that they are to join.
    joins: Option<Rc<JobView>>,
}

/// What has become of a logged tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scored {
    /// Its scores are written, here or by another rank of the same state.
    Written,
    /// Its scores were written from another state.
    Elsewhere,
    /// Another rank's state has taken the place of the own one, and goes on where it stands.
    Replaced,
}

impl From<WriteTurn> for Scored {
    fn from(turn: WriteTurn) -> Self {
        match turn {
            WriteTurn::Own | WriteTurn::Confirmed => Self::Written,
            WriteTurn::Elsewhere => Self::Elsewhere,
            WriteTurn::Replaced => Self::Replaced,
        }
    }
}

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// What was waited for is there.
    Over,
    /// The mailbox has something.
    Interrupted,
}

impl<E: Environment> Job<E> {
    /// A job that has learnt nothing yet, with what a former process left of it.
    pub fn new(context: Rc<Context<E>>, view: Rc<JobView>, plan: JobPlan) -> Self {
        let labels = view.labels.clone();
        let schedule = Schedule::new(&plan.scheduler, &plan.scheduler_alias, &plan.query_alias, context.clock.now());
        let job = Self {
            view,
            labels,
            schedule,
            position: None,
            logged_plan: None,
            fitting: Fitting::default(),
            saving: Saving::default(),
            after_outage: false,
            since_fit: VecDeque::new(),
            lineage: Lineage::default(),
            following: Following::among(context.place.get().ranks),
            wanted: None,
            unrecorded: None,
            in_flight: None,
            alarms: OpenAlarms::default(),
            arrivals: Arrivals::default(),
            departures: Departures::default(),
            stages_counted: Cell::new(None),
            joins: None,
            state: JobState::new(plan),
            context,
        };
        job.announce();
        job
    }

    /// Makes the job wait for the other ranks for some time before it begins: they may have what this process lacks.
    #[must_use]
    pub fn waiting_for_others(mut self) -> Self {
        self.waits_for_others();
        self
    }

    /// Runs until the mailbox says stop.
    pub async fn run(mut self, history: Option<JobHistory>) {
        if let Some(mut history) = history {
            let current = self.state.plan.clone();
            let parts = std::mem::take(&mut history.parts);
            self.restore(history).await;
            self.note_missed_epoch(current.share.settled_epoch);
            if self.state.plan != current.clone().following(&self.state.plan) {
                self.view.mailbox().plan.get_or_insert(current);
                self.unrecorded = None;
            }
            self.take_up_parts(parts).await;
        }
        self.view.restored();
        self.avoid_logged_slots();
        self.go_on_among_others().await;
        while !self.view.stopping() {
            self.follow_ranks().await;
            self.receive_fit();
            self.offer_image();
            self.fetch_offered_fit().await;
            self.wanted = self.view.take_plan().or(self.wanted.take());
            self.wanted.take_if(|wanted| wanted.clone().following(&self.state.plan) == self.state.plan);
            if let Some(wanted) = &self.wanted {
                self.note_missed_epoch(wanted.share.settled_epoch);
            }
            // Whoever decides what comes next decides when a configuration takes effect; the others follow.
            if self.wanted.is_some()
                && self.leads().await
                && let Some(plan) = self.wanted.take()
            {
                self.unrecorded = Some(plan.clone());
                self.apply(plan);
            }
            if self.is_arrival() {
                if self.give_state() {
                    break;
                }
            } else {
                self.follow_topology().await;
                if self.waits_for_arrivals() {
                    self.wait_for_arrivals().await;
                    continue;
                }
            }
            let Some(position) = self.position else {
                if self.is_arrival() {
                    self.arrive().await;
                } else if self.alone() {
                    self.begin().await;
                } else {
                    self.begin_among_others().await;
                }
                continue;
            };
            let tick = position + self.schedule.infer_every;
            self.view.set_next(tick);
            if self.may_start_fit() && self.leads().await {
                self.start_due_fit(position);
            }
            if self.must_wait_for_fit(tick) {
                self.view.set_waiting_for_fit();
                self.wait_for_fit(tick).await;
                continue;
            }
            if self.may_take_over_fit(tick)
                && self.leads().await
                && self.put_fit_in_force(tick).await == Wait::Interrupted
            {
                continue;
            }
            match self.wait_until_due(tick).await {
                Wait::Over => self.tick(tick).await,
                Wait::Interrupted if self.lacks_server_time() => self.follow_meanwhile().await,
                Wait::Interrupted => self.follow_between_ticks().await,
            }
        }
        self.fitting.cancel();
        self.context.alarms.show(&self.view.key, Listed::default());
    }

    /// Waits for the running fit. Ranks that have passed this one meanwhile may have taken another one over.
    async fn wait_for_fit(&mut self, tick: i64) {
        let due = self.schedule.due_at(tick, self.context.settle());
        self.report_lag(due);
        if !self.alone() && self.context.agreed_now() >= due {
            self.follow_meanwhile().await;
        } else {
            self.sleep(LONGEST_SLEEP).await;
        }
    }

    /// A former job of the same name may have left slots in the log that other series had.
    fn avoid_logged_slots(&mut self) {
        let Some(storage) = &self.context.storage else { return };
        let key = &self.view.key;
        self.state.series.reserve(storage.log.slots_end(key), |slot| storage.log.refers_to(key, slot));
    }

    /// Waits for the moment of the first fit, which ends at the tick before the start.
    async fn begin(&mut self) {
        if self.wait_for_server_time().await == Wait::Interrupted {
            return;
        }
        let settle = self.context.settle();
        let fitted_to = self.schedule.first_fit(self.context.agreed_now(), settle);
        self.view.set_phase(JobPhase::Fitting);
        if self.wait_until(self.schedule.due_at(fitted_to, settle)).await == Wait::Over {
            self.begun(fitted_to);
        }
    }

    /// Takes up what a former process left, once the other ranks have said where they stand.
    async fn go_on_among_others(&mut self) {
        if !self.alone() {
            self.join().await;
        }
        if let Some(input) = self.in_flight.take()
            && self.keeps(Rule::LearnInFlight)
        {
            let scored = self.score_and_write(&input).await;
            if scored != Scored::Replaced && !self.view.stopping() {
                self.expire(input.tick);
                self.note_written(input.tick, scored);
            }
        }
        self.set_role(if self.position.is_some() { Phase::Running } else { Phase::Beginning });
    }

    /// Reads, logs, learns and scores, and writes one tick; returns early when the mailbox has something and the
    /// tick is not logged yet.
    async fn tick(&mut self, tick: i64) {
        let input = match self.read_tick(tick).await {
            TickRead::Input(input) => input,
            TickRead::Interrupted => return,
            TickRead::Record { rank, record } => {
                self.take(rank, *record).await;
                return;
            }
            TickRead::Adopt { rank } => {
                self.adopt_from(rank).await;
                return;
            }
            TickRead::Skip { to, reason } => {
                self.skip(tick, to, reason).await;
                return;
            }
        };
        if self.log_tick(&input).await == Wait::Interrupted {
            return;
        }
        if !self.alone() {
            self.recorded(Content::Tick(input.clone()), Some(tick));
            self.following.leads_on = true;
            // If another rank has been further, it has written other series, or by another record.
            self.following.failover.forget_confirmed();
        }
        self.end_tick(input).await;
    }

    /// Learns, scores and writes a logged tick, and goes on from there.
    async fn end_tick(&mut self, input: TickInput) {
        let scored = self.score_and_write(&input).await;
        if scored != Scored::Replaced && !self.view.stopping() {
            self.finish(input, scored);
        }
    }

    /// Learns and scores a logged tick, and writes its scores until they are accepted or refused for good, unless that
    /// is for another rank to do. A tick that this leaves behind is written, whatever becomes of the other ranks.
    async fn score_and_write(&mut self, input: &TickInput) -> Scored {
        self.state.courses.note(input);
        self.advise_on_counters();
        self.advise_on_budget(input);
        let turn = self.write_turn(input.tick).await;
        if turn != WriteTurn::Own {
            self.view.journal().standing.writes = false;
            if turn != WriteTurn::Replaced {
                self.state.learn(input, |_, _| true);
                self.note_alarms(input, &[]);
            }
            return turn.into();
        }
        let started = self.context.clock.monotonic();
        let scores = self.state.infer(input);
        let duration = self.context.clock.monotonic().saturating_sub(started);
        let samples = input.valid_samples();
        for model in &self.state.models {
            let labels = self.labels.model(&model.plan.alias);
            if model.fitted_to.is_none() || samples == 0 {
                self.context.metrics.model_run_skipped(&labels, Stage::Infer);
            } else {
                let run = ModelRun { accepted: samples, produced: samples, duration };
                self.context.metrics.model_run(&labels, Stage::Infer, run);
            }
        }
        self.report_unscored(&scores.unscored);
        let turn = self.write_scores(input, &scores).await;
        self.view.journal().standing.writes = turn == WriteTurn::Own;
        if turn == WriteTurn::Own {
            self.note_alarms(input, &self.state.anomalies(input, &scores));
            for model in self.state.models.iter().filter(|model| model.fitted_to.is_some()) {
                if let Some(alarms) = model.expected_alarms(samples, input.grid.step) {
                    self.context.metrics.alarms_were_expected(&self.labels.model(&model.plan.alias), alarms);
                }
            }
        }
        turn.into()
    }

    /// Counts the alarms that begin with a tick, and shows those that are not over.
    fn note_alarms(&mut self, input: &TickInput, anomalies: &[Anomaly]) {
        let gap = alarms::gap(input.grid.step);
        let models = &self.state.models;
        for Anomaly { model, labels, excursions } in anomalies {
            let Some(model) = models.get(*model) else { continue };
            let begun = self.alarms.note(&model.plan.alias, labels, excursions, gap);
            if begun > 0 {
                self.context.metrics.alarms_began(&self.labels.model(&model.plan.alias), begun);
            }
        }
        let has_model = |alias: &str| models.iter().any(|model| model.plan.alias == alias);
        let ended = self.alarms.end(input.tick, gap, has_model);
        if ended || !anomalies.is_empty() {
            let names = (self.labels.scheduler_alias.as_str(), self.labels.query_key.as_str());
            let zone = detector::zone(&self.state.plan.query);
            self.context.alarms.show(&self.view.key, self.alarms.list(names, zone, alarms::MOST_OF_A_JOB));
        }
    }

    /// Says which groups of a multivariate model have no score, and why, where that has changed.
    fn report_unscored(&self, unscored: &[Unscored]) {
        let Some(model) = self.state.models.first() else { return };
        let labels = self.labels.model(&model.plan.alias);
        for _ in unscored {
            self.context.metrics.model_run_skipped(&labels, Stage::Infer);
        }
        let message = unscored.first().map(ToString::to_string).unwrap_or_default();
        if self.view.note_unscored(&message) && !unscored.is_empty() {
            tracing::warn!(job = %self.view.key, model = model.plan.alias, groups = unscored.len(), "{message}");
        }
    }

    /// Ends a tick whose scores are accepted.
    fn finish(&mut self, input: TickInput, scored: Scored) {
        let tick = input.tick;
        self.expire(tick);
        self.advance(tick);
        self.saving.touched(&input, &self.state);
        self.fitting.remember(&mut self.since_fit, input);
        self.report_series();
        self.note_written(tick, scored);
        self.view.written(tick, self.newest_due() > tick);
    }

    fn note_written(&self, tick: i64, scored: Scored) {
        if scored == Scored::Written {
            self.view.journal().standing.written = tick;
        }
    }

    /// The newest tick that is over with is this one.
    fn stand_at(&mut self, position: Option<i64>) {
        self.position = position;
        self.view.position.set(position);
    }

    /// Moves on to `tick` as the newest tick that is over with.
    fn advance(&mut self, tick: i64) {
        let before = self.position.unwrap_or(tick);
        self.stand_at(Some(tick));
        if let Some(fit) = self.schedule.last_fit_within(before, tick) {
            self.fitting.due(fit, &mut self.since_fit);
        }
    }

    async fn skip(&mut self, tick: i64, to: i64, reason: SkipReason) {
        let is_gap = reason == SkipReason::BeyondCatchUp;
        let record = Record::Skipped { job: self.view.key.clone(), from: tick, to, reason: reason.clone() };
        if self.log(&record).await == Wait::Interrupted {
            return;
        }
        self.recorded(Content::Skipped { from: tick, to, reason: reason.clone() }, Some(to));
        let ticks = ((to - tick) / self.schedule.infer_every + 1).unsigned_abs();
        tracing::warn!(job = %self.view.key, from = tick, to, ticks, reason = reason.as_str(), "ticks skipped");
        self.context.metrics.ticks_skipped(&self.labels, reason.as_str(), ticks);
        if is_gap {
            self.context.metrics.gap_ticks.with_label_values(&self.labels.values()).inc_by(ticks);
        }
        self.view.skipped(ticks);
        self.expire(to);
        self.advance(to);
    }

    /// Drops the series that were not seen for the TTL. Checked when the tick passes a multiple of the check
    /// interval, so that a replay drops the same series at the same ticks.
    fn expire(&mut self, tick: i64) {
        let (ttl, interval) = {
            let settings = self.context.settings.borrow();
            (settings.retention_ttl, settings.retention_check_interval)
        };
        let (Some(ttl), Some(interval)) = (ttl, interval) else { return };
        let before = tick - self.schedule.infer_every;
        if tick.div_euclid(interval) == before.div_euclid(interval) {
            return;
        }
        let expired = self.state.series.expire(tick - ttl);
        self.state.reset(&expired);
        self.saving.changed(&expired);
        if !expired.is_empty() {
            tracing::info!(job = %self.view.key, series = expired.len(), "series not seen for the TTL dropped");
            self.context.metrics.series_expired.with_label_values(&self.labels.values()).inc_by(expired.len() as u64);
        }
        if self.context.storage.is_none() {
            let refers = |slot: u32| self.since_fit.iter().any(|input| input.has(slot));
            self.state.series.reclaim(refers);
        }
    }

    /// Puts a plan of the own configuration in force from the next tick on; what has moved stays moved.
    fn apply(&mut self, plan: JobPlan) {
        self.put_in_force(plan.following(&self.state.plan));
    }

    /// Puts a new plan in force from the next tick on.
    fn put_in_force(&mut self, plan: JobPlan) {
        let Share { shards, settled_epoch, progress, .. } = &plan.share;
        tracing::info!(
            job = %self.view.key, shards, epoch = progress.epoch, settled_epoch, "configuration of the job changed"
        );
        self.wanted.take_if(|wanted| wanted.clone().following(&plan) == plan);
        self.forward_to_arrivals(&plan);
        self.fitting.restart();
        let (before, share) = (&self.state.plan.share, &plan.share);
        let is_new_epoch = before.progress.epoch < share.progress.epoch;
        let other_series = (before.shard, before.shards, &before.spread) != (share.shard, share.shards, &share.spread);
        if is_new_epoch && other_series && share.previous.is_empty() && self.state.fitted() {
            self.fitting.newcomers(&self.state.series);
        }
        if is_new_epoch && share.is_new() {
            // From an epoch before the former ones: others have gone on with it since.
            let foreign = self.state.series.retain(|_| false);
            self.state.reset(&foreign);
            self.since_fit.clear();
            self.fitting.forget();
            self.stand_at(None);
            self.view.journal().standing.written = i64::MIN;
        }
        self.schedule =
            Schedule::new(&plan.scheduler, &plan.scheduler_alias, &plan.query_alias, self.context.clock.now());
        if self.state.plan.scheduler.infer_every != plan.scheduler.infer_every {
            // Ticks lie on another grid now, and every signature has changed: begin as a new job does.
            self.stand_at(None);
            self.lineage.era += 1;
            self.since_fit.clear();
        }
        let former: Vec<String> = self.state.models.iter().map(|model| model.plan.alias.clone()).collect();
        self.state.apply(plan);
        for alias in former.iter().filter(|alias| self.state.models.iter().all(|model| model.plan.alias != **alias)) {
            self.context.metrics.remove_model(&self.labels.model(alias));
        }
        self.saving.all_changed(&self.state);
        self.announce();
        self.report_series();
    }

    /// Makes the job's metrics and status appear.
    fn announce(&self) {
        self.context.metrics.add_job(&self.labels);
        self.stages_counted.set(None);
        self.view.set_plan(&self.state.plan);
        for model in &self.state.models {
            self.context.metrics.add_model(&self.labels.model(&model.plan.alias));
        }
        self.view.set_models(self.state.models.iter().map(|model| (model.plan.alias.clone(), model.fitted_to)));
    }

    fn report_series(&self) {
        if self.is_arrival() {
            return;
        }
        let active = i64::try_from(self.state.series.active()).unwrap_or(i64::MAX);
        self.context.metrics.series_active.with_label_values(&self.labels.values()).set(active);
        for model in &self.state.models {
            let instances = i64::try_from(self.state.instances()).unwrap_or(i64::MAX);
            let count = if model.fitted_to.is_some() { instances } else { 0 };
            let labels = self.labels.model(&model.plan.alias);
            self.context.metrics.models_active.with_label_values(&labels.values()).set(count);
        }
        self.view.set_series(active.unsigned_abs());
        let now = self.context.clock.monotonic();
        if self.stages_counted.get().is_none_or(|last| now.saturating_sub(last) >= COUNT_STAGES_EVERY) {
            self.stages_counted.set(Some(now));
            for (position, model) in self.state.models.iter().enumerate() {
                let labels = self.labels.model(&model.plan.alias);
                self.context.metrics.models_by_stage(&labels, self.state.stages(position));
            }
        }
    }

    /// Waits until `tick` may be read; snapshots are written meanwhile.
    async fn wait_until_due(&mut self, tick: i64) -> Wait {
        if self.wait_for_server_time().await == Wait::Interrupted {
            return Wait::Interrupted;
        }
        let settle = self.context.settle();
        let due = self.schedule.due_at(tick, settle);
        let mut saved = false;
        loop {
            let now = self.context.agreed_now();
            self.report_lag(due);
            if now >= due && saved {
                return Wait::Over;
            }
            // Also when ticks are always due, one block is written between two of them.
            saved = true;
            let pause = self.save_due_block().await;
            if now >= due {
                continue;
            }
            self.view.set_phase(JobPhase::Running);
            let remaining = Duration::from_millis((due - now).unsigned_abs());
            let longest = if self.is_moving() { LOOK_AT_HANDOVERS_AFTER } else { LONGEST_SLEEP };
            let sleep = remaining.min(longest).min(pause.unwrap_or(longest));
            if self.sleep(sleep).await == Wait::Interrupted || self.is_moving() {
                return Wait::Interrupted;
            }
        }
    }

    fn report_lag(&self, due: i64) {
        let lag = Duration::from_millis((self.context.clock.now() - due).max(0).unsigned_abs());
        if !self.is_arrival() {
            self.context.metrics.job_position(&self.labels, lag, self.view.standing_still());
        }
        self.view.set_lag(lag);
        let monotonic = self.context.clock.monotonic();
        if let Some(skew) = self.context.server_time.borrow().skew(self.context.clock.now(), monotonic) {
            // A `Date` says no more than the second.
            let skew = if skew.abs() < 1_000 { 0 } else { skew };
            self.context.metrics.clock_skew.with_label_values(&self.labels.values()).set(skew as f64 / 1e3);
        }
    }

    /// Waits until both clocks are past `time`.
    async fn wait_until(&self, time: i64) -> Wait {
        loop {
            let now = self.context.agreed_now();
            if now >= time {
                return Wait::Over;
            }
            let remaining = Duration::from_millis((time - now).unsigned_abs());
            if self.sleep(remaining.min(LONGEST_SLEEP)).await == Wait::Interrupted {
                return Wait::Interrupted;
            }
        }
    }

    fn lacks_server_time(&self) -> bool {
        let known = self.context.server_time.borrow().at(self.context.clock.monotonic()).is_some();
        !known && !self.context.without_server_time.get()
    }

    /// Asks the TSDB for its time, once. One rank among several returns when there is no answer: others may have one.
    async fn wait_for_server_time(&self) -> Wait {
        let mut pauses = crate::context::backoff();
        loop {
            if !self.lacks_server_time() {
                return Wait::Over;
            }
            match self.context.tsdb().server_time().await {
                Ok(time) => self.context.observe_server_time(time),
                Err(error) => {
                    self.stand_still(error.kind(), &error.to_string());
                    let pause = pauses.next().unwrap_or(LONGEST_SLEEP);
                    if !self.alone() || self.sleep(pause).await == Wait::Interrupted {
                        return Wait::Interrupted;
                    }
                }
            }
        }
    }

    /// Says why the job waits for something outside.
    fn stand_still(&self, kind: ErrorKind, why: &str) {
        if self.view.stand_still(kind, why) {
            tracing::warn!(job = %self.view.key, reason = why, "the job stands still");
        }
    }

    async fn sleep(&self, duration: Duration) -> Wait {
        if self.view.has_mail() {
            return Wait::Interrupted;
        }
        tokio::select! {
            biased;
            () = self.view.changed() => if self.view.has_mail() { Wait::Interrupted } else { Wait::Over },
            () = self.context.clock.sleep(duration) => Wait::Over,
        }
    }
}
