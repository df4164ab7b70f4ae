//! ConfigMaps: the configuration with what it was made from, and the topology.

use std::collections::BTreeMap;
use std::io::Write;

use config::contract::CONTRACT_VERSION;
use config::load::Source;
use config::topology::{MemberTemplate, Peers, Topology};
use crds::VMAnomaly;
use flate2::{Compression, GzBuilder};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::build::config::{Rendered, operator_file};
use crate::build::peer_secret::TOKEN;
use crate::build::service::PEERS_PORT;
use crate::build::volumes::PEER_FOLDER;
use crate::names::{self, ASKED_AT, ChildNames};

/// Key of the configuration.
pub const CONFIG: &str = "config.yaml";
/// Key of what the operator adds to the configuration.
pub const OPERATOR: &str = "operator.yaml";
/// Key of what the configuration was made from.
pub const INPUTS: &str = "inputs.json";
/// Key of the topology.
pub const TOPOLOGY: &str = "topology.yaml";

/// Largest content of a ConfigMap that is written, bytes; Kubernetes takes 1 MiB.
pub const LARGEST: usize = 900 * 1024;

/// From this size on the configuration is compressed, bytes.
const COMPRESS_FROM: usize = 128 * 1024;

/// What a configuration was made from. An older set is never applied over a newer one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inputs {
    /// Release of the operator that made it.
    pub operator_version: String,
    /// Newest contract with workers that this release knows.
    pub contract_version: u32,
    /// Generation of the VMAnomaly.
    pub generation: i64,
    /// By kind, namespace, name and uid (`queries/default/cpu/1b2c...`), everything that was selected.
    pub objects: BTreeMap<String, Input>,
}

/// The state of an object that was selected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Its generation.
    pub generation: i64,
    /// A hash of its labels, which decide about selection and do not change the generation.
    pub labels: String,
}

/// The configuration is too large.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the configuration takes {bytes} bytes in its ConfigMap, compressed; at most {LARGEST} fit")]
pub struct TooLarge {
    /// Its size.
    pub bytes: usize,
}

/// The ConfigMap of the configuration.
///
/// # Errors
/// When it is too large even compressed.
pub fn config(anomaly: &VMAnomaly, rendered: &Rendered, inputs: &Inputs) -> Result<ConfigMap, TooLarge> {
    let names = ChildNames::of(&anomaly.name_any());
    let mut data = BTreeMap::from([
        (OPERATOR.to_owned(), operator_file(anomaly, &rendered.revision)),
        (INPUTS.to_owned(), json!(inputs).to_string()),
    ]);
    let mut binary = BTreeMap::new();
    if rendered.text.len() > COMPRESS_FROM {
        binary.insert(CONFIG.to_owned(), ByteString(gzip(rendered.text.as_bytes())));
    } else if !rendered.text.is_empty() {
        data.insert(CONFIG.to_owned(), rendered.text.clone());
    }
    // Base64 takes 4 bytes for 3.
    let bytes = data.values().map(String::len).sum::<usize>()
        + binary.values().map(|content| content.0.len().div_ceil(3) * 4).sum::<usize>();
    if bytes > LARGEST {
        return Err(TooLarge { bytes });
    }
    Ok(ConfigMap {
        metadata: names::metadata(anomaly, names.config),
        data: Some(data),
        binary_data: (!binary.is_empty()).then_some(binary),
        immutable: None,
    })
}

/// The same bytes for the same text: no time, no file name.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    // Writing to memory does not fail; should it, the text itself is right, only larger.
    match encoder.write_all(bytes).and_then(|()| encoder.finish()) {
        Ok(compressed) => compressed,
        Err(_) => bytes.to_vec(),
    }
}

/// The inputs that a ConfigMap records.
#[must_use]
pub fn recorded_inputs(map: &ConfigMap) -> Option<Inputs> {
    serde_json::from_str(map.data.as_ref()?.get(INPUTS)?).ok()
}

/// The ConfigMap of the topology. `asked_at` is when workers were asked to follow it first.
#[must_use]
pub fn topology(anomaly: &VMAnomaly, topology: &Topology, asked_at: Option<Timestamp>) -> ConfigMap {
    let names = ChildNames::of(&anomaly.name_any());
    let data = BTreeMap::from([(TOPOLOGY.to_owned(), topology.text())]);
    let mut metadata = names::metadata(anomaly, names.topology);
    metadata.annotations = asked_at.map(|time| BTreeMap::from([(ASKED_AT.to_owned(), time.to_string())]));
    ConfigMap { metadata, data: Some(data), ..ConfigMap::default() }
}

/// When workers were asked to follow the topology that a ConfigMap holds; `None` when somebody removed it.
#[must_use]
pub fn recorded_asked_at(map: &ConfigMap) -> Option<Timestamp> {
    map.annotations().get(ASKED_AT)?.parse().ok()
}

/// How the workers of a VMAnomaly reach each other: by the names that the headless Service gives to their pods.
#[must_use]
pub fn peers(anomaly: &VMAnomaly) -> Option<Peers> {
    let service = ChildNames::of(&anomaly.name_any()).base;
    let namespace = anomaly.namespace().unwrap_or_default();
    let url = format!("http://{service}-r{{rank}}-{{shard}}.{service}.{namespace}.svc:{PEERS_PORT}");
    Some(Peers {
        // Names have no braces.
        url: MemberTemplate::new(&url).ok()?,
        listen: MemberTemplate::new(&format!("[::]:{PEERS_PORT}")).ok()?,
        token_file: format!("{PEER_FOLDER}/{TOKEN}").into(),
    })
}

/// The live topology was written in a contract that this operator cannot even read the core of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the topology is of contract {found} and this operator knows contracts up to {CONTRACT_VERSION}: where series are \
     cannot be read from it, so nothing is changed"
)]
pub struct UnknownContract {
    /// Its contract.
    pub found: u32,
}

/// The topology that a ConfigMap holds; `None` when somebody made it unreadable. Of one in a newer contract it is what
/// all contracts have in common.
///
/// # Errors
/// The contract is newer, and too different: it must not be taken for one that is not there.
pub fn recorded_topology(map: &ConfigMap) -> Result<Option<Topology>, UnknownContract> {
    let Some(text) = map.data.as_ref().and_then(|data| data.get(TOPOLOGY)) else { return Ok(None) };
    let source = Source::new(TOPOLOGY, text.as_str());
    match Topology::newer_contract(&source) {
        Some(found) => Topology::parse_core(&source).map(Some).ok_or(UnknownContract { found }),
        None => Ok(Topology::parse(&source).ok()),
    }
}
