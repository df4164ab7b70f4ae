//! The search: which arguments are tried, and how good they are.

use super::args::{Fold, Running, TuningArgs};
use super::space::{Parameter, TrialArgs, Tunable};
use crate::incidents;
use crate::offline::{FitError, Prediction, Window};
use crate::random::Random;
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

/// A trial that gave fits in all folds.
#[derive(Debug, Clone)]
struct Trial<A> {
    /// The place of each parameter that is searched.
    places: Vec<f64>,
    /// What these places are; empty of the first trial.
    values: Vec<f64>,
    args: A,
    loss: f64,
    state_bytes: usize,
}

/// How much of the least loss counts as nearly as good.
const NEAR: f64 = 0.01;

const WIDTH_WEIGHT: f64 = 0.1;

const EXCESS_WEIGHT: f64 = 100.0;

/// A search that goes on trial by trial. It has its own copy of the window.
#[derive(Debug, Clone)]
pub struct Search<A: Tunable> {
    start: A,
    judge: Judge,
    parameters: Vec<&'static Parameter<A>>,
    trials: Vec<Trial<A>>,
    best: Option<Trial<A>>,
    start_loss: Option<f64>,
    failure: Option<FitError>,
    number: u32,
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
        let parameters = A::PARAMETERS.iter().filter(|one| !frozen.contains(&one.name)).collect();
        let (trials, best, start_loss, failure) = (Vec::new(), None, None, None);
        Ok(Self { start, judge, parameters, trials, best, start_loss, failure, number: 0 })
    }

    /// The number of trials so far.
    #[must_use]
    pub fn trials(&self) -> u32 {
        self.number
    }

    /// Whether there is nothing more to try.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.number > 0 && (self.number >= self.judge.tuning.n_trials || self.parameters.is_empty())
    }

    /// Makes a trial, the first one of the arguments that the search starts from.
    pub fn step(&mut self) {
        if self.is_over() {
            return;
        }
        let (places, values, args) = if self.number == 0 { self.first() } else { self.next() };
        match self.judge.trial(places, values, args) {
            Ok(trial) => {
                if self.number == 0 {
                    self.start_loss = Some(trial.loss);
                }
                if self.best.as_ref().is_none_or(|best| trial.loss < best.loss) {
                    self.best = Some(trial.clone());
                }
                self.trials.push(trial);
            }
            Err(error) => {
                self.failure.get_or_insert(error);
            }
        }
        self.number += 1;
    }

    fn first(&self) -> (Vec<f64>, Vec<f64>, A) {
        let place = |parameter: &&Parameter<A>| parameter.scale.place((parameter.get)(&self.start));
        (self.parameters.iter().map(place).collect(), Vec::new(), self.start.clone())
    }

    fn next(&self) -> (Vec<f64>, Vec<f64>, A) {
        let mut random = Random::stream(self.judge.tuning.seed, self.number.into());
        let places: Vec<f64> = match &self.best {
            Some(best) if self.number % 2 == 1 => around(&best.places, &mut random),
            _ => self.parameters.iter().map(|_| random.uniform()).collect(),
        };
        let values: Vec<f64> =
            self.parameters.iter().zip(&places).map(|(parameter, place)| parameter.scale.value(*place)).collect();
        let mut args = self.start.clone();
        for (parameter, value) in self.parameters.iter().zip(&values) {
            (parameter.set)(&mut args, *value);
        }
        (places, values, args)
    }

    /// Ends the search.
    ///
    /// # Errors
    /// When no trial gave a fit: the first one's reason.
    pub fn finish(self) -> Result<Tuned<A>, FitError> {
        let Self { judge, trials, best, start_loss, failure, number, .. } = self;
        let Some(best) = best else {
            return Err(failure.unwrap_or(FitError::Failed { what: "no trial was made" }));
        };
        let limit = (best.loss + NEAR * best.loss.abs()).min(start_loss.unwrap_or(f64::INFINITY));
        let is_simpler = |one: &Trial<A>, other: &Trial<A>| {
            (one.state_bytes, one.loss) < (other.state_bytes, other.loss) && judge.tuning.optimize_complexity
        };
        let near = trials.into_iter().filter(|trial| trial.loss <= limit);
        let chosen = near.fold(best, |chosen, trial| if is_simpler(&trial, &chosen) { trial } else { chosen });
        let Trial { args, values, loss, .. } = chosen;
        Ok(Tuned { args, values, loss, start_loss, trials: number })
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

/// Places near the given ones: one or more of them moved, by up to a third of the scale and mostly by far less.
fn around(places: &[f64], random: &mut Random) -> Vec<f64> {
    let radius = libm::pow(10.0, -0.5 - 2.0 * random.uniform());
    let sure = random.below(places.len());
    let mut near = |(at, place): (usize, &f64)| {
        let (is_moved, step) = (random.uniform() < 0.5, 2.0 * random.uniform() - 1.0);
        if is_moved || at == sure { (place + radius * step).clamp(0.0, 1.0) } else { *place }
    };
    places.iter().enumerate().map(&mut near).collect()
}

/// The median absolute deviation, or the mean one where that is 0, or 1.
fn deviation(values: &[f64]) -> f64 {
    let median = middle(values.to_vec());
    let distances: Vec<f64> = values.iter().map(|value| at_most((value - median).abs(), f64::MAX)).collect();
    let mean = distances.iter().map(|distance| distance / distances.len() as f64).sum::<f64>();
    let candidates = [middle(distances), mean];
    candidates.into_iter().find(|deviation| *deviation > 0.0 && deviation.is_finite()).unwrap_or(1.0)
}

/// The upper median; 0 of nothing.
fn middle(mut values: Vec<f64>) -> f64 {
    let middle = values.len() / 2;
    values.sort_unstable_by(f64::total_cmp);
    values.get(middle).copied().unwrap_or(0.0)
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
    fn trial<A: Tunable>(&mut self, places: Vec<f64>, values: Vec<f64>, args: A) -> Result<Trial<A>, FitError> {
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
        Ok(Trial { places, values, args, loss, state_bytes })
    }

    /// The loss of the predictions of a fold.
    fn loss(&self, values: &[f64]) -> f64 {
        let (mut above, mut distance, mut is_score_only) = (0_u32, 0.0, false);
        let policy = &self.running.policy;
        for (prediction, value) in self.predictions.iter().zip(values) {
            let score = match prediction {
                Prediction::Interval(interval) => {
                    let prepared = policy.prepare(*interval);
                    if prepared.is_some() {
                        distance += self.units((value - prepared.yhat).abs());
                        distance += WIDTH_WEIGHT * self.units(prepared.upper - prepared.lower);
                    }
                    policy.score(prepared, *value, u64::MAX)
                }
                Prediction::BaseScore(score) => {
                    is_score_only = true;
                    policy.score_of_base(*score, *value)
                }
            };
            above += u32::from(score > 1.0);
        }
        let count = values.len() as f64;
        let excess = f64::from(above) / count - self.tuning.anomaly_percentage;
        let excess = if is_score_only { excess.abs() } else { excess.max(0.0) };
        at_most(distance / count + EXCESS_WEIGHT * excess, f64::MAX)
    }

    fn units(&self, distance: f64) -> f64 {
        at_most(distance, f64::MAX) / self.scale
    }
}
