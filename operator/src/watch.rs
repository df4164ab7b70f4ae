//! Which visits a change of a watched object asks for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crds::{AnomalyModel, AnomalyQuery, VMAnomaly};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use kube::core::{DynamicObject, ObjectMeta, Resource};
use kube::runtime::watcher;

use crate::kubernetes::child::owner;
use crate::kubernetes::index::{Change, reflect};
use crate::kubernetes::scope::{api, dynamic_api};
use crate::names::CHILDREN;
use crate::operator::{Guarded, Operator, Writers};
use crate::reconcile::binding::Selected;
use crate::selection::{ObjectKey, selects};

/// Selects the pods of all workers.
const WORKERS: &str = "app.kubernetes.io/name=vmanomaly,app.kubernetes.io/component=worker,\
                       app.kubernetes.io/managed-by=vmanomaly-operator";

/// All watches of an operator. They never end.
#[must_use]
pub fn watches(operator: &Arc<Operator>, writers: Writers) -> Vec<BoxFuture<'static, ()>> {
    let client = &operator.client;
    let parts: Vec<Option<String>> =
        operator.objects.anomalies.stores().map(|(part, _)| part.map(ToOwned::to_owned)).collect();
    let mut watches: Vec<BoxFuture<'static, ()>> = Vec::new();
    let Writers { anomalies, models, queries, children, pods } = writers;
    for (part, writer) in parts.iter().zip(anomalies) {
        let operator = Arc::clone(operator);
        let changed = move |change: Change<'_, Guarded<VMAnomaly>>| anomaly_changed(&operator, &change);
        watches
            .push(reflect(api(client, part.as_deref()), watcher::Config::default(), writer, (), slim, changed).boxed());
    }
    for (part, writer) in parts.iter().zip(models) {
        let changed = selected_changed::<AnomalyModel>(Arc::clone(operator));
        watches
            .push(reflect(api(client, part.as_deref()), watcher::Config::default(), writer, (), slim, changed).boxed());
    }
    for (part, writer) in parts.iter().zip(queries) {
        let changed = selected_changed::<AnomalyQuery>(Arc::clone(operator));
        watches
            .push(reflect(api(client, part.as_deref()), watcher::Config::default(), writer, (), slim, changed).boxed());
    }
    for (part, writer) in parts.iter().zip(pods) {
        let operator = Arc::clone(operator);
        let changed = move |change: Change<'_, Pod>| pod_changed(&operator, &change);
        let config = watcher::Config::default().labels(WORKERS);
        watches.push(reflect(api(client, part.as_deref()), config, writer, (), slim_pod, changed).boxed());
    }
    for (kind, writers) in children {
        for (part, writer) in parts.iter().zip(writers) {
            let operator = Arc::clone(operator);
            let changed = move |change: Change<'_, DynamicObject>| {
                if let Change::Gone(child) = &change {
                    operator.applier.recent(kind).forget(&ObjectKey::of(*child));
                }
                if let Some(anomaly) = owner(change.object()) {
                    let _ = operator.triggers.anomalies.send(anomaly);
                }
            };
            let config = watcher::Config::default().labels(CHILDREN);
            let resource = kind.resource();
            let api = dynamic_api(client, part.as_deref(), &resource);
            watches.push(reflect(api, config, writer, resource, slim, changed).boxed());
        }
    }
    watches
}

/// Who owns which field is of no interest, and half of an object's size.
fn slim(object: &mut impl Resource) {
    object.meta_mut().managed_fields = None;
}

/// Of a pod, what it looks like matters; what it is made of is the StatefulSet's.
fn slim_pod(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    pod.spec = None;
}

fn anomaly_changed(operator: &Operator, change: &Change<'_, Guarded<VMAnomaly>>) {
    let key = ObjectKey::of(change.object());
    match change {
        Change::Set(_) => {
            let _ = operator.triggers.anomalies.send(key);
        }
        Change::Gone(_) => {
            operator.written.anomalies.forget(&key);
            if let Some(uid) = change.object().meta().uid.as_deref() {
                operator.known_tokens.forget(uid);
            }
            operator.triggers.rejudged(operator.verdicts.take(&key, None));
        }
    }
}

fn pod_changed(operator: &Operator, change: &Change<'_, Pod>) {
    if let Some(anomaly) = owner_of_pod(change.object()) {
        let _ = operator.triggers.anomalies.send(anomaly);
    }
}

/// The VMAnomaly whose worker a pod is.
#[must_use]
pub fn owner_of_pod(pod: &Pod) -> Option<ObjectKey> {
    let name = pod.metadata.labels.as_ref()?.get("app.kubernetes.io/instance")?.clone();
    Some(ObjectKey { namespace: pod.metadata.namespace.clone()?, name })
}

/// What a VMAnomaly can see of an object: its status is none of that.
#[derive(Debug, PartialEq, Eq)]
struct Face {
    uid: Option<String>,
    generation: Option<i64>,
    labels: Option<std::collections::BTreeMap<String, String>>,
    deleting: bool,
}

impl Face {
    fn of(metadata: &ObjectMeta) -> Self {
        Self {
            uid: metadata.uid.clone(),
            generation: metadata.generation,
            labels: metadata.labels.clone(),
            deleting: metadata.deletion_timestamp.is_some(),
        }
    }
}

fn selected_changed<K: Selected>(operator: Arc<Operator>) -> impl FnMut(Change<'_, Guarded<K>>) + Send {
    let faces: Mutex<HashMap<ObjectKey, Face>> = Mutex::default();
    move |change| {
        let key = ObjectKey::of(change.object());
        {
            let mut faces = faces.lock().unwrap_or_else(PoisonError::into_inner);
            let face = Face::of(change.object().meta());
            let known = match &change {
                Change::Set(_) => faces.insert(key.clone(), face).is_some_and(|known| Some(&known) == faces.get(&key)),
                Change::Gone(_) => {
                    faces.remove(&key);
                    K::written(&operator).forget(&key);
                    false
                }
            };
            K::trigger(&operator, key.clone());
            if known {
                return;
            }
        }
        let object = change.object().0.as_ref().ok();
        for guard in operator.objects.anomalies.all() {
            let Ok(anomaly) = &guard.0 else { continue };
            let anomaly_key = ObjectKey::of(anomaly);
            let was = operator.verdicts.of(&anomaly_key);
            let selected = object.is_some_and(|object| selects(anomaly, K::selector(anomaly), object));
            let was_selected = was.is_some_and(|verdict| K::judgement(&verdict, &key).is_some());
            if selected || was_selected {
                let _ = operator.triggers.anomalies.send(anomaly_key);
            }
        }
    }
}
