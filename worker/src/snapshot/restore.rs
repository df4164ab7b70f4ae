//! Reading the snapshots back after a start.

use std::collections::{BTreeMap, BTreeSet};

use super::block::{self, Block, BlockSeries, Identity, Unreadable};
use super::manifest::{self, Generation, Generations, Key, Manifest};
use super::{Files, SnapshotError, name};
use crate::disk::format::check_folder;
use crate::environment::{Disk, DiskError};

/// At most this many problems are described; the rest is counted.
const MAX_PROBLEMS: usize = 100;

/// What the snapshots hold.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// The newest readable generation of every block, sorted by job and index.
    pub blocks: Vec<Block>,
    /// The blocks whose newest generation could not be read.
    pub damaged: Vec<DamagedBlock>,
    /// How many they are.
    pub damaged_blocks: u64,
    /// Of these, those whose older generation is in `blocks`.
    pub older_generations_used: u64,
    /// Manifests that could not be read; the block files then say themselves what they are.
    pub damaged_manifests: u64,
    /// What is wrong where, for the log; at most 100.
    pub problems: Vec<String>,
}

/// A block whose newest generation could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedBlock {
    /// Scheduler and query.
    pub job: String,
    /// Which of its blocks.
    pub index: u32,
    /// The series that it held: those of the newest generation if that part of its file is intact, otherwise those
    /// of the older one; `None` if neither can be read.
    pub series: Option<Vec<BlockSeries>>,
    /// The watermark of the older generation, if that one is restored: what the log has since then brings its
    /// series up to date. `None`: their states are lost.
    pub restored_watermark: Option<i64>,
}

impl Restored {
    fn problem(&mut self, problem: String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }
}

/// The folder of the snapshots, read.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) restored: Restored,
    pub(super) manifest: Manifest,
    pub(super) files: Files,
}

/// The block files by folder: index and commit.
type Folders = BTreeMap<String, BTreeSet<(u32, u64)>>;

pub(super) async fn read<D: Disk>(disk: &D) -> Result<Read, SnapshotError> {
    let mut read = Read::default();
    if let Some(problem) = check_folder(disk).await? {
        read.restored.problem(problem);
    }
    let manifests = read.list_manifests(disk).await?;
    let folders = read.list_blocks(disk).await?;
    let commits = folders.values().flatten().map(|(_, commit)| *commit).chain(manifests.iter().copied());
    read.files.next_commit = commits.max().unwrap_or(0) + 1;

    let is_newest_readable = read.read_manifest(disk, &manifests).await?;
    let lost = if is_newest_readable { Vec::new() } else { read.find_blocks(disk, &folders).await? };
    let listed = read.manifest.clone();
    read.read_blocks(disk).await?;
    read.add_lost(lost);

    let before = if is_newest_readable { manifests.iter().rev().nth(1).copied() } else { None };
    read.files.previous_manifest = before;
    let kept: BTreeSet<String> = read.manifest.paths().map(|(_, path)| path).collect();
    let listed: BTreeSet<String> = listed.paths().map(|(_, path)| path).collect();
    let unneeded_manifests = manifests.iter().rev().skip(if is_newest_readable { 2 } else { 0 });
    let (mut unneeded, mut superseded) = (BTreeSet::new(), BTreeSet::new());
    unneeded.extend(unneeded_manifests.map(|commit| name::manifest(*commit)));
    for (folder, file) in folders.iter().flat_map(|(folder, files)| files.iter().map(move |file| (folder, file))) {
        let path = block_path(folder, *file);
        if listed.contains(&path) && !kept.contains(&path) {
            superseded.insert(path);
        } else if !kept.contains(&path) {
            unneeded.insert(path);
        }
    }
    if !is_newest_readable {
        // What a damaged manifest does not say is better kept until there is a new one.
        superseded.append(&mut unneeded);
    }
    (read.files.unneeded, read.files.superseded) = (unneeded, superseded);
    Ok(read)
}

fn block_path(folder: &str, (index, commit): (u32, u64)) -> String {
    format!("{}/{folder}/{index}.{commit}", name::blocks())
}

impl Read {
    /// Commits of the manifests, ascending.
    async fn list_manifests<D: Disk>(&mut self, disk: &D) -> Result<Vec<u64>, SnapshotError> {
        let mut commits = Vec::new();
        for file in disk.list(name::folder()).await? {
            let path = format!("{}/{file}", name::folder());
            match name::parse_manifest(&file) {
                Some(commit) => commits.push(commit),
                None if path == name::blocks() || path == name::configurations() => {}
                None => self.restored.problem(format!("{path}: not a file of the snapshots, left alone")),
            }
        }
        commits.sort_unstable();
        Ok(commits)
    }

    async fn list_blocks<D: Disk>(&mut self, disk: &D) -> Result<Folders, SnapshotError> {
        let mut folders = Folders::new();
        for folder in disk.list(&name::blocks()).await? {
            let path = format!("{}/{folder}", name::blocks());
            for file in disk.list(&path).await? {
                match name::parse_block(&file) {
                    Some(parsed) => {
                        folders.entry(folder.clone()).or_default().insert(parsed);
                    }
                    None => self.restored.problem(format!("{path}/{file}: not a file of the snapshots, left alone")),
                }
            }
        }
        Ok(folders)
    }

    /// Takes the newest readable manifest; says whether that is the newest one.
    async fn read_manifest<D: Disk>(&mut self, disk: &D, commits: &[u64]) -> Result<bool, SnapshotError> {
        for commit in commits.iter().rev() {
            let path = name::manifest(*commit);
            match manifest::read(&path, &disk.read(&path).await?) {
                manifest::Read::Newer(newer) => return Err(newer.into()),
                manifest::Read::Manifest(manifest) if manifest.commit == *commit => {
                    self.manifest = manifest;
                    break;
                }
                manifest::Read::Manifest(_) | manifest::Read::Damaged => {
                    self.restored.damaged_manifests += 1;
                    self.restored.problem(format!("{path}: damaged, the blocks are searched for"));
                }
            }
        }
        Ok(commits.last().is_some_and(|newest| *newest == self.manifest.commit))
    }

    /// Adds to the manifest what the block files newer than it say of themselves.
    /// Returns the files that do not even say what they are.
    async fn find_blocks<D: Disk>(
        &mut self,
        disk: &D,
        folders: &Folders,
    ) -> Result<Vec<(String, u32, u64)>, SnapshotError> {
        let since = self.manifest.commit;
        let mut lost = Vec::new();
        for (folder, files) in folders {
            let mut identities = Vec::new();
            for file in files.iter().filter(|(_, commit)| *commit > since) {
                let path = block_path(folder, *file);
                match block::decode_identity(&path, &disk.read(&path).await?) {
                    Err(Unreadable::Newer(newer)) => return Err(newer.into()),
                    Ok(identity) if name::block(&identity.job, identity.index, identity.commit) == path => {
                        identities.push(identity);
                    }
                    Ok(_) | Err(Unreadable::Damaged { .. }) => lost.push((folder.clone(), file.0, file.1)),
                }
            }
            let commits = valid_commits(&identities, files);
            for identity in identities.into_iter().filter(|identity| commits.contains(&identity.commit)) {
                self.add_generation(identity);
            }
        }
        let exists = |job: &str, index: u32, generation: Generation| {
            folders.get(&name::escape(job)).is_some_and(|files| files.contains(&(index, generation.commit)))
        };
        self.manifest
            .blocks
            .retain(|(job, index), generations| generations.iter().any(|generation| exists(job, *index, generation)));
        Ok(lost)
    }

    /// Books the files that do not even say what they are, when only they could: by folder, index and commit.
    fn add_lost(&mut self, lost: Vec<(String, u32, u64)>) {
        for (folder, index, commit) in lost {
            self.restored.problem(format!("{}: damaged", block_path(&folder, (index, commit))));
            let job = name::unescape(&folder);
            let key = (job.clone().unwrap_or_default(), index);
            let known = self.manifest.blocks.get(&key).map(|generations| generations.current);
            if known.is_some_and(|current| current.commit > commit) {
                continue;
            }
            self.restored.damaged_blocks += 1;
            self.restored.older_generations_used += u64::from(known.is_some());
            let mut blocks = self.restored.blocks.iter();
            let block = blocks.find(|block| (block.job.as_str(), block.index) == (key.0.as_str(), index));
            let series = block.map(|block| block.series.clone());
            let restored_watermark = known.map(|current| current.watermark);
            self.restored.damaged.extend(job.map(|job| DamagedBlock { job, index, series, restored_watermark }));
        }
    }

    /// `identity` is newer than what the manifest knows, or newer generations were added in any order.
    fn add_generation(&mut self, identity: Identity) {
        let new = Generation { commit: identity.commit, watermark: identity.watermark };
        let key = (identity.job, identity.index);
        let known = self.manifest.blocks.get(&key).copied();
        let mut generations: Vec<Generation> = known.into_iter().flat_map(Generations::iter).chain([new]).collect();
        generations.sort_by_key(|generation| std::cmp::Reverse(generation.commit));
        if let Some((current, older)) = generations.split_first() {
            let generations = Generations { current: *current, previous: older.first().copied() };
            self.manifest.blocks.insert(key, generations);
        }
        self.manifest.commit = self.manifest.commit.max(new.commit);
    }

    /// Reads every block; leaves in the manifest the generations that may still be used.
    async fn read_blocks<D: Disk>(&mut self, disk: &D) -> Result<(), SnapshotError> {
        for (key, generations) in std::mem::take(&mut self.manifest.blocks) {
            let mut series = None;
            let mut readable = None;
            for (age, generation) in generations.iter().enumerate() {
                match read_block(disk, &key, generation).await? {
                    Ok(block) => {
                        readable = Some((age, generation, block));
                        break;
                    }
                    Err((what, of_block)) => {
                        let path = name::block(&key.0, key.1, generation.commit);
                        self.restored.problem(format!("{path}: {what}"));
                        series = series.or(of_block);
                    }
                }
            }
            let is_damaged = !matches!(&readable, Some((0, ..)));
            let restored_watermark = readable.as_ref().map(|(_, generation, _)| generation.watermark);
            if is_damaged {
                let series = series.or_else(|| readable.as_ref().map(|(_, _, block)| block.series.clone()));
                let (job, index) = key.clone();
                self.restored.damaged_blocks += 1;
                self.restored.older_generations_used += u64::from(restored_watermark.is_some());
                self.restored.damaged.push(DamagedBlock { job, index, series, restored_watermark });
            }
            if let Some((age, current, block)) = readable {
                let previous = generations.iter().nth(age + 1);
                self.manifest.blocks.insert(key, Generations { current, previous });
                self.restored.blocks.push(block);
            }
        }
        Ok(())
    }
}

/// A block, or what is wrong with its file and the series that it names.
type Reading = Result<Block, (&'static str, Option<Vec<BlockSeries>>)>;

async fn read_block<D: Disk>(disk: &D, key: &Key, generation: Generation) -> Result<Reading, SnapshotError> {
    let path = name::block(&key.0, key.1, generation.commit);
    let bytes = match disk.read(&path).await {
        Ok(bytes) => bytes,
        Err(DiskError::NotFound { .. }) => return Ok(Err(("missing", None))),
        Err(error) => return Err(error.into()),
    };
    match block::decode(&path, &bytes) {
        Ok((identity, block)) if is_of(&identity, key, generation) => Ok(Ok(block)),
        Ok(_) => Ok(Err(("it is another block than its name says", None))),
        Err(Unreadable::Newer(newer)) => Err(newer.into()),
        Err(Unreadable::Damaged { what, series }) => Ok(Err((what, series))),
    }
}

fn is_of(identity: &Identity, key: &Key, generation: Generation) -> bool {
    identity.job == key.0
        && identity.index == key.1
        && identity.commit == generation.commit
        && identity.watermark == generation.watermark
}

/// The commits of one job that took effect, as far as its files tell: the newest one if all its blocks are there, and
/// of those before it the ones that it and they name as their parents, or that are older than these.
fn valid_commits(identities: &[Identity], files: &BTreeSet<(u32, u64)>) -> BTreeSet<u64> {
    let mut of_commit: BTreeMap<u64, &Identity> = BTreeMap::new();
    for identity in identities {
        of_commit.insert(identity.commit, identity);
    }
    let mut valid = BTreeSet::new();
    let mut newest_possible = u64::MAX;
    for (commit, identity) in of_commit.into_iter().rev() {
        let blocks = files.iter().filter(|(_, other)| *other == commit).count();
        let is_whole = blocks >= identity.commit_blocks as usize;
        if commit <= newest_possible && (is_whole || !valid.is_empty()) {
            valid.insert(commit);
            newest_possible = identity.parent;
        }
    }
    valid
}
