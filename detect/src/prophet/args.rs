//! What a user can say about a fit.

use std::collections::BTreeMap;

use crate::argument::{ArgumentError, Arguments};
use crate::calendar::{DAY_MS, Date, Zone};
use crate::holidays;

/// The most Fourier terms of one seasonality.
pub const MAX_FOURIER_ORDER: u16 = 1_000;

/// The most columns of features that all seasonalities together may have.
const MAX_COLUMNS: usize = 4_000;

/// The most changepoints.
pub const MAX_CHANGEPOINTS: usize = 2_000;

/// The widest window around a holiday, days on each side.
pub const MAX_HOLIDAY_WINDOW: i32 = 366;

/// The most columns of features that all holidays of a list together may have: names times days of their windows.
pub const MAX_HOLIDAY_COLUMNS: usize = 2_000;

/// The farthest horizon of a forecast: 100 years, ms.
pub const MAX_HORIZON: i64 = 36_525 * DAY_MS;

/// How the trend grows.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Growth {
    /// A straight line that bends at the changepoints.
    #[default]
    Linear,
    /// A level.
    Flat,
    /// A logistic curve that saturates at `cap` above and at `floor` below.
    Logistic {
        /// Above `floor`.
        cap: f64,
        /// In units of the series.
        floor: f64,
    },
}

/// Whether a component is added to the trend or multiplies it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// In units of the series.
    #[default]
    Additive,
    /// As a fraction of the trend.
    Multiplicative,
}

/// What is divided by what before a fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scaling {
    /// Values by the greatest absolute value.
    #[default]
    AbsMax,
    /// Values above the least one by the greatest of them.
    MinMax,
}

/// Whether a seasonality that the model knows by itself is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BuiltIn {
    /// If the history has two of its periods, its samples lie closer than one, and no other seasonality has its name.
    #[default]
    Auto,
    /// Always, with its usual number of Fourier terms.
    On,
    /// Never.
    Off,
    /// Always, with so many Fourier terms; 0 is never.
    Order(u16),
}

/// A season of any length.
#[derive(Debug, Clone, PartialEq)]
pub struct Seasonality {
    /// Its component. `yearly`, `weekly` and `daily` take the place of what the model knows by itself.
    pub name: String,
    /// Its length in days.
    pub period: f64,
    /// Number of sines and of cosines.
    pub fourier_order: u16,
    /// Standard deviation of the prior of its coefficients; `seasonality_prior_scale` if there is none.
    pub prior_scale: Option<f64>,
    /// `seasonality_mode` if there is none.
    pub mode: Option<Mode>,
}

/// A cycle of the local clock or calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cycle {
    /// `minute`: of the hour.
    Minute,
    /// `hod`: the hour of the day.
    HourOfDay,
    /// `dow`: the day of the week, Monday first.
    DayOfWeek,
    /// `month`: of the year.
    Month,
}

impl Cycle {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Minute, Self::HourOfDay, Self::DayOfWeek, Self::Month];

    /// That of this name in configurations; `None` if there is none.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cycle| cycle.name() == name)
    }

    /// The name in configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::HourOfDay => "hod",
            Self::DayOfWeek => "dow",
            Self::Month => "month",
        }
    }

    /// Its length in days.
    pub(crate) const fn days(self) -> f64 {
        match self {
            Self::Minute => 1.0 / 24.0,
            Self::HourOfDay => 1.0,
            Self::DayOfWeek => 7.0,
            Self::Month => 365.25,
        }
    }

    /// The number of Fourier terms that is used where none is given.
    pub(crate) const fn usual_order(self) -> u16 {
        match self {
            Self::Minute | Self::HourOfDay => 4,
            Self::DayOfWeek => 3,
            Self::Month => 10,
        }
    }
}

/// A seasonality of the local time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TzSeasonality {
    /// Which.
    pub cycle: Cycle,
    /// Number of sines and of cosines: 4 for `minute` and `hod`, 3 for `dow` and 10 for `month` if there is none. A cyclical
    /// encoding has one of each.
    pub fourier_order: Option<u16>,
    /// `seasonality_prior_scale` if there is none, of a cyclical encoding `holidays_prior_scale`.
    pub prior_scale: Option<f64>,
    /// `seasonality_mode` if there is none.
    pub mode: Option<Mode>,
}

/// A day that is unlike others, and the days around it.
#[derive(Debug, Clone, PartialEq)]
pub struct Holiday {
    /// Its component: days of the same name have the same effects.
    pub name: String,
    /// The day.
    pub date: Date,
    /// Days before it that have effects of their own, as a number that is not positive.
    pub lower_window: i32,
    /// Days after it that have effects of their own.
    pub upper_window: i32,
    /// `holidays_prior_scale` if there is none; the same for all days of a name.
    pub prior_scale: Option<f64>,
}

/// How the samples of a window become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Aggregation {
    /// Their mean.
    #[default]
    Mean,
    /// Their median.
    Median,
}

/// A fit to fewer points than there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    /// Length of the windows whose samples become one, ms.
    pub window: i64,
    /// How.
    pub agg_method: Aggregation,
    /// Whether the intervals are widened by the spread of the samples around the point that they became.
    pub adjust_boundaries: bool,
}

/// Arguments of `prophet`.
#[derive(Debug, Clone, PartialEq)]
pub struct ProphetArgs {
    /// Seasonalities beside those that the model knows by itself, each of its own name.
    pub seasonalities: Vec<Seasonality>,
    /// Whether days, holidays and seasonalities follow the clock of `zone` instead of that of UTC.
    pub tz_aware: bool,
    /// The zone of `tz_aware`.
    pub zone: Zone,
    /// Seasonalities of the local time, each cycle at most once; they need `tz_aware`.
    pub tz_seasonalities: Vec<TzSeasonality>,
    /// Whether `tz_seasonalities` are a sine and a cosine of the local hour, minute, day or month as a whole number (of the hour
    /// with its minutes as a fraction), standardised as regressors are, instead of Fourier series of the local time.
    pub tz_use_cyclical_encoding: bool,
    /// Horizons of the forecasts, ms after the time of a point; above 0, at most [`MAX_HORIZON`].
    pub forecast_at: Vec<i64>,
    /// A fit to fewer points.
    pub compression: Option<Compression>,
    /// How the trend grows.
    pub growth: Growth,
    /// The times (ms) where the trend may bend; some of the history if there are none given. Those outside the history, which a
    /// window that moves on leaves behind, do not matter; Prophet refuses them.
    pub changepoints: Option<Vec<i64>>,
    /// Number of changepoints if none are given; at most [`MAX_CHANGEPOINTS`].
    pub n_changepoints: usize,
    /// The share of the history, from its start on, that gets changepoints; 0 to 1.
    pub changepoint_range: f64,
    /// The seasonality of 365.25 days, usually of 10 Fourier terms; needs 730 days of history.
    pub yearly_seasonality: BuiltIn,
    /// The seasonality of 7 days, usually of 3 Fourier terms; needs 14 days of history from the first to the last sample, so
    /// that a history of 14 days less one step has none.
    pub weekly_seasonality: BuiltIn,
    /// The seasonality of a day, usually of 4 Fourier terms; needs 2 days of history.
    pub daily_seasonality: BuiltIn,
    /// Days that are unlike others.
    pub holidays: Vec<Holiday>,
    /// A country whose public holidays are days unlike others: one of [`holidays::countries`], by its code or name.
    pub country_holidays: Option<String>,
    /// What seasonalities are where they do not say it themselves.
    pub seasonality_mode: Mode,
    /// What holidays are; `seasonality_mode` if there is none.
    pub holidays_mode: Option<Mode>,
    /// Standard deviation of the prior of the coefficients of seasonalities; finite, above 0.
    pub seasonality_prior_scale: f64,
    /// Standard deviation of the prior of the effects of holidays; finite, above 0.
    pub holidays_prior_scale: f64,
    /// Scale of the Laplace prior of the bends of the trend; finite, above 0.
    pub changepoint_prior_scale: f64,
    /// Must be 0: there is one estimate of the parameters, the most likely one, and no sample of them.
    pub mcmc_samples: u32,
    /// The share of values that the interval is to hold; above 0, below 1.
    pub interval_width: f64,
    /// At least 1, and else without effect: the interval is computed from its distribution and not from samples of it.
    pub uncertainty_samples: u32,
    /// What is divided by what before a fit.
    pub scaling: Scaling,
}

impl Default for ProphetArgs {
    fn default() -> Self {
        Self {
            seasonalities: Vec::new(),
            tz_aware: false,
            zone: Zone::default(),
            tz_seasonalities: Vec::new(),
            tz_use_cyclical_encoding: false,
            forecast_at: Vec::new(),
            compression: None,
            growth: Growth::Linear,
            changepoints: None,
            n_changepoints: 25,
            changepoint_range: 0.8,
            yearly_seasonality: BuiltIn::Auto,
            weekly_seasonality: BuiltIn::Auto,
            daily_seasonality: BuiltIn::Auto,
            holidays: Vec::new(),
            country_holidays: None,
            seasonality_mode: Mode::Additive,
            holidays_mode: None,
            seasonality_prior_scale: 10.0,
            holidays_prior_scale: 10.0,
            changepoint_prior_scale: 0.05,
            mcmc_samples: 0,
            interval_width: 0.8,
            uncertainty_samples: 1_000,
            scaling: Scaling::AbsMax,
        }
    }
}

/// Names that components of every fit have, and so no seasonality or holiday may have.
const RESERVED: [&str; 14] = [
    "trend",
    "additive_terms",
    "multiplicative_terms",
    "daily",
    "weekly",
    "yearly",
    "holidays",
    "zeros",
    "extra_regressors_additive",
    "extra_regressors_multiplicative",
    "yhat",
    "y",
    "anomaly_score",
    "stage",
];

fn is_reserved(name: &str) -> bool {
    let stem = name.strip_suffix("_lower").or_else(|| name.strip_suffix("_upper")).unwrap_or(name);
    RESERVED.contains(&stem) || ["ds", "cap", "floor", "y_scaled", "cap_scaled", ""].contains(&name)
}

const NAME_RANGE: &str = "a name that no component has yet, without `_delim_`";

impl ProphetArgs {
    /// Two cycles of the longest season that the arguments ask for, ms.
    pub(crate) fn needed_span(&self) -> i64 {
        self.asked_span().max(self.usual_span())
    }

    /// The same of the seasons that every fit has.
    pub(crate) fn asked_span(&self) -> i64 {
        let always = |built_in| matches!(built_in, BuiltIn::On | BuiltIn::Order(1..));
        let built_in =
            [(self.yearly_seasonality, 365.25), (self.weekly_seasonality, 7.0), (self.daily_seasonality, 1.0)];
        let built_in = built_in.into_iter().filter(|(built_in, _)| always(*built_in)).map(|(_, days)| days);
        let own = self.seasonalities.iter().map(|seasonality| seasonality.period);
        let local = self.tz_seasonalities.iter().map(|seasonality| seasonality.cycle.days());
        let longest = built_in.chain(own).chain(local).fold(0.0, f64::max);
        // Saturates for a period without end.
        (2.0 * longest * DAY_MS as f64) as i64
    }

    /// The same of the weekly and the daily one that a fit has by itself as soon as it can. That of the year is left out: hardly a
    /// window is meant to have two of them.
    pub(crate) fn usual_span(&self) -> i64 {
        let is_usual = |built_in, name: &str| {
            built_in == BuiltIn::Auto && self.seasonalities.iter().all(|seasonality| seasonality.name != name)
        };
        match (is_usual(self.weekly_seasonality, "weekly"), is_usual(self.daily_seasonality, "daily")) {
            (true, _) => 14 * DAY_MS,
            (false, true) => 2 * DAY_MS,
            (false, false) => 0,
        }
    }

    /// Checks every argument against its range.
    ///
    /// # Errors
    /// Names the first argument that is outside its range.
    pub fn validate(&self) -> Result<(), ArgumentError> {
        let arguments = Arguments("prophet");
        self.validate_seasonalities(arguments)?;
        self.validate_holidays(arguments)?;
        if let Growth::Logistic { cap, floor } = self.growth {
            arguments.require("floor", floor, "finite", floor.is_finite())?;
            let range = "finite and above floor by less than the greatest number";
            arguments.require("cap", cap, range, cap > floor && (cap - floor).is_finite())?;
        }
        if let Some(changepoints) = &self.changepoints {
            let range = "at most 2000 times";
            arguments.require("changepoints", changepoints.len(), range, changepoints.len() <= MAX_CHANGEPOINTS)?;
        }
        let range = "at most 2000";
        arguments.require("n_changepoints", self.n_changepoints, range, self.n_changepoints <= MAX_CHANGEPOINTS)?;
        let holds = (0.0..=1.0).contains(&self.changepoint_range);
        arguments.require("changepoint_range", self.changepoint_range, "from 0 to 1", holds)?;
        arguments.require_positive("changepoint_prior_scale", self.changepoint_prior_scale)?;
        let range = "0: there is no sampling of the parameters";
        arguments.require("mcmc_samples", self.mcmc_samples, range, self.mcmc_samples == 0)?;
        let holds = self.interval_width > 0.0 && self.interval_width < 1.0;
        arguments.require("interval_width", self.interval_width, "above 0 and below 1", holds)?;
        let range = "at least 1: there is no score without an interval";
        arguments.require("uncertainty_samples", self.uncertainty_samples, range, self.uncertainty_samples > 0)?;
        for horizon in &self.forecast_at {
            let holds = *horizon > 0 && *horizon <= MAX_HORIZON;
            arguments.require("forecast_at", format!("{horizon} ms"), "above 0 and at most 100 years", holds)?;
        }
        if let Some(compression) = self.compression {
            let range = "above 0 and at most 100 years";
            let holds = compression.window > 0 && compression.window <= MAX_HORIZON;
            arguments.require("compression.window", format!("{} ms", compression.window), range, holds)?;
        }
        Ok(())
    }

    fn validate_seasonalities(&self, arguments: Arguments) -> Result<(), ArgumentError> {
        let order_range = "from 1 to 1000";
        let is_order = |order: u16| (1..=MAX_FOURIER_ORDER).contains(&order);
        for (index, seasonality) in self.seasonalities.iter().enumerate() {
            let name = seasonality.name.as_str();
            let is_new = self.seasonalities.iter().take(index).all(|other| other.name != name);
            let is_free = ["daily", "weekly", "yearly"].contains(&name) || !is_reserved(name);
            let holds = is_new && is_free && !name.contains("_delim_");
            arguments.require("seasonalities.name", name, NAME_RANGE, holds)?;
            arguments.require_positive("seasonalities.period", seasonality.period)?;
            let order = seasonality.fourier_order;
            arguments.require("seasonalities.fourier_order", order, order_range, is_order(order))?;
            if let Some(prior_scale) = seasonality.prior_scale {
                arguments.require_positive("seasonalities.prior_scale", prior_scale)?;
            }
        }
        let built_in = [
            ("yearly_seasonality", self.yearly_seasonality),
            ("weekly_seasonality", self.weekly_seasonality),
            ("daily_seasonality", self.daily_seasonality),
        ];
        for (argument, built_in) in built_in {
            if let BuiltIn::Order(order) = built_in {
                arguments.require(argument, order, "at most 1000", order <= MAX_FOURIER_ORDER)?;
            }
        }
        let range = "empty unless tz_aware is true";
        let count = self.tz_seasonalities.len();
        arguments.require("tz_seasonalities", format!("a list of {count}"), range, count == 0 || self.tz_aware)?;
        for (index, seasonality) in self.tz_seasonalities.iter().enumerate() {
            let name = seasonality.cycle.name();
            let is_new = self.tz_seasonalities.iter().take(index).all(|other| other.cycle != seasonality.cycle);
            let holds = is_new && self.seasonalities.iter().all(|other| other.name != name);
            arguments.require("tz_seasonalities.name", name, NAME_RANGE, holds)?;
            if let Some(order) = seasonality.fourier_order {
                arguments.require("tz_seasonalities.fourier_order", order, order_range, is_order(order))?;
            }
            if let Some(prior_scale) = seasonality.prior_scale {
                arguments.require_positive("tz_seasonalities.prior_scale", prior_scale)?;
            }
        }
        let range = "false unless there are tz_seasonalities";
        let holds = !self.tz_use_cyclical_encoding || count > 0;
        arguments.require("tz_use_cyclical_encoding", self.tz_use_cyclical_encoding, range, holds)?;
        arguments.require_positive("seasonality_prior_scale", self.seasonality_prior_scale)?;
        let terms = self.seasonalities.iter().map(|seasonality| usize::from(seasonality.fourier_order)).sum::<usize>();
        arguments.require("seasonalities", format!("{terms} terms"), "at most 2000 terms", 2 * terms <= MAX_COLUMNS)
    }

    fn validate_holidays(&self, arguments: Arguments) -> Result<(), ArgumentError> {
        arguments.require_positive("holidays_prior_scale", self.holidays_prior_scale)?;
        for holiday in &self.holidays {
            let name = holiday.name.as_str();
            let is_free = self.seasonalities.iter().all(|other| other.name != name)
                && self.tz_seasonalities.iter().all(|other| other.cycle.name() != name);
            let holds = is_free && !is_reserved(name) && !name.contains("_delim_");
            arguments.require("holidays.holiday", name, NAME_RANGE, holds)?;
            let date = holiday.date;
            let text = format!("{:04}-{:02}-{:02}", date.year, date.month, date.day);
            arguments.require("holidays.ds", text, "a day of the calendar", holidays::day_number(date).is_some())?;
            let (lower, upper) = (holiday.lower_window, holiday.upper_window);
            arguments.require(
                "holidays.lower_window",
                lower,
                "from -366 to 0",
                (-MAX_HOLIDAY_WINDOW..=0).contains(&lower),
            )?;
            arguments.require(
                "holidays.upper_window",
                upper,
                "from 0 to 366",
                (0..=MAX_HOLIDAY_WINDOW).contains(&upper),
            )?;
            let prior_scale = self.prior_scale_of(holiday);
            let mut others = self.holidays.iter().filter(|other| other.name == name);
            let agrees = others.all(|other| self.prior_scale_of(other) == prior_scale);
            let holds = agrees && prior_scale.is_finite() && prior_scale > 0.0;
            let range = "finite, above 0 and the same for all days of a name";
            arguments.require("holidays.prior_scale", prior_scale, range, holds)?;
        }
        let names = self.holidays.len();
        arguments.require("holidays", format!("a list of {names}"), "at most 10000 days", names <= 10_000)?;
        let columns = self.holiday_columns();
        let range = "at most 2000 days around holidays of different names";
        arguments.require("holidays", format!("a list with {columns}"), range, columns <= MAX_HOLIDAY_COLUMNS)?;
        if let Some(country) = &self.country_holidays {
            let range = "a country whose holidays are known, by its code or name";
            arguments.require("country_holidays", country, range, holidays::of_country(country).is_some())?;
        }
        Ok(())
    }

    /// How many columns the list of holidays has: one for each day that a name has effects on.
    fn holiday_columns(&self) -> usize {
        let mut windows: BTreeMap<&str, (i32, i32)> = BTreeMap::new();
        for Holiday { name, lower_window, upper_window, .. } in &self.holidays {
            let window = windows.entry(name).or_default();
            *window = (window.0.min(*lower_window), window.1.max(*upper_window));
        }
        windows.values().map(|(lower, upper)| upper.abs_diff(*lower) as usize + 1).sum()
    }

    /// Standard deviation of the prior of a holiday's effects.
    pub(crate) fn prior_scale_of(&self, holiday: &Holiday) -> f64 {
        holiday.prior_scale.unwrap_or(self.holidays_prior_scale)
    }

    /// The arguments that act on a fit; see [`crate::spec::ModelSpec::learning_signature`].
    #[must_use]
    pub fn learning_signature(&self) -> String {
        // Everything but what acts on predictions only.
        let Self { interval_width: _, uncertainty_samples: _, mcmc_samples: _, forecast_at: _, zone, .. } = self;
        let zone = if self.tz_aware { zone.name() } else { "UTC" };
        let edition = self.country_holidays.as_ref().map(|_| format!(" of holidays {}", holidays::EDITION));
        format!(
            "growth={:?} changepoints={:?} n_changepoints={} changepoint_range={:?} changepoint_prior_scale={:?} \
             scaling={:?} yearly={:?} weekly={:?} daily={:?} seasonality_mode={:?} seasonality_prior_scale={:?} \
             seasonalities={:?} zone={zone} tz_seasonalities={:?} tz_use_cyclical_encoding={} holidays={:?} \
             country_holidays={:?}{} holidays_mode={:?} holidays_prior_scale={:?} compression={:?}",
            self.growth,
            self.changepoints,
            self.n_changepoints,
            self.changepoint_range,
            self.changepoint_prior_scale,
            self.scaling,
            self.yearly_seasonality,
            self.weekly_seasonality,
            self.daily_seasonality,
            self.seasonality_mode,
            self.seasonality_prior_scale,
            self.seasonalities,
            self.tz_seasonalities,
            self.tz_use_cyclical_encoding,
            self.holidays,
            self.country_holidays,
            edition.unwrap_or_default(),
            self.holidays_mode,
            self.holidays_prior_scale,
            self.compression,
        )
    }
}
