//! Arithmetic on vectors whose lengths are multiples of [`LANES`], in a fixed order: lane by lane, the lanes pairwise at the end.
//!
//! What takes the time of a fit runs with the widest registers that the processor has ([`widest`]). They change how many lanes
//! are worked on in one instruction, not what is computed in a lane, so the bits are the same everywhere; the compiler never
//! fuses a product and a sum by itself.

/// Numbers that are worked on side by side.
pub(crate) const LANES: usize = 8;

/// The next multiple of [`LANES`].
pub(crate) const fn padded(len: usize) -> usize {
    len.div_ceil(LANES) * LANES
}

/// Runs code compiled for the widest registers; what it calls must be `inline(always)` to be part of that.
#[inline(always)]
pub(crate) fn widest<R>(code: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(code)
}

/// The sum of the lanes.
#[inline]
pub(crate) fn sum(lanes: [f64; LANES]) -> f64 {
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + b) + (c + d)) + ((e + f) + (g + h))
}

#[inline]
pub(crate) fn dot(one: &[f64], other: &[f64]) -> f64 {
    let mut lanes = [0.0; LANES];
    for (one, other) in one.as_chunks::<LANES>().0.iter().zip(other.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            lanes[lane] += one[lane] * other[lane];
        }
    }
    sum(lanes)
}

/// `target += factor * vector`.
#[inline]
pub(crate) fn add_scaled(target: &mut [f64], factor: f64, vector: &[f64]) {
    for (target, vector) in target.iter_mut().zip(vector) {
        *target += factor * vector;
    }
}

/// `out = one - other`.
#[inline]
pub(crate) fn subtract(out: &mut [f64], one: &[f64], other: &[f64]) {
    for ((out, one), other) in out.iter_mut().zip(one).zip(other) {
        *out = one - other;
    }
}

/// A symmetric matrix, column after column of `stride` numbers.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Symmetric {
    /// A multiple of [`LANES`]; what lies beyond the matrix is 0.
    pub(crate) stride: usize,
    pub(crate) entries: Vec<f64>,
}

impl Symmetric {
    pub(crate) fn zero(dimension: usize) -> Self {
        let stride = padded(dimension);
        Self { stride, entries: vec![0.0; stride * stride] }
    }

    pub(crate) fn at(&self, row: usize, column: usize) -> f64 {
        self.entries[column * self.stride + row]
    }

    pub(crate) fn set(&mut self, row: usize, column: usize, value: f64) {
        self.entries[column * self.stride + row] = value;
        self.entries[row * self.stride + column] = value;
    }

    /// Copies what is above the diagonal (a column's entries beyond it) below.
    pub(crate) fn mirror(&mut self) {
        for column in 0..self.stride {
            for row in 0..column {
                self.entries[column * self.stride + row] = self.entries[row * self.stride + column];
            }
        }
    }

    /// `out = self * vector`; both are `stride` long.
    #[inline]
    pub(crate) fn multiply(&self, vector: &[f64], out: &mut [f64]) {
        multiply(&self.entries, self.stride, vector, out);
    }
}

/// `out = matrix * vector` for a matrix of columns of `stride` numbers.
///
/// Each element of `out` is summed in the order of the columns, so the bits do not depend on the width of the registers.
#[inline]
pub(crate) fn multiply(matrix: &[f64], stride: usize, vector: &[f64], out: &mut [f64]) {
    widest(
        #[inline(always)]
        || multiply_all(matrix, stride, vector, out),
    );
}

#[inline(always)]
fn multiply_all(matrix: &[f64], stride: usize, vector: &[f64], out: &mut [f64]) {
    const ROWS: usize = 2 * LANES;
    let (wide, rest) = out.split_at_mut(stride / ROWS * ROWS);
    for (block, out) in wide.as_chunks_mut::<ROWS>().0.iter_mut().enumerate() {
        multiply_rows(matrix, stride, block * ROWS, vector, out);
    }
    if let Some(out) = rest.first_chunk_mut::<LANES>() {
        multiply_rows(matrix, stride, stride - LANES, vector, out);
    }
}

#[inline(always)]
fn multiply_rows<const N: usize>(matrix: &[f64], stride: usize, row: usize, vector: &[f64], out: &mut [f64; N]) {
    let mut sums = [0.0; N];
    for (column, factor) in matrix.chunks_exact(stride).zip(vector) {
        if let Some(column) = column[row..].first_chunk::<N>() {
            for lane in 0..N {
                sums[lane] += column[lane] * factor;
            }
        }
    }
    *out = sums;
}

/// `out += rows' * rows`, the entries on and above the diagonal; a row has `out.stride` numbers.
pub(crate) fn add_squares(rows: &[f64], out: &mut Symmetric) {
    /// Rows that stay in the cache while all pairs of their columns are multiplied.
    const CHUNK: usize = 64;
    let stride = out.stride;
    for chunk in rows.chunks(CHUNK * stride) {
        widest(
            #[inline(always)]
            || {
                for column in (0..stride).step_by(LANES) {
                    for row in (0..column + LANES).step_by(LANES / 2) {
                        add_tile(chunk, row, column, out);
                    }
                }
            },
        );
    }
}

/// Adds the products of the columns from `left` on with those from `right` on.
#[inline(always)]
fn add_tile(rows: &[f64], left: usize, right: usize, out: &mut Symmetric) {
    let stride = out.stride;
    let mut sums = [[0.0; LANES]; LANES / 2];
    for row in rows.chunks_exact(stride) {
        let (Some(one), Some(other)) = (row[left..].first_chunk::<4>(), row[right..].first_chunk::<LANES>()) else {
            return;
        };
        for (sums, factor) in sums.iter_mut().zip(one) {
            for lane in 0..LANES {
                sums[lane] += factor * other[lane];
            }
        }
    }
    for (index, sums) in sums.iter().enumerate() {
        // Column `left + index` of a symmetric matrix is its row.
        for (entry, sum) in out.entries[(left + index) * stride + right..].iter_mut().zip(sums) {
            *entry += sum;
        }
    }
}

/// The lower triangle `L` of `L L' = matrix + ridge * diagonal(matrix)`, for the first `dimension` rows.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Cholesky {
    dimension: usize,
    /// Row by row.
    entries: Vec<f64>,
}

impl Cholesky {
    /// Rows whose pivot vanishes are left out of the solution: their unknowns are 0.
    pub(crate) fn new(matrix: &Symmetric, dimension: usize, ridge: f64) -> Self {
        let mut entries = vec![0.0; dimension * dimension];
        for row in 0..dimension {
            let (done, current) = entries.split_at_mut(row * dimension);
            let current = &mut current[..dimension];
            for column in 0..row {
                let other = &done[column * dimension..][..dimension];
                let pivot = other[column];
                let rest = matrix.at(row, column) - narrow_dot(&current[..column], &other[..column]);
                current[column] = if pivot > 0.0 { rest / pivot } else { 0.0 };
            }
            let diagonal = matrix.at(row, row);
            let rest = diagonal * (1.0 + ridge) - narrow_dot(&current[..row], &current[..row]);
            current[row] = if rest > 0.5 * ridge * diagonal { rest.sqrt() } else { 0.0 };
        }
        Self { dimension, entries }
    }

    /// Replaces the right side by the solution.
    pub(crate) fn solve(&self, side: &mut [f64]) {
        let row_of = |row: usize| &self.entries[row * self.dimension..][..self.dimension];
        for row in 0..self.dimension {
            let entries = row_of(row);
            let rest = side[row] - narrow_dot(&entries[..row], &side[..row]);
            side[row] = if entries[row] > 0.0 { rest / entries[row] } else { 0.0 };
        }
        for row in (0..self.dimension).rev() {
            let entries = row_of(row);
            side[row] = if entries[row] > 0.0 { side[row] / entries[row] } else { 0.0 };
            let value = side[row];
            for (side, entry) in side[..row].iter_mut().zip(&entries[..row]) {
                *side -= value * entry;
            }
        }
    }
}

/// [`dot`] of vectors of any length.
#[inline]
fn narrow_dot(one: &[f64], other: &[f64]) -> f64 {
    let ((one, one_rest), (other, other_rest)) = (one.as_chunks::<LANES>(), other.as_chunks::<LANES>());
    let mut lanes = [0.0; LANES];
    for (one, other) in one.iter().zip(other) {
        for lane in 0..LANES {
            lanes[lane] += one[lane] * other[lane];
        }
    }
    let rest: f64 = one_rest.iter().zip(other_rest).map(|(one, other)| one * other).sum();
    sum(lanes) + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn wide_registers_give_the_bits_of_narrow_ones(
            numbers in prop::collection::vec(-1e3..1e3_f64, 40 * 41),
            stride in (1..=5_usize).prop_map(|blocks| blocks * LANES),
        ) {
            let (matrix, vector) = (&numbers[..stride * stride], &numbers[1600..1600 + stride]);
            let (mut wide, mut narrow) = (vec![0.0; stride], vec![0.0; stride]);
            multiply(matrix, stride, vector, &mut wide);
            multiply_all(matrix, stride, vector, &mut narrow);
            prop_assert_eq!(&wide, &narrow);
            for row in 0..stride {
                let exact = (0..stride).fold(0.0, |sum, column| sum + matrix[column * stride + row] * vector[column]);
                prop_assert_eq!(wide[row], exact);
            }
        }

        #[test]
        fn squares_and_solutions_are_those_of_the_definitions(
            numbers in prop::collection::vec(-1.0..1.0_f64, 100 * LANES),
        ) {
            let mut squares = Symmetric::zero(LANES);
            add_squares(&numbers, &mut squares);
            squares.mirror();
            for (one, other) in [(0, 0), (2, 5), (7, 3)] {
                let exact: f64 = numbers.chunks_exact(LANES).map(|row| row[one] * row[other]).sum();
                prop_assert!((squares.at(one, other) - exact).abs() < 1e-12);
            }
            let side: Vec<f64> = numbers[..LANES].to_vec();
            let mut solution = side.clone();
            Cholesky::new(&squares, LANES, 1e-9).solve(&mut solution);
            let mut product = vec![0.0; LANES];
            squares.multiply(&solution, &mut product);
            for (product, side) in product.iter().zip(&side) {
                prop_assert!((product - side).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn a_column_that_depends_on_others_leaves_the_rest_solvable() {
        let mut matrix = Symmetric::zero(3);
        // The columns (1, 0), (0, 2) and (0, 0).
        matrix.set(0, 0, 1.0);
        matrix.set(1, 1, 4.0);
        let mut side = [2.0, 8.0, 0.0];
        Cholesky::new(&matrix, 3, 1e-12).solve(&mut side);
        assert!((side[0] - 2.0).abs() < 1e-9 && (side[1] - 2.0).abs() < 1e-9 && side[2] == 0.0);
    }
}
