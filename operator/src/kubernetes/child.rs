//! A child as it should be, and the kinds of children.

use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Resource as _, ResourceExt};
use serde::Serialize;
use serde_json::Value;

use crate::build::scrape::ScrapeKind;
use crate::names::{APPLIED, MANAGER, labels};
use crate::selection::ObjectKey;

/// Kinds of children.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChildKind {
    #[allow(missing_docs)]
    ServiceAccount,
    #[allow(missing_docs)]
    Service,
    #[allow(missing_docs)]
    ConfigMap,
    #[allow(missing_docs)]
    PodDisruptionBudget,
    #[allow(missing_docs)]
    NetworkPolicy,
    #[allow(missing_docs)]
    StatefulSet,
    #[allow(missing_docs)]
    Scrape(ScrapeKind),
}

impl ChildKind {
    /// Those that every cluster has. They are watched.
    pub const WATCHED: [Self; 6] = [
        Self::ServiceAccount,
        Self::Service,
        Self::ConfigMap,
        Self::PodDisruptionBudget,
        Self::NetworkPolicy,
        Self::StatefulSet,
    ];

    /// Where the API has it.
    #[must_use]
    pub fn resource(self) -> ApiResource {
        let (group, plural) = match self {
            Self::ServiceAccount => ("", "serviceaccounts"),
            Self::Service => ("", "services"),
            Self::ConfigMap => ("", "configmaps"),
            Self::PodDisruptionBudget => ("policy", "poddisruptionbudgets"),
            Self::NetworkPolicy => ("networking.k8s.io", "networkpolicies"),
            Self::StatefulSet => ("apps", "statefulsets"),
            Self::Scrape(kind) => return kind.resource(),
        };
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1", self.name()), plural)
    }

    /// As people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::Service => "Service",
            Self::ConfigMap => "ConfigMap",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::StatefulSet => "StatefulSet",
            Self::Scrape(kind) => kind.name(),
        }
    }
}

/// A child as it should be.
#[derive(Debug, Clone, PartialEq)]
pub struct Child {
    /// Its kind.
    pub kind: ChildKind,
    /// Its namespace and name.
    pub key: ObjectKey,
    /// Everything that the operator wants of it, and nothing else. It has the annotation [`APPLIED`].
    pub object: Value,
    /// The hash in that annotation.
    pub hash: String,
}

impl Child {
    /// From a built object.
    ///
    /// # Errors
    /// When the object cannot be written as JSON, which its types rule out.
    pub fn new(kind: ChildKind, built: &(impl Serialize + ResourceExt)) -> Result<Self, serde_json::Error> {
        let mut object = serde_json::to_value(built)?;
        prune(&mut object);
        let hash = format!("{:016x}", xxhash_rust::xxh3::xxh3_64(object.to_string().as_bytes()));
        object["metadata"]["annotations"][APPLIED] = hash.clone().into();
        Ok(Self { kind, key: ObjectKey::of(built), object, hash })
    }
}

/// Removes what says nothing, such as an empty `status`: server-side apply would own it.
fn prune(value: &mut Value) {
    if let Value::Object(map) = value {
        map.retain(|_, value| !value.is_null());
        map.remove("status");
    }
}

/// Whether `object` is controlled by the VMAnomaly with this uid.
#[must_use]
pub fn is_controlled_by(object: &impl ResourceExt, uid: &str) -> bool {
    object.owner_references().iter().any(|owner| owner.controller == Some(true) && owner.uid == uid)
}

/// Whether `object` is a child of the VMAnomaly `name` with this uid whose owner reference somebody removed.
#[must_use]
pub fn is_abandoned_child(object: &impl ResourceExt, name: &str) -> bool {
    let own = labels(name);
    object.owner_references().iter().all(|owner| owner.controller != Some(true))
        && own.iter().all(|(label, value)| object.labels().get(label) == Some(value))
}

/// The name of the VMAnomaly that controls `object`, by its owner reference or else by its labels.
#[must_use]
pub fn owner(object: &impl ResourceExt) -> Option<ObjectKey> {
    let namespace = object.namespace()?;
    let kind = crds::VMAnomaly::kind(&());
    let referenced =
        object.owner_references().iter().find(|owner| owner.controller == Some(true) && owner.kind == kind);
    let labelled = || {
        let managed = object.labels().get("app.kubernetes.io/managed-by").is_some_and(|manager| manager == MANAGER);
        managed.then(|| object.labels().get("app.kubernetes.io/instance").cloned()).flatten()
    };
    let name = referenced.map(|owner| owner.name.clone()).or_else(labelled)?;
    Some(ObjectKey { namespace, name })
}

/// A live object as JSON, complete: objects of a list do not say what they are.
#[must_use]
pub fn as_value(kind: ChildKind, object: &DynamicObject) -> Value {
    // Made of JSON, so it becomes JSON.
    let mut value = serde_json::to_value(object).unwrap_or_default();
    let resource = kind.resource();
    value["apiVersion"] = resource.api_version.into();
    value["kind"] = resource.kind.into();
    value
}
