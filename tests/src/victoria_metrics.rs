//! A VictoriaMetrics on loopback with a data folder of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;

use crate::components::{Program, find};
use crate::http::{Endpoint, HttpError};
use crate::process::{Process, START, StartError, listen_address};
use crate::series::{Series, parse_export};

/// A running VictoriaMetrics.
#[derive(Debug)]
pub struct VictoriaMetrics {
    // Dropped before the folder that it writes to.
    process: Process,
    endpoint: Endpoint,
    address: SocketAddr,
    flags: Vec<String>,
    folder: TempDir,
}

impl VictoriaMetrics {
    /// Starts one with an empty data folder and waits until it answers.
    ///
    /// # Errors
    /// When the program is missing or does not get ready.
    pub async fn start() -> Result<Self, StartError> {
        Self::start_with(&[]).await
    }

    /// The same with further flags, which win over the usual ones.
    ///
    /// The usual ones: everything is kept, a sample may be asked for at once (`-search.latencyOffset=0s`), and of
    /// two samples at one time one stays (`-dedup.minScrapeInterval=1ms`).
    ///
    /// # Errors
    /// When the program is missing or does not get ready.
    pub async fn start_with(flags: &[&str]) -> Result<Self, StartError> {
        let folder = tempfile::Builder::new().prefix("victoria-metrics-").tempdir().map_err(failed)?;
        let flags: Vec<_> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let (process, address) = launch(folder.path(), "127.0.0.1:0", &flags).await?;
        Ok(Self { process, endpoint: Endpoint::new(address), address, flags, folder })
    }

    /// Where it listens; stays the same over [`VictoriaMetrics::restart`].
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL.
    #[must_use]
    pub fn url(&self) -> &str {
        self.endpoint.url()
    }

    /// For queries and any other request.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The process, for its processor time and memory.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The process, to see whether it has ended.
    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Imports series. They are visible after [`VictoriaMetrics::force_flush`].
    ///
    /// VictoriaMetrics keeps decimal numbers of 12 significant digits or a few more, and one exponent for a block of
    /// a series: longer values and very small ones next to large ones come back rounded.
    ///
    /// # Errors
    /// No answer, or one other than 2xx. The TSDB answers 204 even when it drops every row.
    pub async fn import<'a>(&self, series: impl IntoIterator<Item = &'a Series>) -> Result<(), HttpError> {
        self.endpoint.import(series).await
    }

    /// Imports JSON lines.
    ///
    /// # Errors
    /// No answer, or one other than 2xx. The TSDB answers 204 even when it drops every row.
    pub async fn import_lines(&self, lines: impl Into<Bytes>) -> Result<(), HttpError> {
        self.endpoint.import_lines(lines).await
    }

    /// As [`Endpoint::force_flush`].
    ///
    /// # Errors
    /// No answer, or one other than 2xx.
    pub async fn force_flush(&self) -> Result<(), HttpError> {
        self.endpoint.force_flush().await
    }

    /// As [`Endpoint::everything_visible`].
    ///
    /// # Errors
    /// As there.
    pub async fn everything_visible(&self) -> Result<(), HttpError> {
        self.endpoint.everything_visible().await
    }

    /// All raw samples of a selector, sorted by labels and time.
    ///
    /// # Errors
    /// No answer, one other than 2xx, or one that is no export.
    pub async fn export(&self, selector: &str) -> Result<Vec<Series>, HttpError> {
        self.endpoint.export(selector).await
    }

    /// Ends it. The data folder stays for [`VictoriaMetrics::restart`].
    pub async fn stop(&mut self) {
        self.process.terminate(START).await;
    }

    /// Ends it if it runs, and starts it with the same data and address.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn restart(&mut self) -> Result<(), StartError> {
        self.stop().await;
        (self.process, self.address) = launch(self.folder.path(), &self.address.to_string(), &self.flags).await?;
        Ok(())
    }
}

/// What any VictoriaMetrics answers, wherever it runs.
impl Endpoint {
    /// Imports series. They are visible after [`Endpoint::force_flush`].
    ///
    /// VictoriaMetrics keeps decimal numbers of 12 significant digits or a few more, and one exponent for a block of
    /// a series: longer values and very small ones next to large ones come back rounded.
    ///
    /// # Errors
    /// No answer, or one other than 2xx. The TSDB answers 204 even when it drops every row.
    pub async fn import<'a>(&self, series: impl IntoIterator<Item = &'a Series>) -> Result<(), HttpError> {
        let lines: String = series.into_iter().map(Series::import_line).collect();
        self.import_lines(lines).await
    }

    /// Imports JSON lines.
    ///
    /// # Errors
    /// No answer, or one other than 2xx. The TSDB answers 204 even when it drops every row.
    pub async fn import_lines(&self, lines: impl Into<Bytes>) -> Result<(), HttpError> {
        self.post("/api/v1/import", &[], lines).await.map(drop)
    }

    /// Makes what was imported visible to queries, except what VictoriaMetrics is making visible of its own accord just now: for
    /// some 100 ms every second or two with a million samples.
    ///
    /// # Errors
    /// No answer, or one other than 2xx.
    pub async fn force_flush(&self) -> Result<(), HttpError> {
        self.get("/internal/force_flush", &[]).await.map(drop)
    }

    /// Returns when everything that was imported is visible to queries, also to the last sample: after a second or so.
    ///
    /// # Errors
    /// No answer, one other than 2xx, or samples that are still missing after [`VISIBLE`].
    pub async fn everything_visible(&self) -> Result<(), HttpError> {
        self.force_flush().await?;
        let path = "/metrics";
        // The page is up to a second old: only one that was made later says how it is after the flush.
        let flushed_at = Metrics::parse(&self.get(path, &[]).await?).uptime;
        let started = std::time::Instant::now();
        loop {
            let page = self.get(path, &[]).await?;
            let metrics = Metrics::parse(&page);
            if metrics.uptime > flushed_at && metrics.underway <= 0.0 {
                return Ok(());
            }
            if started.elapsed() > VISIBLE {
                return Err(self.unusable(path, "samples are still on their way", &page));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// All raw samples of a selector, sorted by labels and time.
    ///
    /// # Errors
    /// No answer, one other than 2xx, or one that is no export.
    pub async fn export(&self, selector: &str) -> Result<Vec<Series>, HttpError> {
        self.exported(&[("match[]", selector)]).await
    }

    /// The same of the times from `from` to `until`, both included, unix ms.
    ///
    /// # Errors
    /// As [`Endpoint::export`].
    pub async fn export_within(&self, selector: &str, from: i64, until: i64) -> Result<Vec<Series>, HttpError> {
        let time = |time: i64| format!("{}.{:03}", time.div_euclid(1_000), time.rem_euclid(1_000));
        let (start, end) = (time(from), time(until));
        self.exported(&[("match[]", selector), ("start", &start), ("end", &end)]).await
    }

    async fn exported(&self, parameters: &[(&str, &str)]) -> Result<Vec<Series>, HttpError> {
        let path = "/api/v1/export";
        let body = self.get(path, parameters).await?;
        parse_export(&body).map_err(|message| self.unusable(path, &message, &body))
    }
}

/// What VictoriaMetrics' own metrics say about the way of samples into its storage.
#[derive(Debug, Default)]
struct Metrics {
    /// Age of the process when the page was made, seconds.
    uptime: f64,
    /// Samples that were taken in and are neither stored nor waiting to be: they are being made visible.
    underway: f64,
}

impl Metrics {
    fn parse(page: &[u8]) -> Self {
        let mut metrics = Self::default();
        for line in String::from_utf8_lossy(page).lines() {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let value: f64 = value.parse().unwrap_or(0.0);
            match name {
                "vm_app_uptime_seconds" => metrics.uptime = value,
                "vm_rows_added_to_storage_total" => metrics.underway += value,
                "vm_pending_rows{type=\"storage\"}" | "vm_deduplicated_samples_total{type=\"merge\"}" => {
                    metrics.underway -= value;
                }
                name if name.starts_with("vm_rows{type=\"storage/")
                    || name.starts_with("vm_rows_deleted_total{type=\"storage/") =>
                {
                    metrics.underway -= value;
                }
                _ => {}
            }
        }
        metrics
    }
}

async fn launch(folder: &Path, listen: &str, flags: &[String]) -> Result<(Process, SocketAddr), StartError> {
    let mut command = Command::new(find(Program::VictoriaMetrics)?);
    command.arg(format!("-storageDataPath={}", folder.join("data").display()));
    command.arg(format!("-httpListenAddr={listen}"));
    command.args(["-retentionPeriod=100y", "-search.latencyOffset=0s", "-dedup.minScrapeInterval=1ms"]);
    command.args(flags);
    let log = folder.join("log");
    // A restart must not read the address of the run before.
    let _ = std::fs::remove_file(&log);
    let mut process = Process::spawn("victoria-metrics", command, &log)?;
    let address = ready(&mut process).await?;
    Ok((process, address))
}

/// Waits until a program of VictoriaMetrics listens and says that it is healthy.
pub(crate) async fn ready(process: &mut Process) -> Result<SocketAddr, StartError> {
    let address = process.wait_for_output("its listen address", START, listen_address).await?;
    let endpoint = Endpoint::new(address);
    let healthy = async |_: &Process| endpoint.answers("/health").await.then_some(());
    process.wait_until("an answer of /health", START, healthy).await?;
    Ok(address)
}

fn failed(source: std::io::Error) -> StartError {
    StartError::Io { name: "victoria-metrics".to_owned(), source }
}

/// How long an imported sample may take to be visible without [`VictoriaMetrics::force_flush`].
pub const VISIBLE: Duration = Duration::from_secs(10);
