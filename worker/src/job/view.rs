//! What a job and the rest of the worker see of each other.

use std::{
    cell::{Cell, Ref, RefCell, RefMut},
    rc::Rc,
    time::Duration,
};

use config::status::{ErrorKind, JobPhase, JobStatus, ModelStatus};
use tokio::sync::Notify;

use crate::{
    engine::JobState,
    fit::FitResult,
    metrics::JobLabels,
    peers::{Lineage, journal::Journal},
    plan::JobPlan,
    share::Handover,
};

/// What others put in for the job.
#[derive(Default)]
pub struct Mailbox {
    /// The plan to go on with from the next tick on.
    pub plan: Option<JobPlan>,
    /// End the job.
    pub stop: bool,
    /// The result of the fit number `.0`; `None` if it was cancelled.
    pub fit: Option<(u64, Option<FitResult>)>,
    /// Something about a hand-over has changed.
    pub handover: bool,
    /// Asks a job of arrived series for its state as of this tick, ms.
    pub give: Option<i64>,
    /// The answer to that; the inner one is `None` where the job stands elsewhere, or fits.
    pub given: Option<(Handover, Option<Box<Given>>)>,
    /// Hand-overs that have failed.
    pub failed: Vec<Handover>,
}

/// The state of arrived series, to join those that were here before.
pub struct Given {
    /// The states.
    pub state: JobState,
    /// After this tick, ms.
    pub position: i64,
    /// Where they come from.
    pub lineage: Lineage,
}

/// The shared face of one job.
pub struct JobView {
    /// The job's name.
    pub key: String,
    /// Its labels in metrics.
    pub labels: JobLabels,
    mailbox: RefCell<Mailbox>,
    notify: Notify,
    status: RefCell<JobStatus>,
    refusal: RefCell<String>,
    /// Why a group of a multivariate model had no score last.
    unscored: RefCell<String>,
    journal: RefCell<Journal>,
    /// The configuration in force.
    plan: RefCell<Option<Rc<JobPlan>>>,
    restored: Cell<bool>,
    /// Where the job stands, ms.
    pub position: Cell<Option<i64>>,
    /// When its rank asked the others last, if it is to decide what comes next.
    pub leads_since: Cell<Option<Duration>>,
    /// The hand-over whose series it has, if they have not joined the others yet.
    pub arrival: Option<Handover>,
    /// The first tick that a restart would need from the input log.
    pub needed_from: Cell<Option<i64>>,
}

impl JobView {
    /// The face of a job that has not begun.
    #[must_use]
    pub fn new(plan: &JobPlan, journal: Journal) -> Self {
        let status = JobStatus {
            scheduler: plan.scheduler_alias.clone(),
            query: plan.query_alias.clone(),
            phase: JobPhase::Fitting,
            models: std::collections::BTreeMap::new(),
            last_written_tick_ms: None,
            position_ms: None,
            chain: None,
            next_tick_ms: None,
            lag_ms: 0,
            active_series: 0,
            refused_series: 0,
            collided_series: 0,
            counters_without_rate: false,
            beyond_alarm_budget: false,
            last_error: None,
            last_error_kind: None,
            skipped_ticks: 0,
            epoch: plan.share.progress.epoch,
            // As the topology asks for them, until the job has looked which of them it has made before.
            open_handovers: (plan.share.arrivals().len() + plan.share.departures().len()) as u64,
        };
        Self {
            key: plan.key(),
            labels: JobLabels {
                query_key: plan.metrics_key(),
                scheduler_alias: plan.scheduler_alias.clone(),
                preset: plan.output.preset.clone(),
            },
            mailbox: RefCell::default(),
            notify: Notify::new(),
            status: RefCell::new(status),
            refusal: RefCell::default(),
            unscored: RefCell::default(),
            journal: RefCell::new(journal),
            plan: RefCell::default(),
            restored: Cell::new(false),
            position: Cell::new(None),
            leads_since: Cell::new(None),
            arrival: plan.share.arrival,
            needed_from: Cell::new(None),
        }
    }

    /// The configuration in force, once the job has begun.
    #[must_use]
    pub fn plan(&self) -> Option<Rc<JobPlan>> {
        self.plan.borrow().clone()
    }

    /// The configuration in force is this one now.
    pub fn set_plan(&self, plan: &JobPlan) {
        *self.plan.borrow_mut() = Some(Rc::new(plan.clone()));
    }

    /// What others put in; call [`JobView::wake`] afterwards.
    pub fn mailbox(&self) -> RefMut<'_, Mailbox> {
        self.mailbox.borrow_mut()
    }

    /// Wakes the job.
    pub fn wake(&self) {
        self.notify.notify_one();
    }

    /// Wakes the job, because something about its hand-overs has changed.
    pub(super) fn note_handover(&self) {
        self.mailbox().handover = true;
        self.wake();
    }

    /// Returns when somebody wakes the job.
    pub async fn changed(&self) {
        self.notify.notified().await;
    }

    /// Whether something waits that interrupts the job's waiting.
    #[must_use]
    pub fn has_mail(&self) -> bool {
        let mailbox = self.mailbox.borrow();
        mailbox.stop
            || mailbox.plan.is_some()
            || mailbox.fit.is_some()
            || mailbox.handover
            || mailbox.give.is_some()
            || self.journal.borrow().wants_image()
    }

    /// What the job offers to other ranks.
    pub fn journal(&self) -> RefMut<'_, Journal> {
        self.journal.borrow_mut()
    }

    /// Whether the job is to end.
    #[must_use]
    pub fn stopping(&self) -> bool {
        self.mailbox.borrow().stop
    }

    /// The plan that was put in, once.
    pub fn take_plan(&self) -> Option<JobPlan> {
        self.mailbox.borrow_mut().plan.take()
    }

    /// The status as it is now.
    pub fn status(&self) -> Ref<'_, JobStatus> {
        self.status.borrow()
    }

    /// The status, with what other ranks' states can be compared by.
    pub fn comparable_status(&self) -> JobStatus {
        let mut status = self.status.borrow().clone();
        let standing = self.journal.borrow().standing;
        if standing.is_comparable() {
            status.position_ms = Some(standing.position);
            status.chain = Some(format!("{:016x}", standing.lineage.chain));
        }
        status
    }

    /// Whether the state of a former process is taken in.
    #[must_use]
    pub fn is_restored(&self) -> bool {
        self.restored.get()
    }

    pub(super) fn restored(&self) {
        self.restored.set(true);
    }

    pub(super) fn set_phase(&self, phase: JobPhase) {
        self.status.borrow_mut().phase = phase;
    }

    pub(super) fn set_next(&self, tick: i64) {
        self.status.borrow_mut().next_tick_ms = Some(tick);
    }

    /// A fit that cannot read says so itself: that stays.
    pub(super) fn set_waiting_for_fit(&self) {
        let mut status = self.status.borrow_mut();
        if status.phase != JobPhase::StandingStill {
            status.phase = JobPhase::Fitting;
        }
    }

    pub(super) fn standing_still(&self) -> bool {
        self.status.borrow().phase == JobPhase::StandingStill
    }

    /// Returns whether the reason is a new one.
    pub(super) fn stand_still(&self, kind: ErrorKind, why: &str) -> bool {
        let mut status = self.status.borrow_mut();
        let new = status.phase != JobPhase::StandingStill || status.last_error.as_deref() != Some(why);
        status.phase = JobPhase::StandingStill;
        status.last_error = Some(why.to_owned());
        status.last_error_kind = Some(kind);
        new
    }

    pub(super) fn note_error(&self, kind: ErrorKind, why: &str) {
        let mut status = self.status.borrow_mut();
        status.last_error = Some(why.to_owned());
        status.last_error_kind = Some(kind);
    }

    pub(super) fn written(&self, tick: i64, behind: bool) {
        let mut status = self.status.borrow_mut();
        status.last_written_tick_ms = Some(tick);
        status.last_error = None;
        status.last_error_kind = None;
        status.phase = if behind { JobPhase::CatchingUp } else { JobPhase::Running };
    }

    pub(super) fn skipped(&self, ticks: u64) {
        self.status.borrow_mut().skipped_ticks += ticks;
    }

    pub(super) fn set_lag(&self, lag: Duration) {
        self.status.borrow_mut().lag_ms = i64::try_from(lag.as_millis()).unwrap_or(i64::MAX);
    }

    pub(super) fn set_series(&self, active: u64) {
        self.status.borrow_mut().active_series = active;
    }

    pub(super) fn set_refused(&self, over_limit: u64, collided: u64) {
        let mut status = self.status.borrow_mut();
        status.refused_series = over_limit;
        status.collided_series = collided;
    }

    /// Returns whether that is so, and news.
    pub(super) fn note_counters(&self, without_rate: bool) -> bool {
        is_news(&mut self.status.borrow_mut().counters_without_rate, without_rate)
    }

    /// Returns whether that is so, and news.
    pub(super) fn note_alarm_budget(&self, is_beyond: bool) -> bool {
        is_news(&mut self.status.borrow_mut().beyond_alarm_budget, is_beyond)
    }

    /// Returns whether the message, empty where all groups have scores, is a new one.
    pub(super) fn note_unscored(&self, message: &str) -> bool {
        self.unscored.replace(message.to_owned()) != message
    }

    /// Returns whether the message is a new one.
    pub(super) fn note_refusal(&self, message: &str) -> bool {
        let mut refusal = self.refusal.borrow_mut();
        let new = *refusal != message;
        message.clone_into(&mut refusal);
        new
    }

    pub(super) fn set_topology(&self, epoch: u64, open_handovers: u64) {
        let mut status = self.status.borrow_mut();
        status.epoch = epoch;
        status.open_handovers = open_handovers;
    }

    pub(super) fn set_models(&self, models: impl Iterator<Item = (String, Option<i64>)>) {
        self.status.borrow_mut().models =
            models.map(|(alias, fitted_to_ms)| (alias, ModelStatus { fitted_to_ms })).collect();
    }
}

/// Notes whether something is so now, and returns whether it is and was not.
fn is_news(flag: &mut bool, is_so: bool) -> bool {
    let was_so = std::mem::replace(flag, is_so);
    is_so && !was_so
}
