//! What can happen to a worker on a node of our own: its process is killed or stands still, its network is cut.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::node::programs::{self, Programs};
use crate::node::{Node, NodeError};

/// Why nothing could be done to a pod.
#[derive(thiserror::Error)]
pub enum FaultError {
    /// The node does not say what runs on it.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// It starts, ends, or is not there.
    #[error("pod {pod} has {found} processes with its name, not one")]
    NoProcess {
        /// The pod.
        pod: String,
        /// How many there are.
        found: usize,
    },
    /// It has ended.
    #[error("process {process} is gone")]
    Gone {
        /// Its number.
        process: u32,
    },
    /// The system refused.
    #[error("{what}: {source}")]
    Io {
        /// What it was for.
        what: String,
        /// What failed.
        source: std::io::Error,
    },
    /// A program failed.
    #[error("`{command}`: {message}")]
    Command {
        /// The command.
        command: String,
        /// Its own words.
        message: String,
    },
}

impl std::fmt::Debug for FaultError {
    /// As its message: `unwrap` in a test then prints what to do.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{self}")
    }
}

/// What a process is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGKILL: it is gone at once.
    Kill,
    /// SIGSTOP: it stays, and does nothing.
    Stop,
    /// SIGCONT: it goes on.
    Continue,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "-KILL",
            Self::Stop => "-STOP",
            Self::Continue => "-CONT",
        }
    }
}

/// The process of a pod of ours, as this host numbers it.
///
/// # Errors
/// When it has none just now.
pub fn process(node: &Node, pod: &str) -> Result<u32, FaultError> {
    let wanted = format!("POD_NAME={pod}");
    let is_it = |process: &u32| {
        let environment = std::fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    };
    let found: Vec<u32> = node.processes()?.into_iter().filter(is_it).collect();
    match found[..] {
        [process] => Ok(process),
        _ => Err(FaultError::NoProcess { pod: pod.to_owned(), found: found.len() }),
    }
}

/// Sends a signal to a process of the node.
///
/// # Errors
/// When it is gone.
pub fn signal(process: u32, signal: Signal) -> Result<(), FaultError> {
    let mut command = Command::new("kill");
    command.args([signal.name(), &process.to_string()]);
    run(command).map_err(|error| match error {
        FaultError::Command { .. } => FaultError::Gone { process },
        other => other,
    })
}

/// What a pod does not reach any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// This TCP port, neither of others nor others its own: packets vanish, nobody is told.
    Port(u16),
    /// Anything.
    Everything,
}

/// A pod whose network is cut, in its own network namespace, until [`Partition::heal`] or the end of the pod.
#[derive(Debug)]
pub struct Partition {
    /// Held open: the namespace outlives the process.
    namespace: File,
    iptables: Iptables,
    rules: Vec<Vec<String>>,
}

impl Partition {
    /// Cuts the network of a pod. Connections that are open stay open and get nothing.
    ///
    /// # Errors
    /// When the pod has no process just now, or no iptables works here.
    pub fn begin(node: &Node, pod: &str, cut: Cut) -> Result<Self, FaultError> {
        let path = format!("/proc/{}/ns/net", process(node, pod)?);
        let namespace = File::open(&path).map_err(|source| FaultError::Io { what: path, source })?;
        let words = |rule: &str| rule.split(' ').map(str::to_owned).collect();
        // What comes in only: what is not sent at all, the sender would be told.
        let rules = match cut {
            Cut::Port(port) => vec![
                words(&format!("INPUT -p tcp --dport {port} -j DROP")),
                words(&format!("INPUT -p tcp --sport {port} -j DROP")),
            ],
            Cut::Everything => vec![words("INPUT ! -i lo -j DROP")],
        };
        let iptables = Iptables::find(&namespace)?;
        let partition = Self { namespace, iptables, rules };
        partition.change("-A")?;
        Ok(partition)
    }

    /// Mends the network. In a pod that is gone meanwhile there is nothing to mend.
    ///
    /// # Errors
    /// When iptables refuses.
    pub fn heal(self) -> Result<(), FaultError> {
        self.change("-D")
    }

    fn change(&self, action: &str) -> Result<(), FaultError> {
        for rule in &self.rules {
            let mut command = self.iptables.inside(&self.namespace);
            command.arg(action).args(rule);
            run(command)?;
        }
        Ok(())
    }
}

/// A program that writes packet filters.
#[derive(Debug, Clone)]
struct Iptables {
    program: PathBuf,
    arguments: Vec<String>,
    libraries: Option<PathBuf>,
}

impl Iptables {
    /// The machine's own if it works, else the unpacked one, in the kind that this kernel has.
    fn find(namespace: &File) -> Result<Self, FaultError> {
        let own = Self { program: "iptables".into(), arguments: Vec::new(), libraries: None };
        let libraries = Programs::find().ok().and_then(|programs| programs.libraries());
        let unpacked = ["xtables-nft-multi", "xtables-legacy-multi"].map(|kind| Self {
            program: programs::tools().join("node/usr/sbin").join(kind),
            arguments: vec!["iptables".to_owned()],
            libraries: libraries.clone(),
        });
        let mut last = None;
        for candidate in std::iter::once(own).chain(unpacked) {
            let mut trial = candidate.inside(namespace);
            trial.args(["-S", "INPUT"]);
            match run(trial) {
                Ok(()) => return Ok(candidate),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| FaultError::Command { command: "iptables".to_owned(), message: String::new() }))
    }

    fn inside(&self, namespace: &File) -> Command {
        let mut command = Command::new("nsenter");
        // By way of this process: its own descriptors are closed in every program that it starts.
        command.arg(format!("--net=/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd())).arg("--");
        command.arg(&self.program).args(&self.arguments).args(["--wait", "5"]);
        if let Some(libraries) = &self.libraries {
            command.env("XTABLES_LIBDIR", libraries.join("xtables")).env("LD_LIBRARY_PATH", libraries);
        }
        command
    }
}

fn run(mut command: Command) -> Result<(), FaultError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let words = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    let name = std::iter::once(name).chain(words).collect::<Vec<_>>().join(" ");
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|source| FaultError::Io { what: name.clone(), source })?;
    if output.status.success() {
        return Ok(());
    }
    Err(FaultError::Command { command: name, message: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}
