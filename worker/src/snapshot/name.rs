//! Names of the snapshot's files.

use xxhash_rust::xxh3::xxh3_64;

/// Folder of everything here.
const FOLDER: &str = "snapshot";

/// File systems allow names of 255 bytes; longer ones end in a hash.
const MAX_NAME_BYTES: usize = 200;

pub(super) fn folder() -> &'static str {
    FOLDER
}

pub(super) fn blocks() -> String {
    format!("{FOLDER}/blocks")
}

pub(super) fn job(job: &str) -> String {
    format!("{FOLDER}/blocks/{}", escape(job))
}

pub(super) fn block(job: &str, index: u32, commit: u64) -> String {
    format!("{FOLDER}/blocks/{}/{index}.{commit}", escape(job))
}

pub(super) fn manifest(commit: u64) -> String {
    format!("{FOLDER}/manifest.{commit}")
}

pub(super) fn configurations() -> String {
    format!("{FOLDER}/configurations")
}

pub(super) fn configuration(digest: u64) -> String {
    format!("{FOLDER}/configurations/{digest:016x}")
}

/// Index and commit of a block's file name.
pub(super) fn parse_block(name: &str) -> Option<(u32, u64)> {
    let (index, commit) = name.split_once('.')?;
    let parsed = (index.parse().ok()?, commit.parse().ok()?);
    (format!("{}.{}", parsed.0, parsed.1) == name).then_some(parsed)
}

/// Commit of a manifest's file name.
pub(super) fn parse_manifest(name: &str) -> Option<u64> {
    let commit = name.strip_prefix("manifest.")?.parse().ok()?;
    (format!("manifest.{commit}") == name).then_some(commit)
}

/// A file name for any text: letters, digits, `-` and `_` stay, every other byte becomes `%` and two hex digits.
pub(super) fn escape(text: &str) -> String {
    let mut name = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02x}"));
        }
    }
    if name.is_empty() {
        name.push('%');
    }
    if name.len() > MAX_NAME_BYTES {
        name.truncate(MAX_NAME_BYTES);
        name.push_str(&format!("%~{:016x}", xxh3_64(text.as_bytes())));
    }
    name
}

/// The text that was escaped; `None` if the name does not hold all of it, or is none of [`escape`].
pub(super) fn unescape(name: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = if name == "%" { &[] } else { name.as_bytes() };
    while let Some((byte, after)) = rest.split_first() {
        if *byte == b'%' {
            let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok())?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after.get(2..)?;
        } else {
            bytes.push(*byte);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok().filter(|text| escape(text) == name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_job_gets_a_safe_name_of_its_own(left: String, right: String) {
            for job in [&left, &right] {
                let name = escape(job);
                prop_assert!(!name.is_empty() && name.len() < 255);
                prop_assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_%~".contains(&byte)));
                if name.len() <= MAX_NAME_BYTES {
                    prop_assert_eq!(unescape(&name), Some(job.clone()));
                }
            }
            prop_assert_eq!(escape(&left) == escape(&right), left == right);
        }
    }

    #[test]
    fn long_jobs_with_the_same_start_get_different_names() {
        let (left, right) = ("ä".repeat(300) + "1", "ä".repeat(300) + "2");
        assert_ne!(escape(&left), escape(&right));
        assert_eq!(unescape(&escape(&left)), None);
    }
}
