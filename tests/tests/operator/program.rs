//! The operator's program: its commands, how it starts, what it serves and how it ends.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::components::{Program, find, repository};
use tests::http::Endpoint;
use tests::kubernetes::control_plane::ControlPlane;
use tests::kubernetes::installation::{Installation, RELEASE, definitions};
use tests::kubernetes::user::User;
use tests::process::{Process, START, free_port};

use crate::fixtures::{declare_all, wait_until_rolled_out};
use crate::workers::start_behind;

/// The program with `arguments`, where nothing of the user's configuration leads to a cluster.
fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(find(Program::Operator).unwrap());
    command.args(arguments).env_clear().env("HOME", "/nonexistent");
    command
}

fn to_end(mut command: Command) -> (Output, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (printed, errors) = (text(&output.stdout), text(&output.stderr));
    (output, printed, errors)
}

/// A running program that watches the namespace of an installation, with its rights.
struct Running {
    process: Process,
    endpoint: Endpoint,
    _folder: tempfile::TempDir,
}

impl Running {
    async fn start(installation: &Installation<'_>) -> Self {
        let user = User::ServiceAccount { namespace: &installation.namespace, name: RELEASE };
        let kubeconfig = installation.plane.kubeconfig_as(user).await.unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap()));
        let namespace = format!("--watch-namespaces={}", installation.namespace);
        let listen = format!("--listen={address}");
        let mut command = program(&["run", &namespace, &listen, "--poll-interval=100ms", "--log-format=text"]);
        command.env("KUBECONFIG", kubeconfig);
        let folder = tempfile::tempdir().unwrap();
        let process = Process::spawn("vmanomaly-operator", command, &folder.path().join("log")).unwrap();
        Self { process, endpoint: Endpoint::new(address), _folder: folder }
    }

    async fn wait_for(&mut self, path: &str) {
        let endpoint = self.endpoint.clone();
        let answers = async |_: &Process| endpoint.answers(path).await.then_some(());
        self.process.wait_until(&format!("an answer of {path}"), START, answers).await.unwrap();
    }
}

#[tokio::test]
async fn it_is_ready_when_everything_is_listed_and_waits_for_definitions_that_come_later() {
    let plane = ControlPlane::start().await.unwrap();
    let installation = Installation::without_definitions(&plane).await.unwrap();
    let mut running = Running::start(&installation).await;
    running.wait_for("/health").await;
    // The API server has refused the list, so whoever is ready now has not listed.
    let mut audit = plane.audit();
    let refused = async |_: &Process| {
        let events = audit.read().unwrap();
        let list = events.iter().find(|event| event.user.username == installation.user());
        list.map(drop)
    };
    running.process.wait_until("a list that is refused", START, refused).await.unwrap();
    assert!(!running.endpoint.answers("/ready").await);
    plane.install_crds(&definitions()).await.unwrap();
    running.wait_for("/ready").await;
}

#[tokio::test]
async fn it_serves_the_metrics_that_are_documented_and_ends_at_once_when_asked_to() {
    let installation = crate::fixtures::installation().await;
    let mut running = Running::start(&installation).await;
    running.wait_for("/ready").await;
    declare_all(&installation, 1).await;
    wait_until_rolled_out(&installation).await;
    start_behind(&installation).await;

    let page = std::fs::read_to_string(repository().join("docs/operations.md")).unwrap();
    let names = page.split("| `vmanomaly_operator_").skip(1).filter_map(|rest| rest.split('`').next());
    let documented: BTreeSet<String> = names.map(|name| format!("vmanomaly_operator_{name}")).collect();
    let endpoint = running.endpoint.clone();
    let all = async |_: &Process| {
        let body = endpoint.get("/metrics", &[]).await.ok()?;
        let text = String::from_utf8_lossy(&body);
        let types = text.split("# TYPE ").skip(1).filter_map(|rest| rest.split(' ').next());
        let own = types.filter(|name| name.starts_with("vmanomaly_"));
        let served: BTreeSet<String> = own.map(ToOwned::to_owned).collect();
        (served == documented && text.contains("\nprocess_resident_memory_bytes ")).then_some(())
    };
    running.process.wait_until("all documented metrics and no other", START, all).await.unwrap();

    let began = Instant::now();
    let status = running.process.terminate(START).await;
    assert!(status.success() && began.elapsed() < Duration::from_secs(2), "{status} after {:?}", began.elapsed());
}

#[test]
fn it_prints_the_checked_in_definitions() {
    let (output, printed, errors) = to_end(program(&["crd"]));
    assert!(output.status.success(), "{errors}");
    let mut own: Vec<Value> = serde_saphyr::from_multiple(&printed).unwrap();
    let mut wanted: Vec<Value> = serde_saphyr::from_multiple(&definitions()).unwrap();
    let by_name = |object: &Value| object["metadata"]["name"].to_string();
    own.sort_by_key(by_name);
    wanted.sort_by_key(by_name);
    assert_eq!(own, wanted);
}

#[test]
fn it_renders_every_child_without_a_cluster() {
    let quickstart = repository().join("deploy/quickstart").display().to_string();
    let image = "--worker-image=registry.example.com/vmanomaly:9.9";
    let render = ["render", "-f", &quickstart, "--namespace", "team-a", "--scrape", "VMPodScrape", image];
    let (output, printed, errors) = to_end(program(&render));
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    let children: Vec<Value> = serde_saphyr::from_multiple(&printed).unwrap();
    let mut names: Vec<String> = children
        .iter()
        .map(|child| {
            assert_eq!(child["metadata"]["namespace"], "team-a");
            format!("{} {}", child["kind"].as_str().unwrap(), child["metadata"]["name"].as_str().unwrap())
        })
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "ConfigMap anomaly-quickstart-config",
            "ConfigMap anomaly-quickstart-topology",
            "NetworkPolicy anomaly-quickstart",
            "PodDisruptionBudget anomaly-quickstart",
            "Service anomaly-quickstart",
            "ServiceAccount anomaly-quickstart",
            "StatefulSet anomaly-quickstart-r0",
            "VMPodScrape anomaly-quickstart",
        ]
    );
    let set = children.iter().find(|child| child["kind"] == "StatefulSet").unwrap();
    assert_eq!(set["spec"]["template"]["spec"]["containers"][0]["image"], "registry.example.com/vmanomaly:9.9");
    // What the worker of the same release says to the configuration.
    let config = children.iter().find(|child| child["metadata"]["name"] == "anomaly-quickstart-config").unwrap();
    let text = config["data"]["config.yaml"].as_str().unwrap();
    config::load::load(&[config::load::Source::new("config.yaml", text)], &|_| None, 1).unwrap();
}

#[test]
fn it_names_the_object_that_cannot_be_rendered_and_what_is_wrong_with_it() {
    let anomaly = "
apiVersion: vmanomaly.dev/v1alpha1
kind: VMAnomaly
metadata: {name: main}
spec: {reader: {datasourceURL: 'http://db'}, writer: {datasourceURL: 'http://db'}}
---
apiVersion: vmanomaly.dev/v1alpha1
kind: AnomalyQuery
metadata: {name: cpu}
spec: {expr: up}
";
    let model = |spec: &str| {
        format!(
            "{anomaly}---\napiVersion: vmanomaly.dev/v1alpha1\nkind: AnomalyModel\nmetadata: {{name: mad}}\nspec: {spec}\n"
        )
    };
    for (objects, wanted) in [
        (model("{madOnline: {threshold: high}}"), vec!["objects.yaml: AnomalyModel mad:", "high"]),
        (model("{madOnline: {}, schedulers: [nightly]}"), vec!["AnomalyModel default/mad: spec.schedulers", "nightly"]),
        (model("{madOnline: {}, queries: {names: [memory]}}"), vec!["AnomalyModel default/mad", "default/memory"]),
        (model("{madOnline: {}}").replace("http://db", "db"), vec!["VMAnomaly default/main: reader.datasource_url"]),
        ("kind: [".to_owned(), vec!["objects.yaml:"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("objects.yaml");
        std::fs::write(&file, &objects).unwrap();
        let (output, printed, errors) = to_end(program(&["render", "-f", &file.display().to_string()]));
        assert_eq!(output.status.code(), Some(1), "{objects}: {printed}");
        assert!(printed.is_empty() && wanted.iter().all(|words| errors.contains(words)), "{objects}: {errors}");
    }
    let (output, _, errors) = to_end(program(&["render", "-f", "/nonexistent"]));
    assert!(output.status.code() == Some(1) && errors.starts_with("/nonexistent: "), "{errors}");
}

#[test]
fn it_ends_with_a_clear_message_when_it_cannot_start() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken");
    std::fs::write(&broken, "clusters: 1").unwrap();
    let with = |kubeconfig: &Path, arguments: &[&str]| {
        let mut command = program(&[&["run"], arguments].concat());
        command.env("KUBECONFIG", kubeconfig);
        to_end(command)
    };
    for (kubeconfig, words) in
        [(Path::new("/nonexistent/kubeconfig"), "/nonexistent/kubeconfig"), (&broken, "clusters: 1")]
    {
        let (output, _, errors) = with(kubeconfig, &[]);
        let clear = errors.starts_with("no way to an API server is configured: ") && errors.contains(words);
        assert!(output.status.code() == Some(1) && clear, "{errors}");
    }
    for (argument, named) in [
        ("--watch-namespace=a", "--watch-namespaces"),
        ("--poll-interval=5", "--poll-interval"),
        ("--listen=everywhere", "--listen"),
    ] {
        let (output, _, errors) = with(&broken, &[argument]);
        assert!(output.status.code() == Some(2) && errors.contains(named), "{argument}: {errors}");
    }
}

#[tokio::test]
async fn it_ends_when_its_port_is_taken() {
    let plane = ControlPlane::shared().await.unwrap();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = program(&["run", &format!("--listen={address}")]);
    command.env("KUBECONFIG", plane.kubeconfig());
    let (output, _, errors) = to_end(command);
    assert!(output.status.code() == Some(1) && errors.contains(&address), "{errors}");
}
