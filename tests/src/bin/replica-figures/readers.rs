//! What a tick costs all shards together, and the TSDB.

use std::time::Duration;

use ::tests::measure::{Failure, median};
use ::tests::victoria_metrics::VictoriaMetrics;

use crate::deployment::{Deployment, Identity, Settings};
use crate::{Arguments, loaded, milliseconds};

#[derive(Default)]
struct Outcome {
    shards: u32,
    /// Of all workers together, for each tick.
    workers: Vec<Duration>,
    tsdb: Vec<Duration>,
    /// For each tick.
    reads: f64,
    read_bytes: f64,
    peer_bytes: f64,
    /// Resident memory of all workers.
    resident_bytes: u64,
}

/// Measures and prints.
pub async fn measure(arguments: &Arguments) -> Result<(), Failure> {
    let mut outcomes = Vec::new();
    let each = 60 + (arguments.ticks as i64 + 5) * arguments.infer_every;
    let ahead = each * arguments.shards.len() as i64;
    let (tsdb, _) = loaded(arguments.read_series, arguments.infer_every, ahead).await?;
    for shards in &arguments.shards {
        outcomes.push(one(arguments, &tsdb, *shards).await?);
    }
    println!("\n{} series over shards, mad_online; medians of {} ticks\n", arguments.read_series, arguments.ticks);
    let row = |name: &str, value: &dyn Fn(&Outcome) -> String| {
        println!("| {name} | {} |", outcomes.iter().map(value).collect::<Vec<_>>().join(" | "));
    };
    row("shards", &|outcome| outcome.shards.to_string());
    println!("|---|{}", "---|".repeat(outcomes.len()));
    row("reads of the TSDB per tick", &|outcome| format!("{:.2}", outcome.reads));
    row("CPU of all workers per tick", &|outcome| milliseconds(median(&outcome.workers).unwrap_or_default()));
    row("CPU of the TSDB per tick, read and write", &|outcome| milliseconds(median(&outcome.tsdb).unwrap_or_default()));
    row("bytes from the TSDB per tick", &|outcome| format!("{:.1} MB", outcome.read_bytes / 1e6));
    row("bytes between workers per tick", &|outcome| format!("{:.1} MB", outcome.peer_bytes / 1e6));
    row("RSS of all workers", &|outcome| format!("{:.0} MB", outcome.resident_bytes as f64 / 1e6));
    Ok(())
}

async fn one(arguments: &Arguments, tsdb: &VictoriaMetrics, shards: u32) -> Result<Outcome, Failure> {
    let settings = Settings {
        model: "mad_online",
        series: arguments.read_series,
        infer_every: arguments.infer_every,
        writer: "mode: all",
    };
    let mut deployment = Deployment::new(tsdb, settings)?;
    deployment.write_topology(&format!("epoch: 1\nshards: {shards}"))?;
    let all: Vec<Identity> = (0..shards).map(|shard| (shard, 0)).collect();
    deployment.add(all.iter().copied()).await?;
    let mut last = deployment.tick_after(0, &all).await?;
    for _ in 0..2 {
        last = deployment.tick_after(last, &all).await?;
    }
    let names = [
        "vmanomaly_reader_responses_total",
        "vmanomaly_reader_received_bytes_total",
        "vmanomaly_peer_received_bytes_total",
    ];
    let mut before = Vec::new();
    for name in names {
        before.push(deployment.metric(name, &[]).await?);
    }
    let mut outcome = Outcome { shards, ..Outcome::default() };
    let total = |deployment: &Deployment| Ok::<Duration, Failure>(deployment.cpu()?.values().sum());
    let mut cpu = (total(&deployment)?, tsdb.process().cpu_time()?);
    for _ in 0..arguments.ticks {
        last = deployment.tick_after(last, &all).await?;
        let now = (total(&deployment)?, tsdb.process().cpu_time()?);
        outcome.workers.push(now.0 - cpu.0);
        outcome.tsdb.push(now.1 - cpu.1);
        cpu = now;
    }
    eprintln!("{shards} shards: a tick costs the workers {:?}, the TSDB {:?}", outcome.workers, outcome.tsdb);
    let mut spent = Vec::new();
    for (name, before) in names.into_iter().zip(before) {
        spent.push((deployment.metric(name, &[]).await? - before) / arguments.ticks as f64);
    }
    if let [reads, read_bytes, peer_bytes] = spent[..] {
        (outcome.reads, outcome.read_bytes, outcome.peer_bytes) = (reads, read_bytes, peer_bytes);
    }
    for worker in deployment.workers.values() {
        outcome.resident_bytes += worker.process().resident_bytes()?.0;
    }
    Ok(outcome)
}
