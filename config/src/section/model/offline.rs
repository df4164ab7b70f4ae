//! Classes that are fitted to a window and stay as they are until the next fit.

use crate::fields::{Fields, shown, wrong_type};
use crate::problem::Problems;
use crate::range;
use crate::schema::{Domain, Key, Kind, Presence, Section};
use crate::section::model::Class;
use crate::section::model::online::{PREDICTIVE, number};
use crate::section::model::smoothing_bounds::{BOUNDS, bounds};
use crate::tree::Value;
use crate::worker::{
    Amount, BoxCox, Composition, ExponentialSmoothing, Initialization, ModelClass, SeasonalFeature, Trees,
};

pub(super) const ISOLATION_FOREST: Class = Class {
    name: "isolation_forest",
    section: Section {
        title: "`models.<alias>` of class `isolation_forest`",
        about: "How soon random cuts isolate a value: for unusual combinations of value and time. It expects no value, so there is no `yhat`.",
        keys: &[CONTAMINATION, SEASONAL_FEATURES, FOREST_ARGS],
    },
    shared: &[],
    series: &["anomaly_score", "y"],
    further_series: |_| Vec::new(),
    build: isolation_forest,
};

pub(super) const CONTAMINATION: Key = Key::new(
    "contamination",
    Kind::Special("number or word", "`auto`, or a number above 0 and at most 0.5"),
    Presence::Default("auto"),
    "Share of a fit's samples that are anomalous; best a number, since `auto` flags much that is usual.",
);

pub(super) const SEASONAL_FEATURES: Key = Key::new(
    "seasonal_features",
    Kind::Special("list of words", "a list of `minute`, `hod`, `dow` and `month`, each at most once"),
    Presence::Absent("none"),
    "Cycles of the clock in the query's `tz` that a value is seen together with: the minute of the hour, the hour of the day, the day of the week, the month.",
);

pub(super) const FOREST_ARGS: Key = Key::new(
    "args",
    Kind::Section(&TREES),
    Presence::Absent("the defaults"),
    "How the trees are grown, as in scikit-learn's `IsolationForest`.",
);

pub(crate) const TREES: Section = Section {
    title: "`models.<alias>.args` of classes `isolation_forest` and `isolation_forest_multivariate`",
    about: "Arguments of scikit-learn's `IsolationForest`.",
    keys: &[
        Key::new("n_estimators", Kind::Integer(1, 1000), Presence::Default("100"), "Number of trees."),
        Key::new(
            "max_samples",
            Kind::Special(
                "number or word",
                "`auto` (256), a whole number from 1 to 32768, or a share above 0.0 and at most 1.0",
            ),
            Presence::Default("auto"),
            "Samples that each tree is grown from.",
        ),
        Key::new(
            "max_features",
            Kind::Special("number", "a whole number, at least 1, or a share above 0.0 and at most 1.0"),
            Presence::Default("1.0"),
            "Features that each tree may split by.",
        ),
        Key::new(
            "bootstrap",
            Kind::Boolean,
            Presence::Default("false"),
            "Whether a tree's samples are drawn with replacement.",
        ),
        Key::new("random_state", Kind::Integer(0, u32::MAX as i64), Presence::Default("42"), "Seed of the fit."),
        Key::ignored("n_jobs", "fits use the threads of `settings.n_workers`"),
        Key::ignored("verbose", "a fit prints nothing"),
        Key::ignored("warm_start", "every fit starts anew"),
    ],
};

pub(super) const HOLT_WINTERS: Class = Class {
    name: "holtwinters",
    section: Section {
        title: "`models.<alias>` of class `holtwinters`",
        about: "Exponential smoothing of level, trend and season, forecast from the end of the fit.",
        keys: &[
            Key::new(
                "frequency",
                Kind::Duration,
                Presence::Absent("the median step of the fit's samples"),
                "Step that the samples are brought to; as a rule the query's `step`.",
            ),
            Key::new(
                "seasonality",
                Kind::Duration,
                Presence::Absent("none; then `args` says `seasonal_periods`, or that there is no season"),
                "Length of a season, as in `1d`.",
            ),
            Key::new(
                "z_threshold",
                Kind::Number(Domain::Positive),
                Presence::Default("2.5"),
                "Half-width of the expected interval in standard deviations of the residuals.",
            ),
            Key::new(
                "args",
                Kind::Section(&SMOOTHING),
                Presence::Absent("the defaults"),
                "Arguments of statsmodels' `ExponentialSmoothing`.",
            ),
        ],
    },
    shared: &[],
    series: PREDICTIVE,
    further_series: |_| Vec::new(),
    build: holt_winters,
};

const SHARE: Kind = Kind::Number(Domain::Share);
const COMPOSITION: Kind = Kind::Special("word", "`add`, `mul` or `null`");

pub(crate) const SMOOTHING: Section = Section {
    title: "`models.<alias>.args` of class `holtwinters`",
    about: "Arguments of statsmodels' `ExponentialSmoothing` and of its `fit`. What is not given is estimated.",
    keys: &[
        Key::new("trend", COMPOSITION, Presence::Absent("no trend"), "How the trend is composed with the level."),
        Key::new("damped_trend", Kind::Boolean, Presence::Default("false"), "Whether the trend fades."),
        Key::new(
            "seasonal",
            COMPOSITION,
            Presence::Absent("`add`; with a written `null`, no season"),
            "How the season is composed with the level.",
        ),
        Key::new(
            "seasonal_periods",
            Kind::Integer(2, 100_000),
            Presence::Absent("`seasonality` by `frequency`"),
            "Steps of a season.",
        ),
        Key::new(
            "initialization_method",
            Kind::OneOf(&["estimated", "heuristic", "legacy-heuristic", "known"]),
            Presence::Default("estimated"),
            "Where the smoothing starts from.",
        ),
        Key::new(
            "initial_level",
            Kind::Number(Domain::Finite),
            Presence::Absent("estimated"),
            "Of `initialization_method: known`.",
        ),
        Key::new(
            "initial_trend",
            Kind::Number(Domain::Finite),
            Presence::Absent("estimated"),
            "Of `initialization_method: known` with a trend.",
        ),
        Key::new(
            "initial_seasonal",
            Kind::Numbers(Domain::Finite),
            Presence::Absent("estimated"),
            "Of `initialization_method: known` with a season: a number for each step of it.",
        ),
        Key::new("smoothing_level", SHARE, Presence::Absent("estimated"), "Share of a new value in the level."),
        Key::new("smoothing_trend", SHARE, Presence::Absent("estimated"), "Share of a new step in the trend."),
        Key::new("smoothing_seasonal", SHARE, Presence::Absent("estimated"), "Share of a new value in the season."),
        Key::new(
            "damping_trend",
            Kind::Number(Domain::UnitInterval),
            Presence::Absent("estimated"),
            "Factor by which a damped trend fades each step.",
        ),
        Key::new("bounds", Kind::Section(&BOUNDS), Presence::Absent("the defaults"), "Ranges of what is estimated."),
        Key::new(
            "use_boxcox",
            Kind::Special("word or number", "`true`, `false`, `log`, or a number from -10 to 10"),
            Presence::Default("false"),
            "Smooths the Box-Cox transforms of the values, which must be above 0: with the likeliest `lambda`, with 0, or with this one. For a spread that grows with the level.",
        ),
        Key::ignored("freq", "the step is `frequency`"),
        Key::ignored("dates", "samples have their times"),
        Key::ignored("missing", "samples that are missing are filled in between their neighbours"),
    ],
};

fn isolation_forest(fields: &Fields<'_>, problems: &mut Problems) -> ModelClass {
    ModelClass::IsolationForest {
        contamination: contamination(fields, problems),
        seasonal_features: seasonal_features(fields, problems),
        trees: trees(fields, problems),
    }
}

pub(super) fn contamination(fields: &Fields<'_>, problems: &mut Problems) -> Option<f64> {
    let contamination = fields.parsed("contamination", problems, |text| match text.trim() {
        "auto" => Ok(None),
        text => match range::parse_number(text) {
            Ok(share) if share > 0.0 && share <= 0.5 => Ok(Some(share)),
            _ => Err("must be `auto`, or a number above 0 and at most 0.5".to_owned()),
        },
    });
    contamination.unwrap_or_default()
}

pub(super) fn trees(fields: &Fields<'_>, problems: &mut Problems) -> Trees {
    let Some(fields) = fields.inner("args", &TREES, problems) else { return Trees::default() };
    Trees {
        n_estimators: fields.whole("n_estimators", problems).unwrap_or(1),
        max_samples: fields.parsed("max_samples", problems, |text| amount(text, 32_768, true)).unwrap_or(Amount::Auto),
        max_features: fields
            .parsed("max_features", problems, |text| amount(text, u32::MAX, false))
            .unwrap_or(Amount::Share(1.0)),
        bootstrap: fields.boolean("bootstrap", problems).unwrap_or_default(),
        random_state: fields.whole("random_state", problems).unwrap_or_default(),
    }
}

/// A number of something, or a share of all: scikit-learn tells them apart by the decimal point.
fn amount(text: &str, most: u32, may_be_auto: bool) -> Result<Amount, String> {
    let text = text.trim();
    if may_be_auto && text == "auto" {
        return Ok(Amount::Auto);
    }
    if let Ok(number) = text.parse::<u32>() {
        return if (1..=most).contains(&number) {
            Ok(Amount::Number(number))
        } else {
            Err(format!("must be from 1 to {most}"))
        };
    }
    match range::parse_number(text) {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(Amount::Share(share)),
        _ => Err("must be a whole number, at least 1, or a share above 0.0 and at most 1.0".to_owned()),
    }
}

pub(super) fn seasonal_features(fields: &Fields<'_>, problems: &mut Problems) -> Vec<SeasonalFeature> {
    const NAMES: [(&str, SeasonalFeature); 4] = [
        ("minute", SeasonalFeature::Minute),
        ("hod", SeasonalFeature::HourOfDay),
        ("dow", SeasonalFeature::DayOfWeek),
        ("month", SeasonalFeature::Month),
    ];
    let mut features = Vec::new();
    if fields.raw("seasonal_features").is_none() {
        return features;
    }
    for (item, path) in fields.list("seasonal_features", problems).unwrap_or_default() {
        let Value::Scalar(scalar) = &item.value else {
            problems.error(&item.place, path, wrong_type("a word", item));
            continue;
        };
        match NAMES.iter().find(|(name, _)| *name == scalar.text) {
            Some((_, feature)) if !features.contains(feature) => features.push(*feature),
            Some(_) => problems.warn(&item.place, path, "named twice; seen once"),
            None => {
                let reason = format!("{} is none of `minute`, `hod`, `dow` and `month`", shown(scalar));
                fields.conflict("seasonal_features", reason, problems);
            }
        }
    }
    features
}

fn holt_winters(fields: &Fields<'_>, problems: &mut Problems) -> ModelClass {
    let seasonality = fields.duration("seasonality", problems);
    let args = fields.inner("args", &SMOOTHING, problems);
    let smoothing = args.map_or_else(ExponentialSmoothing::default, |args| smoothing(&args, problems));
    let has_season = smoothing.seasonal.is_some();
    if has_season && seasonality.is_none() && smoothing.seasonal_periods.is_none() && !fields.is_written("seasonality")
    {
        let reason =
            "is required: the length of a season, as in `1d`; a model without one has `args: {seasonal: null}`";
        fields.conflict("seasonality", reason, problems);
    }
    ModelClass::HoltWinters {
        frequency: fields.duration("frequency", problems),
        seasonality,
        z_threshold: number(fields, "z_threshold", problems),
        smoothing,
    }
}

fn smoothing(fields: &Fields<'_>, problems: &mut Problems) -> ExponentialSmoothing {
    let mut composition = |name, absent| match fields.raw(name) {
        None if fields.is_written(name) => None,
        None => absent,
        Some(_) => fields.parsed(name, problems, |text| match text {
            "add" | "additive" => Ok(Composition::Additive),
            "mul" | "multiplicative" => Ok(Composition::Multiplicative),
            _ => Err("must be `add`, `mul` or `null`".to_owned()),
        }),
    };
    let (trend, seasonal) = (composition("trend", None), composition("seasonal", Some(Composition::Additive)));
    let initial_level = fields.number("initial_level", problems);
    let initial_trend = fields.number("initial_trend", problems);
    let initial_seasonal = fields.raw("initial_seasonal").and_then(|_| fields.numbers("initial_seasonal", problems));
    let initialization = match fields.one_of("initialization_method", problems) {
        Some("heuristic") => Initialization::Heuristic,
        Some("legacy-heuristic") => Initialization::LegacyHeuristic,
        Some("known") => {
            for (name, is_needed) in
                [("initial_level", true), ("initial_trend", trend.is_some()), ("initial_seasonal", seasonal.is_some())]
            {
                if is_needed && !fields.is_written(name) {
                    fields.conflict(name, "is required with `initialization_method: known`", problems);
                }
            }
            Initialization::Known {
                level: initial_level.unwrap_or_default(),
                trend: initial_trend.unwrap_or_default(),
                seasons: initial_seasonal.unwrap_or_default(),
            }
        }
        _ => Initialization::Estimated,
    };
    let damped_trend = fields.boolean("damped_trend", problems).unwrap_or_default();
    for (name, allowed, needs) in [
        ("damped_trend", trend.is_some() || !damped_trend, "a `trend`"),
        ("smoothing_trend", trend.is_some(), "a `trend`"),
        ("smoothing_seasonal", seasonal.is_some(), "a season"),
        ("damping_trend", damped_trend, "`damped_trend`"),
    ] {
        if fields.raw(name).is_some() && !allowed {
            fields.conflict(name, format!("needs {needs}"), problems);
        }
    }
    let seasonal_periods: Option<u32> = fields.whole("seasonal_periods", problems);
    if let Initialization::Known { level, trend: slope, seasons } = &initialization {
        let multiplied = |part| part == Some(Composition::Multiplicative);
        for (name, is_wrong) in [
            ("initial_level", (multiplied(trend) || multiplied(seasonal)) && *level <= 0.0),
            ("initial_trend", multiplied(trend) && *slope <= 0.0),
            ("initial_seasonal", multiplied(seasonal) && seasons.iter().any(|season| *season <= 0.0)),
        ] {
            if fields.raw(name).is_some() && is_wrong {
                fields.conflict(name, "must be above 0 in a multiplicative form", problems);
            }
        }
        let count = seasons.len();
        if seasonal.is_some()
            && fields.raw("initial_seasonal").is_some()
            && seasonal_periods.map_or(count < 2, |steps| count != steps as usize)
        {
            let steps = seasonal_periods.map_or_else(|| "at least 2".to_owned(), |steps| steps.to_string());
            fields.conflict(
                "initial_seasonal",
                format!("must have a number for each step of a season, {steps}; it has {count}"),
                problems,
            );
        }
    }
    for (name, allowed, needs) in [
        ("initial_level", true, ""),
        ("initial_trend", trend.is_some(), "a `trend`"),
        ("initial_seasonal", seasonal.is_some(), "a season"),
    ] {
        if fields.raw(name).is_some() && !matches!(initialization, Initialization::Known { .. }) {
            fields.conflict(name, "needs `initialization_method: known`", problems);
        } else if fields.raw(name).is_some() && !allowed {
            fields.conflict(name, format!("needs {needs}"), problems);
        }
    }
    ExponentialSmoothing {
        trend,
        damped_trend,
        seasonal,
        seasonal_periods,
        initialization,
        box_cox: fields.parsed("use_boxcox", problems, box_cox).unwrap_or_default(),
        bounds: bounds(fields, [trend.is_some(), seasonal.is_some(), damped_trend], problems),
        smoothing_level: fields.number("smoothing_level", problems),
        smoothing_trend: fields.number("smoothing_trend", problems),
        smoothing_seasonal: fields.number("smoothing_seasonal", problems),
        damping_trend: fields.number("damping_trend", problems),
    }
}

fn box_cox(text: &str) -> Result<Option<BoxCox>, String> {
    let text = text.trim();
    // A number first: 0 and 1 are no Booleans here.
    match (range::parse_number(text), Kind::boolean(text)) {
        (Ok(lambda), _) if lambda.abs() <= 10.0 => Ok(Some(BoxCox::Lambda(lambda))),
        (Err(_), Ok(true)) => Ok(Some(BoxCox::Estimated)),
        (Err(_), Ok(false)) => Ok(None),
        _ if text == "log" => Ok(Some(BoxCox::Lambda(0.0))),
        _ => Err("must be `true`, `false`, `log`, or a number from -10 to 10".to_owned()),
    }
}
