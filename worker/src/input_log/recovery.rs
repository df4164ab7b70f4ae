//! Reading the log back after a start.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::frame::{Frames, Part};
use super::index::Segment;
use super::record::{Entry, Record, decode};
use super::{FIRST_FRAME, LogError, MAGIC, VERSION};
use crate::disk::format::{Header, check_folder, read_header};
use crate::environment::Disk;
use crate::labels::Labels;

/// At most this many problems are described; the rest is counted.
const MAX_PROBLEMS: usize = 100;

/// What an opened log holds.
#[derive(Debug, Clone, Default)]
pub struct Recovered {
    /// The readable records, each job's in the order of their appending; a configuration that was logged in a segment
    /// which is gone comes before the ticks that it is for.
    pub records: Vec<Record>,
    /// The labels of the slots, by job and slot.
    pub labels: HashMap<(String, u32), Labels>,
    /// Slots that ticks refer to and whose labels were in a damaged place: a snapshot may know them, otherwise these
    /// rows are as lost as damaged ones. By job and slot, sorted.
    pub unknown_slots: Vec<(String, u32)>,
    /// Damaged places; each has cost at most one record, or the labels of at most 1,024 slots. The torn end that a
    /// crash leaves is none.
    pub damaged_records: u64,
    /// Their bytes.
    pub damaged_bytes: u64,
    /// What is wrong where, for the log; at most 100.
    pub problems: Vec<String>,
}

impl Recovered {
    fn damage(&mut self, path: &str, offset: usize, length: usize, what: &str) {
        self.damaged_records += 1;
        self.damaged_bytes += length as u64;
        self.problem(format!("{path}: {length} bytes from {offset} are damaged: {what}"));
    }

    fn problem(&mut self, problem: String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }
}

/// A folder of segments, read.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) recovered: Recovered,
    pub(super) segments: Vec<Segment>,
    pub(super) configurations: BTreeMap<String, (i64, u64)>,
}

pub(super) fn path(folder: &str, sequence: u64) -> String {
    format!("{folder}/{sequence:020}")
}

/// Reads all segments; cuts a torn end of the last one, so that only whole frames are before what is appended next.
pub(super) async fn read<D: Disk>(disk: &D, folder: &str) -> Result<Read, LogError> {
    let mut read = Read::default();
    if let Some(problem) = check_folder(disk).await? {
        read.recovered.problem(problem);
    }
    let mut sequences = Vec::new();
    for name in disk.list(folder).await? {
        match name.parse::<u64>() {
            Ok(sequence) if path("", sequence).ends_with(&name) && name.len() == 20 => sequences.push(sequence),
            _ => read.recovered.problem(format!("{folder}/{name}: not a file of the log, left alone")),
        }
    }
    // Before anything is changed: every segment must be of a version that this release reads.
    let mut contents = Vec::with_capacity(sequences.len());
    for sequence in sequences {
        let path = path(folder, sequence);
        let bytes = disk.read(&path).await?;
        let header = read_header(&path, &bytes, MAGIC, VERSION);
        if let Header::Newer(newer) = header {
            return Err(newer.into());
        }
        contents.push((sequence, path, bytes, header == Header::Readable));
    }
    let count = contents.len();
    for (index, (sequence, path, bytes, has_header)) in contents.into_iter().enumerate() {
        let torn = read.segment(sequence, &path, &bytes, has_header, index + 1 == count);
        if let Some(length) = torn {
            disk.truncate(&path, length).await?;
        }
        if index + 1 == count {
            // After a killed process the end may still be in the system's memory only.
            disk.sync(&path).await?;
        }
    }
    read.find_unknown_slots();
    Ok(read)
}

impl Read {
    /// Takes up one segment; returns the length to cut it to when its end is torn.
    fn segment(&mut self, sequence: u64, path: &str, bytes: &[u8], has_header: bool, last: bool) -> Option<u64> {
        let mut segment = Segment::new(sequence);
        segment.bytes = bytes.len() as u64;
        let mut torn = None;
        if bytes.len() < FIRST_FRAME {
            if last {
                torn = Some(0);
            } else if !bytes.is_empty() {
                segment.damaged = true;
                self.recovered.damage(path, 0, bytes.len(), "the file is cut");
            }
        } else if !has_header {
            segment.damaged = true;
            self.recovered.damage(path, 0, FIRST_FRAME, "no valid file header");
        }
        for part in Frames::new(bytes, sequence, FIRST_FRAME) {
            match part {
                Part::Payload { offset, payload } => match decode(payload) {
                    Some(entry) => self.entry(&mut segment, path, entry),
                    None => {
                        segment.damaged = true;
                        self.recovered.damage(path, offset, payload.len(), "no record of this release");
                    }
                },
                Part::Damaged { offset, length, what } => {
                    segment.damaged = true;
                    self.recovered.damage(path, offset, length, what);
                }
                Part::Torn { offset } if last => torn = Some(offset as u64),
                Part::Torn { offset } => {
                    segment.damaged = true;
                    self.recovered.damage(path, offset, bytes.len() - offset, "the file is cut");
                }
            }
        }
        segment.bytes = torn.unwrap_or(segment.bytes);
        self.segments.push(segment);
        torn
    }

    fn entry(&mut self, segment: &mut Segment, path: &str, entry: Entry) {
        match entry {
            Entry::Definitions { job, labels } => {
                for (slot, labels) in labels {
                    segment.job(&job).define(slot, &labels);
                    let known = self.recovered.labels.insert((job.clone(), slot), labels.clone());
                    if let Some(known) = known.filter(|known| *known != labels) {
                        self.recovered.problem(format!("{path}: slot {slot} of job {job} was {known}, is {labels}"));
                    }
                }
            }
            Entry::Carried { job, from, digest } => {
                segment.job(&job).digests.insert(digest);
                if self.configurations.insert(job.clone(), (from, digest)) != Some((from, digest)) {
                    // Its first record is gone, with its segment or by damage: it goes where that was.
                    let records = &mut self.recovered.records;
                    let follows = |record: &Record| record.job() == job && record.newest_tick() >= from;
                    let place = records.iter().position(follows).unwrap_or(records.len());
                    records.insert(place, Record::Configuration { job, from, digest });
                }
            }
            Entry::Record(record) => {
                if let Record::Configuration { job, from, digest } = &record {
                    self.configurations.insert(job.clone(), (*from, *digest));
                }
                segment.add(&record);
                self.recovered.records.push(record);
            }
        }
    }

    fn find_unknown_slots(&mut self) {
        let mut unknown = BTreeSet::new();
        for (job, part) in self.segments.iter().flat_map(|segment| &segment.jobs) {
            let slots = part.slots().filter(|slot| !part.is_defined(*slot));
            let mut key = (job.clone(), 0);
            for slot in slots {
                key.1 = slot;
                if !self.recovered.labels.contains_key(&key) {
                    unknown.insert(key.clone());
                }
            }
        }
        self.recovered.unknown_slots = unknown.into_iter().collect();
    }
}
