//! The clock of the machine.

#![expect(clippy::disallowed_methods, reason = "the one place that asks the machine for the time")]

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::environment::{Clock, Stopwatch};

/// The machine's wall clock and timers. A step of the wall clock shows in [`Clock::now`] only: timers and
/// [`Clock::monotonic`] go on undisturbed. Sleeping needs a tokio runtime with time enabled.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> i64 {
        unix_milliseconds(SystemTime::now())
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    fn stopwatch(&self) -> Stopwatch {
        let origin = self.origin;
        Arc::new(move || origin.elapsed())
    }
}

/// Rounded towards the past; a machine whose clock stands before 1970 has negative times.
fn unix_milliseconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos().div_ceil(1_000_000))
            .map_or(i64::MIN, |milliseconds| -milliseconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_before_1970_gives_negative_times_rounded_towards_the_past() {
        assert_eq!(unix_milliseconds(UNIX_EPOCH - Duration::from_micros(1)), -1);
        assert_eq!(unix_milliseconds(UNIX_EPOCH - Duration::from_secs(2)), -2_000);
        assert_eq!(unix_milliseconds(UNIX_EPOCH + Duration::from_micros(1_999)), 1);
    }

    #[tokio::test]
    async fn a_sleep_lasts_its_duration_of_monotonic_time() {
        let clock = SystemClock::new();
        let before = clock.monotonic();
        clock.sleep(Duration::from_millis(5)).await;
        assert!(clock.monotonic() - before >= Duration::from_millis(5));
    }
}
