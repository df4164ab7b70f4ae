//! The records of the input log and their bytes.

use crate::encoding::{Cursor, pack, put_bytes, put_labels, put_signed, put_unsigned, unpack};
use crate::engine::TickInput;
use crate::environment::Grid;
use crate::labels::Labels;

/// Slots are dense: a job has none at or above this (16.7 million).
pub const MAX_SLOTS: u32 = 1 << 24;

/// Longest record, bytes before compression: a tick of a million series with 64 points each.
pub const MAX_RECORD_BYTES: usize = 512 << 20;

/// Longest text kept of a TSDB's refusal, bytes.
const MAX_MESSAGE_BYTES: usize = 200;

/// Why ticks are never read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SkipReason {
    /// The TSDB refused them while it answered a later one.
    Refused {
        /// The TSDB's words; only the first 200 bytes are logged.
        message: String,
    },
    /// They were older than `maxCatchUp` when the TSDB could be read again.
    BeyondCatchUp,
}

/// One entry of the input log. `job` is "scheduler/query".
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// The job's configuration from one tick on.
    Configuration {
        /// Scheduler and query.
        job: String,
        /// First tick, ms.
        from: i64,
        /// Digest of its canonical form.
        digest: u64,
    },
    /// The accepted input of one tick.
    Tick {
        /// Scheduler and query.
        job: String,
        /// What is accepted: slots below [`MAX_SLOTS`], as many rows of `grid.points` values; every bit is kept, those of
        /// NaNs too.
        input: TickInput,
    },
    /// Ticks that will never be read.
    Skipped {
        /// Scheduler and query.
        job: String,
        /// First tick, ms.
        from: i64,
        /// Last tick, ms.
        to: i64,
        /// Why.
        reason: SkipReason,
    },
    /// A fit takes over.
    Fit {
        /// Scheduler and query.
        job: String,
        /// Alias of the model.
        model: String,
        /// Last tick of the fit, ms.
        fitted_to: i64,
        /// First tick that the fitted state scores, ms.
        from: i64,
    },
    /// The state was taken over from another rank: no earlier record of the job leads to it.
    Adopted {
        /// Scheduler and query.
        job: String,
        /// The tick after which the state was taken, ms.
        position: i64,
        /// [`Lineage::adopted`](crate::peers::Lineage::adopted) of the snapshots that hold it: with others, this did not
        /// happen.
        lineage: u64,
    },
}

impl SkipReason {
    /// The value of the label `reason` of the metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::BeyondCatchUp => "beyond_catch_up",
        }
    }
}

impl Record {
    /// Scheduler and query.
    #[must_use]
    pub fn job(&self) -> &str {
        match self {
            Self::Configuration { job, .. }
            | Self::Tick { job, .. }
            | Self::Skipped { job, .. }
            | Self::Fit { job, .. }
            | Self::Adopted { job, .. } => job,
        }
    }

    /// The newest tick that the record says something about, ms.
    #[must_use]
    pub fn newest_tick(&self) -> i64 {
        match self {
            Self::Configuration { from, .. } | Self::Fit { from, .. } => *from,
            Self::Tick { input, .. } => input.tick,
            Self::Skipped { to, .. } => *to,
            Self::Adopted { position, .. } => *position,
        }
    }

    /// What makes the record one that cannot be read back.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let Self::Tick { input: TickInput { grid, slots, values, .. }, .. } = self else { return None };
        if slots.iter().any(|slot| *slot >= MAX_SLOTS) {
            Some("a slot is out of range")
        } else if slots.len() > MAX_SLOTS as usize {
            Some("more rows than slots")
        } else if slots.len().checked_mul(grid.points) != Some(values.len()) {
            Some("rows times points is not the number of values")
        } else if grid.step <= 0 {
            Some("the grid's step is not above 0")
        } else {
            None
        }
    }
}

/// What a frame of a segment holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Entry {
    /// Labels of slots that ticks of the segment refer to.
    Definitions { job: String, labels: Vec<(u32, Labels)> },
    /// A record as it was appended.
    Record(Record),
    /// A configuration of an earlier segment, said again.
    Carried { job: String, from: i64, digest: u64 },
}

const DEFINITIONS: u8 = 1;
const CONFIGURATION: u8 = 2;
const CARRIED: u8 = 3;
const SKIPPED: u8 = 5;
const FIT: u8 = 6;
const ADOPTED: u8 = 7;
const TICK: u8 = 8;

const REFUSED: u8 = 1;
const BEYOND_CATCH_UP: u8 = 2;

pub(super) fn encode_definitions(job: &str, labels: &[(u32, Labels)]) -> Vec<u8> {
    let mut body = vec![DEFINITIONS];
    put_bytes(&mut body, job.as_bytes());
    put_definitions(&mut body, labels);
    pack(&body)
}

pub(super) fn encode_carried(job: &str, from: i64, digest: u64) -> Vec<u8> {
    pack(&configuration(CARRIED, job, from, digest))
}

/// The payload of a record's frame; `Err` is its length when it is longer than [`MAX_RECORD_BYTES`].
pub(super) fn encode(record: &Record) -> Result<Vec<u8>, usize> {
    let body = match record {
        Record::Configuration { job, from, digest } => configuration(CONFIGURATION, job, *from, *digest),
        Record::Tick { job, input } => {
            let bytes = input.values.len().saturating_mul(8);
            if bytes > MAX_RECORD_BYTES {
                return Err(bytes);
            }
            let mut body = Vec::with_capacity(bytes + job.len() + 64);
            body.push(TICK);
            put_bytes(&mut body, job.as_bytes());
            put_tick(&mut body, input);
            body
        }
        Record::Skipped { job, from, to, reason } => {
            let mut body = vec![SKIPPED];
            put_bytes(&mut body, job.as_bytes());
            put_signed(&mut body, *from);
            put_signed(&mut body, *to);
            put_reason(&mut body, reason);
            body
        }
        Record::Fit { job, model, fitted_to, from } => {
            let mut body = vec![FIT];
            put_bytes(&mut body, job.as_bytes());
            put_bytes(&mut body, model.as_bytes());
            put_signed(&mut body, *fitted_to);
            put_signed(&mut body, *from);
            body
        }
        Record::Adopted { job, position, lineage } => configuration(ADOPTED, job, *position, *lineage),
    };
    if body.len() > MAX_RECORD_BYTES { Err(body.len()) } else { Ok(pack(&body)) }
}

fn configuration(kind: u8, job: &str, from: i64, digest: u64) -> Vec<u8> {
    let mut body = vec![kind];
    put_bytes(&mut body, job.as_bytes());
    put_signed(&mut body, from);
    body.extend_from_slice(&digest.to_le_bytes());
    body
}

/// A tick with its accepted input.
pub(crate) fn put_tick(out: &mut Vec<u8>, input: &TickInput) {
    let TickInput { tick, grid, slots, values, query_series } = input;
    put_signed(out, *tick);
    put_signed(out, grid.start);
    put_signed(out, grid.step);
    put_unsigned(out, grid.points as u64);
    put_unsigned(out, *query_series);
    put_slots(out, slots);
    for value in values {
        out.extend_from_slice(&value.to_bits().to_le_bytes());
    }
}

/// What [`put_tick`] was given. `rows_without_points` bounds the rows of a tick that has no values which could.
pub(crate) fn read_tick(cursor: &mut Cursor<'_>, rows_without_points: usize) -> Option<TickInput> {
    let tick = cursor.signed()?;
    let (start, step) = (cursor.signed()?, cursor.signed()?);
    let grid = Grid { start, step, points: usize::try_from(cursor.unsigned()?).ok()? };
    let query_series = cursor.unsigned()?;
    let row_bytes = grid.points.checked_mul(8)?;
    let most_rows = cursor.rest().len().checked_div(row_bytes).unwrap_or(rows_without_points);
    let slots = read_slots(cursor, most_rows)?;
    let (values, _) = cursor.take(slots.len().checked_mul(row_bytes)?)?.as_chunks::<8>();
    let values = values.iter().map(|bytes| f64::from_bits(u64::from_le_bytes(*bytes))).collect();
    (grid.step > 0).then_some(TickInput { tick, grid, slots, values, query_series })
}

/// Why ticks are never read.
pub(crate) fn put_reason(out: &mut Vec<u8>, reason: &SkipReason) {
    match reason {
        SkipReason::Refused { message } => {
            out.push(REFUSED);
            let end = message.floor_char_boundary(MAX_MESSAGE_BYTES);
            put_bytes(out, message.get(..end).unwrap_or(message).as_bytes());
        }
        SkipReason::BeyondCatchUp => out.push(BEYOND_CATCH_UP),
    }
}

/// What [`put_reason`] was given.
pub(crate) fn read_reason(cursor: &mut Cursor<'_>) -> Option<SkipReason> {
    match cursor.byte()? {
        REFUSED => Some(SkipReason::Refused { message: cursor.text()?.to_owned() }),
        BEYOND_CATCH_UP => Some(SkipReason::BeyondCatchUp),
        _ => None,
    }
}

/// Labels of slots.
pub(crate) fn put_definitions(out: &mut Vec<u8>, definitions: &[(u32, Labels)]) {
    put_unsigned(out, definitions.len() as u64);
    for (slot, labels) in definitions {
        put_unsigned(out, u64::from(*slot));
        put_labels(out, labels);
    }
}

/// What [`put_definitions`] was given.
pub(crate) fn read_definitions(cursor: &mut Cursor<'_>) -> Option<Vec<(u32, Labels)>> {
    let count = cursor.count(2)?;
    let mut definitions = Vec::with_capacity(count);
    for _ in 0..count {
        let slot = u32::try_from(cursor.unsigned()?).ok().filter(|slot| *slot < MAX_SLOTS)?;
        definitions.push((slot, cursor.labels()?));
    }
    Some(definitions)
}

/// Runs of ascending slots: distance of the first to the end of the run before, length.
fn put_slots(out: &mut Vec<u8>, slots: &[u32]) {
    let ascending = |left: &u32, right: &u32| left.checked_add(1) == Some(*right);
    put_unsigned(out, slots.chunk_by(ascending).count() as u64);
    let mut end = 0_i64;
    for run in slots.chunk_by(ascending) {
        let first = run.first().map_or(0, |slot| i64::from(*slot));
        put_signed(out, first - end);
        put_unsigned(out, run.len() as u64);
        end = first + run.len() as i64;
    }
}

/// At most `most` slots.
fn read_slots(cursor: &mut Cursor<'_>, most: usize) -> Option<Vec<u32>> {
    let runs = cursor.count(2)?;
    let mut slots = Vec::new();
    let mut end = 0_i64;
    for _ in 0..runs {
        let first = end.checked_add(cursor.signed()?)?;
        let length = u32::try_from(cursor.unsigned()?).ok()?;
        end = first.checked_add(i64::from(length))?;
        let first = u32::try_from(first).ok()?;
        if end > i64::from(MAX_SLOTS) || slots.len() + length as usize > most.min(MAX_SLOTS as usize) {
            return None;
        }
        slots.extend(first..first + length);
    }
    Some(slots)
}

/// The entry of a frame's payload; `None` if it is none that this release writes.
pub(super) fn decode(payload: &[u8]) -> Option<Entry> {
    let body = unpack(payload, MAX_RECORD_BYTES)?;
    let mut cursor = Cursor::new(&body);
    let kind = cursor.byte()?;
    let job = cursor.text()?.to_owned();
    let entry = match kind {
        DEFINITIONS => {
            let labels = read_definitions(&mut cursor)?;
            Entry::Definitions { job, labels }
        }
        CONFIGURATION => Entry::Record(Record::Configuration { job, from: cursor.signed()?, digest: cursor.u64()? }),
        CARRIED => Entry::Carried { job, from: cursor.signed()?, digest: cursor.u64()? },
        TICK => Entry::Record(Record::Tick { job, input: read_tick(&mut cursor, MAX_SLOTS as usize)? }),
        SKIPPED => {
            let (from, to) = (cursor.signed()?, cursor.signed()?);
            let reason = read_reason(&mut cursor)?;
            Entry::Record(Record::Skipped { job, from, to, reason })
        }
        FIT => {
            let model = cursor.text()?.to_owned();
            Entry::Record(Record::Fit { job, model, fitted_to: cursor.signed()?, from: cursor.signed()? })
        }
        ADOPTED => Entry::Record(Record::Adopted { job, position: cursor.signed()?, lineage: cursor.u64()? }),
        _ => return None,
    };
    let valid = match &entry {
        Entry::Record(record) => record.fault().is_none(),
        Entry::Definitions { .. } | Entry::Carried { .. } => true,
    };
    (valid && cursor.is_empty()).then_some(entry)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> impl Strategy<Value = Record> {
        let numbers = (any::<i64>(), any::<i64>(), any::<u64>());
        let tick = (any::<String>(), numbers, 1..=i64::MAX, 0_usize..5).prop_flat_map(
            |(job, (tick, start, query_series), step, points)| {
                prop::collection::vec(0..MAX_SLOTS, 0..50).prop_flat_map(move |slots| {
                    let (job, count) = (job.clone(), slots.len() * points);
                    prop::collection::vec(any::<u64>().prop_map(f64::from_bits), count).prop_map(move |values| {
                        let grid = Grid { start, step, points };
                        let input = TickInput { tick, grid, slots: slots.clone(), values, query_series };
                        Record::Tick { job: job.clone(), input }
                    })
                })
            },
        );
        prop_oneof![
            tick,
            any::<(String, i64, u64)>().prop_map(|(job, from, digest)| Record::Configuration { job, from, digest }),
            any::<(String, String, i64, i64)>().prop_map(|(job, model, fitted_to, from)| Record::Fit {
                job,
                model,
                fitted_to,
                from
            }),
            any::<(String, i64, u64)>().prop_map(|(job, position, lineage)| Record::Adopted { job, position, lineage }),
            any::<(String, i64, i64)>()
                .prop_map(|(job, from, to)| { Record::Skipped { job, from, to, reason: SkipReason::BeyondCatchUp } }),
            (any::<(String, i64, i64)>(), "[a-zé]{0,50}").prop_map(|((job, from, to), message)| {
                Record::Skipped { job, from, to, reason: SkipReason::Refused { message } }
            }),
        ]
    }

    /// Equality that tells NaNs apart.
    fn bits(record: &Record) -> (String, Vec<u64>) {
        let Record::Tick { input, .. } = record else { return (format!("{record:?}"), vec![]) };
        let bits = input.values.iter().map(|value| value.to_bits()).collect();
        (format!("{record:?}"), bits)
    }

    proptest! {
        #[test]
        fn every_record_is_read_back_bit_for_bit(record in record()) {
            let payload = encode(&record).unwrap();
            let Some(Entry::Record(read)) = decode(&payload) else { panic!("unreadable") };
            prop_assert_eq!(bits(&read), bits(&record));
        }

        #[test]
        fn arbitrary_payloads_never_panic(payload: Vec<u8>, kind in 0_u8..10) {
            let _ = decode(&payload);
            let _ = decode(&[&[0, kind, 1, b'j'], payload.as_slice()].concat());
        }
    }

    #[test]
    fn a_run_of_slots_takes_a_few_bytes() {
        let mut out = Vec::new();
        put_slots(&mut out, &(5..100_000).collect::<Vec<_>>());
        assert!(out.len() < 8);
    }

    #[test]
    fn a_long_refusal_is_cut_at_a_character() {
        let reason = SkipReason::Refused { message: "é".repeat(150) };
        let payload = encode(&Record::Skipped { job: String::new(), from: 0, to: 0, reason }).unwrap();
        let Some(Entry::Record(Record::Skipped { reason: SkipReason::Refused { message }, .. })) = decode(&payload)
        else {
            panic!("unreadable")
        };
        assert_eq!(message, "é".repeat(100));
    }
}
