//! The figures of whole processes in `docs/performance.md`: a release build of the worker against a real
//! VictoriaMetrics, a tick of many series at a time. Prints a table.
//!
//! Others may use the machine meanwhile: processor time is read instead of a clock where it can be, and of repeated
//! measurements the median is taken.

mod case;
mod data;
mod measure;
mod table;

use std::process::ExitCode;

use ::tests::http::HttpError;
use ::tests::process::StartError;
use ::tests::victoria_metrics::VictoriaMetrics;
use clap::Parser;

use case::{ALL_OUTPUTS, Case, Outcome, SCORE_ONLY};
use data::Data;

/// Measures ticks of many series end to end.
#[derive(Debug, Clone, Parser)]
#[command(name = "figures")]
pub struct Arguments {
    /// Series of the query.
    #[arg(long, default_value_t = 100_000)]
    series: usize,
    /// Ticks measured of each configuration, after two that are not.
    #[arg(long, default_value_t = 6)]
    ticks: usize,
    /// Distance of ticks and samples, seconds.
    #[arg(long, default_value_t = 6)]
    infer_every: i64,
    /// Restarts after SIGKILL of each model.
    #[arg(long, default_value_t = 3)]
    restarts: usize,
    /// Only configurations whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A program did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A request of the harness failed.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// A read of the TSDB failed.
    #[error(transparent)]
    Request(#[from] reqwest::Error),
    /// `/proc` or a folder cannot be read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Something did not happen.
    #[error("{0}")]
    Unexpected(String),
}

const CASES: [Case; 4] = [
    Case { model: "zscore_online", outputs: ALL_OUTPUTS, restarted: true },
    Case { model: "zscore_online", outputs: SCORE_ONLY, restarted: false },
    Case { model: "mad_online", outputs: ALL_OUTPUTS, restarted: true },
    Case { model: "mad_online", outputs: SCORE_ONLY, restarted: false },
];

async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let tsdb = VictoriaMetrics::start_with(&["-dedup.minScrapeInterval=0s"]).await?;
    let data = Data::new(arguments);
    eprintln!("importing {} samples of {} series", data.samples(), arguments.series);
    data.import(&tsdb).await?;
    let mut outcomes: Vec<(Case, Outcome)> = Vec::new();
    for case in CASES.into_iter().filter(|case| case.name().contains(&arguments.only)) {
        eprintln!("{}", case.name());
        let outcome = case.run(arguments, &tsdb, &data).await?;
        outcomes.push((case, outcome));
    }
    table::print(arguments, &outcomes);
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
