use crate::recording;
use crate::scene::{Scene, anomaly, import, manifests, model, outputs, query, scored_until, scores, status};
use tests::signal::this_second;

const SERIES: usize = 24;

/// Ticks that are compared, ms.
const COMPARED: i64 = 20_000;

#[tokio::test]
async fn three_shards_score_every_series_once_and_together_what_one_shard_scores() {
    let scene = Scene::open("shards").await;
    let tsdb = scene.tsdb().await;
    import(&tsdb, &recording::series(SERIES)).await;
    let objects = [model("mad", 6.0), query("load", recording::METRIC), anomaly("one", 1), anomaly("three", 3)];
    scene.apply(&manifests(&objects)).await;
    for name in ["one", "three"] {
        scene.ready(name, 1).await;
    }
    let from = this_second();
    let until = from + COMPARED;
    for name in ["one", "three"] {
        scored_until(&tsdb, name, SERIES, until).await;
    }

    let written = outputs(&tsdb, "three").await;
    let scored = written.iter().filter(|series| series.label("__name__") == "anomaly_score");
    for series in scored {
        let samples = series.samples.iter().filter(|sample| (from..=until).contains(&sample.time));
        let times: Vec<_> = samples.map(|sample| sample.time).collect();
        let once: Vec<_> = (0..=COMPARED / recording::STEP).map(|index| from + index * recording::STEP).collect();
        assert_eq!(times, once, "{} is scored once a second", series.label("series"));
    }
    let (one, three) = (scores(&tsdb, "one").await, scores(&tsdb, "three").await);
    assert_eq!(one.within(from, until).difference(&three.within(from, until), 0.0), None);

    let mut shares = Vec::new();
    for shard in 0..3 {
        let status = status(&scene.worker("three", shard).await).await.unwrap();
        shares.push(status.jobs.iter().map(|job| job.active_series).sum::<u64>());
    }
    assert_eq!(shares.iter().sum::<u64>(), SERIES as u64);
    assert!(shares.iter().all(|share| *share > 0), "each shard has some of the series: {shares:?}");
    scene.close().await;
}
