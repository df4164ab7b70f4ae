//! Where the operator looks: the whole cluster or named namespaces.

use kube::core::{ApiResource, DynamicObject, NamespaceResourceScope};
use kube::{Api, Client, Resource};

/// What is watched. With named namespaces nothing is asked of the cluster as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every namespace.
    Cluster,
    /// These.
    Namespaces(Vec<String>),
}

impl Scope {
    /// From a list of names; an empty one means the whole cluster.
    #[must_use]
    pub fn of(mut namespaces: Vec<String>) -> Self {
        namespaces.retain(|name| !name.is_empty());
        namespaces.sort();
        namespaces.dedup();
        if namespaces.is_empty() { Self::Cluster } else { Self::Namespaces(namespaces) }
    }

    /// The parts that are watched one by one: `None` is the whole cluster.
    #[must_use]
    pub fn parts(&self) -> Vec<Option<String>> {
        match self {
            Self::Cluster => vec![None],
            Self::Namespaces(names) => names.iter().cloned().map(Some).collect(),
        }
    }
}

/// The API of one part for a kind that is known at compile time.
#[must_use]
pub fn api<K>(client: &Client, part: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType: Default>,
{
    match part {
        None => Api::all(client.clone()),
        Some(namespace) => Api::namespaced(client.clone(), namespace),
    }
}

/// The API of one part for a kind that is known at run time.
#[must_use]
pub fn dynamic_api(client: &Client, part: Option<&str>, resource: &ApiResource) -> Api<DynamicObject> {
    match part {
        None => Api::all_with(client.clone(), resource),
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
    }
}
