//! Advice to who wrote the query.

use super::Job;
use crate::{
    context::Environment,
    engine::{TickInput, asks_for_change},
};

impl<E: Environment> Job<E> {
    /// Says, once, that the series are counters and what to ask for instead; the status has it as long as it is so.
    pub(super) fn advise_on_counters(&self) {
        let plan = &self.state.plan;
        let is_so = self.state.courses.are_counters() && plan.joint.is_none() && !asks_for_change(&plan.query.expr);
        if self.view.note_counters(is_so) {
            tracing::warn!(
                job = %self.view.key, query = plan.query_alias, expr = plan.query.expr,
                "the series only grow, as counters do: ask how fast, as in rate(metric[5m])"
            );
        }
    }

    /// The same where the query had more series in a tick than its budget of false alarms is enough for.
    pub(super) fn advise_on_budget(&self, input: &TickInput) {
        // A tick without series says nothing of how many there are.
        if input.query_series == 0 {
            return;
        }
        let plan = &self.state.plan;
        if self.view.note_alarm_budget(self.state.is_beyond_budget(input)) {
            tracing::warn!(
                job = %self.view.key, query = plan.query_alias, series = input.query_series,
                "false_alarms_per_day of the query is not enough for all its series: each has 0.001 a day, which is more"
            );
        }
    }
}
