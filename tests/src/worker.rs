//! The real worker as a process: started on YAML, killed, started again on the same state.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::components::{Program, find};
use crate::http::{Endpoint, HttpError};
use crate::process::{Process, START, StartError, free_port};

/// How to start a worker.
#[derive(Debug, Clone, Default)]
pub struct WorkerSetup {
    /// Its YAML. `server` is set by the harness, in a second file that is merged over this one.
    pub config: String,
    /// Further arguments.
    pub arguments: Vec<String>,
    /// Further variables of its environment.
    pub environment: Vec<(String, String)>,
    /// Port to listen on; a free one unless set.
    pub port: Option<u16>,
}

/// A running, or killed, worker.
#[derive(Debug)]
pub struct Worker {
    process: Process,
    endpoint: Endpoint,
    address: SocketAddr,
    setup: WorkerSetup,
    folder: TempDir,
}

impl Worker {
    /// Starts one and waits until it answers `/health`.
    ///
    /// # Errors
    /// When cargo has not built it, or it ends or does not answer.
    pub async fn start(setup: WorkerSetup) -> Result<Self, StartError> {
        let io = |source| StartError::Io {
            name: "vmanomaly".to_owned(),
            source,
        };
        let folder = tempfile::Builder::new()
            .prefix("vmanomaly-")
            .tempdir()
            .map_err(io)?;
        let port = setup.port.map_or_else(free_port, Ok).map_err(io)?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let process = launch(folder.path(), address, &setup).await?;
        Ok(Self {
            process,
            endpoint: Endpoint::new(address),
            address,
            setup,
            folder,
        })
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Ends it with SIGTERM and says how it ended.
    pub async fn terminate(&mut self) -> std::process::ExitStatus {
        self.process.terminate(START).await
    }

    /// Kills it if it still runs, and starts it on the same folder, address and environment.
    ///
    /// # Errors
    /// When it ends or does not answer.
    pub async fn restart(&mut self) -> Result<(), StartError> {
        self.kill();
        self.process = launch(self.folder.path(), self.address, &self.setup).await?;
        Ok(())
    }

    /// Replaces the YAML on disk; a worker that watches takes it up.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_config(&mut self, config: &str) -> std::io::Result<()> {
        self.setup.config = config.to_owned();
        // Renamed into place: a watcher never sees half a file.
        let (new, file) = (
            self.folder.path().join("config.new"),
            self.folder.path().join("config.yaml"),
        );
        std::fs::write(&new, config)?;
        std::fs::rename(new, file)
    }

    /// Its own folder, with `config.yaml` and `log`; a good place for its state.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL.
    #[must_use]
    pub fn url(&self) -> &str {
        self.endpoint.url()
    }

    /// For any other request.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The process, for its output, processor time and memory.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The process, to wait for its output or end.
    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Whether `/ready` is answered with 2xx.
    pub async fn is_ready(&self) -> bool {
        self.endpoint.answers("/ready").await
    }

    /// The answer of `/status`.
    ///
    /// # Errors
    /// No answer, or one that is no JSON.
    pub async fn status(&self) -> Result<serde_json::Value, HttpError> {
        self.endpoint.get_json("/status", &[]).await
    }

    /// The answer of `/metrics`.
    ///
    /// # Errors
    /// No answer.
    pub async fn metrics(&self) -> Result<Metrics, HttpError> {
        let body = self.endpoint.get("/metrics", &[]).await?;
        Ok(Metrics::parse(&String::from_utf8_lossy(&body)))
    }
}

async fn launch(
    folder: &Path,
    address: SocketAddr,
    setup: &WorkerSetup,
) -> Result<Process, StartError> {
    let io = |source| StartError::Io {
        name: "vmanomaly".to_owned(),
        source,
    };
    let (config, server) = (folder.join("config.yaml"), folder.join("server.yaml"));
    std::fs::write(&config, &setup.config).map_err(io)?;
    let listen = format!(
        "server:\n  addr: {}\n  port: {}\n",
        address.ip(),
        address.port()
    );
    std::fs::write(&server, listen).map_err(io)?;

    let mut command = Command::new(find(Program::Worker)?);
    command.args(&setup.arguments).arg(&config).arg(&server);
    command.envs(setup.environment.iter().map(|(name, value)| (name, value)));
    let mut process = Process::spawn("vmanomaly", command, &folder.join("log"))?;
    let endpoint = Endpoint::new(address);
    let healthy = async |_: &Process| endpoint.answers("/health").await.then_some(());
    process
        .wait_until("an answer of /health", START, healthy)
        .await?;
    Ok(process)
}

/// Metrics in the text format: each series, as it is written, with its value.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    values: BTreeMap<String, f64>,
}

impl Metrics {
    fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.rsplit_once(' '));
        Self {
            values: pairs
                .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
                .collect(),
        }
    }

    /// The sum over all series of a metric whose labels contain every one of `labels`, written as `name="value"`;
    /// `None` when there is no such series.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let matching = self.values.iter().filter(|(series, _)| {
            let rest = series.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
                && labels.iter().all(|label| series.contains(label))
        });
        matching
            .map(|(_, value)| *value)
            .reduce(|sum, value| sum + value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_over_the_series_that_match() {
        let text = "# HELP runs x\nruns_total{stage=\"fit\",query=\"a\"} 2\nruns_total{stage=\"infer\",query=\"a\"} 3\nruns_total_x 9\nup 1\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.sum("runs_total", &[]), Some(5.0));
        assert_eq!(
            metrics.sum("runs_total", &["stage=\"fit\"", "query=\"a\""]),
            Some(2.0)
        );
        assert_eq!(metrics.sum("up", &[]), Some(1.0));
        assert_eq!(metrics.sum("gone", &[]), None);
    }
}
