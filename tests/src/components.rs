//! Where the programs are: named by a variable of the environment, unpacked or built by `make tools`, or on `PATH`.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Names, variables and versions, shared with `tools/get.sh`.
const PROGRAMS: &str = include_str!("../../tools/programs.txt");

/// The same of the programs that are built, shared with `tools/build-go.sh`.
const GO_PROGRAMS: &str = include_str!("../../tools/go-programs.txt");

/// A program that tests run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The time series database.
    VictoriaMetrics,
    /// Scrapes and writes to the TSDB.
    Vmagent,
    /// Evaluates alert rules.
    Vmalert,
    /// Unit tests of alert rules.
    VmalertTool,
    /// This machine's metrics.
    NodeExporter,
    /// The other TSDB that the reader talks to.
    Prometheus,
    /// The store behind the API server.
    Etcd,
    /// The Kubernetes API.
    KubeApiserver,
    /// Kubernetes' own controllers.
    KubeControllerManager,
    /// Places pods on nodes.
    KubeScheduler,
    /// Runs a node's pods.
    Kubelet,
    /// Makes Services reachable on a node.
    KubeProxy,
    /// The Kubernetes client.
    Kubectl,
    /// Installs charts.
    Helm,
    /// Kubernetes' DNS server.
    Coredns,
    /// Evaluates our Argo CD health check; `make tools-argocd` builds it.
    Argocd,
    /// Our own worker, as cargo built it.
    Worker,
    /// Our own operator, as cargo built it.
    Operator,
}

impl Program {
    /// The variable that overrides the path.
    #[must_use]
    pub fn variable(self) -> &'static str {
        match self {
            Self::VictoriaMetrics => "VICTORIA_METRICS",
            Self::Vmagent => "VMAGENT",
            Self::Vmalert => "VMALERT",
            Self::VmalertTool => "VMALERT_TOOL",
            Self::NodeExporter => "NODE_EXPORTER",
            Self::Prometheus => "PROMETHEUS",
            Self::Etcd => "ETCD",
            Self::KubeApiserver => "KUBE_APISERVER",
            Self::KubeControllerManager => "KUBE_CONTROLLER_MANAGER",
            Self::KubeScheduler => "KUBE_SCHEDULER",
            Self::Kubelet => "KUBELET",
            Self::KubeProxy => "KUBE_PROXY",
            Self::Kubectl => "KUBECTL",
            Self::Helm => "HELM",
            Self::Coredns => "COREDNS",
            Self::Argocd => "ARGOCD",
            Self::Worker => "VMANOMALY",
            Self::Operator => "VMANOMALY_OPERATOR",
        }
    }

    /// The names under which it is looked for, best first.
    fn names(self) -> impl Iterator<Item = &'static str> {
        let listed = second_word(PROGRAMS, self.variable()).or_else(|| second_word(GO_PROGRAMS, self.variable()));
        listed.unwrap_or("vmanomaly").split(',')
    }

    /// Whether only `tools/build-go.sh` decides which one on `PATH` fits: it looks at the version and links that one.
    fn is_chosen_by_version(self) -> bool {
        second_word(GO_PROGRAMS, self.variable()).is_some()
    }

    /// The make target that gets it.
    fn target(self) -> &'static str {
        if self == Self::Argocd { "make tools-argocd" } else { "make tools" }
    }
}

/// The word after `first` in the line that begins with it.
fn second_word(table: &'static str, first: &str) -> Option<&'static str> {
    let mut lines = table.lines().map(str::split_whitespace);
    lines.find_map(|mut words| (words.next() == Some(first)).then(|| words.next()).flatten())
}

/// Why a program was not found.
#[derive(thiserror::Error, PartialEq, Eq)]
pub enum ComponentError {
    /// The overriding variable names no file.
    #[error("${variable} names {path}, which is no file: correct it, or unset it and run `make tools`")]
    Override {
        /// The variable.
        variable: &'static str,
        /// Its value.
        path: String,
    },
    /// It is nowhere.
    #[error("{name} is neither in {tools} nor on PATH: run `make tools`, or set {variable}=/path/to/{name}")]
    Missing {
        /// The program.
        name: &'static str,
        /// The folder that `make tools` fills.
        tools: String,
        /// The variable that overrides the path.
        variable: &'static str,
    },
    /// It was not built, nor is there one in a fitting version.
    #[error("{name} is not in {tools}: run `{target}`, or set {variable}=/path/to/{name}")]
    NotThere {
        /// The program.
        name: &'static str,
        /// The folder that `make tools` fills.
        tools: String,
        /// The make target that gets it.
        target: &'static str,
        /// The variable that overrides the path.
        variable: &'static str,
    },
    /// Cargo has not built it.
    #[error("{path} is not there: run `cargo build --workspace --bins`, or `make test`, which does")]
    NotBuilt {
        /// Where cargo puts it.
        path: String,
    },
}

impl std::fmt::Debug for ComponentError {
    /// As its message: `unwrap` in a test then prints what to do.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{self}")
    }
}

/// The repository's root folder.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The path of a program.
///
/// # Errors
/// When it is nowhere; the message names the command that gets it.
pub fn find(program: Program) -> Result<PathBuf, ComponentError> {
    let variable = program.variable();
    let overridden = env::var_os(variable).filter(|value| !value.is_empty());
    if overridden.is_none() {
        match program {
            Program::Worker => return built_by_cargo("vmanomaly"),
            Program::Operator => return built_by_cargo("vmanomaly-operator"),
            _ => {}
        }
    }
    let tools = repository().join(".tools/bin");
    let path = env::var_os("PATH").unwrap_or_default();
    search(program, overridden, &tools, &path)
}

fn search(
    program: Program,
    overridden: Option<OsString>,
    tools: &Path,
    path: &OsString,
) -> Result<PathBuf, ComponentError> {
    let variable = program.variable();
    if let Some(overridden) = overridden {
        let file = PathBuf::from(overridden);
        return if file.is_file() {
            Ok(file)
        } else {
            Err(ComponentError::Override { variable, path: file.display().to_string() })
        };
    }
    if program.is_chosen_by_version() {
        let name = program.names().next().unwrap_or_default();
        let file = tools.join(name);
        let missing = || ComponentError::NotThere {
            name,
            tools: tools.display().to_string(),
            target: program.target(),
            variable,
        };
        return file.is_file().then_some(file).ok_or_else(missing);
    }
    let folders = std::iter::once(tools.to_path_buf()).chain(env::split_paths(path));
    folders
        .flat_map(|folder| program.names().map(move |name| folder.join(name)))
        .find(|file| file.is_file())
        .ok_or_else(|| ComponentError::Missing {
            name: program.names().next().unwrap_or_default(),
            tools: tools.display().to_string(),
            variable,
        })
}

/// Cargo puts programs into `target/<profile>/` and test executables into `target/<profile>/deps/`.
fn built_by_cargo(name: &str) -> Result<PathBuf, ComponentError> {
    let executable = env::current_exe().unwrap_or_default();
    let folder = executable.parent().unwrap_or(Path::new(""));
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    let file = folder.join(name);
    if file.is_file() { Ok(file) } else { Err(ComponentError::NotBuilt { path: file.display().to_string() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_the_command_that_gets_it() {
        let error = search(Program::Vmalert, None, Path::new("/none"), &"/none".into()).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("`make tools`") && message.contains("VMALERT=/path/to/vmalert"), "{message}");
    }

    #[test]
    fn an_override_that_is_no_file_is_an_error_and_not_passed_over() {
        let tools = repository().join(".tools/bin");
        let error = search(Program::Prometheus, Some("/none/prometheus".into()), &tools, &"".into()).unwrap_err();
        assert!(error.to_string().starts_with("$PROMETHEUS names /none/prometheus"), "{error}");
    }

    #[test]
    fn a_kubectl_on_path_of_which_nobody_knows_the_version_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("kubectl"), "").unwrap();
        let path = folder.path().as_os_str().to_owned();
        let message = search(Program::Kubectl, None, Path::new("/none"), &path).unwrap_err().to_string();
        assert!(message.contains("`make tools`") && message.contains("KUBECTL=/path/to/kubectl"), "{message}");
        assert_eq!(search(Program::Kubectl, None, folder.path(), &"".into()).unwrap(), folder.path().join("kubectl"));
    }

    #[test]
    fn what_make_tools_unpacked_comes_before_path_and_any_listed_name_counts() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        std::fs::write(folders[0].path().join("node_exporter"), "").unwrap();
        std::fs::write(folders[1].path().join("prometheus-node-exporter"), "").unwrap();
        let path = folders[1].path().as_os_str().to_owned();
        let found = search(Program::NodeExporter, None, folders[0].path(), &path).unwrap();
        assert_eq!(found, folders[0].path().join("node_exporter"));
    }
}
