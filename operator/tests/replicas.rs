//! Several replicas: what is made of them, in which order, and what is said about them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;

use config::load::Source;
use config::topology::Topology;
use crds::VMAnomaly;
use crds::anomaly::VMAnomalyStatus;
use crds::status::Reason;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::ConfigMap;
use operator::build::WorkerDefaults;
use operator::kubernetes::child::{Child, ChildKind};
use operator::reconcile::plan::{Plan, Surroundings, plan};
use operator::reconcile::rollout::Group;
use operator::status::anomaly::{Facts, status};
use operator::workers::report::Report;
use operator::workers::state::{Worker, WorkerState};
use serde_json::{Value, json};

fn anomaly(shards: u32, replicas: u32, more: Value) -> VMAnomaly {
    let mut spec = json!({
        "shards": shards, "replicas": replicas,
        "reader": {"datasourceURL": "http://tsdb:8428"},
        "writer": {"datasourceURL": "http://tsdb:8428", "mode": "Failover", "failoverAfter": "20s"},
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let metadata = json!({"name": "main", "namespace": "team-a", "uid": "0a1b2c3d-0000", "generation": 1});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
}

fn planned(anomaly: &VMAnomaly, around: &Surroundings) -> Plan {
    plan(anomaly, around, &WorkerDefaults::default()).unwrap()
}

fn child<'a>(plan: &'a Plan, kind: ChildKind, name: &str) -> Option<&'a Value> {
    let found = plan.children.iter().find(|child| child.kind == kind && child.key.name == name);
    found.map(|child| &child.object)
}

fn sets(plan: &Plan) -> Vec<(&str, i64)> {
    let sets = plan.children.iter().filter(|child| child.kind == ChildKind::StatefulSet);
    let pods = |child: &Child| child.object["spec"]["replicas"].as_i64().unwrap();
    sets.map(|child| (child.key.name.as_str(), pods(child))).collect()
}

fn kept(plan: &Plan) -> Vec<&str> {
    plan.kept.iter().map(|(_, name)| name.as_str()).collect()
}

/// When every topology begins, and when its workers have had their time to follow it.
const START: Timestamp = Timestamp::UNIX_EPOCH;
const AFTER_TIMEOUT: Timestamp = Timestamp::constant(300, 0);

/// What is around a VMAnomaly whose children are as planned and whose workers do well, those of its StatefulSets.
fn settled(anomaly: &VMAnomaly) -> Surroundings {
    let plan = planned(anomaly, &Surroundings { now: Some(START), ..Surroundings::default() });
    let map = |name| -> Option<ConfigMap> {
        child(&plan, ChildKind::ConfigMap, name).map(|object| serde_json::from_value(object.clone()).unwrap())
    };
    let mut groups = BTreeMap::new();
    let mut workers = Vec::new();
    for rank in 0..plan.topology.ranks.get() {
        let object = child(&plan, ChildKind::StatefulSet, &format!("anomaly-main-r{rank}")).unwrap();
        let set: StatefulSet = serde_json::from_value(object.clone()).unwrap();
        let pods = plan.topology.shards.get();
        groups.insert(rank, Group { existing: pods, ready: pods, rolled_out: true, ..Group::of(&set) });
        let report = Arc::new(Report {
            contract_version: config::contract::CONTRACT_VERSION,
            epoch: plan.topology.epoch,
            ranks: Some(plan.topology.ranks.get()),
            revision: Some(plan.configuration.as_ref().unwrap().revision.clone()),
            ready: true,
            settled: true,
            ..Report::default()
        });
        workers.extend((0..pods).map(|shard| Worker {
            pod: format!("anomaly-main-r{rank}-{shard}"),
            rank,
            shard,
            state: WorkerState::Answers(Arc::clone(&report)),
        }));
    }
    let (config, topology) = (map("anomaly-main-config"), map("anomaly-main-topology"));
    Surroundings { config, topology, groups, workers, now: Some(START), ..Surroundings::default() }
}

fn lose(around: &mut Surroundings, rank: u32) {
    around.workers.iter_mut().filter(|worker| worker.rank == rank).for_each(|worker| {
        worker.state = WorkerState::NotRunning(Some("ImagePullBackOff".to_owned()));
    });
    let group = around.groups.get_mut(&rank).unwrap();
    (group.ready, group.rolled_out) = (0, false);
}

fn told(anomaly: &VMAnomaly, plan: &Plan, workers: &[Worker]) -> VMAnomalyStatus {
    let facts = Facts { plan, workers, failures: &[], now: Timestamp::UNIX_EPOCH };
    status(anomaly, &facts)
}

fn condition(status: &VMAnomalyStatus, name: &str) -> (String, String, String) {
    let found = status.conditions.iter().find(|condition| condition.type_ == name).unwrap();
    (found.status.clone(), found.reason.clone(), found.message.clone())
}

#[test]
fn workers_find_each_other_by_the_topology_and_know_each_other_by_a_mounted_token() {
    let plan = planned(&anomaly(3, 2, json!({})), &Surroundings::default());
    assert_eq!(sets(&plan), [("anomaly-main-r1", 3), ("anomaly-main-r0", 3)]);
    let map = child(&plan, ChildKind::ConfigMap, "anomaly-main-topology").unwrap();
    let text = map["data"]["topology.yaml"].as_str().unwrap();
    let topology = Topology::parse(&Source::new("topology.yaml", text)).unwrap();
    assert_eq!(topology, plan.topology);
    let peers = topology.peers.unwrap();
    assert_eq!(peers.url.of(2, 1), "http://anomaly-main-r1-2.anomaly-main.team-a.svc:8491");
    assert_eq!(peers.listen.of(2, 1), "[::]:8491");
    assert_eq!(peers.token_file.to_str(), Some("/etc/vmanomaly/peer/token"));

    let service = child(&plan, ChildKind::Service, "anomaly-main").unwrap();
    assert_eq!(service["spec"]["publishNotReadyAddresses"], true);
    for rank in [0, 1] {
        let set = child(&plan, ChildKind::StatefulSet, &format!("anomaly-main-r{rank}")).unwrap();
        assert_eq!(set["spec"]["serviceName"], "anomaly-main");
        let pod = &set["spec"]["template"];
        assert_eq!(pod["metadata"]["labels"]["vmanomaly.dev/rank"], rank.to_string());
        assert_eq!(set["spec"]["selector"]["matchLabels"]["vmanomaly.dev/rank"], rank.to_string());
        let container = &pod["spec"]["containers"][0];
        assert!(container["args"].as_array().unwrap().contains(&json!(format!("--rank={rank}"))), "{container:#}");
        let ports: Vec<_> = container["ports"].as_array().unwrap().iter().map(|port| &port["containerPort"]).collect();
        assert_eq!(ports, [8490, 8491]);
        let volumes = pod["spec"]["volumes"].as_array().unwrap();
        let token = &volumes.iter().find(|volume| volume["name"] == "peer").unwrap()["secret"];
        assert_eq!(token["secretName"], "anomaly-main-peer-0a1b2c3d");
        assert_eq!(token["items"], json!([{"key": "token", "path": "token"}]));
    }
    let configuration = plan.configuration.unwrap().text;
    assert!(
        configuration.contains("mode: failover") && configuration.contains("failover_after: 20s"),
        "{configuration}"
    );
}

#[test]
fn everybody_reaches_the_server_of_a_worker_and_only_its_like_the_port_of_peers() {
    let own = json!({"server": {"port": 9000}});
    let plan = planned(&anomaly(1, 2, own), &Surroundings::default());
    let policy = &child(&plan, ChildKind::NetworkPolicy, "anomaly-main").unwrap()["spec"];
    assert_eq!(policy["policyTypes"], json!(["Ingress"]));
    assert_eq!(policy["ingress"][0], json!({"ports": [{"port": 9000, "protocol": "TCP"}]}));
    let (from, ports) = (&policy["ingress"][1]["from"], &policy["ingress"][1]["ports"]);
    assert_eq!(
        (from, ports),
        (&json!([{"podSelector": policy["podSelector"]}]), &json!([{"port": 8491, "protocol": "TCP"}]))
    );
    let labels = child(&plan, ChildKind::StatefulSet, "anomaly-main-r1").unwrap();
    let labels = labels["spec"]["template"]["metadata"]["labels"].as_object().unwrap();
    let selected = policy["podSelector"]["matchLabels"].as_object().unwrap();
    assert!(selected.iter().all(|(label, value)| labels.get(label) == Some(value)), "{labels:?}");

    let none = anomaly(1, 2, json!({"server": {"networkPolicy": false}}));
    assert!(child(&planned(&none, &Surroundings::default()), ChildKind::NetworkPolicy, "anomaly-main").is_none());
}

#[test]
fn replicas_of_a_shard_prefer_different_nodes_unless_the_user_says_otherwise() {
    let affinity = |pod: Value| {
        let plan = planned(&anomaly(1, 2, json!({"pod": pod})), &Surroundings::default());
        let set = child(&plan, ChildKind::StatefulSet, "anomaly-main-r0").unwrap();
        set["spec"]["template"]["spec"]["affinity"].clone()
    };
    let preferred = |affinity: &Value| {
        let terms = &affinity["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"];
        terms[0]["podAffinityTerm"]["matchLabelKeys"].clone()
    };
    let same_shard = json!(["apps.kubernetes.io/pod-index"]);
    assert_eq!(preferred(&affinity(json!({}))), same_shard);
    let on_ssd = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}});
    let merged = affinity(json!({"affinity": on_ssd}));
    assert_eq!((preferred(&merged), &merged["nodeAffinity"]), (same_shard, &on_ssd["nodeAffinity"]));
    assert_eq!(affinity(json!({"affinity": {"podAntiAffinity": {}}})), json!({"podAntiAffinity": {}}));
}

#[test]
fn a_changed_pod_template_reaches_one_replica_after_the_other() {
    let before = anomaly(2, 3, json!({}));
    let changed = anomaly(2, 3, json!({"image": {"tag": "2"}}));
    let mut around = settled(&before);
    assert_eq!(sets(&planned(&before, &around)).len(), 3, "unchanged ones are no news to the API server");
    let plan = planned(&changed, &around);
    assert_eq!((sets(&plan), kept(&plan)), (vec![("anomaly-main-r2", 2)], vec!["anomaly-main-r1", "anomaly-main-r0"]));

    // It has the newest one and does not start.
    let newest = settled(&changed);
    around.groups.insert(2, newest.groups[&2].clone());
    lose(&mut around, 2);
    let plan = planned(&changed, &around);
    assert_eq!(sets(&plan), [("anomaly-main-r2", 2)]);
    let status = told(&changed, &plan, &around.workers);
    let (_, reason, message) = condition(&status, "Ready");
    assert_eq!(reason, Reason::ReplicaUpdating.name());
    for words in
        ["anomaly-main-r2 is updated before anomaly-main-r1, anomaly-main-r0", "anomaly-main-r2-0 (ImagePullBackOff)"]
    {
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(condition(&status, "Available").0, "True", "every shard has a worker");
    assert_eq!((status.shards_ready.as_deref(), status.replicas_ready.as_deref()), (Some("2/2"), Some("2/3")));

    // Whatever is asked for next reaches it at once, and nobody else before it works.
    let other = anomaly(2, 3, json!({"image": {"tag": "3"}}));
    assert_eq!(sets(&planned(&other, &around)), [("anomaly-main-r2", 2)]);
    assert!(planned(&before, &around).hold.is_none());

    // It works: the next one.
    let mut around = settled(&before);
    around.groups.insert(2, newest.groups[&2].clone());
    assert_eq!(sets(&planned(&changed, &around)), [("anomaly-main-r2", 2), ("anomaly-main-r1", 2)]);
}

#[test]
fn replicas_that_wait_for_their_turn_are_scaled_all_the_same() {
    let around = settled(&anomaly(2, 2, json!({})));
    let plan = planned(&anomaly(3, 2, json!({"image": {"tag": "2"}})), &around);
    assert_eq!(sets(&plan), [("anomaly-main-r1", 3), ("anomaly-main-r0", 3)]);
    let image = |name| {
        let set = child(&plan, ChildKind::StatefulSet, name).unwrap();
        set["spec"]["template"]["spec"]["containers"][0]["image"]
            .as_str()
            .unwrap()
            .rsplit(':')
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        (image("anomaly-main-r1").as_str(), image("anomaly-main-r0").as_str()),
        ("2", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_replica_goes_when_all_workers_that_stay_know_that_it_does_and_silent_ones_have_had_their_time() {
    let fewer = anomaly(2, 1, json!({}));
    let mut around = settled(&anomaly(2, 2, json!({})));
    let plan = planned(&fewer, &around);
    assert_eq!((plan.topology.ranks.get(), plan.topology.epoch), (1, around_epoch(&around)));
    assert_eq!((sets(&plan), kept(&plan)), (vec![("anomaly-main-r0", 2)], vec!["anomaly-main-r1"]));
    let status = told(&fewer, &plan, &around.workers[..2]);
    let (holds, reason, message) = condition(&status, "Resharding");
    assert_eq!((holds.as_str(), reason.as_str()), ("True", Reason::ReplicasGoing.name()));
    assert!(message.contains("anomaly-main-r1"), "{message}");

    around.topology = settled(&fewer).topology;
    assert_eq!(kept(&planned(&fewer, &around)), ["anomaly-main-r1"], "nobody has followed");
    let mut late = Surroundings { now: Some(AFTER_TIMEOUT), ..around.clone() };
    assert_eq!(kept(&planned(&fewer, &late)), ["anomaly-main-r1"], "they answer");
    late.workers.splice(..2, settled(&fewer).workers);
    late.workers[1].state = WorkerState::Silent;
    assert_eq!(sets(&planned(&fewer, &late)), [("anomaly-main-r0", 2), ("anomaly-main-r1", 0)]);
    late.now = Some(START);
    assert_eq!(kept(&planned(&fewer, &late)), ["anomaly-main-r1"]);

    around.workers.splice(..2, settled(&fewer).workers);
    // Without pods first, so that their volumes go or stay as those of shards do.
    let plan = planned(&fewer, &around);
    assert_eq!(sets(&plan), [("anomaly-main-r0", 2), ("anomaly-main-r1", 0)]);
    around.groups.get_mut(&1).unwrap().pods = 0;
    assert_eq!(kept(&planned(&fewer, &around)), ["anomaly-main-r1"]);
    around.groups.get_mut(&1).unwrap().existing = 0;
    let plan = planned(&fewer, &around);
    assert!(kept(&plan).is_empty() && sets(&plan) == [("anomaly-main-r0", 2)]);
}

fn around_epoch(around: &Surroundings) -> u64 {
    around.workers[0].report().unwrap().epoch
}

#[test]
fn a_missing_worker_is_named_and_a_shard_without_any_is_not_available() {
    let two = anomaly(2, 2, json!({}));
    let mut around = settled(&two);
    around.workers[2].state = WorkerState::Missing;
    let plan = planned(&two, &around);
    let status = told(&two, &plan, &around.workers);
    let (ready, reason, message) = condition(&status, "Ready");
    assert_eq!((ready.as_str(), reason.as_str()), ("False", Reason::WorkersStarting.name()));
    assert!(message.contains("anomaly-main-r1-0 (no pod)"), "{message}");
    assert_eq!(condition(&status, "Available").0, "True");
    assert_eq!((status.shards_ready.as_deref(), status.replicas_ready.as_deref()), (Some("2/2"), Some("1/2")));

    around.workers[0].state = WorkerState::Silent;
    let status = told(&two, &plan, &around.workers);
    assert_eq!(condition(&status, "Available").0, "False");
    assert_eq!((status.shards_ready.as_deref(), status.replicas_ready.as_deref()), (Some("1/2"), Some("0/2")));
    let selector = status.selector.unwrap();
    assert!(selector.ends_with("vmanomaly.dev/rank=0"), "one pod for each of status.shards: {selector}");
}
