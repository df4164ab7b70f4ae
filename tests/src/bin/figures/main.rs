//! The figures of whole processes in `docs/performance.md`: a release build of the worker against a real
//! VictoriaMetrics, a tick of many series at a time. Prints a table.
//!
//! Others may use the machine meanwhile: processor time is read instead of a clock where it can be, and of repeated
//! measurements the median is taken.

mod case;
mod measure;
mod table;

use std::process::ExitCode;

use ::tests::load::Load;
use ::tests::measure::Failure;
use ::tests::victoria_metrics::VictoriaMetrics;
use clap::Parser;

use case::{ALL_OUTPUTS, Case, Outcome, SCORE_ONLY};

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

/// Samples from now on: longer than the whole run may take.
const AHEAD_SECONDS: i64 = 900;

const CASES: [Case; 4] = [
    Case { model: "zscore_online", outputs: ALL_OUTPUTS, restarted: true },
    Case { model: "zscore_online", outputs: SCORE_ONLY, restarted: false },
    Case { model: "mad_online", outputs: ALL_OUTPUTS, restarted: true },
    Case { model: "mad_online", outputs: SCORE_ONLY, restarted: false },
];

async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let tsdb = VictoriaMetrics::start_with(&["-dedup.minScrapeInterval=0s"]).await?;
    let data = Load::new(arguments.series, arguments.infer_every, AHEAD_SECONDS);
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
