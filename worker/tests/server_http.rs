//! The HTTP server over real connections.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test fails by panicking, and waits for clients")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::contract::CONTRACT_VERSION;
use config::status::{ConfigStatus, JobPhase, JobStatus, NotReady, NotReadyReason, ReloadState, Status};
use config::worker::Server;
use detect::calendar::Zone;
use detect::score::Interval;
use serde_json::Value;
use tokio::sync::watch;
use worker::alarms::{Excursion, Listed, OpenAlarms};
use worker::http::{HttpError, HttpOptions, HttpServer, Limits};
use worker::labels::Labels;
use worker::logging::Redactor;
use worker::metrics::Metrics;

fn status(ready: bool) -> Status {
    Status {
        contract_version: CONTRACT_VERSION,
        worker_version: "1.2.3".into(),
        shard: 0,
        rank: 0,
        ranks: 1,
        epoch: 1,
        shards: 1,
        ready,
        not_ready: vec![],
        config: ConfigStatus {
            digest: "00ff".into(),
            revision: None,
            generation: 0,
            reload: ReloadState::None,
            last_error: None,
            applied_at_ms: None,
        },
        state_folder: None,
        jobs: vec![],
    }
}

fn options(path_prefix: &str) -> (HttpOptions, watch::Sender<Status>) {
    let (publish, status) = watch::channel(status(true));
    let options = HttpOptions {
        server: Server { addr: "127.0.0.1".into(), port: 0, path_prefix: path_prefix.into() },
        pull: None,
        limits: Limits::default(),
        metrics: Arc::new(Metrics::new("default", "1.2.3", 0).unwrap()),
        status,
        alarms: Arc::default(),
        redactor: Redactor::new(),
    };
    (options, publish)
}

/// One request, (status, header, body); it blocks the whole thread.
fn request(address: SocketAddr, line: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{line} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (header, body) = text.split_once("\r\n\r\n").unwrap();
    (header.split(' ').nth(1).unwrap().parse().unwrap(), header.to_ascii_lowercase(), body.to_owned())
}

fn json(address: SocketAddr, path: &str) -> (u16, Value) {
    let (code, _, body) = request(address, &format!("GET {path}"));
    (code, serde_json::from_str(&body).unwrap())
}

#[tokio::test]
async fn a_usual_client_gets_every_route_over_one_connection() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (options, _publish) = options("");
    let server = HttpServer::start(options).unwrap();
    let client = reqwest::Client::new();
    for (path, content_type) in [
        ("metrics", "text/plain; version=0.0.4; charset=utf-8"),
        ("health", "application/json"),
        ("ready", "application/json"),
        ("status", "application/json"),
    ] {
        let response = client.get(format!("http://{}/{path}", server.address())).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &content_type.parse().unwrap())
        );
        assert!(!response.text().await.unwrap().is_empty());
    }
    server.stop().await;
}

#[tokio::test]
async fn it_answers_while_the_loop_computes() {
    let (options, _publish) = options("");
    let server = HttpServer::start(options).unwrap();
    // This blocks the only thread of this runtime.
    assert_eq!(request(server.address(), "GET /health").0, 200);
    assert!(request(server.address(), "GET /metrics").2.contains("vmanomaly_version_info{version=\"1.2.3\"} 1"));
}

#[tokio::test]
async fn readiness_and_status_are_what_the_loop_published_last_without_secrets() {
    let (options, publish) = options("");
    options.redactor.register("pa55word");
    let server = HttpServer::start(options).unwrap();
    assert_eq!(json(server.address(), "/ready"), (200, serde_json::json!({ "ready": true, "reasons": [] })));
    let mut waiting = status(false);
    let message = "http://me:secret@tsdb says pa55word is wrong".to_owned();
    waiting.not_ready = vec![NotReady { reason: NotReadyReason::Restoring, message: message.clone() }];
    waiting.config.last_error = Some(message.clone());
    waiting.jobs.push(JobStatus {
        epoch: 0,
        open_handovers: 0,
        scheduler: "s".into(),
        query: "cpu".into(),
        phase: JobPhase::StandingStill,
        last_written_tick_ms: None,
        position_ms: None,
        chain: None,
        next_tick_ms: None,
        lag_ms: 0,
        active_series: 3,
        refused_series: 0,
        collided_series: 0,
        counters_without_rate: false,
        beyond_alarm_budget: false,
        skipped_ticks: 0,
        last_error: Some(message),
        last_error_kind: None,
        models: Default::default(),
    });
    publish.send_replace(waiting);
    let (code, reasons) = json(server.address(), "/ready");
    assert_eq!((code, &reasons["reasons"][0]["reason"]), (503, &"restoring".into()));
    let (code, answer) = json(server.address(), "/status");
    assert_eq!((code, &answer["jobs"][0]["active_series"]), (200, &3.into()));
    for text in [reasons.to_string(), answer.to_string()] {
        assert!(text.contains("[redacted]") && !text.contains("pa55word") && !text.contains("me:secret"), "{text}");
    }
}

#[tokio::test]
async fn alarms_are_listed_by_query_model_and_labels_highest_score_first() {
    let (options, _publish) = options("");
    let board = options.alarms.clone();
    let server = HttpServer::start(options).unwrap();
    let list = |query: &str| json(server.address(), &format!("/api/v1/alarms{query}"));
    assert_eq!(list(""), (200, serde_json::json!({ "total": 0, "alarms": [] })));

    let mut open = OpenAlarms::default();
    for (instance, score) in [("a", 2.0), ("b", 3.25), ("c", 1.5)] {
        let expected = Some(Interval { yhat: 15.0, lower: 10.0, upper: 20.0 });
        let excursion =
            Excursion { time: 60_000, score, value: Some(50.0), expected, yardstick: None, channels: Vec::new() };
        open.note("m", &Labels::new([("instance", instance)]), &[excursion], 1);
    }
    let list_of = |query: &str, most: usize| open.list(("s", query), Zone::default(), most);
    board.show("s/cpu", list_of("cpu", 2));
    board.show("s/disk", list_of("disk", 10));
    let (_, answer) = list("?query=cpu&limit=1");
    assert_eq!((&answer["total"], answer["alarms"].as_array().unwrap().len()), (&3.into(), 1));
    let first = serde_json::json!({
        "scheduler": "s", "query": "cpu", "model": "m", "labels": { "instance": "b" }, "since_ms": 60_000,
        "last_ms": 60_000, "score": 3.25, "peak_score": 3.25, "value": 50.0, "expected": 15.0, "expected_lower": 10.0,
        "expected_upper": 20.0, "sentence": "score 3.25, expected 10 to 20, was 50",
    });
    assert_eq!(answer["alarms"][0], first);
    let (_, answer) = list("?label=instance%3Da&label=job%3D&model=m&scheduler=s");
    assert_eq!((&answer["total"], &answer["alarms"][1]["query"]), (&2.into(), &"disk".into()));
    for (query, named) in [("?instance=a", "instance"), ("?label=a", "name=value"), ("?limit=-1", "-1")] {
        let (code, answer) = list(query);
        assert!(code == 400 && answer["error"].as_str().unwrap().contains(named), "{answer}");
    }
    board.show("s/disk", Listed::default());
    assert_eq!(list("?query=disk").1["total"], 0);
}

#[tokio::test]
async fn every_route_is_below_the_prefix_which_may_have_any_characters() {
    for prefix in ["/a/b", "a/{b}/", "/*x"] {
        let (options, _publish) = options(prefix);
        let server = HttpServer::start(options).unwrap();
        let path = format!("/{}/health", prefix.trim_matches('/'));
        assert_eq!(json(server.address(), &path).0, 200);
        let (code, body) = json(server.address(), "/health");
        assert_eq!((code, body), (404, serde_json::json!({ "error": "no such route: /health" })));
        assert_eq!(json(server.address(), &format!("{path}/more")).0, 404);
    }
}

#[tokio::test]
async fn a_wrong_method_is_refused_in_json() {
    let (options, _publish) = options("");
    let server = HttpServer::start(options).unwrap();
    let (code, header, body) = request(server.address(), "POST /metrics");
    assert_eq!(code, 405);
    assert!(header.contains("allow: get") && body.contains("does not allow POST"), "{header} {body}");
}

#[tokio::test]
async fn the_second_listener_has_metrics_and_health_with_and_without_the_prefix() {
    let (mut options, _publish) = options("/p");
    options.pull = Some(("127.0.0.1".into(), 0));
    let server = HttpServer::start(options).unwrap();
    let pull = server.pull_address().unwrap();
    for (path, code) in [("/metrics", 200), ("/p/metrics", 200), ("/p/health", 200), ("/p/status", 404)] {
        assert_eq!(request(pull, &format!("GET {path}")).0, code, "{path}");
    }
}

#[tokio::test]
async fn the_same_address_for_both_is_one_listener() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (mut options, _publish) = options("");
    options.server.port = port;
    options.pull = Some(("127.0.0.1".into(), port));
    let server = HttpServer::start(options).unwrap();
    assert_eq!((server.address().port(), server.pull_address()), (port, None));
}

#[tokio::test]
async fn the_server_that_listens_on_every_address_is_reached_by_ipv4_and_ipv6() {
    let (mut options, _publish) = options("");
    options.server.addr = "::".into();
    let server = HttpServer::start(options).unwrap();
    let port = server.address().port();
    assert_eq!(request((Ipv4Addr::LOCALHOST, port).into(), "GET /health").0, 200);
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        assert_eq!(request((Ipv6Addr::LOCALHOST, port).into(), "GET /health").0, 200);
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_named_with_its_key() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (mut of_server, _publish) = options("");
    of_server.server.port = port;
    let (mut of_pull, _publish) = options("");
    of_pull.pull = Some(("127.0.0.1".into(), port));
    for (options, key) in [(of_server, "server.port"), (of_pull, "monitoring.pull.port")] {
        let error = HttpServer::start(options).unwrap_err();
        assert!(matches!(error, HttpError::Bind { .. }));
        let message = error.to_string();
        assert!(message.contains(key) && message.contains(&format!("127.0.0.1:{port}")), "{message}");
    }
}

#[tokio::test]
async fn a_stopped_server_finishes_idle_connections_and_frees_its_port() {
    let (options, _publish) = options("");
    let server = HttpServer::start(options).unwrap();
    let address = server.address();
    let mut idle = TcpStream::connect(address).unwrap();
    assert_eq!(request(address, "GET /health").0, 200);
    let begin = Instant::now();
    server.stop().await;
    assert!(begin.elapsed() < Limits::default().grace);
    assert_eq!(idle.read(&mut [0]).unwrap(), 0, "closed");
    TcpListener::bind(address).unwrap();
}

#[tokio::test]
async fn a_client_that_sends_its_header_slowly_is_cut_off_and_hinders_nobody() {
    let (mut options, _publish) = options("");
    options.limits.connections = 2;
    options.limits.header_timeout = Duration::from_millis(200);
    let server = HttpServer::start(options).unwrap();
    let mut slow = [(); 2].map(|()| TcpStream::connect(server.address()).unwrap());
    for stream in &mut slow {
        stream.write_all(b"GET /health HTTP/1.1\r\nHo").unwrap();
    }
    // All places are taken until the slow ones are cut off.
    assert_eq!(request(server.address(), "GET /health").0, 200);
    for stream in &mut slow {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.is_empty() || answer.contains("408"), "{answer}");
    }
}

#[tokio::test]
async fn a_header_that_is_too_large_is_refused() {
    let (options, _publish) = options("");
    let server = HttpServer::start(options).unwrap();
    let (code, _, _) = request(server.address(), &format!("GET /{}", "x".repeat(40_000)));
    assert!(matches!(code, 414 | 431), "{code}");
}

#[tokio::test]
async fn a_connection_ends_after_its_lifetime() {
    let (mut options, _publish) = options("");
    options.limits.connection_lifetime = Duration::from_millis(50);
    let server = HttpServer::start(options).unwrap();
    let mut idle = TcpStream::connect(server.address()).unwrap();
    assert_eq!(idle.read(&mut [0]).unwrap(), 0);
}
