//! The byte encoding of everything in the state folder and between workers: LEB128 integers, length-prefixed text, and
//! LZ4 blocks with a bounded size.

use std::borrow::Cow;

use crate::labels::Labels;

/// LZ4 cannot expand one byte to more than this (see "Block format", lz4 documentation).
const LZ4_MAX_RATIO: u64 = 255;

/// The first byte of packed bytes: as they are.
const RAW: u8 = 0;
/// The first byte of packed bytes: length, then an LZ4 block.
const LZ4: u8 = 1;

pub(crate) fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_unsigned(out, ((value << 1) ^ (value >> 63)) as u64);
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_unsigned(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(crate) fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    put_unsigned(out, labels.iter().len() as u64);
    for (name, value) in labels.iter() {
        put_bytes(out, name.as_bytes());
        put_bytes(out, value.as_bytes());
    }
}

/// Reads what the `put_` functions wrote. `None` means that the bytes are none of theirs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(*taken)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    pub(crate) fn signed(&mut self) -> Option<i64> {
        let value = self.unsigned()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A count of things that take at least `bytes_each` of the remaining bytes: it bounds what is allocated for
    /// them.
    pub(crate) fn count(&mut self, bytes_each: usize) -> Option<usize> {
        let count = usize::try_from(self.unsigned()?).ok()?;
        (count.checked_mul(bytes_each)? <= self.bytes.len()).then_some(count)
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.count(1)?;
        self.take(length)
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    pub(crate) fn labels(&mut self) -> Option<Labels> {
        let count = self.count(2)?;
        let mut pairs = Vec::with_capacity(count);
        for _ in 0..count {
            pairs.push((self.text()?, self.text()?));
        }
        Some(Labels::new(pairs))
    }
}

/// Compresses where that gains.
pub(crate) fn pack(body: &[u8]) -> Vec<u8> {
    let mut packed = vec![LZ4];
    put_unsigned(&mut packed, body.len() as u64);
    let compressed = lz4_flex::block::compress(body);
    if packed.len() + compressed.len() < body.len() + 1 {
        packed.extend_from_slice(&compressed);
    } else {
        packed.clear();
        packed.push(RAW);
        packed.extend_from_slice(body);
    }
    packed
}

/// What [`pack`] was given, if that is no longer than `limit`; never allocates more than `limit` bytes.
pub(crate) fn unpack(packed: &[u8], limit: usize) -> Option<Cow<'_, [u8]>> {
    let mut cursor = Cursor::new(packed);
    match cursor.byte()? {
        RAW => (cursor.rest().len() <= limit).then_some(Cow::Borrowed(cursor.rest())),
        LZ4 => {
            let length = cursor.unsigned()?;
            let possible = (cursor.rest().len() as u64).saturating_mul(LZ4_MAX_RATIO);
            let length = usize::try_from(length).ok().filter(|bytes| *bytes <= limit && length <= possible)?;
            let body = lz4_flex::block::decompress(cursor.rest(), length).ok()?;
            (body.len() == length).then_some(Cow::Owned(body))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn integers_and_texts_are_read_back(unsigned: u64, signed: i64, text: String) {
            let mut out = Vec::new();
            put_unsigned(&mut out, unsigned);
            put_signed(&mut out, signed);
            put_bytes(&mut out, text.as_bytes());
            let mut cursor = Cursor::new(&out);
            prop_assert_eq!(cursor.unsigned(), Some(unsigned));
            prop_assert_eq!(cursor.signed(), Some(signed));
            prop_assert_eq!(cursor.text(), Some(text.as_str()));
            prop_assert!(cursor.is_empty());
        }

        #[test]
        fn packed_bytes_are_read_back(body: Vec<u8>, repeat in 1_usize..50) {
            let body = body.repeat(repeat);
            let packed = pack(&body);
            prop_assert!(packed.len() <= body.len() + 1);
            let read = unpack(&packed, body.len());
            prop_assert_eq!(read.as_deref(), Some(body.as_slice()));
            if let Some(less) = body.len().checked_sub(1) {
                prop_assert_eq!(unpack(&packed, less), None);
            }
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_read_but_never_panic(bytes: Vec<u8>) {
            let mut cursor = Cursor::new(&bytes);
            let _ = cursor.labels();
            let _ = cursor.signed();
            if let Some(body) = unpack(&bytes, 1_000) {
                prop_assert!(body.len() <= 1_000);
            }
        }
    }

    #[test]
    fn a_damaged_length_allocates_no_more_than_the_block_could_hold() {
        let mut packed = vec![LZ4];
        put_unsigned(&mut packed, 1 << 40);
        packed.extend_from_slice(&[0; 20]);
        assert_eq!(unpack(&packed, usize::MAX), None);
    }
}
