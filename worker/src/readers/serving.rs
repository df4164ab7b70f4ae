//! Reading the TSDB for oneself and for other shards.

use std::{collections::HashMap, rc::Rc, time::Duration};

use xxhash_rust::xxh3::xxh3_64;

use super::{
    Demand, Slice, SliceQuestion, Wanted,
    dictionary::Dictionary,
    pulling::Pulling,
    shelf::{Found, Shelf, Whole},
};
use crate::{
    context::{Context, Environment},
    engine::TickInput,
    environment::{Clock, RangeAnswer, RangeRead, ReadError, Tsdb},
    job::JobView,
    labels::Labels,
    metrics::JobLabels,
    peers::Answer,
    plan::JobPlan,
    share::Custody,
};

/// What nobody has read for so long is forgotten.
const KEPT_FOR: Duration = Duration::from_secs(3_600);

/// What a worker reads for all shards, and what it knows of others that do.
#[derive(Default)]
pub struct Readers {
    /// By digest of source and query.
    rooms: HashMap<u64, Room>,
    /// Dictionaries that there were.
    dictionaries: u64,
    /// The other side.
    pub(super) pulling: Pulling,
}

/// The answers to one query.
struct Room {
    shelf: Shelf,
    dictionary: Dictionary,
    used_at: Duration,
}

impl Readers {
    fn room(&mut self, reading: u64, incarnation: u64, now: Duration) -> &mut Room {
        self.rooms.retain(|known, room| *known == reading || now.saturating_sub(room.used_at) < KEPT_FOR);
        let dictionaries = &mut self.dictionaries;
        let room = self.rooms.entry(reading).or_insert_with(|| {
            *dictionaries += 1;
            let dictionary = Dictionary::new(incarnation.wrapping_add(*dictionaries));
            Room { shelf: Shelf::default(), dictionary, used_at: now }
        });
        room.used_at = now;
        room
    }

    fn find(&mut self, reading: u64, wanted: &Wanted, fresh: bool, now: Duration) -> Found {
        self.rooms.get_mut(&reading).map_or(Found::Nothing, |room| {
            room.used_at = now;
            room.shelf.find(wanted, fresh, now)
        })
    }
}

impl Room {
    /// Takes an answer in.
    fn whole(&mut self, answer: RangeAnswer, at: Duration) -> Whole {
        let RangeAnswer { series, values, received_series, server_time, .. } = answer;
        Whole { numbers: self.dictionary.numbers(&series), values, received_series, server_time, at }
    }
}

impl<E: Environment> Context<E> {
    /// Reads for all shards, or takes what was read for another one, and returns the series that `keep` wants.
    pub(super) async fn read_for_all(
        self: &Rc<Self>,
        plan: &Rc<JobPlan>,
        labels: &JobLabels,
        demand: Demand,
        keep: &mut dyn FnMut(&Labels) -> bool,
    ) -> Result<RangeAnswer, ReadError> {
        let reading = plan.reading();
        let Demand { wanted, mut fresh } = demand;
        loop {
            let now = self.clock.monotonic();
            let found = self.readers.borrow_mut().find(reading, &wanted, fresh, now);
            match found {
                Found::Answer(whole) => {
                    let mut readers = self.readers.borrow_mut();
                    let room = readers.room(reading, self.incarnation(), now);
                    room.shelf.given(&wanted, plan.share.shard);
                    return Ok(kept(&room.dictionary, &whole, wanted.grid.points, keep));
                }
                Found::Failed(error) => return Err(error),
                Found::Reading(notify) => {
                    notify.notified().await;
                    // What was under way when it was asked for is fresh.
                    fresh = false;
                }
                Found::Nothing => self.begin_reading(plan, labels, wanted),
            }
        }
    }

    /// Another shard's question for its series.
    pub(crate) fn slice(self: &Rc<Self>, view: &JobView, question: &SliceQuestion) -> Answer {
        let SliceQuestion { shard, reading, demand: Demand { wanted, fresh }, custody, dictionary } = question;
        let Some(plan) = view.plan().filter(|plan| plan.reading() == *reading) else { return Answer::Nothing };
        let Ok(has) = serde_json::from_slice::<Custody>(custody) else { return Answer::Nothing };
        if !is_readable(&plan, wanted) {
            return Answer::Nothing;
        }
        if wanted.until + self.settle() > self.agreed_now() {
            return Answer::Later;
        }
        let now = self.clock.monotonic();
        let found = self.readers.borrow_mut().find(*reading, wanted, *fresh, now);
        match found {
            Found::Answer(whole) => {
                let mut readers = self.readers.borrow_mut();
                let Room { shelf, dictionary: known, .. } = readers.room(*reading, self.incarnation(), now);
                shelf.given(wanted, *shard);
                let owned = known.owned(xxh3_64(custody), |labels| plan.is_in(&has, labels));
                let is_owned = |(number, _): &(u32, usize)| owned.get(*number as usize).is_some_and(|owned| *owned);
                let mut rows: Vec<(u32, usize)> = whole.numbers.iter().copied().zip(0..).filter(is_owned).collect();
                rows.sort_unstable();
                self.metrics.slice_given(&view.labels);
                let age = i64::try_from(now.saturating_sub(whole.at).as_millis()).unwrap_or(i64::MAX);
                Answer::Slice(Box::new(Slice {
                    input: TickInput::of_rows(wanted.until, wanted.grid, &rows, &whole.values),
                    dictionary: known.version(),
                    definitions: known.definitions(*dictionary, &owned),
                    received_series: whole.received_series,
                    server_time: whole.server_time.map(|time| time.saturating_add(age)),
                }))
            }
            Found::Failed(error) => Answer::Failed(error),
            Found::Reading(_) => Answer::Later,
            Found::Nothing => {
                self.begin_reading(&plan, &view.labels, *wanted);
                Answer::Later
            }
        }
    }

    /// Starts a read beside the jobs: whoever has asked for it may be gone when the answer comes.
    fn begin_reading(self: &Rc<Self>, plan: &Rc<JobPlan>, labels: &JobLabels, wanted: Wanted) {
        let now = self.clock.monotonic();
        let reading = plan.reading();
        self.readers.borrow_mut().room(reading, self.incarnation(), now).shelf.begin(wanted);
        let (context, plan, labels) = (self.clone(), plan.clone(), labels.clone());
        self.spawn(Box::pin(async move {
            let outcome = context.read_once(&plan, &labels, wanted, &mut |_| true).await;
            let at = context.clock.monotonic();
            let mut readers = context.readers.borrow_mut();
            let is_worn = |room: &Room, present| room.dictionary.is_worn(present);
            let present = outcome.as_ref().map_or(usize::MAX / 4, |answer| answer.series.len());
            if readers.rooms.get(&reading).is_some_and(|room| is_worn(room, present)) {
                readers.dictionaries += 1;
                let incarnation = context.incarnation().wrapping_add(readers.dictionaries);
                if let Some(room) = readers.rooms.get_mut(&reading) {
                    room.dictionary = Dictionary::new(incarnation);
                    room.shelf.clear();
                }
            }
            let room = readers.room(reading, context.incarnation(), at);
            let outcome = outcome.map(|answer| room.whole(answer, at));
            room.shelf.land(&wanted, outcome, at, plan.share.shards.get());
        }));
    }

    /// One attempt to read, with everything that is counted about it.
    pub(super) async fn read_once(
        &self,
        plan: &JobPlan,
        labels: &JobLabels,
        wanted: Wanted,
        keep: &mut dyn FnMut(&Labels) -> bool,
    ) -> Result<RangeAnswer, ReadError> {
        let _permit = self.reads.acquire().await.ok();
        let started = self.clock.monotonic();
        let read = RangeRead { query_alias: &plan.query_alias, query: &plan.query, grid: wanted.grid };
        let outcome = self.tsdb().read(&read, keep).await;
        let duration = self.clock.monotonic().saturating_sub(started);
        let url = self.urls.borrow().reader.clone();
        self.metrics.read_finished(labels, &url, outcome.as_ref(), duration);
        if let Ok(answer) = &outcome {
            self.metrics.answer_parsed(labels, &url, answer.parsing);
            self.observe_server_time(answer.server_time);
        }
        outcome
    }
}

/// Whether a job would read this itself.
fn is_readable(plan: &JobPlan, wanted: &Wanted) -> bool {
    let Wanted { until, grid, .. } = wanted;
    let longest = plan.query.max_points_per_query as usize;
    grid.step == plan.query.step
        && (1..=longest.max(1)).contains(&grid.points)
        && grid.start.checked_add(grid.step.saturating_mul(grid.points as i64)).is_some()
        && grid.end() <= until.saturating_add(plan.query.offset)
}

/// The series that are wanted of an answer.
fn kept(dictionary: &Dictionary, whole: &Whole, points: usize, keep: &mut dyn FnMut(&Labels) -> bool) -> RangeAnswer {
    let mut answer = RangeAnswer {
        received_series: whole.received_series,
        server_time: whole.server_time,
        ..RangeAnswer::default()
    };
    for (number, row) in whole.numbers.iter().zip(whole.values.chunks(points.max(1))) {
        if let Some(labels) = dictionary.labels(*number).filter(|labels| keep(labels)) {
            answer.series.push(labels.clone());
            answer.values.extend_from_slice(row);
        }
    }
    answer
}
