//! A block of series with their models' states, and its file.
//!
//! The file: the header of [`crate::disk::format`], then sections: identity, series, and for each model one, or as many
//! as its states need: a section goes on where the one before it ended, until each series has its state. A section is
//! its length (u32), a CRC-32C over its number, length and bytes (u32), and the bytes. So the series of a block are
//! known even where the states are damaged.

use crate::disk::format::{HEADER_BYTES, Header, NewerFormat, header, read_header};
use crate::encoding::{Cursor, pack, put_bytes, put_labels, put_signed, put_unsigned, unpack};
use crate::labels::Labels;
use crate::peers::Lineage;
use crate::share::Share;

/// Version of the blocks' format.
pub const BLOCK_VERSION: u32 = 1;

/// Longest section of a block, bytes before compression, and so the longest state of one series.
pub const MAX_SECTION_BYTES: usize = 256 << 20;

/// States of a model go on in a new section from here on, bytes before compression.
const FULL_SECTION_BYTES: usize = 16 << 20;

const MAGIC: [u8; 8] = *b"VMANBLK\n";
const IDENTITY: u32 = 0;
const SERIES: u32 = 1;
const FIRST_MODEL: u32 = 2;

/// Some series of one job with their models' states after one tick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Scheduler and query: "scheduler/query".
    pub job: String,
    /// Which of the job's blocks.
    pub index: u32,
    /// The newest learnt tick, ms.
    pub watermark: i64,
    /// Where the states come from, after that tick.
    pub lineage: Lineage,
    /// Which series they are of, and what of them has moved.
    pub share: Share,
    /// The series, each once.
    pub series: Vec<BlockSeries>,
    /// The models that hang on the job.
    pub models: Vec<ModelStates>,
}

/// A series of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockSeries {
    /// Its slot in the job.
    pub slot: u32,
    /// Its labels.
    pub labels: Labels,
    /// The newest tick that brought a sample of it, ms.
    pub last_seen: i64,
}

/// The states of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelStates {
    /// Alias of the model.
    pub alias: String,
    /// What the states depend on besides the input; states of another signature are of no use.
    pub signature: String,
    /// Last tick of the fit that they come from, ms.
    pub fitted_to: i64,
    /// Parallel to the block's series; `None` where the model has learnt nothing.
    pub states: Vec<Option<Vec<u8>>>,
}

/// Where a block file belongs: it says so itself, to be found without a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) job: String,
    pub(super) index: u32,
    pub(super) watermark: i64,
    pub(super) lineage: Lineage,
    pub(super) share: Share,
    /// The commit that it was written for.
    pub(super) commit: u64,
    /// The last commit before that one which took effect.
    pub(super) parent: u64,
    /// Blocks of this job in the commit.
    pub(super) commit_blocks: u32,
}

/// Why a block file was not read.
#[derive(Debug)]
pub(super) enum Unreadable {
    Newer(NewerFormat),
    /// With the block's series, where their section is intact.
    Damaged {
        what: &'static str,
        series: Option<Vec<BlockSeries>>,
    },
}

/// The file of a block; `Err` says what makes it one that cannot be read back.
pub(super) fn encode(block: &Block, commit: u64, parent: u64, commit_blocks: u32) -> Result<Vec<u8>, &'static str> {
    let mut identity = Vec::new();
    put_bytes(&mut identity, block.job.as_bytes());
    put_unsigned(&mut identity, u64::from(block.index));
    put_signed(&mut identity, block.watermark);
    let Lineage { chain, adopted, rebuilds, era } = block.lineage;
    for part in [chain, adopted, rebuilds, era] {
        identity.extend_from_slice(&part.to_le_bytes());
    }
    let share = serde_json::to_vec(&block.share).map_err(|_| "the share of the series is no JSON")?;
    put_bytes(&mut identity, &share);
    put_unsigned(&mut identity, commit);
    put_unsigned(&mut identity, parent);
    put_unsigned(&mut identity, u64::from(commit_blocks));
    put_unsigned(&mut identity, block.models.len() as u64);

    let mut series = Vec::new();
    put_unsigned(&mut series, block.series.len() as u64);
    for one in &block.series {
        put_unsigned(&mut series, u64::from(one.slot));
        put_signed(&mut series, one.last_seen);
        put_labels(&mut series, &one.labels);
    }

    let mut out = header(MAGIC, BLOCK_VERSION).to_vec();
    put_section(&mut out, IDENTITY, &identity)?;
    put_section(&mut out, SERIES, &series)?;
    let mut numbers = FIRST_MODEL..;
    for model in &block.models {
        if model.states.len() != block.series.len() {
            return Err("a model has not one state for each series");
        }
        for part in parts(&model.states) {
            let mut states = Vec::new();
            put_bytes(&mut states, model.alias.as_bytes());
            put_bytes(&mut states, model.signature.as_bytes());
            put_signed(&mut states, model.fitted_to);
            for state in part {
                // The length plus one; zero is no state.
                put_unsigned(&mut states, state.as_ref().map_or(0, |state| state.len() as u64 + 1));
                states.extend_from_slice(state.as_deref().unwrap_or_default());
            }
            put_section(&mut out, numbers.next().unwrap_or(u32::MAX), &states)?;
        }
    }
    Ok(out)
}

/// The states as they go into sections: the first part is there even if there is no state.
fn parts(states: &[Option<Vec<u8>>]) -> Vec<&[Option<Vec<u8>>]> {
    let mut parts = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, state) in states.iter().enumerate() {
        let length = state.as_ref().map_or(0, Vec::len);
        if index > start && length.saturating_add(bytes) > FULL_SECTION_BYTES {
            parts.extend(states.get(start..index));
            (start, bytes) = (index, 0);
        }
        bytes = bytes.saturating_add(length);
    }
    parts.extend(states.get(start..));
    parts
}

fn put_section(out: &mut Vec<u8>, number: u32, body: &[u8]) -> Result<(), &'static str> {
    if body.len() > MAX_SECTION_BYTES {
        return Err("the state of a series is longer than 256 MiB");
    }
    let packed = pack(body);
    let length = packed.len() as u32;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&section_checksum(number, length, &packed).to_le_bytes());
    out.extend_from_slice(&packed);
    Ok(())
}

fn section_checksum(number: u32, length: u32, packed: &[u8]) -> u32 {
    let place = crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), &length.to_le_bytes());
    crc32c::crc32c_append(place, packed)
}

/// What a block file holds.
pub(super) fn decode(path: &str, bytes: &[u8]) -> Result<(Identity, Block), Unreadable> {
    let damaged = |what, series| Unreadable::Damaged { what, series };
    match read_header(path, bytes, MAGIC, BLOCK_VERSION) {
        Header::Newer(newer) => return Err(Unreadable::Newer(newer)),
        Header::Damaged => return Err(damaged("no valid file header", None)),
        Header::Readable => {}
    }
    let mut cursor = Cursor::new(bytes.get(HEADER_BYTES..).unwrap_or_default());
    let (identity, model_count) =
        section(&mut cursor, IDENTITY, identity).ok_or_else(|| damaged("the identity is damaged", None))?;
    let series = section(&mut cursor, SERIES, series).ok_or_else(|| damaged("the series are damaged", None))?;
    let mut numbers = FIRST_MODEL..;
    let mut models = Vec::new();
    for _ in 0..model_count {
        match states_of_model(&mut cursor, &mut numbers, series.len()) {
            Some(model) => models.push(model),
            None => return Err(damaged("the states are damaged", Some(series))),
        }
    }
    if !cursor.is_empty() {
        return Err(damaged("it is longer than it should be", Some(series)));
    }
    let Identity { index, watermark, lineage, ref share, .. } = identity;
    let block = Block { job: identity.job.clone(), index, watermark, lineage, share: share.clone(), series, models };
    Ok((identity, block))
}

/// Reads the identity alone.
pub(super) fn decode_identity(path: &str, bytes: &[u8]) -> Result<Identity, Unreadable> {
    match read_header(path, bytes, MAGIC, BLOCK_VERSION) {
        Header::Newer(newer) => return Err(Unreadable::Newer(newer)),
        Header::Damaged => return Err(Unreadable::Damaged { what: "no valid file header", series: None }),
        Header::Readable => {}
    }
    let mut cursor = Cursor::new(bytes.get(HEADER_BYTES..).unwrap_or_default());
    section(&mut cursor, IDENTITY, identity)
        .map(|(identity, _)| identity)
        .ok_or(Unreadable::Damaged { what: "the identity is damaged", series: None })
}

/// Takes one section, whose bytes `read` has to use up.
fn section<T>(cursor: &mut Cursor<'_>, number: u32, read: impl Fn(&mut Cursor<'_>) -> Option<T>) -> Option<T> {
    let length = u32::from_le_bytes(cursor.array()?);
    let checksum = u32::from_le_bytes(cursor.array()?);
    let packed = cursor.take(length as usize)?;
    if section_checksum(number, length, packed) != checksum {
        return None;
    }
    let body = unpack(packed, MAX_SECTION_BYTES)?;
    let mut body = Cursor::new(&body);
    let value = read(&mut body)?;
    body.is_empty().then_some(value)
}

fn identity(body: &mut Cursor<'_>) -> Option<(Identity, usize)> {
    let identity = Identity {
        job: body.text()?.to_owned(),
        index: u32::try_from(body.unsigned()?).ok()?,
        watermark: body.signed()?,
        lineage: Lineage { chain: body.u64()?, adopted: body.u64()?, rebuilds: body.u64()?, era: body.u64()? },
        share: serde_json::from_slice(body.bytes()?).ok()?,
        commit: body.unsigned()?,
        parent: body.unsigned()?,
        commit_blocks: u32::try_from(body.unsigned()?).ok()?,
    };
    Some((identity, usize::try_from(body.unsigned()?).ok()?))
}

fn series(body: &mut Cursor<'_>) -> Option<Vec<BlockSeries>> {
    let count = body.count(3)?;
    let mut series = Vec::with_capacity(count);
    for _ in 0..count {
        let slot = u32::try_from(body.unsigned()?).ok()?;
        let last_seen = body.signed()?;
        series.push(BlockSeries { slot, labels: body.labels()?, last_seen });
    }
    Some(series)
}

/// Takes the sections of one model, until there are `count` states.
fn states_of_model(
    cursor: &mut Cursor<'_>,
    numbers: &mut std::ops::RangeFrom<u32>,
    count: usize,
) -> Option<ModelStates> {
    let mut model = section(cursor, numbers.next()?, |body| part_of_model(body, count))?;
    while model.states.len() < count {
        let missing = count - model.states.len();
        let more = section(cursor, numbers.next()?, |body| part_of_model(body, missing))?;
        let goes_on =
            (&more.alias, &more.signature, more.fitted_to) == (&model.alias, &model.signature, model.fitted_to);
        if !goes_on || more.states.is_empty() {
            return None;
        }
        model.states.extend(more.states);
    }
    Some(model)
}

/// The states of one section, at most `count`.
fn part_of_model(body: &mut Cursor<'_>, count: usize) -> Option<ModelStates> {
    let alias = body.text()?.to_owned();
    let signature = body.text()?.to_owned();
    let fitted_to = body.signed()?;
    let mut states = Vec::new();
    while states.len() < count && !body.is_empty() {
        states.push(match body.unsigned()?.checked_sub(1) {
            Some(length) => Some(body.take(usize::try_from(length).ok()?)?.to_vec()),
            None => None,
        });
    }
    Some(ModelStates { alias, signature, fitted_to, states })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block() -> impl Strategy<Value = Block> {
        let series = (any::<u32>(), any::<i64>(), any::<Vec<(String, String)>>())
            .prop_map(|(slot, last_seen, pairs)| BlockSeries { slot, last_seen, labels: Labels::new(pairs) });
        let lineage =
            any::<[u64; 4]>().prop_map(|[chain, adopted, rebuilds, era]| Lineage { chain, adopted, rebuilds, era });
        let block = (any::<(String, u32, i64)>(), lineage, prop::collection::vec(series, 0..8), 0_usize..3);
        block.prop_flat_map(|((job, index, watermark), lineage, series, models)| {
            let states = prop::collection::vec(any::<Option<Vec<u8>>>(), series.len());
            let model = (any::<(String, String, i64)>(), states).prop_map(|((alias, signature, fitted_to), states)| {
                ModelStates { alias, signature, fitted_to, states }
            });
            prop::collection::vec(model, models).prop_map(move |models| Block {
                job: job.clone(),
                index,
                watermark,
                lineage,
                share: Share::default(),
                series: series.clone(),
                models,
            })
        })
    }

    #[test]
    fn long_states_take_sections_of_their_own_and_one_of_256_mib_is_refused() {
        let series = |slot| BlockSeries { slot, labels: Labels::new::<&str, &str>([]), last_seen: 0 };
        let with = |states: Vec<Option<Vec<u8>>>| Block {
            job: "scheduler/query".to_owned(),
            index: 0,
            watermark: 0,
            lineage: Lineage::default(),
            share: Share::default(),
            series: (0..states.len() as u32).map(series).collect(),
            models: vec![ModelStates { alias: "m".to_owned(), signature: String::new(), fitted_to: 0, states }],
        };
        let long = |byte| Some(vec![byte; FULL_SECTION_BYTES / 2 + 1]);
        let block = with(vec![None, long(1), None, long(2), long(3), None]);
        assert_eq!(parts(&block.models[0].states).len(), 3);
        assert_eq!(decode("path", &encode(&block, 1, 0, 1).unwrap()).unwrap().1, block);
        assert!(encode(&with(vec![Some(vec![0; MAX_SECTION_BYTES])]), 1, 0, 1).is_err());
    }

    proptest! {
        #[test]
        fn a_block_is_read_back(block in block(), commit: u64, parent: u64, blocks: u32) {
            let bytes = encode(&block, commit, parent, blocks).unwrap();
            let (identity, read) = decode("path", &bytes).unwrap();
            prop_assert_eq!(read, block);
            prop_assert_eq!(decode_identity("path", &bytes).unwrap(), identity.clone());
            prop_assert_eq!((identity.commit, identity.parent, identity.commit_blocks), (commit, parent, blocks));
        }

        #[test]
        fn a_flip_anywhere_is_damage(block in block(), place: prop::sample::Index, bit in 0_u8..8) {
            let mut bytes = encode(&block, 1, 0, 1).unwrap();
            *place.get_mut(&mut bytes) ^= 1 << bit;
            let Err(Unreadable::Damaged { series, .. }) = decode("path", &bytes) else { panic!("not detected") };
            prop_assert!(series.is_none_or(|series| series == block.series));
        }
    }
}
