//! Which models and queries a VMAnomaly takes, under which aliases, and what hangs on what. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use config::load::DEFAULT_MODEL;
use crds::selector::{LabelRequirement, ObjectSelector};
use crds::status::Reason;
use crds::{AnomalyModel, AnomalyQuery, VMAnomaly};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};

/// Namespace and name of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectKey {
    /// Of an object.
    pub fn of(object: &impl ResourceExt) -> Self {
        Self { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// Why an object is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// For machines.
    pub reason: Reason,
    /// For people.
    pub message: String,
}

/// A selected query.
#[derive(Debug, Clone)]
pub struct SelectedQuery {
    /// Its key in the configuration.
    pub alias: String,
    /// The object.
    pub object: Arc<AnomalyQuery>,
    /// Why it is not used.
    pub rejection: Option<Rejection>,
}

/// A selected model.
#[derive(Debug, Clone)]
pub struct SelectedModel {
    /// Its key in the configuration.
    pub alias: String,
    /// The object.
    pub object: Arc<AnomalyModel>,
    /// Aliases of its queries, sorted.
    pub queries: Vec<String>,
    /// Names of its schedulers, sorted.
    pub schedulers: Vec<String>,
    /// Why it is not used.
    pub rejection: Option<Rejection>,
    /// What it asks for and does not get, although it is used.
    pub missing: Option<Rejection>,
}

/// What a VMAnomaly takes, ordered by namespace and name.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Queries.
    pub queries: Vec<SelectedQuery>,
    /// Models.
    pub models: Vec<SelectedModel>,
}

/// The model of the queries that no model asks for: of class [`DEFAULT_MODEL`], under all schedulers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultModel {
    /// Its key in the configuration: the name of the class, and an underscore more for as long as a selected model has that.
    pub alias: String,
    /// Aliases of its queries, sorted; not empty.
    pub queries: Vec<String>,
}

impl Selection {
    /// The default model; `None` where every query is asked for. A model that is rejected asks, too: its queries are not scored
    /// by another one until it is corrected.
    #[must_use]
    pub fn default_model(&self) -> Option<DefaultModel> {
        let asked: BTreeSet<&String> = self.models.iter().flat_map(|model| &model.queries).collect();
        let used = self.queries.iter().filter(|query| query.rejection.is_none());
        let mut queries: Vec<String> =
            used.map(|query| &query.alias).filter(|alias| !asked.contains(alias)).cloned().collect();
        queries.sort();
        let mut alias = DEFAULT_MODEL.to_owned();
        while self.models.iter().any(|model| model.alias == alias) {
            alias.push('_');
        }
        (!queries.is_empty()).then_some(DefaultModel { alias, queries })
    }
}

/// Whether a VMAnomaly selects an object with these labels. A raw configuration selects nothing; an object that is
/// being deleted is not selected any more.
#[must_use]
pub fn selects(anomaly: &VMAnomaly, selector: Option<&ObjectSelector>, object: &impl ResourceExt) -> bool {
    if anomaly.spec.config_raw_yaml.is_some() || anomaly.spec.config_secret.is_some() {
        return false;
    }
    let own = anomaly.namespace().unwrap_or_default();
    let namespace = object.namespace().unwrap_or_default();
    object.meta().deletion_timestamp.is_none()
        && match selector {
            None => own == namespace,
            Some(selector) => selector.takes_namespace(&own, &namespace) && matches(selector.labels(), object.labels()),
        }
}

/// A requirement that Kubernetes would not accept selects nothing; the schema refuses it before.
fn matches(selector: LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    Selector::try_from(selector).is_ok_and(|selector| selector.matches(labels))
}

/// What `anomaly` takes of all models and queries.
#[must_use]
pub fn select(
    anomaly: &VMAnomaly,
    models: impl IntoIterator<Item = Arc<AnomalyModel>>,
    queries: impl IntoIterator<Item = Arc<AnomalyQuery>>,
    schedulers: &[String],
) -> Selection {
    let own = anomaly.namespace().unwrap_or_default();
    let query_selector = anomaly.spec.query_selector.as_ref();
    let mut queries: Vec<SelectedQuery> = queries
        .into_iter()
        .filter(|query| selects(anomaly, query_selector, &**query))
        .map(|object| {
            let alias = object.spec.alias.clone().unwrap_or_else(|| default_alias(&own, &*object));
            SelectedQuery { alias, object, rejection: None }
        })
        .collect();
    queries.sort_by_cached_key(|query| ObjectKey::of(&*query.object));
    let taken = taken_aliases(queries.iter().map(|query| (query.alias.as_str(), &*query.object)));
    for query in &mut queries {
        query.rejection = alias_taken(&taken, &query.alias, &ObjectKey::of(&*query.object));
    }

    let model_selector = anomaly.spec.model_selector.as_ref();
    let mut models: Vec<SelectedModel> = models
        .into_iter()
        .filter(|model| selects(anomaly, model_selector, &**model))
        .map(|object| {
            let alias = object.spec.alias.clone().unwrap_or_else(|| default_alias(&own, &*object));
            SelectedModel { alias, object, queries: Vec::new(), schedulers: Vec::new(), rejection: None, missing: None }
        })
        .collect();
    models.sort_by_cached_key(|model| ObjectKey::of(&*model.object));
    let taken = taken_aliases(models.iter().map(|model| (model.alias.as_str(), &*model.object)));
    for model in &mut models {
        resolve(model, &queries, schedulers);
        let rejection = alias_taken(&taken, &model.alias, &ObjectKey::of(&*model.object));
        model.rejection = rejection.or(model.rejection.take());
    }
    Selection { queries, models }
}

fn default_alias(own_namespace: &str, object: &impl ResourceExt) -> String {
    let key = ObjectKey::of(object);
    if key.namespace == own_namespace { key.name } else { key.to_string() }
}

/// For every alias the object that has it: the oldest one, then the first by name.
fn taken_aliases<'a, K: ResourceExt + 'a>(
    objects: impl Iterator<Item = (&'a str, &'a K)>,
) -> BTreeMap<String, ObjectKey> {
    let mut taken: BTreeMap<String, (Option<jiff::Timestamp>, ObjectKey)> = BTreeMap::new();
    for (alias, object) in objects {
        let candidate = (object.creation_timestamp().map(|time| time.0), ObjectKey::of(object));
        match taken.get(alias) {
            Some(holder) if *holder <= candidate => {}
            _ => {
                taken.insert(alias.to_owned(), candidate);
            }
        }
    }
    taken.into_iter().map(|(alias, (_, key))| (alias, key)).collect()
}

fn alias_taken(taken: &BTreeMap<String, ObjectKey>, alias: &str, key: &ObjectKey) -> Option<Rejection> {
    let holder = taken.get(alias)?;
    (holder != key).then(|| Rejection {
        reason: Reason::AliasTaken,
        message: format!("the alias `{alias}` belongs to {holder}, which is older; set another spec.alias"),
    })
}

/// Fills in the model's queries and schedulers. A reference that leads nowhere is reported and left out: a query that
/// goes must not stop a model that watches others, too.
fn resolve(model: &mut SelectedModel, queries: &[SelectedQuery], schedulers: &[String]) {
    let spec = &model.object.spec;
    let namespace = model.object.namespace().unwrap_or_default();
    let usable: Vec<&SelectedQuery> = queries.iter().filter(|query| query.rejection.is_none()).collect();
    let mut aliases = BTreeSet::new();
    let mut missing = Vec::new();
    match &spec.queries {
        None => aliases.extend(usable.iter().map(|query| query.alias.clone())),
        Some(references) => {
            for name in references.names.iter().flatten() {
                let key = ObjectKey { namespace: namespace.clone(), name: name.clone() };
                if !queries.iter().any(|query| ObjectKey::of(&*query.object) == key) {
                    missing.push(key.to_string());
                }
                let named = usable.iter().filter(|query| ObjectKey::of(&*query.object) == key);
                aliases.extend(named.map(|query| query.alias.clone()));
            }
            if let Some(selector) = &references.selector {
                let labels = label_selector(&selector.match_labels, &selector.match_expressions);
                let own = usable.iter().filter(|query| query.object.namespace().as_deref() == Some(&namespace));
                let labelled = own.filter(|query| matches(labels.clone(), query.object.labels()));
                aliases.extend(labelled.map(|query| query.alias.clone()));
            }
        }
    }
    if !missing.is_empty() {
        let message =
            format!("spec.queries.names: not there, or not selected by the VMAnomaly: {}", missing.join(", "));
        model.missing = Some(Rejection { reason: Reason::QueryNotFound, message });
    }
    let wanted: BTreeSet<&String> = spec.schedulers.iter().flatten().collect();
    let unknown: Vec<&str> =
        wanted.iter().filter(|name| !schedulers.contains(name)).map(|name| name.as_str()).collect();
    if !unknown.is_empty() {
        let message =
            format!("spec.schedulers: the VMAnomaly has no {}; it has {}", unknown.join(", "), schedulers.join(", "));
        model.missing = Some(Rejection { reason: Reason::SchedulerNotFound, message });
    }
    model.queries = aliases.into_iter().collect();
    let takes = |name: &&String| spec.schedulers.is_none() || wanted.contains(name);
    model.schedulers = schedulers.iter().filter(takes).cloned().collect();
    model.schedulers.sort();
    if model.queries.is_empty() {
        let message = "no query is left: none is asked for by the model and selected by the VMAnomaly".to_owned();
        let none = Rejection { reason: Reason::NoQueries, message };
        model.rejection = Some(model.missing.take().unwrap_or(none));
    } else if model.schedulers.is_empty() {
        model.rejection = model.missing.take();
    }
}

fn label_selector(labels: &BTreeMap<String, String>, expressions: &[LabelRequirement]) -> LabelSelector {
    ObjectSelector { match_labels: labels.clone(), match_expressions: expressions.to_vec(), namespaces: None }.labels()
}
