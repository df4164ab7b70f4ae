//! Ranks that die, stand still, refuse, or are none.

use tests::scores::Scores;
use tests::signal::this_second;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::setting::{SECOND, SOON, Setting, assert_no_gap, first_written, have_equal_chains};

#[tokio::test]
async fn a_killed_rank_leaves_no_gap_and_takes_over_the_state_when_it_returns() {
    let setting = Setting::start().await;
    let [mut first, mut second, mut third] = setting.ranks().await;
    let begin = first_written(&mut second, setting.first_fit + 2 * SECOND).await;
    first.worker.kill();
    let alone_until = this_second() + 4 * SECOND;
    second.wait_for_tick(alone_until).await;
    third.wait_for_tick(alone_until).await;
    first.worker.restart().await.unwrap();
    let end = this_second() + 3 * SECOND;
    for rank in [&mut first, &mut second, &mut third] {
        rank.wait_for_tick(end).await;
    }

    assert!(have_equal_chains(&[&first, &second, &third], end).await);
    let wanted = second.sent().within(begin, end);
    assert_no_gap(&wanted, begin, end);
    // A rank that has taken another one's state over has not sent the ticks before that.
    let newest = end - SECOND;
    assert_eq!(third.sent().within(newest, end).difference(&wanted.within(newest, end), 0.0), None);
    setting.tsdb.everything_visible().await.unwrap();
    let stored = Scores::of(&setting.tsdb.export("{model_alias!=\"\"}").await.unwrap(), "default");
    assert_eq!(stored.within(begin, end).rewritten(), None);
}

#[tokio::test]
async fn a_rank_that_stands_still_for_a_while_leaves_no_gap_and_no_other_value() {
    let setting = Setting::start().await;
    let [mut first, mut second] = setting.ranks().await;
    let begin = first_written(&mut second, setting.first_fit + 2 * SECOND).await;
    first.worker.process().pause();
    let paused_until = this_second() + 6 * SECOND;
    second.wait_for_tick(paused_until).await;
    first.worker.process().resume();
    let end = this_second() + 3 * SECOND;
    first.wait_for_tick(end).await;
    second.wait_for_tick(end).await;

    assert!(have_equal_chains(&[&first, &second], end).await);
    assert_no_gap(&second.sent(), begin, end);
    setting.tsdb.everything_visible().await.unwrap();
    let stored = Scores::of(&setting.tsdb.export("{model_alias!=\"\"}").await.unwrap(), "default");
    assert_eq!(stored.within(begin, end).rewritten(), None);
}

#[tokio::test]
async fn a_rank_with_another_token_is_refused_by_name_and_both_go_on() {
    let setting = Setting::start().await;
    setting.write_topology_of("second.yaml", 2, &setting.token());
    setting.write_topology_of("topology.yaml", 2, &setting.token());
    let mut first = setting.rank(0).await;
    let mut second = setting.rank_with(1, "second.yaml").await;
    first.wait_for_tick(setting.first_fit + SECOND).await;
    let begin = first_written(&mut second, setting.first_fit + SECOND).await;
    let other = setting.token().with_file_name("other");
    let empty = setting.token().with_file_name("empty");
    std::fs::write(&other, "of another deployment").unwrap();
    std::fs::write(&empty, "\n").unwrap();
    setting.write_topology_of("second.yaml", 2, &empty);
    let refused = |status: &serde_json::Value| status["config"]["last_error"].as_str().map(str::to_owned);
    let error = second.worker.wait_for_status("the refusal", SOON, refused).await.unwrap();
    assert!(error.contains("peers.token_file") && error.contains("is empty"), "{error}");
    assert_eq!(second.asked("refused").await, 0.0, "the last good token stays");

    setting.write_topology_of("second.yaml", 2, &other);
    for (rank, peer) in [(&mut first, "shard 0 rank 1"), (&mut second, "shard 0 rank 0")] {
        rank.wait_for_warning(&[peer, "refuses", "401", "the token is not the one"]).await;
        assert!(rank.asked("refused").await > 0.0);
        let status = &["status=\"401\""];
        rank.worker.wait_for_metric("vmanomaly_peer_questions_total", status, SOON, |count| count > 2.0).await.unwrap();
        let warnings = rank.worker.process().output().matches("refuses").count();
        assert_eq!(warnings, 1, "said once, not at each tick");
        assert!(!rank.worker.process().output().contains("of another deployment"));
    }
    let end = this_second() + 2 * SECOND;
    first.wait_for_tick(end).await;
    second.wait_for_tick(end).await;
    assert_no_gap(&first.sent(), setting.first_fit + SECOND, end);
    assert_no_gap(&second.sent(), begin, end);
}

/// Reads a request and answers it with `head` and `body`, for ever again if it is `endless`.
async fn answer(mut client: TcpStream, head: &str, body: &[u8], endless: bool) -> std::io::Result<()> {
    let mut request = [0; 4096];
    if client.read(&mut request).await? > 0 {
        client.write_all(head.as_bytes()).await?;
        client.write_all(body).await?;
        if endless {
            loop {
                client.write_all(body).await?;
            }
        }
    }
    Ok(())
}

const CLOSE: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\n";

#[tokio::test]
async fn garbage_silence_and_an_endless_answer_in_the_place_of_a_rank_are_survived_named_and_counted() {
    let setting = Setting::start().await;
    setting.write_topology(1);
    let mut first = setting.rank(0).await;
    first.wait_for_tick(setting.first_fit + SECOND).await;
    let fake = TcpListener::bind(setting.address(1)).await.unwrap();
    setting.write_topology(2);

    let garbage = format!("{CLOSE}Content-Length: 7\r\n\r\n");
    let longer = format!("{CLOSE}Content-Length: 99999999999\r\n\r\n");
    let chunked = format!("{CLOSE}Transfer-Encoding: chunked\r\n\r\n");
    let mut chunk = b"10000\r\n".to_vec();
    chunk.resize(7 + 0x10000, 1);
    chunk.extend(b"\r\n");
    let script: [(&str, &[u8], bool, &[&str]); 5] = [
        ("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", b"", false, &["cannot be reached", "503"]),
        (&garbage, b"garbage", false, &["no valid answer", "version 103 of the protocol"]),
        (&garbage, b"\x01arbage", false, &["no valid answer", "it cannot be read"]),
        (&longer, b"", false, &["no valid answer", "more than 268435456 bytes"]),
        (&chunked, &chunk, true, &[]),
    ];
    for (head, body, endless, words) in script {
        let before = first.asked("garbage").await + first.asked("unreachable").await;
        let serve = async {
            loop {
                // The worker gives up when it likes to.
                let _ = answer(fake.accept().await.unwrap().0, head, body, endless).await;
            }
        };
        let noticed = async {
            if words.is_empty() {
                let failed = |count| count > before + 1.0;
                first.worker.wait_for_metric("vmanomaly_peer_requests_total", &[], SOON, failed).await.unwrap();
            } else {
                first.wait_for_warning(words).await;
            }
        };
        tokio::select! { () = serve => {}, () = noticed => {} }
    }
    // Connections are accepted by the system, and then nobody answers.
    let before = first.asked("unreachable").await;
    // One may still be of the connection before.
    let unanswered = |count| count > before + 1.0;
    let result = &["result=\"unreachable\""];
    first.worker.wait_for_metric("vmanomaly_peer_requests_total", result, SOON, unanswered).await.unwrap();
    let end = this_second() + 4 * SECOND;
    first.wait_for_tick(end).await;
    assert_no_gap(&first.sent(), setting.first_fit + SECOND, end);
    assert!(first.asked("garbage").await >= 3.0);
    let (_, highest) = first.worker.process().resident_bytes().unwrap();
    assert!(highest < 600 << 20, "{highest} bytes");
}
