//! The Box-Cox transform of values before smoothing: `use_boxcox` of statsmodels.
//!
//! `(x^lambda - 1) / lambda`, and `ln x` at `lambda = 0` (G. Box and D. Cox, "An Analysis of Transformations", 1964). It makes the
//! spread of a series that grows with its level alike everywhere.

use crate::offline::FitError;
use crate::score::{at_least, at_most};

/// The farthest `lambda` from 0.
pub const MAX_LAMBDA: f64 = 10.0;

/// Which transform.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BoxCox {
    /// The `lambda` of the greatest likelihood of normal values, within [`MAX_LAMBDA`] of 0 and as far as no value of the window
    /// overflows. scipy, which statsmodels asks, searches without a bound.
    Estimated,
    /// This `lambda`.
    Lambda(f64),
}

/// Greatest `|lambda ln x|`: far enough from that of the greatest number, 709.
const MAX_EXPONENT: f64 = 600.0;

impl BoxCox {
    /// The `lambda` for these values.
    pub(super) fn lambda(self, values: &[f64]) -> Result<f64, FitError> {
        if values.iter().any(|value| !value.is_finite()) {
            return Err(FitError::Failed { what: "a value is not finite" });
        }
        if values.iter().any(|value| *value <= 0.0) {
            return Err(FitError::Failed { what: "a Box-Cox transform needs values above 0" });
        }
        Ok(match self {
            Self::Lambda(lambda) => lambda,
            Self::Estimated => likeliest(values),
        })
    }
}

/// Of a value above 0.
pub(super) fn transformed(value: f64, lambda: f64) -> f64 {
    divided_exponential(libm::log(value), lambda)
}

/// The value whose transform this is. Beyond the ends of the transform's range it is that of the end: 0 or `f64::MAX`.
pub(super) fn inverse(transformed: f64, lambda: f64) -> f64 {
    let logarithm = if lambda == 0.0 {
        transformed
    } else {
        let scaled = lambda * transformed;
        if scaled > -1.0 {
            libm::log1p(scaled) / lambda
        } else if lambda > 0.0 {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        }
    };
    at_most(libm::exp(logarithm), f64::MAX)
}

/// `(e^(lambda u) - 1) / lambda`, and its limit `u` at 0.
fn divided_exponential(u: f64, lambda: f64) -> f64 {
    if lambda == 0.0 { u } else { libm::expm1(lambda * u) / lambda }
}

/// The likelihood of `lambda` falls with the logarithm of the variance of the transforms of the values divided by their geometric
/// mean, and with nothing else.
fn likeliest(values: &[f64]) -> f64 {
    const GRID: i32 = 20;
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    let logarithms: Vec<f64> = values.iter().map(|value| libm::log(*value)).collect();
    let count = logarithms.len() as f64;
    let mean = logarithms.iter().sum::<f64>() / count;
    let farthest = logarithms.iter().fold(0.0, |farthest: f64, log| farthest.max(log.abs()));
    let distances: Vec<f64> = logarithms.iter().map(|log| log - mean).collect();
    if distances.iter().all(|distance| *distance == 0.0) {
        return 1.0;
    }
    // The distances from the mean may be twice as far.
    let most = at_most(0.5 * MAX_EXPONENT / at_least(farthest, 1.0), MAX_LAMBDA);
    let spread = |lambda: f64| {
        let transforms = || distances.iter().map(|distance| divided_exponential(*distance, lambda));
        let mean = transforms().sum::<f64>() / count;
        let greatest = transforms().fold(0.0, |greatest: f64, one| greatest.max((one - mean).abs()));
        let squares: f64 = transforms().map(|one| (one - mean) / greatest).map(|one| one * one).sum();
        libm::log(greatest) + 0.5 * libm::log(squares / count)
    };
    let at = |step: i32| most * f64::from(step) / f64::from(GRID);
    let best = (-GRID..=GRID).min_by(|one, other| spread(at(*one)).total_cmp(&spread(at(*other)))).unwrap_or(0);
    let (mut low, mut high) = (at((best - 1).max(-GRID)), at((best + 1).min(GRID)));
    let (mut left, mut right) = (high - GOLDEN * (high - low), low + GOLDEN * (high - low));
    let (mut at_left, mut at_right) = (spread(left), spread(right));
    while high - low > 1e-9 * most {
        if at_left <= at_right {
            (high, right, at_right) = (right, left, at_left);
            left = high - GOLDEN * (high - low);
            at_left = spread(left);
        } else {
            (low, left, at_left) = (left, right, at_right);
            right = low + GOLDEN * (high - low);
            at_right = spread(right);
        }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_likeliest_lambda_is_that_of_scipy() {
        // scipy.stats.boxcox of scipy 1.17.1.
        for (values, expected) in [
            (vec![1.2, 3.4, 2.2, 8.9, 5.1, 1.7, 20.3, 4.4], -0.274_846_785_369_779_2),
            (vec![10.0, 12.0, 15.0, 13.0, 18.0, 22.0, 19.0, 27.0, 33.0, 29.0, 40.0, 48.0], -0.117_508_058_060_269_54),
            (vec![0.9, 0.95, 0.97, 0.5, 0.99, 0.8, 0.7], 3.477_725_526_924_321_5),
        ] {
            let lambda = BoxCox::Estimated.lambda(&values).unwrap();
            assert!((lambda - expected).abs() < 1e-6, "{lambda} {expected}");
        }
        assert_eq!(BoxCox::Estimated.lambda(&[3.0, 3.0]), Ok(1.0));
        assert!(BoxCox::Estimated.lambda(&[1.0, 0.0]).is_err());
    }

    #[test]
    fn beyond_its_range_a_transform_is_that_of_an_end() {
        assert_eq!((inverse(-3.0, 0.5), inverse(3.0, -0.5)), (0.0, f64::MAX));
        assert_eq!((inverse(800.0, 0.0), inverse(-800.0, 0.0)), (f64::MAX, 0.0));
    }

    proptest! {
        #[test]
        fn a_value_comes_back_from_its_transform(value in 1e-3..1e3_f64, lambda in -2.0..2.0_f64) {
            prop_assert!((inverse(transformed(value, lambda), lambda) - value).abs() <= 1e-6 * value);
            prop_assert!((inverse(transformed(value, 0.0), 0.0) - value).abs() <= 1e-12 * value);
        }

        #[test]
        fn any_values_above_0_have_a_likeliest_lambda_that_does_not_overflow(
            exponents in prop::collection::vec(-300.0..300.0_f64, 1..20),
        ) {
            let values: Vec<f64> = exponents.iter().map(|exponent| libm::exp10(*exponent)).collect();
            let lambda = BoxCox::Estimated.lambda(&values).unwrap();
            prop_assert!(lambda.abs() <= MAX_LAMBDA);
            prop_assert!(values.iter().all(|value| transformed(*value, lambda).is_finite()), "{}", lambda);
        }
    }
}
