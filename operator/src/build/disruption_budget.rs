//! One PodDisruptionBudget over all workers of a VMAnomaly.

use crds::VMAnomaly;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use crate::names::{self, ChildNames};

/// Nodes are drained one worker at a time. A worker that does not work anyway does not hold a drain up.
#[must_use]
pub fn disruption_budget(anomaly: &VMAnomaly) -> PodDisruptionBudget {
    let name = anomaly.name_any();
    PodDisruptionBudget {
        metadata: names::metadata(anomaly, ChildNames::of(&name).base),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(names::selector(&name)),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".into()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}
