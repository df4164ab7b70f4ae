//! The posterior of a logistic trend.
//!
//! The trend is `cap / (1 + exp(-z))` with `z = k (t - m) + sum delta_j (t - s_j)+`: the offsets `gamma_j` of `prophet.stan` are
//! those that make `z` continuous, so that `z` is a line in every segment. An evaluation is a pass over all samples, in blocks of
//! [`LANES`] side by side. Two things that most samples have in common keep it short:
//!
//! - Rows of features that [repeat](super::repeats) are multiplied by their coefficients once, and by the sum of the residuals of
//!   all their samples.
//! - On a regular grid `exp(-z)` is a geometric progression in each segment. A block's is the one before it times a power that
//!   the segment has in common, for at most [`PROGRESSION`] blocks, so that it is within 1e-14 of the exponential.

use std::ops::Range;

use super::args::Mode;
use super::design::Rows;
use super::lbfgs::Objective;
use super::posterior::{Priors, with_noise};
use super::repeats::Repeats;
use super::vector::{LANES, padded, sum, widest};

/// Blocks from one exponential to the next.
const PROGRESSION: usize = 16;

/// The line up to which its exponential neither overflows nor vanishes anywhere in a segment.
const STEEPEST: f64 = 700.0;

/// Samples side by side, of one segment; those beyond the end of a stretch weigh nothing.
struct Block {
    /// The number of the features of the first; those of the others follow.
    features: usize,
    /// Grid steps from the start of the block before it, up to [`LANES`]; 0 where the two are no progression.
    steps: usize,
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
    /// Of a grid, scaled.
    step: f64,
    blocks: Vec<Block>,
    /// The blocks of each segment, from 0 to the number of bends.
    segments: Vec<Range<usize>>,
    /// The distinct rows side by side, in each block a column after the other, in the order of `columns`.
    features: Vec<[f64; LANES]>,
    priors: &'a Priors,
    /// Scratch: the coefficients and the gradient, in the order of `columns`.
    factors: Vec<f64>,
    sums: Vec<[f64; LANES]>,
    /// Scratch: of each of the distinct rows what is added, what multiplies the trend, and the gradients for both.
    effects: [Vec<f64>; 2],
    pulls: [Vec<f64>; 2],
    /// Scratch: of a segment the gradients for slope and offset of its line, and the squared error.
    totals: Vec<[f64; LANES]>,
}

impl<'a> Logistic<'a> {
    /// `times` are those of the rows, ms, `span` from the first to the last.
    pub(crate) fn new(
        rows: &'a Rows,
        (times, span): (&[i64], i64),
        modes: &[Mode],
        cap: f64,
        values: &[f64],
        priors: &'a Priors,
    ) -> Self {
        let (mut columns, multiplying): (Vec<usize>, Vec<usize>) =
            (0..rows.width).partition(|column| modes[*column] == Mode::Additive);
        let added = columns.len();
        columns.extend(multiplying);
        let repeats = Repeats::new(rows);
        let steps = times.windows(2).map(|pair| pair[1] - pair[0]);
        let grid_step = steps.filter(|step| *step > 0).min().unwrap_or(span);
        let step = grid_step as f64 / span as f64;

        let (mut blocks, mut segments) = (Vec::new(), Vec::new());
        for segment in 0..=rows.bends.len() {
            let first_block = blocks.len();
            // The time of the first sample of the block before it, if that is on the grid.
            let mut before = None;
            for stretch in repeats.stretches(rows.segment(segment), LANES) {
                let (start, len) = (stretch.start, stretch.len());
                let of_block = &times[stretch];
                let is_on_grid = of_block.windows(2).all(|pair| pair[1] - pair[0] == grid_step);
                let distance = before.map_or(0, |before: i64| of_block[0] - before);
                let is_near = distance % grid_step == 0 && distance / grid_step <= LANES as i64;
                let by_lane = |value: &dyn Fn(usize) -> f64, beyond: &dyn Fn(usize) -> f64| {
                    std::array::from_fn(|lane| if lane < len { value(start + lane) } else { beyond(lane) })
                };
                blocks.push(Block {
                    features: repeats.numbers[start],
                    steps: if is_on_grid && is_near { (distance / grid_step) as usize } else { 0 },
                    t: by_lane(&|row| rows.time(row), &|lane| rows.time(start) + lane as f64 * step),
                    value: by_lane(&|row| values[row], &|_| 0.0),
                    weight: by_lane(&|_| 1.0, &|_| 0.0),
                });
                before = is_on_grid.then_some(of_block[0]);
            }
            segments.push(first_block..blocks.len());
        }

        let mut features = Vec::new();
        for firsts in repeats.firsts.chunks(LANES) {
            let row = |lane: usize| firsts.get(lane).map(|first| rows.row(*first));
            let by_lane = |column: &usize| std::array::from_fn(|lane| row(lane).map_or(0.0, |row| row[*column]));
            features.extend(columns.iter().map(by_lane));
        }
        // A block may start at the last one.
        let distinct = |start: f64| vec![start; padded(repeats.firsts.len()) + LANES];
        let (factors, sums) = (vec![0.0; rows.width], vec![[0.0; LANES]; rows.width]);
        let (effects, pulls) = ([distinct(0.0), distinct(1.0)], [distinct(0.0), distinct(0.0)]);
        Self {
            rows,
            columns,
            added,
            cap,
            step,
            blocks,
            segments,
            features,
            priors,
            factors,
            sums,
            effects,
            pulls,
            totals: vec![[0.0; LANES]; 3],
        }
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
        self.multiply_features();
        gradient.fill(0.0);
        let mut error = 0.0;
        let lines = self.rows.lines(point[0], -point[0] * point[1], delta);
        for (index, (line, blocks)) in lines.zip(&self.segments).enumerate() {
            let [[added, multiplied], [for_added, for_multiplied]] = [&mut self.effects, &mut self.pulls];
            let pass = Segment { line, cap: self.cap, step: self.step, blocks: &self.blocks[blocks.clone()] };
            self.totals.fill([0.0; LANES]);
            pass.add([added, multiplied], [for_added, for_multiplied], &mut self.totals);
            let [for_a, for_b, squares] = self.totals[..] else { continue };
            let (for_a, for_b) = (sum(for_a), sum(for_b));
            error += sum(squares);
            gradient[0] += for_a - point[1] * for_b;
            gradient[1] -= point[0] * for_b;
            for (gradient, bend) in gradient[2..2 + index].iter_mut().zip(&self.rows.bends) {
                *gradient += for_a - bend * for_b;
            }
        }
        self.sum_features();
        for (column, sums) in self.columns.iter().zip(&self.sums) {
            gradient[2 + bends + column] = sum(*sums);
        }
        let noise = self.priors.noise;
        let value = with_noise(self.rows.len(), error, point[noise], gradient, noise);
        value + self.priors.add(point, gradient)
    }

    /// Sets the effects of the distinct rows, and their pulls to 0.
    #[inline(always)]
    fn multiply_features(&mut self) {
        let (added_factors, multiplied_factors) = self.factors.split_at(self.added);
        let [added, multiplied] = &mut self.effects;
        let effects = added.as_chunks_mut::<LANES>().0.iter_mut().zip(multiplied.as_chunks_mut::<LANES>().0);
        for (features, (added, multiplied)) in self.features.chunks_exact(self.rows.width.max(1)).zip(effects) {
            let (added_features, multiplied_features) = features.split_at(self.added);
            *added = combine(added_features, added_factors, 0.0);
            *multiplied = combine(multiplied_features, multiplied_factors, 1.0);
        }
        self.pulls.iter_mut().for_each(|pulls| pulls.fill(0.0));
    }

    /// Sets the gradients for the coefficients from the pulls on the distinct rows.
    #[inline(always)]
    fn sum_features(&mut self) {
        self.sums.fill([0.0; LANES]);
        let (added_sums, multiplied_sums) = self.sums.split_at_mut(self.added);
        let [added, multiplied] = &self.pulls;
        let pulls = added.as_chunks::<LANES>().0.iter().zip(multiplied.as_chunks::<LANES>().0);
        for (features, (added, multiplied)) in self.features.chunks_exact(self.rows.width.max(1)).zip(pulls) {
            let (added_features, multiplied_features) = features.split_at(self.added);
            accumulate(added_features, added, added_sums);
            accumulate(multiplied_features, multiplied, multiplied_sums);
        }
    }
}

/// The blocks of a segment, on one line under the trend.
struct Segment<'a> {
    line: (f64, f64),
    cap: f64,
    step: f64,
    blocks: &'a [Block],
}

impl Segment<'_> {
    /// Adds the squares of the residuals and what pulls on the effects of the distinct rows. Returns the gradient for the slope and
    /// the offset of the line.
    #[inline(always)]
    fn add(&self, effects: [&[f64]; 2], pulls: [&mut [f64]; 2], totals: &mut [[f64; LANES]]) {
        let [by_slope, by_offset, error] = totals else { return };
        let (a, b) = self.line;
        let at_end = |block: Option<&Block>, lane: usize| block.map_or(0.0, |block| (a * block.t[lane] + b).abs());
        let steepest = at_end(self.blocks.first(), 0).max(at_end(self.blocks.last(), LANES - 1));
        // What a number of grid steps multiplies the exponential by; without any in between.
        let mut powers: [f64; LANES] = std::array::from_fn(|lane| -(a * self.step * (lane + 1) as f64));
        exp(&mut powers);
        let (mut since, longest) = (0, if steepest <= STEEPEST { PROGRESSION } else { 0 });
        let mut exponentials = [0.0; LANES];
        let [added, multiplied] = effects;
        let [for_added, for_multiplied] = pulls;
        for block in self.blocks {
            let place = block.features;
            let (Some(added), Some(multiplied)) = (lanes(added, place), lanes(multiplied, place)) else { continue };
            let power = block.steps.checked_sub(1).and_then(|steps| powers.get(steps));
            match power {
                Some(power) if since < longest => {
                    since += 1;
                    exponentials = exponentials.map(|exponential| exponential * power);
                }
                _ => {
                    since = 0;
                    exponentials = block.t.map(|t| -(a * t + b));
                    exp(&mut exponentials);
                }
            }
            let share = exponentials.map(|exponential| 1.0 / (1.0 + exponential));
            let trend = share.map(|share| self.cap * share);
            let (mut residual, mut scaled, mut pull) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
            for lane in 0..LANES {
                residual[lane] =
                    (trend[lane] * multiplied[lane] + added[lane] - block.value[lane]) * block.weight[lane];
            }
            for lane in 0..LANES {
                scaled[lane] = residual[lane] * trend[lane];
            }
            for lane in 0..LANES {
                pull[lane] = scaled[lane] * multiplied[lane] * (1.0 - share[lane]);
            }
            for lane in 0..LANES {
                error[lane] += residual[lane] * residual[lane];
            }
            for lane in 0..LANES {
                by_slope[lane] += pull[lane] * block.t[lane];
            }
            for lane in 0..LANES {
                by_offset[lane] += pull[lane];
            }
            for (pulls, more) in [(&mut *for_added, &residual), (&mut *for_multiplied, &scaled)] {
                if let Some(pulls) = pulls.get_mut(place..).and_then(|pulls| pulls.first_chunk_mut::<LANES>()) {
                    for lane in 0..LANES {
                        pulls[lane] += more[lane];
                    }
                }
            }
        }
    }
}

/// The [`LANES`] numbers from a place on.
#[inline(always)]
fn lanes(numbers: &[f64], place: usize) -> Option<[f64; LANES]> {
    numbers.get(place..)?.first_chunk::<LANES>().copied()
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
        fn value_and_gradient_are_those_of_the_definition(
            left_out in prop::collection::vec(0..300_i64, 0..20),
            jitter in prop_oneof![4 => Just(0), 1 => 1..9_i64],
            slope in prop_oneof![-5.0..5.0_f64, -4e3..4e3_f64],
            (offset, bend, added, multiplying) in (-1.0..2.0_f64, -20.0..20.0_f64, -1.0..1.0_f64, -1.0..1.0_f64),
        ) {
            let span = 299 * 60;
            let times: Vec<i64> = (0..300).filter(|step| *step == 0 || *step == 299 || !left_out.contains(step))
                .map(|step| 60 * step + if step % 7 == 3 { jitter } else { 0 }).collect();
            let feature = |time: i64, scale: f64| libm::sin(scale * (time % 1440) as f64);
            let t = |time: i64| time as f64 / span as f64;
            let bends = vec![0.3];
            let entries: Vec<f64> =
                times.iter().flat_map(|time| [feature(*time, 0.01), feature(*time, 0.03), 1.0, t(*time)]).collect();
            let starts = vec![times.partition_point(|time| t(*time) < 0.3)];
            let rows = Rows { stride: 4, width: 2, entries, starts, bends, has_slope: true };
            let values: Vec<f64> = times.iter().map(|time| 0.5 + 0.3 * t(*time)).collect();
            let priors = Priors::new(1, 0.05, &[10.0, 10.0], LANES);
            let modes = [Mode::Multiplicative, Mode::Additive];
            let mut objective = Logistic::new(&rows, (&times, span), &modes, 1.5, &values, &priors);
            let error = |point: &[f64]| -> f64 {
                let of_sample = |(time, value): (&i64, &f64)| {
                    let line = point[0] * (t(*time) - point[1]) + point[2] * (t(*time) - 0.3).max(0.0);
                    let trend = 1.5 / (1.0 + libm::exp(-line));
                    let (multiplied, plus) = (point[3] * feature(*time, 0.01), point[4] * feature(*time, 0.03));
                    let miss = trend * (1.0 + multiplied) + plus - value;
                    miss * miss
                };
                times.iter().zip(&values).map(of_sample).sum()
            };
            let point = [slope, offset, bend, multiplying, added, 0.0, 0.0, 0.0];
            let exact = |point: &[f64]| {
                let mut gradient = [0.0; LANES];
                with_noise(times.len(), error(point), point[5], &mut gradient, 5) + priors.add(point, &mut gradient)
            };
            let mut gradient = [0.0; LANES];
            let value = objective.evaluate(&point, &mut gradient);
            prop_assert!((value - exact(&point)).abs() <= 1e-11 * value, "{} {}", value, exact(&point));
            for index in 0..5 {
                let step = 1e-6 * point[index].abs().max(1.0);
                let moved = |by: f64| std::array::from_fn::<f64, LANES, _>(|at| point[at] + if at == index { by } else { 0.0 });
                let difference = (exact(&moved(step)) - exact(&moved(-step))) / (2.0 * step);
                let tolerance = 1e-4 * gradient[index].abs() + 1e-9 * value / step;
                prop_assert!((gradient[index] - difference).abs() <= tolerance, "{}: {} {}", index, gradient[index], difference);
            }
        }

        #[test]
        fn exp_is_that_of_the_library(x in prop_oneof![-708.0..708.0_f64, -1.0..1.0_f64]) {
            let mut values = [x; LANES];
            exp(&mut values);
            prop_assert!((values[3] / libm::exp(x) - 1.0).abs() < 1e-15);
        }
    }
}
