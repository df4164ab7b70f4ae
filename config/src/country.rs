//! The one parser of countries: those whose public holidays are known.

use crate::suggestion::{did_you_mean, nearest};

/// The public holidays of no such country are known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the public holidays of no such country are known{}; known are {}",
    did_you_mean(*.nearest),
    holidays::codes().collect::<Vec<_>>().join(", ")
)]
pub struct CountryError {
    /// The most similar English name that is known.
    pub nearest: Option<&'static str>,
}

/// The ISO 3166 code of a country, by its code or its English name, in any case.
///
/// # Errors
/// When its public holidays are not known.
pub fn parse(name: &str) -> Result<String, CountryError> {
    let name = name.trim();
    holidays::code(name).map(str::to_owned).ok_or_else(|| CountryError { nearest: nearest(name, english_names()) })
}

/// Codes are so short that many are similar to anything.
fn english_names() -> impl Iterator<Item = &'static str> {
    holidays::countries().flat_map(|names| names.skip(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_country_is_found_by_its_code_or_name_and_a_misspelt_one_gets_the_nearest() {
        assert_eq!(parse(" united kingdom"), Ok("GB".into()));
        let error = parse("Germny").unwrap_err();
        assert_eq!(error.nearest, Some("Germany"));
        assert!(error.to_string().contains("did you mean `Germany`?; known are AE, AR, AT,"), "{error}");
        assert_eq!(parse("XK").unwrap_err().nearest, None);
    }
}
