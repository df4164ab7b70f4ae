//! What programs that measure have in common.

use std::time::{Duration, Instant};

use crate::http::HttpError;
use crate::process::{Process, StartError};

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A program did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A request of the harness failed.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// A read of the TSDB failed.
    #[error(transparent)]
    Request(#[from] reqwest::Error),
    /// `/proc` or a folder cannot be read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Something did not happen.
    #[error("{0}")]
    Unexpected(String),
}

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// The middle one; of an even number the higher one.
#[must_use]
pub fn median<T: Copy + Ord>(values: &[T]) -> Option<T> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

/// Waits until a process uses no more than 2 % of a processor.
///
/// # Errors
/// When it is busy for more than a minute.
pub async fn quiet(process: &Process) -> Result<(), Failure> {
    let interval = Duration::from_millis(500);
    for _ in 0..120 {
        let before = process.cpu_time()?;
        tokio::time::sleep(interval).await;
        if process.cpu_time()? - before <= interval / 50 {
            return Ok(());
        }
    }
    Err(Failure::Unexpected(format!("{} is busy for more than a minute", process.name())))
}

/// Looks every `pause` until something is there.
///
/// # Errors
/// When it does not come within two minutes.
pub async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>, awaited: &str, pause: Duration) -> Result<T, Failure> {
    let begin = Instant::now();
    loop {
        if let Some(found) = look().await {
            return Ok(found);
        }
        if begin.elapsed() > PATIENCE {
            return Err(Failure::Unexpected(format!("{awaited} did not come within {PATIENCE:?}")));
        }
        tokio::time::sleep(pause).await;
    }
}
