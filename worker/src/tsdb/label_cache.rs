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
    sequence: Vec<Place>,
    next: usize,
}

/// A label set of the last answer.
#[derive(Debug)]
struct Place {
    key: u128,
    /// Bytes as which it was written.
    length: u32,
    labels: Labels,
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

    /// Series of the answer before.
    #[must_use]
    pub fn expected_series(&self) -> usize {
        self.sequence.len()
    }

    /// The label set that `bytes` start with and how many of them it takes, if it is the one that came next in the
    /// answer before. Then nobody need look for its end.
    pub fn expected(&mut self, bytes: &[u8]) -> Option<(usize, Labels)> {
        let place = self.sequence.get(self.next)?;
        let length = place.length as usize;
        let is_same = xxh3_128_with_seed(bytes.get(..length)?, self.seed) == place.key;
        is_same.then(|| {
            self.next += 1;
            (length, place.labels.clone())
        })
    }

    /// The label set that is written as `raw`; `parse` is asked when it is not remembered.
    ///
    /// # Errors
    /// Those of `parse`.
    pub fn get<E>(&mut self, raw: &[u8], parse: impl FnOnce(&[u8]) -> Result<Labels, E>) -> Result<Labels, E> {
        let key = xxh3_128_with_seed(raw, self.seed);
        let ahead = self.sequence.iter().skip(self.next).take(LOOK_AHEAD);
        if let Some((distance, place)) = ahead.enumerate().find(|(_, place)| place.key == key) {
            self.next += distance + 1;
            return Ok(place.labels.clone());
        }
        let labels = self.by_hash(key, raw, parse)?;
        let place = Place { key, length: u32::try_from(raw.len()).unwrap_or(u32::MAX), labels: labels.clone() };
        if let Some(outdated) = self.sequence.get_mut(self.next) {
            *outdated = place;
            self.next += 1;
        } else if self.sequence.len() < self.capacity {
            self.sequence.push(place);
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
            cache.begin_answer();
            assert!((0..50).all(|value| !get(&mut cache, value)), "tick {tick}");
            assert!(get(&mut cache, 1000 + tick));
            assert!(cache.len() <= 200);
        }
        assert!(get(&mut cache, 1001));
    }

    #[test]
    fn a_label_set_is_the_expected_one_only_where_the_answer_before_had_it() {
        let mut cache = LabelCache::new(10);
        assert!([7, 8, 9].into_iter().all(|value| get(&mut cache, value)));
        cache.begin_answer();
        let bytes = [7_u32, 9, 8].map(u32::to_le_bytes).concat();
        assert_eq!(cache.expected(&bytes[..3]), None, "incomplete");
        assert_eq!(cache.expected(&bytes), Some((4, Labels::new([("n", "7")]))));
        assert_eq!(cache.expected(&bytes[4..]), None, "8 came next");
        assert!(!get(&mut cache, 9));
        assert_eq!(cache.expected(&bytes[8..]), None, "8 came before 9");
        assert!(!get(&mut cache, 8));
        cache.begin_answer();
        for (at, value) in [7, 9, 8].into_iter().enumerate() {
            let found = cache.expected(&bytes[at * 4..]).map(|(_, labels)| labels);
            let found = found.or_else(|| (!get(&mut cache, value)).then(|| Labels::new([("n", value.to_string())])));
            assert_eq!(found, Some(Labels::new([("n", value.to_string())])));
        }
    }
}
