//! The TSDB client against a server that does what a real one will not do on demand.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod credentials;
mod reads;
mod server;
mod tls;
mod writes;

use std::collections::BTreeMap;

use config::worker::{HttpClient, Policies, Query, Reader, VerifyTls, Writer};
use worker::environment::{Grid, RangeAnswer, RangeRead, ReadError, Tsdb};
use worker::labels::Labels;
use worker::tsdb::HttpTsdb;

const ALIAS: &str = "cpu";
const STEP: i64 = 30_000;
const START: i64 = 1_700_000_010_000;

fn client(url: &str) -> HttpClient {
    HttpClient {
        url: url.into(),
        tenant_id: None,
        user: None,
        password: None,
        password_file: None,
        bearer_token: None,
        bearer_token_file: None,
        verify_tls: VerifyTls::System,
        tls_cert_file: None,
        tls_key_file: None,
        timeout: 20_000,
    }
}

fn query() -> Query {
    Query {
        expr: "sum(rate(x{a=\"b & c\"}[5m])) + 1".into(),
        step: STEP,
        policies: Policies::default(),
        max_points_per_query: 1000,
        tz: "UTC".into(),
        tenant_id: None,
        offset: 0,
        max_lookback: None,
        series_limit: 100,
        false_alarms_per_day: None,
    }
}

fn reader(url: &str) -> Reader {
    Reader {
        client: client(url),
        query_range_path: "/api/v1/query_range".into(),
        queries: BTreeMap::from([(ALIAS.into(), query())]),
        workers: 1,
        extra_filters: Vec::new(),
        latency_offset: Some(1),
        fetch_timeout: 20_000,
    }
}

fn writer(url: &str) -> Writer {
    Writer {
        client: client(url),
        metric_name: "$VAR".into(),
        labels: BTreeMap::new(),
        connection_retry_attempts: 0,
        max_request_bytes: 1 << 20,
        mode: config::worker::WriterMode::All,
        failover_after: None,
    }
}

fn tsdb(reader: &Reader, writer: &Writer) -> HttpTsdb {
    let _ = rustls::crypto::ring::default_provider().install_default();
    HttpTsdb::new(reader, writer).unwrap()
}

fn tsdb_at(url: &str) -> HttpTsdb {
    tsdb(&reader(url), &writer(url))
}

fn grid(points: usize) -> Grid {
    Grid { start: START, step: STEP, points }
}

async fn read(tsdb: &HttpTsdb, query: &Query, points: usize) -> Result<RangeAnswer, ReadError> {
    let read = RangeRead { query_alias: ALIAS, query, grid: grid(points) };
    tsdb.read(&read, &mut |_: &Labels| true).await
}

/// The code of a read that may work later.
fn unavailable(outcome: Result<RangeAnswer, ReadError>) -> (String, String) {
    match outcome {
        Err(ReadError::Unavailable { code, message }) => (code, message),
        other => panic!("should be unavailable, is {other:?}"),
    }
}
