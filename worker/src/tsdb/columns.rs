//! Collects the series of one or several consecutive answers into one matrix.

use std::time::Duration;

use detect::model::MISSING;

use crate::environment::{Grid, RangeAnswer};
use crate::labels::Labels;

/// A consecutive part of a grid, for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Points of the whole grid before this part.
    pub offset: usize,
    /// The times of this part.
    pub grid: Grid,
}

/// Cuts a grid into consecutive parts of at most `max_points` points (at least 1), the last one being the rest. An
/// empty grid has no parts.
pub fn split(grid: Grid, max_points: usize) -> impl Iterator<Item = Part> {
    let max_points = max_points.max(1);
    (0..grid.points).step_by(max_points).map(move |offset| Part {
        offset,
        grid: Grid {
            start: grid.start + grid.step * offset as i64,
            step: grid.step,
            points: max_points.min(grid.points - offset),
        },
    })
}

/// The series of a read, in the making.
#[derive(Debug)]
pub struct Columns {
    grid: Grid,
    /// By the number of the series, kept or not.
    seen: Vec<Option<Seen>>,
    series: usize,
    answer: RangeAnswer,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    /// Row in the matrix; `None` if it is not kept.
    row: Option<u32>,
    /// Offset of the part that brought it last.
    part: usize,
}

/// One answer has a series twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duplicate;

impl Columns {
    /// Without series.
    #[must_use]
    pub fn new(grid: Grid) -> Self {
        Self { grid, seen: Vec::new(), series: 0, answer: RangeAnswer::default() }
    }

    /// Adds what one answer says about a series: `row` has one value for each time of `part`. Series have numbers,
    /// small ones and the same in all parts. `keep` is asked when a series comes for the first time.
    ///
    /// # Errors
    /// When the same part brought it already.
    pub fn add(
        &mut self,
        number: usize,
        labels: &Labels,
        part: Part,
        row: &[f64],
        keep: &mut dyn FnMut(&Labels) -> bool,
    ) -> Result<(), Duplicate> {
        if self.seen.len() <= number {
            self.seen.resize(number + 1, None);
        }
        let kept = match &mut self.seen[number] {
            Some(seen) if seen.part == part.offset => return Err(Duplicate),
            Some(seen) => {
                seen.part = part.offset;
                seen.row
            }
            unseen => {
                self.series += 1;
                let row = keep(labels).then(|| {
                    let answer = &mut self.answer;
                    answer.series.push(labels.clone());
                    answer.values.resize(answer.values.len() + self.grid.points, MISSING);
                    (answer.series.len() - 1) as u32
                });
                *unseen = Some(Seen { row, part: part.offset });
                row
            }
        };
        if let Some(index) = kept {
            let start = index as usize * self.grid.points + part.offset;
            self.answer.values[start..start + row.len()].copy_from_slice(row);
        }
        Ok(())
    }

    /// Distinct series so far, kept or not.
    #[must_use]
    pub fn series(&self) -> usize {
        self.series
    }

    /// Counts what was received.
    pub fn count(&mut self, bytes: u64, series: u64, samples: u64, invalid_samples: u64) {
        self.answer.received_bytes += bytes;
        self.answer.received_series += series;
        self.answer.received_samples += samples;
        self.answer.invalid_samples += invalid_samples;
    }

    /// Adds to the time spent on reading the answer out.
    pub fn spent(&mut self, parsing: Duration) {
        self.answer.parsing += parsing;
    }

    /// The matrix.
    #[must_use]
    pub fn finish(self, server_time: Option<i64>) -> RangeAnswer {
        RangeAnswer { server_time, query_series: self.series as u64, ..self.answer }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_parts_of_a_grid_are_its_times_in_order(
            start in -1000_i64..1000, step in 1_i64..100, points in 0_usize..300, max_points in 0_usize..70,
        ) {
            let grid = Grid { start: start * step, step, points };
            let parts: Vec<Part> = split(grid, max_points).collect();
            let times: Vec<i64> = parts.iter().flat_map(|part| part.grid.times().collect::<Vec<_>>()).collect();
            prop_assert_eq!(times, grid.times().collect::<Vec<_>>());
            let mut offset = 0;
            for (index, part) in parts.iter().enumerate() {
                prop_assert_eq!(part.offset, offset);
                prop_assert!(part.grid.points <= max_points.max(1));
                prop_assert!(part.grid.points == max_points.max(1) || index + 1 == parts.len());
                offset += part.grid.points;
            }
        }
    }

    #[test]
    fn a_series_that_one_part_does_not_have_is_missing_there_and_keep_is_asked_once() {
        let grid = Grid { start: 0, step: 10, points: 5 };
        let [first, second, third] = split(grid, 2).collect::<Vec<_>>().try_into().unwrap();
        let [a, b, dropped] = ["a", "b", "c"].map(|name| Labels::new([("n", name)]));
        let mut asked = Vec::new();
        let mut keep = |labels: &Labels| {
            asked.push(labels.clone());
            *labels != dropped
        };
        let mut columns = Columns::new(grid);
        columns.add(7, &a, first, &[1.0, 2.0], &mut keep).unwrap();
        columns.add(0, &dropped, first, &[9.0, 9.0], &mut keep).unwrap();
        columns.add(3, &b, second, &[3.0, MISSING], &mut keep).unwrap();
        columns.add(0, &dropped, second, &[9.0, 9.0], &mut keep).unwrap();
        columns.add(3, &b, third, &[f64::NAN], &mut keep).unwrap();
        columns.add(7, &a, third, &[5.0], &mut keep).unwrap();
        assert_eq!(columns.add(7, &a, third, &[5.0], &mut keep), Err(Duplicate));
        assert_eq!(columns.add(0, &dropped, second, &[5.0, 5.0], &mut keep), Err(Duplicate));
        assert_eq!(columns.series(), 3);
        let answer = columns.finish(None);
        assert_eq!(asked, [a.clone(), dropped, b.clone()]);
        assert_eq!(answer.series, [a, b]);
        let m = MISSING;
        let expected = [1.0, 2.0, m, m, 5.0, m, m, 3.0, m, f64::NAN];
        assert_eq!(answer.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), expected.map(f64::to_bits));
    }
}
