//! The definitions themselves: applying them, what the server makes of them, and other definitions beside them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams};
use kube::runtime::wait::{await_condition, conditions::is_crd_established};
use tests::kubernetes::control_plane::ControlPlane;
use tests::process::START;

use crate::{DEFINITIONS, KINDS};

/// A stand-in for the VictoriaMetrics operator's definition of the same kind.
const NAMESAKE: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: vmanomalies.operator.victoriametrics.com}
spec:
  group: operator.victoriametrics.com
  scope: Namespaced
  names: {kind: VMAnomaly, plural: vmanomalies, singular: vmanomaly}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

/// (name, version, generation) of each definition.
async fn versions(definitions: &Api<CustomResourceDefinition>) -> Vec<(String, String, i64)> {
    let listed = definitions.list(&ListParams::default()).await.unwrap();
    let version = |definition: CustomResourceDefinition| {
        let metadata = definition.metadata;
        (metadata.name.unwrap(), metadata.resource_version.unwrap(), metadata.generation.unwrap())
    };
    listed.into_iter().map(version).collect()
}

async fn established(definitions: &Api<CustomResourceDefinition>) {
    for (_, plural) in KINDS {
        let name = format!("{plural}.vmanomaly.dev");
        let established = await_condition(definitions.clone(), &name, is_crd_established());
        tokio::time::timeout(START, established).await.unwrap().unwrap();
    }
}

/// Applies the definitions with `flags` to a server that has none, twice.
async fn apply_twice(flags: &[&str]) {
    let plane = ControlPlane::start().await.unwrap();
    let definitions = Api::<CustomResourceDefinition>::all(plane.client().await.unwrap());
    let apply = [&["apply", "-f", DEFINITIONS], flags].concat();
    let first = plane.kubectl(&apply).await.unwrap();
    assert_eq!((first.succeeded(), first.errors.as_str()), (true, ""));
    assert_eq!(first.output.lines().count(), KINDS.len(), "{}", first.output);
    established(&definitions).await;
    let before = versions(&definitions).await;

    let second = plane.kubectl(&apply).await.unwrap();
    assert_eq!((second.succeeded(), second.errors.as_str()), (true, ""));
    assert_eq!(versions(&definitions).await, before, "{}", second.output);
    let same = plane.kubectl(&[&["diff", "-f", DEFINITIONS], flags].concat()).await.unwrap();
    assert_eq!((same.status, same.output.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn the_definitions_apply_without_a_warning_and_a_second_time_changes_nothing() {
    apply_twice(&[]).await;
}

#[tokio::test]
async fn the_definitions_apply_on_the_servers_side_without_a_warning_and_a_second_time_changes_nothing() {
    apply_twice(&["--server-side"]).await;
}

#[tokio::test]
async fn the_server_finds_nothing_to_object_to_and_stores_one_version() {
    let plane = crate::plane().await;
    let definitions = Api::<CustomResourceDefinition>::all(plane.client().await.unwrap());
    for (_, plural) in KINDS {
        let definition = definitions.get(&format!("{plural}.vmanomaly.dev")).await.unwrap();
        let status = definition.status.unwrap();
        let conditions = status.conditions.unwrap_or_default();
        let mut conditions: Vec<_> =
            conditions.iter().map(|condition| (condition.type_.as_str(), condition.status.as_str())).collect();
        conditions.sort_unstable();
        assert_eq!(conditions, [("Established", "True"), ("NamesAccepted", "True")], "{plural}");
        assert_eq!(status.stored_versions.unwrap_or_default(), ["v1alpha1"]);
    }
}

#[tokio::test]
async fn the_definition_of_the_same_name_by_another_operator_stays_beside_ours() {
    let plane = ControlPlane::start().await.unwrap();
    let definitions = Api::<CustomResourceDefinition>::all(plane.client().await.unwrap());
    plane.install_crds(NAMESAKE).await.unwrap();
    let theirs = versions(&definitions).await;
    assert!(plane.kubectl(&["apply", "-f", DEFINITIONS]).await.unwrap().succeeded());
    established(&definitions).await;
    let both = versions(&definitions).await;
    assert!(both.len() == 4 && both.contains(&theirs[0]), "{both:?}");

    let theirs = "{apiVersion: operator.victoriametrics.com/v1, kind: VMAnomaly, metadata: {name: theirs}}";
    let ours =
        "{apiVersion: vmanomaly.dev/v1alpha1, kind: VMAnomaly, metadata: {name: ours}, spec: {configRawYaml: a}}";
    for object in [theirs, ours] {
        let applied = plane.kubectl_with_input(&["apply", "-f", "-", "-n", "default"], object).await.unwrap();
        assert!(applied.succeeded(), "{applied:?}");
    }
    for (resource, name) in [
        ("vmanomalies.vmanomaly.dev", "ours"),
        ("vmad", "ours"),
        ("vmanomalies.operator.victoriametrics.com", "theirs"),
    ] {
        let listed = plane.kubectl(&["get", resource, "-n", "default", "-o", "name"]).await.unwrap();
        let names: Vec<_> = listed.output.lines().filter_map(|line| line.split('/').nth(1)).collect();
        assert_eq!(names, [name], "{listed:?}");
    }
}
