//! One sample of a range answer: `[1700000000.5,"0.25"]`.

use serde::Deserialize;

/// The longest sample that is accepted, bytes. The longest that servers write is some 400: 1e308 with all its digits.
pub const MAX_SAMPLE_BYTES: usize = 4096;

/// What lies at the start of some bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scanned {
    /// A whole sample of `length` bytes.
    Sample {
        /// Bytes that it takes.
        length: usize,
        /// Its time and value.
        sample: Sample,
    },
    /// The start of a sample, as far as it goes.
    Incomplete,
    /// Something that [`parse`] has to look at: white space, an escape, an exponent in the time, no sample at all.
    Unusual,
}

/// A sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Unix ms, rounded to the nearest.
    pub time: i64,
    /// The value, which may be NaN or infinite; `None` if its text is no number.
    pub value: Option<f64>,
}

/// Reads a sample in the form in which VictoriaMetrics and Prometheus write them. What it says about a sample
/// depends on the bytes of the sample alone, never on how many bytes follow.
#[must_use]
#[inline]
pub fn scan(bytes: &[u8]) -> Scanned {
    let mut rest = bytes.iter();
    macro_rules! next {
        () => {
            match rest.next() {
                Some(byte) => *byte,
                None => return Scanned::Incomplete,
            }
        };
    }
    if next!() != b'[' {
        return Scanned::Unusual;
    }
    let mut seconds: i64 = 0;
    let mut digits = 0;
    let mut byte = next!();
    while byte.is_ascii_digit() {
        seconds = seconds * 10 + i64::from(byte - b'0');
        digits += 1;
        if digits > 12 {
            return Scanned::Unusual;
        }
        byte = next!();
    }
    if digits == 0 {
        return Scanned::Unusual;
    }
    let mut time = seconds * 1000;
    if byte == b'.' {
        // Hundreds, tens, ones of milliseconds, then the digit that rounds.
        let mut unit = 100;
        byte = next!();
        if !byte.is_ascii_digit() {
            return Scanned::Unusual;
        }
        while byte.is_ascii_digit() {
            if unit > 0 {
                time += i64::from(byte - b'0') * unit;
                unit = if unit == 1 { -1 } else { unit / 10 };
            } else if unit == -1 {
                time += i64::from(byte >= b'5');
                unit = 0;
            }
            byte = next!();
        }
    }
    if byte != b',' {
        return Scanned::Unusual;
    }
    if next!() != b'"' {
        return Scanned::Unusual;
    }
    let text = rest.as_slice();
    let Some((length, value)) = scan_number(text) else {
        return scan_text(bytes, bytes.len() - text.len(), time);
    };
    match text.get(length..length + 2) {
        Some(b"\"]") => Scanned::Sample {
            length: bytes.len() - text.len() + length + 2,
            sample: Sample { time, value: Some(value) },
        },
        Some(_) => scan_text(bytes, bytes.len() - text.len(), time),
        None => Scanned::Incomplete,
    }
}

/// A decimal number whose digits and exponent are so small that one multiplication or division of exact floats gives
/// the correctly rounded value (W. D. Clinger, "How to Read Floating Point Numbers Accurately", 1990); and how many
/// bytes it takes.
#[inline]
fn scan_number(text: &[u8]) -> Option<(usize, f64)> {
    const POWERS: [f64; 23] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
        1e20, 1e21, 1e22,
    ];
    let negative = text.first() == Some(&b'-');
    let start = usize::from(negative);
    let mut mantissa: u64 = 0;
    let mut digits = 0_usize;
    let mut fraction_digits = 0_usize;
    let mut in_fraction = false;
    let mut length = start;
    for byte in text.get(start..)? {
        match byte {
            b'0'..=b'9' => {
                if digits == 19 {
                    return None;
                }
                mantissa = mantissa * 10 + u64::from(byte - b'0');
                digits += 1;
                fraction_digits += usize::from(in_fraction);
            }
            b'.' if !in_fraction && digits > 0 => in_fraction = true,
            _ => break,
        }
        length += 1;
    }
    if digits == 0 || mantissa > 1 << 53 || (in_fraction && fraction_digits == 0) {
        return None;
    }
    let magnitude = mantissa as f64 / POWERS.get(fraction_digits)?;
    Some((length, if negative { -magnitude } else { magnitude }))
}

/// The sample whose value's text starts at `start`, whatever the text is.
fn scan_text(bytes: &[u8], start: usize, time: i64) -> Scanned {
    let text = bytes.get(start..).unwrap_or_default();
    let Some(length) = text.iter().position(|byte| matches!(byte, b'"' | b'\\')) else {
        return Scanned::Incomplete;
    };
    match text.get(length..length + 2) {
        Some(b"\"]") => {
            let value = std::str::from_utf8(&text[..length]).ok().and_then(parse_value);
            Scanned::Sample { length: start + length + 2, sample: Sample { time, value } }
        }
        Some(_) => Scanned::Unusual,
        None => Scanned::Incomplete,
    }
}

/// `NaN`, `Inf`, `+Inf`, `-Inf` and decimal numbers, correctly rounded. Every NaN is the same NaN.
fn parse_value(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().map(|value| if value.is_nan() { f64::NAN } else { value })
}

/// Reads any JSON array of a time in seconds and a value. A value that is no string, or a string that is no number,
/// is none.
///
/// # Errors
/// When it is something else.
pub fn parse(bytes: &[u8]) -> Result<Sample, serde_json::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Value<'a> {
        #[serde(borrow)]
        Text(std::borrow::Cow<'a, str>),
        Other(serde::de::IgnoredAny),
    }
    let (seconds, value): (f64, Value<'_>) = serde_json::from_slice(bytes)?;
    let value = match value {
        Value::Text(text) => parse_value(&text),
        Value::Other(_) => None,
    };
    // A cast saturates, and a time beyond the range is on no grid.
    Ok(Sample { time: (seconds * 1000.0).round() as i64, value })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scanned(text: &str) -> Option<(i64, Option<u64>)> {
        match scan(text.as_bytes()) {
            Scanned::Sample { length, sample } if length == text.len() => {
                Some((sample.time, sample.value.map(f64::to_bits)))
            }
            _ => None,
        }
    }

    #[test]
    fn times_are_rounded_to_milliseconds() {
        for (text, time) in [
            ("1700000000", 1_700_000_000_000),
            ("1700000000.5", 1_700_000_000_500),
            ("1700000000.500", 1_700_000_000_500),
            ("0.0004999", 0),
            ("0.0005", 1),
            ("0.9996", 1000),
            ("123456789012", 123_456_789_012_000),
        ] {
            let text = format!("[{text},\"1\"]");
            assert_eq!(scanned(&text).unwrap().0, time, "{text}");
            assert_eq!(parse(text.as_bytes()).unwrap().time, time, "{text}");
        }
        for (text, time) in [("1.7e9", 1_700_000_000_000), ("-1.5", -1500), ("1e300", i64::MAX)] {
            let text = format!("[{text},\"1\"]");
            assert_eq!(scan(text.as_bytes()), Scanned::Unusual, "{text}");
            assert_eq!(parse(text.as_bytes()).unwrap().time, time, "{text}");
        }
    }

    #[test]
    fn special_values_are_values_and_other_texts_are_none() {
        for (text, value) in [
            ("NaN", Some(f64::NAN)),
            ("-nan", Some(f64::NAN)),
            ("Inf", Some(f64::INFINITY)),
            ("+Inf", Some(f64::INFINITY)),
            ("-Inf", Some(f64::NEG_INFINITY)),
            ("-0", Some(-0.0)),
            ("1e5", Some(1e5)),
            ("+7", Some(7.0)),
            ("", None),
            ("-", None),
            ("1.2.3", None),
            ("0x10", None),
            ("12 ", None),
            ("ö", None),
        ] {
            assert_eq!(scanned(&format!("[1,\"{text}\"]")), Some((1000, value.map(f64::to_bits))), "{text:?}");
        }
        for (text, value) in [("\"\\u0031\"", Some(1.0)), ("1", None), ("null", None), ("[1]", None)] {
            let text = format!(" [ 1 , {text} ] ");
            assert_eq!(scan(text.as_bytes()), Scanned::Unusual);
            assert_eq!(parse(text.as_bytes()).unwrap(), Sample { time: 1000, value }, "{text}");
        }
        for text in ["[]", "[1]", "[1,\"2\",3]", "{}", "[\"1\",\"2\"]", "[null,\"2\"]", "[1,\"2\"", "7"] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_number_is_read_to_the_same_bits_as_the_standard_library_does(
            text in prop_oneof![
                any::<f64>().prop_map(|value| value.to_string()),
                any::<i64>().prop_map(|value| value.to_string()),
                "-?[0-9]{1,20}(\\.[0-9]{0,25})?([eE][+-]?[0-9]{1,3})?",
            ],
        ) {
            let expected = text.parse::<f64>().unwrap();
            let expected = if expected.is_nan() { f64::NAN } else { expected };
            prop_assert_eq!(scanned(&format!("[1700000000,\"{text}\"]")), Some((1_700_000_000_000, Some(expected.to_bits()))));
        }

        #[test]
        fn a_prefix_of_a_sample_is_incomplete_and_what_follows_does_not_matter(
            seconds in "[0-9]{1,10}(\\.[0-9]{1,6})?", value in "[-+.0-9a-zA-Zö]{0,12}", next in ".{0,5}",
        ) {
            let text = format!("[{seconds},\"{value}\"]");
            let whole = scan(text.as_bytes());
            let is_whole = matches!(whole, Scanned::Sample { length, .. } if length == text.len());
            prop_assert!(is_whole);
            prop_assert_eq!(scan((text.clone() + &next).as_bytes()), whole);
            for end in 0..text.len() {
                prop_assert_eq!(scan(&text.as_bytes()[..end]), Scanned::Incomplete);
            }
        }
    }
}
