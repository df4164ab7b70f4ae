//! Log lines: JSON or text on stderr, levels per component that can change at run time, no secrets.
//!
//! A JSON line has `timestamp` (RFC 3339, UTC, ms), `level`, `component`, `message`, and the fields of the event and
//! of the spans around it beside them.

mod level;
mod line;
mod redactor;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

pub use level::{ComponentLevelError, Levels, LogLevel, UnknownLevel, component_of};
pub use redactor::{REDACTED, Redactor};

use line::{Fields, Line};

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// A text that is no log format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no log format; formats are json and text")]
pub struct UnknownFormat {
    /// The text.
    pub text: String,
}

impl FromStr for LogFormat {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        match text.to_ascii_lowercase().as_str() {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err(UnknownFormat { text: text.to_owned() }),
        }
    }
}

impl LogFormat {
    /// Text if stderr is a terminal, else JSON.
    #[must_use]
    pub fn of_stderr() -> Self {
        if std::io::stderr().is_terminal() { Self::Text } else { Self::Json }
    }
}

/// Another subscriber was installed before.
#[derive(Debug, thiserror::Error)]
#[error("logging is set up already: {0}")]
pub struct AlreadyInstalled(#[from] tracing::dispatcher::SetGlobalDefaultError);

/// The running logging: change its levels, teach it secrets. Clones are the same logging.
#[derive(Debug, Clone)]
pub struct Logging {
    levels: Arc<RwLock<Levels>>,
    redactor: Redactor,
}

impl Logging {
    /// Logs everything of this process to stderr, panics included. `now` gives unix ms.
    ///
    /// # Errors
    /// Logging was set up before.
    pub fn install(
        level: LogLevel,
        format: LogFormat,
        now: impl Fn() -> i64 + Send + Sync + 'static,
    ) -> Result<Self, AlreadyInstalled> {
        let (logging, dispatch) = Self::to(std::io::stderr(), level, format, now);
        tracing::dispatcher::set_global_default(dispatch)?;
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            let reason = panic.payload_as_str().unwrap_or("no reason given");
            tracing::error!(critical = true, place, "Panic: {reason}");
        }));
        Ok(logging)
    }

    /// Logging to `output`, for the threads that enter the `Dispatch`.
    pub fn to(
        output: impl Write + Send + 'static,
        level: LogLevel,
        format: LogFormat,
        now: impl Fn() -> i64 + Send + Sync + 'static,
    ) -> (Self, Dispatch) {
        let logging = Self { levels: Arc::new(RwLock::new(Levels::new(level))), redactor: Redactor::new() };
        let layer =
            LineLayer { logging: logging.clone(), format, now: Box::new(now), output: Mutex::new(Box::new(output)) };
        (logging, Dispatch::new(Registry::default().with(layer)))
    }

    /// What secrets are registered with.
    #[must_use]
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// `settings.logger_levels` in place of the ones before, from the next line on.
    ///
    /// # Errors
    /// Names the component whose level does not exist; then nothing changes.
    pub fn set_component_levels(&self, levels: &BTreeMap<String, String>) -> Result<(), ComponentLevelError> {
        let changed = self.levels().with_components(levels)?;
        *self.levels.write().unwrap_or_else(PoisonError::into_inner) = changed;
        tracing::callsite::rebuild_interest_cache();
        Ok(())
    }

    fn levels(&self) -> Levels {
        self.levels.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn allow(&self, metadata: &Metadata<'_>) -> bool {
        self.levels.read().unwrap_or_else(PoisonError::into_inner).allow(metadata)
    }
}

/// Makes a line of each event.
struct LineLayer {
    logging: Logging,
    format: LogFormat,
    now: Box<dyn Fn() -> i64 + Send + Sync>,
    output: Mutex<Box<dyn Write + Send>>,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LineLayer {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // Spans carry the fields of the lines within them, so they are never filtered out.
        Some(self.logging.levels().most_verbose().max(LevelFilter::INFO))
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flatten().collect::<Vec<_>>().iter().rev() {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.extend(of_span);
            }
        }
        event.record(&mut fields);
        let line = Line {
            timestamp: (self.now)(),
            level: LogLevel::of(event.metadata()),
            component: component_of(event.metadata().target()),
            fields,
        };
        let mut text = match self.format {
            LogFormat::Json => line.json(&self.logging.redactor),
            LogFormat::Text => line.text(&self.logging.redactor),
        };
        text.push('\n');
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever read the log is gone: nobody is left to tell.
        let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    }
}

impl LineLayer {
    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && *metadata.level() <= tracing::Level::INFO || self.logging.allow(metadata)
    }
}
