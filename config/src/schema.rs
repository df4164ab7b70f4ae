//! The declaration of every key: name, type, default, meaning, origin. Validation, suggestions, defaults and the
//! reference in `docs/configuration.md` all come from it.

use crate::{duration, range, size, zone};

/// A map of known keys.
#[derive(Debug)]
pub(crate) struct Section {
    /// Where it stands, as in `reader.queries.<alias>`: its title in the reference.
    pub(crate) title: &'static str,
    /// What it is for.
    pub(crate) about: &'static str,
    /// Its keys, in the order of the reference.
    pub(crate) keys: &'static [Key],
}

/// A key.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) presence: Presence,
    pub(crate) about: &'static str,
    /// Whether vmanomaly has the key too.
    pub(crate) in_vmanomaly: bool,
    pub(crate) support: Support,
}

/// What holds when a key is absent or null.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Presence {
    /// It must be there.
    Required,
    /// As if this were written.
    Default(&'static str),
    /// In words.
    Absent(&'static str),
}

/// What this version does with a key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Support {
    Full,
    /// Accepted with a warning that says why it has no effect.
    Ignored(&'static str),
    /// Refused, with what to do instead.
    Refused(&'static str),
}

/// Type and range of a value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Text,
    /// A text that never appears in a message.
    Secret,
    /// Path of a file.
    File,
    Url,
    Boolean,
    /// A whole number, both bounds included.
    Integer(i64, i64),
    Number(Domain),
    /// A list of numbers.
    Numbers(Domain),
    /// Longer than 0.
    Duration,
    /// 0 or longer.
    DurationOrZero,
    /// With a sign.
    Offset,
    /// Bytes, at least so many.
    Size(u64),
    /// `[low, high]`.
    Range,
    /// A number, `[x]` or `[below, above]`.
    Sides(Domain),
    Zone,
    OneOf(&'static [&'static str]),
    Texts,
    Section(&'static Section),
    /// A map from aliases to a section.
    Entries(&'static Section),
    /// Read by its own code: the type and what is allowed, in words.
    Special(&'static str, &'static str),
    /// Not looked at.
    Anything,
}

/// Which numbers are allowed; all are finite.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Domain {
    Positive,
    NotNegative,
    /// (0, 1].
    UnitInterval,
    /// [0, 1].
    Share,
    /// [0.5, 1].
    UpperHalf,
    /// Any.
    Finite,
    /// (0, 1).
    Inside,
    /// [0.001, 10], alarms of a series a day.
    Rate,
    /// [0.001, 1000000], alarms of all series of a query a day.
    Budget,
}

impl Key {
    pub(crate) const fn new(name: &'static str, kind: Kind, presence: Presence, about: &'static str) -> Self {
        Self { name, kind, presence, about, in_vmanomaly: true, support: Support::Full }
    }

    /// vmanomaly does not have it.
    pub(crate) const fn own(mut self) -> Self {
        self.in_vmanomaly = false;
        self
    }

    /// A key of vmanomaly that is accepted and does nothing here.
    pub(crate) const fn ignored(name: &'static str, reason: &'static str) -> Self {
        Self {
            name,
            kind: Kind::Anything,
            presence: Presence::Absent("nothing"),
            about: reason,
            in_vmanomaly: true,
            support: Support::Ignored(reason),
        }
    }

    /// A key of vmanomaly that would change results and is not there yet.
    pub(crate) const fn refused(name: &'static str, reason: &'static str) -> Self {
        Self {
            name,
            kind: Kind::Anything,
            presence: Presence::Absent("nothing"),
            about: reason,
            in_vmanomaly: true,
            support: Support::Refused(reason),
        }
    }
}

impl Domain {
    fn check(self, value: f64) -> Result<f64, String> {
        let allowed = match self {
            Self::Positive => value > 0.0,
            Self::NotNegative => value >= 0.0,
            Self::UnitInterval => value > 0.0 && value <= 1.0,
            Self::Share => (0.0..=1.0).contains(&value),
            Self::UpperHalf => (0.5..=1.0).contains(&value),
            Self::Finite => value.is_finite(),
            Self::Inside => value > 0.0 && value < 1.0,
            Self::Rate => (0.001..=10.0).contains(&value),
            Self::Budget => (0.001..=1e6).contains(&value),
        };
        if allowed { Ok(value) } else { Err(format!("must be {}", self.allowed())) }
    }

    fn allowed(self) -> &'static str {
        match self {
            Self::Positive => "above 0",
            Self::NotNegative => "0 or above",
            Self::UnitInterval => "above 0 and at most 1",
            Self::Share => "from 0 to 1",
            Self::UpperHalf => "from 0.5 to 1",
            Self::Finite => "finite",
            Self::Inside => "above 0 and below 1",
            Self::Rate => "from 0.001 to 10",
            Self::Budget => "from 0.001 to 1000000",
        }
    }
}

impl Kind {
    /// The type's name in the reference.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Text | Self::Secret => "text",
            Self::File => "path",
            Self::Url => "URL",
            Self::Boolean => "Boolean",
            Self::Integer(..) => "whole number",
            Self::Number(_) => "number",
            Self::Numbers(_) => "list of numbers",
            Self::Duration | Self::DurationOrZero => "duration",
            Self::Offset => "signed duration",
            Self::Size(_) => "size",
            Self::Range => "range",
            Self::Sides(_) => "number or pair",
            Self::Zone => "time zone",
            Self::OneOf(_) => "word",
            Self::Texts => "list of texts",
            Self::Section(_) => "section",
            Self::Entries(_) => "map",
            Self::Special(name, _) => name,
            Self::Anything => "any",
        }
    }

    /// What is allowed, for messages and the reference.
    pub(crate) fn allowed(&self) -> String {
        match self {
            Self::Text | Self::Secret => "a text".into(),
            Self::File => "the path of a file".into(),
            Self::Url => "a URL as in `http://host:8428`".into(),
            Self::Boolean => "`true` or `false`".into(),
            Self::Integer(least, i64::MAX) => format!("a whole number, at least {least}"),
            Self::Integer(least, most) => format!("a whole number from {least} to {most}"),
            Self::Number(domain) => format!("a number, {}", domain.allowed()),
            Self::Numbers(domain) => format!("a list of numbers, {}", domain.allowed()),
            Self::Duration => "a duration longer than 0, as in `30s` or `1h30m`".into(),
            Self::DurationOrZero => "a duration, 0 or longer, as in `30s`".into(),
            Self::Offset => "a duration with an optional sign, as in `-60s`".into(),
            Self::Size(least) => format!("bytes, as in `4MiB` or `4194304`, at least {least}"),
            Self::Range => "two numbers `[low, high]`, `-inf` and `inf` included".into(),
            Self::Sides(domain) => {
                format!("a number or a pair `[below, above]` of numbers, {}", domain.allowed())
            }
            Self::Zone => "an IANA time zone, as in `Europe/Berlin`".into(),
            Self::OneOf(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
            Self::Texts => "a list of texts".into(),
            Self::Section(section) => format!("a map, see {}", section.title),
            Self::Entries(section) => format!("a map from aliases, see {}", section.title),
            Self::Special(_, allowed) => (*allowed).into(),
            Self::Anything => "anything".into(),
        }
    }

    pub(crate) fn boolean(text: &str) -> Result<bool, String> {
        // The words of YAML 1.1, which vmanomaly reads.
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Ok(true),
            "false" | "no" | "off" => Ok(false),
            _ => Err("must be `true` or `false`".into()),
        }
    }

    pub(crate) fn integer(&self, text: &str) -> Result<i64, String> {
        let Self::Integer(least, most) = self else {
            return Err("no whole number is expected here".into());
        };
        let value: i64 = text.trim().parse().map_err(|_| format!("must be {}", self.allowed()))?;
        if (*least..=*most).contains(&value) { Ok(value) } else { Err(format!("must be {}", self.allowed())) }
    }

    /// One number of a [`Kind::Number`], [`Kind::Numbers`] or [`Kind::Sides`].
    pub(crate) fn number(&self, text: &str) -> Result<f64, String> {
        let domain = match self {
            Self::Number(domain) | Self::Numbers(domain) | Self::Sides(domain) => *domain,
            _ => return Err("no number is expected here".into()),
        };
        domain.check(range::parse_number(text).map_err(|error| error.to_string())?)
    }

    pub(crate) fn duration(&self, text: &str) -> Result<i64, String> {
        let parsed = match self {
            Self::Duration => duration::parse(text),
            Self::DurationOrZero => duration::parse_non_negative(text),
            Self::Offset => duration::parse_signed(text),
            _ => return Err("no duration is expected here".into()),
        };
        parsed.map_err(|error| error.to_string())
    }

    pub(crate) fn size(&self, text: &str) -> Result<u64, String> {
        let Self::Size(least) = self else {
            return Err("no size is expected here".into());
        };
        let value = size::parse(text).map_err(|error| error.to_string())?;
        if value >= *least { Ok(value) } else { Err(format!("must be at least {least} bytes")) }
    }

    pub(crate) fn zone(text: &str) -> Result<String, String> {
        zone::canonical_name(text).map_err(|error| error.to_string())
    }
}
