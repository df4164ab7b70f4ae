//! The contract between operator and workers: in which versions this build writes and reads `topology.yaml`, and in what
//! those differ. Whatever depends on a version asks here.
//!
//! Every version keeps the names and the meaning of the keys in [`CORE`], so that an older release knows who owns what
//! also when a newer one has written the file.

/// Newest version that this build writes and reads. With the feature `next-contract` it is one more, which makes a test
/// build: it stands for the next release.
pub const CONTRACT_VERSION: u32 = if cfg!(feature = "next-contract") { 2 } else { 1 };

/// Oldest version that this build writes and reads.
pub const OLDEST_CONTRACT_VERSION: u32 = 1;

/// The release as it is named to others, which tells the test build from the release that it is built from.
pub const RELEASE: &str = if cfg!(feature = "next-contract") {
    concat!(env!("CARGO_PKG_VERSION"), "+next-contract")
} else {
    env!("CARGO_PKG_VERSION")
};

/// Keys of `topology.yaml` that are the same in every version: who owns which series, and who may still have them.
pub(crate) const CORE: [&str; 7] =
    ["contract_version", "epoch", "settled_epoch", "shards", "previous_shards", "ranks", "placements"];

/// The key of where a worker listens for the others. Only the test build gets to the second one.
pub(crate) const fn listen_key(version: u32) -> &'static str {
    if version < 2 { "listen" } else { "bind" }
}
