//! The operator's own metrics.

use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::status::resharding::NewsKind;

/// Seconds of a visit: most are far below one, a slow API server takes several.
const SECONDS: &[f64] = &[0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0];

/// Values of the label `direction`.
const RAISED: &str = "raised";
const LOWERED: &str = "lowered";

/// The operator's own metrics. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    visits: IntCounterVec,
    seconds: HistogramVec,
    writes: IntCounterVec,
    polls: IntCounterVec,
    poll_seconds: Histogram,
    objects: IntGaugeVec,
    reshardings: IntCounterVec,
    contract_changes: IntCounterVec,
    in_flight: IntGauge,
}

/// A visit that is under way, until it is dropped.
#[derive(Debug)]
pub struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// All of them at zero.
    ///
    /// # Errors
    /// When a name is given twice.
    pub fn new() -> Result<Self, prometheus::Error> {
        let name = |name: &str| format!("vmanomaly_operator_{name}");
        let counter =
            |short: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name(short), help), labels);
        let metrics = Self {
            registry: Registry::new(),
            visits: counter("reconciles_total", "Visits of objects, by how they went", &["kind", "result"])?,
            seconds: HistogramVec::new(
                HistogramOpts::new(name("reconcile_seconds"), "How long a visit took").buckets(SECONDS.to_vec()),
                &["kind"],
            )?,
            writes: counter("writes_total", "Writes to the API server", &["kind", "verb"])?,
            polls: counter("polls_total", "Requests for the status of a worker", &["result"])?,
            poll_seconds: Histogram::with_opts(
                HistogramOpts::new(name("poll_seconds"), "How long a round over all workers took")
                    .buckets(SECONDS.to_vec()),
            )?,
            objects: IntGaugeVec::new(
                Opts::new(name("objects"), "Watched objects, by their condition Ready"),
                &["kind", "ready"],
            )?,
            reshardings: counter(
                "reshardings_total",
                "Changes of shards or replicas, by how far they came",
                &["event"],
            )?,
            contract_changes: counter(
                "contract_changes_total",
                "Topologies that were written in another version of the contract with workers than before",
                &["direction"],
            )?,
            in_flight: IntGauge::new(name("reconciles_in_flight"), "Visits that are under way")?,
        };
        let own: [Box<dyn prometheus::core::Collector>; 9] = [
            Box::new(metrics.visits.clone()),
            Box::new(metrics.seconds.clone()),
            Box::new(metrics.writes.clone()),
            Box::new(metrics.polls.clone()),
            Box::new(metrics.poll_seconds.clone()),
            Box::new(metrics.objects.clone()),
            Box::new(metrics.reshardings.clone()),
            Box::new(metrics.contract_changes.clone()),
            Box::new(metrics.in_flight.clone()),
        ];
        for collector in own {
            metrics.registry.register(collector)?;
        }
        // Without these, the first one would not be an increase.
        for event in [NewsKind::Begun, NewsKind::Settled, NewsKind::TimedOut] {
            metrics.reshardings.with_label_values(&[event.name()]);
        }
        for direction in [RAISED, LOWERED] {
            metrics.contract_changes.with_label_values(&[direction]);
        }
        let about = Opts::new(name("build_info"), "Release of the operator").const_label("version", crate::VERSION);
        let release = IntGauge::with_opts(about)?;
        release.set(1);
        metrics.registry.register(Box::new(release))?;
        let process = prometheus::process_collector::ProcessCollector::for_self();
        metrics.registry.register(Box::new(process))?;
        Ok(metrics)
    }

    /// Counts a visit.
    pub fn visit(&self, kind: &str, result: &str, took: Duration) {
        self.visits.with_label_values(&[kind, result]).inc();
        self.seconds.with_label_values(&[kind]).observe(took.as_secs_f64());
    }

    /// Counts a visit as under way until the answer is dropped.
    #[must_use]
    pub fn begin_visit(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// Counts a topology that is written in another contract than before.
    pub fn contract_changed(&self, before: u32, now: u32) {
        let direction = if now > before { RAISED } else { LOWERED };
        self.contract_changes.with_label_values(&[direction]).inc();
    }

    /// Counts a write.
    pub fn write(&self, kind: &str, verb: &str) {
        self.writes.with_label_values(&[kind, verb]).inc();
    }

    /// Counts a request to a worker.
    pub fn poll(&self, result: &str) {
        self.polls.with_label_values(&[result]).inc();
    }

    /// Counts a round over all workers.
    pub fn poll_round(&self, took: Duration) {
        self.poll_seconds.observe(took.as_secs_f64());
    }

    /// Sets the number of objects whose condition Ready is `ready`.
    pub fn objects(&self, kind: &str, ready: &str, number: usize) {
        self.objects.with_label_values(&[kind, ready]).set(i64::try_from(number).unwrap_or(i64::MAX));
    }

    /// Counts that a change of shards or replicas has begun, ended or taken too long.
    pub fn resharding(&self, event: NewsKind) {
        self.reshardings.with_label_values(&[event.name()]).inc();
    }

    /// All of them in Prometheus' text format.
    ///
    /// # Errors
    /// When one of them cannot be written as text.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}
