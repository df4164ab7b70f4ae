//! What workers wrote, compared sample by sample.

use std::collections::{BTreeMap, BTreeSet};

use crate::series::Series;

/// Labels of a series without the one in which the workers of a comparison differ.
type Name = BTreeMap<String, String>;

/// The outputs of one worker: every value that was written for a series and a time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scores {
    samples: BTreeMap<(Name, i64), BTreeSet<u64>>,
}

impl Scores {
    /// Those of `series` that have this `preset`.
    #[must_use]
    pub fn of(series: &[Series], preset: &str) -> Self {
        Self::labelled(series, "preset", preset)
    }

    /// Those of `series` that have this label, in which the workers of a comparison differ.
    #[must_use]
    pub fn labelled(series: &[Series], label: &str, value: &str) -> Self {
        let mut samples: BTreeMap<_, BTreeSet<u64>> = BTreeMap::new();
        for series in series.iter().filter(|series| series.label(label) == value) {
            let mut name = series.labels.clone();
            name.remove(label);
            for sample in &series.samples {
                let values = samples.entry((name.clone(), sample.time)).or_default();
                values.insert(sample.value.to_bits());
            }
        }
        Self { samples }
    }

    /// Those from `from` to `until`, both included, unix ms.
    #[must_use]
    pub fn within(&self, from: i64, until: i64) -> Self {
        let inside = self.samples.iter().filter(|((_, time), _)| (from..=until).contains(time));
        Self { samples: inside.map(|(key, values)| (key.clone(), values.clone())).collect() }
    }

    /// Those of series that have this label.
    #[must_use]
    pub fn with(&self, label: &str, value: &str) -> Self {
        let matching = self.samples.iter().filter(|((name, _), _)| name.get(label).is_some_and(|found| found == value));
        Self { samples: matching.map(|(key, values)| (key.clone(), values.clone())).collect() }
    }

    /// How many samples there are, each series and time once.
    #[must_use]
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// All times at which a series with this label was written.
    #[must_use]
    pub fn times(&self, label: &str, value: &str) -> BTreeSet<i64> {
        let matching = self.samples.keys().filter(|(name, _)| name.get(label).is_some_and(|found| found == value));
        matching.map(|(_, time)| *time).collect()
    }

    /// The latest time up to which every value of `label` has been written; `None` when one has nothing.
    #[must_use]
    pub fn complete_until(&self, label: &str, values: &[&str]) -> Option<i64> {
        values.iter().map(|value| self.times(label, value).last().copied()).min().flatten()
    }

    /// The first sample that was written with several values.
    #[must_use]
    pub fn rewritten(&self) -> Option<String> {
        let (key, values) = self.samples.iter().find(|(_, values)| values.len() > 1)?;
        Some(format!("{key:?} was written as {:?}", floats(values)))
    }

    /// The first sample in which `other` differs, at the latest time before anything else: one is missing, or the
    /// values differ by more than `tolerance`, relative; 0 asks for equal bits.
    #[must_use]
    pub fn difference(&self, other: &Self, tolerance: f64) -> Option<String> {
        let keys: BTreeSet<_> =
            self.samples.keys().chain(other.samples.keys()).map(|(name, time)| (*time, name)).collect();
        keys.into_iter().find_map(|(time, name)| {
            let key = (name.clone(), time);
            let (left, right) = (self.samples.get(&key), other.samples.get(&key));
            let equal = match (left, right) {
                (Some(left), Some(right)) => left == right || near(left, right, tolerance),
                _ => false,
            };
            (!equal).then(|| format!("{name:?} at {time}: {:?} and {:?}", left.map(floats), right.map(floats)))
        })
    }
}

fn floats(values: &BTreeSet<u64>) -> Vec<f64> {
    values.iter().map(|bits| f64::from_bits(*bits)).collect()
}

fn near(left: &BTreeSet<u64>, right: &BTreeSet<u64>, tolerance: f64) -> bool {
    let all: Vec<f64> = floats(left).into_iter().chain(floats(right)).collect();
    let largest = all.iter().fold(f64::NEG_INFINITY, |largest, value| largest.max(*value));
    let smallest = all.iter().fold(f64::INFINITY, |smallest, value| smallest.min(*value));
    tolerance > 0.0 && largest - smallest <= tolerance * largest.abs().max(smallest.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(values: &[(i64, f64)]) -> Scores {
        let series = Series::new("anomaly_score", &[("preset", "a"), ("for", "load")], values.iter().copied());
        Scores::of(&[series], "a")
    }

    #[test]
    fn a_missing_sample_and_another_value_are_differences_and_the_earliest_is_told() {
        let all = scores(&[(1, 0.5), (2, 0.5), (3, 0.5)]);
        assert_eq!(all.difference(&all, 0.0), None);
        let other = scores(&[(1, 0.5), (2, 0.500_001), (3, 0.5)]);
        assert!(all.difference(&other, 0.0).unwrap().contains("at 2"));
        assert_eq!(all.difference(&other, 1e-3), None);
        assert!(all.difference(&scores(&[(1, 0.5), (2, 0.5)]), 1e-3).unwrap().contains("at 3"));
    }

    #[test]
    fn a_sample_that_was_written_twice_with_different_values_is_found() {
        assert_eq!(scores(&[(1, 0.5), (1, 0.5)]).rewritten(), None);
        assert!(scores(&[(1, 0.5), (1, 0.6)]).rewritten().is_some());
    }

    #[test]
    fn only_one_preset_counts() {
        let series = Series::new("anomaly_score", &[("preset", "b")], [(1, 1.0)]);
        assert!(Scores::of(&[series], "a").is_empty());
    }
}
