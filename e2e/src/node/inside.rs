//! The node's own process inside its namespaces: starts everything in order, says when each part works, and ends when
//! the outside does.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{join_all, select_all};
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, Config};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{Mutex, mpsc};

use super::component::{Component, last_lines};
use super::configuration as configured;
use super::configuration::{API_CLUSTER_IP, API_PORT, DNS_READY_PORT, NODE_ADDRESS, NODE_NAME, Start};
use super::isolation::{IsolationError, environment, isolate, run as run_command};
use super::protocol::{Event, Request, Settings, Step};
use super::volumes::{VolumeError, provision};

/// How often something is tried that cannot be awaited.
const POLL: Duration = Duration::from_millis(25);

/// Why a node cannot start, or goes away.
#[derive(Debug, thiserror::Error)]
enum InsideError {
    #[error(transparent)]
    Isolation(#[from] IsolationError),
    #[error("certificates: {0}")]
    Certificates(#[from] ::tests::kubernetes::KubernetesError),
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("{name} could not be started: {source}")]
    Start { name: &'static str, source: io::Error },
    #[error("{name} ended by itself ({status}); its last lines:\n{log}")]
    Ended { name: &'static str, status: String, log: String },
    #[error("image {archive}: {message}")]
    Import { archive: PathBuf, message: String },
    #[error("kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    #[error("API server: {0}")]
    Api(#[from] kube::Error),
    #[error("waiting for {awaited}: {source}")]
    Wait { awaited: &'static str, source: kube::runtime::wait::Error },
    #[error(transparent)]
    Volumes(#[from] VolumeError),
}

/// The socket to the outside. It is this process's stdout, so nothing may print.
#[derive(Clone)]
struct Outside {
    write: Arc<Mutex<tokio::net::unix::OwnedWriteHalf>>,
    begin: Instant,
}

impl Outside {
    async fn say(&self, event: &Event) {
        let mut line = serde_json::to_vec(event).unwrap_or_default();
        line.push(b'\n');
        // When nobody listens any more, the reading half ends this process.
        let _ = self.write.lock().await.write_all(&line).await;
    }

    async fn step(&self, name: &str, detail: impl Into<String>) {
        let step = Step { name: name.to_owned(), detail: detail.into(), seconds: self.begin.elapsed().as_secs_f64() };
        self.say(&Event::Step(step)).await;
    }
}

/// Everything, until the outside is gone or a component ends.
#[must_use]
pub fn run(settings: &Settings) -> ExitCode {
    let result = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match result.and_then(|runtime| runtime.block_on(live(settings))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the node's own process: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn live(settings: &Settings) -> io::Result<()> {
    let socket = std::os::unix::net::UnixStream::from(io::stdout().as_fd().try_clone_to_owned()?);
    socket.set_nonblocking(true)?;
    let listener = std::net::TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let (read, write) = UnixStream::from_std(socket)?.into_split();
    let outside = Outside { write: Arc::new(Mutex::new(write)), begin: Instant::now() };

    let (requests, asked) = mpsc::unbounded_channel();
    let lifeline = async move {
        let mut lines = BufReader::new(read).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if let Ok(request) = serde_json::from_str(&line) {
                let _ = requests.send(request);
            }
        }
    };
    tokio::select! {
        () = lifeline => {}
        Err(error) = start(settings, &outside, asked) => outside.say(&Event::Failed(error.to_string())).await,
        () = answer(listener) => {}
    }
    Ok(())
}

/// The API server, on the host's loopback: the listener was made outside, the connections are made inside.
async fn answer(listener: TcpListener) {
    loop {
        let Ok((mut outer, _)) = listener.accept().await else {
            tokio::time::sleep(POLL).await;
            continue;
        };
        tokio::spawn(async move {
            let _ = outer.set_nodelay(true);
            if let Ok(mut inner) = TcpStream::connect((NODE_ADDRESS, API_PORT)).await {
                let _ = inner.set_nodelay(true);
                let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
            }
        });
    }
}

async fn start(
    settings: &Settings,
    outside: &Outside,
    mut requests: mpsc::UnboundedReceiver<Request>,
) -> Result<(), InsideError> {
    isolate(settings)?;
    for (path, content) in configured::credentials(settings)?.into_iter().chain(configured::files(settings)) {
        write(&path, &content).map_err(|source| InsideError::File { path, source })?;
    }
    outside.step("namespaces", "network, mounts, processes of its own").await;

    let mut components = Vec::new();
    for start in configured::first() {
        components.push(begin(settings, &start)?);
    }
    let (rest, mut later) = mpsc::unbounded_channel();
    let order = async {
        let images = async {
            container_runtime().await;
            outside.step("containerd", "answers").await;
            join_all(settings.images.iter().map(|archive| import(settings, archive)))
                .await
                .into_iter()
                .collect::<Result<Vec<()>, _>>()?;
            outside.step("images", format!("{} archives imported", settings.images.len())).await;
            Ok::<_, InsideError>(())
        };
        let cluster = async {
            let client = api_server().await?;
            outside.step("kube-apiserver", format!("https://127.0.0.1:{}, with etcd", settings.port)).await;
            for start in configured::second() {
                let _ = rest.send(begin(settings, &start)?);
            }
            objects(&client).await?;
            let nodes = Api::<Node>::all(client.clone());
            awaited("the Node object", await_condition(nodes.clone(), NODE_NAME, conditions::is_created())).await?;
            let _ = rest.send(begin(settings, &configured::third())?);
            let ready = async {
                awaited("the node's readiness", await_condition(nodes, NODE_NAME, is_ready)).await?;
                outside.step("kubelet", "node is Ready").await;
                Ok::<_, InsideError>(())
            };
            let accounts = async {
                let accounts = Api::<ServiceAccount>::namespaced(client.clone(), "default");
                awaited("service accounts", await_condition(accounts, "default", conditions::is_created())).await?;
                outside.step("kube-controller-manager", "makes service accounts").await;
                Ok(())
            };
            let services = async {
                connected(SocketAddr::from((API_CLUSTER_IP, 443))).await;
                outside.step("kube-proxy", format!("the API server answers on ClusterIP {API_CLUSTER_IP}")).await;
                Ok(())
            };
            let names = async {
                answered_ok(SocketAddr::from(([127, 0, 0, 1], DNS_READY_PORT)), "/ready").await;
                outside.step("coredns", "answers").await;
                Ok(())
            };
            futures_util::try_join!(ready, accounts, services, names)?;
            Ok(client)
        };
        let (client, ()) = futures_util::try_join!(cluster, images)?;
        outside.say(&Event::Ready).await;
        let imports = async {
            while let Some(Request::Import { archive }) = requests.recv().await {
                let error = import(settings, &archive).await.err().map(|error| error.to_string());
                outside.say(&Event::Imported { archive, error }).await;
            }
            std::future::pending::<Result<(), InsideError>>().await
        };
        let volumes = async { provision(client).await.map_err(InsideError::from) };
        futures_util::try_join!(imports, volumes).map(|((), ())| ())
    };

    let mut order = std::pin::pin!(order);
    loop {
        let ended = async {
            if components.is_empty() {
                return std::future::pending().await;
            }
            let endings = components.iter_mut().map(|component| {
                let name = component.name;
                Box::pin(async move { (name, component.ended().await) })
            });
            select_all(endings).await.0
        };
        tokio::select! {
            result = &mut order => return result,
            (name, status) = ended => {
                let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                return Err(InsideError::Ended { name, status, log: last_lines(settings, name) });
            }
            Some(component) = later.recv() => components.push(component),
        }
    }
}

fn begin(settings: &Settings, start: &Start) -> Result<Component, InsideError> {
    Component::start(settings, start).map_err(|source| InsideError::Start { name: start.name, source })
}

/// Keys are in some of the files, so all are for root only.
fn write(path: &Path, content: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = fs::File::options().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    io::Write::write_all(&mut file, content.as_bytes())
}

async fn container_runtime() {
    while UnixStream::connect(configured::containerd_socket()).await.is_err() {
        tokio::time::sleep(POLL).await;
    }
}

async fn import(settings: &Settings, archive: &Path) -> Result<(), InsideError> {
    let mut command = Command::new(settings.programs.path("ctr"));
    command.arg("--address").arg(configured::containerd_socket());
    command.args(["--namespace", "k8s.io", "images", "import"]).arg(archive);
    environment(&mut command, settings);
    let result = tokio::task::spawn_blocking(move || run_command(&mut command)).await;
    let message = match result {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(message)) => message,
        Err(error) => error.to_string(),
    };
    Err(InsideError::Import { archive: archive.to_path_buf(), message })
}

/// Waits for the API server to be ready.
async fn api_server() -> Result<Client, InsideError> {
    let kubeconfig = Kubeconfig::read_from(configured::kubeconfig("administrator"))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;
    loop {
        let mut request = http::Request::new(Vec::new());
        *request.uri_mut() = http::Uri::from_static("/readyz");
        if client.request_text(request).await.is_ok() {
            return Ok(client);
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn objects(client: &Client) -> Result<(), InsideError> {
    let class: StorageClass = serde_json::from_value(configured::storage_class()).map_err(kube::Error::SerdeError)?;
    Api::all(client.clone()).create(&PostParams::default(), &class).await?;
    Ok(())
}

async fn awaited<K>(
    awaited: &'static str,
    condition: impl Future<Output = Result<Option<K>, kube::runtime::wait::Error>>,
) -> Result<(), InsideError> {
    condition.await.map(drop).map_err(|source| InsideError::Wait { awaited, source })
}

fn is_ready(node: Option<&Node>) -> bool {
    let status = node.and_then(|node| node.status.as_ref());
    let conditions = status.and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}

async fn connected(address: SocketAddr) {
    loop {
        match tokio::time::timeout(Duration::from_secs(1), TcpStream::connect(address)).await {
            Ok(Ok(_)) => return,
            _ => tokio::time::sleep(POLL).await,
        }
    }
}

/// Waits until a server answers `path` with 200.
async fn answered_ok(address: SocketAddr, path: &str) {
    loop {
        if asked(address, path).await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            return;
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn asked(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await?;
    Ok(line)
}
