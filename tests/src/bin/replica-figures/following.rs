//! What a tick costs the rank that reads it, and the one that follows.

use std::time::Duration;

use ::tests::measure::{Failure, median};

use crate::deployment::{Deployment, Settings};
use crate::{Arguments, loaded, milliseconds};

const MODES: [&str; 2] = ["all", "failover"];

struct Outcome {
    leader: Duration,
    follower: Duration,
    /// Bytes between the two for each series and tick.
    bytes: f64,
    /// Ranges that both read a tick.
    reads: f64,
}

/// Measures and prints.
pub async fn measure(arguments: &Arguments) -> Result<(), Failure> {
    let mut outcomes = Vec::new();
    let ahead = 240 + (arguments.ticks as i64 + 4) * arguments.infer_every * MODES.len() as i64;
    let (tsdb, _) = loaded(arguments.series, arguments.infer_every, ahead).await?;
    for mode in MODES {
        let writer = format!("mode: {mode}");
        let settings = Settings {
            model: "mad_online",
            series: arguments.series,
            infer_every: arguments.infer_every,
            writer: &writer,
        };
        let mut deployment = Deployment::new(&tsdb, settings)?;
        outcomes.push(one(arguments, &mut deployment).await?);
    }
    println!("\nTwo ranks, {} series, mad_online; medians of {} ticks\n", arguments.series, arguments.ticks);
    let row = |name: &str, value: &dyn Fn(&Outcome) -> String| {
        println!("| {name} | {} |", outcomes.iter().map(value).collect::<Vec<_>>().join(" | "));
    };
    println!("| | {} |", MODES.map(|mode| format!("`mode: {mode}`")).join(" | "));
    println!("|---|{}", "---|".repeat(MODES.len()));
    row("CPU of the leading rank per tick", &|outcome| milliseconds(outcome.leader));
    row("CPU of the following rank per tick", &|outcome| milliseconds(outcome.follower));
    row("follower / leader", &|outcome| {
        format!("{:.2}", outcome.follower.as_secs_f64() / outcome.leader.as_secs_f64())
    });
    row("bytes between them, per series and tick", &|outcome| format!("{:.1} B", outcome.bytes));
    row("reads of the TSDB per tick, of both together", &|outcome| format!("{:.2}", outcome.reads));
    Ok(())
}

async fn one(arguments: &Arguments, deployment: &mut Deployment) -> Result<Outcome, Failure> {
    let ranks = [(0, 0), (0, 1)];
    deployment.write_topology("epoch: 1\nshards: 1\nranks: 2")?;
    deployment.add(ranks).await?;
    let mut last = deployment.tick_after(0, &ranks).await?;
    for _ in 0..2 {
        last = deployment.tick_after(last, &ranks).await?;
    }
    let received = "vmanomaly_peer_received_bytes_total";
    let read = "vmanomaly_reader_responses_total";
    let before = (deployment.metric(received, &[]).await?, deployment.metric(read, &[]).await?);
    let (mut leader, mut follower) = (Vec::new(), Vec::new());
    let mut cpu = deployment.cpu()?;
    for _ in 0..arguments.ticks {
        last = deployment.tick_after(last, &ranks).await?;
        let now = deployment.cpu()?;
        let spent =
            |identity| now.get(&identity).zip(cpu.get(&identity)).map_or(Duration::ZERO, |(now, cpu)| *now - *cpu);
        leader.push(spent((0, 0)));
        follower.push(spent((0, 1)));
        cpu = now;
    }
    eprintln!("a tick costs the leading rank {leader:?}, the following one {follower:?}");
    let ticks = arguments.ticks as f64;
    let bytes = deployment.metric(received, &[]).await? - before.0;
    let reads = deployment.metric(read, &[]).await? - before.1;
    Ok(Outcome {
        leader: median(&leader).unwrap_or_default(),
        follower: median(&follower).unwrap_or_default(),
        bytes: bytes / ticks / arguments.series as f64,
        reads: reads / ticks,
    })
}
