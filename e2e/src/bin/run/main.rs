//! `make run`: the whole system on a real Kubernetes, from nothing, with a recorded incident replayed into it.

mod chaos;
mod report;
mod show;
mod stage;
mod workers;

use std::process::ExitCode;
use std::time::Duration;

use ::tests::http::HttpError;
use ::tests::incident::progress::Progress;
use ::tests::incident::replay::{Pace, Replay, ReplayError, now};
use clap::Parser;
use e2e::cluster::ClusterError;
use e2e::forward::ForwardError;
use e2e::rollout::RolloutError;
use tokio::signal::unix::{SignalKind, signal};

use chaos::Chaos;
use stage::Stage;

/// Starts a one-node Kubernetes (or takes the cluster that CLUSTER names) with VictoriaMetrics, vmagent, node exporter
/// and vmalert, installs the operator by its chart, applies deploy/quickstart with two replicas, replays a recorded incident, and shows
/// values, expected ranges, scores and alerts until Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "run")]
struct Arguments {
    /// End after the replay: with success exactly when the alert fired for the incident, said what was expected and what
    /// came, and fired for no other recording.
    #[arg(long)]
    once: bool,
    /// Kill pods and change the number of shards now and then, as this seed has it; 0: any.
    #[arg(long)]
    chaos: Option<u64>,
    /// A context of the kubeconfig: that cluster is used. It gets images from REGISTRY, or is one of kind.
    #[arg(long, env = "CLUSTER", default_value = "", hide_default_value = true)]
    cluster: String,
    /// Where that cluster gets our images from.
    #[arg(long, env = "REGISTRY", default_value = "", hide_default_value = true)]
    registry: String,
    /// The images' tag.
    #[arg(long, env = "TAG", default_value = e2e::catalogue::TAG)]
    tag: String,
    /// What took place before this program was started, as `name=seconds`.
    #[arg(long = "part", value_parser = part, hide = true)]
    parts: Vec<(String, Duration)>,
}

fn part(text: &str) -> Result<(String, Duration), String> {
    let (name, seconds) = text.split_once('=').ok_or("name=seconds")?;
    let seconds = seconds.parse().map_err(|error| format!("{error}"))?;
    Ok((name.to_owned(), Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?))
}

/// Why it could not do what was asked.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Rollout(#[from] RolloutError),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Forward(#[from] ForwardError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(
        "namespace {namespace} is in that cluster already, maybe left by an earlier run: remove it with `kubectl --context {context} delete namespace {namespace}`, or name another cluster"
    )]
    Occupied { context: String, namespace: String },
    #[error("it did not go as it should: {0}")]
    Verdict(String),
}

/// Samples that are replayed when the program ends by itself: the value drops with the fifth.
const ONCE: usize = 12;

#[tokio::main]
async fn main() -> ExitCode {
    // Fails only if another provider is installed already, and nothing ran before this line.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments = Arguments::parse();
    let progress = Progress::after(arguments.parts.clone());
    let replayed = if arguments.once { ONCE } else { usize::MAX };
    let result = match Replay::load(Pace { replayed, ..Pace::EVERY_FIVE_SECONDS }) {
        Ok(replay) => run(&arguments, &replay, &progress).await,
        Err(error) => Err(error.into()),
    };
    result.unwrap_or_else(|failure| {
        eprintln!("\nrun: {failure}");
        ExitCode::FAILURE
    })
}

/// Whatever happens in it, what was started is taken down before it returns.
async fn run(arguments: &Arguments, replay: &Replay, progress: &Progress) -> Result<ExitCode, Failure> {
    println!(
        "A recorded incident runs in compressed time, a sample of five minutes every five seconds: an autoscaling"
    );
    println!("group's CPU use drops to nothing. The metrics of the node itself run in real time.\n");
    let stage = tokio::select! {
        stage = Stage::open(arguments, progress) => stage?,
        code = interruption() => return Ok(code?),
    };
    let result = tokio::select! {
        result = play(&stage, arguments, replay, progress) => result.map(|()| ExitCode::SUCCESS),
        code = interruption() => code.map_err(Failure::from),
    };
    tokio::select! {
        closed = stage.close(progress) => closed?,
        code = interruption() => return Ok(code?),
    }
    if result.is_ok() && arguments.once {
        report::print(progress);
    }
    result
}

async fn play(stage: &Stage, arguments: &Arguments, replay: &Replay, progress: &Progress) -> Result<(), Failure> {
    let mut show = stage.set(replay, progress).await?;
    let any = || now().unsigned_abs() % 1_000_000;
    show.chaos = arguments.chaos.map(|seed| Chaos::new(if seed == 0 { any() } else { seed }));
    show.run(&stage.cluster, arguments.once, replay, progress).await
}

/// Waits for Ctrl-C or a request to end; brings the status that a shell gives to a program that Ctrl-C ended.
async fn interruption() -> std::io::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result?,
        _ = terminate.recv() => {}
    }
    println!("\nTaking down everything that was started.");
    Ok(ExitCode::from(130))
}
