//! The checked-in pages are the generated ones, and their examples are objects that the definitions take.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use kube::core::cel::Validator;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn page(name: &str) -> String {
    std::fs::read_to_string(format!("{}/../docs/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The objects in the YAML blocks of a page.
fn examples(page: &str) -> Vec<Value> {
    let blocks = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.flat_map(|block| serde_saphyr::from_multiple::<Value>(block).unwrap()).collect()
}

/// `object` after a way through the type of its kind.
fn through_the_type(object: &Value) -> Value {
    fn there_and_back<K: DeserializeOwned + Serialize>(object: &Value) -> Value {
        serde_json::to_value(serde_json::from_value::<K>(object.clone()).unwrap()).unwrap()
    }
    match object["kind"].as_str().unwrap() {
        "VMAnomaly" => there_and_back::<crds::VMAnomaly>(object),
        "AnomalyModel" => there_and_back::<crds::AnomalyModel>(object),
        "AnomalyQuery" => there_and_back::<crds::AnomalyQuery>(object),
        other => panic!("{other} is no kind of ours"),
    }
}

/// The paths of all values.
fn paths(value: &Value, path: &str, found: &mut Vec<String>) {
    found.push(path.to_owned());
    for (name, inner) in value.as_object().into_iter().flatten() {
        paths(inner, &format!("{path}.{name}"), found);
    }
    for (index, inner) in value.as_array().into_iter().flatten().enumerate() {
        paths(inner, &format!("{path}[{index}]"), found);
    }
}

/// The paths of `object` that `other` does not have.
fn lost(object: &Value, other: &Value) -> Vec<String> {
    let (mut all, mut kept) = (Vec::new(), Vec::new());
    paths(object, "", &mut all);
    paths(other, "", &mut kept);
    all.retain(|path| !kept.contains(path));
    all
}

#[test]
fn the_checked_in_pages_are_up_to_date() {
    let operations = page("operations.md");
    let renewed = crds::reference::operations(&operations).unwrap();
    assert!(page("objects.md") == crds::reference::objects().unwrap(), "docs/objects.md is stale: make reference");
    assert!(operations == renewed, "docs/operations.md is stale: make reference");
}

#[test]
fn every_example_goes_through_its_type_without_loss_and_breaks_no_rule() {
    let examples = examples(&crds::reference::objects().unwrap());
    for definition in crds::generate::definitions().unwrap() {
        let kind = &definition.spec.names.kind;
        let schema = serde_json::to_value(&definition.spec.versions[0].schema).unwrap()["openAPIV3Schema"].take();
        let own: Vec<_> = examples.iter().filter(|object| object["kind"] == **kind).collect();
        assert!(own.len() >= 2, "{} examples of {kind}", own.len());
        for object in own {
            assert_eq!(lost(object, &through_the_type(object)), [""; 0], "{kind}");
            Validator::new().validate(&schema, object, None).unwrap_or_else(|errors| panic!("{object:#}: {errors:?}"));
        }
    }
}
