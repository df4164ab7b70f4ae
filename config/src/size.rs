//! The one parser of sizes in bytes: `4194304`, `4MiB`, `4MB`.

/// Why a text is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// No number, or an unknown unit.
    #[error(
        "not a size; write bytes, or a whole number with a unit as in `4MiB` (units: B, KiB, MiB, GiB, KB, MB, GB)"
    )]
    Malformed,
    /// More than fits 64 bits.
    #[error("too large")]
    TooLarge,
}

/// A size in bytes. `KiB` is 1024 bytes, `KB` is 1000.
///
/// # Errors
/// When the text is no size.
pub fn parse(text: &str) -> Result<u64, SizeError> {
    let text = text.trim();
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(SizeError::Malformed),
    };
    if number.is_empty() {
        return Err(SizeError::Malformed);
    }
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or(SizeError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_have_binary_and_decimal_units() {
        assert_eq!(parse("4194304"), Ok(4_194_304));
        assert_eq!(parse("4MiB"), Ok(4_194_304));
        assert_eq!(parse("2 GB"), Ok(2_000_000_000));
        assert_eq!(parse("4mb"), Err(SizeError::Malformed));
        assert_eq!(parse("MiB"), Err(SizeError::Malformed));
        assert_eq!(parse("-1"), Err(SizeError::Malformed));
        assert_eq!(parse("99999999999GiB"), Err(SizeError::TooLarge));
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused_without_a_panic(text in ".*") {
            let _ = parse(&text);
        }
    }
}
