//! Remembers the label sets of a query's earlier answers, so that a tick does not parse, allocate and compare them
//! again.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::labels::Labels;

/// Label sets by the bytes in which a server wrote them. Equal label sets have one number, however they were
/// written. Servers answer in the same order again and again, so the next one is looked for there first.
#[derive(Debug)]
pub struct KnownSeries {
    capacity: usize,
    /// Secret, so that nobody can choose label values whose hashes collide.
    seed: u64,
    entries: Vec<Entry>,
    by_bytes: HashTable<u32>,
    by_labels: HashTable<u32>,
    /// Number of the entry that probably comes next.
    expected: usize,
    read: u32,
}

#[derive(Debug)]
struct Entry {
    /// Hash of the bytes in which the labels came last.
    bytes: u128,
    /// Number of these bytes.
    length: u32,
    labels: Labels,
    /// The read that brought them last.
    read: u32,
}

impl KnownSeries {
    /// For answers of up to `capacity` series: between reads no more are remembered.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            seed: RandomState::new().hash_one(0),
            entries: Vec::new(),
            by_bytes: HashTable::new(),
            by_labels: HashTable::new(),
            expected: 0,
            read: 0,
        }
    }

    /// Before each answer.
    pub fn begin_answer(&mut self) {
        self.expected = 0;
    }

    /// The number of the label set with which `bytes` start, and how many of them it takes, if it is the one that
    /// probably comes next. Nobody need look for its end then.
    pub fn expected(&mut self, bytes: &[u8]) -> Option<(usize, usize)> {
        let number = self.expected;
        let entry = self.entries.get_mut(number)?;
        let length = entry.length as usize;
        if xxh3_128_with_seed(bytes.get(..length)?, self.seed) != entry.bytes {
            return None;
        }
        entry.read = self.read;
        self.expected = number + 1;
        Some((number, length))
    }

    /// The number of the label set that is written as `bytes`; `parse` is asked when it is not known. Numbers hold
    /// until [`KnownSeries::end_read`].
    ///
    /// # Errors
    /// Those of `parse`.
    pub fn number<E>(&mut self, bytes: &[u8], parse: impl FnOnce(&[u8]) -> Result<Labels, E>) -> Result<usize, E> {
        let key = xxh3_128_with_seed(bytes, self.seed);
        let number = match self.entries.get(self.expected) {
            Some(entry) if entry.bytes == key => self.expected,
            _ => match self.by_bytes.find(key as u64, |number| self.entries[*number as usize].bytes == key) {
                Some(number) => *number as usize,
                None => self.add(key, u32::try_from(bytes.len()).unwrap_or(u32::MAX), parse(bytes)?),
            },
        };
        self.entries[number].read = self.read;
        self.expected = number + 1;
        Ok(number)
    }

    fn add(&mut self, bytes: u128, length: u32, labels: Labels) -> usize {
        let entries = &mut self.entries;
        let known = self.by_labels.find(labels.hash(), |number| entries[*number as usize].labels == labels);
        let number = match known {
            Some(number) => {
                // Written differently than before: the last way is remembered.
                let number = *number;
                let entry = &mut entries[number as usize];
                if let Ok(place) = self.by_bytes.find_entry(entry.bytes as u64, |other| *other == number) {
                    place.remove();
                }
                (entry.bytes, entry.length) = (bytes, length);
                number
            }
            None => {
                let number = entries.len() as u32;
                let hash = labels.hash();
                entries.push(Entry { bytes, length, labels, read: self.read });
                self.by_labels.insert_unique(hash, number, |number| entries[*number as usize].labels.hash());
                number
            }
        };
        self.by_bytes.insert_unique(bytes as u64, number, |number| entries[*number as usize].bytes as u64);
        number as usize
    }

    /// The label set of a number.
    #[must_use]
    pub fn labels(&self, number: usize) -> &Labels {
        &self.entries[number].labels
    }

    /// After all answers of a read. When there are more label sets than the capacity, those are forgotten that this
    /// read did not bring, and if need be others.
    pub fn end_read(&mut self) {
        if self.entries.len() > self.capacity {
            let read = self.read;
            self.entries.retain(|entry| entry.read == read);
            self.entries.truncate(self.capacity);
            self.entries.shrink_to_fit();
            self.by_bytes = HashTable::with_capacity(self.entries.len());
            self.by_labels = HashTable::with_capacity(self.entries.len());
            let entries = &self.entries;
            for (number, entry) in entries.iter().enumerate() {
                let number = number as u32;
                self.by_bytes.insert_unique(entry.bytes as u64, number, |other| entries[*other as usize].bytes as u64);
                self.by_labels
                    .insert_unique(entry.labels.hash(), number, |other| entries[*other as usize].labels.hash());
            }
        }
        self.read = self.read.wrapping_add(1);
    }

    /// Label sets that are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The number of a label set, and whether it had to be parsed.
    fn number(known: &mut KnownSeries, text: &str) -> (usize, bool) {
        let mut parsed = false;
        let number = known.number(text.as_bytes(), |_| {
            parsed = true;
            // White space is another way to write the same.
            Ok::<_, ()>(Labels::new([("n", text.trim())]))
        });
        let number = number.unwrap();
        assert_eq!(known.labels(number).get("n"), Some(text.trim()));
        (number, parsed)
    }

    #[test]
    fn what_every_answer_brings_stays_and_the_rest_is_forgotten() {
        let mut known = KnownSeries::new(100);
        for read in 0..1000 {
            known.begin_answer();
            let parsed = (0..50).map(|index| number(&mut known, &format!("s{index}")).1);
            assert!(parsed.eq([read == 0; 50]), "read {read}");
            assert!(number(&mut known, &format!("once {read}")).1);
            known.end_read();
            assert!(known.len() <= 100);
        }
        known.begin_answer();
        assert!(number(&mut known, "once 1").1);
    }

    #[test]
    fn an_answer_beyond_the_capacity_is_forgotten_in_part() {
        let mut known = KnownSeries::new(10);
        for _ in 0..3 {
            known.begin_answer();
            assert!((0..20).all(|index| number(&mut known, &format!("s{index}")).0 == index));
            known.end_read();
            assert_eq!(known.len(), 10);
        }
    }

    #[test]
    fn a_label_set_is_expected_where_the_answer_before_had_it_and_only_as_a_whole() {
        let mut known = KnownSeries::new(10);
        known.begin_answer();
        let texts = ["one", " two ", "three"];
        let numbers = texts.map(|text| number(&mut known, text).0);
        known.end_read();
        known.begin_answer();
        assert_eq!(known.expected(b"on"), None);
        assert_eq!(known.expected(b"one, two "), Some((numbers[0], 3)));
        assert_eq!(known.expected(b"three, two "), None);
        assert_eq!(number(&mut known, "three"), (numbers[2], false));
        assert_eq!(known.expected(b" two "), None, "three was the last one");
        assert_eq!(number(&mut known, "two"), (numbers[1], true), "written in another way");
        known.begin_answer();
        assert_eq!(known.expected(b"one"), Some((numbers[0], 3)));
        assert_eq!(known.expected(b"two!"), Some((numbers[1], 3)));
    }

    proptest! {
        #[test]
        fn within_a_read_equal_label_sets_have_one_number_and_others_have_others(
            reads in proptest::collection::vec(proptest::collection::vec((0..12_u8, " {0,2}"), 0..30), 1..5),
        ) {
            let mut known = KnownSeries::new(6);
            for read in reads {
                known.begin_answer();
                let mut numbers = std::collections::HashMap::new();
                for (value, space) in read {
                    let (number, _) = number(&mut known, &format!("{value}{space}"));
                    prop_assert_eq!(*numbers.entry(value).or_insert(number), number);
                }
                let distinct: std::collections::HashSet<_> = numbers.values().collect();
                prop_assert_eq!(distinct.len(), numbers.len());
                known.end_read();
            }
        }
    }
}
