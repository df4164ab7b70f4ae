//! A forest of one feature, merged: the sum of the path lengths is a step function of the feature, so that one search through
//! the thresholds of all trees gives what going down each of them would, bit for bit.

use super::MAX_ESTIMATORS;
use super::forest::{BLOCK, Forest};
use super::path::PATH_END;
use super::tree::{Node, key};
use crate::model::StateError;
use crate::state::{Reader, Writer, require};

/// Bytes of a saved staircase of so many steps.
pub(super) const fn staircase_bytes(steps: usize) -> usize {
    4 * 3 + 8 * steps
}

/// The sum of the path lengths by the key of the feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Staircase {
    /// The sum of the path lengths of the average row.
    average_sum: u32,
    /// Ascending; the steps are beyond them.
    thresholds: Vec<u32>,
    /// The sum up to each threshold, and that beyond all of them.
    sums: Vec<u32>,
}

impl Staircase {
    /// Merges the trees of a forest of one feature.
    pub(super) fn new(forest: &Forest) -> Self {
        let mut lowest = 0;
        let mut changes = Vec::new();
        for nodes in forest.trees() {
            let mut before = None;
            in_order(nodes, 0, &mut |path, threshold| {
                match before {
                    Some((path_before, threshold)) => changes.push((threshold, path as i32 - path_before as i32)),
                    None => lowest += path,
                }
                before = threshold.map(|threshold| (path, threshold));
            });
        }
        changes.sort_unstable();
        let mut thresholds = Vec::with_capacity(changes.len());
        let mut sums = Vec::with_capacity(changes.len() + 1);
        sums.push(lowest);
        let mut sum = lowest;
        for step in changes.chunk_by(|one, other| one.0 == other.0) {
            let before = sum;
            for (_, change) in step {
                sum = sum.wrapping_add_signed(*change);
            }
            if sum != before {
                thresholds.push(step[0].0);
                sums.push(sum);
            }
        }
        thresholds.shrink_to_fit();
        sums.shrink_to_fit();
        Self { average_sum: forest.average_sum(), thresholds, sums }
    }

    /// The sums of the path lengths of the first `rows` of a block of keys.
    pub(super) fn path_sums(&self, block: &[u32], rows: usize) -> [u32; BLOCK] {
        let mut sums = [0; BLOCK];
        for (sum, key) in sums.iter_mut().zip(&block[..rows]) {
            *sum = self.sums[self.thresholds.partition_point(|threshold| threshold < key)];
        }
        sums
    }

    pub(super) fn average_sum(&self) -> u32 {
        self.average_sum
    }

    pub(super) fn has_steps(&self) -> bool {
        !self.thresholds.is_empty()
    }

    /// Appends the staircase to a state.
    pub(super) fn save(&self, writer: &mut Writer<'_>) {
        writer.u32(self.average_sum);
        writer.u32(self.thresholds.len() as u32);
        self.thresholds.iter().for_each(|threshold| writer.u32(*threshold));
        self.sums.iter().for_each(|sum| writer.u32(*sum));
    }

    /// Takes a staircase from a state.
    pub(super) fn load(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let sums_end = PATH_END * MAX_ESTIMATORS;
        let average_sum = reader.u32()?;
        require(average_sum < sums_end, "the average path is out of range")?;
        let steps = reader.u32()? as usize;
        require(reader.remaining() == staircase_bytes(steps) - 8, "the number of steps is not that of the bytes")?;
        let thresholds = (0..steps).map(|_| reader.u32()).collect::<Result<Vec<_>, StateError>>()?;
        let sums = (0..=steps).map(|_| reader.u32()).collect::<Result<Vec<_>, StateError>>()?;
        require(thresholds.is_sorted_by(|one, other| one < other), "the thresholds are not in order")?;
        let range = key(f32::MIN)..key(f32::MAX);
        require(thresholds.iter().all(|key| range.contains(key)), "a threshold is not between two numbers")?;
        require(sums.iter().all(|sum| *sum < sums_end), "a path is out of range")?;
        require(sums.windows(2).all(|pair| pair[0] != pair[1]), "a step has no height")?;
        Ok(Self { average_sum, thresholds, sums })
    }

    pub(super) fn heap_bytes(&self) -> usize {
        4 * (self.thresholds.capacity() + self.sums.capacity())
    }
}

/// Visits the leaves below a node from left to right: their paths, and the thresholds that they end at.
fn in_order(nodes: &[Node], root: usize, visit: &mut impl FnMut(u32, Option<u32>)) {
    // Nodes to go on with, and the thresholds that their last leaves end at.
    let mut rest = vec![(root, None)];
    while let Some((own, end)) = rest.pop() {
        match (nodes[own].leaf_path(), nodes[own].split()) {
            (None, Some((threshold, _, child))) => {
                rest.push((usize::from(child) + 1, end));
                rest.push((usize::from(child), Some(threshold)));
            }
            (path, _) => visit(path.unwrap_or(0), end),
        }
    }
}
