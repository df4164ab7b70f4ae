//! Every fault and every change once, one after the other.

use std::num::NonZeroU32;
use std::time::Duration;

use ::config::ownership::home_shard;
use ::tests::signal::now;
use e2e::faults::{self, Cut, Partition, Signal};
use e2e::members::PEERS_PORT;

use crate::report::{Report, tell};
use crate::stage::{QUERY, Stage};
use crate::{Arguments, Failure};

/// What is done in a part.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Nothing,
    Shards(u32),
    Replicas(u32),
    Upgrade,
    /// This worker, by rank and shard.
    Kill(u32, Shard),
    Stop(u32, Shard),
    /// Cut off from all other workers.
    Part(u32, Shard),
    /// Cut off from everything.
    Isolate(u32, Shard),
}

/// Which shard.
#[derive(Debug, Clone, Copy)]
enum Shard {
    /// That of the query.
    Home,
    /// The one after it.
    Other,
}

/// Name, deed, and whether the operator is killed meanwhile.
const SCRIPT: [(&str, Deed, bool); 20] = [
    ("nothing", Deed::Nothing, false),
    ("replicas 1 to 2", Deed::Replicas(2), false),
    ("shards 1 to 3", Deed::Shards(3), false),
    ("kill rank 0 of the home shard", Deed::Kill(0, Shard::Home), false),
    ("kill rank 1 of the home shard", Deed::Kill(1, Shard::Home), false),
    ("kill rank 0 of another shard", Deed::Kill(0, Shard::Other), false),
    ("SIGSTOP rank 0 of the home shard", Deed::Stop(0, Shard::Home), false),
    ("SIGSTOP rank 1 of the home shard", Deed::Stop(1, Shard::Home), false),
    ("partition rank 0 of the home shard", Deed::Part(0, Shard::Home), false),
    ("partition rank 1 of the home shard", Deed::Part(1, Shard::Home), false),
    ("partition rank 0 of another shard", Deed::Part(0, Shard::Other), false),
    ("isolate rank 0 of the home shard", Deed::Isolate(0, Shard::Home), false),
    ("isolate rank 1 of another shard", Deed::Isolate(1, Shard::Other), false),
    ("rolling upgrade", Deed::Upgrade, false),
    ("shards 3 to 2, operator killed", Deed::Shards(2), true),
    ("shards 2 to 5, operator killed", Deed::Shards(5), true),
    ("rolling upgrade, operator killed", Deed::Upgrade, true),
    ("shards 5 to 1", Deed::Shards(1), false),
    ("replicas 2 to 3, operator killed", Deed::Replicas(3), true),
    ("replicas 3 to 1, operator killed", Deed::Replicas(1), true),
];

/// Plays all of it.
pub async fn play(arguments: &Arguments, stage: &mut Stage, report: &mut Report) -> Result<(), Failure> {
    for (name, deed, without_operator) in SCRIPT {
        if !name.contains(&arguments.only) {
            continue;
        }
        tell(name);
        act(stage, deed, arguments.every).await?;
        if without_operator {
            stage.under_way().await?;
            stage.kill_operator().await?;
        }
        stage.end(name, report).await?;
    }
    Ok(())
}

async fn act(stage: &mut Stage, deed: Deed, every: i64) -> Result<(), Failure> {
    // Longer than the next replica waits, so that it takes the place of this one.
    let while_ = Duration::from_secs(every.unsigned_abs() * 4);
    match deed {
        Deed::Nothing => Ok(()),
        Deed::Shards(shards) => stage.scale(shards).await,
        Deed::Replicas(replicas) => stage.replicate(replicas).await,
        Deed::Upgrade => stage.upgrade().await,
        Deed::Kill(rank, shard) => {
            let process = faults::process(stage.node()?, &pod(stage, rank, shard))?;
            stage.did("kill");
            Ok(faults::signal(process, Signal::Kill)?)
        }
        Deed::Stop(rank, shard) => {
            let process = faults::process(stage.node()?, &pod(stage, rank, shard))?;
            stage.did("stop");
            faults::signal(process, Signal::Stop)?;
            tokio::time::sleep(while_).await;
            Ok(faults::signal(process, Signal::Continue)?)
        }
        Deed::Part(rank, shard) => cut(stage, rank, shard, Cut::Port(PEERS_PORT), while_).await,
        Deed::Isolate(rank, shard) => cut(stage, rank, shard, Cut::Everything, while_).await,
    }
}

async fn cut(stage: &mut Stage, rank: u32, shard: Shard, cut: Cut, while_: Duration) -> Result<(), Failure> {
    let partition = Partition::begin(stage.node()?, &pod(stage, rank, shard), cut)?;
    stage.did(if cut == Cut::Everything { "cut from everything" } else { "cut from other workers" });
    let from = now();
    tokio::time::sleep(while_).await;
    partition.heal()?;
    stage.partitions.push((from, now()));
    Ok(())
}

fn pod(stage: &Stage, rank: u32, shard: Shard) -> String {
    let shards = NonZeroU32::new(stage.shards).unwrap_or(NonZeroU32::MIN);
    let home = home_shard(QUERY, shards);
    let shard = match shard {
        Shard::Home => home,
        Shard::Other => (home + 1) % shards,
    };
    format!("anomaly-{}-r{rank}-{shard}", crate::stage::SOAK)
}
