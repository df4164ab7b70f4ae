//! The posterior of a linear trend that multiplies features.
//!
//! In a segment between two changepoints the trend is a line `a t + b`, so that the mean
//! `(a t + b) (1 + x_m' beta_m) + x_a' beta_a` is linear in `v = (beta_a, b, b beta_m, a, a beta_m)` with the features
//! `(x_a, 1, x_m, t, t x_m)`. The squared error of a segment is a square in `v`, whose matrix one pass over the samples gives;
//! an evaluation then costs as many products as the matrices of all segments have entries, however many samples there are. As
//! for additive features, the error is taken from a solution of each segment's normal equations.

use super::args::Mode;
use super::design::Rows;
use super::lbfgs::Objective;
use super::posterior::{Priors, with_noise};
use super::vector::{Cholesky, Symmetric, add_scaled, add_squares, dot, padded};

/// What keeps a segment's normal equations solvable.
const RIDGE: f64 = 1e-9;

/// The features and matrices of all segments.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Moments {
    /// Columns of additive features.
    additive: Vec<usize>,
    /// Columns of multiplicative features.
    multiplicative: Vec<usize>,
    /// Numbers a row of features.
    stride: usize,
    /// The features of all samples.
    rows: Vec<f64>,
    segments: Vec<(Symmetric, Cholesky)>,
}

impl Moments {
    pub(crate) fn new(rows: &Rows, modes: &[Mode]) -> Self {
        let columns = |wanted| (0..modes.len()).filter(|column| modes[*column] == wanted).collect::<Vec<_>>();
        let (additive, multiplicative) = (columns(Mode::Additive), columns(Mode::Multiplicative));
        let dimension = additive.len() + 2 * (1 + multiplicative.len());
        let stride = padded(dimension);
        let mut features = vec![0.0; rows.len() * stride];
        for (index, out) in features.chunks_exact_mut(stride).enumerate() {
            let (row, t) = (rows.row(index), rows.time(index));
            let mut out = out.iter_mut();
            let mut put = |value: f64| out.next().into_iter().for_each(|place| *place = value);
            additive.iter().for_each(|column| put(row[*column]));
            for factor in [1.0, t] {
                put(factor);
                multiplicative.iter().for_each(|column| put(factor * row[*column]));
            }
        }
        let segment = |segment| {
            let range = rows.segment(segment);
            let mut matrix = Symmetric::zero(dimension);
            add_squares(&features[range.start * stride..range.end * stride], &mut matrix);
            matrix.mirror();
            let cholesky = Cholesky::new(&matrix, dimension, RIDGE);
            (matrix, cholesky)
        };
        let segments = (0..=rows.bends.len()).map(segment).collect();
        Self { additive, multiplicative, stride, rows: features, segments }
    }
}

/// What the values of a series are to a segment.
struct Segment<'a> {
    matrix: &'a Symmetric,
    /// A solution of the normal equations.
    solution: Vec<f64>,
    /// The features times the residual of the solution.
    slope: Vec<f64>,
    /// The square of the residual.
    rest: f64,
}

/// Minus the logarithm of the posterior, of `(k, m, delta, beta, log sigma)`.
pub(crate) struct Segmented<'a> {
    moments: &'a Moments,
    rows: &'a Rows,
    segments: Vec<Segment<'a>>,
    priors: &'a Priors,
    /// Scratch: `v` less the solution, and the gradient for it.
    offset: Vec<f64>,
    pull: Vec<f64>,
}

impl<'a> Segmented<'a> {
    pub(crate) fn new(moments: &'a Moments, rows: &'a Rows, values: &[f64], priors: &'a Priors) -> Self {
        let stride = moments.stride;
        let segment = |(index, (matrix, cholesky)): (usize, &'a (Symmetric, Cholesky))| {
            let range = rows.segment(index);
            let features = || moments.rows[range.start * stride..range.end * stride].chunks_exact(stride);
            let mut solution = vec![0.0; stride];
            for (row, value) in features().zip(&values[range.clone()]) {
                add_scaled(&mut solution, *value, row);
            }
            cholesky.solve(&mut solution);
            let (mut slope, mut rest) = (vec![0.0; stride], 0.0);
            for (row, value) in features().zip(&values[range.clone()]) {
                let residual = value - dot(row, &solution);
                add_scaled(&mut slope, residual, row);
                rest += residual * residual;
            }
            Segment { matrix, solution, slope, rest }
        };
        let segments = moments.segments.iter().enumerate().map(segment).collect();
        Self { moments, rows, segments, priors, offset: vec![0.0; stride], pull: vec![0.0; stride] }
    }
}

impl Objective for Segmented<'_> {
    fn evaluate(&mut self, point: &[f64], gradient: &mut [f64]) -> f64 {
        let Self { moments, rows, segments, priors, offset, pull } = self;
        let bends = rows.bends.len();
        let (additive, multiplicative) = (&moments.additive, &moments.multiplicative);
        let beta = 2 + bends;
        let (constant, timed) = (additive.len(), additive.len() + 1 + multiplicative.len());
        gradient.fill(0.0);
        let mut error = 0.0;
        let lines = rows.lines(point[0], point[1], &point[2..beta]);
        for (index, (segment, (a, b))) in segments.iter().zip(lines).enumerate() {
            for (offset, column) in offset.iter_mut().zip(additive) {
                *offset = point[beta + column];
            }
            offset[constant] = b;
            offset[timed] = a;
            for (place, column) in multiplicative.iter().enumerate() {
                offset[constant + 1 + place] = b * point[beta + column];
                offset[timed + 1 + place] = a * point[beta + column];
            }
            for (offset, solution) in offset.iter_mut().zip(&segment.solution) {
                *offset -= solution;
            }
            segment.matrix.multiply(offset, pull);
            error += dot(offset, pull) - 2.0 * dot(offset, &segment.slope) + segment.rest;
            for (pull, slope) in pull.iter_mut().zip(&segment.slope) {
                *pull -= slope;
            }
            for (pull, column) in pull.iter().zip(additive) {
                gradient[beta + column] += pull;
            }
            let (mut for_b, mut for_a) = (pull[constant], pull[timed]);
            for (place, column) in multiplicative.iter().enumerate() {
                let (by_b, by_a) = (pull[constant + 1 + place], pull[timed + 1 + place]);
                let factor = point[beta + column];
                for_b += by_b * factor;
                for_a += by_a * factor;
                gradient[beta + column] += b * by_b + a * by_a;
            }
            // The line of a segment has the bends of all changepoints before it.
            gradient[0] += for_a;
            gradient[1] += for_b;
            for (gradient, bend) in gradient[2..2 + index].iter_mut().zip(&rows.bends) {
                *gradient += for_a - bend * for_b;
            }
        }
        if !rows.has_slope {
            gradient[0] = 0.0;
        }
        let noise = priors.noise;
        let value = with_noise(rows.len(), error.max(0.0), point[noise], gradient, noise);
        value + priors.add(point, gradient)
    }
}
