//! The variables that a fit goes downhill in: unbounded, and of similar curvature.

use super::args::Bounds;
use super::gradient::Gradient;
use super::recursion::{Composition, Form, Smoothing, States};
use crate::score::{at_least, at_most};

/// Change of the angle of a smoothing parameter that is as much as a change of 1 of other variables.
const ANGLE: f64 = 0.3;

/// What is estimated, and where it starts.
///
/// A smoothing parameter between `low` and `high` is `low + (high - low) sin(u)^2`, which reaches its ends. States that must be above 0
/// are `exp(v)`, others `v`. All are 0 at the start.
///
/// The seasons' `v` change by `unit (z_j + alpha (z_0 + .. + z_(j - 1)))`, where `z` are the variables and `alpha` is that of the start.
/// A level that follows errors by `alpha` hides a change of all seasons from some step on; with these, each variable is seen at its
/// own step only, and what the sum of squared errors is made of hardly depends on two of them together.
pub(super) struct Variables {
    form: Form,
    bounds: Bounds,
    /// Which of `alpha`, `beta`, `gamma`, `phi` are estimated.
    free: [bool; 4],
    /// Whether the initial states are.
    free_states: bool,
    smoothing: Smoothing,
    /// `u` at the start.
    angles: [f64; 4],
    /// `v` at the start, the seasons in steps of one `unit`.
    states: States,
    level_unit: f64,
    trend_unit: f64,
    season_unit: f64,
}

impl Variables {
    /// `squared_errors` is the sum at the start; multiplicative forms need states above 0.
    pub(super) fn new(
        form: Form,
        bounds: Bounds,
        (free, free_states): ([bool; 4], bool),
        (smoothing, states): (Smoothing, &States),
        squared_errors: f64,
        values: &[f64],
    ) -> Self {
        let steps = values.len() as f64;
        let [alpha, beta, gamma, damping] = smoothing.parameters();
        let mut angles = [0.0; 4];
        for ((angle, parameter), (low, high)) in angles.iter_mut().zip(smoothing.parameters()).zip(bounds.ranges(alpha))
        {
            let share = if high > low { (parameter - low) / (high - low) } else { 0.5 };
            *angle = libm::asin(share.clamp(0.0, 1.0).sqrt());
        }
        let square = values.iter().map(|value| value * value).sum::<f64>() / steps;
        let unit = |seen: f64, positive: bool| {
            let squares = if positive { seen * square } else { seen };
            (0.5 * squared_errors / squares).sqrt()
        };
        // How often a change of an initial state is seen: sums of geometric series, within the window.
        let turns = |decay: f64, most: f64| at_most(1.0 / decay, most);
        let seen = |smoothing: f64, most: f64| turns(smoothing * (2.0 - smoothing), most);
        let followed = turns(alpha, steps);
        let trend_turns = turns(at_least(alpha * beta, 1.0 - damping * damping), steps);
        let cycles = steps / at_least(form.periods as f64, 1.0);
        let positive = is_positive(form);
        let encode = |state: f64, positive: bool| if positive { libm::log(state) } else { state };
        let season_unit = unit(seen(gamma, cycles), positive[2]);
        let seasons = states.seasons.iter().map(|season| encode(*season, positive[2])).collect();
        Self {
            form,
            bounds,
            free,
            free_states,
            smoothing,
            angles,
            states: States {
                level: encode(states.level, positive[0]),
                trend: encode(states.trend, positive[1]),
                seasons,
            },
            level_unit: unit(seen(alpha, steps), positive[0]),
            trend_unit: unit(followed * followed * trend_turns, positive[1]),
            season_unit,
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        let states = if self.free_states { 1 + usize::from(self.form.trend.is_some()) + self.form.periods } else { 0 };
        self.free.iter().filter(|free| **free).count() + states
    }

    /// The parameters at a place; `states` become the initial states there, if they are estimated.
    pub(super) fn parameters(&self, place: &[f64], states: &mut States) -> Smoothing {
        let mut place = place.iter().copied();
        let mut parameters = self.smoothing.parameters();
        for (index, angle) in self.angles_at(&mut place).into_iter().enumerate() {
            if self.free[index] {
                let (low, high) = self.bounds.ranges(parameters[0])[index];
                let sine = libm::sin(angle);
                parameters[index] = low + (high - low) * (sine * sine);
            }
        }
        if self.free_states {
            let decode = |variable: f64, positive: bool| if positive { libm::exp(variable) } else { variable };
            let positive = is_positive(self.form);
            let mut next = || place.next().unwrap_or(0.0);
            states.level = decode(self.states.level + self.level_unit * next(), positive[0]);
            if self.form.trend.is_some() {
                states.trend = decode(self.states.trend + self.trend_unit * next(), positive[1]);
            }
            let mut before = 0.0;
            for ((season, start), z) in states.seasons.iter_mut().zip(&self.states.seasons).zip(place) {
                *season = decode(start + self.season_unit * (z + self.smoothing.level * before), positive[2]);
                before += z;
            }
        }
        Smoothing::from_parameters(parameters)
    }

    /// Derivatives by the variables, from those by `smoothing` and `states`, the parameters at this place.
    pub(super) fn slopes(
        &self,
        place: &[f64],
        (smoothing, states): (Smoothing, &States),
        by: &Gradient,
        slopes: &mut [f64],
    ) {
        let angles = self.angles_at(&mut place.iter().copied());
        let ranges = self.bounds.ranges(smoothing.level);
        let mut by_parameter = by.smoothing.parameters();
        // The ends of the ranges of beta and gamma move with alpha: at alpha, and at 1 - alpha.
        for (index, end, towards) in [(1, smoothing.level, 1.0), (2, 1.0 - smoothing.level, -1.0)] {
            if self.free[index] {
                let (low, high) = ranges[index];
                let share = libm::sin(angles[index]) * libm::sin(angles[index]);
                let moved = if low == end {
                    1.0
                } else if high == end {
                    share
                } else {
                    0.0
                };
                by_parameter[0] += towards * moved * by_parameter[index];
            }
        }
        let mut slopes = slopes.iter_mut();
        let mut put = |slope: f64| {
            if let Some(next) = slopes.next() {
                *next = slope;
            }
        };
        for (index, (low, high)) in ranges.into_iter().enumerate() {
            if self.free[index] {
                put(ANGLE * by_parameter[index] * (high - low) * libm::sin(2.0 * angles[index]));
            }
        }
        if self.free_states {
            let positive = is_positive(self.form);
            let factor = |state: f64, positive: bool| if positive { state } else { 1.0 };
            put(self.level_unit * by.states.level * factor(states.level, positive[0]));
            if self.form.trend.is_some() {
                put(self.trend_unit * by.states.trend * factor(states.trend, positive[1]));
            }
            let mut after = 0.0;
            let seasons = by.states.seasons.iter().zip(&states.seasons);
            for ((by_season, season), slope) in seasons.zip(slopes).rev() {
                let slope_of_state = self.season_unit * by_season * factor(*season, positive[2]);
                *slope = slope_of_state + self.smoothing.level * after;
                after += slope_of_state;
            }
        }
    }

    /// The angles at a place, of which the first variables are taken.
    fn angles_at(&self, place: &mut impl Iterator<Item = f64>) -> [f64; 4] {
        let mut angles = self.angles;
        for (angle, free) in angles.iter_mut().zip(self.free) {
            if free {
                *angle += ANGLE * place.next().unwrap_or(0.0);
            }
        }
        angles
    }
}

/// Which states must be above 0: level, trend, seasons.
pub(super) fn is_positive(form: Form) -> [bool; 3] {
    let multiplied = |composition| composition == Some(Composition::Multiplicative);
    [form.is_multiplicative(), multiplied(form.trend), multiplied(form.season)]
}

#[cfg(test)]
mod tests {
    use super::super::gradient::{Tape, squared_errors};
    use super::super::recursion::forms;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn slopes_are_those_of_the_sum_of_squared_errors(
            (form, start, initial) in forms::form(),
            values in forms::values(),
            offsets in prop::collection::vec(-0.2..0.2_f64, 12),
            bound in prop_oneof![Just(1.0), 0.1..1.0_f64],
        ) {
            let bounds = Bounds { smoothing_trend: (0.0, bound), smoothing_seasonal: (0.0, bound), ..Bounds::default() };
            let damped = start.damping < 1.0;
            let free = [true, form.trend.is_some(), form.season.is_some(), damped];
            let variables = Variables::new(form, bounds, (free, true), (start, &initial), 1.0, &values);
            let place = &offsets[..variables.count()];
            let mut states = initial.clone();
            let mut gradient = super::super::gradient::Gradient { smoothing: start, states: initial };
            let mut tape = Tape::default();
            let mut sum_at = |place: &[f64], slopes: Option<&mut [f64]>| {
                let smoothing = variables.parameters(place, &mut states);
                let sum = squared_errors(form, smoothing, &states, &values, &mut tape, &mut gradient);
                if let Some(slopes) = slopes {
                    variables.slopes(place, (smoothing, &states), &gradient, slopes);
                }
                sum
            };
            let mut slopes = vec![f64::NAN; place.len()];
            let sum = sum_at(place, Some(&mut slopes));
            for (index, slope) in slopes.iter().enumerate() {
                let mut moved = |by: f64| {
                    let mut place = place.to_vec();
                    place[index] += by;
                    sum_at(&place, None)
                };
                let measured = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                prop_assert!((slope - measured).abs() <= 1e-5 * (sum + slope.abs()), "{index}: {slope} {measured}");
            }
        }

        #[test]
        fn the_variables_start_at_the_parameters((form, start, initial) in forms::form(), values in forms::values()) {
            let free = [true, form.trend.is_some(), form.season.is_some(), start.damping < 1.0];
            let bounds = Bounds { damping_trend: (0.5, 1.0), ..Bounds::default() };
            let variables = Variables::new(form, bounds, (free, true), (start, &initial), 1.0, &values);
            let mut states = initial.clone();
            let smoothing = variables.parameters(&vec![0.0; variables.count()], &mut states);
            let pairs = smoothing.parameters().into_iter().zip(start.parameters());
            prop_assert!(pairs.into_iter().all(|(one, other)| (one - other).abs() < 1e-12));
            let pairs = states.seasons.iter().zip(&initial.seasons);
            prop_assert!(pairs.into_iter().all(|(one, other)| (one - other).abs() < 1e-12));
            prop_assert!((states.level - initial.level).abs() < 1e-12 && (states.trend - initial.trend).abs() < 1e-12);
        }
    }
}
