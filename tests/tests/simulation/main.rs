//! The production loop in a seeded world of its own: virtual time, disks and a TSDB in memory, faults at moments that the
//! seed decides. Whatever happens, the scores must be those of an undisturbed run.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "functions that tests share are tests, too")]

mod alone;
mod everything;
mod multivariate;
mod replicas;
mod resharding;
mod rules;
mod shortened;
mod world;

use std::sync::LazyLock;

use world::{Disturbance, MINUTE, Outcome, World, deployment::observation::Observed};

/// One worker that nothing happens to, with the database that the deployments have.
static UNDISTURBED: LazyLock<Outcome> = LazyLock::new(|| World::new(DATABASE).run(&Disturbance::none(), DURATION));
/// Seed of the database.
const DATABASE: u64 = 7;
/// Of a run in virtual time, ms.
const DURATION: i64 = 180 * MINUTE;

/// What is wrong with a run of [`DURATION`]. With a TSDB that always answers the same, every score is that of an
/// undisturbed worker.
fn violation(observed: &Observed, is_shifting: bool) -> Option<String> {
    observed.violation().or_else(|| match is_shifting {
        true => UNDISTURBED.difference_of_times(&observed.written),
        false => UNDISTURBED.difference(&observed.written),
    })
}
