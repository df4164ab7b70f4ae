//! The bytes of a question for a slice, and of a slice.

use bytes::Bytes;

use super::parts::{
    dictionary, flag, input, number, option, put_dictionary, put_digest, put_flag, put_input, put_number, put_option,
};
use crate::{
    encoding::{Cursor, put_bytes, put_signed, put_unsigned},
    environment::{Grid, ReadError},
    input_log::{put_definitions, read_definitions},
    readers::{Demand, Purpose, Slice, SliceQuestion, Wanted},
};

const PURPOSES: [Purpose; 3] = [Purpose::Tick, Purpose::Probe, Purpose::Fit];

pub(super) fn put_slice_question(out: &mut Vec<u8>, question: &SliceQuestion) {
    let SliceQuestion { shard, reading, demand: Demand { wanted, fresh }, custody, dictionary } = question;
    let Wanted { purpose, until, grid: Grid { start, step, points } } = *wanted;
    put_number(out, *shard);
    put_digest(out, *reading);
    out.push(PURPOSES.iter().position(|known| *known == purpose).map_or(u8::MAX, |purpose| purpose as u8));
    put_signed(out, until);
    put_signed(out, start);
    put_signed(out, step);
    put_unsigned(out, points as u64);
    put_flag(out, *fresh);
    put_bytes(out, custody);
    put_dictionary(out, *dictionary);
}

pub(super) fn slice_question(cursor: &mut Cursor<'_>) -> Option<SliceQuestion> {
    let (shard, reading) = (number(cursor)?, cursor.u64()?);
    let purpose = *PURPOSES.get(usize::from(cursor.byte()?))?;
    let until = cursor.signed()?;
    let (start, step) = (cursor.signed()?, cursor.signed()?);
    let grid = Grid { start, step, points: usize::try_from(cursor.unsigned()?).ok()? };
    Some(SliceQuestion {
        shard,
        reading,
        demand: Demand { wanted: Wanted { purpose, until, grid }, fresh: flag(cursor)? },
        custody: Bytes::copy_from_slice(cursor.bytes()?),
        dictionary: dictionary(cursor)?,
    })
}

pub(super) fn put_slice(out: &mut Vec<u8>, slice: &Slice) {
    let Slice { input, dictionary, definitions, server_time } = slice;
    put_input(out, input);
    put_dictionary(out, *dictionary);
    put_definitions(out, definitions);
    put_option(out, *server_time, put_signed);
}

pub(super) fn slice(cursor: &mut Cursor<'_>) -> Option<Slice> {
    Some(Slice {
        input: input(cursor)?,
        dictionary: dictionary(cursor)?,
        definitions: read_definitions(cursor)?,
        server_time: option(cursor, Cursor::signed)?,
    })
}

pub(super) fn put_read_error(out: &mut Vec<u8>, error: &ReadError) {
    let is_refused = matches!(error, ReadError::Refused { .. });
    put_flag(out, is_refused);
    let message = match error {
        ReadError::Refused { status, message } => {
            put_number(out, u32::from(*status));
            message
        }
        ReadError::Unavailable { code, message } => {
            put_bytes(out, code.as_bytes());
            message
        }
    };
    put_bytes(out, message.as_bytes());
}

pub(super) fn read_error(cursor: &mut Cursor<'_>) -> Option<ReadError> {
    Some(if flag(cursor)? {
        let status = u16::try_from(number(cursor)?).ok()?;
        ReadError::Refused { status, message: cursor.text()?.to_owned() }
    } else {
        ReadError::Unavailable { code: cursor.text()?.to_owned(), message: cursor.text()?.to_owned() }
    })
}
