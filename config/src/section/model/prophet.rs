//! `prophet`.

use std::collections::BTreeSet;

use crate::country;
use crate::fields::{Fields, not_allowed, wrong_type};
use crate::problem::Problems;
use crate::schema::{Domain, Key, Kind, Presence, Section};
use crate::section::model::Class;
use crate::section::model::envelope::{FORECAST_AT, forecast_at, items};
use crate::section::model::holidays::{COUNTRY, holidays};
use crate::section::model::online::number;
use crate::tree::Value;
use crate::worker::{BuiltIn, Compression, Growth, Holiday, LocalSeasonality, Mode, ModelClass, Prophet, Seasonality};

pub(super) const PROPHET: Class = Class {
    name: "prophet",
    section: Section {
        title: "`models.<alias>` of class `prophet`",
        about: "A trend that bends, seasons as sums of sines, fitted to a window: what Prophet gives, without Stan.",
        keys: &[
            Key::new(
                "seasonalities",
                Kind::Special(
                    "list of sections",
                    "a list of maps, see `models.<alias>.seasonalities` of class `prophet`",
                ),
                Presence::Absent("none"),
                "Seasons beside those that the model finds by itself.",
            ),
            Key::new(
                "tz_aware",
                Kind::Boolean,
                Presence::Default("false"),
                "Whether seasons follow the clock of the query's `tz` instead of UTC.",
            ),
            Key::new(
                "tz_seasonalities",
                Kind::Special(
                    "list of words or sections",
                    "a list of `minute`, `hod`, `dow`, `month`, or of maps with such a `name`",
                ),
                Presence::Absent("none"),
                "Seasons of the local clock; needs `tz_aware`. With `hod`, set `args: {daily_seasonality: false}`: it is the same season.",
            ),
            Key::new(
                "tz_use_cyclical_encoding",
                Kind::Boolean,
                Presence::Default("false"),
                "Whether these are one sine and one cosine each; needs `tz_seasonalities`.",
            ),
            FORECAST_AT,
            Key::new(
                "compression",
                Kind::Section(&COMPRESSION),
                Presence::Absent("none"),
                "A fit to fewer points than there are.",
            ),
            Key::new("args", Kind::Section(&ARGS), Presence::Absent("the defaults"), "Arguments of Prophet."),
        ],
    },
    shared: &[],
    series: &["anomaly_score", "y", "yhat", "yhat_lower", "yhat_upper", "trend"],
    further_series: |class| match class {
        ModelClass::Prophet(prophet) => components(prophet),
        _ => Vec::new(),
    },
    build: |fields, problems| ModelClass::Prophet(Box::new(prophet(fields, problems))),
};

pub(crate) const SEASONALITY: Section = Section {
    title: "`models.<alias>.seasonalities` and `tz_seasonalities` of class `prophet`",
    about: "One season. Those of `tz_seasonalities` have no `period`.",
    keys: &[
        Key::new(
            "name",
            Kind::Text,
            Presence::Required,
            "Its name, and that of its output series. `yearly`, `weekly` and `daily` replace the model's own.",
        ),
        Key::new(
            "period",
            Kind::Number(Domain::Positive),
            Presence::Absent("required but in `tz_seasonalities`"),
            "Its length in days.",
        ),
        Key::new(
            "fourier_order",
            Kind::Integer(1, 1_000),
            Presence::Absent(
                "required but in `tz_seasonalities`: there 4 for `minute` and `hod`, 3 for `dow`, 10 for `month`",
            ),
            "Number of sines: more follow quicker changes.",
        ),
        Key::new(
            "prior_scale",
            Kind::Number(Domain::Positive),
            Presence::Absent("`args.seasonality_prior_scale`"),
            "How large its effects may be.",
        ),
        Key::new(
            "mode",
            Kind::OneOf(&MODES),
            Presence::Absent("`args.seasonality_mode`"),
            "Whether it is added to the trend, or a fraction of it.",
        ),
        Key::refused(
            "condition_name",
            "it names a column of true and false beside the samples, which a file cannot give",
        ),
    ],
};

pub(crate) const COMPRESSION: Section = Section {
    title: "`models.<alias>.compression` of class `prophet`",
    about: "The samples of a stretch of time become one before a fit.",
    keys: &[
        Key::new("window", Kind::Duration, Presence::Required, "Length of the stretches."),
        Key::new("agg_method", Kind::OneOf(&["mean", "median"]), Presence::Default("mean"), "What they become."),
        Key::new(
            "adjust_boundaries",
            Kind::Boolean,
            Presence::Default("true"),
            "Whether the band is widened by what was lost.",
        ),
    ],
};

const MODES: [&str; 2] = ["additive", "multiplicative"];
const BUILT_IN: Kind = Kind::Special("word or number", "`auto`, `true`, `false` or a number of sines up to 1000");

pub(crate) const ARGS: Section = Section {
    title: "`models.<alias>.args` of class `prophet`",
    about: "Arguments of Prophet's constructor.",
    keys: &[
        Key::new("growth", Kind::OneOf(&["linear", "flat", "logistic"]), Presence::Default("linear"), "The trend."),
        Key::new(
            "cap",
            Kind::Number(Domain::Finite),
            Presence::Absent("required with `growth: logistic`"),
            "Where a logistic trend saturates above.",
        )
        .own(),
        Key::new(
            "floor",
            Kind::Number(Domain::Finite),
            Presence::Default("0"),
            "Where a logistic trend saturates below.",
        )
        .own(),
        Key::new(
            "changepoints",
            Kind::Special(
                "list of times",
                "a list of times as in `2024-05-01`, `2024-05-01 12:00` or `2024-05-01T12:00:00+02:00`, at most 2000",
            ),
            Presence::Absent("at points of the window, see `n_changepoints`"),
            "Times at which the trend may bend, in UTC where they have no offset. Those outside the window do not matter. `[]`: it never bends.",
        ),
        Key::new(
            "n_changepoints",
            Kind::Integer(0, 2_000),
            Presence::Default("25"),
            "Points of the window at which the trend may bend.",
        ),
        Key::new(
            "changepoint_range",
            Kind::Number(Domain::Share),
            Presence::Default("0.8"),
            "Share of the window, from its start on, in which they are.",
        ),
        Key::new(
            "changepoint_prior_scale",
            Kind::Number(Domain::Positive),
            Presence::Default("0.05"),
            "How far it may bend.",
        ),
        Key::new(
            "yearly_seasonality",
            BUILT_IN,
            Presence::Default("auto"),
            "A season of a year; `auto`: with two years of samples.",
        ),
        Key::new(
            "weekly_seasonality",
            BUILT_IN,
            Presence::Default("auto"),
            "A season of a week; `auto`: with two weeks from the first to the last sample.",
        ),
        Key::new(
            "daily_seasonality",
            BUILT_IN,
            Presence::Default("auto"),
            "A season of a day; `auto`: with two days of samples.",
        ),
        Key::new(
            "seasonality_mode",
            Kind::OneOf(&MODES),
            Presence::Default("additive"),
            "Whether seasons are added to the trend, or fractions of it.",
        ),
        Key::new(
            "seasonality_prior_scale",
            Kind::Number(Domain::Positive),
            Presence::Default("10"),
            "How large the effects of seasons may be.",
        ),
        Key::new(
            "interval_width",
            Kind::Number(Domain::Inside),
            Presence::Default("0.8"),
            "Share of the values that the band is to hold.",
        ),
        Key::new(
            "scaling",
            Kind::OneOf(&["absmax", "minmax"]),
            Presence::Default("absmax"),
            "What values are divided by before a fit.",
        ),
        Key::new(
            "mcmc_samples",
            Kind::Special("whole number", "0"),
            Presence::Default("0"),
            "There is one estimate of the parameters, the most likely one.",
        ),
        Key::ignored("uncertainty_samples", "the band is computed from its distribution, not from samples of it"),
        Key::ignored("stan_backend", "there is no Stan"),
        Key::new(
            "holidays",
            Kind::Special("list of sections", "a list of maps, see `models.<alias>.args.holidays` of class `prophet`"),
            Presence::Absent("none"),
            "Days that have effects of their own.",
        ),
        Key::new(
            "country_holidays",
            Kind::Special("country", COUNTRY),
            Presence::Absent("none"),
            "Country whose [public holidays](models.md#public-holidays) have effects of their own, each under its English name.",
        ),
        Key::new(
            "holidays_mode",
            Kind::OneOf(&MODES),
            Presence::Absent("`seasonality_mode`"),
            "Whether holidays are added to the trend, or fractions of it.",
        ),
        Key::new(
            "holidays_prior_scale",
            Kind::Number(Domain::Positive),
            Presence::Default("10"),
            "How large the effects of holidays may be.",
        ),
    ],
};

/// The cycles of `tz_seasonalities`.
const CYCLES: [&str; 4] = ["minute", "hod", "dow", "month"];

/// Names that parts of every fit have, and so no season and no holiday; nor with `_lower` or `_upper` after them.
const RESERVED: [&str; 20] = [
    "trend",
    "additive_terms",
    "multiplicative_terms",
    "daily",
    "weekly",
    "yearly",
    "holidays",
    "zeros",
    "extra_regressors_additive",
    "extra_regressors_multiplicative",
    "yhat",
    "y",
    "anomaly_score",
    "stage",
    "ds",
    "cap",
    "floor",
    "y_scaled",
    "cap_scaled",
    "timestamp",
];

fn is_reserved(name: &str) -> bool {
    let stem = name.strip_suffix("_lower").or_else(|| name.strip_suffix("_upper")).unwrap_or(name);
    RESERVED.contains(&stem) || name.contains("_delim_")
}

/// What the model can write besides its interval.
fn components(prophet: &Prophet) -> Vec<String> {
    let country = prophet.country.as_deref().and_then(::holidays::of_country).unwrap_or_default();
    let mut stems = vec!["additive_terms", "multiplicative_terms"];
    stems.extend(prophet.seasonalities.iter().map(|season| season.name.as_str()));
    stems.extend(prophet.local_seasonalities.iter().map(|season| season.cycle.as_str()));
    let built_in = [("yearly", prophet.yearly), ("weekly", prophet.weekly), ("daily", prophet.daily)];
    stems.extend(built_in.iter().filter(|(_, built_in)| *built_in != BuiltIn::Off).map(|(name, _)| *name));
    if !(prophet.holidays.is_empty() && country.is_empty()) {
        stems.push("holidays");
    }
    stems.extend(prophet.holidays.iter().map(|holiday| holiday.name.as_str()));
    stems.extend(country.iter().map(|holiday| holiday.name));
    let mut seen = BTreeSet::new();
    let mut names = vec!["trend_lower".to_owned(), "trend_upper".to_owned()];
    for stem in stems.into_iter().filter(|stem| seen.insert(*stem)) {
        names.extend([stem.to_owned(), format!("{stem}_lower"), format!("{stem}_upper")]);
    }
    names
}

fn prophet(fields: &Fields<'_>, problems: &mut Problems) -> Prophet {
    let tz_aware = fields.boolean("tz_aware", problems).unwrap_or_default();
    let local_seasonalities = local_seasonalities(fields, problems);
    if fields.raw("tz_seasonalities").is_some() && !tz_aware {
        fields.conflict("tz_seasonalities", "needs `tz_aware: true`", problems);
    }
    let cyclical = fields.boolean("tz_use_cyclical_encoding", problems).unwrap_or_default();
    if cyclical && local_seasonalities.is_empty() {
        fields.conflict("tz_use_cyclical_encoding", "needs `tz_seasonalities`", problems);
    }
    let compression = fields.raw("compression");
    let compression = compression.and_then(|_| fields.inner("compression", &COMPRESSION, problems));
    let mut prophet =
        fields.inner("args", &ARGS, problems).map_or_else(Prophet::default, |args| from_args(&args, problems));
    let is_local = |name: &str| local_seasonalities.iter().any(|season| season.cycle == name);
    prophet.seasonalities = seasonalities(fields, &is_local, problems);
    for Holiday { name, .. } in &prophet.holidays {
        if is_reserved(name) || is_local(name) || prophet.seasonalities.iter().any(|season| season.name == *name) {
            let reason = format!("the holiday `{name}` has the name of another part of the model");
            fields.conflict("args", reason, problems);
        }
    }
    prophet.tz_aware = tz_aware;
    prophet.local_seasonalities = local_seasonalities;
    prophet.cyclical_encoding = cyclical;
    prophet.forecast_at = forecast_at(fields, problems);
    prophet.compression = compression.map(|fields| Compression {
        window: fields.duration("window", problems).unwrap_or(1),
        median: fields.one_of("agg_method", problems) == Some("median"),
        adjust_boundaries: fields.boolean("adjust_boundaries", problems).unwrap_or_default(),
    });
    prophet
}

fn from_args(fields: &Fields<'_>, problems: &mut Problems) -> Prophet {
    let (cap, floor) = (fields.number("cap", problems), number(fields, "floor", problems));
    let growth = match fields.one_of("growth", problems) {
        Some("flat") => Growth::Flat,
        Some("logistic") => {
            if !fields.is_written("cap") {
                fields.conflict("cap", "is required with `growth: logistic`", problems);
            } else if cap.is_some_and(|cap| cap <= floor) {
                fields.not_allowed("cap", "must be above `floor`", problems);
            }
            Growth::Logistic { cap: cap.unwrap_or(floor + 1.0), floor }
        }
        _ => Growth::Linear,
    };
    for name in ["cap", "floor"] {
        if fields.raw(name).is_some() && !matches!(growth, Growth::Logistic { .. }) {
            fields.warn(name, "has no effect here: it is of `growth: logistic`", problems);
        }
    }
    let mut built_in = |name| {
        let order = |text: &str| match text.parse::<u16>() {
            Ok(0) => Ok(BuiltIn::Off),
            Ok(order @ 1..=1_000) => Ok(BuiltIn::Order(order)),
            _ => match Kind::boolean(text) {
                Ok(true) => Ok(BuiltIn::On),
                Ok(false) => Ok(BuiltIn::Off),
                Err(_) => Err(format!("must be {}", BUILT_IN.allowed())),
            },
        };
        fields
            .parsed(name, problems, |text| if text == "auto" { Ok(BuiltIn::Auto) } else { order(text) })
            .unwrap_or_default()
    };
    let (yearly, weekly, daily) =
        (built_in("yearly_seasonality"), built_in("weekly_seasonality"), built_in("daily_seasonality"));
    fields.parsed("mcmc_samples", problems, |text| match text.trim() {
        "0" => Ok(()),
        _ => {
            Err("must be 0: there is one estimate of the parameters, the most likely one, and no sample of them"
                .to_owned())
        }
    });
    let holidays_prior_scale = number(fields, "holidays_prior_scale", problems);
    Prophet {
        growth,
        changepoints: changepoints(fields, problems),
        n_changepoints: fields.whole("n_changepoints", problems).unwrap_or_default(),
        changepoint_range: number(fields, "changepoint_range", problems),
        changepoint_prior_scale: number(fields, "changepoint_prior_scale", problems),
        yearly,
        weekly,
        daily,
        seasonality_mode: mode(fields, "seasonality_mode", problems).unwrap_or_default(),
        seasonality_prior_scale: number(fields, "seasonality_prior_scale", problems),
        holidays: holidays(fields, holidays_prior_scale, problems),
        country: fields
            .parsed("country_holidays", problems, |text| country::parse(text).map_err(|error| error.to_string())),
        holidays_mode: mode(fields, "holidays_mode", problems),
        holidays_prior_scale,
        interval_width: number(fields, "interval_width", problems),
        min_max_scaling: fields.one_of("scaling", problems) == Some("minmax"),
        ..Prophet::default()
    }
}

/// The times of `changepoints`, ms, ascending.
fn changepoints(fields: &Fields<'_>, problems: &mut Problems) -> Option<Vec<i64>> {
    const MOST: usize = 2_000;
    const TIME: &str = "a time as in `2024-05-01` or `2024-05-01T12:00:00Z`";
    fields.raw("changepoints")?;
    let time = |text: &str| {
        let local = || text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
        let time = text.parse::<jiff::Timestamp>().ok().or_else(|| Some(local()?.timestamp()));
        time.map(jiff::Timestamp::as_millisecond).ok_or_else(|| format!("must be {TIME}"))
    };
    let mut times = items(fields, "changepoints", TIME, problems, time);
    if times.len() > MOST {
        fields.conflict("changepoints", format!("has {} times, at most {MOST} are allowed", times.len()), problems);
    }
    for name in ["n_changepoints", "changepoint_range"] {
        if fields.raw(name).is_some() {
            fields.warn(name, "has no effect here: `changepoints` says where the trend may bend", problems);
        }
    }
    times.sort_unstable();
    times.dedup();
    Some(times)
}

fn mode(fields: &Fields<'_>, name: &str, problems: &mut Problems) -> Option<Mode> {
    fields
        .one_of(name, problems)
        .map(|word| if word == "multiplicative" { Mode::Multiplicative } else { Mode::Additive })
}

fn seasonalities(fields: &Fields<'_>, is_local: &dyn Fn(&str) -> bool, problems: &mut Problems) -> Vec<Seasonality> {
    const MOST_SINES: u32 = 2_000;
    let mut found: Vec<Seasonality> = Vec::new();
    if fields.raw("seasonalities").is_none() {
        return found;
    }
    for (item, path) in fields.list("seasonalities", problems).unwrap_or_default() {
        let Some(fields) = Fields::open(&[&SEASONALITY], item, path, problems) else { continue };
        for name in ["period", "fourier_order"] {
            if !fields.is_written(name) {
                fields.conflict(name, "is required", problems);
            }
        }
        let name = fields.text("name", problems).unwrap_or_default();
        let is_taken = is_reserved(&name) && !["yearly", "weekly", "daily"].contains(&name.as_str());
        if is_taken || is_local(&name) || found.iter().any(|season| season.name == name) {
            fields.not_allowed("name", "is the name of another part of the model", problems);
        }
        found.push(Seasonality {
            name,
            period: fields.number("period", problems).unwrap_or(1.0),
            fourier_order: fields.whole("fourier_order", problems).unwrap_or(1),
            prior_scale: fields.number("prior_scale", problems),
            mode: mode(&fields, "mode", problems),
        });
    }
    let sines: u32 = found.iter().map(|season| u32::from(season.fourier_order)).sum();
    if sines > MOST_SINES {
        let reason = format!("have {sines} sines together, at most {MOST_SINES} are allowed");
        fields.conflict("seasonalities", reason, problems);
    }
    found
}

fn local_seasonalities(fields: &Fields<'_>, problems: &mut Problems) -> Vec<LocalSeasonality> {
    let mut found: Vec<LocalSeasonality> = Vec::new();
    if fields.raw("tz_seasonalities").is_none() {
        return found;
    }
    let cycle = |text: &str| match CYCLES.contains(&text) {
        true => Ok(text.to_owned()),
        false => Err("must be `minute`, `hod`, `dow` or `month`".to_owned()),
    };
    for (item, path) in fields.list("tz_seasonalities", problems).unwrap_or_default() {
        let season = match &item.value {
            Value::Scalar(scalar) => match cycle(&scalar.text) {
                Ok(cycle) => Some(LocalSeasonality { cycle, fourier_order: None, prior_scale: None, mode: None }),
                Err(reason) => {
                    problems.error(&item.place, path, not_allowed(scalar, reason, || "the name of a cycle".to_owned()));
                    None
                }
            },
            Value::Map(_) => Fields::open(&[&SEASONALITY], item, path, problems).and_then(|fields| {
                Some(LocalSeasonality {
                    fourier_order: fields.whole("fourier_order", problems),
                    prior_scale: fields.number("prior_scale", problems),
                    mode: mode(&fields, "mode", problems),
                    cycle: fields.parsed("name", problems, cycle)?,
                })
            }),
            Value::Faulty => None,
            _ => {
                problems.error(&item.place, path, wrong_type("the name of a cycle, or a map", item));
                None
            }
        };
        found.extend(season);
    }
    if let Some((_, twice)) =
        found.iter().enumerate().find(|(at, one)| found[..*at].iter().any(|other| other.cycle == one.cycle))
    {
        fields.conflict("tz_seasonalities", format!("has `{}` twice", twice.cycle), problems);
    }
    found
}
