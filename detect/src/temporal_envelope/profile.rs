//! What the calendar adds to a level: a value at each node of a day, a week or a year.

use std::{fmt, str::FromStr};

use super::bounded;
use crate::calendar::{DAY_MS, WallClock};
use crate::model::StateError;
use crate::score::{at_least, at_most};
use crate::state::{Reader, Writer, require};

/// The visits of a node that count: it forgets older ones.
const MAX_VISITS: f64 = 12.0;

/// The visits that are left to a node when the series has changed its level.
const VISITS_OF_ANOTHER_LEVEL: f64 = 6.0;

/// After how long a pattern repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Period {
    Day,
    Week,
    Year,
}

impl Period {
    pub const ALL: [Self; 3] = [Self::Day, Self::Week, Self::Year];

    pub const fn ms(self) -> f64 {
        let days = match self {
            Self::Day => 1.0,
            Self::Week => 7.0,
            Self::Year => 365.25,
        };
        days * DAY_MS as f64
    }

    /// After so long, ms, another level is no part of the pattern. It is shorter than the period, so that no node was visited
    /// a second time.
    pub const fn patience(self) -> f64 {
        match self {
            Self::Day => 0.75 * self.ms(),
            Self::Week | Self::Year => 0.5 * self.ms(),
        }
    }
}

/// A calendar profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seasonality {
    /// Hour of the day, a gradual curve through 96 nodes.
    HodSmooth,
    /// Hour of the day, narrow peaks: 288 slots of five minutes.
    HodSpiky,
    /// Hour of the day, a level for each of 24 hours.
    HodPlateau,
    /// Day of the week, a gradual curve through 56 nodes, one every three hours.
    DowSmooth,
    /// Day of the week, narrow peaks: 336 slots of half an hour.
    DowSpiky,
    /// Day of the week, a level for each of 7 days.
    DowPlateau,
    /// A level for Monday to Friday and one for Saturday and Sunday.
    WeekpartPlateau,
    /// Month of the year, a gradual curve through 12 nodes in the middles of the months.
    MonthSmooth,
    /// Month of the year, a level for each of 12 months.
    MonthPlateau,
}

/// A name that is no seasonality's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no seasonality, it must be hod_smooth, hod_spiky, hod_plateau, dow_smooth, dow_spiky, dow_plateau, \
     weekpart_plateau, month_smooth or month_plateau"
)]
pub struct SeasonalityError(String);

impl FromStr for Seasonality {
    type Err = SeasonalityError;

    fn from_str(text: &str) -> Result<Self, SeasonalityError> {
        let named = Self::ALL.into_iter().find(|seasonality| seasonality.name() == text);
        named.ok_or_else(|| SeasonalityError(text.into()))
    }
}

impl fmt::Display for Seasonality {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Seasonality {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::HodSmooth,
        Self::HodSpiky,
        Self::HodPlateau,
        Self::DowSmooth,
        Self::DowSpiky,
        Self::DowPlateau,
        Self::WeekpartPlateau,
        Self::MonthSmooth,
        Self::MonthPlateau,
    ];

    /// Its name in configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HodSmooth => "hod_smooth",
            Self::HodSpiky => "hod_spiky",
            Self::HodPlateau => "hod_plateau",
            Self::DowSmooth => "dow_smooth",
            Self::DowSpiky => "dow_spiky",
            Self::DowPlateau => "dow_plateau",
            Self::WeekpartPlateau => "weekpart_plateau",
            Self::MonthSmooth => "month_smooth",
            Self::MonthPlateau => "month_plateau",
        }
    }

    /// Values that its profile has.
    #[must_use]
    pub const fn nodes(self) -> usize {
        match self {
            Self::HodSmooth => 96,
            Self::HodSpiky => 288,
            Self::HodPlateau => 24,
            Self::DowSmooth => 56,
            Self::DowSpiky => 336,
            Self::DowPlateau => 7,
            Self::WeekpartPlateau => 2,
            Self::MonthSmooth | Self::MonthPlateau => 12,
        }
    }

    pub(super) const fn period(self) -> Period {
        match self {
            Self::HodSmooth | Self::HodSpiky | Self::HodPlateau => Period::Day,
            Self::DowSmooth | Self::DowSpiky | Self::DowPlateau | Self::WeekpartPlateau => Period::Week,
            Self::MonthSmooth | Self::MonthPlateau => Period::Year,
        }
    }

    pub(super) const fn is_spiky(self) -> bool {
        matches!(self, Self::HodSpiky | Self::DowSpiky)
    }

    const fn is_smooth(self) -> bool {
        matches!(self, Self::HodSmooth | Self::DowSmooth | Self::MonthSmooth)
    }

    /// Which day, or week, it is.
    pub(super) fn cycle(self, clock: WallClock) -> i64 {
        match self.period() {
            Period::Day => clock.days(),
            // 1970-01-05 was a Monday.
            Period::Week => (clock.days() - 4).div_euclid(7),
            Period::Year => clock.date().year.into(),
        }
    }

    /// The share of the period that has passed, in 0..1.
    fn phase(self, clock: WallClock) -> f64 {
        let days = clock.ms_of_day() as f64 / DAY_MS as f64;
        match self.period() {
            Period::Day => days,
            Period::Week => ((clock.weekday() - 1) as f64 + days) / 7.0,
            Period::Year => {
                let date = clock.date();
                let length = match date.month {
                    2 => 29.0,
                    4 | 6 | 9 | 11 => 30.0,
                    _ => 31.0,
                };
                (f64::from(date.month - 1) + (f64::from(date.day - 1) + days) / length) / 12.0
            }
        }
    }

    /// Where the profile is read and learnt at this time.
    pub(super) fn spot(self, clock: WallClock) -> Spot {
        let nodes = self.nodes();
        let width = self.period().ms() / nodes as f64;
        if self == Self::WeekpartPlateau {
            let is_weekend = clock.weekday() >= 6;
            let days = if is_weekend { 2.0 } else { 5.0 };
            return Spot::at(usize::from(is_weekend), days * DAY_MS as f64);
        }
        let position = self.phase(clock) * nodes as f64;
        if !self.is_smooth() {
            return Spot::at((position as usize).min(nodes - 1), width);
        }
        // Nodes are in the middles of their slots.
        let shifted = if position < 0.5 { position + nodes as f64 - 0.5 } else { position - 0.5 };
        let left = (shifted as usize).min(nodes - 1);
        let right = if left + 1 == nodes { 0 } else { left + 1 };
        Spot { left, right, share: (shifted - left as f64).clamp(0.0, 1.0), width }
    }
}

/// A place between two nodes of a profile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spot {
    left: usize,
    right: usize,
    /// Of the right node.
    share: f64,
    /// How long a node is visited at a time, ms.
    width: f64,
}

impl Spot {
    pub const fn at(node: usize, width: f64) -> Self {
        Self { left: node, right: node, share: 0.0, width }
    }
}

/// The values of a profile's nodes. A node's value is a mean of what its visits were worth, linearly less of older ones, then
/// exponentially.
///
/// What a sample is worth is limited, so that no spike is learnt. The nodes of a spiky profile remember what their last visit
/// was worth without a limit: a spike that comes at the same place again is learnt as far as it was there before.
#[derive(Debug, Clone, Default)]
pub(super) struct Profile {
    nodes: Box<[Node]>,
    /// What the nodes will be if the level comes back; meaningful while it is another one than the profile's.
    apart: Box<[Node]>,
    /// For each node of a spiky profile.
    echoes: Box<[Echo]>,
}

/// What the latest visits of a node were worth without a limit.
#[derive(Debug, Clone, Copy, Default)]
struct Echo {
    cycle: i64,
    latest: f64,
    /// In the cycle before.
    previous: f64,
}

impl Echo {
    /// The value of a sample of this cycle: at least `limited`, and more if there was more in the cycle before.
    fn hear(&mut self, cycle: i64, value: f64, limited: f64) -> f64 {
        if self.cycle == cycle {
            self.latest = self.latest.midpoint(value);
        } else {
            self.previous = if self.cycle.saturating_add(1) == cycle { self.latest } else { 0.0 };
            (self.cycle, self.latest) = (cycle, value);
        }
        if self.previous > 0.0 {
            at_least(at_most(value, self.previous), limited)
        } else {
            at_most(at_least(value, self.previous), limited)
        }
    }
}

/// What a sample teaches a profile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lesson {
    pub spot: Spot,
    pub cycle: i64,
    /// By how much the value at the spot should be greater, limited.
    pub residual: f64,
    /// The same without a limit.
    pub unlimited: f64,
    /// What the sample stands for, ms.
    pub elapsed: f64,
    /// Whether the copy learns.
    pub is_apart: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Node {
    value: f64,
    /// How often it was visited, in whole visits.
    visits: f32,
}

impl Node {
    /// The share of a deviation that it takes over in a visit.
    fn gain(self) -> f64 {
        (2.0 / (f64::from(self.visits) + 1.0)).min(1.0)
    }
}

impl Spot {
    fn mean(self, nodes: &[Node], of: impl Fn(Node) -> f64) -> f64 {
        let of = |node: usize| nodes.get(node).map_or(0.0, |node| of(*node));
        of(self.left) * (1.0 - self.share) + of(self.right) * self.share
    }
}

impl Profile {
    pub fn new(nodes: usize, is_spiky: bool) -> Self {
        let echoes = vec![Echo::default(); if is_spiky { nodes } else { 0 }].into();
        let nodes: Box<[Node]> = vec![Node::default(); nodes].into();
        Self { apart: nodes.clone(), nodes, echoes }
    }

    pub fn value(&self, spot: Spot) -> f64 {
        spot.mean(&self.nodes, |node| node.value)
    }

    /// Learns. The share of the residual that it takes over in a visit.
    pub fn learn(&mut self, lesson: Lesson) -> f64 {
        let Lesson { spot, cycle, residual, unlimited, elapsed, is_apart } = lesson;
        let now = self.value(spot);
        let residual = match self.echoes.get_mut(spot.left) {
            Some(echo) => echo.hear(cycle, unlimited, residual),
            None => residual,
        };
        let nodes = if is_apart { &mut self.apart } else { &mut self.nodes };
        let residual = bounded(residual + bounded(now - spot.mean(nodes, |node| node.value)));
        let share_taken = spot.mean(nodes, Node::gain);
        let visit = (elapsed / spot.width).min(1.0);
        for (node, share) in [(spot.left, 1.0 - spot.share), (spot.right, spot.share)] {
            let part = visit * share;
            if let Some(node) = nodes.get_mut(node).filter(|_| part > 0.0) {
                let visits = (f64::from(node.visits) + part).min(MAX_VISITS);
                node.visits = visits as f32;
                let gain = (part * 2.0 / (visits + 1.0)).min(1.0);
                node.value = bounded(node.value + gain * residual);
            }
        }
        share_taken
    }

    /// Learns apart from here on.
    pub fn part(&mut self) {
        self.apart.copy_from_slice(&self.nodes);
    }

    /// Takes over what was learnt apart.
    pub fn join(&mut self) {
        self.nodes.copy_from_slice(&self.apart);
    }

    /// Makes further visits count more.
    pub fn doubt(&mut self) {
        for node in &mut self.nodes {
            node.visits = node.visits.min(VISITS_OF_ANOTHER_LEVEL as f32);
        }
    }

    /// Appends the nodes, and those apart if they are wanted.
    pub fn save(&self, is_apart: bool, writer: &mut Writer<'_>) {
        let apart: &[Node] = if is_apart { &self.apart } else { &[] };
        for node in self.nodes.iter().chain(apart) {
            writer.f64(node.value);
            writer.u32(node.visits.to_bits());
        }
        for echo in &self.echoes {
            writer.u64(echo.cycle.cast_unsigned());
            writer.f64(echo.latest);
            writer.f64(echo.previous);
        }
    }

    pub fn load(&mut self, is_apart: bool, reader: &mut Reader<'_>) -> Result<(), StateError> {
        let mut load = |nodes: &mut [Node]| {
            for node in nodes {
                let (value, visits) = (reader.finite()?, f32::from_bits(reader.u32()?));
                let holds = visits.is_sign_positive() && f64::from(visits) <= MAX_VISITS;
                require(holds, "the visits of a node are out of range")?;
                require(visits > 0.0 || value.to_bits() == 0, "a node that was not visited has a value")?;
                *node = Node { value, visits };
            }
            Ok(())
        };
        load(&mut self.nodes)?;
        if is_apart {
            load(&mut self.apart)?;
        }
        for echo in &mut self.echoes {
            let cycle = reader.u64()?.cast_signed();
            *echo = Echo { cycle, latest: reader.finite()?, previous: reader.finite()? };
        }
        Ok(())
    }

    pub fn heap_bytes(&self) -> usize {
        2 * self.nodes.len() * size_of::<Node>() + self.echoes.len() * size_of::<Echo>()
    }

    /// Greatest size of a saved profile.
    pub const fn max_saved_bytes(nodes: usize, is_spiky: bool) -> usize {
        nodes * (2 * 12 + if is_spiky { 24 } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::Date;

    const HOUR: i64 = DAY_MS / 24;

    fn at(date: &str, ms: i64) -> WallClock {
        WallClock::new(date.parse::<Date>().unwrap().midnight().unwrap().ms() + ms)
    }

    #[test]
    fn names_are_read_back() {
        for seasonality in Seasonality::ALL {
            assert_eq!(seasonality.to_string().parse(), Ok(seasonality));
        }
        assert!("hod".parse::<Seasonality>().unwrap_err().to_string().starts_with("\"hod\" is no seasonality"));
    }

    #[test]
    fn plateaus_are_flat_and_smooth_profiles_are_lines_between_the_middles_of_their_slots() {
        let step = |seasonality: Seasonality, clock| {
            let spot = seasonality.spot(clock);
            (spot.left, spot.right, spot.share)
        };
        // 2024-02-25 was a Sunday.
        let clock = at("2024-02-25", 13 * HOUR + 1);
        assert_eq!(step(Seasonality::HodPlateau, clock), (13, 13, 0.0));
        assert_eq!(step(Seasonality::HodSpiky, clock), (156, 156, 0.0));
        assert_eq!(step(Seasonality::DowPlateau, clock), (6, 6, 0.0));
        assert_eq!(step(Seasonality::DowSpiky, clock), (314, 314, 0.0));
        assert_eq!(step(Seasonality::WeekpartPlateau, clock), (1, 1, 0.0));
        assert_eq!(step(Seasonality::MonthPlateau, clock), (1, 1, 0.0));
        let quarter = HOUR / 4;
        assert_eq!(step(Seasonality::HodSmooth, at("2024-02-25", quarter / 2)), (0, 1, 0.0));
        assert_eq!(step(Seasonality::HodSmooth, at("2024-02-25", quarter)), (0, 1, 0.5));
        assert_eq!(step(Seasonality::HodSmooth, at("2024-02-25", 0)), (95, 0, 0.5));
        assert_eq!(step(Seasonality::DowSmooth, at("2024-02-26", 3 * HOUR)), (0, 1, 0.5));
        assert_eq!(step(Seasonality::MonthSmooth, at("2024-12-31", DAY_MS / 2)).0, 11);
        assert_eq!(step(Seasonality::MonthSmooth, at("2024-01-01", 0)), (11, 0, 0.5));
    }

    fn lesson(residual: f64) -> Lesson {
        let spot = Spot::at(1, HOUR as f64);
        Lesson { spot, cycle: 0, residual, unlimited: residual, elapsed: HOUR as f64, is_apart: false }
    }

    #[test]
    fn a_visit_teaches_most_of_its_value_and_later_ones_less() {
        let mut profile = Profile::new(24, false);
        let spot = lesson(0.0).spot;
        let visit = |profile: &mut Profile, value: f64| {
            for _ in 0..60 {
                profile.learn(Lesson { elapsed: HOUR as f64 / 60.0, ..lesson(value - profile.value(spot)) });
            }
            profile.value(spot)
        };
        assert!((0.7..0.8).contains(&visit(&mut profile, 1.0)));
        assert!((0.3..0.4).contains(&visit(&mut profile, 0.0)));
        for _ in 0..30 {
            visit(&mut profile, 1.0);
        }
        assert!((profile.value(spot) - 1.0).abs() < 0.01);
        assert!((0.8..0.9).contains(&visit(&mut profile, 0.0)));
    }

    #[test]
    fn what_was_learnt_apart_counts_once_it_is_taken_over() {
        let mut profile = Profile::new(2, false);
        let spot = lesson(0.0).spot;
        profile.learn(lesson(5.0));
        profile.part();
        profile.learn(Lesson { is_apart: true, ..lesson(3.0) });
        profile.learn(Lesson { is_apart: true, ..lesson(3.0) });
        assert_eq!(profile.value(spot), 5.0);
        profile.join();
        assert!((7.0..8.0).contains(&profile.value(spot)), "towards 8: {}", profile.value(spot));
    }

    #[test]
    fn a_spiky_profile_learns_a_spike_that_comes_again_and_no_other() {
        let spike = |cycle| Lesson { cycle, residual: 1.0, unlimited: 100.0, ..lesson(0.0) };
        let after = |cycles: &[i64]| {
            let mut profile = Profile::new(2, true);
            for cycle in cycles {
                profile.learn(spike(*cycle));
            }
            profile.value(spike(0).spot)
        };
        assert!(after(&[1]) <= 1.0 && after(&[1, 3]) <= 2.0);
        assert!(after(&[1, 2]) > 50.0);
    }
}
