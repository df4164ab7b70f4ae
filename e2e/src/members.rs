//! The workers of a VMAnomaly, those included that it may have some time.

use std::collections::BTreeMap;

use ::tests::http::Endpoint;
use ::tests::worker::Metrics;
use config::status::Status;

use crate::cluster::{Cluster, ClusterError};
use crate::forward::Forward;

/// The port of a worker's server.
const PORT: u16 = 8490;

/// The port on which workers answer each other.
pub const PEERS_PORT: u16 = 8491;

/// A worker.
#[derive(Debug)]
pub struct Member {
    /// Its rank among the replicas of its shard.
    pub rank: u32,
    /// Its shard.
    pub shard: u32,
    /// Its pod.
    pub pod: String,
    /// Its server.
    pub endpoint: Endpoint,
    _forward: Forward,
}

impl Member {
    /// The worker of a VMAnomaly, whether its pod is there or not.
    ///
    /// # Errors
    /// When no port is free here.
    pub async fn of(
        cluster: &Cluster,
        namespace: &str,
        anomaly: &str,
        (rank, shard): (u32, u32),
    ) -> Result<Self, ClusterError> {
        let pod = format!("anomaly-{anomaly}-r{rank}-{shard}");
        let forward = cluster.forward_pod(namespace, &pod, PORT).await?;
        let endpoint = Endpoint::new(forward.address());
        Ok(Self { rank, shard, pod, endpoint, _forward: forward })
    }

    /// What it says of itself, if it answers.
    pub async fn status(&self) -> Option<Status> {
        self.endpoint.get_json("/status", &[]).await.ok()
    }

    /// Its metrics, if it answers.
    pub async fn metrics(&self) -> Option<Metrics> {
        let text = self.endpoint.get("/metrics", &[]).await.ok()?;
        Some(Metrics::parse(&String::from_utf8_lossy(&text)))
    }
}

/// A counter of a worker: the sum over its series with this label, written as `name="value"`; of all without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counter {
    /// Name of the metric.
    pub name: &'static str,
    /// Which series of it.
    pub label: Option<&'static str>,
}

/// Counters summed over processes that come and go.
#[derive(Debug, Default)]
pub struct Tally {
    last: BTreeMap<(String, Counter), f64>,
    sums: BTreeMap<Counter, f64>,
}

impl Tally {
    /// Takes in what a worker says now. What a process counted between the last look and its end is lost.
    pub fn look(&mut self, member: &Member, metrics: &Metrics, counters: &[Counter]) {
        for counter in counters {
            let labels: Vec<_> = counter.label.into_iter().collect();
            self.take(&member.pod, *counter, metrics.sum(counter.name, &labels).unwrap_or(0.0));
        }
    }

    fn take(&mut self, pod: &str, counter: Counter, now: f64) {
        let last = self.last.insert((pod.to_owned(), counter), now).unwrap_or(0.0);
        // A lower value is that of a new process.
        let more = if now < last { now } else { now - last };
        *self.sums.entry(counter).or_default() += more;
    }

    /// The sum of a counter so far.
    #[must_use]
    pub fn sum(&self, counter: Counter) -> f64 {
        self.sums.get(&counter).copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_begins_anew_goes_on_in_the_sum() {
        let mut tally = Tally::default();
        let reads = Counter { name: "reads", label: None };
        for (pod, now) in [("a", 3.0), ("b", 1.0), ("a", 5.0), ("a", 2.0), ("b", 1.0)] {
            tally.take(pod, reads, now);
        }
        assert_eq!(tally.sum(reads), 8.0);
    }
}
