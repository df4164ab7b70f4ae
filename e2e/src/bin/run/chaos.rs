//! Now and then a pod is killed or the number of shards is changed, by chance, the same for the same seed.

use std::time::{Duration, Instant};

use ::tests::signal::Chance;
use e2e::cluster::{Cluster, ClusterError};
use e2e::quickstart;
use jiff::Timestamp;

/// Most shards.
pub const MOST_SHARDS: u32 = 4;

/// From one deed to the next: at least this, and up to as long again.
const PAUSE: Duration = Duration::from_secs(20);

/// How many deeds the screen keeps.
const SHOWN: usize = 3;

/// What happens by chance.
#[derive(Debug)]
pub struct Chaos {
    chance: Chance,
    next: Instant,
    told: Vec<String>,
}

impl Chaos {
    /// The same seed brings the same deeds.
    pub fn new(seed: u64) -> Self {
        println!("Chaos with the seed {seed}: the same again with CHAOS={seed}.");
        let mut chaos = Self { chance: Chance::new(seed), next: Instant::now(), told: Vec::new() };
        chaos.pause();
        chaos
    }

    fn pause(&mut self) {
        let more = self.chance.below(PAUSE.as_secs() + 1);
        self.next = Instant::now() + PAUSE + Duration::from_secs(more);
    }

    /// What was done lately.
    pub fn told(&self) -> &[String] {
        &self.told
    }

    /// Does something if it is time; brings what.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn act(&mut self, cluster: &Cluster, pods: &[&str], shards: u32) -> Result<Option<String>, ClusterError> {
        if Instant::now() < self.next || pods.is_empty() {
            return Ok(None);
        }
        let namespace = ["--namespace", quickstart::NAMESPACE];
        let deed = if self.chance.below(3) < 2 {
            let chosen = usize::try_from(self.chance.below(pods.len() as u64)).unwrap_or(0);
            let pod = pods.get(chosen).copied().unwrap_or_default();
            let kill = ["delete", "pod", pod, "--grace-period=0", "--force", "--ignore-not-found", "--wait=false"];
            cluster.kubectl(&[&namespace[..], &kill].concat()).await?;
            format!("killed {pod}")
        } else {
            // Any other number of shards.
            let other = 1 + self.chance.below(u64::from(MOST_SHARDS - 1));
            let wanted = if other < u64::from(shards) { other } else { other + 1 };
            let object = format!("vmanomalies.vmanomaly.dev/{}", quickstart::ANOMALY);
            let scale = ["scale", &object, &format!("--replicas={wanted}")];
            cluster.kubectl(&[&namespace[..], &scale].concat()).await?;
            format!("asked for {wanted} instead of {shards} shards")
        };
        self.pause();
        let deed = format!("{} {deed}", Timestamp::now().strftime("%H:%M:%S"));
        self.told.push(deed.clone());
        let old = self.told.len().saturating_sub(SHOWN);
        self.told.drain(..old);
        Ok(Some(deed))
    }
}
