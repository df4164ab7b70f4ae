//! How far values lie from what is expected, in closed form.
//!
//! Prophet draws a thousand futures and takes quantiles of them; this takes the quantiles of the distribution that it draws from.
//! In it, values differ from `yhat` by Gaussian noise of deviation `sigma`, and beyond the history by a trend that goes on
//! bending: bends come as a Poisson process of `S` a length of the history, where `S` is the number of changepoints, and are
//! Laplace of scale `lambda = mean |delta_j| + 1e-8`. After the time `T` (in lengths of the history) the bends add up to `U` with
//!
//! ```text
//! variance of U = 2/3 S lambda^2 T^3
//! characteristic function of U = exp(-S (T - atan(lambda u T) / (lambda u)))
//! ```
//!
//! and the quantile `x` of the sum of `U` and the noise follows from Gil-Pelaez' formula (Biometrika 38, 1951),
//! `w = 2/pi * integral of sin(u x) / u * phi(u) * exp(-sigma^2 u^2 / 2)` over `u > 0`, for an interval of width `w`.

use std::f64::consts::PI;

/// How the trend goes on beyond the history.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bends {
    /// `S`.
    pub(crate) rate: f64,
    /// `lambda`.
    pub(crate) scale: f64,
}

/// Half the width of the interval in standard deviations.
pub(crate) fn normal_margin(width: f64) -> f64 {
    // From the tail, whose share has all its digits however wide the interval is.
    -normal_quantile(0.5 * (1.0 - width))
}

impl Bends {
    /// The variance of `U` after `time`.
    pub(crate) fn variance(self, time: f64) -> f64 {
        2.0 / 3.0 * self.rate * self.scale * self.scale * time * time * time
    }

    /// Half the width of the interval after `time`, in standard deviations of the sum of `U` and noise of deviation `sigma`.
    pub(crate) fn margin(self, time: f64, sigma: f64, width: f64) -> f64 {
        /// Below this share of the variance the bends do not change the shape of the distribution.
        const NO_BENDS: f64 = 1e-6;
        /// The noise is taken for wider where there would be more.
        const MAX_NODES: usize = 4_096;
        let normal = normal_margin(width);
        let trend = self.variance(time);
        let deviation = (trend + sigma * sigma).sqrt();
        if trend.is_nan() || trend <= NO_BENDS * sigma * sigma || !deviation.is_finite() {
            return normal;
        }
        // In units of the standard deviation. The integral by midpoints is exact but for what lies beyond `reach`.
        let jump = self.scale * time / deviation;
        let reach = normal + 10.0 + 25.0 * jump;
        let step = PI / reach;
        let smooth = (sigma / deviation).max(8.0 / (step * MAX_NODES as f64));
        let nodes = ((8.0 / smooth / step).ceil() as usize).clamp(1, MAX_NODES);
        let weights: Vec<f64> = (0..nodes)
            .map(|node| {
                let u = (node as f64 + 0.5) * step;
                let bent = self.rate * time * (1.0 - libm::atan(jump * u) / (jump * u));
                step / u * libm::exp(-bent - 0.5 * smooth * smooth * u * u)
            })
            .collect();
        let share = |x: f64| {
            let (turn_sin, turn_cos) = libm::sincos(step * x);
            let (mut sin, mut cos) = libm::sincos(0.5 * step * x);
            let mut total = 0.0;
            for weight in &weights {
                total += weight * sin;
                (sin, cos) = (sin * turn_cos + cos * turn_sin, cos * turn_cos - sin * turn_sin);
            }
            2.0 / PI * total
        };
        let (mut low, mut high) = (0.0, reach);
        for _ in 0..50 {
            let middle = 0.5 * (low + high);
            if share(middle) < width {
                low = middle;
            } else {
                high = middle;
            }
        }
        0.5 * (low + high)
    }
}

/// The quantile of the normal distribution, `0 < share < 1` (M. Wichura, algorithm AS 241, Applied Statistics 37, 1988).
#[expect(clippy::excessive_precision, reason = "as published")]
fn normal_quantile(share: f64) -> f64 {
    const A: [f64; 8] = [
        2509.0809287301226727,
        33430.575583588128105,
        67265.770927008700853,
        45921.953931549871457,
        13731.693765509461125,
        1971.5909503065514427,
        133.14166789178437745,
        3.3871328727963666080,
    ];
    const B: [f64; 8] = [
        5226.4952788528545610,
        28729.085735721942674,
        39307.895800092710610,
        21213.794301586595867,
        5394.1960214247511077,
        687.18700749205790830,
        42.313330701600911252,
        1.0,
    ];
    const C: [f64; 8] = [
        7.74545014278341407640e-4,
        0.0227238449892691845833,
        0.241780725177450611770,
        1.27045825245236838258,
        3.64784832476320460504,
        5.76949722146069140550,
        4.63033784615654529590,
        1.42343711074968357734,
    ];
    const D: [f64; 8] = [
        1.05075007164441684324e-9,
        5.47593808499534494600e-4,
        0.0151986665636164571966,
        0.148103976427480074590,
        0.689767334985100004550,
        1.67638483018380384940,
        2.05319162663775882187,
        1.0,
    ];
    const E: [f64; 8] = [
        2.01033439929228813265e-7,
        2.71155556874348757815e-5,
        0.00124266094738807843860,
        0.0265321895265761230930,
        0.296560571828504891230,
        1.78482653991729133580,
        5.46378491116411436990,
        6.65790464350110377720,
    ];
    const F: [f64; 8] = [
        2.04426310338993978564e-15,
        1.42151175831644588870e-7,
        1.84631831751005468180e-5,
        7.86869131145613259100e-4,
        0.0148753612908506148525,
        0.136929880922735805310,
        0.599832206555887937690,
        1.0,
    ];
    let ratio = |x: f64, above: &[f64; 8], below: &[f64; 8]| {
        let polynomial = |factors: &[f64; 8]| factors.iter().fold(0.0, |value, factor| value * x + factor);
        polynomial(above) / polynomial(below)
    };
    let centred = share - 0.5;
    if centred.abs() <= 0.425 {
        return centred * ratio(0.180625 - centred * centred, &A, &B);
    }
    let tail = if centred < 0.0 { share } else { 1.0 - share };
    let root = (-libm::log(tail)).sqrt();
    let value = if root <= 5.0 { ratio(root - 1.6, &C, &D) } else { ratio(root - 5.0, &E, &F) };
    value.copysign(centred)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn margins_without_bends_are_those_of_the_normal_distribution() {
        let expected = [(0.5, 0.674_489_750_196_081_7), (0.8, 1.281_551_565_544_600_4), (0.98, 2.326_347_874_040_841)];
        for (width, margin) in expected {
            assert!((normal_margin(width) - margin).abs() < 1e-14);
        }
        // The widest that a number can say still has a margin.
        assert!(normal_margin(1.0_f64.next_down()).is_finite());
        let flat = Bends { rate: 25.0, scale: 1e-8 };
        assert_eq!(flat.margin(0.1, 0.05, 0.8), normal_margin(0.8));
    }

    #[test]
    fn margins_with_bends_are_those_of_drawn_futures() {
        let bends = Bends { rate: 25.0, scale: 0.2 };
        let (time, sigma) = (0.1, 0.01);
        let mut seed = 1_u64;
        let mut uniform = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((seed >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
        };
        let mut draws: Vec<f64> = (0..200_000)
            .map(|_| {
                let mut total = sigma * normal_quantile(uniform());
                let mut at = -libm::log(uniform()) / bends.rate;
                while at < time {
                    let size = -bends.scale * libm::log(uniform());
                    total += if uniform() < 0.5 { size } else { -size } * (time - at);
                    at -= libm::log(uniform()) / bends.rate;
                }
                total.abs()
            })
            .collect();
        draws.sort_by(f64::total_cmp);
        let deviation = (bends.variance(time) + sigma * sigma).sqrt();
        for width in [0.5, 0.8, 0.98] {
            let drawn = draws[(width * draws.len() as f64) as usize];
            let margin = bends.margin(time, sigma, width) * deviation;
            assert!((margin / drawn - 1.0).abs() < 0.02, "{width}: {margin} {drawn}");
        }
    }
}
