//! Fields that nobody knows.

use crate::plane;

#[tokio::test]
async fn kubectl_apply_refuses_a_misspelt_field_and_names_it() {
    let plane = plane().await;
    let namespace = plane.namespace().await.unwrap();
    let deployment = "configRawYaml: a";
    let objects = [
        ("VMAnomaly", format!("{deployment}, shard: 3"), "shard"),
        ("VMAnomaly", format!("{deployment}, pod: {{resources: {{limit: {{}}}}}}"), "limit"),
        ("VMAnomaly", "reader: {datasourceURL: \"http://a\", password: secret}".to_owned(), "password"),
        ("AnomalyModel", "madOnline: {treshold: 3}".to_owned(), "treshold"),
        ("AnomalyModel", "prophet: {}, madOnline: {}".to_owned(), "prophet"),
        ("AnomalyQuery", "expr: up, interval: 30s".to_owned(), "interval"),
    ];
    for (kind, spec, field) in objects {
        let object = format!(
            "{{apiVersion: vmanomaly.dev/v1alpha1, kind: {kind}, metadata: {{name: misspelt}}, spec: {{{spec}}}}}"
        );
        for flags in [&[][..], &["--server-side"]] {
            let apply = [&["apply", "-f", "-", "-n", &namespace], flags].concat();
            let printed = plane.kubectl_with_input(&apply, &object).await.unwrap();
            assert!(!printed.succeeded() && printed.errors.contains(field), "{kind} {spec}: {printed:?}");
        }
    }
    let left = plane.kubectl(&["get", "anomaly", "-n", &namespace, "-o", "name"]).await.unwrap();
    assert_eq!(left.output, "");
}
