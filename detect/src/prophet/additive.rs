//! The posterior of a model that is linear in its parameters but the noise: additive features on a linear or flat trend.
//!
//! The mean is `Z theta` with `theta = (k, m, delta, beta)` and `Z = [t, 1, (t - s_j)+, X]`, so the squared error needs the data
//! only through `Z'Z` and what is below. One pass over the samples, then every evaluation costs the square of the number of
//! parameters, however many samples there are. To keep the digits where a fit is close, the error is not taken as
//! `y'y - 2 theta'Z'y + theta'Z'Z theta`, but from a solution `theta_0` of the normal equations with the residual
//! `r = y - Z theta_0`: `r'r - 2 d'Z'r + d'Z'Z d` with `d = theta - theta_0`.

use super::lbfgs::Objective;
use super::posterior::{Priors, with_noise};
use super::vector::{Symmetric, dot};

/// Minus the logarithm of the posterior, of `(k, m, delta, beta, log sigma)`.
pub(crate) struct Additive<'a> {
    pub(crate) samples: usize,
    /// `Z'Z`, and zeros for `log sigma`.
    pub(crate) gram: &'a Symmetric,
    /// `theta_0`.
    pub(crate) solution: Vec<f64>,
    /// `Z'r`.
    pub(crate) slope: Vec<f64>,
    /// `r'r`.
    pub(crate) rest: f64,
    pub(crate) priors: &'a Priors,
    /// Scratch: `d`.
    pub(crate) offset: Vec<f64>,
}

impl Objective for Additive<'_> {
    fn evaluate(&mut self, point: &[f64], gradient: &mut [f64]) -> f64 {
        let noise = self.priors.noise;
        for ((offset, point), solution) in self.offset.iter_mut().zip(point).zip(&self.solution) {
            *offset = point - solution;
        }
        self.offset[noise] = 0.0;
        self.gram.multiply(&self.offset, gradient);
        // `offset'(gram offset - 2 slope) + rest`, and half of its gradient.
        let error = dot(&self.offset, gradient) - 2.0 * dot(&self.offset, &self.slope) + self.rest;
        for (gradient, slope) in gradient.iter_mut().zip(&self.slope) {
            *gradient -= slope;
        }
        let value = with_noise(self.samples, error.max(0.0), point[noise], gradient, noise);
        value + self.priors.add(point, gradient)
    }
}
