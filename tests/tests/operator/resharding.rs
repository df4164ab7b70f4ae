//! The number of shards changes while series move between workers. The workers are scripted: the stories say what they
//! have followed, and how many hand-overs are open.

use std::time::{Duration, Instant};

use config::status::JobPhase;
use crds::VMAnomaly;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use tests::kubernetes::installation::{Installation, quick_settings};

use crate::fixtures::{
    anomaly, condition, declare_all, installation, is, ready, status, wait_until_rolled_out, writes,
};
use crate::workers::{Scripted, job};

const SET: &str = "anomaly-main-r0";

async fn worker(installation: &Installation<'_>, shard: u32) -> Scripted {
    let worker = Scripted::start(installation, 0, shard).await;
    worker.say(|status| status.jobs = vec![job(JobPhase::Running, None)]);
    worker
}

/// All workers have the newest topology and so many hand-overs open.
async fn follow(installation: &Installation<'_>, workers: &[Scripted], open_handovers: u64) {
    for worker in workers {
        worker.moves(open_handovers);
        worker.follow(installation).await;
    }
}

/// `main` with one shard that does well.
async fn one_shard(installation: &Installation<'_>) -> Vec<Scripted> {
    declare_all(installation, 1).await;
    wait_until_rolled_out(installation).await;
    let workers = vec![worker(installation, 0).await];
    follow(installation, &workers, 0).await;
    installation.wait::<VMAnomaly>("main", does_well).await.unwrap();
    workers
}

fn does_well(main: &VMAnomaly) -> bool {
    is(ready(main), "True", "AsConfigured") && resharding(main, "ShardsSettled", "")
}

async fn scale(installation: &Installation<'_>, shards: u32) {
    let replicas = format!("--replicas={shards}");
    let arguments = ["scale", "vmanomalies.vmanomaly.dev/main", &replicas, "-n", &installation.namespace];
    let scaled = installation.plane.kubectl(&arguments).await.unwrap();
    assert!(scaled.succeeded(), "{scaled:?}");
}

fn resharding(main: &VMAnomaly, reason: &str, words: &str) -> bool {
    let conditions = status(main).conditions;
    condition(&conditions, "Resharding").is_some_and(|found| found.reason == reason && found.message.contains(words))
}

async fn wait_for(installation: &Installation<'_>, reason: &str, words: &str) -> VMAnomaly {
    installation.wait::<VMAnomaly>("main", |main| resharding(main, reason, words)).await.unwrap()
}

async fn pods(installation: &Installation<'_>) -> Option<i32> {
    installation.api::<StatefulSet>().get(SET).await.unwrap().spec.unwrap().replicas
}

async fn wait_for_pods(installation: &Installation<'_>, count: i32) {
    let has = |set: &StatefulSet| set.spec.as_ref().and_then(|spec| spec.replicas) == Some(count);
    installation.wait::<StatefulSet>(SET, has).await.unwrap();
}

async fn topology(installation: &Installation<'_>) -> String {
    let map = installation.api::<ConfigMap>().get("anomaly-main-topology").await.unwrap();
    map.data.unwrap()["topology.yaml"].clone()
}

/// Waits until events have told so often of something.
async fn told(installation: &Installation<'_>, reason: &str, times: i32) {
    let events = installation.api::<Event>();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let found = events.list(&ListParams::default()).await.unwrap();
        let found = found.iter().filter(|event| event.reason.as_deref() == Some(reason));
        let count: i32 = found.map(|event| event.series.as_ref().map_or(1, |series| series.count)).sum();
        assert!(count <= times && Instant::now() < deadline, "{reason} was told {count} times");
        if count == times {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn kubectl_scales_there_and_back_and_each_step_waits_until_all_series_have_come_where_they_belong() {
    let installation = installation().await;
    let _operator = installation.operator(quick_settings()).await.unwrap();
    let mut workers = one_shard(&installation).await;

    scale(&installation, 3).await;
    wait_for_pods(&installation, 3).await;
    wait_for(&installation, "WaitingForWorkers", "anomaly-main-r0-2 (does not answer)").await;
    for shard in [1, 2] {
        workers.push(worker(&installation, shard).await);
    }
    follow(&installation, &workers, 1).await;
    let main = wait_for(&installation, "ShardsChanging", "from 1 to 3 shards").await;
    let main = if is(ready(&main), "True", "AsConfigured") {
        main
    } else {
        installation.wait::<VMAnomaly>("main", |main| is(ready(main), "True", "AsConfigured")).await.unwrap()
    };
    assert_eq!(status(&main).shards_ready.as_deref(), Some("3/3"), "series are scored while they move");

    // Only the last wish counts, and not before this one is fulfilled.
    scale(&installation, 5).await;
    scale(&installation, 2).await;
    wait_for(&installation, "ShardsChanging", "; 2 shards come next").await;
    installation.wait_until_silent(Duration::from_secs(1)).await.unwrap();
    assert!(topology(&installation).await.contains("epoch: 2\n"));
    follow(&installation, &workers[..2], 0).await;
    installation.wait_until_silent(Duration::from_secs(1)).await.unwrap();
    assert!(topology(&installation).await.contains("epoch: 2\n"));
    workers[2].moves(0);
    wait_for(&installation, "WaitingForWorkers", "from 3 to 2 shards").await;
    let text = topology(&installation).await;
    assert!(text.contains("epoch: 3\nsettled_epoch: 2\n") && text.contains("previous_shards: [3]\n"), "{text}");

    // The pods of the shard that goes stay until all its series are elsewhere.
    follow(&installation, &workers, 1).await;
    wait_for(&installation, "ShardsChanging", "anomaly-main-r0-2 (gives or takes series)").await;
    follow(&installation, &workers[..1], 0).await;
    installation.wait_until_silent(Duration::from_secs(1)).await.unwrap();
    assert_eq!(pods(&installation).await, Some(3));
    follow(&installation, &workers[..2], 0).await;
    wait_for_pods(&installation, 2).await;
    installation.api::<Pod>().delete("anomaly-main-r0-2", &DeleteParams::default()).await.unwrap();
    let main = installation.wait::<VMAnomaly>("main", does_well).await.unwrap();
    assert_eq!((status(&main).shards, status(&main).epoch), (Some(2), Some(3)));
    let text = topology(&installation).await;
    assert!(text.contains("settled_epoch: 3\n") && !text.contains("previous_shards"), "{text}");

    scale(&installation, 1).await;
    wait_for(&installation, "WaitingForWorkers", "from 2 to 1 shards").await;
    follow(&installation, &workers[..2], 0).await;
    wait_for_pods(&installation, 1).await;
    installation.wait::<VMAnomaly>("main", does_well).await.unwrap();

    // Afterwards there is nothing to say.
    installation.wait_until_silent(Duration::from_secs(1)).await.unwrap();
    let mut audit = installation.plane.audit();
    audit.skip().unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let writes = writes(&installation, audit.read().unwrap());
    assert!(writes.is_empty(), "{writes:#?}");
    told(&installation, "ShardsChanging", 3).await;
    told(&installation, "ShardsSettled", 2).await;
}

#[tokio::test]
async fn after_the_timeout_a_warning_names_who_is_waited_for_and_a_newer_wish_starts_anyway() {
    let installation = installation().await;
    let _operator = installation.operator(quick_settings()).await.unwrap();
    let workers = one_shard(&installation).await;
    let mut spec = anomaly(1);
    spec["settings"] = json!({"handoverTimeout": "3s"});
    installation.declare("VMAnomaly", "main", spec).await.unwrap();
    let has_it = |map: &ConfigMap| map.data.as_ref().unwrap()["config.yaml"].contains("handover_timeout");
    installation.wait::<ConfigMap>("anomaly-main-config", has_it).await.unwrap();
    follow(&installation, &workers, 0).await;
    installation.wait::<VMAnomaly>("main", does_well).await.unwrap();

    scale(&installation, 3).await;
    wait_for_pods(&installation, 3).await;
    follow(&installation, &workers, 2).await;
    let main = wait_for(&installation, "HandoverTimedOut", "anomaly-main-r0-1 (does not answer)").await;
    assert!(is(ready(&main), "False", "WorkersStarting"));
    assert!(topology(&installation).await.contains("epoch: 2\n"));
    scale(&installation, 2).await;
    wait_for(&installation, "WaitingForWorkers", "from 1 to 3 to 2 shards").await;
    let text = topology(&installation).await;
    assert!(text.contains("epoch: 3\nsettled_epoch: 1\n") && text.contains("previous_shards: [3,1]\n"), "{text}");
    told(&installation, "ShardsChanging", 2).await;
    told(&installation, "HandoverTimedOut", 1).await;
}
