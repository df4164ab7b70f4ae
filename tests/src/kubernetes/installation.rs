//! The operator in a namespace of its own, with the rights that the chart gives it and no other.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource};
use operator::kubernetes::scope::Scope;
use operator::metrics::Metrics;
use operator::operator::{Objects, Operator, Settings, Triggers};
use operator::run::work;
use operator::watch::watches;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::task::JoinHandle;

use super::audit::AuditEvent;
use super::control_plane::ControlPlane;
use super::user::User;
use super::{KubernetesError, api};
use crate::components::{Program, find};
use crate::process::{POLL, START, StartError};

/// Name of the release, and so of the operator's ServiceAccount.
pub const RELEASE: &str = "vmanomaly-operator";

/// A namespace with the operator's rights.
#[derive(Clone)]
pub struct Installation<'a> {
    /// The API server.
    pub plane: &'a ControlPlane,
    /// The namespace.
    pub namespace: String,
    /// The administrator.
    pub admin: Client,
}

/// An operator that runs in this process until it is dropped.
pub struct RunningOperator {
    /// What its visits share.
    pub operator: Arc<Operator>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for RunningOperator {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// A kind of object in a namespace that can be waited for.
pub trait Watched:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static
{
}

impl<K> Watched for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Send
        + 'static
{
}

/// Settings under which everything that takes minutes takes seconds.
#[must_use]
pub fn quick_settings() -> Settings {
    Settings {
        resync: Duration::from_millis(500),
        poll: Duration::from_millis(100),
        discovery: Duration::from_millis(500),
        ..Settings::default()
    }
}

impl<'a> Installation<'a> {
    /// A new namespace on a control plane, with the definitions and with what the chart renders for it: a
    /// ServiceAccount, a Role, a RoleBinding.
    ///
    /// # Errors
    /// When helm is missing, or the API server refuses something.
    pub async fn new(plane: &'a ControlPlane) -> Result<Self, KubernetesError> {
        plane.install_crds(&definitions()).await?;
        Self::without_definitions(plane).await
    }

    /// The same, for a control plane that has its definitions.
    ///
    /// # Errors
    /// When helm is missing, or the API server refuses something.
    pub async fn without_definitions(plane: &'a ControlPlane) -> Result<Self, KubernetesError> {
        let namespace = plane.namespace().await?;
        let installation = Self { plane, admin: plane.client().await?, namespace };
        let watched = format!("watchNamespaces={{{}}}", installation.namespace);
        for object in chart(&installation.namespace, &["--set", &watched]).await? {
            if matches!(object["kind"].as_str(), Some("ServiceAccount" | "Role" | "RoleBinding")) {
                installation.apply(object).await?;
            }
        }
        Ok(installation)
    }

    /// The name under which RBAC and the audit log have the operator.
    #[must_use]
    pub fn user(&self) -> String {
        User::ServiceAccount { namespace: &self.namespace, name: RELEASE }.name()
    }

    /// Starts an operator that watches the namespace.
    ///
    /// # Errors
    /// When its client cannot be made.
    pub async fn operator(&self, settings: Settings) -> Result<RunningOperator, KubernetesError> {
        let user = User::ServiceAccount { namespace: &self.namespace, name: RELEASE };
        let client = self.plane.client_as(user).await?;
        let scope = Scope::of(vec![self.namespace.clone()]);
        let (objects, writers) = Objects::new(&scope);
        let (triggers, triggered) = Triggers::new();
        let unusable = |message: String| KubernetesError::Yaml { what: "the operator", message };
        let metrics = Metrics::new().map_err(|error| unusable(error.to_string()))?;
        let operator = Operator::new(client, settings, objects, triggers, metrics);
        let operator = Arc::new(operator.map_err(|error| unusable(error.to_string()))?);
        let mut tasks: Vec<_> = watches(&operator, writers).into_iter().map(tokio::spawn).collect();
        operator.objects.wait_until_ready().await.map_err(|error| unusable(error.to_string()))?;
        tasks.push(tokio::spawn(work(Arc::clone(&operator), triggered)));
        Ok(RunningOperator { operator, tasks })
    }

    /// Applies an object as the administrator, into the namespace.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn apply(&self, object: Value) -> Result<DynamicObject, KubernetesError> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let parameters = PatchParams::apply("user").force();
        let action = format!("applying {} {name}", object["kind"]);
        self.dynamic(&object).patch(&name, &parameters, &Patch::Apply(object)).await.map_err(api(action))
    }

    /// Applies an object of the project's own group: `kind`, `name` and `spec`.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn declare(&self, kind: &str, name: &str, spec: Value) -> Result<DynamicObject, KubernetesError> {
        let api_version = "vmanomaly.dev/v1alpha1";
        self.apply(json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec})).await
    }

    /// The API of the kind of `object` in the namespace.
    #[must_use]
    pub fn dynamic(&self, object: &Value) -> Api<DynamicObject> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
        let (group, version) = match api_version.split_once('/') {
            Some((group, version)) => (group.to_owned(), version.to_owned()),
            None => (String::new(), api_version.clone()),
        };
        let plural = match kind.strip_suffix('y') {
            Some(stem) => format!("{}ies", stem.to_lowercase()),
            None => format!("{}s", kind.to_lowercase()),
        };
        let resource = ApiResource { group, version, api_version, kind, plural };
        Api::namespaced_with(self.admin.clone(), &self.namespace, &resource)
    }

    /// The API of a kind in the namespace, as the administrator.
    #[must_use]
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.admin.clone(), &self.namespace)
    }

    /// Waits until an object is as `holds` says, and brings it.
    ///
    /// # Errors
    /// When that takes longer than [`START`].
    pub async fn wait<K: Watched>(&self, name: &str, holds: impl Fn(&K) -> bool) -> Result<K, KubernetesError> {
        let objects = self.api::<K>();
        let condition = |object: Option<&K>| object.is_some_and(&holds);
        let waiting = kube::runtime::wait::await_condition(objects.clone(), name, condition);
        match tokio::time::timeout(START, waiting).await {
            Ok(Ok(Some(object))) => Ok(object),
            _ => {
                let last = objects.get_opt(name).await.ok().flatten();
                let awaited = format!("the awaited state of {} {name}, which is {last:#?},", K::kind(&()));
                Err(KubernetesError::Late { awaited, within: START })
            }
        }
    }

    /// Waits until an object is not there.
    ///
    /// # Errors
    /// When that takes longer than [`START`].
    pub async fn wait_until_gone<K: Watched>(&self, name: &str) -> Result<(), KubernetesError> {
        let absent = |object: Option<&K>| object.is_none();
        let waiting = kube::runtime::wait::await_condition(self.api::<K>(), name, absent);
        let late = |_| KubernetesError::Late { awaited: format!("the end of {} {name}", K::kind(&())), within: START };
        tokio::time::timeout(START, waiting).await.map(drop).map_err(late)
    }

    /// Waits until the operator, as the audit log has it, has nothing to write any more for `quiet`.
    ///
    /// # Errors
    /// When it still writes after [`START`], or the audit log cannot be read.
    pub async fn wait_until_silent(&self, quiet: Duration) -> Result<(), KubernetesError> {
        let mut audit = self.plane.audit();
        let begin = tokio::time::Instant::now();
        let mut last = begin;
        while begin.elapsed() < START {
            if audit.read()?.iter().any(|event| event.user.username == self.user() && event.is_write()) {
                last = tokio::time::Instant::now();
            }
            if last.elapsed() >= quiet {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
        Err(KubernetesError::Late { awaited: "an operator that has nothing to write".to_owned(), within: START })
    }

    /// The operator's requests since the start of the API server.
    ///
    /// # Errors
    /// When the audit log cannot be read.
    pub fn requests(&self) -> Result<Vec<AuditEvent>, KubernetesError> {
        let mut events = self.plane.audit().read()?;
        events.retain(|event| event.user.username == self.user());
        Ok(events)
    }
}

/// The CustomResourceDefinitions, as they are checked in.
#[must_use]
pub fn definitions() -> String {
    let files = ["vmanomalies", "anomalymodels", "anomalyqueries"];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/yaml");
    let read = |name: &&str| std::fs::read_to_string(folder.join(format!("{name}.yaml"))).unwrap_or_default();
    files.iter().map(read).collect::<Vec<_>>().join("\n---\n")
}

/// What `helm template` makes of the chart.
///
/// # Errors
/// When helm is missing, or refuses the values.
pub async fn chart(namespace: &str, arguments: &[&str]) -> Result<Vec<Value>, KubernetesError> {
    let helm = find(Program::Helm).map_err(StartError::from)?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/vmanomaly-operator");
    let output = Command::new(helm)
        .args(["template", RELEASE])
        .arg(folder)
        .args(["--namespace", namespace])
        .args(arguments)
        .output()
        .await
        .map_err(|source| StartError::Io { name: "helm".to_owned(), source })?;
    let unusable = |message: String| KubernetesError::Yaml { what: "the chart", message };
    if !output.status.success() {
        return Err(unusable(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    serde_saphyr::from_multiple(&text).map_err(|error| unusable(error.to_string()))
}
