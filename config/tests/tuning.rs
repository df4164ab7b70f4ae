//! `class: auto`: what is tuned, from where, and what stays as it is.

use config::load::{Source, load};
use config::worker::{Model, ModelClass, Validation};

/// A worker whose model `m` is tuned like this; its warnings.
fn loaded(model: &str) -> Result<(Model, String), String> {
    let text = format!(
        "
schedulers: {{s: {{class: periodic, infer_every: 1m, fit_every: 1d, fit_window: 1d}}}}
models: {{m: {{class: auto, queries: all, schedulers: all, {model}}}}}
reader: {{datasource_url: 'http://tsdb:8428', sampling_period: 1m, queries: {{q: {{expr: up}}}}}}
writer: {{datasource_url: 'http://tsdb:8428'}}
"
    );
    let loaded = load(&[Source::new("worker.yaml", text)], &|_| None, 2);
    let mut loaded = loaded.map_err(|error| error.to_string())?;
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    let model = loaded.config.models.remove("m").ok_or_else(|| "the model is left out".to_owned())?;
    Ok((model, warnings.join("\n")))
}

fn model(text: &str) -> Model {
    loaded(text).unwrap_or_else(|error| panic!("{text}: {error}")).0
}

const MAD: &str = "tuned_class_name: mad_online, optimization_params: {anomaly_percentage: 0.01";

#[test]
fn the_class_of_other_names_is_tuned_from_its_defaults() {
    for key in ["tuned_class_name: mad_online", "tuned_model_class: model.online.OnlineMADModel"] {
        let model = model(&format!("{key}, optimization_params: {{anomaly_percentage: 0.01}}"));
        let ModelClass::Auto(auto) = &model.class else { panic!("another class") };
        assert_eq!(auto.tuned_class, "mad_online");
        assert_eq!(auto.start, ModelClass::MadOnline { threshold: 2.5, compression: 100 });
        assert_eq!((auto.n_trials, auto.timeout, auto.n_splits, auto.seed), (128, None, 3, 42));
        assert_eq!((auto.validation, auto.train_val_ratio), (Validation::Regular, 3.0));
        assert_eq!((auto.exact, auto.optimize_complexity, auto.frozen.len()), (false, true, 0));
        assert_eq!((model.min_n_samples_seen, model.decay), (16, 1.0));
        assert_eq!(model.provide_series.join(" "), "anomaly_score y yhat yhat_lower yhat_upper");
    }
}

#[test]
fn frozen_arguments_are_read_as_those_of_the_class_and_named() {
    let text = format!("{MAD}, frozen_params: {{threshold: 4, decay: 0.99, min_n_samples_seen: 5}}}}");
    let frozen = model(&text);
    let ModelClass::Auto(auto) = &frozen.class else { panic!("another class") };
    assert_eq!(auto.start, ModelClass::MadOnline { threshold: 4.0, compression: 100 });
    assert_eq!(auto.frozen, ["threshold", "decay", "min_n_samples_seen"]);
    assert_eq!((frozen.min_n_samples_seen, frozen.decay, auto.learning.decay), (5, 0.99, 0.99));

    let text = "tuned_class_name: prophet, optimization_params: {anomaly_percentage: 0, frozen_params: {forecast_at: [1h], \
                args: {interval_width: 0.9, daily_seasonality: false}}}, provide_series: [yhat, weekly]";
    let nested = model(text);
    let ModelClass::Auto(auto) = &nested.class else { panic!("another class") };
    let ModelClass::Prophet(prophet) = &auto.start else { panic!("another class") };
    assert_eq!(prophet.interval_width, 0.9);
    assert_eq!(auto.frozen, ["forecast_at", "args.interval_width", "args.daily_seasonality"]);
    assert_eq!(nested.provide_series.join(" "), "yhat weekly yhat_1h");
}

#[test]
fn what_a_class_requires_is_searched_or_required() {
    let rolling = model("tuned_class_name: rolling_quantile, optimization_params: {anomaly_percentage: 0.1}");
    let ModelClass::Auto(auto) = &rolling.class else { panic!("another class") };
    let start = ModelClass::RollingQuantile { quantile: 0.9, window_steps: 100, iqr_threshold: 0.0 };
    assert_eq!((&auto.start, auto.frozen.len()), (&start, 0));
    let forest = model("tuned_class_name: isolation_forest, optimization_params: {anomaly_percentage: 0.1}");
    assert_eq!(forest.provide_series.join(" "), "anomaly_score y");
}

#[test]
fn a_class_of_several_series_is_tuned_for_each_of_the_groups_that_are_frozen() {
    for class in ["temporal_envelope_multivariate", "model.isolation_forest.IsolationForestMultivariateModel"] {
        let text = format!(
            "tuned_class_name: {class}, optimization_params: {{anomaly_percentage: 0.1, frozen_params: {{groupby: [zone, host]}}}}"
        );
        let model = model(&text);
        let ModelClass::Auto(auto) = &model.class else { panic!("another class") };
        assert_eq!(model.class.groupby(), Some(["host", "zone"].map(str::to_owned).as_slice()));
        assert_eq!((model.provide_series.join(" "), auto.frozen.join(" ")), ("anomaly_score".into(), "groupby".into()));
    }
    let text = "tuned_class_name: temporal_envelope_multivariate, provide_series: [anomaly_score, yhat], optimization_params: \
                {anomaly_percentage: 0.1, frozen_params: {forecast_at: [1h], max_channels: 7, min_n_samples_seen: 5}}";
    let model = model(text);
    let ModelClass::Auto(auto) = &model.class else { panic!("another class") };
    let ModelClass::TemporalEnvelopeMultivariate(joint) = &auto.start else { panic!("another class") };
    assert_eq!((joint.max_channels, joint.recommended_max_channels, model.min_n_samples_seen), (7, 7, 5));
    assert_eq!(model.provide_series.join(" "), "anomaly_score yhat yhat_1h");
}

#[test]
fn what_has_no_effect_is_accepted_with_a_reason() {
    let text = format!(
        "{MAD}, n_jobs: -1, beta: 1, show_progress_bar: true, gc_after_trial: true, \
         optimized_business_params: [detection_direction], timeout: 0.5, validation_scheme: leaky}}"
    );
    let (model, warnings) = loaded(&text).unwrap();
    let ModelClass::Auto(auto) = &model.class else { panic!("another class") };
    assert_eq!((auto.timeout, auto.validation), (Some(0.5), Validation::Leaky));
    for key in ["beta", "show_progress_bar", "gc_after_trial", "optimized_business_params"] {
        assert!(warnings.contains(&format!("optimization_params.{key}: has no effect here")), "{key}: {warnings}");
    }
    assert!(warnings.contains("deprecated"), "{warnings}");
}

#[test]
fn a_mistake_is_named_with_its_key_and_what_is_allowed() {
    let params = "optimization_params: {anomaly_percentage: 0.1}";
    for (text, expected) in [
        (params, "models.m.tuned_class_name: is required"),
        ("tuned_class_name: mad_online", "models.m.optimization_params.anomaly_percentage: is required"),
        (
            &format!("tuned_class_name: calibrated, {params}"),
            "tuned_class_name: `calibrated` has no arguments that could be searched",
        ),
        (
            &format!("tuned_class_name: calibrated_multivariate, {params}"),
            "tuned_class_name: `calibrated_multivariate` has no arguments that could be searched",
        ),
        (&format!("tuned_class_name: auto, {params}"), "tuned_class_name: `auto` does not tune itself"),
        (
            &format!("tuned_class_name: temporal_envelope_multivariate, groupby: [host], {params}"),
            "models.m.groupby: is an argument of calibrated_multivariate, temporal_envelope_multivariate, isolation_forest_multivariate, not of auto",
        ),
        (
            "tuned_class_name: isolation_forest_multivariate, \
             optimization_params: {anomaly_percentage: 0.1, frozen_params: {groupby: [preset]}}",
            "models.m.optimization_params.frozen_params.groupby: has `preset`, which the writer replaces",
        ),
        (
            "tuned_class_name: temporal_envelope_multivariate, \
             optimization_params: {anomaly_percentage: 0.1, frozen_params: {max_channels: 5, recommended_max_channels: 6}}",
            "frozen_params.recommended_max_channels: is 6, more than `max_channels`, 5",
        ),
        (&format!("tuned_class_name: custom, {params}"), "tuned_class_name: not supported yet in this version: custom"),
        (&format!("tuned_class_name: mad_onlin, {params}"), "did you mean `mad_online`?"),
        (&format!("tuned_class_name: mad, tuned_model_class: mad, {params}"), "is the same as `tuned_class_name`"),
        (&format!("tuned_class_name: std, {params}"), "optimization_params.frozen_params.period: is required"),
        (&format!("tuned_class_name: holtwinters, {params}"), "frozen_params.seasonality: is required"),
        (
            "tuned_class_name: mad_online, optimization_params: {anomaly_percentage: 0.5}",
            "anomaly_percentage: `0.5`: must be a number from 0, below 0.5",
        ),
        (&format!("{MAD}, n_trails: 5}}"), "n_trails: unknown key; did you mean `n_trials`?"),
        (&format!("{MAD}, n_trials: 0}}"), "n_trials: `0`: must be a whole number from 1"),
        (&format!("{MAD}, n_jobs: 0}}"), "n_jobs: `0`: must be -1, or a whole number, at least 1"),
        (&format!("{MAD}, timeout: 0}}"), "timeout: `0`: must be above 0"),
        (&format!("{MAD}, n_splits: 101}}"), "n_splits: `101`: must be a whole number from 1 to 100"),
        (&format!("{MAD}, train_val_ratio: 0}}"), "train_val_ratio: `0`: must be above 0"),
        (&format!("{MAD}, validation_scheme: leeky}}"), "did you mean `leaky`?"),
        (&format!("{MAD}, frozen_params: 5}}"), "frozen_params: expected a map of arguments of the tuned class"),
        (&format!("{MAD}, frozen_params: {{treshold: 5}}}}"), "unknown key; did you mean `threshold`?"),
        (&format!("{MAD}, frozen_params: {{threshold: 0}}}}"), "frozen_params.threshold: `0`: must be above 0"),
        (&format!("{MAD}, frozen_params: {{z_threshold: 5}}}}"), "zscore_online"),
        (&format!("{MAD}, frozen_params: {{class: mad}}}}"), "frozen_params.class: the class is `tuned_class_name`"),
        (&format!("{MAD}, frozen_params: {{class_name: mad}}}}"), "frozen_params.class_name: the class is"),
        (&format!("{MAD}, frozen_params: {{scale: 2}}}}"), "frozen_params.scale: every class has it"),
        (&format!("{MAD}, frozen_params: {{data_range: [0, 1]}}}}"), "frozen_params.data_range: every class has it"),
        (&format!("{MAD}}}, threshold: 4"), "models.m.threshold"),
        (&format!("{MAD}}}, provide_series: [trend]"), "the class does not produce this series"),
    ] {
        let errors = loaded(text).map(|_| ()).unwrap_err();
        assert!(errors.contains(expected), "{text}: {errors}");
    }
}
