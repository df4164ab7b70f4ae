//! A vmalert that evaluates rule files every second against a TSDB.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tempfile::TempDir;

use crate::components::{Program, find};
use crate::http::{Endpoint, HttpError};
use crate::process::{POLL, Process, StartError};
use crate::victoria_metrics::ready;

/// A running vmalert.
#[derive(Debug)]
pub struct Vmalert {
    process: Process,
    endpoint: Endpoint,
    _folder: TempDir,
}

/// One alert as vmalert knows it.
#[derive(Debug, Clone, Deserialize)]
pub struct Alert {
    /// Name of the rule.
    pub name: String,
    /// `pending` or `firing`.
    pub state: String,
    /// Labels of the series, and those of the rule.
    pub labels: BTreeMap<String, String>,
    /// Annotations with their templates filled in.
    pub annotations: BTreeMap<String, String>,
    /// RFC 3339 time since when the expression has been true.
    #[serde(rename = "activeAt")]
    pub active_at: String,
}

impl Alert {
    /// Whether it fires.
    #[must_use]
    pub fn is_firing(&self) -> bool {
        self.state == "firing"
    }

    /// What it says, in full; empty where the rule has no such annotation.
    #[must_use]
    pub fn description(&self) -> &str {
        self.annotations.get("description").map_or("", String::as_str)
    }
}

impl Vmalert {
    /// Starts one that reads from and records to the TSDB at `tsdb` and notifies nobody. An instant query sees
    /// samples of the last `lookback`.
    ///
    /// # Errors
    /// When the program is missing, a rule file is wrong, or it does not get ready.
    pub async fn start(tsdb: &str, rules: &[PathBuf], lookback: Duration) -> Result<Self, StartError> {
        let io = |source| StartError::Io { name: "vmalert".to_owned(), source };
        let folder = tempfile::Builder::new().prefix("vmalert-").tempdir().map_err(io)?;
        let mut command = Command::new(find(Program::Vmalert)?);
        command.args(["-httpListenAddr=127.0.0.1:0", "-notifier.blackhole", "-rule.evalDelay=0s"]);
        command.args(["-evaluationInterval=1s", "-remoteWrite.flushInterval=1s"]);
        command.arg(format!("-datasource.url={tsdb}")).arg(format!("-remoteWrite.url={tsdb}"));
        command.arg(format!("-datasource.queryStep={}ms", lookback.as_millis()));
        command.args(rules.iter().map(|file| format!("-rule={}", file.display())));
        let mut process = Process::spawn("vmalert", command, &folder.path().join("log"))?;
        let address = ready(&mut process).await?;
        Ok(Self { process, endpoint: Endpoint::new(address), _folder: folder })
    }

    /// The base URL.
    #[must_use]
    pub fn url(&self) -> &str {
        self.endpoint.url()
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The process, to see whether it has ended.
    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }

    /// For any request.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// All pending and firing alerts.
    ///
    /// # Errors
    /// No answer, or not the expected one.
    pub async fn alerts(&self) -> Result<Vec<Alert>, HttpError> {
        self.endpoint.alerts().await
    }

    /// The first alert that `wanted` accepts, or `None` when none comes within `within`.
    ///
    /// # Errors
    /// No answer, or not the expected one.
    pub async fn wait_for(
        &self,
        within: Duration,
        wanted: impl Fn(&Alert) -> bool,
    ) -> Result<Option<Alert>, HttpError> {
        let begin = Instant::now();
        loop {
            let found = self.alerts().await?.into_iter().find(&wanted);
            if found.is_some() || begin.elapsed() > within {
                return Ok(found);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// How many evaluations of rule groups it has finished.
    ///
    /// # Errors
    /// No answer.
    pub async fn evaluations(&self) -> Result<u64, HttpError> {
        let body = self.endpoint.get("/metrics", &[]).await?;
        let text = String::from_utf8_lossy(&body).into_owned();
        let counts = text.lines().filter(|line| line.starts_with("vmalert_iteration_total{"));
        Ok(counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
    }
}

/// What any vmalert answers, wherever it runs.
impl Endpoint {
    /// All pending and firing alerts.
    ///
    /// # Errors
    /// No answer, or not the expected one.
    pub async fn alerts(&self) -> Result<Vec<Alert>, HttpError> {
        #[derive(Deserialize)]
        struct Answer {
            data: Data,
        }
        #[derive(Deserialize)]
        struct Data {
            #[serde(default)]
            alerts: Option<Vec<Alert>>,
        }
        let answer: Answer = self.get_json("/api/v1/alerts", &[]).await?;
        Ok(answer.data.alerts.unwrap_or_default())
    }
}

/// The alert rule files in a folder, sorted; the folders in it are not entered.
///
/// # Errors
/// When the folder cannot be read.
pub fn rule_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
