//! `args.bounds` of `holtwinters`: ranges of what is estimated.

use crate::fields::Fields;
use crate::problem::Problems;
use crate::schema::{Domain, Key, Kind, Presence, Section};
use crate::worker::SmoothingBounds;

const PAIR: Kind = Kind::Numbers(Domain::Share);

pub(crate) const BOUNDS: Section = Section {
    title: "`models.<alias>.args.bounds` of class `holtwinters`",
    about: "Ranges `[lowest, highest]` of what is estimated. Whatever they say, `smoothing_trend` is at most `smoothing_level`, and `smoothing_seasonal` at most 1 less `smoothing_level`.",
    keys: &[
        Key::new("smoothing_level", PAIR, Presence::Default("[0, 1]"), "Of `smoothing_level`."),
        Key::new("smoothing_trend", PAIR, Presence::Absent("`[0, 1]`"), "Of `smoothing_trend`; only with a trend."),
        Key::new(
            "smoothing_seasonal",
            PAIR,
            Presence::Default("[0, 1]"),
            "Of `smoothing_seasonal`; only with a season.",
        ),
        Key::new(
            "damping_trend",
            PAIR,
            Presence::Absent("`[0.8, 0.995]`"),
            "Of `damping_trend`; only with a damped trend, and the lowest above 0.",
        ),
        Key::refused("initial_level", "ranges of initial states; give them with `initialization_method: known`"),
        Key::refused("initial_trend", "ranges of initial states; give them with `initialization_method: known`"),
    ],
};

/// The ranges that `args` has; `exists` says of trend, season and damped trend whether they are there.
pub(super) fn bounds(args: &Fields<'_>, exists: [bool; 3], problems: &mut Problems) -> SmoothingBounds {
    let usual = SmoothingBounds::default();
    let Some(fields) = args.inner("bounds", &BOUNDS, problems) else { return usual };
    let [has_trend, has_season, is_damped] = exists;
    let mut pair = |name: &'static str, exists: bool, usual: [f64; 2]| {
        if fields.raw(name).is_none() {
            return usual;
        }
        if !exists {
            fields.conflict(name, format!("the model has no `{name}`"), problems);
        } else if args.raw(name).is_some() {
            fields.warn(name, format!("has no effect here: `args.{name}` is given and not estimated"), problems);
        }
        let Some(numbers) = fields.numbers(name, problems) else { return usual };
        match numbers[..] {
            [low, high] if low < high && (name != "damping_trend" || low > 0.0) => [low, high],
            [low, high] if low < high => {
                fields.conflict(name, format!("the lowest must be above 0, it is {low}"), problems);
                usual
            }
            _ => {
                fields.conflict(name, "must be two numbers `[lowest, highest]`, the first below the second", problems);
                usual
            }
        }
    };
    let bounds = SmoothingBounds {
        smoothing_level: pair("smoothing_level", true, usual.smoothing_level),
        smoothing_trend: pair("smoothing_trend", has_trend, usual.smoothing_trend),
        smoothing_seasonal: pair("smoothing_seasonal", has_season, usual.smoothing_seasonal),
        damping_trend: pair("damping_trend", is_damped, usual.damping_trend),
    };
    if bounds.smoothing_trend[0] > bounds.smoothing_level[1] {
        fields.conflict("smoothing_trend", "the lowest must be at most the highest `smoothing_level`", problems);
    }
    if bounds.smoothing_seasonal[0] > 1.0 - bounds.smoothing_level[0] {
        let reason = "the lowest must be at most 1 less the lowest `smoothing_level`";
        fields.conflict("smoothing_seasonal", reason, problems);
    }
    bounds
}
