use std::time::{Duration, Instant};

use e2e::quickstart::{self, ANOMALY, QUERIES};
use tests::signal::now;

use crate::scene::{Scene, eventually};

/// Those of `deploy/quickstart/vmanomaly.yaml`.
const SETTLE: Duration = Duration::from_secs(10);
const INFER_EVERY: Duration = Duration::from_secs(10);

#[tokio::test]
async fn applying_the_three_objects_gives_scores_within_settle_and_two_infer_intervals_of_ready() {
    let scene = Scene::empty("quickstart").await;
    scene.apply(&quickstart::manifests("quickstart/demo").unwrap()).await;
    scene.rolled_out(&quickstart::WORKLOADS).await;
    let tsdb = scene.tsdb().await;
    // As with anybody's database, there is something to watch.
    for query in ["node_memory_MemTotal_bytes", "rate(node_cpu_seconds_total[30s])"] {
        let seen = async || tsdb.query(query, now()).await.ok().filter(|answer| !answer.is_empty());
        eventually(query, Duration::from_secs(120), seen).await;
    }

    scene.apply(&quickstart::manifests("quickstart").unwrap()).await;
    let anomaly = scene.ready(ANOMALY, QUERIES).await;
    let ready = Instant::now();
    assert_eq!(anomaly.status.unwrap().shards_ready.as_deref(), Some("3/3"));
    let allowed = SETTLE + 2 * INFER_EVERY;
    let scored = async || {
        tsdb.force_flush().await.unwrap();
        let scores = tsdb.export("anomaly_score").await.unwrap();
        let mut queries: Vec<_> = scores.iter().map(|series| series.label("for").to_owned()).collect();
        queries.sort();
        queries.dedup();
        (queries == ["cpu", "memory", "network"]).then_some(())
    };
    eventually("a score of each query", allowed, scored).await;
    println!("scores {:.1} s after Ready", ready.elapsed().as_secs_f64());
    scene.close().await;
}
