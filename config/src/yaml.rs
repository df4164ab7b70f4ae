//! YAML files as trees in which every node knows its place; the only module that knows the YAML library.
//!
//! A scalar is its text, quoted or not: what it means is decided by the key that it belongs to. So `yes`, `012`, `1e3`
//! or `20:00` never change under the eyes of the reader, whatever version of YAML has made of them.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Error, Location, Spanned};

use crate::problem::{Fault, Place, Problems};
use crate::tree::{Entry, Node, Scalar, Value, join, placeholder};

/// A configuration file: its name, for messages, and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Name of the file, for messages.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

impl Source {
    /// A file's name and bytes.
    #[must_use]
    pub fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), bytes: bytes.into() }
    }
}

/// Largest file that is read: many times what a ConfigMap can hold.
const LARGEST_FILE: usize = 16 << 20;
/// Deepest nesting; a configuration needs 6.
const DEEPEST: usize = 32;
/// Most nodes, those that aliases repeat included.
const MOST_NODES: usize = 500_000;

/// `%` cannot start a scalar in YAML, but users of vmanomaly write `password: %{NAME}`. So `%{NAME}` is replaced by
/// as many characters (columns stay right) that mean nothing to YAML, and taken back in every scalar.
const MASK_PERCENT: char = '\u{F8F0}';
const MASK_OPEN: char = '\u{F8F1}';
const MASK_CLOSE: char = '\u{F8F2}';

fn mask(text: &str) -> String {
    let mut masked = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some((before, name, after)) = placeholder(rest) {
        masked.push_str(before);
        masked.extend([MASK_PERCENT, MASK_OPEN]);
        masked.push_str(name);
        masked.push(MASK_CLOSE);
        rest = after;
    }
    masked.push_str(rest);
    masked
}

fn unmask(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            MASK_PERCENT => '%',
            MASK_OPEN => '{',
            MASK_CLOSE => '}',
            other => other,
        })
        .collect()
}

/// Parses one file. What is wrong goes to `problems`; a tree that is left can still be looked at for more.
pub(crate) fn parse(source: &Source, problems: &mut Problems) -> Option<Node> {
    let name: Arc<str> = source.name.as_str().into();
    let start = Place { source: Arc::clone(&name), line: 1, column: 1 };
    if source.bytes.len() > LARGEST_FILE {
        let fault = Fault::TooLarge { found: source.bytes.len(), limit: LARGEST_FILE };
        problems.error(&start, "", fault);
        return None;
    }
    let text = match std::str::from_utf8(&source.bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            problems.error(&start, "", Fault::NotUtf8 { offset: error.valid_up_to() });
            return None;
        }
    };
    if text.contains([MASK_PERCENT, MASK_OPEN, MASK_CLOSE]) {
        let message = "the private characters U+F8F0 to U+F8F2 are not allowed".to_owned();
        problems.error(&start, "", Fault::Syntax { message });
        return None;
    }
    let text = mask(text);
    let mut parsed = deserialize(&text, DuplicateKeyPolicy::Error);
    let mut duplicate = None;
    if let Err(error) = &parsed
        && let Error::DuplicateMappingKey { key, location } = original(error)
    {
        duplicate = Some((key.as_deref().map(unmask).unwrap_or_default(), place(&name, *location)));
        parsed = deserialize(&text, DuplicateKeyPolicy::LastWins);
    }
    let root = parsed.map(|raw| Builder { text: &text, source: Arc::clone(&name), problems: &mut *problems }.node(raw));
    if let Some((key, place)) = duplicate {
        let path = root.as_ref().ok().and_then(|root| path_of(root, &place));
        problems.error(&place, path.unwrap_or(key), Fault::DuplicateKey);
    }
    let root = match root {
        Ok(root) => root,
        Err(error) => {
            let location = error.location().unwrap_or(Location::UNKNOWN);
            let fault = match original(&error) {
                Error::MultipleDocuments { .. } => Fault::SeveralDocuments,
                other => Fault::Syntax { message: message(other) },
            };
            problems.error(&place(&name, location), "", fault);
            return None;
        }
    };
    match root.value {
        Value::Map(_) => Some(root),
        Value::Null => {
            problems.error(&start, "", Fault::Empty);
            None
        }
        _ => {
            problems.error(&root.place, "", Fault::RootNotAMap { found: root.kind() });
            None
        }
    }
}

/// The full path of the key at `place`.
fn path_of(node: &Node, place: &Place) -> Option<String> {
    node.entries().iter().find_map(|entry| {
        if entry.place == *place {
            return Some(entry.key.clone());
        }
        path_of(&entry.node, place).map(|inner| join(&entry.key, &inner))
    })
}

/// The parser's message without its place, and without the text of the file.
fn message(error: &Error) -> String {
    let text = match error {
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. } => {
            return "too deep, too large, or its aliases expand to too much".to_owned();
        }
        other => other.to_string(),
    };
    let end = text.rfind(" at line ").unwrap_or(text.len());
    unmask(&text[..end])
}

fn original(error: &Error) -> &Error {
    match error {
        Error::AliasError { error, .. } | Error::WithSnippet { error, .. } => original(error),
        other => other,
    }
}

fn place(source: &Arc<str>, location: Location) -> Place {
    Place { source: Arc::clone(source), line: location.line().max(1), column: location.column().max(1) }
}

fn deserialize(text: &str, duplicate_keys: DuplicateKeyPolicy) -> Result<Spanned<Raw>, Error> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEEPEST,
            max_nodes: MOST_NODES,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MOST_NODES },
        duplicate_keys: duplicate_keys,
        strict_booleans: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options)
}

/// What the library gives, before places are taken from it.
#[derive(Debug)]
enum Raw {
    Null,
    Text(String),
    /// A scalar that YAML takes for a number or a Boolean; its text is in the file.
    Typed(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

struct Builder<'a> {
    text: &'a str,
    source: Arc<str>,
    problems: &'a mut Problems,
}

impl Builder<'_> {
    fn node(&mut self, raw: Spanned<Raw>) -> Node {
        let place = place(&self.source, raw.referenced);
        let scalar = |text: String| Value::Scalar(Scalar { text, template: None });
        let value = match raw.value {
            Raw::Null => Value::Null,
            Raw::Text(text) => scalar(unmask(&text)),
            Raw::Typed(text) => scalar(self.written(raw.defined).unwrap_or(text)),
            Raw::List(items) => Value::List(items.into_iter().map(|item| self.node(item)).collect()),
            Raw::Map(entries) => {
                let entries = entries.into_iter().filter_map(|(key, value)| self.entry(key, value));
                Value::Map(entries.collect())
            }
        };
        Node { place, value }
    }

    fn entry(&mut self, key: Spanned<Raw>, value: Spanned<Raw>) -> Option<Entry> {
        let place = place(&self.source, key.referenced);
        let text = match key.value {
            Raw::Text(text) => unmask(&text),
            Raw::Typed(text) => self.written(key.defined).unwrap_or(text),
            Raw::Null => self.written(key.defined).unwrap_or_default(),
            Raw::List(_) | Raw::Map(_) => {
                let message = "a key must be a text, not a list or a map".to_owned();
                self.problems.error(&place, "", Fault::Syntax { message });
                return None;
            }
        };
        Some(Entry { key: text, place, node: self.node(value) })
    }

    /// A plain scalar as the file has it.
    fn written(&self, location: Location) -> Option<String> {
        let span = location.span();
        let start = usize::try_from(span.byte_offset()?).ok()?;
        let length = usize::try_from(span.byte_len()?).ok()?;
        self.text.get(start..start.checked_add(length)?).map(|text| text.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tree(text: &str) -> Node {
        let mut problems = Problems::default();
        let node = parse(&Source::new("f.yaml", text), &mut problems);
        assert_eq!(problems.errors, []);
        node.unwrap()
    }

    fn faults(text: impl Into<Vec<u8>>) -> Vec<(u64, u64, Fault)> {
        let mut problems = Problems::default();
        parse(&Source::new("f.yaml", text), &mut problems);
        let errors = problems.errors.into_iter();
        errors.map(|error| (error.place.clone().unwrap().line, error.place.unwrap().column, error.fault)).collect()
    }

    fn text(node: &Node) -> &str {
        match &node.value {
            Value::Scalar(scalar) => &scalar.text,
            other => panic!("{other:?} is no scalar"),
        }
    }

    #[test]
    fn scalars_stay_as_written() {
        let root = tree("a: [0x1F, 012, 1e3, .inf, '-inf', yes, true, 20:00, 1_000, +5, 1.50]");
        let Some(Value::List(items)) = root.get("a").map(|node| &node.value) else { panic!() };
        let texts: Vec<&str> = items.iter().map(text).collect();
        let written = ["0x1F", "012", "1e3", ".inf", "-inf", "yes", "true", "20:00", "1_000", "+5", "1.50"];
        assert_eq!(texts, written);
        assert_eq!((items[2].place.line, items[2].place.column), (1, 16));
    }

    #[test]
    fn anchors_and_merge_keys_are_followed_and_point_to_their_use() {
        let root = tree("x: &x {k: 1, l: 2}\ny: *x\nz:\n  <<: *x\n  k: 3\n");
        assert_eq!(text(root.get("y").unwrap().get("l").unwrap()), "2");
        assert_eq!(root.get("y").unwrap().place.line, 2);
        let merged = root.get("z").unwrap();
        assert_eq!(text(merged.get("k").unwrap()), "3");
        assert_eq!(text(merged.get("l").unwrap()), "2");
        assert_eq!(merged.entries().len(), 2);
    }

    #[test]
    fn what_is_no_single_map_is_refused_with_its_place() {
        assert_eq!(faults(""), [(1, 1, Fault::Empty)]);
        assert_eq!(faults("# only a comment\n"), [(1, 1, Fault::Empty)]);
        assert_eq!(faults("---\na: 1\n---\nb: 2\n")[0].2, Fault::SeveralDocuments);
        assert_eq!(faults("- a\n")[0].2, Fault::RootNotAMap { found: "a list" });
        assert_eq!(faults("hello")[0].2, Fault::RootNotAMap { found: "a single value" });
        assert_eq!(faults(b"a: \xff".to_vec()), [(1, 1, Fault::NotUtf8 { offset: 3 })]);
        assert_eq!(faults("a: 1\nb:\n  c: 1\n  c: 2\n"), [(4, 3, Fault::DuplicateKey)]);
        assert!(matches!(faults("a: 1\n b: 2: 3\n")[..], [(2, _, Fault::Syntax { .. })]));
        assert!(matches!(faults("? [a]\n: b\n")[..], [(1, 3, Fault::Syntax { .. })]));
    }

    #[test]
    fn bombs_are_refused_in_little_time_and_memory() {
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            laughs.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        let deep = format!("a: {}{}", "[".repeat(100_000), "]".repeat(100_000));
        for bomb in [laughs, deep] {
            assert!(matches!(faults(bomb)[..], [(_, _, Fault::Syntax { .. })]));
        }
    }

    #[test]
    fn placeholders_are_replaced_quoted_or_not_and_columns_stay_right() {
        let mut root = tree("a: %{A}\nb: \"x-%{B}-y\"\nc: [%{A}, z]\nd: foo %{x=\"1\"}\n");
        let mut problems = Problems::default();
        root.substitute(&|name| Some(format!("<{name}>")), "", &mut problems);
        assert_eq!(text(root.get("a").unwrap()), "<A>");
        assert_eq!(text(root.get("b").unwrap()), "x-<B>-y");
        assert_eq!(text(root.get("d").unwrap()), "foo %{x=\"1\"}");
        let Value::List(items) = &root.get("c").unwrap().value else { panic!() };
        assert_eq!(items[1].place.column, 11);
        assert_eq!(problems.errors, []);
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused_without_a_panic(bytes: Vec<u8>) {
            parse(&Source::new("f", bytes), &mut Problems::default());
        }

        #[test]
        fn anything_like_yaml_is_parsed_or_refused_without_a_panic(text in "[ab:\\-\\[\\]{}&*%<'\"|>?!#\n \t0.é,]{0,60}") {
            parse(&Source::new("f", text), &mut Problems::default());
        }
    }
}
