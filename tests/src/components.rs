//! Where the programs are: named by a variable of the environment, unpacked by `make tools`, or on `PATH`.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Names, variables and versions, shared with `tools/get.sh`.
const PROGRAMS: &str = include_str!("../../tools/programs.txt");

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
    /// Our own worker, as cargo built it.
    Worker,
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
            Self::Worker => "VMANOMALY",
        }
    }

    /// The names under which it is looked for, best first.
    fn names(self) -> impl Iterator<Item = &'static str> {
        let listed = PROGRAMS
            .lines()
            .map(str::split_whitespace)
            .find_map(|mut words| (words.next() == Some(self.variable())).then(|| words.next()).flatten());
        listed.unwrap_or("vmanomaly").split(',')
    }
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
    if program == Program::Worker && overridden.is_none() {
        return built_by_cargo();
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
fn built_by_cargo() -> Result<PathBuf, ComponentError> {
    let executable = env::current_exe().unwrap_or_default();
    let folder = executable.parent().unwrap_or(Path::new(""));
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    let file = folder.join("vmanomaly");
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
    fn what_make_tools_unpacked_comes_before_path_and_any_listed_name_counts() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        std::fs::write(folders[0].path().join("node_exporter"), "").unwrap();
        std::fs::write(folders[1].path().join("prometheus-node-exporter"), "").unwrap();
        let path = folders[1].path().as_os_str().to_owned();
        let found = search(Program::NodeExporter, None, folders[0].path(), &path).unwrap();
        assert_eq!(found, folders[0].path().join("node_exporter"));
    }
}
