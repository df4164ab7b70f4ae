//! The input log: everything that scores depend on besides the models' states, durable before any model sees it.
//!
//! The log is a folder of segments, numbered upwards; records are appended to the last one. A segment starts with
//! the file header of [`crate::disk::format`], then come frames (see `frame`). The labels of the slots that a
//! segment's ticks refer to are defined in the segment itself, at most 1,024 in a frame, before the first tick that
//! needs them: so a damaged frame costs one record, or the labels of 1,024 series as long as no other segment and no
//! snapshot knows them.

mod frame;
mod index;
mod record;
mod recovery;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Mutex;

pub use self::record::{MAX_RECORD_BYTES, MAX_SLOTS, Record, SkipReason};
pub(crate) use self::record::{put_definitions, put_reason, put_tick, read_definitions, read_reason, read_tick};
pub use self::recovery::Recovered;

use self::index::Segment;
use crate::disk::format::{FolderError, HEADER_BYTES, NewerFormat, header};
use crate::environment::{Disk, DiskError};
use crate::labels::Labels;

/// Version of the segments' format.
pub const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"VMANLOG\n";

/// Where the first frame of a segment lies.
const FIRST_FRAME: usize = HEADER_BYTES;

/// Labels defined in one frame: what a damaged one costs.
const DEFINITIONS_PER_FRAME: usize = 1_024;

/// Why the log could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk failed. The log stays usable: ask again.
    #[error("input log: {0}")]
    Disk(#[from] DiskError),
    /// A file or the folder is one of a newer release. Nothing was changed.
    #[error("input log: {0}")]
    Newer(#[from] NewerFormat),
    /// The record is longer than [`MAX_RECORD_BYTES`].
    #[error("input log: a record of job {job} has {bytes} bytes, the limit is {limit}; lower the series limit")]
    TooLarge {
        /// Scheduler and query.
        job: String,
        /// Length, bytes before compression.
        bytes: usize,
        /// [`MAX_RECORD_BYTES`].
        limit: usize,
    },
    /// The record contradicts itself.
    #[error("input log: a record of job {job} is malformed: {what}")]
    Malformed {
        /// Scheduler and query.
        job: String,
        /// What does not fit.
        what: &'static str,
    },
    /// The slot was given to another series while the log still refers to the old one.
    #[error("input log: slot {slot} of job {job} still belongs to another series than {labels}")]
    SlotInUse {
        /// Scheduler and query.
        job: String,
        /// The slot.
        slot: u32,
        /// The labels it was to get.
        labels: String,
    },
}

impl From<FolderError> for LogError {
    fn from(error: FolderError) -> Self {
        match error {
            FolderError::Newer(newer) => Self::Newer(newer),
            FolderError::Disk(disk) => Self::Disk(disk),
        }
    }
}

/// How the log is cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    /// Folder of the segments, below the state folder.
    pub folder: String,
    /// A new segment is begun when the last one has this length, bytes. Default 64 MiB.
    pub segment_bytes: u64,
    /// A new segment is begun when a job's ticks in the last one span this time. Default 1 h.
    pub segment_age: Duration,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { folder: "log".to_owned(), segment_bytes: 64 << 20, segment_age: Duration::from_secs(3_600) }
    }
}

/// A place in the log: the end of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    segment: u64,
    offset: u64,
}

/// The end of the last segment.
#[derive(Debug, Default)]
struct Tail {
    sequence: u64,
    /// Length of what was appended without an error.
    length: u64,
    /// Length of what is durable.
    durable: u64,
    /// The bytes from `durable` to `length`, to write them again: after a failed sync the system may have dropped
    /// them although it still shows them.
    unsynced: Vec<u8>,
    /// The file may differ from `length` and `unsynced`: restore it before the next append or sync.
    dirty: bool,
    /// A sync was begun and nobody saw its end.
    sync_unfinished: bool,
}

#[derive(Debug, Default)]
struct Index {
    /// Ascending; the last one is appended to.
    segments: Vec<Segment>,
    /// The last configuration of each job: first tick, digest.
    configurations: BTreeMap<String, (i64, u64)>,
}

/// The log: segments of framed records. Methods may be called concurrently.
#[derive(Debug)]
pub struct InputLog<D> {
    disk: Rc<D>,
    options: LogOptions,
    /// Taken before `tail` by whoever syncs, restores or begins a segment.
    syncing: Mutex<()>,
    tail: Mutex<Tail>,
    durable: Cell<Position>,
    /// Borrowed between awaits only.
    index: RefCell<Index>,
}

impl<D: Disk> InputLog<D> {
    /// Opens the folder, reads every segment, cuts what a crash has left of the last append, and returns the
    /// readable records and what was damaged.
    ///
    /// # Errors
    /// [`LogError::Newer`] when a segment or the folder is one of a newer release: do not go on then.
    /// [`LogError::Disk`] when the folder cannot be read or written.
    pub async fn open(disk: Rc<D>, options: LogOptions) -> Result<(Self, Recovered), LogError> {
        let read = recovery::read(&*disk, &options.folder).await?;
        let mut segments = read.segments;
        let mut tail = Tail::default();
        let mut sequence = segments.last().map_or(1, |segment| segment.sequence + 1);
        // After damage a new segment: no later record should depend on definitions that may be lost.
        if let Some(last) = segments.pop_if(|last| !last.damaged) {
            (tail.length, tail.durable) = (last.bytes, last.bytes);
            sequence = last.sequence;
            segments.push(last);
        } else {
            segments.push(Segment::new(sequence));
        }
        tail.sequence = sequence;
        let durable = Position { segment: sequence, offset: tail.durable };
        let log = Self {
            disk,
            options,
            syncing: Mutex::new(()),
            tail: Mutex::new(tail),
            durable: Cell::new(durable),
            index: RefCell::new(Index { segments, configurations: read.configurations }),
        };
        Ok((log, read.recovered))
    }

    /// Appends a record, and before it the labels of its slots that the segment does not know yet, as `labels`
    /// gives them. Durable only after [`InputLog::durable`].
    ///
    /// # Errors
    /// [`LogError::Disk`] when the disk is full or fails: the record is not in the log, append it again later. The
    /// others when the record must not be logged; the log is unchanged.
    pub async fn append(&self, record: &Record, labels: &dyn Fn(u32) -> Labels) -> Result<Position, LogError> {
        if let Some(what) = record.fault() {
            return Err(LogError::Malformed { job: record.job().to_owned(), what });
        }
        let payload = record::encode(record).map_err(|bytes| LogError::TooLarge {
            job: record.job().to_owned(),
            bytes,
            limit: MAX_RECORD_BYTES,
        })?;
        let mut tail = self.tail.lock().await;
        if tail.dirty || self.is_segment_over(&tail, record) {
            drop(tail);
            let _syncing = self.syncing.lock().await;
            tail = self.tail.lock().await;
            self.restore(&mut tail).await?;
            if self.is_segment_over(&tail, record) {
                self.begin_segment(&mut tail).await?;
            }
        }
        let definitions = self.missing_definitions(record, labels)?;
        let mut frames = Frames::at(&tail);
        for chunk in definitions.chunks(DEFINITIONS_PER_FRAME) {
            frames.put(&record::encode_definitions(record.job(), chunk));
        }
        if let Some((from, digest)) = self.configuration_to_carry(record) {
            frames.put(&record::encode_carried(record.job(), from, digest));
        }
        frames.put(&payload);
        self.write(&mut tail, &frames.bytes).await?;
        self.index.borrow_mut().add(record, &definitions, tail.length);
        Ok(tail.position())
    }

    /// Returns when everything up to `position` is durable. Concurrent callers share one fdatasync.
    ///
    /// # Errors
    /// When the disk fails: what was appended is kept in memory and written again by the next call.
    pub async fn durable(&self, position: Position) -> Result<(), LogError> {
        if self.durable.get() >= position {
            return Ok(());
        }
        let _syncing = self.syncing.lock().await;
        if self.durable.get() >= position {
            return Ok(());
        }
        let (path, end) = {
            let mut tail = self.tail.lock().await;
            self.prepare_sync(&mut tail).await?;
            (self.path(tail.sequence), tail.length)
        };
        // Not under the lock of the tail: other jobs append meanwhile.
        let result = self.disk.sync(&path).await;
        let mut tail = self.tail.lock().await;
        self.finish_sync(&mut tail, end, result)
    }

    /// Removes the segments in which every job's newest tick is older than what `needed_from` returns for it (`None`:
    /// the job is gone), and returns how many. The last segment stays.
    ///
    /// # Errors
    /// When the disk fails; some may be removed by then.
    pub async fn retire(&self, needed_from: &dyn Fn(&str) -> Option<i64>) -> Result<usize, LogError> {
        let _syncing = self.syncing.lock().await;
        let mut tail = self.tail.lock().await;
        let (mut spent, carry) = self.index.borrow().spent(needed_from);
        let carried = self.carry(&mut tail, &carry).await;
        if carried.is_err() {
            // Perhaps the disk is full: what needs nothing written may go all the same.
            let index = self.index.borrow();
            spent.retain(|sequence| !index.names_any(*sequence, &carry));
        }
        for sequence in &spent {
            self.disk.remove(&self.path(*sequence)).await?;
            self.index.borrow_mut().segments.retain(|segment| segment.sequence != *sequence);
        }
        carried?;
        let mut index = self.index.borrow_mut();
        index.configurations.retain(|job, _| needed_from(job).is_some());
        Ok(spent.len())
    }

    /// Whether some retained segment still refers to the slot; it must not be given to another series then.
    #[must_use]
    pub fn refers_to(&self, job: &str, slot: u32) -> bool {
        let index = self.index.borrow();
        index.segments.iter().filter_map(|segment| segment.jobs.get(job)).any(|part| part.refers_to(slot))
    }

    /// One above the highest slot of the job that a retained segment refers to.
    #[must_use]
    pub fn slots_end(&self, job: &str) -> u32 {
        let index = self.index.borrow();
        let parts = index.segments.iter().filter_map(|segment| segment.jobs.get(job));
        parts.map(|part| part.slots_end()).max().unwrap_or(0)
    }

    /// Digests of the configurations that retained records name: they must be kept.
    #[must_use]
    pub fn configurations(&self) -> HashSet<u64> {
        let index = self.index.borrow();
        let jobs = index.segments.iter().flat_map(|segment| segment.jobs.values());
        jobs.flat_map(|part| part.digests.iter().copied()).collect()
    }

    /// Length of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.index.borrow().segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Number of segments.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.index.borrow().segments.len()
    }

    fn path(&self, sequence: u64) -> String {
        recovery::path(&self.options.folder, sequence)
    }

    fn is_segment_over(&self, tail: &Tail, record: &Record) -> bool {
        if tail.length >= self.options.segment_bytes {
            return true;
        }
        let Record::Tick { job, input } = record else { return false };
        let index = self.index.borrow();
        let first = index.segments.last().and_then(|segment| segment.jobs.get(job)?.first_tick);
        first.is_some_and(|first| u128::from(input.tick.abs_diff(first)) >= self.options.segment_age.as_millis())
    }

    /// The labels of the record's slots that the last segment does not define yet.
    fn missing_definitions(
        &self,
        record: &Record,
        labels: &dyn Fn(u32) -> Labels,
    ) -> Result<Vec<(u32, Labels)>, LogError> {
        let Record::Tick { job, input } = record else { return Ok(Vec::new()) };
        let index = self.index.borrow();
        let Some((last, _)) = index.segments.split_last() else { return Ok(Vec::new()) };
        let part = last.jobs.get(job);
        let mut seen = HashSet::new();
        let mut definitions = Vec::new();
        for slot in input.slots.iter().filter(|slot| !part.is_some_and(|part| part.is_defined(**slot))) {
            if !seen.insert(*slot) {
                continue;
            }
            let labels = labels(*slot);
            let others = index.segments.iter().filter_map(|segment| segment.jobs.get(job));
            if others.into_iter().any(|part| part.contradicts(*slot, &labels)) {
                return Err(LogError::SlotInUse { job: job.clone(), slot: *slot, labels: labels.to_string() });
            }
            definitions.push((*slot, labels));
        }
        Ok(definitions)
    }

    /// The job's configuration, if the last segment does not name it and the record does not either.
    fn configuration_to_carry(&self, record: &Record) -> Option<(i64, u64)> {
        if let Record::Configuration { .. } = record {
            return None;
        }
        let index = self.index.borrow();
        let known = index.segments.last()?.jobs.get(record.job()).is_some_and(|part| !part.digests.is_empty());
        if known { None } else { index.configurations.get(record.job()).copied() }
    }

    /// Says configurations again in the last segment, durably.
    async fn carry(&self, tail: &mut Tail, configurations: &[(String, i64, u64)]) -> Result<(), LogError> {
        if configurations.is_empty() {
            return Ok(());
        }
        self.restore(tail).await?;
        let mut frames = Frames::at(tail);
        for (job, from, digest) in configurations {
            frames.put(&record::encode_carried(job, *from, *digest));
        }
        self.write(tail, &frames.bytes).await?;
        self.index.borrow_mut().carried(configurations, tail.length);
        self.sync(tail).await
    }

    async fn write(&self, tail: &mut Tail, bytes: &[u8]) -> Result<(), LogError> {
        // Set before the await: whether it fails or nobody waits for its end, the file may end anywhere.
        tail.dirty = true;
        self.disk.append(&self.path(tail.sequence), bytes).await?;
        tail.dirty = false;
        tail.length += bytes.len() as u64;
        tail.unsynced.extend_from_slice(bytes);
        Ok(())
    }

    /// Makes the file what `length` and `unsynced` say. The caller holds `syncing`.
    async fn restore(&self, tail: &mut Tail) -> Result<(), LogError> {
        if !tail.dirty {
            return Ok(());
        }
        let path = self.path(tail.sequence);
        match self.disk.truncate(&path, tail.durable).await {
            Err(DiskError::NotFound { .. }) if tail.durable == 0 => {}
            result => result?,
        }
        if !tail.unsynced.is_empty() {
            self.disk.append(&path, &tail.unsynced).await?;
        }
        tail.dirty = false;
        Ok(())
    }

    async fn prepare_sync(&self, tail: &mut Tail) -> Result<(), LogError> {
        tail.dirty |= tail.sync_unfinished;
        self.restore(tail).await?;
        tail.sync_unfinished = true;
        Ok(())
    }

    fn finish_sync(&self, tail: &mut Tail, end: u64, result: Result<(), DiskError>) -> Result<(), LogError> {
        tail.sync_unfinished = false;
        if let Err(error) = result {
            tail.dirty = true;
            return Err(error.into());
        }
        let synced = usize::try_from(end - tail.durable).unwrap_or(usize::MAX).min(tail.unsynced.len());
        tail.unsynced.drain(..synced);
        tail.durable = end;
        self.durable.set(Position { segment: tail.sequence, offset: end });
        Ok(())
    }

    /// Syncs while the caller holds both locks.
    async fn sync(&self, tail: &mut Tail) -> Result<(), LogError> {
        if tail.durable == tail.length {
            return Ok(());
        }
        self.prepare_sync(tail).await?;
        let result = self.disk.sync(&self.path(tail.sequence)).await;
        self.finish_sync(tail, tail.length, result)
    }

    /// Only the last segment may have an end that is not durable.
    async fn begin_segment(&self, tail: &mut Tail) -> Result<(), LogError> {
        self.sync(tail).await?;
        *tail = Tail { sequence: tail.sequence + 1, ..Tail::default() };
        self.index.borrow_mut().segments.push(Segment::new(tail.sequence));
        Ok(())
    }
}

impl Tail {
    fn position(&self) -> Position {
        Position { segment: self.sequence, offset: self.length }
    }
}

/// Frames to append, behind the segment's header if there is none yet.
struct Frames {
    sequence: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Frames {
    fn at(tail: &Tail) -> Self {
        let bytes = if tail.length == 0 { header(MAGIC, VERSION).to_vec() } else { Vec::new() };
        Self { sequence: tail.sequence, start: tail.length, bytes }
    }

    fn put(&mut self, payload: &[u8]) {
        let offset = self.start + self.bytes.len() as u64;
        frame::put_frame(&mut self.bytes, self.sequence, offset, payload);
    }
}

impl Index {
    /// Books what was appended to the last segment, which has `bytes` now.
    fn add(&mut self, record: &Record, definitions: &[(u32, Labels)], bytes: u64) {
        if let Record::Configuration { job, from, digest } = record {
            self.configurations.insert(job.clone(), (*from, *digest));
        }
        let carried = self.configurations.get(record.job()).copied();
        let Some(last) = self.segments.last_mut() else { return };
        let job = last.job(record.job());
        definitions.iter().for_each(|(slot, labels)| job.define(*slot, labels));
        job.digests.extend(carried.filter(|_| job.digests.is_empty()).map(|(_, digest)| digest));
        last.add(record);
        last.bytes = bytes;
    }

    fn carried(&mut self, configurations: &[(String, i64, u64)], bytes: u64) {
        let Some(last) = self.segments.last_mut() else { return };
        for (job, _, digest) in configurations {
            last.job(job).digests.insert(*digest);
        }
        last.bytes = bytes;
    }

    fn names_any(&self, sequence: u64, configurations: &[(String, i64, u64)]) -> bool {
        let segment = self.segments.iter().find(|segment| segment.sequence == sequence);
        segment.is_some_and(|segment| configurations.iter().any(|(job, _, digest)| segment.names(job, *digest)))
    }

    /// The segments that nobody needs, and the configurations that only they name although the job is not gone.
    fn spent(&self, needed_from: &dyn Fn(&str) -> Option<i64>) -> (Vec<u64>, Vec<(String, i64, u64)>) {
        let Some((last, others)) = self.segments.split_last() else { return (Vec::new(), Vec::new()) };
        let (spent, kept): (Vec<&Segment>, Vec<&Segment>) =
            others.iter().partition(|segment| segment.is_spent(needed_from));
        let carry = self.configurations.iter().filter(|(job, (_, digest))| {
            needed_from(job).is_some()
                && spent.iter().any(|segment| segment.names(job, *digest))
                && !kept.iter().copied().chain([last]).any(|segment| segment.names(job, *digest))
        });
        let carry = carry.map(|(job, (from, digest))| (job.clone(), *from, *digest)).collect();
        (spent.iter().map(|segment| segment.sequence).collect(), carry)
    }
}
