//! The fewest events of a schedule that still show what is wrong.

use super::deployment::{
    observation::{Happened, Observed},
    schedule::LeftOut,
};

/// A schedule that shows a violation.
pub struct Shortened {
    pub events: Vec<Happened>,
    pub violation: String,
    /// Everything else, as far as it would have happened.
    pub left_out: LeftOut,
    /// Runs that were needed to find it.
    pub runs: usize,
}

impl std::fmt::Display for Shortened {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { events, violation, runs, .. } = self;
        write!(formatter, "with {} events (after {runs} runs): {violation:.900}", events.len())?;
        events.iter().try_for_each(|event| write!(formatter, "\n    {event}"))
    }
}

/// Leaves out halves of the events, then quarters, and so on, as long as something is wrong without them, in at most
/// `most` runs. `run` makes a run without some events.
pub fn shorten(
    first: (&Observed, String),
    most: usize,
    run: impl Fn(&LeftOut) -> (Observed, Option<String>),
) -> Shortened {
    let (observed, violation) = first;
    let mut shortest = Shortened { events: observed.happened.clone(), violation, left_out: LeftOut::new(), runs: 0 };
    let mut chunk = shortest.events.len().div_ceil(2);
    while chunk > 0 {
        let mut at = 0;
        while at < shortest.events.len() && shortest.runs < most {
            let without = shortest.events.iter().skip(at).take(chunk).map(|event| event.number);
            let without: LeftOut = without.chain(shortest.left_out.iter().copied()).collect();
            let (observed, violation) = run(&without);
            shortest.runs += 1;
            match violation {
                // What would not have happened then, such as a pause that waited for its moment, is not needed either.
                Some(violation) if observed.happened.len() < shortest.events.len() => {
                    shortest.left_out = without;
                    (shortest.events, shortest.violation) = (observed.happened, violation);
                }
                _ => at += chunk,
            }
        }
        chunk = if shortest.runs < most { chunk / 2 } else { 0 };
    }
    shortest
}
