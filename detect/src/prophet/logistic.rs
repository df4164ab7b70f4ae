//! The posterior of a logistic trend.
//!
//! The trend is `cap / (1 + exp(-z))` with `z = k (t - m) + sum delta_j (t - s_j)+`: the offsets `gamma_j` of `prophet.stan` are
//! those that make `z` continuous, so that `z` is a line in every segment. An evaluation is a pass over all samples, in blocks of
//! [`LANES`] side by side.

use super::args::Mode;
use super::design::Rows;
use super::lbfgs::Objective;
use super::posterior::{Priors, with_noise};
use super::vector::{LANES, sum, widest};

/// Samples side by side; those beyond a segment's end weigh nothing.
struct Block {
    segment: usize,
    t: [f64; LANES],
    value: [f64; LANES],
    weight: [f64; LANES],
}

/// Minus the logarithm of the posterior, of `(k, m, delta, beta, log sigma)`.
pub(crate) struct Logistic<'a> {
    rows: &'a Rows,
    /// The columns: first those that are added to the trend, then those that multiply it.
    columns: Vec<usize>,
    /// How many are added.
    added: usize,
    cap: f64,
    blocks: Vec<Block>,
    /// In each block a column after the other, in the order of `columns`.
    features: Vec<[f64; LANES]>,
    priors: &'a Priors,
    /// Scratch: the coefficients and the gradient, in the order of `columns`.
    factors: Vec<f64>,
    sums: Vec<[f64; LANES]>,
}

impl<'a> Logistic<'a> {
    pub(crate) fn new(rows: &'a Rows, modes: &[Mode], cap: f64, values: &[f64], priors: &'a Priors) -> Self {
        let (mut columns, multiplying): (Vec<usize>, Vec<usize>) =
            (0..rows.width).partition(|column| modes[*column] == Mode::Additive);
        let added = columns.len();
        columns.extend(multiplying);
        let (mut blocks, mut features) = (Vec::new(), Vec::new());
        for segment in 0..=rows.bends.len() {
            let range = rows.segment(segment);
            for start in range.clone().step_by(LANES) {
                let lane = |lane: usize| (start + lane < range.end).then_some(start + lane);
                let by_lane = |value: &dyn Fn(usize) -> f64| std::array::from_fn(|at| lane(at).map_or(0.0, value));
                blocks.push(Block {
                    segment,
                    t: by_lane(&|index| rows.time(index)),
                    value: by_lane(&|index| values[index]),
                    weight: by_lane(&|_| 1.0),
                });
                features.extend(columns.iter().map(|column| by_lane(&|index| rows.row(index)[*column])));
            }
        }
        let (factors, sums) = (vec![0.0; rows.width], vec![[0.0; LANES]; rows.width]);
        Self { rows, columns, added, cap, blocks, features, priors, factors, sums }
    }
}

impl Objective for Logistic<'_> {
    fn evaluate(&mut self, point: &[f64], gradient: &mut [f64]) -> f64 {
        widest(
            #[inline(always)]
            || self.pass(point, gradient),
        )
    }
}

impl Logistic<'_> {
    #[inline(always)]
    fn pass(&mut self, point: &[f64], gradient: &mut [f64]) -> f64 {
        let bends = self.rows.bends.len();
        let (delta, beta) = (&point[2..2 + bends], &point[2 + bends..self.priors.noise]);
        for (factor, column) in self.factors.iter_mut().zip(&self.columns) {
            *factor = beta[*column];
        }
        let (added_factors, multiplied_factors) = self.factors.split_at(self.added);
        let lines: Vec<(f64, f64)> = self.rows.lines(point[0], -point[0] * point[1], delta).collect();
        self.sums.fill([0.0; LANES]);
        gradient.fill(0.0);
        let mut error = [0.0; LANES];
        // The gradient for the slope and the offset of the line of each segment.
        let mut by_line = vec![[[0.0; LANES]; 2]; lines.len()];
        let width = self.rows.width;
        for (index, block) in self.blocks.iter().enumerate() {
            let features = &self.features[index * width..][..width];
            let (a, b) = lines[block.segment];
            let (added_features, multiplied_features) = features.split_at(self.added);
            let added = combine(added_features, added_factors, 0.0);
            let multiplied = combine(multiplied_features, multiplied_factors, 1.0);
            let mut share = block.t.map(|t| -(a * t + b));
            exp(&mut share);
            let (mut residual, mut scaled) = ([0.0; LANES], [0.0; LANES]);
            let [by_slope, by_offset] = &mut by_line[block.segment];
            for lane in 0..LANES {
                let share = 1.0 / (1.0 + share[lane]);
                let trend = self.cap * share;
                let miss = (trend * multiplied[lane] + added[lane] - block.value[lane]) * block.weight[lane];
                error[lane] += miss * miss;
                residual[lane] = miss;
                scaled[lane] = miss * trend;
                let pull = miss * multiplied[lane] * trend * (1.0 - share);
                by_slope[lane] += pull * block.t[lane];
                by_offset[lane] += pull;
            }
            let (added_sums, multiplied_sums) = self.sums.split_at_mut(self.added);
            accumulate(added_features, &residual, added_sums);
            accumulate(multiplied_features, &scaled, multiplied_sums);
        }
        for (column, sums) in self.columns.iter().zip(&self.sums) {
            gradient[2 + bends + column] = sum(*sums);
        }
        for (index, [by_slope, by_offset]) in by_line.iter().enumerate() {
            let (for_a, for_b) = (sum(*by_slope), sum(*by_offset));
            gradient[0] += for_a - point[1] * for_b;
            gradient[1] -= point[0] * for_b;
            for (gradient, bend) in gradient[2..2 + index].iter_mut().zip(&self.rows.bends) {
                *gradient += for_a - bend * for_b;
            }
        }
        let noise = self.priors.noise;
        let value = with_noise(self.rows.len(), sum(error), point[noise], gradient, noise);
        value + self.priors.add(point, gradient)
    }
}

/// `start` plus the columns times their factors.
#[inline(always)]
fn combine(features: &[[f64; LANES]], factors: &[f64], start: f64) -> [f64; LANES] {
    let mut total = [start; LANES];
    for (feature, factor) in features.iter().zip(factors) {
        for lane in 0..LANES {
            total[lane] += feature[lane] * factor;
        }
    }
    total
}

/// Adds the columns times `weight` to their sums.
#[inline(always)]
fn accumulate(features: &[[f64; LANES]], weight: &[f64; LANES], sums: &mut [[f64; LANES]]) {
    for (feature, sums) in features.iter().zip(sums) {
        for lane in 0..LANES {
            sums[lane] += feature[lane] * weight[lane];
        }
    }
}

/// `exp` of numbers side by side, within 2 units in the last place; at least `exp(-708)`, at most `exp(708)`.
///
/// `exp(x) = 2^n exp(r)` with `n` the whole number next to `x / ln 2`, and `exp(r)` by its Taylor series: the first term that is
/// left out is below `(ln 2 / 2)^14 / 14!`.
#[inline(always)]
fn exp(values: &mut [f64; LANES]) {
    /// Adding and subtracting it rounds to whole numbers.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    const LN_2_HIGH: f64 = 0.693_147_180_369_123_8;
    const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    /// `1 / i!`, from 13 down to 0.
    const FACTORS: [f64; 14] = [
        1.0 / 6_227_020_800.0,
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ];
    for value in values {
        let x = value.clamp(-708.0, 708.0);
        let rounded = x * std::f64::consts::LOG2_E + ROUND;
        let whole = rounded - ROUND;
        let rest = (x - whole * LN_2_HIGH) - whole * LN_2_LOW;
        let mut power = 0.0;
        for factor in FACTORS {
            power = power * rest + factor;
        }
        // The low bits of `rounded` are the whole number.
        let exponent = rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(1023) << 52;
        *value = power * f64::from_bits(exponent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn exp_is_that_of_the_library(x in prop_oneof![-708.0..708.0_f64, -1.0..1.0_f64]) {
            let mut values = [x; LANES];
            exp(&mut values);
            prop_assert!((values[3] / libm::exp(x) - 1.0).abs() < 1e-15);
        }
    }
}
