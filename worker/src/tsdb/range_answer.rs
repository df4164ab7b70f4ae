//! Parses the answer of a range query while it arrives, straight into columns.
//!
//! The format is that of Prometheus' `/api/v1/query_range`
//! (<https://prometheus.io/docs/prometheus/latest/querying/api/#range-queries>). Keys may come in any order, unknown
//! ones are skipped. Only an unfinished label set, sample or short text is ever buffered, so memory does not depend
//! on the length of the answer. How the bytes are cut into chunks does not matter.

use detect::model::MISSING;

use super::answer_error::{AnswerError, Limits};
use super::columns::{Columns, Duplicate, Part};
use super::json_value::ValueEnd;
use super::known_series::KnownSeries;
use super::metric::{Text, parse_labels};
use super::sample::{self, MAX_SAMPLE_BYTES, Sample, Scanned};
use crate::labels::Labels;

/// Objects whose keys matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Object {
    Answer,
    Data,
    Series,
}

/// Arrays whose elements matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Array {
    Result,
    Values,
}

/// Keys that matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Status,
    ErrorType,
    Error,
    IsPartial,
    Data,
    ResultType,
    Result,
    Metric,
    Values,
    Other,
}

impl Key {
    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// What comes next.
#[derive(Debug, Clone, Copy)]
enum State {
    Answer,
    KeyOrEnd(Object),
    Key(Object),
    Colon(Object, Key),
    Value(Object, Key),
    AfterValue(Object),
    ItemOrEnd(Array),
    Item(Array),
    AfterItem(Array),
    /// The rest of something that is buffered as a whole.
    Captured(Captured),
    /// The rest of a value that nobody wants.
    Skipped(Object),
    End,
}

#[derive(Debug, Clone, Copy)]
enum Captured {
    Key(Object),
    Value(Object, Key),
    Sample,
}

/// Whether a step went on or has to wait for bytes.
enum Step {
    Done,
    Wait,
}

/// Parses one answer into [`Columns`].
#[derive(Debug)]
pub struct RangeAnswerParser<'a> {
    part: Part,
    limits: Limits,
    columns: &'a mut Columns,
    known: &'a mut KnownSeries,
    /// Labels that every series gets unless it has them.
    added_labels: &'a [(String, String)],

    state: State,
    /// Bytes from the first one that is not dealt with.
    buffer: Vec<u8>,
    /// Offset of `buffer` in the body.
    offset: u64,
    /// Bytes from the start of the captured value in which its end was not found.
    scanned: usize,
    value_end: ValueEnd,

    answer_keys: u16,
    data_keys: u16,
    status: String,
    error_type: String,
    error: String,
    is_partial: bool,
    result_type: Option<String>,
    has_result: bool,

    /// The series at hand.
    series_keys: u16,
    series_start: u64,
    number: Option<usize>,
    row: Vec<f64>,
    /// Index of the first time after the last sample that was taken.
    next: usize,

    received_series: u64,
    received_samples: u64,
    invalid_samples: u64,
}

impl<'a> RangeAnswerParser<'a> {
    /// For the answer to a request for `part`. `added_labels` are given to every series that has none of the name;
    /// `known` must always come with the same ones.
    pub fn new(
        part: Part,
        limits: Limits,
        columns: &'a mut Columns,
        known: &'a mut KnownSeries,
        added_labels: &'a [(String, String)],
    ) -> Self {
        known.begin_answer();
        Self {
            part,
            limits,
            columns,
            known,
            added_labels,
            state: State::Answer,
            buffer: Vec::new(),
            offset: 0,
            scanned: 0,
            value_end: ValueEnd::default(),
            answer_keys: 0,
            data_keys: 0,
            status: String::new(),
            error_type: String::new(),
            error: String::new(),
            is_partial: false,
            result_type: None,
            has_result: false,
            series_keys: 0,
            series_start: 0,
            number: None,
            row: vec![MISSING; part.grid.points],
            next: 0,
            received_series: 0,
            received_samples: 0,
            invalid_samples: 0,
        }
    }

    /// Takes the next bytes of the body. `keep` is asked once for every series that has a valid sample.
    ///
    /// # Errors
    /// When the answer cannot be used; the parser and its columns are of no use then.
    pub fn push(&mut self, chunk: &[u8], keep: &mut dyn FnMut(&Labels) -> bool) -> Result<(), AnswerError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.extend_from_slice(chunk);
        let received = self.offset + buffer.len() as u64;
        if received > self.limits.body_bytes {
            return Err(AnswerError::TooLarge { what: "the answer in bytes", limit: self.limits.body_bytes });
        }
        let mut at = 0;
        while at < buffer.len() {
            match self.step(&buffer, &mut at, keep)? {
                Step::Done => {}
                Step::Wait => break,
            }
        }
        buffer.drain(..at);
        self.offset += at as u64;
        self.buffer = buffer;
        Ok(())
    }

    /// After the last byte of the body.
    ///
    /// # Errors
    /// When the answer is not complete, or reports an error.
    pub fn finish(self) -> Result<(), AnswerError> {
        let received = self.offset + self.buffer.len() as u64;
        if !matches!(self.state, State::End) {
            return Err(AnswerError::Truncated { received });
        }
        if self.status == "error" {
            return Err(AnswerError::Reported { error_type: self.error_type, message: self.error });
        }
        if self.status != "success" {
            return Err(AnswerError::Form { offset: 0, expected: "an object with a \"status\"", found: self.status });
        }
        if self.is_partial {
            return Err(AnswerError::Partial);
        }
        if self.result_type.as_deref() != Some("matrix") {
            return Err(AnswerError::ResultType { found: self.result_type.unwrap_or_default() });
        }
        if !self.has_result {
            return Err(AnswerError::Form { offset: 0, expected: "an object with a \"result\"", found: String::new() });
        }
        self.columns.count(received, self.received_series, self.received_samples, self.invalid_samples);
        Ok(())
    }

    /// Deals with the next piece of the answer.
    fn step(
        &mut self,
        bytes: &[u8],
        at: &mut usize,
        keep: &mut dyn FnMut(&Labels) -> bool,
    ) -> Result<Step, AnswerError> {
        if let State::Captured(captured) = self.state {
            return self.step_captured(captured, bytes, at);
        }
        if let State::Skipped(object) = self.state {
            match self.value_end.find(&bytes[*at..]) {
                Some(length) => {
                    *at += length;
                    self.state = State::AfterValue(object);
                }
                None => *at = bytes.len(),
            }
            return Ok(Step::Done);
        }
        *at += bytes[*at..].iter().take_while(|byte| is_space(byte)).count();
        let Some(byte) = bytes.get(*at).copied() else {
            return Ok(Step::Wait);
        };
        match (self.state, byte) {
            (State::Answer, b'{') => self.enter(at, State::KeyOrEnd(Object::Answer)),
            (State::Answer, _) => return Err(self.form(bytes, *at, "the `{` of a JSON object")),

            (State::KeyOrEnd(object), b'}') => self.leave(object, bytes, at, keep)?,
            (State::KeyOrEnd(object) | State::Key(object), b'"') => match usual_key(object, &bytes[*at..]) {
                Some((name, length)) => {
                    let key = self.key(object, name);
                    let key = key.ok_or_else(|| self.form(bytes, *at, "a key that is not there yet"))?;
                    *at += length;
                    self.state = State::Colon(object, key);
                }
                None => self.capture(Captured::Key(object)),
            },
            (State::KeyOrEnd(_) | State::Key(_), _) => return Err(self.form(bytes, *at, "a key")),

            (State::Colon(object, key), b':') => self.enter(at, State::Value(object, key)),
            (State::Colon(..), _) => return Err(self.form(bytes, *at, "a colon")),

            (State::Value(_, Key::Data), b'{') => self.enter(at, State::KeyOrEnd(Object::Data)),
            (State::Value(_, Key::Result), b'[') => {
                self.has_result = true;
                self.enter(at, State::ItemOrEnd(Array::Result));
            }
            (State::Value(_, Key::Values), b'[') => self.enter(at, State::ItemOrEnd(Array::Values)),
            (State::Value(_, Key::Values), _) => return Err(self.form(bytes, *at, "the `[` of \"values\"")),
            (State::Value(object, Key::Other), b'"' | b'{' | b'[' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
                self.value_end = ValueEnd::default();
                self.state = State::Skipped(object);
            }
            (State::Value(_, Key::Other), _) => return Err(self.form(bytes, *at, "a value")),
            (State::Value(object, Key::Metric), b'{') => match self.known.expected(&bytes[*at..]) {
                Some((number, length)) => {
                    *at += length;
                    self.number = Some(number);
                    self.state = State::AfterValue(object);
                }
                None => self.capture(Captured::Value(object, Key::Metric)),
            },
            (State::Value(object, key), _) => self.capture(Captured::Value(object, key)),

            (State::AfterValue(object), b',') => self.enter(at, State::Key(object)),
            (State::AfterValue(object), b'}') => self.leave(object, bytes, at, keep)?,
            (State::AfterValue(_), _) => return Err(self.form(bytes, *at, "a comma or `}`")),

            (State::ItemOrEnd(array) | State::AfterItem(array), b']') => {
                *at += 1;
                self.state = State::AfterValue(match array {
                    Array::Result => Object::Data,
                    Array::Values => Object::Series,
                });
            }
            (State::AfterItem(array), b',') => self.enter(at, State::Item(array)),
            (State::AfterItem(_), _) => return Err(self.form(bytes, *at, "a comma or `]`")),
            (State::ItemOrEnd(Array::Result) | State::Item(Array::Result), b'{') => self.enter_series(at),
            (State::ItemOrEnd(Array::Result) | State::Item(Array::Result), _) => {
                return Err(match &self.result_type {
                    Some(found) if found != "matrix" => AnswerError::ResultType { found: found.clone() },
                    _ => self.form(bytes, *at, "the `{` of a series"),
                });
            }
            (State::ItemOrEnd(Array::Values) | State::Item(Array::Values), _) => return self.step_samples(bytes, at),

            (State::Captured(_) | State::Skipped(_) | State::End, _) => {
                return Err(self.form(bytes, *at, "the end of the answer"));
            }
        }
        Ok(Step::Done)
    }

    fn enter(&mut self, at: &mut usize, state: State) {
        *at += 1;
        self.state = state;
    }

    fn enter_series(&mut self, at: &mut usize) {
        self.series_start = self.offset + *at as u64;
        self.series_keys = 0;
        self.number = None;
        self.enter(at, State::KeyOrEnd(Object::Series));
    }

    fn capture(&mut self, captured: Captured) {
        self.value_end = ValueEnd::default();
        self.scanned = 0;
        self.state = State::Captured(captured);
    }

    /// At the `}` of an object.
    fn leave(
        &mut self,
        object: Object,
        bytes: &[u8],
        at: &mut usize,
        keep: &mut dyn FnMut(&Labels) -> bool,
    ) -> Result<(), AnswerError> {
        self.state = match object {
            Object::Answer => State::End,
            Object::Data => State::AfterValue(Object::Answer),
            Object::Series => {
                self.check_series_length(*at)?;
                self.received_series += 1;
                let Some(number) = self.number.take() else {
                    return Err(self.form(bytes, *at, "the \"metric\" of the series"));
                };
                // A series without a valid sample is as good as not there.
                if self.next > 0 {
                    let labels = self.known.labels(number);
                    self.columns
                        .add(number, labels, self.part, &self.row, keep)
                        .map_err(|Duplicate| AnswerError::Duplicate { labels: labels.clone() })?;
                    if self.columns.series() > self.limits.series as usize {
                        let limit = u64::from(self.limits.series);
                        return Err(AnswerError::TooLarge { what: "the number of series", limit });
                    }
                    self.row.fill(MISSING);
                    self.next = 0;
                }
                State::AfterItem(Array::Result)
            }
        };
        *at += 1;
        Ok(())
    }

    fn check_series_length(&self, at: usize) -> Result<(), AnswerError> {
        if self.offset + at as u64 - self.series_start > self.limits.series_bytes {
            return Err(AnswerError::TooLarge { what: "a series in bytes", limit: self.limits.series_bytes });
        }
        Ok(())
    }

    /// Takes as many samples as the bytes have.
    fn step_samples(&mut self, bytes: &[u8], at: &mut usize) -> Result<Step, AnswerError> {
        self.check_series_length(*at)?;
        loop {
            match sample::scan(&bytes[*at..]) {
                Scanned::Sample { length, .. } if length > MAX_SAMPLE_BYTES => return Err(sample_too_large()),
                Scanned::Sample { length, sample } => {
                    *at += length;
                    self.take(sample);
                }
                Scanned::Incomplete if bytes.len() - *at > MAX_SAMPLE_BYTES => return Err(sample_too_large()),
                Scanned::Incomplete => {
                    // After a comma or at the first one: not the end of the array.
                    self.state = State::Item(Array::Values);
                    return Ok(Step::Wait);
                }
                Scanned::Unusual if bytes.get(*at).is_some_and(is_space) => {
                    self.state = State::Item(Array::Values);
                    return Ok(Step::Done);
                }
                Scanned::Unusual => {
                    self.capture(Captured::Sample);
                    return Ok(Step::Done);
                }
            }
            if bytes.get(*at) != Some(&b',') {
                self.state = State::AfterItem(Array::Values);
                return Ok(Step::Done);
            }
            *at += 1;
            if *at == bytes.len() {
                self.state = State::Item(Array::Values);
                return Ok(Step::Wait);
            }
        }
    }

    /// Puts a sample into the row. The first sample of a time counts; one that is not after the last one that
    /// counted, lies on no time of the grid or has no value is dropped.
    #[inline]
    fn take(&mut self, sample: Sample) {
        self.received_samples += 1;
        let grid = self.part.grid;
        let index = if sample.time == grid.start + grid.step * self.next as i64 {
            Some(self.next)
        } else if (grid.start..=grid.end()).contains(&sample.time) {
            grid.index(sample.time).filter(|index| *index >= self.next)
        } else {
            None
        };
        let slot = index.and_then(|index| self.row.get_mut(index).map(|slot| (index, slot)));
        match (slot, sample.value) {
            (Some((index, slot)), Some(value)) => {
                *slot = value;
                self.next = index + 1;
            }
            _ => self.invalid_samples += 1,
        }
    }

    /// Buffers a value until it is there as a whole, then reads it.
    fn step_captured(&mut self, captured: Captured, bytes: &[u8], at: &mut usize) -> Result<Step, AnswerError> {
        let found = self.value_end.find(&bytes[*at + self.scanned..]);
        let length = found.map_or(bytes.len() - *at, |length| self.scanned + length);
        match captured {
            Captured::Sample if length > MAX_SAMPLE_BYTES => return Err(sample_too_large()),
            Captured::Key(_) | Captured::Value(..) if length > self.limits.label_bytes => {
                let limit = self.limits.label_bytes as u64;
                return Err(AnswerError::TooLarge { what: "a label set or text in bytes", limit });
            }
            _ => {}
        }
        if found.is_none() {
            self.scanned = length;
            return Ok(Step::Wait);
        }
        let raw = &bytes[*at..*at + length];
        match captured {
            Captured::Key(object) => {
                let text: Text<'_>;
                let name = match raw {
                    // Known keys need no parsing.
                    [b'"', name @ .., b'"'] if name.iter().all(u8::is_ascii_alphabetic) => name,
                    _ => {
                        text = serde_json::from_slice(raw).map_err(|_| self.form(bytes, *at, "a key"))?;
                        text.0.as_bytes()
                    }
                };
                let key = self.key(object, name);
                let key = key.ok_or_else(|| self.form(bytes, *at, "a key that is not there yet"))?;
                self.state = State::Colon(object, key);
            }
            Captured::Value(object, key) => {
                self.value(key, raw).map_err(|expected| self.form(bytes, *at, expected))?;
                self.state = State::AfterValue(object);
            }
            Captured::Sample => {
                let sample = sample::parse(raw).map_err(|_| self.form(bytes, *at, "a time and a value"))?;
                self.take(sample);
                self.state = State::AfterItem(Array::Values);
            }
        }
        *at += length;
        Ok(Step::Done)
    }

    /// Which key it is; `None` if it came already.
    fn key(&mut self, object: Object, name: &[u8]) -> Option<Key> {
        let (key, keys) = match object {
            Object::Answer => (
                match name {
                    b"status" => Key::Status,
                    b"errorType" => Key::ErrorType,
                    b"error" => Key::Error,
                    b"isPartial" => Key::IsPartial,
                    b"data" => Key::Data,
                    _ => Key::Other,
                },
                &mut self.answer_keys,
            ),
            Object::Data => (
                match name {
                    b"resultType" => Key::ResultType,
                    b"result" => Key::Result,
                    _ => Key::Other,
                },
                &mut self.data_keys,
            ),
            Object::Series => (
                match name {
                    b"metric" => Key::Metric,
                    b"values" => Key::Values,
                    _ => Key::Other,
                },
                &mut self.series_keys,
            ),
        };
        let is_new = key == Key::Other || *keys & key.bit() == 0;
        *keys |= key.bit();
        is_new.then_some(key)
    }

    /// Reads a short value. The error says what it should have been.
    fn value(&mut self, key: Key, raw: &[u8]) -> Result<(), &'static str> {
        let text = || serde_json::from_slice::<Option<String>>(raw).map(Option::unwrap_or_default);
        match key {
            Key::Status => self.status = text().map_err(|_| "the text of \"status\"")?,
            Key::ErrorType => self.error_type = text().map_err(|_| "the text of \"errorType\"")?,
            Key::Error => self.error = text().map_err(|_| "the text of \"error\"")?,
            Key::IsPartial => {
                self.is_partial = serde_json::from_slice(raw).map_err(|_| "the boolean of \"isPartial\"")?;
            }
            Key::ResultType => self.result_type = Some(text().map_err(|_| "the text of \"resultType\"")?),
            Key::Metric => {
                let added = self.added_labels;
                let number = self.known.number(raw, |raw| parse_labels(raw, added)).map_err(|_| "a label set")?;
                self.number = Some(number);
            }
            // Answers that report an error have null here.
            Key::Data if raw == b"null" => {}
            Key::Data => return Err("the `{` of \"data\""),
            Key::Result if raw == b"null" => {}
            Key::Result => return Err("the `[` of \"result\""),
            Key::Values | Key::Other => {}
        }
        Ok(())
    }

    fn form(&self, bytes: &[u8], at: usize, expected: &'static str) -> AnswerError {
        let found = bytes.get(at..bytes.len().min(at + 60)).unwrap_or_default();
        let found = String::from_utf8_lossy(found).into_owned();
        AnswerError::Form { offset: self.offset + at as u64, expected, found }
    }
}

/// One of the two keys that every series has, if it is there as a whole and without escapes; and its length.
fn usual_key(object: Object, bytes: &[u8]) -> Option<(&'static [u8], usize)> {
    match bytes.first_chunk::<8>() {
        Some(br#""metric""#) if object == Object::Series => Some((b"metric", 8)),
        Some(br#""values""#) if object == Object::Series => Some((b"values", 8)),
        _ => None,
    }
}

/// White space of JSON.
fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn sample_too_large() -> AnswerError {
    AnswerError::TooLarge { what: "a sample in bytes", limit: MAX_SAMPLE_BYTES as u64 }
}
