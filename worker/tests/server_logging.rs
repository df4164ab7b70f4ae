//! What stands in the log.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tracing::{Dispatch, debug, error, info, info_span, warn};
use worker::logging::{LogFormat, LogLevel, Logging};

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Buffer {
    fn lines(&self) -> Vec<String> {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
    }
    fn json(&self) -> Vec<Value> {
        self.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
    fn messages(&self) -> Vec<String> {
        self.json().iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect()
    }
}

fn logging(level: LogLevel, format: LogFormat) -> (Logging, Dispatch, Buffer) {
    let buffer = Buffer::default();
    let (logging, dispatch) = Logging::to(buffer.clone(), level, format, || 1_700_000_000_123);
    (logging, dispatch, buffer)
}

fn component_levels(levels: &[(&str, &str)]) -> BTreeMap<String, String> {
    levels.iter().map(|(name, level)| ((*name).to_owned(), (*level).to_owned())).collect()
}

fn one_line_of_each_level_in_two_components() {
    debug!(target: "worker::reader::vm", "reader debug");
    info!(target: "worker::reader::vm", "reader info");
    debug!(target: "worker::writer::vm", "writer debug");
    info!(target: "worker::writer::vm", "writer info");
}

#[test]
fn a_line_is_a_flat_json_object_with_the_fields_of_its_spans() {
    let (_, dispatch, buffer) = logging(LogLevel::Info, LogFormat::Json);
    tracing::dispatcher::with_default(&dispatch, || {
        let span = info_span!("tick", query_key = "cpu", tick = 1, outcome = tracing::field::Empty);
        span.record("outcome", "written");
        let _entered = span.enter();
        warn!(target: "worker::reader::vm", series = 3, share = 0.5, odd = f64::NAN, tick = 2, level = "x", "two\n\"lines\"");
    });
    let expected = serde_json::json!({
        "timestamp": "2023-11-14T22:13:20.123Z", "level": "WARNING", "component": "reader.vm",
        "message": "two\n\"lines\"", "query_key": "cpu", "tick": 2, "outcome": "written", "series": 3, "share": 0.5,
        "odd": "NaN", "field_level": "x",
    });
    assert_eq!(buffer.json(), [expected]);
}

#[test]
fn levels_of_components_change_at_run_time_and_back() {
    let (logging, dispatch, buffer) = logging(LogLevel::Info, LogFormat::Json);
    tracing::dispatcher::with_default(&dispatch, || {
        one_line_of_each_level_in_two_components();
        logging.set_component_levels(&component_levels(&[("reader", "debug"), ("writer.vm", "ERROR")])).unwrap();
        one_line_of_each_level_in_two_components();
        logging.set_component_levels(&component_levels(&[("reader", "loud")])).unwrap_err();
        logging.set_component_levels(&BTreeMap::new()).unwrap();
        one_line_of_each_level_in_two_components();
    });
    let at_base = ["reader info", "writer info"];
    assert_eq!(buffer.messages(), [&at_base[..], &["reader debug", "reader info"], &at_base].concat());
}

#[test]
fn critical_is_above_error() {
    let (_, dispatch, buffer) = logging(LogLevel::Critical, LogFormat::Json);
    tracing::dispatcher::with_default(&dispatch, || {
        error!("an error");
        error!(critical = true, "the end");
    });
    assert_eq!(buffer.messages(), ["the end"]);
    assert_eq!(buffer.json()[0]["level"], "CRITICAL");
}

#[test]
fn no_secret_reaches_the_output_in_any_form_and_json_stays_json() {
    for format in [LogFormat::Json, LogFormat::Text] {
        let (logging, dispatch, buffer) = logging(LogLevel::Debug, format);
        let secret = r#"pa"ss\w/rd"#;
        logging.redactor().register_basic_auth("reader", secret);
        let failure = std::io::Error::other(format!("login with {secret} failed"));
        tracing::dispatcher::with_default(&dispatch, || {
            let _span = info_span!("read", password = secret).entered();
            error!(error = &failure as &dyn std::error::Error, echoed = ?format!("{{{secret:?}}}"), "sent {secret}");
            debug!(target: "worker::reader",
                url = "http://someone:else@host/",
                "Authorization: Bearer abc.def"
            );
        });
        let lines = buffer.lines();
        assert_eq!(lines.len(), 2, "{lines:?}");
        for part in ["w/rd", "someone", "else", "abc.def"] {
            assert!(!lines.concat().contains(part), "{part} in {lines:?}");
        }
        if format == LogFormat::Json {
            assert_eq!(buffer.json()[0]["error"], "login with [redacted] failed");
        }
    }
}

#[test]
fn a_text_line_is_one_line_whatever_a_server_answers() {
    let (_, dispatch, buffer) = logging(LogLevel::Info, LogFormat::Text);
    tracing::dispatcher::with_default(&dispatch, || {
        info!(target: "worker::reader::vm", answer = "a\nb", "bad\n\u{1b}[31manswer");
    });
    let expected = r#"2023-11-14T22:13:20.123Z INFO     reader.vm: bad\n\u{1b}[31manswer answer="a\nb""#;
    assert_eq!(buffer.lines(), [expected]);
}

#[test]
fn an_error_is_logged_with_its_causes() {
    #[derive(Debug, thiserror::Error)]
    #[error("the read failed")]
    struct Outer(#[source] std::io::Error);
    let (_, dispatch, buffer) = logging(LogLevel::Info, LogFormat::Json);
    tracing::dispatcher::with_default(&dispatch, || {
        let outer = Outer(std::io::Error::other("connection refused"));
        error!(error = &outer as &dyn std::error::Error, "no data");
    });
    assert_eq!(buffer.json()[0]["error"], "the read failed: connection refused");
}

#[test]
fn a_panic_is_a_critical_line_on_stderr_without_secrets() {
    const NAME: &str = "a_panic_is_a_critical_line_on_stderr_without_secrets";
    if std::env::var_os("PANIC").is_some() {
        let logging = Logging::install(LogLevel::Info, LogFormat::Json, || 0).unwrap();
        logging.redactor().register("hunter22");
        assert!(Logging::install(LogLevel::Info, LogFormat::Json, || 0).is_err());
        panic!("no way with hunter22");
    }
    // As a process of its own: logging is set up once a process.
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env("PANIC", "1")
        .output()
        .unwrap();
    let stderr = String::from_utf8(child.stderr).unwrap();
    let line: Value = stderr.lines().find_map(|line| serde_json::from_str(line).ok()).unwrap();
    assert_eq!((&line["level"], &line["message"]), (&"CRITICAL".into(), &"Panic: no way with [redacted]".into()));
    assert!(line["place"].as_str().unwrap().contains("server_logging.rs"), "{line}");
    assert!(!stderr.contains("hunter22"), "{stderr}");
}
