//! Command lines and configuration files of the node's programs. Pure: settings in, text out.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use ::tests::kubernetes::KubernetesError;
use ::tests::kubernetes::authority::{Authority, Identity, SigningKey};
use serde_json::{Value, json};

use super::protocol::Settings;

/// Where the node keeps everything, in memory, inside.
pub const STATE: &str = "/run/node";
/// The node's name in the cluster.
pub const NODE_NAME: &str = "node";
/// The node's address, inside.
pub const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 1);
/// The API server's port on it.
pub const API_PORT: u16 = 6443;
/// The API server's ClusterIP: the first one of [`SERVICES`].
pub const API_CLUSTER_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// Where CoreDNS says that it is ready.
pub const DNS_READY_PORT: u16 = 8181;
/// The image that holds the namespaces of a pod.
pub const PAUSE_IMAGE: &str = "docker.io/library/busybox:node";

const SERVICES: &str = "10.96.0.0/16";
const PODS: &str = "10.244.0.0/16";
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// A program with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// One of [`super::programs::NAMES`].
    pub name: &'static str,
    /// Its arguments.
    pub arguments: Vec<String>,
}

impl Start {
    fn new(name: &'static str, arguments: &[&str]) -> Self {
        Self { name, arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect() }
    }
}

/// A path below [`STATE`].
#[must_use]
pub fn state(path: &str) -> PathBuf {
    Path::new(STATE).join(path)
}

/// The socket of the container runtime.
#[must_use]
pub fn containerd_socket() -> PathBuf {
    state("containerd.sock")
}

/// A file and its content.
pub type File = (PathBuf, String);

/// Keys, certificates and kubeconfigs of one node.
///
/// # Errors
/// When the system has no randomness.
pub fn credentials(settings: &Settings) -> Result<Vec<File>, KubernetesError> {
    let authority = Authority::new()?;
    let names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
    let addresses = [Ipv4Addr::LOCALHOST, NODE_ADDRESS, API_CLUSTER_IP].map(|address| address.to_string());
    let reached_by: Vec<&str> = names.into_iter().chain(addresses.iter().map(String::as_str)).collect();
    let server = authority.server(&reached_by)?;
    let kubelet_server = authority.server(&[NODE_NAME, &NODE_ADDRESS.to_string()])?;
    let administrator = authority.client("administrator", Some("system:masters"))?;
    let tokens = SigningKey::new()?;

    let mut files = vec![
        (state("pki/ca.crt"), authority.certificate()),
        (state("pki/service-accounts.key"), tokens.private),
        (state("pki/service-accounts.pub"), tokens.public),
    ];
    for (name, pair) in [("apiserver", &server), ("kubelet", &kubelet_server), ("administrator", &administrator)] {
        files.push((state(&format!("pki/{name}.crt")), pair.certificate.clone()));
        files.push((state(&format!("pki/{name}.key")), pair.key.clone()));
    }
    let inside = format!("https://{NODE_ADDRESS}:{API_PORT}");
    let clients = [
        ("kube-controller-manager", "system:kube-controller-manager", None),
        ("kube-scheduler", "system:kube-scheduler", None),
        ("kube-proxy", "system:kube-proxy", None),
        ("kubelet", "system:node:node", Some("system:nodes")),
    ];
    for (name, user, group) in clients {
        let pair = authority.client(user, group)?;
        files.push((kubeconfig(name), kubeconfig_text(&inside, &authority, &pair)));
    }
    files.push((kubeconfig("administrator"), kubeconfig_text(&inside, &authority, &administrator)));
    let outside = format!("https://{}:{}", Ipv4Addr::LOCALHOST, settings.port);
    files.push((settings.kubeconfig(), kubeconfig_text(&outside, &authority, &administrator)));
    Ok(files)
}

/// The kubeconfig of a client that lives inside.
#[must_use]
pub fn kubeconfig(client: &str) -> PathBuf {
    state(&format!("pki/{client}.kubeconfig"))
}

fn kubeconfig_text(server: &str, authority: &Authority, client: &Identity) -> String {
    let encoded = |text: &str| k8s_openapi::ByteString(text.as_bytes().to_vec());
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "node",
        "contexts": [{"name": "node", "context": {"cluster": "node", "user": "node"}}],
        "clusters": [{"name": "node", "cluster": {
            "server": server, "certificate-authority-data": encoded(&authority.certificate()),
        }}],
        "users": [{"name": "node", "user": {
            "client-certificate-data": encoded(&client.certificate), "client-key-data": encoded(&client.key),
        }}],
    });
    text(&config)
}

/// JSON is YAML, and needs no quoting rules.
fn text(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Configuration files of all programs.
#[must_use]
pub fn files(settings: &Settings) -> Vec<File> {
    vec![
        (state("containerd.toml"), containerd(settings)),
        (state("cni/10-pods.conflist"), text(&pod_network())),
        (state("kubelet.yaml"), text(&kubelet(settings))),
        (state("kube-proxy.yaml"), text(&kube_proxy())),
        (state("Corefile"), corefile()),
        // Nothing outside can be reached, so nothing outside is asked.
        (state("resolv.conf"), String::new()),
    ]
}

/// The container runtime's configuration, in the version that 1.6 and 2.x both read.
fn containerd(settings: &Settings) -> String {
    let quoted = |path: PathBuf| Value::from(path.to_string_lossy().into_owned()).to_string();
    let cri = "plugins.\"io.containerd.grpc.v1.cri\"";
    format!(
        r#"version = 2
root = {root}
state = {state}
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp"]

[grpc]
address = {socket}

[{cri}]
sandbox_image = "{PAUSE_IMAGE}"
# Root may lack CAP_SYS_RESOURCE, without which no score can be lowered.
restrict_oom_score_adj = true
enable_selinux = false

[{cri}.cni]
bin_dir = {plugins}
conf_dir = {network}

[{cri}.containerd]
snapshotter = "overlayfs"

[{cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[{cri}.containerd.runtimes.runc.options]
BinaryName = {runc}
SystemdCgroup = false
"#,
        root = quoted(state("containerd/root")),
        state = quoted(state("containerd/state")),
        socket = quoted(containerd_socket()),
        plugins = quoted(settings.programs.network_plugins.clone()),
        network = quoted(state("cni")),
        runc = quoted(settings.programs.path("runc")),
    )
}

/// Each pod has a veth pair of its own and is routed to; nothing is bridged.
fn pod_network() -> Value {
    json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{
            "type": "ptp",
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "dataDir": state("addresses"),
                "ranges": [[{"subnet": PODS}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    })
}

fn kubelet(settings: &Settings) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": false},
            "x509": {"clientCAFile": state("pki/ca.crt")},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "tlsCertFile": state("pki/kubelet.crt"),
        "tlsPrivateKeyFile": state("pki/kubelet.key"),
        "containerRuntimeEndpoint": format!("unix://{}", containerd_socket().display()),
        "clusterDNS": [NODE_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": state("resolv.conf"),
        "podLogsDir": state("pod-logs"),
        "volumePluginDir": state("volume-plugins"),
        "failCgroupV1": false,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": settings.cgroup,
        // Only so are the pods' cgroups below that root.
        "cgroupsPerQOS": true,
        "enforceNodeAllocatable": [],
        "makeIPTablesUtilChains": false,
        "failSwapOn": false,
        "oomScoreAdj": 0,
        // Images cannot be had again, so none is ever collected; how full the host's disk is does not matter here.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"imagefs.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.inodesFree": "0%"},
    })
}

fn kube_proxy() -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "hostnameOverride": NODE_NAME,
        "clientConnection": {"kubeconfig": kubeconfig("kube-proxy")},
        "clusterCIDR": PODS,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "iptables": {"minSyncPeriod": "100ms"},
        // The kernel's limits of connections belong to the host.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "oomScoreAdj": 0,
    })
}

fn corefile() -> String {
    format!(
        ".:53 {{\n    bind {NODE_ADDRESS}\n    errors\n    ready 127.0.0.1:{DNS_READY_PORT}\n    kubernetes cluster.local in-addr.arpa {{\n        kubeconfig {}\n        ttl 1\n    }}\n}}\n",
        kubeconfig("administrator").display()
    )
}

/// The stores: what does not need the API server.
#[must_use]
pub fn first() -> [Start; 3] {
    let pki = |file: &str| state("pki").join(file).display().to_string();
    let client = "http://127.0.0.1:2379";
    let etcd = Start::new(
        "etcd",
        &[
            &format!("--data-dir={}", state("etcd").display()),
            "--unsafe-no-fsync",
            &format!("--listen-client-urls={client}"),
            &format!("--advertise-client-urls={client}"),
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--log-level=warn",
        ],
    );
    let api_server = Start::new(
        "kube-apiserver",
        &[
            &format!("--etcd-servers={client}"),
            &format!("--secure-port={API_PORT}"),
            &format!("--advertise-address={NODE_ADDRESS}"),
            "--allow-privileged",
            "--authorization-mode=Node,RBAC",
            &format!("--client-ca-file={}", pki("ca.crt")),
            &format!("--tls-cert-file={}", pki("apiserver.crt")),
            &format!("--tls-private-key-file={}", pki("apiserver.key")),
            &format!("--kubelet-client-certificate={}", pki("administrator.crt")),
            &format!("--kubelet-client-key={}", pki("administrator.key")),
            "--kubelet-preferred-address-types=InternalIP",
            &format!("--service-account-issuer={ISSUER}"),
            &format!("--service-account-key-file={}", pki("service-accounts.pub")),
            &format!("--service-account-signing-key-file={}", pki("service-accounts.key")),
            &format!("--service-cluster-ip-range={SERVICES}"),
            "--profiling=false",
        ],
    );
    let containerd = Start::new("containerd", &[&format!("--config={}", state("containerd.toml").display())]);
    [etcd, api_server, containerd]
}

/// What begins when the API server is ready.
#[must_use]
pub fn second() -> [Start; 4] {
    let kubeconfig = |name: &str| format!("--kubeconfig={}", kubeconfig(name).display());
    let controller_manager = Start::new(
        "kube-controller-manager",
        &[
            &kubeconfig("kube-controller-manager"),
            "--controllers=*,-node-ipam-controller",
            "--use-service-account-credentials",
            // Its own default of 20 requests a second is what a start would wait for.
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            // A claim that it could not save, for another controller changed it, is tried again only then.
            "--pvclaimbinder-sync-period=1s",
            &format!("--service-account-private-key-file={}", state("pki/service-accounts.key").display()),
            &format!("--root-ca-file={}", state("pki/ca.crt").display()),
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            "--profiling=false",
        ],
    );
    let scheduler = Start::new(
        "kube-scheduler",
        &[&kubeconfig("kube-scheduler"), "--leader-elect=false", "--bind-address=127.0.0.1", "--profiling=false"],
    );
    let kubelet = Start::new(
        "kubelet",
        &[
            &format!("--config={}", state("kubelet.yaml").display()),
            &kubeconfig("kubelet"),
            &format!("--hostname-override={NODE_NAME}"),
            &format!("--node-ip={NODE_ADDRESS}"),
            &format!("--root-dir={}", state("kubelet").display()),
        ],
    );
    let coredns = Start::new("coredns", &["-conf", &state("Corefile").display().to_string()]);
    [kubelet, controller_manager, scheduler, coredns]
}

/// What needs to find the Node object.
#[must_use]
pub fn third() -> Start {
    Start::new("kube-proxy", &[&format!("--config={}", state("kube-proxy.yaml").display())])
}

/// The default class of volume claims.
#[must_use]
pub fn storage_class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": "node",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": super::volumes::PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
    })
}
