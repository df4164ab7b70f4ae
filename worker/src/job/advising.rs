//! Advice to who wrote the query.

use super::Job;
use crate::{context::Environment, engine::asks_for_change};

impl<E: Environment> Job<E> {
    /// Says, once, that the series are counters and what to ask for instead; the status has it as long as it is so.
    pub(super) fn advise(&self) {
        let plan = &self.state.plan;
        let is_so = self.state.courses.are_counters() && plan.joint.is_none() && !asks_for_change(&plan.query.expr);
        if self.view.note_counters(is_so) {
            tracing::warn!(
                job = %self.view.key, query = plan.query_alias, expr = plan.query.expr,
                "the series only grow, as counters do: ask how fast, as in rate(metric[5m])"
            );
        }
    }
}
