//! More and fewer shards: when the topology changes, when pods go, and what is said about it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use config::contract::{CONTRACT_VERSION, OLDEST_CONTRACT_VERSION};
use crds::VMAnomaly;
use crds::anomaly::VMAnomalyStatus;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::ConfigMap;
use operator::build::WorkerDefaults;
use operator::kubernetes::child::ChildKind;
use operator::reconcile::plan::{Plan, Surroundings, plan};
use operator::reconcile::rollout::Group;
use operator::status::anomaly::{Facts, status};
use operator::status::resharding::{NewsKind, news};
use operator::workers::report::Report;
use operator::workers::state::{Worker, WorkerState};
use serde_json::json;

/// A VMAnomaly with one replica, what is around it, and the operator that visits it again and again.
struct Deployment {
    anomaly: VMAnomaly,
    around: Surroundings,
    plan: Plan,
}

impl Deployment {
    /// Whose workers have all followed.
    fn settled(shards: u32) -> Self {
        let connection = json!({"datasourceURL": "http://tsdb:8428"});
        let anomaly: VMAnomaly = serde_json::from_value(json!({
            "metadata": {"name": "main", "namespace": "n", "uid": "u", "generation": 1},
            "spec": {"shards": shards, "reader": connection, "writer": connection, "settings": {"handoverTimeout": "1m"}},
        }))
        .unwrap();
        let around = Surroundings { now: Some(Timestamp::UNIX_EPOCH), ..Surroundings::default() };
        let plan = plan(&anomaly, &around, &WorkerDefaults::default()).unwrap();
        let mut deployment = Self { anomaly, around, plan };
        deployment.visit();
        for shard in 0..shards {
            deployment.report(shard, true);
        }
        deployment.visit();
        deployment
    }

    /// Visits it; brings kinds of news.
    fn visit(&mut self) -> Option<NewsKind> {
        let wanted = u32::try_from(self.anomaly.spec.shards).unwrap();
        self.expect_workers(wanted);
        self.plan = plan(&self.anomaly, &self.around, &WorkerDefaults::default()).unwrap();
        for child in &self.plan.children {
            let object = child.object.clone();
            match (child.kind, child.key.name.as_str()) {
                (ChildKind::ConfigMap, "anomaly-main-topology") => {
                    self.around.topology = Some(serde_json::from_value::<ConfigMap>(object).unwrap());
                }
                (ChildKind::ConfigMap, _) => self.around.config = Some(serde_json::from_value(object).unwrap()),
                (ChildKind::StatefulSet, _) => {
                    let set: StatefulSet = serde_json::from_value(object).unwrap();
                    self.around.groups.insert(0, Group::of(&set));
                }
                _ => {}
            }
        }
        self.around.workers.truncate(usize::try_from(self.pods().max(wanted)).unwrap());
        let before = self.anomaly.status.clone();
        let shards = self.plan.topology.shards.get();
        let current: Vec<_> = self.around.workers.iter().filter(|worker| worker.shard < shards).cloned().collect();
        let now = self.around.now.unwrap();
        let facts = Facts { plan: &self.plan, workers: &current, failures: &[], now };
        let after = status(&self.anomaly, &facts);
        let news = news(before.as_ref(), &after).map(|news| news.kind);
        self.anomaly.status = Some(after);
        news
    }

    fn expect_workers(&mut self, shards: u32) {
        for shard in u32::try_from(self.around.workers.len()).unwrap()..shards {
            let pod = format!("anomaly-main-r0-{shard}");
            self.around.workers.push(Worker { pod, rank: 0, shard, state: WorkerState::Missing });
        }
    }

    /// The worker of a shard has the newest topology, and all series that it owns, or not.
    fn report(&mut self, shard: u32, settled: bool) {
        let report = Report {
            contract_version: CONTRACT_VERSION,
            epoch: self.plan.topology.epoch,
            ranks: Some(1),
            revision: Some(self.plan.configuration.as_ref().unwrap().revision.clone()),
            ready: true,
            settled,
            ..Report::default()
        };
        self.around.workers[usize::try_from(shard).unwrap()].state = WorkerState::Answers(Arc::new(report));
    }

    /// The worker of a shard is one of a release that understands this contract.
    fn understands(&mut self, shard: u32, contract_version: u32) {
        let worker = &mut self.around.workers[usize::try_from(shard).unwrap()];
        let report = worker.report().cloned().unwrap_or_default();
        worker.state = WorkerState::Answers(Arc::new(Report { contract_version, ..report }));
    }

    fn scale(&mut self, shards: i32) -> Option<NewsKind> {
        self.anomaly.spec.shards = shards;
        self.visit()
    }

    fn pass(&mut self, seconds: i64) -> Option<NewsKind> {
        self.around.now = self.around.now.map(|now| now + SignedDuration::from_secs(seconds));
        self.visit()
    }

    fn pods(&self) -> u32 {
        self.around.groups[&0].pods
    }

    /// Epoch, shards, former shards.
    fn topology(&self) -> (u64, u32, Vec<u32>) {
        let topology = &self.plan.topology;
        let previous = topology.previous_shards.iter().map(|count| count.get()).collect();
        (topology.epoch, topology.shards.get(), previous)
    }

    /// Status, reason and message of a condition.
    fn condition(&self, name: &str) -> (String, String, String) {
        let status: &VMAnomalyStatus = self.anomaly.status.as_ref().unwrap();
        let found = status.conditions.iter().find(|condition| condition.type_ == name).unwrap();
        (found.status.clone(), found.reason.clone(), found.message.clone())
    }

    fn says(&self, name: &str, status: &str, reason: &str, words: &str) {
        let (is, why, message) = self.condition(name);
        assert!((is.as_str(), why.as_str()) == (status, reason) && message.contains(words), "{is} {why}: {message}");
    }
}

#[test]
fn more_shards_come_at_once_and_a_further_wish_waits_until_series_have_come_there() {
    let mut main = Deployment::settled(1);
    assert_eq!(main.topology(), (1, 1, vec![]));
    assert_eq!(main.scale(3), Some(NewsKind::Begun));
    assert_eq!((main.topology(), main.pods()), ((2, 3, vec![1]), 3));
    main.says("Resharding", "True", "WaitingForWorkers", "anomaly-main-r0-1 (does not answer), ");
    main.says("Ready", "False", "WorkersStarting", "anomaly-main-r0-1 (no pod)");

    for shard in 0..3 {
        main.report(shard, false);
    }
    assert_eq!(main.scale(2), None);
    assert_eq!((main.topology(), main.pods()), ((2, 3, vec![1]), 3));
    main.says("Resharding", "True", "ShardsChanging", "from 1 to 3 shards; waiting for anomaly-main-r0-0 (gives or");
    main.says("Resharding", "True", "ShardsChanging", "; 2 shards come next");
    main.says("Ready", "True", "NoQueriesSelected", "");

    for shard in 0..3 {
        main.report(shard, true);
    }
    assert_eq!(main.visit(), Some(NewsKind::Begun));
    assert_eq!((main.topology(), main.pods()), ((3, 2, vec![3]), 3));
    main.says("Ready", "True", "NoQueriesSelected", "");
    for shard in 0..3 {
        main.report(shard, shard == 1);
    }
    main.visit();
    assert_eq!(main.pods(), 3, "shard 2 still has something to give");
    for shard in 0..3 {
        main.report(shard, true);
    }
    assert_eq!(main.visit(), Some(NewsKind::Settled));
    assert_eq!((main.topology(), main.pods(), main.plan.topology.settled_epoch), ((3, 2, vec![]), 2, 3));
    main.says("Resharding", "False", "ShardsSettled", "");
    assert_eq!(main.visit(), None);
}

#[test]
fn while_a_worker_is_too_old_nothing_moves_and_no_epoch_is_used_up() {
    let mut main = Deployment::settled(2);
    main.understands(1, OLDEST_CONTRACT_VERSION - 1);
    for _ in 0..3 {
        main.scale(3);
        assert_eq!(main.topology(), (1, 2, vec![]));
        main.says("ConfigValid", "False", "WorkerTooOld", "anomaly-main-r0-1 understands contract 0");
        assert_eq!(main.anomaly.status.as_ref().unwrap().epoch, Some(1));
    }
    main.understands(1, CONTRACT_VERSION);
    assert_eq!(main.visit(), Some(NewsKind::Begun));
    assert_eq!(main.topology(), (2, 3, vec![2]));
}

#[test]
fn an_older_operator_goes_on_with_a_hand_over_that_a_newer_one_has_begun() {
    let mut main = Deployment::settled(2);
    main.scale(3);
    let begun = main.topology();
    let newer = CONTRACT_VERSION + 1;
    let rewrite = |main: &mut Deployment, text: String| {
        let map = main.around.topology.as_mut().unwrap();
        map.data = Some([("topology.yaml".to_owned(), text)].into());
    };
    let core = "epoch: 2\nsettled_epoch: 1\nshards: 3\nranks: 1\nprevious_shards: [2]\n";
    rewrite(&mut main, format!("contract_version: {newer}\n{core}flavour: vanilla\n"));
    main.visit();
    assert_eq!((main.topology(), main.plan.topology.settled_epoch), (begun.clone(), 1));
    assert_eq!((main.plan.topology.contract_version, main.plan.recorded_contract), (CONTRACT_VERSION, Some(newer)));
    let written = main.around.topology.as_ref().unwrap().data.as_ref().unwrap()["topology.yaml"].clone();
    assert!(
        written.starts_with(&format!("contract_version: {CONTRACT_VERSION}\nepoch: 2\nsettled_epoch: 1\n")),
        "{written}"
    );

    rewrite(&mut main, format!("contract_version: {newer}\nlayers: 3\n"));
    let refused = plan(&main.anomaly, &main.around, &WorkerDefaults::default()).unwrap_err().to_string();
    assert!(refused.contains(&format!("the topology is of contract {newer}")), "{refused}");
}

#[test]
fn after_the_timeout_it_says_so_once_and_a_newer_wish_starts_anyway() {
    let mut main = Deployment::settled(1);
    main.scale(3);
    main.report(0, false);
    assert_eq!(main.pass(59), None);
    assert_eq!(main.pass(1), Some(NewsKind::TimedOut));
    main.says("Resharding", "True", "HandoverTimedOut", "anomaly-main-r0-2 (does not answer)");
    assert_eq!(main.pass(1), None);
    assert_eq!(main.scale(2), Some(NewsKind::Begun));
    assert_eq!((main.topology(), main.pods()), ((3, 2, vec![3, 1]), 3));
    main.says("Resharding", "True", "WaitingForWorkers", "from 1 to 3 to 2 shards");
    assert_eq!((main.pass(59), main.scale(4)), (None, None), "each epoch has its own time");
    assert_eq!(main.pass(1), Some(NewsKind::Begun));
    assert_eq!(main.topology(), (4, 4, vec![2, 3, 1]));
}

#[test]
fn pods_that_hold_series_of_others_stay_while_they_answer_however_long_that_takes() {
    let mut main = Deployment::settled(2);
    main.scale(1);
    main.report(1, false);
    main.around.workers[0].state = WorkerState::Silent;
    main.pass(600);
    assert_eq!(main.pods(), 2, "it scores them meanwhile");
    main.around.workers[1].state = WorkerState::Silent;
    main.visit();
    assert_eq!(main.pods(), 1, "it does not score anything");
}

#[test]
fn a_worker_that_is_away_later_does_not_undo_that_an_epoch_has_settled() {
    let mut main = Deployment::settled(3);
    main.around.workers[1].state = WorkerState::Silent;
    assert_eq!(main.pass(600), None);
    main.says("Resharding", "False", "ShardsSettled", "");
    main.scale(2);
    assert_eq!((main.topology(), main.plan.topology.settled_epoch), ((2, 2, vec![3]), 1));
}
