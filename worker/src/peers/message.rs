//! Requests and answers between workers.

use std::rc::Rc;

use bytes::Bytes;

use super::{
    journal::{Entry, SharedFit, StateImage},
    lineage::Standing,
};
use crate::{
    environment::ReadError,
    labels::Labels,
    readers::{Slice, SliceQuestion},
    share::Handover,
};

/// A worker of the deployment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// Its shard.
    pub shard: u32,
    /// Its rank among the replicas of the shard.
    pub rank: u32,
}

impl std::fmt::Display for Member {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "shard {} rank {}", self.shard, self.rank)
    }
}

/// Which worker one is, and how many others there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// This worker.
    pub member: Member,
    /// Replicas of every shard, at least 1.
    pub ranks: u32,
}

impl Default for Place {
    fn default() -> Self {
        Self { member: Member::default(), ranks: 1 }
    }
}

/// How much of a peer's slots the asking rank knows: a version of the dictionary of one run of the peer's process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DictionaryVersion {
    /// Run of the process.
    pub incarnation: u64,
    /// Definitions up to here are known.
    pub version: u64,
}

/// What one rank asks of another about one job.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// What comes after the position of the asking rank.
    Next {
        /// Where the asking rank stands.
        standing: Standing,
        /// Digest of the configuration that it has.
        plan: u64,
        /// What it knows of the other's slots.
        dictionary: DictionaryVersion,
    },
    /// A block of the states of a finished fit.
    Fit {
        /// End of the fit, ms.
        fitted_to: i64,
        /// Number of the block.
        block: u32,
    },
    /// A block of the whole state.
    Image {
        /// The image that the first block was of; `None` asks for the first block of any.
        image: Option<u64>,
        /// Number of the block.
        block: u32,
    },
    /// To another shard: release the series that shard `to` owns since `epoch`.
    Release {
        /// Epoch of the topology.
        epoch: u64,
        /// The asking shard.
        to: u32,
    },
    /// To another shard: the own series of what it reads for all.
    Slice(Box<SliceQuestion>),
    /// To another shard: whether it holds what shard `from` had released to it in `epoch`.
    Taken {
        /// Epoch of the topology, which is over.
        epoch: u64,
        /// The asking shard.
        from: u32,
    },
}

impl Request {
    /// Whether other shards ask this, too.
    #[must_use]
    pub fn is_for_other_shards(&self) -> bool {
        matches!(self, Self::Image { .. } | Self::Release { .. } | Self::Taken { .. } | Self::Slice(_))
    }
}

/// What follows the position of an asking rank.
#[derive(Debug, Clone)]
pub enum Next {
    /// Nothing yet.
    Nothing,
    /// This record.
    Record(Box<NextRecord>),
    /// The chain at that position is another one here.
    Diverged,
    /// It is not known any more.
    Gone,
}

impl Next {
    /// For logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Record(_) => "record",
            Self::Diverged => "diverged",
            Self::Gone => "gone",
        }
    }
}

/// A record with what is needed to understand it.
#[derive(Debug, Clone)]
pub struct NextRecord {
    /// The record.
    pub entry: Rc<Entry>,
    /// The configuration that it was made under, in its canonical form, where the asking rank has another one.
    pub plan: Option<Bytes>,
    /// The version of the dictionary after `definitions`.
    pub dictionary: DictionaryVersion,
    /// The labels of slots that the asking rank does not know yet.
    pub definitions: Vec<(u32, Labels)>,
}

/// What a rank has of series that move.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// The epoch that it has followed.
    pub epoch: u64,
    /// Hand-overs whose states it has, be they those of jobs of their own still, or as they were when they joined the
    /// others in an epoch that has not settled.
    pub handovers: Vec<Handover>,
    /// Whether it keeps released series of earlier epochs, which may still come back.
    pub may_return: bool,
}

/// What a rank answers.
#[derive(Debug, Clone)]
pub enum Answer {
    /// To [`Request::Next`].
    Next {
        /// Where the answering rank stands.
        standing: Standing,
        /// What follows.
        next: Next,
        /// What it has of series that move.
        held: Held,
    },
    /// To [`Request::Fit`]: what the fit is, and one of its blocks.
    Fit {
        /// The fit.
        fit: Rc<SharedFit>,
        /// The block, as in a snapshot file.
        block: Option<Bytes>,
    },
    /// To [`Request::Image`]: what the image is, and one of its blocks.
    Image {
        /// The image.
        image: Rc<StateImage>,
        /// The block, as in a snapshot file.
        block: Option<Bytes>,
    },
    /// To [`Request::Release`]: they are released; the job of the hand-over has their states.
    Released,
    /// To [`Request::Release`]: there is no state of this job here, and there will be none in this epoch.
    Empty,
    /// To [`Request::Slice`].
    Slice(Box<Slice>),
    /// To [`Request::Slice`]: the TSDB does not answer.
    Failed(ReadError),
    /// To [`Request::Taken`].
    Taken(bool),
    /// What was asked for is being made, or is not known yet: ask again soon.
    Later,
    /// There is no such job, fit or image here, or the epoch is over.
    Nothing,
}

/// Why a peer gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// No connection, or no answer in time.
    #[error("{member} cannot be reached: {message}")]
    Unreachable {
        /// Who.
        member: Member,
        /// What happened.
        message: String,
    },
    /// It does not talk to this worker.
    #[error("{member} refuses: {message}")]
    Refused {
        /// Who.
        member: Member,
        /// Its words.
        message: String,
    },
    /// What it answers is no answer.
    #[error("{member} gives no valid answer: {message}")]
    Garbage {
        /// Who.
        member: Member,
        /// What is wrong.
        message: String,
    },
}
