//! What lies between the workers: messages take their time, get lost, or never arrive.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use config::status::JobStatus;
use worker::{
    context::Context,
    environment::{Clock, Peers},
    peers::{Answer, Member, PeerError, Request, Standing},
};

use super::{Chance, clock::VirtualClock, deployment::Replica};

#[derive(Clone)]
pub struct Network(Rc<RefCell<Inner>>);

struct Inner {
    chance: Chance,
    running: BTreeMap<Member, Rc<Context<Replica>>>,
    /// Pairs that do not reach each other.
    cut: BTreeSet<(Member, Member)>,
    /// Processes that stand still, and until when.
    paused: BTreeMap<Member, i64>,
    /// One message in so many is lost.
    lost: u64,
    asked: u64,
}

impl Network {
    pub fn new(seed: u64) -> Self {
        let inner = Inner {
            chance: Chance::new(seed ^ 0x6e65_7477_6f72_6b21),
            running: BTreeMap::new(),
            cut: BTreeSet::new(),
            paused: BTreeMap::new(),
            lost: 0,
            asked: 0,
        };
        Self(Rc::new(RefCell::new(inner)))
    }

    pub fn connect(&self, member: Member, context: Rc<Context<Replica>>) {
        self.0.borrow_mut().running.insert(member, context);
    }

    pub fn disconnect(&self, member: Member) {
        self.0.borrow_mut().running.remove(&member);
    }

    /// The worker and all others do not reach each other from now on.
    pub fn isolate(&self, member: Member, members: impl Iterator<Item = Member>) {
        let pairs = members.filter(|other| *other != member).map(|other| (member.min(other), member.max(other)));
        self.0.borrow_mut().cut.extend(pairs);
    }

    /// One message in so many is lost from now on; 0: none.
    pub fn lose(&self, lost: u64) {
        self.0.borrow_mut().lost = lost;
    }

    /// The worker answers nothing until then.
    pub fn pause(&self, member: Member, until: i64) {
        self.0.borrow_mut().paused.insert(member, until);
    }

    pub fn heal(&self) {
        let mut inner = self.0.borrow_mut();
        inner.cut.clear();
        inner.lost = 0;
    }

    /// Whether the worker is reading a tick just now.
    pub fn is_reading(&self, member: Member) -> bool {
        self.standings(member).iter().any(|(_, standing)| standing.working_on.is_some())
    }

    /// Where a worker stands with each job.
    pub fn standings(&self, member: Member) -> Vec<(String, Standing)> {
        let inner = self.0.borrow();
        let Some(context) = inner.running.get(&member) else { return Vec::new() };
        let views = context.views.borrow();
        views.iter().map(|(job, view)| (job.clone(), view.journal().standing)).collect()
    }

    /// What a worker says about its jobs.
    pub fn jobs(&self, member: Member) -> Option<Vec<JobStatus>> {
        let inner = self.0.borrow();
        let views = inner.running.get(&member)?.views.borrow();
        let jobs = views.values().filter(|view| view.arrival.is_none());
        Some(jobs.map(|view| view.status().clone()).collect())
    }

    pub fn asked(&self) -> u64 {
        self.0.borrow().asked
    }

    fn is_lost(&self, from: Member, to: Member) -> bool {
        let mut inner = self.0.borrow_mut();
        let lost = inner.lost;
        inner.cut.contains(&(from.min(to), from.max(to))) || (lost > 0 && inner.chance.below(lost) == 0)
    }

    fn delay(&self) -> Duration {
        let mut inner = self.0.borrow_mut();
        let slow = inner.chance.below(50) == 0;
        Duration::from_millis(1 + inner.chance.below(if slow { 900 } else { 12 }))
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
    async fn carry(&self, to: Member) {
        if self.network.is_lost(self.member, to) {
            self.clock.sleep(Duration::from_secs(3_600)).await;
        }
        self.clock.sleep(self.network.delay()).await;
    }
}

impl Peers for Wire {
    async fn ask(&self, member: Member, job: &str, request: &Request) -> Result<Answer, PeerError> {
        self.network.0.borrow_mut().asked += 1;
        self.carry(member).await;
        let paused_until = self.network.0.borrow().paused.get(&member).copied().unwrap_or(0);
        let pause = paused_until - self.clock.unix();
        if pause > 0 {
            self.clock.sleep(Duration::from_millis(pause.unsigned_abs())).await;
        }
        let context = self.network.0.borrow().running.get(&member).cloned();
        let Some(context) = context else {
            return Err(PeerError::Unreachable { member, message: "connection refused".to_owned() });
        };
        let answer = context.answer(job, request);
        self.carry(member).await;
        Ok(answer)
    }
}
