//! A line for each step of a start: when it began, what it brought.

use std::cell::RefCell;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Prints what is done and how long it took.
#[derive(Debug)]
pub struct Progress {
    begin: Instant,
    terminal: bool,
    parts: RefCell<Vec<(String, Duration)>>,
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
        Self::after(Vec::new())
    }

    /// Times are counted on from parts that took place before.
    #[must_use]
    pub fn after(parts: Vec<(String, Duration)>) -> Self {
        let now = Instant::now();
        let begin = now.checked_sub(parts.iter().map(|(_, duration)| *duration).sum()).unwrap_or(now);
        Self { begin, terminal: std::io::stdout().is_terminal(), parts: parts.into() }
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
        self.watched(name, async |_| work.await, result).await
    }

    /// One step that says how far it is, which a terminal shows.
    ///
    /// # Errors
    /// Those of the work.
    pub async fn watched<T, E>(
        &self,
        name: &str,
        work: impl AsyncFnOnce(&Line) -> Result<T, E>,
        result: impl FnOnce(&T) -> String,
    ) -> Result<T, E> {
        let begin = Instant::now();
        let line = Line { start: format!("{:6.1} s  {name:<17}", self.seconds()), terminal: self.terminal };
        print!("{}", line.start);
        // A screen that is gone is no reason to end.
        let _ = std::io::stdout().flush();
        let done = work(&line).await;
        line.end(&done.as_ref().map_or_else(|_| "failed".to_owned(), result));
        self.parts.borrow_mut().push((name.to_owned(), begin.elapsed()));
        done
    }

    /// Notes how long something took that is no step.
    pub fn note(&self, name: &str, duration: Duration) {
        self.parts.borrow_mut().push((name.to_owned(), duration));
    }

    /// Seconds since the start.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.begin.elapsed().as_secs_f64()
    }

    /// How long each part took, in their order.
    #[must_use]
    pub fn parts(&self) -> Vec<(String, Duration)> {
        self.parts.borrow().clone()
    }
}

/// The line of a step that is under way.
#[derive(Debug)]
pub struct Line {
    start: String,
    terminal: bool,
}

impl Line {
    /// Shows how far the step is, instead of what was shown before. Only on a terminal.
    pub fn tell(&self, text: &str) {
        if self.terminal {
            // Without a break of the line, as far as terminals are usually wide.
            let text: String = text.chars().take(90).collect();
            print!("\r\x1b[K{}{text}", self.start);
            let _ = std::io::stdout().flush();
        }
    }

    fn end(&self, text: &str) {
        if self.terminal { println!("\r\x1b[K{}{text}", self.start) } else { println!("{text}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn parts_are_kept_in_order_and_count_from_what_came_before() {
        let progress = Progress::after(vec![("tools".to_owned(), Duration::from_secs(100))]);
        assert!(progress.seconds() >= 100.0);
        let result: Result<u8, ()> = progress.step("good", async { Ok(1) }, u8::to_string).await;
        let failure: Result<u8, u8> = progress.step("bad", async { Err(2) }, u8::to_string).await;
        assert_eq!((result, failure), (Ok(1), Err(2)));
        let names: Vec<_> = progress.parts().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["tools", "good", "bad"]);
    }
}
