//! The StatefulSet of one rank: a pod's ordinal is its shard.

use std::collections::BTreeMap;

use crds::VMAnomaly;
use crds::pod::Pod;
use crds::storage::{RetentionPolicy, Storage};
use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, EnvVar,
    HTTPGetAction, KeyToPath, LocalObjectReference, PersistentVolumeClaim, PersistentVolumeClaimSpec, PodAffinityTerm,
    PodAntiAffinity, PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile,
    SecretVolumeSource, SecurityContext, TopologySpreadConstraint, Volume, VolumeMount, VolumeResourceRequirements,
    WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use crate::build::{WorkerDefaults, config, peer_secret, service, volumes};
use crate::names::{self, ChildNames, RANK, TEMPLATE};

/// Name of the container, and of the worker's program.
pub const CONTAINER: &str = "vmanomaly";

/// User and group of the worker, those of distroless images.
const USER: i64 = 65_532;

/// Size of a volume claim that does not say one.
const VOLUME_SIZE: &str = "1Gi";

/// The StatefulSet of a rank with so many pods. Its template has only what needs a restart: configuration, topology and
/// the numbers of shards and replicas arrive through mounted files.
#[must_use]
pub fn stateful_set(anomaly: &VMAnomaly, defaults: &WorkerDefaults, rank: u32, pods: i32) -> StatefulSet {
    let name = anomaly.name_any();
    let names = ChildNames::of(&name);
    let template = template(anomaly, defaults, &names, rank);
    let mut metadata = names::metadata(anomaly, names.workers(rank));
    metadata.labels.get_or_insert_default().extend(names::rank_labels(&name, rank));
    metadata.annotations = Some(BTreeMap::from([(TEMPLATE.to_owned(), template_hash(&template))]));
    let claims = claims(anomaly);
    let mut selector = names::selector(&name);
    selector.match_labels = Some(names::rank_labels(&name, rank));
    StatefulSet {
        metadata,
        spec: Some(StatefulSetSpec {
            replicas: Some(pods),
            selector,
            service_name: Some(names.base.clone()),
            pod_management_policy: Some("Parallel".into()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("RollingUpdate".into()),
                rolling_update: None,
            }),
            persistent_volume_claim_retention_policy: Some(retention(anomaly)),
            volume_claim_templates: (!claims.is_empty()).then_some(claims),
            template,
            ..StatefulSetSpec::default()
        }),
        status: None,
    }
}

fn template_hash(template: &PodTemplateSpec) -> String {
    // Its types rule out that it cannot be written.
    let text = serde_json::to_string(template).unwrap_or_default();
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
}

fn template(anomaly: &VMAnomaly, defaults: &WorkerDefaults, names: &ChildNames, rank: u32) -> PodTemplateSpec {
    let pod = anomaly.spec.pod.clone().unwrap_or_default();
    let mut labels = pod.labels.clone();
    labels.extend(names::labels(&anomaly.name_any()));
    labels.insert(RANK.to_owned(), rank.to_string());
    let image = anomaly.spec.image.as_ref();
    let secrets: Vec<LocalObjectReference> = match image {
        Some(image) if !image.pull_secrets.is_empty() => image.pull_secrets.clone(),
        _ => defaults.pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() }).collect(),
    };
    let account = pod.service_account_name.clone().unwrap_or_else(|| names.base.clone());
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: (!pod.annotations.is_empty()).then(|| pod.annotations.clone()),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            service_account_name: Some(account),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            image_pull_secrets: (!secrets.is_empty()).then_some(secrets),
            termination_grace_period_seconds: Some(pod.termination_grace_period_seconds.unwrap_or(30)),
            security_context: Some(pod.security_context.clone().unwrap_or_else(pod_security)),
            node_selector: (!pod.node_selector.is_empty()).then(|| pod.node_selector.clone()),
            tolerations: (!pod.tolerations.is_empty()).then(|| pod.tolerations.clone()),
            affinity: Some(affinity(anomaly, &pod)),
            topology_spread_constraints: Some(
                pod.topology_spread_constraints.clone().unwrap_or_else(|| vec![spread_over_nodes(anomaly)]),
            ),
            priority_class_name: pod.priority_class_name.clone(),
            containers: vec![container(anomaly, defaults, &pod, rank)],
            volumes: Some(pod_volumes(anomaly, names)),
            ..PodSpec::default()
        }),
    }
}

fn container(anomaly: &VMAnomaly, defaults: &WorkerDefaults, pod: &Pod, rank: u32) -> Container {
    let settings = anomaly.spec.settings.clone().unwrap_or_default();
    let level = settings.log_level.map_or("info", config::log_level).to_uppercase();
    let mut arguments = vec![
        "--watch".to_owned(),
        "--configCheckInterval=2s".to_owned(),
        "--loggerFormat=json".to_owned(),
        format!("--loggerLevel={level}"),
        format!("--stateFolder={}", volumes::STATE_FOLDER),
        format!("--topology={}/{}", volumes::TOPOLOGY_FOLDER, super::config_maps::TOPOLOGY),
        format!("--rank={rank}"),
    ];
    let mut mounts = vec![
        volumes::read_only("config", volumes::CONFIG_FOLDER),
        volumes::read_only("topology", volumes::TOPOLOGY_FOLDER),
        volumes::read_only("peer", volumes::PEER_FOLDER),
        VolumeMount { name: "state".into(), mount_path: volumes::STATE_FOLDER.into(), ..VolumeMount::default() },
    ];
    if volumes::credentials(&anomaly.spec).is_some() {
        mounts.push(volumes::read_only("credentials", volumes::CREDENTIALS_FOLDER));
    }
    if anomaly.spec.config_secret.is_some() {
        mounts.push(volumes::read_only("secret-config", volumes::SECRET_CONFIG_FOLDER));
        arguments.push(volumes::SECRET_CONFIG_FOLDER.to_owned());
    }
    arguments.push(volumes::CONFIG_FOLDER.to_owned());
    let mut environment = vec![EnvVar {
        name: "POD_NAME".into(),
        value_from: Some(k8s_openapi::api::core::v1::EnvVarSource {
            field_ref: Some(k8s_openapi::api::core::v1::ObjectFieldSelector {
                api_version: Some("v1".into()),
                field_path: "metadata.name".into(),
            }),
            ..Default::default()
        }),
        ..EnvVar::default()
    }];
    environment.extend(pod.env.iter().filter(|variable| variable.name != "POD_NAME").cloned());
    let prefix = config::path_prefix(anomaly);
    Container {
        name: CONTAINER.into(),
        image: Some(defaults.image(anomaly.spec.image.as_ref())),
        image_pull_policy: Some(defaults.pull_policy(anomaly.spec.image.as_ref())),
        args: Some(arguments),
        env: Some(environment),
        ports: Some(vec![port(service::PORT, config::server_port(anomaly)), port(service::PEERS, service::PEERS_PORT)]),
        resources: Some(pod.resources.clone().unwrap_or_else(resources)),
        security_context: Some(container_security()),
        volume_mounts: Some(mounts),
        // Restoring state may take minutes; until it is done the worker is alive, and only not ready.
        startup_probe: Some(probe(&format!("{prefix}/health"), 1, 60)),
        liveness_probe: Some(probe(&format!("{prefix}/health"), 10, 6)),
        readiness_probe: Some(probe(&format!("{prefix}/ready"), 2, 3)),
        ..Container::default()
    }
}

fn port(name: &str, number: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(number),
        protocol: Some("TCP".into()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(service::PORT.into()),
            scheme: Some("HTTP".into()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        failure_threshold: Some(failures),
        timeout_seconds: Some(2),
        ..Probe::default()
    }
}

fn pod_volumes(anomaly: &VMAnomaly, names: &ChildNames) -> Vec<Volume> {
    let map = |volume: &str, name: &str| Volume {
        name: volume.to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: name.to_owned(),
            default_mode: Some(0o444),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    };
    let secret = |volume: &str, name: String, key: &str, file: &str| Volume {
        name: volume.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(name),
            items: Some(vec![KeyToPath { key: key.to_owned(), path: file.to_owned(), mode: None }]),
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    };
    let token = names.peer_secret(anomaly.uid().as_deref());
    let mut all = vec![
        map("config", &names.config),
        map("topology", &names.topology),
        secret("peer", token, peer_secret::TOKEN, peer_secret::TOKEN),
    ];
    all.extend(volumes::credentials(&anomaly.spec));
    if let Some(own) = &anomaly.spec.config_secret {
        all.push(secret("secret-config", own.name.clone(), &own.key, "config.yaml"));
    }
    if let Some(Storage { empty_dir: Some(folder), .. }) = &anomaly.spec.storage {
        all.push(Volume {
            name: "state".into(),
            empty_dir: Some(EmptyDirVolumeSource { medium: None, size_limit: folder.size_limit.clone() }),
            ..Volume::default()
        });
    }
    all
}

fn claims(anomaly: &VMAnomaly) -> Vec<PersistentVolumeClaim> {
    let claim = match &anomaly.spec.storage {
        Some(Storage { empty_dir: Some(_), .. }) => return Vec::new(),
        Some(Storage { volume_claim: Some(claim), .. }) => claim.clone(),
        _ => crds::storage::VolumeClaim::default(),
    };
    let size = claim.size.unwrap_or_else(|| Quantity(VOLUME_SIZE.into()));
    vec![PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some("state".into()),
            labels: Some(names::labels(&anomaly.name_any())),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".into()]),
            storage_class_name: claim.storage_class_name,
            volume_mode: Some("Filesystem".into()),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), size)])),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }]
}

fn retention(anomaly: &VMAnomaly) -> StatefulSetPersistentVolumeClaimRetentionPolicy {
    let policy = anomaly
        .spec
        .storage
        .as_ref()
        .and_then(|storage| storage.volume_claim.as_ref())
        .and_then(|claim| claim.retention)
        .unwrap_or_default();
    let name = |policy: RetentionPolicy| Some(format!("{policy:?}"));
    StatefulSetPersistentVolumeClaimRetentionPolicy {
        when_deleted: name(policy.when_deleted.unwrap_or(RetentionPolicy::Retain)),
        when_scaled: name(policy.when_scaled.unwrap_or(RetentionPolicy::Delete)),
    }
}

fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        fs_group_change_policy: Some("OnRootMismatch".into()),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        ..SecurityContext::default()
    }
}

fn resources() -> ResourceRequirements {
    let amounts = |amounts: &[(&str, &str)]| {
        amounts.iter().map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned()))).collect()
    };
    ResourceRequirements {
        requests: Some(amounts(&[("cpu", "50m"), ("memory", "128Mi")])),
        limits: Some(amounts(&[("memory", "1Gi")])),
        claims: None,
    }
}

/// What the user says, and, unless that says something about other pods to keep away from, that workers of the same
/// shard prefer different nodes: those with the same ordinal. A server that does not know `matchLabelKeys` yet (before
/// Kubernetes 1.31) drops it, and all workers prefer different nodes.
fn affinity(anomaly: &VMAnomaly, pod: &Pod) -> Affinity {
    let own = pod.affinity.clone().unwrap_or_default();
    let same_shard = || PodAntiAffinity {
        preferred_during_scheduling_ignored_during_execution: Some(vec![WeightedPodAffinityTerm {
            weight: 100,
            pod_affinity_term: PodAffinityTerm {
                topology_key: "kubernetes.io/hostname".into(),
                label_selector: Some(names::selector(&anomaly.name_any())),
                match_label_keys: Some(vec!["apps.kubernetes.io/pod-index".into()]),
                ..PodAffinityTerm::default()
            },
        }]),
        ..PodAntiAffinity::default()
    };
    Affinity { pod_anti_affinity: Some(own.pod_anti_affinity.unwrap_or_else(same_shard)), ..own }
}

fn spread_over_nodes(anomaly: &VMAnomaly) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: "kubernetes.io/hostname".into(),
        when_unsatisfiable: "ScheduleAnyway".into(),
        label_selector: Some(names::selector(&anomaly.name_any())),
        ..TopologySpreadConstraint::default()
    }
}
