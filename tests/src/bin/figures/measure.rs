//! Processor time of the TSDB for the reads of a tick, and what all measurements need.

use std::time::Duration;

use ::tests::process::{POLL, Process};
use ::tests::victoria_metrics::VictoriaMetrics;

use crate::Failure;
use crate::data::{Data, METRIC};

/// Reads measured, after one that fills the TSDB's caches.
const READS: i64 = 5;

/// What a read costs the TSDB.
#[derive(Debug, Default)]
pub struct Reads {
    /// Processor time of the TSDB for one.
    pub cpu: Duration,
    /// Length of one answer.
    pub bytes: u64,
}

/// The middle one; of an even number the higher one.
pub fn median<T: Copy + Ord>(values: &[T]) -> Option<T> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

/// Waits until a process uses no more than 2 % of a processor.
pub async fn quiet(process: &Process) -> Result<(), Failure> {
    let interval = Duration::from_millis(500);
    for _ in 0..120 {
        let before = process.cpu_time()?;
        tokio::time::sleep(interval).await;
        if process.cpu_time()? - before <= interval / 50 {
            return Ok(());
        }
    }
    Err(Failure::Unexpected(format!("{} is busy for more than a minute", process.name())))
}

/// Asks for ticks as the worker does and drops the answers.
pub async fn reads(tsdb: &VictoriaMetrics, data: &Data) -> Result<Reads, Failure> {
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
    Ok(Reads { cpu: median(&cpu).unwrap_or_default(), bytes })
}
