//! `calibrated_multivariate`: a [`calibrated`](super) model for each of several channels, and one score for all of them.
//!
//! Few channels that are a little unusual at one time say more than one that is very unusual, and how far they go together in usual
//! times differs from group to group. So the channels' distances become one, and that is measured against what this very group does.
//!
//! # Score
//!
//! 1. The distance of a channel is its score as of `calibrated` before the hold: `max |u| / half` over its views, with half a band as it
//!    is without an alarm before, and without caution, since the group is measured against itself. A channel counts at a tick if it has
//!    a finite sample, has had [`FIRST_SCORED`](super::FIRST_SCORED) of them before, and has ever moved.
//! 2. The joint distance is the geometric mean of the three greatest distances, of fewer where fewer channels count:
//!    `R = exp(mean(ln(distance + 0.001)))`, and 0 where all of them are 0. Of a group of one channel it is that channel's distance, and
//!    of two channels it takes both.
//! 3. The greatest `R` of a block, as long as those of `calibrated`, goes into a ring of the latest [`BLOCKS`](super::BLOCKS) blocks.
//!    With the median `M` of `q >= 3` of them, `T = ((1.4 M q / (q + 5))^4 + 1)^(1/4)`; before that `T = 1`. The group is measured
//!    against itself, and never more strictly than a single series is.
//! 4. The score is `R / T`. After an alarm of the height `e`, which fades as that of a series, `R / T` above `e` scores `R / (T e)`, and
//!    all else at most 0.999.
//!
//! Where the sample is missing, or not finite, at a tick, the channel does not count, and learns nothing; its season and its hold go by
//! the clock. A tick at which no channel has a finite sample has no score and teaches nothing. One at which none counts scores 0.
//!
//! How a [`ScorePolicy`](crate::score::ScorePolicy) acts, each on its own channel, before the distances become one:
//!
//! - `scale`, `direction`, minimal deviations and the warm-up act on the distance as on a score of `calibrated`; a channel that they
//!   make 0 still counts, as one that is as expected. The warm-up is in ticks of the group.
//! - A channel outside its `data_range` decides the joint score: it is the greatest `score_outside_data_range` of such channels.
//! - Rings and holds are those of the distances without a policy: what is learnt does not know of policies.
//!
//! Beside the score there are the interval of each channel, bit for bit that of `calibrated` without caution for the channel alone, and
//! its distance by its policy: the channels with the greatest ones made the score.
//!
//! Channels are kept in the order of their names, and distances are sorted before they become one, so the order in which channels are
//! given does not change a bit.
//!
//! # State
//!
//! At most [`max_state_bytes`]: 6.4 kB a channel for steps of five minutes and less, and 0.5 kB for the group. The [header](crate::state)
//! `cm`, then the ticks seen (`u64`), the block of the latest one and its time in ms (`i64`), the number of blocks (`u64`), the greatest
//! `R` of the current one, the logarithm of the height (`f64`), the maxima of the blocks in the ring (`f32`), and the number of channels
//! (`u32`). For each channel: the hash of its name (`u64`), and the size (`u32`) and bytes of its state, that of `calibrated`.

use super::codec::Stored;
use super::driver::Yardstick;
use super::joint::{Farthest, Joint};
use super::maxima::BLOCKS;
use super::pace::{Moment, Pace};
use super::state::State;
use super::{CalibratedArgs, codec};
use crate::argument::{ArgumentError, Arguments};
use crate::calendar::Zone;
use crate::channel_order;
use crate::model::{StateError, is_missing};
use crate::multivariate::ChannelScore;
use crate::readiness::{NeededHistory, Readiness, Stage};
use crate::score::{self, Direction, ScorePolicy, at_least};
use crate::state::{Format, HEADER_BYTES, Reader, Writer, require};

/// Tag and version of the state.
pub const FORMAT: Format = Format { tag: *b"cm", version: 1 };

const CLASS: &str = "calibrated_multivariate";

/// Arguments of `calibrated_multivariate`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CalibratedMultivariateArgs {
    /// Distance of the channels' samples, ms; above 0. All that is remembered follows from it.
    pub step: i64,
    /// More channels are refused; at least 1.
    pub max_channels: u32,
    /// More channels are not recommended; at least 1, at most `max_channels`.
    pub recommended_max_channels: u32,
}

impl CalibratedMultivariateArgs {
    /// For channels of this step, ms.
    #[must_use]
    pub const fn new(step: i64) -> Self {
        Self { step, max_channels: 1000, recommended_max_channels: 100 }
    }

    /// Of each channel.
    const fn channel(&self) -> CalibratedArgs {
        CalibratedArgs::of_channel(self.step)
    }

    /// Checks every argument against its range.
    ///
    /// # Errors
    /// Names the first argument that is outside its range.
    pub fn validate(&self) -> Result<(), ArgumentError> {
        self.channel().validate().map_err(|error| ArgumentError { class: CLASS, ..error })?;
        let arguments = Arguments(CLASS);
        let Self { max_channels, recommended_max_channels, .. } = *self;
        arguments.require("max_channels", max_channels, "at least 1", max_channels >= 1)?;
        let holds = (1..=max_channels).contains(&recommended_max_channels);
        let range = "at least 1 and at most max_channels";
        arguments.require("recommended_max_channels", recommended_max_channels, range, holds)
    }

    /// That of each channel.
    pub(crate) fn needed_history(&self, warm_up: u64) -> NeededHistory {
        self.channel().needed_history(warm_up)
    }

    /// The arguments that act on learning; see [`crate::spec::ModelSpec::learning_signature`]. Of the channels the version counts
    /// too, whose states the group's has in it.
    pub(crate) fn learning_signature(&self) -> String {
        format!("{} channels=v{}", self.channel().learning_signature(), codec::FORMAT.version)
    }
}

/// Greatest size of a saved state of so many channels.
#[must_use]
pub fn max_state_bytes(args: &CalibratedMultivariateArgs, channels: usize) -> usize {
    let channel = 8 + 4 + codec::max_state_bytes(&args.channel());
    HEADER_BYTES + 4 * 8 + 2 * 8 + BLOCKS * 4 + 4 + channels * channel
}

#[derive(Debug, Clone)]
struct Channel<S> {
    /// Hash of its name.
    key: u64,
    /// Its index in the caller's order.
    index: usize,
    state: State<S>,
}

/// What one channel adds to a tick.
struct Distance {
    /// Whatever the policy; `None` where the channel does not count.
    own: Option<f64>,
    /// By the policy; more than 0 in a channel that does not count where the value is outside its range.
    of_policy: f64,
    score: ChannelScore,
}

impl<S: Stored> Channel<S> {
    /// Compares a sample with what is expected, and learns it.
    fn infer(
        &mut self,
        (pace, moment): (&Pace, &Moment),
        value: f64,
        policy: &ScorePolicy,
        ticks_seen: u64,
    ) -> Distance {
        if is_missing(value) {
            return Distance { own: None, of_policy: f64::NAN, score: ChannelScore::NONE };
        }
        let outlook = self.state.outlook(pace, moment);
        let interval = policy.prepare(outlook.interval);
        let residuals = self.state.residuals(&outlook, value);
        let has_score = outlook.has_score();
        let of_policy = policy.score_unless_decided(interval, value, ticks_seen, || {
            if has_score { outlook.distance(policy, value, &residuals) } else { 0.0 }
        });
        let is_counted = has_score && value.is_finite();
        let own = is_counted.then(|| outlook.greatest(residuals.of_view, Direction::Both));
        if value.is_finite() {
            self.state.learn(pace, moment, value, &outlook);
        }
        Distance { own, of_policy, score: ChannelScore { interval, score: score::bounded(of_policy) } }
    }

    /// Learns a sample; its distance without a policy, if the channel counts.
    fn learn(&mut self, pace: &Pace, moment: &Moment, value: f64) -> Option<f64> {
        if !value.is_finite() {
            return None;
        }
        let outlook = self.state.outlook(pace, moment);
        let residuals = self.state.residuals(&outlook, value);
        self.state.learn(pace, moment, value, &outlook);
        outlook.has_score().then(|| outlook.greatest(residuals.of_view, Direction::Both))
    }
}

/// `calibrated_multivariate` of one group of channels on the clocks of a zone.
#[derive(Debug, Clone)]
pub struct CalibratedMultivariate<S = f32> {
    pace: Pace,
    zone: Zone,
    /// In the order of their names.
    channels: Vec<Channel<S>>,
    joint: Joint<S>,
    /// Whether it was ready once: then it stays so, and there is no need to look.
    is_ready: bool,
    /// Of the latest tick, in the caller's order.
    scores: Vec<ChannelScore>,
}

impl<S: Stored> CalibratedMultivariate<S> {
    /// A model of channels with these names that has learnt nothing. Arguments are
    /// [validated](CalibratedMultivariateArgs::validate).
    ///
    /// # Errors
    /// If there are more channels than `max_channels`, or two of the same name.
    pub fn new(args: CalibratedMultivariateArgs, zone: Zone, names: &[impl AsRef<str>]) -> Result<Self, ArgumentError> {
        let sorted = channel_order::sorted(CLASS, args.max_channels, names)?;
        let pace = args.channel().pace();
        let channel = |(index, name): &(usize, &str)| Channel {
            key: channel_order::key(name),
            index: *index,
            state: State::new(&pace),
        };
        let channels = sorted.iter().map(channel).collect();
        let scores = vec![ChannelScore::NONE; names.len()];
        Ok(Self { pace, zone, channels, joint: Joint::new(), is_ready: false, scores })
    }

    /// Predicts, scores and then learns the samples of all channels at a time. `values` and `policies` are in the order of the
    /// names; [`MISSING`](crate::model::MISSING) where a channel has no sample. Returns the joint score; NaN if no sample is finite.
    ///
    /// # Panics
    /// If there are not as many values and policies as channels: the caller's bug.
    pub fn infer(&mut self, time: i64, values: &[f64], policies: &[ScorePolicy]) -> f64 {
        let Self { pace, zone, channels, joint, scores, .. } = self;
        assert_eq!((values.len(), policies.len()), (channels.len(), channels.len()), "one for each channel");
        let moment = pace.moment(zone, time);
        let (mut own, mut of_policies) = (Farthest::default(), Farthest::default());
        let mut outside: Option<f64> = None;
        for channel in channels {
            let (value, policy) = (values[channel.index], &policies[channel.index]);
            let distance = channel.infer((pace, &moment), value, policy, joint.ticks_seen);
            scores[channel.index] = distance.score;
            if value.is_finite() && policy.is_outside_data_range(value) {
                outside = Some(at_least(distance.of_policy, outside.unwrap_or(0.0)));
            }
            if let Some(distance_of_channel) = distance.own {
                own.note(distance_of_channel);
                of_policies.note(distance.of_policy);
            }
        }
        if !values.iter().any(|value| value.is_finite()) {
            return f64::NAN;
        }
        let outlook = joint.outlook(pace, &moment);
        joint.learn(&moment, own.mean(), &outlook);
        outside.unwrap_or_else(|| of_policies.mean().map_or(0.0, |distance| score::bounded(outlook.score(distance))))
    }

    /// Learns the samples of all channels at a time.
    ///
    /// # Panics
    /// If there are not as many values as channels: the caller's bug.
    pub fn learn(&mut self, time: i64, values: &[f64]) {
        let Self { pace, zone, channels, joint, .. } = self;
        assert_eq!(values.len(), channels.len(), "one for each channel");
        if !values.iter().any(|value| value.is_finite()) {
            return;
        }
        let moment = pace.moment(zone, time);
        let mut own = Farthest::default();
        for channel in channels {
            if let Some(distance) = channel.learn(pace, &moment, values[channel.index]) {
                own.note(distance);
            }
        }
        let outlook = joint.outlook(pace, &moment);
        joint.learn(&moment, own.mean(), &outlook);
    }

    /// Each channel's part of the latest joint score, in the order of the names: what is expected of it, and its distance.
    #[must_use]
    pub fn channel_scores(&self) -> &[ChannelScore] {
        &self.scores
    }

    /// Ticks with a finite sample that were learnt.
    #[must_use]
    pub fn samples_seen(&self) -> u64 {
        self.joint.ticks_seen
    }

    /// That of the channel that has seen least, or of the joint threshold if that is less ready; see
    /// [`OnlineModel::readiness`](crate::model::OnlineModel::readiness).
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        if self.is_ready {
            return Readiness::READY;
        }
        let own = if self.joint.ticks_seen > 0 { self.joint.readiness() } else { Readiness::NONE };
        self.channels.iter().map(|channel| channel.state.readiness(&self.pace)).fold(own, Readiness::and)
    }

    /// The same, and remembers a model that is ready, which stays so.
    pub(crate) fn note_readiness(&mut self) -> Readiness {
        let readiness = self.readiness();
        self.is_ready = readiness.stage == Stage::Ready;
        readiness
    }

    /// What a joint score of 1 stands for.
    #[must_use]
    pub fn yardstick(&self) -> Yardstick {
        self.joint.yardstick(&self.pace)
    }

    /// Appends the state in its versioned binary form.
    pub fn save(&self, out: &mut Vec<u8>) {
        let mut state = Vec::new();
        let mut writer = Writer::new(FORMAT, out);
        self.joint.save(&mut writer);
        // At most `max_channels`.
        writer.u32(self.channels.len() as u32);
        for channel in &self.channels {
            writer.u64(channel.key);
            state.clear();
            channel.state.save(&self.pace, &mut state);
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
        let joint = Joint::load(&mut reader)?;
        require(reader.u32()? as usize == self.channels.len(), "it is of other channels")?;
        let mut states = Vec::with_capacity(self.channels.len());
        for channel in &self.channels {
            require(reader.u64()? == channel.key, "it is of other channels")?;
            let size = reader.u32()? as usize;
            let state = State::load(&self.pace, reader.bytes(size)?)?;
            require(state.samples_seen <= joint.ticks_seen, "more samples than ticks")?;
            states.push(state);
        }
        reader.finish()?;
        for (channel, state) in self.channels.iter_mut().zip(states) {
            channel.state = state;
        }
        (self.joint, self.is_ready) = (joint, false);
        Ok(())
    }

    /// Bytes on the heap that the model holds.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let of_channel = |channel: &Channel<S>| size_of::<Channel<S>>() + channel.state.heap_bytes();
        self.channels.iter().map(of_channel).sum::<usize>() + self.scores.len() * size_of::<ChannelScore>()
    }
}
