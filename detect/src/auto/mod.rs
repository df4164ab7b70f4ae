//! `auto`: the arguments of another class, found by trying them out on a series' history.
//!
//! # Objective
//!
//! The history is cut into folds of a training and a validation part. A trial fits a model with its arguments to each training
//! part and scores the validation part; lower losses are better:
//!
//! ```text
//! loss = mean over folds of  error + 0.1 width + 100 max(0, share - anomaly_percentage)
//! ```
//!
//! - `error` is the mean of `|y - yhat|`, `width` that of `yhat_upper - yhat_lower`, in units of the median absolute deviation of the
//!   history (the mean one where that is 0, and 1 where that is too). So the narrowest interval is wanted,
//! - `share` is that of the scores above 1; `anomaly_percentage` is its upper bound, not its target: a percent too much is as bad
//!   as an interval that is ten deviations wider,
//! - a class without an expected value has neither error nor width; there the last term is `100 |share - anomaly_percentage|`,
//!   because a bound alone is best kept by a model that finds nothing.
//!
//! With `n` samples and `r = train_val_ratio`, the folds of [`ValidationScheme::Regular`] have `v = n / (r + n_splits)` samples to
//! validate, the `r v` before them to train, and follow each other by `v` up to the end. Those of [`ValidationScheme::Leaky`] are
//! `n / n_splits` samples to validate, and all samples to train.
//!
//! # Search
//!
//! The first trial is that of the arguments that the search starts from, so that the result is never worse. Then even trials are
//! drawn from the whole [space](Tunable::PARAMETERS), uniformly on the scale of each parameter, and odd ones around the best so far.
//! Trial number `i` depends on the seed, on `i` and on the trials before it, so that a search that ends early is the beginning of
//! one that does not.
//!
//! Of the trials within a hundredth of the least loss that are not worse than the first, `optimize_complexity` takes the one with
//! the smallest state.

mod args;
mod space;

pub use args::{MAX_SPLITS, TuningArgs, ValidationScheme};
pub use space::{Parameter, Scale, Tunable, predict_offline, predict_online};

use crate::offline::{FitError, Prediction, Window};
use crate::random::Random;
use crate::score::{ScorePolicy, at_most};
use args::Fold;

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuned<A> {
    /// The best arguments.
    pub args: A,
    /// Their loss; see the [module](self).
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
    args: A,
    loss: f64,
    state_bytes: usize,
}

/// How much of the least loss counts as nearly as good.
const NEAR: f64 = 0.01;

const WIDTH_WEIGHT: f64 = 0.1;

const EXCESS_WEIGHT: f64 = 100.0;

/// Searches the arguments with the least loss on a window, starting from `start`, which holds the values of all that is not
/// searched: parameters of a name in `frozen` among them. Scores are those under `policy`, without warm-up. `goes_on` is asked
/// before each trial but the first, and given the number of trials so far: it ends the search when its time is up.
///
/// # Errors
/// When the window has too few finite samples for the folds, or no trial gives a fit: then the first one's reason.
pub fn tune<A: Tunable>(
    start: &A,
    frozen: &[&str],
    window: Window<'_>,
    policy: &ScorePolicy,
    tuning: &TuningArgs,
    mut goes_on: impl FnMut(u32) -> bool,
) -> Result<Tuned<A>, FitError> {
    let mut samples: Vec<(i64, f64)> = window.samples().collect();
    samples.sort_by_key(|(time, _)| *time);
    let folds = tuning.folds(samples.len())?;
    let (times, values): (Vec<i64>, Vec<f64>) = samples.into_iter().unzip();
    let history = Window { times: &times, values: &values };
    let mut judge = Judge { history, scale: deviation(&values), folds, policy, tuning, predictions: Vec::new() };

    let parameters: Vec<&Parameter<A>> = A::PARAMETERS.iter().filter(|one| !frozen.contains(&one.name)).collect();
    let places = parameters.iter().map(|parameter| parameter.scale.place((parameter.get)(start))).collect();
    let first = judge.trial(places, start.clone());
    let start_loss = first.as_ref().ok().map(|trial| trial.loss);
    let mut failure = first.as_ref().err().cloned();
    let mut trials: Vec<Trial<A>> = first.into_iter().collect();
    let mut best = trials.first().cloned();
    let mut number = 1;
    while number < tuning.n_trials && !parameters.is_empty() && goes_on(number) {
        let mut random = Random::stream(tuning.seed, number.into());
        let places = match &best {
            Some(best) if number % 2 == 1 => around(&best.places, &mut random),
            _ => parameters.iter().map(|_| random.uniform()).collect(),
        };
        let mut args = start.clone();
        for (parameter, place) in parameters.iter().zip(&places) {
            (parameter.set)(&mut args, parameter.scale.value(*place));
        }
        match judge.trial(places, args) {
            Ok(trial) => {
                if best.as_ref().is_none_or(|best| trial.loss < best.loss) {
                    best = Some(trial.clone());
                }
                trials.push(trial);
            }
            Err(error) => failure = failure.or(Some(error)),
        }
        number += 1;
    }
    let Some(best) = best else {
        return Err(failure.unwrap_or(FitError::Failed { what: "no trial was made" }));
    };
    let limit = (best.loss + NEAR * best.loss.abs()).min(start_loss.unwrap_or(f64::INFINITY));
    let is_simpler = |one: &Trial<A>, other: &Trial<A>| {
        (one.state_bytes, one.loss) < (other.state_bytes, other.loss) && tuning.optimize_complexity
    };
    let near = trials.into_iter().filter(|trial| trial.loss <= limit);
    let chosen = near.fold(best, |chosen, trial| if is_simpler(&trial, &chosen) { trial } else { chosen });
    Ok(Tuned { args: chosen.args, loss: chosen.loss, start_loss, trials: number })
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
struct Judge<'a> {
    /// Finite samples in time order.
    history: Window<'a>,
    /// The unit of errors and widths.
    scale: f64,
    folds: Vec<Fold>,
    policy: &'a ScorePolicy,
    tuning: &'a TuningArgs,
    predictions: Vec<Prediction>,
}

impl Judge<'_> {
    fn trial<A: Tunable>(&mut self, places: Vec<f64>, args: A) -> Result<Trial<A>, FitError> {
        let (mut loss, mut state_bytes) = (0.0, 0);
        for fold in &self.folds {
            let part = |(start, end): (usize, usize)| Window {
                times: &self.history.times[start..end],
                values: &self.history.values[start..end],
            };
            let points = part(fold.validate);
            self.predictions.clear();
            let bytes = args.predict(part(fold.train), points, self.tuning.exact, &mut self.predictions)?;
            state_bytes = state_bytes.max(bytes);
            loss += self.loss(points.values) / self.folds.len() as f64;
        }
        Ok(Trial { places, args, loss, state_bytes })
    }

    /// The loss of the predictions of a fold.
    fn loss(&self, values: &[f64]) -> f64 {
        let (mut above, mut distance, mut is_score_only) = (0_u32, 0.0, false);
        for (prediction, value) in self.predictions.iter().zip(values) {
            let score = match prediction {
                Prediction::Interval(interval) => {
                    let prepared = self.policy.prepare(*interval);
                    if prepared.is_some() {
                        distance += self.units((value - prepared.yhat).abs());
                        distance += WIDTH_WEIGHT * self.units(prepared.upper - prepared.lower);
                    }
                    self.policy.score(prepared, *value, u64::MAX)
                }
                Prediction::BaseScore(score) => {
                    is_score_only = true;
                    self.policy.score_of_base(*score, *value)
                }
            };
            above += u32::from(score > 1.0);
        }
        let count = values.len() as f64;
        let excess = f64::from(above) / count - self.tuning.anomaly_percentage;
        let excess = if is_score_only { excess.abs() } else { excess.max(0.0) };
        distance / count + EXCESS_WEIGHT * excess
    }

    fn units(&self, distance: f64) -> f64 {
        at_most(distance, f64::MAX) / self.scale
    }
}
