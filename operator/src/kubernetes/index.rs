//! Watched objects by name, one reflector for each part of the scope.

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::Arc;

use futures_util::StreamExt;
use kube::Api;
use kube::core::Resource;
use kube::runtime::reflector::{ObjectRef, Store, store::Writer};
use kube::runtime::{WatchStreamExt, watcher};
use serde::de::DeserializeOwned;

use crate::selection::ObjectKey;

/// All watched objects of a kind.
#[derive(Debug, Clone)]
pub struct Index<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: std::hash::Hash + Eq + Clone,
{
    parts: Vec<(Option<String>, Store<K>)>,
    kind: K::DynamicType,
}

/// What happened to a watched object.
#[derive(Debug)]
pub enum Change<'a, K> {
    /// It is there: new, changed, or listed again.
    Set(&'a K),
    /// It is gone.
    Gone(&'a K),
}

impl<'a, K> Change<'a, K> {
    /// The object.
    #[must_use]
    pub fn object(&self) -> &'a K {
        match self {
            Self::Set(object) | Self::Gone(object) => object,
        }
    }
}

impl<K> Index<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: std::hash::Hash + Eq + Clone,
{
    /// An empty one with a writer for each part.
    #[must_use]
    pub fn new(parts: Vec<Option<String>>, kind: K::DynamicType) -> (Self, Vec<Writer<K>>) {
        let writers: Vec<Writer<K>> = parts.iter().map(|_| Writer::new(kind.clone())).collect();
        let parts = parts.into_iter().zip(writers.iter().map(Writer::as_reader)).collect();
        (Self { parts, kind }, writers)
    }

    /// The store of each part.
    pub fn stores(&self) -> impl Iterator<Item = (Option<&str>, &Store<K>)> {
        self.parts.iter().map(|(part, store)| (part.as_deref(), store))
    }

    /// One object.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        let reference = ObjectRef::new_with(&key.name, self.kind.clone()).within(&key.namespace);
        self.responsible(&key.namespace).find_map(|store| store.get(&reference))
    }

    /// All objects.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<K>> {
        self.parts.iter().flat_map(|(_, store)| store.state()).collect()
    }

    /// All objects of a namespace.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let within = |object: &K| object.meta().namespace.as_deref() == Some(namespace);
        self.responsible(namespace).flat_map(|store| store.state_filter(within)).collect()
    }

    /// Waits until everything was listed once.
    ///
    /// # Errors
    /// When a reflector has ended.
    pub async fn wait_until_ready(&self) -> Result<(), kube::runtime::reflector::store::WriterDropped> {
        for (_, store) in &self.parts {
            store.wait_until_ready().await?;
        }
        Ok(())
    }

    fn responsible<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Store<K>> {
        let takes = move |part: &Option<String>| part.as_deref().is_none_or(|part| part == namespace);
        self.parts.iter().filter(move |(part, _)| takes(part)).map(|(_, store)| store)
    }
}

/// Keeps a part of an index up to date for good, and tells of every change. An object that went while nobody watched
/// is told of, too.
pub async fn reflect<K>(
    api: Api<K>,
    config: watcher::Config,
    mut writer: Writer<K>,
    kind: K::DynamicType,
    slim: fn(&mut K),
    mut changed: impl FnMut(Change<'_, K>),
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: std::hash::Hash + Eq + Clone + Debug,
{
    let plural = K::plural(&kind).into_owned();
    let store = writer.as_reader();
    let mut events = watcher(api, config).modify(slim).default_backoff().boxed();
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!(kind = plural, %error, "the watch broke; it is taken up again");
                continue;
            }
        };
        let before = match event {
            watcher::Event::InitDone => store.state(),
            _ => Vec::new(),
        };
        writer.apply_watcher_event(&event);
        match &event {
            watcher::Event::Apply(object) => changed(Change::Set(object)),
            watcher::Event::Delete(object) => changed(Change::Gone(object)),
            watcher::Event::InitDone => {
                let now = store.state();
                let names: HashSet<_> = now.iter().map(|object| reference(&**object, &kind)).collect();
                before
                    .iter()
                    .filter(|object| !names.contains(&reference(&***object, &kind)))
                    .for_each(|object| changed(Change::Gone(object)));
                now.iter().for_each(|object| changed(Change::Set(object)));
            }
            watcher::Event::Init | watcher::Event::InitApply(_) => {}
        }
    }
}

fn reference<K>(object: &K, kind: &K::DynamicType) -> ObjectRef<K>
where
    K: Resource,
    K::DynamicType: Clone + std::hash::Hash + Eq,
{
    let meta = object.meta();
    let reference = ObjectRef::new_with(meta.name.as_deref().unwrap_or_default(), kind.clone());
    reference.within(meta.namespace.as_deref().unwrap_or_default())
}
