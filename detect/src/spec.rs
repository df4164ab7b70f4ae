//! Which model, with which arguments: the way from a configuration to a model.

use std::fmt;

use crate::mad::{self, MAX_COMPRESSION, MadOnline, MadOnlineArgs};
use crate::model::OnlineBatch;
use crate::per_series::PerSeries;
use crate::zscore::{self, ZscoreOnlineArgs, ZscoreOnlineBatch};

/// A class of models with its arguments. What happens to a prediction afterwards is [`crate::score::ScorePolicy`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ModelSpec {
    /// `zscore_online`: see [`crate::zscore`].
    ZscoreOnline(ZscoreOnlineArgs),
    /// `mad_online`: see [`crate::mad`].
    MadOnline(MadOnlineArgs),
}

/// An output series of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Output {
    /// `anomaly_score`.
    AnomalyScore,
    /// `y`, the value that was scored.
    Y,
    /// `yhat`, the expected value.
    Yhat,
    /// `yhat_lower`.
    YhatLower,
    /// `yhat_upper`.
    YhatUpper,
}

impl Output {
    /// The outputs of a model that predicts an interval.
    pub const PREDICTIVE: [Self; 5] = [Self::AnomalyScore, Self::Y, Self::Yhat, Self::YhatLower, Self::YhatUpper];

    /// Its name in configurations and metric names.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AnomalyScore => "anomaly_score",
            Self::Y => "y",
            Self::Yhat => "yhat",
            Self::YhatLower => "yhat_lower",
            Self::YhatUpper => "yhat_upper",
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// An argument outside its range.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{argument} of {class} is {value}, it must be {range}")]
pub struct ArgumentError {
    /// Name of the model class.
    pub class: &'static str,
    /// Name of the argument.
    pub argument: &'static str,
    /// Its value.
    pub value: f64,
    /// What it must be.
    pub range: &'static str,
}

impl ModelSpec {
    /// The class's name in configurations.
    #[must_use]
    pub const fn class(&self) -> &'static str {
        match self {
            Self::ZscoreOnline(_) => "zscore_online",
            Self::MadOnline(_) => "mad_online",
        }
    }

    /// Checks every argument against its range.
    ///
    /// # Errors
    /// Names the first argument that is outside its range.
    pub fn validate(&self) -> Result<(), ArgumentError> {
        match self {
            Self::ZscoreOnline(args) => {
                self.require_positive("z_threshold", args.z_threshold)?;
                self.validate_online(args.decay, args.history_strength)
            }
            Self::MadOnline(args) => {
                self.require_positive("threshold", args.threshold)?;
                let holds = (1..=MAX_COMPRESSION).contains(&args.compression);
                self.require("compression", args.compression.into(), "from 1 to 10000", holds)?;
                self.validate_online(args.decay, args.history_strength)
            }
        }
    }

    fn require(
        &self,
        argument: &'static str,
        value: f64,
        range: &'static str,
        holds: bool,
    ) -> Result<(), ArgumentError> {
        if holds {
            return Ok(());
        }
        Err(ArgumentError { class: self.class(), argument, value, range })
    }

    fn require_positive(&self, argument: &'static str, value: f64) -> Result<(), ArgumentError> {
        let holds = value.is_finite() && value > 0.0;
        self.require(argument, value, "finite and above 0", holds)
    }

    fn validate_online(&self, decay: f64, history_strength: f64) -> Result<(), ArgumentError> {
        self.require("decay", decay, "above 0 and at most 1", decay > 0.0 && decay <= 1.0)?;
        self.require_positive("history_strength", history_strength)
    }

    /// A batch without slots.
    #[must_use]
    pub fn new_batch(&self) -> Box<dyn OnlineBatch> {
        match self {
            Self::ZscoreOnline(args) => Box::new(ZscoreOnlineBatch::new(*args)),
            Self::MadOnline(args) => Box::new(PerSeries::new(MadOnline::new(*args))),
        }
    }

    /// Canonical text of exactly what the learnt state depends on: the class, the arguments that act on learning, and the
    /// version of the state. Two specs of equal signature can take over each other's states; thresholds are not in it,
    /// because they act on what was learnt only when predicting. Numbers are written in the shortest form that reads back to
    /// the same bits.
    #[must_use]
    pub fn learning_signature(&self) -> String {
        let version = self.state_version();
        match self {
            Self::ZscoreOnline(args) => {
                format!("zscore_online v{version} decay={:?} history_strength={:?}", args.decay, args.history_strength)
            }
            Self::MadOnline(args) => format!(
                "mad_online v{version} decay={:?} history_strength={:?} compression={}",
                args.decay, args.history_strength, args.compression
            ),
        }
    }

    /// Version of the states that this build writes.
    #[must_use]
    pub const fn state_version(&self) -> u16 {
        match self {
            Self::ZscoreOnline(_) => zscore::FORMAT.version,
            Self::MadOnline(_) => mad::FORMAT.version,
        }
    }

    /// The series that the model can produce, in the order in which they are documented.
    #[must_use]
    pub const fn outputs(&self) -> &'static [Output] {
        match self {
            Self::ZscoreOnline(_) | Self::MadOnline(_) => &Output::PREDICTIVE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zscore(z_threshold: f64, decay: f64, history_strength: f64) -> ModelSpec {
        ModelSpec::ZscoreOnline(ZscoreOnlineArgs { z_threshold, decay, history_strength })
    }

    #[test]
    fn an_argument_outside_its_range_is_named() {
        assert_eq!(zscore(2.5, 1.0, 1.0).validate(), Ok(()));
        assert_eq!(zscore(2.5, f64::MIN_POSITIVE, 0.1).validate(), Ok(()));
        let message = |spec: ModelSpec| spec.validate().unwrap_err().to_string();
        assert_eq!(message(zscore(0.0, 1.0, 1.0)), "z_threshold of zscore_online is 0, it must be finite and above 0");
        assert!(message(zscore(f64::NAN, 1.0, 1.0)).starts_with("z_threshold"));
        assert!(message(zscore(2.5, 0.0, 1.0)).starts_with("decay"));
        assert!(message(zscore(2.5, 1.1, 1.0)).starts_with("decay"));
        assert!(message(zscore(2.5, f64::NAN, 1.0)).starts_with("decay"));
        assert!(message(zscore(2.5, 1.0, 0.0)).starts_with("history_strength"));
        assert!(message(zscore(2.5, 1.0, f64::INFINITY)).starts_with("history_strength"));
    }

    #[test]
    fn the_compression_is_bounded_on_both_sides() {
        let compression = |compression| ModelSpec::MadOnline(MadOnlineArgs { compression, ..MadOnlineArgs::default() });
        assert_eq!(compression(1).validate(), Ok(()));
        assert_eq!(compression(MAX_COMPRESSION).validate(), Ok(()));
        for outside in [0, MAX_COMPRESSION + 1] {
            let message = compression(outside).validate().unwrap_err().to_string();
            assert_eq!(message, format!("compression of mad_online is {outside}, it must be from 1 to 10000"));
        }
    }

    #[test]
    fn only_arguments_that_act_on_learning_change_the_signature() {
        let signature = zscore(2.5, 0.99, 1.0).learning_signature();
        assert_eq!(signature, "zscore_online v1 decay=0.99 history_strength=1.0");
        assert_eq!(zscore(3.0, 0.99, 1.0).learning_signature(), signature);
        assert_ne!(zscore(2.5, 0.98, 1.0).learning_signature(), signature);
        assert_ne!(zscore(2.5, 0.99, 2.0).learning_signature(), signature);
        let mad = |threshold, compression| {
            let args = MadOnlineArgs { threshold, compression, ..MadOnlineArgs::default() };
            ModelSpec::MadOnline(args).learning_signature()
        };
        assert_eq!(mad(2.5, 100), "mad_online v1 decay=1.0 history_strength=1.0 compression=100");
        assert_eq!(mad(3.0, 100), mad(2.5, 100));
        assert_ne!(mad(2.5, 50), mad(2.5, 100));
    }

    #[test]
    fn outputs_have_the_names_of_the_configuration() {
        let names: Vec<_> = zscore(2.5, 1.0, 1.0).outputs().iter().map(Output::to_string).collect();
        assert_eq!(names, ["anomaly_score", "y", "yhat", "yhat_lower", "yhat_upper"]);
    }
}
