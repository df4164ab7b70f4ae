//! Passwords, tokens and certificates that are mounted as files.

use std::io::Read;

/// Larger files are no secrets.
const MAX_BYTES: u64 = 1 << 20;

/// The contents of a file of at most 1 MiB. The error names the path.
#[expect(
    clippy::disallowed_methods,
    reason = "mounted secrets are configuration, not state: a simulated disk does not have them"
)]
pub(crate) fn read(path: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("{path}: {error}"))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("{path}: larger than {MAX_BYTES} bytes"));
    }
    Ok(bytes)
}

/// The text of a file without the line end that editors and `echo` leave.
pub(crate) fn read_text(path: &str) -> Result<String, String> {
    let mut text = String::from_utf8(read(path)?).map_err(|_| format!("{path}: not UTF-8"))?;
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    Ok(text)
}
