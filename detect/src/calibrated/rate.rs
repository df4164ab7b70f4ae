//! How rare alarms are to be: the factor of the thresholds that an asked rate gives.

use super::maxima::BLOCKS;
use crate::argument::{ArgumentError, Arguments};
use crate::calendar::DAY_MS;
use crate::score::{at_least, at_most};

/// Alarms that a series is to have by chance, a day, unless it is said otherwise. It is what the factor of the threshold was chosen
/// for, on labelled series; how near single series come to it says `docs/detection-quality.md`.
pub const FALSE_ALARMS_PER_DAY: f64 = 0.1;

/// The rarest rate that can be asked for: an alarm in three years. The latest 60 days of a series say nothing of what is rarer.
pub const MIN_FALSE_ALARMS_PER_DAY: f64 = 0.001;

/// The highest rate that can be asked for.
pub const MAX_FALSE_ALARMS_PER_DAY: f64 = 10.0;

/// What the exponent is of series in general, and as how many blocks that counts.
const PRIOR_EXPONENT: f64 = 0.25;
const PRIOR_BLOCKS: f64 = 10.0;

/// Between them is every exponent.
const EXPONENTS: (f64, f64) = (0.05, 1.0);

/// Alarms of the usual rate in a block up to which a block says something of the exponent. In longer ones, of steps of seven hours and
/// more, one alarm a block is hardly more frequent than the usual rate.
const MOST_IN_BLOCK: f64 = 0.35;

/// Samples a day at which a block that has an alarm has one, and how their number grows with more samples: the samples that an alarm is
/// told once for last less long.
const SAMPLES_OF_ONE: f64 = 288.0;
const GROWTH: f64 = 0.25;

/// A rate that is asked for, for blocks of one length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rate {
    /// How much rarer than usual alarms are to be: 1 at [`FALSE_ALARMS_PER_DAY`].
    rarity: f64,
    /// Logarithm of the alarms of the usual rate in a block; `None` where blocks are too long.
    usual_in_block: Option<f64>,
    /// Share of the blocks that have no alarm where there is one a block.
    without_alarm: f64,
}

impl Rate {
    /// [`FALSE_ALARMS_PER_DAY`], of blocks of any length.
    pub(super) const USUAL: Self = Self { rarity: 1.0, usual_in_block: None, without_alarm: 1.0 };

    /// Of so many alarms a day, in blocks of so many ms, of a series with so many samples a day.
    pub(super) fn new(per_day: f64, block: i64, samples_a_day: f64) -> Self {
        let in_block = FALSE_ALARMS_PER_DAY * block as f64 / DAY_MS as f64;
        let usual_in_block = (in_block <= MOST_IN_BLOCK).then(|| libm::log(in_block));
        let without_alarm = libm::exp(-libm::pow(SAMPLES_OF_ONE / samples_a_day, GROWTH));
        Self { rarity: FALSE_ALARMS_PER_DAY / per_day, usual_in_block, without_alarm }
    }

    /// Refuses a rate that is outside its range.
    pub(super) fn validate(per_day: f64) -> Result<(), ArgumentError> {
        let holds = (MIN_FALSE_ALARMS_PER_DAY..=MAX_FALSE_ALARMS_PER_DAY).contains(&per_day);
        Arguments("calibrated").require("false_alarms_per_day", per_day, "from 0.001 to 10", holds)
    }

    /// Whether it is [`FALSE_ALARMS_PER_DAY`], of which the factor is 1.
    #[inline]
    pub(super) fn is_usual(&self) -> bool {
        self.rarity == 1.0
    }

    /// The factor of the thresholds of a series of which nothing is known.
    pub(super) fn prior_factor(&self) -> f64 {
        self.factor(PRIOR_EXPONENT)
    }

    /// The factor of the thresholds of a series whose blocks have these greatest deviations, in margins of the usual rate; in any
    /// order, which is lost.
    pub(super) fn own_factor(&self, greatest: &mut [f64]) -> f64 {
        let Some(usual_in_block) = self.usual_in_block else { return self.prior_factor() };
        let count = greatest.len() as f64;
        let once_a_block = quantile(greatest, self.without_alarm);
        let exponent = libm::log(once_a_block) / usual_in_block;
        let exponent = at_most(at_least(exponent, EXPONENTS.0), EXPONENTS.1);
        self.factor((count * exponent + PRIOR_BLOCKS * PRIOR_EXPONENT) / (count + PRIOR_BLOCKS))
    }

    fn factor(&self, exponent: f64) -> f64 {
        libm::pow(self.rarity, exponent)
    }
}

/// A quantile of some numbers, linear between two of them; at most [`BLOCKS`], at least one. They are sorted afterwards.
pub(super) fn quantile(numbers: &mut [f64], share: f64) -> f64 {
    debug_assert!((1..=BLOCKS).contains(&numbers.len()));
    numbers.sort_unstable_by(f64::total_cmp);
    let position = share * (numbers.len() - 1) as f64;
    let below = position as usize;
    let (low, high) = (numbers[below], numbers[(below + 1).min(numbers.len() - 1)]);
    low + (position - below as f64) * (high - low)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 12 hours.
    const BLOCK: i64 = DAY_MS / 2;

    #[test]
    fn the_usual_rate_changes_nothing_and_a_rarer_one_makes_thresholds_greater() {
        let factor = |rate: f64| Rate::new(rate, BLOCK, 288.0).own_factor(&mut [0.5; 40]);
        assert_eq!(factor(FALSE_ALARMS_PER_DAY), 1.0);
        assert_eq!(Rate::new(FALSE_ALARMS_PER_DAY, BLOCK, 288.0).prior_factor(), 1.0);
        let rates = [MIN_FALSE_ALARMS_PER_DAY, 0.02, 0.1, 0.5, 2.0, MAX_FALSE_ALARMS_PER_DAY];
        let factors = rates.map(factor);
        assert!(factors.windows(2).all(|pair| pair[0] > pair[1]), "{factors:?}");
    }

    #[test]
    fn a_series_whose_every_block_is_near_the_threshold_has_a_factor_nearer_to_1() {
        let at = |size: f64, rate: f64| Rate::new(rate, BLOCK, 288.0).own_factor(&mut [size; 120]);
        assert!(at(0.9, 2.0) > at(0.3, 2.0) && at(0.9, 2.0) < 1.0);
        assert!(at(0.9, 0.01) < at(0.3, 0.01) && at(0.9, 0.01) > 1.0);
        // One alarm a block: of very many blocks alike, it is their size.
        let exponent = libm::log(0.4) / libm::log(0.05);
        let expected = libm::pow(1.0 / 20.0, (120.0 * exponent + 2.5) / 130.0);
        assert!((at(0.4, 2.0) - expected).abs() < 1e-12);
    }

    #[test]
    fn the_finer_the_step_the_nearer_to_the_threshold_is_what_is_exceeded_once_a_block() {
        let sizes: [f64; 100] = std::array::from_fn(|block| (block + 1) as f64 / 100.0);
        let at = |samples_a_day: f64| Rate::new(2.0, BLOCK, samples_a_day).own_factor(&mut sizes.clone());
        assert!(at(24.0) < at(288.0) && at(288.0) < at(1440.0) && at(1440.0) < 1.0);
    }

    #[test]
    fn no_sizes_of_blocks_give_another_factor_than_the_range_of_exponents_allows() {
        for sizes in [[0.0; 5], [1e30; 5], [1.0; 5]] {
            for rate in [MIN_FALSE_ALARMS_PER_DAY, MAX_FALSE_ALARMS_PER_DAY] {
                let factor = Rate::new(rate, BLOCK, 288.0).own_factor(&mut sizes.clone());
                assert!((0.01..=100.0).contains(&factor), "{sizes:?} {rate}: {factor}");
            }
        }
    }

    #[test]
    fn blocks_of_weeks_say_nothing_of_the_exponent() {
        let rate = Rate::new(0.5, 12 * DAY_MS, 1.0);
        assert_eq!(rate.own_factor(&mut [0.9; 50]), rate.prior_factor());
    }
}
