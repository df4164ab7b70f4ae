//! Minimisation of a smooth function of many variables: L-BFGS (J. Nocedal and S. Wright, "Numerical Optimization", 2nd edition,
//! algorithms 7.4 and 7.5) with a backtracking line search.

use std::collections::VecDeque;

/// Steps that are remembered.
const MEMORY: usize = 8;

/// Of the decrease that the slope promises, a step must give this share (Armijo's condition).
const SUFFICIENT: f64 = 1e-4;

/// When to stop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Limits {
    /// Most evaluations of the function.
    pub(super) evaluations: u32,
    /// A step that lowers the value by less than this share of it counts as none; two of them in a row are the end.
    pub(super) decrease: f64,
}

/// A step that was taken.
#[derive(Debug, Clone)]
struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    /// `1 / step . change`.
    inverse: f64,
}

/// Goes down from `x`, in variables of similar curvature, and leaves it at the lowest point found; returns the value there.
/// `function` gives the value and overwrites the gradient; a value that is not finite is avoided. It must be finite and at least 0 at
/// the start.
pub(super) fn minimise(x: &mut Vec<f64>, limits: Limits, mut function: impl FnMut(&[f64], &mut [f64]) -> f64) -> f64 {
    let mut gradient = vec![0.0; x.len()];
    let mut value = function(x, &mut gradient);
    let mut evaluations = 1;
    let (mut next_x, mut next_gradient, mut direction) = (x.clone(), gradient.clone(), gradient.clone());
    let mut pairs: VecDeque<Pair> = VecDeque::with_capacity(MEMORY);
    let mut small_steps = 0;
    while value > 0.0 && small_steps < 2 {
        let mut slope = downhill(&gradient, &pairs, &mut direction);
        if !is_downhill(slope) {
            pairs.clear();
            slope = downhill(&gradient, &pairs, &mut direction);
        }
        if !is_downhill(slope) {
            break;
        }
        let mut length = if pairs.is_empty() { (1.0 / -slope).sqrt().min(1.0) } else { 1.0 };
        let next_value = loop {
            if evaluations >= limits.evaluations {
                return value;
            }
            for ((next, x), direction) in next_x.iter_mut().zip(&*x).zip(&direction) {
                *next = x + length * direction;
            }
            let next_value = function(&next_x, &mut next_gradient);
            evaluations += 1;
            if next_value <= value + SUFFICIENT * length * slope {
                break next_value;
            }
            let lowest_of_parabola = -slope * length * length / (2.0 * (next_value - value - slope * length));
            let is_inside = lowest_of_parabola >= 0.1 * length && lowest_of_parabola <= 0.5 * length;
            length = if is_inside { lowest_of_parabola } else { 0.2 * length };
            if length < 1e-12 {
                return value;
            }
        };
        remember(&mut pairs, x, &next_x, &gradient, &next_gradient);
        small_steps = if value - next_value <= limits.decrease * value { small_steps + 1 } else { 0 };
        value = next_value;
        std::mem::swap(x, &mut next_x);
        std::mem::swap(&mut gradient, &mut next_gradient);
    }
    value
}

fn is_downhill(slope: f64) -> bool {
    slope < 0.0 && slope.is_finite()
}

/// The direction `-H gradient`, where `H` is the inverse Hessian as the pairs show it. Returns the slope along it.
fn downhill(gradient: &[f64], pairs: &VecDeque<Pair>, direction: &mut [f64]) -> f64 {
    for (direction, gradient) in direction.iter_mut().zip(gradient) {
        *direction = -gradient;
    }
    let mut shares = [0.0; MEMORY];
    for (pair, share) in pairs.iter().zip(&mut shares).rev() {
        *share = pair.inverse * dot(&pair.step, direction);
        add(direction, -*share, &pair.change);
    }
    if let Some(last) = pairs.back() {
        let scale = 1.0 / (last.inverse * dot(&last.change, &last.change));
        direction.iter_mut().for_each(|direction| *direction *= scale);
    }
    for (pair, share) in pairs.iter().zip(&shares) {
        let other = pair.inverse * dot(&pair.change, direction);
        add(direction, share - other, &pair.step);
    }
    dot(gradient, direction)
}

/// Keeps a step along which the function curves upwards.
fn remember(pairs: &mut VecDeque<Pair>, x: &[f64], next_x: &[f64], gradient: &[f64], next_gradient: &[f64]) {
    let mut pair = if pairs.len() == MEMORY { pairs.pop_front() } else { None }.unwrap_or_else(|| Pair {
        step: Vec::new(),
        change: Vec::new(),
        inverse: 0.0,
    });
    pair.step.clear();
    pair.step.extend(next_x.iter().zip(x).map(|(next, x)| next - x));
    pair.change.clear();
    pair.change.extend(next_gradient.iter().zip(gradient).map(|(next, gradient)| next - gradient));
    let curvature = dot(&pair.step, &pair.change);
    if curvature > 1e-10 * dot(&pair.change, &pair.change) {
        pair.inverse = 1.0 / curvature;
        pairs.push_back(pair);
    }
}

/// Sums in eight lanes, always the same.
fn dot(one: &[f64], other: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let (one_chunks, one_rest) = one.as_chunks::<8>();
    let (other_chunks, other_rest) = other.as_chunks::<8>();
    for (one, other) in one_chunks.iter().zip(other_chunks) {
        for lane in 0..8 {
            lanes[lane] += one[lane] * other[lane];
        }
    }
    let rest: f64 = one_rest.iter().zip(other_rest).map(|(one, other)| one * other).sum();
    ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7])) + rest
}

fn add(sum: &mut [f64], factor: f64, addend: &[f64]) {
    for (sum, addend) in sum.iter_mut().zip(addend) {
        *sum += factor * addend;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_point_of_rosenbrocks_valley_is_found() {
        let mut x = vec![-1.2, 1.0];
        let limits = Limits { evaluations: 200, decrease: 1e-14 };
        let value = minimise(&mut x, limits, |x, gradient| {
            let (along, across) = (1.0 - x[0], x[1] - x[0] * x[0]);
            gradient.copy_from_slice(&[-2.0 * along - 400.0 * x[0] * across, 200.0 * across]);
            along * along + 100.0 * across * across
        });
        assert!(value < 1e-12 && (x[0] - 1.0).abs() < 1e-5, "{value} {x:?}");
    }

    #[test]
    fn where_the_function_has_no_value_is_avoided() {
        let mut x = vec![3.0];
        let limits = Limits { evaluations: 100, decrease: 1e-12 };
        minimise(&mut x, limits, |x, gradient| {
            gradient[0] = 1.0 - 1.0 / x[0];
            if x[0] > 0.0 { x[0] - libm::log(x[0]) } else { f64::NAN }
        });
        assert!((x[0] - 1.0).abs() < 1e-5);
    }
}
