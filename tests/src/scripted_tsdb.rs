//! A time series database whose answers the test makes up: what a real one answers only when it is broken.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Response, StatusCode, Uri, header};
use reqwest::Url;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use crate::series::{Series, parse_export};
use crate::signal::now;

/// A range query that came in, times in unix ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeRequest {
    /// The expression.
    pub query: String,
    /// First time.
    pub start: i64,
    /// Last time.
    pub end: i64,
    /// Distance of times.
    pub step: i64,
    /// When it came in, by the real clock.
    pub received_at: i64,
}

impl RangeRequest {
    /// The times that it asks for.
    pub fn times(&self) -> impl Iterator<Item = i64> + '_ {
        (0..).map(|index| self.start + index * self.step).take_while(|time| *time <= self.end)
    }
}

/// What a range query is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Body, as it is.
    pub body: String,
}

impl Answer {
    /// A body that is sent with status 200.
    #[must_use]
    pub fn ok(body: impl Into<String>) -> Self {
        Self { status: 200, body: body.into() }
    }

    /// An error in the form of the TSDB.
    #[must_use]
    pub fn error(status: u16, message: &str) -> Self {
        let body = serde_json::json!({"status": "error", "errorType": status.to_string(), "error": message});
        Self { status, body: body.to_string() }
    }

    /// A range query result: each series' labels as JSON, and its samples (unix ms, value as it is sent).
    #[must_use]
    pub fn matrix(series: &[(&str, Vec<(i64, String)>)]) -> Self {
        let rows: Vec<String> = series
            .iter()
            .map(|(labels, samples)| {
                let samples: Vec<String> = samples
                    .iter()
                    .map(|(time, value)| format!("[{}.{:03},\"{value}\"]", time / 1000, time % 1000))
                    .collect();
                format!("{{\"metric\":{labels},\"values\":[{}]}}", samples.join(","))
            })
            .collect();
        Self::ok(format!(
            "{{\"status\":\"success\",\"data\":{{\"resultType\":\"matrix\",\"result\":[{}]}}}}",
            rows.join(",")
        ))
    }
}

type Script = Box<dyn Fn(&RangeRequest) -> Answer + Send>;

/// A running one. Dropping it ends it.
#[derive(Debug)]
pub struct ScriptedTsdb {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: AbortHandle,
}

struct Shared {
    state: Mutex<Inner>,
}

struct Inner {
    script: Script,
    /// What its clock is ahead of the real one, ms.
    clock_offset: i64,
    reads: Vec<RangeRequest>,
    written: Vec<Series>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ScriptedTsdb {
    /// Listens on `address` (port 0: a free one) and answers every range query by `script`.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn start(
        address: SocketAddr,
        script: impl Fn(&RangeRequest) -> Answer + Send + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            state: Mutex::new(Inner {
                script: Box::new(script),
                clock_offset: 0,
                reads: Vec::new(),
                written: Vec::new(),
            }),
        });
        let routes = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let serving = tokio::spawn(async move { drop(axum::serve(listener, routes).await) });
        Ok(Self { address, shared, serving: serving.abort_handle() })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers by another script from now on.
    pub fn answer_by(&self, script: impl Fn(&RangeRequest) -> Answer + Send + 'static) {
        self.shared.lock().script = Box::new(script);
    }

    /// Sets its clock, as `Date` shows it, so many ms ahead of the real one.
    pub fn set_clock_ahead(&self, offset: i64) {
        self.shared.lock().clock_offset = offset;
    }

    /// All range queries so far.
    #[must_use]
    pub fn reads(&self) -> Vec<RangeRequest> {
        self.shared.lock().reads.clone()
    }

    /// Everything that was imported so far, one element a line.
    #[must_use]
    pub fn written(&self) -> Vec<Series> {
        self.shared.lock().written.clone()
    }
}

impl Drop for ScriptedTsdb {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(State(shared): State<Arc<Shared>>, uri: Uri, body: Bytes) -> Response<Body> {
    let mut inner = shared.lock();
    let now = now();
    let answer = if uri.path().ends_with("/query_range") {
        match range_request(&body, now) {
            Some(request) => {
                let answer = (inner.script)(&request);
                inner.reads.push(request);
                answer
            }
            None => Answer::error(400, "a range query without start, end and step"),
        }
    } else if uri.path().ends_with("/import") {
        match parse_export(&body) {
            Ok(series) => {
                inner.written.extend(series);
                Answer { status: 204, body: String::new() }
            }
            Err(message) => Answer::error(400, &message),
        }
    } else {
        Answer::ok("{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[]}}")
    };
    let date = http_date(now + inner.clock_offset);
    drop(inner);
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or_default();
    if let Ok(date) = date.parse() {
        response.headers_mut().insert(header::DATE, date);
    }
    response
}

fn range_request(form: &[u8], received_at: i64) -> Option<RangeRequest> {
    let form = std::str::from_utf8(form).ok()?;
    let url = Url::parse(&format!("http://form/?{form}")).ok()?;
    let value = |wanted: &str| {
        let mut pairs = url.query_pairs();
        pairs.find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
    };
    let ms = |name: &str| Some((value(name)?.parse::<f64>().ok()? * 1e3).round() as i64);
    let (start, end, step) = (ms("start")?, ms("end")?, ms("step")?);
    (step > 0).then_some(RangeRequest { query: value("query")?, start, end, step, received_at })
}

/// The time of a `Date` header, in whole seconds.
fn http_date(unix_ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(unix_ms).unwrap_or_default();
    let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
    printer.timestamp_to_rfc9110_string(&time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_has_the_form_of_http() {
        assert_eq!(http_date(784_111_777_900), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
