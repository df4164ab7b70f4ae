//! Where the node's programs are: named by a variable of the environment, made by `make tools`, or on `PATH`.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Programs that are nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("missing programs: {missing}: run `make tools`, or name a cluster with CLUSTER=<kubeconfig context>")]
pub struct ProgramError {
    /// Their names.
    pub missing: String,
}

/// What a node runs, by name. A program's variable is its name in capitals: `KUBE_APISERVER`.
pub const NAMES: [&str; 11] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "coredns",
    "containerd",
    "ctr",
    "runc",
    "busybox",
];

/// Folders below `.tools/node` with programs, and the system's own that a root shell may lack.
const UNPACKED: [&str; 4] = ["usr/sbin", "usr/bin", "sbin", "bin"];
const SYSTEM: [&str; 2] = ["/usr/sbin", "/sbin"];

/// The programs of one node, found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Programs {
    paths: BTreeMap<String, PathBuf>,
    /// The folder that `make tools` fills.
    pub tools: PathBuf,
    /// The folder of the network plugins.
    pub network_plugins: PathBuf,
}

impl Programs {
    /// Looks for every program.
    ///
    /// # Errors
    /// Names all that are missing, and the command that gets them.
    pub fn find() -> Result<Self, ProgramError> {
        Self::search(&tools(), &env::var_os("PATH").unwrap_or_default().to_string_lossy(), |variable| {
            env::var(variable).ok().filter(|value| !value.is_empty())
        })
    }

    fn search(tools: &Path, path: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self, ProgramError> {
        let mut paths = BTreeMap::new();
        let mut missing = Vec::new();
        for name in NAMES {
            match search(name, tools, path, &variable) {
                Some(found) => drop(paths.insert(name.to_owned(), found)),
                None => missing.push(name),
            }
        }
        let plugins = [tools.join("node/usr/lib/cni"), "/usr/lib/cni".into(), "/opt/cni/bin".into()];
        let network_plugins = plugins.into_iter().find(|folder| folder.join("ptp").is_file());
        if network_plugins.is_none() {
            missing.push("containernetworking-plugins");
        }
        match network_plugins {
            Some(network_plugins) if missing.is_empty() => {
                Ok(Self { paths, tools: tools.to_path_buf(), network_plugins })
            }
            _ => Err(ProgramError { missing: missing.join(", ") }),
        }
    }

    /// The path of one of [`NAMES`]; any other name is left to `PATH`.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.paths.get(name).cloned().unwrap_or_else(|| name.into())
    }

    /// All paths.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.paths.values().map(PathBuf::as_path).chain([self.network_plugins.as_path()])
    }

    /// `PATH` for everything on the node; `first` comes before all others.
    #[must_use]
    pub fn search_path(&self, first: &Path) -> String {
        let unpacked = UNPACKED.iter().map(|folder| self.tools.join("node").join(folder));
        let inherited = env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(first.to_path_buf())
            .chain(unpacked)
            .chain(env::split_paths(&inherited))
            .chain(SYSTEM.map(PathBuf::from));
        env::join_paths(folders).unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The folder with the libraries of the unpacked programs, if any were unpacked.
    #[must_use]
    pub fn libraries(&self) -> Option<PathBuf> {
        let folders = std::fs::read_dir(self.tools.join("node/usr/lib")).ok()?;
        let mut folders = folders.filter_map(|entry| Some(entry.ok()?.path()));
        folders.find(|folder| folder.to_string_lossy().contains("-linux-gnu"))
    }
}

/// The folder that `make tools` fills.
#[must_use]
pub fn tools() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools");
    let folder = env::var_os("TOOLS_DIR").map_or(own, PathBuf::from);
    folder.canonicalize().unwrap_or(folder)
}

/// The path of any program: overridden, made by `make tools`, or on `PATH`.
///
/// # Errors
/// When it is nowhere.
pub fn find(name: &str) -> Result<PathBuf, ProgramError> {
    let path = env::var_os("PATH").unwrap_or_default();
    search(name, &tools(), &path.to_string_lossy(), &|variable| env::var(variable).ok())
        .ok_or_else(|| ProgramError { missing: name.to_owned() })
}

fn search(name: &str, tools: &Path, path: &str, variable: &impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    if let Some(overridden) = variable(&name.to_uppercase().replace('-', "_")) {
        return Some(overridden.into());
    }
    let assets = variable("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let unpacked = UNPACKED.iter().map(|folder| tools.join("node").join(folder));
    let folders = assets.into_iter().chain([tools.join("bin")]).chain(unpacked);
    let folders = folders.chain(env::split_paths(path)).chain(SYSTEM.map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_programs_are_all_named_with_the_command_that_gets_them() {
        let error = Programs::search(Path::new("/none"), "/none", |_| None).unwrap_err().to_string();
        assert!(error.contains("kube-apiserver, ") && error.contains("coredns"), "{error}");
        assert!(error.contains("`make tools`") && error.contains("CLUSTER="), "{error}");
    }

    #[test]
    fn a_variable_comes_before_what_make_tools_made_and_that_before_path() {
        let (tools, path) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(tools.path().join("bin")).unwrap();
        for file in [tools.path().join("bin/etcd"), path.path().join("etcd"), path.path().join("runc")] {
            std::fs::write(file, "").unwrap();
        }
        let search = |name, variable: &dyn Fn(&str) -> Option<String>| {
            search(name, tools.path(), &path.path().to_string_lossy(), &variable)
        };
        assert_eq!(search("etcd", &|_| None), Some(tools.path().join("bin/etcd")));
        assert_eq!(search("runc", &|_| None), Some(path.path().join("runc")));
        assert_eq!(search("etcd", &|name| (name == "ETCD").then(|| "/own/etcd".into())), Some("/own/etcd".into()));
    }
}
