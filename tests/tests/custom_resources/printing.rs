//! What `kubectl get` and `kubectl explain` show.

use axum::http::Request;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tests::kubernetes::kubectl::Printed;
use tests::process::{POLL, START};

use crate::{KINDS, deployment, object, objects, plane};

fn ready(reason: &str) -> Value {
    let transition = "2026-01-01T00:00:00Z";
    json!([{"type": "Ready", "status": "True", "reason": reason, "message": "", "lastTransitionTime": transition}])
}

/// (kind, name, spec, healthy status)
fn healthy() -> [(&'static str, &'static str, Value, Value); 3] {
    let status = json!({
        "conditions": ready("AsConfigured"), "shards": 3, "shardsReady": "3/3", "replicas": 2, "replicasReady": "2/2", "queries": 12, "models": 2,
        "workerVersion": "0.1.0",
    });
    let bound = json!({"conditions": ready("Used"), "selectedBy": 1});
    [
        ("VMAnomaly", "production", deployment(json!({"shards": 3})), status),
        ("AnomalyModel", "mad", json!({"madOnline": {}}), bound.clone()),
        ("AnomalyQuery", "cpu", json!({"expr": "rate(cpu[5m])"}), bound),
    ]
}

/// A namespace with a healthy object of each kind.
async fn populated() -> String {
    let plane = plane().await;
    let (client, namespace) = (plane.client().await.unwrap(), plane.namespace().await.unwrap());
    for (kind, name, spec, status) in healthy() {
        let objects = objects(&client, &namespace, kind);
        let user = PatchParams::apply("user");
        objects.patch(name, &user, &Patch::Apply(object(kind, name, &spec))).await.unwrap();
        let status = Patch::Merge(json!({"status": status}));
        objects.patch_status(name, &PatchParams::default(), &status).await.unwrap();
    }
    namespace
}

/// The words of each line.
fn words(printed: &Printed) -> Vec<Vec<&str>> {
    assert!(printed.succeeded() && printed.errors.is_empty(), "{printed:?}");
    printed.output.lines().map(|line| line.split_whitespace().collect()).collect()
}

#[tokio::test]
async fn kubectl_get_shows_at_a_glance_how_an_object_is() {
    let (plane, namespace) = (plane().await, populated().await);
    let get = async |resource: &str, wide: bool| {
        let output: &[&str] = if wide { &["-o", "wide"] } else { &[] };
        plane.kubectl(&[&["get", resource, "-n", &namespace], output].concat()).await.unwrap()
    };
    let cases = [
        ("vmanomalies", "NAME READY REASON SHARDS REPLICAS AGE", "production True AsConfigured 3/3 2/2"),
        ("anomalymodels", "NAME READY REASON VMANOMALIES AGE", "mad True Used 1"),
        ("anomalyqueries", "NAME READY REASON VMANOMALIES AGE", "cpu True Used 1"),
    ];
    for (resource, header, row) in cases {
        let table = get(resource, false).await;
        let lines = words(&table);
        assert_eq!(lines[0].join(" "), header);
        assert_eq!(lines[1][..row.split(' ').count()].join(" "), row);
        assert_eq!(lines[1].len(), lines[0].len(), "{table:?}");
    }
    let wide = get("vmanomalies", true).await;
    assert_eq!(words(&wide)[0].join(" "), "NAME READY REASON SHARDS REPLICAS AGE QUERIES MODELS VERSION");
    assert_eq!(words(&wide)[1][6..].join(" "), "12 2 0.1.0");
    let wide = get("anomalyqueries", true).await;
    assert_eq!((words(&wide)[0][5], words(&wide)[1][5]), ("EXPRESSION", "rate(cpu[5m])"));
}

#[tokio::test]
async fn kubectl_get_anomaly_lists_all_kinds_and_each_has_a_short_name() {
    let (plane, namespace) = (plane().await, populated().await);
    let get = async |resource: &str| {
        let printed = plane.kubectl(&["get", resource, "-n", &namespace, "-o", "name"]).await.unwrap();
        assert!(printed.succeeded(), "{printed:?}");
        let mut names: Vec<_> = printed.output.lines().map(str::to_owned).collect();
        names.sort_unstable();
        names
    };
    let names =
        ["anomalymodel.vmanomaly.dev/mad", "anomalyquery.vmanomaly.dev/cpu", "vmanomaly.vmanomaly.dev/production"];
    assert_eq!(get("anomaly").await, names);
    assert_eq!([get("anomalym").await, get("anomalyq").await, get("vmad").await].concat(), names);
}

#[tokio::test]
async fn kubectl_wait_waits_for_ready() {
    let (plane, namespace) = (plane().await, populated().await);
    for (_, plural) in KINDS {
        let wait = ["wait", plural, "--all", "--for=condition=Ready", "--timeout=20s", "-n", &namespace];
        let printed = plane.kubectl(&wait).await.unwrap();
        assert!(printed.succeeded(), "{printed:?}");
    }
}

/// Calls `visit` with every schema below `schema` and its path.
fn walk(schema: &Value, path: &str, visit: &mut dyn FnMut(&Value, &str)) {
    visit(schema, path);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(property, &format!("{path}.{name}"), visit);
    }
    for key in ["items", "additionalProperties"] {
        for property in schema[key]["properties"].as_object().into_iter().flatten() {
            walk(property.1, &format!("{path}.{}", property.0), visit);
        }
    }
}

#[tokio::test]
async fn kubectl_explain_has_a_text_for_every_field() {
    let plane = plane().await;
    let client = plane.client().await.unwrap();
    // What `explain` prints from; it comes some moments after the definitions.
    let published = async {
        loop {
            let request = Request::get("/openapi/v3/apis/vmanomaly.dev/v1alpha1").body(Vec::new()).unwrap();
            let document = client.request::<Value>(request).await.unwrap_or_default();
            let schema =
                |kind: &str| document["components"]["schemas"][format!("dev.vmanomaly.v1alpha1.{kind}")].clone();
            let schemas = KINDS.map(|(kind, _)| (kind, schema(kind)));
            if schemas.iter().all(|(_, schema)| schema.is_object()) {
                return schemas;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    let schemas = tokio::time::timeout(START, published).await.unwrap();
    let (mut silent, mut fields) = (Vec::new(), 0);
    for (kind, schema) in &schemas {
        for part in ["spec", "status"] {
            walk(&schema["properties"][part], &format!("{kind}.{part}"), &mut |schema, path| {
                fields += 1;
                if schema["description"].as_str().unwrap_or_default().trim().is_empty() {
                    silent.push(path.to_owned());
                }
            });
        }
    }
    assert!(silent.is_empty() && fields > 100, "{fields}: {silent:#?}");
    for (_, plural) in KINDS {
        for part in ["", ".spec", ".status", ".status.conditions"] {
            let printed = plane.kubectl(&["explain", &format!("{plural}.vmanomaly.dev{part}")]).await.unwrap();
            assert!(printed.succeeded() && !printed.output.contains("<no description>"), "{part}: {printed:?}");
        }
    }
}
