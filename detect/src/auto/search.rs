//! The search: which arguments are tried, and how good they are.

use super::args::{Fold, Running, TuningArgs};
use super::objective::{Tally, deviation};
use super::space::{Parameter, TrialArgs, Tunable};
use super::trials::{Chosen, Trials};
use crate::incidents;
use crate::offline::{FitError, Prediction, Window};
use crate::score::at_most;

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuned<A> {
    /// The best arguments.
    pub args: A,
    /// The values in them that were searched, in the order of [`Tunable::PARAMETERS`] without the frozen ones; empty if the
    /// arguments are those that the search started from.
    pub values: Vec<f64>,
    /// Their loss; see the [module](super).
    pub loss: f64,
    /// The loss of the arguments that the search started from; `None` if they gave no fit.
    pub start_loss: Option<f64>,
    /// The number of trials.
    pub trials: u32,
}

/// A search that goes on trial by trial. It has its own copy of the window.
#[derive(Debug, Clone)]
pub struct Search<A: Tunable> {
    start: A,
    judge: Judge,
    parameters: Vec<&'static Parameter<A>>,
    trials: Trials,
}

impl<A: Tunable> Search<A> {
    /// A search on a window that starts from `start`, which holds the values of all that is not searched: parameters of a name in
    /// `frozen` among them. Trials are of models that run as `running` says. Nothing is tried yet.
    ///
    /// # Errors
    /// When the window has too few finite samples for the folds.
    pub fn new(
        start: A,
        frozen: &[&str],
        window: Window<'_>,
        running: &Running,
        tuning: &TuningArgs,
    ) -> Result<Self, FitError> {
        let mut samples: Vec<(i64, f64)> = window.samples().collect();
        samples.sort_by_key(|(time, _)| *time);
        let folds = tuning.folds(samples.len())?;
        let (times, values): (Vec<i64>, Vec<f64>) = samples.into_iter().unzip();
        let scale = deviation(&values);
        let mut learnt = values.clone();
        if running.exclude_incidents {
            incidents::leave_out(&times, &mut learnt);
        }
        let (running, tuning) = (*running, *tuning);
        let judge = Judge { times, values, learnt, scale, folds, running, tuning, predictions: Vec::new() };
        let parameters: Vec<&'static Parameter<A>> =
            A::PARAMETERS.iter().filter(|one| !frozen.contains(&one.name)).collect();
        let searched = parameters.iter().map(|one| (one.scale, (one.get)(&start)));
        let trials = Trials::new(searched, &tuning);
        Ok(Self { start, judge, parameters, trials })
    }

    /// The number of trials so far.
    #[must_use]
    pub fn trials(&self) -> u32 {
        self.trials.number()
    }

    /// Whether there is nothing more to try.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.trials.is_over()
    }

    /// Makes a trial, the first one of the arguments that the search starts from.
    pub fn step(&mut self) {
        if self.is_over() {
            return;
        }
        let candidate = self.trials.next();
        let args = self.with(&candidate.values);
        let outcome = self.judge.trial(&args);
        self.trials.record(candidate, outcome);
    }

    /// The start with these values, if there are some.
    fn with(&self, values: &[f64]) -> A {
        let mut args = self.start.clone();
        for (parameter, value) in self.parameters.iter().zip(values) {
            (parameter.set)(&mut args, *value);
        }
        args
    }

    /// Ends the search.
    ///
    /// # Errors
    /// When no trial gave a fit: the first one's reason.
    pub fn finish(mut self) -> Result<Tuned<A>, FitError> {
        let Chosen { values, loss, start_loss, trials } = std::mem::take(&mut self.trials).finish()?;
        Ok(Tuned { args: self.with(&values), values, loss, start_loss, trials })
    }
}

/// A whole [`Search`]. `goes_on` is asked before each trial but the first, and given the number of trials so far: it ends the
/// search when its time is up.
///
/// # Errors
/// When the window has too few finite samples for the folds, or no trial gives a fit: then the first one's reason.
pub fn tune<A: Tunable>(
    start: &A,
    frozen: &[&str],
    window: Window<'_>,
    running: &Running,
    tuning: &TuningArgs,
    mut goes_on: impl FnMut(u32) -> bool,
) -> Result<Tuned<A>, FitError> {
    let mut search = Search::new(start.clone(), frozen, window, running, tuning)?;
    search.step();
    while !search.is_over() && goes_on(search.trials()) {
        search.step();
    }
    search.finish()
}

/// Gives arguments their loss.
#[derive(Debug, Clone)]
struct Judge {
    /// Of the finite samples, ascending.
    times: Vec<i64>,
    values: Vec<f64>,
    /// What fits have of them.
    learnt: Vec<f64>,
    /// The unit of errors and widths.
    scale: f64,
    folds: Vec<Fold>,
    running: Running,
    tuning: TuningArgs,
    predictions: Vec<Prediction>,
}

impl Judge {
    /// The loss, and the size of the state.
    fn trial<A: Tunable>(&mut self, args: &A) -> Result<(f64, usize), FitError> {
        let (mut loss, mut state_bytes) = (0.0, 0);
        for fold in &self.folds {
            let part = |(start, end): (usize, usize), values| Window { times: &self.times[start..end], values };
            let points = part(fold.validate, &self.values[fold.validate.0..fold.validate.1]);
            let history = part(fold.train, &self.learnt[fold.train.0..fold.train.1]);
            self.predictions.clear();
            let trial = TrialArgs { exact: self.tuning.exact, safeguards: self.running.safeguards };
            let bytes = args.predict(history, points, trial, &mut self.predictions)?;
            state_bytes = state_bytes.max(bytes);
            loss = at_most(loss + self.loss(points.values) / self.folds.len() as f64, f64::MAX);
        }
        Ok((loss, state_bytes))
    }

    /// The loss of the predictions of a fold.
    fn loss(&self, values: &[f64]) -> f64 {
        let (mut tally, mut is_score_only) = (Tally::default(), false);
        let policy = &self.running.policy;
        for (prediction, value) in self.predictions.iter().zip(values) {
            let score = match prediction {
                Prediction::Interval(interval) => {
                    let prepared = policy.prepare(*interval);
                    tally.compare(prepared, *value, self.scale);
                    policy.score(prepared, *value, u64::MAX)
                }
                Prediction::BaseScore(score) => {
                    is_score_only = true;
                    policy.score_of_base(*score, *value)
                }
            };
            tally.score(score);
        }
        tally.loss(self.tuning.anomaly_percentage, is_score_only)
    }
}
