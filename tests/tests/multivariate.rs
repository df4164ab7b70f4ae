//! Models that see series of several queries together, on what a real VictoriaMetrics answers.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, num::NonZeroU32};

use tests::{
    accelerated::{Outcome, Run, run, written},
    series::Series,
    victoria_metrics::VictoriaMetrics,
};

const MINUTE: i64 = 60_000;
const STEP: i64 = 5 * MINUTE;
/// 2026-01-05T06:00:00Z, where the first fit ends.
const START: i64 = 1_767_592_800_000;
const BEGIN: i64 = START - 2 * 24 * 60 * MINUTE;
const END: i64 = START + 5 * 60 * MINUTE;
/// When the processors of host `h1` are as idle as at night, and its requests are not.
const INCIDENT: i64 = START + 2 * 60 * MINUTE;
/// When all of host `h4` is busier than it ever is at this hour.
const RUSH: i64 = START + 230 * MINUTE;
/// From here on, host `h2` lacks one of its series for a while.
const LACKING: i64 = START + 3 * 60 * MINUTE;
/// From here on it has it again, and host `h3` has one more for ever.
const COMPLETE: i64 = START + 4 * 60 * MINUTE;
const HOSTS: [&str; 5] = ["h0", "h1", "h2", "h3", "h4"];
/// Comes an hour after the fit.
const NEW: &str = "new";
const ARRIVAL: i64 = START + 60 * MINUTE;

fn config(url: &str) -> String {
    format!(
        "
settings: {{settle: 5s, max_catch_up: 30d}}
schedulers: {{s: {{class: periodic, start_from: '2026-01-05T06:00:00Z', infer_every: 5m, fit_window: 2d, fit_every: 1d}}}}
models:
  alone: {{class: mad_online, queries: [cpu], schedulers: all, provide_series: [anomaly_score]}}
  envelope: {{class: temporal_envelope_multivariate, groupby: [host], queries: [requests, cpu], schedulers: all,
    iqr_threshold: 4, score_aggregation: max, seasonalities: [hod_smooth], provide_series: [anomaly_score, y, yhat, stage], forecast_at: [1h],
    band_floor: 0.5, influence_limit: 4, exclude_incidents: true}}
  calibrated: {{class: calibrated_multivariate, groupby: [host], queries: [requests, cpu], schedulers: all,
    provide_series: [anomaly_score, channel_score]}}
  forest: {{class: isolation_forest_multivariate, groupby: [host], contamination: 0.01, queries: [requests, cpu],
    schedulers: all}}
  tuned: {{class: auto, tuned_class_name: temporal_envelope_multivariate, queries: [requests, cpu], schedulers: all,
    optimization_params: {{anomaly_percentage: 0.005, n_trials: 8, frozen_params:
      {{groupby: [host], iqr_threshold: 4, score_aggregation: max, seasonalities: [hod_smooth]}}}}}}
  tuned_forest: {{class: auto, tuned_class_name: isolation_forest_multivariate, queries: [requests, cpu], schedulers: all,
    optimization_params: {{anomaly_percentage: 0.03, n_trials: 16, frozen_params: {{groupby: [host], args: {{max_samples: 256}}}}}}}}
  hasty: {{class: auto, tuned_class_name: isolation_forest_multivariate, queries: [requests, cpu], schedulers: all,
    optimization_params: {{anomaly_percentage: 0.01, timeout: 0.000001, frozen_params: {{groupby: [host]}}}}}}
  whole: {{class: temporal_envelope_multivariate, queries: [all_requests], schedulers: all, max_channels: 2}}
reader:
  class: vm
  datasource_url: '{url}'
  sampling_period: 5m
  queries:
    cpu: {{expr: cpu, data_range: [0, 1]}}
    requests: {{expr: requests}}
    all_requests: {{expr: requests}}
writer: {{class: vm, datasource_url: '{url}'}}
"
    )
}

fn noise(time: i64, seed: i64) -> f64 {
    (time / MINUTE * (7 + seed)).wrapping_mul(2_654_435_761).rem_euclid(1_000) as f64 / 1e3
}

/// A host's load goes up and down; its processors follow it.
fn load(time: i64, host: i64) -> f64 {
    50.0 + 30.0 * ((time / MINUTE % 240 - 120).abs() as f64 / 120.0) + 4.0 * noise(time, 10 + host)
}

fn input() -> Vec<Series> {
    let times = || (BEGIN..=END).step_by(STEP as usize);
    let mut input = Vec::new();
    for (host, number) in HOSTS.iter().zip(0..) {
        let is_incident = |time: i64| *host == "h1" && time == INCIDENT;
        let rush = |time: i64| if *host == "h4" && time == RUSH { 40.0 } else { 0.0 };
        let cpu = |time: i64| if is_incident(time) { 0.50 } else { (load(time, number) + rush(time)) / 100.0 };
        for mode in ["user", "system"] {
            let share = if mode == "user" { 0.9 } else { 0.1 };
            let is_there = |time: &i64| *host != "h2" || mode != "system" || !(LACKING..COMPLETE).contains(time);
            let samples = times().filter(is_there).map(|time| (time, share * cpu(time) + 0.002 * noise(time, number)));
            input.push(Series::new("cpu", &[("host", *host), ("mode", mode), ("job", "node")], samples));
        }
        let requests = times().map(|time| {
            let busy = if is_incident(time) { 83.0 } else { load(time, number) + rush(time) };
            (time, 10.0 * busy + noise(time, 20 + number))
        });
        input.push(Series::new("requests", &[("host", *host), ("job", "node")], requests));
    }
    let arrived = || times().filter(|time| *time >= ARRIVAL);
    for mode in ["user", "system"] {
        let samples = arrived().map(|time| (time, load(time, 7) / 200.0));
        input.push(Series::new("cpu", &[("host", NEW), ("mode", mode), ("job", "node")], samples));
    }
    let samples = arrived().map(|time| (time, 10.0 * load(time, 7)));
    input.push(Series::new("requests", &[("host", NEW), ("job", "node")], samples));
    let late = times().filter(|time| *time >= COMPLETE).map(|time| (time, 0.01));
    input.push(Series::new("cpu", &[("host", "h3"), ("mode", "steal"), ("job", "node")], late));
    input
}

async fn worker(url: &str, shard: u32, shards: u32) -> Outcome {
    let config = config(url);
    let shards = NonZeroU32::new(shards).expect("shards");
    let outcome = run(Run { config: &config, shard, shards, start: START, end: END + 5_000, factor: 1e6 });
    outcome.await.expect("a run")
}

/// The scores of a model, by host.
fn scores<'a>(written: &'a [Series], model: &str) -> BTreeMap<&'a str, &'a Series> {
    let is_score =
        |series: &&Series| series.label("__name__") == "anomaly_score" && series.label("model_alias") == model;
    written.iter().filter(is_score).map(|series| (series.label("host"), series)).collect()
}

fn at(series: &Series, time: i64) -> Option<f64> {
    series.samples.iter().find(|sample| sample.time == time).map(|sample| sample.value)
}

#[tokio::test(flavor = "current_thread")]
async fn groups_of_series_of_several_queries_have_one_score_each_on_any_number_of_shards() {
    let database = VictoriaMetrics::start().await.expect("VictoriaMetrics");
    database.import(&input()).await.expect("import");
    database.everything_visible().await.expect("everything visible");
    let url = database.url();
    let one = worker(url, 0, 1).await;
    let by_one = written(&one.accepted).expect("JSON lines");

    for model in ["calibrated", "envelope", "forest", "tuned", "tuned_forest"] {
        let mut scores = scores(&by_one, model);
        // A host that comes between fits begins at once where the class learns every sample, else with the next fit.
        let new = scores.remove(NEW).map(|series| {
            let of_warm_up = series.samples.iter().take(16).all(|sample| sample.value == 0.0);
            (series.samples.len() as i64, of_warm_up)
        });
        let begins = ["calibrated", "envelope", "tuned"].contains(&model).then_some(((END - ARRIVAL) / STEP + 1, true));
        assert_eq!(new, begins, "{model}");
        assert_eq!(scores.keys().copied().collect::<Vec<_>>(), HOSTS, "{model}");
        for (host, series) in &scores {
            // What the channels have in common, and no mode.
            let labels: Vec<&str> = series.labels.keys().map(String::as_str).collect();
            let expected = ["__name__", "for", "host", "job", "model_alias", "preset", "scheduler_alias"];
            assert_eq!(labels, expected, "{model}");
            assert_eq!(series.label("for"), "cpu,requests");
            let lacks = |time: i64| match *host {
                "h2" => (LACKING..COMPLETE).contains(&time),
                "h3" => time >= COMPLETE,
                _ => false,
            };
            for time in (START + STEP..=END).step_by(STEP as usize) {
                assert_eq!(at(series, time).is_none(), lacks(time), "{model} {host} {}", (time - START) / MINUTE);
            }
            let is_anomalous = |time: i64| at(series, time).is_some_and(|score| score > 1.0);
            let alarms = (START..=END).filter(|time| *time != INCIDENT && is_anomalous(*time)).count();
            assert!(alarms <= 6, "{model} {host}: {alarms} alarms");
            let is_seen = match model {
                // It sees how far channels are off together, not that they part.
                "calibrated" => {
                    assert_eq!(is_anomalous(RUSH), *host == "h4", "{host} {:?}", at(series, RUSH));
                    at(series, INCIDENT) > Some(0.5)
                }
                // The share that it is told is that of all times, not of incidents.
                "tuned_forest" => at(series, INCIDENT) > Some(0.9),
                _ => is_anomalous(INCIDENT),
            };
            assert_eq!(is_seen, *host == "h1", "{model} {host} {:?}", at(series, INCIDENT));
        }
    }
    assert_eq!(one.metric("vmanomaly_searches_cut_total"), HOSTS.len() as f64, "one for each group of the hasty model");
    // Neither value is unusual by itself.
    let alone = scores(&by_one, "alone");
    assert!(at(alone["h1"], INCIDENT).is_some_and(|score| score < 1.0));

    // How far a group is has the labels of its score.
    let stages: Vec<&Series> = by_one.iter().filter(|series| series.label("__name__") == "stage").collect();
    assert_eq!(stages.len(), HOSTS.len() + 1);
    for series in stages {
        let host = series.label("host");
        assert_eq!(series.label("for"), "cpu,requests");
        assert_eq!(series.samples.len(), scores(&by_one, "envelope")[host].samples.len());
        // Two days have a day; since the new one came, there was none.
        assert!(series.samples.iter().all(|sample| (sample.value == 2.0) == (host != NEW)), "{host}");
    }

    // A series of its own for each channel, known by its own query and labels.
    let channels: Vec<&Series> = by_one.iter().filter(|series| series.label("__name__") == "yhat").collect();
    // And one of what is expected an hour later.
    let forecasts = by_one.iter().filter(|series| series.label("__name__") == "yhat_1h");
    assert_eq!((channels.len(), forecasts.count()), (3 * (HOSTS.len() + 1), 3 * (HOSTS.len() + 1)));
    assert!(channels.iter().all(|series| match series.label("for") {
        "cpu" => ["user", "system"].contains(&series.label("mode")),
        alias => alias == "requests" && series.label("mode").is_empty(),
    }));
    assert!(by_one.iter().all(|series| !series.labels.contains_key("__query__")));

    // How far each channel is by itself says which of them made the score of the group.
    let by_itself = |host: &str, time: i64| {
        let of_host = by_one.iter().filter(|series| series.label("__name__") == "channel_score");
        let of_host =
            of_host.filter(|series| series.label("host") == host && series.label("model_alias") == "calibrated");
        of_host.map(|series| (series.label("for"), at(series, time))).collect::<Vec<_>>()
    };
    let of_incident = by_itself("h1", INCIDENT);
    assert_eq!(of_incident.len(), 3);
    assert!(of_incident.iter().all(|(query, score)| (*score > Some(1.0)) == (*query == "cpu")), "{of_incident:?}");
    assert!(by_itself("h0", INCIDENT).iter().all(|(_, score)| score.is_some_and(|score| score < 1.0)));

    // More channels than are allowed: no score, and it is counted.
    assert!(scores(&by_one, "whole").is_empty());
    assert!(one.metric("vmanomaly_model_run_errors_total") >= 1.0);
    let lacking = (2 * (COMPLETE - LACKING) / STEP) as f64;
    assert!(one.metric("vmanomaly_model_runs_skipped_total") >= lacking);

    let (first, second, third) = tokio::join!(worker(url, 0, 3), worker(url, 1, 3), worker(url, 2, 3));
    let of_shards = [first, second, third].map(|outcome| outcome.accepted);
    let groups = |accepted: &[u8]| scores(&written(accepted).expect("JSON lines"), "forest").len();
    assert!(of_shards.iter().all(|accepted| groups(accepted) < HOSTS.len()), "one shard has all groups");
    // A series is where its group is, for every model.
    for accepted in &of_shards {
        let written = written(accepted).expect("JSON lines");
        let hosts = |model: &str| scores(&written, model).into_keys().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(hosts("alone"), hosts("envelope"));
    }
    assert!(written(&of_shards.concat()).expect("JSON lines") == by_one, "three shards write something else");
}
