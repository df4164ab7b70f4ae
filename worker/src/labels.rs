//! A series' label set.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

/// A label set, sorted by name, with the metric name as `__name__`. Cheap to clone and to compare.
#[derive(Debug, Clone)]
pub struct Labels {
    inner: Arc<LabelSet>,
}

#[derive(Debug)]
struct LabelSet {
    pairs: Box<[(Box<str>, Box<str>)]>,
    hash: u64,
}

impl Labels {
    /// From pairs in any order. An empty value is the same as no label; of two equal names the last one counts.
    #[must_use]
    pub fn new<N: Into<Box<str>>, V: Into<Box<str>>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut pairs: Vec<(Box<str>, Box<str>)> =
            pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        pairs.reverse();
        pairs.sort_by(|left, right| left.0.cmp(&right.0));
        pairs.dedup_by(|later, first| later.0 == first.0);
        pairs.retain(|(_, value)| !value.is_empty());
        let mut bytes = Vec::new();
        for (name, value) in &pairs {
            for text in [name, value] {
                bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
        }
        Self { inner: Arc::new(LabelSet { pairs: pairs.into(), hash: xxh3_64(&bytes) }) }
    }

    /// The pairs, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.inner.pairs.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The value of one label.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let pairs = &self.inner.pairs;
        pairs.binary_search_by(|pair| (*pair.0).cmp(name)).ok().map(|index| &*pairs[index].1)
    }

    /// xxh3 of the length-prefixed pairs: the same on every machine.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.inner.hash
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
            || (self.inner.hash == other.inner.hash && self.inner.pairs == other.inner.pairs)
    }
}

impl Eq for Labels {}

impl std::hash::Hash for Labels {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u64(self.inner.hash);
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
