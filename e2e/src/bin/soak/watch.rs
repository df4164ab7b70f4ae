//! What all workers count, while they come and go, and what they ask the TSDB for.

use std::sync::Arc;
use std::time::Duration;

use ::tests::http::{Endpoint, HttpError};
use ::tests::worker::Metrics;
use e2e::members::{Counter, Member, Tally};
use futures_util::future::join_all;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// How often they are looked at.
const EVERY: Duration = Duration::from_secs(3);

/// Who does not answer within this does not count this time.
const PATIENCE: Duration = Duration::from_secs(2);

/// States given up for those of another replica.
pub const DIVERGENCES: Counter = Counter { name: "vmanomaly_replica_divergences_total", label: None };
/// Series that were learnt anew and should not have been.
pub const REFITS: Counter = Counter { name: "vmanomaly_refits_unscheduled_total", label: None };
/// Ticks that were given up.
pub const GAPS: Counter = Counter { name: "vmanomaly_gap_ticks_total", label: None };
/// Hand-overs that were taken.
pub const JOINED: Counter = Counter { name: "vmanomaly_handovers_total", label: Some("status=\"joined\"") };
/// Questions to other workers that were not answered.
pub const UNREACHABLE: Counter =
    Counter { name: "vmanomaly_peer_requests_total", label: Some("result=\"unreachable\"") };

const COUNTERS: [Counter; 5] = [DIVERGENCES, REFITS, GAPS, JOINED, UNREACHABLE];

/// Looks at all workers until it is dropped.
#[derive(Debug)]
pub struct Watch {
    tally: Arc<Mutex<Tally>>,
    members: Arc<Vec<Member>>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Begins to look.
    pub fn begin(members: Arc<Vec<Member>>) -> Self {
        let tally = Arc::new(Mutex::new(Tally::default()));
        let (shared, watched) = (Arc::clone(&tally), Arc::clone(&members));
        let task = tokio::spawn(async move {
            loop {
                look(&watched, &shared).await;
                tokio::time::sleep(EVERY).await;
            }
        });
        Self { tally, members, task }
    }

    /// Looks once more; brings the sums of some counters.
    pub async fn sums<const COUNT: usize>(&self, counters: [Counter; COUNT]) -> [f64; COUNT] {
        look(&self.members, &self.tally).await;
        let tally = self.tally.lock().await;
        counters.map(|counter| tally.sum(counter))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn look(members: &[Member], tally: &Mutex<Tally>) {
    let answers = members.iter().map(async |member| {
        let answer = tokio::time::timeout(PATIENCE, member.metrics()).await;
        (member, answer.ok().flatten())
    });
    let answers = join_all(answers).await;
    let mut tally = tally.lock().await;
    for (member, metrics) in answers {
        if let Some(metrics) = metrics {
            tally.look(member, &metrics, &COUNTERS);
        }
    }
}

/// How many ranges the TSDB was asked for so far.
pub async fn ranges_read(tsdb: &Endpoint) -> Result<f64, HttpError> {
    sum(tsdb, "vm_http_requests_total", &["path=\"/api/v1/query_range\""]).await
}

/// How many ranges a worker has asked for so far.
pub async fn reads_of(worker: &Endpoint) -> Result<f64, HttpError> {
    sum(worker, "vmanomaly_reader_responses_total", &[]).await
}

async fn sum(program: &Endpoint, metric: &str, labels: &[&str]) -> Result<f64, HttpError> {
    let text = program.get("/metrics", &[]).await?;
    Ok(Metrics::parse(&String::from_utf8_lossy(&text)).sum(metric, labels).unwrap_or(0.0))
}
