//! Who reaches the workers.

use crds::VMAnomaly;
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use crate::build::config::server_port;
use crate::build::service::PEERS_PORT;
use crate::names::{self, ChildNames};

/// Workers reach each other; everybody reaches their server: scrapers, the operator, whoever looks at the UI. What the
/// workers reach is not restricted. `None` when it is turned off.
#[must_use]
pub fn network_policy(anomaly: &VMAnomaly) -> Option<NetworkPolicy> {
    if anomaly.spec.server.as_ref().and_then(|server| server.network_policy) == Some(false) {
        return None;
    }
    let name = anomaly.name_any();
    let workers = NetworkPolicyPeer { pod_selector: Some(names::selector(&name)), ..NetworkPolicyPeer::default() };
    Some(NetworkPolicy {
        metadata: names::metadata(anomaly, ChildNames::of(&name).base),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(names::selector(&name)),
            policy_types: Some(vec!["Ingress".into()]),
            ingress: Some(vec![
                NetworkPolicyIngressRule { from: None, ports: Some(vec![port(server_port(anomaly))]) },
                NetworkPolicyIngressRule { from: Some(vec![workers]), ports: Some(vec![port(PEERS_PORT)]) },
            ]),
            egress: None,
        }),
    })
}

/// By number: not every network plugin knows the names of ports.
fn port(number: u16) -> NetworkPolicyPort {
    NetworkPolicyPort { port: Some(IntOrString::Int(i32::from(number))), protocol: Some("TCP".into()), end_port: None }
}
