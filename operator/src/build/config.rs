//! The worker's `config.yaml` from a VMAnomaly and what it selects.

use std::collections::BTreeMap;
use std::time::Duration;

use config::load::{Loaded, Source, load};
use config::ownership::Spread;
use config::placement;
use config::problem::ConfigError;
use crds::VMAnomaly;
use crds::anomaly::{LogLevel, Settings};
use crds::connection::{Reader, Writer, WriterMode};
use crds::query::{BelowAbove, DataRange, DetectionDirection, SpreadKind};
use crds::scheduler::Scheduler;
use crds::status::Reason;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::build::models::{self, model};
use crate::build::multivariate::place;
use crate::build::volumes::{self, CredentialPaths};
use crate::selection::{Rejection, SelectedQuery, Selection};

/// Name of the file in messages.
const FILE: &str = "config.yaml";

/// A valid configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// The text of `config.yaml`; empty when it comes from a Secret.
    pub text: String,
    /// The revision: a hash of the text, or of where it comes from.
    pub revision: String,
    /// By query alias, placements that are not by series.
    pub placements: Vec<(String, Spread)>,
    /// Whether only the workers can check it.
    pub unchecked: bool,
    /// How long a hand-over of series may take; the default where only the workers know.
    pub handover_timeout: Duration,
}

/// How long a hand-over of series may take where nothing else is said.
pub const HANDOVER_TIMEOUT: Duration = Duration::from_secs(300);

/// Why there is no configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// Something in the VMAnomaly itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// It cannot be written as YAML.
    #[error("the configuration cannot be written as YAML: {0}")]
    Yaml(String),
}

/// Keys and values of a section, without the absent ones.
#[derive(Default)]
pub(super) struct Section(pub(super) Map<String, Value>);

impl Section {
    pub(super) fn set(mut self, key: &str, value: impl Serialize) -> Self {
        // Only texts, numbers and lists of them come here: none of them fails.
        if let Ok(value) = serde_json::to_value(value)
            && !value.is_null()
        {
            self.0.insert(key.to_owned(), value);
        }
        self
    }

    pub(super) fn when(self, condition: bool, key: &str, value: impl Serialize) -> Self {
        if condition { self.set(key, value) } else { self }
    }

    pub(super) fn value(self) -> Value {
        Value::Object(self.0)
    }
}

/// Renders the configuration. Objects whose values it refuses are marked as rejected in `selection` and left out, so
/// that one wrong object does not stop the others.
///
/// # Errors
/// What is wrong with the VMAnomaly itself.
pub fn render(anomaly: &VMAnomaly, selection: &mut Selection) -> Result<Rendered, RenderError> {
    if let Some(secret) = &anomaly.spec.config_secret {
        let revision = revision(&format!("{}/{}", secret.name, secret.key));
        return Ok(Rendered {
            text: String::new(),
            revision,
            placements: Vec::new(),
            unchecked: true,
            handover_timeout: HANDOVER_TIMEOUT,
        });
    }
    if let Some(raw) = &anomaly.spec.config_raw_yaml {
        return raw_configuration(raw);
    }
    loop {
        let document = document(anomaly, selection);
        let errors = match check(&document)? {
            Ok((rendered, loaded)) => {
                let asked = asked_spreads(selection);
                let Some(spreads) = place(selection, &loaded, &asked) else { continue };
                return Ok(Rendered { placements: not_by_series(spreads), ..rendered });
            }
            Err(errors) => errors,
        };
        if !reject(selection, &errors) {
            let errors: Vec<String> = errors.iter().map(|error| format!("{}: {}", error.key, error.fault)).collect();
            return Err(RenderError::Invalid(errors.join("; ")));
        }
    }
}

/// A raw configuration as it is. Environment variables are known to the workers only, so one with placeholders is
/// checked there.
fn raw_configuration(raw: &str) -> Result<Rendered, RenderError> {
    let unchecked = raw.contains("%{");
    let mut handover_timeout = HANDOVER_TIMEOUT;
    let mut placements = Vec::new();
    if !unchecked {
        let sources = [Source::new(FILE, raw)];
        let loaded = load(&sources, &|_| None, CPUS).map_err(|errors| RenderError::Invalid(errors.to_string()))?;
        handover_timeout = handover_timeout_of(&loaded);
        placements = not_by_series(placement::placements(&loaded.config.models, &BTreeMap::new()).spreads);
    }
    let (text, revision) = (raw.to_owned(), revision(raw));
    Ok(Rendered { text, revision, placements, unchecked, handover_timeout })
}

/// Only bounds a default that is not part of the text.
const CPUS: usize = 1;

type Checked = Result<(Rendered, Loaded), Vec<ConfigError>>;

fn check(document: &Value) -> Result<Checked, RenderError> {
    let text = serde_saphyr::to_string(document).map_err(|error| RenderError::Yaml(error.to_string()))?;
    let revision = revision(&text);
    Ok(match load(&[Source::new(FILE, text.as_str())], &|_| None, CPUS) {
        Ok(loaded) => {
            let handover_timeout = handover_timeout_of(&loaded);
            let rendered = Rendered { text, revision, placements: Vec::new(), unchecked: false, handover_timeout };
            Ok((rendered, loaded))
        }
        Err(errors) => Err(errors.0),
    })
}

fn handover_timeout_of(loaded: &Loaded) -> Duration {
    Duration::from_millis(loaded.config.settings.handover_timeout.unsigned_abs())
}

fn revision(text: &str) -> String {
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
}

/// Port of the workers' server.
#[must_use]
pub fn server_port(anomaly: &VMAnomaly) -> u16 {
    let port = anomaly.spec.server.as_ref().and_then(|server| server.port);
    port.and_then(|port| u16::try_from(port).ok()).unwrap_or(8490)
}

/// Prefix of the workers' routes, with a leading slash and none at the end; empty: none.
#[must_use]
pub fn path_prefix(anomaly: &VMAnomaly) -> String {
    let prefix = anomaly.spec.server.as_ref().and_then(|server| server.path_prefix.as_deref()).unwrap_or_default();
    let prefix = prefix.trim_matches('/');
    if prefix.is_empty() { String::new() } else { format!("/{prefix}") }
}

/// A file of its own that is merged with `config.yaml`, whatever that looks like: the revision, and where the
/// operator and the probes reach the server.
#[must_use]
pub fn operator_file(anomaly: &VMAnomaly, revision: &str) -> String {
    let (port, prefix) = (server_port(anomaly), path_prefix(anomaly));
    format!("revision: \"{revision}\"\nserver:\n  addr: \"::\"\n  port: {port}\n  path_prefix: \"{prefix}\"\n")
}

/// Marks the objects that errors are about; `false` when there is none.
fn reject(selection: &mut Selection, errors: &[ConfigError]) -> bool {
    let about = |prefix: &str| {
        let own: Vec<String> = errors
            .iter()
            .filter_map(|error| {
                let rest = error.key.strip_prefix(prefix)?;
                let key = rest.strip_prefix('.').or(rest.is_empty().then_some(rest))?;
                Some(if key.is_empty() { error.fault.to_string() } else { format!("{key}: {}", error.fault) })
            })
            .collect();
        (!own.is_empty()).then(|| Rejection { reason: Reason::InvalidValue, message: own.join("; ") })
    };
    let mut found = false;
    for query in selection.queries.iter_mut().filter(|query| query.rejection.is_none()) {
        if let Some(rejection) = about(&format!("reader.queries.{}", query.alias)) {
            query.rejection = Some(rejection);
            for model in &mut selection.models {
                model.queries.retain(|alias| *alias != query.alias);
            }
            found = true;
        }
    }
    for model in selection.models.iter_mut().filter(|model| model.rejection.is_none()) {
        if let Some(rejection) = about(&format!("models.{}", model.alias)) {
            model.rejection = Some(rejection);
            found = true;
        } else if model.queries.is_empty() {
            let message = "no query is left: all that it asks for are rejected".to_owned();
            model.rejection = Some(Rejection { reason: Reason::NoQueries, message });
        }
    }
    found
}

/// The schedulers of a VMAnomaly: its own, or the documented default.
#[must_use]
pub fn schedulers(anomaly: &VMAnomaly) -> Vec<Scheduler> {
    anomaly.spec.schedulers.clone().unwrap_or_else(|| vec![Scheduler::documented_default()])
}

fn document(anomaly: &VMAnomaly, selection: &Selection) -> Value {
    let spec = &anomaly.spec;
    let used_models = || selection.models.iter().filter(|model| model.rejection.is_none());
    let default_model = selection.default_model();
    let watched = |alias: &String| {
        used_models().any(|model| model.queries.contains(alias))
            || default_model.as_ref().is_some_and(|model| model.queries.contains(alias))
    };
    let queries: Map<String, Value> = selection
        .queries
        .iter()
        .filter(|query| query.rejection.is_none() && watched(&query.alias))
        .map(|query| (query.alias.clone(), self::query(query)))
        .collect();
    let default = default_model.iter().map(|one| (one.alias.clone(), models::default_model(&one.queries)));
    let models: Map<String, Value> = used_models().map(|one| (one.alias.clone(), model(one))).chain(default).collect();
    let schedulers: Map<String, Value> =
        schedulers(anomaly).iter().map(|one| (one.name.clone(), scheduler(one))).collect();
    Section::default()
        .set("schedulers", schedulers)
        .set("models", models)
        .set("reader", spec.reader.as_ref().map(|reader| self::reader(reader, queries)))
        .set("writer", spec.writer.as_ref().map(writer))
        .set("settings", spec.settings.as_ref().map(settings))
        .value()
}

fn scheduler(scheduler: &Scheduler) -> Value {
    Section::default()
        .set("class", "periodic")
        .set("fit_window", &scheduler.fit_window)
        .set("fit_every", &scheduler.fit_every)
        .set("infer_every", &scheduler.infer_every)
        .set("start_from", &scheduler.start_from)
        .set("tz", &scheduler.time_zone)
        .set("scatter_infer_jobs", scheduler.scatter_infer_jobs)
        .set("fit_lag", &scheduler.fit_lag)
        .value()
}

fn query(query: &SelectedQuery) -> Value {
    let spec = &query.object.spec;
    Section::default()
        .set("expr", &spec.expr)
        .set("step", &spec.step)
        .set("data_range", spec.data_range.map(data_range))
        .set("detection_direction", spec.detection_direction.map(detection_direction))
        .set("min_dev_from_expected", spec.min_dev_from_expected.map(|pair| below_above(pair, 0.0)))
        .set("min_rel_dev_from_expected", spec.min_rel_dev_from_expected.map(|pair| below_above(pair, 0.0)))
        .set("tz", &spec.time_zone)
        .set("tenant_id", &spec.tenant_id)
        .set("offset", &spec.offset)
        .set("max_lookback", &spec.max_lookback)
        .set("max_points_per_query", spec.max_points_per_query)
        .set("series_limit", spec.series_limit)
        .set("false_alarms_per_day", spec.false_alarms_per_day)
        .value()
}

/// Infinite ends are texts: YAML's own spelling of them is not JSON's.
fn data_range(range: DataRange) -> Value {
    let bound = |bound: Option<f64>, infinite: &str| bound.map_or_else(|| json!(infinite), |bound| json!(bound));
    json!([bound(range.min, "-inf"), bound(range.max, "inf")])
}

fn below_above(pair: BelowAbove, absent: f64) -> Value {
    json!([pair.below.unwrap_or(absent), pair.above.unwrap_or(absent)])
}

fn detection_direction(direction: DetectionDirection) -> &'static str {
    match direction {
        DetectionDirection::Both => "both",
        DetectionDirection::AboveExpected => "above_expected",
        DetectionDirection::BelowExpected => "below_expected",
    }
}

/// The keys that `reader` and `writer` share.
fn connection(
    url: &str,
    tenant: Option<&String>,
    user: Option<&String>,
    paths: &CredentialPaths,
    skip_verify: bool,
) -> Section {
    let verify = if skip_verify { Some(json!(false)) } else { paths.ca.as_ref().map(|path| json!(path)) };
    Section::default()
        .set("class", "vm")
        .set("datasource_url", url)
        .set("tenant_id", tenant)
        .set("user", user)
        .set("password_file", &paths.password)
        .set("bearer_token_file", &paths.bearer_token)
        .set("verify_tls", verify)
        .set("tls_cert_file", &paths.cert)
        .set("tls_key_file", &paths.key)
}

fn reader(reader: &Reader, queries: Map<String, Value>) -> Value {
    let tls = reader.tls.as_ref();
    let basic = reader.basic_auth.as_ref();
    let paths = volumes::paths("reader", basic, reader.bearer_token_secret.as_ref(), tls);
    let skip = tls.is_some_and(|tls| tls.insecure_skip_verify == Some(true));
    let user = basic.map(|basic| &basic.username);
    let no_offset = reader.no_latency_offset == Some(true);
    let latency_offset = reader.latency_offset.as_ref().map(|offset| offset.0.as_str());
    connection(&reader.datasource_url, reader.tenant_id.as_ref(), user, &paths, skip)
        .set("timeout", &reader.timeout)
        .set("fetch_timeout", &reader.fetch_timeout)
        .set("sampling_period", reader.sampling_period.as_ref().map_or("1m", |period| &period.0))
        .set("query_range_path", &reader.query_range_path)
        .set("extra_filters", &reader.extra_filters)
        .set("workers", reader.workers)
        .set("latency_offset", if no_offset { Some("") } else { latency_offset })
        .set("max_points_per_query", reader.max_points_per_query)
        .set("data_range", reader.data_range.map(data_range))
        .set("tz", &reader.time_zone)
        .set("offset", &reader.offset)
        .set("max_lookback", &reader.max_lookback)
        .set("series_limit", reader.series_limit)
        .set("queries", queries)
        .value()
}

fn writer(writer: &Writer) -> Value {
    let tls = writer.tls.as_ref();
    let basic = writer.basic_auth.as_ref();
    let paths = volumes::paths("writer", basic, writer.bearer_token_secret.as_ref(), tls);
    let skip = tls.is_some_and(|tls| tls.insecure_skip_verify == Some(true));
    let format = writer.metric_format.as_ref().map(|format| {
        let named = Section::default()
            .set("__name__", format.name.as_deref().unwrap_or("$VAR"))
            .set("for", format.for_label.as_deref().unwrap_or("$QUERY_KEY"));
        format.extra_labels.iter().fold(named, |section, (name, value)| section.set(name, value)).value()
    });
    connection(&writer.datasource_url, writer.tenant_id.as_ref(), basic.map(|basic| &basic.username), &paths, skip)
        .set("timeout", &writer.timeout)
        .set("metric_format", format)
        .set("connection_retry_attempts", writer.connection_retry_attempts)
        .set("max_request_bytes", writer.max_request_bytes)
        .set("mode", writer.mode.map(writer_mode))
        .set("failover_after", &writer.failover_after)
        .value()
}

fn writer_mode(mode: WriterMode) -> &'static str {
    match mode {
        WriterMode::All => "all",
        WriterMode::Failover => "failover",
    }
}

fn settings(settings: &Settings) -> Value {
    let levels: Map<String, Value> =
        settings.logger_levels.iter().map(|(name, level)| (name.clone(), json!(log_level(*level)))).collect();
    let retention = settings.retention.as_ref().map(|retention| {
        Section::default().set("ttl", &retention.ttl).set("check_interval", &retention.check_interval).value()
    });
    Section::default()
        .set("n_workers", settings.workers)
        .set("anomaly_score_outside_data_range", settings.anomaly_score_outside_data_range)
        .set("restore_state", settings.restore_state)
        .set("retention", retention)
        .when(!levels.is_empty(), "logger_levels", levels)
        .set("settle", &settings.settle)
        .set("max_catch_up", &settings.max_catch_up)
        .set("catch_up_delay", &settings.catch_up_delay)
        .set("snapshot_interval", &settings.snapshot_interval)
        .set("snapshot_bytes_per_second", settings.snapshot_bytes_per_second)
        .set("peer_timeout", &settings.peer_timeout)
        .set("handover_timeout", &settings.handover_timeout)
        .value()
}

/// The worker's spelling of a log level.
#[must_use]
pub fn log_level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warning => "warning",
        LogLevel::Error => "error",
        LogLevel::Critical => "critical",
    }
}

/// How queries are asked to be spread, by alias.
fn asked_spreads(selection: &Selection) -> BTreeMap<String, Spread> {
    let asked = |query: &SelectedQuery| {
        let spread = query.object.spec.spread.as_ref()?;
        let spread = match spread.kind {
            SpreadKind::Series => Spread::Series,
            SpreadKind::Query => Spread::Query,
            SpreadKind::Label => Spread::Label(spread.label.clone()?),
        };
        Some((query.alias.clone(), spread))
    };
    selection.queries.iter().filter(|query| query.rejection.is_none()).filter_map(asked).collect()
}

fn not_by_series(spreads: BTreeMap<String, Spread>) -> Vec<(String, Spread)> {
    spreads.into_iter().filter(|(_, spread)| *spread != Spread::Series).collect()
}
