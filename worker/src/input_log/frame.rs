//! Frames: how a segment's records are told apart and checked.
//!
//! A frame is a header of 16 bytes and the payload. The header: magic (4 bytes), length of the payload (u32), CRC-32C
//! of the payload (u32), CRC-32C of segment number, offset and the 12 bytes before (u32); all little endian. With
//! number and offset in its checksum a header is valid only where it was written, so that neither old bytes of the
//! disk nor bytes inside a payload are taken for a frame when the reader looks for the next one.

/// Bytes of a frame's header.
pub(super) const FRAME_HEADER_BYTES: usize = 16;

const MAGIC: [u8; 4] = [0xf5, b'r', b'e', b'c'];

/// What lies at a place of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// A frame whose checksums fit.
    Payload { offset: usize, payload: &'a [u8] },
    /// Bytes that are no readable frame.
    Damaged { offset: usize, length: usize, what: &'static str },
    /// The segment ends inside a frame, or in zeros: what a crash leaves of an append.
    Torn { offset: usize },
}

pub(super) fn put_frame(out: &mut Vec<u8>, sequence: u64, offset: u64, payload: &[u8]) {
    let mut header = [0; FRAME_HEADER_BYTES];
    header[..4].copy_from_slice(&MAGIC);
    header[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    header[8..12].copy_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    let checksum = header_checksum(sequence, offset, &header);
    header[12..].copy_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
}

fn header_checksum(sequence: u64, offset: u64, header: &[u8; FRAME_HEADER_BYTES]) -> u32 {
    let place = crc32c::crc32c_append(crc32c::crc32c(&sequence.to_le_bytes()), &offset.to_le_bytes());
    crc32c::crc32c_append(place, &header[..12])
}

/// Reads a segment's frames one after the other; after damage it goes on at the next valid header.
#[derive(Debug)]
pub(super) struct Frames<'a> {
    bytes: &'a [u8],
    sequence: u64,
    offset: usize,
}

impl<'a> Frames<'a> {
    /// From `offset` on.
    pub(super) fn new(bytes: &'a [u8], sequence: u64, offset: usize) -> Self {
        Self { bytes, sequence, offset }
    }

    /// Length and checksum of the payload, if a valid header is there.
    fn header(&self, offset: usize) -> Option<(usize, u32)> {
        let header = self.bytes.get(offset..)?.first_chunk::<FRAME_HEADER_BYTES>()?;
        let word =
            |from: usize| u32::from_le_bytes([header[from], header[from + 1], header[from + 2], header[from + 3]]);
        let valid = header[..4] == MAGIC && header_checksum(self.sequence, offset as u64, header) == word(12);
        valid.then(|| (word(4) as usize, word(8)))
    }

    fn next_header(&self, from: usize) -> Option<usize> {
        let candidates = self.bytes.get(from..)?.windows(MAGIC.len()).enumerate();
        candidates
            .filter(|(_, window)| *window == MAGIC)
            .map(|(distance, _)| from + distance)
            .find(|offset| self.header(*offset).is_some())
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let offset = self.offset;
        let rest = self.bytes.get(offset..).filter(|rest| !rest.is_empty())?;
        let Some((length, checksum)) = self.header(offset) else {
            if rest.len() < FRAME_HEADER_BYTES || rest.iter().all(|byte| *byte == 0) {
                self.offset = self.bytes.len();
                return Some(Part::Torn { offset });
            }
            self.offset = self.next_header(offset + 1).unwrap_or(self.bytes.len());
            return Some(Part::Damaged { offset, length: self.offset - offset, what: "no valid header" });
        };
        let Some(payload) = rest.get(FRAME_HEADER_BYTES..).and_then(|rest| rest.get(..length)) else {
            self.offset = self.bytes.len();
            return Some(Part::Torn { offset });
        };
        self.offset = offset + FRAME_HEADER_BYTES + length;
        if crc32c::crc32c(payload) == checksum {
            Some(Part::Payload { offset, payload })
        } else {
            Some(Part::Damaged { offset, length: self.offset - offset, what: "the checksum of the record is wrong" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEQUENCE: u64 = 3;

    fn segment(payloads: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for payload in payloads {
            let offset = bytes.len() as u64;
            put_frame(&mut bytes, SEQUENCE, offset, payload);
        }
        bytes
    }

    fn payloads(bytes: &[u8]) -> Vec<&[u8]> {
        Frames::new(bytes, SEQUENCE, 0)
            .filter_map(|part| if let Part::Payload { payload, .. } = part { Some(payload) } else { None })
            .collect()
    }

    #[test]
    fn a_flip_of_any_bit_costs_one_frame_and_is_seen() {
        let intact = segment(&[b"first", b"second", b"", b"fourth"]);
        for bit in 0..intact.len() * 8 {
            let mut bytes = intact.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let parts: Vec<Part<'_>> = Frames::new(&bytes, SEQUENCE, 0).collect();
            let damaged = parts.iter().filter(|part| matches!(part, Part::Damaged { .. })).count();
            assert_eq!((parts.len(), damaged), (4, 1), "bit {bit}");
        }
    }

    #[test]
    fn a_cut_at_any_length_leaves_the_whole_frames_before_it() {
        let intact = segment(&[b"first", b"second"]);
        let first = segment(&[b"first"]).len();
        for length in 0..intact.len() {
            let cut = &intact[..length];
            let parts: Vec<Part<'_>> = Frames::new(cut, SEQUENCE, 0).collect();
            let whole = usize::from(length >= first);
            assert_eq!(payloads(cut).len(), whole);
            assert!(parts.iter().all(|part| !matches!(part, Part::Damaged { .. })), "length {length}");
        }
    }

    #[test]
    fn a_frame_inside_a_damaged_payload_is_not_read() {
        let inner = segment(&[b"not mine"]);
        let mut bytes = segment(&[&inner, b"second"]);
        bytes[4] ^= 1;
        assert_eq!(payloads(&bytes), [b"second"]);
    }

    #[test]
    fn zeros_at_the_end_are_a_torn_append() {
        let mut bytes = segment(&[b"first"]);
        let offset = bytes.len();
        bytes.extend_from_slice(&[0; 4096]);
        assert_eq!(Frames::new(&bytes, SEQUENCE, 0).last(), Some(Part::Torn { offset }));
    }
}
