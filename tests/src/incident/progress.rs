//! A line for each step of a start: when it began, what it brought.

use std::io::Write;
use std::time::Instant;

/// Prints what is done and how long it took.
#[derive(Debug)]
pub struct Progress {
    begin: Instant,
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress {
    /// Times are counted from now.
    #[must_use]
    pub fn new() -> Self {
        Self { begin: Instant::now() }
    }

    /// One step: `name` is printed before the work, what `result` says after it.
    ///
    /// # Errors
    /// Those of the work.
    pub async fn step<T, E>(
        &self,
        name: &str,
        work: impl Future<Output = Result<T, E>>,
        result: impl FnOnce(&T) -> String,
    ) -> Result<T, E> {
        print!("{:6.1} s  {name:<17}", self.seconds());
        // A screen that is gone is no reason to end.
        let _ = std::io::stdout().flush();
        let done = work.await;
        println!("{}", done.as_ref().map_or_else(|_| "failed".to_owned(), result));
        done
    }

    /// Seconds since the start.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.begin.elapsed().as_secs_f64()
    }
}
