//! What makes the node's namespaces a machine of its own: mounts, addresses, kernel parameters.
//!
//! Runs inside, once, before anything else. Whatever it changes is gone with the namespaces.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountFlags, mount, mount_bind};

use super::configuration::{NODE_ADDRESS, STATE};
use super::protocol::Settings;

/// Why this machine cannot be turned into a node.
#[derive(Debug, thiserror::Error)]
pub enum IsolationError {
    /// A file or folder of the node.
    #[error("{path}: {source}")]
    File {
        /// Its path.
        path: String,
        /// What failed.
        source: io::Error,
    },
    /// A mount was refused.
    #[error("{file_system} cannot be mounted on {path}: {source}")]
    Mount {
        /// Type of the file system.
        file_system: &'static str,
        /// Where.
        path: String,
        /// What failed.
        source: io::Error,
    },
    /// The kernel or the permissions do not allow a network of its own.
    #[error("`{command}` was refused: {message}")]
    Network {
        /// The command.
        command: String,
        /// Its own words.
        message: String,
    },
    /// Neither kind of iptables works.
    #[error("iptables works neither with nf_tables nor with the older x_tables of this kernel: {message}")]
    Iptables {
        /// The last one's own words.
        message: String,
    },
    /// A program or folder cannot be seen inside.
    #[error("{path} lies below /run, or on a file system that is mounted below /var: clone the repository elsewhere")]
    Hidden {
        /// The path.
        path: String,
    },
}

/// Kernel parameters that kubelet sets for the whole machine, with the values it wants: it finds them set already, in
/// files of ours, and leaves those of the host alone.
const KUBELET_PARAMETERS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// Mounts, network and kernel parameters, in this order.
///
/// # Errors
/// When the kernel or the permissions do not allow one of them.
pub fn isolate(settings: &Settings) -> Result<(), IsolationError> {
    mounts()?;
    for path in settings.programs.paths().chain([settings.folder.as_path()]) {
        if !path.exists() {
            return Err(IsolationError::Hidden { path: path.display().to_string() });
        }
    }
    for cgroup in cgroups(&settings.cgroup) {
        created(&cgroup)?;
    }
    parameters()?;
    network(settings)?;
    iptables(settings)
}

/// The folders of a cgroup: one in each hierarchy of version 1, or the only one of version 2.
pub fn cgroups(cgroup: &str) -> Vec<PathBuf> {
    let (root, name) = (Path::new("/sys/fs/cgroup"), cgroup.trim_start_matches('/'));
    if root.join("cgroup.controllers").exists() {
        return vec![root.join(name)];
    }
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    // Links stand for hierarchies that several controllers share.
    let hierarchies = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    hierarchies.map(|hierarchy| hierarchy.path().join(name)).collect()
}

/// Nothing of the host's /run, and a /var whose changes stay in memory.
fn mounts() -> Result<(), IsolationError> {
    mounted("tmpfs", "/run", "mode=0755")?;
    for folder in ["/run/netns", "/run/lock", STATE] {
        created(Path::new(folder))?;
    }
    for folder in ["/var/lib", "/var/log"] {
        let layers = format!("{STATE}/overlay{folder}");
        let (upper, work) = (format!("{layers}/upper"), format!("{layers}/work"));
        created(Path::new(&upper))?;
        created(Path::new(&work))?;
        mounted("overlay", folder, &format!("lowerdir={folder},upperdir={upper},workdir={work}"))?;
    }
    Ok(())
}

fn mounted(file_system: &'static str, path: &str, data: &str) -> Result<(), IsolationError> {
    let failed = |source: io::Error| IsolationError::Mount { file_system, path: path.to_owned(), source };
    let data = std::ffi::CString::new(data).map_err(|error| failed(error.into()))?;
    mount(file_system, path, file_system, MountFlags::empty(), Some(data.as_c_str()))
        .map_err(|error| failed(error.into()))
}

fn created(folder: &Path) -> Result<(), IsolationError> {
    fs::create_dir_all(folder).map_err(|source| file_error(folder, source))
}

fn written(file: &Path, content: &str) -> Result<(), IsolationError> {
    if let Some(folder) = file.parent() {
        created(folder)?;
    }
    fs::write(file, content).map_err(|source| file_error(file, source))
}

fn file_error(path: &Path, source: io::Error) -> IsolationError {
    IsolationError::File { path: path.display().to_string(), source }
}

fn parameters() -> Result<(), IsolationError> {
    for (name, value) in KUBELET_PARAMETERS {
        let (own, kernel) = (Path::new(STATE).join("parameters").join(name), Path::new("/proc/sys").join(name));
        if !kernel.exists() {
            continue;
        }
        written(&own, value)?;
        mount_bind(&own, &kernel).map_err(|error| IsolationError::Mount {
            file_system: "a bind mount",
            path: kernel.display().to_string(),
            source: error.into(),
        })?;
    }
    // Of this network namespace only.
    for (name, value) in [("ip_forward", "1"), ("conf/all/rp_filter", "0"), ("conf/default/rp_filter", "0")] {
        written(&Path::new("/proc/sys/net/ipv4").join(name), value)?;
    }
    Ok(())
}

/// The node's address lies on the loopback device, pods are routed to by their own /32: no bridge, no forwarding
/// between bridge ports, so that the kernel needs nothing but veth pairs. What leads nowhere ends at once.
fn network(settings: &Settings) -> Result<(), IsolationError> {
    let address = format!("{NODE_ADDRESS}/32");
    let busybox = settings.programs.path("busybox");
    let commands: [&[&str]; 3] = [
        &["ip", "link", "set", "lo", "up"],
        &["ip", "addr", "add", &address, "dev", "lo"],
        // Without any route to a ClusterIP, a connection to it is refused before iptables sees it.
        &["ip", "route", "add", "default", "dev", "lo"],
    ];
    for arguments in commands {
        run(Command::new(&busybox).args(arguments))
            .map_err(|message| IsolationError::Network { command: arguments.join(" "), message })?;
    }
    Ok(())
}

/// Where links to programs are made that go by several names.
#[must_use]
pub fn links() -> PathBuf {
    Path::new(STATE).join("bin")
}

/// The machine's own iptables if it works, else the unpacked one, in the kind that this kernel has.
fn iptables(settings: &Settings) -> Result<(), IsolationError> {
    let links = links();
    created(&links)?;
    let unpacked = settings.programs.tools.join("node/usr/sbin");
    let check = || {
        let mut command = Command::new("iptables-save");
        command.args(["-t", "nat"]);
        environment(&mut command, settings);
        run(&mut command).and_then(|()| {
            let mut command = Command::new("iptables");
            command.args(["-t", "nat", "-N", "NODE-TRIAL"]);
            environment(&mut command, settings);
            run(&mut command)
        })
    };
    let mut result = check();
    for kind in ["xtables-nft-multi", "xtables-legacy-multi"] {
        if result.is_ok() {
            break;
        }
        let program = unpacked.join(kind);
        if !program.is_file() {
            continue;
        }
        for family in ["iptables", "ip6tables"] {
            for suffix in ["", "-save", "-restore"] {
                let link = links.join(format!("{family}{suffix}"));
                let _ = fs::remove_file(&link);
                std::os::unix::fs::symlink(&program, &link).map_err(|source| file_error(&link, source))?;
            }
        }
        result = check();
    }
    result.map_err(|message| IsolationError::Iptables { message })
}

/// What every program on the node finds in its environment.
pub fn environment(command: &mut Command, settings: &Settings) {
    command.env("PATH", settings.programs.search_path(&links()));
    if let Some(libraries) = settings.programs.libraries() {
        command.env("XTABLES_LIBDIR", libraries.join("xtables")).env("LD_LIBRARY_PATH", libraries);
    }
}

/// Runs a command to its end; its last words when it fails.
pub fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(std::process::Stdio::null()).output();
    let output = output.map_err(|error| format!("{}: {error}", command.get_program().to_string_lossy()))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(words.lines().last().map_or_else(|| output.status.to_string(), str::to_owned))
}
