//! A series that stood still and begins to move.
//!
//! How far a series goes is a mean over all that was seen, and of one that stood still for days it stays near nothing for days: an alarm
//! every hour or two. So from when it moves for good the mean is over what came since its first move.

use super::prediction::FIRST_SCORED;

/// By how many more samples it has to move than to stand still, counted from when it last had none.
const MOVES: u64 = 15;

/// Where the series began to move, if it was scored before it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Onset {
    /// Samples before the first one that differs from all before it; 0 if those are too few to matter, and before it.
    pub(super) still: u64,
    /// Samples that differ from the one before, less those that do not; at most [`MOVES`].
    pub(super) moves: u64,
}

impl Onset {
    /// Takes in whether a sample differs from the one before, and whether one before it did, after so many samples.
    pub(super) fn note(&mut self, samples_seen: u64, is_move: bool, has_moved: bool) {
        if !has_moved {
            if is_move && samples_seen >= FIRST_SCORED {
                self.still = samples_seen;
            }
        } else if self.still > 0 && self.moves < MOVES {
            self.moves = if is_move { self.moves + 1 } else { self.moves.saturating_sub(1) };
        }
    }

    /// Of so many samples, those that say how far the series goes.
    pub(super) fn counted(&self, samples_seen: u64) -> u64 {
        if self.moves < MOVES { samples_seen } else { samples_seen - self.still }
    }

    /// Whether it can be what is left by so many samples, of which one moved or none did.
    pub(super) fn is_possible(&self, samples_seen: u64, has_moved: bool) -> bool {
        let has_onset = self.still >= FIRST_SCORED && has_moved && self.still < samples_seen;
        *self == Self::default() || has_onset && self.moves <= MOVES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is counted after each of the samples, which move or do not, after so many that did not.
    fn counted(still: u64, moves: impl IntoIterator<Item = bool>) -> Vec<u64> {
        let (mut onset, mut has_moved, mut seen) = (Onset::default(), false, still);
        let mut note = |is_move| {
            onset.note(seen, is_move, has_moved);
            has_moved |= is_move;
            seen += 1;
            assert!(onset.is_possible(seen, has_moved));
            onset.counted(seen)
        };
        moves.into_iter().map(&mut note).collect()
    }

    #[test]
    fn what_stood_still_counts_no_more_once_a_series_moves_for_good() {
        let counted = counted(1000, [true; 20]);
        assert_eq!(counted[14..17], [1015, 16, 17]);
    }

    #[test]
    fn what_moves_now_and_then_goes_on_as_before() {
        let counted = counted(1000, (0..10_000).map(|at| at % 20 < 5));
        assert_eq!(counted.last(), Some(&11_000));
    }

    #[test]
    fn who_moves_among_the_first_samples_never_stood_still() {
        let counted = counted(FIRST_SCORED - 1, [true; 40]);
        assert_eq!(counted.last(), Some(&(FIRST_SCORED + 39)));
    }
}
