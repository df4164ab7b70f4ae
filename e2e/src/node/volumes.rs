//! Volumes for claims: a folder of the node's memory each, as a `local` volume.
//!
//! The controller manager's own provisioner for tests makes `hostPath` folders that only root may write. To `local`
//! volumes kubelet applies a pod's `fsGroup`, as it does to those of a cloud: what works here works there.

use std::collections::BTreeMap;
use std::fs;

use futures_util::TryStreamExt;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{Api, DeleteParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::json;

use super::configuration::{NODE_NAME, state};

/// The provisioner's name in the storage class.
pub const PROVISIONER: &str = "vmanomaly.dev/node";

/// Serves claims and removes what was released, for as long as it is polled.
///
/// # Errors
/// When the API server refuses, or a folder cannot be made.
pub async fn provision(client: Client) -> Result<(), VolumeError> {
    let claims: Api<PersistentVolumeClaim> = Api::all(client.clone());
    let volumes: Api<PersistentVolume> = Api::all(client);
    let claimed = watcher(claims, watcher::Config::default())
        .default_backoff()
        .applied_objects()
        .map_err(VolumeError::from)
        .try_for_each(async |claim| serve(&volumes, &claim).await);
    let released = watcher(volumes.clone(), watcher::Config::default())
        .default_backoff()
        .applied_objects()
        .map_err(VolumeError::from)
        .try_for_each(async |volume| remove(&volumes, &volume).await);
    futures_util::try_join!(claimed, released).map(drop)
}

/// Why volumes can no longer be served.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The watch ended for good.
    #[error("watching volume claims: {0}")]
    Watch(#[from] watcher::Error),
    /// The API server refused.
    #[error("volume {name}: {source}")]
    Api {
        /// The volume.
        name: String,
        /// Its words.
        source: Box<kube::Error>,
    },
    /// The folder of a volume.
    #[error("folder of volume {name}: {source}")]
    Folder {
        /// The volume.
        name: String,
        /// What failed.
        source: std::io::Error,
    },
}

async fn serve(volumes: &Api<PersistentVolume>, claim: &PersistentVolumeClaim) -> Result<(), VolumeError> {
    let Some(spec) = claim.spec.as_ref() else { return Ok(()) };
    let ours = claim.annotations().get("volume.kubernetes.io/storage-provisioner").is_some_and(|by| by == PROVISIONER);
    if !ours || spec.volume_name.is_some() {
        return Ok(());
    }
    let name = format!("pvc-{}", claim.uid().unwrap_or_default());
    let folder = state("volumes").join(&name);
    fs::create_dir_all(&folder).map_err(|source| VolumeError::Folder { name: name.clone(), source })?;
    let requested = spec.resources.as_ref().and_then(|resources| resources.requests.clone());
    let capacity: BTreeMap<_, _> = requested.unwrap_or_default();
    let volume = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}},
        "spec": {
            "capacity": capacity,
            "accessModes": spec.access_modes,
            "storageClassName": spec.storage_class_name,
            "persistentVolumeReclaimPolicy": "Delete",
            "local": {"path": folder},
            "claimRef": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "namespace": claim.namespace(), "name": claim.name_any(), "uid": claim.uid(),
            },
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE_NAME]},
            ]}]}},
        },
    });
    let failed = |source| VolumeError::Api { name: name.clone(), source: Box::new(source) };
    let volume = serde_json::from_value(volume).map_err(|error| failed(kube::Error::SerdeError(error)))?;
    match volumes.create(&PostParams::default(), &volume).await {
        // Each change of a claim that is not bound yet comes by here.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        result => result.map(drop).map_err(failed),
    }
}

async fn remove(volumes: &Api<PersistentVolume>, volume: &PersistentVolume) -> Result<(), VolumeError> {
    let ours = volume.annotations().get("pv.kubernetes.io/provisioned-by").is_some_and(|by| by == PROVISIONER);
    let released = volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Released");
    let delete = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    if !ours || !released || delete != Some("Delete") || volume.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let name = volume.name_any();
    match fs::remove_dir_all(state("volumes").join(&name)) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            return Err(VolumeError::Folder { name, source });
        }
        _ => {}
    }
    match volumes.delete(&name, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        result => result.map(drop).map_err(|source| VolumeError::Api { name, source: Box::new(source) }),
    }
}
