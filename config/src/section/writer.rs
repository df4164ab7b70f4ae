//! `writer`: where scores go.

use std::collections::BTreeMap;

use crate::class;
use crate::fields::{Fields, wrong_type};
use crate::problem::{Fault, Problems};
use crate::schema::{Key, Kind, Presence, Section};
use crate::section::client;
use crate::tree::{Entry, Node, Scalar, Value};
use crate::worker::{Writer, WriterMode};

pub(crate) const SECTION: Section = Section {
    title: "`writer`",
    about: "Where scores go: `/api/v1/import` of VictoriaMetrics. The keys of a connection belong here too.",
    keys: &[
        Key::new("class", Kind::Special("class", "`vm`"), Presence::Default("vm"), "`vm`, or `writer.vm.VmWriter`."),
        Key::new(
            "metric_format",
            FORMAT,
            Presence::Default("{__name__: \"$VAR\", for: \"$QUERY_KEY\"}"),
            "Name and labels of what is written. `__name__` must contain `$VAR`, the name of the output series; `for` contains `$QUERY_KEY`, the alias of the query; every other key is a further label, in which both are replaced too. The labels of the input series, `model_alias`, `scheduler_alias` and `preset` are added.",
        ),
        Key::new(
            "connection_retry_attempts",
            Kind::Integer(1, 100),
            Presence::Default("1"),
            "Extra attempts after a connection-level failure within one write. (After them the worker stands still and writes later; nothing is dropped.)",
        ),
        Key::new("max_request_bytes", Kind::Size(65_536), Presence::Default("8MiB"), "Largest body of one write.")
            .own(),
        Key::new(
            "mode",
            Kind::OneOf(&["all", "failover"]),
            Presence::Default("all"),
            "Which replicas write. `all`: every one, for a TSDB that deduplicates. `failover`: normally one, the next one takes its place.",
        )
        .own(),
        Key::new(
            "failover_after",
            Kind::Duration,
            Presence::Absent("the longer of 10s and twice the scheduler's `infer_every`"),
            "With `mode: failover`, how long a replica waits for the one before it.",
        )
        .own(),
        Key::ignored("import_json_path", "scores go to `/api/v1/import`"),
        Key::ignored("health_path", "there is no separate health probe"),
    ],
};

const FORMAT: Kind = Kind::Special("map of texts", "a map with `__name__`, `for` and further labels");

/// Labels that the worker adds itself.
const OWN_LABELS: [&str; 3] = ["model_alias", "scheduler_alias", "preset"];

/// `queries` is the number of queries that are in use: their outputs must not collide.
pub(crate) fn build(node: &Node, queries: usize, problems: &mut Problems) -> Option<Writer> {
    class::resolve("writer", class::WRITERS, node, "writer", Some("vm"), problems)?;
    let fields = Fields::open(&[&SECTION, &client::SECTION], node, "writer", problems)?;
    let client = client::build(&fields, "insert", problems);
    let (metric_name, labels) = metric_format(&fields, queries, problems);
    let attempts = fields.whole("connection_retry_attempts", problems);
    let bytes = fields.size("max_request_bytes", problems);
    Some(Writer {
        client,
        metric_name,
        labels,
        connection_retry_attempts: attempts.unwrap_or_default(),
        mode: match fields.one_of("mode", problems) {
            Some("failover") => WriterMode::Failover,
            _ => WriterMode::All,
        },
        failover_after: fields.duration("failover_after", problems),
        max_request_bytes: bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or_default(),
    })
}

fn metric_format(fields: &Fields<'_>, queries: usize, problems: &mut Problems) -> (String, BTreeMap<String, String>) {
    let mut name = "$VAR".to_owned();
    let mut labels = BTreeMap::from([("for".to_owned(), "$QUERY_KEY".to_owned())]);
    let Some(node) = fields.raw("metric_format") else {
        return (name, labels);
    };
    let Value::Map(entries) = &node.value else {
        if node.value != Value::Faulty {
            fields.error("metric_format", wrong_type(&FORMAT.allowed(), node), problems);
        }
        return (name, labels);
    };
    for entry in entries {
        let path = format!("writer.metric_format.{}", entry.key);
        let Value::Scalar(scalar) = &entry.node.value else {
            if entry.node.value != Value::Faulty {
                problems.error(&entry.node.place, path, wrong_type("a text", &entry.node));
            }
            continue;
        };
        match check(entry, scalar, queries) {
            Ok(()) if entry.key == "__name__" => name.clone_from(&scalar.text),
            Ok(()) => {
                labels.insert(entry.key.clone(), scalar.text.clone());
            }
            Err(reason) => problems.error(&entry.node.place, path, Fault::Conflict { reason }),
        }
    }
    (name, labels)
}

fn check(entry: &Entry, scalar: &Scalar, queries: usize) -> Result<(), String> {
    let key = entry.key.as_str();
    let template = scalar.text.as_str();
    if OWN_LABELS.contains(&key) {
        return Err("is a label that the worker adds itself".into());
    }
    if key != "__name__" && !is_name(key, false) {
        return Err("is no label name: letters, digits and `_`, not a digit first".into());
    }
    let rest = template.replace("$QUERY_KEY", "").replace("$VAR", "");
    if rest.contains('$') {
        return Err("only `$VAR` and `$QUERY_KEY` are replaced; there are no other placeholders".into());
    }
    if key == "__name__" {
        if !template.contains("$VAR") {
            return Err("must contain `$VAR`, or all output series would have one name".into());
        }
        if template.contains("$QUERY_KEY") {
            return Err("must not contain `$QUERY_KEY`; that belongs into a label such as `for`".into());
        }
        if !is_name(&template.replace("$VAR", "y"), true) {
            return Err("is no metric name: letters, digits, `_` and `:`, not a digit first".into());
        }
    }
    if key == "for" && queries > 1 && !template.contains("$QUERY_KEY") {
        return Err("must contain `$QUERY_KEY`, or the outputs of the queries would collide".into());
    }
    Ok(())
}

fn is_name(text: &str, metric: bool) -> bool {
    !text.starts_with(|first: char| first.is_ascii_digit())
        && !text.is_empty()
        && text
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || character == '_' || (metric && character == ':'))
}
