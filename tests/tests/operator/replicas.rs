//! Several replicas of every shard: how they come, go, are updated and scaled. Where there are no
//! controllers the stories report about StatefulSets and pods what these would.

use std::time::Duration;

use crds::VMAnomaly;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::core::{Selector, SelectorExt};
use operator::operator::Settings;
use serde_json::{Value, json};
use tests::kubernetes::audit::AuditEvent;
use tests::kubernetes::control_plane::{ControlPlane, Setup};
use tests::kubernetes::installation::{Installation, quick_settings};

use crate::fixtures::{condition, installation, is, model, query, ready, status, wait_until_rolled_out};
use crate::workers::{Scripted, job};

fn anomaly(shards: u32, replicas: u32, more: Value) -> Value {
    let mut spec = crate::fixtures::anomaly(shards);
    spec["replicas"] = replicas.into();
    spec["writer"]["mode"] = "Failover".into();
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

async fn declare(installation: &Installation<'_>, spec: Value) {
    installation.declare("AnomalyModel", "zscore", model()).await.unwrap();
    installation.declare("AnomalyQuery", "up", query()).await.unwrap();
    installation.declare("VMAnomaly", "main", spec).await.unwrap();
}

/// The Secret with the token of `main`.
async fn token(installation: &Installation<'_>) -> Secret {
    let uid = installation.api::<VMAnomaly>().get("main").await.unwrap().uid().unwrap();
    installation.wait::<Secret>(&format!("anomaly-main-peer-{}", &uid[..8]), |_| true).await.unwrap()
}

/// The operator's requests about Secrets.
fn about_secrets(installation: &Installation<'_>) -> Vec<AuditEvent> {
    let mut requests = installation.requests().unwrap();
    requests.retain(|event| event.object.as_ref().is_some_and(|object| object.resource == "secrets"));
    requests
}

fn pods(set: &StatefulSet) -> Option<i32> {
    set.spec.as_ref().and_then(|spec| spec.replicas)
}

fn image(set: &StatefulSet) -> String {
    set.spec.as_ref().unwrap().template.spec.as_ref().unwrap().containers[0].image.clone().unwrap()
}

fn tagged(tag: &str) -> impl Fn(&StatefulSet) -> bool {
    move |set| image(set).ends_with(&format!(":{tag}"))
}

/// Reports about a StatefulSet what its controller would: that all its pods are up to date and so many are ready.
async fn report_pods(installation: &Installation<'_>, name: &str, ready: i32) {
    let sets = installation.api::<StatefulSet>();
    let set = sets.get(name).await.unwrap();
    let status = json!({"status": {
        "observedGeneration": set.metadata.generation, "replicas": pods(&set), "updatedReplicas": pods(&set),
        "readyReplicas": ready,
    }});
    sets.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}

#[tokio::test]
async fn two_replicas_are_two_statefulsets_with_one_token_that_is_created_once_and_never_read() {
    let installation = installation().await;
    let _operator = installation.operator(quick_settings()).await.unwrap();
    declare(&installation, anomaly(2, 2, json!({}))).await;
    wait_until_rolled_out(&installation).await;
    let secret = token(&installation).await;
    let text = String::from_utf8(secret.data.as_ref().unwrap()["token"].0.clone()).unwrap();
    assert!(text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()), "{text}");
    let main = installation.api::<VMAnomaly>().get("main").await.unwrap();
    assert_eq!(secret.owner_references()[0].uid, main.uid().unwrap());

    let policy = installation.wait::<NetworkPolicy>("anomaly-main", |_| true).await.unwrap();
    let selector: Selector = policy.spec.unwrap().pod_selector.unwrap().try_into().unwrap();
    for name in ["anomaly-main-r0", "anomaly-main-r1"] {
        let set = installation.wait::<StatefulSet>(name, |set| pods(set) == Some(2)).await.unwrap();
        let pod = set.spec.unwrap().template;
        assert!(selector.matches(&pod.metadata.unwrap().labels.unwrap()), "{name}");
        let volumes = pod.spec.unwrap().volumes.unwrap();
        let mounted = volumes.iter().filter_map(|volume| volume.secret.as_ref()?.secret_name.clone());
        assert_eq!(mounted.collect::<Vec<_>>(), [secret.name_any()]);
    }

    // Visits come and go.
    installation.wait_until_silent(Duration::from_secs(2)).await.unwrap();
    let requests = about_secrets(&installation);
    let verbs: Vec<_> = requests.iter().map(|event| (event.verb.as_str(), event.response_status.code)).collect();
    assert_eq!(verbs, [("create", 201)]);
    let first_set = installation.requests().unwrap().into_iter().find(|event| {
        event.is_write() && event.object.as_ref().is_some_and(|object| object.resource == "statefulsets")
    });
    let all = installation.requests().unwrap();
    let place = |wanted: &AuditEvent| all.iter().position(|event| event == wanted).unwrap();
    assert!(place(&requests[0]) < place(&first_set.unwrap()), "the token comes before the pods that mount it");
}

#[tokio::test]
async fn a_deleted_token_comes_back_with_an_event_and_another_content() {
    let installation = installation().await;
    let settings = Settings { token: Duration::from_millis(500), ..quick_settings() };
    let _operator = installation.operator(settings).await.unwrap();
    declare(&installation, anomaly(1, 2, json!({}))).await;
    let secret = token(&installation).await;
    installation.api::<Secret>().delete(&secret.name_any(), &DeleteParams::default()).await.unwrap();
    let other = |found: &Secret| found.data != secret.data;
    installation.wait::<Secret>(&secret.name_any(), other).await.unwrap();
    let events = installation.api::<Event>().list(&ListParams::default()).await.unwrap();
    let told = events.iter().find(|event| event.reason.as_deref() == Some("PeerTokenCreated")).unwrap().name_any();
    let again = |event: &Event| event.series.as_ref().is_some_and(|series| series.count >= 2);
    installation.wait::<Event>(&told, again).await.unwrap();
    assert!(about_secrets(&installation).iter().all(|event| event.verb == "create"));
}

#[tokio::test]
async fn a_second_replica_comes_at_once_and_goes_when_the_first_has_followed() {
    let installation = installation().await;
    let _operator = installation.operator(quick_settings()).await.unwrap();
    declare(&installation, anomaly(1, 1, json!({}))).await;
    wait_until_rolled_out(&installation).await;
    let first = Scripted::start(&installation, 0, 0).await;
    first.say(|status| status.jobs = vec![job(config::status::JobPhase::Running, None)]);
    first.follow(&installation).await;
    installation.wait::<VMAnomaly>("main", |main| is(ready(main), "True", "AsConfigured")).await.unwrap();

    installation.declare("VMAnomaly", "main", anomaly(1, 2, json!({}))).await.unwrap();
    installation.wait::<StatefulSet>("anomaly-main-r1", |_| true).await.unwrap();
    let waits = |main: &VMAnomaly| {
        let available = condition(&status(main).conditions, "Ready").cloned();
        available.is_some_and(|ready| ready.message.contains("anomaly-main-r1-0"))
    };
    let main = installation.wait::<VMAnomaly>("main", waits).await.unwrap();
    assert_eq!((status(&main).replicas, status(&main).replicas_ready.as_deref()), (Some(2), Some("0/2")));
    let second = Scripted::start(&installation, 1, 0).await;
    second.say(|status| status.jobs = vec![job(config::status::JobPhase::Running, None)]);
    first.follow(&installation).await;
    second.follow(&installation).await;
    let main = installation.wait::<VMAnomaly>("main", |main| is(ready(main), "True", "AsConfigured")).await.unwrap();
    let shown = status(&main);
    assert_eq!((shown.shards_ready.as_deref(), shown.replicas_ready.as_deref()), (Some("1/1"), Some("2/2")));
    assert_eq!(shown.epoch, Some(1), "more replicas change nothing about who owns which series");

    installation.declare("VMAnomaly", "main", anomaly(1, 1, json!({}))).await.unwrap();
    let going = |main: &VMAnomaly| {
        let resharding = condition(&status(main).conditions, "Resharding").cloned();
        resharding.is_some_and(|resharding| resharding.reason == "ReplicasGoing")
    };
    installation.wait::<VMAnomaly>("main", going).await.unwrap();
    let topology = installation.api::<ConfigMap>().get("anomaly-main-topology").await.unwrap().data.unwrap();
    assert!(topology["topology.yaml"].contains("epoch: 1\n") && topology["topology.yaml"].contains("ranks: 1\n"));
    installation.wait_until_silent(Duration::from_secs(1)).await.unwrap();
    assert_eq!(pods(&installation.api::<StatefulSet>().get("anomaly-main-r1").await.unwrap()), Some(1));
    first.follow(&installation).await;
    installation.wait_until_gone::<StatefulSet>("anomaly-main-r1").await.unwrap();
    installation
        .wait::<VMAnomaly>("main", |main| !going(main) && is(ready(main), "True", "AsConfigured"))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_update_reaches_one_replica_after_the_other_and_what_it_broke_is_taken_back_at_once() {
    let installation = installation().await;
    let _operator = installation.operator(quick_settings()).await.unwrap();
    let tag = |tag: &str| anomaly(1, 2, json!({"image": {"repository": "w", "tag": tag}}));
    declare(&installation, tag("1")).await;
    wait_until_rolled_out(&installation).await;
    let (low, high) = ("anomaly-main-r0", "anomaly-main-r1");
    installation.wait::<StatefulSet>(high, tagged("1")).await.unwrap();
    let workers = [Scripted::start(&installation, 0, 0).await, Scripted::start(&installation, 1, 0).await];
    for (name, worker) in [low, high].into_iter().zip(&workers) {
        worker.say(|status| status.jobs = vec![job(config::status::JobPhase::Running, None)]);
        worker.follow(&installation).await;
        report_pods(&installation, name, 1).await;
    }
    let well = |main: &VMAnomaly| is(ready(main), "True", "AsConfigured");
    installation.wait::<VMAnomaly>("main", well).await.unwrap();

    let updating = |main: &VMAnomaly| {
        let ready = condition(&status(main).conditions, "Ready").cloned();
        ready.is_some_and(|ready| {
            ready.reason == "ReplicaUpdating"
                && ready.message.starts_with("anomaly-main-r1 is updated before anomaly-main-r0")
        })
    };
    installation.declare("VMAnomaly", "main", tag("2")).await.unwrap();
    installation.wait::<StatefulSet>(high, tagged("2")).await.unwrap();
    installation.wait::<VMAnomaly>("main", updating).await.unwrap();
    installation.wait_until_silent(Duration::from_secs(1)).await.unwrap();
    let sets = installation.api::<StatefulSet>();
    assert!(tagged("1")(&sets.get(low).await.unwrap()));
    // The pods are there, but the worker has not restored its state.
    workers[1].say(|status| status.ready = false);
    installation
        .wait::<VMAnomaly>("main", |main| {
            let available = condition(&status(main).conditions, "Progressing").cloned();
            updating(main) && available.is_some_and(|one| one.message.contains("waiting for anomaly-main-r1-0"))
        })
        .await
        .unwrap();
    report_pods(&installation, high, 1).await;
    installation.wait_until_silent(Duration::from_secs(1)).await.unwrap();
    assert!(tagged("1")(&sets.get(low).await.unwrap()));
    workers[1].say(|status| status.ready = true);
    installation.wait::<StatefulSet>(low, tagged("2")).await.unwrap();
    report_pods(&installation, low, 1).await;
    installation.wait::<VMAnomaly>("main", well).await.unwrap();

    // The next one does not start.
    installation.declare("VMAnomaly", "main", tag("3")).await.unwrap();
    installation.wait::<StatefulSet>(high, tagged("3")).await.unwrap();
    let mut before = sets.get(low).await.unwrap();
    workers[1].say(|status| status.ready = false);
    report_pods(&installation, high, 0).await;
    installation.wait::<VMAnomaly>("main", updating).await.unwrap();
    installation.declare("VMAnomaly", "main", tag("2")).await.unwrap();
    installation.wait::<StatefulSet>(high, tagged("2")).await.unwrap();
    workers[1].say(|status| status.ready = true);
    report_pods(&installation, high, 1).await;
    installation.wait::<VMAnomaly>("main", well).await.unwrap();
    let after = sets.get(low).await.unwrap();
    assert_eq!(before.spec.take(), after.spec, "it never took part");
}

/// The pod of rank `rank` of shard 0 that the controllers make, when it is another one than `former`, with a worker that
/// does well.
async fn next_pod(installation: &Installation<'_>, rank: u32, former: Option<&Pod>) -> (Pod, Scripted) {
    let former = former.and_then(ResourceExt::uid);
    let name = format!("anomaly-main-r{rank}-0");
    let pod = installation.wait::<Pod>(&name, |pod| pod.uid() != former).await.unwrap();
    let worker = Scripted::in_pod(installation, rank, 0).await;
    worker.say(|status| status.jobs = vec![job(config::status::JobPhase::Running, None)]);
    worker.follow(installation).await;
    (pod, worker)
}

#[tokio::test]
async fn kubernetes_own_controllers_replace_the_pods_of_one_replica_at_a_time_and_remove_the_volumes_of_one_that_goes()
{
    let plane = ControlPlane::start_with(&Setup { controllers: true, ..Setup::default() }).await.unwrap();
    let installation = Installation::new(&plane).await.unwrap();
    let _operator = installation.operator(quick_settings()).await.unwrap();
    let tag = |replicas: u32, tag: &str| anomaly(1, replicas, json!({"image": {"repository": "w", "tag": tag}}));
    declare(&installation, tag(2, "1")).await;
    let (low, _first) = next_pod(&installation, 0, None).await;
    let (high, _second) = next_pod(&installation, 1, None).await;
    let well = |main: &VMAnomaly| is(ready(main), "True", "AsConfigured");
    installation.wait::<VMAnomaly>("main", well).await.unwrap();

    installation.declare("VMAnomaly", "main", tag(2, "2")).await.unwrap();
    let name = high.name_any();
    installation.wait::<Pod>(&name, |pod| pod.uid() != high.uid()).await.unwrap();
    installation.wait_until_silent(Duration::from_secs(1)).await.unwrap();
    let pods = installation.api::<Pod>();
    assert_eq!(pods.get(&low.name_any()).await.unwrap().uid(), low.uid(), "the other one does not work yet");
    let (_, _third) = next_pod(&installation, 1, Some(&high)).await;
    let (low, first) = next_pod(&installation, 0, Some(&low)).await;
    installation.wait::<VMAnomaly>("main", well).await.unwrap();

    installation.declare("VMAnomaly", "main", tag(1, "2")).await.unwrap();
    let one = |map: &ConfigMap| map.data.as_ref().unwrap()["topology.yaml"].contains("ranks: 1\n");
    installation.wait::<ConfigMap>("anomaly-main-topology", one).await.unwrap();
    first.follow(&installation).await;
    installation.wait_until_gone::<StatefulSet>("anomaly-main-r1").await.unwrap();
    installation.wait_until_gone::<Pod>("anomaly-main-r1-0").await.unwrap();
    installation.wait_until_gone::<PersistentVolumeClaim>("state-anomaly-main-r1-0").await.unwrap();
    assert!(installation.api::<PersistentVolumeClaim>().get("state-anomaly-main-r0-0").await.is_ok());
    assert_eq!(pods.get(&low.name_any()).await.unwrap().uid(), low.uid());
    installation.wait::<VMAnomaly>("main", well).await.unwrap();
}

#[tokio::test]
async fn kubectl_and_a_horizontal_pod_autoscaler_scale_shards_and_see_one_pod_for_each() {
    let installation = installation().await;
    let _operator = installation.operator(quick_settings()).await.unwrap();
    declare(&installation, anomaly(1, 2, json!({}))).await;
    wait_until_rolled_out(&installation).await;
    let namespace = installation.namespace.as_str();
    let scale = ["scale", "vmanomalies.vmanomaly.dev/main", "--replicas=2", "-n", namespace];
    let scaled = installation.plane.kubectl(&scale).await.unwrap();
    assert!(scaled.succeeded(), "{scaled:?}");
    for name in ["anomaly-main-r0", "anomaly-main-r1"] {
        installation.wait::<StatefulSet>(name, |set| pods(set) == Some(2)).await.unwrap();
    }
    installation.wait::<VMAnomaly>("main", |main| status(main).shards == Some(2)).await.unwrap();
    for (rank, shard) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        Scripted::start(&installation, rank, shard).await;
    }
    let scale = installation.api::<VMAnomaly>().get_scale("main").await.unwrap().status.unwrap();
    let selected = ListParams::default().labels(scale.selector.as_deref().unwrap());
    let pods = installation.api::<Pod>().list(&selected).await.unwrap();
    assert_eq!((scale.replicas, pods.items.len()), (2, 2), "an average over these pods is one over the shards");

    let autoscaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "main"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "vmanomaly.dev/v1alpha1", "kind": "VMAnomaly", "name": "main"},
            "minReplicas": 2, "maxReplicas": 8,
        },
    });
    installation.apply(autoscaler).await.unwrap();
    installation.wait::<HorizontalPodAutoscaler>("main", |_| true).await.unwrap();
}
