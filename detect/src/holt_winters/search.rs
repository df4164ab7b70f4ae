//! The search for the least sum of squared errors.

use super::args::{Bounds, HoltWintersArgs, Initialization};
use super::gradient::{Gradient, Tape, squared_errors};
use super::lbfgs::{Limits, minimise};
use super::recursion::{Form, Smoothing, States};
use super::starts::{self, Known};
use super::variables::{Variables, is_positive};

/// Least level, growth and season of a multiplicative form to start from, in units of the greatest value.
const LEAST_FACTOR: f64 = 1e-3;

/// Dampings to start from: of trends that last, and of some that are over soon, in what the window starts with or for good.
const DAMPINGS: [f64; 2] = [0.99, 0.85];

/// From several starts, this is how far it goes before it gives up those that are not promising.
const TRIAL: Limits = Limits { evaluations: 20, decrease: 1e-8 };

/// A point is promising if its sum of squared errors is at most this many times the lowest.
const PROMISING: f64 = 1.25;

/// Points whose smoothing parameters differ by less than this are taken for the same.
const NEAR: f64 = 0.05;

const LIMITS: Limits = Limits { evaluations: 400, decrease: 1e-8 };

/// Steps that a descent goes through in all, about a second of work: in windows of more than 250,000 steps it stops early.
const WORK: usize = 100_000_000;

/// Estimates what the arguments do not give: from the best of a grid of smoothing parameters downhill in all parameters at once. `None`
/// if there is no finite sum of squared errors.
pub(super) fn search(
    args: &HoltWintersArgs,
    form: Form,
    mut states: States,
    values: &[f64],
) -> Option<(Smoothing, States)> {
    let free_states = args.initialization == Initialization::Estimated;
    if free_states {
        let [level, trend, season] = is_positive(form);
        let raise = |state: &mut f64, positive: bool| *state = if positive { state.max(LEAST_FACTOR) } else { *state };
        raise(&mut states.level, level);
        raise(&mut states.trend, trend);
        states.seasons.iter_mut().for_each(|seasonal| raise(seasonal, season));
    }
    let given = |exists: bool, value: Option<f64>| if exists { value } else { Some(0.0) };
    let mut known = Known {
        level: args.smoothing_level,
        trend: given(form.trend.is_some(), args.smoothing_trend),
        season: given(form.season.is_some(), args.smoothing_seasonal),
        damping: 1.0,
    };
    let free_damping = args.damped_trend && args.damping_trend.is_none();
    let free = [known.level.is_none(), known.trend.is_none(), known.season.is_none(), free_damping];
    let descent = Descent { form, bounds: args.bounds, free, free_states, values };
    let (low, high) = args.bounds.damping_trend;
    let dampings = match args.damping_trend {
        _ if !args.damped_trend => vec![1.0],
        Some(damping) => vec![damping],
        None => DAMPINGS.iter().map(|damping| damping.clamp(low, high)).collect(),
    };
    let mut starts = Vec::new();
    for damping in dampings {
        known.damping = damping;
        starts.extend(starts::best(form, known, args.bounds, &states, values));
    }
    let several = starts.len() > 1;
    let limits = if several { TRIAL } else { LIMITS };
    let mut points: Vec<Point> = starts.into_iter().map(|start| descent.from(start, states.clone(), limits)).collect();
    if several {
        points = promising(points);
        points = points.into_iter().map(|point| descent.from(point.smoothing, point.states, LIMITS)).collect();
    }
    points.retain(|point| point.squared_errors.is_finite());
    let lowest = points.into_iter().min_by(|one, other| one.squared_errors.total_cmp(&other.squared_errors));
    lowest.map(|point| (point.smoothing, point.states))
}

/// The lowest point, and others that are low and elsewhere.
fn promising(mut points: Vec<Point>) -> Vec<Point> {
    points.sort_by(|one, other| one.squared_errors.total_cmp(&other.squared_errors));
    let mut kept: Vec<Point> = Vec::new();
    for point in points {
        let is_low = kept.first().is_none_or(|lowest| point.squared_errors <= PROMISING * lowest.squared_errors);
        if is_low && !kept.iter().any(|other| point.is_near(other)) {
            kept.push(point);
        }
    }
    kept
}

/// Parameters, and the sum of squared errors with them.
struct Point {
    squared_errors: f64,
    smoothing: Smoothing,
    states: States,
}

impl Point {
    /// Whether two descents are about to end in the same place.
    fn is_near(&self, other: &Self) -> bool {
        let pairs = self.smoothing.parameters().into_iter().zip(other.smoothing.parameters());
        pairs.into_iter().all(|(one, other)| (one - other).abs() < NEAR)
    }
}

/// Going downhill.
struct Descent<'a> {
    form: Form,
    bounds: Bounds,
    /// Which of `alpha`, `beta`, `gamma`, `phi` are estimated.
    free: [bool; 4],
    /// Whether the initial states are.
    free_states: bool,
    values: &'a [f64],
}

impl Descent<'_> {
    fn from(&self, mut smoothing: Smoothing, mut states: States, limits: Limits) -> Point {
        let Self { form, values, .. } = *self;
        let mut tape = Tape::default();
        let mut gradient = Gradient { smoothing, states: states.clone() };
        let start = squared_errors(form, smoothing, &states, values, &mut tape, &mut gradient);
        let free = (self.free, self.free_states);
        let variables = Variables::new(form, self.bounds, free, (smoothing, &states), start, values);
        let mut place = vec![0.0; variables.count()];
        if place.is_empty() || !start.is_finite() || start <= 0.0 {
            return Point { squared_errors: start, smoothing, states };
        }
        let affordable = (WORK / values.len()) as u32;
        let limits = Limits { evaluations: limits.evaluations.min(affordable), ..limits };
        let lowest = minimise(&mut place, limits, |place, slopes| {
            smoothing = variables.parameters(place, &mut states);
            let sum = squared_errors(form, smoothing, &states, values, &mut tape, &mut gradient);
            variables.slopes(place, (smoothing, &states), &gradient, slopes);
            slopes.iter_mut().for_each(|slope| *slope /= start);
            sum / start
        });
        smoothing = variables.parameters(&place, &mut states);
        Point { squared_errors: lowest * start, smoothing, states }
    }
}
