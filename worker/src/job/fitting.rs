//! When a job fits, and how a fit takes over.

use std::{
    cell::Cell,
    collections::{BTreeMap, HashSet, VecDeque},
    rc::Rc,
    time::Duration,
};

use super::{Job, Wait, following::ANSWER_WITHIN};
use crate::{
    context::Environment,
    engine::{JobState, TickInput},
    fit::{self, FitRequest, FitResult, FitScope},
    input_log::Record,
    labels::Labels,
    metrics::{ModelLabels, ModelRun, Stage},
    peers::{
        Answer, Lineage, Member, Request,
        journal::{self, Content, SharedFit, Takeover},
    },
    series::{ByLabels, SeriesTable},
    snapshot,
};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// How many times in a row a part of another rank's fit is asked for again that does not come. The alternative is that
/// rank's whole state.
const ASK_AGAIN: u32 = 2;

/// The fits of one job: at most one at a time.
#[derive(Default)]
pub(super) struct Fitting {
    number: u64,
    running: Option<Running>,
    ready: Option<FitResult>,
    /// Of the states of the fit that waits.
    digest: u64,
    due: Option<i64>,
    /// Series that have a state; all others are to be fitted, because they have moved here.
    newcomers_beside: Option<ByLabels<()>>,
    /// End of the newest fit that has taken over in this process.
    taken_over: Option<i64>,
}

struct Running {
    fitted_to: i64,
    partial: bool,
    cancelled: Rc<Cell<bool>>,
}

impl Fitting {
    /// A scheduled fit has become due; ticks that it sees itself need not be kept for it.
    pub(super) fn due(&mut self, fitted_to: i64, since_fit: &mut VecDeque<TickInput>) {
        self.due = Some(fitted_to);
        if self.fitted_to().is_none() {
            since_fit.clear();
        }
    }

    /// Keeps a tick that a due, running or finished fit has not seen.
    pub(super) fn remember(&self, since_fit: &mut VecDeque<TickInput>, input: TickInput) {
        if [self.fitted_to(), self.due].into_iter().flatten().any(|fitted_to| fitted_to < input.tick) {
            since_fit.push_back(input);
        }
    }

    /// The first tick that must stay readable in the log for the fit that is due or under way.
    pub(super) fn needs_after(&self) -> Option<i64> {
        [self.fitted_to(), self.due].into_iter().flatten().min()
    }

    /// The end of the fit that runs or waits to take over.
    fn fitted_to(&self) -> Option<i64> {
        self.running.as_ref().map(|running| running.fitted_to).or(self.ready.as_ref().map(|ready| ready.fitted_to))
    }

    /// Gives up every fit, due ones included.
    pub(super) fn forget(&mut self) {
        self.cancel();
        self.due = None;
        self.newcomers_beside = None;
        self.taken_over = None;
    }

    /// Whether a fit of this end, or a later one, has taken over here, if only for some series.
    pub(super) fn has_taken_over(&self, fitted_to: i64) -> bool {
        self.taken_over >= Some(fitted_to)
    }

    /// Gives up the fit that runs or waits, to begin it again.
    pub(super) fn restart(&mut self) {
        self.due = [self.due, self.fitted_to()].into_iter().flatten().max();
        self.cancel();
    }

    /// Other series than those in the table belong to this worker now too.
    pub(super) fn newcomers(&mut self, series: &SeriesTable) {
        self.newcomers_beside = Some(series.series().map(|(_, series)| (series.labels.clone(), ())).collect());
    }

    /// End and digest of the fit that waits to take over.
    pub(super) fn ready_fit(&self) -> Option<(i64, u64)> {
        self.ready.as_ref().map(|ready| (ready.fitted_to, self.digest))
    }

    /// Whether no fit runs, waits or is due.
    pub(super) fn rests(&self) -> bool {
        self.is_idle() && self.due.is_none() && self.newcomers_beside.is_none()
    }

    /// Whether no fit runs or waits.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_none() && self.ready.is_none()
    }

    /// Gives up the fit that runs or waits.
    pub(super) fn cancel(&mut self) {
        if let Some(running) = self.running.take() {
            running.cancelled.set(true);
        }
        self.ready = None;
        self.number += 1;
    }
}

/// A finished fit as other ranks get it.
fn shared(job: &str, result: &FitResult, plan: u64) -> Option<SharedFit> {
    let state = &result.state;
    let blocks = state.images(result.fitted_to, Lineage::default());
    let states = blocks.iter().flat_map(|block| {
        block.models.iter().flat_map(|model| {
            let alias = xxh3_64(model.alias.as_bytes());
            let states = block.series.iter().zip(&model.states);
            states.filter_map(move |(series, state)| {
                Some(xxh3_64_with_seed(state.as_deref()?, series.labels.hash() ^ alias))
            })
        })
    });
    Some(SharedFit {
        fitted_to: result.fitted_to,
        partial: result.partial,
        models: state.models.iter().map(|model| model.plan.alias.clone()).collect(),
        plan,
        samples: result.samples,
        // A sum does not depend on the order of the slots.
        digest: states.fold(1, u64::wrapping_add),
        blocks: journal::encoded(job, &blocks)?,
    })
}

impl<E: Environment> Job<E> {
    /// Starts the fit that is due: of models without a state at once, of the others on their schedule.
    pub(super) fn start_due_fit(&mut self, position: i64) {
        if self.fitting.running.is_some() || self.fitting.ready.is_some() {
            return;
        }
        let unfitted = self.state.models.iter().any(|model| model.fitted_to.is_none());
        let newcomers = self.fitting.newcomers_beside.take_if(|_| !unfitted && self.fitting.due.is_none());
        let fitted_to = if unfitted || newcomers.is_some() { Some(position) } else { self.fitting.due.take() };
        let Some(fitted_to) = fitted_to else { return };
        if !unfitted {
            // A fit of everything has the newcomers too.
            self.fitting.newcomers_beside = None;
        }
        let mut plan = self.state.plan.clone();
        plan.models = self
            .state
            .models
            .iter()
            .filter(|model| match model.fitted_to {
                None => unfitted,
                Some(_) => !unfitted && (newcomers.is_some() || model.is_due_for(fitted_to)),
            })
            .map(|model| model.plan.clone())
            .collect();
        if plan.models.is_empty() {
            let due = self.fitting.due;
            self.since_fit.retain(|input| due.is_some_and(|due| input.tick > due));
            return;
        }
        let needed_after = self.fitting.due.map_or(fitted_to, |due| due.min(fitted_to));
        self.since_fit.retain(|input| input.tick > needed_after);
        self.fitting.number += 1;
        let cancelled = Rc::new(Cell::new(false));
        self.fitting.running = Some(Running { fitted_to, partial: newcomers.is_some(), cancelled: cancelled.clone() });
        let request = FitRequest {
            plan,
            fitted_to,
            placed: self.placed(),
            scope: newcomers.map_or(FitScope::All, FitScope::Except),
            cancelled,
        };
        let (context, view, labels) = (self.context.clone(), self.view.clone(), self.labels.clone());
        let number = self.fitting.number;
        let nothing_fitted = !self.state.fitted();
        tracing::info!(job = %view.key, fitted_to, "fit started");
        self.context.spawn(Box::pin(async move {
            let result = fit::fit(&context, &labels, request, &|error| {
                let message = format!("the fit cannot read: {error}");
                if nothing_fitted {
                    view.stand_still(error.kind(), &message);
                } else {
                    view.note_error(error.kind(), &message);
                }
                tracing::warn!(job = %view.key, "{message}");
            })
            .await;
            view.mailbox().fit = Some((number, result));
            view.wake();
        }));
    }

    /// The series that have a place, in the order of their slots.
    fn placed(&self) -> Vec<Labels> {
        self.state.series.series().map(|(_, series)| series.labels.clone()).collect()
    }

    /// Takes the result of the running fit out of the mailbox.
    pub(super) fn receive_fit(&mut self) {
        let arrived = self.view.mailbox().fit.take();
        if let Some((number, result)) = arrived
            && number == self.fitting.number
        {
            self.fitting.running = None;
            self.fitting.ready = result;
            self.offer_fit();
        }
    }

    /// Puts the fit that waits to take over on offer.
    pub(super) fn offer_fit(&mut self) {
        if self.alone() {
            return;
        }
        let fit = self.fitting.ready.as_ref().and_then(|ready| shared(&self.view.key, ready, self.state.plan.digest()));
        self.fitting.digest = fit.as_ref().map_or(0, |fit| fit.digest);
        self.view.journal().offer_fit(fit);
    }

    /// Fetches a finished fit from another rank, to take over as if it had been made here. Returns whether it is there.
    pub(super) async fn fetch_fit(&mut self, rank: u32, fitted_to: i64, digest: Option<u64>) -> bool {
        let member = Member { rank, ..self.context.place.get().member };
        let mut blocks = Vec::new();
        let mut encoded = Vec::new();
        let mut unanswered = 0;
        let fit = loop {
            let block = u32::try_from(encoded.len()).unwrap_or(u32::MAX);
            let request = Request::Fit { fitted_to, block };
            let (fit, block) = match self.ask_member(member, &self.view.key, &request, ANSWER_WITHIN).await {
                Some(Answer::Fit { fit, block }) => (fit, block),
                // One that has just taken it over is busy with that.
                None if unanswered < ASK_AGAIN && !self.view.stopping() => {
                    unanswered += 1;
                    continue;
                }
                _ => return false,
            };
            unanswered = 0;
            if fit.plan != self.state.plan.digest() || digest.is_some_and(|digest| digest != fit.digest) {
                return false;
            }
            let Some(block) = block else { break fit };
            let Some(states) = snapshot::decode_block(&block) else { return false };
            blocks.push(states);
            encoded.push(block);
        };
        let mut plan = self.state.plan.clone();
        plan.models.retain(|model| fit.models.contains(&model.alias));
        let mut state = JobState::new(plan);
        for model in &mut state.models {
            model.fitted_to = Some(fitted_to);
        }
        for block in &blocks {
            for series in &block.series {
                state.series.put(series.slot, &series.labels, series.last_seen);
            }
            state.grow();
            if let Err(error) = state.load_block(block) {
                tracing::error!(job = %self.view.key, rank, %error, "another rank's fit cannot be used");
                return false;
            }
        }
        tracing::info!(job = %self.view.key, rank, fitted_to, "fit taken from another rank");
        self.fitting.cancel();
        self.fitting.due = self.fitting.due.filter(|due| *due > fitted_to);
        let due = self.fitting.due.map_or(fitted_to, |due| due.min(fitted_to));
        self.since_fit.retain(|input| input.tick > due);
        let SharedFit { partial, samples, .. } = *fit;
        self.fitting.ready = Some(FitResult {
            partial,
            fitted_to,
            state,
            samples,
            refused: Vec::new(),
            cut: Vec::new(),
            learning: Duration::ZERO,
        });
        self.fitting.digest = fit.digest;
        self.view.journal().offer_fit(Some(SharedFit { blocks: encoded, ..SharedFit::clone(&fit) }));
        true
    }

    /// Whether a fit could be started now.
    pub(super) fn may_start_fit(&self) -> bool {
        self.fitting.is_idle()
            && (self.fitting.due.is_some()
                || self.fitting.newcomers_beside.is_some()
                || self.state.models.iter().any(|model| model.fitted_to.is_none()))
    }

    /// Whether something has to be done before `tick` by the rank that decides.
    pub(super) fn has_something_to_decide(&self, tick: i64) -> bool {
        !self.alone() && (self.wanted.is_some() || self.may_start_fit() || self.may_take_over_fit(tick))
    }

    /// Whether tick `tick` has to wait for the running fit: nothing is fitted yet, or `fit_lag` fixes the moment.
    pub(super) fn must_wait_for_fit(&self, tick: i64) -> bool {
        let Some(running) = &self.fitting.running else { return false };
        let lag = self.state.plan.scheduler.fit_lag;
        !self.state.fitted() || (!running.partial && lag.is_some_and(|lag| tick >= running.fitted_to + lag))
    }

    /// Whether a finished fit may take over before `tick`.
    pub(super) fn may_take_over_fit(&self, tick: i64) -> bool {
        let lag = self.state.plan.scheduler.fit_lag;
        let fixed = |result: &FitResult| {
            !result.partial && lag.is_some_and(|lag| tick < result.fitted_to + lag) && self.state.fitted()
        };
        self.fitting.ready.as_ref().is_some_and(|result| !fixed(result))
    }

    /// Lets a finished fit take over before `tick`. It first learns the ticks after its window, then becomes durable,
    /// and only then scores.
    pub(super) async fn put_fit_in_force(&mut self, tick: i64) -> Wait {
        let Some(result) = self.fitting.ready.take() else { return Wait::Over };
        let fitted_to = result.fitted_to;
        let models: Vec<String> = result.state.models.iter().map(|model| model.plan.alias.clone()).collect();
        let since_fit = std::mem::take(&mut self.since_fit);
        self.adopt(&result, since_fit.iter());
        self.fitting.taken_over = self.fitting.taken_over.max(Some(fitted_to));
        self.since_fit = since_fit;
        let due = self.fitting.due;
        self.since_fit.retain(|input| due.is_some_and(|due| input.tick > due));
        if !self.alone() {
            self.recorded(Content::TakenOver(Takeover { fitted_to, digest: self.fitting.digest }), self.position);
        }
        self.save_everything().await;
        for model in &models {
            let record = Record::Fit { job: self.view.key.clone(), model: model.clone(), fitted_to, from: tick };
            if self.log(&record).await == Wait::Interrupted && self.view.stopping() {
                return Wait::Interrupted;
            }
        }
        tracing::info!(
            job = %self.view.key, fitted_to, from = tick, series = result.state.series.active(),
            samples = result.samples, "fit took over"
        );
        self.announce();
        self.report_series();
        Wait::Over
    }

    /// Puts a fit's states in force, and lets them learn the ticks that came after its window.
    pub(super) fn adopt<'a>(&mut self, result: &FitResult, since_fit: impl Iterator<Item = &'a TickInput>) {
        let limit = self.state.plan.series_limit();
        let mut fitted: Vec<(u32, Labels)> =
            result.state.series.series().map(|(slot, series)| (slot, series.labels.clone())).collect();
        fitted.sort_by_key(|(_, labels)| labels.hash());
        let mut slots = Vec::with_capacity(fitted.len());
        for (fit_slot, labels) in fitted {
            let known = self.state.series.slot_of(&labels);
            let has_state = (0..result.state.models.len()).any(|model| result.state.save(fit_slot, model).is_some());
            if has_state && (known.is_some() || self.state.series.active() < limit) {
                slots.push((fit_slot, self.state.series.place(&labels, result.fitted_to)));
            }
        }
        self.state.grow();
        let mut replaced = Vec::new();
        let mut first = Vec::new();
        for (position, fit_model) in result.state.models.iter().enumerate() {
            let labels = self.labels.model(&fit_model.plan.alias);
            self.report_refused(result, position, &labels);
            self.report_cut(result, position, &labels);
            let target =
                self.state.models.iter().position(|model| {
                    model.plan.alias == fit_model.plan.alias && model.signature == fit_model.signature
                });
            let Some(target) = target else { continue };
            for (fit_slot, slot) in &slots {
                let Some(state) = result.state.save(*fit_slot, position) else { continue };
                if let Err(error) = self.state.load(*slot, target, &state) {
                    tracing::error!(job = %self.view.key, model = fit_model.plan.alias, %error, "a fitted state cannot be used");
                    self.context.metrics.model_run_failed(&labels, Stage::Fit);
                }
            }
            let fitted_to = &mut self.state.models[target].fitted_to;
            let before = *fitted_to;
            // The schedule of the other series' fits goes on as it was when only some series were fitted.
            *fitted_to = before.filter(|_| result.partial).or(Some(result.fitted_to));
            if before.is_some() {
                replaced.push(target)
            } else {
                first.push(target)
            }
            if result.samples == 0 {
                self.context.metrics.model_run_skipped(&labels, Stage::Fit);
            } else {
                let run = ModelRun { accepted: result.samples, produced: 0, duration: result.learning };
                self.context.metrics.model_run(&labels, Stage::Fit, run);
            }
            let status = if result.partial { "partial" } else { "success" };
            self.context.metrics.fit_finished(&labels, status);
        }
        for (group, channels) in self.state.crowded_groups() {
            tracing::warn!(job = %self.view.key, %group, channels, "a group has more channels than recommended_max_channels");
        }
        for (model, needed) in self.state.models_that_cannot_be_ready() {
            let fit_window = self.state.plan.scheduler.fit_window;
            tracing::warn!(
                job = %self.view.key, model, fit_window, needed,
                "fit_window is too short for the model to be ready (ms)"
            );
        }
        self.state.courses.take_over(&result.state.courses, &slots);
        self.advise_on_counters();
        let fitted: HashSet<u32> = slots.iter().map(|(_, slot)| *slot).collect();
        for input in since_fit.filter(|input| input.tick > result.fitted_to) {
            // A series that the window did not have goes on with the state that has learnt these ticks already.
            self.state.learn_in(input, &fitted, |_, model| replaced.contains(&model));
            self.state.learn(input, |_, model| first.contains(&model));
        }
        self.saving.all_changed(&self.state);
    }

    /// Says of how many series a model has no state after a fit, and why.
    fn report_refused(&self, result: &FitResult, position: usize, labels: &ModelLabels) {
        let mut reasons: BTreeMap<String, (usize, u32)> = BTreeMap::new();
        for refused in result.refused.iter().filter(|refused| refused.model == position) {
            self.context.metrics.model_run_failed(labels, Stage::Fit);
            reasons.entry(refused.error.to_string()).or_insert((0, refused.slot)).0 += 1;
        }
        for (reason, (series, slot)) in reasons {
            let example = result.state.series.labels(slot);
            let model = &result.state.models[position].plan.alias;
            tracing::warn!(job = %self.view.key, model, series, %example, reason, "series were not fitted");
        }
    }

    /// Says of how many series a time limit has cut the search short. What was found until then is a fit as any other: it becomes
    /// durable before it scores, and other ranks take over its states, whatever they have found themselves.
    fn report_cut(&self, result: &FitResult, position: usize, labels: &ModelLabels) {
        let series = result.cut.iter().filter(|model| **model == position).count();
        if series > 0 {
            self.context.metrics.searches_cut.with_label_values(&labels.values()).inc_by(series as u64);
            let model = &result.state.models[position].plan.alias;
            tracing::warn!(job = %self.view.key, model, series, "searches ended by their timeout before all of their trials");
        }
    }

    /// Learns the lost states of some series again from the TSDB.
    pub(super) async fn rebuild(&mut self, only: ByLabels<()>, fitted_to: i64, since_fit: &[TickInput]) {
        let cancelled = Rc::new(Cell::new(false));
        let series = only.len();
        tracing::warn!(job = %self.view.key, series, fitted_to, "states of series are lost and are learnt again from the TSDB");
        let plan = self.state.plan.clone();
        let request = FitRequest {
            plan,
            fitted_to,
            placed: self.placed(),
            scope: FitScope::Only(only),
            cancelled: cancelled.clone(),
        };
        let (context, view, labels) = (self.context.clone(), self.view.clone(), self.labels.clone());
        let report = |error: &crate::environment::ReadError| {
            if view.stopping() {
                cancelled.set(true);
            }
            view.stand_still(error.kind(), &format!("the fit cannot read: {error}"));
        };
        let result = fit::fit(&context, &labels, request, &report).await;
        if let Some(result) = result {
            self.lineage.rebuild(u64::from(self.context.place.get().member.rank), fitted_to);
            for model in &self.state.models {
                let labels = self.labels.model(&model.plan.alias);
                self.context.metrics.refits_unscheduled.with_label_values(&labels.values()).inc();
            }
            self.adopt(&result, since_fit.iter());
        }
    }
}
