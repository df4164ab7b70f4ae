//! A time series database whose answers are a function of the seed, the series and the time; and which can be away.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use detect::model::MISSING;
use worker::{
    environment::{Clock, RangeAnswer, RangeRead, ReadError, Tsdb, WriteError},
    labels::Labels,
    peers::Member,
};
use xxhash_rust::xxh3::xxh3_64;

use super::{START, chance::Chance, clock::VirtualClock};

#[derive(Clone)]
pub struct Database {
    seed: u64,
    clock: VirtualClock,
    /// Whose client this is.
    member: Member,
    /// Whether the same read is answered otherwise each time, as with late, deleted or downsampled samples.
    shifting: bool,
    inner: Rc<RefCell<Inner>>,
}

#[derive(Default)]
struct Inner {
    away_until: [i64; 4],
    cut_off: BTreeMap<Member, i64>,
    calls: u64,
    /// By query, first time and number of points.
    reads: BTreeMap<(String, i64, usize), u64>,
    written: BTreeMap<(String, i64), u64>,
    rewritten: u64,
    /// Times at which a sample was written again with another value, and when that was.
    conflicts: BTreeMap<i64, i64>,
    /// The longest time from a tick's time to the first write of a score of the job `minutely`, by time of writing.
    delays: BTreeMap<i64, i64>,
    /// How many samples of a score each worker has written at a time.
    scores_by: BTreeMap<(Member, i64), u64>,
    /// The shard that has written a sample.
    writers: HashMap<(String, i64), (Member, i64)>,
    /// Times at which another shard has written a sample, and when that was.
    doubles: BTreeMap<i64, i64>,
    /// Ticks that others than the lowest ranks have read.
    read_in_place: u64,
}

const SERIES: u64 = 12;
/// A fit reads far more.
const MOST_POINTS_OF_A_TICK: usize = 8;

impl Database {
    pub fn new(seed: u64, clock: VirtualClock) -> Self {
        Self { seed, clock, member: Member::default(), shifting: false, inner: Rc::default() }
    }

    /// Answers the same read otherwise each time.
    pub fn shifting(mut self) -> Self {
        self.shifting = true;
        self
    }

    /// The client of a worker.
    pub fn of(&self, member: Member) -> Self {
        Self { member, ..self.clone() }
    }

    /// A worker cannot reach it until then.
    pub fn cut_off(&self, member: Member, until: i64) {
        self.inner.borrow_mut().cut_off.insert(member, until);
    }

    /// How often the most frequent read of the ticks in `times` was asked for.
    pub fn most_reads(&self, times: std::ops::Range<i64>) -> u64 {
        let inner = self.inner.borrow();
        let is_tick = |start: i64, points: usize| times.contains(&start) && points <= MOST_POINTS_OF_A_TICK;
        let within = inner.reads.iter().filter(|((_, start, points), _)| is_tick(*start, *points));
        within.map(|(_, reads)| *reads).max().unwrap_or(0)
    }

    /// Times at which a sample was written again with another value, and when that was.
    pub fn conflicts(&self) -> BTreeMap<i64, i64> {
        self.inner.borrow().conflicts.clone()
    }

    /// Times at which a shard has written a sample that another one had written, and when that was.
    pub fn doubles(&self) -> BTreeMap<i64, i64> {
        self.inner.borrow().doubles.clone()
    }

    /// How often others than the lowest ranks have read a tick.
    pub fn ticks_read_in_place(&self) -> u64 {
        self.inner.borrow().read_in_place
    }

    /// The longest time from a tick's time to the first write of one of its scores after `from`, ms.
    pub fn longest_delay(&self, from: i64) -> i64 {
        self.inner.borrow().delays.range(from..).map(|(_, delay)| *delay).max().unwrap_or(0)
    }

    /// Scores that a worker has written, by time.
    pub fn scores_by(&self, member: Member) -> BTreeMap<i64, u64> {
        let inner = self.inner.borrow();
        inner
            .scores_by
            .iter()
            .filter(|((writer, _), _)| *writer == member)
            .map(|((_, time), count)| (*time, *count))
            .collect()
    }

    /// From now until `until` something of kind `kind` goes wrong: reads, writes, both, or every third call.
    pub fn disturb(&self, kind: u64, until: i64) {
        self.inner.borrow_mut().away_until[kind as usize] = until;
    }

    /// Everything that was written, as bits, and how often a sample was written again with another value.
    pub fn written(&self) -> (BTreeMap<(String, i64), u64>, u64) {
        let inner = self.inner.borrow();
        (inner.written.clone(), inner.rewritten)
    }

    /// `query` is the hash of its name.
    fn value(&self, query: u64, series: u64, time: i64) -> f64 {
        let hash = Chance::of(self.seed, &[query, series, time.cast_unsigned()]).next();
        let noise = (hash % 10_000) as f64 / 1e4;
        match hash >> 32 {
            // Now and then a sample is not there, is no number, or is far off.
            odd if odd % 50 == 0 => MISSING,
            odd if odd % 211 == 0 => f64::NAN,
            odd if odd % 223 == 0 => f64::INFINITY,
            odd if odd % 101 == 0 => 50.0 + noise,
            _ => series as f64 + noise,
        }
    }

    /// Some series come and go, so that the TTL has work.
    fn present(series: u64, time: i64) -> bool {
        let hours = time / 1_800_000;
        series % 4 != 3 || (hours + series as i64) % 2 == 0
    }

    /// Whether a request that arrives now is answered.
    fn arrives(&self, read: bool) -> bool {
        let mut inner = self.inner.borrow_mut();
        inner.calls += 1;
        let now = self.clock.unix();
        let kinds = if read { [0, 2] } else { [1, 2] };
        let away = kinds.iter().any(|kind| now < inner.away_until[*kind]);
        let flaky = now < inner.away_until[3] && inner.calls.is_multiple_of(3);
        let cut_off = inner.cut_off.get(&self.member).is_some_and(|until| now < *until);
        !(away || flaky || cut_off)
    }

    /// The answer takes its time.
    async fn latency(&self) {
        let latency = 3 + self.inner.borrow().calls % 40;
        self.clock.sleep(Duration::from_millis(latency)).await;
    }

    async fn call(&self) -> Result<(), ReadError> {
        let arrives = self.arrives(true);
        self.latency().await;
        let message = "connection refused".to_owned();
        if arrives { Ok(()) } else { Err(ReadError::Unavailable { code: "connection_error".into(), message }) }
    }
}

/// Keeps what is no number as it is.
fn shifted(value: f64, shift: f64) -> f64 {
    if value.is_finite() { value + shift } else { value }
}

impl Tsdb for Database {
    async fn read(
        &self,
        read: &RangeRead<'_>,
        keep: &mut dyn FnMut(&Labels) -> bool,
    ) -> Result<RangeAnswer, ReadError> {
        assert!(read.grid.end() <= self.clock.unix(), "a tick is read before its time");
        self.call().await?;
        let mut answer = RangeAnswer {
            server_time: Some(self.clock.unix() / 1_000 * 1_000),
            received_series: SERIES,
            ..RangeAnswer::default()
        };
        let reads = {
            let mut inner = self.inner.borrow_mut();
            let reads =
                inner.reads.entry((read.query_alias.to_owned(), read.grid.start, read.grid.points)).or_default();
            *reads += 1;
            let reads = *reads;
            let is_tick = read.grid.points <= MOST_POINTS_OF_A_TICK;
            inner.read_in_place += u64::from(is_tick && self.member.rank > 0);
            reads
        };
        let shift = if self.shifting { reads as f64 / 64.0 } else { 0.0 };
        let query = xxh3_64(read.query_alias.as_bytes());
        for series in 0..SERIES {
            let row: Vec<f64> = read
                .grid
                .times()
                .map(|time| {
                    if Self::present(series, time) { shifted(self.value(query, series, time), shift) } else { MISSING }
                })
                .collect();
            let labels = Labels::new([
                ("__name__", read.query_alias.to_owned()),
                ("instance", format!("host-{series}")),
                ("job", "node".to_owned()),
            ]);
            if row.iter().any(|value| value.to_bits() != MISSING.to_bits()) {
                answer.query_series += 1;
                if keep(&labels) {
                    answer.series.push(labels);
                    answer.values.extend(row);
                }
            }
        }
        Ok(answer)
    }

    async fn server_time(&self) -> Result<Option<i64>, ReadError> {
        self.call().await?;
        Ok(Some(self.clock.unix() / 1_000 * 1_000))
    }

    async fn write(&self, body: Bytes) -> Result<(), WriteError> {
        let arrives = self.arrives(false);
        // An answer may get lost on its way back although the samples were taken.
        if arrives || !body.len().is_multiple_of(2) {
            self.store(&body);
        }
        self.latency().await;
        let message = "no answer".to_owned();
        if arrives { Ok(()) } else { Err(WriteError::Unavailable { code: "timeout".into(), message }) }
    }
}

impl Database {
    fn store(&self, body: &[u8]) {
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        for line in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line: serde_json::Value = serde_json::from_slice(line).expect("a JSON line");
            let mut labels: BTreeMap<String, String> = serde_json::from_value(line["metric"].clone()).expect("labels");
            let name = labels.remove("__name__").expect("a name");
            let series = format!("{name}{labels:?}");
            let times = line["timestamps"].as_array().expect("times");
            let values = line["values"].as_array().expect("values");
            assert_eq!(times.len(), values.len());
            for (time, value) in times.iter().zip(values) {
                let value = value.as_f64().expect("a number").to_bits();
                let time = time.as_i64().expect("a time");
                let before = inner.written.insert((series.clone(), time), value);
                let now = self.clock.unix();
                let (first, first_at) = *inner.writers.entry((series.clone(), time)).or_insert((self.member, now));
                if first.shard != self.member.shard {
                    inner.doubles.insert(time, now);
                    if super::deployment::trace::is_on() {
                        let at = (first_at - START) as f64 / 1e3;
                        eprintln!("{}: writes {series} at {time}, too, which {first} wrote at +{at} s", self.member);
                    }
                }
                if before.is_none() && series.contains("minutely") {
                    let delay = inner.delays.entry(now).or_default();
                    *delay = (*delay).max(now - time);
                }
                if before.is_some_and(|before| before != value) {
                    inner.rewritten += 1;
                    if super::deployment::trace::is_on() {
                        let at = (first_at - START) as f64 / 1e3;
                        eprintln!(
                            "{}: another value of {series} at {time}, which {first} wrote at +{at} s",
                            self.member
                        );
                    }
                    inner.conflicts.insert(time, now);
                }
                if name == "anomaly_score" {
                    *inner.scores_by.entry((self.member, time)).or_default() += 1;
                }
            }
        }
    }
}
