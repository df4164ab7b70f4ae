//! The topology that a worker has followed last: no other one may take it back.
//!
//! It is kept in the state folder, because a mounted file may be older after a restart than it was before.

use std::collections::BTreeMap;

use config::{ownership::Spread, topology::Topology};

use crate::{
    disk::format::{HEADER_BYTES, Header, NewerFormat, header, read_header},
    environment::{Disk, DiskError},
};

/// Path below the state folder.
pub(super) const FILE: &str = "topology";

const MAGIC: [u8; 8] = *b"VMANTOP\n";
/// Version of the file's format.
const VERSION: u32 = 1;

/// Why a topology is not followed. All concern `topology.yaml`; `known` is what was followed last.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TopologyRefused {
    /// An earlier epoch.
    #[error("epoch: `{epoch}`: this worker has followed epoch {known} already; must be {known} or above")]
    BackInTime {
        /// Of the file.
        epoch: u64,
        known: u64,
    },
    /// An earlier file of the same epoch: what has settled does not open again.
    #[error(
        "settled_epoch: `{settled_epoch}`: this worker has followed epoch {epoch} with {known} already; must be \
         {known} or above"
    )]
    Unsettled {
        /// Of both.
        epoch: u64,
        /// Of the file.
        settled_epoch: u64,
        known: u64,
    },
    /// One epoch, two layouts.
    #[error(
        "{key}: `{found}` contradicts `{known}`, which this worker has followed as epoch {epoch}; a change needs an \
         epoch above {epoch}"
    )]
    Contradiction {
        /// Of both.
        epoch: u64,
        /// What differs.
        key: &'static str,
        /// Of the file.
        found: String,
        known: String,
    },
}

/// Why the topology that was followed last is not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecallError {
    /// The file is no whole one.
    #[error("{FILE}: damaged; the topology file decides")]
    Damaged,
    /// A newer release wrote it.
    #[error(transparent)]
    Newer(#[from] NewerFormat),
    /// The disk does not work.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Whether a worker that has followed `known` may follow `next`. Topologies without epochs (epoch 0) say nothing about
/// which of them is newer: they may.
///
/// # Errors
/// `next` is an older one, or another one of the same epoch.
pub(super) fn check(known: &Topology, next: &Topology) -> Result<(), TopologyRefused> {
    let epoch = next.epoch;
    if epoch < known.epoch {
        return Err(TopologyRefused::BackInTime { epoch, known: known.epoch });
    }
    if epoch > known.epoch || epoch == 0 {
        return Ok(());
    }
    let contradicts = |key, found: String, known: String| {
        if found == known { Ok(()) } else { Err(TopologyRefused::Contradiction { epoch, key, found, known }) }
    };
    contradicts("shards", next.shards.to_string(), known.shards.to_string())?;
    contradicts("placements", placements(&next.placements), placements(&known.placements))?;
    if next.settled_epoch < known.settled_epoch {
        let (settled_epoch, known) = (next.settled_epoch, known.settled_epoch);
        return Err(TopologyRefused::Unsettled { epoch, settled_epoch, known });
    }
    if !next.previous_shards.is_empty() {
        let counts = |topology: &Topology| format!("{:?}", topology.previous_shards);
        contradicts("previous_shards", counts(next), counts(known))?;
    }
    Ok(())
}

/// In the words of the file, in short.
fn placements(placements: &BTreeMap<String, Spread>) -> String {
    let one = |(alias, spread): (&String, &Spread)| match spread {
        // What is not said means the same.
        Spread::Series => None,
        Spread::Query => Some(format!("{alias}: query")),
        Spread::Label(label) => Some(format!("{alias}: label {label}")),
        Spread::Labels(labels) => Some(format!("{alias}: labels {}", labels.join(" "))),
        Spread::With(other) => Some(format!("{alias}: query {other}")),
    };
    let all: Vec<String> = placements.iter().filter_map(one).collect();
    format!("{{{}}}", all.join(", "))
}

/// `known` for a worker whose file is refused: how many ranks there are, and how to reach them, says the file all the
/// same.
pub(super) fn in_place_of(file: &Topology, known: &Topology) -> Topology {
    Topology { ranks: file.ranks, peers: file.peers.clone(), ..known.clone() }
}

/// The topology that a former process has followed last.
///
/// # Errors
/// The file is there, but cannot be read.
pub(super) async fn recall<D: Disk>(disk: &D) -> Result<Option<Topology>, RecallError> {
    let bytes = match disk.read(FILE).await {
        Ok(bytes) => bytes,
        Err(DiskError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match read_header(FILE, &bytes, MAGIC, VERSION) {
        Header::Newer(newer) => Err(newer.into()),
        Header::Damaged => Err(RecallError::Damaged),
        Header::Readable => body(&bytes).map(Some).ok_or(RecallError::Damaged),
    }
}

fn body(bytes: &[u8]) -> Option<Topology> {
    let (checksum, json) = bytes.get(HEADER_BYTES..)?.split_first_chunk::<4>()?;
    (crc32c::crc32c(json) == u32::from_le_bytes(*checksum)).then(|| serde_json::from_slice(json).ok())?
}

/// Keeps the topology that is followed from now on.
///
/// # Errors
/// It cannot be written; the one before stays.
pub(super) async fn remember<D: Disk>(disk: &D, topology: &Topology) -> Result<(), DiskError> {
    // A plain struct of numbers, texts and maps with string keys: serialising it cannot fail.
    let json = serde_json::to_vec(topology).unwrap_or_default();
    let mut bytes = header(MAGIC, VERSION).to_vec();
    bytes.extend_from_slice(&crc32c::crc32c(&json).to_le_bytes());
    bytes.extend_from_slice(&json);
    disk.write_atomic(FILE, &bytes).await
}

#[cfg(test)]
mod tests {
    use config::load::Source;

    use super::*;
    use crate::disk::memory::Memory;

    fn topology(text: &str) -> Topology {
        Topology::parse(&Source::new("topology.yaml", text.as_bytes().to_vec())).unwrap()
    }

    const KNOWN: &str =
        "{epoch: 3, shards: 3, previous_shards: [2], settled_epoch: 2, placements: {cpu: {type: query}}}";

    #[test]
    fn an_older_topology_and_another_one_of_the_same_epoch_are_refused_with_what_differs() {
        let known = topology(KNOWN);
        for (next, words) in [
            ("{epoch: 2, shards: 2}", "epoch: `2`: this worker has followed epoch 3 already"),
            ("{}", "epoch: `0`: this worker has followed epoch 3 already"),
            (&KNOWN.replace("shards: 3", "shards: 4"), "shards: `4` contradicts `3`"),
            (&KNOWN.replace("query", "series"), "placements: `{}` contradicts `{cpu: query}`"),
            (&KNOWN.replace("settled_epoch: 2", "settled_epoch: 1"), "settled_epoch: `1`"),
            (&KNOWN.replace("[2]", "[5, 2]"), "previous_shards: `[5, 2]` contradicts `[2]`"),
        ] {
            let refused = check(&known, &topology(next)).unwrap_err().to_string();
            assert!(refused.contains(words) && refused.contains("epoch 3"), "{refused}");
        }
        let settled = topology("{epoch: 3, shards: 3, settled_epoch: 3, placements: {cpu: {type: query}}, ranks: 1}");
        for next in [&known, &settled, &topology("epoch: 4")] {
            assert_eq!(check(&known, next), Ok(()));
        }
        assert!(check(&settled, &known).is_err(), "what has settled opens again");
        assert_eq!(check(&topology("shards: 2"), &topology("shards: 3")), Ok(()), "there are no epochs");
    }

    #[tokio::test]
    async fn what_was_followed_outlives_a_restart_and_damage_is_noticed() {
        let disk = Memory::new();
        assert_eq!(recall(&disk).await.unwrap(), None);
        remember(&disk, &topology(KNOWN)).await.unwrap();
        assert_eq!(recall(&disk).await.unwrap(), Some(topology(KNOWN)));
        let mut bytes = disk.read(FILE).await.unwrap();
        bytes[25] ^= 1;
        disk.write_atomic(FILE, &bytes).await.unwrap();
        assert!(matches!(recall(&disk).await, Err(RecallError::Damaged)));
        bytes[8] = 9;
        let header: [u8; 4] = crc32c::crc32c(&bytes[..12]).to_le_bytes();
        bytes[12..16].copy_from_slice(&header);
        disk.write_atomic(FILE, &bytes).await.unwrap();
        assert!(matches!(recall(&disk).await, Err(RecallError::Newer(_))));
    }
}
