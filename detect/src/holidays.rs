//! Public holidays by country, from 1995 to 2044: those of the crate `holidays`, as [`Date`]s.

use crate::calendar::Date;

pub use holidays::EDITION;

/// The days of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicHoliday {
    /// In English.
    pub name: &'static str,
    /// In no order.
    pub dates: Vec<Date>,
}

/// The ISO 3166 codes of the countries whose holidays are known.
pub fn countries() -> impl Iterator<Item = &'static str> {
    holidays::codes()
}

/// The holidays of a country by its code or its English name (`US`, `UnitedStates`); `None` if it is not known.
#[must_use]
pub fn of_country(country: &str) -> Option<Vec<PublicHoliday>> {
    let date = |holidays::Day { year, month, day }: holidays::Day| Date { year, month, day };
    let holidays = holidays::of_country(country)?.into_iter();
    Some(
        holidays
            .map(|holiday| PublicHoliday { name: holiday.name, dates: holiday.days.into_iter().map(date).collect() })
            .collect(),
    )
}

/// Days from 1970-01-01 to a date; `None` if there is no such date.
#[must_use]
pub fn day_number(date: Date) -> Option<i64> {
    let civil = jiff::civil::Date::new(date.year, date.month, date.day).ok()?;
    let epoch = jiff::civil::Date::constant(1970, 1, 1);
    Some(i64::from(epoch.until(civil).ok()?.get_days()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_public_holiday_is_a_day_of_the_calendar() {
        for country in countries() {
            for holiday in of_country(country).unwrap() {
                assert!(holiday.dates.iter().all(|date| day_number(*date).is_some()), "{country} {}", holiday.name);
            }
        }
    }

    #[test]
    fn day_numbers_count_from_1970() {
        let number = |year, month, day| day_number(Date { year, month, day });
        assert_eq!([number(1970, 1, 1), number(1969, 12, 31), number(2024, 3, 1)], [Some(0), Some(-1), Some(19783)]);
        assert_eq!([number(2023, 2, 29), number(2023, 0, 1)], [None, None]);
    }
}
