//! The time series database over HTTP: VictoriaMetrics (single node or cluster) or Prometheus.

pub mod answer_error;
pub mod columns;
mod endpoint;
pub(crate) mod failure;
mod json_value;
pub mod known_series;
mod metric;
pub mod range_answer;
mod sample;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use config::worker::{Query, Reader, Writer};
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, DATE, HeaderMap};
use reqwest::{Response, Url};

use crate::environment::{RangeAnswer, RangeRead, ReadError, Tsdb, WriteError};
use crate::labels::Labels;
use answer_error::Limits;
use columns::{Columns, Part, split};
use endpoint::Endpoint;
use known_series::KnownSeries;
use range_answer::RangeAnswerParser;

pub use endpoint::ClientError;

/// Tenant that spans all; series carry their own in labels.
const MULTITENANT: &str = "multitenant";

/// The databases of one configuration: scores are written where `writer` says, samples read where `reader` says.
///
/// Files with a password or token are read for every request, so that a rotated secret needs no restart; files of
/// certificates are read once.
pub struct HttpTsdb {
    reader: Endpoint,
    writer: Endpoint,
    range_path: String,
    instant_path: String,
    reader_tenant: Option<String>,
    /// Whom [`Tsdb::server_time`] asks as: the reader's tenant, else that of some query.
    time_tenant: Option<String>,
    writer_tenant: Option<String>,
    latency_offset: Option<i64>,
    extra_filters: Vec<String>,
    connection_retry_attempts: u32,
    /// Series of earlier answers by query alias, for the configured queries and their tenants. A read takes what is
    /// known out and puts it back.
    known: Mutex<HashMap<String, (Option<String>, KnownSeries)>>,
}

impl std::fmt::Debug for HttpTsdb {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("HttpTsdb")
            .field("reader", &self.reader)
            .field("writer", &self.writer)
            .finish_non_exhaustive()
    }
}

impl HttpTsdb {
    /// Reads the TLS files and prepares the connections, without connecting. The process must have installed a
    /// default provider of cryptography (`rustls::crypto::ring`).
    ///
    /// # Errors
    /// When a URL, a TLS file or the authorization cannot work; the message names the key.
    pub fn new(reader: &Reader, writer: &Writer) -> Result<Self, ClientError> {
        let range_path = reader.query_range_path.clone();
        let instant_path = match range_path.strip_suffix("/query_range") {
            Some(prefix) => format!("{prefix}/query"),
            None => "/api/v1/query".to_owned(),
        };
        let query_tenant = || reader.queries.values().find_map(|query| query.tenant_id.clone());
        Ok(Self {
            reader: Endpoint::new("reader", &reader.client, milliseconds(reader.fetch_timeout))?,
            writer: Endpoint::new("writer", &writer.client, milliseconds(writer.client.timeout))?,
            range_path,
            instant_path,
            reader_tenant: reader.client.tenant_id.clone(),
            time_tenant: reader.client.tenant_id.clone().or_else(query_tenant),
            writer_tenant: writer.client.tenant_id.clone(),
            latency_offset: reader.latency_offset,
            extra_filters: reader.extra_filters.clone(),
            connection_retry_attempts: writer.connection_retry_attempts,
            known: Mutex::new(
                reader
                    .queries
                    .iter()
                    .map(|(alias, query)| (alias.clone(), (query.tenant_id.clone(), known_series(query))))
                    .collect(),
            ),
        })
    }

    /// What is known of the query's series: nothing while another read has it, or for a query that is not configured.
    fn take_known(&self, read: &RangeRead<'_>) -> KnownSeries {
        let nothing = known_series(read.query);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get_mut(read.query_alias) {
            Some((tenant, known)) if *tenant == read.query.tenant_id => std::mem::replace(known, nothing),
            _ => nothing,
        }
    }

    fn put_known(&self, read: &RangeRead<'_>, newer: KnownSeries) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get_mut(read.query_alias) {
            Some((tenant, known)) if *tenant == read.query.tenant_id && known.len() < newer.len() => *known = newer,
            _ => {}
        }
    }

    /// Fetches one part into `columns` and returns the server's time.
    async fn read_part(
        &self,
        read: &RangeRead<'_>,
        part: Part,
        added_labels: &[(String, String)],
        columns: &mut Columns,
        known: &mut KnownSeries,
        keep: &mut dyn FnMut(&Labels) -> bool,
    ) -> Result<Option<i64>, ReadError> {
        let tenant = self.tenant(read.query);
        let url = self.reader.url("select", tenant, &self.range_path);
        let form = range_form(&url, read.query, part, self.latency_offset, &self.extra_filters);
        let request = self
            .reader
            .post(url)
            .map_err(read_file)?
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form);
        let mut response = request.send().await.map_err(failure::read_transport)?;
        if !response.status().is_success() {
            return Err(failure::read_status(response.status(), failure::server_message(response).await));
        }
        if let Some(encoding) = response.headers().get(CONTENT_ENCODING).filter(|value| *value != "identity") {
            let message = format!("the answer has encoding {encoding:?}, which was not asked for");
            return Err(ReadError::Unavailable { code: failure::BAD_ANSWER.into(), message });
        }
        let server_time = date(response.headers());
        let mut parser = RangeAnswerParser::new(part, Limits::default(), columns, known, added_labels);
        let mut parsing = Duration::ZERO;
        while let Some(chunk) = response.chunk().await.map_err(failure::read_transport)? {
            let started = stopwatch();
            parser.push(&chunk, keep).map_err(failure::read_answer)?;
            parsing += started.elapsed();
        }
        parser.finish().map_err(failure::read_answer)?;
        columns.spent(parsing);
        Ok(server_time)
    }

    fn tenant<'a>(&'a self, query: &'a Query) -> Option<&'a str> {
        query.tenant_id.as_deref().or(self.reader_tenant.as_deref())
    }

    /// The tenant as the labels that a multitenant writer routes by, if the writer does not write to this very
    /// tenant anyway.
    fn tenant_labels(&self, query: &Query) -> Vec<(String, String)> {
        let account_and_project = |tenant: &str| {
            let (account, project) = tenant.split_once(':').unwrap_or((tenant, "0"));
            (account.to_owned(), project.to_owned())
        };
        match self.tenant(query).filter(|tenant| *tenant != MULTITENANT).map(account_and_project) {
            Some(tenant) if self.writer_tenant.as_deref().map(account_and_project) != Some(tenant.clone()) => {
                vec![("vm_account_id".into(), tenant.0), ("vm_project_id".into(), tenant.1)]
            }
            _ => Vec::new(),
        }
    }

    async fn write_once(&self, url: Url, body: Bytes) -> Result<(), WriteError> {
        let request = self
            .writer
            .post(url)
            .map_err(|message| WriteError::Unavailable { code: failure::IO_ERROR.into(), message })?
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        let response = request.send().await.map_err(failure::write_transport)?;
        if response.status().is_success() {
            return Ok(());
        }
        Err(failure::write_status(response.status(), failure::server_message(response).await))
    }
}

/// For a metric; nothing is decided by it.
#[expect(clippy::disallowed_methods, reason = "the environment's clock does not reach into a request")]
fn stopwatch() -> Instant {
    Instant::now()
}

impl Tsdb for HttpTsdb {
    /// Asks in parts of `max_points_per_query` points, one after the other. The grid is asked for as it is: the
    /// query's `offset` is up to the caller.
    async fn read(
        &self,
        read: &RangeRead<'_>,
        keep: &mut dyn FnMut(&Labels) -> bool,
    ) -> Result<RangeAnswer, ReadError> {
        let added_labels = self.tenant_labels(read.query);
        let mut columns = Columns::new(read.grid);
        let mut known = self.take_known(read);
        let mut outcome = Ok(None);
        for part in split(read.grid, read.query.max_points_per_query as usize) {
            outcome = self.read_part(read, part, &added_labels, &mut columns, &mut known, keep).await;
            if outcome.is_err() {
                break;
            }
        }
        known.end_read();
        self.put_known(read, known);
        Ok(columns.finish(outcome?))
    }

    async fn server_time(&self) -> Result<Option<i64>, ReadError> {
        let mut url = self.reader.url("select", self.time_tenant.as_deref(), &self.instant_path);
        url.query_pairs_mut().append_pair("query", "1");
        let request = self.reader.get(url).map_err(read_file)?;
        let response: Response = request.send().await.map_err(failure::read_transport)?;
        let time = date(response.headers());
        // Read to its end, so that the connection can be used again.
        let _ = failure::server_message(response).await;
        Ok(time)
    }

    async fn write(&self, body: Bytes) -> Result<(), WriteError> {
        let url = self.writer.url("insert", self.writer_tenant.as_deref(), "/api/v1/import");
        let mut outcome = self.write_once(url.clone(), body.clone()).await;
        for _ in 0..self.connection_retry_attempts {
            match &outcome {
                Err(WriteError::Unavailable { code, .. }) if code == failure::CONNECTION_ERROR => {
                    outcome = self.write_once(url.clone(), body.clone()).await;
                }
                _ => break,
            }
        }
        outcome
    }
}

fn milliseconds(duration: i64) -> Duration {
    Duration::from_millis(duration.max(0).unsigned_abs())
}

/// Room for all series of a query over all shards, and as many that have gone.
fn known_series(query: &Query) -> KnownSeries {
    KnownSeries::new((query.series_limit as usize).saturating_mul(2).max(1024))
}

fn read_file(message: String) -> ReadError {
    ReadError::Unavailable { code: failure::IO_ERROR.into(), message }
}

/// The parameters of a range query. Prometheus ignores those that only VictoriaMetrics has.
fn range_form(url: &Url, query: &Query, part: Part, latency_offset: Option<i64>, extra_filters: &[String]) -> String {
    let mut form = url.clone();
    form.set_query(None);
    {
        let mut pairs = form.query_pairs_mut();
        pairs
            .append_pair("query", &query.expr)
            .append_pair("start", &seconds(part.grid.start))
            .append_pair("end", &seconds(part.grid.end()))
            .append_pair("step", &seconds(part.grid.step))
            .append_pair("nocache", "1");
        for (name, duration) in [("latency_offset", latency_offset), ("max_lookback", query.max_lookback)] {
            if let Some(duration) = duration {
                pairs.append_pair(name, &format!("{duration}ms"));
            }
        }
        for filter in extra_filters {
            pairs.append_pair("extra_filters[]", filter);
        }
    }
    form.query().unwrap_or_default().to_owned()
}

/// Milliseconds as seconds, exactly.
fn seconds(time: i64) -> String {
    let sign = if time < 0 { "-" } else { "" };
    let (whole, rest) = (time.unsigned_abs() / 1000, time.unsigned_abs() % 1000);
    if rest == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{rest:03}") }
}

/// The `Date` of an answer, unix ms.
fn date(headers: &HeaderMap) -> Option<i64> {
    let text = headers.get(DATE)?.to_str().ok()?;
    let time = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(time.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_sent_in_seconds_without_rounding() {
        for (time, text) in [
            (1_700_000_000_000, "1700000000"),
            (1_700_000_000_001, "1700000000.001"),
            (-1_500, "-1.500"),
            (50, "0.050"),
        ] {
            assert_eq!(seconds(time), text);
        }
    }

    #[test]
    fn the_server_s_date_is_read() {
        let headers = |text: &str| HeaderMap::from_iter([(DATE, text.parse().unwrap())]);
        assert_eq!(date(&headers("Sun, 06 Nov 1994 08:49:37 GMT")), Some(784_111_777_000));
        assert_eq!(date(&headers("yesterday")), None);
        assert_eq!(date(&HeaderMap::new()), None);
    }
}
