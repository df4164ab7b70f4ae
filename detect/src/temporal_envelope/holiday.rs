//! Days on which a series behaves otherwise, and how it does.

use std::{fmt, str::FromStr};

use super::profile::Spot;
use crate::calendar::{DAY_MS, Date, WallClock};
use crate::holidays::{self, PublicHoliday};

/// Parts of a day that a response tells apart.
pub(super) const PARTS: usize = 8;

/// When a holiday is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HolidayDate {
    /// On one day, written `YYYY-MM-DD`.
    Once(Date),
    /// Every year on this day, written `MM-DD`. The 29th of February is in leap years only.
    Yearly {
        /// 1 to 12.
        month: i8,
        /// 1 to 31.
        day: i8,
    },
}

/// Text that is no date of a holiday.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no date of a holiday, it must be MM-DD or YYYY-MM-DD")]
pub struct HolidayDateError(String);

impl FromStr for HolidayDate {
    type Err = HolidayDateError;

    fn from_str(text: &str) -> Result<Self, HolidayDateError> {
        if let Ok(date) = text.parse() {
            return Ok(Self::Once(date));
        }
        // A leap year has all days.
        let in_leap_year: Result<Date, _> = format!("2000-{text}").parse();
        in_leap_year
            .map(|date| Self::Yearly { month: date.month, day: date.day })
            .map_err(|_| HolidayDateError(text.into()))
    }
}

impl fmt::Display for HolidayDate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Once(date) => date.fmt(formatter),
            Self::Yearly { month, day } => write!(formatter, "{month:02}-{day:02}"),
        }
    }
}

/// A day, or one of every year, on which a series may behave otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holiday {
    /// When it is, on the clocks of the zone.
    pub date: HolidayDate,
    /// Days of the same name have one response.
    pub name: String,
}

/// The holidays of a model, for looking up.
#[derive(Debug, Clone, Default)]
pub(super) struct Holidays {
    /// Days since 1970-01-01 with their responses, ascending.
    once: Vec<(i64, usize)>,
    /// Month and day with their responses, ascending.
    yearly: Vec<((i8, i8), usize)>,
    /// As `once`, of public holidays.
    public: Vec<(i64, usize)>,
    responses: usize,
}

impl Holidays {
    /// Of several holidays on a day, the first of the list counts, and those of the list before those of countries.
    pub fn new(holidays: &[Holiday], countries: &[String], is_grouped: bool) -> Self {
        let public = public_holidays(countries);
        let mut names: Vec<&str> = holidays.iter().map(|holiday| holiday.name.as_str()).collect();
        names.extend(public.iter().map(|(name, _)| name.as_str()));
        names.sort_unstable();
        names.dedup();
        let response = |name: &str| {
            if is_grouped { 0 } else { names.binary_search(&name).unwrap_or_default() }
        };
        let mut lookup = Self { responses: names.len(), ..Self::default() };
        if is_grouped {
            lookup.responses = names.len().min(1);
        }
        for Holiday { date, name } in holidays {
            match date {
                HolidayDate::Once(date) => {
                    lookup.once.extend(date.midnight().map(|clock| (clock.days(), response(name))));
                }
                HolidayDate::Yearly { month, day } => lookup.yearly.push(((*month, *day), response(name))),
            }
        }
        for (name, dates) in &public {
            let days = dates.iter().filter_map(|date| holidays::day_number(*date));
            lookup.public.extend(days.map(|day| (day, response(name))));
        }
        for days in [&mut lookup.once, &mut lookup.public] {
            days.sort_by_key(|(day, _)| *day);
            days.dedup_by_key(|(day, _)| *day);
        }
        lookup.yearly.sort_by_key(|(day, _)| *day);
        lookup.yearly.dedup_by_key(|(day, _)| *day);
        lookup
    }

    /// How many nodes all responses have.
    pub fn nodes(&self) -> usize {
        self.responses * PARTS
    }

    /// Where the responses are read and learnt at this time, if it is a holiday.
    pub fn spot(&self, clock: WallClock) -> Option<Spot> {
        let response = found(&self.once, &clock.days())
            .or_else(|| {
                let date = (!self.yearly.is_empty()).then(|| clock.date())?;
                found(&self.yearly, &(date.month, date.day))
            })
            .or_else(|| found(&self.public, &clock.days()))?;
        let width = DAY_MS / PARTS as i64;
        Some(Spot::at(response * PARTS + (clock.ms_of_day() / width) as usize, width as f64))
    }
}

fn found<D: Ord>(days: &[(D, usize)], day: &D) -> Option<usize> {
    let index = days.binary_search_by(|(other, _)| other.cmp(day)).ok()?;
    Some(days.get(index)?.1)
}

/// The days of the public holidays of these countries, by the name of their response. That a date is an estimate does not make it
/// another holiday.
fn public_holidays(countries: &[String]) -> Vec<(String, Vec<Date>)> {
    let mut found: Vec<(String, Vec<Date>)> = Vec::new();
    for country in countries {
        let mut by_name: Vec<(&str, Vec<Date>)> = Vec::new();
        for PublicHoliday { name, dates } in holidays::of_country(country).unwrap_or_default() {
            let name = name.strip_suffix(" (estimated)").unwrap_or(name);
            match by_name.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => known.extend(dates),
                None => by_name.push((name, dates)),
            }
        }
        for (name, dates) in by_name {
            let is_of_one_year = dates.windows(2).all(|pair| pair[0].year == pair[1].year);
            found.push((if is_of_one_year { country.clone() } else { name.to_owned() }, dates));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holiday(date: &str, name: &str) -> Holiday {
        Holiday { date: date.parse().unwrap(), name: name.into() }
    }

    fn clock(date: &str, hour: i64) -> WallClock {
        WallClock::new(date.parse::<Date>().unwrap().midnight().unwrap().ms() + hour * DAY_MS / 24)
    }

    #[test]
    fn dates_are_once_or_every_year() {
        for text in ["12-24", "2024-02-29", "02-29"] {
            assert_eq!(text.parse::<HolidayDate>().unwrap().to_string(), text);
        }
        for text in ["02-30", "2023-02-29", "1-1", "", "2024-12", "2024-12-24-01"] {
            assert!(text.parse::<HolidayDate>().is_err(), "{text}");
        }
    }

    #[test]
    fn days_of_a_name_have_one_response_in_eight_parts_and_other_days_have_none() {
        let list = [holiday("12-24", "eve"), holiday("2024-04-01", "easter"), holiday("2025-04-21", "easter")];
        let holidays = Holidays::new(&list, &[], false);
        assert_eq!(holidays.nodes(), 16);
        assert_eq!(holidays.spot(clock("2025-12-24", 23)), holidays.spot(clock("2031-12-24", 21)));
        assert_eq!(holidays.spot(clock("2024-04-01", 0)), holidays.spot(clock("2025-04-21", 2)));
        assert_ne!(holidays.spot(clock("2024-04-01", 0)), holidays.spot(clock("2024-12-24", 0)));
        assert_eq!(holidays.spot(clock("2024-12-25", 0)), None);
        assert_eq!(holidays.spot(clock("2024-04-21", 0)), None);
        let grouped = Holidays::new(&list, &[], true);
        assert_eq!(grouped.nodes(), 8);
        assert_eq!(grouped.spot(clock("2024-04-01", 0)), grouped.spot(clock("2024-12-24", 0)));
        assert_eq!(Holidays::new(&[], &[], true).nodes(), 0);
    }

    #[test]
    fn public_holidays_of_a_name_have_one_response_and_days_of_ones_own_come_before_them() {
        let countries = ["US".to_owned(), "DE".to_owned()];
        let holidays = Holidays::new(&[holiday("12-25", "mine")], &countries, false);
        let thanksgiving = holidays.spot(clock("2025-11-27", 3));
        assert!(thanksgiving.is_some());
        assert_eq!(thanksgiving, holidays.spot(clock("2026-11-26", 4)));
        assert_eq!(holidays.spot(clock("2025-11-26", 3)), None);
        assert!(holidays.spot(clock("2025-10-03", 0)).is_some(), "a day of the second country");
        assert_eq!(holidays.spot(clock("2025-12-25", 1)), holidays.spot(clock("1990-12-25", 1)));
        assert_eq!(Holidays::new(&[], &countries, true).nodes(), 8);
    }

    #[test]
    fn an_estimated_day_and_a_day_of_one_year_have_no_response_of_their_own() {
        let emirates = Holidays::new(&[], &["AE".to_owned()], false);
        assert_eq!(emirates.spot(clock("2025-06-06", 0)), emirates.spot(clock("2030-04-13", 0)));
        let china = Holidays::new(&[], &["CN".to_owned()], false);
        assert!(china.nodes() <= 8 * 30, "{}", china.nodes());
    }
}
