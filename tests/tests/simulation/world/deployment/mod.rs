//! Several workers, ranks of several shards, in one world, and somebody who changes the number of shards.

mod faults;
pub mod observation;
mod operator;
mod pods;
pub mod schedule;
pub mod trace;

use std::{collections::BTreeMap, rc::Rc};

use config::{load::Source, topology::Topology, worker::WorkerConfig};
use worker::{
    context::Environment,
    peers::{Member, Rule, Rules},
};

use super::{
    CONFIG, MINUTE, MULTIVARIATE, START,
    clock::VirtualClock,
    database::Database,
    drive::Drive,
    network::{Network, Wire},
};
use observation::Observed;
use operator::topology;
use pods::Node;
use schedule::{Event, Fault, Faults, LeftOut};

/// After this time workers that reach each other again know it: they ask at every tick, and start within some seconds.
const KNOWN_WITHIN: i64 = 3 * MINUTE + 40_000;
/// Far more than any run needs, for each worker.
const MOST_STEPS: u64 = 400_000;

/// The loop's four traits in a world with other workers.
pub struct Replica;

impl Environment for Replica {
    type Clock = VirtualClock;
    type Disk = Drive;
    type Tsdb = Database;
    type Peers = Wire;
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
    /// The same of ranks.
    pub most_ranks: u32,
    /// It is changed again before the change before is over.
    pub hasty: bool,
    /// Ranks write in turn.
    pub failover: bool,
}

impl Layout {
    /// Ranks of one shard.
    pub fn ranks(ranks: u32) -> Self {
        Self { shards: 1, ranks, most_shards: 0, most_ranks: 0, hasty: false, failover: false }
    }

    pub fn failover(self) -> Self {
        Self { failover: true, ..self }
    }
}

pub struct Deployment {
    clock: VirtualClock,
    database: Database,
    network: Network,
    nodes: BTreeMap<Member, Node>,
    /// Those that there are at present.
    existing: Vec<Member>,
    layout: Layout,
    topology: Rc<Topology>,
    /// The one that was published before.
    former_topology: Rc<Topology>,
    seed: u64,
    /// The present time, and how often a worker was chosen at it.
    turn: (i64, u64),
    config: WorkerConfig,
    rules: Rules,
    left_out: LeftOut,
    /// What happens besides, and in which minute.
    scripted: Vec<(i64, Fault)>,
    /// Those to come, the last first.
    events: Vec<Event>,
    /// Those that wait for their moment.
    waiting: Vec<Event>,
    /// The number of shards that somebody wants, and the event that said so.
    wanted_shards: Option<(u32, u32)>,
    /// The same of ranks.
    wanted_ranks: Option<(u32, u32)>,
    /// A worker of another release.
    upgraded: Option<Member>,
    /// A worker that does not reach the TSDB for a while.
    cut_off: Option<(Member, std::ops::Range<i64>)>,
}

impl Deployment {
    pub fn new(seed: u64, layout: Layout, schedule: u64) -> Self {
        Self::with_config(CONFIG, seed, layout, schedule)
    }

    /// With [`MULTIVARIATE`] models.
    pub fn multivariate(seed: u64, layout: Layout, schedule: u64) -> Self {
        Self::with_config(MULTIVARIATE, seed, layout, schedule)
    }

    fn with_config(config: &str, seed: u64, layout: Layout, schedule: u64) -> Self {
        trace::start();
        let clock = VirtualClock::new(START);
        let mut config = config.to_owned();
        if layout.failover {
            config = config.replace("writer: {", "writer: {mode: failover, ");
        }
        let first = Rc::new(Topology { settled_epoch: 1, ..topology(1, layout.shards, Vec::new(), layout.ranks) });
        let mut deployment = Self {
            database: Database::new(seed, clock.clone()),
            network: Network::new(schedule, clock.clone()),
            clock,
            nodes: BTreeMap::new(),
            existing: Vec::new(),
            layout,
            topology: first.clone(),
            former_topology: first,
            seed: schedule,
            turn: (START, 0),
            config: load(&config),
            rules: Rules::default(),
            left_out: LeftOut::new(),
            scripted: Vec::new(),
            events: Vec::new(),
            waiting: Vec::new(),
            wanted_shards: None,
            wanted_ranks: None,
            upgraded: None,
            cut_off: None,
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

    /// A worker runs another release.
    pub fn upgraded(mut self, member: Member) -> Self {
        self.upgraded = Some(member);
        self
    }

    /// Lets these things happen, too, each in its minute of the run and for six minutes.
    pub fn scripted(mut self, events: &[(i64, Fault)]) -> Self {
        self.scripted = events.to_vec();
        self
    }

    /// Breaks a rule of the protocol.
    pub fn without(mut self, rule: Option<Rule>) -> Self {
        self.rules = rule.map_or_else(Rules::default, Rules::without);
        self
    }

    /// Leaves events of the schedule out.
    pub fn leaving_out(mut self, events: &LeftOut) -> Self {
        self.left_out.clone_from(events);
        self
    }

    /// Runs for `duration` ms of virtual time; the last half hour is undisturbed.
    pub fn run(mut self, faults: Faults, duration: i64) -> Observed {
        let end = START + duration;
        let mut observed = Observed::default();
        self.events = schedule::events(self.seed, faults, &self.layout, duration, &self.scripted);
        self.events.retain(|event| !self.left_out.contains(&event.number));
        self.events.reverse();
        let mut next_look = START + 9 * MINUTE;
        while self.clock.unix() < end {
            let now = self.clock.unix();
            self.strike_due(now, &mut observed);
            if now >= next_look {
                next_look = self.operate(now, &mut observed);
            }
            if let Some((member, times)) = self.cut_off.take_if(|(_, times)| times.start <= now) {
                self.database.cut_off(member, times.end);
            }
            self.deliver_topologies(now);
            if !self.step(now, &mut observed) {
                let back = self.nodes.values().map(|node| node.away_until);
                let coming = self.nodes.values().flat_map(|node| node.coming.iter().map(|(at, _)| *at));
                let event = self.events.last().map(|event| self.start_of(event));
                let next = back.chain(coming).chain(event).chain([next_look]).filter(|at| *at > now).min();
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

    fn start_of(&self, event: &Event) -> i64 {
        START + event.at
    }
}

fn load(config: &str) -> WorkerConfig {
    let source = Source::new("worker.yaml", config.to_owned());
    config::load::load(&[source], &|_| None, 2).expect("configuration").config
}
