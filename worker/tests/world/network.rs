//! What lies between the ranks: messages take their time, get lost, or never arrive.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

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
    running: BTreeMap<u32, Rc<Context<Replica>>>,
    /// Pairs that do not reach each other.
    cut: BTreeSet<(u32, u32)>,
    /// Processes that stand still, and until when.
    paused: BTreeMap<u32, i64>,
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

    pub fn connect(&self, rank: u32, context: Rc<Context<Replica>>) {
        self.0.borrow_mut().running.insert(rank, context);
    }

    pub fn disconnect(&self, rank: u32) {
        self.0.borrow_mut().running.remove(&rank);
    }

    /// The rank and all others do not reach each other from now on.
    pub fn isolate(&self, rank: u32, ranks: u32) {
        let pairs = (0..ranks).filter(|other| *other != rank).map(|other| (rank.min(other), rank.max(other)));
        self.0.borrow_mut().cut.extend(pairs);
    }

    /// One message in so many is lost from now on; 0: none.
    pub fn lose(&self, lost: u64) {
        self.0.borrow_mut().lost = lost;
    }

    /// The rank answers nothing until then.
    pub fn pause(&self, rank: u32, until: i64) {
        self.0.borrow_mut().paused.insert(rank, until);
    }

    pub fn heal(&self) {
        let mut inner = self.0.borrow_mut();
        inner.cut.clear();
        inner.lost = 0;
    }

    /// Whether the rank is reading a tick just now.
    pub fn is_reading(&self, rank: u32) -> bool {
        self.standings(rank).iter().any(|(_, standing)| standing.working_on.is_some())
    }

    /// Where a rank stands with each job.
    pub fn standings(&self, rank: u32) -> Vec<(String, Standing)> {
        let inner = self.0.borrow();
        let Some(context) = inner.running.get(&rank) else { return Vec::new() };
        let views = context.views.borrow();
        views.iter().map(|(job, view)| (job.clone(), view.journal().standing)).collect()
    }

    pub fn asked(&self) -> u64 {
        self.0.borrow().asked
    }

    fn is_lost(&self, from: u32, to: u32) -> bool {
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

/// One rank's end of the network.
pub struct Wire {
    pub rank: u32,
    pub clock: VirtualClock,
    pub network: Network,
}

impl Wire {
    /// A message on its way; a lost one is waited for until the asking side gives up.
    async fn carry(&self, to: u32) {
        if self.network.is_lost(self.rank, to) {
            self.clock.sleep(Duration::from_secs(3_600)).await;
        }
        self.clock.sleep(self.network.delay()).await;
    }
}

impl Peers for Wire {
    async fn ask(&self, member: Member, job: &str, request: &Request) -> Result<Answer, PeerError> {
        self.network.0.borrow_mut().asked += 1;
        self.carry(member.rank).await;
        let paused_until = self.network.0.borrow().paused.get(&member.rank).copied().unwrap_or(0);
        let pause = paused_until - self.clock.unix();
        if pause > 0 {
            self.clock.sleep(Duration::from_millis(pause.unsigned_abs())).await;
        }
        let context = self.network.0.borrow().running.get(&member.rank).cloned();
        let Some(context) = context else {
            return Err(PeerError::Unreachable { member, message: "connection refused".to_owned() });
        };
        let answer = context.answer(job, request);
        self.carry(member.rank).await;
        Ok(answer)
    }
}
