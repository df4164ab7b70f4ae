//! From the configuration to jobs: what is read when, and which models learn it. Pure.

use std::num::NonZeroU32;

use config::ownership::{Spread, ownership_key, shard_of_key};
use config::worker::{DetectionDirection, HttpClient, Model, ModelClass, Query, Scheduler, WorkerConfig, Writer};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::labels::Labels;

/// One query under one scheduler, with the models that share its reads. Everything that scores depend on besides
/// state and input; its digest names it in the input log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobPlan {
    /// Alias of the scheduler.
    pub scheduler_alias: String,
    /// The scheduler.
    pub scheduler: Scheduler,
    /// Alias of the query.
    pub query_alias: String,
    /// The query.
    pub query: Query,
    /// What besides the query decides which samples come back.
    pub source: Source,
    /// The models, sorted by alias.
    pub models: Vec<ModelPlan>,
    /// Names and labels of the outputs.
    pub output: Output,
    /// Which series are ours.
    pub share: Share,
}

/// Where a job's samples come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Base URL.
    pub url: String,
    /// Tenant of the query or the reader.
    pub tenant_id: Option<String>,
    /// Path of range queries.
    pub query_range_path: String,
    /// Selectors added to every query.
    pub extra_filters: Vec<String>,
}

/// One model of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelPlan {
    /// Alias.
    pub alias: String,
    /// The model with all its arguments.
    pub model: Model,
}

/// How a job's outputs are named.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Template of the metric name.
    pub metric_name: String,
    /// Template labels.
    pub labels: std::collections::BTreeMap<String, String>,
    /// The `preset` label.
    pub preset: String,
}

/// Which part of the series a worker owns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Own shard, below `shards`.
    pub shard: u32,
    /// Number of shards, at least 1.
    pub shards: NonZeroU32,
    /// How the query's series are spread.
    pub spread: Spread,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlanError {
    /// The worker's ordinal is not below the shard count.
    #[error("this worker is shard {shard}, but the topology has {shards} shard(s) (0 to {})", shards.get() - 1)]
    NoSuchShard {
        /// Own shard.
        shard: u32,
        /// Number of shards.
        shards: NonZeroU32,
    },
}

/// The jobs of shard `shard`, sorted by key.
///
/// # Errors
/// When the topology has no such shard.
pub fn plan(
    config: &WorkerConfig,
    topology: &config::topology::Topology,
    shard: u32,
) -> Result<Vec<JobPlan>, PlanError> {
    if shard >= topology.shards.get() {
        return Err(PlanError::NoSuchShard { shard, shards: topology.shards });
    }
    let mut jobs = Vec::new();
    for (scheduler_alias, scheduler) in &config.schedulers {
        for (query_alias, query) in &config.reader.queries {
            let models: Vec<ModelPlan> = config
                .models
                .iter()
                .filter(|(_, model)| model.schedulers.contains(scheduler_alias) && model.queries.contains(query_alias))
                .map(|(alias, model)| ModelPlan { alias: alias.clone(), model: model.clone() })
                .collect();
            if models.is_empty() {
                continue;
            }
            jobs.push(JobPlan {
                scheduler_alias: scheduler_alias.clone(),
                scheduler: scheduler.clone(),
                query_alias: query_alias.clone(),
                query: query.clone(),
                source: source(&config.reader.client, query, &config.reader),
                models,
                output: output(&config.writer, &config.preset),
                share: Share { shard, shards: topology.shards, spread: topology.spread(query_alias).clone() },
            });
        }
    }
    jobs.sort_by_key(JobPlan::key);
    Ok(jobs)
}

fn source(client: &HttpClient, query: &Query, reader: &config::worker::Reader) -> Source {
    Source {
        url: client.url.clone(),
        tenant_id: query.tenant_id.clone().or_else(|| client.tenant_id.clone()),
        query_range_path: reader.query_range_path.clone(),
        extra_filters: reader.extra_filters.clone(),
    }
}

fn output(writer: &Writer, preset: &str) -> Output {
    Output { metric_name: writer.metric_name.clone(), labels: writer.labels.clone(), preset: preset.to_owned() }
}

impl JobPlan {
    /// The job's name, `scheduler/query`; a `/` in the scheduler's alias is written `%2F`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.scheduler_alias.replace('%', "%25").replace('/', "%2F"), self.query_alias)
    }

    /// The canonical form that the digest is taken of.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        // Plain structs of strings, numbers and maps with string keys: serialising them cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Digest of the canonical form.
    #[must_use]
    pub fn digest(&self) -> u64 {
        xxh3_64(&self.canonical())
    }

    /// Whether this shard owns a series.
    #[must_use]
    pub fn owns(&self, labels: &Labels) -> bool {
        let share = &self.share;
        if share.shards.get() == 1 {
            return true;
        }
        let mut key = Vec::new();
        ownership_key(&share.spread, self.source.tenant_id.as_deref(), &self.query_alias, labels.iter(), &mut key);
        shard_of_key(&key, share.shards) == share.shard
    }

    /// Most series of this shard.
    #[must_use]
    pub fn series_limit(&self) -> usize {
        self.query.series_limit.div_ceil(self.share.shards.get()) as usize
    }

    /// Everything that a model's state was learnt from: a state goes on exactly while this stays the same.
    #[must_use]
    pub fn signature(&self, model: &ModelPlan) -> String {
        let scheduler = &self.scheduler;
        let query = &self.query;
        let learnt_from = serde_json::json!({
            "model": spec(&model.model).learning_signature(),
            "expr": query.expr, "step": query.step, "offset": query.offset, "tz": query.tz,
            "max_lookback": query.max_lookback, "source": self.source,
            "fit_window": scheduler.fit_window, "fit_every": scheduler.fit_every,
            "infer_every": scheduler.infer_every, "start_from": scheduler.start_from, "start_tz": scheduler.tz,
        });
        learnt_from.to_string()
    }
}

/// The detector of a configured model.
#[must_use]
pub fn spec(model: &Model) -> detect::spec::ModelSpec {
    match model.class {
        ModelClass::ZscoreOnline { z_threshold } => {
            detect::spec::ModelSpec::ZscoreOnline(detect::zscore::ZscoreOnlineArgs {
                z_threshold,
                decay: model.decay,
                history_strength: model.history_strength,
            })
        }
        ModelClass::MadOnline { threshold, compression } => {
            detect::spec::ModelSpec::MadOnline(detect::mad::MadOnlineArgs {
                threshold,
                compression,
                decay: model.decay,
                history_strength: model.history_strength,
            })
        }
    }
}

/// The score policy of a model on a query: the query's own policies win field by field.
#[must_use]
pub fn score_policy(query: &Query, model: &Model) -> detect::score::ScorePolicy {
    let resolved = config::worker::Policies::resolve(query, model);
    let sides = |pair: [f64; 2]| detect::score::Sides { below: pair[0], above: pair[1] };
    detect::score::ScorePolicy {
        scale: sides(model.scale),
        clip_predictions: model.clip_predictions,
        data_range: (resolved.data_range[0], resolved.data_range[1]),
        score_outside_data_range: model.anomaly_score_outside_data_range,
        direction: match resolved.detection_direction {
            DetectionDirection::Both => detect::score::Direction::Both,
            DetectionDirection::AboveExpected => detect::score::Direction::AboveExpected,
            DetectionDirection::BelowExpected => detect::score::Direction::BelowExpected,
        },
        min_dev_from_expected: sides(resolved.min_dev_from_expected),
        min_rel_dev_from_expected: sides(resolved.min_rel_dev_from_expected),
        min_n_samples_seen: model.min_n_samples_seen,
    }
}
