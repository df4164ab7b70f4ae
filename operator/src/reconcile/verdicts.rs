//! What each VMAnomaly made of the models and queries that it selects, as of its last visit. Models and queries report
//! it in their status.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use crds::status::Reason;

use crate::selection::ObjectKey;

/// What a VMAnomaly made of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Its key in the configuration.
    pub alias: String,
    /// The shard that reads the query as a whole, if one does.
    pub shard: Option<i32>,
    /// Whether it is used.
    pub accepted: bool,
    /// Why.
    pub reason: Reason,
    /// The same for people.
    pub message: String,
}

/// What a VMAnomaly made of all objects that it selects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// By model.
    pub models: BTreeMap<ObjectKey, Judgement>,
    /// By query.
    pub queries: BTreeMap<ObjectKey, Judgement>,
}

/// Objects whose judgement has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejudged {
    /// Models.
    pub models: Vec<ObjectKey>,
    /// Queries.
    pub queries: Vec<ObjectKey>,
}

/// The verdicts of all VMAnomalies.
#[derive(Debug, Default)]
pub struct Verdicts(RwLock<HashMap<ObjectKey, Arc<Verdict>>>);

impl Verdicts {
    /// The verdict of a VMAnomaly; `None` before its first visit.
    #[must_use]
    pub fn of(&self, anomaly: &ObjectKey) -> Option<Arc<Verdict>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(anomaly).cloned()
    }

    /// Takes a verdict; `None` when the VMAnomaly is gone.
    pub fn take(&self, anomaly: &ObjectKey, verdict: Option<Verdict>) -> Rejudged {
        let mut verdicts = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let empty = Arc::new(Verdict::default());
        let first = !verdicts.contains_key(anomaly);
        let before = verdicts.remove(anomaly).unwrap_or_else(|| Arc::clone(&empty));
        let now = verdict.map(Arc::new);
        if let Some(now) = &now {
            verdicts.insert(anomaly.clone(), Arc::clone(now));
        }
        let now = now.unwrap_or(empty);
        Rejudged {
            models: changed(&before.models, &now.models, first),
            queries: changed(&before.queries, &now.queries, first),
        }
    }
}

fn changed(before: &BTreeMap<ObjectKey, Judgement>, now: &BTreeMap<ObjectKey, Judgement>, all: bool) -> Vec<ObjectKey> {
    let keys: BTreeSet<&ObjectKey> = before.keys().chain(now.keys()).collect();
    keys.into_iter().filter(|key| all || before.get(key) != now.get(key)).cloned().collect()
}
