//! What a fit needs of its times alone: series of one time grid share it.

use std::sync::Arc;

use crate::offline::FitError;

use super::additive::Additive;
use super::args::{Growth, Mode, ProphetArgs, Scaling};
use super::fit::Fit;
use super::layout::{Facts, Layout, Standard, wall_clock};
use super::lbfgs::{self, NoDescent, Objective};
use super::logistic::Logistic;
use super::posterior::Priors;
use super::segments::{Moments, Segmented};
use super::vector::{Cholesky, Symmetric, add_scaled, add_squares, dot, padded};

/// The noise of a constant series, and the least of any: as a fraction of `y_scale`.
const LEAST_NOISE: f64 = 1e-9;

/// By how much a second search starts elsewhere. Stan stops at kinks of the posterior, by which of two runs on values that differ
/// in the ninth digit may differ by more than a unit of its logarithm: one of two is rarely that far off.
const SECOND_START: f64 = 1e-9;

/// What keeps the normal equations solvable where columns depend on each other, as a fraction of the diagonal.
const RIDGE: f64 = 1e-9;

/// Times with the features and the matrices that a fit of any values at them needs.
///
/// It depends on the times and the arguments alone. Where a thousand series have samples at the same times, one design is
/// enough: what remains for a series is work in proportion to the number of samples times that of columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Design {
    pub(crate) times: Vec<i64>,
    growth: Growth,
    scaling: Scaling,
    pub(crate) layout: Arc<Layout>,
    /// Of the columns that are standardised.
    standards: Vec<Standard>,
    /// ms.
    span: i64,
    /// 0 to 1.
    changepoints: Vec<f64>,
    /// Whether there are no changepoints, and so one at the start stands for them whose bend is part of the slope.
    has_dummy: bool,
    rows: Rows,
    priors: Priors,
    kind: Kind,
}

/// What the shape of the trend and the features ask for.
#[derive(Debug, Clone, PartialEq)]
enum Kind {
    /// Linear in its parameters: `Z'Z` and its decomposition.
    Additive { gram: Symmetric, cholesky: Cholesky },
    /// A straight line in every segment between changepoints, times features.
    Multiplicative(Moments),
    /// The samples themselves.
    Logistic,
}

/// The rows `(x_1 .. x_K, 1, t)` of all samples, and where the trend bends.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rows {
    /// Numbers a row: a multiple of [`LANES`](super::vector::LANES), what is beyond the row is 0.
    pub(crate) stride: usize,
    /// Number of features.
    pub(crate) width: usize,
    pub(crate) entries: Vec<f64>,
    /// The first row from each changepoint on: where its segment starts. The segment before the first starts at 0.
    pub(crate) starts: Vec<usize>,
    /// The changepoints that bend the trend: none if it is flat.
    pub(crate) bends: Vec<f64>,
    /// Whether the trend has a slope.
    pub(crate) has_slope: bool,
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        self.entries.len() / self.stride
    }

    pub(crate) fn row(&self, index: usize) -> &[f64] {
        &self.entries[index * self.stride..][..self.stride]
    }

    /// The rows of a segment, from 0 to the number of bends.
    pub(crate) fn segment(&self, segment: usize) -> std::ops::Range<usize> {
        let start = if segment == 0 { 0 } else { self.starts[segment - 1] };
        start..self.starts.get(segment).copied().unwrap_or(self.len())
    }

    pub(crate) fn time(&self, index: usize) -> f64 {
        self.entries[index * self.stride + self.width + 1]
    }

    /// Slope and offset of the trend in each segment: `a t + b`.
    pub(crate) fn lines<'a>(&'a self, k: f64, m: f64, delta: &'a [f64]) -> impl Iterator<Item = (f64, f64)> + 'a {
        let bends = self.bends.iter().zip(delta).scan((k, m), |line, (at, bend)| {
            *line = (line.0 + bend, line.1 - at * bend);
            Some(*line)
        });
        std::iter::once((k, m)).chain(bends)
    }

    /// `Z'v`, written to the front of `out`.
    fn project(&self, vector: &[f64], out: &mut [f64]) {
        let mut sums = vec![0.0; self.stride];
        for segment in (0..=self.bends.len()).rev() {
            for index in self.segment(segment) {
                add_scaled(&mut sums, vector[index], self.row(index));
            }
            if segment > 0 {
                out[1 + segment] = sums[self.width + 1] - self.bends[segment - 1] * sums[self.width];
            }
        }
        out[0] = if self.has_slope { sums[self.width + 1] } else { 0.0 };
        out[1] = sums[self.width];
        out[2 + self.bends.len()..][..self.width].copy_from_slice(&sums[..self.width]);
    }

    /// `vector -= Z theta`.
    fn subtract_mean(&self, theta: &[f64], vector: &mut [f64]) {
        let bends = self.bends.len();
        let mut factors = vec![0.0; self.stride];
        factors[..self.width].copy_from_slice(&theta[2 + bends..][..self.width]);
        for (segment, (slope, offset)) in self.lines(theta[0], theta[1], &theta[2..2 + bends]).enumerate() {
            factors[self.width] = offset;
            factors[self.width + 1] = slope;
            for index in self.segment(segment) {
                vector[index] -= dot(self.row(index), &factors);
            }
        }
    }

    /// `Z'Z`, with a row and column of 0 for the noise.
    fn gram(&self) -> Symmetric {
        let (width, bends) = (self.width, self.bends.len());
        let mut squares = Symmetric { stride: self.stride, entries: vec![0.0; self.stride * self.stride] };
        add_squares(&self.entries, &mut squares);
        let mut gram = Symmetric::zero(3 + bends + width);
        let beta = 2 + bends;
        for column in 0..width {
            for row in 0..=column {
                gram.set(beta + row, beta + column, squares.at(column, row));
            }
        }
        // Sums of the rows, and of the rows times t, from each changepoint on: a hinge `(t - s)+` times a column sums to the
        // second less `s` times the first.
        let (mut plain, mut timed) = (vec![0.0; self.stride], vec![0.0; self.stride]);
        let mut line = |entry: usize, at: f64, sums: &[f64], timed: &[f64], bends_from: usize| {
            for column in 0..width {
                gram.set(entry, beta + column, timed[column] - at * sums[column]);
            }
            let (one, t) = (width, width + 1);
            gram.set(entry, 1, timed[one] - at * sums[one]);
            gram.set(entry, 0, if self.has_slope { timed[t] - at * sums[t] } else { 0.0 });
            for (earlier, bend) in self.bends[..bends_from].iter().enumerate() {
                gram.set(entry, 2 + earlier, timed[t] - (at + bend) * sums[t] + at * bend * sums[one]);
            }
        };
        for segment in (0..=bends).rev() {
            for index in self.segment(segment) {
                let row = self.row(index);
                add_scaled(&mut plain, 1.0, row);
                add_scaled(&mut timed, self.time(index), row);
            }
            if segment > 0 {
                line(1 + segment, self.bends[segment - 1], &plain, &timed, segment);
            }
        }
        if self.has_slope {
            line(0, 0.0, &plain, &timed, 0);
        }
        for (column, sum) in plain[..width].iter().enumerate() {
            gram.set(1, beta + column, *sum);
        }
        gram.set(1, 1, plain[width]);
        gram
    }
}

/// The series' values as a fraction of their scale.
struct Scaled {
    y_scale: f64,
    floor: f64,
    values: Vec<f64>,
}

impl Design {
    /// The design of samples at these times (ms), ascending; several may have the same time.
    ///
    /// # Errors
    /// [`FitError::TooFewSamples`] below two times, [`FitError::Failed`] if all are the same, or they are farther apart than
    /// a number of ms can say.
    pub fn new(args: &ProphetArgs, times: &[i64]) -> Result<Self, FitError> {
        Self::with_layouts(args, times, |facts| Arc::new(Layout::new(args, facts)))
    }

    /// As [`Self::new`], with layouts from a place where fits share them.
    pub(crate) fn with_layouts(
        args: &ProphetArgs,
        times: &[i64],
        layout_of: impl FnOnce(Facts) -> Arc<Layout>,
    ) -> Result<Self, FitError> {
        let (Some(first), Some(last)) = (times.first().copied(), times.last().copied()) else {
            return Err(FitError::TooFewSamples { needed: 2, found: 0 });
        };
        if times.len() < 2 {
            return Err(FitError::TooFewSamples { needed: 2, found: times.len() });
        }
        let span = last.checked_sub(first).ok_or(FitError::Failed { what: "the samples are too far apart" })?;
        if span <= 0 {
            return Err(FitError::Failed { what: "all samples have the same time" });
        }
        let steps = times.windows(2).map(|pair| pair[1] - pair[0]);
        let least_step = steps.filter(|step| *step > 0).min().unwrap_or(span);
        let layout = layout_of(Facts::new(args, first, last, least_step));
        let t = |time: i64| (time - first) as f64 / span as f64;
        let mut changepoints: Vec<f64> = changepoint_times(args, times).into_iter().map(t).collect();
        let has_dummy = changepoints.is_empty();
        if has_dummy {
            changepoints.push(0.0);
        }

        let width = layout.width();
        let stride = padded(width + 2);
        let clocks: Vec<_> = times.iter().map(|time| wall_clock(args, *time)).collect();
        let mut entries = vec![0.0; times.len() * stride];
        layout.fill_rows(&clocks, stride, &mut entries);
        let standards: Vec<Standard> =
            layout.standardised.iter().map(|column| standardise(&mut entries[*column..], stride)).collect();
        for (row, time) in entries.chunks_exact_mut(stride).zip(times) {
            row[width] = 1.0;
            row[width + 1] = t(*time);
        }
        let is_flat = args.growth == Growth::Flat;
        let bends = if is_flat { Vec::new() } else { changepoints.clone() };
        let starts = bends.iter().map(|bend| times.partition_point(|time| t(*time) < *bend)).collect();
        let rows = Rows { stride, width, entries, starts, bends, has_slope: !is_flat };
        let count = rows.bends.len();
        let len = padded(3 + count + width);
        let priors = Priors::new(count, args.changepoint_prior_scale, &layout.prior_scales, len);
        let kind = if matches!(args.growth, Growth::Logistic { .. }) {
            Kind::Logistic
        } else if layout.modes.contains(&Mode::Multiplicative) {
            Kind::Multiplicative(Moments::new(&rows, &layout.modes))
        } else {
            let gram = rows.gram();
            let cholesky = Cholesky::new(&gram, 2 + count + width, RIDGE);
            Kind::Additive { gram, cholesky }
        };
        Ok(Self {
            times: times.to_vec(),
            growth: args.growth,
            scaling: args.scaling,
            layout,
            standards,
            span,
            changepoints,
            has_dummy,
            rows,
            priors,
            kind,
        })
    }

    /// Number of samples.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.times.len()
    }

    /// Fits the series that has these finite values at the design's times.
    ///
    /// # Errors
    /// [`FitError::Failed`] if there are not as many values as times, they span more than a number can say, or no minimiser
    /// finds a way down.
    pub fn fit(&self, values: &[f64]) -> Result<Fit, FitError> {
        if values.len() != self.times.len() || !values.iter().all(|value| value.is_finite()) {
            return Err(FitError::Failed { what: "there is not one finite value a time" });
        }
        let scaled = self.scaled(values);
        if !scaled.y_scale.is_finite() || !scaled.values.iter().all(|value| value.is_finite()) {
            return Err(FitError::Failed { what: "the values span more than a number can say" });
        }
        let (k, m) = self.initial_line(&scaled);
        let count = self.rows.bends.len();
        let noise = self.priors.noise;
        let mut point = vec![0.0; padded(noise + 1)];
        point[0] = k;
        point[1] = m;
        let is_constant = values.iter().all(|value| *value == values[0]);
        let sigma = if is_constant && !matches!(self.growth, Growth::Logistic { .. }) {
            LEAST_NOISE
        } else {
            self.minimise(&scaled, &mut point).map_err(|NoDescent| FitError::Failed {
                what: "no change of the parameters makes the values more likely",
            })?;
            libm::exp(point[noise]).max(LEAST_NOISE)
        };
        let mut delta = vec![0.0; self.changepoints.len()];
        delta[..count].copy_from_slice(&point[2..2 + count]);
        let (mut k, mut m) = (point[0], point[1]);
        if self.has_dummy {
            let slope = k + delta[0];
            if matches!(self.growth, Growth::Logistic { .. }) && slope != 0.0 {
                m *= k / slope;
            }
            (k, delta[0]) = (slope, 0.0);
        }
        Ok(Fit {
            growth: self.growth,
            layout: Arc::clone(&self.layout),
            standards: self.standards.clone(),
            start: self.times[0],
            span: self.span,
            samples: self.times.len() as u64,
            y_scale: scaled.y_scale,
            floor: scaled.floor,
            k,
            m,
            delta,
            changepoints: self.changepoints.clone(),
            beta: point[2 + count..noise].to_vec(),
            sigma,
            spread: 0.0,
        })
    }

    fn scaled(&self, values: &[f64]) -> Scaled {
        let fold = |pick: fn(f64, f64) -> f64, start| values.iter().fold(start, |best, value| pick(best, *value));
        let (least, greatest) = (fold(f64::min, f64::INFINITY), fold(f64::max, f64::NEG_INFINITY));
        let (floor, y_scale) = match (self.growth, self.scaling) {
            (Growth::Logistic { floor, .. }, Scaling::AbsMax) => {
                (floor, (least - floor).abs().max((greatest - floor).abs()))
            }
            (Growth::Logistic { cap, floor }, Scaling::MinMax) => (floor, cap - floor),
            (_, Scaling::AbsMax) => (0.0, least.abs().max(greatest.abs())),
            (_, Scaling::MinMax) => (least, greatest - least),
        };
        let y_scale = if y_scale == 0.0 { 1.0 } else { y_scale };
        Scaled { y_scale, floor, values: values.iter().map(|value| (value - floor) / y_scale).collect() }
    }

    /// Where the search starts: the trend through the first and the last sample, or the mean where it is flat.
    fn initial_line(&self, scaled: &Scaled) -> (f64, f64) {
        let values = &scaled.values;
        // The first sample of the last time, as Prophet has it.
        let last = self.times.partition_point(|time| *time < self.times[0] + self.span);
        let (first, last) = (values[0], values[last]);
        match self.growth {
            Growth::Linear => (last - first, first),
            Growth::Flat => (0.0, values.iter().sum::<f64>() / values.len() as f64),
            Growth::Logistic { cap, floor } => {
                let cap = (cap - floor) / scaled.y_scale;
                let ratio = |value: f64| cap / (0.01 * cap).max((0.99 * cap).min(value));
                let (mut start, end) = (ratio(first), ratio(last));
                if (start - end).abs() <= 0.01 {
                    start *= 1.05;
                }
                let (start, end) = (libm::log(start - 1.0), libm::log(end - 1.0));
                (start - end, start / (start - end))
            }
        }
    }

    fn minimise(&self, scaled: &Scaled, point: &mut [f64]) -> Result<(), NoDescent> {
        let samples = self.times.len();
        let len = point.len();
        match &self.kind {
            Kind::Additive { gram, cholesky } => {
                let mut solution = vec![0.0; len];
                self.rows.project(&scaled.values, &mut solution);
                cholesky.solve(&mut solution[..self.priors.noise]);
                let mut rest = scaled.values.clone();
                self.rows.subtract_mean(&solution, &mut rest);
                let mut slope = vec![0.0; len];
                self.rows.project(&rest, &mut slope);
                let rest = rest.iter().map(|rest| rest * rest).sum();
                let offset = vec![0.0; len];
                Self::descend(
                    &mut Additive { samples, gram, solution, slope, rest, priors: &self.priors, offset },
                    point,
                )
            }
            Kind::Multiplicative(moments) => {
                Self::descend(&mut Segmented::new(moments, &self.rows, &scaled.values, &self.priors), point)
            }
            Kind::Logistic => {
                let Growth::Logistic { cap, floor } = self.growth else { return Err(NoDescent) };
                let cap = (cap - floor) / scaled.y_scale;
                let modes = &self.layout.modes;
                let times = (&self.times[..], self.span);
                let mut objective = Logistic::new(&self.rows, times, modes, cap, &scaled.values, &self.priors);
                Self::descend(&mut objective, point)
            }
        }
    }

    /// Searches from two starts that are all but the same, and takes the better end.
    fn descend(objective: &mut impl Objective, point: &mut [f64]) -> Result<(), NoDescent> {
        let mut other = point.to_vec();
        other[1] += SECOND_START;
        let value = lbfgs::minimise(objective, point)?;
        if lbfgs::minimise(objective, &mut other).is_ok_and(|second| second < value) {
            point.copy_from_slice(&other);
        }
        Ok(())
    }
}

/// The times where the trend may bend: those that were asked for and lie in the history, or some of the first of the history,
/// evenly by their number.
fn changepoint_times(args: &ProphetArgs, times: &[i64]) -> Vec<i64> {
    if let Some(asked) = &args.changepoints {
        let mut asked = asked.clone();
        asked.sort_unstable();
        asked.dedup();
        asked.retain(|time| times.first() <= Some(time) && Some(time) <= times.last());
        return asked;
    }
    let count = (times.len() as f64 * args.changepoint_range).floor() as usize;
    let wanted = args.n_changepoints.min(count.saturating_sub(1));
    let step = count.saturating_sub(1) as f64 / wanted as f64;
    let position = |index: usize| {
        let exact = if index == wanted { (count - 1) as f64 } else { index as f64 * step };
        exact.round_ties_even() as usize
    };
    (1..=wanted).filter_map(|index| times.get(position(index)).copied()).collect()
}

/// Standardises the column at the front of `rows` and returns its mean and standard deviation. A column that is constant, or of
/// zeros and ones, stays as it is.
fn standardise(rows: &mut [f64], stride: usize) -> Standard {
    let values = || rows.iter().step_by(stride);
    let first = rows[0];
    if values().all(|value| *value == first) || values().all(|value| *value == 0.0 || *value == 1.0) {
        return (0.0, 1.0);
    }
    let count = values().count() as f64;
    let mean = values().sum::<f64>() / count;
    let squares: f64 = values().map(|value| (value - mean) * (value - mean)).sum();
    let deviation = (squares / (count - 1.0)).sqrt();
    rows.iter_mut().step_by(stride).for_each(|value| *value = (*value - mean) / deviation);
    (mean, deviation)
}
