//! Arguments of `auto`.

use serde::{Deserialize, Serialize};

use super::ModelClass;

/// A class whose arguments every fit searches for each series, or for each group of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Auto {
    /// Short name of the tuned class.
    pub tuned_class: String,
    /// The tuned class with the arguments that searches start from; never `auto`.
    pub start: ModelClass,
    /// Of the tuned class, if it learns online.
    pub learning: Learning,
    /// Names of the arguments that stay as they are; inner ones after `args.`.
    pub frozen: Vec<String>,
    /// The greatest share of anomalous samples, from 0, below 0.5.
    pub anomaly_percentage: f64,
    /// The most trials, at least 1.
    pub n_trials: u32,
    /// The longest time of the search for one series or group, s, above 0.
    pub timeout: Option<f64>,
    /// Number of folds, 1 to 100.
    pub n_splits: u32,
    /// How the folds are cut.
    pub validation: Validation,
    /// Samples fitted for each that is scored, above 0.
    pub train_val_ratio: f64,
    /// Seed of the search.
    pub seed: u64,
    /// Whether classes that learn online do so while a trial scores.
    pub exact: bool,
    /// Whether the smallest state wins among trials that are nearly as good.
    pub optimize_complexity: bool,
}

impl Default for Auto {
    fn default() -> Self {
        Self {
            tuned_class: "zscore_online".to_owned(),
            start: ModelClass::ZscoreOnline { z_threshold: 2.5 },
            learning: Learning::default(),
            frozen: Vec::new(),
            anomaly_percentage: 0.0,
            n_trials: 128,
            timeout: None,
            n_splits: 3,
            validation: Validation::Regular,
            train_val_ratio: 3.0,
            seed: 42,
            exact: false,
            optimize_complexity: true,
        }
    }
}

/// What several classes have that learn online.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Learning {
    /// Samples before the first non-zero score.
    pub min_n_samples_seen: u64,
    /// Weight that an older sample keeps per newer one, (0, 1].
    pub decay: f64,
    /// Multiplies the weight of what a fit has seen.
    pub history_strength: f64,
}

impl Default for Learning {
    fn default() -> Self {
        Self { min_n_samples_seen: 0, decay: 1.0, history_strength: 1.0 }
    }
}

/// How a window is cut into folds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Validation {
    /// What is scored comes after what is fitted.
    Regular,
    /// Every sample is fitted and scored.
    Leaky,
}
