//! Schedules that show a violation get shorter.

use worker::peers::Rule;

use crate::{
    replicas::shifting,
    world::{deployment::schedule::Faults, shortening::shorten},
};

#[test]
fn a_shortened_schedule_has_fewer_events_and_still_shows_what_is_wrong() {
    let run = |left_out: &_| shifting(Faults::PAUSES, 200, left_out, Some(Rule::AskAgain));
    let (observed, violation) = run(&Default::default());
    let violation = violation.expect("a pause while a worker reads");
    let shortened = shorten((&observed, violation), 12, run);
    println!("of {} events, {shortened}", observed.happened.len());
    assert!(shortened.events.len() <= 3 && shortened.events.len() < observed.happened.len(), "{shortened}");
    let (again, violation) = run(&shortened.left_out);
    assert_eq!(violation.as_ref(), Some(&shortened.violation));
    assert_eq!(again.happened, shortened.events, "leaving others out has shifted nothing");
}
