//! The production loop in a seeded world of its own: virtual time, a disk and a TSDB in memory, crashes and outages
//! at moments that the seed decides. Whatever happens, the scores must be those of an undisturbed run.

mod world;

use worker::peers::{Member, Rule};
use world::{
    Disturbance, Outcome, World,
    deployment::{Deployment, Faults, Layout, Observed},
};

const MINUTES: i64 = 60_000;

#[test]
fn crashes_outages_and_clock_steps_change_no_score_and_leave_no_gap() {
    let undisturbed = World::new(7).run(&Disturbance::none(), 180 * MINUTES);
    assert!(undisturbed.scores() > 3_000, "only {} scores", undisturbed.scores());
    let mut crashes = 0;
    let mut outages = 0;
    for seed in 0..24 {
        let disturbed = World::new(7).run(&Disturbance::from_seed(seed), 180 * MINUTES);
        crashes += disturbed.crashes;
        outages += disturbed.outages;
        assert_eq!(disturbed.rewritten_with_other_values, 0, "seed {seed}");
        assert_eq!(disturbed.unscheduled_refits, 0, "seed {seed}");
        disturbed.assert_same_scores(&undisturbed, seed);
    }
    assert!(crashes > 80 && outages > 80, "{crashes} crashes, {outages} outages");
}

#[test]
fn a_written_score_keeps_its_value_when_the_tsdb_answers_late_reads_otherwise() {
    let undisturbed = World::new(7).run(&Disturbance::none(), 120 * MINUTES);
    for seed in 100..112 {
        let disturbed = World::new(7).shifting().run(&Disturbance::from_seed(seed), 120 * MINUTES);
        assert!(disturbed.crashes > 0 && disturbed.outages > 0);
        assert_eq!(disturbed.rewritten_with_other_values, 0, "seed {seed}");
        assert_eq!(undisturbed.difference_of_times(disturbed.written()), None, "seed {seed}");
    }
}

#[test]
fn a_fit_that_takes_over_late_has_learnt_the_ticks_in_between() {
    let early = World::new(5).fit_lag(1).run(&Disturbance::none(), 120 * MINUTES);
    let late = World::new(5).fit_lag(6).run(&Disturbance::none(), 120 * MINUTES);
    let equal: Vec<bool> = early.equal_times(&late, "minutely").into_values().collect();
    let changes = equal.windows(2).filter(|pair| pair[0] != pair[1]).count();
    // Every 17 minutes, at 30 s a sample, up to five minutes differ: while one fit scores already and the other not yet.
    assert!(changes >= 2 * 5, "the fits made no difference: {changes} changes");
    assert!(equal.iter().filter(|equal| **equal).count() > equal.len() / 2);
}

#[test]
fn three_shards_write_together_what_one_writes() {
    let whole = World::new(11).run(&Disturbance::none(), 120 * MINUTES);
    let mut parts = World::new(11).shard(0, 3).run(&Disturbance::none(), 120 * MINUTES);
    for shard in 1..3 {
        let other = World::new(11).shard(shard, 3).run(&Disturbance::from_seed(shard.into()), 120 * MINUTES);
        assert!(other.scores() > 0 && other.scores() < whole.scores());
        parts.join(other);
    }
    parts.assert_same_scores(&whole, 0);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || World::new(3).run(&Disturbance::from_seed(5), 60 * MINUTES);
    let (first, second) = (run(), run());
    assert_eq!(first.steps, second.steps);
    first.assert_same_scores(&second, 5);
}

#[test]
fn ranks_read_every_tick_once_and_write_equal_scores() {
    for ranks in 1..=3 {
        let observed = Deployment::new(7, Layout::ranks(ranks), 1).shifting().run(Faults::NONE, 120 * MINUTES);
        assert_eq!((observed.most_reads, observed.adopted), (1, 0), "{ranks} ranks");
        assert!(observed.conflicts.is_empty(), "{ranks} ranks: {:?}", observed.conflicts);
        assert!(observed.followed >= u64::from(ranks - 1) * 300, "{ranks} ranks: {observed}");
        let written = observed.scores_by[&Member::default()].len();
        assert!(
            written > 200 && observed.scores_by.values().all(|by| by.len() + 6 >= written),
            "{ranks} ranks: {written}"
        );
    }
}

#[test]
fn all_shards_together_read_every_tick_once_and_write_what_one_writes() {
    let undisturbed = World::new(7).run(&Disturbance::none(), 120 * MINUTES);
    for (shards, ranks) in [(2, 1), (5, 1), (3, 2)] {
        let layout = Layout { shards, ..Layout::ranks(ranks) };
        let observed = Deployment::new(7, layout, 1).run(Faults::NONE, 120 * MINUTES);
        assert_eq!((observed.most_reads, observed.violation()), (1, None), "{shards} shards, {ranks} ranks");
        assert_eq!(undisturbed.difference(&observed.written), None, "{shards} shards, {ranks} ranks");
    }
}

#[test]
fn crashes_pauses_and_partitions_of_ranks_change_no_score_and_leave_no_gap() {
    let undisturbed = World::new(7).run(&Disturbance::none(), 180 * MINUTES);
    let mut total = Observed::default();
    for seed in 0..24 {
        let (observed, violation) = stable(&undisturbed, seed);
        assert_eq!(violation, None, "seed {seed}");
        total.add(&observed);
    }
    println!("{total}");
    total.assert_eventful();
}

#[test]
fn ranks_that_have_read_different_values_agree_again_and_no_tick_is_missing() {
    let undisturbed = World::new(7).run(&Disturbance::none(), 180 * MINUTES);
    let mut total = Observed::default();
    for seed in 100..124 {
        let (observed, violation) = shifting(&undisturbed, Faults::ALL, seed, None);
        assert_eq!(violation, None, "seed {seed}");
        total.add(&observed);
    }
    println!("{total}");
    total.assert_eventful();
    assert!(total.conflicts.len() > 100 && total.adopted > 100, "{total}");
}

#[test]
fn a_rank_that_was_paused_writes_no_other_value_than_those_that_went_on() {
    let undisturbed = World::new(7).run(&Disturbance::none(), 180 * MINUTES);
    for seed in 200..212 {
        let (observed, violation) = shifting(&undisturbed, Faults::PAUSES, seed, None);
        assert_eq!(violation, None, "seed {seed}");
        assert!(observed.pauses > 5, "seed {seed}: {observed}");
    }
}

#[test]
fn shards_come_and_go_without_a_refit_and_no_score_changes() {
    let undisturbed = World::new(7).run(&Disturbance::none(), 180 * MINUTES);
    for (ranks, seed) in [(2, 302), (1, 300)] {
        let layout = Layout { shards: 1, ranks, most_shards: 5, hasty: false, failover: false };
        let observed = Deployment::new(7, layout, seed).run(Faults::NONE, 180 * MINUTES);
        println!("{observed}");
        assert_eq!(observed.violation(), None, "seed {seed}");
        assert_eq!(undisturbed.difference(&observed.written), None, "seed {seed}");
        assert_eq!((observed.unscheduled_refits, observed.adopted), (0, 0), "seed {seed}");
    }
}

/// Everything at once, each seed with a layout of its own.
/// `SIM_SEEDS=a..b cargo test --release -p tests simulation -- --nocapture` runs the named seeds.
#[test]
fn whatever_goes_wrong_in_the_simulation_no_tick_is_missing_and_ranks_agree() {
    let undisturbed = World::new(7).run(&Disturbance::none(), 180 * MINUTES);
    let named = std::env::var("SIM_SEEDS").ok();
    let seeds = named.as_deref().map_or(402..404, |text| parse_seeds(text).expect("SIM_SEEDS is a..b"));
    let (mut total, mut violations) = (Observed::default(), 0);
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let (observed, violation) = everything(&undisturbed, seed, None);
        if let Some(violation) = violation {
            println!("seed {seed}: {violation:.900}");
            violations += 1;
        }
        total.add(&observed);
    }
    println!("{total}");
    println!("simulation: {count} seeds, {} steps, {violations} violations", total.steps);
    assert_eq!(violations, 0);
}

fn parse_seeds(text: &str) -> Option<std::ops::Range<u64>> {
    let (first, end) = text.split_once("..")?;
    Some(first.parse().ok()?..end.parse().ok()?)
}

fn everything(undisturbed: &Outcome, seed: u64, broken: Option<Rule>) -> (Observed, Option<String>) {
    let layout = Layout {
        shards: 1 + (seed % 2) as u32,
        ranks: 1 + (seed % 3) as u32,
        most_shards: 5,
        hasty: seed % 4 == 3,
        failover: seed % 5 < 2,
    };
    let deployment = Deployment::new(7, layout, seed).without(broken);
    let is_shifting = seed % 7 < 3;
    let deployment = if is_shifting { deployment.shifting() } else { deployment };
    let observed = deployment.run(Faults::ALL, 180 * MINUTES);
    let difference = || match is_shifting {
        true => undisturbed.difference_of_times(&observed.written),
        false => undisturbed.difference(&observed.written),
    };
    let violation = observed.violation().or_else(difference);
    (observed, violation)
}

#[test]
fn with_failover_one_rank_writes_and_the_next_takes_its_place_when_it_does_not_get_on() {
    for ranks in 2..=3 {
        let layout = Layout::ranks(ranks).failover();
        assert_eq!(two_writers(layout, None), None, "{ranks} ranks");
        assert_eq!(stuck(layout, None), None, "{ranks} ranks");
    }
}

/// Undisturbed, a second rank writes nothing.
fn two_writers(layout: Layout, broken: Option<Rule>) -> Option<String> {
    let observed = Deployment::new(7, layout, 1).without(broken).run(Faults::NONE, 60 * MINUTES);
    let writers = observed.scores_by.values().filter(|scores| !scores.is_empty()).count();
    (writers != 1).then(|| format!("{writers} ranks have written"))
}

/// The lowest rank does not reach the TSDB for 40 minutes. After three times the two minutes that a rank waits for the one
/// before it, the next one goes on.
fn stuck(layout: Layout, broken: Option<Rule>) -> Option<String> {
    let deployment = Deployment::new(7, layout, 1).without(broken).cut_off(Member::default(), 20..60);
    let observed = deployment.run(Faults::NONE, 120 * MINUTES);
    let minutes = observed.longest_delay / MINUTES;
    (minutes > 10).then(|| format!("scores were late by {minutes} minutes"))
}

/// A rule that nothing can show to be needed is none. These are a few of the runs above.
#[test]
fn every_rule_of_the_protocol_is_missed_when_it_is_broken() {
    let undisturbed = World::new(7).run(&Disturbance::none(), 180 * MINUTES);
    let only = std::env::var("SIM_RULE").ok();
    for rule in Rule::ALL.into_iter().filter(|rule| only.as_ref().is_none_or(|only| *only == format!("{rule:?}"))) {
        let failover = Layout::ranks(2).failover();
        let missed = match rule {
            Rule::OneWriter => two_writers(failover, Some(rule)),
            Rule::PassStuck => stuck(failover, Some(rule)),
            _ => {
                let runs = [
                    (Faults::NONE, 1..2),
                    (Faults::PAUSES, 200..203),
                    (Faults::ALL, 117..124),
                    (Faults::ALL, 113..114),
                ];
                let mut runs = runs.into_iter().flat_map(|(faults, seeds)| seeds.map(move |seed| (faults, seed)));
                runs.find_map(|(faults, seed)| {
                    let missed = shifting(&undisturbed, faults, seed, Some(rule)).1?;
                    Some(format!("seed {seed}: {missed}"))
                })
            }
        };
        let missed = missed.unwrap_or_else(|| panic!("nobody misses {rule:?}"));
        println!("without {rule:?}: {missed:.160}");
    }
}

/// A run against a TSDB that always answers the same: every score is that of an undisturbed worker.
fn stable(undisturbed: &Outcome, seed: u64) -> (Observed, Option<String>) {
    let ranks = 2 + (seed % 2) as u32;
    let observed = Deployment::new(7, Layout::ranks(ranks), seed).run(Faults::ALL, 180 * MINUTES);
    let rewritten = observed.conflicts.keys().next().map(|time| format!("{time} was written with two values"));
    let violation = observed.violation().or(rewritten).or_else(|| undisturbed.difference(&observed.written));
    (observed, violation)
}

/// A run against a TSDB that answers the same read otherwise each time: who read a tick can be seen in its scores.
fn shifting(undisturbed: &Outcome, faults: Faults, seed: u64, broken: Option<Rule>) -> (Observed, Option<String>) {
    let ranks = 2 + (seed % 2) as u32;
    let observed = Deployment::new(7, Layout::ranks(ranks), seed).shifting().without(broken).run(faults, 180 * MINUTES);
    let read_twice = faults == Faults::NONE && observed.most_reads > 1;
    let read_twice = read_twice.then(|| format!("a tick was read {} times", observed.most_reads));
    let violation = observed.violation().or(read_twice).or_else(|| undisturbed.difference_of_times(&observed.written));
    (observed, violation)
}
