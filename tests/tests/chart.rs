//! The chart, and what is made of it: helm renders it, a real API server judges it, the operator understands it.

#![allow(clippy::unwrap_used, reason = "functions that tests share are tests, too")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Parser;
use crds::status::{ConditionType, Reason};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use operator::arguments::{Arguments, Command, Run};
use operator::build::WorkerDefaults;
use operator::render::{Input, render};
use serde_json::{Value, json};
use tests::components::{Program, find, repository};
use tests::kubernetes::control_plane::{ControlPlane, Setup};
use tests::kubernetes::crds::foreign_definition;
use tests::kubernetes::installation::{RELEASE, chart, definitions};
use tests::kubernetes::kubectl::Printed;

/// The kinds of other operators of which the chart makes objects.
const FOREIGN: [(&str, &str, &str, &str); 2] = [
    ("operator.victoriametrics.com", "v1beta1", "VMServiceScrape", "vmservicescrapes"),
    ("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors"),
];

fn folder() -> PathBuf {
    repository().join("charts/vmanomaly-operator")
}

/// Every file of values that is there for tests.
fn values_files() -> Vec<String> {
    let files = folder().join("ci").read_dir().unwrap();
    let mut files: Vec<String> = files.map(|entry| entry.unwrap().path().display().to_string()).collect();
    files.sort();
    assert!(files.len() >= 5, "{files:?}");
    files
}

/// Runs helm to its end; with a control plane, as its administrator.
async fn helm(plane: Option<&ControlPlane>, arguments: &[&str]) -> Printed {
    let home = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::new(find(Program::Helm).unwrap());
    // What it keeps and reads of the user's would be wrong here.
    command.args(arguments).env("HOME", home.path()).env_remove("KUBECONFIG");
    if let Some(plane) = plane {
        command.env("KUBECONFIG", plane.kubeconfig());
    }
    let output = command.output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Printed { status: output.status.code(), output: text(&output.stdout), errors: text(&output.stderr) }
}

/// What helm renders, as text.
async fn rendered(namespace: &str, arguments: &[&str]) -> Printed {
    let folder = folder().display().to_string();
    let mut all = vec!["template", RELEASE, &folder, "--namespace", namespace];
    all.extend(arguments);
    helm(None, &all).await
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// The pod template of the operator's Deployment.
fn pod(objects: &[Value]) -> &Value {
    let deployments = of_kind(objects, "Deployment");
    assert_eq!(deployments.len(), 1);
    &deployments[0]["spec"]["template"]
}

fn arguments_of(objects: &[Value]) -> Vec<String> {
    let arguments = &pod(objects)["spec"]["containers"][0]["args"];
    arguments.as_array().unwrap().iter().map(|argument| argument.as_str().unwrap().to_owned()).collect()
}

/// The operator's reading of the Deployment's arguments.
fn run_arguments(objects: &[Value]) -> Result<Run, clap::Error> {
    let program = std::iter::once("vmanomaly-operator".to_owned());
    match Arguments::try_parse_from(program.chain(arguments_of(objects)))?.command {
        Command::Run(run) => Ok(*run),
        other => panic!("{other:?}"),
    }
}

/// A control plane of its own with the kinds of other operators, and a namespace that takes only what satisfies the
/// Pod Security level `restricted`, and warns about templates that make something else.
async fn strict_plane() -> (ControlPlane, String) {
    let plane = ControlPlane::start().await.unwrap();
    for (group, version, kind, plural) in FOREIGN {
        plane.install_crds(&foreign_definition(group, version, kind, plural)).await.unwrap();
    }
    let namespaces = ["restricted", "team-a", "team-b", "vmanomaly-demo", "vmanomaly-system"].map(|name| {
        let levels = ["enforce", "warn"].map(|mode| (format!("pod-security.kubernetes.io/{mode}"), "restricted"));
        let labels: BTreeMap<_, _> = levels.into();
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}).to_string()
    });
    let made = plane.kubectl_with_input(&["create", "-f", "-"], &namespaces.join("\n---\n")).await.unwrap();
    assert!(made.succeeded(), "{made:?}");
    (plane, "restricted".to_owned())
}

/// The API server takes all of it, knows every field and has nothing to warn about. Nothing is kept.
async fn assert_accepted(plane: &ControlPlane, what: &str, objects: &str) {
    let arguments = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"];
    let printed = plane.kubectl_with_input(&arguments, objects).await.unwrap();
    let objects = printed.output.lines().count();
    assert!(printed.succeeded() && printed.errors.is_empty() && objects > 0, "{what}: {printed:#?}");
}

#[tokio::test]
async fn helm_lints_the_chart_strictly_with_every_file_of_values() {
    let folder = folder().display().to_string();
    for values in values_files() {
        let printed = helm(None, &["lint", "--strict", &folder, "--values", &values]).await;
        assert!(printed.succeeded(), "{values}: {printed:#?}");
    }
}

#[tokio::test]
async fn what_is_rendered_with_every_file_of_values_is_accepted_without_a_warning_and_its_pod_is_restricted() {
    let (plane, namespace) = strict_plane().await;
    let pods = Api::<Pod>::namespaced(plane.client().await.unwrap(), &namespace);
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let create = async |template: &Value| {
        let mut object = json!({"metadata": template["metadata"], "spec": template["spec"]});
        object["metadata"]["name"] = "operator".into();
        pods.create(&dry, &serde_json::from_value(object).unwrap()).await
    };
    for values in values_files() {
        let printed = rendered(&namespace, &["--values", &values]).await;
        assert!(printed.succeeded(), "{values}: {printed:#?}");
        let again = rendered(&namespace, &["--values", &values]).await;
        assert_eq!(printed.output, again.output, "{values}");
        assert!(!printed.output.contains("helm.sh/hook"), "{values}");
        assert_accepted(&plane, &values, &printed.output).await;

        let objects = chart(&namespace, &["--values", &values]).await.unwrap();
        create(pod(&objects)).await.unwrap_or_else(|error| panic!("{values}: {error}"));
    }
    let loose = chart(&namespace, &["--set", "securityContext.allowPrivilegeEscalation=true"]).await.unwrap();
    let refusal = create(pod(&loose)).await.unwrap_err().to_string();
    assert!(refusal.contains("violates PodSecurity \"restricted"), "{refusal}");
}

#[tokio::test]
async fn the_operator_knows_every_argument_of_its_deployment() {
    for values in values_files() {
        // What a user adds there is the user's own.
        let objects = chart("any", &["--values", &values, "--set", "extraArgs=null"]).await.unwrap();
        let arguments = arguments_of(&objects);
        run_arguments(&objects).unwrap_or_else(|error| panic!("{values}: {arguments:?}: {error}"));
    }
    let everything = folder().join("ci/everything.yaml").display().to_string();
    let arguments = ["--values", &everything, "--set", "extraArgs=null", "--set", "watchNamespaces={team-a,team-b}"];
    let run = run_arguments(&chart("any", &arguments).await.unwrap()).unwrap();
    assert_eq!(run.watch_namespaces, ["team-a", "team-b"]);
    assert_eq!(run.listen, "127.0.0.1:8080".parse().unwrap());
    assert_eq!((run.concurrency, run.poll_interval.as_secs(), run.resync_interval.as_secs()), (16, 10, 600));
    assert!(run.allow_downgrade && run.log_level == "debug");
    let digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let worker = WorkerDefaults {
        image: format!("mirror.example.com/team/vmanomaly@{digest}"),
        pull_policy: "Always".to_owned(),
        pull_secrets: vec!["registry".to_owned()],
    };
    assert_eq!(run.worker.defaults(), worker);
}

#[tokio::test]
async fn the_operator_understands_every_interval_that_the_chart_takes() {
    for (text, good) in [
        ("5s", true),
        ("1m30s", true),
        ("500ms", true),
        ("2d", true),
        ("0s", false),
        ("0h0m", false),
        ("5", false),
        ("5s1m", false),
        ("1s1s", false),
        ("", false),
        ("-5s", false),
        ("1y", false),
    ] {
        let set = format!("pollInterval={text},resyncInterval={text}");
        let printed = rendered("any", &["--set-string", &set]).await;
        assert_eq!(printed.succeeded(), good, "{text:?}: {}", printed.errors);
        if good {
            run_arguments(&chart("any", &["--set-string", &set]).await.unwrap()).unwrap();
        }
    }
}

#[tokio::test]
async fn values_that_do_not_exist_or_are_of_another_type_are_refused_by_name() {
    for (value, named) in [
        ("imagee.registry=example.com", "imagee"),
        ("image.registri=example.com", "registri"),
        ("workerImage.secrets={a}", "secrets"),
        ("replicas=many", "/replicas"),
        ("watchNamespaces=team-a", "/watchNamespaces"),
        ("watchNamespaces={Team A}", "/watchNamespaces/0"),
        ("imagePullSecrets={registry}", "/imagePullSecrets/0"),
        ("image.digest=sha256:0", "/image/digest"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("concurrency=0", "/concurrency"),
        ("log.level=loud", "/log/level"),
        ("crds.install=perhaps", "/crds/install"),
        ("monitoring.scrape=PodMonitor", "/monitoring/scrape"),
        ("networkPolicy.apiServerCIDRs={somewhere}", "/networkPolicy/apiServerCIDRs/0"),
        ("service.port=70000", "/service/port"),
        ("resources.cpu=1", "cpu"),
    ] {
        let printed = rendered("any", &["--set", value]).await;
        assert!(!printed.succeeded() && printed.errors.contains(named), "{value}: {printed:#?}");
    }
}

/// Every path of a map or value.
fn paths(value: &Value, path: &str, found: &mut Vec<String>) {
    for (name, inner) in value.as_object().into_iter().flatten() {
        found.push(format!("{path}/{name}"));
        paths(inner, &format!("{path}/{name}"), found);
    }
}

#[test]
fn the_values_and_their_schema_name_the_same_values_and_the_schema_is_closed() {
    let values = std::fs::read_to_string(folder().join("values.yaml")).unwrap();
    let values: Value = serde_saphyr::from_str(&values).unwrap();
    let schema = std::fs::read_to_string(folder().join("values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let mut known = Vec::new();
    let mut open = vec![(String::new(), &schema)];
    while let Some((path, schema)) = open.pop() {
        if let Some(properties) = schema["properties"].as_object() {
            assert_eq!(schema["additionalProperties"], false, "{path}");
            open.extend(properties.iter().map(|(name, inner)| (format!("{path}/{name}"), inner)));
            known.extend(properties.keys().map(|name| format!("{path}/{name}")));
        }
    }
    let mut documented = Vec::new();
    paths(&values, "", &mut documented);
    // What is a Kubernetes object, or part of one, is a default there and no list of what can be said.
    let foreign = ["/resources/", "/podSecurityContext/", "/securityContext/", "/affinity/"];
    let own = |path: &String| path != "/global" && !foreign.iter().any(|prefix| path.starts_with(prefix));
    documented.retain(own);
    known.retain(own);
    documented.sort();
    known.sort();
    assert_eq!(documented, known);
}

#[tokio::test]
async fn registry_tag_and_digest_reach_both_images() {
    let images = async |set: &str| {
        let objects = chart("any", &["--set-string", set]).await.unwrap();
        let operator = pod(&objects)["spec"]["containers"][0]["image"].as_str().unwrap().to_owned();
        (operator, run_arguments(&objects).unwrap().worker.worker_image)
    };
    let pair = |operator: &str, worker: &str| (operator.to_owned(), worker.to_owned());
    let release = env!("CARGO_PKG_VERSION");
    let local = (format!("vmanomaly-operator:{release}"), format!("vmanomaly:{release}"));
    assert_eq!(images("image.tag=").await, local);
    assert_eq!(
        images("image.registry=example.com/team/,image.tag=9.9").await,
        pair("example.com/team/vmanomaly-operator:9.9", "example.com/team/vmanomaly:9.9")
    );
    assert_eq!(
        images("image.registry=a.example.com,workerImage.registry=b.example.com,image.tag=1,workerImage.tag=2").await,
        pair("a.example.com/vmanomaly-operator:1", "b.example.com/vmanomaly:2")
    );
    let digest = format!("sha256:{}", "0".repeat(64));
    assert_eq!(
        images(&format!("image.digest={digest},workerImage.digest={digest}")).await,
        (format!("vmanomaly-operator@{digest}"), format!("vmanomaly@{digest}"))
    );
}

#[tokio::test]
async fn the_charts_definitions_are_those_of_the_types_and_carry_the_keep_policy() {
    let documents: Vec<Value> = serde_saphyr::from_multiple(&definitions()).unwrap();
    let objects = chart("any", &[]).await.unwrap();
    let rendered = of_kind(&objects, "CustomResourceDefinition");
    assert_eq!((rendered.len(), documents.len()), (3, 3));
    for definition in documents {
        let name = &definition["metadata"]["name"];
        let own = rendered.iter().find(|own| own["metadata"]["name"] == *name).unwrap();
        assert_eq!(own["spec"], definition["spec"], "{name}: run `make manifests`");
        assert_eq!(own["metadata"]["annotations"]["helm.sh/resource-policy"], "keep", "{name}");
    }
    let without = chart("any", &["--set", "crds.install=false"]).await.unwrap();
    assert!(of_kind(&without, "CustomResourceDefinition").is_empty());
}

#[tokio::test]
async fn a_release_is_installed_upgraded_and_taken_away_and_definitions_and_objects_stay() {
    // Deleting a namespace takes Kubernetes' own controllers.
    let plane = ControlPlane::start_with(&Setup { controllers: true, ..Setup::default() }).await.unwrap();
    let folder = folder().display().to_string();
    let place = ["--namespace", "anomaly"];
    let run = async |arguments: &[&str]| {
        let arguments: Vec<&str> = arguments.iter().chain(&place).copied().collect();
        let printed = helm(Some(&plane), &arguments).await;
        assert!(printed.succeeded(), "{arguments:?}: {printed:#?}");
        printed.output
    };
    let kubectl = async |arguments: &[&str]| {
        let printed = plane.kubectl(arguments).await.unwrap();
        assert!(printed.succeeded() && printed.errors.is_empty(), "{arguments:?}: {printed:#?}");
        printed.output
    };
    let quickstart = repository().join("deploy/quickstart").display().to_string();
    // The first installation was one by kubectl.
    let manifests = ["crds.yaml", "operator.yaml"].map(|file| repository().join("deploy").join(file));
    let [crds, operator] = manifests.map(|path| path.display().to_string());
    kubectl(&["apply", "-f", &crds, "-f", &operator]).await;
    kubectl(&["delete", "-f", &operator]).await;

    let notes = run(&["install", RELEASE, &folder, "--create-namespace", "--take-ownership"]).await;
    assert!(notes.contains("watches all namespaces") && notes.contains("kubectl get anomaly"), "{notes}");
    plane.install_crds(&definitions()).await.unwrap();
    kubectl(&["--namespace", "anomaly", "apply", "-f", &quickstart]).await;
    run(&["upgrade", RELEASE, &folder, "--reset-then-reuse-values", "--set", "replicas=2"]).await;
    let replicas = "jsonpath={.spec.replicas}";
    let path = ["--namespace", "anomaly", "get", "deployment", RELEASE, "--output", replicas];
    assert_eq!(kubectl(&path).await, "2");

    run(&["uninstall", RELEASE]).await;
    let names = async || kubectl(&["--namespace", "anomaly", "get", "anomaly", "--output", "name"]).await;
    let kept = names().await;
    assert_eq!(kept.lines().count(), 4, "{kept}");
    let left = kubectl(&["--namespace", "anomaly", "get", "deployments,services,roles", "--output", "name"]).await;
    assert_eq!(left, "");
    run(&["install", RELEASE, &folder]).await;
    assert_eq!(names().await, kept);
}

#[tokio::test]
async fn the_checked_in_manifests_are_what_make_manifests_renders() {
    let out = tempfile::tempdir().unwrap();
    let deploy = repository().join("deploy");
    let mut script = tokio::process::Command::new(deploy.join("render.sh"));
    script.arg(out.path()).env("HELM", find(Program::Helm).unwrap());
    ["REGISTRY", "TAG", "NAMESPACE"].iter().for_each(|name| {
        script.env_remove(name);
    });
    let output = script.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let same = |file: &str, other: PathBuf| {
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        assert!(read(&deploy.join(file)) == read(&other), "{file} is stale: run `make manifests`");
    };
    for file in ["crds.yaml", "operator.yaml", "quickstart/demo/alert-rules.yaml", "argocd/argocd-cm.yaml"] {
        same(file, out.path().join(file));
    }
    for name in ["vmanomalies", "anomalymodels", "anomalyqueries"] {
        let copy = format!("../charts/vmanomaly-operator/files/{name}.yaml");
        same(&copy, repository().join(format!("crds/yaml/{name}.yaml")));
    }
}

#[tokio::test]
async fn manifests_quickstart_documented_objects_and_their_children_are_accepted_without_a_warning() {
    let (plane, namespace) = strict_plane().await;
    let read = |path: PathBuf| std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let deploy = repository().join("deploy");
    for file in ["crds.yaml", "operator.yaml"] {
        // The Deployment's namespace is in the file; here it is there already, as strict.
        assert_accepted(&plane, file, &read(deploy.join(file))).await;
    }
    plane.install_crds(&definitions()).await.unwrap();
    for folder in ["quickstart", "quickstart/demo", "quickstart/incident"] {
        for entry in deploy.join(folder).read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                assert_accepted(&plane, &path.display().to_string(), &read(path)).await;
            }
        }
    }
    for page in ["docs/objects.md", "docs/scaling.md"] {
        let page = read(repository().join(page));
        for block in page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            assert_accepted(&plane, block, block).await;
        }
    }
    let input = Input::read(&[deploy.join("quickstart")], &namespace).unwrap();
    let children = render(&input, &WorkerDefaults::default(), None).unwrap();
    // A live owner has a uid.
    let children = children.replace("uid: \"\"", "uid: 00000000-0000-0000-0000-000000000000");
    assert_accepted(&plane, "the children of the quickstart", &children).await;
}

#[tokio::test]
async fn argo_cds_application_passes_values_that_the_chart_takes_and_its_fixtures_are_of_this_release() {
    let argocd = repository().join("deploy/argocd");
    let application = std::fs::read_to_string(argocd.join("application.yaml")).unwrap();
    let application: Value = serde_saphyr::from_str(&application).unwrap();
    let source = &application["spec"]["source"];
    assert!(repository().join(source["path"].as_str().unwrap()).join("Chart.yaml").is_file());
    let values = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(values.path(), source["helm"]["valuesObject"].to_string()).unwrap();
    let printed = rendered("any", &["--values", &values.path().display().to_string()]).await;
    assert!(printed.succeeded(), "{printed:#?}");

    let known = |conditions: &Value| {
        conditions.as_array().into_iter().flatten().all(|condition| {
            ConditionType::ALL.iter().any(|known| condition["type"] == known.name())
                && Reason::ALL.iter().any(|known| condition["reason"] == known.name())
        })
    };
    for entry in argocd.join("fixtures").read_dir().unwrap() {
        let path = entry.unwrap().path();
        let object: Value = serde_saphyr::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert!(known(&object["status"]["conditions"]), "{path:?}");
    }
}
