//! The headless Service that gives every worker a name.

use crds::VMAnomaly;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use crate::build::config::server_port;
use crate::names::{self, ChildNames};

/// Name of the port of every worker's server.
pub const PORT: &str = "http";

/// Name of the port on which workers listen for each other.
pub const PEERS: &str = "peers";

/// The number of that port; `server.port` is another one, see the schema.
pub const PEERS_PORT: u16 = 8491;

/// Addresses of pods that are not ready are published, too: workers and operator reach each other while a worker
/// restores its state.
#[must_use]
pub fn service(anomaly: &VMAnomaly) -> Service {
    let name = anomaly.name_any();
    Service {
        metadata: names::metadata(anomaly, ChildNames::of(&name).base),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".into()),
            publish_not_ready_addresses: Some(true),
            selector: Some(names::selector_labels(&name)),
            ports: Some(vec![port(PORT, server_port(anomaly)), port(PEERS, PEERS_PORT)]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn port(name: &str, number: u16) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: i32::from(number),
        target_port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".into()),
        ..ServicePort::default()
    }
}
