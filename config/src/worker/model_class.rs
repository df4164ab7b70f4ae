//! Model classes with their arguments.

use serde::{Deserialize, Serialize};

use super::{Auto, JointCalibrated, JointEnvelope, JointForest};

/// Model classes with the arguments that only they have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelClass {
    /// What is usual at this time of the day and week, in a band that the series leaves rarely.
    Calibrated {
        /// Alarms that a series is to have by chance, a day; 0.001 to 10.
        false_alarms_per_day: f64,
        /// Whether an incident scores above 1 once, and not as long as it lasts.
        once_per_incident: bool,
    },
    /// Running mean and standard deviation.
    ZscoreOnline {
        /// Half-width of the interval in standard deviations.
        z_threshold: f64,
    },
    /// Running median and median absolute deviation.
    MadOnline {
        /// Half-width of the interval in MADs.
        threshold: f64,
        /// t-digest compression.
        compression: u32,
    },
    /// Running quantiles of the parts of a season.
    QuantileOnline {
        /// Of the lower bound, the expected value and the upper bound; ascending, 0 to 1.
        quantiles: [f64; 3],
        /// Widens both bounds by so many distances between the outer quantiles.
        iqr_threshold: f64,
        /// Length of a season, ms; a multiple of `min_subseason`, and absent with it.
        seasonal_interval: Option<i64>,
        /// Length of a part of a season, ms.
        min_subseason: Option<i64>,
        /// A day on which a season starts, in days since 1970-01-01.
        season_starts_from: i64,
        /// Learns logarithms.
        use_transform: bool,
        /// Share of the quantiles of all samples, 0 to 1.
        global_smoothing: f64,
        /// t-digest compression.
        compression: u32,
    },
    /// Quantiles of the newest samples.
    RollingQuantile {
        /// Of the upper bound, 0.5 to 1.
        quantile: f64,
        /// Samples in the window, at least 1.
        window_steps: u32,
        /// Widens both bounds by so many halves of the distance between the quartiles.
        iqr_threshold: f64,
    },
    /// Trend and season of a period.
    Std {
        /// Samples of a season, at least 2.
        period: u32,
        /// Half-width of the interval in standard deviations of the residuals.
        z_threshold: f64,
    },
    /// Level, trend, calendar and holidays, and the quantiles of what they leave.
    TemporalEnvelope(Envelope),
    /// A trend that bends, and seasons.
    Prophet(Box<Prophet>),
    /// Exponential smoothing of level, trend and season.
    HoltWinters {
        /// Step that samples are brought to, ms; absent: the median step.
        frequency: Option<i64>,
        /// Length of a season, ms.
        seasonality: Option<i64>,
        /// Half-width of the interval in standard deviations of the residuals.
        z_threshold: f64,
        /// Arguments of the smoothing.
        smoothing: ExponentialSmoothing,
    },
    /// How soon random cuts isolate a value.
    IsolationForest {
        /// Share of anomalous samples, above 0 and at most 0.5; absent: the line of the original paper.
        contamination: Option<f64>,
        /// Cycles that a value is seen together with, each once.
        seasonal_features: Vec<SeasonalFeature>,
        /// How the trees are grown.
        trees: Trees,
    },
    /// How soon random cuts isolate the values of several series.
    IsolationForestMultivariate(JointForest),
    /// Temporal envelopes of several series, and what they have in common.
    TemporalEnvelopeMultivariate(JointEnvelope),
    /// What is usual of several series, one by one and together.
    CalibratedMultivariate(JointCalibrated),
    /// Another class, whose arguments every fit searches for each series.
    Auto(Box<Auto>),
}

impl ModelClass {
    /// Labels by whose values a multivariate model groups series, sorted; `None` for a model of single series.
    #[must_use]
    pub fn groupby(&self) -> Option<&[String]> {
        match self {
            Self::IsolationForestMultivariate(JointForest { groupby, .. })
            | Self::TemporalEnvelopeMultivariate(JointEnvelope { groupby, .. })
            | Self::CalibratedMultivariate(JointCalibrated { groupby, .. }) => Some(groupby),
            Self::Auto(auto) => auto.start.groupby(),
            _ => None,
        }
    }

    /// How far ahead the model says what it expects.
    #[must_use]
    pub fn forecast_at(&self) -> &[Horizon] {
        match self {
            Self::TemporalEnvelope(envelope) | Self::TemporalEnvelopeMultivariate(JointEnvelope { envelope, .. }) => {
                &envelope.forecast_at
            }
            Self::Prophet(prophet) => &prophet.forecast_at,
            Self::Auto(auto) => auto.start.forecast_at(),
            _ => &[],
        }
    }
}

/// Arguments of a temporal envelope.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// Of the residuals in the core of the band; 0 to 1, ascending.
    pub quantiles: [f64; 2],
    /// Widens the band on both sides by so many widths of its core.
    pub iqr_threshold: f64,
    /// How quickly the trend follows, above 0 and at most 1.
    pub alpha: f64,
    /// How far a deviation counts, in mean sizes of residuals; above 0.
    pub loss_reactivity: f64,
    /// Samples in a row outside the band that confirm another level, at least 1.
    pub changepoint_window: u32,
    /// Names of calendar profiles, each once.
    pub seasonalities: Vec<String>,
    /// Days with responses of their own: `MM-DD`, every year, or `YYYY-MM-DD`.
    pub special_events: Vec<String>,
    /// Codes of countries whose public holidays have responses too, each once.
    pub countries: Vec<String>,
    /// Whether these days have one response together.
    pub group_holidays: bool,
    /// Horizons of forecasts.
    pub forecast_at: Vec<Horizon>,
}

/// Arguments of Prophet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prophet {
    /// Seasons beside those that the model finds by itself, each of its own name.
    pub seasonalities: Vec<Seasonality>,
    /// Whether seasons follow the query's zone.
    pub tz_aware: bool,
    /// Seasons of the local clock, each cycle once.
    pub local_seasonalities: Vec<LocalSeasonality>,
    /// Whether these are one sine and one cosine each.
    pub cyclical_encoding: bool,
    /// Horizons of forecasts.
    pub forecast_at: Vec<Horizon>,
    /// A fit to fewer points.
    pub compression: Option<Compression>,
    /// The trend.
    pub growth: Growth,
    /// Times at which the trend may bend, ms, at most 2000; absent: at points of the window.
    pub changepoints: Option<Vec<i64>>,
    /// Points at which the trend may bend, at most 2000.
    pub n_changepoints: u32,
    /// Share of the window in which they are, 0 to 1.
    pub changepoint_range: f64,
    /// How far the trend may bend, above 0.
    pub changepoint_prior_scale: f64,
    /// A season of a year.
    pub yearly: BuiltIn,
    /// A season of a week.
    pub weekly: BuiltIn,
    /// A season of a day.
    pub daily: BuiltIn,
    /// What seasons are that do not say it themselves.
    pub seasonality_mode: Mode,
    /// How large the effects of seasons may be, above 0.
    pub seasonality_prior_scale: f64,
    /// Days with effects of their own, at most 10000.
    pub holidays: Vec<Holiday>,
    /// Code of a country whose public holidays have effects of their own.
    pub country: Option<String>,
    /// What holidays are; absent: as seasons.
    pub holidays_mode: Option<Mode>,
    /// How large the effects of holidays may be, above 0.
    pub holidays_prior_scale: f64,
    /// Share of the values that the band is to hold, above 0 and below 1.
    pub interval_width: f64,
    /// Whether values are scaled from their least to their greatest.
    pub min_max_scaling: bool,
}

impl Default for Prophet {
    fn default() -> Self {
        Self {
            seasonalities: Vec::new(),
            tz_aware: false,
            local_seasonalities: Vec::new(),
            cyclical_encoding: false,
            forecast_at: Vec::new(),
            compression: None,
            growth: Growth::Linear,
            changepoints: None,
            n_changepoints: 25,
            changepoint_range: 0.8,
            changepoint_prior_scale: 0.05,
            yearly: BuiltIn::Auto,
            weekly: BuiltIn::Auto,
            daily: BuiltIn::Auto,
            seasonality_mode: Mode::Additive,
            seasonality_prior_scale: 10.0,
            holidays: Vec::new(),
            country: None,
            holidays_mode: None,
            holidays_prior_scale: 10.0,
            interval_width: 0.8,
            min_max_scaling: false,
        }
    }
}

/// A season of Prophet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seasonality {
    /// Its name.
    pub name: String,
    /// Its length in days, above 0.
    pub period: f64,
    /// Number of sines, 1 to 1000.
    pub fourier_order: u16,
    /// How large its effects may be; absent: as all.
    pub prior_scale: Option<f64>,
    /// Absent: as all.
    pub mode: Option<Mode>,
}

/// A season of the local clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LocalSeasonality {
    /// `minute`, `hod`, `dow` or `month`.
    pub cycle: String,
    /// Number of sines, 1 to 1000; absent: as is usual.
    pub fourier_order: Option<u16>,
    /// How large its effects may be; absent: as all.
    pub prior_scale: Option<f64>,
    /// Absent: as all.
    pub mode: Option<Mode>,
}

/// Days of Prophet that have effects of their own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Holiday {
    /// Their name: all days of a name have the same effects.
    pub name: String,
    /// The days, counted from 1970-01-01.
    pub days: Vec<i64>,
    /// Days before each of them that have effects too, -366 to 0.
    pub lower_window: i32,
    /// Days after each of them that have effects too, 0 to 366.
    pub upper_window: i32,
    /// How large their effects may be, the same for all days of a name; absent: as all.
    pub prior_scale: Option<f64>,
}

/// Whether a season that Prophet finds by itself is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuiltIn {
    /// Where the window is long enough.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
    /// Always, with so many sines, 1 to 1000.
    Order(u16),
}

/// What a season is to the trend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Added.
    #[default]
    Additive,
    /// A fraction of it.
    Multiplicative,
}

/// A trend of Prophet.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Growth {
    /// A line that bends.
    Linear,
    /// A level.
    Flat,
    /// A curve that saturates.
    Logistic {
        /// Above, more than `floor`.
        cap: f64,
        /// Below.
        floor: f64,
    },
}

/// A fit to fewer points than there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compression {
    /// Length of the stretches whose samples become one, ms.
    pub window: i64,
    /// Their median instead of their mean.
    pub median: bool,
    /// Whether the band is widened by what was lost.
    pub adjust_boundaries: bool,
}

/// A distance into the future.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Horizon {
    /// As it is written, and part of the names of series.
    pub name: String,
    /// ms, above 0.
    pub after: i64,
}

/// Arguments of exponential smoothing; what is absent is estimated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExponentialSmoothing {
    /// Absent: no trend.
    pub trend: Option<Composition>,
    /// Whether the trend fades.
    pub damped_trend: bool,
    /// Absent: no season.
    pub seasonal: Option<Composition>,
    /// Steps of a season, at least 2; absent: `seasonality` by `frequency`.
    pub seasonal_periods: Option<u32>,
    /// Where it starts from.
    pub initialization: Initialization,
    /// 0 to 1.
    pub smoothing_level: Option<f64>,
    /// 0 to 1; only with a trend.
    pub smoothing_trend: Option<f64>,
    /// 0 to 1; only with a season.
    pub smoothing_seasonal: Option<f64>,
    /// Above 0, at most 1; only with a damped trend.
    pub damping_trend: Option<f64>,
    /// Ranges of what is estimated.
    pub bounds: SmoothingBounds,
    /// The transform of the values before they are smoothed.
    pub box_cox: Option<BoxCox>,
}

/// A Box-Cox transform, of values above 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoxCox {
    /// The likeliest.
    Estimated,
    /// That of this parameter, -10 to 10.
    Lambda(f64),
}

/// Ranges of what exponential smoothing estimates: the lowest and the highest, 0 to 1, ascending.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SmoothingBounds {
    /// Of `smoothing_level`.
    pub smoothing_level: [f64; 2],
    /// Of `smoothing_trend`.
    pub smoothing_trend: [f64; 2],
    /// Of `smoothing_seasonal`.
    pub smoothing_seasonal: [f64; 2],
    /// Of `damping_trend`, above 0.
    pub damping_trend: [f64; 2],
}

impl Default for SmoothingBounds {
    fn default() -> Self {
        let any = [0.0, 1.0];
        Self { smoothing_level: any, smoothing_trend: any, smoothing_seasonal: any, damping_trend: [0.8, 0.995] }
    }
}

impl Default for ExponentialSmoothing {
    fn default() -> Self {
        Self {
            trend: None,
            damped_trend: false,
            seasonal: Some(Composition::Additive),
            seasonal_periods: None,
            initialization: Initialization::Estimated,
            smoothing_level: None,
            smoothing_trend: None,
            smoothing_seasonal: None,
            damping_trend: None,
            bounds: SmoothingBounds::default(),
            box_cox: None,
        }
    }
}

/// How a part of a model goes together with its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Composition {
    /// Added.
    Additive,
    /// Multiplied; values must be above 0.
    Multiplicative,
}

/// Where exponential smoothing starts from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Initialization {
    /// Estimated with the other parameters.
    Estimated,
    /// From the first seasons.
    Heuristic,
    /// From the first two seasons.
    LegacyHeuristic,
    /// From here.
    Known {
        /// Of the level.
        level: f64,
        /// Of the trend; 0 without one.
        trend: f64,
        /// Of the season, a number for each step; empty without one.
        seasons: Vec<f64>,
    },
}

/// A cycle of the clock in the query's zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeasonalFeature {
    /// Minute of the hour.
    Minute,
    /// Hour of the day.
    HourOfDay,
    /// Day of the week.
    DayOfWeek,
    /// Month of the year.
    Month,
}

/// How the trees of an isolation forest are grown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trees {
    /// Number of trees, 1 to 1000.
    pub n_estimators: u32,
    /// Samples of each tree.
    pub max_samples: Amount,
    /// Features of each tree; never [`Amount::Auto`].
    pub max_features: Amount,
    /// Whether samples are drawn with replacement.
    pub bootstrap: bool,
    /// Seed of a fit.
    pub random_state: u32,
}

impl Default for Trees {
    fn default() -> Self {
        let (max_samples, max_features) = (Amount::Auto, Amount::Share(1.0));
        Self { n_estimators: 100, max_samples, max_features, bootstrap: false, random_state: 42 }
    }
}

/// How many of something.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    /// As many as is usual.
    Auto,
    /// So many, at least 1.
    Number(u32),
    /// This share of all, above 0 and at most 1.
    Share(f64),
}
