//! One worker without others.

use crate::world::{Disturbance, MINUTE, World};

#[test]
fn crashes_outages_and_clock_steps_change_no_score_and_leave_no_gap() {
    let undisturbed = World::new(7).run(&Disturbance::none(), 180 * MINUTE);
    assert!(undisturbed.scores() > 3_000, "only {} scores", undisturbed.scores());
    let mut crashes = 0;
    let mut outages = 0;
    for seed in 0..24 {
        let disturbed = World::new(7).run(&Disturbance::from_seed(seed), 180 * MINUTE);
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
    let undisturbed = World::new(7).run(&Disturbance::none(), 120 * MINUTE);
    for seed in 100..112 {
        let disturbed = World::new(7).shifting().run(&Disturbance::from_seed(seed), 120 * MINUTE);
        assert!(disturbed.crashes > 0 && disturbed.outages > 0);
        assert_eq!(disturbed.rewritten_with_other_values, 0, "seed {seed}");
        assert_eq!(undisturbed.difference_of_times(disturbed.written()), None, "seed {seed}");
    }
}

#[test]
fn a_fit_that_takes_over_late_has_learnt_the_ticks_in_between() {
    let early = World::new(5).fit_lag(1).run(&Disturbance::none(), 120 * MINUTE);
    let late = World::new(5).fit_lag(6).run(&Disturbance::none(), 120 * MINUTE);
    let equal: Vec<bool> = early.equal_times(&late, "minutely").into_values().collect();
    let changes = equal.windows(2).filter(|pair| pair[0] != pair[1]).count();
    // Every 17 minutes, at 30 s a sample, up to five minutes differ: while one fit scores already and the other not yet.
    assert!(changes >= 2 * 5, "the fits made no difference: {changes} changes");
    assert!(equal.iter().filter(|equal| **equal).count() > equal.len() / 2);
}

#[test]
fn three_shards_write_together_what_one_writes() {
    let whole = World::new(11).run(&Disturbance::none(), 120 * MINUTE);
    let mut parts = World::new(11).shard(0, 3).run(&Disturbance::none(), 120 * MINUTE);
    for shard in 1..3 {
        let other = World::new(11).shard(shard, 3).run(&Disturbance::from_seed(shard.into()), 120 * MINUTE);
        assert!(other.scores() > 0 && other.scores() < whole.scores());
        parts.join(other);
    }
    parts.assert_same_scores(&whole, 0);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || World::new(3).run(&Disturbance::from_seed(5), 60 * MINUTE);
    let (first, second) = (run(), run());
    assert_eq!(first.steps, second.steps);
    first.assert_same_scores(&second, 5);
}
