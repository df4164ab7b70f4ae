//! A series' label set.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

/// A label set, sorted by name, with the metric name as `__name__`. Cheap to clone and to compare.
///
/// One allocation holds a whole set: the number of pairs, then every name and value in order, each behind its
/// length. A typical set of six labels with 120 bytes of text takes 24 bytes here and some 150 on the heap, shared
/// by all clones.
#[derive(Clone)]
pub struct Labels {
    text: Arc<str>,
    hash: u64,
}

impl Labels {
    /// From pairs in any order. An empty value is the same as no label; of two equal names the last one counts.
    #[must_use]
    pub fn new<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut pairs: Vec<(N, V)> = pairs.into_iter().collect();
        // The sort is stable and the order reversed, so the last one of equal names comes first and is kept.
        pairs.reverse();
        pairs.sort_by(|left, right| left.0.as_ref().cmp(right.0.as_ref()));
        pairs.dedup_by(|earlier, last| earlier.0.as_ref() == last.0.as_ref());
        pairs.retain(|(_, value)| !value.as_ref().is_empty());
        let texts = || pairs.iter().flat_map(|(name, value)| [name.as_ref(), value.as_ref()]);
        let length: usize = texts().map(str::len).sum();
        let mut text = String::with_capacity(length + pairs.len() * 4 + 4);
        let mut hashed = Vec::with_capacity(length + pairs.len() * 8);
        push_length(&mut text, pairs.len());
        for part in texts() {
            push_length(&mut text, part.len());
            text.push_str(part);
            hashed.extend_from_slice(&(part.len() as u32).to_le_bytes());
            hashed.extend_from_slice(part.as_bytes());
        }
        Self { text: text.into(), hash: xxh3_64(&hashed) }
    }

    /// The pairs, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        let (left, rest) = split_length(&self.text);
        Pairs { left, rest }
    }

    /// The value of one label.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        // Sets are small and lie in one piece: looking at every name is faster than an index of them.
        self.iter().find(|(own, _)| *own == name).map(|(_, value)| value)
    }

    /// xxh3 of the length-prefixed pairs: the same on every machine.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }
}

/// Appends a length in base 64, least digit first; all but the last digit have bit 6 set. Every digit is ASCII, so
/// lengths and text share one `str`.
fn push_length(text: &mut String, mut length: usize) {
    while length >= 64 {
        text.push(char::from((length % 64) as u8 | 64));
        length /= 64;
    }
    text.push(char::from(length as u8));
}

/// Takes a length off the front.
fn split_length(text: &str) -> (usize, &str) {
    let mut length = 0;
    let mut shift = 0;
    for (index, digit) in text.bytes().enumerate() {
        length |= usize::from(digit & 63) << shift;
        shift += 6;
        if digit & 64 == 0 {
            return (length, &text[index + 1..]);
        }
    }
    (0, "")
}

struct Pairs<'a> {
    left: usize,
    rest: &'a str,
}

impl<'a> Pairs<'a> {
    fn part(&mut self) -> &'a str {
        let (length, rest) = split_length(self.rest);
        // Within the text and between characters: only `Labels::new` wrote these lengths.
        let (part, rest) = rest.split_at(length);
        self.rest = rest;
        part
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some((self.part(), self.part()))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Pairs<'_> {}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.text, &other.text) || (self.hash == other.hash && self.text == other.text)
    }
}

impl Eq for Labels {}

impl std::hash::Hash for Labels {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl std::fmt::Display for Labels {
    /// As PromQL writes it: `name{label="value"}`.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.get("__name__").unwrap_or(""))?;
        formatter.write_str("{")?;
        let mut separator = "";
        for (name, value) in self.iter().filter(|(name, _)| *name != "__name__") {
            write!(formatter, "{separator}{name}={value:?}")?;
            separator = ",";
        }
        formatter.write_str("}")
    }
}

impl std::fmt::Debug for Labels {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_hash_never_changes() {
        // Computed with the reference implementation of xxHash over little-endian u32 lengths and UTF-8 text.
        let labels = Labels::new([
            ("zone", "eu-ö"),
            ("__name__", "http_requests_total"),
            ("path", "/a\"b"),
            ("job", "node"),
            ("method", "GET"),
            ("instance", "10.0.0.1:9100"),
        ]);
        assert_eq!(labels.hash(), 0xe39c_d428_79fb_91bb);
        assert_eq!(Labels::new::<&str, &str>([]).hash(), 0x2d06_8005_38d3_94c2);
        assert_eq!(
            labels.to_string(),
            r#"http_requests_total{instance="10.0.0.1:9100",job="node",method="GET",path="/a\"b",zone="eu-ö"}"#
        );
    }

    proptest! {
        #[test]
        fn a_label_set_is_a_sorted_map_in_which_the_last_pair_counts_and_empty_values_do_not(
            pairs in proptest::collection::vec(("[a-dé]{0,2}", prop_oneof!["[a-zé\\PC]{0,9}", "[é]{60,140}"]), 0..9),
        ) {
            let mut map: BTreeMap<&str, &str> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            map.retain(|_, value| !value.is_empty());
            let labels = Labels::new(pairs.iter().map(|(name, value)| (name, value)));
            prop_assert_eq!(labels.iter().len(), map.len());
            prop_assert!(labels.iter().eq(map.iter().map(|(name, value)| (*name, *value))));
            for (name, _) in &pairs {
                prop_assert_eq!(labels.get(name), map.get(name.as_str()).copied());
            }
            let again = Labels::new(map.iter().rev());
            prop_assert_eq!(&labels, &again);
            prop_assert_eq!(labels.hash(), again.hash());
        }
    }
}
