//! What of a class is searched, and how its arguments are tried.

use crate::model::OnlineModel;
use crate::offline::{FitError, OfflineModel, Prediction, Window};
use crate::safeguards::{Safeguarded, Safeguards};

/// The arguments of a class whose best values can be searched.
pub trait Tunable: Clone + Send + 'static {
    /// What is searched. Other arguments stay as they are.
    const PARAMETERS: &'static [Parameter<Self>];

    /// Fits a model with these arguments, in these safeguards, to `history`, appends its predictions for `points`, and returns the
    /// size of its fitted state in bytes. With `exact`, a class that learns online learns each point once it is predicted.
    ///
    /// # Errors
    /// When the history gives no fit.
    fn predict(
        &self,
        history: Window<'_>,
        points: Window<'_>,
        trial: TrialArgs,
        predictions: &mut Vec<Prediction>,
    ) -> Result<usize, FitError>;
}

/// How a trial goes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TrialArgs {
    /// Whether a class that learns online learns each point once it is predicted.
    pub exact: bool,
    /// Around the model; a class that expects no value has none.
    pub safeguards: Safeguards,
}

/// An argument that is searched.
#[derive(Debug)]
pub struct Parameter<A> {
    /// Its name in configurations; `args.` before that of an inner argument.
    pub name: &'static str,
    /// The values that are tried.
    pub scale: Scale,
    /// Reads it.
    pub get: fn(&A) -> f64,
    /// Sets it.
    pub set: fn(&mut A, f64),
}

/// The values of a parameter that are tried, and which of them are as far from each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    /// From the first number to the second, both above 0; ratios count.
    Ratio(f64, f64),
    /// Whole numbers from the first to the second, both above 0; ratios count.
    WholeRatio(f64, f64),
    /// From 0 to this number; square roots count.
    FromZero(f64),
    /// From 0 to 1.
    Share,
    /// 0 (false) or 1 (true).
    Switch,
    /// A factor of at most 1 by which the past fades: 1, or from `1 - 1e-5` to 0.9; ratios of the distance from 1 count.
    Decay,
}

/// The part of the scale of [`Scale::Decay`] on which nothing fades.
const NO_DECAY: f64 = 0.25;

/// Logarithms of the least and the greatest distance of a decay from 1.
const DECAY: (f64, f64) = (-5.0, -1.0);

impl Scale {
    /// The value at a place on the scale, from 0 to 1.
    pub(super) fn value(self, place: f64) -> f64 {
        match self {
            Self::Ratio(low, high) => (low * libm::pow(high / low, place)).clamp(low, high),
            Self::WholeRatio(low, high) => libm::round(low * libm::pow(high / low, place)).clamp(low, high),
            Self::FromZero(high) => (high * place * place).clamp(0.0, high),
            Self::Share => place.clamp(0.0, 1.0),
            Self::Switch => f64::from(u8::from(place >= 0.5)),
            Self::Decay if place < NO_DECAY => 1.0,
            Self::Decay => {
                let share = (place - NO_DECAY) / (1.0 - NO_DECAY);
                1.0 - libm::pow(10.0, DECAY.0 + share * (DECAY.1 - DECAY.0))
            }
        }
    }

    /// The place of a value, or that of the nearest one there is.
    pub(super) fn place(self, value: f64) -> f64 {
        let place = match self {
            Self::Ratio(low, high) | Self::WholeRatio(low, high) => libm::log(value / low) / libm::log(high / low),
            Self::FromZero(high) => libm::sqrt(value / high),
            Self::Share => value,
            Self::Switch => 0.25 + 0.5 * value,
            Self::Decay if value >= 1.0 => 0.0,
            Self::Decay => {
                let share = (libm::log10(1.0 - value) - DECAY.0) / (DECAY.1 - DECAY.0);
                NO_DECAY + share.max(0.0) * (1.0 - NO_DECAY)
            }
        };
        if place.is_nan() { 0.0 } else { place.clamp(0.0, 1.0) }
    }

    /// Whether it can be the value at a place.
    pub(super) fn holds(self, value: f64) -> bool {
        match self {
            Self::Ratio(low, high) => (low..=high).contains(&value),
            Self::WholeRatio(low, high) => (low..=high).contains(&value) && value == libm::round(value),
            Self::FromZero(high) => (0.0..=high).contains(&value),
            Self::Share => (0.0..=1.0).contains(&value),
            Self::Switch => value == 0.0 || value == 1.0,
            Self::Decay => (1.0 - libm::pow(10.0, DECAY.1)..=1.0).contains(&value),
        }
    }
}

/// [`Tunable::predict`] by a model that learns online and has learnt nothing.
///
/// # Errors
/// When the history has no finite sample.
pub fn predict_online(
    model: impl OnlineModel,
    history: Window<'_>,
    points: Window<'_>,
    trial: TrialArgs,
    predictions: &mut Vec<Prediction>,
) -> Result<usize, FitError> {
    let TrialArgs { exact, safeguards } = trial;
    if safeguards.is_some() {
        predict_learnt(Safeguarded::new(model, safeguards), history, points, exact, predictions)
    } else {
        predict_learnt(model, history, points, exact, predictions)
    }
}

fn predict_learnt(
    mut model: impl OnlineModel,
    history: Window<'_>,
    points: Window<'_>,
    exact: bool,
    predictions: &mut Vec<Prediction>,
) -> Result<usize, FitError> {
    history.samples().for_each(|(time, value)| model.learn(time, value));
    if model.samples_seen() == 0 {
        return Err(FitError::TooFewSamples { needed: 1, found: 0 });
    }
    model.finish_fit();
    let mut state = Vec::new();
    model.save(&mut state);
    for (time, value) in points.times.iter().zip(points.values) {
        predictions.push(Prediction::Interval(model.predict(*time)));
        if exact {
            model.learn(*time, *value);
        }
    }
    Ok(state.len())
}

/// [`Tunable::predict`] by a model that stays as it was fitted.
///
/// # Errors
/// When the history gives no fit.
pub fn predict_offline(
    model: impl OfflineModel,
    history: Window<'_>,
    points: Window<'_>,
    safeguards: Safeguards,
    predictions: &mut Vec<Prediction>,
) -> Result<usize, FitError> {
    if safeguards.is_some() {
        predict_fitted(Safeguarded::new(model, safeguards), history, points, predictions)
    } else {
        predict_fitted(model, history, points, predictions)
    }
}

fn predict_fitted(
    mut model: impl OfflineModel,
    history: Window<'_>,
    points: Window<'_>,
    predictions: &mut Vec<Prediction>,
) -> Result<usize, FitError> {
    model.fit(history)?;
    let mut state = Vec::new();
    model.save(&mut state);
    model.predict(points, predictions);
    Ok(state.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_has_a_value_in_range_and_every_value_its_place() {
        let (ratio, whole) = (Scale::Ratio(1.0, 20.0), Scale::WholeRatio(50.0, 200.0));
        for scale in [ratio, whole, Scale::Decay, Scale::FromZero(10.0), Scale::Share, Scale::Switch] {
            for place in [0.0, 0.25, 0.3, 0.6, 0.99, 1.0] {
                let value = scale.value(place);
                let again = scale.value(scale.place(value));
                assert!((again - value).abs() <= 1e-9 * value, "{scale:?} {place} {value} {again}");
                assert!(scale.holds(value), "{scale:?} {place} {value}");
            }
            assert!(!scale.holds(-1.0) && !scale.holds(1e9), "{scale:?}");
        }
        assert_eq!([0.0, 0.2, 1.0].map(|place| Scale::Decay.value(place)), [1.0, 1.0, 0.9]);
        assert_eq!([0.0, 1.0].map(|place| Scale::WholeRatio(50.0, 200.0).value(place)), [50.0, 200.0]);
        assert_eq!([0.0, 0.5, 1.0].map(|place| Scale::FromZero(10.0).value(place)), [0.0, 2.5, 10.0]);
        assert_eq!([0.0, 0.5, 1.0].map(|place| Scale::Switch.value(place)), [0.0, 1.0, 1.0]);
    }
}
