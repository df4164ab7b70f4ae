//! A node of our own does what a cluster does, and leaves nothing behind.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "functions that tests share are tests, too")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use e2e::catalogue::{self, Product};
use e2e::cluster::Cluster;
use e2e::image::Image;
use futures_util::AsyncBufReadExt;
use futures_util::TryStreamExt;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim, Pod, Service};
use kube::api::{Api, DeleteParams, LogParams, PostParams};
use kube::runtime::wait::{Condition, await_condition, conditions};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long anything may take on a busy machine.
const WITHIN: Duration = Duration::from_secs(90);

const CONFIGURATION: &str = "
schedulers: {minutely: {class: periodic, fit_window: 1h, fit_every: 1000d, infer_every: 1m}}
models: {zscore: {class: zscore_online, queries: all, schedulers: all}}
reader: {class: vm, datasource_url: 'http://tsdb:8428', sampling_period: 1m, queries: {up: {expr: up}}}
writer: {class: vm, datasource_url: 'http://tsdb:8428'}
";

fn binaries() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_node")).parent().unwrap().to_path_buf()
}

fn worker() -> Image {
    Product::Worker.image(&binaries(), catalogue::LOCAL_REGISTRY, catalogue::TAG).unwrap()
}

fn object<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn restricted(image: &str) -> Value {
    json!({
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "securityContext": {
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        },
        "resources": {"limits": {"memory": "256Mi", "cpu": "1"}, "requests": {"memory": "32Mi", "cpu": "10m"}},
    })
}

fn pod_security() -> Value {
    json!({
        "runAsNonRoot": true, "runAsUser": 65532, "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"},
    })
}

/// Two workers with a volume each. They are ready when they answer: their TSDB is never there.
fn workers(image: &str) -> StatefulSet {
    let mut container = restricted(image);
    container["name"] = "worker".into();
    container["args"] = json!(["--stateFolder=/state", "/config/config.yaml"]);
    container["readinessProbe"] = json!({"httpGet": {"path": "/health", "port": 8490}, "periodSeconds": 1});
    container["volumeMounts"] =
        json!([{"name": "state", "mountPath": "/state"}, {"name": "config", "mountPath": "/config"}]);
    object(json!({
        "metadata": {"name": "workers"},
        "spec": {
            "replicas": 2,
            "serviceName": "workers",
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": {"app": "workers"}},
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Retain"},
            "template": {
                "metadata": {"labels": {"app": "workers"}},
                "spec": {
                    "automountServiceAccountToken": false,
                    "securityContext": pod_security(),
                    "containers": [container],
                    "volumes": [{"name": "config", "configMap": {"name": "workers"}}],
                },
            },
            "volumeClaimTemplates": [{
                "metadata": {"name": "state"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            }],
        },
    }))
}

fn shell(image: &str) -> Pod {
    let mut container = restricted(image);
    container["name"] = "shell".into();
    container["args"] = json!(["sleep", "infinity"]);
    container["command"] = json!(["/bin/busybox"]);
    object(json!({
        "metadata": {"name": "shell"},
        "spec": {
            "automountServiceAccountToken": false,
            "securityContext": pod_security(),
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
        },
    }))
}

/// A program of `make tools` as a pod with a folder of its own; ready when it answers on `port`.
fn tool(name: &str, image: &str, port: u16, arguments: &[&str]) -> Pod {
    let mut container = restricted(image);
    container["name"] = name.into();
    container["args"] = json!(arguments);
    container["readinessProbe"] = json!({"httpGet": {"path": "/metrics", "port": port}, "periodSeconds": 1});
    container["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    object(json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "automountServiceAccountToken": false,
            "securityContext": pod_security(),
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
            "volumes": [{"name": "data", "emptyDir": {}}],
        },
    }))
}

fn is_pod_ready(pod: Option<&Pod>) -> bool {
    let conditions = pod.and_then(|pod| pod.status.as_ref()?.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}

fn all_ready(set: Option<&StatefulSet>) -> bool {
    let status = set.and_then(|set| set.status.as_ref());
    status.is_some_and(|status| status.ready_replicas == Some(2))
}

async fn awaited<K>(api: Api<K>, name: &str, condition: impl Condition<K>)
where
    K: kube::Resource + Clone + std::fmt::Debug + Send + serde::de::DeserializeOwned + 'static,
{
    let found = tokio::time::timeout(WITHIN, await_condition(api, name, condition)).await;
    found.unwrap_or_else(|_| panic!("{name} not as it should be within {WITHIN:?}")).unwrap();
}

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    send(address, &format!("GET {path} HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n")).await
}

async fn send(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn install_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

#[tokio::test]
async fn restricted_workers_with_volumes_roll_out_and_are_found_read_and_entered() {
    install_provider();
    let (worker, busybox) = (worker(), catalogue::busybox().unwrap());
    let begin = Instant::now();
    let cluster = Cluster::own(std::slice::from_ref(&worker), |step| {
        println!("{:6.1} s  {:<24} {}", step.seconds, step.name, step.detail);
    })
    .await
    .unwrap();
    println!("{:6.1} s  ready", begin.elapsed().as_secs_f64());

    let client = cluster.client().unwrap();
    let namespace =
        json!({"metadata": {"name": "story", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &object(namespace)).await.unwrap();
    let sets = Api::<StatefulSet>::namespaced(client.clone(), "story");
    let pods = Api::<Pod>::namespaced(client.clone(), "story");
    let services = Api::<Service>::namespaced(client.clone(), "story");
    let service = json!({
        "metadata": {"name": "workers"},
        "spec": {"clusterIP": "None", "selector": {"app": "workers"}, "ports": [{"name": "http", "port": 8490}]},
    });
    let configuration = json!({"metadata": {"name": "workers"}, "data": {"config.yaml": CONFIGURATION}});
    Api::namespaced(client.clone(), "story")
        .create(&PostParams::default(), &object::<k8s_openapi::api::core::v1::ConfigMap>(configuration))
        .await
        .unwrap();
    services.create(&PostParams::default(), &object(service)).await.unwrap();
    let applied = Instant::now();
    sets.create(&PostParams::default(), &workers(&cluster.image(&worker))).await.unwrap();
    pods.create(&PostParams::default(), &shell(&cluster.image(&busybox))).await.unwrap();
    awaited(sets.clone(), "workers", all_ready).await;
    println!("{:6.1} s  rolled out", applied.elapsed().as_secs_f64());
    awaited(pods.clone(), "shell", conditions::is_pod_running()).await;

    // DNS: every pod has its own name, and the service the addresses of both.
    let expected = pods.get("workers-1").await.unwrap().status.unwrap().pod_ip.unwrap();
    let name = "workers-1.workers.story.svc.cluster.local";
    let answer = cluster.exec("story", "shell", &["nslookup", name]).await.unwrap();
    assert!(answer.contains(&expected), "{answer}");

    // Pod to pod, and exec says when a program fails.
    let url = format!("http://{name}:8490/health");
    cluster.exec("story", "shell", &["wget", "-qO-", &url]).await.unwrap();
    let error = cluster.exec("story", "shell", &["ls", "/nowhere"]).await.unwrap_err();
    assert!(error.to_string().contains("/nowhere: No such file"), "{error}");

    // Logs are there while the worker runs, and its state is on a volume that its user may write.
    let lines =
        pods.log_stream("workers-0", &LogParams { follow: true, ..LogParams::default() }).await.unwrap().lines();
    let first = tokio::time::timeout(WITHIN, async { std::pin::pin!(lines).try_next().await }).await.unwrap().unwrap();
    assert!(first.is_some_and(|line| line.contains("\"level\"")));
    let claims = Api::<PersistentVolumeClaim>::namespaced(client.clone(), "story");
    let volume = claims.get("state-workers-0").await.unwrap().spec.unwrap().volume_name.unwrap();

    // From here, through the service and to one pod.
    let forward = cluster.forward("story", "workers", 8490).await.unwrap();
    assert!(get(forward.address(), "/health").await.starts_with("HTTP/1.1 200"));
    let forward = cluster.forward_pod("story", "workers-1", 8490).await.unwrap();
    assert!(get(forward.address(), "/metrics").await.contains("vmanomaly_"));
    assert!(cluster.kubectl(&["get", "pods", "-n", "story"]).await.unwrap().contains("workers-1"));

    // A volume goes with its claim, and the claim with the set.
    sets.delete("workers", &DeleteParams::default()).await.unwrap();
    let volumes = Api::<PersistentVolume>::all(client.clone());
    if let Some(found) = volumes.get_opt(&volume).await.unwrap() {
        let uid = found.metadata.uid.unwrap();
        awaited(volumes, &volume, conditions::is_deleted(&uid)).await;
    }
}

#[tokio::test]
async fn the_programs_of_make_tools_run_as_restricted_pods_and_find_each_other_by_service() {
    install_provider();
    let images = catalogue::TOOLS.map(|name| catalogue::tool(name).unwrap());
    let cluster = Cluster::own(&images, |_| {}).await.unwrap();
    let client = cluster.client().unwrap();
    let pods = Api::<Pod>::namespaced(client.clone(), "default");
    let service = json!({
        "metadata": {"name": "tsdb"},
        "spec": {"selector": {"app": "victoria-metrics"}, "ports": [{"port": 8428}]},
    });
    let service: Service = object(service);
    Api::<Service>::namespaced(client, "default").create(&PostParams::default(), &service).await.unwrap();
    let write = "-remoteWrite.url=http://tsdb:8428/api/v1/write";
    let starts: [(u16, &[&str]); 4] = [
        (8428, &["-storageDataPath=/data", "-retentionPeriod=100y"]),
        (8429, &[write, "-remoteWrite.tmpDataPath=/data"]),
        (8880, &["-rule=/data/*.yml", "-datasource.url=http://tsdb:8428", "-notifier.blackhole"]),
        (9100, &[]),
    ];
    for ((name, image), (port, arguments)) in catalogue::TOOLS.iter().zip(&images).zip(starts) {
        let pod = tool(name, &cluster.image(image), port, arguments);
        pods.create(&PostParams::default(), &pod).await.unwrap();
    }
    for name in catalogue::TOOLS {
        awaited(pods.clone(), name, is_pod_ready).await;
    }
    // vmagent cannot pass samples on except through the ClusterIP of the service.
    let sample = "sample,from=outside value=1";
    let vmagent = cluster.forward_pod("default", "vmagent", 8429).await.unwrap();
    let request = format!(
        "POST /write HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{sample}",
        sample.len()
    );
    assert!(send(vmagent.address(), &request).await.starts_with("HTTP/1.1 204"));
    let tsdb = cluster.forward("default", "tsdb", 8428).await.unwrap();
    let begin = Instant::now();
    while begin.elapsed() < WITHIN {
        get(tsdb.address(), "/internal/force_flush").await;
        if get(tsdb.address(), "/api/v1/export?match=sample_value").await.contains("outside") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the sample did not reach the TSDB within {WITHIN:?}");
}

/// Processes of this machine whose command line has `text`.
fn processes(text: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| {
        entry.file_name().to_str()?.parse::<u32>().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.filter(|line| line.contains(text)).collect()
}

fn cgroups(name: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    hierarchies.chain([root.to_path_buf()]).map(|path| path.join(name)).filter(|path| path.exists()).collect()
}

/// A program that a failed test does not leave behind.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the program `node` and waits until it says where its kubeconfig is.
fn started_program() -> (Program, PathBuf) {
    use std::io::BufRead;
    let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
    let mut program = Program(command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap());
    let lines = std::io::BufReader::new(program.0.stdout.take().unwrap()).lines().map_while(Result::ok);
    let last = { lines }.find(|line| line.starts_with("kubectl")).expect("the node is ready");
    (program, last.split_whitespace().nth(2).unwrap().into())
}

/// A pod that runs in the node of a kubeconfig, so that there is something to be left behind. The node is a cluster
/// that the user names here.
async fn with_a_pod(kubeconfig: &Path) {
    let registry = Some(catalogue::LOCAL_REGISTRY.to_owned());
    let cluster = Cluster::named(Some(kubeconfig), "node", registry, &[]).await.unwrap();
    let pods = Api::<Pod>::namespaced(cluster.client().unwrap(), "default");
    let image = cluster.image(&catalogue::busybox().unwrap());
    pods.create(&PostParams::default(), &shell(&image)).await.unwrap();
    awaited(pods, "shell", conditions::is_pod_running()).await;
    assert!(cluster.kubectl(&["get", "pods"]).await.unwrap().contains("shell"));
}

#[tokio::test]
async fn a_cluster_without_a_way_for_images_is_refused_with_the_command_that_pushes_them() {
    install_provider();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kubeconfig");
    let config = json!({
        "apiVersion": "v1", "kind": "Config",
        "contexts": [{"name": "prod", "context": {"cluster": "prod", "user": "me"}}],
        "clusters": [{"name": "prod", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "me", "user": {}}],
    });
    std::fs::write(&file, config.to_string()).unwrap();
    let error = Cluster::named(Some(&file), "prod", None, &[]).await.unwrap_err().to_string();
    assert!(error.contains("`make images REGISTRY="), "{error}");
    let error = Cluster::named(Some(&file), "prdo", None, &[]).await.unwrap_err().to_string();
    assert!(error.contains("prdo"), "{error}");
}

#[tokio::test]
async fn nothing_is_left_of_a_node_whose_process_is_killed() {
    install_provider();
    let (program, kubeconfig) = started_program();
    let folder = kubeconfig.parent().unwrap().to_path_buf();
    let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
    with_a_pod(&kubeconfig).await;
    assert!(!processes(&name).is_empty() && !cgroups(&name).is_empty());

    drop(program);
    let begin = Instant::now();
    while begin.elapsed() < WITHIN && (folder.exists() || !processes(&name).is_empty()) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("gone {:.1} s after it was killed", begin.elapsed().as_secs_f64());
    assert!(!folder.exists(), "{}", folder.display());
    assert_eq!(processes(&name), Vec::<String>::new());
    assert_eq!(cgroups(&name), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn nothing_is_left_of_a_node_that_is_dropped() {
    install_provider();
    let before = (mounts(), interfaces());
    let node = e2e::node::Node::start(&[], |_| {}).await.unwrap();
    let folder = node.kubeconfig().parent().unwrap().to_path_buf();
    let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
    with_a_pod(&node.kubeconfig()).await;
    // The host sees neither its mounts nor its network.
    assert_eq!((mounts(), interfaces()), before);
    drop(node);
    assert!(!folder.exists());
    assert_eq!(processes(&name), Vec::<String>::new());
    assert_eq!(cgroups(&name), Vec::<PathBuf>::new());
}

fn mounts() -> String {
    std::fs::read_to_string("/proc/self/mounts").unwrap()
}

fn interfaces() -> Vec<String> {
    let lines = std::fs::read_to_string("/proc/self/net/dev").unwrap();
    lines.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
}
