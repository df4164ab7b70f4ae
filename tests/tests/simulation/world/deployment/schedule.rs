//! What goes wrong in a run, and when. Every event is drawn from the seed and its own number: leaving one out shifts no
//! other.

use std::{collections::BTreeSet, fmt};

use super::{
    super::{MINUTE, chance::Chance},
    Layout,
};

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
    /// Disks are slow, or full, for a while.
    pub disks: bool,
}

impl Faults {
    pub const NONE: Self = Self { crashes: false, pauses: false, partitions: false, outages: false, disks: false };
    pub const PAUSES: Self = Self { pauses: true, ..Self::NONE };
    /// With a TSDB that is away now and then, so that processes die between logging and writing.
    pub const CRASHES: Self = Self { crashes: true, outages: true, ..Self::NONE };
    pub const ALL: Self = Self { crashes: true, pauses: true, partitions: true, outages: true, disks: true };
}

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A process dies, and what its disk had not made durable is lost in part or whole.
    Crash,
    /// A process dies in one of its next disk operations.
    CrashOnDisk { operation: u64 },
    /// The same, while each of them takes long.
    CrashOnSlowDisk { operation: u64, longest: i64 },
    /// A process stands still.
    Pause,
    /// A worker reaches no other one.
    Isolation,
    /// One message in so many is lost.
    Loss { one_in: u64 },
    /// Reads, writes, both, or every third call of the TSDB fail.
    Outage { kind: u64 },
    /// A worker does not reach the TSDB.
    CutOff,
    /// Each operation of a disk takes up to so many ms.
    SlowDisk { longest: i64 },
    /// No more bytes fit on a disk.
    FullDisk,
    /// Somebody wants another number of shards, perhaps before the change before is over.
    Shards { count: u32, hasty: bool },
    /// Somebody wants another number of ranks of each shard.
    Ranks { count: u32 },
}

/// The moment that an event waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Now,
    /// The worker reads a tick.
    Reading,
    /// Series come to the worker, or go.
    HandingOver,
}

#[derive(Debug, Clone)]
pub struct Event {
    pub number: u32,
    /// Since the start of the run, ms.
    pub at: i64,
    pub fault: Fault,
    pub when: When,
    /// How long it lasts, ms.
    pub length: i64,
    /// Decides everything else about it, such as whom it concerns.
    pub chance: Chance,
}

/// Numbers of changes of shards begin here.
const CHANGES: u32 = 1_000;
/// Those of changes of ranks.
const CHANGES_OF_RANKS: u32 = 2_000;
/// Those of what a test wants.
const SCRIPTED: u32 = 3_000;

/// All events of a run of `duration` ms, in the order of their times; the last half hour is undisturbed.
pub fn events(seed: u64, faults: Faults, layout: &Layout, duration: i64, scripted: &[(i64, Fault)]) -> Vec<Event> {
    let Layout { most_shards, most_ranks, hasty: is_hasty, .. } = *layout;
    let end = duration - 30 * MINUTE;
    let mut events = Vec::new();
    let mut at = 6 * MINUTE;
    for number in 0.. {
        let mut chance = Chance::of(seed, &[number.into()]);
        at += 20_000 + chance.millis_below(7 * MINUTE);
        if at >= end {
            break;
        }
        let Some((fault, when)) = fault(faults, &mut chance) else { break };
        let length = 500 + chance.millis_below(5 * MINUTE);
        events.push(Event { number, at, fault, when, length, chance });
    }
    let mut at = 9 * MINUTE;
    for number in CHANGES.. {
        let mut chance = Chance::of(seed, &[number.into()]);
        at += MINUTE + chance.millis_below(10 * MINUTE);
        if at >= end || most_shards == 0 {
            break;
        }
        let hasty = is_hasty && chance.below(3) > 0;
        let count = 1 + chance.below(most_shards.into()) as u32;
        let fault = Fault::Shards { count, hasty };
        // The next one soon.
        let sooner = if hasty { chance.millis_below(MINUTE) } else { 0 };
        events.push(Event { number, at, fault, when: When::Now, length: 0, chance });
        at -= sooner;
    }
    let mut at = 12 * MINUTE;
    for number in CHANGES_OF_RANKS.. {
        let mut chance = Chance::of(seed, &[number.into()]);
        at += MINUTE + chance.millis_below(20 * MINUTE);
        if at >= end || most_ranks == 0 {
            break;
        }
        let count = 1 + chance.below(most_ranks.into()) as u32;
        events.push(Event { number, at, fault: Fault::Ranks { count }, when: When::Now, length: 0, chance });
    }
    for (number, (minute, fault)) in (SCRIPTED..).zip(scripted) {
        let (at, length, chance) = (minute * MINUTE, 6 * MINUTE, Chance::of(seed, &[number.into()]));
        events.push(Event { number, at, fault: *fault, when: When::Now, length, chance });
    }
    events.sort_by_key(|event| (event.at, event.number));
    events
}

fn fault(faults: Faults, chance: &mut Chance) -> Option<(Fault, When)> {
    let Faults { crashes, pauses, partitions, outages, disks } = faults;
    let enabled = [crashes, crashes, pauses, partitions, outages, disks];
    let kinds: Vec<usize> = (0..enabled.len()).filter(|kind| enabled[*kind]).collect();
    if kinds.is_empty() {
        return None;
    }
    let in_handover = |chance: &mut Chance| if chance.below(3) == 0 { When::HandingOver } else { When::Now };
    let longest = |chance: &mut Chance| [50, 1_000, 6_000, 20_000][chance.below(4) as usize];
    Some(match kinds[chance.below(kinds.len() as u64) as usize] {
        0 => (Fault::Crash, in_handover(chance)),
        1 if chance.below(2) == 0 => (Fault::CrashOnDisk { operation: 1 + chance.below(40) }, in_handover(chance)),
        1 => {
            let (operation, longest) = (1 + chance.below(12), longest(chance));
            (Fault::CrashOnSlowDisk { operation, longest }, When::HandingOver)
        }
        2 => (Fault::Pause, if chance.below(4) == 0 { When::Now } else { When::Reading }),
        3 if chance.below(2) == 0 => (Fault::Isolation, in_handover(chance)),
        3 => (Fault::Loss { one_in: 2 + chance.below(6) }, When::Now),
        4 => match chance.below(5) {
            4 => (Fault::CutOff, When::Now),
            kind => (Fault::Outage { kind }, When::Now),
        },
        _ if chance.below(2) == 0 => (Fault::SlowDisk { longest: longest(chance) }, in_handover(chance)),
        _ => (Fault::FullDisk, in_handover(chance)),
    })
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crash => write!(formatter, "dies"),
            Self::CrashOnDisk { operation } => write!(formatter, "dies at its next disk operation number {operation}"),
            Self::CrashOnSlowDisk { operation, longest } => {
                write!(formatter, "dies at its next disk operation number {operation}, each takes up to {longest} ms")
            }
            Self::Pause => write!(formatter, "stands still"),
            Self::Isolation => write!(formatter, "reaches no other worker"),
            Self::Loss { one_in } => write!(formatter, "one message in {one_in} is lost"),
            Self::Outage { kind } => {
                let what = ["no reads", "no writes", "neither reads nor writes", "every third call fails"];
                write!(formatter, "TSDB: {}", what[*kind as usize])
            }
            Self::CutOff => write!(formatter, "does not reach the TSDB"),
            Self::SlowDisk { longest } => write!(formatter, "each disk operation takes up to {longest} ms"),
            Self::FullDisk => write!(formatter, "its disk is full"),
            Self::Shards { count, hasty } => {
                write!(formatter, "{count} shards{}", if *hasty { ", at once" } else { "" })
            }
            Self::Ranks { count } => write!(formatter, "{count} ranks"),
        }
    }
}

/// The numbers of events that are to be left out.
pub type LeftOut = BTreeSet<u32>;
