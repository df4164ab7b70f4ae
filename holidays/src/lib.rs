//! Public holidays by country, from 1995 to 2044.
//!
//! They are those of the Python package `holidays` 0.108 (MIT licence) with their names in English, as Prophet uses them; the
//! table and the script that makes it stand beside this crate. Another version of the package has other names and days.

/// The table's version, that of the Python package.
pub const EDITION: &str = "0.108";

const TABLE: &str = include_str!("../holidays.txt");

/// A day of the Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day {
    /// From 1995 to 2044.
    pub year: i16,
    /// 1 to 12.
    pub month: i8,
    /// 1 to 31.
    pub day: i8,
}

/// The days of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicHoliday {
    /// In English.
    pub name: &'static str,
    /// In no order.
    pub days: Vec<Day>,
}

/// Every country whose holidays are known: its names, the ISO 3166 code first, then English ones without spaces.
pub fn countries() -> impl Iterator<Item = impl Iterator<Item = &'static str>> {
    TABLE.lines().filter_map(|line| line.strip_prefix("= ")).map(|names| names.split('|'))
}

/// The ISO 3166 codes of the countries whose holidays are known, ascending.
pub fn codes() -> impl Iterator<Item = &'static str> {
    countries().filter_map(|mut names| names.next())
}

/// The code of a country by its code or one of its English names, whatever the case and the spaces (`US`, `us`, `United States`);
/// `None` if its holidays are not known.
#[must_use]
pub fn code(country: &str) -> Option<&'static str> {
    let wanted: String = country.chars().filter(|character| *character != ' ').collect();
    countries().find_map(|names| {
        let mut code = None;
        for name in names {
            code = code.or(Some(name));
            if name.eq_ignore_ascii_case(&wanted) {
                return code;
            }
        }
        None
    })
}

/// The holidays of a country by one of its names, by their own names; `None` if it is not known.
#[must_use]
pub fn of_country(country: &str) -> Option<Vec<PublicHoliday>> {
    let code = code(country)?;
    let is_country = |line: &&str| line.strip_prefix("= ").and_then(|names| names.split('|').next()) == Some(code);
    let lines = TABLE.lines().skip_while(|line| !is_country(line)).skip(1);
    let holidays = lines.map_while(|line| line.split_once('\t'));
    Some(holidays.map(|(name, days)| PublicHoliday { name, days: parse(days) }).collect())
}

/// The days of a text such as `1225:1995-2044 0526:1997,2003`.
fn parse(text: &str) -> Vec<Day> {
    let mut days = Vec::new();
    for (day, ranges) in text.split(' ').filter_map(|day| day.split_once(':')) {
        let Some((month, day)) = day.split_at_checked(2) else { continue };
        let (Ok(month), Ok(day)) = (month.parse(), day.parse()) else { continue };
        for range in ranges.split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (Ok(first), Ok(last)) = (first.parse::<i16>(), last.parse()) else { continue };
            days.extend((first..=last).map(|year| Day { year, month, day }));
        }
    }
    days
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_country_is_known_by_its_code_and_its_names_in_any_case() {
        for name in ["US", "us", "UnitedStates", "united states", "USA"] {
            assert_eq!(code(name), Some("US"), "{name}");
        }
        assert_eq!(of_country("United Kingdom"), of_country("GB"));
        assert_eq!((code("Atlantis"), of_country(""), code("U|S")), (None, None, None));
        assert_eq!((countries().count(), codes().count()), (64, 64));
        assert!(codes().is_sorted());
    }

    #[test]
    fn every_line_of_the_table_is_a_holiday_with_days() {
        let mut found = 0;
        for country in codes() {
            let holidays = of_country(country).unwrap();
            assert!(!holidays.is_empty(), "{country}");
            found += holidays.len();
            for PublicHoliday { name, days } in holidays {
                let is_day = |day: &Day| {
                    (1995..=2044).contains(&day.year) && (1..=12).contains(&day.month) && (1..=31).contains(&day.day)
                };
                assert!(!days.is_empty() && days.iter().all(is_day), "{country} {name}");
            }
        }
        assert_eq!(found, TABLE.lines().filter(|line| !line.starts_with(['#', '='])).count());
        assert!(TABLE.starts_with(&format!("# Written by generate.py from the Python package holidays {EDITION},")));
    }

    #[test]
    fn days_that_move_are_where_they_are_celebrated() {
        let holidays = of_country("US").unwrap();
        let has = |name: &str, year, month, day| {
            holidays.iter().any(|holiday| holiday.name == name && holiday.days.contains(&Day { year, month, day }))
        };
        assert!(has("Thanksgiving Day", 2014, 11, 27));
        assert!(has("Christmas Day (observed)", 2011, 12, 26));
        assert!(!has("Christmas Day (observed)", 2012, 12, 26));
    }
}
