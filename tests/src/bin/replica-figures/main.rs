//! The figures of shards and replicas in `docs/performance.md`: release builds of the worker, as many as a deployment
//! has, against a real VictoriaMetrics. Prints a table for each part.
//!
//! As in `figures`, processor time is read instead of a clock where it can be, since others may use the machine.

mod deployment;
mod failover;
mod following;
mod handover;
mod readers;

use std::process::ExitCode;
use std::time::Duration;

use ::tests::load::Load;
use ::tests::measure::Failure;
use ::tests::victoria_metrics::VictoriaMetrics;
use clap::{Parser, ValueEnum};

/// Measures what shards and replicas cost.
#[derive(Debug, Clone, Parser)]
#[command(name = "replica-figures")]
pub struct Arguments {
    /// Series of the query; of a hand-over, as many change their shard.
    #[arg(long, default_value_t = 100_000)]
    series: usize,
    /// Series of the query whose reads by several shards are measured: so few that the TSDB answers eight of them at
    /// once.
    #[arg(long, default_value_t = 25_000)]
    read_series: usize,
    /// Ticks measured of each deployment, after two that are not.
    #[arg(long, default_value_t = 4)]
    ticks: usize,
    /// Distance of ticks and samples, seconds.
    #[arg(long, default_value_t = 15)]
    infer_every: i64,
    /// How often a rank is killed in each mode of the writer.
    #[arg(long, default_value_t = 5)]
    kills: u64,
    /// Numbers of shards whose reads are measured.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4, 8])]
    shards: Vec<u32>,
    /// Only these parts.
    #[arg(long, value_delimiter = ',', default_values_t = [Part::Handover, Part::Following, Part::Failover, Part::Readers])]
    parts: Vec<Part>,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Series that change their shard.
    Handover,
    /// A second rank.
    Following,
    /// The death of the first rank.
    Failover,
    /// What a tick costs with several shards.
    Readers,
}

impl std::fmt::Display for Part {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = format!("{self:?}").to_lowercase();
        formatter.write_str(&name)
    }
}

/// A TSDB with that many series, for so long from now on. It keeps what is written twice.
async fn loaded(series: usize, step_seconds: i64, ahead_seconds: i64) -> Result<(VictoriaMetrics, Load), Failure> {
    let tsdb = VictoriaMetrics::start_with(&["-dedup.minScrapeInterval=0s"]).await?;
    let load = Load::new(series, step_seconds, ahead_seconds);
    eprintln!("importing {} samples of {series} series", load.samples());
    load.import(&tsdb).await?;
    Ok((tsdb, load))
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.0} ms", duration.as_secs_f64() * 1e3)
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let has = |part| arguments.parts.contains(&part);
    if has(Part::Handover) {
        handover::measure(arguments).await?;
    }
    if has(Part::Following) {
        following::measure(arguments).await?;
    }
    if has(Part::Failover) {
        failover::measure(arguments).await?;
    }
    if has(Part::Readers) {
        readers::measure(arguments).await?;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
