//! The Secret with the token by which the workers of a VMAnomaly know each other.

use std::collections::BTreeMap;

use crds::VMAnomaly;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;

use crate::names::{self, ChildNames};

/// Its only key.
pub const TOKEN: &str = "token";

/// The Secret with this token. It goes with the VMAnomaly, and nobody changes it.
#[must_use]
pub fn peer_secret(anomaly: &VMAnomaly, token: String) -> Secret {
    let name = ChildNames::of(&anomaly.name_any()).peer_secret(anomaly.uid().as_deref());
    Secret {
        metadata: names::metadata(anomaly, name),
        type_: Some("Opaque".into()),
        data: Some(BTreeMap::from([(TOKEN.to_owned(), ByteString(token.into_bytes()))])),
        immutable: Some(true),
        string_data: None,
    }
}
