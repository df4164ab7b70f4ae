//! The sum of squared errors of additive forms and its derivatives, eight steps at a time.
//!
//! With `d` a value less its season, and `p = l + phi b`, a step is error correction: `e = d - p`, `l' = p + alpha e`,
//! `b' = phi b + alpha beta e`, `s' = s + gamma e`. Level and trend so follow a linear recurrence `x' = A x + B d`, in which every
//! step waits for the one before. Written out over [`LANES`] steps, `x` of each is `A^i x` of the first and sums of the `d` between,
//! which wait for nothing: their seasons were updated a season ago. The same holds on the way back, with the transpose of `A`.

use super::gradient::{Gradient, Tape};
use super::recursion::{Smoothing, States};
use crate::prophet::vector::{LANES, sum, widest};

/// A number a step.
type Lanes = [f64; LANES];

/// Steps of the one season of 0 that stands for none.
const NO_SEASON: usize = 32 * LANES;

/// Sums on the way there and back, lane by lane: squared errors, and what is the gradient for `alpha`, `beta`, `gamma` and `phi`.
/// They stay in memory, because the sum of all lanes of a number in registers makes compilers sort the lanes of all others.
pub(super) type Totals = [Lanes; 5];

/// The sum of squared errors of `values`. `gradient` is overwritten.
pub(super) fn squared_errors(
    (has_trend, periods): (bool, usize),
    smoothing: Smoothing,
    initial: &States,
    values: &[f64],
    tape: &mut Tape,
    gradient: &mut Gradient,
) -> f64 {
    if has_trend {
        widest(
            #[inline(always)]
            || there_and_back::<true>(periods, smoothing, initial, values, tape, gradient),
        )
    } else {
        widest(
            #[inline(always)]
            || there_and_back::<false>(periods, smoothing, initial, values, tape, gradient),
        )
    }
}

#[inline(always)]
fn there_and_back<const HAS_TREND: bool>(
    periods: usize,
    smoothing: Smoothing,
    initial: &States,
    values: &[f64],
    tape: &mut Tape,
    gradient: &mut Gradient,
) -> f64 {
    let Tape { slopes, seasons, errors, totals, .. } = tape;
    let totals = totals.get_or_insert_default();
    **totals = [[0.0; LANES]; 5];
    seasons.clear();
    seasons.extend_from_slice(&initial.seasons);
    let cycle = if periods == 0 { NO_SEASON } else { periods };
    seasons.resize(cycle, 0.0);
    slopes.resize(values.len(), 0.0);
    errors.resize(values.len(), 0.0);
    let recurrence = Recurrence::<HAS_TREND>::new(smoothing);
    let mut state = [initial.level, if HAS_TREND { initial.trend } else { 0.0 }];
    let records = slopes.chunks_mut(cycle).zip(errors.chunks_mut(cycle));
    for (values, (slopes, errors)) in values.chunks(cycle).zip(records) {
        recurrence.forwards(&mut state, values, &mut seasons[..values.len()], (slopes, errors), totals);
    }
    let mut by_state = [0.0; 2];
    seasons.fill(0.0);
    let records = slopes.chunks(cycle).zip(errors.chunks(cycle));
    for (slopes, errors) in records.rev() {
        recurrence.backwards(&mut by_state, &mut seasons[..errors.len()], (slopes, errors), totals);
    }
    let [squares, by_level, by_trend, by_season, by_damping] = totals.map(sum);
    let of_trend = |derivative: f64| if HAS_TREND { derivative } else { 0.0 };
    gradient.smoothing = Smoothing {
        level: by_level,
        trend: of_trend(smoothing.level * by_trend),
        season: by_season,
        damping: of_trend(by_damping),
    };
    gradient.states.level = by_state[0];
    gradient.states.trend = of_trend(by_state[1]);
    gradient.states.seasons.clear();
    gradient.states.seasons.extend_from_slice(&seasons[..periods]);
    squares
}

/// A linear function of two numbers, lane by lane, and of [`LANES`] more: those of other steps.
struct Wide {
    of_state: [Lanes; 2],
    of_steps: [Lanes; LANES],
}

impl Wide {
    /// Of each step `i` the function `at(n)` of the state, with `n` the number of steps between, and `after(m)` of each of these
    /// steps, with `m` the number of those from there on.
    #[inline(always)]
    fn new(is_backwards: bool, at: impl Fn(usize) -> [f64; 2], after: impl Fn(usize) -> f64) -> Self {
        let place = |number: usize| if is_backwards { LANES - 1 - number } else { number };
        let mut wide = Self { of_state: [[0.0; LANES]; 2], of_steps: [[0.0; LANES]; LANES] };
        for step in 0..LANES {
            let [one, other] = at(step);
            wide.of_state[0][place(step)] = one;
            wide.of_state[1][place(step)] = other;
            for earlier in 0..step {
                wide.of_steps[place(earlier)][place(step)] = after(step - 1 - earlier);
            }
        }
        wide
    }

    #[inline(always)]
    fn apply(&self, state: [f64; 2], steps: &Lanes) -> Lanes {
        let mut result = [0.0; LANES];
        for (factors, number) in self.of_steps.iter().zip(steps) {
            for lane in 0..LANES {
                result[lane] += factors[lane] * number;
            }
        }
        for (factors, number) in self.of_state.iter().zip(state) {
            for lane in 0..LANES {
                result[lane] += factors[lane] * number;
            }
        }
        result
    }
}

/// The recurrence with some smoothing parameters, one step and [`LANES`] steps at a time.
struct Recurrence<const HAS_TREND: bool> {
    smoothing: Smoothing,
    /// `p` before each step.
    bases: Wide,
    /// The derivative by the trend, or by the level where there is none, behind each step.
    by_states: Wide,
    /// `A` to the number of steps, row by row.
    whole: [[f64; 2]; 2],
    /// What each step adds to both numbers after all steps, on the way there and back.
    ends: [Lanes; 2],
    by_ends: [Lanes; 2],
}

impl<const HAS_TREND: bool> Recurrence<HAS_TREND> {
    #[inline(always)]
    fn new(smoothing: Smoothing) -> Self {
        let Smoothing { level: alpha, trend: beta, damping: phi, .. } = smoothing;
        let (kept, pulled) = (1.0 - alpha, alpha * beta);
        let matrix = [[kept, kept * phi], [-pulled, phi * (1.0 - pulled)]];
        let mut powers = [[[1.0, 0.0], [0.0, 1.0]]; LANES + 1];
        for exponent in 0..LANES {
            let power = powers[exponent];
            let product =
                |row: usize, column: usize| power[row][0] * matrix[0][column] + power[row][1] * matrix[1][column];
            powers[exponent + 1] = [[product(0, 0), product(0, 1)], [product(1, 0), product(1, 1)]];
        }
        let of_value = |row: [f64; 2]| row[0] * alpha + row[1] * pulled;
        let base = |exponent: usize| {
            let [[a, b], [c, d]] = powers[exponent];
            [a + phi * c, b + phi * d]
        };
        let last = usize::from(HAS_TREND);
        let column = |exponent: usize, column: usize| [powers[exponent][0][column], powers[exponent][1][column]];
        // Back, a step takes away `(1, phi)` of what is seen of it.
        let of_seen = |column: [f64; 2]| -(column[0] + phi * column[1]);
        let whole = powers[LANES];
        Self {
            smoothing,
            bases: Wide::new(false, base, |steps| of_value(base(steps))),
            by_states: Wide::new(true, |steps| column(steps, last), |steps| of_seen(column(steps, last))),
            whole,
            ends: [0, 1].map(|row| std::array::from_fn(|step| of_value(powers[LANES - 1 - step][row]))),
            by_ends: [0, 1].map(|row| std::array::from_fn(|step| of_seen(column(step, row)))),
        }
    }

    /// Goes through values of one season, whose `seasons` are updated. Records the trends before the steps and the errors.
    #[inline(always)]
    fn forwards(
        &self,
        state: &mut [f64; 2],
        values: &[f64],
        seasons: &mut [f64],
        (slopes, errors): (&mut [f64], &mut [f64]),
        totals: &mut Totals,
    ) {
        let Smoothing { level: alpha, trend: beta, season: gamma, damping: phi } = self.smoothing;
        let (values, rest) = values.as_chunks::<LANES>();
        let (seasons, rest_of_seasons) = seasons.as_chunks_mut::<LANES>();
        let (slopes, rest_of_slopes) = slopes.as_chunks_mut::<LANES>();
        let (errors, rest_of_errors) = errors.as_chunks_mut::<LANES>();
        let records = slopes.iter_mut().zip(errors);
        for ((values, seasons), (slopes, errors)) in values.iter().zip(seasons).zip(records) {
            let mut deseasonalised = [0.0; LANES];
            for lane in 0..LANES {
                deseasonalised[lane] = values[lane] - seasons[lane];
            }
            let base = self.bases.apply(*state, &deseasonalised);
            for lane in 0..LANES {
                errors[lane] = deseasonalised[lane] - base[lane];
            }
            if HAS_TREND {
                // `l' = p + alpha e`, and the next `p` is that and `phi b'`.
                slopes[0] = state[1];
                for lane in 1..LANES {
                    slopes[lane] = (base[lane] - (base[lane - 1] + alpha * errors[lane - 1])) * (1.0 / phi);
                }
            }
            *state = self.after(*state, &self.ends, &deseasonalised, false);
            for lane in 0..LANES {
                seasons[lane] += gamma * errors[lane];
            }
            for lane in 0..LANES {
                totals[0][lane] += errors[lane] * errors[lane];
            }
        }
        let records = rest_of_slopes.iter_mut().zip(rest_of_errors);
        for ((value, seasonal), (slope_before, error)) in rest.iter().zip(rest_of_seasons).zip(records) {
            let [level, slope] = *state;
            let damped = phi * slope;
            let base = level + damped;
            *slope_before = slope;
            *error = (value - *seasonal) - base;
            totals[0][0] += *error * *error;
            *seasonal += gamma * *error;
            *state = [base + alpha * *error, damped + (alpha * beta) * *error];
        }
    }

    /// Goes back through the steps of one season, given the derivatives by what they left, which become those by what they found.
    #[inline(always)]
    fn backwards(
        &self,
        by_state: &mut [f64; 2],
        by_seasons: &mut [f64],
        (slopes, errors): (&[f64], &[f64]),
        totals: &mut Totals,
    ) {
        let Smoothing { level: alpha, trend: beta, season: gamma, damping: phi } = self.smoothing;
        let (by_seasons, rest) = by_seasons.as_chunks_mut::<LANES>();
        let (slopes, rest_of_slopes) = slopes.as_chunks::<LANES>();
        let (errors, rest_of_errors) = errors.as_chunks::<LANES>();
        let [_, for_level, for_trend, for_season, for_damping] = totals;
        for ((slope, error), by_seasonal) in rest_of_slopes.iter().zip(rest_of_errors).zip(rest).rev() {
            let [by_level, by_slope] = if HAS_TREND { *by_state } else { [by_state[0], 0.0] };
            let by_step = by_level + beta * by_slope;
            for_level[0] += error * by_step;
            for_trend[0] += error * by_slope;
            for_season[0] += error * *by_seasonal;
            let seen = 2.0 * error + gamma * *by_seasonal;
            *by_seasonal -= seen + alpha * by_step;
            let next_by_level = by_level - alpha * by_step - seen;
            let by_damped = next_by_level + by_slope;
            for_damping[0] += slope * by_damped;
            *by_state = [next_by_level, phi * by_damped];
        }
        for ((slopes, errors), by_seasons) in slopes.iter().zip(errors).zip(by_seasons).rev() {
            let mut seen = [0.0; LANES];
            for lane in 0..LANES {
                seen[lane] = 2.0 * errors[lane] + gamma * by_seasons[lane];
            }
            let by_last = self.by_states.apply(*by_state, &seen);
            let after = *by_state;
            *by_state = self.after(*by_state, &self.by_ends, &seen, true);
            let mut by_step = by_last;
            if HAS_TREND {
                // The derivative by the trend before a step is `phi` times the sum of those by level and trend that it leaves, of
                // which the level is `p` and the trend is damped.
                let mut by_damped = [by_state[1] * (1.0 / phi); LANES];
                for lane in 1..LANES {
                    by_damped[lane] = by_last[lane - 1] * (1.0 / phi);
                }
                for lane in 0..LANES {
                    for_damping[lane] += slopes[lane] * by_damped[lane];
                }
                for lane in 0..LANES {
                    for_trend[lane] += errors[lane] * by_last[lane];
                }
                for lane in 1..LANES {
                    by_step[lane - 1] = (by_damped[lane] - by_last[lane]) + beta * by_last[lane - 1];
                }
                by_step[LANES - 1] = after[0] + beta * after[1];
            }
            for lane in 0..LANES {
                for_level[lane] += errors[lane] * by_step[lane];
            }
            for lane in 0..LANES {
                for_season[lane] += errors[lane] * by_seasons[lane];
            }
            for lane in 0..LANES {
                by_seasons[lane] -= seen[lane] + alpha * by_step[lane];
            }
        }
    }

    /// The two numbers after [`LANES`] steps.
    #[inline(always)]
    fn after(&self, state: [f64; 2], ends: &[Lanes; 2], steps: &Lanes, is_backwards: bool) -> [f64; 2] {
        let [[a, b], [c, d]] = self.whole;
        let (b, c) = if is_backwards { (c, b) } else { (b, c) };
        let mut parts = [[0.0; LANES]; 2];
        for (parts, ends) in parts.iter_mut().zip(ends) {
            for lane in 0..LANES {
                parts[lane] = ends[lane] * steps[lane];
            }
        }
        let [one, other] = parts.map(sum);
        [(a * state[0] + b * state[1]) + one, (c * state[0] + d * state[1]) + other]
    }
}
