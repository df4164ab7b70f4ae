//! The bytes of a question.

use bytes::Bytes;

use super::{
    EncodingError, LONGEST_QUESTION, Question, Request, envelope, open,
    parts::{
        dictionary, member, number, option, put_dictionary, put_digest, put_member, put_number, put_option,
        put_standing, standing,
    },
    slice::{put_slice_question, slice_question},
};
use crate::encoding::{Cursor, put_bytes, put_signed, put_unsigned};

const NEXT: u8 = 1;
const FIT: u8 = 2;
const IMAGE: u8 = 3;
const RELEASE: u8 = 4;
const TAKEN: u8 = 5;
const SLICE: u8 = 6;

/// The bytes of a question.
///
/// # Errors
/// [`EncodingError::TooLong`] for a job with a name of almost [`LONGEST_QUESTION`] bytes.
pub fn encode_question(question: &Question) -> Result<Vec<u8>, EncodingError> {
    let Question { from, to, epoch, shards, job, request } = question;
    let mut head = Vec::new();
    put_member(&mut head, *from);
    put_member(&mut head, *to);
    put_unsigned(&mut head, *epoch);
    put_number(&mut head, *shards);
    put_bytes(&mut head, job.as_bytes());
    put_request(&mut head, request);
    envelope(&head, &[], LONGEST_QUESTION)
}

/// What [`encode_question`] was given.
///
/// # Errors
/// When the bytes are none of its.
pub fn decode_question(bytes: &Bytes) -> Result<Question, EncodingError> {
    open(bytes, LONGEST_QUESTION, LONGEST_QUESTION, |head, rest| {
        let question = Question {
            from: member(head)?,
            to: member(head)?,
            epoch: head.unsigned()?,
            shards: number(head)?,
            job: head.text()?.to_owned(),
            request: request(head)?,
        };
        rest.is_empty().then_some(question)
    })
}

fn put_request(out: &mut Vec<u8>, request: &Request) {
    match request {
        Request::Next { standing, plan, dictionary } => {
            out.push(NEXT);
            put_standing(out, standing);
            put_digest(out, *plan);
            put_dictionary(out, *dictionary);
        }
        Request::Fit { fitted_to, block } => {
            out.push(FIT);
            put_signed(out, *fitted_to);
            put_number(out, *block);
        }
        Request::Image { image, block } => {
            out.push(IMAGE);
            put_option(out, *image, put_digest);
            put_number(out, *block);
        }
        Request::Release { epoch, to } => {
            out.push(RELEASE);
            put_unsigned(out, *epoch);
            put_number(out, *to);
        }
        Request::Taken { epoch, from } => {
            out.push(TAKEN);
            put_unsigned(out, *epoch);
            put_number(out, *from);
        }
        Request::Slice(question) => {
            out.push(SLICE);
            put_slice_question(out, question);
        }
    }
}

fn request(cursor: &mut Cursor<'_>) -> Option<Request> {
    Some(match cursor.byte()? {
        NEXT => Request::Next { standing: standing(cursor)?, plan: cursor.u64()?, dictionary: dictionary(cursor)? },
        FIT => Request::Fit { fitted_to: cursor.signed()?, block: number(cursor)? },
        IMAGE => Request::Image { image: option(cursor, Cursor::u64)?, block: number(cursor)? },
        RELEASE => Request::Release { epoch: cursor.unsigned()?, to: number(cursor)? },
        TAKEN => Request::Taken { epoch: cursor.unsigned()?, from: number(cursor)? },
        SLICE => Request::Slice(Box::new(slice_question(cursor)?)),
        _ => return None,
    })
}
