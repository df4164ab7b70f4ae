//! Which shard owns a series: `jump_hash(xxh3_64(ownership key), shards)`. Frozen: another answer for the same input
//! is a breaking release, because the state of a series would be looked for at the wrong shard.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// How the series of a query are spread over the shards.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "type", content = "label", rename_all = "snake_case")]
pub enum Spread {
    /// Each series by its tenant and labels.
    #[default]
    Series,
    /// All series of the query together, by the query's alias.
    Query,
    /// All series with the same value of this label together; a series without it counts as the empty value.
    Label(String),
    /// All series with the same values of these labels together, at least two, sorted.
    Labels(Vec<String>),
    /// All series where those of the query of this alias are, which is spread by [`Spread::Query`].
    With(String),
}

impl std::fmt::Display for Spread {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Series => formatter.write_str("`series`"),
            Self::Query => formatter.write_str("`query`"),
            Self::Label(label) => write!(formatter, "`label: {label}`"),
            Self::Labels(labels) => write!(formatter, "`labels: {}`", labels.join(", ")),
            Self::With(alias) => write!(formatter, "`query: {alias}`"),
        }
    }
}

/// Writes the ownership key into `key`, which is cleared first (a buffer to reuse).
///
/// - [`Spread::Series`]: the tenant (empty if there is none), then the name and the value of every label but
///   `__name__`, each text preceded by its length in bytes as a little-endian `u32`. A label with an empty value is
///   the same as none.
/// - [`Spread::Query`]: the alias.
/// - [`Spread::Label`]: the value.
/// - [`Spread::Labels`]: as [`Spread::Series`], of these labels only.
/// - [`Spread::With`]: the alias of the other query.
///
/// `labels` are sorted by name, each name once. Models and schedulers are not part of the key, so that all models
/// of a job share what one read brings.
pub fn ownership_key<'a>(
    spread: &Spread,
    tenant: Option<&str>,
    query_alias: &str,
    labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    key: &mut Vec<u8>,
) {
    key.clear();
    match spread {
        Spread::Series => {
            append(key, tenant.unwrap_or(""));
            for (name, value) in labels {
                if name != "__name__" && !value.is_empty() {
                    append(key, name);
                    append(key, value);
                }
            }
        }
        Spread::Query => key.extend_from_slice(query_alias.as_bytes()),
        Spread::Label(wanted) => {
            let value = labels.into_iter().find(|(name, _)| name == wanted).map_or("", |(_, value)| value);
            key.extend_from_slice(value.as_bytes());
        }
        Spread::Labels(wanted) => {
            let labels = labels.into_iter().filter(|(name, _)| wanted.iter().any(|wanted| wanted == name));
            ownership_key(&Spread::Series, tenant, query_alias, labels.collect::<Vec<_>>(), key);
        }
        Spread::With(alias) => key.extend_from_slice(alias.as_bytes()),
    }
}

/// Texts are far shorter than 4 GiB: an answer of the TSDB that large is refused before it gets here.
fn append(key: &mut Vec<u8>, text: &str) {
    key.extend_from_slice(&(text.len() as u32).to_le_bytes());
    key.extend_from_slice(text.as_bytes());
}

/// The shard, `0..shards`, that owns an ownership key.
#[must_use]
pub fn shard_of_key(key: &[u8], shards: NonZeroU32) -> u32 {
    jump_hash(xxh3_64(key), shards)
}

/// The shard that reads a query for the whole deployment: its home.
#[must_use]
pub fn home_shard(query_alias: &str, shards: NonZeroU32) -> u32 {
    shard_of_key(query_alias.as_bytes(), shards)
}

/// Jump consistent hash: growing from n to n + 1 buckets moves 1 / (n + 1) of the keys, all of them to the new bucket.
///
/// Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm", 2014, figure 1.
#[must_use]
pub fn jump_hash(mut key: u64, buckets: NonZeroU32) -> u32 {
    let mut bucket = 0_u32;
    let mut next = 0_i64;
    while next < i64::from(buckets.get()) {
        bucket = next as u32;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        let jump = (1_i64 << 31) as f64 / ((key >> 33) + 1) as f64;
        next = ((f64::from(bucket) + 1.0) * jump) as i64;
    }
    bucket
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shards(count: u32) -> NonZeroU32 {
        NonZeroU32::new(count).unwrap()
    }

    fn key_of(spread: &Spread, tenant: Option<&str>, labels: &[(&str, &str)]) -> Vec<u8> {
        let mut key = b"left over".to_vec();
        ownership_key(spread, tenant, "cpu_usage", labels.iter().copied(), &mut key);
        key
    }

    /// Computed by an independent implementation (Python, `xxhash` 3).
    #[test]
    fn the_owner_of_a_series_never_changes() {
        let long = "x".repeat(300);
        type Vector<'a> = (Option<&'a str>, &'a [(&'a str, &'a str)], u64, [u32; 3]);
        let vectors: [Vector<'_>; 5] = [
            (None, &[], 0x48b2_c926_16fc_193d, [1, 1, 173]),
            (None, &[("instance", "a")], 0xe19a_606d_bcbf_6d0f, [0, 5, 684]),
            (
                Some("0:0"),
                &[("instance", "10.0.0.1:9100"), ("job", "node"), ("mode", "idle")],
                0x02e2_6b26_b056_26b7,
                [1, 6, 800],
            ),
            (Some("42:7"), &[("city", "Zürich"), ("empty_not", "x")], 0x6741_0016_8032_9ee0, [0, 9, 593]),
            (None, &[("pod", &long)], 0x6d90_2a41_b9dc_61cc, [0, 4, 733]),
        ];
        for (tenant, labels, hash, owners) in vectors {
            let key = key_of(&Spread::Series, tenant, labels);
            assert_eq!(xxh3_64(&key), hash, "{labels:?}");
            assert_eq!([3, 16, 1000].map(|count| shard_of_key(&key, shards(count))), owners, "{labels:?}");
        }
    }

    /// Computed by an independent implementation (Python, `xxhash` 3).
    #[test]
    fn the_home_of_a_query_never_changes() {
        assert_eq!([3, 16, 1000].map(|count| home_shard("cpu_usage", shards(count))), [1, 3, 613]);
        assert_eq!([3, 16, 1000].map(|count| home_shard("namespace/requests", shards(count))), [2, 2, 808]);
        assert_eq!([3, 16, 1000].map(|count| home_shard("", shards(count))), [0, 0, 241]);
        let key = key_of(&Spread::Query, Some("1:0"), &[("instance", "a")]);
        assert_eq!(shard_of_key(&key, shards(1000)), home_shard("cpu_usage", shards(1000)));
        let key = key_of(&Spread::Label("rack".into()), None, &[("instance", "a"), ("rack", "rack-7")]);
        assert_eq!(shard_of_key(&key, shards(1000)), 547);
    }

    /// Computed by an independent implementation (Python).
    #[test]
    fn jump_hash_gives_the_published_buckets() {
        let vectors: [(u64, [u32; 4]); 5] = [
            (0x0, [0, 0, 0, 2147483648]),
            (0x1, [0, 6, 549, 3094789146]),
            (0x0000_0000_dead_beef, [0, 5, 285, 1452406526]),
            (0x0ddc_0ffe_ebad_f00d, [0, 2, 113, 848029737]),
            (0xffff_ffff_ffff_ffff, [0, 9, 313, 2680453518]),
        ];
        for (key, buckets) in vectors {
            assert_eq!([1, 10, 666, u32::MAX].map(|count| jump_hash(key, shards(count))), buckets, "{key:#x}");
        }
    }

    #[test]
    fn the_metric_name_and_empty_labels_do_not_decide_who_owns_a_series() {
        let plain = key_of(&Spread::Series, None, &[("instance", "a")]);
        assert_eq!(key_of(&Spread::Series, None, &[("__name__", "up"), ("instance", "a"), ("job", "")]), plain);
        assert_ne!(key_of(&Spread::Series, Some("1:0"), &[("instance", "a")]), plain);
        assert_ne!(key_of(&Spread::Series, None, &[("instanc", "ea")]), plain);
    }

    #[test]
    fn a_missing_spread_label_counts_as_the_empty_value() {
        let spread = Spread::Label("host".into());
        assert_eq!(key_of(&spread, None, &[("instance", "a")]), b"");
        assert_eq!(key_of(&spread, None, &[("host", "h1"), ("instance", "a")]), b"h1");
    }

    #[test]
    fn several_labels_count_as_if_there_were_no_others_and_another_query_as_itself() {
        let spread = Spread::Labels(vec!["cluster".into(), "host".into()]);
        let labels = [("__name__", "up"), ("cluster", "c"), ("host", "h1"), ("mode", "idle")];
        let alone = key_of(&Spread::Series, Some("1:0"), &[("cluster", "c"), ("host", "h1")]);
        assert_eq!(key_of(&spread, Some("1:0"), &labels), alone);
        assert_eq!(key_of(&Spread::With("memory".into()), None, &labels), b"memory");
    }

    #[test]
    fn keys_are_balanced_over_the_shards() {
        for count in [2, 3, 7, 16] {
            let mut owned = vec![0_u32; count as usize];
            let keys = 20_000 * count;
            for index in 0..keys {
                let shard = shard_of_key(format!("host-{index}").as_bytes(), shards(count));
                owned[shard as usize] += 1;
            }
            for own in owned {
                // Binomial with mean 20,000 and standard deviation below 142: five of those.
                assert!((19_300..20_700).contains(&own), "{count} shards: {own}");
            }
        }
    }

    #[test]
    fn growing_by_one_shard_moves_its_fair_share() {
        for count in [1, 2, 5, 9] {
            let keys = 50_000_u64;
            let moved = (0..keys)
                .map(|index| xxh3_64(&index.to_le_bytes()))
                .filter(|hash| jump_hash(*hash, shards(count)) != jump_hash(*hash, shards(count + 1)))
                .count();
            let fair = keys as f64 / f64::from(count + 1);
            assert!((moved as f64 - fair).abs() < 0.05 * fair, "{count} shards: {moved} moved, fair is {fair}");
        }
    }

    proptest! {
        #[test]
        fn a_key_that_moves_on_growth_moves_to_the_new_shard(key: u64, count in 1_u32..5_000) {
            let (before, after) = (jump_hash(key, shards(count)), jump_hash(key, shards(count + 1)));
            prop_assert!(before < count);
            prop_assert!(after == before || after == count);
        }

        #[test]
        fn any_number_of_shards_is_served(key: u64, count in 1_u32..=u32::MAX) {
            prop_assert!(jump_hash(key, shards(count)) < count);
        }
    }
}
