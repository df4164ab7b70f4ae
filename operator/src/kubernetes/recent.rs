//! Own writes that the watch has not brought back yet.
//!
//! Right after a write the watched view is older than what this operator knows. Without this memory the next visit
//! would write the same again, and be refused for its old resourceVersion.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::Resource;

use crate::selection::ObjectKey;

/// How long an object is believed to be there that no watch has ever shown.
const UNSEEN: Duration = Duration::from_secs(5);

/// Answers to own writes.
#[derive(Debug)]
pub struct Recent<K>(Mutex<HashMap<ObjectKey, (Instant, Arc<K>)>>);

impl<K> Default for Recent<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Resource> Recent<K> {
    /// Takes the answer to a write.
    pub fn wrote(&self, key: ObjectKey, object: K) {
        let mut objects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        objects.insert(key, (Instant::now(), Arc::new(object)));
    }

    /// Forgets an object: it is gone.
    pub fn forget(&self, key: &ObjectKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// The newer one of what the watch shows and what was written. Resource versions of one kind are numbers that grow.
    #[must_use]
    pub fn newest(&self, key: &ObjectKey, watched: Option<Arc<K>>) -> Option<Arc<K>> {
        let mut objects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((at, written)) = objects.get(key) else { return watched };
        let is_newer = match &watched {
            None => at.elapsed() < UNSEEN,
            Some(watched) => watched.meta().uid == written.meta().uid && version(&**watched) < version(&**written),
        };
        if is_newer {
            return Some(Arc::clone(written));
        }
        objects.remove(key);
        watched
    }
}

fn version(object: &impl Resource) -> Option<u64> {
    object.meta().resource_version.as_deref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::ObjectMeta;

    use super::*;

    #[test]
    fn what_was_written_counts_until_the_watch_has_it() {
        let map = |version: &str| {
            let metadata = ObjectMeta {
                resource_version: Some(version.to_owned()),
                uid: Some("u".to_owned()),
                ..ObjectMeta::default()
            };
            ConfigMap { metadata, ..ConfigMap::default() }
        };
        let key = ObjectKey { namespace: "n".to_owned(), name: "m".to_owned() };
        let recent = Recent::default();
        let seen = |version: &str| {
            let newest = recent.newest(&key, Some(Arc::new(map(version)))).unwrap();
            newest.metadata.resource_version.clone()
        };
        recent.wrote(key.clone(), map("10"));
        assert!(recent.newest(&key, None).is_some());
        assert_eq!(seen("9"), Some("10".to_owned()));
        assert_eq!(seen("11"), Some("11".to_owned()));
        assert_eq!(seen("9"), Some("9".to_owned()));
    }
}
