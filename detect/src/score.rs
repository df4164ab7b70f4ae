//! From an expected interval and a value to the anomaly score.

/// An expected value with its bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Expected value.
    pub yhat: f64,
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
}

/// Which side of the expectation counts as anomalous.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// Both sides.
    #[default]
    Both,
    /// Only `y > yhat`.
    AboveExpected,
    /// Only `y < yhat`.
    BelowExpected,
}

/// A pair of thresholds, one for each side of the expectation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sides {
    /// Applies where `y < yhat`.
    pub below: f64,
    /// Applies where `y > yhat`.
    pub above: f64,
}

/// Everything that turns an interval into a score, after the model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScorePolicy {
    /// Multiplies the margins, not `yhat`.
    pub scale: Sides,
    /// Clamps the interval to `data_range`.
    pub clip_predictions: bool,
    /// The valid domain of values, `(low, high)`, inclusive.
    pub data_range: (f64, f64),
    /// The score of a value outside `data_range`.
    pub score_outside_data_range: f64,
    /// Which side counts.
    pub direction: Direction,
    /// Deviations up to this are no anomaly, in units of the series.
    pub min_dev_from_expected: Sides,
    /// Deviations up to this are no anomaly, in percent of `|yhat|`.
    pub min_rel_dev_from_expected: Sides,
    /// The score is 0 until the model has seen this many samples.
    pub min_n_samples_seen: u64,
}
