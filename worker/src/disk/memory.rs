//! A state folder in memory with the crash semantics of a real one, for the simulation and for tests.
//!
//! What a crash may leave is decided by a number, so that a run can be repeated. The model: bytes that were appended
//! but not synced survive up to any length; a file that was never synced may be gone; a truncation that was not synced
//! may be undone; bytes whose sync failed are lost even when a later sync succeeds (Linux marks such pages clean);
//! [`Disk::write_atomic`] and [`Disk::remove`] are durable once they return.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::check_path;
use crate::environment::{Disk, DiskError};

/// The operations of [`Disk`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// [`Disk::list`]
    List,
    /// [`Disk::read`]
    Read,
    /// [`Disk::append`]
    Append,
    /// [`Disk::truncate`]
    Truncate,
    /// [`Disk::sync`]
    Sync,
    /// [`Disk::write_atomic`]
    WriteAtomic,
    /// [`Disk::remove`]
    Remove,
}

#[derive(Debug, Clone, Default)]
struct File {
    content: Vec<u8>,
    /// The content that survives a crash; `None` of a file whose name does not either.
    durable: Option<Vec<u8>>,
    /// The shortest length since the last sync: up to here `content` is `durable`.
    unchanged: usize,
    /// Bytes from here on were in a failed sync: they will not become durable.
    lost_from: Option<usize>,
}

#[derive(Debug, Default)]
struct Contents {
    files: BTreeMap<String, File>,
    capacity: Option<u64>,
    operations: u64,
    crash_at: Option<u64>,
    crashed: bool,
    fail_next: Vec<Operation>,
}

/// A state folder in memory. Clones share the content: keep one to look at and to disturb what a worker uses.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    contents: Arc<Mutex<Contents>>,
}

impl Memory {
    /// An empty folder without a size limit.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A folder of its own with the same content and capacity; no faults are pending in it.
    #[must_use]
    pub fn copy(&self) -> Self {
        let contents = self.contents();
        let copy = Contents { files: contents.files.clone(), capacity: contents.capacity, ..Contents::default() };
        Self { contents: Arc::new(Mutex::new(copy)) }
    }

    /// The power fails: what was not durable is lost in part or whole, as `number` decides. The disk works again
    /// afterwards.
    pub fn crash(&self, number: u64) {
        let mut contents = self.contents();
        contents.restart();
        let files = std::mem::take(&mut contents.files);
        contents.files = files
            .into_iter()
            .filter_map(|(path, file)| {
                let number = xxh3_64_with_seed(path.as_bytes(), number);
                file.after_crash(number).map(|file| (path, file))
            })
            .collect();
    }

    /// The process starts anew after [`Memory::crash_at`] and the operating system has survived: nothing is lost,
    /// the disk works again.
    pub fn restart(&self) {
        self.contents().restart();
    }

    /// Whether [`Memory::crash_at`] has struck.
    #[must_use]
    pub fn is_crashed(&self) -> bool {
        self.contents().crashed
    }

    /// The process dies at its `operation`-th operation, counted as [`Memory::operations`] does: this operation is
    /// done whole, in part or not at all, it and all later ones fail, until [`Memory::crash`] or [`Memory::restart`].
    pub fn crash_at(&self, operation: u64) {
        self.contents().crash_at = Some(operation);
    }

    /// Operations so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.contents().operations
    }

    /// The next operation of this kind fails with [`DiskError::Io`]; an append leaves half of its bytes, a sync loses
    /// what it should have made durable. Several calls add up.
    pub fn fail_next(&self, operation: Operation) {
        self.contents().fail_next.push(operation);
    }

    /// The disk is full: no more bytes fit than there are.
    pub fn fill(&self) {
        let mut contents = self.contents();
        contents.capacity = Some(contents.used());
    }

    /// Limits the bytes of all files; `None` is no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.contents().capacity = bytes;
    }

    /// Inverts the bits of `mask` in one byte of a file, in what is durable too. Says whether there is such a byte.
    pub fn flip(&self, path: &str, offset: usize, mask: u8) -> bool {
        let mut contents = self.contents();
        let Some(file) = contents.files.get_mut(path) else { return false };
        if let Some(byte) = file.durable.as_mut().and_then(|durable| durable.get_mut(offset)) {
            *byte ^= mask;
        }
        let Some(byte) = file.content.get_mut(offset) else { return false };
        *byte ^= mask;
        true
    }

    /// Path and length of every file, sorted by path.
    #[must_use]
    pub fn files(&self) -> Vec<(String, usize)> {
        self.contents().files.iter().map(|(path, file)| (path.clone(), file.content.len())).collect()
    }

    /// A file's bytes, outside of the counted operations.
    #[must_use]
    pub fn content(&self, path: &str) -> Option<Vec<u8>> {
        self.contents().files.get(path).map(|file| file.content.clone())
    }

    /// Puts a durable file there, outside of the counted operations.
    pub fn put(&self, path: &str, bytes: &[u8]) {
        self.contents().files.insert(path.to_owned(), File::durable(bytes.to_vec()));
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        // Nothing is left half-done by a panic elsewhere: every operation ends before the guard is dropped.
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl File {
    fn durable(content: Vec<u8>) -> Self {
        Self { unchanged: content.len(), durable: Some(content.clone()), content, lost_from: None }
    }

    fn sync(&mut self) {
        let until = self.lost_from.unwrap_or(self.content.len());
        self.durable = self.content.get(..until).map(<[u8]>::to_vec);
        self.unchanged = until;
    }

    fn truncate(&mut self, length: usize) {
        // Longer than the file: as ftruncate does, zeros.
        self.content.resize(length, 0);
        self.unchanged = self.unchanged.min(length);
        self.lost_from = self.lost_from.filter(|from| *from < length);
    }

    fn after_crash(self, number: u64) -> Option<Self> {
        let until = self.lost_from.unwrap_or(self.content.len());
        if self.durable.as_ref().is_some_and(|durable| durable.len() == until && self.unchanged == until) {
            return self.durable.map(Self::durable);
        }
        // Of four crashes one undoes everything, one keeps everything that can be kept, two keep a part.
        let kept = match number % 4 {
            0 => return self.durable.map(Self::durable),
            1 => until,
            _ => self.unchanged + (number >> 2) as usize % (until.saturating_sub(self.unchanged) + 1),
        };
        self.content.get(..kept.min(until)).map(|content| Self::durable(content.to_vec()))
    }
}

impl Contents {
    fn used(&self) -> u64 {
        self.files.values().map(|file| file.content.len() as u64).sum()
    }

    fn room(&self) -> usize {
        let room = self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used()));
        usize::try_from(room).unwrap_or(usize::MAX)
    }

    fn restart(&mut self) {
        self.crashed = false;
        self.crash_at = None;
    }

    /// Counts the operation. `Ok(None)`: do it; `Ok(Some(number))`: the process dies in it, having done of it what
    /// the number decides; `Err`: it fails.
    fn begin(&mut self, operation: Operation, path: &str) -> Result<Option<u64>, DiskError> {
        check_path(path)?;
        let index = self.operations;
        self.operations += 1;
        if self.crashed {
            return Err(crashed(path));
        }
        if self.crash_at == Some(index) {
            self.crashed = true;
            return Ok(Some(xxh3_64_with_seed(path.as_bytes(), index)));
        }
        if let Some(position) = self.fail_next.iter().position(|kind| *kind == operation) {
            self.fail_next.remove(position);
            self.fail(operation, path);
            return Err(DiskError::Io { path: path.to_owned(), message: "injected fault".to_owned() });
        }
        Ok(None)
    }

    fn fail(&mut self, operation: Operation, path: &str) {
        if operation == Operation::Sync
            && let Some(file) = self.files.get_mut(path)
            && file.unchanged < file.content.len()
        {
            file.lost_from = Some(file.lost_from.map_or(file.unchanged, |from| from.min(file.unchanged)));
        }
    }
}

fn crashed(path: &str) -> DiskError {
    DiskError::Io { path: path.to_owned(), message: "crashed".to_owned() }
}

fn not_found(path: &str) -> DiskError {
    DiskError::NotFound { path: path.to_owned() }
}

/// Gives other tasks a turn, as an operation that takes time does.
async fn turn() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            std::task::Poll::Ready(())
        } else {
            context.waker().wake_by_ref();
            std::task::Poll::Pending
        }
    })
    .await;
}

impl Disk for Memory {
    async fn list(&self, folder: &str) -> Result<Vec<String>, DiskError> {
        let mut contents = self.contents();
        if contents.begin(Operation::List, folder)?.is_some() {
            return Err(crashed(folder));
        }
        let below = format!("{folder}/");
        let mut names: Vec<String> = contents
            .files
            .keys()
            .filter_map(|path| path.strip_prefix(&below))
            .map(|rest| rest.split_once('/').map_or(rest, |(first, _)| first).to_owned())
            .collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    async fn read(&self, path: &str) -> Result<Vec<u8>, DiskError> {
        let mut contents = self.contents();
        if contents.begin(Operation::Read, path)?.is_some() {
            return Err(crashed(path));
        }
        contents.files.get(path).map(|file| file.content.clone()).ok_or_else(|| not_found(path))
    }

    async fn append(&self, path: &str, bytes: &[u8]) -> Result<(), DiskError> {
        check_path(path)?;
        let mut contents = self.contents();
        let (done, result) = match contents.begin(Operation::Append, path) {
            Ok(Some(number)) => (number as usize % (bytes.len() + 1), Err(crashed(path))),
            Ok(None) if bytes.len() > contents.room() => {
                (contents.room(), Err(DiskError::Full { path: path.to_owned() }))
            }
            Ok(None) => (bytes.len(), Ok(())),
            Err(error) if contents.crashed => return Err(error),
            Err(error) => (bytes.len() / 2, Err(error)),
        };
        let done = done.min(contents.room());
        let file = contents.files.entry(path.to_owned()).or_default();
        file.content.extend_from_slice(bytes.get(..done).unwrap_or(bytes));
        result
    }

    async fn truncate(&self, path: &str, length: u64) -> Result<(), DiskError> {
        let mut contents = self.contents();
        let dying = contents.begin(Operation::Truncate, path)?;
        let file = contents.files.get_mut(path).ok_or_else(|| not_found(path))?;
        if dying.is_none_or(|number| number % 2 == 0) {
            file.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        }
        dying.map_or(Ok(()), |_| Err(crashed(path)))
    }

    async fn sync(&self, path: &str) -> Result<(), DiskError> {
        turn().await;
        let mut contents = self.contents();
        let dying = contents.begin(Operation::Sync, path)?;
        let file = contents.files.get_mut(path).ok_or_else(|| not_found(path))?;
        if dying.is_none_or(|number| number % 2 == 0) {
            file.sync();
        }
        dying.map_or(Ok(()), |_| Err(crashed(path)))
    }

    async fn write_atomic(&self, path: &str, bytes: &[u8]) -> Result<(), DiskError> {
        turn().await;
        let mut contents = self.contents();
        let dying = contents.begin(Operation::WriteAtomic, path)?;
        // The old file is there until the new one is whole, as on a real disk.
        if bytes.len() > contents.room() {
            return Err(DiskError::Full { path: path.to_owned() });
        }
        if dying.is_none_or(|number| number % 2 == 0) {
            contents.files.insert(path.to_owned(), File::durable(bytes.to_vec()));
        }
        dying.map_or(Ok(()), |_| Err(crashed(path)))
    }

    async fn remove(&self, path: &str) -> Result<(), DiskError> {
        let mut contents = self.contents();
        let dying = contents.begin(Operation::Remove, path)?;
        let below = format!("{path}/");
        let mut number = dying.unwrap_or(0);
        contents.files.retain(|file, _| {
            let inside = file == path || file.starts_with(&below);
            let keep = number % 2 == 1;
            if inside {
                number = number.rotate_right(1);
            }
            !inside || (dying.is_some() && keep)
        });
        dying.map_or(Ok(()), |_| Err(crashed(path)))
    }
}
