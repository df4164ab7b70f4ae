//! kubectl on a control plane: what users type, and what they see.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::KubernetesError;
use super::control_plane::ControlPlane;
use crate::components::{Program, find};
use crate::process::StartError;

/// What kubectl printed, and whether it succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Printed {
    /// Its exit status; none when a signal ended it. `kubectl diff` has 1 when something differs.
    pub status: Option<i32>,
    /// Its standard output.
    pub output: String,
    /// Its standard error: refusals, and the API server's warnings.
    pub errors: String,
}

impl Printed {
    /// Whether its exit status is 0.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.status == Some(0)
    }

    /// The API server's warnings.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        self.errors.lines().filter_map(|line| line.strip_prefix("Warning: "))
    }
}

impl ControlPlane {
    /// Runs kubectl as the administrator to its end.
    ///
    /// # Errors
    /// When the program is missing or does not start. That it fails is no error: see [`Printed::status`].
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<Printed, KubernetesError> {
        self.kubectl_with_input(arguments, "").await
    }

    /// The same with an input, for `-f -`.
    ///
    /// # Errors
    /// When the program is missing or does not start. That it fails is no error: see [`Printed::status`].
    pub async fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> Result<Printed, KubernetesError> {
        let failed = |source| StartError::Io { name: "kubectl".to_owned(), source };
        let program = find(Program::Kubectl).map_err(StartError::from)?;
        let mut child = Command::new(program)
            .env("KUBECONFIG", self.kubeconfig())
            // What it keeps and reads of the user's would be wrong here.
            .env("HOME", self.folder())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let stdin = child.stdin.take();
        let feed = async {
            if let Some(mut stdin) = stdin {
                // It may end without reading all of it, which its status then says.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
        };
        let ((), ended) = tokio::join!(feed, child.wait_with_output());
        let ended = ended.map_err(failed)?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Printed { status: ended.status.code(), output: text(ended.stdout), errors: text(ended.stderr) })
    }
}
