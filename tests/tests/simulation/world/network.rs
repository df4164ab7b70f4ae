//! What lies between the workers: messages take their time, get lost, or never arrive.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use config::status::JobStatus;
use worker::{
    context::Context,
    environment::{Clock, Peers},
    peers::{Answer, Member, PeerError, Request, Standing, journal::Content, message::Next},
};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    chance::Chance,
    clock::VirtualClock,
    deployment::{Replica, observation::Branch},
};

#[derive(Clone)]
pub struct Network {
    seed: u64,
    clock: VirtualClock,
    inner: Rc<RefCell<Inner>>,
}

#[derive(Default)]
struct Inner {
    running: BTreeMap<Member, Rc<Context<Replica>>>,
    /// Workers that reach no other one, and until when.
    isolated: BTreeMap<Member, i64>,
    /// Processes that stand still, and until when.
    paused: BTreeMap<Member, i64>,
    /// One message in so many is lost, and until when.
    lost: (u64, i64),
    asked: u64,
    branches: BTreeMap<Branch, u64>,
}

impl Network {
    pub fn new(seed: u64, clock: VirtualClock) -> Self {
        Self { seed: seed ^ 0x6e65_7477_6f72_6b21, clock, inner: Rc::default() }
    }

    pub fn connect(&self, member: Member, context: Rc<Context<Replica>>) {
        self.inner.borrow_mut().running.insert(member, context);
    }

    pub fn disconnect(&self, member: Member) {
        self.inner.borrow_mut().running.remove(&member);
    }

    /// The worker and all others do not reach each other until then.
    pub fn isolate(&self, member: Member, until: i64) {
        self.inner.borrow_mut().isolated.insert(member, until);
    }

    /// One message in so many is lost until then.
    pub fn lose(&self, one_in: u64, until: i64) {
        self.inner.borrow_mut().lost = (one_in, until);
    }

    /// The worker answers nothing until then.
    pub fn pause(&self, member: Member, until: i64) {
        self.inner.borrow_mut().paused.insert(member, until);
    }

    /// Whether the worker is reading a tick just now.
    pub fn is_reading(&self, member: Member) -> bool {
        let inner = self.inner.borrow();
        let Some(context) = inner.running.get(&member) else { return false };
        context.views.borrow().values().any(|view| view.journal().standing.working_on.is_some())
    }

    /// Whether series come to the worker, or go.
    pub fn is_handing_over(&self, member: Member) -> bool {
        let inner = self.inner.borrow();
        let Some(context) = inner.running.get(&member) else { return false };
        context.views.borrow().values().any(|view| view.status().open_handovers > 0)
    }

    /// Where a worker stands with each job.
    pub fn standings(&self, member: Member) -> Vec<(String, Standing)> {
        let inner = self.inner.borrow();
        let Some(context) = inner.running.get(&member) else { return Vec::new() };
        let views = context.views.borrow();
        views.iter().map(|(job, view)| (job.clone(), view.journal().standing)).collect()
    }

    /// What a worker says about its jobs.
    pub fn jobs(&self, member: Member) -> Option<Vec<JobStatus>> {
        let inner = self.inner.borrow();
        let views = inner.running.get(&member)?.views.borrow();
        let jobs = views.values().filter(|view| view.arrival.is_none());
        Some(jobs.map(|view| view.status().clone()).collect())
    }

    /// How many ranks of its shard a worker knows of.
    pub fn ranks(&self, member: Member) -> Option<u32> {
        Some(self.inner.borrow().running.get(&member)?.place.get().ranks)
    }

    pub fn asked(&self) -> u64 {
        self.inner.borrow().asked
    }

    /// What workers have told each other.
    pub fn branches(&self) -> BTreeMap<Branch, u64> {
        self.inner.borrow().branches.clone()
    }

    /// How long a message takes on its way; `None`: it is lost.
    fn delay(&self, from: Member, to: Member, job: &str) -> Option<Duration> {
        let now = self.clock.unix();
        let inner = self.inner.borrow();
        let name = |member: Member| (u64::from(member.shard) << 32) | u64::from(member.rank);
        let mut chance = Chance::of(self.seed, &[now.cast_unsigned(), name(from), name(to), xxh3_64(job.as_bytes())]);
        let is_isolated = |member: &Member| inner.isolated.get(member).is_some_and(|until| now < *until);
        let (one_in, until) = inner.lost;
        if is_isolated(&from) || is_isolated(&to) || now < until && chance.below(one_in) == 0 {
            return None;
        }
        let is_slow = chance.below(50) == 0;
        Some(Duration::from_millis(1 + chance.below(if is_slow { 900 } else { 12 })))
    }

    fn count(&self, answer: &Answer) {
        let branch = match answer {
            Answer::Fit { block: None, .. } => Branch::FitTaken,
            Answer::Next { next: Next::Record(record), .. } => match record.entry.content {
                Content::TakenOver(_) => Branch::FitFollowed,
                Content::Released { .. } => Branch::ReleaseFollowed,
                Content::Joined { .. } => Branch::JoinFollowed,
                Content::Tick(_) | Content::Skipped { .. } => return,
            },
            _ => return,
        };
        *self.inner.borrow_mut().branches.entry(branch).or_default() += 1;
    }
}

/// One worker's end of the network.
pub struct Wire {
    pub member: Member,
    pub clock: VirtualClock,
    pub network: Network,
}

impl Wire {
    /// A message on its way; a lost one is waited for until the asking side gives up.
    async fn carry(&self, from: Member, to: Member, job: &str) {
        let delay = self.network.delay(from, to, job);
        self.clock.sleep(delay.unwrap_or(Duration::from_secs(3_600))).await;
    }
}

impl Peers for Wire {
    async fn ask(&self, member: Member, job: &str, request: &Request) -> Result<Answer, PeerError> {
        self.network.inner.borrow_mut().asked += 1;
        self.carry(self.member, member, job).await;
        let paused_until = self.network.inner.borrow().paused.get(&member).copied().unwrap_or(0);
        let pause = paused_until - self.clock.unix();
        if pause > 0 {
            self.clock.sleep(Duration::from_millis(pause.unsigned_abs())).await;
        }
        let context = self.network.inner.borrow().running.get(&member).cloned();
        let Some(context) = context else {
            return Err(PeerError::Unreachable { member, message: "connection refused".to_owned() });
        };
        let answer = context.answer(job, request);
        self.carry(member, self.member, job).await;
        self.network.count(&answer);
        Ok(answer)
    }
}
