//! Remembers the label sets of a query's earlier answers, so that a tick does not parse and allocate them again.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::labels::Labels;

/// Label sets by the bytes in which a server wrote them. Holds at most twice its capacity, beside those of the last
/// answer: when it is full, what was not asked for since it was last full is forgotten.
///
/// Servers sort their answers, so a series mostly follows the one that it followed in the answer before: the cache
/// looks there first, which is memory read in order, and only then by hash, which is memory read at random.
#[derive(Debug)]
pub struct LabelCache {
    capacity: usize,
    /// Secret, so that nobody can choose label values whose hashes collide.
    seed: u64,
    recent: Generation,
    older: Generation,
    /// The last answer in its order; up to `next` the one that is being read.
    sequence: Vec<(u128, Labels)>,
    next: usize,
}

type Generation = HashMap<u128, Labels, BuildHasherDefault<HashedKey>>;

/// How many series that are gone are stepped over to find the next one in its place.
const LOOK_AHEAD: usize = 4;

impl LabelCache {
    /// For answers of up to `capacity` series.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let seed = RandomState::new().hash_one(0);
        Self {
            capacity: capacity.max(1),
            seed,
            recent: Generation::default(),
            older: Generation::default(),
            sequence: Vec::new(),
            next: 0,
        }
    }

    /// An answer begins.
    pub fn begin_answer(&mut self) {
        self.sequence.truncate(self.next);
        self.next = 0;
    }

    /// The label set that is written as `raw`; `parse` is asked when it is not remembered.
    ///
    /// # Errors
    /// Those of `parse`.
    pub fn get<E>(&mut self, raw: &[u8], parse: impl FnOnce(&[u8]) -> Result<Labels, E>) -> Result<Labels, E> {
        let key = xxh3_128_with_seed(raw, self.seed);
        let ahead = self.sequence.iter().skip(self.next).take(LOOK_AHEAD);
        if let Some((distance, (_, labels))) = ahead.enumerate().find(|(_, (ahead, _))| *ahead == key) {
            self.next += distance + 1;
            return Ok(labels.clone());
        }
        let labels = self.by_hash(key, raw, parse)?;
        if let Some(place) = self.sequence.get_mut(self.next) {
            *place = (key, labels.clone());
            self.next += 1;
        } else if self.sequence.len() < self.capacity {
            self.sequence.push((key, labels.clone()));
            self.next += 1;
        }
        Ok(labels)
    }

    fn by_hash<E>(
        &mut self,
        key: u128,
        raw: &[u8],
        parse: impl FnOnce(&[u8]) -> Result<Labels, E>,
    ) -> Result<Labels, E> {
        if let Some(labels) = self.recent.get(&key) {
            return Ok(labels.clone());
        }
        let labels = match self.older.remove(&key) {
            Some(labels) => labels,
            None => parse(raw)?,
        };
        if self.recent.len() >= self.capacity {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(key, labels.clone());
        Ok(labels)
    }

    /// Label sets that are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.recent.len() + self.older.len()
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Passes on a part of a key that is a hash already.
#[derive(Debug, Clone, Copy, Default)]
pub struct HashedKey(u64);

impl Hasher for HashedKey {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(cache: &mut LabelCache, value: u32) -> bool {
        let mut parsed = false;
        let labels = cache.get(&value.to_le_bytes(), |_| {
            parsed = true;
            Ok::<_, ()>(Labels::new([("n", value.to_string())]))
        });
        assert_eq!(labels.unwrap().get("n"), Some(value.to_string().as_str()));
        parsed
    }

    #[test]
    fn what_an_answer_brings_again_and_again_stays_and_the_rest_is_forgotten() {
        let mut cache = LabelCache::new(100);
        assert!((0..50).all(|value| get(&mut cache, value)));
        for tick in 1..1000 {
            assert!((0..50).all(|value| !get(&mut cache, value)), "tick {tick}");
            assert!(get(&mut cache, 1000 + tick));
            assert!(cache.len() <= 200);
        }
        assert!(get(&mut cache, 1001));
    }
}
