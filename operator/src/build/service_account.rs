//! The workers' ServiceAccount: it has no rights and no token.

use crds::VMAnomaly;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::ResourceExt;

use crate::names::{self, ChildNames};

/// `None` when the user names one.
#[must_use]
pub fn service_account(anomaly: &VMAnomaly) -> Option<ServiceAccount> {
    let named = anomaly.spec.pod.as_ref().is_some_and(|pod| pod.service_account_name.is_some());
    (!named).then(|| ServiceAccount {
        metadata: names::metadata(anomaly, ChildNames::of(&anomaly.name_any()).base),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    })
}
