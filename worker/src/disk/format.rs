//! Versions of files. Every file of the state folder starts with the same 16 bytes: 8 of magic, the format version
//! (u32, little endian) and the CRC-32C of these 12, so that a version of the future is told from a damaged file.
//! Later versions must keep these 16 bytes.

use crate::environment::{Disk, DiskError};

/// Bytes of a file header.
pub const HEADER_BYTES: usize = 16;

/// Version of the state folder as a whole: which files there are and what they mean together.
pub const FOLDER_VERSION: u32 = 1;

const FOLDER_MAGIC: [u8; 8] = *b"VMANDIR\n";
const FOLDER_FILE: &str = "format";

/// A file or the folder was written by a newer release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{path}: format version {found}, this release reads up to {supported}; use the newer release, or another state \
     folder"
)]
pub struct NewerFormat {
    /// Path below the state folder.
    pub path: String,
    /// The version found.
    pub found: u32,
    /// The newest version that this release reads.
    pub supported: u32,
}

/// Why a state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Written by a newer release; nothing was changed.
    #[error(transparent)]
    Newer(#[from] NewerFormat),
    /// The disk does not work.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What the first bytes of a file say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Header {
    Readable,
    Damaged,
    Newer(NewerFormat),
}

pub(crate) fn header(magic: [u8; 8], version: u32) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(&magic);
    bytes[8..12].copy_from_slice(&version.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..12]);
    bytes[12..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

pub(crate) fn read_header(path: &str, bytes: &[u8], magic: [u8; 8], supported: u32) -> Header {
    let Some((header, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Header::Damaged;
    };
    let word = |from: usize| u32::from_le_bytes([header[from], header[from + 1], header[from + 2], header[from + 3]]);
    let found = word(8);
    if header[..8] != magic || crc32c::crc32c(&header[..12]) != word(12) || found == 0 {
        Header::Damaged
    } else if found > supported {
        Header::Newer(NewerFormat { path: path.to_owned(), found, supported })
    } else {
        Header::Readable
    }
}

/// Checks that the folder is not one of a newer release, and marks a new one with this release's version. Returns
/// what was wrong with the mark and has been put right.
///
/// # Errors
/// When the folder is one of a newer release, or the mark can be neither read nor written. A full disk is no error:
/// every file carries its own version too.
pub async fn check_folder<D: Disk>(disk: &D) -> Result<Option<String>, FolderError> {
    let problem = match disk.read(FOLDER_FILE).await {
        Ok(bytes) => match read_header(FOLDER_FILE, &bytes, FOLDER_MAGIC, FOLDER_VERSION) {
            Header::Readable => return Ok(None),
            Header::Newer(newer) => return Err(newer.into()),
            Header::Damaged => Some(format!("{FOLDER_FILE}: damaged, written anew")),
        },
        Err(DiskError::NotFound { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    match disk.write_atomic(FOLDER_FILE, &header(FOLDER_MAGIC, FOLDER_VERSION)).await {
        Ok(()) => Ok(problem),
        Err(error @ DiskError::Full { .. }) => Ok(Some(error.to_string())),
        Err(error) => Err(error.into()),
    }
}
