//! From objects, as a user writes them, to the worker's configuration and its children.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::sync::Arc;

use config::load::{Loaded, Source, load};
use config::worker::{DetectionDirection, ModelClass, Validation};
use crds::status::Reason;
use crds::{AnomalyModel, AnomalyQuery, VMAnomaly};
use operator::build::config::{HANDOVER_TIMEOUT, Rendered, render, schedulers};
use operator::build::config_maps::{self, Inputs};
use operator::build::stateful_set::stateful_set;
use operator::build::{WorkerDefaults, config as build_config};
use operator::names::ChildNames;
use operator::reconcile::plan::{Surroundings, plan};
use operator::reconcile::report::verdict;
use operator::selection::{ObjectKey, Selection, select};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn object<K: DeserializeOwned>(name: &str, spec: Value) -> K {
    let metadata = json!({ "name": name, "namespace": "monitoring", "uid": format!("uid-{name}") });
    serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap()
}

fn anomaly(spec: Value) -> VMAnomaly {
    let mut whole = json!({
        "shards": 3,
        "reader": { "datasourceURL": "http://tsdb:8428" },
        "writer": { "datasourceURL": "http://tsdb:8428" },
    });
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    object("main", whole)
}

fn query(name: &str, spec: Value) -> Arc<AnomalyQuery> {
    let mut whole = json!({ "expr": "up" });
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    Arc::new(object(name, whole))
}

fn model(name: &str, spec: Value) -> Arc<AnomalyModel> {
    Arc::new(object(name, spec))
}

fn selection(anomaly: &VMAnomaly, models: &[Arc<AnomalyModel>], queries: &[Arc<AnomalyQuery>]) -> Selection {
    let names: Vec<String> = schedulers(anomaly).into_iter().map(|scheduler| scheduler.name).collect();
    select(anomaly, models.iter().cloned(), queries.iter().cloned(), &names)
}

/// What the worker makes of the files of the ConfigMap.
fn loaded(anomaly: &VMAnomaly, rendered: &Rendered) -> Loaded {
    let operator = build_config::operator_file(anomaly, &rendered.revision);
    let sources = [Source::new("config.yaml", rendered.text.as_str()), Source::new("operator.yaml", operator)];
    load(&sources, &|_| None, 2).unwrap()
}

#[test]
fn what_the_objects_say_arrives_in_the_worker() {
    let anomaly = anomaly(json!({
        "reader": {
            "datasourceURL": "https://tsdb:8428", "tenantID": "1:2", "samplingPeriod": "30s", "timeout": "10s",
            "basicAuth": { "username": "me", "passwordSecret": { "name": "tsdb", "key": "password" } },
            "tls": { "ca": { "configMap": { "name": "ca", "key": "ca.crt" } } },
            "seriesLimit": 7, "offset": "-60s", "timeZone": "Europe/Berlin",
        },
        "writer": {
            "datasourceURL": "http://tsdb:8428", "tenantID": "1:2",
            "metricFormat": { "name": "x_$VAR", "extraLabels": { "team": "a" } },
        },
        "schedulers": [{ "name": "often", "fitWindow": "2d", "fitEvery": "7d", "inferEvery": "1m" }],
        "settings": { "settle": "0s", "anomalyScoreOutsideDataRange": 0.0, "retention": { "ttl": "3d" } },
        "server": { "port": 9000, "pathPrefix": "/anomaly/" },
    }));
    let queries = [query(
        "cpu",
        json!({
            "expr": "rate(cpu[5m])", "step": "1m", "dataRange": { "min": 0.0 }, "detectionDirection": "AboveExpected",
            "minDevFromExpected": { "above": 0.5 }, "spread": { "type": "Label", "label": "host" },
            "falseAlarmsPerDay": 2.5,
        }),
    )];
    let models = [model(
        "robust",
        json!({
            "madOnline": { "threshold": 3.5, "compression": 50, "decay": 0.5 }, "provideSeries": ["anomaly_score"],
            "scale": { "above": 2.0 }, "clipPredictions": true,
        }),
    )];
    let mut selection = selection(&anomaly, &models, &queries);
    let rendered = render(&anomaly, &mut selection).unwrap();
    let config = loaded(&anomaly, &rendered).config;

    assert_eq!(config.revision.as_deref(), Some(rendered.revision.as_str()));
    assert_eq!((config.server.port, config.server.path_prefix.as_str()), (9000, "/anomaly"));
    assert_eq!((config.settings.settle, config.settings.retention_ttl), (0, Some(3 * 86_400_000)));
    assert_eq!(config.writer.metric_name, "x_$VAR");
    assert_eq!(config.writer.labels["team"], "a");
    let client = &config.reader.client;
    assert_eq!(client.user.as_deref(), Some("me"));
    assert_eq!(client.password_file.as_deref(), Some("/etc/vmanomaly/credentials/reader/password"));
    assert_eq!(client.timeout, 10_000);
    let watched = &config.reader.queries["cpu"];
    assert_eq!((watched.step, watched.series_limit, watched.offset), (60_000, 7, -60_000));
    assert_eq!((watched.tz.as_str(), watched.false_alarms_per_day), ("Europe/Berlin", Some(2.5)));
    assert_eq!(watched.policies.data_range, Some([0.0, f64::INFINITY]));
    assert_eq!(watched.policies.detection_direction, Some(DetectionDirection::AboveExpected));
    assert_eq!(watched.policies.min_dev_from_expected, Some([0.0, 0.5]));
    let robust = &config.models["robust"];
    assert_eq!(robust.class, ModelClass::MadOnline { threshold: 3.5, compression: 50 });
    assert_eq!((robust.scale, robust.decay, robust.clip_predictions), ([1.0, 2.0], 0.5, true));
    assert_eq!(robust.anomaly_score_outside_data_range, 0.0, "an explicit zero is no absent value");
    assert_eq!((robust.queries.as_slice(), robust.schedulers.as_slice()), (&["cpu".into()][..], &["often".into()][..]));
    assert_eq!(rendered.placements, [("cpu".to_owned(), config::ownership::Spread::Label("host".into()))]);
}

#[test]
fn a_multivariate_model_whose_queries_are_spread_apart_is_rejected_alone_and_says_which() {
    let anomaly = anomaly(json!({}));
    let by_host = json!({ "spread": { "type": "Label", "label": "host" } });
    let queries = [query("cpu", json!({ "spread": { "type": "Series" } })), query("memory", by_host)];
    let joint = json!({ "isolationForestMultivariate": { "groupby": ["host"] } });
    let models = [model("all", json!({ "zscoreOnline": {} })), model("joint", joint)];
    let mut selection = selection(&anomaly, &models, &queries);
    let rendered = render(&anomaly, &mut selection).unwrap();
    let rejection = selection.models.iter().find(|model| model.alias == "joint").unwrap().rejection.clone().unwrap();
    assert_eq!(rejection.reason, Reason::InvalidValue);
    assert!(rejection.message.ends_with("`cpu` is by `series`, `memory` by `label: host`"), "{}", rejection.message);
    assert_eq!(loaded(&anomaly, &rendered).config.models.keys().collect::<Vec<_>>(), ["all"]);
}

#[test]
fn queries_of_a_multivariate_model_are_spread_alike_for_all_models_where_one_says_how_or_none_does() {
    use config::ownership::Spread;
    let anomaly = anomaly(json!({}));
    let joint =
        json!({ "isolationForestMultivariate": { "groupby": ["host"] }, "queries": { "names": ["cpu", "memory"] } });
    let models = [model("all", json!({ "zscoreOnline": {} })), model("joint", joint)];
    let placements = |spread: serde_json::Value| {
        let queries = [query("cpu", json!({})), query("disk", json!({})), query("memory", spread)];
        render(&anomaly, &mut selection(&anomaly, &models, &queries)).unwrap().placements
    };
    let by_host = || Spread::Label("host".to_owned());
    assert_eq!(placements(json!({})), [("cpu".to_owned(), by_host()), ("memory".to_owned(), by_host())]);
    let together = [("cpu".to_owned(), Spread::Query), ("memory".to_owned(), Spread::With("cpu".to_owned()))];
    assert_eq!(placements(json!({ "spread": { "type": "Query" } })), together);
}

#[test]
fn a_smoothing_without_a_season_needs_no_length_of_one() {
    let anomaly = anomaly(json!({}));
    let models = [model("m", json!({ "holtwinters": { "seasonal": "none", "trend": "add" } }))];
    let mut selection = selection(&anomaly, &models, &[query("cpu", json!({}))]);
    let rendered = render(&anomaly, &mut selection).unwrap();
    let ModelClass::HoltWinters { smoothing, .. } = &loaded(&anomaly, &rendered).config.models["m"].class else {
        panic!("another class")
    };
    assert!(smoothing.seasonal.is_none() && smoothing.trend.is_some());
}

#[test]
fn a_tuned_class_is_the_block_that_is_set_and_what_is_in_it_is_frozen() {
    let anomaly = anomaly(json!({}));
    let tuning = json!({
        "tuned": { "quantileOnline": { "seasonalInterval": "1d", "minSubseason": "1h", "decay": 0.9 } },
        "anomalyPercentage": 0.02, "timeout": "2s500ms", "nTrials": 7, "validationScheme": "leaky",
    });
    let forest = json!({ "isolationForest": { "nEstimators": 50, "seasonalFeatures": ["hod"] } });
    let joint = json!({ "temporalEnvelopeMultivariate": { "groupby": ["host"], "maxChannels": 9 } });
    let models = [
        model("tuned", json!({ "auto": tuning, "clipPredictions": true })),
        model("forest", json!({ "auto": { "tuned": forest, "anomalyPercentage": 0.0 } })),
        model("joint", json!({ "auto": { "tuned": joint, "anomalyPercentage": 0.0 } })),
        model("rolling", json!({ "auto": { "tuned": { "rollingQuantile": {} }, "anomalyPercentage": 0.0 } })),
    ];
    let mut selection = selection(&anomaly, &models, &[query("cpu", json!({}))]);
    let rendered = render(&anomaly, &mut selection).unwrap();
    let config = loaded(&anomaly, &rendered).config;
    let auto = |name: &str| match &config.models[name].class {
        ModelClass::Auto(auto) => auto.as_ref().clone(),
        other => panic!("{other:?}"),
    };
    let tuned = auto("tuned");
    let ModelClass::QuantileOnline { seasonal_interval, .. } = tuned.start else { panic!("another class") };
    assert_eq!((seasonal_interval, tuned.learning.decay), (Some(86_400_000), 0.9));
    assert_eq!((tuned.anomaly_percentage, tuned.timeout, tuned.n_trials), (0.02, Some(2.5), 7));
    assert_eq!(tuned.validation, Validation::Leaky);
    let frozen: BTreeSet<&str> = tuned.frozen.iter().map(String::as_str).collect();
    assert_eq!(frozen, ["decay", "min_subseason", "seasonal_interval"].into());
    assert!(config.models["tuned"].clip_predictions);
    assert_eq!(auto("forest").frozen, ["args.n_estimators", "seasonal_features"]);
    assert_eq!(config.models["forest"].provide_series, ["anomaly_score", "y"]);
    assert_eq!(auto("joint").frozen, ["groupby", "max_channels"]);
    assert_eq!(config.models["joint"].class.groupby(), Some(["host".to_owned()].as_slice()));
    assert_eq!((auto("rolling").tuned_class.as_str(), auto("rolling").frozen.len()), ("rolling_quantile", 0));
}

#[test]
fn a_calibrated_group_has_the_labels_limits_and_outputs_of_its_object() {
    let anomaly = anomaly(json!({}));
    let own =
        json!({ "groupby": ["zone", "host"], "maxChannels": 9, "recommendedMaxChannels": 5, "minNSamplesSeen": 40 });
    let provided = json!(["anomaly_score", "channel_score"]);
    let models = [model("joint", json!({ "calibratedMultivariate": own, "provideSeries": provided }))];
    let mut selection = selection(&anomaly, &models, &[query("cpu", json!({}))]);
    let rendered = render(&anomaly, &mut selection).unwrap();
    let config = loaded(&anomaly, &rendered).config;
    let model = &config.models["joint"];
    let ModelClass::CalibratedMultivariate(class) = &model.class else { panic!("another class") };
    assert_eq!(
        (class.groupby.join(" "), class.max_channels, class.recommended_max_channels),
        ("host zone".into(), 9, 5)
    );
    assert_eq!((model.min_n_samples_seen, model.provide_series.join(" ")), (40, "anomaly_score channel_score".into()));
}

#[test]
fn an_object_that_the_worker_would_refuse_is_rejected_alone() {
    let anomaly = anomaly(json!({}));
    let queries = [query("bad", json!({ "timeZone": "Europe/Nowhere" })), query("good", json!({}))];
    let models = [model("all", json!({ "zscoreOnline": {} }))];
    let mut selection = selection(&anomaly, &models, &queries);
    let rendered = render(&anomaly, &mut selection).unwrap();
    let rejection = selection.queries[0].rejection.as_ref().unwrap();
    assert_eq!(rejection.reason, Reason::InvalidValue);
    assert!(rejection.message.contains("tz") && rejection.message.contains("Europe/Nowhere"), "{}", rejection.message);
    let config = loaded(&anomaly, &rendered).config;
    assert_eq!(config.models["all"].queries, ["good"]);
}

#[test]
fn without_queries_the_configuration_is_valid_and_idle() {
    let anomaly = anomaly(json!({}));
    let rendered = render(&anomaly, &mut selection(&anomaly, &[], &[])).unwrap();
    assert!(loaded(&anomaly, &rendered).config.models.is_empty());
}

#[test]
fn queries_that_no_model_asks_for_have_the_default_model() {
    let anomaly = anomaly(json!({}));
    let queries = ["cpu", "disk", "memory"].map(|name| query(name, json!({})));
    let configured = |models: &[Arc<AnomalyModel>]| {
        let mut selection = selection(&anomaly, models, &queries);
        let rendered = render(&anomaly, &mut selection).unwrap();
        let loaded = loaded(&anomaly, &rendered);
        assert_eq!(loaded.warnings, []);
        loaded.config
    };
    let alone = configured(&[]);
    let model = &alone.models["calibrated"];
    assert_eq!(model.class, ModelClass::Calibrated { false_alarms_per_day: 0.1, once_per_incident: true });
    assert_eq!((model.queries.join(" "), model.schedulers.join(" ")), ("cpu disk memory".into(), "default".into()));

    let asking = |name: &str, class: Value| model_of(name, class, json!({ "names": ["cpu"] }));
    let some = configured(&[asking("robust", json!({ "madOnline": {} }))]);
    assert_eq!(some.models["robust"].queries, ["cpu"]);
    assert_eq!(some.models["calibrated"].queries, ["disk", "memory"]);
    let namesake = configured(&[asking("calibrated", json!({ "calibrated": {} }))]);
    assert_eq!(namesake.models["calibrated"].queries, ["cpu"]);
    assert_eq!(namesake.models["calibrated_"].queries, ["disk", "memory"]);
    let often =
        configured(&[asking("often", json!({ "calibrated": { "falseAlarmsPerDay": 2, "oncePerIncident": false } }))]);
    assert_eq!(
        often.models["often"].class,
        ModelClass::Calibrated { false_alarms_per_day: 2.0, once_per_incident: false }
    );
    assert_eq!(configured(&[crate::model("all", json!({ "madOnline": {} }))]).models.len(), 1);
}

#[test]
fn the_queries_of_a_rejected_model_wait_for_it() {
    let anomaly = anomaly(json!({}));
    let model = model_of(
        "wrong",
        json!({ "quantileOnline": { "seasonalInterval": "2h", "minSubseason": "37m" } }),
        json!({ "names": ["cpu"] }),
    );
    let mut selection = selection(&anomaly, &[model], &[query("cpu", json!({})), query("memory", json!({}))]);
    let config = loaded(&anomaly, &render(&anomaly, &mut selection).unwrap()).config;
    assert_eq!(selection.models[0].rejection.as_ref().unwrap().reason, Reason::InvalidValue);
    assert_eq!(config.models["calibrated"].queries, ["memory"]);
}

#[test]
fn a_query_of_the_default_model_is_used_and_one_of_a_rejected_model_is_not() {
    let wrong = json!({ "quantileOnline": { "seasonalInterval": "2h", "minSubseason": "37m" } });
    let around = Surroundings {
        models: vec![model_of("wrong", wrong, json!({ "names": ["cpu"] }))],
        queries: ["cpu", "memory"].map(|name| query(name, json!({}))).into(),
        ..Surroundings::default()
    };
    let plan = plan(&anomaly(json!({})), &around, &WorkerDefaults::default()).unwrap();
    let verdict = verdict(&plan, &[]);
    let judged = |name: &str| {
        let key = ObjectKey { namespace: "monitoring".into(), name: name.into() };
        let judgement = &verdict.queries[&key];
        (judgement.accepted, judgement.reason, judgement.message.clone())
    };
    assert_eq!(
        judged("memory"),
        (true, Reason::Used, "no model asks for it: the default one scores it, `calibrated`".into())
    );
    assert_eq!((judged("cpu").0, judged("cpu").1), (false, Reason::NoModels));
}

/// A model of a class that asks for these queries.
fn model_of(name: &str, class: Value, queries: Value) -> Arc<AnomalyModel> {
    let mut spec = class;
    spec["queries"] = queries;
    model(name, spec)
}

#[test]
fn a_query_that_is_missing_is_reported_and_the_others_are_watched() {
    let anomaly = anomaly(json!({}));
    let models = [model("m", json!({ "zscoreOnline": {}, "queries": { "names": ["here", "gone"] } }))];
    let selection = selection(&anomaly, &models, &[query("here", json!({}))]);
    assert_eq!(selection.models[0].queries, ["here"]);
    let missing = selection.models[0].missing.as_ref().unwrap();
    assert_eq!(missing.reason, Reason::QueryNotFound);
    assert!(missing.message.contains("monitoring/gone"), "{}", missing.message);
}

#[test]
fn other_namespaces_are_selected_only_when_named() {
    let elsewhere = || {
        let mut query = (*query("cpu", json!({}))).clone();
        query.metadata.namespace = Some("team-a".into());
        Arc::new(query)
    };
    assert!(selection(&anomaly(json!({})), &[], &[elsewhere()]).queries.is_empty());
    let open = anomaly(json!({ "querySelector": { "namespaces": ["team-a"] } }));
    assert_eq!(selection(&open, &[], &[elsewhere()]).queries[0].alias, "team-a/cpu");
}

#[test]
fn of_two_objects_with_one_alias_the_older_keeps_it() {
    let at = |query: Arc<AnomalyQuery>, time: &str| {
        let mut query = (*query).clone();
        query.metadata.creation_timestamp = serde_json::from_value(json!(time)).unwrap();
        Arc::new(query)
    };
    let queries = [
        at(query("a", json!({ "alias": "x" })), "2026-02-01T00:00:00Z"),
        at(query("b", json!({ "alias": "x" })), "2026-01-01T00:00:00Z"),
    ];
    let selection = selection(&anomaly(json!({})), &[], &queries);
    assert_eq!(selection.queries[0].rejection.as_ref().unwrap().reason, Reason::AliasTaken);
    assert!(selection.queries[1].rejection.is_none());
}

#[test]
fn the_order_in_which_objects_arrive_changes_no_byte() {
    let anomaly = anomaly(json!({}));
    let queries: Vec<_> = (0..20).map(|index| query(&format!("q{index}"), json!({}))).collect();
    let models = [model("a", json!({ "zscoreOnline": {} })), model("b", json!({ "madOnline": {} }))];
    let text = |models: &[Arc<AnomalyModel>], queries: &[Arc<AnomalyQuery>]| {
        render(&anomaly, &mut selection(&anomaly, models, queries)).unwrap().text
    };
    let first = text(&models, &queries);
    let (mut queries, mut models) = (queries.clone(), models.to_vec());
    for _ in 0..20 {
        queries.rotate_left(7);
        models.reverse();
        assert_eq!(text(&models, &queries), first);
    }
}

#[test]
fn a_large_configuration_is_compressed_and_one_beyond_a_config_map_is_refused() {
    let anomaly = anomaly(json!({}));
    let rendered = |text: String| Rendered {
        text,
        revision: "r".into(),
        placements: Vec::new(),
        unchecked: false,
        handover_timeout: HANDOVER_TIMEOUT,
    };
    let large = config_maps::config(&anomaly, &rendered("a: b # same\n".repeat(100_000)), &Inputs::default()).unwrap();
    assert!(large.binary_data.unwrap().contains_key("config.yaml"));
    let random: String =
        (0_u64..400_000).map(|index| format!("{:x}", index.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    let error = config_maps::config(&anomaly, &rendered(random), &Inputs::default()).unwrap_err();
    assert!(error.bytes > config_maps::LARGEST);
}

#[test]
fn the_pod_template_does_not_depend_on_shards_replicas_models_or_queries() {
    let template = |spec: Value| {
        let set = stateful_set(&anomaly(spec), &WorkerDefaults::default(), 0, 1);
        serde_json::to_value(set.spec.unwrap().template).unwrap()
    };
    let settings = json!({ "shards": 9, "replicas": 3, "settings": { "settle": "1s" }, "schedulers": [] });
    assert_eq!(template(json!({})), template(settings));
}

#[test]
fn names_and_labels_fit_for_the_longest_name() {
    let names = ChildNames::of(&"x".repeat(40));
    // A StatefulSet's pods carry its name, `-` and a hash of up to ten characters in a label.
    let uid = Some("12345678-1234-1234-1234-123456789012");
    let set = names.workers(9);
    for name in [format!("{set}-0123456789"), names.pod(9, 999), names.topology.clone(), names.peer_secret(uid)] {
        assert!(name.len() <= 63, "{name} has {}", name.len());
    }
}

#[test]
fn what_builds_objects_knows_no_client_no_clock_and_no_chance() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/build");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let all = files.chain(
        ["selection.rs", "reconcile/plan.rs", "reconcile/topology.rs", "reconcile/rollout.rs", "reconcile/report.rs"]
            .map(|file| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file)),
    );
    for file in all {
        let text = std::fs::read_to_string(&file).unwrap();
        for word in ["Client", "tokio", "async", "now()", "rand::", "Instant", "SystemTime", "std::env::var"] {
            assert!(!text.contains(word), "{}: {word}", file.display());
        }
    }
}
