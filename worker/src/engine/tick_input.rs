//! What a tick brings.

use crate::environment::Grid;

/// The accepted input of one tick.
#[derive(Debug, Clone, PartialEq)]
pub struct TickInput {
    /// The tick.
    pub tick: i64,
    /// The times of the columns.
    pub grid: Grid,
    /// The slots of the rows, ascending.
    pub slots: Vec<u32>,
    /// One row of `grid.points` values for each slot.
    pub values: Vec<f64>,
    /// Distinct series that the query had, those of other shards too; 0 where that is not known.
    pub query_series: u64,
}

impl TickInput {
    /// Whether it has a row for the series in this slot.
    #[must_use]
    pub fn has(&self, slot: u32) -> bool {
        self.slots.binary_search(&slot).is_ok()
    }

    /// The rows that have a slot here, `(slot, row of values)`, in ascending order of slots.
    #[must_use]
    pub fn of_rows(tick: i64, grid: Grid, rows: &[(u32, usize)], values: &[f64]) -> Self {
        let points = grid.points;
        let (slots, kept) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len() * points));
        let mut input = Self { tick, grid, slots, values: kept, query_series: 0 };
        for (slot, row) in rows {
            input.slots.push(*slot);
            input.values.extend_from_slice(&values[row * points..(row + 1) * points]);
        }
        input
    }

    /// The same, of a query that had so many series.
    #[must_use]
    pub fn of_query(self, query_series: u64) -> Self {
        Self { query_series, ..self }
    }

    /// The same in other slots: `(slot, row of values)`, in ascending order of slots.
    #[must_use]
    pub fn in_slots(&self, rows: &[(u32, usize)]) -> Self {
        Self::of_rows(self.tick, self.grid, rows, &self.values).of_query(self.query_series)
    }

    /// The rows whose slot `wanted` accepts.
    #[must_use]
    pub fn filtered(&self, wanted: impl Fn(u32) -> bool) -> Self {
        let mut filtered = Self { slots: Vec::new(), values: Vec::new(), ..*self };
        let points = self.grid.points;
        for (row, slot) in self.slots.iter().enumerate() {
            if wanted(*slot) {
                filtered.slots.push(*slot);
                filtered.values.extend_from_slice(&self.values[row * points..(row + 1) * points]);
            }
        }
        filtered
    }

    /// Finite values.
    #[must_use]
    pub fn valid_samples(&self) -> u64 {
        self.values.iter().filter(|value| value.is_finite()).count() as u64
    }
}
