//! Configuration files on disk, and what of them changed.
//!
//! Files are compared by content, never by time or inode, so that the symbolic links of a mounted ConfigMap or Secret
//! work like plain files.

#![expect(clippy::disallowed_methods, reason = "the one place that reads the user's own files")]

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use xxhash_rust::xxh3::Xxh3;

use crate::environment::Clock;

/// Largest file that is read, bytes. A ConfigMap or Secret holds at most 1 MiB.
pub const LARGEST_FILE: u64 = 16 * 1024 * 1024;

/// How a gzip file starts (RFC 1952, 2.3.1). No YAML does.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A file must read the same twice, so far apart, before it counts as changed: somebody may be writing it.
const DEBOUNCE: Duration = Duration::from_secs(1);

/// The texts of all files, in the order of merging.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFiles {
    /// (path as given or found, text).
    pub sources: Vec<(String, String)>,
    /// xxh3 of all names and texts.
    pub digest: u128,
}

/// Why the files cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    /// Nothing there.
    #[error("{path}: no such file or folder")]
    Missing {
        /// The path.
        path: String,
    },
    /// There, but not readable.
    #[error("{path}: cannot be read: {source}")]
    Unreadable {
        /// The path.
        path: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// Not a text.
    #[error("{path}: not UTF-8: byte {position} starts no valid character")]
    NotUtf8 {
        /// The path.
        path: String,
        /// Where, bytes from 0.
        position: usize,
    },
    /// Starts like a gzip file, but is none.
    #[error("{path}: cannot be decompressed: {source}")]
    Gzip {
        /// The path.
        path: String,
        /// What is wrong with it.
        source: std::io::Error,
    },
    /// Larger than [`LARGEST_FILE`], decompressed.
    #[error("{path}: larger than {} MiB", LARGEST_FILE / (1024 * 1024))]
    TooLarge {
        /// The path.
        path: String,
    },
    /// A folder that gives no file.
    #[error("{path}: the folder has no .yaml or .yml file (folders below it are not looked into)")]
    EmptyFolder {
        /// The path.
        path: String,
    },
}

impl ConfigFileError {
    fn of(path: &Path, source: std::io::Error) -> Self {
        let path = path.display().to_string();
        match source.kind() {
            ErrorKind::NotFound => Self::Missing { path },
            _ => Self::Unreadable { path, source },
        }
    }
}

/// Reads `paths`: a file as it is, or decompressed if it is a gzip file (a ConfigMap holds 1 MiB at most), a folder as its `.yaml` and `.yml` files sorted by name, without hidden ones and
/// without folders below it.
///
/// # Errors
/// Names the path that is missing, unreadable, not UTF-8 or too large, or the folder without a file.
pub fn read(paths: &[PathBuf]) -> Result<ConfigFiles, ConfigFileError> {
    let mut sources = Vec::new();
    for path in paths {
        if fs::metadata(path).map_err(|error| ConfigFileError::of(path, error))?.is_dir() {
            let files = files_of(path)?;
            if files.is_empty() {
                return Err(ConfigFileError::EmptyFolder { path: path.display().to_string() });
            }
            for file in &files {
                sources.push((file.display().to_string(), read_file(file)?));
            }
        } else {
            sources.push((path.display().to_string(), read_file(path)?));
        }
    }
    Ok(ConfigFiles { digest: digest(&sources), sources })
}

fn files_of(folder: &Path) -> Result<Vec<PathBuf>, ConfigFileError> {
    let unreadable = |error| ConfigFileError::of(folder, error);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let yaml = path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("yaml") || extension.eq_ignore_ascii_case("yml"));
        // A link that leads nowhere is an error, and not a file that is left out without a word.
        if !hidden && yaml && fs::metadata(&path).map_err(|error| ConfigFileError::of(&path, error))?.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read_file(path: &Path) -> Result<String, ConfigFileError> {
    let unreadable = |error| ConfigFileError::of(path, error);
    let mut bytes = Vec::new();
    File::open(path).map_err(unreadable)?.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(ConfigFileError::TooLarge { path: path.display().to_string() });
    }
    if bytes.starts_with(&GZIP) {
        let mut plain = Vec::new();
        MultiGzDecoder::new(bytes.as_slice())
            .take(LARGEST_FILE + 1)
            .read_to_end(&mut plain)
            .map_err(|source| ConfigFileError::Gzip { path: path.display().to_string(), source })?;
        if plain.len() as u64 > LARGEST_FILE {
            return Err(ConfigFileError::TooLarge { path: path.display().to_string() });
        }
        bytes = plain;
    }
    String::from_utf8(bytes).map_err(|error| ConfigFileError::NotUtf8 {
        path: path.display().to_string(),
        position: error.utf8_error().valid_up_to(),
    })
}

fn digest(sources: &[(String, String)]) -> u128 {
    let mut hasher = Xxh3::new();
    for text in sources.iter().flat_map(|(name, text)| [name, text]) {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.digest128()
}

/// Compares files with what they were, time after time.
#[derive(Debug)]
pub struct Watcher {
    paths: Vec<PathBuf>,
    interval: Duration,
    /// What was last told.
    told: u128,
    /// The error that was last told; `None` after a successful read.
    told_error: Option<String>,
}

impl Watcher {
    /// Watches `paths`, which read `current` at last, every `interval`.
    #[must_use]
    pub fn new(paths: Vec<PathBuf>, interval: Duration, current: &ConfigFiles) -> Self {
        Self { paths, interval, told: current.digest, told_error: None }
    }

    /// Waits until the files read otherwise than what was last returned, and have read the same twice. Dropping the
    /// future loses no change, but the wait begins anew.
    ///
    /// # Errors
    /// They cannot be read (any more); the same error is returned once, until they are readable again.
    pub async fn changed(&mut self, clock: &impl Clock) -> Result<ConfigFiles, ConfigFileError> {
        loop {
            clock.sleep(self.interval).await;
            let mut seen = read(&self.paths);
            while self.is_news(&seen) {
                clock.sleep(DEBOUNCE.min(self.interval)).await;
                let again = read(&self.paths);
                if fingerprint(&again) == fingerprint(&seen) {
                    return self.tell(again);
                }
                seen = again;
            }
        }
    }

    fn is_news(&mut self, seen: &Result<ConfigFiles, ConfigFileError>) -> bool {
        match seen {
            Ok(files) if files.digest == self.told => {
                // Readable again: the next error is news.
                self.told_error = None;
                false
            }
            Ok(_) => true,
            Err(error) => self.told_error.as_deref() != Some(error.to_string().as_str()),
        }
    }

    fn tell(&mut self, news: Result<ConfigFiles, ConfigFileError>) -> Result<ConfigFiles, ConfigFileError> {
        match &news {
            Ok(files) => {
                self.told = files.digest;
                self.told_error = None;
            }
            Err(error) => self.told_error = Some(error.to_string()),
        }
        news
    }
}

/// Equal for equal contents and for equal errors.
fn fingerprint(read: &Result<ConfigFiles, ConfigFileError>) -> Result<u128, String> {
    read.as_ref().map(|files| files.digest).map_err(ToString::to_string)
}
