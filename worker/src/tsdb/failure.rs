//! What a failed request means: whether asking again can help.

use std::error::Error;
use std::io::ErrorKind;

use reqwest::header::LOCATION;
use reqwest::{Response, StatusCode};

use super::answer_error::AnswerError;
use super::endpoint::chain;
use crate::environment::{ReadError, WriteError};

/// Longest text of a server that is passed on, bytes.
const MAX_MESSAGE_BYTES: usize = 1024;
/// Longest body of an error answer that is read, bytes.
const MAX_ERROR_BODY_BYTES: usize = 64 << 10;

/// No connection, or it broke.
pub const CONNECTION_ERROR: &str = "connection_error";
/// Took too long.
pub const TIMEOUT: &str = "timeout";
/// The TLS handshake failed, or a record was wrong.
pub const SSL_ERROR: &str = "ssl_error";
/// Reading a file or sending or receiving failed in another way.
pub const IO_ERROR: &str = "io_error";
/// There is an answer, but it cannot be used.
pub const BAD_ANSWER: &str = "bad_answer";

/// The code and the message of a request that failed below HTTP.
#[must_use]
pub fn transport(error: reqwest::Error) -> (&'static str, String) {
    let address = error.url().and_then(|url| Some(format!("{}:{}: ", url.host_str()?, url.port_or_known_default()?)));
    let code = if error.is_timeout() {
        TIMEOUT
    } else if find_cause(&error, |cause| cause.is::<rustls::Error>().then_some(())).is_some() {
        SSL_ERROR
    } else if let Some(kind) =
        find_cause(&error, |cause| cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind))
    {
        match kind {
            ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::NotConnected
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::AddrNotAvailable => CONNECTION_ERROR,
            _ if error.is_connect() => CONNECTION_ERROR,
            _ => IO_ERROR,
        }
    } else if error.is_connect() || error.is_request() {
        // Without a system error: the server closed the connection, or what it sent is no HTTP.
        CONNECTION_ERROR
    } else {
        IO_ERROR
    };
    (code, shorten(address.unwrap_or_default() + &chain(error)))
}

/// The first answer of `pick` along the causes. An I/O error hides the error that it wraps from `source`.
fn find_cause<T>(error: &(dyn Error + 'static), pick: impl Fn(&(dyn Error + 'static)) -> Option<T>) -> Option<T> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(picked) = pick(error) {
            return Some(picked);
        }
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

/// What a read that failed below HTTP means.
#[must_use]
pub fn read_transport(error: reqwest::Error) -> ReadError {
    let (code, message) = transport(error);
    ReadError::Unavailable { code: code.into(), message }
}

/// What an answer to a read with a status other than 2xx means.
#[must_use]
pub fn read_status(status: StatusCode, message: String) -> ReadError {
    match status.as_u16() {
        status @ (400 | 422) => ReadError::Refused { status, message },
        status => ReadError::Unavailable { code: status.to_string(), message },
    }
}

/// What an answer with status 2xx means that cannot be used.
#[must_use]
pub fn read_answer(error: AnswerError) -> ReadError {
    match error {
        // Prometheus' names, and VictoriaMetrics' statuses.
        AnswerError::Reported { error_type, message } => match error_type.as_str() {
            "bad_data" | "400" => ReadError::Refused { status: 400, message: shorten(message) },
            "execution" | "422" => ReadError::Refused { status: 422, message: shorten(message) },
            _ => {
                ReadError::Unavailable { code: BAD_ANSWER.into(), message: shorten(format!("{error_type}: {message}")) }
            }
        },
        error => ReadError::Unavailable { code: BAD_ANSWER.into(), message: shorten(error.to_string()) },
    }
}

/// What a write that failed below HTTP means.
#[must_use]
pub fn write_transport(error: reqwest::Error) -> WriteError {
    let (code, message) = transport(error);
    WriteError::Unavailable { code: code.into(), message }
}

/// What an answer to a write with a status other than 2xx means.
#[must_use]
pub fn write_status(status: StatusCode, message: String) -> WriteError {
    match status.as_u16() {
        status @ (400 | 422) => WriteError::Refused { status, message },
        413 => WriteError::TooLarge { message },
        status => WriteError::Unavailable { code: status.to_string(), message },
    }
}

/// What the server says about a failure: the `error` of a JSON answer, else its text, else the name of its status.
pub async fn server_message(mut response: Response) -> String {
    let status = response.status();
    if status.is_redirection() {
        let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok()).unwrap_or("");
        // Query strings of login pages may carry secrets.
        let target = location.split(['?', '#']).next().unwrap_or("");
        return shorten(format!("redirects are not followed; this one leads to {target:?}"));
    }
    let mut body = Vec::new();
    // If the rest does not come, what is there has to do: the status is known.
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = MAX_ERROR_BODY_BYTES - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() >= room {
            break;
        }
    }
    let text = error_text(&body);
    if text.is_empty() { status.canonical_reason().unwrap_or("no message").into() } else { text }
}

fn error_text(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Answer {
        error: String,
    }
    match serde_json::from_slice::<Answer>(body) {
        Ok(answer) => shorten(answer.error),
        Err(_) => shorten(String::from_utf8_lossy(body).trim().to_owned()),
    }
}

fn shorten(mut text: String) -> String {
    if text.len() > MAX_MESSAGE_BYTES {
        text.truncate(text.floor_char_boundary(MAX_MESSAGE_BYTES - '…'.len_utf8()));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_s_words_are_passed_on_in_bounds() {
        assert_eq!(error_text(br#"{"status":"error","errorType":"422","error":"too many points"}"#), "too many points");
        assert_eq!(error_text(b" <html>502</html>\n"), "<html>502</html>");
        let long = error_text("ö".repeat(5000).as_bytes());
        assert!(long.len() <= MAX_MESSAGE_BYTES && long.ends_with("ö…"), "{long}");
    }

    #[test]
    fn an_error_that_is_reported_with_status_200_keeps_its_class() {
        let reported = |error_type: &str| {
            read_answer(AnswerError::Reported { error_type: error_type.into(), message: "m".into() })
        };
        assert_eq!(reported("bad_data"), ReadError::Refused { status: 400, message: "m".into() });
        assert_eq!(reported("422"), ReadError::Refused { status: 422, message: "m".into() });
        assert!(matches!(reported("timeout"), ReadError::Unavailable { .. }));
    }
}
