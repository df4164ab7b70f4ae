//! What the posteriors of all kinds of trends and features have in common: the noise and the priors.
//!
//! Minus the logarithm, without constants (`prophet.stan`; the noise is searched by its logarithm, without the Jacobian):
//!
//! ```text
//! n ln sigma + error / (2 sigma^2) + 2 sigma^2 + (k^2 + m^2) / 50 + sum |delta_j| / tau + sum beta_j^2 / (2 s_j^2)
//! ```
//!
//! with the squared error of `n` samples, `tau` the changepoint prior scale and `s_j` that of a column. The slope of `|delta|` at
//! 0 is taken as 0.

/// The priors of `(k, m, delta, beta)`, and where `log sigma` is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Priors {
    /// The range of `delta`.
    pub(crate) bends: std::ops::Range<usize>,
    /// The index of `log sigma`, after all others.
    pub(crate) noise: usize,
    /// `1 / s^2` of Gaussian priors, 0 for others; padded.
    precisions: Vec<f64>,
    /// `1 / tau`.
    bend_weight: f64,
}

/// Standard deviation of the priors of `k` and `m`.
const TREND_SCALE: f64 = 5.0;

impl Priors {
    pub(crate) fn new(bends: usize, bend_scale: f64, prior_scales: &[f64], len: usize) -> Self {
        let mut precisions = vec![0.0; len];
        precisions[..2].fill(1.0 / (TREND_SCALE * TREND_SCALE));
        for (precision, scale) in precisions[2 + bends..].iter_mut().zip(prior_scales) {
            *precision = 1.0 / (scale * scale);
        }
        Self { bends: 2..2 + bends, noise: 2 + bends + prior_scales.len(), precisions, bend_weight: 1.0 / bend_scale }
    }

    /// Returns the priors' share of the value and adds that of the gradient.
    #[inline]
    pub(crate) fn add(&self, point: &[f64], gradient: &mut [f64]) -> f64 {
        let mut squares = 0.0;
        for ((gradient, point), precision) in gradient.iter_mut().zip(point).zip(&self.precisions) {
            let pull = precision * point;
            squares += pull * point;
            *gradient += pull;
        }
        let mut bends = 0.0;
        for (gradient, bend) in gradient[self.bends.clone()].iter_mut().zip(&point[self.bends.clone()]) {
            bends += bend.abs();
            if *bend != 0.0 {
                *gradient += self.bend_weight.copysign(*bend);
            }
        }
        0.5 * squares + self.bend_weight * bends
    }
}

/// The value of the noise for a squared error whose half gradient is in `gradient`; scales that, and sets its part for
/// `log sigma`.
#[inline]
pub(crate) fn with_noise(samples: usize, error: f64, log_sigma: f64, gradient: &mut [f64], noise: usize) -> f64 {
    let variance = libm::exp(2.0 * log_sigma);
    let precision = 1.0 / variance;
    gradient.iter_mut().for_each(|gradient| *gradient *= precision);
    let share = error * precision;
    gradient[noise] = samples as f64 - share + 4.0 * variance;
    samples as f64 * log_sigma + 0.5 * share + 2.0 * variance
}
