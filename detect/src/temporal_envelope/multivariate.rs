//! `temporal_envelope_multivariate`: an envelope for each of several channels, what they have in common, and one score.
//!
//! # Formulas
//!
//! Every channel `c` has an [envelope](super) of its own with the residual `e_c` and the usual size of its residuals `d_c`. What is
//! left in common is learnt from `x_c = clamp(e_c / d_c, ±4)`:
//!
//! - The columns of a matrix `W` of `dependency_rank` columns and a row for each channel tend to the principal directions of `x`,
//!   the strongest first (T. Sanger, "Optimal unsupervised learning in a single-layer linear feedforward neural network", 1989):
//!   for one column `w` after the other, `y = w' x`, `w = w + h y (x - y w)` with `h = 0.05 / (1 + y^2)`, and the next one sees
//!   `x - y w`. It starts with random signs, divided by the square root of the number of channels, that depend on `random_state`
//!   and the channel's name.
//! - With `l_k = mean(y_k^2)` and `v`, the mean square of what no column explains a channel, `s_k = 1 - v / l_k`, from 0 to 1, is how
//!   far a direction is more than noise.
//! - The other channels' guess of a channel leaves the channel itself out of the directions:
//!   `g_c = sum_k s_k w_ck (y_k - w_ck x_c) / (1 - sum_k s_k w_ck^2)`, the sum below at most 0.9; for one direction, this is the least
//!   squares solution. How far it is to be trusted is `r_c = mean(x_c g_c) / mean(g_c^2)`, from 0 to 1.
//! - The joint expectation of the channel is `yhat_c + r_c g_c d_c`. The band around it is made like an envelope's, of the
//!   residuals from the joint expectation.
//!
//! A channel's score is that against its own band or against the joint one, whichever is greater, each with the policy of the
//! channel: so a channel that leaves its own pattern shows, and one that leaves the others while they move together. The joint
//! score is the maximum, the mean or the root mean square of the scores of the channels that have one; NaN if none has.
//!
//! Channels are kept in the order of their names, so the order in which they are given does not change a bit.
//!
//! [Safeguards](crate::safeguards) are those of each channel: neither its own band nor the joint one is narrower than the floor, and
//! a sample beyond the limit, by its own band, is learnt as if it were there, by its channel and by what all have in common.
//! Forecasts are those of the channels' own envelopes.
//!
//! # State
//!
//! At most [`max_state_bytes`], some 5.4 kB a channel with the default arguments. The [header](crate::state) `tm`, then the ticks
//! seen (`u64`), the numbers of channels and of columns (`u32`), `mean(|x|^2)` and all `l` (`f64`). For each channel: the hash of its
//! name (`u64`), its row of `W`, both means (`f64`), the residuals from the joint expectation, its noise (`u64`, two `f64`), and the
//! size (`u32`) and bytes of its envelope's state.

use std::{fmt, str::FromStr};

use super::residual::Residuals;
use super::{RESIDUALS_MS, TemporalEnvelope, TemporalEnvelopeArgs, around, bounded};
use crate::argument::{ArgumentError, Arguments};
use crate::calendar::Zone;
use crate::channel_order;
use crate::model::{OnlineModel, StateError, is_missing};
use crate::multivariate::ChannelScore;
use crate::readiness::Readiness;
use crate::safeguards::{NOISE_BYTES, Noise, Safeguards};
use crate::score::{Interval, ScorePolicy, at_least, at_most};
use crate::state::{Format, HEADER_BYTES, Reader, Writer, require};

/// Tag and version of the state.
pub const FORMAT: Format = Format { tag: *b"tm", version: 2 };

/// Largest `dependency_rank`.
pub const MAX_DEPENDENCY_RANK: u32 = 64;

const CLASS: &str = "temporal_envelope_multivariate";

/// Usual sizes beyond which a residual counts no more for what channels have in common.
const LARGEST: f64 = 4.0;

/// Gain of a direction's rule.
const DIRECTION_GAIN: f64 = 0.05;

/// Gain of the means that say how far a direction or a guess is to be trusted.
const TRUST_GAIN: f64 = 0.005;

/// The greatest share of a channel's own direction in the base.
const OWN_SHARE: f64 = 0.9;

/// How the scores of channels become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Aggregation {
    /// The greatest score.
    Max,
    /// The mean of the scores.
    Mean,
    /// The root of the mean of the squares.
    #[default]
    L2,
}

impl Aggregation {
    /// Its name in configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Max => "max",
            Self::Mean => "mean",
            Self::L2 => "l2",
        }
    }

    /// One score of those that are not NaN; NaN if there is none.
    #[must_use]
    pub fn joint(self, scores: impl Iterator<Item = f64>) -> f64 {
        let (mut count, mut greatest, mut sum, mut squares) = (0.0, 0.0, 0.0, 0.0);
        for score in scores.filter(|score| !score.is_nan()) {
            count += 1.0;
            greatest = at_least(score, greatest);
            sum += score;
            squares += score * score;
        }
        match self {
            _ if count == 0.0 => f64::NAN,
            Self::Max => greatest,
            Self::Mean => sum / count,
            Self::L2 => (squares / count).sqrt(),
        }
    }
}

/// A name that is no aggregation's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no aggregation of scores, it must be max, mean or l2")]
pub struct AggregationError(String);

impl FromStr for Aggregation {
    type Err = AggregationError;

    fn from_str(text: &str) -> Result<Self, AggregationError> {
        let named = [Self::Max, Self::Mean, Self::L2].into_iter().find(|aggregation| aggregation.name() == text);
        named.ok_or_else(|| AggregationError(text.into()))
    }
}

impl fmt::Display for Aggregation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Arguments of `temporal_envelope_multivariate`.
#[derive(Debug, Clone, PartialEq)]
pub struct TemporalEnvelopeMultivariateArgs {
    /// Of each channel's envelope.
    pub envelope: TemporalEnvelopeArgs,
    /// Directions that channels may have in common; at most [`MAX_DEPENDENCY_RANK`], 0 leaves channels to themselves.
    pub dependency_rank: u32,
    /// How the scores of channels become one.
    pub score_aggregation: Aggregation,
    /// More channels are refused; at least 1.
    pub max_channels: u32,
    /// More channels are not recommended; at least 1, at most `max_channels`.
    pub recommended_max_channels: u32,
    /// Seed of the first directions.
    pub random_state: u64,
    /// Of each channel.
    pub safeguards: Safeguards,
}

impl Default for TemporalEnvelopeMultivariateArgs {
    fn default() -> Self {
        Self {
            envelope: TemporalEnvelopeArgs::default(),
            dependency_rank: 8,
            score_aggregation: Aggregation::L2,
            max_channels: 1000,
            recommended_max_channels: 100,
            random_state: 42,
            safeguards: Safeguards::default(),
        }
    }
}

impl TemporalEnvelopeMultivariateArgs {
    /// Checks every argument against its range.
    ///
    /// # Errors
    /// Names the first argument that is outside its range.
    pub fn validate(&self) -> Result<(), ArgumentError> {
        self.envelope.validate().map_err(|error| ArgumentError { class: CLASS, ..error })?;
        self.safeguards.validate(CLASS)?;
        let arguments = Arguments(CLASS);
        let Self { dependency_rank, max_channels, recommended_max_channels, .. } = *self;
        arguments.require("dependency_rank", dependency_rank, "at most 64", dependency_rank <= MAX_DEPENDENCY_RANK)?;
        arguments.require("max_channels", max_channels, "at least 1", max_channels >= 1)?;
        let holds = (1..=max_channels).contains(&recommended_max_channels);
        let range = "at least 1 and at most max_channels";
        arguments.require("recommended_max_channels", recommended_max_channels, range, holds)
    }

    /// The arguments that act on learning; see [`crate::spec::ModelSpec::learning_signature`].
    pub(crate) fn learning_signature(&self) -> String {
        let Self { dependency_rank, random_state, safeguards, .. } = self;
        let envelope = self.envelope.learning_signature();
        let limit = match safeguards {
            Safeguards { influence_limit: 0.0, .. } => String::new(),
            // The limit is in margins, which the floor is a part of.
            Safeguards { band_floor, influence_limit } => {
                format!(" influence_limit={influence_limit:?} band_floor={band_floor:?}")
            }
        };
        format!("{envelope} dependency_rank={dependency_rank} random_state={random_state}{limit}")
    }
}

/// Greatest size of a saved state of so many channels.
#[must_use]
pub fn max_state_bytes(args: &TemporalEnvelopeMultivariateArgs, channels: usize) -> usize {
    let row = 8 * columns(args, channels);
    let residuals = Residuals::max_saved_bytes();
    let channel = 8 + row + 2 * 8 + residuals + NOISE_BYTES + 4 + super::max_state_bytes(&args.envelope);
    HEADER_BYTES + 8 + 4 + 4 + 8 + row + channels * channel
}

/// No more directions than channels less one: one must be left to be guessed.
fn columns(args: &TemporalEnvelopeMultivariateArgs, channels: usize) -> usize {
    (args.dependency_rank as usize).min(channels.saturating_sub(1))
}

#[derive(Debug, Clone)]
struct Channel {
    /// Hash of its name.
    key: u64,
    /// Its index in the caller's order.
    index: usize,
    envelope: TemporalEnvelope,
    /// Its row of `W`.
    row: Box<[f64]>,
    /// Means of `x g` and of `g^2`.
    agreement: f64,
    power: f64,
    /// From the joint expectation.
    residuals: Residuals,
    noise: Noise,
    /// Of this tick: the residual, its usual size, and `x`.
    residual: f64,
    size: f64,
    standard: f64,
    /// What the directions so far leave of `x`.
    rest: f64,
}

/// A principal direction of the channels.
#[derive(Debug, Clone, Copy, Default)]
struct Direction {
    /// `l`.
    power: f64,
    /// `y` of this tick.
    value: f64,
    /// `s` of this tick.
    share: f64,
}

impl Channel {
    fn new(index: usize, name: &str, empty: &TemporalEnvelope, columns: usize, channels: usize, seed: u64) -> Self {
        let key = channel_order::key(name);
        let length = 1.0 / (channels as f64).sqrt();
        let mut state = key ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let row = (0..columns).map(|_| if splitmix(&mut state) >> 63 == 0 { length } else { -length });
        Self {
            key,
            index,
            envelope: empty.clone(),
            row: row.collect(),
            agreement: 0.0,
            power: 0.0,
            residuals: Residuals::default(),
            noise: Noise::default(),
            residual: 0.0,
            size: 0.0,
            standard: 0.0,
            rest: 0.0,
        }
    }

    /// Compares a sample with the envelope; one that is not finite is as expected.
    fn compare(&mut self, time: i64, value: f64) {
        let typical = self.envelope.residuals.typical();
        let is_known = value.is_finite() && typical < f64::MAX;
        self.residual = if is_known { self.envelope.compare(time, value).1 } else { 0.0 };
        self.size = if is_known { typical } else { 0.0 };
        let standard = if self.size > 0.0 { self.residual / self.size } else { 0.0 };
        self.standard = standard.clamp(-LARGEST, LARGEST);
    }

    /// The other channels' guess of `x`.
    fn guess(&self, directions: &[Direction]) -> f64 {
        let (mut guess, mut own) = (0.0, 0.0);
        for (weight, Direction { value, share, .. }) in self.row.iter().zip(directions) {
            guess += share * weight * (value - weight * self.standard);
            own += share * weight * weight;
        }
        (guess / (1.0 - at_most(own, OWN_SHARE))).clamp(-LARGEST, LARGEST)
    }

    /// The guess as far as it is to be trusted, in the unit of the channel.
    fn shift(&self, guess: f64) -> f64 {
        if self.power > 0.0 { bounded((self.agreement / self.power).clamp(0.0, 1.0) * guess * self.size) } else { 0.0 }
    }

    /// What its own envelope expects.
    fn predict(&self, time: i64, safeguards: Safeguards) -> Interval {
        safeguards.widened(self.envelope.predict(time), &self.noise)
    }

    fn score(
        &self,
        time: i64,
        value: f64,
        guess: f64,
        policy: &ScorePolicy,
        (ticks_seen, safeguards): (u64, Safeguards),
    ) -> ChannelScore {
        if is_missing(value) {
            return ChannelScore::NONE;
        }
        let expected = self.predict(time, safeguards);
        let interval = policy.prepare(expected);
        let score = policy.score(interval, value, ticks_seen);
        if self.row.is_empty() || self.residuals.typical() == f64::MAX || self.size == 0.0 {
            return ChannelScore { interval, score };
        }
        let args = &self.envelope.shared.args;
        let band = self.residuals.band(args.quantiles, args.iqr_threshold);
        let joint = around(bounded(expected.yhat + self.shift(guess)), band, 1.0);
        let joint = policy.prepare(safeguards.widened(joint, &self.noise));
        ChannelScore { interval, score: at_least(score, policy.score(joint, value, ticks_seen)) }
    }

    /// The sample as far as it is learnt.
    fn limited(&self, time: i64, value: f64, safeguards: Safeguards) -> f64 {
        if !value.is_finite() {
            return value;
        }
        safeguards.limited(value, self.envelope.samples_seen(), || self.predict(time, safeguards))
    }

    fn learn(&mut self, time: i64, value: f64, guess: f64) {
        if self.size > 0.0 {
            let args = &self.envelope.shared.args;
            let typical = self.residuals.typical();
            let limit = bounded(args.loss_reactivity * typical);
            let forget = at_most(args.alpha / 10.0, self.envelope.step / RESIDUALS_MS);
            let residual = bounded(self.residual - self.shift(guess));
            self.residuals.learn(residual, typical, limit, forget);
            self.agreement += TRUST_GAIN * (self.standard * guess - self.agreement);
            self.power += TRUST_GAIN * (guess * guess - self.power);
        }
        self.envelope.learn(time, value);
    }
}

/// `temporal_envelope_multivariate` of one group of channels.
#[derive(Debug, Clone)]
pub struct TemporalEnvelopeMultivariate {
    args: TemporalEnvelopeMultivariateArgs,
    ticks_seen: u64,
    /// In the order of their names.
    channels: Vec<Channel>,
    /// The columns of `W`.
    directions: Vec<Direction>,
    /// `mean(|x|^2)`.
    power: f64,
    /// Of this tick, in the caller's order.
    scores: Vec<ChannelScore>,
    /// The same, as many for each channel as there are horizons.
    forecasts: Vec<Interval>,
    /// The samples of this tick as far as they are learnt.
    learnt: Vec<f64>,
}

impl TemporalEnvelopeMultivariate {
    /// A model of channels with these names that has learnt nothing. Arguments are
    /// [validated](TemporalEnvelopeMultivariateArgs::validate).
    ///
    /// # Errors
    /// If there are more channels than `max_channels`, or two of the same name.
    pub fn new(
        args: TemporalEnvelopeMultivariateArgs,
        zone: Zone,
        names: &[impl AsRef<str>],
    ) -> Result<Self, ArgumentError> {
        let sorted = channel_order::sorted(CLASS, args.max_channels, names)?;
        let empty = TemporalEnvelope::new(args.envelope.clone(), zone);
        let columns = columns(&args, names.len());
        let channel =
            |(index, name): &(usize, &str)| Channel::new(*index, name, &empty, columns, names.len(), args.random_state);
        let channels = sorted.iter().map(channel).collect();
        Ok(Self {
            ticks_seen: 0,
            channels,
            directions: vec![Direction::default(); columns],
            power: 0.0,
            scores: vec![ChannelScore::NONE; names.len()],
            forecasts: Vec::with_capacity(names.len() * args.envelope.forecast_at.len()),
            learnt: Vec::with_capacity(names.len()),
            args,
        })
    }

    /// Whether there are more channels than recommended.
    #[must_use]
    pub fn exceeds_recommendation(&self) -> bool {
        self.channels.len() > self.args.recommended_max_channels as usize
    }

    /// Predicts, scores and then learns the samples of all channels at a time. `values` and `policies` are in the order of the
    /// names; [`MISSING`](crate::model::MISSING) where a channel has no sample. Returns the joint score.
    ///
    /// # Panics
    /// If there are not as many values and policies as channels: the caller's bug.
    pub fn infer(&mut self, time: i64, values: &[f64], policies: &[ScorePolicy]) -> f64 {
        let score = self.score(time, values, policies);
        self.forecast(time, values, policies);
        self.update(time, values);
        score
    }

    /// The same without learning and without forecasts.
    ///
    /// # Panics
    /// If there are not as many values and policies as channels: the caller's bug.
    pub fn score(&mut self, time: i64, values: &[f64], policies: &[ScorePolicy]) -> f64 {
        assert_eq!((values.len(), policies.len()), (self.channels.len(), self.channels.len()), "one for each channel");
        self.look(time, values);
        let of_tick = (self.ticks_seen, self.args.safeguards);
        for channel in &self.channels {
            let (value, policy) = (values[channel.index], &policies[channel.index]);
            let guess = channel.guess(&self.directions);
            self.scores[channel.index] = channel.score(time, value, guess, policy, of_tick);
        }
        self.args.score_aggregation.joint(self.channels.iter().map(|channel| self.scores[channel.index].score))
    }

    /// Each channel's part of the latest joint score, in the order of the names.
    #[must_use]
    pub fn channel_scores(&self) -> &[ChannelScore] {
        &self.scores
    }

    /// What was expected of each channel at each of its horizons when the latest joint score was made, channel by channel in
    /// the order of the names, prepared by its policy; NaN where the sample is missing.
    #[must_use]
    pub fn forecasts(&self) -> &[Interval] {
        &self.forecasts
    }

    /// How many forecasts there are for each channel.
    #[must_use]
    pub fn horizons(&self) -> usize {
        self.args.envelope.forecast_at.len()
    }

    fn forecast(&mut self, time: i64, values: &[f64], policies: &[ScorePolicy]) {
        let (horizons, safeguards) = (self.horizons(), self.args.safeguards);
        if horizons == 0 {
            return;
        }
        self.forecasts.clear();
        self.forecasts.resize(horizons * self.channels.len(), Interval::NONE);
        let mut own = Vec::with_capacity(horizons);
        for channel in self.channels.iter().filter(|channel| !is_missing(values[channel.index])) {
            own.clear();
            channel.envelope.forecasts(time, &mut own);
            let of_channel = &mut self.forecasts[channel.index * horizons..(channel.index + 1) * horizons];
            for (forecast, expected) in of_channel.iter_mut().zip(&own) {
                *forecast = policies[channel.index].prepare(safeguards.widened(*expected, &channel.noise));
            }
        }
    }

    /// Learns the samples of all channels at a time.
    ///
    /// # Panics
    /// If there are not as many values as channels: the caller's bug.
    pub fn learn(&mut self, time: i64, values: &[f64]) {
        assert_eq!(values.len(), self.channels.len(), "one for each channel");
        self.look(time, values);
        self.update(time, values);
    }

    /// Ticks with a finite sample that were learnt.
    #[must_use]
    pub fn samples_seen(&self) -> u64 {
        self.ticks_seen
    }

    /// That of the channel that has seen least; see [`OnlineModel::readiness`](crate::model::OnlineModel::readiness).
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let of_channels = self.channels.iter().map(|channel| channel.envelope.readiness());
        of_channels.fold(if self.ticks_seen > 0 { Readiness::READY } else { Readiness::NONE }, Readiness::and)
    }

    /// Finds `x`, `y` and `s` of a tick.
    fn look(&mut self, time: i64, values: &[f64]) {
        self.directions.iter_mut().for_each(|direction| direction.value = 0.0);
        for channel in &mut self.channels {
            channel.compare(time, values[channel.index]);
            for (direction, weight) in self.directions.iter_mut().zip(&channel.row) {
                direction.value += weight * channel.standard;
            }
        }
        let explained: f64 = self.directions.iter().map(|direction| direction.power).sum();
        // There are fewer directions than channels.
        let left_over = (self.channels.len() - self.directions.len()).max(1) as f64;
        let noise = at_least(self.power - explained, 0.0) / left_over;
        for direction in &mut self.directions {
            direction.share = if direction.power > noise { 1.0 - noise / direction.power } else { 0.0 };
        }
    }

    /// Learns a tick that was looked at.
    fn update(&mut self, time: i64, values: &[f64]) {
        self.ticks_seen += u64::from(values.iter().any(|value| value.is_finite()));
        let mut learnt = std::mem::take(&mut self.learnt);
        learnt.clear();
        learnt.extend_from_slice(values);
        if self.args.safeguards.influence_limit > 0.0 {
            for channel in &self.channels {
                let value = &mut learnt[channel.index];
                *value = channel.limited(time, *value, self.args.safeguards);
            }
            self.look(time, &learnt);
        }
        for channel in &mut self.channels {
            let guess = channel.guess(&self.directions);
            channel.learn(time, learnt[channel.index], guess);
            let value = values[channel.index];
            if value.is_finite() {
                channel.noise.learn(value);
            }
        }
        self.learnt = learnt;
        self.turn_directions();
    }

    fn turn_directions(&mut self) {
        let mut length = 0.0;
        for channel in &mut self.channels {
            channel.rest = channel.standard;
            length += channel.standard * channel.standard;
        }
        self.power += TRUST_GAIN * (length - self.power);
        for (column, direction) in self.directions.iter_mut().enumerate() {
            let value: f64 = self.channels.iter().map(|channel| channel.row[column] * channel.rest).sum();
            direction.power += TRUST_GAIN * (value * value - direction.power);
            let gain = DIRECTION_GAIN / (1.0 + value * value);
            for Channel { row, rest, .. } in &mut self.channels {
                let weight = &mut row[column];
                *weight = (*weight + gain * value * (*rest - value * *weight)).clamp(-1.0, 1.0);
                *rest = (*rest - value * *weight).clamp(-LARGEST, LARGEST);
            }
        }
    }

    /// Appends the state in its versioned binary form.
    pub fn save(&self, out: &mut Vec<u8>) {
        let mut state = Vec::new();
        let mut writer = Writer::new(FORMAT, out);
        writer.u64(self.ticks_seen);
        // At most `max_channels` and `MAX_DEPENDENCY_RANK`.
        writer.u32(self.channels.len() as u32);
        writer.u32(self.directions.len() as u32);
        writer.f64(self.power);
        self.directions.iter().for_each(|direction| writer.f64(direction.power));
        for channel in &self.channels {
            writer.u64(channel.key);
            for number in channel.row.iter().chain([&channel.agreement, &channel.power]) {
                writer.f64(*number);
            }
            channel.residuals.save(&mut writer);
            channel.noise.write(&mut writer);
            state.clear();
            channel.envelope.save(&mut state);
            writer.u32(state.len() as u32);
            writer.bytes(&state);
        }
    }

    /// Replaces the state by a saved one.
    ///
    /// # Errors
    /// When the bytes are no state of this model and these channels; the model is unchanged then.
    pub fn load(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let mut reader = Reader::new(FORMAT, bytes)?;
        let mut loaded = self.clone();
        loaded.ticks_seen = reader.u64()?;
        require(reader.u32()? as usize == self.channels.len(), "it is of other channels")?;
        require(reader.u32()? as usize == self.directions.len(), "it was learnt with another rank")?;
        let mut power = || {
            let power = reader.finite()?;
            require(power.is_sign_positive(), "a mean square is negative").map(|()| power)
        };
        loaded.power = power()?;
        for direction in &mut loaded.directions {
            direction.power = power()?;
        }
        for channel in &mut loaded.channels {
            require(reader.u64()? == channel.key, "it is of other channels")?;
            for weight in &mut channel.row {
                *weight = reader.finite()?;
                require(weight.abs() <= 1.0, "a weight is out of range")?;
            }
            (channel.agreement, channel.power) = (reader.finite()?, reader.finite()?);
            let most = LARGEST * LARGEST;
            let holds = channel.agreement.abs() <= most && (0.0..=most).contains(&channel.power);
            require(holds && channel.power.is_sign_positive(), "the trust in a guess is out of range")?;
            channel.residuals = Residuals::load(&mut reader)?;
            channel.noise = Noise::read(&mut reader)?;
            let size = reader.u32()? as usize;
            channel.envelope.load(reader.bytes(size)?)?;
            require(channel.envelope.samples_seen() <= loaded.ticks_seen, "more samples than ticks")?;
        }
        reader.finish()?;
        *self = loaded;
        Ok(())
    }

    /// Bytes on the heap that the model holds.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let of_channel = |channel: &Channel| {
            size_of::<Channel>()
                + channel.row.len() * size_of::<f64>()
                + channel.residuals.heap_bytes()
                + channel.envelope.heap_bytes()
        };
        self.channels.iter().map(of_channel).sum::<usize>()
            + self.scores.len() * size_of::<ChannelScore>()
            + self.forecasts.capacity() * size_of::<Interval>()
            + self.learnt.capacity() * size_of::<f64>()
    }
}

/// The next of a sequence of pseudo-random numbers.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_arguments_that_act_on_learning_change_the_signature() {
        let plain = TemporalEnvelopeMultivariateArgs::default();
        let signature = plain.learning_signature();
        assert!(signature.ends_with("group_holidays=false dependency_rank=8 random_state=42"), "{signature}");
        let other = TemporalEnvelopeMultivariateArgs {
            score_aggregation: Aggregation::Max,
            max_channels: 5,
            recommended_max_channels: 5,
            safeguards: Safeguards { band_floor: 2.0, influence_limit: 0.0 },
            ..plain.clone()
        };
        assert_eq!(other.learning_signature(), signature);
        let limited = Safeguards { band_floor: 2.0, influence_limit: 3.0 };
        let limited = TemporalEnvelopeMultivariateArgs { safeguards: limited, ..plain }.learning_signature();
        assert!(limited.ends_with(" random_state=42 influence_limit=3.0 band_floor=2.0"), "{limited}");
    }

    #[test]
    fn scores_become_one_and_those_that_are_none_do_not_count() {
        let joint = |aggregation: Aggregation| aggregation.joint([3.0, f64::NAN, 1.0, 2.0].into_iter());
        assert_eq!([Aggregation::Max, Aggregation::Mean].map(joint), [3.0, 2.0]);
        assert!((joint(Aggregation::L2) - (14.0_f64 / 3.0).sqrt()).abs() < 1e-15);
        assert!(Aggregation::L2.joint([f64::NAN].into_iter()).is_nan());
        assert_eq!("mean".parse(), Ok(Aggregation::Mean));
        assert!("sum".parse::<Aggregation>().is_err());
    }
}
