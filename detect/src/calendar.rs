//! Civil time: what a clock on a wall of a time zone shows. Seasons that people make follow it across changes of daylight
//! saving time.
//!
//! The rules of the zones are those that the `jiff` crate carries in itself, so the same build sees the same hours everywhere.

use std::{fmt, str::FromStr};

use jiff::{Timestamp, civil, tz::TimeZone};

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// A day of 24 hours, ms.
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// A time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl Zone {
    /// The zone with this IANA name, in any case; `None` if there is none.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        TimeZone::get(name).ok().filter(|zone| zone.iana_name().is_some()).map(Self)
    }

    /// Its IANA name, as the database spells it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// What a clock on the wall shows at `time` (ms). Beyond the years -9999 to 9999 it is that of their ends.
    #[must_use]
    pub fn wall_clock(&self, time: i64) -> WallClock {
        let timestamp = at(time);
        let offset = if self.0 == TimeZone::UTC { 0 } else { i64::from(self.0.to_offset(timestamp).seconds()) };
        WallClock(timestamp.as_millisecond() + offset * SECOND_MS)
    }
}

/// The moment, or the nearest one that has a date.
fn at(time: i64) -> Timestamp {
    let nearest = if time < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(time).unwrap_or(nearest)
}

/// A time on the wall: ms since it showed 1970-01-01 00:00:00. It repeats an hour where daylight saving time ends, and leaves
/// one out where it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallClock(i64);

/// A day of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// Of the Gregorian calendar.
    pub year: i16,
    /// 1 to 12.
    pub month: i8,
    /// 1 to 31.
    pub day: i8,
}

impl Date {
    /// 1970-01-01.
    pub const EPOCH: Self = Self { year: 1970, month: 1, day: 1 };

    /// The clock at its midnight; `None` if there is no such day.
    #[must_use]
    pub fn midnight(self) -> Option<WallClock> {
        let date = civil::Date::new(self.year, self.month, self.day).ok()?;
        let timestamp = TimeZone::UTC.to_timestamp(date.to_datetime(civil::Time::midnight())).ok()?;
        Some(WallClock(timestamp.as_millisecond()))
    }
}

impl fmt::Display for Date {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// Text that is no day of the calendar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no date, it must be YYYY-MM-DD")]
pub struct DateError(String);

impl FromStr for Date {
    type Err = DateError;

    /// Reads `YYYY-MM-DD`.
    fn from_str(text: &str) -> Result<Self, DateError> {
        let parsed = || {
            let mut parts = text.splitn(3, '-');
            let mut part = |digits: usize| {
                let part = parts.next()?;
                let is_number = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
                is_number.then(|| part.parse::<i16>().ok()).flatten()
            };
            let (year, month, day) = (part(4)?, part(2)?, part(2)?);
            let date = Self { year, month: i8::try_from(month).ok()?, day: i8::try_from(day).ok()? };
            date.midnight().map(|_| date)
        };
        parsed().ok_or_else(|| DateError(text.into()))
    }
}

impl WallClock {
    /// A clock that shows so many ms since 1970-01-01 00:00:00.
    #[must_use]
    pub const fn new(ms: i64) -> Self {
        Self(ms)
    }

    /// ms since the clock showed 1970-01-01 00:00:00.
    #[must_use]
    pub const fn ms(self) -> i64 {
        self.0
    }

    /// Days since 1970-01-01.
    #[must_use]
    pub const fn days(self) -> i64 {
        self.0.div_euclid(DAY_MS)
    }

    /// ms since midnight.
    #[must_use]
    pub const fn ms_of_day(self) -> i64 {
        self.0.rem_euclid(DAY_MS)
    }

    /// 0 to 59.
    #[must_use]
    pub const fn minute(self) -> i64 {
        self.ms_of_day() / MINUTE_MS % 60
    }

    /// 0 to 23.
    #[must_use]
    pub const fn hour(self) -> i64 {
        self.ms_of_day() / HOUR_MS
    }

    /// 1 is Monday, 7 is Sunday.
    #[must_use]
    pub const fn weekday(self) -> i64 {
        // 1970-01-01 was a Thursday.
        (self.days() + 3).rem_euclid(7) + 1
    }

    /// The day.
    #[must_use]
    pub fn date(self) -> Date {
        let date = TimeZone::UTC.to_datetime(at(self.0)).date();
        Date { year: date.year(), month: date.month(), day: date.day() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2024-03-31 00:59:00 UTC, a minute before daylight saving time starts in Berlin. A Sunday.
    const BEFORE: i64 = 1_711_846_740_000;

    #[test]
    fn the_wall_clock_follows_daylight_saving_time() {
        let berlin = Zone::named("europe/berlin").unwrap();
        assert_eq!(berlin.name(), "Europe/Berlin");
        let shown = |time| {
            let clock = berlin.wall_clock(time);
            (clock.hour(), clock.minute())
        };
        assert_eq!([shown(BEFORE), shown(BEFORE + MINUTE_MS)], [(1, 59), (3, 0)]);
        let clock = berlin.wall_clock(BEFORE);
        assert_eq!((clock.weekday(), clock.date()), (7, Date { year: 2024, month: 3, day: 31 }));
        assert_eq!(Zone::default().wall_clock(BEFORE).ms(), BEFORE);
    }

    #[test]
    fn moments_that_have_no_date_are_those_at_the_ends_of_the_calendar() {
        for zone in ["UTC", "Asia/Tokyo"] {
            let year = |time| Zone::named(zone).unwrap().wall_clock(time).date().year;
            assert_eq!([i64::MIN, i64::MAX].map(year), [-9999, 9999], "{zone}");
        }
        assert_eq!(WallClock::new(i64::MAX).date().year, 9999);
    }

    #[test]
    fn a_zone_that_does_not_exist_is_none() {
        assert_eq!(Zone::named("Europe/Berln"), None);
        assert_eq!(Zone::named("UTC"), Some(Zone::default()));
    }

    #[test]
    fn a_date_is_read_and_written_and_what_is_none_is_refused() {
        let date: Date = "2024-02-29".parse().unwrap();
        assert_eq!(date.to_string(), "2024-02-29");
        let midnight = date.midnight().unwrap();
        assert_eq!((midnight.date(), midnight.ms_of_day()), (date, 0));
        assert_eq!(Date::EPOCH.midnight(), Some(WallClock(0)));
        for text in ["2023-02-29", "2024-2-9", "2024-13-01", "02-29", "2024-02-29T00", "", "2024-02-+9"] {
            assert_eq!(text.parse::<Date>(), Err(DateError(text.into())));
        }
    }

    proptest! {
        #[test]
        fn every_moment_has_a_wall_clock(time in any::<i64>()) {
            let clock = Zone::named("America/New_York").unwrap().wall_clock(time);
            prop_assert!((0..24).contains(&clock.hour()) && (0..60).contains(&clock.minute()));
            prop_assert!((1..=7).contains(&clock.weekday()) && (1..=12).contains(&clock.date().month));
            prop_assert_eq!(clock.days() * DAY_MS + clock.ms_of_day(), clock.ms());
        }
    }
}
