//! Which model, with which arguments: the way from a configuration to a model.

use crate::argument::ArgumentError;
use crate::batch::Batch;
use crate::calendar::Zone;
use crate::decomposition::{self, StdArgs, StdModel};
use crate::holt_winters::{self, HoltWinters, HoltWintersArgs};
use crate::isolation_forest::{self, DEFAULT_SEED, IsolationForest, IsolationForestArgs};
use crate::mad::{self, MadOnline, MadOnlineArgs};
use crate::model::OnlineModel;
use crate::offline::OfflineModel;
use crate::per_series::PerSeries;
use crate::prophet::{self, Prophet, ProphetArgs};
use crate::quantile_online::{self, QuantileOnline, QuantileOnlineArgs};
use crate::rolling_quantile::{self, RollingQuantile, RollingQuantileArgs};
use crate::temporal_envelope::{self, TemporalEnvelope, TemporalEnvelopeArgs};
use crate::zscore::{self, ZscoreOnlineArgs, ZscoreOnlineBatch};

/// A class of models with its arguments. What happens to a prediction afterwards is [`crate::score::ScorePolicy`].
#[derive(Debug, Clone, PartialEq)]
pub enum ModelSpec {
    /// `zscore_online`: see [`crate::zscore`].
    ZscoreOnline(ZscoreOnlineArgs),
    /// `mad_online`: see [`crate::mad`].
    MadOnline(MadOnlineArgs),
    /// `quantile_online`, whose season follows the clocks of a zone: see [`crate::quantile_online`].
    QuantileOnline(QuantileOnlineArgs, Zone),
    /// `rolling_quantile`: see [`crate::rolling_quantile`].
    RollingQuantile(RollingQuantileArgs),
    /// `std`: see [`crate::decomposition`].
    Std(StdArgs),
    /// `temporal_envelope`, whose calendar is that of the clocks of a zone: see [`crate::temporal_envelope`].
    TemporalEnvelope(TemporalEnvelopeArgs, Zone),
    /// `prophet`: see [`crate::prophet`].
    Prophet(Box<ProphetArgs>),
    /// `holtwinters`: see [`crate::holt_winters`].
    HoltWinters(HoltWintersArgs),
    /// `isolation_forest`, whose seasonal features follow the clocks of a zone: see [`crate::isolation_forest`].
    IsolationForest(IsolationForestArgs, Zone),
}

impl ModelSpec {
    /// The class's name in configurations.
    #[must_use]
    pub const fn class(&self) -> &'static str {
        match self {
            Self::ZscoreOnline(_) => "zscore_online",
            Self::MadOnline(_) => "mad_online",
            Self::QuantileOnline(..) => "quantile_online",
            Self::RollingQuantile(_) => "rolling_quantile",
            Self::Std(_) => "std",
            Self::TemporalEnvelope(..) => "temporal_envelope",
            Self::Prophet(_) => "prophet",
            Self::HoltWinters(_) => "holtwinters",
            Self::IsolationForest(..) => "isolation_forest",
        }
    }

    /// Checks every argument against its range.
    ///
    /// # Errors
    /// Names the first argument that is outside its range.
    pub fn validate(&self) -> Result<(), ArgumentError> {
        match self {
            Self::ZscoreOnline(args) => args.validate(),
            Self::MadOnline(args) => args.validate(),
            Self::QuantileOnline(args, _) => args.validate(),
            Self::RollingQuantile(args) => args.validate(),
            Self::Std(args) => args.validate(),
            Self::TemporalEnvelope(args, _) => args.validate(),
            Self::Prophet(args) => args.validate(),
            Self::HoltWinters(args) => args.validate(),
            Self::IsolationForest(args, _) => args.validate(self.class()),
        }
    }

    /// Names of what the model can give besides its interval.
    #[must_use]
    pub fn component_names(&self) -> Vec<String> {
        match self {
            Self::Std(_) => decomposition::component_names().iter().map(|name| (*name).to_owned()).collect(),
            Self::Prophet(args) => prophet::component_names(args),
            _ => Vec::new(),
        }
    }

    /// A batch without slots, that gives these of the [`component_names`](Self::component_names), in this order.
    #[must_use]
    pub fn new_batch(&self, components: &[String]) -> Batch {
        match self {
            Self::ZscoreOnline(args) => Batch::Online(Box::new(ZscoreOnlineBatch::new(*args))),
            Self::MadOnline(args) => online(MadOnline::new(*args)),
            Self::QuantileOnline(args, zone) => online(QuantileOnline::new(*args, zone.clone())),
            Self::RollingQuantile(args) => online(RollingQuantile::new(*args)),
            Self::Std(args) => online(StdModel::new(*args, components)),
            Self::TemporalEnvelope(args, zone) => online(TemporalEnvelope::new(args.clone(), zone.clone())),
            Self::Prophet(args) => offline(Prophet::new(args.as_ref().clone(), components)),
            Self::HoltWinters(args) => offline(HoltWinters::new(args.clone(), &[])),
            Self::IsolationForest(args, zone) => {
                offline(IsolationForest::new(args.clone(), zone.clone(), DEFAULT_SEED))
            }
        }
    }

    /// Canonical text of exactly what the learnt state depends on: the class, the arguments that act on learning, and the
    /// version of the state. Two specs of equal signature can take over each other's states; thresholds are not in it,
    /// because they act on what was learnt only when predicting. Numbers are written in the shortest form that reads back to
    /// the same bits.
    #[must_use]
    pub fn learning_signature(&self) -> String {
        let arguments = match self {
            Self::ZscoreOnline(args) => args.learning_signature(),
            Self::MadOnline(args) => args.learning_signature(),
            Self::QuantileOnline(args, zone) => format!("{} zone={}", args.learning_signature(), zone.name()),
            Self::RollingQuantile(args) => args.learning_signature(),
            Self::Std(args) => args.learning_signature(),
            Self::TemporalEnvelope(args, zone) => format!("{} zone={}", args.learning_signature(), zone.name()),
            Self::Prophet(args) => args.learning_signature(),
            Self::HoltWinters(args) => args.learning_signature(),
            Self::IsolationForest(args, zone) => format!("{} zone={}", args.learning_signature(), zone.name()),
        };
        format!("{} v{} {arguments}", self.class(), self.state_version())
    }

    /// Version of the states that this build writes.
    #[must_use]
    pub const fn state_version(&self) -> u16 {
        match self {
            Self::ZscoreOnline(_) => zscore::FORMAT.version,
            Self::MadOnline(_) => mad::FORMAT.version,
            Self::QuantileOnline(..) => quantile_online::FORMAT.version,
            Self::RollingQuantile(_) => rolling_quantile::FORMAT.version,
            Self::Std(_) => decomposition::FORMAT.version,
            Self::TemporalEnvelope(..) => temporal_envelope::FORMAT.version,
            Self::Prophet(_) => prophet::FORMAT.version,
            Self::HoltWinters(_) => holt_winters::FORMAT.version,
            Self::IsolationForest(..) => isolation_forest::FORMAT.version,
        }
    }
}

fn online(empty: impl OnlineModel + Clone + Send + Sync + 'static) -> Batch {
    Batch::Online(Box::new(PerSeries::new(empty)))
}

fn offline(empty: impl OfflineModel + Clone + Send + Sync + 'static) -> Batch {
    Batch::Offline(Box::new(PerSeries::new(empty)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mad::MAX_COMPRESSION;

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
}
