//! Asks every worker for its `/status`, round by round, and tells of what changed.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::metrics::Metrics;
use crate::workers::report::Report;
use crate::workers::state::address;

/// Time limit of one request. A worker answers in milliseconds; one that does not is not doing well.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Requests at a time.
const CONCURRENCY: usize = 32;

/// Largest answer, bytes: some 100,000 jobs.
const LARGEST: usize = 32 << 20;

/// Answers that must be missing in a row before a report is dropped: one late answer is no news.
const MISSES: u32 = 2;

/// Why a worker's status is not known.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// No whole answer.
    #[error(transparent)]
    Request(#[from] reqwest::Error),
    /// The answer is too large.
    #[error("the answer is larger than {LARGEST} bytes")]
    TooLarge,
    /// It is no status.
    #[error("the answer is no status: {0}")]
    Unreadable(#[from] serde_json::Error),
}

/// The newest report of each pod, by the pod's uid.
#[derive(Debug, Default)]
pub struct Reports(RwLock<HashMap<String, Entry>>);

#[derive(Debug)]
struct Entry {
    report: Option<Arc<Report>>,
    misses: u32,
}

impl Reports {
    /// The report of a pod; `None` when it does not answer.
    #[must_use]
    pub fn of(&self, pod: &Pod) -> Option<Arc<Report>> {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        entries.get(pod.metadata.uid.as_deref()?)?.report.clone()
    }

    /// Whether the pod was asked before.
    #[must_use]
    pub fn asked(&self, pod: &Pod) -> bool {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        pod.metadata.uid.as_deref().is_some_and(|uid| entries.contains_key(uid))
    }

    /// Takes an answer, or that there was none, and says whether that is news.
    pub fn take(&self, uid: &str, answer: Option<Report>) -> bool {
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = entries.get_mut(uid) else {
            let news = answer.is_some();
            entries.insert(uid.to_owned(), Entry { report: answer.map(Arc::new), misses: 0 });
            return news;
        };
        let Some(answer) = answer else {
            entry.misses += 1;
            return entry.misses >= MISSES && entry.report.take().is_some();
        };
        entry.misses = 0;
        match &entry.report {
            Some(before) => {
                let answer = answer.in_the_words_of(before);
                let news = **before != answer;
                entry.report = Some(Arc::new(answer));
                news
            }
            None => {
                entry.report = Some(Arc::new(answer));
                true
            }
        }
    }

    /// Forgets pods that are not there any more.
    pub fn keep_only(&self, uids: &HashSet<String>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).retain(|uid, _| uids.contains(uid));
    }
}

/// Where a worker's status is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Uid of the pod.
    pub uid: String,
    /// URL of the status.
    pub url: String,
}

impl Target {
    /// Of a pod that has an address.
    #[must_use]
    pub fn of(pod: &Pod, port: u16, path_prefix: &str) -> Option<Self> {
        let address: std::net::IpAddr = address(pod)?.parse().ok()?;
        let url = format!("http://{}{path_prefix}/status", std::net::SocketAddr::new(address, port));
        Some(Self { uid: pod.uid()?, url })
    }
}

/// Asks workers.
#[derive(Debug, Clone)]
pub struct Poller {
    client: reqwest::Client,
    metrics: Metrics,
}

impl Poller {
    /// With connections of its own, which bypass every proxy: pods are near.
    ///
    /// # Errors
    /// When the client cannot be built.
    pub fn new(metrics: Metrics) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .pool_idle_timeout(Duration::from_secs(60))
            .user_agent(concat!("vmanomaly-operator/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, metrics })
    }

    /// Asks all targets and takes their answers into `reports`; the uids of those that had news.
    pub async fn round(&self, targets: Vec<Target>, reports: &Reports) -> Vec<String> {
        let asked = targets.into_iter().map(|target| async move {
            let answer = self.ask(&target.url).await;
            self.metrics.poll(if answer.is_ok() { "success" } else { "failure" });
            if let Err(error) = &answer {
                tracing::debug!(url = target.url, %error, "no status");
            }
            (target.uid, answer.ok())
        });
        let answers = futures_util::stream::iter(asked).buffer_unordered(CONCURRENCY);
        answers.filter_map(async |(uid, answer)| reports.take(&uid, answer).then_some(uid)).collect().await
    }

    async fn ask(&self, url: &str) -> Result<Report, PollError> {
        let response = self.client.get(url).send().await?.error_for_status()?;
        let mut chunks = response.bytes_stream();
        let mut body = Vec::new();
        while let Some(chunk) = chunks.next().await {
            body.extend_from_slice(&chunk?);
            if body.len() > LARGEST {
                return Err(PollError::TooLarge);
            }
        }
        Ok(Report::of(&serde_json::from_slice(&body)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_missing_answer_is_no_news_and_two_are() {
        let reports = Reports::default();
        let report = || Some(Report { ready: true, ..Report::default() });
        assert!(reports.take("pod", report()));
        assert!(!reports.take("pod", report()));
        assert!(!reports.take("pod", None));
        assert!(reports.take("pod", None));
        assert!(!reports.take("pod", None));
        assert!(reports.take("pod", report()));
    }
}
