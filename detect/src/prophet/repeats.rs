//! Rows of features that repeat, as those of a season do on a regular grid of times.

use std::ops::Range;

use super::design::Rows;

/// Searches among all rows for one that does not follow the row before it as it did a season ago: enough for the gaps of a
/// series, few enough that rows which do not repeat cost no time.
const MAX_SEARCHES: usize = 64;

/// Which rows have the same features, bit for bit. It may miss some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Repeats {
    /// For each row the number of its features among the distinct ones.
    pub(crate) numbers: Vec<usize>,
    /// For each of the distinct features the first row that has them, ascending.
    pub(crate) firsts: Vec<usize>,
}

impl Repeats {
    pub(crate) fn new(rows: &Rows) -> Self {
        let features = |row: usize| &rows.row(row)[..rows.width];
        let is_same = |one: usize, other: usize| {
            let mut pairs = features(one).iter().zip(features(other));
            pairs.all(|(one, other)| one.to_bits() == other.to_bits())
        };
        let (mut numbers, mut firsts) = (Vec::<usize>::with_capacity(rows.len()), Vec::new());
        let (mut searches, mut has_repeated) = (0, false);
        for row in 0..rows.len() {
            let holds = |number: &usize| firsts.get(*number).is_some_and(|first| is_same(*first, row));
            // After the row before it comes the one that came there at first, or the season starts anew.
            let next = numbers.last().map_or(0, |number| number + 1);
            let mut known = Some(next).filter(holds).or_else(|| Some(0).filter(holds));
            if known.is_none() && has_repeated && searches < MAX_SEARCHES {
                searches += 1;
                known = (0..firsts.len()).find(holds);
            }
            has_repeated |= known.is_some();
            numbers.push(known.unwrap_or(firsts.len()));
            if known.is_none() {
                firsts.push(row);
            }
        }
        Self { numbers, firsts }
    }

    /// Cuts a range of rows into stretches of at most `longest`, along each of which the number grows by one.
    pub(crate) fn stretches(&self, range: Range<usize>, longest: usize) -> impl Iterator<Item = Range<usize>> + '_ {
        let mut start = range.start;
        std::iter::from_fn(move || {
            let numbers = self.numbers.get(start..range.end)?;
            let first = *numbers.first()?;
            let len = numbers.iter().zip(first..).take(longest).take_while(|(number, next)| *number == next).count();
            let stretch = start..start + len;
            start = stretch.end;
            Some(stretch)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prophet::design::Rows;

    /// Rows of one feature, of all times of a season of 4 steps but those that are left out.
    fn rows(left_out: &[usize]) -> Rows {
        let features = (0..12).filter(|time| !left_out.contains(time)).map(|time| (time % 4) as f64);
        let entries: Vec<f64> = features.flat_map(|feature| [feature, 1.0, 0.0]).collect();
        Rows { stride: 3, width: 1, entries, starts: Vec::new(), bends: Vec::new(), has_slope: true }
    }

    #[test]
    fn rows_of_a_season_repeat_across_gaps() {
        assert_eq!(Repeats::new(&rows(&[])).numbers, [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3]);
        assert_eq!(Repeats::new(&rows(&[5, 6])).numbers, [0, 1, 2, 3, 0, 3, 0, 1, 2, 3]);
        // What the first season lacks is new when it comes.
        let late = Repeats::new(&rows(&[1]));
        assert_eq!((late.numbers, late.firsts.len()), (vec![0, 1, 2, 0, 3, 1, 2, 0, 3, 1, 2], 4));
    }

    #[test]
    fn a_stretch_ends_where_the_season_does_or_it_is_long_enough() {
        let repeats = Repeats::new(&rows(&[5, 6]));
        let stretches: Vec<_> = repeats.stretches(1..10, 3).collect();
        assert_eq!(stretches, [1..4, 4..5, 5..6, 6..9, 9..10]);
    }
}
