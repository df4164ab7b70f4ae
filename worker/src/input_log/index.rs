//! What the segments of the log hold, by job.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::record::Record;
use crate::labels::Labels;

/// One segment.
#[derive(Debug, Default)]
pub(super) struct Segment {
    pub(super) sequence: u64,
    /// Length of the file.
    pub(super) bytes: u64,
    /// Parts of it could not be read.
    pub(super) damaged: bool,
    pub(super) jobs: BTreeMap<String, JobUse>,
}

/// What a segment holds of one job.
#[derive(Debug, Default)]
pub(super) struct JobUse {
    /// Tick of the first tick record.
    pub(super) first_tick: Option<i64>,
    /// The newest tick that a record says something about.
    pub(super) newest_tick: Option<i64>,
    /// Configurations that records name.
    pub(super) digests: HashSet<u64>,
    referred: Slots,
    defined: Slots,
    /// Label hash of the defined slots.
    hashes: HashMap<u32, u64>,
}

/// A set of slots.
#[derive(Debug, Default)]
struct Slots {
    words: Vec<u64>,
}

impl Slots {
    fn insert(&mut self, slot: u32) {
        let word = slot as usize / 64;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        if let Some(word) = self.words.get_mut(word) {
            *word |= 1 << (slot % 64);
        }
    }

    fn contains(&self, slot: u32) -> bool {
        self.words.get(slot as usize / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1)
    }

    fn iter(&self) -> impl Iterator<Item = u32> {
        let bits = |(index, word): (usize, &u64)| {
            let word = *word;
            (0..64_u32).filter(move |bit| word >> bit & 1 == 1).map(move |bit| index as u32 * 64 + bit)
        };
        self.words.iter().enumerate().flat_map(bits)
    }
}

impl JobUse {
    /// Whether a record refers to the slot, or its labels are given.
    pub(super) fn refers_to(&self, slot: u32) -> bool {
        self.referred.contains(slot)
    }

    /// All slots that records refer to, ascending.
    pub(super) fn slots(&self) -> impl Iterator<Item = u32> {
        self.referred.iter()
    }

    /// One above the highest slot that a record refers to.
    pub(super) fn slots_end(&self) -> u32 {
        self.referred.iter().last().map_or(0, |slot| slot + 1)
    }

    pub(super) fn is_defined(&self, slot: u32) -> bool {
        self.defined.contains(slot)
    }

    /// Whether the slot is given other labels than these.
    pub(super) fn contradicts(&self, slot: u32, labels: &Labels) -> bool {
        self.hashes.get(&slot).is_some_and(|hash| *hash != labels.hash())
    }

    pub(super) fn define(&mut self, slot: u32, labels: &Labels) {
        self.hashes.insert(slot, labels.hash());
        self.defined.insert(slot);
        self.referred.insert(slot);
    }
}

impl Segment {
    pub(super) fn new(sequence: u64) -> Self {
        Self { sequence, ..Self::default() }
    }

    pub(super) fn job(&mut self, job: &str) -> &mut JobUse {
        if !self.jobs.contains_key(job) {
            self.jobs.insert(job.to_owned(), JobUse::default());
        }
        self.jobs.entry(job.to_owned()).or_default()
    }

    pub(super) fn add(&mut self, record: &Record) {
        let job = self.job(record.job());
        job.newest_tick = job.newest_tick.max(Some(record.newest_tick()));
        match record {
            Record::Tick { input, .. } => {
                job.first_tick.get_or_insert(input.tick);
                input.slots.iter().for_each(|slot| job.referred.insert(*slot));
            }
            Record::Configuration { digest, .. } => {
                job.digests.insert(*digest);
            }
            Record::Skipped { .. } | Record::Fit { .. } | Record::Adopted { .. } => {}
        }
    }

    /// Whether a record says that the job has this configuration.
    pub(super) fn names(&self, job: &str, digest: u64) -> bool {
        self.jobs.get(job).is_some_and(|part| part.digests.contains(&digest))
    }

    /// Whether every job's newest tick is older than what is needed of the job.
    pub(super) fn is_spent(&self, needed_from: &dyn Fn(&str) -> Option<i64>) -> bool {
        self.jobs.iter().all(|(job, part)| {
            needed_from(job).is_none_or(|needed| part.newest_tick.is_none_or(|newest| newest < needed))
        })
    }
}
