//! Models of several series together, their channels: which one, with which arguments, and what all of them can do.
//!
//! A model knows its channels from its fit on, by name, and takes samples of all of them on one time grid. Whoever calls it
//! brings the channels in one order, that of the fit; where they differ, there is nothing to score.

use crate::argument::ArgumentError;
use crate::auto::joint::{self, JointAutoArgs, JointFit, TunedGroup};
use crate::calendar::Zone;
use crate::calibrated::Yardstick;
use crate::calibrated::multivariate::{self as calibrated, CalibratedMultivariate, CalibratedMultivariateArgs};
use crate::isolation_forest::{self, DEFAULT_SEED, IsolationForestArgs, IsolationForestMultivariate};
use crate::model::{StateError, is_missing};
use crate::offline::FitError;
use crate::readiness::{NeededHistory, Readiness};
use crate::score::{Interval, ScorePolicy};
use crate::temporal_envelope::multivariate::{
    self as envelope, TemporalEnvelopeMultivariate, TemporalEnvelopeMultivariateArgs,
};

pub use crate::isolation_forest::Channels;

/// A class of multivariate models with its arguments.
#[derive(Debug, Clone, PartialEq)]
pub enum MultivariateSpec {
    /// `calibrated_multivariate`, whose days and weeks are those of the clocks of a zone: see [`crate::calibrated::multivariate`].
    Calibrated(CalibratedMultivariateArgs, Zone),
    /// `isolation_forest_multivariate`, whose seasonal features follow the clocks of a zone: see
    /// [`crate::isolation_forest`].
    IsolationForest(IsolationForestArgs, Zone),
    /// `temporal_envelope_multivariate`, whose calendar is that of the clocks of a zone: see
    /// [`crate::temporal_envelope::multivariate`].
    TemporalEnvelope(TemporalEnvelopeMultivariateArgs, Zone),
    /// `auto`, which searches the arguments of one of the others for each group: see [`crate::auto::joint`].
    Auto(Box<JointAutoArgs>),
}

/// A multivariate model of one group of channels.
#[derive(Debug, Clone)]
pub enum MultivariateModel {
    /// Stays as it was fitted.
    IsolationForest(IsolationForestMultivariate),
    /// Learns every sample that it scores.
    TemporalEnvelope(Box<TemporalEnvelopeMultivariate>),
    /// The same.
    Calibrated(Box<CalibratedMultivariate>),
    /// One of these, with arguments of its own.
    Tuned(Box<TunedGroup>),
}

/// The scores of some times.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JointScores {
    /// One for each time; NaN where there is none.
    pub anomaly_score: Vec<f64>,
    /// What is expected of each channel, channel by channel, as many as there are times; empty of a model that expects
    /// nothing.
    pub intervals: Vec<Interval>,
    /// How anomalous each channel is by itself, channel by channel, as many as there are times; NaN where a channel has no sample.
    /// Empty of a model that does not tell channels apart.
    pub channel_scores: Vec<f64>,
    /// How ready the model was for each time, by [`Readiness::value`]; NaN where there is no score.
    pub stage: Vec<f64>,
    /// What is expected of each channel at each horizon, channel by channel, time by time; empty where there is no horizon.
    pub forecasts: Vec<Interval>,
}

/// A channel's part of a joint score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChannelScore {
    /// What is expected of the channel itself, prepared by its policy; NaN where the sample is missing.
    pub interval: Interval,
    /// How far the channel is from that, by its policy; NaN where it has no finite sample.
    pub score: f64,
}

impl ChannelScore {
    /// That of a channel without a sample.
    pub const NONE: Self = Self { interval: Interval::NONE, score: f64::NAN };
}

impl MultivariateSpec {
    /// The class's name in configurations.
    #[must_use]
    pub const fn class(&self) -> &'static str {
        match self {
            Self::IsolationForest(..) => "isolation_forest_multivariate",
            Self::TemporalEnvelope(..) => "temporal_envelope_multivariate",
            Self::Calibrated(..) => "calibrated_multivariate",
            Self::Auto(_) => "auto",
        }
    }

    /// Checks every argument against its range.
    ///
    /// # Errors
    /// Names the first argument that is outside its range.
    pub fn validate(&self) -> Result<(), ArgumentError> {
        match self {
            Self::IsolationForest(args, _) => args.validate(self.class()),
            Self::TemporalEnvelope(args, _) => args.validate(),
            Self::Calibrated(args, _) => args.validate(),
            Self::Auto(args) => args.validate(),
        }
    }

    /// Canonical text of exactly what the learnt state depends on; see [`crate::spec::ModelSpec::learning_signature`].
    /// That of `auto` is not all: a search also depends on the policies of the channels.
    #[must_use]
    pub fn learning_signature(&self) -> String {
        let (version, arguments, zone) = match self {
            Self::IsolationForest(args, zone) => {
                (isolation_forest::MULTIVARIATE_FORMAT.version, args.learning_signature(), zone)
            }
            Self::TemporalEnvelope(args, zone) => (envelope::FORMAT.version, args.learning_signature(), zone),
            Self::Calibrated(args, zone) => (calibrated::FORMAT.version, args.learning_signature(), zone),
            Self::Auto(args) => {
                return format!("{} v{} {}", self.class(), joint::FORMAT.version, args.learning_signature());
            }
        };
        format!("{} v{version} {arguments} zone={}", self.class(), zone.name())
    }

    /// The history that a model needs; see [`crate::spec::ModelSpec::needed_history`].
    #[must_use]
    pub fn needed_history(&self, min_n_samples_seen: u64) -> NeededHistory {
        match self {
            Self::IsolationForest(args, _) => NeededHistory { samples: args.needed_samples(), span: 0 },
            Self::TemporalEnvelope(args, _) => {
                NeededHistory { samples: min_n_samples_seen.max(1), span: args.envelope.longest_period() }
            }
            Self::Calibrated(args, _) => args.needed_history(min_n_samples_seen.max(1)),
            Self::Auto(args) => args.start.needed_history(min_n_samples_seen),
        }
    }

    /// Whether a model learns every sample that it scores, so that it may begin without a fit.
    #[must_use]
    pub const fn learns_online(&self) -> bool {
        match self {
            Self::IsolationForest(..) => false,
            Self::TemporalEnvelope(..) | Self::Calibrated(..) => true,
            Self::Auto(args) => args.start.learns_online(),
        }
    }

    /// How many forecasts it gives for each channel.
    #[must_use]
    pub fn horizons(&self) -> usize {
        match self {
            Self::IsolationForest(..) | Self::Calibrated(..) => 0,
            Self::TemporalEnvelope(args, _) => args.envelope.forecast_at.len(),
            Self::Auto(args) => args.start.horizons(),
        }
    }

    /// So many channels are more than the class recommends.
    #[must_use]
    pub fn exceeds_recommendation(&self, channels: usize) -> bool {
        match self {
            Self::IsolationForest(..) => false,
            Self::TemporalEnvelope(args, _) => channels > args.recommended_max_channels as usize,
            Self::Calibrated(args, _) => channels > args.recommended_max_channels as usize,
            Self::Auto(args) => args.start.exceeds_recommendation(channels),
        }
    }

    /// Whether a model may have so many channels.
    ///
    /// # Errors
    /// If there are none, or too many.
    pub fn holds(&self, channels: usize) -> Result<(), FitError> {
        match self {
            _ if channels == 0 => Err(FitError::Failed { what: "there are no series" }),
            Self::Auto(args) => args.start.holds(channels),
            Self::TemporalEnvelope(TemporalEnvelopeMultivariateArgs { max_channels: most, .. }, _)
            | Self::Calibrated(CalibratedMultivariateArgs { max_channels: most, .. }, _)
                if channels > *most as usize =>
            {
                Err(FitError::TooManyChannels { found: channels, most: *most as usize })
            }
            Self::IsolationForest(..) | Self::TemporalEnvelope(..) | Self::Calibrated(..) => Ok(()),
        }
    }

    /// A model of channels with these names, each once, that has learnt nothing.
    ///
    /// # Errors
    /// If there are no channels, or more than the model may have.
    pub fn new_model(&self, names: &[impl AsRef<str>]) -> Result<MultivariateModel, FitError> {
        self.holds(names.len())?;
        let twice = |_| FitError::Failed { what: "two channels have one name" };
        match self {
            Self::IsolationForest(args, zone) => {
                let model = IsolationForestMultivariate::new(args.clone(), zone.clone(), DEFAULT_SEED);
                Ok(MultivariateModel::IsolationForest(model))
            }
            Self::TemporalEnvelope(args, zone) => {
                let model = TemporalEnvelopeMultivariate::new(args.clone(), zone.clone(), names).map_err(twice)?;
                Ok(MultivariateModel::TemporalEnvelope(Box::new(model)))
            }
            Self::Calibrated(args, zone) => {
                let model = CalibratedMultivariate::new(*args, zone.clone(), names).map_err(twice)?;
                Ok(MultivariateModel::Calibrated(Box::new(model)))
            }
            Self::Auto(args) => Ok(MultivariateModel::Tuned(Box::new(TunedGroup::new(args, names)?))),
        }
    }

    /// Begins the fit of a model that searches, of channels with these names, each once and with its policy, to what `channels` has
    /// of them, in this order; `None` of another.
    ///
    /// # Panics
    /// If there are not as many values as channels and times, or as many policies as channels: the caller's bug.
    #[must_use]
    pub fn begin_fit(
        &self,
        names: &[impl AsRef<str>],
        channels: Channels<'_>,
        policies: &[ScorePolicy],
    ) -> Option<JointFit> {
        match self {
            Self::Auto(args) => Some(JointFit::new(args, names, channels, policies)),
            Self::IsolationForest(..) | Self::TemporalEnvelope(..) | Self::Calibrated(..) => None,
        }
    }

    /// A model of channels with these names, each once, that is fitted to what `channels` has of them, in this order. That of
    /// `auto` makes all trials, with channels that have no policies: see [`begin_fit`](Self::begin_fit).
    ///
    /// # Errors
    /// If there are no channels, more than the model may have, or not enough samples.
    ///
    /// # Panics
    /// If there are not as many values as channels and times: the caller's bug.
    pub fn fit(&self, names: &[impl AsRef<str>], channels: Channels<'_>) -> Result<MultivariateModel, FitError> {
        if let Self::Auto(args) = self {
            let policies = vec![ScorePolicy::default(); names.len()];
            let mut fit = JointFit::new(args, names, channels, &policies);
            while fit.step() {}
            return fit.finish(channels);
        }
        let mut model = self.new_model(names)?;
        match &mut model {
            MultivariateModel::IsolationForest(forest) => forest.fit(channels)?,
            MultivariateModel::TemporalEnvelope(_) | MultivariateModel::Calibrated(_) | MultivariateModel::Tuned(_) => {
                if channels.values.iter().all(|value| !value.is_finite()) {
                    return Err(FitError::TooFewSamples { needed: 1, found: 0 });
                }
                model.learn(channels);
            }
        }
        Ok(model)
    }
}

impl MultivariateModel {
    /// Predicts, scores and then learns the samples of all channels, time by time. There is one policy for each channel.
    /// A time at which no channel has a sample has no score and teaches nothing.
    ///
    /// # Panics
    /// If there are not as many values as channels and times, or as many policies as channels: the caller's bug.
    pub fn infer(&mut self, channels: Channels<'_>, policies: &[ScorePolicy]) -> JointScores {
        assert_eq!(policies.len(), channels.count, "a policy for each channel");
        match self {
            Self::IsolationForest(forest) => {
                let mut anomaly_score = Vec::new();
                forest.predict(channels, &mut anomaly_score);
                for (index, score) in anomaly_score.iter_mut().enumerate() {
                    *score = score_of_base(*score, channels.at(index), policies);
                }
                let stage = forest.readiness().value();
                let of_time = |score: &f64| if score.is_nan() { f64::NAN } else { stage };
                JointScores {
                    stage: anomaly_score.iter().map(of_time).collect(),
                    anomaly_score,
                    ..JointScores::default()
                }
            }
            Self::TemporalEnvelope(envelope) => {
                let horizons = envelope.horizons();
                let mut scores = JointScores::of_channels(channels, horizons);
                let warm_up = warm_up(policies);
                each_tick(channels, |index, time, values| {
                    let stage = envelope.readiness().after_warm_up(envelope.samples_seen(), warm_up);
                    let score = envelope.infer(time, values, policies);
                    scores.put(index, (score, stage), envelope.channel_scores());
                    for (channel, of_channel) in envelope.forecasts().chunks(horizons.max(1)).enumerate() {
                        let at = (channel * channels.times.len() + index) * horizons;
                        scores.forecasts[at..at + horizons].copy_from_slice(of_channel);
                    }
                });
                scores
            }
            Self::Calibrated(calibrated) => {
                let mut scores = JointScores::of_channels(channels, 0);
                let warm_up = warm_up(policies);
                each_tick(channels, |index, time, values| {
                    let stage = calibrated.note_readiness().after_warm_up(calibrated.samples_seen(), warm_up);
                    let score = calibrated.infer(time, values, policies);
                    scores.put(index, (score, stage), calibrated.channel_scores());
                });
                scores
            }
            Self::Tuned(tuned) => tuned.infer(channels, policies),
        }
    }

    /// How far the model is that scores by these policies, one for each channel.
    #[must_use]
    pub fn readiness(&self, policies: &[ScorePolicy]) -> Readiness {
        match self {
            Self::IsolationForest(forest) => forest.readiness(),
            Self::TemporalEnvelope(envelope) => {
                envelope.readiness().after_warm_up(envelope.samples_seen(), warm_up(policies))
            }
            Self::Calibrated(calibrated) => {
                calibrated.readiness().after_warm_up(calibrated.samples_seen(), warm_up(policies))
            }
            Self::Tuned(tuned) => tuned.readiness(policies),
        }
    }

    /// Whether it is fitted to so many channels; one that knows its channels by name always is.
    #[must_use]
    pub fn is_of(&self, channels: usize) -> bool {
        match self {
            Self::IsolationForest(forest) => forest.channels() == Some(channels),
            Self::TemporalEnvelope(_) | Self::Calibrated(_) => true,
            Self::Tuned(tuned) => tuned.model().is_of(channels),
        }
    }

    /// Times with a finite sample that were learnt; `None` of a model that is only fitted.
    #[must_use]
    pub fn samples_seen(&self) -> Option<u64> {
        match self {
            Self::IsolationForest(_) => None,
            Self::TemporalEnvelope(envelope) => Some(envelope.samples_seen()),
            Self::Calibrated(calibrated) => Some(calibrated.samples_seen()),
            Self::Tuned(tuned) => tuned.model().samples_seen(),
        }
    }

    /// What a joint score of 1 stands for; `None` of a model that has no such notion.
    #[must_use]
    pub fn yardstick(&self) -> Option<Yardstick> {
        match self {
            Self::Calibrated(calibrated) => Some(calibrated.yardstick()),
            Self::IsolationForest(_) | Self::TemporalEnvelope(_) => None,
            Self::Tuned(tuned) => tuned.model().yardstick(),
        }
    }

    /// Learns the samples of all channels, time by time. A model that is only fitted learns nothing from it.
    ///
    /// # Panics
    /// If there are not as many values as channels and times: the caller's bug.
    pub fn learn(&mut self, channels: Channels<'_>) {
        match self {
            Self::IsolationForest(_) => {}
            Self::TemporalEnvelope(envelope) => each_tick(channels, |_, time, values| envelope.learn(time, values)),
            Self::Calibrated(calibrated) => each_tick(channels, |_, time, values| calibrated.learn(time, values)),
            Self::Tuned(tuned) => tuned.learn(channels),
        }
    }

    /// Appends the state in its versioned binary form.
    pub fn save(&self, out: &mut Vec<u8>) {
        match self {
            Self::IsolationForest(forest) => forest.save(out),
            Self::TemporalEnvelope(envelope) => envelope.save(out),
            Self::Calibrated(calibrated) => calibrated.save(out),
            Self::Tuned(tuned) => tuned.save(out),
        }
    }

    /// Replaces the state by a saved one.
    ///
    /// # Errors
    /// When the bytes are no state of this model and its channels; the model is unchanged then.
    pub fn load(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        match self {
            Self::IsolationForest(forest) => forest.load(bytes),
            Self::TemporalEnvelope(envelope) => envelope.load(bytes),
            Self::Calibrated(calibrated) => calibrated.load(bytes),
            Self::Tuned(tuned) => tuned.load(bytes),
        }
    }
}

impl JointScores {
    /// Of a model that tells channels apart, without any score yet.
    fn of_channels(channels: Channels<'_>, horizons: usize) -> Self {
        let points = channels.times.len();
        let samples = channels.count * points;
        Self {
            anomaly_score: vec![f64::NAN; points],
            intervals: vec![Interval::NONE; samples],
            channel_scores: vec![f64::NAN; samples],
            stage: vec![f64::NAN; points],
            forecasts: vec![Interval::NONE; samples * horizons],
        }
    }

    /// Puts what was said of a time.
    fn put(&mut self, index: usize, (score, stage): (f64, Readiness), of_channels: &[ChannelScore]) {
        let points = self.anomaly_score.len();
        (self.anomaly_score[index], self.stage[index]) = (score, stage.value());
        for (channel, of_channel) in of_channels.iter().enumerate() {
            self.intervals[channel * points + index] = of_channel.interval;
            self.channel_scores[channel * points + index] = of_channel.score;
        }
    }
}

/// Looks at every time at which a channel has a sample: its index, the time, and the values of all channels.
fn each_tick(channels: Channels<'_>, mut visit: impl FnMut(usize, i64, &[f64])) {
    let mut values = Vec::with_capacity(channels.count);
    for (index, time) in channels.times.iter().enumerate() {
        values.clear();
        values.extend(channels.at(index));
        if !values.iter().all(|value| is_missing(*value)) {
            visit(index, *time, &values);
        }
    }
}

/// So many samples must have been seen for a score above 0 of each channel.
fn warm_up(policies: &[ScorePolicy]) -> u64 {
    policies.iter().map(|policy| policy.min_n_samples_seen).max().unwrap_or(0)
}

/// The score of a time by a model that gives a base score of its own: one channel outside its data range is enough.
fn score_of_base(base: f64, values: impl Iterator<Item = f64>, policies: &[ScorePolicy]) -> f64 {
    if base.is_nan() {
        return f64::NAN;
    }
    let mut score = f64::NAN;
    for (value, policy) in values.zip(policies) {
        score = policy.score_of_base(base, value);
        if policy.is_outside_data_range(value) {
            break;
        }
    }
    score
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MISSING;

    const TIMES: [i64; 4] = [0, 60_000, 120_000, 180_000];

    fn forest() -> MultivariateSpec {
        MultivariateSpec::IsolationForest(IsolationForestArgs::default(), Zone::default())
    }

    fn envelope() -> MultivariateSpec {
        let args =
            TemporalEnvelopeMultivariateArgs { max_channels: 2, recommended_max_channels: 1, ..Default::default() };
        MultivariateSpec::TemporalEnvelope(args, Zone::default())
    }

    #[test]
    fn a_channel_outside_its_data_range_decides_the_score_of_a_forest() {
        let values = [1.0, 2.0, 3.0, 4.0, 1.0, 3.0, 2.0, 4.0];
        let channels = Channels { times: &TIMES, count: 2, values: &values };
        let mut model = forest().fit(&["a", "b"], channels).unwrap();
        let policy = ScorePolicy { score_outside_data_range: 5.0, ..ScorePolicy::default() };
        let narrow = ScorePolicy { data_range: (0.0, 2.5), ..policy };
        let scores = model.infer(channels, &[narrow, policy]).anomaly_score;
        let outside: Vec<bool> = scores.iter().map(|score| *score == 5.0).collect();
        assert_eq!(outside, [false, false, true, true]);
        let missing = [1.0, MISSING, 3.0, 4.0, 1.0, 3.0, 2.0, f64::NAN];
        let scores = model.infer(Channels { values: &missing, ..channels }, &[policy, policy]);
        assert!(scores.anomaly_score[1].is_nan() && scores.anomaly_score[3].is_nan());
        assert!(scores.anomaly_score[0].is_finite() && scores.intervals.is_empty());
    }

    #[test]
    fn an_envelope_gives_an_interval_for_each_channel_and_time_and_no_score_where_nothing_is_there() {
        let values = [1.0, 2.0, MISSING, 4.0, 10.0, MISSING, MISSING, 40.0];
        let channels = Channels { times: &TIMES, count: 2, values: &values };
        let mut model = envelope().fit(&["a", "b"], channels).unwrap();
        let scores = model.infer(channels, &[ScorePolicy::default(); 2]);
        let has_score: Vec<bool> = scores.anomaly_score.iter().map(|score| score.is_finite()).collect();
        assert_eq!(has_score, [true, true, false, true]);
        let expected: Vec<bool> = scores.intervals.iter().map(|interval| interval.yhat.is_finite()).collect();
        assert_eq!(expected, [true, true, false, true, true, false, false, true]);
    }

    #[test]
    fn channels_beyond_the_limit_and_none_at_all_are_refused() {
        let message = |spec: MultivariateSpec, names: &[&str]| spec.new_model(names).unwrap_err().to_string();
        assert_eq!(message(envelope(), &["a", "b", "c"]), "there are 3 channels, max_channels is 2");
        assert_eq!(message(forest(), &[]), "the fit failed: there are no series");
        assert!(envelope().exceeds_recommendation(2) && !envelope().exceeds_recommendation(1));
    }
}
