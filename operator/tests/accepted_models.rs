//! A model that the API server accepts is one that the worker takes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use config::load::{Source, load};
use config::worker::{BoxCox, Holiday, Mode, ModelClass};
use crds::{AnomalyModel, AnomalyQuery, VMAnomaly};
use operator::build::WorkerDefaults;
use operator::reconcile::plan::{Surroundings, plan};
use serde_json::{Value, json};

/// The AnomalyModel of a file under `crds/fixtures/accept`, on all queries under all schedulers.
fn model(text: &str) -> AnomalyModel {
    let document = text.rsplit("\n---\n").next().unwrap();
    let mut object: Value = serde_saphyr::from_str(document).unwrap();
    object["metadata"]["namespace"] = json!("n");
    object["metadata"]["uid"] = json!("model");
    let spec = object["spec"].as_object_mut().unwrap();
    spec.remove("queries");
    spec.remove("schedulers");
    serde_json::from_value(object).unwrap()
}

/// What the worker makes of a model, or why the operator leaves it out.
fn taken(model: AnomalyModel) -> Result<ModelClass, String> {
    let connection = json!({"datasourceURL": "http://tsdb:8428"});
    let object = |kind: &str, spec: Value| {
        json!({"apiVersion": "vmanomaly.dev/v1alpha1", "kind": kind, "spec": spec,
               "metadata": {"name": kind.to_lowercase(), "namespace": "n", "uid": kind}})
    };
    let anomaly = object("VMAnomaly", json!({"shards": 1, "reader": connection, "writer": connection}));
    let anomaly: VMAnomaly = serde_json::from_value(anomaly).unwrap();
    let query: AnomalyQuery = serde_json::from_value(object("AnomalyQuery", json!({"expr": "up"}))).unwrap();
    let around =
        Surroundings { models: vec![Arc::new(model)], queries: vec![Arc::new(query)], ..Surroundings::default() };
    let plan = plan(&anomaly, &around, &WorkerDefaults::default()).unwrap();
    if let Some(rejection) = &plan.selection.models[0].rejection {
        return Err(rejection.message.clone());
    }
    let text = plan.configuration.unwrap().text;
    let loaded = load(&[Source::new("config.yaml", text)], &|_| None, 1).unwrap();
    assert_eq!(loaded.warnings, []);
    Ok(loaded.config.models.into_values().next().unwrap().class)
}

#[test]
fn every_accepted_model_is_taken_by_the_worker() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/fixtures/accept");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("anomalymodel-") {
            let outcome = taken(model(&std::fs::read_to_string(&path).unwrap()));
            assert!(outcome.is_ok(), "{}: {outcome:?}", path.display());
            count += 1;
        }
    }
    assert!(count > 15, "{count}");
}

#[test]
fn what_the_block_of_prophet_says_arrives_in_the_worker() {
    let text = include_str!("../../crds/fixtures/accept/anomalymodel-prophet.yaml");
    let Ok(ModelClass::Prophet(prophet)) = taken(model(text)) else { panic!("no Prophet") };
    let season = &prophet.seasonalities[0];
    assert_eq!((&*season.name, season.period, season.fourier_order), ("shift", 1.0 / 3.0, 3));
    assert_eq!((season.prior_scale, season.mode), (Some(5.0), Some(Mode::Multiplicative)));
    assert_eq!((prophet.seasonalities[1].period, prophet.local_seasonalities[0].fourier_order), (7.0, Some(6)));
    assert_eq!((prophet.tz_aware, prophet.min_max_scaling, prophet.n_changepoints), (true, true, 10));
    let sale = Holiday {
        name: "Black Friday".into(),
        days: vec![20_056, 20_420],
        lower_window: -1,
        upper_window: 3,
        prior_scale: Some(20.0),
    };
    assert_eq!((&prophet.holidays[0], prophet.country.as_deref()), (&sale, Some("US")));
    assert_eq!((prophet.holidays_mode, prophet.holidays_prior_scale), (Some(Mode::Multiplicative), 5.0));
    let compression = prophet.compression.unwrap();
    assert_eq!((compression.window, compression.median, compression.adjust_boundaries), (300_000, true, false));
    let text = include_str!("../../crds/fixtures/accept/anomalymodel-prophet-changepoints.yaml");
    let Ok(ModelClass::Prophet(prophet)) = taken(model(text)) else { panic!("no Prophet") };
    assert_eq!(prophet.changepoints, Some(vec![1_714_521_600_000, 1_717_236_000_000]));
}

#[test]
fn bounds_of_smoothing_arrive_with_the_default_of_the_end_that_is_absent() {
    let text = include_str!("../../crds/fixtures/accept/anomalymodel-holtwinters-known.yaml");
    let known = text.replace("smoothingTrend: {min: 0.01, max: 0.2}", "smoothingTrend: {max: 0.2}");
    let Ok(ModelClass::HoltWinters { smoothing, .. }) = taken(model(&known)) else { panic!("no holtwinters") };
    assert_eq!((smoothing.bounds.smoothing_level, smoothing.bounds.smoothing_trend), ([0.1, 0.6], [0.0, 0.2]));
    assert_eq!((smoothing.bounds.damping_trend, smoothing.box_cox), ([0.9, 1.0], Some(BoxCox::Lambda(0.5))));
}

#[test]
fn a_series_that_prophet_does_not_produce_is_refused_by_the_operator() {
    let text = include_str!("../../crds/fixtures/accept/anomalymodel-prophet.yaml");
    let refusal = taken(model(&text.replace("Black Friday]", "Black Frday]"))).unwrap_err();
    assert!(refusal.contains("`Black Frday`: the class does not produce this series"), "{refusal}");
    assert!(refusal.contains("did you mean `Black Friday`?"), "{refusal}");
}
