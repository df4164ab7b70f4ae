//! The object by which a scraper finds the workers: a VMPodScrape or a PodMonitor, if the cluster knows either.

use clap::ValueEnum;
use crds::VMAnomaly;
use kube::ResourceExt;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::json;

use crate::build::{config, service};
use crate::names::{self, ChildNames};

/// A kind of scrape object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum)]
pub enum ScrapeKind {
    /// Of the VictoriaMetrics operator.
    #[value(name = "VMPodScrape")]
    VmPodScrape,
    /// Of the Prometheus operator.
    #[value(name = "PodMonitor")]
    PodMonitor,
}

impl ScrapeKind {
    /// All kinds, best first.
    pub const ALL: [Self; 2] = [Self::VmPodScrape, Self::PodMonitor];

    /// As people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::VmPodScrape => "VMPodScrape",
            Self::PodMonitor => "PodMonitor",
        }
    }

    /// Where the API has it.
    #[must_use]
    pub fn resource(self) -> ApiResource {
        let (group, version, plural) = match self {
            Self::VmPodScrape => ("operator.victoriametrics.com", "v1beta1", "vmpodscrapes"),
            Self::PodMonitor => ("monitoring.coreos.com", "v1", "podmonitors"),
        };
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, self.name()), plural)
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
