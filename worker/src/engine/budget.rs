//! A query's budget of false alarms for all its series together, and what of it each series has.
//!
//! The part of a series follows from the input of a tick alone, which the input log keeps and other ranks get: so it is the
//! same after a restart, at every rank and on any number of shards.

use detect::calibrated::{MAX_FALSE_ALARMS_PER_DAY, MIN_FALSE_ALARMS_PER_DAY};
use rayon::prelude::*;

use super::{JobState, TickInput};
use crate::plan::JobPlan;

/// False alarms a day that each of so many series may have, in the range of what can be asked for.
fn part_of(budget: f64, series: u64) -> f64 {
    (budget / coarse(series.max(1)) as f64).clamp(MIN_FALSE_ALARMS_PER_DAY, MAX_FALSE_ALARMS_PER_DAY)
}

/// The next number whose distance to its neighbours is an eighth of it or more, at most a quarter: every series has its
/// threshold anew when it changes, and series come and go all the time.
fn coarse(number: u64) -> u64 {
    let distance = (number.checked_next_power_of_two().unwrap_or(number) / 8).max(1);
    number.div_ceil(distance).saturating_mul(distance)
}

impl JobPlan {
    /// False alarms a day that each series may have of the query's budget when the query has so many; `None` without a
    /// budget, and where the number is not known.
    fn part_of_budget(&self, query_series: u64) -> Option<f64> {
        let budget = self.query.false_alarms_per_day.filter(|_| query_series > 0)?;
        Some(part_of(budget, self.within_limit(query_series)))
    }

    fn within_limit(&self, query_series: u64) -> u64 {
        query_series.min(self.query.series_limit.into())
    }
}

impl JobState {
    /// Whether the query had more series in a tick than its budget is enough for: each of them has the fewest false alarms
    /// that can be asked for, and all together more than the budget.
    #[must_use]
    pub fn is_beyond_budget(&self, input: &TickInput) -> bool {
        let fewest = MIN_FALSE_ALARMS_PER_DAY * self.plan.within_limit(input.query_series) as f64;
        let has_promised = self.models.iter().any(|model| model.own_rate.is_some());
        has_promised && self.plan.query.false_alarms_per_day.is_some_and(|budget| budget < fewest)
    }

    /// Gives the models that promise how many false alarms they have what of the query's budget is each series' in this
    /// tick; without a budget, what they were told themselves.
    pub(super) fn share_budget(&mut self, input: &TickInput) {
        let part = self.plan.part_of_budget(input.query_series);
        for (position, model) in self.models.iter_mut().enumerate() {
            let Some(rate) = part.or(model.own_rate).filter(|_| model.own_rate.is_some()) else { continue };
            if model.expected_rate() == Some(rate) {
                continue;
            }
            model.spec = model.spec.take().map(|spec| spec.with_false_alarms_per_day(rate));
            self.blocks.par_iter_mut().filter_map(|block| block.batches.get_mut(position)).for_each(|batch| {
                batch.set_false_alarms_per_day(rate);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use detect::calendar::DAY_MS;
    use proptest::prelude::*;

    use super::*;
    use crate::{engine::TickScores, environment::Grid, labels::Labels};

    const STEP: i64 = 300_000;

    /// A job of one series that has learnt two days under a rate of 1 a day, whose query has this budget.
    fn job(budget: &str) -> JobState {
        let mut state = JobState::new(plan(budget));
        state.series.place(&Labels::new([("host", "a")]), 0);
        state.models[0].fitted_to = Some(0);
        for tick in 1..=2 * DAY_MS / STEP {
            state.learn(&input(tick, 0), |_, _| true);
        }
        state
    }

    fn plan(budget: &str) -> JobPlan {
        let text = format!(
            "
schedulers: {{s: {{class: periodic, infer_every: 5m, fit_every: 1d, fit_window: 1d}}}}
models: {{m: {{class: calibrated, false_alarms_per_day: 1}}}}
reader: {{datasource_url: 'http://tsdb:8428', sampling_period: 5m, queries: {{q: {{expr: up, series_limit: 1000{budget}}}}}}}
writer: {{datasource_url: 'http://tsdb:8428'}}
"
        );
        let source = config::load::Source::new("worker.yaml", text);
        let config = config::load::load(&[source], &|_| None, 1).unwrap().config;
        crate::plan::plan(&config, &config::topology::Topology::default(), 0).unwrap().remove(0)
    }

    /// Tick `tick` of the series, where its query has so many.
    fn input(tick: i64, query_series: u64) -> TickInput {
        let grid = Grid { start: tick * STEP, step: STEP, points: 1 };
        let value = f64::from(tick as u32 * 7919 % 101);
        TickInput { tick: tick * STEP, grid, slots: vec![0], values: vec![value], query_series }
    }

    fn width(scores: &TickScores) -> f64 {
        let (lower, upper) = scores.bounds_of_only_series().unwrap();
        upper[0] - lower[0]
    }

    /// How wide the band of the next sample is where the query has so many series, and the alarms that are expected of it.
    fn next(state: &JobState, query_series: u64) -> (f64, f64) {
        let mut state = state.copy_of(state.plan.clone(), |_| true).unwrap();
        let scores = state.infer(&input(2 * DAY_MS / STEP + 1, query_series));
        (width(&scores), state.models[0].expected_alarms(1, DAY_MS).unwrap())
    }

    #[test]
    fn the_more_series_share_a_budget_the_wider_is_the_band_of_each() {
        let state = job(", false_alarms_per_day: 2");
        let [alone, pair, many] = [1, 2, 1000].map(|series| next(&state, series));
        assert!(alone.0 < pair.0 && pair.0 < many.0, "{alone:?} {pair:?} {many:?}");
        assert_eq!([alone.1, pair.1], [2.0, 1.0]);
        assert!((0.0016..=0.002).contains(&many.1), "{}", many.1);
        // Where the number is not known, and without a budget, the model's own rate counts.
        assert_eq!([next(&state, 0), next(&job(""), 1000)], [pair, pair]);
        // Those beyond the limit are not scored, and have no part of it.
        assert_eq!(next(&state, 5000), many);
    }

    #[test]
    fn a_budget_that_is_not_enough_gives_each_series_the_fewest_there_are() {
        let state = job(", false_alarms_per_day: 0.5");
        assert_eq!(next(&state, 1000).1, MIN_FALSE_ALARMS_PER_DAY);
        let is_beyond = |series: u64| state.is_beyond_budget(&input(1, series));
        assert_eq!([400, 500, 501, 5000].map(is_beyond), [false, false, true, true]);
        assert!(!job("").is_beyond_budget(&input(1, 1000)));
    }

    #[test]
    fn a_changed_budget_acts_from_the_next_tick_on_and_keeps_what_was_learnt() {
        let mut state = job(", false_alarms_per_day: 2");
        let learnt = |state: &JobState| state.save(0, 0).unwrap();
        state.learn(&input(2 * DAY_MS / STEP, 1000), |_, _| false);
        let before = learnt(&state);
        for (budget, expected) in [(", false_alarms_per_day: 8", 4.0), ("", 1.0), (", false_alarms_per_day: 2", 1.0)] {
            state.apply(plan(budget));
            assert_eq!(learnt(&state), before);
            let fresh = next(&state, 2);
            state.learn(&input(2 * DAY_MS / STEP, 2), |_, _| false);
            assert_eq!(state.models[0].expected_alarms(1, DAY_MS), Some(expected));
            assert_eq!(next(&state, 2), fresh);
        }
    }

    proptest! {
        #[test]
        fn all_parts_together_are_the_budget_or_up_to_a_quarter_less(series in 1_u64..1_000_000, alarms in 0.01_f64..5.0) {
            // Neither of the ends of the range is reached.
            let budget = alarms * series as f64;
            let all = part_of(budget, series) * series as f64;
            prop_assert!(all <= budget * (1.0 + 1e-12) && all >= budget / 1.25, "{all} of {budget}");
        }

        #[test]
        fn more_series_never_have_more_each(series in 1_u64..u64::MAX) {
            prop_assert!(part_of(100.0, series + 1) <= part_of(100.0, series));
        }
    }

    #[test]
    fn few_series_are_counted_exactly_and_many_in_steps() {
        assert_eq!(
            (1..=18).map(coarse).collect::<Vec<_>>(),
            [1, 2, 3, 4, 5, 6, 7, 8, 10, 10, 12, 12, 14, 14, 16, 16, 20, 20]
        );
        let of_thousands: std::collections::BTreeSet<u64> = (4_000..8_000).map(coarse).collect();
        assert!(of_thousands.len() <= 6, "{of_thousands:?}");
    }
}
