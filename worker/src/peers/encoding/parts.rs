//! What questions and answers have in common.

use crate::{
    encoding::{Cursor, put_signed, put_unsigned},
    engine::TickInput,
    input_log::{put_tick, read_tick},
    peers::{
        lineage::{Lineage, Phase, Standing},
        message::{DictionaryVersion, Member},
    },
    share::Handover,
};

pub(super) fn put_number(out: &mut Vec<u8>, number: u32) {
    put_unsigned(out, u64::from(number));
}

pub(super) fn number(cursor: &mut Cursor<'_>) -> Option<u32> {
    u32::try_from(cursor.unsigned()?).ok()
}

pub(super) fn put_digest(out: &mut Vec<u8>, digest: u64) {
    out.extend_from_slice(&digest.to_le_bytes());
}

pub(super) fn put_flag(out: &mut Vec<u8>, flag: bool) {
    out.push(u8::from(flag));
}

pub(super) fn flag(cursor: &mut Cursor<'_>) -> Option<bool> {
    match cursor.byte()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// Whether there is a value, and the value.
pub(super) fn put_option<T>(out: &mut Vec<u8>, value: Option<T>, put: impl Fn(&mut Vec<u8>, T)) {
    put_flag(out, value.is_some());
    if let Some(value) = value {
        put(out, value);
    }
}

/// The outer `None` means that the bytes are none of [`put_option`]'s.
#[expect(clippy::option_option, reason = "an absent value is not a failure to read it")]
pub(super) fn option<'a, T>(cursor: &mut Cursor<'a>, read: impl Fn(&mut Cursor<'a>) -> Option<T>) -> Option<Option<T>> {
    if flag(cursor)? { read(cursor).map(Some) } else { Some(None) }
}

pub(super) fn put_member(out: &mut Vec<u8>, member: Member) {
    put_number(out, member.shard);
    put_number(out, member.rank);
}

pub(super) fn member(cursor: &mut Cursor<'_>) -> Option<Member> {
    Some(Member { shard: number(cursor)?, rank: number(cursor)? })
}

pub(super) fn put_handover(out: &mut Vec<u8>, handover: Handover) {
    let Handover { epoch, from, to } = handover;
    put_unsigned(out, epoch);
    put_number(out, from);
    put_number(out, to);
}

pub(super) fn handover(cursor: &mut Cursor<'_>) -> Option<Handover> {
    Some(Handover { epoch: cursor.unsigned()?, from: number(cursor)?, to: number(cursor)? })
}

pub(super) fn put_lineage(out: &mut Vec<u8>, lineage: Lineage) {
    let Lineage { chain, adopted, rebuilds, era } = lineage;
    put_digest(out, chain);
    put_digest(out, adopted);
    put_unsigned(out, rebuilds);
    put_unsigned(out, era);
}

pub(super) fn lineage(cursor: &mut Cursor<'_>) -> Option<Lineage> {
    let (chain, adopted) = (cursor.u64()?, cursor.u64()?);
    Some(Lineage { chain, adopted, rebuilds: cursor.unsigned()?, era: cursor.unsigned()? })
}

const PHASES: [Phase; 6] =
    [Phase::Restoring, Phase::Joining, Phase::Beginning, Phase::Running, Phase::Adopting, Phase::Alone];

pub(super) fn put_standing(out: &mut Vec<u8>, standing: &Standing) {
    let Standing { rank, phase, position, lineage, written, writes, working_on, recording, fit, release, progress } =
        *standing;
    put_number(out, rank);
    out.push(PHASES.iter().position(|known| *known == phase).map_or(u8::MAX, |phase| phase as u8));
    put_signed(out, position);
    put_lineage(out, lineage);
    put_signed(out, written);
    put_flag(out, writes);
    put_option(out, working_on, put_signed);
    put_flag(out, recording);
    put_option(out, fit, put_signed);
    put_digest(out, release);
    put_unsigned(out, progress.0);
    put_unsigned(out, progress.1 as u64);
}

pub(super) fn standing(cursor: &mut Cursor<'_>) -> Option<Standing> {
    Some(Standing {
        rank: number(cursor)?,
        phase: *PHASES.get(usize::from(cursor.byte()?))?,
        position: cursor.signed()?,
        lineage: lineage(cursor)?,
        written: cursor.signed()?,
        writes: flag(cursor)?,
        working_on: option(cursor, Cursor::signed)?,
        recording: flag(cursor)?,
        fit: option(cursor, Cursor::signed)?,
        release: cursor.u64()?,
        progress: (cursor.unsigned()?, usize::try_from(cursor.unsigned()?).ok()?),
    })
}

pub(super) fn put_dictionary(out: &mut Vec<u8>, dictionary: DictionaryVersion) {
    put_digest(out, dictionary.incarnation);
    put_unsigned(out, dictionary.version);
}

pub(super) fn dictionary(cursor: &mut Cursor<'_>) -> Option<DictionaryVersion> {
    Some(DictionaryVersion { incarnation: cursor.u64()?, version: cursor.unsigned()? })
}

pub(super) fn put_input(out: &mut Vec<u8>, input: &TickInput) {
    put_tick(out, input);
}

/// Every row has a slot of its own, and at least one value that pays for it.
pub(super) fn input(cursor: &mut Cursor<'_>) -> Option<TickInput> {
    let input = read_tick(cursor, 0)?;
    input.slots.is_sorted_by(|left, right| left < right).then_some(input)
}
