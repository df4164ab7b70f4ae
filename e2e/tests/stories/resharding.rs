use crds::VMAnomaly;
use crds::status::ConditionType;
use e2e::rollout;
use tests::signal::this_second;

use crate::recording;
use crate::scene::{
    Scene, WITHIN, anomaly, eventually, gaps, import, manifests, model, outputs, query, scored_until, scores, status,
};

const SERIES: usize = 24;
const AFTER: i64 = 10_000;

#[tokio::test]
async fn kubectl_scales_shards_up_and_down_and_no_series_misses_a_tick_or_is_learnt_anew() {
    let scene = Scene::open("resharding").await;
    let tsdb = scene.tsdb().await;
    import(&tsdb, &recording::series(SERIES)).await;
    let mut scaled = anomaly("scaled", 1);
    scaled["spec"]["replicas"] = 2.into();
    scaled["spec"]["writer"]["mode"] = "All".into();
    let objects = [model("mad", 6.0), query("load", recording::METRIC), anomaly("alone", 1), scaled];
    scene.apply(&manifests(&objects)).await;
    for name in ["alone", "scaled"] {
        scene.ready(name, 1).await;
    }
    let from = this_second();
    scored_until(&tsdb, "scaled", SERIES, from + AFTER).await;

    let first = scene.processes("scaled").await;
    for shards in [3, 1] {
        scale(&scene, shards).await;
        scored_until(&tsdb, "scaled", SERIES, this_second() + AFTER).await;
        assert!(refits(&scene, shards).await.iter().all(|refits| *refits == 0.0));
        let shares = shares(&scene, shards).await;
        assert!(shares.iter().all(|share| *share > 0) && shares.iter().sum::<u64>() == SERIES as u64, "{shares:?}");
    }
    assert_eq!(scene.processes("scaled").await, first, "nobody who stays is restarted");

    let until = this_second() + AFTER;
    for name in ["alone", "scaled"] {
        scored_until(&tsdb, name, SERIES, until).await;
    }
    assert_eq!(gaps(&outputs(&tsdb, "scaled").await, SERIES, from, until), Vec::<i64>::new());
    let (alone, scaled) = (scores(&tsdb, "alone").await, scores(&tsdb, "scaled").await);
    assert_eq!(scaled.rewritten(), None);
    assert_eq!(alone.within(from, until).difference(&scaled.within(from, until), 0.0), None);

    let events = scene.kubectl(&["get", "events", "--output", "jsonpath={.items[*].reason}"]).await;
    assert!(events.contains("ShardsChanging") && events.contains("ShardsSettled"), "{events}");
    assert!(!events.contains("HandoverTimedOut"), "{events}");
    scene.close().await;
}

/// Scales by kubectl and waits until all series and pods are where they belong.
async fn scale(scene: &Scene, shards: u32) {
    let replicas = format!("--replicas={shards}");
    scene.kubectl(&["scale", "vmanomalies.vmanomaly.dev/scaled", &replicas]).await;
    let is_true = |anomaly: &VMAnomaly, type_| {
        rollout::condition(anomaly, type_).is_some_and(|condition| condition.status == "True")
    };
    let settled = |anomaly: &VMAnomaly| {
        let status = anomaly.status.as_ref();
        status.is_some_and(|status| status.shards == i32::try_from(shards).ok())
            && rollout::is_ready(anomaly, 1)
            && !is_true(anomaly, ConditionType::Resharding)
    };
    rollout::anomaly(scene.cluster, &scene.namespace, "scaled", WITHIN, settled, |_| {}).await.unwrap();
    let pods = usize::try_from(shards).unwrap() * 2;
    let all = async || (scene.processes("scaled").await.len() == pods).then_some(());
    eventually(&format!("{pods} pods"), WITHIN, all).await;
}

/// How many series each shard has.
async fn shares(scene: &Scene, shards: u32) -> Vec<u64> {
    let mut shares = Vec::new();
    for shard in 0..shards {
        let status = status(&scene.worker("scaled", shard).await).await;
        shares.push(status.jobs.iter().map(|job| job.active_series).sum());
    }
    shares
}

/// How often each worker has learnt series anew that it should have had.
async fn refits(scene: &Scene, shards: u32) -> Vec<f64> {
    let mut refits = Vec::new();
    for rank in 0..2 {
        for shard in 0..shards {
            let worker = scene.member("scaled", rank, shard).await;
            let text = String::from_utf8(worker.get("/metrics", &[]).await.unwrap().to_vec()).unwrap();
            let samples = text.lines().filter(|line| line.starts_with("vmanomaly_refits_unscheduled_total"));
            refits.push(samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum());
        }
    }
    refits
}
