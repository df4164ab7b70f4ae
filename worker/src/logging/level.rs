//! Log levels, as vmanomaly spells them, and which component logs at which.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use tracing::Metadata;
use tracing::level_filters::LevelFilter;

/// Severity of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// For finding out what happens inside.
    Debug,
    /// Normal events.
    Info,
    /// Something is not as it should be, and the process copes with it.
    Warning,
    /// Something failed.
    Error,
    /// The process cannot go on.
    Critical,
}

/// A text that is no log level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no log level; levels are DEBUG, INFO, WARNING, ERROR, CRITICAL (or FATAL)")]
pub struct UnknownLevel {
    /// The text.
    pub text: String,
}

impl LogLevel {
    /// The name in log lines.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
        }
    }

    /// The level of an event. An error that has a field named `critical` is [`LogLevel::Critical`].
    #[must_use]
    pub fn of(metadata: &Metadata<'_>) -> Self {
        match *metadata.level() {
            tracing::Level::TRACE | tracing::Level::DEBUG => Self::Debug,
            tracing::Level::INFO => Self::Info,
            tracing::Level::WARN => Self::Warning,
            tracing::Level::ERROR if metadata.fields().field("critical").is_some() => Self::Critical,
            tracing::Level::ERROR => Self::Error,
        }
    }

    fn most_verbose_tracing_level(self) -> LevelFilter {
        match self {
            Self::Debug => LevelFilter::TRACE,
            Self::Info => LevelFilter::INFO,
            Self::Warning => LevelFilter::WARN,
            Self::Error | Self::Critical => LevelFilter::ERROR,
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl FromStr for LogLevel {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        match text.to_ascii_lowercase().as_str() {
            "debug" => Ok(Self::Debug),
            "info" => Ok(Self::Info),
            "warning" | "warn" => Ok(Self::Warning),
            "error" => Ok(Self::Error),
            "critical" | "fatal" => Ok(Self::Critical),
            _ => Err(UnknownLevel { text: text.to_owned() }),
        }
    }
}

/// A value of `settings.logger_levels` that is no level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("settings.logger_levels.{component}: {source}")]
pub struct ComponentLevelError {
    /// The key.
    pub component: String,
    /// What is wrong with its value.
    pub source: UnknownLevel,
}

/// The level from which on each component logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Levels {
    /// `--loggerLevel`.
    base: LogLevel,
    /// Longest prefix first.
    components: Vec<(String, LogLevel)>,
}

/// Crates whose lines follow `--loggerLevel`. All others log warnings and worse, unless named in
/// `settings.logger_levels`: their informational lines are noise to an operator of this service.
const OWN_CRATES: [&str; 4] = ["worker", "config", "detect", "vmanomaly"];

impl Levels {
    /// The same level for all components.
    #[must_use]
    pub fn new(base: LogLevel) -> Self {
        Self { base, components: Vec::new() }
    }

    /// These levels with `settings.logger_levels` in place of the ones before.
    ///
    /// # Errors
    /// Names the component whose level does not exist.
    pub fn with_components(&self, levels: &BTreeMap<String, String>) -> Result<Self, ComponentLevelError> {
        let mut components = levels
            .iter()
            .map(|(component, level)| match level.parse() {
                Ok(level) => Ok((without_root(component).to_owned(), level)),
                Err(source) => Err(ComponentLevelError { component: component.clone(), source }),
            })
            .collect::<Result<Vec<_>, _>>()?;
        components.sort_by_key(|(component, _)| std::cmp::Reverse(component.len()));
        Ok(Self { base: self.base, components })
    }

    /// Whether an event is to be logged.
    #[must_use]
    pub fn allow(&self, metadata: &Metadata<'_>) -> bool {
        let component = component_of(metadata.target());
        let own = [metadata.module_path(), Some(metadata.target())]
            .into_iter()
            .flatten()
            .any(|path| OWN_CRATES.contains(&path.split("::").next().unwrap_or(path)));
        LogLevel::of(metadata) >= self.threshold(&component, own)
    }

    fn threshold(&self, component: &str, own: bool) -> LogLevel {
        let named = self.components.iter().find(|(prefix, _)| {
            if prefix.is_empty() {
                return own;
            }
            component.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        match named {
            Some((_, level)) => *level,
            None if own => self.base,
            None => self.base.max(LogLevel::Warning),
        }
    }

    /// No event above this is ever allowed.
    #[must_use]
    pub fn most_verbose(&self) -> LevelFilter {
        let lowest = self.components.iter().map(|(_, level)| *level).fold(self.base, LogLevel::min);
        lowest.most_verbose_tracing_level()
    }
}

/// The component in a log line: the target of the event with dots, without the name of the own crate. What has no
/// more than that is `vmanomaly`.
#[must_use]
pub fn component_of(target: &str) -> String {
    let dotted = target.replace("::", ".");
    match without_root(&dotted) {
        "" => "vmanomaly".to_owned(),
        component => component.to_owned(),
    }
}

/// A component without its leading `worker` or `vmanomaly`.
fn without_root(component: &str) -> &str {
    for root in ["worker", "vmanomaly"] {
        if let Some(rest) = component.strip_prefix(root) {
            if rest.is_empty() {
                return rest;
            }
            if let Some(rest) = rest.strip_prefix('.') {
                return rest;
            }
        }
    }
    component
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(base: LogLevel, components: &[(&str, &str)]) -> Levels {
        let map = components.iter().map(|(name, level)| ((*name).to_owned(), (*level).to_owned())).collect();
        Levels::new(base).with_components(&map).unwrap()
    }

    #[test]
    fn the_longest_prefix_of_whole_words_decides() {
        let levels = levels(LogLevel::Info, &[("reader", "error"), ("reader.vm", "Debug"), ("vmanomaly", "WARNING")]);
        assert_eq!(levels.threshold("reader.vm", true), LogLevel::Debug);
        assert_eq!(levels.threshold("reader.vm.parse", true), LogLevel::Debug);
        assert_eq!(levels.threshold("reader.vlogs", true), LogLevel::Error);
        assert_eq!(levels.threshold("readership", true), LogLevel::Warning);
        assert_eq!(levels.most_verbose(), LevelFilter::TRACE);
    }

    #[test]
    fn libraries_log_warnings_unless_they_are_named() {
        assert_eq!(levels(LogLevel::Debug, &[]).threshold("hyper.proto", false), LogLevel::Warning);
        assert_eq!(levels(LogLevel::Error, &[]).threshold("hyper.proto", false), LogLevel::Error);
        assert_eq!(levels(LogLevel::Info, &[("hyper", "debug")]).threshold("hyper.proto", false), LogLevel::Debug);
    }

    #[test]
    fn a_level_that_does_not_exist_is_refused_with_its_key() {
        let map = BTreeMap::from([("reader.vm".to_owned(), "loud".to_owned())]);
        let message = Levels::new(LogLevel::Info).with_components(&map).unwrap_err().to_string();
        assert!(message.contains("settings.logger_levels.reader.vm") && message.contains("`loud`"), "{message}");
    }

    #[test]
    fn components_are_called_as_in_vmanomaly() {
        assert_eq!(component_of("worker::reader::vm"), "reader.vm");
        assert_eq!(component_of("worker"), "vmanomaly");
        assert_eq!(component_of("writer.vm"), "writer.vm");
        assert_eq!(component_of("workers"), "workers");
    }
}
