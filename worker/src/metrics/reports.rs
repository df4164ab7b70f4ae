//! What the loop reports, one call an event.

use std::borrow::Cow;
use std::time::Duration;

use crate::capacity::Capacity;
use crate::environment::{RangeAnswer, ReadError, WriteError};

use super::{JobLabels, Metrics, ModelLabels};

/// Stage of a model's run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Learning a window.
    Fit,
    /// Scoring (and learning, if the model is online) a tick.
    Infer,
    /// Both in one.
    FitInfer,
}

impl Stage {
    /// The value of the label `stage`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fit => "fit",
            Self::Infer => "infer",
            Self::FitInfer => "fit_infer",
        }
    }
}

/// Whether a changed configuration was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadStatus {
    /// It runs.
    Success,
    /// The one before goes on.
    Failure,
}

impl ReloadStatus {
    /// The value of the label `status`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
        }
    }
}

/// What came of a hand-over of series between shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandoverStatus {
    /// This shard has released them.
    Released,
    /// They have come here and joined the others.
    Joined,
    /// Nobody has taken them: they go on here.
    Returned,
    /// Nobody has their states: they are learnt from the TSDB.
    Failed,
}

impl HandoverStatus {
    /// The value of the label `status`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Joined => "joined",
            Self::Returned => "returned",
            Self::Failed => "failed",
        }
    }
}

/// What pulling a slice from the shard that reads for all came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SliceResult {
    /// It is here.
    Pulled,
    /// The reader was not answered by the TSDB.
    Failed,
    /// Nobody at that shard reads: the next one is asked, or this one reads.
    Unreached,
}

impl SliceResult {
    /// The value of the label `result`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pulled => "pulled",
            Self::Failed => "failed",
            Self::Unreached => "unreached",
        }
    }
}

/// What one run of a model did.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ModelRun {
    /// Valid samples taken in; when scoring, only ones not seen before.
    pub accepted: u64,
    /// Rows of output.
    pub produced: u64,
    /// Time without reading and writing.
    pub duration: Duration,
}

/// What one request body carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriteSize {
    /// Bytes.
    pub bytes: u64,
    /// Samples.
    pub samples: u64,
    /// Series.
    pub series: u64,
}

/// `first` and one more value.
pub(super) fn with_last<'a>(first: [&'a str; 4], last: &'a str) -> [&'a str; 5] {
    let [a, b, c, d] = first;
    [a, b, c, d, last]
}

/// A URL without user and password: labels are public.
fn public_url(url: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Cow::Borrowed(url);
    };
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    match authority.rfind('@') {
        Some(at) => Cow::Owned(format!("{scheme}://{}", &rest[at + 1..])),
        None => Cow::Borrowed(url),
    }
}

impl Metrics {
    /// A read that `url` answered or did not within `duration`.
    pub fn read_finished(
        &self,
        job: &JobLabels,
        url: &str,
        outcome: Result<&RangeAnswer, &ReadError>,
        duration: Duration,
    ) {
        let url = public_url(url);
        let labels = url_labels(&url, job);
        self.reader_request_duration.with_label_values(&labels).observe(duration.as_secs_f64());
        let code = match outcome {
            Ok(_) => Cow::Borrowed("200"),
            Err(ReadError::Refused { status, .. }) => Cow::Owned(status.to_string()),
            Err(ReadError::Unavailable { code, .. }) => Cow::Borrowed(code.as_str()),
        };
        self.reader_responses.with_label_values(&with_last(labels, &code)).inc();
        if let Ok(answer) = outcome {
            self.reader_received_bytes.with_label_values(&labels).inc_by(answer.received_bytes);
            self.reader_timeseries_received.with_label_values(&labels).inc_by(answer.received_series);
            self.reader_datapoints_received.with_label_values(&labels).inc_by(answer.received_samples);
            self.invalid_samples.with_label_values(&job.values()).inc_by(answer.invalid_samples);
        }
    }

    /// An answer that took `duration` to read out.
    pub fn answer_parsed(&self, job: &JobLabels, url: &str, duration: Duration) {
        let url = public_url(url);
        self.reader_response_parsing
            .with_label_values(&with_last(url_labels(&url, job), "json"))
            .observe(duration.as_secs_f64());
    }

    /// A request body with `series` series that took `duration` to make.
    pub fn body_made(&self, job: &JobLabels, url: &str, series: u64, duration: Duration) {
        let url = public_url(url);
        let labels = url_labels(&url, job);
        self.writer_request_serialize.with_label_values(&labels).observe(duration.as_secs_f64());
        self.writer_timeseries_sent.with_label_values(&labels).inc_by(series);
    }

    /// A write that `url` accepted or did not within `duration`. Samples that are given up for good are
    /// [`Metrics::samples_dropped`].
    pub fn write_finished(
        &self,
        job: &JobLabels,
        url: &str,
        outcome: Result<(), &WriteError>,
        size: WriteSize,
        duration: Duration,
    ) {
        let url = public_url(url);
        let labels = url_labels(&url, job);
        self.writer_request_duration.with_label_values(&labels).observe(duration.as_secs_f64());
        let code = match outcome {
            Ok(()) => Cow::Borrowed("204"),
            Err(WriteError::Refused { status, .. }) => Cow::Owned(status.to_string()),
            Err(WriteError::TooLarge { .. }) => Cow::Borrowed("413"),
            Err(WriteError::Unavailable { code, .. }) => Cow::Borrowed(code.as_str()),
        };
        self.writer_responses.with_label_values(&with_last(labels, &code)).inc();
        if outcome.is_ok() {
            self.writer_sent_bytes.with_label_values(&labels).inc_by(size.bytes);
            self.writer_datapoints_sent.with_label_values(&labels).inc_by(size.samples);
        }
    }

    /// Samples that the TSDB refused for good with `code`.
    pub fn samples_dropped(&self, job: &JobLabels, code: &str, samples: u64) {
        let [query_key, scheduler_alias, preset] = job.values();
        self.writer_dropped.with_label_values(&[query_key, scheduler_alias, preset, code]).inc_by(samples);
    }

    /// `ticks` ticks that were not scored because of `reason`.
    pub fn ticks_skipped(&self, job: &JobLabels, reason: &str, ticks: u64) {
        let [query_key, scheduler_alias, preset] = job.values();
        self.ticks_skipped.with_label_values(&[query_key, scheduler_alias, preset, reason]).inc_by(ticks);
    }

    /// Hand-overs of series have come to something.
    pub fn handed_over(&self, job: &JobLabels, status: HandoverStatus, handovers: u64) {
        let [query_key, scheduler_alias, preset] = job.values();
        let values = [query_key, scheduler_alias, preset, status.as_str()];
        self.handovers.with_label_values(&values).inc_by(handovers);
    }

    /// A shard that reads for all was asked for a slice.
    pub fn slice_pulled(&self, job: &JobLabels, result: SliceResult) {
        let [query_key, scheduler_alias, preset] = job.values();
        self.slices.with_label_values(&[query_key, scheduler_alias, preset, result.as_str()]).inc();
    }

    /// Another shard has got a slice.
    pub fn slice_given(&self, job: &JobLabels) {
        self.slices_given.with_label_values(&job.values()).inc();
    }

    /// Where a job is: the age of its oldest due and unwritten tick, and whether it waits for the TSDB.
    pub fn job_position(&self, job: &JobLabels, lag: Duration, standing_still: bool) {
        self.job_lag.with_label_values(&job.values()).set(lag.as_secs_f64());
        self.job_standing_still.with_label_values(&job.values()).set(i64::from(standing_still));
    }

    /// A model's run that succeeded.
    pub fn model_run(&self, model: &ModelLabels, stage: Stage, run: ModelRun) {
        let labels = with_last(model.values(), stage.as_str());
        self.model_runs.with_label_values(&labels).inc();
        self.model_run_duration.with_label_values(&labels).observe(run.duration.as_secs_f64());
        self.model_datapoints_accepted.with_label_values(&labels).inc_by(run.accepted);
        if stage != Stage::Fit {
            self.model_datapoints_produced.with_label_values(&labels).inc_by(run.produced);
        }
    }

    /// A model's run that was expected not to happen.
    pub fn model_run_skipped(&self, model: &ModelLabels, stage: Stage) {
        self.model_runs_skipped.with_label_values(&with_last(model.values(), stage.as_str())).inc();
    }

    /// A model's run that failed.
    pub fn model_run_failed(&self, model: &ModelLabels, stage: Stage) {
        self.model_run_errors.with_label_values(&with_last(model.values(), stage.as_str())).inc();
    }

    /// So many alarms of a model began.
    pub fn alarms_began(&self, model: &ModelLabels, alarms: u64) {
        self.alarms_observed.with_label_values(&model.values()).inc_by(alarms);
    }

    /// So many alarms of a model were to be expected.
    pub fn alarms_were_expected(&self, model: &ModelLabels, alarms: f64) {
        self.alarms_expected.with_label_values(&model.values()).inc_by(alarms);
    }

    /// How many states of a model are at each stage, in the order of [`Stage::ALL`](detect::readiness::Stage::ALL).
    pub fn models_by_stage(&self, model: &ModelLabels, counts: [u64; detect::readiness::Stage::ALL.len()]) {
        for (stage, count) in detect::readiness::Stage::ALL.into_iter().zip(counts) {
            let labels = with_last(model.values(), stage.name());
            self.models_by_stage.with_label_values(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// A fit that ended with `status`.
    pub fn fit_finished(&self, model: &ModelLabels, status: &str) {
        self.fits.with_label_values(&with_last(model.values(), status)).inc();
    }

    /// A block of a snapshot that was written.
    pub fn snapshot_block_written(&self, model: &ModelLabels, bytes: u64) {
        self.snapshot_blocks_written.with_label_values(&model.values()).inc();
        self.snapshot_bytes_written.with_label_values(&model.values()).inc_by(bytes);
    }

    /// A question to another worker that ended with `result` after `duration`.
    pub fn peer_request_finished(&self, result: &str, duration: Duration) {
        self.peer_requests.with_label_values(&[self.preset(), result]).inc();
        self.peer_request_duration.with_label_values(&[self.preset()]).observe(duration.as_secs_f64());
    }

    /// A question of another worker that was answered with an HTTP status.
    pub fn peer_asked(&self, status: &str) {
        self.peer_questions.with_label_values(&[self.preset(), status]).inc();
    }

    /// Bytes of a `question` or an `answer` that came from another worker.
    pub fn peer_bytes_received(&self, kind: &str, bytes: usize) {
        self.peer_received_bytes.with_label_values(&[self.preset(), kind]).inc_by(bytes as u64);
    }

    /// What the process may use, and how many threads compute.
    pub fn capacity(&self, capacity: &Capacity, threads: usize) {
        self.cpu_cores_available.set(capacity.cpus);
        if let Some(bytes) = capacity.memory_bytes {
            self.available_memory.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        self.native_threads.set(threads as i64);
    }

    /// Jobs in the whole configuration, and those of this shard.
    pub fn entities(&self, total: usize, shard: usize) {
        for (scope, count) in [("total", total), ("shard", shard)] {
            self.config_entities.with_label_values(&[self.preset(), scope]).set(count as i64);
        }
    }

    /// A changed configuration that was applied or not at `now`, unix ms.
    pub fn config_reloaded(&self, status: ReloadStatus, now: i64) {
        self.config_reloads.with_label_values(&[status.as_str()]).inc();
        self.config_in_force(status, now);
    }

    /// The first configuration, which is no reload, took effect at `now`, unix ms.
    pub fn config_loaded(&self, now: i64) {
        self.config_in_force(ReloadStatus::Success, now);
    }

    fn config_in_force(&self, status: ReloadStatus, now: i64) {
        let success = status == ReloadStatus::Success;
        self.config_last_reload_successful.set(i64::from(success));
        if success {
            self.config_last_reload_success_timestamp.set(now as f64 / 1e3);
        }
    }
}

fn url_labels<'a>(url: &'a str, job: &'a JobLabels) -> [&'a str; 4] {
    let [query_key, scheduler_alias, preset] = job.values();
    [url, query_key, scheduler_alias, preset]
}
