//! Whether what a configuration is made from is the newest: an older view never replaces a newer one.

use std::collections::BTreeMap;

use crds::{AnomalyModel, AnomalyQuery, VMAnomaly};
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::build::config_maps::{Input, Inputs};
use crate::reconcile::error::ReconcileError;
use crate::selection::{ObjectKey, Selection, selects};

const MODELS: &str = "models";
const QUERIES: &str = "queries";

/// What a configuration is made from. Objects that are selected and not used are inputs, too.
#[must_use]
pub fn inputs(anomaly: &VMAnomaly, selection: &Selection) -> Inputs {
    let models = selection.models.iter().map(|model| input(MODELS, &*model.object));
    let queries = selection.queries.iter().map(|query| input(QUERIES, &*query.object));
    Inputs {
        operator_version: crate::VERSION.to_owned(),
        contract_version: config::contract::CONTRACT_VERSION,
        generation: anomaly.metadata.generation.unwrap_or_default(),
        objects: models.chain(queries).collect(),
    }
}

fn input(kind: &str, object: &impl ResourceExt) -> (String, Input) {
    let key = format!("{kind}/{}/{}", ObjectKey::of(object), object.uid().unwrap_or_default());
    (key, state(object))
}

fn state(object: &impl ResourceExt) -> Input {
    let labels: String = object.labels().iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    Input {
        generation: object.meta().generation.unwrap_or_default(),
        labels: format!("{:016x}", xxhash_rust::xxh3::xxh3_64(labels.as_bytes())),
    }
}

/// Whether a newer operator than this one made the configuration.
#[must_use]
pub fn is_by_newer_operator(recorded: &Inputs) -> bool {
    let version = |text: &str| -> Option<Vec<u64>> {
        let release = text.split(['-', '+']).next()?;
        release.split('.').map(|number| number.parse().ok()).collect()
    };
    recorded.contract_version > config::contract::CONTRACT_VERSION
        || match (version(&recorded.operator_version), version(crate::VERSION)) {
            (Some(recorded), Some(own)) => recorded > own,
            _ => false,
        }
}

/// Reads every input live whose state is not what the live configuration was made from.
///
/// # Errors
/// [`ReconcileError::Outdated`] when one of them is not what this operator has seen: its view is old.
pub async fn verify_inputs(
    client: &Client,
    anomaly: &VMAnomaly,
    recorded: &Inputs,
    own: &Inputs,
) -> Result<(), ReconcileError> {
    if recorded.generation > own.generation {
        let message = format!("the configuration was made from generation {}", recorded.generation);
        return Err(ReconcileError::Outdated(message));
    }
    for (key, seen) in differing(recorded, own) {
        let mut parts = key.splitn(4, '/');
        let (Some(kind), Some(namespace), Some(name), Some(uid)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let place = Place { client, namespace, name, uid };
        let fresh = match kind {
            MODELS => {
                let selector = anomaly.spec.model_selector.as_ref();
                place.is_as_seen::<AnomalyModel>(seen, |model| selects(anomaly, selector, model)).await?
            }
            QUERIES => {
                let selector = anomaly.spec.query_selector.as_ref();
                place.is_as_seen::<AnomalyQuery>(seen, |query| selects(anomaly, selector, query)).await?
            }
            _ => true,
        };
        if !fresh {
            return Err(ReconcileError::Outdated(format!("{key} is another one by now")));
        }
    }
    Ok(())
}

/// Inputs that are not the same in both, with what this operator has seen of them.
fn differing<'a>(recorded: &'a Inputs, own: &'a Inputs) -> BTreeMap<&'a str, Option<&'a Input>> {
    let gone = recorded.objects.keys().filter(|key| !own.objects.contains_key(*key)).map(|key| (key.as_str(), None));
    let changed = own.objects.iter().filter(|(key, input)| recorded.objects.get(*key) != Some(input));
    gone.chain(changed.map(|(key, input)| (key.as_str(), Some(input)))).collect()
}

struct Place<'a> {
    client: &'a Client,
    namespace: &'a str,
    name: &'a str,
    uid: &'a str,
}

impl Place<'_> {
    /// Whether the live object is what was seen; one that was not seen must be gone, or not selected.
    async fn is_as_seen<K>(&self, seen: Option<&Input>, selected: impl Fn(&K) -> bool) -> Result<bool, ReconcileError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        let api: Api<DeserializeGuard<K>> = Api::namespaced(self.client.clone(), self.namespace);
        let action = format!("reading {} {}/{}", K::kind(&()), self.namespace, self.name);
        let live = api.get_opt(self.name).await.map_err(ReconcileError::api(action))?;
        let live = live.and_then(|guard| guard.0.ok()).filter(|live| live.meta().uid.as_deref() == Some(self.uid));
        Ok(match (seen, live) {
            (Some(seen), Some(live)) => state(&live) == *seen && selected(&live),
            (None, Some(live)) => !selected(&live),
            (seen, None) => seen.is_none(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_higher_release_or_contract_is_a_newer_operator() {
        let by =
            |version: &str| is_by_newer_operator(&Inputs { operator_version: version.into(), ..Inputs::default() });
        assert!(by("99.0.0") && by(&format!("{}.1", crate::VERSION)));
        let contract_version = config::contract::CONTRACT_VERSION + 1;
        assert!(is_by_newer_operator(&Inputs { contract_version, ..Inputs::default() }));
        assert!(!by(crate::VERSION) && !by("0.0.9") && !by("something"));
    }
}
