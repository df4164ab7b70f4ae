//! What a calendar profile is measured from.

use super::bounded;
use super::profile::Period;
use crate::model::StateError;
use crate::score::at_most;
use crate::state::{Reader, Writer, damaged, require};

/// A mean over a period, and whether the level left it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Base {
    /// How long it has been learnt, ms.
    pub age: f64,
    pub mean: f64,
    /// The mean of the mean, from which a trend shows.
    pub mean_of_mean: f64,
    pub left: Option<Departure>,
}

/// The level is another one than the base.
#[derive(Debug, Clone, Copy)]
pub(super) struct Departure {
    pub since: i64,
    pub from: f64,
    /// The greatest distance so far.
    pub distance: f64,
}

impl Base {
    pub fn value(&self, period: Period) -> f64 {
        let share = (self.age / period.ms() - 1.0).clamp(0.0, 1.0);
        bounded(self.mean + share * bounded(self.mean - self.mean_of_mean))
    }

    pub fn learn(&mut self, period: Period, value: f64, elapsed: f64) {
        if self.age == 0.0 && elapsed == 0.0 {
            (self.mean, self.mean_of_mean) = (value, value);
        }
        if elapsed == 0.0 {
            return;
        }
        self.age = at_most(self.age + elapsed, 3.0 * period.ms());
        let gain = elapsed / at_most(self.age, period.ms()).max(elapsed);
        self.mean = bounded(self.mean + gain * bounded(value - self.mean));
        self.mean_of_mean = bounded(self.mean_of_mean + gain * bounded(self.mean - self.mean_of_mean));
    }

    pub fn shift(&mut self, by: f64) {
        self.mean = bounded(self.mean + by);
        self.mean_of_mean = bounded(self.mean_of_mean + by);
    }

    pub fn save(&self, writer: &mut Writer<'_>) {
        for number in [self.age, self.mean, self.mean_of_mean] {
            writer.f64(number);
        }
        writer.u32(self.left.is_some().into());
        if let Some(Departure { since, from, distance }) = self.left {
            writer.u64(since.cast_unsigned());
            writer.f64(from);
            writer.f64(distance);
        }
    }

    pub fn load(period: Period, reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let (age, mean, mean_of_mean) = (reader.finite()?, reader.finite()?, reader.finite()?);
        require(age.is_sign_positive() && age <= 3.0 * period.ms(), "the age of a mean is out of range")?;
        let left = match reader.u32()? {
            0 => None,
            1 => Some(Departure {
                since: reader.u64()?.cast_signed(),
                from: reader.finite()?,
                distance: reader.finite()?,
            }),
            _ => return Err(damaged("a departure is neither there nor not")),
        };
        let holds = left.is_none_or(|departure| departure.distance.is_sign_positive());
        require(holds, "the distance of a departure is negative")?;
        Ok(Self { age, mean, mean_of_mean, left })
    }

    /// Greatest size when saved.
    pub const MAX_SAVED_BYTES: usize = 3 * 8 + 4 + 3 * 8;
}
