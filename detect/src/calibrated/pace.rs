//! What follows from the step of a series: how many slots, how long memories are, and where a time is among them.

use super::maxima::{FEW_BLOCKS, Rule};
use super::prediction::FIRST_SCORED;
use super::rate::Rate;
use super::recipe::Recipe;
use crate::calendar::{DAY_MS, WallClock, Zone};
use crate::score::{at_least, at_most};

const HOUR_MS: i64 = DAY_MS / 24;

/// Levels of an expert, and residuals: how soon they follow.
pub(super) const SPEEDS: usize = 3;
pub(super) const FAST: usize = 0;
pub(super) const MID: usize = 1;
pub(super) const SLOW: usize = 2;

/// Most slots of the daily profile, and of the weekly one for each day.
const DAILY_SLOTS: f64 = 288.0;
const WEEKLY_SLOTS_A_DAY: f64 = 48.0;

/// The numbers that a step, a recipe and a rate of alarms give. Gains are those of a memory that is full.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pace {
    pub(super) recipe: &'static Recipe,
    /// `nd`.
    samples_a_day: f64,
    pub(super) daily_slots: usize,
    pub(super) weekly_slots: usize,
    /// Length of a block, ms.
    pub(super) block: i64,
    pub(super) level_gains: [f64; SPEEDS],
    pub(super) error_gain: f64,
    pub(super) size_gain: f64,
    pub(super) recent_gain: f64,
    pub(super) loss_gain: f64,
    pub(super) hour_gain: f64,
    pub(super) daily_gain: f64,
    pub(super) weekly_gain: f64,
    pub(super) drift_gain: f64,
    /// In which the logarithm of an alarm's height falls to its e-th part, ms.
    pub(super) hold: f64,
    /// `T0`.
    pub(super) prior_threshold: f64,
    pub(super) rate: Rate,
    /// Whether the height of the latest alarm has to be exceeded.
    pub(super) once_per_incident: bool,
}

impl Pace {
    /// Of a step in ms, where one that is not above 0 is 1 ms, and of so many false alarms a day.
    pub(super) fn new(step: i64, recipe: &'static Recipe, false_alarms_per_day: f64) -> Self {
        let step = step.max(1);
        let samples_in = |span: i64| span as f64 / step as f64;
        let samples_a_day = samples_in(DAY_MS);
        let slots_a_day = |most: f64| at_most(at_least(samples_a_day, 1.0), most) as usize;
        let (daily_slots, weekly_slots) = (slots_a_day(DAILY_SLOTS), 7 * slots_a_day(WEEKLY_SLOTS_A_DAY));
        let slow = at_least(samples_a_day, 48.0);
        let levels = [5.0, at_least(samples_in(HOUR_MS), 24.0), slow];
        let sizes = at_least(recipe.size_days * samples_a_day, 200.0);
        let hold = recipe.hold.map_or(1.0, |hold| at_most(hold.hours * HOUR_MS as f64, hold.steps * step as f64));
        let block = step.saturating_mul(12).max(recipe.block_hours * HOUR_MS);
        Self {
            recipe,
            samples_a_day,
            daily_slots,
            weekly_slots,
            block,
            level_gains: levels.map(|samples| 1.0 / samples),
            error_gain: 1.0 / at_least(2.0 * samples_a_day, slow),
            size_gain: 1.0 / sizes,
            recent_gain: 1.0 / at_least(samples_in(16 * HOUR_MS), 6.0),
            loss_gain: 1.0 / at_least(3.0 * samples_a_day, 50.0),
            hour_gain: 1.0 / at_least(sizes / 24.0, 20.0),
            daily_gain: 0.15 / at_least(samples_a_day / daily_slots as f64, 1.0),
            weekly_gain: 0.3 / at_least(7.0 * samples_a_day / weekly_slots as f64, 1.0),
            drift_gain: 1.0 / at_least(samples_in(8 * HOUR_MS), 10.0),
            hold,
            prior_threshold: 4.13 * libm::pow(samples_a_day / 1440.0, 0.05),
            rate: Rate::new(false_alarms_per_day, block, samples_a_day),
            once_per_incident: true,
        }
    }

    /// From now on, so many false alarms a day.
    pub(super) fn set_false_alarms(&mut self, per_day: f64) {
        self.rate = Rate::new(per_day, self.block, self.samples_a_day);
    }

    /// How thresholds follow from the maxima of blocks, by view.
    pub(super) fn rule(&self) -> Rule {
        let Recipe { views, quantile, quantile_factor, caution, view_factors, .. } = *self.recipe;
        Rule {
            rings: views,
            quantile,
            factor: quantile_factor,
            prior: self.prior_threshold,
            caution,
            rate: self.rate,
            ring_factors: view_factors,
        }
    }

    /// Blocks of a span, ms.
    pub(super) fn blocks_in(&self, span: i64) -> f64 {
        span as f64 / self.block as f64
    }

    /// After how long a threshold is the series' own, ms: blocks count from the first sample that is scored on.
    pub(super) fn own_threshold_after(&self) -> i64 {
        let before = (DAY_MS as f64 / self.samples_a_day * FIRST_SCORED as f64) as i64;
        self.block.saturating_mul(FEW_BLOCKS as i64).saturating_add(before)
    }

    /// Where a time (ms) is on the clocks of a zone.
    pub(super) fn moment(&self, zone: &Zone, time: i64) -> Moment {
        let clock = zone.wall_clock(time);
        let of_day = clock.ms_of_day();
        // The week starts on Sunday.
        let of_week = (clock.days() + 4).rem_euclid(7) * DAY_MS + of_day;
        let is_shared = |slots: usize, days: f64| days * self.samples_a_day > slots as f64;
        Moment {
            time,
            block: time.div_euclid(self.block),
            hour: hour(clock),
            daily: Spot::new(of_day, DAY_MS, self.daily_slots, is_shared(self.daily_slots, 1.0)),
            weekly: Spot::new(of_week, 7 * DAY_MS, self.weekly_slots, is_shared(self.weekly_slots, 7.0)),
        }
    }
}

fn hour(clock: WallClock) -> usize {
    usize::try_from(clock.hour()).unwrap_or_default()
}

/// A time, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Moment {
    /// ms.
    pub(super) time: i64,
    /// Number of the block.
    pub(super) block: i64,
    /// 0 to 23.
    pub(super) hour: usize,
    pub(super) daily: Spot,
    pub(super) weekly: Spot,
}

/// A place in a profile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spot {
    /// The slot that it is in.
    pub(super) slot: usize,
    /// The slots between whose centres it is; the same where a slot holds one sample.
    pub(super) earlier: usize,
    pub(super) later: usize,
    /// How much of the later one, 0 to 1.
    pub(super) share: f64,
}

impl Spot {
    /// So many ms after the start of a cycle, of a number of slots of which each holds several samples, or one.
    fn new(elapsed: i64, cycle: i64, slots: usize, is_shared: bool) -> Self {
        let slot = (elapsed * slots as i64 / cycle) as usize;
        if !is_shared {
            return Self { slot, earlier: slot, later: slot, share: 0.0 };
        }
        let place = (elapsed * slots as i64) as f64 / cycle as f64 - 0.5;
        let earlier = place.floor();
        let wrapped = |slot: i64| slot.rem_euclid(slots as i64) as usize;
        let (first, share) = (earlier as i64, place - earlier);
        Self { slot, earlier: wrapped(first), later: wrapped(first + 1), share }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rate::FALSE_ALARMS_PER_DAY;
    use super::*;

    fn pace(step: i64) -> Pace {
        Pace::new(step, &Recipe::CURRENT, FALSE_ALARMS_PER_DAY)
    }

    #[test]
    fn slots_are_those_of_the_samples_of_a_day_up_to_five_and_thirty_minutes() {
        let slots = |step| {
            let pace = pace(step);
            (pace.daily_slots, pace.weekly_slots)
        };
        assert_eq!([1_000, 60_000, 300_000].map(slots), [(288, 336); 3]);
        assert_eq!([1_800_000, HOUR_MS, DAY_MS, 7 * DAY_MS].map(slots), [(48, 336), (24, 168), (1, 7), (1, 7)]);
        assert_eq!(slots(i64::MAX), (1, 7));
        assert_eq!(slots(-1), (288, 336));
    }

    #[test]
    fn between_the_centres_of_slots_a_place_belongs_to_both() {
        // A slot of the day is five minutes: a quarter past its centre at 3:45.
        let spot = pace(60_000).moment(&Zone::default(), 225_000).daily;
        assert_eq!((spot.slot, spot.earlier, spot.later, spot.share), (0, 0, 1, 0.25));
        let before_midnight = pace(60_000).moment(&Zone::default(), 0).daily;
        assert_eq!((before_midnight.slot, before_midnight.earlier, before_midnight.later), (0, 287, 0));
        let single = pace(300_000).moment(&Zone::default(), 225_000).daily;
        assert_eq!((single.slot, single.earlier, single.later, single.share), (0, 0, 0, 0.0));
    }

    #[test]
    fn hours_and_weeks_are_those_of_the_zone_and_blocks_those_of_utc() {
        let kolkata = Zone::named("Asia/Kolkata").unwrap();
        // Saturday, 1970-01-03 20:00 UTC is Sunday 01:30 in Kolkata.
        let time = 2 * DAY_MS + 20 * HOUR_MS;
        let pace = pace(1_800_000);
        let (here, there) = (pace.moment(&Zone::default(), time), pace.moment(&kolkata, time));
        assert_eq!((here.hour, here.weekly.slot, here.block), (20, 6 * 48 + 40, 5));
        assert_eq!((there.hour, there.weekly.slot, there.block), (1, 3, 5));
    }
}
