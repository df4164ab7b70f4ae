//! What an envelope is told.

use super::{Holiday, Seasonality};
use crate::argument::{ArgumentError, Arguments};
use crate::holidays;

/// Longest `changepoint_window`.
pub const MAX_CHANGEPOINT_WINDOW: u32 = 10_000;

/// Most horizons of `forecast_at`.
pub const MAX_FORECASTS: usize = 100;

/// Arguments of `temporal_envelope`.
#[derive(Debug, Clone, PartialEq)]
pub struct TemporalEnvelopeArgs {
    /// Probabilities of the residuals between which the band's core is; from 0 to 1, the first below the second.
    pub quantiles: [f64; 2],
    /// Widths of the core by which the band is wider on each side; finite, at least 0.
    pub iqr_threshold: f64,
    /// Gain of the trend; in (0, 1].
    pub alpha: f64,
    /// Mean sizes of residuals beyond which a sample's deviation counts no more; finite, above 0.
    pub loss_reactivity: f64,
    /// Samples in a row on one side of the band that confirm another level; from 1 to [`MAX_CHANGEPOINT_WINDOW`].
    pub changepoint_window: u32,
    /// Calendar profiles, each at most once.
    pub seasonalities: Vec<Seasonality>,
    /// Days that have responses of their own.
    pub holidays: Vec<Holiday>,
    /// Countries whose public holidays are holidays too, each one of [`holidays::countries`] at most once. Days of `holidays` come
    /// before them, and the first country before the next. Days of a name have one response, in all countries; those that are in
    /// one year only, of which nothing can be learnt for another, share one a country.
    pub countries: Vec<String>,
    /// Whether all holidays have one response.
    pub group_holidays: bool,
    /// Horizons of forecasts, ms; above 0, at most [`MAX_FORECASTS`].
    pub forecast_at: Vec<i64>,
}

impl Default for TemporalEnvelopeArgs {
    fn default() -> Self {
        Self {
            quantiles: [0.25, 0.75],
            iqr_threshold: 2.0,
            alpha: 0.005,
            loss_reactivity: 5.0,
            changepoint_window: 16,
            seasonalities: vec![Seasonality::HodSmooth, Seasonality::DowSmooth],
            holidays: Vec::new(),
            countries: Vec::new(),
            group_holidays: false,
            forecast_at: Vec::new(),
        }
    }
}

impl TemporalEnvelopeArgs {
    /// Checks every argument against its range.
    ///
    /// # Errors
    /// Names the first argument that is outside its range.
    pub fn validate(&self) -> Result<(), ArgumentError> {
        let arguments = Arguments("temporal_envelope");
        let [low, high] = self.quantiles;
        let range = "two numbers from 0 to 1, the first below the second";
        let holds = 0.0 <= low && low < high && high <= 1.0;
        arguments.require("quantiles", format!("{:?}", self.quantiles), range, holds)?;
        let holds = self.iqr_threshold.is_finite() && self.iqr_threshold >= 0.0;
        arguments.require("iqr_threshold", self.iqr_threshold, "finite and at least 0", holds)?;
        let holds = self.alpha > 0.0 && self.alpha <= 1.0;
        arguments.require("alpha", self.alpha, "above 0 and at most 1", holds)?;
        arguments.require_positive("loss_reactivity", self.loss_reactivity)?;
        let holds = (1..=MAX_CHANGEPOINT_WINDOW).contains(&self.changepoint_window);
        arguments.require("changepoint_window", self.changepoint_window, "from 1 to 10000", holds)?;
        for (index, seasonality) in self.seasonalities.iter().enumerate() {
            let is_first = self.seasonalities.iter().position(|other| other == seasonality) == Some(index);
            arguments.require("seasonalities", seasonality, "in the list once", is_first)?;
        }
        for Holiday { date, .. } in &self.holidays {
            let exists = date.to_string().parse() == Ok(*date);
            arguments.require("holidays", date, "a day of the calendar", exists)?;
        }
        for (index, country) in self.countries.iter().enumerate() {
            let is_first = self.countries.iter().position(|other| other == country) == Some(index);
            arguments.require("countries", country, "in the list once", is_first)?;
            let range = "a country whose holidays are known, by its code or name";
            arguments.require("countries", country, range, holidays::of_country(country).is_some())?;
        }
        let count = self.forecast_at.len();
        arguments.require("forecast_at", format!("{count} horizons"), "at most 100", count <= MAX_FORECASTS)?;
        for horizon in &self.forecast_at {
            arguments.require("forecast_at", format!("{horizon} ms"), "above 0", *horizon > 0)?;
        }
        Ok(())
    }

    /// The period of the longest profile, ms; 0 without one.
    pub(crate) fn longest_period(&self) -> i64 {
        self.seasonalities.iter().map(|seasonality| seasonality.period().ms() as i64).max().unwrap_or(0)
    }

    /// The arguments that act on learning; see [`crate::spec::ModelSpec::learning_signature`]. The width of the band is among
    /// them, because it says which samples wait. The zone acts on learning too.
    pub(crate) fn learning_signature(&self) -> String {
        let Self { quantiles, iqr_threshold, alpha, loss_reactivity, changepoint_window, .. } = self;
        let seasonalities: Vec<&str> = self.seasonalities.iter().map(|seasonality| seasonality.name()).collect();
        let dates: Vec<String> =
            self.holidays.iter().map(|holiday| format!("{} {:?}", holiday.date, holiday.name)).collect();
        let countries = match self.countries.as_slice() {
            [] => String::new(),
            countries => format!(" countries=[{}] of holidays {}", countries.join(","), holidays::EDITION),
        };
        format!(
            "quantiles={quantiles:?} iqr_threshold={iqr_threshold:?} alpha={alpha:?} loss_reactivity={loss_reactivity:?} \
             changepoint_window={changepoint_window} seasonalities=[{}] holidays=[{}]{countries} group_holidays={}",
            seasonalities.join(","),
            dates.join(","),
            self.group_holidays,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::temporal_envelope::HolidayDate;

    #[test]
    fn only_arguments_that_act_on_learning_change_the_signature() {
        let plain = TemporalEnvelopeArgs::default();
        let expected = "quantiles=[0.25, 0.75] iqr_threshold=2.0 alpha=0.005 loss_reactivity=5.0 changepoint_window=16 \
                        seasonalities=[hod_smooth,dow_smooth] holidays=[] group_holidays=false";
        assert_eq!(plain.learning_signature(), expected);
        let forecasting = TemporalEnvelopeArgs { forecast_at: vec![1], ..plain.clone() };
        assert_eq!(forecasting.learning_signature(), expected);
        let date = HolidayDate::Yearly { month: 5, day: 1 };
        let holidays = vec![Holiday { date, name: "may".into() }];
        let signature = TemporalEnvelopeArgs { holidays, ..plain }.learning_signature();
        assert!(signature.contains("holidays=[05-01 \"may\"] group"), "{signature}");
        let abroad =
            TemporalEnvelopeArgs { countries: vec!["US".into(), "DE".into()], ..TemporalEnvelopeArgs::default() };
        let signature = abroad.learning_signature();
        assert!(signature.contains("holidays=[] countries=[US,DE] of holidays 0.108 group"), "{signature}");
    }
}
