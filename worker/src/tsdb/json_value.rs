//! Finds where a JSON value ends without parsing it.

/// Looks for the end of one JSON value over any number of pieces. It follows strings and brackets only: what it
/// delimits may still be invalid JSON.
#[derive(Debug, Clone, Copy, Default)]
pub struct ValueEnd {
    depth: usize,
    place: Place,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Start,
    Between,
    Scalar,
    String,
    Escape,
}

impl ValueEnd {
    /// The number of bytes up to the end of the value, if it ends in this piece. The first piece starts with the
    /// value's first byte.
    pub fn find(&mut self, piece: &[u8]) -> Option<usize> {
        let mut index = 0;
        while let Some(byte) = piece.get(index) {
            match (self.place, byte) {
                (Place::String, _) => {
                    // Most bytes are in strings.
                    match piece[index..].iter().position(|byte| matches!(byte, b'"' | b'\\')) {
                        None => return None,
                        Some(length) => index += length,
                    }
                    if piece[index] == b'\\' {
                        self.place = Place::Escape;
                    } else {
                        self.place = Place::Between;
                        if self.depth == 0 {
                            return Some(index + 1);
                        }
                    }
                }
                (Place::Escape, _) => self.place = Place::String,
                // The bracket or comma belongs to what surrounds the scalar.
                (Place::Scalar, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r') => return Some(index),
                (Place::Scalar, _) => {}
                (_, b'"') => self.place = Place::String,
                (_, b'{' | b'[') => {
                    self.place = Place::Between;
                    self.depth += 1;
                }
                (_, b'}' | b']') => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(index + 1);
                    }
                }
                (Place::Start, _) => self.place = Place::Scalar,
                (Place::Between, _) => {}
            }
            index += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_end_of_a_value_is_found_over_any_cuts(
            value in prop_oneof![
                Just(r#"{"a":[1,{"b":"]}\\\"x"}],"c":"ö\"}"}"#), Just(r#""a\\""#), Just("[]"), Just("-1.5e3"),
                Just("true"), Just("[[[]],\"[\"]"),
            ],
            after in prop_oneof![Just(","), Just("}"), Just("]"), Just(" ")],
            cut in 1_usize..6,
        ) {
            let text = format!("{value}{after} more");
            let mut end = ValueEnd::default();
            let mut before = 0;
            let found = text.as_bytes().chunks(cut).find_map(|piece| {
                let found = end.find(piece).map(|length| before + length);
                before += piece.len();
                found
            });
            prop_assert_eq!(found, Some(value.len()));
        }
    }
}
