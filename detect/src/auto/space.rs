//! What of a class is searched, and how its arguments are tried.

use crate::mad::{MadOnline, MadOnlineArgs};
use crate::model::OnlineModel;
use crate::offline::{FitError, OfflineModel, Prediction, Window};
use crate::zscore::{ZscoreOnline, ZscoreOnlineArgs};

/// The arguments of a class whose best values can be searched.
pub trait Tunable: Clone + 'static {
    /// What is searched. Other arguments stay as they are.
    const PARAMETERS: &'static [Parameter<Self>];

    /// Fits a model with these arguments to `history`, appends its predictions for `points`, and returns the size of its fitted
    /// state in bytes. With `exact`, a class that learns online learns each point once it is predicted.
    ///
    /// # Errors
    /// When the history gives no fit.
    fn predict(
        &self,
        history: Window<'_>,
        points: Window<'_>,
        exact: bool,
        predictions: &mut Vec<Prediction>,
    ) -> Result<usize, FitError>;
}

/// An argument that is searched.
#[derive(Debug)]
pub struct Parameter<A> {
    /// Its name in configurations.
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
            Self::Decay if value >= 1.0 => 0.0,
            Self::Decay => {
                let share = (libm::log10(1.0 - value) - DECAY.0) / (DECAY.1 - DECAY.0);
                NO_DECAY + share.max(0.0) * (1.0 - NO_DECAY)
            }
        };
        if place.is_nan() { 0.0 } else { place.clamp(0.0, 1.0) }
    }
}

impl Tunable for ZscoreOnlineArgs {
    const PARAMETERS: &'static [Parameter<Self>] = &[
        Parameter {
            name: "z_threshold",
            scale: Scale::Ratio(1.0, 20.0),
            get: |args| args.z_threshold,
            set: |args, value| args.z_threshold = value,
        },
        Parameter { name: "decay", scale: Scale::Decay, get: |args| args.decay, set: |args, value| args.decay = value },
    ];

    fn predict(
        &self,
        history: Window<'_>,
        points: Window<'_>,
        exact: bool,
        predictions: &mut Vec<Prediction>,
    ) -> Result<usize, FitError> {
        predict_online(ZscoreOnline::new(*self), history, points, exact, predictions)
    }
}

impl Tunable for MadOnlineArgs {
    const PARAMETERS: &'static [Parameter<Self>] = &[
        Parameter {
            name: "threshold",
            scale: Scale::Ratio(1.0, 40.0),
            get: |args| args.threshold,
            set: |args, value| args.threshold = value,
        },
        Parameter { name: "decay", scale: Scale::Decay, get: |args| args.decay, set: |args, value| args.decay = value },
        Parameter {
            name: "compression",
            scale: Scale::WholeRatio(50.0, 200.0),
            get: |args| args.compression.into(),
            set: |args, value| args.compression = value as u32,
        },
    ];

    fn predict(
        &self,
        history: Window<'_>,
        points: Window<'_>,
        exact: bool,
        predictions: &mut Vec<Prediction>,
    ) -> Result<usize, FitError> {
        predict_online(MadOnline::new(*self), history, points, exact, predictions)
    }
}

/// [`Tunable::predict`] by a model that learns online and has learnt nothing.
///
/// # Errors
/// When the history has no finite sample.
pub fn predict_online(
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
        for scale in [Scale::Ratio(1.0, 20.0), Scale::WholeRatio(50.0, 200.0), Scale::Decay] {
            for place in [0.0, 0.25, 0.3, 0.6, 0.99, 1.0] {
                let value = scale.value(place);
                let again = scale.value(scale.place(value));
                assert!((again - value).abs() <= 1e-9 * value, "{scale:?} {place} {value} {again}");
            }
        }
        assert_eq!([0.0, 0.2, 1.0].map(|place| Scale::Decay.value(place)), [1.0, 1.0, 0.9]);
        assert_eq!([0.0, 1.0].map(|place| Scale::WholeRatio(50.0, 200.0).value(place)), [50.0, 200.0]);
    }
}
