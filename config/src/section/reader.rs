//! `reader`: where samples come from.

use std::collections::BTreeMap;

use crate::class;
use crate::fields::Fields;
use crate::problem::{Fault, Problems};
use crate::schema::{Domain, Key, Kind, Presence, Section};
use crate::section::{client, policy};
use crate::tree::{Entry, Node, Scalar, Value, join};
use crate::worker::{Policies, Query, Reader};

pub(crate) const SECTION: Section = Section {
    title: "`reader`",
    about: "Where samples come from: range queries of VictoriaMetrics or Prometheus. The keys of a connection belong here too.",
    keys: &[
        Key::new("class", Kind::Special("class", "`vm`"), Presence::Default("vm"), "`vm`, or `reader.vm.VmReader`."),
        Key::new(
            "queries",
            Kind::Entries(&QUERY),
            Presence::Required,
            "The queries by alias. `alias: \"expression\"` is an old form of `alias: {expr: \"expression\"}`.",
        ),
        Key::new("sampling_period", Kind::Duration, Presence::Required, "Resolution of queries that have no `step`."),
        Key::new(
            "data_range",
            Kind::Range,
            Presence::Absent("`[-inf, inf]`"),
            "Valid domain of queries for which neither the query nor the model says one.",
        ),
        Key::new(
            "query_range_path",
            ROUTE,
            Presence::Default("/api/v1/query_range"),
            "Path of range queries below the base URL.",
        ),
        Key::new("fetch_timeout", Kind::Duration, Presence::Absent("`timeout`"), "Time limit of one range query."),
        Key::new(
            "workers",
            Kind::Integer(0, 1024),
            Presence::Default("0"),
            "Concurrent requests. 0: as many as there are queries, at most two per CPU.",
        ),
        Key::new(
            "extra_filters",
            Kind::Texts,
            Presence::Absent("none"),
            "Series selectors that apply to every query (`extra_filters[]` of VictoriaMetrics).",
        ),
        Key::new(
            "latency_offset",
            LATENCY,
            Presence::Default("1ms"),
            "Sent as `latency_offset`, so that VictoriaMetrics does not hide the newest samples; it takes 1 ms or more. `\"\"` sends none.",
        ),
        Key::new(
            "max_points_per_query",
            POINTS,
            Presence::Default("10000"),
            "Points of one request; longer windows are read in several requests. The default is below the limits of Prometheus (11,000) and VictoriaMetrics (30,000). vmanomaly asks the server instead.",
        ),
        Key::new("tz", Kind::Zone, Presence::Default("UTC"), "Time zone of hours of the day and days of the week."),
        Key::new(
            "offset",
            Kind::Offset,
            Presence::Default("0s"),
            "Shift of the queried interval: `-60s` looks 60 seconds earlier.",
        ),
        Key::new(
            "max_lookback",
            Kind::Duration,
            Presence::Absent("not sent"),
            "Sent as `max_lookback`: how far VictoriaMetrics looks back for the last sample before a point.",
        )
        .own(),
        Key::new(
            "series_limit",
            SERIES_LIMIT,
            Presence::Default("100000"),
            "Most series of one query over all shards; what is beyond is refused and counted.",
        )
        .own(),
        Key::ignored("health_path", "the query path itself is probed"),
        Key::ignored("processing_timeout", "answers are parsed while they stream"),
        Key::ignored("series_processing_batch_size", "answers are parsed while they stream"),
        Key::ignored("query_from_last_seen_timestamp", "missed ticks are always caught up one by one"),
        Key::ignored(
            "query_last_seen_max_lookback",
            "missed ticks are always caught up, bounded by `settings.max_catch_up`",
        ),
    ],
};

pub(crate) const QUERY: Section = Section {
    title: "`reader.queries.<alias>`",
    about: "One query. Its policies (below) belong here too.",
    keys: &[
        Key::new("expr", Kind::Text, Presence::Required, "MetricsQL or PromQL."),
        Key::new("step", Kind::Duration, Presence::Absent("`reader.sampling_period`"), "Resolution."),
        Key::new("max_points_per_query", POINTS, Presence::Absent("the value of `reader`"), "Points of one request."),
        Key::new(
            "tz",
            Kind::Zone,
            Presence::Absent("the value of `reader`"),
            "Time zone of hours of the day and days of the week.",
        ),
        Key::new(
            "tenant_id",
            client::TENANT,
            Presence::Absent("the value of `reader`"),
            "Tenant; needs a `tenant_id` of the reader.",
        ),
        Key::new("offset", Kind::Offset, Presence::Absent("the value of `reader`"), "Shift of the queried interval."),
        Key::new("max_lookback", Kind::Duration, Presence::Absent("the value of `reader`"), "Sent as `max_lookback`.")
            .own(),
        Key::new(
            "series_limit",
            SERIES_LIMIT,
            Presence::Absent("the value of `reader`"),
            "Most series over all shards.",
        )
        .own(),
        Key::new(
            "false_alarms_per_day",
            Kind::Number(Domain::Budget),
            Presence::Absent("each series has what its model says"),
            "How many alarms by chance all series of the query together are to have a day, of each model of class `calibrated`: each series has its part, at least 0.001, whatever the model says.",
        )
        .own(),
    ],
};

const ROUTE: Kind = Kind::Special("path", "a path, as in `/api/v1/query_range`");
const LATENCY: Kind = Kind::Special("duration", "a duration, 0 or longer, or `\"\"`");
const POINTS: Kind = Kind::Integer(10, 1_000_000);
const SERIES_LIMIT: Kind = Kind::Integer(1, 100_000_000);

/// The reader with all its queries, whether or not a model uses them, and the `data_range` that models without one
/// fall back to. `workers` stays 0 where it is to be decided by the number of queries.
pub(crate) struct Built {
    pub(crate) reader: Reader,
    pub(crate) data_range: Option<[f64; 2]>,
}

/// What a query falls back to.
struct Fallbacks {
    sampling_period: Option<i64>,
    max_points_per_query: u32,
    tz: String,
    tenant_id: Option<String>,
    offset: i64,
    max_lookback: Option<i64>,
    series_limit: u32,
}

pub(crate) fn build(node: &Node, problems: &mut Problems) -> Option<Built> {
    class::resolve("reader", class::READERS, node, "reader", Some("vm"), problems)?;
    let fields = Fields::open(&[&SECTION, &client::SECTION], node, "reader", problems)?;
    let client = client::build(&fields, "select", problems);
    let fallbacks = Fallbacks {
        sampling_period: fields.duration("sampling_period", problems),
        max_points_per_query: fields.whole("max_points_per_query", problems).unwrap_or_default(),
        tz: fields.zone("tz", problems).unwrap_or_default(),
        tenant_id: client.tenant_id.clone(),
        offset: fields.duration("offset", problems).unwrap_or_default(),
        max_lookback: fields.duration("max_lookback", problems),
        series_limit: fields.whole("series_limit", problems).unwrap_or_default(),
    };
    let mut queries = BTreeMap::new();
    for entry in fields.aliases("queries", problems).unwrap_or_default() {
        let path = join("reader.queries", &entry.key);
        if let Some(query) = query(entry, &path, &fallbacks, problems) {
            queries.insert(entry.key.clone(), query);
        }
    }
    let latency_offset = fields.parsed("latency_offset", problems, |text| {
        if text.trim().is_empty() {
            return Ok(None);
        }
        crate::duration::parse(text).map(Some).map_err(|error| error.to_string())
    });
    let reader = Reader {
        query_range_path: fields.parsed("query_range_path", problems, route).unwrap_or_default(),
        queries,
        workers: fields.whole("workers", problems).unwrap_or_default(),
        extra_filters: if fields.raw("extra_filters").is_some() {
            fields.texts("extra_filters", problems).unwrap_or_default()
        } else {
            Vec::new()
        },
        latency_offset: latency_offset.flatten(),
        fetch_timeout: fields.duration("fetch_timeout", problems).unwrap_or(client.timeout),
        client,
    };
    Some(Built { reader, data_range: fields.range("data_range", problems) })
}

/// With a slash at its start.
fn route(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.contains(|character: char| character.is_whitespace() || "?#".contains(character)) {
        return Err(format!("must be {}", ROUTE.allowed()));
    }
    Ok(if text.starts_with('/') { text.to_owned() } else { format!("/{text}") })
}

fn query(entry: &Entry, path: &str, fallbacks: &Fallbacks, problems: &mut Problems) -> Option<Query> {
    let with_fallbacks = |expr: String, step: i64| Query {
        expr,
        step,
        policies: Policies::default(),
        max_points_per_query: fallbacks.max_points_per_query,
        tz: fallbacks.tz.clone(),
        tenant_id: fallbacks.tenant_id.clone(),
        offset: fallbacks.offset,
        max_lookback: fallbacks.max_lookback,
        series_limit: fallbacks.series_limit,
        false_alarms_per_day: None,
    };
    if let Value::Scalar(Scalar { text, .. }) = &entry.node.value {
        if text.is_empty() {
            let expected = "an expression".to_owned();
            problems.error(&entry.node.place, path, Fault::Missing { expected });
            return None;
        }
        let message = "an expression alone is an old form; write `expr: ...` below the alias";
        problems.warn(&entry.node.place, path, message);
        return Some(with_fallbacks(text.clone(), fallbacks.sampling_period?));
    }
    let fields = Fields::open(&[&QUERY, &policy::SECTION], &entry.node, path, problems)?;
    let expr = fields.text("expr", problems);
    let step = fields.duration("step", problems).or(fallbacks.sampling_period);
    let mut query = with_fallbacks(expr.unwrap_or_default(), step.unwrap_or_default());
    query.policies = policy::build(&fields, problems);
    if let Some(tenant_id) = fields.parsed("tenant_id", problems, client::parse_tenant) {
        if fallbacks.tenant_id.is_none() {
            let reason = "needs `reader.tenant_id`: single-node and cluster cannot be mixed";
            fields.conflict("tenant_id", reason, problems);
        }
        query.tenant_id = Some(tenant_id);
    }
    if let Some(points) = fields.whole("max_points_per_query", problems) {
        query.max_points_per_query = points;
    }
    if let Some(tz) = fields.zone("tz", problems) {
        query.tz = tz;
    }
    if let Some(offset) = fields.duration("offset", problems) {
        query.offset = offset;
    }
    if let Some(max_lookback) = fields.duration("max_lookback", problems) {
        query.max_lookback = Some(max_lookback);
    }
    if let Some(series_limit) = fields.whole("series_limit", problems) {
        query.series_limit = series_limit;
    }
    query.false_alarms_per_day = fields.number("false_alarms_per_day", problems);
    (!query.expr.is_empty() && query.step > 0).then_some(query)
}
