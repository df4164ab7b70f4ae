//! Each rule of the protocol is needed.

use worker::peers::Rule;

use crate::{
    everything::{everything, in_parallel},
    replicas::{shifting, stuck, two_writers},
    resharding::{calm, hasty},
    world::deployment::{
        Layout,
        schedule::{Faults, LeftOut},
    },
};

/// A rule that nothing can show to be needed is none. These are a few of the runs of the other tests. `SIM_RULE` names one.
#[test]
fn every_rule_of_the_protocol_is_missed_when_it_is_broken() {
    let only = std::env::var("SIM_RULE").ok();
    let is_named = |rule: &Rule| only.as_ref().is_none_or(|only| *only == format!("{rule:?}"));
    let rules: Vec<Rule> = Rule::ALL.into_iter().filter(is_named).collect();
    let needless = in_parallel(&rules, |rule| match missed(rule) {
        Some(missed) => {
            println!("without {rule:?}: {missed:.160}");
            None
        }
        None => Some(rule),
    });
    let needless: Vec<Rule> = needless.into_iter().flatten().collect();
    assert!(needless.is_empty(), "nobody misses {needless:?}");
}

/// What goes wrong without a rule.
fn missed(rule: Rule) -> Option<String> {
    let failover = Layout::ranks(2).failover();
    let of_ranks = |runs: &[(Faults, std::ops::Range<u64>)]| {
        let mut runs = runs.iter().flat_map(|(faults, seeds)| seeds.clone().map(move |seed| (*faults, seed)));
        runs.find_map(|(faults, seed)| {
            let missed = shifting(faults, seed, &LeftOut::new(), Some(rule)).1?;
            Some(format!("seed {seed}: {missed}"))
        })
    };
    match rule {
        Rule::OneWriter => two_writers(failover, Some(rule)),
        Rule::PassStuck => stuck(failover, Some(rule)),
        Rule::TakeRecords | Rule::LowestReads | Rule::AskAgain | Rule::CompareChains | Rule::FollowTakeovers => {
            of_ranks(&[(Faults::NONE, 1..2), (Faults::PAUSES, 200..203)])
        }
        Rule::LearnInFlight => of_ranks(&[(Faults::CRASHES, 501..504)]),
        _ => calm(2, 302, Some(rule)).1.or_else(|| hasty(303, Some(rule))).or_else(|| {
            let missed =
                (400..403).find_map(|seed| everything(seed, &LeftOut::new(), Some(rule)).1.map(|what| (seed, what)));
            missed.map(|(seed, missed)| format!("seed {seed}: {missed}"))
        }),
    }
}
