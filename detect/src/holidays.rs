//! Public holidays by country, from 1995 to 2044.
//!
//! They are those of the Python package `holidays` 0.108 (MIT licence) with their names in English, as Prophet uses them;
//! `detect/holidays` has the table and the script that makes it. Another version of the package has other names and days.

use crate::calendar::Date;

const TABLE: &str = include_str!("../holidays/holidays.txt");

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
    TABLE.lines().filter_map(|line| line.strip_prefix("= ")).filter_map(|names| names.split('|').next())
}

/// The holidays of a country by its code or its English name without spaces (`US`, `UnitedStates`); `None` if it is not known.
#[must_use]
pub fn of_country(country: &str) -> Option<Vec<PublicHoliday>> {
    let is_country =
        |line: &&str| line.strip_prefix("= ").is_some_and(|names| names.split('|').any(|name| name == country));
    let mut lines = TABLE.lines().skip_while(|line| !is_country(line));
    lines.next()?;
    Some(
        lines
            .map_while(|line| line.split_once('\t'))
            .map(|(name, days)| PublicHoliday { name, dates: dates(days) })
            .collect(),
    )
}

/// The dates of days such as `1225:1995-2044` and `0526:1997,2003`.
fn dates(days: &str) -> Vec<Date> {
    let mut dates = Vec::new();
    for (day, ranges) in days.split(' ').filter_map(|day| day.split_once(':')) {
        let Some((month, day)) = day.split_at_checked(2) else { continue };
        let (Ok(month), Ok(day)) = (month.parse(), day.parse()) else { continue };
        for range in ranges.split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (Ok(first), Ok(last)) = (first.parse::<i16>(), last.parse()) else { continue };
            dates.extend((first..=last).map(|year| Date { year, month, day }));
        }
    }
    dates
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
    fn a_country_is_known_by_its_code_and_its_name() {
        assert_eq!(of_country("US"), of_country("UnitedStates"));
        assert_eq!(of_country("Atlantis"), None);
        assert!(countries().count() > 60);
    }

    #[test]
    fn every_line_of_the_table_is_a_holiday_with_days_of_the_calendar() {
        for country in countries() {
            let holidays = of_country(country).unwrap();
            assert!(!holidays.is_empty(), "{country}");
            for holiday in holidays {
                let days: Vec<_> = holiday.dates.iter().map(|date| day_number(*date)).collect();
                assert!(!days.is_empty() && days.iter().all(Option::is_some), "{country} {}", holiday.name);
            }
        }
        let entries = TABLE.lines().filter(|line| !line.starts_with(['#', '='])).count();
        assert_eq!(countries().map(|country| of_country(country).unwrap().len()).sum::<usize>(), entries);
    }

    #[test]
    fn days_that_move_are_where_they_are_celebrated() {
        let holidays = of_country("US").unwrap();
        let has = |name: &str, date: Date| holidays.iter().any(|day| day.name == name && day.dates.contains(&date));
        assert!(has("Thanksgiving Day", Date { year: 2014, month: 11, day: 27 }));
        assert!(has("Christmas Day (observed)", Date { year: 2011, month: 12, day: 26 }));
        assert!(!has("Christmas Day (observed)", Date { year: 2012, month: 12, day: 26 }));
    }

    #[test]
    fn day_numbers_count_from_1970() {
        let number = |year, month, day| day_number(Date { year, month, day });
        assert_eq!([number(1970, 1, 1), number(1969, 12, 31), number(2024, 3, 1)], [Some(0), Some(-1), Some(19783)]);
        assert_eq!([number(2023, 2, 29), number(2023, 0, 1)], [None, None]);
    }
}
