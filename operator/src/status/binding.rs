//! The status of an AnomalyModel or AnomalyQuery: what each VMAnomaly that selects it makes of it.

use crds::status::{Binding, BindingStatus, ConditionType, Reason};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::reconcile::verdicts::Judgement;
use crate::selection::ObjectKey;
use crate::status::condition::{Finding, find, following};

/// Most bindings that are listed.
const LISTED: usize = 50;

/// What a VMAnomaly that selects the object makes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// As of its last visit.
    Judged(Judgement),
    /// It was not visited since this operator started: what was reported before still holds.
    Unvisited,
}

/// The status of an object with this generation. `before` is its status so far, `bound` every VMAnomaly that selects
/// it, ordered.
#[must_use]
pub fn status(
    before: Option<&BindingStatus>,
    generation: Option<i64>,
    bound: &[(ObjectKey, Bound)],
    now: Timestamp,
) -> BindingStatus {
    let known = |key: &ObjectKey| {
        let mut bindings = before.iter().flat_map(|status| &status.bindings);
        bindings.find(|binding| binding.namespace == key.namespace && binding.name == key.name)
    };
    let listed = bound.iter().take(LISTED);
    let bindings: Vec<Binding> = listed.map(|(key, bound)| binding(known(key), key, bound, generation, now)).collect();
    let ready = before.and_then(|status| find(&status.conditions, ConditionType::Ready));
    let ready = following(ready, ConditionType::Ready, &summary(&bindings), generation, now);
    BindingStatus {
        observed_generation: generation,
        conditions: vec![ready],
        selected_by: Some(i32::try_from(bound.len()).unwrap_or(i32::MAX)),
        bindings,
    }
}

/// The condition Ready of an object that this operator cannot read.
#[must_use]
pub fn undecodable(before: &[Condition], generation: Option<i64>, error: &str, now: Timestamp) -> Condition {
    let finding = Finding::no(Reason::Undecodable, error);
    following(find(before, ConditionType::Ready), ConditionType::Ready, &finding, generation, now)
}

fn binding(
    before: Option<&Binding>,
    key: &ObjectKey,
    bound: &Bound,
    generation: Option<i64>,
    now: Timestamp,
) -> Binding {
    let judgement = match (bound, before) {
        (Bound::Unvisited, Some(before)) => return before.clone(),
        (Bound::Unvisited, None) => Judgement {
            alias: String::new(),
            shard: None,
            accepted: false,
            reason: Reason::Pending,
            message: "the VMAnomaly was not looked at yet".to_owned(),
        },
        (Bound::Judged(judgement), _) => judgement.clone(),
    };
    let holds = (judgement.reason != Reason::Pending).then_some(judgement.accepted);
    let finding = Finding { holds, reason: judgement.reason, message: judgement.message };
    let accepted = before.and_then(|before| find(&before.conditions, ConditionType::Accepted));
    Binding {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        alias: judgement.alias,
        shard: judgement.shard,
        conditions: vec![following(accepted, ConditionType::Accepted, &finding, generation, now)],
    }
}

/// Ready: nothing selects the object, or all that do use it. Otherwise the first that does not says why.
fn summary(bindings: &[Binding]) -> Finding {
    if bindings.is_empty() {
        return Finding::yes(Reason::NotSelected, "no VMAnomaly selects it");
    }
    let findings: Vec<Finding> = bindings.iter().filter_map(finding).collect();
    let first = |holds: Option<bool>| findings.iter().find(|finding| finding.holds == holds);
    let remark = || findings.iter().find(|finding| finding.reason != Reason::Used);
    let worst = first(Some(false)).or_else(|| first(None)).or_else(remark);
    worst.cloned().unwrap_or(Finding::yes(Reason::Used, ""))
}

fn finding(binding: &Binding) -> Option<Finding> {
    let accepted = find(&binding.conditions, ConditionType::Accepted)?;
    let reason = Reason::ALL.iter().copied().find(|reason| reason.name() == accepted.reason)?;
    let holds = match accepted.status.as_str() {
        "True" => Some(true),
        "False" => Some(false),
        _ => None,
    };
    let place = || format!("{}/{}: {}", binding.namespace, binding.name, accepted.message);
    let message = if accepted.message.is_empty() { String::new() } else { place() };
    Some(Finding { holds, reason, message })
}
