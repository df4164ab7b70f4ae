//! The recursions, and forecasts from where they end.

use crate::score::{at_least, at_most};

/// How a component is put together with the level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Composition {
    /// Added: `add`.
    Additive,
    /// Multiplied: `mul`. Values must be above 0.
    Multiplicative,
}

/// Which components there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// The trend, if there is one.
    pub trend: Option<Composition>,
    /// The season, if there is one.
    pub season: Option<Composition>,
    /// Steps of a season, at least 2; 0 without one.
    pub periods: usize,
}

impl Form {
    /// Whether values must be above 0.
    #[must_use]
    pub fn is_multiplicative(self) -> bool {
        [self.trend, self.season].contains(&Some(Composition::Multiplicative))
    }
}

/// The smoothing parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Smoothing {
    /// `alpha`.
    pub level: f64,
    /// `beta`; 0 without a trend.
    pub trend: f64,
    /// `gamma`; 0 without a season.
    pub season: f64,
    /// `phi`; 1 where the trend is not damped.
    pub damping: f64,
}

impl Smoothing {
    /// `alpha`, `beta`, `gamma`, `phi`.
    pub(super) fn parameters(self) -> [f64; 4] {
        [self.level, self.trend, self.season, self.damping]
    }

    pub(super) fn from_parameters([level, trend, season, damping]: [f64; 4]) -> Self {
        Self { level, trend, season, damping }
    }
}

/// What the recursions go on with.
#[derive(Debug, Clone, PartialEq)]
pub struct States {
    /// `l`.
    pub level: f64,
    /// `b`, a step's change or growth factor; without a trend 0.
    pub trend: f64,
    /// `s`, that of the next step first; empty without a season.
    pub seasons: Vec<f64>,
}

/// What one step gives.
pub(super) struct Step {
    /// Expected value, before the value is known.
    pub(super) fitted: f64,
    pub(super) level: f64,
    pub(super) trend: f64,
    pub(super) season: f64,
}

/// The level with the trend, as it is expected of a step, and the damped trend.
#[inline(always)]
pub(super) fn base(trend: Option<Composition>, damping: f64, level: f64, slope: f64) -> (f64, f64) {
    match trend {
        None => (level, 0.0),
        Some(Composition::Additive) => (level + damping * slope, damping * slope),
        Some(Composition::Multiplicative) => {
            let damped = if damping == 1.0 { slope } else { libm::pow(slope, damping) };
            (level * damped, damped)
        }
    }
}

/// A step of the recursions. Where `trend` and `season` are known when it is compiled, nothing is left of the other forms.
#[inline(always)]
pub(super) fn step(
    (trend, season): (Option<Composition>, Option<Composition>),
    smoothing: Smoothing,
    (level, slope, seasonal): (f64, f64, f64),
    value: f64,
) -> Step {
    let (base, damped) = base(trend, smoothing.damping, level, slope);
    let (deseasonalised, fitted) = match season {
        None => (value, base),
        Some(Composition::Additive) => (value - seasonal, base + seasonal),
        Some(Composition::Multiplicative) => (value / seasonal, base * seasonal),
    };
    let next_level = smoothing.level * deseasonalised + (1.0 - smoothing.level) * base;
    let next_slope = match trend {
        None => 0.0,
        Some(Composition::Additive) => damped + smoothing.trend * (next_level - base),
        Some(Composition::Multiplicative) => damped + smoothing.trend * (next_level / level - damped),
    };
    let next_season = match season {
        None => 0.0,
        Some(Composition::Additive) => seasonal + smoothing.season * (deseasonalised - base),
        Some(Composition::Multiplicative) => seasonal + smoothing.season * (value / base - seasonal),
    };
    Step { fitted, level: next_level, trend: next_slope, season: next_season }
}

/// Runs `$body` with `$kind` bound to the compositions of a form, each pair compiled for itself.
macro_rules! for_each_form {
    ($form:expr, $kind:ident => $body:expr) => {{
        use $crate::holt_winters::recursion::Composition::{Additive, Multiplicative};
        match ($form.trend, $form.season) {
            (None, None) => {
                let $kind = (None, None);
                $body
            }
            (None, Some(Additive)) => {
                let $kind = (None, Some(Additive));
                $body
            }
            (None, Some(Multiplicative)) => {
                let $kind = (None, Some(Multiplicative));
                $body
            }
            (Some(Additive), None) => {
                let $kind = (Some(Additive), None);
                $body
            }
            (Some(Additive), Some(Additive)) => {
                let $kind = (Some(Additive), Some(Additive));
                $body
            }
            (Some(Additive), Some(Multiplicative)) => {
                let $kind = (Some(Additive), Some(Multiplicative));
                $body
            }
            (Some(Multiplicative), None) => {
                let $kind = (Some(Multiplicative), None);
                $body
            }
            (Some(Multiplicative), Some(Additive)) => {
                let $kind = (Some(Multiplicative), Some(Additive));
                $body
            }
            (Some(Multiplicative), Some(Multiplicative)) => {
                let $kind = (Some(Multiplicative), Some(Multiplicative));
                $body
            }
        }
    }};
}
pub(super) use for_each_form;

/// Runs the recursions over `values`: what was expected of each before it was known, and the states after the last.
pub(super) fn run(form: Form, smoothing: Smoothing, initial: &States, values: &[f64]) -> (Vec<f64>, States) {
    let mut states = initial.clone();
    let mut fitted = Vec::with_capacity(values.len());
    let compositions = (form.trend, form.season);
    let cycle = form.periods.max(1);
    let mut no_season = [0.0];
    let seasons = if states.seasons.is_empty() { &mut no_season[..] } else { &mut states.seasons[..] };
    for values in values.chunks(cycle) {
        for (value, seasonal) in values.iter().zip(seasons.iter_mut()) {
            let next = step(compositions, smoothing, (states.level, states.trend, *seasonal), *value);
            fitted.push(next.fitted);
            (states.level, states.trend, *seasonal) = (next.level, next.trend, next.season);
        }
    }
    if !states.seasons.is_empty() {
        states.seasons.rotate_left(values.len() % form.periods);
    }
    (fitted, states)
}

impl States {
    /// The forecast of so many steps after the last value, saturating at `±f64::MAX`:
    /// `(l + (phi + phi^2 + .. + phi^steps) b) + s`, or the like with products and powers, where `s` is the season of that step. At the
    /// last value and before it, the trend is left out.
    #[inline]
    #[must_use]
    pub fn forecast(&self, form: Form, damping: f64, steps: i64) -> f64 {
        let level = match form.trend {
            None => self.level,
            Some(Composition::Additive) => self.level + damping_sum(damping, steps) * self.trend,
            Some(Composition::Multiplicative) => {
                self.level * at_most(libm::pow(self.trend, damping_sum(damping, steps)), f64::MAX)
            }
        };
        let level = at_most(at_least(level, -f64::MAX), f64::MAX);
        let phase = steps.saturating_sub(1).checked_rem_euclid(self.seasons.len() as i64).unwrap_or(0);
        let forecast = match (form.season, self.seasons.get(phase as usize)) {
            (Some(Composition::Additive), Some(season)) => level + season,
            (Some(Composition::Multiplicative), Some(season)) => level * season,
            _ => level,
        };
        at_most(at_least(forecast, -f64::MAX), f64::MAX)
    }
}

/// `phi + phi^2 + .. + phi^steps`.
fn damping_sum(damping: f64, steps: i64) -> f64 {
    let steps = steps.max(0) as f64;
    if damping == 1.0 { steps } else { -damping * libm::expm1(steps * libm::log(damping)) / (1.0 - damping) }
}

/// What tests of all forms have in common.
#[cfg(test)]
pub(super) mod forms {
    use super::*;
    use proptest::prelude::*;

    fn composition() -> impl Strategy<Value = Option<Composition>> {
        prop::sample::select(vec![None, Some(Composition::Additive), Some(Composition::Multiplicative)])
    }

    /// Any form, with parameters and initial states of a series around 10.
    pub(in super::super) fn form() -> impl Strategy<Value = (Form, Smoothing, States)> {
        let parameters = (0.05..0.95_f64, 0.05..0.95_f64, 0.05..0.95_f64, prop_oneof![Just(1.0), 0.8..0.99_f64]);
        let form = (composition(), composition(), 2..6_usize);
        (form, parameters, 8.0..12.0_f64, -0.1..0.1_f64, prop::collection::vec(-0.5..0.5_f64, 6)).prop_map(
            |((trend, season, periods), (alpha, beta, gamma, phi), level, slope, shape)| {
                let periods = if season.is_some() { periods } else { 0 };
                let form = Form { trend, season, periods };
                let part = |composition, change: f64| match composition {
                    None => 0.0,
                    Some(Composition::Additive) => change,
                    Some(Composition::Multiplicative) => 1.0 + 0.2 * change,
                };
                let seasons = shape[..periods].iter().map(|shape| part(season, *shape)).collect();
                let smoothing = Smoothing {
                    level: alpha,
                    trend: if trend.is_some() { beta * alpha } else { 0.0 },
                    season: if season.is_some() { gamma * (1.0 - alpha) } else { 0.0 },
                    damping: if trend.is_some() { phi } else { 1.0 },
                };
                (form, smoothing, States { level, trend: part(trend, slope), seasons })
            },
        )
    }

    /// Values around 10.
    pub(in super::super) fn values() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec(8.0..12.0_f64, 2..40)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What `ExponentialSmoothing._predict` of statsmodels computes, with its arrays.
    fn as_statsmodels(form: Form, smoothing: Smoothing, initial: &States, y: &[f64]) -> (Vec<f64>, Vec<[f64; 3]>) {
        let Smoothing { level: alpha, trend: beta, season: gamma, damping: phi } = smoothing;
        let multiplied = |composition| composition == Some(Composition::Multiplicative);
        let trended = |l: f64, b: f64| match form.trend {
            None => l,
            Some(Composition::Additive) => l + phi * b,
            Some(Composition::Multiplicative) => l * libm::pow(b, phi),
        };
        let m = form.periods.max(1);
        let (mut lvl, mut b) = (vec![initial.level], vec![initial.trend]);
        let neutral = if multiplied(form.season) { 1.0 } else { 0.0 };
        let mut s = if form.season.is_some() { initial.seasons.clone() } else { vec![neutral] };
        let mut fitted = Vec::new();
        for i in 1..=y.len() {
            let base = trended(lvl[i - 1], b[i - 1]);
            fitted.push(if multiplied(form.season) { base * s[i - 1] } else { base + s[i - 1] });
            let deseasonalised = if multiplied(form.season) { y[i - 1] / s[i - 1] } else { y[i - 1] - s[i - 1] };
            lvl.push(alpha * deseasonalised + (1.0 - alpha) * base);
            b.push(match form.trend {
                None => 0.0,
                Some(Composition::Additive) => beta * (lvl[i] - lvl[i - 1]) + (1.0 - beta) * phi * b[i - 1],
                Some(Composition::Multiplicative) => {
                    beta * (lvl[i] / lvl[i - 1]) + (1.0 - beta) * libm::pow(b[i - 1], phi)
                }
            });
            let gained = if multiplied(form.season) { y[i - 1] / base } else { y[i - 1] - base };
            let kept = if form.season.is_some() { gamma * gained + (1.0 - gamma) * s[i - 1] } else { neutral };
            s.push(kept);
        }
        let last = y.len();
        let states = (0..m).map(|phase| [lvl[last], b[last], s[last + phase]]).collect();
        (fitted, states)
    }

    fn close(one: f64, other: f64) -> bool {
        (one - other).abs() <= 1e-9 * (1.0 + one.abs())
    }

    proptest! {
        #[test]
        fn every_form_is_that_of_statsmodels((form, smoothing, initial) in forms::form(), values in forms::values()) {
            let (fitted, last) = run(form, smoothing, &initial, &values);
            let (expected, states) = as_statsmodels(form, smoothing, &initial, &values);
            prop_assert!(fitted.iter().zip(&expected).all(|(one, other)| close(*one, *other)));
            for (phase, [level, trend, season]) in states.into_iter().enumerate() {
                prop_assert!(close(last.level, level) && close(last.trend, trend));
                prop_assert!(last.seasons.get(phase).is_none_or(|ours| close(*ours, season)));
            }
        }

        #[test]
        fn a_forecast_is_what_is_expected_if_all_before_it_comes_true(
            (form, smoothing, mut states) in forms::form(),
            values in forms::values(),
        ) {
            states = run(form, smoothing, &states, &values).1;
            let first = states.clone();
            for ahead in 1..20 {
                let forecast = first.forecast(form, smoothing.damping, ahead);
                let (fitted, next) = run(form, smoothing, &states, &[forecast]);
                prop_assert!(close(fitted[0], forecast), "{ahead}: {} {forecast}", fitted[0]);
                states = next;
            }
        }
    }
}
