//! The manifest: which block files count. It takes effect as a whole, so several blocks change at once.

use std::collections::BTreeMap;

use super::name;
use crate::disk::format::{HEADER_BYTES, Header, NewerFormat, header, read_header};
use crate::encoding::{Cursor, pack, put_bytes, put_signed, put_unsigned, unpack};

/// Version of the manifest's format.
pub const MANIFEST_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"VMANSET\n";
const MAX_MANIFEST_BYTES: usize = 256 << 20;

/// A block, by job and index.
pub(super) type Key = (String, u32);

/// One file of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Generation {
    pub(super) commit: u64,
    pub(super) watermark: i64,
}

/// The files of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Generations {
    pub(super) current: Generation,
    pub(super) previous: Option<Generation>,
}

impl Generations {
    pub(super) fn iter(self) -> impl Iterator<Item = Generation> {
        [Some(self.current), self.previous].into_iter().flatten()
    }
}

/// All blocks after one commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    /// 0 before the first.
    pub(super) commit: u64,
    pub(super) blocks: BTreeMap<Key, Generations>,
}

/// What a manifest file is.
#[derive(Debug)]
pub(super) enum Read {
    Manifest(Manifest),
    Damaged,
    Newer(NewerFormat),
}

impl Manifest {
    /// The files, each with its job.
    pub(super) fn paths(&self) -> impl Iterator<Item = (&str, String)> {
        self.blocks.iter().flat_map(|((job, index), generations)| {
            generations.iter().map(|generation| (job.as_str(), name::block(job, *index, generation.commit)))
        })
    }
}

pub(super) fn encode(manifest: &Manifest) -> Vec<u8> {
    let mut body = Vec::new();
    put_unsigned(&mut body, manifest.commit);
    put_unsigned(&mut body, manifest.blocks.len() as u64);
    for ((job, index), generations) in &manifest.blocks {
        put_bytes(&mut body, job.as_bytes());
        put_unsigned(&mut body, u64::from(*index));
        put_unsigned(&mut body, generations.iter().count() as u64);
        for generation in generations.iter() {
            put_unsigned(&mut body, generation.commit);
            put_signed(&mut body, generation.watermark);
        }
    }
    let packed = pack(&body);
    let mut out = header(MAGIC, MANIFEST_VERSION).to_vec();
    out.extend_from_slice(&crc32c::crc32c(&packed).to_le_bytes());
    out.extend_from_slice(&packed);
    out
}

pub(super) fn read(path: &str, bytes: &[u8]) -> Read {
    match read_header(path, bytes, MAGIC, MANIFEST_VERSION) {
        Header::Newer(newer) => Read::Newer(newer),
        Header::Damaged => Read::Damaged,
        Header::Readable => decode(bytes.get(HEADER_BYTES..).unwrap_or_default()).map_or(Read::Damaged, Read::Manifest),
    }
}

fn decode(bytes: &[u8]) -> Option<Manifest> {
    let mut cursor = Cursor::new(bytes);
    let checksum = u32::from_le_bytes(cursor.array()?);
    if crc32c::crc32c(cursor.rest()) != checksum {
        return None;
    }
    let body = unpack(cursor.rest(), MAX_MANIFEST_BYTES)?;
    let mut body = Cursor::new(&body);
    let mut manifest = Manifest { commit: body.unsigned()?, blocks: BTreeMap::new() };
    for _ in 0..body.count(5)? {
        let key = (body.text()?.to_owned(), u32::try_from(body.unsigned()?).ok()?);
        let count = body.unsigned()?;
        let mut generation =
            || -> Option<Generation> { Some(Generation { commit: body.unsigned()?, watermark: body.signed()? }) };
        let current = generation()?;
        let previous = match count {
            1 => None,
            2 => Some(generation()?),
            _ => return None,
        };
        manifest.blocks.insert(key, Generations { current, previous });
    }
    body.is_empty().then_some(manifest)
}
