//! Writing children: server-side apply as compare-and-swap.
//!
//! A server-side apply that names neither resourceVersion nor uid overwrites whatever is there, even what a newer
//! operator has just written. So every write says what it was computed from: a creation carries `resourceVersion: "1"`,
//! which no object has, so that it fails with 409 when the object is there; an update carries resourceVersion and uid,
//! the latter because the former alone would create an object again that was deleted meanwhile. 409 means: look again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::core::DynamicObject;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::kubernetes::child::{Child, ChildKind, as_value, is_abandoned_child, is_controlled_by};
use crate::kubernetes::coverage::{covers, spelling};
use crate::kubernetes::recent::Recent;
use crate::metrics::Metrics;
use crate::names::{APPLIED, MANAGER};
use crate::selection::ObjectKey;

/// A resourceVersion that no object has.
const ABSENT: &str = "1";

/// Why a child was not written.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Somebody changed it meanwhile, or this operator's view is old.
    #[error("{kind} {key} was changed meanwhile")]
    Outdated {
        /// Its kind.
        kind: &'static str,
        /// Its place.
        key: ObjectKey,
    },
    /// It belongs to somebody else.
    #[error("{kind} {key} is there and belongs to {owner}")]
    NameTaken {
        /// Its kind.
        kind: &'static str,
        /// Its place.
        key: ObjectKey,
        /// Its controller, or `nobody`.
        owner: String,
    },
    /// There is no randomness for a token.
    #[error("the operating system has no random bytes for the Secret of VMAnomaly {key}")]
    NoToken {
        /// The VMAnomaly.
        key: ObjectKey,
    },
    /// The server refused it.
    #[error("{kind} {key}: {source}")]
    Refused {
        /// Its kind.
        kind: &'static str,
        /// Its place.
        key: ObjectKey,
        /// The answer.
        source: Box<kube::Error>,
    },
}

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The child was as it should be.
    Nothing,
    /// It was created.
    Created,
    /// It was changed.
    Updated,
    /// It could not be changed and was deleted, without what it controls; it is created again when it is gone.
    Replaced,
}

/// The VMAnomaly on whose behalf children are written.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its uid.
    pub uid: &'a str,
}

/// Writes children.
pub struct Applier {
    client: Client,
    metrics: Metrics,
    /// How the server spelt what was applied, where it spells it differently.
    spellings: Mutex<HashMap<(ChildKind, ObjectKey), Spelling>>,
    recent: Mutex<HashMap<ChildKind, Arc<Recent<DynamicObject>>>>,
}

#[derive(Debug)]
struct Spelling {
    uid: String,
    hash: String,
    object: Value,
}

impl Applier {
    /// Writes as `client`.
    #[must_use]
    pub fn new(client: Client, metrics: Metrics) -> Self {
        Self { client, metrics, spellings: Mutex::default(), recent: Mutex::default() }
    }

    /// The API of a child.
    #[must_use]
    pub fn api(&self, kind: ChildKind, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &kind.resource())
    }

    /// Own writes of a kind.
    #[must_use]
    pub fn recent(&self, kind: ChildKind) -> Arc<Recent<DynamicObject>> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(recent.entry(kind).or_default())
    }

    /// Whether anything has to be written for `child`.
    #[must_use]
    pub fn wants_write(&self, child: &Child, live: Option<&DynamicObject>) -> bool {
        live.is_none_or(|live| self.differs(child, live))
    }

    /// Whether `live` is not as `child` says.
    fn differs(&self, child: &Child, live: &DynamicObject) -> bool {
        if live.annotations().get(APPLIED) != Some(&child.hash) {
            return true;
        }
        let value = as_value(child.kind, live);
        if covers(&value, &child.object) {
            return false;
        }
        let spellings = self.spellings.lock().unwrap_or_else(PoisonError::into_inner);
        !spellings.get(&(child.kind, child.key.clone())).is_some_and(|spelling| {
            Some(&spelling.uid) == live.metadata.uid.as_ref()
                && spelling.hash == child.hash
                && covers(&value, &spelling.object)
        })
    }

    /// Makes the child as it should be. `live` is what was seen of it.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub async fn apply(
        &self,
        owner: Owner<'_>,
        child: &Child,
        live: Option<&DynamicObject>,
    ) -> Result<Written, ApplyError> {
        let Some(live) = live else { return self.create(owner, child).await };
        self.check_ownership(owner, child.kind, live)?;
        if live.metadata.deletion_timestamp.is_some() {
            return Err(self.outdated(child));
        }
        if self.differs(child, live) { self.update(child, live).await } else { Ok(Written::Nothing) }
    }

    async fn create(&self, owner: Owner<'_>, child: &Child) -> Result<Written, ApplyError> {
        match self.patch(child, json!({ "resourceVersion": ABSENT })).await {
            Ok(created) => {
                self.remember(child, &created);
                return Ok(Written::Created);
            }
            Err(error) if !is_conflict(&error) => return Err(refused(child.kind, &child.key, error)),
            Err(_) => {}
        }
        // It is there, but not among the children that are watched: somebody else's, or its labels were removed.
        let api = self.api(child.kind, &child.key.namespace);
        match api.get_opt(&child.key.name).await.map_err(|error| refused(child.kind, &child.key, error))? {
            Some(live) if live.metadata.deletion_timestamp.is_none() => {
                self.check_ownership(owner, child.kind, &live)?;
                if self.differs(child, &live) { self.update(child, &live).await } else { Ok(Written::Nothing) }
            }
            _ => Err(self.outdated(child)),
        }
    }

    async fn update(&self, child: &Child, live: &DynamicObject) -> Result<Written, ApplyError> {
        let basis = json!({ "resourceVersion": live.metadata.resource_version, "uid": live.metadata.uid });
        match self.patch(child, basis).await {
            Ok(updated) => {
                self.remember(child, &updated);
                Ok(Written::Updated)
            }
            Err(error) if is_conflict(&error) => Err(self.outdated(child)),
            Err(error) if child.kind == ChildKind::StatefulSet && is_immutable(&error) => {
                tracing::info!(statefulset = %child.key, %error, "replaced, its pods stay");
                let policy = PropagationPolicy::Orphan;
                self.delete(child.kind, live, policy).await.map(|()| Written::Replaced)
            }
            Err(error) => Err(refused(child.kind, &child.key, error)),
        }
    }

    /// Deletes exactly the object that was seen.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub async fn delete(
        &self,
        kind: ChildKind,
        live: &DynamicObject,
        propagation: PropagationPolicy,
    ) -> Result<(), ApplyError> {
        let key = ObjectKey::of(live);
        let preconditions =
            Preconditions { uid: live.metadata.uid.clone(), resource_version: live.metadata.resource_version.clone() };
        let parameters = DeleteParams {
            preconditions: Some(preconditions),
            propagation_policy: Some(propagation),
            ..DeleteParams::default()
        };
        self.metrics.write(kind.name(), "delete");
        match self.api(kind, &key.namespace).delete(&key.name, &parameters).await {
            Ok(_) => {
                self.recent(kind).forget(&key);
                Ok(())
            }
            Err(error) if is_not_found(&error) => Ok(()),
            Err(error) if is_conflict(&error) => Err(ApplyError::Outdated { kind: kind.name(), key }),
            Err(error) => Err(refused(kind, &key, error)),
        }
    }

    fn check_ownership(&self, owner: Owner<'_>, kind: ChildKind, live: &DynamicObject) -> Result<(), ApplyError> {
        if is_controlled_by(live, owner.uid) || is_abandoned_child(live, owner.name) {
            return Ok(());
        }
        let controller = live.owner_references().iter().find(|owner| owner.controller == Some(true));
        let owner = controller.map_or("nobody".to_owned(), |owner| format!("{} {}", owner.kind, owner.name));
        Err(ApplyError::NameTaken { kind: kind.name(), key: ObjectKey::of(live), owner })
    }

    async fn patch(&self, child: &Child, basis: Value) -> Result<DynamicObject, kube::Error> {
        let mut object = child.object.clone();
        if let (Some(metadata), Value::Object(basis)) = (object["metadata"].as_object_mut(), basis) {
            metadata.extend(basis);
        }
        self.metrics.write(child.kind.name(), "apply");
        let api = self.api(child.kind, &child.key.namespace);
        api.patch(&child.key.name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object)).await
    }

    fn remember(&self, child: &Child, answer: &DynamicObject) {
        self.recent(child.kind).wrote(child.key.clone(), answer.clone());
        let key = (child.kind, child.key.clone());
        let value = as_value(child.kind, answer);
        let mut spellings = self.spellings.lock().unwrap_or_else(PoisonError::into_inner);
        if covers(&value, &child.object) {
            spellings.remove(&key);
        } else {
            let object = spelling(&value, &child.object);
            let uid = answer.uid().unwrap_or_default();
            spellings.insert(key, Spelling { uid, hash: child.hash.clone(), object });
        }
    }

    fn outdated(&self, child: &Child) -> ApplyError {
        ApplyError::Outdated { kind: child.kind.name(), key: child.key.clone() }
    }
}

fn refused(kind: ChildKind, key: &ObjectKey, source: kube::Error) -> ApplyError {
    ApplyError::Refused { kind: kind.name(), key: key.clone(), source: Box::new(source) }
}

/// Whether somebody else was faster.
#[must_use]
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Whether the object is not there.
#[must_use]
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether the change is one that Kubernetes refuses for a StatefulSet that is there.
fn is_immutable(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 422 && status.message.contains("updates to statefulset spec"))
}
