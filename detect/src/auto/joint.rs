//! `auto` of classes that see several series together: one search, and arguments of its own, for each group of channels.
//!
//! The folds are cut from the times at which the class learns: those at which some channel has a sample, and for
//! `isolation_forest_multivariate` those at which all have one. A trial fits the group to what is trained, and scores what is
//! validated, with the policy of each channel and without warm-up. Lower losses are better:
//!
//! ```text
//! loss = mean over folds of  error + 0.1 width + 100 max(0, share - anomaly_percentage)
//! ```
//!
//! - `error` and `width` are the means over all samples of all channels, each in units of the median absolute deviation of its own
//!   channel (see [`super`]), so that no channel counts for more because its numbers are greater. The expectation and the
//!   interval are those of the channel's own envelope,
//! - `share` is that of the times whose joint score is above 1,
//! - `isolation_forest_multivariate` expects nothing of a channel: there the loss is `100 |share - anomaly_percentage|`.
//!
//! What is searched are the parameters of the class for single series, alike for all channels of a group. The search goes as that
//! of a series does; the trial of the start is the first.
//!
//! # State
//!
//! The [header](crate::state) `aj`, then as that of a [series](super#state).

use std::time::Duration;

use super::args::{Fold, TuningArgs};
use super::found::Found;
use super::objective::{Tally, deviation};
use super::space::{Parameter, Tunable};
use super::trials::{Chosen, Trials};
use crate::argument::{ArgumentError, Arguments};
use crate::calendar::Zone;
use crate::incidents;
use crate::isolation_forest::IsolationForestArgs;
use crate::model::{MISSING, StateError, is_missing};
use crate::multivariate::{Channels, JointScores, MultivariateModel, MultivariateSpec};
use crate::offline::FitError;
use crate::readiness::Readiness;
use crate::score::{ScorePolicy, at_most};
use crate::state::{Format, damaged, require};
use crate::temporal_envelope::TemporalEnvelopeArgs;
use crate::temporal_envelope::multivariate::TemporalEnvelopeMultivariateArgs;

/// Tag and version of the state. Another space to search is another version.
pub const FORMAT: Format = Format { tag: *b"aj", version: 1 };

/// Arguments of `auto` on groups.
#[derive(Debug, Clone, PartialEq)]
pub struct JointAutoArgs {
    /// The tuned class, with the arguments that searches start from; not `auto` itself.
    pub start: MultivariateSpec,
    /// Names of parameters that stay as they are in `start`. Names of what is not searched are accepted: it stays as it is anyway.
    pub frozen: Vec<String>,
    /// How searches go.
    pub tuning: TuningArgs,
    /// The longest time of the search for one group, above 0; without one it makes all its trials. See [`JointFit::step`].
    pub timeout: Option<Duration>,
    /// Whether fits, those of trials too, leave [incidents](crate::incidents) of single channels out.
    pub exclude_incidents: bool,
}

impl JointAutoArgs {
    /// The defaults, which search all parameters of this class starting from these arguments.
    #[must_use]
    pub fn new(start: MultivariateSpec, anomaly_percentage: f64) -> Self {
        let tuning = TuningArgs::new(anomaly_percentage);
        Self { start, frozen: Vec::new(), tuning, timeout: None, exclude_incidents: false }
    }

    /// Checks every argument against its range, those of the tuned class first.
    ///
    /// # Errors
    /// Names the first argument that is outside its range.
    pub fn validate(&self) -> Result<(), ArgumentError> {
        let arguments = Arguments("auto");
        let holds = !matches!(self.start, MultivariateSpec::Auto(_) | MultivariateSpec::Calibrated(..));
        arguments.require("tuned_class_name", self.start.class(), "a class that has arguments to search", holds)?;
        self.start.validate()?;
        let holds = self.timeout.is_none_or(|timeout| !timeout.is_zero());
        arguments.require("timeout", "0", "above 0", holds)?;
        self.tuning.validate()
    }

    /// Everything that a search depends on beside the policies of the channels.
    pub(crate) fn learning_signature(&self) -> String {
        let Self { start, frozen, tuning, timeout, exclude_incidents } = self;
        let incidents = if *exclude_incidents { " exclude_incidents" } else { "" };
        // What acts on scores only in the class itself.
        let scoring = match start {
            MultivariateSpec::TemporalEnvelope(args, _) => {
                format!(" score_aggregation={} {:?}", args.score_aggregation, args.safeguards)
            }
            MultivariateSpec::IsolationForest(..) | MultivariateSpec::Calibrated(..) | MultivariateSpec::Auto(_) => {
                String::new()
            }
        };
        let mut frozen: Vec<&str> = frozen.iter().map(String::as_str).collect();
        frozen.retain(|name| parameter_names(start).contains(name));
        frozen.sort_unstable();
        frozen.dedup();
        format!(
            "start=[{}{scoring}] frozen={frozen:?} tuning={tuning:?} timeout={timeout:?}{incidents}",
            start.learning_signature()
        )
    }

    /// The tuned class with the values that a search found; with none, as it starts.
    fn with(&self, values: &[f64]) -> MultivariateSpec {
        match &self.start {
            MultivariateSpec::IsolationForest(args, zone) => {
                let (args, zone) = set((args.clone(), zone.clone()), &self.frozen, values);
                MultivariateSpec::IsolationForest(args, zone)
            }
            MultivariateSpec::TemporalEnvelope(args, zone) => {
                let (envelope, zone) = set((args.envelope.clone(), zone.clone()), &self.frozen, values);
                MultivariateSpec::TemporalEnvelope(TemporalEnvelopeMultivariateArgs { envelope, ..args.clone() }, zone)
            }
            MultivariateSpec::Calibrated(..) | MultivariateSpec::Auto(_) => self.start.clone(),
        }
    }

    /// The tuned class with the values of a state.
    fn with_saved(&self, values: &[f64]) -> Result<MultivariateSpec, StateError> {
        if !values.is_empty() {
            let scales = match &self.start {
                MultivariateSpec::IsolationForest(..) => scales::<(IsolationForestArgs, Zone)>(&self.frozen),
                MultivariateSpec::TemporalEnvelope(..) => scales::<(TemporalEnvelopeArgs, Zone)>(&self.frozen),
                MultivariateSpec::Calibrated(..) | MultivariateSpec::Auto(_) => Vec::new(),
            };
            require(values.len() == scales.len(), "the number of found values")?;
            let holds = scales.iter().zip(values).all(|(scale, value)| scale.holds(*value));
            require(holds, "a found value is none that is searched")?;
        }
        let spec = self.with(values);
        spec.validate().map_err(|_| damaged("the found values do not go together"))?;
        Ok(spec)
    }

    /// No trials yet.
    fn trials(&self) -> Trials {
        match &self.start {
            MultivariateSpec::IsolationForest(args, zone) => {
                trials(&(args.clone(), zone.clone()), &self.frozen, &self.tuning)
            }
            MultivariateSpec::TemporalEnvelope(args, zone) => {
                trials(&(args.envelope.clone(), zone.clone()), &self.frozen, &self.tuning)
            }
            MultivariateSpec::Calibrated(..) | MultivariateSpec::Auto(_) => Trials::default(),
        }
    }

    /// The values as fits have them.
    fn learnt(&self, channels: Channels<'_>) -> Vec<f64> {
        let mut values = channels.values.to_vec();
        if self.exclude_incidents {
            let rows = values.chunks_mut(channels.times.len().max(1));
            rows.for_each(|row| {
                incidents::leave_out(channels.times, row);
            });
        }
        values
    }
}

/// The parameters of a class that are not frozen.
fn searched<A: Tunable>(frozen: &[String]) -> impl Iterator<Item = &'static Parameter<A>> {
    A::PARAMETERS.iter().filter(|one| frozen.iter().all(|frozen| frozen != one.name))
}

fn scales<A: Tunable>(frozen: &[String]) -> Vec<super::Scale> {
    searched::<A>(frozen).map(|one| one.scale).collect()
}

fn set<A: Tunable>(mut args: A, frozen: &[String], values: &[f64]) -> A {
    for (parameter, value) in searched::<A>(frozen).zip(values) {
        (parameter.set)(&mut args, *value);
    }
    args
}

fn trials<A: Tunable>(start: &A, frozen: &[String], tuning: &TuningArgs) -> Trials {
    Trials::new(searched::<A>(frozen).map(|one| (one.scale, (one.get)(start))), tuning)
}

/// The names of the parameters of a class, as in configurations.
fn parameter_names(spec: &MultivariateSpec) -> Vec<&'static str> {
    match spec {
        MultivariateSpec::IsolationForest(..) => {
            <(IsolationForestArgs, Zone)>::PARAMETERS.iter().map(|one| one.name).collect()
        }
        MultivariateSpec::TemporalEnvelope(..) => {
            <(TemporalEnvelopeArgs, Zone)>::PARAMETERS.iter().map(|one| one.name).collect()
        }
        MultivariateSpec::Calibrated(..) | MultivariateSpec::Auto(_) => Vec::new(),
    }
}

/// The model of one group, with the arguments that were found for it.
#[derive(Debug, Clone)]
pub struct TunedGroup {
    args: JointAutoArgs,
    names: Vec<String>,
    found: Found,
    spec: MultivariateSpec,
    model: MultivariateModel,
}

impl TunedGroup {
    /// A model of channels with these names that has learnt nothing, with the arguments that searches start from.
    pub(crate) fn new(args: &JointAutoArgs, names: &[impl AsRef<str>]) -> Result<Self, FitError> {
        let model = args.start.new_model(names)?;
        let names = names.iter().map(|name| name.as_ref().to_owned()).collect();
        Ok(Self { args: args.clone(), names, found: Found::default(), spec: args.start.clone(), model })
    }

    /// The tuned class with the group's own arguments.
    #[must_use]
    pub fn spec(&self) -> &MultivariateSpec {
        &self.spec
    }

    pub(crate) fn model(&self) -> &MultivariateModel {
        &self.model
    }

    pub(crate) fn infer(&mut self, channels: Channels<'_>, policies: &[ScorePolicy]) -> JointScores {
        let mut scores = self.model.infer(channels, policies);
        let most = self.found.most_ready().value();
        scores.stage.iter_mut().filter(|stage| **stage > most).for_each(|stage| *stage = most);
        scores
    }

    pub(crate) fn readiness(&self, policies: &[ScorePolicy]) -> Readiness {
        self.model.readiness(policies).and(self.found.most_ready())
    }

    pub(crate) fn learn(&mut self, channels: Channels<'_>) {
        self.model.learn(channels);
    }

    pub(crate) fn save(&self, out: &mut Vec<u8>) {
        self.found.write(FORMAT, out);
        self.model.save(out);
    }

    pub(crate) fn load(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let (found, class) = Found::read(FORMAT, bytes)?;
        let spec = self.args.with_saved(&found.values)?;
        let mut model = spec.new_model(&self.names).map_err(|_| damaged("the group has too many channels"))?;
        model.load(class)?;
        require(!found.is_searched || model.is_of(self.names.len()), "it was fitted to another number of channels")?;
        (self.found, self.spec, self.model) = (found, spec, model);
        Ok(())
    }
}

/// A fit of one group under way. It has its own copy of the window.
#[derive(Debug, Clone)]
pub struct JointFit {
    args: JointAutoArgs,
    names: Vec<String>,
    trials: Trials,
    /// `None` if the window is too short for the folds, or the class takes no such group.
    judge: Option<Judge>,
}

impl JointFit {
    /// Begins a fit of channels with these names, each once and with its policy, in this order.
    ///
    /// # Panics
    /// If there are not as many values as channels and times, or as many policies as channels: the caller's bug.
    pub(crate) fn new(
        args: &JointAutoArgs,
        names: &[impl AsRef<str>],
        channels: Channels<'_>,
        policies: &[ScorePolicy],
    ) -> Self {
        assert_eq!((names.len(), policies.len()), (channels.count, channels.count), "one for each channel");
        assert_eq!(channels.values.len(), channels.count * channels.times.len(), "values must be series x times");
        let is_taken = args.start.holds(names.len()).is_ok();
        let judge = if is_taken { Judge::new(args, channels, policies).ok() } else { None };
        let names = names.iter().map(|name| name.as_ref().to_owned()).collect();
        Self { args: args.clone(), names, trials: args.trials(), judge }
    }

    /// Makes the next trial. Returns whether there is another one to make; whoever makes the fit may end it before. The first
    /// trial is that of the arguments that the search starts from.
    pub fn step(&mut self) -> bool {
        let Self { args, names, trials, judge: Some(judge) } = self else { return false };
        if !trials.is_over() {
            let candidate = trials.next();
            let outcome = judge.trial(&args.with(&candidate.values), names);
            trials.record(candidate, outcome);
        }
        !trials.is_over()
    }

    /// Fits what was found so far to the window that the fit was begun with. Where nothing was, that is what the search starts
    /// from.
    ///
    /// # Errors
    /// When the window gives no fit of the class.
    ///
    /// # Panics
    /// If there are not as many values as channels and times: the caller's bug.
    pub fn finish(self, channels: Channels<'_>) -> Result<MultivariateModel, FitError> {
        let Self { args, names, trials, .. } = self;
        let learnt = args.learnt(channels);
        let channels = Channels { values: &learnt, ..channels };
        let fit = |spec: &MultivariateSpec| spec.fit(&names, channels);
        let of_found = trials.finish().ok().and_then(|Chosen { values, .. }| {
            let spec = args.with(&values);
            let model = fit(&spec).ok()?;
            Some((spec, model, Found { is_searched: true, values }))
        });
        let (spec, model, found) = match of_found {
            Some(found) => found,
            None => (args.start.clone(), fit(&args.start)?, Found::default()),
        };
        Ok(MultivariateModel::Tuned(Box::new(TunedGroup { args, names, found, spec, model })))
    }
}

/// Gives arguments their loss.
#[derive(Debug, Clone)]
struct Judge {
    /// At which the class learns, ascending.
    times: Vec<i64>,
    /// Channel by channel.
    values: Vec<f64>,
    /// What fits have of them, where that is something else.
    learnt: Option<Vec<f64>>,
    /// The unit of errors and widths of each channel.
    scales: Vec<f64>,
    /// Without warm-up.
    policies: Vec<ScorePolicy>,
    folds: Vec<Fold>,
    tuning: TuningArgs,
}

impl Judge {
    fn new(args: &JointAutoArgs, channels: Channels<'_>, policies: &[ScorePolicy]) -> Result<Self, FitError> {
        let is_learnt = |time: &usize| match args.start {
            MultivariateSpec::IsolationForest(..) => channels.at(*time).all(f64::is_finite),
            MultivariateSpec::TemporalEnvelope(..) | MultivariateSpec::Calibrated(..) | MultivariateSpec::Auto(_) => {
                channels.at(*time).any(f64::is_finite)
            }
        };
        let mut rows: Vec<usize> = (0..channels.times.len()).filter(is_learnt).collect();
        rows.sort_by_key(|row| channels.times[*row]);
        let folds = args.tuning.folds(rows.len())?;
        let times: Vec<i64> = rows.iter().map(|row| channels.times[*row]).collect();
        let of_channel = |channel: usize| {
            let all = &channels.values[channel * channels.times.len()..][..channels.times.len()];
            rows.iter().map(|row| if all[*row].is_finite() { all[*row] } else { MISSING }).collect::<Vec<f64>>()
        };
        let values: Vec<f64> = (0..channels.count).flat_map(of_channel).collect();
        let finite = |row: &[f64]| row.iter().copied().filter(|value| value.is_finite()).collect::<Vec<f64>>();
        let scales = values.chunks(times.len()).map(|row| deviation(&finite(row))).collect();
        let own = Channels { times: &times, count: channels.count, values: &values };
        let learnt = args.exclude_incidents.then(|| args.learnt(own));
        let policies = policies.iter().map(|policy| ScorePolicy { min_n_samples_seen: 0, ..*policy }).collect();
        Ok(Self { scales, policies, folds, tuning: args.tuning, learnt, times, values })
    }

    /// The values of a range of times, channel by channel.
    fn part(&self, values: &[f64], (start, end): (usize, usize)) -> Vec<f64> {
        values.chunks(self.times.len()).flat_map(|row| &row[start..end]).copied().collect()
    }

    /// The loss, and the size of the state.
    fn trial(&self, spec: &MultivariateSpec, names: &[impl AsRef<str>]) -> Result<(f64, usize), FitError> {
        let (mut loss, mut state_bytes) = (0.0, 0);
        let (count, mut state) = (names.len(), Vec::new());
        for fold in &self.folds {
            let history = self.part(self.learnt.as_ref().unwrap_or(&self.values), fold.train);
            let times = &self.times[fold.train.0..fold.train.1];
            let mut model = spec.fit(names, Channels { times, count, values: &history })?;
            state.clear();
            model.save(&mut state);
            state_bytes = state_bytes.max(state.len());
            let points = self.part(&self.values, fold.validate);
            let times = &self.times[fold.validate.0..fold.validate.1];
            let lost = self.loss(&mut model, Channels { times, count, values: &points });
            loss = at_most(loss + lost / self.folds.len() as f64, f64::MAX);
        }
        Ok((loss, state_bytes))
    }

    /// The loss of a fitted model in a fold.
    fn loss(&self, model: &mut MultivariateModel, points: Channels<'_>) -> f64 {
        let mut tally = Tally::default();
        let envelope = match model {
            MultivariateModel::TemporalEnvelope(envelope) => envelope,
            MultivariateModel::IsolationForest(_) | MultivariateModel::Calibrated(_) | MultivariateModel::Tuned(_) => {
                let scores = model.infer(points, &self.policies).anomaly_score;
                scores.into_iter().filter(|score| !score.is_nan()).for_each(|score| tally.score(score));
                return tally.loss(self.tuning.anomaly_percentage, true);
            }
        };
        let mut values = Vec::with_capacity(points.count);
        for (index, time) in points.times.iter().enumerate() {
            values.clear();
            values.extend(points.at(index));
            let score = envelope.score(*time, &values, &self.policies);
            if !score.is_nan() {
                tally.score(score);
            }
            for ((channel, value), scale) in envelope.channel_scores().iter().zip(&values).zip(&self.scales) {
                if !is_missing(*value) {
                    tally.compare(channel.interval, *value, *scale);
                }
            }
            if self.tuning.exact {
                envelope.learn(*time, &values);
            }
        }
        tally.loss(self.tuning.anomaly_percentage, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_never_worse_than_the_start_by_its_own_objective() {
        let times: Vec<i64> = (0..240).map(|index| index * 60_000).collect();
        let value = |index: i64| 10.0 + (index * index % 37) as f64 + if index % 59 == 0 { 90.0 } else { 0.0 };
        let values: Vec<f64> = (0..480).map(value).collect();
        let channels = Channels { times: &times, count: 2, values: &values };
        let envelope = MultivariateSpec::TemporalEnvelope(Default::default(), Zone::default());
        let forest = MultivariateSpec::IsolationForest(Default::default(), Zone::default());
        for (start, seed) in [&envelope, &forest].into_iter().flat_map(|start| (0..3).map(move |seed| (start, seed))) {
            let mut args = JointAutoArgs::new(start.clone(), 0.02);
            (args.tuning.n_trials, args.tuning.seed, args.tuning.exact) = (6, seed, seed == 1);
            let mut fit = JointFit::new(&args, &["a", "b"], channels, &[ScorePolicy::default(); 2]);
            while fit.step() {}
            let judge = fit.judge.clone().unwrap();
            let Chosen { values, loss, start_loss, trials } = fit.trials.finish().unwrap();
            assert_eq!(trials, 6);
            assert!(loss <= start_loss.unwrap(), "{loss} {start_loss:?}");
            assert_eq!(judge.trial(&args.with(&values), &["a", "b"]).unwrap().0, loss);
            assert_eq!(Some(judge.trial(start, &["a", "b"]).unwrap().0), start_loss);
        }
    }
}
