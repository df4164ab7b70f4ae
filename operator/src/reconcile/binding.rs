//! A visit of an AnomalyModel or AnomalyQuery: only its status is written.

use std::fmt::Debug;
use std::sync::Arc;

use crds::selector::ObjectSelector;
use crds::status::BindingStatus;
use crds::{AnomalyModel, AnomalyQuery, VMAnomaly};
use jiff::Timestamp;
use kube::Resource;
use kube::core::NamespaceResourceScope;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::kubernetes::recent::Recent;
use crate::operator::{Guarded, Operator};
use crate::reconcile::anomaly::Next;
use crate::reconcile::error::ReconcileError;
use crate::reconcile::undecodable;
use crate::reconcile::verdicts::{Judgement, Verdict};
use crate::selection::{ObjectKey, selects};
use crate::status::binding::{Bound, status};

/// A kind that VMAnomalies select.
pub trait Selected:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize + 'static
{
    /// The selector of a VMAnomaly for this kind.
    fn selector(anomaly: &VMAnomaly) -> Option<&ObjectSelector>;
    /// The status so far.
    fn binding_status(&self) -> Option<&BindingStatus>;
    /// What a VMAnomaly made of the object.
    fn judgement<'a>(verdict: &'a Verdict, key: &ObjectKey) -> Option<&'a Judgement>;
    /// Own writes.
    fn written(operator: &Operator) -> &Recent<Self>;
    /// Asks for a visit. Nobody listens only while the operator stops.
    fn trigger(operator: &Operator, key: ObjectKey);
}

impl Selected for AnomalyModel {
    fn selector(anomaly: &VMAnomaly) -> Option<&ObjectSelector> {
        anomaly.spec.model_selector.as_ref()
    }
    fn binding_status(&self) -> Option<&BindingStatus> {
        self.status.as_ref()
    }
    fn judgement<'a>(verdict: &'a Verdict, key: &ObjectKey) -> Option<&'a Judgement> {
        verdict.models.get(key)
    }
    fn written(operator: &Operator) -> &Recent<Self> {
        &operator.written.models
    }
    fn trigger(operator: &Operator, key: ObjectKey) {
        let _ = operator.triggers.models.send(key);
    }
}

impl Selected for AnomalyQuery {
    fn selector(anomaly: &VMAnomaly) -> Option<&ObjectSelector> {
        anomaly.spec.query_selector.as_ref()
    }
    fn binding_status(&self) -> Option<&BindingStatus> {
        self.status.as_ref()
    }
    fn judgement<'a>(verdict: &'a Verdict, key: &ObjectKey) -> Option<&'a Judgement> {
        verdict.queries.get(key)
    }
    fn written(operator: &Operator) -> &Recent<Self> {
        &operator.written.queries
    }
    fn trigger(operator: &Operator, key: ObjectKey) {
        let _ = operator.triggers.queries.send(key);
    }
}

/// Visits a model or query.
///
/// # Errors
/// See [`ReconcileError`]; the visit has to be repeated.
pub async fn visit<K: Selected>(operator: &Operator, guard: &Guarded<K>) -> Result<Next, ReconcileError> {
    let watched = match &guard.0 {
        Ok(object) => Arc::new(object.clone()),
        Err(invalid) => {
            undecodable::report::<K>(operator, invalid).await?;
            return Ok(Next::OnChange);
        }
    };
    let key = ObjectKey::of(&*watched);
    let Some(object) = K::written(operator).newest(&key, Some(watched)) else { return Ok(Next::OnChange) };
    if object.meta().deletion_timestamp.is_some() {
        return Ok(Next::OnChange);
    }
    let mut selecting: Vec<ObjectKey> = operator
        .objects
        .anomalies
        .all()
        .iter()
        .filter_map(|guard| guard.0.as_ref().ok())
        .filter(|anomaly| anomaly.metadata.deletion_timestamp.is_none())
        .filter(|anomaly| selects(anomaly, K::selector(anomaly), &*object))
        .map(ObjectKey::of)
        .collect();
    selecting.sort();
    let bound: Vec<(ObjectKey, Bound)> = selecting
        .into_iter()
        .map(|anomaly| {
            let verdict = operator.verdicts.of(&anomaly);
            let judgement = verdict.as_deref().and_then(|verdict| K::judgement(verdict, &key).cloned());
            (anomaly, judgement.map_or(Bound::Unvisited, Bound::Judged))
        })
        .collect();
    let status = status(object.binding_status(), object.meta().generation, &bound, Timestamp::now());
    if object.binding_status() != Some(&status) {
        let written = super::write_status(operator, &*object, &status).await?;
        K::written(operator).wrote(key, written);
    }
    Ok(Next::After(operator.settings.resync))
}
