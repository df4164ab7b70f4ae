//! The models: each as a user writes it, and what it means by the documentation.

use crate::reference::{Class, Rules, Side};

/// A model of the configuration.
pub struct Model {
    pub alias: &'static str,
    pub query: &'static str,
    /// Its YAML, without `queries` and `schedulers`.
    pub yaml: &'static str,
    pub rules: Rules,
    pub provided: &'static [&'static str],
    /// A model that differs only in what it provides, or in `scale`, or in `clip_predictions`: bounds that this one does
    /// not write are taken from there, the others are compared with it.
    pub twin: Option<&'static str>,
}

pub const ALL: &[&str] = &["anomaly_score", "y", "yhat", "yhat_lower", "yhat_upper"];

const UNBOUNDED: [f64; 2] = [f64::NEG_INFINITY, f64::INFINITY];

const ZSCORE: Rules = Rules {
    class: Class::Zscore,
    threshold: 2.5,
    decay: 1.0,
    history_strength: 1.0,
    compression: 100,
    scale: [1.0; 2],
    clip: false,
    data_range: UNBOUNDED,
    outside: 1.01,
    side: Side::Both,
    min_dev: [0.0; 2],
    min_rel_dev: [0.0; 2],
    min_seen: 16,
};

const MAD: Rules = Rules { class: Class::Mad, ..ZSCORE };

const fn guarded(alias: &'static str, yaml: &'static str, rules: Rules) -> Model {
    Model { alias, query: "guarded", yaml, rules, provided: ALL, twin: None }
}

const fn plain(alias: &'static str, yaml: &'static str, rules: Rules) -> Model {
    Model { query: "plain", ..guarded(alias, yaml, rules) }
}

const fn twin(alias: &'static str, model: Model) -> Model {
    Model { twin: Some(alias), ..model }
}

const fn providing(provided: &'static [&'static str], model: Model) -> Model {
    Model { provided, ..model }
}

/// The reader's range, which holds where neither query nor model has one.
pub const READER_RANGE: [f64; 2] = [14.0, 60.0];
/// The policies of the query `plain`, which win over those of the model.
pub const PLAIN_POLICIES: &str =
    "data_range: [13.5, 50], detection_direction: above_expected, min_dev_from_expected: [0, 1.5]";

const PLAIN_ZSCORE: Rules = Rules { data_range: [13.5, 50.0], side: Side::Above, min_dev: [0.0, 1.5], ..ZSCORE };

/// The models of a configuration without `settings.anomaly_score_outside_data_range`.
pub const MODELS: &[Model] = &[
    guarded("z_default", "class: zscore_online, data_range: ['-inf', inf]", ZSCORE),
    guarded(
        "z_reader_range",
        "class: zscore_online, z_threshold: 2",
        Rules { threshold: 2.0, data_range: READER_RANGE, ..ZSCORE },
    ),
    guarded(
        "z_decay",
        "class: zscore_online, z_threshold: 3, decay: 0.99, data_range: [-inf, 40]",
        Rules { threshold: 3.0, decay: 0.99, data_range: [f64::NEG_INFINITY, 40.0], ..ZSCORE },
    ),
    guarded(
        "z_history",
        "class: zscore_online, history_strength: 3, decay: 0.995, min_n_samples_seen: 1, data_range: ['-inf', inf]",
        Rules { history_strength: 3.0, decay: 0.995, min_seen: 1, ..ZSCORE },
    ),
    guarded(
        "z_weak_history",
        "class: zscore_online, history_strength: 0.25, data_range: ['-inf', inf]",
        Rules { history_strength: 0.25, ..ZSCORE },
    ),
    twin(
        "z_default",
        guarded(
            "z_scale_sides",
            "class: zscore_online, scale: [1.5, 0.5], data_range: ['-inf', inf]",
            Rules { scale: [1.5, 0.5], ..ZSCORE },
        ),
    ),
    twin(
        "z_default",
        guarded(
            "z_scale",
            "class: zscore_online, scale: 1.2, min_n_samples_seen: 500, data_range: [12, 70], anomaly_score_outside_data_range: 5",
            Rules { scale: [1.2; 2], min_seen: 500, data_range: [12.0, 70.0], outside: 5.0, ..ZSCORE },
        ),
    ),
    twin(
        "z_default",
        guarded(
            "z_clip",
            "class: zscore_online, clip_predictions: true, data_range: [13, 22], anomaly_score_outside_data_range: 0.0",
            Rules { clip: true, data_range: [13.0, 22.0], outside: 0.0, ..ZSCORE },
        ),
    ),
    twin(
        "z_default",
        guarded(
            "z_clip_yhat",
            "class: zscore_online, clip_predictions: true, data_range: [25, 90], scale: [2, 3]",
            Rules { clip: true, data_range: [25.0, 90.0], scale: [2.0, 3.0], ..ZSCORE },
        ),
    ),
    guarded(
        "z_yhat_out_of_range",
        "class: zscore_online, z_threshold: 0.5, data_range: [18.5, 90]",
        Rules { threshold: 0.5, data_range: [18.5, 90.0], ..ZSCORE },
    ),
    guarded(
        "z_above",
        "class: zscore_online, detection_direction: above_expected, min_dev_from_expected: 2, data_range: ['-inf', inf]",
        Rules { side: Side::Above, min_dev: [2.0; 2], ..ZSCORE },
    ),
    guarded(
        "z_below",
        "class: zscore_online, detection_direction: below_expected, min_rel_dev_from_expected: [5], data_range: ['-inf', inf]",
        Rules { side: Side::Below, min_rel_dev: [5.0; 2], ..ZSCORE },
    ),
    guarded(
        "z_min_dev_sides",
        "class: zscore_online, z_threshold: 1, min_dev_from_expected: [0.5, 3], min_rel_dev_from_expected: [10, 20], data_range: ['-inf', inf]",
        Rules { threshold: 1.0, min_dev: [0.5, 3.0], min_rel_dev: [10.0, 20.0], ..ZSCORE },
    ),
    providing(
        &["anomaly_score"],
        twin(
            "z_default",
            guarded(
                "z_score_only",
                "class: zscore_online, data_range: ['-inf', inf], provide_series: [anomaly_score]",
                ZSCORE,
            ),
        ),
    ),
    guarded("mad_default", "class: mad_online, data_range: ['-inf', inf]", MAD),
    guarded(
        "mad_decay",
        "class: mad_online, threshold: 4, decay: 0.995, compression: 200, data_range: ['-inf', inf]",
        Rules { threshold: 4.0, decay: 0.995, compression: 200, ..MAD },
    ),
    guarded(
        "mad_history",
        "class: mad_online, history_strength: 2, scale: [1, 2], min_rel_dev_from_expected: [0, 15], min_n_samples_seen: 20, data_range: ['-inf', inf]",
        Rules { history_strength: 2.0, scale: [1.0, 2.0], min_rel_dev: [0.0, 15.0], min_seen: 20, ..MAD },
    ),
    guarded(
        "mad_small",
        "class: mad_online, compression: 50, decay: 0.99, detection_direction: both, data_range: [0, 100]",
        Rules { decay: 0.99, compression: 50, data_range: [0.0, 100.0], ..MAD },
    ),
    twin(
        "mad_default",
        guarded(
            "mad_scale_clip",
            "class: mad_online, scale: 1.5, clip_predictions: true, data_range: [14, 20], anomaly_score_outside_data_range: 2.25",
            Rules { scale: [1.5; 2], clip: true, data_range: [14.0, 20.0], outside: 2.25, ..MAD },
        ),
    ),
    providing(
        &["yhat", "y", "yhat_lower", "yhat_upper"],
        guarded(
            "mad_without_score",
            "class: mad_online, provide_series: [yhat, y, yhat_lower, yhat_upper], data_range: ['-inf', inf]",
            MAD,
        ),
    ),
    plain("z_query", "class: zscore_online", PLAIN_ZSCORE),
    plain(
        "z_overruled",
        "class: zscore_online, data_range: [0, 1], detection_direction: below_expected, min_dev_from_expected: 100, min_rel_dev_from_expected: 12",
        Rules { min_rel_dev: [12.0; 2], ..PLAIN_ZSCORE },
    ),
    plain("mad_query", "class: mad_online", Rules { class: Class::Mad, ..PLAIN_ZSCORE }),
    twin(
        "mad_query",
        plain(
            "mad_query_clip",
            "class: mad_online, clip_predictions: true, anomaly_score_outside_data_range: 7",
            Rules { class: Class::Mad, clip: true, outside: 7.0, ..PLAIN_ZSCORE },
        ),
    ),
];

/// The models of a configuration with `settings.anomaly_score_outside_data_range: 3.5`.
pub const WITH_SETTINGS: &[Model] = &[
    guarded("z_of_settings", "class: zscore_online", Rules { data_range: READER_RANGE, outside: 3.5, ..ZSCORE }),
    guarded(
        "z_own",
        "class: zscore_online, anomaly_score_outside_data_range: 0.0",
        Rules { data_range: READER_RANGE, outside: 0.0, ..ZSCORE },
    ),
];
