//! Models that see series together: the group is what is logged, stored, handed over and followed.

use std::sync::LazyLock;

use crate::{
    DATABASE,
    everything::in_parallel,
    world::{
        Disturbance, MINUTE, Outcome, World,
        deployment::{
            Deployment, Layout,
            observation::{Branch, Kind, Observed},
            schedule::Faults,
        },
    },
};

const DURATION: i64 = 150 * MINUTE;

static UNDISTURBED: LazyLock<Outcome> =
    LazyLock::new(|| World::new(DATABASE).multivariate().run(&Disturbance::none(), DURATION));

fn violation(observed: &Observed) -> Option<String> {
    observed.violation().or_else(|| UNDISTURBED.difference(&observed.written))
}

/// Scores of a model in an undisturbed run.
fn scores(model: &str) -> usize {
    let of_model = format!("\"model_alias\": \"{model}\"");
    UNDISTURBED
        .written()
        .keys()
        .filter(|(series, _)| series.starts_with("anomaly_score{") && series.contains(&of_model))
        .count()
}

#[test]
fn a_tick_of_a_query_is_read_once_for_all_models() {
    assert_eq!(UNDISTURBED.most_reads, 1);
}

#[test]
fn crashes_and_outages_change_no_score_of_a_group() {
    let (envelope, forest, single) = (scores("envelope"), scores("forest"), scores("mad"));
    assert!(envelope > 1_000 && forest > 1_000, "only {envelope} and {forest} scores");
    // Series come and go, and groups without one of theirs have no score; those that come between fits have one where the
    // class learns every sample.
    assert!(forest < single && forest < envelope, "{envelope} and {forest} of {single}");
    let seeds: Vec<u64> = (0..12).collect();
    let disturbed =
        in_parallel(&seeds, |seed| World::new(DATABASE).multivariate().run(&Disturbance::from_seed(seed), DURATION));
    assert!(disturbed.iter().map(|outcome| outcome.crashes).sum::<u64>() > 30);
    for (seed, outcome) in seeds.iter().zip(&disturbed) {
        assert_eq!((outcome.rewritten_with_other_values, outcome.unscheduled_refits), (0, 0), "seed {seed}");
        outcome.assert_same_scores(&UNDISTURBED, *seed);
    }
}

#[test]
fn groups_are_handed_over_between_shards_without_a_refit_and_no_score_changes() {
    for (ranks, seed) in [(1, 300), (2, 302)] {
        let layout = Layout { shards: 1, ranks, most_shards: 5, most_ranks: 0, hasty: false, failover: false };
        let observed = Deployment::multivariate(DATABASE, layout, seed).run(Faults::NONE, DURATION);
        assert_eq!(violation(&observed), None, "seed {seed}");
        assert!(observed.fault(Kind::Epoch) > 2 && observed.branch(Branch::Joined) > 20, "{observed}");
        assert_eq!(
            observed.branch(Branch::Adopted),
            0,
            "seed {seed}: a state was given up, and nothing had gone wrong"
        );
    }
}

#[test]
fn whatever_goes_wrong_groups_keep_their_scores() {
    let seeds: Vec<u64> = (401..407).filter(|seed| seed % 7 >= 3).collect();
    for (seed, wrong) in seeds.iter().zip(in_parallel(&seeds, |seed| {
        let layout = Layout {
            shards: 1 + (seed % 2) as u32,
            ranks: 1 + (seed % 3) as u32,
            most_shards: 5,
            most_ranks: 3,
            hasty: seed % 4 > 1,
            failover: seed % 5 < 2,
        };
        violation(&Deployment::multivariate(DATABASE, layout, seed).run(Faults::ALL, DURATION))
    })) {
        assert_eq!(wrong, None, "seed {seed}");
    }
}
