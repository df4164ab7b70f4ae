//! What is said about a change of shards or replicas: a condition, and an event when it begins, ends or takes too long.
//! Pure.

use crds::VMAnomaly;
use crds::anomaly::VMAnomalyStatus;
use crds::status::{ConditionType, Reason};
use kube::ResourceExt;

use crate::names::ChildNames;
use crate::reconcile::plan::Plan;
use crate::status::condition::{Finding, find, some_of};

/// The condition `Resharding`.
#[must_use]
pub fn finding(anomaly: &VMAnomaly, plan: &Plan) -> Finding {
    let (topology, following) = (&plan.topology, &plan.following);
    if topology.previous_shards.is_empty() {
        let names = ChildNames::of(&anomaly.name_any());
        let going: Vec<String> = plan.going.iter().map(|rank| names.workers(*rank)).collect();
        if going.is_empty() {
            return Finding::no(Reason::ShardsSettled, "");
        }
        let message = format!("{} has to go when the other workers have followed", some_of(&going));
        return Finding::yes(Reason::ReplicasGoing, message);
    }
    let listed =
        |pods: &[String], what: &str| -> Vec<String> { pods.iter().map(|pod| format!("{pod} ({what})")).collect() };
    let mut awaited = listed(&following.silent, "does not answer");
    awaited.extend(listed(&following.behind, "has not followed"));
    let reason = match (following.overdue, awaited.is_empty()) {
        (true, _) => Reason::HandoverTimedOut,
        (false, false) => Reason::WaitingForWorkers,
        (false, true) => Reason::ShardsChanging,
    };
    awaited.extend(listed(&following.open, "gives or takes series"));
    let counts: Vec<String> = topology.previous_shards.iter().rev().map(ToString::to_string).collect();
    let mut message = if topology.previous_shards == [topology.shards] {
        format!("series are placed anew on {} shards", topology.shards)
    } else {
        format!("from {} to {} shards", counts.join(" to "), topology.shards)
    };
    if !awaited.is_empty() {
        message.push_str(&format!("; waiting for {}", some_of(&awaited)));
    }
    if let Some(shards) = plan.next_shards {
        message.push_str(&format!("; {shards} shards come next"));
    }
    Finding::yes(reason, message)
}

/// How far a change of shards or replicas has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewsKind {
    /// It has begun.
    Begun,
    /// It is over.
    Settled,
    /// It takes longer than it may.
    TimedOut,
}

impl NewsKind {
    /// As it is written in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Settled => "settled",
            Self::TimedOut => "timed_out",
        }
    }
}

/// Something that is worth an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// What.
    pub kind: NewsKind,
    /// For machines.
    pub reason: &'static str,
    /// For people.
    pub note: String,
}

/// What a status says for the first time about a change of shards or replicas.
#[must_use]
pub fn news(before: Option<&VMAnomalyStatus>, now: &VMAnomalyStatus) -> Option<News> {
    let condition = find(&now.conditions, ConditionType::Resharding)?;
    let known = before.and_then(|before| find(&before.conditions, ConditionType::Resharding));
    let known = known.filter(|known| known.status == "True");
    if condition.status != "True" {
        let note = format!("all series are where they belong: {} shards", now.shards.unwrap_or_default());
        return known.map(|_| News { kind: NewsKind::Settled, reason: Reason::ShardsSettled.name(), note });
    }
    let is = |reason: Reason| condition.reason == reason.name();
    let (kind, reason) = if known.is_none() || before.and_then(|before| before.epoch) != now.epoch {
        let goes = is(Reason::ReplicasGoing);
        (NewsKind::Begun, if goes { Reason::ReplicasGoing } else { Reason::ShardsChanging })
    } else if is(Reason::HandoverTimedOut) && known.is_some_and(|known| known.reason != condition.reason) {
        (NewsKind::TimedOut, Reason::HandoverTimedOut)
    } else {
        return None;
    };
    Some(News { kind, reason: reason.name(), note: condition.message.clone() })
}
