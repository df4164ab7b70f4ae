//! The real worker as a process: started on YAML, killed, started again on the same state.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use serde_json::Value;
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
    /// Another build of the worker, by the name that cargo gives to its program.
    pub build: Option<&'static str>,
    /// A program with arguments that becomes the worker, whose own command line is put behind them; empty: none.
    pub launcher: Vec<String>,
}

/// A worker that has ended by itself.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// Everything that it has printed.
    pub output: String,
}

/// Runs the program with `arguments` until it ends by itself.
///
/// # Errors
/// When cargo has not built it, or it still runs after `within`.
pub async fn run_to_end(
    arguments: &[&str],
    environment: &[(&str, &str)],
    within: Duration,
) -> Result<Ended, StartError> {
    let mut command = Command::new(find(Program::Worker)?);
    command.args(arguments).envs(environment.iter().copied());
    run_command_to_end(command, within).await
}

/// The same with any command that becomes a worker.
///
/// # Errors
/// When the system does not start it, or it still runs after `within`.
pub async fn run_command_to_end(command: Command, within: Duration) -> Result<Ended, StartError> {
    let folder = tempfile::tempdir().map_err(|source| StartError::Io { name: "vmanomaly".to_owned(), source })?;
    let mut process = Process::spawn("vmanomaly", command, &folder.path().join("log"))?;
    let end = process.wait_until("its end", within, async |_| None::<()>).await;
    match end {
        Err(StartError::Ended { status, .. }) => Ok(Ended { status, output: process.output() }),
        Err(error) => Err(error),
        // Nothing is looked for, so nothing is found.
        Ok(()) => Ok(Ended { status: process.kill(), output: process.output() }),
    }
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
        let io = |source| StartError::Io { name: "vmanomaly".to_owned(), source };
        let folder = tempfile::Builder::new().prefix("vmanomaly-").tempdir().map_err(io)?;
        let port = setup.port.map_or_else(free_port, Ok).map_err(io)?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let process = launch(folder.path(), address, &setup).await?;
        Ok(Self { process, endpoint: Endpoint::new(address), address, setup, folder })
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

    /// Ends it with SIGTERM, as a kubelet does, and starts another build on the same folder, address and environment.
    ///
    /// # Errors
    /// When cargo has not built it, or it ends or does not answer.
    pub async fn replace(&mut self, build: Option<&'static str>) -> Result<(), StartError> {
        self.terminate().await;
        self.setup.build = build;
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
        let (new, file) = (self.folder.path().join("config.new"), self.folder.path().join("config.yaml"));
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
    pub async fn status(&self) -> Result<Value, HttpError> {
        self.endpoint.get_json("/status", &[]).await
    }

    /// Its log so far, one JSON object a line; what is no JSON is in `message` alone.
    #[must_use]
    pub fn log(&self) -> Vec<Value> {
        log_lines(&self.process.output())
    }

    /// Waits until `/status` has what `look` looks for.
    ///
    /// # Errors
    /// When the worker ends or that does not come within `within`; the message has its last lines.
    pub async fn wait_for_status<T>(
        &mut self,
        awaited: &str,
        within: Duration,
        look: impl Fn(&Value) -> Option<T>,
    ) -> Result<T, StartError> {
        let endpoint = self.endpoint.clone();
        let look = async |_: &Process| look(&endpoint.get_json("/status", &[]).await.ok()?);
        self.process.wait_until(awaited, within, look).await
    }

    /// Waits until all of its `jobs` jobs have written the tick `tick`, unix ms, or a later one.
    ///
    /// # Errors
    /// When the worker ends or that does not come within `within`; the message has its last lines.
    pub async fn wait_for_tick(&mut self, tick: i64, jobs: usize, within: Duration) -> Result<(), StartError> {
        let written = |job: &Value| {
            let last = job["last_written_tick_ms"].as_i64();
            last.is_some_and(|last| last >= tick)
        };
        let all = |status: &Value| {
            let found = status["jobs"].as_array()?;
            (found.len() == jobs && found.iter().all(written)).then_some(())
        };
        let awaited = format!("tick {tick} of {jobs} jobs");
        self.wait_for_status(&awaited, within, all).await
    }

    /// Waits until the sum of a metric, as [`Metrics::sum`] has it, is `wanted`.
    ///
    /// # Errors
    /// When the worker ends or that does not come within `within`; the message has its last lines.
    pub async fn wait_for_metric(
        &mut self,
        name: &str,
        labels: &[&str],
        within: Duration,
        wanted: impl Fn(f64) -> bool,
    ) -> Result<f64, StartError> {
        let endpoint = self.endpoint.clone();
        let look = async |_: &Process| {
            let body = endpoint.get("/metrics", &[]).await.ok()?;
            let metrics = Metrics::parse(&String::from_utf8_lossy(&body));
            metrics.sum(name, labels).filter(|sum| wanted(*sum))
        };
        let awaited = format!("{name}{labels:?} as wanted");
        self.process.wait_until(&awaited, within, look).await
    }

    /// Waits for a line of the log that `wanted` accepts.
    ///
    /// # Errors
    /// When the worker ends or the line does not come within `within`; the message has its last lines.
    pub async fn wait_for_line(
        &mut self,
        awaited: &str,
        within: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value, StartError> {
        let find = |output: &str| log_lines(output).into_iter().find(&wanted);
        self.process.wait_for_output(awaited, within, find).await
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

/// The lines of a worker's log. A line that is no JSON object, or is not whole yet, stands in `message`.
#[must_use]
pub fn log_lines(output: &str) -> Vec<Value> {
    let line = |line: &str| match serde_json::from_str(line) {
        Ok(object @ Value::Object(_)) => object,
        _ => serde_json::json!({ "message": line }),
    };
    output.lines().map(line).collect()
}

async fn launch(folder: &Path, address: SocketAddr, setup: &WorkerSetup) -> Result<Process, StartError> {
    let io = |source| StartError::Io { name: "vmanomaly".to_owned(), source };
    let (config, server) = (folder.join("config.yaml"), folder.join("server.yaml"));
    std::fs::write(&config, &setup.config).map_err(io)?;
    let listen = format!("server:\n  addr: {}\n  port: {}\n", address.ip(), address.port());
    std::fs::write(&server, listen).map_err(io)?;

    let program = find(Program::Worker)?;
    let program = setup.build.map_or_else(|| program.clone(), |build| program.with_file_name(build));
    let mut command = match setup.launcher.split_first() {
        Some((launcher, arguments)) => {
            let mut command = Command::new(launcher);
            command.args(arguments).arg(program);
            command
        }
        None => Command::new(program),
    };
    command.args(&setup.arguments).arg(&config).arg(&server);
    command.envs(setup.environment.iter().map(|(name, value)| (name, value)));
    let mut process = Process::spawn("vmanomaly", command, &folder.join("log"))?;
    let endpoint = Endpoint::new(address);
    let healthy = async |_: &Process| endpoint.answers("/health").await.then_some(());
    process.wait_until("an answer of /health", START, healthy).await?;
    Ok(process)
}

/// Metrics in the text format: each series, as it is written, with its value.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    values: BTreeMap<String, f64>,
}

impl Metrics {
    /// Reads the answer of `/metrics`, of a worker or of any other program.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.rsplit_once(' '));
        Self { values: pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect() }
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
        matching.map(|(_, value)| *value).reduce(|sum, value| sum + value)
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
        assert_eq!(metrics.sum("runs_total", &["stage=\"fit\"", "query=\"a\""]), Some(2.0));
        assert_eq!(metrics.sum("up", &[]), Some(1.0));
        assert_eq!(metrics.sum("gone", &[]), None);
    }
}
