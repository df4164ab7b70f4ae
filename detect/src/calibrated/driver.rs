//! What a score of `calibrated` comes from, for who asks why a sample is anomalous.

use super::codec::Stored;
use super::maxima::FEW_BLOCKS;
use super::pace::{Moment, Pace};
use super::prediction::{Outlook, Residuals};
use super::state::{DAILY, State, WEEKLY};

/// What of the time a prediction comes from, mostly: the expert with the greatest weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Season {
    /// Nothing: the level alone.
    None,
    /// The time of the day.
    Daily,
    /// The time of the week.
    Weekly,
}

/// What a score of 1 stands for in one series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Yardstick {
    /// Where the expected value comes from.
    pub season: Season,
    /// A score of 1 is about the greatest deviation that is usual in so long, ms.
    pub block: i64,
    /// Whether that is this series' own, and not yet that of series in general.
    pub own: bool,
    /// So many times that, where alarms are to be rarer or more frequent than usual; 1 at the default rate.
    pub factor: f64,
}

/// What a sample's score is made of, as it can be written beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Driver {
    Season,
    View,
    UsualDeviation,
    HourFactor,
    UnrestFactor,
    Threshold,
    Hold,
}

impl Driver {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Season, "season"),
        (Self::View, "view"),
        (Self::UsualDeviation, "usual_deviation"),
        (Self::HourFactor, "hour_factor"),
        (Self::UnrestFactor, "unrest_factor"),
        (Self::Threshold, "threshold"),
        (Self::Hold, "hold"),
    ];

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, own)| *own == name).map(|(driver, _)| *driver)
    }
}

/// Names of what the model can write beside its interval, all of the view that gives the score. The margin of its band is
/// `usual_deviation * hour_factor * unrest_factor * threshold * hold`.
///
/// - `season`: 0 the level alone, 1 the time of the day, 2 the time of the week has the greatest weight in what is expected;
/// - `view`: 0 the fast one, which expects that a series stays where it is, 1 the slow one, which expects what was a day ago, 2 the
///   pair, which sees two slow deviations in a row, 3 the drift, which sees many small ones;
/// - `usual_deviation`: `sigma` without its factors, in the unit of the series;
/// - `hour_factor`: `h`, how much wider deviations are at this hour of the day;
/// - `unrest_factor`: `v`, how much wider the band is after recent deviations;
/// - `threshold`: `T theta w f`, how many usual deviations make a score of 1; more where the value's quantum asks for more;
/// - `hold`: the height of the latest alarm as far as it is left, by which the band is wider; 1 without one.
pub fn component_names() -> impl Iterator<Item = &'static str> {
    Driver::ALL.iter().map(|(_, name)| *name)
}

impl<S: Stored> State<S> {
    /// What a score of 1 stands for.
    pub(super) fn yardstick(&self, pace: &Pace) -> Yardstick {
        let own = self.maxima.blocks >= FEW_BLOCKS as u64;
        Yardstick { season: season(self.weights()), block: pace.block, own, factor: self.maxima.factor() }
    }

    /// What the score of a sample is made of.
    pub(super) fn drivers(
        &self,
        drivers: &[Option<Driver>],
        (outlook, pace, moment): (&Outlook, &Pace, &Moment),
        residuals: &Residuals,
        out: &mut Vec<f64>,
    ) {
        let view = outlook.greatest_view(residuals);
        let hour = self.hour_factor(moment.hour);
        let parts = self.sigma_parts(pace, view);
        out.extend(drivers.iter().map(|driver| match driver {
            None => f64::NAN,
            Some(Driver::Season) => match season(outlook.weights) {
                Season::None => 0.0,
                Season::Daily => 1.0,
                Season::Weekly => 2.0,
            },
            Some(Driver::View) => view as f64,
            Some(Driver::UsualDeviation) => parts.map_or(0.0, |(usual, _)| usual),
            Some(Driver::HourFactor) => hour,
            Some(Driver::UnrestFactor) => parts.map_or(1.0, |(_, unrest)| unrest),
            Some(Driver::Threshold) => outlook.threshold(view).unwrap_or(pace.prior_threshold * self.maxima.factor()),
            Some(Driver::Hold) => outlook.height,
        }));
    }
}

/// The expert with the greatest weight, the simplest of several.
fn season(weights: [f64; 3]) -> Season {
    let [none, daily, weekly] = [weights[0], weights[DAILY], weights[WEEKLY]];
    if weekly > none && weekly > daily {
        Season::Weekly
    } else if daily > none {
        Season::Daily
    } else {
        Season::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_weights_the_simplest_season_counts() {
        assert_eq!(season([1.0 / 3.0; 3]), Season::None);
        assert_eq!(season([0.2, 0.4, 0.4]), Season::Daily);
        assert_eq!(season([0.2, 0.3, 0.5]), Season::Weekly);
        assert_eq!(season([0.5, 0.25, 0.25]), Season::None);
    }
}
