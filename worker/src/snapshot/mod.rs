//! Snapshots: the models' states on disk, as immutable block files and a manifest that says which of them count.
//!
//! Every change is a commit with a number of its own: first the new block files (`snapshot/blocks/<job>/<block>.<commit>`),
//! then the manifest (`snapshot/manifest.<commit>`), then files go that neither the current nor the previous
//! generation of a block needs. A crash in between leaves the state before or after. The manifest before is kept; should
//! both be damaged, the blocks are found by what they say themselves.

mod block;
mod manifest;
mod name;
mod restore;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::rc::Rc;

use tokio::sync::Mutex;

pub use self::block::{BLOCK_VERSION, Block, BlockSeries, MAX_SECTION_BYTES, ModelStates};
pub use self::manifest::MANIFEST_VERSION;
pub use self::restore::{DamagedBlock, Restored};

use self::manifest::{Generation, Generations, Manifest};
use crate::disk::format::{FolderError, HEADER_BYTES, Header, NewerFormat, header, read_header};
use crate::environment::{Disk, DiskError};

const CONFIGURATION_MAGIC: [u8; 8] = *b"VMANCFG\n";
const CONFIGURATION_VERSION: u32 = 1;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The disk failed. The store stays usable, with the state before: ask again.
    #[error("snapshot: {0}")]
    Disk(#[from] DiskError),
    /// A file or the folder is one of a newer release. Nothing was changed.
    #[error("snapshot: {0}")]
    Newer(#[from] NewerFormat),
    /// The block cannot be stored.
    #[error("snapshot: block {index} of job {job}: {what}")]
    Malformed {
        /// Scheduler and query.
        job: String,
        /// Which of its blocks.
        index: u32,
        /// What does not fit.
        what: &'static str,
    },
    /// A stored configuration cannot be read.
    #[error("snapshot: {path}: damaged")]
    Damaged {
        /// Path below the state folder.
        path: String,
    },
}

/// A block as its file holds it, for another worker.
///
/// # Errors
/// What makes it one that cannot be read back.
pub fn encode_block(block: &Block, blocks: u32) -> Result<Vec<u8>, &'static str> {
    block::encode(block, 0, 0, blocks)
}

/// What [`encode_block`] was given; `None` if the bytes are none of its.
#[must_use]
pub fn decode_block(bytes: &[u8]) -> Option<Block> {
    block::decode("", bytes).ok().map(|(_, block)| block)
}

impl From<FolderError> for SnapshotError {
    fn from(error: FolderError) -> Self {
        match error {
            FolderError::Newer(newer) => Self::Newer(newer),
            FolderError::Disk(disk) => Self::Disk(disk),
        }
    }
}

/// What a commit has to know of the files.
#[derive(Debug, Default)]
struct Files {
    /// Number of the next commit; none is used twice.
    next_commit: u64,
    /// Commit of the manifest before the current one, if its file is there.
    previous_manifest: Option<u64>,
    /// A manifest whose writing failed: it may be there or not, and must go before its blocks.
    abandoned_manifest: Option<u64>,
    /// Files that no manifest needs.
    unneeded: BTreeSet<String>,
    /// Files that nothing needs once the next manifest is there.
    superseded: BTreeSet<String>,
}

/// The snapshots of all jobs. Methods may be called concurrently; commits follow one another.
#[derive(Debug)]
pub struct SnapshotStore<D> {
    disk: Rc<D>,
    files: Mutex<Files>,
    /// What is durable. Borrowed between awaits only.
    manifest: RefCell<Manifest>,
}

impl<D: Disk> SnapshotStore<D> {
    /// Reads the newest readable generation of every block. Changes nothing but the mark of a new folder.
    ///
    /// # Errors
    /// [`SnapshotError::Newer`] when a file or the folder is one of a newer release: do not go on then.
    /// [`SnapshotError::Disk`] when the folder cannot be read.
    pub async fn open(disk: Rc<D>) -> Result<(Self, Restored), SnapshotError> {
        let read = restore::read(&*disk).await?;
        let store = Self { disk, files: Mutex::new(read.files), manifest: RefCell::new(read.manifest) };
        Ok((store, read.restored))
    }

    /// Stores one block, durably; see [`SnapshotStore::write_all`].
    ///
    /// # Errors
    /// As [`SnapshotStore::write_all`].
    pub async fn write(&self, block: &Block) -> Result<u64, SnapshotError> {
        self.write_all(std::slice::from_ref(block)).await
    }

    /// Stores blocks in one commit: after a crash either all of them are there or none. Returns the bytes written
    /// when they are durable. Of two blocks with equal job and index the last one counts.
    ///
    /// # Errors
    /// [`SnapshotError::Disk`] when the disk is full or fails; nothing has changed then, unless it failed in the very
    /// last step: a restart before the next commit may find the blocks. [`SnapshotError::Malformed`] for a block
    /// that cannot be stored.
    pub async fn write_all(&self, blocks: &[Block]) -> Result<u64, SnapshotError> {
        self.replace(blocks, None).await
    }

    /// Stores blocks and forgets all blocks of the job `gone`, in one commit.
    ///
    /// # Errors
    /// As [`SnapshotStore::write_all`].
    pub async fn replace(&self, blocks: &[Block], gone: Option<&str>) -> Result<u64, SnapshotError> {
        let blocks: BTreeMap<(&str, u32), &Block> =
            blocks.iter().map(|block| ((block.job.as_str(), block.index), block)).collect();
        if blocks.is_empty() {
            return Ok(0);
        }
        let mut files = self.files.lock().await;
        self.remove_unneeded(&mut files).await?;
        let result = self.write_blocks(&mut files, &blocks, gone).await;
        if result.is_err() {
            // The disk may be full of just these files. The caller gets the first error.
            let _ = self.remove_unneeded(&mut files).await;
        }
        result
    }

    /// Forgets all blocks of a job.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn remove_job(&self, job: &str) -> Result<(), SnapshotError> {
        let mut files = self.files.lock().await;
        let mut manifest = self.manifest.borrow().clone();
        manifest.blocks.retain(|(owner, _), _| owner != job);
        if manifest.blocks.len() == self.manifest.borrow().blocks.len() {
            return Ok(());
        }
        self.remove_unneeded(&mut files).await?;
        manifest.commit = files.next_commit;
        files.next_commit += 1;
        let gone = self.manifest.borrow().paths().filter(|(owner, _)| *owner == job).map(|(_, path)| path).collect();
        self.commit(&mut files, manifest).await?;
        // File by file: a folder would be removed later with the blocks that the job may have again by then.
        files.unneeded.extend::<Vec<String>>(gone);
        let _ = self.remove_unneeded(&mut files).await;
        let _ = self.disk.remove(&name::job(job)).await;
        Ok(())
    }

    /// The oldest watermark of the job's blocks, over both generations: the log must keep what is newer. `None` if
    /// the job has no block.
    #[must_use]
    pub fn oldest_watermark(&self, job: &str) -> Option<i64> {
        let manifest = self.manifest.borrow();
        let blocks = manifest.blocks.range((job.to_owned(), 0)..=(job.to_owned(), u32::MAX));
        blocks.flat_map(|(_, generations)| generations.iter()).map(|generation| generation.watermark).min()
    }

    /// Jobs that have blocks, sorted.
    #[must_use]
    pub fn jobs(&self) -> Vec<String> {
        let mut jobs: Vec<String> = self.manifest.borrow().blocks.keys().map(|(job, _)| job.clone()).collect();
        jobs.dedup();
        jobs
    }

    /// Keeps a configuration, durably. `json` is its canonical form, `digest` that form's.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn store_configuration(&self, digest: u64, json: &[u8]) -> Result<(), SnapshotError> {
        if self.configuration(digest).await.is_ok_and(|stored| stored.is_some_and(|stored| stored == json)) {
            return Ok(());
        }
        let mut bytes = header(CONFIGURATION_MAGIC, CONFIGURATION_VERSION).to_vec();
        bytes.extend_from_slice(&crc32c::crc32c(json).to_le_bytes());
        bytes.extend_from_slice(json);
        Ok(self.disk.write_atomic(&name::configuration(digest), &bytes).await?)
    }

    /// A stored configuration; `None` if there is none of this digest.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`] when it is damaged, [`SnapshotError::Newer`] when a newer release wrote it.
    pub async fn configuration(&self, digest: u64) -> Result<Option<Vec<u8>>, SnapshotError> {
        let path = name::configuration(digest);
        let bytes = match self.disk.read(&path).await {
            Ok(bytes) => bytes,
            Err(DiskError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match read_header(&path, &bytes, CONFIGURATION_MAGIC, CONFIGURATION_VERSION) {
            Header::Newer(newer) => return Err(newer.into()),
            Header::Damaged => return Err(SnapshotError::Damaged { path }),
            Header::Readable => {}
        }
        let content = bytes.get(HEADER_BYTES..).and_then(<[u8]>::split_first_chunk);
        match content {
            Some((checksum, json)) if crc32c::crc32c(json).to_le_bytes() == *checksum => Ok(Some(json.to_vec())),
            _ => Err(SnapshotError::Damaged { path }),
        }
    }

    /// Removes all configurations but these.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn retain_configurations(&self, digests: &HashSet<u64>) -> Result<(), SnapshotError> {
        let folder = name::configurations();
        for file in self.disk.list(&folder).await? {
            if !u64::from_str_radix(&file, 16).is_ok_and(|digest| digests.contains(&digest)) {
                self.disk.remove(&format!("{folder}/{file}")).await?;
            }
        }
        Ok(())
    }

    async fn write_blocks(
        &self,
        files: &mut Files,
        blocks: &BTreeMap<(&str, u32), &Block>,
        gone: Option<&str>,
    ) -> Result<u64, SnapshotError> {
        let mut manifest = self.manifest.borrow().clone();
        let removed = manifest.paths().filter(|(owner, _)| Some(*owner) == gone).map(|(_, path)| path);
        let removed: Vec<String> = removed.collect();
        manifest.blocks.retain(|(owner, _), _| Some(owner.as_str()) != gone);
        let parent = manifest.commit;
        manifest.commit = files.next_commit;
        files.next_commit += 1;
        let mut written = 0;
        let mut superseded = Vec::new();
        let mut new = Vec::new();
        let mut of_job: BTreeMap<&str, u32> = BTreeMap::new();
        blocks.keys().for_each(|(job, _)| *of_job.entry(job).or_default() += 1);
        for ((job, index), block) in blocks {
            let of_job = of_job.get(job).copied().unwrap_or_default();
            let bytes = block::encode(block, manifest.commit, parent, of_job)
                .map_err(|what| SnapshotError::Malformed { job: (*job).to_owned(), index: *index, what })?;
            let path = name::block(job, *index, manifest.commit);
            files.unneeded.insert(path.clone());
            self.disk.write_atomic(&path, &bytes).await?;
            new.push(path);
            written += bytes.len() as u64;
            let current = Generation { commit: manifest.commit, watermark: block.watermark };
            let before = manifest.blocks.get(&((*job).to_owned(), *index)).copied();
            let previous = before.map(|before| before.current);
            superseded
                .extend(before.and_then(|before| before.previous).map(|old| name::block(job, *index, old.commit)));
            manifest.blocks.insert(((*job).to_owned(), *index), Generations { current, previous });
        }
        written += self.commit(files, manifest).await?;
        for path in &new {
            files.unneeded.remove(path);
        }
        files.unneeded.extend(superseded);
        files.unneeded.extend(removed);
        // The commit stands; what could not be removed is tried again at the next one.
        let _ = self.remove_unneeded(files).await;
        Ok(written)
    }

    /// Makes `manifest` the current one. Returns the bytes written.
    async fn commit(&self, files: &mut Files, manifest: Manifest) -> Result<u64, SnapshotError> {
        let bytes = manifest::encode(&manifest);
        files.abandoned_manifest = Some(manifest.commit);
        self.disk.write_atomic(&name::manifest(manifest.commit), &bytes).await?;
        files.abandoned_manifest = None;
        let superseded = std::mem::take(&mut files.superseded);
        files.unneeded.extend(superseded);
        let before = self.manifest.replace(manifest).commit;
        let older = files.previous_manifest.replace(before);
        files.unneeded.extend(older.map(name::manifest));
        Ok(bytes.len() as u64)
    }

    /// Removes what it can; fails only if that leaves a manifest that may not stay.
    async fn remove_unneeded(&self, files: &mut Files) -> Result<(), SnapshotError> {
        if let Some(commit) = files.abandoned_manifest {
            self.disk.remove(&name::manifest(commit)).await?;
            files.abandoned_manifest = None;
        }
        let paths: Vec<String> = files.unneeded.iter().cloned().collect();
        for path in paths {
            if self.disk.remove(&path).await.is_ok() {
                files.unneeded.remove(&path);
            }
        }
        Ok(())
    }
}
