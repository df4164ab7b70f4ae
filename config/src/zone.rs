//! The one parser of time zones: IANA names from the bundled time zone database.

use jiff::tz::TimeZone;

use crate::suggestion::{did_you_mean, nearest};

/// There is no zone of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no IANA time zone is called so; write for example `UTC` or `Europe/Berlin`{}", did_you_mean(.nearest.as_deref()))]
pub struct ZoneError {
    /// The most similar name that exists.
    pub nearest: Option<String>,
}

/// The zone with this IANA name, in any case.
///
/// # Errors
/// When there is none.
pub fn parse(name: &str) -> Result<TimeZone, ZoneError> {
    let name = name.trim();
    TimeZone::get(name).ok().filter(|zone| zone.iana_name().is_some()).ok_or_else(|| {
        let names: Vec<String> = jiff::tz::db().available().map(|zone| zone.to_string()).collect();
        ZoneError { nearest: nearest(name, names.iter().map(String::as_str)).map(str::to_owned) }
    })
}

/// The zone's name as the database spells it.
///
/// # Errors
/// When there is no such zone.
pub fn canonical_name(name: &str) -> Result<String, ZoneError> {
    let zone = parse(name)?;
    zone.iana_name().map(str::to_owned).ok_or(ZoneError { nearest: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_zone_is_found_in_any_case_and_named_as_the_database_does() {
        assert_eq!(canonical_name("europe/berlin"), Ok("Europe/Berlin".into()));
        assert_eq!(canonical_name("UTC"), Ok("UTC".into()));
    }

    #[test]
    fn a_misspelt_zone_gets_the_nearest_name() {
        assert_eq!(parse("Europe/Berln").unwrap_err().nearest.as_deref(), Some("Europe/Berlin"));
        assert!(parse("+02:00").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused_without_a_panic(name in ".*") {
            let _ = parse(&name);
        }
    }
}
