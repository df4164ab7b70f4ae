//! What workers say arrives in the objects' status. The workers here are scripted answers of `/status`, on loopback
//! addresses that the stories give to pods.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::routing::get;
use axum::{Json, Router};
use config::contract::{CONTRACT_VERSION, OLDEST_CONTRACT_VERSION};
use config::status::{ErrorKind, JobPhase, JobStatus, ModelStatus, Status};
use crds::{AnomalyQuery, VMAnomaly};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use tests::kubernetes::installation::{Installation, quick_settings};

use crate::fixtures::{condition, declare_all, installation, is, ready, status, wait_until_rolled_out, writes};

/// Loopback has addresses enough for every pod of every story.
static ADDRESSES: AtomicU8 = AtomicU8::new(2);

/// A scripted worker behind a pod.
pub struct Scripted {
    pub pod: String,
    says: Arc<Mutex<Status>>,
}

impl Scripted {
    /// Starts the worker of a rank and shard and makes its pod.
    pub async fn start(installation: &Installation<'_>, rank: u32, shard: u32) -> Self {
        let pod = format!("anomaly-main-r{rank}-{shard}");
        let set = installation.api::<StatefulSet>().get(&format!("anomaly-main-r{rank}")).await.unwrap();
        let labels = set.spec.unwrap().template.metadata.unwrap().labels;
        let object = json!({
            "metadata": {"name": pod, "labels": labels},
            "spec": {"containers": [{"name": "vmanomaly", "image": "none"}]},
        });
        let object = serde_json::from_value(object).unwrap();
        installation.api::<Pod>().create(&PostParams::default(), &object).await.unwrap();
        Self::in_pod(installation, rank, shard).await
    }

    /// Starts the worker of a pod that is there, on the port that pods of the VMAnomaly have, and plays the kubelet.
    pub async fn in_pod(installation: &Installation<'_>, rank: u32, shard: u32) -> Self {
        let address = Ipv4Addr::new(127, 0, 7, ADDRESSES.fetch_add(1, Ordering::Relaxed));
        let listener = tokio::net::TcpListener::bind((address, 8490)).await.unwrap();
        let new = json!({
            "contract_version": CONTRACT_VERSION, "worker_version": "0.1.0", "shard": shard, "rank": rank, "epoch": 0,
            "shards": 1, "ranks": 1, "ready": true, "config": {"digest": "", "generation": 0, "reload": "none"},
            "jobs": [],
        });
        let says: Arc<Mutex<Status>> = Arc::new(Mutex::new(serde_json::from_value(new).unwrap()));
        let status = Arc::clone(&says);
        let answer = async move || {
            let mut status = status.lock().unwrap().clone();
            let epoch = status.epoch;
            status.jobs.iter_mut().for_each(|job| job.epoch = epoch);
            Json(status)
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/status", get(answer))).await });

        let pod = format!("anomaly-main-r{rank}-{shard}");
        let address = address.to_string();
        let running = json!({"status": {
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True"}],
        }});
        let pods = installation.api::<Pod>();
        pods.patch_status(&pod, &PatchParams::default(), &Patch::Merge(running)).await.unwrap();
        Self { pod, says }
    }

    pub fn say(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.says.lock().unwrap());
    }

    /// Says that it has so many series to give or to take.
    pub fn moves(&self, open_handovers: u64) {
        self.say(|status| status.jobs.iter_mut().for_each(|job| job.open_handovers = open_handovers));
    }

    /// Takes the newest configuration and topology, as a worker does when the kubelet has brought the files.
    pub async fn follow(&self, installation: &Installation<'_>) {
        let maps = installation.api::<ConfigMap>();
        let operator = maps.get("anomaly-main-config").await.unwrap().data.unwrap()["operator.yaml"].clone();
        let revision = operator.lines().find_map(|line| line.strip_prefix("revision: ")).unwrap().trim_matches('"');
        let topology = maps.get("anomaly-main-topology").await.unwrap().data.unwrap()["topology.yaml"].clone();
        let number = |key| topology.lines().find_map(|line| line.strip_prefix(key)).unwrap().parse::<u32>().unwrap();
        self.say(|status| {
            status.config.revision = Some(revision.to_owned());
            status.epoch = number("epoch: ").into();
            status.shards = number("shards: ");
            status.ranks = number("ranks: ");
        });
    }
}

pub fn job(phase: JobPhase, error: Option<(ErrorKind, &str)>) -> JobStatus {
    JobStatus {
        scheduler: "default".into(),
        query: "up".into(),
        phase,
        last_written_tick_ms: None,
        position_ms: None,
        chain: None,
        next_tick_ms: None,
        lag_ms: 0,
        active_series: 1,
        refused_series: 0,
        collided_series: 0,
        counters_without_rate: false,
        beyond_alarm_budget: false,
        skipped_ticks: 0,
        epoch: 0,
        open_handovers: 0,
        last_error: error.map(|(_, words)| words.to_owned()),
        last_error_kind: error.map(|(kind, _)| kind),
        models: BTreeMap::from([("zscore".to_owned(), ModelStatus { fitted_to_ms: Some(1) })]),
    }
}

#[tokio::test]
async fn ready_comes_with_the_first_fit_and_a_query_of_counters_or_one_that_is_refused_says_so() {
    let installation = installation().await;
    let operator = installation.operator(quick_settings()).await.unwrap();
    declare_all(&installation, 1).await;
    wait_until_rolled_out(&installation).await;
    let worker = Scripted::start(&installation, 0, 0).await;
    let reason = |status: &'static str, why: &'static str| move |main: &VMAnomaly| is(ready(main), status, why);
    let main = installation.wait::<VMAnomaly>("main", reason("False", "ConfigPropagating")).await.unwrap();
    assert_eq!(status(&main).outdated, std::slice::from_ref(&worker.pod));
    // Its pod is touched, so that the kubelet looks.
    let touched = |pod: &Pod| pod.annotations().contains_key("vmanomaly.dev/expected-config");
    installation.wait::<Pod>(&worker.pod, touched).await.unwrap();

    worker.say(|status| status.jobs = vec![job(JobPhase::Fitting, None)]);
    worker.follow(&installation).await;
    installation.wait::<VMAnomaly>("main", reason("False", "FirstFit")).await.unwrap();
    worker.say(|status| status.jobs = vec![job(JobPhase::Running, None)]);
    let main = installation.wait::<VMAnomaly>("main", reason("True", "AsConfigured")).await.unwrap();
    let reported = status(&main);
    assert_eq!((reported.shards_ready.as_deref(), reported.worker_version.as_deref()), (Some("1/1"), Some("0.1.0")));
    let since = condition(&reported.conditions, "Ready").unwrap().last_transition_time.clone();

    worker.say(|status| {
        status.jobs = vec![JobStatus { counters_without_rate: true, ..job(JobPhase::Running, None) }];
    });
    let says = |holds: &'static str, why: &'static str| {
        move |query: &AnomalyQuery| {
            let conditions = query.status.clone().unwrap_or_default().conditions;
            condition(&conditions, "Ready").is_some_and(|ready| ready.status == holds && ready.reason == why)
        }
    };
    let query = installation.wait::<AnomalyQuery>("up", says("True", "CountersWithoutRate")).await.unwrap();
    assert!(query.status.unwrap().bindings[0].conditions[0].message.contains("rate(metric[5m])"));
    worker.say(|status| {
        status.jobs = vec![JobStatus { beyond_alarm_budget: true, ..job(JobPhase::Running, None) }];
    });
    installation.wait::<AnomalyQuery>("up", says("True", "AlarmBudgetTooSmall")).await.unwrap();

    let refuse = |second: u32| {
        let words = format!("cannot parse at 12:00:{second:02}");
        worker.say(|status| {
            status.jobs = vec![job(JobPhase::Running, Some((ErrorKind::QueryRefused, &words)))];
        });
    };
    refuse(1);
    let query = installation.wait::<AnomalyQuery>("up", says("False", "QueryRejected")).await.unwrap();
    assert!(query.status.unwrap().bindings[0].conditions[0].message.contains("cannot parse at"));
    // The VMAnomaly does all that it can: the reason is on the query.
    let main = installation.wait::<VMAnomaly>("main", reason("True", "QueryRejected")).await.unwrap();
    let reported = status(&main).conditions;
    assert_eq!(condition(&reported, "Ready").unwrap().last_transition_time, since);
    assert_eq!(condition(&reported, "Degraded").unwrap().status, "True");

    // The same words with another time in them are no news, neither for this operator nor for the next one.
    installation.wait_until_silent(Duration::from_secs(1)).await.unwrap();
    let mut audit = installation.plane.audit();
    audit.skip().unwrap();
    refuse(2);
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(operator);
    refuse(3);
    let _operator = installation.operator(quick_settings()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let events = audit.read().unwrap();
    let writes = writes(&installation, events);
    assert!(writes.is_empty(), "{writes:#?}");
}

#[tokio::test]
async fn a_worker_that_is_too_old_keeps_the_configuration_that_it_understands() {
    let installation = installation().await;
    let _operator = installation.operator(quick_settings()).await.unwrap();
    declare_all(&installation, 1).await;
    wait_until_rolled_out(&installation).await;
    let worker = Scripted::start(&installation, 0, 0).await;
    worker.follow(&installation).await;
    worker.say(|status| status.contract_version = OLDEST_CONTRACT_VERSION - 1);
    installation.wait::<VMAnomaly>("main", |main| is(ready(main), "False", "WorkerTooOld")).await.unwrap();
    let before = installation.api::<ConfigMap>().get("anomaly-main-config").await.unwrap();
    installation.declare("AnomalyQuery", "up", json!({"expr": "up == 0"})).await.unwrap();
    installation.wait_until_silent(Duration::from_secs(1)).await.unwrap();
    let kept = installation.api::<ConfigMap>().get("anomaly-main-config").await.unwrap();
    assert_eq!(kept.resource_version(), before.resource_version());
    worker.say(|status| status.contract_version = CONTRACT_VERSION);
    let newer = |map: &ConfigMap| map.resource_version() != before.resource_version();
    installation.wait::<ConfigMap>("anomaly-main-config", newer).await.unwrap();
}

/// A worker of `main` that has not got its configuration yet.
pub async fn start_behind(installation: &Installation<'_>) {
    Scripted::start(installation, 0, 0).await;
}
