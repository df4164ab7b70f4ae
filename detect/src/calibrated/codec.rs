//! How a state is written to bytes: see the module's "State".

use super::CalibratedArgs;
use super::maxima::{BLOCKS, BlockMaxima, MAX_Z};
use super::onset::Onset;
use super::pace::{Pace, SPEEDS};
use super::profile::Profile;
use super::state::{EXPERTS, State};
use super::views::Trail;
use crate::model::StateError;
use crate::score::{at_least, at_most};
use crate::state::{Format, HEADER_BYTES, Reader, Writer, require};

/// Tag and version of the state.
pub const FORMAT: Format = Format { tag: *b"cb", version: 3 };

/// The logarithm of the greatest number: of no height is it more.
pub(super) const MAX_HOLD: f64 = 709.8;

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
    /// What there is of each view, in numbers beside its ring, and what there is once.
    const OF_VIEW: usize = 4;
    const OTHERS: usize = 2 * EXPERTS * SPEEDS + EXPERTS + 6;
    let (pace, views) = (args.pace(), args.recipe.views);
    let numbers = views * OF_VIEW + OTHERS;
    let slots = pace.daily_slots + pace.weekly_slots;
    HEADER_BYTES + 6 * 8 + 8 * numbers + 24 * 12 + slots * 6 + views * BLOCKS * 4
}

impl<S: Stored> State<S> {
    pub(super) fn save(&self, pace: &Pace, out: &mut Vec<u8>) {
        let views = pace.recipe.views;
        let mut writer = Writer::new(FORMAT, out);
        writer.u64(self.samples_seen);
        // Two's complement.
        writer.u64(self.block.cast_unsigned());
        writer.u64(self.latest_time.cast_unsigned());
        writer.u64(self.maxima.blocks);
        writer.u64(self.onset.still);
        writer.u64(self.onset.moves);
        let Trail { latest, drift } = self.trail;
        let latest = [self.latest_value, latest, drift, self.quantum, self.hold, self.mid_size];
        let by_expert = self.levels.iter().chain(&self.errors).flatten();
        let numbers = self.maxima.current.iter().take(views).chain(by_expert).chain(&self.losses).chain(&latest);
        numbers.for_each(|number| writer.f64(*number));
        for sizes in self.sizes.iter().take(views) {
            [sizes.mean, sizes.mean_square, sizes.recent].iter().for_each(|number| writer.f64(*number));
        }
        for hour in self.hours {
            writer.f64(hour.mean);
            writer.u32(hour.visits);
        }
        for profile in [&self.daily, &self.weekly] {
            profile.save(&mut writer);
        }
        self.maxima.save(views, &mut writer);
    }

    pub(super) fn load(pace: &Pace, bytes: &[u8]) -> Result<Self, StateError> {
        let is_older = version_of(bytes).is_some_and(|version| version < FORMAT.version);
        require(!is_older, "it is of an earlier version, which learnt in another way")?;
        let views = pace.recipe.views;
        let mut reader = Reader::new(FORMAT, bytes)?;
        let mut state = Self::new(pace);
        state.samples_seen = reader.u64()?;
        state.block = reader.u64()?.cast_signed();
        state.latest_time = reader.u64()?.cast_signed();
        let blocks = reader.u64()?;
        state.onset = Onset { still: reader.u64()?, moves: reader.u64()? };
        for current in state.maxima.current.iter_mut().take(views) {
            *current = size(&mut reader)?;
            require(*current <= MAX_Z, "a block's maximum is out of range")?;
        }
        for level in state.levels.as_flattened_mut() {
            *level = reader.finite()?;
        }
        for number in state.errors.as_flattened_mut().iter_mut().chain(&mut state.losses) {
            *number = size(&mut reader)?;
        }
        state.latest_value = reader.finite()?;
        state.trail = Trail { latest: reader.finite()?, drift: reader.finite()? };
        for number in [&mut state.quantum, &mut state.hold, &mut state.mid_size] {
            *number = size(&mut reader)?;
        }
        let has_hold = pace.recipe.hold.is_some() || state.hold == 0.0;
        require(has_hold && state.hold <= MAX_HOLD, "the height of an alarm is out of range")?;
        let is_possible = state.onset.is_possible(state.samples_seen, state.quantum > 0.0);
        require(is_possible, "the series began to move at another time")?;
        for sizes in state.sizes.iter_mut().take(views) {
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
        state.maxima.load(blocks, views, &mut reader)?;
        reader.finish()?;
        state.maxima.update_thresholds(&pace.rule());
        require(blocks <= state.samples_seen, "there are more blocks than samples")?;
        require(state.samples_seen > 0 || state == Self::new(pace), "numbers without samples")?;
        Ok(state)
    }
}

/// What the header says, if there is one.
fn version_of(bytes: &[u8]) -> Option<u16> {
    let version = bytes.strip_prefix(&FORMAT.tag)?.first_chunk()?;
    Some(u16::from_le_bytes(*version))
}

/// A number that cannot be below 0.
pub(super) fn size(reader: &mut Reader<'_>) -> Result<f64, StateError> {
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

impl<S: Stored, const RINGS: usize> BlockMaxima<S, RINGS> {
    /// Appends the maxima of so many rings, the first ones.
    pub(super) fn save(&self, rings: usize, writer: &mut Writer<'_>) {
        for ring in self.ring.iter().take(rings) {
            ring[..self.remembered()].iter().for_each(|maximum| maximum.write(writer));
        }
    }

    /// Takes the maxima of so many rings, the first ones, of which so many blocks have ended.
    pub(super) fn load(&mut self, blocks: u64, rings: usize, reader: &mut Reader<'_>) -> Result<(), StateError> {
        self.blocks = blocks;
        let remembered = self.remembered();
        for ring in self.ring.iter_mut().take(rings) {
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
