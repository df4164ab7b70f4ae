//! When a job fits, and how a fit takes over.

use std::{
    cell::Cell,
    collections::{HashSet, VecDeque},
    rc::Rc,
};

use super::{Job, Wait};
use crate::{
    context::Environment,
    engine::TickInput,
    fit::{self, FitRequest, FitResult, FitScope},
    input_log::Record,
    labels::Labels,
    metrics::{ModelRun, Stage},
    series::{ByLabels, SeriesTable},
};

/// The fits of one job: at most one at a time.
#[derive(Default)]
pub(super) struct Fitting {
    number: u64,
    running: Option<Running>,
    ready: Option<FitResult>,
    due: Option<i64>,
    /// Series that have a state; all others are to be fitted, because they have moved here.
    newcomers_beside: Option<ByLabels<()>>,
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

    /// Gives up the fit that runs or waits, to begin it again.
    pub(super) fn restart(&mut self) {
        self.due = [self.due, self.fitted_to()].into_iter().flatten().max();
        self.cancel();
    }

    /// Other series than those in the table belong to this worker now too.
    pub(super) fn newcomers(&mut self, series: &SeriesTable) {
        self.newcomers_beside = Some(series.series().map(|(_, series)| (series.labels.clone(), ())).collect());
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
                Some(last) => !unfitted && (newcomers.is_some() || last < fitted_to),
            })
            .map(|model| model.plan.clone())
            .collect();
        if plan.models.is_empty() {
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
        }
    }

    /// Whether tick `tick` has to wait for the running fit: nothing is fitted yet, or `fit_lag` fixes the moment.
    pub(super) fn must_wait_for_fit(&self, tick: i64) -> bool {
        let Some(running) = &self.fitting.running else { return false };
        let lag = self.state.plan.scheduler.fit_lag;
        !self.state.fitted() || (!running.partial && lag.is_some_and(|lag| tick >= running.fitted_to + lag))
    }

    /// Lets a finished fit take over before `tick`, if it is time. The fit first learns the ticks after its window,
    /// then becomes durable, and only then scores.
    pub(super) async fn take_over_fit(&mut self, tick: i64) -> Wait {
        let lag = self.state.plan.scheduler.fit_lag;
        let fixed = |result: &FitResult| {
            !result.partial && lag.is_some_and(|lag| tick < result.fitted_to + lag) && self.state.fitted()
        };
        if self.fitting.ready.as_ref().is_none_or(fixed) {
            return Wait::Over;
        }
        let Some(result) = self.fitting.ready.take() else { return Wait::Over };
        let fitted_to = result.fitted_to;
        let models: Vec<String> = result.state.models.iter().map(|model| model.plan.alias.clone()).collect();
        let since_fit = std::mem::take(&mut self.since_fit);
        self.adopt(&result, since_fit.iter());
        self.since_fit = since_fit;
        let due = self.fitting.due;
        self.since_fit.retain(|input| due.is_some_and(|due| input.tick > due));
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
        let fitted: HashSet<u32> = slots.iter().map(|(_, slot)| *slot).collect();
        for input in since_fit.filter(|input| input.tick > result.fitted_to) {
            // A series that the window did not have goes on with the state that has learnt these ticks already.
            self.state.learn(&input.filtered(|slot| fitted.contains(&slot)), |_, model| replaced.contains(&model));
            self.state.learn(input, |_, model| first.contains(&model));
        }
        self.saving.all_changed(&self.state);
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
            for model in &self.state.models {
                let labels = self.labels.model(&model.plan.alias);
                self.context.metrics.refits_unscheduled.with_label_values(&labels.values()).inc();
            }
            self.adopt(&result, since_fit.iter());
        }
    }
}
