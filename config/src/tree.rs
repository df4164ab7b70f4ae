//! The tree of a configuration file: values that know their places; how trees are merged, and how the environment gets
//! into them.

use crate::problem::{Fault, Place, Problems};

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Scalar(Scalar),
    List(Vec<Node>),
    /// In the order of the file; keys are unique.
    Map(Vec<Entry>),
    /// An error about it is already reported.
    Faulty,
}

/// A scalar's text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    /// The text in the file, if environment variables were put in.
    pub(crate) template: Option<String>,
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) place: Place,
    pub(crate) node: Node,
}

impl Node {
    /// What kind of thing it is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Scalar(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
            Value::Faulty => "an error",
        }
    }

    /// The entries, if it is a map.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The value of a key, if it is a map that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// Maps are merged key by key; anything else replaces what was there.
    pub(crate) fn merge(&mut self, later: Node) {
        match (&mut self.value, later.value) {
            (Value::Map(entries), Value::Map(later)) => {
                for entry in later {
                    match entries.iter_mut().find(|earlier| earlier.key == entry.key) {
                        Some(earlier)
                            if matches!((&earlier.node.value, &entry.node.value), (Value::Map(_), Value::Map(_))) =>
                        {
                            earlier.node.merge(entry.node)
                        }
                        Some(earlier) => *earlier = entry,
                        None => entries.push(entry),
                    }
                }
            }
            (value, later_value) => {
                *value = later_value;
                self.place = later.place;
            }
        }
    }

    /// Replaces `%{NAME}` in every scalar below by what `env` knows. An unset variable is an error.
    pub(crate) fn substitute(&mut self, env: &dyn Fn(&str) -> Option<String>, path: &str, problems: &mut Problems) {
        match &mut self.value {
            Value::Map(entries) => {
                for entry in entries {
                    let path = join(path, &entry.key);
                    if placeholder(&entry.key).is_some() {
                        problems.error(&entry.place, path, Fault::PlaceholderInKey);
                    } else {
                        entry.node.substitute(env, &path, problems);
                    }
                }
            }
            Value::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    item.substitute(env, &format!("{path}[{index}]"), problems);
                }
            }
            Value::Scalar(scalar) => {
                let mut text = String::new();
                let mut rest = scalar.text.as_str();
                let mut unset = false;
                while let Some((before, name, after)) = placeholder(rest) {
                    text.push_str(before);
                    match env(name) {
                        Some(value) => text.push_str(&value),
                        None => {
                            unset = true;
                            let fault = Fault::UnsetVariable { variable: name.to_owned() };
                            problems.error(&self.place, path, fault);
                        }
                    }
                    rest = after;
                }
                if unset {
                    self.value = Value::Faulty;
                } else if rest.len() < scalar.text.len() {
                    text.push_str(rest);
                    let template = std::mem::replace(&mut scalar.text, text);
                    scalar.template = Some(template);
                }
            }
            Value::Null | Value::Faulty => {}
        }
    }
}

/// `path.key`.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The first `%{NAME}`: what is before it, the name, what is after it.
pub(crate) fn placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let start = from + text[from..].find("%{")?;
        let name = &text[start + 2..];
        let end = name.find(|character: char| !character.is_ascii_alphanumeric() && character != '_');
        match end {
            Some(end) if end > 0 && name[end..].starts_with('}') => {
                return Some((&text[..start], &name[..end], &name[end + 1..]));
            }
            _ => from = start + 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Source, parse};

    fn tree(text: &str) -> Node {
        parse(&Source::new("f.yaml", text), &mut Problems::default()).unwrap()
    }

    fn text(node: &Node) -> &str {
        match &node.value {
            Value::Scalar(scalar) => &scalar.text,
            other => panic!("{other:?} is no scalar"),
        }
    }

    #[test]
    fn an_unset_variable_is_an_error_with_file_key_and_name() {
        let mut root = tree("a:\n  b: [x, %{NOPE}]\n");
        let mut problems = Problems::default();
        root.substitute(&|_| None, "", &mut problems);
        let message = problems.errors[0].to_string();
        assert_eq!(message, "f.yaml:2:10: a.b[1]: the environment variable `NOPE` is not set");
    }

    #[test]
    fn later_files_win_key_by_key() {
        let mut base = tree("a: {b: 1, c: [1, 2]}\nd: {e: 1}\n");
        base.merge(tree("a: {b: 2, c: [3], f: 4}\nd: null\n"));
        assert_eq!(text(base.get("a").unwrap().get("b").unwrap()), "2");
        assert!(matches!(&base.get("a").unwrap().get("c").unwrap().value, Value::List(items) if items.len() == 1));
        assert_eq!(text(base.get("a").unwrap().get("f").unwrap()), "4");
        assert_eq!(base.get("d").unwrap().value, Value::Null);
    }
}
