//! `schedulers`: when to fit and when to infer.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::class;
use crate::fields::Fields;
use crate::problem::Problems;
use crate::schema::{Key, Kind, Presence, Section};
use crate::tree::Node;
use crate::worker::{Scheduler, StartFrom};
use crate::{duration, zone};

pub(crate) const SECTION: Section = Section {
    title: "`schedulers.<alias>`",
    about: "When to fit and when to infer. Several are allowed; each model runs under each of its schedulers.",
    keys: &[
        Key::new("class", CLASS, Presence::Default("periodic"), "`periodic`, or `scheduler.periodic.PeriodicScheduler`."),
        Key::new("fit_window", Kind::Duration, Presence::Required,
            "Length of the training data, which ends at the fit. At least the step of every query."),
        Key::new("infer_every", LEAST_SECOND, Presence::Required,
            "Distance of ticks: how often new samples are read and scored."),
        Key::new("fit_every", LEAST_SECOND, Presence::Absent("`infer_every`"),
            "Distance of fits. A fit resets what online models have learnt and learns `fit_window` anew; `1000d` means: only at the start."),
        Key::new("start_from", START, Presence::Absent("at once"),
            "Moment of the first fit: ISO 8601 with or without an offset, or a time of day. A moment in the past stands for the next one at a distance of whole `fit_every`, a time of day in the past for the same time tomorrow."),
        Key::new("tz", Kind::Zone, Presence::Default("UTC"), "Time zone of `start_from`."),
        Key::new("scatter_infer_jobs", Kind::Boolean, Presence::Default("false"),
            "Spreads the reads of the scheduler's queries over the interval."),
        Key::new("fit_lag", Kind::Duration, Presence::Absent("as soon as the fit is ready"),
            "A fit of data up to F takes over at exactly F + `fit_lag`; a whole multiple of `infer_every`, at most `fit_every`. Makes runs repeatable.").own(),
    ],
};

const CLASS: Kind = Kind::Special("class", "`periodic`");
const START: Kind = Kind::Special(
    "time",
    "a time of day `HH:MM`, or ISO 8601 as in `2026-01-31T06:00:00`, `2026-01-31T06:00:00+02:00`",
);
const LEAST_SECOND: Kind = Kind::Special("duration", "a duration of at least 1s, as in `1m`");

pub(crate) fn build(node: &Node, path: &str, problems: &mut Problems) -> Option<Scheduler> {
    class::resolve("scheduler", class::SCHEDULERS, node, path, Some("periodic"), problems)?;
    let fields = Fields::open(&[&SECTION], node, path, problems)?;
    let fit_window = fields.duration("fit_window", problems);
    let infer_every = fields.parsed("infer_every", problems, at_least_a_second);
    let mut fit_every = fields.parsed("fit_every", problems, at_least_a_second).or(infer_every);
    if let (Some(fit), Some(infer)) = (fit_every, infer_every)
        && fit < infer
    {
        let message = format!("shorter than `infer_every`; raised to {}", duration::format(infer));
        fields.warn("fit_every", message, problems);
        fit_every = infer_every;
    }
    let tz = fields.zone("tz", problems);
    let start_from = tz
        .as_deref()
        .and_then(|tz| zone::parse(tz).ok())
        .and_then(|zone| fields.parsed("start_from", problems, |text| start_from(text, &zone)));
    let fit_lag = fields.duration("fit_lag", problems);
    if let (Some(lag), Some(infer), Some(fit)) = (fit_lag, infer_every, fit_every) {
        if lag % infer != 0 {
            let infer = duration::format(infer);
            fields.not_allowed("fit_lag", format!("must be a multiple of `infer_every`, {infer}"), problems);
        } else if lag > fit {
            let fit = duration::format(fit);
            fields.not_allowed("fit_lag", format!("must be at most `fit_every`, {fit}"), problems);
        }
    }
    Some(Scheduler {
        fit_window: fit_window?,
        fit_every: fit_every?,
        infer_every: infer_every?,
        start_from,
        tz: tz?,
        scatter_infer_jobs: fields.boolean("scatter_infer_jobs", problems)?,
        fit_lag,
    })
}

fn at_least_a_second(text: &str) -> Result<i64, String> {
    match duration::parse(text) {
        Ok(milliseconds) if milliseconds < 1_000 => Err("must be at least 1s".into()),
        Ok(milliseconds) => Ok(milliseconds),
        Err(error) => Err(error.to_string()),
    }
}

fn start_from(text: &str, zone: &TimeZone) -> Result<StartFrom, String> {
    let text = text.trim();
    if let Some(time) = time_of_day(text) {
        return Ok(time);
    }
    let instant = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        let local: DateTime = text.parse().ok()?;
        local.to_zoned(zone.clone()).ok().map(|moment| moment.timestamp())
    });
    let instant = instant.ok_or_else(|| format!("must be {}", START.allowed()))?;
    Ok(StartFrom::At(instant.as_millisecond()))
}

fn time_of_day(text: &str) -> Option<StartFrom> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str, most: u8| {
        let digits = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u8>().ok().filter(|value| digits && *value <= most)
    };
    Some(StartFrom::TimeOfDay(number(hour, 23)?, number(minute, 59)?))
}
