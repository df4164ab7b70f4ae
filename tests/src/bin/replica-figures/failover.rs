//! How long scores stay away when the rank that writes them dies.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ::tests::measure::{Failure, median, until};
use ::tests::signal::{Chance, now};
use ::tests::victoria_metrics::VictoriaMetrics;

use crate::deployment::{Deployment, Settings};
use crate::{Arguments, loaded, seconds};

/// Few, so that what is measured is waiting and not work.
const SERIES: usize = 1_000;

/// Distance of ticks, seconds: the default of `failover_after` is 10 s then.
const INFER_EVERY: i64 = 5;

/// For a kill, the take-over and the return, seconds.
const ROUND: i64 = 60;

const MODES: [&str; 2] = ["failover", "all"];

struct Outcome {
    gaps: Vec<Duration>,
    missed: usize,
    rewritten: usize,
}

/// Measures and prints.
pub async fn measure(arguments: &Arguments) -> Result<(), Failure> {
    let mut outcomes = Vec::new();
    for mode in MODES {
        let ahead = 60 + ROUND * i64::try_from(arguments.kills).unwrap_or(0);
        let (tsdb, _) = loaded(SERIES, INFER_EVERY, ahead).await?;
        let writer = format!("mode: {mode}");
        let settings = Settings { model: "mad_online", series: SERIES, infer_every: INFER_EVERY, writer: &writer };
        let mut deployment = Deployment::new(&tsdb, settings)?;
        outcomes.push(one(arguments, &tsdb, &mut deployment).await?);
    }
    println!(
        "\nThe writing one of two ranks is killed {} times, {SERIES} series every {INFER_EVERY} s\n",
        arguments.kills
    );
    let row = |name: &str, value: &dyn Fn(&Outcome) -> String| {
        println!("| {name} | {} |", outcomes.iter().map(value).collect::<Vec<_>>().join(" | "));
    };
    println!("| | {} |", MODES.map(|mode| format!("`mode: {mode}`")).join(" | "));
    println!("|---|{}", "---|".repeat(MODES.len()));
    row("from SIGKILL to the next tick that is written, median", &|outcome| {
        seconds(median(&outcome.gaps).unwrap_or_default())
    });
    row("the same at its longest", &|outcome| seconds(outcome.gaps.iter().max().copied().unwrap_or_default()));
    row("ticks that no rank has written", &|outcome| outcome.missed.to_string());
    row("samples that were written with two values", &|outcome| outcome.rewritten.to_string());
    Ok(())
}

async fn one(arguments: &Arguments, tsdb: &VictoriaMetrics, deployment: &mut Deployment) -> Result<Outcome, Failure> {
    let (first, second) = ((0, 0), (0, 1));
    deployment.write_topology("epoch: 1\nshards: 1\nranks: 2")?;
    deployment.add([first, second]).await?;
    let begin = deployment.tick_after(0, &[first, second]).await?;
    let mut last = begin;
    let mut chance = Chance::new(1);
    let mut gaps = Vec::new();
    for _ in 0..arguments.kills {
        let tick = deployment.tick_after(last, &[first, second]).await?;
        deployment.tick_after(tick, &[first, second]).await?;
        // At any moment between two ticks.
        tokio::time::sleep(Duration::from_millis(chance.below(INFER_EVERY.unsigned_abs() * 1_000))).await;
        let before = sent(deployment).await.unwrap_or(0.0);
        deployment.get(first)?.kill();
        let killed = Instant::now();
        let written = async || sent(deployment).await.filter(|sent| *sent > before);
        until(written, "a tick of the rank that is left", Duration::from_millis(20)).await?;
        gaps.push(killed.elapsed());
        deployment.get(first)?.restart().await?;
        last = deployment.tick_after(now() - INFER_EVERY * 1_000, &[first, second]).await?;
    }
    eprintln!("from the death to the next tick: {gaps:?}");
    tsdb.everything_visible().await?;
    let mut missed = 0;
    let mut rewritten = 0;
    let scores = tsdb.export("anomaly_score").await?;
    for series in &scores {
        let mut times: BTreeMap<i64, f64> = BTreeMap::new();
        for sample in series.samples.iter().filter(|sample| (begin..=last).contains(&sample.time)) {
            let first = *times.entry(sample.time).or_insert(sample.value);
            // The TSDB keeps some 12 significant digits: what differs less was one value.
            if (first - sample.value).abs() > 1e-9 * first.abs().max(1.0) {
                eprintln!("{:?} at {}: {first} and {}", series.labels, sample.time, sample.value);
                rewritten += 1;
            }
        }
        let wanted = usize::try_from((last - begin) / (INFER_EVERY * 1_000) + 1).unwrap_or(0);
        missed += wanted.saturating_sub(times.len());
    }
    if scores.len() != SERIES {
        return Err(Failure::Unexpected(format!("{} series have scores, not {SERIES}", scores.len())));
    }
    Ok(Outcome { gaps, missed, rewritten })
}

/// What the second rank has sent so far.
async fn sent(deployment: &Deployment) -> Option<f64> {
    let metrics = deployment.workers.get(&(0, 1))?.metrics().await.ok()?;
    Some(metrics.sum("vmanomaly_writer_datapoints_sent_total", &[]).unwrap_or(0.0))
}
