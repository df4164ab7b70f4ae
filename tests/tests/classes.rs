//! One worker runs every class of models from one file, on what a real VictoriaMetrics answers.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
};

use tests::{
    accelerated::{Run, run, written},
    series::Series,
    victoria_metrics::VictoriaMetrics,
};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// 2026-01-05T06:00:00Z, where the first fit ends.
const START: i64 = 1_767_592_800_000;
const BEGIN: i64 = START - 4 * 24 * HOUR;
const END: i64 = START + 5 * HOUR;
/// When something happens, in the middle of a step.
const INCIDENT: i64 = START + 4 * HOUR;

/// Models by alias: the class with what it requires, what it writes, and how many of a hundred calm points it may call
/// anomalous.
const MODELS: [(&str, &str, &str, usize); 16] = [
    ("calibrated", "class: calibrated", "anomaly_score y yhat yhat_lower yhat_upper", 1),
    ("often", "class: calibrated, false_alarms_per_day: 2", "anomaly_score y yhat yhat_lower yhat_upper", 5),
    (
        "group",
        "class: calibrated_multivariate, groupby: [host], provide_series: [anomaly_score, channel_score, y, yhat, yhat_lower, yhat_upper]",
        "anomaly_score channel_score y yhat yhat_lower yhat_upper",
        1,
    ),
    ("zscore", "class: zscore_online", "anomaly_score y yhat yhat_lower yhat_upper", 0),
    ("mad", "class: mad_online, threshold: 4", "anomaly_score y yhat yhat_lower yhat_upper", 0),
    (
        "quantile",
        "class: quantile_online, seasonal_interval: 1d, min_subseason: 1h, iqr_threshold: 1",
        "anomaly_score y yhat yhat_lower yhat_upper",
        10,
    ),
    (
        "rolling",
        "class: rolling_quantile, quantile: 0.9, window_steps: 24, iqr_threshold: 4",
        "anomaly_score y yhat yhat_lower yhat_upper",
        10,
    ),
    (
        "std",
        // The residuals of the two days that a season is known of are smaller than those of the next one.
        "class: std, period: 288, z_threshold: 5, provide_series: [anomaly_score, resid, trend, seasonal]",
        "anomaly_score resid trend seasonal",
        10,
    ),
    (
        "envelope",
        "class: temporal_envelope, iqr_threshold: 3, seasonalities: [hod_smooth], holidays: {countries: [US]}, forecast_at: [1h], provide_series: [anomaly_score, yhat]",
        "anomaly_score yhat yhat_1h",
        10,
    ),
    (
        "prophet",
        "class: prophet, scale: 2, forecast_at: [1d], provide_series: [anomaly_score, yhat, daily, holidays], args: {weekly_seasonality: false, country_holidays: US}",
        "anomaly_score yhat daily holidays yhat_1d",
        10,
    ),
    ("holtwinters", "class: holtwinters, seasonality: 1d", "anomaly_score y yhat yhat_lower yhat_upper", 20),
    ("forest", "class: isolation_forest, contamination: 0.05, seasonal_features: [hod]", "anomaly_score y", 20),
    (
        "tuned",
        "class: auto, tuned_class_name: mad_online, optimization_params: {anomaly_percentage: 0.01, n_trials: 16}",
        "anomaly_score y yhat yhat_lower yhat_upper",
        10,
    ),
    (
        "hasty",
        "class: auto, tuned_class_name: zscore_online, optimization_params: {anomaly_percentage: 0.01, timeout: 0.000001}",
        "anomaly_score y yhat yhat_lower yhat_upper",
        10,
    ),
    (
        "tuned_prophet",
        "class: auto, tuned_class_name: prophet, provide_series: [anomaly_score, yhat, daily], \
         optimization_params: {anomaly_percentage: 0.01, n_trials: 4, \
         frozen_params: {forecast_at: [1d], args: {weekly_seasonality: false}}}",
        "anomaly_score yhat daily yhat_1d",
        20,
    ),
    (
        "tuned_forest",
        "class: auto, tuned_class_name: isolation_forest, \
         optimization_params: {anomaly_percentage: 0.15, n_trials: 16, frozen_params: {seasonal_features: [hod]}}",
        "anomaly_score y",
        30,
    ),
];

fn config(url: &str) -> String {
    let models =
        MODELS.map(|(alias, arguments, ..)| format!("  {alias}: {{{arguments}, queries: all, schedulers: all}}\n"));
    format!(
        "
settings: {{settle: 5s, max_catch_up: 30d}}
schedulers: {{s: {{class: periodic, start_from: '2026-01-05T06:00:00Z', infer_every: 5m, fit_window: 3d, fit_every: 1d}}}}
models:
{}reader: {{class: vm, datasource_url: '{url}', sampling_period: 5m, queries: {{load: {{expr: load}}}}}}
writer: {{class: vm, datasource_url: '{url}'}}
",
        models.concat()
    )
}

/// A daily curve with some noise, and one value that is far away from it.
fn load(host: i64) -> impl Iterator<Item = (i64, f64)> {
    (BEGIN..=END).step_by(MINUTE as usize).map(move |time| {
        let hour = (time % (24 * HOUR)) as f64 / HOUR as f64 - 12.0;
        let noise = (time / MINUTE * (7 + host)).wrapping_mul(2_654_435_761).rem_euclid(1_000) as f64 / 1e3;
        let curve = 100.0 - hour * hour / 4.0 + 2.0 * noise + host as f64;
        (time, if time == INCIDENT { curve + 200.0 } else { curve })
    })
}

/// Runs of scores above 1, those that are at most 15 minutes apart taken as one.
fn alarms(scores: &Series) -> usize {
    let above = scores.samples.iter().filter(|sample| sample.value > 1.0);
    let times: Vec<i64> = std::iter::once(i64::MIN / 2).chain(above.map(|sample| sample.time)).collect();
    times.windows(2).filter(|pair| pair[1] - pair[0] > 15 * MINUTE).count()
}

#[tokio::test(flavor = "current_thread")]
async fn every_class_fits_scores_and_sees_what_is_far_away() {
    let database = VictoriaMetrics::start().await.expect("VictoriaMetrics");
    let hosts = ["a", "b"];
    let input = hosts.iter().zip(0..).map(|(host, number)| Series::new("load", &[("host", *host)], load(number)));
    database.import(&input.collect::<Vec<_>>()).await.expect("import");
    database.everything_visible().await.expect("everything visible");
    let config = config(database.url());
    let shards = NonZeroU32::new(1).expect("a shard");
    let outcome = run(Run { config: &config, shard: 0, shards, start: START, end: END + 5_000, factor: 1e6 });
    let outcome = outcome.await.expect("a run");
    assert_eq!(outcome.jobs[0].skipped_ticks, 0);
    let cut = outcome.metric("vmanomaly_searches_cut_total");
    assert_eq!(cut, hosts.len() as f64, "only the hasty model's searches are cut");

    let written = written(&outcome.accepted).expect("JSON lines");
    let scores = written.iter().filter(|series| series.label("__name__") == "anomaly_score");
    let alarms: usize = scores.map(alarms).sum();
    assert_eq!(outcome.metric("vmanomaly_alarms_observed_total"), alarms as f64);
    let promised = (0.1 + 2.0) * hosts.len() as f64 * (END - START) as f64 / (24 * HOUR) as f64;
    assert!(
        (outcome.metric("vmanomaly_alarms_expected_total") - promised).abs() < 1e-9,
        "of `calibrated` alone, by each rate"
    );
    let mut by_model: BTreeMap<&str, Vec<&Series>> = BTreeMap::new();
    for series in &written {
        by_model.entry(series.label("model_alias")).or_default().push(series);
    }
    for (alias, _, names, most) in MODELS {
        let series = &by_model[alias];
        let found: BTreeSet<&str> = series.iter().map(|series| series.label("__name__")).collect();
        assert_eq!(found, names.split(' ').collect(), "{alias}");
        assert_eq!(series.len(), hosts.len() * found.len(), "{alias}");
        for scores in series.iter().filter(|series| series.label("__name__") == "anomaly_score") {
            assert_eq!(scores.samples.len() as i64, (END - START) / (5 * MINUTE), "{alias}: a score a step");
            let is_calm = |time: i64| time < INCIDENT;
            let calm: Vec<f64> =
                scores.samples.iter().filter(|sample| is_calm(sample.time)).map(|sample| sample.value).collect();
            let wrong = calm.iter().filter(|score| **score > 1.0).count();
            assert!(wrong * 100 <= most * calm.len(), "{alias} calls {wrong} of {} calm points anomalous", calm.len());
            let incident = scores.samples.iter().find(|sample| sample.time == INCIDENT).expect("its score");
            assert!(incident.value > 1.0, "{alias} scores the incident {}", incident.value);
        }
    }
}

/// Of a series that was there before the fit and of one that came after it, how far each model is at each step.
const STAGES: [(&str, &str); 4] = [
    ("mad", "class: mad_online"),
    ("quantile", "class: quantile_online, seasonal_interval: 1d, min_subseason: 1h"),
    ("holtwinters", "class: holtwinters, seasonality: 1d"),
    ("prophet", "class: prophet"),
];

#[tokio::test(flavor = "current_thread")]
async fn a_series_that_comes_late_and_one_of_a_short_window_show_how_far_their_models_are() {
    let database = VictoriaMetrics::start().await.expect("VictoriaMetrics");
    let from = START + 2 * HOUR;
    let late = load(1).filter(|(time, _)| *time > from);
    let input = [Series::new("load", &[("host", "a")], load(0)), Series::new("load", &[("host", "late")], late)];
    database.import(&input).await.expect("import");
    database.everything_visible().await.expect("everything visible");
    let models = STAGES.map(|(alias, class)| {
        format!("  {alias}: {{{class}, provide_series: [anomaly_score, stage], queries: all, schedulers: all}}\n")
    });
    let url = database.url();
    let config = format!(
        "
settings: {{settle: 5s, max_catch_up: 30d}}
schedulers: {{s: {{class: periodic, start_from: '2026-01-05T06:00:00Z', infer_every: 5m, fit_window: 1d, fit_every: 1d}}}}
models:
{}reader: {{class: vm, datasource_url: '{url}', sampling_period: 5m, queries: {{load: {{expr: load}}}}}}
writer: {{class: vm, datasource_url: '{url}'}}
",
        models.concat()
    );
    let shards = NonZeroU32::new(1).expect("a shard");
    let outcome = run(Run { config: &config, shard: 0, shards, start: START, end: END + 5_000, factor: 1e6 });
    let outcome = outcome.await.expect("a run");
    let written = written(&outcome.accepted).expect("JSON lines");
    let stages = |model: &str, host: &str| -> Vec<f64> {
        let wanted = [("__name__", "stage"), ("model_alias", model), ("host", host)];
        let series = written.iter().find(|series| wanted.iter().all(|(name, value)| series.label(name) == *value));
        series.expect("a stage").samples.iter().map(|sample| sample.value).collect()
    };
    let steps = ((END - START) / (5 * MINUTE)) as usize;
    // A day of 288 steps has each hour of it, half of what a season takes to be fitted, and a fourteenth of two weeks.
    for (model, stage) in [("mad", 2.0), ("quantile", 2.0), ("holtwinters", 1.5), ("prophet", 1.071)] {
        assert_eq!(stages(model, "a"), vec![stage; steps], "{model}");
    }
    let late = steps - 24;
    assert_eq!([stages("holtwinters", "late"), stages("prophet", "late")], [vec![0.0; late], vec![0.0; late]]);
    assert_eq!(stages("mad", "late")[..5], [0.0, 0.062, 0.125, 0.187, 0.25]);
    assert_eq!(stages("mad", "late")[16..], vec![2.0; late - 16]);
    let quantile = stages("quantile", "late");
    assert!(
        quantile.is_sorted() && quantile[15] < 1.0 && quantile[16] == 1.083 && quantile[late - 1] < 1.2,
        "{quantile:?}"
    );

    // The rule of docs/models.md.
    database.import(&written).await.expect("import");
    database.everything_visible().await.expect("everything visible");
    let alerting = async |expr| {
        let series = database.endpoint().query(expr, INCIDENT).await.expect("an answer");
        series.iter().map(|one| format!("{} {}", one.label("model_alias"), one.label("host"))).collect::<BTreeSet<_>>()
    };
    let ready = alerting("anomaly_score > 1 and stage == 2").await;
    assert_eq!(ready, ["mad a", "mad late", "quantile a"].map(str::to_owned).into());
    let all = alerting("anomaly_score > 1").await;
    assert!(all.is_superset(&ready) && all.contains("quantile late") && all.contains("holtwinters a"), "{all:?}");

    let count =
        |model, stage| outcome.metric_of("vmanomaly_models_by_stage", &[("model_alias", model), ("stage", stage)]);
    let counts = |model| ["starting", "learning", "ready"].map(|stage| count(model, stage));
    assert_eq!([counts("mad"), counts("quantile")], [[0.0, 0.0, 2.0], [0.0, 1.0, 1.0]]);
    assert_eq!([counts("holtwinters"), counts("prophet")], [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]);
}
