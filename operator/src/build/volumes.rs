//! Where Secrets and ConfigMaps that a configuration refers to lie in the workers' pods.

use std::collections::BTreeMap;

use crds::VMAnomalySpec;
use crds::connection::{BasicAuth, Tls};
use crds::secret::{CertificateSource, SecretKey};
use k8s_openapi::api::core::v1::{
    ConfigMapProjection, KeyToPath, ProjectedVolumeSource, SecretProjection, Volume, VolumeMount, VolumeProjection,
};

/// Folder of `config.yaml`.
pub const CONFIG_FOLDER: &str = "/etc/vmanomaly/config";
/// Folder of `topology.yaml`.
pub const TOPOLOGY_FOLDER: &str = "/etc/vmanomaly/topology";
/// Folder of passwords, tokens and certificates.
pub const CREDENTIALS_FOLDER: &str = "/etc/vmanomaly/credentials";
/// Folder of the raw configuration of a Secret.
pub const SECRET_CONFIG_FOLDER: &str = "/etc/vmanomaly/secret";
/// Folder of the token by which workers know each other.
pub const PEER_FOLDER: &str = "/etc/vmanomaly/peer";
/// Folder of snapshots and input log.
pub const STATE_FOLDER: &str = "/var/lib/vmanomaly";

/// Paths of the files of one connection, below [`CREDENTIALS_FOLDER`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CredentialPaths {
    /// Password of basic authentication.
    pub password: Option<String>,
    /// Bearer token.
    pub bearer_token: Option<String>,
    /// Authorities.
    pub ca: Option<String>,
    /// Certificate.
    pub cert: Option<String>,
    /// Its key.
    pub key: Option<String>,
}

/// Where the content of a file comes from.
enum Source<'a> {
    Secret(&'a str, &'a str),
    ConfigMap(&'a str, &'a str),
}

impl<'a> From<&'a SecretKey> for Source<'a> {
    fn from(key: &'a SecretKey) -> Self {
        Self::Secret(&key.name, &key.key)
    }
}

/// `None` only for an object that the schema would have refused.
fn certificate(source: &CertificateSource) -> Option<Source<'_>> {
    match (&source.secret, &source.config_map) {
        (Some(secret), _) => Some(secret.into()),
        (None, Some(map)) => Some(Source::ConfigMap(&map.name, &map.key)),
        (None, None) => None,
    }
}

/// The files of `reader` or `writer` as (file name, source).
fn files<'a>(
    basic: Option<&'a BasicAuth>,
    bearer: Option<&'a SecretKey>,
    tls: Option<&'a Tls>,
) -> Vec<(&'static str, Source<'a>)> {
    let mut files = Vec::new();
    files.extend(basic.map(|basic| ("password", (&basic.password_secret).into())));
    files.extend(bearer.map(|bearer| ("bearer-token", bearer.into())));
    if let Some(tls) = tls {
        files.extend(tls.ca.as_ref().and_then(certificate).map(|source| ("ca.crt", source)));
        files.extend(tls.cert.as_ref().and_then(certificate).map(|source| ("tls.crt", source)));
        files.extend(tls.key_secret.as_ref().map(|key| ("tls.key", key.into())));
    }
    files
}

/// The paths of a connection named `role` (`reader` or `writer`).
#[must_use]
pub fn paths(role: &str, basic: Option<&BasicAuth>, bearer: Option<&SecretKey>, tls: Option<&Tls>) -> CredentialPaths {
    let files = files(basic, bearer, tls);
    let path = |wanted: &str| {
        files.iter().any(|(name, _)| *name == wanted).then(|| format!("{CREDENTIALS_FOLDER}/{role}/{wanted}"))
    };
    CredentialPaths {
        password: path("password"),
        bearer_token: path("bearer-token"),
        ca: path("ca.crt"),
        cert: path("tls.crt"),
        key: path("tls.key"),
    }
}

/// The volume with all credentials of a VMAnomaly, if it has any. One projected volume, so that all files are there
/// or the pod does not start; no `subPath`, so that rotated ones arrive.
#[must_use]
pub fn credentials(spec: &VMAnomalySpec) -> Option<Volume> {
    let mut secrets: BTreeMap<&str, Vec<KeyToPath>> = BTreeMap::new();
    let mut maps: BTreeMap<&str, Vec<KeyToPath>> = BTreeMap::new();
    let reader = spec.reader.iter().flat_map(|reader| {
        let files = files(reader.basic_auth.as_ref(), reader.bearer_token_secret.as_ref(), reader.tls.as_ref());
        files.into_iter().map(|file| ("reader", file))
    });
    let writer = spec.writer.iter().flat_map(|writer| {
        let files = files(writer.basic_auth.as_ref(), writer.bearer_token_secret.as_ref(), writer.tls.as_ref());
        files.into_iter().map(|file| ("writer", file))
    });
    for (role, (file, source)) in reader.chain(writer) {
        let (items, key) = match source {
            Source::Secret(name, key) => (secrets.entry(name).or_default(), key),
            Source::ConfigMap(name, key) => (maps.entry(name).or_default(), key),
        };
        items.push(KeyToPath { key: key.to_owned(), path: format!("{role}/{file}"), mode: None });
    }
    let secrets = secrets.into_iter().map(|(name, items)| VolumeProjection {
        secret: Some(SecretProjection { name: name.to_owned(), items: Some(items), optional: None }),
        ..VolumeProjection::default()
    });
    let maps = maps.into_iter().map(|(name, items)| VolumeProjection {
        config_map: Some(ConfigMapProjection { name: name.to_owned(), items: Some(items), optional: None }),
        ..VolumeProjection::default()
    });
    let sources: Vec<VolumeProjection> = secrets.chain(maps).collect();
    (!sources.is_empty()).then(|| Volume {
        name: "credentials".into(),
        projected: Some(ProjectedVolumeSource { sources: Some(sources), default_mode: Some(0o440) }),
        ..Volume::default()
    })
}

/// Mounts a volume for reading.
#[must_use]
pub fn read_only(volume: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: volume.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}
