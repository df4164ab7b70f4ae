//! Asking other workers over HTTP.

#![expect(clippy::disallowed_methods, reason = "how long a request took is no part of the loop and of its simulation")]

use std::{
    cell::RefCell,
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use config::topology::MemberTemplate;
use reqwest::{Client, StatusCode, header, redirect::Policy};

use super::token::Token;
use crate::{
    environment::Peers,
    metrics::Metrics,
    peers::{
        Answer, Member, PeerError, Request,
        encoding::{LONGEST_ANSWER, PROTOCOL_VERSION, Question, decode_answer, encode_question},
    },
    tsdb::failure::{server_message, transport},
};

/// Longest time to establish a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Idle connections are closed before the other worker closes them.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle connections kept for each worker.
const IDLE_CONNECTIONS: usize = 16;

/// How to reach the other workers, and as whom.
#[derive(Debug)]
pub struct Routes {
    /// URL of each.
    pub url: MemberTemplate,
    /// This worker.
    pub own: Member,
    /// Epoch of the topology.
    pub epoch: u64,
    /// Number of shards in it.
    pub shards: u32,
    /// What they share.
    pub token: Arc<Token>,
}

/// A client for the URLs of a topology.
///
/// # Errors
/// The system's words when it cannot be made.
pub fn client(url: &MemberTemplate) -> Result<Client, String> {
    let builder = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .redirect(Policy::none())
        .no_proxy()
        .gzip(false)
        .user_agent(concat!("vmanomaly/", env!("CARGO_PKG_VERSION")));
    // Without TLS the system need not have any authorities.
    let builder = if url.of(0, 0).starts_with("http://") { builder.tls_certs_only([]) } else { builder };
    builder.build().map_err(|error| transport(error).1)
}

/// The other workers over HTTP. Clones ask over the same connections.
#[derive(Debug, Clone)]
pub struct HttpPeers(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    metrics: Arc<Metrics>,
    routes: RefCell<Option<Rc<(Client, Routes)>>>,
    /// What was logged last of each worker that does not answer.
    told: RefCell<HashMap<Member, String>>,
}

impl HttpPeers {
    /// Reaches nobody until it has routes.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self(Rc::new(Shared { metrics, routes: RefCell::default(), told: RefCell::default() }))
    }

    /// Goes on with these routes.
    pub fn set_routes(&self, routes: Option<(Client, Routes)>) {
        *self.0.routes.borrow_mut() = routes.map(Rc::new);
    }

    /// Says once of each worker, and whenever the reason changes, why it does not answer.
    fn tell(&self, member: Member, error: Option<&PeerError>) {
        let mut told = self.0.told.borrow_mut();
        let Some(error) = error else {
            if told.remove(&member).is_some() {
                tracing::info!(peer = %member, "{member} answers again");
            }
            return;
        };
        // How a connection fails varies from one attempt to the next.
        let reason = match error {
            PeerError::Unreachable { .. } => UNREACHABLE.to_owned(),
            PeerError::Refused { .. } | PeerError::Garbage { .. } => error.to_string(),
        };
        if told.get(&member) != Some(&reason) {
            tracing::warn!(peer = %member, "{error}");
            told.insert(member, reason);
        }
    }
}

impl Peers for HttpPeers {
    async fn ask(&self, member: Member, job: &str, request: &Request) -> Result<Answer, PeerError> {
        let routes = self.0.routes.borrow().clone();
        let Some(routes) = routes else {
            let message = "the topology says no way to other workers".to_owned();
            return Err(PeerError::Unreachable { member, message });
        };
        let mut attempt = Attempt { peers: self, member, started: Instant::now(), result: None };
        let outcome = send(&routes.0, &routes.1, &self.0.metrics, member, job, request).await;
        attempt.result = Some(match &outcome {
            Ok(_) => "ok",
            Err(PeerError::Unreachable { .. }) => UNREACHABLE,
            Err(PeerError::Refused { .. }) => "refused",
            Err(PeerError::Garbage { .. }) => "garbage",
        });
        self.tell(member, outcome.as_ref().err());
        outcome
    }

    fn reaches_others(&self) -> bool {
        self.0.routes.borrow().is_some()
    }
}

/// Value of the label `result`.
const UNREACHABLE: &str = "unreachable";

/// A question on its way. It is counted also if the asking job gives up.
struct Attempt<'a> {
    peers: &'a HttpPeers,
    member: Member,
    started: Instant,
    /// `None` while there is none.
    result: Option<&'static str>,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let waited = self.started.elapsed();
        if self.result.is_none() {
            let message = format!("no answer within {} ms", waited.as_millis());
            self.peers.tell(self.member, Some(&PeerError::Unreachable { member: self.member, message }));
        }
        self.peers.0.metrics.peer_request_finished(self.result.unwrap_or(UNREACHABLE), waited);
    }
}

async fn send(
    client: &Client,
    routes: &Routes,
    metrics: &Metrics,
    member: Member,
    job: &str,
    request: &Request,
) -> Result<Answer, PeerError> {
    let refused = |message| PeerError::Refused { member, message };
    let garbage = |message| PeerError::Garbage { member, message };
    let unreachable = |error| PeerError::Unreachable { member, message: transport(error).1 };
    let Routes { url, own, epoch, shards, token } = routes;
    let (job, request) = (job.to_owned(), request.clone());
    let question = Question { from: *own, to: member, epoch: *epoch, shards: *shards, job, request };
    let body = encode_question(&question).map_err(|error| refused(format!("the question is not sent: {error}")))?;
    let base = url.of(member.shard, member.rank);
    let mut response = client
        .post(format!("{}/peers/v{PROTOCOL_VERSION}/ask", base.trim_end_matches('/')))
        .bearer_auth(token.current())
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .body(body)
        .send()
        .await
        .map_err(unreachable)?;
    let status = response.status();
    if status != StatusCode::OK {
        let message = format!("{status}: {}", server_message(response).await);
        return Err(if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT {
            PeerError::Unreachable { member, message }
        } else if status.is_client_error() {
            refused(message)
        } else {
            garbage(message)
        });
    }
    let endless = || garbage(format!("the answer has more than {LONGEST_ANSWER} bytes"));
    if response.content_length().is_some_and(|length| length > LONGEST_ANSWER as u64) {
        return Err(endless());
    }
    let mut answer = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        metrics.peer_bytes_received("answer", chunk.len());
        if answer.len() + chunk.len() > LONGEST_ANSWER {
            return Err(endless());
        }
        answer.extend_from_slice(&chunk);
    }
    decode_answer(&Bytes::from(answer)).map_err(|error| garbage(format!("the answer is none: {error}")))
}
