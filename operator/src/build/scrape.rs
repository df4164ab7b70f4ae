//! The object by which a scraper finds the workers: a VMPodScrape or a PodMonitor, if the cluster knows either.

use crds::VMAnomaly;
use kube::ResourceExt;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::json;

use crate::build::{config, service};
use crate::names::{self, ChildNames};

/// A kind of scrape object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ScrapeKind {
    /// Of the VictoriaMetrics operator.
    VmPodScrape,
    /// Of the Prometheus operator.
    PodMonitor,
}

impl ScrapeKind {
    /// All kinds, best first.
    pub const ALL: [Self; 2] = [Self::VmPodScrape, Self::PodMonitor];

    /// Where the API has it.
    #[must_use]
    pub fn resource(self) -> ApiResource {
        let (group, version, kind, plural) = match self {
            Self::VmPodScrape => ("operator.victoriametrics.com", "v1beta1", "VMPodScrape", "vmpodscrapes"),
            Self::PodMonitor => ("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors"),
        };
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    }
}

/// The scrape object, unless it is turned off.
#[must_use]
pub fn scrape(anomaly: &VMAnomaly, kind: ScrapeKind) -> Option<DynamicObject> {
    let monitoring = anomaly.spec.monitoring.clone().unwrap_or_default();
    if monitoring.scrape == Some(false) {
        return None;
    }
    let name = anomaly.name_any();
    let mut metadata = names::metadata(anomaly, ChildNames::of(&name).base);
    let own = metadata.labels.get_or_insert_default();
    for (label, value) in monitoring.labels {
        own.entry(label).or_insert(value);
    }
    let mut endpoint = json!({ "port": service::PORT, "path": format!("{}/metrics", config::path_prefix(anomaly)) });
    if let Some(interval) = monitoring.interval {
        endpoint["interval"] = json!(interval);
    }
    let mut object = DynamicObject::new("", &kind.resource());
    object.metadata = metadata;
    object.data = json!({
        "spec": {
            "selector": { "matchLabels": names::selector_labels(&name) },
            "podMetricsEndpoints": [endpoint],
        },
    });
    Some(object)
}
