use detect::model::{MISSING, is_missing};

use super::server::{Act, DATE, Server, answer, matrix};
use super::*;

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[tokio::test]
async fn a_range_query_brings_columns_and_the_server_s_time() {
    let body = matrix(&[
        (r#"{"__name__":"m","a":"x"}"#, r#"[[1700000010,"1.5"],[1700000070,"NaN"]]"#),
        (r#"{"__name__":"m","a":"y"}"#, r#"[[1700000040,"+Inf"]]"#),
    ]);
    let server = Server::always(answer("200 OK", &body)).await;
    let mut reader = reader(&server.url);
    reader.extra_filters = vec!["{a=\"1\"}".into(), "{b=\"2\"}".into()];
    let mut query = query();
    query.max_lookback = Some(90_000);
    let tsdb = tsdb(&reader, &writer(&server.url));
    let mut asked = Vec::new();
    let range = RangeRead { query_alias: ALIAS, query: &query, grid: grid(3) };
    let answer = tsdb
        .read(&range, &mut |labels: &Labels| {
            asked.push(labels.to_string());
            labels.get("a") == Some("x")
        })
        .await
        .unwrap();

    assert_eq!(asked, [r#"m{a="x"}"#, r#"m{a="y"}"#]);
    assert_eq!(answer.series, [Labels::new([("__name__", "m"), ("a", "x")])]);
    assert_eq!(bits(&answer.values), bits(&[1.5, MISSING, f64::NAN]));
    assert!(!is_missing(answer.values[2]), "a NaN of the server is no gap");
    assert_eq!(answer.server_time, Some(DATE));
    let counted = (answer.received_bytes, answer.received_series, answer.received_samples, answer.invalid_samples);
    assert_eq!(counted, (body.len() as u64, 2, 3, 0));

    let [request] = server.requests().try_into().unwrap();
    assert_eq!(request.line, "POST /api/v1/query_range");
    assert_eq!(request.headers.get("accept-encoding"), None);
    let form = request.form();
    let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        form,
        [
            ("query", "sum(rate(x{a=\"b & c\"}[5m])) + 1"),
            ("start", "1700000010"),
            ("end", "1700000070"),
            ("step", "30"),
            ("nocache", "1"),
            ("latency_offset", "1ms"),
            ("max_lookback", "90000ms"),
            ("extra_filters[]", "{a=\"1\"}"),
            ("extra_filters[]", "{b=\"2\"}"),
        ]
    );
}

#[tokio::test]
async fn parameters_that_are_not_configured_are_not_sent() {
    let server = Server::always(answer("200 OK", &matrix(&[]))).await;
    let mut reader = reader(&server.url);
    reader.latency_offset = None;
    read(&tsdb(&reader, &writer(&server.url)), &query(), 1).await.unwrap();
    let names: Vec<String> = server.requests()[0].form().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["query", "start", "end", "step", "nocache"]);
}

#[tokio::test]
async fn samples_off_the_grid_twice_out_of_order_or_without_a_number_are_dropped_and_counted() {
    let values = r#"[[1700000000,"9"],[1700000010,"x"],[1700000010,"1"],[1700000010,"2"],[1700000025,"9"],
        [1700000070.0004,"3"],[1700000040,"9"],[1700000070,"9"],[1700000100,"9"]]"#;
    let invalid_only = r#"[[1700000011,"1"]]"#;
    let body = matrix(&[(r#"{"a":"x"}"#, values), (r#"{"a":"y"}"#, invalid_only)]);
    let server = Server::always(answer("200 OK", &body)).await;
    let answer = read(&tsdb_at(&server.url), &query(), 3).await.unwrap();
    assert_eq!(bits(&answer.values), bits(&[1.0, MISSING, 3.0]));
    assert_eq!((answer.received_series, answer.received_samples, answer.invalid_samples), (2, 10, 8));
}

#[tokio::test]
async fn a_window_beyond_the_point_limit_is_read_in_parts() {
    let server = Server::start(|index, request| {
        let start = &request.form()[1].1;
        let both = [(r#"{"a":"x"}"#, 1), (r#"{"a":"y"}"#, 2)];
        let values = |value: i32| format!(r#"[[{start},"{}"]]"#, value * 10 + index as i32);
        let series: Vec<(&str, String)> =
            both.iter().take(if index == 1 { 1 } else { 2 }).map(|(metric, value)| (*metric, values(*value))).collect();
        let series: Vec<(&str, &str)> = series.iter().map(|(metric, values)| (*metric, values.as_str())).collect();
        vec![Act::Send(answer("200 OK", &matrix(&series)))]
    })
    .await;
    let mut query = query();
    query.max_points_per_query = 2;
    let answer = read(&tsdb_at(&server.url), &query, 5).await.unwrap();
    let m = MISSING;
    assert_eq!(bits(&answer.values), bits(&[10.0, m, 11.0, m, 12.0, 20.0, m, m, m, 22.0]));
    let bounds: Vec<(String, String)> =
        server.requests().iter().map(|request| (request.form()[1].1.clone(), request.form()[2].1.clone())).collect();
    let expected = [("1700000010", "1700000040"), ("1700000070", "1700000100"), ("1700000130", "1700000130")];
    assert_eq!(bounds, expected.map(|(start, end)| (start.to_owned(), end.to_owned())));
}

#[tokio::test]
async fn a_second_read_gives_the_same_answer_as_the_first() {
    let body = matrix(&[(r#"{"a":"x"}"#, r#"[[1700000010,"1"]]"#), (r#"{"a":"y"}"#, r#"[[1700000010,"2"]]"#)]);
    let server = Server::always(answer("200 OK", &body)).await;
    let tsdb = tsdb_at(&server.url);
    let first = read(&tsdb, &query(), 1).await.unwrap();
    let second = read(&tsdb, &query(), 1).await.unwrap();
    assert_eq!((first.series, bits(&first.values)), (second.series, bits(&second.values)));
}

#[tokio::test]
async fn an_empty_grid_asks_nothing() {
    let server = Server::always(answer("500 Oh", "")).await;
    assert!(read(&tsdb_at(&server.url), &query(), 0).await.unwrap().series.is_empty());
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn statuses_tell_a_refusal_from_an_outage() {
    let json = r#"{"status":"error","errorType":"422","error":"too many points"}"#;
    for (status, body, message) in [
        ("400 Bad Request", "unsupported path requested", "unsupported path requested"),
        ("422 Unprocessable Entity", json, "too many points"),
    ] {
        let server = Server::always(answer(status, body)).await;
        let outcome = read(&tsdb_at(&server.url), &query(), 3).await;
        let status = status[..3].parse().unwrap();
        assert_eq!(outcome.unwrap_err(), ReadError::Refused { status, message: message.into() });
    }
    for status in ["401 No", "403 No", "404 No", "408 Late", "429 Slow down", "500 Oh", "502 Bad", "503 Busy"] {
        let server = Server::always(answer(status, "<html>sorry</html>")).await;
        let outcome = unavailable(read(&tsdb_at(&server.url), &query(), 3).await);
        assert_eq!(outcome, (status[..3].to_owned(), "<html>sorry</html>".to_owned()));
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let target = Server::always(answer("200 OK", &matrix(&[]))).await;
    let redirect = format!("HTTP/1.1 302 Found\r\nLocation: {}/x?token=t\r\nContent-Length: 0\r\n\r\n", target.url);
    let server = Server::always(redirect.into_bytes()).await;
    let (code, message) = unavailable(read(&tsdb_at(&server.url), &query(), 3).await);
    assert_eq!(code, "302");
    assert!(message.contains(&format!("{}/x", target.url)) && !message.contains("token"), "{message}");
    assert!(target.requests().is_empty());
}

#[tokio::test]
async fn answers_that_cannot_be_used_say_why() {
    let ok = |body: &str| vec![Act::Send(answer("200 OK", body))];
    let series = (r#"{"a":"x"}"#, r#"[[1700000010,"1"]]"#);
    let whole = matrix(&[series]);
    for (what, script, code, words) in [
        ("no JSON", ok("hello"), "bad_answer", "byte 0"),
        ("HTML", ok("<html><body>Sign in</body></html>"), "bad_answer", "Sign in"),
        ("nothing", ok(""), "bad_answer", "0 bytes"),
        ("cut JSON", ok(&whole[..whole.len() - 3]), "bad_answer", "before its end"),
        ("more than JSON", ok(&format!("{whole} x")), "bad_answer", "the end of the answer"),
        ("a partial answer", ok(&whole.replacen('{', r#"{"isPartial":true,"#, 1)), "bad_answer", "partial"),
        ("a vector", ok(&whole.replace("matrix", "vector")), "bad_answer", "vector"),
        (
            "a scalar",
            ok(r#"{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}"#),
            "bad_answer",
            "scalar",
        ),
        ("twice the same series", ok(&matrix(&[series, series])), "bad_answer", r#"{a="x"}"#),
        (
            "an error with status 200",
            ok(r#"{"status":"error","errorType":"timeout","error":"took too long"}"#),
            "bad_answer",
            "took too long",
        ),
        (
            "an encoding that was not asked for",
            vec![Act::Send(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b".to_vec())],
            "bad_answer",
            "gzip",
        ),
        (
            "a body shorter than its length",
            vec![Act::Send(format!("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{whole}").into_bytes()), Act::Close],
            "connection_error",
            "",
        ),
        (
            "a cut chunked body",
            vec![
                Act::Send(
                    format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{whole}\r\n", whole.len())
                        .into_bytes(),
                ),
                Act::Close,
            ],
            "connection_error",
            "",
        ),
        (
            "a reset in the body",
            vec![Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{\"sta".to_vec()), Act::Reset],
            "connection_error",
            "",
        ),
        ("a reset instead of an answer", vec![Act::Reset], "connection_error", ""),
        ("an end instead of an answer", vec![Act::Close], "connection_error", ""),
        ("no HTTP", vec![Act::Send(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec()), Act::Close], "connection_error", ""),
    ] {
        let script = std::sync::Mutex::new(Some(script));
        let server = Server::start(move |_, _| script.lock().unwrap().take().unwrap_or_else(|| vec![Act::Close])).await;
        let (found, message) = unavailable(read(&tsdb_at(&server.url), &query(), 3).await);
        assert_eq!(found, code, "{what}: {message}");
        assert!(message.contains(words), "{what}: {message}");
    }
}

#[tokio::test]
async fn a_query_that_is_refused_with_status_200_is_refused() {
    let body = r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#;
    let server = Server::always(answer("200 OK", body)).await;
    let outcome = read(&tsdb_at(&server.url), &query(), 3).await;
    assert_eq!(outcome.unwrap_err(), ReadError::Refused { status: 400, message: "parse error".into() });
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_connection_error() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let tsdb = tsdb_at(&format!("http://{free}"));
    assert_eq!(unavailable(read(&tsdb, &query(), 3).await).0, "connection_error");
    assert!(matches!(tsdb.server_time().await, Err(ReadError::Unavailable { code, .. }) if code == "connection_error"));
}

#[tokio::test]
async fn a_half_open_connection_and_a_slow_body_are_timeouts() {
    let start = b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{\"status\":".to_vec();
    for script in [vec![], vec![start]] {
        let server =
            Server::start(move |_, _| script.iter().cloned().map(Act::Send).chain([Act::Stall]).collect()).await;
        let mut reader = reader(&server.url);
        reader.fetch_timeout = 200;
        let outcome = read(&tsdb(&reader, &writer(&server.url)), &query(), 3).await;
        assert_eq!(unavailable(outcome).0, "timeout");
    }
}

#[tokio::test]
async fn any_answer_with_a_date_tells_the_server_s_time() {
    for (status, time) in [("200 OK", Some(DATE)), ("401 No", Some(DATE)), ("503 Busy", Some(DATE))] {
        let server = Server::always(answer(status, "{}")).await;
        assert_eq!(tsdb_at(&server.url).server_time().await, Ok(time));
        assert_eq!(server.requests()[0].line, "GET /api/v1/query?query=1");
    }
    let server = Server::always(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
    assert_eq!(tsdb_at(&server.url).server_time().await, Ok(None));
}

#[tokio::test]
async fn tenants_go_into_the_path_and_into_labels_that_a_multitenant_writer_needs() {
    let body = matrix(&[
        (r#"{"a":"x"}"#, r#"[[1700000010,"1"]]"#),
        (r#"{"a":"y","vm_account_id":"9"}"#, r#"[[1700000010,"1"]]"#),
    ]);
    let server = Server::always(answer("200 OK", &body)).await;
    let with_tenant =
        [r#"{a="x",vm_account_id="7",vm_project_id="0"}"#, r#"{a="y",vm_account_id="9",vm_project_id="0"}"#];
    let without = [r#"{a="x"}"#, r#"{a="y",vm_account_id="9"}"#];
    for (query_tenant, writer_tenant, path, labels) in [
        (Some("7"), Some("multitenant"), "/select/7/prometheus", with_tenant),
        (None, Some("7"), "/select/7:0/prometheus", without),
        (None, Some("8"), "/select/7:0/prometheus", with_tenant),
        (Some("multitenant"), Some("multitenant"), "/select/multitenant/prometheus", without),
    ] {
        let (mut reader, mut writer, mut query) = (reader(&server.url), writer(&server.url), query());
        reader.client.tenant_id = Some("7:0".into());
        writer.client.tenant_id = writer_tenant.map(Into::into);
        query.tenant_id = query_tenant.map(Into::into);
        let tsdb = tsdb(&reader, &writer);
        let answer = read(&tsdb, &query, 1).await.unwrap();
        assert_eq!(server.requests().last().unwrap().line, format!("POST {path}/api/v1/query_range"));
        assert_eq!(answer.series.iter().map(ToString::to_string).collect::<Vec<_>>(), labels);
        tsdb.server_time().await.unwrap();
        assert_eq!(server.requests().last().unwrap().line, "GET /select/7:0/prometheus/api/v1/query?query=1");
    }
}
