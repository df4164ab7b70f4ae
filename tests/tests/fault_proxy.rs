//! The proxy's faults, as an HTTP client in front of a real VictoriaMetrics sees them.

#![allow(clippy::unwrap_used, reason = "functions that tests share are tests, too")]

use std::time::{Duration, Instant};

use tests::fault_proxy::{Fault, FaultProxy};
use tests::http::{Endpoint, HttpError};
use tests::series::Series;
use tests::victoria_metrics::VictoriaMetrics;

const SOON: Duration = Duration::from_secs(10);

async fn start() -> (VictoriaMetrics, FaultProxy, Endpoint) {
    let tsdb = VictoriaMetrics::start().await.unwrap();
    let proxy = FaultProxy::start(tsdb.address()).await.unwrap();
    let through = Endpoint::new(proxy.address());
    (tsdb, proxy, through)
}

fn samples(count: i64) -> Series {
    Series::new("load", &[], (0..count).map(|index| (1_700_000_000_000 + index * 1000, index as f64)))
}

fn status(result: Result<bytes::Bytes, HttpError>) -> Option<u16> {
    match result {
        Err(HttpError::Status { status, .. }) => Some(status.as_u16()),
        _ => None,
    }
}

#[tokio::test]
async fn without_a_fault_requests_and_answers_pass_unchanged() {
    let (tsdb, proxy, through) = start().await;
    let series = samples(5000);
    through.post("/api/v1/import", &[], series.import_line()).await.unwrap();
    tsdb.force_flush().await.unwrap();
    let direct = tsdb.endpoint().get("/api/v1/export", &[("match[]", "load")]).await.unwrap();
    let passed = through.get("/api/v1/export", &[("match[]", "load")]).await.unwrap();
    assert_eq!(passed, direct);
    assert_eq!((proxy.requests("/api/v1/"), proxy.requests("/api/v1/import")), (2, 1));
}

#[tokio::test]
async fn a_status_is_answered_on_its_path_only_and_until_it_is_taken_back() {
    let (tsdb, proxy, through) = start().await;
    for code in [429, 503, 400, 422, 413] {
        proxy.set_path("/api/v1/import", Fault::Answer(code, "no".to_owned()));
        assert_eq!(status(through.post("/api/v1/import", &[], samples(1).import_line()).await), Some(code));
    }
    assert!(through.answers("/health").await);
    proxy.set(Fault::None);
    through.post("/api/v1/import", &[], samples(3).import_line()).await.unwrap();
    tsdb.force_flush().await.unwrap();
    assert_eq!(tsdb.export("load").await.unwrap(), [samples(3)]);
}

#[tokio::test]
async fn resets_and_truncated_answers_are_errors_and_never_short_answers() {
    let (tsdb, proxy, through) = start().await;
    tsdb.import(&[samples(5000)]).await.unwrap();
    tsdb.force_flush().await.unwrap();
    for fault in [Fault::Reset, Fault::Truncate(0), Fault::Truncate(1000)] {
        proxy.set(fault.clone());
        let result = through.get("/api/v1/export", &[("match[]", "load")]).await;
        assert!(matches!(result, Err(HttpError::Request { .. })), "{fault:?}: {result:?}");
    }
}

#[tokio::test]
async fn a_lost_answer_still_reaches_the_server() {
    let (tsdb, proxy, through) = start().await;
    proxy.set(Fault::LoseAnswer);
    assert!(through.post("/api/v1/import", &[], samples(3).import_line()).await.is_err());
    tsdb.force_flush().await.unwrap();
    assert_eq!(tsdb.export("load").await.unwrap(), [samples(3)]);
}

#[tokio::test]
async fn a_half_open_request_waits_until_the_fault_changes() {
    let (_tsdb, proxy, through) = start().await;
    proxy.set(Fault::HalfOpen);
    let request = tokio::spawn(async move { through.answers("/health").await });
    while proxy.requests("/health") == 0 {
        tokio::task::yield_now().await;
    }
    assert!(!request.is_finished());
    proxy.set(Fault::None);
    assert!(!tokio::time::timeout(SOON, request).await.unwrap().unwrap());
}

#[tokio::test]
async fn a_delayed_request_is_answered_late() {
    let (_tsdb, proxy, through) = start().await;
    proxy.set(Fault::Delay(Duration::from_millis(300)));
    let begin = Instant::now();
    assert!(through.answers("/health").await);
    assert!(begin.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_server_that_is_gone_looks_like_a_reset_and_requests_can_be_awaited() {
    let (mut tsdb, proxy, through) = start().await;
    tsdb.stop().await;
    let (seen, answered) = tokio::join!(proxy.further_requests("/health", 1, SOON), through.get("/health", &[]));
    assert!(seen && matches!(answered, Err(HttpError::Request { .. })));
    tsdb.restart().await.unwrap();
    assert!(through.answers("/health").await);
}

#[tokio::test]
async fn a_fault_of_one_client_leaves_the_others_alone() {
    let (_tsdb, proxy, through) = start().await;
    proxy.set_bearer("one", Fault::Answer(503, "busy".to_owned()));
    let health = async |token: &str| {
        let request = reqwest::Client::new().get(format!("{}/health", proxy.url())).bearer_auth(token);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!((health("one").await, health("other").await), (503, 200));
    assert!(through.answers("/health").await);
    proxy.set(Fault::None);
    assert_eq!(health("one").await, 200);
}
