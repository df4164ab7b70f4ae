//! How a search goes, and the folds that it validates.

use std::time::Duration;

use super::batch::parameter_names;
use crate::argument::{ArgumentError, Arguments};
use crate::offline::FitError;
use crate::safeguards::Safeguards;
use crate::score::ScorePolicy;
use crate::spec::ModelSpec;

/// How a history is cut into folds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ValidationScheme {
    /// In time order: what is validated comes after what is trained.
    #[default]
    Regular,
    /// Every sample is both trained and validated: for histories without anomalies.
    Leaky,
}

/// Arguments of `auto`.
#[derive(Debug, Clone, PartialEq)]
pub struct AutoArgs {
    /// The tuned class, with the arguments that searches start from; not `auto` itself.
    pub start: ModelSpec,
    /// Names of the [parameters](super::Parameter::name) that stay as they are in `start`. Names of what is not searched are
    /// accepted: it stays as it is anyway.
    pub frozen: Vec<String>,
    /// How searches go.
    pub tuning: TuningArgs,
    /// The longest time of the search for one series, above 0; without one it makes all its trials. See [`super::TunedFit::step`].
    pub timeout: Option<Duration>,
    /// How the models score, those of trials too.
    pub policy: ScorePolicy,
    /// Around the models, those of trials too.
    pub safeguards: Safeguards,
    /// Whether fits, those of trials too, leave [incidents](crate::incidents) out.
    pub exclude_incidents: bool,
}

/// How the models run whose arguments are searched: so do those of the trials.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Running {
    /// How they score; warm-up does not count in a trial.
    pub policy: ScorePolicy,
    /// Around them.
    pub safeguards: Safeguards,
    /// Whether their fits leave [incidents](crate::incidents) out. What is validated has them: so has what is scored later.
    pub exclude_incidents: bool,
}

impl AutoArgs {
    /// The defaults, which search all parameters of this class starting from these arguments.
    #[must_use]
    pub fn new(start: ModelSpec, anomaly_percentage: f64) -> Self {
        let (tuning, policy) = (TuningArgs::new(anomaly_percentage), ScorePolicy::default());
        let (safeguards, exclude_incidents) = (Safeguards::default(), false);
        Self { start, frozen: Vec::new(), tuning, timeout: None, policy, safeguards, exclude_incidents }
    }

    pub(super) fn running(&self) -> Running {
        let Self { policy, safeguards, exclude_incidents, .. } = *self;
        Running { policy, safeguards, exclude_incidents }
    }

    /// Checks every argument against its range, those of the tuned class first.
    ///
    /// # Errors
    /// Names the first argument that is outside its range.
    pub fn validate(&self) -> Result<(), ArgumentError> {
        let arguments = Arguments("auto");
        let holds = !matches!(self.start, ModelSpec::Auto(_) | ModelSpec::Calibrated(..));
        arguments.require("tuned_class_name", self.start.class(), "a class that has arguments to search", holds)?;
        self.start.validate()?;
        let holds = self.timeout.is_none_or(|timeout| !timeout.is_zero());
        arguments.require("timeout", "0", "above 0", holds)?;
        self.tuning.validate()
    }

    /// Everything that a search depends on: what is found is learnt, so that thresholds act on learning here.
    pub(crate) fn learning_signature(&self) -> String {
        let Self { start, frozen, tuning, timeout, policy, safeguards, exclude_incidents } = self;
        let incidents = if *exclude_incidents { " exclude_incidents" } else { "" };
        let floor = if safeguards.is_some() { format!(" {safeguards:?}") } else { String::new() };
        let mut frozen: Vec<&str> = frozen.iter().map(String::as_str).collect();
        frozen.retain(|name| parameter_names(start).contains(name));
        frozen.sort_unstable();
        frozen.dedup();
        format!(
            "start=[{} {}] frozen={frozen:?} tuning={tuning:?} timeout={timeout:?} policy={policy:?}{}{floor}{incidents}",
            start.learning_signature(),
            thresholds(start),
            safeguards.learning_signature()
        )
    }
}

/// The arguments that are not in the class's own signature, because they act on predictions only.
fn thresholds(spec: &ModelSpec) -> String {
    match spec {
        ModelSpec::ZscoreOnline(args) => format!("z_threshold={:?}", args.z_threshold),
        ModelSpec::MadOnline(args) => format!("threshold={:?}", args.threshold),
        ModelSpec::QuantileOnline(args, _) => format!(
            "quantiles={:?} iqr_threshold={:?} use_transform={} global_smoothing={:?}",
            args.quantiles, args.iqr_threshold, args.use_transform, args.global_smoothing
        ),
        ModelSpec::RollingQuantile(args) => {
            format!("quantile={:?} iqr_threshold={:?}", args.quantile, args.iqr_threshold)
        }
        ModelSpec::Std(args) => format!("z_threshold={:?}", args.z_threshold),
        ModelSpec::Prophet(args) => format!("interval_width={:?}", args.interval_width),
        ModelSpec::HoltWinters(args) => format!("z_threshold={:?}", args.z_threshold),
        ModelSpec::TemporalEnvelope(..)
        | ModelSpec::IsolationForest(..)
        | ModelSpec::Auto(_)
        | ModelSpec::Calibrated(..) => String::new(),
    }
}

/// How a search goes: the `optimization_params`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TuningArgs {
    /// The greatest share of samples that may score above 1; in [0, 0.5).
    pub anomaly_percentage: f64,
    /// The most trials; at least 1.
    pub n_trials: u32,
    /// Number of folds; 1 to [`MAX_SPLITS`].
    pub n_splits: u32,
    /// How the folds are cut.
    pub validation_scheme: ValidationScheme,
    /// Samples to train for each that is validated, of [`ValidationScheme::Regular`]; finite, above 0.
    pub train_val_ratio: f64,
    /// The same seed gives the same search.
    pub seed: u64,
    /// Whether classes that learn online do so while they are validated.
    pub exact: bool,
    /// Whether the smallest state wins among trials that are nearly as good.
    pub optimize_complexity: bool,
}

/// The most folds.
pub const MAX_SPLITS: u32 = 100;

impl TuningArgs {
    /// The defaults with this greatest share of anomalies.
    #[must_use]
    pub const fn new(anomaly_percentage: f64) -> Self {
        Self {
            anomaly_percentage,
            n_trials: 128,
            n_splits: 3,
            validation_scheme: ValidationScheme::Regular,
            train_val_ratio: 3.0,
            seed: 42,
            exact: false,
            optimize_complexity: true,
        }
    }

    /// Checks every argument against its range.
    ///
    /// # Errors
    /// Names the first argument that is outside its range.
    pub fn validate(&self) -> Result<(), ArgumentError> {
        let arguments = Arguments("auto");
        let holds = (0.0..0.5).contains(&self.anomaly_percentage);
        arguments.require("anomaly_percentage", self.anomaly_percentage, "at least 0 and below 0.5", holds)?;
        arguments.require("n_trials", self.n_trials, "at least 1", self.n_trials >= 1)?;
        let holds = (1..=MAX_SPLITS).contains(&self.n_splits);
        arguments.require("n_splits", self.n_splits, "from 1 to 100", holds)?;
        arguments.require_positive("train_val_ratio", self.train_val_ratio)
    }

    /// The folds of so many samples: what is trained, and what is validated.
    pub(super) fn folds(&self, samples: usize) -> Result<Vec<Fold>, FitError> {
        let splits = self.n_splits as usize;
        let too_few = |needed| Err(FitError::TooFewSamples { needed, found: samples });
        let validated = match self.validation_scheme {
            ValidationScheme::Leaky if samples < splits => return too_few(splits),
            ValidationScheme::Leaky => samples / splits,
            ValidationScheme::Regular => {
                let parts = self.train_val_ratio + splits as f64;
                let needed = libm::ceil(parts * libm::ceil(1.0 / self.train_val_ratio)) as usize;
                if samples < needed {
                    return too_few(needed);
                }
                (samples as f64 / parts) as usize
            }
        };
        let fold = |split: usize| {
            // What is left over is at the beginning.
            let start = samples - (splits - split) * validated;
            let end = start + validated;
            match self.validation_scheme {
                ValidationScheme::Leaky => Fold { train: (0, samples), validate: (start, end) },
                ValidationScheme::Regular => {
                    let train = (self.train_val_ratio * validated as f64) as usize;
                    Fold { train: (start - train.clamp(1, start), start), validate: (start, end) }
                }
            }
        };
        Ok((0..splits).map(fold).collect())
    }
}

/// Ranges of samples, by their ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fold {
    pub(super) train: (usize, usize),
    pub(super) validate: (usize, usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_folds_follow_each_other_to_the_end_and_train_before_they_validate() {
        let folds = TuningArgs::new(0.01).folds(62).unwrap();
        // 62 / (3 + 3) samples are validated, three times as many are trained.
        let expected = [((2, 32), (32, 42)), ((12, 42), (42, 52)), ((22, 52), (52, 62))];
        assert_eq!(folds, expected.map(|(train, validate)| Fold { train, validate }));
        let error = TuningArgs::new(0.01).folds(5).unwrap_err().to_string();
        assert_eq!(error, "the fit needs 6 samples, the window has 5");
    }

    #[test]
    fn leaky_folds_train_everything_and_validate_everything() {
        let tuning = TuningArgs { validation_scheme: ValidationScheme::Leaky, ..TuningArgs::new(0.0) };
        let folds = tuning.folds(30).unwrap();
        assert_eq!(folds, [(0, 10), (10, 20), (20, 30)].map(|validate| Fold { train: (0, 30), validate }));
    }

    #[test]
    fn an_argument_outside_its_range_is_named() {
        assert_eq!(TuningArgs::new(0.0).validate(), Ok(()));
        let message = TuningArgs::new(0.5).validate().unwrap_err().to_string();
        assert_eq!(message, "anomaly_percentage of auto is 0.5, it must be at least 0 and below 0.5");
        let fault = |change: fn(&mut TuningArgs)| {
            let mut tuning = TuningArgs::new(0.01);
            change(&mut tuning);
            tuning.validate().unwrap_err().argument
        };
        assert_eq!(fault(|tuning| tuning.n_trials = 0), "n_trials");
        assert_eq!(fault(|tuning| tuning.n_splits = MAX_SPLITS + 1), "n_splits");
        assert_eq!(fault(|tuning| tuning.train_val_ratio = f64::NAN), "train_val_ratio");
    }
}
