//! Why a sample is anomalous, in one sentence for an alert's annotation.

use detect::{
    calendar::{DAY_MS, Zone},
    calibrated::{Season, Yardstick},
    score::Interval,
};

use super::{ChannelExcursion, Excursion};
use crate::{
    joint::{Joint, QUERY_LABEL},
    labels::Labels,
};

/// "3.2 x the largest deviation of its usual 8 hours, expected 120 to 180 for Mondays 09:00, was 320": what is known of the sample, in
/// this order. Days and hours are those of a zone. Of a group, whose labels these are, the channels that made the score follow: "1.8 x
/// the largest joint deviation of its usual 12 hours: cpu{core="3"} scores 3.2, expected 120 to 180, was 320; memory scores 1.4, ...".
#[must_use]
pub fn sentence(excursion: &Excursion, labels: &Labels, zone: &Zone) -> String {
    let Excursion { time, score, value, expected, yardstick, channels } = excursion;
    let (joint, one) = if channels.is_empty() { ("", "series") } else { ("joint ", "group") };
    let mut sentence = match yardstick {
        Some(Yardstick { own: true, block, factor, .. }) => {
            format!("{} x the largest {joint}deviation of its usual {}", number(score * factor), span(*block))
        }
        Some(Yardstick { own: false, factor, .. }) => {
            format!("{} x the largest usual {joint}deviation of a {one} as new as this", number(score * factor))
        }
        None => format!("score {}", number(*score)),
    };
    if let Some(expected) = expected {
        sentence.push_str(&format!(", expected {}", range(expected)));
        if let Some(moment) = yardstick.and_then(|yardstick| moment(yardstick.season, *time, zone)) {
            sentence.push_str(&format!(" for {moment}"));
        }
    }
    if let Some(value) = value {
        sentence.push_str(&format!(", was {}", number(*value)));
    }
    for (index, channel) in channels.iter().enumerate() {
        let separator = if index == 0 { ":" } else { ";" };
        let ChannelExcursion { score, value, expected, .. } = channel;
        sentence.push_str(&format!("{separator} {} scores {}", name_of(channel, channels, labels), number(*score)));
        if let Some(expected) = expected {
            sentence.push_str(&format!(", expected {}", range(expected)));
        }
        sentence.push_str(&format!(", was {}", number(*value)));
    }
    sentence
}

/// "120 to 180"
fn range(Interval { lower, upper, .. }: &Interval) -> String {
    match (lower.is_finite(), upper.is_finite()) {
        (true, true) => format!("{} to {}", number(*lower), number(*upper)),
        (true, false) => format!("at least {}", number(*lower)),
        (false, true) => format!("at most {}", number(*upper)),
        (false, false) => "any value".to_owned(),
    }
}

/// What tells a channel from the others of its group: its query, and those of its labels that the group has not. Where that does not
/// tell it from another one that is named, its metric with all labels.
fn name_of(channel: &ChannelExcursion, named: &[ChannelExcursion], group: &Labels) -> String {
    let short = |ChannelExcursion { channel, .. }: &ChannelExcursion| {
        let query = channel.get(QUERY_LABEL).unwrap_or_default();
        let own = channel
            .iter()
            .filter(|(name, value)| *name != QUERY_LABEL && *name != "__name__" && group.get(name) != Some(*value));
        let name = Labels::new(own.chain([("__name__", query)])).to_string();
        name.strip_suffix("{}").map(str::to_owned).unwrap_or(name)
    };
    let name = short(channel);
    let is_alone = named.iter().filter(|other| short(other) == name).count() == 1;
    if is_alone { name } else { Joint::without_query(&channel.channel).to_string() }
}

/// When a season expects a value: "09:00", "Mondays 09:00".
fn moment(season: Season, time: i64, zone: &Zone) -> Option<String> {
    const DAYS: [&str; 7] = ["Sundays", "Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays"];
    let clock = zone.wall_clock(time);
    let minutes = clock.ms_of_day() / 60_000;
    let hour = format!("{:02}:{:02}", minutes / 60, minutes % 60);
    match season {
        Season::None => None,
        Season::Daily => Some(hour),
        // Day 0 was a Thursday.
        Season::Weekly => {
            let day = usize::try_from((clock.days() + 4).rem_euclid(7)).ok().and_then(|day| DAYS.get(day))?;
            Some(format!("{day} {hour}"))
        }
    }
}

/// "8 hours", "12 days", "90 minutes".
fn span(ms: i64) -> String {
    let minutes = ms / 60_000;
    let (count, unit) = match minutes {
        _ if ms % DAY_MS == 0 && ms > DAY_MS => (ms / DAY_MS, "days"),
        _ if minutes % 60 == 0 => (minutes / 60, "hours"),
        _ => (minutes, "minutes"),
    };
    format!("{count} {unit}")
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

    fn none() -> Labels {
        Labels::new::<&str, &str>([])
    }

    /// Of a series whose value is 320.
    fn alone(time: i64, score: f64, expected: Option<Interval>, yardstick: Option<Yardstick>) -> Excursion {
        Excursion { time, score, value: Some(320.0), expected, yardstick, channels: Vec::new() }
    }

    #[test]
    fn of_a_group_it_names_the_channels_that_made_the_score_by_what_tells_them_apart() {
        let channel = |query: &str, own: &[(&str, &str)], score: f64| {
            let labels = Labels::new([("__name__", "metric"), ("host", "a")].into_iter().chain(own.iter().copied()));
            let expected = Some(Interval { yhat: 15.0, lower: 12.0, upper: 18.0 });
            ChannelExcursion { channel: Joint::channel(query, &labels), score, value: 32.0, expected }
        };
        let channels = vec![channel("cpu", &[("core", "3")], 3.21), channel("memory", &[], 1.4)];
        let yardstick = Some(Yardstick { season: Season::None, block: DAY_MS / 2, own: true, factor: 1.0 });
        let group = Labels::new([("host", "a")]);
        let sentence = |yardstick, channels: Vec<ChannelExcursion>| {
            let excursion = Excursion { time: 0, score: 1.8, value: None, expected: None, yardstick, channels };
            sentence(&excursion, &group, &Zone::default())
        };
        let named =
            r#": cpu{core="3"} scores 3.21, expected 12 to 18, was 32; memory scores 1.4, expected 12 to 18, was 32"#;
        let usual = "1.8 x the largest joint deviation of its usual 12 hours";
        assert_eq!(sentence(yardstick, channels.clone()), format!("{usual}{named}"));
        assert_eq!(sentence(None, channels), format!("score 1.8{named}"));
        let new = yardstick.map(|yardstick| Yardstick { own: false, ..yardstick });
        let alike = vec![channel("cpu", &[], 2.0), channel("cpu", &[("__name__", "other")], 1.0)];
        let named = r#": metric{host="a"} scores 2, expected 12 to 18, was 32; other{host="a"} scores 1, expected 12 to 18, was 32"#;
        let unusual = "1.8 x the largest usual joint deviation of a group as new as this";
        assert_eq!(sentence(new, alike), format!("{unusual}{named}"));
    }

    #[test]
    fn a_sentence_has_what_is_known_of_the_sample() {
        let expected = Some(Interval { yhat: 150.0, lower: 120.0, upper: 180.25 });
        let mut excursion = alone(0, 3.21, expected, None);
        let sentence = |excursion: &Excursion| sentence(excursion, &none(), &Zone::default());
        assert_eq!(sentence(&excursion), "score 3.21, expected 120 to 180.2, was 320");
        excursion.expected = Some(Interval { yhat: 150.0, lower: f64::NEG_INFINITY, upper: 180.0 });
        assert_eq!(sentence(&excursion), "score 3.21, expected at most 180, was 320");
        (excursion.expected, excursion.value) = (None, None);
        assert_eq!(sentence(&excursion), "score 3.21");
    }

    #[test]
    fn of_calibrated_it_says_what_a_score_of_1_stands_for_and_which_time_counts() {
        let expected = Some(Interval { yhat: 150.0, lower: 120.0, upper: 180.0 });
        // Monday, 2026-01-05 08:00 in UTC.
        let time = 1_767_600_000_000;
        let berlin = Zone::named("Europe/Berlin").unwrap();
        let of = |season, block, own| {
            let yardstick = Some(Yardstick { season, block, own, factor: 2.0 });
            sentence(&alone(time, 1.6, expected, yardstick), &none(), &berlin)
        };
        let usual = "3.2 x the largest deviation of its usual";
        let hour = 3_600_000;
        assert_eq!(
            of(Season::Weekly, 8 * hour, true),
            format!("{usual} 8 hours, expected 120 to 180 for Mondays 09:00, was 320")
        );
        assert_eq!(
            of(Season::Daily, 9 * hour, true),
            format!("{usual} 9 hours, expected 120 to 180 for 09:00, was 320")
        );
        assert_eq!(of(Season::None, 288 * hour, true), format!("{usual} 12 days, expected 120 to 180, was 320"));
        let new = "3.2 x the largest usual deviation of a series as new as this, expected 120 to 180, was 320";
        assert_eq!(of(Season::None, 8 * hour, false), new);
    }

    #[test]
    fn numbers_have_four_digits_and_no_needless_zeros() {
        let written = [0.0, 1.0, -0.00123, 15.249, 320.0, 999_999.4, 12_345_678.0, 1.5e-7, f64::INFINITY].map(number);
        assert_eq!(written, ["0", "1", "-0.00123", "15.25", "320", "999999", "1.235e7", "1.5e-7", "inf"]);
    }
}
