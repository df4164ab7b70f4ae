//! The control plane does what the tests of the operator rely on.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::json;
use tests::kubernetes::KubernetesError;
use tests::kubernetes::audit::Permission;
use tests::kubernetes::control_plane::{ControlPlane, Setup};
use tests::kubernetes::user::User;
use tests::process::START;

const WIDGETS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.tests.dev}
spec:
  group: tests.dev
  scope: Namespaced
  names: {kind: Widget, plural: widgets}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}
";

fn config_map(name: &str) -> ConfigMap {
    let data = BTreeMap::from([("key".to_owned(), "value".to_owned())]);
    ConfigMap {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        data: Some(data),
        ..ConfigMap::default()
    }
}

fn refusal(error: kube::Error) -> (u16, String) {
    let kube::Error::Api(status) = error else { panic!("{error}") };
    (status.code, status.message)
}

fn permission(verb: &str, resource: &str) -> Permission {
    Permission { verb: verb.to_owned(), api_group: String::new(), resource: resource.to_owned() }
}

#[tokio::test]
async fn an_object_comes_back_as_it_was_made_and_the_audit_log_has_each_request_once() {
    let plane = ControlPlane::shared().await.unwrap();
    let namespace = plane.namespace().await.unwrap();
    let mut audit = plane.audit();
    audit.skip().unwrap();
    let objects = Api::<ConfigMap>::namespaced(plane.client().await.unwrap(), &namespace);
    let made = objects.create(&PostParams::default(), &config_map("round-trip")).await.unwrap();
    assert_eq!(objects.get("round-trip").await.unwrap(), made);
    assert_eq!(made.data, config_map("round-trip").data);

    let mine = |event: &tests::kubernetes::audit::AuditEvent| event.namespace() == namespace;
    let events: Vec<_> = audit.read().unwrap().into_iter().filter(mine).collect();
    let needed: Vec<_> = events.iter().flat_map(|event| event.permissions()).collect();
    assert_eq!(needed, [permission("create", "configmaps"), permission("get", "configmaps")]);
    assert!(events[0].is_write() && !events[1].is_write());
    assert!(events.iter().all(|event| event.user.username == "admin" && event.is_success()));
    objects.delete("round-trip", &DeleteParams::default()).await.unwrap();
    assert_eq!(audit.read().unwrap().into_iter().filter(mine).count(), 1);
}

#[tokio::test]
async fn every_test_has_a_namespace_of_its_own() {
    let plane = ControlPlane::shared().await.unwrap();
    let (one, other) = (plane.namespace().await.unwrap(), plane.namespace().await.unwrap());
    assert_ne!(one, other);
}

#[tokio::test]
async fn users_may_do_what_their_roles_say_and_an_apply_that_creates_needs_both_verbs() {
    let plane = ControlPlane::shared().await.unwrap();
    let namespace = plane.namespace().await.unwrap();
    let admin = plane.client().await.unwrap();
    let metadata = |name: &str| json!({"name": name, "namespace": namespace});
    let account = serde_json::from_value(json!({"metadata": metadata("account")})).unwrap();
    Api::<ServiceAccount>::namespaced(admin.clone(), &namespace)
        .create(&PostParams::default(), &account)
        .await
        .unwrap();
    let roles = Api::<Role>::namespaced(admin.clone(), &namespace);
    let rules = |verbs: &[&str]| json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs}]);
    let role = json!({"metadata": metadata("role"), "rules": rules(&["patch"])});
    roles.create(&PostParams::default(), &serde_json::from_value(role).unwrap()).await.unwrap();
    let binding = json!({
        "metadata": metadata("binding"),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "role"},
        "subjects": [
            {"kind": "ServiceAccount", "name": "account", "namespace": namespace},
            {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "named"},
        ],
    });
    let bindings = Api::<RoleBinding>::namespaced(admin, &namespace);
    bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();

    let users = [
        User::ServiceAccount { namespace: &namespace, name: "account" },
        User::Named { name: "named", group: Some("a-group") },
    ];
    let apply = PatchParams::apply("tests").force();
    for (number, user) in users.into_iter().enumerate() {
        let objects = Api::<ConfigMap>::namespaced(plane.client_as(user).await.unwrap(), &namespace);
        let name = format!("object-{number}");
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        let (code, message) = refusal(objects.list(&ListParams::default()).await.unwrap_err());
        assert!(code == 403 && message.contains(&user.name()), "{message}");
        let (code, message) = refusal(objects.patch(&name, &apply, &Patch::Apply(&body)).await.unwrap_err());
        assert!(code == 403 && message.contains("cannot create"), "{message}");
    }

    let mut audit = plane.audit();
    audit.skip().unwrap();
    let more = json!({"rules": rules(&["patch", "create"])});
    roles.patch("role", &PatchParams::default(), &Patch::Merge(more)).await.unwrap();
    let objects = Api::<ConfigMap>::namespaced(plane.client_as(users[0]).await.unwrap(), &namespace);
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "object"}});
    // The authorizer sees the changed role a moment later.
    let begin = Instant::now();
    while let Err(error) = objects.patch("object", &apply, &Patch::Apply(&body)).await {
        assert!(begin.elapsed() < START, "{error}");
        tokio::time::sleep(tests::process::POLL).await;
    }
    let events = audit.read().unwrap();
    let created = events.iter().find(|event| event.user.username == users[0].name() && event.is_success()).unwrap();
    assert_eq!(created.permissions(), [permission("patch", "configmaps"), permission("create", "configmaps")]);
}

#[tokio::test]
async fn kubectl_shows_what_a_user_would_see() {
    let plane = ControlPlane::shared().await.unwrap();
    let namespace = plane.namespace().await.unwrap();
    let object = "{apiVersion: v1, kind: ConfigMap, metadata: {name: typed}, data: {a: b}}";
    let in_namespace = ["--namespace", &namespace];
    let applied = plane.kubectl_with_input(&[&["apply", "-f", "-"], &in_namespace[..]].concat(), object).await.unwrap();
    assert_eq!((applied.output.as_str(), applied.succeeded()), ("configmap/typed created\n", true));
    let missing = plane.kubectl(&[&["get", "configmap", "other"], &in_namespace[..]].concat()).await.unwrap();
    assert!(!missing.succeeded() && missing.errors.contains("configmaps \"other\" not found"), "{missing:?}");
    let deprecated = "{apiVersion: v1, kind: Endpoints, metadata: {name: old}}";
    let warned =
        plane.kubectl_with_input(&[&["apply", "-f", "-"], &in_namespace[..]].concat(), deprecated).await.unwrap();
    assert!(warned.warnings().any(|warning| warning.contains("deprecated")), "{warned:?}");
}

#[tokio::test]
async fn objects_of_an_installed_definition_can_be_made_at_once_and_a_misspelt_definition_is_refused() {
    let plane = ControlPlane::shared().await.unwrap();
    let namespace = plane.namespace().await.unwrap();
    plane.install_crds(WIDGETS).await.unwrap();
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("tests.dev", "v1", "Widget"));
    let widgets = Api::<DynamicObject>::namespaced_with(plane.client().await.unwrap(), &namespace, &kind);
    let mut widget = DynamicObject::new("widget", &kind);
    widget.data = json!({"spec": {"size": 3}});
    assert_eq!(widgets.create(&PostParams::default(), &widget).await.unwrap().data["spec"]["size"], 3);

    let misspelt = WIDGETS.replace("    served: true", "    served: true\n    storrage: true");
    let error = plane.install_crds(&misspelt).await.unwrap_err();
    assert!(error.to_string().contains("storrage"), "{error}");
    let error = plane.install_crds("{kind: ConfigMap, metadata: {name: a}}").await.unwrap_err();
    assert!(matches!(error, KubernetesError::Yaml { .. }), "{error}");
}

#[tokio::test]
async fn a_second_control_plane_runs_beside_the_first_and_leaves_nothing_when_dropped() {
    let shared = ControlPlane::shared().await.unwrap();
    let second = ControlPlane::start_with(&Setup { controllers: true, ..Setup::default() }).await.unwrap();
    let objects = Api::<ConfigMap>::namespaced(second.client().await.unwrap(), "default");
    let owner = objects.create(&PostParams::default(), &config_map("owner")).await.unwrap();
    let elsewhere = Api::<ConfigMap>::namespaced(shared.client().await.unwrap(), "default");
    assert!(elsewhere.get_opt("owner").await.unwrap().is_none());

    // Its controllers collect what has lost its owner.
    let mut owned = config_map("owned");
    owned.metadata.owner_references = kube::Resource::owner_ref(&owner, &()).map(|reference| vec![reference]);
    let owned = objects.create(&PostParams::default(), &owned).await.unwrap();
    objects.delete("owner", &DeleteParams::default()).await.unwrap();
    let deleted = kube::runtime::conditions::is_deleted(owned.metadata.uid.as_deref().unwrap());
    let gone = kube::runtime::wait::await_condition(objects, "owned", deleted);
    tokio::time::timeout(START, gone).await.unwrap().unwrap();

    let ids: Vec<_> = second.processes().map(|process| process.id()).collect();
    let folder = second.folder().to_path_buf();
    assert!(ids.len() == 3 && ids.iter().all(|id| is_running(*id)) && folder.exists());
    drop(second);
    assert!(!ids.iter().any(|id| is_running(*id)) && !folder.exists());
    assert!(shared.processes().all(|process| is_running(process.id())));
}

fn is_running(id: u32) -> bool {
    Path::new(&format!("/proc/{id}")).exists()
}
