//! What every model can do, one series or a batch of series at a time.

use crate::calibrated::Yardstick;
use crate::offline::Prediction;
use crate::readiness::Readiness;
use crate::score::{Interval, ScorePolicy};

/// The value that marks "the series has no sample at this time" in a matrix of samples: a NaN with its own payload,
/// so that a NaN that the data source really sent stays distinguishable. Compare by bits: see [`is_missing`].
pub const MISSING: f64 = f64::from_bits(0x7ff8_0000_6d69_7373);

/// Whether `value` is the [`MISSING`] mark (and not some other NaN).
#[must_use]
pub fn is_missing(value: f64) -> bool {
    value.to_bits() == MISSING.to_bits()
}

/// Why stored bytes are no state of this model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Written by a newer or unknown version of the format.
    #[error("state version {found} is not readable, this build reads up to {supported}")]
    Version {
        /// The version in the bytes.
        found: u32,
        /// The newest version that this build reads.
        supported: u32,
    },
    /// Shorter or longer than its own description says, or a value outside its range.
    #[error("state is damaged: {what}")]
    Damaged {
        /// What does not fit.
        what: &'static str,
    },
}

/// One series' online model: predicts from what it has learnt, then learns the point.
pub trait OnlineModel {
    /// The expected interval at `time` (ms). All NaN while nothing was learnt.
    fn predict(&self, time: i64) -> Interval;
    /// How much [`components`](Self::components) and [`forecasts`](Self::forecasts) append.
    fn provides(&self) -> Provides {
        Provides::default()
    }
    /// Appends what the point at `time` of this value is made of, seen from what was learnt before it: a number for each
    /// component that the model was made to provide, in that order; NaN where there is none.
    fn components(&self, _time: i64, _value: f64, _out: &mut Vec<f64>) {}
    /// Appends the intervals that are expected at the horizons of `forecast_at` after `time`, in that order.
    fn forecasts(&self, _time: i64, _out: &mut Vec<Interval>) {}
    /// Learns one finite sample. Non-finite values are ignored.
    fn learn(&mut self, time: i64, value: f64);
    /// Ends a fit: applies `history_strength` to the evidence learnt so far.
    fn finish_fit(&mut self);
    /// Finite samples learnt since the last reset, fit included.
    fn samples_seen(&self) -> u64;
    /// How much of what it was asked to learn it has seen, apart from a warm-up. By default, any sample is enough.
    fn readiness(&self) -> Readiness {
        if self.samples_seen() > 0 { Readiness::READY } else { Readiness::NONE }
    }
    /// Appends the state in its versioned binary form.
    fn save(&self, out: &mut Vec<u8>);
    /// Replaces the state by a saved one.
    ///
    /// # Errors
    /// When the bytes are no state of this model; the model is unchanged then.
    fn load(&mut self, bytes: &[u8]) -> Result<(), StateError>;
    /// Bytes on the heap that the model holds.
    fn heap_bytes(&self) -> usize {
        0
    }
}

/// A tick's samples of several series on one time grid.
#[derive(Debug, Clone, Copy)]
pub struct Samples<'a> {
    /// The times of the columns, ascending, ms.
    pub times: &'a [i64],
    /// The slot of each row's series in the batch, each at most once.
    pub slots: &'a [u32],
    /// `slots.len()` rows of `times.len()` values, row by row; [`MISSING`] where a series has no sample.
    pub values: &'a [f64],
}

impl<'a> Samples<'a> {
    /// The samples of a row, by its index in `slots`.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn row(&self, row: usize) -> &'a [f64] {
        &self.values[row * self.times.len()..][..self.times.len()]
    }

    /// Checks what every batch relies on.
    ///
    /// # Panics
    /// If `values` is not rows times columns, or a slot is not one of the batch's `slots`: the caller's bug.
    pub(crate) fn check(&self, slots: usize) {
        assert_eq!(self.values.len(), self.slots.len() * self.times.len(), "values must be rows x columns");
        assert!(self.slots.iter().all(|slot| (*slot as usize) < slots), "a slot is beyond the batch's {slots}");
    }
}

/// What scoring a tick gives, in the layout of [`Samples::values`]; NaN where there is no output.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scores {
    /// `anomaly_score`: 0..=1 normal, above 1 anomalous.
    pub anomaly_score: Vec<f64>,
    /// Expected value.
    pub yhat: Vec<f64>,
    /// Lower bound of the expected interval.
    pub yhat_lower: Vec<f64>,
    /// Upper bound of the expected interval.
    pub yhat_upper: Vec<f64>,
    /// What each sample is made of, sample by sample: so many numbers as the model has components.
    pub components: Vec<f64>,
    /// What is expected after each sample, sample by sample: so many intervals as the model has horizons.
    pub forecasts: Vec<Interval>,
    /// How ready the model was for each sample, by [`Readiness::value`]; empty unless it was [asked for](Self::with_stage).
    pub stage: Vec<f64>,
    pub(crate) gives_stage: bool,
    /// Room for a row of an offline model, so that only the first ticks allocate; empty between them.
    pub(crate) predictions: Vec<Prediction>,
}

impl Scores {
    /// To be filled with the stage, too.
    #[must_use]
    pub fn with_stage() -> Self {
        Self { gives_stage: true, ..Self::default() }
    }

    /// Makes room for `len` outputs that are all to be overwritten; components and forecasts are appended.
    pub(crate) fn resize(&mut self, len: usize) {
        self.components.clear();
        self.forecasts.clear();
        for output in [&mut self.anomaly_score, &mut self.yhat, &mut self.yhat_lower, &mut self.yhat_upper] {
            output.resize(len, f64::NAN);
        }
        if self.gives_stage {
            self.stage.clear();
            self.stage.resize(len, f64::NAN);
        }
    }

    /// Sets the stage of one sample, if it is asked for.
    #[inline]
    pub(crate) fn put_stage(&mut self, at: usize, readiness: impl FnOnce() -> Readiness) {
        if self.gives_stage {
            self.stage[at] = readiness().value();
        }
    }

    /// Sets the outputs of one sample.
    #[inline]
    pub(crate) fn put(&mut self, at: usize, prepared: Interval, score: f64) {
        self.anomaly_score[at] = score;
        self.yhat[at] = prepared.yhat;
        self.yhat_lower[at] = prepared.lower;
        self.yhat_upper[at] = prepared.upper;
    }

    /// Appends for a sample without outputs.
    #[inline]
    pub(crate) fn provide_nothing(&mut self, provides: Provides) {
        self.components.resize(self.components.len() + provides.components, f64::NAN);
        self.forecasts.resize(self.forecasts.len() + provides.forecasts, Interval::NONE);
    }

    /// Appends what `forecast` appends, prepared as the interval of the sample itself is.
    #[inline]
    pub(crate) fn forecast(&mut self, policy: &ScorePolicy, forecast: impl FnOnce(&mut Vec<Interval>)) {
        let before = self.forecasts.len();
        forecast(&mut self.forecasts);
        for interval in &mut self.forecasts[before..] {
            *interval = policy.prepare(*interval);
        }
    }
}

/// How much a model gives for each sample beyond its interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Provides {
    /// Numbers in [`Scores::components`].
    pub components: usize,
    /// Intervals in [`Scores::forecasts`].
    pub forecasts: usize,
}

/// The states of many series of one online model. A slot is a series; a new slot has learnt nothing.
///
/// Methods panic when a slot is not below [`slots`](Self::slots) or [`Samples::values`] is not rows x columns: that is the
/// caller's bug, never an effect of data.
pub trait OnlineBatch: Send + Sync {
    /// Number of slots.
    fn slots(&self) -> usize;
    /// Adds empty slots until there are at least `slots`.
    fn grow(&mut self, slots: usize);
    /// Forgets everything that a slot has learnt.
    fn reset(&mut self, slot: u32);
    /// Predicts, scores and then learns every sample, point by point in time order; so the scores do not depend on
    /// how samples are cut into calls. Where a sample is [`MISSING`], all outputs are NaN. Other non-finite samples get
    /// bounds and a NaN score and are not learnt. Bounds are NaN while the slot has learnt nothing. `scores` is overwritten.
    fn infer(&mut self, samples: Samples<'_>, policy: &ScorePolicy, scores: &mut Scores);
    /// Learns without scoring: one chunk of a fit.
    fn learn(&mut self, samples: Samples<'_>);
    /// Ends a fit of one slot: applies `history_strength`.
    fn finish_fit(&mut self, slot: u32);
    /// Finite samples that a slot has learnt since its last reset.
    fn samples_seen(&self, slot: u32) -> u64;
    /// See [`OnlineModel::readiness`].
    fn readiness(&self, slot: u32) -> Readiness {
        if self.samples_seen(slot) > 0 { Readiness::READY } else { Readiness::NONE }
    }
    /// What a score of 1 stands for in a slot; `None` of a model that has no such notion.
    fn yardstick(&self, _slot: u32) -> Option<Yardstick> {
        None
    }
    /// From now on every slot is to have so many alarms a day by chance, in the range of the class; nothing changes in one
    /// that makes no such promise.
    fn set_false_alarms_per_day(&mut self, _rate: f64) {}
    /// Appends one slot's state in its versioned binary form.
    fn save(&self, slot: u32, out: &mut Vec<u8>);
    /// Replaces one slot's state.
    ///
    /// # Errors
    /// When the bytes are no state of this model; the slot is unchanged then.
    fn load(&mut self, slot: u32, bytes: &[u8]) -> Result<(), StateError>;
    /// Bytes on the heap that all slots hold.
    fn heap_bytes(&self) -> usize;
}
