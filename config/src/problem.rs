//! What is wrong with configuration files: where, which key, why. All of it is collected before anything is reported.

use std::fmt;
use std::sync::Arc;

use crate::suggestion::did_you_mean;
use crate::yaml::Source;

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Name of the file.
    pub source: Arc<str>,
    /// Line, from 1.
    pub line: u64,
    /// Column in characters, from 1.
    pub column: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}:{}", self.source, self.line, self.column)
    }
}

/// One thing that is wrong. Never contains a password, a token or the value of an environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Where; absent when there is no file to point at.
    pub place: Option<Place>,
    /// The full path of the key, as in `models.mad.queries[0]`; empty for a whole file.
    pub key: String,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a key or a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No file at all.
    #[error("there is no configuration file")]
    NoSource,
    /// The bytes are no text.
    #[error("the file is not valid UTF-8: the byte at offset {offset} is wrong")]
    NotUtf8 {
        /// Offset of the first byte that is no UTF-8.
        offset: usize,
    },
    /// Nothing but white space and comments.
    #[error("the file is empty")]
    Empty,
    /// Larger than any sensible configuration.
    #[error("the file has {found} bytes; at most {limit} are read")]
    TooLarge {
        /// Size of the file.
        found: usize,
        /// Largest size.
        limit: usize,
    },
    /// Not YAML, or YAML that is too deep or expands to too much.
    #[error("not valid YAML: {message}")]
    Syntax {
        /// The parser's message.
        message: String,
    },
    /// More than one `---` document.
    #[error("the file has more than one YAML document; write one document per file")]
    SeveralDocuments,
    /// The same key twice in one map.
    #[error("the key is there twice")]
    DuplicateKey,
    /// Not a map at the top.
    #[error("a file must be a map of sections, found {found}")]
    RootNotAMap {
        /// What it is.
        found: &'static str,
    },
    /// A placeholder whose environment variable is not set.
    #[error("the environment variable `{variable}` is not set")]
    UnsetVariable {
        /// Name of the variable.
        variable: String,
    },
    /// A placeholder in a key.
    #[error("environment placeholders are replaced in values only, not in keys")]
    PlaceholderInKey,
    /// No such key.
    #[error("unknown key{}", did_you_mean(.nearest.as_deref()))]
    UnknownKey {
        /// The most similar key that exists here.
        nearest: Option<String>,
    },
    /// The key exists, but only for other classes.
    #[error("is an argument of {}, not of {class}{}", .classes.join(", "), did_you_mean(.nearest.as_deref()))]
    ArgumentOfOtherClass {
        /// The class that is configured.
        class: String,
        /// The classes that have the argument.
        classes: Vec<String>,
        /// The most similar key that the class has.
        nearest: Option<String>,
    },
    /// A key that must be there is not.
    #[error("is required: {expected}")]
    Missing {
        /// What should be there.
        expected: String,
    },
    /// A value of the wrong type.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// What is allowed.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A value of the right type that is not allowed.
    #[error("{found}: {reason}")]
    NotAllowed {
        /// What is there.
        found: String,
        /// Why it is not allowed, and what is.
        reason: String,
    },
    /// No such class.
    #[error("there is no {kind} class {found}{}; supported: {}", did_you_mean(.nearest.as_deref()), .supported.join(", "))]
    UnknownClass {
        /// `model`, `scheduler`, `reader` or `writer`.
        kind: &'static str,
        /// What is there.
        found: String,
        /// The most similar class that vmanomaly has.
        nearest: Option<String>,
        /// The classes that work.
        supported: Vec<&'static str>,
    },
    /// A class or key of vmanomaly that this version cannot do.
    #[error("not supported yet in this version: {what}{}", supported_list(.supported))]
    NotSupportedYet {
        /// The class or key.
        what: String,
        /// What works instead.
        supported: Vec<&'static str>,
    },
    /// A reference to something that does not exist.
    #[error("there is no {kind} `{alias}`{}", did_you_mean(.nearest.as_deref()))]
    UnknownAlias {
        /// `query` or `scheduler`.
        kind: &'static str,
        /// What is referred to.
        alias: String,
        /// The most similar alias that exists.
        nearest: Option<String>,
    },
    /// Values that are allowed each by itself contradict each other.
    #[error("{reason}")]
    Conflict {
        /// Which, and what to do.
        reason: String,
    },
}

fn supported_list(supported: &[&str]) -> String {
    if supported.is_empty() { String::new() } else { format!("; supported: {}", supported.join(", ")) }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(formatter, "{place}: ")?;
        }
        if !self.key.is_empty() {
            write!(formatter, "{}: ", self.key)?;
        }
        self.fault.fmt(formatter)
    }
}

/// Everything that is wrong, in the order of the files. Displays as one line an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            error.fmt(formatter)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Something that works, but perhaps not as meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where; absent when there is no place to point at.
    pub place: Option<Place>,
    /// The full path of the key.
    pub key: String,
    /// What is done, and what to do about it.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(formatter, "{place}: ")?;
        }
        write!(formatter, "{}: {}", self.key, self.message)
    }
}

/// Collects errors and warnings.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    pub(crate) errors: Vec<ConfigError>,
    pub(crate) warnings: Vec<Warning>,
}

impl Problems {
    pub(crate) fn error(&mut self, place: &Place, key: impl Into<String>, fault: Fault) {
        self.errors.push(ConfigError { place: Some(place.clone()), key: key.into(), fault });
    }

    pub(crate) fn warn(&mut self, place: &Place, key: impl Into<String>, message: impl Into<String>) {
        let warning = Warning { place: Some(place.clone()), key: key.into(), message: message.into() };
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// The result, if nothing is wrong. Errors and warnings are put in the order of the files.
    pub(crate) fn finish<T>(mut self, value: Option<T>, sources: &[Source]) -> Result<(T, Vec<Warning>), ConfigErrors> {
        let order = |place: &Option<Place>| {
            place.as_ref().map(|place| {
                let file = sources.iter().position(|source| *source.name == *place.source);
                (file, place.line, place.column)
            })
        };
        self.errors.sort_by_key(|error| order(&error.place));
        self.warnings.sort_by_key(|warning| order(&warning.place));
        match value {
            Some(value) if self.errors.is_empty() => Ok((value, self.warnings)),
            _ => {
                if self.errors.is_empty() {
                    let fault = Fault::NoSource;
                    self.errors.push(ConfigError { place: None, key: String::new(), fault });
                }
                Err(ConfigErrors(self.errors))
            }
        }
    }
}
