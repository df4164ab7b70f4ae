//! What the operator does: it publishes topologies, and says when a change is over.

use std::{num::NonZeroU32, rc::Rc};

use config::topology::{MemberTemplate, Peers, Topology};

use super::{
    Deployment, KNOWN_WITHIN,
    observation::{Happened, Kind, Observed},
    schedule::Fault,
};
use crate::world::chance::Chance;

/// A changed topology reaches a worker within this time.
const TOPOLOGY_WITHIN: i64 = 90_000;

impl Deployment {
    /// Looks at the workers. When a change is over it says so, and makes the one that is waited for. Returns when it
    /// looks again.
    pub(super) fn operate(&mut self, now: i64, observed: &mut Observed) -> i64 {
        if self.unsettled().is_empty() {
            if self.topology.previous_shards.is_empty() {
                self.remove_pods();
                self.change_shards(now, observed);
                self.change_ranks(now, observed);
            } else {
                if let Some((_, until)) = observed.moving.last_mut() {
                    *until = now;
                }
                let Topology { epoch, shards, .. } = *self.topology;
                let settled = topology(epoch, shards.get(), Vec::new(), self.topology.ranks.get());
                self.publish(now, Topology { settled_epoch: epoch, ..settled });
                self.remove_pods();
            }
        }
        now + 10_000 + Chance::of(self.seed, &[0x6f70, now.cast_unsigned()]).millis_below(60_000)
    }

    /// Makes the change that somebody wants, whether or not the one before is over.
    pub(super) fn change_shards(&mut self, now: i64, observed: &mut Observed) {
        let Some((number, wanted)) = self.wanted_shards.take() else { return };
        let Topology { epoch, shards, previous_shards, settled_epoch, .. } = &*self.topology.clone();
        let shards = shards.get();
        if wanted == shards {
            return;
        }
        let is_settled = previous_shards.is_empty();
        if is_settled {
            observed.moving.push((now, i64::MAX));
        }
        *observed.faults.entry(Kind::Epoch).or_default() += 1;
        if !is_settled {
            *observed.faults.entry(Kind::SupersededEpoch).or_default() += 1;
        }
        let what = Fault::Shards { count: wanted, hasty: !is_settled };
        observed.happened.push(Happened { at: now, number, whom: None, what, length: 0 });
        let mut previous: Vec<u32> = previous_shards.iter().map(|count| count.get()).collect();
        previous.retain(|count| *count != shards);
        previous.insert(0, shards);
        let settled_epoch = if is_settled { *epoch } else { *settled_epoch };
        self.publish(
            now,
            Topology { settled_epoch, ..topology(epoch + 1, wanted, previous, self.topology.ranks.get()) },
        );
        self.create_pods();
    }

    /// Makes the change of ranks that somebody wants, unless series are moving.
    fn change_ranks(&mut self, now: i64, observed: &mut Observed) {
        let Some((number, count)) = self.wanted_ranks.take_if(|_| self.topology.previous_shards.is_empty()) else {
            return;
        };
        let (before, ranks) = (self.topology.ranks, NonZeroU32::new(count).expect("not zero"));
        if ranks == before {
            return;
        }
        let kind = if ranks > before { Kind::MoreRanks } else { Kind::FewerRanks };
        *observed.faults.entry(kind).or_default() += 1;
        if ranks < before {
            // One that hangs on its disk does not hear of what the others have written before they leave.
            let away = self.nodes.values().map(|node| node.away_until.max(node.drive.slow_until()));
            let away = away.filter(|until| *until > now);
            observed.apart.extend(away.map(|until| (now, until + KNOWN_WITHIN)));
        }
        observed.happened.push(Happened { at: now, number, whom: None, what: Fault::Ranks { count }, length: 0 });
        self.publish(now, Topology { ranks, ..Topology::clone(&self.topology) });
        self.create_pods();
    }

    /// Workers that have not followed the topology.
    pub(super) fn unsettled(&self) -> Vec<String> {
        let Topology { epoch, ranks, .. } = *self.topology;
        let mut unsettled = Vec::new();
        for member in self.existing.iter().copied() {
            match self.network.jobs(member) {
                // It runs no jobs, or will end them when it sees the topology.
                Some(jobs) if member.rank >= ranks.get() && jobs.is_empty() => {}
                _ if self.network.ranks(member).is_some_and(|known| known != ranks.get()) => {
                    unsettled.push(format!("{member} does not know of {ranks} ranks"));
                }
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
        self.former_topology = std::mem::replace(&mut self.topology, Rc::new(topology));
        let Topology { epoch, settled_epoch, ranks, .. } = *self.topology;
        for (member, node) in &mut self.nodes {
            let parts = [epoch, settled_epoch, ranks.get().into(), member.shard.into(), member.rank.into()];
            let due = now + Chance::of(self.seed, &parts).millis_below(TOPOLOGY_WITHIN);
            let due = node.coming.last().map_or(due, |(last, _)| due.max(*last));
            node.coming.push((due, self.topology.clone()));
        }
    }
}

pub(super) fn topology(epoch: u64, shards: u32, previous: Vec<u32>, ranks: u32) -> Topology {
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
