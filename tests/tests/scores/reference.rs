//! The documented formulas, written in the plainest way: every prediction is made anew from all samples with their weights.

/// What a model has seen: each sample with its weight, sorted by value.
#[derive(Debug, Clone)]
pub struct Seen {
    decay: f64,
    samples: Vec<(f64, f64)>,
}

impl Seen {
    pub fn nothing(decay: f64) -> Self {
        Self { decay, samples: Vec::new() }
    }

    pub fn count(&self) -> u64 {
        self.samples.len() as u64
    }

    /// Every sample before loses weight; the new one weighs 1.
    pub fn learn(&mut self, value: f64) {
        for (_, weight) in &mut self.samples {
            *weight *= self.decay;
        }
        let place = self.samples.partition_point(|(other, _)| *other < value);
        self.samples.insert(place, (value, 1.0));
    }

    /// What a fit has seen weighs more than what comes later.
    pub fn finish_fit(&mut self, history_strength: f64) {
        for (_, weight) in &mut self.samples {
            *weight *= history_strength;
        }
    }

    /// Weighted mean and standard deviation: the population's without decay, else unbiased for reliability weights.
    pub fn mean_and_deviation(&self) -> (f64, f64) {
        let origin = self.samples[0].0;
        let (mut total, mut squares, mut sum) = (0.0, 0.0, 0.0);
        for (value, weight) in &self.samples {
            total += weight;
            squares += weight * weight;
            sum += weight * (value - origin);
        }
        let mean = origin + sum / total;
        let mut deviations = 0.0;
        for (value, weight) in &self.samples {
            deviations += weight * (value - mean) * (value - mean);
        }
        let biased = deviations / total;
        let variance = match (self.decay < 1.0, self.samples.len()) {
            (false, _) => biased,
            (true, 1) => 0.0,
            (true, _) => biased / (1.0 - squares / (total * total)),
        };
        (mean, variance.sqrt())
    }

    /// Rank errors of a median, and of the median `mad` of the distances from it, which is known up to `rounding`.
    pub fn rank_errors(&self, median: f64, mad: f64, rounding: f64) -> [f64; 2] {
        let distance = |(value, weight): &(f64, f64)| ((value - median).abs(), *weight);
        let distances: Vec<(f64, f64)> = self.samples.iter().map(distance).collect();
        [rank_error(&self.samples, median, 0.0), rank_error(&distances, mad, rounding)]
    }
}

/// How far `value` is from parting the samples into halves: the share of the weight on its heavier side beyond 1/2, and 0 if
/// it is a weighted median. Samples as near as `rounding` count as equal to it.
fn rank_error(samples: &[(f64, f64)], value: f64, rounding: f64) -> f64 {
    let (mut below, mut above, mut total) = (0.0, 0.0, 0.0);
    for (other, weight) in samples {
        total += weight;
        if *other < value - rounding {
            below += weight;
        } else if *other > value + rounding {
            above += weight;
        }
    }
    (f64::max(below, above) / total - 0.5).max(0.0)
}

/// The class of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Class {
    Zscore,
    Mad,
}

/// The side of the expectation that counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Side {
    Both,
    Above,
    Below,
}

/// A model and the policies that it has on a query, all of them resolved. Pairs are (below, above).
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub class: Class,
    pub threshold: f64,
    pub decay: f64,
    pub history_strength: f64,
    pub compression: u32,
    pub scale: [f64; 2],
    pub clip: bool,
    pub data_range: [f64; 2],
    pub outside: f64,
    pub side: Side,
    pub min_dev: [f64; 2],
    pub min_rel_dev: [f64; 2],
    pub min_seen: u64,
}

/// An expected value with its bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band {
    pub yhat: f64,
    pub lower: f64,
    pub upper: f64,
}

/// What decided a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decided {
    OutsideDataRange,
    NothingLearnt,
    PredictionOutsideDataRange,
    WarmUp,
    Direction,
    MinDev,
    MinRelDev,
    Inside,
    Outside,
    Largest,
}

/// The smallest distance of a bound from the expected value.
pub fn least_margin(yhat: f64) -> f64 {
    yhat.abs().max(1.0) * 2.0_f64.powi(-50)
}

impl Rules {
    /// The band of a deviation (a standard deviation or a MAD) around `yhat`, as it is to be written.
    pub fn band(&self, yhat: f64, deviation: f64) -> Band {
        let margin = |scale: f64| (self.threshold * deviation * scale).max(least_margin(yhat));
        self.clipped(Band { yhat, lower: yhat - margin(self.scale[0]), upper: yhat + margin(self.scale[1]) })
    }

    /// The band as `clip_predictions` leaves it.
    pub fn clipped(&self, band: Band) -> Band {
        let clip = |value: f64| match self.clip {
            true => value.max(self.data_range[0]).min(self.data_range[1]),
            false => value,
        };
        Band { yhat: clip(band.yhat), lower: clip(band.lower), upper: clip(band.upper) }
    }

    /// The score of a finite value, and which rule of the score order gave it.
    pub fn score(&self, band: Option<Band>, y: f64, seen: u64) -> (f64, Decided) {
        let outside = |value: f64| value < self.data_range[0] || value > self.data_range[1];
        if outside(y) {
            return (self.outside, Decided::OutsideDataRange);
        }
        let Some(band) = band else {
            return (0.0, Decided::NothingLearnt);
        };
        if outside(band.yhat) {
            return (0.0, Decided::PredictionOutsideDataRange);
        }
        if seen < self.min_seen {
            return (0.0, Decided::WarmUp);
        }
        let counts = match self.side {
            Side::Both => true,
            Side::Above => y > band.yhat,
            Side::Below => y < band.yhat,
        };
        if !counts {
            return (0.0, Decided::Direction);
        }
        let deviation = (y - band.yhat).abs();
        let side = usize::from(y > band.yhat);
        if self.min_dev[side] > 0.0 && deviation <= self.min_dev[side] {
            return (0.0, Decided::MinDev);
        }
        let percent = self.min_rel_dev[side];
        if percent > 0.0 && band.yhat != 0.0 && 100.0 * deviation <= percent * band.yhat.abs() {
            return (0.0, Decided::MinRelDev);
        }
        base_score(band, y)
    }
}

/// The deviation in margins of its side: above 1 exactly outside the band; beyond a million by its logarithm, at
/// most a million and a half.
fn base_score(band: Band, y: f64) -> (f64, Decided) {
    if y == band.yhat {
        return (0.0, Decided::Inside);
    }
    let (deviation, margin) =
        if y > band.yhat { (y - band.yhat, band.upper - band.yhat) } else { (band.yhat - y, band.yhat - band.lower) };
    let ratio = deviation / margin;
    if band.lower <= y && y <= band.upper {
        (ratio.min(1.0), Decided::Inside)
    } else if ratio >= 1e6 {
        ((1e6 * (1.0 + 1e-3 * (ratio / 1e6).log10())).min(1.5e6), Decided::Largest)
    } else {
        (ratio.max(1.0_f64.next_up()), Decided::Outside)
    }
}
