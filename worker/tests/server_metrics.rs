//! What dashboards and alerts see of the worker's self-monitoring.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use worker::capacity::Capacity;
use worker::environment::{RangeAnswer, ReadError, WriteError};
use worker::metrics::{JobLabels, Metrics, ModelRun, ReloadStatus, Stage, WriteSize};

fn job(query: &str) -> JobLabels {
    JobLabels { query_key: query.into(), scheduler_alias: "every_minute".into(), preset: "default".into() }
}

fn metrics() -> Metrics {
    Metrics::new("default", "1.2.3", 1_700_000_000_500).unwrap()
}

/// One of everything that a job can report.
fn report_everything(metrics: &Metrics, job: &JobLabels) {
    let model = job.model("zscore");
    let url = "http://reader:pa55@tsdb:8428/select/0";
    let answer = RangeAnswer {
        received_bytes: 10,
        received_series: 2,
        received_samples: 8,
        invalid_samples: 1,
        ..RangeAnswer::default()
    };
    metrics.add_job(job);
    metrics.add_model(&model);
    metrics.read_finished(job, url, Ok(&answer), Duration::from_millis(20));
    metrics.answer_parsed(job, url, Duration::from_millis(1));
    metrics.body_made(job, url, 2, Duration::from_millis(1));
    let size = WriteSize { bytes: 100, samples: 8, series: 2 };
    metrics.write_finished(job, url, Ok(()), size, Duration::from_millis(5));
    metrics.samples_dropped(job, "400", 3);
    metrics.ticks_skipped(job, "refused", 1);
    metrics.job_position(job, Duration::from_secs(90), true);
    metrics.model_run(&model, Stage::Infer, ModelRun { accepted: 8, produced: 8, duration: Duration::from_millis(2) });
    metrics.model_run_skipped(&model, Stage::Infer);
    metrics.model_run_failed(&model, Stage::Fit);
    metrics.fit_finished(&model, "success");
    metrics.snapshot_block_written(&model, 4096);
    metrics.capacity(&Capacity { cpus: 1.5, memory_bytes: Some(1 << 30) }, 2);
    metrics.clock_skew.with_label_values(&job.values()).set(0.25);
    metrics.series_active.with_label_values(&job.values()).set(2);
    metrics.series_over_limit.with_label_values(&job.values()).set(1);
    metrics.models_active.with_label_values(&model.values()).set(2);
    metrics.models_by_stage(&model, [1, 2, 3]);
}

/// The value of the sample that has all of `parts` in its line.
fn sample(text: &str, parts: &[&str]) -> f64 {
    let lines: Vec<&str> =
        text.lines().filter(|line| !line.starts_with('#') && parts.iter().all(|part| line.contains(part))).collect();
    assert_eq!(lines.len(), 1, "{parts:?} in {lines:?}");
    lines[0].rsplit_once(' ').unwrap().1.parse().unwrap()
}

#[test]
fn the_names_and_labels_that_published_alert_rules_use_are_there() {
    let metrics = metrics();
    report_everything(&metrics, &job("cpu"));
    let text = metrics.encode().unwrap();
    let model = r#"{model_alias="zscore",preset="default",query_key="cpu",scheduler_alias="every_minute",stage="#;
    assert_eq!(sample(&text, &["vmanomaly_model_run_errors_total", model, "\"fit\""]), 1.0);
    assert_eq!(sample(&text, &["vmanomaly_model_runs_skipped_total", model, "\"infer\""]), 1.0);
    for (stage, count) in [("starting", 1.0), ("learning", 2.0), ("ready", 3.0)] {
        let stage = format!("\"{stage}\"");
        assert_eq!(sample(&text, &["vmanomaly_models_by_stage", model, &stage]), count);
    }
    assert_eq!(sample(&text, &["vmanomaly_reader_responses_total{code=\"200\""]), 1.0);
    assert_eq!(sample(&text, &["vmanomaly_writer_responses_total{code=\"204\""]), 1.0);
    assert_eq!(sample(&text, &["vmanomaly_scheduler_alive{preset=\"default\",scheduler_alias=\"every_minute\"}"]), 1.0);
    assert_eq!(sample(&text, &["vmanomaly_start_time_seconds "]), 1_700_000_000.5);
    assert_eq!(sample(&text, &["vmanomaly_version_info{version=\"1.2.3\"}"]), 1.0);
    assert_eq!(sample(&text, &["vmanomaly_cpu_cores_available "]), 1.5);
    assert_eq!(sample(&text, &["vmanomaly_available_memory_bytes "]), 1_073_741_824.0);
    for name in ["process_start_time_seconds ", "process_open_fds ", "process_resident_memory_bytes "] {
        assert!(sample(&text, &[name]) > 0.0, "{name}");
    }
}

#[test]
fn a_failed_request_is_counted_by_its_status_or_its_kind_and_brings_no_data() {
    let metrics = metrics();
    let unavailable = ReadError::Unavailable { code: "connection_error".into(), message: "refused".into() };
    metrics.read_finished(&job("cpu"), "http://tsdb", Err(&unavailable), Duration::from_secs(1));
    let refused = WriteError::Refused { status: 400, message: "bad".into() };
    let size = WriteSize { bytes: 100, samples: 8, series: 2 };
    metrics.write_finished(&job("cpu"), "http://tsdb", Err(&refused), size, Duration::from_secs(1));
    let text = metrics.encode().unwrap();
    assert_eq!(sample(&text, &["vmanomaly_reader_responses_total{code=\"connection_error\""]), 1.0);
    assert_eq!(sample(&text, &["vmanomaly_writer_responses_total{code=\"400\""]), 1.0);
    assert_eq!(sample(&text, &["vmanomaly_writer_request_duration_seconds_sum"]), 1.0);
    assert!(!text.contains("vmanomaly_writer_datapoints_sent_total") && !text.contains("received_bytes"));
}

#[test]
fn credentials_in_a_url_are_not_exposed_as_a_label() {
    let metrics = metrics();
    report_everything(&metrics, &job("cpu"));
    let text = metrics.encode().unwrap();
    assert!(!text.contains("pa55") && !text.contains("reader:"));
    assert!(text.contains("url=\"http://tsdb:8428/select/0\""));
}

#[test]
fn a_job_that_went_away_leaves_no_series_and_the_others_stay() {
    let metrics = metrics();
    report_everything(&metrics, &job("cpu"));
    report_everything(&metrics, &job("memory"));
    metrics.remove_job(&job("cpu"));
    let text = metrics.encode().unwrap();
    assert!(!text.contains("query_key=\"cpu\""));
    assert_eq!(sample(&text, &["vmanomaly_model_runs_total", "memory"]), 1.0);
    metrics.remove_model(&job("memory").model("zscore"));
    let text = metrics.encode().unwrap();
    assert!(!text.contains("model_alias"));
    assert_eq!(sample(&text, &["vmanomaly_job_lag_seconds", "memory"]), 90.0);
    metrics.remove_scheduler("every_minute", "default");
    assert!(!metrics.encode().unwrap().contains("scheduler_alias"));
}

#[test]
fn failure_counters_of_a_new_job_start_at_zero_so_that_the_first_failure_is_an_increase() {
    let metrics = metrics();
    metrics.add_job(&job("cpu"));
    metrics.add_model(&job("cpu").model("zscore"));
    let text = metrics.encode().unwrap();
    for name in ["vmanomaly_gap_ticks_total", "vmanomaly_refits_unscheduled_total", "vmanomaly_log_append_errors_total"]
    {
        assert_eq!(sample(&text, &[name]), 0.0);
    }
    assert_eq!(sample(&text, &["vmanomaly_model_run_errors_total", "stage=\"infer\""]), 0.0);
}

#[test]
fn a_failed_reload_keeps_the_time_of_the_last_successful_one() {
    let metrics = metrics();
    metrics.config_loaded(1_000);
    metrics.config_reloaded(ReloadStatus::Success, 2_000);
    metrics.config_reloaded(ReloadStatus::Failure, 3_000);
    let text = metrics.encode().unwrap();
    assert_eq!(sample(&text, &["vmanomaly_config_last_reload_successful "]), 0.0);
    assert_eq!(sample(&text, &["vmanomaly_config_last_reload_success_timestamp_seconds "]), 2.0);
    assert_eq!(sample(&text, &["vmanomaly_config_reloads_total", "failure"]), 1.0);
    assert_eq!(sample(&text, &["vmanomaly_config_reloads_total", "success"]), 1.0);
}
