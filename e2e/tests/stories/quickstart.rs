use std::time::{Duration, Instant};

use e2e::forward;
use e2e::quickstart::{self, ANOMALY, QUERIES};
use tests::incident::observation::Observer;
use tests::incident::replay::{Pace, Replay, Timeline};
use tests::incident::verdict::Outcome;
use tests::signal::now;

use crate::scene::{Scene, eventually, exported, import};

/// Those of `deploy/quickstart/vmanomaly.yaml`.
const SETTLE: Duration = Duration::from_secs(10);
const INFER_EVERY: Duration = Duration::from_secs(10);

/// Outputs older than this are of no interest.
const LOOKBACK: Duration = Duration::from_secs(40);

#[tokio::test]
async fn without_a_model_it_scores_within_settle_and_two_intervals_of_ready_and_an_alert_tells_of_the_incident() {
    let scene = Scene::empty("quickstart").await;
    scene.apply(&quickstart::manifests("quickstart/demo").unwrap()).await;
    scene.rolled_out(&quickstart::WORKLOADS).await;
    let tsdb = scene.tsdb().await;
    // As with anybody's database, there is something to watch, and the recordings have a history.
    for query in ["node_memory_MemTotal_bytes", "rate(node_cpu_seconds_total[30s])"] {
        let seen = async || tsdb.query(query, now()).await.ok().filter(|answer| !answer.is_empty());
        eventually(query, Duration::from_secs(120), seen).await;
    }
    let replay = Replay::load(Pace { replayed: 8, ..Pace::EVERY_FIVE_SECONDS }).unwrap();
    import(&tsdb, &replay.history(now().div_euclid(replay.pace.tick) * replay.pace.tick)).await;

    scene.apply(&quickstart::manifests("quickstart").unwrap()).await;
    scene.apply(&quickstart::manifests("quickstart/incident").unwrap()).await;
    assert_eq!(scene.kubectl(&["get", "anomalymodels", "--output", "name"]).await, "");
    let anomaly = scene.ready(ANOMALY, QUERIES + 1).await;
    let ready = Instant::now();
    assert_eq!(anomaly.status.unwrap().shards_ready.as_deref(), Some("3/3"));
    let allowed = SETTLE + 2 * INFER_EVERY;
    let scored = async || {
        let scores = exported(&tsdb, "anomaly_score").await;
        let mut queries: Vec<_> = scores.iter().map(|series| series.label("for").to_owned()).collect();
        queries.retain(|query| query != "recording");
        queries.sort();
        queries.dedup();
        (queries == ["cpu", "memory", "network"]).then_some(())
    };
    eventually("a score of each query", allowed, scored).await;
    println!("scores {:.1} s after Ready", ready.elapsed().as_secs_f64());

    let vmalert = scene.service("vmalert", 8880).await;
    let observer = Observer { tsdb: tsdb.clone(), vmalert, lookback: LOOKBACK, shards: None };
    let timeline = Timeline::begin(replay.pace);
    let mut replayed = 0;
    let whole = Duration::from_millis(replay.pace.tick.unsigned_abs()) * u32::try_from(replay.length).unwrap();
    let soon = Duration::from_millis(replay.pace.soon.unsigned_abs());
    let told = async || {
        replayed = replay.bring(&tsdb, timeline, replayed, now()).await.unwrap_or(replayed);
        if replayed < replay.length {
            return None;
        }
        let outcome = forward::answered(async || Outcome::read(&observer).await).await.unwrap();
        (outcome.is_complete(&replay, timeline) && outcome.sentence.is_some()).then_some(outcome)
    };
    let outcome = eventually("an alert for the incident", whole + 2 * soon, told).await;
    assert_eq!(outcome.reasons(&replay, timeline), Vec::<String>::new());
    println!("{}", outcome.sentence.unwrap());
    scene.close().await;
}
