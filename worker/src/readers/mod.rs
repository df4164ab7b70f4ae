//! One read of the TSDB for all shards: the home of a query reads it, the others pull their slices from it.
//!
//! Every shard needs the same answer, of which it keeps its own series. So the shard that owns the query's alias, its
//! **home**, reads, and keeps the answer for a while; the others ask it ([`Request::Slice`](crate::peers::Request)).
//! Whoever asks first makes it read. "I am reading" and "the TSDB does not answer" are answers, too. Where the home
//! cannot be reached, has another configuration, or has failed for long, the next shard in ring order reads for all; a
//! worker reads for itself only where the ring comes round to it.
//!
//! Several jobs of one worker may need the same answer as well: a query of a multivariate model is read for it and for the
//! job of the other models at once, on a single shard, too.
//!
//! - [`shelf`]: the answers that are kept, and for whom; [`dictionary`]: short names for series, and who owns which. Pure.
//! - [`serving`]: reading for others and for oneself; [`pulling`]: asking a reader.

pub mod dictionary;
pub mod pulling;
pub mod serving;
pub mod shelf;

use bytes::Bytes;

use crate::{
    engine::TickInput,
    environment::{Grid, RangeAnswer},
    labels::Labels,
    peers::message::DictionaryVersion,
};

/// What a read is for. Answers to different purposes do not stand in for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The input of a tick.
    Tick,
    /// To see what the TSDB answers at present.
    Probe,
    /// A part of a fit's window.
    Fit,
}

/// The series of an answer that are wanted, with their rows of `points` values; `None` is nobody's.
fn kept<'a>(
    series: impl Iterator<Item = Option<&'a Labels>>,
    values: &[f64],
    points: usize,
    keep: &mut dyn FnMut(&Labels) -> bool,
) -> RangeAnswer {
    let mut answer = RangeAnswer::default();
    for (labels, row) in series.zip(values.chunks(points.max(1))) {
        if let Some(labels) = labels.filter(|labels| keep(labels)) {
            answer.series.push(labels.clone());
            answer.values.extend_from_slice(row);
        }
    }
    answer
}

/// What is wanted of a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// What for.
    pub purpose: Purpose,
    /// The tick, or the end of the fit, ms: nobody reads before it is due.
    pub until: i64,
    /// The times to read.
    pub grid: Grid,
}

/// What a job asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// What to read.
    pub wanted: Wanted,
    /// Whether an answer that was read some time ago will not do: samples may have arrived since.
    pub fresh: bool,
}

/// A question for the series of one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceQuestion {
    /// The asking shard.
    pub shard: u32,
    /// Digest of what decides the answer; see [`JobPlan::reading`](crate::plan::JobPlan::reading).
    pub reading: u64,
    /// What is asked for.
    pub demand: Demand,
    /// Which series: a [`Custody`](crate::custody::Custody) as JSON.
    pub custody: Bytes,
    /// What the asking shard knows of the reader's short names, under this custody.
    pub dictionary: DictionaryVersion,
}

/// The series of one shard in an answer of the TSDB.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// The values, in short names of the reader.
    pub input: TickInput,
    /// The version of the dictionary after `definitions`.
    pub dictionary: DictionaryVersion,
    /// Short names that the asking shard does not know yet.
    pub definitions: Vec<(u32, Labels)>,
    /// The TSDB's clock at present, unix ms, if it has one.
    pub server_time: Option<i64>,
}
