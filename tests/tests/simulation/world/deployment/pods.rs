//! Workers as pods: created with a volume, started, killed, removed; and the topology files that they see.

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context as TaskContext, Poll, Waker},
};

use config::{topology::Topology, worker::WorkerConfig};
use tokio::sync::mpsc;
use worker::{
    context::{Context, Storage},
    metrics::Metrics,
    peers::{Member, Place},
    plan::{self, JobPlan},
    worker::{Command, Worker, history},
};

use super::{
    Deployment, KNOWN_WITHIN, Replica,
    observation::{Kind, Observed},
    trace,
};
use crate::world::{START, Woken, chance::Chance, drive::Drive, network::Wire};

/// A process that has seen an old topology file sees the newest one within this time.
const OLD_FOR: i64 = 60_000;

/// A pod with its volume.
pub(super) struct Node {
    pub(super) drive: Drive,
    task: Option<Pin<Box<dyn Future<Output = ()>>>>,
    woken: Arc<Woken>,
    pub(super) metrics: Arc<Metrics>,
    /// Until then the process is stopped or gone.
    pub(super) away_until: i64,
    /// How long it is gone once its disk has made it die.
    pub(super) away_for: i64,
    /// Kept, because a worker ends when nobody can command it any more.
    commands: Option<mpsc::UnboundedSender<Command<Replica>>>,
    /// The file that the worker sees, and those that are on their way.
    topology: Rc<Topology>,
    pub(super) coming: Vec<(i64, Rc<Topology>)>,
    /// Whether there is such a pod at present.
    exists: bool,
}

/// A worker's place in a topology, and its jobs, if it is among the ranks. `None`: it is not among the shards.
fn place_in(topology: &Topology, config: &WorkerConfig, member: Member) -> Option<(Place, Option<Vec<JobPlan>>)> {
    let jobs = plan::plan(config, topology, member.shard).ok()?;
    let place = Place { member, ranks: topology.ranks.get() };
    Some((place, Some(jobs).filter(|_| member.rank < place.ranks)))
}

impl Deployment {
    pub(super) fn node(&mut self, member: Member) -> &mut Node {
        self.nodes.get_mut(&member).expect("a pod")
    }

    pub(super) fn create_pods(&mut self) {
        for shard in 0..self.topology.shards.get() {
            for rank in 0..self.topology.ranks.get() {
                let node = self.nodes.entry(Member { shard, rank }).or_insert_with(|| Node {
                    drive: Drive::new(self.clock.clone()),
                    task: None,
                    woken: Arc::new(Woken(AtomicBool::new(true))),
                    metrics: Arc::new(Metrics::new("default", "test", START).expect("metrics")),
                    away_until: START,
                    away_for: 0,
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
        self.note_existing();
    }

    /// Removes the pods that the topology has no place for. The volumes stay.
    pub(super) fn remove_pods(&mut self) {
        let (shards, ranks) = (self.topology.shards.get(), self.topology.ranks.get());
        let is_over = |member: &Member| member.shard >= shards || member.rank >= ranks;
        for (member, node) in self.nodes.iter_mut().filter(|(member, node)| node.exists && is_over(member)) {
            self.network.disconnect(*member);
            node.exists = false;
            node.task = None;
            node.commands = None;
        }
        self.note_existing();
    }

    fn note_existing(&mut self) {
        let existing = self.nodes.iter().filter(|(_, node)| node.exists);
        self.existing = existing.map(|(member, _)| *member).collect();
    }

    pub(super) fn kill(&mut self, member: Member, until: i64, chance: &mut Chance, observed: &mut Observed) {
        let now = self.clock.unix();
        let crash = chance.next();
        let sees = chance.below(4);
        let newest_at = until + chance.millis_below(OLD_FOR);
        observed.apart.push((now, newest_at + KNOWN_WITHIN));
        self.network.disconnect(member);
        let (newest, former) = (self.topology.clone(), self.former_topology.clone());
        let node = self.node(member);
        node.task = None;
        node.commands = None;
        node.drive.memory().crash(crash);
        node.away_until = until;
        match sees {
            // What it has seen before.
            0 => *observed.faults.entry(Kind::OldTopology).or_default() += u64::from(!node.coming.is_empty()),
            1 if former.epoch < newest.epoch => {
                *observed.faults.entry(Kind::OldTopology).or_default() += 1;
                node.topology = former;
                node.coming = vec![(newest_at, newest)];
            }
            // The newest, at once.
            _ => {
                if let Some((_, newest)) = node.coming.pop() {
                    node.topology = newest;
                    node.coming.clear();
                }
            }
        }
    }

    pub(super) fn deliver_topologies(&mut self, now: i64) {
        let due = |node: &Node| node.coming.first().is_some_and(|(due, _)| *due <= now);
        let members: Vec<Member> = self.nodes.iter().filter(|(_, node)| due(node)).map(|(member, _)| *member).collect();
        for member in members {
            let (config, database) = (self.config.clone(), self.database.of(member));
            let node = self.node(member);
            let mut changed = false;
            while node.coming.first().is_some_and(|(due, _)| *due <= now) {
                node.topology = node.coming.remove(0).1;
                changed = true;
            }
            if changed && let Some(commands) = &node.commands {
                // A worker that is not among the shards any more keeps what it has.
                if let Some((place, jobs)) = place_in(&node.topology, &config, member) {
                    let config = Box::new(config);
                    let _ = commands.send(Command::Reconfigure { jobs, place, tsdb: database, config });
                    node.woken.0.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    /// Lets one worker that has something to do go on. Returns whether there was one.
    pub(super) fn step(&mut self, now: i64, observed: &mut Observed) -> bool {
        if self.turn.0 != now {
            self.turn = (now, 0);
        }
        self.turn.1 += 1;
        let count = self.existing.len();
        let first = Chance::of(self.seed, &[now.cast_unsigned(), self.turn.1]).below(count as u64) as usize;
        for index in 0..count {
            let member = self.existing[(first + index) % count];
            let own = self.nodes.get_mut(&member).expect("a pod");
            if own.away_until > now {
                continue;
            }
            if own.task.is_none() {
                self.start(member);
            }
            let own = self.nodes.get_mut(&member).expect("a pod");
            if !own.woken.0.swap(false, Ordering::Relaxed) {
                continue;
            }
            observed.steps += 1;
            if trace::is_on() {
                trace::at(now - START, member);
            }
            let waker = Waker::from(own.woken.clone());
            let Some(task) = &mut own.task else { continue };
            let is_over = task.as_mut().poll(&mut TaskContext::from_waker(&waker)) == Poll::Ready(());
            if own.drive.memory().is_crashed() {
                let until = now + own.away_for;
                *observed.faults.entry(Kind::CrashOnDisk).or_default() += 1;
                let mut chance = Chance::of(self.seed, &[0x6469_6564, now.cast_unsigned()]);
                self.kill(member, until, &mut chance, observed);
            } else if is_over {
                // Its disk cannot be used, or its topology file has no place for it.
                own.task = None;
                own.away_until = now + 1_000;
                self.network.disconnect(member);
                observed.apart.push((now, now + 1_000 + KNOWN_WITHIN));
            }
            return true;
        }
        false
    }

    fn start(&mut self, member: Member) {
        let (clock, database, network) = (self.clock.clone(), self.database.of(member), self.network.clone());
        let config = self.config.clone();
        let rules = self.rules;
        let is_upgraded = self.upgraded == Some(member);
        let node = self.node(member);
        let (commands, receiver) = mpsc::unbounded_channel();
        let (drive, metrics, topology) = (node.drive.clone(), node.metrics.clone(), node.topology.clone());
        node.woken.0.store(true, Ordering::Relaxed);
        node.commands = Some(commands);
        node.task = Some(Box::pin(async move {
            let Some((place, jobs)) = place_in(&topology, &config, member) else { return };
            let Ok((storage, recovered, restored)) = Storage::open(Rc::new(drive)).await else { return };
            let wire = Wire { member, clock: clock.clone(), network: network.clone() };
            let (context, spawned) = Context::new(clock, database, (wire, place), Some(storage), metrics, &config);
            context.rules.set(rules);
            if is_upgraded {
                context.release.set(!context.release.get());
            }
            network.connect(member, context.clone());
            Worker::new((context, spawned), receiver).run(jobs, history(recovered, restored)).await;
        }));
    }
}
