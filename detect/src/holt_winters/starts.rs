//! A coarse look at all smoothing parameters, with the initial states fixed, for where to start from.

use super::args::Bounds;
use super::recursion::{Composition, Form, Smoothing, States, for_each_form, step};
use crate::prophet::vector::widest;

/// Candidates that are tried side by side.
const LANES: usize = 16;

/// Where in its range a parameter is tried.
const LEVELS: [f64; 12] = [0.001, 0.01, 0.03, 0.07, 0.13, 0.22, 0.33, 0.46, 0.6, 0.75, 0.88, 0.97];
const TRENDS: [f64; 5] = [0.002, 0.02, 0.1, 0.35, 0.75];
const SEASONS: [f64; 6] = [0.002, 0.03, 0.1, 0.25, 0.5, 0.9];

/// What is known of the smoothing parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Known {
    pub(super) level: Option<f64>,
    pub(super) trend: Option<f64>,
    pub(super) season: Option<f64>,
    pub(super) damping: f64,
}

/// Levels and trends that follow errors by more than this, trends by this share of their level's smoothing, are of another kind: there
/// can be a least sum of squared errors in each kind.
const LIVELY_LEVEL: f64 = 0.5;
const LIVELY_TREND: f64 = 0.2;

/// A kind is worth a closer look if its sum of squared errors is at most this many times the least.
const WORTHWHILE: f64 = 2.0;

/// The candidate of each kind with the least sum of squared errors, the first of several, if the kind is worthwhile.
pub(super) fn best(form: Form, known: Known, bounds: Bounds, initial: &States, values: &[f64]) -> Vec<Smoothing> {
    let mut candidates = candidates(known, bounds);
    let count = candidates.len();
    let last = candidates[count - 1];
    candidates.resize(count.next_multiple_of(LANES), last);
    let mut seasons = Vec::new();
    let mut kinds = [(f64::INFINITY, last); 4];
    for candidates in candidates.chunks_exact(LANES) {
        let sums = widest(
            #[inline(always)]
            || for_each_form!(form, kind => sums(kind, candidates, initial, values, &mut seasons)),
        );
        for (candidate, sum) in candidates.iter().zip(sums) {
            let lively_trend = candidate.trend > LIVELY_TREND * candidate.level;
            let kind = &mut kinds[2 * usize::from(candidate.level > LIVELY_LEVEL) + usize::from(lively_trend)];
            if sum < kind.0 {
                *kind = (sum, *candidate);
            }
        }
    }
    let least = kinds.iter().fold(f64::INFINITY, |least, (sum, _)| least.min(*sum));
    let worthwhile = kinds.iter().filter(|(sum, _)| sum.is_finite() && *sum <= WORTHWHILE * least);
    worthwhile.map(|(_, candidate)| *candidate).collect()
}

/// At least one.
fn candidates(known: Known, bounds: Bounds) -> Vec<Smoothing> {
    let within = |(low, high): (f64, f64), share: &f64| low + (high - low) * share;
    let grid = |known: Option<f64>, range, shares: &[f64]| match known {
        Some(known) => vec![known],
        None => shares.iter().map(|share| within(range, share)).collect(),
    };
    let mut candidates = Vec::new();
    for level in grid(known.level, bounds.ranges(0.0)[0], &LEVELS) {
        let [_, trends, seasons, _] = bounds.ranges(level);
        for trend in grid(known.trend, trends, &TRENDS) {
            for season in grid(known.season, seasons, &SEASONS) {
                candidates.push(Smoothing { level, trend, season, damping: known.damping });
            }
        }
    }
    candidates
}

/// Sums of squared errors of [`LANES`] candidates.
#[inline(always)]
fn sums(
    kind: (Option<Composition>, Option<Composition>),
    candidates: &[Smoothing],
    initial: &States,
    values: &[f64],
    seasons: &mut Vec<[f64; LANES]>,
) -> [f64; LANES] {
    let lanes = |of: fn(&Smoothing) -> f64| -> [f64; LANES] { std::array::from_fn(|lane| of(&candidates[lane])) };
    let (alpha, beta) = (lanes(|smoothing| smoothing.level), lanes(|smoothing| smoothing.trend));
    let gamma = lanes(|smoothing| smoothing.season);
    let damping = candidates[0].damping;
    let (mut levels, mut slopes) = ([initial.level; LANES], [initial.trend; LANES]);
    seasons.clear();
    seasons.extend(initial.seasons.iter().map(|season| [*season; LANES]));
    seasons.resize(initial.seasons.len().max(1), [0.0; LANES]);
    let mut sums = [0.0; LANES];
    for values in values.chunks(seasons.len()) {
        for (value, seasonals) in values.iter().zip(seasons.iter_mut()) {
            for lane in 0..LANES {
                let smoothing = Smoothing { level: alpha[lane], trend: beta[lane], season: gamma[lane], damping };
                let next = step(kind, smoothing, (levels[lane], slopes[lane], seasonals[lane]), *value);
                let error = next.fitted - value;
                sums[lane] += error * error;
                levels[lane] = next.level;
                slopes[lane] = next.trend;
                seasonals[lane] = next.season;
            }
        }
    }
    sums
}
