//! The sum of squared errors and its derivatives, by going through the recursions once forwards and once backwards (the adjoint,
//! or reverse-mode, method): all derivatives for the price of some two more sums, however many initial states there are.

use super::additive;
use super::recursion::{Composition, Form, Smoothing, States, base, for_each_form, step};

/// Derivatives of the sum of squared errors.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Gradient {
    pub(super) smoothing: Smoothing,
    pub(super) states: States,
}

/// What the way back needs of the way there; kept between calls for its memory.
#[derive(Debug, Clone, Default)]
pub(super) struct Tape {
    /// Before each step: level, trend, season of the step.
    steps: Vec<[f64; 3]>,
    /// The trends alone, which is all that additive forms need.
    pub(super) slopes: Vec<f64>,
    pub(super) seasons: Vec<f64>,
    pub(super) errors: Vec<f64>,
    pub(super) totals: Option<Box<additive::Totals>>,
}

/// The sum of squared errors of `values`. `gradient` is overwritten.
pub(super) fn squared_errors(
    form: Form,
    smoothing: Smoothing,
    initial: &States,
    values: &[f64],
    tape: &mut Tape,
    gradient: &mut Gradient,
) -> f64 {
    match (form.is_multiplicative(), form.trend) {
        (false, trend) => {
            let form = (trend.is_some(), form.periods);
            additive::squared_errors(form, smoothing, initial, values, tape, gradient)
        }
        (true, _) => {
            for_each_form!(form, kind => there_and_back(kind, form.periods, smoothing, initial, values, tape, gradient))
        }
    }
}

type Kind = (Option<Composition>, Option<Composition>);

#[inline(always)]
fn there_and_back(
    kind: Kind,
    periods: usize,
    smoothing: Smoothing,
    initial: &States,
    values: &[f64],
    tape: &mut Tape,
    gradient: &mut Gradient,
) -> f64 {
    let Tape { steps, seasons, errors, .. } = tape;
    seasons.clear();
    seasons.extend_from_slice(&initial.seasons);
    seasons.resize(periods.max(1), 0.0);
    steps.resize(values.len(), [0.0; 3]);
    errors.resize(values.len(), 0.0);
    let (mut level, mut slope) = (initial.level, initial.trend);
    let mut sum = 0.0;
    let cycle = seasons.len();
    let records = steps.chunks_mut(cycle).zip(errors.chunks_mut(cycle));
    for (values, (steps, errors)) in values.chunks(cycle).zip(records) {
        let records = steps.iter_mut().zip(errors);
        for ((value, seasonal), (record, error)) in values.iter().zip(seasons.iter_mut()).zip(records) {
            *record = [level, slope, *seasonal];
            let next = step(kind, smoothing, (level, slope, *seasonal), *value);
            *error = next.fitted - value;
            sum += *error * *error;
            (level, slope, *seasonal) = (next.level, next.trend, next.season);
        }
    }
    let mut adjoint = Adjoint { level: 0.0, slope: 0.0, smoothing: NO_SMOOTHING };
    seasons.fill(0.0);
    let records = steps.chunks(cycle).zip(errors.chunks(cycle));
    for (values, (steps, errors)) in values.chunks(cycle).zip(records).rev() {
        let records = steps.iter().zip(errors);
        for ((value, seasonal), (record, error)) in values.iter().zip(seasons.iter_mut()).zip(records).rev() {
            *seasonal = adjoint.back(kind, smoothing, *record, *value, 2.0 * error, *seasonal);
        }
    }
    gradient.smoothing = adjoint.smoothing;
    gradient.states.level = adjoint.level;
    gradient.states.trend = adjoint.slope;
    gradient.states.seasons.clear();
    gradient.states.seasons.extend_from_slice(&seasons[..periods]);
    sum
}

const NO_SMOOTHING: Smoothing = Smoothing { level: 0.0, trend: 0.0, season: 0.0, damping: 0.0 };

/// Derivatives by the states behind the step that is gone through next, and by the smoothing parameters so far.
struct Adjoint {
    level: f64,
    slope: f64,
    smoothing: Smoothing,
}

impl Adjoint {
    /// Goes back through a step, given the derivatives by what it expected and by the season that it left; returns that by the season
    /// that it found. Line by line the reverse of [`step`].
    #[inline(always)]
    fn back(
        &mut self,
        (trend, season): Kind,
        smoothing: Smoothing,
        [level, slope, seasonal]: [f64; 3],
        value: f64,
        by_fitted: f64,
        by_next_season: f64,
    ) -> f64 {
        let (base, damped) = base(trend, smoothing.damping, level, slope);
        let deseasonalised = match season {
            None => value,
            Some(Composition::Additive) => value - seasonal,
            Some(Composition::Multiplicative) => value / seasonal,
        };
        let surprise = deseasonalised - base;
        let next_level = smoothing.level * deseasonalised + (1.0 - smoothing.level) * base;
        let (mut by_next_level, by_next_slope) = (self.level, self.slope);
        let (mut by_base, mut by_damped, mut by_level) = (0.0, 0.0, 0.0);
        let (mut by_deseasonalised, mut by_seasonal) = (0.0, 0.0);

        match season {
            None => {}
            Some(Composition::Additive) => {
                by_deseasonalised += smoothing.season * by_next_season;
                by_base -= smoothing.season * by_next_season;
                by_seasonal += by_next_season;
                self.smoothing.season += surprise * by_next_season;
            }
            Some(Composition::Multiplicative) => {
                let ratio = value / base;
                by_base -= smoothing.season * by_next_season * ratio / base;
                by_seasonal += (1.0 - smoothing.season) * by_next_season;
                self.smoothing.season += (ratio - seasonal) * by_next_season;
            }
        }
        match trend {
            None => {}
            Some(Composition::Additive) => {
                by_next_level += smoothing.trend * by_next_slope;
                by_base -= smoothing.trend * by_next_slope;
                by_damped += by_next_slope;
                self.smoothing.trend += (next_level - base) * by_next_slope;
            }
            Some(Composition::Multiplicative) => {
                let growth = next_level / level;
                let by_growth = smoothing.trend * by_next_slope / level;
                by_next_level += by_growth;
                by_level -= by_growth * growth;
                by_damped += (1.0 - smoothing.trend) * by_next_slope;
                self.smoothing.trend += (growth - damped) * by_next_slope;
            }
        }
        by_deseasonalised += smoothing.level * by_next_level;
        by_base += (1.0 - smoothing.level) * by_next_level;
        self.smoothing.level += surprise * by_next_level;
        match season {
            None => by_base += by_fitted,
            Some(Composition::Additive) => {
                by_base += by_fitted;
                by_seasonal += by_fitted - by_deseasonalised;
            }
            Some(Composition::Multiplicative) => {
                by_base += by_fitted * seasonal;
                by_seasonal += by_fitted * base - by_deseasonalised * deseasonalised / seasonal;
            }
        }
        match trend {
            None => self.level = by_base,
            Some(Composition::Additive) => {
                by_damped += by_base;
                self.level = by_base;
                self.slope = smoothing.damping * by_damped;
                self.smoothing.damping += slope * by_damped;
            }
            Some(Composition::Multiplicative) => {
                by_damped += by_base * level;
                self.level = by_level + by_base * damped;
                if smoothing.damping == 1.0 {
                    self.slope = by_damped;
                } else {
                    self.slope = by_damped * smoothing.damping * damped / slope;
                    self.smoothing.damping += by_damped * damped * libm::log(slope);
                }
            }
        }
        by_seasonal
    }
}

#[cfg(test)]
mod tests {
    use super::super::recursion::forms;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn eight_steps_at_a_time_are_as_many_single_ones(
            (mut form, smoothing, mut initial) in forms::form(),
            values in prop::collection::vec(8.0..12.0_f64, 2..200),
            periods in 2..40_usize,
            shape in prop::collection::vec(-0.5..0.5_f64, 40),
        ) {
            form.trend = form.trend.map(|_| Composition::Additive);
            form.season = form.season.map(|_| Composition::Additive);
            form.periods = if form.season.is_some() { periods } else { 0 };
            initial.seasons = shape[..form.periods].to_vec();
            let (mut tape, empty) = (Tape::default(), Gradient { smoothing: NO_SMOOTHING, states: initial.clone() });
            let (mut wide, mut narrow) = (empty.clone(), empty);
            let sum = squared_errors(form, smoothing, &initial, &values, &mut tape, &mut wide);
            let kind = (form.trend, form.season);
            let exact = there_and_back(kind, form.periods, smoothing, &initial, &values, &mut tape, &mut narrow);
            prop_assert!((sum - exact).abs() <= 1e-12 * exact, "{sum} {exact}");
            let numbers = |gradient: &Gradient| {
                let Gradient { smoothing: Smoothing { level, trend, season, damping }, states } = gradient;
                let mut numbers = vec![*level, *season, states.level];
                if form.trend.is_some() {
                    numbers.extend([*trend, *damping, states.trend]);
                }
                numbers.extend(&states.seasons);
                numbers
            };
            let narrow = numbers(&narrow);
            let scale = narrow.iter().fold(1.0, |scale: f64, number| scale.max(number.abs()));
            for (one, other) in numbers(&wide).into_iter().zip(narrow) {
                prop_assert!((one - other).abs() <= 1e-11 * scale, "{one} {other}");
            }
        }
    }
}
