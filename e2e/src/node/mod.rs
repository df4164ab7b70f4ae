//! A whole one-node Kubernetes in namespaces of its own: etcd, API server, controllers, scheduler, containerd, kubelet,
//! kube-proxy, CoreDNS, real pods. It needs root; nothing of the host is changed, and all of it is gone, files and
//! cgroups included, when the [`Node`] is dropped or its process dies in any way.
//!
//! How it hangs together: `unshare` starts this crate's program `node` as first process of new network, mount and
//! process namespaces ([`init`]), which starts the node's own process ([`inside`]). Their standard input is a listening
//! socket on the host's loopback, made out here, through which the API server is reached without any network
//! interface on the host. Their standard output is one end of a socket pair: events come out, requests go in, and its
//! end ends the node.

#[cfg(target_os = "linux")]
#[cfg(target_os = "linux")]
mod component;
#[cfg(target_os = "linux")]
mod configuration;
#[cfg(target_os = "linux")]
pub mod init;
#[cfg(target_os = "linux")]
pub mod inside;
#[cfg(target_os = "linux")]
mod isolation;
pub mod programs;
pub mod protocol;
#[cfg(target_os = "linux")]
mod volumes;

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc};

use crate::catalogue;
use crate::image::ImageError;
use programs::{ProgramError, Programs};
use protocol::{Event, Request, Settings, Step};

/// How long a node may take from its start to its readiness.
const START: Duration = Duration::from_secs(120);

/// How long a node may take to go away before it is killed.
const END: Duration = Duration::from_secs(10);

const ELSEWHERE: &str = "or name a cluster with CLUSTER=<kubeconfig context>";

/// Why there is no node.
#[derive(thiserror::Error)]
pub enum NodeError {
    /// Another system.
    #[error("a node needs Linux: run this on a Linux machine, {ELSEWHERE}")]
    System,
    /// Another user.
    #[error("a node needs root, for namespaces and mounts: run this as root, {ELSEWHERE}")]
    Root,
    /// Programs are not there.
    #[error(transparent)]
    Programs(#[from] ProgramError),
    /// The image that holds the namespaces of pods cannot be made.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Cargo has not built the node's own program.
    #[error("{path} is not there: run `cargo build -p e2e --bins`")]
    NotBuilt {
        /// Where cargo puts it.
        path: String,
    },
    /// No new namespaces.
    #[error(
        "this machine does not allow root new namespaces (unshare: {message}): run this outside of a container, {ELSEWHERE}"
    )]
    Namespaces {
        /// The words of `unshare`.
        message: String,
    },
    /// The system refused a file, a socket or a process.
    #[error("{what}: {source}")]
    Io {
        /// What it was for.
        what: String,
        /// What failed.
        source: std::io::Error,
    },
    /// The inside says why.
    #[error("the node does not work: {0}; see to that, {ELSEWHERE}")]
    Failed(String),
    /// The inside went away without a word.
    #[error("the node went away; its last words: {0}")]
    Gone(String),
    /// It takes too long.
    #[error("the node was not ready after {} s; what worked: {worked}", START.as_secs())]
    Late {
        /// The parts that worked.
        worked: String,
    },
    /// An image was refused.
    #[error("image {archive}: {message}")]
    Import {
        /// The archive.
        archive: String,
        /// The container runtime's words.
        message: String,
    },
}

impl std::fmt::Debug for NodeError {
    /// As its message: `unwrap` in a test then prints what to do.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{self}")
    }
}

fn failed(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> NodeError {
    let what = what.into();
    move |source| NodeError::Io { what, source }
}

/// A running node. Dropping it takes it down and waits until it is gone.
#[derive(Debug)]
pub struct Node {
    process: Child,
    settings: Settings,
    requests: Option<UnixStream>,
    events: Mutex<mpsc::UnboundedReceiver<Event>>,
}

impl Node {
    /// Starts a node with the images of `archives`, and tells `progress` of each part that works.
    ///
    /// # Errors
    /// In one sentence when this machine cannot have a node, or with the last lines of the program that failed.
    pub async fn start(archives: &[PathBuf], progress: impl FnMut(&Step)) -> Result<Self, NodeError> {
        let mut node = Self::spawn(archives)?;
        node.ready(progress).await?;
        Ok(node)
    }

    fn spawn(archives: &[PathBuf]) -> Result<Self, NodeError> {
        check()?;
        let programs = Programs::find()?;
        let program = own_program()?;

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed("a port for the API server"))?;
        let port = listener.local_addr().map_err(failed("a port for the API server"))?.port();
        let (outside, inside) = UnixStream::pair().map_err(failed("a socket pair"))?;
        let folder = tempfile::Builder::new().prefix("node-").tempdir().map_err(failed("the node's folder"))?;
        let name = folder.path().file_name().unwrap_or_default().to_string_lossy().replace('.', "-");
        let images = copies(folder.path(), archives)?;
        let settings =
            Settings { cgroup: format!("/{name}"), port, programs, images, folder: folder.path().to_path_buf() };
        let argument = serde_json::to_string(&settings).map_err(|error| NodeError::Failed(error.to_string()))?;
        let words = std::fs::File::create(settings.folder.join("words")).map_err(failed("the node's folder"))?;

        let mut command = Command::new("unshare");
        command.args(UNSHARE).arg("--").arg(&program).args(["init", &argument]);
        command.stdin(OwnedFd::from(listener)).stdout(OwnedFd::from(inside)).stderr(words);
        // Ctrl-C is for the process that has the node; it takes the node down in order.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let process = command.spawn().map_err(failed("unshare"))?;
        // From here on the node's first process removes the folder.
        let _ = folder.keep();
        // The command holds the inside's ends of the sockets, whose closing is how the end of the node is seen.
        drop(command);

        let read = outside.try_clone().map_err(failed("a socket"))?;
        let (send, events) = mpsc::unbounded_channel();
        // A thread, since a node outlives the runtime of the test that happens to start it.
        std::thread::spawn(move || {
            for line in BufReader::new(read).lines().map_while(Result::ok) {
                if let Ok(event) = serde_json::from_str(&line) {
                    let _ = send.send(event);
                }
            }
        });
        Ok(Self { process, settings, requests: Some(outside), events: Mutex::new(events) })
    }

    async fn ready(&mut self, mut progress: impl FnMut(&Step)) -> Result<(), NodeError> {
        let mut worked = Vec::new();
        let begin = Instant::now();
        loop {
            let left = START.saturating_sub(begin.elapsed());
            match tokio::time::timeout(left, self.events.get_mut().recv()).await {
                Ok(Some(Event::Step(step))) => {
                    progress(&step);
                    worked.push(step.name);
                }
                Ok(Some(Event::Ready)) => return Ok(()),
                Ok(Some(Event::Failed(reason))) => return Err(NodeError::Failed(reason)),
                Ok(Some(Event::Imported { .. })) => {}
                Ok(None) => return Err(NodeError::Gone(self.words())),
                Err(_) => return Err(NodeError::Late { worked: worked.join(", ") }),
            }
        }
    }

    /// What the first processes printed, which is nothing while all is well.
    fn words(&self) -> String {
        std::fs::read_to_string(self.settings.folder.join("words")).unwrap_or_default().trim().to_owned()
    }

    /// The administrator's kubeconfig, with the context `node`, for programs on this host.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.settings.kubeconfig()
    }

    /// The log of one of the node's programs: `kubelet`.
    #[must_use]
    pub fn log(&self, program: &str) -> PathBuf {
        self.settings.log(program)
    }

    /// The processes of all pods, as this host numbers them.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn processes(&self) -> Result<Vec<u32>, NodeError> {
        let entries = std::fs::read_dir("/proc").map_err(failed("/proc"))?.flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let is_ours = |process: &u32| {
            let cgroups = std::fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap_or_default();
            let paths = cgroups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
            { paths }
                .any(|path| path == self.settings.cgroup || path.starts_with(&format!("{}/", self.settings.cgroup)))
        };
        Ok(numbers.filter(is_ours).collect())
    }

    /// Makes the images of an OCI or Docker archive usable by pods.
    ///
    /// # Errors
    /// When the archive cannot be read, or the container runtime refuses it.
    pub async fn import_image(&self, archive: &Path) -> Result<(), NodeError> {
        let mut events = self.events.lock().await;
        let copy = self.settings.folder.join("import.tar");
        std::fs::copy(archive, &copy).map_err(failed(archive.display().to_string()))?;
        let request = serde_json::to_vec(&Request::Import { archive: copy.clone() }).unwrap_or_default();
        let mut socket = self.requests.as_ref().ok_or_else(|| NodeError::Gone(self.words()))?;
        socket.write_all(&request).and_then(|()| socket.write_all(b"\n")).map_err(failed("the node"))?;
        let result = loop {
            match events.recv().await {
                Some(Event::Imported { archive: imported, error }) if imported == copy => break error,
                Some(Event::Failed(reason)) => return Err(NodeError::Failed(reason)),
                Some(_) => {}
                None => return Err(NodeError::Gone(self.words())),
            }
        };
        let _ = std::fs::remove_file(copy);
        match result {
            None => Ok(()),
            Some(message) => Err(NodeError::Import { archive: archive.display().to_string(), message }),
        }
    }

    /// Takes the node down and waits until it is gone, as dropping it does.
    pub fn end(mut self) {
        self.take_down();
    }

    fn take_down(&mut self) {
        // The reading thread holds a clone of the socket: only this reaches the inside in spite of it.
        if let Some(socket) = self.requests.take() {
            let _ = socket.shutdown(std::net::Shutdown::Write);
        }
        let begin = Instant::now();
        while begin.elapsed() < END {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.settings.folder);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.take_down();
    }
}

/// New namespaces of network, mounts and processes, of which the first process ends with `unshare` itself.
const UNSHARE: [&str; 8] =
    ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"];

/// Whether this machine can have a node.
///
/// # Errors
/// The reason, in one sentence.
pub fn check() -> Result<(), NodeError> {
    if !cfg!(target_os = "linux") {
        return Err(NodeError::System);
    }
    let status = std::fs::read_to_string("/proc/self/status").map_err(failed("/proc"))?;
    let effective = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1));
    if effective != Some("0") {
        return Err(NodeError::Root);
    }
    let trial = Command::new("unshare").args(UNSHARE).args(["--", "true"]).stdin(Stdio::null()).output();
    let trial = trial.map_err(failed("unshare (Debian package util-linux)"))?;
    if trial.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&trial.stderr);
    Err(NodeError::Namespaces { message: message.trim().trim_start_matches("unshare: ").to_owned() })
}

/// Archives lie where the inside sees them, whatever is mounted over the folders of the host.
fn copies(folder: &Path, archives: &[PathBuf]) -> Result<Vec<PathBuf>, NodeError> {
    let copied = archives.iter().enumerate().map(|(number, archive)| {
        let copy = folder.join(format!("image-{number}.tar"));
        std::fs::copy(archive, &copy).map_err(failed(archive.display().to_string()))?;
        Ok(copy)
    });
    let pause = folder.join("pause.tar");
    catalogue::busybox()?.write(&pause)?;
    copied.chain([Ok(pause)]).collect()
}

/// Cargo puts programs into `target/<profile>/` and test executables into `target/<profile>/deps/`.
fn own_program() -> Result<PathBuf, NodeError> {
    let executable = std::env::current_exe().map_err(failed("this program's own path"))?;
    let folder = executable.parent().unwrap_or(Path::new(""));
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    let file = folder.join("node");
    if file.is_file() { Ok(file) } else { Err(NodeError::NotBuilt { path: file.display().to_string() }) }
}
