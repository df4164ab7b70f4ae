//! Reading the TSDB for oneself and for other shards.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
    time::Duration,
};

use super::{
    Demand, Purpose, Slice, SliceQuestion, Wanted,
    dictionary::Dictionary,
    kept,
    pulling::Pulling,
    shelf::{Found, Shelf, Whole},
};
use crate::{
    context::{Context, Environment},
    custody::Custody,
    engine::TickInput,
    environment::{Clock, Peers, RangeAnswer, RangeRead, ReadError, Tsdb},
    job::JobView,
    labels::Labels,
    metrics::JobLabels,
    peers::Answer,
    plan::JobPlan,
};

/// What nobody has read for so long is forgotten.
const KEPT_FOR: Duration = Duration::from_secs(3_600);

/// What a worker reads for all shards, and what it knows of others that do.
#[derive(Default)]
pub struct Readers {
    /// By digest of source and query.
    rooms: HashMap<u64, Room>,
    /// Those that several jobs of this worker read at the same times.
    shared: HashSet<u64>,
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
    /// Notes what several of these jobs read at the same times: a query of a multivariate model may have a job of its own
    /// for other models, or be another multivariate model's, too.
    pub fn note_shared(&mut self, jobs: &[JobPlan]) {
        let mut seen = HashSet::new();
        let reads = jobs.iter().flat_map(|job| {
            let readings: HashSet<u64> = job.reads().iter().map(JobPlan::reading).collect();
            readings.into_iter().map(|reading| (job.scheduler_alias.as_str(), reading))
        });
        self.shared = reads.filter(|read| !seen.insert(*read)).map(|(_, reading)| reading).collect();
    }

    /// Whether a tick's read is several jobs'. Parts of fits have times of their own in each.
    pub(super) fn is_shared(&self, reading: u64, purpose: Purpose) -> bool {
        purpose != Purpose::Fit && self.shared.contains(&reading)
    }

    /// A read begins in a run of the process that `incarnation` tells from others.
    fn begin(&mut self, reading: u64, wanted: Wanted, incarnation: u64, now: Duration) {
        // Whoever waits for a read that is under way would never hear of it.
        self.rooms.retain(|known, room| {
            *known == reading || room.shelf.is_reading() || now.saturating_sub(room.used_at) < KEPT_FOR
        });
        if !self.rooms.contains_key(&reading) {
            let dictionary = self.new_dictionary(incarnation);
            self.rooms.insert(reading, Room { shelf: Shelf::default(), dictionary, used_at: now });
        }
        if let Some(room) = self.rooms.get_mut(&reading) {
            room.used_at = now;
            room.shelf.begin(wanted);
        }
    }

    /// What there is of a read.
    fn find(&mut self, reading: u64, demand: &Demand, now: Duration) -> Found {
        self.rooms.get_mut(&reading).map_or(Found::Nothing, |room| {
            room.used_at = now;
            room.shelf.find(&demand.wanted, demand.fresh, now)
        })
    }

    /// Gives a shard an answer that was found: calls `take` with the dictionary of its numbers.
    fn give<T>(
        &mut self,
        reading: u64,
        wanted: &Wanted,
        shard: u32,
        take: impl FnOnce(&mut Dictionary) -> T,
    ) -> Option<T> {
        let Room { shelf, dictionary, .. } = self.rooms.get_mut(&reading)?;
        shelf.given(wanted, shard);
        Some(take(dictionary))
    }

    /// A read is over. `shards`: as many will ask for it.
    fn land(
        &mut self,
        reading: u64,
        wanted: &Wanted,
        outcome: Result<RangeAnswer, ReadError>,
        (incarnation, shards): (u64, u32),
        now: Duration,
    ) {
        let is_worn = |room: &Room| outcome.as_ref().is_ok_and(|answer| room.dictionary.is_worn(answer.series.len()));
        let renewed = self.rooms.get(&reading).is_some_and(is_worn).then(|| self.new_dictionary(incarnation));
        let Some(room) = self.rooms.get_mut(&reading) else { return };
        if let Some(dictionary) = renewed {
            room.dictionary = dictionary;
            room.shelf.clear();
        }
        room.used_at = now;
        let outcome = outcome.map(|answer| room.whole(answer, now));
        room.shelf.land(wanted, outcome, now, shards);
    }

    fn new_dictionary(&mut self, incarnation: u64) -> Dictionary {
        self.dictionaries += 1;
        Dictionary::new(incarnation.wrapping_add(self.dictionaries))
    }
}

impl Room {
    /// Takes an answer in.
    fn whole(&mut self, answer: RangeAnswer, at: Duration) -> Whole {
        let RangeAnswer { series, values, server_time, .. } = answer;
        Whole { numbers: self.dictionary.numbers(&series), values, server_time, at }
    }
}

impl<E: Environment> Context<E> {
    /// Reads for all shards and all jobs, or takes what was read for another one, and returns the series that `keep` wants.
    pub(super) async fn read_for_all(
        self: &Rc<Self>,
        plan: &Rc<JobPlan>,
        labels: &JobLabels,
        demand: Demand,
        keep: &mut dyn FnMut(&Labels) -> bool,
    ) -> Result<RangeAnswer, ReadError> {
        let reading = plan.reading();
        let (wanted, mut demand) = (demand.wanted, demand);
        loop {
            let now = self.clock.monotonic();
            let found = self.readers.borrow_mut().find(reading, &demand, now);
            match found {
                Found::Answer(whole) => {
                    let mut readers = self.readers.borrow_mut();
                    let answer = readers.give(reading, &wanted, plan.share.shard, |dictionary| {
                        let series = whole.numbers.iter().map(|number| dictionary.labels(*number));
                        RangeAnswer {
                            query_series: whole.query_series(),
                            server_time: whole.server_time,
                            ..kept(series, &whole.values, wanted.grid.points, keep)
                        }
                    });
                    return Ok(answer.unwrap_or_default());
                }
                Found::Failed(error) => return Err(error),
                Found::Reading(notify) => {
                    notify.notified().await;
                    // What was under way when it was asked for is fresh.
                    demand.fresh = false;
                }
                Found::Nothing => self.begin_reading(reading, plan, labels, wanted),
            }
        }
    }

    /// Another shard's question for its series.
    pub(crate) fn slice(self: &Rc<Self>, view: &JobView, question: &SliceQuestion) -> Answer {
        let SliceQuestion { shard, reading, demand, custody, dictionary } = question;
        let wanted = &demand.wanted;
        let Some(plan) = view.plan().and_then(|plan| with_reading(plan, *reading)) else { return Answer::Nothing };
        let Ok(has) = serde_json::from_slice::<Custody>(custody) else { return Answer::Nothing };
        if !is_readable(&plan, wanted) {
            return Answer::Nothing;
        }
        if wanted.until + self.settle() > self.agreed_now() {
            return Answer::Later;
        }
        let now = self.clock.monotonic();
        let found = self.readers.borrow_mut().find(*reading, demand, now);
        match found {
            Found::Answer(whole) => {
                let age = i64::try_from(now.saturating_sub(whole.at).as_millis()).unwrap_or(i64::MAX);
                let slice = self.readers.borrow_mut().give(*reading, wanted, *shard, |known| {
                    let owned = known.owned(plan.custody_digest(custody), |labels| plan.is_in(&has, labels));
                    let is_owned = |(number, _): &(u32, usize)| owned.get(*number as usize).is_some_and(|owned| *owned);
                    let mut rows: Vec<(u32, usize)> = whole.numbers.iter().copied().zip(0..).filter(is_owned).collect();
                    rows.sort_unstable();
                    Slice {
                        input: TickInput::of_rows(wanted.until, wanted.grid, &rows, &whole.values)
                            .of_query(whole.query_series()),
                        dictionary: known.version(),
                        definitions: known.definitions(*dictionary, &owned),
                        server_time: whole.server_time.map(|time| time.saturating_add(age)),
                    }
                });
                self.metrics.slice_given(&view.labels);
                slice.map_or(Answer::Later, |slice| Answer::Slice(Box::new(slice)))
            }
            Found::Failed(error) => Answer::Failed(error),
            Found::Reading(_) => Answer::Later,
            Found::Nothing => {
                self.begin_reading(*reading, &plan, &view.labels, *wanted);
                Answer::Later
            }
        }
    }

    /// Starts a read beside the jobs: whoever has asked for it may be gone when the answer comes.
    fn begin_reading(self: &Rc<Self>, reading: u64, plan: &Rc<JobPlan>, labels: &JobLabels, wanted: Wanted) {
        self.readers.borrow_mut().begin(reading, wanted, self.incarnation(), self.clock.monotonic());
        let (context, plan, labels) = (self.clone(), plan.clone(), labels.clone());
        self.spawn(Box::pin(async move {
            let outcome = context.read_once(&plan, &labels, wanted, &mut |_| true).await;
            let (incarnation, now) = (context.incarnation(), context.clock.monotonic());
            // Nobody else asks where workers do not reach each other.
            let shards = if context.peers.reaches_others() { plan.share.shards.get() } else { 1 };
            context.readers.borrow_mut().land(reading, &wanted, outcome, (incarnation, shards), now);
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

/// The plan of the read of this digest, of those that a job takes.
fn with_reading(plan: Rc<JobPlan>, reading: u64) -> Option<Rc<JobPlan>> {
    match plan.joint {
        None => Some(plan).filter(|plan| plan.reading() == reading),
        Some(_) => plan.reads().into_iter().find(|read| read.reading() == reading).map(Rc::new),
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
