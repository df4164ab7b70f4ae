//! Self-monitoring: every metric of the worker, in a registry of its own.
//!
//! Names and labels are those of vmanomaly where it has such a metric, so that existing dashboards and alerts work.
//! Values are sums over a query, never of single series.

mod kinds;
mod reports;

pub use reports::{HandoverStatus, ModelRun, ReloadStatus, SliceResult, Stage, WriteSize};

use prometheus::{
    CounterVec, Gauge, GaugeVec, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
};

use kinds::Kind;

/// Why the metrics could not be set up or written out.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// Two metrics of one name, or a name or label that Prometheus does not allow.
    #[error("metric {name}: {source}")]
    Definition {
        /// The metric.
        name: String,
        /// What is wrong with it.
        source: prometheus::Error,
    },
    /// The text form could not be written.
    #[error("metrics cannot be written out: {0}")]
    Encoding(#[source] prometheus::Error),
}

/// The labels of a job: one query (or the joined queries of a multivariate model) on one scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobLabels {
    /// Query alias; several are sorted and joined by commas.
    pub query_key: String,
    /// Scheduler alias.
    pub scheduler_alias: String,
    /// Preset, `default` unless configured.
    pub preset: String,
}

impl JobLabels {
    /// The values in the order of the labels of every job metric.
    #[must_use]
    pub fn values(&self) -> [&str; 3] {
        [&self.query_key, &self.scheduler_alias, &self.preset]
    }

    /// The labels of a model of this job.
    #[must_use]
    pub fn model(&self, model_alias: &str) -> ModelLabels {
        ModelLabels { job: self.clone(), model_alias: model_alias.to_owned() }
    }
}

/// The labels of a model within a job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelLabels {
    /// The job.
    pub job: JobLabels,
    /// Model alias.
    pub model_alias: String,
}

impl ModelLabels {
    /// The values in the order of the labels of every model metric.
    #[must_use]
    pub fn values(&self) -> [&str; 4] {
        [&self.job.query_key, &self.model_alias, &self.job.scheduler_alias, &self.job.preset]
    }
}

const NONE: &[&str] = &[];
const VERSION: &[&str] = &["version"];
const STATUS: &[&str] = &["status"];
const PRESET: &[&str] = &["preset"];
const PRESET_SCOPE: &[&str] = &["preset", "scope"];
const PRESET_RESULT: &[&str] = &["preset", "result"];
const PRESET_STATUS: &[&str] = &["preset", "status"];
const PRESET_KIND: &[&str] = &["preset", "kind"];
const SCHEDULER: &[&str] = &["scheduler_alias", "preset"];
const SCHEDULER_STATUS: &[&str] = &["scheduler_alias", "preset", "status"];
const JOB: &[&str] = &["query_key", "scheduler_alias", "preset"];
const JOB_REASON: &[&str] = &["query_key", "scheduler_alias", "preset", "reason"];
const JOB_CODE: &[&str] = &["query_key", "scheduler_alias", "preset", "code"];
const URL: &[&str] = &["url", "query_key", "scheduler_alias", "preset"];
const URL_CODE: &[&str] = &["url", "query_key", "scheduler_alias", "preset", "code"];
const URL_STEP: &[&str] = &["url", "query_key", "scheduler_alias", "preset", "step"];
const JOB_RESULT: &[&str] = &["query_key", "scheduler_alias", "preset", "result"];
const JOB_STATUS: &[&str] = &["query_key", "scheduler_alias", "preset", "status"];
const MODEL: &[&str] = &["query_key", "model_alias", "scheduler_alias", "preset"];
const MODEL_STAGE: &[&str] = &["query_key", "model_alias", "scheduler_alias", "preset", "stage"];
const MODEL_STATUS: &[&str] = &["query_key", "model_alias", "scheduler_alias", "preset", "status"];

/// Requests to a TSDB: from a millisecond on the same node to the longest time limit that makes sense.
const REQUEST_SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];
/// Questions to another worker: from one on the same node to the time after which nobody waits any more.
const PEER_SECONDS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0];
/// Work on data in memory: one series up to a fit of a large query.
const WORK_SECONDS: &[f64] = &[0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0];
const NO_BUCKETS: &[f64] = &[];

/// Declares [`Metrics`]: a field's doc comment is the metric's help text as well.
macro_rules! declare_metrics {
    ($( $(#[doc = $help:literal])+ $field:ident: $kind:ident = $name:literal, $labels:ident, $buckets:ident; )+) => {
        /// All metrics of the worker. Cheap to share behind an `Arc`; every field can be changed from any thread.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            preset: String,
            $( $(#[doc = $help])+ pub $field: $kind, )+
        }

        impl Metrics {
            fn declare(registry: Registry, preset: &str) -> Result<Self, MetricsError> {
                $( let $field = kinds::register::<$kind>(&registry, $name, concat!($($help),+), $labels, $buckets)?; )+
                Ok(Self { registry, preset: preset.to_owned(), $( $field, )+ })
            }

            fn remove_where(&self, wanted: &[(&str, &str)]) {
                $( self.$field.remove_where(wanted); )+
            }
        }
    };
}

declare_metrics! {
    /// Start of the process, unix time.
    start_time: Gauge = "vmanomaly_start_time_seconds", NONE, NO_BUCKETS;
    /// Version of the service; always 1.
    version_info: IntGaugeVec = "vmanomaly_version_info", VERSION, NO_BUCKETS;
    /// Memory that the process may use: limit of the cgroup, else of the process, else the host's.
    available_memory: IntGauge = "vmanomaly_available_memory_bytes", NONE, NO_BUCKETS;
    /// CPUs that the process may use (affinity and cgroup quota); may be fractional.
    cpu_cores_available: Gauge = "vmanomaly_cpu_cores_available", NONE, NO_BUCKETS;
    /// Threads that learn and score.
    native_threads: IntGauge = "vmanomaly_native_threads_per_worker", NONE, NO_BUCKETS;
    /// Jobs of the configuration, by scope: in total, and those of this shard.
    config_entities: IntGaugeVec = "vmanomaly_config_entities", PRESET_SCOPE, NO_BUCKETS;
    /// 1 if changed configuration files take effect at run time.
    config_reload_enabled: IntGauge = "vmanomaly_config_reload_enabled", NONE, NO_BUCKETS;
    /// Attempts to apply a changed configuration, by status.
    config_reloads: IntCounterVec = "vmanomaly_config_reloads_total", STATUS, NO_BUCKETS;
    /// 1 if the last attempt to apply a changed configuration succeeded.
    config_last_reload_successful: IntGauge = "vmanomaly_config_last_reload_successful", NONE, NO_BUCKETS;
    /// When a configuration was last applied, unix time.
    config_last_reload_success_timestamp: Gauge =
        "vmanomaly_config_last_reload_success_timestamp_seconds", NONE, NO_BUCKETS;
    /// 1 if the jobs of the scheduler run.
    scheduler_alive: IntGaugeVec = "vmanomaly_scheduler_alive", SCHEDULER, NO_BUCKETS;
    /// Attempts to start the jobs of a scheduler again, by status.
    scheduler_restarts: IntCounterVec = "vmanomaly_scheduler_restarts_total", SCHEDULER_STATUS, NO_BUCKETS;

    /// Time of a read request until its answer is complete.
    reader_request_duration: HistogramVec = "vmanomaly_reader_request_duration_seconds", URL, REQUEST_SECONDS;
    /// Answers to read requests, by HTTP status or kind of failure.
    reader_responses: IntCounterVec = "vmanomaly_reader_responses_total", URL_CODE, NO_BUCKETS;
    /// Bytes of the answers to read requests.
    reader_received_bytes: IntCounterVec = "vmanomaly_reader_received_bytes_total", URL, NO_BUCKETS;
    /// Time spent on reading out answers: json is parsing, df is filling columns.
    reader_response_parsing: HistogramVec = "vmanomaly_reader_response_parsing_seconds", URL_STEP, WORK_SECONDS;
    /// Series received.
    reader_timeseries_received: IntCounterVec = "vmanomaly_reader_timeseries_received_total", URL, NO_BUCKETS;
    /// Samples received.
    reader_datapoints_received: IntCounterVec = "vmanomaly_reader_datapoints_received_total", URL, NO_BUCKETS;

    /// Successful runs of a model, by stage.
    model_runs: IntCounterVec = "vmanomaly_model_runs_total", MODEL_STAGE, NO_BUCKETS;
    /// Time of a run of a model without reading and writing.
    model_run_duration: HistogramVec = "vmanomaly_model_run_duration_seconds", MODEL_STAGE, WORK_SECONDS;
    /// Valid samples that models took in; when scoring, only ones not seen before.
    model_datapoints_accepted: IntCounterVec = "vmanomaly_model_datapoints_accepted_total", MODEL_STAGE, NO_BUCKETS;
    /// Rows of output that models made.
    model_datapoints_produced: IntCounterVec = "vmanomaly_model_datapoints_produced_total", MODEL_STAGE, NO_BUCKETS;
    /// Series whose model can score.
    models_active: IntGaugeVec = "vmanomaly_models_active", MODEL, NO_BUCKETS;
    /// Alarms: series, or groups of them, whose score rose above 1 and had not been there shortly before.
    alarms_observed: IntCounterVec = "vmanomaly_alarms_observed_total", MODEL, NO_BUCKETS;
    /// Alarms that a model promises to have by chance for the samples that it has scored. Only of models that promise a rate.
    alarms_expected: CounterVec = "vmanomaly_alarms_expected_total", MODEL, NO_BUCKETS;
    /// Series, or groups of them, by how far their model is: starting (no score yet), learning (it has not seen all that it is to
    /// learn) or ready. Counted every ten seconds at most.
    models_by_stage: IntGaugeVec = "vmanomaly_models_by_stage", MODEL_STAGE, NO_BUCKETS;
    /// Runs of a model that were expected not to happen, e.g. without data.
    model_runs_skipped: IntCounterVec = "vmanomaly_model_runs_skipped_total", MODEL_STAGE, NO_BUCKETS;
    /// Runs of a model that failed.
    model_run_errors: IntCounterVec = "vmanomaly_model_run_errors_total", MODEL_STAGE, NO_BUCKETS;

    /// Time of a write, failed attempts included.
    writer_request_duration: HistogramVec = "vmanomaly_writer_request_duration_seconds", URL, REQUEST_SECONDS;
    /// Answers to write requests, by HTTP status or kind of failure.
    writer_responses: IntCounterVec = "vmanomaly_writer_responses_total", URL_CODE, NO_BUCKETS;
    /// Bytes of the bodies that were accepted.
    writer_sent_bytes: IntCounterVec = "vmanomaly_writer_sent_bytes_total", URL, NO_BUCKETS;
    /// Time spent on making request bodies.
    writer_request_serialize: HistogramVec = "vmanomaly_writer_request_serialize_seconds", URL, WORK_SECONDS;
    /// Samples that were accepted.
    writer_datapoints_sent: IntCounterVec = "vmanomaly_writer_datapoints_sent_total", URL, NO_BUCKETS;
    /// Series put into request bodies, accepted or not.
    writer_timeseries_sent: IntCounterVec = "vmanomaly_writer_timeseries_sent_total", URL, NO_BUCKETS;
    /// Samples that the TSDB refused for good, by its answer.
    writer_dropped: IntCounterVec = "vmanomaly_writer_dropped_total", JOB_CODE, NO_BUCKETS;

    /// Ticks given up because they were due longer ago than the worker catches up.
    gap_ticks: IntCounterVec = "vmanomaly_gap_ticks_total", JOB, NO_BUCKETS;
    /// Ticks that were not scored, by reason.
    ticks_skipped: IntCounterVec = "vmanomaly_ticks_skipped_total", JOB_REASON, NO_BUCKETS;
    /// Ticks whose record was taken from another rank.
    ticks_followed: IntCounterVec = "vmanomaly_ticks_followed_total", JOB, NO_BUCKETS;
    /// Times that this rank's state differed from another rank's, or was too far behind, and was taken over from it.
    replica_divergences: IntCounterVec = "vmanomaly_replica_divergences_total", JOB, NO_BUCKETS;
    /// Hand-overs of series between shards, by what came of them: released, joined, returned (nobody took them), failed
    /// (nobody had them).
    handovers: IntCounterVec = "vmanomaly_handovers_total", JOB_STATUS, NO_BUCKETS;
    /// Slices asked of the shard that reads for all, by what came of it: pulled, failed (it is not answered by the TSDB),
    /// unreached (the next shard is asked, or this one reads).
    slices: IntCounterVec = "vmanomaly_slices_total", JOB_RESULT, NO_BUCKETS;
    /// Slices of own reads that other shards have got.
    slices_given: IntCounterVec = "vmanomaly_slices_given_total", JOB, NO_BUCKETS;
    /// The own clock minus the clock of the TSDB.
    clock_skew: GaugeVec = "vmanomaly_clock_skew_seconds", JOB, NO_BUCKETS;
    /// Age of the oldest due tick that is not written yet; 0 if all are.
    job_lag: GaugeVec = "vmanomaly_job_lag_seconds", JOB, NO_BUCKETS;
    /// 1 while the job waits for a TSDB that does not answer or refuses.
    job_standing_still: IntGaugeVec = "vmanomaly_job_standing_still", JOB, NO_BUCKETS;
    /// Series of the last answer that the limit of the query left out.
    series_over_limit: IntGaugeVec = "vmanomaly_series_over_limit", JOB, NO_BUCKETS;
    /// Series with state.
    series_active: IntGaugeVec = "vmanomaly_series_active", JOB, NO_BUCKETS;
    /// Series whose state was dropped because they were not seen for too long.
    series_expired: IntCounterVec = "vmanomaly_series_expired_total", JOB, NO_BUCKETS;
    /// Samples of answers that were dropped: not asked for, sent twice or out of order.
    invalid_samples: IntCounterVec = "vmanomaly_invalid_samples_total", JOB, NO_BUCKETS;
    /// Series left out because their output would have been another one's output.
    output_collisions: IntCounterVec = "vmanomaly_output_collisions_total", JOB, NO_BUCKETS;
    /// Series left out because they are scores themselves.
    own_scores_refused: IntCounterVec = "vmanomaly_own_scores_refused_total", JOB, NO_BUCKETS;

    /// Questions to other workers, by result: ok, unreachable, refused or garbage.
    peer_requests: IntCounterVec = "vmanomaly_peer_requests_total", PRESET_RESULT, NO_BUCKETS;
    /// Time of a question to another worker until its answer is complete or given up.
    peer_request_duration: HistogramVec = "vmanomaly_peer_request_duration_seconds", PRESET, PEER_SECONDS;
    /// Questions of other workers, by HTTP status of the answer.
    peer_questions: IntCounterVec = "vmanomaly_peer_questions_total", PRESET_STATUS, NO_BUCKETS;
    /// Bytes received from other workers, by kind: question or answer.
    peer_received_bytes: IntCounterVec = "vmanomaly_peer_received_bytes_total", PRESET_KIND, NO_BUCKETS;

    /// Size of the input log.
    log_bytes: IntGaugeVec = "vmanomaly_log_bytes", PRESET, NO_BUCKETS;
    /// Records of the input log that were found damaged.
    log_damaged_records: IntCounterVec = "vmanomaly_log_damaged_records_total", PRESET, NO_BUCKETS;
    /// Records that could not be appended to the input log or made durable.
    log_append_errors: IntCounterVec = "vmanomaly_log_append_errors_total", PRESET, NO_BUCKETS;
    /// Ticks read again because their record in the input log was damaged.
    log_ticks_reread: IntCounterVec = "vmanomaly_log_ticks_reread_total", JOB, NO_BUCKETS;
    /// Blocks of snapshots written.
    snapshot_blocks_written: IntCounterVec = "vmanomaly_snapshot_blocks_written_total", MODEL, NO_BUCKETS;
    /// Bytes of snapshots written.
    snapshot_bytes_written: IntCounterVec = "vmanomaly_snapshot_bytes_written_total", MODEL, NO_BUCKETS;
    /// Blocks of snapshots that were found damaged.
    snapshot_damaged_blocks: IntCounterVec = "vmanomaly_snapshot_damaged_blocks_total", MODEL, NO_BUCKETS;
    /// Snapshots that could not be written.
    snapshot_errors: IntCounterVec = "vmanomaly_snapshot_errors_total", PRESET, NO_BUCKETS;
    /// Time that the last start took to restore state.
    restore_seconds: GaugeVec = "vmanomaly_restore_seconds", PRESET, NO_BUCKETS;
    /// Fits, by status.
    fits: IntCounterVec = "vmanomaly_fits_total", MODEL_STATUS, NO_BUCKETS;
    /// Series of fits whose search for arguments ended by its time limit, before all of its trials.
    searches_cut: IntCounterVec = "vmanomaly_searches_cut_total", MODEL, NO_BUCKETS;
    /// Fits of series whose state was lost or damaged.
    refits_unscheduled: IntCounterVec = "vmanomaly_refits_unscheduled_total", MODEL, NO_BUCKETS;
}

impl Metrics {
    /// All metrics, with those of the process where the system has them. `start` is the start of the process, unix ms.
    ///
    /// # Errors
    /// [`MetricsError::Definition`] names a metric that the registry does not take.
    pub fn new(preset: &str, version: &str, start: i64) -> Result<Self, MetricsError> {
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        registry
            .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
            .map_err(|source| MetricsError::Definition { name: "process".to_owned(), source })?;
        let metrics = Self::declare(registry, preset)?;
        metrics.start_time.set(start as f64 / 1e3);
        metrics.version_info.with_label_values(&[version]).set(1);
        // Without these, the first failure would not be an increase.
        for status in [ReloadStatus::Success, ReloadStatus::Failure] {
            metrics.config_reloads.with_label_values(&[status.as_str()]);
        }
        for counter in [&metrics.log_damaged_records, &metrics.log_append_errors, &metrics.snapshot_errors] {
            counter.with_label_values(&[preset]);
        }
        for result in ["ok", "unreachable", "refused", "garbage"] {
            metrics.peer_requests.with_label_values(&[preset, result]);
        }
        Ok(metrics)
    }

    /// The preset that process-wide metrics carry.
    #[must_use]
    pub fn preset(&self) -> &str {
        &self.preset
    }

    /// The Prometheus text format, version 0.0.4.
    ///
    /// # Errors
    /// [`MetricsError::Encoding`] if a family cannot be written.
    pub fn encode(&self) -> Result<String, MetricsError> {
        TextEncoder::new().encode_to_string(&self.registry.gather()).map_err(MetricsError::Encoding)
    }

    /// Makes the counters of failures of a job appear with 0, so that the first failure is an increase.
    pub fn add_job(&self, job: &JobLabels) {
        for counter in [
            &self.gap_ticks,
            &self.series_expired,
            &self.invalid_samples,
            &self.output_collisions,
            &self.own_scores_refused,
            &self.log_ticks_reread,
        ] {
            counter.with_label_values(&job.values());
        }
        self.job_standing_still.with_label_values(&job.values());
        self.scheduler_alive.with_label_values(&[&job.scheduler_alias, &job.preset]).set(1);
    }

    /// Makes the counters of failures of a model appear with 0, so that the first failure is an increase.
    pub fn add_model(&self, model: &ModelLabels) {
        for stage in [Stage::Fit, Stage::Infer] {
            let values = reports::with_last(model.values(), stage.as_str());
            self.model_run_errors.with_label_values(&values);
            self.model_runs_skipped.with_label_values(&values);
        }
        self.refits_unscheduled.with_label_values(&model.values());
        self.alarms_observed.with_label_values(&model.values());
        self.searches_cut.with_label_values(&model.values());
        self.snapshot_damaged_blocks.with_label_values(&model.values());
    }

    /// Removes every series of a job, those of its models included.
    pub fn remove_job(&self, job: &JobLabels) {
        let [query_key, scheduler_alias, preset] = job.values();
        self.remove_where(&[("query_key", query_key), ("scheduler_alias", scheduler_alias), ("preset", preset)]);
    }

    /// Removes every series of a model within a job.
    pub fn remove_model(&self, model: &ModelLabels) {
        let [query_key, model_alias, scheduler_alias, preset] = model.values();
        self.remove_where(&[
            ("query_key", query_key),
            ("model_alias", model_alias),
            ("scheduler_alias", scheduler_alias),
            ("preset", preset),
        ]);
    }

    /// Removes every series of a scheduler, those of its jobs included.
    pub fn remove_scheduler(&self, scheduler_alias: &str, preset: &str) {
        self.remove_where(&[("scheduler_alias", scheduler_alias), ("preset", preset)]);
    }
}
