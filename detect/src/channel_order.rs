//! The order of a group's channels, and how a state knows them again.

use crate::argument::{ArgumentError, Arguments};

/// The names of a group's channels with their indices in the caller's order, sorted by name, so that the caller's order does not
/// change a bit of what is learnt.
///
/// # Errors
/// If there are more than `max_channels`, or two of the same name.
pub(crate) fn sorted<'a>(
    class: &'static str,
    max_channels: u32,
    names: &'a [impl AsRef<str>],
) -> Result<Vec<(usize, &'a str)>, ArgumentError> {
    let arguments = Arguments(class);
    let holds = names.len() <= max_channels as usize;
    let found = format!("{max_channels} for {} channels", names.len());
    arguments.require("max_channels", found, "at least the number of channels", holds)?;
    let mut sorted: Vec<(usize, &str)> = names.iter().map(AsRef::as_ref).enumerate().collect();
    sorted.sort_unstable_by_key(|(_, name)| *name);
    for pair in sorted.windows(2) {
        let is_new = pair.first().map(|(_, name)| name) != pair.last().map(|(_, name)| name);
        arguments.require("channels", pair[0].1, "in the list once", is_new)?;
    }
    Ok(sorted)
}

/// What a state has of a channel's name (FNV-1a).
pub(crate) fn key(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
