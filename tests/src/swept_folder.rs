//! A temporary folder that is gone when the value that stands for it is, or the test process, however it ends.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A temporary folder. Dropping the value removes it. A small shell holds the other end of a pipe and removes it when
/// this process ends without dropping anything: SIGKILL, abort, and every value in a `static`.
#[derive(Debug)]
pub struct SweptFolder {
    folder: TempDir,
    guard: Child,
}

impl SweptFolder {
    /// Makes one whose name begins with `prefix`.
    ///
    /// # Errors
    /// When the folder cannot be made or the system starts no shell.
    pub fn new(prefix: &str) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix(prefix).tempdir()?;
        // The processes that still write into it are being killed at the same moment: so more than one attempt.
        let script = "read -r _; for attempt in 1 2 3 4 5; do rm -rf \"$1\" && exit; sleep 0.2; done";
        let guard = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Self { folder, guard })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for SweptFolder {
    fn drop(&mut self) {
        // `TempDir` removes it right after.
        let _ = self.guard.kill();
        let _ = self.guard.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_swept_when_the_process_dies_without_dropping_it() {
        let mut swept = SweptFolder::new("swept-").unwrap();
        std::fs::write(swept.path().join("file"), "").unwrap();
        // What the kernel does with the pipe of a process that dies.
        drop(swept.guard.stdin.take());
        swept.guard.wait().unwrap();
        assert!(!swept.path().exists());
    }

    #[test]
    fn a_dropped_folder_is_gone() {
        let swept = SweptFolder::new("swept-").unwrap();
        let path = swept.path().to_path_buf();
        drop(swept);
        assert!(!path.exists());
    }
}
