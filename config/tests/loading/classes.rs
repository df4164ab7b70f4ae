//! What model classes take, and what a file without models has.

use config::load::Loaded;
use config::worker::{Aggregation, ModelClass};

use super::{MINIMAL, config, errors_of, load_with, warnings};

#[test]
fn a_season_is_written_in_durations_and_starts_on_a_day() {
    let overlay = "models: {z: {class: quantile_online, quantiles: [0.25, 0.5, 0.75], seasonal_interval: 1w, \
                   min_subseason: 1h, season_starts_from: '1970-01-05', iqr_threshold: 2}}";
    let ModelClass::QuantileOnline { quantiles, seasonal_interval, min_subseason, season_starts_from, .. } =
        config(&[MINIMAL, overlay]).models["z"].class
    else {
        panic!("another class")
    };
    assert_eq!(quantiles, [0.25, 0.5, 0.75]);
    assert_eq!((seasonal_interval, min_subseason), (Some(604_800_000), Some(3_600_000)));
    assert_eq!(season_starts_from, 4);
}

#[test]
fn a_multivariate_model_has_groups_and_queries_that_go_together() {
    let overlay = "
models: {m: {class: temporal_envelope_multivariate, queries: all, schedulers: all, groupby: [zone, host], max_channels: 50,
  provide_series: [anomaly_score, yhat], args: {}, score_aggregation: max, holidays: {special_events: [12-24]}}}
";
    let error = errors_of(overlay);
    assert!(error.contains("models.m.args: not supported yet"), "{error}");
    let config = config(&[MINIMAL, &overlay.replace(" args: {},", "")]);
    let model = &config.models["m"];
    assert_eq!(model.class.groupby(), Some(&["host".to_owned(), "zone".to_owned()][..]));
    let ModelClass::TemporalEnvelopeMultivariate(class) = &model.class else { panic!("{:?}", model.class) };
    assert_eq!((class.max_channels, class.recommended_max_channels), (50, 50));
    assert_eq!((class.dependency_rank, class.score_aggregation), (8, Aggregation::Max));
    assert_eq!(class.envelope.special_events, ["12-24"]);
    assert_eq!(model.provide_series, ["anomaly_score", "yhat"]);

    let wrong = |model: &str, query: &str, message: &str| {
        let error = errors_of(&format!(
            "models: {{m: {{class: isolation_forest_multivariate, queries: all, schedulers: all, {model}}}}}\n\
             reader: {{queries: {{memory: {{expr: mem, {query}}}}}}}\n"
        ));
        assert!(error.contains(message), "{message} in\n{error}");
    };
    wrong(
        "groupby: [for]",
        "",
        "models.m.groupby: has `for`, which the writer replaces: two groups would write one series",
    );
    wrong("groupby: [a, a]", "", "models.m.groupby: has `a` twice");
    wrong("groupby: [__name__]", "", "models.m.groupby: has `__name__`, which no score keeps");
    wrong("provide_series: [yhat]", "", "the class does not produce this series; it produces anomaly_score");
    wrong(
        "groupby: [host]",
        "step: 5m",
        "models.m.queries: the queries of a multivariate model must have the same `step`: it is 1m for `cpu` and 5m for `memory`",
    );
    wrong("groupby: [host]", "offset: -1m", "must have the same `offset`: it is 0s for `cpu` and -1m for `memory`");
    wrong("groupby: [host]", "tz: Europe/Berlin", "must have the same `tz`: it is UTC for `cpu` and Europe/Berlin for");
}

#[test]
fn forecasts_are_written_of_what_is_provided_of_the_interval() {
    let envelope = |provide: &str| {
        let overlay = format!("models: {{z: {{class: temporal_envelope, forecast_at: [1h, 1d]{provide}}}}}");
        config(&[MINIMAL, &overlay]).models["z"].provide_series.join(" ")
    };
    assert_eq!(
        envelope(""),
        "anomaly_score y yhat yhat_lower yhat_upper yhat_1h yhat_lower_1h yhat_upper_1h yhat_1d yhat_lower_1d yhat_upper_1d"
    );
    assert_eq!(
        envelope(", provide_series: [yhat, yhat_upper]"),
        "yhat yhat_upper yhat_1h yhat_upper_1h yhat_1d yhat_upper_1d"
    );
    assert_eq!(envelope(", provide_series: [anomaly_score]"), "anomaly_score");
    let joint = |provide: &str| {
        format!("models: {{z: {{class: temporal_envelope_multivariate, decay: null, forecast_at: [1h]{provide}}}}}")
    };
    let of_channels = config(&[MINIMAL, &joint(", provide_series: [anomaly_score, yhat]")]);
    assert_eq!(of_channels.models["z"].provide_series.join(" "), "anomaly_score yhat yhat_1h");
    assert!(
        warnings(&[MINIMAL, &joint("")]).contains("models.z.forecast_at: has no effect: `provide_series` has none")
    );
}

#[test]
fn a_class_that_remembers_a_number_of_samples_has_no_use_for_decay_and_says_so() {
    let overlay = "models: {z: {class: std, period: 24, decay: 0.9, provide_series: [anomaly_score, trend]}}";
    assert!(warnings(&[MINIMAL, overlay]).contains("models.z.decay: has no effect here"));
    let model = &config(&[MINIMAL, overlay]).models["z"];
    assert_eq!((model.decay, &model.provide_series[..]), (1.0, &["anomaly_score".to_owned(), "trend".to_owned()][..]));
}

#[test]
fn without_models_every_query_has_the_default_one_under_every_scheduler() {
    let around = "\
schedulers: {a: {fit_window: 14d, infer_every: 1m}, b: {fit_window: 14d, infer_every: 5m}}
reader: {datasource_url: 'http://tsdb:8428', sampling_period: 1m, data_range: [0, inf], queries: {cpu: {expr: c}, mem: {expr: m}}}
writer: {datasource_url: 'http://tsdb:8428'}
";
    for absent in ["", "models:\n"] {
        let Loaded { config, warnings } = load_with(&[&format!("{around}{absent}")], &[]).unwrap();
        assert_eq!(warnings, []);
        assert_eq!(config.models.keys().collect::<Vec<_>>(), ["calibrated"]);
        let model = &config.models["calibrated"];
        assert_eq!(model.class, ModelClass::Calibrated { false_alarms_per_day: 0.1, once_per_incident: true });
        assert_eq!((model.queries.join(" "), model.schedulers.join(" ")), ("cpu mem".into(), "a b".into()));
        let written = "models: {calibrated: {class: calibrated, queries: all, schedulers: all}}\n";
        assert_eq!(load_with(&[around, written], &[]).unwrap().config, config);
    }
    let none = load_with(&[around, "models: {}\n"], &[]).unwrap();
    assert!(
        none.config.models.is_empty()
            && none.warnings.iter().any(|warning| warning.message.starts_with("nothing to do"))
    );
}

#[test]
fn the_default_class_takes_a_rate_of_false_alarms_and_the_warm_up() {
    let overlay =
        "models: {z: {class: calibrated, min_n_samples_seen: 100, decay: 0.9, band_floor: 2, influence_limit: 3}}";
    let warnings = warnings(&[MINIMAL, overlay]);
    for key in ["decay", "band_floor", "influence_limit"] {
        assert!(warnings.contains(&format!("models.z.{key}: has no effect here")), "{warnings}");
    }
    assert_eq!(config(&[MINIMAL, overlay]).models["z"].min_n_samples_seen, 100);
    assert!(errors_of("models: {z: {class: calibrated, z_threshold: 3}}").contains("models.z.z_threshold"));
    let rate = |rate: &str| format!("models: {{z: {{class: calibrated, false_alarms_per_day: {rate}}}}}");
    for allowed in [0.001, 0.02, 10.0] {
        let class = config(&[MINIMAL, &rate(&allowed.to_string())]).models["z"].class.clone();
        assert_eq!(class, ModelClass::Calibrated { false_alarms_per_day: allowed, once_per_incident: true });
    }
    for refused in ["0", "-0.1", "0.0005", "10.5"] {
        let errors = errors_of(&rate(refused));
        let line = format!("models.z.false_alarms_per_day: `{refused}`: must be from 0.001 to 10");
        assert!(errors.contains(&line), "{errors}");
    }
    let misspelt = errors_of("models: {z: {class: calibrated, false_alarm_per_day: 1}}");
    assert!(misspelt.contains("did you mean `false_alarms_per_day`?"), "{misspelt}");
}

#[test]
fn the_default_class_of_a_group_has_its_labels_its_limits_and_the_warm_up() {
    let overlay = "
models: {z: {class: calibrated_multivariate, queries: all, schedulers: all, groupby: [zone, host], max_channels: 20,
  provide_series: [anomaly_score, channel_score, yhat], min_n_samples_seen: 100, decay: 0.9, influence_limit: 3}}
";
    let warnings = warnings(&[MINIMAL, overlay]);
    for key in ["decay", "influence_limit"] {
        assert!(warnings.contains(&format!("models.z.{key}: has no effect here")), "{warnings}");
    }
    let config = config(&[MINIMAL, overlay]);
    let model = &config.models["z"];
    assert_eq!(model.class.groupby(), Some(&["host".to_owned(), "zone".to_owned()][..]));
    let ModelClass::CalibratedMultivariate(class) = &model.class else { panic!("{:?}", model.class) };
    assert_eq!((class.max_channels, class.recommended_max_channels, model.min_n_samples_seen), (20, 20, 100));
    assert_eq!(model.provide_series, ["anomaly_score", "channel_score", "yhat"]);
    let error = |model: &str| errors_of(&format!("models: {{z: {{class: calibrated_multivariate, {model}}}}}"));
    assert!(error("max_channels: 5, recommended_max_channels: 6").contains("is 6, more than `max_channels`, 5"));
    assert!(error("provide_series: [channel_scores]").contains("did you mean `channel_score`?"));
    assert!(error("dependency_rank: 3").contains("is an argument of temporal_envelope_multivariate, not of"));
}
