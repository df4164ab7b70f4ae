//! The answers of one query that are kept for others. Pure.

use std::{collections::BTreeSet, rc::Rc, time::Duration};

use tokio::sync::Notify;

use super::{Purpose, Wanted};
use crate::environment::ReadError;

/// Ticks that are kept, so that series which arrive late find those that they have missed.
const KEPT_TICKS: usize = 16;
/// Values and numbers of all kept answers of a query together (at most 256 MiB).
const KEPT_VALUES: usize = 32 << 20;
/// The same for what every shard has got (64 MiB).
const KEPT_SPENT_VALUES: usize = 8 << 20;
/// A failure is told to those who ask so soon after it; then it is tried again.
const FAILED_FOR: Duration = Duration::from_secs(1);
/// An answer is fresh for so long.
const FRESH_FOR: Duration = Duration::from_secs(2);

/// An answer of the TSDB with all series.
#[derive(Debug)]
pub struct Whole {
    /// The number of each series in the dictionary.
    pub numbers: Vec<u32>,
    /// A row of values for each series.
    pub values: Vec<f64>,
    /// The TSDB's clock when it came, unix ms, if it has one.
    pub server_time: Option<i64>,
    /// When it came.
    pub at: Duration,
}

impl Whole {
    /// How many series there are.
    #[must_use]
    pub fn query_series(&self) -> u64 {
        self.numbers.len() as u64
    }
}

/// What there is of a read.
#[derive(Debug, Clone)]
pub enum Found {
    /// Its answer.
    Answer(Rc<Whole>),
    /// It has failed just now.
    Failed(ReadError),
    /// It is under way.
    Reading(Rc<Notify>),
    /// Nothing: begin it.
    Nothing,
}

#[derive(Debug)]
struct Entry {
    wanted: Wanted,
    state: State,
    /// Shards that have got it.
    given: BTreeSet<u32>,
}

#[derive(Debug)]
enum State {
    Reading(Rc<Notify>),
    Landed(Rc<Whole>),
    Failed(ReadError, Duration),
}

/// The answers of one query, the newest last.
#[derive(Debug, Default)]
pub struct Shelf {
    entries: Vec<Entry>,
}

impl Shelf {
    /// What there is of a read. `fresh`: an old answer will not do.
    #[must_use]
    pub fn find(&self, wanted: &Wanted, fresh: bool, now: Duration) -> Found {
        let age = |at: Duration| now.saturating_sub(at);
        let fresh = fresh || wanted.purpose == Purpose::Probe;
        match self.entries.iter().find(|entry| entry.wanted == *wanted).map(|entry| &entry.state) {
            Some(State::Reading(notify)) => Found::Reading(notify.clone()),
            Some(State::Landed(whole)) if !fresh || age(whole.at) < FRESH_FOR => Found::Answer(whole.clone()),
            Some(State::Failed(error, at)) if age(*at) < FAILED_FOR => Found::Failed(error.clone()),
            _ => Found::Nothing,
        }
    }

    /// Whether a read is under way.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.state, State::Reading(_)))
    }

    /// A read begins.
    pub fn begin(&mut self, wanted: Wanted) {
        self.entries.retain(|entry| entry.wanted != wanted);
        self.entries.push(Entry { wanted, state: State::Reading(Rc::default()), given: BTreeSet::new() });
    }

    /// A read is over. `shards`: as many will ask for it.
    pub fn land(&mut self, wanted: &Wanted, outcome: Result<Whole, ReadError>, now: Duration, shards: u32) {
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.wanted == *wanted) else { return };
        let state = match outcome {
            Ok(whole) => State::Landed(Rc::new(whole)),
            Err(error) => State::Failed(error, now),
        };
        if let State::Reading(notify) = std::mem::replace(&mut entry.state, state) {
            notify.notify_waiters();
        }
        self.tidy(now, shards);
    }

    /// A shard has got an answer.
    pub fn given(&mut self, wanted: &Wanted, shard: u32) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.wanted == *wanted) {
            entry.given.insert(shard);
        }
    }

    /// Forgets all answers, but not the reads that are under way.
    pub fn clear(&mut self) {
        self.entries.retain(|entry| matches!(entry.state, State::Reading(_)));
    }

    fn tidy(&mut self, now: Duration, shards: u32) {
        let is_spent = |entry: &Entry| entry.given.len() >= shards as usize;
        self.entries.retain(|entry| match &entry.state {
            State::Reading(_) => true,
            State::Failed(_, at) => now.saturating_sub(*at) < FAILED_FOR,
            State::Landed(whole) => match entry.wanted.purpose {
                Purpose::Probe => now.saturating_sub(whole.at) < FRESH_FOR,
                // Nobody asks for a part of a fit twice.
                Purpose::Fit => !is_spent(entry),
                Purpose::Tick => true,
            },
        });
        let values = |entry: &Entry| match &entry.state {
            State::Landed(whole) => whole.values.len() + whole.numbers.len(),
            State::Reading(_) | State::Failed(..) => 0,
        };
        // The newest of all is kept however large it is.
        let mut index = self.entries.len().saturating_sub(1);
        let (mut all, mut spent, mut ticks) = (0, 0, 0);
        while let Some(entry) = self.entries.get(index) {
            let is_newest = index + 1 == self.entries.len();
            all += values(entry);
            spent += if is_spent(entry) { values(entry) } else { 0 };
            ticks += usize::from(entry.wanted.purpose == Purpose::Tick);
            let too_many = all > KEPT_VALUES || (is_spent(entry) && spent > KEPT_SPENT_VALUES) || ticks > KEPT_TICKS;
            if too_many && !is_newest && matches!(entry.state, State::Landed(_)) {
                self.entries.remove(index);
            }
            let Some(next) = index.checked_sub(1) else { break };
            index = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Grid;

    const SECOND: Duration = Duration::from_secs(1);

    fn wanted(purpose: Purpose, until: i64) -> Wanted {
        Wanted { purpose, until, grid: Grid { start: until, step: 60, points: 1 } }
    }

    fn whole(values: usize, at: Duration) -> Whole {
        Whole { numbers: Vec::new(), values: vec![0.0; values], server_time: None, at }
    }

    fn shelf_with(reads: &[(Wanted, usize)]) -> Shelf {
        let mut shelf = Shelf::default();
        for (wanted, values) in reads {
            shelf.begin(*wanted);
            shelf.land(wanted, Ok(whole(*values, SECOND)), SECOND, 2);
        }
        shelf
    }

    fn has(shelf: &Shelf, wanted: &Wanted) -> bool {
        matches!(shelf.find(wanted, false, SECOND), Found::Answer(_))
    }

    #[test]
    fn a_read_is_begun_once_and_a_failure_is_told_for_a_while() {
        let tick = wanted(Purpose::Tick, 60);
        let mut shelf = Shelf::default();
        assert!(matches!(shelf.find(&tick, false, SECOND), Found::Nothing));
        shelf.begin(tick);
        assert!(matches!(shelf.find(&tick, false, SECOND), Found::Reading(_)) && shelf.is_reading());
        let away = ReadError::Unavailable { code: "timeout".to_owned(), message: "m".to_owned() };
        shelf.land(&tick, Err(away), SECOND, 2);
        assert!(matches!(shelf.find(&tick, false, SECOND + FAILED_FOR / 2), Found::Failed(_)));
        assert!(matches!(shelf.find(&tick, false, SECOND + FAILED_FOR), Found::Nothing) && !shelf.is_reading());
    }

    #[test]
    fn an_old_answer_is_no_fresh_one() {
        let tick = wanted(Purpose::Tick, 60);
        let shelf = shelf_with(&[(tick, 1)]);
        let later = SECOND + FRESH_FOR;
        assert!(matches!(shelf.find(&tick, false, later), Found::Answer(_)));
        assert!(matches!(shelf.find(&tick, true, later), Found::Nothing));
        assert!(matches!(shelf.find(&wanted(Purpose::Probe, 60), false, SECOND), Found::Nothing));
    }

    #[test]
    fn the_newest_ticks_are_kept_and_parts_of_a_fit_until_every_shard_has_them() {
        let ticks: Vec<_> = (0..20).map(|tick| (wanted(Purpose::Tick, tick * 60), 10)).collect();
        let shelf = shelf_with(&ticks);
        let kept: Vec<bool> = ticks.iter().map(|(wanted, _)| has(&shelf, wanted)).collect();
        assert_eq!(kept, [vec![false; 4], vec![true; 16]].concat());

        let part = wanted(Purpose::Fit, 60);
        let mut shelf = shelf_with(&[(part, 10)]);
        shelf.given(&part, 0);
        shelf.begin(ticks[0].0);
        shelf.land(&ticks[0].0, Ok(whole(1, SECOND)), SECOND, 2);
        assert!(has(&shelf, &part));
        shelf.given(&part, 1);
        shelf.begin(ticks[1].0);
        shelf.land(&ticks[1].0, Ok(whole(1, SECOND)), SECOND, 2);
        assert!(!has(&shelf, &part));
    }

    #[test]
    fn large_answers_push_older_ones_off_but_never_the_newest() {
        let ticks: Vec<_> = (0..3).map(|tick| (wanted(Purpose::Tick, tick * 60), KEPT_VALUES / 2 + 1)).collect();
        let shelf = shelf_with(&ticks);
        let kept: Vec<bool> = ticks.iter().map(|(wanted, _)| has(&shelf, wanted)).collect();
        assert_eq!(kept, [false, false, true]);
        let huge = wanted(Purpose::Tick, 600);
        assert!(has(&shelf_with(&[(huge, 2 * KEPT_VALUES)]), &huge));
    }
}
