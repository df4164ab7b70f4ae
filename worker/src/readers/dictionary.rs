//! Short names for the series of a query, and which of them belong to whom. Pure.

use std::{collections::VecDeque, rc::Rc};

use crate::{labels::Labels, peers::message::DictionaryVersion, series::ByLabels};

/// Custodies whose series are known. Each shard has one, and another one for each hand-over that it takes part in.
const KNOWN_CUSTODIES: usize = 256;
/// Names that may lie idle before all are given anew.
const IDLE_NAMES: usize = 10_000;

/// Numbers for label sets, in the order in which they were first seen.
#[derive(Debug, Default)]
pub struct Dictionary {
    incarnation: u64,
    labels: Vec<Labels>,
    numbers: ByLabels<u32>,
    /// By digest of a custody, the one used last at the end: whether it has each series.
    custodies: VecDeque<(u64, Rc<Vec<bool>>)>,
}

impl Dictionary {
    /// An empty one. `incarnation` tells it from all that were before.
    #[must_use]
    pub fn new(incarnation: u64) -> Self {
        Self { incarnation, ..Self::default() }
    }

    /// What its numbers mean depends on this.
    #[must_use]
    pub fn version(&self) -> DictionaryVersion {
        DictionaryVersion { incarnation: self.incarnation, version: self.labels.len() as u64 }
    }

    /// The series with a number.
    #[must_use]
    pub fn labels(&self, number: u32) -> Option<&Labels> {
        self.labels.get(number as usize)
    }

    /// Whether most of its series are gone: `present` are left.
    #[must_use]
    pub fn is_worn(&self, present: usize) -> bool {
        self.labels.len() > 2 * present + IDLE_NAMES
    }

    /// The numbers of these series; new ones get the next.
    pub fn numbers(&mut self, series: &[Labels]) -> Vec<u32> {
        let number = |labels: &Labels| match self.numbers.get(labels) {
            Some(number) => *number,
            None => {
                let number = u32::try_from(self.labels.len()).unwrap_or(u32::MAX);
                self.labels.push(labels.clone());
                self.numbers.insert(labels.clone(), number);
                number
            }
        };
        series.iter().map(number).collect()
    }

    /// By number, whether a custody with this digest has the series. `has` decides about those that are new.
    pub fn owned(&mut self, custody: u64, has: impl Fn(&Labels) -> bool) -> Rc<Vec<bool>> {
        let known = self.custodies.iter().position(|(digest, _)| *digest == custody);
        let (_, mut owned) = known.and_then(|index| self.custodies.remove(index)).unwrap_or_default();
        let new = &self.labels[owned.len()..];
        if !new.is_empty() {
            Rc::make_mut(&mut owned).extend(new.iter().map(has));
        }
        if self.custodies.len() >= KNOWN_CUSTODIES {
            self.custodies.pop_front();
        }
        self.custodies.push_back((custody, owned.clone()));
        owned
    }

    /// The series with a number from `known` on, if that is of this dictionary, or else all, that are `owned`.
    #[must_use]
    pub fn definitions(&self, known: DictionaryVersion, owned: &[bool]) -> Vec<(u32, Labels)> {
        let first = if known.incarnation == self.incarnation { known.version as usize } else { 0 };
        let new = (0_u32..).zip(&self.labels).zip(owned).skip(first);
        new.filter(|(_, owned)| **owned).map(|((number, labels), _)| (number, labels.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(name: &str) -> Labels {
        Labels::new([("instance", name)])
    }

    fn is_early(labels: &Labels) -> bool {
        labels.get("instance").is_some_and(|name| name < "c")
    }

    #[test]
    fn who_knows_a_version_gets_only_what_is_new_and_owned_since() {
        let mut dictionary = Dictionary::new(7);
        assert_eq!(dictionary.numbers(&[labels("d"), labels("a")]), [0, 1]);
        let before = dictionary.version();
        assert_eq!(dictionary.numbers(&[labels("a"), labels("b"), labels("e")]), [1, 2, 3]);
        let owned = dictionary.owned(1, is_early);
        assert_eq!(*owned, [false, true, true, false]);
        assert_eq!(dictionary.definitions(before, &owned), [(2, labels("b"))]);
        let other = DictionaryVersion { incarnation: 6, ..before };
        assert_eq!(dictionary.definitions(other, &owned), [(1, labels("a")), (2, labels("b"))]);
    }

    #[test]
    fn series_that_come_later_are_sorted_into_the_custodies_that_are_known() {
        let mut dictionary = Dictionary::new(7);
        dictionary.numbers(&[labels("a")]);
        assert_eq!(*dictionary.owned(1, is_early), [true]);
        dictionary.numbers(&[labels("x")]);
        // What is known is not asked again.
        assert_eq!(*dictionary.owned(1, |labels| !is_early(labels)), [true, true]);
        assert_eq!(*dictionary.owned(2, is_early), [true, false]);
    }
}
