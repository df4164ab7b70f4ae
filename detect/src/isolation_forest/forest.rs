//! Many isolation trees, and the sums of a row's paths through them.

use super::args::{GrowthArgs, MaxFeatures, MaxSamples};
use super::path::PathLengths;
use super::tree::{Draw, Grower, Node, Rows, descend, load, save};
use super::{MAX_ESTIMATORS, MAX_SAMPLES};
use crate::model::StateError;
use crate::random::Random;
use crate::state::{Reader, Writer, require};

/// Rows that go down a tree side by side: as many as there are registers for.
const LANES: usize = 8;

/// Rows that go through the forest at once, so that a tree is fetched once for all of them.
pub(super) const BLOCK: usize = 8 * LANES;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tree {
    /// Index of the root.
    start: u32,
    depth: u8,
}

/// Isolation trees. Those of one feature can be [merged](super::staircase).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Forest {
    features: usize,
    /// Samples that each tree was grown from.
    samples: usize,
    trees: Vec<Tree>,
    nodes: Vec<Node>,
}

impl Forest {
    /// Grows a forest from at least one row of 1 to [`super::tree::MAX_FEATURES`] features.
    pub(super) fn grow(rows: Rows<'_>, args: &GrowthArgs, seed: u64) -> Self {
        let samples = match args.max_samples {
            MaxSamples::Auto => 256,
            MaxSamples::Number(number) => number as usize,
            MaxSamples::Share(share) => (share * rows.len() as f64) as usize,
        };
        let features = match args.max_features {
            MaxFeatures::Number(number) => number as usize,
            MaxFeatures::Share(share) => (share * rows.features as f64) as usize,
        };
        let draw = Draw {
            rows: samples.clamp(1, rows.len().min(MAX_SAMPLES as usize)),
            features: features.clamp(1, rows.features),
            bootstrap: args.bootstrap,
        };
        let paths = PathLengths::new(draw.rows);
        let mut grower = Grower::new(rows, draw, &paths);
        let mut nodes = Vec::new();
        let tree = |index| {
            let start = nodes.len() as u32;
            let depth = grower.grow(&mut Random::stream(seed, index), &mut nodes);
            Tree { start, depth }
        };
        let trees = (0..u64::from(args.n_estimators.clamp(1, MAX_ESTIMATORS))).map(tree).collect();
        nodes.shrink_to_fit();
        Self { features: rows.features, samples: draw.rows, trees, nodes }
    }

    /// Whether any tree has a split.
    pub(super) fn has_splits(&self) -> bool {
        self.nodes.len() > self.trees.len()
    }

    /// The sum of the path lengths of the average row.
    pub(super) fn average_sum(&self) -> u32 {
        self.trees.len() as u32 * PathLengths::new(self.samples).average()
    }

    /// The nodes of each tree.
    pub(super) fn trees(&self) -> impl Iterator<Item = &[Node]> {
        self.parts().map(|(nodes, _)| nodes)
    }

    /// The nodes and the depth of each tree.
    fn parts(&self) -> impl Iterator<Item = (&[Node], u8)> {
        let ends = self.trees[1..].iter().map(|tree| tree.start as usize).chain([self.nodes.len()]);
        self.trees.iter().zip(ends).map(|(tree, end)| (&self.nodes[tree.start as usize..end], tree.depth))
    }

    /// The sums of the path lengths of the first `rows` of a block: rows of the keys of their features, one after another. There is
    /// room for [`BLOCK`] rows; what the others are does not matter.
    pub(super) fn path_sums(&self, block: &[u32], rows: usize) -> [u32; BLOCK] {
        let mut sums = [0; BLOCK];
        for (nodes, depth) in self.parts() {
            let lanes = block.chunks_exact(LANES * self.features).zip(sums.chunks_exact_mut(LANES));
            for (block, sums) in lanes.take(rows.div_ceil(LANES)) {
                let mut rows: [&[u32]; LANES] = [&[]; LANES];
                for (lane, row) in rows.iter_mut().enumerate() {
                    *row = &block[lane * self.features..][..self.features];
                }
                descend(nodes, depth, rows, sums);
            }
        }
        sums
    }

    /// Appends the forest to a state.
    pub(super) fn save(&self, writer: &mut Writer<'_>) {
        let paths = PathLengths::new(self.samples);
        writer.u32(self.trees.len() as u32);
        writer.u32(self.samples as u32);
        self.trees().for_each(|nodes| save(nodes, &paths, writer));
    }

    /// Takes a forest of rows with so many features from a state.
    pub(super) fn load(reader: &mut Reader<'_>, features: usize) -> Result<Self, StateError> {
        let trees = reader.u32()?;
        require((1..=MAX_ESTIMATORS).contains(&trees), "the number of trees is out of range")?;
        let samples = reader.u32()?;
        require((1..=MAX_SAMPLES).contains(&samples), "the number of samples is out of range")?;
        let samples = samples as usize;
        let paths = PathLengths::new(samples);
        let mut nodes = Vec::new();
        let tree = |_| {
            let start = nodes.len() as u32;
            let depth = load(reader, features, &paths, &mut nodes)?;
            Ok(Tree { start, depth })
        };
        let trees = (0..trees).map(tree).collect::<Result<_, StateError>>()?;
        nodes.shrink_to_fit();
        Ok(Self { features, samples, trees, nodes })
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.trees.capacity() * size_of::<Tree>() + self.nodes.capacity() * size_of::<Node>()
    }
}
