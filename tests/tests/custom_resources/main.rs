//! The custom resource definitions at a real API server: what it takes, what it refuses and in which words, and what
//! kubectl shows of it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bounds;
#[path = "../../../crds/tests/fixture_file/mod.rs"]
mod fixture_file;
mod fixtures;
mod installation;
mod ownership;
mod printing;
mod strictness;
mod subresources;
mod words;

use kube::Client;
use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use tests::kubernetes::control_plane::ControlPlane;
use tokio::sync::OnceCell;

/// Where `crdgen` puts the definitions.
const DEFINITIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/yaml");

/// (kind, plural).
const KINDS: [(&str, &str); 3] =
    [("VMAnomaly", "vmanomalies"), ("AnomalyModel", "anomalymodels"), ("AnomalyQuery", "anomalyqueries")];

/// The control plane of this program's tests, with the definitions.
async fn plane() -> &'static ControlPlane {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let plane = ControlPlane::shared().await.unwrap();
    let install = async || {
        let documents: Vec<_> = KINDS.iter().map(|(_, plural)| definition(plural)).collect();
        plane.install_crds(&documents.join("\n---\n")).await.unwrap();
    };
    INSTALLED.get_or_init(install).await;
    plane
}

/// The YAML of a definition.
fn definition(plural: &str) -> String {
    std::fs::read_to_string(format!("{DEFINITIONS}/{plural}.yaml")).unwrap()
}

/// The schema of a kind's objects.
fn schema(kind: &str) -> Value {
    let (_, plural) = KINDS.iter().find(|(one, _)| *one == kind).unwrap();
    let definition: Value = serde_saphyr::from_str(&definition(plural)).unwrap();
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Objects of a kind, as the server has them.
fn objects(client: &Client, namespace: &str, kind: &str) -> Api<DynamicObject> {
    let (_, plural) = KINDS.iter().find(|(one, _)| *one == kind).unwrap();
    let kind = GroupVersionKind::gvk("vmanomaly.dev", "v1alpha1", kind);
    let resource = ApiResource::from_gvk_with_plural(&kind, plural);
    Api::namespaced_with(client.clone(), namespace, &resource)
}

/// An object of a kind.
fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "vmanomaly.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// The spec of a VMAnomaly that says what it has to, and `more`.
fn deployment(more: Value) -> Value {
    let mut spec = json!({"reader": {"datasourceURL": "http://tsdb"}, "writer": {"datasourceURL": "http://tsdb"}});
    let (Some(spec_fields), Value::Object(more)) = (spec.as_object_mut(), more) else { panic!("no objects") };
    spec_fields.extend(more);
    spec
}
