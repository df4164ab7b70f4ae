//! How a state is written to bytes: see the module's "State".

use super::CalibratedArgs;
use super::maxima::{BLOCKS, BlockMaxima, MAX_Z, VIEWS};
use super::pace::{Pace, SPEEDS};
use super::profile::Profile;
use super::state::{EXPERTS, State};
use crate::model::StateError;
use crate::score::{at_least, at_most};
use crate::state::{Format, HEADER_BYTES, Reader, Writer, require};

/// Tag and version of the state.
pub const FORMAT: Format = Format { tag: *b"cb", version: 1 };

/// How profiles and block maxima are kept: `f32`, or `f64` to compare with the reference.
pub trait Stored: Copy + Default + PartialEq + Into<f64> + Send + Sync + std::fmt::Debug + 'static {
    /// Bytes of a number.
    const BYTES: usize;
    /// The nearest number, within the range.
    fn of(value: f64) -> Self;
    /// Appends a number.
    fn write(self, writer: &mut Writer<'_>);
    /// Takes a number.
    ///
    /// # Errors
    /// If the bytes end before it, or it is infinite or NaN.
    fn read(reader: &mut Reader<'_>) -> Result<Self, StateError>;
}

impl Stored for f32 {
    const BYTES: usize = 4;

    #[inline]
    fn of(value: f64) -> Self {
        at_most(at_least(value, -f64::from(f32::MAX)), f64::from(f32::MAX)) as Self
    }

    fn write(self, writer: &mut Writer<'_>) {
        writer.u32(self.to_bits());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let value = Self::from_bits(reader.u32()?);
        require(value.is_finite(), "a number is not finite")?;
        Ok(value)
    }
}

impl Stored for f64 {
    const BYTES: usize = 8;

    #[inline]
    fn of(value: f64) -> Self {
        super::state::bounded(value)
    }

    fn write(self, writer: &mut Writer<'_>) {
        writer.f64(self);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        reader.finite()
    }
}

/// Greatest size of a saved state.
#[must_use]
pub fn max_state_bytes(args: &CalibratedArgs) -> usize {
    let pace = Pace::new(args.step);
    let numbers = VIEWS + 2 * EXPERTS * SPEEDS + EXPERTS + 3 * SPEEDS;
    let slots = pace.daily_slots + pace.weekly_slots;
    HEADER_BYTES + 3 * 8 + 8 * numbers + 24 * 12 + slots * 6 + VIEWS * BLOCKS * 4
}

impl<S: Stored> State<S> {
    pub(super) fn save(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(FORMAT, out);
        writer.u64(self.samples_seen);
        // Two's complement.
        writer.u64(self.block.cast_unsigned());
        writer.u64(self.maxima.blocks);
        let by_expert = self.levels.iter().chain(&self.errors).flatten();
        let numbers = self.maxima.current.iter().chain(by_expert).chain(&self.losses);
        numbers.for_each(|number| writer.f64(*number));
        for sizes in self.sizes {
            [sizes.mean, sizes.mean_square, sizes.recent].iter().for_each(|number| writer.f64(*number));
        }
        for hour in self.hours {
            writer.f64(hour.mean);
            writer.u32(hour.visits);
        }
        for profile in [&self.daily, &self.weekly] {
            profile.save(&mut writer);
        }
        for ring in &self.maxima.ring {
            ring[..self.maxima.remembered()].iter().for_each(|maximum| maximum.write(&mut writer));
        }
    }

    pub(super) fn load(pace: &Pace, bytes: &[u8]) -> Result<Self, StateError> {
        let mut reader = Reader::new(FORMAT, bytes)?;
        let mut state = Self::new(pace);
        state.samples_seen = reader.u64()?;
        state.block = reader.u64()?.cast_signed();
        let blocks = reader.u64()?;
        for current in &mut state.maxima.current {
            *current = size(&mut reader)?;
            require(*current <= MAX_Z, "a block's maximum is out of range")?;
        }
        for level in state.levels.as_flattened_mut() {
            *level = reader.finite()?;
        }
        for number in state.errors.as_flattened_mut().iter_mut().chain(&mut state.losses) {
            *number = size(&mut reader)?;
        }
        for sizes in &mut state.sizes {
            for number in [&mut sizes.mean, &mut sizes.mean_square, &mut sizes.recent] {
                *number = size(&mut reader)?;
            }
        }
        for hour in &mut state.hours {
            hour.mean = size(&mut reader)?;
            hour.visits = reader.u32()?;
            require(hour.visits > 0 || hour.mean == 0.0, "an hour without samples has a size")?;
        }
        for profile in [&mut state.daily, &mut state.weekly] {
            profile.load(&mut reader)?;
        }
        state.maxima.load(blocks, &mut reader)?;
        reader.finish()?;
        state.maxima.update_thresholds(pace.prior_threshold);
        require(blocks <= state.samples_seen, "there are more blocks than samples")?;
        require(state.samples_seen > 0 || state == Self::new(pace), "numbers without samples")?;
        Ok(state)
    }
}

/// A number that cannot be below 0.
fn size(reader: &mut Reader<'_>) -> Result<f64, StateError> {
    let size = reader.finite()?;
    require(size.is_sign_positive(), "a size is negative")?;
    Ok(size)
}

impl<S: Stored> Profile<S> {
    fn save(&self, writer: &mut Writer<'_>) {
        for (value, visits) in self.values.iter().zip(&self.visits) {
            value.write(writer);
            writer.u16(*visits);
        }
    }

    fn load(&mut self, reader: &mut Reader<'_>) -> Result<(), StateError> {
        for (value, visits) in self.values.iter_mut().zip(&mut self.visits) {
            *value = S::read(reader)?;
            *visits = reader.u16()?;
            let is_empty = *value == S::default() && (*value).into().is_sign_positive();
            require(*visits > 0 || is_empty, "a slot without samples has a value")?;
        }
        Ok(())
    }
}

impl<S: Stored> BlockMaxima<S> {
    fn load(&mut self, blocks: u64, reader: &mut Reader<'_>) -> Result<(), StateError> {
        self.blocks = blocks;
        let remembered = self.remembered();
        for ring in &mut self.ring {
            for maximum in &mut ring[..remembered] {
                *maximum = S::read(reader)?;
                let number: f64 = (*maximum).into();
                let is_maximum = number.is_sign_positive() && number <= S::of(MAX_Z).into();
                require(is_maximum, "a block's maximum is out of range")?;
            }
        }
        Ok(())
    }
}
