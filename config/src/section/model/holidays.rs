//! Days that are unlike others: public holidays by country, days of the user's own.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil;

use crate::country;
use crate::fields::{Fields, not_allowed, wrong_type};
use crate::problem::Problems;
use crate::schema::{Domain, Key, Kind, Presence, Section};
use crate::section::model::envelope::items;
use crate::tree::{Node, Value};
use crate::worker::Holiday;

/// A country, in words for messages and the reference.
pub(super) const COUNTRY: &str = "a country by its ISO 3166 code or its English name, as in `US` or `UnitedStates`";

const DATE: &str = "a date as in `2024-12-24`";

pub(crate) const HOLIDAY: Section = Section {
    title: "`models.<alias>.args.holidays` of class `prophet`",
    about: "Days that have effects of their own: the columns of Prophet's table of holidays. All days of a name have the same effects.",
    keys: &[
        Key::new("holiday", Kind::Text, Presence::Required, "Their name, and that of their output series."),
        Key::new(
            "ds",
            Kind::Special("date or list of dates", "a date as in `2024-12-24`, or a list of dates"),
            Presence::Required,
            "The days, in UTC; with `tz_aware` in the query's `tz`.",
        ),
        Key::new(
            "lower_window",
            Kind::Integer(-366, 0),
            Presence::Default("0"),
            "Days before each of them that have effects too, each one its own: `-1` for the day before.",
        ),
        Key::new(
            "upper_window",
            Kind::Integer(0, 366),
            Presence::Default("0"),
            "Days after each of them that have effects too, each one its own.",
        ),
        Key::new(
            "prior_scale",
            Kind::Number(Domain::Positive),
            Presence::Absent("`args.holidays_prior_scale`"),
            "How large their effects may be; the same in all entries of a name.",
        ),
    ],
};

/// Days since 1970-01-01.
fn day_number(text: &str) -> Result<i64, String> {
    let date: civil::Date = text.trim().parse().map_err(|_| format!("must be {DATE}"))?;
    let since = date.since(civil::date(1970, 1, 1)).map_err(|error| error.to_string())?;
    Ok(i64::from(since.get_days()))
}

/// The codes of the countries of a list, each once.
pub(super) fn countries(fields: &Fields<'_>, problems: &mut Problems) -> Vec<String> {
    let known = |text: &str| country::parse(text).map_err(|error| error.to_string());
    let codes = items(fields, "countries", COUNTRY, problems, known);
    if let Some((_, twice)) = codes.iter().enumerate().find(|(at, code)| codes[..*at].contains(code)) {
        fields.conflict("countries", format!("has `{twice}` twice"), problems);
    }
    codes
}

/// The days of `args.holidays`. `usual_prior_scale` is that of entries without one.
pub(super) fn holidays(fields: &Fields<'_>, usual_prior_scale: f64, problems: &mut Problems) -> Vec<Holiday> {
    const MOST_DAYS: usize = 10_000;
    const MOST_EFFECTS: i32 = 2_000;
    let mut found: Vec<Holiday> = Vec::new();
    if fields.raw("holidays").is_none() {
        return found;
    }
    let mut prior_scales: BTreeMap<String, f64> = BTreeMap::new();
    for (item, path) in fields.list("holidays", problems).unwrap_or_default() {
        let Some(entry) = Fields::open(&[&HOLIDAY], item, path, problems) else { continue };
        let holiday = Holiday {
            name: entry.text("holiday", problems).unwrap_or_default(),
            days: days(&entry, problems),
            lower_window: entry.whole("lower_window", problems).unwrap_or_default(),
            upper_window: entry.whole("upper_window", problems).unwrap_or_default(),
            prior_scale: entry.number("prior_scale", problems),
        };
        let prior_scale = holiday.prior_scale.unwrap_or(usual_prior_scale);
        if *prior_scales.entry(holiday.name.clone()).or_insert(prior_scale) != prior_scale {
            let reason = format!("is another one than in the entry of `{}` before", holiday.name);
            entry.conflict("prior_scale", reason, problems);
        }
        found.push(holiday);
    }
    let count: usize = found.iter().map(|holiday| holiday.days.len()).sum();
    if count > MOST_DAYS {
        fields.conflict("holidays", format!("has {count} days, at most {MOST_DAYS} are allowed"), problems);
    }
    let mut windows: BTreeMap<&str, (i32, i32)> = BTreeMap::new();
    for Holiday { name, lower_window, upper_window, .. } in &found {
        let window = windows.entry(name).or_default();
        *window = (window.0.min(*lower_window), window.1.max(*upper_window));
    }
    let effects: i32 = windows.values().map(|(lower, upper)| upper - lower + 1).sum();
    if effects > MOST_EFFECTS {
        let reason = format!(
            "has {effects} effects, one for each name and day of its window; at most {MOST_EFFECTS} are allowed"
        );
        fields.conflict("holidays", reason, problems);
    }
    found
}

fn days(entry: &Fields<'_>, problems: &mut Problems) -> Vec<i64> {
    let Some(node) = entry.node("ds", problems) else { return Vec::new() };
    let mut days = BTreeSet::new();
    let mut read = |node: &Node, path: String, problems: &mut Problems| match &node.value {
        Value::Scalar(scalar) => match day_number(&scalar.text) {
            Ok(day) => {
                days.insert(day);
            }
            Err(reason) => problems.error(&node.place, path, not_allowed(scalar, reason, || DATE.to_owned())),
        },
        Value::Faulty => {}
        Value::Null | Value::List(_) | Value::Map(_) => problems.error(&node.place, path, wrong_type(DATE, node)),
    };
    match &node.value {
        Value::List(dates) if dates.is_empty() => entry.conflict("ds", "has no date", problems),
        Value::List(dates) => {
            for (index, date) in dates.iter().enumerate() {
                read(date, format!("{}[{index}]", entry.path_of("ds")), problems);
            }
        }
        _ => read(node, entry.path_of("ds"), problems),
    }
    days.into_iter().collect()
}
