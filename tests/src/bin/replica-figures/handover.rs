//! Half of all series change their shard: one shard becomes two.

use std::time::{Duration, Instant};

use ::tests::measure::Failure;

use crate::deployment::{Deployment, Settings};
use crate::{Arguments, loaded, milliseconds, seconds};

/// Samples from now on, seconds.
const AHEAD_SECONDS: i64 = 400;

struct Outcome {
    moved: u64,
    took: Duration,
    bytes: f64,
    giver: Duration,
    taker: Duration,
    /// Of the only worker, for all series.
    tick: Duration,
    written_after: Duration,
}

/// Measures and prints.
pub async fn measure(arguments: &Arguments) -> Result<(), Failure> {
    let mut outcomes = Vec::new();
    for model in ["zscore_online", "mad_online"] {
        outcomes.push((model, one(arguments, model).await?));
    }
    println!("\nOne shard of {} series becomes two\n", 2 * arguments.series);
    let row = |name: &str, value: &dyn Fn(&Outcome) -> String| {
        let cells: Vec<String> = outcomes.iter().map(|(_, outcome)| value(outcome)).collect();
        println!("| {name} | {} |", cells.join(" | "));
    };
    println!("| | {} |", outcomes.iter().map(|(model, _)| *model).collect::<Vec<_>>().join(" | "));
    println!("|---|{}", "---|".repeat(outcomes.len()));
    row("series that move", &|outcome| outcome.moved.to_string());
    row("from the changed topology until nothing moves any more", &|outcome| seconds(outcome.took));
    row("from there until both shards have written the newest tick", &|outcome| seconds(outcome.written_after));
    row("bytes between the workers, of each series that moves", &|outcome| {
        format!("{:.0} B", outcome.bytes / outcome.moved as f64)
    });
    row("CPU of the former owner meanwhile", &|outcome| milliseconds(outcome.giver));
    row("CPU of the new owner meanwhile", &|outcome| milliseconds(outcome.taker));
    row("for comparison: CPU of a tick of all series before", &|outcome| milliseconds(outcome.tick));
    Ok(())
}

async fn one(arguments: &Arguments, model: &str) -> Result<Outcome, Failure> {
    let (first, second) = ((0, 0), (1, 0));
    let series = 2 * arguments.series;
    let (tsdb, _) = loaded(series, arguments.infer_every, AHEAD_SECONDS).await?;
    let settings = Settings { model, series, infer_every: arguments.infer_every, writer: "mode: all" };
    let mut deployment = Deployment::new(&tsdb, settings)?;
    deployment.write_topology("epoch: 1\nshards: 1")?;
    // The second one waits for a topology that has it: what starting it costs is not part of the hand-over.
    deployment.add([first, second]).await?;
    let mut last = deployment.tick_after(0, &[first]).await?;
    last = deployment.tick_after(last, &[first]).await?;
    let begun = deployment.get(first)?.process().cpu_time()?;
    deployment.tick_after(last, &[first]).await?;
    let tick = deployment.get(first)?.process().cpu_time()? - begun;

    let cpu = deployment.cpu()?;
    let received = deployment.metric("vmanomaly_peer_received_bytes_total", &["kind=\"answer\""]).await?;
    let begin = Instant::now();
    deployment.write_topology("epoch: 2\nshards: 2\nprevious_shards: [1]\nsettled_epoch: 1")?;
    deployment.followed(2).await?;
    let took = begin.elapsed();
    let after = deployment.cpu()?;
    let bytes = deployment.metric("vmanomaly_peer_received_bytes_total", &["kind=\"answer\""]).await? - received;
    let settled = Instant::now();
    deployment.tick_after(::tests::signal::now() - arguments.infer_every * 1_000, &[first, second]).await?;
    let written_after = settled.elapsed();

    let refits = deployment.metric("vmanomaly_refits_unscheduled_total", &[]).await?;
    if refits > 0.0 {
        return Err(Failure::Unexpected(format!("{refits} series were learnt anew")));
    }
    let status = deployment.get(second)?.status().await?;
    let moved = status["jobs"][0]["active_series"].as_u64().unwrap_or(0);
    let spent = |identity| {
        after.get(&identity).zip(cpu.get(&identity)).map_or(Duration::ZERO, |(after, before)| *after - *before)
    };
    eprintln!("{model}: {moved} series in {took:?}");
    Ok(Outcome { moved, took, bytes, giver: spent(first), taker: spent(second), tick, written_after })
}
