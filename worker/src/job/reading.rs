//! Reading one tick: standing still while the TSDB is away, waiting for the backlog after an outage, skipping what
//! the TSDB refuses or what is too old.

use std::time::Duration;

use config::status::{ErrorKind, JobPhase};

use super::{Job, LONGEST_SLEEP, Wait, following::Turn};
use crate::{
    context::{Environment, backoff},
    engine::TickInput,
    environment::{Clock, Grid, RangeAnswer, ReadError},
    fit::{FitScope, read},
    input_log::SkipReason,
    peers::message::NextRecord,
    readers::{Demand, Purpose, Wanted},
    series::Admitted,
};

/// What reading a tick came to.
pub(super) enum TickRead {
    /// The accepted input.
    Input(TickInput),
    /// Another rank's record.
    Record {
        /// Whose.
        rank: u32,
        /// The record.
        record: Box<NextRecord>,
    },
    /// Another rank's state counts, and differs.
    Adopt {
        /// Whose.
        rank: u32,
    },
    /// The ticks up to `to` will never be read.
    Skip {
        /// Last tick to skip.
        to: i64,
        /// Why.
        reason: SkipReason,
    },
    /// The mailbox has something.
    Interrupted,
}

/// The last successful read of a series of attempts, as far as it decides how to go on.
enum Attempt {
    Answered(RangeAnswer),
    Refused(String),
    Away(String),
}

impl<E: Environment> Job<E> {
    /// The times that tick `tick` asks for: those of its interval, moved by the query's offset. A tick always has
    /// the same request, live or caught up, because a TSDB looks at the requested range when it evaluates `rate(x)`.
    pub(super) fn tick_grid(&self, tick: i64) -> Grid {
        let query = &self.state.plan.query;
        let until = tick + query.offset;
        Grid::within(until - self.schedule.infer_every, until, query.step)
    }

    /// Reads a tick, for as long as it takes.
    pub(super) async fn read_tick(&mut self, tick: i64) -> TickRead {
        let mut pauses = backoff();
        let mut fresh = false;
        loop {
            self.view.journal().standing.recording = false;
            match self.turn(tick).await {
                Turn::Take(rank, record) => return TickRead::Record { rank, record },
                Turn::Adopt(rank) => return TickRead::Adopt { rank },
                Turn::Wait => {
                    if self.pause_between_questions().await == Wait::Interrupted || self.has_something_to_decide(tick) {
                        return TickRead::Interrupted;
                    }
                    continue;
                }
                // What is to be decided before this tick is decided first.
                Turn::Lead if self.has_something_to_decide(tick) => return TickRead::Interrupted,
                Turn::Lead => {}
            }
            let newest = self.newest_due();
            if let Some(to) = self.too_old(tick, newest) {
                return TickRead::Skip { to, reason: SkipReason::BeyondCatchUp };
            }
            let is_behind = self.after_outage && newest > tick;
            let purpose = if is_behind { Purpose::Probe } else { Purpose::Tick };
            match self.attempt(tick, purpose, fresh).await {
                Attempt::Answered(_) if is_behind => {
                    if self.wait_for_backlog().await == Wait::Interrupted {
                        return TickRead::Interrupted;
                    }
                    self.after_outage = false;
                    fresh = true;
                    continue;
                }
                Attempt::Answered(answer) => {
                    // Meanwhile others may have gone ahead, above all one that was stuck as this one was.
                    if !self.may_record(tick).await {
                        continue;
                    }
                    self.after_outage = false;
                    return TickRead::Input(self.accept(tick, &answer));
                }
                Attempt::Refused(words) if newest > tick => match self.attempt(newest, Purpose::Probe, true).await {
                    Attempt::Answered(_) => {
                        tracing::warn!(job = %self.view.key, tick, reason = %words, "the TSDB refuses a tick but answers a later one");
                        self.view.note_error(ErrorKind::QueryRefused, &words);
                        return TickRead::Skip { to: tick, reason: SkipReason::Refused { message: words } };
                    }
                    Attempt::Refused(_) => self.stand_still(ErrorKind::QueryRefused, &words),
                    Attempt::Away(words) => {
                        self.after_outage = true;
                        self.stand_still(ErrorKind::TsdbUnavailable, &words);
                    }
                },
                Attempt::Refused(words) => self.stand_still(ErrorKind::QueryRefused, &words),
                Attempt::Away(words) => {
                    self.after_outage = true;
                    self.stand_still(ErrorKind::TsdbUnavailable, &words);
                }
            }
            let settle = self.context.settle();
            self.report_lag(self.schedule.due_at(tick, settle));
            if self.sleep(pauses.next().unwrap_or(LONGEST_SLEEP)).await == Wait::Interrupted {
                return TickRead::Interrupted;
            }
        }
    }

    pub(super) fn newest_due(&self) -> i64 {
        let settle = self.context.settle();
        self.schedule.newest_due(self.context.agreed_now(), settle)
    }

    /// The last tick to give up, if `tick` is older than the worker catches up.
    fn too_old(&self, tick: i64, newest: i64) -> Option<i64> {
        let oldest = self.schedule.tick_at(newest - self.context.settings.borrow().max_catch_up);
        (tick < oldest).then_some(oldest - self.schedule.infer_every).filter(|to| *to >= tick)
    }

    async fn attempt(&mut self, tick: i64, purpose: Purpose, fresh: bool) -> Attempt {
        let grid = self.tick_grid(tick);
        if grid.points == 0 {
            return Attempt::Answered(RangeAnswer::default());
        }
        let context = self.context.clone();
        let view = self.view.clone();
        let demand = Demand { wanted: Wanted { purpose, until: tick, grid }, fresh };
        match read(&context, &self.labels, &mut self.state, demand, &FitScope::All, &|| view.stopping()).await {
            Ok(answer) => Attempt::Answered(answer),
            Err(error @ ReadError::Refused { .. }) => Attempt::Refused(error.to_string()),
            Err(error @ ReadError::Unavailable { .. }) => Attempt::Away(error.to_string()),
        }
    }

    /// After an outage collectors deliver their backlog late, oldest first: waits until the newest due tick is
    /// answered with samples again and has settled, at most `catch_up_delay` after the first good answer.
    async fn wait_for_backlog(&mut self) -> Wait {
        let settle = Duration::from_millis(self.context.settle().unsigned_abs());
        let longest = self.context.settings.borrow().catch_up_delay;
        self.view.set_phase(JobPhase::CatchingUp);
        let first_answer = self.context.clock.monotonic();
        let longest = Duration::from_millis(longest.unsigned_abs());
        let mut pauses = backoff();
        loop {
            if let Attempt::Answered(answer) = self.attempt(self.newest_due(), Purpose::Probe, true).await
                && answer.values.iter().any(|value| value.is_finite())
            {
                return self.sleep(settle).await;
            }
            let waited = self.context.clock.monotonic().saturating_sub(first_answer);
            let Some(remaining) = longest.checked_sub(waited).filter(|remaining| !remaining.is_zero()) else {
                return Wait::Over;
            };
            let pause = pauses.next().unwrap_or(LONGEST_SLEEP).min(remaining);
            if self.sleep(pause).await == Wait::Interrupted {
                return Wait::Interrupted;
            }
        }
    }

    /// Takes in what is ours of an answer, and says what is not taken in.
    pub(super) fn accept(&mut self, tick: i64, answer: &RangeAnswer) -> TickInput {
        let limit = self.state.plan.series_limit();
        let admitted = self.state.series.admit(answer, tick, limit);
        self.report_admission(&admitted, limit);
        let input = TickInput::of_rows(tick, self.tick_grid(tick), &admitted.rows, &answer.values);
        input.of_query(answer.query_series)
    }

    fn report_admission(&self, admitted: &Admitted, limit: usize) {
        let metrics = &self.context.metrics;
        let labels = self.labels.values();
        let over_limit = i64::try_from(admitted.over_limit).unwrap_or(i64::MAX);
        let gauge = metrics.series_over_limit.with_label_values(&labels);
        if over_limit > 0 && gauge.get() == 0 {
            tracing::warn!(job = %self.view.key, limit, over = over_limit, "the query returns more series than its series_limit");
        }
        gauge.set(over_limit);
        let collided: usize = admitted.collisions.iter().map(Vec::len).sum();
        metrics.output_collisions.with_label_values(&labels).inc_by(collided as u64);
        metrics.own_scores_refused.with_label_values(&labels).inc_by(admitted.own_scores as u64);
        let refused = collided + admitted.own_scores;
        if refused > 0
            && let Some(message) = refusal(admitted)
            && self.view.note_refusal(&message)
        {
            tracing::warn!(job = %self.view.key, series = refused, "{message}");
        }
        self.view.set_refused(admitted.over_limit as u64, refused as u64);
    }
}

/// Why series of an answer are not taken in, by example.
fn refusal(admitted: &Admitted) -> Option<String> {
    if let Some(group) = admitted.collisions.first() {
        let names: Vec<String> = group.iter().take(3).map(ToString::to_string).collect();
        return Some(format!(
            "series that would write the same outputs are refused: {} (the metric name is not part of an output: \
             ask for one metric a query, or keep the names in a label with label_set or keep_metric_names)",
            names.join(" and ")
        ));
    }
    (admitted.own_scores > 0)
        .then(|| "the query returns scores of a worker (labels model_alias and scheduler_alias): refused".to_owned())
}
