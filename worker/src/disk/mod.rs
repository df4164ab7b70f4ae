//! The state folder: its two implementations, and what all files in it have in common.

pub mod file_system;
pub mod format;
pub mod memory;

use crate::environment::DiskError;

/// Refuses a path that is not plainly below the state folder: absolute, with empty, `.` or `..` components, or with
/// a NUL.
fn check_path(path: &str) -> Result<(), DiskError> {
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    if path.split('/').all(plain) {
        Ok(())
    } else {
        Err(DiskError::Io { path: path.to_owned(), message: "not a path below the state folder".to_owned() })
    }
}
