//! How each kind of metric is made, registered and cleared of series that are gone.

use std::collections::HashMap;

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{
    CounterVec, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::MetricsError;

/// A kind of metric that [`super::Metrics`] has.
pub(super) trait Kind: Collector + Clone + Sized + 'static {
    /// A new metric; `buckets` counts for histograms, `labels` for vectors.
    fn make(name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> prometheus::Result<Self>;

    /// Removes the series that carry all `wanted` (name, value) pairs.
    fn remove_where(&self, _wanted: &[(&str, &str)]) {}
}

/// Makes a metric and adds it to `registry`.
pub(super) fn register<K: Kind>(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
    buckets: &[f64],
) -> Result<K, MetricsError> {
    K::make(name, help.trim(), labels, buckets)
        .and_then(|metric| registry.register(Box::new(metric.clone())).map(|()| metric))
        .map_err(|source| MetricsError::Definition { name: name.to_owned(), source })
}

fn remove_series<B: MetricVecBuilder>(vector: &MetricVec<B>, wanted: &[(&str, &str)])
where
    MetricVec<B>: Collector,
{
    for family in vector.collect() {
        for metric in family.get_metric() {
            let labels: HashMap<&str, &str> =
                metric.get_label().iter().map(|label| (label.name(), label.value())).collect();
            if wanted.iter().all(|(name, value)| labels.get(name) == Some(value)) {
                // An error means that somebody else removed it since it was listed.
                let _ = vector.remove(&labels);
            }
        }
    }
}

macro_rules! vector_kind {
    ($($kind:ident),+) => { $(
        impl Kind for $kind {
            fn make(name: &str, help: &str, labels: &[&str], _buckets: &[f64]) -> prometheus::Result<Self> {
                Self::new(Opts::new(name, help), labels)
            }

            fn remove_where(&self, wanted: &[(&str, &str)]) {
                remove_series(self, wanted);
            }
        }
    )+ };
}

macro_rules! single_kind {
    ($($kind:ident),+) => { $(
        impl Kind for $kind {
            fn make(name: &str, help: &str, _labels: &[&str], _buckets: &[f64]) -> prometheus::Result<Self> {
                Self::with_opts(Opts::new(name, help))
            }
        }
    )+ };
}

vector_kind!(CounterVec, IntCounterVec, IntGaugeVec, GaugeVec);
single_kind!(IntGauge, Gauge);

impl Kind for HistogramVec {
    fn make(name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> prometheus::Result<Self> {
        Self::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)
    }

    fn remove_where(&self, wanted: &[(&str, &str)]) {
        remove_series(self, wanted);
    }
}
