//! Minimising as Stan's `optimize` does with `algorithm=lbfgs`, so that a fit stops where Prophet's stops.
//!
//! The posterior is not smooth where a bend of the trend is 0, and Stan stops before its maximum, mostly because the relative
//! gradient is small. A better minimiser would so give other parameters; that is why this one follows Stan's control flow
//! (`stan/optimization/bfgs.hpp` and `bfgs_linesearch.hpp`, BSD-3-Clause), with the constants that CmdStan sets: J. Nocedal and
//! S. Wright, "Numerical Optimization", 2006, algorithms 7.4 (limited-memory BFGS), 3.5 and 3.6 (line search for the strong Wolfe
//! conditions).

use super::vector::{LANES, add_scaled, dot, subtract};

/// A function to minimise.
pub(crate) trait Objective {
    /// The value at a point, and its gradient. Points have a length that is a multiple of [`LANES`]; where that is beyond the
    /// parameters, the gradient is 0.
    fn evaluate(&mut self, point: &[f64], gradient: &mut [f64]) -> f64;
}

/// There is no way down from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoDescent;

/// Pairs of steps and changes of the gradient that are remembered.
const HISTORY: usize = 5;
const MAX_ITERATIONS: usize = 10_000;
/// Length of the first step.
const FIRST_STEP: f64 = 1e-3;
const LEAST_STEP: f64 = 1e-12;
/// Sufficient decrease, as a share of the slope.
const DECREASE: f64 = 1e-4;
/// Sufficient flattening, as a share of the slope.
const CURVATURE: f64 = 0.9;
const MAX_EXTENSIONS: usize = 20;
const MAX_RESTARTS: usize = 10;
/// The width of a bracket in which there is no point left to try.
const LEAST_BRACKET: f64 = 1e-16;
/// Halvings of a bracket until it is given up; a thousandth of that is usual.
const MAX_ZOOMS: usize = 10_000;

/// Change of the value below which the search ends.
const VALUE_TOLERANCE: f64 = 1e-12;
const RELATIVE_VALUE_TOLERANCE: f64 = 1e4 * f64::EPSILON;
const GRADIENT_TOLERANCE: f64 = 1e-8;
const RELATIVE_GRADIENT_TOLERANCE: f64 = 1e7 * f64::EPSILON;
const POINT_TOLERANCE: f64 = 1e-8;

/// A point with its value and gradient.
#[derive(Debug, Clone)]
struct Place {
    point: Vec<f64>,
    value: f64,
    gradient: Vec<f64>,
}

impl Place {
    fn empty(len: usize) -> Self {
        Self { point: vec![0.0; len], value: f64::NAN, gradient: vec![0.0; len] }
    }

    /// Moves to `from + step * direction`. False where the function has no finite value and gradient.
    fn move_to(&mut self, objective: &mut impl Objective, from: &[f64], step: f64, direction: &[f64]) -> bool {
        for ((point, from), direction) in self.point.iter_mut().zip(from).zip(direction) {
            *point = from + step * direction;
        }
        self.evaluate(objective)
    }

    fn evaluate(&mut self, objective: &mut impl Objective) -> bool {
        self.value = objective.evaluate(&self.point, &mut self.gradient);
        // A sum is finite only if all of its terms are; large finite ones are a failed step as well.
        self.value.is_finite() && dot(&self.gradient, &self.gradient).is_finite()
    }
}

/// The inverse Hessian as the last steps tell it.
struct Curvature {
    len: usize,
    /// Oldest first.
    pairs: Vec<Pair>,
    /// Scale of the Hessian before the pairs.
    scale: f64,
}

struct Pair {
    /// 1 / (step * change).
    weight: f64,
    step: Vec<f64>,
    change: Vec<f64>,
}

impl Curvature {
    fn new(len: usize) -> Self {
        Self { len, pairs: Vec::with_capacity(HISTORY), scale: 1.0 }
    }

    /// Adds what the step from `old` to `new` tells. After a reset it is all that is known, and the scale of the Hessian
    /// that it implies is returned.
    fn update(&mut self, old: &Place, new: &Place, is_reset: bool) -> f64 {
        let mut pair = if self.pairs.len() == HISTORY {
            self.pairs.remove(0)
        } else {
            Pair { weight: 0.0, step: vec![0.0; self.len], change: vec![0.0; self.len] }
        };
        if is_reset {
            self.pairs.clear();
        }
        subtract(&mut pair.step, &new.point, &old.point);
        subtract(&mut pair.change, &new.gradient, &old.gradient);
        let product = dot(&pair.change, &pair.step);
        let square = dot(&pair.change, &pair.change);
        pair.weight = 1.0 / product;
        self.scale = product / square;
        self.pairs.push(pair);
        if is_reset { square / product } else { 1.0 }
    }

    /// `direction = -H gradient` by the two loops.
    fn direction(&self, gradient: &[f64], direction: &mut [f64]) {
        for (direction, gradient) in direction.iter_mut().zip(gradient) {
            *direction = -gradient;
        }
        let mut shares = [0.0; HISTORY];
        for (pair, share) in self.pairs.iter().zip(&mut shares).rev() {
            *share = pair.weight * dot(&pair.step, direction);
            add_scaled(direction, -*share, &pair.change);
        }
        direction.iter_mut().for_each(|direction| *direction *= self.scale);
        for (pair, share) in self.pairs.iter().zip(&shares) {
            let back = pair.weight * dot(&pair.change, direction);
            add_scaled(direction, share - back, &pair.step);
        }
    }
}

/// Moves `start` to where the search ends and returns the value there.
///
/// # Errors
/// When there is no way down from the start. Where there is none any more, the search ends: Stan fails then, and Prophet starts
/// again with Newton's method.
pub(crate) fn minimise(objective: &mut impl Objective, start: &mut [f64]) -> Result<f64, NoDescent> {
    let len = start.len();
    debug_assert_eq!(len % LANES, 0);
    let (mut current, mut previous) = (Place::empty(len), Place::empty(len));
    current.point.copy_from_slice(start);
    if !current.evaluate(objective) {
        return Err(NoDescent);
    }
    let mut direction: Vec<f64> = current.gradient.iter().map(|slope| -slope).collect();
    let mut last_direction = direction.clone();
    let mut last_step = FIRST_STEP;
    let mut curvature = Curvature::new(len);
    for iteration in 1..=MAX_ITERATIONS {
        let mut is_reset = iteration == 1;
        let mut step = FIRST_STEP;
        if !is_reset {
            let guess = 1.01
                * cubic_minimum(
                    dot(&previous.gradient, &last_direction),
                    last_step,
                    current.value - previous.value,
                    dot(&current.gradient, &last_direction),
                    LEAST_STEP,
                    1.0,
                );
            step = if guess < 1.0 { guess } else { 1.0 };
        }
        let step = loop {
            // `previous` becomes the next place.
            let found = search(objective, &current, &direction, step, &mut previous);
            match found {
                Some(step) => break Some(step),
                None if is_reset && iteration == 1 => return Err(NoDescent),
                None if is_reset => break None,
                None => {
                    is_reset = true;
                    step = FIRST_STEP;
                    for (direction, slope) in direction.iter_mut().zip(&current.gradient) {
                        *direction = -slope;
                    }
                }
            }
        };
        let Some(step) = step else { break };
        std::mem::swap(&mut current, &mut previous);
        std::mem::swap(&mut direction, &mut last_direction);
        let scale = curvature.update(&previous, &current, is_reset);
        last_direction.iter_mut().for_each(|direction| *direction /= scale);
        last_step = step * scale;
        curvature.direction(&current.gradient, &mut direction);
        if has_converged(&previous, &current, &direction) {
            break;
        }
    }
    start.copy_from_slice(&current.point);
    Ok(current.value)
}

fn has_converged(previous: &Place, current: &Place, direction: &[f64]) -> bool {
    let change = (previous.value - current.value).abs();
    let mut moved = 0.0;
    for (one, other) in current.point.iter().zip(&previous.point) {
        moved += (one - other) * (one - other);
    }
    let magnitude = current.value.abs().max(1.0);
    change < VALUE_TOLERANCE
        || dot(&current.gradient, &current.gradient).sqrt() < GRADIENT_TOLERANCE
        || moved.sqrt() < POINT_TOLERANCE
        || change / magnitude.max(previous.value.abs()) < RELATIVE_VALUE_TOLERANCE
        || -dot(direction, &current.gradient) / magnitude < RELATIVE_GRADIENT_TOLERANCE
}

/// The slope of a function along a line, and its value there.
#[derive(Clone, Copy)]
struct OnLine {
    step: f64,
    value: f64,
    slope: f64,
}

/// Searches from `from` along `direction` for a step that satisfies the strong Wolfe conditions, first at `first`. The place
/// found is in `found`.
fn search(
    objective: &mut impl Objective,
    from: &Place,
    direction: &[f64],
    first: f64,
    found: &mut Place,
) -> Option<f64> {
    let start = OnLine { step: 0.0, value: from.value, slope: dot(&from.gradient, direction) };
    let flat = -CURVATURE * start.slope;
    let mut last = OnLine { step: LEAST_STEP, ..start };
    let mut step = first;
    let (mut extensions, mut restarts) = (0, 0);
    while extensions < MAX_EXTENSIONS {
        if !found.move_to(objective, &from.point, step, direction) {
            if restarts >= MAX_RESTARTS {
                return None;
            }
            step = 0.5 * (last.step + step);
            restarts += 1;
            continue;
        }
        restarts = 0;
        let here = OnLine { step, value: found.value, slope: dot(&found.gradient, direction) };
        // As in Stan, the decrease that is asked for is that of the first step also where the step has grown.
        let is_high = here.value > from.value + first * (DECREASE * start.slope);
        if is_high || (here.value >= last.value && extensions > 0) {
            return zoom(objective, from, direction, start, last, here, found);
        }
        if here.slope.abs() <= flat {
            return Some(step);
        }
        if here.slope >= 0.0 {
            return zoom(objective, from, direction, start, here, last, found);
        }
        last = here;
        step *= 10.0;
        extensions += 1;
    }
    None
}

/// Searches between `low`, which decreases enough, and `high`.
fn zoom(
    objective: &mut impl Objective,
    from: &Place,
    direction: &[f64],
    start: OnLine,
    mut low: OnLine,
    mut high: OnLine,
    found: &mut Place,
) -> Option<f64> {
    for round in 1..=MAX_ZOOMS {
        let width = (low.step - high.step).abs();
        let is_empty = low.step.next_up() == high.step || low.step.next_down() == high.step;
        if width < LEAST_BRACKET || is_empty {
            return None;
        }
        let least = low.step.min(high.step);
        let greatest = low.step.max(high.step);
        let mut step = 0.5 * (low.step + high.step);
        if round % 5 != 0 {
            // The minimum of the cubic through both ends.
            let d1 = low.slope + high.slope - 3.0 * (low.value - high.value) / (low.step - high.step);
            let root = (d1 * d1 - low.slope * high.slope).sqrt();
            let d2 = if high.step < low.step { -root } else { root };
            let guess =
                high.step - (high.step - low.step) * (high.slope + d2 - d1) / (high.slope - low.slope + 2.0 * d2);
            let is_inside = guess >= least + 0.01 * width && guess <= greatest - 0.01 * width;
            if guess.is_finite() && is_inside {
                step = guess;
            }
        }
        while !found.move_to(objective, &from.point, step, direction) {
            let half = 0.5 * (step + least);
            if (least - half).abs() < LEAST_BRACKET || half == step {
                return None;
            }
            step = half;
        }
        let here = OnLine { step, value: found.value, slope: dot(&found.gradient, direction) };
        if here.value > start.value + step * (DECREASE * start.slope) || here.value >= low.value {
            high = here;
            continue;
        }
        if here.slope.abs() <= -CURVATURE * start.slope {
            return Some(step);
        }
        if here.slope * (high.step - low.step) >= 0.0 {
            high = low;
        }
        low = here;
    }
    None
}

/// Where the cubic with the slope `slope` at 0, the value `value` and the slope `end_slope` at `end`, and the value 0 at 0, is
/// least between `low` and `high`.
fn cubic_minimum(slope: f64, end: f64, value: f64, end_slope: f64, low: f64, high: f64) -> f64 {
    let c3 = (-12.0 * value + 6.0 * end * (slope + end_slope)) / (end * end * end);
    let c2 = -(4.0 * slope + 2.0 * end_slope) / end + 6.0 * value / (end * end);
    let root = (c2 * c2 - 2.0 * slope * c3).sqrt();
    let at = |x: f64| x * (x * (x * c3 / 3.0 + c2) / 2.0 + slope);
    let (mut best, mut least) = (low, at(low));
    if at(high) < least {
        (best, least) = (high, at(high));
    }
    for x in [-(c2 + root) / c3, -(c2 - root) / c3] {
        if low < x && x < high && at(x) < least {
            (best, least) = (x, at(x));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A bowl around `(1, 2, .. 8)` with axes of different lengths.
    struct Bowl(f64);

    impl Objective for Bowl {
        fn evaluate(&mut self, point: &[f64], gradient: &mut [f64]) -> f64 {
            let mut value = 0.0;
            for (index, (point, gradient)) in point.iter().zip(gradient).enumerate() {
                let (axis, offset) = (1.0 + self.0 * index as f64, point - (index + 1) as f64);
                value += 0.5 * axis * offset * offset;
                *gradient = axis * offset;
            }
            value
        }
    }

    proptest! {
        #[test]
        fn the_search_finds_the_bottom_of_a_bowl(spread in 0.0..100.0_f64, start in -100.0..100.0_f64) {
            let mut point = [start; LANES];
            let value = minimise(&mut Bowl(spread), &mut point).unwrap();
            prop_assert!(value < 1e-6);
            for (index, point) in point.iter().enumerate() {
                prop_assert!((point - (index + 1) as f64).abs() < 1e-2);
            }
        }
    }

    #[test]
    fn without_a_way_down_from_the_start_there_is_no_minimum() {
        /// Has a value at its start only.
        struct Needle;
        impl Objective for Needle {
            fn evaluate(&mut self, point: &[f64], gradient: &mut [f64]) -> f64 {
                gradient.fill(1.0);
                if point[0] == 0.0 { 0.0 } else { f64::NAN }
            }
        }
        assert_eq!(minimise(&mut Needle, &mut [0.0; LANES]), Err(NoDescent));
    }
}
