use bytes::Bytes;
use worker::environment::WriteError;

use super::server::{Act, Server, answer};
use super::*;

const BODY: &str = "{\"metric\":{},\"values\":[1],\"timestamps\":[1]}\n";

async fn write(tsdb: &HttpTsdb) -> Result<(), WriteError> {
    tsdb.write(Bytes::from(BODY)).await
}

#[tokio::test]
async fn lines_are_imported_as_they_are() {
    let server = Server::always(answer("204 No Content", "")).await;
    write(&tsdb_at(&server.url)).await.unwrap();
    let mut writer = writer(&server.url);
    writer.client.tenant_id = Some("multitenant".into());
    write(&tsdb(&reader(&server.url), &writer)).await.unwrap();
    let requests = server.requests();
    assert_eq!(requests[0].line, "POST /api/v1/import");
    assert_eq!(requests[1].line, "POST /insert/multitenant/prometheus/api/v1/import");
    assert!(requests.iter().all(|request| request.body == BODY));
}

#[tokio::test]
async fn statuses_tell_refused_from_too_large_from_an_outage() {
    for status in [400, 422] {
        let server = Server::always(answer(&format!("{status} No"), "bad line")).await;
        let outcome = write(&tsdb_at(&server.url)).await;
        assert_eq!(outcome, Err(WriteError::Refused { status, message: "bad line".into() }));
    }
    let server = Server::always(answer("413 Large", "")).await;
    let outcome = write(&tsdb_at(&server.url)).await;
    assert_eq!(outcome, Err(WriteError::TooLarge { message: "Payload Too Large".into() }));
    for status in ["302 Found", "401 No", "403 No", "404 No", "408 Late", "429 Slow down", "500 Oh", "503 Busy"] {
        let server = Server::always(answer(status, "")).await;
        let outcome = write(&tsdb_at(&server.url)).await;
        assert!(matches!(outcome, Err(WriteError::Unavailable { code, .. }) if code == status[..3]), "{status}");
        assert_eq!(server.requests().len(), 1, "{status} is no failure of the connection");
    }
}

#[tokio::test]
async fn a_broken_connection_is_tried_again_as_often_as_configured() {
    for (attempts, is_written) in [(1, false), (2, true)] {
        let server = Server::start(|index, _| match index {
            0 => vec![Act::Reset],
            1 => vec![Act::Close],
            _ => vec![Act::Send(answer("204 No Content", ""))],
        })
        .await;
        let mut writer = writer(&server.url);
        writer.connection_retry_attempts = attempts;
        let outcome = write(&tsdb(&reader(&server.url), &writer)).await;
        assert_eq!(outcome.is_ok(), is_written, "{outcome:?}");
        assert_eq!(server.requests().len(), attempts as usize + 1);
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_a_timeout_and_not_tried_again() {
    let server = Server::start(|_, _| vec![Act::Stall]).await;
    let mut writer = writer(&server.url);
    writer.client.timeout = 200;
    writer.connection_retry_attempts = 3;
    let outcome = write(&tsdb(&reader(&server.url), &writer)).await;
    assert!(matches!(&outcome, Err(WriteError::Unavailable { code, .. }) if code == "timeout"), "{outcome:?}");
    assert_eq!(server.requests().len(), 1);
}
