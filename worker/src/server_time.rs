//! What the TSDB's clock says, between its answers.

use std::{collections::VecDeque, time::Duration};

/// Follows a server's clock from the `Date` headers of its answers. A `Date` is cut to whole seconds, so the largest
/// difference to the monotonic clock over the last answers is the best estimate; steps of the own wall clock do not
/// matter, because it is not used.
#[derive(Debug, Default)]
pub struct ServerTime {
    differences: VecDeque<i64>,
}

/// Answers that an estimate looks back on. A server clock that was set back is believed after so many answers.
const ANSWERS: usize = 16;

impl ServerTime {
    /// Notes an answer that was received at `monotonic`.
    pub fn observe(&mut self, server_time: i64, monotonic: Duration) {
        if self.differences.len() == ANSWERS {
            self.differences.pop_front();
        }
        self.differences.push_back(server_time - millis(monotonic));
    }

    /// The server's time at `monotonic`, unix ms; `None` before the first answer.
    #[must_use]
    pub fn at(&self, monotonic: Duration) -> Option<i64> {
        self.differences.iter().max().map(|difference| difference + millis(monotonic))
    }

    /// How far the own wall clock is ahead of the server's, ms.
    #[must_use]
    pub fn skew(&self, now: i64, monotonic: Duration) -> Option<i64> {
        self.at(monotonic).map(|server| now - server)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_converges_to_the_server_clock_from_below() {
        let mut time = ServerTime::default();
        let server = |monotonic: u64| 1_000_000 + monotonic as i64;
        for monotonic in [10_u64, 1_450, 2_990, 4_020] {
            time.observe(server(monotonic) / 1000 * 1000, Duration::from_millis(monotonic));
        }
        let estimate = time.at(Duration::from_millis(5_000)).unwrap();
        assert!(estimate <= server(5_000) && estimate > server(5_000) - 21);
        assert_eq!(time.skew(server(5_000) + 7_000, Duration::from_millis(5_000)).unwrap() / 100, 70);
    }

    #[test]
    fn a_server_clock_that_was_set_back_is_believed_after_some_answers() {
        let mut time = ServerTime::default();
        time.observe(100_000, Duration::ZERO);
        for _ in 0..ANSWERS {
            time.observe(50_000, Duration::ZERO);
        }
        assert_eq!(time.at(Duration::ZERO), Some(50_000));
    }
}
