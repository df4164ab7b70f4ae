//! For a while after an alarm only what is higher than it is another one.
//!
//! What is kept is the logarithm of the alarm's height, 0 without one: it fades, and the height tends to 1.

use super::state::bounded;
use crate::score::{at_least, at_most};

/// What is left of it so many ms later, if it falls to its e-th part in `memory` ms.
pub(super) fn at(hold: f64, elapsed: i64, memory: f64) -> f64 {
    /// The height of less than this is 1.
    const GONE: f64 = f64::EPSILON / 4.0;
    if hold == 0.0 {
        return 0.0;
    }
    let hold = hold * libm::exp(-(elapsed.max(0) as f64) / memory);
    if hold < GONE { 0.0 } else { hold }
}

/// The height that only a new alarm exceeds.
pub(super) fn height(hold: f64) -> f64 {
    if hold > 0.0 { bounded(libm::exp(hold)) } else { 1.0 }
}

/// The score of a distance: by how many heights it is beyond the height, or what it is itself, at most `highest_held`.
pub(super) fn beyond(distance: f64, height: f64, highest_held: f64) -> f64 {
    if distance > height { distance / height } else { at_most(distance, highest_held) }
}

/// What it is after a distance, from what is left of it then.
pub(super) fn after(hold: f64, distance: f64) -> f64 {
    if distance > 1.0 { at_least(hold, libm::log(distance)) } else { hold }
}
