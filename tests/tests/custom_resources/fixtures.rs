//! The files under `crds/fixtures`: every object there is accepted or refused as its folder says. `crds/tests/fixtures.rs`
//! shows that every rule has its own.

use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::params::ValidationDirective;
use serde_json::{Value, json};

use crate::fixture_file::{Fixture, drop_nulls};
use crate::words::Refusal;
use crate::{deployment, object, objects, plane};

impl Fixture {
    fn object_name(&self) -> &str {
        self.objects[0]["metadata"]["name"].as_str().unwrap()
    }
}

fn typed(object: &Value) -> DynamicObject {
    serde_json::from_value(object.clone()).unwrap()
}

/// Takes away what says nothing: nulls and what is empty, but not a form that was chosen, such as `madOnline: {}`.
fn drop_empty(value: &mut Value) {
    let Some(map) = value.as_object_mut() else { return };
    map.values_mut().for_each(drop_empty);
    let chosen = ["madOnline", "zscoreOnline", "prophet", "volumeClaim", "emptyDir"];
    map.retain(|name, inner| chosen.contains(&name.as_str()) || ![json!(null), json!({}), json!([])].contains(inner));
}

fn apply() -> PatchParams {
    PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::apply("user") }
}

#[tokio::test]
async fn every_valid_object_is_stored_as_it_was_written_and_applying_it_again_changes_nothing() {
    let plane = plane().await;
    let (client, namespace) = (plane.client().await.unwrap(), plane.namespace().await.unwrap());
    for fixture in Fixture::all("accept") {
        let objects = objects(&client, &namespace, fixture.kind());
        for object in &fixture.objects {
            let put = async || {
                let put = objects.patch(fixture.object_name(), &apply(), &Patch::Apply(object)).await;
                put.unwrap_or_else(|error| panic!("{}: {error}", fixture.name))
            };
            let stored = put().await;
            let mut written = object["spec"].clone();
            if fixture.kind() == "VMAnomaly" && written["shards"].is_null() {
                written["shards"] = json!(1);
            }
            assert_eq!(stored.data["spec"], written, "{}", fixture.name);
            assert_eq!(put().await.metadata.resource_version, stored.metadata.resource_version, "{}", fixture.name);
        }
    }
}

#[tokio::test]
async fn every_invalid_object_is_refused_in_words_that_name_the_field() {
    let plane = plane().await;
    let (client, namespace) = (plane.client().await.unwrap(), plane.namespace().await.unwrap());
    let parameters = PostParams::default();
    let mut wrong = Vec::new();
    for fixture in Fixture::all("reject") {
        let objects = objects(&client, &namespace, fixture.kind());
        let [first, rest @ ..] = fixture.objects.as_slice() else { panic!("{} is empty", fixture.name) };
        let mut answer = objects.create(&parameters, &typed(first)).await;
        for next in rest {
            let mut next = typed(next);
            next.metadata.resource_version = answer.unwrap().metadata.resource_version;
            answer = objects.replace(fixture.object_name(), &parameters, &next).await;
        }
        let (field, words) = fixture.refusal.as_ref().unwrap();
        match answer.map_err(Refusal::of) {
            Err(refusal) if refusal.says(field, words) => (),
            answer => wrong.push(format!("{}: {answer:?}", fixture.name)),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn an_explicit_null_is_as_good_as_no_field() {
    let plane = plane().await;
    let (client, namespace) = (plane.client().await.unwrap(), plane.namespace().await.unwrap());
    let cases = [
        (
            object(
                "VMAnomaly",
                "nulls",
                &deployment(json!({
                    "shards": null, "replicas": null, "configRawYaml": null, "schedulers": null, "querySelector": null,
                    "pod": {"labels": null, "env": null}, "settings": {"logLevel": null, "settle": null},
                    "storage": {"emptyDir": null, "volumeClaim": {"size": null, "retention": null}},
                })),
            ),
            deployment(json!({"shards": 1, "pod": {}, "settings": {}, "storage": {"volumeClaim": {}}})),
        ),
        (
            object("AnomalyModel", "nulls", &json!({"madOnline": {"decay": null}, "zscoreOnline": null})),
            json!({"madOnline": {}}),
        ),
        (
            object("AnomalyQuery", "nulls", &json!({"expr": "up", "detectionDirection": null, "spread": null})),
            json!({"expr": "up"}),
        ),
    ];
    for (object, stored) in cases {
        let objects = objects(&client, &namespace, object["kind"].as_str().unwrap());
        let mut created = objects.create(&PostParams::default(), &typed(&object)).await.unwrap();
        drop_nulls(&mut created.data);
        assert_eq!(created.data, json!({"spec": stored}));
    }
}

#[tokio::test]
async fn what_server_side_apply_empties_is_as_if_it_had_been_written_so() {
    let plane = plane().await;
    let (client, namespace) = (plane.client().await.unwrap(), plane.namespace().await.unwrap());
    let cases = [
        ("AnomalyModel", json!({"madOnline": {"threshold": 6}}), json!({"madOnline": {}})),
        ("AnomalyModel", json!({"madOnline": {"threshold": 6}}), json!({"zscoreOnline": {}})),
        ("AnomalyModel", json!({"madOnline": {}, "scale": {"below": 2}}), json!({"madOnline": {}, "scale": {}})),
        ("AnomalyQuery", json!({"expr": "up", "dataRange": {"min": 0}}), json!({"expr": "up", "dataRange": {}})),
        (
            "VMAnomaly",
            deployment(json!({
                "pod": {"labels": {"a": "b"}, "env": [{"name": "A", "value": "B"}], "resources": {"limits": {"cpu": "1"}}},
                "settings": {"settle": "1m", "loggerLevels": {"reader": "Debug"}},
                "storage": {"volumeClaim": {"retention": {"whenDeleted": "Delete"}}},
                "querySelector": {"matchLabels": {"a": "b"}},
            })),
            deployment(json!({
                "pod": {"labels": {}, "env": [], "resources": {}},
                "settings": {"loggerLevels": {}},
                "storage": {"volumeClaim": {}},
                "querySelector": {},
            })),
        ),
        (
            "VMAnomaly",
            deployment(json!({"pod": {"labels": {"a": "b"}}, "settings": {"settle": "1m"}})),
            deployment(json!({})),
        ),
    ];
    for (number, (kind, before, after)) in cases.into_iter().enumerate() {
        let (objects, name) = (objects(&client, &namespace, kind), format!("emptied-{number}"));
        let put = async |spec: &Value| {
            let put = objects.patch(&name, &apply(), &Patch::Apply(object(kind, &name, spec))).await;
            put.unwrap_or_else(|error| panic!("{name}: {error}")).data["spec"].clone()
        };
        put(&before).await;
        let (mut stored, mut written) = (put(&after).await, after);
        if kind == "VMAnomaly" {
            written["shards"] = json!(1);
        }
        drop_empty(&mut stored);
        drop_empty(&mut written);
        assert_eq!(stored, written, "{name}");
    }
}
