//! Every bound of every schema, broken one at a time in the accepted objects.

use std::collections::BTreeSet;

use axum::http::Request;
use serde_json::{Map, Value, json};

use crate::fixture_file::Fixture;
use crate::words::Refusal;
use crate::{KINDS, plane, schema};

/// A way to break an object.
struct Breach {
    /// Which bound of which field, without positions and keys of maps.
    bound: String,
    /// The field that the refusal has to name.
    field: String,
    /// Where in the object the value is put; none: it is taken away.
    pointer: String,
    value: Option<Value>,
}

/// A place in an object and in its schema.
#[derive(Clone)]
struct Place {
    field: String,
    pointer: String,
    schema: String,
}

impl Place {
    fn property(&self, name: &str) -> Self {
        Self {
            field: format!("{}.{name}", self.field),
            pointer: format!("{}/{}", self.pointer, name.replace('~', "~0").replace('/', "~1")),
            schema: format!("{}.{name}", self.schema),
        }
    }

    fn entry(&self, name: &str) -> Self {
        Self { schema: format!("{}{{}}", self.schema), ..self.property(name) }
    }

    fn item(&self, number: usize) -> Self {
        Self {
            field: format!("{}[{number}]", self.field),
            pointer: format!("{}/{number}", self.pointer),
            schema: format!("{}[]", self.schema),
        }
    }

    fn breach(&self, bound: &str, value: impl Into<Option<Value>>) -> Breach {
        Breach {
            bound: format!("{} {bound}", self.schema),
            field: self.field.clone(),
            pointer: self.pointer.clone(),
            value: value.into(),
        }
    }
}

/// Every way to break one bound of `value`.
fn breaches(schema: &Value, value: &Value, at: &Place, found: &mut Vec<Breach>) {
    let whole = |key: &str| schema[key].as_u64();
    let mut breach = |bound: &str, value: Value| found.push(at.breach(bound, value));
    let is_quantity = schema["x-kubernetes-int-or-string"] == true;
    match schema["type"].as_str() {
        _ if is_quantity => breach("type", json!(true)),
        Some("string") => breach("type", json!(7)),
        Some("integer") => breach("type", json!(1.5)),
        Some(_) => breach("type", json!("text")),
        None => panic!("{} has no type", at.schema),
    }
    if schema["enum"].is_array() {
        breach("enum", json!("Unknown"));
    }
    if schema["pattern"].is_string() {
        breach("pattern", json!("!!!!!"));
    }
    if let Some(length) = whole("maxLength") {
        breach("maxLength", "1".repeat(length as usize + 1).into());
    }
    if let Some(length @ 1..) = whole("minLength") {
        breach("minLength", "1".repeat(length as usize - 1).into());
    }
    if let Some(least) = schema["minimum"].as_f64() {
        breach("minimum", if schema["type"] == "integer" { json!(least as i64 - 1) } else { json!(least - 1.0) });
    }
    if let Some(most) = schema["maximum"].as_f64() {
        breach("maximum", if schema["type"] == "integer" { json!(most as i64 + 1) } else { json!(most + 1.0) });
    }
    if let (Some(most), Some(one)) = (whole("maxItems"), value.as_array().and_then(|items| items.first())) {
        breach("maxItems", vec![one.clone(); most as usize + 1].into());
    }
    if let Some(1..) = whole("minItems") {
        breach("minItems", json!([]));
    }
    if let (Some(most), Some(one)) = (whole("maxProperties"), value.as_object().and_then(|map| map.values().next())) {
        let entries = (0..=most).map(|number| (format!("k{number}"), one.clone()));
        breach("maxProperties", Value::Object(entries.collect::<Map<_, _>>()));
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        found.push(at.property(name).breach("required", None));
    }
    for (name, inner) in value.as_object().into_iter().flatten() {
        if schema["properties"][name].is_object() {
            breaches(&schema["properties"][name], inner, &at.property(name), found);
        } else {
            breaches(&schema["additionalProperties"], inner, &at.entry(name), found);
        }
    }
    for (number, inner) in value.as_array().into_iter().flatten().enumerate() {
        breaches(&schema["items"], inner, &at.item(number), found);
    }
}

/// `object` with the breach.
fn broken(object: &Value, breach: &Breach) -> Value {
    let mut object = object.clone();
    let (parent, last) = breach.pointer.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap();
    match &breach.value {
        None => drop(parent.as_object_mut().unwrap().remove(last)),
        Some(value) => *object.pointer_mut(&breach.pointer).unwrap() = value.clone(),
    }
    object
}

#[tokio::test]
async fn every_bound_of_every_field_is_kept_and_the_refusal_names_the_field() {
    let plane = plane().await;
    let (client, namespace) = (plane.client().await.unwrap(), plane.namespace().await.unwrap());
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for fixture in Fixture::all("accept") {
        let (kind, plural) = KINDS.iter().find(|(kind, _)| *kind == fixture.kind()).unwrap();
        let object = &fixture.objects[0];
        let at = Place { field: "spec".into(), pointer: "/spec".into(), schema: format!("{kind}.spec") };
        let mut found = Vec::new();
        breaches(&schema(kind)["properties"]["spec"], &object["spec"], &at, &mut found);
        for breach in found {
            if !seen.insert(breach.bound.clone()) {
                continue;
            }
            let path = format!("/apis/vmanomaly.dev/v1alpha1/namespaces/{namespace}/{plural}?dryRun=All");
            let body = serde_json::to_vec(&broken(object, &breach)).unwrap();
            let request = Request::post(path).header("content-type", "application/json").body(body).unwrap();
            match client.request::<Value>(request).await {
                Ok(_) => wrong.push(format!("{}: accepted {:?}", breach.bound, breach.value)),
                Err(error) => {
                    let refusal = Refusal::of(error);
                    if !refusal.says(&breach.field, "") {
                        wrong.push(format!("{}: {}", breach.bound, refusal.message));
                    }
                }
            }
        }
    }
    assert!(seen.len() > 500, "only {}", seen.len());
    assert!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), seen.len());
}
