//! Parses the answer of a range query while it arrives, straight into columns.
//!
//! The format is that of Prometheus' `/api/v1/query_range`
//! (<https://prometheus.io/docs/prometheus/latest/querying/api/#range-queries>). Keys may come in any order, unknown
//! ones are skipped. Only an unfinished label set, sample or short text is ever buffered, so memory does not depend
//! on the length of the answer. How the bytes are cut into chunks does not matter.

use detect::model::MISSING;
use serde::Deserialize;

use super::columns::{Columns, Duplicate, Part};
use super::json_value::ValueEnd;
use super::label_cache::LabelCache;
use super::sample::{self, MAX_SAMPLE_BYTES, Sample, Scanned};
use crate::labels::Labels;

/// What one answer may at most take. An answer beyond them is an error that names the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a body.
    pub body_bytes: u64,
    /// Bytes of one series.
    pub series_bytes: u64,
    /// Bytes of one label set, or of a text such as an error message.
    pub label_bytes: usize,
    /// Distinct series of a read, kept or not.
    pub series: usize,
}

impl Default for Limits {
    /// Well above what a TSDB with its own default limits answers.
    fn default() -> Self {
        Self { body_bytes: 16 << 30, series_bytes: 256 << 20, label_bytes: 1 << 20, series: 10_000_000 }
    }
}

/// Why the body of an answer cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It is no JSON, or JSON of another form.
    #[error("the answer is no range query result: byte {offset} should be {expected}, but is {found:?}")]
    Form {
        /// Where.
        offset: u64,
        /// What should be there.
        expected: &'static str,
        /// What is there, shortened.
        found: String,
    },
    /// It stops too early.
    #[error("the answer ends after {received} bytes, before its end")]
    Truncated {
        /// Bytes received.
        received: u64,
    },
    /// The result is of another type.
    #[error("the result is of type {found:?} instead of \"matrix\"")]
    ResultType {
        /// Its type.
        found: String,
    },
    /// It reports an error.
    #[error("{error_type}: {message}")]
    Reported {
        /// The TSDB's `errorType`.
        error_type: String,
        /// The TSDB's words.
        message: String,
    },
    /// Some storage nodes of a cluster did not answer. Learning from the rest would lose data.
    #[error("partial answer: some storage nodes did not respond")]
    Partial,
    /// Two series have equal labels.
    #[error("the answer has two series {labels}")]
    Duplicate {
        /// Their labels.
        labels: Labels,
    },
    /// A limit is exceeded.
    #[error("{what} exceeds the limit of {limit}")]
    TooLarge {
        /// What is too large, with its unit.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
}

impl From<Duplicate> for AnswerError {
    fn from(Duplicate(labels): Duplicate) -> Self {
        Self::Duplicate { labels }
    }
}

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
    cache: &'a mut LabelCache,
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
    labels: Option<Labels>,
    row: Vec<f64>,
    /// Index of the first time after the last sample that was taken.
    next: usize,

    received_series: u64,
    received_samples: u64,
    invalid_samples: u64,
}

impl<'a> RangeAnswerParser<'a> {
    /// For the answer to a request for `part`. `added_labels` are given to every series that has none of the name;
    /// `cache` must always come with the same ones.
    pub fn new(
        part: Part,
        limits: Limits,
        columns: &'a mut Columns,
        cache: &'a mut LabelCache,
        added_labels: &'a [(String, String)],
    ) -> Self {
        Self {
            part,
            limits,
            columns,
            cache,
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
            labels: None,
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
            (State::KeyOrEnd(object) | State::Key(object), b'"') => self.capture(Captured::Key(object)),
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
        self.labels = None;
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
                let Some(labels) = self.labels.take() else {
                    return Err(self.form(bytes, *at, "the \"metric\" of the series"));
                };
                // A series without a valid sample is as good as not there.
                if self.next > 0 {
                    self.columns.add(labels, self.part, &self.row, keep)?;
                    if self.columns.series() > self.limits.series {
                        let limit = self.limits.series as u64;
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
                let key: Text<'_> = serde_json::from_slice(raw).map_err(|_| self.form(bytes, *at, "a key"))?;
                let key =
                    self.key(object, &key.0).ok_or_else(|| self.form(bytes, *at, "a key that is not there yet"))?;
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
    fn key(&mut self, object: Object, name: &str) -> Option<Key> {
        let (key, keys) = match object {
            Object::Answer => (
                match name {
                    "status" => Key::Status,
                    "errorType" => Key::ErrorType,
                    "error" => Key::Error,
                    "isPartial" => Key::IsPartial,
                    "data" => Key::Data,
                    _ => Key::Other,
                },
                &mut self.answer_keys,
            ),
            Object::Data => (
                match name {
                    "resultType" => Key::ResultType,
                    "result" => Key::Result,
                    _ => Key::Other,
                },
                &mut self.data_keys,
            ),
            Object::Series => (
                match name {
                    "metric" => Key::Metric,
                    "values" => Key::Values,
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
                let labels = self.cache.get(raw, |raw| parse_labels(raw, added)).map_err(|_| "a label set")?;
                self.labels = Some(labels);
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

/// White space of JSON.
fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn sample_too_large() -> AnswerError {
    AnswerError::TooLarge { what: "a sample in bytes", limit: MAX_SAMPLE_BYTES as u64 }
}

/// A string, copied only if it has escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] std::borrow::Cow<'a, str>);

fn parse_labels(raw: &[u8], added: &[(String, String)]) -> Result<Labels, serde_json::Error> {
    struct Pairs<'a>(Vec<(Text<'a>, Text<'a>)>);

    impl<'de> Deserialize<'de> for Pairs<'de> {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;

            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Pairs<'de>;

                fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    formatter.write_str("a label set")
                }

                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                    let mut pairs = Vec::with_capacity(8);
                    while let Some(pair) = map.next_entry()? {
                        pairs.push(pair);
                    }
                    Ok(Pairs(pairs))
                }
            }
            deserializer.deserialize_map(Visitor)
        }
    }

    let Pairs(pairs) = serde_json::from_slice(raw)?;
    // Of equal names the last one counts, so what the server says comes last.
    let added = added.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Ok(Labels::new(added.chain(pairs.iter().map(|(name, value)| (&*name.0, &*value.0)))))
}
