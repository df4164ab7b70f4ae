//! The choices and constants that make the class what it is, and those that it had at first.

use super::views::VIEWS;

/// Which views there are, how long memories are, and how a threshold follows from what a series did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Recipe {
    /// As it is named where states must not be mixed up; empty for the class's own.
    pub(super) name: &'static str,
    /// How many of the views there are, the first ones.
    pub(super) views: usize,
    /// Length of a block, hours.
    pub(super) block_hours: i64,
    /// Which quantile of the greatest `z` of blocks counts, and what it is multiplied by.
    pub(super) quantile: f64,
    pub(super) quantile_factor: f64,
    /// Share of `L2` in `sigma`.
    pub(super) floor: f64,
    /// Exponent of `E / L1`.
    pub(super) unrest: f64,
    /// Memory of `L1` and `L2`, days.
    pub(super) size_days: f64,
    /// By what part of itself a threshold is greater before there are blocks.
    pub(super) caution: f64,
    /// Factor of the threshold by view.
    pub(super) view_factors: [f64; VIEWS],
    /// Least margin by view, in quanta of the value; that of the drift in those of a mean.
    pub(super) quanta: [f64; VIEWS],
    pub(super) hold: Option<Hold>,
    /// Whether what stood still counts no more once it moves.
    pub(super) has_onset: bool,
}

/// For how long only what goes beyond an alarm is another one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Hold {
    /// The height of an alarm fades over so many hours, or so many steps of the series if that is shorter.
    pub(super) hours: f64,
    pub(super) steps: f64,
    /// Highest score of what is none.
    pub(super) highest_held: f64,
}

impl Recipe {
    /// That of the class.
    pub(super) const CURRENT: Self = Self {
        name: "",
        views: VIEWS,
        block_hours: 12,
        quantile: 0.65,
        quantile_factor: 1.587,
        floor: 0.2,
        unrest: 0.5,
        size_days: 4.0,
        caution: 0.5,
        view_factors: [1.0, 1.0, 1.3, 1.1],
        quanta: [1.5, 1.5, 0.75, 1.5],
        hold: Some(Hold { hours: 5.0, steps: 30.0, highest_held: 0.999 }),
        has_onset: true,
    };

    /// That of the channels of a group.
    pub(super) const CHANNEL: Self = Self { caution: 0.0, ..Self::CURRENT };

    /// That of the class at first: the fast and the slow view, without quanta, hold, onset and caution.
    pub(super) const ORIGINAL: Self = Self {
        name: "original",
        views: 2,
        block_hours: 8,
        quantile: 0.75,
        quantile_factor: 1.475,
        floor: 0.1,
        unrest: 0.6,
        size_days: 5.0,
        caution: 0.0,
        view_factors: [1.0; VIEWS],
        quanta: [0.0; VIEWS],
        hold: None,
        has_onset: false,
    };
}
