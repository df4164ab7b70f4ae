//! One isolation tree: how it is laid out, grown, saved and loaded.

use super::path::{PATH_END, PathLengths};
use crate::model::StateError;
use crate::random::Random;
use crate::state::{Reader, Writer, require};

/// A feature as a whole number in the order of the numbers, so that a comparison and an addition make a step down a tree. The
/// zeros are one number. Finite features are below [`LEAF`].
pub(super) fn key(feature: f32) -> u32 {
    let bits = (feature + 0.0).to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

/// The keys from which on a node's threshold is a leaf's path length: those of infinity and the NaNs, which no feature is above.
const LEAF: u32 = 0xff80_0000;

/// The most nodes that a tree can have: its [`Node::child`] is a `u16`.
const MAX_NODES: usize = 1 << 16;

/// Marks a leaf in a saved tree; all lower bits are the number of its samples, less one.
const LEAF_MARK: u16 = 1 << 15;

/// The most features that rows can have.
pub(super) const MAX_FEATURES: usize = LEAF_MARK as usize;

/// Features that differ by no more than this are one value to a split, as in scikit-learn.
const CONSTANT_WIDTH: f32 = 1e-7;

/// A node: a row goes on to `child` if its feature is at most the threshold, and to the next node after it otherwise. At a
/// leaf, whose child is itself and which nothing is above, every row stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node {
    threshold: u32,
    feature: u16,
    /// Index within the tree.
    child: u16,
}

impl Node {
    /// The path length of a leaf.
    pub(super) fn leaf_path(self) -> Option<u32> {
        (self.threshold >= LEAF).then_some(self.threshold & !LEAF)
    }

    /// Threshold, feature and child of an inner node.
    pub(super) fn split(self) -> Option<(u32, u16, u16)> {
        (self.threshold < LEAF).then_some((self.threshold, self.feature, self.child))
    }

    fn leaf(path: u32, own: usize) -> Self {
        debug_assert!(path < PATH_END && own < MAX_NODES);
        Self { threshold: LEAF + path, feature: 0, child: own as u16 }
    }
}

/// Takes rows, as the keys of their features, down a tree and adds their path lengths to their sums. `depth` is at least the
/// tree's. The rows go side by side, so that the steps of one need not wait for another's.
#[inline]
pub(super) fn descend<const LANES: usize>(nodes: &[Node], depth: u8, rows: [&[u32]; LANES], sums: &mut [u32]) {
    let mut at = [0; LANES];
    for _ in 0..depth {
        for (at, row) in at.iter_mut().zip(rows) {
            let node = &nodes[*at];
            *at = usize::from(node.child) + usize::from(row[usize::from(node.feature)] > node.threshold);
        }
    }
    for (at, sum) in at.iter().zip(sums) {
        *sum += nodes[*at].threshold & !LEAF;
    }
}

/// Rows of as many features each, one after another; all finite.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) features: usize,
    pub(super) values: &'a [f32],
}

impl<'a> Rows<'a> {
    pub(super) fn len(self) -> usize {
        self.values.len() / self.features.max(1)
    }

    fn row(self, row: usize) -> &'a [f32] {
        &self.values[row * self.features..][..self.features]
    }
}

/// What a tree is grown from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draw {
    /// Rows; from 1 to the number there are.
    pub(super) rows: usize,
    /// Features; from 1 to the number there are.
    pub(super) features: usize,
    /// Whether rows are drawn with replacement.
    pub(super) bootstrap: bool,
}

/// The samples `order[start..end]` of a tree that is being grown.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
    depth: u8,
}

/// Grows trees, one after another, in memory that it keeps.
#[derive(Debug)]
pub(super) struct Grower<'a> {
    rows: Rows<'a>,
    draw: Draw,
    paths: &'a PathLengths,
    /// All rows, the drawn ones first.
    permutation: Vec<u32>,
    /// All features, the drawn ones first, and of those the ones that vary in the sample first.
    candidates: Vec<u16>,
    /// The sample, feature by feature.
    columns: Vec<f32>,
    /// The sample's rows, so that each node's are side by side.
    order: Vec<u16>,
    /// The splitting feature of a node's rows.
    values: Vec<f32>,
    /// A node's rows beyond its threshold.
    beyond: Vec<u16>,
    /// The samples of every node.
    spans: Vec<Span>,
}

impl<'a> Grower<'a> {
    pub(super) fn new(rows: Rows<'a>, draw: Draw, paths: &'a PathLengths) -> Self {
        Self {
            rows,
            draw,
            paths,
            permutation: (0..rows.len() as u32).collect(),
            candidates: (0..rows.features as u16).collect(),
            columns: vec![0.0; draw.rows * rows.features],
            order: Vec::with_capacity(draw.rows),
            values: vec![0.0; draw.rows],
            beyond: vec![0; draw.rows],
            spans: Vec::with_capacity(2 * draw.rows),
        }
    }

    /// Appends the nodes of a tree and returns its depth. Nodes come level by level, so the children of the inner nodes, in
    /// their order, are the pairs of nodes from index 1 on.
    pub(super) fn grow(&mut self, random: &mut Random, nodes: &mut Vec<Node>) -> u8 {
        let sample = self.draw_sample(random);
        let varying = self.draw_features(random, sample);
        let max_depth = self.paths.max_depth();
        let root = nodes.len();
        self.order.clear();
        self.order.extend(0..sample as u16);
        self.spans.clear();
        self.spans.push(Span { start: 0, end: sample, depth: 0 });
        let mut own = 0;
        let mut depth = 0;
        while let Some(span) = self.spans.get(own).copied() {
            depth = span.depth;
            let count = span.end - span.start;
            let split = if depth < max_depth && count > 1 { self.split(random, span, varying) } else { None };
            nodes.push(match split {
                Some((feature, threshold, middle)) => {
                    let child = self.spans.len() as u16;
                    self.spans.push(Span { end: middle, depth: depth + 1, ..span });
                    self.spans.push(Span { start: middle, depth: depth + 1, ..span });
                    Node { threshold: key(threshold), feature, child }
                }
                None => Node::leaf(self.paths.path(depth, count), own),
            });
            own += 1;
        }
        debug_assert_eq!(nodes.len() - root, self.spans.len());
        depth
    }

    /// Copies the rows of a sample into columns and returns how many they are.
    fn draw_sample(&mut self, random: &mut Random) -> usize {
        let Draw { rows, bootstrap, .. } = self.draw;
        let sample = if bootstrap {
            // A row that is drawn again is left where it is: the distinct ones come first.
            let mut distinct = 0;
            for _ in 0..rows {
                let drawn = random.below(self.permutation.len());
                if drawn >= distinct {
                    self.permutation.swap(distinct, drawn);
                    distinct += 1;
                }
            }
            distinct
        } else {
            for place in 0..rows {
                let drawn = place + random.below(self.permutation.len() - place);
                self.permutation.swap(place, drawn);
            }
            rows
        };
        for (place, row) in self.permutation[..sample].iter().enumerate() {
            for (column, value) in self.rows.row(*row as usize).iter().enumerate() {
                self.columns[column * rows + place] = *value;
            }
        }
        sample
    }

    /// Draws the tree's features and returns how many of them vary in the sample.
    fn draw_features(&mut self, random: &mut Random, sample: usize) -> usize {
        let drawn = self.draw.features;
        if drawn < self.candidates.len() {
            for place in 0..drawn {
                let other = place + random.below(self.candidates.len() - place);
                self.candidates.swap(place, other);
            }
        }
        let mut varying = 0;
        for place in 0..drawn {
            let start = usize::from(self.candidates[place]) * self.draw.rows;
            if !is_constant(range(self.columns[start..][..sample].iter().copied())) {
                self.candidates.swap(varying, place);
                varying += 1;
            }
        }
        varying
    }

    /// Draws a feature among those that vary in the node, and a threshold between its ends; `None` if none varies. Returns
    /// both, and where the rows beyond the threshold start.
    fn split(&mut self, random: &mut Random, span: Span, varying: usize) -> Option<(u16, f32, usize)> {
        let count = span.end - span.start;
        for place in 0..varying {
            let drawn = place + random.below(varying - place);
            self.candidates.swap(place, drawn);
            let feature = self.candidates[place];
            let column = &self.columns[usize::from(feature) * self.draw.rows..][..self.draw.rows];
            let order = &mut self.order[span.start..span.end];
            let values = &mut self.values[..count];
            for (value, row) in values.iter_mut().zip(order.iter()) {
                *value = column[usize::from(*row)];
            }
            let (low, high) = range(values.iter().copied());
            if is_constant((low, high)) {
                continue;
            }
            let threshold = threshold(low, high, random.uniform());
            let (mut within, mut beyond) = (0, 0);
            for at in 0..count {
                let row = order[at];
                let is_beyond = values[at] > threshold;
                order[within] = row;
                self.beyond[beyond] = row;
                within += usize::from(!is_beyond);
                beyond += usize::from(is_beyond);
            }
            order[within..].copy_from_slice(&self.beyond[..beyond]);
            return Some((feature, threshold, span.start + within));
        }
        None
    }
}

/// The least and the greatest value.
fn range(values: impl Iterator<Item = f32>) -> (f32, f32) {
    values.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), value| {
        (if value < low { value } else { low }, if value > high { value } else { high })
    })
}

fn is_constant((low, high): (f32, f32)) -> bool {
    high <= low + CONSTANT_WIDTH
}

/// The point at `share`, in [0, 1), of the way from `low` to `high`, rounded down to an `f32`: which rows are above it stays as it
/// is. At least `low` and below `high`.
fn threshold(low: f32, high: f32, share: f64) -> f32 {
    let exact = (f64::from(high) - f64::from(low)) * share + f64::from(low);
    if exact >= f64::from(high) {
        return low;
    }
    let rounded = exact as f32;
    if f64::from(rounded) > exact { rounded.next_down() } else { rounded }
}

/// Appends a tree to a state: each node's feature and threshold, or [`LEAF_MARK`] and its number of samples. Children are not
/// written: see [`Grower::grow`].
pub(super) fn save(nodes: &[Node], paths: &PathLengths, writer: &mut Writer<'_>) {
    let mut depths = vec![0_u8; nodes.len()];
    for (own, node) in nodes.iter().enumerate() {
        match (node.leaf_path(), node.split()) {
            (Some(path), _) => writer.u16(LEAF_MARK | (paths.samples(depths[own], path) - 1) as u16),
            (None, Some((threshold, feature, child))) => {
                let below = depths[own] + 1;
                depths[usize::from(child)..][..2].fill(below);
                writer.u16(feature);
                writer.u32(threshold);
            }
            (None, None) => {}
        }
    }
}

/// Appends the nodes of a saved tree and returns its depth.
pub(super) fn load(
    reader: &mut Reader<'_>,
    features: usize,
    paths: &PathLengths,
    nodes: &mut Vec<Node>,
) -> Result<u8, StateError> {
    let mut depths = vec![0_u8];
    let mut samples = 0;
    let mut own = 0;
    let mut depth = 0;
    while let Some(own_depth) = depths.get(own).copied() {
        depth = own_depth;
        let word = reader.u16()?;
        if word & LEAF_MARK != 0 {
            let count = usize::from(word & !LEAF_MARK) + 1;
            samples += count;
            require(samples <= paths.max_samples(), "a tree has more samples than were drawn")?;
            nodes.push(Node::leaf(paths.path(depth, count), own));
        } else {
            require(usize::from(word) < features, "a node splits by a feature that there is not")?;
            require(depth < paths.max_depth(), "a tree is too deep")?;
            let threshold = reader.u32()?;
            require((key(f32::MIN)..key(f32::MAX)).contains(&threshold), "a threshold is not between two numbers")?;
            require(depths.len() + 2 < MAX_NODES, "a tree is too large")?;
            nodes.push(Node { threshold, feature: word, child: depths.len() as u16 });
            depths.extend([depth + 1; 2]);
        }
        own += 1;
    }
    Ok(depth)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn grown(rows: Rows<'_>, draw: Draw, seed: u64) -> (PathLengths, Vec<Node>, u8) {
        let paths = PathLengths::new(draw.rows);
        let mut nodes = Vec::new();
        let depth = Grower::new(rows, draw, &paths).grow(&mut Random::stream(seed, 0), &mut nodes);
        (paths, nodes, depth)
    }

    /// The samples of each leaf.
    fn leaves(paths: &PathLengths, nodes: &[Node]) -> Vec<usize> {
        let mut depths = vec![0; nodes.len()];
        let mut leaves = Vec::new();
        for (own, node) in nodes.iter().enumerate() {
            if let Some((_, _, child)) = node.split() {
                let below = depths[own] + 1;
                depths[usize::from(child)..][..2].fill(below);
            }
            leaves.extend(node.leaf_path().map(|path| paths.samples(depths[own], path)));
        }
        leaves
    }

    const ALL: Draw = Draw { rows: 8, features: 2, bootstrap: false };

    #[test]
    fn a_split_is_drawn_among_the_features_that_vary() {
        // The first feature is constant, and the second within what counts as constant.
        let values: Vec<f32> = (0..8).flat_map(|row| [3.0, 1e-8 * row as f32, row as f32]).collect();
        let rows = Rows { features: 3, values: &values };
        for seed in 0..20 {
            let (_, nodes, _) = grown(rows, Draw { features: 3, ..ALL }, seed);
            assert!(nodes.len() > 1 && nodes.iter().filter_map(|node| node.split()).all(|split| split.1 == 2));
        }
    }

    #[test]
    fn a_tree_of_one_value_is_a_leaf() {
        let rows = Rows { features: 2, values: &[7.0; 16] };
        let (paths, nodes, depth) = grown(rows, ALL, 1);
        assert_eq!((nodes, depth), (vec![Node::leaf(paths.path(0, 8), 0)], 0));
    }

    #[test]
    fn a_bootstrap_counts_a_row_once() {
        let values: Vec<f32> = (0..100).map(|row| row as f32).collect();
        let rows = Rows { features: 1, values: &values };
        let (paths, nodes, _) = grown(rows, Draw { rows: 100, features: 1, bootstrap: true }, 1);
        // 100 draws of 100 rows find some 63 of them.
        assert!((50..80).contains(&leaves(&paths, &nodes).iter().sum::<usize>()));
    }

    fn finite() -> impl Strategy<Value = f32> {
        prop_oneof![-10.0..10.0_f32, (-2..2).prop_map(|value| value as f32), prop::num::f32::NORMAL]
    }

    proptest! {
        #[test]
        fn keys_have_the_order_of_the_numbers(one in finite(), other in finite()) {
            prop_assert_eq!(key(one) > key(other), one > other);
            prop_assert!(key(one) < LEAF);
        }

        #[test]
        fn a_threshold_lies_between_the_ends(one in finite(), other in finite(), share in 0.0..1.0_f64) {
            prop_assume!(one != other);
            let (low, high) = (one.min(other), one.max(other));
            let threshold = threshold(low, high, share);
            prop_assert!(low <= threshold && threshold < high);
        }

        #[test]
        fn every_sample_is_in_one_leaf_and_a_saved_tree_is_loaded_as_it_was(
            values in prop::collection::vec(finite(), 16..200), seed in any::<u64>()
        ) {
            let values = &values[..values.len() / 2 * 2];
            let rows = Rows { features: 2, values };
            let (paths, nodes, depth) = grown(rows, Draw { rows: rows.len(), ..ALL }, seed);
            prop_assert!(depth <= paths.max_depth());
            prop_assert_eq!(leaves(&paths, &nodes).iter().sum::<usize>(), rows.len());

            let format = crate::state::Format { tag: *b"te", version: 1 };
            let mut bytes = Vec::new();
            save(&nodes, &paths, &mut Writer::new(format, &mut bytes));
            let mut reader = Reader::new(format, &bytes).unwrap();
            let mut loaded = Vec::new();
            prop_assert_eq!(load(&mut reader, 2, &paths, &mut loaded), Ok(depth));
            prop_assert_eq!(reader.finish(), Ok(()));
            prop_assert_eq!(loaded, nodes);
        }
    }
}
