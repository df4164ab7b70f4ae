//! Converged means silent, and an old view never replaces a newer one.

use std::sync::Arc;
use std::time::Duration;

use crds::{AnomalyModel, AnomalyQuery, VMAnomaly};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use operator::kubernetes::scope::Scope;
use operator::metrics::Metrics;
use operator::operator::{Objects, Operator, Triggers, Writers};
use operator::reconcile::anomaly::visit;
use operator::reconcile::error::ReconcileError;
use serde_json::json;
use tests::kubernetes::installation::{Installation, RELEASE, quick_settings};
use tests::kubernetes::user::User;

use crate::fixtures::{anomaly, declare_all, installation, ready, wait_until_rolled_out, writes};

#[tokio::test]
async fn a_converged_system_is_silent_with_one_operator_and_with_two() {
    let installation = installation().await;
    let first = installation.operator(quick_settings()).await.unwrap();
    declare_all(&installation, 3).await;
    wait_until_rolled_out(&installation).await;
    installation.wait_until_silent(Duration::from_secs(2)).await.unwrap();

    let mut audit = installation.plane.audit();
    audit.skip().unwrap();
    let second = installation.operator(quick_settings()).await.unwrap();
    // Each of the two visits every object some ten times meanwhile.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let events = audit.read().unwrap();
    let writes = writes(&installation, events);
    assert!(writes.is_empty(), "{writes:#?}");
    for operator in [&first, &second] {
        let metrics = operator.operator.metrics.text().unwrap();
        let visits = "vmanomaly_operator_reconciles_total{kind=\"VMAnomaly\",result=\"success\"} ";
        let count: u64 = metrics.lines().find_map(|line| line.strip_prefix(visits)).unwrap().parse().unwrap();
        assert!(count >= 8, "{count} visits");
    }

    // Both at once still write each change once, and agree.
    installation.declare("VMAnomaly", "main", anomaly(2)).await.unwrap();
    let two = |map: &ConfigMap| map.data.as_ref().unwrap()["topology.yaml"].contains("shards: 2\n");
    let map = installation.wait::<ConfigMap>("anomaly-main-topology", two).await.unwrap();
    assert!(map.data.unwrap()["topology.yaml"].contains("epoch: 2\n"));
    installation.wait_until_silent(Duration::from_secs(2)).await.unwrap();
}

/// An operator whose view of the cluster is what the story gives it.
async fn frozen_operator(installation: &Installation<'_>) -> (Arc<Operator>, Writers) {
    let user = User::ServiceAccount { namespace: &installation.namespace, name: RELEASE };
    let client = installation.plane.client_as(user).await.unwrap();
    let (objects, writers) = Objects::new(&Scope::of(vec![installation.namespace.clone()]));
    let (triggers, _) = Triggers::new();
    let operator = Operator::new(client, quick_settings(), objects, triggers, Metrics::new().unwrap()).unwrap();
    (Arc::new(operator), writers)
}

#[tokio::test]
async fn a_stale_second_operator_cannot_undo_a_newer_write() {
    let installation = installation().await;
    let first = installation.operator(quick_settings()).await.unwrap();
    declare_all(&installation, 1).await;
    wait_until_rolled_out(&installation).await;
    installation.wait_until_silent(Duration::from_secs(1)).await.unwrap();

    // The second one sees this and nothing after it.
    let (stale, mut writers) = frozen_operator(&installation).await;
    let main = installation.api::<VMAnomaly>().get("main").await.unwrap();
    let model = installation.api::<AnomalyModel>().get("zscore").await.unwrap();
    let query = installation.api::<AnomalyQuery>().get("up").await.unwrap();
    writers.anomalies[0].apply_watcher_event(&Event::Apply(DeserializeGuard(Ok(main.clone()))));
    writers.models[0].apply_watcher_event(&Event::Apply(DeserializeGuard(Ok(model))));
    writers.queries[0].apply_watcher_event(&Event::Apply(DeserializeGuard(Ok(query))));
    let show_children = async |writers: &mut Writers| {
        for (kind, writers) in &mut writers.children {
            let resource = kind.resource();
            let api = installation.dynamic(&json!({"apiVersion": resource.api_version, "kind": resource.kind}));
            for child in api.list(&kube::api::ListParams::default()).await.unwrap() {
                writers[0].apply_watcher_event(&Event::Apply(child));
            }
        }
    };
    show_children(&mut writers).await;
    let old = DeserializeGuard(Ok(main));
    visit(&stale, &old).await.unwrap();

    // A query changes, a label of it changes, a model comes: each time the first one writes, and the stale one, even
    // with the newest children in sight, keeps away.
    let config = async || installation.api::<ConfigMap>().get("anomaly-main-config").await.unwrap();
    let mut before = config().await;
    for step in 0..4 {
        match step {
            0 => drop(installation.declare("AnomalyQuery", "up", json!({"expr": "up == 0"})).await.unwrap()),
            1 => {
                let labels = json!({"metadata": {"labels": {"step": "1"}}});
                let queries = installation.api::<AnomalyQuery>();
                queries.patch("up", &PatchParams::default(), &Patch::Merge(labels)).await.unwrap();
            }
            2 => drop(installation.declare("AnomalyModel", "mad", json!({"madOnline": {}})).await.unwrap()),
            _ => drop(installation.declare("VMAnomaly", "main", anomaly(2)).await.unwrap()),
        }
        let newer = |map: &ConfigMap| map.resource_version() != before.resource_version();
        before = installation.wait::<ConfigMap>("anomaly-main-config", newer).await.unwrap();
        installation.wait_until_silent(Duration::from_secs(1)).await.unwrap();
        show_children(&mut writers).await;
        let outcome = visit(&stale, &old).await;
        assert!(matches!(outcome, Err(ReconcileError::Outdated(_))), "step {step}: {outcome:?}");
        assert_eq!(config().await.resource_version(), before.resource_version(), "step {step}");
    }
    drop(first);

    // A configuration by a newer release is left alone, whatever it says.
    let newer = json!({"data": {"inputs.json": json!({
        "operatorVersion": "99.0.0", "contractVersion": 1, "generation": 0, "objects": {},
    }).to_string()}});
    let maps = installation.api::<ConfigMap>();
    let newer = maps.patch("anomaly-main-config", &PatchParams::default(), &Patch::Merge(newer)).await.unwrap();
    let _third = installation.operator(quick_settings()).await.unwrap();
    installation.wait_until_silent(Duration::from_secs(2)).await.unwrap();
    assert_eq!(config().await.resource_version(), newer.resource_version());
}

#[tokio::test]
async fn kubectl_diff_is_empty_after_convergence() {
    let installation = installation().await;
    let _operator = installation.operator(quick_settings()).await.unwrap();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/quickstart");
    let arguments = ["--server-side", "--namespace", &installation.namespace, "-f", folder];
    let applied = installation.plane.kubectl(&[&["apply"], &arguments[..]].concat()).await.unwrap();
    assert!(applied.succeeded() && applied.warnings().next().is_none(), "{applied:?}");
    let visited = |anomaly: &VMAnomaly| ready(anomaly).is_some();
    installation.wait::<VMAnomaly>("quickstart", visited).await.unwrap();
    installation.wait_until_silent(Duration::from_secs(1)).await.unwrap();
    let difference = installation.plane.kubectl(&[&["diff"], &arguments[..]].concat()).await.unwrap();
    assert_eq!((difference.status, difference.output.as_str()), (Some(0), ""), "{}", difference.errors);
}

#[tokio::test]
async fn never_more_objects_are_visited_at_a_time_than_allowed() {
    let installation = installation().await;
    for number in 0..40 {
        installation.declare("AnomalyQuery", &format!("q{number}"), json!({"expr": "up"})).await.unwrap();
    }
    let settings = operator::operator::Settings { concurrency: 2, ..quick_settings() };
    let running = installation.operator(settings).await.unwrap();
    let gauge = || {
        let metrics = running.operator.metrics.text().unwrap();
        let name = "vmanomaly_operator_reconciles_in_flight ";
        metrics.lines().find_map(|line| line.strip_prefix(name)?.parse::<u32>().ok()).unwrap()
    };
    let mut highest = 0;
    let visited = async || {
        let queries = installation.api::<AnomalyQuery>().list(&kube::api::ListParams::default()).await.unwrap();
        queries.iter().filter(|query| query.status.is_some()).count()
    };
    while visited().await < 40 {
        for _ in 0..50 {
            highest = highest.max(gauge());
            tokio::task::yield_now().await;
        }
    }
    assert!((1..=2).contains(&highest), "{highest}");
}
