//! What all visits share: the watched objects, the way to the API server, what workers have said.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crds::{AnomalyModel, AnomalyQuery, VMAnomaly};
use k8s_openapi::api::core::v1::Pod;
use kube::core::{DeserializeGuard, DynamicObject};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::reflector::store::Writer;
use kube::{Client, Resource};
use tokio::sync::mpsc;

use crate::build::WorkerDefaults;
use crate::build::scrape::ScrapeKind;
use crate::kubernetes::apply::Applier;
use crate::kubernetes::child::ChildKind;
use crate::kubernetes::index::Index;
use crate::kubernetes::recent::Recent;
use crate::kubernetes::scope::Scope;
use crate::metrics::Metrics;
use crate::names::MANAGER;
use crate::reconcile::peer_token::KnownTokens;
use crate::reconcile::verdicts::{Rejudged, Verdicts};
use crate::selection::ObjectKey;
use crate::workers::poll::{Poller, Reports};

/// What the operator was told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The workers it runs.
    pub workers: WorkerDefaults,
    /// Whether it replaces a configuration that a newer operator wrote.
    pub allow_downgrade: bool,
    /// Every object is looked at so often even though nothing changed.
    pub resync: Duration,
    /// How often workers are asked for their status.
    pub poll: Duration,
    /// Visits at a time.
    pub concurrency: usize,
    /// How long it is believed which kinds of scrape objects the cluster has.
    pub discovery: Duration,
    /// How long it is believed that the Secret with the workers' token is there.
    pub token: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            workers: WorkerDefaults::default(),
            allow_downgrade: false,
            resync: Duration::from_secs(300),
            poll: Duration::from_secs(5),
            concurrency: 8,
            discovery: Duration::from_secs(60),
            token: Duration::from_secs(300),
        }
    }
}

/// A custom resource as the API server has it, readable or not.
pub type Guarded<K> = DeserializeGuard<K>;

/// The watched objects.
#[derive(Debug, Clone)]
pub struct Objects {
    /// VMAnomalies.
    pub anomalies: Index<Guarded<VMAnomaly>>,
    /// Models.
    pub models: Index<Guarded<AnomalyModel>>,
    /// Queries.
    pub queries: Index<Guarded<AnomalyQuery>>,
    /// Children.
    pub children: BTreeMap<ChildKind, Index<DynamicObject>>,
    /// Workers' pods.
    pub pods: Index<Pod>,
}

/// Fills the watched objects; one writer for each part of the scope.
#[derive(Debug)]
pub struct Writers {
    /// VMAnomalies.
    pub anomalies: Vec<Writer<Guarded<VMAnomaly>>>,
    /// Models.
    pub models: Vec<Writer<Guarded<AnomalyModel>>>,
    /// Queries.
    pub queries: Vec<Writer<Guarded<AnomalyQuery>>>,
    /// Children.
    pub children: BTreeMap<ChildKind, Vec<Writer<DynamicObject>>>,
    /// Workers' pods.
    pub pods: Vec<Writer<Pod>>,
}

impl Objects {
    /// Empty ones, and what fills them.
    #[must_use]
    pub fn new(scope: &Scope) -> (Self, Writers) {
        let parts = scope.parts();
        let (anomalies, anomaly_writers) = Index::new(parts.clone(), ());
        let (models, model_writers) = Index::new(parts.clone(), ());
        let (queries, query_writers) = Index::new(parts.clone(), ());
        let (pods, pod_writers) = Index::new(parts.clone(), ());
        let mut children = BTreeMap::new();
        let mut child_writers = BTreeMap::new();
        for kind in ChildKind::WATCHED {
            let (index, writers) = Index::new(parts.clone(), kind.resource());
            children.insert(kind, index);
            child_writers.insert(kind, writers);
        }
        let writers = Writers {
            anomalies: anomaly_writers,
            models: model_writers,
            queries: query_writers,
            children: child_writers,
            pods: pod_writers,
        };
        (Self { anomalies, models, queries, children, pods }, writers)
    }

    /// Waits until everything was listed once.
    ///
    /// # Errors
    /// When a watch has ended.
    pub async fn wait_until_ready(&self) -> Result<(), kube::runtime::reflector::store::WriterDropped> {
        self.anomalies.wait_until_ready().await?;
        self.models.wait_until_ready().await?;
        self.queries.wait_until_ready().await?;
        self.pods.wait_until_ready().await?;
        for index in self.children.values() {
            index.wait_until_ready().await?;
        }
        Ok(())
    }

    /// The readable objects of a kind that are wanted.
    #[must_use]
    pub fn readable<K>(index: &Index<Guarded<K>>, wanted: impl Fn(&K) -> bool) -> Vec<Arc<K>>
    where
        K: Resource<DynamicType = ()> + Clone + 'static,
    {
        let all = index.all();
        let readable = all.iter().filter_map(|guard| guard.0.as_ref().ok());
        readable.filter(|object| wanted(object)).map(|object| Arc::new(object.clone())).collect()
    }
}

/// Asks for visits.
#[derive(Debug, Clone)]
pub struct Triggers {
    /// Of VMAnomalies.
    pub anomalies: mpsc::UnboundedSender<ObjectKey>,
    /// Of models.
    pub models: mpsc::UnboundedSender<ObjectKey>,
    /// Of queries.
    pub queries: mpsc::UnboundedSender<ObjectKey>,
}

/// Asked-for visits.
#[derive(Debug)]
pub struct Triggered {
    /// Of VMAnomalies.
    pub anomalies: mpsc::UnboundedReceiver<ObjectKey>,
    /// Of models.
    pub models: mpsc::UnboundedReceiver<ObjectKey>,
    /// Of queries.
    pub queries: mpsc::UnboundedReceiver<ObjectKey>,
}

impl Triggers {
    /// Both ends.
    #[must_use]
    pub fn new() -> (Self, Triggered) {
        let (anomalies, anomaly_requests) = mpsc::unbounded_channel();
        let (models, model_requests) = mpsc::unbounded_channel();
        let (queries, query_requests) = mpsc::unbounded_channel();
        let triggered = Triggered { anomalies: anomaly_requests, models: model_requests, queries: query_requests };
        (Self { anomalies, models, queries }, triggered)
    }

    /// Asks for a visit of everything whose judgement has changed. Nobody listens only while the operator stops.
    pub fn rejudged(&self, rejudged: Rejudged) {
        for model in rejudged.models {
            let _ = self.models.send(model);
        }
        for query in rejudged.queries {
            let _ = self.queries.send(query);
        }
    }
}

/// What all visits share.
pub struct Operator {
    /// The API server.
    pub client: Client,
    /// What the operator was told.
    pub settings: Settings,
    /// What is watched.
    pub objects: Objects,
    /// Asks for visits.
    pub triggers: Triggers,
    /// Writes children.
    pub applier: Applier,
    /// What VMAnomalies made of models and queries.
    pub verdicts: Verdicts,
    /// What workers said.
    pub reports: Reports,
    /// Asks workers.
    pub poller: Poller,
    /// Own metrics.
    pub metrics: Metrics,
    /// Own writes of statuses.
    pub written: WrittenStatuses,
    /// Secrets that are known to be there.
    pub known_tokens: KnownTokens,
    recorder: Recorder,
    /// What was told once and needs no repetition.
    told: Mutex<HashSet<String>>,
    scrape_kinds: Mutex<Option<(Instant, Vec<ScrapeKind>)>>,
}

/// Own writes of statuses.
#[derive(Debug, Default)]
pub struct WrittenStatuses {
    /// VMAnomalies.
    pub anomalies: Recent<VMAnomaly>,
    /// Models.
    pub models: Recent<AnomalyModel>,
    /// Queries.
    pub queries: Recent<AnomalyQuery>,
}

/// Why the operator cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The client for the workers cannot be built.
    #[error("the client for the workers: {0}")]
    Poller(#[from] reqwest::Error),
}

impl Operator {
    /// Over watched objects.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn new(
        client: Client,
        settings: Settings,
        objects: Objects,
        triggers: Triggers,
        metrics: Metrics,
    ) -> Result<Self, StartError> {
        let reporter = Reporter { controller: MANAGER.to_owned(), instance: std::env::var("HOSTNAME").ok() };
        Ok(Self {
            applier: Applier::new(client.clone(), metrics.clone()),
            verdicts: Verdicts::default(),
            reports: Reports::default(),
            poller: Poller::new(metrics.clone())?,
            recorder: Recorder::new(client.clone(), reporter),
            written: WrittenStatuses::default(),
            known_tokens: KnownTokens::default(),
            told: Mutex::default(),
            scrape_kinds: Mutex::new(None),
            client,
            settings,
            objects,
            triggers,
            metrics,
        })
    }

    /// What is known of a child.
    #[must_use]
    pub fn child(&self, kind: ChildKind, key: &ObjectKey) -> Option<Arc<DynamicObject>> {
        let watched = self.objects.children.get(&kind).and_then(|index| index.get(key));
        self.applier.recent(kind).newest(key, watched)
    }

    /// The kinds of scrape objects that the cluster has.
    pub async fn scrape_kinds(&self) -> Vec<ScrapeKind> {
        let known = self.scrape_kinds.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, kinds)) = &known
            && at.elapsed() < self.settings.discovery
        {
            return kinds.clone();
        }
        let mut kinds = Vec::new();
        for kind in ScrapeKind::ALL {
            let resource = kind.resource();
            match self.client.list_api_group_resources(&resource.api_version).await {
                Ok(list) if list.resources.iter().any(|found| found.name == resource.plural) => kinds.push(kind),
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => {
                    tracing::warn!(group = resource.api_version, %error, "the cluster does not say what it has");
                    // What was true before is the best guess.
                    return known.map(|(_, kinds)| kinds).unwrap_or_default();
                }
            }
        }
        let now = Some((Instant::now(), kinds.clone()));
        *self.scrape_kinds.lock().unwrap_or_else(PoisonError::into_inner) = now;
        kinds
    }

    /// Whether `news` is told for the first time.
    #[must_use]
    pub fn is_news(&self, news: String) -> bool {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(news)
    }

    /// Publishes an event on an object. Events are for people: one that cannot be published is logged, nothing more.
    pub async fn event(&self, object: &impl Resource<DynamicType = ()>, warning: bool, reason: &str, note: &str) {
        let event = Event {
            type_: if warning { EventType::Warning } else { EventType::Normal },
            reason: reason.to_owned(),
            note: Some(note.chars().take(1000).collect()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        self.metrics.write("Event", "create");
        if let Err(error) = self.recorder.publish(&event, &object.object_ref(&())).await {
            tracing::warn!(reason, %error, "an event could not be published");
        }
    }
}
