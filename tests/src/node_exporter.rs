//! A node exporter: this machine's metrics.

use std::net::SocketAddr;
use std::process::Command;

use tempfile::TempDir;

use crate::components::{Program, find};
use crate::http::Endpoint;
use crate::process::{Process, START, StartError, listen_address};

/// A running node exporter.
#[derive(Debug)]
pub struct NodeExporter {
    process: Process,
    address: SocketAddr,
    _folder: TempDir,
}

impl NodeExporter {
    /// Starts one with the collectors for CPU, load, memory, disks and network.
    ///
    /// # Errors
    /// When the program is missing or does not get ready.
    pub async fn start() -> Result<Self, StartError> {
        let io = |source| StartError::Io { name: "node exporter".to_owned(), source };
        let folder = tempfile::Builder::new().prefix("node-exporter-").tempdir().map_err(io)?;
        let mut command = Command::new(find(Program::NodeExporter)?);
        command.args(["--web.listen-address=127.0.0.1:0", "--collector.disable-defaults"]);
        let collectors = ["cpu", "loadavg", "meminfo", "diskstats", "netdev", "stat"];
        command.args(collectors.map(|collector| format!("--collector.{collector}")));
        let mut process = Process::spawn("node exporter", command, &folder.path().join("log"))?;
        let address = process.wait_for_output("its listen address", START, listen_address).await?;
        let endpoint = Endpoint::new(address);
        let scraped = async |_: &Process| endpoint.answers("/metrics").await.then_some(());
        process.wait_until("an answer of /metrics", START, scraped).await?;
        Ok(Self { process, address, _folder: folder })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
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
