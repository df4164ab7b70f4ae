//! The time of a point as features.

use super::args::SeasonalFeature;
use crate::calendar::{WallClock, Zone};

/// The seasonal features of civil time: each is a sine and a cosine of the angle `2 pi phase / phases`, with the phase counted from
/// 0 at the start of the hour, at midnight, on Monday and in January.
#[derive(Debug)]
pub(super) struct Seasons {
    zone: Zone,
    /// Sine and cosine of each phase, by feature.
    cycles: Vec<(SeasonalFeature, Vec<[f32; 2]>)>,
}

impl Seasons {
    pub(super) fn new(features: &[SeasonalFeature], zone: Zone) -> Self {
        let cycle = |feature: &SeasonalFeature| (*feature, angles(phases(*feature)));
        Self { zone, cycles: features.iter().map(cycle).collect() }
    }

    /// How many numbers the features are.
    pub(super) fn len(&self) -> usize {
        2 * self.cycles.len()
    }

    /// Writes the features of a time (ms).
    #[inline]
    pub(super) fn fill(&self, time: i64, features: &mut [f32]) {
        if self.cycles.is_empty() {
            return;
        }
        let clock = self.zone.wall_clock(time);
        for (pair, (feature, angles)) in features.chunks_exact_mut(2).zip(&self.cycles) {
            pair.copy_from_slice(&angles[phase(*feature, clock)]);
        }
    }
}

const fn phases(feature: SeasonalFeature) -> usize {
    match feature {
        SeasonalFeature::Minute => 60,
        SeasonalFeature::HourOfDay => 24,
        SeasonalFeature::DayOfWeek => 7,
        SeasonalFeature::Month => 12,
    }
}

/// From 0, below [`phases`].
fn phase(feature: SeasonalFeature, clock: WallClock) -> usize {
    let phase = match feature {
        SeasonalFeature::Minute => clock.minute(),
        SeasonalFeature::HourOfDay => clock.hour(),
        SeasonalFeature::DayOfWeek => clock.weekday() - 1,
        SeasonalFeature::Month => i64::from(clock.date().month) - 1,
    };
    phase as usize
}

fn angles(phases: usize) -> Vec<[f32; 2]> {
    let angle = |phase| std::f64::consts::TAU * phase as f64 / phases as f64;
    (0..phases).map(angle).map(|angle| [libm::sin(angle) as f32, libm::cos(angle) as f32]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-06-30 22:30:00 UTC, a Sunday; in Berlin Monday, the first of July, half past midnight.
    const TIME: i64 = 1_719_786_600_000;

    fn rounded(zone: Zone) -> [i32; 8] {
        let mut features = [0.0; 8];
        Seasons::new(&SeasonalFeature::ALL, zone).fill(TIME, &mut features);
        features.map(|number| (100.0 * number).round() as i32)
    }

    #[test]
    fn features_are_the_angles_of_civil_time() {
        // Half past; 22 of 24 hours; the seventh day; the sixth month.
        assert_eq!(rounded(Zone::default()), [0, -100, -50, 87, -78, 62, 50, -87]);
        // Half past; midnight; the first day; the seventh month.
        assert_eq!(rounded(Zone::named("Europe/Berlin").unwrap()), [0, -100, 0, 100, 0, 100, 0, -100]);
    }
}
