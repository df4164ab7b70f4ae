//! What kubectl applies, and that it refuses fields that nobody knows.

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
        ("AnomalyModel", "arima: {}, madOnline: {}".to_owned(), "arima"),
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

#[tokio::test]
async fn the_quickstart_objects_apply_without_a_warning_and_again_change_nothing() {
    let plane = plane().await;
    let namespace = plane.namespace().await.unwrap();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/quickstart");
    for (flags, again) in [(&[][..], "unchanged"), (&["--server-side"], "serverside-applied")] {
        let apply = [&["apply", "-f", folder, "-n", &namespace], flags].concat();
        let versions = async || {
            let versions = "-o=jsonpath={.items[*].metadata.resourceVersion}";
            plane.kubectl(&["get", "anomaly", "-n", &namespace, versions]).await.unwrap().output
        };
        let first = plane.kubectl(&apply).await.unwrap();
        assert_eq!((first.succeeded(), first.errors.as_str()), (true, ""));
        let before = versions().await;
        assert_eq!(before.split_whitespace().count(), first.output.lines().count());
        let second = plane.kubectl(&apply).await.unwrap();
        assert!(second.output.lines().all(|line| line.ends_with(again)), "{second:?}");
        assert_eq!(versions().await, before);
        let same = plane.kubectl(&[&["diff", "-f", folder, "-n", &namespace], flags].concat()).await.unwrap();
        assert_eq!((same.status, same.output.as_str()), (Some(0), ""));
    }
}
