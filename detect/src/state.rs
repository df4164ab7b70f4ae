//! How a model's state is written to bytes: little endian, a header of [`HEADER_BYTES`], then the model's own fields.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 2 | class tag, two ASCII letters, see below |
//! | 2 | 2 | version of the class's layout, from 1 |
//!
//! | tag | class |
//! |---|---|
//! | `at` | `auto` |
//! | `cb` | `calibrated` |
//! | `cm` | `calibrated_multivariate` |
//! | `hw` | `holtwinters` |
//! | `if` | `isolation_forest` |
//! | `im` | `isolation_forest_multivariate` |
//! | `md` | `mad_online` |
//! | `pr` | `prophet` |
//! | `qo` | `quantile_online` |
//! | `rq` | `rolling_quantile` |
//! | `sd` | `std` |
//! | `sg` | any class with [safeguards](crate::safeguards), around its own state |
//! | `te` | `temporal_envelope` |
//! | `tm` | `temporal_envelope_multivariate` |
//! | `zs` | `zscore_online` |
//!
//! A model reads the layouts of all its versions. Loading checks every field (finite, ordered, counts that agree with each
//! other, nothing left over), so that bytes are either a state that learning can produce or an error; it does not replace a
//! checksum over stored bytes, because many flips of a bit in a number give another number.

use crate::model::StateError;

/// Bytes before a model's own fields.
pub const HEADER_BYTES: usize = 4;

/// A class tag and the newest version of its layout that this build reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// Two ASCII letters.
    pub tag: [u8; 2],
    /// From 1.
    pub version: u16,
}

/// Appends numbers to a state.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Starts a state at the end of `out` with the header.
    pub fn new(format: Format, out: &'a mut Vec<u8>) -> Self {
        out.extend_from_slice(&format.tag);
        out.extend_from_slice(&format.version.to_le_bytes());
        Self { out }
    }

    /// Appends a number.
    pub fn u16(&mut self, value: u16) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends a number.
    pub fn u32(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends a number.
    pub fn u64(&mut self, value: u64) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends a state within the state.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Appends a number, bit for bit.
    pub fn f64(&mut self, value: f64) {
        self.u64(value.to_bits());
    }
}

/// Takes numbers from the front of a state.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Checks the header and stands behind it.
    ///
    /// # Errors
    /// [`StateError::Damaged`] if the bytes are too short, of another class or of version 0, [`StateError::Version`] if
    /// they are of a newer version.
    pub fn new(format: Format, bytes: &'a [u8]) -> Result<Self, StateError> {
        let mut reader = Self { rest: bytes };
        if reader.take::<2>()? != format.tag {
            return Err(damaged("it is another model's"));
        }
        match reader.u16()? {
            0 => Err(damaged("version 0")),
            version if version <= format.version => Ok(reader),
            version => Err(StateError::Version { found: version.into(), supported: format.version.into() }),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], StateError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(damaged("too short"))?;
        self.rest = rest;
        Ok(*head)
    }

    /// Takes a number.
    ///
    /// # Errors
    /// If the bytes end before it.
    pub fn u16(&mut self) -> Result<u16, StateError> {
        self.take().map(u16::from_le_bytes)
    }

    /// Takes a number.
    ///
    /// # Errors
    /// If the bytes end before it.
    pub fn u32(&mut self) -> Result<u32, StateError> {
        self.take().map(u32::from_le_bytes)
    }

    /// Takes a number.
    ///
    /// # Errors
    /// If the bytes end before it.
    pub fn u64(&mut self) -> Result<u64, StateError> {
        self.take().map(u64::from_le_bytes)
    }

    /// Takes a number that must be finite.
    ///
    /// # Errors
    /// If the bytes end before it, or it is infinite or NaN.
    pub fn finite(&mut self) -> Result<f64, StateError> {
        let value = self.take().map(f64::from_le_bytes)?;
        if value.is_finite() { Ok(value) } else { Err(damaged("a number is not finite")) }
    }

    /// Takes a state within the state.
    ///
    /// # Errors
    /// If the bytes end before its end.
    pub fn bytes(&mut self, size: usize) -> Result<&'a [u8], StateError> {
        let (head, rest) = self.rest.split_at_checked(size).ok_or(damaged("too short"))?;
        self.rest = rest;
        Ok(head)
    }

    /// Bytes not yet taken.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Ends reading.
    ///
    /// # Errors
    /// If bytes are left over.
    pub fn finish(self) -> Result<(), StateError> {
        if self.rest.is_empty() { Ok(()) } else { Err(damaged("too long")) }
    }
}

/// Shorthand for [`StateError::Damaged`].
#[must_use]
pub fn damaged(what: &'static str) -> StateError {
    StateError::Damaged { what }
}

/// Fails with `what` unless `holds`.
///
/// # Errors
/// [`StateError::Damaged`] if it does not hold.
pub fn require(holds: bool, what: &'static str) -> Result<(), StateError> {
    if holds { Ok(()) } else { Err(damaged(what)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: Format = Format { tag: *b"te", version: 2 };

    fn bytes() -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::new(FORMAT, &mut out);
        writer.u16(1);
        writer.u32(2);
        writer.u64(3);
        writer.f64(-0.5);
        out
    }

    #[test]
    fn numbers_come_back_in_order() {
        let bytes = bytes();
        let mut reader = Reader::new(FORMAT, &bytes).unwrap();
        assert_eq!(reader.u16(), Ok(1));
        assert_eq!(reader.u32(), Ok(2));
        assert_eq!(reader.u64(), Ok(3));
        assert_eq!(reader.finite(), Ok(-0.5));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn another_class_a_newer_version_and_version_zero_are_refused_by_name() {
        let refused =
            |tag: &[u8; 2], version| Reader::new(Format { tag: *tag, version }, &bytes()).unwrap_err().to_string();
        assert_eq!(refused(b"xx", 2), "state is damaged: it is another model's");
        assert_eq!(refused(b"te", 1), "state version 2 is not readable, this build reads up to 1");
        assert!(Reader::new(FORMAT, b"te\0\0").is_err());
        assert!(Reader::new(FORMAT, b"te\x02").is_err());
    }

    #[test]
    fn an_end_too_early_bytes_left_over_and_nan_are_errors() {
        assert!(Reader::new(FORMAT, b"te\x01\0\x01").unwrap().u16().is_err());
        assert!(Reader::new(FORMAT, b"te\x01\0\x01").unwrap().finish().is_err());
        let mut out = Vec::new();
        Writer::new(FORMAT, &mut out).f64(f64::NAN);
        assert!(Reader::new(FORMAT, &out).unwrap().finite().is_err());
    }
}
