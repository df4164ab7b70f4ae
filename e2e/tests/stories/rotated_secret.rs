use serde_json::{Value, json};
use tests::http::{Endpoint, HttpError};
use tests::signal::{now, this_second};

use crate::recording;
use crate::scene::{
    Scene, WITHIN, anomaly, demonstration, eventually, gaps, import, manifests, model, outputs, query, scored_until,
};

const SERIES: usize = 4;
const USER: &str = "vmanomaly";

#[tokio::test]
async fn a_rotated_secret_is_used_without_a_restart() {
    let scene = Scene::empty("rotated-secret").await;
    scene.apply(&manifests(&[secret("first")])).await;
    scene.apply(&with_password(&demonstration("victoria-metrics.yaml"))).await;
    scene.rolled_out(&["statefulset/victoria-metrics"]).await;
    let forward = scene.cluster.forward(&scene.namespace, "victoria-metrics", 8428).await.unwrap();
    let as_user = |password: &str| Endpoint::with_basic_auth(forward.address(), USER, password);
    let tsdb = as_user("first");
    import(&tsdb, &recording::series(SERIES)).await;
    let mut workers = anomaly("workers", 1);
    for part in ["reader", "writer"] {
        workers["spec"][part]["basicAuth"] =
            json!({"username": USER, "passwordSecret": {"name": "tsdb", "key": "password"}});
    }
    scene.apply(&manifests(&[model("mad", 6.0), query("load", recording::METRIC), workers])).await;
    scene.ready("workers", 1).await;
    let from = this_second();
    scored_until(&tsdb, "workers", SERIES, from).await;
    let processes = scene.processes("workers").await;

    scene.apply(&manifests(&[secret("second")])).await;
    let tsdb = as_user("second");
    let changed = async || tsdb.query("1", now()).await.is_ok().then_some(());
    eventually("the database wants the new password", WITHIN, changed).await;
    let old = as_user("first").query("1", now()).await.unwrap_err();
    assert!(matches!(&old, HttpError::Status { status, .. } if status.as_u16() == 401), "{old}");
    let until = this_second();
    scored_until(&tsdb, "workers", SERIES, until).await;
    assert_eq!(gaps(&outputs(&tsdb, "workers").await, SERIES, from, until), Vec::<i64>::new());
    assert_eq!(scene.processes("workers").await, processes, "no pod was restarted");
    scene.close().await;
}

fn secret(password: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tsdb"}, "stringData": {"password": password},
    })
}

/// The demonstration's database, which wants the Secret's password.
fn with_password(manifests: &str) -> String {
    let mount = "          volumeMounts:\n";
    let arguments = "          args:\n";
    let templates = "  volumeClaimTemplates:\n";
    for text in [mount, arguments, templates] {
        assert_eq!(manifests.matches(text).count(), 1, "{text}");
    }
    let flags = format!(
        "{arguments}            - -httpAuth.username={USER}\n            - -httpAuth.password=file:///etc/tsdb/password\n"
    );
    manifests
        .replace(arguments, &flags)
        .replace(mount, &format!("{mount}            - name: password\n              mountPath: /etc/tsdb\n"))
        .replace(
            templates,
            &format!(
                "      volumes:\n        - name: password\n          secret:\n            secretName: tsdb\n{templates}"
            ),
        )
}
