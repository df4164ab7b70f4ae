//! Questions and answers between workers as bytes.
//!
//! A message is the version of the protocol (one byte), the length of its packed head, the head, and what follows the
//! head: at most one block as in a snapshot file, which is compressed already and therefore not packed again. Every kind
//! of request and of answer has a number of its own; an unknown one is refused, and so are bytes after the end.

mod answer;
mod parts;
mod question;
mod slice;

use bytes::Bytes;

pub use answer::{decode_answer, encode_answer};
pub use question::{decode_question, encode_question};

use super::message::{Member, Request};
use crate::encoding::{Cursor, pack, put_bytes, unpack};

/// Version of the protocol. Another one is another language: nothing of it is understood.
pub const PROTOCOL_VERSION: u8 = 1;
/// Longest question, bytes, before and after compression: where a rank stands, and the name of a job.
pub const LONGEST_QUESTION: usize = 1 << 20;
/// Longest answer, bytes as sent: a block with the states of 1,024 series, or a tick of some million series.
pub const LONGEST_ANSWER: usize = 256 << 20;
/// Longest head of an answer, bytes before compression.
const LONGEST_HEAD: usize = 512 << 20;

/// What one worker asks another one, with everything that tells whether it is meant for that one.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Who asks.
    pub from: Member,
    /// Who is asked.
    pub to: Member,
    /// Epoch of the topology that the asking worker has.
    pub epoch: u64,
    /// Number of shards in it.
    pub shards: u32,
    /// The job, "scheduler/query".
    pub job: String,
    /// What is asked about it.
    pub request: Request,
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodingError {
    /// Another version of the protocol.
    #[error("it is of version {found} of the protocol, this worker speaks version {PROTOCOL_VERSION}")]
    OtherVersion {
        /// Its version.
        found: u8,
    },
    /// Longer than a message may be.
    #[error("it has {bytes} bytes, which is more than {limit}")]
    TooLong {
        /// Its length, bytes.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// Damaged, or no message at all.
    #[error("it cannot be read")]
    Unreadable,
}

/// The bytes of a message, at most `limit`.
fn envelope(head: &[u8], rest: &[u8], limit: usize) -> Result<Vec<u8>, EncodingError> {
    let packed = pack(head);
    let mut out = Vec::with_capacity(packed.len() + rest.len() + 16);
    out.push(PROTOCOL_VERSION);
    put_bytes(&mut out, &packed);
    out.extend_from_slice(rest);
    if out.len() > limit { Err(EncodingError::TooLong { bytes: out.len(), limit }) } else { Ok(out) }
}

/// Reads a message whose head has at most `head_limit` bytes; `read` has to use up the head, and gets what follows it.
fn open<T>(
    bytes: &Bytes,
    limit: usize,
    head_limit: usize,
    read: impl Fn(&mut Cursor<'_>, Bytes) -> Option<T>,
) -> Result<T, EncodingError> {
    if bytes.len() > limit {
        return Err(EncodingError::TooLong { bytes: bytes.len(), limit });
    }
    let mut cursor = Cursor::new(bytes);
    match cursor.byte() {
        Some(PROTOCOL_VERSION) => {}
        Some(found) => return Err(EncodingError::OtherVersion { found }),
        None => return Err(EncodingError::Unreadable),
    }
    let packed = cursor.bytes().ok_or(EncodingError::Unreadable)?;
    let rest = bytes.slice_ref(cursor.rest());
    let head = unpack(packed, head_limit).ok_or(EncodingError::Unreadable)?;
    let mut head = Cursor::new(&head);
    read(&mut head, rest).filter(|_| head.is_empty()).ok_or(EncodingError::Unreadable)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use proptest::{prelude::*, sample::Index};

    use super::*;
    use crate::{
        encoding::{put_signed, put_unsigned},
        engine::TickInput,
        environment::{Grid, ReadError},
        input_log::SkipReason,
        labels::Labels,
        peers::{
            Answer, Lineage, Phase, Standing,
            journal::{Content, Entry, SharedFit, StateImage, Takeover},
            message::{DictionaryVersion, Held, Next, NextRecord},
        },
        readers::{Demand, Purpose, Slice, SliceQuestion, Wanted},
        share::Handover,
    };

    fn standing() -> impl Strategy<Value = Standing> {
        let lineage =
            any::<[u64; 4]>().prop_map(|[chain, adopted, rebuilds, era]| Lineage { chain, adopted, rebuilds, era });
        let phases =
            [Phase::Restoring, Phase::Joining, Phase::Beginning, Phase::Running, Phase::Adopting, Phase::Alone];
        let numbers = any::<(u32, i64, i64, bool, Option<i64>, bool, Option<i64>, u64, (u64, usize))>();
        (numbers, lineage, prop::sample::select(phases.to_vec())).prop_map(
            |((rank, position, written, writes, working_on, recording, fit, release, progress), lineage, phase)| {
                Standing {
                    rank,
                    phase,
                    position,
                    lineage,
                    written,
                    writes,
                    working_on,
                    recording,
                    fit,
                    release,
                    progress,
                }
            },
        )
    }

    fn dictionary() -> impl Strategy<Value = DictionaryVersion> {
        any::<(u64, u64)>().prop_map(|(incarnation, version)| DictionaryVersion { incarnation, version })
    }

    fn question() -> impl Strategy<Value = Question> {
        let request = prop_oneof![
            (standing(), any::<u64>(), dictionary()).prop_map(|(standing, plan, dictionary)| Request::Next {
                standing,
                plan,
                dictionary
            }),
            any::<(i64, u32)>().prop_map(|(fitted_to, block)| Request::Fit { fitted_to, block }),
            any::<(Option<u64>, u32)>().prop_map(|(image, block)| Request::Image { image, block }),
            any::<(u64, u32)>().prop_map(|(epoch, to)| Request::Release { epoch, to }),
            any::<(u64, u32)>().prop_map(|(epoch, from)| Request::Taken { epoch, from }),
            slice_question().prop_map(|question| Request::Slice(Box::new(question))),
        ];
        (any::<([u32; 4], u64, u32, String)>(), request).prop_map(|((members, epoch, shards, job), request)| {
            let [from_shard, from_rank, shard, rank] = members;
            let (from, to) = (Member { shard: from_shard, rank: from_rank }, Member { shard, rank });
            Question { from, to, epoch, shards, job, request }
        })
    }

    fn slice_question() -> impl Strategy<Value = SliceQuestion> {
        let purposes = prop::sample::select(vec![Purpose::Tick, Purpose::Probe, Purpose::Fit]);
        let numbers = any::<(u32, u64, i64, [i64; 2], usize, bool)>();
        (numbers, purposes, bytes(), dictionary()).prop_map(
            |((shard, reading, until, [start, step], points, fresh), purpose, custody, dictionary)| {
                let wanted = Wanted { purpose, until, grid: Grid { start, step, points } };
                SliceQuestion { shard, reading, demand: Demand { wanted, fresh }, custody, dictionary }
            },
        )
    }

    fn slice() -> impl Strategy<Value = Slice> {
        (input(), dictionary(), definitions(), any::<Option<i64>>()).prop_map(
            |(input, dictionary, definitions, server_time)| Slice { input, dictionary, definitions, server_time },
        )
    }

    fn input() -> impl Strategy<Value = TickInput> {
        let slots = prop::collection::btree_set(0_u32..10_000, 0..20);
        (any::<(i64, i64)>(), 1..i64::MAX, 1_usize..4, slots).prop_flat_map(|((tick, start), step, points, slots)| {
            let values = prop::collection::vec(any::<u64>().prop_map(f64::from_bits), slots.len() * points);
            let (grid, slots) = (Grid { start, step, points }, Vec::from_iter(slots));
            let slots = Just(slots);
            (values, slots, any::<u64>()).prop_map(move |(values, slots, query_series)| TickInput {
                tick,
                grid,
                slots,
                values,
                query_series,
            })
        })
    }

    fn definitions() -> impl Strategy<Value = Vec<(u32, Labels)>> {
        let labels = any::<Vec<(String, String)>>().prop_map(Labels::new);
        prop::collection::vec((0_u32..10_000, labels), 0..4)
    }

    fn bytes() -> impl Strategy<Value = Bytes> {
        any::<Vec<u8>>().prop_map(Bytes::from)
    }

    fn record() -> impl Strategy<Value = Next> {
        let content = prop_oneof![
            input().prop_map(Content::Tick),
            any::<(i64, i64)>().prop_map(|(from, to)| Content::Skipped { from, to, reason: SkipReason::BeyondCatchUp }),
            (any::<(i64, i64)>(), "[a-z]{0,20}").prop_map(|((from, to), message)| Content::Skipped {
                from,
                to,
                reason: SkipReason::Refused { message }
            }),
            any::<(i64, u64)>().prop_map(|(fitted_to, digest)| Content::TakenOver(Takeover { fitted_to, digest })),
            any::<u32>().prop_map(|to| Content::Released { to }),
            any::<(u64, u32, u32, u64)>()
                .prop_map(|(epoch, from, to, chain)| Content::Joined { handover: Handover { epoch, from, to }, chain }),
        ];
        let entry =
            (any::<(i64, i64, [u64; 3])>(), content).prop_map(|((after, position, [plan, before, chain]), content)| {
                Entry { after, position, plan, before, content, chain }
            });
        (entry, prop::option::of(bytes()), dictionary(), definitions()).prop_map(
            |(entry, plan, dictionary, definitions)| {
                Next::Record(Box::new(NextRecord { entry: Rc::new(entry), plan, dictionary, definitions }))
            },
        )
    }

    fn handovers() -> impl Strategy<Value = Vec<Handover>> {
        let handover = any::<(u64, u32, u32)>().prop_map(|(epoch, from, to)| Handover { epoch, from, to });
        prop::collection::vec(handover, 0..4)
    }

    /// Answers without what their encoding leaves out.
    fn answer() -> impl Strategy<Value = Answer> {
        let next = prop_oneof![Just(Next::Nothing), Just(Next::Diverged), Just(Next::Gone), record()];
        let fit = any::<(i64, bool, Vec<String>, [u64; 3])>().prop_map(
            |(fitted_to, partial, models, [plan, samples, digest])| SharedFit {
                fitted_to,
                partial,
                models,
                plan,
                samples,
                digest,
                blocks: Vec::new(),
            },
        );
        let image =
            (any::<(u64, Option<i64>)>(), standing(), bytes(), prop::collection::vec(input(), 0..4), definitions());
        let image =
            (image, handovers()).prop_map(|(((id, fit_due), standing, plan, since_fit, definitions), arrived)| {
                StateImage { id, standing, plan, fit_due, since_fit, definitions, arrived, blocks: Vec::new() }
            });
        let part = |id| StateImage {
            id,
            standing: Standing::default(),
            plan: Bytes::new(),
            fit_due: None,
            since_fit: Vec::new(),
            definitions: Vec::new(),
            arrived: Vec::new(),
            blocks: Vec::new(),
        };
        prop_oneof![
            (standing(), next, any::<u64>(), handovers(), any::<bool>()).prop_map(
                |(standing, next, epoch, handovers, may_return)| Answer::Next {
                    standing,
                    next,
                    held: Held { epoch, handovers, may_return }
                }
            ),
            (fit, prop::option::of(bytes())).prop_map(|(fit, block)| Answer::Fit { fit: Rc::new(fit), block }),
            image.prop_map(|image| Answer::Image { image: Rc::new(image), block: None }),
            (any::<u64>(), bytes())
                .prop_map(move |(id, block)| Answer::Image { image: Rc::new(part(id)), block: Some(block) }),
            Just(Answer::Later),
            Just(Answer::Nothing),
            Just(Answer::Released),
            Just(Answer::Empty),
            any::<bool>().prop_map(Answer::Taken),
            slice().prop_map(|slice| Answer::Slice(Box::new(slice))),
            (any::<u16>(), ".*").prop_map(|(status, message)| Answer::Failed(ReadError::Refused { status, message })),
            (".*", ".*").prop_map(|(code, message)| Answer::Failed(ReadError::Unavailable { code, message })),
        ]
    }

    proptest! {
        #[test]
        fn every_question_is_read_back(question in question()) {
            let encoded = Bytes::from(encode_question(&question).unwrap());
            prop_assert_eq!(decode_question(&encoded), Ok(question));
        }

        #[test]
        fn every_answer_is_read_back_bit_for_bit(answer in answer()) {
            let encoded = encode_answer(&answer).unwrap();
            let read = decode_answer(&Bytes::from(encoded.clone())).unwrap();
            prop_assert_eq!(format!("{read:?}"), format!("{answer:?}"));
            prop_assert_eq!(encode_answer(&read).unwrap(), encoded);
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_read_but_never_panic(head: Vec<u8>, rest: Vec<u8>) {
            let _ = decode_question(&Bytes::from(head.clone()));
            for kind in 0..12 {
                let message = envelope(&[&[kind], head.as_slice()].concat(), &rest, LONGEST_ANSWER).unwrap();
                let _ = decode_answer(&message.into());
            }
        }

        #[test]
        fn a_flipped_or_cut_message_is_refused_or_read_but_never_panics(
            question in question(), answer in answer(), place: Index, bit in 0_u8..8
        ) {
            for mut bytes in [encode_question(&question).unwrap(), encode_answer(&answer).unwrap()] {
                let place = place.index(bytes.len());
                let cut = Bytes::copy_from_slice(&bytes[..place]);
                let _ = (decode_question(&cut), decode_answer(&cut));
                bytes[place] ^= 1 << bit;
                let flipped = Bytes::from(bytes);
                let _ = (decode_question(&flipped), decode_answer(&flipped));
            }
        }

        #[test]
        fn bytes_after_the_end_are_refused(question in question(), more in 1_usize..5) {
            let mut bytes = encode_question(&question).unwrap();
            bytes.extend(std::iter::repeat_n(0, more));
            prop_assert_eq!(decode_question(&bytes.into()), Err(EncodingError::Unreadable));
            let mut later = encode_answer(&Answer::Later).unwrap();
            later.extend(std::iter::repeat_n(0, more));
            prop_assert_eq!(decode_answer(&later.into()).unwrap_err(), EncodingError::Unreadable);
        }
    }

    #[test]
    fn another_version_and_a_message_that_is_too_long_are_told_apart_from_damage() {
        let version = decode_question(&Bytes::from_static(&[9, 0])).unwrap_err();
        assert_eq!(version.to_string(), "it is of version 9 of the protocol, this worker speaks version 1");
        let long = decode_question(&vec![1; LONGEST_QUESTION + 1].into()).unwrap_err();
        assert!(matches!(long, EncodingError::TooLong { limit: LONGEST_QUESTION, .. }));
        assert_eq!(decode_answer(&Bytes::new()).unwrap_err(), EncodingError::Unreadable);
    }

    #[test]
    fn a_few_bytes_that_claim_millions_of_rows_or_ticks_are_refused() {
        // A tick of 16 million slots without values.
        let mut head = vec![1];
        parts::put_standing(&mut head, &Standing::default());
        head.push(1);
        [0, 1].iter().for_each(|position| put_signed(&mut head, *position));
        head.extend([0; 8 + 1 + 8]);
        head.push(1);
        [60, 60, 60].iter().for_each(|time| put_signed(&mut head, *time));
        for part in [0, 1, 0, 16_000_000] {
            put_unsigned(&mut head, part);
        }
        let message = envelope(&head, &[], LONGEST_ANSWER).unwrap();
        assert_eq!(decode_answer(&message.into()).unwrap_err(), EncodingError::Unreadable);
    }
}
