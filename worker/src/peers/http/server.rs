//! Where the other workers ask: a listener of its own, which scrapers cannot keep busy.

#![expect(clippy::disallowed_methods, reason = "how long an asking worker waits is no part of the loop")]

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{FromRequest, Path, Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{any, post},
};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::token::Token;
use crate::{
    http::{
        HttpError, Limits,
        listener::{Running, bind, limited, refusal},
    },
    metrics::Metrics,
    peers::{
        Answer, Member,
        encoding::{LONGEST_QUESTION, PROTOCOL_VERSION, Question, decode_question, encode_answer},
    },
};

/// So many questions wait for the loop; further ones are refused.
pub const WAITING_QUESTIONS: usize = 256;
/// A question that the loop has not answered within this time is given up.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Why a question is not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// Not now, but perhaps soon.
    #[must_use]
    pub fn not_now(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }
}

/// A question on its way to the loop, which alone knows the answer.
#[derive(Debug)]
pub struct Asked {
    question: Question,
    reply: oneshot::Sender<Result<Vec<u8>, Refusal>>,
}

impl Asked {
    /// Whether nobody waits for the answer any more.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        self.reply.is_closed()
    }

    /// Answers it, if it is one for this worker. Nothing is done for an asking worker that has given up meanwhile.
    pub fn answer(self, own: Member, answer: impl FnOnce(&Question) -> Result<Answer, Refusal>) {
        if self.is_given_up() {
            return;
        }
        let reply = is_for(own, &self.question).and_then(|()| answer(&self.question)).and_then(|answer| {
            encode_answer(&answer).map_err(|error| {
                tracing::error!(job = self.question.job, "the answer to {} is not sent: {error}", self.question.from);
                Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the answer is not sent: {error}"))
            })
        });
        // Nobody waits for it any more only if the asking worker has given up.
        let _ = self.reply.send(reply);
    }
}

/// Whether the worker `own` answers this question: it is asked itself, by another rank of its shard, or by another shard
/// about what moves between shards.
fn is_for(own: Member, question: &Question) -> Result<(), Refusal> {
    let Question { from, to, .. } = question;
    let message = if *to != own {
        format!("this is {own}, but {to} is asked: a wrong name leads here, or two workers have one identity")
    } else if *from == own {
        format!("the asking worker says that it is {own}, which is this one: two workers have one identity")
    } else if from.shard != own.shard && !question.request.is_for_other_shards() {
        format!("{own} answers this to ranks of its own shard only, not to {from}")
    } else {
        return Ok(());
    };
    Err(Refusal::new(StatusCode::CONFLICT, message))
}

/// What the routes need.
#[derive(Debug, Clone)]
pub struct Reception {
    /// Who may ask.
    pub token: Arc<Token>,
    /// To the loop.
    pub questions: mpsc::Sender<Asked>,
    /// Counts what is asked.
    pub metrics: Arc<Metrics>,
}

/// The running listener. It stops when this is dropped, without waiting.
#[derive(Debug)]
pub struct PeerServer {
    _running: Running,
}

impl PeerServer {
    /// Listens on an address and port.
    ///
    /// # Errors
    /// [`HttpError::Bind`] names the address.
    pub fn start(addr: &str, port: u16, reception: Reception) -> Result<Self, HttpError> {
        let (listener, address) = bind("peers.listen", addr, port)?;
        let limits = Limits { body_bytes: LONGEST_QUESTION, ..Limits::default() };
        let counted = middleware::from_fn_with_state(reception.clone(), count);
        let routes = limited(routes(), &limits).layer(counted).with_state(reception);
        let running = Running::start("peers", vec![(listener, routes)], &limits)?;
        tracing::info!(%address, "Listening for other workers on http://{address}");
        Ok(Self { _running: running })
    }
}

fn routes() -> Router<Reception> {
    Router::new()
        .route(&format!("/peers/v{PROTOCOL_VERSION}/ask"), post(ask))
        .route("/peers/{version}/{*rest}", any(other_version))
}

async fn count(State(reception): State<Reception>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    reception.metrics.peer_asked(response.status().as_str());
    response
}

async fn other_version(Path((version, _)): Path<(String, String)>) -> Response {
    let own = format!("v{PROTOCOL_VERSION}");
    let message = match version == own {
        true => format!("no such route: this worker answers POST /peers/{own}/ask"),
        false => {
            format!("this worker speaks version {PROTOCOL_VERSION} of the protocol (/peers/{own}), not {version:?}")
        }
    };
    refusal(StatusCode::NOT_FOUND, &message)
}

async fn ask(State(reception): State<Reception>, request: Request) -> Response {
    match reception.ask(request).await {
        Ok(answer) => ([(header::CONTENT_TYPE, "application/octet-stream")], answer).into_response(),
        Err(Refusal { status, message }) => refusal(status, &message),
    }
}

impl Reception {
    async fn ask(&self, request: Request) -> Result<Vec<u8>, Refusal> {
        let authorization = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
        if !self.token.admits(authorization) {
            let message = match authorization {
                Some(_) => "the token is not the one that the workers share",
                None => "the token of the workers is missing (Authorization: Bearer)",
            };
            return Err(Refusal::new(StatusCode::UNAUTHORIZED, message));
        }
        let body = Bytes::from_request(request, &()).await.map_err(|rejection| {
            let message = match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => format!("a question has at most {LONGEST_QUESTION} bytes"),
                _ => rejection.body_text(),
            };
            Refusal::new(rejection.status(), message)
        })?;
        self.metrics.peer_bytes_received("question", body.len());
        let question = decode_question(&body)
            .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, format!("the question is none: {error}")))?;
        let (reply, answered) = oneshot::channel();
        self.questions.try_send(Asked { question, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refusal::not_now("too many questions wait for an answer"),
            mpsc::error::TrySendError::Closed(_) => Refusal::not_now("this worker is stopping"),
        })?;
        match tokio::time::timeout(ANSWER_WITHIN, answered).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => Err(Refusal::not_now("this worker is stopping")),
            Err(_) => Err(Refusal::not_now(format!("this worker has been busy for longer than {ANSWER_WITHIN:?}"))),
        }
    }
}
