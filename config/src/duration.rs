//! The one parser of durations. Values are milliseconds.
//!
//! Two notations: a number with a unit, several of them from the largest unit down (`50s`, `1.5h`, `1h30m`), and
//! ISO 8601 durations of fixed length (`P14D`, `PT1H`).

/// Longest duration that is accepted: 1000 years of 365.25 days, ms. Adding two of them to any time of the present
/// cannot overflow.
pub const LONGEST: i64 = 365_250 * DAY;

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const WEEK: i64 = 7 * DAY;

/// The units, from the largest down.
const UNITS: [(&str, i64); 6] = [("w", WEEK), ("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND), ("ms", 1)];

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing there.
    #[error("a duration is missing; write for example `30s`, `1h30m` or `P14D`")]
    Empty,
    /// A number without its unit.
    #[error("`{number}` has no unit; write for example `{number}s` (units: ms, s, m, h, d, w)")]
    NoUnit {
        /// The number.
        number: String,
    },
    /// A unit that does not exist.
    #[error("`{unit}` is no unit; units are ms, s, m, h, d, w")]
    UnknownUnit {
        /// What stands in the place of the unit.
        unit: String,
    },
    /// Units repeat, or a larger one follows a smaller one.
    #[error("units go from the largest to the smallest, each once, as in `1h30m`")]
    Order,
    /// Years and months have no fixed length.
    #[error("years and months have no fixed length; use weeks, days, hours, minutes and seconds, as in `P14D`")]
    Calendar,
    /// Finer than a millisecond.
    #[error("durations are whole milliseconds")]
    TooFine,
    /// Longer than [`LONGEST`].
    #[error("longer than 1000 years")]
    TooLong,
    /// Zero where something must pass.
    #[error("must be longer than 0; write for example `30s`")]
    Zero,
    /// Below zero where time only goes forward.
    #[error("must not be negative; write for example `30s`")]
    Negative,
    /// Anything else.
    #[error("not a duration; write for example `30s`, `1h30m` or `P14D` (units: ms, s, m, h, d, w)")]
    Malformed,
}

/// A duration above zero, in ms.
///
/// # Errors
/// When the text is no duration, or it is zero, negative or longer than [`LONGEST`].
pub fn parse(text: &str) -> Result<i64, DurationError> {
    match parse_non_negative(text)? {
        0 => Err(DurationError::Zero),
        milliseconds => Ok(milliseconds),
    }
}

/// A duration of zero or more, in ms; `0` needs no unit.
///
/// # Errors
/// When the text is no duration, or it is negative or longer than [`LONGEST`].
pub fn parse_non_negative(text: &str) -> Result<i64, DurationError> {
    match text.trim() {
        negative if negative.starts_with('-') => {
            magnitude(&negative[1..])?;
            Err(DurationError::Negative)
        }
        positive => magnitude(positive),
    }
}

/// A duration with an optional sign, in ms; `0` needs no unit.
///
/// # Errors
/// When the text is no duration, or it is longer than [`LONGEST`].
pub fn parse_signed(text: &str) -> Result<i64, DurationError> {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix('-') {
        return magnitude(rest).map(|milliseconds| -milliseconds);
    }
    magnitude(text.strip_prefix('+').unwrap_or(text))
}

/// The shortest text with whole numbers that parses to the same duration: `90_000` is `1m30s`.
#[must_use]
pub fn format(milliseconds: i64) -> String {
    if milliseconds == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    if milliseconds < 0 {
        text.push('-');
    }
    let mut rest = milliseconds.unsigned_abs();
    for (unit, length) in UNITS {
        let length = length.unsigned_abs();
        if rest >= length {
            text.push_str(&format!("{}{unit}", rest / length));
            rest %= length;
        }
    }
    text
}

fn magnitude(text: &str) -> Result<i64, DurationError> {
    if text.is_empty() {
        return Err(DurationError::Empty);
    }
    if let Some(iso) = text.strip_prefix(['P', 'p']) {
        return iso_8601(iso);
    }
    if text == "0" {
        return Ok(0);
    }
    let mut total = 0_i64;
    let mut last = i64::MAX;
    let mut rest = text;
    while !rest.is_empty() {
        let number = leading_number(&mut rest)?;
        let unit = leading(&mut rest, |character| character.is_alphabetic());
        if unit.is_empty() {
            return Err(if rest.is_empty() {
                DurationError::NoUnit { number: number.to_owned() }
            } else {
                DurationError::Malformed
            });
        }
        let Some((_, length)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(DurationError::UnknownUnit { unit: unit.to_owned() });
        };
        if *length >= last {
            return Err(DurationError::Order);
        }
        last = *length;
        total = add(total, number, *length)?;
    }
    Ok(total)
}

/// What follows the `P`: days or weeks, then `T` and hours, minutes, seconds.
fn iso_8601(text: &str) -> Result<i64, DurationError> {
    let mut total = 0_i64;
    let mut last = i64::MAX;
    let mut in_time = false;
    let mut parts = 0;
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(time) = rest.strip_prefix(['T', 't']) {
            if in_time || time.is_empty() {
                return Err(DurationError::Malformed);
            }
            in_time = true;
            rest = time;
            continue;
        }
        let number = leading_number(&mut rest)?;
        let mut characters = rest.chars();
        let unit = characters.next().map(|unit| unit.to_ascii_uppercase());
        rest = characters.as_str();
        let length = match (unit, in_time) {
            (Some('W'), false) => WEEK,
            (Some('D'), false) => DAY,
            (Some('Y' | 'M'), false) => return Err(DurationError::Calendar),
            (Some('H'), true) => HOUR,
            (Some('M'), true) => MINUTE,
            (Some('S'), true) => SECOND,
            _ => return Err(DurationError::Malformed),
        };
        if length >= last {
            return Err(DurationError::Order);
        }
        last = length;
        total = add(total, number, length)?;
        parts += 1;
    }
    if parts == 0 { Err(DurationError::Malformed) } else { Ok(total) }
}

/// Takes the characters that match off the front of `rest`.
fn leading<'a>(rest: &mut &'a str, matches: impl Fn(char) -> bool) -> &'a str {
    let end = rest.find(|character| !matches(character)).unwrap_or(rest.len());
    let (front, back) = rest.split_at(end);
    *rest = back;
    front
}

fn leading_number<'a>(rest: &mut &'a str) -> Result<&'a str, DurationError> {
    let number = leading(rest, |character| character.is_ascii_digit() || character == '.');
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
        return Err(DurationError::Malformed);
    }
    Ok(number)
}

/// `total + number * length`; `number` consists of digits with at most one point inside.
fn add(total: i64, number: &str, length: i64) -> Result<i64, DurationError> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: i64 = whole.parse().map_err(|_| DurationError::TooLong)?;
    let fraction = fraction.trim_end_matches('0');
    // A week is 7 * 2^10 * 3^3 * 5^5 ms, so more than ten decimals are never exact; 10^10 * WEEK fits an i64.
    if fraction.len() > 10 {
        return Err(DurationError::TooFine);
    }
    let mut part = 0;
    if !fraction.is_empty() {
        let scale = 10_i64.pow(fraction.len() as u32);
        let scaled = fraction.parse::<i64>().map_err(|_| DurationError::Malformed)? * length;
        if scaled % scale != 0 {
            return Err(DurationError::TooFine);
        }
        part = scaled / scale;
    }
    whole
        .checked_mul(length)
        .and_then(|whole| whole.checked_add(part))
        .and_then(|value| value.checked_add(total))
        .filter(|value| *value <= LONGEST)
        .ok_or(DurationError::TooLong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_documented_form_is_understood() {
        for (text, milliseconds) in [
            ("50s", 50_000),
            ("4m", 240_000),
            ("3h", 10_800_000),
            ("2d", 172_800_000),
            ("1w", 604_800_000),
            ("1ms", 1),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            ("0.001s", 1),
            (" 1d ", 86_400_000),
            ("P14D", 14 * 86_400_000),
            ("PT1H", 3_600_000),
            ("P1DT12H30M0.5S", 131_400_500),
            ("P2W", 1_209_600_000),
        ] {
            assert_eq!(parse(text), Ok(milliseconds), "{text}");
        }
        assert_eq!(parse_signed("-60s"), Ok(-60_000));
        assert_eq!(parse_signed("+1m"), Ok(60_000));
        assert_eq!(parse_signed("0"), Ok(0));
        assert_eq!(parse_non_negative("0s"), Ok(0));
    }

    #[test]
    fn what_is_no_duration_is_refused_with_the_reason() {
        use DurationError::*;
        for (text, error) in [
            ("", Empty),
            ("60", NoUnit { number: "60".into() }),
            ("5y", UnknownUnit { unit: "y".into() }),
            ("5M", UnknownUnit { unit: "M".into() }),
            ("30m1h", Order),
            ("1m1m", Order),
            ("P1M", Calendar),
            ("P1Y", Calendar),
            ("0.5ms", TooFine),
            ("0.00000000001w", TooFine),
            ("99999999999999999999s", TooLong),
            ("400000d", TooLong),
            ("0s", Zero),
            ("-5m", Negative),
            ("1.s", Malformed),
            (".5s", Malformed),
            ("1.2.3s", Malformed),
            ("s", Malformed),
            ("1 h", Malformed),
            ("P", Malformed),
            ("PT", Malformed),
            ("PT1D", Malformed),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused_without_a_panic(text in ".*") {
            let _ = (parse(&text), parse_non_negative(&text), parse_signed(&text));
        }

        #[test]
        fn anything_like_a_duration_is_parsed_or_refused_without_a_panic(text in "[-+]?P?[0-9.TWDHMSsmhdw]{0,40}") {
            let _ = (parse(&text), parse_signed(&text));
        }

        #[test]
        fn a_formatted_duration_parses_to_itself(milliseconds in -LONGEST..=LONGEST) {
            prop_assert_eq!(parse_signed(&format(milliseconds)), Ok(milliseconds));
        }
    }
}
