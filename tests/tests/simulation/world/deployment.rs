//! Several workers, ranks of several shards, in one world, and somebody who changes the number of shards.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    num::NonZeroU32,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context as TaskContext, Poll, Waker},
};

use config::{
    load::Source,
    topology::{MemberTemplate, Peers, Topology},
    worker::WorkerConfig,
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

/// After this time workers that reach each other again know it: they ask at every tick, and start within some seconds.
const KNOWN_WITHIN: i64 = 3 * MINUTE + 40_000;
/// Far more than any run needs, for each worker.
const MOST_STEPS: u64 = 400_000;
/// A changed topology reaches a worker within this time.
const TOPOLOGY_WITHIN: i64 = 90_000;

/// The loop's four traits in a world with other workers.
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
    /// Workers do not reach each other for a while, or messages get lost.
    pub partitions: bool,
    /// The TSDB is away for a while, for all or for one.
    pub outages: bool,
}

impl Faults {
    pub const NONE: Self = Self { crashes: false, pauses: false, partitions: false, outages: false };
    pub const PAUSES: Self = Self { pauses: true, ..Self::NONE };
    pub const ALL: Self = Self { crashes: true, pauses: true, partitions: true, outages: true };
}

/// How a deployment is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// At the start.
    pub shards: u32,
    /// Of every shard.
    pub ranks: u32,
    /// The number of shards is changed now and then, to at most this; 0: never.
    pub most_shards: u32,
    /// It is changed again before the change before is over.
    pub hasty: bool,
    /// Ranks write in turn.
    pub failover: bool,
}

impl Layout {
    /// Ranks of one shard.
    pub fn ranks(ranks: u32) -> Self {
        Self { shards: 1, ranks, most_shards: 0, hasty: false, failover: false }
    }

    pub fn failover(self) -> Self {
        Self { failover: true, ..self }
    }
}

/// How often each kind of fault occurred, and what came of it.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    pub steps: u64,
    pub crashes: u64,
    pub pauses: u64,
    pub partitions: u64,
    pub outages: u64,
    pub epochs: u64,
    pub superseded: u64,
    pub followed: u64,
    pub adopted: u64,
    /// Hand-overs by what came of them.
    pub handovers: BTreeMap<String, u64>,
    pub unscheduled_refits: u64,
    pub asked: u64,
    pub written: Written,
    /// Times that were written with two values, and when the second one was.
    pub conflicts: BTreeMap<i64, i64>,
    /// When workers may not have reached each other.
    pub apart: Vec<(i64, i64)>,
    /// It went on and on without time passing.
    pub stuck: bool,
    pub most_reads: u64,
    /// The chains of each job at the end, by shard and rank.
    pub chains: BTreeMap<(u32, String), BTreeSet<(i64, u64)>>,
    /// Workers whose hand-overs were not over at the end.
    pub unsettled: Vec<String>,
    /// The longest time from a tick's time to the first write of one of its scores, ms.
    pub longest_delay: i64,
    /// How many scores each worker has written at each time.
    pub scores_by: BTreeMap<Member, BTreeMap<i64, u64>>,
}

impl std::fmt::Display for Observed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "{} steps, {} questions, {} crashes, {} pauses, {} partitions, {} outages; {} records followed, {} states \
             taken over, {} times written with two values; {} epochs, {} of them superseded, hand-overs: {:?}",
            self.steps,
            self.asked,
            self.crashes,
            self.pauses,
            self.partitions,
            self.outages,
            self.followed,
            self.adopted,
            self.conflicts.len(),
            self.epochs,
            self.superseded,
            self.handovers,
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
        self.epochs += other.epochs;
        self.superseded += other.superseded;
        self.followed += other.followed;
        self.adopted += other.adopted;
        for (status, count) in &other.handovers {
            *self.handovers.entry(status.clone()).or_default() += count;
        }
        // Times of different runs are different ones.
        let first = i64::try_from(self.conflicts.len()).expect("few");
        self.conflicts.extend((first..).zip(other.conflicts.values().copied()));
    }

    /// What is wrong with the run, if anything, whatever the TSDB answered.
    pub fn violation(&self) -> Option<String> {
        if self.stuck {
            return Some("it goes on and on".to_owned());
        }
        if let Some(unsettled) = self.unsettled.first() {
            return Some(format!("hand-overs are not over: {unsettled}"));
        }
        for (job, chains) in &self.chains {
            if chains.len() != 1 {
                return Some(format!("ranks end with different states of {job:?}: {chains:?}"));
            }
        }
        // A second value may be written when workers that were apart reach each other again and do not know it yet.
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

/// A pod with its volume.
struct Node {
    disk: Memory,
    task: Option<Pin<Box<dyn Future<Output = ()>>>>,
    woken: Arc<Woken>,
    metrics: Arc<Metrics>,
    /// Until then the process is stopped or gone.
    away_until: i64,
    /// Kept, because a worker ends when nobody can command it any more.
    commands: Option<mpsc::UnboundedSender<Command<Replica>>>,
    /// The file that the worker sees, and those that are on their way.
    topology: Rc<Topology>,
    coming: Vec<(i64, Rc<Topology>)>,
    /// Whether there is such a pod at present.
    exists: bool,
}

pub struct Deployment {
    clock: VirtualClock,
    database: Database,
    network: Network,
    nodes: BTreeMap<Member, Node>,
    layout: Layout,
    topology: Rc<Topology>,
    chance: Chance,
    config: WorkerConfig,
    rules: Rules,
    /// A worker that does not reach the TSDB for a while.
    cut_off: Option<(Member, std::ops::Range<i64>)>,
    /// A worker that stands still for so many ms as soon as it reads.
    armed: Option<(Member, i64)>,
}

impl Deployment {
    pub fn new(seed: u64, layout: Layout, schedule: u64) -> Self {
        trace::start();
        let clock = VirtualClock::new(START);
        let mut config = CONFIG.to_owned();
        if layout.failover {
            config = config.replace("writer: {", "writer: {mode: failover, ");
        }
        let mut deployment = Self {
            database: Database::new(seed, clock.clone()),
            clock,
            network: Network::new(schedule),
            nodes: BTreeMap::new(),
            layout,
            topology: Rc::new(Topology { settled_epoch: 1, ..topology(1, layout.shards, Vec::new(), layout.ranks) }),
            chance: Chance::new(schedule),
            config: load(&config),
            rules: Rules::default(),
            cut_off: None,
            armed: None,
        };
        deployment.create_pods();
        deployment
    }

    /// The TSDB answers the same read otherwise each time.
    pub fn shifting(mut self) -> Self {
        self.database = self.database.shifting();
        self
    }

    /// A worker does not reach the TSDB in these minutes of the run.
    pub fn cut_off(mut self, member: Member, minutes: std::ops::Range<i64>) -> Self {
        self.cut_off = Some((member, START + minutes.start * MINUTE..START + minutes.end * MINUTE));
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
        let mut next_change = START + 9 * MINUTE;
        let mut healed_at = i64::MAX;
        while self.clock.unix() < end {
            let now = self.clock.unix();
            if now >= healed_at {
                self.network.heal();
                healed_at = i64::MAX;
            }
            let is_disturbed = now < end - 30 * MINUTE;
            if now >= next_fault && is_disturbed {
                let length = 500 + self.chance.below(5 * 60_000) as i64;
                if let Some(until) = self.disturb(faults, now, length, &mut observed) {
                    healed_at = until;
                }
                next_fault = now + 20_000 + self.chance.below(8 * 60_000) as i64;
            }
            if now >= next_change {
                if self.layout.most_shards > 0 {
                    self.operate(now, is_disturbed, &mut observed);
                }
                next_change = now + 10_000 + self.chance.below(60_000) as i64;
            }
            if let Some((member, times)) = self.cut_off.take_if(|(_, times)| times.start <= now) {
                self.database.cut_off(member, times.end);
            }
            self.deliver_topologies(now);
            self.pause_armed(now, &mut observed);
            if !self.step(now, &mut observed) {
                let back = self.nodes.values().map(|node| node.away_until).filter(|until| *until > now);
                let coming = self.nodes.values().flat_map(|node| node.coming.iter().map(|(at, _)| *at));
                let next = back.chain(coming).chain([next_change]).filter(|at| *at > now).min();
                self.clock.advance_until(next.unwrap_or(end));
            }
            if observed.steps > MOST_STEPS * self.nodes.len() as u64 {
                observed.stuck = true;
                break;
            }
        }
        self.collect(&mut observed, end);
        observed
    }

    fn existing(&self) -> Vec<Member> {
        self.nodes.iter().filter(|(_, node)| node.exists).map(|(member, _)| *member).collect()
    }

    /// Something goes wrong for `length` ms. Returns when the network is to be healed.
    fn disturb(&mut self, faults: Faults, now: i64, length: i64, observed: &mut Observed) -> Option<i64> {
        let members = self.existing();
        let member = members[self.chance.below(members.len() as u64) as usize];
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
                    let disk = &self.nodes[&member].disk;
                    disk.crash_at(disk.operations() + 1 + self.chance.below(40));
                } else {
                    self.kill(member, now + length);
                }
                None
            }
            2 => {
                if self.chance.below(4) == 0 {
                    self.pause(member, now + length, observed);
                } else {
                    self.armed = Some((member, length));
                }
                None
            }
            3 => {
                observed.partitions += 1;
                observed.apart.push((now, now + length + KNOWN_WITHIN));
                if self.chance.below(2) == 0 {
                    self.network.isolate(member, members.into_iter());
                } else {
                    self.network.lose(2 + self.chance.below(6));
                }
                Some(now + length)
            }
            _ => {
                observed.outages += 1;
                match self.chance.below(5) {
                    4 => self.database.cut_off(member, now + 4 * length),
                    kind => self.database.disturb(kind, now + length),
                }
                None
            }
        }
    }

    /// A pause is most dangerous while a worker reads.
    fn pause_armed(&mut self, now: i64, observed: &mut Observed) {
        let network = self.network.clone();
        let Some((member, length)) = self.armed.take_if(|(member, _)| network.is_reading(*member)) else { return };
        self.pause(member, now + length, observed);
    }

    /// One at a time: two that stand still in turn have not reached each other either.
    fn pause(&mut self, member: Member, until: i64, observed: &mut Observed) {
        let now = self.clock.unix();
        if self.nodes.values().any(|node| node.away_until > now) {
            return;
        }
        observed.pauses += 1;
        // The others may have gone on without what it had written last. It has to know when it goes on.
        observed.apart.push((now, until));
        self.network.pause(member, until);
        self.node(member).away_until = until;
    }

    fn node(&mut self, member: Member) -> &mut Node {
        self.nodes.get_mut(&member).expect("a pod")
    }

    fn kill(&mut self, member: Member, until: i64) {
        let crash = self.chance.next();
        self.network.disconnect(member);
        let is_stale = self.chance.below(4) == 0;
        let node = self.node(member);
        node.task = None;
        node.commands = None;
        node.disk.crash(crash);
        node.away_until = until;
        // A new pod may see the newest file at once.
        if !is_stale && let Some((_, newest)) = node.coming.pop() {
            node.topology = newest;
            node.coming.clear();
        }
    }

    /// What the operator does: when a change is over it says so, and somebody changes the number of shards.
    fn operate(&mut self, now: i64, may_change: bool, observed: &mut Observed) {
        let is_settled = self.unsettled().is_empty();
        let Topology { epoch, shards, previous_shards, settled_epoch: settled, .. } = &*self.topology.clone();
        let (epoch, shards, settled) = (*epoch, shards.get(), *settled);
        if is_settled && !previous_shards.is_empty() {
            self.publish(
                now,
                Topology { settled_epoch: epoch, ..topology(epoch, shards, Vec::new(), self.layout.ranks) },
            );
            self.remove_pods(shards);
            return;
        }
        let is_time = may_change && self.chance.below(8) == 0;
        if !is_time || !(is_settled || self.layout.hasty && self.chance.below(3) == 0) {
            return;
        }
        let wanted = 1 + self.chance.below(u64::from(self.layout.most_shards)) as u32;
        if wanted == shards {
            return;
        }
        observed.epochs += 1;
        observed.superseded += u64::from(!is_settled);
        let mut previous: Vec<u32> = previous_shards.iter().map(|count| count.get()).collect();
        previous.retain(|count| *count != shards);
        previous.insert(0, shards);
        let settled_epoch = if is_settled { epoch } else { settled };
        self.publish(now, Topology { settled_epoch, ..topology(epoch + 1, wanted, previous, self.layout.ranks) });
        self.create_pods();
    }

    /// Workers that have not followed the topology.
    fn unsettled(&self) -> Vec<String> {
        let epoch = self.topology.epoch;
        let mut unsettled = Vec::new();
        for member in self.existing() {
            match self.network.jobs(member) {
                None => unsettled.push(format!("{member} is not there")),
                Some(jobs) if jobs.is_empty() => unsettled.push(format!("{member} has no jobs")),
                Some(jobs) => {
                    let open = jobs.into_iter().filter(|job| job.epoch != epoch || job.open_handovers > 0);
                    unsettled.extend(open.map(|job| {
                        let (epoch, open) = (job.epoch, job.open_handovers);
                        format!("{member} {}/{}: epoch {epoch}, {open} open", job.scheduler, job.query)
                    }));
                }
            }
        }
        unsettled
    }

    fn publish(&mut self, now: i64, topology: Topology) {
        self.topology = Rc::new(topology);
        for node in self.nodes.values_mut() {
            let due = now + self.chance.below(TOPOLOGY_WITHIN as u64) as i64;
            let due = node.coming.last().map_or(due, |(last, _)| due.max(*last));
            node.coming.push((due, self.topology.clone()));
        }
    }

    fn create_pods(&mut self) {
        for shard in 0..self.topology.shards.get() {
            for rank in 0..self.topology.ranks.get() {
                let node = self.nodes.entry(Member { shard, rank }).or_insert_with(|| Node {
                    disk: Memory::new(),
                    task: None,
                    woken: Arc::new(Woken(AtomicBool::new(true))),
                    metrics: Arc::new(Metrics::new("default", "test", START).expect("metrics")),
                    away_until: START,
                    commands: None,
                    topology: self.topology.clone(),
                    coming: Vec::new(),
                    exists: false,
                });
                if !node.exists {
                    node.exists = true;
                    node.topology = self.topology.clone();
                    node.coming.clear();
                }
            }
        }
    }

    /// The volumes stay.
    fn remove_pods(&mut self, shards: u32) {
        for (member, node) in self.nodes.iter_mut().filter(|(member, _)| member.shard >= shards) {
            self.network.disconnect(*member);
            node.exists = false;
            node.task = None;
            node.commands = None;
        }
    }

    fn deliver_topologies(&mut self, now: i64) {
        let due = |node: &Node| node.coming.first().is_some_and(|(due, _)| *due <= now);
        let members: Vec<Member> = self.nodes.iter().filter(|(_, node)| due(node)).map(|(member, _)| *member).collect();
        for member in members {
            let (config, database, ranks) = (self.config.clone(), self.database.of(member), self.layout.ranks);
            let node = self.node(member);
            let mut changed = false;
            while node.coming.first().is_some_and(|(due, _)| *due <= now) {
                node.topology = node.coming.remove(0).1;
                changed = true;
            }
            if changed && let Some(commands) = &node.commands {
                // A worker that is not among the shards any more keeps what it has.
                if let Ok(jobs) = plan::plan(&config, &node.topology, member.shard) {
                    let place = Place { member, ranks };
                    let (jobs, config) = (Some(jobs), Box::new(config));
                    let _ = commands.send(Command::Reconfigure { jobs, place, tsdb: database, config });
                    node.woken.0.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    /// Lets one worker that has something to do go on. Returns whether there was one.
    fn step(&mut self, now: i64, observed: &mut Observed) -> bool {
        let members = self.existing();
        let first = self.chance.below(members.len() as u64) as usize;
        for member in (0..members.len()).map(|offset| members[(first + offset) % members.len()]) {
            if self.nodes[&member].away_until > now {
                continue;
            }
            if self.nodes[&member].disk.is_crashed() {
                let until = now + 500 + self.chance.below(3 * 60_000) as i64;
                observed.apart.push((now, until + KNOWN_WITHIN));
                self.kill(member, until);
                continue;
            }
            if self.nodes[&member].task.is_none() {
                self.start(member);
            }
            let own = self.nodes.get_mut(&member).expect("a pod");
            let Some(task) = &mut own.task else { continue };
            if own.woken.0.swap(false, Ordering::Relaxed) {
                observed.steps += 1;
                if trace::is_on() {
                    trace::at(now - START, member);
                }
                let waker = Waker::from(own.woken.clone());
                if task.as_mut().poll(&mut TaskContext::from_waker(&waker)) == Poll::Ready(()) {
                    own.task = None;
                    own.away_until = now + 1_000;
                    self.network.disconnect(member);
                }
                return true;
            }
        }
        false
    }

    fn start(&mut self, member: Member) {
        let ranks = self.layout.ranks;
        let (clock, database, network) = (self.clock.clone(), self.database.of(member), self.network.clone());
        let config = self.config.clone();
        let rules = self.rules;
        let node = self.node(member);
        let (commands, receiver) = mpsc::unbounded_channel();
        let (disk, metrics, topology) = (node.disk.clone(), node.metrics.clone(), node.topology.clone());
        node.woken.0.store(true, Ordering::Relaxed);
        node.commands = Some(commands);
        node.task = Some(Box::pin(async move {
            let Ok(jobs) = plan::plan(&config, &topology, member.shard) else { return };
            let Ok((storage, recovered, restored)) = Storage::open(Rc::new(disk)).await else { return };
            let wire = Wire { member, clock: clock.clone(), network: network.clone() };
            let place = Place { member, ranks };
            let (context, spawned) = Context::new(clock, database, (wire, place), Some(storage), metrics, &config);
            context.rules.set(rules);
            network.connect(member, context.clone());
            Worker::new((context, spawned), receiver).run(jobs, history(recovered, restored)).await;
        }));
    }

    fn collect(&self, observed: &mut Observed, end: i64) {
        (observed.written, _) = self.database.written();
        observed.conflicts = self.database.conflicts();
        observed.most_reads = self.database.most_reads(START + 10 * MINUTE..end);
        observed.asked = self.network.asked();
        observed.unsettled = self.unsettled();
        observed.longest_delay = self.database.longest_delay(START + 10 * MINUTE);
        for (member, node) in &self.nodes {
            observed.scores_by.insert(*member, self.database.scores_by(*member));
            for line in node.metrics.encode().expect("metrics").lines() {
                let value = || line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
                if line.starts_with("vmanomaly_ticks_followed_total{") {
                    observed.followed += value();
                } else if line.starts_with("vmanomaly_replica_divergences_total{") {
                    observed.adopted += value();
                } else if line.starts_with("vmanomaly_refits_unscheduled_total{") {
                    observed.unscheduled_refits += value();
                } else if line.starts_with("vmanomaly_handovers_total{")
                    && let Some((_, status)) = line.split_once("status=\"")
                    && let Some((status, _)) = status.split_once('"')
                {
                    *observed.handovers.entry(status.to_owned()).or_default() += value();
                }
            }
            for (job, standing) in self.network.standings(*member) {
                let chains = observed.chains.entry((member.shard, job)).or_default();
                chains.insert((standing.position, standing.lineage.chain));
            }
        }
    }
}

fn load(config: &str) -> WorkerConfig {
    let source = Source::new("worker.yaml", config.to_owned());
    config::load::load(&[source], &|_| None, 2).expect("configuration").config
}

fn topology(epoch: u64, shards: u32, previous: Vec<u32>, ranks: u32) -> Topology {
    let count = |number| NonZeroU32::new(number).expect("not zero");
    let template = || MemberTemplate::new("http://{shard}-{rank}:1").expect("a template");
    Topology {
        epoch,
        shards: count(shards),
        previous_shards: previous.into_iter().map(count).collect(),
        ranks: count(ranks),
        peers: Some(Peers { url: template(), listen: template(), token_file: "/token".into() }),
        ..Topology::default()
    }
}

/// The log of a run, with the virtual time and the worker, on stderr: `SIM_TRACE=worker=debug`.
mod trace {
    use std::sync::Mutex;

    use super::Member;

    static AT: Mutex<(i64, Member)> = Mutex::new((0, Member { shard: 0, rank: 0 }));

    struct VirtualTime;

    impl tracing_subscriber::fmt::time::FormatTime for VirtualTime {
        fn format_time(&self, out: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
            let (at, member) = *AT.lock().expect("not poisoned");
            write!(out, "+{}.{:03}s {}/{}", at / 1000, at % 1000, member.shard, member.rank)
        }
    }

    pub fn is_on() -> bool {
        std::env::var_os("SIM_TRACE").is_some()
    }

    pub fn start() {
        if is_on() {
            let filter = tracing_subscriber::EnvFilter::from_env("SIM_TRACE");
            let _ = tracing_subscriber::fmt()
                .with_env_filter(filter)
                .with_timer(VirtualTime)
                .with_target(false)
                .with_writer(std::io::stderr)
                .try_init();
        }
    }

    pub fn at(now: i64, member: Member) {
        *AT.lock().expect("not poisoned") = (now, member);
    }
}
