//! How far the workers have followed a topology. Pure.

use config::topology::Topology;

use crate::workers::report::Report;
use crate::workers::state::Worker;

/// How far the workers have followed a topology.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Following {
    /// Whether all workers of the topology have it and every series that they own in it.
    pub settled: bool,
    /// Pods of its workers that do not answer.
    pub silent: Vec<String>,
    /// Pods of workers that answer and do not have it, or have not restored their state.
    pub behind: Vec<String>,
    /// Pods of workers that have it and still give or take series.
    pub open: Vec<String>,
    /// Whether they were asked to follow longer ago than a hand-over may take.
    pub overdue: bool,
}

impl Following {
    /// Of the workers of a topology, and of those that have no place in it and are still there.
    #[must_use]
    pub fn of(topology: &Topology, workers: &[Worker], overdue: bool) -> Self {
        let (shards, ranks) = (topology.shards.get(), topology.ranks.get());
        let mut following = Self { overdue, ..Self::default() };
        let mut settled = 0;
        for worker in workers {
            let is_member = worker.shard < shards && worker.rank < ranks;
            let pod = || worker.pod.clone();
            let Some(report) = worker.report() else {
                if is_member {
                    following.silent.push(pod());
                }
                continue;
            };
            let knows_ranks = |report: &Report| report.ready && report.ranks == Some(ranks);
            if report.epoch != topology.epoch || (is_member && !knows_ranks(report)) {
                following.behind.push(pod());
            } else if !report.settled {
                following.open.push(pod());
            } else if is_member {
                settled += 1;
            }
        }
        following.settled = settled == u64::from(shards) * u64::from(ranks);
        following
    }

    /// Whether workers that have no place in the topology may go: nobody needs anything of them, or nobody who answers
    /// does and the others have had their time. One that answers and holds series of others stays: it scores them.
    #[must_use]
    pub fn may_go(&self) -> bool {
        self.settled || (self.overdue && self.behind.is_empty() && self.open.is_empty())
    }
}
