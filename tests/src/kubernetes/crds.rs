//! Brings custom resource definitions onto a control plane.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use kube::core::params::ValidationDirective;
use kube::runtime::wait::{await_condition, conditions::is_crd_established};
use serde_json::{Value, json};

use super::control_plane::ControlPlane;
use super::{KubernetesError, api};
use crate::process::{POLL, START};

impl ControlPlane {
    /// Applies every custom resource definition of a YAML text, of one document or several, and waits until objects of
    /// them can be made. Fields that the API server does not know are an error.
    ///
    /// # Errors
    /// When the text is something else, a definition is refused, or it is not established in time.
    pub async fn install_crds(&self, yaml: &str) -> Result<(), KubernetesError> {
        let client = self.client().await?;
        let definitions = Api::<CustomResourceDefinition>::all(client.clone());
        // As a value: what this client's types do not know is for the server to refuse.
        let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).map_err(|error| unusable(error.to_string()))?;
        let parameters =
            PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::apply("tests").force() };
        for document in &documents {
            let name = document["metadata"]["name"].as_str().unwrap_or_default();
            if document["kind"] != "CustomResourceDefinition" || name.is_empty() {
                return Err(unusable(format!("no CustomResourceDefinition with a name, but {}", document["kind"])));
            }
            let applied = definitions.patch(name, &parameters, &Patch::Apply(document)).await;
            applied.map_err(api(format!("the custom resource definition {name}")))?;
        }
        let ready = async {
            for document in &documents {
                let name = document["metadata"]["name"].as_str().unwrap_or_default();
                let established = await_condition(definitions.clone(), name, is_crd_established()).await;
                let definition = established.ok().flatten();
                for kind in definition.iter().flat_map(served) {
                    let objects = Api::<DynamicObject>::all_with(client.clone(), &kind);
                    // Established may be said a moment before the server has the new path.
                    while objects.list(&ListParams::default().limit(1)).await.is_err() {
                        tokio::time::sleep(POLL).await;
                    }
                }
            }
        };
        let late =
            |_| KubernetesError::Late { awaited: "the custom resource definitions' objects".to_owned(), within: START };
        tokio::time::timeout(START, ready).await.map_err(late)
    }
}

/// The definition of a kind of another operator, which takes everything.
#[must_use]
pub fn foreign_definition(group: &str, version: &str, kind: &str, plural: &str) -> String {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{plural}.{group}"),
            "annotations": {"api-approved.kubernetes.io": "https://example.com"},
        },
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
            "versions": [{"name": version, "served": true, "storage": true, "schema": schema}],
        },
    })
    .to_string()
}

/// The served versions of a definition.
fn served(definition: &CustomResourceDefinition) -> Vec<ApiResource> {
    let spec = &definition.spec;
    let kind = |version: &str| {
        let kind = GroupVersionKind::gvk(&spec.group, version, &spec.names.kind);
        ApiResource::from_gvk_with_plural(&kind, &spec.names.plural)
    };
    spec.versions.iter().filter(|version| version.served).map(|version| kind(&version.name)).collect()
}

fn unusable(message: String) -> KubernetesError {
    KubernetesError::Yaml { what: "custom resource definitions", message }
}
