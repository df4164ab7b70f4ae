//! What a tick costs all shards together, and the TSDB.

use std::time::Duration;

use ::tests::measure::{Failure, median};
use ::tests::victoria_metrics::VictoriaMetrics;

use crate::deployment::{Deployment, Identity, Settings};
use crate::{Arguments, loaded, milliseconds};

#[derive(Default)]
struct Outcome {
    shards: u32,
    /// Whether they reach each other.
    together: bool,
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
    // One shard has nobody to read with.
    let strangers = arguments.shards.iter().filter(|shards| **shards > 1);
    let wanted: Vec<_> =
        arguments.shards.iter().map(|shards| (*shards, true)).chain(strangers.map(|shards| (*shards, false))).collect();
    let each = 60 + (arguments.ticks as i64 + 5) * arguments.infer_every;
    let (tsdb, _) = loaded(arguments.read_series, arguments.infer_every, each * wanted.len() as i64).await?;
    let mut outcomes = Vec::new();
    for (shards, together) in wanted {
        outcomes.push(one(arguments, &tsdb, shards, together).await?);
    }
    println!("\n{} series over shards, mad_online; medians of {} ticks\n", arguments.read_series, arguments.ticks);
    println!(
        "| shards | reads of the TSDB per tick | CPU of all workers per tick | CPU of the TSDB per tick, read and write | from the TSDB per tick | between workers per tick | RSS of all workers |"
    );
    println!("|---|---|---|---|---|---|---|");
    for outcome in outcomes {
        let Outcome { shards, together, reads, read_bytes, peer_bytes, resident_bytes, .. } = outcome;
        println!(
            "| {shards}{} | {reads:.2} | {} | {} | {:.1} MB | {:.2} MB | {:.0} MB |",
            if together { "" } else { ", each for itself" },
            milliseconds(median(&outcome.workers).unwrap_or_default()),
            milliseconds(median(&outcome.tsdb).unwrap_or_default()),
            read_bytes / 1e6,
            peer_bytes / 1e6,
            resident_bytes as f64 / 1e6,
        );
    }
    Ok(())
}

async fn one(arguments: &Arguments, tsdb: &VictoriaMetrics, shards: u32, together: bool) -> Result<Outcome, Failure> {
    let settings = Settings {
        model: "mad_online",
        series: arguments.read_series,
        infer_every: arguments.infer_every,
        writer: "mode: all",
    };
    let mut deployment = Deployment::new(tsdb, settings)?;
    let layout = format!("epoch: 1\nshards: {shards}");
    if together {
        deployment.write_topology(&layout)?
    } else {
        deployment.write_topology_of_strangers(&layout)?
    }
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
    let mut outcome = Outcome { shards, together, ..Outcome::default() };
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
