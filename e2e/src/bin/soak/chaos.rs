//! Everything at once, by chance, the same for the same seed.

use std::time::{Duration, Instant};

use ::tests::signal::{Chance, now};
use e2e::faults::{self, Cut, FaultError, Partition, Signal};
use e2e::members::PEERS_PORT;

use crate::report::{Report, tell};
use crate::stage::{MOST_REPLICAS, MOST_SHARDS, SOAK, Stage};
use crate::{Arguments, Failure};

/// From one deed to the next, seconds: at least this, and up to as much again.
const PAUSE: u64 = 8;

/// How long a fault lasts, seconds: at least this, and up to so much more. The longest stop is still shorter than
/// what the node takes for death.
const SHORTEST: u64 = 4;
const LONGER: u64 = 40;

/// How often what was written is compared meanwhile.
const COMPARED: Duration = Duration::from_secs(10 * 60);

/// Something that ends by itself.
enum Fault {
    Stop(u32),
    Partition(Partition, i64),
}

/// Plays it.
pub async fn play(arguments: &Arguments, stage: &mut Stage, report: &mut Report) -> Result<(), Failure> {
    let mut chance = Chance::new(arguments.seed);
    let end = Instant::now() + Duration::from_secs(arguments.minutes * 60);
    let mut round = 0;
    while Instant::now() < end {
        round += 1;
        let until = end.min(Instant::now() + COMPARED);
        disturb(stage, &mut chance, until).await?;
        tell("quiet, to compare");
        stage.end(&format!("all at once, seed {}, part {round}", arguments.seed), report).await?;
    }
    Ok(())
}

async fn disturb(stage: &mut Stage, chance: &mut Chance, until: Instant) -> Result<(), Failure> {
    let mut faults: Vec<(Instant, Fault)> = Vec::new();
    let mut next = Instant::now();
    while Instant::now() < until {
        let (over, going_on) = faults.into_iter().partition(|(at, _)| *at <= Instant::now());
        faults = going_on;
        mend(stage, over)?;
        if Instant::now() >= next {
            let lasts = Duration::from_secs(SHORTEST + chance.below(LONGER));
            if let Some(fault) = deed(stage, chance).await? {
                faults.push((Instant::now() + lasts, fault));
            }
            next = Instant::now() + Duration::from_secs(PAUSE + chance.below(PAUSE));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    mend(stage, faults)
}

fn mend(stage: &mut Stage, faults: Vec<(Instant, Fault)>) -> Result<(), Failure> {
    for (_, fault) in faults {
        match fault {
            // It may have been killed meanwhile.
            Fault::Stop(process) => drop(faults::signal(process, Signal::Continue)),
            Fault::Partition(partition, from) => {
                partition.heal()?;
                stage.partitions.push((from, now()));
            }
        }
    }
    Ok(())
}

/// Does one thing; brings it if it has to be ended.
async fn deed(stage: &mut Stage, chance: &mut Chance) -> Result<Option<Fault>, Failure> {
    let kind = chance.below(12);
    let (rank, shard) = (chance.below(u64::from(stage.replicas)), chance.below(u64::from(stage.shards)));
    let pod = format!("anomaly-{SOAK}-r{rank}-{shard}");
    let other = |chance: &mut Chance, now: u32, most: u32| {
        let chosen = 1 + u32::try_from(chance.below(u64::from(most - 1))).unwrap_or(0);
        if chosen < now { chosen } else { chosen + 1 }
    };
    let process = faults::process(stage.node()?, &pod);
    let fault = match kind {
        0..=2 => on(process, |process| {
            tell(&format!("{pod} is killed"));
            faults::signal(process, Signal::Kill).map(|()| None)
        }),
        3 | 4 => on(process, |process| {
            tell(&format!("{pod} stands still"));
            faults::signal(process, Signal::Stop).map(|()| Some(Fault::Stop(process)))
        }),
        5..=7 => {
            let cut = if kind == 7 { Cut::Everything } else { Cut::Port(PEERS_PORT) };
            let node = stage.node()?;
            on(process, |_| {
                tell(&format!("{pod} is cut off from {}", if kind == 7 { "everything" } else { "all others" }));
                Ok(Some(Fault::Partition(Partition::begin(node, &pod, cut)?, now())))
            })
        }
        8 => {
            let shards = other(chance, stage.shards, MOST_SHARDS);
            stage.scale(shards).await?;
            return Ok(None);
        }
        9 => {
            let replicas = other(chance, stage.replicas, MOST_REPLICAS);
            stage.replicate(replicas).await?;
            return Ok(None);
        }
        10 => {
            stage.upgrade().await?;
            return Ok(None);
        }
        _ => {
            stage.kill_operator().await?;
            return Ok(None);
        }
    };
    match fault {
        Ok(fault) => {
            stage.did(match kind {
                0..=2 => "kill",
                3 | 4 => "stop",
                7 => "cut from everything",
                _ => "cut from other workers",
            });
            Ok(fault)
        }
        // It starts or ends just now.
        Err(FaultError::NoProcess { .. } | FaultError::Gone { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn on(
    process: Result<u32, FaultError>,
    act: impl FnOnce(u32) -> Result<Option<Fault>, FaultError>,
) -> Result<Option<Fault>, FaultError> {
    process.and_then(act)
}
