//! `status` and `scale`.

use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::words::Refusal;
use crate::{deployment, object, objects, plane};

#[tokio::test]
async fn an_object_without_shards_can_be_scaled_and_says_what_runs() {
    let plane = plane().await;
    let (client, namespace) = (plane.client().await.unwrap(), plane.namespace().await.unwrap());
    let anomalies = objects(&client, &namespace, "VMAnomaly");
    let created = serde_json::from_value(object("VMAnomaly", "unset", &deployment(json!({})))).unwrap();
    anomalies.create(&PostParams::default(), &created).await.unwrap();
    let scale = anomalies.get_scale("unset").await.unwrap();
    assert_eq!(scale.spec.and_then(|spec| spec.replicas), Some(1));

    let wanted = |count: i32| Patch::Merge(json!({"spec": {"replicas": count}}));
    anomalies.patch_scale("unset", &PatchParams::default(), &wanted(3)).await.unwrap();
    assert_eq!(anomalies.get("unset").await.unwrap().data["spec"]["shards"], 3);
    for count in [0, 1001] {
        let error = anomalies.patch_scale("unset", &PatchParams::default(), &wanted(count)).await.unwrap_err();
        assert!(Refusal::of(error).says("spec.shards", ""), "{count}");
    }

    let labels = "app.kubernetes.io/name=vmanomaly,app.kubernetes.io/instance=unset";
    let status = Patch::Merge(json!({"status": {"shards": 2, "selector": labels}}));
    anomalies.patch_status("unset", &PatchParams::default(), &status).await.unwrap();
    let running = anomalies.get_scale("unset").await.unwrap().status.unwrap();
    assert_eq!((running.replicas, running.selector.as_deref()), (2, Some(labels)));
}

#[tokio::test]
async fn kubectl_scales_a_vmanomaly() {
    let plane = plane().await;
    let (client, namespace) = (plane.client().await.unwrap(), plane.namespace().await.unwrap());
    let anomalies = objects(&client, &namespace, "VMAnomaly");
    let created = serde_json::from_value(object("VMAnomaly", "typed", &deployment(json!({"shards": 2})))).unwrap();
    anomalies.create(&PostParams::default(), &created).await.unwrap();
    let scaled = plane.kubectl(&["scale", "vmad/typed", "--replicas=5", "-n", &namespace]).await.unwrap();
    assert!(scaled.succeeded(), "{scaled:?}");
    assert_eq!(anomalies.get("typed").await.unwrap().data["spec"]["shards"], 5);
}

#[tokio::test]
async fn spec_and_status_are_written_separately_and_only_a_changed_spec_is_a_new_generation() {
    let plane = plane().await;
    let (client, namespace) = (plane.client().await.unwrap(), plane.namespace().await.unwrap());
    let specs = [
        ("VMAnomaly", deployment(json!({"shards": 1})), deployment(json!({"shards": 2}))),
        ("AnomalyModel", json!({"madOnline": {}}), json!({"zscoreOnline": {}})),
        ("AnomalyQuery", json!({"expr": "up"}), json!({"expr": "down"})),
    ];
    for (kind, first, second) in specs {
        let objects = objects(&client, &namespace, kind);
        let parameters = PostParams::default();
        let mut new: DynamicObject = serde_json::from_value(object(kind, "both", &first)).unwrap();
        new.data["status"] = json!({"observedGeneration": 7});
        let mut known = objects.create(&parameters, &new).await.unwrap();
        assert!(known.data.get("status").is_none() && known.metadata.generation == Some(1), "{kind}: {known:?}");

        known.data = json!({"spec": second, "status": {"observedGeneration": 1}});
        known = objects.replace_status("both", &parameters, &known).await.unwrap();
        assert_eq!((&known.data["spec"], &known.data["status"]["observedGeneration"]), (&first, &json!(1)), "{kind}");
        assert_eq!(known.metadata.generation, Some(1), "{kind}");

        known.data = json!({"spec": second, "status": {"observedGeneration": 9}});
        known = objects.replace("both", &parameters, &known).await.unwrap();
        assert_eq!((&known.data["spec"], &known.data["status"]["observedGeneration"]), (&second, &json!(1)), "{kind}");
        assert_eq!(known.metadata.generation, Some(2), "{kind}");
    }
}
