//! Classes that follow the calendar, holidays included.

use crate::duration;
use crate::fields::{Fields, not_allowed, wrong_type};
use crate::problem::Problems;
use crate::schema::{Domain, Key, Kind, Presence, Section};
use crate::section::model::Class;
use crate::section::model::holidays::countries;
use crate::section::model::online::{PREDICTIVE, REMEMBERING, WARM_UP, number, quantiles};
use crate::suggestion::{did_you_mean, nearest};
use crate::tree::Value;
use crate::worker::{Envelope, Horizon, ModelClass};

/// What classes that forecast take.
pub(crate) const FORECAST_AT: Key = Key::new(
    "forecast_at",
    Kind::Special("list of durations", "a list of durations longer than 0, as in `[1h, 1d]`, at most 100"),
    Presence::Absent("none"),
    "Also writes what is expected so long after each sample: `yhat_1h`, `yhat_lower_1h`, `yhat_upper_1h`, as far as `provide_series` has `yhat`, `yhat_lower`, `yhat_upper`.",
);

pub(super) const TEMPORAL_ENVELOPE: Class = Class {
    name: "temporal_envelope",
    section: Section {
        title: "`models.<alias>` of class `temporal_envelope`",
        about: "Level, trend, profiles of the calendar and of holidays, learnt with every sample; the band is of the quantiles of what they leave.",
        keys: &[FORECAST_AT],
    },
    shared: &[&CALENDAR, &WARM_UP, &REMEMBERING],
    series: PREDICTIVE,
    further_series: |_| Vec::new(),
    build: |fields, problems| {
        let forecast_at = forecast_at(fields, problems);
        ModelClass::TemporalEnvelope(Envelope { forecast_at, ..envelope(fields, problems) })
    },
};

/// What classes take that follow the calendar.
pub(crate) const CALENDAR: Section = Section {
    title: "`models.<alias>` of classes that follow the calendar",
    about: "Of `temporal_envelope` and `temporal_envelope_multivariate`.",
    keys: &[
        Key::new(
            "quantiles",
            Kind::Numbers(Domain::Share),
            Presence::Default("[0.25, 0.75]"),
            "Two, ascending: of the residuals in the core of the band.",
        ),
        Key::new(
            "iqr_threshold",
            Kind::Number(Domain::NotNegative),
            Presence::Default("2"),
            "Widens the band on both sides by so many widths of its core; more is fewer alarms, usually 1 to 4.",
        ),
        Key::new(
            "alpha",
            Kind::Number(Domain::UnitInterval),
            Presence::Default("0.005"),
            "How quickly the trend follows; usually 0.0025 to 0.02.",
        ),
        Key::new(
            "loss_reactivity",
            Kind::Number(Domain::Positive),
            Presence::Default("5"),
            "How far a deviation counts, in mean sizes of residuals; less is less influence of spikes, usually 1 to 5.",
        ),
        Key::new(
            "changepoint_window",
            Kind::Integer(1, 10_000),
            Presence::Default("16"),
            "Samples in a row on one side of the band that confirm another level; longer than ordinary bursts.",
        ),
        Key::new(
            "seasonalities",
            Kind::Special(
                "list of words",
                "a list of `hod_smooth`, `hod_spiky`, `hod_plateau`, `dow_smooth`, `dow_spiky`, `dow_plateau`, `weekpart_plateau`, `month_smooth`, `month_plateau`",
            ),
            Presence::Default("[hod_smooth, dow_smooth]"),
            "Profiles of the clock in the query's `tz`: of the hour of the day, the day of the week, the part of the week, the month; as a gradual curve, as narrow peaks, or as levels. `[]`: none.",
        ),
        Key::new("holidays", Kind::Section(&HOLIDAYS), Presence::Absent("none"), "Days that are unlike others."),
        Key::refused("args", "the class has no inner library"),
    ],
};

pub(crate) const HOLIDAYS: Section = Section {
    title: "`models.<alias>.holidays` of classes that follow the calendar",
    about: "Days whose response is learnt.",
    keys: &[
        Key::new(
            "special_events",
            Kind::Special("list of dates", "a list of dates: `MM-DD`, every year, or `YYYY-MM-DD`"),
            Presence::Absent("none"),
            "Days, in the query's `tz`.",
        ),
        Key::new(
            "countries",
            Kind::Special(
                "list of countries",
                "a list of countries by their ISO 3166 codes or English names, as in `[US, DE]`",
            ),
            Presence::Absent("none"),
            "Countries whose [public holidays](models.md#public-holidays) count too. Days of a name have one response; those that are in one year only share one. `special_events` come before them.",
        ),
        Key::new("group", Kind::Boolean, Presence::Default("false"), "Whether all of them have one response together."),
    ],
};

const PROFILES: [&str; 9] = [
    "hod_smooth",
    "hod_spiky",
    "hod_plateau",
    "dow_smooth",
    "dow_spiky",
    "dow_plateau",
    "weekpart_plateau",
    "month_smooth",
    "month_plateau",
];

/// Everything but the horizons.
pub(super) fn envelope(fields: &Fields<'_>, problems: &mut Problems) -> Envelope {
    let quantiles = quantiles(fields, problems).unwrap_or([0.25, 0.75]);
    if quantiles[0] >= quantiles[1] {
        fields.conflict("quantiles", "the first must be below the second", problems);
    }
    let holidays = fields.inner("holidays", &HOLIDAYS, problems);
    Envelope {
        quantiles,
        iqr_threshold: number(fields, "iqr_threshold", problems),
        alpha: number(fields, "alpha", problems),
        loss_reactivity: number(fields, "loss_reactivity", problems),
        changepoint_window: fields.whole("changepoint_window", problems).unwrap_or(1),
        seasonalities: seasonalities(fields, problems),
        special_events: holidays.as_ref().map(|holidays| special_events(holidays, problems)).unwrap_or_default(),
        countries: holidays.as_ref().map(|holidays| countries(holidays, problems)).unwrap_or_default(),
        group_holidays: holidays.and_then(|holidays| holidays.boolean("group", problems)).unwrap_or_default(),
        forecast_at: Vec::new(),
    }
}

/// The texts of a list, those that `parse` refuses left out and reported.
pub(super) fn items<T>(
    fields: &Fields<'_>,
    name: &str,
    expected: &str,
    problems: &mut Problems,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Vec<T> {
    if fields.raw(name).is_none() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (item, path) in fields.list(name, problems).unwrap_or_default() {
        match &item.value {
            Value::Scalar(scalar) => match parse(scalar.text.trim()) {
                Ok(value) => found.push(value),
                Err(reason) => problems.error(&item.place, path, not_allowed(scalar, reason, || expected.to_owned())),
            },
            Value::Faulty => {}
            _ => problems.error(&item.place, path, wrong_type(expected, item)),
        }
    }
    found
}

fn seasonalities(fields: &Fields<'_>, problems: &mut Problems) -> Vec<String> {
    if fields.raw("seasonalities").is_none() {
        return vec!["hod_smooth".to_owned(), "dow_smooth".to_owned()];
    }
    let known = |text: &str| match PROFILES.contains(&text) {
        true => Ok(text.to_owned()),
        false => Err(format!("there is no such profile{}", did_you_mean(nearest(text, PROFILES)))),
    };
    let names = items(fields, "seasonalities", "the name of a profile", problems, known);
    if let Some(twice) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
        fields.conflict("seasonalities", format!("has `{}` twice", twice.1), problems);
    }
    names
}

fn special_events(fields: &Fields<'_>, problems: &mut Problems) -> Vec<String> {
    items(fields, "special_events", "a date as in `12-24` or `2024-12-24`", problems, |text| {
        let is_date = |text: &str| text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok();
        // A leap year has all days.
        if is_date(text) || is_date(&format!("2000-{text}")) {
            Ok(text.to_owned())
        } else {
            Err("must be a date as in `12-24` or `2024-12-24`".to_owned())
        }
    })
}

/// The horizons of `forecast_at`.
pub(super) fn forecast_at(fields: &Fields<'_>, problems: &mut Problems) -> Vec<Horizon> {
    const MOST: usize = 100;
    let horizon = |text: &str| {
        let after = duration::parse(text).map_err(|error| error.to_string())?;
        Ok(Horizon { name: text.to_owned(), after })
    };
    let horizons = items(fields, "forecast_at", "a duration longer than 0, as in `1h`", problems, horizon);
    if horizons.len() > MOST {
        fields.conflict(
            "forecast_at",
            format!("has {} horizons, at most {MOST} are allowed", horizons.len()),
            problems,
        );
    }
    if let Some((_, twice)) = horizons.iter().enumerate().find(|(at, one)| horizons[..*at].contains(one)) {
        fields.conflict("forecast_at", format!("has `{}` twice", twice.name), problems);
    }
    horizons
}
