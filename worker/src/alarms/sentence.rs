//! Why a sample is anomalous, in one sentence for an alert's annotation.

use detect::score::Interval;

use super::Excursion;

/// "3.2 x the width of its band, expected 120 to 180, was 320": what is known of the sample, in this order.
#[must_use]
pub fn sentence(excursion: &Excursion) -> String {
    let Excursion { score, value, expected, .. } = excursion;
    let mut sentence = format!("score {}", number(*score));
    if let Some(Interval { lower, upper, .. }) = expected {
        let range = match (lower.is_finite(), upper.is_finite()) {
            (true, true) => format!("{} to {}", number(*lower), number(*upper)),
            (true, false) => format!("at least {}", number(*lower)),
            (false, true) => format!("at most {}", number(*upper)),
            (false, false) => "any value".to_owned(),
        };
        sentence.push_str(&format!(", expected {range}"));
    }
    if let Some(value) = value {
        sentence.push_str(&format!(", was {}", number(*value)));
    }
    sentence
}

/// With four digits, and as a person writes it: `0.00123`, `15.2`, `320`, `123400`, `1.2e9`.
fn number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e7).contains(&size) {
        let text = format!("{value:.3e}");
        return match text.split_once('e') {
            Some((digits, exponent)) => format!("{}e{exponent}", without_zeros(digits)),
            None => text,
        };
    }
    // Digits before the point, from 1e-4 to 1e7: in -3..=7.
    let whole = if size == 0.0 { 1 } else { size.log10().floor() as i32 + 1 };
    let decimals = usize::try_from(4 - whole).unwrap_or_default();
    without_zeros(&format!("{value:.decimals$}")).to_owned()
}

fn without_zeros(digits: &str) -> &str {
    if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_has_what_is_known_of_the_sample() {
        let expected = Some(Interval { yhat: 150.0, lower: 120.0, upper: 180.25 });
        let mut excursion = Excursion { time: 0, score: 3.21, value: Some(320.0), expected };
        assert_eq!(sentence(&excursion), "score 3.21, expected 120 to 180.2, was 320");
        excursion.expected = Some(Interval { yhat: 150.0, lower: f64::NEG_INFINITY, upper: 180.0 });
        assert_eq!(sentence(&excursion), "score 3.21, expected at most 180, was 320");
        (excursion.expected, excursion.value) = (None, None);
        assert_eq!(sentence(&excursion), "score 3.21");
    }

    #[test]
    fn numbers_have_four_digits_and_no_needless_zeros() {
        let written = [0.0, 1.0, -0.00123, 15.249, 320.0, 999_999.4, 12_345_678.0, 1.5e-7, f64::INFINITY].map(number);
        assert_eq!(written, ["0", "1", "-0.00123", "15.25", "320", "999999", "1.235e7", "1.5e-7", "inf"]);
    }
}
