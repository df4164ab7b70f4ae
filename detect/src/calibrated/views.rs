//! Four ways to look at how far a sample is from what was expected, each with a band of its own.

use super::state::bounded;
use crate::score::{Interval, at_least, at_most};

/// How many views there are: in their order, what each takes for a deviation is below.
pub(super) const VIEWS: usize = 4;

/// The fast residual, which is great where a series leaves the level that it has right now.
pub(super) const FAST_VIEW: usize = 0;
/// The slow residual, which is great where a series is not at its level of the last day.
pub(super) const SLOW_VIEW: usize = 1;
/// The geometric mean of two slow residuals in a row of one sign: two deviations, neither of which would be one alone.
pub(super) const PAIR_VIEW: usize = 2;
/// A mean of slow residuals, which is great where a series leaves its level a little and for long.
pub(super) const DRIFT_VIEW: usize = 3;

/// What the slow residuals of earlier samples left.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Trail {
    /// That of the latest sample.
    pub(super) latest: f64,
    /// Their mean.
    pub(super) drift: f64,
}

impl Trail {
    /// `u` of each view, of the side that the sample is on. `gain` is that of the drift.
    #[inline]
    pub(super) fn deviations(self, fast: f64, slow: f64, gain: f64) -> [f64; VIEWS] {
        let is_pair = (slow > 0.0) == (self.latest > 0.0);
        let pair = if is_pair { (slow.abs().sqrt() * self.latest.abs().sqrt()).copysign(slow) } else { 0.0 };
        [fast, slow, pair, bounded(self.drift + gain * bounded(slow - self.drift))]
    }

    /// The bounds of the residual, fast or slow, between which the deviation of a view is at most its margin.
    #[inline]
    fn reach(self, view: usize, margin: f64, gain: f64) -> (f64, f64) {
        match view {
            PAIR_VIEW if self.latest == 0.0 => (-f64::MAX, f64::MAX),
            PAIR_VIEW => {
                let bound = bounded(bounded(margin / self.latest) * margin);
                if self.latest > 0.0 { (-f64::MAX, bound) } else { (bound, f64::MAX) }
            }
            DRIFT_VIEW => {
                let before = (1.0 - gain) * self.drift;
                (bounded((-margin - before) / gain), bounded((margin - before) / gain))
            }
            _ => (-margin, margin),
        }
    }

    /// What the bands of views have in common, around the first prediction, that of the fast speed; the middle between them if that is
    /// nothing. A view without a margin has no band.
    pub(super) fn common(self, fast: f64, slow: f64, margins: [Option<f64>; VIEWS], gain: f64) -> Interval {
        let (mut lower, mut upper) = (-f64::MAX, f64::MAX);
        for (view, margin) in margins.into_iter().enumerate() {
            let Some(margin) = margin else { continue };
            let centre = if view == FAST_VIEW { fast } else { slow };
            let (below, above) = self.reach(view, margin, gain);
            lower = at_least(lower, bounded(centre + below));
            upper = at_most(upper, bounded(centre + above));
        }
        if lower > upper {
            let middle = 0.5 * lower + 0.5 * upper;
            return Interval { yhat: middle, lower: middle, upper: middle };
        }
        Interval { yhat: at_most(at_least(fast, lower), upper), lower, upper }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_residual_is_within_the_reach_of_a_view_exactly_where_its_deviation_is_within_the_margin() {
        for (latest, drift) in [(0.0, 0.0), (2.0, 0.5), (-2.0, 0.5), (0.1, -3.0)] {
            let trail = Trail { latest, drift };
            for residual in (-80..=80).map(|tenths| f64::from(tenths) / 10.0 + 0.013) {
                let deviations = trail.deviations(residual, residual, 0.25);
                for (view, deviation) in deviations.into_iter().enumerate() {
                    let (lower, upper) = trail.reach(view, 1.5, 0.25);
                    let is_within = lower <= residual && residual <= upper;
                    assert_eq!(deviation.abs() <= 1.5, is_within, "{trail:?} view {view}: {residual}");
                    assert!(is_within || (deviation > 0.0) == (residual > upper), "{trail:?} view {view}: {residual}");
                }
            }
        }
    }
}
