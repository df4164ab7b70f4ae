//! Properties of every schema, and that the checked-in definitions are the generated ones.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::Value;

const NEWCOMERS: &str = "run `cargo run -p crds --bin crdgen` and `make manifests`";

/// Calls `visit` with every schema below `schema` and its path.
fn walk(schema: &Value, path: &str, visit: &mut dyn FnMut(&Value, &str)) {
    visit(schema, path);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(property, &format!("{path}.{name}"), visit);
    }
    for (key, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[key].is_object() {
            walk(&schema[key], &format!("{path}{suffix}"), visit);
        }
    }
}

/// What `fault` says about any schema of any kind.
fn faults(fault: impl Fn(&Value) -> Option<&'static str>) -> Vec<String> {
    let mut found = Vec::new();
    for definition in crds::generate::definitions().unwrap() {
        let value = serde_json::to_value(&definition).unwrap();
        let schema = &value["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        walk(schema, &definition.spec.names.kind, &mut |schema, path| {
            found.extend(fault(schema).map(|fault| format!("{path}: {fault}")));
        });
    }
    found
}

#[test]
fn the_checked_in_definitions_are_the_generated_ones() {
    for (name, text) in crds::generate::files().unwrap() {
        for folder in ["yaml", "../charts/vmanomaly-operator/files"] {
            let path = format!("{}/{folder}/{name}", env!("CARGO_MANIFEST_DIR"));
            assert!(std::fs::read_to_string(&path).unwrap_or_default() == text, "{path} is out of date: {NEWCOMERS}");
        }
        assert!(text.len() < 200 * 1024, "{name} is {} bytes", text.len());
    }
}

#[test]
fn every_list_map_text_and_integer_is_bounded() {
    let unbounded = faults(|schema| {
        let lacks = |key: &str| schema.get(key).is_none();
        match schema["type"].as_str() {
            Some("array") if lacks("maxItems") => Some("a list without maxItems"),
            Some("object") if schema["additionalProperties"].is_object() && lacks("maxProperties") => {
                Some("a map without maxProperties")
            }
            Some("integer") if lacks("minimum") || lacks("maximum") => Some("an integer without minimum and maximum"),
            Some("string") if lacks("maxLength") && lacks("enum") && lacks("format") => {
                Some("a text without maxLength")
            }
            _ => None,
        }
    });
    assert!(unbounded.is_empty(), "{unbounded:#?}");
}

#[test]
fn every_field_says_what_it_is() {
    let silent = faults(|schema| {
        let properties = schema["properties"].as_object()?;
        let own = properties.iter().filter(|(name, _)| !["apiVersion", "kind", "metadata"].contains(&name.as_str()));
        let described = |property: &Value| property["description"].as_str().is_some_and(|text| !text.trim().is_empty());
        own.into_iter().any(|(_, property)| !described(property)).then_some("a property without a description")
    });
    assert!(silent.is_empty(), "{silent:#?}");
}

#[test]
fn schemas_are_structural_and_hold_no_secret_in_the_clear() {
    let wrong = faults(|schema| {
        let properties = schema["properties"].as_object();
        let is_text =
            |name: &str| properties.is_some_and(|all| all.get(name).is_some_and(|one| one["type"] == "string"));
        match () {
            () if schema.get("x-kubernetes-preserve-unknown-fields").is_some() => Some("takes anything"),
            () if schema["nullable"] == true
                && ["string", "integer", "number", "boolean"].iter().any(|kind| schema["type"] == *kind) =>
            {
                Some("a scalar that keeps an explicit null")
            }
            () if schema["x-kubernetes-int-or-string"] == true && schema["pattern"].is_null() => Some("takes any text"),
            () if schema["format"].as_str().is_some_and(|format| format != "date-time") => Some("has a format"),
            () if ["password", "token", "bearerToken", "key_secret"].into_iter().any(is_text) => Some("has a secret"),
            () => None,
        }
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_only_schema_default_is_the_number_of_shards() {
    let mut defaults = Vec::new();
    for definition in crds::generate::definitions().unwrap() {
        let value = serde_json::to_value(&definition).unwrap();
        let schema = &value["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        walk(schema, &definition.spec.names.kind, &mut |schema, path| {
            if let Some(default) = schema.get("default") {
                defaults.push(format!("{path} = {default}"));
            }
        });
    }
    assert_eq!(defaults, ["VMAnomaly.spec.shards = 1"]);
}

#[test]
fn objects_of_other_namespaces_come_in_only_through_the_selectors_of_a_vmanomaly() {
    let mut named = Vec::new();
    for definition in crds::generate::definitions().unwrap() {
        let value = serde_json::to_value(&definition).unwrap();
        let spec = &value["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        walk(spec, &definition.spec.names.kind, &mut |_, path| {
            let of_pods = path.contains(".affinity.");
            if !of_pods
                && !path.ends_with("[]")
                && path.rsplit('.').next().is_some_and(|name| name.to_lowercase().contains("namespace"))
            {
                named.push(path.to_owned());
            }
        });
    }
    assert_eq!(named, ["VMAnomaly.modelSelector.namespaces", "VMAnomaly.querySelector.namespaces"]);
}
