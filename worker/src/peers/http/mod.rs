//! Questions and answers over HTTP: `POST /peers/v1/ask`.

mod client;
mod server;
mod token;

use std::sync::Arc;

use config::topology::{Peers, Topology};
use tokio::sync::mpsc;

pub use client::HttpPeers;
pub use server::{Asked, Refusal, WAITING_QUESTIONS};
pub use token::TokenError;

use super::message::Member;
use crate::{http::HttpError, logging::Redactor, metrics::Metrics};
use client::Routes;
use server::{PeerServer, Reception};
use token::Token;

/// Why this worker and the others cannot talk.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// No address and port.
    #[error("peers.listen: `{listen}` must be an address and a port, as in `0.0.0.0:8491`")]
    Address {
        /// What it is for this worker.
        listen: String,
    },
    /// No listener.
    #[error(transparent)]
    Listen(#[from] HttpError),
    /// No client.
    #[error("peers.url: {message}")]
    Client {
        /// The system's words.
        message: String,
    },
}

/// This worker's end of the connections to the others: the listener, and the routes of its own questions.
#[derive(Debug)]
pub struct Link {
    peers: HttpPeers,
    questions: mpsc::Sender<Asked>,
    metrics: Arc<Metrics>,
    redactor: Redactor,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    listen: String,
    token: Arc<Token>,
    _server: PeerServer,
}

impl Link {
    /// A closed one. Questions of others will go to `questions`; `peers` is to ask them.
    #[must_use]
    pub fn new(peers: HttpPeers, questions: mpsc::Sender<Asked>, metrics: Arc<Metrics>, redactor: Redactor) -> Self {
        Self { peers, questions, metrics, redactor, open: None }
    }

    /// Goes on as `topology` says, as the worker `own`.
    ///
    /// # Errors
    /// The token, the listener or the client cannot be had; then everything stays as it was.
    pub fn follow(&mut self, topology: &Topology, own: Member) -> Result<(), LinkError> {
        let Some(Peers { url, listen, token_file }) = &topology.peers else {
            self.close();
            return Ok(());
        };
        let client = client::client(url).map_err(|message| LinkError::Client { message })?;
        let listen = listen.of(own.shard, own.rank);
        let token = match &self.open {
            Some(open) if open.listen == listen => {
                open.token.follow(token_file)?;
                open.token.clone()
            }
            _ => {
                let token = Arc::new(Token::open(token_file, self.redactor.clone())?);
                let address = listen.rsplit_once(':').and_then(|(addr, port)| Some((addr, port.parse().ok()?)));
                let (addr, port) = address.ok_or_else(|| LinkError::Address { listen: listen.clone() })?;
                let reception = Reception {
                    token: token.clone(),
                    questions: self.questions.clone(),
                    metrics: self.metrics.clone(),
                };
                let server = PeerServer::start(addr, port, reception)?;
                self.open = Some(Open { listen, token: token.clone(), _server: server });
                token
            }
        };
        let (epoch, shards) = (topology.epoch, topology.shards.get());
        self.peers.set_routes(Some((client, Routes { url: url.clone(), own, epoch, shards, token })));
        Ok(())
    }

    /// Neither asks nor listens any more.
    pub fn close(&mut self) {
        self.open = None;
        self.peers.set_routes(None);
    }
}
