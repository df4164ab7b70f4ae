//! From a VMAnomaly and what it selects to its children. Pure: no client, no clock, no randomness.

pub mod config;
pub mod config_maps;
pub mod disruption_budget;
mod models;
mod multivariate;
pub mod network_policy;
pub mod peer_secret;
mod prophet;
pub mod scrape;
pub mod service;
pub mod service_account;
pub mod stateful_set;
mod tuning;
pub mod volumes;

use crds::pod::{Image, PullPolicy};

/// What the operator was told about the workers it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerDefaults {
    /// Image, with a tag or digest, of VMAnomalies that name none.
    pub image: String,
    /// When nodes pull it.
    pub pull_policy: String,
    /// Secrets with credentials of its registry.
    pub pull_secrets: Vec<String>,
}

impl Default for WorkerDefaults {
    fn default() -> Self {
        Self {
            image: concat!("vmanomaly:", env!("CARGO_PKG_VERSION")).into(),
            pull_policy: "IfNotPresent".into(),
            pull_secrets: Vec::new(),
        }
    }
}

impl WorkerDefaults {
    /// The image reference of a VMAnomaly: a digest wins over a tag, what it says over what the operator was told.
    #[must_use]
    pub fn image(&self, image: Option<&Image>) -> String {
        let (repository, default_tag) = split_tag(&self.image);
        let Some(image) = image else { return self.image.clone() };
        let own = image.repository.as_deref();
        let repository = own.unwrap_or(repository);
        match (&image.digest, &image.tag) {
            (Some(digest), _) => format!("{repository}@{digest}"),
            (None, Some(tag)) => format!("{repository}:{tag}"),
            (None, None) if own.is_none() => self.image.clone(),
            (None, None) => format!("{repository}:{}", default_tag.unwrap_or(env!("CARGO_PKG_VERSION"))),
        }
    }

    /// When nodes pull it.
    #[must_use]
    pub fn pull_policy(&self, image: Option<&Image>) -> String {
        match image.and_then(|image| image.pull_policy) {
            Some(PullPolicy::Always) => "Always".into(),
            Some(PullPolicy::IfNotPresent) => "IfNotPresent".into(),
            Some(PullPolicy::Never) => "Never".into(),
            None => self.pull_policy.clone(),
        }
    }
}

/// Repository and tag of an image reference; a port in the registry's name is no tag.
fn split_tag(image: &str) -> (&str, Option<&str>) {
    let image = image.split('@').next().unwrap_or_default();
    match image.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (image, None),
    }
}
