//! The objects under `fixtures/` against the types and against the rules as `kube` evaluates them, without a server.
//! The real server judges the same files in `tests/tests/custom_resources`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture_file;

use std::collections::BTreeSet;

use fixture_file::{Fixture, drop_nulls};
use kube::core::cel::Validator;
use serde_json::Value;

impl Fixture {
    /// (rule, message) of all rules that the last object breaks.
    fn broken(&self) -> Vec<(String, String)> {
        let mut objects = self.objects.clone();
        objects.iter_mut().for_each(drop_nulls);
        let judge = |object, old| Validator::new().validate(&schema(self.kind()), object, old);
        let outcome = match objects.as_slice() {
            [object] => judge(object, None),
            [old, object] => {
                assert!(judge(old, None).is_ok(), "{}: {:?}", self.name, judge(old, None));
                judge(object, Some(old))
            }
            other => panic!("{} has {} objects", self.name, other.len()),
        };
        let errors = outcome.err().map(|errors| errors.into_vec()).unwrap_or_default();
        errors.into_iter().map(|error| (error.rule, error.message)).collect()
    }
}

fn schema(kind: &str) -> Value {
    let definitions = crds::generate::definitions().unwrap();
    let definition = definitions.iter().find(|definition| definition.spec.names.kind == kind).unwrap();
    serde_json::to_value(&definition.spec.versions[0].schema).unwrap()["openAPIV3Schema"].take()
}

/// Calls `visit` with every schema below `schema` and its path.
fn walk(schema: &Value, path: &str, visit: &mut dyn FnMut(&Value, &str)) {
    visit(schema, path);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(property, &format!("{path}.{name}"), visit);
    }
    for key in ["items", "additionalProperties"] {
        if schema[key].is_object() {
            walk(&schema[key], path, visit);
        }
    }
}

/// (kind, rule, message) of every rule.
fn rules() -> BTreeSet<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut rules = BTreeSet::new();
    for kind in ["VMAnomaly", "AnomalyModel", "AnomalyQuery"] {
        walk(&schema(kind), kind, &mut |schema, path| {
            for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
                assert!(rule["message"].is_string(), "{path}: {rule}");
                rules.insert((kind.to_owned(), text(&rule["rule"]), text(&rule["message"])));
            }
        });
    }
    rules
}

/// The paths of every value in an object.
fn paths(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    found.insert(path.to_owned());
    for (name, inner) in value.as_object().into_iter().flatten() {
        paths(inner, &format!("{path}.{name}"), found);
    }
    for inner in value.as_array().into_iter().flatten() {
        paths(inner, path, found);
    }
}

/// `object` after a way through the type of its kind.
fn through_the_type(object: &Value) -> Value {
    fn there_and_back<K: serde::de::DeserializeOwned + serde::Serialize>(object: &Value) -> Value {
        serde_json::to_value(serde_json::from_value::<K>(object.clone()).unwrap()).unwrap()
    }
    match object["kind"].as_str().unwrap() {
        "VMAnomaly" => there_and_back::<crds::VMAnomaly>(object),
        "AnomalyModel" => there_and_back::<crds::AnomalyModel>(object),
        _ => there_and_back::<crds::AnomalyQuery>(object),
    }
}

/// Whether they say the same. A number may be written in another form or as a text, as quantities are.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len() && one.iter().all(|(name, value)| same(value, &other[name]))
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Number(one), Value::String(other)) => one.to_string() == *other,
        _ => one == other,
    }
}

#[test]
fn an_accepted_object_breaks_no_rule_and_goes_through_its_type_unchanged() {
    for fixture in Fixture::all("accept") {
        assert_eq!(fixture.broken(), [], "{}", fixture.name);
        for mut object in fixture.objects {
            if object["kind"] == "VMAnomaly" && object["spec"]["shards"].is_null() {
                object["spec"]["shards"] = 1.into();
            }
            let back = through_the_type(&object);
            drop_nulls(&mut object);
            assert!(same(&object, &back), "{}: {object:#} becomes {back:#}", fixture.name);
        }
    }
}

#[test]
fn every_rule_refuses_the_objects_that_are_there_for_it() {
    let rules = rules();
    let mut kept: BTreeSet<_> = rules.clone();
    for fixture in Fixture::all("reject") {
        let (_, refusal) = fixture.refusal.as_ref().unwrap_or_else(|| panic!("{} says no refusal", fixture.name));
        let kind = fixture.kind().to_owned();
        let meant = |message: &String| message.contains(refusal.as_str());
        if !rules.iter().any(|(of, _, message)| *of == kind && meant(message)) {
            // A bound of the schema, which only the server knows.
            continue;
        }
        let broken: Vec<_> = fixture.broken().into_iter().filter(|(_, message)| meant(message)).collect();
        assert!(!broken.is_empty(), "{}: {:?}", fixture.name, fixture.broken());
        for (rule, message) in broken {
            kept.remove(&(kind.clone(), rule, message));
        }
    }
    assert!(kept.is_empty(), "no object breaks {kept:#?}");
}

#[test]
fn the_accepted_objects_use_every_field() {
    let mut used = BTreeSet::new();
    for fixture in Fixture::all("accept") {
        paths(&fixture.objects[0]["spec"], &format!("{}.spec", fixture.kind()), &mut used);
    }
    // What Kubernetes defines is represented by its first fields.
    let foreign = ["env", "affinity", "tolerations", "topologySpreadConstraints", "securityContext", "resources"];
    let mut unused = Vec::new();
    for kind in ["VMAnomaly", "AnomalyModel", "AnomalyQuery"] {
        walk(&schema(kind)["properties"]["spec"], &format!("{kind}.spec"), &mut |_, path| {
            let is_foreign = foreign.iter().any(|name| path.contains(&format!(".pod.{name}.")));
            if !is_foreign && !used.contains(path) {
                unused.push(path.to_owned());
            }
        });
    }
    assert!(unused.is_empty(), "{unused:#?}");
}
