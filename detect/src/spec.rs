//! Which model, with which arguments: the way from a configuration to a model.

use crate::argument::ArgumentError;
use crate::auto::{self, AutoArgs, TunedBatch};
use crate::batch::Batch;
use crate::calendar::Zone;
use crate::calibrated::{self, CalibratedArgs, CalibratedBatch};
use crate::decomposition::{self, StdArgs, StdModel};
use crate::holt_winters::{self, HoltWinters, HoltWintersArgs};
use crate::isolation_forest::{self, DEFAULT_SEED, IsolationForest, IsolationForestArgs};
use crate::mad::{self, MadOnline, MadOnlineArgs};
use crate::model::{OnlineModel, Samples};
use crate::offline::{FitError, OfflineModel, Window};
use crate::per_series::PerSeries;
use crate::prophet::{self, Prophet, ProphetArgs};
use crate::quantile_online::{self, QuantileOnline, QuantileOnlineArgs};
use crate::readiness::NeededHistory;
use crate::rolling_quantile::{self, RollingQuantile, RollingQuantileArgs};
use crate::safeguards::{Safeguarded, Safeguards};
use crate::temporal_envelope::{self, TemporalEnvelope, TemporalEnvelopeArgs};
use crate::zscore::{self, ZscoreOnline, ZscoreOnlineArgs, ZscoreOnlineBatch};

/// A class of models with its arguments. What happens to a prediction afterwards is [`crate::score::ScorePolicy`].
#[derive(Debug, Clone, PartialEq)]
pub enum ModelSpec {
    /// `calibrated`, whose days and weeks are those of the clocks of a zone: see [`crate::calibrated`].
    Calibrated(CalibratedArgs, Zone),
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
    /// `auto`, which searches the arguments of another class: see [`crate::auto`].
    Auto(Box<AutoArgs>),
}

impl ModelSpec {
    /// The class's name in configurations.
    #[must_use]
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Calibrated(..) => "calibrated",
            Self::ZscoreOnline(_) => "zscore_online",
            Self::MadOnline(_) => "mad_online",
            Self::QuantileOnline(..) => "quantile_online",
            Self::RollingQuantile(_) => "rolling_quantile",
            Self::Std(_) => "std",
            Self::TemporalEnvelope(..) => "temporal_envelope",
            Self::Prophet(_) => "prophet",
            Self::HoltWinters(_) => "holtwinters",
            Self::IsolationForest(..) => "isolation_forest",
            Self::Auto(_) => "auto",
        }
    }

    /// Checks every argument against its range.
    ///
    /// # Errors
    /// Names the first argument that is outside its range.
    pub fn validate(&self) -> Result<(), ArgumentError> {
        match self {
            Self::Calibrated(args, _) => args.validate(),
            Self::ZscoreOnline(args) => args.validate(),
            Self::MadOnline(args) => args.validate(),
            Self::QuantileOnline(args, _) => args.validate(),
            Self::RollingQuantile(args) => args.validate(),
            Self::Std(args) => args.validate(),
            Self::TemporalEnvelope(args, _) => args.validate(),
            Self::Prophet(args) => args.validate(),
            Self::HoltWinters(args) => args.validate(),
            Self::IsolationForest(args, _) => args.validate(self.class()),
            Self::Auto(args) => args.validate(),
        }
    }

    /// Names of what the model can give besides its interval.
    #[must_use]
    pub fn component_names(&self) -> Vec<String> {
        match self {
            Self::Calibrated(..) => calibrated::component_names().map(str::to_owned).collect(),
            Self::Std(_) => decomposition::component_names().iter().map(|name| (*name).to_owned()).collect(),
            Self::Prophet(args) => prophet::component_names(args),
            Self::Auto(args) => args.start.component_names(),
            _ => Vec::new(),
        }
    }

    /// Number of forecasts that the model gives for each sample.
    #[must_use]
    pub fn horizons(&self) -> usize {
        match self {
            Self::TemporalEnvelope(args, _) => args.forecast_at.len(),
            Self::Prophet(args) => args.forecast_at.len(),
            Self::Auto(args) => args.start.horizons(),
            _ => 0,
        }
    }

    /// Whether the model learns every sample that it scores, so that a series can begin without a fit.
    #[must_use]
    pub fn learns_online(&self) -> bool {
        match self {
            Self::Prophet(_) | Self::HoltWinters(_) | Self::IsolationForest(..) => false,
            Self::Auto(args) => args.start.learns_online(),
            _ => true,
        }
    }

    /// Whether one fit is enough for ever: how long such a model remembers follows from itself, so that another fit to a window would
    /// only make it forget what came before.
    #[must_use]
    pub const fn is_fitted_once(&self) -> bool {
        matches!(self, Self::Calibrated(..))
    }

    /// How many alarms a day and series the model promises to have by chance; `None` of a class that promises nothing.
    #[must_use]
    pub const fn false_alarms_per_day(&self) -> Option<f64> {
        match self {
            Self::Calibrated(args, _) => Some(args.false_alarms_per_day),
            _ => None,
        }
    }

    /// The same, promising another number of them; a class that promises nothing stays as it is.
    #[must_use]
    pub fn with_false_alarms_per_day(self, rate: f64) -> Self {
        match self {
            Self::Calibrated(args, zone) => Self::Calibrated(args.with_false_alarms(rate), zone),
            other => other,
        }
    }

    /// Whether a fit of the model needs its window as a whole, and not chunk by chunk.
    #[must_use]
    pub fn needs_window(&self) -> bool {
        matches!(self, Self::Auto(_)) || !self.learns_online()
    }

    /// The history after which a model is [ready](crate::readiness::Stage::Ready) whose score is 0 before `min_n_samples_seen`
    /// samples, if it learns online.
    #[must_use]
    pub fn needed_history(&self, min_n_samples_seen: u64) -> NeededHistory {
        let warm_up = min_n_samples_seen.max(1);
        match self {
            Self::Calibrated(args, _) => args.needed_history(warm_up),
            Self::ZscoreOnline(_) | Self::MadOnline(_) => NeededHistory { samples: warm_up, span: 0 },
            Self::QuantileOnline(args, _) => {
                NeededHistory { samples: warm_up, span: args.seasonal_interval.unwrap_or(0) }
            }
            Self::RollingQuantile(args) => NeededHistory { samples: warm_up.max(args.window_steps.into()), span: 0 },
            Self::Std(args) => NeededHistory { samples: warm_up.max(args.needed_samples()), span: 0 },
            Self::TemporalEnvelope(args, _) => NeededHistory { samples: warm_up, span: args.longest_period() },
            Self::Prophet(args) => NeededHistory { samples: 2, span: args.needed_span() },
            Self::HoltWinters(args) => args.needed_history(),
            Self::IsolationForest(args, _) => NeededHistory { samples: args.needed_samples(), span: 0 },
            Self::Auto(args) => args.start.needed_history(min_n_samples_seen),
        }
    }

    /// A batch without slots, that gives these of the [`component_names`](Self::component_names), in this order.
    #[must_use]
    pub fn new_batch(&self, components: &[String]) -> Batch {
        self.new_batch_with(Safeguards::default(), components)
    }

    /// The same with safeguards around each series' model.
    #[must_use]
    pub fn new_batch_with(&self, safeguards: Safeguards, components: &[String]) -> Batch {
        let guards = safeguards;
        match self {
            // Its band has a floor, and its memory a limit, of their own.
            Self::Calibrated(args, zone) => {
                let batch = CalibratedBatch::<f32>::new(*args, zone.clone());
                Batch::Online(Box::new(batch.providing(components)))
            }
            Self::ZscoreOnline(args) if !guards.is_some() => Batch::Online(Box::new(ZscoreOnlineBatch::new(*args))),
            Self::ZscoreOnline(args) => online(ZscoreOnline::new(*args), guards),
            Self::MadOnline(args) => online(MadOnline::new(*args), guards),
            Self::QuantileOnline(args, zone) => online(QuantileOnline::new(*args, zone.clone()), guards),
            Self::RollingQuantile(args) => online(RollingQuantile::new(*args), guards),
            Self::Std(args) => online(StdModel::new(*args, components), guards),
            Self::TemporalEnvelope(args, zone) => online(TemporalEnvelope::new(args.clone(), zone.clone()), guards),
            Self::Prophet(args) => offline(Prophet::new(args.as_ref().clone(), components), guards),
            Self::HoltWinters(args) => offline(HoltWinters::new(args.clone(), &[]), guards),
            Self::IsolationForest(args, zone) => {
                // It expects no value, so there is no band.
                offline(IsolationForest::new(args.clone(), zone.clone(), DEFAULT_SEED), Safeguards::default())
            }
            Self::Auto(args) => {
                let args = AutoArgs { safeguards: guards, ..args.as_ref().clone() };
                Batch::Tuned(Box::new(TunedBatch::new(args, components)))
            }
        }
    }

    /// Fits a model of one series, with safeguards around it, from nothing, and appends its state to `state`, for a batch of the same
    /// spec and safeguards. A batch of an offline model that [fits](crate::offline::OfflineBatch::fit) many series can share work
    /// among them. `auto` is fitted by its [batch](TunedBatch::fit) only.
    ///
    /// # Errors
    /// When the window gives no fit, of an online model if it has no finite sample; `state` is unchanged then.
    pub fn fit(&self, safeguards: Safeguards, window: Window<'_>, state: &mut Vec<u8>) -> Result<(), FitError> {
        match self.new_batch_with(safeguards, &[]) {
            Batch::Online(mut batch) => {
                batch.grow(1);
                batch.learn(Samples { times: window.times, slots: &[0], values: window.values });
                if batch.samples_seen(0) == 0 {
                    return Err(FitError::TooFewSamples { needed: 1, found: 0 });
                }
                batch.finish_fit(0);
                batch.save(0, state);
                Ok(())
            }
            Batch::Offline(batch) => batch.fit(window, state),
            Batch::Tuned(_) => Err(FitError::Failed { what: "auto does not tune itself" }),
        }
    }

    /// Canonical text of exactly what the learnt state depends on: the class, the arguments that act on learning, and the
    /// version of the state. Two specs of equal signature can take over each other's states; thresholds are not in it,
    /// because they act on what was learnt only when predicting. Numbers are written in the shortest form that reads back to
    /// the same bits.
    #[must_use]
    pub fn learning_signature(&self) -> String {
        let arguments = match self {
            Self::Calibrated(args, zone) => format!("{} zone={}", args.learning_signature(), zone.name()),
            Self::ZscoreOnline(args) => args.learning_signature(),
            Self::MadOnline(args) => args.learning_signature(),
            Self::QuantileOnline(args, zone) => format!("{} zone={}", args.learning_signature(), zone.name()),
            Self::RollingQuantile(args) => args.learning_signature(),
            Self::Std(args) => args.learning_signature(),
            Self::TemporalEnvelope(args, zone) => format!("{} zone={}", args.learning_signature(), zone.name()),
            Self::Prophet(args) => args.learning_signature(),
            Self::HoltWinters(args) => args.learning_signature(),
            Self::IsolationForest(args, zone) => format!("{} zone={}", args.learning_signature(), zone.name()),
            Self::Auto(args) => args.learning_signature(),
        };
        format!("{} v{} {arguments}", self.class(), self.state_version())
    }

    /// Version of the states that this build writes.
    #[must_use]
    pub const fn state_version(&self) -> u16 {
        match self {
            Self::Calibrated(..) => calibrated::FORMAT.version,
            Self::ZscoreOnline(_) => zscore::FORMAT.version,
            Self::MadOnline(_) => mad::FORMAT.version,
            Self::QuantileOnline(..) => quantile_online::FORMAT.version,
            Self::RollingQuantile(_) => rolling_quantile::FORMAT.version,
            Self::Std(_) => decomposition::FORMAT.version,
            Self::TemporalEnvelope(..) => temporal_envelope::FORMAT.version,
            Self::Prophet(_) => prophet::FORMAT.version,
            Self::HoltWinters(_) => holt_winters::FORMAT.version,
            Self::IsolationForest(..) => isolation_forest::FORMAT.version,
            Self::Auto(_) => auto::FORMAT.version,
        }
    }
}

fn online(empty: impl OnlineModel + Clone + Send + Sync + 'static, safeguards: Safeguards) -> Batch {
    if safeguards.is_some() {
        Batch::Online(Box::new(PerSeries::new(Safeguarded::new(empty, safeguards))))
    } else {
        Batch::Online(Box::new(PerSeries::new(empty)))
    }
}

fn offline(empty: impl OfflineModel + Clone + Send + Sync + 'static, safeguards: Safeguards) -> Batch {
    if safeguards.is_some() {
        Batch::Offline(Box::new(PerSeries::new(Safeguarded::new(empty, safeguards))))
    } else {
        Batch::Offline(Box::new(PerSeries::new(empty)))
    }
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
