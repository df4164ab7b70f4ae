//! What is seen of a run: how often each fault and each branch of the protocol occurred, and what is wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use worker::peers::Member;

use super::{Deployment, schedule::Fault};
use crate::world::{MINUTE, START, Written};

/// From a sample's time to the reading of its tick, at most, ms.
const LONGEST_TICK: i64 = 4 * MINUTE;

/// Kinds of faults, and of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Crash,
    CrashOnDisk,
    Pause,
    Isolation,
    Loss,
    Outage,
    CutOff,
    SlowDisk,
    FullDisk,
    OldTopology,
    DuringHandover,
    Epoch,
    SupersededEpoch,
    MoreRanks,
    FewerRanks,
}

impl Kind {
    pub const ALL: [Self; 15] = [
        Self::Crash,
        Self::CrashOnDisk,
        Self::Pause,
        Self::Isolation,
        Self::Loss,
        Self::Outage,
        Self::CutOff,
        Self::SlowDisk,
        Self::FullDisk,
        Self::OldTopology,
        Self::DuringHandover,
        Self::Epoch,
        Self::SupersededEpoch,
        Self::MoreRanks,
        Self::FewerRanks,
    ];
}

/// Ways that the protocol goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Branch {
    /// The record of a tick was taken from another rank.
    Followed,
    /// A tick was read by another rank than the lowest one.
    ReadInPlace,
    /// A whole state was taken over from another rank.
    Adopted,
    /// Another rank was told that a fit has taken over.
    FitFollowed,
    /// A fit's states came from another rank.
    FitTaken,
    Released,
    /// Another rank was told of a release.
    ReleaseFollowed,
    /// Released states were taken.
    Joined,
    /// Another rank was told of it.
    JoinFollowed,
    /// Released states were taken by nobody before the next epoch.
    Returned,
}

impl Branch {
    pub const ALL: [Self; 10] = [
        Self::Followed,
        Self::ReadInPlace,
        Self::Adopted,
        Self::FitFollowed,
        Self::FitTaken,
        Self::Released,
        Self::ReleaseFollowed,
        Self::Joined,
        Self::JoinFollowed,
        Self::Returned,
    ];
}

/// An event that has struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Happened {
    pub at: i64,
    pub number: u32,
    /// The worker that it concerns, if it concerns one.
    pub whom: Option<Member>,
    pub what: Fault,
    pub length: i64,
}

impl fmt::Display for Happened {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at - START;
        write!(formatter, "+{:02}:{:06.3} event {}: ", at / MINUTE, (at % MINUTE) as f64 / 1e3, self.number)?;
        if let Some(member) = self.whom {
            write!(formatter, "{member} ")?;
        }
        write!(formatter, "{}", self.what)?;
        if self.length > 0 {
            write!(formatter, ", for {:.1} s", self.length as f64 / 1e3)?;
        }
        Ok(())
    }
}

/// How often each kind of fault occurred, and what came of it.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    pub steps: u64,
    pub faults: BTreeMap<Kind, u64>,
    pub branches: BTreeMap<Branch, u64>,
    /// In the order of their times.
    pub happened: Vec<Happened>,
    pub unscheduled_refits: u64,
    /// Hand-overs whose states nobody had.
    pub failed: u64,
    pub asked: u64,
    pub written: Written,
    /// Times that were written with two values, and when the second one was.
    pub conflicts: BTreeMap<i64, i64>,
    /// Times at which two shards have written one series, and when the second one did.
    pub doubles: BTreeMap<i64, i64>,
    /// When workers may not have reached each other.
    pub apart: Vec<(i64, i64)>,
    /// When series were moving.
    pub moving: Vec<(i64, i64)>,
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

impl fmt::Display for Observed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{} steps, {} questions", self.steps, self.asked)?;
        writeln!(formatter, "faults and changes: {:?}", self.faults)?;
        writeln!(formatter, "branches: {:?}", self.branches)?;
        let Self { failed, unscheduled_refits: refits, conflicts, doubles, .. } = self;
        write!(
            formatter,
            "times written with two values: {}, by two shards: {}; hand-overs without a state: {failed}; unscheduled \
             refits: {refits}",
            conflicts.len(),
            doubles.len(),
        )
    }
}

impl Observed {
    pub fn fault(&self, kind: Kind) -> u64 {
        self.faults.get(&kind).copied().unwrap_or(0)
    }

    pub fn branch(&self, branch: Branch) -> u64 {
        self.branches.get(&branch).copied().unwrap_or(0)
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.asked += other.asked;
        self.failed += other.failed;
        self.unscheduled_refits += other.unscheduled_refits;
        for (kind, count) in &other.faults {
            *self.faults.entry(*kind).or_default() += count;
        }
        for (branch, count) in &other.branches {
            *self.branches.entry(*branch).or_default() += count;
        }
        // Times of different runs are different ones.
        for (all, others) in [(&mut self.conflicts, &other.conflicts), (&mut self.doubles, &other.doubles)] {
            let first = i64::try_from(all.len()).expect("few");
            all.extend((first..).zip(others.values().copied()));
        }
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
        if self.failed > 0 || self.unscheduled_refits > 0 {
            let (failed, refits) = (self.failed, self.unscheduled_refits);
            return Some(format!("learnt anew: {failed} hand-overs without a state, {refits} unscheduled refits"));
        }
        // A second value may be written when workers that were apart reach each other again and do not know it yet.
        let excused = |written_at: i64| self.apart.iter().any(|(from, until)| (*from..*until).contains(&written_at));
        let within = |periods: &[(i64, i64)], time: i64| {
            periods.iter().any(|(from, until)| (from - LONGEST_TICK..*until).contains(&time))
        };
        // A rank that was away in the middle of a hand-over cannot know whether the others, which have not gone so far,
        // have written all of its series.
        let is_halved = |time: i64| within(&self.apart, time) && within(&self.moving, time);
        let unexcused = |times: &BTreeMap<i64, i64>| {
            let found = times.iter().find(|(time, at)| !excused(**at) && !is_halved(**time));
            found.map(|(time, at)| (time - START, at - START))
        };
        if let Some((time, at)) = unexcused(&self.conflicts) {
            return Some(format!("the tick +{time} ms was written with another value at +{at} ms"));
        }
        unexcused(&self.doubles)
            .map(|(time, at)| format!("the tick +{time} ms was written by another shard at +{at} ms"))
    }
}

impl Deployment {
    pub(super) fn collect(&self, observed: &mut Observed, end: i64) {
        (observed.written, _) = self.database.written();
        observed.conflicts = self.database.conflicts();
        observed.doubles = self.database.doubles();
        observed.most_reads = self.database.most_reads(START + 10 * MINUTE..end);
        observed.asked = self.network.asked();
        observed.branches.extend(self.network.branches());
        observed.branches.insert(Branch::ReadInPlace, self.database.ticks_read_in_place());
        observed.unsettled = self.unsettled();
        observed.longest_delay = self.database.longest_delay(START + 10 * MINUTE);
        for (member, node) in &self.nodes {
            observed.scores_by.insert(*member, self.database.scores_by(*member));
            for line in node.metrics.encode().expect("metrics").lines() {
                let value = || line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
                let mut count = |branch| *observed.branches.entry(branch).or_default() += value();
                if line.starts_with("vmanomaly_ticks_followed_total{") {
                    count(Branch::Followed);
                } else if line.starts_with("vmanomaly_replica_divergences_total{") {
                    count(Branch::Adopted);
                } else if line.starts_with("vmanomaly_refits_unscheduled_total{") {
                    observed.unscheduled_refits += value();
                } else if line.starts_with("vmanomaly_handovers_total{") {
                    match line.split("status=\"").nth(1).and_then(|rest| rest.split('"').next()) {
                        Some("released") => count(Branch::Released),
                        Some("joined") => count(Branch::Joined),
                        Some("returned") => count(Branch::Returned),
                        _ => observed.failed += value(),
                    }
                }
            }
            for (job, standing) in self.network.standings(*member) {
                let chains = observed.chains.entry((member.shard, job)).or_default();
                chains.insert((standing.position, standing.lineage.chain));
            }
        }
    }
}
