//! When a job ticks and fits. Pure: times in, times out, all unix ms.

use config::worker::{Scheduler, StartFrom};
use jiff::{Timestamp, civil, tz::TimeZone};
use xxhash_rust::xxh3::xxh3_64;

/// A job's grids of ticks and fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Distance of ticks.
    pub infer_every: i64,
    /// Distance of fits.
    pub fit_every: i64,
    /// Fits lie at `fit_anchor + k * fit_every`, moved back to a tick.
    fit_anchor: i64,
    /// No fit ends before this, if the scheduler says so.
    not_before: Option<i64>,
    /// Extra delay of a tick's read.
    scatter: i64,
}

impl Schedule {
    /// The schedule of one query under one scheduler, for a worker that starts at `now`.
    #[must_use]
    pub fn new(scheduler: &Scheduler, scheduler_alias: &str, query_alias: &str, now: i64) -> Self {
        let hash = xxh3_64(format!("{scheduler_alias}\0{query_alias}").as_bytes());
        let remainder = |length: i64| i64::try_from(hash % length.unsigned_abs().max(1)).unwrap_or(0);
        let start = scheduler.start_from.map(|start| first_start(start, &scheduler.tz, scheduler.fit_every, now));
        Self {
            infer_every: scheduler.infer_every,
            fit_every: scheduler.fit_every,
            fit_anchor: start.unwrap_or_else(|| remainder(scheduler.fit_every)),
            not_before: start,
            scatter: if scheduler.scatter_infer_jobs { remainder(scheduler.infer_every) } else { 0 },
        }
    }

    /// Lets the first fit come at once, wherever the scheduler's `start_from` is; scheduled fits stay where they are.
    pub fn start_at_once(&mut self) {
        self.not_before = None;
    }

    /// The newest tick at or before `time`.
    #[must_use]
    pub fn tick_at(&self, time: i64) -> i64 {
        time.div_euclid(self.infer_every) * self.infer_every
    }

    /// The moment from which tick `tick` may be read.
    #[must_use]
    pub fn due_at(&self, tick: i64, settle: i64) -> i64 {
        tick + settle + self.scatter
    }

    /// The newest tick that may be read at `now`.
    #[must_use]
    pub fn newest_due(&self, now: i64, settle: i64) -> i64 {
        self.tick_at(now - settle - self.scatter)
    }

    /// The tick at which the very first fit ends, for a job without state at `now`.
    #[must_use]
    pub fn first_fit(&self, now: i64, settle: i64) -> i64 {
        self.not_before.map_or_else(|| self.newest_due(now, settle), |start| self.tick_at(start))
    }

    /// The first scheduled end of a fit after `tick`.
    #[must_use]
    pub fn next_fit_after(&self, tick: i64) -> i64 {
        let mut index = (tick - self.fit_anchor).div_euclid(self.fit_every);
        // Moving back to a tick can put a fit at or before `tick`, so one or two further ones may be needed.
        loop {
            let fit = self.tick_at(self.fit_anchor.saturating_add(index.saturating_mul(self.fit_every)));
            if fit > tick {
                return fit;
            }
            index += 1;
        }
    }

    /// The last scheduled end of a fit in `(after, until]`.
    #[must_use]
    pub fn last_fit_within(&self, after: i64, until: i64) -> Option<i64> {
        let index = (until - self.fit_anchor).div_euclid(self.fit_every) + 1;
        [index, index - 1]
            .into_iter()
            .map(|index| self.tick_at(self.fit_anchor.saturating_add(index.saturating_mul(self.fit_every))))
            .find(|fit| *fit <= until)
            .filter(|fit| *fit > after)
    }
}

/// The first start at or after `now`: a past instant moves on by whole `fit_every`, a past time of day to tomorrow.
fn first_start(start: StartFrom, zone: &str, fit_every: i64, now: i64) -> i64 {
    match start {
        StartFrom::At(instant) if instant >= now => instant,
        StartFrom::At(instant) => {
            let missed = (now - instant + fit_every - 1).div_euclid(fit_every);
            instant + missed * fit_every
        }
        StartFrom::TimeOfDay(hour, minute) => time_of_day(hour, minute, zone, now).unwrap_or(now),
    }
}

fn time_of_day(hour: u8, minute: u8, zone: &str, now: i64) -> Option<i64> {
    let zone = TimeZone::get(zone).ok()?;
    let today = Timestamp::from_millisecond(now).ok()?.to_zoned(zone.clone()).date();
    let time = civil::Time::new(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0).ok()?;
    let at = |date: civil::Date| Some(date.to_datetime(time).to_zoned(zone.clone()).ok()?.timestamp().as_millisecond());
    at(today).filter(|instant| *instant >= now).or_else(|| at(today.tomorrow().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;
    const DAY: i64 = 24 * 60 * MINUTE;

    fn scheduler() -> Scheduler {
        Scheduler {
            fit_window: DAY,
            fit_every: 60 * MINUTE,
            infer_every: 7 * MINUTE,
            start_from: None,
            tz: "Europe/Berlin".into(),
            scatter_infer_jobs: false,
            fit_lag: None,
        }
    }

    #[test]
    fn every_scheduled_fit_is_found_from_both_sides_and_lies_on_a_tick() {
        let schedule = Schedule::new(&scheduler(), "s", "q", 0);
        let mut fit = schedule.next_fit_after(0);
        for _ in 0..100 {
            let next = schedule.next_fit_after(fit);
            assert_eq!(fit % (7 * MINUTE), 0);
            assert!(next - fit <= 63 * MINUTE && next > fit);
            assert_eq!(schedule.last_fit_within(fit, next - 1), None);
            assert_eq!(schedule.last_fit_within(fit - 1, next - 1), Some(fit));
            fit = next;
        }
    }

    #[test]
    fn fits_of_different_queries_are_staggered() {
        let of = |query: &str| Schedule::new(&scheduler(), "s", query, 0).next_fit_after(DAY);
        let different: std::collections::BTreeSet<i64> = (0..50).map(|index| of(&format!("q{index}"))).collect();
        assert!(different.len() > 5);
    }

    #[test]
    fn a_missed_start_moves_on_by_whole_fit_intervals_and_a_missed_time_of_day_to_tomorrow() {
        let mut scheduler = scheduler();
        scheduler.start_from = Some(StartFrom::At(1_000));
        assert_eq!(Schedule::new(&scheduler, "s", "q", 90 * MINUTE).not_before, Some(1_000 + 120 * MINUTE));
        scheduler.start_from = Some(StartFrom::TimeOfDay(20, 30));
        // 1970-01-02T00:00Z is 01:00 in Berlin: 20:30 is still to come, at 19:30Z.
        assert_eq!(Schedule::new(&scheduler, "s", "q", DAY).not_before, Some(DAY + 1170 * MINUTE));
        assert_eq!(Schedule::new(&scheduler, "s", "q", DAY + 1171 * MINUTE).not_before, Some(2 * DAY + 1170 * MINUTE));
    }

    #[test]
    fn a_tick_is_due_settle_after_its_time() {
        let schedule = Schedule::new(&scheduler(), "s", "q", 0);
        let tick = 70 * MINUTE;
        assert_eq!(schedule.newest_due(tick + 30_000, 30_000), tick);
        assert_eq!(schedule.newest_due(tick + 29_999, 30_000), tick - 7 * MINUTE);
        assert_eq!(schedule.due_at(tick, 30_000), tick + 30_000);
    }
}
