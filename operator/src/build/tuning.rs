//! The part of `config.yaml` that is a model of class `auto`.

use crds::model::{AnomalyModelSpec, Auto, Tuned};
use serde_json::{Value, json};

use super::config::Section;
use super::models::{offline, online};
use super::multivariate::multivariate;

/// What only `auto` takes: the tuned class with its own words, and how it is searched.
pub(super) fn auto(common: Section, own: &Auto) -> Section {
    let Section(mut frozen) = tuned(&own.tuned);
    let class = frozen.remove("class").unwrap_or(Value::Null);
    // An object has checked its form.
    let timeout = own.timeout.as_ref().and_then(|timeout| config::duration::parse(&timeout.0).ok());
    let params = Section::default()
        .set("anomaly_percentage", own.anomaly_percentage)
        .set("n_trials", own.n_trials)
        .set("timeout", timeout.map(|milliseconds| milliseconds as f64 / 1e3))
        .set("n_splits", own.n_splits)
        .set("validation_scheme", own.validation_scheme.map(|scheme| json!(scheme)))
        .set("train_val_ratio", own.train_val_ratio)
        .set("seed", own.seed)
        .set("exact", own.exact)
        .set("optimize_complexity", own.optimize_complexity)
        .when(!frozen.is_empty(), "frozen_params", frozen);
    common.set("class", "auto").set("tuned_class_name", class).set("optimization_params", params.value())
}

/// The tuned class and its frozen arguments, as a model of that class has them.
fn tuned(tuned: &Tuned) -> Section {
    if let Some(own) = &tuned.rolling_quantile {
        return Section::default()
            .set("class", "rolling_quantile")
            .set("quantile", own.quantile)
            .set("window_steps", own.window_steps)
            .set("iqr_threshold", own.iqr_threshold)
            .set("min_n_samples_seen", own.min_n_samples_seen);
    }
    let Tuned {
        zscore_online,
        mad_online,
        quantile_online,
        std,
        temporal_envelope,
        prophet,
        holtwinters,
        isolation_forest,
        temporal_envelope_multivariate,
        isolation_forest_multivariate,
        ..
    } = tuned.clone();
    let spec = AnomalyModelSpec {
        zscore_online,
        mad_online,
        quantile_online,
        std,
        temporal_envelope,
        prophet,
        holtwinters,
        isolation_forest,
        temporal_envelope_multivariate,
        isolation_forest_multivariate,
        ..AnomalyModelSpec::default()
    };
    multivariate(offline(online(Section::default(), &spec), &spec), &spec)
}
