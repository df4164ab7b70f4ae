//! What of each class is searched.
//!
//! Of arguments in several parts, one number is searched. Arguments that only make fits slower, seasons and lists are not.

use super::space::{Parameter, Scale, TrialArgs, Tunable, predict_offline, predict_online};
use crate::calendar::Zone;
use crate::decomposition::{StdArgs, StdModel};
use crate::holt_winters::{Composition, HoltWinters, HoltWintersArgs, Initialization};
use crate::isolation_forest::{Contamination, DEFAULT_SEED, IsolationForest, IsolationForestArgs, MaxSamples};
use crate::mad::{MadOnline, MadOnlineArgs};
use crate::offline::{FitError, Prediction, Window};
use crate::prophet::{Mode, Prophet, ProphetArgs};
use crate::quantile_online::{QuantileOnline, QuantileOnlineArgs};
use crate::rolling_quantile::{RollingQuantile, RollingQuantileArgs};
use crate::safeguards::Safeguards;
use crate::temporal_envelope::{TemporalEnvelope, TemporalEnvelopeArgs};
use crate::zscore::{ZscoreOnline, ZscoreOnlineArgs};

/// Half-widths of intervals in standard deviations.
const DEVIATIONS: Scale = Scale::Ratio(1.0, 20.0);

/// Shares of the values outside one bound.
const TAIL: Scale = Scale::Ratio(0.001, 0.25);

/// What an interval is widened by, in widths of its core.
const WIDENING: Scale = Scale::FromZero(10.0);

/// Compressions of a digest: those around the default, from a coarse one to twice the size.
const COMPRESSION: Scale = Scale::WholeRatio(50.0, 200.0);

fn switched(value: f64) -> bool {
    value >= 0.5
}

impl Tunable for ZscoreOnlineArgs {
    const PARAMETERS: &'static [Parameter<Self>] = &[
        Parameter {
            name: "z_threshold",
            scale: DEVIATIONS,
            get: |args| args.z_threshold,
            set: |args, value| args.z_threshold = value,
        },
        Parameter { name: "decay", scale: Scale::Decay, get: |args| args.decay, set: |args, value| args.decay = value },
    ];

    fn predict(
        &self,
        history: Window<'_>,
        points: Window<'_>,
        trial: TrialArgs,
        predictions: &mut Vec<Prediction>,
    ) -> Result<usize, FitError> {
        predict_online(ZscoreOnline::new(*self), history, points, trial, predictions)
    }
}

impl Tunable for MadOnlineArgs {
    const PARAMETERS: &'static [Parameter<Self>] = &[
        Parameter {
            name: "threshold",
            scale: Scale::Ratio(1.0, 40.0),
            get: |args| args.threshold,
            set: |args, value| args.threshold = value,
        },
        Parameter { name: "decay", scale: Scale::Decay, get: |args| args.decay, set: |args, value| args.decay = value },
        Parameter {
            name: "compression",
            scale: COMPRESSION,
            get: |args| args.compression.into(),
            set: |args, value| args.compression = value as u32,
        },
    ];

    fn predict(
        &self,
        history: Window<'_>,
        points: Window<'_>,
        trial: TrialArgs,
        predictions: &mut Vec<Prediction>,
    ) -> Result<usize, FitError> {
        predict_online(MadOnline::new(*self), history, points, trial, predictions)
    }
}

/// Both outer `quantiles` are moved alike; the middle one stays.
impl Tunable for (QuantileOnlineArgs, Zone) {
    const PARAMETERS: &'static [Parameter<Self>] = &[
        Parameter {
            name: "quantiles",
            scale: TAIL,
            get: |(args, _)| args.quantiles[0],
            set: |(args, _), value| {
                let [_, middle, _] = args.quantiles;
                args.quantiles = [value, middle.clamp(value, 1.0 - value), 1.0 - value];
            },
        },
        Parameter {
            name: "iqr_threshold",
            scale: WIDENING,
            get: |(args, _)| args.iqr_threshold,
            set: |(args, _), value| args.iqr_threshold = value,
        },
        Parameter {
            name: "use_transform",
            scale: Scale::Switch,
            get: |(args, _)| f64::from(u8::from(args.use_transform)),
            set: |(args, _), value| args.use_transform = switched(value),
        },
        Parameter {
            name: "global_smoothing",
            scale: Scale::Share,
            get: |(args, _)| args.global_smoothing,
            set: |(args, _), value| args.global_smoothing = value,
        },
        Parameter {
            name: "decay",
            scale: Scale::Decay,
            get: |(args, _)| args.decay,
            set: |(args, _), value| args.decay = value,
        },
        Parameter {
            name: "compression",
            scale: COMPRESSION,
            get: |(args, _)| args.compression.into(),
            set: |(args, _), value| args.compression = value as u32,
        },
    ];

    fn predict(
        &self,
        history: Window<'_>,
        points: Window<'_>,
        trial: TrialArgs,
        predictions: &mut Vec<Prediction>,
    ) -> Result<usize, FitError> {
        let (args, zone) = self;
        predict_online(QuantileOnline::new(*args, zone.clone()), history, points, trial, predictions)
    }
}

impl Tunable for RollingQuantileArgs {
    const PARAMETERS: &'static [Parameter<Self>] = &[
        Parameter {
            name: "quantile",
            scale: TAIL,
            get: |args| 1.0 - args.quantile,
            set: |args, value| args.quantile = 1.0 - value,
        },
        Parameter {
            name: "window_steps",
            scale: Scale::WholeRatio(10.0, 1000.0),
            get: |args| args.window_steps.into(),
            set: |args, value| args.window_steps = value as u32,
        },
        Parameter {
            name: "iqr_threshold",
            scale: WIDENING,
            get: |args| args.iqr_threshold,
            set: |args, value| args.iqr_threshold = value,
        },
    ];

    fn predict(
        &self,
        history: Window<'_>,
        points: Window<'_>,
        trial: TrialArgs,
        predictions: &mut Vec<Prediction>,
    ) -> Result<usize, FitError> {
        predict_online(RollingQuantile::new(*self), history, points, trial, predictions)
    }
}

/// The season is part of what is known.
impl Tunable for StdArgs {
    const PARAMETERS: &'static [Parameter<Self>] = &[Parameter {
        name: "z_threshold",
        scale: DEVIATIONS,
        get: |args| args.z_threshold,
        set: |args, value| args.z_threshold = value,
    }];

    fn predict(
        &self,
        history: Window<'_>,
        points: Window<'_>,
        trial: TrialArgs,
        predictions: &mut Vec<Prediction>,
    ) -> Result<usize, FitError> {
        predict_online(StdModel::new(*self, &[""; 0]), history, points, trial, predictions)
    }
}

impl Tunable for (TemporalEnvelopeArgs, Zone) {
    const PARAMETERS: &'static [Parameter<Self>] = &[
        Parameter {
            name: "iqr_threshold",
            scale: WIDENING,
            get: |(args, _)| args.iqr_threshold,
            set: |(args, _), value| args.iqr_threshold = value,
        },
        Parameter {
            name: "alpha",
            scale: Scale::Ratio(0.0005, 0.1),
            get: |(args, _)| args.alpha,
            set: |(args, _), value| args.alpha = value,
        },
        Parameter {
            name: "loss_reactivity",
            scale: Scale::Ratio(1.0, 20.0),
            get: |(args, _)| args.loss_reactivity,
            set: |(args, _), value| args.loss_reactivity = value,
        },
        Parameter {
            name: "changepoint_window",
            scale: Scale::WholeRatio(4.0, 64.0),
            get: |(args, _)| args.changepoint_window.into(),
            set: |(args, _), value| args.changepoint_window = value as u32,
        },
    ];

    fn predict(
        &self,
        history: Window<'_>,
        points: Window<'_>,
        trial: TrialArgs,
        predictions: &mut Vec<Prediction>,
    ) -> Result<usize, FitError> {
        let (args, zone) = self;
        predict_online(TemporalEnvelope::new(args.clone(), zone.clone()), history, points, trial, predictions)
    }
}

/// The ranges of the priors are those that the documentation of Prophet recommends to search.
impl Tunable for ProphetArgs {
    const PARAMETERS: &'static [Parameter<Self>] = &[
        Parameter {
            name: "args.interval_width",
            scale: TAIL,
            get: |args| 1.0 - args.interval_width,
            set: |args, value| args.interval_width = 1.0 - value,
        },
        Parameter {
            name: "args.changepoint_prior_scale",
            scale: Scale::Ratio(0.001, 0.5),
            get: |args| args.changepoint_prior_scale,
            set: |args, value| args.changepoint_prior_scale = value,
        },
        Parameter {
            name: "args.seasonality_prior_scale",
            scale: Scale::Ratio(0.01, 10.0),
            get: |args| args.seasonality_prior_scale,
            set: |args, value| args.seasonality_prior_scale = value,
        },
        Parameter {
            name: "args.seasonality_mode",
            scale: Scale::Switch,
            get: |args| f64::from(u8::from(args.seasonality_mode == Mode::Multiplicative)),
            set: |args, value| {
                args.seasonality_mode = if switched(value) { Mode::Multiplicative } else { Mode::Additive };
            },
        },
    ];

    fn predict(
        &self,
        history: Window<'_>,
        points: Window<'_>,
        trial: TrialArgs,
        predictions: &mut Vec<Prediction>,
    ) -> Result<usize, FitError> {
        predict_offline(Prophet::new(self.clone(), &[]), history, points, trial.safeguards, predictions)
    }
}

/// Only trends that are added are searched, and none with initial states that are known. Smoothing parameters are estimated by every
/// fit, as they are without a search.
impl Tunable for HoltWintersArgs {
    const PARAMETERS: &'static [Parameter<Self>] = &[
        Parameter {
            name: "z_threshold",
            scale: DEVIATIONS,
            get: |args| args.z_threshold,
            set: |args, value| args.z_threshold = value,
        },
        Parameter {
            name: "args.trend",
            scale: Scale::Switch,
            get: |args| f64::from(u8::from(args.trend.is_some())),
            set: |args, value| {
                if !matches!(args.initialization, Initialization::Known(_)) {
                    args.trend = switched(value).then_some(Composition::Additive);
                    args.damped_trend &= args.trend.is_some();
                }
            },
        },
        Parameter {
            name: "args.damped_trend",
            scale: Scale::Switch,
            get: |args| f64::from(u8::from(args.damped_trend)),
            set: |args, value| args.damped_trend = switched(value) && args.trend.is_some(),
        },
    ];

    fn predict(
        &self,
        history: Window<'_>,
        points: Window<'_>,
        trial: TrialArgs,
        predictions: &mut Vec<Prediction>,
    ) -> Result<usize, FitError> {
        if self.validate().is_err() {
            return Err(FitError::Failed { what: "the arguments do not go together" });
        }
        predict_offline(HoltWinters::new(self.clone(), &[]), history, points, trial.safeguards, predictions)
    }
}

impl Tunable for (IsolationForestArgs, Zone) {
    const PARAMETERS: &'static [Parameter<Self>] = &[
        Parameter {
            name: "contamination",
            scale: Scale::Ratio(0.0005, 0.5),
            get: |(args, _)| match args.contamination {
                Contamination::Auto => f64::NAN,
                Contamination::Share(share) => share,
            },
            set: |(args, _), value| args.contamination = Contamination::Share(value),
        },
        Parameter {
            name: "args.max_samples",
            scale: Scale::WholeRatio(64.0, 1024.0),
            get: |(args, _)| match args.growth.max_samples {
                MaxSamples::Number(number) => number.into(),
                MaxSamples::Auto | MaxSamples::Share(_) => 256.0,
            },
            set: |(args, _), value| args.growth.max_samples = MaxSamples::Number(value as u32),
        },
    ];

    fn predict(
        &self,
        history: Window<'_>,
        points: Window<'_>,
        _trial: TrialArgs,
        predictions: &mut Vec<Prediction>,
    ) -> Result<usize, FitError> {
        let (args, zone) = self;
        let forest = IsolationForest::new(args.clone(), zone.clone(), DEFAULT_SEED);
        predict_offline(forest, history, points, Safeguards::default(), predictions)
    }
}
