use bytes::Bytes;
use worker::environment::WriteError;

use super::server::{Server, answer, matrix};
use super::*;

/// A file in a folder of its own.
pub struct File {
    folder: tempfile::TempDir,
}

impl File {
    pub fn new(text: &str) -> Self {
        let file = Self { folder: tempfile::tempdir().unwrap() };
        file.write(text);
        file
    }

    #[expect(clippy::disallowed_methods, reason = "the test's own file")]
    pub fn write(&self, text: &str) {
        std::fs::write(self.path(), text).unwrap();
    }

    #[expect(clippy::disallowed_methods, reason = "the test's own file")]
    pub fn remove(&self) {
        std::fs::remove_file(self.path()).unwrap();
    }

    pub fn path(&self) -> String {
        self.folder.path().join("file").to_str().unwrap().to_owned()
    }
}

async fn authorization(server: &Server, tsdb: &HttpTsdb) -> Option<String> {
    read(tsdb, &query(), 1).await.unwrap();
    server.requests().last().unwrap().headers.get("authorization").cloned()
}

#[tokio::test]
async fn requests_carry_the_configured_authorization() {
    let server = Server::always(answer("200 OK", &matrix(&[]))).await;
    let mut basic = reader(&server.url);
    (basic.client.user, basic.client.password) = (Some("user".into()), Some("pa:ss".into()));
    let mut bearer = reader(&server.url);
    bearer.client.bearer_token = Some("token".into());
    for (reader, expected) in [
        (reader(&server.url), None),
        // base64 of user:pa:ss
        (basic, Some("Basic dXNlcjpwYTpzcw==")),
        (bearer, Some("Bearer token")),
    ] {
        let tsdb = tsdb(&reader, &writer(&server.url));
        assert_eq!(authorization(&server, &tsdb).await.as_deref(), expected);
    }
}

#[tokio::test]
async fn a_secret_that_changes_in_its_file_is_used_at_the_next_request() {
    let server = Server::always(answer("200 OK", &matrix(&[]))).await;
    let file = File::new("pw\n");
    let mut basic = reader(&server.url);
    (basic.client.user, basic.client.password_file) = (Some("u".into()), Some(file.path()));
    let mut bearer = reader(&server.url);
    bearer.client.bearer_token_file = Some(file.path());
    let basic = tsdb(&basic, &writer(&server.url));
    let bearer = tsdb(&bearer, &writer(&server.url));
    // base64 of u:pw and u:new
    assert_eq!(authorization(&server, &basic).await.unwrap(), "Basic dTpwdw==");
    assert_eq!(authorization(&server, &bearer).await.unwrap(), "Bearer pw");
    file.write("new\r\n");
    assert_eq!(authorization(&server, &basic).await.unwrap(), "Basic dTpuZXc=");
    assert_eq!(authorization(&server, &bearer).await.unwrap(), "Bearer new");
}

#[tokio::test]
async fn a_secret_file_that_cannot_be_used_is_named_and_waited_for() {
    let server = Server::always(answer("200 OK", &matrix(&[]))).await;
    let file = File::new("hunter2\nhunter2\n");
    let (mut reader, mut writer) = (reader(&server.url), writer(&server.url));
    reader.client.bearer_token_file = Some(file.path());
    (writer.client.user, writer.client.password_file) = (Some("u".into()), Some(file.path()));
    let tsdb = tsdb(&reader, &writer);
    let (code, message) = unavailable(read(&tsdb, &query(), 1).await);
    assert!(code == "io_error" && message.contains(&file.path()) && !message.contains("hunter2"), "{message}");
    file.remove();
    let (code, message) = unavailable(read(&tsdb, &query(), 1).await);
    assert!(code == "io_error" && message.contains(&file.path()), "{message}");
    let outcome = tsdb.write(Bytes::from("x")).await;
    let names_the_file =
        matches!(&outcome, Err(WriteError::Unavailable { message, .. }) if message.contains(&file.path()));
    assert!(names_the_file, "{outcome:?}");
    file.write("token");
    read(&tsdb, &query(), 1).await.unwrap();
}
