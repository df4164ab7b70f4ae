//! Workers that ask each other over real connections.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and has files of its own"
)]

use std::{
    future::Future,
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};

use config::{load::Source, topology::Topology};
use tempfile::TempDir;
use tokio::sync::mpsc;
use worker::{
    environment::Peers,
    logging::Redactor,
    metrics::Metrics,
    peers::{
        Answer, Member, PeerError, Request,
        encoding::{LONGEST_QUESTION, Question, encode_question},
        http::{Asked, HttpPeers, Link, LinkError, Refusal, WAITING_QUESTIONS},
    },
};

const FIRST: Member = Member { shard: 0, rank: 0 };
const SECOND: Member = Member { shard: 0, rank: 1 };
const REQUEST: Request = Request::Fit { fitted_to: 7, block: 0 };

/// One worker's end.
struct End {
    link: Link,
    peers: HttpPeers,
    questions: mpsc::Receiver<Asked>,
    metrics: Arc<Metrics>,
}

impl End {
    fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let metrics = Arc::new(Metrics::new("default", "1.2.3", 0).unwrap());
        let (questioner, questions) = mpsc::channel(WAITING_QUESTIONS);
        let peers = HttpPeers::new(metrics.clone());
        let link = Link::new(peers.clone(), questioner, metrics.clone(), Redactor::new());
        Self { link, peers, questions, metrics }
    }

    /// Answers everything as the worker `own` would who knows nothing yet, until `done` is.
    async fn answering<T>(&mut self, own: Member, done: impl Future<Output = T>) -> T {
        tokio::pin!(done);
        loop {
            tokio::select! {
                Some(asked) = self.questions.recv() => asked.answer(own, |_| Ok(Answer::Later)),
                value = &mut done => return value,
            }
        }
    }

    fn metric(&self, line: &str) -> bool {
        self.metrics.encode().unwrap().lines().any(|found| found == line)
    }
}

/// A folder with a token, and a port that is free on all loopback addresses that are used here.
fn place() -> (TempDir, u16) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "shared").unwrap();
    let port = TcpListener::bind("127.78.0.0:0").unwrap().local_addr().unwrap().port();
    (folder, port)
}

fn topology((folder, port): &(TempDir, u16)) -> Topology {
    let token = folder.path().join("token");
    let peers = format!(
        "{{url: 'http://127.78.{{shard}}.{{rank}}:{port}', listen: '127.78.{{shard}}.{{rank}}:{port}', token_file: '{}'}}",
        token.display()
    );
    let text = format!("epoch: 3\nshards: 2\nranks: 2\npeers: {peers}\n");
    Topology::parse(&Source::new("topology.yaml", text.into_bytes())).unwrap()
}

async fn post(port: u16, path: &str, token: Option<&str>, body: Vec<u8>) -> (u16, String) {
    let request = reqwest::Client::new().post(format!("http://127.78.0.0:{port}{path}")).body(body);
    let request = if let Some(token) = token { request.bearer_auth(token) } else { request };
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

fn question(from: Member, to: Member) -> Vec<u8> {
    let question = Question { from, to, epoch: 3, shards: 2, job: "s/q".to_owned(), request: REQUEST };
    encode_question(&question).unwrap()
}

#[tokio::test]
async fn a_question_reaches_the_rank_that_it_is_for_and_its_answer_comes_back() {
    let place = place();
    let (mut first, mut second) = (End::new(), End::new());
    first.link.follow(&topology(&place), FIRST).unwrap();
    second.link.follow(&topology(&place), SECOND).unwrap();
    let asking = first.peers.clone();
    let answer = second.answering(SECOND, asking.ask(SECOND, "s/q", &REQUEST)).await;
    assert!(matches!(answer, Ok(Answer::Later)), "{answer:?}");
    assert!(first.metric("vmanomaly_peer_requests_total{preset=\"default\",result=\"ok\"} 1"));
    assert!(second.metric("vmanomaly_peer_questions_total{preset=\"default\",status=\"200\"} 1"));
    let question = question(FIRST, SECOND).len();
    assert!(
        second
            .metric(&format!("vmanomaly_peer_received_bytes_total{{kind=\"question\",preset=\"default\"}} {question}"))
    );
}

#[tokio::test]
async fn whatever_is_no_question_for_this_worker_is_refused_with_a_status_and_a_sentence() {
    let place = place();
    let mut end = End::new();
    end.link.follow(&topology(&place), FIRST).unwrap();
    let port = place.1;
    let (ask, token, other) = ("/peers/v1/ask", Some("shared"), Member { shard: 1, rank: 0 });
    let cases = [
        (ask, None, question(SECOND, FIRST), 401, "is missing"),
        (ask, Some("share"), question(SECOND, FIRST), 401, "not the one that the workers share"),
        ("/peers/v2/ask", token, vec![], 404, "this worker speaks version 1 of the protocol"),
        ("/peers/v1/tell", token, vec![], 404, "POST /peers/v1/ask"),
        ("/metrics", token, vec![], 404, "no such route"),
        (ask, token, b"\x02".to_vec(), 400, "version 2 of the protocol"),
        (ask, token, b"\x01nonsense".to_vec(), 400, "cannot be read"),
        (ask, token, question(SECOND, other), 409, "this is shard 0 rank 0, but shard 1 rank 0 is asked"),
        (ask, token, question(FIRST, FIRST), 409, "two workers have one identity"),
        (ask, token, question(other, FIRST), 409, "ranks of its own shard only, not to shard 1 rank 0"),
        (ask, token, vec![1; LONGEST_QUESTION + 1], 413, "at most 1048576 bytes"),
    ];
    for (path, token, body, status, words) in cases {
        let (found, text) = end.answering(FIRST, post(port, path, token, body)).await;
        let error = serde_json::from_str::<serde_json::Value>(&text).unwrap()["error"].as_str().unwrap().to_owned();
        assert!(found == status && error.contains(words), "{status} {words}: {found} {error}");
    }
    let get = reqwest::get(format!("http://127.78.0.0:{port}{ask}")).await.unwrap();
    assert_eq!(get.status(), 405);
    assert!(end.metric("vmanomaly_peer_questions_total{preset=\"default\",status=\"409\"} 3"));
    assert!(end.metric("vmanomaly_peer_questions_total{preset=\"default\",status=\"401\"} 2"));
}

#[tokio::test]
async fn a_worker_that_is_busy_or_stops_says_so_and_is_not_taken_for_one_that_refuses() {
    let place = place();
    let (mut first, mut second) = (End::new(), End::new());
    first.link.follow(&topology(&place), FIRST).unwrap();
    second.link.follow(&topology(&place), SECOND).unwrap();
    let asking = first.peers.clone();
    let stopping = async {
        let asked = second.questions.recv().await.unwrap();
        asked.answer(SECOND, |_| Err(Refusal::not_now("this worker is stopping")));
    };
    let (answer, ()) = tokio::join!(asking.ask(SECOND, "s/q", &REQUEST), stopping);
    assert!(
        matches!(&answer, Err(PeerError::Unreachable { message, .. }) if message.contains("stopping")),
        "{answer:?}"
    );
    let answer = asking.ask(SECOND, "s/q", &REQUEST).await;
    assert!(matches!(&answer, Err(PeerError::Unreachable { message, .. }) if message.contains("busy")), "{answer:?}");
    assert!(second.metric("vmanomaly_peer_questions_total{preset=\"default\",status=\"503\"} 2"));
}

#[tokio::test]
async fn a_question_that_is_given_up_is_cancelled_and_counted() {
    let place = place();
    let (mut first, mut second) = (End::new(), End::new());
    first.link.follow(&topology(&place), FIRST).unwrap();
    second.link.follow(&topology(&place), SECOND).unwrap();
    let asking = first.peers.clone();
    let asked = tokio::select! {
        answer = asking.ask(SECOND, "s/q", &REQUEST) => panic!("{answer:?}"),
        asked = second.questions.recv() => asked.unwrap(),
    };
    assert!(first.metric("vmanomaly_peer_requests_total{preset=\"default\",result=\"unreachable\"} 1"));
    let begin = Instant::now();
    while !asked.is_given_up() && begin.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    asked.answer(SECOND, |_| panic!("nobody waits for it"));
}

#[tokio::test]
async fn a_listener_moves_with_the_topology_and_stays_where_the_new_place_cannot_be_had() {
    let (here, there, taken) = (place(), place(), TcpListener::bind("127.78.0.0:0").unwrap());
    let mut end = End::new();
    end.link.follow(&topology(&here), FIRST).unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = end.link.follow(&topology(&(tempfile::tempdir().unwrap(), port)), FIRST).unwrap_err();
    assert!(matches!(error, LinkError::Token(_)) && error.to_string().starts_with("peers.token_file: "), "{error}");
    let (folder, _) = place();
    let error = end.link.follow(&topology(&(folder, port)), FIRST).unwrap_err().to_string();
    assert!(error.starts_with(&format!("peers.listen: cannot listen on 127.78.0.0:{port}: ")), "{error}");
    let ask = |port| post(port, "/peers/v1/ask", Some("shared"), question(SECOND, FIRST));
    assert_eq!(end.answering(FIRST, ask(here.1)).await.0, 200);

    end.link.follow(&topology(&there), FIRST).unwrap();
    assert_eq!(end.answering(FIRST, ask(there.1)).await.0, 200);
    let begin = Instant::now();
    while TcpListener::bind(("127.78.0.0", here.1)).is_err() {
        assert!(begin.elapsed() < Duration::from_secs(5), "the former listener goes on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    end.link.follow(&Topology::default(), FIRST).unwrap();
    let answer = end.peers.ask(SECOND, "s/q", &REQUEST).await;
    assert!(matches!(answer, Err(PeerError::Unreachable { .. })), "{answer:?}");
}
