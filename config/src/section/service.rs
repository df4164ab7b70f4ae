//! `monitoring`, `server` and `settings`: the process itself.

use std::collections::BTreeMap;

use crate::fields::{Fields, not_allowed, wrong_type};
use crate::problem::Problems;
use crate::schema::{Domain, Key, Kind, Presence, Section};
use crate::suggestion::{did_you_mean, nearest};
use crate::tree::{Node, Value, join};
use crate::worker::{Monitoring, Server, Settings};

pub(crate) const MONITORING: Section = Section {
    title: "`monitoring`",
    about: "Self-monitoring. `/metrics` is always served on the port of `server` too.",
    keys: &[
        Key::new(
            "pull",
            Kind::Section(&PULL),
            Presence::Absent("no listener of its own"),
            "A listener of its own for `/metrics`; `pull: {}` starts it with its defaults.",
        ),
        Key::ignored("push", "pushing metrics is not supported yet; scrape `/metrics`"),
    ],
};

pub(crate) const PULL: Section = Section {
    title: "`monitoring.pull`",
    about: "A listener of its own for `/metrics`.",
    keys: &[
        Key::new(
            "addr",
            Kind::Text,
            Presence::Default("0.0.0.0"),
            "Address to listen on; `::` is every address, of IPv6 and of IPv4.",
        ),
        Key::new(
            "port",
            PORT,
            Presence::Default("8080"),
            "Port to listen on; 0 takes a free one. The same port as `server.port` means: no listener of its own.",
        ),
        Key::ignored("enabled", "the section's presence decides; remove the section to have no listener"),
    ],
};

pub(crate) const SERVER: Section = Section {
    title: "`server`",
    about: "The HTTP server with `/health`, `/ready`, `/status`, `/api/v1/alarms` and `/metrics`.",
    keys: &[
        Key::new(
            "addr",
            Kind::Text,
            Presence::Default("0.0.0.0"),
            "Address to listen on; `::` is every address, of IPv6 and of IPv4.",
        ),
        Key::new("port", PORT, Presence::Default("8490"), "Port to listen on; 0 takes a free one."),
        Key::new(
            "path_prefix",
            Kind::Text,
            Presence::Absent("no prefix"),
            "Prefix of every route; slashes at its ends are optional.",
        ),
        Key::ignored("ui_default_state", "there is no user interface in this version"),
        Key::ignored("max_concurrent_tasks", "there are no detection tasks over HTTP in this version"),
        Key::ignored("uvicorn_config", "the server is not uvicorn"),
        Key::ignored("use_reader_connection_settings", "there is no user interface in this version"),
    ],
};

pub(crate) const SETTINGS: Section = Section {
    title: "`settings`",
    about: "Everything global.",
    keys: &[
        Key::new(
            "n_workers",
            Kind::Integer(-1, 1024),
            Presence::Default("0"),
            "Threads that learn and score. 0 or -1: as many as the CPUs available (vmanomaly: 1 process). The number never changes a score.",
        ),
        Key::new(
            "anomaly_score_outside_data_range",
            Kind::Number(Domain::NotNegative),
            Presence::Default("1.01"),
            "Score of a value outside its `data_range`, for models without a value of their own.",
        ),
        Key::new(
            "restore_state",
            Kind::Boolean,
            Presence::Absent("`true` if a state folder is set"),
            "Keep what was learnt over restarts.",
        ),
        Key::new("retention", Kind::Section(&RETENTION), Presence::Absent("series are kept"), "When to forget series."),
        Key::new(
            "logger_levels",
            LEVELS,
            Presence::Absent("none"),
            "Log level by component; the longest matching prefix wins.",
        ),
        Key::new(
            "settle",
            Kind::DurationOrZero,
            Presence::Default("30s"),
            "A tick is read so long after its time; samples that arrive later are not learnt.",
        )
        .own(),
        Key::new(
            "max_catch_up",
            Kind::Duration,
            Presence::Default("1d"),
            "Due ticks older than this are given up, counted and reported.",
        )
        .own(),
        Key::new(
            "catch_up_delay",
            Kind::DurationOrZero,
            Presence::Default("2m"),
            "After an outage, the longest wait for the samples that collectors deliver late.",
        )
        .own(),
        Key::new(
            "snapshot_interval",
            Kind::Duration,
            Presence::Default("5m"),
            "A changed block of state is written at most so often.",
        )
        .own(),
        Key::new("snapshot_bytes_per_second", Kind::Size(65_536), Presence::Default("4MiB"), "Byte rate of snapshots.")
            .own(),
        Key::new(
            "peer_timeout",
            Kind::Duration,
            Presence::Default("30s"),
            "A starting worker waits so long for each other replica of its shard before it goes on from its own volume.",
        )
        .own(),
        Key::new(
            "handover_timeout",
            Kind::Duration,
            Presence::Default("5m"),
            "A worker waits so long for the former owner of series before it looks for their state elsewhere; and a replica that comes back after an epoch has settled without it, or that has lost its volume, so long for the other replicas before it goes on by itself.",
        )
        .own(),
        Key::ignored("native_threads_per_worker", "there is no native numeric library with threads of its own"),
    ],
};

pub(crate) const RETENTION: Section = Section {
    title: "`settings.retention`",
    about: "When to forget series.",
    keys: &[
        Key::new(
            "ttl",
            Kind::Duration,
            Presence::Required,
            "A series that had no sample for so long, in tick time, is dropped.",
        ),
        Key::new("check_interval", Kind::Duration, Presence::Absent("at every snapshot"), "How often that is checked."),
    ],
};

const PORT: Kind = Kind::Integer(0, 65_535);
const LEVELS: Kind =
    Kind::Special("map of words", "a map from prefixes to `debug`, `info`, `warning`, `error` or `critical`");

pub(crate) fn monitoring(node: &Node, problems: &mut Problems) -> Option<Monitoring> {
    let fields = Fields::open(&[&MONITORING], node, "monitoring", problems)?;
    if fields.raw("pull").is_none() {
        return Some(Monitoring { pull: None });
    }
    let pull = fields.inner("pull", &PULL, problems)?;
    let addr = pull.text("addr", problems);
    let port = pull.whole("port", problems);
    Some(Monitoring { pull: Some((addr?, port?)) })
}

pub(crate) fn server(node: &Node, problems: &mut Problems) -> Option<Server> {
    let fields = Fields::open(&[&SERVER], node, "server", problems)?;
    let prefix = fields.parsed("path_prefix", problems, |text| {
        let prefix = text.trim().trim_matches('/');
        let wrong = |character: char| character.is_whitespace() || "?#{}*".contains(character);
        if prefix.contains(wrong) || prefix.contains("//") {
            return Err("must be a path, as in `/anomaly`".to_owned());
        }
        Ok(if prefix.is_empty() { String::new() } else { format!("/{prefix}") })
    });
    let addr = fields.text("addr", problems);
    let port = fields.whole("port", problems);
    Some(Server { addr: addr?, port: port?, path_prefix: prefix.unwrap_or_default() })
}

pub(crate) fn settings(node: &Node, problems: &mut Problems) -> Option<(Settings, f64)> {
    let fields = Fields::open(&[&SETTINGS], node, "settings", problems)?;
    let (mut ttl, mut check_interval) = (None, None);
    if fields.raw("retention").is_some() {
        let retention = fields.inner("retention", &RETENTION, problems)?;
        ttl = retention.duration("ttl", problems);
        check_interval = retention.duration("check_interval", problems);
        if let (Some(ttl), Some(interval)) = (ttl, check_interval)
            && interval >= ttl
        {
            let message = "not shorter than `ttl`: series live up to that much longer";
            retention.warn("check_interval", message, problems);
        }
    }
    let workers = fields.integer("n_workers", problems).unwrap_or_default().max(0);
    let outside = fields.number("anomaly_score_outside_data_range", problems).unwrap_or_default();
    let settings = Settings {
        n_workers: usize::try_from(workers).unwrap_or_default(),
        restore_state: fields.boolean("restore_state", problems),
        retention_ttl: ttl,
        retention_check_interval: check_interval,
        logger_levels: logger_levels(&fields, problems),
        settle: fields.duration("settle", problems).unwrap_or_default(),
        max_catch_up: fields.duration("max_catch_up", problems).unwrap_or_default(),
        catch_up_delay: fields.duration("catch_up_delay", problems).unwrap_or_default(),
        snapshot_interval: fields.duration("snapshot_interval", problems).unwrap_or_default(),
        snapshot_bytes_per_second: fields.size("snapshot_bytes_per_second", problems).unwrap_or_default(),
        peer_timeout: fields.duration("peer_timeout", problems).unwrap_or_default(),
        handover_timeout: fields.duration("handover_timeout", problems).unwrap_or_default(),
    };
    Some((settings, outside))
}

fn logger_levels(fields: &Fields<'_>, problems: &mut Problems) -> BTreeMap<String, String> {
    const WORDS: [&str; 5] = ["debug", "info", "warning", "error", "critical"];
    let mut levels = BTreeMap::new();
    let Some(node) = fields.raw("logger_levels") else {
        return levels;
    };
    let Value::Map(entries) = &node.value else {
        if node.value != Value::Faulty {
            fields.error("logger_levels", wrong_type(&LEVELS.allowed(), node), problems);
        }
        return levels;
    };
    for entry in entries {
        let path = join("settings.logger_levels", &entry.key);
        let Value::Scalar(scalar) = &entry.node.value else {
            if entry.node.value != Value::Faulty {
                problems.error(&entry.node.place, path, wrong_type("a level", &entry.node));
            }
            continue;
        };
        let word = match scalar.text.to_ascii_lowercase().as_str() {
            "warn" => "warning".to_owned(),
            "fatal" => "critical".to_owned(),
            other => other.to_owned(),
        };
        if WORDS.contains(&word.as_str()) {
            levels.insert(entry.key.clone(), word);
        } else {
            let reason = format!("must be one of {}{}", WORDS.join(", "), did_you_mean(nearest(&word, WORDS)));
            problems.error(&entry.node.place, path, not_allowed(scalar, reason, || "a level".into()));
        }
    }
    levels
}
