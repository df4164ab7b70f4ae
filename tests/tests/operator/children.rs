//! Children: made as they should be, restored when others change them, and never anybody else's.

use std::collections::BTreeSet;

use crds::VMAnomaly;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tests::kubernetes::installation::{Installation, quick_settings};

use crate::fixtures::{anomaly, condition, declare_all, installation, is, ready, status, wait_until_rolled_out};

/// Everything in the namespace with the label of children, of all kinds that are always there.
async fn children(installation: &Installation<'_>) -> Vec<DynamicObject> {
    let kinds = [
        ("v1", "ConfigMap"),
        ("v1", "Service"),
        ("v1", "ServiceAccount"),
        ("apps/v1", "StatefulSet"),
        ("policy/v1", "PodDisruptionBudget"),
        ("networking.k8s.io/v1", "NetworkPolicy"),
    ];
    let mut all = Vec::new();
    for (api_version, kind) in kinds {
        let api = installation.dynamic(&json!({"apiVersion": api_version, "kind": kind}));
        let parameters = ListParams::default().labels("app.kubernetes.io/managed-by=vmanomaly-operator");
        all.extend(api.list(&parameters).await.unwrap());
    }
    all
}

#[tokio::test]
async fn every_child_belongs_to_its_vmanomaly_and_has_one_manager_that_only_applies() {
    let installation = installation().await;
    let _operator = installation.operator(quick_settings()).await.unwrap();
    declare_all(&installation, 3).await;
    wait_until_rolled_out(&installation).await;
    let main = installation.wait::<VMAnomaly>("main", |main| main.status.is_some()).await.unwrap();
    let children = children(&installation).await;
    let names: BTreeSet<String> = children.iter().map(ResourceExt::name_any).collect();
    let expected = ["anomaly-main", "anomaly-main-config", "anomaly-main-topology", "anomaly-main-r0"];
    assert_eq!(names, expected.map(ToOwned::to_owned).into());
    for child in &children {
        let owner = &child.owner_references()[0];
        assert_eq!((&owner.uid, owner.controller), (main.metadata.uid.as_ref().unwrap(), Some(true)));
        assert_eq!(owner.block_owner_deletion, Some(true));
        let managers: Vec<_> = child
            .managed_fields()
            .iter()
            .map(|entry| (entry.manager.clone().unwrap(), entry.operation.clone().unwrap()))
            .collect();
        assert_eq!(managers, [("vmanomaly-operator".to_owned(), "Apply".to_owned())], "{}", child.name_any());
    }
    // Of the VMAnomaly itself the operator owns nothing but the status.
    let own: Vec<_> =
        main.managed_fields().iter().filter(|entry| entry.manager.as_deref() == Some("vmanomaly-operator")).collect();
    assert!(own.len() == 1 && own[0].subresource.as_deref() == Some("status"), "{own:?}");
    assert!(main.metadata.finalizers.is_none());
}

#[tokio::test]
async fn a_hand_edited_child_is_restored_and_a_foreign_label_is_kept() {
    let installation = installation().await;
    let _operator = installation.operator(quick_settings()).await.unwrap();
    declare_all(&installation, 1).await;
    wait_until_rolled_out(&installation).await;
    let edit = json!({
        "metadata": {"labels": {"team": "blue"}},
        "spec": {"publishNotReadyAddresses": false},
    });
    let services = installation.api::<Service>();
    services.patch("anomaly-main", &PatchParams::default(), &Patch::Merge(edit)).await.unwrap();
    let published = |service: &Service| service.spec.as_ref().unwrap().publish_not_ready_addresses == Some(true);
    let restored = installation.wait::<Service>("anomaly-main", published).await.unwrap();
    assert_eq!(restored.labels()["team"], "blue");

    let maps = installation.api::<ConfigMap>();
    let text = maps.get("anomaly-main-config").await.unwrap().data.unwrap()["config.yaml"].clone();
    let edit = json!({"data": {"config.yaml": "models: {}"}});
    maps.patch("anomaly-main-config", &PatchParams::default(), &Patch::Merge(edit)).await.unwrap();
    let original = |map: &ConfigMap| map.data.as_ref().unwrap()["config.yaml"] == text;
    installation.wait::<ConfigMap>("anomaly-main-config", original).await.unwrap();

    // Without its labels the child is out of the operator's sight, and found again all the same.
    let edit = json!({"metadata": {"labels": null}});
    maps.patch("anomaly-main-topology", &PatchParams::default(), &Patch::Merge(edit)).await.unwrap();
    let labelled = |map: &ConfigMap| map.labels().contains_key("app.kubernetes.io/managed-by");
    installation.wait::<ConfigMap>("anomaly-main-topology", labelled).await.unwrap();
}

#[tokio::test]
async fn a_deleted_child_comes_back_and_the_topology_with_an_epoch_that_nobody_has_seen() {
    let installation = installation().await;
    let _operator = installation.operator(quick_settings()).await.unwrap();
    declare_all(&installation, 1).await;
    let set = wait_until_rolled_out(&installation).await;
    let sets = installation.api::<StatefulSet>();
    sets.delete(&set.name_any(), &DeleteParams::default()).await.unwrap();
    let other = |found: &StatefulSet| found.uid() != set.uid();
    installation.wait::<StatefulSet>("anomaly-main-r0", other).await.unwrap();

    let epoch = |map: &ConfigMap| map.data.as_ref().unwrap()["topology.yaml"].contains("epoch: 2\n");
    installation.api::<ConfigMap>().delete("anomaly-main-topology", &DeleteParams::default()).await.unwrap();
    installation.wait::<ConfigMap>("anomaly-main-topology", epoch).await.unwrap();
}

#[tokio::test]
async fn an_object_of_somebody_else_with_a_childs_name_is_left_alone_and_reported() {
    let installation = installation().await;
    let foreign = ConfigMap {
        metadata: ObjectMeta { name: Some("anomaly-main-config".to_owned()), ..ObjectMeta::default() },
        ..ConfigMap::default()
    };
    let maps = installation.api::<ConfigMap>();
    let foreign = maps.create(&PostParams::default(), &foreign).await.unwrap();
    let _operator = installation.operator(quick_settings()).await.unwrap();
    declare_all(&installation, 1).await;
    let taken = |main: &VMAnomaly| is(ready(main), "False", "NameTaken");
    let main = installation.wait::<VMAnomaly>("main", taken).await.unwrap();
    let stalled = status(&main).conditions;
    assert!(condition(&stalled, "Stalled").unwrap().message.contains("anomaly-main-config"));
    assert_eq!(maps.get("anomaly-main-config").await.unwrap().resource_version(), foreign.resource_version());
    // The others are there.
    installation.wait::<StatefulSet>("anomaly-main-r0", |_| true).await.unwrap();

    maps.delete("anomaly-main-config", &DeleteParams::default()).await.unwrap();
    installation.wait::<VMAnomaly>("main", |main| !taken(main)).await.unwrap();
}

#[tokio::test]
async fn what_is_turned_off_is_deleted_and_what_only_looks_like_a_child_is_not() {
    let installation = installation().await;
    let _operator = installation.operator(quick_settings()).await.unwrap();
    declare_all(&installation, 1).await;
    wait_until_rolled_out(&installation).await;
    let labels = installation.api::<ServiceAccount>().get("anomaly-main").await.unwrap().metadata.labels;
    let twin = ServiceAccount {
        metadata: ObjectMeta { name: Some("twin".to_owned()), labels, ..ObjectMeta::default() },
        ..ServiceAccount::default()
    };
    installation.api::<ServiceAccount>().create(&PostParams::default(), &twin).await.unwrap();
    let mut spec = anomaly(1);
    spec["pod"] = json!({"serviceAccountName": "mine"});
    installation.declare("VMAnomaly", "main", spec).await.unwrap();
    installation.wait_until_gone::<ServiceAccount>("anomaly-main").await.unwrap();
    assert!(installation.api::<ServiceAccount>().get_opt("twin").await.unwrap().is_some());
    assert!(installation.api::<PodDisruptionBudget>().get_opt("anomaly-main").await.unwrap().is_some());
}

#[tokio::test]
async fn a_statefulset_that_cannot_be_changed_is_replaced_without_its_pods() {
    let installation = installation().await;
    let main = installation.declare("VMAnomaly", "main", anomaly(1)).await.unwrap();
    let owner = json!({
        "apiVersion": "vmanomaly.dev/v1alpha1", "kind": "VMAnomaly", "name": "main", "uid": main.uid(),
        "controller": true, "blockOwnerDeletion": true,
    });
    let labels = json!({"app.kubernetes.io/managed-by": "vmanomaly-operator", "app.kubernetes.io/name": "vmanomaly"});
    let metadata = json!({"name": "anomaly-main-r0", "labels": labels, "ownerReferences": [owner]});
    let set = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata,
        "spec": {
            "serviceName": "another", "selector": {"matchLabels": {"a": "b"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "vmanomaly", "image": "old"}]},
            },
        },
    });
    let old = installation.apply(set).await.unwrap();
    let _operator = installation.operator(quick_settings()).await.unwrap();
    installation.declare("AnomalyModel", "zscore", crate::fixtures::model()).await.unwrap();
    // Orphaning is done by the garbage collector, which does not run here: the story plays it.
    let sets = installation.api::<StatefulSet>();
    let waits = |set: &StatefulSet| set.finalizers().iter().any(|finalizer| finalizer == "orphan");
    installation.wait::<StatefulSet>("anomaly-main-r0", waits).await.unwrap();
    let freed = json!({"metadata": {"finalizers": null}});
    sets.patch("anomaly-main-r0", &PatchParams::default(), &Patch::Merge(freed)).await.unwrap();
    let new = |set: &StatefulSet| set.uid() != old.uid();
    let new = installation.wait::<StatefulSet>("anomaly-main-r0", new).await.unwrap();
    assert_eq!(new.spec.unwrap().service_name.as_deref(), Some("anomaly-main"));
}

#[tokio::test]
async fn a_paused_or_deleted_vmanomaly_gets_nothing_and_says_so() {
    let installation = installation().await;
    let _operator = installation.operator(quick_settings()).await.unwrap();
    let mut spec = anomaly(1);
    spec["paused"] = true.into();
    installation.declare("VMAnomaly", "main", spec).await.unwrap();
    let main = installation.wait::<VMAnomaly>("main", |main| is(ready(main), "Unknown", "Paused")).await.unwrap();
    assert_eq!(status(&main).observed_generation, main.metadata.generation);
    assert_eq!(children(&installation).await.len(), 0);

    installation.declare("VMAnomaly", "main", anomaly(1)).await.unwrap();
    wait_until_rolled_out(&installation).await;
    let held = json!({"metadata": {"finalizers": ["tests.dev/held"]}});
    let mains: Api<VMAnomaly> = installation.api();
    mains.patch("main", &PatchParams::default(), &Patch::Merge(held)).await.unwrap();
    mains.delete("main", &DeleteParams::default()).await.unwrap();
    installation.api::<Service>().delete("anomaly-main", &DeleteParams::default()).await.unwrap();
    installation.wait_until_silent(std::time::Duration::from_secs(2)).await.unwrap();
    assert!(installation.api::<Service>().get_opt("anomaly-main").await.unwrap().is_none());
    let freed: Value = json!({"metadata": {"finalizers": null}});
    mains.patch("main", &PatchParams::default(), &Patch::Merge(freed)).await.unwrap();
}
