//! Classes that learn every sample that they score.

use crate::fields::Fields;
use crate::problem::Problems;
use crate::schema::{Domain, Key, Kind, Presence, Section};
use crate::section::model::Class;
use crate::worker::ModelClass;

/// What all of them take.
pub(crate) const WARM_UP: Section = Section {
    title: "`models.<alias>` of classes that learn every sample",
    about: "Of `calibrated`, all classes whose name ends in `_online`, `rolling_quantile`, `std`, `temporal_envelope`, `calibrated_multivariate` and `temporal_envelope_multivariate`.",
    keys: &[Key::new(
        "min_n_samples_seen",
        Kind::Integer(1, i64::MAX),
        Presence::Default("16"),
        "The score is 0 until a series, or a group of them, has had so many samples since its fit started.",
    )],
};

/// What those take whose memory of old samples fades.
pub(crate) const FORGETTING: Section = Section {
    title: "`models.<alias>` of classes that forget",
    about: "Of `zscore_online`, `mad_online` and `quantile_online`.",
    keys: &[
        Key::new(
            "decay",
            Kind::Number(Domain::UnitInterval),
            Presence::Default("1"),
            "Weight that what is learnt keeps with every new sample: the last N samples have 1 - decay^N of the weight. 1 forgets nothing.",
        ),
        Key::new(
            "history_strength",
            Kind::Number(Domain::Positive),
            Presence::Default("1"),
            "Multiplies the weight of what a fit has seen against the samples after it.",
        ),
    ],
};

/// What those have no use for whose memory has its own arguments.
pub(crate) const REMEMBERING: Section = Section {
    title: "`models.<alias>` of classes with a memory of their own",
    about: "Of `calibrated`, `rolling_quantile`, `std`, `temporal_envelope`, `calibrated_multivariate` and `temporal_envelope_multivariate`.",
    keys: &[
        Key::ignored("decay", "what the class remembers follows from its own arguments"),
        Key::ignored("history_strength", "what the class remembers follows from its own arguments"),
    ],
};

/// What a class writes that expects an interval.
pub(super) const PREDICTIVE: &[&str] = &["anomaly_score", "y", "yhat", "yhat_lower", "yhat_upper"];

/// What a score of `calibrated` comes from, as it can be written.
const DRIVERS: [&str; 7] = ["season", "view", "usual_deviation", "hour_factor", "unrest_factor", "threshold", "hold"];

/// The class of a configuration without models.
pub(super) const CALIBRATED: Class = Class {
    name: "calibrated",
    section: Section {
        title: "`models.<alias>` of class `calibrated`",
        about: "What is usual at this time of the day and week, in a band that this series leaves rarely. A file without `models` has this one for all queries. Nothing has to be set: all that it needs follows from the query's `step` and the series. The first 30 samples score 0, whatever `min_n_samples_seen` is.",
        keys: &[
            Key::new(
                "false_alarms_per_day",
                Kind::Number(Domain::Rate),
                Presence::Default("0.1"),
                "How many alarms by chance each series is to have a day. Fewer: a wider band, which misses more. What was learnt is kept when it changes. [How near series come to it](detection-quality.md#the-rate-that-you-ask-for).",
            )
            .own(),
            Key::new(
                "once_per_incident",
                Kind::Boolean,
                Presence::Default("true"),
                "Whether an incident scores above 1 once, when it begins, and again only if it gets worse. With `false` it does as long as it lasts, which alert rules with `for` need. What was learnt is kept when it changes.",
            )
            .own(),
        ],
    },
    shared: &[&WARM_UP, &REMEMBERING],
    series: PREDICTIVE,
    further_series: |_| DRIVERS.map(str::to_owned).to_vec(),
    build: |fields, problems| ModelClass::Calibrated {
        false_alarms_per_day: number(fields, "false_alarms_per_day", problems),
        once_per_incident: fields.boolean("once_per_incident", problems).unwrap_or(true),
    },
};

pub(super) const ZSCORE: Class = Class {
    name: "zscore_online",
    section: Section {
        title: "`models.<alias>` of class `zscore_online`",
        about: "Running mean and standard deviation.",
        keys: &[Key::new(
            "z_threshold",
            Kind::Number(Domain::Positive),
            Presence::Default("2.5"),
            "Half-width of the expected interval in standard deviations.",
        )],
    },
    shared: &[&WARM_UP, &FORGETTING],
    series: PREDICTIVE,
    further_series: |_| Vec::new(),
    build: |fields, problems| ModelClass::ZscoreOnline { z_threshold: number(fields, "z_threshold", problems) },
};

pub(super) const MAD: Class = Class {
    name: "mad_online",
    section: Section {
        title: "`models.<alias>` of class `mad_online`",
        about: "Running median and median absolute deviation, from a t-digest.",
        keys: &[
            Key::new(
                "threshold",
                Kind::Number(Domain::Positive),
                Presence::Default("2.5"),
                "Half-width of the expected interval in median absolute deviations.",
            ),
            COMPRESSION,
        ],
    },
    shared: &[&WARM_UP, &FORGETTING],
    series: PREDICTIVE,
    further_series: |_| Vec::new(),
    build: |fields, problems| ModelClass::MadOnline {
        threshold: number(fields, "threshold", problems),
        compression: fields.whole("compression", problems).unwrap_or_default(),
    },
};

const COMPRESSION: Key = Key::new(
    "compression",
    Kind::Integer(1, 10_000),
    Presence::Default("100"),
    "Size of a t-digest: more is more exact and takes more memory.",
);

pub(super) const QUANTILE: Class = Class {
    name: "quantile_online",
    section: Section {
        title: "`models.<alias>` of class `quantile_online`",
        about: "Running quantiles, one set of them for each part of a season: what is usual at this time of the day or week.",
        keys: &[
            Key::new(
                "quantiles",
                Kind::Numbers(Domain::Share),
                Presence::Default("[0.01, 0.5, 0.99]"),
                "Three, ascending: of the lower bound, of the expected value, and of the upper bound.",
            ),
            Key::new(
                "iqr_threshold",
                Kind::Number(Domain::NotNegative),
                Presence::Default("0"),
                "Moves both bounds outwards by so many distances between the outer quantiles; meant for `[0.25, 0.5, 0.75]` with 2 or more.",
            ),
            Key::new(
                "seasonal_interval",
                Kind::Duration,
                Presence::Absent("no season"),
                "Length of a season, as in `1d` or `1w`; a multiple of `min_subseason`, in at most 10080 parts.",
            ),
            Key::new(
                "min_subseason",
                Kind::Duration,
                Presence::Absent("no season"),
                "Length of a part of a season, as in `1h`. The parts follow the clock of the query's `tz`.",
            ),
            Key::new(
                "season_starts_from",
                Kind::Special("date", "a date as in `1970-01-01`"),
                Presence::Default("1970-01-01"),
                "A day on which a season starts, at midnight in the query's `tz`.",
            ),
            Key::new(
                "use_transform",
                Kind::Boolean,
                Presence::Default("false"),
                "Learns the logarithms of the values (`sign(x) log(1 + |x|)`), for series of many magnitudes.",
            ),
            Key::new(
                "global_smoothing",
                Kind::Number(Domain::Share),
                Presence::Default("0"),
                "Share of the quantiles of all samples in those of a part of the season.",
            ),
            COMPRESSION,
        ],
    },
    shared: &[&WARM_UP, &FORGETTING],
    series: PREDICTIVE,
    further_series: |_| Vec::new(),
    build: quantile,
};

pub(super) const ROLLING_QUANTILE: Class = Class {
    name: "rolling_quantile",
    section: Section {
        title: "`models.<alias>` of class `rolling_quantile`",
        about: "Quantiles of the newest samples.",
        keys: &[
            Key::new(
                "quantile",
                Kind::Number(Domain::UpperHalf),
                Presence::Required,
                "Of the upper bound; that of the lower one is 1 - quantile. The expected value is the median.",
            ),
            Key::new(
                "window_steps",
                Kind::Integer(1, 100_000),
                Presence::Required,
                "How many samples are remembered; best 10 to 100.",
            ),
            Key::new(
                "iqr_threshold",
                Kind::Number(Domain::NotNegative),
                Presence::Default("0"),
                "Moves both bounds outwards by so many halves of the distance between the quartiles.",
            ),
        ],
    },
    shared: &[&WARM_UP, &REMEMBERING],
    series: PREDICTIVE,
    further_series: |_| Vec::new(),
    build: |fields, problems| ModelClass::RollingQuantile {
        quantile: number(fields, "quantile", problems),
        window_steps: fields.whole("window_steps", problems).unwrap_or(1),
        iqr_threshold: number(fields, "iqr_threshold", problems),
    },
};

pub(super) const DECOMPOSITION: Class = Class {
    name: "std",
    section: Section {
        title: "`models.<alias>` of class `std`",
        about: "Trend and season of a period, and the standard deviation of what they leave.",
        keys: &[
            Key::new(
                "period",
                Kind::Integer(2, 100_000),
                Presence::Required,
                "Length of a season in samples, as in 288 for a day of 5 minutes each.",
            ),
            Key::new(
                "z_threshold",
                Kind::Number(Domain::Positive),
                Presence::Default("2.5"),
                "Half-width of the expected interval in standard deviations of the residuals.",
            ),
        ],
    },
    shared: &[&WARM_UP, &REMEMBERING],
    series: PREDICTIVE,
    further_series: |_| ["resid", "trend", "seasonal"].map(str::to_owned).to_vec(),
    build: |fields, problems| ModelClass::Std {
        period: fields.whole("period", problems).unwrap_or(2),
        z_threshold: number(fields, "z_threshold", problems),
    },
};

pub(super) fn number(fields: &Fields<'_>, name: &str, problems: &mut Problems) -> f64 {
    fields.number(name, problems).unwrap_or_default()
}

/// Most parts of a season: those of a week of minutes.
const MOST_PARTS: i64 = 7 * 24 * 60;

fn quantile(fields: &Fields<'_>, problems: &mut Problems) -> ModelClass {
    let seasonal_interval = fields.duration("seasonal_interval", problems);
    let min_subseason = fields.duration("min_subseason", problems);
    match (seasonal_interval, min_subseason) {
        (Some(season), Some(part)) if season % part != 0 => {
            let reason = "must be a multiple of `min_subseason`";
            fields.not_allowed("seasonal_interval", reason, problems);
        }
        (Some(season), Some(part)) if season / part > MOST_PARTS => {
            let reason = format!("has {} parts of `min_subseason`, at most {MOST_PARTS} are allowed", season / part);
            fields.not_allowed("seasonal_interval", reason, problems);
        }
        (Some(_), None) if !fields.is_written("min_subseason") => {
            fields.conflict("seasonal_interval", "a season has parts: write `min_subseason` too, as in `1h`", problems);
        }
        (None, Some(_)) if !fields.is_written("seasonal_interval") => {
            fields.conflict(
                "min_subseason",
                "is a part of a season: write `seasonal_interval` too, as in `1d`",
                problems,
            );
        }
        _ => {}
    }
    let season_starts_from = fields.parsed("season_starts_from", problems, |text| {
        let date: jiff::civil::Date =
            text.trim().parse().map_err(|_| "must be a date as in `1970-01-01`".to_owned())?;
        Ok(date.since(jiff::civil::date(1970, 1, 1)).map(|span| i64::from(span.get_days())).unwrap_or_default())
    });
    ModelClass::QuantileOnline {
        quantiles: quantiles(fields, problems).unwrap_or([0.01, 0.5, 0.99]),
        iqr_threshold: number(fields, "iqr_threshold", problems),
        seasonal_interval: seasonal_interval.zip(min_subseason).map(|(season, _)| season),
        min_subseason: seasonal_interval.zip(min_subseason).map(|(_, part)| part),
        season_starts_from: season_starts_from.unwrap_or_default(),
        use_transform: fields.boolean("use_transform", problems).unwrap_or_default(),
        global_smoothing: number(fields, "global_smoothing", problems),
        compression: fields.whole("compression", problems).unwrap_or(1),
    }
}

/// So many quantiles, ascending.
pub(super) fn quantiles<const N: usize>(fields: &Fields<'_>, problems: &mut Problems) -> Option<[f64; N]> {
    fields.raw("quantiles")?;
    let numbers = fields.numbers("quantiles", problems)?;
    match <[f64; N]>::try_from(numbers) {
        Ok(quantiles) if quantiles.is_sorted() => return Some(quantiles),
        Ok(_) => fields.conflict("quantiles", "must be ascending", problems),
        Err(other) => {
            let reason = format!("must be a list of {N} numbers, this one has {}", other.len());
            fields.conflict("quantiles", reason, problems);
        }
    }
    None
}
