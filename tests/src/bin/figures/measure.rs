//! Processor time of the TSDB for the reads of a tick.

use std::time::Duration;

use ::tests::load::{Load, METRIC};
use ::tests::measure::{Failure, quiet};
use ::tests::process::POLL;
use ::tests::victoria_metrics::VictoriaMetrics;

/// Reads measured, after one that fills the TSDB's caches.
const READS: i64 = 5;

/// What a read costs the TSDB.
#[derive(Debug, Default)]
pub struct Reads {
    /// Processor time of the TSDB for each.
    pub cpu: Vec<Duration>,
    /// Length of one answer.
    pub bytes: u64,
}

/// Asks for ticks as the worker does and drops the answers.
pub async fn reads(tsdb: &VictoriaMetrics, data: &Load) -> Result<Reads, Failure> {
    let client = ::tests::http::client();
    let url = format!("{}/api/v1/query_range", tsdb.url());
    quiet(tsdb.process()).await?;
    let mut cpu = Vec::new();
    let mut bytes = 0;
    for tick in 0..=READS {
        let time = ((data.latest() - tick * data.step) / 1_000).to_string();
        let parameters = [
            ("query", METRIC),
            ("start", &time),
            ("end", &time),
            ("step", &(data.step / 1_000).to_string()),
            ("nocache", "1"),
            ("latency_offset", "1ms"),
        ];
        let url = reqwest::Url::parse_with_params(&url, parameters)
            .map_err(|error| Failure::Unexpected(error.to_string()))?;
        let before = tsdb.process().cpu_time()?;
        let mut response = client.post(url).send().await?.error_for_status()?;
        bytes = 0;
        while let Some(chunk) = response.chunk().await? {
            bytes += chunk.len() as u64;
        }
        // The kernel may book the last bytes a little later.
        tokio::time::sleep(2 * POLL).await;
        if tick > 0 {
            cpu.push(tsdb.process().cpu_time()? - before);
        }
    }
    eprintln!("a read costs the TSDB {cpu:?}");
    Ok(Reads { cpu, bytes })
}
