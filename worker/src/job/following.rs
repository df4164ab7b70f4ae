//! One rank among several: asking the others what comes next, taking their records, and when to go on alone.

use std::{collections::HashMap, rc::Rc, time::Duration};

use futures_util::future::join_all;

use super::{Job, JobView, Wait, failover::Failover};
use crate::{
    context::Environment,
    environment::{Clock, Peers},
    labels::Labels,
    peers::{
        Answer, Member, Phase, Request, Rule, Standing,
        journal::{Content, Entry, Takeover},
        message::{DictionaryVersion, Held, Next, NextRecord},
    },
};

/// A rank that has not answered within this time cannot be reached.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The same for a rank that has just not answered, and has not asked since: the questions of one tick must not wait for
/// it for long, each of them.
const SILENT_ANSWERS_WITHIN: Duration = Duration::from_millis(300);
/// For so long it is not given more time. Afterwards this process may have been paused, and its silence means nothing.
const SILENT_FOR: Duration = Duration::from_secs(3);
/// Pause between two questions while another rank reads.
pub(super) const ASK_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Pause between two questions while this rank cannot go on by itself.
const FOLLOW_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// After this time without asking, a rank asks again before its record counts: it may have been paused. The others wait
/// [`ANSWER_WITHIN`] for its answer before they go on without it: its own word is over before that.
pub(super) const ASKED_LATELY: Duration = Duration::from_millis(1_500);
/// A round of questions that takes longer was interrupted by a pause of this process.
const ROUND_WITHIN: Duration = Duration::from_secs(3);

/// What a job knows of the other ranks.
#[derive(Default)]
pub(super) struct Following {
    /// How many ranks there are. It changes between ticks only.
    ranks: u32,
    pub(super) dictionaries: HashMap<u32, Dictionary>,
    /// Ranks that did not answer last time, and when that was.
    silent: HashMap<u32, Duration>,
    /// When the others had last been asked.
    asked_at: Option<Duration>,
    /// A rank with a finished fit that this one does not have.
    pub(super) offered_fit: Option<(u32, i64)>,
    /// How they get on.
    pub(super) failover: Failover,
    /// Whether another rank's state is taken over only because series have joined it which have not arrived here.
    pub(super) lacks_arrival: bool,
    /// Since when the former owner of series that are to arrive does not answer.
    pub(super) silent_since: Option<Duration>,
    /// Whether this rank has recorded the tick before, and nothing was unusual about it.
    pub(super) leads_on: bool,
    /// Ticks up to here were written from another state: they are learnt, but not written again.
    pub(super) written_elsewhere: Option<i64>,
    /// What this rank has missed while others may have gone on.
    pub(super) absence: Absence,
    /// What the other ranks said last that they have of series that move.
    pub(super) held: HashMap<u32, Held>,
}

/// That a rank was away while others have gone on, and may not be reached now.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Absence {
    /// Since when it waits for every other rank to say where it stands.
    waits_since: Option<Duration>,
    /// The newest epoch that is known to have settled without it.
    missed_epoch: u64,
}

impl Absence {
    /// It has a state that has followed the topology up to `epoch`. One that missed the same epoch is no better than the
    /// own one was: others may have gone on from it.
    pub(super) fn end(&mut self, epoch: u64) {
        self.waits_since.take_if(|_| epoch >= self.missed_epoch);
    }
}

impl Following {
    /// One of `ranks` ranks, which knows nothing of the others yet.
    pub(super) fn among(ranks: u32) -> Self {
        Self { ranks, ..Self::default() }
    }

    /// Whether all other ranks are known to hold what is asked for.
    pub(super) fn all_hold(&self, is_so: impl Fn(&Held) -> bool) -> bool {
        let others = self.held.len() + 1 >= self.ranks as usize;
        others && self.held.values().all(is_so)
    }
}

/// The series of another rank's records.
#[derive(Default)]
pub(super) struct Dictionary {
    pub(super) version: DictionaryVersion,
    pub(super) labels: HashMap<u32, Labels>,
}

/// What asking all other ranks has brought.
#[derive(Default)]
pub(super) struct Round {
    /// Another rank's record of what comes next.
    take: Option<(u32, Box<NextRecord>)>,
    /// The rank whose state counts more than the own one, which differs.
    diverged: Option<Standing>,
    /// The rank that is ahead and has not kept the records that lead there.
    ahead: Option<Standing>,
    /// Whether another rank's state counts more than the own one, be it to be had yet or not.
    pub(super) outranked: bool,
    /// Whether a lower rank is there to read.
    led: bool,
    /// Whether another rank is reading already.
    busy: bool,
    /// Whether a rank that is stuck is passed over.
    passed: bool,
    /// Lower ranks that write nothing: their states differ and do not count, or they are taking another one over.
    pub(super) overruled: u32,
    /// Whether every rank has said where it stands.
    complete: bool,
}

/// How to go on.
pub(super) enum Turn {
    /// Take this record of that rank.
    Take(u32, Box<NextRecord>),
    /// Take that rank's state over.
    Adopt(u32),
    /// Ask again soon.
    Wait,
    /// Read it.
    Lead,
}

impl Round {
    /// Whether this rank decides what comes next.
    fn leads(&self) -> bool {
        let another = self.diverged.is_some() || self.take.is_some() || self.ahead.is_some();
        !another && !self.led && !self.busy
    }

    /// The rank whose state counts more than the own one and is to be had.
    pub(super) fn outranking(&self) -> Option<u32> {
        self.diverged.or(self.ahead).map(|standing| standing.rank)
    }

    pub(super) fn into_turn(self) -> Turn {
        match self {
            Self { diverged: Some(standing), .. } => Turn::Adopt(standing.rank),
            Self { take: Some((rank, record)), .. } => Turn::Take(rank, record),
            Self { ahead: Some(standing), .. } => Turn::Adopt(standing.rank),
            round if round.leads() => Turn::Lead,
            _ => Turn::Wait,
        }
    }
}

impl<E: Environment> Job<E> {
    /// Whether a rule of the protocol is kept.
    pub(super) fn keeps(&self, rule: Rule) -> bool {
        self.context.rules.get().has(rule)
    }

    /// Whether there are no other ranks.
    pub(super) fn alone(&self) -> bool {
        self.following.ranks <= 1
    }

    pub(super) fn set_role(&self, phase: Phase) {
        self.view.journal().standing.phase = if self.alone() { Phase::Alone } else { phase };
    }

    /// Takes note of ranks that have come or gone. A job that was alone has kept nothing for others: what it offers begins
    /// here, with a chain that no other state has.
    pub(super) async fn follow_ranks(&mut self) {
        let ranks = self.context.place.get().ranks;
        if ranks == self.following.ranks {
            return;
        }
        let was_alone = self.alone();
        let Following { written_elsewhere, absence, .. } = self.following;
        self.following = Following { written_elsewhere, absence, ..Following::among(ranks) };
        tracing::info!(job = %self.view.key, ranks, "the number of ranks changed");
        self.stand_in_topology();
        if was_alone == self.alone() {
            return;
        }
        if let Some(position) = self.position {
            if was_alone {
                self.lineage.stand_apart(self.context.incarnation(), position);
                // A restart goes on with this chain. Before the first fit there is nothing to keep.
                if self.state.fitted() {
                    self.save_everything().await;
                }
            }
            self.view.journal().restart(position, self.lineage);
        }
        self.is_working_on(None);
        self.offer_fit();
        self.set_role(if self.position.is_some() { Phase::Running } else { Phase::Beginning });
    }

    /// Everything about this rank that others have to know.
    fn standing(&self) -> Standing {
        self.stand_in_topology();
        let mut journal = self.view.journal();
        journal.standing.lineage = self.lineage;
        journal.standing.release = self.context.release.get();
        journal.standing
    }

    /// What other ranks judge a state by has to be known together with the state.
    pub(super) fn stand_in_topology(&self) {
        self.view.journal().standing.progress = self.state.plan.share.key();
    }

    /// Asks another rank of the own shard; [`Answer::Nothing`] where it does not answer.
    pub(super) async fn ask(&self, rank: u32, request: &Request) -> Answer {
        let member = Member { rank, ..self.context.place.get().member };
        let now = self.context.clock.monotonic();
        let is_silent = self.following.silent.get(&rank).is_some_and(|at| now.saturating_sub(*at) < SILENT_FOR);
        let within = if is_silent { SILENT_ANSWERS_WITHIN } else { ANSWER_WITHIN };
        self.ask_member(member, &self.view.key, request, within).await.unwrap_or(Answer::Nothing)
    }

    /// Asks another worker about a job; `None` where it does not answer.
    pub(super) async fn ask_member(
        &self,
        member: Member,
        job: &str,
        request: &Request,
        within: Duration,
    ) -> Option<Answer> {
        tokio::select! {
            biased;
            answer = self.context.peers.ask(member, job, request) => answer.ok(),
            () = self.context.clock.sleep(within) => None,
        }
    }

    /// Asks all ranks of a shard at once, but for this one; those that do not answer are left out.
    pub(super) async fn ask_shard(&self, shard: u32, job: &str, request: &Request) -> Vec<(Member, Answer)> {
        let place = self.context.place.get();
        let members = (0..place.ranks).map(|rank| Member { shard, rank }).filter(|member| *member != place.member);
        let answers = members
            .map(|member| async move { Some((member, self.ask_member(member, job, request, ANSWER_WITHIN).await?)) });
        join_all(answers).await.into_iter().flatten().collect()
    }

    /// Asks all other ranks at once.
    pub(super) async fn round(&mut self) -> Round {
        for rank in self.view.journal().take_heard() {
            self.following.silent.remove(&rank);
        }
        let own = self.standing();
        let plan = self.state.plan.digest();
        let this: &Self = self;
        let (started, answers) = loop {
            let started = self.context.clock.monotonic();
            let answers = (0..self.following.ranks).filter(|rank| *rank != own.rank).map(|rank| async move {
                let dictionary = this.following.dictionaries.get(&rank).map(|known| known.version).unwrap_or_default();
                (rank, this.ask(rank, &Request::Next { standing: own, plan, dictionary }).await)
            });
            let answers = join_all(answers).await;
            // After a pause of this process, answers are old, and silence means nothing.
            let took = self.context.clock.monotonic().saturating_sub(started);
            if took <= ROUND_WITHIN || !self.keeps(Rule::AskAgain) || self.view.stopping() {
                break (started, answers);
            }
        };
        self.following.asked_at = Some(started);
        let now = self.context.clock.monotonic();
        let mut round = Round { complete: true, ..Round::default() };
        for (rank, answer) in answers {
            let Answer::Next { standing: theirs, next, held } = answer else {
                round.complete = false;
                self.following.silent.insert(rank, now);
                self.following.failover.is_silent(rank);
                continue;
            };
            self.following.silent.remove(&rank);
            self.following.failover.runs(rank, theirs.release);
            self.following.held.insert(rank, held);
            self.weigh(&own, Standing { rank, ..theirs }, next, &mut round);
        }
        round.led |= self.waits_for_all(round.complete && !round.outranked);
        self.view.leads_since.set(round.leads().then_some(started));
        round
    }

    /// This process has nothing stored of a job, or what it has others have gone on from, be they reached or not.
    pub(super) fn waits_for_others(&mut self) {
        if self.alone() {
            return;
        }
        let now = self.context.clock.monotonic();
        self.following.absence.waits_since.get_or_insert(now);
    }

    /// Takes note if an epoch has settled without the own state: its ranks have all had newer ones then.
    pub(super) fn note_missed_epoch(&mut self, settled_epoch: u64) {
        let missed = self.following.absence.missed_epoch.max(self.state.plan.share.progress.epoch);
        if self.alone() || self.is_arrival() || settled_epoch <= missed {
            return;
        }
        tracing::info!(
            job = %self.view.key, settled_epoch, "what is stored is from before the topology that settled last: the other \
             ranks are waited for"
        );
        self.following.absence.missed_epoch = settled_epoch;
        self.following.written_elsewhere = self.following.written_elsewhere.max(self.position);
        self.waits_for_others();
    }

    /// Whether this rank, which was away, has still to hear of all others before it goes on by itself. `is_settled`: all
    /// have answered, and no other state counts more.
    fn waits_for_all(&mut self, is_settled: bool) -> bool {
        let Some(since) = self.following.absence.waits_since else { return false };
        let longest = self.handover_timeout();
        let hears_all = is_settled || !self.keeps(Rule::HearAll);
        let waits = !hears_all && self.context.clock.monotonic().saturating_sub(since) < longest;
        if !waits {
            if !hears_all {
                tracing::warn!(job = %self.view.key, "other ranks are not reached, the job goes on without them");
            }
            self.following.absence.waits_since = None;
        }
        waits
    }

    /// What one rank's answer means.
    fn weigh(&mut self, own: &Standing, theirs: Standing, next: Next, round: &mut Round) {
        match theirs.phase {
            Phase::Restoring => round.complete = false,
            // It has no state to write from, and waits for one of this rank's or of one that counts more.
            Phase::Adopting => round.overruled += u32::from(theirs.rank < own.rank),
            // It will know of this rank soon.
            Phase::Alone => {
                round.complete = false;
                round.led |= theirs.rank < own.rank;
            }
            Phase::Beginning => {
                let (position, written) = (i64::MIN, i64::MIN);
                self.note_progress(own, &Standing { rank: theirs.rank, position, written, ..Standing::default() });
                // Series that are to arrive may take long, and one rank decides when they have done so.
                let is_passed = !self.waits_for_arrivals() && self.is_stuck(theirs.rank);
                round.led |= theirs.rank < own.rank && !is_passed;
            }
            Phase::Joining | Phase::Running if theirs.position == i64::MIN => {}
            Phase::Joining | Phase::Running => {
                let has_state = own.position != i64::MIN;
                // What has not followed the topology so far still has what another shard has taken over since.
                if !has_state && theirs.progress.0 < own.progress.0 && self.waits_for_arrivals() {
                    round.led |= theirs.rank < own.rank;
                    return;
                }
                let behind = has_state && self.view.journal().has_been_at(&theirs);
                // One that is ahead, or as far, has compared the chains itself.
                let refuses = matches!(next, Next::Diverged | Next::Gone);
                let differs = !has_state || !behind && (refuses || theirs.position < own.position);
                if differs && self.keeps(Rule::CompareChains) {
                    tracing::debug!(
                        job = %self.view.key, rank = theirs.rank, own = own.position, theirs = theirs.position,
                        precedes = theirs.precedes(own), next = next.name(), "another rank's state differs"
                    );
                    // One that has released or taken more has not written for the same series.
                    if has_state && theirs.progress == own.progress {
                        let floor = &mut self.following.written_elsewhere;
                        *floor = (*floor).max(Some(theirs.written));
                    }
                    let counts = !has_state || theirs.precedes(own);
                    round.overruled += u32::from(!counts && theirs.rank < own.rank);
                    self.following.failover.differs(theirs.rank);
                    let gone = !has_state || matches!(next, Next::Gone);
                    let adopt = if gone { &mut round.ahead } else { &mut round.diverged };
                    let best = adopt.is_none_or(|best| theirs.precedes(&best));
                    round.outranked |= counts;
                    // One that is joining has nothing to give yet.
                    round.busy |= counts && theirs.phase == Phase::Joining;
                    if counts && best && theirs.phase == Phase::Running {
                        *adopt = Some(theirs);
                    }
                    return;
                }
                if theirs.phase == Phase::Joining {
                    return;
                }
                self.note_progress(own, &theirs);
                let is_stuck = self.is_stuck(theirs.rank);
                if let Some(fitted_to) = theirs.fit {
                    self.following.offered_fit = Some((theirs.rank, fitted_to));
                }
                match next {
                    Next::Record(_) if !self.keeps(Rule::TakeRecords) => {}
                    Next::Record(record) if round.take.is_none() => round.take = Some((theirs.rank, record)),
                    _ if !self.keeps(Rule::LowestReads) => {}
                    _ if is_stuck && !self.is_recording(&theirs) => {
                        round.passed = true;
                    }
                    _ => {
                        round.led |= theirs.rank < own.rank;
                        round.busy |= theirs.working_on.is_some_and(|tick| tick > own.position);
                    }
                }
            }
        }
    }

    /// Before the first tick of this process: finds out whether another rank's state counts more than the own one.
    /// Waits for ranks that do not answer, but not for ever.
    pub(super) async fn join(&mut self) {
        self.set_role(Phase::Joining);
        let started = self.context.clock.monotonic();
        loop {
            let round = self.round().await;
            let waited = self.context.clock.monotonic().saturating_sub(started);
            let longest = Duration::from_millis(self.context.settings.borrow().peer_timeout.unsigned_abs());
            if round.complete || waited >= longest || self.view.stopping() {
                tracing::debug!(job = %self.view.key, outranked = round.outranked, "joined");
                return;
            }
            self.context.clock.sleep(ASK_AGAIN_AFTER).await;
        }
    }

    /// Whether this rank decides what comes next.
    pub(super) async fn leads(&mut self) -> bool {
        (self.alone() || self.round().await.leads()) && self.may_lead()
    }

    /// Series that have arrived are led by the rank that leads those that they will join: it alone knows whether they
    /// have done so.
    pub(super) fn may_lead(&self) -> bool {
        let now = self.context.clock.monotonic();
        let is_lately = |at: Duration| now.saturating_sub(at) < ASKED_LATELY;
        let leads = |main: &Rc<JobView>| main.leads_since.get().is_some_and(is_lately);
        self.alone() || self.joins.as_ref().is_none_or(leads)
    }

    /// Takes note that this rank waits for another one to go on.
    fn waits(&mut self) {
        let now = self.context.clock.monotonic();
        self.following.failover.waits_at(self.position, now);
    }

    /// This rank cannot go on by itself: takes what others have recorded meanwhile.
    pub(super) async fn follow_meanwhile(&mut self) {
        match self.round().await.into_turn() {
            Turn::Take(rank, record) => self.take(rank, *record).await,
            Turn::Adopt(rank) => {
                self.adopt_from(rank).await;
            }
            Turn::Wait | Turn::Lead => {
                self.sleep(FOLLOW_AGAIN_AFTER).await;
            }
        }
    }

    /// How to go on with the tick after the position.
    pub(super) async fn turn(&mut self, tick: i64) -> Turn {
        let turn = if self.alone() {
            Turn::Lead
        } else {
            self.waits();
            let round = self.round().await;
            self.following.leads_on &= !round.passed;
            round.into_turn()
        };
        let turn = if matches!(turn, Turn::Lead) && !self.may_lead() { Turn::Wait } else { turn };
        self.is_working_on(matches!(turn, Turn::Lead).then_some(tick));
        turn
    }

    fn is_working_on(&self, tick: Option<i64>) {
        let mut journal = self.view.journal();
        journal.standing.working_on = tick;
        journal.standing.recording &= tick.is_some();
    }

    /// Whether this rank, which has read a tick, is the one to record it. Two that do not know of each other's reading,
    /// above all after one was stuck and the other has gone on in its place, both say so first and ask then: at least one
    /// of them sees the other.
    pub(super) async fn may_record(&mut self, tick: i64) -> bool {
        self.view.journal().standing.recording = true;
        if self.asked_lately() && self.following.leads_on && !self.after_outage {
            return true;
        }
        matches!(self.turn(tick).await, Turn::Lead)
    }

    /// Whether the others were asked so lately that none of them can have gone ahead meanwhile.
    pub(super) fn asked_lately(&self) -> bool {
        let now = self.context.clock.monotonic();
        self.alone()
            || !self.keeps(Rule::AskAgain)
            || self.following.asked_at.is_some_and(|at| now.saturating_sub(at) < ASKED_LATELY)
    }

    pub(super) async fn pause_between_questions(&mut self) -> Wait {
        self.sleep(ASK_AGAIN_AFTER).await
    }

    /// Nobody has a state: begins, unless a lower rank does, or takes over what another rank has begun.
    pub(super) async fn begin_among_others(&mut self) {
        if self.begin_with_others().await {
            self.begin().await;
        }
    }

    /// Takes over what another rank has begun, or leaves it to a lower one to begin. Returns whether this rank is to.
    pub(super) async fn begin_with_others(&mut self) -> bool {
        self.set_role(Phase::Beginning);
        self.waits();
        match self.round().await.into_turn() {
            Turn::Adopt(rank) => {
                self.adopt_from(rank).await;
            }
            Turn::Lead => return true,
            Turn::Take(..) | Turn::Wait => {
                self.pause_between_questions().await;
            }
        }
        false
    }

    /// The job has its first position.
    pub(super) fn begun(&mut self, position: i64) {
        self.stand_at(Some(position));
        self.lineage.begin(position, self.state.plan.digest());
        self.view.journal().restart(position, self.lineage);
        self.following.absence.end(u64::MAX);
        self.set_role(Phase::Running);
    }

    /// Books what a durable record means for the chain, and offers it to the others. `position`: where the job stands
    /// after it.
    pub(super) fn recorded(&mut self, content: Content, position: Option<i64>) {
        let Some(position) = position.filter(|_| !self.alone()) else { return };
        let (before, plan) = self.before_record();
        self.chain_on(plan, &content);
        self.offer(content, position, plan, before);
    }

    /// The chain before a record, and the digest of the configuration that it is made under.
    pub(super) fn before_record(&self) -> (u64, u64) {
        let plan = self.state.plan.digest();
        if !self.alone() {
            self.view.journal().set_plan(plan, || self.state.plan.canonical());
        }
        (self.lineage.chain, plan)
    }

    /// Offers a record to the others that has moved the chain on from `before`, under the configuration with the digest
    /// `plan`.
    pub(super) fn offer(&mut self, content: Content, position: i64, plan: u64, before: u64) {
        if self.alone() {
            return;
        }
        let after = self.position.unwrap_or(position);
        let series = &self.state.series;
        self.stand_in_topology();
        let mut journal = self.view.journal();
        let entry = Entry { after, position, plan, before, content, chain: self.lineage.chain };
        journal.push(entry, |slot| series.labels(slot));
        drop(journal);
        self.is_working_on(None);
        self.unrecorded = None;
    }

    /// What was put in force in vain, because another rank's record or state came first, is wanted again.
    pub(super) fn want_again(&mut self) {
        self.wanted = self.wanted.take().or(self.unrecorded.take());
    }

    /// Adds a record to the chain, made under the configuration with this digest.
    pub(super) fn chain_on(&mut self, plan: u64, content: &Content) {
        match content {
            Content::Tick(input) => {
                let series = &self.state.series;
                let hash = |slot| series.get(slot).map_or(0, |series| series.labels.hash());
                self.lineage.learn(plan, input, hash);
            }
            Content::Skipped { from, to, reason } => self.lineage.skip(plan, *from, *to, reason),
            Content::TakenOver(Takeover { fitted_to, digest }) => self.lineage.take_over(*fitted_to, *digest),
            // Who releases or joins states needs their lineage, too, and books it then.
            Content::Released { .. } | Content::Joined { .. } => {}
        }
    }
}
