//! The bytes of an answer.

use std::rc::Rc;

use bytes::Bytes;

use super::{
    EncodingError, LONGEST_ANSWER, LONGEST_HEAD, envelope, open,
    parts::{
        dictionary, flag, handover, input, number, option, put_dictionary, put_digest, put_flag, put_handover,
        put_input, put_number, put_option, put_standing, standing,
    },
    slice::{put_read_error, put_slice, read_error, slice},
};
use crate::{
    encoding::{Cursor, put_bytes, put_signed, put_unsigned},
    engine::TickInput,
    input_log::{put_definitions, put_reason, read_definitions, read_reason},
    peers::{
        journal::{Content, Entry, SharedFit, StateImage, Takeover},
        message::{Answer, Held, Next, NextRecord},
    },
    share::Handover,
};

const NEXT: u8 = 1;
const FIT: u8 = 2;
const IMAGE: u8 = 3;
const LATER: u8 = 4;
const NOTHING: u8 = 5;
const RELEASED: u8 = 6;
const EMPTY: u8 = 7;
const TAKEN: u8 = 8;
const SLICE: u8 = 9;
const FAILED: u8 = 10;

const NEXT_NOTHING: u8 = 0;
const NEXT_RECORD: u8 = 1;
const NEXT_DIVERGED: u8 = 2;
const NEXT_GONE: u8 = 3;

const TICK: u8 = 1;
const SKIPPED: u8 = 2;
const FIT_TAKEN_OVER: u8 = 3;
const SERIES_RELEASED: u8 = 4;
const SERIES_JOINED: u8 = 5;

/// The bytes of an answer. Of a fit or an image, only the block that was asked for; of an image, the ticks that the due
/// fit has not seen only behind the last block.
///
/// # Errors
/// [`EncodingError::TooLong`] when it has more than [`LONGEST_ANSWER`] bytes.
pub fn encode_answer(answer: &Answer) -> Result<Vec<u8>, EncodingError> {
    let mut head = Vec::new();
    let mut rest: &[u8] = &[];
    match answer {
        Answer::Next { standing, next, held } => {
            head.push(NEXT);
            put_standing(&mut head, standing);
            put_next(&mut head, next);
            put_unsigned(&mut head, held.epoch);
            put_handovers(&mut head, &held.handovers);
            put_flag(&mut head, held.may_return);
        }
        Answer::Fit { fit, block } => {
            head.push(FIT);
            put_fit(&mut head, fit);
            put_flag(&mut head, block.is_some());
            rest = block.as_deref().unwrap_or_default();
        }
        Answer::Image { image, block } => {
            head.push(IMAGE);
            put_flag(&mut head, block.is_some());
            put_image(&mut head, image, block.is_none());
            rest = block.as_deref().unwrap_or_default();
        }
        Answer::Later => head.push(LATER),
        Answer::Nothing => head.push(NOTHING),
        Answer::Released => head.push(RELEASED),
        Answer::Empty => head.push(EMPTY),
        Answer::Taken(taken) => {
            head.push(TAKEN);
            put_flag(&mut head, *taken);
        }
        Answer::Slice(slice) => {
            head.push(SLICE);
            put_slice(&mut head, slice);
        }
        Answer::Failed(error) => {
            head.push(FAILED);
            put_read_error(&mut head, error);
        }
    }
    envelope(&head, rest, LONGEST_ANSWER)
}

/// What [`encode_answer`] was given, without what it leaves out.
///
/// # Errors
/// When the bytes are none of its.
pub fn decode_answer(bytes: &Bytes) -> Result<Answer, EncodingError> {
    open(bytes, LONGEST_ANSWER, LONGEST_HEAD, |head, rest| {
        // Only a block follows the head.
        let block = |present: bool| match present {
            true => Some(Some(rest.clone())),
            false => rest.is_empty().then_some(None),
        };
        Some(match head.byte()? {
            NEXT => {
                let (standing, next) = (standing(head)?, next(head)?);
                let held = Held { epoch: head.unsigned()?, handovers: handovers(head)?, may_return: flag(head)? };
                let answer = Answer::Next { standing, next, held };
                block(false).map(|_| answer)?
            }
            FIT => {
                let fit = Rc::new(fit(head)?);
                Answer::Fit { fit, block: block(flag(head)?)? }
            }
            IMAGE => {
                let block = block(flag(head)?)?;
                Answer::Image { image: Rc::new(image(head, block.is_none())?), block }
            }
            LATER => block(false).map(|_| Answer::Later)?,
            NOTHING => block(false).map(|_| Answer::Nothing)?,
            RELEASED => block(false).map(|_| Answer::Released)?,
            EMPTY => block(false).map(|_| Answer::Empty)?,
            TAKEN => {
                let taken = flag(head)?;
                block(false).map(|_| Answer::Taken(taken))?
            }
            SLICE => {
                let slice = Box::new(slice(head)?);
                block(false).map(|_| Answer::Slice(slice))?
            }
            FAILED => {
                let error = read_error(head)?;
                block(false).map(|_| Answer::Failed(error))?
            }
            _ => return None,
        })
    })
}

fn put_next(out: &mut Vec<u8>, next: &Next) {
    match next {
        Next::Nothing => out.push(NEXT_NOTHING),
        Next::Record(record) => {
            out.push(NEXT_RECORD);
            let NextRecord { entry, plan, dictionary, definitions } = &**record;
            put_entry(out, entry);
            put_option(out, plan.as_deref(), put_bytes);
            put_dictionary(out, *dictionary);
            put_definitions(out, definitions);
        }
        Next::Diverged => out.push(NEXT_DIVERGED),
        Next::Gone => out.push(NEXT_GONE),
    }
}

fn next(cursor: &mut Cursor<'_>) -> Option<Next> {
    Some(match cursor.byte()? {
        NEXT_NOTHING => Next::Nothing,
        NEXT_RECORD => Next::Record(Box::new(NextRecord {
            entry: Rc::new(entry(cursor)?),
            plan: option(cursor, Cursor::bytes)?.map(Bytes::copy_from_slice),
            dictionary: dictionary(cursor)?,
            definitions: read_definitions(cursor)?,
        })),
        NEXT_DIVERGED => Next::Diverged,
        NEXT_GONE => Next::Gone,
        _ => return None,
    })
}

fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    let Entry { after, position, plan, before, content, chain } = entry;
    put_signed(out, *after);
    put_signed(out, *position);
    put_digest(out, *plan);
    put_digest(out, *before);
    match content {
        Content::Tick(input) => {
            out.push(TICK);
            put_input(out, input);
        }
        Content::Skipped { from, to, reason } => {
            out.push(SKIPPED);
            put_signed(out, *from);
            put_signed(out, *to);
            put_reason(out, reason);
        }
        Content::TakenOver(Takeover { fitted_to, digest }) => {
            out.push(FIT_TAKEN_OVER);
            put_signed(out, *fitted_to);
            put_digest(out, *digest);
        }
        Content::Released { to } => {
            out.push(SERIES_RELEASED);
            put_number(out, *to);
        }
        Content::Joined { handover, chain } => {
            out.push(SERIES_JOINED);
            put_handover(out, *handover);
            put_digest(out, *chain);
        }
    }
    put_digest(out, *chain);
}

fn entry(cursor: &mut Cursor<'_>) -> Option<Entry> {
    Some(Entry {
        after: cursor.signed()?,
        position: cursor.signed()?,
        plan: cursor.u64()?,
        before: cursor.u64()?,
        content: match cursor.byte()? {
            TICK => Content::Tick(input(cursor)?),
            SKIPPED => Content::Skipped { from: cursor.signed()?, to: cursor.signed()?, reason: read_reason(cursor)? },
            FIT_TAKEN_OVER => Content::TakenOver(Takeover { fitted_to: cursor.signed()?, digest: cursor.u64()? }),
            SERIES_RELEASED => Content::Released { to: number(cursor)? },
            SERIES_JOINED => Content::Joined { handover: handover(cursor)?, chain: cursor.u64()? },
            _ => return None,
        },
        chain: cursor.u64()?,
    })
}

fn put_fit(out: &mut Vec<u8>, fit: &SharedFit) {
    let SharedFit { fitted_to, partial, models, plan, samples, digest, blocks: _ } = fit;
    put_signed(out, *fitted_to);
    put_flag(out, *partial);
    put_unsigned(out, models.len() as u64);
    for model in models {
        put_bytes(out, model.as_bytes());
    }
    put_digest(out, *plan);
    put_unsigned(out, *samples);
    put_digest(out, *digest);
}

fn fit(cursor: &mut Cursor<'_>) -> Option<SharedFit> {
    let (fitted_to, partial) = (cursor.signed()?, flag(cursor)?);
    let count = cursor.count(1)?;
    let models: Option<Vec<String>> = (0..count).map(|_| cursor.text().map(ToOwned::to_owned)).collect();
    Some(SharedFit {
        fitted_to,
        partial,
        models: models?,
        plan: cursor.u64()?,
        samples: cursor.unsigned()?,
        digest: cursor.u64()?,
        blocks: Vec::new(),
    })
}

fn put_image(out: &mut Vec<u8>, image: &StateImage, whole: bool) {
    let StateImage { id, standing, plan, fit_due, since_fit, definitions, arrived, blocks: _ } = image;
    put_digest(out, *id);
    if whole {
        put_standing(out, standing);
        put_bytes(out, plan);
        put_option(out, *fit_due, put_signed);
        put_unsigned(out, since_fit.len() as u64);
        for input in since_fit {
            put_input(out, input);
        }
        put_definitions(out, definitions);
        put_handovers(out, arrived);
    }
}

/// The smallest hand-over takes so many bytes.
const HANDOVER_BYTES: usize = 3;
/// The smallest tick takes so many bytes.
const TICK_BYTES: usize = 5;

fn image(cursor: &mut Cursor<'_>, whole: bool) -> Option<StateImage> {
    let id = cursor.u64()?;
    if !whole {
        let (standing, plan) = Default::default();
        return Some(StateImage {
            id,
            standing,
            plan,
            fit_due: None,
            since_fit: Vec::new(),
            definitions: Vec::new(),
            arrived: Vec::new(),
            blocks: Vec::new(),
        });
    }
    Some(StateImage {
        id,
        standing: standing(cursor)?,
        plan: Bytes::copy_from_slice(cursor.bytes()?),
        fit_due: option(cursor, Cursor::signed)?,
        since_fit: {
            let count = cursor.count(TICK_BYTES)?;
            let inputs: Option<Vec<TickInput>> = (0..count).map(|_| input(cursor)).collect();
            inputs?
        },
        definitions: read_definitions(cursor)?,
        arrived: handovers(cursor)?,
        blocks: Vec::new(),
    })
}

fn put_handovers(out: &mut Vec<u8>, handovers: &[Handover]) {
    put_unsigned(out, handovers.len() as u64);
    for handover in handovers {
        put_handover(out, *handover);
    }
}

fn handovers(cursor: &mut Cursor<'_>) -> Option<Vec<Handover>> {
    let count = cursor.count(HANDOVER_BYTES)?;
    (0..count).map(|_| handover(cursor)).collect()
}
