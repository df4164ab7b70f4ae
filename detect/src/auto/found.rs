//! What a search has found, in memory and in a state.

use crate::model::StateError;
use crate::readiness::{Readiness, Stage};
use crate::state::{Format, Reader, Writer, require};

/// Of the number of found values in a state: set if they were searched.
const SEARCHED: u16 = 1 << 15;

/// The most that a model is that no search has been made for.
const UNSEARCHED: Readiness = Readiness { stage: Stage::Learning, share: 0.999 };

/// What a search has found for a series, or for a group of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Found {
    /// Whether there was one.
    pub(super) is_searched: bool,
    /// See [`Tuned::values`](super::Tuned::values).
    pub(super) values: Vec<f64>,
}

impl Found {
    /// The most that the model is.
    pub(super) fn most_ready(&self) -> Readiness {
        if self.is_searched { Readiness::READY } else { UNSEARCHED }
    }

    /// Appends the beginning of a state; that of the class follows.
    pub(super) fn write(&self, format: Format, out: &mut Vec<u8>) {
        let Self { is_searched, values } = self;
        let mut writer = Writer::new(format, out);
        // A class has a handful of parameters.
        writer.u16(values.len() as u16 | if *is_searched { SEARCHED } else { 0 });
        values.iter().for_each(|value| writer.f64(*value));
    }

    /// Reads it, and what follows it.
    pub(super) fn read(format: Format, bytes: &[u8]) -> Result<(Self, &[u8]), StateError> {
        let mut reader = Reader::new(format, bytes)?;
        let count = reader.u16()?;
        let is_searched = count & SEARCHED != 0;
        let values = (0..count & !SEARCHED).map(|_| reader.finite()).collect::<Result<Vec<f64>, StateError>>()?;
        let class = reader.bytes(reader.remaining())?;
        require(is_searched || values.is_empty(), "found values without a search")?;
        Ok((Self { is_searched, values }, class))
    }
}
