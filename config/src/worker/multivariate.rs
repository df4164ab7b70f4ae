//! Classes of models of several series together.

use serde::{Deserialize, Serialize};

use super::{Envelope, SeasonalFeature, Trees};

/// Arguments of an isolation forest of several series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JointForest {
    /// Labels by whose values series are grouped, sorted; empty: all are one group.
    pub groupby: Vec<String>,
    /// Share of anomalous samples, above 0 and at most 0.5; absent: the line of the original paper.
    pub contamination: Option<f64>,
    /// Cycles that the values are seen together with, each once.
    pub seasonal_features: Vec<SeasonalFeature>,
    /// How the trees are grown.
    pub trees: Trees,
}

/// Arguments of what is usual of several series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JointCalibrated {
    /// Labels by whose values series are grouped, sorted; empty: all are one group.
    pub groupby: Vec<String>,
    /// Most series of a group, at least 1.
    pub max_channels: u32,
    /// Series of a group above which there is a warning, from 1 to `max_channels`.
    pub recommended_max_channels: u32,
}

/// Arguments of a temporal envelope of several series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JointEnvelope {
    /// Labels by whose values series are grouped, sorted; empty: all are one group.
    pub groupby: Vec<String>,
    /// Of each series.
    pub envelope: Envelope,
    /// Directions that series may have in common, at most 64; 0: none.
    pub dependency_rank: u32,
    /// How the scores of the series become one.
    pub score_aggregation: Aggregation,
    /// Most series of a group, at least 1.
    pub max_channels: u32,
    /// Series of a group above which there is a warning, from 1 to `max_channels`.
    pub recommended_max_channels: u32,
    /// Seed of the first directions.
    pub random_state: u32,
}

/// How several scores become one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregation {
    /// The greatest.
    Max,
    /// The mean.
    Mean,
    /// The root of the mean square.
    #[default]
    L2,
}
