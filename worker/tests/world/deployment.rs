//! Several ranks of one shard in one world.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context as TaskContext, Poll, Waker},
};

use tokio::sync::mpsc;
use worker::{
    context::{Context, Environment, Storage},
    disk::memory::Memory,
    metrics::Metrics,
    peers::{Member, Place, Rule, Rules},
    plan,
    worker::{Command, Worker, history},
};

use super::{
    CONFIG, Chance, MINUTE, START, Woken, Written,
    clock::VirtualClock,
    database::Database,
    network::{Network, Wire},
};

/// After this time ranks that reach each other again know it: they ask at every tick, and start within some seconds.
const KNOWN_WITHIN: i64 = 3 * MINUTE + 40_000;
/// Far more than any run needs.
const MOST_STEPS: u64 = 400_000;

/// The loop's four traits in a world with other ranks.
pub struct Replica;

impl Environment for Replica {
    type Clock = VirtualClock;
    type Disk = Memory;
    type Tsdb = Database;
    type Peers = Wire;
}

/// What may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// Processes die and come back with their volumes.
    pub crashes: bool,
    /// Processes stand still for a while.
    pub pauses: bool,
    /// Ranks do not reach each other for a while, or messages get lost.
    pub partitions: bool,
    /// The TSDB is away for a while.
    pub outages: bool,
}

impl Faults {
    pub const NONE: Self = Self { crashes: false, pauses: false, partitions: false, outages: false };
    pub const PAUSES: Self = Self { pauses: true, ..Self::NONE };
    pub const ALL: Self = Self { crashes: true, pauses: true, partitions: true, outages: true };
}

/// How often each kind of fault occurred, and what came of it.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    pub steps: u64,
    pub crashes: u64,
    pub pauses: u64,
    pub partitions: u64,
    pub outages: u64,
    pub followed: u64,
    pub adopted: u64,
    pub asked: u64,
    pub written: Written,
    /// Times that were written with two values, and when the second one was.
    pub conflicts: BTreeMap<i64, i64>,
    /// When ranks may not have reached each other.
    pub apart: Vec<(i64, i64)>,
    /// It went on and on without time passing.
    pub stuck: bool,
    pub most_reads: u64,
    /// The chains of each job at the end, by rank.
    pub chains: BTreeMap<String, BTreeSet<(i64, u64)>>,
    /// By rank, how many scores it has written at each time.
    pub scores_by: Vec<BTreeMap<i64, u64>>,
}

impl std::fmt::Display for Observed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "{} steps, {} questions, {} crashes, {} pauses, {} partitions, {} outages; {} records followed, {} states \
             taken over, {} times written with two values",
            self.steps,
            self.asked,
            self.crashes,
            self.pauses,
            self.partitions,
            self.outages,
            self.followed,
            self.adopted,
            self.conflicts.len()
        )
    }
}

impl Observed {
    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.asked += other.asked;
        self.crashes += other.crashes;
        self.pauses += other.pauses;
        self.partitions += other.partitions;
        self.outages += other.outages;
        self.followed += other.followed;
        self.adopted += other.adopted;
        // Times of different runs are different ones.
        let first = i64::try_from(self.conflicts.len()).expect("few");
        self.conflicts.extend((first..).zip(other.conflicts.values().copied()));
    }

    /// What is wrong with the run, if anything, whatever the TSDB answered.
    pub fn violation(&self) -> Option<String> {
        if self.stuck {
            return Some("it goes on and on".to_owned());
        }
        for (job, chains) in &self.chains {
            if chains.len() != 1 {
                return Some(format!("ranks end with different states of {job}: {chains:?}"));
            }
        }
        // A second value may be written when ranks that were apart reach each other again and do not know it yet.
        let excused = |written_at: i64| self.apart.iter().any(|(from, until)| (*from..*until).contains(&written_at));
        let unexcused = self.conflicts.iter().find(|(_, written_at)| !excused(**written_at));
        unexcused.map(|(time, written_at)| format!("{time} was written with another value at {written_at}"))
    }

    /// Every kind of fault and every way out of it has occurred often.
    pub fn assert_eventful(&self) {
        let faults = [self.crashes, self.pauses, self.partitions, self.outages];
        assert!(faults.iter().all(|count| *count > 40), "{self}");
        assert!(self.followed > 5_000 && self.adopted > 5 && self.steps > 500_000, "{self}");
    }
}

struct Rank {
    disk: Memory,
    task: Option<Pin<Box<dyn Future<Output = ()>>>>,
    woken: Arc<Woken>,
    metrics: Arc<Metrics>,
    /// Until then the process is stopped or gone.
    away_until: i64,
    /// Kept, because a worker ends when nobody can command it any more.
    commands: Option<mpsc::UnboundedSender<Command<Replica>>>,
}

pub struct Deployment {
    clock: VirtualClock,
    database: Database,
    network: Network,
    ranks: Vec<Rank>,
    chance: Chance,
    config: String,
    rules: Rules,
    /// A rank that stands still for so many ms as soon as it reads.
    armed: Option<(u32, i64)>,
}

impl Deployment {
    pub fn new(seed: u64, ranks: u32, schedule: u64) -> Self {
        let clock = VirtualClock::new(START);
        let rank = || Rank {
            disk: Memory::new(),
            task: None,
            woken: Arc::new(Woken(AtomicBool::new(true))),
            metrics: Arc::new(Metrics::new("default", "test", START).expect("metrics")),
            away_until: START,
            commands: None,
        };
        Self {
            database: Database::new(seed, clock.clone()),
            clock,
            network: Network::new(schedule),
            ranks: (0..ranks).map(|_| rank()).collect(),
            chance: Chance::new(schedule),
            config: CONFIG.to_owned(),
            rules: Rules::default(),
            armed: None,
        }
    }

    /// The TSDB answers the same read otherwise each time.
    pub fn shifting(mut self) -> Self {
        self.database = self.database.shifting();
        self
    }

    /// Breaks a rule of the protocol.
    pub fn without(mut self, rule: Option<Rule>) -> Self {
        self.rules = rule.map_or_else(Rules::default, Rules::without);
        self
    }

    /// Runs for `duration` ms of virtual time; the last half hour is undisturbed.
    pub fn run(mut self, faults: Faults, duration: i64) -> Observed {
        let end = START + duration;
        let mut observed = Observed::default();
        let mut next_fault = START + 6 * MINUTE;
        let mut healed_at = i64::MAX;
        while self.clock.unix() < end {
            let now = self.clock.unix();
            if now >= healed_at {
                self.network.heal();
                healed_at = i64::MAX;
            }
            if now >= next_fault && now < end - 30 * MINUTE {
                let length = 500 + self.chance.below(5 * 60_000) as i64;
                if let Some(until) = self.disturb(faults, now, length, &mut observed) {
                    healed_at = until;
                }
                next_fault = now + 20_000 + self.chance.below(8 * 60_000) as i64;
            }
            self.pause_armed(now, &mut observed);
            if !self.step(now, &mut observed) {
                let back = self.ranks.iter().map(|rank| rank.away_until).filter(|until| *until > now).min();
                self.clock.advance_until(back.unwrap_or(end));
            }
            if observed.steps > MOST_STEPS {
                observed.stuck = true;
                break;
            }
        }
        self.collect(&mut observed, end);
        observed
    }

    /// Something goes wrong for `length` ms. Returns when the network is to be healed.
    fn disturb(&mut self, faults: Faults, now: i64, length: i64, observed: &mut Observed) -> Option<i64> {
        let rank = self.chance.below(self.ranks.len() as u64) as u32;
        let Faults { crashes, pauses, partitions, outages } = faults;
        let enabled = [crashes, crashes, pauses, partitions, outages];
        let kinds: Vec<usize> = (0..enabled.len()).filter(|kind| enabled[*kind]).collect();
        if kinds.is_empty() {
            return None;
        }
        match kinds[self.chance.below(kinds.len() as u64) as usize] {
            0 | 1 => {
                observed.crashes += 1;
                observed.apart.push((now, now + length + KNOWN_WITHIN));
                if self.chance.below(2) == 0 {
                    let disk = &self.ranks[rank as usize].disk;
                    disk.crash_at(disk.operations() + 1 + self.chance.below(40));
                } else {
                    self.kill(rank, now + length);
                }
                None
            }
            2 => {
                if self.chance.below(4) == 0 {
                    self.pause(rank, now + length, observed);
                } else {
                    self.armed = Some((rank, length));
                }
                None
            }
            3 => {
                observed.partitions += 1;
                observed.apart.push((now, now + length + KNOWN_WITHIN));
                if self.chance.below(2) == 0 {
                    self.network.isolate(rank, self.ranks.len() as u32);
                } else {
                    self.network.lose(2 + self.chance.below(6));
                }
                Some(now + length)
            }
            _ => {
                observed.outages += 1;
                self.database.disturb(self.chance.below(4), now + length);
                None
            }
        }
    }

    /// A pause is most dangerous while a rank reads.
    fn pause_armed(&mut self, now: i64, observed: &mut Observed) {
        let Some((rank, length)) = self.armed.take_if(|(rank, _)| self.network.is_reading(*rank)) else { return };
        self.pause(rank, now + length, observed);
    }

    /// One at a time: two that stand still in turn have not reached each other either.
    fn pause(&mut self, rank: u32, until: i64, observed: &mut Observed) {
        let now = self.clock.unix();
        if self.ranks.iter().any(|rank| rank.away_until > now) {
            return;
        }
        observed.pauses += 1;
        // The others may have gone on without what it had written last. It has to know when it goes on.
        observed.apart.push((now, until));
        self.network.pause(rank, until);
        self.ranks[rank as usize].away_until = until;
    }

    fn kill(&mut self, rank: u32, until: i64) {
        let crash = self.chance.next();
        self.network.disconnect(rank);
        let rank = &mut self.ranks[rank as usize];
        rank.task = None;
        rank.commands = None;
        rank.disk.crash(crash);
        rank.away_until = until;
    }

    /// Lets one rank that has something to do go on. Returns whether there was one.
    fn step(&mut self, now: i64, observed: &mut Observed) -> bool {
        let first = self.chance.below(self.ranks.len() as u64) as u32;
        let count = self.ranks.len() as u32;
        for rank in (0..count).map(|offset| (first + offset) % count) {
            if self.ranks[rank as usize].away_until > now {
                continue;
            }
            if self.ranks[rank as usize].disk.is_crashed() {
                let until = now + 500 + self.chance.below(3 * 60_000) as i64;
                observed.apart.push((now, until + KNOWN_WITHIN));
                self.kill(rank, until);
                continue;
            }
            if self.ranks[rank as usize].task.is_none() {
                self.start(rank);
            }
            let own = &mut self.ranks[rank as usize];
            let Some(task) = &mut own.task else { continue };
            if own.woken.0.swap(false, Ordering::Relaxed) {
                observed.steps += 1;
                let waker = Waker::from(own.woken.clone());
                if task.as_mut().poll(&mut TaskContext::from_waker(&waker)) == Poll::Ready(()) {
                    own.task = None;
                    own.away_until = now + 1_000;
                    self.network.disconnect(rank);
                }
                return true;
            }
        }
        false
    }

    fn start(&mut self, number: u32) {
        let ranks = self.ranks.len() as u32;
        let rank = &mut self.ranks[number as usize];
        let (commands, receiver) = mpsc::unbounded_channel();
        let (clock, database, network) = (self.clock.clone(), self.database.of_rank(number), self.network.clone());
        let (disk, metrics, config) = (rank.disk.clone(), rank.metrics.clone(), self.config.clone());
        let rules = self.rules;
        rank.woken.0.store(true, Ordering::Relaxed);
        rank.commands = Some(commands);
        rank.task = Some(Box::pin(async move {
            let source = config::load::Source::new("worker.yaml", config);
            let config = config::load::load(&[source], &|_| None, 2).expect("configuration").config;
            let jobs = plan::plan(&config, &config::topology::Topology::default(), 0).expect("plan");
            let Ok((storage, recovered, restored)) = Storage::open(Rc::new(disk)).await else { return };
            let wire = Wire { rank: number, clock: clock.clone(), network: network.clone() };
            let place = Place { member: Member { shard: 0, rank: number }, ranks };
            let (context, spawned) = Context::new(clock, database, (wire, place), Some(storage), metrics, &config);
            context.rules.set(rules);
            network.connect(number, context.clone());
            Worker::new((context, spawned), receiver).run(jobs, history(recovered, restored)).await;
        }));
    }

    fn collect(&self, observed: &mut Observed, end: i64) {
        (observed.written, _) = self.database.written();
        observed.conflicts = self.database.conflicts();
        observed.most_reads = self.database.most_reads(START + 10 * MINUTE..end);
        observed.asked = self.network.asked();
        for (number, rank) in (0..).zip(&self.ranks) {
            observed.scores_by.push(self.database.scores_by(number));
            for line in rank.metrics.encode().expect("metrics").lines() {
                let value = || line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
                if line.starts_with("vmanomaly_ticks_followed_total{") {
                    observed.followed += value();
                } else if line.starts_with("vmanomaly_replica_divergences_total{") {
                    observed.adopted += value();
                }
            }
            for (job, standing) in self.network.standings(number) {
                observed.chains.entry(job).or_default().insert((standing.position, standing.lineage.chain));
            }
        }
    }
}
