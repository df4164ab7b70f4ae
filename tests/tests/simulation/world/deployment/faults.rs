//! Events strike.

use worker::peers::Member;

use super::{
    Deployment, KNOWN_WITHIN,
    observation::{Happened, Kind, Observed},
    schedule::{Event, Fault, When},
};

/// An event that waits for its moment waits so long for it.
const WAITS_FOR: i64 = 20 * 60_000;

impl Deployment {
    /// Lets everything happen whose time has come.
    pub(super) fn strike_due(&mut self, now: i64, observed: &mut Observed) {
        while self.events.last().is_some_and(|event| self.start_of(event) <= now) {
            let event = self.events.pop().expect("there is one");
            self.waiting.push(event);
        }
        if self.waiting.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut self.waiting);
        for mut event in waiting {
            if self.strike(&mut event, now, observed) || now > self.start_of(&event) + WAITS_FOR {
                continue;
            }
            self.waiting.push(event);
        }
    }

    /// Returns whether the event is over with: its moment has come.
    fn strike(&mut self, event: &mut Event, now: i64, observed: &mut Observed) -> bool {
        let mut chance = event.chance.clone();
        let members = self.existing.clone();
        let first = chance.below(members.len() as u64) as usize;
        let is_moment = |member: &Member| match event.when {
            When::Now => true,
            When::Reading => self.network.is_reading(*member),
            When::HandingOver => self.network.is_handing_over(*member),
        };
        let mut rotated = (0..members.len()).map(|offset| members[(first + offset) % members.len()]);
        let Some(member) = rotated.find(is_moment) else { return false };
        let until = now + event.length;
        let mut kind = None;
        match event.fault {
            Fault::Crash => {
                kind = Some(Kind::Crash);
                self.kill(member, until, &mut chance, observed);
            }
            Fault::CrashOnDisk { operation } => {
                self.crash_at(member, operation, event.length);
            }
            Fault::CrashOnSlowDisk { operation, longest } => {
                self.node(member).drive.slow_down(until, longest, chance.next());
                self.crash_at(member, operation, event.length);
            }
            Fault::Pause => {
                kind = Some(Kind::Pause);
                // The others may have gone on without what it had written last. It has to know when it goes on, unless
                // they leave meanwhile.
                let others_leave = self.existing.iter().any(|other| other.rank >= self.topology.ranks.get());
                observed.apart.push((now, until + if others_leave { KNOWN_WITHIN } else { 0 }));
                self.network.pause(member, until);
                self.node(member).away_until = until;
            }
            Fault::Isolation => {
                kind = Some(Kind::Isolation);
                observed.apart.push((now, until + KNOWN_WITHIN));
                self.network.isolate(member, until);
            }
            Fault::Loss { one_in } => {
                kind = Some(Kind::Loss);
                observed.apart.push((now, until + KNOWN_WITHIN));
                self.network.lose(one_in, until);
            }
            Fault::Outage { kind: calls } => {
                kind = Some(Kind::Outage);
                self.database.disturb(calls, until);
            }
            Fault::CutOff => {
                kind = Some(Kind::CutOff);
                self.database.cut_off(member, now + 4 * event.length);
            }
            Fault::SlowDisk { longest } => {
                kind = Some(Kind::SlowDisk);
                self.node(member).drive.slow_down(until, longest, chance.next());
            }
            Fault::FullDisk => {
                kind = Some(Kind::FullDisk);
                self.node(member).drive.fill(until);
            }
            Fault::Shards { count, hasty } => {
                self.wanted_shards = Some((event.number, count));
                if hasty {
                    self.change_shards(now, observed);
                }
                return true;
            }
            Fault::Ranks { count } => {
                self.wanted_ranks = Some((event.number, count));
                return true;
            }
        }
        if let Some(kind) = kind {
            *observed.faults.entry(kind).or_default() += 1;
        }
        if event.when == When::HandingOver {
            *observed.faults.entry(Kind::DuringHandover).or_default() += 1;
        }
        let whom = match event.fault {
            Fault::Loss { .. } | Fault::Outage { .. } => None,
            _ => Some(member),
        };
        observed.happened.push(Happened {
            at: now,
            number: event.number,
            whom,
            what: event.fault,
            length: event.length,
        });
        true
    }

    fn crash_at(&mut self, member: Member, operation: u64, away_for: i64) {
        let node = self.node(member);
        node.away_for = away_for;
        let memory = node.drive.memory();
        memory.crash_at(memory.operations() + operation);
    }
}
