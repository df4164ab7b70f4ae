//! Asking the shard that reads for all.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use config::ownership::home_shard;

use super::{Demand, Slice, SliceQuestion, Wanted, kept};
use crate::{
    context::{Context, Environment},
    engine::TickInput,
    environment::{Clock, Peers, RangeAnswer, ReadError},
    labels::Labels,
    metrics::{JobLabels, SliceResult},
    peers::{Answer, Member, Request, message::DictionaryVersion},
    plan::JobPlan,
};

/// A reader that has not answered within this time cannot be reached. What it has to send may be large.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The same for one that did not answer last time.
const SILENT_ANSWERS_WITHIN: Duration = Duration::from_millis(300);
/// The first pause between two questions while the reader reads; each is twice the one before.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(5);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// A reader that reads for so long is given up for this time.
const READS_WITHIN: Duration = Duration::from_secs(60);
/// Whoever was not asked for so long begins anew.
const NOT_ASKED_FOR: Duration = Duration::from_secs(30);
/// Names that nobody has used for so long are forgotten.
const KEPT_FOR: Duration = Duration::from_secs(3_600);

/// A reader, the digest of source and query, and that of the custody.
type Source = (Member, u64, u64);

/// What is known of the readers.
#[derive(Default)]
pub(super) struct Pulling {
    dictionaries: HashMap<Source, Known>,
    /// Readers that did not answer last time.
    silent: HashSet<Member>,
    /// Readers that have brought nothing of a query when they were asked last.
    failing: HashMap<(Member, u64), Failing>,
}

/// Since when a reader has brought nothing, and when it was asked last.
struct Failing {
    since: Duration,
    asked_at: Duration,
}

/// Short names of a reader.
#[derive(Default)]
struct Known {
    version: DictionaryVersion,
    labels: HashMap<u32, Labels>,
    used_at: Duration,
}

impl Known {
    /// Learns what is new, and returns the labels of the rows of a slice; `None` where one was never defined.
    fn labels_of(&mut self, slice: &Slice) -> Option<Vec<Labels>> {
        if self.version.incarnation != slice.dictionary.incarnation {
            self.labels.clear();
        }
        self.version = slice.dictionary;
        self.labels.extend(slice.definitions.iter().cloned());
        slice.input.slots.iter().map(|number| self.labels.get(number).cloned()).collect()
    }
}

impl Pulling {
    fn known(&mut self, source: Source, now: Duration) -> &mut Known {
        if !self.dictionaries.contains_key(&source) {
            self.dictionaries.retain(|_, known| now.saturating_sub(known.used_at) < KEPT_FOR);
        }
        let known = self.dictionaries.entry(source).or_default();
        known.used_at = now;
        known
    }

    /// What is known of a reader's names, and how long it is waited for.
    fn before_asking(&self, source: &Source) -> (DictionaryVersion, Duration) {
        let known = self.dictionaries.get(source).map(|known| known.version);
        let within = if self.silent.contains(&source.0) { SILENT_ANSWERS_WITHIN } else { ANSWER_WITHIN };
        (known.unwrap_or_default(), within)
    }

    /// What a reader's answer means, at a time, if it may bring nothing for so long.
    fn weigh(
        &mut self,
        source: Source,
        wanted: Wanted,
        answer: Option<Answer>,
        (now, longest): (Duration, Duration),
    ) -> Step {
        let (member, reading, _) = source;
        let Some(answer) = answer else {
            self.silent.insert(member);
            return Step::Next;
        };
        self.silent.remove(&member);
        let slice = match answer {
            Answer::Slice(slice) if slice.input.grid == wanted.grid => slice,
            Answer::Failed(error) if !self.is_failing(member, reading, now, longest) => {
                return Step::Over(Pulled::Failed(error));
            }
            Answer::Later if !self.is_failing(member, reading, now, longest) => return Step::AskAgain,
            // It has another configuration, or has brought nothing for too long.
            _ => return Step::Next,
        };
        self.failing.remove(&(member, reading));
        let known = self.known(source, now);
        let knew_nothing = known.version == DictionaryVersion::default();
        let Some(series) = known.labels_of(&slice) else {
            // It is asked for all names, once.
            self.dictionaries.remove(&source);
            return if knew_nothing { Step::Next } else { Step::AskAgain };
        };
        let Slice { input: TickInput { values, query_series, .. }, server_time, .. } = *slice;
        Step::Over(Pulled::Answer(RangeAnswer { series, values, query_series, server_time, ..RangeAnswer::default() }))
    }

    /// Whether a reader, which brings nothing just now, has brought nothing for so long.
    fn is_failing(&mut self, member: Member, reading: u64, now: Duration, longest: Duration) -> bool {
        let failing = self.failing.entry((member, reading)).or_insert(Failing { since: now, asked_at: now });
        // Whoever was not asked cannot have brought anything.
        if now.saturating_sub(failing.asked_at) > NOT_ASKED_FOR {
            failing.since = now;
        }
        failing.asked_at = now;
        now.saturating_sub(failing.since) >= longest
    }
}

/// What asking one shard came to.
enum Pulled {
    /// All of the own series, and what else there was.
    Answer(RangeAnswer),
    /// It has read, in vain.
    Failed(ReadError),
    /// Nobody there reads.
    Unreached,
}

/// How to go on after an answer.
enum Step {
    /// Nobody else is asked.
    Over(Pulled),
    /// The same reader soon.
    AskAgain,
    /// The next one.
    Next,
}

impl<E: Environment> Context<E> {
    /// Reads for a job: from the shard that reads for all, or for all in its place. Where there is none, what several jobs
    /// need is read once. `given_up` ends the wait for another shard.
    pub async fn read(
        self: &Rc<Self>,
        plan: &JobPlan,
        labels: &JobLabels,
        demand: Demand,
        given_up: &dyn Fn() -> bool,
        keep: &mut dyn FnMut(&Labels) -> bool,
    ) -> Result<RangeAnswer, ReadError> {
        let (shards, own) = (plan.share.shards, plan.share.shard);
        if shards.get() == 1 || !self.peers.reaches_others() {
            if self.readers.borrow().is_shared(plan.reading(), demand.wanted.purpose) {
                return self.read_for_all(&Rc::new(plan.clone()), labels, demand, keep).await;
            }
            return self.read_once(plan, labels, demand.wanted, keep).await;
        }
        let home = home_shard(&plan.query_alias, shards);
        for step in 0..shards.get() {
            let shard = (home + step) % shards.get();
            if shard == own {
                return self.read_for_all(&Rc::new(plan.clone()), labels, demand, keep).await;
            }
            match self.pull(shard, plan, demand, given_up).await {
                Pulled::Answer(answer) => {
                    self.metrics.slice_pulled(labels, SliceResult::Pulled);
                    self.observe_server_time(answer.server_time);
                    let RangeAnswer { series, values, query_series, .. } = &answer;
                    let wanted = kept(series.iter().map(Some), values, demand.wanted.grid.points, keep);
                    return Ok(RangeAnswer { query_series: *query_series, ..wanted });
                }
                Pulled::Failed(error) => {
                    self.metrics.slice_pulled(labels, SliceResult::Failed);
                    return Err(error);
                }
                Pulled::Unreached => self.metrics.slice_pulled(labels, SliceResult::Unreached),
            }
        }
        // A shard that goes is not in the ring.
        self.read_once(plan, labels, demand.wanted, keep).await
    }

    async fn pull(&self, shard: u32, plan: &JobPlan, demand: Demand, given_up: &dyn Fn() -> bool) -> Pulled {
        let reading = plan.reading();
        // A struct of numbers and texts: serialising it cannot fail.
        let custody: Bytes = serde_json::to_vec(&plan.share.custody).unwrap_or_default().into();
        let key = plan.key_of_all();
        let longest = 3 * self.failover_after(plan.scheduler.infer_every);
        for rank in 0..self.place.get().ranks {
            let member = Member { shard, rank };
            let source = (member, reading, plan.custody_digest(&custody));
            let started = self.clock.monotonic();
            let mut pause = ASK_AGAIN_AFTER;
            loop {
                let (dictionary, within) = self.readers.borrow().pulling.before_asking(&source);
                let (shard, custody) = (plan.share.shard, custody.clone());
                let question = SliceQuestion { shard, reading, demand, custody, dictionary };
                let answer = self.ask_reader(member, &key, Request::Slice(Box::new(question)), within).await;
                let now = self.clock.monotonic();
                let step = self.readers.borrow_mut().pulling.weigh(source, demand.wanted, answer, (now, longest));
                match step {
                    Step::Over(pulled) => return pulled,
                    Step::Next => break,
                    Step::AskAgain => {
                        let waited = now.saturating_sub(started);
                        if waited >= READS_WITHIN || given_up() {
                            let message = format!("{member}, which reads for all, has not finished in {waited:?}");
                            return Pulled::Failed(ReadError::Unavailable { code: "timeout".to_owned(), message });
                        }
                        self.clock.sleep(pause).await;
                        pause = LONGEST_PAUSE.min(2 * pause);
                    }
                }
            }
        }
        Pulled::Unreached
    }

    async fn ask_reader(&self, member: Member, job: &str, question: Request, within: Duration) -> Option<Answer> {
        tokio::select! {
            biased;
            answer = self.peers.ask(member, job, &question) => answer.ok(),
            () = self.clock.sleep(within) => None,
        }
    }
}
