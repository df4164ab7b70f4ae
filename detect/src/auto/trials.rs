//! Which values are tried, and which of them are best.

use super::args::TuningArgs;
use super::space::Scale;
use crate::offline::FitError;
use crate::random::Random;

/// How much of the least loss counts as nearly as good.
const NEAR: f64 = 0.01;

/// The values of a trial.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    /// The place of each parameter that is searched.
    places: Vec<f64>,
    /// What these places are; empty of the first trial, which is that of the start.
    pub(super) values: Vec<f64>,
}

/// A trial that gave fits in all folds.
#[derive(Debug, Clone)]
struct Trial {
    candidate: Candidate,
    loss: f64,
    state_bytes: usize,
}

/// The best of all trials.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    /// Empty: those of the start.
    pub(super) values: Vec<f64>,
    pub(super) loss: f64,
    /// `None` if the start gave no fit.
    pub(super) start_loss: Option<f64>,
    /// The number of trials.
    pub(super) trials: u32,
}

/// The trials of one search.
#[derive(Debug, Clone, Default)]
pub(super) struct Trials {
    scales: Vec<Scale>,
    /// The places of the values in the start.
    start: Vec<f64>,
    seed: u64,
    most: u32,
    prefers_small: bool,
    made: Vec<Trial>,
    best: Option<Trial>,
    start_loss: Option<f64>,
    failure: Option<FitError>,
    number: u32,
}

impl Trials {
    /// None yet, of parameters with these scales and values in the start.
    pub(super) fn new(searched: impl Iterator<Item = (Scale, f64)>, tuning: &TuningArgs) -> Self {
        let (scales, start) = searched.map(|(scale, value)| (scale, scale.place(value))).unzip();
        let TuningArgs { seed, n_trials: most, optimize_complexity: prefers_small, .. } = *tuning;
        Self { scales, start, seed, most, prefers_small, ..Self::default() }
    }

    /// How many were made.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Whether there is nothing more to try.
    pub(super) fn is_over(&self) -> bool {
        self.number > 0 && (self.number >= self.most || self.scales.is_empty())
    }

    /// What to try next.
    pub(super) fn next(&self) -> Candidate {
        if self.number == 0 {
            return Candidate { places: self.start.clone(), values: Vec::new() };
        }
        let mut random = Random::stream(self.seed, self.number.into());
        let places: Vec<f64> = match &self.best {
            Some(best) if self.number % 2 == 1 => around(&best.candidate.places, &mut random),
            _ => self.scales.iter().map(|_| random.uniform()).collect(),
        };
        let values = self.scales.iter().zip(&places).map(|(scale, place)| scale.value(*place)).collect();
        Candidate { places, values }
    }

    /// Notes what came of a trial: the loss, and the size of the state.
    pub(super) fn record(&mut self, candidate: Candidate, outcome: Result<(f64, usize), FitError>) {
        match outcome {
            Ok((loss, state_bytes)) => {
                if self.number == 0 {
                    self.start_loss = Some(loss);
                }
                let trial = Trial { candidate, loss, state_bytes };
                if self.best.as_ref().is_none_or(|best| loss < best.loss) {
                    self.best = Some(trial.clone());
                }
                self.made.push(trial);
            }
            Err(error) => {
                self.failure.get_or_insert(error);
            }
        }
        self.number += 1;
    }

    /// The best.
    ///
    /// # Errors
    /// When no trial gave a fit: the first one's reason.
    pub(super) fn finish(self) -> Result<Chosen, FitError> {
        let Self { made, best, start_loss, failure, number: trials, prefers_small, .. } = self;
        let Some(best) = best else {
            return Err(failure.unwrap_or(FitError::Failed { what: "no trial was made" }));
        };
        let limit = (best.loss + NEAR * best.loss.abs()).min(start_loss.unwrap_or(f64::INFINITY));
        let is_simpler =
            |one: &Trial, other: &Trial| prefers_small && (one.state_bytes, one.loss) < (other.state_bytes, other.loss);
        let near = made.into_iter().filter(|trial| trial.loss <= limit);
        let chosen = near.fold(best, |chosen, trial| if is_simpler(&trial, &chosen) { trial } else { chosen });
        let Trial { candidate: Candidate { values, .. }, loss, .. } = chosen;
        Ok(Chosen { values, loss, start_loss, trials })
    }
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
