//! Arguments of model classes: what a user writes, what comes out, what is said about mistakes.

use config::load::{Loaded, Source, load};
use config::worker::{BoxCox, Holiday, Initialization, Mode, Model, ModelClass, Prophet, SmoothingBounds};

/// A configuration with this model.
fn load_model(model: &str) -> Result<Loaded, String> {
    let text = format!(
        "schedulers: {{s: {{fit_window: 14d, fit_every: 1d, infer_every: 1m}}}}\n\
         models: {{m: {{queries: all, schedulers: all, {model}}}}}\n\
         reader: {{datasource_url: 'http://h', sampling_period: 1m, queries: {{q: {{expr: q}}}}}}\n\
         writer: {{datasource_url: 'http://h'}}\n"
    );
    load(&[Source::new("m.yaml", text)], &|_| None, 1).map_err(|errors| errors.to_string())
}

fn model(model: &str) -> Model {
    let loaded = load_model(model).unwrap_or_else(|errors| panic!("{model}\n{errors}"));
    assert_eq!(loaded.warnings, [], "{model}");
    loaded.config.models["m"].clone()
}

fn prophet(arguments: &str) -> Prophet {
    match model(&format!("class: prophet, {arguments}")).class {
        ModelClass::Prophet(prophet) => *prophet,
        other => panic!("{other:?}"),
    }
}

#[test]
fn days_of_prophet_are_single_or_lists_with_windows() {
    let prophet = prophet(
        "args: {holidays_prior_scale: 5, holidays_mode: multiplicative, country_holidays: united states, holidays: [
            {holiday: sale, ds: ['2024-11-29', 2025-11-28], lower_window: -1, upper_window: 3, prior_scale: 20},
            {holiday: outage, ds: 1970-01-02}]}",
    );
    let sale = Holiday {
        name: "sale".into(),
        days: vec![20_056, 20_420],
        lower_window: -1,
        upper_window: 3,
        prior_scale: Some(20.0),
    };
    let outage = Holiday { name: "outage".into(), days: vec![1], lower_window: 0, upper_window: 0, prior_scale: None };
    assert_eq!(prophet.holidays, [sale, outage]);
    assert_eq!((prophet.holidays_mode, prophet.holidays_prior_scale), (Some(Mode::Multiplicative), 5.0));
    assert_eq!(prophet.country.as_deref(), Some("US"));
}

#[test]
fn changepoints_are_dates_or_times_with_an_offset_and_ascend() {
    let bends = |times: &str| prophet(&format!("args: {{changepoints: {times}}}")).changepoints;
    let times = "['1970-01-02T02:00:00+02:00', 1970-01-01, '1970-01-01 00:01', 1970-01-02]";
    assert_eq!(bends(times), Some(vec![0, 60_000, 86_400_000]));
    assert_eq!((bends("[]"), prophet("args: {}").changepoints), (Some(vec![]), None));
    let both = load_model("class: prophet, args: {changepoints: [2024-05-01], n_changepoints: 3}").unwrap();
    assert!(both.warnings[0].message.contains("`changepoints` says where"), "{:?}", both.warnings);
}

#[test]
fn holidays_can_be_written_as_series_of_their_own() {
    let series = "[anomaly_score, holidays, sale, sale_lower, Thanksgiving Day]";
    let args = "args: {country_holidays: US, holidays: [{holiday: sale, ds: 2024-11-29}]}";
    let written = model(&format!("class: prophet, provide_series: {series}, {args}")).provide_series;
    assert_eq!(written, ["anomaly_score", "holidays", "sale", "sale_lower", "Thanksgiving Day"]);
    let errors = load_model("class: prophet, provide_series: [holidays]").map(|_| ()).unwrap_err();
    assert!(errors.contains("`holidays`: the class does not produce this series"), "{errors}");
}

#[test]
fn an_envelope_has_countries_by_code_or_name() {
    let model = model("class: temporal_envelope, holidays: {countries: [us, Germany], special_events: [12-24]}");
    let ModelClass::TemporalEnvelope(envelope) = model.class else { panic!("{:?}", model.class) };
    assert_eq!(envelope.countries, ["US", "DE"]);
    assert_eq!(envelope.special_events, ["12-24"]);
}

#[test]
fn exponential_smoothing_estimates_within_bounds_and_starts_where_it_is_told() {
    let model = model(
        "class: holtwinters, args: {trend: mul, damped_trend: true, seasonal_periods: 2, bounds: {smoothing_level: [0.1, 0.5], \
         damping_trend: [0.9, 1]}, initialization_method: known, initial_level: 10, initial_trend: 1.5, initial_seasonal: [-1, 1]}",
    );
    let ModelClass::HoltWinters { smoothing, .. } = model.class else { panic!("{:?}", model.class) };
    let bounds =
        SmoothingBounds { smoothing_level: [0.1, 0.5], damping_trend: [0.9, 1.0], ..SmoothingBounds::default() };
    assert_eq!(smoothing.bounds, bounds);
    let known = Initialization::Known { level: 10.0, trend: 1.5, seasons: vec![-1.0, 1.0] };
    assert_eq!(smoothing.initialization, known);
}

#[test]
fn a_box_cox_transform_is_estimated_or_given() {
    for (text, expected) in [
        ("true", Some(BoxCox::Estimated)),
        ("false", None),
        ("log", Some(BoxCox::Lambda(0.0))),
        ("1", Some(BoxCox::Lambda(1.0))),
        ("-0.5", Some(BoxCox::Lambda(-0.5))),
    ] {
        let class = model(&format!("class: holtwinters, seasonality: 1d, args: {{use_boxcox: {text}}}")).class;
        let ModelClass::HoltWinters { smoothing, .. } = class else { panic!("{class:?}") };
        assert_eq!(smoothing.box_cox, expected, "{text}");
    }
}

#[test]
fn a_class_that_expects_no_value_has_no_use_for_what_acts_on_its_interval_and_says_so() {
    let loaded = load_model("class: isolation_forest, scale: 2, clip_predictions: true").unwrap();
    let keys: Vec<&str> = loaded.warnings.iter().map(|warning| warning.key.as_str()).collect();
    assert_eq!(keys, ["models.m.scale", "models.m.clip_predictions"]);
}

#[test]
fn an_old_path_of_a_class_works_and_warns() {
    for (class, name) in [
        ("model.rolling_quantile.RollingQuantileModel, quantile: 0.9, window_steps: 9", "rolling_quantile"),
        ("model.std.StdModel, period: 9", "std"),
        ("model.zscore.ZscoreModel", "zscore_online"),
        ("model.mad.MADModel", "mad_online"),
    ] {
        let loaded = load_model(&format!("class: {class}")).unwrap();
        let expected = format!("is deprecated and works as `{name}`");
        assert!(loaded.warnings.iter().any(|warning| warning.message.contains(&expected)), "{:?}", loaded.warnings);
    }
}

#[test]
fn a_wrong_argument_is_named_with_what_is_allowed() {
    let windows = "lower_window: -366, upper_window: 366";
    let many = ["a", "b", "c"].map(|name| format!("{{holiday: {name}, ds: 2024-01-01, {windows}}}")).join(", ");
    let in_args = |args: &str| format!("class: prophet, args: {{{args}}}");
    let in_smoothing = |args: &str| format!("class: holtwinters, seasonality: 1d, args: {{{args}}}");
    for (model, expected) in [
        (
            in_args("country_holidays: Germny"),
            "args.country_holidays: `Germny`: the public holidays of no such country are known; did you mean `Germany`?; \
             known are AE, AR,",
        ),
        (in_args("holidays: {holiday: x}"), "args.holidays: expected a list of maps"),
        (in_args("holidays: [{ds: 2024-01-01}]"), "args.holidays[0].holiday: is required"),
        (in_args("holidays: [{holiday: x}]"), "args.holidays[0].ds: is required"),
        (in_args("holidays: [{holiday: x, ds: []}]"), "args.holidays[0].ds: has no date"),
        (
            in_args("holidays: [{holiday: x, ds: [2024-01-01, 2023-02-29]}]"),
            "args.holidays[0].ds[1]: `2023-02-29`: must be a date as in `2024-12-24`",
        ),
        (
            in_args("holidays: [{holiday: x, ds: 2024-01-01, lower_window: 1}]"),
            "lower_window: `1`: must be a whole number from -366 to 0",
        ),
        (
            in_args("holidays: [{holiday: x, ds: 2024-01-01, upper_window: 367}]"),
            "upper_window: `367`: must be a whole number from 0 to 366",
        ),
        (
            in_args("holidays: [{holiday: x, ds: 2024-01-01}, {holiday: x, ds: 2024-01-02, prior_scale: 1}]"),
            "args.holidays[1].prior_scale: is another one than in the entry of `x` before",
        ),
        (in_args(&format!("holidays: [{many}]")), "args.holidays: has 2199 effects, one for each name and day"),
        (
            in_args("holidays: [{holiday: trend_upper, ds: 2024-01-01}]"),
            "args: the holiday `trend_upper` has the name of another part of the model",
        ),
        (in_args("mcmc_samples: 300"), "args.mcmc_samples: `300`: must be 0: there is one estimate"),
        (in_args("holidays_prior_scale: 0"), "args.holidays_prior_scale: `0`: must be above 0"),
        (in_args("changepoints: [soon]"), "args.changepoints[0]: `soon`: must be a time as in `2024-05-01`"),
        (in_args("changepoints: 2024-05-01"), "args.changepoints: expected a list of times"),
        (
            "class: prophet, seasonalities: [{name: cap, period: 1, fourier_order: 1}]".into(),
            "seasonalities[0].name: `cap`: is the name of another part of the model",
        ),
        (
            "class: prophet, tz_aware: true, tz_seasonalities: [hod], \
             seasonalities: [{name: hod, period: 1, fourier_order: 1}]"
                .into(),
            "seasonalities[0].name: `hod`: is the name of another part of the model",
        ),
        (
            "class: prophet, seasonalities: [{name: a, period: 1, fourier_order: 1000}, \
             {name: b, period: 1, fourier_order: 1000}, {name: c, period: 1, fourier_order: 1}]"
                .into(),
            "seasonalities: have 2001 sines together, at most 2000 are allowed",
        ),
        (
            "class: prophet, seasonalities: [{name: a, period: 1, fourier_order: 1, condition_name: c}]".into(),
            "condition_name: not supported yet in this version: it names a column",
        ),
        (
            "class: temporal_envelope, holidays: {countries: [Atlantis]}".into(),
            "holidays.countries[0]: `Atlantis`: the public holidays of no such country are known",
        ),
        (
            in_smoothing("bounds: {smoothing_level: [0.5, 0.1]}"),
            "bounds.smoothing_level: must be two numbers `[lowest, highest]`",
        ),
        (in_smoothing("bounds: {smoothing_level: [0, 2]}"), "bounds.smoothing_level[1]: `2`: must be from 0 to 1"),
        (
            in_smoothing("bounds: {smoothing_trend: [0, 1]}"),
            "bounds.smoothing_trend: the model has no `smoothing_trend`",
        ),
        (
            in_smoothing("bounds: {initial_level: [0, 1]}"),
            "bounds.initial_level: not supported yet in this version: ranges of",
        ),
        (
            in_smoothing("bounds: {smoothing_level: [0.5, 1], smoothing_seasonal: [0.6, 1]}"),
            "smoothing_seasonal: the lowest must be at most 1 less the lowest `smoothing_level`",
        ),
        (
            in_smoothing("trend: add, bounds: {smoothing_level: [0, 0.1], smoothing_trend: [0.2, 1]}"),
            "smoothing_trend: the lowest must be at most the highest `smoothing_level`",
        ),
        (
            in_smoothing("trend: add, damped_trend: true, bounds: {damping_trend: [0, 1]}"),
            "bounds.damping_trend: the lowest must be above 0, it is 0",
        ),
        (
            in_smoothing("use_boxcox: 11"),
            "use_boxcox: `11`: must be `true`, `false`, `log`, or a number from -10 to 10",
        ),
        (in_smoothing("initial_level: 1"), "args.initial_level: needs `initialization_method: known`"),
        (
            in_smoothing("seasonal: mul, initialization_method: known, initial_level: 1, initial_seasonal: [0, 1]"),
            "args.initial_seasonal: must be above 0 in a multiplicative form",
        ),
        (
            in_smoothing(
                "seasonal_periods: 3, initialization_method: known, initial_level: 1, initial_seasonal: [0, 1]",
            ),
            "args.initial_seasonal: must have a number for each step of a season, 3; it has 2",
        ),
        ("class: temporal_envelope, holidays: {countries: [US, usa]}".into(), "holidays.countries: has `US` twice"),
    ] {
        let errors = load_model(&model).map(|_| ()).unwrap_err();
        assert!(errors.contains(expected), "{model}\n  {expected}\n  {errors}");
        assert_eq!(errors.lines().count(), 1, "{model}\n{errors}");
    }
}

#[test]
fn the_page_about_models_lists_every_country() {
    let page = include_str!("../../docs/models.md");
    let section = page.split("## Public holidays").nth(1).unwrap();
    let listed: Vec<&str> = section.split("(`").skip(1).filter_map(|rest| rest.get(..4)?.strip_suffix("`)")).collect();
    let mut listed: Vec<String> = listed.into_iter().map(|code| config::country::parse(code).unwrap()).collect();
    listed.sort();
    assert_eq!(listed, holidays::codes().collect::<Vec<_>>());
}
