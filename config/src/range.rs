//! The one parser of numbers and of ranges of values, and the form of a range in JSON, which knows no infinity.

/// Why a text is no number or no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Not a number at all.
    #[error("not a number")]
    NotANumber,
    /// NaN compares with nothing.
    #[error("NaN is no bound; write a number, `-inf` or `inf`")]
    Nan,
    /// Infinite where only finite numbers make sense.
    #[error("must be finite")]
    Infinite,
    /// Larger than a 64-bit float.
    #[error("too large for a 64-bit float")]
    TooLarge,
    /// Not exactly two bounds.
    #[error("has {found} values; a range is exactly two, `[low, high]`")]
    Count {
        /// How many there are.
        found: usize,
    },
    /// The lower bound is above the upper one.
    #[error("the lower bound {low} is above the upper bound {high}")]
    Reversed {
        /// Lower bound.
        low: String,
        /// Upper bound.
        high: String,
    },
}

/// One bound of a range: a number, or infinity as `inf`, `+inf`, `-inf`, `.inf`, `-.inf` (any case).
///
/// # Errors
/// When the text is neither.
pub fn parse_bound(text: &str) -> Result<f64, RangeError> {
    let text = text.trim();
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let infinity = ["inf", ".inf", "infinity"].iter().any(|word| unsigned.eq_ignore_ascii_case(word));
    if infinity {
        return Ok(if negative { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    if ["nan", ".nan"].iter().any(|word| unsigned.eq_ignore_ascii_case(word)) {
        return Err(RangeError::Nan);
    }
    let value: f64 = text.parse().map_err(|_| RangeError::NotANumber)?;
    if value.is_infinite() { Err(RangeError::TooLarge) } else { Ok(value) }
}

/// A finite number.
///
/// # Errors
/// When the text is no number, or an infinite one.
pub fn parse_number(text: &str) -> Result<f64, RangeError> {
    let value = parse_bound(text)?;
    if value.is_finite() { Ok(value) } else { Err(RangeError::Infinite) }
}

/// A range `[low, high]`: two bounds, `low <= high`.
///
/// # Errors
/// When there are not two, one is no bound, or they are in the wrong order.
pub fn parse_range(bounds: &[&str]) -> Result<[f64; 2], RangeError> {
    let [low, high] = bounds else {
        return Err(RangeError::Count { found: bounds.len() });
    };
    let (low, high) = (parse_bound(low)?, parse_bound(high)?);
    if low > high {
        return Err(RangeError::Reversed { low: low.to_string(), high: high.to_string() });
    }
    Ok([low, high])
}

/// For `#[serde(with)]` on an optional range: finite bounds as numbers, infinite ones as `"inf"` and `"-inf"`.
pub mod optional {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Bound {
        Number(f64),
        Text(String),
    }

    /// Writes the range.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(range: &Option<[f64; 2]>, serializer: S) -> Result<S::Ok, S::Error> {
        let bounds = range.map(|range| {
            range.map(|bound| match bound {
                infinite if infinite.is_infinite() => Bound::Text(infinite.to_string()),
                finite => Bound::Number(finite),
            })
        });
        bounds.serialize(serializer)
    }

    /// Reads the range.
    ///
    /// # Errors
    /// When it is no range, see [`super::parse_range`].
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<[f64; 2]>, D::Error> {
        let Some(bounds) = Option::<[Bound; 2]>::deserialize(deserializer)? else {
            return Ok(None);
        };
        let texts = bounds.map(|bound| match bound {
            Bound::Number(number) => number.to_string(),
            Bound::Text(text) => text,
        });
        super::parse_range(&[&texts[0], &texts[1]]).map(Some).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn infinity_has_many_spellings() {
        for text in ["inf", "+inf", ".inf", "+.Inf", "Infinity", " INF "] {
            assert_eq!(parse_bound(text), Ok(f64::INFINITY), "{text}");
        }
        for text in ["-inf", "-.inf", "-.INF"] {
            assert_eq!(parse_bound(text), Ok(f64::NEG_INFINITY), "{text}");
        }
    }

    #[test]
    fn a_range_is_two_ordered_bounds() {
        assert_eq!(parse_range(&["0", "inf"]), Ok([0.0, f64::INFINITY]));
        assert_eq!(parse_range(&["1", "1"]), Ok([1.0, 1.0]));
        assert_eq!(parse_range(&["0"]), Err(RangeError::Count { found: 1 }));
        assert_eq!(parse_range(&[".nan", "1"]), Err(RangeError::Nan));
        assert_eq!(parse_range(&["0", "1e999"]), Err(RangeError::TooLarge));
        assert_eq!(parse_range(&["low", "1"]), Err(RangeError::NotANumber));
        assert!(matches!(parse_range(&["2", "1"]), Err(RangeError::Reversed { .. })));
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused_without_a_panic(text in ".*") {
            let _ = (parse_bound(&text), parse_number(&text));
        }

        #[test]
        fn a_finite_number_parses_to_itself(value in proptest::num::f64::NORMAL) {
            prop_assert_eq!(parse_number(&value.to_string()), Ok(value));
        }
    }
}
