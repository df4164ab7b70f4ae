//! etcd, kube-apiserver and, on request, kube-controller-manager, on loopback with a folder of their own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::http::Request;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{Api, ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::sync::OnceCell;

use super::audit::{AuditLog, POLICY};
use super::authority::{Authority, SigningKey};
use super::user::{Credentials, User, kubeconfig};
use super::{KubernetesError, api, write};
use crate::components::{ComponentError, Program, find};
use crate::process::{Process, START, StartError, free_port};
use crate::swept_folder::SweptFolder;

/// Services get their cluster-internal addresses from here. Nothing routes them.
const SERVICE_ADDRESSES: &str = "10.96.0.0/16";

/// How often a start is tried again when another program has taken a port that was free a moment before.
const ATTEMPTS: u32 = 3;

/// How to start a control plane.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Whether Kubernetes' own controllers run: garbage collection, deletion of namespaces, StatefulSets' pods, ...
    /// (there is no scheduler and no node). Without them an object changes only when somebody asks for it.
    pub controllers: bool,
    /// Further flags of kube-apiserver, which win over the usual ones.
    pub apiserver_flags: Vec<String>,
}

/// A running control plane. Everything of it ends when it is dropped or when the test process ends.
#[derive(Debug)]
pub struct ControlPlane {
    // In the order in which they end: nobody sees the one behind it go first, and the folder goes last.
    controller_manager: Option<Process>,
    apiserver: Process,
    etcd: Process,
    url: String,
    files: Files,
    kubeconfigs: AtomicU32,
}

/// The folder of a control plane with its authority.
#[derive(Debug)]
struct Files {
    authority: Authority,
    folder: SweptFolder,
}

static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();

impl ControlPlane {
    /// Starts etcd and kube-apiserver and waits until the API is ready, which takes three to four seconds.
    ///
    /// # Errors
    /// When a program is missing or does not get ready.
    pub async fn start() -> Result<Self, KubernetesError> {
        Self::start_with(&Setup::default()).await
    }

    /// The same as `setup` says.
    ///
    /// # Errors
    /// When a program is missing or does not get ready.
    pub async fn start_with(setup: &Setup) -> Result<Self, KubernetesError> {
        let mut attempt = 1;
        loop {
            match Self::attempt(setup).await {
                Err(KubernetesError::Start(StartError::Ended { log, .. }))
                    if attempt < ATTEMPTS && log.contains("address already in use") =>
                {
                    attempt += 1;
                }
                started => return started,
            }
        }
    }

    /// The control plane that all tests of one test program share, without Kubernetes' own controllers. The first one
    /// to ask starts it; it ends with the program. Take a [`ControlPlane::namespace`] each, and leave what is
    /// cluster-wide as it is.
    ///
    /// # Errors
    /// When a program is missing or does not get ready.
    pub async fn shared() -> Result<&'static Self, KubernetesError> {
        // Nothing in it belongs to the runtime of the test that starts it.
        SHARED.get_or_try_init(Self::start).await
    }

    async fn attempt(setup: &Setup) -> Result<Self, KubernetesError> {
        let files = Files::new()?;
        let (etcd, store) = start_etcd(&files).await?;
        let (apiserver, url) = start_apiserver(&files, &store, setup)?;
        let kubeconfigs = AtomicU32::new(0);
        let mut started = Self { controller_manager: None, apiserver, etcd, url, files, kubeconfigs };
        let admin = started.credentials(User::Admin).await?;
        started.write_kubeconfig(&started.kubeconfig(), &admin)?;

        let client = started.client().await?;
        let ready = async |_: &Process| {
            let request = Request::get("/readyz").body(Vec::new()).ok()?;
            client.request_text(request).await.ok().filter(|answer| answer == "ok").map(drop)
        };
        started.apiserver.wait_until("an answer of /readyz", START, ready).await?;
        if setup.controllers {
            started.controller_manager = Some(started.start_controllers(&client).await?);
        }
        Ok(started)
    }

    /// The base URL of the API.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The folder with its logs (`etcd.log`, `kube-apiserver.log`, ...), certificates and kubeconfigs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.files.folder.path()
    }

    /// The processes: etcd, kube-apiserver, and kube-controller-manager if it was asked for.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        [&self.etcd, &self.apiserver].into_iter().chain(&self.controller_manager)
    }

    /// The requests that the API server has answered since its start. Each call reads on its own.
    #[must_use]
    pub fn audit(&self) -> AuditLog {
        AuditLog::from_beginning(&self.files.path("audit.log"))
    }

    /// The kubeconfig of the administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.files.path("admin.kubeconfig")
    }

    /// A new kubeconfig of `user`, for a program that is to act as it. A token in it is good for an hour.
    ///
    /// # Errors
    /// When the ServiceAccount does not exist, or a file cannot be written.
    pub async fn kubeconfig_as(&self, user: User<'_>) -> Result<PathBuf, KubernetesError> {
        let credentials = self.credentials(user).await?;
        let number = self.kubeconfigs.fetch_add(1, Ordering::Relaxed);
        let path = self.files.path(&format!("user-{number}.kubeconfig"));
        self.write_kubeconfig(&path, &credentials)?;
        Ok(path)
    }

    /// A client of the administrator. It retries nothing. It belongs to the calling test's runtime.
    ///
    /// # Errors
    /// When its certificate cannot be read.
    pub async fn client(&self) -> Result<Client, KubernetesError> {
        client(&self.kubeconfig()).await
    }

    /// A client of `user`. It retries nothing. It belongs to the calling test's runtime.
    ///
    /// # Errors
    /// When the ServiceAccount does not exist, or a file cannot be written or read.
    pub async fn client_as(&self, user: User<'_>) -> Result<Client, KubernetesError> {
        client(&self.kubeconfig_as(user).await?).await
    }

    /// A new namespace, whose name nothing had before.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn namespace(&self) -> Result<String, KubernetesError> {
        let metadata = ObjectMeta { generate_name: Some("test-".to_owned()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        let namespaces = Api::<Namespace>::all(self.client().await?);
        let created = namespaces.create(&PostParams::default(), &namespace).await.map_err(api("a new namespace"))?;
        Ok(created.metadata.name.unwrap_or_default())
    }

    async fn credentials(&self, user: User<'_>) -> Result<Credentials, KubernetesError> {
        let certificate = |group| self.files.authority.client(&user.name(), group).map(Credentials::Certificate);
        match user {
            User::Admin => certificate(Some("system:masters")),
            User::Named { group, .. } => certificate(group),
            User::ServiceAccount { namespace, name } => self.token(namespace, name).await.map(Credentials::Token),
        }
    }

    async fn token(&self, namespace: &str, name: &str) -> Result<String, KubernetesError> {
        let accounts = Api::<ServiceAccount>::namespaced(self.client().await?, namespace);
        let request = TokenRequest { spec: Some(TokenRequestSpec::default()), ..TokenRequest::default() };
        let answer = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .map_err(api(format!("a token for the ServiceAccount {namespace}/{name}")))?;
        let token = answer.status.and_then(|status| status.token);
        token.ok_or_else(|| KubernetesError::NoToken { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    fn write_kubeconfig(&self, path: &Path, credentials: &Credentials) -> Result<(), KubernetesError> {
        let files = [path.with_extension("crt"), path.with_extension("key")];
        if let Credentials::Certificate(identity) = credentials {
            write(&files[0], &identity.certificate)?;
            write(&files[1], &identity.key)?;
        }
        let trusted = self.files.path("authority.crt");
        let content = kubeconfig(&self.url, &trusted, credentials, [&files[0], &files[1]]);
        // JSON is YAML.
        write(path, &content.to_string())
    }

    async fn start_controllers(&self, client: &Client) -> Result<Process, KubernetesError> {
        let name = "kube-controller-manager";
        let port = free_port().map_err(|source| StartError::Io { name: name.to_owned(), source })?;
        let mut command = program(Program::KubeControllerManager)?;
        command.arg("--bind-address=127.0.0.1").arg(format!("--secure-port={port}"));
        command.args(["--leader-elect=false", "--use-service-account-credentials"]);
        // There are no nodes whose addresses it could give out.
        command.arg("--controllers=*,-node-ipam-controller");
        flag(&mut command, "kubeconfig", &self.kubeconfig());
        flag(&mut command, "root-ca-file", &self.files.path("authority.crt"));
        flag(&mut command, "service-account-private-key-file", &self.files.path("tokens.key"));
        let mut process = Process::spawn(name, command, &self.files.path("kube-controller-manager.log"))?;
        let accounts = Api::<ServiceAccount>::namespaced(client.clone(), "default");
        let made = async |_: &Process| accounts.get_opt("default").await.ok().flatten().map(drop);
        process.wait_until("the ServiceAccount that it makes", START, made).await?;
        Ok(process)
    }
}

impl Files {
    fn new() -> Result<Self, KubernetesError> {
        let folder = SweptFolder::new("control-plane-")
            .map_err(|source| StartError::Io { name: "the control plane".to_owned(), source })?;
        let files = Self { authority: Authority::new()?, folder };
        write(&files.path("authority.crt"), &files.authority.certificate())?;
        let server = files.authority.server(&["127.0.0.1", "localhost", "kubernetes.default.svc"])?;
        write(&files.path("server.crt"), &server.certificate)?;
        write(&files.path("server.key"), &server.key)?;
        let tokens = SigningKey::new()?;
        write(&files.path("tokens.key"), &tokens.private)?;
        write(&files.path("tokens.pub"), &tokens.public)?;
        write(&files.path("audit-policy.yaml"), POLICY)?;
        Ok(files)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Starts etcd and brings the URL on which the API server finds it.
async fn start_etcd(files: &Files) -> Result<(Process, String), KubernetesError> {
    let port = || free_port().map_err(|source| StartError::Io { name: "etcd".to_owned(), source });
    let (clients, peers) = (format!("http://127.0.0.1:{}", port()?), format!("http://127.0.0.1:{}", port()?));
    let mut command = program(Program::Etcd)?;
    flag(&mut command, "data-dir", &files.path("etcd"));
    // Nothing has to survive the machine.
    command.arg("--unsafe-no-fsync");
    command.arg(format!("--listen-client-urls={clients}")).arg(format!("--advertise-client-urls={clients}"));
    command.arg(format!("--listen-peer-urls={peers}")).arg(format!("--initial-advertise-peer-urls={peers}"));
    command.arg(format!("--initial-cluster=default={peers}"));
    let mut process = Process::spawn("etcd", command, &files.path("etcd.log"))?;
    let ready = |output: &str| output.contains("ready to serve client requests").then_some(());
    process.wait_for_output("its readiness", START, ready).await?;
    Ok((process, clients))
}

/// Starts kube-apiserver and brings its URL.
fn start_apiserver(files: &Files, store: &str, setup: &Setup) -> Result<(Process, String), KubernetesError> {
    let name = "kube-apiserver";
    let port = free_port().map_err(|source| StartError::Io { name: name.to_owned(), source })?;
    let mut command = program(Program::KubeApiserver)?;
    command.arg(format!("--etcd-servers={store}"));
    command.args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"]).arg(format!("--secure-port={port}"));
    flag(&mut command, "client-ca-file", &files.path("authority.crt"));
    flag(&mut command, "tls-cert-file", &files.path("server.crt"));
    flag(&mut command, "tls-private-key-file", &files.path("server.key"));
    command.arg("--service-account-issuer=https://kubernetes.default.svc");
    flag(&mut command, "service-account-key-file", &files.path("tokens.pub"));
    flag(&mut command, "service-account-signing-key-file", &files.path("tokens.key"));
    command.arg(format!("--service-cluster-ip-range={SERVICE_ADDRESSES}"));
    command.arg("--authorization-mode=Node,RBAC");
    // No pod asks for the Service `kubernetes`, whose endpoints would be written again and again.
    command.arg("--endpoint-reconciler-type=none");
    if !setup.controllers {
        // Nobody makes the ServiceAccount `default`, without which this one refuses every pod.
        command.arg("--disable-admission-plugins=ServiceAccount");
    }
    flag(&mut command, "audit-policy-file", &files.path("audit-policy.yaml"));
    flag(&mut command, "audit-log-path", &files.path("audit.log"));
    // In MB: never begins a second file.
    command.arg("--audit-log-maxsize=100000");
    command.args(&setup.apiserver_flags);
    let process = Process::spawn(name, command, &files.path("kube-apiserver.log"))?;
    Ok((process, format!("https://127.0.0.1:{port}")))
}

fn program(program: Program) -> Result<Command, KubernetesError> {
    let path = find(program).map_err(|error: ComponentError| StartError::from(error))?;
    Ok(Command::new(path))
}

fn flag(command: &mut Command, name: &str, path: &Path) {
    command.arg(format!("--{name}={}", path.display()));
}

async fn client(path: &Path) -> Result<Client, KubernetesError> {
    // Fails when another test of this process has done it already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let refused = |source| KubernetesError::Kubeconfig { path: path.display().to_string(), source: Box::new(source) };
    let kubeconfig = Kubeconfig::read_from(path).map_err(refused)?;
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(refused)?;
    // A test sees each answer as it is.
    config.default_retry = false;
    Client::try_from(config).map_err(api("a client"))
}
