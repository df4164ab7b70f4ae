//! Whether the series of a query are counters whose rate nobody asks for: their level says how long they have counted, and
//! little else.
//!
//! A series is taken for a counter when it is never negative, grows in a quarter of its steps or more, and never falls but to
//! less than a tenth, as a counter does that starts anew, and that seldom. One that grows by the same amount each time is
//! a clock. Something that only fills up cannot be told from a counter: what follows from it is advice, nothing else.

use super::TickInput;

/// Series of a job that are looked at: those in its first slots say enough of the others.
const LOOKED_AT: usize = 64;
/// Samples before a series is called a counter.
const ENOUGH: u64 = 100;
/// What a counter falls to when it starts anew, as a share of what it was.
const STARTS_ANEW: f64 = 0.1;
/// Samples for each such fall.
const SAMPLES_A_FALL: u64 = 50;
/// How much more than the least the greatest growth of a clock is.
const STEADY: f64 = 1.01;

/// How series have gone, by slot.
#[derive(Debug, Default)]
pub struct Courses {
    by_slot: Vec<Course>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Course {
    samples: u64,
    latest: f64,
    /// Steps upward.
    grown: u64,
    least_growth: f64,
    most_growth: f64,
    /// Falls that a counter may have.
    falls: u64,
    /// Has been where no counter is.
    is_gauge: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unknown,
    Counter,
    Gauge,
}

impl Courses {
    /// Takes in what comes after everything so far.
    pub fn note(&mut self, input: &TickInput) {
        let points = input.grid.points;
        for (row, slot) in input.slots.iter().map(|slot| *slot as usize).enumerate() {
            if slot >= LOOKED_AT {
                break;
            }
            if self.by_slot.len() <= slot {
                self.by_slot.resize(slot + 1, Course::default());
            }
            let values = input.values.get(row * points..(row + 1) * points).unwrap_or_default();
            if let Some(course) = self.by_slot.get_mut(slot) {
                values.iter().filter(|value| value.is_finite()).for_each(|value| course.note(*value));
            }
        }
    }

    /// Forgets the series of these slots: others get them.
    pub fn forget(&mut self, slots: &[u32]) {
        for slot in slots {
            if let Some(course) = self.by_slot.get_mut(*slot as usize) {
                *course = Course::default();
            }
        }
    }

    /// Takes what a window has of series for what is here, if it is more. `slots` are those there and here.
    pub fn take_over(&mut self, window: &Self, slots: &[(u32, u32)]) {
        for (there, here) in slots.iter().map(|(there, here)| (*there as usize, *here as usize)) {
            let Some(course) = window.by_slot.get(there).filter(|_| here < LOOKED_AT) else { continue };
            if self.by_slot.len() <= here {
                self.by_slot.resize(here + 1, Course::default());
            }
            if let Some(own) = self.by_slot.get_mut(here).filter(|own| own.samples < course.samples) {
                *own = *course;
            }
        }
    }

    /// Whether more of the series are counters than are not, as far as that is known.
    #[must_use]
    pub fn are_counters(&self) -> bool {
        let count = |wanted| self.by_slot.iter().filter(|course| course.kind() == wanted).count();
        count(Kind::Counter) > count(Kind::Gauge)
    }
}

impl Course {
    fn note(&mut self, value: f64) {
        let growth = value - self.latest;
        if value < 0.0 {
            self.is_gauge = true;
        } else if self.samples > 0 && growth > 0.0 {
            self.least_growth = if self.grown == 0 { growth } else { self.least_growth.min(growth) };
            self.most_growth = self.most_growth.max(growth);
            self.grown += 1;
        } else if self.samples > 0 && growth < 0.0 {
            self.falls += 1;
            self.is_gauge |= value > STARTS_ANEW * self.latest;
        }
        (self.samples, self.latest) = (self.samples + 1, value);
    }

    fn kind(&self) -> Kind {
        if self.is_gauge || self.falls > self.samples.max(ENOUGH) / SAMPLES_A_FALL {
            return Kind::Gauge;
        }
        let is_clock = self.most_growth <= STEADY * self.least_growth;
        if self.samples < ENOUGH || 4 * self.grown < self.samples || is_clock { Kind::Unknown } else { Kind::Counter }
    }
}

/// Functions that say how fast something changes, or tell the time, in lower case.
const OF_CHANGE: [&str; 24] = [
    "changes",
    "changes_prometheus",
    "delta",
    "delta_prometheus",
    "deriv",
    "deriv_fast",
    "idelta",
    "ideriv",
    "increase",
    "increase_prometheus",
    "increase_pure",
    "integrate",
    "irate",
    "rate",
    "rate_over_sum",
    "rate_prometheus",
    "resets",
    "rollup_delta",
    "rollup_deriv",
    "rollup_increase",
    "rollup_rate",
    "running_sum",
    "range_sum",
    "time",
];

/// Whether an expression of MetricsQL or PromQL asks, at any place, how fast something changes, or for the time. Series of one
/// that does are no counters, whatever they look like.
#[must_use]
pub fn asks_for_change(expr: &str) -> bool {
    let is_of_name = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | ':');
    // What stands before each parenthesis.
    let called = expr.match_indices('(').filter_map(|(at, _)| {
        let before = expr.get(..at)?.trim_end();
        before.get(before.trim_end_matches(is_of_name).len()..)
    });
    called.map(str::to_ascii_lowercase).any(|name| OF_CHANGE.contains(&name.as_str()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::environment::Grid;

    fn noted(courses: &mut Courses, series: &[Vec<f64>]) {
        let grid = Grid { start: 0, step: 1, points: series[0].len() };
        let slots = (0..series.len() as u32).collect();
        courses.note(&TickInput { tick: 0, grid, slots, values: series.concat(), query_series: 0 });
    }

    fn are_counters(series: &[Vec<f64>]) -> bool {
        let mut courses = Courses::default();
        noted(&mut courses, series);
        courses.are_counters()
    }

    /// Grows by 1 and 2 by turns.
    fn counter(samples: usize) -> Vec<f64> {
        (0..samples).map(|sample| (sample + sample / 2) as f64).collect()
    }

    #[test]
    fn what_only_grows_and_seldom_starts_anew_is_a_counter() {
        assert!(are_counters(&[counter(100)]));
        let started_anew = [counter(100), counter(100)].concat();
        assert!(are_counters(&[started_anew]));
        let scraped_at_every_third_step: Vec<_> = counter(100).into_iter().flat_map(|value| [value; 3]).collect();
        assert!(are_counters(&[scraped_at_every_third_step]));
        let missing = counter(200).into_iter().flat_map(|value| [f64::NAN, value]).collect();
        assert!(are_counters(&[missing]));
    }

    #[test]
    fn gauges_clocks_steps_and_what_was_hardly_seen_are_none() {
        let each = |value: fn(usize) -> f64| (0..300).map(value).collect::<Vec<_>>();
        assert!(!are_counters(&[counter(99)]));
        assert!(!are_counters(&[each(|_| 5.0)]));
        assert!(!are_counters(&[each(|sample| 1e9 + sample as f64)]), "a clock");
        assert!(!are_counters(&[each(|sample| (sample / 50) as f64)]), "seldom grows");
        assert!(!are_counters(&[each(|sample| (sample as f64 / 9.0).sin() + sample as f64 / 10.0)]));
        assert!(!are_counters(&[each(|sample| (sample % 20 * sample) as f64)]), "starts anew too often");
        assert!(!are_counters(&[counter(300).into_iter().map(|value| value - 400.0).collect()]), "was negative");
    }

    #[test]
    fn a_query_has_counters_when_more_of_its_series_are_counters_than_are_not() {
        let gauge: Vec<_> = (0..200).map(|sample| (10 + sample % 3) as f64).collect();
        let constant = vec![0.0; 200];
        assert!(!are_counters(&[counter(200), gauge.clone()]));
        assert!(are_counters(&[counter(200), gauge, counter(200), constant]));
    }

    #[test]
    fn a_window_counts_if_it_is_longer_and_slots_that_others_get_begin_anew() {
        let (mut window, mut here) = (Courses::default(), Courses::default());
        noted(&mut window, &[vec![1.0; 150], counter(150)]);
        noted(&mut here, &[vec![3.0, 2.0]]);
        here.take_over(&window, &[(1, 0), (0, 1), (7, 2), (1, 1_000_000)]);
        assert!(here.are_counters());
        here.take_over(&Courses::default(), &[(0, 0)]);
        assert!(here.are_counters());
        here.forget(&[0, 99]);
        assert!(!here.are_counters());
    }

    #[test]
    fn functions_of_change_are_found_at_any_place() {
        for expr in ["rate(a[5m])", "sum by (x) (Rate (a[5m]))", "a / increase(b[1h])", "time() - a", "max(irate(a))"] {
            assert!(asks_for_change(expr), "{expr}");
        }
        for expr in
            ["a_total", "sum(a) by (rate)", "rate_of_flow", "max_over_time(my_rate[5m])", "sum(my:rate)", "é(a)"]
        {
            assert!(!asks_for_change(expr), "{expr}");
        }
    }

    proptest! {
        #[test]
        fn any_expression_and_any_values_are_taken(
            expr in ".{0,40}",
            values in prop::collection::vec(prop::num::f64::ANY, 0..300),
        ) {
            let _ = asks_for_change(&expr);
            if !values.is_empty() {
                are_counters(&[values]);
            }
        }
    }
}
