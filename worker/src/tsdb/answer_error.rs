//! Why the answer to a range query cannot be used.

use crate::labels::Labels;

/// What one answer may at most take. An answer beyond them is an error that names the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a body.
    pub body_bytes: u64,
    /// Bytes of one series.
    pub series_bytes: u64,
    /// Bytes of one label set, or of a text such as an error message.
    pub label_bytes: usize,
    /// Distinct series of a read, kept or not.
    pub series: u32,
}

impl Default for Limits {
    /// Well above what a TSDB with its own default limits answers.
    fn default() -> Self {
        Self { body_bytes: 16 << 30, series_bytes: 256 << 20, label_bytes: 1 << 20, series: 10_000_000 }
    }
}

/// Why the body of an answer cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It is no JSON, or JSON of another form.
    #[error("the answer is no range query result: byte {offset} should be {expected}, but is {found:?}")]
    Form {
        /// Where.
        offset: u64,
        /// What should be there.
        expected: &'static str,
        /// What is there, shortened.
        found: String,
    },
    /// It stops too early.
    #[error("the answer ends after {received} bytes, before its end")]
    Truncated {
        /// Bytes received.
        received: u64,
    },
    /// The result is of another type.
    #[error("the result is of type {found:?} instead of \"matrix\"")]
    ResultType {
        /// Its type.
        found: String,
    },
    /// It reports an error.
    #[error("{error_type}: {message}")]
    Reported {
        /// The TSDB's `errorType`.
        error_type: String,
        /// The TSDB's words.
        message: String,
    },
    /// Some storage nodes of a cluster did not answer. Learning from the rest would lose data.
    #[error("partial answer: some storage nodes did not respond")]
    Partial,
    /// Two series have equal labels.
    #[error("the answer has two series {labels}")]
    Duplicate {
        /// Their labels.
        labels: Labels,
    },
    /// A limit is exceeded.
    #[error("{what} exceeds the limit of {limit}")]
    TooLarge {
        /// What is too large, with its unit.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
}
