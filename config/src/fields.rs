//! The values of one map of a file, read by the declaration of its keys.

use std::collections::BTreeMap;

use crate::problem::{Fault, Place, Problems};
use crate::range;
use crate::schema::{Key, Kind, Presence, Section, Support};
use crate::suggestion::{did_you_mean, nearest};
use crate::tree::{Entry, Node, Scalar, Value, join};

/// A map whose keys are known. A getter gives `None` if the key is absent without a default, or if what is there
/// is wrong; then it has reported that.
pub(crate) struct Fields<'a> {
    sections: Vec<&'static Section>,
    entries: BTreeMap<&'static str, &'a Entry>,
    place: &'a Place,
    path: String,
}

/// What a misplaced key is known for elsewhere.
pub(crate) type Elsewhere<'a> = &'a dyn Fn(&str) -> Option<(String, Vec<String>)>;

impl<'a> Fields<'a> {
    /// Checks that `node` is a map of the keys of `sections`; nothing at all counts as an empty map.
    pub(crate) fn open(
        sections: &[&'static Section],
        node: &'a Node,
        path: impl Into<String>,
        problems: &mut Problems,
    ) -> Option<Self> {
        Self::open_with(sections, node, path, &|_| None, problems)
    }

    /// As [`Fields::open`]; `elsewhere` knows keys that belong to other classes: this class, and those.
    pub(crate) fn open_with(
        sections: &[&'static Section],
        node: &'a Node,
        path: impl Into<String>,
        elsewhere: Elsewhere<'_>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let path = path.into();
        match &node.value {
            Value::Map(_) | Value::Null => {}
            Value::Faulty => return None,
            Value::Scalar(_) | Value::List(_) => {
                let fault = wrong_type("a map", node);
                problems.error(&node.place, path, fault);
                return None;
            }
        }
        let mut fields = Self { sections: sections.to_vec(), entries: BTreeMap::new(), place: &node.place, path };
        for entry in node.entries() {
            fields.add(entry, elsewhere, problems);
        }
        Some(fields)
    }

    /// The section below a key, empty if the key is absent; `None` if there is no map, which is reported.
    pub(crate) fn inner(&self, name: &str, section: &'static Section, problems: &mut Problems) -> Option<Self> {
        let path = self.path_of(name);
        match self.raw(name) {
            Some(node) => Self::open(&[section], node, path, problems),
            None => Some(Self { sections: vec![section], entries: BTreeMap::new(), place: self.place_of(name), path }),
        }
    }

    fn add(&mut self, entry: &'a Entry, elsewhere: Elsewhere<'_>, problems: &mut Problems) {
        let path = self.path_of(&entry.key);
        match self.key(&entry.key) {
            Some(Key { support: Support::Full, name, .. }) => {
                self.entries.insert(name, entry);
            }
            Some(Key { support: Support::Ignored(reason), .. }) => {
                problems.warn(&entry.place, path, format!("has no effect here: {reason}"));
            }
            Some(Key { support: Support::Refused(instead), .. }) => {
                let fault = Fault::NotSupportedYet { what: (*instead).to_owned(), supported: vec![] };
                problems.error(&entry.place, path, fault);
            }
            None => {
                let names = self.sections.iter().flat_map(|section| section.keys);
                let names = names.filter(|key| !matches!(key.support, Support::Refused(_)));
                let nearest = nearest(&entry.key, names.map(|key| key.name)).map(str::to_owned);
                let fault = match elsewhere(&entry.key) {
                    Some((class, classes)) => Fault::ArgumentOfOtherClass { class, classes, nearest },
                    None => Fault::UnknownKey { nearest },
                };
                problems.error(&entry.place, path, fault);
            }
        }
    }

    fn key(&self, name: &str) -> Option<&'static Key> {
        self.sections.iter().flat_map(|section| section.keys).find(|key| key.name == name)
    }

    /// The full path of a key.
    pub(crate) fn path_of(&self, name: &str) -> String {
        join(&self.path, name)
    }

    /// Where a key stands; where the map starts if it does not.
    pub(crate) fn place_of(&self, name: &str) -> &'a Place {
        self.entries.get(name).map_or(self.place, |entry| &entry.node.place)
    }

    /// Whether the key is written, be it with a null.
    pub(crate) fn is_written(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// The value, unless it is absent or null; nothing is checked or reported.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a Node> {
        self.entries.get(name).map(|entry| &entry.node).filter(|node| node.value != Value::Null)
    }

    /// The value; if it is absent and required, that is reported.
    pub(crate) fn node(&self, name: &str, problems: &mut Problems) -> Option<&'a Node> {
        let found = self.raw(name);
        if found.is_none()
            && let Some(Key { presence: Presence::Required, kind, .. }) = self.key(name)
        {
            let fault = Fault::Missing { expected: kind.allowed() };
            problems.error(self.place_of(name), self.path_of(name), fault);
        }
        found
    }

    pub(crate) fn error(&self, name: &str, fault: Fault, problems: &mut Problems) {
        problems.error(self.place_of(name), self.path_of(name), fault);
    }

    pub(crate) fn conflict(&self, name: &str, reason: impl Into<String>, problems: &mut Problems) {
        self.error(name, Fault::Conflict { reason: reason.into() }, problems);
    }

    pub(crate) fn warn(&self, name: &str, message: impl Into<String>, problems: &mut Problems) {
        problems.warn(self.place_of(name), self.path_of(name), message);
    }

    /// Refuses the value of a key with a reason.
    pub(crate) fn not_allowed(&self, name: &str, reason: impl Into<String>, problems: &mut Problems) {
        let secret = matches!(self.key(name), Some(Key { kind: Kind::Secret, .. }));
        let fault = match self.raw(name).map(|node| (node, &node.value)) {
            Some((_, Value::Scalar(scalar))) if !secret => {
                not_allowed(scalar, reason.into(), || self.key(name).map(|key| key.kind.allowed()).unwrap_or_default())
            }
            _ => Fault::Conflict { reason: reason.into() },
        };
        self.error(name, fault, problems);
    }

    fn scalar<T>(
        &self,
        name: &str,
        problems: &mut Problems,
        parse: impl Fn(&Kind, &str) -> Result<T, String>,
    ) -> Option<T> {
        let key = self.key(name)?;
        let Some(node) = self.node(name, problems) else {
            let Presence::Default(text) = key.presence else {
                return None;
            };
            return parse(&key.kind, text).ok();
        };
        self.item(key, node, &self.path_of(name), problems, parse)
    }

    /// One scalar, of a key or of its list.
    fn item<T>(
        &self,
        key: &Key,
        node: &Node,
        path: &str,
        problems: &mut Problems,
        parse: impl Fn(&Kind, &str) -> Result<T, String>,
    ) -> Option<T> {
        let fault = match &node.value {
            Value::Scalar(scalar) => match parse(&key.kind, &scalar.text) {
                Ok(value) => return Some(value),
                Err(reason) if matches!(key.kind, Kind::Secret) => Fault::Conflict { reason },
                Err(reason) => not_allowed(scalar, reason, || key.kind.allowed()),
            },
            Value::Faulty => return None,
            Value::Null | Value::List(_) | Value::Map(_) => wrong_type(&key.kind.allowed(), node),
        };
        problems.error(&node.place, path, fault);
        None
    }

    pub(crate) fn text(&self, name: &str, problems: &mut Problems) -> Option<String> {
        self.scalar(
            name,
            problems,
            |_, text| {
                if text.is_empty() { Err("must not be empty".into()) } else { Ok(text.to_owned()) }
            },
        )
    }

    pub(crate) fn boolean(&self, name: &str, problems: &mut Problems) -> Option<bool> {
        self.scalar(name, problems, |_, text| Kind::boolean(text))
    }

    pub(crate) fn integer(&self, name: &str, problems: &mut Problems) -> Option<i64> {
        self.scalar(name, problems, Kind::integer)
    }

    /// A whole number whose declared range fits `T`.
    pub(crate) fn whole<T: TryFrom<i64>>(&self, name: &str, problems: &mut Problems) -> Option<T> {
        self.integer(name, problems).and_then(|value| T::try_from(value).ok())
    }

    pub(crate) fn number(&self, name: &str, problems: &mut Problems) -> Option<f64> {
        self.scalar(name, problems, Kind::number)
    }

    pub(crate) fn duration(&self, name: &str, problems: &mut Problems) -> Option<i64> {
        self.scalar(name, problems, Kind::duration)
    }

    pub(crate) fn size(&self, name: &str, problems: &mut Problems) -> Option<u64> {
        self.scalar(name, problems, Kind::size)
    }

    pub(crate) fn zone(&self, name: &str, problems: &mut Problems) -> Option<String> {
        self.scalar(name, problems, |_, text| Kind::zone(text))
    }

    /// Whatever `parse` makes of the text.
    pub(crate) fn parsed<T>(
        &self,
        name: &str,
        problems: &mut Problems,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.scalar(name, problems, |_, text| parse(text))
    }

    pub(crate) fn one_of(&self, name: &str, problems: &mut Problems) -> Option<&'static str> {
        self.scalar(name, problems, |kind, text| {
            let Kind::OneOf(words) = kind else {
                return Err("no word is expected here".into());
            };
            words.iter().find(|word| **word == text).copied().ok_or_else(|| {
                let nearest = nearest(text, words.iter().copied());
                format!("must be one of {}{}", kind.allowed(), did_you_mean(nearest))
            })
        })
    }

    /// The scalars of a list, each with its place and path; `None` if it is absent or wrong.
    pub(crate) fn list(&self, name: &str, problems: &mut Problems) -> Option<Vec<(&'a Node, String)>> {
        let node = self.node(name, problems)?;
        let Value::List(items) = &node.value else {
            if node.value != Value::Faulty {
                let expected = self.key(name).map(|key| key.kind.allowed()).unwrap_or_default();
                problems.error(&node.place, self.path_of(name), wrong_type(&expected, node));
            }
            return None;
        };
        let path = self.path_of(name);
        Some(items.iter().enumerate().map(|(index, item)| (item, format!("{path}[{index}]"))).collect())
    }

    pub(crate) fn texts(&self, name: &str, problems: &mut Problems) -> Option<Vec<String>> {
        let key = self.key(name)?;
        let items = self.list(name, problems)?;
        let texts = items.into_iter().map(|(item, path)| {
            self.item(key, item, &path, problems, |_, text| {
                if text.is_empty() { Err("must not be empty".into()) } else { Ok(text.to_owned()) }
            })
        });
        texts.collect()
    }

    /// A list of numbers.
    pub(crate) fn numbers(&self, name: &str, problems: &mut Problems) -> Option<Vec<f64>> {
        let key = self.key(name)?;
        let items = self.list(name, problems)?;
        items.iter().map(|(item, path)| self.item(key, item, path, problems, Kind::number)).collect()
    }

    /// A range `[low, high]`.
    pub(crate) fn range(&self, name: &str, problems: &mut Problems) -> Option<[f64; 2]> {
        let key = self.key(name)?;
        self.raw(name)?;
        let items = self.list(name, problems)?;
        let bounds: Option<Vec<String>> = items
            .iter()
            .map(|(item, path)| {
                self.item(key, item, path, problems, |_, text| {
                    range::parse_bound(text).map_err(|error| error.to_string())?;
                    Ok(text.to_owned())
                })
            })
            .collect();
        let bounds = bounds?;
        let bounds: Vec<&str> = bounds.iter().map(String::as_str).collect();
        match range::parse_range(&bounds) {
            Ok(range) => Some(range),
            Err(_) if has_template(&items) => {
                let expected = key.kind.allowed();
                let fault = Fault::WrongType { expected, found: "other values in the environment".into() };
                self.error(name, fault, problems);
                None
            }
            Err(error) => {
                self.conflict(name, error.to_string(), problems);
                None
            }
        }
    }

    /// A number for both sides, `[x]` for both, or `[below, above]`.
    pub(crate) fn sides(&self, name: &str, problems: &mut Problems) -> Option<[f64; 2]> {
        let key = self.key(name)?;
        let is_list = matches!(self.raw(name), Some(Node { value: Value::List(_), .. }));
        if !is_list {
            return self.scalar(name, problems, Kind::number).map(|both| [both, both]);
        }
        let items = self.list(name, problems)?;
        let numbers: Option<Vec<f64>> =
            items.iter().map(|(item, path)| self.item(key, item, path, problems, Kind::number)).collect();
        match numbers?[..] {
            [both] => Some([both, both]),
            [below, above] => Some([below, above]),
            ref other => {
                let found = format!("a list of {} numbers", other.len());
                self.error(name, Fault::WrongType { expected: key.kind.allowed(), found }, problems);
                None
            }
        }
    }

    /// The entries of a map from aliases.
    pub(crate) fn aliases(&self, name: &str, problems: &mut Problems) -> Option<&'a [Entry]> {
        let node = self.node(name, problems)?;
        match &node.value {
            Value::Map(entries) => {
                for entry in entries {
                    if entry.key.is_empty() || entry.key.contains(char::is_control) {
                        let reason = "an alias must not be empty or contain control characters";
                        let fault = Fault::Conflict { reason: reason.into() };
                        problems.error(&entry.place, self.path_of(name), fault);
                    }
                }
                Some(entries)
            }
            Value::Faulty => None,
            _ => {
                let expected = self.key(name).map(|key| key.kind.allowed()).unwrap_or_default();
                problems.error(&node.place, self.path_of(name), wrong_type(&expected, node));
                None
            }
        }
    }
}

fn has_template(items: &[(&Node, String)]) -> bool {
    items.iter().any(|(item, _)| matches!(&item.value, Value::Scalar(Scalar { template: Some(_), .. })))
}

/// A value of the wrong type.
pub(crate) fn wrong_type(expected: &str, node: &Node) -> Fault {
    let found = match &node.value {
        Value::Scalar(scalar) => shown(scalar),
        _ => node.kind().to_owned(),
    };
    Fault::WrongType { expected: expected.to_owned(), found }
}

/// A value that is refused. What came from the environment may be secret: only its placeholder is shown, and not
/// the reason, which may quote the value.
pub(crate) fn not_allowed(scalar: &Scalar, reason: String, allowed: impl Fn() -> String) -> Fault {
    match scalar.template {
        None => Fault::NotAllowed { found: shown(scalar), reason },
        Some(_) => {
            let found = format!("another value from the environment ({})", shown(scalar));
            Fault::WrongType { expected: allowed(), found }
        }
    }
}

/// A scalar as the file has it, shortened.
pub(crate) fn shown(scalar: &Scalar) -> String {
    let text = scalar.template.as_ref().unwrap_or(&scalar.text);
    let printable = |character: char| {
        if character.is_control() { ' ' } else { character }
    };
    let mut shown: String = text.chars().take(60).map(printable).collect();
    if text.chars().nth(60).is_some() {
        shown.push_str("...");
    }
    format!("`{shown}`")
}
