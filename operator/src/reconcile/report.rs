//! What a VMAnomaly makes of each object that it selects. Pure.

use std::collections::HashSet;
use std::num::NonZeroU32;

use config::ownership::{Spread, home_shard};
use crds::status::Reason;

use crate::reconcile::plan::Plan;
use crate::reconcile::verdicts::{Judgement, Verdict};
use crate::selection::{DefaultModel, ObjectKey, Rejection, SelectedModel, SelectedQuery};
use crate::workers::report::{QueryReport, Report};
use crate::workers::state::Worker;

/// The verdict of a visit. For each shard the worker of the lowest rank that answers speaks: the others follow it.
#[must_use]
pub fn verdict(plan: &Plan, workers: &[Worker]) -> Verdict {
    let selection = &plan.selection;
    let mut heard = HashSet::new();
    // Lower ranks come first.
    let reports: Vec<&Report> =
        workers.iter().filter_map(|worker| worker.report().filter(|_| heard.insert(worker.shard))).collect();
    let default_model = selection.default_model();
    let models = selection.models.iter().map(|model| (ObjectKey::of(&*model.object), judge_model(plan, model)));
    let queries = selection.queries.iter().map(|query| {
        let default = default_model.as_ref().filter(|model| model.queries.contains(&query.alias));
        (ObjectKey::of(&*query.object), judge_query(plan, query, default, &reports))
    });
    Verdict { models: models.collect(), queries: queries.collect() }
}

fn pending(plan: &Plan) -> Option<(Reason, String)> {
    let fault = plan.configuration.as_ref().err()?;
    Some((Reason::Pending, format!("the VMAnomaly has no valid configuration: {}", fault.message)))
}

fn refusal(rejection: Option<&Rejection>) -> Option<(Reason, String)> {
    rejection.map(|rejection| (rejection.reason, rejection.message.clone()))
}

fn judge_model(plan: &Plan, model: &SelectedModel) -> Judgement {
    let refused = refusal(model.rejection.as_ref()).or_else(|| pending(plan));
    let remark = refusal(model.missing.as_ref());
    judgement(&model.alias, None, refused, remark)
}

fn judge_query(
    plan: &Plan,
    query: &SelectedQuery,
    default_model: Option<&DefaultModel>,
    reports: &[&Report],
) -> Judgement {
    let watched = default_model.is_some()
        || plan.selection.models.iter().any(|model| model.rejection.is_none() && model.queries.contains(&query.alias));
    let unwatched = (!watched).then(|| (Reason::NoModels, "no model that asks for it is used".to_owned()));
    let reports = || reports.iter().filter_map(|report| report.queries.get(&query.alias));
    let words = |of: fn(&QueryReport) -> Option<&String>| reports().find_map(of).cloned();
    let rejected = words(|report| report.query_refused.as_ref()).map(|words| (Reason::QueryRejected, words));
    let refused = refusal(query.rejection.as_ref()).or_else(|| pending(plan)).or(unwatched).or(rejected);

    let some = |holds: fn(&QueryReport) -> bool| reports().any(holds);
    let remark = if some(|report| report.over_limit) {
        Some((Reason::SeriesLimitReached, "series beyond the limit are not watched".to_owned()))
    } else if some(|report| report.collided) {
        Some((Reason::OutputsCollide, "some series are refused".to_owned()))
    } else if some(|report| report.counters_without_rate) {
        let advice = "its series only grow, as counters do: ask how fast, as in rate(metric[5m])";
        Some((Reason::CountersWithoutRate, advice.to_owned()))
    } else if some(|report| report.beyond_alarm_budget) {
        let advice = "falseAlarmsPerDay is less than 0.001 for each of its series, which they have all the same";
        Some((Reason::AlarmBudgetTooSmall, advice.to_owned()))
    } else {
        default_model
            .map(|model| (Reason::Used, format!("no model asks for it: the default one scores it, `{}`", model.alias)))
    };
    let shard = shard(plan, query);
    judgement(&query.alias, shard, refused, remark)
}

/// The shard of a query whose series stay together.
fn shard(plan: &Plan, query: &SelectedQuery) -> Option<i32> {
    let shards: NonZeroU32 = plan.topology.shards;
    match plan.topology.placements.get(&query.alias) {
        Some(Spread::Query) => i32::try_from(home_shard(&query.alias, shards)).ok(),
        Some(Spread::With(alias)) => i32::try_from(home_shard(alias, shards)).ok(),
        _ => None,
    }
}

fn judgement(
    alias: &str,
    shard: Option<i32>,
    refused: Option<(Reason, String)>,
    remark: Option<(Reason, String)>,
) -> Judgement {
    let accepted = refused.is_none();
    let (reason, message) = refused.or(remark).unwrap_or((Reason::Used, String::new()));
    Judgement { alias: alias.to_owned(), shard, accepted, reason, message }
}
