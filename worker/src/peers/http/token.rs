//! The token that the workers of a deployment share.

use std::{
    hint::black_box,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use reqwest::header::HeaderValue;

use crate::{logging::Redactor, secret_file};

/// The file of the token cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("peers.token_file: {message}")]
pub struct TokenError {
    /// What is wrong, with the path.
    message: String,
}

/// A token in a file, which is read for every use: a rotated one needs no restart. One that cannot be read any more
/// leaves the last good one in force.
#[derive(Debug)]
pub struct Token {
    redactor: Redactor,
    last: Mutex<Last>,
}

/// What was read last. Debug output has no secret.
struct Last {
    path: PathBuf,
    token: String,
    /// Why the file cannot be read now, as it was logged.
    problem: Option<TokenError>,
}

impl std::fmt::Debug for Last {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Last").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Token {
    /// The token in a file. It is kept out of the log.
    ///
    /// # Errors
    /// The file cannot be read, is empty, or has what does not fit into a header.
    pub fn open(path: &Path, redactor: Redactor) -> Result<Self, TokenError> {
        let token = read(path)?;
        redactor.register(&token);
        Ok(Self { redactor, last: Mutex::new(Last { path: path.to_owned(), token, problem: None }) })
    }

    /// Goes on with the token in this file.
    ///
    /// # Errors
    /// It is another file than before, and of no use; then nothing changes.
    pub fn follow(&self, path: &Path) -> Result<(), TokenError> {
        if self.lock().path != path {
            let token = read(path)?;
            self.redactor.register(&token);
            *self.lock() = Last { path: path.to_owned(), token, problem: None };
        }
        Ok(())
    }

    /// The token now.
    #[must_use]
    pub fn current(&self) -> String {
        let mut last = self.lock();
        match read(&last.path) {
            Ok(token) => {
                if token != last.token {
                    tracing::info!(path = %last.path.display(), "the token of the workers has changed");
                    self.redactor.register(&token);
                    last.token = token;
                }
                last.problem = None;
            }
            Err(problem) => {
                if last.problem.as_ref() != Some(&problem) {
                    tracing::error!("{problem}; the last good token stays in force");
                }
                last.problem = Some(problem);
            }
        }
        last.token.clone()
    }

    /// Whether a request with this `Authorization` is one of a worker. Takes as long for a token that is almost right as for
    /// any other of its length.
    #[must_use]
    pub fn admits(&self, authorization: Option<&[u8]>) -> bool {
        let given = authorization.and_then(|header| header.strip_prefix(b"Bearer ")).unwrap_or_default();
        let wanted = self.current();
        let differences = given.iter().zip(wanted.as_bytes()).fold(0, |all, (given, wanted)| all | (given ^ wanted));
        given.len() == wanted.len() && black_box(differences) == 0
    }

    fn lock(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The token in a file, without the line end.
fn read(path: &Path) -> Result<String, TokenError> {
    let path = path.display().to_string();
    let token = secret_file::read_text(&path).map_err(|message| TokenError { message })?;
    if token.is_empty() {
        return Err(TokenError { message: format!("{path}: is empty; it must have the token that the workers share") });
    }
    if HeaderValue::from_str(&token).is_err() {
        return Err(TokenError { message: format!("{path}: has characters that do not fit into a header") });
    }
    Ok(token)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the test's own file")]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_token_counts_at_once_and_the_last_good_one_stays_when_the_file_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "first\n").unwrap();
        let token = Token::open(&path, Redactor::new()).unwrap();
        assert!(token.admits(Some(b"Bearer first")));
        for wrong in
            [None, Some("first"), Some("Bearer "), Some("Bearer firs"), Some("Bearer firsT"), Some("Bearer first ")]
        {
            assert!(!token.admits(wrong.map(str::as_bytes)), "{wrong:?}");
        }
        std::fs::write(&path, "second").unwrap();
        assert!(token.admits(Some(b"Bearer second")) && !token.admits(Some(b"Bearer first")));
        for gone in ["", "\n", "two\nlines"] {
            std::fs::write(&path, gone).unwrap();
            assert!(token.admits(Some(b"Bearer second")), "{gone:?}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(token.admits(Some(b"Bearer second")));
        let error = read(&path).unwrap_err().to_string();
        assert!(error.starts_with("peers.token_file: ") && error.contains(path.to_str().unwrap()), "{error}");
    }
}
