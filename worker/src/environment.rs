//! What the loop touches outside itself: clock, disk, TSDB, peers. Four small traits, so that the same loop runs in
//! production and in a seeded simulation. Futures need not be `Send`: the loop is one task on one thread.

#![allow(async_fn_in_trait, reason = "the loop awaits them on its own thread; nobody needs them to be Send")]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use config::status::ErrorKind;

use crate::labels::Labels;
use crate::peers::{Answer, Member, PeerError, Request};

/// Monotonic time that any thread can ask for.
pub type Stopwatch = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Wall clock and timers.
pub trait Clock {
    /// Unix time, ms.
    fn now(&self) -> i64;
    /// Time since some fixed moment; never goes back.
    fn monotonic(&self) -> Duration;
    /// Returns after `duration` of monotonic time.
    async fn sleep(&self, duration: Duration);
    /// The clock that limits of computations are kept by. It stands still unless the machine itself has it, so that what is
    /// computed in a simulation does not depend on the machine.
    fn stopwatch(&self) -> Stopwatch {
        let now = self.monotonic();
        Arc::new(move || now)
    }
}

/// Why a file operation failed.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// There is no such file.
    #[error("{path}: not found")]
    NotFound {
        /// Path below the state folder.
        path: String,
    },
    /// No space left, or the quota is used up.
    #[error("{path}: no space left on the device")]
    Full {
        /// Path below the state folder.
        path: String,
    },
    /// Anything else, in the system's words.
    #[error("{path}: {message}")]
    Io {
        /// Path below the state folder.
        path: String,
        /// The system's message.
        message: String,
    },
}

/// The state folder. Paths are relative to it, with `/`; folders are made as needed.
pub trait Disk {
    /// Names of the files and folders in `folder`, sorted; an absent folder is empty.
    async fn list(&self, folder: &str) -> Result<Vec<String>, DiskError>;
    /// A whole file.
    async fn read(&self, path: &str) -> Result<Vec<u8>, DiskError>;
    /// Appends to a file, creating it. Not durable before [`Disk::sync`]. After an error the file may end anywhere
    /// in `bytes`: truncate it before the next append.
    async fn append(&self, path: &str, bytes: &[u8]) -> Result<(), DiskError>;
    /// Cuts a file to `length` bytes.
    async fn truncate(&self, path: &str, length: u64) -> Result<(), DiskError>;
    /// Makes everything that was appended durable (fdatasync, and the folder entry of a new file).
    async fn sync(&self, path: &str) -> Result<(), DiskError>;
    /// Writes a whole file so that after a crash either the old or the new one is there: temporary file, fsync,
    /// rename, fsync of the folder.
    async fn write_atomic(&self, path: &str, bytes: &[u8]) -> Result<(), DiskError>;
    /// Removes a file or a folder with everything in it, durably; an absent one is no error.
    async fn remove(&self, path: &str) -> Result<(), DiskError>;
}

/// A regular grid of times: `start + i * step` for `i` in `0..points`, ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Grid {
    /// First time, a multiple of `step`.
    pub start: i64,
    /// Distance of times, above 0.
    pub step: i64,
    /// Number of times.
    pub points: usize,
}

impl Grid {
    /// The grid of the multiples of `step` in `(after, until]`.
    #[must_use]
    pub fn within(after: i64, until: i64, step: i64) -> Self {
        let start = (after.div_euclid(step) + 1) * step;
        let last = until.div_euclid(step) * step;
        let points = if last < start { 0 } else { ((last - start) / step + 1) as usize };
        Self { start, step, points }
    }

    /// The last time; `start` of an empty grid.
    #[must_use]
    pub fn end(&self) -> i64 {
        self.start + self.step * (self.points.max(1) as i64 - 1)
    }

    /// All times.
    pub fn times(&self) -> impl Iterator<Item = i64> + '_ {
        (0..self.points).map(|index| self.start + self.step * index as i64)
    }

    /// The index of `time`, if it lies on the grid.
    #[must_use]
    pub fn index(&self, time: i64) -> Option<usize> {
        let distance = time - self.start;
        (distance >= 0 && distance % self.step == 0)
            .then_some((distance / self.step) as usize)
            .filter(|index| *index < self.points)
    }
}

/// One read of one query.
#[derive(Debug, Clone, PartialEq)]
pub struct RangeRead<'a> {
    /// Alias of the query, for messages and metrics.
    pub query_alias: &'a str,
    /// The query with its options.
    pub query: &'a config::worker::Query,
    /// Which times to ask for.
    pub grid: Grid,
}

/// The answer to a [`RangeRead`], in columns.
#[derive(Debug, Clone, Default)]
pub struct RangeAnswer {
    /// One label set a series, each once, in the order of the answer; only series that were kept.
    pub series: Vec<Labels>,
    /// `series.len()` rows of `grid.points` values; [`detect::model::MISSING`] where there is no sample.
    pub values: Vec<f64>,
    /// The server's `Date`, unix ms, with a resolution of a second.
    pub server_time: Option<i64>,
    /// Bytes of the answer's body as received.
    pub received_bytes: u64,
    /// Series received, kept or not; one that several requests have brought as often.
    pub received_series: u64,
    /// Distinct series of the query, kept or not: those of all shards.
    pub query_series: u64,
    /// Samples received, kept or not.
    pub received_samples: u64,
    /// Time spent on reading the answer out, waiting for the network aside.
    pub parsing: Duration,
    /// Samples that were dropped because their time was not asked for, or came twice, or was out of order.
    pub invalid_samples: u64,
}

impl RangeAnswer {
    /// Adds the answer to another query for the same times, whose series are known by other labels here.
    pub fn append(&mut self, other: Self, rename: impl Fn(&Labels) -> Labels) {
        self.series.extend(other.series.iter().map(rename));
        self.values.extend(other.values);
        self.server_time = self.server_time.max(other.server_time);
        self.received_bytes += other.received_bytes;
        self.received_series += other.received_series;
        self.query_series += other.query_series;
        self.received_samples += other.received_samples;
        self.parsing += other.parsing;
        self.invalid_samples += other.invalid_samples;
    }
}

/// Why a read brought no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The TSDB will not answer this request however often it is asked (400, 422).
    #[error("refused with status {status}: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The TSDB's words.
        message: String,
    },
    /// Everything else: it may work later.
    #[error("unavailable ({code}): {message}")]
    Unavailable {
        /// HTTP status, or `connection_error`, `timeout`, `ssl_error`, `io_error`, `bad_answer`.
        code: String,
        /// What happened.
        message: String,
    },
}

impl ReadError {
    /// What it is in a status answer.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { .. } => ErrorKind::QueryRefused,
            Self::Unavailable { .. } => ErrorKind::TsdbUnavailable,
        }
    }
}

/// Why a write was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The TSDB will not take this body however often it is sent (400, 422).
    #[error("refused with status {status}: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The TSDB's words.
        message: String,
    },
    /// The body is larger than the TSDB takes (413): split it.
    #[error("the body is too large for the TSDB: {message}")]
    TooLarge {
        /// The TSDB's words.
        message: String,
    },
    /// Everything else: it may work later.
    #[error("unavailable ({code}): {message}")]
    Unavailable {
        /// HTTP status, or `connection_error`, `timeout`, `ssl_error`, `io_error`.
        code: String,
        /// What happened.
        message: String,
    },
}

/// The time series database(s): one attempt a call, no retries inside.
pub trait Tsdb {
    /// Reads one query over one grid, in as many requests as its point limit needs. `keep` is asked once for every
    /// series of the answer; the values of a series that it does not want are not stored.
    async fn read(&self, read: &RangeRead<'_>, keep: &mut dyn FnMut(&Labels) -> bool)
    -> Result<RangeAnswer, ReadError>;
    /// The server's `Date`, unix ms, with a resolution of a second; `None` if it sends none.
    async fn server_time(&self) -> Result<Option<i64>, ReadError>;
    /// Sends JSON lines of `/api/v1/import`. `Ok` means that the server answered 2xx.
    async fn write(&self, body: Bytes) -> Result<(), WriteError>;
}

/// The other workers of the deployment.
pub trait Peers {
    /// Asks another worker about a job: one attempt, without a time limit of its own.
    async fn ask(&self, member: Member, job: &str, request: &Request) -> Result<Answer, PeerError>;
    /// Whether there is a way to other shards.
    fn reaches_others(&self) -> bool {
        true
    }
}

/// A worker without others.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl Peers for Alone {
    async fn ask(&self, member: Member, _job: &str, _request: &Request) -> Result<Answer, PeerError> {
        Err(PeerError::Unreachable { member, message: "this worker is alone".to_owned() })
    }

    fn reaches_others(&self) -> bool {
        false
    }
}
