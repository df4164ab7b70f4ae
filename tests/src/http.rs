//! An HTTP server under a test: its base URL and the requests that tests send.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Client, StatusCode, Url};
use serde::de::DeserializeOwned;

use crate::series::{Series, parse_query_answer};

/// Why a request brought no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The URL cannot be built.
    #[error("{url}: {message}")]
    Url {
        /// What it was built from.
        url: String,
        /// Why not.
        message: String,
    },
    /// No answer.
    #[error("{url}: {source:?}")]
    Request {
        /// The request.
        url: String,
        /// What happened.
        source: reqwest::Error,
    },
    /// An answer other than 2xx.
    #[error("{url}: {status}: {body}")]
    Status {
        /// The request.
        url: String,
        /// The answer's status.
        status: StatusCode,
        /// The answer's body.
        body: String,
    },
    /// An answer that is not what was asked for.
    #[error("{url}: {message} in {body}")]
    Answer {
        /// The request.
        url: String,
        /// What is wrong.
        message: String,
        /// The answer's body.
        body: String,
    },
}

/// A client without pooled state, proxies or redirects; loopback only.
///
/// # Panics
/// When the TLS library cannot be set up, which no input can cause.
#[must_use]
#[expect(clippy::expect_used, reason = "a client without any certificate or proxy setting has nothing that can fail")]
pub fn client() -> Client {
    // Fails when another test of this process has done it already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().expect("plain client")
}

/// A server's base URL with a client.
#[derive(Debug, Clone)]
pub struct Endpoint {
    base: String,
    client: Client,
}

impl Endpoint {
    /// The server that listens on `address`.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { base: format!("http://{address}"), client: client() }
    }

    /// The same, with a user's name and password, which go into its URL as they are.
    #[must_use]
    pub fn with_basic_auth(address: SocketAddr, user: &str, password: &str) -> Self {
        Self { base: format!("http://{user}:{password}@{address}"), client: client() }
    }

    /// The base URL, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.base
    }

    /// Whether `path` is answered with 2xx.
    pub async fn answers(&self, path: &str) -> bool {
        self.get(path, &[]).await.is_ok()
    }

    /// The body that a GET brings.
    ///
    /// # Errors
    /// No answer, or one other than 2xx.
    pub async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Bytes, HttpError> {
        let url = self.address_of(path, parameters)?;
        self.send(&url, self.client.get(url.clone())).await
    }

    /// The JSON that a GET brings.
    ///
    /// # Errors
    /// No answer, one other than 2xx, or one that is not a `T`.
    pub async fn get_json<T: DeserializeOwned>(&self, path: &str, parameters: &[(&str, &str)]) -> Result<T, HttpError> {
        let body = self.get(path, parameters).await?;
        serde_json::from_slice(&body).map_err(|error| self.unusable(path, &error.to_string(), &body))
    }

    /// The body that a POST brings.
    ///
    /// # Errors
    /// No answer, or one other than 2xx.
    pub async fn post(
        &self,
        path: &str,
        parameters: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Bytes, HttpError> {
        let url = self.address_of(path, parameters)?;
        self.send(&url, self.client.post(url.clone()).body(body.into())).await
    }

    /// A PromQL range query; all times in ms.
    ///
    /// # Errors
    /// No answer, one other than 2xx, or one that is no matrix.
    pub async fn query_range(&self, expr: &str, start: i64, end: i64, step: i64) -> Result<Vec<Series>, HttpError> {
        let path = "/api/v1/query_range";
        let (start, end, step) = (seconds(start), seconds(end), seconds(step));
        let parameters = [("query", expr), ("start", &start), ("end", &end), ("step", &step)];
        let body = self.get(path, &parameters).await?;
        parse_query_answer(&body).map_err(|message| self.unusable(path, &message, &body))
    }

    /// A PromQL instant query at `time`, ms: each series with one sample.
    ///
    /// # Errors
    /// No answer, one other than 2xx, or one that is no vector.
    pub async fn query(&self, expr: &str, time: i64) -> Result<Vec<Series>, HttpError> {
        let path = "/api/v1/query";
        let body = self.get(path, &[("query", expr), ("time", &seconds(time))]).await?;
        parse_query_answer(&body).map_err(|message| self.unusable(path, &message, &body))
    }

    pub(crate) fn unusable(&self, path: &str, message: &str, body: &[u8]) -> HttpError {
        let body = String::from_utf8_lossy(&body[..body.len().min(500)]).into_owned();
        HttpError::Answer { url: format!("{}{path}", self.base), message: message.to_owned(), body }
    }

    fn address_of(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Url, HttpError> {
        let url = format!("{}{path}", self.base);
        let parsed = if parameters.is_empty() { Url::parse(&url) } else { Url::parse_with_params(&url, parameters) };
        parsed.map_err(|error| HttpError::Url { url, message: error.to_string() })
    }

    async fn send(&self, url: &Url, request: reqwest::RequestBuilder) -> Result<Bytes, HttpError> {
        let failed = |source| HttpError::Request { url: url.to_string(), source };
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        let body = response.bytes().await.map_err(failed)?;
        if status.is_success() {
            return Ok(body);
        }
        Err(HttpError::Status { url: url.to_string(), status, body: String::from_utf8_lossy(&body).into_owned() })
    }
}

/// Milliseconds as the decimal seconds that both TSDBs take.
fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000))
}
