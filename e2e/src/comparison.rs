//! Two runs on the same input, compared sample by sample, in amounts that do not fit into memory at once.

use std::collections::{BTreeMap, BTreeSet};

use ::tests::http::{Endpoint, HttpError};
use ::tests::series::Series;

use crate::forward::answered;

/// The TSDB keeps some 12 significant digits: values that differ less are one.
const TOLERANCE: f64 = 1e-9;

/// The label that tells the runs apart.
pub const RUN: &str = "run";

/// Labels without [`RUN`], and the values of each time.
type Samples = BTreeMap<BTreeMap<String, String>, BTreeMap<i64, Vec<f64>>>;

/// How a run differs from the undisturbed one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Comparison {
    /// Samples of the undisturbed run.
    pub samples: u64,
    /// Samples that only the undisturbed run has.
    pub missing: u64,
    /// Samples that only the other run has.
    pub additional: u64,
    /// Samples with another value, or with two.
    pub different: u64,
    /// Samples that were written more than once.
    pub repeated: u64,
    /// Times with a different sample, unix ms.
    pub different_at: BTreeSet<i64>,
    /// Times with a missing sample, unix ms.
    pub missing_at: BTreeSet<i64>,
    /// The first difference, in words.
    pub first: Option<String>,
}

impl Comparison {
    /// Compares what a run has written with what the undisturbed one has, from `from` to `until`, both included, unix
    /// ms. `parts` are selectors (`group='a'`) that together match everything, each so little that it fits into memory.
    ///
    /// # Errors
    /// When the TSDB does not answer.
    pub async fn read(
        tsdb: &Endpoint,
        undisturbed: &str,
        run: &str,
        parts: &[String],
        (from, until): (i64, i64),
    ) -> Result<Self, HttpError> {
        answered(async || tsdb.everything_visible().await).await?;
        let mut comparison = Self::default();
        for part in parts {
            let mut samples = Vec::new();
            for run in [undisturbed, run] {
                let selector = format!("{{{RUN}='{run}',{part}}}");
                let exported = answered(async || tsdb.export_within(&selector, from, until).await).await?;
                samples.push(by_name(exported));
            }
            if let [wanted, found] = &samples[..] {
                comparison.add(wanted, found);
            }
        }
        Ok(comparison)
    }

    /// Adds another one, of other samples.
    pub fn merge(&mut self, other: Self) {
        self.samples += other.samples;
        self.missing += other.missing;
        self.additional += other.additional;
        self.different += other.different;
        self.repeated += other.repeated;
        self.different_at.extend(other.different_at);
        self.missing_at.extend(other.missing_at);
        self.first = self.first.take().or(other.first);
    }

    /// Whether both runs have the same samples with the same values.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.missing + self.additional + self.different == 0
    }

    fn add(&mut self, wanted: &Samples, found: &Samples) {
        let nothing = BTreeMap::new();
        for (name, wanted) in wanted {
            let found = found.get(name).unwrap_or(&nothing);
            for (time, wanted) in wanted {
                self.samples += 1;
                match found.get(time) {
                    None => {
                        self.missing += 1;
                        self.missing_at.insert(*time);
                        self.tell(|| format!("{name:?} at {time} is missing"));
                    }
                    Some(found) => {
                        self.repeated += u64::from(found.len() > 1);
                        if !found.iter().chain(wanted).all(|value| is_near(*value, wanted.first().copied())) {
                            self.different += 1;
                            self.different_at.insert(*time);
                            self.tell(|| format!("{name:?} at {time} is {found:?} instead of {wanted:?}"));
                        }
                    }
                }
            }
        }
        for (name, found) in found {
            let wanted = wanted.get(name).unwrap_or(&nothing);
            for time in found.keys().filter(|time| !wanted.contains_key(time)) {
                self.additional += 1;
                self.tell(|| format!("{name:?} at {time} is there, and not in the undisturbed run"));
            }
        }
    }

    fn tell(&mut self, words: impl FnOnce() -> String) {
        if self.first.is_none() {
            self.first = Some(words());
        }
    }
}

fn is_near(value: f64, other: Option<f64>) -> bool {
    other.is_some_and(|other| {
        value.to_bits() == other.to_bits() || (value - other).abs() <= TOLERANCE * value.abs().max(other.abs()).max(1.0)
    })
}

fn by_name(series: Vec<Series>) -> Samples {
    let mut samples = Samples::new();
    for mut series in series {
        series.labels.remove(RUN);
        let times = samples.entry(series.labels).or_default();
        for sample in series.samples {
            times.entry(sample.time).or_default().push(sample.value);
        }
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, samples: &[(i64, f64)]) -> Samples {
        by_name(vec![Series::new("anomaly_score", &[(RUN, name), ("series", "a")], samples.iter().copied())])
    }

    fn compared(found: &[(i64, f64)]) -> Comparison {
        let mut comparison = Comparison::default();
        comparison.add(&run("calm", &[(1, 0.5), (2, 1.5)]), &run("soak", found));
        comparison
    }

    #[test]
    fn a_sample_that_was_sent_again_with_its_value_is_equal_and_counted() {
        let comparison = compared(&[(1, 0.5), (1, 0.5), (2, 1.5)]);
        assert!(comparison.is_equal());
        assert_eq!((comparison.samples, comparison.repeated), (2, 1));
    }

    #[test]
    fn what_is_missing_too_much_or_another_value_is_told_apart() {
        assert_eq!(compared(&[(1, 0.5)]).missing, 1);
        assert_eq!(compared(&[(1, 0.5), (2, 1.5), (3, 1.0)]).additional, 1);
        let different = compared(&[(1, 0.5), (1, 0.6), (2, 1.5)]);
        assert_eq!((different.different, different.different_at), (1, BTreeSet::from([1])));
        assert!(different.first.is_some_and(|words| words.contains("0.6")));
    }

    #[test]
    fn digits_that_the_database_does_not_keep_are_no_difference() {
        assert!(compared(&[(1, 0.500_000_000_000_1), (2, 1.5)]).is_equal());
        assert!(!compared(&[(1, 0.500_001), (2, 1.5)]).is_equal());
    }
}
