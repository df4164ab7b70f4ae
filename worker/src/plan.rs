//! From the configuration to jobs: what is read when, and which models learn it. Pure.

use std::num::NonZeroU32;

use config::ownership::{Spread, ownership_key, shard_of_key};
use config::placement::placements;
use config::topology::Topology;
use config::worker::{HttpClient, Model, ModelClass, Query, Scheduler, WorkerConfig, Writer};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::joint::Joint;
use crate::labels::Labels;
use crate::{
    custody::Custody,
    share::{Handover, Share},
};

/// One query under one scheduler, with the models that share its reads; or all queries of one multivariate model.
/// Everything that scores depend on besides state and input; its digest names it in the input log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobPlan {
    /// Alias of the scheduler.
    pub scheduler_alias: String,
    /// The scheduler.
    pub scheduler: Scheduler,
    /// Alias of the query; of the queries of a multivariate model, sorted and joined by commas.
    pub query_alias: String,
    /// The query; of those of a multivariate model the first, which has its times like the others.
    pub query: Query,
    /// What besides the query decides which samples come back.
    pub source: Source,
    /// The models, sorted by alias.
    pub models: Vec<ModelPlan>,
    /// Names and labels of the outputs.
    pub output: Output,
    /// Which series are ours.
    pub share: Share,
    /// Set where the job is that of a multivariate model, its only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joint: Option<Joint>,
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
    /// Queries of a multivariate model are to be placed apart.
    #[error("models.{model}.queries: {reason}")]
    Placements {
        /// Alias of the model.
        model: String,
        /// Which queries are placed how.
        reason: String,
    },
}

/// The jobs of shard `shard`, sorted by key.
///
/// Where a topology has epochs, it says itself how each query is spread: a change of that is an epoch, too. Where it has
/// none, queries that multivariate models join are [placed together](placements).
///
/// # Errors
/// When the topology has no such shard, and had none, or would tear the groups of a multivariate model apart.
pub fn plan(config: &WorkerConfig, topology: &Topology, shard: u32) -> Result<Vec<JobPlan>, PlanError> {
    let shards = topology.previous_shards.iter().copied().chain([topology.shards]).max();
    if shards.is_none_or(|shards| shard >= shards.get()) {
        return Err(PlanError::NoSuchShard { shard, shards: topology.shards });
    }
    let placed = placements(&config.models, &topology.placements);
    if let Some((model, reason)) = placed.refused.into_iter().next() {
        return Err(PlanError::Placements { model, reason });
    }
    let spreads = if topology.epoch == 0 { &placed.spreads } else { &topology.placements };
    let mut jobs = Vec::new();
    for (scheduler_alias, scheduler) in &config.schedulers {
        for (query_alias, query) in &config.reader.queries {
            let models: Vec<ModelPlan> = config
                .models
                .iter()
                .filter(|(_, model)| model.class.groupby().is_none())
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
                share: Share::new(topology, shard, spreads.get(query_alias).cloned().unwrap_or_default()),
                joint: None,
            });
        }
        for (alias, model) in config.models.iter().filter(|(_, model)| model.schedulers.contains(scheduler_alias)) {
            let Some(joint) = joint(config, model) else { continue };
            let Some(query) = joint.queries.values().next() else { continue };
            let spread = joint.queries.keys().find_map(|query| spreads.get(query)).cloned();
            jobs.push(JobPlan {
                scheduler_alias: scheduler_alias.clone(),
                scheduler: scheduler.clone(),
                query_alias: joint.query_key(),
                query: query.clone(),
                source: source(&config.reader.client, query, &config.reader),
                models: vec![ModelPlan { alias: alias.clone(), model: model.clone() }],
                output: output(&config.writer, &config.preset),
                share: Share::new(topology, shard, spread.unwrap_or_default()),
                joint: Some(joint),
            });
        }
    }
    jobs.sort_by_key(JobPlan::key);
    Ok(jobs)
}

/// What a multivariate model joins; `None` of a model of single series.
fn joint(config: &WorkerConfig, model: &Model) -> Option<Joint> {
    let groupby = model.class.groupby()?;
    let queries = model.queries.iter().filter_map(|query| config.reader.queries.get_key_value(query));
    let queries = queries.map(|(alias, query)| (alias.clone(), query.clone())).collect();
    Some(Joint { groupby: groupby.to_vec(), queries })
}

/// A `/` separates an alias from what follows, and `%` what belongs to the name of a job.
fn escaped(alias: &str) -> String {
    alias.replace('%', "%25").replace('/', "%2F")
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
    /// The job's name, `scheduler/query`; a `/` in the scheduler's alias is written `%2F`. One of series that have
    /// arrived has `%@` and the hand-over after the scheduler. That of a multivariate model has `%&` and the model, and
    /// each label of its groups in the same way, after the scheduler: other groups are another job.
    #[must_use]
    pub fn key(&self) -> String {
        self.share.arrival.map_or_else(|| self.key_of_all(), |handover| self.key_of_arrival(handover))
    }

    /// The name of the job of the series that a hand-over brings.
    #[must_use]
    pub fn key_of_arrival(&self, handover: Handover) -> String {
        format!("{}%@{handover}/{}", self.key_before_query(), self.query_key())
    }

    /// The name of the job of all series of this query and scheduler: of the one that arrived series are to join.
    #[must_use]
    pub fn key_of_all(&self) -> String {
        format!("{}/{}", self.key_before_query(), self.query_key())
    }

    fn key_before_query(&self) -> String {
        let groups = self.joint.iter().flat_map(|joint| {
            let model = self.models.iter().map(|model| model.alias.as_str());
            model.chain(joint.groupby.iter().map(String::as_str))
        });
        let groups = groups.map(|name| format!("%&{}", escaped(name)));
        escaped(&self.scheduler_alias) + &groups.collect::<String>()
    }

    fn query_key(&self) -> String {
        self.joint.as_ref().map_or_else(|| self.query_alias.clone(), Joint::query_key)
    }

    /// What the job is called in metrics: beside a query, several jobs may have it, each with a model of its own.
    #[must_use]
    pub fn metrics_key(&self) -> String {
        match (&self.joint, self.models.first()) {
            (Some(joint), Some(model)) => format!("{}:{}", model.alias, joint.query_key()),
            _ => self.query_alias.clone(),
        }
    }

    /// The plans of the reads that a tick takes: one for each query of a multivariate model.
    #[must_use]
    pub fn reads(&self) -> Vec<Self> {
        let Some(joint) = &self.joint else { return vec![self.clone()] };
        let read = |(alias, query): (&String, &Query)| Self {
            query_alias: alias.clone(),
            query: query.clone(),
            ..self.clone()
        };
        joint.queries.iter().map(read).collect()
    }

    /// Digest of what decides the answers to reads: the source, and the query as far as it is asked.
    #[must_use]
    pub fn reading(&self) -> u64 {
        let Query { expr, step, offset, max_lookback, max_points_per_query, .. } = &self.query;
        let asked = serde_json::json!({
            "source": self.source, "expr": expr, "step": step, "offset": offset, "max_lookback": max_lookback,
            "max_points_per_query": max_points_per_query,
        });
        xxh3_64(asked.to_string().as_bytes())
    }

    /// Digest of what decides which series of an answer are in a custody, which is written as these bytes: of series that
    /// belong to a group, it is the group that is in it.
    #[must_use]
    pub fn custody_digest(&self, custody: &[u8]) -> u64 {
        let groups = self.joint.as_ref().map(|joint| {
            let labels = serde_json::json!({ "groupby": joint.groupby, "first": joint.first_alias() });
            xxh3_64(labels.to_string().as_bytes())
        });
        xxh3_64_with_seed(custody, groups.unwrap_or(0))
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

    /// What has a state of its own: a series, or the group that a channel belongs to.
    #[must_use]
    pub fn unit_of(&self, labels: &Labels) -> Labels {
        self.joint.as_ref().map_or_else(|| labels.clone(), |joint| joint.group_of(labels))
    }

    /// Whether the job is responsible for a series.
    #[must_use]
    pub fn has(&self, labels: &Labels) -> bool {
        self.is_in(&self.share.custody, labels)
    }

    /// Whether a series is in this custody.
    #[must_use]
    pub fn is_in(&self, custody: &Custody, labels: &Labels) -> bool {
        custody.contains(|shards, spread| self.owner(labels, shards, spread))
    }

    /// The shard that owns a series now.
    #[must_use]
    pub fn present_owner(&self, labels: &Labels) -> u32 {
        self.owner(labels, self.share.shards, &self.share.spread)
    }

    fn owner(&self, labels: &Labels, shards: NonZeroU32, spread: &Spread) -> u32 {
        if shards.get() == 1 {
            return 0;
        }
        let mut key = Vec::new();
        let tenant = self.source.tenant_id.as_deref();
        match &self.joint {
            Some(joint) => joint.ownership_key(spread, tenant, labels, &mut key),
            None => ownership_key(spread, tenant, &self.query_alias, labels.iter(), &mut key),
        }
        shard_of_key(&key, shards)
    }

    /// The plan of the series that a hand-over brings.
    #[must_use]
    pub fn of_arrival(&self, handover: Handover) -> Self {
        Self { share: self.share.of_arrival(handover), ..self.clone() }
    }

    /// This plan after `current`, whose hand-overs go on.
    #[must_use]
    pub fn following(mut self, current: &Self) -> Self {
        self.share = self.share.following(&current.share);
        self
    }

    /// Most series of this shard: its part of the query's limit, while series move that of the smallest deployment.
    ///
    /// Hashing gives each shard its part up to a deviation of the root of that, and here are five of them. A spread that
    /// keeps series together may give all of them to one shard.
    #[must_use]
    pub fn series_limit(&self) -> usize {
        if let Some(joint) = &self.joint {
            return joint.queries.values().map(|query| query.series_limit as usize).sum();
        }
        let all = self.query.series_limit as usize;
        let Share { shards, previous, spread, .. } = &self.share;
        let fewest = previous.iter().fold(*shards, |fewest, former| fewest.min(*former));
        let part = all.div_ceil(fewest.get() as usize);
        if *spread == Spread::Series { all.min(part + 5 * part.isqrt()) } else { all }
    }

    /// Most times of one read: as many as every query allows.
    #[must_use]
    pub fn max_points_per_read(&self) -> usize {
        let of_queries = self.joint.iter().flat_map(|joint| joint.queries.values()).chain([&self.query]);
        of_queries.map(|query| query.max_points_per_query as usize).min().unwrap_or(1)
    }

    /// Everything that a model's state was learnt from: a state goes on exactly while this stays the same.
    #[must_use]
    pub fn signature(&self, model: &ModelPlan) -> String {
        let scheduler = &self.scheduler;
        let query = &self.query;
        let mut learnt_from = serde_json::json!({
            "model": crate::detector::learning_signature(query, &model.model),
            "expr": query.expr, "step": query.step, "offset": query.offset, "tz": query.tz,
            "max_lookback": query.max_lookback, "source": self.source,
            "fit_window": scheduler.fit_window, "fit_every": scheduler.fit_every,
            "infer_every": scheduler.infer_every, "start_from": scheduler.start_from, "start_tz": scheduler.tz,
        });
        if let Some(joint @ Joint { groupby, queries }) = &self.joint {
            let read = |(alias, query): (&String, &Query)| (alias.clone(), (query.expr.clone(), query.max_lookback));
            let queries: std::collections::BTreeMap<_, _> = queries.iter().map(read).collect();
            learnt_from["joint"] = serde_json::json!({ "groupby": groupby, "queries": queries });
            if matches!(model.model.class, ModelClass::Auto(_)) {
                // A search of single series has its query's own in its arguments.
                let policy = |query: &Query| format!("{:?}", crate::detector::score_policy(query, &model.model));
                let policies: Vec<String> = joint.queries.values().map(policy).collect();
                learnt_from["joint"]["policies"] = serde_json::json!(policies);
            }
        }
        learnt_from.to_string()
    }
}

/// The hand-over and the name of the job that its series join, of the name of a job of arrived series.
#[must_use]
pub fn arrival_of_key(key: &str) -> Option<(Handover, String)> {
    let (scheduler, query) = key.split_once('/')?;
    let (scheduler, handover) = scheduler.rsplit_once("%@")?;
    let (epoch, shards) = handover.split_once('.')?;
    let (from, to) = shards.split_once('-')?;
    let handover = Handover { epoch: epoch.parse().ok()?, from: from.parse().ok()?, to: to.parse().ok()? };
    Some((handover, format!("{scheduler}/{query}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_of(series_limit: u32, spread: Spread, shards: u32, previous: &[u32]) -> JobPlan {
        let count = |number: u32| NonZeroU32::new(number).unwrap();
        let text = "
schedulers: {s: {class: periodic, infer_every: 1m, fit_every: 1d, fit_window: 1d}}
models: {m: {class: zscore_online}}
reader: {datasource_url: 'http://tsdb:8428', sampling_period: 1m, queries: {q: {expr: up}}}
writer: {datasource_url: 'http://tsdb:8428'}
";
        let source = config::load::Source::new("worker.yaml", text.to_owned());
        let mut config = config::load::load(&[source], &|_| None, 2).unwrap().config;
        config.reader.queries.get_mut("q").unwrap().series_limit = series_limit;
        let mut plan = plan(&config, &config::topology::Topology::default(), 0).unwrap().remove(0);
        plan.share.shards = count(shards);
        plan.share.spread = spread;
        plan.share.previous = previous.iter().map(|former| count(*former)).collect();
        plan
    }

    #[test]
    fn a_shard_takes_its_part_of_the_series_limit_and_what_hashing_may_give_it_more() {
        let limit = |limit, spread, shards, previous: &[u32]| plan_of(limit, spread, shards, previous).series_limit();
        assert_eq!(limit(100_000, Spread::Series, 1, &[]), 100_000);
        assert_eq!(limit(100_000, Spread::Series, 8, &[]), 12_500 + 5 * 111);
        assert_eq!(limit(10, Spread::Series, 3, &[]), 10);
        // Until they have moved, the former owner has more.
        assert_eq!(limit(100_000, Spread::Series, 8, &[1]), 100_000);
        assert_eq!(limit(100_000, Spread::Query, 8, &[]), 100_000);
        assert_eq!(limit(100_000, Spread::Label("zone".to_owned()), 8, &[]), 100_000);
    }

    #[test]
    fn what_becomes_of_an_answer_does_not_decide_which_one_it_is() {
        let plan = plan_of(10, Spread::Series, 3, &[]);
        let changed = |change: fn(&mut Query)| {
            let mut changed = plan.clone();
            change(&mut changed.query);
            changed.reading() != plan.reading()
        };
        assert!(!changed(|query| query.series_limit = 20) && !changed(|query| query.false_alarms_per_day = Some(1.0)));
        assert!(changed(|query| query.expr = "down".to_owned()) && changed(|query| query.max_lookback = Some(1_000)));
        assert!(changed(|query| query.offset = 1) && changed(|query| query.max_points_per_query = 10));
    }

    #[test]
    fn the_name_of_a_job_of_arrived_series_leads_to_the_job_that_they_join() {
        let handover = Handover { epoch: 5, from: 0, to: 12 };
        assert_eq!(arrival_of_key("a%2Fb%@5.0-12/x/y.1-2"), Some((handover, "a%2Fb/x/y.1-2".to_owned())));
        for other in ["a/b", "a%25.0-1/b", "a/b%@5.0-1", "a%2F/x"] {
            assert_eq!(arrival_of_key(other), None, "{other}");
        }
    }

    const JOINT: &str = "
schedulers: {s: {class: periodic, infer_every: 1m, fit_every: 1d, fit_window: 1d}}
models:
  m: {class: zscore_online, queries: [cpu], schedulers: all}
  all/hosts: {class: isolation_forest_multivariate, groupby: [host], queries: all, schedulers: all}
reader: {datasource_url: 'http://tsdb:8428', sampling_period: 1m, queries: {memory: {expr: mem}, cpu: {expr: cpu}}}
writer: {datasource_url: 'http://tsdb:8428'}
";

    fn joint_plans(placements: &[(&str, Spread)]) -> Result<Vec<JobPlan>, String> {
        let source = config::load::Source::new("worker.yaml", JOINT.to_owned());
        let config = config::load::load(&[source], &|_| None, 2).unwrap().config;
        let placements = placements.iter().map(|(alias, spread)| ((*alias).to_owned(), spread.clone())).collect();
        plan(&config, &Topology { placements, ..Topology::default() }, 0).map_err(|error| error.to_string())
    }

    #[test]
    fn a_multivariate_model_has_a_job_of_its_own_of_all_its_queries() {
        let plans = joint_plans(&[]).unwrap();
        assert_eq!(plans.iter().map(JobPlan::key).collect::<Vec<_>>(), ["s%&all%2Fhosts%&host/cpu,memory", "s/cpu"]);
        let joint = &plans[0];
        assert_eq!(joint.metrics_key(), "all/hosts:cpu,memory");
        let reads: Vec<(String, String)> =
            joint.reads().into_iter().map(|read| (read.query_alias.clone(), read.query.expr)).collect();
        assert_eq!(reads, [("cpu".into(), "cpu".into()), ("memory".into(), "mem".into())]);
        let handover = Handover { epoch: 5, from: 0, to: 1 };
        assert_eq!(arrival_of_key(&joint.key_of_arrival(handover)), Some((handover, joint.key())));
        // The job that reads shares its reads with whoever reads the same.
        assert_eq!(joint.reads()[0].reading(), plans[1].reading());
    }

    #[test]
    fn queries_of_a_multivariate_model_that_are_placed_apart_are_refused_by_name() {
        let label = |name: &str| Spread::Label(name.to_owned());
        let error = joint_plans(&[("memory", Spread::Query), ("cpu", label("host"))]).unwrap_err();
        assert!(error.starts_with("models.all/hosts.queries: ") && error.contains("`cpu`"), "{error}");
        assert!(error.ends_with("`memory` by `query`"), "{error}");
    }

    #[test]
    fn a_series_is_where_its_group_is_for_every_model() {
        let owners = |plan: &JobPlan, series: &Labels| {
            let labels = plan.joint.as_ref().map_or_else(|| series.clone(), |_| Joint::channel("cpu", series));
            (1..50).map(|shards| plan.owner(&labels, NonZeroU32::new(shards).unwrap(), &plan.share.spread)).collect()
        };
        let series = Labels::new([("host", "a"), ("mode", "user")]);
        for asked in [None, Some(Spread::Series), Some(Spread::Query), Some(Spread::Label("host".to_owned()))] {
            let asked: Vec<(&str, Spread)> = asked.into_iter().map(|spread| ("memory", spread)).collect();
            let plans = joint_plans(&asked).unwrap();
            let all: Vec<Vec<u32>> = plans.iter().map(|plan| owners(plan, &series)).collect();
            assert_eq!(all[0], all[1], "{asked:?}");
        }
    }
}
