//! A vmagent: scrapes targets, takes imports, and writes both to a TSDB by remote write.

use std::fmt::Write;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::components::{Program, find};
use crate::http::{Endpoint, HttpError};
use crate::process::{Process, StartError};
use crate::series::Series;
use crate::victoria_metrics::ready;

/// A running vmagent.
#[derive(Debug)]
pub struct Vmagent {
    process: Process,
    endpoint: Endpoint,
    _folder: TempDir,
}

/// What to scrape: the job's name and `host:port`.
#[derive(Debug, Clone)]
pub struct Target {
    /// Label `job`.
    pub job: String,
    /// Label `instance`.
    pub address: String,
}

impl Vmagent {
    /// Starts one that scrapes each target every `interval` and sends at least every second to `remote_write`
    /// (a whole URL, as `http://127.0.0.1:8428/api/v1/write`).
    ///
    /// # Errors
    /// When the program is missing or does not get ready.
    pub async fn start(remote_write: &str, targets: &[Target], interval: Duration) -> Result<Self, StartError> {
        let io = |source| StartError::Io { name: "vmagent".to_owned(), source };
        let folder = tempfile::Builder::new().prefix("vmagent-").tempdir().map_err(io)?;
        let scrape = folder.path().join("scrape.yml");
        std::fs::write(&scrape, scrape_config(targets, interval)).map_err(io)?;

        let mut command = Command::new(find(Program::Vmagent)?);
        command.args(["-httpListenAddr=127.0.0.1:0", "-remoteWrite.flushInterval=1s"]);
        command.arg(format!("-remoteWrite.url={remote_write}"));
        command.arg(format!("-remoteWrite.tmpDataPath={}", folder.path().join("queue").display()));
        command.arg(format!("-promscrape.config={}", scrape.display()));
        let mut process = Process::spawn("vmagent", command, &folder.path().join("log"))?;
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

    /// Hands series over for remote write.
    ///
    /// # Errors
    /// No answer, or one other than 2xx.
    pub async fn import<'a>(&self, series: impl IntoIterator<Item = &'a Series>) -> Result<(), HttpError> {
        let lines: String = series.into_iter().map(Series::import_line).collect();
        self.endpoint.post("/api/v1/import", &[], lines).await.map(drop)
    }
}

fn scrape_config(targets: &[Target], interval: Duration) -> String {
    let mut config = format!("global:\n  scrape_interval: {}ms\nscrape_configs:\n", interval.as_millis());
    for Target { job, address } in targets {
        // Writing to a string cannot fail.
        let _ = writeln!(config, "  - job_name: {job:?}\n    static_configs:\n      - targets: [{address:?}]");
    }
    if targets.is_empty() {
        config.push_str("  []\n");
    }
    config
}
