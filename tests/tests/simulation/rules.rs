//! Each rule of the protocol is needed.

use worker::peers::Rule;

use crate::{
    everything::{broken_rule, everything, in_parallel},
    replicas::{back_with_an_old_volume, shifting, stuck, two_writers},
    resharding::{calm, hasty},
    world::deployment::{
        Layout,
        schedule::{Faults, LeftOut},
    },
};

/// A rule that nothing can show to be needed is none. These are a few of the runs of the other tests. `SIM_RULE` names one.
#[test]
fn every_rule_of_the_protocol_is_missed_when_it_is_broken() {
    let only = broken_rule();
    let is_named = |rule: &Rule| only.is_none_or(|only| only == *rule);
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
        Rule::HearAll => back_with_an_old_volume(Some(rule)),
        Rule::StayUntilReplaced => of_ranks(&[(Faults::ALL, 169..170)]),
        Rule::HearOfArrivals => of_everything(rule, 470..471),
        Rule::OneJoins => {
            (302..306).find_map(|seed| calm(2, seed, Some(rule)).1).or_else(|| of_everything(rule, 420..421))
        }
        _ => calm(2, 302, Some(rule)).1.or_else(|| hasty(303, Some(rule))).or_else(|| of_everything(rule, 400..403)),
    }
}

fn of_everything(rule: Rule, mut seeds: std::ops::Range<u64>) -> Option<String> {
    seeds.find_map(|seed| Some(format!("seed {seed}: {}", everything(seed, &LeftOut::new(), Some(rule)).1?)))
}
