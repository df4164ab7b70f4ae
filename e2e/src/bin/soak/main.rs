//! `make soak`: shards and replicas come and go and everything fails that can, on a real Kubernetes node under load;
//! what is written is compared, sample by sample, with what a worker alone writes that nothing happens to.

mod chaos;
mod recorded;
mod report;
mod scripted;
mod stage;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use ::tests::http::HttpError;
use ::tests::recording::RecordingError;
use ::tests::signal::now;
use clap::{Parser, ValueEnum};
use e2e::cluster::ClusterError;
use e2e::faults::FaultError;
use e2e::rollout::RolloutError;
use tokio::signal::unix::{SignalKind, signal};

use report::Report;
use stage::Stage;

/// Starts a one-node Kubernetes with VictoriaMetrics and two VMAnomalies on the same recorded input. One is left alone;
/// the other is scaled, upgraded, killed, stopped and cut off, first one after the other, then all at once. It ends with
/// success when both have written the same.
#[derive(Debug, Clone, Parser)]
#[command(name = "soak")]
pub struct Arguments {
    /// How long everything happens at once, minutes.
    #[arg(long, env = "MINUTES", default_value_t = 30)]
    minutes: u64,
    /// What happens then; 0: any.
    #[arg(long, env = "SEED", default_value_t = 0)]
    seed: u64,
    /// Series of the recorded input.
    #[arg(long, env = "SERIES", default_value_t = 10_000)]
    series: usize,
    /// Distance of samples and ticks, seconds.
    #[arg(long, env = "EVERY", default_value_t = 10)]
    every: i64,
    /// Who writes, when there are several replicas.
    #[arg(long, env = "MODE", default_value = "failover")]
    mode: Mode,
    /// How often a tick of a query is read from the TSDB while nothing happens.
    #[arg(long, env = "READS", default_value = "one")]
    reads: Reads,
    /// Only the parts of the script whose names contain this; `none` is a name that none has.
    #[arg(long, env = "ONLY", default_value = "")]
    only: String,
    /// The folder of the worker and the operator; that of this program unless set.
    #[arg(long)]
    binaries: Option<PathBuf>,
}

/// `writer.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Every replica writes.
    All,
    /// One does.
    Failover,
}

/// Reads of a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Reads {
    /// One for each shard.
    Shard,
    /// One for the whole deployment.
    One,
}

/// Why it could not do what was asked.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Rollout(#[from] RolloutError),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Fault(#[from] FaultError),
    #[error(transparent)]
    Recording(#[from] RecordingError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("{0} does not come")]
    Late(String),
}

#[tokio::main]
async fn main() -> ExitCode {
    // Fails only if another provider is installed already, and nothing ran before this line.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut arguments = Arguments::parse();
    if arguments.seed == 0 {
        arguments.seed = 1 + now().unsigned_abs() % 1_000_000;
    }
    let result = tokio::select! {
        result = run(&arguments) => result,
        interrupted = interruption() => interrupted.map(|()| ExitCode::from(130)).map_err(Failure::from),
    };
    result.unwrap_or_else(|failure| {
        eprintln!("\nsoak: {failure}");
        ExitCode::FAILURE
    })
}

async fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    println!("The same again with SEED={}.", arguments.seed);
    let mut stage = Stage::open(arguments).await?;
    let mut report = Report::new(arguments);
    let played = play(arguments, &mut stage, &mut report).await;
    report.print();
    if let Err(failure) = played {
        eprintln!("\nsoak: {failure}\n{}", stage.state().await);
        return Ok(ExitCode::FAILURE);
    }
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn play(arguments: &Arguments, stage: &mut Stage, report: &mut Report) -> Result<(), Failure> {
    scripted::play(arguments, stage, report).await?;
    if arguments.minutes > 0 {
        chaos::play(arguments, stage, report).await?;
    }
    Ok(())
}

/// Waits for Ctrl-C or a request to end.
async fn interruption() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result?,
        _ = terminate.recv() => {}
    }
    Ok(())
}
