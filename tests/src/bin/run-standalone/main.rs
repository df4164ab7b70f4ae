//! `make run-standalone`: the whole system on this machine, from nothing, with a recorded incident replayed into it.

mod stack;

use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use ::tests::http::HttpError;
use ::tests::incident::progress::Progress;
use ::tests::incident::replay::{INCIDENT, Pace, Replay, ReplayError, Timeline};
use ::tests::incident::screen::Screen;
use ::tests::incident::verdict::Outcome;
use ::tests::process::StartError;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use stack::Stack;

/// Starts VictoriaMetrics, node exporter, vmagent, vmalert and the worker, replays a recorded incident in compressed
/// time, and shows values, expected ranges, scores and alerts until Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "run-standalone")]
struct Arguments {
    /// End after the replay: with success exactly when the alert fired for the incident, said what was expected and what
    /// came, and fired for no other recording.
    #[arg(long)]
    once: bool,
}

/// Why it could not do what was asked.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Programs, a sentence each.
    #[error("{0}")]
    Missing(String),
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("the worker knows {learnt} of {recordings} recordings after {within:?}; its last lines:\n{log}")]
    NotLearnt { learnt: f64, recordings: usize, within: Duration, log: String },
    #[error("{name} ended by itself with {status}; its last lines:\n{log}")]
    Ended { name: String, status: ExitStatus, log: String },
    #[error("it did not go as it should: {0}")]
    Verdict(String),
}

/// Ticks after the replay within which every score has to be there, and ticks after that in which alerts may come.
const SCORES_WITHIN: usize = 15;
const ALERTS_WITHIN: usize = 4;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Whichever ends first, the other is dropped, and with it everything that was started.
    let result = tokio::select! {
        result = run(arguments.once) => result.map(|()| ExitCode::SUCCESS),
        interrupted = interruption() => interrupted.map_err(Failure::from),
    };
    result.unwrap_or_else(|failure| {
        eprintln!("\nrun-standalone: {failure}");
        ExitCode::FAILURE
    })
}

/// Waits for Ctrl-C or a request to end; brings the status that a shell gives to a program that Ctrl-C ended.
async fn interruption() -> std::io::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result?,
        _ = terminate.recv() => {}
    }
    println!("\nEnding everything that was started.");
    Ok(ExitCode::from(130))
}

async fn run(once: bool) -> Result<(), Failure> {
    let replay = Replay::load(Pace::EVERY_SECOND)?;
    println!(
        "Recordings run in compressed time, one second for five minutes: {} hours are imported as",
        replay.pace.history / 12
    );
    println!(
        "history, then {} minutes are replayed. In one of them an autoscaling group's CPU use drops",
        replay.length * 5
    );
    println!("to nothing, {} seconds into the replay. This machine's own metrics run in real time.\n", replay.incident);

    let progress = Progress::new();
    let mut stack = Stack::start(&replay, &progress).await?;
    let timeline = Timeline::begin(replay.pace);
    println!(
        "{:6.1} s  replay           {} samples of each recording, one a second\n",
        progress.seconds(),
        replay.length
    );

    let observer = stack.observer();
    let mut screen = Screen::new("this machine");
    let mut complete_at = None;
    for index in 0.. {
        let tick = timeline.reach(index).await;
        if index < replay.length {
            stack.tsdb.import(&replay.samples(index, tick)).await?;
            // Visible at once: the second or two that it takes by itself would be ten recorded minutes.
            stack.tsdb.force_flush().await?;
        }
        stack.check()?;
        let rows = observer.observe(tick).await?;
        let position = replay.position(tick - timeline.start);
        screen.show(&position, &rows, &[]);

        if index + 1 < replay.length {
            continue;
        }
        if !once {
            if index + 1 == replay.length {
                screen.say(&where_to_look(&stack));
            }
            continue;
        }
        let outcome = Outcome::read(&observer).await?;
        if outcome.is_complete(&replay, timeline) && complete_at.is_none() {
            complete_at = Some(index);
        }
        let last = complete_at.map_or(replay.length + SCORES_WITHIN, |complete| complete + ALERTS_WITHIN);
        if index >= last {
            screen.summarize(&position, &rows, &[]);
            let reasons = outcome.reasons(&replay, timeline);
            if !reasons.is_empty() {
                return Err(Failure::Verdict(reasons.join("; ")));
            }
            let delay = outcome.delay(&replay, timeline).unwrap_or_default();
            println!(
                "\nThe alert fired for the incident, {delay:.0} seconds after it came, and for no control recording. It says:"
            );
            println!("{}", outcome.sentence.as_deref().unwrap_or_default());
            println!("Done after {:.0} seconds.", progress.seconds());
            return Ok(());
        }
    }
    Ok(())
}

fn where_to_look(stack: &Stack) -> Vec<String> {
    let places = stack.places();
    let mut lines = vec![format!("The replay of {INCIDENT} is over; this machine goes on. Where to look:")];
    lines.extend(places.iter().map(|(name, place)| format!("  {name:<19} {place}")));
    lines.push("Ctrl-C ends everything that was started.".to_owned());
    lines
}
