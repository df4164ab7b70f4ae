//! A Prometheus on loopback that takes remote writes, late ones included.

use std::net::SocketAddr;
use std::process::Command;

use tempfile::TempDir;

use crate::components::{Program, find};
use crate::http::Endpoint;
use crate::process::{Process, START, StartError, listen_address};

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    endpoint: Endpoint,
    address: SocketAddr,
    _folder: TempDir,
}

/// Backfill: samples may be as old as this against the newest one.
const CONFIG: &str = "storage:\n  tsdb:\n    out_of_order_time_window: 30d\n";

impl Prometheus {
    /// Starts one that scrapes nothing.
    ///
    /// # Errors
    /// When the program is missing or does not get ready.
    pub async fn start() -> Result<Self, StartError> {
        let io = |source| StartError::Io { name: "prometheus".to_owned(), source };
        let folder = tempfile::Builder::new().prefix("prometheus-").tempdir().map_err(io)?;
        let config = folder.path().join("prometheus.yml");
        std::fs::write(&config, CONFIG).map_err(io)?;

        let mut command = Command::new(find(Program::Prometheus)?);
        command.args(["--web.listen-address=127.0.0.1:0", "--web.enable-remote-write-receiver"]);
        command.args(["--storage.tsdb.retention.time=100y", "--log.level=info"]);
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
        let mut process = Process::spawn("prometheus", command, &folder.path().join("log"))?;
        let address = process.wait_for_output("its listen address", START, listen_address).await?;
        let endpoint = Endpoint::new(address);
        let ready = async |_: &Process| endpoint.answers("/-/ready").await.then_some(());
        process.wait_until("an answer of /-/ready", START, ready).await?;
        Ok(Self { process, endpoint, address, _folder: folder })
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

    /// The URL that takes remote writes.
    #[must_use]
    pub fn remote_write_url(&self) -> String {
        format!("{}/api/v1/write", self.url())
    }

    /// For queries and any other request.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
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
}
