//! Ranks of one shard.

use worker::peers::{Member, Rule};

use crate::{
    DATABASE, DURATION, violation,
    world::{
        MINUTE, START,
        deployment::{
            Deployment, Layout,
            observation::{Branch, Kind, Observed},
            schedule::{Fault, Faults, LeftOut},
        },
    },
};

#[test]
fn ranks_read_every_tick_once_and_write_equal_scores() {
    for ranks in 1..=3 {
        let observed = Deployment::new(DATABASE, Layout::ranks(ranks), 1).shifting().run(Faults::NONE, 120 * MINUTE);
        assert_eq!((observed.most_reads, observed.branch(Branch::Adopted)), (1, 0), "{ranks} ranks");
        assert!(observed.conflicts.is_empty(), "{ranks} ranks: {:?}", observed.conflicts);
        assert!(observed.branch(Branch::Followed) >= u64::from(ranks - 1) * 300, "{ranks} ranks: {observed}");
        let written = observed.scores_by[&Member::default()].len();
        assert!(
            written > 200 && observed.scores_by.values().all(|by| by.len() + 6 >= written),
            "{ranks} ranks: {written}"
        );
    }
}

#[test]
fn crashes_pauses_and_partitions_of_ranks_change_no_score_and_leave_no_gap() {
    let mut total = Observed::default();
    for seed in 0..24 {
        let (observed, violation) = stable(seed);
        assert_eq!(violation, None, "seed {seed}");
        total.add(&observed);
    }
    println!("{total}");
    assert_eventful(&total);
}

#[test]
fn ranks_that_have_read_different_values_agree_again_and_no_tick_is_missing() {
    let mut total = Observed::default();
    for seed in 100..125 {
        let (observed, violation) = shifting(Faults::ALL, seed, &LeftOut::new(), None);
        assert_eq!(violation, None, "seed {seed}");
        total.add(&observed);
    }
    println!("{total}");
    assert_eventful(&total);
    assert!(total.conflicts.len() > 100 && total.branch(Branch::Adopted) > 100, "{total}");
}

#[test]
fn a_rank_that_was_paused_writes_no_other_value_than_those_that_went_on() {
    for seed in 200..212 {
        let (observed, violation) = shifting(Faults::PAUSES, seed, &LeftOut::new(), None);
        assert_eq!(violation, None, "seed {seed}");
        assert!(observed.fault(Kind::Pause) > 5, "seed {seed}: {observed}");
    }
}

#[test]
fn with_failover_one_rank_writes_and_the_next_takes_its_place_when_it_does_not_get_on() {
    for ranks in 2..=3 {
        let layout = Layout::ranks(ranks).failover();
        assert_eq!(two_writers(layout, None), None, "{ranks} ranks");
        assert_eq!(stuck(layout, None), None, "{ranks} ranks");
    }
}

#[test]
fn the_next_rank_begins_where_the_lowest_one_has_never_reached_the_tsdb() {
    for layout in [Layout::ranks(2), Layout::ranks(3).failover()] {
        let deployment = Deployment::new(DATABASE, layout, 1).cut_off(Member::default(), 0..60);
        let observed = deployment.run(Faults::NONE, 120 * MINUTE);
        let begun = observed.written.keys().map(|(_, time)| (time - START) / MINUTE).min();
        let late = observed.longest_delay / MINUTE;
        assert!(begun < Some(10) && late <= 10, "{layout:?}: begun at {begun:?} min, late by {late} min");
    }
}

#[test]
fn of_ranks_of_different_releases_one_writes_also_with_mode_all() {
    let writers = |deployment: Deployment| {
        let observed = deployment.run(Faults::NONE, DURATION);
        assert_eq!(violation(&observed, false), None);
        observed.scores_by.values().filter(|scores| scores.len() > 20).count()
    };
    let deployment = || Deployment::new(DATABASE, Layout::ranks(2), 1);
    assert_eq!(writers(deployment()), 2);
    assert_eq!(writers(deployment().upgraded(Member { shard: 0, rank: 1 })), 1);
}

#[test]
fn a_rank_that_comes_back_with_an_old_volume_hears_the_others_before_it_goes_on() {
    assert_eq!(back_with_an_old_volume(None), None);
}

/// The second rank of a shard goes; shards come together; the rank comes back, and does not reach the first one at once.
pub fn back_with_an_old_volume(broken: Option<Rule>) -> Option<String> {
    let layout = Layout { shards: 2, ..Layout::ranks(2) };
    let fewer_shards = Fault::Shards { count: 1, hasty: false };
    let events =
        [(15, Fault::Ranks { count: 1 }), (40, fewer_shards), (70, Fault::Isolation), (70, Fault::Ranks { count: 2 })];
    let deployment = Deployment::new(DATABASE, layout, 1).without(broken).scripted(&events);
    violation(&deployment.run(Faults::NONE, DURATION), false)
}

/// Undisturbed, a second rank writes nothing.
pub fn two_writers(layout: Layout, broken: Option<Rule>) -> Option<String> {
    let observed = Deployment::new(DATABASE, layout, 1).without(broken).run(Faults::NONE, 60 * MINUTE);
    let writers = observed.scores_by.values().filter(|scores| !scores.is_empty()).count();
    (writers != 1).then(|| format!("{writers} ranks have written"))
}

/// The lowest rank does not reach the TSDB for 40 minutes. After three times the two minutes that a rank waits for the one
/// before it, the next one goes on, and soon after the outage one of them writes.
pub fn stuck(layout: Layout, broken: Option<Rule>) -> Option<String> {
    (1..5).find_map(|seed| {
        let deployment = Deployment::new(DATABASE, layout, seed).without(broken).cut_off(Member::default(), 20..60);
        let observed = deployment.run(Faults::NONE, 120 * MINUTE);
        let minutes = observed.longest_delay / MINUTE;
        // What was written and not noticed, because the TSDB did not answer any more, may be sent once again.
        let from = START + 100 * MINUTE;
        let sent = observed.scores_by.values().flat_map(|by| by.range(from..)).map(|(_, count)| *count).sum::<u64>();
        let is_score = |(series, time): &&(String, i64)| *time >= from && series.starts_with("anomaly_score");
        let samples = observed.written.keys().filter(is_score).count() as u64;
        let late = (minutes > 10).then(|| format!("seed {seed}: scores were late by {minutes} minutes"));
        late.or_else(|| (sent != samples).then(|| format!("seed {seed}: of {samples} scores, {sent} were sent")))
    })
}

/// A run against a TSDB that always answers the same: every score is that of an undisturbed worker.
fn stable(seed: u64) -> (Observed, Option<String>) {
    let ranks = 2 + (seed % 2) as u32;
    let observed = Deployment::new(DATABASE, Layout::ranks(ranks), seed).run(Faults::ALL, DURATION);
    let rewritten = observed.conflicts.keys().next().map(|time| format!("{time} was written with two values"));
    let violation = violation(&observed, false).or(rewritten);
    (observed, violation)
}

/// A run against a TSDB that answers the same read otherwise each time: who read a tick can be seen in its scores.
pub fn shifting(faults: Faults, seed: u64, left_out: &LeftOut, broken: Option<Rule>) -> (Observed, Option<String>) {
    let ranks = 2 + (seed % 2) as u32;
    let observed = Deployment::new(DATABASE, Layout::ranks(ranks), seed)
        .shifting()
        .without(broken)
        .leaving_out(left_out)
        .run(faults, DURATION);
    let read_twice = faults == Faults::NONE && observed.most_reads > 1;
    let read_twice = read_twice.then(|| format!("a tick was read {} times", observed.most_reads));
    let violation = violation(&observed, true).or(read_twice);
    (observed, violation)
}

/// Every kind of fault and every way out of it has occurred often.
fn assert_eventful(total: &Observed) {
    let of_topologies = [
        Kind::OldTopology,
        Kind::DuringHandover,
        Kind::Epoch,
        Kind::SupersededEpoch,
        Kind::MoreRanks,
        Kind::FewerRanks,
    ];
    let mut faults = Kind::ALL.into_iter().filter(|kind| !of_topologies.contains(kind));
    assert!(faults.all(|kind| total.fault(kind) > 20), "{total}");
    let branches = [Branch::Followed, Branch::ReadInPlace, Branch::FitFollowed, Branch::FitTaken];
    assert!(branches.into_iter().all(|branch| total.branch(branch) > 200), "{total}");
    assert!(total.branch(Branch::Adopted) > 5 && total.steps > 500_000, "{total}");
}
