//! Shards come and go.

use worker::peers::Rule;

use crate::{
    DATABASE, DURATION, violation,
    world::deployment::{
        Deployment, Layout,
        observation::{Branch, Kind, Observed},
        schedule::Faults,
    },
};

/// Scores are not written later than this, ms: a tick is due 10 s after its time, and a fit may take a minute to take over.
const LATE: i64 = 100_000;

#[test]
fn shards_come_and_go_without_a_refit_and_no_score_changes() {
    for (ranks, seed) in [(2, 302), (1, 300)] {
        let (observed, wrong) = calm(ranks, seed, None);
        println!("{observed}");
        assert_eq!(wrong, None, "seed {seed}");
        assert!(observed.fault(Kind::Epoch) > 3 && observed.branch(Branch::Joined) > 20, "{observed}");
    }
}

#[test]
fn all_shards_together_read_every_tick_once_and_write_what_one_writes() {
    for (shards, ranks) in [(2, 1), (5, 1), (3, 2)] {
        let layout = Layout { shards, ..Layout::ranks(ranks) };
        let observed = Deployment::new(DATABASE, layout, 1).run(Faults::NONE, DURATION);
        assert_eq!(observed.most_reads, 1, "{shards} shards, {ranks} ranks");
        assert_eq!(violation(&observed, false), None, "{shards} shards, {ranks} ranks");
    }
}

/// Nothing goes wrong while the number of shards changes.
pub fn calm(ranks: u32, seed: u64, broken: Option<Rule>) -> (Observed, Option<String>) {
    let layout = Layout { shards: 1, ranks, most_shards: 5, most_ranks: 0, hasty: false, failover: false };
    let observed = Deployment::new(DATABASE, layout, seed).without(broken).run(Faults::NONE, DURATION);
    let (adopted, seconds) = (observed.branch(Branch::Adopted), observed.longest_delay / 1_000);
    let wrong = violation(&observed, false)
        .or_else(|| (adopted > 0).then(|| format!("{adopted} states were given up, and nothing had gone wrong")))
        .or_else(|| (observed.longest_delay > LATE).then(|| format!("scores were late by {seconds} s")));
    (observed, wrong)
}

/// Nothing goes wrong, but shards change before the change before is over. The TSDB answers the same read otherwise each
/// time.
pub fn hasty(seed: u64, broken: Option<Rule>) -> Option<String> {
    let layout = Layout { shards: 2, ranks: 1, most_shards: 5, most_ranks: 0, hasty: true, failover: false };
    let observed = Deployment::new(DATABASE, layout, seed).shifting().without(broken).run(Faults::NONE, DURATION);
    violation(&observed, true)
}
