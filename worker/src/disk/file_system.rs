//! The state folder on a file system.

#![expect(clippy::disallowed_methods, reason = "the implementation of environment::Disk that uses real files")]

use std::cell::RefCell;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::check_path;
use crate::environment::{Disk, DiskError};

/// Locked by the process that uses the folder.
const LOCK_FILE: &str = "lock";
/// Where files are written before they are renamed; emptied at start.
const TEMPORARY_FOLDER: &str = "temporary";
/// Files that were appended to are kept open, up to this many.
const MAX_OPEN_FILES: usize = 16;

/// Why a folder cannot be the state folder.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be made, read or written.
    #[error("state folder {}: cannot be used: {source}", folder.display())]
    Unusable {
        /// The folder.
        folder: PathBuf,
        /// The system's error, with the file or folder inside that it is about.
        source: io::Error,
    },
    /// Another process uses it.
    #[error("state folder {}: another worker uses it", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
}

/// The state folder on a file system, locked for this process as long as this value lives.
///
/// Small reads and writes happen on the calling thread; what waits for the device happens on the blocking threads of
/// the tokio runtime, if there is one.
#[derive(Debug)]
pub struct FileSystem {
    root: PathBuf,
    /// By path; those used last at the end.
    open: RefCell<Vec<(String, Handle)>>,
    /// The lock ends when it is closed.
    _lock: File,
}

#[derive(Debug, Clone)]
struct Handle {
    file: Arc<File>,
    /// The folder was synced since the file was opened: its name is durable.
    is_name_durable: bool,
}

impl FileSystem {
    /// Makes the folder if there is none, checks that it can be written, and locks it.
    ///
    /// # Errors
    /// When the folder cannot be made or written, or another process has it. A full disk is no error.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let unusable = |source| OpenError::Unusable { folder: folder.to_owned(), source };
        let in_use = || OpenError::InUse { folder: folder.to_owned() };
        create_folders(folder).map_err(unusable)?;
        let lock_path = folder.join(LOCK_FILE);
        let lock = File::options().create(true).append(true).open(&lock_path);
        let lock = lock.map_err(|error| about(&lock_path, &error)).map_err(unusable)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => in_use(),
            TryLockError::Error(error) => unusable(about(&lock_path, &error)),
        })?;
        let temporary = folder.join(TEMPORARY_FOLDER);
        empty(&temporary).map_err(unusable)?;
        Ok(Self { root: folder.to_owned(), open: RefCell::default(), _lock: lock })
    }

    /// The folder as it was given.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.root
    }

    fn resolve(&self, path: &str) -> Result<PathBuf, DiskError> {
        check_path(path)?;
        Ok(self.root.join(path))
    }

    /// The open handle of a file; `create`: for appending, made when there is none.
    fn handle(&self, path: &str, create: bool) -> Result<Handle, DiskError> {
        let mut open = self.open.borrow_mut();
        if let Some(position) = open.iter().position(|(name, _)| name == path) {
            let entry = open.remove(position);
            let handle = entry.1.clone();
            open.push(entry);
            return Ok(handle);
        }
        let full = self.resolve(path)?;
        let file = if create {
            let folder = full.parent().unwrap_or(&self.root);
            create_folders(folder).and_then(|()| File::options().create(true).append(true).open(&full))
        } else {
            File::options().append(true).open(&full)
        };
        let handle = Handle { file: Arc::new(file.map_err(failed(path))?), is_name_durable: false };
        if open.len() >= MAX_OPEN_FILES {
            open.remove(0);
        }
        open.push((path.to_owned(), handle.clone()));
        Ok(handle)
    }

    /// Forgets the handles of a file, or of all files in a folder.
    fn close(&self, path: &str) {
        let inside = |name: &str| name.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.open.borrow_mut().retain(|(name, _)| !inside(name));
    }
}

impl Disk for FileSystem {
    async fn list(&self, folder: &str) -> Result<Vec<String>, DiskError> {
        let entries = match fs::read_dir(self.resolve(folder)?) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(folder)(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed(folder))?.file_name();
            names.push(name.to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    async fn read(&self, path: &str) -> Result<Vec<u8>, DiskError> {
        fs::read(self.resolve(path)?).map_err(failed(path))
    }

    async fn append(&self, path: &str, bytes: &[u8]) -> Result<(), DiskError> {
        let handle = self.handle(path, true)?;
        handle.file.as_ref().write_all(bytes).map_err(failed(path))
    }

    async fn truncate(&self, path: &str, length: u64) -> Result<(), DiskError> {
        let handle = self.handle(path, false)?;
        handle.file.set_len(length).map_err(failed(path))
    }

    async fn sync(&self, path: &str) -> Result<(), DiskError> {
        let handle = self.handle(path, false)?;
        let full = self.resolve(path)?;
        blocking(move || {
            handle.file.sync_data()?;
            if handle.is_name_durable { Ok(()) } else { sync_parent(&full) }
        })
        .await
        .map_err(failed(path))?;
        if let Some((_, handle)) = self.open.borrow_mut().iter_mut().find(|(name, _)| name == path) {
            handle.is_name_durable = true;
        }
        Ok(())
    }

    async fn write_atomic(&self, path: &str, bytes: &[u8]) -> Result<(), DiskError> {
        let full = self.resolve(path)?;
        self.close(path);
        let folder = full.parent().unwrap_or(&self.root).to_owned();
        let bytes = bytes.to_vec();
        // Paths are told apart by their hash: two writes at a time of the same file would be a fault of the caller.
        let name = format!("{:016x}", xxhash_rust::xxh3::xxh3_64(path.as_bytes()));
        let temporary = self.root.join(TEMPORARY_FOLDER).join(name);
        blocking(move || {
            let result = write_and_rename(&temporary, &folder, &full, &bytes);
            if result.is_err() {
                // Its space may be what is missing. A failure here changes nothing: the name is overwritten anyway.
                let _ = fs::remove_file(&temporary);
            }
            result
        })
        .await
        .map_err(failed(path))
    }

    async fn remove(&self, path: &str) -> Result<(), DiskError> {
        let full = self.resolve(path)?;
        self.close(path);
        let removed = match fs::symlink_metadata(&full) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(&full),
            Ok(_) => fs::remove_file(&full),
            Err(error) => Err(error),
        };
        match removed {
            Ok(()) => blocking(move || sync_parent(&full)).await.map_err(failed(path)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed(path)(error)),
        }
    }
}

fn failed(path: &str) -> impl Fn(io::Error) -> DiskError + '_ {
    |error| {
        let path = path.to_owned();
        match error.kind() {
            ErrorKind::NotFound => DiskError::NotFound { path },
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => DiskError::Full { path },
            _ => DiskError::Io { path, message: error.to_string() },
        }
    }
}

fn about(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

async fn blocking(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(work).await.map_err(io::Error::other)?,
        Err(_) => work(),
    }
}

fn write_and_rename(temporary: &Path, folder: &Path, full: &Path, bytes: &[u8]) -> io::Result<()> {
    // Missing when the disk was full at start.
    create_folders(temporary.parent().unwrap_or(folder))?;
    let mut file = File::create(temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    create_folders(folder)?;
    fs::rename(temporary, full)?;
    sync_folder(folder)
}

/// Makes the folder and those above it that are missing, durably.
fn create_folders(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        create_folders(parent)?;
    }
    match fs::create_dir(folder) {
        Ok(()) => sync_parent(folder),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(error) => Err(about(folder, &error)),
    }
}

/// Makes the folder of temporary files anew, and a file in it: so a folder that cannot be written is found at start.
fn empty(temporary: &Path) -> io::Result<()> {
    let result = fs::remove_dir_all(temporary)
        .or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
        .and_then(|()| fs::create_dir(temporary))
        .and_then(|()| {
            let probe = temporary.join("probe");
            File::create(&probe)?;
            fs::remove_file(&probe)
        });
    match result {
        Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => Ok(()),
        result => result.map_err(|error| about(temporary, &error)),
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_folder(Path::new(".")),
        Some(parent) => sync_folder(parent),
        None => Ok(()),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
